"""What was found, in sentences that are made from the figures; bad news too."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from lensloc.lesion_table import NETWORK, LesionStudy
from lensloc.outliers import OUTLIER_RATIO
from lensloc.profiles import ResponseProfile
from lensloc.selectivity import Reliability, Selectivity
from lensloc.studies import Study
from lensloc.units import UnitMask

_FDR = 0.05
# Below half, another sample of stimuli selects mostly other units.
_FEW_SHARED = 0.5
_LOW_RELIABILITY = 0.5
_MANY_OUTLIERS = 0.1
_COSTS = {"accuracy": "a drop of {}", "perplexity": "a rise of the log perplexity of {}"}


def sides(found: Selectivity) -> tuple[str, str]:
    """Return the names of target and control."""
    made = found.provenance
    return " + ".join(made.target) or "the target", " + ".join(made.control) or "the control"


def listed(names: Iterable[object]) -> str:
    """Join names as in a sentence: ``a, b and c``."""
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def percentage(share: float) -> str:
    """Return a share as a percentage, with a decimal where it is small: ``0.3 %``, ``38 %``."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def _number(value: float) -> str:
    """Return a number with two decimals, and no sign before a zero."""
    return f"{value:.2f}".replace("-0.00", "0.00")


def counted(n: int, noun: str) -> str:
    """Return a number of things: ``1 text``, ``1,200 texts``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


# -- the summary -----------------------------------------------------------------------------------


def summary(study: Study) -> list[str]:
    """Say what a study found, in paragraphs: the units, how sure that is, what lesions cost."""
    selectivity, network = study.selectivity, study.network
    units = [*_selected(selectivity, network), _layers(network), *_dimensions(network)]
    sure = []
    if study.reliability is not None:
        sure.append(_reliability(study.reliability, selectivity, network))
    if study.profile is not None:
        sure.append(_profile(study.profile, study))
    lesions = ["No lesion was made, so whether the model needs these units is open."]
    if study.lesions is not None:
        lesions = lesion_summary(study.lesions, study.percent)
    return [" ".join(part) for part in (units, sure, lesions) if part]


def _selected(selectivity: Selectivity, network: UnitMask) -> list[str]:
    target, control = sides(selectivity)
    t, q = selectivity.t[network.mask], selectivity.q[network.mask]
    layers, units = network.shape
    n, positive = len(network), int((t > 0).sum())
    head = f"{n:,} of {layers * units:,} units at {network.site} were selected"
    if positive < n:
        first = (
            f"{head}, of which only {positive:,} respond more to {target} than to {control}; their "
            f"t runs from {t.min():.1f} to {t.max():.1f}."
        )
    else:
        first = (
            f"{head}, which respond more to {target} than to {control}; their t runs from "
            f"{t.min():.1f} to {t.max():.1f}."
        )
    share = float((selectivity.q < _FDR).double().mean())
    real = int((q < _FDR).sum())
    if real == 0:
        second = (
            "None of them differs between the conditions at a false discovery rate of 5 %: on "
            "these stimuli, the contrast localizes nothing that chance would not."
        )
    elif real < n:
        second = (
            f"Only {real:,} of them differ between the conditions at a false discovery rate of 5 %."
        )
    elif share > 10 * n / network.mask.numel():
        second = (
            f"{percentage(share)} of all units differ between the conditions at a false discovery "
            "rate of 5 %, so the selected ones are the extremes of a broad difference, not "
            "the only units that differ."
        )
    else:
        second = (
            "All of them differ between the conditions at a false discovery rate of 5 %, "
            f"as do {percentage(share)} of all units."
        )
    return [first, second]


def _layers(network: UnitMask) -> str:
    counts = network.per_layer()
    order = counts.argsort(descending=True, stable=True)
    busiest = [layer for layer in order[:3].tolist() if counts[layer] > 0]
    words = listed(f"{layer} ({int(counts[layer])})" for layer in busiest)
    half = int((counts[order].cumsum(0) * 2 < len(network)).sum()) + 1
    return (
        f"The layers with most of them are {words}; half of them lie in {half} of the "
        f"{len(counts)} layers."
    )


def _dimensions(network: UnitMask) -> list[str]:
    if not network.site.startswith("resid_"):
        return []
    distinct = len(network.unique_dims())
    if distinct == len(network):
        return []
    return [
        f"They are {distinct:,} different dimensions of the residual stream, counted again in "
        "every layer that they survive."
    ]


def _reliability(found: Reliability, selectivity: Selectivity, network: UnitMask) -> str:
    shared, chance = percentage(found.dice), percentage(found.dice_chance)
    d = float(selectivity.d[network.mask].mean())
    effect = (
        f"units picked on one half have d = {_number(found.d_held_out)} on the other "
        f"({_number(d)} on the stimuli that selected them)"
    )
    if found.dice <= 2 * found.dice_chance:
        return (
            f"Halves of the stimuli select units that share hardly more than chance ({shared}, "
            f"chance {chance}); {effect}."
        )
    if found.dice < _FEW_SHARED:
        return (
            f"Halves of the stimuli share only {shared} of the units that they select (chance "
            f"{chance}), so other stimuli would select mostly other units; {effect}."
        )
    return (
        f"Halves of the stimuli share {shared} of the units that they select (chance {chance}), "
        f"and t has a split-half reliability of {found.t:.2f}; {effect}."
    )


def _profile(profile: ResponseProfile, study: Study) -> str:
    table = profile.table.sort_values("standardised", ascending=False, kind="stable")
    order = listed(
        f"{row.condition} ({row.standardised:+.2f})" for row in table.itertuples(index=False)
    )
    where = "on stimuli that did not select them, " if profile.held_out else ""
    known = profile.table.set_index("condition")
    target = known.loc[list(study.contrast.target)].min()
    control = known.loc[list(study.contrast.control)].max()
    words = f"{where}the units respond, in standard deviations and from most to least, to {order}"
    if not target["standardised"] > control["standardised"]:
        return f"{_capital(words)}: no more to the target than to the control."
    if not target["standardised_low"] > control["standardised_high"]:
        return f"{_capital(words)}: not clearly more to the target than to the control."
    return f"{_capital(words)}."


# -- lesions ---------------------------------------------------------------------------------------


def lesion_summary(lesions: LesionStudy, percent: float | None = None) -> list[str]:
    """Say what every task lost at one size of the lesion, beside its controls."""
    table = lesions.table
    sizes = sorted(set(table["percent"]))
    size = min(sizes, key=lambda each: abs(each - (1.0 if percent is None else percent)))
    networks = table[(table["percent"] == size) & (table["kind"] == NETWORK)]
    compared = lesions.comparisons
    sentences = []
    for row in networks.to_dict("records"):
        sentences.append(_lesion(row))
        if not compared.empty:
            place = ["network", "mode", "percent", "task"]
            mine = compared[(compared[place] == pd.Series({k: row[k] for k in place})).all(axis=1)]
            sentences += _against_controls(mine, row["took_effect"])
    return sentences


def _lesion(row: dict[str, Any]) -> str:
    low, high = row["drop_low"], row["drop_high"]
    task, score, intact, measure = row["task"], row["score"], row["intact"], row["measure"]
    name = f"the {row['network']} network ({row['percent']:g} % of the units, {row['mode']})"
    if not row["took_effect"]:
        return f"Switching off {name} took no effect, so its scores on {task} say nothing."
    shown = "{:.2f}".format if measure == "accuracy" else "{:.3g}".format
    what = measure if measure == task else f"{measure} on {task}"
    change = f"{what} goes from {shown(intact)} to {shown(score)}"
    chance = row["chance"]
    if pd.notna(chance):
        change += f" (chance {chance:.2f})"
    cost = f"{_COSTS.get(measure, 'a loss of {}').format(_number(row['drop']))} "
    cost += f"[{_number(low)}, {_number(high)}]"
    if low <= 0 <= high:
        return f"Switching off {name} does no measurable harm: {change}, {cost}."
    verb = "does harm" if row["drop"] > 0 else "improves the score"
    return f"Switching off {name} {verb}: {change}, {cost}."


def _against_controls(rows: pd.DataFrame, took_effect: bool) -> list[str]:
    if not took_effect or rows.empty:
        return []
    clear = rows["difference_low"] > 0
    sentences = []
    if clear.any():
        found = listed(_control(row) for row in rows[clear].to_dict("records"))
        sentences.append(f"That is more than as many control units cost: {found}.")
    if not clear.all():
        found = listed(_control(row) for row in rows[~clear].to_dict("records"))
        sentences.append(f"It is not clearly more than these controls cost: {found}.")
    return sentences


def _control(row: dict[str, Any]) -> str:
    draws = f", {row['draws']} draws" if row["draws"] > 1 else ""
    return f"{control_name(row['kind'])} ({_number(row['control_drop'])}{draws})"


def control_name(kind: str) -> str:
    """Say what a kind of control is."""
    names = {
        "random": "random units",
        "layer": "random units of the same layers",
        "magnitude": "random units of the same magnitude",
        "layer+magnitude": "random units of the same layers and magnitude",
        "least-selective": "the least selective units",
        "without-outliers": "the network without its outliers",
    }
    return names.get(kind, kind)


# -- warnings --------------------------------------------------------------------------------------


def warnings_of(study: Study) -> list[str]:
    """Say what a reader should know before believing the figures."""
    sentences = [*study.found.warnings]
    if study.balance is not None:
        # Tokens are told by the localization, as it used them.
        sentences += [w for w in study.balance.warnings if " in tokens " not in w]
    sentences += [*_of_network(study), *_of_reliability(study), *study.warnings]
    if study.profile is not None:
        sentences += study.profile.warnings
    repeated = study.contrast.duplicates()
    if repeated:
        sentences.append(
            f"The contrast holds {counted(len(repeated), 'text')} more than once, which makes "
            "stimuli look more numerous than they are."
        )
    if study.lesions is not None:
        sentences += lesion_warnings(study.lesions)
    return list(dict.fromkeys(sentences))


def _of_network(study: Study) -> list[str]:
    selectivity, network = study.selectivity, study.network
    made = network.provenance
    sentences = []
    if made.untrained:
        sentences.append("The model is untrained: its weights are as initialised.")
    if made.check.startswith("failed"):
        sentences.append(f"The check of the model {made.check}")
    if made.lesion:
        sentences.append(f"The model was localized while a lesion was open: {made.lesion}.")
    if not (selectivity.q[network.mask] < _FDR).any():
        sentences.append(
            "No selected unit differs between the conditions at a false discovery rate of 5 %; "
            "they are the largest of what may be noise."
        )
    large = len(network & selectivity.outliers())
    if large >= _MANY_OUTLIERS * len(network):
        sentences.append(
            f"{large:,} of the {len(network):,} selected units "
            f"({percentage(large / len(network))}) are outliers in size: their mean absolute "
            f"response is above {OUTLIER_RATIO:g} times "
            "their layer's median, whatever the stimulus. Ask for controls matched in magnitude, "
            "or select without them."
        )
    return sentences


def _of_reliability(study: Study) -> list[str]:
    found = study.reliability
    if found is None or (found.t >= _LOW_RELIABILITY and found.dice >= _FEW_SHARED):
        return []
    return [
        f"Halves of the stimuli agree little (reliability of t {found.t:.2f}; "
        f"{percentage(found.dice)} of the selected units shared, by chance "
        f"{percentage(found.dice_chance)}): the network depends on which stimuli were used."
    ]


def lesion_warnings(lesions: LesionStudy) -> list[str]:
    """Say which lesions took no effect, and which controls do as much harm as the network."""
    sentences = [*lesions.warnings]
    compared = lesions.comparisons
    if compared.empty:
        if not lesions.table.empty:
            sentences.append(
                "The lesions have no controls beside them, so it is open whether other units would "
                "have done the same."
            )
        return sentences
    for (network, kind), rows in compared.groupby(["network", "kind"], sort=False):
        harmful = rows[rows["network_drop"] > 0]
        equal = harmful[~(harmful["difference_low"] > 0)]
        if len(equal):
            places = listed(_place(row) for row in equal.to_dict("records"))
            sentences.append(
                f"Lesions of {control_name(str(kind))} do not do clearly less harm than those of "
                f"{network} ({places}), so the harm may not be owed to selectivity."
            )
    return sentences


def _place(row: dict[str, Any]) -> str:
    return f"{row['task']} at {row['percent']:g} %"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

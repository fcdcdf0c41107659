"""What was selected, how sure that is, and what stands against it: every case once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lensloc.display.sentences.words import counted, known, number, percentage

# From here on texts are few: what they select seldom holds on others.
FEW_TEXTS = 10
HARDLY_ANY_TEXTS = 3
# Below half, another sample of stimuli selects mostly other units.
FEW_SHARED = 0.5
LOW_RELIABILITY = 0.5
# Constant units below this share of a site are not worth a word.
MANY_CONSTANT = 0.01
MANY_OUTLIERS = 0.1
# A difference is broad if it is found in so many times as many units as were selected.
BROAD = 10

FDR = "at a false discovery rate of 5 %"

Evidence = Literal["none", "some", "all", "all, and many more"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)
Agreement = Literal["no number", "chance", "few", "most"]
AGREEMENT: tuple[Agreement, ...] = get_args(Agreement)


@dataclass(frozen=True)
class Selected:
    """Units that were selected by their t.

    Attributes:
        site: where they are.
        n: how many.
        total: how many units the site has.
        positive: how many of them have a t above 0.
        lowest: smallest t of them.
        highest: largest t.
        significant: how many of them have a false discovery rate below 5 %.
        share: how much of the site's units has one, 0 to 1.
        target: the target's conditions, in words.
        control: the control's.
    """

    site: str
    n: int
    total: int
    positive: int
    lowest: float
    highest: float
    significant: int
    share: float
    target: str
    control: str

    @property
    def evidence(self) -> Evidence:
        """Which case this is."""
        if self.significant == 0:
            return "none"
        if self.significant < self.n:
            return "some"
        return "all, and many more" if self.share > BROAD * self.n / self.total else "all"


SELECTED: Mapping[Evidence, str] = {
    "none": "{none} between the conditions {fdr}: on these stimuli, the contrast localizes nothing "
    "that chance would not.",
    "some": "Only {significant:,} of them {differ} between the conditions {fdr}.",
    "all": "{all} between the conditions {fdr}, as {do} {share} of all units.",
    "all, and many more": "{share} of all units differ between the conditions {fdr}, so the "
    "selected ones are the extremes of a broad difference, not the only units that differ.",
}


def selected_sentences(found: Selected) -> list[str]:
    """Say how many units were selected, whether they prefer the target, and how many differ."""
    one = found.n == 1
    responds = "responds" if one else "respond"
    if found.positive == found.n:
        which = f"which {responds} more to {found.target} than to {found.control}"
    elif one:
        which = f"which does not respond more to {found.target} than to {found.control}"
    else:
        which = (
            f"of which only {found.positive:,} respond more to {found.target} than to "
            f"{found.control}"
        )
    t = number(found.lowest, 1)
    range_of_t = f"its t is {t}" if one else f"their t runs from {t} to {number(found.highest, 1)}"
    first = (
        f"{found.n:,} of {counted(found.total, 'unit')} at {found.site} "
        f"{'was' if one else 'were'} selected, {which}; {range_of_t}."
    )
    second = SELECTED[found.evidence].format(
        fdr=FDR,
        significant=found.significant,
        share=percentage(found.share),
        none="It does not differ" if one else "None of them differs",
        all="It differs" if one else "All of them differ",
        differ="differs" if found.significant == 1 else "differ",
        do="does" if one else "do",
    )
    return [first, second]


# -- halves of the stimuli -------------------------------------------------------------------------


@dataclass(frozen=True)
class Halves:
    """How well halves of the stimuli agree.

    Attributes:
        shared: share of the selected units that both halves select.
        chance: the same by chance.
        reliability: split-half reliability of t over all units.
        held_out: effect size (d) of units picked on one half, on the other.
        d: effect size on the stimuli that selected them.
    """

    shared: float
    chance: float
    reliability: float
    held_out: float
    d: float

    @property
    def agreement(self) -> Agreement:
        """Which case this is."""
        if not known(self.shared, self.chance):
            return "no number"
        if self.shared <= 2 * self.chance:
            return "chance"
        return "few" if self.shared < FEW_SHARED else "most"


HALVES: Mapping[Agreement, str] = {
    "no number": "Which units halves of the stimuli share gives no number{effect}.",
    "chance": "Halves of the stimuli select units that share hardly more than chance ({shared}, "
    "chance {chance}){effect}.",
    "few": "Halves of the stimuli share only {shared} of the units that they select (chance "
    "{chance}), so other stimuli would select mostly other units{effect}.",
    "most": "Halves of the stimuli share {shared} of the units that they select (chance {chance})"
    "{reliability}{effect}.",
}
HALVES_NOTE = (
    "Halves of the stimuli agree little ({facts}): the network depends on which stimuli were used."
)


def halves_sentence(found: Halves) -> str:
    """Say how many units halves of the stimuli share, and what effect is left."""
    effect = reliability = ""
    if known(found.held_out):
        effect = f"; units picked on one half have d = {number(found.held_out)} on the other"
        if known(found.d):
            effect += f" ({number(found.d)} on the stimuli that selected them)"
    if known(found.reliability):
        reliability = f", and t has a split-half reliability of {number(found.reliability)}"
    return HALVES[found.agreement].format(
        shared=percentage(found.shared),
        chance=percentage(found.chance),
        reliability=reliability,
        effect=effect,
    )


def halves_notes(found: Halves) -> list[str]:
    """Say so if halves of the stimuli agree little."""
    facts = []
    if not found.reliability >= LOW_RELIABILITY:
        facts.append(f"reliability of t: {number(found.reliability)}")
    if not found.shared >= FEW_SHARED:
        facts.append(
            f"{percentage(found.shared)} of the selected units shared, by chance "
            f"{percentage(found.chance)}"
        )
    return [HALVES_NOTE.format(facts="; ".join(facts))] if facts else []


# -- what stands against a selection ---------------------------------------------------------------


def nothing_selected(end: str, n: int, significant: int, site: str) -> list[str]:
    """Say so if none of the selected units differs between the conditions.

    Args:
        end: from which end of the ranking they are: ``top`` or ``bottom``.
        n: how many.
        significant: how many of them have a false discovery rate below 5 %.
        site: where they are.
    """
    if n == 0 or significant > 0:
        return []
    which = f"The {end} unit" if n == 1 else f"None of the {end} {n:,} units"
    verb = "does not differ" if n == 1 else "differs"
    what = "it is" if n == 1 else "they are"
    return [
        f"{which} at {site} {verb} between the conditions {FDR}; {what} the largest of what may be "
        "noise."
    ]


def nothing_localized(
    site: str, target: str, control: str, *, prefer_target: int, prefer_control: int
) -> list[str]:
    """Say so if no unit of a site prefers the target.

    Args:
        site: name of the site.
        target: the target's conditions, in words.
        control: the control's.
        prefer_target: units with a false discovery rate below 5 % and t above 0.
        prefer_control: those with t below 0.
    """
    if prefer_target > 0:
        return []
    if prefer_control > 0:
        verb = "prefers" if prefer_control == 1 else "prefer"
        return [
            f"No unit at {site} prefers {target} to {control} {FDR}, and {prefer_control:,} {verb} "
            f"{control}: nothing was localized for {target}."
        ]
    return [
        f"No unit at {site} differs between {target} and {control} {FDR}: nothing was localized "
        "that chance would not give."
    ]


def few_texts(n_target: int, n_control: int, of: str = "text") -> list[str]:
    """Say so if a side has few different texts, or pictures: whatever the stimuli are."""
    least = min(n_target, n_control)
    if least >= FEW_TEXTS:
        return []
    counts = (
        f"The target has {counted(n_target, f'different {of}')} and the control "
        f"{counted(n_control, f'different {of}')}"
    )
    if least <= HARDLY_ANY_TEXTS:
        return [
            f"{counts}; {HARDLY_ANY_TEXTS} or fewer per side cannot tell selective units from "
            "others: use 10 or more."
        ]
    return [
        f"{counts}, which is few: what they select may not hold on other {of}s; use {FEW_TEXTS} or "
        "more per side."
    ]


def shared_texts(
    shared: int, n_target: int, n_control: int, example: str, of: str = "text"
) -> list[str]:
    """Say so if texts stand on both sides.

    Args:
        shared: different texts that both sides hold.
        n_target: different texts of the target.
        n_control: different texts of the control.
        example: one of the shared ones.
        of: what the stimuli are.
    """
    if shared == 0:
        return []
    if shared == n_target == n_control:
        return [f"Target and control hold the same {of}s, so there is nothing to localize."]
    verb = "stands" if shared == 1 else "stand"
    return [
        f"{counted(shared, of)} of {n_target:,} (target) and {n_control:,} (control) {verb} "
        f"on both sides, e.g. {example!r}: no unit can prefer one side in them."
    ]


def repeated_texts(repeated: int, of: str = "text") -> list[str]:
    """Say so if texts occur more than once."""
    if repeated == 0:
        return []
    return [
        f"The contrast holds {counted(repeated, of)} more than once, which makes stimuli look "
        "more numerous than they are."
    ]


def unequal_lengths(target: float, control: float) -> str:
    """Say how many tokens per text the sides have on average."""
    return (
        f"The target averages {number(target, 1)} tokens per text and the control "
        f"{number(control, 1)}; a difference in length can pass for selectivity (see "
        "Contrast.matched and confound_check)."
    )


def unequal_measure(measure: str, unit: str, target: float, control: float, of: str) -> str:
    """Say how the sides differ in what is measured on stimuli that are no texts.

    Args:
        measure: what.
        unit: of the numbers; may be empty.
        target: mean of the target's stimuli.
        control: mean of the control's.
        of: what the stimuli are.
    """
    units = f" {unit}" if unit else ""
    return (
        f"The target's {of}s average {number(target, 3)}{units} in {measure} and the control's "
        f"{number(control, 3)}; such a difference can pass for selectivity (see Contrast.balance)."
    )


def constant_units(constant: int, total: int, site: str, of: str = "text") -> list[str]:
    """Say so if many units give the same response to every text."""
    if constant == 0 or constant < MANY_CONSTANT * total:
        return []
    if constant == total:
        return [f"Every unit at {site} gives the same response to all {of}s, so none has a t."]
    return [
        f"{counted(constant, 'unit')} of {total:,} at {site} "
        f"{'gives' if constant == 1 else 'give'} the same response to all {of}s (t = 0)."
    ]


def of_model(*, untrained: bool, check: str, lesion: str) -> list[str]:
    """Say what to mind in the model: no training, a check that failed, an open lesion."""
    sentences = []
    if untrained:
        sentences.append("The model is untrained: its weights are as initialised.")
    if check.startswith("failed"):
        sentences.append(f"The check of the model {check}")
    if lesion:
        sentences.append(f"The model was localized while a lesion was open: {lesion}.")
    return sentences


def large_units(end: str, n: int, large: int, site: str, ratio: float) -> list[str]:
    """Say so if many of the selected units are large whatever the stimulus.

    Args:
        end: from which end of the ranking they are: ``top`` or ``bottom``.
        n: how many.
        large: how many of them are large.
        site: where they are.
        ratio: to the median of their layer, from which on a unit is large.
    """
    if n == 0 or large == 0 or large < MANY_OUTLIERS * n:
        return []
    if n == 1:
        which, whose = f"The {end} unit at {site} is an outlier", "its"
    elif large == 1:
        which, whose = f"1 of the {end} {n:,} units at {site} is an outlier", "its"
    else:
        share = percentage(large / n)
        which = f"{large:,} of the {end} {n:,} units at {site} ({share}) are outliers"
        whose = "their"
    return [
        f"{which} in size: {whose} mean absolute response is above {ratio:g} times the median of "
        f"{whose} layer, whatever the stimulus. Ask for controls matched in magnitude, or select "
        "without outliers."
    ]

"""The figures of README and docs, printed again.

    python tests/benchmarks/findings.py [SECTION ...] [--device cuda] [--backend transformers]

Sections: published, profile, tasks, kinds, pairs, lesions, elsewhere, level, ways, multiverse,
specificity, neurons, reading; all if none is named. Each names the protocol that its figures are
of. ``--store`` keeps lesions that were measured, so that an interrupted run goes on. ``reading``
needs ``--stories``, a folder of Natural Stories, which ``lensloc alignment fetch naturalstories``
fetches; without, it is left out of all.
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import lensloc as ll
from lensloc.results.draws import compare

MODEL = "smollm2-135m"
PUBLISHED, DEFAULT = "alkhamissi2024", "lensloc"
POOLING = {"language": "last-token", "theory of mind": "mean", "multiple demand": "mean"}
LANGUAGES = ("en", "de", "tr", "fr", "es")


@dataclass(frozen=True)
class Material:
    """What sections are measured on.

    Attributes:
        model: the model.
        untrained: the same with weights as initialised.
        store: where lesions that were measured are kept; None for nowhere.
        few: use only so many texts per condition, to see that a section runs; None for all.
        items: use only so many items, questions and draws; None for all.
        stories: folder of Natural Stories; None if it is not there.
    """

    model: Any
    untrained: Any
    store: ll.Store | None = None
    few: int | None = None
    items: int | None = None
    stories: Path | None = None

    def contrast(self, name: str) -> ll.Contrast:
        found = ll.contrasts.get(name)
        if self.few is None:
            return found
        # Short ones, which fit into any window.
        return found.keep({
            condition: sorted(range(len(texts)), key=lambda row: len(texts[row]))[: self.few]
            for condition, texts in found.conditions.items()
        })  # fmt: skip

    def at_most(self, n: int) -> int:
        return n if self.items is None else min(n, self.items)

    @property
    def percent(self) -> float:
        """How many units make a network."""
        return 1.0 if self.few is None else 10.0

    @property
    def truncate(self) -> bool:
        return self.few is not None


def show(title: str, protocol: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a Markdown table below what they are and which protocol they are of."""
    found = list(rows)
    print(f"\n**{title}** (protocol: {protocol})\n")
    names = list(found[0])
    print(f"| {' | '.join(names)} |")
    print(f"|{'---|' * len(names)}")
    for row in found:
        print(f"| {' | '.join(str(row[name]) for name in names)} |")


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def ends(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"[{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else "(no interval)"


# -- what the published protocol picks -------------------------------------------------------------


def published(given: Material) -> None:
    """What the published protocol picks, and how much of it is due to lengths."""
    contrast = given.contrast("language")
    table = ll.confound_check(given.model, contrast, percent=given.percent, progress=False)
    show(
        "Units picked by other procedures that the published protocol picks too, top 1 %",
        "as each row says; 'published' is 12 tokens, last token, absolute activations",
        (
            {
                "units picked by": row.procedure,
                "shared with": row.against,
                "share": f"{row.share:.0f} %",
                "tokens, target": f"{row.tokens_target:.1f}",
                "tokens, control": f"{row.tokens_control:.1f}",
            }
            for row in table.itertuples()
        ),
    )
    rows = []
    for protocol in (PUBLISHED, DEFAULT):
        found = localized(given.model, contrast, protocol)
        network = found.top(percent=given.percent)
        times = network.mask.sum(dim=0)
        most = times.argsort(descending=True, stable=True)[:2].tolist()
        nothing = localized(given.untrained, contrast, protocol)
        rows.append(
            {
                "protocol": protocol,
                "units": len(network),
                "dimensions": len(network.unique_dims()),
                "most often": ", ".join(f"{unit} ({int(times[unit])})" for unit in most),
                "outliers": len(network & found.outliers()),
                "layers": int((network.per_layer() > 0).sum()),
                "q < 0.05": percent(float((found.q < 0.05).double().mean()), 1),
                "q < 0.05, untrained": percent(float((nothing.q < 0.05).double().mean()), 1),
                "largest t": f"{found.t.max():.1f}",
            }
        )
    show("The top 1 % of block outputs, both protocols", "as each row says", rows)


def localized(model: Any, contrast: ll.Contrast, protocol: str) -> ll.Selectivity:
    return ll.localize(model, contrast, protocol=protocol, progress=False)["resid_post"]  # type: ignore[arg-type]


def profile(given: Material) -> None:
    """Responses of the language network in every condition."""
    contrast = given.contrast("language")
    for protocol in (PUBLISHED, DEFAULT):
        network = localized(given.model, contrast, protocol).top(percent=given.percent)
        found = ll.response_profile(given.model, network, contrast, progress=False)
        show(
            "Response of the language network, picked and measured on different halves",
            protocol,
            (
                {
                    "condition": row.condition,
                    "absolute": f"{row.absolute:.1f}",
                    "standardised": f"{row.standardised:+.2f}",
                    "signed": f"{row.signed:+.2f}",
                }
                for row in found.table.itertuples()
            ),
        )
        print("\n" + " ".join(found.summary()))


def tasks(given: Material) -> None:
    """Scores of the intact model on the bundled tasks."""
    every = [
        ll.tasks.minimal_pairs(limit=given.items),
        ll.tasks.multiple_choice("commonsense", limit=given.items),
        ll.tasks.multiple_choice("arithmetic", limit=given.items),
        ll.tasks.perplexity(limit=given.items),
    ]
    rows = []
    for task in every:
        result = task(given.model)
        rows.append(
            {
                "task": result.task,
                "measure": result.measure,
                "items": len(result.items),
                "score": f"{result.score:.3g}",
                "chance": "" if result.chance is None else f"{result.chance:.2f}",
            }
        )
    show("Scores of the intact model", "none, since no unit is selected", rows)


# -- kinds of units --------------------------------------------------------------------------------


def kinds(given: Material) -> None:
    """Selectivity, reliability and lesions of every kind of unit."""
    networks = {
        name: given.contrast(name.replace(" ", "-"))
        for name in ("language", "theory of mind", "multiple demand")[: given.few and 1]
    }
    table = ll.compare_granularities(
        given.model,
        networks,
        percent=given.percent,
        pooling=POOLING,  # type: ignore[arg-type]
        n_splits=given.at_most(10),
        attribution="grad_x_act",
        attribution_limit=given.at_most(40),
        truncate=given.truncate,
        progress=False,
    )
    show(
        "Top 1 % of every site; ten splits; attribution on 40 texts per condition",
        f"{DEFAULT}; language: last token, the others: mean over tokens",
        (
            {
                "network": row.network,
                "site": row.site,
                "significant, target / control": f"{percent(row.significant_target)} / "
                f"{percent(row.significant_control)}",
                "d, held out (not)": f"{row.selected_d_cv:.2f} ({row.selected_d:.2f})",
                "reliability of t": f"{row.reliability:.2f}",
                "Dice of halves": f"{row.dice:.2f}",
                "depth": f"{row.layer_centre:.2f}",
                "outliers": f"{row.outliers} of {row.n_selected}",
                "repeats": "" if pd.isna(row.repeats) else row.repeats,
                "rho with attribution": f"{row.agreement:.2f}",
            }
            for row in table.itertuples()
        ),
    )
    dropped = ll.compare_granularities(
        given.model,
        networks["language"],
        percent=given.percent,
        n_splits=1,
        lesion=True,
        task=ll.tasks.minimal_pairs(limit=given.at_most(2)),
        number=10,
        control_seeds=range(2),
        truncate=given.truncate,
        store=given.store,
        progress=False,
    )
    show(
        "Drop in accuracy on minimal pairs; control: mean of two draws, as many in every layer, on "
        "other dimensions",
        f"{DEFAULT}, last token",
        (
            {
                "site": row["site"],
                "top 1 %": dropped_by(row, "fraction"),
                "control": f"{row['drop_fraction_control']:.2f}",
                "ten units": dropped_by(row, "number"),
                "control (ten)": f"{row['drop_number_control']:.2f}",
            }
            for row in dropped.to_dict("records")
        ),
    )


def dropped_by(row: Mapping[str, Any], size: str) -> str:
    return f"{row[f'drop_{size}']:.2f} {ends(row, f'drop_{size}')}"


# -- clean and corrupted pairs ---------------------------------------------------------------------


def pairs(given: Material) -> None:
    """Units that carry a difference: attribution patching beside t and exact patching."""
    sites = ["resid_post", "mlp_post", "head"]
    contrast = given.contrast("language")
    t = ll.localize(given.model, contrast, sites, progress=False)
    rows, curves = [], []
    for name in ("agreement", "sums", "belief"):
        asked = material_pairs(given, name)
        chosen_on, measured_on = asked.split(0)
        found = ll.localize_pairs(given.model, chosen_on, sites, progress=False)
        metric = found.metric()
        for site, effects in found.items():
            k = max(1, effects.score.numel() // 100)
            top = effects.top(k=k)
            rows.append(
                {
                    "pairs": name,
                    "metric, clean / corrupted": f"{metric['metric_clean'].mean():.2f} / "
                    f"{metric['metric_corrupted'].mean():.2f}",
                    "site": site,
                    "top 1 %, shared with t of language": f"{len(top & t[site].top(k=k))} of {k}",
                    "rho with t": f"{effects.agreement(t[site].t):+.2f}",
                    "rho with abs. t": f"{effects.agreement(t[site].t, absolute=True):+.2f}",
                    "depth": f"{depth(top):.2f}",
                }
            )
            if name == "agreement" and site != "resid_post":
                several = {"pairs": effects, "t of language": t[site]}
                curves += curves_of(given, measured_on, site, several)
    show("Effects of pairs, found on one half of them", "attribution patching", rows)
    show(
        "How much the first k units carry (agreement), on the other half: only they are clean / "
        "only they are corrupted",
        "attribution patching; t: lensloc, last token",
        curves,
    )


def material_pairs(given: Material, name: str) -> ll.Pairs:
    if given.few is None:
        return (
            ll.Pairs.bundled(name)
            .limited(given.at_most(8 if name == "agreement" else 24))
            .aligned(given.model)
        )
    # Pairs that any tokenizer aligns.
    letters = "abcdefghijkl"
    return ll.Pairs.from_texts(
        [f"{letter} 1" for letter in letters[:-1]],
        [f"{letter} 1" for letter in letters[1:]],
        ["Q"] * 11,
        ["R"] * 11,
        name=name,
    )


def depth(mask: ll.UnitMask) -> float:
    layers = torch.arange(mask.shape[0], dtype=torch.float64) / (mask.shape[0] - 1)
    return float((mask.per_layer() * layers).sum() / len(mask))


def curves_of(
    given: Material, measured_on: ll.Pairs, site: str, rankings: Mapping[str, Any]
) -> list[dict[str, str]]:
    total = next(iter(rankings.values())).shape
    total = total[0] * total[1]
    shares = (0.001, 0.01, 0.05, 0.2)
    sizes = sorted({max(1, round(share * total)) for share in shares})
    try:
        found = ll.faithfulness(
            given.model,
            measured_on,
            rankings,
            sizes=sizes,
            n_random=given.at_most(3),
            n_exact=given.at_most(16),
            progress=False,
        )
    except ll.LensLocError as error:  # a model of the tests may carry nothing there
        empty = {f"{100 * share:g} %": "" for share in shares}
        return [{"site": site, "ranking": str(error), **empty, "rho with exact": ""}]
    rows = []
    table = found.table.groupby(["ranking", "curve", "k"], sort=False)["share"].mean()
    for ranking in [*rankings, "random"]:
        row = {"site": f"{site} (carries {percent(found.carried)})", "ranking": ranking}
        for share in shares:
            k = max(1, round(share * total))
            kept, taken = (table[ranking, curve, k] for curve in ("faithfulness", "completeness"))
            row[f"{100 * share:g} %"] = f"{percent(kept)} / {percent(taken)}"
        row["rho with exact"] = (
            f"{found.agreement[ranking]:.2f}" if ranking in found.agreement else ""
        )
        rows.append(row)
    return rows


# -- lesions ---------------------------------------------------------------------------------------


def lesions(given: Material) -> None:
    """The study of the README: every network beside draws that lie elsewhere, and how alike."""
    found = localized(given.model, given.contrast("language"), DEFAULT)
    sizes = (0.5, 1.0, 2.0) if given.few is None else (5.0, 10.0)
    every = [
        ll.tasks.minimal_pairs(limit=given.at_most(4)),
        ll.tasks.perplexity(limit=given.at_most(10)),
        ll.tasks.multiple_choice("commonsense", limit=given.at_most(8)),
    ]

    def studied(kinds: Sequence[Any], n_draws: int, percents: Sequence[float]) -> ll.LesionStudy:
        controls = ll.controls(
            kinds, seeds=range(given.at_most(n_draws)), without_outliers=n_draws == 20
        )
        return ll.lesion_study(
            given.model, {"language": found}, every, controls, percents, store=given.store,
            progress=False,
        )  # fmt: skip

    study = studied([None, "layer", "magnitude+outliers"], 20, sizes)
    others = studied(["magnitude", "dimension+magnitude", "least-active"], 5, [sizes[1]])
    rows = []
    networks = study.table[study.table["kind"] == "network"]
    for (task, kind), part in [
        *networks.groupby(["task", "kind"], sort=False),
        *study.comparisons.groupby(["task", "kind"], sort=False),
        *others.comparisons.groupby(["task", "kind"], sort=False),
    ]:
        own = kind == "network"
        row = {"harm to": task, "lesioned": kind, "draws": "" if own else part["draws"].iloc[0]}
        row |= {f"{size:g} %": "" for size in sizes}
        for each in part.to_dict("records"):
            drop = each["drop"] if own else each["control_drop"]
            p = "" if own or np.isnan(each["p_more"]) else f", p {each['p_more']:.3f}"
            row[f"{each['percent']:g} %"] = (
                f"{drop:.2f} {ends(each, 'drop' if own else 'difference')}{p}"
            )
        rows.append(row)
    show(
        "Harm: share of items, or nats per token; in brackets 95 % intervals, of controls those of "
        "network minus control, and p that the network does more harm than a draw",
        f"{DEFAULT}, last token",
        sorted(rows, key=lambda row: str(row["harm to"])),
    )
    for row in networks.drop_duplicates("task").itertuples():
        print(f"\n{row.task}, intact: {row.intact:.3g} ({row.n_items} items)")
    print("\n" + "\n".join(study.summary(1)))
    show(
        "How alike network and controls are, means over draws",
        f"{DEFAULT}, last token",
        (
            {
                "size": f"{row.percent:g} %",
                "control": row.kind,
                "standardised difference": f"{row.smd:+.2f}",
                "outliers": f"{row.outliers_network:.0f} and {row.outliers_control:.1f}",
                "dimensions shared": f"{row.dimensions_shared:.0f}",
                "draws alike": "" if np.isnan(row.alike) else f"{row.alike:.2f}",
                "match": "poor" if row.poor else "",
            }
            for row in pd.concat([study.balance, others.balance]).itertuples()
        ),
    )
    phenomena = study.by_group("phenomenon")
    first = phenomena[(phenomena["kind"] == "network") & (phenomena["percent"] == sizes[0])]
    show(
        f"What falls first: phenomena of minimal pairs at {sizes[0]:g} %",
        f"{DEFAULT}, last token",
        (
            {
                "phenomenon": row.group,
                "pairs": row.n_items,
                "intact": f"{row.intact:.2f}",
                "harm": f"{row.drop:.2f}",
                "q": f"{row.q:.3f}",
                "falls at": "" if np.isnan(row.falls_at) else f"{row.falls_at:g} %",
            }
            for row in first.itertuples()
        ),
    )


def elsewhere(given: Material) -> None:
    """What controls matched in magnitude cost, by where they lie: three seeds at every size."""
    found = localized(given.model, given.contrast("language"), DEFAULT)
    task = ll.tasks.minimal_pairs(limit=given.at_most(4))
    rows = []
    for size in (0.5, 1.0, 2.0) if given.few is None else (5.0, 10.0):
        network = found.top(percent=size)
        own = network.throughout()
        masks = {"network": network}
        for seed in range(given.at_most(3)):
            (anywhere,) = ll.controls("magnitude", seeds=[seed], elsewhere=False)(network)
            parts = {
                "anywhere": anywhere.mask,
                "its part on the network's dimensions": anywhere.mask & own,
                "its other part": anywhere.mask - own,
            }
            for kind in ("magnitude", "magnitude+outliers"):
                (control,) = ll.controls(kind, seeds=[seed])(network)
                parts[f"elsewhere, {kind}"] = control.mask
            masks |= {f"{what}, seed {seed}": mask for what, mask in parts.items() if len(mask)}
        study = ll.lesion_study(given.model, masks, [task], store=given.store, progress=False)
        rows += [
            {
                "size": f"{size:g} %",
                "lesioned": row.network,
                "units": row.n_units,
                "left": f"{row.score:.3f}",
                "harm": f"{row.drop:.3f}",
            }
            for row in study.table.itertuples()
        ]
    show(
        "Accuracy on minimal pairs under controls matched in magnitude, anywhere and elsewhere",
        f"{DEFAULT}, last token",
        rows,
    )


def specificity(given: Material) -> None:
    """Networks x tasks: does the lesion of a network harm its own tasks only?"""
    names = ("language", "theory-of-mind", "multiple-demand")
    small = given.few is not None  # a tiny model knows nothing, and has a short window
    tasks = ll.tasks.domains(("grammar", "commonsense", "facts") if small else None,
                             items=given.items and 9 * given.items)  # fmt: skip
    networks: dict[str, Any] = {name: given.contrast(name) for name in names}
    domains, room = None, None
    if small:
        networks = {"language": networks["language"]}
        domains, room = {"language": ["grammar"]}, {task.name: 0.5 for task in tasks}
    found = ll.specificity(
        given.model, networks, tasks, ll.controls("magnitude+outliers", seeds=range(
            given.at_most(20) if given.items is None else 2)),
        domains, percent=given.percent, room=room, answered=None if small else 0.4,
        store=given.store, progress=False,
    )  # fmt: skip
    show(
        "What is measured: kinds of items that the intact model answers on the other half",
        "none, since no unit is selected",
        (
            {
                "task": row.task,
                "items": row.items,
                "kinds answered": "all" if np.isnan(row.kinds) else
                f"{row.kinds_answered:.0f} of {row.kinds:.0f}",
                "measured": row.n_items,
                "intact": f"{row.intact:.2f}",
                "guessing": f"{row.chance:.2f}",
            }
            for row in found.room.itertuples()
        ),
    )  # fmt: skip
    for kind in found.found:
        table = found.table[(found.table["kind"] == kind) | found.table["kind"].isna()]
        rows = []
        for network, part in table.groupby("network", sort=False):
            row = {"lesioned": network}
            for each in part.to_dict("records"):
                words = f"{each['share']:.2f} ({each['control_share']:.2f}, p {each['p_more']:.3f})"
                row[each["task"]] = f"**{words}**" if each["own"] else words
            rows.append(row)
        show(
            "Share of the room to fall that is lost, own tasks in bold; in brackets the mean of "
            f"control draws ({kind}), and p that the network does more harm than a draw",
            f"{DEFAULT}, last token",
            rows,
        )
    show(
        "Index: share that its own tasks lose minus that of all others, and of control draws",
        f"{DEFAULT}, last token",
        (
            {
                "control": row.kind,
                "network": row.network,
                "index": f"{row.index_:.2f}",
                "of draws": f"{row.control_index:.2f}",
                "difference": f"{row.difference:.2f} [{row.difference_low:.2f}, "
                f"{row.difference_high:.2f}]",
                "standard deviations of draws": f"{row.standardised:.1f}",
                "p": f"{row.p:.4f}",
            }
            for row in found.indices.rename(columns={"index": "index_"}).itertuples()
        ),
    )
    print("\n" + "\n".join(found.summary()))


def level(given: Material) -> None:
    """Draws of a control, each held against others: how often is one called more harmful?"""
    found = localized(given.model, given.contrast("language"), DEFAULT)
    network = found.top(percent=given.percent)
    task = ll.tasks.minimal_pairs(limit=given.at_most(2))
    several = 40 if given.items is None else 4
    rng = np.random.default_rng(0)
    rows = []
    for kind in ("random", "magnitude+outliers"):
        wanted = ll.controls(kind, seeds=range(several))
        study = ll.lesion_study(
            given.model, {"language": network}, [task], wanted, exact=True, store=given.store,
            progress=False,
        )  # fmt: skip
        items = study.items[study.items["kind"] == kind]
        drops = [
            (draw["intact"] - draw["value"]).to_numpy()
            for _, draw in items.groupby("seed", sort=True)
        ]
        held = []
        for at, one in enumerate(drops):
            others = [draw for number, draw in enumerate(drops) if number != at]
            chosen = rng.permutation(len(others))[:20]
            held.append(compare(one, [others[number] for number in chosen], kind=kind))
        rows.append(
            {
                "draws of": kind,
                "each held against": min(20, several - 1),
                "called more harmful, rank test at 5 %": percent(
                    float(np.mean([one.p_more <= 0.05 for one in held]))
                ),
                "interval excludes zero": percent(
                    float(np.mean([one.excludes_zero for one in held]))
                ),
                "SD of draws": f"{float(np.std([one.mean() for one in drops], ddof=1)):.3f}",
            }
        )
    show(
        f"Level on the model: {several} draws of a control, each held against others",
        f"{DEFAULT}, last token",
        rows,
    )


def ways(given: Material) -> None:
    """What the network's units become: zero, their mean, another response, the mean for good."""
    contrast = given.contrast("language")
    found = localized(given.model, contrast, DEFAULT)
    study = ll.lesion_study(
        given.model,
        {"language": found.top(percent=given.percent)},
        [ll.tasks.minimal_pairs(limit=given.at_most(4))],
        ll.controls("magnitude+outliers", seeds=range(given.at_most(20))),
        modes=["zero", "mean", "resample", "dims-mean"],
        reference=contrast,
        store=given.store,
        progress=False,
    )
    rows = []
    for row in study.comparisons.itertuples():
        own = study.table[(study.table["mode"] == row.mode) & (study.table["kind"] == "network")]
        (network,) = own.to_dict("records")
        rows.append(
            {
                "units become": row.mode,
                "units": network["n_units"],
                "harm": f"{network['drop']:.2f} {ends(network, 'drop')}",
                "control": f"{row.control_drop:.2f}",
                "p": f"{row.p_more:.3f}",
            }
        )
    show(
        "Harm to minimal pairs, by what the units become; control: as many units of the same "
        "magnitude and share of outliers",
        f"{DEFAULT}, last token",
        rows,
    )


def multiverse(given: Material) -> None:
    """In how many specifications does the claim about the language network hold?"""
    tiny = {
        "activations": ("absolute", "signed"),
        "site": ("resid_post", "mlp_post"),
        "percent": (5.0, 10.0),
        "control": ("random",),
    }
    found = ll.multiverse(
        given.model,
        given.contrast("language"),
        [ll.tasks.minimal_pairs(limit=given.at_most(1))],
        None if given.few is None else tiny,
        draws=given.at_most(20),
        store=given.store,
        progress=given.store is not None,
    )
    show(
        f"Specifications with each choice, of {found.n_specifications}: in how many the language "
        "network does more harm to minimal pairs than control units",
        f"{DEFAULT} but for what is chosen",
        (
            {
                "choice": row.choice,
                "value": row.value,
                "specifications": row.specifications,
                "holds": f"{row.holds} ({percent(row.share)})",
                "median difference": f"{row.difference:+.2f}",
            }
            for row in found.by_value().itertuples()
        ),
    )
    show(
        "What every choice changes, all else equal",
        f"{DEFAULT} but for what is chosen",
        (
            {
                "choice": row.choice,
                "pairs": row.pairs,
                "mean absolute change": f"{row.change:.3f}",
                "verdict changes": "" if pd.isna(row.verdicts) else percent(row.verdicts),
            }
            for row in found.matters().itertuples()
        ),
    )
    table = found.table.sort_values("difference", ascending=False)
    show(
        "All specifications",
        f"{DEFAULT} but for what is chosen",
        (
            {
                **{name: row[name] for name in found.varied},
                "units": row["n_units"],
                "overlap": "" if pd.isna(row["overlap"]) else f"{row['overlap']:.2f}",
                "drop": f"{row['network_drop']:.2f}",
                "control": f"{row['control_drop']:.2f}",
                "difference": f"{row['difference']:+.2f} {ends(row, 'difference')}",
                "p": f"{row['p_more']:.3f}",
                "verdict": row["verdict"],
            }
            for row in table.to_dict("records")
        ),
    )
    print("\n" + "\n".join([*found.summary(), *found.warnings]))


# -- language neurons ------------------------------------------------------------------------------


def neurons(given: Material) -> None:
    """Language neurons: how many, needed for what, and whether they steer."""
    window = {} if given.few is None else {"window": 48}
    counts = ll.lape.record(
        given.model, texts_of(given, "train"), keep_windows=True, progress=False, **window
    )
    rates = (0.01, 0.95, 0.95) if given.few is None else (0.3, 0.1, 0.1)
    found = ll.lape.identify(
        counts, *rates, null=ll.lape.null(counts, permutations=given.at_most(200))
    )
    show("Neurons of every language", f"published rule, rates {rates}", neurons_of(found))
    masks = {name: mask for name, mask in found.masks.items() if len(mask)}
    show(
        "How confined neurons are: how many belong to no other language, and at which share of the "
        "tokens of every language they are active, mean over neurons",
        f"published rule, rates {rates}",
        shared_by(counts, masks),
    )
    matrix = ll.lape.perplexity(
        given.model, masks, {n: t for n, t in texts_of(given, "held-out").items() if n in masks},
        limit=given.at_most(10), controls=ll.controls(seeds=[0]), store=given.store,
        progress=False,
    )  # fmt: skip
    own, random = (matrix.matrix(kind) for kind in ("network", "random"))
    show(
        "Change of log perplexity, nats per token; in brackets as many random neurons, one draw",
        "neurons at zero",
        (
            {"lesioned": name}
            | {t: f"{own.loc[name, t]:.2f} ({random.loc[name, t]:.2f})" for t in own.columns}
            for name in own.index
        ),
    )
    tokens = given.at_most(40)
    answers = ll.lape.generate(
        given.model,
        ll.lape.questions(list(masks), limit=given.at_most(10), instruction=given.few is None),
        masks,
        max_new_tokens=tokens, store=given.store, progress=False,
    )  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for row in answers.table.itertuples():
        rows.setdefault(row.lesioned, {"lesioned": row.lesioned})[row.asked] = (
            f"{row.in_language:.1f} ({row.stop_words:.2f})"
        )
    show(
        f"Answers in the language asked in, of {given.at_most(10)}; in brackets the share of its "
        f"stop words; {tokens} tokens",
        "neurons at zero, greedy, repetition penalty 1.1",
        rows.values(),
    )
    toward = [name for name in ("de", "fr") if name in masks]
    asked = next((name for name in masks if name not in toward), "")
    if toward and asked:
        steering(given, masks, asked, toward, tokens)
    formal = given.contrast("formal")
    other = ll.lape.record(
        given.model, formal.conditions, window=48 if given.few else 64, keep_windows=True,
        progress=False,
    )  # fmt: skip
    show(
        "Neurons of other conditions than languages",
        f"published rule, rates {rates}",
        neurons_of(ll.lape.identify(other, *rates)),
    )


def texts_of(given: Material, part: Any) -> dict[str, list[str]]:
    every = ll.lape.prose(LANGUAGES, part)
    return {name: texts[: given.few] for name, texts in every.items()}


def neurons_of(found: ll.lape.Identified) -> list[dict[str, Any]]:
    return [
        {
            "language": row["language"],
            "tokens": f"{row['tokens']:,}",
            "neurons": row["neurons"],
            f"in the last third of {len(row['per_layer'])} layers": sum(
                row["per_layer"][-(len(row["per_layer"]) // 3) :]
            ),
            "mean LAPE (nats)": f"{row['mean_entropy']:.2f}",
            **({"below the null's 1 %": percent(row["below_null"])} if "below_null" in row else {}),
        }
        for row in found.table.to_dict("records")
    ]


def shared_by(
    counts: ll.lape.ActivationCounts, masks: Mapping[str, ll.UnitMask]
) -> list[dict[str, Any]]:
    owners = sum(mask.mask.long() for mask in masks.values())
    return [
        {
            "neurons of": name,
            "of no other": f"{int((owners[mask.mask] == 1).sum())} of {len(mask)}",
            **{
                language: percent(float(counts.probabilities[mask.mask][:, number].mean()))
                for number, language in enumerate(counts.languages)
            },
        }
        for name, mask in masks.items()
    ] + [
        {
            "neurons of": "any",
            "of no other": f"{int((owners == 1).sum())} of {int((owners > 0).sum())}",
            **dict.fromkeys(counts.languages, ""),
        }
    ]


def steering(
    given: Material,
    masks: Mapping[str, ll.UnitMask],
    asked: str,
    toward: Sequence[str],
    tokens: int,
) -> None:
    found = ll.lape.steer(
        given.model, masks,
        ll.lape.questions([asked], limit=given.at_most(10), instruction=False), toward=toward,
        max_tokens=10_000 if given.few is None else 200, max_new_tokens=tokens, store=given.store,
        progress=False,
    )  # fmt: skip
    show(
        f"Steering: questions in {asked}, answers in the language steered to",
        "clamped to the mean or 95th percentile over its text; controls: as many random neurons of "
        "the same layers",
        (
            {
                "toward": row.toward,
                "clamped to": row.level,
                f"{asked} at 0": "yes" if row.deactivated else "",
                "units": row.kind,
                "in the language": f"{row.in_toward:.1f}",
                "fluency": f"{row.fluency:.2f}",
                "distinct-2": f"{row.distinct_2:.2f}",
            }
            for row in found.table.itertuples()
        ),
    )


# -- reading times ---------------------------------------------------------------------------------


def reading(given: Material) -> None:
    """What surprisal tells about reading times, intact and under lesions; GPT-3's beside it."""
    if given.stories is None:
        raise ll.LensLocError("The section reading needs --stories, a folder of Natural Stories.")
    data = ll.alignment.natural_stories(given.stories)
    gpt3 = ll.alignment.natural_stories_gpt3(given.stories, data)
    network = localized(given.model, given.contrast("language"), DEFAULT).top(percent=given.percent)
    start = time.perf_counter()
    study = ll.alignment.reading_times(
        given.model,
        data,
        {"language": network},
        controls=ll.controls("layer", seeds=range(given.at_most(10))),
        progress=False,
    )
    seconds = time.perf_counter() - start
    theirs = ll.alignment.predict_times(data, gpt3)
    rows = []
    for (kind, surprisal), part in [
        *study.table.groupby(["kind", "surprisal"], sort=False),
        *(((f"GPT-3, {kind}", name), part) for (kind, name), part in
          theirs.table.groupby(["kind", "surprisal"], sort=False)),
    ]:  # fmt: skip
        one = len(part) == 1
        first = part.iloc[0]
        mean = part.mean(numeric_only=True)
        rows.append(
            {
                "lesioned": kind.replace("network", "language network")
                if one
                else f"{kind} ({len(part)} draws)",
                "surprisal": surprisal,
                "nats per word": f"{mean['mean_surprisal']:.2f}",
                "gain": f"{1000 * mean['gain']:.2f} "
                + (
                    millis(first, "gain")
                    if one
                    else f"(range {1000 * part['gain'].min():.2f} to "
                    f"{1000 * part['gain'].max():.2f})"
                ),
                "loss": ""
                if pd.isna(mean["loss"])
                else f"{1000 * mean['loss']:.2f} {millis(first, 'loss') if one else ''}".strip(),
                "ms a nat, word / before / before that": " / ".join(
                    f"{mean[name]:.2f}" for name in ("slope", "slope_previous", "slope_before")
                ),
            }
        )
    intact = study.table.iloc[0]
    show(
        f"Natural Stories: gain in log-likelihood over length and frequency, thousandths of a nat "
        f"a time; {intact['n_times']:,} times of {intact['n_stories']} stories; in brackets 95 % "
        f"intervals over stories; {2 + given.at_most(10)} runs in {seconds:.0f} s",
        f"{DEFAULT}; units set to zero",
        rows,
    )
    show(
        "What lesions take away of the gain, network against controls, thousandths of a nat a time",
        f"{DEFAULT}; units set to zero",
        (
            {
                "surprisal": row["surprisal"],
                "control": f"{row['control']} ({row['draws']} draws)",
                "network": f"{1000 * row['network_loss']:.2f}",
                "controls": f"{1000 * row['control_loss']:.2f}",
                "difference": f"{1000 * row['difference']:.2f} {millis(row, 'difference')}",
                "p": f"{row['p']:.2f}",
            }
            for row in study.comparisons.to_dict("records")
        ),
    )
    own = ll.alignment.word_surprisals(given.model, data, progress=False).table
    both = own.merge(gpt3.table, on=["story", "position"], suffixes=("", "_gpt3"))
    both = both[np.isfinite(both["surprisal"]) & np.isfinite(both["surprisal_gpt3"])]
    whose = both.groupby("story")["surprisal_gpt3"]
    beside = {"same": whose.shift(0), "before": whose.shift(1), "after": whose.shift(-1)}
    show(
        "Do words and tokens line up? Correlation with GPT-3's surprisals of the same word, of the "
        "word before, of the word after",
        "none, since no unit is selected",
        [{name: f"{both['surprisal'].corr(values):.3f}" for name, values in beside.items()}],
    )
    print("\n" + "\n".join(study.warnings))


def millis(row: Mapping[str, Any], name: str) -> str:
    low, high = 1000 * row[f"{name}_low"], 1000 * row[f"{name}_high"]
    return f"[{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else "(no interval)"


SECTIONS: dict[str, Callable[[Material], None]] = {
    "published": published,
    "profile": profile,
    "tasks": tasks,
    "kinds": kinds,
    "pairs": pairs,
    "lesions": lesions,
    "elsewhere": elsewhere,
    "level": level,
    "ways": ways,
    "multiverse": multiverse,
    "specificity": specificity,
    "neurons": neurons,
    "reading": reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backend", default="auto", help="kind of model, as for load_model")
    parser.add_argument("--store", type=Path, help="folder for lesions that were measured")
    parser.add_argument("--stories", type=Path, help="folder of Natural Stories, for reading")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if "reading" in arguments.sections and arguments.stories is None:
        parser.error("the section reading needs --stories, a folder of Natural Stories")
    logging.disable(logging.WARNING)
    how = {"device": arguments.device, "backend": arguments.backend}
    given = Material(
        ll.load_model(MODEL, progress=False, **how),
        ll.load_model(MODEL, untrained=True, progress=False, **how),
        ll.Store.at(arguments.store) if arguments.store else None,
        stories=arguments.stories,
    )
    made = ll.localize(given.model, given.contrast("theory-of-mind"), progress=False)
    card = made["resid_post"].provenance
    print(
        f"{card.model}: {card.about or card.architecture}; lensloc {card.lensloc}, TransformerLens "
        f"{card.transformer_lens}, PyTorch {card.torch}, {arguments.device}"
    )
    every = [name for name in SECTIONS if name != "reading" or arguments.stories is not None]
    for name in arguments.sections or every:
        print(f"\n## {name}: {SECTIONS[name].__doc__}")
        SECTIONS[name](given)


if __name__ == "__main__":
    main()

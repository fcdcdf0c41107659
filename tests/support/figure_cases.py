"""Every figure, with few and many layers and networks, and short and long names."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotted
from specification_table import GRIDS, specifications

import lensloc as ll
from lensloc import plot
from lensloc.results.lesions import LesionStudy, tabulate
from lensloc.results.profiles import ResponseProfile
from lensloc.results.recovery import Recovery

LAYERS, NETWORKS = (6, 28, 80), (1, 12)
_SHORT = (
    "language emotion mind arithmetic faces agreement negation tense places tools music numbers"
).split()
_LONG = [f"{name} of a contrast whose name has exactly sixty letters " for name in _SHORT]
NAMES = {"short": _SHORT, "long": [(name + "x" * 60)[:60] for name in _LONG]}
_SITES = ("resid_post", "attn_out", "mlp_post", "embed", "ln_final")
_OWN = {
    "short": "small-model",
    "long": "a-model-of-an-organisation/whose-name-has-exactly-60-letters",
}
_CONTROLS = ("layer", "magnitude+outliers")


@dataclasses.dataclass(frozen=True)
class Case:
    """What a figure is drawn of."""

    layers: int
    networks: int
    letters: str

    @property
    def names(self) -> list[str]:
        """The networks' names."""
        return NAMES[self.letters][: self.networks]

    @property
    def model(self) -> str:
        """The model's name."""
        return _OWN[self.letters]

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.networks} networks, {self.letters} names"


# -- results ---------------------------------------------------------------------------------------


def maps(case: Case, site: str = "resid_post", units: int = 64) -> dict[str, Any]:
    """Return statistics of every network."""
    layers = 1 if site in ("embed", "ln_final") else case.layers
    found = {}
    for seed, name in enumerate(case.names):
        one = plotted.selectivity(layers, units, seed, site)
        made = dataclasses.replace(
            one.provenance, model=case.model, contrast=name, target=(name,), control=("nonwords",)
        )
        found[name] = dataclasses.replace(one, provenance=made)
    return found


def first_map(case: Case, site: str = "resid_post", units: int = 64) -> Any:
    """Return statistics of the first network."""
    return maps(case, site, units)[case.names[0]]


def sites(case: Case) -> dict[str, dict[str, Any]]:
    """Return statistics at several sites, by network."""
    by_site = {site: maps(case, site, 256) for site in _SITES}
    return {name: {site: by_site[site][name] for site in _SITES} for name in case.names}


def masks(case: Case) -> dict[str, Any]:
    """Return a set of units of every network."""
    return {name: found.top(percent=5) for name, found in maps(case).items()}


def lesions(case: Case, modes: tuple[str, ...] = ("zero",)) -> LesionStudy:
    """Return a study of all networks, of three sizes, with controls."""
    draw = np.random.default_rng(0)
    tasks = [name + " task" for name in NAMES[case.letters][:2]]
    rows = []
    for network, task, percent, mode in itertools.product(
        case.names, tasks, (0.5, 1.0, 5.0), modes
    ):
        for kind, seed in (("network", None), *(("layer", seed) for seed in range(5))):
            drop = draw.uniform(0, 0.08) * percent * (1.0 if kind == "network" else 0.5)
            rows.append(
                {
                    **{"model": case.model, "network": network, "mode": mode, "percent": percent},
                    **{"kind": kind, "seed": seed, "task": task, "measure": "accuracy"},
                    **{"drop": drop, "drop_low": drop - 0.05, "drop_high": drop + 0.05},
                    "took_effect": True,
                }
            )
    return LesionStudy(tabulate(rows))


def granularities(case: Case) -> pd.DataFrame:
    """Return all measures of three sites of every network."""
    table: pd.DataFrame = plotted.granularities(tuple(case.names))
    draw = np.random.default_rng(1)
    for name in ("drop_fraction", "drop_number"):
        drops = draw.uniform(size=len(table))
        table[[name, f"{name}_low", f"{name}_high"]] = np.stack(
            [drops, drops - 0.1, drops + 0.1], axis=-1
        )
        table[f"{name}_control"] = drops / 2
    table["agreement"] = draw.uniform(-1, 1, len(table))
    table[["model", "task", "n_number"]] = case.model, f"{case.names[0]} task", 512
    return table


def people_of(case: Case, *, layers: bool = False) -> ll.alignment.Encoding:
    """Return how well networks, or single layers, predict brains."""
    draw = np.random.default_rng(0)
    names = [f"layer {layer}" for layer in range(case.layers)] if layers else case.names
    of = [
        (name, kind, label, seed)
        for name in names
        for kind, label, seed in (
            ("network", "", None), *(("control", each, s) for each in _CONTROLS for s in range(3)),
            ("untrained", "untrained", None), ("network + nuisance", "", None),
        )
    ]  # fmt: skip
    of += [("", "baseline", name, None) for name in ("passage + position", "length + frequency")]
    of += [("", "nuisance", "", None)]
    table = pd.DataFrame(of, columns=["network", "kind", "name", "seed"])
    table["seed"] = table["seed"].astype("Int64")
    layer = table["network"].str.extract(r"layer (\d+)")[0] if layers else pd.NA
    table = table.assign(model=case.model, site="resid_post", layer=layer, split="grouped")
    table["layer"] = table["layer"].astype("Int64")
    for score in ("r", "r2"):
        middle = draw.uniform(0, 0.6, len(table))
        table = table.assign(**{score: middle, f"{score}_low": middle - 0.1,
                                f"{score}_high": middle + 0.1})  # fmt: skip
    responses = pd.DataFrame({"response": ["one", "other"], "ceiling": [0.7, 0.8]})
    return ll.alignment.Encoding(table, pd.DataFrame(), responses)


def reading_of(case: Case) -> ll.alignment.ReadingStudy:
    """Return what surprisal tells about reading times, under lesions of every network."""
    draw = np.random.default_rng(0)
    lesioned: list[tuple[str, str, int | None]] = [("", "intact", None)]
    for name in case.names:
        lesioned += [(name, "network", None), *((name, "layer", seed) for seed in range(3))]
    table = pd.DataFrame(
        [(*each, kind) for kind in ("corrected", "tokens") for each in lesioned],
        columns=["network", "kind", "seed", "surprisal"],
    )
    gain = draw.uniform(0, 0.05, len(table))
    table = table.assign(
        model=case.model, gain=gain, gain_low=gain - 0.01, gain_high=gain + 0.01
    ).astype({"seed": "Int64"})
    return ll.alignment.ReadingStudy(table, pd.DataFrame(), pd.DataFrame(), pd.DataFrame())


def profile(case: Case) -> ResponseProfile:
    """Return responses in as many conditions as there are networks, and one more."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"condition": [*case.names, "nonwords"], "stimuli": 48})
    for score in ("absolute", "standardised", "signed"):
        middle = draw.uniform(-1, 1, len(table))
        table[[score, f"{score}_low", f"{score}_high"]] = np.stack(
            [middle, middle - 0.2, middle + 0.2], axis=-1
        )
    return ResponseProfile(
        table, pd.DataFrame(), True, 172, "resid_post", 0.95, contrast=case.names[0],
        model=case.model,
    )  # fmt: skip


def specific(case: Case) -> ll.Specificity:
    """Return networks x tasks, a task of its own for every network."""
    draw = np.random.default_rng(0)
    tasks = [f"task of {name}"[:60] for name in NAMES[case.letters][: max(2, case.networks)]]
    lesions_of = [("network", None), *(("layer", seed) for seed in range(5))]
    rows = [
        {
            **{"network": network, "mode": "zero", "percent": 1.0, "kind": kind, "seed": seed},
            **{"task": task, "item": str(number), "group": "g", "phenomenon": ""},
            **{"intact": 1.0, "intact_weight": 1.0, "value": float(draw.uniform() > 0.4)},
            **{"weight": 1.0, "higher_is_better": True},
        }
        for network in case.names
        for task in tasks
        for kind, seed in lesions_of
        for number in range(20)
    ]
    items = pd.DataFrame(rows).astype({"seed": "Int64"})
    keys = ["network", "mode", "percent", "kind", "seed", "task"]
    table = tabulate(
        [
            {"model": case.model, "measure": "accuracy", "drop": 0.1, "n_units": 3, **row}
            for row in items[keys].drop_duplicates().to_dict("records")
        ]
    )
    room = pd.DataFrame({"task": tasks, "measure": "accuracy", "items": 20, "kinds": np.nan,
                         "kinds_answered": np.nan, "n_items": 20, "intact": 1.0, "chance": 0.5,
                         "room": 0.5})  # fmt: skip
    own = dict(zip(case.names, ((task,) for task in tasks), strict=False))
    return ll.Specificity(LesionStudy(table, items=items), room, own)


def carried(case: Case) -> ll.Faithfulness:
    """Return rankings named as networks."""
    draw = np.random.default_rng(0)
    sizes = np.array([1, 4, 16, 64, 256, 1024])

    def curve(kind: str) -> Recovery:
        share = np.sort(draw.uniform(size=len(sizes)))
        return Recovery(kind, sizes, share, share - 0.1, share + 0.1, 0.5, 40)

    kinds = ("faithfulness", "completeness")
    exact = pd.DataFrame({"address": [f"L0.head.{n}" for n in range(40)], "layer": 0,
                          "exact": draw.normal(size=40)})  # fmt: skip
    for name in case.names:
        exact[name] = exact["exact"] + 0.3 * draw.normal(size=40)
    agreement = dict.fromkeys(case.names, 0.5)
    return ll.Faithfulness(
        "resid_post", 1024, {name: {kind: curve(kind) for kind in kinds} for name in case.names},
        {kind: tuple(curve(kind) for _ in range(3)) for kind in kinds}, 2.0, -1.0, 0.1, exact,
        exact, agreement, agreement, case.names[0], 40, case.model,
    )  # fmt: skip


def universe(case: Case) -> Any:
    """Return few, some or many specifications; names are those of a choice's values."""
    grid = dict(GRIDS[{6: 12, 28: 96, 80: 400}[case.layers]])
    grid["control"] = [f"{name} units" for name in NAMES[case.letters][:2]]
    return specifications(grid, tasks=[f"{case.names[0]} task"])


def swept(case: Case) -> ll.Sweep:
    """Return a sweep over as many models as there are networks, of two contrasts."""
    draw = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("cells", "localizations", "lesions", "specificity", "layers")
    }
    contrasts = NAMES[case.letters][:2]
    for model, contrast in itertools.product(case.names, contrasts):
        place = {"model": f"{model} model", "contrast": contrast, "site": "resid_post",
                 "protocol": "lensloc"}  # fmt: skip
        rows["cells"].append({**place, "state": "done", "reason": "", "lesion": ""})
        rows["localizations"].append({**place, "percent": 1.0, "depth": 0.5})
        drop = draw.uniform(0, 0.4)
        rows["lesions"] += [
            {
                **place, "lesion": "zero", "percent": 1.0, "task": f"{contrast} task",
                "measure": "accuracy", "network_drop": drop, "drop_low": drop - 0.05,
                "drop_high": drop + 0.05, "kind": kind, "control_drop": drop / 2,
                "verdict": "holds",
            }
            for kind in _CONTROLS
        ]  # fmt: skip
        rows["layers"] += [
            {**place, "layer": layer, "relative_depth": layer / (case.layers - 1),
             "share": draw.uniform(0, 3)}
            for layer in range(case.layers)
        ]  # fmt: skip
    place = {"site": "resid_post", "protocol": "lensloc"}
    for model, contrast in itertools.product(case.names, NAMES[case.letters]):
        of = {**place, "model": f"{model} model"}
        rows["cells"].append({**of, "contrast": contrast, "state": "done", "lesion": ""})
        rows["specificity"].append({**of, "kind": "layer", "network": contrast, "p": 0.05,
                                    "difference": draw.uniform(-0.2, 0.5)})  # fmt: skip
    tables = {name: pd.DataFrame(found) for name, found in rows.items()}
    return ll.Sweep("by hand", **tables)


# -- figures ---------------------------------------------------------------------------------------

FIGURES: dict[str, Callable[[Case], go.Figure]] = {
    "layer_heatmap": lambda case: plot.layer_heatmap(masks(case)),
    "layer_heatmap_of_sites": lambda case: plot.layer_heatmap(sites(case)),
    "layer_profile": lambda case: plot.layer_profile(maps(case), "mean_t"),
    "layer_profile_of_sites": lambda case: plot.layer_profile(sites(case)[case.names[0]]),
    "unit_heatmap": lambda case: plot.unit_heatmap(first_map(case, units=640)),
    "head_heatmap": lambda case: plot.head_heatmap(first_map(case, "head", 12)),
    "head_heatmap_of_64": lambda case: plot.head_heatmap(first_map(case, "head", 64)),
    "t_histogram": lambda case: plot.t_histogram(
        first_map(case), plotted.null_of(first_map(case)), log=True
    ),
    "language_layers": lambda case: plot.language_layers(masks(case)),
    "overlap": lambda case: plot.overlap(ll.overlap(masks(case))),
    "granularity": lambda case: plot.granularity(plotted.granularities(tuple(case.names))),
    "granularity_of_all": lambda case: plot.granularity(granularities(case)),
    "dose_response": lambda case: plot.dose_response(lesions(case)),
    "lesion_bars": lambda case: plot.lesion_bars(lesions(case)),
    "ablation_modes": lambda case: plot.ablation_modes(lesions(case, ("zero", "mean", "resample"))),
    "response_profile": lambda case: plot.response_profile(profile(case)),
    "specificity": lambda case: plot.specificity(specific(case)),
    "faithfulness": lambda case: plot.faithfulness(carried(case)),
    "multiverse": lambda case: plot.multiverse(universe(case)),
    "language_matrix": lambda case: plot.language_matrix(plotted.matrix(case.names)),
    "steering": lambda case: plot.steering(plotted.steering((*case.names, "other"))),
    "alignment": lambda case: plot.alignment(people_of(case)),
    "alignment_of_layers": lambda case: plot.alignment(people_of(case, layers=True)),
    "reading_times": lambda case: plot.reading_times(reading_of(case)),
    "sweep_depths": lambda case: plot.sweep_depths(swept(case)),
    "sweep_drops": lambda case: plot.sweep_drops(swept(case)),
    "sweep_specificity": lambda case: plot.sweep_specificity(swept(case)),
}
# Those that many layers change, and those that many networks do not; the multiverse has many
# specifications instead of many layers.
_OF_LAYERS = (
    "layer_heatmap", "layer_heatmap_of_sites", "layer_profile", "layer_profile_of_sites",
    "unit_heatmap", "head_heatmap", "head_heatmap_of_64", "language_layers", "t_histogram",
    "alignment_of_layers", "multiverse",
)  # fmt: skip
_OF_ONE = (
    "layer_profile_of_sites", "unit_heatmap", "head_heatmap", "head_heatmap_of_64", "t_histogram",
    "alignment_of_layers", "multiverse",
)  # fmt: skip
_OF_SEVERAL = ("overlap",)


def cases(kind: str) -> Iterator[Case]:
    """Yield what a kind of figure is drawn of."""
    for case in itertools.starmap(Case, itertools.product(LAYERS, NETWORKS, NAMES)):
        again = kind not in _OF_LAYERS and case.layers != LAYERS[0]
        alone = kind in _OF_ONE and case.networks != 1
        single = kind in _OF_SEVERAL and case.networks == 1
        if not (again or alone or single):
            yield case

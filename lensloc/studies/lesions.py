"""What does a lesion break, more than its controls do?"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lensloc.controls import Controls
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.lesion import (
    MODES,
    Effect,
    Positions,
    Reference,
    reference_responses,
    reference_site,
)
from lensloc.lesion_table import (
    NETWORK,
    Intervals,
    LesionStudy,
    cohen_h,
    drop,
    mean_drop,
    scores_of,
    tabulate,
)
from lensloc.models import ModelCard, describe
from lensloc.progress import progress_bar
from lensloc.selectivity import Selectivity
from lensloc.stimuli import Contrast
from lensloc.store import Store
from lensloc.studies.localization import localize
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.tasks import Task, TaskResult
from lensloc.tasks.base import MANY_TIES
from lensloc.units import UnitMask

PERCENTS = (0.125, 0.25, 0.5, 1.0, 2.0, 5.0)
Mode = str | Mapping[str, Any]


def lesion_study(
    model: Any,
    masks: Mapping[str, UnitMask | Selectivity | Contrast],
    tasks: Sequence[Task],
    controls: Controls | Sequence[Controls] = (),
    percents: Sequence[float] | None = None,
    modes: Sequence[Mode] = ("zero",),
    *,
    reference: Reference | None = None,
    positions: Positions = "all",
    seed: int = 0,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    store: Store | None = None,
    progress: bool = True,
) -> LesionStudy:
    """Lesion networks and their controls, in several sizes and modes, and measure every task.

    The intact model is scored once a task. What was measured is kept in the store as soon as it is
    there, so a study that was interrupted goes on where it stopped.

    Args:
        model: a loaded model.
        masks: name -> network. A selectivity map, or a mask that carries its ranking (from
            ``top`` or ``bottom``, also after saving as ``.safetensors``), is cut to every size in
            ``percents``; any other mask is used as it is. A contrast is localized first (block
            outputs); if a task uses some of its texts, units are picked on one half of the
            contrast, and the task leaves out that half.
        tasks: what to measure, e.g. ``[ll.tasks.minimal_pairs()]``.
        controls: what to hold beside every network, e.g. ``ll.controls("layer")``.
        percents: sizes, in per cent of the site's units; 0.125, 0.25, 0.5, 1, 2 and 5 if None.
        modes: ``"zero"``, ``"mean"``, ``"resample"``, ``"write"``, or with arguments of
            :func:`lensloc.lesion`: ``{"mode": "scale", "scale": 0.5}``.
        reference: of the modes that need one.
        positions: as in :func:`lensloc.lesion`.
        seed: of the bootstrap, of resampling lesions, and of the halves of a contrast.
        n_resamples: of the bootstrap.
        confidence: of its intervals.
        store: where results are kept and looked up.
        progress: show a progress bar with the time left.

    Returns:
        One row a lesion and task; see :class:`~lensloc.lesion_table.LesionStudy`.

    Raises:
        LensLocError: no mask, no task, a size that a mask cannot have, or whatever lesion,
            controls and tasks refuse, before the model is run where that can be told; an intact
            model that gives no numbers. (A lesion that leaves none is a row without a score.)
    """
    if not masks:
        raise LensLocError("There is no network to lesion; give at least one mask.")
    if not tasks:
        raise LensLocError("There is no task to measure; give at least one, e.g. minimal_pairs().")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise LensLocError(f"Two tasks have one name ({', '.join(names)}); name them apart.")
    if not 0 < confidence < 1 or n_resamples < 1:
        raise LensLocError("confidence lies between 0 and 1, and n_resamples is at least 1.")
    several = (controls,) if isinstance(controls, Controls) else tuple(controls)
    card = describe(model)
    networks = {
        name: _network(model, name, given, tasks, percents, seed, progress)
        for name, given in masks.items()
    }
    if isinstance(reference, Contrast):  # captured once, not once a lesion
        sites = {mask.site for network in networks.values() for mask in network.masks.values()}
        needed = {reference_site(site, mode) for site in sites for mode in MODES}
        reference = reference_responses(model, reference, needed)
    options = {"reference": reference, "positions": positions, "seed": seed}
    jobs = [
        job
        for name, network in networks.items()
        for job in _jobs(model, name, network, several, modes, options)
    ]
    run = Runner(model, card, store)
    # One step a task and lesion, and one a task of the intact model.
    total = sum(len(networks[job.network].tasks) for job in jobs)
    total += sum(len(network.tasks) for network in networks.values())
    with progress_bar(progress, total, "lesions") as advance:
        intact: dict[tuple[str, str], TaskResult] = {}
        for name, network in networks.items():
            for task in network.tasks:
                intact[name, task.name], _ = run.measure(task)
                advance(1)
        measured = []
        for job in jobs:
            for task in networks[job.network].tasks:
                result, (effect,) = run.measure(task, job.lesion)
                measured.append((job, result, effect))
                advance(1)
    table = _table(card, measured, intact, n_resamples, confidence, seed)
    return LesionStudy(table, confidence, _warnings(table, measured, intact))


# -- what to lesion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A network in every size, and the tasks that may be measured on it."""

    masks: Mapping[float, UnitMask]
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class _Job:
    """One lesion of a study."""

    network: str
    percent: float
    mode: str
    kind: str
    seed: int | None
    lesion: PlannedLesion

    @property
    def mask(self) -> UnitMask:
        """The units."""
        return self.lesion.mask


def _network(
    model: Any,
    name: str,
    given: UnitMask | Selectivity | Contrast,
    tasks: Sequence[Task],
    percents: Sequence[float] | None,
    seed: int,
    progress: bool,
) -> _Network:
    kept = tuple(tasks)
    if isinstance(given, Contrast):
        used = {text for task in tasks for text in getattr(task, "texts", ())}
        if used & {text for texts in given.conditions.values() for text in texts}:
            given, _ = given.split(seed)
            picked_on = {text for texts in given.conditions.values() for text in texts}
            kept = tuple(
                task.without(picked_on) if hasattr(task, "without") else task for task in tasks
            )
        given = localize(model, given, progress=progress)["resid_post"]
    if isinstance(given, Selectivity):
        given = given.top(k=1)
    if given.score is None:
        if percents is not None:
            raise LensLocError(
                f"The mask {name!r} carries no ranking of units, so it cannot be cut to "
                f"{', '.join(f'{p:g}' for p in percents)} %; give its selectivity map instead, or "
                "leave percents out to use the mask as it is."
            )
        return _Network({100 * len(given) / given.mask.numel(): given}, kept)
    sizes = PERCENTS if percents is None else tuple(percents)
    if not sizes:
        raise LensLocError("percents is empty; give at least one size.")
    return _Network({float(size): given.resized(percent=size) for size in sizes}, kept)


def _jobs(
    model: Any,
    name: str,
    network: _Network,
    controls: Sequence[Controls],
    modes: Sequence[Mode],
    options: Mapping[str, Any],
) -> Iterator[_Job]:
    for given in modes:
        mode = str(given) if isinstance(given, str) else str(given.get("mode", "zero"))
        if mode not in MODES:
            raise LensLocError(f"There is no mode {mode!r}; there are {', '.join(MODES)}.")
        extra = {} if isinstance(given, str) else {k: v for k, v in given.items() if k != "mode"}
        needs = mode in ("mean", "resample") or "quantile" in extra
        arguments = {
            "positions": options["positions"],
            "seed": options["seed"],
            **({"reference": options["reference"]} if needs else {}),
            **extra,
        }
        label = " ".join([mode, *(f"{k}={v:g}" for k, v in extra.items() if k != "reference")])
        for percent, mask in network.masks.items():
            network_lesion = PlannedLesion(mask, {"mode": mode, **arguments})
            network_lesion.on(model, check=False)  # refuse early
            yield _Job(name, percent, label, NETWORK, None, network_lesion)
            for several in controls:
                for control in several(mask):
                    planned = PlannedLesion(control.mask, network_lesion.arguments)
                    yield _Job(name, percent, label, control.kind, control.seed, planned)


# -- the table -------------------------------------------------------------------------------------


def _table(
    card: ModelCard,
    measured: Sequence[tuple[_Job, TaskResult, Effect]],
    intact: Mapping[tuple[str, str], TaskResult],
    n_resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    intervals: dict[int, Intervals] = {}
    rows: list[dict[str, Any]] = []
    groups: dict[tuple[Any, ...], dict[str, list[int]]] = {}
    for job, result, effect in measured:
        whole = intact[job.network, result.task]
        n_items = len(result.items)
        if n_items not in intervals:
            intervals[n_items] = Intervals.over(
                n_items, n_resamples=n_resamples, confidence=confidence, seed=seed
            )
        a, b = _scores(result), _scores(whole)
        low, high = intervals[n_items].of_drop(a, b)
        magnitude = job.mask.magnitude
        place = (job.network, job.mode, job.percent, result.task)
        groups.setdefault(place, {}).setdefault(job.kind, []).append(len(rows))
        rows.append(
            {
                "model": card.name,
                "network": job.network,
                "site": job.mask.site,
                "mode": job.mode,
                "percent": job.percent,
                "kind": job.kind,
                "seed": job.seed,
                "n_units": len(job.mask),
                "magnitude": float(magnitude[job.mask.mask].mean())
                if magnitude is not None
                else np.nan,
                "task": result.task,
                "measure": result.measure,
                "n_items": n_items,
                "score": result.score,
                "intact": whole.score,
                "chance": np.nan if result.chance is None else result.chance,
                "n_ties": result.n_ties,
                "finite": result.is_finite,
                "drop": drop(a, b),
                "drop_low": low,
                "drop_high": high,
                "cohen_h": cohen_h(whole.score, result.score)
                if result.measure == "accuracy"
                else np.nan,
                "took_effect": effect.took_effect,
                "moved": np.nan if effect.moved is None else effect.moved,
            }
        )
    for kinds in groups.values():
        network = kinds[NETWORK][0]
        for kind, members in kinds.items():
            if kind == NETWORK:
                continue
            whole = _scores(intact[rows[network]["network"], rows[network]["task"]])
            of_network = _scores(measured[network][1])
            draws = [_scores(measured[row][1]) for row in members]
            low, high = intervals[len(whole.value)].of_difference(of_network, draws, whole)
            mean = mean_drop(rows[row]["drop"] for row in members)
            for row in members:
                rows[row] |= {
                    "difference": rows[network]["drop"] - mean,
                    "difference_low": low,
                    "difference_high": high,
                }
    return tabulate(rows)


def _scores(result: TaskResult) -> Any:
    return scores_of(result.items, higher_is_better=result.higher_is_better)


# -- what to mind ----------------------------------------------------------------------------------


def _warnings(
    table: pd.DataFrame,
    measured: Sequence[tuple[_Job, TaskResult, Effect]],
    intact: Mapping[tuple[str, str], TaskResult],
) -> tuple[str, ...]:
    every = (
        *(sentence for result in intact.values() for sentence in result.warnings),
        *_idle(table),
        *_without_numbers(table, measured),
        *_without_score(table),
        *_lost_draws(table),
        *_tied(table),
    )
    found = tuple(dict.fromkeys(every))
    for sentence in found:
        warnings.warn(sentence, LensLocWarning, stacklevel=3)
    return found


_LESION = ["network", "mode", "percent", "kind"]


def _named(row: Any) -> str:
    """Name the lesion of a row of the table."""
    return f"{row['network']} ({row['mode']}, {row['percent']:g} %, {row['kind']})"


def _idle(table: pd.DataFrame) -> Iterator[str]:
    idle = table[~table["took_effect"]].drop_duplicates([*_LESION, "seed"])
    for row in idle.to_dict("records"):
        yield (
            f"The lesion of {_named(row)} took no effect: its hooks did not fire, changed nothing, "
            "or moved no logit."
        )


def _without_numbers(
    table: pd.DataFrame, measured: Sequence[tuple[_Job, TaskResult, Effect]]
) -> Iterator[str]:
    """Name the lesions that left the model without numbers: once a task, with the first text."""
    lost = table[~table["finite"]]
    for _, rows in lost.groupby([*_LESION, "task"], sort=False):
        first = rows.iloc[0]
        result = measured[int(rows.index[0])][1]
        reason = result.warnings[0].rstrip(".") if result.warnings else "items have no value"
        draws = f" in {len(rows)} draws" if len(rows) > 1 else ""
        what = f"leaves {first['task']} without a score{draws}"
        yield f"The lesion of {_named(first)} {what}: {reason}."


def _without_score(table: pd.DataFrame) -> Iterator[str]:
    """Name the lesions under which there was nothing to score, or the score is no float."""
    lost = table[table["finite"] & table["score"].isna()]
    for _, rows in lost.groupby([*_LESION, "task"], sort=False):
        first = rows.iloc[0]
        draws = f" in {len(rows)} draws" if len(rows) > 1 else ""
        reason = (
            "nothing was there to be scored"
            if np.isnan(first["drop"])
            else "its drop says how much is lost, but no number is large enough for the score"
        )
        yield f"Under the lesion of {_named(first)}, {first['task']} has no score{draws}: {reason}."


def _lost_draws(table: pd.DataFrame) -> Iterator[str]:
    controls = table[table["kind"] != NETWORK]
    for _, rows in controls.groupby([*_LESION, "task"], sort=False):
        first, n_lost = rows.iloc[0], int(rows["drop"].isna().sum())
        left = len(rows) - n_lost
        if not n_lost or np.isnan(first["intact"]):
            continue
        rest = "so there is no interval" if left < 2 else "and differences are from the others"
        yield (
            f"Of the control {_named(first)}, {n_lost} of {len(rows)} draws gave no number for "
            f"{first['task']}, {rest}."
        )


def _tied(table: pd.DataFrame) -> Iterator[str]:
    """Say once a task how many lesions leave the model guessing."""
    shares = table["n_ties"] / table["n_items"]
    for task, rows in table[shares > MANY_TIES].groupby("task", sort=False):
        worst = table.loc[shares[rows.index].idxmax()]
        yield (
            f"Under {len(rows)} of {int((table['task'] == task).sum())} lesions more than "
            f"{100 * MANY_TIES:g} % of the items of {task} are ties, whose credit is shared; most "
            f"are {int(worst['n_ties'])} of {int(worst['n_items'])}, under {_named(worst)}."
        )

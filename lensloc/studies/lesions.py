"""What does a lesion break, more than its controls do?"""

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lensloc.arguments import listed, require_named
from lensloc.contrasts.contrast import Contrast
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, LensLocWarning, unwarned
from lensloc.lesions.lesioning import Effect
from lensloc.lesions.references import Reference, reference_responses, reference_site
from lensloc.models import ModelCard, describe
from lensloc.models.adapting import surface
from lensloc.results.lesion_cases import idle_lesions
from lensloc.results.lesions import (
    NETWORK,
    Intervals,
    LesionStudy,
    cohen_h,
    drop,
    mean_drop,
    scores_of,
    tabulate,
)
from lensloc.selectivity import Selectivity
from lensloc.studies.calls import written_call
from lensloc.studies.lesion_modes import Mode, PlannedMode, planned_modes
from lensloc.studies.localization import localize
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, TaskResult, texts_of
from lensloc.tasks.base import MANY_TIES
from lensloc.units.mask import UnitMask, count_from_percent
from lensloc.units.matching import Controls
from lensloc.units.selection import least_note
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import PERCENTS as PERCENTS
from lensloc.vocabulary import Positions


def lesion_study(
    model: Any,
    masks: Mapping[str, UnitMask | Selectivity | Contrast],
    tasks: Sequence[Task],
    controls: Controls | Sequence[Controls] = (),
    percents: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    modes: Sequence[Mode] = ("zero",),
    *,
    site: str | None = None,
    reference: Reference | None = None,
    positions: Positions = "all",
    seed: int = 0,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    store: StoreLike = None,
    progress: bool = True,
) -> LesionStudy:
    """Lesion networks and their controls, in several sizes and modes, and measure every task.

    The intact model is scored once a task. What was measured is kept in the store as soon as it is
    there, so a study that was interrupted goes on where it stopped.

    Args:
        model: a loaded model.
        masks: name -> network. A mask is lesioned as it is. A selectivity map is cut to every size
            in ``percents`` by t. A contrast is localized first, then cut likewise; if a task uses
            some of its texts, units are picked on one half of the contrast, and the task leaves out
            that half.
        tasks: what to measure, e.g. ``[ll.tasks.minimal_pairs()]``.
        controls: what to hold beside every network, e.g. ``ll.controls("layer")``.
        percents: sizes, in per cent of the site's units. If None, masks keep theirs, and maps and
            contrasts are cut to 0.125, 0.25, 0.5, 1, 2 and 5 % (less of these where several come to
            the same number of units). If given, masks are cut too, which needs their ranking
            (``top`` and ``bottom`` have one, also after saving as ``.safetensors``). A mapping,
            name -> sizes, is for some networks only. A size that is less than one unit gives one,
            with a warning.
        modes: ``"zero"``, ``"mean"``, ``"resample"``, ``"write"``, or with arguments of
            :func:`lensloc.lesion`: ``{"mode": "scale", "scale": 0.5}``,
            ``{"mode": "zero", "positions": "last"}``.
        site: where contrasts are localized; block outputs if None.
        reference: of the modes that need one.
        positions: as in :func:`lensloc.lesion`.
        seed: of the bootstrap, of resampling lesions, and of the halves of a contrast.
        n_resamples: of the bootstrap.
        confidence: of its intervals.
        store: where results are kept and looked up.
        progress: show a progress bar with the time left.

    Returns:
        One row a lesion and task; see :class:`~lensloc.results.lesions.LesionStudy`.

    Raises:
        LensLocError: no mask, no task, a size that a mask cannot have, an argument that has no
            effect, or whatever lesion, controls and tasks refuse, before the model is run where
            that can be told; an intact model that gives no numbers. (A lesion that leaves none is a
            row without a score.)
    """
    given = dict(locals())
    surface(model)
    require_named((UnitMask, Selectivity, Contrast), masks, "Networks", like="{name: mask}")
    tasks, modes = listed(tasks), listed(modes, str, Mapping)
    percents = percents if percents is None or isinstance(percents, Mapping) else listed(percents)
    if not masks:
        raise LensLocError("There is no network to lesion; give at least one mask.")
    if not tasks:
        raise LensLocError("There is no task to measure; give at least one, e.g. minimal_pairs().")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise LensLocError(f"Two tasks have one name ({', '.join(names)}); name them apart.")
    if not 0 < confidence < 1 or n_resamples < 1:
        raise LensLocError("confidence lies between 0 and 1, and n_resamples is at least 1.")
    if site is not None and not any(isinstance(given, Contrast) for given in masks.values()):
        raise LensLocError(
            f"site={site!r} says where contrasts are localized, and none was given: masks and maps "
            "have a site of their own; leave it out."
        )
    sizes = _sizes(percents, masks)
    store = Store.of(store)
    several = (controls,) if isinstance(controls, Controls) else tuple(controls)
    planned = planned_modes(modes, reference, positions, seed)
    card = describe(model)
    networks = {
        name: _network(model, name, given, tasks, sizes[name], site or "resid_post", seed, progress)
        for name, given in masks.items()
    }
    if isinstance(reference, Contrast):  # captured once, not once a lesion
        sites = {mask.site for network in networks.values() for mask in network.masks.values()}
        needed = {reference_site(at, mode.mode) for at in sites for mode in planned if mode.needs}
        held = reference_responses(model, reference, needed)
        planned = tuple(mode.with_reference(held) for mode in planned)
    jobs = [
        job
        for name, network in networks.items()
        for job in _jobs(model, name, network, several, planned)
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
    for sentence in (note for network in networks.values() for note in network.notes):
        warnings.warn(sentence, LensLocWarning, stacklevel=2)
    told = [
        f"{name}: {sentence}" if len(networks) > 1 else sentence
        for name, network in networks.items()
        for sentence in (*network.notes, *network.warnings)
    ]
    call = written_call("ll.lesion_study", lesion_study, given)
    return LesionStudy(table, confidence, (*told, *_warnings(table, measured, intact)), call)


# -- what to lesion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A network in every size, the tasks that may be measured on it, and what to know of it.

    Attributes:
        masks: size in per cent -> units.
        tasks: what is measured.
        notes: sizes that came out otherwise than asked for.
        warnings: what speaks against the result.
    """

    masks: Mapping[float, UnitMask]
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


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


def _sizes(
    percents: Sequence[float] | Mapping[str, Sequence[float]] | None, names: Collection[str]
) -> dict[str, tuple[float, ...] | None]:
    """Return the sizes that were asked for of every network; None if none were."""
    given = percents if isinstance(percents, Mapping) else dict.fromkeys(names, percents)
    for name in given:
        if name not in names:
            raise LensLocError(
                f"percents names {name!r}, which is no network; there are {', '.join(names)}."
            )
    sizes: dict[str, tuple[float, ...] | None] = {}
    for name in names:
        wanted = given.get(name)
        sizes[name] = None if wanted is None else tuple(map(float, wanted))
        if sizes[name] == ():
            raise LensLocError("percents is empty; give at least one size.")
    return sizes


def _network(
    model: Any,
    name: str,
    given: UnitMask | Selectivity | Contrast,
    tasks: Sequence[Task],
    percents: Sequence[float] | None,
    site: str,
    seed: int,
    progress: bool,
) -> _Network:
    kept = tuple(tasks)
    if isinstance(given, Contrast):
        given, kept = _kept_apart(given, tasks, seed)
        given = localize(model, given, [site], progress=progress)[site]
    told = given.warnings
    with unwarned():  # the study says it
        masks, notes = _sized(name, given, percents)
    selected_on = next(iter(masks.values())).selected_on
    shared = shared_texts(name, selected_on, kept)
    return _Network(masks, kept, tuple(notes), (*told, *shared))


def _kept_apart(
    contrast: Contrast, tasks: Sequence[Task], seed: int
) -> tuple[Contrast, tuple[Task, ...]]:
    """Return a half of the contrast and the tasks without its texts, where they share some."""
    everything = contrast.text_set
    if not any(len(everything & TextSet.of(texts_of(task))) for task in tasks):
        return contrast, tuple(tasks)
    half, _ = contrast.split(seed)
    picked_on = half.text_set
    return half, tuple(
        task.without(picked_on) if hasattr(task, "without") else task for task in tasks
    )


def shared_texts(network: str, selected_on: TextSet, tasks: Sequence[Task]) -> list[str]:
    """Say which tasks use texts that a network was selected on."""
    if not selected_on:
        return []
    counts = {task.name: len(selected_on & TextSet.of(texts_of(task))) for task in tasks}
    return [
        f"{n} texts of the task {name} are among those that the units of {network} were selected "
        "on; give the contrast itself to lesion_study, which keeps them apart where the task can "
        "leave texts out."
        for name, n in counts.items()
        if n
    ]


def _sized(
    name: str, given: UnitMask | Selectivity, percents: Sequence[float] | None
) -> tuple[dict[float, UnitMask], list[str]]:
    """Return a network in every size, and what is to be told of them."""
    if isinstance(given, UnitMask) and percents is None:
        return {own_percent(given): given}, []
    if isinstance(given, UnitMask) and given.score is None:
        assert percents is not None
        raise LensLocError(
            f"The mask {name!r} carries no ranking of units, so it cannot be cut to "
            f"{', '.join(f'{p:g}' for p in percents)} %; give its selectivity map instead, or "
            "leave percents out to use the mask as it is."
        )
    total = given.mask.numel() if isinstance(given, UnitMask) else given.t.numel()
    sizes = _different(total) if percents is None else tuple(percents)
    notes = [f"{name}: {note}" for p in sizes if (note := least_note(p, total, given.site))]
    cut = given.resized if isinstance(given, UnitMask) else given.top
    return {size: cut(percent=size) for size in sizes}, notes


def _different(total: int) -> tuple[float, ...]:
    """Return the usual sizes; of those that come to one number of units, the largest."""
    return tuple({count_from_percent(size, total): size for size in PERCENTS}.values())


def own_percent(mask: UnitMask) -> float:
    """Return the percentage that gives a mask's number of units, as it was asked for if known."""
    total = mask.mask.numel()
    if len(mask) == 0:
        return 0.0
    exact = 100 * len(mask) / total
    asked = None if mask.rule is None else mask.rule.percent
    candidates = [] if asked is None else [float(asked)]
    # Truncated, the exact percentage may fall one unit short of itself.
    candidates += [exact, math.nextafter(exact, math.inf), 100 * (len(mask) + 0.5) / total]
    return next(p for p in candidates if p <= 100 and count_from_percent(p, total) == len(mask))


def _jobs(
    model: Any,
    name: str,
    network: _Network,
    controls: Sequence[Controls],
    modes: Sequence[PlannedMode],
) -> Iterator[_Job]:
    for mode in modes:
        for percent, mask in network.masks.items():
            network_lesion = PlannedLesion(mask, {"mode": mode.mode, **mode.arguments})
            network_lesion.on(model, check=False)  # refuse early
            yield _Job(name, percent, mode.label, NETWORK, None, network_lesion)
            for several in controls:
                for control in several(mask):
                    planned = PlannedLesion(control.mask, network_lesion.arguments)
                    yield _Job(name, percent, mode.label, control.kind, control.seed, planned)


def _needs_reference(mode: Mode) -> bool:
    if isinstance(mode, str):
        return mode in ("mean", "resample")
    return mode.get("mode", "zero") in ("mean", "resample") or "quantile" in mode


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
        *idle_lesions(table),
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

"""The multiverse: a claim about a lesion under every combination of analysts' choices."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lensloc.arguments import listed, require_a
from lensloc.contrasts.contrast import Contrast
from lensloc.display.progress import progress_bar
from lensloc.display.sentences.control_draws import DIFFERENT_BY_DESIGN, Match
from lensloc.display.sentences.lesions import Beside, control_name
from lensloc.display.sentences.specifications import verdict_of
from lensloc.display.sentences.words import counted
from lensloc.errors import LensLocError, unwarned
from lensloc.forward.batches import BatchSize
from lensloc.lesions.lesioning import Effect
from lensloc.lesions.references import (
    Reference,
    mask_hash,
    reference_responses,
    reference_site,
)
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesions import Intervals, drop, scores_of
from lensloc.results.sequential import Plan
from lensloc.results.specification_curves import Multiverse
from lensloc.studies.calls import written_call
from lensloc.studies.in_turn import draws_in_turn
from lensloc.studies.lesion_modes import PlannedMode
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.selections import SELECTIONS, Chosen, Source, order
from lensloc.studies.specification_grid import IMPOSSIBLE, Grid, LeftOut, common, grid_of, unused
from lensloc.studies.specifications import Specification, is_drawn
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, TaskResult, texts_of
from lensloc.units.control_sets import ControlSet, controls
from lensloc.units.mask import UnitMask
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import DRAWS, WITHOUT_OUTLIERS

_RESAMPLES = 2000
_TIMED_ITEMS = 16


@dataclass(frozen=True)
class Outlook:
    """What a multiverse has before it.

    Attributes:
        specifications: how many there are.
        unit_sets: different sets of units that they choose.
        passes: over the stimuli that were made for it.
        network_lesions: different lesions of chosen units, times tasks.
        control_lesions: the same of control draws; not all of them need be made.
        left: lesions that the store does not know.
        seconds: how long these take, at least and at most.
    """

    specifications: int
    unit_sets: int
    passes: int
    network_lesions: int
    control_lesions: int
    left: int
    seconds: tuple[float, float]


def multiverse(
    model: Model,
    contrast: Contrast,
    tasks: Sequence[Task],
    choices: Mapping[str, Any] | None = None,
    *,
    reference_specification: Mapping[str, Any] | None = None,
    draws: int = DRAWS,
    reference: Reference | None = None,
    exact: bool = False,
    seed: int = 0,
    confidence: float = 0.95,
    truncate: bool = False,
    batch_size: BatchSize = "auto",
    store: StoreLike = None,
    progress: bool = True,
) -> Multiverse:
    """Ask one question under every combination of analysts' choices (a specification curve).

    The question is whether a lesion of the units that a contrast selects does more harm than a
    lesion of control units. Every combination of choices is one specification (Simonsohn et al.
    2020; Steegen et al. 2016), which answers it as :func:`lensloc.localize`,
    :func:`lensloc.controls` and :func:`lensloc.lesion_study` would. The stimuli are run through
    the model once for every pooling, cut and beginning-of-text token, for all sites and tests; a
    lesion of the same units, mode and task is measured once. With a store, what was interrupted
    goes on where it stopped.

    Args:
        model: a loaded model.
        contrast: what units are selected by.
        tasks: what is measured, e.g. ``[ll.tasks.minimal_pairs()]``.
        choices: choice -> its values, of which all combinations are made; what is not named stays
            as in the reference specification. There are ``selection`` (``"t"``, ``"d"``,
            ``"gradient"``: activation times gradient, see :func:`lensloc.attribute`),
            ``activations`` (``"absolute"``, ``"signed"``), ``test`` (``"welch"``, ``"paired"``),
            ``pooling``, ``max_tokens`` (None for whole stimuli), ``bos``, ``site``, ``percent``,
            ``mode`` (as in :func:`lensloc.lesion_study`), ``control`` (a kind of
            :func:`lensloc.controls`). If None, a grid of the usual ones
            (:data:`lensloc.vocabulary.ANALYSTS`).
        reference_specification: choice -> its value in the specification that others are held
            against; where it names none, the library's default (:data:`lensloc.vocabulary.\
SPECIFICATION`) if it is among the values, otherwise their first.
        draws: of every control that is drawn; 19 are the fewest with which the test over draws can
            reach 5 %, with 2 nothing can be concluded.
        reference: of the modes that need one; the contrast if None.
        exact: measure all draws on all items; see :func:`lensloc.lesion_study`.
        seed: of intervals, resampling modes, and of the items that come first.
        confidence: of intervals, and of the test over draws.
        truncate: cut stimuli that are longer than the context window.
        batch_size: stimuli a batch; does not change the result.
        store: where results are kept and looked up: a folder.
        progress: show progress bars with the time left.

    Returns:
        One row a specification and task, in how many the claim holds, and which choice matters.

    Raises:
        LensLocError: a choice or value that there is not, a choice without values or effect, no
            task, a reference specification that cannot be made, or what localizing, lesioning and
            the tasks refuse in all specifications. Combinations that cannot be made are left out
            and counted (``left_out``).
    """
    given = dict(locals())
    found = run_multiverse(
        model, contrast, tasks, choices,
        reference_specification=reference_specification, draws=draws, reference=reference,
        exact=exact, seed=seed, confidence=confidence, truncate=truncate, batch_size=batch_size,
        store=store, progress=progress,
    )  # fmt: skip
    return dataclasses.replace(found, call=written_call("ll.multiverse", multiverse, given))


def run_multiverse(
    model: Model,
    contrast: Contrast,
    tasks: Sequence[Task],
    choices: Mapping[str, Any] | None,
    *,
    reference_specification: Mapping[str, Any] | None,
    draws: int,
    reference: Reference | None,
    exact: bool,
    seed: int,
    confidence: float,
    truncate: bool,
    batch_size: BatchSize,
    store: StoreLike,
    progress: bool,
    tell: Callable[[Outlook], None] | None = None,
) -> Multiverse:
    """Measure as :func:`multiverse`.

    Args:
        tell: is told what there is to do, once units are chosen and before anything is lesioned.
    """
    surface(model)
    require_a(Contrast, contrast, "contrast")
    tasks = listed(tasks)
    if not tasks:
        raise LensLocError("There is no task to measure; give at least one, e.g. minimal_pairs().")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise LensLocError(f"Two tasks have one name ({', '.join(names)}); name them apart.")
    if not 0 < confidence < 1 or draws < 1:
        raise LensLocError("confidence lies between 0 and 1, and draws is at least 1.")
    grid = grid_of(model, contrast, choices, reference_specification, reference, seed)
    kept, card = Store.of(store), describe(model)
    source = Source(
        model, contrast, grid.specifications,
        truncate=truncate, batch_size=batch_size, store=kept, progress=progress,
    )  # fmt: skip
    prepared = _prepared(model, grid, source, draws)
    run = Runner(model, card, kept)
    measuring = _Measuring(run, prepared, tasks, exact, confidence, seed)
    if tell is not None:
        tell(measuring.outlook(model, source.passes))
    rows = list(measuring.rows(progress))
    table: pd.DataFrame = pd.DataFrame(rows)
    one = next(iter(prepared.chosen.values()))
    warnings = [
        *(sentence for chosen in prepared.chosen.values() for sentence in chosen.warnings),
        *_shared(one.mask.selected_on, tasks),
        *(sentence for result in measuring.intact.values() for sentence in result.warnings),
    ]
    columns = ["kind", "n", "choices", "reason"]
    left_out: pd.DataFrame = pd.DataFrame(
        [dataclasses.asdict(each) for each in prepared.left_out], columns=columns
    )
    drawn = any(is_drawn(each.control) for each in prepared.chosen)
    return Multiverse(
        table.astype({"n_items": "Int64", "draws": "Int64", "n_compared": "Int64"}),
        left_out,
        grid.combinations,
        confidence,
        draws if drawn else 0,
        tuple(dict.fromkeys(warnings)),
    )


def _shared(selected_on: TextSet, tasks: Sequence[Task]) -> Iterator[str]:
    """Say which tasks use texts that units were selected on."""
    for task in tasks:
        n = len(selected_on & TextSet.of(texts_of(task)))
        if n:
            yield (
                f"{counted(n, 'text')} of the task {task.name} are among the stimuli that units "
                "are selected on; take a half of the contrast (split), or task.without(texts)."
            )


# -- units and controls ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The specifications that can be made, with their units, lesions and controls.

    Attributes:
        grid: of the choices.
        chosen: specification -> its units.
        modes: label -> mode, with the responses of its reference.
        beside: specification -> its controls.
        left_out: what is no specification of its own.
    """

    grid: Grid
    chosen: Mapping[Specification, Chosen]
    modes: Mapping[str, PlannedMode]
    beside: Mapping[Specification, Sequence[ControlSet]]
    left_out: tuple[LeftOut, ...]

    def lesion(self, one: Specification, mask: UnitMask) -> PlannedLesion:
        """Return the lesion of some units under a specification."""
        mode = self.modes[one.mode]
        return PlannedLesion(mask, {"mode": mode.mode, **mode.arguments})

    def network(self, one: Specification) -> UnitMask:
        """Return the units that are lesioned."""
        return self.modes[one.mode].units(self.chosen[one].mask)


class _Impossible:
    """Specifications that cannot be made, by what is in the way."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._known: dict[Any, tuple[str, list[Specification]]] = {}

    def add(self, key: Any, one: Specification, error: LensLocError) -> None:
        """Note one; the first of a kind says why.

        Raises:
            LensLocError: if it is the reference specification.
        """
        reason = str(error)
        if one == self._grid.reference:
            raise LensLocError(
                f"The reference specification cannot be made: {reason} Name another, with "
                "reference_specification."
            ) from error
        self._known.setdefault(key, (reason, []))[1].append(one)

    def told(self) -> Iterator[LeftOut]:
        """Return what is left out."""
        for reason, several in self._known.values():
            yield LeftOut(IMPOSSIBLE, common(several, self._grid.varied), len(several), reason)


def _prepared(model: Model, grid: Grid, source: Source, draws: int) -> _Prepared:
    impossible = _Impossible(grid)
    chosen = _chosen(grid, source, impossible)
    modes = _with_references(model, grid, chosen, impossible)
    beside: dict[Specification, Sequence[ControlSet]] = {}
    known: dict[Any, list[ControlSet]] = {}
    for one in grid.specifications:
        if one not in chosen:
            continue
        mode = modes[one.mode]
        try:
            network = mode.units(chosen[one].mask)
            PlannedLesion(network, {"mode": mode.mode, **mode.arguments}).on(model, check=False)
        except LensLocError as error:
            impossible.add(("lesion", one.site, str(error)), one, error)
            continue
        place = (one.same_units(), one.control, mode.throughout)
        try:
            if place not in known:
                known[place] = _controls(one.control, network, draws)
        except LensLocError as error:
            impossible.add(("control", one.site, one.control, mode.throughout), one, error)
            continue
        beside[one] = known[place]
    return _Prepared(
        grid,
        {one: chosen[one] for one in beside},
        modes,
        beside,
        (*grid.left_out, *impossible.told()),
    )


def _chosen(grid: Grid, source: Source, impossible: _Impossible) -> dict[Specification, Chosen]:
    """Choose the units of every specification, those of one view of the stimuli in turn."""
    known: dict[Specification, Chosen | LensLocError] = {}
    found = {}
    for one in sorted(grid.specifications, key=order):
        units = one.same_units()
        if units not in known:
            try:
                known[units] = SELECTIONS[one.selection].choose(source, one)
            except LensLocError as error:
                known[units] = error
        result = known[units]
        if isinstance(result, LensLocError):
            impossible.add(("units", str(result)), one, result)
        else:
            found[one] = result
    return {one: found[one] for one in grid.specifications if one in found}


def _with_references(
    model: Model,
    grid: Grid,
    chosen: Mapping[Specification, Chosen],
    impossible: _Impossible,
) -> dict[str, PlannedMode]:
    """Capture the references of modes once, not once a lesion."""
    modes = dict(grid.modes)
    held: dict[int, Mapping[str, Any]] = {}
    for label, mode in grid.modes.items():
        given = mode.arguments.get("reference")
        if not isinstance(given, Contrast):
            continue
        if id(given) not in held:
            sites = {
                reference_site(one.site, other.mode)
                for one in chosen
                for other in grid.modes.values()
                if other.arguments.get("reference") is given
            }
            held[id(given)] = reference_responses(model, given, sites)
        arguments = {**mode.arguments, "reference": held[id(given)]}
        modes[label] = dataclasses.replace(mode, arguments=arguments)
    return modes


def _controls(kind: str, network: UnitMask, draws: int) -> list[ControlSet]:
    if kind == WITHOUT_OUTLIERS:
        return list(controls((), without_outliers=True)(network))
    return list(controls(kind, seeds=range(draws))(network))


# -- measuring -------------------------------------------------------------------------------------


class _Measuring:
    """Measures the specifications, each lesion once."""

    def __init__(
        self,
        run: Runner,
        prepared: _Prepared,
        tasks: Sequence[Task],
        exact: bool,
        confidence: float,
        seed: int,
    ) -> None:
        self._run = run
        self._prepared = prepared
        self._tasks = tasks
        self._exact = exact
        self._confidence = confidence
        self._seed = seed
        self.intact = {task.name: run.measure(task)[0] for task in tasks}
        self._intervals: dict[int, Intervals] = {}
        self._left = self._unknown()

    def _steps(self, one: Specification, task: Task) -> Iterator[tuple[str, UnitMask]]:
        """Return the lesions of a specification, each under a name that tells it from others."""
        for mask in (self._prepared.network(one), *(c.mask for c in self._prepared.beside[one])):
            yield f"{mask_hash(mask)} {one.mode} {task.name}", mask

    def _unknown(self) -> dict[str, bool]:
        """Return the lesions that have not been measured, and whether each is a network's."""
        found: dict[str, bool] = {}
        known: set[str] = set()
        for one in self._prepared.beside:
            for task in self._tasks:
                first = self._first(task)
                for place, (name, mask) in enumerate(self._steps(one, task)):
                    if name in found or name in known:
                        continue
                    lesion = self._prepared.lesion(one, mask)
                    parts = [task] if place == 0 or first is None else [task, first]
                    if any(self._run.knows(part, lesion) for part in parts):
                        known.add(name)
                    else:
                        found[name] = place == 0
        return found

    def _first(self, task: Any) -> Task | None:
        """Return the part of a task that draws are measured on first; None for all of it."""
        n = len(self.intact[task.name].items)
        if self._exact or not hasattr(task, "at"):
            return None
        items = self._positions(task)
        found: Task | None = None if len(items) == n else task.at(items)
        return found

    def outlook(self, model: Model, passes: int) -> Outlook:
        """Say what there is to do, and time it on a few items."""
        prepared = self._prepared
        networks, draws = set(), set()
        least = most = 0.0
        for task in self._tasks:
            whole = len(self.intact[task.name].items)
            first = self._first(task)
            part = whole if first is None else len(self._positions(task))
            seconds = _seconds_an_item(model, task, whole) if self._left else 0.0
            for name, is_network in self._left.items():
                if name.endswith(f" {task.name}"):
                    least += seconds * (whole if is_network else part)
                    most += seconds * whole
            for one in prepared.beside:
                (network, _), *others = self._steps(one, task)
                networks.add(network)
                draws |= {name for name, _ in others}
        return Outlook(
            len(prepared.beside),
            len({mask_hash(chosen.mask) for chosen in prepared.chosen.values()}),
            passes,
            len(networks),
            len(draws - networks),
            len(self._left),
            (least, most),
        )

    def _positions(self, task: Task) -> list[int]:
        """Return the items of a task that draws are measured on first."""
        n_items = len(self.intact[task.name].items)
        return [int(item) for item in Plan().first_items(n_items, self._seed)]

    def rows(self, progress: bool) -> Iterator[dict[str, Any]]:
        """Measure every specification on every task."""
        prepared = self._prepared
        sets: dict[str, int] = {}
        own = prepared.chosen[prepared.grid.reference].mask
        left = set(self._left)
        with progress_bar(progress, len(left), "lesions") as advance:

            def done(name: str) -> None:
                if name in left:
                    left.remove(name)
                    advance(1)

            for number, (one, several) in enumerate(prepared.beside.items()):
                chosen = prepared.chosen[one]
                unit_set = sets.setdefault(mask_hash(chosen.mask), len(sets))
                place = {
                    "specification": number,
                    "reference": one == prepared.grid.reference,
                    **one.words(unused(one.selection)),
                    "n_units": len(prepared.network(one)),
                    "unit_set": unit_set,
                    "overlap": _dice(chosen.mask, own),
                    "noise": chosen.noise,
                }
                match = _match(one, prepared.network(one), several)
                for task in self._tasks:
                    yield {**place, **self._measured(one, task, done), **match}

    def _measured(
        self, one: Specification, task: Task, done: Callable[[str], None]
    ) -> dict[str, Any]:
        """Measure one specification on one task."""
        intact = self.intact[task.name]
        steps = list(self._steps(one, task))
        lesions = [self._prepared.lesion(one, mask) for _, mask in steps]
        network, (effect,) = self._run.measure(task, lesions[0])
        done(steps[0][0])
        if is_drawn(one.control):

            def measure(some: Task, draw: int) -> tuple[TaskResult, Effect]:
                result, (of_draw,) = self._run.measure(some, lesions[draw + 1])
                done(steps[draw + 1][0])
                return result, of_draw

            found, compared = draws_in_turn(
                measure, len(lesions) - 1, task, intact, network,
                kind=one.control, exact=self._exact, confidence=self._confidence, seed=self._seed,
                advance=lambda n: None,
            )  # fmt: skip
            missing = sum(not draw.result.is_finite for draw in found)
            idle = sum(not draw.effect.took_effect for draw in found)
            numbers = {
                "draws": len(found), "n_compared": compared.n_items,
                "network_drop": compared.network, "control_drop": compared.control,
                "difference": compared.difference, "difference_low": compared.low,
                "difference_high": compared.high, "p_more": compared.p_more,
                "p_less": compared.p_less, "min_p": compared.min_p,
            }  # fmt: skip
        else:
            control, (of_control,) = self._run.measure(task, lesions[1])
            done(steps[1][0])
            missing, idle = int(not control.is_finite), int(not of_control.took_effect)
            numbers = self._over_items(network, control, intact)
        for name, _ in steps:  # draws that need not be made
            done(name)
        own, whole = _scores(network), _scores(intact)
        beside = Beside(
            control_name(one.control), int(numbers["draws"]), numbers["control_drop"],
            numbers["difference"], numbers["difference_low"], numbers["difference_high"],
            missing, idle, is_drawn(one.control), numbers["p_more"], numbers["p_less"],
            numbers["min_p"], 1 - self._confidence,
        )  # fmt: skip
        took_effect = effect.took_effect
        return {
            "task": task.name,
            "measure": network.measure,
            "n_items": len(network.items),
            "intact": intact.score,
            "score": network.score,
            "drop": drop(own, whole),
            **numbers,
            "verdict": verdict_of(beside, drop(own, whole), took_effect=took_effect),
            "took_effect": took_effect,
        }

    def _over_items(
        self, network: TaskResult, control: TaskResult, intact: TaskResult
    ) -> dict[str, Any]:
        """Compare two given sets of units: nothing was drawn, so only items vary."""
        n = len(intact.items)
        if n not in self._intervals:
            self._intervals[n] = Intervals.over(
                n, n_resamples=_RESAMPLES, confidence=self._confidence, seed=self._seed
            )
        a, b, whole = _scores(network), _scores(control), _scores(intact)
        low, high = self._intervals[n].of_difference(a, [b], whole)
        return {
            "draws": 1, "n_compared": n, "network_drop": drop(a, whole),
            "control_drop": drop(b, whole), "difference": drop(a, whole) - drop(b, whole),
            "difference_low": low, "difference_high": high, "p_more": np.nan, "p_less": np.nan,
            "min_p": np.nan,
        }  # fmt: skip


def _seconds_an_item(model: Model, task: Any, n_items: int) -> float:
    """Time a task on a few of its items, or on all where it cannot be cut."""
    n = min(_TIMED_ITEMS, n_items)
    part = task.at(range(n)) if hasattr(task, "at") else task
    start = time.perf_counter()
    with unwarned():
        part(model)
    return (time.perf_counter() - start) / (n if hasattr(task, "at") else n_items)


def _scores(result: TaskResult) -> Any:
    return scores_of(result.items, higher_is_better=result.higher_is_better)


def _dice(mask: UnitMask, other: UnitMask) -> float:
    """Return the Dice coefficient of two sets; NaN of different sites."""
    if (mask.site, mask.shape) != (other.site, other.shape):
        return float("nan")
    return 2 * len(mask & other) / (len(mask) + len(other))


def _match(one: Specification, network: UnitMask, several: Sequence[ControlSet]) -> dict[str, Any]:
    """Say how alike in magnitude controls and units are."""
    held = [control.balance for control in several]
    known = [each for each in held if np.isfinite(each.smd) and each.outliers[1] >= 0]
    if not known:
        return {"smd": float("nan"), "poor": False}
    match = Match(
        "", one.control, one.percent, len(several),
        smd=float(np.mean([each.smd for each in known])),
        n_units=(len(network), len(several[0].mask)),
        outliers=(
            float(known[0].outliers[0]), float(np.mean([each.outliers[1] for each in known]))
        ),
    )  # fmt: skip
    return {"smd": match.smd, "poor": match.poor and one.control not in DIFFERENT_BY_DESIGN}

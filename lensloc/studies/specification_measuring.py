"""A multiverse's lesions measured, each once, and what there is to do before."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lensloc.display.progress import progress_bar
from lensloc.display.sentences.control_draws import DIFFERENT_BY_DESIGN, Match
from lensloc.display.sentences.lesions import Beside, control_name
from lensloc.display.sentences.specifications import verdict_of
from lensloc.errors import unwarned
from lensloc.lesions.lesioning import Effect
from lensloc.lesions.references import (
    mask_hash,
)
from lensloc.models.surface import Model
from lensloc.results.lesions import Intervals, drop, scores_of
from lensloc.results.sequential import Plan
from lensloc.studies.in_turn import draws_in_turn
from lensloc.studies.measuring import Runner
from lensloc.studies.specification_grid import unused
from lensloc.studies.specification_units import Prepared
from lensloc.studies.specifications import Specification, is_drawn
from lensloc.tasks import Task, TaskResult
from lensloc.units.control_sets import ControlSet
from lensloc.units.mask import UnitMask

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


class Measuring:
    """Measures the specifications, each lesion once."""

    def __init__(
        self,
        run: Runner,
        prepared: Prepared,
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

            def measure(some: Task, draw: int, ahead: range) -> tuple[TaskResult, Effect]:
                after = [lesions[number + 1] for number in ahead]
                result, (of_draw,) = self._run.measure(some, lesions[draw + 1], ahead=after)
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

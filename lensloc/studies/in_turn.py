"""Control draws measured in turn, on as many items as it takes to hold the network beside them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from lensloc.lesions.lesioning import Effect
from lensloc.results.draws import Comparison
from lensloc.results.items import Items, item_drops
from lensloc.results.sequential import Plan, compare_in_turn
from lensloc.tasks import Task, TaskResult

Positions = Int[np.ndarray, " some"]
Measure = Callable[[Task, int, range], tuple[TaskResult, Effect]]
"""Gets a task, a draw, and the draws that it will be asked for next with the same task."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What a task gave under a lesion.

    Attributes:
        result: on the items that were measured.
        effect: what the lesion did.
        positions: of these items in the task; None for all.
    """

    result: TaskResult
    effect: Effect
    positions: Positions | None = None

    def beside(self, whole: TaskResult) -> TaskResult:
        """Return another result on the same items."""
        return whole if self.positions is None else whole.at(self.positions.tolist())


def draws_in_turn(
    measure: Measure,
    n_draws: int,
    task: Task,
    intact: TaskResult,
    network: TaskResult,
    *,
    kind: str,
    exact: bool,
    confidence: float,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[list[Measured], Comparison]:
    """Measure the draws of one kind of control until enough is known, and compare.

    Each is measured on a part of the items first, where the task can be cut, and on the rest too
    if that does not settle which of the two is more harmful; see
    :mod:`lensloc.results.sequential`.

    Args:
        measure: gives what a task gave under draw 0, 1, ...; see :data:`Measure`.
        n_draws: how many there are, in the order in which they are measured.
        task: what is measured.
        intact: what the intact model did on it.
        network: what the network's lesion did.
        kind: of the control.
        exact: measure all draws on all items.
        confidence: of the interval.
        seed: of the items that come first.
        advance: called with the number of draws that are done.

    Returns:
        The draws that were measured, in order, and the comparison with the network on the items
        that all of them were measured on.
    """
    n_items = len(intact.items)
    plan = Plan(draws=n_draws, exact=exact)
    if not hasattr(task, "at"):
        plan = dataclasses.replace(plan, share=1.0)
    whole, lesioned = items_of(intact), items_of(network)
    found: list[Measured] = []

    def drops(draw: int | None, positions: Positions) -> Float[np.ndarray, " some"]:
        if draw is None:
            return item_drops(lesioned.at(positions), whole.at(positions))
        if draw == len(found):
            end = n_draws if exact else min(n_draws, (draw // plan.fewest + 1) * plan.fewest)
            found.append(_measured(measure, task, range(draw, end), positions, n_items))
            advance(1)
        elif len(positions) == n_items and found[draw].positions is not None:
            found[draw] = _completed(measure, task, draw, found[draw], intact)
        if not found[draw].effect.changed and found[draw].result.is_finite:
            return np.zeros(len(positions))  # and not what a batch of other texts rounds otherwise
        result = items_of(found[draw].result)
        return item_drops(result, whole.at(positions))

    compared = compare_in_turn(
        drops, n_items, plan, kind=kind, seed=seed, confidence=confidence
    ).comparison
    advance(n_draws - len(found))
    return [_named(one, intact) for one in found], compared


def items_of(result: TaskResult) -> Items:
    """Return a result's items as numbers."""
    value, weight = (result.items[name].to_numpy(dtype=np.float64) for name in ("value", "weight"))
    return Items(value, weight, result.higher_is_better)


def _measured(
    measure: Measure, task: Any, draws: range, positions: Positions, n_items: int
) -> Measured:
    """Measure the first of some draws; the others come next."""
    if len(positions) == n_items:
        result, effect = measure(task, draws[0], draws[1:])
        return Measured(result, effect)
    result, effect = measure(task.at(positions.tolist()), draws[0], draws[1:])
    return Measured(result, effect, positions)


def _completed(
    measure: Measure, task: Any, draw: int, part: Measured, intact: TaskResult
) -> Measured:
    """Measure the items that are missing, and put all in the order of the task."""
    assert part.positions is not None
    rest = np.setdiff1d(np.arange(len(intact.items)), part.positions)
    more, effect = measure(task.at(rest.tolist()), draw, range(0))
    order = np.argsort(np.concatenate([part.positions, rest]))
    items = pd.concat([part.result.items, more.items], ignore_index=True)
    result = dataclasses.replace(
        more,
        items=items.iloc[order].reset_index(drop=True),
        chance=intact.chance,
        warnings=tuple(dict.fromkeys([*part.result.warnings, *more.warnings])),
    )
    return Measured(result, _joined(part.effect, effect))


def _joined(first: Effect, second: Effect) -> Effect:
    moved = [one.moved for one in (first, second) if one.moved is not None]
    return Effect(
        fired={**first.fired, **second.fired},
        changed=first.changed or second.changed,
        moved=max(moved) if moved else None,
    )


def _named(one: Measured, intact: TaskResult) -> Measured:
    """Give a part's items the names that they have in the whole task."""
    names = one.beside(intact).items["item"].tolist()
    items = one.result.items.assign(item=names)
    return dataclasses.replace(one, result=dataclasses.replace(one.result, items=items))

"""Draws made cheap: fewer items for clear cases, fewer draws where nothing can be found.

Measuring 20 draws on all items costs 20 times what the network's own lesion costs. Two rules save
most of it, and neither gives the level away:

1. **A draw is measured on some items first**, a random part of them. What the rank test needs is
   one bit per draw: is it at least as harmful as the network on all items? If network and draw lie
   more than ``margin`` standard errors apart on the part (paired by item, for a part drawn without
   replacement from a finite whole), the bit is known; otherwise the draw is measured on the rest
   too. A wrong p can only come of draws that overtook the network on the part though they would
   not on the whole. With 3.5 standard errors that has a chance of about 0.0002 for a draw that
   lies level with the network, less for any other; the network is the sole winner among k draws by
   mistake at most that often, so that the level of p = 1/21 = 0.0476 stays below 0.05.
2. **Draws stop once enough of them reach the network** (Besag and Clifford 1991): p is then
   ``enough / draws until then`` (see :func:`~lensloc.results.draws.sequential_p`), which is
   valid. To leave "less harmful than controls" open too, draws go on until as many lie on the
   other side, or the last draw. With at most 20 draws a single one that reaches the network puts p
   above 0.05 (with 40, two), so stopping after two changes no decision at 5 %.

So a network that is much more harmful than its controls costs 20 draws of some of the items, and
one in the midst of them a few draws of all items. The interval rests on the items that all draws
were measured on, and on at least ``fewest`` draws. Its level with stopping is tested by simulation.

``Plan(exact=True)`` measures all draws on all items.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from lensloc.errors import LensLocError
from lensloc.results.draws import Comparison, at_least, compare, sequential_p

Measure = Callable[[int | None, Int[np.ndarray, " some"]], Float[np.ndarray, " some"]]
"""Item drops of the network (None) or of a draw on the items asked for, in their order."""


@dataclass(frozen=True)
class Plan:
    """How many draws are measured on how many items.

    Attributes:
        draws: at most.
        exact: all draws on all items; the other numbers then mean nothing.
        enough: draws on both sides of the network after which no more are made.
        fewest: draws that are made in any case, for the interval.
        share: of the items that a draw is measured on first.
        fewest_items: that a draw is measured on in any case.
        margin: standard errors between network and draw that settle which is more harmful.
    """

    draws: int = 20
    exact: bool = False
    enough: int = 2
    fewest: int = 5
    share: float = 0.25
    fewest_items: int = 60
    margin: float = 3.5

    def __post_init__(self) -> None:
        if self.draws < 1 or self.enough < 1:
            raise LensLocError("A plan makes at least one draw, and stops after at least one.")
        if not 0 < self.share <= 1:
            raise LensLocError(
                f"share is a part of the items, above 0 and at most 1; {self.share} is not."
            )

    def first_items(self, n_items: int, seed: int) -> Int[np.ndarray, " some"]:
        """Draw the items that every draw is measured on, in order; all where that is most."""
        some = n_items if self.exact else max(self.fewest_items, int(self.share * n_items))
        if 2 * some > n_items:  # the second part would save less than its trouble
            return np.arange(n_items)
        return np.sort(np.random.default_rng(seed).choice(n_items, size=some, replace=False))


@dataclass(frozen=True)
class Sequential:
    """A comparison whose draws were stopped when enough was known.

    Attributes:
        comparison: on the items that all draws were measured on; its p are those of the rule.
        network: the network's drop on all items.
        n_items: of the task.
        measured: items that every draw was measured on, in order.
        plan: that was followed.
    """

    comparison: Comparison
    network: float
    n_items: int
    measured: tuple[int, ...]
    plan: Plan

    @property
    def cost(self) -> float:
        """Items measured, as a share of all draws on all items."""
        return sum(self.measured) / (self.plan.draws * self.n_items)

    @property
    def stopped(self) -> bool:
        """Whether draws were stopped before the last."""
        return len(self.measured) < self.plan.draws

    def __repr__(self) -> str:
        return (
            f"Sequential({self.comparison!r}; {len(self.measured)} of {self.plan.draws} draws, "
            f"{100 * self.cost:.0f} % of the cost)"
        )


def compare_in_turn(
    measure: Measure,
    n_items: int,
    plan: Plan | None = None,
    *,
    kind: str = "control",
    seed: int = 0,
    confidence: float = 0.95,
) -> Sequential:
    """Measure draws one by one, on as many items as it takes, and compare the network with them.

    Args:
        measure: gives item drops of the network (None) or of draw 0, 1, ... on the items asked for;
            a draw is asked for some items first and then perhaps for all, so what was measured
            should be kept.
        n_items: of the task.
        plan: how many draws and items; 20 draws if None.
        kind: of the control.
        seed: of the items that come first.
        confidence: of the interval.

    Raises:
        LensLocError: no item, or a measurement of another number of items than was asked for.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rates = {None: 0.6, **{draw: 0.2 for draw in range(20)}}
        >>> kept = {name: rng.binomial(1, rate, 400).astype(float) for name, rate in rates.items()}
        >>> result = compare_in_turn(lambda draw, items: kept[draw][items], 400)
        >>> result.comparison.n_items, round(result.comparison.p_more, 4), result.cost
        (100, 0.0476, 0.25)
    """
    plan = plan or Plan()
    whole, first = np.arange(n_items), plan.first_items(n_items, seed)
    network = _measured(measure, None, whole)
    of_first = network if len(first) == n_items else _measured(measure, None, first)
    drop = float(network.mean()) if np.isfinite(network).all() else float("nan")
    parts: list[Float[np.ndarray, " some"]] = []
    wholes: list[Float[np.ndarray, " item"]] = []
    more: list[bool] = []
    less: list[bool] = []
    measured: list[int] = []
    for draw in range(plan.draws):
        part = _measured(measure, draw, first)
        measured.append(len(first))
        parts.append(part)
        if not np.isfinite(part).all():
            continue
        if len(first) == n_items or _settled(of_first, part, n_items, plan.margin):
            full, beside = part, of_first
        else:
            full, beside = _measured(measure, draw, whole), network
            measured[-1] = n_items
            wholes.append(full)
            if not np.isfinite(full).all():
                parts[-1] = np.full(len(first), np.nan)
                continue
        of_draw, of_network = float(full.mean()), float(beside.mean())
        more.append(bool(at_least(of_draw, of_network)))
        less.append(bool(at_least(-of_draw, -of_network)))
        enough = min(sum(more), sum(less)) >= plan.enough and len(more) >= plan.fewest
        if enough and not plan.exact:
            break
    if len(wholes) == len(measured):
        parts, of_first = wholes, network
    found = compare(of_first, parts, kind=kind, confidence=confidence)
    if np.isfinite(drop) and not plan.exact:
        stopped = len(measured) < plan.draws
        most = plan.draws if stopped else len(more)
        found = replace(
            found,
            p_more=sequential_p(np.array(more, dtype=bool), plan.enough, most),
            p_less=sequential_p(np.array(less, dtype=bool), plan.enough, most),
            min_p=1 / (most + 1),
        )
    return Sequential(found, drop, n_items, tuple(measured), plan)


def _measured(
    measure: Measure, draw: int | None, items: Int[np.ndarray, " some"]
) -> Float[np.ndarray, " some"]:
    found = np.asarray(measure(draw, items), dtype=np.float64)
    if len(found) != len(items) or len(items) == 0:
        what = "the network" if draw is None else f"draw {draw}"
        raise LensLocError(
            f"{len(items)} items were to be measured under {what}, and {len(found)} came back; a "
            "comparison needs every item, at least one."
        )
    return found


def _settled(
    network: Float[np.ndarray, " some"],
    draw: Float[np.ndarray, " some"],
    n_items: int,
    margin: float,
) -> bool:
    """Say whether a part of the items settles which of two lesions is more harmful on the whole."""
    paired = network - draw
    n = len(paired)
    error = np.sqrt((1 - n / n_items) * paired.var(ddof=1) / n)
    return bool(abs(paired.mean()) > margin * error)

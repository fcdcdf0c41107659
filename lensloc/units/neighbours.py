"""Neighbours: matching values without replacement, at random but close."""

import numpy as np
from jaxtyping import Bool, Float, Int

FEW = 10
"""A neighbour is drawn from so many of the nearest."""

CALIPER = 0.2
"""Of these, only from those within so many standard deviations (Austin 2011)."""


def neighbours(
    wanted: Float[np.ndarray, " wanted"],
    free: Float[np.ndarray, " free"],
    rng: np.random.Generator,
    *,
    caliper: float,
    few: int = FEW,
) -> Int[np.ndarray, " wanted"]:
    """Give every wanted value a free one near it, without replacement.

    Wanted values are served in order of how many free ones lie within the caliper, those with the
    fewest first (at random where equal), so that a rare value is not left without its only
    neighbour. Each gets one of the ``few`` nearest that are left within the caliper, at random, or
    the nearest of all if none is. So draws differ from seed to seed wherever there is a choice, and
    where there is none they are as near as can be.

    Args:
        wanted: values to match.
        free: values to match them with, at least as many.
        rng: where chance comes from.
        caliper: distance up to which neighbours count as equal.
        few: how many of them are drawn from.

    Returns:
        For every wanted value an index into ``free``; no index twice.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> neighbours(np.array([5.0, 1.0]), np.array([0.9, 9.0, 5.2, 2.0]), rng, caliper=0.5)
        array([2, 0])
    """
    shuffled = rng.permutation(len(free))
    order = shuffled[np.argsort(free[shuffled], kind="stable")]
    ascending = free[order]
    within = np.searchsorted(ascending, wanted + caliper, "right")
    within -= np.searchsorted(ascending, wanted - caliper, "left")
    turn = rng.permutation(len(wanted))
    turn = turn[np.argsort(within[turn], kind="stable")]
    starts = np.searchsorted(ascending, wanted).tolist()
    left = _Left(ascending.tolist())
    luck = rng.random(len(wanted)).tolist()
    chosen = np.empty(len(wanted), dtype=np.int64)
    values = wanted.tolist()
    for i in turn.tolist():
        found = left.near(values[i], starts[i], caliper, few)
        place = found[int(luck[i] * len(found))]
        left.take(place)
        chosen[i] = order[place]
    return chosen


class _Left:
    """Ascending values that are still to be had, as a list linked in both directions."""

    def __init__(self, values: list[float]) -> None:
        n = len(values)
        self.values = values
        self.below = list(range(-1, n - 1))  # of every value left, the next smaller one left
        self.above = list(range(1, n + 1))  # and the next larger; n for none
        self.at_or_above = list(range(n + 1))  # of every place, a way to the first left from there
        self.last = n - 1  # the largest left

    def first(self, place: int) -> int:
        """Return the first place left at or above ``place``; the number of values for none."""
        root = place
        while self.at_or_above[root] != root:
            root = self.at_or_above[root]
        while self.at_or_above[place] != root:  # so that the way is short next time
            self.at_or_above[place], place = root, self.at_or_above[place]
        return root

    def near(self, value: float, start: int, caliper: float, few: int) -> list[int]:
        """Return the places of the ``few`` nearest within the caliper, or of the nearest."""
        n = len(self.values)
        up = self.first(start)
        down = self.last if up == n else self.below[up]
        found: list[int] = []
        while len(found) < few and (up < n or down >= 0):
            far_up = self.values[up] - value if up < n else np.inf
            far_down = value - self.values[down] if down >= 0 else np.inf
            if found and min(far_up, far_down) > caliper:
                break
            if far_up < far_down:
                found.append(up)
                up = self.above[up]
            else:
                found.append(down)
                down = self.below[down]
            if min(far_up, far_down) > caliper:
                break
        return found

    def take(self, place: int) -> None:
        """Take a value away."""
        below, above = self.below[place], self.above[place]
        if below >= 0:
            self.above[below] = above
        if above < len(self.values):
            self.below[above] = below
        else:
            self.last = below
        self.at_or_above[place] = place + 1


def alike(
    cost: Float[np.ndarray, "wanted free"],
    allowed: Bool[np.ndarray, "wanted free"],
    rng: np.random.Generator,
    *,
    caliper: float,
    few: int = FEW,
) -> Int[np.ndarray, " wanted"]:
    """Do as :func:`neighbours` does where nearness is a matrix of costs.

    Args:
        cost: of every match.
        allowed: which matches may be.
        rng: where chance comes from.
        caliper: cost up to which matches count as equal.
        few: how many of them are drawn from.

    Returns:
        For every wanted one an index into the free; -1 where none that is allowed was left.
    """
    cost = np.where(allowed, cost, np.inf)
    turn = rng.permutation(len(cost))
    turn = turn[np.argsort((cost[turn] <= caliper).sum(axis=1), kind="stable")]
    taken = np.zeros(cost.shape[1], dtype=bool)
    chosen = np.full(len(cost), -1, dtype=np.int64)
    for i in turn:
        left = np.where(taken, np.inf, cost[i])
        nearest = left.min(initial=np.inf)
        if not np.isfinite(nearest):
            continue
        equal = np.flatnonzero(left <= max(caliper, nearest))
        if len(equal) > few:
            equal = equal[np.lexsort((rng.random(len(equal)), left[equal]))[:few]]
        chosen[i] = rng.choice(equal)
        taken[chosen[i]] = True
    return chosen

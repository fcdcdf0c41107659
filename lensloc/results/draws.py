"""One network against k control draws: a test that is exact, and an interval that keeps its level.

**The question.** A control kind is a population of sets of units: all that its rule could have
drawn. The null hypothesis is that the network is one more set from it: being selective adds
nothing to what a set of this kind costs. Which units happen to be in a set matters a great deal,
so two draws of one kind differ, and a network that is a mere draw differs from the mean of the
others too. An interval that leaves out the network's own luck is one for another question, "are
these very units worse than an average draw?", to which the answer is nearly always yes or no.

**The rank test.** Under the null the network and its k draws are exchangeable, on whatever items
they were measured, so every place in their order is equally likely: ``p = (1 + draws at least as
harmful) / (k + 1)``. Nothing is assumed; ties count against the network. It cannot be below
``1 / (k + 1)``: 19 draws are the fewest that can reach 5 %.

**The interval.** The drop is modelled as what the kind costs, plus an effect of being selective
(the estimand), plus a set's own deviation. The estimate is the network's drop minus the draws'
mean. Item ``i`` of draw ``j`` drops by ``kind + item_i + set_j + rest_ij``; ``item_i`` is common to
all lesions and cancels. Writing ``s2`` for the variance between the draws' drops:

- ``s2`` estimates ``var(set) + var(rest) / n``, since every draw's drop already holds the noise of
  its own items. The network is one further draw, so the difference has variance
  ``(1 + 1/k) s2``: a prediction interval, on ``k - 1`` degrees of freedom. Under the null this is
  all, and adding the items' variance would count it twice.
- Away from the null the network's items scatter more than a draw's (controls that do nothing
  scatter not at all). Their paired differences ``z_i`` from the draws' mean have the variance
  ``s2_z / n``, of which ``(1 + 1/k) M / n`` is in ``s2`` already, ``M`` being the residual mean
  square of the table draws x items. What is above that is added; never less than nothing.

Each part is taken times its own squared quantile of Student's t, on ``k - 1`` and on ``n - 1``
degrees of freedom, and half the width is the root of the sum (the variances' limits are combined,
not the variances: Zou and Donner 2008). So the interval is never narrower than the prediction
interval, which is exact for normally distributed drops, and with few draws it is as wide as few
draws deserve. That draws are about normally distributed is assumed here; the rank test needs no
such thing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from lensloc.errors import LensLocError

TIED = 1e-9
"""Drops that differ by less are equal: sums of the same items in another order."""

_NAN = float("nan")


@dataclass(frozen=True)
class Comparison:
    """A network's drop beside those of k draws of one kind of control.

    Attributes:
        kind: of the control.
        network: the network's drop; positive for harm.
        draws: the draws' drops, in the order in which they were drawn; those that gave no number
            left out.
        without_number: how many those were.
        n_items: that all of them were measured on.
        difference: the network's drop minus the draws' mean.
        low: its interval over draws and items; NaN with fewer than two draws or items.
        high: likewise.
        confidence: of the interval.
        draw_variance: the part of the difference's variance that is in ``s2``, ``(1 + 1/k) s2``.
        item_variance: what the items add to that.
        p_more: of the rank test that the network is more harmful than a draw; one-sided.
        p_less: that it is less harmful.
        min_p: the smallest p that so many draws can give.
    """

    kind: str
    network: float
    draws: tuple[float, ...]
    without_number: int
    n_items: int
    difference: float
    low: float
    high: float
    confidence: float
    draw_variance: float
    item_variance: float
    p_more: float
    p_less: float
    min_p: float

    @property
    def k(self) -> int:
        """Number of draws that gave a number."""
        return len(self.draws)

    @property
    def control(self) -> float:
        """The draws' mean drop."""
        return float(np.mean(self.draws)) if self.draws else _NAN

    @property
    def draw_sd(self) -> float:
        """Standard deviation of the draws' drops; NaN of fewer than two."""
        return float(np.std(self.draws, ddof=1)) if self.k > 1 else _NAN

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero; false where there is none."""
        return self.low > 0 or self.high < 0

    @property
    def can_conclude(self) -> bool:
        """Whether the rank test could reach the level at all; see :func:`fewest_draws`."""
        return bool(np.isfinite(self.network)) and self.min_p <= 1 - self.confidence + TIED

    @property
    def caveat(self) -> str:
        """Why little or nothing can be concluded, in a sentence; empty if enough can."""
        lost = f" ({self.without_number} more gave no number)" if self.without_number else ""
        if not np.isfinite(self.network):
            return "The network's drop is no number, so nothing can be concluded."
        if self.k == 0:
            return f"No control draw gave a number{lost}, so nothing can be concluded."
        if self.k == 1:
            return (
                f"One control draw{lost} says nothing about how draws differ, so nothing can be "
                f"concluded; {fewest_draws(self.confidence)} are the fewest with which the rank "
                f"test can reach {100 * (1 - self.confidence):.3g} %."
            )
        if self.k == 2:
            return (
                f"With 2 control draws{lost} nothing can be concluded: the rank test's p cannot be "
                "below 1/3, and the interval rests on one degree of freedom."
            )
        if not self.can_conclude:
            return (
                f"With {self.k} control draws{lost} the rank test's p cannot be below "
                f"{self.min_p:.3g}; only the interval, which takes draws to be normally "
                f"distributed, can tell at {100 * self.confidence:g} %."
            )
        return ""

    def __repr__(self) -> str:
        return (
            f"Comparison({self.kind}: network {self.network:.3f}, {self.k} draws "
            f"{self.control:.3f}; difference {self.difference:+.3f} "
            f"[{self.low:.3f}, {self.high:.3f}], p {self.p_more:.3g})"
        )


def compare(
    network: Float[np.ndarray, " item"],
    draws: Sequence[Float[np.ndarray, " _"]] | Float[np.ndarray, "draw _"],
    *,
    kind: str = "control",
    confidence: float = 0.95,
) -> Comparison:
    """Hold a network beside its control draws.

    Args:
        network: item drops of the network's lesion (see
            :func:`lensloc.results.items.item_drops`).
        draws: item drops of every draw's, of the same items in the same order.
        kind: of the control.
        confidence: of the interval.

    Raises:
        LensLocError: no item, draws of other items, or a confidence outside 0 to 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> network = rng.binomial(1, 0.6, 200).astype(float)
        >>> draws = rng.binomial(1, 0.2, (20, 200)).astype(float)
        >>> found = compare(network, draws, kind="layer")
        >>> print(f"{found.difference:.2f} [{found.low:.2f}, {found.high:.2f}]")
        0.35 [0.27, 0.43]
        >>> round(found.p_more, 4), found.min_p == found.p_more
        (0.0476, True)
    """
    if not 0 < confidence < 1:
        raise LensLocError(f"confidence lies between 0 and 1; {confidence:g} does not.")
    if len(network) == 0:
        raise LensLocError("A comparison needs items, and there are none; give a task with some.")
    for number, draw in enumerate(draws):
        if len(draw) != len(network):
            raise LensLocError(
                f"Draw {number} of the control {kind!r} was measured on {len(draw)} items and the "
                f"network on {len(network)}; measure all on the same."
            )
    known = [draw for draw in draws if np.isfinite(draw).all()]
    table = np.stack(known) if known else np.empty((0, len(network)))
    drops = table.mean(axis=1)
    is_number = bool(np.isfinite(network).all())
    own = float(network.mean()) if is_number else _NAN
    k, n = table.shape
    p_more, p_less = rank_p(own, drops)
    made = Comparison(
        kind=kind,
        network=own,
        draws=tuple(float(drop) for drop in drops),
        without_number=len(draws) - k,
        n_items=n,
        difference=own - float(drops.mean()) if k else _NAN,
        low=_NAN,
        high=_NAN,
        confidence=confidence,
        draw_variance=_NAN,
        item_variance=_NAN,
        p_more=p_more,
        p_less=p_less,
        min_p=1 / (k + 1),
    )
    if k < 2 or n < 2 or not is_number:
        return made
    of_draws, of_items = draw_variance(drops), item_variance(network, table)
    half = half_width([of_draws, of_items], [k - 1, n - 1], confidence)
    return replace(
        made,
        low=made.difference - float(half),
        high=made.difference + float(half),
        draw_variance=float(of_draws),
        item_variance=float(of_items),
    )


# -- the rank test ---------------------------------------------------------------------------------


def at_least(
    a: Float[np.ndarray, "..."] | float, b: Float[np.ndarray, "..."] | float
) -> Bool[np.ndarray, "..."]:
    """Say where ``a >= b``, equal but for rounding counted as equal; false for what is no number.

    Example:
        >>> at_least(np.array([0.1 + 0.2, 0.2, np.nan]), 0.3).tolist()
        [True, False, False]
    """
    return np.asarray(a >= b - TIED * np.maximum(1.0, np.abs(b)))


def rank_p(network: float, draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Return the p that the network is more, and less, harmful than a draw.

    ``(1 + draws at least as harmful) / (k + 1)``, and the same for at most; exact whatever the
    drops' distribution, since under the null every place among k + 1 is as likely (Phipson and
    Smyth 2010). One-sided each; NaN if the network's drop is no number.

    Args:
        network: its drop.
        draws: those of the draws, all numbers.

    Example:
        >>> rank_p(0.5, np.array([0.1, 0.5, 0.2]))
        (0.5, 1.0)
    """
    if not np.isfinite(network):
        return _NAN, _NAN
    more = int(at_least(draws, network).sum())
    less = int(at_least(-draws, -network).sum())
    return (1 + more) / (len(draws) + 1), (1 + less) / (len(draws) + 1)


def sequential_p(exceeds: Bool[np.ndarray, " draw"], enough: int, most: int) -> float:
    """Return the p of draws that may have been stopped (Besag and Clifford 1991).

    If ``enough`` of them exceeded the network, ``enough / draws until then``, whether or not more
    were drawn afterwards; otherwise ``(1 + exceeding) / (most + 1)``. Valid: under the null p is at
    most ``x`` with probability at most ``x``.

    Args:
        exceeds: whether every draw was at least as harmful as the network, in order.
        enough: exceeding draws after which one need not go on.
        most: draws after which one stops anyway; fewer may be given only once enough exceeded.

    Raises:
        LensLocError: if draws are missing.

    Example:
        >>> sequential_p(np.array([False, True, True, True]), enough=3, most=20)
        0.75
    """
    passed = np.flatnonzero(exceeds[:most])
    if len(passed) >= enough:
        return float(enough / (passed[enough - 1] + 1))
    if len(exceeds) < most:
        raise LensLocError(
            f"Only {len(passed)} of {len(exceeds)} draws reach the network, too few to stop before "
            f"{most}; draw on."
        )
    return float((1 + len(passed)) / (most + 1))


def fewest_draws(confidence: float) -> int:
    """Return how many draws the rank test needs to be able to reach ``1 - confidence``.

    Example:
        >>> fewest_draws(0.95), fewest_draws(0.99)
        (19, 99)
    """
    return math.ceil(1 / (1 - confidence) - TIED) - 1


# -- the interval ----------------------------------------------------------------------------------


def draw_variance(drops: Float[np.ndarray, "*batch draw"]) -> Float[np.ndarray, "*batch"]:
    """Return the variance of one further draw minus the mean of these, ``(1 + 1/k) s2``."""
    return np.asarray((1 + 1 / drops.shape[-1]) * drops.var(axis=-1, ddof=1))


def item_variance(
    network: Float[np.ndarray, "*batch item"], draws: Float[np.ndarray, "*batch draw item"]
) -> Float[np.ndarray, "*batch"]:
    """Return what items add to the variance between draws; see the module.

    ``s2_z / n - (1 + 1/k) M / n``, at least 0, with ``s2_z`` the variance over items of the
    network minus the draws' mean, ``M`` the residual mean square of the draws x items.
    """
    return np.asarray(np.maximum(0, item_excess(network, draws)))


def item_excess(
    network: Float[np.ndarray, "*batch item"], draws: Float[np.ndarray, "*batch draw item"]
) -> Float[np.ndarray, "*batch"]:
    """Return the items' variance before it is cut off at 0, so that it can be added over tasks."""
    k, n = draws.shape[-2:]
    by_item = draws.mean(axis=-2)
    rest = draws - by_item[..., None, :]
    rest -= rest.mean(axis=-1, keepdims=True)
    residual = np.einsum("...ji,...ji->...", rest, rest) / ((n - 1) * (k - 1))
    paired = (network - by_item).var(axis=-1, ddof=1)
    return np.asarray((paired - (1 + 1 / k) * residual) / n)


def half_width(
    variances: Sequence[Float[np.ndarray, "*batch"]], df: Sequence[float], confidence: float
) -> Float[np.ndarray, "*batch"]:
    """Return half the width of an interval whose variance has several parts; see the module.

    Args:
        variances: of every part.
        df: degrees of freedom that each was estimated on.
        confidence: of the interval.
    """
    quantiles = stats.t.ppf((1 + confidence) / 2, np.asarray(df, dtype=np.float64))
    total = sum(q * q * v for q, v in zip(quantiles, variances, strict=True))
    return np.asarray(np.sqrt(total))

"""Recovery: how much of the difference between clean and corrupted texts do k units carry?

A pair is a clean and a corrupted text; its score is a difference of logits or log-probabilities,
high on the clean text and low on the corrupted one. Both curves are shares of that difference:

- **faithfulness**: all units but the first k take their corrupted values. How much is recovered?
  ``(score_k - corrupted) / (clean - corrupted)``: 0 with no unit, 1 with all of them.
- **completeness**: the first k take their corrupted values, all others stay clean. How much is
  lost? ``(clean - score_k) / (clean - corrupted)``: if it stays below faithfulness, other units
  carry the difference too.

(Wang et al. 2023 have the terms; Marks et al. 2025 the normalised form.) A share is a ratio of
means over pairs, not a mean of ratios, which one pair without a difference would blow up.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import integrate, stats

from lensloc.errors import LensLocError

Curve = Literal["faithfulness", "completeness"]


@dataclass(frozen=True, eq=False)
class Recovery:
    """One curve.

    Attributes:
        curve: which.
        sizes: numbers of units, ascending.
        share: of the clean-corrupted difference; may leave 0 to 1.
        low: interval over pairs (linearised ratio, Student's t).
        high: likewise.
        difference: mean of clean minus corrupted.
        n_pairs: pairs.
    """

    curve: str
    sizes: Int[np.ndarray, " size"]
    share: Float[np.ndarray, " size"]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    difference: float
    n_pairs: int

    def area(self, scale: Literal["linear", "log"] = "log") -> float:
        """Return the mean height of the curve over its sizes, by trapezoids.

        Args:
            scale: of the sizes. On ``"log"`` the few best units count as much as the many next.

        Raises:
            LensLocError: with fewer than two sizes, or a size of 0 on a logarithmic scale.
        """
        if len(self.sizes) < 2:
            raise LensLocError("The area under a curve needs at least two sizes.")
        if scale == "log" and self.sizes[0] < 1:
            raise LensLocError("A logarithmic scale has no place for 0 units; use scale='linear'.")
        x = np.log(self.sizes) if scale == "log" else self.sizes.astype(np.float64)
        return float(integrate.trapezoid(self.share, x) / (x[-1] - x[0]))

    def units_for(self, share: float) -> int | None:
        """Return the smallest measured number of units whose share reaches ``share``, or None."""
        reached = np.flatnonzero(self.share >= share)
        return int(self.sizes[reached[0]]) if len(reached) else None


def recovery(
    curve: Curve | str,
    sizes: Int[np.ndarray, " size"],
    scores: Float[np.ndarray, "_ _"],  # [size, pair]
    clean: Float[np.ndarray, " _"],
    corrupted: Float[np.ndarray, " _"],
    *,
    confidence: float = 0.95,
) -> Recovery:
    """Turn scores of pairs into a curve.

    Args:
        curve: ``"faithfulness"`` if the first k units were left clean and all others corrupted,
            ``"completeness"`` if the first k were corrupted.
        sizes: the k, ascending.
        scores: of every pair at every k, ``[size, pair]``.
        clean: scores of the clean texts.
        corrupted: scores of the corrupted texts.
        confidence: of the intervals.

    Raises:
        LensLocError: unequal lengths, sizes that do not ascend, scores that are no numbers, fewer
            than two pairs, or no difference between clean and corrupted texts to recover.

    Example:
        >>> clean, corrupted = np.array([2.0, 3.0, 2.0, 3.0]), np.array([0.0, -1.0, 0.0, -1.0])
        >>> scores = np.stack([corrupted, (clean + corrupted) / 2, clean])
        >>> found = recovery("faithfulness", np.array([1, 10, 100]), scores, clean, corrupted)
        >>> found.share.tolist(), round(found.area(), 3)
        ([0.0, 0.5, 1.0], 0.5)
    """
    if curve not in get_args(Curve):
        raise LensLocError(f"There is no curve {curve!r}; there are {', '.join(get_args(Curve))}.")
    if scores.shape != (len(sizes), len(clean)) or len(clean) != len(corrupted):
        raise LensLocError(
            f"Scores are [size, pair], but there are {len(sizes)} sizes, {len(clean)} clean and "
            f"{len(corrupted)} corrupted texts, and scores of shape {scores.shape}."
        )
    if len(clean) < 2 or len(sizes) == 0 or (np.diff(sizes) <= 0).any():
        raise LensLocError("A curve needs at least two pairs, and sizes that ascend.")
    for name, values in (("scores", scores), ("clean", clean), ("corrupted", corrupted)):
        if not np.isfinite(values).all():
            pair = int(np.argwhere(~np.isfinite(values))[0][-1])
            raise LensLocError(
                f"Pair {pair} has a score in {name!r} that is no number; leave it out."
            )
    below = clean - corrupted
    n = len(below)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    difference, error = float(below.mean()), float(below.std(ddof=1)) / np.sqrt(n)
    if difference <= quantile * error:
        raise LensLocError(
            f"Clean texts score {difference:.3g} above corrupted ones on average, which cannot be "
            f"told from nothing over {n} pairs, so there is no difference to recover."
        )
    above = scores - corrupted if curve == "faithfulness" else clean - scores
    share = above.mean(axis=1) / difference
    spread = (above - share[:, None] * below).std(axis=1, ddof=1) / np.sqrt(n) / difference
    return Recovery(
        curve=curve,
        sizes=np.asarray(sizes),
        share=share,
        low=share - quantile * spread,
        high=share + quantile * spread,
        difference=difference,
        n_pairs=n,
    )


def rank_agreement(
    a: Float[np.ndarray, "*units"],
    b: Float[np.ndarray, "*units"],
    where: Bool[np.ndarray, "*units"] | None = None,
) -> tuple[float, int]:
    """Return Spearman's rank correlation of two rankings of units, and over how many units.

    Units without a finite value in both are left out; NaN if fewer than three are left or one of
    the two is constant there.

    Args:
        a: one value per unit, e.g. t.
        b: another, e.g. the gradient's estimate.
        where: only these units.

    Example:
        >>> rank_agreement(np.array([1.0, 2.0, 3.0, np.nan]), np.array([10.0, 20.0, 15.0, 0.0]))
        (0.5, 3)
    """
    kept = np.isfinite(a) & np.isfinite(b)
    if where is not None:
        kept &= where
    x, y = a[kept], b[kept]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), len(x)
    return float(stats.spearmanr(x, y).statistic), len(x)

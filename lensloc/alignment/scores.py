"""Predictions -> Pearson r and R2 of every response, and their bootstrap over passages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lensloc.alignment.ridge import Predictions
from lensloc.alignment.splits import Folds

# A prediction that varies less than this, in shares of the response's variance, is rounding.
_ROUNDING = 1e-20
_AT_ONCE = 2**22  # numbers in one array of the bootstrap


@dataclass(frozen=True, eq=False)
class Scores:
    """How well responses were predicted, as sums over the samples of every fold and passage.

    A *cell* is what a fold holds of a passage: the whole passage, unless the split was shuffled.
    All scores, and those of resampled passages, follow from a cell's sums.

    - ``r``: Pearson's correlation of prediction and response within a fold, averaged over folds. A
      prediction that is constant within a fold explains nothing there: r = 0. A fold in which the
      response is constant has no r and is left out.
    - ``r2``: 1 - (sum of squared errors) / (sum of squared distances to the mean of the samples
      trained on), over all folds; 0 for predicting that mean, negative for worse.

    Attributes:
        n: ``[cell]``, samples.
        sums: ``[sum, cell, response]``: of x, y, x^2, y^2, xy (x predicted, y measured, both minus
            their mean in the fold), of squared errors, and of squared distances to the mean.
        fold: ``[cell]``.
        group: ``[cell]``.
        n_groups: how many passages there are.
    """

    n: Float[np.ndarray, " cell"]
    sums: Float[np.ndarray, "7 cell response"]
    fold: Int[np.ndarray, " cell"]
    group: Int[np.ndarray, " cell"]
    n_groups: int

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        responses: Float[np.ndarray, "sample response"],
        folds: Folds,
    ) -> "Scores":
        """Sum up over cells."""
        n_groups = len(folds.names)
        x, y = predictions.values.copy(), responses.astype(np.float64)
        errors, spread = (y - x) ** 2, (y - predictions.null) ** 2
        for _, test in folds:
            x[test] -= x[test].mean(axis=0)
            y = _centred(y, test)
        cells, cell = np.unique(folds.labels * n_groups + folds.groups, return_inverse=True)
        parts = [x, y, x * x, y * y, x * y, errors, spread]
        sums = np.zeros((len(parts), len(cells), y.shape[1]))
        for at, part in enumerate(parts):
            np.add.at(sums[at], cell, part)
        counts = np.bincount(cell).astype(np.float64)
        return cls(counts, sums, cells // n_groups, cells % n_groups, n_groups)

    def r(self) -> Float[np.ndarray, " response"]:
        """Return the correlation of every response; NaN for one that is constant in every fold."""
        found: Float[np.ndarray, " response"] = self._r(np.ones((1, self.n_groups)), slice(None))[0]
        return found

    def r2(self) -> Float[np.ndarray, " response"]:
        """Return R2 of every response."""
        found: Float[np.ndarray, " response"] = self._r2(np.ones((1, self.n_groups)), slice(None))[
            0
        ]
        return found

    def mean_r(self, counts: Float[np.ndarray, "resample group"]) -> Float[np.ndarray, " resample"]:
        """Return the mean r over responses where passages were drawn so often."""
        return self._means(counts, self._r)

    def mean_r2(
        self, counts: Float[np.ndarray, "resample group"]
    ) -> Float[np.ndarray, " resample"]:
        """Return the mean R2 over responses where passages were drawn so often."""
        return self._means(counts, self._r2)

    def outcome(self, counts: Float[np.ndarray, "resample group"]) -> "Outcome":
        """Return what is kept: scores of every response, and their means over resamples."""
        return Outcome(
            self.r(), self.r2(), self.mean_r(counts), self.mean_r2(counts), self.n_constant()
        )

    def n_constant(self) -> int:
        """How many (fold, response) pairs have a constant response, and so no r."""
        constant = 0
        for fold in np.unique(self.fold):
            cells = self.fold == fold
            n, y, yy = self.n[cells].sum(), self.sums[1, cells].sum(0), self.sums[3, cells].sum(0)
            constant += int((yy - y * y / n <= 0).sum())
        return constant

    def _means(
        self,
        counts: Float[np.ndarray, "resample group"],
        score: "Callable[[Float[np.ndarray, 'resample group'], slice], Any]",
    ) -> Float[np.ndarray, " resample"]:
        n_responses = self.sums.shape[2]
        total, known = np.zeros(len(counts)), np.zeros(len(counts))
        for part in _pieces(n_responses, max(1, _AT_ONCE // max(1, len(counts)))):
            values = score(counts, part)
            total += np.nansum(values, axis=1)
            known += np.isfinite(values).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / known)

    def _r(
        self, counts: Float[np.ndarray, "resample group"], part: slice
    ) -> Float[np.ndarray, "resample response"]:
        total: Float[np.ndarray, "resample response"] = np.zeros(())
        weights: Float[np.ndarray, "resample response"] = np.zeros(())
        for fold in np.unique(self.fold):
            cells = np.flatnonzero(self.fold == fold)
            drawn = counts[:, self.group[cells]]
            n = drawn @ self.n[cells]
            x, y, xx, yy, xy = (drawn @ self.sums[at][cells][:, part] for at in range(5))
            with np.errstate(invalid="ignore", divide="ignore"):
                sxx = xx - x * x / n[:, None]
                syy = yy - y * y / n[:, None]
                sxy = xy - x * y / n[:, None]
                found = np.clip(sxy / np.sqrt(sxx * syy), -1.0, 1.0)
            found = np.where(sxx <= _ROUNDING * syy, 0.0, found)
            least = _ROUNDING * self.sums[3][cells][:, part].sum(axis=0)
            there = (syy > least) & np.isfinite(found)
            # A fold counts as often as its passages were drawn; once, if all were.
            weight = np.where(there, drawn.mean(axis=1)[:, None], 0.0)
            total = total + np.where(there, found, 0.0) * weight
            weights = weights + weight
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Float[np.ndarray, "resample response"] = total / weights
        return result

    def _r2(
        self, counts: Float[np.ndarray, "resample group"], part: slice
    ) -> Float[np.ndarray, "resample response"]:
        drawn = counts[:, self.group]
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Float[np.ndarray, "resample response"] = 1 - (
                (drawn @ self.sums[5][:, part]) / (drawn @ self.sums[6][:, part])
            )
        return result


@dataclass(frozen=True, eq=False)
class Outcome:
    """Scores of one set of features.

    Attributes:
        r: of every response; NaN for one that is constant in every fold.
        r2: of every response.
        r_resampled: mean r over responses, for every resample of the passages.
        r2_resampled: mean R2 over responses, for every resample.
        n_constant: (fold, response) pairs that have no r.
    """

    r: Float[np.ndarray, " response"]
    r2: Float[np.ndarray, " response"]
    r_resampled: Float[np.ndarray, " resample"]
    r2_resampled: Float[np.ndarray, " resample"]
    n_constant: int


def _centred(
    y: Float[np.ndarray, "sample response"], test: Int[np.ndarray, " test"]
) -> Float[np.ndarray, "sample response"]:
    constant = np.ptp(y[test], axis=0) == 0
    y[test] -= y[test].mean(axis=0)
    y[np.ix_(test, constant)] = 0.0  # exactly, not but for rounding
    return y


def _pieces(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


@dataclass(frozen=True, eq=False)
class Resampled:
    """How often every passage was drawn, with replacement.

    Attributes:
        counts: ``[resample, group]``.
        confidence: of intervals.
        seed: of the draws.
    """

    counts: Float[np.ndarray, "resample group"]
    confidence: float
    seed: int

    @classmethod
    def of(cls, n_groups: int, *, n_resamples: int, confidence: float, seed: int) -> "Resampled":
        """Draw passages."""
        draws = np.random.default_rng(seed).multinomial(
            n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples
        )
        return cls(draws.astype(np.float64), confidence, seed)

    def interval(self, sample: Float[np.ndarray, " resample"]) -> tuple[float, float]:
        """Return a percentile interval; NaN where there is none, or only one passage."""
        known = sample[np.isfinite(sample)]
        if self.counts.shape[1] < 2 or len(known) < 2:
            return float("nan"), float("nan")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return float(low), float(high)

    def difference(
        self,
        network: Float[np.ndarray, " resample"],
        draws: Float[np.ndarray, "draw resample"],
    ) -> tuple[float, float]:
        """Return the interval of a difference to control draws, over passages and draws."""
        chosen = np.random.default_rng([self.seed, len(draws)]).integers(
            len(draws), size=draws.shape
        )
        return self.interval(network - np.take_along_axis(draws, chosen, axis=0).mean(axis=0))


def rank_p(network: float, draws: Float[np.ndarray, " draw"]) -> float:
    """Return the share of draws, and the network itself, that reach the network.

    ``(1 + number of draws >= network) / (1 + number of draws)``: the p-value of a permutation test
    (Phipson and Smyth 2010). NaN if the network or every draw is NaN; other NaN draws are left out.

    Example:
        >>> rank_p(0.5, np.array([0.1, 0.2, 0.6]))
        0.5
    """
    known = draws[np.isfinite(draws)]
    if not np.isfinite(network) or len(known) == 0:
        return float("nan")
    return float((1 + (known >= network).sum()) / (1 + len(known)))

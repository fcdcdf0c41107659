"""Cross-validated linear regression: log-likelihood of times that were held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lensloc.alignment.splits import Folds
from lensloc.errors import LensLocError


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear regression's log-likelihood on held-out rows.

    Attributes:
        log_likelihood: ``[row]``, log density of every row's value, in nats, under the normal
            distribution around its prediction, whose variance is the residuals' on the other folds.
        slopes: ``[predictor]``, of the regression on all rows, per unit of the predictor.
    """

    log_likelihood: Float[np.ndarray, " row"]
    slopes: Float[np.ndarray, " predictor"]


def cross_validated(
    predictors: Float[np.ndarray, "row predictor"],
    values: Float[np.ndarray, " row"],
    folds: Folds,
    subjects: Int[np.ndarray, " row"] | None = None,
) -> Fit:
    """Predict every fold by least squares on the others.

    Args:
        predictors: without a constant column, which is added.
        values: what is predicted.
        folds: what is held out together.
        subjects: number of each row's subject, from 0: every subject has an intercept of its own
            (a subject whom the other folds lack has the mean one).

    Raises:
        LensLocError: fewer rows outside a fold than the regression has coefficients.
    """
    # Where the origin is changes neither predictions nor slopes; near the data, it costs no digits.
    centre, scale = predictors.mean(axis=0), predictors.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x, level = (predictors - centre) / scale, values.mean()
    y = values - level
    whose = np.zeros(len(y), dtype=np.int64) if subjects is None else subjects
    n_subjects = int(whose.max()) + 1
    log_likelihood = np.empty(len(y))
    for train, test in folds:
        found = _least_squares(x[train], y[train], whose[train], n_subjects)
        error = y[test] - found.predict(x[test], whose[test])
        log_likelihood[test] = -0.5 * (
            np.log(2 * np.pi * found.variance) + error**2 / found.variance
        )
    whole = _least_squares(x, y, whose, n_subjects)
    return Fit(log_likelihood, whole.slopes / scale)


@dataclass(frozen=True, eq=False)
class _Line:
    slopes: Float[np.ndarray, " predictor"]
    intercepts: Float[np.ndarray, " subject"]
    variance: float

    def predict(
        self, x: Float[np.ndarray, "row predictor"], whose: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, " row"]:
        predicted: Float[np.ndarray, " row"] = x @ self.slopes + self.intercepts[whose]
        return predicted


def _least_squares(
    x: Float[np.ndarray, "row predictor"],
    y: Float[np.ndarray, " row"],
    whose: Int[np.ndarray, " row"],
    n_subjects: int,
) -> _Line:
    """Fit slopes on deviations from each subject's means, then the subjects' intercepts."""
    counts = np.bincount(whose, minlength=n_subjects).astype(np.float64)
    there = counts > 0
    left = len(y) - x.shape[1] - int(there.sum())
    if left < 1:
        raise LensLocError(
            f"{len(y)} times outside a fold are too few for {x.shape[1] + int(there.sum())} "
            "coefficients; give more data."
        )
    per = np.maximum(counts, 1)
    mean_y = np.bincount(whose, weights=y, minlength=n_subjects) / per
    mean_x = (
        np.stack(
            [np.bincount(whose, weights=column, minlength=n_subjects) / per for column in x.T],
            axis=1,
        )
        if x.shape[1]
        else np.zeros((n_subjects, 0))
    )
    dx, dy = x - mean_x[whose], y - mean_y[whose]
    slopes = np.linalg.lstsq(dx.T @ dx, dx.T @ dy, rcond=None)[0] if x.shape[1] else np.zeros(0)
    residual = dy - dx @ slopes
    intercepts = mean_y - mean_x @ slopes
    intercepts = np.where(there, intercepts, y.mean() - x.mean(axis=0) @ slopes)
    variance = float(residual @ residual) / left
    if variance <= 0:
        raise LensLocError("The times can be predicted without error, so they are not data.")
    return _Line(slopes, intercepts, variance)


def summed(
    values: Float[np.ndarray, " row"], groups: Int[np.ndarray, " row"], n: int
) -> Float[np.ndarray, " group"]:
    """Return the sum of values in every group."""
    return np.bincount(groups, weights=values, minlength=n)


def shifted(
    values: Float[np.ndarray, " word"], stories: Sequence[str], by: int
) -> Float[np.ndarray, " word"]:
    """Return the value of the word ``by`` words before; NaN before the beginning of a story.

    Example:
        >>> shifted(np.array([1.0, 2, 3, 4]), ["a", "a", "b", "b"], 1).tolist()
        [nan, 1.0, nan, 3.0]
    """
    labels = np.array(stories)
    moved = np.full(len(values), np.nan)
    moved[by:] = np.where(
        labels[by:] == labels[: len(labels) - by], values[: len(values) - by], np.nan
    )
    return moved

"""Features and responses -> predictions of what was held out, by ridge regression (himalaya)."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lensloc.alignment.optional import needed
from lensloc.alignment.splits import Folds
from lensloc.errors import LensLocError

ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(-1, 8, 10))
_PURPOSE = "Ridge regression"
_LEAST_SHARE = 1e-6  # of a band that is switched off: a share of zero has no logarithm
_BYTES = 2**28  # of the largest array at once


@dataclass(frozen=True)
class Ridge:
    """How predictions are made.

    Attributes:
        alphas: penalties to choose from, for features in standard deviations; a single one is
            taken as it is, and shared alike by all bands.
        n_inner: folds of what is trained on, to choose the penalty of every response on.
        n_bands: how many divisions of the penalty among bands of features are tried, where there
            are several bands.
        seed: of these divisions.
        device: ``"cpu"`` or ``"cuda"``.
    """

    alphas: tuple[float, ...] = ALPHAS
    n_inner: int = 5
    n_bands: int = 16
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.alphas or not all(np.isfinite(a) and a > 0 for a in self.alphas):
            raise LensLocError(f"alphas are penalties above 0; {self.alphas} are not.")
        if self.device not in ("cpu", "cuda"):
            raise LensLocError(f"Ridge regression runs on cpu or cuda; {self.device!r} is neither.")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for samples that were held out.

    Attributes:
        values: ``[sample, response]``.
        null: ``[sample, response]``, the responses' mean over the samples that were trained on.
    """

    values: Float[np.ndarray, "sample response"]
    null: Float[np.ndarray, "sample response"]


def predict(
    bands: Sequence[Float[np.ndarray, "sample _"]],
    responses: Float[np.ndarray, "sample response"],
    folds: Folds,
    ridge: Ridge,
) -> Predictions:
    """Predict every fold's responses from the other folds.

    Features are standardised by mean and standard deviation of the samples trained on (one that is
    constant there counts nothing). The penalty of every response is the one that predicts best
    within the samples trained on, in folds of the same kind. With several bands, each has a penalty
    of its own (banded ridge), found by random search. Where no feature varies, the mean of the
    samples trained on is predicted.

    Args:
        bands: features, in one or more bands.
        responses: what is predicted.
        folds: what is held out together.
        ridge: how.
    """
    values = np.zeros_like(responses, dtype=np.float64)
    null = np.zeros_like(values)
    for train, test in folds:
        mean = responses[train].mean(axis=0)
        null[test] = mean
        scaled = [_standardised(band, train) for band in bands]
        kept = [band for band in scaled if band.shape[1]]
        # Features that are the same for all that is held out cannot tell it apart.
        if not any(np.ptp(band[test], axis=0).any() for band in kept):
            kept = []
        values[test] = mean
        if kept:
            inner = folds.inner(train, ridge.n_inner) if len(ridge.alphas) > 1 else None
            values[test] += _predicted(kept, responses - mean, train, test, inner, ridge)
    return Predictions(values, null)


def _standardised(
    band: Float[np.ndarray, "sample feature"], train: Int[np.ndarray, " train"]
) -> Float[np.ndarray, "sample varying"]:
    mean, spread = band[train].mean(axis=0), band[train].std(axis=0)
    size = np.abs(band[train]).max(axis=0, initial=0.0)
    varies = spread > 1e-12 * np.maximum(size, np.finfo(np.float64).tiny)
    found: Float[np.ndarray, "sample varying"] = (band[:, varies] - mean[varies]) / spread[varies]
    return found


def _predicted(
    bands: Sequence[Float[np.ndarray, "sample _"]],
    responses: Float[np.ndarray, "sample response"],
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
    inner: Int[np.ndarray, " train"] | None,
    ridge: Ridge,
) -> Float[np.ndarray, "test response"]:
    n_features = sum(band.shape[1] for band in bands)
    # Bands of one total variance each, as one band of as many features would have.
    if len(bands) > 1:
        bands = [band * np.sqrt(n_features / band.shape[1]) for band in bands]
    with _backend(ridge.device) as backend:
        if n_features <= len(train):
            return _by_features(bands, responses, train, test, inner, ridge, backend)
        return _by_kernels(bands, responses, train, test, inner, ridge, backend)


def _by_features(
    bands: Sequence[Float[np.ndarray, "sample _"]],
    responses: Float[np.ndarray, "sample response"],
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
    inner: Int[np.ndarray, " train"] | None,
    ridge: Ridge,
    backend: Any,
) -> Float[np.ndarray, "test response"]:
    library = needed("himalaya.ridge", _PURPOSE)
    stacked = np.concatenate(bands, axis=1)
    if inner is None:
        stacked = stacked / np.sqrt(len(bands))
        model = library.Ridge(
            alpha=ridge.alphas[0], fit_intercept=True, solver_params={"warn": False}
        )
    else:
        groups = np.repeat(np.arange(len(bands)), [band.shape[1] for band in bands])
        options = _options(bands, responses, len(train), inner, ridge, backend, stacked.shape[1])
        model = library.GroupRidgeCV(
            groups=groups,
            cv=_splitter(inner),
            fit_intercept=True,
            random_state=ridge.seed,
            solver_params={**options, "warn": False},
        )
    model.fit(backend.asarray(stacked[train]), backend.asarray(responses[train]))
    return _numpy(backend, model.predict(backend.asarray(stacked[test])))


def _by_kernels(
    bands: Sequence[Float[np.ndarray, "sample _"]],
    responses: Float[np.ndarray, "sample response"],
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
    inner: Int[np.ndarray, " train"] | None,
    ridge: Ridge,
    backend: Any,
) -> Float[np.ndarray, "test response"]:
    """Do the same where features outnumber samples: ridge on the kernels of the bands."""
    library = needed("himalaya.kernel_ridge", _PURPOSE)
    known = np.stack([band[train] @ band[train].T for band in bands])
    asked = np.stack([band[test] @ band[train].T for band in bands])
    if inner is None:
        model = library.KernelRidge(
            alpha=ridge.alphas[0], kernel="precomputed", fit_intercept=True, warn=False
        )
        known, asked = known.mean(axis=0), asked.mean(axis=0)
    else:
        model = library.MultipleKernelRidgeCV(
            kernels="precomputed",
            solver="random_search",
            cv=_splitter(inner),
            fit_intercept=True,
            random_state=ridge.seed,
            solver_params=_options(bands, responses, len(train), inner, ridge, backend, len(train)),
        )
    model.fit(backend.asarray(known), backend.asarray(responses[train]))
    return _numpy(backend, model.predict(backend.asarray(asked)))


def _options(
    bands: Sequence[Any],
    responses: Float[np.ndarray, "sample response"],
    n_train: int,
    inner: Int[np.ndarray, " train"],
    ridge: Ridge,
    backend: Any,
    width: int,
) -> dict[str, Any]:
    """Return what the search needs, in pieces that fit into memory."""
    at_once = max(1, min(len(ridge.alphas), _BYTES // (8 * width * n_train)))
    n_held_out = int(np.bincount(inner).max())
    targets = max(1, min(responses.shape[1], _BYTES // (8 * at_once * n_held_out)))
    return {
        "n_iter": backend.asarray(shares(len(bands), ridge.n_bands, ridge.seed)),
        "alphas": backend.asarray(np.array(ridge.alphas)),
        "n_alphas_batch": at_once,
        "n_targets_batch": targets,
        "n_targets_batch_refit": max(1, min(responses.shape[1], _BYTES // (8 * width * at_once))),
        "progress_bar": False,
    }


def shares(n_bands: int, n: int, seed: int) -> Float[np.ndarray, "division band"]:
    """Return divisions of one penalty among bands: each band alone, all alike, and ``n`` at random.

    Example:
        >>> shares(2, 0, seed=0).round(2).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    """
    if n_bands == 1:
        return np.ones((1, 1))
    draw = np.random.default_rng(seed)
    half = n // 2
    drawn = [np.zeros((0, n_bands))]
    # Even and lopsided divisions, as himalaya draws them.
    for count, concentration in ((half, 0.1), (n - half, 1.0)):
        if count:
            drawn.append(draw.dirichlet(np.full(n_bands, concentration), size=count))
    found = np.concatenate([np.eye(n_bands), np.full((1, n_bands), 1 / n_bands), *drawn])
    found = np.maximum(found, _LEAST_SHARE)
    return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float64)


def _splitter(inner: Int[np.ndarray, " train"]) -> Any:
    return needed("sklearn.model_selection", _PURPOSE).PredefinedSplit(inner)


def _numpy(backend: Any, values: Any) -> Float[np.ndarray, "test response"]:
    return np.asarray(backend.to_numpy(values), dtype=np.float64)


@contextlib.contextmanager
def _backend(device: str) -> Iterator[Any]:
    """Switch himalaya's arrays for a while; its choice is the process's, so it is put back."""
    library = needed("himalaya.backend", _PURPOSE)
    before = library.get_backend()
    try:
        yield library.set_backend("torch_cuda" if device == "cuda" else "numpy")
    finally:
        library.set_backend(before)

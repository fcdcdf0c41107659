"""Responses to the two sides of a contrast -> their means, and an interval of the difference."""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.profiles import Sides


def sides_of(
    scores: pd.DataFrame, contrast: Contrast, confidence: float, n_resamples: int, seed: int
) -> Sides:
    """Compare the standardised responses to all stimuli of the target with those of the control.

    Args:
        scores: one row per stimulus, with its condition and ``standardised`` response.
        contrast: says which conditions are on which side.
        confidence: of the percentile bootstrap interval of the difference of means; the stimuli of
            either side are drawn with replacement.
        n_resamples: of the bootstrap.
        seed: of its draws.
    """
    target, control = (
        scores.loc[scores["condition"].isin(names), "standardised"].to_numpy(dtype=float)
        for names in (contrast.target, contrast.control)
    )
    low = high = float("nan")
    if min(len(target), len(control)) > 1:
        interval = bootstrap(
            (target, control),
            lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
            method="percentile",
            confidence_level=confidence,
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    means = float(target.mean()), float(control.mean())
    return Sides(contrast.target, contrast.control, *means, means[0] - means[1], low, high)

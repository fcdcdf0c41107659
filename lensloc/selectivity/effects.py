"""Effect sizes of every unit beside d: intervals by bootstrap, AUC and d'."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.responses import Responses
from lensloc.selectivity.moments import Moments, as_float64, precision
from lensloc.selectivity.t_tests import groups, pairs

_ELEMENTS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Interval:
    """Ends of an interval for every unit, float64 ``[layer, unit]``.

    Attributes:
        low: lower end.
        high: upper end.
        confidence: of the interval.
    """

    low: Float[Tensor, "layer unit"]
    high: Float[Tensor, "layer unit"]
    confidence: float


@dataclass(frozen=True, eq=False)
class Discrimination:
    """How well each unit tells target from control, float64 ``[layer, unit]``.

    Attributes:
        auc: chance that a target stimulus gives the larger response, ties counting half: the area
            under the ROC curve, 0.5 for a unit that tells nothing (Mann and Whitney's U over n m).
        d_prime: difference of means over the root mean of the two variances (Green and Swets
            1966); unlike d, both groups count alike whatever their numbers. 0 for constant units.
    """

    auc: Float[Tensor, "layer unit"]
    d_prime: Float[Tensor, "layer unit"]


def bootstrap_d(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool = True,
    aligned: bool = False,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return percentile bootstrap intervals of every unit's Cohen's d, over stimuli.

    Target and control stimuli are drawn with replacement, each among themselves (Efron and
    Tibshirani 1993); all units see the same draws. Of selected units, d on the stimuli that
    selected them is too large, and its interval with it: measure on another half.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response makes d positive.
        control: conditions to compare with.
        absolute: use absolute responses.
        aligned: draw pairs, where the n-th target and n-th control stimulus belong together.
        n_resamples: how many draws.
        confidence: of the interval.
        seed: of the draws (numpy's PCG64).

    Raises:
        LensLocError: too few stimuli, unequal numbers where pairs are drawn, or a number that
            makes no sense.
    """
    if n_resamples < 1 or not 0 < confidence < 1:
        raise LensLocError("n_resamples is at least 1, and confidence lies between 0 and 1.")
    values = (pairs if aligned else groups)(responses, target, control)
    random = np.random.default_rng(seed)
    counts = [_counts(random, len(values[0]), n_resamples)]
    counts.append(counts[0] if aligned else _counts(random, len(values[1]), n_resamples))
    shape = tuple(values[0].shape[1:])
    tail = (1 - confidence) / 2
    low, high = np.empty(shape[0] * shape[1]), np.empty(shape[0] * shape[1])
    width = max(1, _ELEMENTS_AT_ONCE // n_resamples)
    for start in range(0, len(low), width):
        units = slice(start, start + width)
        parts = [as_float64(v.flatten(1)[:, units], absolute).cpu() for v in values]
        d = _resampled_d(parts, counts, precision(values[0]))
        low[units], high[units] = np.quantile(d.numpy(), [tail, 1 - tail], axis=0)
    return Interval(
        torch.from_numpy(low).reshape(shape), torch.from_numpy(high).reshape(shape), confidence
    )


def discrimination(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool = True,
) -> Discrimination:
    """Measure how well each unit tells target from control stimuli.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response counts as right.
        control: conditions to compare with.
        absolute: use absolute responses.

    Raises:
        LensLocError: with fewer than two stimuli in target or control.

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> values = torch.tensor([5.0, 6, 7, 1, 2, 6])  # of one unit, to six stimuli
        >>> labels = ("sentences",) * 3 + ("nonwords",) * 3
        >>> responses = ll.Responses("head", values.reshape(6, 1, 1), labels)
        >>> found = ll.discrimination(responses, ("sentences",), ("nonwords",))
        >>> round(found.auc.item(), 2)  # 7.5 of 9 pairs, as 6 and 6 count half
        0.83
    """
    a, b = groups(responses, target, control)
    n, m = len(a), len(b)
    auc = []
    for layer in range(a.shape[1]):
        both = torch.cat([a[:, layer], b[:, layer]])
        ranks = rankdata(as_float64(both, absolute).cpu().numpy(), axis=0)
        auc.append((ranks[:n].sum(axis=0) - n * (n + 1) / 2) / (n * m))
    one, two = (Moments.of(values, absolute=absolute).cpu() for values in (a, b))
    spread = torch.maximum((one.variance + two.variance) / 2, (one + two).least_variance)
    difference = (one.mean - two.mean).masked_fill((one + two).constant, 0.0)
    d_prime = difference / torch.where(spread > 0, spread, 1.0).sqrt()
    return Discrimination(torch.from_numpy(np.stack(auc)), d_prime)


def _counts(random: np.random.Generator, n: int, n_resamples: int) -> Float[Tensor, "resample n"]:
    draws = random.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return torch.from_numpy(draws.astype(np.float64))


def _resampled_d(
    values: list[Tensor], counts: list[Tensor], eps: float
) -> Float[Tensor, "resample unit"]:
    every = torch.cat(values)
    centre = every.mean(dim=0)
    least = Moments.of(every[:, None], absolute=False, eps=eps).least_variance[0]
    means, deviations, df = [], [], 0
    for part, drawn in zip(values, counts, strict=True):
        centred, n = part - centre, len(part)
        mean = drawn @ centred / n
        means.append(mean)
        deviations.append(drawn @ centred**2 - n * mean**2)
        df += n - 1
    pooled = torch.maximum((deviations[0] + deviations[1]) / df, least)
    return (means[0] - means[1]) / torch.where(pooled > 0, pooled, 1.0).sqrt()

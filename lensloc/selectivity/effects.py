"""Effect sizes of every unit beside d: intervals by bootstrap, AUC and d'."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from lensloc.arguments import require_a, require_numbers
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.selectivity.moments import Moments, as_float64, precision
from lensloc.selectivity.t_tests import groups, pairs
from lensloc.units.responses import Responses
from lensloc.units.unit_rows import table_of

_ELEMENTS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Interval(Savable):
    """Ends of an interval for every unit, float64 ``[layer, unit]``.

    Attributes:
        low: lower end.
        high: upper end.
        confidence: of the interval.
        undefined: share of the resamples that hold no spread, so that d is not a number; they are
            left out. They are many where stimuli are few, and then the interval says little.
    """

    low: Float[Tensor, "layer unit"]
    high: Float[Tensor, "layer unit"]
    confidence: float
    undefined: Float[Tensor, "layer unit"]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit: layer, unit, both ends, and the share of resamples without d."""
        values = {name: getattr(self, name) for name in ("low", "high", "undefined")}
        return table_of("", values, torch.ones(self.low.shape, dtype=torch.bool))


@dataclass(frozen=True, eq=False)
class Discrimination(Savable):
    """How well each unit tells target from control, float64 ``[layer, unit]``.

    Attributes:
        auc: chance that a target stimulus gives the larger response, ties counting half: the area
            under the ROC curve, 0.5 for a unit that tells nothing (Mann and Whitney's U over n m).
        d_prime: difference of means over the root mean of the two variances (Green and Swets
            1966); unlike d, both groups count alike whatever their numbers. 0 for constant units.
    """

    auc: Float[Tensor, "layer unit"]
    d_prime: Float[Tensor, "layer unit"]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit: layer, unit, area under the curve, d'."""
        values = {"auc": self.auc, "d_prime": self.d_prime}
        return table_of("", values, torch.ones(self.auc.shape, dtype=torch.bool))


def bootstrap_d(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool | None = None,
    aligned: bool | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return percentile bootstrap intervals of every unit's Cohen's d, over stimuli.

    Target and control stimuli are drawn with replacement, each among themselves (Efron and
    Tibshirani 1993); all units see the same draws. A resample in which neither side varies has no
    d, although the unit has one (of two stimuli per side, a quarter of all resamples): it does not
    count. Of selected units, d on the stimuli that
    selected them is too large, and its interval with it: measure on another half.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response makes d positive.
        control: conditions to compare with.
        absolute: use absolute responses; if None, as the responses were localized, and absolute
            where that is not known.
        aligned: draw pairs, as :func:`lensloc.paired` takes them; if None, where the responses
            were localized by a paired test.
        n_resamples: how many draws.
        confidence: of the interval.
        seed: of the draws (numpy's PCG64).

    Raises:
        LensLocError: too few stimuli, stimuli that cannot be paired where pairs are drawn, or a
            number that makes no sense.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, confidence=confidence)
    require_a(Responses, responses, "responses")
    absolute = responses.absolute if absolute is None else absolute
    aligned = responses.test == "paired" if aligned is None else aligned
    if n_resamples < 1:
        raise LensLocError("n_resamples is at least 1.")
    values = (pairs if aligned else groups)(responses, target, control)
    random = np.random.default_rng(seed)
    counts = [_counts(random, len(values[0]), n_resamples)]
    counts.append(counts[0] if aligned else _counts(random, len(values[1]), n_resamples))
    shape = tuple(values[0].shape[1:])
    tail = (1 - confidence) / 2
    low, high, undefined = (np.empty(shape[0] * shape[1]) for _ in range(3))
    width = max(1, _ELEMENTS_AT_ONCE // n_resamples)
    for start in range(0, len(low), width):
        units = slice(start, start + width)
        parts = [as_float64(v.flatten(1)[:, units], absolute).cpu() for v in values]
        d = _resampled_d(parts, counts, precision(values[0])).numpy()
        low[units], high[units] = _quantiles(d, [tail, 1 - tail])
        undefined[units] = np.isnan(d).mean(axis=0)
    undefined[~responses.units.flatten().numpy()] = np.nan  # no unit is there
    arrays = [torch.from_numpy(found).reshape(shape) for found in (low, high, undefined)]
    return Interval(arrays[0], arrays[1], confidence, arrays[2])


def discrimination(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool | None = None,
) -> Discrimination:
    """Measure how well each unit tells target from control stimuli.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response counts as right.
        control: conditions to compare with.
        absolute: use absolute responses; if None, as the responses were localized, and absolute
            where that is not known.

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
    absolute = responses.absolute if absolute is None else absolute
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


def _quantiles(
    d: Float[np.ndarray, "resample unit"], at: list[float]
) -> Float[np.ndarray, "end unit"]:
    """Return quantiles over the resamples that gave a number; NaN where none did."""
    known = ~np.isnan(d).all(axis=0)
    found = np.full((len(at), d.shape[1]), np.nan)
    found[:, known] = np.nanquantile(d[:, known], at, axis=0)
    return found


def _resampled_d(
    values: list[Tensor], counts: list[Tensor], eps: float
) -> Float[Tensor, "resample unit"]:
    every = torch.cat(values)
    centre = every.mean(dim=0)
    least = Moments.of(every[:, None], absolute=False, eps=eps).least_variance[0]
    means, deviations, df = [], [], 0
    own = torch.zeros_like(centre)
    for part, drawn in zip(values, counts, strict=True):
        centred, n = part - centre, len(part)
        mean = drawn @ centred / n
        means.append(mean)
        deviations.append(drawn @ centred**2 - n * mean**2)
        own += ((part - part.mean(dim=0)) ** 2).sum(dim=0)
        df += n - 1
    variance = (deviations[0] + deviations[1]) / df
    pooled = torch.maximum(variance, least)
    d = (means[0] - means[1]) / torch.where(pooled > 0, pooled, 1.0).sqrt()
    # A unit that is constant within both sides has a large d in truth; any other one has none in a
    # resample that happens to repeat one response per side, up to what sums of squares resolve.
    scale = (every - centre).abs().amax(dim=0)
    nothing = torch.maximum(least, (1e-7 * scale) ** 2)
    return d.masked_fill((variance <= nothing) & (own / df > nothing), torch.nan)

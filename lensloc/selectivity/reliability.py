"""Does t come out the same on other stimuli? Halves against halves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.responses import Responses
from lensloc.selectivity.moments import Moments, as_float64, precision
from lensloc.units import ranked


@dataclass(frozen=True)
class Reliability:
    """How well halves of the stimuli agree, at one site.

    Attributes:
        t: split-half reliability of t: Spearman's correlation between the two halves over units,
            stepped up to the whole set (Spearman and Brown: ``2 r / (1 + r)``), mean over splits.
        t_low: 2.5th percentile over splits; these are not independent, so it is no confidence
            interval.
        t_high: 97.5th percentile.
        dice: share of the top units of one half that are among the top of the other, mean.
        dice_chance: the same by chance.
        d_held_out: Cohen's d of the units picked on one half, measured on the other; mean over
            units, halves and splits.
        n_splits: how many splits.
    """

    t: float
    t_low: float
    t_high: float
    dice: float
    dice_chance: float
    d_held_out: float
    n_splits: int


def split_half(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    halves: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    k: int,
    absolute: bool = True,
) -> Reliability:
    """Compare the two halves of every split: t of all units, and the ``k`` best of them.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response makes t positive.
        control: conditions to compare with.
        halves: rows of ``responses`` in either half, split by split.
        k: how many units a half picks.
        absolute: test absolute responses.

    Raises:
        LensLocError: no split; a half with fewer than two stimuli of target or control.
    """
    if not halves:
        raise LensLocError("There is no split to compare; give at least one.")
    sides = [side for split in halves for side in split]
    t, d = t_and_d(
        responses,
        *(_members(responses, names, sides) for names in (target, control)),
        absolute=absolute,
    )
    correlations, shared, held_out = [], [], []
    for split in range(len(halves)):
        first, second = 2 * split, 2 * split + 1
        r = _spearman(t[first], t[second])
        correlations.append(2 * r / (1 + r) if r > -1 else -1.0)
        picked = [ranked(t[side])[:k] for side in (first, second)]
        shared.append(len(np.intersect1d(picked[0].numpy(), picked[1].numpy())) / k)
        held_out += [d[second].flatten()[picked[0]].mean(), d[first].flatten()[picked[1]].mean()]
    return Reliability(
        t=float(np.mean(correlations)),
        t_low=float(np.quantile(correlations, 0.025)),
        t_high=float(np.quantile(correlations, 0.975)),
        dice=float(np.mean(shared)),
        dice_chance=k / t[0].numel(),
        d_held_out=float(torch.stack(held_out).mean()),
        n_splits=len(halves),
    )


def t_and_d(
    responses: Responses,
    target: Bool[Tensor, "subset stimulus"],
    control: Bool[Tensor, "subset stimulus"],
    *,
    absolute: bool = True,
) -> tuple[Float[Tensor, "subset layer unit"], Float[Tensor, "subset layer unit"]]:
    """Return Welch's t and Cohen's d of every unit on many subsets of the stimuli at once.

    As :func:`lensloc.selectivity.welch` gives them on each, by matrix products of memberships with
    responses and with their squares; float64, on the CPU.

    Raises:
        LensLocError: a subset with fewer than two stimuli of target or control.
    """
    sizes = [members.sum(dim=1) for members in (target, control)]
    if min(int(n.min()) for n in sizes) < 2:
        raise LensLocError(
            "A half holds fewer than two stimuli of the target or the control; a t-test needs two "
            "in each, so give at least four of each."
        )
    values = responses.values
    t: list[Tensor] = []
    d: list[Tensor] = []
    for layer in range(values.shape[1]):
        every = as_float64(values[:, layer], absolute)
        found = Moments.of(every[:, None], absolute=False, eps=precision(values))
        least = found.least_variance[0]
        every = every - every.mean(dim=0)
        squares = every**2
        means, deviations = [], []
        for members in (target, control):
            weights = members.to(every)
            n = weights.sum(dim=1, keepdim=True)
            mean = weights @ every / n
            means.append(mean)
            deviations.append((weights @ squares - n * mean**2).clamp_min(0))
        n, m = (size.to(every)[:, None] for size in sizes)
        error = deviations[0] / (n * (n - 1)) + deviations[1] / (m * (m - 1))
        pooled = (deviations[0] + deviations[1]) / (n + m - 2)
        difference = means[0] - means[1]
        for statistic, variance in ((t, error), (d, pooled)):
            variance = torch.maximum(variance, least)
            statistic.append((difference / torch.where(variance > 0, variance, 1.0).sqrt()).cpu())
    return torch.stack(t, dim=1), torch.stack(d, dim=1)


def _members(
    responses: Responses, names: Sequence[str], subsets: Sequence[Sequence[int]]
) -> Bool[Tensor, "subset stimulus"]:
    members = torch.zeros(len(subsets), len(responses.conditions), dtype=torch.bool)
    for number, rows in enumerate(subsets):
        members[number, list(rows)] = True
    wanted = torch.tensor([label in names for label in responses.conditions])
    return members & wanted


def _spearman(a: Float[Tensor, "layer unit"], b: Float[Tensor, "layer unit"]) -> float:
    ranks = [rankdata(values.flatten().numpy()) for values in (a, b)]
    if any(np.ptp(found) == 0 for found in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])

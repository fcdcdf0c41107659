"""Does t come out the same on other stimuli? Halves against halves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import spearmanr
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.selectivity.moments import Moments, as_float64, precision
from lensloc.selectivity.t_tests import Test
from lensloc.units.pairing import paired_rows
from lensloc.units.responses import Responses
from lensloc.units.selection import ranked


@dataclass(frozen=True)
class Reliability:
    """How well halves of the stimuli agree, at one site.

    Attributes:
        t: split-half reliability of t: Spearman's correlation r between the two halves over units,
            stepped up to the whole set (Spearman and Brown: ``2 r / (1 + r)``), mean over splits.
            A negative r, which no reliability can be, is left as it is: between -1 and 1.
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
    absolute: bool | None = None,
    test: Test | None = None,
) -> Reliability:
    """Compare the two halves of every split: t of all units, and the ``k`` best of them.

    Args:
        responses: pooled activations of every stimulus.
        target: conditions whose larger response makes t positive.
        control: conditions to compare with.
        halves: rows of ``responses`` in either half, split by split; pairs kept together for a
            paired test.
        k: how many units a half picks.
        absolute: test absolute responses; if None, as the responses were localized, and absolute
            where that is not known.
        test: ``"welch"`` or ``"paired"``; if None, likewise, and Welch's where it is not known.

    Raises:
        LensLocError: no split; a half with fewer than two stimuli of target or control; a pair
            that a split takes apart.
    """
    if not halves:
        raise LensLocError("There is no split to compare; give at least one.")
    absolute = responses.absolute if absolute is None else absolute
    sides = [side for split in halves for side in split]
    members = [_members(responses, names, sides) for names in (target, control)]
    if (test or responses.test) == "paired":
        rows = paired_rows(responses.conditions, responses.items, target, control)
        t, d = paired_t_and_d(responses, *rows, _whole_pairs(members, rows), absolute=absolute)
    else:
        t, d = t_and_d(responses, *members, absolute=absolute)
    t, d = t[:, responses.units][:, None], d[:, responses.units][:, None]
    correlations, shared, held_out = [], [], []
    for split in range(len(halves)):
        first, second = 2 * split, 2 * split + 1
        r = _spearman(t[first], t[second])
        correlations.append(stepped_up(r))
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


def stepped_up(r: float) -> float:
    """Return the reliability of twice as many stimuli (Spearman 1910; Brown 1910).

    A negative correlation of halves is left as it is: the formula would take it beyond -1, and
    double the length of a measure that measures nothing.

    Example:
        >>> round(stepped_up(0.5), 2), stepped_up(-0.6)
        (0.67, -0.6)
    """
    return 2 * r / (1 + r) if r > 0 else r


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


def paired_t_and_d(
    responses: Responses,
    target: Sequence[int],
    control: Sequence[int],
    members: Bool[Tensor, "subset pair"],
    *,
    absolute: bool = True,
) -> tuple[Float[Tensor, "subset layer unit"], Float[Tensor, "subset layer unit"]]:
    """Return the paired t and Cohen's d of every unit on many subsets of the pairs at once.

    As :func:`lensloc.selectivity.paired` gives them on each.

    Args:
        responses: pooled activations of every stimulus.
        target: rows of the pairs' target stimuli.
        control: rows of their partners.
        members: which pairs are in each subset.
        absolute: of absolute responses.

    Raises:
        LensLocError: a subset of fewer than two pairs.
    """
    if int(members.sum(dim=1).min()) < 2:
        raise LensLocError(
            "A half holds fewer than two pairs; a paired test needs two, so give at least four."
        )
    values = responses.values
    t: list[Tensor] = []
    d: list[Tensor] = []
    for layer in range(values.shape[1]):
        every = as_float64(values[:, layer], absolute)
        least = Moments.of(every[:, None], absolute=False, eps=precision(values)).least_variance[0]
        weights = members.to(every)
        n = weights.sum(dim=1, keepdim=True)
        sides = [every[list(rows)] for rows in (target, control)]
        difference = sides[0] - sides[1]
        mean, variance = _moments(weights, n, difference)
        spreads = [_moments(weights, n, side)[1] for side in sides]
        pooled = (spreads[0] + spreads[1]) / 2
        for statistic, spread in ((t, variance / n), (d, pooled)):
            spread = torch.maximum(spread, least)
            statistic.append((mean / torch.where(spread > 0, spread, 1.0).sqrt()).cpu())
    return torch.stack(t, dim=1), torch.stack(d, dim=1)


def _moments(
    weights: Float[Tensor, "subset pair"],
    n: Float[Tensor, "subset one"],
    values: Float[Tensor, "pair unit"],
) -> tuple[Float[Tensor, "subset unit"], Float[Tensor, "subset unit"]]:
    """Return mean and variance of the values of every subset."""
    centre = values.mean(dim=0)  # so that sums of squares keep their digits
    values = values - centre
    mean = weights @ values / n
    variance = (weights @ values**2 - n * mean**2).clamp_min(0) / (n - 1)
    return mean + centre, variance


def _whole_pairs(
    members: Sequence[Bool[Tensor, "subset stimulus"]], rows: tuple[list[int], list[int]]
) -> Bool[Tensor, "subset pair"]:
    """Return which pairs are in each subset."""
    first, second = (found[:, side] for found, side in zip(members, rows, strict=True))
    if not torch.equal(first, second):
        raise LensLocError(
            "A split takes pairs apart, so a paired test cannot be done on its halves; keep the "
            "two stimuli of a pair in one half, as Contrast.split() does."
        )
    return first


def _members(
    responses: Responses, names: Sequence[str], subsets: Sequence[Sequence[int]]
) -> Bool[Tensor, "subset stimulus"]:
    members = torch.zeros(len(subsets), len(responses.conditions), dtype=torch.bool)
    for number, rows in enumerate(subsets):
        members[number, list(rows)] = True
    wanted = torch.tensor([label in names for label in responses.conditions])
    return members & wanted


def _spearman(a: Float[Tensor, "layer unit"], b: Float[Tensor, "layer unit"]) -> float:
    values = [side.flatten().numpy() for side in (a, b)]
    if any(np.ptp(side) == 0 for side in values):
        return 0.0
    return float(spearmanr(*values).statistic)

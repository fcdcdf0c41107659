"""SelectionRule + the statistics of a site -> units."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.units.mask import require_residual
from lensloc.units.outliers import outliers
from lensloc.units.selection import DIRECTIONS, SelectionRule, count_units, draw, ranked

Chosen = tuple[Bool[Tensor, "layer unit"], Float[Tensor, "layer unit"] | None]


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a rule is applied to, float64 ``[layer, unit]``.

    Attributes:
        site: name of the site.
        t: what units are ranked by.
        q: false discovery rate.
        magnitude: mean absolute response.
        known: which places are units, where layers differ in width; None where all are.
    """

    site: str
    t: Float[Tensor, "layer unit"]
    q: Float[Tensor, "layer unit"]
    magnitude: Float[Tensor, "layer unit"]
    known: Bool[Tensor, "layer unit"] | None = None

    @property
    def units(self) -> Bool[Tensor, "layer unit"]:
        """Which places are units."""
        return torch.ones_like(self.t, dtype=torch.bool) if self.known is None else self.known

    @property
    def n_units(self) -> int:
        """How many there are."""
        return int(self.units.sum())


def chosen_by(rule: SelectionRule, found: Statistics) -> Chosen:
    """Return the units that a rule chooses, and the ranking that it took the best of, if any.

    Raises:
        LensLocError: a rule that needs more than these statistics; so many units as there are not.
    """
    excluded = ~found.units
    for other in rule.excluding:
        excluded |= _excluded_by(other, found)
    if not rule.can_be_reapplied:
        raise LensLocError(
            f"Units that were chosen as {rule.describe(found.n_units, found.site)!r} cannot be "
            "chosen again from t, q and magnitudes; use a rule of top(), bottom(), between(), "
            "significant() or outliers()."
        )
    if rule.kind == "between":
        return _between(rule, found, excluded), None
    if rule.kind == "significant":
        return _significant(rule, found, excluded), None
    if rule.kind == "outliers":
        return _outliers(rule, found) & ~excluded, None
    return _best(rule, found, excluded)


def _excluded_by(rule: SelectionRule, found: Statistics) -> Bool[Tensor, "layer unit"]:
    if rule.units is None:
        return chosen_by(rule, found)[0]
    if rule.units.shape != found.t.shape:
        a, b = ("x".join(map(str, shape)) for shape in (rule.units.shape, found.t.shape))
        raise LensLocError(
            f"The rule excludes units of {a}, but these statistics are of {b} units at "
            f"{found.site}; apply it to the model that it was made for."
        )
    return rule.units


def _best(
    rule: SelectionRule, found: Statistics, excluded: Bool[Tensor, "layer unit"]
) -> tuple[Bool[Tensor, "layer unit"], Float[Tensor, "layer unit"]]:
    count, _ = count_units(rule.percent, rule.k, found.n_units, found.site)
    score = found.t if rule.kind == "top" else -found.t
    score = score.masked_fill(excluded, -torch.inf)
    if rule.unique_dims:
        require_residual(found.site)
        best = torch.zeros_like(excluded)
        best[score.argmax(dim=0), torch.arange(score.shape[1])] = True
        score = score.masked_fill(~best, -torch.inf)
    left = int(torch.isfinite(score).sum())
    if count > left:
        raise LensLocError(
            f"{count} units were asked for but only {left} of {found.n_units} at {found.site} "
            "may be selected; ask for fewer."
        )
    mask = torch.zeros(score.numel(), dtype=torch.bool)
    mask[ranked(score)[:count]] = True
    return mask.reshape(score.shape), score


def _between(
    rule: SelectionRule, found: Statistics, excluded: Bool[Tensor, "layer unit"]
) -> Bool[Tensor, "layer unit"]:
    low, high, seed = rule.low, rule.high, rule.seed
    if low is None or high is None or not 0 <= low < high <= 100:
        raise LensLocError(
            f"A range of percentiles goes from low to high within 0-100, not {low}-{high}."
        )
    if seed is None:
        raise LensLocError("A draw between percentiles needs a seed; give one, e.g. seed=0.")
    count, _ = count_units(None, rule.k, found.n_units, found.site)
    t = found.t.flatten().numpy()
    ends = np.percentile(t[found.units.flatten().numpy()], [low, high])
    within = (t >= ends[0]) & (t <= ends[1]) & ~excluded.flatten().numpy()
    inside = torch.from_numpy(np.flatnonzero(within))
    mask = torch.zeros(found.t.numel(), dtype=torch.bool)
    mask[draw(inside, count, seed, f"between the percentiles {low:g} and {high:g} of t")] = True
    return mask.reshape(found.t.shape)


def _significant(
    rule: SelectionRule, found: Statistics, excluded: Bool[Tensor, "layer unit"]
) -> Bool[Tensor, "layer unit"]:
    if rule.q is None or not 0 < rule.q < 1:
        raise LensLocError(f"A false discovery rate lies between 0 and 1; {rule.q} does not.")
    if rule.direction not in DIRECTIONS:
        raise LensLocError(
            f"There is no direction {rule.direction!r}; it is 'target', 'control' or 'both'."
        )
    chosen = (found.q < rule.q) & ~excluded
    if rule.direction == "target":
        return chosen & (found.t > 0)
    return chosen & (found.t < 0) if rule.direction == "control" else chosen


def _outliers(rule: SelectionRule, found: Statistics) -> Bool[Tensor, "layer unit"]:
    if rule.ratio is None or not rule.ratio > 1:
        raise LensLocError(f"ratio is above 1; {rule.ratio} is not.")
    return outliers(found.magnitude, rule.ratio)

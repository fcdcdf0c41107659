"""Responses -> Selectivity: Welch's t-test of every unit at once, in float64.

Pure tensor arithmetic. Nothing here knows what a model is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from einops import reduce
from jaxtyping import Float, Int
from scipy.special import gammaln
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.provenance import Provenance
from lensloc.responses import Responses
from lensloc.units import UnitAddress, UnitMask, count_from_percent, draw

Direction = Literal["target", "control", "both"]

_ELEMENTS_AT_ONCE = 2**25


@dataclass(frozen=True, eq=False)
class Selectivity:
    """How much more each unit responds to the target than to the control, at one site.

    All arrays are float64 ``[layer, unit]`` on the CPU. A positive ``t`` means a larger response
    to the target.

    Attributes:
        site: name of the site.
        t: Welch's t.
        df: Welch-Satterthwaite degrees of freedom.
        p: two-sided p.
        q: p after Benjamini and Hochberg's correction over all units of the site.
        d: Cohen's d (pooled standard deviation).
        g: Hedges' g, d without its small-sample bias.
        mean_target: mean response to the target, in activation units.
        mean_control: mean response to the control.
        provenance: model, stimuli and procedure.
    """

    site: str
    t: Float[Tensor, "layer unit"]
    df: Float[Tensor, "layer unit"]
    p: Float[Tensor, "layer unit"]
    q: Float[Tensor, "layer unit"]
    d: Float[Tensor, "layer unit"]
    g: Float[Tensor, "layer unit"]
    mean_target: Float[Tensor, "layer unit"]
    mean_control: Float[Tensor, "layer unit"]
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units a layer."""
        n_layers, n_units = self.t.shape
        return n_layers, n_units

    def __repr__(self) -> str:
        layers, units = self.shape
        source = " ".join(x for x in (self.provenance.model, self.provenance.contrast) if x)
        return (
            f"Selectivity({layers}x{units} units at {self.site}; {source or 'unknown'}; "
            f"t from {self.t.min():.1f} to {self.t.max():.1f})"
        )

    # -- selecting -----------------------------------------------------------------------------

    def top(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of largest t: exactly ``k``, or ``percent`` of all, truncated.

        Ties are broken by layer, then unit.

        Raises:
            LensLocError: unless just one of the two is given and as many units exist.
        """
        count, words = self._count(percent, k)
        return self._selected(self._ranked(descending=True)[:count], f"top {words}")

    def bottom(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of smallest t, those that prefer the control.

        Ties are broken by layer, then unit.

        Raises:
            LensLocError: unless just one of the two is given and as many units exist.
        """
        count, words = self._count(percent, k)
        return self._selected(self._ranked(descending=False)[:count], f"bottom {words}")

    def between(self, lo: float, hi: float, k: int, seed: int) -> UnitMask:
        """Draw ``k`` units at random among those whose t lies between two percentiles of all t.

        Args:
            lo: lower percentile, inclusive, 0 to 100.
            hi: upper percentile, inclusive, above ``lo``.
            k: how many units.
            seed: of the draw.

        Raises:
            LensLocError: if the range is not one, or holds fewer than ``k`` units.
        """
        if not 0 <= lo < hi <= 100:
            raise LensLocError(
                f"A range of percentiles goes from low to high within 0-100, not {lo:g}-{hi:g}."
            )
        self._count(None, k)
        t = self.t.flatten().numpy()
        low, high = np.percentile(t, [lo, hi])
        inside = torch.from_numpy(np.flatnonzero((t >= low) & (t <= high)))
        drawn = draw(inside, k, seed, f"between the percentiles {lo:g} and {hi:g} of t")
        return self._selected(drawn, f"random {k} units of percentiles {lo:g}-{hi:g}, seed {seed}")

    def significant(self, q: float = 0.05, direction: Direction = "target") -> UnitMask:
        """Return the units whose false discovery rate is below ``q``; none is an empty set.

        Args:
            q: bound on the Benjamini-Hochberg corrected, two-sided p.
            direction: units that prefer the target, the control, or both kinds.

        Raises:
            LensLocError: unless 0 < q < 1.
        """
        if not 0 < q < 1:
            raise LensLocError(f"A false discovery rate lies between 0 and 1; {q:g} does not.")
        chosen = self.q < q
        if direction == "target":
            chosen &= self.t > 0
        elif direction == "control":
            chosen &= self.t < 0
        elif direction != "both":
            raise LensLocError(
                f"There is no direction {direction!r}; it is 'target', 'control' or 'both'."
            )
        made = self.provenance.replace(selection=f"q < {q:g}, {direction}", site=self.site)
        return UnitMask(self.site, chosen, made)

    def _count(self, percent: float | None, k: int | None) -> tuple[int, str]:
        total = self.t.numel()
        if (percent is None) == (k is None):
            raise LensLocError("Give either percent or k, to say how many units to select.")
        if percent is not None:
            count = count_from_percent(percent, total)
            return count, f"{percent:g} % ({count} units)"
        assert k is not None
        if not 1 <= k <= total:
            raise LensLocError(
                f"{k} units were asked for; {self.site} has {total}, so ask for 1 to {total}."
            )
        return k, f"{k} units"

    def _ranked(self, *, descending: bool) -> Int[Tensor, " all"]:
        return torch.sort(self.t.flatten(), descending=descending, stable=True).indices

    def _selected(self, indices: Int[Tensor, " selected"], selection: str) -> UnitMask:
        made = self.provenance.replace(selection=selection, site=self.site)
        return UnitMask.from_indices(self.site, indices, self.shape, made)

    # -- reading -------------------------------------------------------------------------------

    def to_dataframe(self, mask: UnitMask | None = None) -> pd.DataFrame:
        """Return one row a unit: address, layer, unit, site and all statistics.

        Args:
            mask: only these units, sorted by t, largest first; all in order if None.

        Raises:
            LensLocError: if the mask is of another site or shape.
        """
        if mask is None:
            layers, units = np.indices(self.shape).reshape(2, -1)
        else:
            mask.require_shape(self.shape, self.provenance.model or "this map")
            if mask.site != self.site:
                raise LensLocError(
                    f"The mask is of {mask.site}, these statistics are of {self.site}."
                )
            layers, units = mask.mask.nonzero().T.numpy()
        columns = ("t", "df", "p", "q", "d", "g", "mean_target", "mean_control")
        table: pd.DataFrame = pd.DataFrame(
            {
                "address": [
                    str(UnitAddress(int(layer), self.site, int(unit)))
                    for layer, unit in zip(layers, units, strict=True)
                ],
                "site": self.site,
                "layer": layers,
                "unit": units,
                **{name: getattr(self, name).numpy()[layers, units] for name in columns},
            }
        )
        if mask is not None:
            table = table.sort_values("t", ascending=False, kind="stable", ignore_index=True)
        return table


def welch(
    responses: Responses,
    target: tuple[str, ...],
    control: tuple[str, ...],
    *,
    absolute: bool = True,
    provenance: Provenance | None = None,
) -> Selectivity:
    """Welch's t-test of every unit, target against control.

    ``t = (m1 - m2) / sqrt(v1/n1 + v2/n2)`` with Welch and Satterthwaite's degrees of freedom,
    as ``scipy.stats.ttest_ind(target, control, equal_var=False)`` gives it; in float64.

    A unit that is constant over all stimuli has t = 0 and p = 1. A difference cannot count for
    more than floating point resolves: the standard error is at least four units in the last place
    of the unit's largest response. So a unit that is constant within each condition has a large but
    finite t, and rounding that differs between batches does not make a dead unit selective.

    Args:
        responses: pooled activations.
        target: conditions whose larger response makes t positive.
        control: conditions to compare with.
        absolute: test the absolute values of the pooled activations (the published procedure).
        provenance: kept in the result.

    Returns:
        Float64 statistics ``[layer, unit]``.

    Raises:
        LensLocError: with fewer than two stimuli in target or control.
    """
    groups = {"target": responses.of(target), "control": responses.of(control)}
    for role, values in groups.items():
        if len(values) < 2:
            raise LensLocError(
                f"The {role} has {len(values)} stimuli; a t-test needs at least two in each."
            )
    double = responses.values.dtype == torch.float64
    resolution = 4 * torch.finfo(torch.float64 if double else torch.float32).eps
    parts = [
        _welch_chunk(a, b, absolute, resolution)
        for a, b in zip(_chunks(groups["target"]), _chunks(groups["control"]), strict=True)
    ]
    arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    p = _two_sided_p(arrays["t"], arrays["df"])
    n_target, n_control = len(groups["target"]), len(groups["control"])
    made = (provenance or Provenance()).replace(
        site=responses.site,
        target=tuple(target),
        control=tuple(control),
        n_target=n_target,
        n_control=n_control,
        absolute=absolute,
    )
    return Selectivity(
        site=responses.site,
        p=p,
        q=benjamini_hochberg(p),
        g=arrays["d"] * hedges_correction(n_target + n_control - 2),
        provenance=made,
        **arrays,
    )


def benjamini_hochberg(p: Float[Tensor, "layer unit"]) -> Float[Tensor, "layer unit"]:
    """Return p corrected for the false discovery rate over all units (Benjamini, Hochberg 1995)."""
    corrected = false_discovery_control(p.flatten().numpy(), method="bh")
    return torch.from_numpy(corrected).reshape(p.shape)


def hedges_correction(df: int) -> float:
    """Return the factor that takes the small-sample bias from Cohen's d (Hedges 1981, exact)."""
    if df < 2:
        return 0.0
    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def _chunks(values: Float[Tensor, "stimulus layer unit"]) -> Iterator[Tensor]:
    # Float64 copies of all responses at once could take more memory than the model itself.
    layers_at_once = max(1, _ELEMENTS_AT_ONCE // max(1, values.shape[2] * 1024))
    yield from values.split(layers_at_once, dim=1)


def _welch_chunk(
    target: Float[Tensor, "n_target layer unit"],
    control: Float[Tensor, "n_control layer unit"],
    absolute: bool,
    resolution: float,
) -> dict[str, Float[Tensor, "layer unit"]]:
    a, b = _as_float64(target, absolute), _as_float64(control, absolute)
    n_a, n_b = len(a), len(b)
    mean_a, mean_b = _mean(a), _mean(b)
    var_a, var_b = _variance(a, mean_a), _variance(b, mean_b)
    low = torch.minimum(reduce(a, "s l u -> l u", "min"), reduce(b, "s l u -> l u", "min"))
    high = torch.maximum(reduce(a, "s l u -> l u", "max"), reduce(b, "s l u -> l u", "max"))
    constant = low == high

    difference = (mean_a - mean_b).masked_fill(constant, 0.0)
    least = (resolution * torch.maximum(low.abs(), high.abs())) ** 2
    se2_a, se2_b = var_a / n_a, var_b / n_b
    se2 = torch.maximum(se2_a + se2_b, least)
    pooled = torch.maximum(((n_a - 1) * var_a + (n_b - 1) * var_b) / max(n_a + n_b - 2, 1), least)
    spread = se2_a**2 / (n_a - 1) + se2_b**2 / (n_b - 1)
    df = torch.where(spread > 0, (se2_a + se2_b) ** 2 / spread, float(n_a + n_b - 2))
    df = df.masked_fill(constant, float(n_a + n_b - 2))
    return {
        "t": torch.where(constant, 0.0, difference / se2.sqrt()).cpu(),
        "df": df.cpu(),
        "d": torch.where(constant, 0.0, difference / pooled.sqrt()).cpu(),
        "mean_target": mean_a.cpu(),
        "mean_control": mean_b.cpu(),
    }


def _as_float64(values: Tensor, absolute: bool) -> Float[Tensor, "stimulus layer unit"]:
    if values.device.type == "mps":  # has no float64
        values = values.cpu()
    values = values.to(torch.float64)
    return values.abs() if absolute else values


def _mean(values: Tensor) -> Float[Tensor, "layer unit"]:
    return reduce(values, "stimulus layer unit -> layer unit", "mean")


def _variance(values: Tensor, mean: Float[Tensor, "layer unit"]) -> Float[Tensor, "layer unit"]:
    squares = reduce((values - mean) ** 2, "stimulus layer unit -> layer unit", "sum")
    return squares / (len(values) - 1)


def _two_sided_p(
    t: Float[Tensor, "layer unit"], df: Float[Tensor, "layer unit"]
) -> Float[Tensor, "layer unit"]:
    p = 2 * student_t.sf(t.abs().numpy(), df.numpy())
    return torch.from_numpy(np.asarray(p))

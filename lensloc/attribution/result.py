"""What an attribution found: the effect of every unit of a site on target and control."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from lensloc.attribution.unit_tables import unit_table
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.selection import count_units, ranked


@dataclass(frozen=True, eq=False)
class Attribution(Savable):
    """How much more each unit matters for the target than for the control, at one site.

    All arrays are float64 on the CPU, in nats per token; a positive effect means that the texts are
    predicted better with the unit than without it. Units that were not asked for are NaN.

    Attributes:
        site: name of the site.
        method: how the effects were found; see :func:`attribute`.
        baseline: what a unit was compared with, ``"zero"`` or ``"mean"``.
        score: ``[layer, unit]``, mean effect on the target's texts less that on the control's.
        mean_target: ``[layer, unit]``, mean effect on the target's texts.
        mean_control: ``[layer, unit]``, mean effect on the control's texts.
        n_target: number of texts of the target.
        n_control: number of texts of the control.
        magnitude: ``[layer, unit]``, mean absolute activation over all tokens that are read (of a
            head, mean norm), in activation units.
        gap: ``[layer]``, of integrated gradients: how far the sum over a layer's units is from the
            effect of the whole layer's site, mean absolute difference over all texts. It is 0
            where the integral is exact, and NaN for layers without a unit that was asked for.
        provenance: model, stimuli and procedure.
    """

    site: str
    method: str
    baseline: str
    score: Float[Tensor, "layer unit"]
    mean_target: Float[Tensor, "layer unit"]
    mean_control: Float[Tensor, "layer unit"]
    n_target: int
    n_control: int
    magnitude: Float[Tensor, "layer unit"]
    gap: Float[Tensor, " layer"] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units per layer."""
        n_layers, n_units = self.score.shape
        return n_layers, n_units

    def __repr__(self) -> str:
        layers, units = self.shape
        source = " ".join(x for x in (self.provenance.model, self.provenance.contrast) if x)
        known = self.score[torch.isfinite(self.score)]
        return (
            f"Attribution({len(known)} of {layers}x{units} units at {self.site} by {self.method}; "
            f"{source or 'unknown'}; {known.min():.2g} to {known.max():.2g} nats per token)"
        )

    def top(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of largest score: exactly ``k``, or ``percent`` of all, truncated.

        Ties are broken by layer, then unit. Percentages count all units of the site, those
        without a score among them, which are never taken.

        Raises:
            LensLocError: unless just one of the two is given and as many units have a score.
        """
        count, words = count_units(percent, k, self.score.numel(), self.site)
        scored = torch.isfinite(self.score)
        if count > int(scored.sum()):
            raise LensLocError(
                f"{count} units were asked for but only {int(scored.sum())} of "
                f"{self.score.numel()} at {self.site} have a score; ask for fewer."
            )
        score = self.score.masked_fill(~scored, -torch.inf)
        made = self.provenance.replace(selection=f"top {words}", site=self.site)
        return UnitMask.from_indices(
            self.site,
            ranked(score)[:count],
            self.shape,
            made,
            score=score,
            magnitude=self.magnitude,
        )

    def agreement(self, other: Float[Tensor, "layer unit"], *, absolute: bool = False) -> float:
        """Return Spearman's rank correlation of the scores with other values of the same units.

        Args:
            other: ``[layer, unit]``, e.g. ``found[site].t`` of a localization; only units that are
                finite in both count.
            absolute: rank the units by size, whatever the sign, on both sides.

        Raises:
            LensLocError: other units; or fewer than three finite, or all alike, in one of them.
        """
        if other.shape != self.score.shape:
            raise LensLocError(
                f"The scores are of {self.shape[0]}x{self.shape[1]} units, the other values of "
                f"{'x'.join(map(str, other.shape))}; compare maps of one model and one site."
            )
        theirs = other.detach().cpu().double()
        both = torch.isfinite(self.score) & torch.isfinite(theirs)
        pair = [values[both].abs() if absolute else values[both] for values in (self.score, theirs)]
        if int(both.sum()) < 3 or any(bool((values == values[0]).all()) for values in pair):
            raise LensLocError(
                f"{int(both.sum())} units at {self.site} are finite in both maps, or all alike in "
                "one of them; a rank correlation needs three that differ."
            )
        return float(spearmanr(pair[0].numpy(), pair[1].numpy()).statistic)

    def to_dataframe(self, mask: UnitMask | None = None) -> pd.DataFrame:
        """Return one row per unit: address, site, layer, unit, score, both means, magnitude.

        Args:
            mask: only these units, sorted by score, largest first; all in order if None.

        Raises:
            LensLocError: if the mask is of another site or shape.
        """
        columns = ("score", "mean_target", "mean_control", "magnitude")
        values = {name: getattr(self, name) for name in columns}
        return unit_table(self.site, values, mask, self.provenance.model)

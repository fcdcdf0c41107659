"""Selectivity: statistics of every unit at one site, and the units that they select."""

import dataclasses
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.selection import large_units, nothing_selected
from lensloc.errors import LensLocError, LensLocWarning, noted
from lensloc.selectivity.selecting import Statistics, chosen_by
from lensloc.units import ragged
from lensloc.units.mask import UnitAddress, UnitMask
from lensloc.units.outliers import OUTLIER_RATIO, outliers
from lensloc.units.provenance import Provenance
from lensloc.units.selection import Direction, SelectionRule

_STATISTICS = (
    *("t", "df", "p", "q", "d", "g"),
    *("mean_target", "mean_control", "magnitude", "kurtosis"),
)


@dataclass(frozen=True, eq=False)
class Selectivity(Savable, ragged.Layered):
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
        magnitude: mean absolute response to all of them.
        kurtosis: excess kurtosis of the responses that were tested, over all of them.
        provenance: model, stimuli and procedure.
        excluded: units that no selection takes; None if all may be taken.
        excluded_by: how these were chosen, one rule a call of :meth:`excluding`.
        widths: units of every layer, where layers differ in width; None where they do not. All
            arrays are NaN beyond a layer's width: no unit is there.
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
    magnitude: Float[Tensor, "layer unit"]
    kurtosis: Float[Tensor, "layer unit"]
    provenance: Provenance = field(default_factory=Provenance)
    excluded: Bool[Tensor, "layer unit"] | None = None
    excluded_by: tuple[SelectionRule, ...] = ()
    widths: ragged.Widths = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", ragged.checked(self.widths, self.shape))
        if self.widths is not None:
            for name in _STATISTICS:
                values = ragged.padded(getattr(self, name), self.widths, torch.nan)
                object.__setattr__(self, name, values)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units of the widest layer."""
        n_layers, n_units = self.t.shape
        return n_layers, n_units

    @property
    def range_of_t(self) -> tuple[float, float]:
        """Smallest and largest t."""
        known = self.t[self.units]
        return float(known.min()), float(known.max())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the map should know, in sentences."""
        return self.provenance.warnings

    def __repr__(self) -> str:
        return noted(self.line(), self.warnings)

    def line(self) -> str:
        """Return the map in a line, without its warnings."""
        low, high = self.range_of_t
        source = " ".join(x for x in (self.provenance.model, self.provenance.contrast) if x)
        return (
            f"Selectivity({self.size_in_words} units at {self.site}; "
            f"{source or 'unknown'}; t from {low:.1f} to {high:.1f})"
        )

    def _repr_html_(self) -> str:
        made, (low, high) = self.provenance, self.range_of_t
        units = f"{self.shape[0]} x {self.shape[1]:,}"
        if self.widths is not None:
            units = f"{self.n_units:,} in layers of {min(self.widths):,} to {max(self.widths):,}"
        sides = [" + ".join(made.target) or "target", " + ".join(made.control) or "control"]
        better = {
            f"q < 0.05, prefer {side}": f"{len(found):,} ({100 * len(found) / found.n_units:.3g} %)"
            for side, found in zip(
                sides,
                (self.significant(0.05, "target"), self.significant(0.05, "control")),
                strict=True,
            )
        }
        known = {
            "units": f"{units} at {self.site}",
            "model": made.model,
            "contrast": made.contrast,
            "t": f"{low:.1f} to {high:.1f}",
            **better,
            "outliers in size": f"{len(self.outliers()):,}",
        }
        picture = markup.heatmap(self._thumbnail().tolist(), label="t of the units of every layer")
        return markup.card(
            f"Selectivity: {' > '.join(sides)}",
            markup.facts({name: value for name, value in known.items() if value}),
            markup.captioned(
                picture, "t by layer (0 at the bottom), units sorted; orange: prefers the target"
            ),
            warnings=self.warnings,
        )

    def _thumbnail(self, columns: int = 40) -> Float[Tensor, "layer column"]:
        """Return t at evenly spaced ranks of every layer, largest first."""
        columns = min(columns, self.shape[1])
        rows = []
        for t, width in zip(self.t, ragged.of_all(self.shape, self.widths), strict=True):
            ranks = torch.linspace(0, width - 1, columns).round().long()
            rows.append(t[:width].sort(descending=True).values[ranks])
        return torch.stack(rows)

    # -- selecting -----------------------------------------------------------------------------

    def top(
        self, *, percent: float | None = None, k: int | None = None, unique_dims: bool = False
    ) -> UnitMask:
        """Return the units of largest t: exactly ``k``, or ``percent`` of all, truncated.

        Ties are broken by layer, then unit. A percentage that is less than one unit gives one,
        with a warning. Where none of the units differs between the conditions (q < 0.05), that is
        warned of, and the set says so.

        Args:
            percent: how many, of all units of the site, excluded ones among them.
            k: how many.
            unique_dims: take every dimension of the residual stream once, in the layer where its t
                is largest, since what an early block wrote there is found again in later ones.

        Raises:
            LensLocError: unless just one of the two is given and as many units exist; or if
                ``unique_dims`` is asked for elsewhere than in the residual stream.
        """
        rule = SelectionRule("top", percent, k, unique_dims=unique_dims)
        return self._told("top", self._select(rule))

    def bottom(
        self, *, percent: float | None = None, k: int | None = None, unique_dims: bool = False
    ) -> UnitMask:
        """Return the units of smallest t, those that prefer the control; see :meth:`top`.

        Raises:
            LensLocError: as :meth:`top`.
        """
        rule = SelectionRule("bottom", percent, k, unique_dims=unique_dims)
        return self._told("bottom", self._select(rule))

    def _told(self, end: str, mask: UnitMask) -> UnitMask:
        """Return units that were selected by t, with what stands against them; warn of noise."""
        n, real = len(mask), int((self.q[mask.mask] < 0.05).sum())
        noise = nothing_selected(end, n, real, self.site)
        for sentence in noise:
            warnings.warn(sentence, LensLocWarning, stacklevel=3)
        large = int((outliers(self.magnitude) & mask.mask).sum())
        size = large_units(end, n, large, self.site, OUTLIER_RATIO)
        told = [*mask.warnings, *noise, *size]
        made = mask.provenance.replace(warnings=tuple(dict.fromkeys(told)))
        return dataclasses.replace(mask, provenance=made)

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
        found = self._select(SelectionRule("between", k=k, low=lo, high=hi, seed=seed))
        return dataclasses.replace(found, provenance=found.provenance.seeded("selection", seed))

    def significant(self, q: float = 0.05, direction: Direction = "target") -> UnitMask:
        """Return the units whose false discovery rate is below ``q``; none is an empty set.

        Args:
            q: bound on the Benjamini-Hochberg corrected, two-sided p.
            direction: units that prefer the target, the control, or both kinds.

        Raises:
            LensLocError: unless 0 < q < 1.
        """
        return self._select(SelectionRule("significant", q=q, direction=direction))

    def select(self, rule: SelectionRule) -> UnitMask:
        """Return the units that a rule chooses here, e.g. the rule of a mask of other stimuli.

        What the rule excludes is chosen here too; what is excluded from this map is not taken
        either.

        Raises:
            LensLocError: a rule that needs more than these statistics, or that cannot be had.
        """
        new = tuple(found for found in self._exclusions() if found not in rule.excluding)
        return self._apply(dataclasses.replace(rule, excluding=rule.excluding + new))

    def _select(self, rule: SelectionRule) -> UnitMask:
        return self._apply(dataclasses.replace(rule, excluding=self._exclusions()))

    def _exclusions(self) -> tuple[SelectionRule, ...]:
        if self.excluded is None or self.excluded_by:
            return self.excluded_by
        return (SelectionRule("given", units=self.excluded),)

    def _apply(self, rule: SelectionRule) -> UnitMask:
        units = None if self.widths is None else self.units
        known = Statistics(self.site, self.t, self.q, self.magnitude, units)
        mask, score = chosen_by(rule, known)
        words = rule.describe(self.n_units, self.site)
        made = self.provenance.replace(selection=words, site=self.site)
        return UnitMask(
            self.site,
            mask,
            made,
            score=score,
            magnitude=self.magnitude,
            rule=rule,
            widths=self.widths,
        )

    # -- outliers ------------------------------------------------------------------------------

    def outliers(self, ratio: float = OUTLIER_RATIO) -> UnitMask:
        """Return the units that are large whatever the stimulus ("massive activations").

        These are the units whose mean absolute response is above ``ratio`` times their layer's
        median; none is an empty set.

        Raises:
            LensLocError: unless the ratio is above 1.
        """
        return self._apply(SelectionRule("outliers", ratio=ratio))

    def excluding(self, units: UnitMask) -> "Selectivity":
        """Return the same statistics, of which no selection takes these units.

        t, q and the rest stay as they are; percentages still count all units of the site, so that
        selections with and without exclusion have one size.

        Raises:
            LensLocError: if the units are of another site or shape.
        """
        self._require_mine(units)
        excluded = units.mask if self.excluded is None else units.mask | self.excluded
        made, rule = self.provenance, units.rule
        if rule is None or not rule.can_be_reapplied or not _of_one_map(made, units.provenance):
            # Not chosen from this map's stimuli, or not by a rule that other stimuli could follow.
            rule = SelectionRule("given", units=units.mask)
        return dataclasses.replace(
            self,
            provenance=made.replace(texts=(made.text_set | units.selected_on).encode()),
            excluded=excluded,
            excluded_by=(*self._exclusions(), rule),
        )

    # -- reading -------------------------------------------------------------------------------

    def to_dataframe(self, mask: UnitMask | None = None) -> pd.DataFrame:
        """Return one row per unit: address, layer, unit, site and all statistics.

        Beside them, ``magnitude_percentile`` says what percentage of its layer's units a unit
        exceeds or equals in size, and ``outlier`` whether :meth:`outliers` holds it.

        Args:
            mask: only these units, sorted by t, largest first; all in order if None.

        Raises:
            LensLocError: if the mask is of another site or shape.
        """
        if mask is None:
            layers, units = self.units.nonzero().T.numpy()
        else:
            self._require_mine(mask)
            layers, units = mask.mask.nonzero().T.numpy()
        ranks = rankdata(self.magnitude.numpy(), method="max", axis=1, nan_policy="omit")
        larger = ranks / np.array(ragged.of_all(self.shape, self.widths))[:, None]
        large = outliers(self.magnitude).numpy()
        table: pd.DataFrame = pd.DataFrame(
            {
                "address": [
                    str(UnitAddress(int(layer), self.site, int(unit)))
                    for layer, unit in zip(layers, units, strict=True)
                ],
                "site": self.site,
                "layer": layers,
                "unit": units,
                **{name: getattr(self, name).numpy()[layers, units] for name in _STATISTICS},
                "magnitude_percentile": 100 * larger[layers, units],
                "outlier": large[layers, units],
            }
        )
        if mask is not None:
            table = table.sort_values("t", ascending=False, kind="stable", ignore_index=True)
        return table

    def _require_mine(self, mask: UnitMask) -> None:
        if mask.site != self.site:
            raise LensLocError(f"The mask is of {mask.site}, these statistics are of {self.site}.")
        mask.require_shape(self.shape, self.provenance.model or "this map", self.widths)


def _of_one_map(one: Provenance, other: Provenance) -> bool:
    """Say whether two sets of units were chosen from the same statistics."""
    # What was selected, and what was said and drawn then, differs between sets from one map.
    own = {"selection": "", "texts": "", "site": "", "seeds": (), "warnings": ()}
    plain = (made.replace(**own) for made in (one, other))
    return next(plain) == next(plain) and bool(one.contrast_hash)

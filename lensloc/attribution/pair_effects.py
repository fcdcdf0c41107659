"""What attribution patching found: how much of a difference every unit carries."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from lensloc.attribution.unit_tables import unit_table
from lensloc.contrasts.clean_corrupted import CLEAN, CORRUPTED, Pairs
from lensloc.display import markup
from lensloc.display.frozen import FrozenMapping
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted, unwarned
from lensloc.results.joining import warnings_of
from lensloc.results.recovery import rank_agreement
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.units.rules import SelectionRule, count_units
from lensloc.units.selection import ranked

PATCHING = "attribution patching"


@dataclass(frozen=True, eq=False)
class PairEffects(Savable):
    """How much of the difference between clean and corrupted texts each unit of a site carries.

    Arrays are float64 on the CPU. An effect is in nats of the metric, log P(right) - log P(wrong):
    positive if the unit's clean value speaks for the right continuation.

    Attributes:
        site: name of the site.
        score: ``[layer, unit]``, mean over pairs of (clean - corrupted) x gradient, summed over
            positions, signs kept.
        error: ``[layer, unit]``, standard error of that mean; NaN with one pair.
        magnitude: ``[layer, unit]``, mean absolute activation over all tokens of the clean texts
            that are read (of a head, mean norm), in activation units.
        n_pairs: number of pairs.
        gradient_at: the run in which the gradient was taken, ``"clean"`` or ``"corrupted"``.
        provenance: model, pairs and procedure.
    """

    site: str
    score: Float[Tensor, "layer unit"]
    error: Float[Tensor, "layer unit"]
    magnitude: Float[Tensor, "layer unit"]
    n_pairs: int
    gradient_at: str
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units per layer."""
        n_layers, n_units = self.score.shape
        return n_layers, n_units

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the effects should know, in sentences."""
        return self.provenance.warnings

    def line(self) -> str:
        """Return the effects in a line, without warnings."""
        layers, units = self.shape
        return (
            f"{layers}x{units} units at {self.site}, {float(self.score.min()):.2g} to "
            f"{float(self.score.max()):.2g} nats"
        )

    def __repr__(self) -> str:
        made = " ".join(x for x in (self.provenance.model, self.provenance.contrast) if x)
        return noted(f"PairEffects({made or 'unknown'}; {self.line()})", self.warnings)

    # -- choosing ------------------------------------------------------------------------------

    def ranking(self, *, absolute: bool = False) -> Float[Tensor, "layer unit"]:
        """Return what units are ranked by: the score, or its size."""
        return self.score.abs() if absolute else self.score

    def top(
        self, *, percent: float | None = None, k: int | None = None, absolute: bool = False
    ) -> UnitMask:
        """Return the units of largest effect: exactly ``k``, or ``percent`` of all, truncated.

        Ties are broken by layer, then unit.

        Args:
            percent: how many units, in per cent of the site's.
            k: how many units.
            absolute: rank by the size of the mean effect, so that units whose clean value speaks
                for the wrong continuation count too.

        Raises:
            LensLocError: unless just one of the two is given and as many units exist.
        """
        statistic = f"|{PATCHING}|" if absolute else PATCHING
        rule = SelectionRule("top", percent=percent, k=k, statistic=statistic)
        total = self.score.numel()
        count, _ = count_units(percent, k, total, self.site)
        score = self.ranking(absolute=absolute)
        return UnitMask.from_indices(
            self.site,
            ranked(score)[:count],
            self.shape,
            self.provenance.replace(selection=rule.describe(total, self.site), site=self.site),
            score=score,
            magnitude=self.magnitude,
            rule=rule,
        )

    # -- looking -------------------------------------------------------------------------------

    def agreement(self, other: Float[Tensor, "layer unit"], *, absolute: bool = False) -> float:
        """Return Spearman's rank correlation of the effects with other values of the same units.

        Args:
            other: ``[layer, unit]``, e.g. ``found[site].t`` of a localization; only units that are
                finite in both count.
            absolute: rank the units by size, whatever the sign, on both sides.

        Returns:
            NaN with fewer than three units, or where one of the two is constant.

        Raises:
            LensLocError: values of other units.
        """
        if tuple(other.shape) != self.shape:
            raise LensLocError(
                f"The effects are of {self.shape[0]}x{self.shape[1]} units, the other values of "
                f"{'x'.join(map(str, other.shape))}; compare maps of one model and one site."
            )
        theirs = other.detach().cpu().double()
        pair = [v.abs() if absolute else v for v in (self.score, theirs)]
        return rank_agreement(pair[0].numpy(), pair[1].numpy())[0]

    def to_dataframe(self, mask: UnitMask | None = None) -> pd.DataFrame:
        """Return one row per unit: address, site, layer, unit, score, error, magnitude.

        Args:
            mask: only these units, sorted by score, largest first; all in order if None.

        Raises:
            LensLocError: if the mask is of another site or shape.
        """
        values = {name: getattr(self, name) for name in ("score", "error", "magnitude")}
        return unit_table(self.site, values, mask, self.provenance.model)


@dataclass(frozen=True, eq=False)
class PairLocalization(Savable, Mapping[str, PairEffects]):
    """What :func:`lensloc.localize_pairs` found: site name -> :class:`PairEffects`.

    With one site, ``top`` can be called here too.

    Attributes:
        pairs: the pairs.
        effects: site name -> effects of its units.
        clean: metric of every pair after its clean prompt, in nats, ``[pair]``.
        corrupted: metric after its corrupted prompt.
        warnings: what a reader of the result should know, in sentences.
    """

    pairs: Pairs
    effects: Mapping[str, PairEffects]
    clean: Float[np.ndarray, " pair"]
    corrupted: Float[np.ndarray, " pair"]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "effects", FrozenMapping(self.effects))

    def __getitem__(self, site: str) -> PairEffects:
        if site not in self.effects:
            raise LensLocError(
                f"The site {site!r} was not localized; these were: {', '.join(self.effects)}."
            )
        return self.effects[site]

    def __contains__(self, site: object) -> bool:
        return site in self.effects

    def __iter__(self) -> Iterator[str]:
        return iter(self.effects)

    def __len__(self) -> int:
        return len(self.effects)

    @property
    def difference(self) -> float:
        """Mean over pairs of the metric, clean minus corrupted, in nats."""
        return float((self.clean - self.corrupted).mean())

    def top(
        self, *, percent: float | None = None, k: int | None = None, absolute: bool = False
    ) -> UnitMask:
        """Return the units of largest effect of the only site; see :meth:`PairEffects.top`.

        Raises:
            LensLocError: if several sites were localized, or what that refuses.
        """
        if len(self) != 1:
            raise LensLocError(
                f"{len(self)} sites were localized; say which, e.g. "
                f"found[{next(iter(self))!r}].top(percent=1)."
            )
        return next(iter(self.values())).top(percent=percent, k=k, absolute=absolute)

    @classmethod
    def _joined(cls, several: "Sequence[PairLocalization]") -> "PairLocalization":
        first = several[0]
        if any(each.pairs.pairs != first.pairs.pairs for each in several):
            raise LensLocError("The localizations are by other pairs; join those by the same.")
        twice = [s for s, n in Counter(site for each in several for site in each).items() if n > 1]
        if twice:
            raise LensLocError(
                f"The site {twice[0]} is in two of the localizations; join those of other sites."
            )
        hashes = next(iter(first.values())).provenance.model_hashes
        for each in several[1:]:
            if next(iter(each.values())).provenance.differing(hashes):
                raise LensLocError("The localizations are of several models; join those of one.")
        effects = {site: found for each in several for site, found in each.items()}
        return cls(first.pairs, effects, first.clean, first.corrupted, warnings_of(several))

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per unit of every site; see :meth:`PairEffects.to_dataframe`."""
        tables = [found.to_dataframe() for found in self.effects.values()]
        return pd.concat(tables, ignore_index=True)

    def metric(self) -> pd.DataFrame:
        """Return one row per pair: group, texts, and the metric on either side, in nats."""
        table: pd.DataFrame = self.pairs.to_dataframe()
        table["metric_clean"], table["metric_corrupted"] = self.clean, self.corrupted
        return table

    def _preferred(self) -> str:
        sides = {CLEAN: self.clean, CORRUPTED: self.corrupted}
        return ", ".join(f"{int((m > 0).sum())} {name}" for name, m in sides.items())

    def __repr__(self) -> str:
        sites = ", ".join(found.line() for found in self.effects.values())
        return noted(
            f"PairLocalization({self.pairs.name}, {len(self.pairs)} pairs: metric "
            f"{self.clean.mean():.2f} clean, {self.corrupted.mean():.2f} corrupted; {sites})",
            self.warnings,
        )

    def _repr_html_(self) -> str:
        rows, shares = [], []
        for site, found in self.effects.items():
            with unwarned():  # less than one unit is no news here
                network = found.top(k=max(1, found.score.numel() // 100))
            shares.append(network.percent_per_layer().tolist())
            rows.append(
                {
                    "site": site,
                    "units": " x ".join(f"{n:,}" for n in found.shape),
                    "largest effect": float(found.score.max()),
                    "smallest": float(found.score.min()),
                    "sum of all": float(found.score.sum()),
                    "top 1 %": len(network),
                }
            )
        layers = [[found[i] for found in shares] for i in range(len(shares[0]))]
        facts = {
            "pairs": f"{len(self.pairs)} of {self.pairs.name}",
            "metric, clean": f"{self.clean.mean():.2f} nats",
            "metric, corrupted": f"{self.corrupted.mean():.2f} nats",
            "right one preferred": self._preferred(),
        }
        picture = markup.heatmap(
            layers, label="share of every layer's units in the top 1 %", cell=(28, 5)
        )
        return markup.card(
            f"Attribution patching of {self.pairs.name}",
            markup.facts(facts),
            markup.table(rows),
            markup.captioned(
                picture, "share of units in the top 1 %, layer (0 at the bottom) by site"
            ),
            warnings=self.warnings,
        )

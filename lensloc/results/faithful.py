"""Faithfulness: how much of a difference do k units carry, and is the ranking of units right?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lensloc.display import markup
from lensloc.display.frozen import FrozenMapping
from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, noted
from lensloc.results.recovery import Recovery

FAITHFULNESS, COMPLETENESS = "faithfulness", "completeness"
RANDOM = "random"


@dataclass(frozen=True, eq=False)
class Faithfulness(Savable):
    """What :func:`lensloc.faithfulness` measured, of rankings of the units of one site.

    Attributes:
        site: where the units are.
        n_units: how many the site has.
        curves: ranking -> curve (``"faithfulness"``, ``"completeness"``) -> shares by size.
        random: curve -> the same of every random ranking.
        clean: mean metric of the clean texts, in nats.
        corrupted: of the corrupted texts.
        without: of the clean texts with all units of the site corrupted, where both curves have
            their zero.
        exact: one row per unit that was patched by itself: address, layer, unit, ``exact`` (how
            much lower the metric is with only this unit corrupted, in nats) and each ranking's
            value.
        layers: the same of whole layers, with the sum of each ranking's values where these are
            effects of the pairs.
        agreement: ranking -> Spearman's correlation with the exact effects of units.
        layer_agreement: the same of layers, for effects of the pairs.
        pairs: what the pairs are about.
        n_pairs: how many.
        model: what the model is called.
        warnings: what a reader should know, in sentences.
    """

    site: str
    n_units: int
    curves: Mapping[str, Mapping[str, Recovery]]
    random: Mapping[str, tuple[Recovery, ...]]
    clean: float
    corrupted: float
    without: float
    exact: pd.DataFrame
    layers: pd.DataFrame
    agreement: Mapping[str, float]
    layer_agreement: Mapping[str, float]
    pairs: str
    n_pairs: int
    model: str = ""
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("curves", "random", "agreement", "layer_agreement"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))

    @property
    def carried(self) -> float:
        """Share of the difference between clean and corrupted texts that the whole site carries."""
        return (self.clean - self.without) / (self.clean - self.corrupted)

    @property
    def table(self) -> pd.DataFrame:
        """One row per ranking, curve and size.

        Columns: ``ranking`` (``"random"`` for random ones, with their number in ``draw``),
        ``curve``, ``k``, ``percent`` (of the site's units), ``share`` and its 95 % interval over
        pairs, ``low``, ``high``.
        """
        rows: list[tuple[str, int | None, Recovery]] = [
            (ranking, None, curve)
            for ranking, both in self.curves.items()
            for curve in both.values()
        ]
        rows += [
            (RANDOM, draw, curve)
            for several in self.random.values()
            for draw, curve in enumerate(several)
        ]
        table: pd.DataFrame = pd.DataFrame(
            [
                {
                    "ranking": ranking,
                    "draw": pd.NA if draw is None else draw,
                    "curve": found.curve,
                    "k": int(k),
                    "percent": 100 * int(k) / self.n_units,
                    "share": float(share),
                    "low": float(low),
                    "high": float(high),
                }
                for ranking, draw, found in rows
                for k, share, low, high in zip(
                    found.sizes, found.share, found.low, found.high, strict=True
                )
            ]
        )
        return table

    def units_for(self, share: float = 0.8, ranking: str | None = None) -> int | None:
        """Return the smallest measured number of units that recover a share; None if none does.

        Args:
            share: of the difference that the site carries.
            ranking: which; the first if None.

        Raises:
            LensLocError: an unknown ranking.
        """
        return self._of(ranking)[FAITHFULNESS].units_for(share)

    def _of(self, ranking: str | None) -> Mapping[str, Recovery]:
        name = next(iter(self.curves)) if ranking is None else ranking
        if name not in self.curves:
            raise LensLocError(
                f"There is no ranking {name!r}; these were measured: {', '.join(self.curves)}."
            )
        return self.curves[name]

    def summary(self) -> pd.DataFrame:
        """Return one row per ranking: mean heights of both curves, units for 80 %, agreement.

        Heights are areas under the curves over sizes on a logarithmic scale; of random rankings
        their mean.
        """
        rows = []
        for name, both in self.curves.items():
            rows.append(
                {
                    "ranking": name,
                    FAITHFULNESS: height(both[FAITHFULNESS]),
                    COMPLETENESS: height(both[COMPLETENESS]),
                    "units for 80 %": self.units_for(0.8, name) or pd.NA,
                    "rho with exact units": self.agreement.get(name, np.nan),
                    "rho with exact layers": self.layer_agreement.get(name, np.nan),
                }
            )
        if self.random[FAITHFULNESS]:
            means = {
                curve: float(np.mean([height(found) for found in several]))
                for curve, several in self.random.items()
            }
            rows.append(
                {
                    "ranking": f"{RANDOM}, mean of {len(self.random[FAITHFULNESS])}",
                    **means,
                    "units for 80 %": pd.NA,
                    "rho with exact units": np.nan,
                    "rho with exact layers": np.nan,
                }
            )
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def __repr__(self) -> str:
        heights = ", ".join(
            f"{name} {height(both[FAITHFULNESS]):.2f}" for name, both in self.curves.items()
        )
        made = " in ".join(part for part in (self.pairs, self.model) if part)
        return noted(
            f"Faithfulness({made}, {self.n_pairs} pairs, {self.site}, which carries "
            f"{100 * self.carried:.0f} %; mean height {heights})",
            self.warnings,
        )

    def _repr_html_(self) -> str:
        facts = {
            "pairs": f"{self.n_pairs} of {self.pairs}",
            "site": f"{self.site}, {self.n_units:,} units",
            "metric, clean": f"{self.clean:.2f} nats",
            "metric, corrupted": f"{self.corrupted:.2f} nats",
            "metric, all units corrupted": f"{self.without:.2f} nats",
            "carried by the site": f"{100 * self.carried:.0f} %",
        }
        rows = [
            {key: "" if pd.isna(value) else value for key, value in row.items()}
            for row in self.summary().to_dict("records")
        ]
        return markup.card(
            f"Faithfulness and completeness: {self.pairs}",
            markup.facts(facts),
            markup.table(rows),  # type: ignore[arg-type]
            warnings=self.warnings,
        )


def height(found: Recovery) -> float:
    """Return the mean height of a curve; of one size its share."""
    return found.area() if len(found.sizes) > 1 else float(found.share[0])

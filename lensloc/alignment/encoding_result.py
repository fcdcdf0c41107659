"""Encoding: how well units predict brain responses, beside what they are held against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lensloc.display import markup as html
from lensloc.units.provenance import Provenance

NETWORK, CONTROL, UNTRAINED, BASELINE = "network", "control", "untrained", "baseline"
NUISANCE, JOINT = "nuisance", "network + nuisance"
COLUMNS = (
    *("model", "network", "kind", "name", "seed", "site", "layer", "n_units", "split"),
    *("r", "r_low", "r_high", "r2", "r2_low", "r2_high", "ceiling", "r_normalised"),
    *("r2_normalised", "unique", "unique_low", "unique_high"),
)


@dataclass(frozen=True, eq=False)
class Encoding:
    """What :func:`lensloc.alignment.encode` measured.

    Attributes:
        table: one row a set of features:

            - ``model``, ``network`` (empty for what belongs to none), ``kind``: ``network``;
              ``control``, as many other units (``name`` says how they were drawn, ``seed``);
              ``untrained``, the same units of the untrained network; ``baseline``, features that
              know no network (``name``); ``nuisance``, baselines together; ``network + nuisance``;
            - ``site``, ``layer`` (where all units are in one), ``n_units`` (before delays);
            - ``split``: how samples were held out; ``shuffled`` is a warning;
            - ``r``, ``r2``: means over responses of Pearson's r (mean over folds) and R2 (see
              :class:`~lensloc.alignment.scores.Scores`), with bootstrap intervals over passages
              (``_low``, ``_high``; predictions are not fitted again);
            - ``ceiling``: mean ceiling of the responses that have one; ``r_normalised``: mean r
              over mean ceiling of these responses, ``r2_normalised``: mean R2 over mean squared
              ceiling; may be above 1 or below 0;
            - ``unique`` (networks): R2 of network and nuisance together minus R2 of the nuisance
              alone, on held-out samples, with its interval.
        comparisons: one row a network and what it is held against (``against``): ``network_r``,
            ``other_r`` (mean over ``draws``), ``difference`` with its interval over passages (and
            draws); for controls ``p``, the rank of the network among its draws.
        responses: one row a row of ``table`` and response: ``response``, ``region``, ``r``, ``r2``,
            ``ceiling``, ``r_normalised``.
        regions: the same, averaged over the responses of a region.
        confidence: of the intervals.
        settings: what was asked for.
        warnings: what a reader of the table should know, in sentences.
        provenance: which model and units.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    responses: pd.DataFrame
    confidence: float = 0.95
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def split(self) -> str:
        """How samples were held out."""
        return str(self.table["split"].iloc[0])

    @property
    def regions(self) -> pd.DataFrame:
        """Scores by region: one row a set of features and region."""
        keys = ["network", "kind", "name", "seed", "split", "region"]
        grouped = self.responses.groupby(keys, sort=False, dropna=False)
        table: pd.DataFrame = grouped.agg(
            n_responses=("r", "size"),
            r=("r", "mean"),
            r2=("r2", "mean"),
            ceiling=("ceiling", "mean"),
        ).reset_index()
        return table

    def __repr__(self) -> str:
        networks = self.table[self.table["kind"] == NETWORK]
        scores = ", ".join(
            f"{name or 'units'} r {r:.3f}"
            for name, r in zip(networks["network"], networks["r"], strict=True)
        )
        mark = "; SHUFFLED split" if self.split == "shuffled" else ""
        notes = f"; {len(self.warnings)} warnings" if self.warnings else ""
        return f"Encoding({scores or 'no network'}; {self.split} split{mark}{notes})"

    def _repr_html_(self) -> str:
        rows = summary(self.table)
        ends = [(row["r_low"], row["r"], row["r_high"]) for row in rows]
        caption = f"mean r, in the order of the table, {100 * self.confidence:g} % over passages"
        notes = (html.Markup(f"<p>{html.escaped(found)}</p>") for found in self.warnings)
        return html.card(
            repr(self),
            html.table(rows),
            html.captioned(html.intervals(ends, label=caption), caption),
            *notes,
        )


def summary(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows to show: controls of one kind as one row, the mean of their draws."""
    rows: list[dict[str, Any]] = []
    keys = ["network", "kind", "name"]
    for (network, kind, name), found in table.groupby(keys, sort=False, dropna=False):
        several = len(found) > 1
        low, high = (
            (found["r"].min(), found["r"].max()) if several else found.iloc[0][["r_low", "r_high"]]
        )
        rows.append(
            {
                "network": network,
                "kind": f"{kind} ({len(found)} draws)" if several else kind,
                "name": name,
                "split": found["split"].iloc[0],
                "r": float(found["r"].mean()),
                "r_low": float(low),
                "r_high": float(high),
                "r2": float(found["r2"].mean()),
                "r_normalised": float(found["r_normalised"].mean()),
                "unique": float(found["unique"].iloc[0]) if kind == NETWORK else np.nan,
            }
        )
    return rows

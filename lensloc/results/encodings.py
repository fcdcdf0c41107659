"""Encoding: how well units predict brain responses, beside what they are compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.people import Beside, Predicted, predicted_sentences
from lensloc.errors import LensLocError, noted
from lensloc.results.joining import same_in_all, warnings_of
from lensloc.units.provenance import Provenance

NETWORK, CONTROL, UNTRAINED, BASELINE = "network", "control", "untrained", "baseline"
NUISANCE, JOINT = "nuisance", "network + nuisance"
_LABELS = {
    CONTROL: "control units ({})",
    UNTRAINED: "the same units untrained",
    BASELINE: "baseline {}",
}
COLUMNS = (
    *("model", "network", "kind", "name", "seed", "site", "layer", "n_units", "split"),
    *("r", "r_low", "r_high", "r2", "r2_low", "r2_high", "ceiling", "r_normalised"),
    *("r2_normalised", "unique", "unique_low", "unique_high"),
)


@dataclass(frozen=True, eq=False)
class Encoding(Savable):
    """What :func:`lensloc.alignment.encode` measured.

    Attributes:
        table: one row per set of features:

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
        comparisons: one row per network and what it is compared with (``against``): ``network_r``,
            ``other_r`` (mean over ``draws``), ``difference`` with its interval over passages (and
            draws); for controls ``p``, the rank of the network among its draws.
        responses: per row of ``table`` and response, one row: ``response``, ``region``, ``r``,
            ``r2``, ``ceiling``, ``r_normalised``.
        regions: the same, averaged over the responses of a region.
        confidence: of the intervals.
        settings: what was asked for.
        warnings: what a reader of the table should know, in sentences.
        provenance: which model and units.
        call: the call that made it, as far as that is known.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    responses: pd.DataFrame
    confidence: float = 0.95
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    call: str = ""

    @classmethod
    def _joined(cls, several: Sequence["Encoding"]) -> "Encoding":
        same_in_all(several, "confidence", "split")
        first = several[0]
        known = _scores_of_responses(first)
        for other in several[1:]:
            if not known.equals(_scores_of_responses(other)):
                raise LensLocError(
                    "The results are of other responses or stimuli, since baselines, which know no "
                    "network, predict them otherwise; join those of the same people and texts."
                )
        names = [name for each in several for name in each._networks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise LensLocError(
                f"Two of the results hold the network {twice or 'without a name'}, which would "
                "count twice; tell the two apart by names: ll.concat({'first': a, 'second': b})."
            )
        table, comparisons, responses = (
            pd.concat(
                [getattr(first, part), *(_of_networks(getattr(e, part)) for e in several[1:])],
                ignore_index=True,
            )
            for part in ("table", "comparisons", "responses")
        )
        return cls(
            table,
            comparisons,
            responses,
            first.confidence,
            first.settings,
            warnings_of(several),
            first.provenance,
        )

    def _named(self, name: str) -> "Encoding":
        def of(table: pd.DataFrame) -> pd.DataFrame:
            if "network" not in table:
                return table
            own = table["network"].astype(str)
            named = own.where(own == "", own + f" ({name})")
            renamed: pd.DataFrame = table.assign(network=named)
            return renamed

        table = of(self.table)
        if "model" in table:
            table = table.assign(model=table["model"].where(table["network"] == "", name))
        return replace(
            self, table=table, comparisons=of(self.comparisons), responses=of(self.responses)
        )

    @property
    def _networks(self) -> list[str]:
        return list(map(str, self.table.loc[self.table["kind"] == NETWORK, "network"]))

    @property
    def split(self) -> str:
        """How samples were held out."""
        return str(self.table["split"].iloc[0])

    @property
    def regions(self) -> pd.DataFrame:
        """Scores by region: one row per set of features and region."""
        keys = ["network", "kind", "name", "seed", "split", "region"]
        grouped = self.responses.groupby(keys, sort=False, dropna=False)
        table: pd.DataFrame = grouped.agg(
            n_responses=("r", "size"),
            r=("r", "mean"),
            r2=("r2", "mean"),
            ceiling=("ceiling", "mean"),
        ).reset_index()
        return table

    def summary(self) -> list[str]:
        """Say in sentences how well every network predicts, and beside what."""
        n_responses = self.responses["response"].nunique()
        told: list[str] = []
        for row in self.table[self.table["kind"] == NETWORK].to_dict("records"):
            against = self.comparisons[self.comparisons["network"] == row["network"]]
            beside = [
                Beside(_LABELS.get(one["kind"], "{}").format(one["against"]), float(one["other_r"]),
                       int(one["draws"]), float(one["p"]))
                for one in against.to_dict("records")
            ]  # fmt: skip
            told += predicted_sentences(
                Predicted(
                    network=str(row["network"]),
                    n_units=int(row["n_units"]),
                    n_responses=int(n_responses),
                    split=self.split,
                    r=float(row["r"]),
                    low=float(row["r_low"]),
                    high=float(row["r_high"]),
                    normalised=float(row["r_normalised"]),
                    beside=beside,
                    unique=float(row["unique"]),
                    unique_low=float(row["unique_low"]),
                    unique_high=float(row["unique_high"]),
                )
            )
        return told

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        networks = self.table[self.table["kind"] == NETWORK]
        scores = ", ".join(
            f"{name or 'units'} r {r:.3f}"
            for name, r in zip(networks["network"], networks["r"], strict=True)
        )
        mark = "; SHUFFLED split" if self.split == "shuffled" else ""
        return f"Encoding({scores or 'no network'}; {self.split} split{mark})"

    def _repr_html_(self) -> str:
        rows = shown_scores(self.table).to_dict("records")
        ends = [(row["r_low"], row["r"], row["r_high"]) for row in rows]
        caption = f"mean r, in the order of the table, {100 * self.confidence:g} % over passages"
        return markup.card(
            self._line(),
            markup.table([{str(key): value for key, value in row.items()} for row in rows]),
            markup.captioned(markup.intervals(ends, label=caption), caption),
            warnings=self.warnings,
        )


def _of_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out what belongs to no network, and so is the same in all results."""
    return table[table["network"].astype(str) != ""] if "network" in table else table


def _scores_of_responses(found: Encoding) -> pd.DataFrame:
    """Return how baselines predict every response, to the digits that do not depend on order."""
    rows = found.responses[found.responses["kind"] == BASELINE]
    scores: pd.DataFrame = rows[["name", "response", "r"]].round({"r": 6}).reset_index(drop=True)
    return scores


def shown_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to show: controls of one kind as one, with mean and range of their draws."""
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
    shown: pd.DataFrame = pd.DataFrame(rows)
    return shown

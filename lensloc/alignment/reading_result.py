"""ReadingStudy: how much surprisal tells about reading times, intact and under lesions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lensloc.display import markup as html
from lensloc.units.provenance import Provenance

INTACT = "intact"
NETWORK = "network"
CORRECTED, TOKENS = "corrected", "tokens"
COLUMNS = (
    *("model", "network", "kind", "seed", "n_units", "surprisal", "n_times", "n_stories"),
    *("mean_surprisal", "log_likelihood", "baseline", "gain", "gain_low", "gain_high"),
    *("slope", "slope_previous", "slope_before"),
    *("loss", "loss_low", "loss_high", "p", "draws", "took_effect"),
)


@dataclass(frozen=True, eq=False)
class ReadingStudy:
    """What :func:`lensloc.alignment.reading_times` measured.

    Attributes:
        table: one row a lesion and kind of surprisal:

            - ``model``, ``network`` (empty for the intact model), ``kind``: ``intact``,
              ``network`` for a lesion of it, or how its control units were drawn (``seed``);
              ``n_units`` lesioned;
            - ``surprisal``: ``corrected`` for white space, or the sum over ``tokens``;
            - ``n_times`` predicted, of ``n_stories``; ``mean_surprisal`` (nats a word);
            - ``log_likelihood``, ``baseline``: mean log-likelihood of a held-out time (nats), with
              and without surprisal among the predictors; ``gain``: their difference, with its
              bootstrap interval over stories;
            - ``slope``, ``slope_previous``, ``slope_before``: time (ms) a nat of surprisal of the
              word itself, of the word before, of the one before that, on all data;
            - ``loss``: how much of the intact model's gain a lesion takes away (nats), with its
              paired interval; ``p``, ``draws``: rank of the network's loss among those of its
              control ``draws`` of each kind, largest p;
            - ``took_effect``: whether the lesion moved a logit.
        comparisons: one row a network, kind of control and kind of surprisal: ``network_loss``,
            ``control_loss`` (mean over ``draws``), ``difference`` with its interval over stories
            and draws, ``p``.
        stories: one row a lesion, kind of surprisal and story: ``n_times``, ``gain``.
        confidence: of the intervals.
        settings: what was asked for.
        warnings: what a reader of the table should know, in sentences.
        provenance: which model.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    stories: pd.DataFrame
    confidence: float = 0.95
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def __repr__(self) -> str:
        whole = self.table[self.table["kind"] == INTACT]
        gains = ", ".join(
            f"{gain:.4f} nats a time ({name})"
            for name, gain in zip(whole["surprisal"], whole["gain"], strict=True)
        )
        lesions = self.table["network"].replace("", pd.NA).nunique()
        notes = f"; {len(self.warnings)} warnings" if self.warnings else ""
        return f"ReadingStudy(gain {gains}; {lesions} networks lesioned{notes})"

    def _repr_html_(self) -> str:
        rows: list[dict[str, Any]] = []
        ends = []
        keys = ["network", "kind", "surprisal"]
        for (network, kind, surprisal), found in self.table.groupby(keys, sort=False):
            several = len(found) > 1
            rows.append(
                {
                    "network": network,
                    "kind": f"{kind} ({len(found)} draws)" if several else kind,
                    "surprisal": surprisal,
                    "gain": float(found["gain"].mean()),
                    "loss": float(found["loss"].mean()),
                    "p": float(found["p"].iloc[0]),
                    "mean surprisal": float(found["mean_surprisal"].mean()),
                }
            )
            low = found["gain"].min() if several else found["gain_low"].iloc[0]
            high = found["gain"].max() if several else found["gain_high"].iloc[0]
            ends.append((float(low), float(found["gain"].mean()), float(high)))
        caption = "gain, in the order of the table (intervals over stories; draws: their range)"
        notes = (html.Markup(f"<p>{html.escaped(found)}</p>") for found in self.warnings)
        return html.card(
            repr(self),
            html.table(rows),
            html.captioned(html.intervals(ends, label=caption), caption),
            *notes,
        )

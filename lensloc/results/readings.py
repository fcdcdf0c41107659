"""ReadingStudy: how much surprisal tells about reading times, intact and under lesions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.people import Beside, Gained, gained_sentences
from lensloc.errors import noted
from lensloc.units.provenance import Provenance

INTACT = "intact"
NETWORK = "network"
CORRECTED, TOKENS = "corrected", "tokens"
WORDS = {
    CORRECTED: "surprisal corrected for white space",
    TOKENS: "surprisal as a sum over tokens",
}
COLUMNS = (
    *("model", "network", "kind", "seed", "n_units", "surprisal", "n_times", "n_stories"),
    *("mean_surprisal", "log_likelihood", "baseline", "gain", "gain_low", "gain_high"),
    *("slope", "slope_previous", "slope_before"),
    *("loss", "loss_low", "loss_high", "p", "draws", "took_effect"),
)


@dataclass(frozen=True, eq=False)
class ReadingStudy(Savable):
    """What :func:`lensloc.alignment.reading_times` measured.

    Attributes:
        table: one row per lesion and kind of surprisal:

            - ``model``, ``network`` (empty for the intact model), ``kind``: ``intact``,
              ``network`` for a lesion of it, or how its control units were drawn (``seed``);
              ``n_units`` lesioned;
            - ``surprisal``: ``corrected`` for white space, or the sum over ``tokens``;
            - ``n_times`` predicted, of ``n_stories``; ``mean_surprisal`` (nats per word);
            - ``log_likelihood``, ``baseline``: mean log-likelihood of a held-out time (nats), with
              and without surprisal among the predictors; ``gain``: their difference, with its
              bootstrap interval over stories;
            - ``slope``, ``slope_previous``, ``slope_before``: time (ms) a nat of surprisal of the
              word itself, of the word before, of the one before that, on all data;
            - ``loss``: how much of the intact model's gain a lesion takes away (nats), with its
              paired interval; ``p``, ``draws``: rank of the network's loss among those of its
              control ``draws`` of each kind, largest p;
            - ``took_effect``: whether the lesion moved a logit.
        comparisons: one row per network, kind of control and kind of surprisal: ``network_loss``,
            ``control_loss`` (mean over ``draws``), ``difference`` with its interval over stories
            and draws, ``p``.
        words: one row per word: ``story``, ``position``, ``word``, and its ``surprisal`` and
            ``corrected`` surprisal by the intact model.
        stories: one row per lesion, kind of surprisal and story: ``n_times``, ``gain``.
        confidence: of the intervals.
        settings: what was asked for.
        warnings: what a reader of the table should know, in sentences.
        provenance: which model.
        call: the call that made it, as far as that is known.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    stories: pd.DataFrame
    words: pd.DataFrame
    confidence: float = 0.95
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    call: str = ""

    def summary(self) -> list[str]:
        """Say in sentences what surprisal tells, and what lesions take away of that."""
        told: list[str] = []
        for kind, part in self.table.groupby("surprisal", sort=False):
            (whole,) = part[part["kind"] == INTACT].to_dict("records")
            lesions = []
            for row in part[part["kind"] == NETWORK].to_dict("records"):
                chosen = (self.comparisons["network"] == row["network"]) & (
                    self.comparisons["surprisal"] == kind
                )
                beside = [
                    Beside(f"as many control units ({one['control']})", -float(one["control_loss"]),
                           int(one["draws"]), float(one["p"]))
                    for one in self.comparisons[chosen].to_dict("records")
                ]  # fmt: skip
                loss, low, high = (float(row[name]) for name in ("loss", "loss_low", "loss_high"))
                lesions.append((str(row["network"]), loss, low, high, beside))
            gain, low, high = (float(whole[name]) for name in ("gain", "gain_low", "gain_high"))
            told += gained_sentences(Gained(WORDS[str(kind)], gain, low, high, lesions))
        return told

    def __repr__(self) -> str:
        return noted(self._line(), self.warnings)

    def _line(self) -> str:
        whole = self.table[self.table["kind"] == INTACT]
        gains = ", ".join(
            f"{gain:.4f} nats per time ({name})"
            for name, gain in zip(whole["surprisal"], whole["gain"], strict=True)
        )
        lesions = self.table["network"].replace("", pd.NA).nunique()
        return f"ReadingStudy(gain {gains}; {lesions} networks lesioned)"

    def _repr_html_(self) -> str:
        rows = shown_gains(self.table).to_dict("records")
        ends = [(row["gain_low"], row["gain"], row["gain_high"]) for row in rows]
        caption = "gain, in the order of the table (intervals over stories; draws: their range)"
        return markup.card(
            self._line(),
            markup.table([{str(key): value for key, value in row.items()} for row in rows]),
            markup.captioned(markup.intervals(ends, label=caption), caption),
            warnings=self.warnings,
        )


def shown_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to show: controls of one kind as one, with mean and range of their draws."""
    rows: list[dict[str, Any]] = []
    keys = ["surprisal", "network", "kind"]
    for (surprisal, network, kind), found in table.groupby(keys, sort=False):
        several = len(found) > 1
        low = found["gain"].min() if several else found["gain_low"].iloc[0]
        high = found["gain"].max() if several else found["gain_high"].iloc[0]
        rows.append(
            {
                "surprisal": surprisal,
                "network": network,
                "kind": f"{kind} ({len(found)} draws)" if several else kind,
                "gain": float(found["gain"].mean()),
                "gain_low": float(low),
                "gain_high": float(high),
                "loss": float(found["loss"].mean()),
                "p": float(found["p"].iloc[0]) if pd.notna(found["p"].iloc[0]) else float("nan"),
                "mean surprisal": float(found["mean_surprisal"].mean()),
            }
        )
    shown: pd.DataFrame = pd.DataFrame(rows)
    return shown

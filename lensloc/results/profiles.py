"""ResponseProfile: how strongly a set of units responds in every condition."""

from dataclasses import dataclass

import pandas as pd

from lensloc.display import markup
from lensloc.display.savable import Savable
from lensloc.display.sentences.profiles import Sides, profile_sentences
from lensloc.errors import noted

HALVES = "picked and measured on different halves"


@dataclass(frozen=True)
class ResponseProfile(Savable):
    """How strongly a set of units responds in every condition of a contrast.

    Attributes:
        table: one row per condition: number of stimuli; mean ``absolute`` and ``signed`` response
            in activation units and mean ``standardised`` response (absolute or signed, as the units
            were selected; each unit in standard deviations over all stimuli, so that no unit's
            scale dominates), each with the ends of its bootstrap interval (``_low``, ``_high``).
        stimuli: one row per stimulus: condition, row, and the three scores.
        cross_validated: whether units were picked on one half and measured on the other.
        n_units: how many units.
        site: where they are.
        confidence: of the intervals.
        how: which units were measured, and on which stimuli, in words.
        held_out: whether none of the stimuli that were measured had selected the units.
        sides: means of the contrast's two sides and their difference, standardised; None if they
            were not compared.
        signed: whether units were selected by signed responses, which are then standardised.
        warnings: what a reader of the profile should know, in sentences.
        contrast: name of the contrast.
        model: name of the model.
    """

    table: pd.DataFrame
    stimuli: pd.DataFrame
    cross_validated: bool
    n_units: int
    site: str
    confidence: float
    how: str = ""
    held_out: bool = False
    sides: Sides | None = None
    signed: bool = False
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.how:
            object.__setattr__(self, "how", HALVES if self.cross_validated else "given units")

    def summary(self) -> list[str]:
        """Say whether the units respond more to the target, and in which order conditions stand."""
        if self.sides is None:
            return []
        means = dict(
            zip(self.table["condition"], self.table["standardised"].astype(float), strict=True)
        )
        return profile_sentences(self.sides, means, held_out=self.held_out, signed=self.signed)

    def __repr__(self) -> str:
        order = ", ".join(
            f"{row.condition} {row.standardised:+.2f}" for row in self.table.itertuples(index=False)
        )
        what = f"{self.n_units} units at {self.site}, {self.how}"
        return noted(f"ResponseProfile({what}; standardised: {order})", self.warnings)

    contrast: str = ""
    model: str = ""

    def _repr_html_(self) -> str:
        found = self.table.to_dict("records")
        rows = [
            {
                "condition": row["condition"],
                "stimuli": int(row["stimuli"]),
                "absolute": float(row["absolute"]),
                "standardised": float(row["standardised"]),
                "signed": float(row["signed"]),
            }
            for row in found
        ]
        ends = [
            (row["standardised_low"], row["standardised"], row["standardised_high"])
            for row in found
        ]
        caption = f"standardised response, in the order of the table, {100 * self.confidence:g} %"
        return markup.card(
            f"Response of {self.n_units:,} units at {self.site} ({self.how})",
            markup.table(rows),
            markup.captioned(markup.intervals(ends, label=caption), caption),
            markup.paragraphs(self.summary()),
            warnings=self.warnings,
        )

"""ResponseProfile: how strongly a set of units responds in every condition."""

from dataclasses import dataclass

import pandas as pd

from lensloc import html

HALVES = "picked and measured on different halves"


@dataclass(frozen=True)
class ResponseProfile:
    """How strongly a set of units responds in every condition of a contrast.

    Attributes:
        table: one row a condition: number of stimuli; mean ``absolute`` and ``signed`` response in
            activation units and mean ``standardised`` response (absolute responses, each unit in
            standard deviations over all stimuli, so that no unit's scale dominates), each with the
            ends of its bootstrap interval (``_low``, ``_high``).
        stimuli: one row a stimulus: condition, row, and the three scores.
        cross_validated: whether units were picked on one half and measured on the other.
        n_units: how many units.
        site: where they are.
        confidence: of the intervals.
        how: which units were measured, and on which stimuli, in words.
        held_out: whether none of the stimuli that were measured had selected the units.
        warnings: what a reader should know, in sentences.
    """

    table: pd.DataFrame
    stimuli: pd.DataFrame
    cross_validated: bool
    n_units: int
    site: str
    confidence: float
    how: str = ""
    held_out: bool = False
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.how:
            object.__setattr__(self, "how", HALVES if self.cross_validated else "given units")

    def __repr__(self) -> str:
        order = ", ".join(
            f"{row.condition} {row.standardised:+.2f}" for row in self.table.itertuples(index=False)
        )
        told = "".join(f"\nNote: {sentence}" for sentence in self.warnings)
        return (
            f"ResponseProfile({self.n_units} units at {self.site}, {self.how}; standardised: "
            f"{order}){told}"
        )

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
        return html.card(
            f"Response of {self.n_units:,} units at {self.site} ({self.how})",
            html.table(rows),
            html.captioned(html.intervals(ends, label=caption), caption),
            *(html.Markup(f"<p>{html.escaped(sentence)}</p>") for sentence in self.warnings),
        )

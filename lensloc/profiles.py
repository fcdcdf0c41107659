"""ResponseProfile: how strongly a set of units responds in every condition."""

from dataclasses import dataclass

import pandas as pd

from lensloc import html


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
        contrast: name of the contrast.
        model: name of the model.
    """

    table: pd.DataFrame
    stimuli: pd.DataFrame
    cross_validated: bool
    n_units: int
    site: str
    confidence: float
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
        how = "picked and measured on different halves" if self.cross_validated else "given units"
        caption = f"standardised response, in the order of the table, {100 * self.confidence:g} %"
        return html.card(
            f"Response of {self.n_units:,} units at {self.site} ({how})",
            html.table(rows),
            html.captioned(html.intervals(ends, label=caption), caption),
        )

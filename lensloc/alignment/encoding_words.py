"""What the tables of an encoding say, in sentences."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lensloc.alignment.baselines import PASSAGE
from lensloc.alignment.splits import Folds
from lensloc.alignment.timecourse import Design
from lensloc.results.encodings import BASELINE, CONTROL, NETWORK, UNTRAINED

_FEW_PASSAGES = 5
_LEVEL = 0.05
_ENOUGH = 19  # draws, of which none reaches the network, give p = 0.05


def sentences(
    design: Design,
    folds: Folds,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    n_constant: int,
) -> tuple[str, ...]:
    """Return what a reader of the tables should know."""
    networks = table[table["kind"] == NETWORK]
    return (
        *_of_data(design, folds, n_constant),
        *_of_leaks(table),
        *(sentence for row in comparisons.to_dict("records") for sentence in _compared(row)),
        *(sentence for row in networks.to_dict("records") for sentence in _unique(row)),
    )


def _of_data(design: Design, folds: Folds, n_constant: int) -> Iterator[str]:
    if folds.split == "shuffled":
        yield (
            "The split is shuffled: samples are predicted from their neighbours in the same "
            "passage, so whatever is alike within a passage passes for prediction; no score here "
            "is evidence of language."
        )
    elif len(folds.names) == len(folds.labels):
        yield (
            "Every passage is a single sample, so nothing but samples is held out; if samples "
            "belong together (a topic, a run, a session), say so in a column group."
        )
    if len(folds.names) < _FEW_PASSAGES:
        yield (
            f"There are only {len(folds.names)} passages, too few for an interval over passages to "
            "mean much."
        )
    if design.n_outside:
        yield (
            f"{design.n_outside} of {len(design.stimuli)} stimuli began before the first or after "
            "the last sample of their run and were left out of the time series."
        )
    if n_constant:
        yield (
            f"{n_constant} times a response was constant within a fold; such folds are left out of "
            "its r."
        )
    ceilings = design.responses.ceilings
    if ceilings is not None:
        low = int((~np.isfinite(ceilings) | (ceilings <= 0)).sum())
        if low:
            yield (
                f"{low} of {len(ceilings)} responses have no ceiling above 0 and are left out of "
                "normalised scores."
            )


def _of_leaks(table: pd.DataFrame) -> Iterator[str]:
    """Say when what tells passages apart predicts, which it can in no passage that is held out."""
    baseline = table[(table["kind"] == BASELINE) & (table["name"] == PASSAGE)]
    for row in baseline.to_dict("records"):
        if _number(row["r_low"]) > 0:
            yield (
                f"Which passage a sample is from, and where in it, predicts r {row['r']:.3f} by "
                "itself: this split leaks, and every score here may be due to it."
            )


def _compared(row: Mapping[Hashable, Any]) -> Iterator[str]:
    """Say what one comparison of r shows, where it speaks against the network."""
    name, kind, against = row["network"], row["kind"], row["against"]
    own, other = _number(row["network_r"]), _number(row["other_r"])
    if not np.isfinite(own) or not np.isfinite(other):
        return
    figures = f"r {own:.3f} against {other:.3f}"
    if kind == CONTROL:
        p = _number(row["p"])
        draws = int(_number(row["draws"]))
        least = 1 / (1 + draws)
        if p > _LEVEL and np.isclose(p, least):
            yield (
                f"{name} predicts better than all {draws} draws of as many control units "
                f"({against}): {figures}; but {draws} draws cannot give a p below {least:.2f}, so "
                f"take at least {_ENOUGH}."
            )
        elif p > _LEVEL:
            yield (
                f"{name} does not predict better than as many control units ({against}): "
                f"{figures}, p = {p:.2f} over {draws} draws."
            )
    elif other >= own:
        if against == PASSAGE and kind == BASELINE:
            yield (
                f"{name} predicts no better than which passage a sample is from and where in it "
                f"({figures})."
            )
        elif kind == UNTRAINED:
            yield f"{name} predicts no better than the same units untrained ({figures})."
        else:
            yield f"{name} predicts no better than the baseline {against!r} ({figures})."


def _unique(row: Mapping[Hashable, Any]) -> Iterator[str]:
    unique, low = _number(row["unique"]), _number(row["unique_low"])
    if np.isfinite(unique) and np.isfinite(low) and low <= 0:
        yield (
            f"What {row['network']} explains beyond the baselines cannot be told from nothing "
            f"(R2 {unique:+.4f}, interval from {low:+.4f} to {_number(row['unique_high']):+.4f})."
        )


def _number(value: Any) -> float:
    return float(value)

"""Rows of a table of lesions -> cases, of which :mod:`lensloc.display.sentences.lesions` speaks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lensloc.display.sentences.lesions import (
    Beside,
    Change,
    control_name,
    lesion_notes,
    lesion_sentences,
)

NETWORK = "network"
PLACE = ("model", "network", "mode", "percent", "task")

Case = tuple[Change, list[Beside]]


def cases_of(table: pd.DataFrame, percent: float | None = None) -> list[Case]:
    """Return every lesion of a network with its controls.

    Args:
        table: as :class:`~lensloc.results.lesions.LesionStudy` has it.
        percent: only the lesion of each network and mode whose size is nearest to this.
    """
    networks = table[table["kind"] == NETWORK]
    if percent is not None:
        networks = _nearest(networks, percent)
    controls = table[table["kind"] != NETWORK]
    several = table["model"].nunique() > 1
    cases = []
    for row in networks.to_dict("records"):
        same = pd.Series(True, index=controls.index)
        for name in PLACE:
            same &= controls[name] == row[name]
        mine = controls[same]
        beside = [_beside(str(kind), found) for kind, found in mine.groupby("kind", sort=False)]
        cases.append((_change({str(k): v for k, v in row.items()}, several), beside))
    return cases


def lesion_summary(table: pd.DataFrame, percent: float | None = None) -> list[str]:
    """Say what every lesion of a network does to every task, at one size of each network.

    Args:
        table: as :class:`~lensloc.results.lesions.LesionStudy` has it.
        percent: the size; of each network the nearest one that it has; 1 if None.
    """
    return [
        sentence
        for change, beside in cases_of(table, 1.0 if percent is None else percent)
        for sentence in lesion_sentences(change, beside)
    ]


def lesion_warnings(table: pd.DataFrame) -> list[str]:
    """Say which lesions took no effect, and what to mind in the others, at all sizes."""
    return [*idle_lesions(table), *lesion_notes(cases_of(table))]


def idle_lesions(table: pd.DataFrame) -> list[str]:
    """Say which lesions took no effect."""
    columns = ["network", "mode", "percent", "kind", "seed"]
    idle = table[~table["took_effect"].astype(bool)].drop_duplicates(columns)
    return [
        f"The lesion of {row.network} ({row.mode}, {row.percent:g} %, {row.kind}) took no effect: "
        "its hooks did not fire, changed nothing, or moved no logit."
        for row in idle.itertuples()
    ]


def _nearest(networks: pd.DataFrame, percent: float) -> pd.DataFrame:
    """Keep of every network the size that is nearest, since networks differ in their sizes."""
    parts: Iterator[pd.DataFrame] = (
        found[found["percent"] == min(set(found["percent"]), key=lambda size: abs(size - percent))]
        for _, found in networks.groupby(["model", "network", "mode"], sort=False)
    )
    kept: pd.DataFrame = pd.concat([networks.iloc[:0], *parts])
    return kept


def _change(row: dict[str, Any], several: bool) -> Change:
    name = str(row["network"])
    return Change(
        network=f"{name} of {row['model']}" if several else name,
        percent=float(row["percent"]),
        n_units=0 if pd.isna(row["n_units"]) else int(row["n_units"]),
        mode=str(row["mode"]),
        task=str(row["task"]),
        measure=str(row["measure"]),
        intact=float(row["intact"]),
        score=float(row["score"]),
        drop=float(row["drop"]),
        low=float(row["drop_low"]),
        high=float(row["drop_high"]),
        n_items=0 if pd.isna(row["n_items"]) else int(row["n_items"]),
        chance=float(row["chance"]),
        site="" if pd.isna(row["site"]) else str(row["site"]),
        took_effect=bool(row["took_effect"]),
    )


def _beside(kind: str, rows: pd.DataFrame) -> Beside:
    drops = rows["drop"].to_numpy(dtype=float)
    finite = np.isfinite(drops)
    first = rows.iloc[0]
    return Beside(
        control=control_name(kind),
        draws=len(rows),
        drop=float(drops[finite].mean()) if finite.any() else float("nan"),
        difference=float(first["difference"]),
        low=float(first["difference_low"]),
        high=float(first["difference_high"]),
        missing=int((~finite).sum()),
        idle=int((~rows["took_effect"].astype(bool)).sum()),
    )

"""Rows of a table of lesions -> cases, of which :mod:`lensloc.display.sentences.lesions` speaks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lensloc.display.sentences.control_draws import Match, draw_notes
from lensloc.display.sentences.lesions import (
    Beside,
    Change,
    control_name,
    lesion_notes,
    lesion_sentences,
)

NETWORK = "network"
_SET = ["model", "network", "percent"]
PLACE = ("model", "network", "mode", "percent", "task")

Case = tuple[Change, list[Beside]]


def cases_of(
    table: pd.DataFrame, percent: float | None = None, confidence: float = 0.95
) -> list[Case]:
    """Return every lesion of a network with its controls.

    Args:
        table: as :class:`~lensloc.results.lesions.LesionStudy` has it.
        percent: only the lesion of each network and mode whose size is nearest to this.
        confidence: of the test over draws.
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
        by_kind = mine.groupby("kind", sort=False)
        beside = [_beside(str(kind), found, confidence) for kind, found in by_kind]
        cases.append((_change({str(k): v for k, v in row.items()}, several), beside))
    return cases


def lesion_summary(
    table: pd.DataFrame, percent: float | None = None, confidence: float = 0.95
) -> list[str]:
    """Say what every lesion of a network does to every task, at one size of each network.

    Args:
        table: as :class:`~lensloc.results.lesions.LesionStudy` has it.
        percent: the size; of each network the nearest one that it has; 1 if None.
        confidence: of the test over draws.
    """
    return [
        sentence
        for change, beside in cases_of(table, 1.0 if percent is None else percent, confidence)
        for sentence in lesion_sentences(change, beside)
    ]


def lesion_warnings(table: pd.DataFrame, confidence: float = 0.95) -> list[str]:
    """Say which lesions took no effect, and what to mind in the others, at all sizes."""
    return [
        *idle_lesions(table),
        *lesion_notes(cases_of(table, confidence=confidence)),
        *draw_notes(matches_of(table), confidence),
    ]


def matches_of(table: pd.DataFrame) -> list[Match]:
    """Return how well every kind of control matches its network, at every size."""
    found = []
    networks = table[table["kind"] == NETWORK].drop_duplicates(_SET).set_index(_SET)
    controls = table[table["kind"] != NETWORK].drop_duplicates([*_SET, "kind", "seed"])
    fewest = table.groupby([*_SET, "kind"])["min_p"].min()
    for key, drawn in controls.groupby([*_SET, "kind"], sort=False):
        *place, kind = key
        if tuple(place) not in networks.index:
            continue
        own = networks.loc[tuple(place)]
        known = drawn["smd"].notna() & drawn["n_outliers"].notna()
        first = drawn.iloc[0]
        found.append(
            Match(
                network=str(place[1]),
                control=str(kind),
                percent=float(place[2]),
                draws=len(drawn),
                drawn=not pd.isna(first["seed"]),
                smd=float(drawn.loc[known, "smd"].mean()) if known.any() else float("nan"),
                n_units=(int(own["n_units"]), int(first["n_units"])) if known.any() else (0, 0),
                outliers=(float(own["n_outliers"]), float(drawn.loc[known, "n_outliers"].mean()))
                if known.any()
                else (float("nan"), float("nan")),
                alike=float(first["alike"]),
                shared=_mean_or_nan(drawn["dimensions_shared"]),
                min_p=_number(fewest.loc[key]),
                layers_apart=float(drawn["layers_apart"].mean()),
                log_magnitude=(float(own["log_magnitude"]), float(drawn["log_magnitude"].mean())),
            )
        )
    return found


def balance_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network, size and kind of control; see :class:`LesionStudy`."""
    rows = [
        {
            "network": found.network,
            "percent": found.percent,
            "kind": found.control,
            "draws": found.draws,
            "log_magnitude_network": found.log_magnitude[0],
            "log_magnitude_control": found.log_magnitude[1],
            "smd": found.smd,
            "outliers_network": found.outliers[0],
            "outliers_control": found.outliers[1],
            "layers_apart": found.layers_apart,
            "dimensions_shared": found.shared,
            "alike": found.alike,
            "poor": found.poor,
        }
        for found in matches_of(table)
    ]
    made: pd.DataFrame = pd.DataFrame(rows)
    return made


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


def _beside(kind: str, rows: pd.DataFrame, confidence: float) -> Beside:
    drops = rows["drop"].to_numpy(dtype=float)
    finite = np.isfinite(drops)
    first = rows.iloc[0]
    mean = float(drops[finite].mean()) if finite.any() else float("nan")
    compared = _number(first["control_drop"])
    return Beside(
        control=control_name(kind),
        draws=len(rows),
        drop=mean if np.isnan(compared) else compared,
        difference=float(first["difference"]),
        low=float(first["difference_low"]),
        high=float(first["difference_high"]),
        missing=int((~finite).sum()),
        idle=int((~rows["took_effect"].astype(bool)).sum()),
        drawn=not pd.isna(first["seed"]),
        p_more=_number(first["p_more"]),
        p_less=_number(first["p_less"]),
        min_p=_number(first["min_p"]),
        level=1 - confidence,
        n_items=0 if pd.isna(first["n_compared"]) else int(first["n_compared"]),
        shared=_mean_or_nan(rows["dimensions_shared"]),
    )


def _number(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _mean_or_nan(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.astype(float).mean()) if len(known) else float("nan")

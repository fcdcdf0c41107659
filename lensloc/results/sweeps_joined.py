"""Sweeps of several plans or stores as one, in which every cell counts once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lensloc.errors import LensLocError
from lensloc.results.joining import rows_joined

Tables = dict[str, pd.DataFrame]
"""The tables of a sweep by their names."""

_STATES = ("done", "failed", "waiting")  # the best first
_OF_MODEL = ("n_layers", "width", "n_parameters")
_PLACE = ("model", "contrast", "site", "protocol")
# Kind of cell -> the columns by which its rows are known, the tables that they stand in, and
# what a row of each is, with what else tells it apart.
_ROWS: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[str, tuple[str, ...]]]]] = {
    "localize": (
        _PLACE,
        {"localizations": ("localization", ()), "layers": ("layer", ("layer",))},
    ),
    "lesion": (
        (*_PLACE, "lesion"),
        {"lesions": ("lesion", ("percent", "task", "kind"))},
    ),
    "specificity": (
        ("model", "site", "protocol"),
        {
            "specificity": ("specificity", ("kind", "network")),
            "shares": ("specificity", ("kind", "network", "task")),
        },
    ),
}


def joined_tables(several: Sequence[Tables]) -> Tables:
    """Return the tables of several sweeps as one each.

    A cell that several hold counts once: as it was done first, or else as it failed.

    Args:
        several: of every sweep ``cells``, ``localizations``, ``layers``, ``lesions``,
            ``specificity``, ``shares`` and ``published``.

    Raises:
        LensLocError: a sweep that adds nothing; two cells that are not the same, of one place.
    """
    known: set[tuple[Any, ...]] = set()
    parts: list[Tables] = []
    for number, tables in enumerate(several):
        done = _keys(tables["cells"][tables["cells"]["state"] == "done"])
        if number and done and done <= known:
            raise LensLocError(
                "One of the sweeps holds no cell that the others lack, and would count twice; "
                "leave it out, or tell the two apart by names: "
                "ll.concat({'first': a, 'second': b})."
            )
        parts.append(_without(tables, done & known))
        known |= done
    found = {
        name: rows_joined(
            _filled([part[name] for part in parts]), [*place, *more], what, named=True
        )
        for place, tables_ in _ROWS.values()
        for name, (what, more) in tables_.items()
    }
    found["cells"] = _best([tables["cells"] for tables in several])
    found["published"] = _published([tables["published"] for tables in several])
    return found


def _keys(cells: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Return what tells cells apart: name, kind, and where they are."""
    columns = ["cell", "kind", *_PLACE, "lesion"]
    rows = cells.reindex(columns=columns).dropna(subset=["cell", "kind"])
    return set(rows.astype(object).itertuples(index=False, name=None))


def _without(tables: Tables, cells: set[tuple[Any, ...]]) -> Tables:
    """Return tables without the rows of some cells."""
    found = dict(tables)
    columns = ("cell", "kind", *_PLACE, "lesion")
    left_out = pd.DataFrame(list(cells), columns=list(columns))
    for kind, (place, names) in _ROWS.items():
        gone = left_out[left_out["kind"] == kind]
        places = set(gone[list(place)].astype(object).itertuples(index=False, name=None))
        for name in names:
            rows = tables[name].reindex(columns=list(place)).astype(object)
            keep = [row not in places for row in rows.itertuples(index=False, name=None)]
            found[name] = tables[name].loc[keep]
    return found


def _filled(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Leave out tables without a row, which would change the others' types; but not all."""
    return [table for table in tables if len(table)] or list(tables[:1])


def _best(cells: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return every cell once, in the order in which it comes first, as it is furthest."""
    table = pd.concat(_filled(cells), ignore_index=True)
    if "cell" not in table:
        return table
    rank = table["state"].map({state: n for n, state in enumerate(_STATES)})
    best = table.assign(_rank=rank, _at=range(len(table)))
    named = best["cell"].notna()
    by = [name for name in ("cell", "model") if name in table]
    first = best[named].groupby(by, sort=False)["_at"].transform("min")
    chosen = best[named].assign(_at=first).sort_values(["_at", "_rank"], kind="stable")
    every = pd.concat([chosen.drop_duplicates(by), best[~named]]).sort_values("_at", kind="stable")
    found: pd.DataFrame = every[list(table.columns)].reset_index(drop=True)
    return found


def _published(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return every published number once beside a measured one, or once beside nothing."""
    table: pd.DataFrame = pd.concat(_filled(tables), ignore_index=True)
    if table.empty:
        return table
    found = table.drop_duplicates()
    sizes = found["quantity"].isin(_OF_MODEL)
    again = found.duplicated(["model", "quantity", "published", "source", "measured"])
    found = found[~(sizes & again)]
    measured = found[found["measured"].notna()]
    rows = found.to_dict("records")
    keep = [not pd.isna(row["measured"]) or not _is_measured(row, measured) for row in rows]
    kept: pd.DataFrame = found[keep].reset_index(drop=True)
    return kept


def _is_measured(row: Mapping[Any, Any], measured: pd.DataFrame) -> bool:
    """Say whether a published number stands beside a measured one already."""
    same = pd.Series(True, index=measured.index)
    for name in ("quantity", "published", "source", "contrast", "site", "task", "percent"):
        of_model = name in ("contrast", "site", "task", "percent")
        if of_model and (pd.isna(row[name]) or row["quantity"] in _OF_MODEL):
            continue  # said of no one place
        same &= measured[name] == row[name]
    model = measured["model"].map(lambda name: str(name).split("@")[0])
    return bool((same & (model == str(row["model"]).split("@")[0])).any())

"""Tables of several results as one, in which nothing counts twice."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lensloc.errors import LensLocError


def rows_joined(
    tables: Sequence[pd.DataFrame], keys: Sequence[str], what: str, *, named: bool = False
) -> pd.DataFrame:
    """Return the rows of tables below each other.

    Args:
        tables: of results of one kind.
        keys: the columns by which a row is known.
        what: a row in words.
        named: whether results of this kind can be joined by names; their tables always can.

    Raises:
        LensLocError: if two tables hold a row of the same.
    """
    known = [table for table in tables if len(table.columns)]
    if not known:
        empty: pd.DataFrame = pd.DataFrame()
        return empty
    table: pd.DataFrame = pd.concat(known, ignore_index=True)
    by = [name for name in keys if name in table]
    twice = table[by].astype(object).where(table[by].notna(), None).duplicated()
    if by and twice.any():
        row = table.loc[twice, by].iloc[0]
        told = ", ".join(f"{name} {row[name]}" for name in by if not pd.isna(row[name]))
        apart = "{'first': a, 'second': b}" if named else "{'first': a.table, 'second': b.table}"
        raise LensLocError(
            f"Two of the results hold the {what} of {told}, which would count twice; leave one "
            f"out, or tell {'the two' if named else 'their tables'} apart by names: "
            f"ll.concat({apart})."
        )
    return table


def same_in_all(results: Sequence[Any], *names: str) -> None:
    """Check that what results are told with is one for all.

    Raises:
        LensLocError: naming what differs.
    """
    for name in names:
        first = getattr(results[0], name)
        other = next((v for each in results if (v := getattr(each, name)) != first), first)
        if other is not first:
            words = f"{first} and {other}"
            raise LensLocError(
                f"The results differ in {name} ({words}), so that one table cannot say it; make "
                "them alike."
            )


def warnings_of(results: Sequence[Any]) -> tuple[str, ...]:
    """Return the warnings of all, each once."""
    return tuple(dict.fromkeys(sentence for each in results for sentence in each.warnings))


def told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose networks are called by their models too, where there are several."""
    if "model" not in table or table["model"].nunique() < 2:
        return table
    names = table["network"].astype(str) + " (" + table["model"].astype(str) + ")"
    told: pd.DataFrame = table.assign(network=names)
    return told

"""Tables of data, from files or from memory: columns checked, cells named when they are wrong."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from lensloc.errors import LensLocError

Table = pd.DataFrame | str | Path
_SUFFIXES = (".csv", ".tsv", ".parquet")


def read_table(given: Table, what: str) -> tuple[pd.DataFrame, str]:
    """Return a table and what to call it.

    Cells of ``.csv`` and ``.tsv`` files come as text, as they stand there: ``null`` and ``NA`` are
    words like others.

    Args:
        given: a table, or a ``.csv``, ``.tsv`` or ``.parquet`` file.
        what: what it holds, for error messages.

    Raises:
        LensLocError: a file that is missing, unreadable, or of another kind; an empty table.
    """
    if isinstance(given, pd.DataFrame):
        table, name = given.reset_index(drop=True), f"the table of {what}"
    else:
        path = Path(given)
        table, name = _read(path, what), str(path)
    table.columns = [str(column) for column in table.columns]
    doubled = table.columns[table.columns.duplicated()]
    if len(doubled):
        raise LensLocError(f"{name} has two columns {doubled[0]!r}; name them apart.")
    if table.empty:
        raise LensLocError(f"{name} has no rows; give at least one.")
    return table, name


def _read(path: Path, what: str) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise LensLocError(
            f"{path} must end in {', '.join(_SUFFIXES)} to be read as a table of {what}."
        )
    if not path.is_file():
        raise LensLocError(f"There is no file {path} of {what}; check the path.")
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(
            path,
            sep="\t" if suffix == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=True,
        )
    except UnicodeDecodeError as error:
        raise LensLocError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(f"{path} cannot be read as a table of {what} ({line}).") from error


def require_columns(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Check that columns are there.

    Raises:
        LensLocError: naming the first that is not.
    """
    for column in columns:
        if column not in table.columns:
            present = ", ".join(map(str, table.columns))
            raise LensLocError(f"{name} lacks the column {column!r}; its columns are {present}.")


def texts_of(table: pd.DataFrame, column: str, name: str) -> list[str]:
    """Return a column of texts.

    Raises:
        LensLocError: naming the first row that has none.
    """
    require_columns(table, [column], name)
    found = []
    for row, value in enumerate(table[column]):
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            value = ""
        text = _whole(value)
        if not text.strip():
            raise LensLocError(
                f"{place(name, row)}: {column} is empty; fill it, or remove the row."
            )
        found.append(text)
    return found


def _whole(value: object) -> str:
    """Return a cell as text; a label that became 3.0 because a neighbour was missing is 3."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def numbers_of(
    table: pd.DataFrame, columns: Sequence[str], name: str, *, missing: bool = False
) -> Float[np.ndarray, "row column"]:
    """Return columns of numbers, float64.

    Args:
        table: the table.
        columns: which columns.
        name: of the table, in error messages.
        missing: whether empty cells are allowed; they become NaN.

    Raises:
        LensLocError: naming the first cell that is no number.
    """
    require_columns(table, columns, name)
    values = np.empty((len(table), len(columns)), dtype=np.float64)
    for at, column in enumerate(columns):
        cells = table[column]
        found = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if pd.api.types.is_numeric_dtype(cells):
            empty = np.isnan(found)
        else:
            empty = np.array([_is_empty(cell) for cell in cells], dtype=bool)
        wrong = ~np.isfinite(found) & ~(empty & missing)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            shown = "is empty" if empty[row] else f"is {str(cells.iloc[row])!r}, not a number"
            raise LensLocError(
                f"{place(name, row)}: {column} {shown}; fill it, or leave the row or column out."
            )
        values[:, at] = found
    return values


def _is_empty(cell: object) -> bool:
    if cell is None or cell is pd.NA:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def place(name: str, row: int) -> str:
    """Return how a row is called in a message: in a file, the header is row 1."""
    return f"{name}, row {row + 1 if name.startswith('the table') else row + 2}"

"""Tables of data, from files or from memory: columns checked, cells named when they are wrong.

Files are read as whole tables, since responses may have thousands of columns; what is in them is
decided as :mod:`lensloc.contrasts.readers` does, row by row.
"""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from lensloc.contrasts.columns import TABLE_KINDS, TableForm, enumerated
from lensloc.contrasts.lines import kind_of, read_text, remedy_of, split_lines
from lensloc.contrasts.readers import read_records, rows_of_cells
from lensloc.display.places import is_file, path_of
from lensloc.errors import LensLocError

Table = pd.DataFrame | str | Path
_DECIMAL_COMMA = re.compile(r"^\s*[-+]?\d*,?\d+([eE][-+]?\d+)?\s*$")


def read_table(
    given: Table,
    what: str,
    known: Sequence[str] = (),
    *,
    sep: str | None = None,
    encoding: str | None = None,
) -> tuple[pd.DataFrame, str]:
    """Return a table and what to call it.

    Cells of ``.csv`` and ``.tsv`` files come as text, as they stand there: ``null`` and ``NA`` are
    words like others. Where semicolons separate cells, a comma may be decimal.

    Args:
        given: a table, or a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file; all but the last
            may be compressed.
        what: what it holds, for error messages.
        known: columns that are asked for; they are found in capital letters, too.
        sep: what separates cells of a ``.csv``; found out if None.
        encoding: of files of text; what a byte order mark says, and UTF-8 without one, if None.

    Raises:
        LensLocError: a file that is missing, unreadable, or of another kind; an empty table.
    """
    form = TableForm.of(None, sep, encoding)
    if isinstance(given, pd.DataFrame):
        form.require_unsaid("a table in memory")
        table, name = given.reset_index(drop=True), f"the table of {what}"
    elif isinstance(given, str | Path):
        path = path_of(given)
        table, name = _read(path, what, form, known), str(path)
    else:
        raise LensLocError(
            f"A table of {what} is a DataFrame, or a file that ends in {', '.join(TABLE_KINDS)}; "
            f"something of type {type(given).__name__} is neither."
        )
    titles = [str(column) for column in table.columns]
    for title, place_of in form.places(titles, (), known, where=name).items():
        titles[place_of] = title
    table = table.set_axis(titles, axis=1)
    doubled = table.columns[table.columns.duplicated()]
    if len(doubled):
        raise LensLocError(f"{name} has two columns {doubled[0]!r}; name them apart.")
    if table.empty:
        raise LensLocError(f"{name} has no rows; give at least one.")
    return table, name


def _read(path: Path, what: str, form: TableForm, known: Sequence[str]) -> pd.DataFrame:
    kind = kind_of(path)
    if kind not in TABLE_KINDS:
        raise LensLocError(
            f"{path} must end in {', '.join(TABLE_KINDS)} to be read as a table of {what}"
            f"{remedy_of(path)}."
        )
    if not is_file(path):
        raise LensLocError(f"There is no file {path} of {what}; check the path.")
    form.require_fits(path)
    read: pd.DataFrame
    try:
        if kind == ".parquet":
            read = pd.read_parquet(path)
            return read
        if kind == ".jsonl":
            read = pd.DataFrame([record for _, record in read_records(path, (), form=form)])
            return read
        text = read_text(path, form.encoding)
        header = "".join(split_lines(text)[:1])
        if header.lower().startswith("sep=") and len(header) == len("sep=;"):
            raise LensLocError(
                f"{path}, row 1: {header!r} is no header but a note for spreadsheets; remove it."
            )
        separator, _ = form.separator(header, (), kind, known)
        _require_whole_rows(text, separator, path)
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,  # pandas would name columns apart that have one name
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # so that rows have their numbers
        )
    except LensLocError:
        raise
    except (OSError, ValueError) as error:  # pandas' own errors, and pyarrow's, are ValueErrors
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(f"{path} cannot be read as a table of {what} ({line}).") from error
    return _without_header(table, path, decimal_comma=separator == ";")


def _require_whole_rows(text: str, separator: str, path: Path) -> None:
    """Check that no row lacks cells: one that is empty is there, as it is not in a cut-off file.

    Raises:
        LensLocError: naming the row.
    """
    wanted = None
    for number, cells in enumerate(rows_of_cells(text, separator), start=1):
        wanted = len(cells) if wanted is None else wanted
        if 0 < len(cells) < wanted and any(cells):
            raise LensLocError(
                f"{path}, row {number}: has {len(cells)} cells, and the header {wanted}; complete "
                "it, since the file may have been cut off."
            )


def _without_header(table: pd.DataFrame, path: Path, *, decimal_comma: bool) -> pd.DataFrame:
    """Take the first row as names of columns, and drop blank rows at the end."""
    blank = (table.isna() | (table == "")).all(axis=1).to_numpy()
    last = int(np.flatnonzero(~blank)[-1]) if (~blank).any() else 0
    if blank[:last].any() and table.shape[1] > 1:
        raise LensLocError(f"{path}, row {int(blank.argmax()) + 1}: the row is blank; remove it.")
    body = table.iloc[1 : last + 1].fillna("").reset_index(drop=True)
    for column in body.columns if decimal_comma else ():
        cells = body[column]
        if cells.str.contains(",").any() and cells.map(_is_decimal).all():
            body[column] = cells.str.replace(",", ".")
    named: pd.DataFrame = body.set_axis([str(title).strip() for title in table.iloc[0]], axis=1)
    return named


def _is_decimal(cell: str) -> bool:
    return not cell.strip() or _DECIMAL_COMMA.match(cell) is not None


def require_columns(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Check that columns are there.

    Raises:
        LensLocError: naming the first that is not.
    """
    for column in columns:
        if column not in table.columns:
            present = enumerated(list(table.columns))
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
    """Return how a row is called in a message: where a file has a header, that is row 1."""
    has_header = kind_of(Path(name)) in (".csv", ".tsv")
    return f"{name}, row {row + 2 if has_header else row + 1}"

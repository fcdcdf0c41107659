"""Tables for elsewhere: CSV that a spreadsheet takes for what it is, and LaTeX."""

import csv
import io
from typing import TYPE_CHECKING, Any

from lensloc.display.spreadsheets import as_cell

if TYPE_CHECKING:
    import pandas as pd

_LONG = 1e15  # above that a float does not hold all its digits


def csv_of(table: "pd.DataFrame") -> str:
    """Return a table as CSV; texts that look like formulas get an apostrophe in front.

    Numbers stay numbers, and what is missing stays empty.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([as_cell(str(name)) for name in table.columns])
    for row in table.itertuples(index=False):
        writer.writerow(["" if is_missing(value) else as_cell(value) for value in row])
    return buffer.getvalue()


def latex_of(table: "pd.DataFrame", digits: int) -> str:
    """Return a table as LaTeX for the package booktabs; what is missing is a dash.

    Args:
        table: what is written; its signs are escaped.
        digits: of numbers that are not whole.
    """
    shown = table.map(lambda value: _shown(value, digits))
    shown.columns = [str(name) for name in table.columns]
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    sides = "".join(
        "r" if is_numeric_dtype(dtype) and not is_bool_dtype(dtype) else "l"
        for dtype in table.dtypes
    )
    text: str = shown.to_latex(index=False, escape=True, column_format=sides)
    return text


def is_missing(value: Any) -> bool:
    """Say whether a cell holds nothing: None, NaN or NA."""
    import pandas as pd

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _shown(value: Any, digits: int) -> str:
    if is_missing(value):
        return "--"
    if isinstance(value, float):
        whole = value.is_integer()
        return (
            f"{value:g}" if whole and abs(value) >= _LONG else f"{value:.{0 if whole else digits}f}"
        )
    return str(value)

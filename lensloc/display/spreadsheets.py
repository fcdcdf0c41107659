"""Cells that a spreadsheet takes for what they are, and not for formulas that it runs."""

import re
from typing import Any

_FORMULA = re.compile(r"^[=+\-@\t\r]")


def as_cell(value: Any) -> Any:
    """Return a cell; a text that begins as a formula does gets an apostrophe in front.

    Example:
        >>> as_cell("=1+1"), as_cell("one"), as_cell(-1.5)
        ("'=1+1", 'one', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value

"""Tables that a page lets one download, as CSV that a spreadsheet takes for what it is."""

import base64
import csv
import io
import re

import pandas as pd
from markupsafe import Markup

from lensloc.contrasts.contrast import Contrast
from lensloc.display.spreadsheets import as_cell
from lensloc.pages.report import pieces
from lensloc.units.stimuli import Stimulus


def csv_of(table: pd.DataFrame) -> str:
    """Return a table as CSV; texts that look like formulas get an apostrophe in front.

    Numbers stay numbers, and what is missing stays empty.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([as_cell(str(name)) for name in table.columns])
    for row in table.itertuples(index=False):
        writer.writerow(["" if pd.isna(value) else as_cell(value) for value in row])
    return buffer.getvalue()


def link(table: pd.DataFrame, name: str, words: str) -> Markup:
    """Return a link that downloads a table; the table is in the link."""
    content = base64.b64encode(csv_of(table).encode()).decode()
    file = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-")
    return pieces.link(file, content, words)


def stimuli_table(contrast: Contrast) -> pd.DataFrame:
    """Return one row a text: condition, role, text; of other stimuli their code, and their name."""
    rows = [
        {
            "condition": name,
            "role": role_of(contrast, name),
            "text": text,
            **({"name": text.name} if isinstance(text, Stimulus) else {}),
        }
        for name, texts in contrast.conditions.items()
        for text in texts
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def role_of(contrast: Contrast, condition: str) -> str:
    """Return whether a condition is target, control, or neither."""
    if condition in contrast.target:
        return "target"
    return "control" if condition in contrast.control else ""

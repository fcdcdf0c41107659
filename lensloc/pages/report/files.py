"""Tables that a page lets one download, as CSV that a spreadsheet takes for what it is."""

import base64
import re

import pandas as pd
from markupsafe import Markup

from lensloc.contrasts.contrast import Contrast
from lensloc.display.exports import csv_of
from lensloc.pages.report import pieces


def link(table: pd.DataFrame, name: str, words: str) -> Markup:
    """Return a link that downloads a table; the table is in the link."""
    content = base64.b64encode(csv_of(table).encode()).decode()
    file = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-")
    return pieces.link(file, content, words)


def stimuli_table(contrast: Contrast) -> pd.DataFrame:
    """Return one row per text: condition, role, text; of other stimuli, their code and name."""
    table: pd.DataFrame = contrast.to_dataframe().drop(columns="item", errors="ignore")
    return table

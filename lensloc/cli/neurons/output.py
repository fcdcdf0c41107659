"""What commands on language neurons write and print."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lensloc.cli.output import path_or_none, plain, print_json, show_notes, tell_written
from lensloc.cli.tables import records, show_rows, write
from lensloc.display.files import write_file

if TYPE_CHECKING:
    import pandas as pd

# What is printed of tables that have more columns than a terminal is wide.
_OF_ANSWERS = tuple(
    "lesioned asked words language in_language stop_words repeats fluency changed".split()
)
_OF_STEERING = tuple("asked toward level deactivated kind in_toward switched fluency".split())


def finish(
    table: "pd.DataFrame",
    every: "pd.DataFrame",
    out: Path | None,
    answers: Path | None,
    notes: Sequence[str],
    model_name: str,
    as_json: bool,
    overwrite: bool,
    plot_out: Path | None = None,
) -> None:
    """Write and show what was answered."""
    if out is not None and out.suffix.lower() == ".json":
        content = {"table": records(table), "answers": records(every)}
        text = json.dumps(plain(content), ensure_ascii=False)
        write_file(out, text.encode(errors="backslashreplace"), overwrite=overwrite)
    else:
        write(out, table, overwrite)
    write(answers, every, overwrite)
    if as_json:
        rows = records(table)
        print_json({"model": model_name, "rows": rows, "warnings": notes, "out": path_or_none(out)})
        return
    show(table, _OF_STEERING if "toward" in table else _OF_ANSWERS)
    show_notes(notes)
    tell_written(out, answers, plot_out)


def show(table: "pd.DataFrame", columns: Sequence[str]) -> None:
    """Print columns, whose headings may be broken into lines; shares with their recall."""
    from pandas.api.types import is_numeric_dtype

    titles = {name: name.replace("_", " ") for name in columns}
    for name in columns:
        if f"{name}_recall" in table and is_numeric_dtype(table[name]):
            pairs = zip(table[name], table[f"{name}_recall"], strict=True)
            table = table.assign(**{name: [f"{_share(a)}/{_share(b)}" for a, b in pairs]})
            titles[name] += " / recall"
    show_rows(Console(), table, columns, titles)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"

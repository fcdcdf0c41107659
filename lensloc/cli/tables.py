"""Tables and figures that commands write and print."""

import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lensloc.cli.output import plain
from lensloc.display.disks import reason_of
from lensloc.display.files import write_file
from lensloc.display.spreadsheets import as_cell
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    import pandas as pd

MASKS = (".safetensors", ".npy")
_TRIED = 4096  # bytes, which a full disk does not take
TABLES, FIGURES = (".parquet", ".csv", ".json"), (".html", ".png", ".svg", ".pdf")


def require_place(path: Path | None, option: str, suffixes: Sequence[str], overwrite: bool) -> None:
    """Refuse a file that could not be written, or must not, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise LensLocError(f"{option} {path} must end in {', '.join(suffixes)}.")
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, say
        raise LensLocError(f"{option} {path} cannot be written ({error.strerror}).") from error
    if path.is_dir():
        raise LensLocError(f"{option} {path} is a folder; name a file in it.")
    if there and not overwrite:
        raise LensLocError(f"{path} exists; add --overwrite to replace it, or change {option}.")
    require_room(path, option)
    if path.suffix.lower() in FIGURES:
        from lensloc.plot.saving import require_drawable

        require_drawable(path)


def require_room(path: Path, option: str) -> None:
    """Try to write where a file is to be, and take it away again.

    Raises:
        LensLocError: if it cannot be, on a disk that is full or read-only, say.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise LensLocError(f"{option} {path} cannot be written in {above}; choose another place.")
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"\0" * _TRIED)
            file.flush()
    except OSError as error:
        raise LensLocError(
            f"{option} {path} cannot be written in {above} ({reason_of(error, above)}); choose "
            "another place."
        ) from error


def require_different(**places: Path | None) -> None:
    """Refuse two options that name one file; the option is called as its place is."""
    known: dict[Path, str] = {}
    for option, path in places.items():
        if path is None:
            continue
        other = known.setdefault(path.absolute().resolve(), option)
        if other != option:
            raise LensLocError(
                f"--{other} and --{option} are one file, {path}; name another for one of them."
            )


def encoded(table: "pd.DataFrame", suffix: str) -> bytes:
    """Return the content of a file of a table."""
    suffix = suffix.lower()
    if suffix == ".csv":
        return str(_without_formulas(table).to_csv(index=False)).encode(errors="backslashreplace")
    if suffix == ".json":
        text = json.dumps(records(table), allow_nan=False, ensure_ascii=False)
        return text.encode(errors="backslashreplace")
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _without_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    from pandas.api.types import is_numeric_dtype

    columns = {
        name: table[name] if is_numeric_dtype(table[name]) else table[name].map(as_cell)
        for name in table.columns
    }
    named: pd.DataFrame = table.assign(**columns).rename(columns=as_cell)
    return named


def write(path: Path | None, table: "pd.DataFrame", overwrite: bool) -> None:
    """Write a table, if a place is given."""
    if path is not None:
        write_file(path, encoded(table, path.suffix), overwrite=overwrite)


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return a table's rows; what is missing is None."""
    return [plain(row) for row in table.to_dict("records")]


def show_rows(
    console: Console, rows: "pd.DataFrame", columns: Sequence[str], titles: Mapping[str, str]
) -> None:
    """Print columns of a table, each different row once."""
    from pandas.api.types import is_numeric_dtype

    shown = Table(box=None)
    for name in columns:
        right = is_numeric_dtype(rows[name])
        shown.add_column(titles.get(name, name), justify="right" if right else "left")
    for row in rows[list(columns)].drop_duplicates().itertuples(index=False):
        shown.add_row(*(Text(cell(value, name)) for value, name in zip(row, columns, strict=True)))
    console.print(shown)


def cell(value: Any, name: str = "") -> str:
    """Return what is printed of a value in a column of that name."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:g}" if name == "percent" else f"{value:.3f}"

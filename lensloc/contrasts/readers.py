"""Tables and texts, from a file or from memory -> rows with their place; checks of what is in them.

One reader for contrasts, tasks and corpora. Rows are read as they are needed.
"""

import contextlib
import csv
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lensloc.contrasts.columns import TABLE_KINDS, TableForm
from lensloc.contrasts.lines import (
    Line,
    kind_of,
    lines_of,
    read_text,
    remedy_of,
    split_lines,
)
from lensloc.contrasts.texts import label, require_text, require_texts, text_fault
from lensloc.display.places import is_file
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TABLE_KINDS",
    "Row",
    "TableForm",
    "from_dataframe",
    "label",
    "read_csv",
    "read_huggingface",
    "read_prompts",
    "read_records",
    "read_rows",
    "read_text",
    "read_texts",
    "require_text",
    "require_texts",
    "rows_of_cells",
    "text_fault",
]

_ROWS_AT_ONCE = 256
# The csv module has one limit for the whole process, and it is not ours.
_CSV_LIMIT = threading.Lock()
_LONGEST_CELL = 2**31 - 1
_PLAIN = TableForm()
_SAID = re.compile(r"sep=(?P<sep>[^\r\n\"])[\r\n]*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: where it stands, counted from 1: in a file the line that it begins on, where a
            header is line 1; in a table in memory or a Parquet file the row.
        cells: name that was asked for -> cell; what a row lacks is None.
        read: share of the table that has been read with it; None where its length is not known.
    """

    number: int
    cells: Mapping[str, Any]
    read: float | None = None


# -- reading ---------------------------------------------------------------------------------------


def read_rows(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    *,
    form: TableForm = _PLAIN,
    kind: str | None = None,
) -> Iterator[Row]:
    """Read a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file row by row.

    A column is found by its name, or if there is none of just that name, by one that differs in
    small and capital letters or blanks around it. Cells are as the file has them: of JSON lines
    and Parquet of any type.

    Args:
        path: the file.
        columns: what is asked for.
        optional: what is asked for if it is there; otherwise the rows do not have it.
        form: how the file is written, and what its columns are called.
        kind: what kind of file it is, whatever its suffix.

    Raises:
        LensLocError: a file that is missing, unreadable or of another kind; a column that is
            missing, or there twice; a row that is malformed. File and row are named.
    """
    found = kind or kind_of(path)
    if found not in TABLE_KINDS:
        raise LensLocError(
            f"{path} must end in {', '.join(TABLE_KINDS)} to be read as a table{remedy_of(path)}."
        )
    if kind is None:
        form.require_fits(path)
    if found == ".parquet":
        return _parquet_rows(path, columns, optional, form)
    if found == ".jsonl":
        return _jsonl_rows(path, columns, optional, form)
    return _csv_rows(path, columns, optional, form, found)


def read_csv(path: Path, columns: Sequence[str], *, form: TableForm = _PLAIN) -> list[Row]:
    """Read a CSV and check that the columns are there; cells that a row lacks are empty.

    Raises:
        LensLocError: as :func:`read_rows`.
    """
    kind = ".tsv" if kind_of(path) == ".tsv" else ".csv"
    return [
        Row(row.number, {name: cell or "" for name, cell in row.cells.items()})
        for row in read_rows(path, columns, form=form, kind=kind)
    ]


def read_records(
    path: Path, fields: Sequence[str], optional: Sequence[str] = (), *, form: TableForm = _PLAIN
) -> list[tuple[int, dict[str, Any]]]:
    """Read JSON lines as they are, with all fields, each with its place, counted from 1.

    A field that is found under another name (see :func:`read_rows`) also stands there under the
    one that was asked for.

    Raises:
        LensLocError: as :func:`read_rows`.
    """
    return [
        (number, record | {name: record[key] for name, key in keys.items()})
        for number, record, keys, _ in _records(path, fields, optional, form)
    ]


def read_texts(path: Path, *, form: TableForm = _PLAIN) -> list[tuple[str, str]]:
    """Read texts, each with its place: a ``.txt``, which is one, or the column ``text`` of a table.

    Raises:
        LensLocError: as :func:`read_rows`; a text that is none.
    """
    if kind_of(path) == ".txt":
        form.require_fits(path)
        text = read_text(path, form.encoding)
        if not text.strip():
            raise LensLocError(f"{path} is empty; write a text, or give another file.")
        return [(text, str(path))]
    if kind_of(path) not in TABLE_KINDS:
        raise LensLocError(
            f"{path} must end in .txt, {', '.join(TABLE_KINDS)} to be read as texts; for a text "
            "itself give a list, [text]."
        )
    found, title = [], form.columns.get("text", "text")
    for row in read_rows(path, ["text"], form=form):
        place = f"{path}, row {row.number}"
        found.append((require_text(row.cells["text"], place, title), place))
    return found


def read_prompts(path: Path, *, form: TableForm = _PLAIN) -> list[str]:
    """Read prompts: a line each of a ``.txt``, or the column ``prompt`` of a table.

    Raises:
        LensLocError: as :func:`read_rows`; a prompt that is no text.
    """
    if kind_of(path) == ".txt":
        form.require_fits(path)
        lines = split_lines(read_text(path, form.encoding))
        return [line for line in lines if line.strip()]
    if kind_of(path) not in TABLE_KINDS:
        raise LensLocError(
            f"{path} must end in .txt, a prompt per line, or in {', '.join(TABLE_KINDS)}, with a "
            "column prompt; for a prompt itself give a list."
        )
    title = form.columns.get("prompt", "prompt")
    return [
        require_text(row.cells["prompt"], f"{path}, row {row.number}", title)
        for row in read_rows(path, ["prompt"], form=form)
    ]


def read_huggingface(
    dataset: str, split: str, columns: Sequence[str], *, form: TableForm = _PLAIN
) -> Iterator[Row]:
    """Read one split of a data set of the Hugging Face hub, or of its cache.

    Raises:
        LensLocError: if it cannot be had, or lacks a column.
    """
    import datasets  # takes seconds to import, and only this function needs it

    try:
        found = datasets.load_dataset(dataset, split=split)
    except Exception as error:  # the library raises of every kind, its own and its dependencies'
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LensLocError(
            f"The data set {dataset} (split {split}) could not be loaded ({lines[0]}); without "
            "network, save it as a file where there is some and read that."
        ) from error
    table = found.to_pandas()
    for name, feature in found.features.items():
        if isinstance(feature, datasets.ClassLabel):
            table[name] = [feature.int2str(int(value)) for value in table[name]]
    return from_dataframe(table, columns, dataset, form=form)


def from_dataframe(
    table: "pd.DataFrame",
    columns: Sequence[str],
    source: str = "the table",
    *,
    form: TableForm = _PLAIN,
) -> Iterator[Row]:
    """Turn a table into rows, counted from 1.

    Raises:
        LensLocError: if it is no table, or lacks a column or has it twice.
    """
    import pandas as pd  # takes long to load, and most files are read without it

    if not isinstance(table, pd.DataFrame):
        raise LensLocError(
            f"A pandas DataFrame is needed, not something of type {type(table).__name__}."
        )
    titles = [str(name) for name in table.columns]
    places = form.places(titles, columns, where=source)
    chosen = table.iloc[:, list(places.values())]
    return (
        Row(number, dict(zip(places, map(_known, values), strict=True)), number / len(table))
        for number, values in enumerate(chosen.itertuples(index=False, name=None), start=1)
    )


def _known(value: Any) -> Any:
    """Return a value; None for what stands for a missing one."""
    import pandas as pd

    missing = pd.isna(value)
    return None if isinstance(missing, bool | np.bool_) and missing else value


# -- CSV -------------------------------------------------------------------------------------------


def _csv_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str], form: TableForm, kind: str
) -> Iterator[Row]:
    lines = lines_of(path, form.encoding)
    first = next(lines, Line(1, "", 1.0))
    said = _SAID.match(first.text)
    if said is not None:  # as spreadsheets write for each other
        first = next(lines, Line(2, "", 1.0))
    separator, hint = form.separator(first.text, columns, kind)
    if said is not None and form.sep is None:
        separator, hint = said["sep"], ""
    current = first

    def texts() -> Iterator[str]:
        nonlocal current
        for current in chain([first], lines):
            yield current.text

    begun = 1
    try:
        reader = csv.reader(texts(), delimiter=separator, strict=True)
        header = _next_of(reader) or []
        places = form.places(header, columns, optional, where=str(path), hint=hint)
        while True:
            begun = current.number + 1
            cells = _next_of(reader)
            if cells is None:
                return
            if not cells or (len(cells) > 1 and not any(map(str.strip, cells))):  # a blank row
                continue
            if len(cells) > len(header):
                raise LensLocError(
                    f"{path}, row {begun}: more cells than the {len(header)} columns of the "
                    "header; quote cells that contain the separator."
                )
            found = {
                name: cells[place] if place < len(cells) else None for name, place in places.items()
            }
            yield Row(begun, found, current.read)
    except csv.Error as error:
        raise LensLocError(
            f"{path}, row {begun}: not a readable CSV ({error}); correct it, or save the table as "
            ".jsonl."
        ) from error


def rows_of_cells(text: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows of a table as Python's own reader has them; none after what it cannot read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    with contextlib.suppress(csv.Error):
        while (cells := _next_of(reader)) is not None:
            yield cells


def _next_of(reader: Any) -> list[str] | None:
    """Return the next row, however long its cells are; None at the end."""
    with _CSV_LIMIT:
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(limit)


# -- JSON lines ------------------------------------------------------------------------------------


class _Ambiguous(dict[str, Any]):
    """A JSON object in which some names stand twice."""

    twice: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    ambiguous, names = _Ambiguous(made), [name for name, _ in pairs]
    ambiguous.twice = frozenset(name for name in names if names.count(name) > 1)
    return ambiguous


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _records(
    path: Path, columns: Sequence[str], optional: Sequence[str], form: TableForm
) -> Iterator[tuple[int, dict[str, Any], dict[str, str], float]]:
    """Read every object with its place, the keys of what is asked for, and the share read."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines_of(path, form.encoding):
        if not line.text.strip():
            continue
        place = f"{path}, row {line.number}"
        try:
            record = _DECODER.decode(line.text)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or error
            raise LensLocError(f"{place}: not JSON ({reason}); correct the line.") from error
        if not isinstance(record, dict):
            raise LensLocError(
                f"{place}: not a JSON object, so it has no fields; write one object per line."
            )
        present = tuple(record)
        if present not in known:
            places = form.places(present, columns, optional, where=f"{place}:", what="field")
            known[present] = {name: present[at] for name, at in places.items()}
        keys = known[present]
        twice = record.twice if isinstance(record, _Ambiguous) else ()
        for key in keys.values():
            if key in twice:
                raise LensLocError(f"{place}: has the field {key!r} twice; remove one.")
        yield line.number, record, keys, line.read


def _jsonl_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str], form: TableForm
) -> Iterator[Row]:
    for number, record, keys, read in _records(path, columns, optional, form):
        yield Row(number, {name: record[key] for name, key in keys.items()}, read)


# -- Parquet ---------------------------------------------------------------------------------------


def _parquet_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str], form: TableForm
) -> Iterator[Row]:
    # Takes long to import, and only this function needs it.
    import pyarrow.parquet  # type: ignore[import-untyped]

    if not is_file(path):
        raise LensLocError(f"There is no stimulus file {path}; check the path.")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            names = list(file.schema_arrow.names)
            places = form.places(names, columns, optional, where=str(path))
            chosen = [names[place] for place in places.values()]
            total = max(1, file.metadata.num_rows)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=chosen):
                found = [batch.column(batch.schema.names.index(name)) for name in chosen]
                for row in range(batch.num_rows):
                    number += 1
                    cells = [column[row].as_py() for column in found]
                    yield Row(number, dict(zip(places, cells, strict=True)), number / total)
            if number != file.metadata.num_rows:  # older readers of the format do not ask
                raise LensLocError(
                    f"{path} is damaged: it says that it has {file.metadata.num_rows:,} rows and "
                    f"holds {number:,}; fetch or make it again."
                )
    except UnicodeDecodeError as error:
        raise LensLocError(
            f"{path}, row {number}: holds text that is not UTF-8; write the file again."
        ) from error
    except Exception as error:  # of a damaged file, of every kind
        if isinstance(error, LensLocError):
            raise
        gist = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise LensLocError(
            f"{path} is not a readable Parquet file ({gist}); fetch or make it again."
        ) from error

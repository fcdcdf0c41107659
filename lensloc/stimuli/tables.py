"""Tables of texts, from a file or from memory -> rows with their place in the file."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lensloc.errors import LensLocError


@dataclass(frozen=True)
class Row:
    """One row of a table: where it stands in its file (the header is row 1), and its cells."""

    number: int
    cells: Mapping[str, str]


def require_texts(texts: Any, what: str) -> list[str]:
    """Return texts that were given in a list, each one checked.

    Args:
        texts: what was given.
        what: what each of them is called in messages, e.g. ``"Text"``.

    Raises:
        LensLocError: no list of texts; one that is no text, or that no file could hold (half of a
            surrogate pair), named by its place in the list, counted from 1.
    """
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise LensLocError(
            f"{what}s are given in a list, but this is of type {type(texts).__name__}; write "
            "[text, text]."
        )
    found = list(texts)
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise LensLocError(
                f"{what} {number} is {shown(text)}, of type {type(text).__name__}, and not a text; "
                "give it as one, or leave it out."
            )
        require_encodable(text, f"{what} {number}")
    return found


def require_encodable(text: str, place: str) -> None:
    """Check that a text can be written as UTF-8, which half an emoji cannot.

    Raises:
        LensLocError: naming the place of the text, if it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LensLocError(
            f"{place} holds half of a character (U+{ord(text[error.start]):04X}, a lone surrogate, "
            f"at {error.start + 1}); repair the text."
        ) from error


def shown(value: object) -> str:
    """Return a value as it is written in Python, cut off for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def read_text(path: Path) -> str:
    """Read a UTF-8 file as it is, line ends included, but for a byte order mark.

    Raises:
        LensLocError: if the file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise LensLocError(f"There is no stimulus file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise LensLocError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except OSError as error:
        raise LensLocError(f"{path} cannot be read ({error.strerror}).") from error


def read_csv(path: Path, columns: Iterable[str]) -> list[Row]:
    """Read a UTF-8 CSV and check that the columns are there; cells that a row lacks are empty.

    Raises:
        LensLocError: if the file is missing, not UTF-8, not a CSV, or lacks a column.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
        header = list(reader.fieldnames or ())
        rows = [Row(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise LensLocError(f"{path} is not a readable CSV ({error}).") from error
    missing = [column for column in columns if column not in header]
    if missing:
        present = ", ".join(header) or "none"
        raise LensLocError(f"{path} lacks the column {missing[0]!r}; its columns are {present}.")
    for row in rows:
        if None in row.cells:
            raise LensLocError(
                f"{path}, row {row.number}: more cells than the {len(header)} columns of the "
                "header; quote cells that contain commas."
            )
    return rows


def read_jsonl(path: Path, columns: Iterable[str]) -> list[Row]:
    """Read UTF-8 JSON lines, one object a line; blank lines are passed over.

    Raises:
        LensLocError: if the file is missing or not UTF-8, or a line is no object or lacks a field.
    """
    wanted = list(columns)
    return [
        Row(number, {column: _cell(record[column]) for column in wanted})
        for number, record in read_records(path, wanted)
    ]


def read_records(path: Path, fields: Iterable[str]) -> list[tuple[int, dict[str, Any]]]:
    """Read UTF-8 JSON lines as they are, each with its place in the file, counted from 1.

    Raises:
        LensLocError: if the file is missing or not UTF-8, or a line is no object or lacks a field.
    """
    wanted = list(fields)
    records = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise LensLocError(f"{path}, row {number}: not JSON ({error.msg}).") from error
        if not isinstance(record, dict):
            raise LensLocError(f"{path}, row {number}: not a JSON object, so it has no fields.")
        for column in wanted:
            if column not in record:
                raise LensLocError(
                    f"{path}, row {number}: lacks the field {column!r}; it has "
                    f"{', '.join(record) or 'none'}."
                )
        records.append((number, record))
    return records


def read_parquet(path: Path, columns: Iterable[str]) -> list[Row]:
    """Read a Parquet file.

    Raises:
        LensLocError: if the file is missing, not Parquet, or lacks a column.
    """
    if not path.is_file():
        raise LensLocError(f"There is no stimulus file {path}; check the path.")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise LensLocError(f"{path} is not a readable Parquet file ({error}).") from error
    return from_dataframe(table, columns, str(path))


def read_huggingface(dataset: str, split: str, columns: Iterable[str]) -> list[Row]:
    """Read one split of a data set of the Hugging Face hub, or of its cache.

    Raises:
        LensLocError: if it cannot be had, or lacks a column.
    """
    import datasets  # takes seconds to import, and only this function needs it

    try:
        found = datasets.load_dataset(dataset, split=split)
    except Exception as error:  # the library raises of every kind, its own and its dependencies'
        raise LensLocError(
            f"The data set {dataset} (split {split}) could not be loaded "
            f"({str(error).strip().splitlines()[0]}); without network, save it as a file where "
            "there is some and read that."
        ) from error
    table = found.to_pandas()
    for name, feature in found.features.items():
        if isinstance(feature, datasets.ClassLabel):
            table[name] = [feature.int2str(int(value)) for value in table[name]]
    return from_dataframe(table, columns, dataset)


def from_dataframe(
    table: pd.DataFrame, columns: Iterable[str], source: str = "the table"
) -> list[Row]:
    """Turn a table into rows, counted from 1.

    Raises:
        LensLocError: if it lacks a column.
    """
    wanted = list(columns)
    for column in wanted:
        if column not in table.columns:
            raise LensLocError(
                f"{source} lacks the column {column!r}; its columns are "
                f"{', '.join(map(str, table.columns)) or 'none'}."
            )
    return [
        Row(number, dict(zip(wanted, map(_cell, values), strict=True)))
        for number, values in enumerate(table[wanted].itertuples(index=False, name=None), start=1)
    ]


def _cell(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and value != value) or value is pd.NA
    return "" if missing else str(value)

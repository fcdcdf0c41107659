"""Contrast: named conditions, each a list of texts; which are target and which control."""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lensloc.errors import LensLocError


@dataclass(frozen=True)
class Contrast:
    """Named conditions, and which of them are the target and which the control.

    Attributes:
        name: what the contrast localizes, e.g. ``"language"``.
        conditions: condition name -> texts, in order.
        target: conditions in which selective units respond more.
        control: conditions that they are compared with.
        source: where the texts come from, in words.
    """

    name: str
    conditions: Mapping[str, tuple[str, ...]]
    target: tuple[str, ...]
    control: tuple[str, ...]
    source: str = "texts given in Python"

    def __post_init__(self) -> None:
        frozen = {name: tuple(texts) for name, texts in self.conditions.items()}
        object.__setattr__(self, "conditions", MappingProxyType(frozen))
        object.__setattr__(self, "target", _names(self.target))
        object.__setattr__(self, "control", _names(self.control))
        self._check()

    def _check(self) -> None:
        known = ", ".join(self.conditions) or "none"
        for role, names in (("target", self.target), ("control", self.control)):
            if not names:
                raise LensLocError(f"The {role} names no condition; name one of: {known}.")
            for name in names:
                if name not in self.conditions:
                    raise LensLocError(
                        f"The {role} condition {name!r} is not among the conditions of "
                        f"{self.source} ({known})."
                    )
        both = set(self.target) & set(self.control)
        if both:
            raise LensLocError(
                f"The condition {sorted(both)[0]!r} is both target and control; "
                "a contrast needs different ones."
            )
        for name, texts in self.conditions.items():
            if not texts:
                raise LensLocError(f"The condition {name!r} of {self.source} has no texts.")
            for row, text in enumerate(texts, start=1):
                if not isinstance(text, str) or not text.strip():
                    raise LensLocError(
                        f"Text {row} of the condition {name!r} of {self.source} is empty; "
                        "remove it or fill it in."
                    )

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def from_texts(
        cls,
        conditions: Mapping[str, Sequence[str]],
        *,
        target: str | Sequence[str],
        control: str | Sequence[str],
        name: str = "custom",
    ) -> "Contrast":
        """Make a contrast from lists of texts.

        Args:
            conditions: condition name -> texts.
            target: one condition or several.
            control: one condition or several.
            name: what the contrast is called in results.

        Raises:
            LensLocError: for an unknown, empty, or doubly used condition, or an empty text.
        """
        texts = {key: tuple(value) for key, value in conditions.items()}
        return cls(name, texts, _names(target), _names(control))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        target: str | Sequence[str],
        control: str | Sequence[str],
        text: str = "text",
        condition: str = "condition",
        name: str | None = None,
    ) -> "Contrast":
        """Read a contrast from a CSV with one row a text.

        Args:
            path: a UTF-8 CSV with a header.
            target: one value of the condition column, or several.
            control: one value of the condition column, or several.
            text: name of the column with the texts.
            condition: name of the column that says which condition a row belongs to.
            name: what the contrast is called in results; the file's name if None.

        Raises:
            LensLocError: if the file, a column, a condition or a text is missing.
        """
        path = Path(path)
        texts: dict[str, list[str]] = {}
        for row in read_csv(path, (text, condition)):
            for column in (condition, text):
                if not row.cells[column].strip():
                    raise LensLocError(
                        f"{path}, row {row.number}: the column {column!r} is empty; "
                        "fill it in or remove the row."
                    )
            texts.setdefault(row.cells[condition], []).append(row.cells[text])
        frozen = {label: tuple(found) for label, found in texts.items()}
        return cls(name or path.stem, frozen, _names(target), _names(control), source=str(path))

    # -- looking -------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The condition of every text of :attr:`texts`."""
        return tuple(name for name in self._used() for _ in self.conditions[name])

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the target's and the control's conditions, in order."""
        return tuple(text for name in self._used() for text in self.conditions[name])

    def _used(self) -> list[str]:
        return [name for name in self.conditions if name in self.target + self.control]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the used texts, their conditions and roles; equal content, equal hash."""
        content = {
            "target": [list(self.conditions[name]) for name in self.target],
            "control": [list(self.conditions[name]) for name in self.control],
            "names": [list(self.target), list(self.control)],
        }
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(texts)}" for name, texts in self.conditions.items())
        sides = f"{' + '.join(self.target)} > {' + '.join(self.control)}"
        return f"Contrast({self.name}: {sides}; {sizes})"


@dataclass(frozen=True)
class Row:
    """One row of a CSV: its line number in the file, and its cells by column."""

    number: int
    cells: Mapping[str, str]


def read_csv(path: Path, columns: Iterable[str]) -> list[Row]:
    """Read a UTF-8 CSV and check that the columns are there; cells that a row lacks are empty.

    Raises:
        LensLocError: if the file is missing, not UTF-8, not a CSV, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            header = list(reader.fieldnames or ())
            rows = [Row(reader.line_num, cells) for cells in reader]
    except FileNotFoundError as error:
        raise LensLocError(f"There is no stimulus file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise LensLocError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except (csv.Error, OSError) as error:
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


def _names(conditions: str | Sequence[str]) -> tuple[str, ...]:
    return (conditions,) if isinstance(conditions, str) else tuple(conditions)

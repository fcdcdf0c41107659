"""Tables -> the conditions, texts and items of a contrast."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensloc.contrasts import readers
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.lines import kind_of, printable, stem_of
from lensloc.contrasts.texts import as_name, label, require_name, require_text, require_texts
from lensloc.display.places import path_of
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_ASKED = ("condition", "text", "item")


@dataclass(frozen=True)
class Read:
    """What was read: name and source in words, texts and items by condition."""

    name: str
    source: str
    conditions: Mapping[str, tuple[str, ...]]
    items: Mapping[str, tuple[str, ...]] | None


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called, and how a file of it is written."""

    text: str
    condition: str
    item: str | None = None
    sep: str | None = None
    encoding: str | None = None

    @property
    def asked(self) -> list[str]:
        """What is read."""
        return list(_ASKED if self.item is not None else _ASKED[:2])

    @property
    def form(self) -> TableForm:
        """The same, for the reader of readers."""
        named = {"condition": self.condition, "text": self.text, "item": self.item}
        names = {asked: name for asked, name in named.items() if name is not None}
        return TableForm.of(names, self.sep, self.encoding)


def from_table(table: "pd.DataFrame", columns: Columns) -> Read:
    """Read a table in memory."""
    rows = readers.from_dataframe(table, columns.asked, form=columns.form)
    return _read(rows, "custom", "the table", columns)


def from_file(path: str | Path, columns: Columns, kind: str | None = None) -> Read:
    """Read a file, of the kind that its suffix says if none is given."""
    path = path_of(path)
    if kind == ".csv" and kind_of(path) == ".tsv":
        kind = ".tsv"
    rows = readers.read_rows(path, columns.asked, form=columns.form, kind=kind)
    return _read(rows, stem_of(path), printable(str(path)), columns)


def from_hub(dataset: str, split: str, columns: Columns) -> Read:
    """Read a split of a data set."""
    rows = readers.read_huggingface(dataset, split, columns.asked, form=columns.form)
    return _read(rows, dataset.rstrip("/").split("/")[-1], dataset, columns)


def _read(rows: Iterable[readers.Row], name: str, source: str, columns: Columns) -> Read:
    texts: dict[str, list[str]] = {}
    items: dict[str, list[str]] = {}
    blank: list[int] = []
    for row in rows:
        if all(_is_blank(row.cells[name]) for name in ("condition", "text")):
            blank.append(row.number)
            continue
        place = f"{source}, row {row.number}"
        condition = label(row.cells["condition"], place, columns.condition)
        if condition not in texts:
            alike = _alike(condition, texts)
            if alike is not None:
                raise LensLocError(
                    f"{place}: the condition {condition!r} differs from {alike!r} in nothing but "
                    "capital letters or spaces; write them alike, or name them apart."
                )
        text = require_text(row.cells["text"], place, columns.text)
        texts.setdefault(condition, []).append(text)
        if columns.item is not None:
            item = label(row.cells["item"], place, columns.item)
            items.setdefault(condition, []).append(item)
    if blank:
        first = f"row {blank[0]} is" if len(blank) == 1 else f"{len(blank):,} rows are"
        log.warning(
            "%s: %s left out, with nothing in %r and %r (the first: row %d).",
            *(source, first, columns.condition, columns.text, blank[0]),
        )
    return Read(
        name,
        source,
        {condition: tuple(found) for condition, found in texts.items()},
        None if columns.item is None else {key: tuple(found) for key, found in items.items()},
    )


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


# -- what was given in Python ----------------------------------------------------------------------


def names(conditions: Any) -> tuple[str, ...]:
    """Return names of conditions, of which one or several were given.

    Raises:
        LensLocError: for something that is no name.
    """
    several = isinstance(conditions, Iterable) and not isinstance(conditions, str | bytes | Mapping)
    found: Sequence[Any] = tuple(conditions) if several else (conditions,)
    return tuple(dict.fromkeys(require_name(name, "a target or control") for name in found))


def checked_conditions(conditions: Any, source: str) -> dict[str, tuple[str, ...]]:
    """Return conditions whose names are names and whose texts are texts.

    Raises:
        LensLocError: if they are not, or two names are the same but for capital letters or spaces.
    """
    if not isinstance(conditions, Mapping):
        raise LensLocError(
            "Conditions are given as {name: [texts]}; "
            f"something of type {type(conditions).__name__} is not that."
        )
    found: dict[str, tuple[str, ...]] = {}
    for given, texts in conditions.items():
        name = require_name(given, f"a condition of {source}")
        alike = _alike(name, found)
        if alike is not None:
            raise LensLocError(
                f"The conditions {alike!r} and {given!r} of {source} differ in nothing but capital "
                "letters or spaces; name them apart, or put their texts together."
            )
        whose = f"the condition {name!r} of {source}"
        found[name] = tuple(require_texts(texts, of=whose))
        if not found[name]:
            raise LensLocError(f"The condition {name!r} of {source} has no texts.")
    return found


def require_roles(
    target: Sequence[str], control: Sequence[str], conditions: Iterable[str], source: str
) -> None:
    """Check that target and control name conditions, and different ones.

    Raises:
        LensLocError: if they do not.
    """
    conditions = list(conditions)
    known = ", ".join(conditions) or "none"
    for role, found in (("target", target), ("control", control)):
        if not found:
            raise LensLocError(f"The {role} names no condition; name one of: {known}.")
        for name in found:
            if name not in conditions:
                raise LensLocError(
                    f"The {role} condition {name!r} is not among the conditions of "
                    f"{source} ({known})."
                )
    both = set(target) & set(control)
    if both:
        raise LensLocError(
            f"The condition {sorted(both)[0]!r} is both target and control; "
            "a contrast needs different ones."
        )


def checked_items(
    items: Any, conditions: Mapping[str, Sequence[str]], source: str
) -> dict[str, tuple[str, ...]]:
    """Return the item of every text.

    Raises:
        LensLocError: if there are not as many as texts.
    """
    if not isinstance(items, Mapping):
        raise LensLocError("items are given as {condition: [item of each text]}.")
    given = {as_name(name): found for name, found in items.items()}
    checked: dict[str, tuple[str, ...]] = {}
    for name, texts in conditions.items():
        found = list(_listed(given.get(name, ())))
        if len(found) != len(texts):
            raise LensLocError(
                f"The condition {name!r} of {source} has {len(texts)} texts but {len(found)} "
                "items; give one item per text."
            )
        what = f"an item of the condition {name!r} of {source}"
        checked[name] = tuple(require_name(item, what) for item in found)
    return checked


def _listed(values: Any) -> Iterator[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise LensLocError("items are given as {condition: [item of each text]}.")
    yield from values


def _alike(name: str, others: Iterable[str]) -> str | None:
    """Return the first of some names that differs from a name in case and spaces only."""
    folded = _folded(name)
    return next((other for other in others if _folded(other) == folded), None)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())

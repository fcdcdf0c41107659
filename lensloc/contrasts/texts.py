"""What a text is, and the name of a condition: checks that name the row of what is none."""

import datetime
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from lensloc.errors import LensLocError
from lensloc.units.stimuli import Stimulus
from lensloc.units.verbatim import as_text

_PLACES = 10  # where a text occurs, as far as it is told


def text_fault(text: Any) -> str | None:
    """Say what is wrong with a text, as the end of a sentence; None if nothing is.

    A text is a string that holds more than white space, no NUL, and no half of a character (a
    surrogate without its pair, which an emoji leaves that is cut in two).

    Example:
        >>> text_fault("hot tea"), text_fault(" "), text_fault(5)
        (None, 'is empty', 'is of type int, not a text')
    """
    if text is None:
        return "is missing"
    if not isinstance(text, str):
        return f"is of type {type(text).__name__}, not a text"
    if not text or text.isspace():
        return "is empty"
    if "\0" in text:
        return "holds a NUL character, which no text has"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a character (the lone surrogate U+{ord(text[error.start]):04X})"
    return None


def require_text(value: Any, place: str, column: str) -> str:
    """Check that a cell of a table is a text.

    Args:
        value: the cell.
        place: file and row, or another place, in words.
        column: name of its column.

    Raises:
        LensLocError: if it is none; place and column are named.
    """
    fault = text_fault(value)
    if fault is None:
        return as_text(value)
    if fault == "is missing":
        fault = "is empty"
    raise LensLocError(f"{place}: the column {column!r} {fault}; correct or remove the row.")


def require_texts(
    texts: Any, what: str = "Text", *, of: str = "", may_be_empty: bool = False
) -> list[str]:
    """Check that texts given in Python are texts, in a list.

    Args:
        texts: a list of texts, or another sequence or iterator.
        what: what each of them is called in messages.
        of: whose they are, in words, if that is not plain.
        may_be_empty: whether one may be empty, as a prompt may before which a token stands.

    Returns:
        The texts.

    Raises:
        LensLocError: a single text, or something that holds no texts; a text that is none, by its
            number, counted from 1.
    """
    whose = f" of {of}" if of else ""
    if isinstance(texts, str):
        raise LensLocError(
            f"{what}s{whose}: a list is needed, not a single text ({shown(texts)}); write [text]."
        )
    # Tables of any library have columns; pandas is not loaded just to know them.
    no_list = isinstance(texts, bytes | bytearray | Mapping | Set) or hasattr(texts, "columns")
    if no_list or not isinstance(texts, Iterable):
        raise LensLocError(
            f"{what}s{whose}: a list of texts is needed, not something of type "
            f"{type(texts).__name__}."
        )
    found = list(texts)
    for number, text in enumerate(found, start=1):
        fault = text_fault(text)
        if fault is not None and not (may_be_empty and fault == "is empty"):
            raise LensLocError(
                f"{what} {number}{whose} ({shown(text)}) {fault}; correct it or leave it out."
            )
    return [text if isinstance(text, Stimulus) else as_text(text) for text in found]


def repeated(conditions: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a sentence for every text that occurs more than once, and where."""
    where: dict[str, list[str]] = {}
    for name, texts in conditions.items():
        for row, text in enumerate(texts, start=1):
            where.setdefault(text, []).append(f"{name} {row}")
    return [
        f"{text!r} occurs {len(places)} times: {', '.join(places[:_PLACES])}"
        + (f" and {len(places) - _PLACES} more" if len(places) > _PLACES else "")
        for text, places in where.items()
        if len(places) > 1
    ]


def shown(value: object) -> str:
    """Return a value as it is written in Python, cut off for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def as_name(value: Any) -> Any:
    """Return what names a condition or an item as text, without white space around it.

    Whole numbers and truth values are names too: 1 (and 1.0, as which a table with gaps holds it)
    is ``"1"``, True is ``"True"``. What is no name comes back as it is.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | int | float | datetime.date):
        value = str(value)
    return value.strip() if isinstance(value, str) else value


def label(value: Any, place: str, column: str) -> str:
    """Check that a cell of a table names a condition or an item; see :func:`as_name`.

    Args:
        value: the cell.
        place: file and row, or another place, in words.
        column: name of its column.

    Raises:
        LensLocError: if it is no name; place and column are named.
    """
    return require_text(as_name(value), place, column)


def require_name(value: Any, what: str) -> str:
    """Check that something given in Python is a name; see :func:`as_name`.

    Raises:
        LensLocError: if it is none; ``what`` says in words what it should name.
    """
    name = as_name(value)
    fault = text_fault(name)
    if fault is not None:
        raise LensLocError(f"The name {value!r} of {what} {fault}; give a text or a whole number.")
    return str(name)


def require_whole(name: str, what: str) -> None:
    """Check that what something is called can stand in a file.

    Raises:
        LensLocError: if it holds half a character; ``what`` says in words what it names.
    """
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        raise LensLocError(
            f"The name {name!r} of {what} {text_fault(str(name))}; correct it."
        ) from error

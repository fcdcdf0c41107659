"""What the sections of a report are made of; texts are escaped."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

from markupsafe import Markup

from lensloc.display.markup import isolated
from lensloc.display.templates import pieces
from lensloc.pages.report.terms import with_terms


def prose(text: str) -> Markup:
    """Return a paragraph."""
    return _piece("prose", isolated(text))


def explained(paragraphs: Sequence[str]) -> Markup:
    """Return paragraphs whose terms say what they mean where one points, or comes by keyboard."""
    told: set[str] = set()
    return joined(*(Markup("<p>{}</p>").format(with_terms(text, told)) for text in paragraphs))


def folded(summary: str, content: Markup) -> Markup:
    """Return what is shown when it is asked for."""
    return _piece("folded", summary, content)


def code(text: str) -> Markup:
    """Return lines of code."""
    return _piece("code", text)


def heading(text: str) -> Markup:
    """Return a heading within a section."""
    return _piece("heading", text)


def bullets(items: Sequence[str], kind: str = "") -> Markup:
    """Return a list of sentences, or of other pieces; ``kind`` is its class for the style sheet."""
    return _piece("bullets", [isolated(item) for item in items], kind)


def listing(rows: Sequence[Mapping[str, str]], caption: str) -> Markup:
    """Return rows of texts as a table that scrolls where a page is narrow.

    Columns whose texts are all numbers stand right, but for the first, which names the row.
    """
    names = list(rows[0])
    right = [name for name in names[1:] if all(_is_number(row[name]) for row in rows)]
    return _piece("listing", names, rows, right, caption)


def grid(parts: Sequence[Markup]) -> Markup:
    """Return parts side by side, as far as there is room."""
    return _piece("grid", parts)


def figure(name: str, title: str, caption: str, height: int, *, scrolls: bool = False) -> Markup:
    """Return the element that a figure is drawn in; one that scrolls can be wider than a page."""
    return _piece("figure", name, title, caption, height, scrolls)


def picture(source: str, name: str) -> Markup:
    """Return a small picture, whose content is in its source (``data:``), with its name."""
    return _piece("picture", source, name)


def link(file: str, content: str, words: str) -> Markup:
    """Return a link that downloads a CSV file, whose content is in the link (base64)."""
    return _piece("link", file, content, words)


def definitions(facts: Mapping[str, str]) -> Markup:
    """Return names and what they stand for; names without anything are left out."""
    return _piece("definitions", [(name, value) for name, value in facts.items() if value])


def explorer() -> Markup:
    """Return the element that the explorer is drawn in."""
    return _piece("explorer")


def joined(*parts: str) -> Markup:
    """Return pieces below each other; a text that is no piece is escaped."""
    return Markup("").join(parts)


def _piece(name: str, *content: Any) -> Markup:
    return cast(Markup, getattr(_pieces(), name)(*content))


@functools.cache
def _pieces() -> Any:
    return pieces("pages/report/pieces.html.jinja")


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("-", "+", "–", "") or text.startswith("<")

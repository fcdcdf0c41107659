"""Small HTML for notebooks: tables and thumbnail pictures, without scripts or style sheets.

What is shown is escaped, unless it is :class:`markupsafe.Markup`, which is HTML already. Colours
show on light and on dark pages: words and rules take the page's own, and marks are more or less
opaque.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from markupsafe import Markup, escape

from lensloc.display.templates import pieces

# Okabe and Ito's vermillion and blue, told apart with every kind of colour blindness.
POSITIVE, NEGATIVE = "#d55e00", "#0072b2"
_LEVELS = 12
_MOST_ROWS = 20
# Letters that are written from right to left (Hebrew, Arabic, Syriac, Thaana, N'Ko, Adlam ...), and
# what stands between two of them.
_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_NAMED = re.compile(f"[{_RIGHT_TO_LEFT}](?:[{_RIGHT_TO_LEFT}\\s_'’-]*[{_RIGHT_TO_LEFT}])?")


def isolated(text: str) -> Markup:
    """Return a sentence in which names that are written from right to left turn nothing else round.

    Without that, a browser puts the sign of a number behind it that follows such a name, and names
    beside a ``>`` in the order of their script.

    Example:
        >>> isolated("a < b"), isolated("\u05d0\u05d1 (-0.5)")
        (Markup('a &lt; b'), Markup('<bdi>\u05d0\u05d1</bdi> (-0.5)'))
    """
    if isinstance(text, Markup):
        return text
    return Markup(_NAMED.sub(lambda found: f"<bdi>{found[0]}</bdi>", str(escape(text))))


def shortened(text: str, length: int) -> str:
    """Return a text on one line, cut off at so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def table(rows: Sequence[Mapping[str, Any]], *, most: int = _MOST_ROWS) -> Markup:
    """Return rows as an HTML table; numbers stand right, words left.

    Args:
        rows: column -> value, the same columns in every row; floats are shown with four digits.
        most: how many rows to show; the last line says how many there are besides.
    """
    if not rows:
        return _piece("no_rows")
    names, left = list(rows[0]), len(rows) - most
    cells = [[_cell(row[name]) for name in names] for row in rows[:most]]
    return _piece("table", names, cells, f"{left:,}" if left > 0 else "")


def facts(found: Mapping[str, Any]) -> Markup:
    """Return names and values as a table of two columns."""
    return _piece(
        "facts", [(name, {**_cell(value), "align": "left"}) for name, value in found.items()]
    )


def card(title: str, *parts: Markup, warnings: Sequence[str] = ()) -> Markup:
    """Put parts side by side, as far as there is room, below a title; what to mind below them."""
    return _piece("card", title, parts, notes(warnings))


def paragraphs(sentences: Sequence[str]) -> Markup:
    """Return sentences below each other."""
    return _piece("paragraphs", sentences)


def notes(sentences: Sequence[str]) -> Markup:
    """Return what to mind in a result, as a list; nothing if there is nothing."""
    return _piece("notes", sentences, POSITIVE) if sentences else Markup("")


def coloured_text(
    label: str, tokens: Sequence[str], shares: Sequence[float], values: Sequence[float]
) -> Markup:
    """Return a text whose tokens are coloured: orange above zero, blue below.

    Args:
        label: what stands before it.
        tokens: its tokens.
        shares: how strong the colour of each is, -1 to 1.
        values: what is shown of each when it is pointed at.
    """
    spans = [
        {
            "text": token.replace("\n", "↵\n"),
            "fill": _translucent(POSITIVE if share > 0 else NEGATIVE, abs(share)),
            "title": f"{value:.4g}",
        }
        for token, share, value in zip(tokens, shares, values, strict=True)
    ]
    return _piece("coloured_text", label, spans)


def _translucent(colour: str, share: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{0.6 * min(1.0, share):.2f})"


def stacked(parts: Iterable[Markup]) -> Markup:
    """Put parts below each other."""
    return _piece("stacked", list(parts))


def captioned(picture: Markup, caption: str) -> Markup:
    """Put a line of words below a picture."""
    return _piece("captioned", picture, caption)


def _piece(name: str, *content: Any) -> Markup:
    return cast(Markup, getattr(_pieces(), name)(*content))


@functools.cache
def _pieces() -> Any:
    return pieces("display/pieces.html.jinja")


def _cell(value: object) -> dict[str, Any]:
    """Return what is shown of a value in a table, and on which side."""
    if isinstance(value, float):
        return {"text": "–" if math.isnan(value) else f"{value:.4g}", "align": "right"}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"text": f"{value:,}", "align": "right"}
    return {"text": value, "align": "left"}


# -- pictures --------------------------------------------------------------------------------------


def heatmap(
    values: Sequence[Sequence[float]], *, label: str, cell: tuple[int, int] = (6, 5)
) -> Markup:
    """Draw a small heatmap: opaque is far from zero, orange above it and blue below.

    Args:
        values: rows from the bottom to the top; NaN leaves a gap.
        label: what it shows, for those who cannot see it.
        cell: width and height of a cell in pixels.
    """
    width, height = cell
    n_rows, n_columns = len(values), max((len(row) for row in values), default=0)
    highest = max((abs(v) for row in values for v in row if math.isfinite(v)), default=0) or 1.0
    # One path for every shade keeps the picture small.
    places: dict[int, list[str]] = {}
    for row, found in enumerate(values):
        for column, value in enumerate(found):
            level = round(_LEVELS * value / highest) if math.isfinite(value) else 0
            if level:
                place = (
                    f"M{column * width} {(n_rows - 1 - row) * height}h{width}v{height}h-{width}z"
                )
                places.setdefault(level, []).append(place)
    shades = [
        {
            "path": "".join(at),
            "fill": POSITIVE if level > 0 else NEGATIVE,
            "opacity": f"{0.1 + 0.9 * abs(level) / _LEVELS:.2f}",
        }
        for level, at in sorted(places.items())
    ]
    return _piece("heatmap", n_columns * width, n_rows * height, label, shades)


def bars(values: Sequence[float], *, label: str, width: int = 6, height: int = 60) -> Markup:
    """Draw a small bar chart of values from 0 up, left to right."""
    highest = max((value for value in values if math.isfinite(value)), default=0) or 1.0
    path = "".join(
        f"M{place * width} {height}h{width - 1}v-{height * value / highest:.1f}h-{width - 1}z"
        for place, value in enumerate(values)
        if math.isfinite(value) and value > 0
    )
    return _piece("bars", len(values) * width, height, label, path, POSITIVE)


def intervals(
    rows: Iterable[tuple[float, float, float]], *, label: str, width: int = 160, row: int = 22
) -> Markup:
    """Draw a point and its interval per row, on one scale: low, middle, high."""
    found = list(rows)
    known = [value for each in found for value in each if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    span = (high - low) or 1.0
    marks = []
    for number, each in enumerate(found):
        if all(map(math.isfinite, each)):
            a, middle, b = (f"{4 + (width - 8) * (value - low) / span:.1f}" for value in each)
            marks.append({"low": a, "middle": middle, "high": b, "y": row * (number + 0.5)})
    return _piece("intervals", width, row * len(found), label, marks, POSITIVE)

"""Small HTML for notebooks: escaped tables and thumbnail pictures, without scripts or style sheets.

Colours show on light and on dark pages: words and rules take the page's own, and marks are more or
less opaque.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Okabe and Ito's vermillion and blue, told apart with every kind of colour blindness.
POSITIVE, NEGATIVE = "#d55e00", "#0072b2"
_LEVELS = 12
_MOST_ROWS = 20
_LEFT = "text-align:left"
_TITLE = "font-weight:600;margin:0 0 .3em"
_NOTES = f"border-left:3px solid {POSITIVE};padding-left:.6em;max-width:48em"
_ROW = "display:flex;flex-wrap:wrap;gap:1em 1.5em;align-items:flex-start"


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    """Return a value as text that a page shows and does not obey."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


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
        return Markup("<p>(no rows)</p>")
    names = list(rows[0])
    head = "".join(f'<th scope="col" style="{_LEFT}">{escaped(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(_cell(row[name]) for name in names)}</tr>" for row in rows[:most])
    left = len(rows) - most
    more = f'<tr><td colspan="{len(names)}">and {left:,} more rows</td></tr>' if left > 0 else ""
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>")


def facts(found: Mapping[str, Any]) -> Markup:
    """Return names and values as a table of two columns."""
    rows = "".join(
        f'<tr><th scope="row" style="{_LEFT}">{escaped(name)}</th>{_cell(value, "left")}</tr>'
        for name, value in found.items()
    )
    return Markup(f"<table><tbody>{rows}</tbody></table>")


def card(title: str, *parts: Markup, warnings: Sequence[str] = ()) -> str:
    """Put parts side by side, as far as there is room, below a title; what to mind below them."""
    return (
        f'<div><p style="{_TITLE}">{escaped(title)}</p>'
        f'<div style="{_ROW}">{"".join(f"<div>{part}</div>" for part in parts)}</div>'
        f"{notes(warnings)}</div>"
    )


def paragraphs(sentences: Sequence[str]) -> Markup:
    """Return sentences below each other."""
    lines = "".join(f'<p style="margin:0 0 .4em">{escaped(each)}</p>' for each in sentences)
    return Markup(f'<div style="max-width:48em">{lines}</div>')


def notes(sentences: Sequence[str]) -> Markup:
    """Return what to mind in a result, as a list; nothing if there is nothing."""
    if not sentences:
        return Markup("")
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return Markup(
        f'<div style="{_NOTES}"><span style="{_TITLE}">What to mind</span>'
        f'<ul style="margin:.2em 0 0;padding-left:1.2em">{items}</ul></div>'
    )


def stacked(parts: Iterable[str]) -> str:
    """Put parts that are HTML already below each other."""
    return "".join(f'<div style="margin:0 0 1em">{part}</div>' for part in parts)


def captioned(picture: Markup, caption: str) -> Markup:
    """Put a line of words below a picture."""
    words = f'<figcaption style="font-size:.85em">{escaped(caption)}</figcaption>'
    return Markup(f'<figure style="margin:0">{picture}{words}</figure>')


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
    shades: dict[int, list[str]] = {}
    for row, found in enumerate(values):
        for column, value in enumerate(found):
            level = round(_LEVELS * value / highest) if math.isfinite(value) else 0
            if level:
                place = (
                    f"M{column * width} {(n_rows - 1 - row) * height}h{width}v{height}h-{width}z"
                )
                shades.setdefault(level, []).append(place)
    paths = "".join(
        f'<path d="{"".join(places)}" fill="{POSITIVE if level > 0 else NEGATIVE}" '
        f'fill-opacity="{0.1 + 0.9 * abs(level) / _LEVELS:.2f}"/>'
        for level, places in sorted(shades.items())
    )
    return _svg(n_columns * width, n_rows * height, label, paths)


def bars(values: Sequence[float], *, label: str, width: int = 6, height: int = 60) -> Markup:
    """Draw a small bar chart of values from 0 up, left to right."""
    highest = max((value for value in values if math.isfinite(value)), default=0) or 1.0
    path = "".join(
        f"M{place * width} {height}h{width - 1}v-{height * value / highest:.1f}h-{width - 1}z"
        for place, value in enumerate(values)
        if math.isfinite(value) and value > 0
    )
    return _svg(len(values) * width, height, label, f'<path d="{path}" fill="{POSITIVE}"/>')


def intervals(
    rows: Iterable[tuple[float, float, float]], *, label: str, width: int = 160, row: int = 22
) -> Markup:
    """Draw a point and its interval a row, on one scale: low, middle, high."""
    found = list(rows)
    known = [value for each in found for value in each if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    span = (high - low) or 1.0
    marks = []
    for number, each in enumerate(found):
        a, middle, b = (4 + (width - 8) * (value - low) / span for value in each)
        y = row * (number + 0.5)
        if not all(map(math.isfinite, (a, middle, b))):
            continue
        marks.append(
            f'<path d="M{a:.1f} {y}H{b:.1f}" stroke="currentColor"/>'
            f'<circle cx="{middle:.1f}" cy="{y}" r="3.5" fill="{POSITIVE}"/>'
        )
    return _svg(width, row * len(found), label, "".join(marks))


def _svg(width: float, height: float, label: str, content: str) -> Markup:
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2}" height="{height + 2}" '
        f'viewBox="-1 -1 {width + 2} {height + 2}" role="img" aria-label="{escaped(label)}" '
        'style="max-width:100%;height:auto">'
        f'<rect x="-.5" y="-.5" width="{width + 1}" height="{height + 1}" fill="none" '
        f'stroke="currentColor" stroke-opacity=".35"/>{content}</svg>'
    )


def _cell(value: object, numbers: str = "right") -> Markup:
    if isinstance(value, float):
        text = escaped("–" if math.isnan(value) else f"{value:.4g}")
    elif isinstance(value, int) and not isinstance(value, bool):
        text = escaped(f"{value:,}")
    else:
        text, numbers = escaped(value), "left"
    return Markup(f'<td style="text-align:{numbers}">{text}</td>')

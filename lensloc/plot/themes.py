"""Colours: the scales and styles of all figures, and how they look on a light or a dark page."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from lensloc.errors import LensLocError
from lensloc.plot.showing import Figure

Theme = Literal["light", "dark"]

# Zero blends with the page in either theme, and both scales read well in grey and for every kind
# of colour blindness. Stop by stop, the dark ones stand for the light ones.
_SEQUENTIAL: dict[Theme, tuple[str, ...]] = {
    "light": tuple(
        "#f7fbff #deebf7 #c6dbef #9ecae1 #6baed6 #4292c6 #2171b5 #08519c #08306b".split()
    ),
    "dark": tuple(
        "#1a222c #10304f #0f4377 #1c5c9e #3577b8 #7fb2e0 #a3cbea #c4def3 #e6f2fb".split()
    ),
}
# The second scale of figures that have two.
_BROWNS: dict[Theme, tuple[str, ...]] = {
    "light": tuple("#fffaf3 #f5e4cf #e9c8a3 #d9a875 #c4854b #a5642c #824615 #5d2f0a".split()),
    "dark": tuple("#221c14 #4a3116 #714a1f #97652f #b98349 #d5a26b #e9c497 #f8e6cc".split()),
}
_DIVERGING: dict[Theme, tuple[str, ...]] = {
    "light": ("#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f"),
    "dark": ("#b3dcff", "#3b8ac4", "#202226", "#cf5f45", "#ffc2ab"),
}


def _scale(colors: Sequence[str]) -> list[list[Any]]:
    return [[stop / (len(colors) - 1), color] for stop, color in enumerate(colors)]


SEQUENTIAL = _scale(_SEQUENTIAL["light"])
BROWNS = _scale(_BROWNS["light"])
DIVERGING = _scale(_DIVERGING["light"])

# Okabe and Ito's colours, told apart also by dash and symbol. Wine stands for their yellow, which
# white paper swallows, and grey for black, on which nothing can be drawn.
STYLES: tuple[dict[str, Any], ...] = tuple(
    {"color": color, "dash": dash, "symbol": symbol}
    for color, dash, symbol in (
        ("#d55e00", "solid", "circle"),
        ("#0072b2", "dash", "square"),
        ("#009e73", "dot", "diamond"),
        ("#cc79a7", "dashdot", "triangle-up"),
        ("#e69f00", "longdash", "triangle-down"),
        ("#56b4e9", "solid", "star"),
        ("#6b6b6b", "dash", "cross"),
        ("#882255", "dot", "pentagon"),
    )
)
INK = "#222222"
# Bars that are bright in the dark or dark in the light would swallow ink's error bars: these stand
# out from the bar and from the page, in either theme. The first is ink's equal in the light.
_ON_BRIGHT, _ON_WINE = "#222223", "#949494"
_ERRORS = {"#e69f00": _ON_BRIGHT, "#56b4e9": _ON_BRIGHT, "#882255": _ON_WINE}
RULE = "#888888"
PAGE = "#ffffff"

_TEMPLATES: dict[Theme, str] = {"light": "plotly_white", "dark": "plotly_dark"}
_PAGES: dict[Theme, str] = {"light": PAGE, "dark": "#14161a"}
# Every colour that figures use, in the same order in both themes.
_COLORS: dict[Theme, tuple[str, ...]] = {
    "light": (
        *_SEQUENTIAL["light"],
        *_BROWNS["light"],
        *_DIVERGING["light"],
        *("#0072b2", "#6b6b6b", "#882255", INK, RULE, PAGE, _ON_BRIGHT, _ON_WINE),
    ),
    "dark": (
        *_SEQUENTIAL["dark"],
        *_BROWNS["dark"],
        *_DIVERGING["dark"],
        *("#4499e6", "#929292", "#f0e442", "#f4f4f4", "#8a8d93", _PAGES["dark"]),
        *("#5f5f5f", "#727272"),
    ),
}
# What holds data and words, not colours.
_DATA = frozenset({"x", "y", "z", "customdata", "text", "name", "hovertext", "template"})


# When all colours were used they come again with other symbols and dashes, never hollow ones, which
# mean something else in most figures; bars come with patterns.
_MORE_SYMBOLS = (
    "hexagon star-diamond hourglass bowtie triangle-left triangle-right x hexagram".split(),
    "diamond-tall star-square star-triangle-up star-triangle-down diamond-wide octagon "
    "triangle-ne triangle-sw".split(),
)
_PATTERNS = ("/", "x")


def style(number: int) -> dict[str, Any]:
    """Return colour, dash and symbol of the curve of that number; 24 differ."""
    again, place = divmod(number, len(STYLES))
    if not again:
        return STYLES[place]
    return {
        "color": STYLES[place]["color"],
        "dash": STYLES[(place + again) % len(STYLES)]["dash"],
        "symbol": _MORE_SYMBOLS[(again - 1) % len(_MORE_SYMBOLS)][place],
    }


def bar_style(number: int) -> dict[str, Any]:
    """Return the marker of the bars of that number: its colour; beyond eight, with a pattern."""
    again, place = divmod(number, len(STYLES))
    color = STYLES[place]["color"]
    if not again:
        return {"color": color}
    pattern = _PATTERNS[(again - 1) % len(_PATTERNS)]
    return {
        "color": color,
        "pattern": {"shape": pattern, "fillmode": "replace", "fgcolor": color, "bgcolor": PAGE},
        "line": {"color": color, "width": 1},
    }


def error_bars(
    middle: ArrayLike, low: ArrayLike, high: ArrayLike, look: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the error bars of bars of that look (:func:`style`, :func:`bar_style`)."""
    heights = np.asarray(middle, dtype=float)
    return {
        "array": np.asarray(high, dtype=float) - heights,
        "arrayminus": heights - np.asarray(low, dtype=float),
        "thickness": 2,
        "color": _ERRORS.get(look["color"], INK),
    }


def themed(figure: go.Figure, theme: Theme) -> go.Figure:
    """Return a copy of a figure that suits a light or a dark page.

    Background, fonts and grid change, and so do the colours: in the dark, scales begin (or have
    their middle) near the page's black instead of its white. Nothing global changes.

    Args:
        figure: any figure of :mod:`lensloc.plot`, in either theme.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        LensLocError: for another theme.
    """
    if theme not in _COLORS:
        raise LensLocError(f"There is no theme {theme!r}; it is 'light' or 'dark'.")
    changed: dict[str, str] = {}
    for colors in _COLORS.values():
        changed |= dict(zip(colors, _COLORS[theme], strict=True))
    copy = Figure(figure)
    for trace in copy.data:
        trace.update(_recolored(trace.to_plotly_json(), changed), overwrite=True)
    copy.layout = _recolored(copy.layout.to_plotly_json(), changed)
    dress(copy, theme)
    return copy


def _recolored(value: Any, changed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: v if k in _DATA else _recolored(v, changed) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_recolored(each, changed) for each in value]
    return changed.get(value, value) if isinstance(value, str) else value


def dress(figure: go.Figure, theme: Theme) -> None:
    """Give a figure the template and the background of a theme."""
    page = _PAGES[theme]
    figure.update_layout(template=_TEMPLATES[theme], paper_bgcolor=page, plot_bgcolor=page)

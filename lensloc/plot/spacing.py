"""Room for names around panels: titles above them, a legend below."""

from collections.abc import Iterable, Sequence
from math import ceil

import plotly.graph_objects as go

from lensloc.plot.labels import labels, longest_line, most_lines

# In pixels: a letter and a line of a panel's title; a letter of a legend's entry, its symbol with
# what stands around it, a line, and what is between two entries below each other.
_TITLE_LETTER, _TITLE_LINE = 8.5, 21
_LETTER, _SYMBOL, _LINE, _BETWEEN = 7.2, 62, 17, 5
_LEAST = 6  # letters of a line of a panel's title


def panel_titles(
    names: Iterable[object], width: float, lines: int = 3, *, size: int = 16
) -> list[str]:
    """Return titles of panels, in lines that are no wider than a panel.

    Args:
        names: what the panels show; of two that would look the same, both are numbered.
        width: of a panel, pixels.
        lines: at most so many.
        size: of the font.

    Example:
        >>> panel_titles(["pairs that are right and wrong"], 120)
        ['pairs that are<br>right and<br>wrong']
    """
    return labels(map(str, names), max(_LEAST, int(width / _TITLE_LETTER * 16 / size)), lines)


def heading(titles: Sequence[str]) -> int:
    """Return how much higher than one line the titles of panels are, in pixels.

    Example:
        >>> heading(["one", "two<br>lines"])
        21
    """
    return _TITLE_LINE * (most_lines(titles) - 1)


def legend_below(figure: go.Figure, gap: int) -> None:
    """Put the legend below the panels, in columns, and make the figure as much higher.

    Args:
        figure: with its size and margins; the panels keep theirs.
        gap: room for ticks and titles of axes between panels and legend, pixels.
    """
    names = legend_of(figure)
    layout = figure.layout
    inside = layout.width - layout.margin.l - layout.margin.r
    panels = layout.height - layout.margin.t - layout.margin.b
    columns = max(1, int(inside / (_LETTER * longest_line(names) + _SYMBOL)))
    # One behind the other where all fit, which narrower entries do sooner.
    if sum(_LETTER * longest_line([name]) + _SYMBOL for name in names) <= inside:
        columns = max(1, len(names))
    room = ceil(len(names) / columns) * (_LINE * most_lines(names) + _BETWEEN)
    below = gap + (room + 8 if names else 0)
    figure.update_layout(
        legend={
            "orientation": "h", "x": 0, "xanchor": "left", "y": -gap / panels, "yanchor": "top",
            "traceorder": "normal",
        },
        margin={"b": below},
        height=layout.margin.t + panels + below,
    )  # fmt: skip


def legend_of(figure: go.Figure) -> list[str]:
    """Return the entries of a figure's legend."""
    return [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]

"""Which networks share units: a matrix of networks."""

from typing import Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.plot.common import finish
from lensloc.plot.labels import labels, literal, longest_line, most_lines
from lensloc.plot.showing import Figure
from lensloc.plot.themes import SEQUENTIAL

Measure = Literal["dice", "jaccard", "ratio", "n_both"]

_TITLES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "ratio": "times<br>chance",
    "n_both": "shared<br>units",
}
_LETTER = 8  # pixels of a letter of a name
_NEEDED = ("first", "second", "n_first", "n_second", "n_both", "n_expected", "ratio", "p")


def overlap(
    table: pd.DataFrame, *, measure: Measure = "dice", title: str | None = None
) -> go.Figure:
    """Show how far every two networks overlap, as a triangle of networks.

    Args:
        table: what :func:`lensloc.units.overlaps.overlap` counted, of one site.
        measure: the column that colours the cells: ``"dice"``, ``"jaccard"``, ``"ratio"`` (shared
            units over those that chance would share) or ``"n_both"``.
        title: of the figure.

    Returns:
        A heatmap, network x network; in every cell the measure, the number of shared units, and
        how many times chance that is.

    Raises:
        LensLocError: for another measure, an empty table, one that lacks a column, or one with
            several rows for a pair of networks.
    """
    require_a(pd.DataFrame, table, "table")
    if measure not in _TITLES:
        raise LensLocError(
            f"There is no measure {measure!r}; there are {', '.join(get_args(Measure))}."
        )
    missing = [name for name in dict.fromkeys((*_NEEDED, measure)) if name not in table.columns]
    if missing or table.empty:
        what = f"lacks the column {missing[0]!r}" if missing else "is empty"
        raise LensLocError(f"The table of overlaps {what}; give the one that ll.overlap returns.")
    if table.duplicated(["first", "second"]).any():
        raise LensLocError(
            "The table has several rows for a pair of networks; give the rows of one site only."
        )
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    sizes = dict(zip(table["first"], table["n_first"], strict=True))
    sizes |= dict(zip(table["second"], table["n_second"], strict=True))
    numbers = [f"<br>{sizes[name]:,} unit{'s' if sizes[name] != 1 else ''}" for name in names]
    width = max(96, min(150, 640 // max(1, len(names) - 1)))
    letters = min(16, width // _LETTER)
    across = [a + b for a, b in zip(labels(names, letters, 3), numbers, strict=True)][:-1]
    down = [a + b for a, b in zip(labels(names, 20, 3), numbers, strict=True)][1:]
    rows, columns = names[1:], names[:-1]
    z = np.full((len(rows), len(columns)), np.nan)
    text = np.full(z.shape, "", dtype=object)
    hover = np.full(z.shape, "", dtype=object)
    for _, pair in table.iterrows():
        # Rows of another order of the networks still fall below the diagonal.
        one, two = sorted((names.index(pair["first"]), names.index(pair["second"])))
        z[two - 1, one] = pair[measure]
        text[two - 1, one] = _cell(pair, measure)
        hover[two - 1, one] = _hover(pair)
    highest = float(np.nanmax(z))
    figure = Figure(
        go.Heatmap(
            z=z,
            x=across,
            y=down,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=highest or 1.0,
            xgap=3,
            ygap=3,
            text=text,
            texttemplate="%{text}",
            textfont={"size": 12},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorbar={"title": {"text": _TITLES[measure]}, "thickness": 14},
        )
    )
    site = f" at {table['site'].iloc[0]}" if "site" in table.columns else ""
    finish(
        figure,
        title or f"Units that networks share{site}",
        width=max(460, 180 + 7 * longest_line(down) + width * len(columns)),
        height=170 + 20 * most_lines(across) + 76 * len(rows),
    )
    figure.update_xaxes(showgrid=False, tickangle=0)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def _cell(pair: "pd.Series[float]", measure: Measure) -> str:
    lines = [f"{pair['n_both']:,} shared", f"{pair['ratio']:.1f} × chance"]
    if measure in ("dice", "jaccard"):
        return "<br>".join([f"<b>{pair[measure]:.2f}</b>", *lines])
    first = int(measure == "ratio")
    return f"<b>{lines[first]}</b><br>{lines[1 - first]}"


def _hover(pair: "pd.Series[float]") -> str:
    first, second = (literal(str(pair[name])) for name in ("first", "second"))
    lines = [
        f"{first} ({pair['n_first']:,} units) and {second} ({pair['n_second']:,} units)",
        f"{pair['n_both']:,} shared; {pair['n_expected']:.1f} by chance, p = {pair['p']:.2g}",
    ]
    if "n_expected_by_layer" in pair:
        lines.append(f"{pair['n_expected_by_layer']:.1f} by chance within the same layers")
    return "<br>".join(lines)

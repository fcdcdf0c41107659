"""The specification curve: what every analyst would have found, and by which choices."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.display.sentences.specifications import VERDICTS
from lensloc.errors import LensLocError
from lensloc.plot.common import brief, finish
from lensloc.plot.labels import labels, literal, longest_line
from lensloc.plot.showing import panels
from lensloc.plot.themes import INK, PAGE, RULE, STYLES
from lensloc.results.specification_counts import by_value_of
from lensloc.results.specification_curves import Multiverse, shown

_LETTER, _ROW = 6.6, 17  # of the names of values, in pixels
_CURVE, _DROPS = 250, 150  # heights of the panels above
_NARROW = 3.0  # points that are smaller, in pixels, are drawn as strokes
_LOOKS: dict[str, dict[str, Any]] = {
    "holds": {"color": STYLES[0]["color"], "symbol": "circle"},
    "not told apart": {"color": STYLES[6]["color"], "symbol": "circle"},
    "reversed": {"color": STYLES[1]["color"], "symbol": "diamond"},
    "no harm": {"color": STYLES[2]["color"], "symbol": "square"},
    "open": {"color": STYLES[6]["color"], "symbol": "circle-open"},
}
_WORDS = {
    "holds": "more harm than controls",
    "not told apart": "not told apart",
    "reversed": "less harm than controls",
    "no harm": "no harm",
    "open": "nothing can be concluded",
}


def multiverse(
    found: Multiverse, *, task: str | None = None, title: str | None = None
) -> go.Figure:
    """Show every specification, sorted by what its units cost more than control units do.

    Above, the difference from control units with its interval, coloured by verdict; below that the
    two drops, of the chosen units and of their controls; at the bottom, the choices of which each
    specification is made, one column per specification. Numbers at the right say in how many of the
    specifications with that value the claim holds. A line marks the reference specification.

    Args:
        found: what :func:`lensloc.multiverse` measured.
        task: which task; the first if None.
        title: of the figure.

    Returns:
        Three panels above each other, with one axis of specifications.

    Raises:
        LensLocError: if there is no such task.
    """
    require_a(Multiverse, found, "found")
    known = list(dict.fromkeys(found.table["task"]))
    task = known[0] if task is None else task
    if task not in known:
        raise LensLocError(f"There is no task {task!r}; there are {', '.join(known)}.")
    rows = found.table[found.table["task"] == task]
    rows = rows.sort_values(["difference", "specification"], kind="stable", ignore_index=True)
    matrix = _matrix(found, task)
    n, n_rows = len(rows), max(1, len(matrix))
    names = labels([str(value) for value in matrix["shown"]], width=26, lines=1)
    heads = labels([str(choice) for choice in matrix["choice"]], width=16, lines=1)
    left = int(40 + _LETTER * (longest_line(names) + longest_line(heads)))
    width = max(760, min(1280, left + 180 + 7 * n))
    size = float(np.clip(0.75 * (width - left - 100) / n, 2.2, 8.0))
    heights = [_CURVE, _DROPS, _ROW * n_rows + 20]
    figure = panels(rows=3, cols=1, shared_xaxes=True, vertical_spacing=34 / (sum(heights) + 68),
                    row_heights=heights)  # fmt: skip
    texts = [_hover(row, found.varied) for row in rows.to_dict("records")]
    _add_curve(figure, rows, texts, size)
    _add_drops(figure, rows, texts, size)
    _add_matrix(figure, rows, matrix, size)
    for place in rows.index[rows["reference"]]:
        for panel in (1, 2, 3):
            figure.add_vline(
                x=place, line={"color": INK, "width": 1, "dash": "dot"}, layer="below",
                row=panel, col=1,
            )  # fmt: skip
    figure.add_hline(y=0, line={"color": RULE, "width": 1}, row=1, col=1)
    figure.add_hline(y=0, line={"color": RULE, "width": 1}, row=2, col=1)
    unit = _unit(str(rows["measure"].iloc[0]))
    figure.update_yaxes(title={"text": f"difference<br>({unit})", "standoff": 4}, row=1, col=1)
    figure.update_yaxes(title={"text": f"drop<br>({unit})", "standoff": 4}, row=2, col=1)
    ticks = [
        f"<b>{head}</b>  {name}" if first else name
        for head, name, first in zip(heads, names, matrix["first"], strict=True)
    ]
    figure.update_yaxes(
        tickvals=list(range(len(ticks))), ticktext=ticks, range=[n_rows - 0.4, -0.6],
        showgrid=False, zeroline=False, row=3, col=1,
    )  # fmt: skip
    figure.update_xaxes(
        range=[-1, n], showgrid=False, zeroline=False, showticklabels=False, title=""
    )
    figure.update_xaxes(title=f"{n} specifications, sorted by difference", row=3, col=1)
    default = f"Harm to {brief(task)} under every choice: chosen units against controls"
    finish(figure, title or default, width=width, height=sum(heights) + 210)
    entries = [trace.name for trace in figure.data if trace.showlegend is not False]
    across = max(1, (width - left - 84) // int(60 + _LETTER * longest_line(entries)))
    lines = -(-len(entries) // across)  # of the legend
    figure.update_layout(
        margin={"l": left, "r": 84, "b": 56, "t": figure.layout.margin.t + 16 + 20 * lines},
        height=sum(heights) + 170 + 20 * lines,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
            "itemsizing": "constant",
        },
    )
    return figure


def _matrix(found: Multiverse, task: str) -> pd.DataFrame:
    """Return one row per value of every choice: its name, and in how many the claim holds."""
    table = by_value_of(found.table, found.varied, task)
    first = ~table["choice"].duplicated()
    made: pd.DataFrame = table.assign(shown=table["value"], first=first)
    return made


def _add_curve(figure: go.Figure, rows: pd.DataFrame, texts: list[str], size: float) -> None:
    for verdict in VERDICTS:
        mine = rows[rows["verdict"] == verdict]
        if mine.empty:
            continue
        look = _LOOKS[verdict]
        figure.add_trace(  # what the legend shows, whatever the points look like
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                marker={"size": 8, **look},
                name=f"{_WORDS[verdict]} ({len(mine)})",
                legendgroup=verdict,
            ),
            row=1,
            col=1,
        )
        figure.add_trace(
            go.Scatter(
                x=mine.index,
                y=mine["difference"],
                error_y={
                    "array": mine["difference_high"] - mine["difference"],
                    "arrayminus": mine["difference"] - mine["difference_low"],
                    "thickness": 1 if size >= _NARROW else 0.6,
                    "width": 0,
                    "color": look["color"],
                },
                mode="markers",
                # Where intervals touch, points of their colour could not be seen.
                marker={"size": size, **look, **({"color": INK} if size < _NARROW else {})},
                name=_WORDS[verdict],
                legendgroup=verdict,
                showlegend=False,
                text=[texts[place] for place in mine.index],
                hovertemplate="%{text}<br>difference %{y:.3g}<extra></extra>",
            ),
            row=1,
            col=1,
        )


def _add_drops(figure: go.Figure, rows: pd.DataFrame, texts: list[str], size: float) -> None:
    for name, column, look in (
        ("drop of chosen units", "network_drop", {"color": INK, "symbol": "circle"}),
        ("drop of controls (mean)", "control_drop",
         {"color": PAGE, "symbol": "circle", "line": {"color": STYLES[5]["color"], "width": 1.5}}),
    ):  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=rows.index,
                y=rows[column],
                mode="markers",
                marker={"size": max(2.2, 0.8 * size), **look},
                name=name,
                text=texts,
                hovertemplate="%{text}<br>" + name + " %{y:.3g}<extra></extra>",
            ),
            row=2,
            col=1,
        )


def _add_matrix(figure: go.Figure, rows: pd.DataFrame, matrix: pd.DataFrame, size: float) -> None:
    for number, each in enumerate(matrix.to_dict("records")):
        values = rows[each["choice"]].map(lambda value: "" if value == "" else shown(value))
        mine = rows.index[values == each["value"]]
        for verdict in VERDICTS:
            at = [place for place in mine if rows["verdict"][place] == verdict]
            if not at:
                continue
            figure.add_trace(
                go.Scatter(
                    x=at,
                    y=[number] * len(at),
                    mode="markers",
                    marker={
                        "size": min(size, 6.5) if size >= _NARROW else 9,
                        "color": _LOOKS[verdict]["color"],
                        "symbol": "line-ns-open" if size < _NARROW else _LOOKS[verdict]["symbol"],
                    },
                    showlegend=False,
                    hovertemplate=f"{literal(str(each['choice']))}: {literal(str(each['value']))}"
                    "<extra></extra>",
                ),
                row=3,
                col=1,
            )
        if each["first"] and number:
            figure.add_hline(y=number - 0.5, line={"color": RULE, "width": 0.5}, row=3, col=1)
        figure.add_annotation(
            x=1.005, xref="x3 domain", xanchor="left", y=number, yref="y3", showarrow=False,
            text=f"{each['holds']}/{each['specifications']}", font={"size": 11},
        )  # fmt: skip
    figure.add_annotation(
        x=1.005, xref="x3 domain", xanchor="left", y=1, yref="y3 domain", yanchor="bottom",
        showarrow=False, text="holds in", font={"size": 11},
    )  # fmt: skip


def _hover(row: dict[str, Any], varied: tuple[str, ...]) -> str:
    words = [f"{name}: {literal(shown(row[name]))}" for name in varied if row[name] != ""]
    return "<br>".join(words)


def _unit(measure: str) -> str:
    return {"accuracy": "share of items", "perplexity": "nats per token"}.get(measure, measure)

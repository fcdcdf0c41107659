"""Networks x tasks: what lesions break, beside controls, and how specific that is."""

import numpy as np
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.plot.common import few, finish, titled
from lensloc.plot.labels import labels, literal, longest_line, most_lines
from lensloc.plot.showing import panels
from lensloc.plot.spacing import heading, legend_below, panel_titles
from lensloc.plot.themes import DIVERGING, INK, PAGE, RULE, style
from lensloc.results.dissociation import Index
from lensloc.results.lesion_cases import NETWORK
from lensloc.results.specificities import Specificity

_PALE = 0.25  # smaller losses than this share are shown pale
# In pixels: a cell, one of many tasks, a row; between panels; strip of indices; colour scale; line.
_CELL, _NARROW_CELL, _ROW, _GAP, _STRIP, _SCALE, _LINE = 92, 58, 64, 34, 260, 120, 22
_MANY = 6


def specificity(
    found: Specificity, *, kind: str | None = None, title: str | None = None
) -> go.Figure:
    """Show what every network's lesion costs every task, beside controls, and the indices.

    Two heatmaps, network x task, of the networks' own lesions and of their controls' mean: the
    share of the room to fall that is lost, red for harm. A network's own tasks are outlined. A loss
    that is not told apart from the controls' is in brackets; a task without room to fall is left
    blank and says so. Then every network's index (its own tasks' loss minus that of others) beside
    the indices of its control draws, with the interval of the difference. With more than six tasks
    the three stand below each other.

    Args:
        found: what :func:`lensloc.specificity` measured.
        kind: of control; the first one that was drawn if None.
        title: of the figure.

    Returns:
        Heatmaps and a strip, one row per network.

    Raises:
        LensLocError: if that control was not measured, or not drawn.
    """
    require_a(Specificity, found, "found")
    kind = found.drawn_kind(kind)
    held = found.found[kind]
    own, beside = found.matrix("share", kind), found.matrix("control_share", kind)
    ends = float(np.nanmax(np.abs(np.stack([own.to_numpy(float), beside.to_numpy(float)]))))
    end = min(1.0, max(_PALE, ends))
    # Of many tasks, names stand upright, and the panels below each other.
    many = len(own.columns) > _MANY
    cell = _NARROW_CELL if many else _CELL
    down, across = labels(own.index, 18, 2), labels(own.columns, *((30, 1) if many else (11, 3)))
    panel = cell * len(across)
    row = _ROW if len(down) <= _MANY else max(30, 6 + 17 * most_lines(down))
    below = 20 + (int(6.6 * longest_line(across)) if many else 16 * most_lines(across))
    named = ["the network's lesion", f"its controls ({kind}, mean of draws)"]
    titles = [*panel_titles(named, panel - 10), "index: own tasks minus others"]
    head = _LINE + heading(titles)
    height = max(150, row * len(down))
    widths = [panel] if many else [panel, panel, _STRIP]
    total = sum(widths) + (len(widths) - 1) * _GAP
    whole = height if not many else 3 * height + 2 * (below + head)
    places = [{"row": n, "col": 1} if many else {"row": 1, "col": n} for n in (1, 2, 3)]
    figure = panels(
        rows=3 if many else 1,
        cols=1 if many else 3,
        column_widths=widths,
        horizontal_spacing=0 if many else _GAP / total,
        vertical_spacing=(below + head) / whole if many else 0,
        shared_yaxes=True,
        subplot_titles=titles,
    )
    for number, (matrix, of) in enumerate(((own, NETWORK), (beside, kind))):
        figure.add_trace(
            go.Heatmap(
                z=matrix.to_numpy(float),
                x=across,
                y=down,
                colorscale=DIVERGING,
                zmin=-end,
                zmax=end,
                xgap=2,
                ygap=2,
                text=_cells(found, kind, of),
                texttemplate="%{text}",
                textfont={"size": 12},
                customdata=_hover(found, kind),
                hovertemplate="%{customdata}<extra></extra>",
                showscale=number == 0,
                colorbar={
                    "title": {"text": "share of the<br>room to fall", "side": "right"},
                    "thickness": 14,
                    "nticks": 4,
                },
            ),
            **places[number],
        )
        for line, network in enumerate(own.index):
            for place, task in enumerate(own.columns):
                if task in found.domains.get(str(network), ()):
                    figure.add_shape(
                        type="rect",
                        x0=place - 0.5, x1=place + 0.5, y0=line - 0.5, y1=line + 0.5,
                        line={"color": INK, "width": 2}, **places[number],
                    )  # fmt: skip
    at = dict(zip(own.index, down, strict=True))
    for number, index in enumerate(held.networks):
        _add_index(figure, index, at[index.network], held.confidence, places[2], first=number == 0)
    # After the indices, since plotly draws no line in an empty panel.
    figure.add_vline(x=0, line={"color": RULE, "width": 1}, **places[2])
    model = few(found.study.table["model"], "models")
    left = max(90, 24 + 8 * longest_line(down))
    finish(
        figure,
        title or titled("What lesions of networks cost their own tasks and others", model),
        width=left + total + _SCALE,
        height=400,
    )
    top = figure.layout.margin.t + head
    figure.update_layout(
        margin={"t": top, "b": below, "l": left, "r": _SCALE}, height=top + whole + below
    )
    for where in places[:2]:
        figure.update_xaxes(showgrid=False, tickangle=-90 if many else 0, type="category", **where)
    figure.update_xaxes(type="linear", zeroline=False, nticks=6, **places[2])
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category", ticklabelstandoff=6)
    legend_below(figure, gap=46 if many else below + 10)
    if not many:  # below the strip, to which it belongs
        figure.update_layout(legend={"x": 1, "xanchor": "right"})
    return figure


def _add_index(
    figure: go.Figure,
    index: Index,
    row: str,
    confidence: float,
    place: dict[str, int],
    *,
    first: bool,
) -> None:
    """Draw a network's index beside those of its draws, with the interval of the difference."""
    draws, look, plain = list(index.draws), style(0), style(6)
    figure.add_trace(
        go.Scatter(
            x=draws,
            y=[row] * len(draws),
            mode="markers",
            marker={"color": plain["color"], "opacity": 0.55, "size": 7},
            name="control draws",
            legendgroup="draws",
            showlegend=first,
            hovertemplate="draw: %{x:.2f}<extra></extra>",
        ),
        **place,
    )
    below, above = index.difference - index.low, index.high - index.difference
    has_ends = bool(np.isfinite([below, above]).all())
    figure.add_trace(
        go.Scatter(
            x=[index.index],
            y=[row],
            mode="markers",
            marker={"color": look["color"], "size": 12, "line": {"color": PAGE, "width": 1}},
            error_x={
                "array": [above if has_ends else 0],
                "arrayminus": [below if has_ends else 0],
                "thickness": 1.5,
                "color": look["color"],
            },
            name="network",
            legendgroup="network",
            showlegend=first,
            customdata=[[index.difference, index.low, index.high, index.p]],
            hovertemplate=f"{literal(index.network)}: %{{x:.2f}}<br>difference from the draws' mean"
            " %{customdata[0]:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}] "
            f"({100 * confidence:g} %)<br>p %{{customdata[3]:.3f}}<extra></extra>",
        ),
        **place,
    )


def _cells(found: Specificity, kind: str, of: str) -> list[list[str]]:
    """Return what stands in every cell of the networks' panel, or of the controls'."""
    name = "share" if of == NETWORK else "control_share"
    shares, p = found.matrix(name, kind), found.matrix("p_more", kind)
    level = 1 - found.study.confidence
    cells = []
    for network in shares.index:
        row = []
        for task in shares.columns:
            share = float(shares.loc[network, task])
            if np.isnan(share):
                row.append("no number" if task in found.with_room else "no room")
                continue
            words = f"{share:.2f}".replace("-0.00", "0.00")
            apart = of != NETWORK or float(p.loc[network, task]) <= level
            row.append(words if apart else f"({words})")
        cells.append(row)
    return cells


def _hover(found: Specificity, kind: str) -> list[list[str]]:
    table = found.table
    rows = table[(table["kind"] == kind) | table["kind"].isna()].set_index(["network", "task"])
    hover = []
    for network in found.networks:
        lines = []
        for task in found.tasks:
            row = rows.loc[(network, task)]
            head = f"{literal(network)} lesioned, {literal(task)} measured"
            if np.isnan(row["room"]):
                lines.append(f"{head}<br>no room to fall: intact {row['intact']:.2f}")
                continue
            lines.append(
                f"{head} ({row['n_items']} items)<br>intact {row['intact']:.2f}, room "
                f"{row['room']:.2f}<br>drop {row['drop']:.3f} [{row['drop_low']:.3f}, "
                f"{row['drop_high']:.3f}]<br>{row['draws']:g} draws {row['control_drop']:.3f}<br>"
                f"difference {row['difference']:.3f} [{row['difference_low']:.3f}, "
                f"{row['difference_high']:.3f}], p {row['p_more']:.3f}"
            )
        hover.append(lines)
    return hover

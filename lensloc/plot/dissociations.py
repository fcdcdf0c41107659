"""Networks x tasks: what lesions break, beside controls, and how specific that is."""

import numpy as np
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.plot.common import brief, finish, titled
from lensloc.plot.labels import labels, literal, longest_line, most_lines, wrapped
from lensloc.plot.showing import panels
from lensloc.plot.themes import DIVERGING, INK, PAGE, RULE, style
from lensloc.results.dissociation import Index
from lensloc.results.lesion_cases import NETWORK
from lensloc.results.specificities import Specificity

_PALE = 0.25  # smaller losses than this share are shown pale
_CELL, _GAP, _STRIP, _SCALE, _LINE = 92, 34, 260, 120, 22


def specificity(
    found: Specificity, *, kind: str | None = None, title: str | None = None
) -> go.Figure:
    """Show what every network's lesion costs every task, beside controls, and the indices.

    Two heatmaps, network x task, of the networks' own lesions and of their controls' mean: the
    share of the room to fall that is lost, red for harm. A network's own tasks are outlined. A loss
    that is not told apart from the controls' is in brackets; a task without room to fall is left
    blank and says so. On the right every network's index (its own tasks' loss minus that of
    others) beside the indices of its control draws, with the interval of the difference.

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
    down, across = labels(own.index, 18, 2), labels(own.columns, 11, 3)
    ends = float(np.nanmax(np.abs(np.stack([own.to_numpy(float), beside.to_numpy(float)]))))
    end = min(1.0, max(_PALE, ends))
    panel = _CELL * len(across)
    widths = [panel, panel, _STRIP]
    titles = [
        "the network's lesion",
        wrapped(f"its controls ({literal(kind)}, mean of draws)", panel // 8),
        "index: own tasks minus others",
    ]
    total = sum(widths) + 2 * _GAP
    figure = panels(
        rows=1,
        cols=3,
        column_widths=widths,
        horizontal_spacing=_GAP / total,
        shared_yaxes=True,
        subplot_titles=titles,
    )
    for column, (matrix, of) in enumerate(((own, NETWORK), (beside, kind)), start=1):
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
                showscale=column == 1,
                colorbar={
                    "title": {"text": "share of<br>the room<br>to fall"},
                    "thickness": 14,
                    "nticks": 4,
                },
            ),
            row=1,
            col=column,
        )
        for row, network in enumerate(own.index):
            for place, task in enumerate(own.columns):
                if task in found.domains.get(str(network), ()):
                    figure.add_shape(
                        type="rect",
                        x0=place - 0.5, x1=place + 0.5, y0=row - 0.5, y1=row + 0.5,
                        line={"color": INK, "width": 2},
                        row=1, col=column,
                    )  # fmt: skip
    figure.add_vline(x=0, line={"color": RULE, "width": 1}, row=1, col=3)
    at = dict(zip(own.index, down, strict=True))
    for number, index in enumerate(held.networks):
        _add_index(figure, index, at[index.network], held.confidence, first=number == 0)
    model = ", ".join(map(brief, found.study.table["model"].unique()))
    finish(
        figure,
        title or titled("What lesions of networks cost their own tasks and others", model),
        width=total + _SCALE + 120,
        height=400,
    )
    heading = _LINE * most_lines(titles)
    top, bottom = figure.layout.margin.t + heading, 70 + 16 * most_lines(across)
    left = max(90, 24 + 8 * longest_line(down))
    figure.update_layout(
        margin={"t": top, "b": bottom, "l": left, "r": _SCALE},
        width=left + total + _SCALE,
        height=top + bottom + max(150, 64 * len(down)),
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": -46 / max(150, 64 * len(down)),
                "yanchor": "top"},
    )  # fmt: skip
    figure.update_xaxes(showgrid=False, tickangle=0, type="category", col=1)
    figure.update_xaxes(showgrid=False, tickangle=0, type="category", col=2)
    figure.update_xaxes(type="linear", zeroline=False, nticks=6, col=3)
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category", ticklabelstandoff=6)
    return figure


def _add_index(figure: go.Figure, index: Index, row: str, confidence: float, first: bool) -> None:
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
        row=1,
        col=3,
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
        row=1,
        col=3,
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

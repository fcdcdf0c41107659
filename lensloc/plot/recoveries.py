"""How much of a difference k units carry: faithfulness, completeness, estimated against exact."""

import numpy as np
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.plot.common import brief, finish
from lensloc.plot.labels import literal
from lensloc.plot.showing import panels
from lensloc.plot.spacing import legend_below
from lensloc.plot.themes import RULE, style
from lensloc.results.faithful import COMPLETENESS, FAITHFULNESS, Faithfulness
from lensloc.results.recovery import Recovery

_TITLES = {
    FAITHFULNESS: "faithfulness: first k clean,<br>all others corrupted",
    COMPLETENESS: "completeness: first k corrupted,<br>all others clean",
}
_GREY = "#8c8c8c"


def faithfulness(found: Faithfulness, *, title: str | None = None) -> go.Figure:
    """Show what share of the clean-corrupted difference the first k units of rankings carry.

    One panel per curve, one colour per ranking with its 95 % band over pairs; random rankings are
    grey, each thin. A third panel, where units were patched by themselves, sets estimated effects
    of pairs against exact ones.

    Args:
        found: what :func:`lensloc.faithfulness` measured.
        title: of the figure.

    Returns:
        Shares over numbers of units (logarithmic).
    """
    require_a(Faithfulness, found, "found")
    estimated = [name for name in found.curves if name in found.layer_agreement]
    exact = bool(estimated) and len(found.exact) > 0
    titles = [*_TITLES.values(), *(["single units:<br>estimated against exact"] if exact else [])]
    figure = panels(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.08)
    for column, curve in enumerate(_TITLES, start=1):
        place = {"row": 1, "col": column}
        for number, drawn in enumerate(found.random[curve]):
            figure.add_trace(_random(drawn, first=number == 0 and column == 1), **place)
        for number, (name, both) in enumerate(found.curves.items()):
            for trace in _curve(both[curve], name, number, first=column == 1):
                figure.add_trace(trace, **place)
        for level in (0, 1):
            figure.add_hline(y=level, line={"color": RULE, "width": 1}, **place)
        figure.update_xaxes(title="units (k)", type="log", nticks=6, **place)
        figure.update_yaxes(tickformat=".0%", **place)
    figure.update_yaxes(title="share of the difference", row=1, col=1)
    if exact:
        for number, name in enumerate(found.curves):
            if name in estimated:
                figure.add_trace(_scatter(found, name, number), row=1, col=3)
        ends = [float(found.exact["exact"].min()), float(found.exact["exact"].max())]
        figure.add_trace(
            go.Scatter(x=ends, y=ends, mode="lines", line={"color": RULE}, showlegend=False,
                       hoverinfo="skip"),
            row=1, col=3,
        )  # fmt: skip
        figure.update_xaxes(title="exact patching (nats)", row=1, col=3)
        figure.update_yaxes(title="estimate (nats)", row=1, col=3)
    model = f" in {brief(found.model)}" if found.model else ""
    default = f"What units at {found.site} carry: {brief(found.pairs)}{model}"
    finish(figure, title or default, width=130 + 330 * len(titles), height=450)
    figure.update_layout(margin={"t": figure.layout.margin.t + 44, "b": 64})
    legend_below(figure, gap=64)
    return figure


def _random(drawn: Recovery, *, first: bool) -> go.Scatter:
    return go.Scatter(
        x=drawn.sizes,
        y=drawn.share,
        mode="lines",
        line={"color": _GREY, "width": 1},
        opacity=0.6,
        name="random units",
        legendgroup="random units",
        showlegend=first,
        hovertemplate="random: %{x:,} units, %{y:.1%}<extra></extra>",
    )


def _curve(found: Recovery, name: str, number: int, *, first: bool) -> list[go.Scatter]:
    look = style(number)
    around = np.concatenate([found.sizes, found.sizes[::-1]])
    band = go.Scatter(
        x=around,
        y=np.concatenate([found.low, found.high[::-1]]),
        mode="lines",
        fill="toself",
        opacity=0.2,
        fillcolor=look["color"],
        line={"width": 0, "color": look["color"]},
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=found.sizes,
        y=found.share,
        mode="lines+markers",
        marker={"symbol": look["symbol"], "size": 7, "color": look["color"]},
        name=name,
        line={"color": look["color"], "dash": look["dash"]},
        legendgroup=name,
        showlegend=first,
        customdata=np.stack([found.low, found.high], axis=-1),
        hovertemplate=f"{literal(name)}: %{{x:,}} units, %{{y:.1%}} (%{{customdata[0]:.1%}} to "
        "%{customdata[1]:.1%})<extra></extra>",
    )
    return [band, line]


def _scatter(found: Faithfulness, name: str, number: int) -> go.Scatter:
    look = style(number)
    return go.Scatter(
        x=found.exact["exact"],
        y=found.exact[name],
        mode="markers",
        marker={"symbol": look["symbol"], "size": 8, "color": look["color"]},
        name=name,
        legendgroup=name,
        showlegend=False,
        customdata=found.exact["address"],
        hovertemplate="%{customdata}<br>exact %{x:.3g}, estimate %{y:.3g} nats<extra></extra>",
    )

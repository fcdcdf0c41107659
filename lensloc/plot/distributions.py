"""How t is distributed over units, beside what shuffled labels give."""

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float

from lensloc.arguments import require_a
from lensloc.errors import LensLocError, refuse_idle
from lensloc.plot.common import about, contrast_of, finish, name_of_t, size_in_words, titled
from lensloc.plot.showing import Figure
from lensloc.plot.themes import INK, STYLES
from lensloc.selectivity import MaxT, Selectivity

_BINS = 80
_OBSERVED, _NULL = STYLES[5]["color"], STYLES[0]["color"]


def t_histogram(
    found: Selectivity,
    null: MaxT | None = None,
    *,
    alpha: float = 0.05,
    density: bool = False,
    log: bool = False,
    title: str | None = None,
) -> go.Figure:
    """Show how t is distributed over the units of a site, beside the permutation null.

    Args:
        found: statistics of one site.
        null: the same statistics under shuffled labels. Their average histogram is drawn as a
            line. Dashed lines stand at the t above which a unit's p, corrected by the largest t of
            every permutation (Westfall and Young 1993), is at most ``alpha``, with the number of
            units beyond.
        alpha: family-wise error of that line; refused without a null.
        density: share of units for each step of 1 in t, instead of units per bin.
        log: logarithmic heights, on which the tails can be seen.
        title: of the figure.

    Returns:
        Bars of the observed t, and lines of the null.

    Raises:
        LensLocError: if the null was made for other statistics, or has too few permutations for
            ``alpha``.
    """
    require_a(Selectivity, found, "found")
    if null is not None:
        require_a(MaxT, null, "null")
    t = found.t[found.units].numpy()
    if null is None:
        reason = "the line stands in a null; leave it out, or give null"
        refuse_idle(reason, alpha=alpha != 0.05)
    else:
        _require_same(null, found)
    edges = _edges(t) if null is None else null.null_edges
    counts, _ = np.histogram(np.clip(t, edges[0], edges[-1]), edges)
    figure = Figure()
    figure.add_trace(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=_heights(counts.astype(float), edges, len(t), density),
            width=np.diff(edges),
            customdata=np.stack([edges[:-1], edges[1:], counts], axis=-1),
            marker={"color": _OBSERVED, "line": {"width": 0}},
            name="units",
            hovertemplate="t from %{customdata[0]:.2f} to %{customdata[1]:.2f}: "
            "%{customdata[2]:,} units<extra></extra>",
        )
    )
    figure.update_xaxes(range=[edges[0], edges[-1]])
    if null is not None:
        _add_null(figure, null, len(t), density, log)
        _add_thresholds(figure, found, null, alpha)
    default = titled(
        f"t of {size_in_words(found)} units at {found.site}: {contrast_of(found)}",
        about([found.provenance]),
    )
    finish(figure, title or default, width=820, height=440)
    figure.update_xaxes(title=name_of_t(found), zeroline=True)
    heights = [np.asarray(trace.y, dtype=float) for trace in figure.data[:2]]
    unit = "share of units for each 1 of t" if density else "units per bin"
    figure.update_yaxes(title=unit, tickformat=",~g")
    if log:
        figure.update_yaxes(type="log", range=_decades(heights), dtick=1)
    figure.update_layout(
        bargap=0,
        showlegend=null is not None,
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.2, "yanchor": "top"},
        margin={"t": figure.layout.margin.t + 26, "b": 100},
    )
    return figure


def _require_same(null: MaxT, found: Selectivity) -> None:
    of = [(each.site, each.t.shape, each.widths) for each in (null, found)]
    if of[0] != of[1]:
        raise LensLocError(
            f"The null is of {tuple(null.t.shape)} units at {null.site}, the statistics are of "
            f"{found.shape} units at {found.site}; permute the same responses."
        )
    if not torch.allclose(null.t, found.t, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise LensLocError(
            f"The null was made for another t at {found.site} than these statistics hold; permute "
            "the same responses, with the same conditions and the same test."
        )


def _edges(t: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " edge"]:
    """Return edges of equal bins around all of t, one of them at zero."""
    step = float(np.ptp(t)) / _BINS or 1.0
    edges: Float[np.ndarray, " edge"] = step * np.arange(
        np.floor(t.min() / step), np.floor(t.max() / step) + 2
    )
    return edges


def _heights(
    counts: Float[np.ndarray, " bin"],
    edges: Float[np.ndarray, " edge"],
    n_units: int,
    density: bool,
) -> Float[np.ndarray, " bin"]:
    heights: Float[np.ndarray, " bin"] = counts / (n_units * np.diff(edges)) if density else counts
    return heights


def _add_null(figure: go.Figure, null: MaxT, n_units: int, density: bool, log: bool) -> None:
    edges = null.null_edges
    heights = _heights(null.null_counts, edges, n_units, density)
    figure.add_trace(
        go.Scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            # A logarithmic axis has no zero to draw.
            y=np.where(heights > 0, heights, np.nan) if log else heights,
            mode="lines",
            line={"color": _NULL, "width": 2.5, "shape": "hvh"},
            name=f"labels shuffled (mean of {null.n_permutations:,} permutations)",
            hovertemplate="null, t about %{x:.2f}: %{y:.3g}<extra></extra>",
        )
    )


def _add_thresholds(figure: go.Figure, found: Selectivity, null: MaxT, alpha: float) -> None:
    threshold = null.threshold(alpha)
    sides = (-1, 1) if null.two_sided else (1,)
    least, most = found.range_of_t
    low = min(least, min(sides) * 1.05 * threshold)
    high = max(most, 1.05 * threshold)
    span = high - low
    # Labels stand between lines that are far apart, and otherwise outside, where they get room.
    inside = threshold - (-threshold if null.two_sided else low) > span / 2
    if not inside:
        low = min(low, min(sides) * threshold - 0.22 * span) if null.two_sided else low
        high = max(high, threshold + 0.22 * span)
    figure.update_xaxes(range=[low - 0.01 * span, high + 0.01 * span])
    line = {"color": INK, "dash": "dash", "width": 1.5}
    for side in sides:
        beyond = int(((null.p <= alpha) & (side * found.t > 0)).sum())
        figure.add_vline(x=side * threshold, line=line)
        figure.add_annotation(
            x=side * threshold,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            xanchor="left" if (side < 0) == inside else "right",
            text=f"{beyond:,} units {'>' if side > 0 else '<'} {side * threshold:.2f}",
            font={"size": 12},
            showarrow=False,
        )
    # Nothing but the legend's word for the dashed lines.
    name = f"family-wise error {100 * alpha:g} %"
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=name))


def _decades(heights: list[Float[np.ndarray, " bin"]]) -> list[float]:
    positive = np.concatenate([h[np.isfinite(h) & (h > 0)] for h in heights])
    highest = float(positive.max())
    # The null's far tail, one unit in thousands of permutations, would squeeze the rest.
    lowest = max(float(positive.min()), highest / 1e6)
    return [float(np.log10(lowest)) - 0.2, float(np.log10(highest)) + 0.15]

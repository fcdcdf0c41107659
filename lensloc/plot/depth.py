"""How selectivity runs through the layers: curves over depth."""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from lensloc.arguments import require_named
from lensloc.errors import LensLocError, refuse_idle
from lensloc.plot.common import about, finish, titled
from lensloc.plot.ends import place_in_words, row_of, rows_of, ticks
from lensloc.plot.labels import literal, longest_line
from lensloc.plot.showing import Figure
from lensloc.plot.themes import RULE, style
from lensloc.selectivity import Selectivity
from lensloc.units.mask import UnitMask
from lensloc.vocabulary import ONE_LAYER_SITES

Quantity = Literal["share", "mean_t", "mean_abs_t", "significant"]

_AXES: dict[str, tuple[str, str]] = {
    "share": ("selected units (% of the layer's)", "Where the selected units are"),
    "mean_t": ("mean t of the layer's units", "Mean selectivity by depth"),
    "mean_abs_t": ("mean |t| of the layer's units", "Mean size of selectivity by depth"),
    "significant": (
        "units with q < 0.05, either way (% of the layer's)",
        "Significant units by depth",
    ),
}


def layer_profile(
    found: Mapping[str, Selectivity] | Mapping[str, UnitMask],
    quantity: Quantity = "share",
    *,
    percent: float = 1,
    relative: bool | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show how a quantity runs through the layers, one curve per site or network.

    Args:
        found: label -> statistics, as :func:`lensloc.localize` returns them, or sets of units.
        quantity: ``"share"``: per cent of each layer's units that are in the set (of statistics:
            in their top ``percent``); ``"mean_t"``, ``"mean_abs_t"``: mean of t or its absolute
            value over a layer's units; ``"significant"``: per cent of a layer's units with
            q < 0.05, whichever way.
        percent: how many units to take of statistics, for ``"share"``; refused elsewhere.
        relative: whether to draw over depth from 0, the first layer, to 1, the last; if None,
            only where the curves have different numbers of layers.
        title: of the figure.

    Returns:
        Curves told apart by colour, dash and symbol.

    Raises:
        LensLocError: with nothing to draw, another quantity, or sets of units for a quantity that
            needs statistics.
    """
    require_named((Selectivity, UnitMask), found, "Curves", like="{label: map or mask}")
    if not found:
        raise LensLocError("There is no curve to draw; give at least one site or network.")
    if quantity not in _AXES:
        raise LensLocError(
            f"There is no quantity {quantity!r}; there are {', '.join(get_args(Quantity))}."
        )
    if quantity != "share" or not any(isinstance(each, Selectivity) for each in found.values()):
        reason = "no share of the top of statistics is drawn; leave it out"
        refuse_idle(reason, percent=percent != 1)
    curves = {label: _curve(label, each, quantity, percent) for label, each in found.items()}
    alone = {label: each.site in ONE_LAYER_SITES for label, each in found.items()}
    n_layers = max((len(curve) for label, curve in curves.items() if not alone[label]), default=0)
    if relative is None:
        relative = len({len(curve) for label, curve in curves.items() if not alone[label]}) > 1
    figure = Figure()
    for number, (label, curve) in enumerate(curves.items()):
        look = style(number)
        layers = np.arange(len(curve)) + row_of(found[label].site, n_layers)
        place = place_in_words(int(layers[0]), n_layers) if alone[label] else "layer %{customdata}"
        depth = np.clip(layers / max(1, len(curve) - 1), 0, 1) if relative else layers
        figure.add_trace(
            go.Scatter(
                x=depth,
                y=curve,
                customdata=layers,
                mode="lines+markers",
                cliponaxis=False,
                name=label,
                line={"color": look["color"], "dash": look["dash"], "width": 2},
                marker={"symbol": look["symbol"], "size": 7},
                hovertemplate=f"{literal(label)}, {place}: %{{y:.2f}}<extra></extra>",
            )
        )
    axis, default = _AXES[quantity]
    if quantity == "share" and any(isinstance(each, Selectivity) for each in found.values()):
        default = f"Where the top {percent:g} % of units are"
    default = titled(default, about(each.provenance for each in found.values()))
    # A legend that is higher than the panel would have to be scrolled.
    finish(figure, title or default, width=880, height=max(460, 140 + 21 * len(curves)))
    beside = 7 * max(0, longest_line(trace.name for trace in figure.data) - 24)
    figure.update_layout(width=figure.layout.width + beside)
    figure.update_xaxes(
        title="relative depth (0: first layer, 1: last)" if relative else "layer", zeroline=False
    )
    if any(alone.values()) and not relative:
        rows = rows_of({each.site for each in found.values()}, n_layers)
        figure.update_xaxes(**ticks(rows, n_layers, level=True), tickangle=0)
    figure.update_yaxes(title=axis, rangemode="tozero")
    if quantity == "mean_t":
        figure.add_hline(y=0, line={"color": RULE, "width": 1})
    figure.update_layout(showlegend=True, legend={"itemwidth": 50})
    return figure


def _curve(
    label: str, found: Selectivity | UnitMask, quantity: Quantity, percent: float
) -> Float[np.ndarray, " layer"]:
    if isinstance(found, UnitMask):
        if quantity != "share":
            raise LensLocError(
                f"{label!r} is a set of units, which has no {quantity}; give statistics of every "
                "unit, or draw its share."
            )
        values = found.percent_per_layer()
    elif quantity == "share":
        values = found.top(percent=percent).percent_per_layer()
    elif quantity == "significant":
        values = found.significant(q=0.05, direction="both").percent_per_layer()
    else:
        values = (found.t if quantity == "mean_t" else found.t.abs()).nanmean(dim=1)
    curve: Float[np.ndarray, " layer"] = values.numpy()
    return curve

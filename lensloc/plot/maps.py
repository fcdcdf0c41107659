"""Where units are, and how selective: heatmaps over layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, Real

from lensloc.arguments import require_a
from lensloc.attribution.pair_effects import PairEffects
from lensloc.attribution.result import Attribution
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.sites import HEAD_SITES
from lensloc.plot.common import about, contrast_of, finish, name_of_t, size_in_words, titled
from lensloc.plot.ends import name_rows, place_in_words, row_of, rows_of, ticks
from lensloc.plot.labels import labels, literal, longest_line, most_lines
from lensloc.plot.showing import Figure, panels
from lensloc.plot.spacing import heading, panel_titles
from lensloc.plot.themes import BROWNS, DIVERGING, SEQUENTIAL
from lensloc.selectivity import Selectivity
from lensloc.units.mask import UnitMask
from lensloc.units.ragged import of_all
from lensloc.vocabulary import ONE_LAYER_SITES

Map = Selectivity | PairEffects | Attribution
Found = UnitMask | Map

_HOVER = (
    "{layer}{site}.%{{customdata[0]}}<br>t = %{{z:.2f}}, q = %{{customdata[1]:.2g}}, "
    "d = %{{customdata[2]:.2f}}<extra></extra>"
)
# In pixels: what many columns share, and what a label or a number in a cell needs.
_PLOT_WIDTH = 760
_LEVEL_LABEL, _NUMBER, _LETTER, _LINE = 90, 29, 6.2, 17
_UPRIGHT = 40  # letters of an upright label
_LETTER_OF_LEVEL = 8  # of a level label, in pixels, with some room at its ends
_NARROW_PANEL = 160  # in which a title has smaller letters
_BAR = 112  # what a colour bar takes
# Columns whose largest shares differ by more than this are not drawn on one scale.
_ONE_SCALE = 5


def layer_heatmap(
    masks: Found | Mapping[str, Found] | Mapping[str, Mapping[str, Found]],
    *,
    percent: float = 1,
    title: str | None = None,
) -> go.Figure:
    """Show what percentage of each layer's units is in a set; one column per set.

    Layer 0 is at the bottom, as in the model. Sets of models with different numbers of layers
    stand beside each other layer by layer. Many columns become narrow, with upright labels. The
    largest shares of some columns may be more than five times those of the others: one head is 11 %
    of a layer of nine. Then each of the two groups has a colour scale of its own, blue and brown,
    so that neither hides the other. The numbers in the cells stay comparable.

    Args:
        masks: column label -> set of units; or site -> selectivity, as :func:`lensloc.localize`
            returns it (or effects, as :func:`lensloc.localize_pairs` and :func:`lensloc.attribute`
            do), of which the top ``percent`` is shown; or several of either by network,
            ``{"language": found, "emotion": other}``, which makes a panel each; or a single set.
        percent: how many units to take of a map; refused where there is none.
        title: of the figure.

    Returns:
        A heatmap, layer x column; hover shows counts.

    Raises:
        LensLocError: with no mask.
    """
    groups = _grouped(masks, percent)
    every = [mask for sets in groups.values() for mask in sets.values()]
    n_layers = max((mask.shape[0] for mask in every if mask.site not in ONE_LAYER_SITES), default=0)
    rows = rows_of({mask.site for mask in every}, n_layers)
    n_columns = sum(map(len, groups.values()))
    column_width = 130 if n_columns <= 5 else max(22, min(130, _PLOT_WIDTH // n_columns))
    panel = column_width * min(map(len, groups.values()))
    size = 16 if panel >= _NARROW_PANEL else 12
    titles = panel_titles(groups, panel - 12, size=size)
    figure = panels(
        rows=1,
        cols=len(groups),
        shared_yaxes=True,
        subplot_titles=titles,
        column_widths=[len(sets) for sets in groups.values()],
        horizontal_spacing=min(0.03, 0.5 / len(groups)),
    )
    figure.update_annotations(font={"size": size})
    level = column_width >= _LEVEL_LABEL
    letters = int(column_width / _LETTER_OF_LEVEL) if level else 0
    annotated = n_layers <= 64 and column_width >= _NUMBER
    scales = _scales([float(mask.percent_per_layer().max()) for mask in every])
    for column, sets in enumerate(groups.values(), start=1):
        for number, scale in enumerate(scales):
            mine = _shares(sets, rows, n_layers, annotated, letters, scale)
            if mine is not None:
                mine.update(colorscale=(SEQUENTIAL, BROWNS)[number], zmin=0, zmax=scale[1] or 1.0)
                mine.colorbar.x = 1.02 + number * _BAR / (column_width * max(2, n_columns))
                figure.add_trace(mine, row=1, col=column)
    last = {trace.colorscale: trace for trace in figure.data}.values()
    figure.update_traces(
        showscale=False, selector=lambda trace: not any(trace is each for each in last)
    )
    shown = [label for trace in figure.data for label in trace.x]
    below = _LINE * (most_lines(shown) - 2) if level else int(_LETTER * longest_line(shown)) - 30
    finish(
        figure,
        title or titled("Where the selected units are", about(mask.provenance for mask in every)),
        width=(300 if column_width == 130 else 190)
        + column_width * max(2, n_columns)
        + _BAR * (len(scales) - 1),
        height=max(360, 140 + 17 * n_layers) + below,
    )
    if any(groups):
        figure.update_layout(
            margin={"t": figure.layout.margin.t + 24 + heading(titles)},
            height=figure.layout.height + heading(titles),
        )
    if len(scales) > 1:
        figure.update_layout(margin={"r": 24 + 2 * _BAR})
    figure.update_xaxes(side="bottom", tickangle=0)
    if not level:
        figure.update_xaxes(tickangle=-90, tickfont={"size": 11})
    figure.update_yaxes(**ticks(rows, n_layers))
    figure.update_yaxes(title="layer", col=1)
    return figure


def _grouped(masks: Any, percent: float) -> dict[str, dict[str, UnitMask]]:
    """Return the sets of every panel; with one panel, its name is empty."""
    if isinstance(masks, UnitMask | Map):
        masks = {masks.site: masks}
    if not isinstance(masks, Mapping):
        require_a(UnitMask, masks, "masks")
    single = {name: f for name, f in masks.items() if not isinstance(f, Mapping)}
    groups = {name: group for name, group in masks.items() if isinstance(group, Mapping)}
    drawn = [each for group in (single, *groups.values()) for each in group.values()]
    if drawn and all(isinstance(each, UnitMask) for each in drawn):
        refuse_idle("sets of units have their size; leave it out", percent=percent != 1)
    found: dict[str, dict[str, UnitMask]] = {}
    for name, group in ({"": single} if single else groups).items():
        for label, each in group.items():
            require_a((UnitMask, Selectivity, PairEffects, Attribution), each, f"masks[{label!r}]")
            mask = each if isinstance(each, UnitMask) else each.top(percent=percent)
            found.setdefault(name, {})[label] = mask
    if not found or len(found) < len({"": single} if single else groups):
        raise LensLocError("There is no mask to draw; give at least one.")
    return found


def _scales(largest: list[float]) -> list[tuple[float, float]]:
    """Return the ranges of largest shares of columns that share a colour scale: one, or two."""
    order = sorted(largest)
    low = [value for value in order if value > 0]
    if not low or low[-1] <= _ONE_SCALE * low[0]:
        return [(0.0, order[-1])]
    # Where the step from one column to the next is largest.
    place = max(range(1, len(low)), key=lambda i: low[i] / low[i - 1])
    if low[place] / low[place - 1] < _ONE_SCALE / 2:
        return [(0.0, order[-1])]
    return [(0.0, low[place - 1]), (low[place], low[-1])]


def _shares(
    sets: Mapping[str, UnitMask],
    rows: list[int],
    n_layers: int,
    annotated: bool,
    letters: int,
    scale: tuple[float, float],
) -> go.Heatmap | None:
    """Draw the columns whose largest share is on a scale; the others stay free.

    Labels have so many letters a line; with none they stand upright.
    """
    numbers = [f"{len(mask):,} {'unit' if len(mask) == 1 else 'units'}" for mask in sets.values()]
    names = labels(sets, letters, 3) if letters else labels(sets, _UPRIGHT, 1)
    x = [
        f"{name}{'<br>' if letters else ', '}{number}"
        for name, number in zip(names, numbers, strict=True)
    ]
    shares = np.full((len(rows), len(sets)), np.nan)
    counts = np.zeros((len(rows), len(sets)), dtype=int)
    widths = np.zeros((len(rows), len(sets)), dtype=int)
    for column, mask in enumerate(sets.values()):
        share: Float[np.ndarray, " layer"] = mask.percent_per_layer().numpy()
        if not scale[0] <= share.max() <= scale[1]:
            continue
        first = rows.index(row_of(mask.site, n_layers))
        own = slice(first, first + mask.shape[0])
        shares[own, column] = share
        counts[own, column] = mask.per_layer().numpy()
        widths[own, column] = of_all(mask.shape, mask.widths)
    if np.isnan(shares).all():
        return None
    return go.Heatmap(
        z=shares,
        x=x,
        y=rows,
        xgap=2,
        ygap=1,
        customdata=np.stack([counts, widths], axis=-1),
        text=[
            [f"{literal(str(label))}<br>{place_in_words(row, n_layers)}" for label in sets]
            for row in rows
        ],
        hovertemplate="%{text}: %{customdata[0]} of %{customdata[1]} units "
        "(%{z:.2f} %)<extra></extra>",
        hoverongaps=False,
        texttemplate="%{z:.1f}" if annotated else None,
        textfont={"size": 10},
        colorbar={"title": {"text": "% of the<br>layer's units"}, "thickness": 14},
    )


def unit_heatmap(found: Selectivity, *, columns: int = 400, title: str | None = None) -> go.Figure:
    """Show t of every unit: a row per layer, units sorted by t, red where the target wins.

    Wide layers are drawn at evenly spaced ranks, so that a page stays small; the extremes are
    always among them.

    Args:
        found: statistics of one site.
        columns: how many ranks to draw at most.
        title: of the figure.

    Layers that differ in width are all drawn over the whole breadth, so that units of a narrow one
    stand several times beside each other.

    Returns:
        A heatmap, layer x rank, with zero in the middle of its scale.
    """
    require_a(Selectivity, found, "found")
    n_layers, n_units = found.shape
    # NaN, where no unit is, comes last.
    order = np.argsort(-found.t.numpy(), axis=1, kind="stable")
    ranks = np.unique(np.linspace(0, n_units - 1, min(n_units, columns)).round().astype(int))
    share = (100 * ranks / max(1, n_units - 1)).round(2)
    shown = np.stack(
        [
            each[(ranks * (width - 1) / max(1, n_units - 1)).round().astype(int)]
            for each, width in zip(order, of_all(found.shape, found.widths), strict=True)
        ]
    )
    figure = Figure(_map_of_t(found, shown, share))
    finish(
        figure,
        title
        or titled(
            f"{contrast_of(found)} at {found.site} ({size_in_words(found)} units)",
            about([found.provenance]),
        ),
        width=760,
        height=max(360, 140 + 14 * n_layers),
    )
    figure.update_xaxes(title="units of a layer, sorted by t (%)")
    figure.update_yaxes(title="layer", dtick=1 if n_layers <= 40 else 5)
    name_rows(figure, found.site)
    return figure


def head_heatmap(found: Selectivity, *, title: str | None = None) -> go.Figure:
    """Show t of every attention head: a row per layer, a column per head, red for the target.

    Args:
        found: statistics of a site at which a head is one unit: ``head``, ``attn_entropy``,
            ``attn_first`` or ``attn_distance``.
        title: of the figure.

    Returns:
        A heatmap, layer x head, with zero in the middle of its scale; where there is room, t
        stands in the cells, in bold where q < 0.05.

    Raises:
        LensLocError: for another site.
    """
    require_a(Selectivity, found, "found")
    if found.site not in HEAD_SITES:
        raise LensLocError(
            f"At {found.site} a unit is no attention head; localize at one of "
            f"{', '.join(HEAD_SITES)}, or draw unit_heatmap."
        )
    n_layers, n_heads = found.shape
    cell = max(16, min(56, _PLOT_WIDTH // n_heads))
    heads = np.arange(n_heads)
    heatmap = _map_of_t(found, np.tile(heads, (n_layers, 1)), heads)
    annotated = cell >= _NUMBER and n_layers <= 64
    if annotated:
        heatmap.update(
            text=[
                [_number(t, q) for t, q in zip(*row, strict=True)]
                for row in zip(found.t.tolist(), found.q.tolist(), strict=True)
            ],
            texttemplate="%{text}",
            textfont={"size": 10},
        )
    heatmap.update(xgap=1, ygap=1)
    measured = "" if found.site == "head" else f" ({found.site})"
    figure = Figure(heatmap)
    finish(
        figure,
        title
        or titled(
            f"{contrast_of(found)}, every attention head{measured}", about([found.provenance])
        ),
        width=max(480, 180 + cell * n_heads),
        height=max(360, 150 + 17 * n_layers),
    )
    bold = " (t in bold: q < 0.05)" if annotated else ""
    figure.update_xaxes(title=f"head{bold}", dtick=1 if cell >= 22 else 4, showgrid=False)
    figure.update_yaxes(title="layer", dtick=1 if n_layers <= 40 else 5, showgrid=False)
    return figure


def _map_of_t(
    found: Selectivity, units: Int[np.ndarray, "layer column"], x: Real[np.ndarray, " column"]
) -> go.Heatmap:
    """Draw t of these units of every layer, with index, q and d for the hover."""
    n_layers = len(found.t)
    rows = np.arange(n_layers)[:, None]
    t, q, d = (getattr(found, name).numpy()[rows, units] for name in ("t", "q", "d"))
    limit = float(np.nanmax(np.abs(t))) or 1.0
    return go.Heatmap(
        z=t.astype(np.float32),
        x=x,
        y=list(range(n_layers)),
        colorscale=DIVERGING,
        zmin=-limit,
        zmax=limit,
        # An array of numbers, which plotly keeps compact: a page holds tens of thousands of them.
        customdata=np.stack([units, q, d], axis=-1).astype(np.float32),
        hovertemplate=_HOVER.format(
            site=found.site, layer="" if found.site in ONE_LAYER_SITES else "L%{y}."
        ),
        colorbar={"title": {"text": name_of_t(found)}, "thickness": 14},
    )


def _number(t: float, q: float) -> str:
    text = f"{t:.1f}".replace("-0.0", "0.0") if abs(t) < 9.95 else f"{t:.0f}"
    return f"<b>{text}</b>" if q < 0.05 else text

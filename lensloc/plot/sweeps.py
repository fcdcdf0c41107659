"""Models beside each other: where networks lie, what their lesions cost, how specifically."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.plot.common import finish
from lensloc.plot.labels import labels, literal, longest_line
from lensloc.plot.showing import Figure, panels
from lensloc.plot.spacing import heading, legend_below, panel_titles
from lensloc.plot.themes import DIVERGING, RULE, SEQUENTIAL, style
from lensloc.results.sweeps import Sweep

_DEPTHS = 24  # rows of the map of depths: as fine as most models have layers
_COLUMN, _LETTER = 62, 6.4  # pixels of a model, and of a letter of its name
_UPRIGHT = 9  # letters of the longest name that stands level
_PANEL = 250  # height of a panel
_EVERYWHERE = ["contrast", "site", "protocol"]


def sweep_depths(found: Sweep, *, title: str | None = None) -> go.Figure:
    """Show where networks lie in several models, by relative depth.

    A column per model, the first layer (0) at the bottom and the last (1) at the top, however many
    layers there are; a panel per contrast, site and protocol. Hover names the layer.

    Args:
        found: what :func:`lensloc.sweep` measured.
        title: of the figure.

    Returns:
        Heatmaps of the share of every layer's units that is selected.

    Raises:
        LensLocError: if nothing was localized.
    """
    require_a(Sweep, found, "found")
    if found.layers.empty:
        raise LensLocError("Nothing of this sweep was localized yet; measure some of its cells.")
    groups = list(found.layers.groupby(_EVERYWHERE, sort=False))
    models = _models(found.layers)
    names = labels(models, 30, 1)
    figure = _panels([key for key, _ in groups], names)
    top = float(found.layers["share"].max()) or 1.0
    depths = np.linspace(0, 1, _DEPTHS)
    for row, (_, rows) in enumerate(groups, start=1):
        columns, hover = [], []
        for model in models:
            mine = rows[rows["model"] == model].sort_values("layer")
            columns.append(_at_depths(mine, depths))
            hover.append(_hover_layers(mine, depths, model))
        figure.add_trace(
            go.Heatmap(
                z=np.array(columns, dtype=float).T, x=names, y=depths, zmin=0, zmax=top,
                colorscale=SEQUENTIAL, customdata=np.array(hover, dtype=object).T, xgap=2,
                hovertemplate="%{customdata}<extra></extra>", showscale=row == 1,
                colorbar={"title": {"text": "% of the<br>layer's<br>units"}, "thickness": 14},
            ),
            row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title="relative depth", range=[-0.02, 1.02], row=row, col=1)
    percents = sorted(set(map(float, found.localizations["percent"])))
    of = f"top {', '.join(f'{p:g}' for p in percents)} % of units"
    _finish(figure, title or f"Where networks lie, by relative depth ({of})", names, len(groups))
    return figure


def sweep_drops(
    found: Sweep, *, task: str | None = None, percent: float = 1.0, title: str | None = None
) -> go.Figure:
    """Show what lesions of networks cost in several models, beside their controls.

    Filled: the network's lesion, with its interval over items. Open: the mean of its controls'
    draws. A panel per contrast, site and protocol.

    Args:
        found: what :func:`lensloc.sweep` measured.
        task: which task; the first if None.
        percent: the size, of every lesion the nearest one that it has.
        title: of the figure.

    Returns:
        Points, a column per model.

    Raises:
        LensLocError: if no lesion was measured, or there is no such task.
    """
    require_a(Sweep, found, "found")
    if found.lesions.empty:
        raise LensLocError("No lesion of this sweep was measured yet; measure some of its cells.")
    known = list(dict.fromkeys(map(str, found.lesions["task"])))
    task = known[0] if task is None else task
    if task not in known:
        raise LensLocError(f"There is no task {task!r}; there are {', '.join(known)}.")
    table = found.lesions[found.lesions["task"] == task]
    groups = list(table.groupby(_EVERYWHERE, sort=False))
    models = _models(table)
    names = labels(models, 30, 1)
    place = dict(zip(models, range(len(models)), strict=True))
    figure = _panels([key for key, _ in groups], names)
    looks = {
        name: style(number)
        for number, name in enumerate(
            dict.fromkeys([*map(str, table["lesion"]), *map(str, table["kind"].dropna())])
        )
    }
    shown: set[str] = set()
    for row, (_, rows) in enumerate(groups, start=1):
        for name, points in _series(rows, percent):
            own = name in set(map(str, table["lesion"])) and "control" not in points
            figure.add_trace(
                _points(name, points, place, looks[name], own=own, legend=name not in shown),
                row=row, col=1,
            )  # fmt: skip
            shown.add(name)
        figure.add_hline(y=0, line={"color": RULE, "width": 1}, row=row, col=1)
        figure.update_yaxes(title=f"drop ({_unit(rows)})", row=row, col=1)
    figure.update_xaxes(
        tickvals=list(range(len(models))), ticktext=names, range=[-0.6, len(models) - 0.4],
        zeroline=False,
    )  # fmt: skip
    default = f"What lesions cost on {literal(task)}, beside controls (nearest to {percent:g} %)"
    _finish(figure, title or default, names, len(groups))
    figure.update_layout(showlegend=True)
    legend_below(figure, gap=figure.layout.margin.b)
    return figure


def sweep_specificity(
    found: Sweep, *, kind: str | None = None, title: str | None = None
) -> go.Figure:
    """Show how specifically lesions of networks harm their own tasks, in several models.

    A cell shows a network's index (the share of the room to fall that its own tasks lose, minus
    that of others) minus its controls' index. The number in it is p of the rank test over draws. A
    panel per site and protocol.

    Args:
        found: what :func:`lensloc.sweep` measured.
        kind: of control; the first if None.
        title: of the figure.

    Returns:
        Heatmaps, network x model; red where the lesion is more specific than controls'.

    Raises:
        LensLocError: if the plan asked for none, or there is no such control.
    """
    require_a(Sweep, found, "found")
    table = found.specificity[found.specificity["network"].isin(list(found.cells["contrast"]))]
    if table.empty:
        raise LensLocError(
            "No specificity of this sweep was measured; ask for it in the plan (specificity:)."
        )
    kinds = list(dict.fromkeys(map(str, table["kind"])))
    kind = kinds[0] if kind is None else kind
    if kind not in kinds:
        raise LensLocError(f"There is no control {kind!r} here; there are {', '.join(kinds)}.")
    table = table[table["kind"] == kind]
    groups = list(table.groupby(["site", "protocol"], sort=False))
    models = _models(table)
    names = labels(models, 30, 1)
    most = max(rows["network"].nunique() for _, rows in groups)
    panel = max(130, 38 * most)
    figure = _panels([key for key, _ in groups], names, panel)
    end = max(0.1, float(np.nanmax(np.abs(table["difference"].to_numpy(float)), initial=0.0)))
    for row, (_, rows) in enumerate(groups, start=1):
        networks = list(dict.fromkeys(map(str, rows["network"])))
        cells = rows.pivot_table(index="network", columns="model", values=["difference", "p"],
                                 sort=False, dropna=False)  # fmt: skip
        difference = cells["difference"].reindex(index=networks, columns=models).to_numpy(float)
        p = cells["p"].reindex(index=networks, columns=models).to_numpy(float)
        figure.add_trace(
            go.Heatmap(
                z=difference, x=names, y=labels(networks, 22, 2), zmin=-end, zmax=end,
                colorscale=DIVERGING, xgap=2, ygap=2,
                text=[["" if np.isnan(v) else f"p {v:.3f}" for v in line] for line in p],
                texttemplate="%{text}",
                hovertemplate="%{y} in %{x}: %{z:.3f} above controls, %{text}<extra></extra>",
                showscale=row == 1,
                colorbar={"title": {"text": "index above<br>controls'"}, "thickness": 14},
            ),
            row=row, col=1,
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    default = f"How specifically lesions harm their own tasks, beside {literal(kind)} controls"
    _finish(figure, title or default, names, len(groups), panel)
    return figure


# -- what all three share --------------------------------------------------------------------------


def _models(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(map(str, table["model"])))


def _titles(keys: Sequence[Any]) -> list[str]:
    """Name of every panel what differs between them, and the first always."""
    parts = [[str(part) for part in key] for key in keys]
    differ = [
        number
        for number in range(len(parts[0]))
        if number == 0 or len({part[number] for part in parts}) > 1
    ]
    return [" · ".join(part[number] for number in differ) for part in parts]


def _nearest(rows: pd.DataFrame, depths: np.ndarray) -> list[int]:
    known = rows["relative_depth"].to_numpy(float)
    return [int(np.abs(known - depth).argmin()) for depth in depths]


def _at_depths(rows: pd.DataFrame, depths: np.ndarray) -> list[float]:
    if rows.empty:
        return [float("nan")] * len(depths)
    shares = rows["share"].to_numpy(float)
    return [float(shares[at]) for at in _nearest(rows, depths)]


def _hover_layers(rows: pd.DataFrame, depths: np.ndarray, model: str) -> list[str]:
    if rows.empty:
        return [f"{literal(model)}: not measured"] * len(depths)
    found = rows.reset_index(drop=True)
    return [
        f"{literal(model)}, layer {found.loc[at, 'layer']} of {len(found)}: "
        f"{found.loc[at, 'share']:.2f} %"
        for at in _nearest(rows, depths)
    ]


def _series(rows: pd.DataFrame, percent: float) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the networks' lesions by name, then their controls by kind, at one size each."""
    sizes = rows.groupby(["model", "lesion"])["percent"].transform(
        lambda given: min(set(given), key=lambda size: abs(size - percent))
    )
    nearest = rows[rows["percent"] == sizes]
    for name, found in nearest.groupby("lesion", sort=False):
        own = found.drop_duplicates(["model"])
        yield str(name), own.assign(y=own["network_drop"])
    for kind, found in nearest.dropna(subset=["kind"]).groupby("kind", sort=False):
        yield str(kind), found.assign(y=found["control_drop"], control=True)


def _points(
    name: str, rows: pd.DataFrame, place: dict[str, int], look: dict[str, Any], *, own: bool,
    legend: bool,
) -> go.Scatter:  # fmt: skip
    y = rows["y"].to_numpy(float)
    error = None
    if own:
        low, high = rows["drop_low"].to_numpy(float), rows["drop_high"].to_numpy(float)
        error = {"type": "data", "symmetric": False, "array": high - y, "arrayminus": y - low,
                 "thickness": 1.2, "width": 3}  # fmt: skip
    symbol = look["symbol"] if own else f"{look['symbol']}-open"
    offset = -0.08 if own else 0.08
    return go.Scatter(
        x=[place[str(model)] + offset for model in rows["model"]], y=y, mode="markers", name=name,
        legendgroup=name, showlegend=legend, error_y=error, cliponaxis=False,
        marker={"color": look["color"], "symbol": symbol, "size": 9},
        customdata=[literal(str(model)) for model in rows["model"]],
        hovertemplate=f"%{{customdata}}, {literal(name)}: %{{y:.3f}}<extra></extra>",
    )  # fmt: skip


def _unit(rows: pd.DataFrame) -> str:
    measure = str(rows["measure"].iloc[0])
    known = {"accuracy": "share of items", "perplexity": "nats per token"}
    return known.get(measure, measure)


def _panels(keys: Sequence[Any], names: Sequence[str], panel: int = _PANEL) -> Figure:
    """Make panels above each other, named by what differs between them, with one axis of models."""
    titles = panel_titles(_titles(keys), _width(names) - 180, 2)
    between = 40 + heading(titles)
    whole = panel * len(titles) + between * (len(titles) - 1)
    return panels(
        rows=len(titles), cols=1, shared_xaxes=True, subplot_titles=titles,
        vertical_spacing=between / whole if len(titles) > 1 else 0,
    )  # fmt: skip


def _width(names: Sequence[str]) -> int:
    return max(620, 260 + _COLUMN * len(names))


def _finish(
    figure: Figure, title: str, names: Sequence[str], n_panels: int, panel: int = _PANEL
) -> None:
    upright = longest_line(names) > _UPRIGHT
    below = int(_LETTER * longest_line(names)) if upright else 20
    head = heading([note.text for note in figure.layout.annotations[:n_panels]])
    between = 40 + head
    finish(figure, title, width=_width(names), height=400)
    top, bottom = figure.layout.margin.t + 24 + head, 40 + below
    height = top + panel * n_panels + between * (n_panels - 1) + bottom
    figure.update_layout(height=height, margin={"t": top, "b": bottom})
    figure.update_xaxes(tickangle=-90 if upright else 0)

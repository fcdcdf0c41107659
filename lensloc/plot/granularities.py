"""Kinds of units beside each other: which sites hold a network, how strongly and how reliably."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.plot.common import brief, few, finish, grid
from lensloc.plot.labels import fitted, labels, literal, most_lines, wrapped
from lensloc.plot.showing import panels as panels_of
from lensloc.plot.spacing import legend_below
from lensloc.plot.themes import RULE, style

_NOTE = 32  # letters of a line below the title of a panel


@dataclass(frozen=True)
class Panel:
    """One measure: a filled symbol, perhaps its interval, and what a hollow one beside it means.

    Attributes:
        title: of the panel.
        column: of the table.
        hollow: column of the hollow symbol.
        meaning: of the hollow symbol, in a few words.
        interval: whether there are columns ``..._low`` and ``..._high``.
        scale: what the column is multiplied by.
    """

    title: str
    column: str
    hollow: str = ""
    meaning: str = ""
    interval: bool = False
    scale: float = 1.0


_PANELS = (
    Panel(
        "significant units (%, q < .05)",
        "significant_target",
        "significant_control",
        "prefer the control",
        scale=100,
    ),
    Panel("Cohen's d, cross-validated", "selected_d_cv", "selected_d", "not cross-validated"),
    Panel("split-half reliability of t", "reliability", interval=True),
    Panel("Dice of the sets of two halves", "dice", "dice_chance", "chance"),
    Panel(
        "centre of depth (0 first, 1 last)", "layer_centre", "layer_entropy", "entropy over layers"
    ),
    Panel("t against attribution (rho)", "agreement"),
    Panel("t against pairs (rho)", "pairs_agreement"),
    Panel("drop, same share of units", "drop_fraction", "drop_fraction_control", "control", True),
    Panel("drop, same number of units", "drop_number", "drop_number_control", "control", True),
)


def granularity(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how much of a network every kind of unit holds: a panel per measure, a row per site.

    Filled symbols are the measure of the panel's title, hollow ones what the line below it says.
    Measures that the table has no number for get no panel.

    Args:
        table: what :func:`lensloc.compare_granularities` measured: one row per network and site,
            with columns ``network`` and ``site``.
        title: of the figure.

    Returns:
        Small multiples with sites from top to bottom; a colour and symbol per network.

    Raises:
        LensLocError: for an empty table, one without ``network`` or ``site``, with two rows for a
            network and site, or without any measure.
    """
    require_a(pd.DataFrame, table, "table")
    panels = [panel for panel in _PANELS if _has(table, panel.column)]
    _require(table, panels)
    networks, sites = (list(dict.fromkeys(table[name])) for name in ("network", "site"))
    n_rows, n_columns = grid(len(panels), most=4 if len(panels) > 6 else 3)
    titles = [_panel_title(panel, table) for panel in panels]
    lines = most_lines(titles)
    titles = [title + "<br>&nbsp;" * (lines - most_lines([title])) for title in titles]
    panel_height = 30 + max(24, 14 * len(networks)) * len(sites)
    heading = 20 + 15 * (lines - 1)
    between = 44 + heading  # ticks, and the titles of the panels below
    area = n_rows * panel_height + (n_rows - 1) * between
    figure = panels_of(
        rows=n_rows,
        cols=n_columns,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.03,
        vertical_spacing=between / area if n_rows > 1 else 0,
    )
    figure.update_annotations(font={"size": 12})
    for number, panel in enumerate(panels):
        place = {"row": number // n_columns + 1, "col": number % n_columns + 1}
        for index, network in enumerate(networks):
            rows = table[table["network"] == network]
            shift = (index - (len(networks) - 1) / 2) * 0.7 / len(networks)
            y = np.array([sites.index(site) for site in rows["site"]]) + shift
            for trace in _symbols(rows, panel, y, str(network), index):
                trace.update(showlegend=number == 0 and trace.showlegend)
                figure.add_trace(trace, **place)
    model = f" in {brief(_one(table, 'model'))}" if _one(table, "model") else ""
    finish(
        figure,
        title or f"{few(networks, 'networks')}{model}, by kind of unit",
        width=max(700, 130 + 218 * n_columns),
        height=400,
    )
    figure.update_yaxes(
        tickvals=list(range(len(sites))),
        ticktext=labels(sites, 24, 2),
        range=[len(sites) - 0.5, -0.5],
        zeroline=False,
        ticklabelstandoff=8,
    )
    figure.update_xaxes(
        zeroline=True, zerolinecolor=RULE, zerolinewidth=1, nticks=6, rangemode="tozero"
    )
    top = figure.layout.margin.t + heading
    figure.update_layout(
        showlegend=len(networks) > 1, margin={"t": top, "b": 50}, height=top + area + 50
    )
    if len(networks) > 1:
        legend_below(figure, gap=46)
    return figure


def _require(table: pd.DataFrame, panels: list[Panel]) -> None:
    advice = "give the table that compare_granularities returns"
    if table.empty:
        raise LensLocError(f"The table of granularities has no row; {advice}.")
    for name in ("network", "site"):
        if name not in table.columns:
            raise LensLocError(f"The table of granularities lacks the column {name!r}; {advice}.")
    if table.duplicated(["network", "site"]).any():
        raise LensLocError(
            "The table of granularities has several rows for a network and site; keep one of each."
        )
    if not panels:
        known = ", ".join(panel.column for panel in _PANELS)
        raise LensLocError(
            f"The table of granularities has no measure, that is, none of {known}; {advice}."
        )


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table.columns and not np.isnan(_numbers(table, column)).all()


def _numbers(table: pd.DataFrame, column: str) -> Float[np.ndarray, " row"]:
    if column not in table.columns:
        return np.full(len(table), np.nan)
    numbers: Float[np.ndarray, " row"] = (
        table[column].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    )
    return numbers


def _idle(row: "pd.Series[Any]", panel: Panel) -> bool:
    """Say whether the panel is of a lesion that took no effect at the row's site."""
    effective = row.get("took_effect", True)
    return panel.column.startswith("drop_") and not pd.isna(effective) and not effective


def _panel_title(panel: Panel, table: pd.DataFrame) -> str:
    notes = [f"hollow: {panel.meaning}"] if _has(table, panel.hollow) else []
    if panel.column.startswith("drop_") and _one(table, "task"):
        notes.insert(0, fitted(literal(_one(table, "task")), 20, 1))
    if panel.column == "drop_number" and _one(table, "n_number"):
        notes.insert(0, f"{float(_one(table, 'n_number')):,.0f} units")
    # A line also where there is no note, so that titles stand level.
    note = wrapped("; ".join(notes), _NOTE)
    return f"{panel.title}<br><span style='font-size:11px'>{note}&nbsp;</span>"


def _one(table: pd.DataFrame, column: str) -> str:
    """Return the only value of a column, or nothing."""
    values = set(table[column].dropna()) if column in table.columns else set()
    return str(values.pop()) if len(values) == 1 else ""


def _symbols(
    rows: pd.DataFrame, panel: Panel, y: Float[np.ndarray, " row"], network: str, index: int
) -> list[go.Scatter]:
    look = style(index)
    shared = {
        "y": y,
        "mode": "markers",
        "name": network,
        "legendgroup": network,
        "cliponaxis": False,
    }
    marker = {"color": look["color"], "size": 9}
    values = panel.scale * _numbers(rows, panel.column)
    about = [
        f"{literal(network)}, {row['site']}"
        + (f"<br>a unit: {row['unit']}" if "unit" in rows.columns else "")
        + (f"<br>{row['n_units']:,} units" if "n_units" in rows.columns else "")
        + ("<br><b>the lesion took no effect</b>" if _idle(row, panel) else "")
        for _, row in rows.iterrows()
    ]
    traces = []
    if _has(rows, panel.hollow):
        others = panel.scale * _numbers(rows, panel.hollow)
        traces.append(
            go.Scatter(
                x=others,
                marker={**marker, "symbol": f"{look['symbol']}-open"},
                customdata=about,
                hovertemplate=f"%{{customdata}}<br>{panel.meaning}: %{{x:.3g}}<extra></extra>",
                showlegend=False,
                **shared,
            )
        )
    error, reach = None, [""] * len(rows)
    if panel.interval:
        low, high = (
            panel.scale * _numbers(rows, f"{panel.column}_{end}") for end in ("low", "high")
        )
        error = {"array": high - values, "arrayminus": values - low, "thickness": 1.5, "width": 3}
        reach = [f" ({lo:.3g} to {hi:.3g})" for lo, hi in zip(low, high, strict=True)]
    traces.append(
        go.Scatter(
            x=values,
            error_x=error,
            marker={**marker, "symbol": look["symbol"]},
            customdata=np.array([about, reach], dtype=object).T,
            hovertemplate=f"%{{customdata[0]}}<br>{panel.title}: %{{x:.3g}}%{{customdata[1]}}"
            "<extra></extra>",
            showlegend=True,
            **shared,
        )
    )
    return traces

"""What lesions cost: over sizes, and side by side."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.plot.common import brief, few, finish, grid
from lensloc.plot.labels import labels, literal, longest_line, most_lines
from lensloc.plot.showing import Figure, panels
from lensloc.plot.spacing import heading as heading_of
from lensloc.plot.spacing import legend_below, panel_titles
from lensloc.plot.themes import INK, PAGE, RULE, bar_style, error_bars, style
from lensloc.results.joining import told_apart
from lensloc.results.lesion_cases import matches_of
from lensloc.results.lesions import NETWORK, LesionStudy


def dose_response(study: LesionStudy, *, title: str | None = None) -> go.Figure:
    """Show what a task loses with the size of the lesion, network beside controls.

    One panel per task, one colour per network or kind of control. The network's band is its
    bootstrap interval over items; a control's line is the mean of its draws, each of which is a
    faint point. Lesions that took no effect are hollow.

    Args:
        study: what :func:`lensloc.lesion_study` measured.
        title: of the figure.

    Returns:
        Drops over percentages of units (logarithmic).
    """
    require_a(LesionStudy, study, "study")
    table = told_apart(study.table)
    tasks = list(dict.fromkeys(table["task"]))
    n_rows, n_columns = grid(len(tasks), most=3)
    panel_width = 290 if n_columns == 3 else 340
    titles = panel_titles(tasks, panel_width - 40)
    heading = heading_of(titles)
    between = 100 + heading
    area = 240 * n_rows + between * (n_rows - 1)
    figure = _panels(titles, n_rows, n_columns, between / area)
    curves = _curves(table)
    for place, task in zip(_places(n_rows, n_columns), tasks, strict=False):
        for number, (label, found) in enumerate(curves.items()):
            rows = found[found["task"] == task].sort_values("percent")
            look = style(number)
            _add_curve(figure, rows, label, look, place, first=task == tasks[0])
        figure.add_hline(y=0, line={"color": RULE, "width": 1}, **place)
        measure = str(table.loc[table["task"] == task, "measure"].iloc[0])
        figure.update_yaxes(title={"text": _drop_label(measure), "standoff": 4}, **place)
    sizes = sorted(set(table["percent"]))
    figure.update_xaxes(
        title="units lesioned (%)", type="log", tickvals=sizes, ticktext=[f"{s:g}" for s in sizes]
    )
    networks = few(table["network"], "networks")
    default = f"What lesions of {networks} cost {_models(table)}"
    width = 120 + panel_width * max(2, n_columns)
    _finish(figure, title or default, width, area, heading, below=64)
    legend_below(figure, gap=62)
    return figure


def lesion_bars(
    study: LesionStudy,
    *,
    percent: float | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show what every task loses at one size of the lesion, network beside controls.

    Bars of networks have their bootstrap interval over items; those of controls the range of their
    draws, with every draw as a point. A control matched in magnitude that is no good match says so.

    Args:
        study: what :func:`lensloc.lesion_study` measured.
        percent: which size; the one nearest to 1 % if None.
        title: of the figure.

    Returns:
        Grouped bars, one panel per task.

    Raises:
        LensLocError: if the study has no lesion of that size.
    """
    require_a(LesionStudy, study, "study")
    size = _size(study, percent)
    table = told_apart(study.table[study.table["percent"] == size])
    tasks = list(dict.fromkeys(table["task"]))
    curves = _curves(table)
    shown = dict(zip(curves, labels(curves, width=24, lines=3), strict=True))
    slanted = most_lines(shown.values()) == 1
    panel_width = max(300, 100 + (36 if slanted else 54) * len(curves))
    n_rows, n_columns = grid(len(tasks), most=max(1, 900 // panel_width))
    titles = panel_titles(tasks, panel_width - 20)
    heading = heading_of(titles)
    longest = longest_line(shown.values())
    level = slanted and 6.2 * longest * len(curves) < panel_width - 100
    names = 60 if level else 40 + int((4.4 if slanted else 6.2) * longest)
    between = names + heading + 40
    area = 260 * n_rows + between * (n_rows - 1)
    figure = _panels(titles, n_rows, n_columns, between / area)
    for place, task in zip(_places(n_rows, n_columns), tasks, strict=False):
        for number, (label, found) in enumerate(curves.items()):
            rows = found[found["task"] == task]
            if rows.empty:
                continue
            look = style(number)
            drops = rows["drop"].to_numpy(dtype=float)
            one = len(rows) == 1
            low = float(rows["drop_low"].iloc[0]) if one else float(drops.min())
            high = float(rows["drop_high"].iloc[0]) if one else float(drops.max())
            mean = float(drops.mean())
            figure.add_trace(
                go.Bar(
                    x=[shown[label]],
                    y=[mean],
                    error_y=error_bars([mean], [low], [high], look),
                    marker={"color": look["color"]},
                    name=label,
                    showlegend=False,
                    hovertemplate=f"{label}<br>drop %{{y:.3g}}<extra></extra>",
                ),
                **place,
            )
            if (rows["kind"] == NETWORK).all():
                continue
            figure.add_trace(
                go.Scatter(
                    x=[shown[label]] * len(drops),
                    y=drops,
                    mode="markers",
                    marker={"color": INK, "size": 6, "line": {"color": PAGE, "width": 1}},
                    customdata=rows["seed"].astype(str),
                    hovertemplate=f"{label}, draw %{{customdata}}<br>%{{y:.3g}}<extra></extra>",
                    showlegend=False,
                ),
                **place,
            )
        measure = str(table.loc[table["task"] == task, "measure"].iloc[0])
        figure.update_yaxes(title={"text": _drop_label(measure), "standoff": 4}, **place)
    networks = few(table["network"], "networks")
    model = _models(table)
    default = f"What a lesion of {size:g} % of the units costs {model}: {networks}"
    width = max(480, 80 + panel_width * n_columns)
    _finish(figure, title or default, width, area, heading, below=names)
    angle = 0 if level else -45 if slanted else -90
    figure.update_xaxes(tickangle=angle, tickfont={"size": 11})
    return figure


def ablation_modes(
    study: LesionStudy,
    *,
    percent: float | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show what a task loses by what the units become: zero, their mean, another response.

    Bars of networks have their bootstrap interval over items; those of controls the range of their
    draws.

    Args:
        study: what :func:`lensloc.lesion_study` measured, in several modes.
        percent: which size; the one nearest to 1 % if None.
        title: of the figure.

    Returns:
        Bars over modes, one panel per task, one colour per network or kind of control.

    Raises:
        LensLocError: if the study has no lesion of that size.
    """
    require_a(LesionStudy, study, "study")
    size = _size(study, percent)
    table = told_apart(study.table[study.table["percent"] == size])
    tasks, modes = (list(dict.fromkeys(table[name])) for name in ("task", "mode"))
    shown = dict(zip(modes, labels(modes, width=16, lines=2), strict=True))
    curves = _curves(table.assign(mode=""))
    panel_width = max(300, 90 + 90 * len(modes), 90 + 18 * len(modes) * len(curves))
    n_rows, n_columns = grid(len(tasks), most=max(1, 900 // panel_width))
    titles = panel_titles(tasks, panel_width - 20)
    heading = heading_of(titles)
    between = 100 + heading
    area = 240 * n_rows + between * (n_rows - 1)
    figure = _panels(titles, n_rows, n_columns, between / area)
    for place, task in zip(_places(n_rows, n_columns), tasks, strict=False):
        for number, (label, found) in enumerate(curves.items()):
            rows = found[found["task"] == task].assign(mode=table["mode"])
            if rows.empty:
                continue
            by_mode = rows.groupby("mode", sort=False)
            means = by_mode["drop"].mean()
            one = bool((rows["kind"] == NETWORK).all())
            low = by_mode["drop_low"].first() if one else by_mode["drop"].min()
            high = by_mode["drop_high"].first() if one else by_mode["drop"].max()
            look = bar_style(number)
            figure.add_trace(
                go.Bar(
                    x=[shown[mode] for mode in means.index],
                    y=means.to_numpy(),
                    error_y=error_bars(means, low, high, look),
                    marker=look,
                    name=label,
                    legendgroup=label,
                    showlegend=task == tasks[0] and len(curves) > 1,
                    hovertemplate=f"{label}<br>%{{x}}: drop %{{y:.3g}}<extra></extra>",
                ),
                **place,
            )
        figure.add_hline(y=0, line={"color": RULE, "width": 1}, **place)
        measure = str(table.loc[table["task"] == task, "measure"].iloc[0])
        figure.update_yaxes(title={"text": _drop_label(measure), "standoff": 4}, **place)
    networks = few(table["network"], "networks")
    model = _models(table)
    figure.update_xaxes(type="category")
    default = f"What units become, and what it costs {model}: {size:g} % of the units, {networks}"
    width = max(480, 80 + panel_width * n_columns)
    _finish(figure, title or default, width, area, heading, below=64)
    figure.update_layout(barmode="group")
    legend_below(figure, gap=50)
    return figure


def _models(table: pd.DataFrame) -> str:
    names = list(dict.fromkeys(table["model"]))
    return brief(names[0]) if len(names) == 1 else f"{len(names)} models"


def _size(study: LesionStudy, percent: float | None) -> float:
    """Return a size that the study has: the one that was asked for, or the nearest to 1 %."""
    sizes = sorted(set(study.table["percent"]))
    size = min(sizes, key=lambda s: abs(np.log(s))) if percent is None else percent
    if size not in sizes:
        known = ", ".join(f"{s:g}" for s in sizes)
        raise LensLocError(f"The study has no lesion of {size:g} %; it has {known} %.")
    return float(size)


def _curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of every network and every control, by label; networks first.

    A control that claims to be matched in magnitude and is not at some size says so.
    """
    poor = {
        (match.network, match.control)
        for match in matches_of(table)
        if match.poor and {"magnitude", "outliers"} & set(match.control.split("+"))
    }
    many = len(set(table["network"])) > 1
    modes = len(set(table["mode"])) > 1
    curves: dict[str, pd.DataFrame] = {}
    order = table.assign(is_control=table["kind"] != NETWORK)
    keys = ["is_control", "network", "mode", "kind"]
    for key, found in order.groupby(keys, sort=False):
        is_control, network, mode, kind = key
        parts = [str(network)] if many or not is_control else []
        parts += [f"({mode})"] if modes and mode else []
        parts += [f"control: {kind}"] if is_control else []
        parts += ["(poor match)"] if (str(network), str(kind)) in poor else []
        curves[literal(" ".join(parts))] = found
    return dict(sorted(curves.items(), key=lambda item: bool(item[1]["is_control"].iloc[0])))


def _add_curve(
    figure: go.Figure,
    rows: pd.DataFrame,
    label: str,
    look: dict[str, Any],
    place: dict[str, int],
    *,
    first: bool,
) -> None:
    if rows.empty:
        return
    means = rows.groupby("percent")["drop"].mean()
    effective = rows.groupby("percent")["took_effect"].all()
    is_network = (rows["kind"] == NETWORK).all()
    shared = {"legendgroup": label, "showlegend": False, "hoverinfo": "skip"}
    if is_network:
        low, high = (rows.groupby("percent")[name].mean() for name in ("drop_low", "drop_high"))
        figure.add_trace(
            go.Scatter(
                x=[*means.index, *means.index[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                fillcolor=look["color"],
                opacity=0.15,
                line={"width": 0},
                mode="lines",
                **shared,
            ),
            **place,
        )
    else:
        figure.add_trace(
            go.Scatter(
                x=rows["percent"],
                y=rows["drop"],
                mode="markers",
                marker={"color": look["color"], "size": 4, "opacity": 0.45},
                **shared,
            ),
            **place,
        )
    figure.add_trace(
        go.Scatter(
            x=means.index,
            y=means,
            mode="lines+markers",
            name=label,
            legendgroup=label,
            showlegend=first,
            line={
                "color": look["color"],
                "dash": look["dash"],
                "width": 3 if is_network else 1.8,
            },
            marker={"size": 8, "symbol": look["symbol"]},
            hovertemplate=f"{label}<br>%{{x:g}} %: drop %{{y:.3g}}<extra></extra>",
        ),
        **place,
    )
    if not effective.all():
        # On top, since a legend would show the first symbol of several.
        figure.add_trace(
            go.Scatter(
                x=means.index[~effective],
                y=means[~effective],
                mode="markers",
                marker={
                    "size": 8,
                    "symbol": look["symbol"],
                    "color": PAGE,
                    "line": {"color": look["color"], "width": 1.8},
                },
                **shared,
            ),
            **place,
        )


def _panels(titles: list[str], n_rows: int, n_columns: int, between: float) -> Figure:
    """Make a grid of panels, with that share of the height between two of them."""
    return panels(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=titles,
        horizontal_spacing=0.3 / (1 + n_columns),
        vertical_spacing=between if n_rows > 1 else 0,
    )


def _finish(figure: Figure, title: str, width: int, area: int, heading: int, *, below: int) -> None:
    """Finish a figure whose panels are ``area`` high, with ``below`` pixels under them."""
    finish(figure, title, width=width, height=400)
    top = figure.layout.margin.t + 16 + heading
    figure.update_layout(margin={"t": top, "b": below}, height=top + area + below)


def _places(n_rows: int, n_columns: int) -> Iterator[dict[str, int]]:
    for row in range(1, n_rows + 1):
        for column in range(1, n_columns + 1):
            yield {"row": row, "col": column}


def _drop_label(measure: str) -> str:
    if measure == "accuracy":
        return "drop in accuracy (share of items)"
    if measure == "perplexity":
        return "rise of log perplexity (nats per token)"
    return f"loss in {measure}"

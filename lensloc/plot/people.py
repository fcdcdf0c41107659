"""People: how well units predict brains, and surprisal how long they read, beside controls."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.plot.common import few, finish, grid, titled
from lensloc.plot.labels import labels, literal, longest_line
from lensloc.plot.showing import Figure, panels
from lensloc.plot.spacing import heading, legend_below, panel_titles
from lensloc.plot.themes import INK, PAGE, RULE, error_bars, style
from lensloc.results.encodings import (
    BASELINE,
    CONTROL,
    JOINT,
    NETWORK,
    NUISANCE,
    UNTRAINED,
    Encoding,
)
from lensloc.results.readings import INTACT, WORDS, ReadingStudy
from lensloc.results.readings import NETWORK as LESIONED

Measure = Literal["r", "r2"]
_MEASURES: dict[str, str] = {
    "r": "held-out correlation (r)",
    "r2": "held-out R2",
}
# In pixels: width of a bar's place, where there are few panels or many; a line of a panel's title.
_BAR, _NARROW, _LINE = 62, 36, 20


@dataclass(frozen=True)
class _Bar:
    """A mean, its interval, and the draws that it is the mean of, if there are several."""

    label: str
    look: dict[str, Any]
    mean: float
    low: float
    high: float
    draws: Float[np.ndarray, " draw"]
    seeds: tuple[str, ...]

    @classmethod
    def of(cls, label: str, look: dict[str, Any], rows: pd.DataFrame, measure: str) -> "_Bar":
        values = rows[measure].to_numpy(dtype=float)
        known = values[np.isfinite(values)]
        one = len(rows) == 1
        low, high = (
            (float(rows[f"{measure}_low"].iloc[0]), float(rows[f"{measure}_high"].iloc[0]))
            if one
            else (float(known.min()), float(known.max()))
            if len(known)
            else (np.nan, np.nan)
        )
        mean = float(known.mean()) if len(known) else float("nan")
        seeds = tuple(
            "" if pd.isna(seed) else str(seed) for seed in rows.get("seed", [""] * len(rows))
        )
        return cls(label, look, mean, low, high, np.zeros(0) if one else values, seeds)


# -- brains ----------------------------------------------------------------------------------------


def alignment(found: Encoding, *, measure: Measure = "r", title: str | None = None) -> go.Figure:
    """Show how well networks predict brain responses, beside all that they are compared with.

    Networks that are single layers (:func:`lensloc.alignment.by_layer`) are a line over layers;
    others have a panel each, a bar for the network, its control units (mean, range and every draw),
    the same units untrained, each baseline, and network and baselines together. Intervals are over
    passages. The dashed line is the mean ceiling, where the data have one.

    Args:
        found: what :func:`lensloc.alignment.encode` measured.
        measure: ``"r"``, mean correlation, or ``"r2"``.
        title: of the figure.

    Returns:
        Bars, or lines over layers. A shuffled split is told in the title.

    Raises:
        LensLocError: another measure, or an encoding without a network.
    """
    require_a(Encoding, found, "found")
    if measure not in get_args(Measure):
        raise LensLocError(
            f"There is no measure {measure!r}; there are {', '.join(get_args(Measure))}."
        )
    networks = found.table[found.table["kind"] == NETWORK]
    if networks.empty:
        raise LensLocError("The encoding has no network to draw, only baselines.")
    by_layer = len(networks) > 1 and networks["layer"].notna().all() and networks["layer"].is_unique
    figure = _over_layers(found, measure) if by_layer else _beside(found, measure)
    models = few(networks["model"], "models")
    words = titled("How well units predict brain responses", models)
    if found.split == "shuffled":
        words += " (SHUFFLED split: passages leak)"
    width, height = figure.layout.width, figure.layout.height
    top, bottom = figure.layout.margin.t or 0, figure.layout.margin.b
    finish(figure, title or words, width=width, height=height)
    figure.update_layout(
        margin={"t": figure.layout.margin.t + top, "b": bottom},
        height=height + figure.layout.margin.t,
    )
    if by_layer:
        legend_below(figure, gap=62)
    return figure


def _beside(found: Encoding, measure: Measure) -> Figure:
    """Draw a panel per network, a bar per set of features."""
    table = found.table
    names = list(dict.fromkeys(table.loc[table["kind"] == NETWORK, "network"]))
    bars = {name: list(_bars(table, name, measure)) for name in names}
    figure = _panels_of_bars(bars, _MEASURES[measure])
    top = _ceiling(found, measure)
    if top is not None:
        figure.add_hline(
            y=top, row="all", col="all", line={"color": RULE, "width": 1.5, "dash": "dash"}
        )
        figure.add_annotation(
            text=f"ceiling {top:.2f}", font={"size": 11}, showarrow=False,
            x=0.6, xref="x domain", y=top, yref="y", yanchor="bottom",
        )  # fmt: skip
    return figure


def _bars(table: pd.DataFrame, network: str, measure: str) -> Iterator[_Bar]:
    own = table[table["network"] == network]
    yield _Bar.of("the network", style(0), own[own["kind"] == NETWORK], measure)
    for kind, rows in own[own["kind"] == CONTROL].groupby("name", sort=False):
        yield _Bar.of(f"control: {kind}", style(1), rows, measure)
    untrained = own[own["kind"] == UNTRAINED]
    if len(untrained):
        yield _Bar.of("untrained", style(2), untrained, measure)
    for name, rows in table[table["kind"] == BASELINE].groupby("name", sort=False):
        yield _Bar.of(str(name), style(6), rows, measure)
    yield _Bar.of("baselines together", style(6), table[table["kind"] == NUISANCE], measure)
    yield _Bar.of("baselines and network", style(3), own[own["kind"] == JOINT], measure)


def _over_layers(found: Encoding, measure: Measure) -> Figure:
    """Draw lines over layers: networks, mean of their controls, the same untrained; baselines."""
    table = found.table
    networks = table[table["kind"] == NETWORK].sort_values("layer")
    layers = networks["layer"].astype(int).tolist()
    order = networks["network"].tolist()
    figure = Figure()
    low, high = (networks[f"{measure}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    look = style(0)
    figure.add_trace(
        go.Scatter(
            x=[*layers, *layers[::-1]], y=[*high, *low[::-1]], mode="lines", fill="toself",
            fillcolor=look["color"], opacity=0.15, line={"width": 0}, hoverinfo="skip",
            showlegend=False,
        )
    )  # fmt: skip
    figure.add_trace(_curve("units of the network", look, layers, networks[measure]))
    others = table[table["kind"].isin([CONTROL, UNTRAINED])]
    for number, ((kind, name), rows) in enumerate(others.groupby(["kind", "name"], sort=False), 1):
        means = rows.groupby("network")[measure].mean().reindex(order)
        label = f"control: {name}" if kind == CONTROL else "untrained"
        figure.add_trace(_curve(label, style(number), layers, means))
    every = table[table["kind"] == BASELINE].groupby("name", sort=False)
    for (name, rows), dash in zip(every, ("dot", "dashdot", "longdashdot"), strict=False):
        level = float(rows[measure].iloc[0])
        figure.add_trace(
            go.Scatter(
                x=[min(layers), max(layers)], y=[level, level], mode="lines", name=str(name),
                line={"color": RULE, "dash": dash, "width": 1.8},
                hovertemplate=f"{literal(str(name))}: %{{y:.3f}}<extra></extra>",
            )
        )  # fmt: skip
    top = _ceiling(found, measure)
    if top is not None:
        figure.add_trace(
            go.Scatter(
                x=[min(layers), max(layers)], y=[top, top], mode="lines", name="ceiling",
                line={"color": INK, "dash": "dash", "width": 1.5},
                hovertemplate="ceiling: %{y:.3f}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(
        title="layer",
        dtick=1 if max(layers) <= 32 else 5,
        range=[min(layers) - 0.7, max(layers) + 0.7],  # there is no layer -1 to name
    )
    figure.update_yaxes(title=_MEASURES[measure], zeroline=True, zerolinecolor=RULE)
    width = max(640, min(1000, 200 + 18 * (max(layers) - min(layers))))
    figure.update_layout(width=width, height=324, margin={"t": 0, "b": 64})
    return figure


def _curve(
    name: str, look: dict[str, Any], layers: Sequence[int], values: Iterable[float]
) -> go.Scatter:
    return go.Scatter(
        x=list(layers),
        y=list(values),
        mode="lines+markers",
        name=name,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        marker={"symbol": look["symbol"], "size": 7},
        hovertemplate=f"{literal(name)}<br>layer %{{x}}: %{{y:.3f}}<extra></extra>",
    )


def _ceiling(found: Encoding, measure: Measure) -> float | None:
    """Return the mean ceiling of the responses that have one; None without."""
    ceilings = found.responses.drop_duplicates("response")["ceiling"].to_numpy(dtype=float)
    known = ceilings[np.isfinite(ceilings) & (ceilings > 0)]
    return None if len(known) == 0 else float((known if measure == "r" else known**2).mean())


# -- reading ---------------------------------------------------------------------------------------


def reading_times(study: ReadingStudy, *, title: str | None = None) -> go.Figure:
    """Show what surprisal tells about reading times, intact and under lesions.

    A panel for surprisals corrected for white space, and one for sums over tokens. Bars of the
    intact model and of lesioned networks have intervals over stories; those of control units the
    range of their draws, with every draw as a point.

    Args:
        study: what :func:`lensloc.alignment.reading_times` measured.
        title: of the figure.

    Returns:
        Bars: gain in log-likelihood over length and frequency, nats per time.
    """
    require_a(ReadingStudy, study, "study")
    table = study.table
    several = table.loc[table["kind"] != INTACT, "network"].nunique() > 1
    shown: dict[str, list[_Bar]] = {}
    for kind, part in table.groupby("surprisal", sort=False):
        bars = []
        looks = {LESIONED: style(0), INTACT: style(6)}
        for (network, lesion), rows in part.groupby(["network", "kind"], sort=False):
            look = looks.setdefault(str(lesion), style(len(looks) - 1))
            words = {INTACT: "intact", LESIONED: f"{network} lesioned"}.get(
                str(lesion), f"control: {lesion}" + (f" of {network}" if several else "")
            )
            bars.append(_Bar.of(words, look, rows, "gain"))
        shown[WORDS[str(kind)]] = bars
    figure = _panels_of_bars(shown, "gain (nats per time)")
    width, height, top = figure.layout.width, figure.layout.height, figure.layout.margin.t
    models = few(table["model"], "models")
    bottom = figure.layout.margin.b
    default = titled("What surprisal tells about reading times", models)
    finish(figure, title or default, width=width, height=height)
    figure.update_layout(
        margin={"t": figure.layout.margin.t + top, "b": bottom},
        height=height + figure.layout.margin.t,
    )
    return figure


# -- bars ------------------------------------------------------------------------------------------


def _panels_of_bars(shown: dict[str, list[_Bar]], axis: str) -> Figure:
    """Draw panels of bars on one scale; margins leave room for what stands around them."""
    most = max(map(len, shown.values()))
    many = len(shown) > 2 or most > 10
    wide, letters, lines = (_NARROW, 30, 1) if many else (_BAR, 20, 3)
    below = [labels((each.label for each in bars), letters, lines) for bars in shown.values()]
    n_rows, n_columns = grid(len(shown), most=max(1, 1000 // (90 + wide * most)))
    panel = max(260, 60 + wide * most)
    titles = panel_titles(shown, panel - 20) if len(shown) > 1 else []
    head = _LINE + heading(titles) if titles else 0
    names = 20 + int(5.4 * max(longest_line(texts) for texts in below))
    # Where all bars above each other are the same, their names stand below the last ones.
    shared = len(shown) == n_rows * n_columns and all(texts == below[0] for texts in below)
    between = (20 if shared else names + 20) + head
    height = n_rows * (220 if many else 280) + (n_rows - 1) * between
    figure = panels(
        rows=n_rows,
        cols=n_columns,
        shared_yaxes="all",
        subplot_titles=titles or None,
        horizontal_spacing=0.12 / n_columns,
        vertical_spacing=between / height if n_rows > 1 else 0,
    )
    for number, (bars, texts) in enumerate(zip(shown.values(), below, strict=True)):
        place = {"row": number // n_columns + 1, "col": number % n_columns + 1}
        for bar, text in zip(bars, texts, strict=True):
            _add_bar(figure, bar, text, place)
        figure.add_hline(y=0, line={"color": RULE, "width": 1}, **place)
    figure.update_yaxes(title={"text": axis, "standoff": 4}, col=1)
    figure.update_xaxes(tickangle=-45, tickfont={"size": 11}, showgrid=False)
    for row in range(1, n_rows if shared else 1):
        figure.update_xaxes(showticklabels=False, row=row)
    figure.update_layout(
        width=max(480, 90 + panel * n_columns),
        height=height + names + 20,
        margin={"t": head + 8, "b": names + 12},
        showlegend=False,
    )
    return figure


def _add_bar(figure: Figure, bar: _Bar, text: str, place: dict[str, int]) -> None:
    name = literal(bar.label)
    figure.add_trace(
        go.Bar(
            x=[text],
            y=[bar.mean],
            error_y=error_bars([bar.mean], [bar.low], [bar.high], bar.look),
            marker={"color": bar.look["color"]},
            name=bar.label,
            hovertemplate=f"{name}<br>%{{y:.4f}}<extra></extra>",
        ),
        **place,
    )
    if len(bar.draws):
        figure.add_trace(
            go.Scatter(
                x=[text] * len(bar.draws),
                y=bar.draws,
                mode="markers",
                marker={"color": INK, "size": 5, "line": {"color": PAGE, "width": 1}},
                customdata=bar.seeds,
                hovertemplate=f"{name}, draw %{{customdata}}<br>%{{y:.4f}}<extra></extra>",
            ),
            **place,
        )

"""Nouns -> plotly figures. Every function returns a Figure and shows nothing."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

from lensloc.errors import LensLocError
from lensloc.files import write_atomically
from lensloc.profiles import ResponseProfile
from lensloc.selectivity import Selectivity
from lensloc.units import UnitAddress, UnitMask

# Both read well in grey and for every kind of colour blindness; nothing is near white.
SEQUENTIAL = "Blues"
DIVERGING = [
    [0.0, "#053061"],
    [0.25, "#4393c3"],
    [0.5, "#f7f7f7"],
    [0.75, "#d6604d"],
    [1.0, "#67001f"],
]


def layer_heatmap(
    masks: Mapping[str, UnitMask] | Mapping[str, Selectivity],
    *,
    percent: float = 1,
    title: str | None = None,
) -> go.Figure:
    """Show what percentage of each layer's units is in a set; one column a set.

    Layer 0 is at the bottom, as in the model. Sets of models with different numbers of layers
    stand beside each other layer by layer.

    Args:
        masks: column label -> set of units; or site -> selectivity, as :func:`lensloc.localize`
            returns it, of which the top ``percent`` is shown.
        percent: how many units to take of a selectivity map.
        title: of the figure.

    Returns:
        A heatmap, layer x column; hover shows counts.

    Raises:
        LensLocError: with no mask.
    """
    if not masks:
        raise LensLocError("There is no mask to draw; give at least one.")
    sets = {
        label: found.top(percent=percent) if isinstance(found, Selectivity) else found
        for label, found in masks.items()
    }
    n_layers = max(mask.shape[0] for mask in sets.values())
    shares = np.full((n_layers, len(sets)), np.nan)
    counts = np.zeros((n_layers, len(sets)), dtype=int)
    widths = np.zeros((n_layers, len(sets)), dtype=int)
    for column, mask in enumerate(sets.values()):
        layers = mask.shape[0]
        shares[:layers, column] = mask.percent_per_layer().numpy()
        counts[:layers, column] = mask.per_layer().numpy()
        widths[:layers, column] = mask.shape[1]
    labels = [
        _wrapped(f"{label}<br>{len(mask)} {'unit' if len(mask) == 1 else 'units'}")
        for label, mask in sets.items()
    ]
    annotated = n_layers <= 64
    heatmap = go.Heatmap(
        z=shares,
        x=labels,
        y=list(range(n_layers)),
        colorscale=SEQUENTIAL,
        zmin=0,
        xgap=2,
        ygap=1,
        customdata=np.stack([counts, widths], axis=-1),
        hovertemplate="%{x}<br>layer %{y}: %{customdata[0]} of %{customdata[1]} units "
        "(%{z:.2f} %)<extra></extra>",
        texttemplate="%{z:.1f}" if annotated else None,
        textfont={"size": 10},
        colorbar={"title": {"text": "% of the<br>layer's units"}, "thickness": 14},
    )
    figure = go.Figure(heatmap)
    _finish(
        figure,
        title or "Where the selected units are",
        width=300 + 130 * max(2, len(sets)),
        height=max(360, 140 + 17 * n_layers),
    )
    figure.update_xaxes(side="bottom", tickangle=0)
    figure.update_yaxes(title="layer", dtick=1 if n_layers <= 40 else 5)
    return figure


def unit_heatmap(found: Selectivity, *, title: str | None = None) -> go.Figure:
    """Show t of every unit: a row a layer, units sorted by t, red where the target wins.

    Wide layers are drawn at 400 evenly spaced ranks, so that a page stays small; the extremes
    are always among them.

    Args:
        found: statistics of one site.
        title: of the figure.

    Returns:
        A heatmap, layer x rank, with zero in the middle of its scale.
    """
    n_layers, n_units = found.shape
    order = np.argsort(-found.t.numpy(), axis=1, kind="stable")
    ranks = np.unique(np.linspace(0, n_units - 1, min(n_units, 400)).round().astype(int))
    rows = np.arange(n_layers)[:, None]
    units = order[:, ranks]
    t, q, d = (getattr(found, name).numpy()[rows, units] for name in ("t", "q", "d"))
    addresses = [
        [str(UnitAddress(layer, found.site, int(unit))) for unit in units[layer]]
        for layer in range(n_layers)
    ]
    limit = float(np.abs(t).max()) or 1.0
    hover = np.stack([np.array(addresses, dtype=object), q.round(6), d.round(3)], axis=-1)
    figure = go.Figure(
        go.Heatmap(
            z=t.round(3),
            x=(100 * ranks / max(1, n_units - 1)).round(2),
            y=list(range(n_layers)),
            colorscale=DIVERGING,
            zmin=-limit,
            zmax=limit,
            customdata=hover,
            hovertemplate="%{customdata[0]}<br>t = %{z:.2f}, q = %{customdata[1]:.2g}, "
            "d = %{customdata[2]:.2f}<extra></extra>",
            colorbar={"title": {"text": "Welch's t"}, "thickness": 14},
        )
    )
    made = found.provenance
    default = f"{' + '.join(made.target)} > {' + '.join(made.control)} at {found.site}"
    _finish(figure, title or default, width=760, height=max(360, 140 + 14 * n_layers))
    figure.update_xaxes(title="units of a layer, sorted by t (%)")
    figure.update_yaxes(title="layer", dtick=1 if n_layers <= 40 else 5)
    return figure


def response_profile(profile: ResponseProfile, *, title: str | None = None) -> go.Figure:
    """Show how strongly a set of units responds in every condition, with bootstrap intervals.

    Args:
        profile: what :func:`lensloc.response_profile` measured.
        title: of the figure.

    Returns:
        One panel a score (absolute, standardised, signed), a point and its interval a condition.
    """
    panels = {
        "absolute": "mean absolute response<br>(activation units)",
        "standardised": "mean absolute response<br>(each unit in SD)",
        "signed": "mean signed response<br>(activation units)",
    }
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.09)
    table = profile.table
    for column, (score, label) in enumerate(panels.items(), start=1):
        middle = table[score]
        figure.add_trace(
            go.Scatter(
                x=table["condition"],
                y=middle,
                error_y={
                    "array": table[f"{score}_high"] - middle,
                    "arrayminus": middle - table[f"{score}_low"],
                    "thickness": 1.5,
                    "width": 6,
                },
                mode="markers",
                marker={"size": 10, "color": "#0072b2"},
                customdata=table["stimuli"],
                hovertemplate="%{x}: %{y:.3g}<br>%{customdata} stimuli<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(title={"text": label, "standoff": 4}, row=1, col=column)
    how = "picked and measured on different halves" if profile.cross_validated else "given units"
    _finish(
        figure,
        title or f"Response of {profile.n_units} units at {profile.site} ({how})",
        width=340 + 45 * len(table) * 3 + 240,
        height=380,
    )
    figure.update_xaxes(tickangle=-30)
    return figure


def save(figure: go.Figure, path: str | Path) -> Path:
    """Write a figure as a page that opens offline (``.html``) or as a picture.

    Args:
        figure: what to write.
        path: a file ending in ``.html``, or in ``.png``, ``.svg`` or ``.pdf``, for which the
            extra ``lensloc[png]`` and a Chrome or Chromium browser are needed.

    Raises:
        LensLocError: for another suffix, a place that cannot be written, or a missing extra.
    """
    path = Path(path)
    if path.suffix not in (".html", ".png", ".svg", ".pdf"):
        raise LensLocError(
            f"{path} has an unknown suffix; figures are written as .html, .png, .svg or .pdf."
        )
    if path.suffix == ".html":
        content = figure.to_html(include_plotlyjs=True, full_html=True).encode()
    else:
        content = _picture(figure, path)
    return write_atomically(path, content)


def _picture(figure: go.Figure, path: Path) -> bytes:
    try:
        content = plotly.io.to_image(figure, format=path.suffix[1:], scale=2)
    except (ImportError, ValueError) as error:
        if not _kaleido_is_missing(error):
            raise
        raise LensLocError(
            f"{path} needs kaleido, which draws pictures; install it with "
            "`pip install 'lensloc[png]'`, or write .html."
        ) from error
    except Exception as error:
        raise LensLocError(
            f"{path} could not be drawn, since kaleido found no working Chrome or Chromium "
            f"({str(error).strip().splitlines()[0]}); install one, or write .html."
        ) from error
    return bytes(content)


def _kaleido_is_missing(error: Exception) -> bool:
    return isinstance(error, ImportError) or "kaleido" in str(error).lower()


def _finish(figure: go.Figure, title: str, *, width: int, height: int) -> None:
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.02, "xanchor": "left"},
        width=width,
        height=height,
        margin={"l": 64, "r": 24, "t": 64, "b": 64},
        font={"size": 13},
    )


def _wrapped(label: str, width: int = 22) -> str:
    lines: list[str] = []
    for part in label.split("<br>"):
        line = ""
        for word in part.split(" "):
            if line and len(line) + len(word) + 1 > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
    return "<br>".join(lines)

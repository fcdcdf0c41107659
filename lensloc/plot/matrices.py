"""Language neurons: where they are, what switching them off does, and whether they steer."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from lensloc.arguments import require_a, require_named
from lensloc.errors import LensLocError
from lensloc.plot.common import brief, finish, grid, titled
from lensloc.plot.labels import labels, literal, longest_line, most_lines, wrapped
from lensloc.plot.showing import Figure
from lensloc.plot.showing import panels as panels_of
from lensloc.plot.themes import DIVERGING, INK, SEQUENTIAL
from lensloc.results.lesions import NETWORK
from lensloc.results.matrices import LanguageMatrix, Steering
from lensloc.units.mask import UnitMask
from lensloc.units.matching import is_matched

_GAP, _LEFT, _SCALE = 44, 110, 140  # between panels side by side, and beside them
_WIDEST = 800  # of panels side by side
_LINE = 22  # height of a line of a panel's title
Measure = Literal["in_toward", "switched", "changed"]


def language_matrix(
    found: LanguageMatrix,
    *,
    kinds: tuple[str, ...] | None = None,
    highest: float | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show how lesions of each language's units change the loss on every language.

    Red is harm; the scale is white at zero and the same for all panels. The diagonal, on which a
    language loses its own units, is outlined. A change whose interval holds zero is in brackets; of
    a control, if the intervals of all its draws do.

    Args:
        found: what :func:`lensloc.lape.perplexity` measured.
        kinds: panels: ``network``, and kinds of control, whose draws are averaged; all if None.
        highest: change at the ends of the colour scale, nats per token; the largest one if None.
        title: of the figure.

    Returns:
        A heatmap per panel, lesioned language x tested language.

    Raises:
        LensLocError: no panel, or a kind that was not measured.
    """
    require_a(LanguageMatrix, found, "found")
    shown = found.kinds if kinds is None else tuple(kinds)
    if not shown:
        raise LensLocError("There is no panel to draw; give at least one kind.")
    matrices = {kind: found.matrix(kind) for kind in shown}
    lesioned, tested = (list(getattr(matrices[shown[0]], name)) for name in ("index", "columns"))
    # Of many languages, names are narrower, so that a page holds them.
    down, across = labels(lesioned, 16, 2), labels(tested, 16 if len(tested) <= 6 else 10, 3)
    largest = max(float(np.nanmax(np.abs(each.to_numpy()))) for each in matrices.values())
    end = highest or largest or 1.0
    # Names of several lines fill these, and need a gap between them.
    gap = 6 * (most_lines(across) > 1)
    panel = max(200, max(68, gap + 8 * longest_line(across)) * len(tested))
    n_rows, n_columns = grid(len(shown), most=(_WIDEST + _GAP) // (panel + _GAP))
    titles = [wrapped(_panel(found, kind), panel // 8) for kind in shown]
    heading = _heading(titles)
    between = heading + 70 + _LINE * (most_lines(across) - 1)
    height = n_rows * max(140, 44 * len(lesioned)) + (n_rows - 1) * between
    figure = panels_of(
        rows=n_rows,
        cols=n_columns,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=_GAP / (n_columns * panel + (n_columns - 1) * _GAP),
        vertical_spacing=between / height if n_rows > 1 else 0,
    )
    for number, (kind, matrix) in enumerate(matrices.items()):
        row, column = number // n_columns + 1, number % n_columns + 1
        z = matrix.to_numpy(float)
        text, hover = _words(found, kind, lesioned, tested)
        figure.add_trace(
            go.Heatmap(
                z=z,
                x=across,
                y=down,
                colorscale=DIVERGING,
                zmin=-end,
                zmax=end,
                xgap=2,
                ygap=2,
                text=text,
                texttemplate="%{text}",
                textfont={"size": 12},
                customdata=hover,
                hovertemplate="%{customdata}<extra></extra>",
                hoverongaps=False,
                showscale=number == 0,
                colorbar={"title": {"text": "change of<br>log perplexity<br>(nats per token)"},
                          "thickness": 14},
            ),
            row=row,
            col=column,
        )  # fmt: skip
        for language in set(lesioned) & set(tested):
            place = tested.index(language), lesioned.index(language)
            figure.add_shape(
                type="rect",
                x0=place[0] - 0.5, x1=place[0] + 0.5, y0=place[1] - 0.5, y1=place[1] + 0.5,
                line={"color": INK, "width": 2},
                row=row, col=column,
            )  # fmt: skip
    finish(
        figure,
        title
        or titled(
            "What switching a language's units off does to every language",
            ", ".join(map(brief, found.table["model"].unique())) if "model" in found.table else "",
        ),
        width=_LEFT + n_columns * panel + (n_columns - 1) * _GAP + _SCALE,
        height=height + heading + 130,
    )
    top, bottom = figure.layout.margin.t + heading, 64 + _LINE * (most_lines(across) - 1)
    left = max(_LEFT, 50 + 8 * longest_line(down))
    figure.update_layout(
        margin={"t": top, "l": left, "r": _SCALE, "b": bottom},
        height=top + height + bottom,
        width=figure.layout.width + left - _LEFT,
    )
    figure.update_xaxes(title="tested language", showgrid=False, tickangle=0, type="category")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category", ticklabelstandoff=6)
    figure.update_yaxes(title="lesioned language", col=1)
    return figure


def language_layers(masks: Mapping[str, UnitMask], *, title: str | None = None) -> go.Figure:
    """Show how many of each language's units are in every layer.

    Args:
        masks: language -> its units, e.g. ``identify(counts).masks``.
        title: of the figure.

    Returns:
        A heatmap, language x layer; hover shows counts and shares.

    Raises:
        LensLocError: with no language.
    """
    require_named(UnitMask, masks, "Neurons", like="{language: mask}")
    if not masks:
        raise LensLocError("There is no language to draw; give {language: mask}.")
    n_layers = max(mask.shape[0] for mask in masks.values())
    counts: Float[np.ndarray, "language layer"] = np.full((len(masks), n_layers), np.nan)
    for row, mask in enumerate(masks.values()):
        counts[row, : mask.shape[0]] = mask.per_layer().numpy()
    totals = np.array([[len(mask)] * n_layers for mask in masks.values()])
    highest = float(np.nanmax(counts))
    text = np.where(counts > 0, np.nan_to_num(counts).astype(int).astype(str), "")
    names = [
        f"{name}<br>{len(mask):,}"
        for name, mask in zip(labels(masks, 22, 2), masks.values(), strict=True)
    ]
    many = n_layers > 40  # too many for numbers in the cells
    figure = Figure(
        go.Heatmap(
            z=counts,
            x=list(range(n_layers)),
            y=names,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=highest or 1.0,
            xgap=1,
            ygap=3,
            text=text,
            texttemplate=None if many else "%{text}",
            textfont={"size": 11},
            customdata=totals,
            hovertext=[[literal(str(name))] * n_layers for name in masks],
            hovertemplate="%{hovertext}, layer %{x}: %{z} of the language's %{customdata} units"
            "<extra></extra>",
            hoverongaps=False,
            colorbar={"title": {"text": "units"}, "thickness": 14},
        )
    )
    finish(
        figure,
        title
        or titled(
            "Units of every language, by layer",
            ", ".join(dict.fromkeys(brief(m.provenance.model) for m in masks.values())),
        ),
        width=max(520, 190 + (12 if many else 27) * n_layers),
        height=170 + max(150, (10 + 17 * most_lines(names)) * len(masks)),
    )
    figure.update_xaxes(
        title="layer", showgrid=False, zeroline=False, dtick=5 if many else 1, ticks=""
    )
    figure.update_yaxes(
        title="language, number of units", showgrid=False, autorange="reversed", ticklabelstandoff=6
    )
    return figure


def steering(
    found: Steering, *, measure: Measure = "in_toward", title: str | None = None
) -> go.Figure:
    """Show how many answers are in the language steered to, for every pair of languages.

    Args:
        found: what :func:`lensloc.lape.steer` measured.
        measure: ``"in_toward"``, share of answers in the language steered to; ``"switched"``, those
            among them whose counterpart without steering was not; ``"changed"``, share of answers
            that changed at all.
        title: of the figure.

    Returns:
        A heatmap per way of steering, language asked in x language steered to, draws of a control
        averaged: on the left with the units of the language asked in left alone, on the right with
        them at zero; hover shows fluency.

    Raises:
        LensLocError: for another measure.
    """
    if measure not in get_args(Measure):
        raise LensLocError(
            f"There is no measure {measure!r}; there are {', '.join(get_args(Measure))}."
        )
    require_a(Steering, found, "found")
    table = found.table
    ways = list(dict.fromkeys(zip(table["level"], table["kind"], strict=True)))
    zeroing = sorted(set(table["deactivated"]))
    asked = list(table["asked"].unique())
    toward = sorted(table["toward"].unique(), key=[*asked, *table["toward"]].index)
    down, across = labels(asked, 16, 1), labels(toward, 20, 1)
    upright = 8 * longest_line(across) > 44
    # Room for the names of the languages asked in, which stand beside every panel.
    gap = max(2 * _GAP, 20 + int(7.6 * longest_line(down)))
    width = max(230, 44 * len(toward))
    panels = {
        (row, column): (
            _way(level, kind, zeroed),
            table[
                (table["level"] == level)
                & (table["kind"] == kind)
                & (table["deactivated"] == zeroed)
            ],
        )
        for row, (level, kind) in enumerate(ways, start=1)
        for column, zeroed in enumerate(zeroing, start=1)
    }
    panels = {place: panel for place, panel in panels.items() if len(panel[1])}
    titles = [wrapped(way, width // 8) for way, _ in panels.values()]
    between = _heading(titles) + (8 * longest_line(across) + 16 if upright else 32)
    height = len(ways) * max(72, 26 * len(asked)) + (len(ways) - 1) * between
    figure = panels_of(
        rows=len(ways),
        cols=len(zeroing),
        specs=[
            [{} if (row, column) in panels else None for column in range(1, len(zeroing) + 1)]
            for row in range(1, len(ways) + 1)
        ],
        subplot_titles=titles,
        horizontal_spacing=gap / (len(zeroing) * width + (len(zeroing) - 1) * gap),
        vertical_spacing=between / height if len(ways) > 1 else 0,
    )
    words = {
        "in_toward": "are in the language steered to",
        "switched": "switched to the language steered to",
        "changed": "changed",
    }
    for (row, column), (way, rows) in panels.items():
        share, fluency = (
            rows.groupby(["asked", "toward"])[name].mean().unstack().reindex(asked, columns=toward)
            for name in (measure, "fluency")
        )
        percent = 100 * share.to_numpy(float)
        figure.add_trace(
            go.Heatmap(
                z=percent,
                x=across,
                y=down,
                colorscale=SEQUENTIAL,
                zmin=0,
                zmax=100,
                xgap=2,
                ygap=2,
                text=np.where(np.isnan(percent), "", np.char.mod("%.0f", np.nan_to_num(percent))),
                texttemplate="%{text}",
                textfont={"size": 12},
                customdata=fluency.to_numpy(float),
                hovertext=[
                    [f"asked in {literal(one)}, steered to {literal(other)}" for other in toward]
                    for one in asked
                ],
                hovertemplate=f"%{{hovertext}}<br>{way}<br>"
                f"%{{z:.0f}} % of answers {words[measure]}<br>"
                "fluency %{customdata:.2f} nats per token<extra></extra>",
                hoverongaps=False,
                showscale=(row, column) == (1, 1),
                colorbar={"title": {"text": "answers (%)", "side": "right"}, "thickness": 14},
            ),
            row=row,
            col=column,
        )
    finish(
        figure,
        title or f"Steering: answers that {words[measure]}",
        width=max(_LEFT, gap + 24) + len(zeroing) * width + (len(zeroing) - 1) * gap + _SCALE,
        height=height,
    )
    top, bottom = figure.layout.margin.t + _heading(titles), between
    figure.update_layout(
        margin={"t": top, "b": bottom, "l": max(_LEFT, gap + 24), "r": _SCALE},
        height=top + height + bottom,
    )
    figure.update_xaxes(showgrid=False, tickangle=-90 if upright else 0, type="category")
    figure.update_xaxes(title="steered to", row=len(ways))
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category", ticklabelstandoff=6)
    figure.update_yaxes(title="asked in", col=1)
    return figure


def _heading(titles: Sequence[str]) -> int:
    """Return the height of panels' titles."""
    return _LINE * max(title.count("<br>") + 1 for title in titles)


def _way(level: str, kind: str, zeroed: bool) -> str:
    parts = []
    if level != "-":
        units = "its units" if kind == NETWORK else f"control units ({kind})"
        parts.append(f"{units} at {level}")
    if zeroed:
        parts.append("the asked language's at 0")
    return ", ".join(parts) or "no steering"


def _panel(found: LanguageMatrix, kind: str) -> str:
    if kind == NETWORK:
        return "the language's units"
    draws = found.table.loc[found.table["kind"] == kind, "seed"].dropna().nunique()
    drawn = f", mean of {draws} draws" if draws > 1 else ""
    if is_matched(kind):
        return f"as many units matched in {kind}{drawn}"
    return f"as many {kind} units{drawn}"


def _words(
    found: LanguageMatrix, kind: str, lesioned: list[str], tested: list[str]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return what stands in every cell, and what hovering over it shows."""
    rows = found.table[found.table["kind"] == kind]
    text, hover = [], []
    for one in lesioned:
        cells = [rows[(rows["lesioned"] == one) & (rows["tested"] == other)] for other in tested]
        text.append([_cell(cell) for cell in cells])
        hover.append(
            [
                _hover(cell, one, other, found.confidence)
                for cell, other in zip(cells, tested, strict=True)
            ]
        )
    return text, hover


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    words = f"{rows['change'].mean():+.2f}"
    within = (rows["change_low"] <= 0) & (rows["change_high"] >= 0)
    return f"({words})" if bool(within.all()) else words


def _hover(rows: pd.DataFrame, one: str, other: str, confidence: float) -> str:
    if rows.empty:
        return ""
    first = rows.iloc[0]
    lines = [
        f"{one} ({first['n_units']} units) lesioned, {other} tested ({first['n_texts']} texts)"
    ]
    for row in rows.to_dict("records"):
        drawn = "" if pd.isna(row["seed"]) else f"seed {row['seed']}: "
        lines.append(
            f"{drawn}{row['change']:+.3f} nats per token "
            f"[{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
        )
    lines.append(f"intervals of {100 * confidence:g} % over texts")
    return "<br>".join(lines)

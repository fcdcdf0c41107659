"""Figures of brains and reading times hold the numbers of the tables."""

import dataclasses
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from people import encoding, reading
from task_files import refused

from lensloc import plot


def bars(figure: go.Figure, axis: str = "x") -> dict[str, Any]:
    found = [t for t in figure.data if t.type == "bar" and t.xaxis == axis]
    return {trace.x[0].replace("<br>", " "): trace for trace in found}


@pytest.mark.parametrize("measure", ["r", "r2"])
def test_bars_are_scores_with_their_intervals(measure: Any) -> None:
    found = encoding()
    figure = plot.alignment(found, measure=measure)
    table = found.table.set_index(["network", "kind"]).sort_index()
    first = bars(figure)
    row = table.loc[("language", "network")]
    bar = first["the network"]
    assert bar.y[0] == pytest.approx(row[measure])
    assert bar.error_y.array[0] == pytest.approx(row[f"{measure}_high"] - row[measure])
    assert bar.error_y.arrayminus[0] == pytest.approx(row[measure] - row[f"{measure}_low"])
    draws = table.loc[("language", "control")][measure]
    assert first["control: layer"].y[0] == pytest.approx(draws.mean())
    (points,) = (t for t in figure.data if t.type == "scatter" and t.xaxis == "x")
    np.testing.assert_allclose(points.y, draws)
    assert list(points.customdata) == ["0", "1", "2"]
    assert list(first) == [
        "the network", "control: layer", "untrained", "passage + position",
        "length + position + frequency", "baselines together", "baselines and network",
    ]  # fmt: skip
    other = table.loc[("<b>sums</b>", "network")]
    assert bars(figure, "x2")["the network"].y[0] == pytest.approx(other[measure])
    titles = [note.text for note in figure.layout.annotations]
    assert "&lt;b>sums&lt;/b>" in titles
    assert f"ceiling {0.8 if measure == 'r' else 0.64:.2f}" in titles
    ceiling = [shape.y0 for shape in figure.layout.shapes if shape.line.dash == "dash"]
    assert ceiling == pytest.approx([0.8 if measure == "r" else 0.64] * 2)


def test_layers_are_a_line() -> None:
    found = encoding(layers=True)
    figure = plot.alignment(found)
    traces = {trace.name: trace for trace in figure.data if trace.name}
    networks = found.table[found.table["kind"] == "network"]
    assert list(traces["units of the network"].x) == [0, 3, 7]
    np.testing.assert_allclose(traces["units of the network"].y, networks["r"])
    controls = found.table[found.table["kind"] == "control"].groupby("layer")["r"].mean()
    np.testing.assert_allclose(traces["control: layer"].y, controls)
    assert list(traces["ceiling"].y) == pytest.approx([0.8, 0.8])
    assert {"untrained", "passage + position"} <= set(traces)


def test_a_shuffled_split_is_told_in_the_title() -> None:
    assert "SHUFFLED" in plot.alignment(encoding("shuffled")).layout.title.text
    assert "SHUFFLED" not in plot.alignment(encoding()).layout.title.text
    without = plot.alignment(encoding(ceilings=False))
    assert not [note for note in without.layout.annotations if "ceiling" in note.text]


def test_what_cannot_be_drawn_is_told() -> None:
    found = encoding()
    alone = dataclasses.replace(found, table=found.table[found.table["kind"] == "baseline"])
    refused(lambda: plot.alignment(alone), "no network to draw")


def test_gains_are_bars_and_draws_are_points() -> None:
    study = reading()
    figure = plot.reading_times(study)
    for axis, kind in (("x", "corrected"), ("x2", "tokens")):
        part = study.table[study.table["surprisal"] == kind].set_index("kind")
        shown = bars(figure, axis)
        assert list(shown) == ["intact", "language lesioned", "control: layer"]
        assert shown["intact"].y[0] == pytest.approx(part.loc["intact", "gain"])
        assert shown["language lesioned"].y[0] == pytest.approx(part.loc["network", "gain"])
        (points,) = (t for t in figure.data if t.type == "scatter" and t.xaxis == axis)
        np.testing.assert_allclose(points.y, part.loc["layer", "gain"])
    assert [note.text.replace("<br>", " ") for note in figure.layout.annotations] == [
        "surprisal corrected for white space", "surprisal as a sum over tokens",
    ]  # fmt: skip


def test_figures_fit_their_canvas() -> None:
    for figure in (plot.alignment(encoding()), plot.alignment(encoding(layers=True)),
                   plot.reading_times(reading(draws=1))):  # fmt: skip
        margin = figure.layout.margin
        assert figure.layout.height - margin.t - margin.b >= 200
        assert figure.layout.width >= 480
        assert "nan" not in figure.to_json().lower().replace("nanmean", "")

"""Figures of language neurons hold the numbers that they should show."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from plotted import FIVE, matrix, steering
from task_files import refused

from lensloc import UnitMask, plot
from lensloc.results.matrices import LanguageMatrix

NINE = ("English", "German", "Turkish", "French", "Spanish", "Chinese", "Vietnamese", "Indonesian",
        "Japanese")  # fmt: skip


def rectangles(figure: go.Figure, number: int) -> set[tuple[float, float]]:
    """Middles of the outlined cells of a panel, whose sides are one cell long."""
    axis = "x" if number == 0 else f"x{number + 1}"
    found = [shape for shape in figure.layout.shapes if shape.xref == axis]
    assert {(shape.x1 - shape.x0, shape.y1 - shape.y0) for shape in found} <= {(1.0, 1.0)}
    return {(shape.x0 + 0.5, shape.y0 + 0.5) for shape in found}


def test_matrix_shows_changes_white_at_zero_and_alike_in_all_panels() -> None:
    found = matrix(draws={"random": 3, "layer": 1})
    figure = plot.language_matrix(found)
    assert len(figure.data) == 3
    assert [note.text.replace("<br>", " ") for note in figure.layout.annotations] == [
        "the language's units",
        "as many random units, mean of 3 draws",
        "as many units matched in layer",
    ]
    largest = max(found.matrix(kind).abs().max().max() for kind in found.kinds)
    for panel, kind in zip(figure.data, found.kinds, strict=True):
        np.testing.assert_allclose(np.array(panel.z), found.matrix(kind))
        assert list(panel.x) == list(panel.y) == list(FIVE)
        assert (panel.zmin, panel.zmax) == (-largest, largest)
        assert panel.colorscale[2] == (0.5, "#f7f7f7")
        assert len(panel.colorscale) == 5
    assert [panel.showscale for panel in figure.data] == [True, False, False]
    assert figure.layout.yaxis.autorange == "reversed"
    fixed = plot.language_matrix(found, highest=2.0, kinds=("random",))
    (panel,) = fixed.data
    assert (panel.zmin, panel.zmax) == (-2.0, 2.0)
    assert panel.showscale
    np.testing.assert_allclose(np.array(panel.z), found.matrix("random"))


@pytest.mark.parametrize(
    ("lesioned", "tested", "expected"),
    [
        (FIVE, FIVE, {(n, n) for n in range(5)}),
        (FIVE, ("de", "fr", "en"), {(2, 0), (0, 1), (1, 3)}),
        (("tr", "en"), FIVE, {(2, 0), (0, 1)}),
        (("en", "de"), ("de", "en"), {(1, 0), (0, 1)}),
        (("en", "de"), ("ja", "zh"), set()),
    ],
)
def test_a_language_and_its_own_units_are_outlined(
    lesioned: Sequence[str], tested: Sequence[str], expected: set[tuple[int, int]]
) -> None:
    figure = plot.language_matrix(matrix(lesioned, tested))
    for number, panel in enumerate(figure.data):
        assert rectangles(figure, number) == expected
        assert list(panel.x) == list(tested)
        assert list(panel.y) == list(lesioned)
        for column, row in expected:
            assert tested[column] == lesioned[row]


def test_changes_whose_interval_holds_zero_are_in_brackets() -> None:
    found = matrix()
    network, control = plot.language_matrix(found).data
    for panel, kind in ((network, "network"), (control, "random")):
        for row, one in enumerate(FIVE):
            for column, other in enumerate(FIVE):
                rows = found.table[
                    (found.table["kind"] == kind)
                    & (found.table["lesioned"] == one)
                    & (found.table["tested"] == other)
                ]
                holds = all((rows["change_low"] <= 0) & (rows["change_high"] >= 0))
                words = f"{rows['change'].mean():+.2f}"
                assert panel.text[row][column] == (f"({words})" if holds else words)
    assert {cell[0] for row in network.text for cell in row} == {"(", "+", "-"}


def test_hovering_over_the_matrix_tells_every_draw() -> None:
    found = matrix()
    network, control = plot.language_matrix(found).data
    lines = network.customdata[0][1].split("<br>")
    first = found.table.iloc[1]
    assert lines == [
        "en (120 units) lesioned, de tested (21 texts)",
        f"{first['change']:+.3f} nats per token "
        f"[{first['change_low']:+.3f}, {first['change_high']:+.3f}]",
        "intervals of 90 % over texts",
    ]
    lines = control.customdata[4][0].split("<br>")
    assert lines[0] == "es (120 units) lesioned, en tested (21 texts)"
    assert [line.split(" ")[1] for line in lines[1:4]] == ["0:", "1:", "2:"]
    assert network.hovertemplate == "%{customdata}<extra></extra>"


def test_cells_that_were_not_measured_are_empty() -> None:
    found = matrix()
    table = found.table[(found.table["lesioned"] != "tr") | (found.table["tested"] != "fr")]
    (panel, _) = plot.language_matrix(LanguageMatrix(table)).data
    assert np.isnan(np.array(panel.z)[2, 3])
    assert (panel.text[2][3], panel.customdata[2][3]) == ("", "")
    assert np.isnan(np.array(panel.z)).sum() == 1
    nothing = table.assign(change=0.0, change_low=0.0, change_high=0.0)
    (panel, _) = plot.language_matrix(LanguageMatrix(nothing)).data
    assert (panel.zmin, panel.zmax) == (-1.0, 1.0)


@pytest.mark.parametrize("languages", [FIVE[:2], FIVE, NINE])
def test_matrices_fit_a_notebook(languages: Sequence[str]) -> None:
    for draws in ({}, {"random": 3}, {"random": 1, "layer": 1, "layer+magnitude": 5}):
        figure = plot.language_matrix(matrix(languages, draws=draws))
        assert figure.layout.width <= 1000
        widest = max(len(line) for note in figure.layout.annotations
                     for line in note.text.split("<br>"))  # fmt: skip
        places = [axis.domain for axis in figure.select_xaxes()]
        inner = figure.layout.width - figure.layout.margin.l - figure.layout.margin.r
        panel = (places[0][1] - places[0][0]) * inner
        assert panel / len(languages) >= 8 * max(map(len, languages))
        assert panel >= 7.5 * widest, "titles of panels run into each other"


def test_layers_show_how_many_units_a_language_has_there() -> None:
    draw = torch.Generator().manual_seed(0)
    masks = {
        name: UnitMask("mlp_post", torch.rand(n_layers, 50, generator=draw) < 0.2)
        for name, n_layers in (("en", 4), ("de", 4), ("small", 2))
    }
    masks["none"] = masks["en"] - masks["en"]
    figure = plot.language_layers(masks)
    (panel,) = figure.data
    z = np.array(panel.z)
    assert z.shape == (4, 4)
    for row, mask in enumerate(masks.values()):
        n = mask.shape[0]
        np.testing.assert_array_equal(z[row, :n], mask.per_layer())
        assert np.isnan(z[row, n:]).all()
        words = [str(int(v)) if v > 0 else "" for v in np.nan_to_num(z[row])]
        assert list(panel.text[row]) == words
        assert panel.y[row] == f"{list(masks)[row]}<br>{len(mask):,}"
        assert (panel.customdata[row] == len(mask)).all()
    assert (panel.zmin, panel.zmax) == (0, np.nanmax(z))
    assert list(panel.x) == [0, 1, 2, 3]
    (empty,) = plot.language_layers({"none": masks["none"]}).data
    assert (empty.zmin, empty.zmax) == (0, 1)
    deep = {name: UnitMask("mlp_post", torch.ones(30, 5) > 0) for name in NINE}
    assert plot.language_layers(deep).layout.width <= 1000


WAYS = [
    ("-", "network", False, "no steering"),
    ("-", "network", True, "the asked language's at 0"),
    ("mean", "network", False, "its units at mean"),
    ("mean", "network", True, "its units at mean, the asked language's at 0"),
    ("mean", "layer", False, "control units (layer) at mean"),
    ("mean", "layer", True, "control units (layer) at mean, the asked language's at 0"),
    ("q0.95", "network", False, "its units at q0.95"),
    ("q0.95", "network", True, "its units at q0.95, the asked language's at 0"),
    ("q0.95", "layer", False, "control units (layer) at q0.95"),
    ("q0.95", "layer", True, "control units (layer) at q0.95, the asked language's at 0"),
]


@pytest.mark.parametrize("measure", ["in_toward", "switched", "changed"])
def test_steering_has_a_panel_a_way(measure: Any) -> None:
    found = steering()
    figure = plot.steering(found, measure=measure)
    titles = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
    assert titles == [words for *_, words in WAYS]
    for panel, (level, kind, zeroed, words) in zip(figure.data, WAYS, strict=True):
        rows = found.table[
            (found.table["level"] == level)
            & (found.table["kind"] == kind)
            & (found.table["deactivated"] == zeroed)
        ]
        assert list(panel.x) == list(panel.y) == list(FIVE)
        for row, asked in enumerate(FIVE):
            for column, toward in enumerate(FIVE):
                own = rows[(rows["asked"] == asked) & (rows["toward"] == toward)]
                z, text = panel.z[row][column], panel.text[row][column]
                if asked == toward:
                    assert np.isnan(z)
                    assert text == ""
                    continue
                assert len(own) == (2 if kind == "layer" else 1)
                assert z == pytest.approx(100 * own[measure].mean())
                assert text == f"{100 * own[measure].mean():.0f}"
                assert panel.customdata[row][column] == pytest.approx(own["fluency"].mean())
        assert words in panel.hovertemplate
        assert (panel.zmin, panel.zmax) == (0, 100)
    assert [panel.showscale for panel in figure.data] == [True] + [False] * 9
    end = {"in_toward": "are in the language steered to", "changed": "changed",
           "switched": "switched to the language steered to"}[measure]  # fmt: skip
    assert figure.layout.title.text == f"Steering: answers that {end}"


def test_steering_toward_few_languages_and_in_one_way() -> None:
    figure = plot.steering(steering(("en", "de"), ("fr", "de"), deactivate=[False]), title="Mine")
    assert figure.layout.title.text == "Mine"
    assert len(figure.data) == 5
    assert list(figure.data[0].x) == ["de", "fr"], "in the order of the languages asked in"
    assert list(figure.data[0].y) == ["en", "de"]
    assert np.isnan(figure.data[0].z[1][0])
    only = plot.steering(steering(("en", "de"), deactivate=[True]))
    # Without any steering the units of the language asked in are never at zero.
    assert [note.text.replace("<br>", " ") for note in only.layout.annotations][:3] == [
        "no steering", "the asked language's at 0", "its units at mean, the asked language's at 0",
    ]  # fmt: skip
    columns = [trace.xaxis for trace in only.data]
    assert len(set(columns)) == len(only.data) == 6
    upright = plot.steering(steering(NINE))
    assert {axis.tickangle for axis in upright.select_xaxes()} == {-90}


def test_figures_can_go_dark_and_back() -> None:
    masks = {name: UnitMask("mlp_post", torch.ones(3, 4) > 0) for name in FIVE}
    for figure in (
        plot.language_matrix(matrix()),
        plot.language_layers(masks),
        plot.steering(steering(("en", "de"))),
    ):
        before = json.loads(figure.to_json())
        dark = plot.themed(figure, "dark")
        assert json.loads(figure.to_json()) == before
        spec = json.loads(dark.to_json())
        del spec["layout"]["template"]
        colors = json.dumps(spec).lower()
        for light in ("#f7f7f7", "#f7fbff", "#053061", "#222222", "#ffffff"):
            assert light not in colors, light
        for one, other in zip(figure.data, dark.data, strict=True):
            for numbers in ("x", "y", "z", "customdata", "text"):
                assert str(getattr(one, numbers)) == str(getattr(other, numbers))
        assert json.loads(plot.themed(dark, "light").to_json()) == before


def test_what_cannot_be_drawn_is_refused() -> None:
    refused(lambda: plot.language_matrix(matrix(), kinds=()), "no panel to draw")
    refused(
        lambda: plot.language_matrix(matrix(), kinds=("layer",)),
        "no 'layer' here; there are network, random",
    )
    refused(lambda: plot.language_layers({}), "no language to draw")

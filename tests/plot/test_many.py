"""Figures of many networks, layers and tasks, and of long names: what is drawn stays apart."""

import dataclasses
import itertools
import re

import pytest
from figure_cases import (
    FIGURES,
    NAMES,
    Case,
    first_map,
    granularities,
    lesions,
    people_of,
    profile,
    specific,
    swept,
)
from plotted import mask_of, matrix, steering

from lensloc import plot
from lensloc.plot.spacing import heading, legend_below, legend_of, panel_titles
from lensloc.plot.themes import PAGE, bar_style, style

MANY = Case(80, 12, "long")


def test_twelve_networks_differ_in_symbol_and_none_is_hollow() -> None:
    looks = [style(number) for number in range(24)]
    assert len({look["symbol"] for look in looks}) == 24
    assert len({(look["color"], look["dash"]) for look in looks}) == 24
    assert not [look for look in looks if "open" in look["symbol"]]
    figure = plot.granularity(granularities(MANY))
    first = [trace for trace in figure.data if trace.xaxis in (None, "x")]
    filled = [trace.marker.symbol for trace in first if trace.showlegend]
    hollow = [trace.marker.symbol for trace in first if not trace.showlegend]
    assert len(set(filled)) == 12
    assert hollow == [f"{symbol}-open" for symbol in filled]


def test_bars_of_one_colour_differ_in_pattern() -> None:
    looks = [bar_style(number) for number in range(24)]
    told = {(look["color"], look.get("pattern", {}).get("shape")) for look in looks}
    assert len(told) == 24
    figure = plot.ablation_modes(lesions(dataclasses.replace(MANY, networks=9), ("zero", "mean")))
    shapes = [trace.marker.pattern.shape for trace in figure.data if trace.showlegend]
    assert shapes[:9] == [None] * 8 + ["/"]
    assert len(figure.data) > 9
    dark = plot.themed(figure, "dark")
    assert dark.data[8].marker.pattern.bgcolor == dark.layout.paper_bgcolor != PAGE


def test_networks_that_look_alike_have_a_panel_each() -> None:
    """Two names that differ in their middle only, which a title leaves out."""
    names = [f"{'a' * 60}{middle}{'z' * 60}" for middle in "12"]
    found = people_of(Case(6, 2, "short"))
    renamed = dict(zip(NAMES["short"], names, strict=False))
    both = dataclasses.replace(found, table=found.table.replace({"network": renamed}))
    figure = plot.alignment(both)
    assert len(list(figure.select_xaxes())) == 2
    titles = [note.text for note in figure.layout.annotations if "aaa" in note.text]
    assert len(set(titles)) == 2


def test_entries_of_a_legend_are_short_where_they_are_many_and_never_alike() -> None:
    names = [f"{'a' * 60}{number}{'z' * 60}" for number in range(12)]
    figure = plot.layer_profile({name: mask_of((2, 2), (0, 0)) for name in names})
    entries = legend_of(figure)
    assert len(set(entries)) == 12
    assert all(len(entry) <= 30 and "<br>" not in entry for entry in entries)
    few = legend_of(plot.layer_profile({name: mask_of((2, 2), (0, 0)) for name in names[:2]}))
    assert len(set(few)) == 2
    assert max(map(len, few)) > 60


@pytest.mark.parametrize("networks", [1, 12])
def test_a_legend_below_takes_nothing_from_the_panels(networks: int) -> None:
    figure = plot.layer_profile(
        {name: mask_of((2, 2), (0, 0)) for name in NAMES["long"][:networks]}
    )
    figure.update_layout(margin={"b": 40})
    panels = figure.layout.height - figure.layout.margin.t - 40
    legend_below(figure, gap=50)
    layout = figure.layout
    assert layout.height - layout.margin.t - layout.margin.b == panels
    assert layout.legend.y == pytest.approx(-50 / panels)
    assert layout.margin.b >= 50 + 20 * networks / 3
    again = layout.height
    legend_below(figure, gap=50)
    assert figure.layout.height == again


def test_titles_of_panels_are_no_wider_than_these() -> None:
    titles = panel_titles(NAMES["long"], 120)
    assert len(set(titles)) == 12
    assert max(len(line) for each in titles for line in each.split("<br>")) <= 120 // 8
    assert heading(titles) == 2 * heading(["one<br>two"]) > heading(["one"]) == 0
    figure = FIGURES["layer_heatmap_of_sites"](MANY)
    panel = (figure.layout.width - 190) / 12
    for note in figure.layout.annotations:
        assert max(map(len, note.text.split("<br>"))) * note.font.size / 2 <= panel


@pytest.mark.parametrize("kind", ["specificity", "language_layers", "alignment_of_layers"])
def test_many_layers_and_tasks_fit_a_page(kind: str) -> None:
    assert FIGURES[kind](MANY).layout.width <= 1200


def test_many_tasks_stand_below_each_other_and_show_the_same() -> None:
    few, many = (plot.specificity(specific(Case(6, n, "short"))) for n in (2, 12))
    for figure, rows in ((few, 1), (many, 3)):
        axes = list(figure.select_yaxes())
        assert len({axis.domain for axis in axes}) == rows
        heat = [trace for trace in figure.data if trace.type == "heatmap"]
        assert len(heat) == 2
        outlined = [shape for shape in figure.layout.shapes if shape.type == "rect"]
        assert len(outlined) == 2 * len(heat[0].y)
        assert {shape.xref for shape in outlined} == {"x", "x2"}
        points = [trace for trace in figure.data if trace.name == "network"]
        assert len(points) == len(heat[0].y)
        assert {trace.xaxis for trace in points} == {"x3"}
        (zero,) = [shape for shape in figure.layout.shapes if shape.type == "line"]
        assert (zero.xref, zero.x0, zero.x1) == ("x3", 0, 0)


def test_titles_count_networks_that_are_many() -> None:
    assert "12 networks" in plot.dose_response(lesions(MANY)).layout.title.text
    three = plot.lesion_bars(lesions(Case(6, 3, "short")))
    assert "language, emotion, mind" in three.layout.title.text


def test_names_of_many_conditions_stand_upright_in_one_line() -> None:
    figure = plot.response_profile(profile(MANY))
    assert figure.layout.xaxis.tickangle == -90
    assert not [name for name in figure.data[0].x if "<br>" in name]


def test_names_of_panels_of_a_sweep_are_no_wider_than_these() -> None:
    figure = plot.sweep_depths(swept(Case(6, 1, "long")))
    for note in figure.layout.annotations:
        assert max(map(len, note.text.split("<br>"))) * 8 <= figure.layout.width - 150


def test_error_bars_are_seen_on_bars_and_on_the_page_in_either_theme() -> None:
    nine = Case(6, 9, "short")  # as many networks as there are colours, and one more
    drawn = [
        plot.alignment(people_of(nine)),
        plot.lesion_bars(lesions(nine)),
        plot.ablation_modes(lesions(nine, ("zero", "mean"))),
    ]
    for figure, theme in itertools.product(drawn, ("light", "dark")):
        dressed = plot.themed(figure, theme)
        page = dressed.layout.paper_bgcolor
        bars = [trace for trace in dressed.data if trace.type == "bar"]
        for bar in bars:
            fill, error = bar.marker.color, bar.error_y.color
            assert contrast(error, fill) > 2.5, (theme, fill)
            assert contrast(error, page) > 2.5, (theme, fill)
            if bar.name == "baselines together":
                assert contrast(fill, page) > 3, theme
        # And back again, which no two colours that became one would do.
        again = plot.themed(dressed, "light")
        assert [bar.error_y.color for bar in again.data if bar.type == "bar"] == [
            bar.error_y.color for bar in figure.data if bar.type == "bar"
        ]


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, as WCAG reckons it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_an_axis_of_layers_names_no_other() -> None:
    figure = plot.alignment(people_of(Case(28, 1, "short"), layers=True))
    low, high = figure.layout.xaxis.range
    assert -1 < low < 0
    assert 27 < high < 28


def test_no_t_is_a_negative_zero() -> None:
    found = first_map(Case(6, 1, "short"), "head", 12)
    figure = plot.head_heatmap(found)
    words = {re.sub("</?b>", "", word) for row in figure.data[0].text for word in row}
    assert "-0.0" not in words
    assert "0.0" in words


def test_titles_of_granularities_keep_their_place() -> None:
    """Rows of panels are as far apart as ticks and the longest title need."""
    figure = plot.granularity(granularities(Case(6, 1, "long")))
    lines = {note.text.count("<br>") for note in figure.layout.annotations}
    assert len(lines) == 1
    inside = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    lower, upper = sorted({axis.domain for axis in figure.select_yaxes()})
    assert (upper[0] - lower[1]) * inside >= 40 + 15 * (lines.pop() + 1)
    noted = [note.text for note in figure.layout.annotations if "task" in note.text]
    shown = [re.sub("<[^b][^>]*>|&nbsp;", "", text).split("<br>") for text in noted]
    assert max(len(line) for each in shown for line in each) <= 33


def test_one_language_of_a_long_name_has_a_matrix() -> None:
    """Names of several lines stand below one row of one cell."""
    name = NAMES["long"][0]
    alone = plot.language_matrix(matrix([name]), kinds=("network",))
    assert alone.layout.yaxis.domain == (0.0, 1.0)
    beside = plot.language_matrix(matrix([name]))  # and its control, in one row
    assert beside.layout.yaxis2.domain == (0.0, 1.0)
    assert plot.steering(steering([name, "other"])).data

"""Figures hold the numbers that they should show."""

import contextlib
import dataclasses
import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest
from plotted import granularities, lesions, mask_of, null_of, selectivity
from specification_table import GRIDS, specifications

from lensloc import LensLocError, LensLocWarning, Selectivity, UnitMask, plot
from lensloc.results.lesions import LesionStudy
from lensloc.results.profiles import ResponseProfile
from lensloc.units.overlaps import overlap


def test_layer_heatmap_shows_percentages_and_counts() -> None:
    masks = {"one": mask_of((2, 4), (0, 1), (1, 0), (1, 3)), "other": mask_of((3, 10), (2, 5))}
    (heatmap,) = plot.layer_heatmap(masks).data
    shown = np.array(heatmap.z)
    np.testing.assert_array_equal(shown[:, 0], [25, 50, np.nan])
    np.testing.assert_array_equal(shown[:, 1], [0, 0, 10])
    assert np.array(heatmap.customdata)[1, 0].tolist() == [2, 4]
    assert [label.split("<br>") for label in heatmap.x] == [
        ["one", "3 units"],
        ["other", "1 unit"],
    ]
    assert heatmap.zmin == 0


def test_sites_of_one_layer_stand_before_and_behind_the_layers() -> None:
    masks = {
        "blocks": mask_of((2, 4), (0, 1)),
        "begin": mask_of((1, 4), (0, 0), (0, 3), site="embed"),
        "end": mask_of((1, 4), (0, 2), site="ln_final"),
    }
    figure = plot.layer_heatmap(masks)
    (heatmap,) = figure.data
    assert list(heatmap.y) == [-1, 0, 1, 2]
    np.testing.assert_array_equal(
        np.array(heatmap.z).T,
        [[np.nan, 25, 0, np.nan], [50, np.nan, np.nan, np.nan], [np.nan] * 3 + [25]],
    )
    assert list(figure.layout.yaxis.ticktext) == ["embed", "0", "1", "norm"]
    assert heatmap.text[0][1] == "begin<br>embedding"
    profile = plot.layer_profile(masks)
    assert [list(trace.x) for trace in profile.data] == [[0, 1], [-1], [2]]
    assert profile.data[2].hovertemplate.startswith("end, final norm: ")
    unit = plot.unit_heatmap(selectivity(1, 8, site="embed"))
    assert unit.data[0].hovertemplate.startswith("embed.%{customdata[0]}<br>")


def test_layer_heatmap_of_statistics_takes_the_top() -> None:
    found = selectivity()
    (heatmap,) = plot.layer_heatmap({"resid_post": found}, percent=25).data
    expected = found.top(percent=25).percent_per_layer()
    np.testing.assert_allclose(np.array(heatmap.z)[:, 0], expected)


def test_a_site_too_small_for_the_percentage_is_drawn_with_one_unit() -> None:
    found = {"heads": selectivity(6, 8, site="head"), "stream": selectivity(6, 100)}
    with pytest.warns(LensLocWarning, match="1 % of the 48 units at head is less than one unit"):
        trace = plot.layer_heatmap(found, percent=1).data[0]
    assert trace.customdata[..., 0].sum(axis=0).tolist() == [1, 6]
    with pytest.warns(LensLocWarning, match="at head"):
        curve = plot.layer_profile({"heads": found["heads"]}, "share", percent=1).data[0]
    assert sum(value > 0 for value in curve.y) == 1


def test_unit_heatmap_is_sorted_and_centred_on_zero() -> None:
    found = selectivity()
    figure = plot.unit_heatmap(found)
    (heatmap,) = figure.data
    np.testing.assert_allclose(np.array(heatmap.z), -np.sort(-found.t.numpy(), axis=1), atol=5e-4)
    assert heatmap.zmin == -heatmap.zmax
    assert heatmap.zmax == pytest.approx(found.t.abs().max().item())
    best = int(found.t[1].argmax())
    assert heatmap.customdata[1][0][0] == best
    assert heatmap.hovertemplate.startswith("L%{y}.resid_post.%{customdata[0]}<br>")
    assert "sentences &gt; nonwords" in figure.layout.title.text or ">" in figure.layout.title.text


def test_unit_heatmap_of_wide_layers_keeps_the_extremes() -> None:
    found = selectivity(n_units=5000)
    (heatmap,) = plot.unit_heatmap(found).data
    shown = np.array(heatmap.z)
    assert shown.shape == (3, 400)
    np.testing.assert_allclose(shown[:, 0], found.t.max(dim=1).values, atol=5e-4)
    np.testing.assert_allclose(shown[:, -1], found.t.min(dim=1).values, atol=5e-4)


def test_a_page_opens_offline(tmp_path: Path) -> None:
    page = plot.save(plot.unit_heatmap(selectivity()), tmp_path / "figure.html").read_text()
    assert "Plotly.newPlot" in page
    assert '<script src="' not in page
    assert "cdn.plot.ly" not in page.split("Plotly.newPlot")[1]


def test_pictures_without_kaleido_or_a_browser_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = plot.unit_heatmap(selectivity())
    problems = [
        (ValueError("Image export requires the kaleido package"), "pip install 'lensloc"),
        (ImportError("kaleido"), "pip install 'lensloc"),
        (RuntimeError("Image export requires the Kaleido package"), "pip install 'lensloc"),
        (RuntimeError("Kaleido requires Google Chrome to be installed."), "no working Chrome"),
        (OSError("the disk is full"), "could not be drawn by kaleido .the disk is full."),
    ]
    with pytest.raises(LensLocError, match="pip install 'lensloc"):  # it is not there
        plot.save(figure, tmp_path / "figure.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    for problem, message in problems:

        def fail(*_: object, problem: Exception = problem, **__: object) -> bytes:
            raise problem

        monkeypatch.setattr(plotly.io, "to_image", fail)
        with pytest.raises(LensLocError, match=message):
            plot.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_layer_heatmap_of_many_columns_fits_a_notebook() -> None:
    sites = [f"site_{number}" for number in range(8)]
    found = {site: selectivity(n_units=100, seed=seed) for seed, site in enumerate(sites)}
    networks = {name: dict(found) for name in ("language", "emotion", "theory of mind")}
    grouped = plot.layer_heatmap(networks, percent=2)
    assert [note.text for note in grouped.layout.annotations] == list(networks)
    assert len(grouped.data) == 3
    assert len({(panel.zmin, panel.zmax) for panel in grouped.data}) == 1
    assert [panel.showscale for panel in grouped.data] == [False, False, None]
    assert grouped.data[1].x[3] == "site_3, 6 units"
    flat = plot.layer_heatmap(
        {f"{n} {s}": f for n, sets in networks.items() for s, f in sets.items()}, percent=2
    )
    np.testing.assert_array_equal(flat.data[0].z, np.hstack([panel.z for panel in grouped.data]))
    for figure in (grouped, flat):
        assert figure.layout.width <= 1000
        assert figure.layout.xaxis.tickangle == -90
    expected = found["site_3"].top(percent=2).percent_per_layer()
    np.testing.assert_allclose(np.array(grouped.data[2].z)[:, 3], expected)


def test_head_heatmap_shows_t_of_every_head() -> None:
    found = selectivity(4, 9, site="attn_entropy")
    figure = plot.head_heatmap(found)
    (heatmap,) = figure.data
    np.testing.assert_allclose(np.array(heatmap.z), found.t.numpy(), atol=5e-4)
    assert heatmap.zmin == -heatmap.zmax == -found.t.abs().max().item()
    unit, q, d = heatmap.customdata[3][8]
    assert unit == 8
    assert heatmap.hovertemplate.startswith("L%{y}.attn_entropy.%{customdata[0]}<br>")
    assert (q, d) == pytest.approx((found.q[3, 8].item(), found.d[3, 8].item()), abs=1e-3)
    bold = np.array([[cell.startswith("<b>") for cell in row] for row in heatmap.text])
    np.testing.assert_array_equal(bold, found.q.numpy() < 0.05)
    assert heatmap.text[0][0].strip("</b>") == f"{found.t[0, 0]:.1f}"
    assert "(attn_entropy)" in figure.layout.title.text
    (many,) = plot.head_heatmap(selectivity(2, 40, site="head")).data
    assert many.text is None


def test_t_histogram_counts_every_unit() -> None:
    found = selectivity(n_units=500)
    (bars,) = plot.t_histogram(found).data
    assert sum(bars.y) == found.t.numel()
    low, high, count = np.array(bars.customdata).T
    t = found.t.flatten().numpy()
    np.testing.assert_array_equal(
        count, [((a <= t) & (t < b)).sum() for a, b in zip(low, high, strict=True)]
    )
    np.testing.assert_allclose(high - low, bars.width)
    figure = plot.t_histogram(found, density=True, log=True)
    assert np.sum(np.array(figure.data[0].y) * np.array(figure.data[0].width)) == pytest.approx(1)
    assert figure.layout.yaxis.type == "log"


@pytest.mark.parametrize("two_sided", [True, False])
def test_t_histogram_stands_beside_its_null(two_sided: bool) -> None:
    found = selectivity(n_units=500)
    null = null_of(found, two_sided=two_sided)
    figure = plot.t_histogram(found, null)
    bars, line, dashed = figure.data
    assert sum(bars.y) == found.t.numel()
    np.testing.assert_allclose(line.y, null.null_counts)
    np.testing.assert_allclose(line.x, bars.x)
    assert "99 permutations" in line.name
    assert dashed.name == "family-wise error 5 %"
    threshold = null.threshold(0.05)
    signs = [-1, 1] if two_sided else [1]
    assert [shape.x0 for shape in figure.layout.shapes] == [sign * threshold for sign in signs]
    beyond = {1: int((found.t > threshold).sum()), -1: int((found.t < -threshold).sum())}
    assert [note.text.split(" ")[0] for note in figure.layout.annotations] == [
        f"{beyond[sign]:,}" for sign in signs
    ]
    low, high = figure.layout.xaxis.range
    assert high >= max(found.t.max().item(), threshold)
    assert low <= found.t.min().item()
    log = plot.t_histogram(found, null, log=True, density=True)
    shown = np.array(log.data[1].y, dtype=float)
    np.testing.assert_array_equal(np.isnan(shown), null.null_counts == 0)
    np.testing.assert_allclose(np.nansum(shown) * 0.5, null.null_counts.sum() / found.t.numel())


def test_layer_profile_has_a_curve_a_site() -> None:
    found = {"resid_post": selectivity(), "head": selectivity(n_units=4, seed=1)}
    expected = {
        "share": {s: f.top(percent=25).percent_per_layer() for s, f in found.items()},
        "mean_t": {s: f.t.mean(dim=1) for s, f in found.items()},
        "mean_abs_t": {s: f.t.abs().mean(dim=1) for s, f in found.items()},
        "significant": {s: 100 * (f.q < 0.05).double().mean(dim=1) for s, f in found.items()},
    }
    for quantity, curves in expected.items():
        size = {"percent": 25} if quantity == "share" else {}
        figure = plot.layer_profile(found, quantity, **size)
        assert [trace.name for trace in figure.data] == list(found)
        for trace, curve in zip(figure.data, curves.values(), strict=True):
            np.testing.assert_allclose(trace.y, curve)
            assert list(trace.x) == [0, 1, 2]
    masks = {site: f.top(percent=25) for site, f in found.items()}
    np.testing.assert_allclose(plot.layer_profile(masks).data[1].y, expected["share"]["head"])


def test_layer_profile_of_models_of_other_depth_is_relative() -> None:
    found = {"deep": selectivity(5), "shallow": selectivity(3), "one": selectivity(1)}
    figure = plot.layer_profile(found, percent=25)
    assert [list(trace.x) for trace in figure.data] == [[0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1], [0]]
    assert list(figure.data[1].customdata) == [0, 1, 2]
    assert "relative" in figure.layout.xaxis.title.text
    assert list(plot.layer_profile(found, "mean_t", relative=False).data[1].x) == [0, 1, 2]


def test_curves_differ_in_more_than_colour() -> None:
    found = {str(number): mask_of((2, 2), (0, 0)) for number in range(16)}
    looks = [
        (trace.line.color, trace.line.dash, trace.marker.symbol)
        for trace in plot.layer_profile(found).data
    ]
    assert len(set(looks)) == 16
    assert len({symbol for _, _, symbol in looks}) == 16


def test_granularity_has_a_panel_a_measure_and_a_row_a_site() -> None:
    table = granularities(("language", "emotion"))
    figure = plot.granularity(table)
    titles = [note.text.split("<br>")[0] for note in figure.layout.annotations]
    assert len(titles) == 5
    assert "hollow: prefer the control" in figure.layout.annotations[0].text
    assert list(figure.layout.yaxis.ticktext) == ["resid_post", "mlp_post", "head"]
    first = [trace for trace in figure.data if trace.xaxis in (None, "x")]
    hollow, filled, _, other = first
    assert (filled.name, other.name) == ("language", "emotion")
    assert filled.marker.symbol != other.marker.symbol
    assert hollow.marker.symbol == f"{filled.marker.symbol}-open"
    language = table[table["network"] == "language"]
    np.testing.assert_allclose(filled.x, 100 * language["significant_target"])
    np.testing.assert_allclose(hollow.x, 100 * language["significant_control"])
    np.testing.assert_array_equal(np.round(filled.y), [0, 1, 2])
    (reliability,) = [
        t for t in figure.data if t.error_x.array is not None and t.name == "language"
    ]
    np.testing.assert_allclose(reliability.x, language["reliability"])
    np.testing.assert_allclose(reliability.error_x.array, [0.05] * 3)
    np.testing.assert_allclose(reliability.error_x.arrayminus, [0.1] * 3)
    assert "a unit: a head" in reliability.customdata[2][0]
    assert "legend" in figure.to_plotly_json()["layout"]


def test_granularity_draws_what_the_table_has() -> None:
    table = granularities()
    table["drop_number"] = [0.2, pd.NA, 0.1]
    table["drop_number_low"], table["drop_number_high"] = [0.1, pd.NA, 0.0], [0.3, pd.NA, 0.2]
    table["n_number"], table["task"] = 120, "pairs"
    table["took_effect"] = [True, pd.NA, False]
    table["agreement"] = pd.NA
    figure = plot.granularity(table.drop(columns=["dice", "selected_d"]))
    titles = [note.text for note in figure.layout.annotations]
    assert len(titles) == 5
    assert not any("Dice" in title or "attribution" in title for title in titles)
    assert "120 units; pairs" in titles[-1]
    assert "hollow" not in titles[1]
    idle = ["took no effect" in about for about, _ in figure.data[-1].customdata]
    assert idle == [False, False, True]
    assert not any("took no effect" in about for about, _ in figure.data[1].customdata)
    np.testing.assert_allclose(figure.data[-1].x, [0.2, np.nan, 0.1])
    assert figure.layout.width <= 1000


@pytest.mark.parametrize("n", list(GRIDS))
def test_multiverse_sorts_specifications_above_their_choices(n: int) -> None:
    found = specifications(GRIDS[n])
    figure = plot.multiverse(found)
    table = found.table.sort_values("difference", ignore_index=True)
    shown = {place: [t for t in figure.data if t.yaxis == place] for place in ("y", "y2", "y3")}
    for trace in shown["y"]:
        if trace.x[0] is None:  # of the legend
            continue
        at = list(trace.x)
        np.testing.assert_allclose(trace.y, table["difference"][at])
        np.testing.assert_allclose(
            np.add(trace.y, trace.error_y.array), table["difference_high"][at]
        )
    assert sum(t.x[0] is not None and len(t.x) for t in shown["y"]) == n
    network, control = shown["y2"]
    np.testing.assert_allclose(network.y, table["network_drop"])
    np.testing.assert_allclose(control.y, table["control_drop"])
    # Every specification has one dot per choice.
    assert sum(len(trace.x) for trace in shown["y3"]) == n * len(GRIDS[n])
    values = [f"{v:g} %" if isinstance(v, float) else v for vs in GRIDS[n].values() for v in vs]
    ticks = [re.sub("<b>.*</b>  ", "", tick) for tick in figure.layout.yaxis3.ticktext]
    assert ticks == values
    for row, (name, value) in enumerate((k, v) for k, vs in GRIDS[n].items() for v in vs):
        at = sorted(x for trace in shown["y3"] if trace.y[0] == row for x in trace.x)
        assert at == table.index[table[name] == value].tolist()
    assert figure.layout.width <= 1280


def test_multiverse_shows_one_task() -> None:
    found = specifications(GRIDS[12], tasks=("one", "other"))
    assert "Harm to one" in plot.multiverse(found).layout.title.text
    assert "Harm to other" in plot.multiverse(found, task="other").layout.title.text
    with pytest.raises(LensLocError, match="There is no task 'third'; there are one, other"):
        plot.multiverse(found, task="third")


def test_overlap_is_a_triangle() -> None:
    masks = {
        "a": mask_of((2, 10), (0, 0), (0, 1)),
        "b": mask_of((2, 10), (0, 1), (1, 0), (1, 1)),
        "c": mask_of((2, 10), (1, 0)),
    }
    table = overlap(masks)
    figure = plot.overlap(table)
    (heatmap,) = figure.data
    assert list(heatmap.x) == ["a<br>2 units", "b<br>3 units"]
    assert list(heatmap.y) == ["b<br>3 units", "c<br>1 unit"]
    np.testing.assert_allclose(np.array(heatmap.z), [[2 / 5, np.nan], [0, 2 / 4]])
    assert heatmap.text[0][0] == "<b>0.40</b><br>1 shared<br>3.3 × chance"
    assert heatmap.text[0][1] == ""
    assert "0.3 by chance, p = " in heatmap.customdata[0][0]
    assert "0.2 by chance within the same layers" in heatmap.customdata[0][0]
    assert "resid_post" in figure.layout.title.text
    # The order of rows does not matter, and another measure can colour them.
    (other,) = plot.overlap(table.iloc[::-1], measure="ratio").data
    assert sorted(np.array(other.z)[~np.isnan(np.array(other.z))]) == pytest.approx(
        [0, 1 / 0.3, 1 / 0.15]
    )


def every_figure() -> dict[str, go.Figure]:
    found = selectivity()
    masks = {name: selectivity(seed=seed).top(k=6) for seed, name in enumerate("abc")}
    return {
        "layer_heatmap": plot.layer_heatmap(masks),
        "unit_heatmap": plot.unit_heatmap(found),
        "head_heatmap": plot.head_heatmap(selectivity(site="head")),
        "t_histogram": plot.t_histogram(found, null_of(found)),
        "layer_profile": plot.layer_profile(masks),
        "granularity": plot.granularity(granularities()),
        "overlap": plot.overlap(overlap(masks)),
        "dose_response": plot.dose_response(lesions()),
        "lesion_bars": plot.lesion_bars(lesions()),
        "ablation_modes": plot.ablation_modes(lesions()),
        "multiverse": plot.multiverse(specifications(GRIDS[12])),
    }


def test_names_are_shown_as_they_are_written() -> None:
    """Numbers and dates as names of conditions and networks are no scale, tags no format."""
    table = pd.DataFrame({"condition": ["0", "2024-05-01", "<b>1</b>"], "stimuli": [9, 9, 9]})
    scores = [f"{score}{end}" for score in ("absolute", "standardised", "signed") for end in
              ("", "_low", "_high")]  # fmt: skip
    table[scores] = 1.0
    profile = ResponseProfile(table, pd.DataFrame(), False, 3, "resid_post", 0.95)
    figure = plot.response_profile(profile)
    axes = [figure.layout.xaxis, figure.layout.xaxis2, figure.layout.xaxis3]
    assert [axis.type for axis in axes] == ["category"] * 3
    assert [axis.type for axis in (figure.layout.yaxis, figure.layout.yaxis3)] == [None] * 2
    assert [list(trace.x) for trace in figure.data] == [["0", "2024-05-01", "&lt;b>1&lt;/b>"]] * 3

    masks = {name: selectivity(seed=seed).top(k=6) for seed, name in enumerate(("1", "2", "<i>"))}
    shared = plot.overlap(overlap(masks))
    assert (shared.layout.xaxis.type, shared.layout.yaxis.type) == ("category", "category")
    assert list(shared.data[0].y) == ["2<br>6 units", "&lt;i><br>6 units"]
    columns = plot.layer_heatmap(masks)
    assert (columns.layout.xaxis.type, columns.layout.yaxis.type) == ("category", None)
    assert columns.data[0].x[2].startswith("&lt;i><br>")
    curves = plot.layer_profile(masks)
    assert [trace.name for trace in curves.data][-1] == "&lt;i>"

    renamed = lesions().table.assign(network="<b>", task="<u>")
    for figure in (
        plot.dose_response(LesionStudy(renamed)),
        plot.lesion_bars(LesionStudy(renamed)),
        plot.ablation_modes(LesionStudy(renamed)),
    ):
        shown = figure.to_json().encode().decode("unicode_escape")
        assert "&lt;b>" in shown
        assert [note.text for note in figure.layout.annotations] == ["&lt;u>"]
    one = selectivity()
    made = dataclasses.replace(one.provenance, target=("<b>",), control=("a",))
    titled = plot.unit_heatmap(dataclasses.replace(one, provenance=made))
    assert titled.layout.title.text.startswith("&lt;b> > a at")


def test_every_figure_can_go_dark_and_back() -> None:
    default = plotly.io.templates.default
    for name, figure in every_figure().items():
        before = json.loads(figure.to_json())
        dark = plot.themed(figure, "dark")
        assert json.loads(figure.to_json()) == before, name
        assert dark.layout.paper_bgcolor == dark.layout.plot_bgcolor != "#ffffff"
        spec = json.loads(dark.to_json())
        del spec["layout"]["template"]
        colors = json.dumps(spec).lower()
        for light in ("#f7f7f7", "#f7fbff", "#0072b2", "#6b6b6b", "#222222"):
            assert light not in colors, (name, light)
        for one, other in zip(figure.data, dark.data, strict=True):
            for numbers in ("x", "y", "z", "customdata", "text"):
                kept, shown = (getattr(trace, numbers, None) for trace in (one, other))
                assert str(kept) == str(shown), (name, numbers)
        assert json.loads(plot.themed(dark, "light").to_json()) == before, name
        assert json.loads(plot.themed(dark, "dark").to_json()) == json.loads(dark.to_json()), name
    assert plotly.io.templates.default == default
    (heatmap,) = plot.themed(plot.unit_heatmap(selectivity()), "dark").data
    assert heatmap.colorscale[2] == (0.5, "#202226")
    assert heatmap.zmin == -heatmap.zmax


def test_a_dark_page_is_dark_around_its_figure(tmp_path: Path) -> None:
    dark = plot.themed(plot.unit_heatmap(selectivity()), "dark")
    page = plot.save(dark, tmp_path / "figure.html").read_text()
    assert f'<body style="background: {dark.layout.paper_bgcolor}">' in page


# -- how figures are shown -------------------------------------------------------------------------


def test_figures_send_nothing_and_show_their_mode_bar_on_hover(tmp_path: Path) -> None:
    expected = {"showSendToCloud": False, "displaylogo": False, "displayModeBar": "hover"}
    for name, figure in every_figure().items():
        for shown in (figure, plot.themed(figure, "dark"), pickle.loads(pickle.dumps(figure))):
            with shows_with("plotly_mimetype"):
                data = shown._repr_mimebundle_()["application/vnd.plotly.v1+json"]
            assert expected.items() <= data["config"].items(), name
            assert "sendChartToCloud" in data["layout"]["modebar"]["remove"], name
            with shows_with("notebook"):
                page = shown._repr_html_()
            assert _config_of(page).items() >= expected.items(), name
    figure = plot.unit_heatmap(selectivity())
    figure.write_html(tmp_path / "own.html")
    for page in (
        figure.to_html(),
        (tmp_path / "own.html").read_text(),
        plot.save(figure, tmp_path / "saved.html").read_text(),
        plot.save(go.Figure(figure), tmp_path / "plain.html").read_text(),
    ):
        assert _config_of(page).items() >= expected.items()
    told = _config_of(figure.to_html(config={"displaylogo": True}))
    assert (told["displaylogo"], told["showSendToCloud"]) == (True, False)


def test_showing_a_figure_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(plotly.io, "show", lambda *a, **k: shown.append(k))
    figure = plot.unit_heatmap(selectivity())
    figure.show()
    figure.show(config={"scrollZoom": True})
    with shows_with("json"):
        figure._ipython_display_()
    assert [each["config"]["showSendToCloud"] for each in shown] == [False] * 3
    assert shown[1]["config"]["scrollZoom"]


@contextlib.contextmanager
def shows_with(name: str) -> Iterator[None]:
    before = plotly.io.renderers.default
    plotly.io.renderers.default = name
    plotly.io.renderers._to_activate = []
    yield
    plotly.io.renderers.default = before


def _config_of(page: str) -> dict[str, Any]:
    call = page[page.rindex("Plotly.newPlot(") :]
    (found,) = re.findall(r'\{[^{}]*"responsive": true[^{}]*\}', call)
    config = json.loads(found)
    assert isinstance(config, dict)
    return config


# -- names -----------------------------------------------------------------------------------------

LONG = (
    "sentences of twelve words in lower case, without punctuation, written for the localizer",
    "sentences of twelve words in lower case, without punctuation, written for the localizers",
    "x" * 200,
    "nonwords",
)


def with_long_names() -> dict[str, go.Figure]:
    table = pd.DataFrame({"condition": LONG, "stimuli": 9})
    scores = [f"{score}{end}" for score in ("absolute", "standardised", "signed") for end in
              ("", "_low", "_high")]  # fmt: skip
    table[scores] = 1.0
    profile = ResponseProfile(table, pd.DataFrame(), False, 3, "resid_post", 0.95)
    masks = {name: selectivity(seed=seed).top(k=6) for seed, name in enumerate(LONG)}
    study = pd.concat(
        [lesions().table.assign(network=name, task=lesions().table["task"] + name) for name in LONG]
    )
    return {
        "response_profile": plot.response_profile(profile),
        "layer_heatmap": plot.layer_heatmap(masks),
        "layer_heatmap, upright": plot.layer_heatmap({f"{n}{k}": masks[n] for n in LONG
                                                      for k in range(4)}),
        "layer_heatmap, panels": plot.layer_heatmap({name: masks for name in LONG[:2]}),
        "layer_profile": plot.layer_profile(masks),
        "granularity": plot.granularity(granularities(LONG)),
        "overlap": plot.overlap(overlap(masks)),
        "dose_response": plot.dose_response(LesionStudy(study)),
        "lesion_bars": plot.lesion_bars(LesionStudy(study)),
        "language_layers": plot.language_layers(masks),
    }  # fmt: skip


def test_long_names_are_wrapped_and_cut_and_stay_apart() -> None:
    for name, figure in with_long_names().items():
        for trace in figure.data:
            for axis in ("x", "y"):
                values = getattr(trace, axis, None)
                if values is None or not isinstance(values[0], str):
                    continue
                lines = [line for label in values for line in label.split("<br>")]
                assert max(map(len, lines)) <= 58, (name, lines)
                assert max(label.count("<br>") for label in values) <= 3, name
                assert len(set(values)) >= min(len(values), 1 if trace.type != "heatmap" else 99)
        labels = [label for trace in figure.data if trace.x is not None for label in trace.x]
        if labels and isinstance(labels[0], str):
            kept = {label.split("<br>")[0] for label in labels}
            assert "nonwords" in kept or name.startswith(("layer", "overlap", "lesion")), name
        for note in figure.layout.annotations:
            lines = re.sub(r"</?span[^>]*>|&nbsp;", "", note.text).split("<br>")
            assert max(map(len, lines)) * 8 <= figure.layout.width, (name, note.text)
        shown = [trace.name for trace in figure.data if trace.name]
        assert all(len(line) <= 48 for each in shown for line in each.split("<br>")), name
        # What the title, the legend and the labels leave is still a figure.
        margin = figure.layout.margin
        assert figure.layout.height - margin.t - margin.b >= 180, name
        assert figure.layout.title.text.count("<br>") <= 4, name
        # The whole names stand in what hovering shows.
        told = figure.to_json()
        whole = LONG[2] if name != "granularity" else LONG[0]
        assert whole in told, name


def test_titles_name_contrast_model_and_size() -> None:
    made = {"model": "gpt2", "contrast": "language"}
    found = selectivity()
    found = dataclasses.replace(found, provenance=found.provenance.replace(**made))
    for figure in (
        plot.layer_heatmap(found, percent=25),
        plot.layer_heatmap({"a": found.top(k=3), "b": found.top(k=5)}),
        plot.unit_heatmap(found),
        plot.t_histogram(found),
        plot.layer_profile({"a": found}, percent=25),
    ):
        assert "language in gpt2" in figure.layout.title.text.replace("<br>", " ")
    assert "3 x 8 units" in plot.unit_heatmap(found).layout.title.text.replace("<br>", " ")
    assert "language in gpt2, llama" in " ".join(
        plot.layer_heatmap({"a": found, "b": with_model(found, "llama")}, percent=25)
        .layout.title.text.split("<br>")
    )  # fmt: skip
    several = {str(n): with_model(found, f"m{n}") for n in range(4)}
    assert "language in 4 models" in plot.layer_heatmap(several, percent=25).layout.title.text
    unknown = plot.layer_heatmap(selectivity(), percent=25)
    assert unknown.layout.title.text == "Where the selected units are"
    assert plot.unit_heatmap(found, title="mine").layout.title.text == "mine"
    table = granularities().assign(model="gpt2")
    assert "language in gpt2" in plot.granularity(table).layout.title.text


def with_model(found: Selectivity, model: str) -> Selectivity:
    return dataclasses.replace(found, provenance=found.provenance.replace(model=model))


# -- one scale, or two -----------------------------------------------------------------------------


def test_a_column_of_heads_does_not_flatten_the_others() -> None:
    wide = [selectivity(4, 400, seed, f"site{seed}").top(percent=1) for seed in range(2)]
    heads = mask_of((4, 9), (2, 3), site="head")  # 11 % of a layer; the others have 1 or 2 %
    figure = plot.layer_heatmap({"a": wide[0], "head": heads, "b": wide[1]})
    fine, coarse = figure.data
    highest = max(float(mask.percent_per_layer().max()) for mask in wide)
    assert (fine.zmax, coarse.zmax) == (pytest.approx(highest), pytest.approx(100 / 9))
    assert fine.zmin == coarse.zmin == 0
    assert fine.colorscale != coarse.colorscale
    assert list(fine.x) == list(coarse.x)
    np.testing.assert_array_equal(np.isnan(np.array(fine.z)[0]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(np.array(coarse.z)[0]), [True, False, True])
    assert coarse.colorbar.x - fine.colorbar.x > 0.1
    panels = plot.layer_heatmap({"one": {"a": wide[0], "head": heads}, "two": {"b": wide[1]}})
    assert [trace.showscale for trace in panels.data].count(False) == 1
    # Whether two scales are needed is told by the largest shares, not by names.
    for shares, n in (([2, 4], 1), ([2, 10], 1), ([2, 11], 2), ([1, 2, 4, 8], 1), ([0, 50], 1)):
        masks = {str(k): share_of(share) for k, share in enumerate(shares)}
        assert len({trace.colorscale for trace in plot.layer_heatmap(masks).data}) == n, shares


def share_of(percent: int) -> UnitMask:
    return mask_of((1, 100), *((0, unit) for unit in range(percent)))


def test_lesion_figures_of_many_tasks_fit_a_notebook() -> None:
    for figure in (plot.dose_response(lesions()), plot.lesion_bars(lesions())):
        assert [note.text for note in figure.layout.annotations] == [
            "pairs",
            "choice",
            "more",
            "last",
        ]
        assert figure.layout.width <= 1000
    hollow = [t for t in plot.dose_response(lesions()).data if t.marker.color == "#ffffff"]
    assert len(hollow) == 2 * 4
    assert all(list(trace.x) == [1.0] for trace in hollow)


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="no mask to draw"):
        plot.layer_heatmap({})
    with pytest.raises(LensLocError, match="unknown suffix"):
        plot.save(plot.unit_heatmap(selectivity()), tmp_path / "figure.bmp")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.layer_heatmap({"language": {}}), "no mask to draw"),
        (lambda: plot.head_heatmap(selectivity()), "resid_post a unit is no attention head"),
        (lambda: plot.t_histogram(selectivity(), null_of(selectivity(4))), "null is of"),
        (lambda: plot.t_histogram(selectivity(), null_of(selectivity(seed=1))), "another t"),
        (lambda: plot.layer_profile({}), "no curve to draw"),
        (lambda: plot.layer_profile({"a": mask_of((2, 2), (0, 0))}, "mean_t"), "'a' is a set"),
        (lambda: plot.granularity(granularities().iloc[:0]), "has no row"),
        (lambda: plot.granularity(granularities().drop(columns="site")), "lacks the column 'site'"),
        (lambda: plot.granularity(granularities()[["network", "site"]]), "has no measure"),
        (lambda: plot.granularity(pd.concat([granularities()] * 2)), "several rows"),
        (lambda: plot.overlap(pd.DataFrame()), "lacks the column 'first'"),
        (lambda: plot.overlap(pairs().iloc[:0]), "is empty"),
        (lambda: plot.overlap(pd.concat([pairs()] * 2)), "several rows for a pair"),
        (lambda: plot.overlap(pairs().drop(columns="jaccard"), measure="jaccard"), "'jaccard'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], go.Figure], message: str) -> None:
    with pytest.raises(LensLocError, match=message) as caught:
        draw()
    assert "\n" not in str(caught.value)


def pairs() -> pd.DataFrame:
    return overlap({"a": mask_of((2, 2), (0, 0)), "b": mask_of((2, 2), (0, 0), (1, 1))})

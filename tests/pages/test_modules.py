"""Wrapped modules on pages and in figures: layers of different width, pictures instead of texts."""

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import planted_vision
import pytest
from PIL import Image

import lensloc as ll
from lensloc import plot
from lensloc.contrasts.pictures import thumbnails
from lensloc.pages.explorer import payload

WIDTHS = planted_vision.WIDTHS


@pytest.fixture(scope="module")
def contrast() -> ll.Contrast:
    made = ll.Contrast.from_images(
        planted_vision.pictures(), target="red", control="other", name="redness"
    )
    return made


@pytest.fixture(scope="module")
def wrapped() -> ll.Wrapped:
    return ll.wrap(planted_vision.Net(), {"conv": "convs.{layer}"})


@pytest.fixture(scope="module")
def found(wrapped: ll.Wrapped, contrast: ll.Contrast) -> ll.Localization:
    return ll.localize(wrapped, contrast, keep_responses=True, progress=False)


@pytest.fixture(scope="module")
def study(wrapped: ll.Wrapped, contrast: ll.Contrast) -> ll.Study:
    return ll.study(wrapped, contrast, percent=20, n_splits=3, progress=False)


def test_figures_draw_units_alone(found: ll.Localization) -> None:
    conv = found["conv"]
    network = conv.top(k=3)
    heat = plot.layer_heatmap({"red": network}).data[0]
    np.testing.assert_allclose(heat.z[:, 0], [100 / 4, 100 / 7, 100 / 3])
    assert heat.customdata[:, 0, 1].tolist() == list(WIDTHS)
    rows = plot.unit_heatmap(conv).data[0]
    assert np.isfinite(rows.z).all()
    for layer, width in enumerate(WIDTHS):
        assert set(rows.customdata[layer, :, 0].astype(int)) == set(range(width))
        assert rows.z[layer, 0] == pytest.approx(float(conv.t[layer, :width].max()))
        assert rows.z[layer, -1] == pytest.approx(float(conv.t[layer, :width].min()), rel=1e-6)
    bars = plot.t_histogram(conv).data[0]
    assert sum(bars.customdata[:, 2]) == sum(WIDTHS)
    assert "14 in 3 layers of 3 to 7 units" in plot.t_histogram(conv).layout.title.text.replace(
        "<br>", " "
    )
    null = found.max_t("conv", n_permutations=50)
    assert len(plot.t_histogram(conv, null).data) > 1
    for quantity in ("mean_t", "mean_abs_t"):
        curve = plot.layer_profile({"a": conv}, quantity).data[0].y  # type: ignore[arg-type]
        t = conv.t.abs() if quantity == "mean_abs_t" else conv.t
        means = [float(t[layer, :width].mean()) for layer, width in enumerate(WIDTHS)]
        np.testing.assert_allclose(curve, means)
    shares = plot.layer_profile({"a": conv}, "significant").data[0].y
    assert shares[0] == pytest.approx(100 * int((conv.q[0] < 0.05).sum()) / 4)


def test_the_explorer_counts_units_alone_and_shows_pictures(found: ll.Localization) -> None:
    data = payload(found, percent=25, most=100, most_bytes=10**6)
    site = data["sites"][0]
    assert site["widths"] == list(WIDTHS)
    assert site["available"] == sum(WIDTHS)
    assert site["what"] == "channel of the output of convs.{layer}"
    units = np.frombuffer(base64.b64decode(site["target"]["unit"]), "<u4")
    assert len(units) == sum(WIDTHS)
    assert all(unit % 7 < WIDTHS[unit // 7] for unit in units)
    assert not any(
        math.isnan(t) for t in np.frombuffer(base64.b64decode(site["target"]["t"]), "<f4")
    )
    assert data["stimuli"]["text"][0] == "red 1"
    assert len(data["stimuli"]["picture"]) == len(found.contrast.texts)
    assert json.dumps(data, allow_nan=False)


def test_thumbnails_are_bounded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(3, 300, 200, 3), dtype=np.uint8)
    made = ll.Contrast.from_images({"a": pixels[:2], "b": pixels[2:]}, target="a", control="b")
    small = thumbnails(made.texts)
    image = Image.open(io.BytesIO(base64.b64decode(small[0].split(",")[1])))
    assert image.size == (64, 96)
    smaller = thumbnails(made.texts, most_bytes=len("".join(small)) - 1)
    assert 0 < len("".join(smaller)) < len("".join(small))
    assert thumbnails(made.texts, most_bytes=100) == []
    assert thumbnails(["a text"]) == []


def test_the_report_of_a_module_speaks_of_pictures(study: ll.Study, tmp_path: Path) -> None:
    page = ll.report(study, tmp_path / "page.html").read_text()
    assert page.count('<img class="stimulus"') == 16
    assert "14 pictures" in page
    assert "luminance (sd)" in page
    assert "3 layers of 3 to 7 units; a unit is a channel of the output of convs.{layer}" in page
    for word in ("beginning-of-text", "last token", ">texts<", "NaN"):
        assert word not in page.split("<script")[0], word


def test_a_study_repeats_no_warning_of_its_pictures(study: ll.Study) -> None:
    told = [sentence for sentence in study.warnings if "contrast" in sentence.lower()]
    assert not any("standard deviations" in sentence for sentence in told)


def test_granularities_of_a_module_are_its_sites(contrast: ll.Contrast) -> None:
    sites = {"conv": "convs.{layer}", "read": ["head"]}
    net = ll.wrap(planted_vision.Net(), {**sites, "read": ll.ModuleSite(["head"], side="input")})
    table: Any = ll.compare_granularities(net, {"red": contrast}, n_splits=2, progress=False)
    table = table.set_index("site")
    assert table.loc["conv", "n_units"] == 14
    assert table.loc["read", "unit"] == "channel of the input of head"
    conv = ll.localize(net, contrast, ["conv"], progress=False)["conv"]
    assert table.loc["conv", "best_t"] == pytest.approx(float(conv.t[conv.units].abs().max()))
    expected = int(((conv.q < 0.05) & (conv.t > 0)).sum()) / 14
    assert table.loc["conv", "significant_target"] == pytest.approx(expected)

"""Figures hold the numbers that they should show."""

from pathlib import Path

import numpy as np
import plotly.io
import pytest
import torch

from lensloc import LensLocError, Selectivity, UnitMask, plot
from lensloc.provenance import Provenance


def mask_of(shape: tuple[int, int], *units: tuple[int, int], site: str = "resid_post") -> UnitMask:
    mask = torch.zeros(shape, dtype=torch.bool)
    for layer, unit in units:
        mask[layer, unit] = True
    return UnitMask(site, mask)


def selectivity(n_layers: int = 3, n_units: int = 8, seed: int = 0) -> Selectivity:
    rng = np.random.default_rng(seed)
    arrays = {
        name: torch.from_numpy(rng.normal(size=(n_layers, n_units)))
        for name in ("t", "df", "d", "g", "mean_target", "mean_control")
    }
    arrays |= {name: torch.from_numpy(rng.uniform(size=(n_layers, n_units))) for name in "pq"}
    made = Provenance(target=("sentences",), control=("nonwords",))
    return Selectivity("resid_post", provenance=made, **arrays)


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


def test_layer_heatmap_of_statistics_takes_the_top() -> None:
    found = selectivity()
    (heatmap,) = plot.layer_heatmap({"resid_post": found}, percent=25).data
    expected = found.top(percent=25).percent_per_layer()
    np.testing.assert_allclose(np.array(heatmap.z)[:, 0], expected)


def test_unit_heatmap_is_sorted_and_centred_on_zero() -> None:
    found = selectivity()
    figure = plot.unit_heatmap(found)
    (heatmap,) = figure.data
    np.testing.assert_allclose(np.array(heatmap.z), -np.sort(-found.t.numpy(), axis=1), atol=5e-4)
    assert heatmap.zmin == -heatmap.zmax
    assert heatmap.zmax == pytest.approx(found.t.abs().max().item())
    best = int(found.t[1].argmax())
    assert heatmap.customdata[1][0][0] == f"L1.resid_post.{best}"
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
        (RuntimeError("Kaleido requires Google Chrome to be installed."), "no working Chrome"),
    ]
    for problem, message in problems:

        def fail(*_: object, problem: Exception = problem, **__: object) -> bytes:
            raise problem

        monkeypatch.setattr(plotly.io, "to_image", fail)
        with pytest.raises(LensLocError, match=message):
            plot.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="no mask to draw"):
        plot.layer_heatmap({})
    with pytest.raises(LensLocError, match="unknown suffix"):
        plot.save(plot.unit_heatmap(selectivity()), tmp_path / "figure.bmp")

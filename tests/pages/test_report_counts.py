"""Counts in the report's sentences: in how many layers units lie, how many are outliers in size."""

import dataclasses
from typing import Any

import pytest
import torch

import lensloc as ll
from lensloc.pages.report import summary
from lensloc.studies import Study

LAYERS, WIDTH = 6, 40


def study_of(per_layer: list[int], found: ll.Localization, n_large: int = 0) -> Study:
    """A study whose network has so many units in every layer, of which so many are large."""
    t = torch.zeros(LAYERS, WIDTH, dtype=torch.float64)
    for layer, n in enumerate(per_layer):
        t[layer, 10 : 10 + n] = 5
    magnitude = torch.ones_like(t)
    first = (t > 0).flatten().nonzero().squeeze(1)[:n_large]
    magnitude.flatten()[first] = 20
    known = found["resid_post"]
    arrays = dict.fromkeys(("df", "p", "q", "d", "g", "mean_target", "mean_control", "kurtosis"), t)
    changed = dataclasses.replace(known, t=t, magnitude=magnitude, **arrays)
    made = dataclasses.replace(found, selectivity={"resid_post": changed})
    percent = 100 * (sum(per_layer) + 0.5) / t.numel()
    return Study(made, "resid_post", percent)


@pytest.fixture(scope="module")
def found(tiny_llama: Any, small_contrast: ll.Contrast) -> ll.Localization:
    return ll.localize(tiny_llama, small_contrast, progress=False)


@pytest.mark.parametrize(
    ("per_layer", "half", "busiest"),
    [
        ([10, 0, 0, 0, 0, 0], 1, "are 0 (10);"),
        ([5, 5, 0, 0, 0, 0], 1, "are 0 (5) and 1 (5);"),  # just half lies in one
        ([0, 4, 6, 0, 0, 0], 1, "are 2 (6) and 1 (4);"),
        ([4, 3, 3, 0, 0, 0], 2, "are 0 (4), 1 (3) and 2 (3);"),
        ([2, 2, 2, 2, 2, 0], 3, "are 0 (2), 1 (2) and 2 (2);"),
        ([1, 1, 1, 1, 1, 1], 3, "are 0 (1), 1 (1) and 2 (1);"),
        ([1, 2, 3, 4, 5, 6], 2, "are 5 (6), 4 (5) and 3 (4);"),
    ],
)
def test_in_how_many_layers_half_of_the_units_lie(
    found: ll.Localization, per_layer: list[int], half: int, busiest: str
) -> None:
    text = summary(study_of(per_layer, found))[0]
    assert busiest in text
    assert f"half of them lie in {half} of the 6 layers" in text


@pytest.mark.parametrize(("n_large", "told"), [(0, False), (1, False), (2, True), (20, True)])
def test_a_tenth_of_outliers_is_told(found: ll.Localization, n_large: int, told: bool) -> None:
    study = study_of([5, 5, 5, 5, 0, 0], found, n_large)
    assert len(study.network & study.selectivity.outliers()) == n_large
    sentences = [s for s in study.warnings if "outliers in size" in s]
    assert len(sentences) == told
    assert not told or sentences[0].startswith(
        f"{n_large} of the top 20 units at resid_post ({5 * n_large} %)"
    )

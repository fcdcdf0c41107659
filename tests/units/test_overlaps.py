"""Overlaps against set arithmetic, scipy and counts by hand."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import fisher_exact

from lensloc import LensLocError, UnitMask
from lensloc.units.overlaps import overlap
from lensloc.units.provenance import Provenance

SHAPE = (3, 10)


def mask_of(*units: tuple[int, int], site: str = "mlp_post", made: str = "") -> UnitMask:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    for layer, unit in units:
        mask[layer, unit] = True
    return UnitMask(site, mask, Provenance(model="tiny", weights_hash=made))


def drawn(seed: int, share: float) -> UnitMask:
    return UnitMask("mlp_post", torch.from_numpy(np.random.default_rng(seed).random(SHAPE) < share))


def test_counts_are_those_of_python_sets() -> None:
    masks = {"a": drawn(0, 0.3), "b": drawn(1, 0.5), "c": drawn(2, 0.2), "d": drawn(3, 0.4)}
    sets = {name: set(mask.addresses) for name, mask in masks.items()}
    table = overlap(masks)
    assert list(zip(table["first"], table["second"], strict=True)) == list(combinations("abcd", 2))
    for _, row in table.iterrows():
        one, two = sets[row["first"]], sets[row["second"]]
        assert (row["n_first"], row["n_second"]) == (len(one), len(two))
        assert row["n_both"] == len(one & two)
        assert row["dice"] == pytest.approx(2 * len(one & two) / (len(one) + len(two)))
        assert row["jaccard"] == pytest.approx(len(one & two) / len(one | two))
        assert row["n_expected"] == pytest.approx(len(one) * len(two) / 30)
        assert row["ratio"] == pytest.approx(row["n_both"] / row["n_expected"])
        expected = 2 * row["n_expected"] / (len(one) + len(two))
        assert row["dice_expected"] == pytest.approx(expected)
        inside = [
            [sum(u.startswith(f"L{layer}.") for u in s) for s in (one, two)] for layer in (0, 1, 2)
        ]
        assert row["n_expected_by_layer"] == pytest.approx(sum(a * b for a, b in inside) / 10)
        assert row["ratio_by_layer"] == pytest.approx(row["n_both"] / row["n_expected_by_layer"])


def test_p_is_the_hypergeometric_tail() -> None:
    masks = {"a": drawn(0, 0.3), "b": drawn(1, 0.5), "c": drawn(2, 0.2)}
    for _, row in overlap(masks).iterrows():
        a, b, both = row["n_first"], row["n_second"], row["n_both"]
        ways = sum(comb(a, k) * comb(30 - a, b - k) for k in range(both, min(a, b) + 1))
        assert row["p"] == pytest.approx(ways / comb(30, b), rel=1e-9)
        square = [[both, a - both], [b - both, 30 - a - b + both]]
        assert row["p"] == pytest.approx(fisher_exact(square, alternative="greater").pvalue)


def test_a_count_by_hand() -> None:
    first = mask_of((0, 0), (0, 1), (1, 0), (2, 9))
    second = mask_of((0, 1), (0, 2), (1, 0))
    (row,) = overlap({"first": first, "second": second}).to_dict("records")
    assert row == {
        "first": "first",
        "second": "second",
        "site": "mlp_post",
        "n_units": 30,
        "n_first": 4,
        "n_second": 3,
        "n_both": 2,
        "dice": pytest.approx(4 / 7),
        "jaccard": pytest.approx(2 / 5),
        "n_expected": pytest.approx(0.4),
        "dice_expected": pytest.approx(0.8 / 7),
        "ratio": pytest.approx(5),
        "p": pytest.approx((comb(4, 2) * 26 + comb(4, 3)) / comb(30, 3)),
        "n_expected_by_layer": pytest.approx((2 * 2 + 1 * 1) / 10),
        "ratio_by_layer": pytest.approx(4),
    }


def test_the_same_units_and_other_layers() -> None:
    low, high = mask_of((0, 0), (0, 1)), mask_of((2, 0))
    same, apart, _ = overlap({"low": low, "again": low, "high": high}).to_dict("records")
    assert (same["dice"], same["jaccard"], same["ratio"]) == (1, 1, pytest.approx(15))
    assert (apart["n_both"], apart["p"], apart["n_expected_by_layer"]) == (0, 1, 0)
    assert np.isnan(apart["ratio_by_layer"])


def test_two_models_of_one_shape_are_compared_by_position() -> None:
    trained, untrained = mask_of((0, 0), made="aa"), mask_of((0, 0), (1, 1), made="bb")
    (row,) = overlap({"trained": trained, "untrained": untrained}).to_dict("records")
    assert row["n_both"] == 1


def test_masks_that_cannot_be_compared_are_refused() -> None:
    fine = mask_of((0, 0))
    wide = UnitMask("mlp_post", torch.ones(3, 11, dtype=torch.bool))
    for masks, message in (
        ({}, "none was given"),
        ({"a": fine}, "at least two masks"),
        ({"a": fine, "nothing": mask_of()}, "'nothing' has no unit"),
        ({"a": fine, "b": mask_of((0, 0), site="mlp_pre")}, "'a' .*mlp_post.* and 'b' .*mlp_pre"),
        ({"a": fine, "b": fine, "c": wide}, "'a' .*3x10.* and 'c' .*3x11"),
    ):
        with pytest.raises(LensLocError, match=message) as caught:
            overlap(masks)
        assert "\n" not in str(caught.value)

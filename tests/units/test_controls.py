"""Controls: exact counts, matched in what they claim, the same for a seed everywhere."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from masks import SHAPE, made

from lensloc import LensLocError, UnitMask, controls
from lensloc.units.matching import draw_control, least_selective, outliers, without_outliers


@pytest.mark.parametrize("match", ["random", "layer", "magnitude", "layer+magnitude"])
@pytest.mark.parametrize("k", [1, 17, 60, 300])
def test_as_many_from_outside_and_the_same_for_a_seed(match: str, k: int) -> None:
    network = made(k)
    draws = [draw_control(network, match, seed) for seed in (0, 0, 1, 2)]
    assert all(len(control) == k for control in draws)
    assert all(len(control & network) == 0 for control in draws)
    assert draws[0] == draws[1]
    assert len({hash(control) for control in draws}) > 1
    assert f"seed 0, matched in {match}" in draws[0].provenance.selection or match == "random"


def test_layers_are_matched() -> None:
    network = made(150)
    for match in ("layer", "layer+magnitude"):
        assert torch.equal(draw_control(network, match, 3).per_layer(), network.per_layer())


def bins_by_hand(values: np.ndarray, n_bins: int) -> np.ndarray:
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    bins = np.empty(len(values), dtype=int)
    for rank, unit in enumerate(order):
        bins[unit] = rank * n_bins // len(values)
    return bins


def test_magnitudes_are_matched_bin_by_bin() -> None:
    network = made(60)
    assert network.magnitude is not None
    values = network.magnitude.flatten().numpy()
    bins = bins_by_hand(values, 48)  # 1,200 units, at least 25 a bin
    inside = np.bincount(bins[network.mask.flatten().numpy()], minlength=48)
    assert (inside <= 12).all()  # so that no bin is short
    control = draw_control(network, "magnitude", 5)
    drawn = np.bincount(bins[control.mask.flatten().numpy()], minlength=48)
    np.testing.assert_array_equal(drawn, inside)


def test_magnitudes_are_matched_within_layers() -> None:
    network = made(60)
    assert network.magnitude is not None
    control = draw_control(network, "layer+magnitude", 5)
    for layer in range(SHAPE[0]):
        bins = bins_by_hand(network.magnitude[layer].numpy(), 8)
        counts = [
            np.bincount(bins[mask.mask[layer].numpy()], minlength=8) for mask in (network, control)
        ]
        np.testing.assert_array_equal(*counts)


def test_a_bin_that_is_used_up_borrows_from_its_neighbours() -> None:
    magnitude = torch.arange(1, 1201, dtype=torch.float64).reshape(SHAPE)
    largest = torch.arange(1170, 1200)  # 30 units: the top bin of 25, and 5 of the next
    network = UnitMask.from_indices("resid_post", largest, SHAPE, magnitude=magnitude)
    control = draw_control(network, "magnitude", 0)
    flat = control.mask.flatten().nonzero().squeeze(1)
    assert len(flat) == 30
    # The nearest: the 20 units left in the next bin, and 10 of the one below.
    assert set(range(1150, 1170)) <= set(flat.tolist())
    assert ((flat >= 1125) & (flat < 1170)).all()


def test_matched_controls_are_as_large_as_the_network() -> None:
    network = made(60)
    size = network.magnitude
    assert size is not None
    of = {m: float(size[draw_control(network, m, 0).mask].mean()) for m in ("random", "magnitude")}
    of_network = float(size[network.mask].mean())
    assert abs(of["magnitude"] - of_network) < 0.2 * of_network
    assert of["random"] < 0.5 * of_network


def test_least_selective() -> None:
    network = made(60)
    assert network.score is not None
    score = network.score.flatten().tolist()
    lowest = sorted(range(len(score)), key=lambda i: (score[i], i))[:60]
    control = least_selective(network)
    assert sorted(lowest) == control.mask.flatten().nonzero().squeeze(1).tolist()


def test_without_outliers() -> None:
    magnitude = torch.ones(SHAPE, dtype=torch.float64)
    magnitude[:, :5] = 5.1  # five outliers a layer
    magnitude[2, 5] = 4.9
    network = made(60, magnitude=magnitude)
    assert (network.mask[:, :5]).sum() > 10
    control = without_outliers(network)
    assert len(control) == 60
    assert not control.mask[:, :5].any()
    assert (network - control).mask[:, 5:].sum() == 0  # nothing else was thrown out
    assert network.score is not None
    kept = network.score.clone()
    kept[:, :5] = -torch.inf
    best = kept.flatten().argsort(descending=True)[:60]
    assert set(best.tolist()) == set(control.mask.flatten().nonzero().squeeze(1).tolist())
    assert "replaced" in control.provenance.selection


def test_outliers_are_relative_to_their_layer() -> None:
    magnitude = torch.ones(2, 9, dtype=torch.float64)
    magnitude[1] *= 100
    magnitude[0, 3] = 6
    magnitude[1, 4] = 501
    assert outliers(magnitude).nonzero().tolist() == [[0, 3], [1, 4]]


def test_controls_in_their_order() -> None:
    wanted = controls([None, "layer"], seeds=[4, 7], least_selective=True, without_outliers=True)
    found = list(wanted(made(20)))
    assert [(control.kind, control.seed) for control in found] == [
        ("random", 4),
        ("random", 7),
        ("layer", 4),
        ("layer", 7),
        ("least-selective", None),
        ("without-outliers", None),
    ]
    assert found[0].mask == made(20).random_like(4)
    assert [control.kind for control in controls("magnitude", seeds=[1])(made(20))] == ["magnitude"]


def test_another_process_draws_the_same() -> None:
    code = (
        "import torch; from masks import made; from lensloc.units.matching import draw_control\n"
        "print(draw_control(made(17), 'layer+magnitude', 9).addresses)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1] / "support",
    )
    assert found.stdout.strip() == str(draw_control(made(17), "layer+magnitude", 9).addresses)


def test_bad_input_is_one_sentence() -> None:
    bare = UnitMask("resid_post", made(10).mask)
    half = made(700)
    cases: list[tuple[str, Any]] = [
        ("no control 'shape'", lambda: controls(("shape",))),  # type: ignore[arg-type]
        ("at least one seed", lambda: controls("layer", seeds=[])),
        ("n_bins", lambda: controls("layer", n_bins=0)),
        ("carries no magnitudes", lambda: draw_control(bare, "magnitude", 0)),
        ("carries no ranking", lambda: least_selective(bare)),
        ("more than half", lambda: draw_control(half, "magnitude", 0)),
        ("more than half", lambda: least_selective(half)),
        ("only 500 lie", lambda: draw_control(half, "random", 0)),
        ("no control 'x'", lambda: draw_control(half, "x", 0)),
    ]
    for message, make in cases[1:]:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_a_short_bin_takes_from_the_larger_neighbour_before_the_smaller() -> None:
    magnitude = torch.arange(1, 1201, dtype=torch.float64).reshape(SHAPE)
    inside = torch.arange(500, 525)  # the whole of bin 20 of 48
    network = UnitMask.from_indices("resid_post", inside, SHAPE, magnitude=magnitude)
    flat = draw_control(network, "magnitude", 3).mask.flatten().nonzero().squeeze(1)
    # As near on either side: the larger units are fewer in a model, so they go first.
    assert set(flat.tolist()) == set(range(525, 550))


def test_the_largest_bin_is_served_before_smaller_ones() -> None:
    """Bins 24 and 20 are used up, and both want the 25 units of bin 22, two bins away."""
    magnitude = torch.arange(1, 1201, dtype=torch.float64).reshape(SHAPE)
    in_network = {24: 25, 20: 25} | dict.fromkeys((18, 19, 21, 23, 25, 26), 12)
    inside = [25 * number + i for number, n in in_network.items() for i in range(n)]
    network = UnitMask.from_indices("resid_post", torch.tensor(inside), SHAPE, magnitude=magnitude)
    flat = draw_control(network, "magnitude", 1).mask.flatten().nonzero().squeeze(1)
    counts = np.bincount(flat.numpy() // 25, minlength=48)
    # Bins of 12 give themselves 12 and have one left. The larger of the two takes these from its
    # neighbours and 22 of bin 22; the smaller the other 3, and 19 of bin 17, its next.
    expected = {22: 25, 17: 19} | dict.fromkeys((18, 19, 21, 23, 25, 26), 13)
    assert {number: n for number, n in enumerate(counts.tolist()) if n} == expected


def test_controls_take_no_unit_that_was_excluded_from_selection() -> None:
    network = made(30)
    assert network.score is not None
    few = network.score.clone()
    few.flatten()[few.flatten().argsort(descending=True)[50:]] = -torch.inf
    scarce = dataclasses.replace(network, score=few)
    with pytest.raises(LensLocError, match="more than half of all ranked units"):
        least_selective(scarce)
    large = torch.ones(SHAPE, dtype=torch.float64)
    large.flatten()[network.mask.flatten()] = 99
    with pytest.raises(LensLocError, match="Only 20 ranked units at resid_post are no outliers"):
        without_outliers(dataclasses.replace(scarce, magnitude=large))


def test_random_controls_know_that_they_were_drawn() -> None:
    network = made(20)
    for match in ("random", "layer", "magnitude", "layer+magnitude"):
        rule = draw_control(network, match, 7).rule
        assert rule is not None
        assert (rule.kind, rule.seed, rule.can_be_reapplied) == ("random", 7, False)
    assert least_selective(network).rule is None
    assert without_outliers(network).rule is None

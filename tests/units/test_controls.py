"""Controls: exact counts, matched in what they claim, the same for a seed everywhere."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from masks import SHAPE, made

from lensloc import LensLocError, UnitMask, controls
from lensloc.units.control_sets import draw_control, without_outliers
from lensloc.units.mask import is_residual
from lensloc.units.outliers import outliers

DRAWN = ["random", "layer", "magnitude", "layer+magnitude", "magnitude+outliers", "dimension"]


def dims(mask: UnitMask) -> set[int]:
    return set(mask.mask.any(dim=0).nonzero().squeeze(1).tolist())


@pytest.mark.parametrize("match", DRAWN)
@pytest.mark.parametrize("k", [1, 17, 60, 100])
def test_as_many_from_outside_and_the_same_for_a_seed(match: str, k: int) -> None:
    network = made(k)
    draws = [draw_control(network, match, seed) for seed in (0, 0, 1, 2)]
    assert all(len(control) == k for control in draws)
    assert all(not dims(control) & dims(network) for control in draws)
    assert draws[0] == draws[1]
    if k > 1:  # a single unit may have a single neighbour
        assert len({hash(control) for control in draws}) > 1
    assert f"seed 0, matched in {match}" in draws[0].provenance.selection or match == "random"


def test_layers_are_matched() -> None:
    network = made(150)
    for match in ("layer", "layer+magnitude"):
        assert torch.equal(draw_control(network, match, 3).per_layer(), network.per_layer())


def test_matched_controls_are_as_large_as_the_network() -> None:
    network = made(60)
    size = network.magnitude
    assert size is not None
    of = {m: float(size[draw_control(network, m, 0).mask].mean()) for m in ("random", "magnitude")}
    of_network = float(size[network.mask].mean())
    assert abs(of["magnitude"] - of_network) < 0.2 * of_network
    assert of["random"] < 0.5 * of_network


def test_least_selective_and_least_active_of_the_units_that_lie_elsewhere() -> None:
    network = made(60)
    assert network.score is not None
    assert network.magnitude is not None
    free = [i for i in range(1200) if i % 200 not in dims(network)]
    for kind, values in (("least-selective", network.score), ("least-active", network.magnitude)):
        flat = values.flatten().tolist()
        lowest = sorted(free, key=lambda i: (flat[i], i))[:60]
        (control,) = controls(kind)(network)
        assert sorted(lowest) == control.mask.mask.flatten().nonzero().squeeze(1).tolist()
        assert (control.kind, control.seed) == (kind, None)
    (same,) = controls((), least_selective=True)(network)
    assert same.mask == next(iter(controls("least-selective")(network))).mask


def test_published_random_controls_use_the_networks_dimensions() -> None:
    network = made(100)
    for kind in ("random", "layer", "magnitude"):
        (there,) = controls(kind, seeds=[3], elsewhere=False)(network)
        (away,) = controls(kind, seeds=[3])(network)
        shared = len(dims(there.mask) & dims(network))
        assert shared > 0
        assert there.balance.dimensions_shared == shared
        assert away.balance.dimensions_shared == 0
    assert dims(network.random_like(3, elsewhere=False)) & dims(network)
    assert not dims(network.random_like(3)) & dims(network)
    (own,) = controls("own-dimensions", seeds=[0])(network)
    assert dims(own.mask) <= dims(network)
    assert len(own.mask & network) == 0
    # A neuron's number means nothing in another layer.
    neurons = dataclasses.replace(network, site="mlp_post")
    (control,) = controls("random", seeds=[3])(neurons)
    assert control.balance.dimensions_shared is None
    assert dims(control.mask) & dims(neurons)
    assert is_residual("resid_mid")


def test_own_masks_and_units_of_other_contrasts() -> None:
    network, other = made(40), made(40, seed=5)
    plain = UnitMask(other.site, made(400, seed=5).mask)
    wanted = controls((), masks={"mine": other}, others={"sums": other, "imported": plain})
    found = {control.kind: control for control in wanted(network)}
    assert list(found) == ["units of sums", "units of imported", "mine"]
    assert found["mine"].mask is other
    assert found["mine"].balance.units_shared == len(other & network)
    assert other.score is not None
    score = other.score.flatten().tolist()
    free = [i for i in range(1200) if i % 200 not in dims(network)]
    best = sorted(free, key=lambda i: (-score[i], i))[:40]
    drawn = found["units of sums"].mask.mask.flatten().nonzero().squeeze(1).tolist()
    assert sorted(best) == drawn


def test_without_outliers() -> None:
    magnitude = torch.ones(SHAPE, dtype=torch.float64)
    magnitude[:, :5] = 5.1  # five outliers per layer
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
    assert len(controls().seeds) == 20
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
        "from masks import made; from lensloc.units.control_sets import draw_control\n"
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
    crowded = made(700)
    heads = UnitMask("head", made(10).mask)

    def drawn(network: UnitMask, *given: Any, **options: Any) -> Any:
        return list(controls(*given, **options)(network))

    cases: list[tuple[str, Any]] = [
        ("no control 'shape'", lambda: controls(("shape",))),
        ("no control 'layer,magnitude'", lambda: controls("layer,magnitude")),
        ("at least one seed", lambda: controls("layer", seeds=[])),
        ("another control 'layer'", lambda: controls("layer", masks={"layer": bare})),
        ("another control 'network'", lambda: controls((), masks={"network": bare})),
        ("units at head, but the network at", lambda: drawn(bare, (), masks={"x": heads})),
        ("carries no magnitudes", lambda: draw_control(bare, "magnitude", 0)),
        ("carries no ranking", lambda: drawn(bare, "least-selective")),
        ("needs 700 units and only .* are left", lambda: draw_control(crowded, "magnitude", 0)),
        ("elsewhere=False", lambda: draw_control(crowded, "random", 0)),
        ("700 units and only", lambda: drawn(crowded, (), least_selective=True)),
        ("no control 'x'", lambda: draw_control(bare, "x", 0)),
        ("residual stream", lambda: draw_control(heads, "dimension", 0)),
    ]
    for message, make in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_controls_take_no_unit_that_was_excluded_from_selection() -> None:
    network = made(30)
    assert network.score is not None
    few = network.score.clone()
    few.flatten()[few.flatten().argsort(descending=True)[50:]] = -torch.inf
    scarce = dataclasses.replace(network, score=few)
    with pytest.raises(LensLocError, match=r"needs 30 units and only \d+ are left"):
        list(controls("least-selective")(scarce))
    large = torch.ones(SHAPE, dtype=torch.float64)
    large.flatten()[network.mask.flatten()] = 99
    with pytest.raises(LensLocError, match="Only 20 ranked units at resid_post are no outliers"):
        without_outliers(dataclasses.replace(scarce, magnitude=large))


def test_random_controls_know_that_they_were_drawn() -> None:
    network = made(20)
    for match in DRAWN:
        rule = draw_control(network, match, 7).rule
        assert rule is not None
        assert (rule.kind, rule.seed, rule.can_be_reapplied) == ("random", 7, False)
    assert next(iter(controls("least-selective")(network))).mask.rule is None
    assert without_outliers(network).rule is None

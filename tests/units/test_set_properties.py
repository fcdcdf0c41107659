"""What holds for every set of units, every rule of selection and every control."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import lensloc as ll
from lensloc import UnitMask
from lensloc.errors import unwarned
from lensloc.selectivity.selecting import Statistics, chosen_by
from lensloc.units.mask import UnitAddress
from lensloc.units.provenance import Provenance
from lensloc.units.selection import SelectionRule

SITES = some.sampled_from(["resid_post", "mlp_post", "head", "z"])
SHAPES = some.tuples(some.integers(1, 5), some.integers(1, 9))
# Few values, so that there are ties.
VALUES = some.sampled_from([-3.5, -1.0, -0.0, 0.0, 1e-12, 1.0, 2.0, 1e300])


@functools.cache
def flags(shape: tuple[int, int]) -> Any:
    n = shape[0] * shape[1]
    return some.lists(some.booleans(), min_size=n, max_size=n).map(
        lambda found: torch.tensor(found).reshape(shape)
    )


def scores(shape: tuple[int, int]) -> Any:
    n = shape[0] * shape[1]
    return some.lists(VALUES, min_size=n, max_size=n).map(
        lambda found: torch.tensor(found, dtype=torch.float64).reshape(shape)
    )


@some.composite
def parts(draw: Any, n: int = 1) -> list[dict[str, Any]]:
    """What several sets of the same units are made of."""
    site, shape, selection = draw(SITES), draw(SHAPES), draw(some.text(max_size=20))
    return [
        {
            "site": site,
            "selection": selection,
            "mask": draw(flags(shape)),
            "score": draw(some.none() | scores(shape)),
            "magnitude": draw(some.none() | scores(shape).map(torch.abs)),
        }
        for _ in range(n)
    ]


def made(site: str, selection: str, **arrays: Any) -> UnitMask:
    made = Provenance(model="tiny", site=site, selection=selection)
    return UnitMask(site, arrays.pop("mask"), made, **arrays)


# -- sets ------------------------------------------------------------------------------------------


@given(parts(3))
def test_masks_are_sets(several: list[dict[str, Any]]) -> None:
    a, b, c = (made(**each) for each in several)
    units = [set(a.addresses), set(b.addresses)]
    assert set((a & b).addresses) == units[0] & units[1]
    assert set((a | b).addresses) == units[0] | units[1]
    assert set((a - b).addresses) == units[0] - units[1]
    assert not units[0] & set((~a).addresses)
    assert len(a) + len(~a) == a.mask.numel()
    for left, right in (
        (~(a | b), ~a & ~b),
        (a - b, a & ~b),
        (a & (b | c), (a & b) | (a & c)),
        (~~a, a),
    ):
        assert torch.equal(left.mask, right.mask)
    assert len(a) == int(a.per_layer().sum()) == len(a.addresses)


@given(parts())
def test_addresses_name_the_units(several: list[dict[str, Any]]) -> None:
    (mask,) = (made(**each) for each in several)
    for text in mask.addresses:
        address = UnitAddress.parse(text)
        assert str(address) == text
        assert mask.mask[address.layer, address.unit]
        assert text in mask
    if mask.addresses:
        again = UnitMask.from_addresses(mask.addresses, shape=mask.shape)
        assert torch.equal(again.mask, mask.mask)
        assert again.site == mask.site


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks")


@given(several=parts())
def test_masks_come_back_from_files(folder: Path, several: list[dict[str, Any]]) -> None:
    (mask,) = (made(**each) for each in several)
    kept = UnitMask.load(mask.save(folder / "mask.safetensors", overwrite=True))
    assert kept == mask
    assert kept.provenance == mask.provenance
    for name in ("score", "magnitude"):
        before, after = getattr(mask, name), getattr(kept, name)
        assert before is after is None or torch.equal(before, after)
    published = UnitMask.load(mask.save(folder / "mask.npy", overwrite=True), site=mask.site)
    assert torch.equal(published.mask, mask.mask)
    assert np.array_equal(np.load(folder / "mask.npy"), mask.mask.numpy())


# -- selection -------------------------------------------------------------------------------------


@some.composite
def statistics(draw: Any) -> Statistics:
    shape = draw(SHAPES)
    q = draw(scores(shape)).abs().clamp(max=1)
    return Statistics("mlp_post", draw(scores(shape)), q, draw(scores(shape)).abs())


def in_order(t: torch.Tensor, *, descending: bool) -> list[int]:
    """Flat places of all units, best first; of equal ones the earlier layer and unit."""
    values = t.flatten().tolist()
    return sorted(
        range(len(values)), key=lambda at: (-values[at] if descending else values[at], at)
    )


@given(some.data(), statistics(), some.sampled_from(["top", "bottom"]))
def test_selection_takes_exactly_the_best(data: Any, found: Statistics, kind: Any) -> None:
    total = found.t.numel()
    k = data.draw(some.integers(1, total))
    left_out = data.draw(flags(tuple(found.t.shape)))
    order = in_order(found.t, descending=kind == "top")
    chosen, _ = chosen_by(SelectionRule(kind, k=k), found)
    assert chosen.flatten().nonzero().flatten().tolist() == sorted(order[:k])
    # A percentage is as many units, cut off as published, but one at least.
    percent = data.draw(some.floats(0.01, 100))
    with unwarned():  # of less than one unit
        chosen, _ = chosen_by(SelectionRule(kind, percent=percent), found)
    assert int(chosen.sum()) == max(1, int((percent / 100) * total))
    # What is excluded makes room for the next best.
    rule = SelectionRule(kind, k=k, excluding=(SelectionRule("given", units=left_out),))
    rest = [at for at in order if not left_out.flatten()[at]]
    if k <= len(rest):
        chosen, _ = chosen_by(rule, found)
        assert chosen.flatten().nonzero().flatten().tolist() == sorted(rest[:k])
    else:
        with pytest.raises(ll.LensLocError, match="may be selected"):
            chosen_by(rule, found)


@given(some.data(), statistics(), some.integers(0, 2**32 - 1))
def test_draws_between_percentiles_are_within_and_the_same_for_a_seed(
    data: Any, found: Statistics, seed: int
) -> None:
    low, high = sorted(data.draw(some.sets(some.integers(0, 100), min_size=2, max_size=2)))
    t = found.t.flatten().numpy()
    ends = np.percentile(t, [low, high])
    inside = int(((t >= ends[0]) & (t <= ends[1])).sum())
    if not inside:
        return
    k = data.draw(some.integers(1, inside))
    rule = SelectionRule("between", k=k, low=low, high=high, seed=seed)
    chosen, score = chosen_by(rule, found)
    assert score is None
    assert int(chosen.sum()) == k
    picked = found.t[chosen].numpy()
    assert ((picked >= ends[0]) & (picked <= ends[1])).all()
    assert torch.equal(chosen, chosen_by(rule, found)[0])


@given(statistics(), some.sampled_from(["target", "control", "both"]), some.floats(0.01, 0.99))
def test_significant_units_are_those_below_q_on_their_side(
    found: Statistics, direction: Any, q: float
) -> None:
    chosen, _ = chosen_by(SelectionRule("significant", q=q, direction=direction), found)
    for t, own_q, taken in zip(
        found.t.flatten().tolist(),
        found.q.flatten().tolist(),
        chosen.flatten().tolist(),
        strict=True,
    ):
        side = {"target": t > 0, "control": t < 0, "both": True}[direction]
        assert taken == (own_q < q and side)


@given(
    some.sampled_from(["top", "bottom"]),
    some.none() | some.floats(0.01, 100),
    some.lists(some.integers(1, 9), max_size=2),
    flags((3, 4)),
)
def test_rules_come_back_from_files(
    kind: Any, percent: float | None, others: list[int], units: torch.Tensor
) -> None:
    excluding = tuple(SelectionRule("top", k=k) for k in others)
    excluding += (SelectionRule("given", units=units),)
    rule = SelectionRule(kind, percent=percent, excluding=excluding)
    tensors: dict[str, torch.Tensor] = {}
    record = rule.to_record(tensors)
    assert SelectionRule.from_record(record, tensors) == rule
    assert hash(SelectionRule.from_record(record, tensors)) == hash(rule)


# -- controls --------------------------------------------------------------------------------------


@given(
    some.sampled_from(["random", "layer", "magnitude"]),
    some.integers(0, 2**32 - 1),
    some.integers(1, 40),
    some.integers(0, 2**16),
)
def test_controls_are_as_many_other_units_the_same_for_a_seed(
    match: Any, seed: int, k: int, made_with: int
) -> None:
    draw = torch.Generator().manual_seed(made_with)
    shape = (4, 60)
    size = torch.randn(shape, generator=draw, dtype=torch.float64).exp()
    order = torch.randperm(240, generator=draw)
    network = UnitMask.from_indices("mlp_post", order[:k], shape, score=size, magnitude=size)
    if int(network.per_layer().max()) > 30:
        return
    once, other = list(ll.controls(match, seeds=[seed, seed + 1])(network))
    for control in (once, other):
        assert len(control.mask) == k
        assert len(control.mask & network) == 0
        if match == "layer":
            assert torch.equal(control.mask.per_layer(), network.per_layer())
    (again,) = ll.controls(match, seeds=[seed])(network)
    assert torch.equal(again.mask.mask, once.mask.mask)

"""Controls lie elsewhere, are as many, are alike in what they say, and tell how alike."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from lensloc.errors import LensLocError
from lensloc.units import matching
from lensloc.units.balance import Balance, balance, log_magnitude
from lensloc.units.matching import (
    LEAST_ACTIVE,
    LEAST_SELECTIVE,
    OWN_DIMENSIONS,
    Control,
    Units,
    check_kind,
    draw,
    draws_alike,
    of_another,
)
from lensloc.units.neighbours import alike, neighbours

SHAPE = (8, 300)
DRAWN = ("random", "layer", "magnitude", "outliers", "layer+magnitude", "layer+magnitude+outliers")
BY_DIMENSION = ("dimension", "dimension+magnitude")
EVERY = (*DRAWN, *BY_DIMENSION, LEAST_ACTIVE, LEAST_SELECTIVE, OWN_DIMENSIONS)


def stream(
    k: int = 120,
    *,
    shape: tuple[int, int] = SHAPE,
    seed: int = 0,
    tied: float = 0.3,
    residual: bool = True,
    **more: Any,
) -> Units:
    """A residual stream: dimensions keep their size from layer to layer, a few are outliers.

    Args:
        k: size of the network.
        shape: layers, dimensions.
        seed: of everything.
        tied: how much selectivity follows magnitude.
        residual: whether controls are to see it as a stream.
        more: of Units.
    """
    rng = np.random.default_rng(seed)
    size = rng.normal(0, 0.8, shape[1])
    size[:: max(1, shape[1] // 12)] += 2.5
    magnitude = np.exp(size + 0.1 * np.arange(shape[0])[:, None] + rng.normal(0, 0.3, shape))
    score = tied * size + rng.normal(0, 0.5, shape[1]) + rng.normal(0, 0.5, shape)
    network = np.zeros(shape[0] * shape[1], dtype=bool)
    network[np.argsort(-score.ravel())[:k]] = True
    return Units(network.reshape(shape), magnitude, score, residual=residual, **more)


def dimensions(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(mask.any(axis=0)).tolist())


# -- elsewhere, as many, the same for a seed -------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
def test_elsewhere_and_as_many(kind: str) -> None:
    units = stream()
    controls = [draw(units, kind, seed) for seed in (0, 0, 1)]
    for control in controls:
        assert control.mask.sum() == len(units) == 120
        assert not (control.mask & units.network).any()
        shared = dimensions(control.mask) & dimensions(units.network)
        assert control.balance.dimensions_shared == len(shared)
        assert (len(shared) > 0) == (kind == OWN_DIMENSIONS)
    assert np.array_equal(controls[0].mask, controls[1].mask)
    seedless = kind in (LEAST_ACTIVE, LEAST_SELECTIVE)
    assert np.array_equal(controls[0].mask, controls[2].mask) == seedless
    assert controls[2].seed == (None if seedless else 1)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_networks_dimensions_are_used_only_when_asked(kind: str) -> None:
    """As published random controls do: most of a network's dimensions recur in other layers."""
    units = stream(elsewhere=False)
    assert draw(units, kind).balance.dimensions_shared
    other = stream(residual=False)  # a neuron's number means nothing in another layer
    control = draw(other, kind)
    assert control.balance.dimensions_shared is None
    assert dimensions(control.mask) & dimensions(other.network)


@settings(
    deadline=None,
    max_examples=120,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_properties(data: st.DataObject) -> None:
    """Whatever the site: a control as promised, or one sentence."""
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(2, 30)))
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    network = rng.random(shape) < data.draw(st.floats(0.02, 0.6))
    network[0, 0] = True
    magnitude = np.exp(rng.normal(0, data.draw(st.sampled_from([0.0, 1.0, 3.0])), shape)).round(2)
    excluded = (rng.random(shape) < data.draw(st.sampled_from([0.0, 0.2]))) & ~network
    units = Units(
        network,
        magnitude,
        rng.normal(size=shape).round(1),
        excluded,
        residual=data.draw(st.booleans()),
        elsewhere=data.draw(st.booleans()),
    )
    kind = data.draw(st.sampled_from(EVERY))
    try:
        control = draw(units, kind, seed)
    except LensLocError:
        if kind == "random":
            assert units.candidates.sum() < len(units)
        return
    mask, found = control.mask, control.balance
    assert mask.sum() == len(units)
    assert not (mask & (network | excluded)).any()
    assert np.array_equal(mask, draw(units, kind, seed).mask)
    if units.residual and (units.elsewhere or kind in BY_DIMENSION) and kind != OWN_DIMENSIONS:
        assert found.dimensions_shared == 0
    if "layer" in kind or kind in BY_DIMENSION:
        assert np.array_equal(mask.sum(axis=1), network.sum(axis=1))
        assert found.layers_apart == 0
    if kind in BY_DIMENSION:
        assert found.n_dimensions is not None
        assert found.n_dimensions[0] == found.n_dimensions[1]
    if kind == OWN_DIMENSIONS:
        assert dimensions(mask) <= dimensions(network)
    if "outliers" in kind and "layer" not in kind:
        large = matching.find_outliers(magnitude)
        assert found.outliers[1] >= min(found.outliers[0], int((large & units.candidates).sum()))


def test_networks_get_draws_of_their_own() -> None:
    """Two networks' draws of one seed are independent, as tests over both assume."""
    one, two = (Units(np.eye(40, dtype=bool)), Units(np.eye(40, dtype=bool)[:, ::-1].copy()))
    shared = (draw(one, "random", 0).mask & draw(two, "random", 0).mask).sum()
    assert shared <= 5
    assert draws_alike([draw(one, kind, 0).mask for kind in ("random", "layer")]) < 0.3


def test_the_same_everywhere() -> None:
    """Draws are numpy's, which promises the same numbers on every platform and in every process."""
    network = np.eye(12, dtype=bool)
    units = Units(network, np.exp(np.arange(144).reshape(12, 12) % 17 / 4.0), residual=False)
    assert np.flatnonzero(draw(units, "random", 7).mask).tolist() == [
        5,
        43,
        60,
        74,
        75,
        77,
        100,
        105,
        116,
        131,
        132,
        137,
    ]
    assert np.flatnonzero(draw(units, "magnitude", 7).mask).tolist() == [
        1,
        7,
        9,
        15,
        45,
        48,
        64,
        74,
        102,
        121,
        129,
        141,
    ]


# -- alike in what they say ------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
def test_magnitudes_are_matched_where_there_are_any_like_them(residual: bool) -> None:
    """Selected with no regard to magnitude, so that comparable units abound."""
    units = stream(60, shape=(8, 900), tied=0.0, residual=residual)
    for kind in ("magnitude", "magnitude+outliers", "layer+magnitude"):
        controls = [draw(units, kind, seed) for seed in range(5)]
        for control in controls:
            assert abs(control.balance.smd) < 0.1, kind
            assert not control.balance.poor
            assert control.warning == ""
        assert draws_alike([control.mask for control in controls]) < 0.4
    random = [draw(units, "random", seed).balance.smd for seed in range(5)]
    assert max(map(abs, random)) > 0.1


@pytest.mark.parametrize("tied", [0.2, 1.0])
def test_nearly_as_near_as_the_best_assignment(tied: float) -> None:
    """Random, and yet hardly farther in all than the assignment with the smallest distances."""
    units = stream(60, shape=(6, 200), tied=tied, residual=False)
    wanted, free = units.logs[units.network], units.logs[units.candidates]
    distance = np.abs(wanted[:, None] - free)
    best = distance[linear_sum_assignment(distance)].mean()
    for seed in range(3):
        got = np.sort(units.logs[draw(units, "magnitude", seed).mask])
        assert np.abs(np.sort(wanted) - got).mean() < best + 0.2 * units.logs.std()


def test_where_no_comparable_unit_is_left_the_match_is_poor_and_says_so() -> None:
    """The network holds all large dimensions: elsewhere there is nothing like them."""
    shape = (6, 100)
    magnitude = np.random.default_rng(0).lognormal(0, 0.3, shape)
    magnitude[:, :10] *= 40
    network = np.zeros(shape, dtype=bool)
    network[2:4, :10] = True
    for elsewhere, poor in ((True, True), (False, False)):
        units = Units(network, magnitude, residual=True, elsewhere=elsewhere, name="language")
        control = draw(units, "magnitude+outliers", 0)
        assert control.balance.poor is poor
        assert control.balance.outliers == (20, 0 if poor else 20)
    control = draw(Units(network, magnitude, residual=True, name="language"), "magnitude", 4)
    assert control.balance.smd < -4
    for words in (
        "'magnitude', seed 4, of language has smaller units",
        "0 outliers where the",
        "20",
    ):
        assert words in control.warning
    own = draw(Units(network, magnitude, residual=True), OWN_DIMENSIONS)
    assert own.balance.outliers == (20, 20)
    assert own.balance.dimensions_shared == len(dimensions(own.mask)) > 7
    assert own.balance.layers_apart > 0.9


def test_outliers_are_matched_as_far_as_there_are_any() -> None:
    shape = (4, 60)
    magnitude = np.random.default_rng(0).lognormal(0, 0.1, shape)
    magnitude[:, 0] = magnitude[:, 1] = 50
    network = np.zeros(shape, dtype=bool)
    network[0:3, 0] = True
    network[0:2, 2:5] = True
    units = Units(network, magnitude, residual=True)
    assert draw(units, "outliers").balance.outliers == (3, 3)
    assert draw(units, "layer+outliers").balance.outliers == (3, 3)
    magnitude[1:, 1] = 1  # one is left
    few = draw(Units(network, magnitude, residual=True), "outliers")
    assert few.balance.outliers == (3, 1)
    assert few.balance.poor
    assert few.mask.sum() == 9
    none = ~network & (magnitude < 10)  # and too few ordinary ones: outliers fill up
    keep = np.zeros(shape, dtype=bool)
    keep[3, 20:27] = True
    tight = Units(network, magnitude, excluded=none & ~keep)
    assert draw(tight, "magnitude+outliers").mask.sum() == 9


def test_a_dimension_for_a_dimension() -> None:
    """As many wires, cut in the same layers; with magnitude, wires of the same size."""
    units = stream(40, shape=(8, 900), tied=0.0)
    control = draw(units, "dimension+magnitude", 2)
    patterns = [
        sorted(tuple(mask[:, d]) for d in dimensions(mask))
        for mask in (units.network, control.mask)
    ]
    assert patterns[0] == patterns[1]
    assert abs(control.balance.smd) < 0.2
    loose = [draw(units, "dimension", seed) for seed in range(6)]
    assert np.std([one.balance.smd for one in loose]) > 2 * abs(control.balance.smd)
    with pytest.raises(LensLocError, match="does not lie on the residual stream"):
        draw(stream(residual=False), "dimension")


def test_least_active_and_least_selective() -> None:
    units = stream()
    assert units.magnitude is not None
    assert units.score is not None
    for kind, values in ((LEAST_ACTIVE, units.magnitude), (LEAST_SELECTIVE, units.score)):
        mask = draw(units, kind).mask
        assert values[mask].max() <= values[units.candidates & ~mask].min()
    score = units.score.copy()
    score[np.unravel_index(np.argsort(score, axis=None)[:50], SHAPE)] = -np.inf  # excluded ones
    unranked = Units(units.network, units.magnitude, score, residual=True)
    assert np.isfinite(score[draw(unranked, LEAST_SELECTIVE).mask]).all()


def test_units_of_another_contrast() -> None:
    units = stream(50)
    rng = np.random.default_rng(9)
    score = rng.normal(size=SHAPE)
    other = score > np.sort(score.ravel())[-300]
    best = of_another(units, other, score=score, name="sums")
    assert best.kind == "units of sums"
    assert best.mask.sum() == 50
    assert best.balance.dimensions_shared == 0
    assert score[best.mask].min() >= score[units.candidates & ~best.mask].max()
    drawn = of_another(units, other, name="sums", seed=1)
    assert drawn.mask.sum() == 50
    assert not (drawn.mask & ~other).any()
    assert not np.array_equal(drawn.mask, of_another(units, other, name="sums", seed=2).mask)
    with pytest.raises(LensLocError, match=r"'units of sums' .* needs 50 units and only \d+ are"):
        of_another(units, other & (rng.random(SHAPE) < 0.1), name="sums")


def test_own_masks_are_taken_as_they_are() -> None:
    units = stream(50)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, :7] = True
    mask |= units.network & (np.arange(SHAPE[0])[:, None] == 3)
    control = matching.given(units, mask, "mine")
    assert isinstance(control, Control)
    assert np.array_equal(control.mask, mask)
    assert control.balance.units_shared == units.network[3].sum()
    assert control.seed is None
    with pytest.raises(LensLocError, match=r"'mine' has shape \(2, 3\)"):
        matching.given(units, np.ones((2, 3), dtype=bool), "mine")
    with pytest.raises(LensLocError, match="'mine' has no units"):
        matching.given(units, np.zeros(SHAPE, dtype=bool), "mine")


def test_how_alike_draws_are() -> None:
    a, b = np.eye(4, dtype=bool), np.eye(4, dtype=bool)[::-1]
    half = a.copy()
    half[:2] = b[:2]
    assert draws_alike([a, a]) == 1
    assert draws_alike([a, b]) == 0
    assert draws_alike([a, half]) == 0.5
    assert draws_alike([a, a, b]) == pytest.approx(1 / 3)
    assert np.isnan(draws_alike([a]))


# -- neighbours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_by_hand(seed: int) -> None:
    """Against the same rule written out with lists."""
    rng = np.random.default_rng(seed)
    wanted, free = rng.normal(1, 1, 40), rng.normal(0, 1, 70)
    found = neighbours(wanted, free, np.random.default_rng(seed), caliper=0.15, few=4)
    assert len(set(found.tolist())) == 40
    rng = np.random.default_rng(seed)
    rng.permutation(70)
    within = [int((np.abs(free - value) <= 0.15).sum()) for value in wanted]
    turn = sorted(rng.permutation(40).tolist(), key=lambda i: within[i])
    left = set(range(70))
    for i in turn:
        nearest = sorted(left, key=lambda j: abs(free[j] - wanted[i]))
        close = [j for j in nearest[:4] if abs(free[j] - wanted[i]) <= 0.15] or nearest[:1]
        assert found[i] in close
        left.remove(int(found[i]))


def test_all_free_values_can_be_used_up() -> None:
    rng = np.random.default_rng(0)
    for shift in (-5.0, 0.0, 5.0):
        found = neighbours(rng.normal(shift, 1, 50), rng.normal(0, 1, 50), rng, caliper=0.1)
        assert sorted(found.tolist()) == list(range(50))


def test_neighbours_have_no_leaning() -> None:
    """Where values abound, matches are as often above as below, and vary with the seed."""
    wanted, free = np.linspace(-1, 1, 50), np.linspace(-3, 3, 6000)
    draws = [neighbours(wanted, free, np.random.default_rng(s), caliper=0.2) for s in range(40)]
    gaps = np.array([free[found] - wanted for found in draws])
    assert abs(gaps.mean()) < 4 * gaps.std() / np.sqrt(gaps.size)
    assert len({tuple(found) for found in draws}) == 40
    ties = neighbours(np.zeros(5), np.zeros(500), np.random.default_rng(0), caliper=0.0)
    assert ties.max() > 100  # equal values: no leaning to the first


def test_matches_that_are_not_allowed() -> None:
    cost = np.array([[0.0, 1.0], [0.0, 1.0]])
    allowed = np.array([[True, True], [True, False]])
    rng = np.random.default_rng(0)
    assert sorted(alike(cost, np.ones((2, 2), dtype=bool), rng, caliper=0.1)) == [0, 1]
    assert alike(cost, np.zeros((2, 2), dtype=bool), rng, caliper=0.1).tolist() == [-1, -1]
    assert alike(cost[:1], allowed[1:], rng, caliper=0.1).tolist() == [0]


# -- balance ---------------------------------------------------------------------------------------


def test_balance_by_hand() -> None:
    units = stream(30)
    control = draw(units, "layer", 1)
    first, second = units.logs[units.network], units.logs[control.mask]
    pooled = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    found = control.balance
    assert found.smd == pytest.approx((second.mean() - first.mean()) / pooled)
    assert found.log_magnitude == pytest.approx((first.mean(), second.mean()))
    assert found.per_layer == (
        tuple(units.network.sum(axis=1).tolist()),
        tuple(control.mask.sum(axis=1).tolist()),
    )
    assert found.n_units == (30, 30)
    assert found.units_shared == 0
    assert units.magnitude is not None
    median = np.sort(units.magnitude, axis=1)[:, (SHAPE[1] - 1) // 2]
    large = units.magnitude > 5 * median[:, None]
    assert found.outliers == ((large & units.network).sum(), (large & control.mask).sum())


@pytest.mark.parametrize(
    ("smd", "outliers", "n_units", "poor"),
    [
        (0.25, (10, 5), (50, 50), False),
        (0.26, (10, 10), (50, 50), True),
        (-0.26, (10, 10), (50, 50), True),
        (0.0, (10, 4), (50, 50), True),
        (0.0, (10, 2), (50, 10), False),  # a smaller set may have fewer
        (0.0, (0, 0), (50, 50), False),
        (float("nan"), (-1, -1), (50, 50), False),
    ],
)
def test_poor(smd: float, outliers: tuple[int, int], n_units: tuple[int, int], poor: bool) -> None:
    found = Balance(n_units, (0.0, 0.0), smd, outliers, ((1,), (1,)), None, None, 0)
    assert found.poor is poor
    assert bool(found.why) is poor


def test_layers_apart() -> None:
    def apart(first: tuple[int, ...], second: tuple[int, ...]) -> float:
        return Balance((4, 4), (0, 0), 0, (0, 0), (first, second), None, None, 0).layers_apart

    assert apart((4, 0, 0), (0, 2, 2)) == 1
    assert apart((2, 2, 0), (2, 0, 2)) == 0.5
    assert apart((2, 2, 0), (1, 1, 0)) == 0


def test_single_units_and_dead_ones() -> None:
    magnitude = np.array([[0.0, 1.0, 2.0, 4.0]])
    assert log_magnitude(magnitude).tolist() == np.log([[1.0, 1.0, 2.0, 4.0]]).tolist()
    one, other = np.eye(4, dtype=bool)[[1]], np.eye(4, dtype=bool)[[3]]
    found = balance(one, other, magnitude, residual=False)
    assert found.smd == pytest.approx(np.log(4) / np.log([1, 1, 2, 4]).std(ddof=1))
    same = balance(one, other, np.ones((1, 4)), residual=False)
    assert same.smd == 0
    unknown = balance(one, other, None, residual=True)
    assert np.isnan(unknown.smd)
    assert not unknown.poor
    assert unknown.outliers == (-1, -1)


# -- refusals and speed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["size", "random+layer", "layer+size", "", "dimension+layer", "least-active+layer"]
)
def test_unknown_kinds(kind: str) -> None:
    with pytest.raises(LensLocError, match=rf"control '{kind}'".replace("+", r"\+")):
        check_kind(kind)


def test_too_few_units_are_one_sentence() -> None:
    network = np.zeros((4, 10), dtype=bool)
    network[:, :9] = True
    crowded = Units(network, np.ones((4, 10)), np.ones((4, 10)), residual=True, name="language")
    for kind in (*DRAWN, *BY_DIMENSION, LEAST_ACTIVE, LEAST_SELECTIVE, OWN_DIMENSIONS):
        with pytest.raises(LensLocError, match=r"of language needs .* use a smaller percentage"):
            draw(crowded, kind)
    with pytest.raises(LensLocError, match=r"36 units and only 4 are left .*\(elsewhere=False\)"):
        draw(crowded, "random")
    with pytest.raises(LensLocError, match="9 units of layer 0 and only 1 are left"):
        draw(crowded, "layer")
    with pytest.raises(LensLocError, match=r"needs 9 other dimensions .* 1 that are free only 1"):
        draw(crowded, "dimension")


def test_what_is_missing_is_named() -> None:
    network = np.eye(10, dtype=bool)
    bare = Units(network, name="language")
    assert draw(bare, "layer").mask.sum() == 10
    for kind in ("magnitude", "outliers", LEAST_ACTIVE):
        with pytest.raises(LensLocError, match="Language carries no magnitudes"):
            draw(bare, kind)
    with pytest.raises(LensLocError, match="Language carries no ranking"):
        draw(bare, LEAST_SELECTIVE)
    with pytest.raises(LensLocError, match="no dimensions in other layers"):
        draw(bare, OWN_DIMENSIONS)
    with pytest.raises(LensLocError, match="A seed is 0 or larger"):
        draw(bare, "random", -1)
    with pytest.raises(LensLocError, match="Language has no units"):
        Units(np.zeros((2, 2), dtype=bool), name="language")
    with pytest.raises(LensLocError, match="magnitude has shape"):
        Units(network, np.ones((2, 2)))
    holes = np.ones((10, 10))
    holes[3, 3] = np.nan
    with pytest.raises(LensLocError, match="unit 3 in layer 3 of language is no number"):
        draw(Units(network, holes, name="language"), "magnitude")
    holes[3, 3], holes[5, 6:] = 1, np.nan
    assert np.isfinite(holes[draw(Units(network, holes), "magnitude").mask]).all()


def test_large_models_take_seconds() -> None:
    units = stream(80 * 8192 // 50, shape=(80, 8192))
    for kind in ("magnitude+outliers", "layer+magnitude"):
        start = time.process_time()
        control = draw(units, kind)
        assert time.process_time() - start < 20  # jaxtyping's checks included
        assert control.balance.dimensions_shared == 0

"""Draws in turn: cheaper, with the decisions and the level of all draws on all items."""

import numpy as np
import pytest
from null_draws import Population
from scipy import stats

from lensloc.errors import LensLocError
from lensloc.results.draws import compare, rank_p, sequential_p
from lensloc.results.sequential import Plan, Sequential, compare_in_turn


def in_turn(lesions: np.ndarray, plan: Plan | None = None, seed: int = 0) -> Sequential:
    """Compare lesion 0 of [lesion, item] with the others."""
    return compare_in_turn(
        lambda draw, items: lesions[0 if draw is None else draw + 1][items],
        lesions.shape[1],
        plan,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("exceeds", "enough", "most", "p"),
    [
        ("0" * 20, 2, 20, 1 / 21),
        ("0" * 19 + "1", 2, 20, 2 / 21),
        ("0" * 19 + "1", 1, 20, 1 / 20),
        ("11", 2, 20, 1.0),
        ("0101", 2, 20, 2 / 4),
        ("0101" + "1111", 2, 20, 2 / 4),  # drawn on for another reason: of no account
        ("", 2, 0, 1.0),
    ],
)
def test_p_by_hand(exceeds: str, enough: int, most: int, p: float) -> None:
    assert sequential_p(np.array([c == "1" for c in exceeds], dtype=bool), enough, most) == p


def test_p_needs_the_draws() -> None:
    with pytest.raises(LensLocError, match="Only 1 of 3 draws reach the network"):
        sequential_p(np.array([True, False, False]), 2, 20)


@pytest.mark.parametrize("enough", [1, 2, 4])
def test_p_is_valid_at_every_level(enough: int) -> None:
    """P(p <= x) <= x for every p that can occur."""
    rng = np.random.default_rng(enough)
    ranks = rng.random((8000, 21))
    p = np.array([sequential_p(one[1:] >= one[0], enough, 20) for one in ranks])
    for x in np.unique(p):
        hits = int((p <= x).sum())
        assert stats.binomtest(hits, len(p), min(1.0, x), "greater").pvalue > 0.0005
    assert (p <= 0.05).mean() > 0.04  # and is not bought by losing power


@pytest.mark.parametrize(("sd", "mean"), [(0.0, 0.02), (0.02, 0.25), (0.08, 0.25), (0.16, 0.25)])
def test_level_with_stopping(sd: float, mean: float) -> None:
    """Null data: both p and the interval keep 5 %, and decide as all draws on all items would."""
    rng = np.random.default_rng([int(1000 * sd), 3])
    more, less, interval, same, cost = [], [], [], [], []
    for seed, lesions in enumerate(Population(sd, mean).draw(rng, 500, 21, 244)):
        found = in_turn(lesions, seed=seed)
        drops = lesions.mean(axis=1)
        all_draws = rank_p(float(drops[0]), drops[1:])
        more.append(found.comparison.p_more <= 0.05)
        less.append(found.comparison.p_less <= 0.05)
        interval.append(found.comparison.excludes_zero)
        same.append(((all_draws[0] <= 0.05), (all_draws[1] <= 0.05)) == (more[-1], less[-1]))
        cost.append(found.cost)
    for hits in (more, less, interval):
        assert stats.binomtest(sum(hits), len(hits), 0.05, "greater").pvalue > 0.001
    assert np.mean(same) > 0.99
    assert np.mean(cost) < 0.65


def test_a_clear_network_costs_a_quarter() -> None:
    rng = np.random.default_rng(0)
    population = Population(0.05, mean=0.1)
    costs = population.costs(rng, 20, 21)
    costs[:, 0] = 0.5
    for lesions in population.item_drops(rng, costs, 400):
        found = in_turn(lesions)
        assert found.comparison.p_more == found.comparison.min_p == 1 / 21
        assert found.comparison.n_items == 100
        assert found.comparison.low > 0
        assert found.measured == (100,) * 20
        assert found.cost == 0.25
        assert not found.stopped
        assert found.network == lesions[0].mean()


def test_a_network_in_the_midst_stops_soon() -> None:
    rng = np.random.default_rng(0)
    population = Population(0.05)
    costs = population.costs(rng, 40, 21)
    costs[:, 0] = 0.25
    found = [in_turn(one) for one in population.item_drops(rng, costs, 400)]
    assert all(len(one.measured) >= 5 for one in found)
    assert np.mean([one.stopped for one in found]) > 0.9
    assert np.mean([one.cost for one in found]) < 0.4
    assert min(one.comparison.p_more for one in found) > 0.05
    assert "of the cost" in repr(found[0])


def test_exact_measures_all_and_compares_as_usual() -> None:
    lesions = Population(0.08).draw(np.random.default_rng(0), 1, 21, 244)[0]
    found = in_turn(lesions, Plan(exact=True))
    assert found.comparison == compare(lesions[0], lesions[1:])
    assert found.cost == 1
    assert found.measured == (244,) * 20


def test_small_tasks_are_measured_whole_and_draws_still_stop() -> None:
    lesions = Population(0.0).draw(np.random.default_rng(1), 1, 21, 80)[0]
    found = in_turn(lesions)
    assert set(found.measured) == {80}
    assert found.stopped
    k = len(found.measured)
    whole = compare(lesions[0], lesions[1 : k + 1])
    assert (found.comparison.low, found.comparison.high) == (whole.low, whole.high)


def test_what_is_asked_for() -> None:
    """The first items are a random part, the same for all; a close draw is asked for all items."""
    lesions = np.zeros((21, 400))
    lesions[0, ::2] = 1
    lesions[1:, 1::2] = 1  # every draw lies level with the network
    asked: list[tuple[int | None, np.ndarray]] = []

    def measure(draw: int | None, items: np.ndarray) -> np.ndarray:
        asked.append((draw, items))
        return np.asarray(lesions[0 if draw is None else draw + 1][items])

    found = compare_in_turn(measure, 400, seed=4)
    first = asked[1][1]
    assert asked[0][0] is None
    assert len(asked[0][1]) == 400
    assert len(first) == len(set(first.tolist())) == 100
    assert not np.array_equal(first, Plan().first_items(400, 5))
    assert all(len(items) == 400 or np.array_equal(items, first) for _, items in asked)
    assert found.measured == (400,) * 5  # ties count on both sides, so five draws are enough
    assert (found.comparison.p_more, found.comparison.p_less) == (1.0, 1.0)
    assert found.comparison.n_items == 400


def test_draws_without_a_number_are_passed_over() -> None:
    lesions = Population(0.05, mean=0.1).draw(np.random.default_rng(0), 1, 21, 400)[0]
    lesions[0] = 1.0
    lesions[4, 3] = lesions[9] = np.nan
    found = in_turn(lesions)
    assert found.comparison.without_number == 2 - int(3 not in Plan().first_items(400, 0))
    everywhere = lesions.copy()
    everywhere[4] = np.nan
    found = in_turn(everywhere)
    assert found.comparison.without_number == 2
    assert found.comparison.p_more == found.comparison.min_p == 1 / 19
    close = Population(0.0).draw(np.random.default_rng(0), 1, 21, 400)[0]
    outside = np.setdiff1d(np.arange(400), Plan().first_items(400, 0))
    close[1, outside[0]] = np.nan  # a number on the part, none on the whole
    assert in_turn(close).comparison.without_number == 1
    nothing = close.copy()
    nothing[0] = np.nan
    assert np.isnan(in_turn(nothing).comparison.p_more)


def test_refusals() -> None:
    with pytest.raises(LensLocError, match="100 items were to be measured under draw 0, and 3"):
        compare_in_turn(lambda draw, items: np.zeros(3 if draw == 0 else len(items)), 400)
    with pytest.raises(LensLocError, match="0 items were to be measured under the network"):
        compare_in_turn(lambda draw, items: np.zeros(len(items)), 0)
    with pytest.raises(LensLocError, match="at least one draw"):
        Plan(draws=0)
    with pytest.raises(LensLocError, match="share is a part of the items"):
        Plan(share=0.0)

"""A network against its draws: exact ranks, an interval over draws and items, at their level."""

from typing import Any

import numpy as np
import pytest
from null_draws import Population
from scipy import stats

from lensloc.errors import LensLocError
from lensloc.results.draws import (
    at_least,
    compare,
    draw_variance,
    half_width,
    item_variance,
    rank_p,
)
from lensloc.results.items import Items, item_drops

N_ITEMS = 244
CELLS = [(k, sd) for k in (5, 10, 20, 40) for sd in (0.04, 0.08, 0.16)]


def excludes_zero(lesions: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """[repeat]: whether the interval of lesion 0 against all others does.

    Lesions are [repeat, lesion, item].
    """
    network, draws = lesions[:, 0], lesions[:, 1:]
    drops = draws.mean(axis=-1)
    difference = network.mean(axis=-1) - drops.mean(axis=-1)
    parts = [draw_variance(drops), item_variance(network, draws)]
    df = [draws.shape[1] - 1, draws.shape[2] - 1]
    return np.asarray(np.abs(difference) > half_width(parts, df, confidence))


def is_level(hits: int, trials: int, level: float = 0.05) -> bool:
    """Whether so many hits are what the level gives; a miss in one of a thousand tests."""
    return bool(stats.binomtest(hits, trials, level).pvalue > 0.001)


# -- items -----------------------------------------------------------------------------------------


def test_item_drops_have_the_drop_as_mean_and_its_spread() -> None:
    """Perplexity is a ratio: the spread of item drops is what a bootstrap of the ratio finds."""
    rng = np.random.default_rng(0)
    weight = rng.integers(3, 60, 150).astype(float)
    intact = Items(-2.0 * weight + rng.normal(0, 6, 150), weight, higher_is_better=True)
    lesioned = Items(intact.value - 0.7 * weight + rng.normal(0, 9, 150), weight)
    drops = item_drops(lesioned, intact)
    assert drops.mean() == pytest.approx(intact.score - lesioned.score)
    taken = rng.integers(150, size=(4000, 150))
    total = weight[taken].sum(axis=1)
    bootstrap = (intact.value - lesioned.value)[taken].sum(axis=1) / total
    assert drops.std(ddof=1) / np.sqrt(150) == pytest.approx(bootstrap.std(), rel=0.05)
    plain = (intact.value - lesioned.value) / weight.mean()  # without linearising, far off
    assert plain.std(ddof=1) / np.sqrt(150) > 1.3 * bootstrap.std()


def test_harm_is_positive_whichever_way_the_score_goes() -> None:
    value, ones = np.array([1.0, 3.0]), np.ones(2)
    worse = Items(value + 1, ones, higher_is_better=False)
    assert item_drops(worse, Items(value, ones, higher_is_better=False)).tolist() == [1.0, 1.0]
    assert item_drops(Items(value - 1, ones), Items(value, ones)).tolist() == [1.0, 1.0]
    nothing = item_drops(Items(value, np.zeros(2)), Items(value, ones))
    assert np.isnan(nothing).all()
    with pytest.raises(LensLocError, match="lesioned model has 1 and the intact one 2"):
        item_drops(Items(value[:1], ones[:1]), Items(value, ones))


# -- the rank test ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "draws", "more", "less"),
    [
        (0.5, [0.1, 0.2, 0.3], 1 / 4, 4 / 4),
        (0.5, [0.1, 0.5, 0.9], 3 / 4, 3 / 4),  # ties count against both claims
        (0.1 + 0.2, [0.3, 0.0, 0.0], 2 / 4, 4 / 4),  # a tie but for rounding
        (-0.2, [-0.1, 0.0, 0.3], 4 / 4, 1 / 4),
        (0.2, [], 1.0, 1.0),
    ],
)
def test_ranks_by_hand(network: float, draws: list[float], more: float, less: float) -> None:
    assert rank_p(network, np.array(draws, dtype=float)) == (more, less)


def test_rank_p_is_exact() -> None:
    """Every attainable level is kept exactly, here where draws are far from normal."""
    rng = np.random.default_rng(1)
    lesions = rng.standard_cauchy((6000, 20))
    p = np.array([rank_p(one[0], one[1:])[0] for one in lesions])
    for rank in (1, 4, 10):
        assert is_level(int((p <= rank / 20 + 1e-9).sum()), 6000, rank / 20)


# -- the interval ----------------------------------------------------------------------------------


def by_loops(network: np.ndarray, draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """The interval written out item by item."""
    k, n = draws.shape
    drops = [sum(draw) / n for draw in draws]
    mean = sum(drops) / k
    s2 = sum((drop - mean) ** 2 for drop in drops) / (k - 1)
    of_item = [sum(draws[j][i] for j in range(k)) / k for i in range(n)]
    residual = sum(
        (draws[j][i] - of_item[i] - drops[j] + mean) ** 2 for j in range(k) for i in range(n)
    ) / ((k - 1) * (n - 1))
    z = [network[i] - of_item[i] for i in range(n)]
    difference = sum(z) / n
    paired = sum((one - difference) ** 2 for one in z) / (n - 1)
    items = max(0.0, paired / n - (1 + 1 / k) * residual / n)
    t_draws, t_items = (stats.t.ppf(0.5 + confidence / 2, df) for df in (k - 1, n - 1))
    half = (t_draws**2 * (1 + 1 / k) * s2 + t_items**2 * items) ** 0.5
    return difference - half, difference + half


@pytest.mark.parametrize("k", [2, 7])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_interval_by_loops(k: int, shift: float) -> None:
    rng = np.random.default_rng(k)
    costs = np.array([[0.2 + shift, *rng.normal(0.2, 0.05, k)]])
    lesions = Population(0.05).item_drops(rng, costs, 60)[0]
    found = compare(lesions[0], lesions[1:], confidence=0.9)
    assert (found.low, found.high) == pytest.approx(by_loops(lesions[0], lesions[1:], 0.9))
    assert found.k == k
    assert found.n_items == 60
    assert found.difference == pytest.approx(found.network - found.control)
    assert found.excludes_zero == bool(excludes_zero(lesions[None], 0.9)[0])


def test_without_spread_of_draws_the_items_are_bootstrapped() -> None:
    """Controls that do nothing: what is left is the sampling of items, as in a bootstrap."""
    rng = np.random.default_rng(0)
    network, draws = rng.binomial(1, 0.3, 200).astype(float), np.zeros((20, 200))
    found = compare(network, draws)
    resampled = network[rng.integers(200, size=(20000, 200))].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert found.draw_variance == 0
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize(("k", "sd"), CELLS)
def test_interval_keeps_its_level(k: int, sd: float) -> None:
    """A network that is one more draw: zero is excluded in 5 %; and the rank test keeps to 5 %."""
    rng = np.random.default_rng([k, int(1000 * sd)])
    hits, ranks, trials = 0, 0, 2000
    for _ in range(4):
        lesions = Population(sd).draw(rng, trials // 4, k + 1, N_ITEMS)
        hits += int(excludes_zero(lesions).sum())
        drops = lesions.mean(axis=-1)
        above = at_least(drops[:, 1:], drops[:, :1]).sum(axis=1)
        ranks += int(((1 + above) / (k + 1) <= 0.05).sum())
    assert is_level(hits, trials)
    assert stats.binomtest(ranks, trials, 0.05, alternative="greater").pvalue > 0.001


def test_level_over_all_cells() -> None:
    """Together the cells show a level to within half a percent."""
    rng = np.random.default_rng(7)
    hits = [excludes_zero(Population(sd).draw(rng, 700, k + 1, 120)).mean() for k, sd in CELLS]
    assert 0.043 < float(np.mean(hits)) < 0.057


def test_without_the_networks_own_deviation_the_level_is_lost() -> None:
    """What an interval over items and the mean of draws alone excludes: why this module is."""
    lesions = Population(0.08).draw(np.random.default_rng(0), 400, 21, N_ITEMS)
    paired = lesions[:, 0] - lesions[:, 1:].mean(axis=1)
    error = np.sqrt(
        paired.var(axis=1, ddof=1) / N_ITEMS + lesions[:, 1:].mean(-1).var(axis=1, ddof=1) / 20
    )
    assert (np.abs(paired.mean(axis=1)) > 1.96 * error).mean() > 0.25
    assert excludes_zero(lesions).mean() < 0.08


def test_skewed_draws_are_for_the_rank_test() -> None:
    """Most draws mild, few drastic: the interval errs towards "more", up to 8 %; ranks do not."""
    rng = np.random.default_rng(3)
    lesions = Population(0.16, shape="skewed").draw(rng, 2000, 21, 60)
    drops = lesions.mean(axis=-1)
    ranks = (1 + at_least(drops[:, 1:], drops[:, :1]).sum(axis=1)) / 21
    assert excludes_zero(lesions).mean() < 0.09
    assert stats.binomtest(int((ranks <= 0.05).sum()), 2000, 0.05, "greater").pvalue > 0.001


@pytest.mark.parametrize("control", [0.02, 0.2])
def test_interval_covers_a_planted_effect(control: float) -> None:
    """The network costs 0.3 more than a draw does, and deviates as draws do."""
    rng, k, trials = np.random.default_rng(5), 20, 1500
    sd = 0.01 if control < 0.1 else 0.06
    population = Population(sd, mean=control)
    costs = population.costs(rng, trials, k + 1)
    costs[:, 0] += 0.3
    lesions = population.item_drops(rng, costs, 150)
    network, draws = lesions[:, 0], lesions[:, 1:]
    drops = draws.mean(axis=-1)
    parts = [draw_variance(drops), item_variance(network, draws)]
    miss = np.abs(network.mean(-1) - drops.mean(-1) - 0.3) > half_width(parts, [k - 1, 149], 0.95)
    assert is_level(int(miss.sum()), trials)
    only_draws = half_width(parts[:1], [k - 1], 0.95)  # items left out, far too short
    if control < 0.1:
        assert (np.abs(network.mean(-1) - drops.mean(-1) - 0.3) > only_draws).mean() > 0.12


# -- what little can be said -----------------------------------------------------------------------


def test_two_draws_conclude_nothing() -> None:
    lesions = Population(0.08).draw(np.random.default_rng(2), 3000, 3, 60)
    assert is_level(int(excludes_zero(lesions).sum()), 3000)
    for one in lesions[:50]:
        found = compare(one[0], one[1:])
        assert min(found.p_more, found.p_less) >= 1 / 3
        assert not found.can_conclude
        assert "With 2 control draws nothing can be concluded" in found.caveat


@pytest.mark.parametrize(
    ("k", "words"),
    [
        (0, "No control draw gave a number"),
        (1, "says nothing about how draws differ"),
        (2, "cannot be below 1/3"),
        (5, "cannot be below 0.167"),
        (18, "cannot be below 0.0526"),
        (19, ""),
        (20, ""),
    ],
)
def test_caveats(k: int, words: str) -> None:
    rng = np.random.default_rng(0)
    draws = rng.binomial(1, 0.2, (k, 50)).astype(float)
    found = compare(rng.binomial(1, 0.9, 50).astype(float), draws)
    assert words in found.caveat
    assert (found.caveat == "") == (k >= 19)
    assert found.can_conclude == (k >= 19)
    assert found.min_p == 1 / (k + 1)
    assert np.isnan(found.low) == (k < 2)
    assert found.excludes_zero == (k > 2)
    assert f"{k} draws" in repr(found)


def test_draws_without_a_number_make_none_and_are_counted() -> None:
    rng = np.random.default_rng(0)
    draws = rng.binomial(1, 0.2, (21, 50)).astype(float)
    broken = draws.copy()
    broken[3, 7], broken[9] = np.nan, np.inf
    network = rng.binomial(1, 0.5, 50).astype(float)
    found = compare(network, broken)
    whole = compare(network, np.delete(draws, [3, 9], axis=0))
    assert (found.k, found.without_number) == (19, 2)
    assert (found.low, found.high, found.p_more) == (whole.low, whole.high, whole.p_more)
    nothing = compare(np.full(50, np.nan), draws)
    assert np.isnan([nothing.difference, nothing.low, nothing.p_more, nothing.p_less]).all()
    assert not nothing.can_conclude
    assert "drop is no number" in nothing.caveat
    alone = compare(network, np.full((4, 50), np.nan))
    assert (alone.k, alone.without_number, alone.p_more) == (0, 4, 1.0)
    assert "(4 more gave no number)" in alone.caveat


def test_one_item_gives_no_interval() -> None:
    found = compare(np.array([1.0]), np.zeros((20, 1)))
    assert np.isnan(found.low)
    assert not found.excludes_zero
    assert found.p_more == 1 / 21


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.empty(0), np.empty((3, 0))), "needs items"),
        ((np.zeros(4), [np.zeros(4), np.zeros(3)]), "Draw 1 .* on 3 items and the network on 4"),
    ],
)
def test_refusals(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(LensLocError, match=words):
        compare(*arguments)
    with pytest.raises(LensLocError, match="confidence lies between"):
        compare(np.zeros(4), np.zeros((3, 4)), confidence=95)

"""Networks x tasks: a double dissociation is found, shared damage is not, levels are kept."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from null_draws import Population
from scipy import stats

from lensloc.errors import LensLocError
from lensloc.results.dissociation import Dissociation, Lesions, dissociation
from lensloc.results.draws import compare

TASKS = ("grammar", "sums", "stories")
OWN = {"language": ("grammar",), "demand": ("sums",)}
ROOM = {task: 0.38 for task in TASKS}
MILD = Population(0.05, mean=0.08)


def planted(
    costs: Mapping[str, Mapping[str, float]], *, k: int = 20, n: int = 200, seed: int = 0
) -> dict[str, Lesions]:
    """Networks that cost as much as is said, and draws that cost 0.08 everywhere, give or take."""
    rng = np.random.default_rng(seed)
    lesions = {}
    for name, of_task in costs.items():
        network, draws = {}, {}
        for task, cost in of_task.items():
            all_costs = MILD.costs(rng, 1, k + 1)
            all_costs[0, 0] = cost
            items = MILD.item_drops(rng, all_costs, n)[0]
            network[task], draws[task] = items[0], items[1:]
        lesions[name] = Lesions(network, draws, OWN[name])
    return lesions


def by_task(*costs: float) -> dict[str, float]:
    return dict(zip(TASKS, costs, strict=True))


def found(language: Sequence[float], demand: Sequence[float], **more: Any) -> Dissociation:
    lesions = planted({"language": by_task(*language), "demand": by_task(*demand)}, **more)
    return dissociation(lesions, ROOM)


# -- planted truths --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_double_dissociation_is_found(seed: int) -> None:
    result = found((0.35, 0.1, 0.1), (0.1, 0.35, 0.1), seed=seed)
    assert result.crossed
    assert result.p_double == 1 / 21
    assert result.overall.p == result.overall.min_p == 1 / 441
    for index in (*result.networks, result.overall):
        assert index.low > 0
        assert index.low < (0.35 - 0.1) / 0.38 < index.high
        assert index.standardised > 3


@pytest.mark.parametrize(
    ("language", "demand"),
    [
        ((0.3, 0.3, 0.3), (0.3, 0.3, 0.3)),  # shared damage
        ((0.08, 0.08, 0.08), (0.08, 0.08, 0.08)),  # none
        ((0.35, 0.1, 0.1), (0.35, 0.1, 0.1)),  # grammar breaks whatever is lesioned
    ],
)
def test_shared_damage_is_none(language: Sequence[float], demand: Sequence[float]) -> None:
    results = [found(language, demand, seed=seed) for seed in range(10)]
    assert sum(result.p_double <= 0.05 for result in results) == 0
    assert sum(result.overall.p <= 0.05 for result in results) <= 2
    assert sum(result.overall.low > 0 for result in results) <= 2


def test_one_network_alone_is_no_double_dissociation() -> None:
    result = found((0.38, 0.08, 0.08), (0.08, 0.08, 0.08))
    language, demand = result.networks
    assert language.p == 1 / 21
    assert demand.p > 0.05
    assert result.overall.p <= 0.05  # carried by one, as the name says
    assert result.p_double == demand.p


def test_what_controls_do_to_a_fragile_task_is_subtracted() -> None:
    """Everything breaks grammar, the controls too: no index beyond theirs."""
    rng = np.random.default_rng(0)
    lesions = {}
    for name in OWN:
        network, draws = {}, {}
        for task in TASKS:
            population = Population(0.05, mean=0.3 if task == "grammar" else 0.05)
            items = population.draw(rng, 1, 21, 200)[0]
            network[task], draws[task] = items[0], items[1:]
        lesions[name] = Lesions(network, draws, OWN[name])
    result = dissociation(lesions, ROOM)
    language = result.networks[0]
    assert language.index > 0.4
    assert language.control > 0.4
    assert language.low < 0 < language.high
    assert language.p > 0.05


# -- by hand ---------------------------------------------------------------------------------------


def test_index_is_a_comparison_of_one_number_a_lesion() -> None:
    """With the same items in own and other tasks it is `compare` of the items' differences."""
    given = planted({"language": by_task(0.3, 0.1, 0.2)}, n=80)["language"]
    items, draws = dict(given.network), dict(given.draws)
    items["stories"], draws["stories"] = items["stories"][:50], draws["stories"][:, :50]
    given = Lesions(items, draws, given.own)
    room = {"grammar": 0.4, "sums": 0.2, "stories": 0.5}
    index = dissociation({"language": given}, room).networks[0]
    drops = {task: given.network[task].mean() for task in TASKS}
    by_hand = drops["grammar"] / 0.4 - (drops["sums"] / 0.2 + drops["stories"] / 0.5) / 2
    assert index.index == pytest.approx(by_hand)
    of_draws = [
        given.draws["grammar"][j].mean() / 0.4
        - (given.draws["sums"][j].mean() / 0.2 + given.draws["stories"][j].mean() / 0.5) / 2
        for j in range(20)
    ]
    assert index.draws == pytest.approx(of_draws)
    assert index.control == pytest.approx(np.mean(of_draws))
    assert index.standardised == pytest.approx(
        (by_hand - np.mean(of_draws)) / np.std(of_draws, ddof=1)
    )
    assert index.p == (1 + sum(one >= by_hand for one in of_draws)) / 21

    # Two tasks, of which one scatters neither in items nor in draws: the other task alone.
    still = {"grammar": given.network["grammar"], "sums": np.full(80, 0.25)}
    still_draws = {"grammar": given.draws["grammar"], "sums": np.full((20, 80), 0.25)}
    alone = dissociation(
        {"a": Lesions(still, still_draws, ("grammar",))}, {"grammar": 1, "sums": 1}
    )
    beside = compare(given.network["grammar"], given.draws["grammar"])
    assert alone.networks[0].difference == pytest.approx(beside.difference)
    assert (alone.networks[0].low, alone.networks[0].high) == pytest.approx(
        (beside.low, beside.high)
    )
    assert alone.networks[0].p == beside.p_more


def test_overall_p_by_all_choices() -> None:
    result = found((0.2, 0.1, 0.1), (0.1, 0.16, 0.1), k=7)
    sets = [[*index.draws, index.index] for index in result.networks]
    sums = [sum(choice) for choice in product(*sets)]
    observed = sum(index.index for index in result.networks)
    assert result.overall.p == sum(one >= observed - 1e-9 for one in sums) / 64
    assert result.overall.index == pytest.approx(observed / 2)
    assert result.overall.difference == pytest.approx(
        np.mean([index.difference for index in result.networks])
    )


def test_interaction_of_two_by_two() -> None:
    lesions = planted({name: {t: 0.2 for t in TASKS[:2]} for name in OWN})
    result = dissociation(lesions, ROOM)
    shares, (contrast, low, high) = result.shares, result.interaction
    raw = (shares.loc["language", "grammar"] - shares.loc["language", "sums"]) - (
        shares.loc["demand", "grammar"] - shares.loc["demand", "sums"]
    )
    control = result.control_drops / result.room
    of_draws = (control.loc["language", "grammar"] - control.loc["language", "sums"]) - (
        control.loc["demand", "grammar"] - control.loc["demand", "sums"]
    )
    assert contrast == pytest.approx(raw - of_draws)
    assert low < contrast < high
    assert result.own.to_numpy().tolist() == [[True, False], [False, True]]
    with pytest.raises(LensLocError, match="two networks and two tasks; there are 2 and 3"):
        _ = found((0.1, 0.1, 0.1), (0.1, 0.1, 0.1)).interaction


def test_items_that_networks_share_are_not_counted_twice() -> None:
    """Two networks that are one: their interaction is nothing, exactly, and so is its item part."""
    one = planted({"language": {t: 0.2 for t in TASKS[:2]}}, k=30)["language"]
    rng = np.random.default_rng(5)
    still = {task: one.draws[task].mean() * np.ones((30, 200)) for task in TASKS[:2]}
    still = {task: values + rng.normal(0, 1e-4, (30, 1)) for task, values in still.items()}
    twins = {
        "language": Lesions(one.network, still, ("grammar",)),
        "demand": Lesions(one.network, still, ("sums",)),
    }
    result = dissociation(twins, ROOM)
    assert result.overall.index == pytest.approx(0)
    assert result.overall.high - result.overall.low < 0.01
    assert result.networks[0].high - result.networks[0].low > 0.2


def test_table() -> None:
    result = found((0.3, 0.1, 0.1), (0.1, 0.3, 0.1))
    assert result.table["network"].tolist() == ["language", "demand", "all"]
    assert result.table["p"].tolist()[:2] == [index.p for index in result.networks]
    assert result.drops.loc["language", "grammar"] > 0.2
    assert (result.table["difference_low"] < result.table["difference"]).all()


# -- level -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "sd"), [(5, 0.08), (20, 0.04), (20, 0.16)])
def test_level(k: int, sd: float) -> None:
    """Networks that are mere draws; draws that hurt one task hurt the others, items are shared."""
    rng = np.random.default_rng([k, int(1000 * sd)])
    population, trials, n = Population(sd), 300, 100
    costs: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for _ in OWN:
        common = population.costs(rng, trials, k + 1)
        for task in TASKS:
            costs[task].append(0.5 * common + 0.5 * population.costs(rng, trials, k + 1))
    items = {task: population.item_drops(rng, np.hstack(costs[task]), n) for task in TASKS}
    p: dict[str, list[float]] = {"one": [], "overall": [], "double": []}
    outside: dict[str, int] = {"one": 0, "overall": 0}
    for trial in range(trials):
        lesions = {}
        for at, (name, own) in enumerate(OWN.items()):
            part = {t: items[t][trial, at * (k + 1) : (at + 1) * (k + 1)] for t in TASKS}
            lesions[name] = Lesions(
                {t: part[t][0] for t in TASKS}, {t: part[t][1:] for t in TASKS}, own
            )
        result = dissociation(lesions, ROOM)
        one, overall = result.networks[0], result.overall
        p["one"].append(one.p)
        p["overall"].append(overall.p)
        p["double"].append(result.p_double)
        outside["one"] += one.low > 0 or one.high < 0
        outside["overall"] += overall.low > 0 or overall.high < 0
    for values in p.values():
        for level in (0.05, 0.2, 0.5):
            hits = int((np.array(values) <= level).sum())
            assert stats.binomtest(hits, trials, level, "greater").pvalue > 0.001
    for hits in outside.values():
        assert stats.binomtest(hits, trials, 0.05).pvalue > 0.001


# -- what is missing -------------------------------------------------------------------------------


def test_draws_without_a_number_are_left_out_of_all_tasks() -> None:
    lesions = planted({"language": by_task(0.3, 0.1, 0.1), "demand": by_task(0.1, 0.3, 0.1)})
    draws = {task: values.copy() for task, values in lesions["language"].draws.items()}
    draws["sums"][4, 7] = np.nan
    broken = Lesions(lesions["language"].network, draws, OWN["language"])
    result = dissociation({**lesions, "language": broken}, ROOM)
    assert result.networks[0].without_number == 1
    assert len(result.networks[0].draws) == 19
    fewer = {task: np.delete(values, 4, axis=0) for task, values in draws.items()}
    rest = Lesions(broken.network, fewer, OWN["language"])
    assert dissociation({**lesions, "language": rest}, ROOM).overall.low == result.overall.low
    assert np.isfinite(result.control_drops.to_numpy()).all()


def test_a_network_without_a_number_gives_none() -> None:
    lesions = planted({"language": by_task(0.3, 0.1, 0.1), "demand": by_task(0.1, 0.3, 0.1)})
    broken = {**lesions["language"].network, "stories": np.full(200, np.nan)}
    lesions["language"] = Lesions(broken, lesions["language"].draws, OWN["language"])
    result = dissociation(lesions, ROOM)
    together = result.overall
    assert np.isnan([result.p_double, together.p, together.low, together.index]).all()
    assert result.networks[1].low > 0


def test_few_draws() -> None:
    one = found((0.3, 0.1, 0.1), (0.1, 0.3, 0.1), k=1)
    assert np.isnan([one.overall.low, one.networks[0].low]).all()
    assert one.overall.min_p == 1 / 4
    none = found((0.3, 0.1, 0.1), (0.1, 0.3, 0.1), k=0)
    assert none.networks[0].p == none.overall.p == 1
    assert np.isnan(none.overall.difference)


def test_many_networks_draw_their_choices() -> None:
    rng = np.random.default_rng(0)
    lesions = {}
    for number in range(5):
        drops = rng.binomial(1, 0.2, (2, 21, 50)).astype(float)
        drops[0, 0] = 1
        lesions[f"n{number}"] = Lesions(
            {"a": drops[0, 0], "b": drops[1, 0]}, {"a": drops[0, 1:], "b": drops[1, 1:]}, ("a",)
        )
    result = dissociation(lesions, {"a": 0.5, "b": 0.5})
    assert result.overall.p == result.overall.min_p == 1 / 200_001
    assert result == result
    assert not result.crossed  # all have one task of their own


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"room": {"grammar": 0.4, "sums": 0.0, "stories": 0.4}}, "'sums' has no room to fall"),
        ({"room": {"grammar": 0.4, "sums": 0.4}}, r"'stories' has no room to fall \(room None\)"),
        ({"own": ()}, "'language' was measured on no task of its own"),
        ({"own": TASKS}, "'language' was measured on no task of others"),
        ({"own": ("french",)}, "'french', a task of the network 'language', was not measured"),
        ({"drop": "sums"}, "'language' or its draws were measured on other tasks"),
        ({"items": 100}, "'grammar' was measured on different items"),
        ({"draws": 3}, "'language' has different numbers of draws"),
        ({"confidence": 2.0}, "confidence lies between"),
        ({"none": True}, "no network"),
        ({"one": True}, "between tasks"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    lesions = planted({name: by_task(0.1, 0.1, 0.1) for name in reversed(OWN)}, n=20)
    given = lesions["language"]
    network, draws, own = dict(given.network), dict(given.draws), change.get("own", given.own)
    if "drop" in change:
        del draws[change["drop"]]
    if "items" in change:
        network["grammar"] = np.zeros(change["items"])
    if "draws" in change:
        draws["sums"] = draws["sums"][: change["draws"]]
    lesions["language"] = Lesions(network, draws, own)
    if "none" in change:
        lesions = {}
    if "one" in change:
        lesions = {"a": Lesions({"x": np.zeros(3)}, {"x": np.zeros((2, 3))}, ("x",))}
    with pytest.raises(LensLocError, match=words):
        dissociation(lesions, change.get("room", ROOM), confidence=change.get("confidence", 0.95))

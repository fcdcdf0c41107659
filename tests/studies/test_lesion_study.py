"""The study's table against lesions done one by one, and its statistics against scipy."""

import dataclasses
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import scipy.stats
import torch

import lensloc as ll
from lensloc import Contrast, LensLocError, LensLocWarning, UnitMask, lesion_study, plot, tasks
from lensloc.lesions import lesioning
from lensloc.lesions.lesioning import open_lesions
from lensloc.lesions.references import mask_hash, reference_responses
from lensloc.results.lesions import Intervals, Scores, cohen_h, drop, mean_drop
from lensloc.studies import dissociating, lesions
from lensloc.studies.store import Store
from lensloc.tasks import TaskResult

TEXTS = [
    "the old gardener watered every plant before the sun came up",
    "nobody in the village remembered who had built the stone bridge",
    "twelve plus nineteen is thirty one and nothing else",
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tasks.MinimalPairs:
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [(text, " ".join(reversed(text.split()))) for text in TEXTS]
    rows += [(bad, good) for good, bad in rows]
    pd.DataFrame(rows, columns=["sentence_good", "sentence_bad"]).to_csv(file, index=False)
    return tasks.minimal_pairs(file)


@pytest.fixture(scope="module")
def network(tiny_llama: Any, small_contrast: Contrast) -> ll.Selectivity:
    return ll.localize(tiny_llama, small_contrast, progress=False)["resid_post"]


def run(model: Any, network: Any, pairs: Any, **options: Any) -> ll.LesionStudy:
    settings = {
        "controls": ll.controls([None, "layer"], seeds=range(3), without_outliers=True),
        "percents": [5, 20],
        "n_resamples": 200,
        "progress": False,
    }
    measured = [pairs, tasks.perplexity(TEXTS)]
    return lesion_study(model, {"language": network}, measured, **{**settings, **options})


def test_contrasts_are_localized_in_batches_of_the_size_that_was_given(
    tiny_llama: Any, small_contrast: Contrast, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[Any]] = {"localize": [], "references": []}

    def localizing(model: Any, contrast: Any, sites: Any, **how: Any) -> Any:
        asked["localize"].append(how["batch_size"])
        return ll.localize(model, contrast, sites, **how)

    def captured(*given: Any, **how: Any) -> Any:
        asked["references"].append(given[3] if len(given) > 3 else "auto")
        return reference_responses(*given, **how)

    monkeypatch.setattr(lesions, "localize", localizing)
    for room in (lesions, lesioning):
        monkeypatch.setattr(room, "reference_responses", captured)
    modes: list[Any] = ["mean", {"mode": "resample", "reference": small_contrast}]
    scores = []
    for size in (2, "auto"):
        asked["references"].clear()
        study = run(
            tiny_llama, small_contrast, pairs, modes=modes, reference=small_contrast,
            batch_size=size, controls=(), percents=[5],
        )  # fmt: skip
        scores.append(study.table["score"].tolist())
        assert set(asked["references"]) == {size}
    assert asked["localize"] == [2, "auto"]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_specificity_localizes_in_batches_of_the_size_that_was_given(
    tiny_llama: Any, small_contrast: Contrast, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def localizing(*_: Any, batch_size: Any, **__: Any) -> Any:
        raise LensLocError(f"In batches of {batch_size}.")

    monkeypatch.setattr(dissociating, "localize", localizing)
    two = [dataclasses.replace(pairs, name=name) for name in ("one", "two")]
    with pytest.raises(LensLocError, match="In batches of 3"):
        ll.specificity(
            tiny_llama, {"a": small_contrast}, two, domains={"a": ["one"]}, batch_size=3,
            progress=False,
        )  # fmt: skip


def test_every_row_equals_a_lesion_by_hand(tiny_llama: Any, network: Any, pairs: Any) -> None:
    study = run(tiny_llama, network, pairs, modes=["zero", {"mode": "scale", "scale": 3}])
    table = study.table
    assert len(table) == 2 * 2 * (1 + 2 * 3 + 1) * 2  # sizes, modes, lesions, tasks
    by_name = {"minimal-pairs": pairs, "perplexity": tasks.perplexity(TEXTS)}
    wanted = ll.controls([None, "layer"], seeds=range(3), without_outliers=True)
    for row in table.itertuples():
        mask = network.top(percent=row.percent)
        if row.kind != "network":
            seed = None if pd.isna(row.seed) else row.seed
            (mask,) = (c.mask for c in wanted(mask) if (c.kind, c.seed) == (row.kind, seed))
        options = {"mode": "zero"} if row.mode == "zero" else {"mode": "scale", "scale": 3.0}
        task = by_name[row.task]
        intact = task(tiny_llama)
        with ll.lesion(tiny_llama, mask, **options):  # type: ignore[arg-type]
            found = task(tiny_llama)
        assert row.n_units == len(mask)
        assert row.score == found.score
        assert row.intact == intact.score
        if row.task == "perplexity":
            assert row.drop == pytest.approx(math.log(found.score / intact.score), abs=1e-9)
            assert math.isnan(row.cohen_h)
        else:
            assert row.drop == pytest.approx(intact.score - found.score)
            assert row.chance == 0.5
        assert row.magnitude == pytest.approx(float(network.magnitude[mask.mask].mean()))
        assert row.took_effect
        assert row.drop_low <= row.drop <= row.drop_high
    assert set(table["mode"]) == {"zero", "scale scale=3"}


def test_differences_from_controls(tiny_llama: Any, network: Any, pairs: Any) -> None:
    study = run(tiny_llama, network, pairs)
    compared = study.comparisons
    assert len(compared) == 2 * 2 * 3
    for row in compared.itertuples():
        here = study.table[
            (study.table["percent"] == row.percent) & (study.table["task"] == row.task)
        ]
        of_network = here.loc[here["kind"] == "network", "drop"].item()
        of_controls = here.loc[here["kind"] == row.kind, "drop"]
        assert row.draws == len(of_controls) == (1 if row.kind == "without-outliers" else 3)
        assert row.network_drop == pytest.approx(of_network)
        assert row.difference == pytest.approx(of_network - of_controls.mean())
        assert row.difference_low <= row.difference <= row.difference_high
        marked = here.loc[here["kind"] == row.kind, "difference"]
        assert (marked == row.difference).all()
    assert study.table.loc[study.table["kind"] == "network", "difference"].isna().all()


# -- statistics --------------------------------------------------------------------------------


def scores(n: int, seed: int, *, higher: bool = True) -> Scores:
    draw = np.random.default_rng(seed)
    return Scores(draw.normal(seed, 1, n), draw.integers(1, 9, n).astype(float), higher)


def ratio(value: Any, weight: Any, axis: int) -> Any:
    return value.sum(axis=axis) / weight.sum(axis=axis)


def test_intervals_of_drops_equal_scipys_paired_bootstrap() -> None:
    lesioned, intact = scores(80, 1), scores(80, 2)

    def statistic(v1: Any, w1: Any, v2: Any, w2: Any, axis: int = -1) -> Any:
        return ratio(v2, w2, axis) - ratio(v1, w1, axis)

    expected = scipy.stats.bootstrap(
        (lesioned.value, lesioned.weight, intact.value, intact.weight),
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    intervals = Intervals.over(80, n_resamples=20_000, confidence=0.95, seed=1)
    low, high = intervals.of_drop(lesioned, intact)
    assert low == pytest.approx(expected.low, abs=0.02 * (expected.high - expected.low))
    assert high == pytest.approx(expected.high, abs=0.02 * (expected.high - expected.low))


def test_intervals_of_differences_equal_a_loop() -> None:
    network, intact = scores(30, 5), scores(30, 9)
    drawn = [scores(30, seed) for seed in (1, 2, 3)]
    intervals = Intervals.over(30, n_resamples=4000, confidence=0.9, seed=4)
    low, high = intervals.of_difference(network, drawn, intact)
    rng = np.random.default_rng(0)
    sample = []
    for _ in range(4000):
        items = rng.integers(30, size=30)

        def lost(found: Scores, items: Any = items) -> float:
            means = [ratio(s.value[items], s.weight[items], 0) for s in (intact, found)]
            return means[0] - means[1]

        chosen = rng.integers(3, size=3)
        sample.append(lost(network) - np.mean([lost(drawn[i]) for i in chosen]))
    expected = np.quantile(sample, [0.05, 0.95])
    width = expected[1] - expected[0]
    np.testing.assert_allclose([low, high], expected, atol=0.06 * width)


def test_a_difference_of_nothing_is_covered_as_often_as_promised() -> None:
    covered = 0
    for trial in range(200):
        draw = np.random.default_rng(trial)
        hard = draw.normal(0, 1, 60)  # items differ; lesions do not
        intact, network = (Scores(hard + draw.normal(0, 0.5, 60), np.ones(60)) for _ in range(2))
        drawn = [Scores(hard + draw.normal(0, 0.5, 60), np.ones(60)) for _ in range(8)]
        intervals = Intervals.over(60, n_resamples=400, confidence=0.95, seed=trial)
        low, high = intervals.of_difference(network, drawn, intact)
        covered += low <= 0 <= high
    # Drawing controls adds to the interval what drawing items has in it already: no fewer.
    assert covered >= scipy.stats.binom(200, 0.95).ppf(0.005)


def test_drop_is_positive_for_harm() -> None:
    better, worse = Scores(np.array([1.0, 1]), np.ones(2)), Scores(np.array([0.0, 1]), np.ones(2))
    assert drop(worse, better) == 0.5
    losses = [Scores(s.value, s.weight, higher_is_better=False) for s in (worse, better)]
    assert drop(losses[1], losses[0]) == 0.5


def test_cohen_h_of_known_proportions() -> None:
    assert cohen_h(0.5, 0.5) == 0
    assert cohen_h(1.0, 0.0) == pytest.approx(math.pi)
    assert cohen_h(0.75, 0.5) == pytest.approx(math.pi / 6)


def test_one_item_has_no_interval() -> None:
    intervals = Intervals.over(1, n_resamples=50, confidence=0.95, seed=0)
    assert all(math.isnan(end) for end in intervals.of_drop(scores(1, 0), scores(1, 1)))


# -- what gave no number -------------------------------------------------------------------------


def without_value(n: int) -> Scores:
    return Scores(np.full(n, np.nan), np.ones(n))


def test_draws_without_a_number_are_left_out_of_intervals() -> None:
    network, intact = scores(30, 5), scores(30, 9)
    drawn = [scores(30, seed) for seed in (1, 2, 3)]
    intervals = Intervals.over(30, n_resamples=500, confidence=0.9, seed=4)
    two = intervals.of_difference(network, drawn[:2], intact)
    lost, silent = without_value(30), Scores(np.zeros(30), np.zeros(30))
    for more in ([lost], [silent], [lost, silent]):
        assert intervals.of_difference(network, [*drawn[:2], *more], intact) == two
        assert all(map(math.isnan, intervals.of_difference(network, [drawn[0], *more], intact)))
        assert all(map(math.isnan, intervals.of_difference(network, more, intact)))
    # One draw that was meant to be one has an interval over items.
    assert all(map(math.isfinite, intervals.of_difference(network, drawn[:1], intact)))
    for missing in (lost, silent):
        assert all(map(math.isnan, intervals.of_difference(missing, drawn, intact)))
        assert all(map(math.isnan, intervals.of_drop(missing, intact)))
        assert math.isnan(drop(missing, intact))
    assert mean_drop([math.nan, 0.25, 0.75]) == 0.5
    assert math.isnan(mean_drop([math.nan]))


def test_an_interval_needs_resamples_that_have_a_number() -> None:
    """Where nearly nothing was written, most resamples hold nothing to score."""
    value, weight = np.zeros(40), np.zeros(40)
    value[0], weight[0] = -3.0, 2.0
    intervals = Intervals.over(40, n_resamples=1000, confidence=0.95, seed=0)
    low, high = intervals.of_drop(Scores(value, weight), scores(40, 1))
    assert math.isnan(low)
    assert math.isnan(high)
    weight[:20] = 2.0  # a resample without any of these is rare
    assert all(map(math.isfinite, intervals.of_drop(Scores(value, weight), scores(40, 1))))


@dataclass(frozen=True)
class Moody:
    """A task that gives no number under lesions of some units."""

    lost: frozenset[str]
    name: str = "moody"

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": "moody"}

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        logits = model(torch.arange(40)[None] % 320, return_type="logits")[0].double()
        value = logits.mean(-1)
        if {h for found in open_lesions(model) for h in found.settings["masks"]} & self.lost:
            value[3] = math.nan
        items = pd.DataFrame({"value": value.tolist()})
        items = items.assign(item=[str(i) for i in items.index], group="all", weight=1.0)
        return TaskResult("moody", "mean logit", items)


@pytest.mark.parametrize(("seeds", "n_lost"), [(2, 1), (2, 2), (4, 1), (4, 0)])
def test_lost_draws_are_told_and_difference_and_interval_are_of_the_others(
    tiny_llama: Any, network: Any, seeds: int, n_lost: int
) -> None:
    mask = network.top(k=5)
    drawn = [found.mask for found in ll.controls("layer", seeds=range(seeds))(mask)]
    task = Moody(frozenset(mask_hash(found) for found in drawn[:n_lost]))

    def study(controls: Any, task: Any) -> ll.LesionStudy:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LensLocWarning)
            return lesion_study(
                tiny_llama, {"x": UnitMask(mask.site, mask.mask)}, [task], controls,
                n_resamples=200, progress=False,
            )  # fmt: skip

    found = study(ll.controls("layer", seeds=range(seeds)), task)
    rows = found.table[found.table["kind"] == "layer"]
    assert rows["finite"].tolist() == [False] * n_lost + [True] * (seeds - n_lost)
    assert rows["drop"].isna().tolist() == [False is ok for ok in rows["finite"]]
    told = [text for text in found.warnings if "draws gave no number for moody" in text]
    assert len(told) == (n_lost > 0)
    (compared,) = found.comparisons.to_dict("records")
    assert (compared["draws"], compared["draws_lost"]) == (seeds, n_lost)
    left = seeds - n_lost
    ends = [compared["difference_low"], compared["difference_high"]]
    if left < 2:
        assert "there is no interval" in told[0]
        assert np.isnan(ends).all()
        assert np.isnan(compared["difference"]) == (left == 0)
    else:
        mean = rows["drop"].dropna().mean()
        assert compared["control_drop"] == pytest.approx(mean)
        assert compared["difference"] == pytest.approx(compared["network_drop"] - mean)
        alone = study(ll.controls("layer", seeds=range(n_lost, seeds)), Moody(frozenset()))
        (expected,) = alone.comparisons.to_dict("records")
        for name in ("control_drop", "difference", "difference_low", "difference_high"):
            assert compared[name] == pytest.approx(expected[name])


def test_a_lesion_after_which_nothing_is_written(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        model.unembed.W_U[7] = 0
        model.unembed.W_U[7, 0] = 100  # of the end of text
    mask = UnitMask.from_addresses(["L2.resid_post.7"], (3, 32))
    task = tasks.generation(["the old gardener", "nobody in", "twelve"], max_new_tokens=3)
    with pytest.warns(LensLocWarning, match="has no score: nothing was there to be scored"):
        study = lesion_study(
            model, {"x": mask}, [task], ll.controls(seeds=range(2)),
            modes=[{"mode": "clamp", "value": 50.0}], n_resamples=50, progress=False,
        )  # fmt: skip
    network = study.table.iloc[0]
    assert network["finite"]
    assert math.isfinite(network["intact"])
    assert network[["score", "drop", "drop_low", "drop_high"]].isna().all()
    compared = study.comparisons.iloc[0]
    assert compared[["difference", "difference_low", "difference_high"]].isna().all()
    assert math.isfinite(compared["control_drop"])
    with (
        pytest.warns(LensLocWarning, match="Nothing was written after any prompt"),
        ll.lesion(model, mask, "clamp", value=50.0),
    ):
        result = task(model)
    assert result.items["weight"].tolist() == [0, 0, 0]
    assert math.isnan(result.groups["all"])
    assert result.is_finite


def test_a_task_of_one_item_has_no_interval(tiny_llama: Any, network: Any) -> None:
    study = lesion_study(
        tiny_llama, {"x": UnitMask("resid_post", network.top(k=5).mask)},
        [tasks.perplexity(TEXTS[:1])], ll.controls(seeds=range(3)), n_resamples=50, progress=False,
    )  # fmt: skip
    assert study.table["drop"].notna().all()
    ends = ["drop_low", "drop_high", "difference_low", "difference_high"]
    assert study.table[ends].isna().all().all()
    assert study.comparisons["difference"].notna().all()


def test_lesions_that_leave_ties_are_told(tiny_llama: Any, pairs: Any) -> None:
    whole = torch.zeros(3, 32, dtype=torch.bool)
    whole[2] = True
    few = UnitMask.from_addresses(["L2.resid_post.1"], (3, 32))
    masks = {"all": UnitMask("resid_post", whole), "few": few}
    with pytest.warns(LensLocWarning, match="Under 1 of 2 lesions more than 5 % of the items"):
        study = lesion_study(tiny_llama, masks, [pairs], n_resamples=20, progress=False)
    rows = study.table.set_index("network")
    assert rows.loc["all", "n_ties"] > 0
    assert rows.loc["few", "n_ties"] == 0
    with (
        pytest.warns(LensLocWarning, match="items of .* are ties"),
        ll.lesion(tiny_llama, masks["all"]),
    ):
        by_hand = pairs(tiny_llama)
    assert rows.loc["all", "score"] == by_hand.score
    assert rows.loc["all", "n_ties"] == by_hand.n_ties
    (sentence,) = [text for text in study.warnings if "most are" in text]
    assert f"most are {by_hand.n_ties} of 6, under all (zero, 33.3333 %, network)." in sentence


# -- going on where it stopped -----------------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """A task that counts its calls and may be interrupted."""

    calls: list[int]
    stop_at: int | None = None
    name: str = "counted"

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": "counted"}

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(1)
        logits = model(torch.arange(9)[None], return_type="logits")[0].double()
        items = pd.DataFrame({"value": logits.mean(-1).tolist()})
        items = items.assign(item=[str(i) for i in items.index], group="all", weight=1.0)
        return TaskResult("counted", "mean logit", items)


def test_an_interrupted_study_goes_on(tiny_llama: Any, network: Any, tmp_path: Path) -> None:
    store = Store.at(tmp_path)

    def study(calls: list[int], stop_at: int | None = None, **options: Any) -> ll.LesionStudy:
        return lesion_study(
            tiny_llama,
            {"language": network},
            [Counted(calls, stop_at)],
            ll.controls(seeds=range(4)),
            percents=[10],
            progress=False,
            n_resamples=50,
            **options,
        )

    first: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        study(first, stop_at=3, store=store)
    second: list[int] = []
    resumed = study(second, store=store)
    assert (len(first), len(second)) == (3, 3)  # of 1 intact and 5 lesions
    again: list[int] = []
    known = study(again, store=store)
    assert not again
    whole = study([])
    for other in (resumed, known):
        pd.testing.assert_frame_equal(other.table, whole.table)


def test_a_damaged_result_is_made_again(tiny_llama: Any, network: Any, tmp_path: Path) -> None:
    store = Store.at(tmp_path)

    def study(calls: list[int]) -> pd.DataFrame:
        found = lesion_study(
            tiny_llama,
            {"x": network},
            [Counted(calls)],
            percents=[10],
            progress=False,
            store=store,
        )
        return found.table

    expected = study([])
    for number, file in enumerate(sorted(tmp_path.glob("*.json"))):
        file.write_text(["{", '{"effect": null}'][number % 2])
    calls: list[int] = []
    pd.testing.assert_frame_equal(study(calls), expected)
    assert len(calls) == 2


def test_an_outer_lesion_is_another_key(tiny_llama: Any, network: Any, tmp_path: Path) -> None:
    store, calls = Store.at(tmp_path), []  # type: ignore[var-annotated]

    def study() -> float:
        found = lesion_study(
            tiny_llama, {"x": network}, [Counted(calls)], percents=[10], progress=False, store=store
        )
        return float(found.table["intact"].iloc[0])

    intact = study()
    with ll.lesion(tiny_llama, network.bottom(k=5)):
        lesioned = study()
    assert intact != lesioned
    assert len(calls) == 4
    assert study() == intact
    assert len(calls) == 4


def test_a_localization_under_a_lesion_is_another_key(
    tiny_llama: Any, small_contrast: Contrast, network: ll.Selectivity, tmp_path: Path
) -> None:
    store = Store.at(tmp_path)

    def localized() -> ll.Localization:
        return ll.localize(tiny_llama, small_contrast, progress=False, store=store)

    first = localized()
    with ll.lesion(tiny_llama, network.top(k=4)):
        lesioned = localized()
        assert localized().from_store == ("resid_post",)
    assert lesioned.from_store == ()
    assert lesioned["resid_post"].provenance.lesion == "zero of 4 units at resid_post"
    assert not torch.equal(lesioned["resid_post"].t, first["resid_post"].t)
    assert torch.equal(localized()["resid_post"].t, first["resid_post"].t)
    with tiny_llama.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda value, hook: value * 2)]):
        hooked = localized()  # by hooks that no key can name
        assert hooked.from_store == ()
    assert torch.equal(localized()["resid_post"].t, first["resid_post"].t)


# -- networks ------------------------------------------------------------------------------------


def test_masks_with_and_without_a_ranking(
    tiny_llama: Any, network: ll.Selectivity, pairs: Any, tmp_path: Path
) -> None:
    by_map = run(tiny_llama, network, pairs, controls=())
    saved = network.top(percent=50).save(tmp_path / "network.safetensors")
    by_file = run(tiny_llama, UnitMask.load(saved), pairs, controls=())
    pd.testing.assert_frame_equal(by_map.table, by_file.table)
    plain = UnitMask("resid_post", network.top(percent=20).mask)
    as_it_is = run(tiny_llama, plain, pairs, controls=(), percents=None)
    assert set(as_it_is.table["n_units"]) == {19}
    assert as_it_is.table["percent"].iloc[0] == pytest.approx(100 * 19 / 96)
    with pytest.raises(LensLocError, match="carries no ranking"):
        run(tiny_llama, plain, pairs)


def test_a_contrast_is_picked_on_the_half_that_the_task_leaves_out(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    texts = [text for found in small_contrast.conditions.values() for text in found]
    task = tasks.perplexity([text for text in texts if len(text.split()) > 2])
    study = lesion_study(
        tiny_llama, {"x": small_contrast}, [task], percents=[10], seed=3, progress=False
    )
    half, _ = small_contrast.split(3)
    picked_on = {text for found in half.conditions.values() for text in found}
    left = task.without(picked_on)
    assert 0 < len(left.texts) < len(task.texts)
    assert study.table["n_items"].item() == len(left.texts)
    mask = ll.localize(tiny_llama, half, progress=False).top(percent=10)
    with ll.lesion(tiny_llama, mask):
        assert study.table["score"].item() == left(tiny_llama).score
    other = tasks.perplexity(["something else that is no stimulus at all"])
    study = lesion_study(tiny_llama, {"x": small_contrast}, [other], percents=[10], progress=False)
    mask = ll.localize(tiny_llama, small_contrast, progress=False).top(percent=10)
    with ll.lesion(tiny_llama, mask):
        assert study.table["score"].item() == other(tiny_llama).score


def test_modes_with_a_reference(
    tiny_llama: Any, network: Any, pairs: Any, small_contrast: Contrast
) -> None:
    modes = ["mean", "resample", {"mode": "clamp", "quantile": 0.9}, "write"]
    study = run(
        tiny_llama,
        network,
        pairs,
        controls=(),
        percents=[20],
        modes=modes,
        reference=small_contrast,
    )
    assert list(dict.fromkeys(study.table["mode"])) == [
        "mean",
        "resample",
        "clamp quantile=0.9",
        "write",
    ]
    mask = network.top(percent=20)
    for mode in ("mean", "resample"):
        with ll.lesion(tiny_llama, mask, mode, reference=small_contrast):  # type: ignore[arg-type]
            expected = pairs(tiny_llama).score
        row = study.table[(study.table["mode"] == mode) & (study.table["task"] == "minimal-pairs")]
        assert row["score"].item() == expected


def test_a_lesion_without_effect_is_marked_and_told(
    checkpoints: dict[str, Path], pairs: Any
) -> None:
    model = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        model.blocks[2].mlp.W_out.zero_()
    mask = UnitMask.from_addresses(["L2.mlp_post.1"], (3, 48))
    with pytest.warns(LensLocWarning, match="took no effect"):
        study = lesion_study(model, {"dead": mask}, [pairs], progress=False)
    assert not study.table["took_effect"].any()
    assert len([sentence for sentence in study.warnings if "took no effect" in sentence]) == 1
    assert study.table["drop"].item() == 0


def test_bad_input_is_one_sentence(tiny_llama: Any, network: Any, pairs: Any) -> None:
    cases: list[tuple[str, Any]] = [
        ("no network", lambda: lesion_study(tiny_llama, {}, [pairs])),
        ("no task", lambda: lesion_study(tiny_llama, {"x": network}, [])),
        ("one name", lambda: lesion_study(tiny_llama, {"x": network}, [pairs, pairs])),
        ("percents is empty", lambda: run(tiny_llama, network, pairs, percents=[])),
        ("needs 57 units and only", lambda: run(tiny_llama, network, pairs, percents=[60])),
        ("needs scale", lambda: run(tiny_llama, network, pairs, modes=["scale"])),
        ("no mode 'cut'", lambda: run(tiny_llama, network, pairs, modes=[{"mode": "cut"}])),
        ("needs reference", lambda: run(tiny_llama, network, pairs, modes=["mean"])),
        ("confidence", lambda: run(tiny_llama, network, pairs, confidence=95)),
    ]
    for message, make in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


# -- figures -------------------------------------------------------------------------------------


def test_figures_show_the_table(tiny_llama: Any, network: Any, pairs: Any) -> None:
    study = run(tiny_llama, network, pairs)
    figure = plot.dose_response(study)
    assert isinstance(figure, go.Figure)
    curves = [t for t in figure.data if t.mode == "lines+markers"]
    assert len(curves) == 2 * 4
    first = study.table[(study.table["task"] == "minimal-pairs")]
    drawn = next(t for t in curves if t.name == "language")
    rows = first[first["kind"] == "network"].sort_values("percent")
    np.testing.assert_allclose(drawn.y, rows["drop"])
    np.testing.assert_allclose(drawn.x, [5, 20])
    control = next(t for t in curves if t.name == "control: layer")
    means = first[first["kind"] == "layer"].groupby("percent")["drop"].mean()
    np.testing.assert_allclose(control.y, means)
    assert figure.layout.xaxis.type == "log"
    bars = [t for t in plot.lesion_bars(study, percent=20).data if isinstance(t, go.Bar)]
    assert len(bars) == 2 * 4
    np.testing.assert_allclose(bars[0].y, rows["drop"].iloc[1:])
    with pytest.raises(LensLocError, match="no lesion of 3 %"):
        plot.lesion_bars(study, percent=3)


def test_no_warning_escapes_a_fine_study(tiny_llama: Any, network: Any, pairs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tiny_llama, network, pairs, controls=())


# -- what was asked for is what is lesioned --------------------------------------------------------


def of_study(model: Any, networks: Any, *measured: Any, **options: Any) -> ll.LesionStudy:
    settings = {"progress": False, "n_resamples": 50}
    return lesion_study(model, networks, list(measured), **{**settings, **options})


def test_a_mask_is_lesioned_as_it_is(tiny_llama: Any, network: ll.Selectivity, pairs: Any) -> None:
    masks = {
        "top": network.top(percent=10),
        "bottom": network.bottom(k=7),
        "both": network.top(k=4) | network.bottom(k=4),
        "drawn": network.top(k=5).random_like(0),
    }
    table = of_study(tiny_llama, masks, pairs).table.set_index("network")
    assert list(table["n_units"]) == [9, 7, 8, 5]
    assert table.loc["top", "percent"] == 10
    assert table.loc["bottom", "percent"] == pytest.approx(100 * 7 / 96)
    for name, mask in masks.items():
        with ll.lesion(tiny_llama, mask):
            assert table.loc[name, "score"] == pairs(tiny_llama).score
    cut = of_study(tiny_llama, {"bottom": masks["bottom"]}, pairs, percents=[3, 20]).table
    assert list(cut["n_units"]) == [2, 19]
    with ll.lesion(tiny_llama, network.bottom(percent=20)):
        assert cut["score"].iloc[1] == pairs(tiny_llama).score
    for name in ("both", "drawn"):
        with pytest.raises(LensLocError, match=f"The mask '{name}' carries no ranking"):
            of_study(tiny_llama, {name: masks[name]}, pairs, percents=[5])


def test_maps_and_contrasts_have_the_usual_sizes(
    tiny_llama: Any, network: ll.Selectivity, small_contrast: Contrast, pairs: Any
) -> None:
    networks = {"map": network, "contrast": small_contrast, "mask": network.top(k=3)}
    study = of_study(tiny_llama, networks, pairs)
    # Of sizes that come to one number of units, one is measured: 2 % and all below are one unit.
    sizes = {name: list(rows["percent"]) for name, rows in study.table.groupby("network")}
    assert sizes == {"map": [2, 5], "contrast": [2, 5], "mask": [pytest.approx(3.125)]}
    heads = ll.localize(tiny_llama, small_contrast, ["head"], progress=False)["head"]
    with pytest.warns(LensLocWarning, match="5 % of the 12 units at head is less than one unit"):
        assert list(of_study(tiny_llama, {"heads": heads}, pairs).table["n_units"]) == [1]
    several = {"map": [4, 10]}
    named = of_study(tiny_llama, {k: networks[k] for k in ("map", "mask")}, pairs, percents=several)
    assert list(named.table["n_units"]) == [3, 9, 3]
    with pytest.raises(LensLocError, match="percents names 'other', which is no network"):
        of_study(tiny_llama, networks, pairs, percents={"other": [1]})


def test_a_size_below_one_unit_is_one_unit_with_a_word(
    tiny_llama: Any, network: ll.Selectivity, pairs: Any
) -> None:
    with pytest.warns(LensLocWarning, match=r"x: [\d.]+ % of the 96 units at resid_post"):
        study = of_study(tiny_llama, {"x": network}, pairs, percents=[0.01, 1])
    assert list(study.table["n_units"]) == [1, 1]
    sizes = [w.split(" ")[1] for w in study.warnings if "is less than one unit" in w]
    assert sizes == ["0.01", "1"]


def test_language_neurons_of_a_tiny_model_are_lesioned_without_sizes(
    checkpoints: dict[str, Path], pairs: Any
) -> None:
    model = ll.load_model(checkpoints["llama"])
    texts = {"en": [TEXTS[0], TEXTS[1]], "xx": ["glorbix fendal mopi strane", "vash trisket mopi"]}
    counts = ll.lape.record(model, texts, max_tokens=12, window=12, progress=False)
    found = ll.lape.identify(counts, top_rate=0.1, filter_rate=0.5, bar=0.5)
    masks = {name: mask for name, mask in found.masks.items() if len(mask)}
    assert masks
    table = of_study(model, masks, pairs).table
    assert list(table["n_units"]) == [len(mask) for mask in masks.values()]


def test_contrasts_are_localized_where_they_are_told_to(
    tiny_llama: Any, small_contrast: Contrast, network: ll.Selectivity, pairs: Any
) -> None:
    study = of_study(
        tiny_llama, {"x": small_contrast, "y": network.top(k=2)}, pairs, site="mlp_post",
        percents={"x": [5]},
    )  # fmt: skip
    assert list(study.table["site"]) == ["mlp_post", "resid_post"]
    mask = ll.localize(tiny_llama, small_contrast, ["mlp_post"], progress=False).top(percent=5)
    with ll.lesion(tiny_llama, mask):
        assert study.table["score"].iloc[0] == pairs(tiny_llama).score
    with pytest.raises(LensLocError, match="site='mlp_post' says where contrasts are localized"):
        of_study(tiny_llama, {"y": network}, pairs, site="mlp_post")


# -- modes -----------------------------------------------------------------------------------------


def test_modes_with_any_argument_of_a_lesion(
    tiny_llama: Any, network: ll.Selectivity, small_contrast: Contrast, pairs: Any
) -> None:
    mask = network.top(k=9)
    values = torch.linspace(-3, 3, 96, dtype=torch.float64).reshape(3, 32)
    modes: list[Any] = [
        {"mode": "zero", "positions": "last"},
        {"mode": "clamp", "value": values},
        {"mode": "clamp", "value": -values},
        {"mode": "clamp", "value": torch.tensor(2.5)},
        {"mode": "clamp", "value": np.float32(0.5)},
        {"mode": "resample", "seed": 3, "reference": small_contrast},
        {"mode": "resample", "seed": 4, "reference": small_contrast},
        "zero",
    ]
    study = of_study(
        tiny_llama, {"x": mask}, pairs, modes=modes, controls=ll.controls("layer", seeds=[0])
    )
    labels = list(dict.fromkeys(study.table["mode"]))
    assert len(labels) == len(modes)
    assert labels[0] == "zero positions=last"
    assert all(label.startswith("clamp value=[3x32, ") for label in labels[1:3])
    assert labels[3:] == [
        "clamp value=2.5", "clamp value=0.5", "resample seed=3", "resample seed=4", "zero",
    ]  # fmt: skip
    rows = study.table[study.table["kind"] == "network"]
    for row, mode in zip(rows.itertuples(), modes, strict=True):
        options = {"mode": mode} if isinstance(mode, str) else dict(mode)
        if np.ndim(value := options.get("value")) == 0 and value is not None:
            options["value"] = float(value)
        with ll.lesion(tiny_llama, mask, **options):  # type: ignore[arg-type]
            assert row.score == pairs(tiny_llama).score


def test_two_references_are_told_apart_and_bad_modes_are_one_sentence(
    tiny_llama: Any, network: ll.Selectivity, small_contrast: Contrast, pairs: Any
) -> None:
    other = ll.Contrast.from_texts(
        {"a": ["the sun", "vash"], "b": ["mopi", "bridge"]}, target="a", control="b", name="other"
    )
    two: list[Any] = [{"mode": "mean", "reference": each} for each in (small_contrast, other)]
    study = of_study(tiny_llama, {"x": network.top(k=5)}, pairs, modes=two)
    assert list(study.table["mode"]) == ["mean reference=small", "mean reference=other"]
    cases: list[tuple[str, dict[str, Any]]] = [
        ("takes no 'position'", {"modes": [{"mode": "zero", "position": "last"}]}),
        ("'zero' is given twice", {"modes": ["zero", {"mode": "zero"}]}),
        ("modes is empty", {"modes": []}),
        ("reference is for the modes mean and resample", {"reference": small_contrast}),
        ("no mode '3'", {"modes": [{"mode": 3}]}),
    ]
    for message, options in cases:
        with pytest.raises(LensLocError, match=message) as caught:
            of_study(tiny_llama, {"x": network.top(k=5)}, pairs, **options)
        assert "\n" not in str(caught.value)


# -- texts that selected the units -----------------------------------------------------------------


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> tasks.MultipleChoice:
    file = tmp_path_factory.mktemp("choice") / "choice.jsonl"
    rows = [
        {"prompt": f"{text} and", "choices": ["the sun", f"the {word}"], "answer": 0}
        for text in TEXTS
        for word in ("bridge", "stone", "village", "plant")
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tasks.multiple_choice(file)


def shared_tasks(questions: tasks.MultipleChoice, pairs: Any) -> dict[str, tuple[Any, list[str]]]:
    asked = questions.questions
    return {
        "prompts": (questions, list(dict.fromkeys(q.prompt for q in asked))),
        "prompts with choices": (questions, [q.prompt + q.choices[1] for q in asked]),
        "choices": (questions, [q.choices[1].strip() for q in asked[:4]]),
        "another case": (questions, [(q.prompt + q.choices[0]).upper() for q in asked[:4]]),
        "sentences": (pairs, [pair.good for pair in pairs.pairs]),
        "texts": (tasks.perplexity(TEXTS), TEXTS),
        "beginnings": (tasks.generation(TEXTS, max_new_tokens=2), TEXTS),
    }


def shared_in(study: ll.LesionStudy) -> list[str]:
    """Return what a study says of texts that a task shares with what selected the units."""
    return [text for text in study.warnings if "are among those that the units" in text]


@pytest.mark.parametrize(
    "kind",
    ["prompts", "prompts with choices", "choices", "another case", "sentences", "texts",
     "beginnings"],
)  # fmt: skip
def test_texts_of_any_task_are_kept_apart_from_those_that_select(
    tiny_llama: Any, questions: tasks.MultipleChoice, pairs: Any, kind: str
) -> None:
    task, texts = shared_tasks(questions, pairs)[kind]
    others = [f"{word} mopi" for word in ("vash", "fendal", "strane", "trisket")]
    contrast = Contrast.from_texts(
        {"a": texts, "b": (others * 3)[: max(4, len(texts))]}, target="a", control="b"
    )
    mask = ll.localize(tiny_llama, contrast, progress=False).top(percent=10)
    told = of_study(tiny_llama, {"x": mask}, task)
    (warning,) = shared_in(told)
    n = len(set(map(str.casefold, texts)))
    assert warning.startswith(f"{n} texts of the task {task.name} are among those that the units")
    if kind in ("choices", "prompts"):
        return  # nothing would be left of the task
    study = of_study(tiny_llama, {"x": contrast}, task, percents=[10])
    assert not shared_in(study)
    half, _ = contrast.split(0)
    left = task.without(half.text_set)
    assert (
        study.table["n_items"].item() == len(left(tiny_llama).items) < len(task(tiny_llama).items)
    )
    units = ll.localize(tiny_llama, half, progress=False).top(percent=10)
    with ll.lesion(tiny_llama, units):
        assert study.table["score"].item() == left(tiny_llama).score


def test_nothing_left_is_one_sentence(questions: tasks.MultipleChoice) -> None:
    for task in (questions, tasks.generation(TEXTS), tasks.perplexity(TEXTS)):
        with pytest.raises(LensLocError, match="is left"):
            task.without(set(task.texts))


def test_a_task_that_does_not_say_what_it_reads_is_measured(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    study = of_study(tiny_llama, {"x": small_contrast}, Counted([]), percents=[10])
    assert not shared_in(study)

"""Draws measured in turn: fewer items and draws, the same answer, all of it paired."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lensloc as ll
from lensloc import LensLocError, lesion_study, tasks
from lensloc.lesions.lesioning import Effect
from lensloc.results.draws import compare
from lensloc.results.items import item_drops
from lensloc.results.lesions import LesionStudy, tabulate
from lensloc.results.sequential import Plan
from lensloc.studies.in_turn import draws_in_turn, items_of
from lensloc.tasks import TaskResult

N = 400


@dataclass(frozen=True)
class Cut:
    """A task of which some items may be taken."""

    rows: tuple[int, ...] = tuple(range(N))
    name: str = "cut"

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": "cut", "rows": list(self.rows)}

    def at(self, items: Any) -> "Cut":
        return dataclasses.replace(self, rows=tuple(self.rows[item] for item in items))

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        raise AssertionError


@dataclass(frozen=True)
class Whole:
    """One that cannot be cut."""

    name: str = "cut"
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        raise AssertionError


def result_of(values: np.ndarray, rows: Any = None) -> TaskResult:
    rows = range(len(values)) if rows is None else rows
    items = pd.DataFrame({"value": [values[row] for row in rows], "group": "all", "weight": 1.0})
    # As tasks do it: items are numbered anew.
    return TaskResult("cut", "accuracy", items.assign(item=[str(i) for i in range(len(items))]))


@dataclass
class Run:
    """Looks results up, and counts the items that were asked for."""

    values: list[np.ndarray]
    asked: list[tuple[int, int]] = field(default_factory=list)
    told: list[list[int]] = field(default_factory=list)

    def __call__(self, task: Any, draw: int, ahead: range) -> tuple[TaskResult, Effect]:
        rows = getattr(task, "rows", range(N))
        self.asked.append((draw, len(rows)))
        self.told.append(list(ahead))
        effect = Effect({"hook": 1}, changed=True, moved=1.0 + len(rows))
        return result_of(self.values[draw], rows), effect


def held(
    network: float, draws: list[float], task: Any = Cut(), exact: bool = False, seed: int = 0
) -> Any:
    """Accuracies -> rows of draws, comparison, what was asked for, and the same on all items."""
    rng = np.random.default_rng(seed)
    easy = rng.random(N)
    intact, own, *others = (
        (0.5 * easy + 0.5 * rng.random(N) < rate).astype(float) for rate in (0.8, network, *draws)
    )
    run, steps = Run(others), []
    rows, compared = draws_in_turn(
        run, len(draws), task, result_of(intact), result_of(own),
        kind="layer", exact=exact, confidence=0.95, seed=seed, advance=steps.append,
    )  # fmt: skip
    assert sum(steps) == len(draws)
    whole = items_of(result_of(intact))
    drops = [item_drops(items_of(result_of(values)), whole) for values in (own, *others)]
    return rows, compared, run.asked, compare(drops[0], drops[1:])


def test_a_clear_case_takes_a_quarter_of_the_items() -> None:
    rows, compared, asked, exact = held(0.3, [0.75] * 20)
    assert asked == [(draw, 100) for draw in range(20)]
    assert compared.n_items == 100
    assert compared.p_more == exact.p_more == pytest.approx(1 / 21)
    some = Plan().first_items(N, 0).tolist()
    for row in rows:
        assert row.result.items["item"].tolist() == [str(item) for item in some]
        assert row.beside(result_of(np.arange(N) * 1.0)).items["value"].tolist() == some
    assert compared.network == pytest.approx(exact.network, abs=0.15)


def test_a_network_in_the_midst_takes_few_draws_of_all_items() -> None:
    rows, compared, asked, _ = held(0.6, [0.55, 0.65] * 10)
    assert len(rows) == 5  # two on either side, and at least five for the interval
    by_draw = {draw: sum(n for number, n in asked if number == draw) for draw in range(5)}
    assert set(by_draw.values()) <= {100, N}
    assert N in by_draw.values()
    assert compared.min_p == pytest.approx(1 / 21)
    assert compared.p_more > 0.05


def test_parts_are_put_together_in_the_order_of_the_task() -> None:
    rows, _, asked, exact = held(0.6, [0.6] * 20, seed=3)
    whole = [row for row in rows if row.positions is None]
    assert whole
    for row in whole:
        assert row.result.items["item"].tolist() == [str(item) for item in range(N)]
        assert row.effect.moved == 301  # the larger of both parts
    drops = [draw for draw, row in zip(exact.draws, rows, strict=False) if row.positions is None]
    for row, drop in zip(whole, drops, strict=True):
        assert exact.network - drop == pytest.approx(row.result.mean - exact_mean(asked, exact, 3))


@pytest.mark.parametrize("exact", [True, False])
def test_the_draws_that_come_next_are_told(exact: bool) -> None:
    """All of them if all are measured, else those of the same five; none with the other items."""
    values = [np.zeros(N)] * 12
    run = Run(values)
    draws_in_turn(
        run, 12, Cut(), result_of(np.ones(N)), result_of(np.r_[np.zeros(N // 2), np.ones(N // 2)]),
        kind="layer", exact=exact, confidence=0.95, seed=0, advance=lambda n: None,
    )  # fmt: skip
    ends = [12] * 12 if exact else [5] * 5 + [10] * 5 + [12] * 2
    assert run.told == [list(range(draw + 1, end)) for draw, end in enumerate(ends)]
    close = Run([np.r_[np.zeros(N // 2), np.ones(N // 2)]] * 3)
    draws_in_turn(
        close, 3, Cut(), result_of(np.ones(N)), result_of(np.r_[np.ones(N // 2), np.zeros(N // 2)]),
        kind="layer", exact=False, confidence=0.95, seed=0, advance=lambda n: None,
    )  # fmt: skip
    parts = [told for (_, n), told in zip(close.asked, close.told, strict=True) if n == 100]
    assert parts == [[1, 2], [2], []]
    rest = [told for (_, n), told in zip(close.asked, close.told, strict=True) if n == 300]
    assert rest
    assert not any(rest)


def test_draws_that_change_nothing_do_no_harm_by_rounding() -> None:
    """Other batches round differently: that is no difference between idle draws and network."""
    rng = np.random.default_rng(0)
    intact = rng.normal(size=N)

    def idle(task: Any, draw: int, ahead: range) -> tuple[TaskResult, Effect]:
        return result_of(intact - 1e-7, task.rows), Effect({"hook": 1}, changed=False, moved=0.0)

    _, compared = draws_in_turn(
        idle, 20, Cut(), result_of(intact), result_of(intact),
        kind="layer", exact=False, confidence=0.95, seed=0, advance=lambda n: None,
    )  # fmt: skip
    assert compared.control == 0
    assert (compared.p_more, compared.p_less) == (1.0, 1.0)


def exact_mean(asked: Any, exact: Any, seed: int) -> float:
    """Return the network's accuracy, drawn as in :func:`held`."""
    rng = np.random.default_rng(seed)
    easy = rng.random(N)
    first, second = (0.5 * easy + 0.5 * rng.random(N) < rate for rate in (0.8, 0.6))
    assert exact.network == pytest.approx(first.mean() - second.mean())
    return float(second.mean())


@pytest.mark.parametrize(("task", "exact"), [(Whole(), False), (Cut(), True)])
def test_exact_measures_all_and_equals_the_comparison_by_hand(task: Any, exact: bool) -> None:
    rows, compared, asked, by_hand = held(0.3, [0.7] * 20, task, exact)
    assert asked == [(draw, N) for draw in range(20)]
    assert all(row.positions is None for row in rows)
    for name in ("network", "draws", "difference", "low", "high", "p_more", "p_less"):
        assert getattr(compared, name) == pytest.approx(getattr(by_hand, name)), name


# -- in a study ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tasks.MinimalPairs:
    words = "the old gardener watered every plant before sun came up nobody village".split()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(130):
        good = rng.permutation(words)[:6]
        rows.append((" ".join(good), " ".join(rng.permutation(good)), f"kind {number % 3}"))
    rows = [row for row in rows if row[0] != row[1]]
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    columns = ["sentence_good", "sentence_bad", "paradigm"]
    pd.DataFrame(rows, columns=columns).to_csv(file, index=False)
    return tasks.minimal_pairs(file, group="paradigm")


@pytest.fixture(scope="module")
def network(tiny_llama: Any, small_contrast: ll.Contrast) -> ll.Selectivity:
    return ll.localize(tiny_llama, small_contrast, progress=False)["resid_post"]


@pytest.fixture(scope="module")
def study(tiny_llama: Any, network: Any, pairs: Any) -> LesionStudy:
    wanted = [
        ll.controls("layer", seeds=range(6)),
        ll.controls((), masks={"mine": network.bottom(k=9)}),
    ]
    return lesion_study(
        tiny_llama, {"language": network}, [pairs], wanted, [10, 20], n_resamples=100,
        progress=False,
    )  # fmt: skip


def test_rows_of_a_part_stand_beside_the_intact_model_on_that_part(
    tiny_llama: Any, network: Any, pairs: Any, study: LesionStudy
) -> None:
    n = len(pairs.pairs)
    some = Plan().first_items(n, 0).tolist()
    assert len(some) == 60 < n
    intact = pairs(tiny_llama)
    parts = study.table[study.table["n_items"] == 60]
    wholes = study.table[study.table["n_items"] == n]
    assert {"network", "mine"} <= set(wholes["kind"])
    assert set(parts["kind"]) <= {"layer"}
    wanted = ll.controls("layer", seeds=range(6))
    for row in study.table[study.table["kind"] == "layer"].itertuples():
        mask = network.top(percent=row.percent)
        (control,) = (c.mask for c in wanted(mask) if c.seed == row.seed)
        assert row.dimensions_shared == 0
        with ll.lesion(tiny_llama, control):
            task = pairs.at(some) if row.n_items == 60 else pairs
            by_hand = task(tiny_llama)
        assert row.score == pytest.approx(by_hand.score)
        beside = intact.at(some) if row.n_items == 60 else intact
        assert row.intact == pytest.approx(beside.score)
        assert row.drop == pytest.approx(beside.score - by_hand.score)


def test_comparisons_are_of_the_same_items(
    tiny_llama: Any, network: Any, pairs: Any, study: LesionStudy
) -> None:
    exact = lesion_study(
        tiny_llama, {"language": network}, [pairs], ll.controls("layer", seeds=range(6)), [10, 20],
        n_resamples=100, exact=True, progress=False,
    )  # fmt: skip
    assert set(exact.table["n_items"]) == {len(pairs.pairs)}
    for row in study.comparisons[study.comparisons["kind"] == "layer"].itertuples():
        items = study.items[
            (study.items["percent"] == row.percent) & (study.items["kind"] == "network")
        ]
        drops = (items["intact"] - items["value"]).to_numpy()
        some = Plan().first_items(len(drops), 0)
        part = drops if row.n_compared == len(drops) else drops[some]
        assert row.network_drop == pytest.approx(part.mean())
        assert row.difference == pytest.approx(row.network_drop - row.control_drop)
        alike = exact.comparisons.set_index("percent").loc[row.percent]
        assert (row.p_more <= 0.05) == (alike["p_more"] <= 0.05)
    given = study.comparisons[study.comparisons["kind"] == "mine"]
    assert given["p_more"].isna().all()
    assert given["difference_low"].notna().all()


def test_items_are_those_of_the_lesions(study: LesionStudy) -> None:
    for row in study.table.itertuples():
        mine = study.items[
            (study.items["percent"] == row.percent) & (study.items["kind"] == row.kind)
        ]
        seeds = mine["seed"].isna() if pd.isna(row.seed) else mine["seed"] == row.seed
        mine = mine[seeds]
        assert len(mine) == row.n_items
        assert mine["value"].mean() == pytest.approx(row.score)
        assert mine["intact"].mean() == pytest.approx(row.intact)
        assert mine["item"].is_unique


def test_groups_against_sums_by_hand(study: LesionStudy) -> None:
    table = study.by_group()
    assert set(table["group"]) == {"kind 0", "kind 1", "kind 2"}
    for row in table.itertuples():
        mine = study.items[
            (study.items["percent"] == row.percent)
            & (study.items["kind"] == row.kind)
            & (study.items["group"] == row.group)
        ]
        by_draw = [found for _, found in mine.groupby(mine["seed"].fillna(-1))]
        assert row.draws == len(by_draw)
        drops = [(found["intact"] - found["value"]).mean() for found in by_draw]
        assert row.drop == pytest.approx(np.mean(drops))
        if row.kind == "network":
            change = (mine["intact"] - mine["value"]).to_numpy()
            lost, gained = int((change > 0).sum()), int((change < 0).sum())
            p = stats.binom.sf(lost - 1, lost + gained, 0.5) if lost + gained else 1.0
            assert row.p == pytest.approx(p)
    assert table["kind"].iloc[0] == "network"
    with pytest.raises(LensLocError, match="no network 'x' in this study; there are language"):
        study.by_group(network="x")
    with pytest.raises(LensLocError, match="grouped by 'group' or 'phenomenon'"):
        study.by_group("paradigm")
    with pytest.raises(LensLocError, match="holds no items"):
        LesionStudy(tabulate([])).by_group()


def test_what_falls_first() -> None:
    """Planted: agreement falls at 1 %, islands at 2 %, binding never, and 3 items tell nothing."""
    parts = []
    falls = {"agreement": 1.0, "islands": 2.0, "binding": 9.0, "few": 0.5}
    for percent in (0.5, 1.0, 2.0):
        for group, at in falls.items():
            n = 3 if group == "few" else 30
            value = np.where(np.arange(n) < (0.8 * n if percent >= at else 0), 0.0, 1.0)
            parts.append(
                pd.DataFrame({
                    "network": "language", "mode": "zero", "percent": percent, "kind": "network",
                    "seed": pd.array([None] * n, dtype="Int64"), "task": "pairs",
                    "item": [str(i) for i in range(n)], "group": group, "phenomenon": "",
                    "intact": 1.0, "intact_weight": 1.0, "value": value, "weight": 1.0,
                    "higher_is_better": True,
                })
            )  # fmt: skip
    found = LesionStudy(tabulate([]), items=pd.concat(parts, ignore_index=True)).by_group()
    at = found[found["percent"] == 2.0].set_index("group")["falls_at"]
    assert list(at.index) == ["agreement", "islands", "few", "binding"]
    assert at["agreement"] == 1.0
    assert at["islands"] == 2.0
    assert at[["few", "binding"]].isna().all()
    draws = [
        part.assign(kind="layer", seed=pd.array([seed] * len(part), dtype="Int64"),
                    value=part["intact"] if seed else part["value"])
        for part in parts
        for seed in (0, 1)
    ]  # fmt: skip
    study = LesionStudy(tabulate([]), items=pd.concat([*parts, *draws], ignore_index=True))
    (told,) = study.summary(2.0)
    assert told == (
        "Of the 4 groups of pairs, agreement (drop 0.80 at 2 %; random units of the same layers "
        "0.40) falls first under the lesion of language, from 1 % of the units on; 2 others cannot "
        "be said to fall at any size."
    )
    named = [part.assign(phenomenon=part["group"].iloc[0][:1]) for part in parts]
    (told,) = LesionStudy(tabulate([]), items=pd.concat(named, ignore_index=True)).summary()
    assert "Of the 4 phenomena of pairs, a (drop 0.80 at 1 %) falls first" in told
    still = [part[part["percent"] < 1].assign(value=1.0) for part in parts]
    assert LesionStudy(tabulate([]), items=pd.concat(still, ignore_index=True)).summary() == []
    with pytest.raises(LensLocError, match="No task of this study has groups by 'phenomenon'"):
        LesionStudy(tabulate([]), items=pd.concat(parts)).by_group("phenomenon")


# -- modes -----------------------------------------------------------------------------------------


def test_dimensions_in_every_layer(
    tiny_llama: Any, network: Any, pairs: Any, small_contrast: ll.Contrast
) -> None:
    mask = network.top(k=4)
    wide = mask.throughout()
    assert wide.mask.tolist() == [mask.mask.any(0).tolist()] * 3
    modes: list[Any] = ["zero", "mean", "dims-mean", {"mode": "dims-scale", "scale": 0.5}]
    found = lesion_study(
        tiny_llama, {"x": mask}, [pairs], ll.controls("dimension", seeds=range(2)), modes=modes,
        reference=small_contrast, n_resamples=50, progress=False, exact=True,
    )  # fmt: skip
    rows = found.table.set_index(["mode", "kind", "seed"])["score"]
    for label, units, options in (
        ("mean", mask, {"mode": "mean", "reference": small_contrast}),
        ("dims-mean", wide, {"mode": "mean", "reference": small_contrast}),
        ("dims-scale scale=0.5", wide, {"mode": "scale", "scale": 0.5}),
    ):
        (control, _) = (c.mask for c in ll.controls("dimension", seeds=range(2))(units))
        for kind, lesioned in (("network", units), ("dimension", control)):
            with ll.lesion(tiny_llama, lesioned, **options):  # type: ignore[arg-type]
                expected = pairs(tiny_llama).score
            mine = found.table[(found.table["mode"] == label) & (found.table["kind"] == kind)]
            assert mine["score"].iloc[0] == pytest.approx(expected)
            assert mine["n_units"].iloc[0] == len(units)
    assert len(rows) == 4 * 3
    neurons = ll.UnitMask("mlp_post", mask.mask)
    with pytest.raises(LensLocError, match="Only dimensions of the residual stream recur"):
        lesion_study(tiny_llama, {"x": neurons}, [pairs], modes=["dims-zero"], progress=False)
    figure = ll.plot.ablation_modes(found)
    assert {trace.name for trace in figure.data} == {"x", "control: dimension"}
    drops = found.table[found.table["kind"] == "network"]["drop"].tolist()
    (bars,) = (trace for trace in figure.data if trace.name == "x")
    assert list(bars.y) == pytest.approx(drops)
    assert [label.split("<br>")[0] for label in bars.x][:3] == ["zero", "mean", "dims-mean"]


def test_a_study_compares_what_units_become(
    tiny_llama: Any, small_contrast: ll.Contrast, pairs: Any, tmp_path: Path
) -> None:
    found = ll.study(
        tiny_llama, small_contrast, percent=10, tasks=[pairs], n_splits=0, progress=False,
        controls=ll.controls("magnitude+outliers", seeds=range(3)),
    )  # fmt: skip
    assert found.modes is not None
    assert list(found.modes.table["mode"]) == ["zero", "mean", "resample", "dims-mean"]
    assert found.lesions is not None
    assert set(found.lesions.table["mode"]) == {"zero"}
    assert not any("no controls beside them" in sentence for sentence in found.warnings)
    page = ll.report(found, tmp_path / "page.html").read_text()
    for words in ("What the units become", "What falls first", "How alike network and controls",
                  "of the test over draws"):  # fmt: skip
        assert words in page, words
    heads = ll.study(
        tiny_llama, small_contrast, ["head"], percent=10, tasks=[pairs], n_splits=0,
        modes=["zero"], progress=False,
    )  # fmt: skip
    assert heads.modes is None
    with pytest.raises(LensLocError, match="modes and exact have no effect here"):
        ll.study(tiny_llama, small_contrast, modes=["zero"], exact=True, progress=False)
    with pytest.raises(LensLocError, match="without controls there are no draws"):
        ll.study(tiny_llama, small_contrast, tasks=[pairs], exact=True, progress=False)

"""Nuisances regressed out, against a regression written out; and statistics of one's own."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import lensloc as ll
from lensloc import LensLocError
from lensloc.selectivity.statistics import known_test

TARGET, CONTROL = ("a", "b"), ("c",)


def responses(seed: int = 0, n: int = 40, scale: float = 1.0) -> tuple[ll.Responses, Any]:
    """Units of which some follow a nuisance, some the side, and some both."""
    draw = np.random.default_rng(seed)
    labels = tuple(np.array(["a", "b", "c", "other"])[draw.integers(0, 4, size=n)])
    side = np.isin(labels, TARGET)
    length = draw.normal(size=n) + 1.5 * side
    surprisal = draw.gamma(2, size=n)
    values = (
        draw.normal(size=(n, 2, 4))
        + np.stack([np.zeros(n), length, side, 2.0 * length - side], axis=1)[:, None]
        * np.array([1.0, 3.0])[:, None]
    )
    table = pd.DataFrame({"length": length, "surprisal": surprisal})
    return ll.Responses("head", torch.from_numpy(scale * values), labels), table


def by_hand(y: Any, side: Any, nuisance: Any) -> dict[str, float]:
    """Ordinary least squares by the normal equations, as a textbook has it."""
    design = np.column_stack([np.ones(len(y)), side, nuisance])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    df = len(y) - design.shape[1]
    variance = ((y - design @ beta) ** 2).sum() / df
    t = beta[1] / np.sqrt(variance * inverse[1, 1])
    at_mean = beta[0] + beta[2:] @ nuisance.mean(axis=0)
    return {
        "t": t,
        "p": 2 * stats.t.sf(abs(t), df),
        "df": df,
        "d": beta[1] / np.sqrt(variance),
        "mean_target": at_mean + beta[1],
        "mean_control": at_mean,
    }


@pytest.mark.parametrize("absolute", [True, False])
def test_every_number_is_that_of_a_regression_by_hand(absolute: bool) -> None:
    found_in, table = responses()
    found = ll.adjusted_for(table)(found_in, TARGET, CONTROL, absolute=absolute)
    rows = [n for n, name in enumerate(found_in.conditions) if name != "other"]
    side = np.array([found_in.conditions[n] in TARGET for n in rows], dtype=float)
    for layer in range(2):
        for unit in range(4):
            y = found_in.values[rows, layer, unit].numpy()
            known = by_hand(np.abs(y) if absolute else y, side, table.to_numpy()[rows])
            for name, value in known.items():
                assert getattr(found, name)[layer, unit].item() == pytest.approx(value, rel=1e-9)
    q = stats.false_discovery_control(found.p.numpy().ravel()).reshape(found.p.shape)
    np.testing.assert_allclose(found.q.numpy(), q)
    assert found.provenance.test == "adjusted for length, surprisal"


def test_without_a_nuisance_that_varies_it_is_students_t() -> None:
    found_in, table = responses()
    sides = [found_in.of(names).numpy() for names in (TARGET, CONTROL)]
    known = stats.ttest_ind(*sides, equal_var=True)
    constant = ll.adjusted_for({"length": np.full(len(table), 7.0)})
    found = constant(found_in, TARGET, CONTROL, absolute=False)
    np.testing.assert_allclose(found.t.numpy(), known.statistic)
    np.testing.assert_allclose(found.df.numpy(), len(sides[0]) + len(sides[1]) - 2)


def test_what_is_told_twice_is_regressed_out_once() -> None:
    found_in, table = responses()
    twice = table.assign(again=3 * table["length"] - 1, constant=1.0, big=1e9 * table["surprisal"])
    one, other = (
        ll.adjusted_for(each)(found_in, TARGET, CONTROL, absolute=False) for each in (table, twice)
    )
    torch.testing.assert_close(one.t, other.t)
    assert torch.equal(one.df, other.df)


def test_a_unit_that_only_follows_length_is_no_longer_selective() -> None:
    found_in, table = responses(n=400)
    plain = ll.welch(found_in, TARGET, CONTROL, absolute=False)
    found = ll.adjusted_for(table)(found_in, TARGET, CONTROL, absolute=False)
    assert plain.t[1, 1] > 8
    assert abs(found.t[1, 1]) < 3
    assert found.t[1, 2] > 8
    assert plain.t[0, 3] > 0  # length hides that it prefers the control
    assert found.t[0, 3] < -4


def test_units_without_a_response_have_none() -> None:
    found_in, table = responses()
    values = found_in.values.clone()
    values[:, 0, 0], values[:, 1, 1] = 0.0, 1e6
    still = ll.Responses("head", values, found_in.conditions)
    found = ll.adjusted_for(table)(still, TARGET, CONTROL)
    assert found.t[0, 0] == found.t[1, 1] == 0
    assert found.p[0, 0] == 1


def test_what_cannot_be_regressed_out_is_told() -> None:
    found_in, table = responses()
    side = np.isin(found_in.conditions, TARGET).astype(float)
    cases: dict[str, Any] = {
        "tell target and control apart by themselves": {"length": 3 * side + 1},
        "There are nuisances of 39 stimuli and responses to 40": table.iloc[:39],
        "There is no nuisance to regress out": {},
        "The nuisance 'x' of stimulus 2 is 'nan'": {"x": [1.0, np.nan] + [0.0] * 38},
        "The nuisance 'x' of stimulus 1 is 'long'": {"x": ["long"] * 40},
    }
    for sentence, given in cases.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.adjusted_for(given)(found_in, TARGET, CONTROL)
    few = found_in.at([n for n, name in enumerate(found_in.conditions) if name != "other"][:6])
    draws = np.random.default_rng(0).normal(size=(6, 5))
    labels = ("a", "a", "a", "c", "c", "c")
    few = ll.Responses("head", few.values, labels)
    with pytest.raises(LensLocError, match="6 stimuli are too few to regress out 5 nuisances"):
        ll.adjusted_for(pd.DataFrame(draws))(few, ("a",), ("c",))


def is_level(hits: int, trials: int, level: float = 0.05) -> bool:
    """Whether so many hits are what the level gives; a miss in one of a thousand tests."""
    return bool(stats.binomtest(hits, trials, level).pvalue > 0.001)


def null(draw: Any, n: tuple[int, int], units: int) -> tuple[ll.Responses, pd.DataFrame]:
    """Units that follow length and surprisal alone, in which the sides differ."""
    labels = ("a",) * n[0] + ("b",) * n[1]
    side = np.array(labels) == "a"
    table = pd.DataFrame({
        "length": draw.poisson(8, size=len(side)) + 4.0 * side,
        "surprisal": draw.gamma(2, size=len(side)) - side,
    })  # fmt: skip
    follows = table.to_numpy() @ draw.normal(size=(2, units))
    values = 100 + follows + draw.normal(size=follows.shape) * draw.gamma(2, size=units)
    return ll.Responses("head", torch.from_numpy(values[:, None]), labels), table


@pytest.mark.parametrize("n", [(7, 7), (30, 30), (40, 10)])
def test_units_that_only_follow_nuisances_are_found_at_the_level(n: tuple[int, int]) -> None:
    draw, units = np.random.default_rng(sum(n)), 500
    hits = {0.05: 0, 0.01: 0}
    plain = 0
    for _ in range(8):
        found_in, table = null(draw, n, units)
        p = ll.adjusted_for(table)(found_in, ("a",), ("b",)).p
        hits = {level: known + int((p < level).sum()) for level, known in hits.items()}
        plain += int((ll.welch(found_in, ("a",), ("b",)).p < 0.05).sum())
    assert all(is_level(known, 8 * units, level) for level, known in hits.items())
    assert plain > 0.2 * 8 * units  # what nuisances alone would pass for


def test_sides_of_one_size_may_differ_in_spread() -> None:
    draw, units, hits = np.random.default_rng(2), 500, 0
    for _ in range(8):
        found_in, table = null(draw, (25, 25), units)
        wider = found_in.values.clone()
        wider[25:] += torch.from_numpy(30 * draw.normal(size=(25, 1, units)))
        spread = ll.Responses("head", wider, found_in.conditions)
        p = ll.adjusted_for(table)(spread, ("a",), ("b",), absolute=False).p
        hits += int((p < 0.05).sum())
    assert 0.04 < hits / (8 * units) < 0.07


def test_no_unit_is_significant_after_adjusting_in_all_but_one_study_of_twenty() -> None:
    draw, trials = np.random.default_rng(1), 300
    hits = 0
    for _ in range(trials):
        found_in, table = null(draw, (12, 12), 30)
        q = ll.adjusted_for(table)(found_in, ("a",), ("b",)).q
        hits += bool((q < 0.05).any())
    assert is_level(hits, trials)


def test_what_is_no_table_of_nuisances_is_told() -> None:
    found_in, table = responses()
    twice = pd.concat([table[["length"]], table[["length"]]], axis=1)
    for given in ({"x": 1}, {"x": [1.0, 2.0], "y": [1.0]}, {"x": np.zeros((2, 2))}):
        with pytest.raises(LensLocError, match="Nuisances are a table with one row per stimulus"):
            ll.adjusted_for(given)(found_in, TARGET, CONTROL)
    with pytest.raises(LensLocError, match="Two nuisances are called 'length'"):
        ll.adjusted_for(twice)


# -- of a model ------------------------------------------------------------------------------------


@pytest.fixture
def contrast() -> ll.Contrast:
    texts = {
        "a": ["the old gardener watered every plant", "nobody remembered", "the sun", "the village",
              "before the sun came up"],
        "b": ["vash mopi", "wuggle trisket plonder vash", "fendal", "strane wuggle mopi", "mopi"],
    }  # fmt: skip
    return ll.Contrast.from_texts(texts, target="a", control="b", name="small")


def test_localize_regresses_out_what_is_named(tiny_llama: Any, contrast: ll.Contrast) -> None:
    names = ["tokens", "surprisal", "words"]
    table = ll.nuisances(tiny_llama, contrast, names, bos="add", progress=False)
    for text, row in zip(contrast.texts, table.to_dict("records"), strict=True):
        own = tiny_llama.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tiny_llama.tokenizer.bos_token_id, *own]])
        logits = tiny_llama(ids)[0, :-1].double().log_softmax(-1)
        surprisal = -logits.gather(1, ids[0, 1:, None]).mean().item()
        assert row["tokens"] == ids.shape[1]
        assert row["words"] == len(text.split())
        assert row["surprisal"] == pytest.approx(surprisal, rel=1e-5)
    options: dict[str, Any] = {"bos": "add", "progress": False}
    found = ll.localize(tiny_llama, contrast, nuisance=names, keep_responses=True, **options)
    plain = ll.localize(tiny_llama, contrast, keep_responses=True, **options)
    map_ = found["resid_post"]
    known = ll.adjusted_for(table)(plain.responses["resid_post"], ("a",), ("b",))
    torch.testing.assert_close(map_.t, known.t)
    given = ll.localize(tiny_llama, contrast, nuisance=table, **options)
    torch.testing.assert_close(given["resid_post"].t, known.t)
    assert map_.provenance.test == "adjusted for tokens, surprisal, words"
    assert not torch.allclose(map_.t, plain["resid_post"].t)
    with pytest.raises(LensLocError, match="of which there is no permutation test; say test="):
        found.max_t()


def test_nuisances_are_those_of_what_is_read(tiny_llama: Any) -> None:
    """Of texts that the window cuts, no more is measured than is read."""
    window = tiny_llama.cfg.n_ctx
    long = "the old gardener watered every plant "
    texts = {
        "a": [long * window, long * 2, "the sun", "nobody remembered"],
        "b": ["vash mopi", "wuggle " * 3, "wuggle mopi " * window, "fendal mopi"],
    }
    cut = ll.Contrast.from_texts(texts, target="a", control="b", name="long")
    names, given = ["tokens", "surprisal"], {"truncate": True, "progress": False}
    found = ll.localize(tiny_llama, cut, nuisance=names, **given)
    table = ll.nuisances(tiny_llama, cut, names, max_tokens=window, progress=False)
    assert table["tokens"].max() == window
    known = ll.localize(tiny_llama, cut, nuisance=table, **given)
    torch.testing.assert_close(found["resid_post"].t, known["resid_post"].t)


def test_a_store_tells_nuisances_apart(
    tiny_llama: Any, contrast: ll.Contrast, tmp_path: Any
) -> None:
    def found(**more: Any) -> ll.Localization:
        return ll.localize(tiny_llama, contrast, store=str(tmp_path), progress=False, **more)

    first = {"x": np.arange(10.0) % 3}
    other = {"x": np.arange(10.0) % 4}
    runs = [found(), found(nuisance=pd.DataFrame(first)), found(nuisance=pd.DataFrame(other)),
            found(nuisance=["words"])]  # fmt: skip
    assert all(run.from_store == () for run in runs)
    again = found(nuisance=pd.DataFrame(first))
    assert again.from_store == ("resid_post",)
    assert torch.equal(again["resid_post"].t, runs[1]["resid_post"].t)


def test_what_is_no_nuisance_is_told(tiny_llama: Any, contrast: ll.Contrast) -> None:
    cases: dict[str, Any] = {
        "'height' is no nuisance that is measured here; there are tokens, characters": ["height"],
        "No nuisance was named": [],
        "nuisance has 3 rows, and target and control 10 stimuli": pd.DataFrame({"x": [1, 2, 3]}),
    }
    for sentence, given in cases.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.localize(tiny_llama, contrast, nuisance=given, progress=False)
    with pytest.raises(LensLocError, match="test has no effect here: nuisances are regressed out"):
        ll.localize(tiny_llama, contrast, nuisance=["words"], test="welch", progress=False)
    with pytest.raises(LensLocError, match="language has no effect here: it is of words"):
        ll.nuisances(tiny_llama, contrast, ["words"], language="de")
    arrays = {name: np.random.default_rng(0).normal(size=(4, 3)) for name in "ab"}
    of_arrays = ll.Contrast.from_arrays(arrays, target="a", control="b")
    with pytest.raises(LensLocError, match="bos and max_tokens have no effect here"):
        ll.nuisances(tiny_llama, of_arrays, ["mean"], bos="add", max_tokens=2)
    wrapped = ll.wrap(torch.nn.Sequential(torch.nn.Linear(3, 2)), {"first": "0"})
    for name in ("tokens", "surprisal"):
        with pytest.raises(LensLocError, match="run on its own stimuli and not on tokens"):
            ll.nuisances(wrapped, contrast, [name])


# -- one's own -------------------------------------------------------------------------------------


def medians(target: Any, control: Any) -> Any:
    return target.median(dim=0).values - control.median(dim=0).values


def test_a_function_of_two_arrays_is_a_statistic(tiny_llama: Any, contrast: ll.Contrast) -> None:
    mine = ll.statistic(medians)
    found = ll.localize(tiny_llama, contrast, test=mine, keep_responses=True, progress=False)
    kept = found.responses["resid_post"]
    a, b = (kept.of((name,)).double().abs() for name in "ab")
    torch.testing.assert_close(found["resid_post"].t, medians(a, b))
    assert found["resid_post"].provenance.test == "medians"
    with pytest.warns(ll.LensLocWarning, match="noise"):
        assert len(found.top(k=3)) == 3
    assert isinstance(mine, ll.Statistic)
    assert isinstance(ll.welch, ll.Statistic)


def test_a_statistic_with_p_says_what_is_significant() -> None:
    found_in, _ = responses(n=200)

    def ranks(target: Any, control: Any) -> Any:
        found = stats.mannwhitneyu(target.numpy(), control.numpy())
        return found.statistic / (len(target) * len(control)) - 0.5, found.pvalue

    found = ll.statistic(ranks)(found_in, TARGET, CONTROL, absolute=False)
    sides = [found_in.of(names).numpy() for names in (TARGET, CONTROL)]
    known = stats.mannwhitneyu(*sides)
    np.testing.assert_allclose(found.p.numpy(), known.pvalue)
    auc = ll.discrimination(found_in, TARGET, CONTROL, absolute=False).auc
    torch.testing.assert_close(found.t + 0.5, auc)
    assert found.significant(0.05).mask[1, 2]


def test_a_statistic_is_kept_if_it_says_what_it_depends_on(
    tiny_llama: Any, contrast: ll.Contrast, tmp_path: Any
) -> None:
    def run(test: Any) -> tuple[str, ...]:
        return ll.localize(
            tiny_llama, contrast, test=test, store=tmp_path, progress=False
        ).from_store

    silent, telling = ll.statistic(medians), ll.statistic(medians, settings={"version": 1})
    assert [run(silent), run(silent), run(telling), run(telling)] == [(), (), (), ("resid_post",)]
    assert run(ll.statistic(medians, settings={"version": 2})) == ()


def test_a_test_is_the_same_by_name_and_as_a_function(
    tiny_llama: Any, contrast: ll.Contrast, tmp_path: Any
) -> None:
    """Pairs are by item, so that other items are another test."""

    def found(items: str, test: Any) -> ll.Localization:
        pairs = dataclasses.replace(contrast, items={"a": tuple("12345"), "b": tuple(items)})
        return ll.localize(tiny_llama, pairs, test=test, store=tmp_path, progress=False)

    class ByItem:
        name, settings = "by item", {"version": 1}

        def __call__(self, responses: Any, target: Any, control: Any, **options: Any) -> Any:
            return ll.paired(responses, target, control, **options)

    for named, given in (("paired", ll.paired), ("paired", "paired"), ("by item", ByItem())):
        one, other = found("12345", given), found("54321", given)
        assert not torch.allclose(one["resid_post"].t, other["resid_post"].t), named
        assert one["resid_post"].provenance.test == named
    assert found("54321", ll.paired).from_store == ("resid_post",)


def test_what_is_no_statistic_is_told(tiny_llama: Any, contrast: ll.Contrast) -> None:
    def fails(target: Any, control: Any) -> Any:
        return {}["gone"]

    cases: dict[str, Any] = {
        r"'medians' is no statistic of \(responses, .*of a function of two arrays": medians,
        "called 'welch', as one of lensloc's is": ll.statistic(medians, name="welch", settings={}),
        r"The statistic 'fails' failed \(KeyError: 'gone'\)": ll.statistic(fails),
    }
    for sentence, given in cases.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.localize(tiny_llama, contrast, test=given, progress=False)
    with pytest.raises(LensLocError, match="There is no test 'student'; there are welch, paired"):
        known_test("student")
    with pytest.raises(LensLocError, match="int is neither"):
        known_test(5)


def test_a_statistic_that_gives_something_else_is_told() -> None:
    found_in, _ = responses()
    cases: dict[str, Any] = {
        r"array of shape \(4,\), and not one number for each of 2x4 units": lambda a, b: a.mean(
            dim=(0, 1)
        ),
        "gives str, and not one number per unit": lambda a, b: "large",
        r"no number for the unit L0.head.0 \(nan\)": lambda a, b: a.mean(0) * torch.nan,
        "p that do not lie between 0 and 1": lambda a, b: (a.mean(0), a.mean(0) + 9),
    }
    for sentence, function in cases.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.statistic(function, name="mine")(found_in, TARGET, CONTROL)

"""Reading times: gains of surprisal against scikit-learn, lesions, readers, bad input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

import lensloc as ll
from lensloc import LensLocError, UnitMask
from lensloc.alignment.regression import cross_validated, shifted
from lensloc.alignment.splits import make_folds
from lensloc.contrasts.frequency import zipf_frequencies

pytestmark = pytest.mark.usefixtures("one_thread")

LEXICON = (
    "the old gardener watered every plant before sun came up nobody in village remembered who had "
    "built stone bridge twelve plus nineteen is thirty one and nothing else at all"
).split()
STORIES, LENGTH = 8, 60


def words() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "story": np.repeat([str(n) for n in range(1, STORIES + 1)], LENGTH),
            "position": np.tile(np.arange(1, LENGTH + 1), STORIES),
            "word": draw.choice(LEXICON, size=STORIES * LENGTH),
        }
    )


def known(seed: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return words().assign(surprisal=draw.gamma(4, 2, size=STORIES * LENGTH))


def times(surprisals: pd.DataFrame, noise: float = 20.0) -> pd.DataFrame:
    """Times that follow surprisal (4 ms a nat, 2 of the word before) and length."""
    draw = np.random.default_rng(2)
    s = surprisals["surprisal"].to_numpy()
    before = np.nan_to_num(shifted(s, list(surprisals["story"]), 1))
    length = surprisals["word"].str.len().to_numpy()
    rt = 300 + 4 * s + 2 * before + 5 * length + noise * draw.normal(size=len(s))
    return surprisals[["story", "position", "word"]].assign(time=rt)


def test_gain_equals_scikit_learn() -> None:
    surprisals = known()
    data = times(surprisals)
    found = ll.alignment.predict_times(data, surprisals, n_folds=4, n_resamples=200)
    stories = data["story"].to_numpy()

    def columns(values: np.ndarray) -> np.ndarray:
        table = pd.DataFrame({"story": stories, "v": values})
        return np.stack([table.groupby("story")["v"].shift(by) for by in range(3)], axis=1)

    length = columns(data["word"].str.len().to_numpy(dtype=float))
    frequency = columns(zipf_frequencies(list(data["word"])))
    own = columns(surprisals["surprisal"].to_numpy())
    base = np.concatenate([length, frequency], axis=1)
    keep = np.isfinite(base).all(axis=1)
    y = data["time"].to_numpy()[keep]

    def log_likelihood(x: np.ndarray) -> np.ndarray:
        x, out = x[keep], np.zeros(keep.sum())
        for train, test in GroupKFold(4).split(x, groups=stories[keep]):
            model = LinearRegression().fit(x[train], y[train])
            residual = y[train] - model.predict(x[train])
            sd = np.sqrt((residual**2).sum() / (len(train) - x.shape[1] - 1))
            out[test] = scipy.stats.norm.logpdf(y[test], model.predict(x[test]), sd)
        return out

    difference = log_likelihood(np.concatenate([base, own], axis=1)) - log_likelihood(base)
    (row,) = found.table.to_dict("records")
    assert row["gain"] == pytest.approx(difference.mean(), abs=1e-9)
    assert row["baseline"] == pytest.approx(log_likelihood(base).mean(), abs=1e-9)
    assert row["n_times"] == keep.sum() == STORIES * (LENGTH - 2)
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    slopes = LinearRegression().fit(np.concatenate([base, own], axis=1)[keep], y).coef_[-3:]
    named = [row["slope"], row["slope_previous"], row["slope_before"]]
    np.testing.assert_allclose(named, slopes, atol=1e-8)
    assert row["slope"] == pytest.approx(4, abs=0.8)
    assert row["slope_previous"] == pytest.approx(2, abs=0.8)
    by_story = pd.Series(difference).groupby(stories[keep]).mean()
    theirs = found.stories.set_index("story")["gain"]
    np.testing.assert_allclose(theirs.loc[by_story.index], by_story, atol=1e-9)
    assert row["surprisal"] == "tokens"
    assert not found.warnings or "left out" in found.warnings[0]


def test_surprisal_that_tells_nothing_gains_nothing() -> None:
    found = ll.alignment.predict_times(times(known()), known(seed=9), n_resamples=200)
    (row,) = found.table.to_dict("records")
    assert row["gain"] < 0.01
    assert any("does not surely tell anything" in sentence for sentence in found.warnings)


def by_reader(surprisals: pd.DataFrame, n: int = 6) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    parts = []
    for reader in range(n):
        part = times(surprisals, noise=30.0)
        part["time"] += 80 * reader + 30 * draw.normal(size=len(part))
        part["subject"] = f"r{reader}"
        # Everyone reads some of the stories only.
        parts.append(part[part["story"].astype(int) % n != reader % n])
    return pd.concat(parts, ignore_index=True)


def test_readers_have_intercepts_of_their_own() -> None:
    surprisals = known()
    data = by_reader(surprisals)
    found = ll.alignment.predict_times(data, surprisals, n_folds=4, n_resamples=50)
    (row,) = found.table.to_dict("records")
    assert found.settings["by_subject"] is True
    assert row["gain"] > 0.02
    without = ll.alignment.predict_times(
        data.assign(subject="everyone", story=data["story"])
        .drop_duplicates(["story", "position"])
        .reset_index(drop=True),
        surprisals,
        n_folds=4,
        n_resamples=50,
    )
    assert row["baseline"] > float(without.table["baseline"][0])
    x = np.random.default_rng(4).normal(size=(90, 2))
    whose = np.arange(90) % 5
    y = x @ [1.0, -2.0] + whose * 10 + np.random.default_rng(5).normal(size=90)
    groups = [f"s{n // 15}" for n in range(90)]
    fit = cross_validated(x, y, make_folds(groups, n_folds=3), whose)
    dummies = np.concatenate([x, np.eye(5)[whose]], axis=1)
    expected = np.zeros(90)
    for train, test in GroupKFold(3).split(x, groups=groups):
        model = LinearRegression(fit_intercept=False).fit(dummies[train], y[train])
        residual = y[train] - model.predict(dummies[train])
        sd = np.sqrt((residual**2).sum() / (len(train) - 7))
        expected[test] = scipy.stats.norm.logpdf(y[test], model.predict(dummies[test]), sd)
    np.testing.assert_allclose(fit.log_likelihood, expected, atol=1e-9)
    whole = LinearRegression(fit_intercept=False).fit(dummies, y)
    np.testing.assert_allclose(fit.slopes, whole.coef_[:2], atol=1e-9)


def test_a_reader_whom_the_other_folds_lack_has_the_mean_intercept() -> None:
    draw = np.random.default_rng(6)
    y = 5 + draw.normal(size=40)
    whose = np.array([0] * 30 + [1] * 10)
    labels = np.array([0] * 15 + [1] * 15 + [2] * 10)
    folds = make_folds([f"s{n}" for n in labels], labels.tolist())
    fit = cross_validated(np.zeros((40, 0)), y, folds, whose)
    rest = y[:30]
    expected = scipy.stats.norm.logpdf(y[30:], rest.mean(), rest.std(ddof=1))
    np.testing.assert_allclose(fit.log_likelihood[30:], expected, atol=1e-9)


@pytest.fixture(scope="module")
def data(checkpoints: Any) -> ll.alignment.ReadingTimes:
    model = ll.load_model(checkpoints["llama"])
    told = ll.alignment.word_surprisals(model, words(), bos="add", progress=False).table
    told = told.assign(surprisal=told["corrected"] - told["corrected"].min())
    return ll.alignment.ReadingTimes.from_dataframe(times(told, noise=10.0))


def mask(units: dict[int, list[int]]) -> UnitMask:
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    for layer, own in units.items():
        chosen[layer, own] = True
    return UnitMask("resid_post", chosen)


def test_lesions_take_away_what_predicts_readers(
    tiny_llama: Any, data: ll.alignment.ReadingTimes
) -> None:
    network = mask({2: list(range(15))})
    before = ll.alignment.word_surprisals(tiny_llama, data, progress=False).table
    found = ll.alignment.reading_times(
        tiny_llama,
        data,
        {"network": network},
        controls=ll.controls("layer", seeds=range(3)),
        n_resamples=100,
        progress=False,
    )
    table = found.table
    assert list(table["surprisal"].unique()) == ["corrected", "tokens"]
    assert len(table) == 2 * 5
    corrected = table[table["surprisal"] == "corrected"].set_index("kind")
    intact = corrected.loc["intact"]
    assert intact["gain"] > 0.3
    assert intact["gain"] > table[table["surprisal"] == "tokens"]["gain"].iloc[0]
    assert pd.isna(intact["loss"])
    lesioned = corrected.loc["network"]
    assert lesioned["loss"] == pytest.approx(intact["gain"] - lesioned["gain"])
    assert lesioned["loss"] > 0
    assert lesioned["loss_low"] <= lesioned["loss"] <= lesioned["loss_high"]
    assert lesioned["took_effect"]
    assert lesioned["n_units"] == 15
    controls = corrected[corrected.index == "layer"]
    assert list(controls["seed"]) == [0, 1, 2]
    (compared,) = found.comparisons[found.comparisons["surprisal"] == "corrected"].to_dict(
        "records"
    )
    reached = int((controls["loss"] >= lesioned["loss"]).sum())
    assert compared["p"] == lesioned["p"] == (1 + reached) / 4
    assert compared["difference"] == pytest.approx(lesioned["loss"] - controls["loss"].mean())
    # The model is as it was.
    after = ll.alignment.word_surprisals(tiny_llama, data, progress=False).table
    pd.testing.assert_frame_equal(before, after)
    by_hand = ll.alignment.predict_times(
        data, ll.alignment.word_surprisals(tiny_llama, data, progress=False), n_resamples=100
    )
    assert by_hand.table["gain"].tolist() == pytest.approx([intact["gain"], table["gain"][1]])
    with ll.lesion(tiny_llama, network):
        inside = ll.alignment.word_surprisals(tiny_llama, data, progress=False)
    again = ll.alignment.predict_times(data, inside, n_resamples=100)
    assert again.table["gain"][0] == pytest.approx(lesioned["gain"])
    assert "network" in found._repr_html_()
    assert repr(found).startswith("ReadingStudy(gain 0.")
    assert found.provenance.lesion == "zero"


def test_a_lesion_that_does_nothing_is_told(
    tiny_llama: Any, data: ll.alignment.ReadingTimes
) -> None:
    found = ll.alignment.reading_times(
        tiny_llama,
        data,
        mask({1: [3]}),
        controls=None,
        mode={"mode": "scale", "scale": 1.0},
        n_resamples=20,
        progress=False,
    )
    row = found.table[found.table["kind"] == "network"].iloc[0]
    assert row["took_effect"] == False  # noqa: E712
    assert row["loss"] == pytest.approx(0, abs=1e-9)
    assert any("took no effect" in sentence for sentence in found.warnings)
    assert pd.isna(row["p"])


def test_a_lesion_without_numbers_has_no_figures(
    checkpoints: Any, data: ll.alignment.ReadingTimes
) -> None:
    found = ll.alignment.reading_times(
        ll.load_model(checkpoints["gpt2"]),
        data,
        mask({1: list(range(32))}),  # the mean over units, which LayerNorm takes, is infinite
        controls=None,
        mode={"mode": "clamp", "value": 3e38},
        n_resamples=20,
        progress=False,
    )
    row = found.table[found.table["kind"] == "network"].iloc[0]
    assert np.isnan(row["gain"])
    assert np.isnan(row["loss"])
    assert any("gave no surprisal and has no figures" in sentence for sentence in found.warnings)
    assert np.isfinite(found.table[found.table["kind"] == "intact"]["gain"]).all()


def test_tables_that_are_wrong_are_told() -> None:
    good = times(known())

    def read(table: pd.DataFrame, match: str, **options: Any) -> None:
        with pytest.raises(LensLocError, match=match):
            ll.alignment.ReadingTimes.from_dataframe(table, **options)

    read(
        good.drop(columns="word"), "lacks the column 'word'; its columns are story, position, time"
    )
    read(good, "lacks the column 'rt'", time="rt")
    read(good.drop(index=[5, 6]), "lacks the words 6 to 7 of story 1")
    read(good.drop(index=5), "lacks word 6 of story 1")
    double = pd.concat([good, good.iloc[[3]].assign(word="other")])
    read(double, "row 481: word 4 of story 1 is 'other', but .* elsewhere")
    read(pd.concat([good, good.iloc[[3]]]), "row 481: story 1 and position 4 has a time already")
    read(good.assign(position=good["position"] + 0.5), "row 1: position is 1.5; count words in")
    spaced = good.copy()
    spaced.loc[2, "word"] = "two words"
    read(spaced, "row 3: the word 'two words' holds white space")
    text = good.astype({"time": object})
    text.loc[7, "time"] = "slow"
    read(text, "row 8: time is 'slow', not a number")
    read(good.assign(time=np.nan), "has no time in the column 'time'")
    skipped = good.copy()  # as trackers of eyes write it
    skipped.loc[[4, 9], "time"] = 0.0
    read(skipped, r"row 5: time is 0 \(and in 1 more rows\), and nobody reads a word in no time")
    skipped.loc[4, "time"] = -3.5
    read(skipped.rename(columns={"time": "RT"}), r"row 5: RT is -3\.5 \(and", time="RT")


def test_words_without_times_are_context_only(tmp_path: Any) -> None:
    surprisals = known()
    data = times(surprisals).astype({"time": object})
    data.loc[data.index % 5 == 0, "time"] = ""
    data.loc[3, "word"] = "null"
    data.to_csv(tmp_path / "TIMES.CSV", index=False)
    read = ll.alignment.ReadingTimes.of(tmp_path / "TIMES.CSV")
    assert len(read.words) == STORIES * LENGTH
    assert len(read.times) == STORIES * LENGTH * 4 // 5
    assert read.words["word"][3] == "null"
    found = ll.alignment.predict_times(read, surprisals, n_resamples=20)
    # Of the two first words of each story, one has no time.
    assert found.table["n_times"][0] == len(read.times) - STORIES
    assert any(f"{STORIES} times are left out" in sentence for sentence in found.warnings)


def test_data_that_cannot_be_predicted_are_told() -> None:
    surprisals = known()
    data = times(surprisals)
    with pytest.raises(LensLocError, match="times of 1 stories that can be predicted"):
        ll.alignment.predict_times(data[data["story"] == "1"], surprisals)
    with pytest.raises(LensLocError, match=r"Word 60 .* of story 8 has no surprisal"):
        ll.alignment.predict_times(data, surprisals.iloc[:-1])
    with pytest.raises(LensLocError, match="surprisals lacks the column 'surprisal'"):
        ll.alignment.predict_times(data, words())
    short = data[data["position"] <= 5]
    with pytest.raises(LensLocError, match="6 times outside a fold are too few for 7 coefficients"):
        ll.alignment.predict_times(
            short[short["story"].isin(["1", "2", "3"])], surprisals, n_folds=3
        )
    only_words = ll.alignment.ReadingTimes.from_dataframe(words(), time=None)
    with pytest.raises(LensLocError, match="has words but no times"):
        ll.alignment.predict_times(only_words, surprisals)

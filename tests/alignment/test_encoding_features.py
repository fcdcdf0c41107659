"""Simulated brains: what is explained, by what, on which split; against scikit-learn and numpy."""

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment.baselines import PASSAGE, SIMPLE, passage_and_position
from lensloc.alignment.ridge import Ridge, predict, shares
from lensloc.alignment.scores import Resampled, Scores, rank_p
from lensloc.alignment.splits import make_folds

PASSAGES, LENGTH = 24, 5
N = PASSAGES * LENGTH
WORDS = "the old gardener watered every plant before sun came up nobody village bridge".split()


def stimuli(passages: int = PASSAGES, length: int = LENGTH) -> pd.DataFrame:
    draw = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "text": [
                " ".join(draw.choice(WORDS, size=draw.integers(3, 9)))
                for _ in range(passages * length)
            ],
            "passage": np.repeat([f"p{n:02}" for n in range(passages)], length),
            "position": np.tile(np.arange(1, length + 1), passages),
        }
    )


def brain(features: np.ndarray, ceiling: float, n: int = 6, seed: int = 1) -> np.ndarray:
    """Voxels that are linear in features, plus noise that leaves so high a correlation."""
    draw = np.random.default_rng(seed)
    signal = features @ draw.normal(size=(features.shape[1], n))
    signal /= signal.std(axis=0)
    noise = draw.normal(size=signal.shape)
    return ceiling * signal + np.sqrt(1 - ceiling**2) * noise


def of_passages(n: int = 6, seed: int = 2) -> np.ndarray:
    """Voxels that follow the passage and nothing else."""
    draw = np.random.default_rng(seed)
    return np.repeat(draw.normal(size=(PASSAGES, n)), LENGTH, axis=0) + 0.3 * draw.normal(
        size=(N, n)
    )


FEATURES = np.random.default_rng(0).normal(size=(N, 8))
OTHERS = np.random.default_rng(10).normal(size=(N, 8))


def row(found: ll.alignment.Encoding, kind: str, name: str | None = None) -> pd.Series:
    table = found.table[found.table["kind"] == kind]
    return table if name is None else table[table["name"] == name].iloc[0]


def test_planted_units_explain_voxels_to_their_ceiling_and_others_do_not() -> None:
    ceiling = 0.8
    several = [
        ll.alignment.Features(FEATURES, "planted", "network", "planted"),
        *(
            ll.alignment.Features(
                np.random.default_rng(100 + seed).normal(size=(N, 8)),
                "planted", "control", "layer", seed,
            )
            for seed in range(19)
        ),
        ll.alignment.Features(OTHERS, "planted", "untrained", "untrained"),
    ]  # fmt: skip
    responses = ll.alignment.BrainResponses.of(
        brain(FEATURES, ceiling), ceilings={f"response {n + 1}": ceiling for n in range(6)}
    )
    found = ll.alignment.encode_features(
        several, stimuli(), responses, n_resamples=200, progress=False
    )
    network = row(found, "network", "planted")
    assert network["r_normalised"] == pytest.approx(1, abs=0.08)
    assert network["r2_normalised"] == pytest.approx(1, abs=0.12)
    assert network["r_normalised"] == pytest.approx(network["r"] / ceiling)
    assert network["r_low"] < network["r"] < network["r_high"]
    assert network["unique_low"] > 0.4
    assert network["unique"] == pytest.approx(network["r2"], abs=0.05)
    assert row(found, "control")["r"].abs().max() < 0.25
    assert abs(row(found, "untrained", "untrained")["r"]) < 0.25
    assert abs(row(found, "baseline", SIMPLE)["r"]) < 0.25
    compared = found.comparisons.set_index("against")
    assert compared.loc["layer", "p"] == pytest.approx(1 / 20)
    assert compared.loc["layer", "difference_low"] > 0.3
    assert list(compared["draws"]) == [19, 1, 1, 1]
    assert found.warnings == ()
    assert set(found.table["split"]) == {"grouped"}
    of_each = found.responses[found.responses["kind"] == "network"]
    assert of_each["r"].mean() == pytest.approx(network["r"])
    assert len(found.regions) == len(found.table)


def test_voxels_of_the_passage_are_high_when_shuffled_and_nothing_when_contiguous() -> None:
    arguments = {"n_resamples": 100, "progress": False}
    # Any features do, once they know the passage: here, slow random ones.
    slow = np.repeat(np.random.default_rng(3).normal(size=(PASSAGES, 30)), LENGTH, axis=0)
    high = ll.alignment.encode_features(
        slow, stimuli(), of_passages(), split="shuffled", **arguments
    )
    low = ll.alignment.encode_features(slow, stimuli(), of_passages(), **arguments)
    assert row(high, "baseline", PASSAGE)["r"] > 0.8
    assert row(low, "baseline", PASSAGE)["r"] == 0
    assert row(low, "baseline", PASSAGE)["r2"] == pytest.approx(0, abs=1e-9)
    assert row(high, "network")["r"].item() > 0.8
    assert abs(row(low, "network")["r"].item()) < 0.2
    # And the nuisance model knows it too, so nothing is left for them.
    assert row(high, "network")["unique"].item() < 0.03
    assert set(high.table["split"]) == set(high.comparisons["split"]) == {"shuffled"}
    assert set(high.responses["split"]) == set(high.regions["split"]) == {"shuffled"}
    assert "SHUFFLED" in repr(high)
    assert "shuffled" in high._repr_html_()
    assert any("The split is shuffled" in sentence for sentence in high.warnings)
    assert any("this split leaks" in sentence for sentence in high.warnings)
    assert not any("shuffled" in sentence or "leaks" in sentence for sentence in low.warnings)


@pytest.mark.parametrize("n_features", [5, 150])  # fewer and more than samples
@pytest.mark.parametrize("alphas", [(30.0,), (0.1, 30.0, 1e4)])
def test_ridge_equals_scikit_learn(n_features: int, alphas: tuple[float, ...]) -> None:
    x = np.random.default_rng(4).normal(size=(N, n_features)) * 3 + 5
    y = brain(x[:, :4], 0.7, n=3) + 2
    groups = [f"p{n // LENGTH:02}" for n in range(N)]
    folds = make_folds(groups, n_folds=4)
    found = predict([x], y, folds, Ridge(alphas, n_inner=3))
    expected, null = np.zeros_like(y), np.zeros_like(y)
    for train, test in GroupKFold(4).split(x, groups=groups):
        mean, sd = x[train].mean(0), x[train].std(0)
        a, b = (x[train] - mean) / sd, (x[test] - mean) / sd
        null[test] = y[train].mean(0)
        inner = list(GroupKFold(3).split(a, groups=np.array(groups)[train]))
        for voxel in range(y.shape[1]):
            target = y[train][:, voxel]
            losses = [
                np.mean(
                    [
                        np.mean(
                            (SklearnRidge(alpha).fit(a[i], target[i]).predict(a[o]) - target[o])
                            ** 2
                        )
                        for i, o in inner
                    ]
                )
                for alpha in alphas
            ]
            best = alphas[int(np.argmin(losses))]
            expected[test, voxel] = SklearnRidge(best).fit(a, target).predict(b)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_allclose(found.null, null, atol=1e-12)


def test_scores_equal_scipy_and_scikit_learn() -> None:
    y = brain(FEATURES, 0.6) + 100
    folds = make_folds([f"p{n // LENGTH}" for n in range(N)], n_folds=5)
    predictions = predict([FEATURES], y, folds, Ridge((10.0,)))
    scores = Scores.of(predictions, y, folds)
    by_fold = [
        [scipy.stats.pearsonr(predictions.values[test, v], y[test, v])[0] for v in range(6)]
        for _, test in folds
    ]
    np.testing.assert_allclose(scores.r(), np.mean(by_fold, axis=0), atol=1e-10)
    # scikit-learn measures distance to the mean of what is tested; ours is to that of the rest.
    shifted = [
        1 - ((y[:, v] - predictions.values[:, v]) ** 2).sum()
        / ((y[:, v] - predictions.null[:, v]) ** 2).sum()
        for v in range(6)
    ]  # fmt: skip
    np.testing.assert_allclose(scores.r2(), shifted, atol=1e-10)
    assert scores.r2()[0] >= r2_score(y[:, 0], predictions.values[:, 0]) - 1e-12


def test_resampled_passages_equal_scores_of_the_rows_drawn() -> None:
    y = brain(FEATURES, 0.6)
    groups = np.array([n // LENGTH for n in range(N)])
    folds = make_folds([f"p{g:02}" for g in groups], n_folds=5)
    predictions = predict([FEATURES], y, folds, Ridge((10.0,)))
    scores = Scores.of(predictions, y, folds)
    drawn = Resampled.of(PASSAGES, n_resamples=3, confidence=0.9, seed=5)
    for counts, r, r2 in zip(
        drawn.counts, scores.mean_r(drawn.counts), scores.mean_r2(drawn.counts), strict=True
    ):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(groups == g), int(counts[g])) for g in range(PASSAGES)]
        )
        weights, values = [], []
        for fold in range(5):
            own = rows[folds.labels[rows] == fold]
            passages = len(np.unique(groups[folds.labels == fold]))
            weights.append(len(own) / LENGTH / passages)
            x = predictions.values
            found = [scipy.stats.pearsonr(x[own, v], y[own, v])[0] for v in range(6) if len(own)]
            values.append(np.mean(found) if found else 0.0)
        assert r == pytest.approx(np.average(values, weights=weights), abs=1e-9)
        errors = ((y - predictions.values) ** 2)[rows].sum(0)
        spread = ((y - predictions.null) ** 2)[rows].sum(0)
        assert r2 == pytest.approx(np.mean(1 - errors / spread), abs=1e-9)


def test_scores_do_not_depend_on_order() -> None:
    order = np.random.default_rng(6).permutation(N)
    table, y = stimuli(), brain(FEATURES, 0.5)
    a, b = (
        ll.alignment.encode_features(x, s, r, n_resamples=50, progress=False)
        for x, s, r in (
            (FEATURES, table, y),
            (FEATURES[order], table.iloc[order], y[order]),
        )
    )
    columns = ["r", "r_low", "r_high", "r2", "unique"]
    np.testing.assert_allclose(
        a.table[columns].astype(float), b.table[columns].astype(float), atol=1e-9
    )


def test_unique_variance_is_what_the_baselines_do_not_share() -> None:
    table = stimuli()
    length = np.array([[len(text.split())] for text in table["text"]], dtype=float)
    y = 0.7 * (length - length.mean()) / length.std() + 0.7 * FEATURES[:, :1]
    y = np.concatenate([y, y], axis=1) + 0.2 * np.random.default_rng(8).normal(size=(N, 2))
    both = np.concatenate([length, FEATURES[:, :1]], axis=1)
    found = ll.alignment.encode_features(both, table, y, n_resamples=100, progress=False)
    network = row(found, "network").iloc[0]
    assert network["r2"] == pytest.approx(0.96, abs=0.03)
    assert row(found, "baseline", SIMPLE)["r2"] == pytest.approx(0.48, abs=0.15)
    assert network["unique"] == pytest.approx(0.48, abs=0.15)
    only = ll.alignment.encode_features(length, table, y, n_resamples=100, progress=False)
    assert abs(row(only, "network").iloc[0]["unique"]) < 0.02
    assert any("beyond the baselines" in sentence for sentence in only.warnings)
    others = ll.alignment.encode_features(OTHERS, table, y, n_resamples=100, progress=False)
    assert any("no better than the baseline" in sentence for sentence in others.warnings)


def test_passage_features_say_nothing_of_other_passages() -> None:
    whole, bumps = passage_and_position(
        ["a", "a", "a", "b", "b"], np.array([0.0, 1, 2, 0, 1]), [1.0]
    )
    assert whole.shape == (5, 2)
    assert bumps.shape == (5, 5)
    for band in (whole, bumps):
        assert (band[:3] @ band[3:].T == 0).all()
    assert bumps[0, 1] == pytest.approx(np.exp(-0.5))
    assert whole[:, 0].tolist() == [1, 1, 1, 0, 0]


def test_a_constant_response_in_a_fold_is_told_and_left_out() -> None:
    y = brain(FEATURES, 0.8)
    folds = make_folds(list(stimuli()["passage"]))
    held_out = folds.labels == 0
    y[held_out, 0] = 3.7
    found = ll.alignment.encode_features(FEATURES, stimuli(), y, n_resamples=50, progress=False)
    assert any("1 times a response was constant" in sentence for sentence in found.warnings)
    assert np.isfinite(found.table["r"]).all()


def test_ceilings_are_not_clipped_and_low_ones_are_left_out() -> None:
    ceilings = pd.DataFrame(
        {
            "response": [f"response {n + 1}" for n in range(6)],
            "ceiling": [0.2, 0.2, 0.2, 0.2, 0.0, np.nan],
            "region": ["IFG"] * 3 + ["PTL"] * 3,
        }
    )
    responses = ll.alignment.BrainResponses.of(brain(FEATURES, 0.9), ceilings=ceilings)
    found = ll.alignment.encode_features(
        FEATURES, stimuli(), responses, n_resamples=50, progress=False
    )
    network = row(found, "network").iloc[0]
    assert network["r_normalised"] > 3
    assert network["ceiling"] == pytest.approx(0.2)
    assert any("2 of 6 responses have no ceiling" in sentence for sentence in found.warnings)
    regions = found.regions[found.regions["kind"] == "network"]
    assert list(regions["region"]) == ["IFG", "PTL"]
    assert list(regions["n_responses"]) == [3, 3]


def test_rank_leaves_out_what_is_no_number() -> None:
    assert rank_p(0.5, np.array([0.1, np.nan, 0.5])) == pytest.approx(2 / 3)
    assert np.isnan(rank_p(float("nan"), np.array([0.1])))
    assert np.isnan(rank_p(0.1, np.array([np.nan])))


def test_shares_are_the_same_for_a_seed() -> None:
    a, b = shares(3, 10, seed=1), shares(3, 10, seed=1)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a.sum(axis=1), 1)
    assert a.shape == (14, 3)
    assert (a > 0).all()


# -- bad input -------------------------------------------------------------------------------------


def unchecked(function: Any) -> Any:
    """The function without the run-time type checks of the tests, as users call it."""
    return inspect.unwrap(function)


def encode(**changes: object) -> ll.alignment.Encoding:
    given: dict[str, object] = {
        "features": FEATURES,
        "stimuli": stimuli(),
        "responses": brain(FEATURES, 0.5),
        "n_resamples": 10,
        "progress": False,
    }
    return ll.alignment.encode_features(**(given | changes))  # type: ignore[arg-type]


def test_different_lengths_are_told() -> None:
    with pytest.raises(LensLocError, match=r"120 stimuli .* but 119 rows of responses"):
        encode(responses=brain(FEATURES, 0.5)[:-1])
    with pytest.raises(LensLocError, match=r"shape \(119, 8\), but there are 120 stimuli"):
        encode(features=FEATURES[:-1])


def test_a_passage_in_two_folds_is_told() -> None:
    folds = np.repeat(np.arange(PASSAGES) % 4, LENGTH)
    assert encode(split=folds.tolist()).split == "given"
    folds[0] = 3
    with pytest.raises(LensLocError, match="'p00' of the passages is in two folds, 3 and 0"):
        encode(split=folds.tolist())
    with pytest.raises(LensLocError, match="119 folds were given for 120 samples"):
        encode(split=folds[1:].tolist())
    with pytest.raises(LensLocError, match="All samples are in one fold"):
        encode(split=[0] * N)


def test_a_split_is_asked_for_by_name() -> None:
    with pytest.raises(LensLocError, match="There is no split 'random'; there are grouped, shuf"):
        unchecked(make_folds)(["a", "b"], "random")
    with pytest.raises(LensLocError, match="at least 2 folds; 1 is too few"):
        encode(n_folds=1)


def test_fewer_passages_than_folds_are_told() -> None:
    with pytest.raises(LensLocError, match="There are 24 passages but 25 folds"):
        encode(n_folds=25)
    two = stimuli()
    two["passage"] = np.repeat(["a", "b"], N // 2)
    two["position"] = np.tile(np.arange(N // 2), 2)
    with pytest.raises(LensLocError, match=r"only one passage .* is left"):
        encode(stimuli=two, n_folds=2)
    assert any(
        "only 2 passages" in s for s in encode(stimuli=two, n_folds=2, alphas=[1.0]).warnings
    )


def test_constant_and_missing_responses_are_told() -> None:
    y = brain(FEATURES, 0.5)
    y[:, 2] = 1.5
    with pytest.raises(LensLocError, match="'response 3' are constant over all 120 samples"):
        encode(responses=y)
    y = brain(FEATURES, 0.5)
    y[4, 1] = np.nan
    with pytest.raises(LensLocError, match="row 5: response 2 is empty"):
        encode(responses=y)
    y[4, 1] = np.inf
    with pytest.raises(LensLocError, match="row 5: response 2 is 'inf', not a number"):
        encode(responses=y)


def test_stimuli_that_do_not_fit_are_told() -> None:
    table = stimuli()
    with pytest.raises(LensLocError, match="lacks the column 'text'"):
        encode(stimuli=table.rename(columns={"text": "sentence"}))
    double = table.copy()
    double.loc[3, "position"] = 1
    with pytest.raises(LensLocError, match="row 4: passage 'p00' has the position 1 already"):
        encode(stimuli=double)
    table["group"] = "one"
    table.loc[2, "group"] = "two"
    with pytest.raises(LensLocError, match="row 3: passage 'p00' is in the group 'two', but in"):
        encode(stimuli=table)
    with pytest.raises(LensLocError, match="row 2: text is empty"):
        ll.alignment.Stimuli.of(["a", "  "])


def test_responses_in_another_order_are_told() -> None:
    table = pd.DataFrame(brain(FEATURES, 0.5), columns=list("abcdef"))
    table["passage"] = stimuli()["passage"]
    table["position"] = stimuli()["position"]
    encode(responses=table)
    with pytest.raises(LensLocError, match="has position 1, but the same row of"):
        encode(responses=table.iloc[[1, 0, *range(2, N)]])
    with pytest.raises(LensLocError, match="is in passage 'p00', but the same row of"):
        encode(responses=table.iloc[::-1])


def test_arguments_without_effect_are_refused() -> None:
    with pytest.raises(LensLocError, match="Delays and trimming are for time series"):
        encode(delays=[1, 2])
    with pytest.raises(LensLocError, match="Delays and trimming are for time series"):
        encode(trim=3)
    with pytest.raises(LensLocError, match="penalties above 0"):
        encode(alphas=[0.0])
    with pytest.raises(LensLocError, match="no list of words for the language 'tlh'"):
        encode(language="tlh")


def test_single_sentences_are_told() -> None:
    found = encode(stimuli=list(stimuli()["text"]))
    assert any("Every passage is a single sample" in sentence for sentence in found.warnings)

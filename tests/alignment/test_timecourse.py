"""Time series: moments, delays that never cross runs, trimming, word rate."""

import numpy as np
import pandas as pd
import pytest

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment.baselines import RATE
from lensloc.alignment.datasets import BrainResponses, Stimuli
from lensloc.alignment.timecourse import Design

RUNS, SAMPLES, TR = 6, 60, 2.0


def words(per_run: int = 150) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    parts = []
    for run in range(RUNS):
        onsets = np.sort(draw.uniform(0, SAMPLES * TR, size=per_run))
        parts.append(
            pd.DataFrame(
                {
                    "text": draw.choice("the old gardener watered a plant".split(), size=per_run),
                    "passage": f"run {run}",
                    "position": np.arange(per_run),
                    "onset": onsets,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def series(values: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=[f"v{n}" for n in range(values.shape[1])])
    table["run"] = np.repeat([f"run {n}" for n in range(RUNS)], SAMPLES)
    table["time"] = np.tile(np.arange(SAMPLES) * TR, RUNS)
    return table


def small(delays: tuple[int, ...], trim: int | tuple[int, int] = 0) -> Design:
    stimuli = Stimuli.of(
        pd.DataFrame(
            {
                "text": list("abcdefg"),
                "passage": ["x"] * 4 + ["y"] * 3,
                "onset": [0.0, 0.5, 2.0, 3.9, 0.0, 5.0, 99.0],
            }
        )
    )
    responses = pd.DataFrame(
        {
            "voxel": np.arange(8.0),
            "run": ["x"] * 4 + ["y"] * 4,
            "time": [0.0, 1, 2, 3, 0, 2, 4, 6],
        }
    )
    return Design.of(stimuli, BrainResponses.of(responses), delays=delays, trim=trim)


def test_samples_are_means_of_what_began_in_them() -> None:
    design = small((0,))
    assert design.sample.tolist() == [0, 0, 2, 3, 4, 6, -1]
    assert design.n_outside == 1
    values = np.array([[1.0], [3], [10], [20], [5], [7], [1000]])
    mean_x, mean_y = (2 + 10 + 20) / 3, (5 + 7) / 2
    expected = [2, mean_x, 10, 20, 5, mean_y, 7, mean_y]
    np.testing.assert_allclose(design.features(values)[:, 0], expected)
    counts = design.features(np.ones((7, 1)), total=True)
    assert counts[:, 0].tolist() == [2, 0, 1, 1, 1, 0, 1, 0]


def test_delays_do_not_cross_runs() -> None:
    values = np.array([[1.0], [3], [10], [20], [5], [7], [1000]])
    found = small((0, 1, 2)).features(values)
    now = found[:, 0]
    # Before the beginning of a run stands the mean of its samples, which is no other run's.
    for delay in (1, 2):
        for run in (slice(0, 4), slice(4, 8)):
            own = now[run]
            known = own[[0, 2, 3]] if run.start == 0 else own[[0, 2]]
            expected = np.concatenate([[known.mean()] * delay, own[:-delay]])
            np.testing.assert_allclose(found[run, delay], expected)
    other = values.copy()
    other[4:] += 100
    np.testing.assert_array_equal(small((0, 1, 2)).features(other)[:4], found[:4])


def test_trimming_comes_after_the_delays() -> None:
    values = np.arange(7.0)[:, None]
    whole, cut = small((1,)), small((1,), (1, 1))
    np.testing.assert_array_equal(cut.features(values), whole.features(values)[[1, 2, 5, 6]])
    assert cut.values[:, 0].tolist() == [1, 2, 5, 6]
    assert cut.passages == ("x", "x", "y", "y")
    assert cut.places.tolist() == [1, 2, 1, 2]


def test_a_delayed_brain_is_explained_and_word_rate_stands_beside() -> None:
    table = words()
    draw = np.random.default_rng(1)
    features = draw.normal(size=(len(table), 4))
    rate = 0.6 * draw.normal(size=(1, 1))
    silent = series(draw.normal(size=(RUNS * SAMPLES, 1)))
    design = Design.of(Stimuli.of(table), BrainResponses.of(silent), delays=(2,))
    told = design.features(features)
    counts = design.features(np.ones((len(table), 1)), total=True)
    signal = told @ draw.normal(size=(4, 3)) + 0.0 * rate
    noise = draw.normal(size=signal.shape)
    y = np.concatenate([signal / signal.std(0) + 0.5 * noise, counts + 0.1 * noise[:, :1]], axis=1)
    found = ll.alignment.encode_features(
        features, table, series(y), trim=(5, 2), n_resamples=50, progress=False
    )
    by = found.responses.set_index(["kind", "name", "response"])["r"]
    for voxel in ("v0", "v1", "v2"):
        assert by["network", "", voxel] > 0.8
        assert abs(by["baseline", RATE, voxel]) < 0.25
    assert by["baseline", RATE, "v3"] > 0.9
    assert by["network", "", "v3"] < 0.3
    assert found.settings["delays"] == [1, 2, 3, 4]
    assert found.settings["n_samples"] == RUNS * (SAMPLES - 7)
    wrong = ll.alignment.encode_features(
        features, table, series(y), delays=[4], n_resamples=50, progress=False
    )
    network = wrong.responses[wrong.responses["kind"] == "network"]
    assert network["r"].abs().max() < 0.25


def test_series_that_do_not_fit_are_told() -> None:
    table, y = words(20), series(np.random.default_rng(0).normal(size=(RUNS * SAMPLES, 2)))

    def design(
        stimuli: pd.DataFrame = table, responses: pd.DataFrame = y, **options: object
    ) -> None:
        Design.of(Stimuli.of(stimuli), BrainResponses.of(responses), **options)  # type: ignore[arg-type]

    design()
    with pytest.raises(LensLocError, match="lacks the column 'onset'"):
        design(table.drop(columns="onset"))
    with pytest.raises(LensLocError, match="'run 7' is no run of the responses"):
        design(table.replace("run 0", "run 7"))
    with pytest.raises(LensLocError, match="Run 'run 5' of the responses has no stimuli"):
        design(table[table["passage"] != "run 5"])
    with pytest.raises(LensLocError, match="not in one piece and in order of time"):
        design(responses=y.iloc[::-1])
    with pytest.raises(LensLocError, match="has 60 samples, too few for delays up to 60"):
        design(delays=[60])
    with pytest.raises(LensLocError, match="too few for delays up to 4 and 60 trimmed"):
        design(trim=30)
    with pytest.raises(LensLocError, match="needs both columns, run and time"):
        design(responses=y.drop(columns="time"))
    with pytest.raises(LensLocError, match="delays are numbers of samples from 0 up"):
        design(delays=[-1])
    with pytest.raises(LensLocError, match="trim is a number of samples"):
        design(trim=-1)

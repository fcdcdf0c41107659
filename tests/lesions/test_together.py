"""Several lesions of the same texts in one pass: each is what it is alone."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pair_parts
import pandas as pd
import pytest
import torch
from kinds import KINDS
from ranks import found_in_ranks
from tiny_models import CORPUS

import lensloc as ll
from lensloc import ranks, tasks
from lensloc.lesions import resuming, side_by_side
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.tasks import scoring

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [*CORPUS[:3], "nobody remembered who had built the stone bridge"]
CONTRAST = ll.Contrast.from_texts(
    {"a": list(CORPUS[:2]), "b": list(CORPUS[2:4])}, target="a", control="b"
)
ARCHITECTURES = [("llama", "resid_post"), ("gpt2", "head"), ("neox", "mlp_post")]


def task(tmp_path: Path, n: int = 4) -> tasks.MinimalPairs:
    rows = [(text, " ".join(reversed(text.split()))) for text in TEXTS[:n]]
    table = pd.DataFrame(rows, columns=["sentence_good", "sentence_bad"])
    table.to_csv(tmp_path / "pairs.csv", index=False)
    return tasks.minimal_pairs(tmp_path / "pairs.csv")


@contextlib.contextmanager
def room_for(number: int) -> Iterator[list[int]]:
    """Have room for so many copies, on a CPU too; gives how many copies each pass had."""
    passes: list[int] = []
    run = resuming._picked_logits
    make = scoring.Passes.of.__func__  # type: ignore[attr-defined]

    def note(seen: Any, inputs: Any, rows: Any, places: Any, copies: int, *start: Any) -> Any:
        # The probe is of two rows of 12 tokens.
        if inputs.tokens.shape != (2, 12):
            passes.append(copies)
        return run(seen, inputs, rows, places, copies, *start)

    def forced(cls: Any, *given: Any) -> Any:
        made = make(cls, *given)
        object.__setattr__(made, "copies_at_once", number)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "_picked_logits", note)
        patch.setattr(scoring.Passes, "of", classmethod(forced))
        patch.setattr(side_by_side, "_MOST_ON_CPU", number)
        yield passes


def units(model: Any, site: str, seed: int, layers: slice = slice(None)) -> ll.UnitMask:
    seen = surface(model)
    neurons = seen.width("blocks.0.mlp.hook_post") or 0
    width = {"resid_post": seen.d_model, "head": seen.n_heads, "mlp_post": neurons}[site]
    chosen = torch.zeros(seen.n_layers, width, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    chosen[layers] = torch.rand(chosen[layers].shape, generator=generator) < 0.3
    return ll.UnitMask(site, chosen)


def planned(model: Any, site: str = "resid_post") -> list[PlannedLesion]:
    """Lesions of every mode that is told by what passes, in different layers."""
    ways: list[dict[str, Any]] = [
        {"mode": "zero"},
        {"mode": "scale", "scale": -2.0},
        {"mode": "mean", "reference": CONTRAST},
        {"mode": "resample", "reference": CONTRAST, "seed": 1},
        {"mode": "clamp", "value": 3.0},
    ]
    if site == "resid_post":
        ways.append({"mode": "write"})
    return [
        PlannedLesion(units(model, site, seed, slice(seed % 2, None)), way)
        for seed, way in enumerate(ways)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "site"), [("llama", "resid_post"), ("gpt2", "head"), ("neox", "mlp_post")]
)
def test_each_is_what_it_is_alone(
    checkpoints: dict[str, Path], tmp_path: Path, kind: Any, name: str, site: str
) -> None:
    model = ll.load_model(checkpoints[name], backend=kind, progress=False)
    pairs, lesions = task(tmp_path), planned(model, site)
    alone = Runner(model, describe(model), None)
    expected = [alone.measure(pairs, each) for each in lesions]
    beside = Runner(model, describe(model), None)
    with room_for(4) as passes:
        found = [
            beside.measure(pairs, each, ahead=lesions[number + 1 :])
            for number, each in enumerate(lesions)
        ]
    assert passes == [4, len(lesions) - 4]
    for (result, effects), (other, others) in zip(found, expected, strict=True):
        columns = ["good", "bad"]
        np.testing.assert_allclose(result.items[columns], other.items[columns], rtol=0, atol=1e-4)
        assert result.score == other.score
        assert effects[0].fired == others[0].fired
        assert effects[0].changed is others[0].changed is True
        assert effects[0].moved == pytest.approx(others[0].moved, abs=1e-4)
        assert effects[0].moved > 1e-3


def test_a_study_is_the_same(tiny_llama: Any, tmp_path: Path) -> None:
    """Networks of several sizes, and draws in turn, in fewer passes."""
    pairs = task(tmp_path)
    network = ll.localize(tiny_llama, CONTRAST, progress=False)["resid_post"]

    def study() -> Any:
        return ll.lesion_study(
            tiny_llama, {"language": network}, [pairs, tasks.perplexity(TEXTS)],
            ll.controls("layer", seeds=range(6)), [5, 20], exact=True, n_resamples=50,
            progress=False,
        )  # fmt: skip

    with room_for(1) as before:
        expected = study()
    with room_for(7) as after:
        found = study()
    assert set(before) == {1}
    assert len(after) < len(before) / 3
    numbers = expected.table.select_dtypes("number").columns
    pd.testing.assert_frame_equal(found.table, expected.table, rtol=0, atol=1e-4)
    assert len(numbers) > 5
    pd.testing.assert_frame_equal(found.items, expected.items, rtol=0, atol=1e-4)


def test_a_multiverse_is_the_same(tiny_llama: Any) -> None:
    """Its control draws too are measured in fewer passes."""
    texts = [f"{text} {n}" for n in range(3) for text in TEXTS]
    even = ll.Contrast.from_texts({"a": texts[::2], "b": texts[1::2]}, target="a", control="b")
    found = {}
    for number in (1, 5):
        with room_for(number) as passes, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[number] = ll.multiverse(
                tiny_llama, even, [tasks.perplexity(TEXTS)],
                {"site": ["resid_post"], "percent": [20.0]}, draws=8, progress=False,
            ).table  # fmt: skip
        assert max(passes) == number
    pd.testing.assert_frame_equal(found[5], found[1], rtol=1e-4, atol=1e-5)


def test_on_a_cpu_lesions_are_run_one_by_one(tiny_llama: Any, tmp_path: Path) -> None:
    """There it saves little, and scores are the same to the last bit."""
    pairs, lesions = task(tmp_path), planned(tiny_llama)
    assert scoring.Passes.of(tiny_llama, [scoring.Scored((5, 6, 7))]).copies_at_once > 1
    run = Runner(tiny_llama, describe(tiny_llama), None)
    found, _ = run.measure(pairs, lesions[1], ahead=lesions[2:])
    alone, _ = Runner(tiny_llama, describe(tiny_llama), None).measure(pairs, lesions[1])
    assert found.items.equals(alone.items)
    assert not any(known.scores for known in run._side_by_side.values())


def test_one_that_leaves_no_numbers_spoils_no_other(
    tiny_llama: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs, lesions = task(tmp_path), planned(tiny_llama)
    lesions[2] = PlannedLesion(lesions[0].mask, {"mode": "scale", "scale": 1e38})
    alone = Runner(tiny_llama, describe(tiny_llama), None)
    expected = [alone.measure(pairs, each) for each in lesions]
    beside = Runner(tiny_llama, describe(tiny_llama), None)
    with room_for(8), caplog.at_level(logging.INFO, logger="lensloc"):
        found = [
            beside.measure(pairs, each, ahead=lesions[number + 1 :])
            for number, each in enumerate(lesions)
        ]
    assert [result.is_finite for result, _ in found] == [True, True, False, True, True, True]
    assert found[2][0].warnings == expected[2][0].warnings
    for (result, _), (other, _) in zip(found, expected, strict=True):
        assert result.score == pytest.approx(other.score, nan_ok=True)
    # Told once: none of them is tried beside others again.
    assert caplog.text.count("since one leaves no numbers") == 1


@pytest.mark.parametrize("most", [3, 1])
def test_where_memory_runs_out_fewer_are_run(
    tiny_llama: Any,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pairs, lesions = task(tmp_path), planned(tiny_llama)
    expected, _ = Runner(tiny_llama, describe(tiny_llama), None).measure(pairs, lesions[1])
    score = scoring._score_batch

    def fail(*given: Any) -> Any:
        if given[-1] > most:
            raise torch.OutOfMemoryError
        return score(*given)

    monkeypatch.setattr(scoring, "_score_batch", fail)
    run = Runner(tiny_llama, describe(tiny_llama), None)
    with room_for(8) as passes, caplog.at_level(logging.WARNING, logger="lensloc"):
        run.measure(pairs, lesions[0], ahead=lesions[1:])
        found, _ = run.measure(pairs, lesions[1], ahead=lesions[2:])
    assert set(passes) == {most}
    assert caplog.text.count("memory ran out with 6 lesions") == 1
    assert "memory ran out with 6 lesions in one pass; going on with 3" in caplog.text
    assert ("memory ran out with 3 lesions in one pass; going on with 1" in caplog.text) == (
        most < 3
    )
    np.testing.assert_allclose(found.items["good"], expected.items["good"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "way", [{"mode": "zero", "positions": "last"}, "corrupt"], ids=["last", "corrupt"]
)
def test_what_hangs_on_the_text_is_run_alone(tiny_llama: Any, tmp_path: Path, way: Any) -> None:
    """A lesion of the last position, or of pairs, and others do not mix."""
    pairs, lesions = task(tmp_path), planned(tiny_llama)
    if way == "corrupt":
        reference = pair_parts.letters()
        way = {"mode": "corrupt", "reference": reference}
    own = PlannedLesion(lesions[0].mask, way)
    run = Runner(tiny_llama, describe(tiny_llama), None)
    with room_for(8) as passes:
        run.measure(pairs, lesions[1], ahead=[own, lesions[2]])
        assert set(passes) == {2}
        if "positions" in way:
            passes.clear()
            run.measure(pairs, own, ahead=lesions[3:])
            assert set(passes) == {1}


def test_under_hooks_of_others_each_is_run_alone(tiny_llama: Any, tmp_path: Path) -> None:
    """What a hook of the user's does to a row may hang on which row it is."""
    pairs, lesions = task(tmp_path), planned(tiny_llama)
    with tiny_llama.hooks([("blocks.0.hook_resid_post", lambda value, hook: value * 1.1)]):
        run = Runner(tiny_llama, describe(tiny_llama), None)
        with room_for(8) as passes:
            run.measure(pairs, lesions[0], ahead=lesions[1:])
    assert set(passes) == {1}


def test_beneath_an_open_lesion(tiny_llama: Any, tmp_path: Path) -> None:
    """A lesion that is open around all of it acts on every copy."""
    pairs, (outer, *lesions) = task(tmp_path), planned(tiny_llama)
    with outer.on(tiny_llama):
        alone = Runner(tiny_llama, describe(tiny_llama), None)
        expected = [alone.measure(pairs, each)[0] for each in lesions]
        run = Runner(tiny_llama, describe(tiny_llama), None)
        with room_for(8) as passes:
            found = [
                run.measure(pairs, each, ahead=lesions[number + 1 :])[0]
                for number, each in enumerate(lesions)
            ]
        assert set(passes) == {5}
    for result, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(result.items["good"], other.items["good"], rtol=0, atol=1e-4)


def test_a_lesion_that_changes_nothing_is_told(tiny_llama: Any, tmp_path: Path) -> None:
    """Also beside others that do, and it does no harm that rounding makes."""
    pairs, lesions = tasks.perplexity(TEXTS), planned(tiny_llama)
    idle = PlannedLesion(lesions[0].mask, {"mode": "scale", "scale": 1.0})
    run = Runner(tiny_llama, describe(tiny_llama), None)
    with room_for(8), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, (first,) = run.measure(pairs, lesions[1], ahead=[idle, lesions[2]])
        _, (second,) = run.measure(pairs, idle, ahead=[lesions[2]])
    assert first.took_effect
    assert second.fired
    assert not second.changed
    assert second.moved == 0


def test_what_the_intact_model_is_asked_is_its_own_answer(tiny_llama: Any) -> None:
    """How fluent a text is that was written under a lesion, the intact model says."""
    lesions = planned(tiny_llama)
    writing = tasks.generation(["the old gardener", "nobody"], max_new_tokens=5)
    expected, _ = Runner(tiny_llama, describe(tiny_llama), None).measure(writing, lesions[1])
    run = Runner(tiny_llama, describe(tiny_llama), None)
    with room_for(8) as passes:
        found, _ = run.measure(writing, lesions[1], ahead=lesions[2:])
    assert not any(copies > 1 for copies in passes)
    pd.testing.assert_frame_equal(found.items, expected.items)


def test_another_model_gives_its_own_scores(
    checkpoints: dict[str, Path], tiny_llama: Any, tmp_path: Path
) -> None:
    """A task may ask a second model of the same texts too, before the one that is lesioned."""
    other, pairs = ll.load_model(checkpoints["llama"], progress=False), task(tmp_path)
    whole = pairs(other).items["good"].tolist()
    heard: list[list[float]] = []

    def both(model: Any) -> list[float]:
        later = len(heard) % 2
        asked = [other, model] if later else [model, other]
        own, others = (pairs(each).items["good"].tolist() for each in asked)
        heard.append(own if later else others)
        return others if later else own

    run, lesions = Runner(tiny_llama, describe(tiny_llama), None), planned(tiny_llama)
    with room_for(8):
        for number in range(3):
            run.measure(
                tasks.of_function(both, name="both"), lesions[number], ahead=lesions[number + 1 :]
            )
    np.testing.assert_allclose(heard, [whole] * 3, rtol=0, atol=1e-4)


def test_rows_that_are_not_so_many_of_each_copy_are_refused(tiny_llama: Any) -> None:
    lesions = [each.on(tiny_llama, check=False) for each in planned(tiny_llama)[:2]]
    with (
        side_by_side.Together(tiny_llama, lesions),
        pytest.raises(ll.LensLocError, match=r"3 rows pass .* each of 2 copies"),
    ):
        surface(tiny_llama).logits(torch.ones(3, 4, dtype=torch.long))


def test_ranks_find_what_one_process_finds(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Each rank runs copies of its share, as many in each."""
    pairs = task(tmp_path)

    def found_in() -> torch.Tensor:
        model = ll.load_model(checkpoints["llama"], backend="transformers", progress=False)
        lesions, run = planned(model), Runner(model, describe(model), None)
        # Ranks have room for different numbers.
        with room_for(5 - ranks.rank()):
            results = [
                run.measure(pairs, each, ahead=lesions[number + 1 :])
                for number, each in enumerate(lesions)
            ]
        assert all(effect.took_effect for _, (effect,) in results)
        scores = [result.items[["good", "bad"]].to_numpy() for result, _ in results]
        return torch.from_numpy(np.stack(scores))

    one, other = found_in_ranks(found_in, tmp_path)
    assert torch.equal(one, other)
    torch.testing.assert_close(one, found_in(), rtol=0, atol=1e-4)

"""No score, rank or text is made of what is no number: not by a task, nor by a study."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from task_files import PAIRS, PROMPTS, QUESTIONS, TEXTS, write_jsonl
from task_files import plain_model as plain

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, TaskResult, UnitMask, attribute, lesion, tasks
from lensloc.display.sealed import sealed_record
from lensloc.errors import NotFiniteError
from lensloc.lesions.lesioning import open_lesions
from lensloc.models.tokens import token_ids
from lensloc.results.kept_formats import RECORD
from lensloc.studies.store import Store
from lensloc.tasks.decoding import Decoding, decode
from lensloc.tasks.pairs import MinimalPairs
from lensloc.tasks.scoring import Scored, token_log_probs

pytestmark = pytest.mark.usefixtures("one_thread")

UNITS = UnitMask.from_addresses(["L1.resid_post.3", "L2.resid_post.7"], (3, 32))


@pytest.fixture
def half(checkpoints: dict[str, Path], backend: Any) -> Any:
    """A model in float16, whose numbers end at 65504."""
    return ll.load_model(checkpoints["llama"], dtype="float16", backend=backend)


@pytest.fixture
def own(checkpoints: dict[str, Path]) -> Any:
    """A model that a test may change."""
    return ll.load_model(checkpoints["llama"])


def every_task(folder: Path) -> dict[str, Any]:
    return {
        "pairs": MinimalPairs(PAIRS),
        "perplexity": tasks.perplexity(TEXTS, window=12),
        "bits": tasks.bits_per_byte(TEXTS),
        "choice": tasks.multiple_choice(write_jsonl(folder / "q.jsonl", QUESTIONS)),
        "generation": tasks.generation(PROMPTS, max_new_tokens=3),
        "sampled": tasks.generation(PROMPTS[:2], max_new_tokens=3, temperature=1.0),
    }


def refused(make: Callable[[], Any], *parts: str) -> None:
    with pytest.raises(NotFiniteError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for part in parts:
        assert part in message, message


# -- tasks -----------------------------------------------------------------------------------------


def test_a_lesion_that_overflows_makes_no_score(half: Any, tmp_path: Path) -> None:
    every = every_task(tmp_path)
    found = [every[name](half).score for name in ("pairs", "perplexity", "bits", "choice")]
    assert all(map(math.isfinite, found))
    for task in every.values():
        with lesion(half, UNITS, "clamp", value=1e5, check=False):
            refused(lambda t=task: t(half), "under a lesion (clamp of 2 units at resid_post)")
        assert open_lesions(half) == ()
    # A lesion that stays within float16 is measured.
    with lesion(half, UNITS, "clamp", value=100.0, check=False):
        assert math.isfinite(every["perplexity"](half).score)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_make_no_score(own: Any, tmp_path: Path, value: float) -> None:
    with torch.no_grad():
        own.blocks[1].mlp.W_out[3, 5] = value
    for task in every_task(tmp_path).values():
        refused(lambda t=task: t(own), "load the model in float32")


def test_a_logit_of_a_token_that_is_not_scored_counts(own: Any) -> None:
    with torch.no_grad():
        own.unembed.b_U[311] = math.nan
    refused(lambda: tasks.perplexity(TEXTS)(own))
    with torch.no_grad():
        own.unembed.b_U[311] = math.inf
    refused(lambda: tasks.perplexity(TEXTS)(own))


def test_text_and_token_are_named(own: Any, tmp_path: Path) -> None:
    ids = token_ids(own, TEXTS[0])
    file = tmp_path / "mine.csv"
    pd.DataFrame({"text": ["vash", TEXTS[0]]}).to_csv(file, index=False)
    place, last = 7, "blocks.2.hook_resid_post"
    token = own.tokenizer.decode([ids[place]])

    def spoil(activation: Any, hook: Any) -> Any:
        if activation.shape[1] > place:
            activation[:, place - 1] = math.inf
        return activation

    expected = f"Token {place + 1} of {len(ids)} ({token!r}) of {file}, row 3 ('the old gardener"
    with own.hooks(fwd_hooks=[(last, spoil)]):
        refused(lambda: tasks.perplexity(file)(own), expected, "as the logits are not finite")
    first = ids.index(ids[place])
    with torch.no_grad():
        own.unembed.b_U[ids[place]] = -math.inf  # the token itself is ruled out
    expected = f"Token {first + 1} of {len(ids)} ({token!r}) of Text 1 ("
    refused(lambda: tasks.perplexity([TEXTS[0]])(own), expected, "has probability 0")


def test_tokens_that_are_ruled_out_are_no_fault_elsewhere(
    checkpoints: dict[str, Path], tiny_llama: Any, own: Any
) -> None:
    """Some models give the rest of their vocabulary a logit of minus infinity, or the least one."""
    original = plain(checkpoints["llama"])
    used = {token for text in TEXTS for token in token_ids(own, text)}
    unused = next(token for token in range(319, 0, -1) if token not in used)
    for least in (-math.inf, torch.finfo(torch.float32).min):
        with torch.no_grad():
            own.unembed.b_U[unused] = least
        result = tasks.perplexity(TEXTS)(own)
        for text, loss in zip(TEXTS, result.items["log_loss"], strict=True):
            ids = token_ids(own, text)
            logits = original(torch.tensor([ids])).logits[0, :-1].detach().double()
            logits[:, unused] = -math.inf
            expected = logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]
            assert loss == pytest.approx(-float(expected.sum()), abs=1e-3)
        written = tasks.generation(PROMPTS[:2], max_new_tokens=4)(own)
        assert math.isfinite(written.score)
    assert tasks.perplexity(TEXTS)(tiny_llama).score != result.score


def test_every_batch_size_names_what_is_no_number(own: Any) -> None:
    sequences = [
        Scored(tuple(token_ids(own, text)), place=f"row {row}") for row, text in enumerate(TEXTS)
    ]
    with torch.no_grad():
        own.embed.W_E[sequences[2].ids[1]] = math.nan
    for batch_size in (1, 2, "auto"):
        refused(
            lambda n=batch_size: token_log_probs(own, sequences, batch_size=n, progress=False),
            "of row 2 ('twelve plus",
        )  # fmt: skip
    others = [found for row, found in enumerate(sequences) if row != 2]
    assert all(np.isfinite(part).all() for part in token_log_probs(own, others, progress=False))


def test_a_perplexity_that_no_float_holds_is_none(own: Any) -> None:
    with torch.no_grad():
        own.unembed.W_U.mul_(1e4)
    with pytest.warns(LensLocWarning, match="whose exponential no number can hold"):
        result = tasks.perplexity(TEXTS)(own)
    assert result.mean > 709
    assert math.isnan(result.score)
    assert all(map(math.isnan, result.groups.values()))
    assert "Warning: The mean log-loss of 'perplexity'" in repr(result)
    assert tasks.bits_per_byte(TEXTS)(own).score > 1000


# -- writing ---------------------------------------------------------------------------------------


def test_nothing_is_written_by_an_argmax_over_nan(half: Any) -> None:
    ids = [token_ids(half, prompt) for prompt in PROMPTS[:3]]
    for how in (Decoding(3), Decoding(3, temperature=0.7), Decoding(3, repetition_penalty=1.2)):
        with lesion(half, UNITS, "clamp", value=1e5, check=False):
            refused(lambda h=how: decode(half, ids, h), "No token can be written after the text")
    with lesion(half, UNITS, "clamp", value=1e5, check=False):
        refused(
            lambda: tasks.generation(PROMPTS[:1], max_new_tokens=2)(half),
            f"after prompt 1 of 'generation' ({PROMPTS[0]!r}) and 0 new tokens",
        )


def test_a_low_temperature_does_not_overflow_half_precision(half: Any) -> None:
    ids = [token_ids(half, PROMPTS[0])]
    assert decode(half, ids, Decoding(3, temperature=1e-4)) == decode(half, ids, Decoding(3))


def test_a_row_that_only_reads_is_not_judged(own: Any) -> None:
    """It does not write yet, whatever other prompts it is read beside."""
    short, long = (token_ids(own, text) for text in ("vash", "the old gardener"))
    assert len(long) - len(short) > 2
    expected = [decode(own, [ids], Decoding(6))[0] for ids in (short, long)]
    seen = [0]

    def spoil(logits: Any, hook: Any) -> Any:
        seen[0] += 1
        if seen[0] <= len(long) - len(short):
            logits = logits.clone()
            logits[-1, -1] = math.nan  # the longer prompt, of [row, pos, vocabulary]
        return logits

    with own.hooks(fwd_hooks=[("unembed.hook_out", spoil)]):
        assert decode(own, [short, long], Decoding(6)) == expected
    assert seen[0] > len(long) - len(short)


# -- what is computed from the same log-probabilities ----------------------------------------------


def test_attributions_name_text_and_token(own: Any, small_contrast: ll.Contrast) -> None:
    with torch.no_grad():
        own.unembed.b_U[5] = math.nan
    for method in ("grad_x_act", "ablation_effect"):
        refused(
            lambda m=method: attribute(own, small_contrast, m, "mlp_out", limit=1, progress=False),
            "of text 1 of the condition",
        )  # fmt: skip


def test_harness_tasks(own: Any) -> None:
    with torch.no_grad():
        own.unembed.b_U[5] = math.nan
    model = tasks.harness_model(own)
    from lm_eval.api.instance import Instance

    def asked(kind: Any, *arguments: Any) -> list[Instance]:
        return [Instance(kind, {}, arguments, 0)]

    refused(
        lambda: model.loglikelihood(asked("loglikelihood", "the sun", " came up")),
        "a continuation of the harness task (' came up')",
    )
    refused(
        lambda: model.loglikelihood_rolling(asked("loglikelihood_rolling", "the sun came up")),
        "a text of the harness task ('the sun came up')",
    )
    refused(
        lambda: model.generate_until(asked("generate_until", "the sun", {"max_gen_toks": 2})),
        "prompt 1 of 'generation' ('the sun')",
    )


# -- studies ---------------------------------------------------------------------------------------


MODES: list[Any] = ["zero", {"mode": "clamp", "value": 1e5}, {"mode": "scale", "scale": 1e6}]


def test_a_study_goes_on_and_says_which_lesion_has_no_score(half: Any, tmp_path: Path) -> None:
    every = [MinimalPairs(PAIRS), tasks.perplexity(TEXTS)]
    store = Store.at(tmp_path)

    def study() -> ll.LesionStudy:
        with pytest.warns(LensLocWarning) as caught:
            found = ll.lesion_study(
                half, {"net": UNITS}, every, ll.controls(seeds=range(2)), modes=MODES,
                n_resamples=50, store=store, progress=False,
            )  # fmt: skip
        told = [str(each.message) for each in caught if each.category is LensLocWarning]
        assert set(told) <= set(found.warnings)
        return found

    found = study()
    table = found.table.set_index(["mode", "kind"])
    assert table.loc["zero", "finite"].all()
    assert np.isfinite(table.loc["zero", "score"]).all()
    lost = found.table[found.table["mode"] != "zero"]
    assert not lost["finite"].any()
    figures = ["score", "drop", "drop_low", "drop_high", "cohen_h", "difference"]
    assert lost[figures].isna().all().all()
    assert lost["intact"].notna().all()
    assert (lost["n_items"] == found.table["n_items"].iloc[: len(lost)].to_numpy()).all()
    for mode in ("clamp value=100000", "scale scale=1e+06"):
        for task, place in (("minimal-pairs", "pairs.csv, row "), ("perplexity", "Text ")):
            (sentence,) = [
                text
                for text in found.warnings
                if f"lesion of net ({mode}, 2.08333 %, network) leaves {task} without" in text
            ]
            assert place in sentence
            assert "Token " in sentence
        assert any(
            "Of the control net" in text and mode in text and "2 of 2 draws gave no number" in text
            for text in found.warnings
        )
    assert found.warnings[0] in repr(found)
    compared = found.comparisons
    assert compared.set_index("mode").loc["zero", "draws_lost"].tolist() == [0, 0]
    assert (compared.loc[compared["mode"] != "zero", "draws_lost"] == 2).all()
    again = study()  # from the store
    pd.testing.assert_frame_equal(again.table, found.table)
    assert again.warnings == found.warnings


def test_an_intact_model_without_numbers_is_refused(own: Any) -> None:
    with torch.no_grad():
        own.unembed.b_U[5] = math.nan
    refused(
        lambda: ll.lesion_study(
            own, {"net": UNITS}, [tasks.perplexity(TEXTS)], progress=False, n_resamples=5
        ),
        "Text",
    )


def test_what_an_earlier_version_kept_of_nan_is_measured_again(half: Any, tmp_path: Path) -> None:
    def study() -> ll.LesionStudy:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LensLocWarning)
            return ll.lesion_study(
                half, {"net": UNITS}, [tasks.perplexity(TEXTS)],
                modes=[{"mode": "clamp", "value": 1e5}], n_resamples=5, progress=False,
                store=Store.at(tmp_path),
            )  # fmt: skip

    first = study()
    for file in tmp_path.glob("*.json"):
        content = json.loads(file.read_text())["content"]
        content["record"]["result"].pop("warnings")
        file.write_bytes(sealed_record(RECORD, content))
    again = study()
    assert again.warnings == first.warnings
    pd.testing.assert_frame_equal(again.table, first.table)


def test_results_without_numbers() -> None:
    items = pd.DataFrame(
        {
            "item": ["1", "2", "3"],
            "group": ["a", "a", "b"],
            "value": [1.0, math.nan, 2.0],
            "weight": [1.0, 1.0, 0.5],
        }
    )
    result = TaskResult("x", "perplexity", items, exponential=True)
    assert math.isnan(result.mean)
    assert math.isnan(result.score)
    assert math.isnan(result.groups["a"])
    assert result.groups["b"] == pytest.approx(math.exp(4))
    assert not result.is_finite
    assert TaskResult("x", "accuracy", items.iloc[2:]).is_finite
    lost = result.without_numbers("Why.")
    assert (lost.warnings, lost.items["value"].isna().all()) == (("Why.",), True)
    assert math.isnan(lost.score)
    record = result.to_record()
    assert TaskResult.from_record(record).warnings == ()
    assert TaskResult.from_record({**record, "warnings": ["Why."]}).warnings == ("Why.",)
    record.pop("warnings")  # as they were kept before
    assert TaskResult.from_record(record).warnings == ()
    with pytest.raises(LensLocError, match="have no column 'field'; they have item, group"):
        result.by("field")
    assert "Warning: Why." in repr(lost)

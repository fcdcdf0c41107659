"""Tasks against plain transformers, one text at a time, in both model classes."""

import csv
import dataclasses
import itertools
import json
import math
import re
import runpy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import handwritten
import jaxtyping
import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
import transformers
from task_files import (
    PAIRS,
    PROMPTS,
    QUESTIONS,
    TEXTS,
    ids_of,
    n_common,
    plain_log_probs,
    plain_model,
    refused,
    shapes_of_passes,
    write_csv,
    write_jsonl,
)
from torch import Tensor

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, UnitMask, lesion, tasks
from lensloc.contrasts import bundled_folder
from lensloc.forward.memory import Budget
from lensloc.tasks import TaskResult, generation, minimal_pairs, multiple_choice, perplexity
from lensloc.tasks import scoring as scoring_module
from lensloc.tasks.choices import Question
from lensloc.tasks.generating import distinct
from lensloc.tasks.pairs import MinimalPairs, Pair
from lensloc.tasks.perplexities import sliding_windows
from lensloc.tasks.scoring import Scored, log_probs_and_greedy, token_log_probs
from lensloc.vocabulary import DOMAINS

BATCH_SIZES: tuple[Any, ...] = (1, 3, 7, 64, "auto")
LONG = " ".join(tiny_models.CORPUS)


@pytest.fixture(scope="module")
def originals(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {name: plain_model(folder) for name, folder in checkpoints.items()}


@pytest.fixture(scope="module")
def tokenizer(checkpoints: dict[str, Path]) -> Any:
    """Of all tiny models; no special token is added."""
    return transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])


@pytest.fixture
def original(originals: dict[str, Any], tiny_name: str) -> Any:
    return originals[tiny_name]


def random_mask(site: str = "resid_post", width: int = 32) -> UnitMask:
    return UnitMask(site, torch.rand(3, width, generator=torch.Generator().manual_seed(4)) < 0.3)


def zeroed_by_hand(original: Any, mask: UnitMask, *, last: bool = False) -> Any:
    """What scores tokens as ``plain_log_probs`` does, with units switched off and no hook."""

    def edit(site: str, layer: int, value: Tensor) -> Tensor:
        if site != mask.site:
            return value
        edited = value.masked_fill(mask.mask[layer], 0)
        return torch.cat([value[:, :-1], edited[:, -1:]], dim=1) if last else edited

    def log_probs(ids: Sequence[int]) -> Tensor:
        # A text's last token is not read, so the last position of a pass is the one before it.
        logits = handwritten.logits(original, torch.tensor([list(ids[:-1])]), edit)[0]
        return logits.double().log_softmax(-1)[torch.arange(len(ids) - 1), list(ids[1:])]

    return log_probs


# -- log-probabilities of tokens -------------------------------------------------------------------


def sequences_of(tokenizer: Any) -> list[Scored]:
    ids = [tuple(tokenizer(text)["input_ids"]) for text in (*TEXTS, LONG[:150], TEXTS[0])]
    found = [Scored(tokens, first) for tokens in ids for first in (1, 2, len(tokens) - 1)]
    # The same but for the last token; one text that has nothing to score.
    return [*found, Scored((*ids[0][:-1], 7), 3), Scored((*ids[0][:-1], 9), 1), Scored(ids[0], 99)]


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_token_log_probs_equal_the_whole_softmax(
    tiny: Any, original: Any, tokenizer: Any, batch_size: Any
) -> None:
    sequences = sequences_of(tokenizer)
    found = token_log_probs(tiny, sequences, batch_size=batch_size, progress=False)
    for sequence, values in zip(sequences, found, strict=True):
        expected = plain_log_probs(original, sequence.ids)[sequence.first - 1 :]
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-4, rtol=0)


def test_small_spans_of_logits_change_nothing(
    tiny: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = sequences_of(tokenizer)
    expected = token_log_probs(tiny, sequences, progress=False)
    monkeypatch.setattr(scoring_module, "_LOGITS_BUDGET", Budget(12 * 3 * 320, 0))
    monkeypatch.setattr(scoring_module, "_TOKENS_ON_CPU", 40)
    with shapes_of_passes(tiny) as shapes:
        found = token_log_probs(tiny, sequences, progress=False)
    assert all(rows * width <= 40 or rows == 1 for rows, width in shapes)
    assert len(shapes) > 3
    for values, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, others, atol=1e-5)


def test_greedy_is_the_most_probable_token(tiny: Any, original: Any, tokenizer: Any) -> None:
    sequences = sequences_of(tokenizer)[:6]
    logits = original(torch.tensor([sequences[0].ids[:-1]])).logits[0]
    greedy = Scored((*sequences[0].ids[:-1], int(logits[-1].argmax())), 1)
    found = token_log_probs(
        tiny, [*sequences, greedy], measure=log_probs_and_greedy, progress=False
    )
    seen = set()
    for sequence, values in zip([*sequences, greedy], found, strict=True):
        best = original(torch.tensor([sequence.ids])).logits[0].argmax(-1)[:-1]
        flags = (best == torch.tensor(sequence.ids[1:]))[sequence.first - 1 :].tolist()
        assert values[:, 1].tolist() == flags
        seen.update(flags)
    assert seen == {False, True}


def test_a_soft_cap_on_logits(tmp_path: Path, backend: Any) -> None:
    config = transformers.Gemma2Config(
        **tiny_models.SIZES,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        final_logit_softcapping=1.5,
    )
    folder = tiny_models.make_checkpoint(tmp_path / "my-gemma", config)
    original = plain_model(folder)
    model = ll.load_model(folder, backend=backend)
    ids = tuple(range(5, 35))
    found = token_log_probs(model, [Scored(ids)], progress=False)[0]
    np.testing.assert_allclose(found, plain_log_probs(original, ids).numpy(), atol=1e-4)
    original.config.final_logit_softcapping = None
    assert (plain_log_probs(original, ids).numpy() - found).max() > 0.01


def test_half_precision_logits_are_normalised_in_float32(
    checkpoints: dict[str, Path], backend: Any
) -> None:
    model = ll.load_model(checkpoints["gpt2"], dtype="bfloat16", backend=backend)
    ids = tuple(range(40, 60))
    found = token_log_probs(model, [Scored(ids)], progress=False)[0]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]]), return_type="logits")[0]
    assert logits.dtype == torch.bfloat16
    expected = logits.double().log_softmax(-1)[torch.arange(19), list(ids[1:])]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    coarse = logits.log_softmax(-1)[torch.arange(19), list(ids[1:])]
    assert (coarse.double() - expected).abs().max() > 1e-3


@pytest.mark.hooked
def test_a_model_that_attends_in_both_directions_gets_batches_of_equal_length(
    tiny_llama: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = sequences_of(tokenizer)[:-1]
    causal = token_log_probs(tiny_llama, sequences, progress=False)
    monkeypatch.setattr(tiny_llama.cfg, "attention_dir", "bidirectional")
    expected = []
    for sequence in sequences:
        with torch.no_grad():
            logits = tiny_llama(torch.tensor([sequence.ids[:-1]]), return_type="logits")[0]
        scores = logits.log_softmax(-1)[torch.arange(len(logits)), list(sequence.ids[1:])]
        expected.append(scores[sequence.first - 1 :].numpy())
    assert max(np.abs(a - b).max() for a, b in zip(expected, causal, strict=True)) > 0.01
    lengths = Counter(len(ids) for ids in {sequence.ids[:-1] for sequence in sequences})
    for batch_size in BATCH_SIZES:
        with shapes_of_passes(tiny_llama) as shapes:
            found = token_log_probs(tiny_llama, sequences, batch_size=batch_size, progress=False)
        assert Counter(width for rows, width in shapes for _ in range(rows)) == lengths
        for values, others in zip(found, expected, strict=True):
            np.testing.assert_allclose(values, others, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_a_lesion_of_the_last_position_does_not_depend_on_the_batch(
    tiny: Any, original: Any, tokenizer: Any, batch_size: Any
) -> None:
    sequences = sequences_of(tokenizer)[:-1]
    mask = random_mask()
    by_hand = zeroed_by_hand(original, mask, last=True)
    with lesion(tiny, mask, positions="last"):
        found = token_log_probs(tiny, sequences, batch_size=batch_size, progress=False)
    for sequence, values in zip(sequences, found, strict=True):
        expected = by_hand(sequence.ids)[sequence.first - 1 :]
        np.testing.assert_allclose(values, expected.numpy(), atol=2e-4)


# -- minimal pairs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", ["model", "add", "none"])
def test_pairs_equal_one_sentence_at_a_time(
    tiny: Any, original: Any, tokenizer: Any, bos: Any
) -> None:
    result = MinimalPairs(PAIRS, bos)(tiny)
    correct = []
    for pair, row in zip(PAIRS, result.items.to_dict("records"), strict=True):
        good, bad = (
            float(plain_log_probs(original, ids_of(tokenizer, text, bos=bos == "add")).sum())
            for text in (pair.good, pair.bad)
        )
        assert row["good"] == pytest.approx(good, abs=1e-4)
        assert row["bad"] == pytest.approx(bad, abs=1e-4)
        assert (row["sentence_good"], row["sentence_bad"]) == (pair.good, pair.bad)
        correct.append(good > bad)
    assert set(correct) == {False, True}
    assert result.items["value"].tolist() == correct
    assert result.score == pytest.approx(sum(correct) / len(PAIRS))
    assert result.settings["prepends_bos"] == (bos == "add")
    by_paradigm = defaultdict(list)
    for pair, right in zip(PAIRS, correct, strict=True):
        by_paradigm[pair.paradigm].append(right)
    assert list(result.groups) == ["b", "a", "c"]
    assert result.groups == pytest.approx({k: sum(v) / len(v) for k, v in by_paradigm.items()})


def test_batches_and_order_change_no_pair(tiny: Any) -> None:
    expected = MinimalPairs(PAIRS, batch_size=1)(tiny).items
    order = torch.randperm(len(PAIRS), generator=torch.Generator().manual_seed(1)).tolist()
    for batch_size in BATCH_SIZES:
        found = MinimalPairs(PAIRS, batch_size=batch_size)(tiny).items
        shuffled = MinimalPairs(tuple(PAIRS[i] for i in order), batch_size=batch_size)(tiny).items
        for column in ("good", "bad", "value"):
            np.testing.assert_allclose(found[column], expected[column], atol=1e-4)
            np.testing.assert_allclose(shuffled[column], expected[column][order], atol=1e-4)


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = MinimalPairs(PAIRS)(tiny).items
    monkeypatch.setattr(tiny.tokenizer, "padding_side", "left")
    pd.testing.assert_frame_equal(MinimalPairs(PAIRS)(tiny).items, expected)


def test_a_tie_counts_half(checkpoints: dict[str, Path], tokenizer: Any) -> None:
    uniform = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        uniform.unembed.W_U.zero_()
        uniform.unembed.b_U.zero_()
    equal, longer, shorter = (
        Pair("the sun came", "the came sun", "tie"),
        Pair("the sun came up", "the sun", "longer"),
        Pair("the sun", "the sun came up", "shorter"),
    )
    with pytest.warns(LensLocWarning, match="1 of 3 items of .* are ties") as caught:
        result = MinimalPairs((equal, longer, shorter))(uniform)
    assert tuple(str(each.message) for each in caught) == result.warnings
    assert result.n_ties == 1
    assert "3 items, 1 of them ties" in repr(result)
    assert result.warnings[0] in repr(result)
    for side in ("good", "bad"):
        lengths = [len(ids_of(tokenizer, text)) for text in result.items[f"sentence_{side}"]]
        expected = [-(n - 1) * math.log(320) for n in lengths]
        np.testing.assert_allclose(result.items[side], expected, atol=1e-4)
    assert result.items["good"][0] == result.items["bad"][0]
    assert result.items["value"].tolist() == [0.5, 0, 1]
    assert result.items["tie"].tolist() == [True, False, False]


@pytest.mark.parametrize("site", ["resid_post", "mlp_post"])
def test_pairs_under_a_lesion_equal_a_forward_pass_by_hand(
    tiny: Any, original: Any, tokenizer: Any, site: str
) -> None:
    width = tiny.cfg.d_model if site == "resid_post" else tiny.cfg.d_mlp
    task, mask = MinimalPairs(PAIRS), random_mask(site, width)
    by_hand = zeroed_by_hand(original, mask)
    before = task(tiny).items
    with lesion(tiny, mask):
        found = task(tiny).items
    for side in ("good", "bad"):
        expected = [
            float(by_hand(ids_of(tokenizer, text)).sum()) for text in found[f"sentence_{side}"]
        ]
        np.testing.assert_allclose(found[side], expected, atol=5e-4)
    assert found["value"].tolist() == (found["good"] > found["bad"]).astype(float).tolist()
    assert (found["good"] - before["good"]).abs().min() > 1e-3
    pd.testing.assert_frame_equal(task(tiny).items, before)


@pytest.mark.parametrize("mode", ["zero", "write"])
def test_beginnings_in_common_are_lesioned_too(
    tiny: Any, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tasks.minimal_pairs(limit=1)
    units = torch.arange(96).reshape(3, 32) % 3 == 0
    with ll.lesion(tiny, ll.UnitMask("resid_post", units), mode):
        shared = task(tiny).items
        monkeypatch.setattr(scoring_module, "_WORTHWHILE", 0.0)  # of what alone would cost
        alone = task(tiny).items
    for column in ("good", "bad"):
        np.testing.assert_allclose(shared[column], alone[column], atol=1e-4)


def test_pairs_under_a_lesion_of_the_last_position(
    tiny_llama: Any, originals: dict[str, Any], tokenizer: Any
) -> None:
    mask = random_mask()
    by_hand = zeroed_by_hand(originals["llama"], mask, last=True)
    with lesion(tiny_llama, mask, positions="last"):
        found, *others = (MinimalPairs(PAIRS, batch_size=n)(tiny_llama).items for n in (64, 1, 3))
    for other in others:
        np.testing.assert_allclose(other["bad"], found["bad"], atol=1e-4)
    for side in ("good", "bad"):
        expected = [
            float(by_hand(ids_of(tokenizer, text)).sum()) for text in found[f"sentence_{side}"]
        ]
        np.testing.assert_allclose(found[side], expected, atol=5e-4)


def test_pairs_in_a_model_that_attends_in_both_directions(
    tiny_llama: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_llama.cfg, "attention_dir", "bidirectional")
    with pytest.warns(LensLocWarning, match="both directions.*scoring='pseudo-log-likelihood'"):
        result = MinimalPairs(PAIRS)(tiny_llama)
    found = result.items
    assert "reads a text in both directions" in repr(result)
    for task in (perplexity(["a text of words"]), multiple_choice("facts", limit=1)):
        with pytest.warns(LensLocWarning, match="both directions"):
            assert task(tiny_llama).warnings
    for side in ("good", "bad"):
        expected = []
        for text in found[f"sentence_{side}"]:
            ids = ids_of(tokenizer, text)
            with torch.no_grad():
                logits = tiny_llama(torch.tensor([ids[:-1]]), return_type="logits")[0]
            scores = logits.log_softmax(-1)[torch.arange(len(logits)), ids[1:]]
            expected.append(float(scores.sum()))
        np.testing.assert_allclose(found[side], expected, atol=5e-4)


@pytest.mark.pretrained
def test_bundled_pairs_equal_one_sentence_at_a_time(
    pretrained: Any, pretrained_folder: Path
) -> None:
    every = minimal_pairs()
    task = dataclasses.replace(every, pairs=every.pairs[::137])
    original = plain_model(pretrained_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    result = task(pretrained)
    assert len(result.items) == 27
    for row in result.items.to_dict("records"):
        for side in ("good", "bad"):
            ids = tokenizer(row[f"sentence_{side}"])["input_ids"]
            expected = float(plain_log_probs(original, ids).sum())
            assert row[side] == pytest.approx(expected, abs=1e-4)
    assert result.settings["prepends_bos"] is False
    assert 0.7 < result.score < 1


def blimp(pair: Pair, **fields: Any) -> dict[str, Any]:
    return {"sentence_good": pair.good, "sentence_bad": pair.bad, **fields}


def test_the_files_of_pairs(tmp_path: Path) -> None:
    named = [
        blimp(
            pair, field="syntax", linguistics_term="order", UID=pair.paradigm, pair_id=str(number)
        )
        for number, pair in enumerate(PAIRS[:6])
    ]
    lines = write_jsonl(tmp_path / "z.jsonl", named)
    found = minimal_pairs(lines).pairs
    assert [(p.good, p.bad, p.paradigm) for p in found] == [
        (p.good, p.bad, p.paradigm) for p in PAIRS[:6]
    ]
    assert {(p.phenomenon, p.field) for p in found} == {("order", "syntax")}
    assert found[4].place == f"{lines}, row 5"
    table = write_csv(tmp_path / "my_own.csv", [blimp(pair) for pair in PAIRS[6:]])
    rest = minimal_pairs(table).pairs
    assert [(p.good, p.bad) for p in rest] == [(p.good, p.bad) for p in PAIRS[6:]]
    assert {p.paradigm for p in rest} == {"my_own"}
    assert rest[0].place == f"{table}, row 2"
    (tmp_path / "readme.md").write_text("not a table")
    assert minimal_pairs(tmp_path).pairs == (*rest, *found)
    assert minimal_pairs(str(tmp_path)).pairs == (*rest, *found)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_limit_counts_in_every_paradigm(tmp_path: Path, limit: int) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [blimp(p, UID=p.paradigm) for p in PAIRS])
    found = [(p.good, p.paradigm) for p in minimal_pairs(path, limit=limit).pairs]
    expected = [
        (pair.good, pair.paradigm)
        for i, pair in enumerate(PAIRS)
        if sum(other.paradigm == pair.paradigm for other in PAIRS[:i]) < limit
    ]
    assert found == expected


def test_pairs_without_texts() -> None:
    task = MinimalPairs(PAIRS, "none", 3, "mine")
    assert task.texts == {text for pair in PAIRS for text in (pair.good, pair.bad)}
    left = task.without({PAIRS[0].good, PAIRS[3].bad, "another text"})
    assert left.pairs == (*PAIRS[1:3], *PAIRS[4:])
    assert (left.bos, left.batch_size, left.name) == ("none", 3, "mine")
    assert left.settings != task.settings
    assert task.without(["another text"]).settings == task.settings
    with pytest.raises(LensLocError, match="No pair of the task 'mine' is left"):
        task.without(task.texts)


def test_settings_of_pairs_tell_tasks_apart() -> None:
    task = MinimalPairs(PAIRS)
    others = [
        MinimalPairs(PAIRS[1:]),
        MinimalPairs(PAIRS[::-1]),
        MinimalPairs(PAIRS, "add"),
        MinimalPairs((dataclasses.replace(PAIRS[0], paradigm="z"), *PAIRS[1:])),
    ]
    found = [json.dumps(t.settings) for t in (task, *others)]
    assert len(set(found)) == 5
    assert MinimalPairs(PAIRS, batch_size=5).settings == task.settings


def bundled_rows() -> list[list[str]]:
    with (bundled_folder() / "minimal_pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_bundled_pairs() -> None:
    header, *rows = bundled_rows()
    assert header == ["UID", "linguistics_term", "field", "sentence_good", "sentence_bad"]
    sizes = Counter(row[0] for row in rows)
    assert len(sizes) >= 20
    assert min(sizes.values()) >= 50
    assert {row[2] for row in rows} == {"syntax", "morphology", "semantics", "syntax_semantics"}
    assert len({(row[0], row[1], row[2]) for row in rows}) == len(sizes)
    sides = [(row[3], row[4]) for row in rows]
    assert all(good.strip() and bad.strip() and good != bad for good, bad in sides)
    assert len({frozenset(pair) for pair in sides}) == len(sides)
    assert not {good for good, _ in sides} & {bad for _, bad in sides}
    found = minimal_pairs().pairs
    assert [[p.paradigm, p.phenomenon, p.field, p.good, p.bad] for p in found] == rows
    assert all(n == 3 for n in Counter(p.paradigm for p in minimal_pairs(limit=3).pairs).values())


def test_the_script_makes_the_bundled_pairs() -> None:
    script = runpy.run_path(str(bundled_folder() / "make_minimal_pairs.py"))
    assert [list(row) for row in script["make_rows"]()] == bundled_rows()[1:]


# -- perplexity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", ["model", "add"])
def test_perplexity_of_short_texts_is_transformers_loss(
    tiny: Any, original: Any, tokenizer: Any, bos: Any
) -> None:
    result = perplexity(TEXTS, bos=bos)(tiny)
    total, count = 0.0, 0
    for text, row in zip(TEXTS, result.items.to_dict("records"), strict=True):
        ids = torch.tensor([ids_of(tokenizer, text, bos=bos == "add")])
        with torch.no_grad():
            loss = float(original(ids, labels=ids).loss)
        n = ids.shape[1] - 1
        assert row["tokens"] == row["weight"] == n
        assert row["log_loss"] == row["value"] == pytest.approx(loss * n, abs=1e-3)
        assert row["text"] == text
        total, count = total + loss * n, count + n
    assert result.score == pytest.approx(math.exp(total / count), rel=1e-5)
    assert result.groups == {"all": pytest.approx(result.score)}
    assert not result.higher_is_better


def window_start(position: int, window: int, stride: int) -> int:
    """Where the window begins that scores a token: the first window that reaches it."""
    starts = itertools.count(0, stride)
    return next(start for start in starts if position < start + window)


@pytest.mark.parametrize(
    ("window", "stride"), [(24, 7), (20, 19), (96, 48), (None, None), (50, None)]
)
def test_a_long_text_equals_one_forward_pass_a_token(
    originals: dict[str, Any],
    checkpoints: dict[str, Path],
    tiny_llama: Any,
    tokenizer: Any,
    window: int | None,
    stride: int | None,
) -> None:
    ids = ids_of(tokenizer, LONG)
    assert len(ids) > 100 > 96 == tiny_llama.cfg.n_ctx
    loss = naive_long_loss(originals["llama"], ids, window or 96, stride or (window or 96) // 2)
    for batch_size in (1, "auto"):
        task = perplexity([LONG], window=window, stride=stride, batch_size=batch_size)
        result = task(tiny_llama)
        assert result.items["log_loss"][0] == pytest.approx(loss, abs=1e-3)
        assert result.score == pytest.approx(math.exp(loss / (len(ids) - 1)), rel=1e-5)
        assert result.settings["window"] == (window or 96)
        assert result.settings["stride"] == (stride or (window or 96) // 2)


def naive_long_loss(original: Any, ids: Sequence[int], window: int, stride: int) -> float:
    total = 0.0
    for position in range(1, len(ids)):
        start = window_start(position, window, stride)
        with torch.no_grad():
            logits = original(torch.tensor([ids[start:position]])).logits[0, -1]
        total -= float(logits.double().log_softmax(-1)[ids[position]])
    return total


def test_windows_in_every_model(tiny: Any, original: Any, tokenizer: Any) -> None:
    text = tiny_models.CORPUS[1]
    ids = ids_of(tokenizer, text, bos=True)
    result = perplexity([text, TEXTS[3]], window=10, stride=4, bos="add")(tiny)
    expected = [
        naive_long_loss(original, ids_of(tokenizer, t, bos=True), 10, 4) for t in (text, TEXTS[3])
    ]
    assert len(ids) > 25
    np.testing.assert_allclose(result.items["log_loss"], expected, atol=1e-3)


def test_every_token_but_the_first_is_scored_once() -> None:
    n_checked = 0
    for length, window in itertools.product(range(1, 30), range(2, 12)):
        for stride in range(1, window):
            ids = [100 + position for position in range(length)]
            scored = []
            for number, part in enumerate(sliding_windows(ids, window, stride)):
                start = number * stride
                assert part.ids == tuple(ids[start : start + window])
                assert part.first >= 1
                for place in range(part.first, len(part.ids)):
                    position = part.ids[place] - 100
                    assert place >= min(position, window - stride)
                    assert start == window_start(position, window, stride)
                    scored.append(position)
                    n_checked += 1
            assert scored == list(range(1, length))
    assert n_checked > 10_000


def test_bits_per_byte(tiny: Any, original: Any, tokenizer: Any) -> None:
    result = tasks.bits_per_byte(TEXTS)(tiny)
    nats = -sum(float(plain_log_probs(original, ids_of(tokenizer, t)).sum()) for t in TEXTS)
    # A byte-level token's name has a letter per byte; the first one is not scored, nor its bytes.
    firsts = [tokenizer.convert_ids_to_tokens(ids_of(tokenizer, t)[0]) for t in TEXTS]
    sizes = [len(t.encode("utf-8")) - len(f) for t, f in zip(TEXTS, firsts, strict=True)]
    assert result.items["bytes"].tolist() == sizes
    n_bytes = sum(sizes)
    assert result.score == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-5)
    assert result.mean == result.score
    assert (result.measure, result.exponential) == ("bits per byte", False)
    assert perplexity(TEXTS, per="byte") == tasks.bits_per_byte(TEXTS)


def test_the_files_of_texts(tmp_path: Path) -> None:
    records = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    files = [
        write_jsonl(tmp_path / "a.jsonl", records),
        write_csv(tmp_path / "a.csv", records),
        tmp_path / "a.parquet",
    ]
    pd.DataFrame(records).to_parquet(files[2])
    for file in files:
        for path in (file, str(file)):
            task = perplexity(path)
            assert task.texts == TEXTS
            assert task.settings == perplexity(list(TEXTS)).settings
        assert all(str(file) in place for place in task.places)
        assert perplexity(file, limit=2).texts == TEXTS[:2]
    (tmp_path / "a.txt").write_text(TEXTS[2], encoding="utf-8")
    assert perplexity(tmp_path / "a.txt").texts == (TEXTS[2],)


def test_the_bundled_prose_is_the_held_out_part() -> None:
    with (bundled_folder() / "prose" / "en.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = tuple(row["text"] for row in rows if row["part"] == "held-out")
    assert len(expected) == 21 < len(rows)
    assert perplexity().texts == expected
    assert perplexity(limit=4).texts == expected[:4]


def test_perplexity_without_texts() -> None:
    task = perplexity(TEXTS, bos="add", window=9, name="mine")
    left = task.without({TEXTS[1], "another"})
    assert left.texts == (TEXTS[0], *TEXTS[2:])
    assert left.places == ("Text 1", "Text 3", "Text 4", "Text 5")
    assert dataclasses.replace(left, texts=task.texts, places=task.places) == task
    assert left.settings != task.settings
    with pytest.raises(LensLocError, match="No text of the task 'mine' is left"):
        task.without(TEXTS)


@pytest.mark.parametrize(
    ("adds_bos", "bos", "prepends"),
    [
        (False, "model", False),
        (False, "add", True),
        (False, "none", False),
        (True, "model", True),
        (True, "add", True),
        (True, "none", False),
    ],
)
def test_who_puts_a_beginning_of_text(
    tmp_path: Path, tokenizer: Any, adds_bos: bool, bos: Any, prepends: bool
) -> None:
    config = tiny_models.CONFIGS["llama"]()
    folder = tiny_models.make_checkpoint(tmp_path / "my-model", config, adds_bos=adds_bos)
    model, original = ll.load_model(folder), plain_model(folder)
    lengths = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    result = perplexity(TEXTS, bos=bos)(model)
    assert result.settings["prepends_bos"] is prepends
    assert result.items["tokens"].tolist() == [n - 1 + prepends for n in lengths]
    expected = [
        -float(plain_log_probs(original, ids_of(tokenizer, text, bos=prepends)).sum())
        for text in TEXTS
    ]
    np.testing.assert_allclose(result.items["log_loss"], expected, atol=1e-3)
    pairs = MinimalPairs(PAIRS, bos)(model)
    assert pairs.settings["prepends_bos"] is prepends
    first = plain_log_probs(original, ids_of(tokenizer, PAIRS[0].good, bos=prepends)).sum()
    assert pairs.items["good"][0] == pytest.approx(float(first), abs=1e-4)


# -- multiple choice -------------------------------------------------------------------------------


WHOLE = [  # prompt + choice, with a space where neither side has one
    ["the old gardener watered", "the old gardener built every bridge"],
    ["the old gardener", "the old sun", "the old thirty one"],
    ["twelve plus\n nineteen", "twelve plus\nnine", "twelve plus\nça va 🙂"],
    ["vash: the", "vash:\nthe", "vash: then"],
    ["x nobody in the village", "x one"],
]


@pytest.mark.parametrize("bos", ["none", "add"])
def test_choices_equal_one_text_at_a_time(
    tiny: Any, original: Any, tokenizer: Any, tmp_path: Path, bos: Any
) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", QUESTIONS)
    merged = 0
    scores: dict[str, list[list[float]]] = {"none": [], "tokens": [], "bytes": []}
    for question, texts in zip(QUESTIONS, WHOLE, strict=True):
        before = ids_of(tokenizer, question["prompt"], bos=bos == "add")
        every = [ids_of(tokenizer, text, bos=bos == "add") for text in texts]
        # From one position on: the first at which the tokens of any choice leave the prompt's own.
        first = max(1, min(n_common(before, ids) for ids in every))
        merged += first < len(before)
        totals = [float(plain_log_probs(original, ids)[first - 1 :].sum()) for ids in every]
        behind = [tokenizer.decode(ids[first:]).strip().encode("utf-8") for ids in every]
        scores["none"].append(totals)
        scores["tokens"].append(
            [total / (len(ids) - first) for total, ids in zip(totals, every, strict=True)]
        )
        scores["bytes"].append(
            [total / len(part) for total, part in zip(totals, behind, strict=True)]
        )
    assert merged > 0
    answers = [0, 1, 2, 1, 1]
    for normalize, expected in scores.items():
        for batch_size in (1, 3, "auto"):
            task = multiple_choice(path, normalize=normalize, bos=bos, batch_size=batch_size)  # type: ignore[arg-type]
            result = task(tiny)
            for found, wanted in zip(result.items["scores"], expected, strict=True):
                np.testing.assert_allclose(found, wanted, atol=1e-4)
            chosen = [max(range(len(s)), key=s.__getitem__) for s in expected]
            assert result.items["chosen"].tolist() == chosen
            right = [a == b for a, b in zip(chosen, answers, strict=True)]
            assert result.items["value"].tolist() == right
            assert result.score == pytest.approx(np.mean(right))
    assert result.items["answer"].tolist() == answers
    assert result.items["item"].tolist() == ["1", "2", "3", "4", "last"]
    assert result.items["group"].tolist() == ["all", "all", "all", "b", "all"]
    assert result.chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 3 + 1 / 2) / 5)
    assert result.task == "mine"


def test_a_space_is_added_where_neither_side_has_one(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", QUESTIONS)
    found = [[q.prompt + c for c in q.choices] for q in multiple_choice(path).questions]
    assert found == WHOLE


def test_choices_of_one_token_are_run_once(
    tiny: Any, original: Any, tokenizer: Any, tmp_path: Path
) -> None:
    prompts = ["the old gardener", "twelve plus nineteen is", "vash"]
    letters = [" v", " x", " j", " q"]
    before = [ids_of(tokenizer, f"{prompt} ") for prompt in prompts]
    records = []
    for prompt, ids in zip(prompts, before, strict=True):
        kept = [c for c in letters if len(ids_of(tokenizer, prompt + c)) == len(ids) + 1]
        kept = [c for c in kept if ids_of(tokenizer, prompt + c)[:-1] == ids]
        assert len(kept) >= 3
        records.append({"prompt": f"{prompt} ", "choices": [c.strip() for c in kept], "answer": 0})
    path = write_jsonl(tmp_path / "x.jsonl", records)
    with shapes_of_passes(tiny) as shapes:
        result = multiple_choice(path)(tiny)
    assert sum(rows for rows, _ in shapes) == len(prompts)
    for record, scores in zip(records, result.items["scores"], strict=True):
        for choice, score in zip(record["choices"], scores, strict=True):
            ids = ids_of(tokenizer, record["prompt"] + choice)
            assert score == pytest.approx(float(plain_log_probs(original, ids)[-1]), abs=1e-4)


def test_equal_choices_share_the_credit(checkpoints: dict[str, Path]) -> None:
    uniform = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        uniform.unembed.W_U.zero_()
        uniform.unembed.b_U.zero_()
    questions = [Question("the sun", (" j", " x", " q"), answer) for answer in range(3)]
    # The last choice has more tokens, so that two are the best.
    questions += [Question("the sun", (" j", " x", " gardener"), answer) for answer in range(3)]
    with pytest.warns(LensLocWarning, match="6 of 6 items of .* are ties"):
        result = tasks.MultipleChoice(tuple(questions))(uniform)
    assert result.items["chosen"].tolist() == [-1] * 6
    assert result.n_ties == 6
    assert result.items["value"].tolist() == pytest.approx([1 / 3] * 3 + [1 / 2, 1 / 2, 0])
    assert result.score == pytest.approx(result.chance) == pytest.approx(1 / 3)


def test_kinds_and_limit(tmp_path: Path) -> None:
    records = [
        {"prompt": f"prompt {i}", "choices": ["a", "b"], "answer": 0, "kind": "xyz"[i % 3]}
        for i in range(9)
    ]
    path = write_jsonl(tmp_path / "x.jsonl", records)

    def prompts(**options: Any) -> list[int]:
        return [int(q.prompt[-1]) for q in multiple_choice(path, **options).questions]

    assert prompts() == list(range(9))
    assert prompts(kinds=["z", "x"]) == [0, 2, 3, 5, 6, 8]
    assert prompts(limit=2) == [0, 1, 2, 3, 4, 5]
    assert prompts(kinds=("y",), limit=1) == [1]
    with pytest.raises(LensLocError, match="has no kind 'w'; it has x, y, z"):
        multiple_choice(path, kinds=["x", "w"])
    assert multiple_choice(path).settings != multiple_choice(path, normalize="bytes").settings
    assert multiple_choice(path).settings != multiple_choice(path, limit=1).settings


@pytest.mark.parametrize("name", tasks.BUNDLED_CHOICES)
def test_the_bundled_questions(name: str) -> None:
    questions = multiple_choice(name).questions
    assert len(questions) >= 200
    assert len({question.item for question in questions}) == len(questions)
    by_kind = defaultdict(list)
    for question in questions:
        by_kind[question.kind].append(question)
    texts = [q.prompt + choice for q in questions for choice in q.choices]
    assert len(set(texts)) == len(texts)
    for found in by_kind.values():
        places = Counter(question.answer for question in found)
        assert len(places) == len(found[0].choices)
        assert max(places.values()) - min(places.values()) <= 1
    assert all(len(set(q.choices)) == len(q.choices) >= 2 for q in questions)
    assert multiple_choice(name).name == name


def solved(prompt: str) -> int:
    """The answer to an arithmetic question, from its text."""
    numbers = [int(number) for number in re.findall(r"\d+", prompt)]
    if match := re.fullmatch(r"Question: What is (\d+) ([+-]) (\d+)\?\nAnswer:", prompt):
        a, b = int(match[1]), int(match[3])
        return a + b if match[2] == "+" else a - b
    if re.fullmatch(r"Question: Which number is (larger|smaller), \d+ or \d+\?\nAnswer:", prompt):
        return max(numbers) if "larger" in prompt else min(numbers)
    if match := re.search(r"(\d+) \+ (\d+) =$", prompt):
        told = re.findall(r"(\d+) \+ (\d+) = (\d+)\n", prompt)
        assert all(int(a) + int(b) == int(total) for a, b, total in told)
        if not told:  # a story, which says the same numbers
            assert re.search(rf" has {match[1]} \w+ and gets {match[2]} more\.", prompt), prompt
        return int(match[1]) + int(match[2])
    if match := re.fullmatch(r"The number that comes right after (\d+) is", prompt):
        return int(match[1]) + 1
    assert re.fullmatch(r"Count (on|back):( \d+,)+", prompt), prompt
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    assert len(steps) == 1
    (step,) = steps
    assert ("on" in prompt.split(":")[0].split()) == (step > 0)
    return numbers[-1] + step


def test_every_arithmetic_answer_is_right() -> None:
    with (bundled_folder() / "arithmetic.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    for record in records:
        assert int(record["choices"][record["answer"]]) == solved(record["prompt"]), record
    assert Counter(record["kind"] for record in records) == dict.fromkeys(
        ("addition", "subtraction", "comparison", "counting-on", "worked-sums", "story-sums",
         "next-number"), 50
    )  # fmt: skip


def test_the_script_makes_the_arithmetic() -> None:
    script = runpy.run_path(str(bundled_folder() / "make_arithmetic.py"))
    text = (bundled_folder() / "arithmetic.jsonl").read_text(encoding="utf-8")
    assert script["make_rows"]() == [json.loads(line) for line in text.splitlines()]


MADE = ("facts", "code", "theory-of-mind", "other-languages")


def records_of(name: str) -> list[dict[str, Any]]:
    text = (bundled_folder() / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_script_makes_the_questions() -> None:
    script = runpy.run_path(str(bundled_folder() / "make_questions.py"))
    assert set(script["MAKERS"]) == set(MADE)
    for name in MADE:
        assert script["make_rows"](name) == records_of(name)


@pytest.mark.parametrize("name", MADE)
def test_a_fixed_preference_for_a_word_gains_nothing(name: str) -> None:
    """Within its pool every choice is right once, and wrong as often as there are others."""
    records = records_of(name)
    pools = defaultdict(list)
    for record in records:
        if len(record["choices"]) == 4:
            pools[record["kind"], tuple(sorted(record["choices"]))].append(record)
    assert pools
    for (_, choices), pool in pools.items():
        rights = Counter(record["choices"][record["answer"]] for record in pool)
        assert set(rights) == set(choices)
        assert len(set(rights.values())) == 1
        assert len(set(Counter(record["answer"] for record in pool).values())) == 1


def test_questions_of_two_choices_hold_their_answer_where_it_should_be() -> None:
    mind = {record["item"]: record for record in records_of("theory-of-mind")}
    for record in mind.values():
        right = record["choices"][record["answer"]]
        if record["kind"] == "false-belief":  # where the thing was put first
            thing, first = re.search(r"puts the (\w+) in the (\w+) and", record["prompt"]).groups()
            assert right == first
            assert f"the {thing} is still in the" in record["prompt"]
        elif record["kind"] == "who-knows":
            assert f"{right} looked into" in record["prompt"]
        elif record["kind"] == "who-wants":
            who = record["prompt"].split()[-2]
            assert re.search(rf"{who} (wants|would like) {right}", record["prompt"])
    for record in records_of("other-languages"):
        if record["kind"].endswith("-order"):
            one, two = (
                [word.strip(" .?") for word in choice.split()] for choice in record["choices"]
            )
            assert one != two
            assert [two[1], two[0], *two[2:]] == one, record
            assert record["choices"][0][-1] == record["choices"][1][-1]


def test_every_line_of_code_is_closed_by_the_right_sign() -> None:
    for record in records_of("code"):
        right = record["choices"][record["answer"]]
        code = record["prompt"] + right
        if record["kind"] == "closing":
            compile(code + (" pass" if right == ":" else ""), "line", "exec")
        elif record["kind"] == "loops":
            compile(code + " pass", "line", "exec")


# -- the seven domains -----------------------------------------------------------------------------


def test_seven_domains_of_a_hundred_items_and_more() -> None:
    found = tasks.domains()
    assert [task.name for task in found] == list(DOMAINS)
    sizes = [len(getattr(task, "pairs", None) or task.questions) for task in found]
    assert min(sizes) >= 200
    few = {task.name: task for task in tasks.domains(["facts", "grammar"], items=8)}
    assert list(few) == ["facts", "grammar"]
    counts = Counter(question.kind for question in few["facts"].questions)
    assert sorted(counts.values()) == [1, 1, 1, 1, 2, 2]
    assert len({pair.paradigm for pair in few["grammar"].pairs}) == 8
    refused(lambda: tasks.domains("physics"), "no domain 'physics'; there are grammar")
    refused(lambda: tasks.domains([]), "Name at least one domain")
    refused(lambda: tasks.domains(["code", "code"]), "and each once")
    refused(lambda: tasks.domains(items=0), "items is at least 1")


# -- generation ------------------------------------------------------------------------------------


def greedily(
    next_logits: Callable[[list[int]], Tensor], ids: Sequence[int], n: int, end: int = 0
) -> list[int]:
    """What an argmax at a time writes, up to and without an end-of-text token."""
    written: list[int] = []
    while len(written) < n:
        token = int(next_logits([*ids, *written]).argmax())
        if token == end:
            break
        written.append(token)
    return written


def plain_next_logits(original: Any) -> Callable[[list[int]], Tensor]:
    def next_logits(ids: list[int]) -> Tensor:
        with torch.no_grad():
            return original(torch.tensor([ids])).logits[0, -1]

    return next_logits


@pytest.mark.parametrize("bos", ["none", "add"])
def test_greedy_text_equals_an_argmax_at_a_time(
    tiny: Any, original: Any, tokenizer: Any, bos: Any
) -> None:
    results = [
        generation(PROMPTS, max_new_tokens=9, bos=bos, batch_size=batch_size)(tiny)
        for batch_size in (1, 3, "auto")
    ]
    for number, prompt in enumerate(PROMPTS):
        ids = ids_of(tokenizer, prompt, bos=bos == "add")
        written = greedily(plain_next_logits(original), ids, 9)
        logs = plain_log_probs(original, [*ids, *written])[len(ids) - 1 :]
        text = tokenizer.decode(written)
        words = text.split()
        for result in results:
            row = result.items.iloc[number]
            assert (row["prompt"], row["text"]) == (prompt, text)
            assert row["tokens"] == row["weight"] == len(written)
            assert row["value"] == pytest.approx(float(logs.sum()), abs=1e-3)
            assert row["words"] == len(words)
            assert row["distinct_1"] == pytest.approx(len(set(words)) / len(words))
    assert results[0].items["tokens"].max() == 9
    total, n = results[0].items["value"].sum(), results[0].items["weight"].sum()
    assert results[0].score == pytest.approx(total / n)


def test_text_ends_at_end_of_text(
    checkpoints: dict[str, Path], originals: dict[str, Any], tokenizer: Any, backend: Any
) -> None:
    endless = [
        greedily(plain_next_logits(originals["gpt2"]), ids_of(tokenizer, prompt), 12, end=-1)
        for prompt in PROMPTS
    ]
    at_fourth = Counter(written[3] for written in endless if written[3] not in written[:3])
    end = next(iter(at_fourth))
    model = ll.load_model(checkpoints["gpt2"], backend=backend)
    model.tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    result = generation(PROMPTS, max_new_tokens=12)(model)
    lengths = []
    for written, row in zip(endless, result.items.to_dict("records"), strict=True):
        cut = list(itertools.takewhile(lambda token: token != end, written))
        assert row["tokens"] == row["weight"] == len(cut)
        assert row["text"] == tokenizer.decode(cut)
        lengths.append(len(cut))
    assert 3 in lengths
    assert max(lengths) > 3
    model.tokenizer.eos_token = tokenizer.convert_ids_to_tokens(endless[0][0])
    with pytest.warns(LensLocWarning, match="Nothing was written after any prompt"):
        nothing = generation(PROMPTS[:1], max_new_tokens=5)(model)
    assert nothing.items["text"].tolist() == [""]
    assert nothing.items["tokens"].tolist() == [0]
    assert math.isnan(nothing.score)
    assert math.isnan(nothing.items["distinct_1"][0])


def test_seeds_of_sampling(tiny: Any) -> None:
    def texts(prompts: Sequence[str] = PROMPTS[:5], seed: int = 0, temperature: float = 1.0) -> Any:
        task = generation(prompts, max_new_tokens=4, temperature=temperature, seed=seed)
        return task(tiny).items["text"].tolist()

    state = torch.get_rng_state()
    found = texts()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert texts() == found
    assert texts(seed=100) != found
    assert texts(PROMPTS[:3]) == found[:3]
    assert texts((PROMPTS[0], "vash", *PROMPTS[2:5]))[2:] == found[2:]
    greedy = generation(PROMPTS[:5], max_new_tokens=4)(tiny).items["text"].tolist()
    assert texts(temperature=1e-4) == greedy
    assert found != greedy
    torch.set_rng_state(state)


def test_fluency_is_judged_by_the_intact_model(tiny: Any, original: Any, tokenizer: Any) -> None:
    mask = random_mask()
    task = generation(PROMPTS, max_new_tokens=6)
    before = task(tiny)
    tokens = torch.tensor([ids_of(tokenizer, PROMPTS[1])])

    def logits() -> Tensor:
        with torch.no_grad():
            return tiny(tokens, return_type="logits").clone()

    def zeroed(site: str, layer: int, value: Tensor) -> Tensor:
        return value.masked_fill(mask.mask[layer], 0) if site == mask.site else value

    def next_logits(ids: list[int]) -> Tensor:
        return handwritten.logits(original, torch.tensor([ids]), zeroed)[0, -1]

    with lesion(tiny, mask):
        lesioned = logits()
        result = task(tiny)
        assert torch.equal(logits(), lesioned)
        own = []
        for prompt, row in zip(PROMPTS, result.items.to_dict("records"), strict=True):
            ids = ids_of(tokenizer, prompt)
            written = greedily(next_logits, ids, 6)
            assert row["text"] == tokenizer.decode(written)
            expected = plain_log_probs(original, [*ids, *written])[len(ids) - 1 :]
            assert row["value"] == pytest.approx(float(expected.sum()), abs=1e-3)
            (judged,) = token_log_probs(tiny, [Scored((*ids, *written), len(ids))], progress=False)
            own.append(float(judged.sum()) - row["value"])
        assert max(map(abs, own)) > 0.1
    assert not torch.equal(logits(), lesioned)
    assert result.items["text"].tolist() != before.items["text"].tolist()
    pd.testing.assert_frame_equal(task(tiny).items, before.items)


def test_distinct_by_hand() -> None:
    words = "the cat saw the cat saw the dog".split()
    assert distinct(words, 1) == 4 / 8
    assert distinct(words, 2) == 4 / 7  # the-cat, cat-saw, saw-the, the-dog
    assert distinct(["one"], 1) == 1
    assert math.isnan(distinct(["one"], 2))
    assert math.isnan(distinct([], 1))


def test_the_prompts(tmp_path: Path) -> None:
    bundled = (bundled_folder() / "beginnings.txt").read_text(encoding="utf-8").splitlines()
    assert generation().prompts == tuple(bundled)
    assert len(set(bundled)) == 60
    assert generation(limit=7).prompts == tuple(bundled[:7])
    path = tmp_path / "mine.txt"
    path.write_text("the old\n\nthe sun came\n", encoding="utf-8")
    assert generation(path).prompts == ("the old", "the sun came")
    assert generation(str(path)).prompts == generation(["the old", "the sun came"]).prompts
    settings = [
        generation(path).settings,
        generation(path, temperature=0.5).settings,
        generation(path, seed=1).settings,
        generation(path, max_new_tokens=3).settings,
        generation(path, bos="add").settings,
        generation(path, limit=1).settings,
    ]
    assert len({json.dumps(found) for found in settings}) == len(settings)


# -- every task ------------------------------------------------------------------------------------


def every_task(folder: Path) -> dict[str, Any]:
    return {
        "pairs": MinimalPairs(PAIRS),
        "perplexity": perplexity(TEXTS, window=12),
        "bits": tasks.bits_per_byte(TEXTS),
        "choice": multiple_choice(write_jsonl(folder / "q.jsonl", QUESTIONS)),
        "generation": generation(PROMPTS, max_new_tokens=4),
    }


def test_a_lesion_changes_every_result_and_leaves_nothing_behind(tiny: Any, tmp_path: Path) -> None:
    every = every_task(tmp_path)
    before = {name: task(tiny) for name, task in every.items()}
    with lesion(tiny, random_mask(), "scale", scale=-1.0):
        during = {name: task(tiny) for name, task in every.items()}
    for name, task in every.items():
        column = {"pairs": "good", "choice": "scores"}.get(name, "value")
        for intact, lesioned in zip(
            before[name].items[column], during[name].items[column], strict=True
        ):
            assert np.abs(np.asarray(intact) - np.asarray(lesioned)).max() > 1e-3
        assert during[name].settings == before[name].settings
        pd.testing.assert_frame_equal(task(tiny).items, before[name].items)
    for name in ("perplexity", "bits", "generation"):
        assert during[name].score != before[name].score


def test_a_model_in_training_mode_is_scored_without_dropout(
    checkpoints: dict[str, Path], originals: dict[str, Any], tokenizer: Any
) -> None:
    model = ll.load_model(checkpoints["gpt2"], backend="bridge").train()
    result = perplexity(TEXTS)(model)
    expected = [
        -float(plain_log_probs(originals["gpt2"], ids_of(tokenizer, text)).sum()) for text in TEXTS
    ]
    np.testing.assert_allclose(result.items["log_loss"], expected, atol=1e-3)
    assert model.training


@pytest.mark.parametrize("name", ["pairs", "perplexity", "bits", "choice", "generation"])
def test_a_result_survives_json_exactly(tiny_llama: Any, tmp_path: Path, name: str) -> None:
    result = every_task(tmp_path)[name](tiny_llama)
    again = TaskResult.from_record(json.loads(json.dumps(result.to_record())))
    pd.testing.assert_frame_equal(again.items, result.items, check_exact=True)
    assert again.score == result.score
    assert again.mean == result.mean
    assert again.groups == result.groups
    for field in ("task", "measure", "higher_is_better", "exponential", "chance", "settings"):
        assert getattr(again, field) == getattr(result, field)
    assert repr(again) == repr(result)
    with pytest.raises(TypeError):
        TaskResult.from_record({**result.to_record(), "unknown": 1})
    with pytest.raises(KeyError):
        TaskResult.from_record({"task": "x"})


def test_means_by_hand() -> None:
    items = pd.DataFrame(
        {
            "item": ["1", "2", "3"],
            "group": ["b", "a", "b"],
            "value": [3.0, 5.0, 6.0],
            "weight": [1.0, 10.0, 2.0],
        }
    )
    result = TaskResult("x", "perplexity", items, exponential=True)
    assert result.mean == pytest.approx(14 / 13)
    assert result.score == pytest.approx(math.exp(14 / 13))
    assert list(result.groups) == ["b", "a"]
    assert result.groups == pytest.approx({"b": math.exp(3), "a": math.exp(0.5)})
    plain = TaskResult("x", "accuracy", items)
    assert plain.score == plain.mean
    assert plain.groups == pytest.approx({"b": 3, "a": 0.5})
    assert math.isnan(TaskResult("x", "accuracy", items.iloc[:0]).score)


# -- bad input -------------------------------------------------------------------------------------


PAIR = {"sentence_good": "the sun", "sentence_bad": "sun the"}
QUESTION = {"prompt": "the old", "choices": ["sun", "bridge"], "answer": 0}


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", "", ["holds no pair"]),
        ("a.csv", "sentence_good,sentence_bad\n", ["holds no pair"]),
        ("a.jsonl", json.dumps(PAIR) + "\n{oops\n", ["row 2", "not JSON"]),
        ("a.jsonl", "[1, 2]\n", ["row 1", "not a JSON object"]),
        ("a.jsonl", '\n{"sentence_good": "x"}\n', ["row 2", "lacks the field 'sentence_bad'"]),
        ("a.csv", "good,sentence_bad\na,b\n", ["lacks the column 'sentence_good'"]),
        (
            "a.csv",
            "sentence_good,sentence_bad\na b,\n",
            ["row 2", "column 'sentence_bad' is empty"],
        ),
        ("a.jsonl", json.dumps({**PAIR, "sentence_good": " "}), ["row 1", "'sentence_good' is"]),
        ("a.jsonl", json.dumps({**PAIR, "sentence_good": 3}), ["row 1", "is of type int"]),
        ("a.jsonl", json.dumps({**PAIR, "sentence_bad": "the sun"}), ["no pair of two different"]),
        ("a.md", "x", ["must end in .csv, .tsv, .jsonl, .parquet"]),
    ],
)
def test_bad_files_of_pairs(tmp_path: Path, name: str, content: str, parts: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    refused(lambda: minimal_pairs(path), str(path), *parts)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", "", ["There is no text"]),
        ("a.jsonl", '{"text": "x"}\n{"text": 3', ["{path}, row 2", "not JSON"]),
        ("a.jsonl", '{"txt": "x"}\n', ["{path}, row 1", "lacks the field 'text'"]),
        ("a.csv", "txt\nx\n", ["{path} lacks the column 'text'"]),
        ("a.csv", 'text\nx\n"  "\n', ["{path}, row 3", "column 'text' is empty"]),
        ("a.txt", " \n", ["{path} is empty"]),
        ("a.parquet", "x", ["{path} is not a readable Parquet"]),
        ("a.md", "x", ["{path} must end in .txt, .csv, .tsv, .jsonl, .parquet"]),
    ],
)
def test_bad_files_of_texts(tmp_path: Path, name: str, content: str, parts: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    refused(lambda: perplexity(path), *(part.format(path=path) for part in parts))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["holds no question"]),
        (json.dumps(QUESTION) + "\n{", ["row 2", "not JSON"]),
        ('{"prompt": "x", "choices": ["a", "b"]}', ["row 1", "lacks the field 'answer'"]),
        (json.dumps({**QUESTION, "prompt": " "}), ["row 1", "'prompt' is empty"]),
        (json.dumps({**QUESTION, "prompt": 1}), ["row 1", "'prompt' is of type int"]),
        (json.dumps({**QUESTION, "choices": ["sun"]}), ["row 1", "at least two different"]),
        (json.dumps({**QUESTION, "choices": ["sun", "sun"]}), ["row 1", "at least two different"]),
        (json.dumps({**QUESTION, "choices": ["sun", ""]}), ["row 1", "at least two different"]),
        (json.dumps({**QUESTION, "choices": ["sun", 2]}), ["row 1", "at least two different"]),
        (json.dumps({**QUESTION, "choices": "sun"}), ["row 1", "at least two different"]),
        (json.dumps({**QUESTION, "answer": "moon"}), ["row 1", "answer 'moon' is neither"]),
        (json.dumps({**QUESTION, "answer": 2}), ["row 1", "answer 2 is neither", "0 to 1"]),
        (json.dumps({**QUESTION, "answer": -1}), ["row 1", "answer -1 is neither"]),
        (json.dumps({**QUESTION, "answer": True}), ["row 1", "answer True is neither"]),
        (json.dumps({**QUESTION, "answer": None}), ["row 1", "answer None is neither"]),
    ],
)
def test_bad_files_of_questions(tmp_path: Path, content: str, parts: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content, encoding="utf-8")
    refused(lambda: multiple_choice(path), str(path), *parts)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the tests' own checks of types, as for a user."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["the sun", None], "{what} 2 (None) is missing"),
        (["the sun", 3.5], "{what} 2 (3.5) is of type float, not a text"),
        ([["the", "sun"]], "{what} 1 (['the', 'sun']) is of type list, not a text"),
        (pd.Series(["the sun", math.nan]), "{what} 2 (nan) is of type float"),
        ({"a": "hot tea"}, "{what}s: a list of texts is needed, not something of type dict"),
        (b"the sun", "{what}s: a list of texts is needed, not something of type bytes"),
        (7, "{what}s: a list of texts is needed, not something of type int"),
        (["the sun", "half \ud83d of it"], "holds half a character (the lone surrogate U+D83D"),
    ],
)
def test_texts_that_are_none_are_refused_by_row(tiny_llama: Any, given: Any, message: str) -> None:
    for make, what in (
        (perplexity, "Text"),
        (tasks.bits_per_byte, "Text"),
        (generation, "Prompt"),
        (lambda g: ll.lape.generate(tiny_llama, {"en": g}, progress=False), "Prompt of 'en'"),
        (lambda g: ll.lape.generate(tiny_llama, {"en": ["x"]}, reference={"en": g}), "Text"),
    ):
        with pytest.raises(LensLocError) as caught:
            make(given)
        assert message.format(what=what) in str(caught.value)
    assert perplexity(pd.Series(["the sun", "vash"])).texts == ("the sun", "vash")
    assert perplexity(text for text in ("the sun", "vash")).texts == ("the sun", "vash")


def test_half_a_character_in_a_file(tmp_path: Path) -> None:
    half = "half \ud83d of it"
    texts = write_jsonl(tmp_path / "t.jsonl", [{"text": "the sun"}, {"text": half}])
    refused(lambda: perplexity(texts), f"{texts}, row 2: the column 'text' holds half a character")
    pairs = write_jsonl(tmp_path / "p.jsonl", [{**PAIR, "sentence_bad": half}])
    refused(
        lambda: minimal_pairs(pairs),
        f"{pairs}, row 1: the column 'sentence_bad' holds half",
    )
    asked = write_jsonl(tmp_path / "q.jsonl", [QUESTION, {**QUESTION, "choices": ["a", half]}])
    refused(
        lambda: multiple_choice(asked),
        f"{asked}, row 2: choices is not a list",
    )


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for make, name in (
        (minimal_pairs, "no.jsonl"),
        (minimal_pairs, "no.csv"),
        (perplexity, "no.txt"),
        (perplexity, "no.parquet"),
        (perplexity, "no.jsonl"),
        (multiple_choice, "no.jsonl"),
        (generation, "no.txt"),
    ):
        missing = tmp_path / name
        refused(lambda m=make, p=missing: m(p), f"There is no stimulus file {missing}")
    refused(lambda: minimal_pairs(tmp_path), f"{tmp_path} holds no .csv, .tsv, .jsonl, .parquet")
    refused(lambda: multiple_choice(tmp_path / "x.csv"), "must end in .jsonl")
    refused(lambda: multiple_choice("physics"), "arithmetic, code, commonsense")
    refused(lambda: generation("Once upon a time"), "must end in .txt")
    refused(lambda: perplexity("Once upon a time"), "give a list")


def test_bad_options(tiny_llama: Any) -> None:
    for make in (minimal_pairs, perplexity, generation):
        for limit in (0, -1):
            refused(lambda m=make, n=limit: m(limit=n), "limit is at least 1", f"{limit} is not")
    refused(lambda: multiple_choice("arithmetic", limit=0), "limit is at least 1", "0 is not")
    refused(lambda: generation(max_new_tokens=0), "max_new_tokens is at least 1")
    refused(lambda: generation(temperature=-0.5), "temperature is 0 or above")
    refused(lambda: generation(temperature=math.nan), "temperature is 0 or above")
    refused(lambda: generation([]), "There is no prompt")
    refused(lambda: perplexity([]), "There is no text")
    refused(lambda: perplexity(["x", "  "]), "Text 2", "empty")
    for window in (0, 1, 97):
        task = perplexity(TEXTS, window=window)
        refused(lambda t=task: t(tiny_llama), "window is 2 to 96 tokens", f"{window} is not")
    for stride in (0, 10, 11):
        task = perplexity(TEXTS, window=10, stride=stride)
        refused(lambda t=task: t(tiny_llama), "below the window of 10", f"{stride} is not")
    for task in (MinimalPairs(PAIRS, batch_size=0), perplexity(TEXTS, batch_size=0)):
        refused(lambda t=task: t(tiny_llama), "A batch holds at least one text")


def test_texts_of_a_length_that_does_not_fit(tiny_llama: Any, tmp_path: Path) -> None:
    short = write_jsonl(tmp_path / "a.jsonl", [PAIR, {"sentence_good": "a", "sentence_bad": "b c"}])
    place = f"{short}, row 2"
    refused(lambda: minimal_pairs(short)(tiny_llama), place, "'a'", "use bos='add'")
    assert len(minimal_pairs(short, bos="add")(tiny_llama).items) == 2
    long = write_jsonl(tmp_path / "b.jsonl", [PAIR, {**PAIR, "sentence_bad": LONG}])
    refused(lambda: minimal_pairs(long)(tiny_llama), f"{long}, row 2", "context window is 96")
    refused(lambda: perplexity(["the sun", "a"])(tiny_llama), "Text 2", "'a'", "use bos='add'")
    asked = write_jsonl(tmp_path / "q.jsonl", [QUESTION, {**QUESTION, "prompt": LONG}])
    refused(lambda: multiple_choice(asked)(tiny_llama), f"{asked}, row 2", "context window is 96")


def test_prompts_that_leave_no_room(tiny_llama: Any, tokenizer: Any) -> None:
    prompt = "the old gardener"
    n = len(ids_of(tokenizer, prompt))
    fits = generation([prompt], max_new_tokens=96 - n)(tiny_llama)
    assert fits.items["tokens"][0] <= 96 - n
    full = generation(["the sun", prompt], max_new_tokens=97 - n)
    refused(lambda: full(tiny_llama), f"Prompt 2 with {97 - n} tokens after it", "is 96")
    with_bos = generation([prompt], max_new_tokens=96 - n, bos="add")
    refused(lambda: with_bos(tiny_llama), "has 97 tokens")
    refused(lambda: generation(["the", ""])(tiny_llama), "Prompt 2 has no tokens", "bos='add'")
    assert generation([""], bos="add", max_new_tokens=2)(tiny_llama).items["tokens"][0] <= 2


def test_a_model_without_tokenizer(
    tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_llama, "tokenizer", None)
    for task in every_task(tmp_path).values():
        refused(lambda t=task: t(tiny_llama), "The model has no tokenizer")


def test_a_tokenizer_without_beginning_of_text(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    model = ll.load_model(checkpoints["neox"], backend="bridge")
    model.tokenizer.bos_token = None
    for task in every_task(tmp_path).values():
        added = dataclasses.replace(task, bos="add")
        refused(lambda t=added: t(model), "no beginning-of-text token to add", "bos='none'")

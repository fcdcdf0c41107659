"""Memory and time that do not surprise: many texts, long texts, little memory, many rounds."""

import logging
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from soak import soak

import lensloc as ll
from lensloc.forward.tokenizing import tokenize
from lensloc.models import describe, tokens
from lensloc.models.memory import is_out_of_memory
from lensloc.pages.explorer import payload
from lensloc.selectivity.moments import Moments
from lensloc.studies import kept_maps, stimulus_warnings
from lensloc.studies.kept_maps import key_of, provenance_for
from lensloc.studies.localizing_ways import View, localize_ways
from lensloc.studies.store import Store
from lensloc.tasks import perplexities

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it"),
]

MOMENTS = """
import resource, torch
from lensloc.selectivity.moments import Moments
values = torch.zeros(10_000, 12, 256)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Moments.of(values, absolute=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_moments_of_many_responses_take_little_beside_them() -> None:
    """A report of 20,000 texts took 1.5 GB more: of float64 copies that were never given back."""
    done = subprocess.run(
        [sys.executable, "-c", MOMENTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150_000, "kB, beside 117 MB of responses"


@pytest.mark.parametrize("absolute", [False, True])
def test_moments_are_those_of_plain_sums(absolute: bool) -> None:
    values = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))
    kept = values.clone()
    found = Moments.of(values, absolute=absolute)
    assert torch.equal(values, kept)
    plain = values.double().numpy()
    plain = np.abs(plain) if absolute else plain
    mean = plain.mean(axis=0)
    for power, name in ((2, "m2"), (3, "m3"), (4, "m4")):
        wanted = ((plain - mean) ** power).sum(axis=0)
        np.testing.assert_allclose(getattr(found, name).numpy(), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-14)
    np.testing.assert_array_equal(found.low.numpy(), plain.min(axis=0))
    np.testing.assert_array_equal(found.high.numpy(), plain.max(axis=0))
    np.testing.assert_allclose(found.magnitude.numpy(), np.abs(plain).mean(axis=0), rtol=1e-14)


def test_bookkeeping_of_perplexity_is_linear(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perplexities, "token_ids", lambda *_: [1, 2, 3])
    monkeypatch.setattr(perplexities, "bytes_of_tokens", lambda *_: [1, 1, 1])
    monkeypatch.setattr(
        perplexities, "token_log_probs", lambda model, parts, **_: [np.zeros(2)] * len(parts)
    )
    seconds = []
    for n in (5_000, 40_000):
        task = ll.tasks.perplexity([f"text {number}" for number in range(n)])
        start = time.process_time()
        assert len(task(tiny_llama).items) == n
        seconds.append(time.process_time() - start)
    assert seconds[1] < 24 * seconds[0], "eight times as many"


def _no_tokens(*_: Any, **__: Any) -> Any:
    raise AssertionError("a text is tokenized")


def test_a_lookup_tokenizes_nothing(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"store": tmp_path, "progress": False}
    first = ll.localize(tiny_llama, small_contrast, **options)
    more = ll.localize(tiny_llama, small_contrast, ["resid_post", "head"], **options)

    monkeypatch.setattr(stimulus_warnings, "length", _no_tokens)
    monkeypatch.setattr("lensloc.forward.tokenizing.token_ids", _no_tokens)
    again = ll.localize(tiny_llama, small_contrast, ["head", "resid_post"], **options)
    assert set(again.from_store) == {"head", "resid_post"}
    assert set(again.warnings) == set(more.warnings)
    assert "resid_post" in first
    lengths = again["resid_post"].provenance.lengths
    sides = [
        [len(tokens.token_ids(tiny_llama, text)) for text in small_contrast.conditions[name]]
        for name in ("sentences", "nonwords")
    ]
    assert [float(number) for number in lengths[:2]] == [float(np.mean(side)) for side in sides]


@pytest.mark.parametrize("max_tokens", [None, 5, 10_000])
@pytest.mark.parametrize("n_words", [3, 400])
def test_a_lookup_of_what_was_cut_tokenizes_nothing(
    tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_words: int,
    max_tokens: int | None,
) -> None:  # fmt: skip
    contrast = ll.Contrast.from_texts(
        {"a": ["the old gardener " * n_words, "the sun", "who had"], "b": ["vash", "mopi", "ne"]},
        target="a", control="b",
    )  # fmt: skip
    options: dict[str, Any] = {"truncate": True, "max_tokens": max_tokens, "progress": False}
    plain = ll.localize(tiny_llama, contrast, **options)
    first = ll.localize(tiny_llama, contrast, store=tmp_path, **options)
    view = View("last-token", max_tokens, truncate=True)
    given: list[Any] = [tiny_llama, contrast, ["resid_post"], [(True, "welch")], view]
    monkeypatch.setattr(kept_maps, "length", _no_tokens)
    monkeypatch.setattr(stimulus_warnings, "length", _no_tokens)
    monkeypatch.setattr("lensloc.forward.tokenizing.token_ids", _no_tokens)
    again = ll.localize(tiny_llama, contrast, store=tmp_path, **options)
    assert again.from_store == ("resid_post",)
    known = localize_ways(*given, store=Store.at(tmp_path), progress=False)
    for found in (first, again, known[True, "welch"]):
        assert found["resid_post"].provenance.max_tokens == (
            plain["resid_post"].provenance.max_tokens
        )
        assert torch.equal(found["resid_post"].t, plain["resid_post"].t)


def test_what_was_cut_at_another_window_is_another_map(
    tiny_llama: Any, small_contrast: ll.Contrast
) -> None:
    made = provenance_for(describe(tiny_llama), small_contrast, "mean", "lensloc", True, None)
    keys = [key_of(made, None, (), "resid_post", window) for window in (None, 64, 128)]
    assert len({str(key) for key in keys}) == 3


def test_a_text_of_a_megabyte(tiny_llama: Any) -> None:
    word = "gardener watered "
    text = word * (2**20 // len(word))
    start = time.process_time()
    (found,) = tokenize(tiny_llama, [text], word_ends=True, max_tokens=12)
    assert len(found.ids) == 12
    assert found.word_ends
    (short,) = tokenize(tiny_llama, [text[:400]], word_ends=True, max_tokens=12)
    assert (found.ids, found.word_ends) == (short.ids, short.word_ends)
    assert time.process_time() - start < 30
    contrast = ll.Contrast.from_texts(
        {"a": [text, "the old", "the sun"], "b": ["vash", "mopi", "strane"]},
        target="a", control="b",
    )  # fmt: skip
    located = ll.localize(tiny_llama, contrast, max_tokens=8, keep_responses=True, progress=False)
    shown = payload(located, percent=5, most=5, most_bytes=10_000)["stimuli"]["text"]
    assert max(map(len, shown)) < 4100
    assert shown[0].startswith(word)
    assert "characters ..." in shown[0]
    assert shown[1] == "the old"


@pytest.mark.parametrize(
    "text",
    ["the old gardener", "  a  b ", "x", "ça va 🙂 the", "no\u00a0break", "twelve plus\nnineteen"],
)
def test_word_ends_are_the_last_tokens_that_lie_in_words(tiny_llama: Any, text: str) -> None:
    (found,) = tokenize(tiny_llama, [text], word_ends=True)
    plain = tiny_llama.tokenizer(text, return_offsets_mapping=True)
    wanted = []
    for at, letter in enumerate(text):
        ends = not letter.isspace() and (at + 1 == len(text) or text[at + 1].isspace())
        if ends:
            inside = [p for p, (a, b) in enumerate(plain["offset_mapping"]) if a <= at < b]
            wanted.append(inside[-1])
    assert list(found.word_ends) == list(dict.fromkeys(wanted))


def test_a_budget_of_memory_is_kept(tiny_llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass caches at once stays within the budget, whatever the number of texts."""
    from lensloc.forward import capturing

    texts = ["the old gardener watered every plant"] * 60
    monkeypatch.setattr(capturing, "_BUDGET", capturing.Budget(20_000, 0))
    sizes, run = [], tiny_llama.run_with_cache

    def watched(given: torch.Tensor, **options: Any) -> Any:
        sizes.append(given.numel())
        return run(given, **options)

    monkeypatch.setattr(tiny_llama, "run_with_cache", watched)
    ll.capture(tiny_llama, texts, ["a"] * 60, ["resid_post"], progress=False)
    bytes_a_token = 3 * 32 * 4
    longest = max(sizes) * bytes_a_token
    assert len(sizes) > 1
    assert longest <= 20_000


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
         True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"), True),
        (RuntimeError("The size of tensor a must match"), False),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_known_by_its_words(error: Exception, found: bool) -> None:
    assert is_out_of_memory(error) == found


def test_memory_and_hooks_after_many_rounds(checkpoints: dict[str, Path]) -> None:
    """A few of the thousand rounds of ``make soak``: what Python keeps does not grow."""
    logging.disable(logging.WARNING)
    model = ll.load_model(checkpoints["llama"], backend="transformers", progress=False)
    soak(model, 3, 1)
    tracemalloc.start()
    soak(model, 3, 1)
    before = tracemalloc.get_traced_memory()[0]
    soak(model, 8, 1)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    logging.disable(logging.NOTSET)
    # What other tests have left to be collected counts too; `make soak` is stricter.
    assert after - before < 1_500_000, "bytes"

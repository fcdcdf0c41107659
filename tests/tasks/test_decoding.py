"""Decoding against transformers' own, one prompt at a time, and against forward passes by hand."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import handwritten
import planted
import pytest
import tiny_models
import torch
from more_checkpoints import MORE_CONFIGS
from task_files import PROMPTS, ids_of, plain_model, refused, shapes_of_passes
from tiny_models import make_checkpoint
from torch import Tensor

import lensloc as ll
from lensloc import UnitMask, lesion
from lensloc.models.adapting import surface
from lensloc.models.tokens import token_ids
from lensloc.tasks import generation
from lensloc.tasks.decoding import Decoding, before_stop, decode

pytestmark = pytest.mark.usefixtures("one_thread")

NextLogits = Callable[[list[int]], Tensor]
BATCH_SIZES: tuple[Any, ...] = (1, 3, 7, "auto")
MANY = (*PROMPTS[:2], "vash", tiny_models.CORPUS[0], "twelve", *PROMPTS[3:6])
FEW = MANY[:5]


@pytest.fixture(scope="module")
def originals(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {name: plain_model(folder) for name, folder in checkpoints.items()}


@pytest.fixture
def original(originals: dict[str, Any], tiny_name: str) -> Any:
    return originals[tiny_name]


def plain(original: Any) -> NextLogits:
    def next_logits(ids: list[int]) -> Tensor:
        with torch.no_grad():
            return original(torch.tensor([ids])).logits[0, -1]

    return next_logits


def by_hand(
    next_logits: NextLogits, prompt: Sequence[int], how: Decoding, model: Any
) -> tuple[list[int], str]:
    """What an argmax at a time writes: all tokens that were chosen, and the text up to a stop."""
    tokenizer = model.tokenizer
    written: list[int] = []
    while len(written) < how.max_new_tokens:
        ids = [*prompt, *written]
        logits = next_logits(ids).clone()
        for token in set(ids):
            value = float(logits[token])
            factor = 1 / how.repetition_penalty if value > 0 else how.repetition_penalty
            logits[token] = value * factor
        if len(written) < how.min_new_tokens and tokenizer.eos_token_id is not None:
            logits[tokenizer.eos_token_id] = -math.inf
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id:
            break
        written.append(token)
    text = tokenizer.decode(written)
    for stop in how.stops:
        text = text.split(stop)[0]
    return written, text


def ids_of_all(model: Any, prompts: Sequence[str]) -> list[list[int]]:
    return [token_ids(model, prompt, "none") for prompt in prompts]


@contextmanager
def ending_with(model: Any, token: int | None) -> Iterator[None]:
    """Take another token for the end of text, or none."""
    tokenizer = model.tokenizer
    before = tokenizer.eos_token
    tokenizer.eos_token = None if token is None else tokenizer.convert_ids_to_tokens(token)
    try:
        yield
    finally:
        tokenizer.eos_token = before


def token_at(place: int, original: Any, model: Any, how: Decoding) -> int:
    """Return a token that some answers have there first, and that stands in many."""
    answers = [by_hand(plain(original), prompt, how, model)[0] for prompt in ids_of_all(model, FEW)]
    long = [answer for answer in answers if len({*answer}) > place + 1]
    candidates = {answer[place] for answer in long if answer[place] not in answer[:place]}
    return max(
        sorted(candidates),
        key=lambda token: len({a.index(token) if token in a else -1 for a in answers}),
    )


# -- against transformers --------------------------------------------------------------------------


def test_text_is_what_transformers_writes(tiny: Any, original: Any) -> None:
    how = Decoding(8, repetition_penalty=1.3)
    end = token_at(0, original, tiny, how)
    prompts = ids_of_all(tiny, FEW)
    lengths = {}
    for min_new_tokens in (0, 3):
        how = replace(how, min_new_tokens=min_new_tokens)
        with ending_with(tiny, end):
            found = decode(tiny, prompts, how)
            hand = [by_hand(plain(original), prompt, how, tiny)[0] for prompt in prompts]
        assert found == hand
        for prompt, written in zip(prompts, found, strict=True):
            with torch.no_grad():
                output = original.generate(
                    torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                    max_new_tokens=8,
                    min_new_tokens=min_new_tokens or None,
                    do_sample=False,
                    repetition_penalty=1.3,
                    eos_token_id=end,
                    pad_token_id=end,
                )
            own = output[0, len(prompt) :].tolist()
            assert written == list(itertools.takewhile(lambda token: token != end, own))
        lengths[min_new_tokens] = [len(written) for written in found]
    assert min(lengths[0]) == 0
    assert max(lengths[0]) == 8
    assert min(lengths[3]) >= 3


def test_batches_and_order_change_nothing(tiny: Any, original: Any) -> None:
    how = Decoding(7, repetition_penalty=1.3, min_new_tokens=1)
    with ending_with(tiny, token_at(3, original, tiny, how)):
        expected = {
            prompt: by_hand(plain(original), token_ids(tiny, prompt, "none"), how, tiny)[0]
            for prompt in MANY
        }
        lengths = {len(written) for written in expected.values()}
        assert len(lengths) > 1, "rows should end at different times"
        orders = (MANY, MANY[::-1], (*MANY[1::2], *MANY[::2]), (*MANY[5:], *MANY[:5]))
        for batch_size, order in zip(BATCH_SIZES, orders, strict=True):
            found = decode(tiny, ids_of_all(tiny, order), how, batch_size=batch_size)
            assert dict(zip(order, found, strict=True)) == expected


@pytest.mark.hooked
def test_prompts_of_any_length_are_read_side_by_side(tiny_llama: Any) -> None:
    prompts = ids_of_all(tiny_llama, MANY)
    shortest, longest = (choose(map(len, prompts)) for choose in (min, max))
    assert longest > 2 * shortest
    with shapes_of_passes(tiny_llama) as shapes:
        decode(tiny_llama, prompts, Decoding(5), batch_size=len(prompts))
    assert shapes[0] == (len(prompts), shortest)
    assert {positions for _, positions in shapes[1:]} == {1}, "what was read is read again"
    assert len(shapes) == longest - shortest + 5
    rows = [n for n, _ in shapes]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] == sum(len(prompt) == longest for prompt in prompts)


@pytest.mark.hooked
@pytest.mark.parametrize("name", ["gemma2", "gemma3", "mistral", "opt", "neox, sequential"])
def test_architectures_that_cannot_keep_what_they_read(name: str, tmp_path: Path) -> None:
    """Attention to the last few tokens only, soft caps; beside one that can keep it."""
    folder = make_checkpoint(tmp_path / "model", MORE_CONFIGS[name]())
    original = plain_model(folder)
    for backend in ("hooked", "bridge"):
        model = ll.load_model(folder, backend=backend)  # type: ignore[arg-type]
        prompts = ids_of_all(model, PROMPTS[:4])
        how = Decoding(7, repetition_penalty=1.2, min_new_tokens=2)
        found = decode(model, prompts, how)
        expected = [by_hand(plain(original), prompt, how, model)[0] for prompt in prompts]
        assert found == expected


def test_without_a_cache_the_text_is_the_same(
    tiny: Any, original: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, how = ids_of_all(tiny, FEW), Decoding(6, repetition_penalty=0.8)
    expected = [by_hand(plain(original), prompt, how, tiny)[0] for prompt in prompts]
    assert decode(tiny, prompts, how) == expected
    monkeypatch.setattr(
        type(surface(tiny)), "keeps_what_it_read", lambda self: False, raising=False
    )
    assert decode(tiny, prompts, how) == expected


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The token for pads is one that prompts hold.
    prompts, how = ids_of_all(tiny, FEW), Decoding(6)
    prompts[0] = [0, *prompts[0], 0]
    expected = decode(tiny, prompts, how)
    monkeypatch.setattr(tiny.tokenizer, "padding_side", "left")
    assert decode(tiny, prompts, how) == expected


def test_a_tokenizer_without_end_of_text(tiny: Any, original: Any) -> None:
    prompts = ids_of_all(tiny, PROMPTS)
    how = Decoding(6, repetition_penalty=1.2, min_new_tokens=2)
    with ending_with(tiny, None):
        expected = [by_hand(plain(original), prompt, how, tiny)[0] for prompt in prompts]
        assert all(len(written) == 6 for written in expected)
        assert decode(tiny, prompts, how) == expected


def test_the_context_window_exactly_full(tiny: Any, original: Any) -> None:
    short, long = ids_of_all(tiny, [PROMPTS[0], FEW[3]])
    prompts = [(long * 6)[:89], short, long]
    how = Decoding(7, repetition_penalty=1.1)
    with ending_with(tiny, None):
        found = decode(tiny, prompts, how)
        assert found == [by_hand(plain(original), prompt, how, tiny)[0] for prompt in prompts]
    assert all(len(written) == 7 for written in found)
    task = generation([tiny.tokenizer.decode(prompts[0])], max_new_tokens=8)
    refused(lambda: task(tiny), "Prompt 1 with 8 tokens after it", "context window is 96")


def test_too_large_a_batch_is_halved(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ids_of_all(tiny, (*FEW, *FEW[::-1]))
    expected = decode(tiny, prompts, Decoding(5))
    seen, sizes = surface(tiny), []
    write = seen.write

    def small_machine(prompts: list[list[int]], *rest: Any) -> list[list[int]]:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return write(prompts, *rest)

    monkeypatch.setattr(seen, "write", small_machine)
    assert decode(tiny, prompts, Decoding(5)) == expected
    assert max(sizes) > 1
    assert sizes.count(1) == len(prompts)


# -- lesions ---------------------------------------------------------------------------------------


def lesioned_by_hand(
    original: Any, mask: UnitMask, first: int | None = None
) -> Callable[[list[int]], Tensor]:
    """Next logits with units at zero, from a position on or everywhere; no hook, no cache."""

    def edit(site: str, layer: int, value: Tensor) -> Tensor:
        if site != mask.site:
            return value
        edited = value.masked_fill(mask.mask[layer], 0)
        return torch.cat([value[:, : first or 0], edited[:, first or 0 :]], dim=1)

    def next_logits(ids: list[int]) -> Tensor:
        return handwritten.logits(original, torch.tensor([ids]), edit)[0, -1]

    return next_logits


WIDTHS = {"llama": 48, "gpt2": 128, "neox": 48}


@pytest.fixture
def neurons(tiny_name: str) -> UnitMask:
    size = (3, WIDTHS[tiny_name])
    return UnitMask("mlp_post", torch.rand(size, generator=torch.Generator().manual_seed(1)) < 0.4)


def test_lesioned_text_equals_a_forward_pass_by_hand(
    tiny: Any, original: Any, neurons: UnitMask
) -> None:
    prompts = ids_of_all(tiny, FEW)
    how = Decoding(6, repetition_penalty=1.3, min_new_tokens=1)
    before = decode(tiny, prompts, how)
    next_logits = lesioned_by_hand(original, neurons)
    expected = [by_hand(next_logits, prompt, how, tiny)[0] for prompt in prompts]
    with lesion(tiny, neurons):
        found = decode(tiny, prompts, how)
        one_by_one = decode(tiny, prompts, how, batch_size=1)
    assert found == one_by_one == expected
    assert before != expected
    assert decode(tiny, prompts, how) == before


@pytest.mark.parametrize("min_new_tokens", [0, 2])
def test_a_lesion_of_the_last_position_follows_the_text(
    tiny: Any, original: Any, neurons: UnitMask, min_new_tokens: int
) -> None:
    """The prompt's last token is lesioned, and each new one in its turn; none of them recovers."""
    prompts = ids_of_all(tiny, FEW)
    how = Decoding(6, min_new_tokens=min_new_tokens)
    expected = [
        by_hand(lesioned_by_hand(original, neurons, len(prompt) - 1), prompt, how, tiny)[0]
        for prompt in prompts
    ]
    everywhere = [
        by_hand(lesioned_by_hand(original, neurons), prompt, how, tiny)[0] for prompt in prompts
    ]
    assert expected != everywhere
    with lesion(tiny, neurons, positions="last"):
        for batch_size in (1, "auto"):
            assert decode(tiny, prompts, how, batch_size=batch_size) == expected  # type: ignore[arg-type]


# -- stops -----------------------------------------------------------------------------------------

CONTINUATION = " the gardener: ç中🙂 came – up?"


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def chained(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that writes CONTINUATION after ``vash`` and then whatever; and its tokens."""
    folder = tmp_path_factory.mktemp("chained")
    tokenizer = tiny_models.train_tokenizer(folder)
    tokens = unique(tokenizer(CONTINUATION)["input_ids"])
    planted.chained(folder, tokenizer, [ids_of(tokenizer, "vash")[-1], *tokens])
    return ll.load_model(folder, backend=request.param), tokens


def unique(tokens: list[int]) -> list[int]:
    return list(dict.fromkeys(tokens))


def test_the_model_of_these_tests(chained: Any) -> None:
    model, tokens = chained
    (written,) = decode(model, ids_of_all(model, ["vash"]), Decoding(len(tokens)))
    assert written == tokens
    text = model.tokenizer.decode(tokens)
    assert "ç中🙂" in text
    assert len(tokens) < len(text.encode()), "some tokens should be several letters"


def test_stops_cut_where_they_begin(chained: Any) -> None:
    model, tokens = chained
    text = model.tokenizer.decode(tokens)
    pieces = [model.tokenizer.decode([token]) for token in tokens]
    whole = next(piece for piece in pieces if len(piece.strip()) >= 3)
    middle = whole.strip()[1]  # begins within a token
    start = text.index(whole) + len(whole) - 1
    across = text[start : start + 2]  # the end of a token and the beginning of the next
    cases: list[tuple[str, ...]] = [
        (middle,), (across,), ("ç",), ("中",), ("🙂",), ("ç中",), ("中🙂 ",), (text[0],),
        ("nowhere",), ("🙂", "中", "nowhere"), ("nowhere", across, middle), (text,), (text[-2:],),
    ]  # fmt: skip
    for stops in cases:
        how = Decoding(len(tokens), stops=stops)
        kept = text
        for stop in stops:
            kept = kept.split(stop)[0]
        # Whole tokens only: as many as the text before the stop holds.
        lengths = [
            n for n in range(len(tokens) + 1) if kept.startswith(model.tokenizer.decode(tokens[:n]))
        ]
        (written,) = decode(model, ids_of_all(model, ["vash"]), how)
        assert written == tokens[: lengths[-1]], stops
        assert not any(stop in model.tokenizer.decode(written) for stop in stops)
    (nothing,) = decode(model, ids_of_all(model, ["vash"]), Decoding(9, stops=(text[0],)))
    assert nothing == []


def test_writing_ends_at_a_stop(chained: Any) -> None:
    model, tokens = chained
    if hasattr(model, "original_model"):
        pytest.skip("a bridge's own generation writes on, and is cut after")
    pieces = [model.tokenizer.decode([token]) for token in tokens]
    with shapes_of_passes(model) as shapes:
        decode(model, ids_of_all(model, ["vash"]), Decoding(len(tokens), stops=(pieces[3],)))
    assert len(shapes) == 4


def test_stops_in_a_batch_equal_one_prompt_at_a_time(tiny: Any, original: Any) -> None:
    prompts = ids_of_all(tiny, FEW)
    free = [by_hand(plain(original), prompt, Decoding(9), tiny)[1] for prompt in prompts]
    stops = tuple(dict.fromkeys(text[place] for text in (free[0], free[3]) for place in (2, -2)))
    stops = tuple(stop for stop in stops if stop != "\N{REPLACEMENT CHARACTER}")
    how = Decoding(9, stops=stops)
    found = decode(tiny, prompts, how)
    assert found == [decode(tiny, [prompt], how)[0] for prompt in prompts]
    cut = 0
    for text, written in zip(free, found, strict=True):
        kept = before_stop(text, stops)
        assert kept.startswith(tiny.tokenizer.decode(written))
        if kept == text:
            assert tiny.tokenizer.decode(written) == text
        cut += kept != text
    assert 0 < cut < len(prompts)


def test_before_stop() -> None:
    assert before_stop("abcabc", ()) == "abcabc"
    assert before_stop("abcabc", ("c",)) == "ab"
    assert before_stop("abcabc", ("x", "bc", "ca")) == "a"
    assert before_stop("abc", ("a",)) == ""
    assert before_stop("", ("a",)) == ""


# -- sampling --------------------------------------------------------------------------------------


def test_sampling_is_seeded_and_each_prompt_by_itself(tiny: Any) -> None:
    prompts = ids_of_all(tiny, FEW[:4])
    how = Decoding(6, temperature=0.7, repetition_penalty=3.0, seed=3, min_new_tokens=2)
    state = torch.get_rng_state()
    found = decode(tiny, prompts, how)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(11)
    assert decode(tiny, prompts, how, batch_size=3) == found
    torch.set_rng_state(state)
    assert decode(tiny, [prompts[0], prompts[0], *prompts[2:]], how)[2:] == found[2:]
    for changed in ({"seed": 40}, {"temperature": 0.0}, {"repetition_penalty": 0.1}):
        assert decode(tiny, prompts, replace(how, **changed)) != found  # type: ignore[arg-type]
    stops = (tiny.tokenizer.decode(found[0])[2:4],)
    stopped = decode(tiny, prompts, replace(how, stops=stops))
    for short, long in zip(stopped, found, strict=True):
        assert short == long[: len(short)], "what is drawn depends on where it is cut"
    assert len(stopped[0]) < len(found[0])


def test_sampling_never_draws_an_early_end(tiny: Any) -> None:
    """At this temperature every token is as likely as any other."""
    prompts = ids_of_all(tiny, PROMPTS)
    flat = Decoding(1, temperature=1e6, seed=5)
    (first, *_), *_ = decode(tiny, prompts, flat)
    with ending_with(tiny, first):
        assert decode(tiny, prompts, flat)[0] == []
        (written,) = decode(tiny, prompts[:1], replace(flat, max_new_tokens=3, min_new_tokens=3))
    assert len(written) == 3
    assert first not in written


# -- the task --------------------------------------------------------------------------------------


def test_the_task_passes_its_options_on(tiny_llama: Any) -> None:
    options: dict[str, Any] = {"repetition_penalty": 1.3, "stops": ["e"], "min_new_tokens": 2}
    task = generation(PROMPTS, max_new_tokens=8, bos="none", **options)
    how = Decoding(8, 0.0, 1.3, ("e",), 0, 2)
    written = decode(tiny_llama, ids_of_all(tiny_llama, PROMPTS), how)
    result = task(tiny_llama)
    assert result.items["text"].tolist() == [tiny_llama.tokenizer.decode(ids) for ids in written]
    assert result.items["tokens"].tolist() == [len(ids) for ids in written]
    settings = [
        generation(PROMPTS, max_new_tokens=8, **more).settings
        for more in ({}, *({name: value} for name, value in options.items()), options)
    ]
    assert len({json.dumps(found) for found in settings}) == 5
    assert task.settings["stops"] == ["e"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"repetition_penalty": 0.0}, ["repetition_penalty is above 0", "0.0 is not"]),
        ({"repetition_penalty": -1.0}, ["repetition_penalty is above 0"]),
        ({"repetition_penalty": math.inf}, ["repetition_penalty is above 0", "inf is not"]),
        ({"repetition_penalty": math.nan}, ["repetition_penalty is above 0", "nan is not"]),
        ({"min_new_tokens": -1}, ["min_new_tokens is 0 to max_new_tokens (40)", "-1 is not"]),
        ({"min_new_tokens": 41}, ["min_new_tokens is 0 to max_new_tokens (40)", "41 is not"]),
        ({"stops": "\n"}, ["stops is a list of texts"]),
        ({"stops": ["a", ""]}, ["stops is a list of texts, none of them empty"]),
    ],
)
def test_bad_options(options: dict[str, Any], parts: list[str]) -> None:
    refused(lambda: generation(PROMPTS, **options), *parts)


def test_a_batch_holds_a_prompt(tiny_llama: Any) -> None:
    batch_size: Any
    for batch_size in (0, -1):
        task = generation(PROMPTS, max_new_tokens=2, batch_size=batch_size)
        refused(lambda t=task: t(tiny_llama), "A batch holds at least one text")

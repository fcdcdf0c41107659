"""Texts side by side in one row: fewer tokens, the same log-probabilities, whatever is lesioned."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import KINDS
from more_checkpoints import GROUPED
from pair_parts import letters
from task_files import plain_log_probs, plain_model
from tiny_models import CONFIGS, make_checkpoint
from transformers import Gemma2Config, MistralConfig

import lensloc as ll
from lensloc.forward.packing import inputs_of, packed, packed_evenly
from lensloc.models.adapting import surface
from lensloc.tasks.scoring import Scored, token_log_probs

_WINDOW = 20
_CONFIGS: dict[str, Any] = {
    "llama": CONFIGS["llama"],
    "gpt2": CONFIGS["gpt2"],
    "gemma2": lambda: Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=_WINDOW
    ),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=_WINDOW),
}


def texts_that_begin_alike(n: int = 25, longest: int = 16) -> list[tuple[int, ...]]:
    """Drawn from few tokens, so that beginnings of any length are shared by any number of texts."""
    draw = random.Random(7)
    found = [tuple(draw.choices((5, 6), k=draw.randint(1, longest))) for _ in range(n)]
    return [*found, (5,), (6,), (9, 5, 6), (9, 5, 5), (5,) * longest]


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most_tokens", "most_texts"), [(16, None), (40, None), (400, 3)])
def test_every_text_stands_in_one_row_and_sees_itself_only(
    most_tokens: int, most_texts: int | None
) -> None:
    texts = list(dict.fromkeys(texts_that_begin_alike()))
    rows = packed(texts, most_tokens=most_tokens, most_texts=most_texts)
    assert sorted(number for row in rows for number in row.places) == list(range(len(texts)))
    assert all(len(row) <= most_tokens for row in rows)
    assert all(most_texts is None or len(row.places) <= most_texts for row in rows)
    inputs = inputs_of(rows, torch.device("cpu"))
    assert inputs.positions is not None
    assert inputs.sees is not None
    # TransformerLens is told positions by differences, of which 0 is a pad.
    assert (inputs.positions.diff(dim=1) != 0).all()
    assert inputs.positions.min() == 0
    assert inputs.positions.max() < most_tokens
    assert not inputs.sees.triu(1).any()
    assert inputs.sees.diagonal(dim1=1, dim2=2).all()
    for number, row in enumerate(rows):
        for text, places in row.places.items():
            where = list(places)
            assert tuple(inputs.tokens[number, where].tolist()) == texts[text]
            assert inputs.positions[number, where].tolist() == list(range(len(where)))
            for n, place in enumerate(where):
                assert inputs.sees[number, place].nonzero()[:, 0].tolist() == where[: n + 1]


def test_a_beginning_stands_in_a_row_once() -> None:
    beginning = tuple(range(10, 20))
    texts = [(*beginning, *more) for more in ((1, 2), (1, 3), (4,), ())]
    (row,) = packed(texts, most_tokens=64)
    # Ten shared, then 1 2 3 and 4, and one between 2 and 3, which have the same position.
    assert len(row) == 10 + 4 + 1
    assert sum(map(len, packed(texts, most_tokens=12))) > len(row)


def test_few_rows_are_about_equally_long() -> None:
    """A last short row would be filled with as many pads as the others have tokens."""
    alike = texts_that_begin_alike()
    for texts in (list(dict.fromkeys(alike)), [(n, *range(2, 9)) for n in range(10, 23)]):
        for most_tokens, most_texts in ((40, None), (90, None), (90, 4)):
            plain = packed(texts, most_tokens=most_tokens, most_texts=most_texts)
            even = packed_evenly(texts, most_tokens=most_tokens, most_texts=most_texts)
            assert sorted(number for row in even for number in row.places) == [*range(len(texts))]
            assert len(even) <= len(plain)
            assert all(most_texts is None or len(row.places) <= most_texts for row in even)
            assert max(map(len, even)) <= max(map(len, plain)) <= most_tokens
    apart = [(n, *range(2, 9)) for n in range(10, 23)]
    assert [len(row) for row in packed(apart, most_tokens=90)] == [88, 16]
    assert [len(row) for row in packed_evenly(apart, most_tokens=90)] == [56, 48]
    assert packed_evenly([], most_tokens=9) == []
    many = packed_evenly(apart * 3, most_tokens=16)
    assert many == packed(apart * 3, most_tokens=16)


# -- log-probabilities -----------------------------------------------------------------------------


@contextlib.contextmanager
def tokens_run(model: Any) -> Iterator[list[int]]:
    n_run: list[int] = []
    close = surface(model).watch_tokens(lambda tokens: n_run.append(tokens.numel()))
    try:
        yield n_run
    finally:
        close()


def log_probs_two_ways(model: Any, sequences: list[Scored]) -> float:
    """Largest difference between texts side by side and alone; and there are fewer tokens."""
    surface(model).longest_packed()  # which may try the model
    with pytest.MonkeyPatch.context() as patch, tokens_run(model) as alone:
        patch.setattr(type(surface(model)), "longest_packed", lambda self: 0)
        expected = token_log_probs(model, sequences, progress=False)
    with tokens_run(model) as together:
        found = token_log_probs(model, sequences, progress=False)
    assert sum(together) < sum(alone)
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", _CONFIGS)
def test_side_by_side_is_as_alone_under_every_lesion(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", _CONFIGS[name]())
    original = plain_model(folder)
    texts = texts_that_begin_alike()
    sequences = [Scored((*ids, 3 + n % 9), 1) for n, ids in enumerate(texts)]
    expected = [plain_log_probs(original, each.ids).numpy() for each in sequences]
    mask = ll.UnitMask("resid_post", torch.rand(3, 32, generator=_draws()) < 0.3)
    heads = ll.UnitMask("head", torch.rand(3, 4, generator=_draws()) < 0.5)
    contrast = ll.Contrast.from_texts(
        {"a": ["the old", "the sun"], "b": ["vash", "fendal"]}, target="a", control="b"
    )
    slides = name in ("gemma2", "mistral")
    for kind in KINDS:
        model = ll.load_model(folder, backend=kind)  # type: ignore[arg-type]
        assert surface(model).longest_packed() == (_WINDOW if slides else 96)
        for batch_size in (7, "auto"):
            found = token_log_probs(model, sequences, batch_size=batch_size, progress=False)  # type: ignore[arg-type]
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
        lesions: list[dict[str, Any]] = [
            {"mode": "zero"},
            {"mode": "write"},
            {"mode": "scale", "scale": -1.5},
            {"mode": "resample", "reference": contrast},
        ]
        for how in lesions if name == "llama" else lesions[:1]:
            with ll.lesion(model, mask, check=False, **how):
                assert log_probs_two_ways(model, sequences) < 1e-5
        with ll.lesion(model, heads, "clamp", value=2.0, check=False):
            assert log_probs_two_ways(model, sequences) < 1e-5


def _draws() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_what_reads_more_than_a_token_is_read_alone(tiny_llama: Any) -> None:
    """The last position of a text; another text's values; a hook of which nothing is known."""
    texts = texts_that_begin_alike()
    sequences = [Scored((*ids, 8), 1) for ids in texts]
    mask = ll.UnitMask("resid_post", torch.rand(3, 32, generator=_draws()) < 0.3)
    n_alone = sum(len(ids) for ids in set(texts))

    def run() -> list[Any]:
        with tokens_run(tiny_llama) as n_run:
            found = token_log_probs(tiny_llama, sequences, progress=False)
        assert sum(n_run) >= n_alone
        return found

    with ll.lesion(tiny_llama, mask, positions="last", check=False):
        found = run()
        one_by_one = token_log_probs(tiny_llama, sequences, batch_size=1, progress=False)
    for a, b in zip(found, one_by_one, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    close = surface(tiny_llama).open("blocks.1.hook_resid_post", lambda value: value.flip(1))
    try:
        run()
    finally:
        close()
    pairs = letters()
    ids = [tuple(tiny_llama.tokenizer(p.clean + p.right)["input_ids"]) for p in pairs.pairs]
    with ll.lesion(tiny_llama, mask, "corrupt", reference=pairs, check=False):
        by_pairs = [Scored(each, 1) for each in ids]
        one = token_log_probs(tiny_llama, by_pairs, batch_size=1, progress=False)
        all_of_them = token_log_probs(tiny_llama, by_pairs, progress=False)
    for a, b in zip(one, all_of_them, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_longer_texts_than_a_window_that_slides_are_read_alone(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", _CONFIGS["mistral"]())
    original = plain_model(folder)
    short, long = texts_that_begin_alike(), texts_that_begin_alike(6, 40)
    sequences = [Scored((*ids, 8), 1) for ids in (*short, *long)]
    assert max(len(each.ids) for each in sequences) > _WINDOW + 5
    for kind in KINDS:
        model = ll.load_model(folder, backend=kind)  # type: ignore[arg-type]
        found = token_log_probs(model, sequences, progress=False)
        for each, values in zip(sequences, found, strict=True):
            np.testing.assert_allclose(values, plain_log_probs(original, each.ids), atol=1e-5)


def test_what_is_no_number_in_one_text_is_one_in_the_others(checkpoints: dict[str, Path]) -> None:
    for kind in KINDS:
        model = ll.load_model(checkpoints["llama"], backend=kind)  # type: ignore[arg-type]
        sequences = [Scored((5, 6, 7, 8 + n, 3), 1, f"text {n}") for n in range(6)]
        embedding = next(p for p in model.parameters() if tuple(p.shape) == (320, 32))
        with torch.no_grad():
            embedding[10] = torch.nan
        with pytest.raises(ll.LensLocError, match="of text 2 "):
            token_log_probs(model, sequences, progress=False)
        others = [each for each in sequences if each.place != "text 2"]
        if kind == "hooked":  # the others' output layer is the embedding
            assert all(np.isfinite(v).all() for v in token_log_probs(model, others, progress=False))


def test_a_place_is_predicted_from_once(tiny_llama: Any) -> None:
    """The output layer runs on a place once, however many texts go on from there."""
    sequences = [Scored((5, 6, 7, 8, last), 4) for last in range(20, 40)]
    n_logits: list[int] = []
    adapter = type(surface(tiny_llama))
    picked = adapter.picked_logits

    def watched(self: Any, inputs: Any, rows: Any, positions: Any) -> Any:
        n_logits.append(len(rows))
        return picked(self, inputs, rows, positions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "picked_logits", watched)
        found = token_log_probs(tiny_llama, sequences, progress=False)
    assert n_logits == [1]
    logits = surface(tiny_llama).logits(torch.tensor([[5, 6, 7, 8]]))[0, -1].detach().double()
    expected = logits.log_softmax(-1)[20:40].numpy()
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)

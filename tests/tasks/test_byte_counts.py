"""Bytes of tokens, for tokenizers of every kind: they add up to the text, cut where it is cut."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import transformers
from task_files import TEXTS, plain_log_probs
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import lensloc as ll
from lensloc import tasks
from lensloc.tasks.byte_counts import byte_letters, bytes_of_tokens
from lensloc.tasks.perplexities import sliding_windows

HARD = (
    *TEXTS,
    "ça va, 🙂 the sun",
    " a space before",
    "two  spaces, and a newline\n at the end \n",
    "中国的首都是北京",
    "🙂",
    "e\u0301 and ﬁ and ½",
    "\u00a0no-break\u3000space",
)
SPECIAL = ["<|end|>"]


def fast(tokenizer: Tokenizer, **options: Any) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>",
        **options,
    )  # fmt: skip


def byte_level(*, prefix: bool = False) -> Any:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [*tiny_models.CORPUS, *HARD],
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return fast(made)


def sentencepiece() -> Any:
    """A space before every text, and single bytes for what it does not know."""
    letters = {letter for text in tiny_models.CORPUS for letter in text.replace(" ", "▁")}
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(letters), "▁the"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e")]
    vocabulary |= {a + b: len(vocabulary) + n for n, (a, b) in enumerate(merges[:2])}
    made = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return fast(made)


def word_pieces() -> Any:
    """Lower case, no accents, and unknown pieces: the tokens' names are not the text."""
    made = Tokenizer(models.WordPiece(unk_token="<|?|>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        tiny_models.CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=200, special_tokens=[*SPECIAL, "<|?|>"], show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<|end|> $A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    return fast(made, unk_token="<|?|>")


KINDS = {
    "bytes": byte_level,
    "bytes after a space": lambda: byte_level(prefix=True),
    "sentencepiece": sentencepiece,
    "word pieces": word_pieces,
    "slow": transformers.ByT5Tokenizer,
}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_add_up(kind: str) -> None:
    tokenizer = KINDS[kind]()
    for text in HARD:
        ids = tokenizer(text)["input_ids"]
        counts = bytes_of_tokens(tokenizer, text, ids)
        assert len(counts) == len(ids)
        assert min(counts) >= 0
        assert sum(counts) == len(text.encode()), text
        special = [n for n, token in zip(counts, ids, strict=True) if token == 0]
        assert special == [0] * len(special)
        with_bos = bytes_of_tokens(tokenizer, text, [0, *ids])
        if kind != "slow":  # 0 is its padding, and it has no beginning of text
            assert with_bos == [0, *counts]


@pytest.mark.parametrize("kind", ["bytes", "bytes after a space", "sentencepiece", "slow"])
def test_pieces_of_characters_have_their_own_bytes(kind: str) -> None:
    """What is decoded of the first tokens is as long as they say, wherever a character ends."""
    tokenizer = KINDS[kind]()
    pieces = 0
    for text in HARD:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        ends = [*itertools.accumulate(bytes_of_tokens(tokenizer,
                                                      text, ids))]  # fmt: skip
        boundaries = {len(text[:n].encode()): n for n in range(len(text) + 1)}
        for n, end in enumerate(ends, start=1):
            if end not in boundaries:
                pieces += 1
                continue
            decoded = tokenizer.decode(ids[:n], clean_up_tokenization_spaces=False)
            part = text[: boundaries[end]]  # before which there may be a space of the tokenizer's
            assert part in (decoded, decoded.removeprefix(" "))
    assert pieces > 5


def test_word_pieces_are_cut_at_their_ends() -> None:
    tokenizer = word_pieces()
    text = "The OLD  gardener, vash"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    counts = bytes_of_tokens(tokenizer, text, ids)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [end for _, end in offsets["offset_mapping"]]
    assert [*itertools.accumulate(counts)] == ends  # of ASCII


def test_special_tokens_that_were_written() -> None:
    tokenizer = byte_level()
    text = "<|end|>the sun<|end|>"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == ids[-1] == 0
    counts = bytes_of_tokens(tokenizer, text, ids)
    assert (counts[0], counts[-1], sum(counts)) == (7, 7, len(text))
    put = bytes_of_tokens(
        tokenizer, "the sun<|end|>", [0, *tokenizer("the sun<|end|>")["input_ids"]]
    )
    assert (put[0], put[-1], sum(put)) == (0, 7, 14)
    taken = bytes_of_tokens(tokenizer, text, ids[1:])
    assert taken == counts[1:]


def test_the_letters_of_bytes_are_those_of_the_library() -> None:
    letters = byte_letters()
    assert set(letters) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(letters.values()) == [bytes([byte]) for byte in range(256)]
    tokenizer = byte_level()
    for text in HARD:
        names = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        assert b"".join(letters[letter] for name in names for letter in name) == text.encode()


# -- bits per byte ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 5])
def test_bits_per_byte_are_of_scored_bytes(
    tiny_llama: Any, checkpoints: dict[str, Path], window: int | None
) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    texts = ["ça va 🙂 the sun came up", "🙂 nobody", "twelve plus"]
    for bos in ("none", "add"):
        result = tasks.bits_per_byte(texts, bos=bos, window=window, stride=window and 2)(tiny_llama)
        nats, n_bytes = 0.0, 0
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            unscored = tokenizer.convert_ids_to_tokens(ids[0])  # a letter per byte
            ids = [0, *ids] if bos == "add" else ids
            for part in sliding_windows(ids, window or 96, 2 if window else 48):
                nats -= float(plain_log_probs(original, part.ids)[part.first - 1 :].sum())
            n_bytes += len(text.encode()) - (0 if bos == "add" else len(unscored))
        assert result.items["bytes"].sum() == n_bytes
        assert result.score == pytest.approx(nats / 0.6931471805599453 / n_bytes, rel=1e-5)
    assert n_bytes == sum(len(text.encode()) for text in texts)


@pytest.mark.pretrained
def test_the_bundled_models_first_words_are_not_counted(pretrained: Any) -> None:
    texts = ["Photosynthesis works.", "Unfortunately it rained.", "Constantinople fell."]
    result = tasks.bits_per_byte(texts)(pretrained)
    firsts = [len("Photos"), len("Unfortunately"), len("Constant")]
    sizes = [len(text) - first for text, first in zip(texts, firsts, strict=True)]
    assert result.items["bytes"].tolist() == sizes
    bits = result.items["value"].sum()
    assert bits / sum(map(len, texts)) == pytest.approx(1.89, abs=0.01)  # as if all were scored
    assert result.score == pytest.approx(bits / sum(sizes))
    assert ll.tasks.bits_per_byte(texts, bos="add")(pretrained).items["bytes"].sum() == 65

"""Tokens -> how many bytes of the text each of them stands for."""

import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

_FALLBACK = re.compile(r"<0x[0-9A-F]{2}>")
# Sentencepiece's sign for a space.
_SPACE = "▁"


def bytes_of_tokens(tokenizer: Any, text: str, ids: Sequence[int]) -> list[int]:
    """Return how many bytes of a text's UTF-8 each of its tokens stands for.

    They sum to the bytes of the text, also where a character is spread over several tokens: what
    the tokens themselves say is taken if it adds up to the text. Otherwise the tokenizer's offsets
    are, with white space between two tokens counted to the second one, and a character that
    several tokens share counted to them in equal parts; and for a tokenizer without offsets, the
    lengths of what the tokens are decoded to. A token that stands for no text (a beginning-of-text
    token that was put before it) has none, and a token of the text that was taken away from ``ids``
    is not among them.

    Args:
        tokenizer: the model's.
        text: the text.
        ids: its tokens, as :func:`lensloc.models.tokens.token_ids` gives them.
    """
    if not ids:
        return []
    return (
        _by_surface(tokenizer, text, ids)
        or _by_offsets(tokenizer, text, ids)
        or _by_decoding(tokenizer, text, ids)
    )


def _by_surface(tokenizer: Any, text: str, ids: Sequence[int]) -> list[int] | None:
    """Count the bytes that the tokens' own names stand for; None if they do not make the text."""
    names = tokenizer.convert_ids_to_tokens(list(ids))
    if not all(isinstance(name, str) for name in names):
        return None
    known_special = set(tokenizer.all_special_ids)
    special = [token in known_special for token in ids]
    added = set(tokenizer.get_added_vocab().values())
    whole = text.encode()
    # Special tokens were put there by the tokenizer, or written in the text, or the first was put.
    for written in ([False] * len(ids), [True] * len(ids), [False, *[True] * (len(ids) - 1)]):
        for read in (_as_bytes, _as_text, _as_codes):
            parts = [
                (name.encode() if in_text else b"")
                if is_special
                else (name.encode() if token in added else read(name))
                for token, name, is_special, in_text in zip(
                    ids, names, special, written, strict=True
                )
            ]
            made, lengths = b"".join(parts), [len(part) for part in parts]
            if made == whole:
                return lengths
            if made == b" " + whole:  # many tokenizers put a space before a text
                first = next(place for place, length in enumerate(lengths) if length)
                lengths[first] -= 1
                return lengths
    return None


def _as_bytes(name: str) -> bytes:
    """Read a token of a byte-level tokenizer, whose letters are bytes."""
    letters = byte_letters()
    return b"".join(letters.get(letter, letter.encode()) for letter in name)


def _as_text(name: str) -> bytes:
    """Read a token that is text, with sentencepiece's sign for spaces and its single bytes."""
    if _FALLBACK.fullmatch(name):
        return bytes([int(name[3:5], 16)])
    return name.replace(_SPACE, " ").encode()


def _as_codes(name: str) -> bytes:
    """Read a token whose characters are bytes by their code."""
    return bytes(map(ord, name)) if all(ord(letter) < 256 for letter in name) else name.encode()


@cache
def byte_letters() -> dict[str, bytes]:
    """Return the letters that byte-level tokenizers write bytes as: printable ones as they are."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = {chr(byte): byte for byte in kept}
    letters |= {chr(256 + place): byte for place, byte in enumerate(others)}
    return {letter: bytes([byte]) for letter, byte in letters.items()}


def _by_offsets(tokenizer: Any, text: str, ids: Sequence[int]) -> list[int] | None:
    """Count bytes by where in the text tokens end; None without offsets, or of other tokens."""
    found = _offsets(tokenizer, text, list(ids))
    if found is None:
        return None
    before, offsets = found
    ends = [max(end, before) for end in itertools.accumulate((end for _, end in offsets), max)]
    silent = [start == end for start, end in offsets]
    if all(silent):
        return None
    last = max(place for place, quiet in enumerate(silent) if not quiet)
    ends[last:] = [len(text)] * len(ends[last:])  # what no token stands for, behind the last one
    at = np.cumsum([0, *(len(letter.encode()) for letter in text)])
    counts = [0] * len(ids)
    for end, group in itertools.groupby(range(len(ids)), key=lambda place: ends[place]):
        own = [place for place in group if not silent[place]]
        n_bytes = int(at[end] - at[before])
        for place, share in zip(own, _shares(n_bytes, len(own)), strict=True):
            counts[place] = share
        before = end if own else before
    return counts


def _offsets(tokenizer: Any, text: str, ids: list[int]) -> tuple[int, list[tuple[int, int]]] | None:
    """Return where the first token begins, and where each begins and ends, in characters."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    for special in (True, False):
        found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
        raw = list(found["input_ids"])
        offsets = [(int(start), int(end)) for start, end in found["offset_mapping"]]
        if raw == ids:
            return 0, offsets
        if raw == ids[1:]:
            return 0, [(0, 0), *offsets]
        if raw[1:] == ids:
            return offsets[0][1], offsets[1:]
    return None


def _by_decoding(tokenizer: Any, text: str, ids: Sequence[int]) -> list[int]:
    """Share a text's bytes out by the lengths of what its tokens are decoded to."""
    special = set(tokenizer.all_special_ids)
    lengths = [
        0 if token in special else len(str(tokenizer.decode([token])).encode()) for token in ids
    ]
    if not sum(lengths):
        lengths = [1] * len(ids)
    whole = len(text.encode())
    ends = [whole * end // sum(lengths) for end in itertools.accumulate(lengths)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _shares(total: int, n: int) -> list[int]:
    return [total // n + (place < total % n) for place in range(n)]

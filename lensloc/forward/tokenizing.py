"""Texts -> tokens of a model, and where in them words end."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import require_tokenizer, shortened, token_ids
from lensloc.vocabulary import Bos

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Tokenized:
    """A text's tokens, and which of them are pooled over.

    Attributes:
        ids: token ids, special tokens included.
        word_ends: positions of the last token of every whole word; empty unless asked for.
    """

    ids: tuple[int, ...]
    word_ends: tuple[int, ...] = ()


def tokenize(
    model: Model,
    texts: Sequence[str],
    *,
    word_ends: bool = False,
    max_tokens: int | None = None,
    bos: Bos = "model",
) -> list[Tokenized]:
    """Tokenize each text by itself, with the special tokens that the model's settings ask for.

    Args:
        model: a model with a tokenizer.
        texts: the texts.
        word_ends: also find the last token of every word.
        max_tokens: keep only the first tokens, special ones included.
        bos: whether a beginning-of-text token stands before a text.

    Raises:
        LensLocError: no tokenizer; a text without tokens; one longer than the context window.
    """
    require_tokenizer(model)
    if max_tokens is not None and max_tokens < 1:
        raise LensLocError(f"At least one token of a text must be kept; {max_tokens} keeps none.")
    seen, result = surface(model), []
    window = seen.window
    for row, text in enumerate(texts, start=1):
        ids = token_ids(model, text, bos)[:max_tokens]
        if not ids:
            raise LensLocError(f"Text {row} ({shortened(text)}) has no tokens; remove it.")
        if len(ids) > window:
            raise LensLocError(
                f"Text {row} ({shortened(text)}) has {len(ids)} tokens, but the model's context "
                f"window is {window}; shorten it, or say truncate."
            )
        ends = _word_ends(seen.tokenizer, text, ids, row) if word_ends else ()
        result.append(Tokenized(tuple(ids), ends))
    return result


def _word_ends(tokenizer: Any, text: str, ids: list[int], row: int) -> tuple[int, ...]:
    if not getattr(tokenizer, "is_fast", False):
        raise LensLocError(
            "Pooling at word ends needs a fast tokenizer, which says where in the text each token "
            "lies, and this model has a slow one; choose another pooling."
        )
    plain = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    shift = _position_of(plain["input_ids"], ids)
    if shift is None:
        raise LensLocError(
            f"The tokens of text {row} ({shortened(text)}) cannot be matched to its words; "
            "choose another pooling."
        )
    words = [word.span() for word in _WORD.finditer(text)]
    starts, stops = [start for start, _ in words], [stop for _, stop in words]
    last: dict[int, int] = {}  # word -> the last token that holds a part of it
    for position, (start, stop) in enumerate(plain["offset_mapping"]):
        for word in range(bisect_right(stops, start), bisect_left(starts, stop)):
            last[word] = position
    ends = [last[word] + shift for word in sorted(last) if last[word] + shift < len(ids)]
    if not ends:
        raise LensLocError(
            f"Text {row} ({shortened(text)}) holds no whole word within its tokens; "
            "keep more tokens or choose another pooling."
        )
    return tuple(dict.fromkeys(ends))


def _position_of(plain: list[int], ids: list[int]) -> int | None:
    # A special token or two may stand in front, and the text may have been cut off behind.
    for shift in range(min(3, len(ids))):
        kept = ids[shift : shift + len(plain)]
        if kept == plain[: len(kept)]:
            return shift
    return None

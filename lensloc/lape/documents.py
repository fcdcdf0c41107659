"""Documents: what a corpus is made of, whatever it comes from."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from lensloc.contrasts.texts import text_fault
from lensloc.errors import LensLocError

Ids = Int64[np.ndarray, " token"]

# A longer text is tokenized in pieces that end where a line or a word ends.
_PIECE = 2**20
_TOKENS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Document:
    """A text, or a piece of one, or its tokens.

    Attributes:
        content: the text; or token ids.
        place: where it stands, in words.
        read: share of the corpus that has been read with it; None where its length is not known.
        continues: whether it is a further piece of the text before it.
        goes_on: whether a further piece of it follows.
    """

    content: str | Ids
    place: str
    read: float | None = None
    continues: bool = False
    goes_on: bool = False


@dataclass(frozen=True)
class Corpus:
    """Documents, to be joined and cut into windows, or windows that are ready."""

    documents: Iterator[Document]
    ready: bool = False


def one_text(text: Any, place: str, read: float | None) -> Iterator[Document]:
    """Return one text as a document, or as several if it is long; as none if it is empty.

    Raises:
        LensLocError: if it is no text; ``place`` says where.
    """
    fault = text_fault(text)
    if fault == "is empty":
        return iter(())
    if fault is not None:
        raise LensLocError(f"{place}: its text {fault}; correct it or leave it out.")
    return pieces([text], place, lambda: read)


def pieces(
    blocks: Iterable[str], place: str, read: Callable[[], float | None]
) -> Iterator[Document]:
    """Cut one text, which comes in blocks, into pieces; an empty text gives none."""
    rest, begun = "", False
    for block in blocks:
        rest += block
        while len(rest) > _PIECE:
            stop = _end(rest)
            yield Document(rest[:stop], place, read(), begun, True)
            rest, begun = rest[stop:], True
    if rest.strip() or (begun and rest):
        yield Document(rest, place, read(), begun)


def _end(text: str) -> int:
    """Return where the first piece of a text ends: behind a line or before a space."""
    line = text.rfind("\n", 0, _PIECE) + 1
    return line or max(0, text.rfind(" ", 1, _PIECE)) or _PIECE


def rows_of_tokens(tokens: Any, place: str) -> Corpus:
    """Read token ids of a tensor or an array.

    Args:
        tokens: ``[token]``, to be cut into windows; or ``[window, token]``, windows that are ready.
        place: where they stand, in words.

    Raises:
        LensLocError: if they are not whole numbers of one of these shapes.
    """
    shape = tuple(tokens.shape)
    whole = (
        not (tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool)
        if isinstance(tokens, Tensor)
        else tokens.dtype.kind in "iu"
    )
    if not whole or len(shape) not in (1, 2):
        raise LensLocError(
            f"{place}: an array of {tokens.dtype} of shape {shape}; give whole numbers [token], or "
            "[window, token]."
        )
    if isinstance(tokens, Tensor):
        return sliced(lambda part: tokens[part].cpu().numpy(), shape, place)
    return sliced(lambda part: np.asarray(tokens[part]), shape, place)


def sliced(
    cut: Callable[[slice], Int[np.ndarray, "..."]], shape: tuple[int, ...], place: str
) -> Corpus:
    """Read token ids of this shape, a slice at a time."""
    at_once = _TOKENS_AT_ONCE if len(shape) == 1 else max(1, _TOKENS_AT_ONCE // max(1, shape[1]))

    def documents() -> Iterator[Document]:
        for start in range(0, shape[0], at_once):
            stop = min(start + at_once, shape[0])
            found = cut(slice(start, stop)).astype(np.int64)
            if len(shape) == 1:
                yield Document(found, place, stop / shape[0])
                continue
            for row, ids in enumerate(found, start=start + 1):
                yield Document(ids, f"{place}, row {row}", row / shape[0])

    return Corpus(documents(), ready=len(shape) == 2)

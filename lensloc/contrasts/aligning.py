"""Pairs of texts -> tokens that stand at the same positions, clean and corrupted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lensloc.contrasts.clean_corrupted import Pair
from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import n_shared, require_tokenizer, shortened, token_ids

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Continued:
    """A prompt with a continuation, clean and corrupted; as many tokens in both.

    Attributes:
        clean: token ids of the clean text.
        corrupted: those of the corrupted one; the same from ``first`` on.
        first: position of the continuation's first token.
    """

    clean: Ids
    corrupted: Ids
    first: int


@dataclass(frozen=True)
class AlignedPair:
    """The tokens of a pair.

    Attributes:
        right: with the right continuation.
        wrong: with the wrong one.
        place: the pair, in words.
    """

    right: Continued
    wrong: Continued
    place: str

    @property
    def sides(self) -> tuple[tuple[Continued, float], tuple[Continued, float]]:
        """Both, with the sign with which they stand in the metric."""
        return (self.right, 1.0), (self.wrong, -1.0)


def align(model: Model, pairs: Sequence[Pair]) -> list[AlignedPair]:
    """Tokenize pairs.

    Raises:
        LensLocError: for the first pair whose clean and corrupted texts do not have as many tokens,
            or that does not fit the context window.
    """
    require_tokenizer(model)
    found = []
    for number, pair in enumerate(pairs, start=1):
        aligned = _aligned(model, pair, number)
        if isinstance(aligned, str):
            raise LensLocError(
                f"{aligned[:-1]}; correct the pair, or leave such pairs out: pairs.aligned(model)."
            )
        found.append(aligned)
    return found


def aligned_rows(model: Model, pairs: Sequence[Pair]) -> tuple[list[int], list[str]]:
    """Return the pairs that can be aligned, by position, and of the others why not."""
    require_tokenizer(model)
    kept, reasons = [], []
    for row, pair in enumerate(pairs):
        aligned = _aligned(model, pair, row + 1)
        if isinstance(aligned, str):
            reasons.append(aligned)
        else:
            kept.append(row)
    return kept, reasons


def _aligned(model: Model, pair: Pair, number: int) -> AlignedPair | str:
    """Return a pair's tokens, or in a sentence why clean and corrupted ones do not match."""
    place = _place(pair, number)
    texts = [[prompt + more for more in pair.continuations] for prompt in pair.prompts]
    ids = [[tuple(token_ids(model, text, end=False)) for text in side] for side in texts]
    prompts = [token_ids(model, prompt, end=False) for prompt in pair.prompts]
    window = surface(model).window
    for text, own in _flat(texts, ids):
        if len(own) > window:
            raise LensLocError(
                f"{place}: {shortened(text)} has {len(own)} tokens, but the context window holds "
                f"{window}; shorten it."
            )
    n_clean, n_corrupted = map(len, prompts)
    if n_clean != n_corrupted:
        return (
            f"{place}: the clean prompt has {n_clean} tokens but the corrupted one {n_corrupted}, "
            "so their positions cannot be compared."
        )
    # Where the continuations begin: behind what each has in common with its prompt.
    shared = [
        n_shared(prompt, own) for prompt, side in zip(prompts, ids, strict=True) for own in side
    ]
    first = max(1, min(shared))
    for name, clean, corrupted in zip(("right", "wrong"), *ids, strict=True):
        if clean[first:] != corrupted[first:]:
            return (
                f"{place}: the {name} continuation is other tokens behind the clean prompt than "
                "behind the corrupted one, so their positions cannot be compared."
            )
        if len(clean) <= first:
            return f"{place}: the {name} continuation has no token of its own."
        if clean == corrupted:
            return f"{place}: the tokenizer makes the same tokens of the clean and corrupted text."
    if shared and min(shared) == 0 and ids[0][0][0] != ids[0][1][0]:
        return (
            f"{place}: the continuations begin where nothing stands before them, so that they "
            "cannot be compared."
        )
    right, wrong = (
        Continued(clean, corrupted, first) for clean, corrupted in zip(*ids, strict=True)
    )
    return AlignedPair(right, wrong, place)


def _flat(
    texts: Sequence[Sequence[str]], ids: Sequence[Sequence[Ids]]
) -> Iterator[tuple[str, Ids]]:
    for some_texts, some_ids in zip(texts, ids, strict=True):
        yield from zip(some_texts, some_ids, strict=True)


def _place(pair: Pair, number: int) -> str:
    return pair.place or f"Pair {number}"

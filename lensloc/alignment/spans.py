"""Words and stimuli -> where they lie in a text -> which tokens are theirs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lensloc.errors import LensLocError

Span = tuple[int, int]


def joined(parts: Sequence[str], separator: str) -> tuple[str, tuple[Span, ...]]:
    """Join parts to one text; return it and where every part lies in it.

    Example:
        >>> joined(["Once upon", "a time."], " ")
        ('Once upon a time.', ((0, 9), (10, 17)))
    """
    spans, start = [], 0
    for part in parts:
        spans.append((start, start + len(part)))
        start += len(part) + len(separator)
    return separator.join(parts), tuple(spans)


def found_in(text: str, words: Sequence[str], where: Callable[[int], str]) -> tuple[Span, ...]:
    """Return where words lie in a text that consists of them and of white space.

    Args:
        text: the text.
        words: its words, in order.
        where: number of a word, from 0 -> its place, for an error message.

    Raises:
        LensLocError: naming the first word that does not line up with the text.

    Example:
        >>> found_in("It was,\\nhe said, late.", ["It", "was,", "he", "said,", "late."], str)
        ((0, 2), (3, 7), (8, 10), (11, 16), (17, 22))
    """
    spans, start = [], 0
    for number, word in enumerate(words):
        while start < len(text) and text[start].isspace():
            start += 1
        stop = start + len(word)
        goes_on = stop < len(text) and not text[stop].isspace()
        if text[start:stop] != word or goes_on:
            there = text[start:].split(maxsplit=1)
            raise LensLocError(
                f"{where(number)}: the word {word!r} does not line up with the text, where "
                + (f"{there[0]!r} stands" if there else "nothing is left")
                + "; make the words those of the text, split at white space."
            )
        spans.append((start, stop))
        start = stop
    rest = text[start:].split(maxsplit=1)
    if rest:
        raise LensLocError(
            f"{where(len(words) - 1)}: the text goes on with {rest[0]!r} after its last word; add "
            "the missing words, or cut the text."
        )
    return tuple(spans)


def tokens_of(
    text: str,
    parts: Sequence[Span],
    tokens: Sequence[Span | None],
    where: Callable[[int], str],
) -> list[range]:
    """Return which tokens are each part's, by position.

    A token belongs to the part that its letters lie in; white space before them does not count. A
    token of white space alone belongs to none.

    Args:
        text: the text.
        parts: where each part lies in it, in order.
        tokens: where each token lies in it; None for a special token.
        where: number of a part, from 0 -> its place, for an error message.

    Raises:
        LensLocError: a part without a token, or a token that is in two parts; naming the part.

    Example:
        >>> tokens_of("so old.", [(0, 2), (3, 7)], [None, (0, 2), (2, 6), (6, 7)], str)
        [range(1, 2), range(2, 4)]
    """
    first = [-1] * len(parts)
    last = [-1] * len(parts)
    part = 0
    for position, span in enumerate(tokens):
        if span is None:
            continue
        start, stop = span
        while start < stop and text[start].isspace():
            start += 1
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        if start == stop:
            continue
        while part < len(parts) - 1 and parts[part][1] <= start:
            part += 1
        if stop <= parts[part][0] or start >= parts[part][1]:
            continue
        if part + 1 < len(parts) and stop > parts[part + 1][0]:
            raise LensLocError(
                f"{where(part)}: the token {text[start:stop]!r} holds letters of it and of what "
                "follows, so they cannot be told apart with this model's tokenizer; use another "
                "model."
            )
        first[part] = position if first[part] < 0 else first[part]
        last[part] = position
    for number, position in enumerate(first):
        if position < 0:
            a, b = parts[number]
            raise LensLocError(
                f"{where(number)}: {text[a:b]!r} has no token of its own; remove it, or check that "
                "it holds something to read."
            )
    return [range(a, b + 1) for a, b in zip(first, last, strict=True)]


@dataclass(frozen=True)
class Window:
    """A stretch of a long sequence that is read at once.

    Attributes:
        start: its first token.
        stop: behind its last token.
        new: the first token that no window before it has read.
    """

    start: int
    stop: int
    new: int


def windows(n_tokens: int, window: int) -> Iterator[Window]:
    """Cut a sequence into windows that move on by half a window.

    Every token is new in just one window, with at least half a window before it where the sequence
    has that much.

    Example:
        >>> [(w.start, w.stop, w.new) for w in windows(10, 4)]
        [(0, 4, 0), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    """
    step = max(1, window // 2)
    new = 0
    for start in range(0, n_tokens, step):
        stop = min(start + window, n_tokens)
        yield Window(start, stop, new)
        new = stop
        if stop == n_tokens:
            break

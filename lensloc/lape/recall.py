"""How much text of a language the identifier of languages finds, when it is as short as answers."""

import bisect
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from lensloc.lape.answers import language_of
from lensloc.lape.bundled import LANGUAGES, prose

# Pieces of reference text for one length; more would hardly change the figure.
_PIECES = 200
# Lengths are taken to be equal up to so much, since the figure hardly depends on it.
_STEP = 1.1
# Below it, shares in one language do not compare with those in another.
_GOOD = 0.9


class Recall:
    """Recall of the identifier, by language and by length, on reference text.

    A reference is cut into pieces that begin with a sentence and end with a word, as long as the
    answers are, and the share of pieces that the identifier finds to be in their language is its
    recall. What is below 1 is missing in every share of answers, so shares in several languages
    compare only as far as their recalls do.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], codes: Mapping[str, str | None]) -> None:
        """Keep reference texts by code.

        Args:
            texts: language -> its reference text; bundled prose is known where there is none.
            codes: language -> ISO 639-1 code.
        """
        given = {codes.get(name): found for name, found in texts.items()}
        self._texts = {code: " ".join(found) for code, found in given.items() if code is not None}
        self._starts: dict[str, list[int]] = {}
        self._known: dict[tuple[str, int], float] = {}

    def of(self, code: str | None, answers: Iterable[str]) -> float:
        """Return the recall at the lengths of some answers, over those that have any letter.

        NaN without a code, a reference text, or an answer with a letter.
        """
        if code is None or not self._reference(code):
            return float("nan")
        lengths = Counter(
            _rounded(len(text.strip()))
            for text in answers
            if any(letter.isalpha() for letter in text)
        )
        if not lengths:
            return float("nan")
        found = [self._at(code, length) for length in lengths]
        return float(np.average(found, weights=list(lengths.values())))

    def _reference(self, code: str) -> str:
        if code not in self._texts:
            bundled = code in LANGUAGES
            parts = [prose([code], part)[code] for part in ("train", "held-out")] if bundled else []
            self._texts[code] = " ".join(text for part in parts for text in part)
        return self._texts[code]

    def _at(self, code: str, length: int) -> float:
        key = code, length
        if key not in self._known:
            found = [language_of(piece) == code for piece in self._pieces(code, length)]
            self._known[key] = float(np.mean(found)) if found else float("nan")
        return self._known[key]

    def _pieces(self, code: str, length: int) -> Iterator[str]:
        text = self._reference(code)
        if code not in self._starts:
            ends = re.finditer(r"[.!?…。！？।]+[\"'»”’)\]]*\s*", text)
            self._starts[code] = [0, *(found.end() for found in ends if found.end() < len(text))]
        starts = self._starts[code]
        # A reference that is shorter than the answers is one piece.
        room = bisect.bisect_right(starts, max(0, len(text) - length))
        for start in starts[: max(1, room)][:: max(1, room // _PIECES)][:_PIECES]:
            yield cut(text[start:], length)


def cut(text: str, length: int) -> str:
    """Return a text up to a number of characters, cut between words where there are any.

    Example:
        >>> cut("the old gardener", 9)
        'the old'
        >>> cut("gardener", 4)
        'gard'
    """
    part = text[:length]
    if len(text) <= length or text[length].isspace():
        return part.rstrip()
    whole = re.match(r".*\s", part, flags=re.DOTALL)
    return whole[0].rstrip() if whole and whole[0].strip() else part


def recall_told(recalls: Mapping[str, float]) -> Iterator[str]:
    """Say where the identifier misses much text of the answers' lengths.

    Args:
        recalls: language -> lowest recall in a table.
    """
    low = {name: value for name, value in recalls.items() if value < _GOOD}
    if low:
        words = ", ".join(f"{100 * value:.0f} % of {name}" for name, value in low.items())
        yield (
            f"The identifier of languages finds only {words} in reference text as short as these "
            "answers, so shares of answers in different languages do not compare as they stand; "
            "set each beside its recall."
        )


def _rounded(length: int) -> int:
    """Return a length on a grid of steps that grow with it."""
    exponent = round(math.log(max(1, length), _STEP))
    return max(1, round(_STEP**exponent))

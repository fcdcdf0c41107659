"""Measures of an answer: its language, its stop words, and whether it repeats the question."""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import stopwordsiso
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lensloc.errors import LensLocError

UNCERTAIN, NO_LANGUAGE = "und", "zxx"

# The identifier's probability below which a language is not taken for identified.
_LEAST_CERTAIN = 0.5
# An answer repeats a question if so much of the question stands in it in one run of words.
_REPEATED = 0.8


def language_of(text: str) -> str:
    """Return the language of a text, as ISO 639-1 code, among about a hundred.

    By py3langid (Lui and Baldwin 2012); ``und`` where it is less than half sure, and ``zxx`` for
    what is no language, or has no letters.
    """
    if not any(letter.isalpha() for letter in text):
        return NO_LANGUAGE
    language, _ = _identifier().classify(text)
    return str(language)


def stop_words(text: str, code: str | None) -> tuple[int, int]:
    """Return how many of a text's words are stop words of a language, and how many words there are.

    Stop words are those of stopwords-iso; none are known without a code, or for some languages.
    What an apostrophe joins is one word if the list has it so (``don't``), otherwise several
    (``l'eau``).
    """
    known = _stop_words_of(code)
    words = [
        part for word in words_of(text) for part in ([word] if word in known else word.split("'"))
    ]
    return sum(word in known for word in words), len(words)


def knows_stop_words(code: str | None) -> bool:
    """Say whether there are stop words of a language."""
    return bool(_stop_words_of(code))


def repeats(question: str, answer: str) -> bool:
    """Say whether an answer repeats a question: at least 80 % of its words, in one run."""
    asked, answered = words_of(question), words_of(answer)
    if not asked:
        return False
    longest = SequenceMatcher(None, asked, answered, autojunk=False).find_longest_match()
    return longest.size >= _REPEATED * len(asked)


def question_of(prompt: str) -> str:
    """Return a prompt's question: the last sentence between ``Q:`` and ``A:``, or of it all."""
    found = re.search(r"Q:(.*?)(?:\nA:|$)", prompt, flags=re.DOTALL)
    asked = (found.group(1) if found else prompt).strip()
    return re.split(r"(?<=[.!?:;。？！])\s+", asked)[-1]


def words_of(text: str) -> list[str]:
    """Return a text's words, in lower case, without punctuation and with straight apostrophes."""
    # A dotted capital I becomes i and a combining dot, which no word of Turkish is written with.
    lower = unicodedata.normalize("NFC", text.lower().replace("i\u0307", "i")).replace("’", "'")
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", lower)


def language_codes(
    languages: Sequence[str], codes: Mapping[str, str] | None
) -> dict[str, str | None]:
    """Return each language's ISO 639-1 code: as given, or its name if that is one, or None.

    Raises:
        LensLocError: a code of a language that is not there, or one that cannot be identified.
    """
    given = dict(codes or {})
    for name, code in given.items():
        if name not in languages:
            raise LensLocError(
                f"codes names {name!r}, which is not among {', '.join(languages)}; leave it out."
            )
        if code not in _identifier().labels:
            raise LensLocError(
                f"{code!r}, the code of {name!r}, is no language that can be identified; give an "
                "ISO 639-1 code, e.g. 'de'."
            )
    known = set(_identifier().labels)
    return {name: given.get(name, name if name in known else None) for name in languages}


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=_LEAST_CERTAIN
    )


@functools.cache
def _stop_words_of(code: str | None) -> frozenset[str]:
    if code is None or not stopwordsiso.has_lang(code):
        return frozenset()
    return frozenset(stopwordsiso.stopwords(code))

"""Make stimuli/language.csv from stimuli/sentences.txt.

Run from the checkout, with the dev dependencies installed:

    python stimuli/make_language.py            # write the CSV
    python stimuli/make_language.py --check    # exit 1 if the CSV is not what this script makes

Nonwords: for every word of a sentence, one string of the same number of letters, drawn letter by
letter from the letter trigrams of the sentences' own words (position in the word included at both
ends), until it has a vowel, ends as an English word does, and is no English word: not in the word
lists of the package english-words (nor an inflection of a word in them), and, so that names and
borrowed words go too, not in the frequency list of the package wordfreq (strings of three and four
letters, nearly all of which that list knows from somewhere, must be rare in it). Everything is
drawn from one seeded generator, so the file is the same on every machine.
"""

import argparse
import csv
import io
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

from english_words import get_english_words_set
from wordfreq import zipf_frequency

FOLDER = Path(__file__).parent
SEED = 2024
N_ITEMS, N_WORDS = 240, 12
VOWELS = set("aeiouy")
# Too short to be drawn from trigrams. One-letter strings other than "a" are no words in a text.
SHORT = {
    1: ["e", "u", "y"],
    2: ["uz", "ij", "ub", "ov", "ej", "iz", "uf", "ek", "zu", "ux", "ez", "oq", "iw", "vy", "uj"],
}
# Largest frequency (Zipf scale of wordfreq) that a nonword of so many letters may have.
RARE = {3: 2.5, 4: 1.6}
SUFFIXES = ("s", "es", "d", "ed", "ing", "r", "er", "ly", "y", "n", "en", "est", "ness", "th")


def english_words() -> set[str]:
    """All words of the package's two lists, lower case."""
    return set(get_english_words_set(["gcide", "web2"], lower=True, alpha=True))


def is_english(word: str, words: set[str]) -> bool:
    """Whether a string is an English word, an inflection of one, or in use as if it were."""
    if word in words or zipf_frequency(word, "en") > RARE.get(len(word), 0.0):
        return True
    stems = [word[: -len(suffix)] for suffix in SUFFIXES if word.endswith(suffix)]
    return any(len(stem) >= 3 and (stem in words or f"{stem}e" in words) for stem in stems)


def read_sentences() -> list[list[str]]:
    lines = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines]


class Pronounceable:
    """Draws letter strings whose trigrams, beginnings and ends are those of given words."""

    def __init__(self, words: list[str], forbidden: set[str], rng: random.Random) -> None:
        self.rng = rng
        self.forbidden = forbidden
        self.used: set[str] = set()
        self.next: dict[str, Counter[str]] = defaultdict(Counter)
        self.endings: set[str] = set()
        for word in sorted(set(words)):
            padded = f"^^{word}"
            for i, letter in enumerate(word):
                self.next[padded[i : i + 2]][letter] += 1
            if len(word) >= 3:
                self.endings.add(word[-3:])
            self.endings.add(word[-2:])

    def draw(self, length: int) -> str:
        if length in SHORT:
            return self.rng.choice(SHORT[length])
        for attempt in range(20_000):
            word = self._letters(length)
            if word is None or not VOWELS & set(word) or (word in self.used and attempt < 500):
                continue
            if word[-3:] not in self.endings and word[-2:] not in self.endings:
                continue
            if is_english(word, self.forbidden):
                continue
            self.used.add(word)
            return word
        raise RuntimeError(f"no nonword of {length} letters found")

    def _letters(self, length: int) -> str | None:
        word = ""
        while len(word) < length:
            options = self.next.get(f"^^{word}"[-2:])
            if not options:
                return None
            letters, weights = zip(*sorted(options.items()), strict=True)
            word += self.rng.choices(letters, weights)[0]
        return word


def make_rows() -> list[tuple[int, str, str]]:
    sentences = read_sentences()
    assert len(sentences) == N_ITEMS, len(sentences)
    assert all(len(words) == N_WORDS for words in sentences)
    vocabulary = [word for words in sentences for word in words]
    forbidden = english_words() | set(vocabulary)
    source = Pronounceable(vocabulary, forbidden, random.Random(SEED))
    rows = [(item, "sentences", " ".join(words)) for item, words in enumerate(sentences, 1)]
    for item, words in enumerate(sentences, 1):
        rows.append((item, "nonwords", " ".join(source.draw(len(word)) for word in words)))
    return rows


def as_csv(rows: list[tuple[int, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item", "condition", "text"))
    writer.writerows(rows)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    arguments = parser.parse_args()
    made, path = as_csv(make_rows()), FOLDER / "language.csv"
    if arguments.check:
        return 0 if path.read_text(encoding="utf-8") == made else 1
    path.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

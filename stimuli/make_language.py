"""Make stimuli/language.csv from stimuli/sentences.txt: four conditions, aligned item by item.

Run from the checkout, with the dev dependencies installed:

    python stimuli/make_language.py            # write the CSV
    python stimuli/make_language.py --check    # exit 1 if the CSV is not what this script makes
    python stimuli/make_language.py --against LIST ...   # exit 1 if these word lists know a nonword

Every word of an item has the same number of letters in all four conditions.

nonwords: for every word of a sentence, one string of as many letters, drawn letter by letter from
the letter trigrams of the sentences' own words (position in the word included at both ends), until
it has a vowel, ends as an English word does, and is no English word: not in the word lists of the
package english-words (nor an inflection of a word in them), and, so that names and borrowed words
go too, not in the frequency list of the package wordfreq (strings of three and four letters, nearly
all of which that list knows from somewhere, must be rare in it). Larger lists know more words; what
--against found in some is in not_nonwords.txt and is barred too. No string is twice in a text.

word-lists: the sentences' own words, each replaced by one of the same length from another sentence;
none twice in a row, and no content word twice in a text.

jabberwocky: the sentences with every content word replaced by a nonword of as many letters that
keeps its ending: the inflection or derivation if it has one, otherwise its last letter. Number
words are kept as function words are.

Everything is drawn from seeded generators, so the file is the same on every machine. What is
barred, repeated or to be kept is mended after all has been drawn, from a generator for each place,
so that to bar one more string changes hardly any other.
"""

import argparse
import csv
import io
import random
import re
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
    2: ["uz", "ih", "uy", "yx", "ej", "zy", "uf", "ek", "ue", "uo", "yk", "oq", "qo", "vy", "uj"],
}
# Largest frequency (Zipf scale of wordfreq) that a nonword of so many letters may have.
RARE = {3: 2.5, 4: 1.6}
ENDINGS = tuple(
    "ingly tions tion ments ment ness ings ing ers ors ies ied "
    "ous ful ive ble est ed er or ly es al en s y".split()
)
FUNCTION_WORDS = set((FOLDER / "function_words.txt").read_text(encoding="utf-8").split())
BARRED = frozenset((FOLDER / "not_nonwords.txt").read_text(encoding="utf-8").split())
NUMBER_WORDS = frozenset(
    "zero eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty "
    "thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million "
    "millions billion billions dozen dozens first second third fourth fifth sixth seventh eighth "
    "ninth tenth eleventh twelfth thrice".split()
)
KEPT = FUNCTION_WORDS | NUMBER_WORDS
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

    def draw(
        self,
        length: int,
        ending: str = "",
        rng: random.Random | None = None,
        taken: frozenset[str] = frozenset(),
    ) -> str:
        """A string of so many letters with that ending that is none of those taken."""
        rng = rng or self.rng
        if length in SHORT:
            return rng.choice([word for word in SHORT[length] if word not in taken])
        for attempt in range(20_000):
            stem = self._letters(length - len(ending), rng)
            if stem is None:
                continue
            word = stem + ending
            if not VOWELS & set(stem) and len(stem) > 2:
                continue
            if not VOWELS & set(word) or (word in self.used and attempt < 500):
                continue
            if word[-3:] not in self.endings and word[-2:] not in self.endings:
                continue
            if word in taken or is_english(word, self.forbidden):
                continue
            self.used.add(word)
            return word
        raise RuntimeError(f"no nonword of {length} letters found")

    def _letters(self, length: int, rng: random.Random) -> str | None:
        word = ""
        while len(word) < length:
            options = self.next.get(f"^^{word}"[-2:])
            if not options:
                return None
            letters, weights = zip(*sorted(options.items()), strict=True)
            word += rng.choices(letters, weights)[0]
        return word


def ending_of(word: str) -> str:
    """The inflection or derivation of a word, or else its last letter."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            return ending
    return word[-1]


def scramble(sentences: list[list[str]], rng: random.Random) -> list[list[str]]:
    """Give every place a word of the same length from another sentence; use every word once."""
    places = defaultdict(list)
    for item, words in enumerate(sentences):
        for position, word in enumerate(words):
            places[len(word)].append((item, position))
    lists = [[""] * N_WORDS for _ in sentences]
    for _, group in sorted(places.items()):
        givers = group[:]
        rng.shuffle(givers)
        for i, (item, _) in enumerate(group):  # exchange until no place gives to its own sentence
            while givers[i][0] == item:
                j = rng.randrange(len(group))
                if givers[j][0] != item and givers[i][0] != group[j][0]:
                    givers[i], givers[j] = givers[j], givers[i]
        for (item, position), (giver, at) in zip(group, givers, strict=True):
            lists[item][position] = sentences[giver][at]
    return lists


def mend_lists(
    lists: list[list[str]], sentences: list[list[str]], rng: random.Random
) -> list[list[str]]:
    """Exchange words until no list has a word twice in a row, or a content word twice."""

    def repeats(item: int) -> list[int]:
        words = lists[item]
        return [
            i
            for i, word in enumerate(words)
            if word in words[max(i - 1, 0) : i] or (word in words[:i] and word not in KEPT)
        ]

    for item, words in enumerate(lists):
        for position in repeats(item):
            places = [
                (other, there)
                for other, theirs in enumerate(lists)
                for there, word in enumerate(theirs)
                if len(word) == len(words[position])
                and word not in sentences[item]
                and words[position] not in sentences[other] + theirs
            ]
            other, there = rng.choice(places)
            words[position], lists[other][there] = lists[other][there], words[position]
        assert not repeats(item)
    return lists


def mend_drawn(
    name: str, texts: list[list[str]], sentences: list[list[str]], source: Pronounceable
) -> list[list[str]]:
    """Draw anew what is barred or was in the text before; put back the words that are kept."""
    jabberwocky = name == "jabberwocky"
    for item, words in enumerate(texts):
        for position, (word, original) in enumerate(zip(words, sentences[item], strict=True)):
            if jabberwocky and original in KEPT:
                words[position] = original
            elif word in BARRED or word in words[:position]:
                words[position] = source.draw(
                    len(word),
                    ending_of(original) if jabberwocky else "",
                    random.Random(f"{SEED} {name} {item + 1} {position + 1}"),
                    BARRED | frozenset(words),
                )
    return texts


def make_rows() -> list[tuple[int, str, str]]:
    sentences = read_sentences()
    assert len(sentences) == N_ITEMS, len(sentences)
    assert all(len(words) == N_WORDS for words in sentences)
    vocabulary = [word for words in sentences for word in words]
    forbidden = english_words() | set(vocabulary)
    source = Pronounceable(vocabulary, forbidden, random.Random(SEED))
    conditions = {"sentences": sentences}
    scrambled = scramble(sentences, random.Random(SEED + 1))
    conditions["word-lists"] = mend_lists(scrambled, sentences, random.Random(SEED + 2))
    conditions["jabberwocky"] = [
        [w if w in FUNCTION_WORDS else source.draw(len(w), ending_of(w)) for w in words]
        for words in sentences
    ]
    conditions["nonwords"] = [[source.draw(len(word)) for word in words] for words in sentences]
    for name in ("jabberwocky", "nonwords"):
        mend_drawn(name, conditions[name], sentences, source)
    return [
        (item, name, " ".join(words))
        for name, texts in conditions.items()
        for item, words in enumerate(texts, start=1)
    ]


def as_csv(rows: list[tuple[int, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item", "condition", "text"))
    writer.writerows(rows)
    return text.getvalue()


def nonwords_of(rows: list[tuple[int, str, str]]) -> set[str]:
    """The drawn strings of two letters and more (one letter is no word)."""
    texts = {(item, name): text.split() for item, name, text in rows}
    return {
        word
        for (item, name), words in texts.items()
        if name in ("jabberwocky", "nonwords")
        for word, original in zip(words, texts[item, "sentences"], strict=True)
        if len(word) > 1 and (name == "nonwords" or original not in KEPT)
    }


def read_list(path: Path) -> set[str]:
    """The words of a list, one a line (what follows a blank or a slash is no part of it)."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {re.split(r"[\s/]", line, maxsplit=1)[0].lower() for line in lines}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    parser.add_argument("--against", nargs="+", type=Path, help="look nonwords up in word lists")
    arguments = parser.parse_args()
    rows = make_rows()
    if arguments.against:
        known = nonwords_of(rows) & set().union(*map(read_list, arguments.against))
        sys.stdout.writelines(f"{word}\n" for word in sorted(known))
        return 1 if known else 0
    made, path = as_csv(rows), FOLDER / "language.csv"
    if arguments.check:
        return 0 if path.read_text(encoding="utf-8") == made else 1
    path.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

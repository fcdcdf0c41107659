"""Make stimuli/pairs/*.csv: clean and corrupted prompts with right and wrong continuations.

    python stimuli/make_pairs.py            # write the CSVs
    python stimuli/make_pairs.py --check    # exit 1 if they differ

A corrupted prompt differs from the clean one in a word or two, and turns the answer around: its own
right continuation is the clean one's wrong one.

agreement: the first pairs of five paradigms of minimal_pairs.csv, up to the word in which good and
bad sentence differ; the two words are the continuations, and the corrupted prompt has the word that
decides between them in the other number (the subject, or this/these, that/those).
belief: a person leaves an object in one place, and somebody moves it to another; the person is away
and does not see it (clean), or is there and does (corrupted). Each pair of places is used in both
orders.
sums: the additions of arithmetic.jsonl; in the corrupted sum the second number is another one with
as many digits, and so is the result.
"""

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from make_minimal_pairs import plural

FOLDER = Path(__file__).parent
FIELDS = ("group", "clean", "corrupted", "right", "wrong")
PER_PARADIGM = 16
DETERMINERS = {"this": "these", "these": "this", "that": "those", "those": "that"}
PARADIGMS = (
    "determiner_noun_agreement",
    "subject_verb_agreement",
    "subject_verb_agreement_auxiliary",
    "subject_verb_agreement_prepositional_attractor",
    "subject_verb_agreement_relative_clause",
)
# Object, and two places where it may be.
THINGS = """
    keys drawer box; book cabinet drawer; ball garden kitchen; phone bag car; hat closet basket;
    money jar purse; cake oven fridge; letter desk bin; shoes hall bedroom; toy chest attic;
    lamp office cellar; coat cupboard trunk; ring bowl pocket; map tent boat; cup sink cabinet;
    bread kitchen pantry; camera suitcase locker; knife drawer sink; violin studio hall;
    bottle fridge basket
"""
PEOPLE = "Anna Ben; Tom Mary; Lucy Sam; Peter Jane; Emma Jack; David Sarah; Alice Mark; Paul Kate"

Row = tuple[str, str, str, str, str]


def agreement() -> Iterator[Row]:
    with (FOLDER / "minimal_pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    nouns = {noun for row in rows for noun in re.findall(r"[a-z]+", row["sentence_good"])}
    singular = {plural(noun): noun for noun in nouns}
    for paradigm in PARADIGMS:
        found = [row for row in rows if row["UID"] == paradigm]
        made = [pair for row in found if (pair := turned(row, singular)) is not None]
        yield from made[:PER_PARADIGM]


def turned(row: dict[str, str], singular: dict[str, str]) -> Row | None:
    """A minimal pair as a prompt, with what decides its next word turned around."""
    good, bad = (row[name].rstrip(".").split() for name in ("sentence_good", "sentence_bad"))
    at = next(i for i, (a, b) in enumerate(zip(good, bad, strict=True)) if a != b)
    prompt = good[:at]
    place = at - 1 if row["UID"].startswith("determiner") else 1
    word = prompt[place]
    if word in DETERMINERS:
        other = DETERMINERS[word]
    elif word in singular:
        other = singular[word]
    elif plural(word) in singular:
        other = plural(word)
    else:
        return None
    corrupted = [*prompt[:place], other, *prompt[place + 1 :]]
    return row["UID"], " ".join(prompt), " ".join(corrupted), good[at], bad[at]


def belief() -> Iterator[Row]:
    things = [text.split() for text in THINGS.split(";")]
    people = [text.split() for text in PEOPLE.split(";")]
    for number, (thing, one, other) in enumerate(things):
        for turn, (first, second) in enumerate(((one, other), (other, one))):
            who, mover = people[(2 * number + turn) % len(people)]
            story = (
                f"{who} put the {thing} in the {first} and {{}}. While {who} was {{}}, {mover} "
                f"moved the {thing} to the {second}. Later {who} wants the {thing}. {who} thinks "
                f"that the {thing} will be in the"
            )
            yield (
                "false against true belief",
                story.format("went out", "away"),
                story.format("sat down", "there"),
                first,
                second,
            )


def sums() -> Iterator[Row]:
    for line in (FOLDER / "arithmetic.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        if item["kind"] != "addition":
            continue
        a, b = map(int, re.findall(r"\d+", item["prompt"]))
        prompt = "Question: What is {} + {}?\nAnswer:"
        for other in (b + 2, b - 2, b + 1, b - 1, b + 3):
            alike = all(len(str(x)) == len(str(y)) for x, y in ((b, other), (a + b, a + other)))
            if other > 0 and alike:
                yield (
                    "addition",
                    prompt.format(a, b),
                    prompt.format(a, other),
                    str(a + b),
                    str(a + other),
                )
                break


def written(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(rows)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    check = parser.parse_args().check
    for make in (agreement, belief, sums):
        path, text = FOLDER / "pairs" / f"{make.__name__}.csv", written(list(make()))
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Make stimuli/multiple_demand.csv: hard and easy versions of four kinds of demand.

    python stimuli/make_multiple_demand.py            # write the CSV
    python stimuli/make_multiple_demand.py --check    # exit 1 if the CSV differs

40 items a kind and level, aligned item by item, no two alike:

sums: the published rule. Hard: two operands of 100 to 199; easy: of 1 to 19; half of them sums and
half differences in each level.
digit-span: a list of digits, read and repeated. Hard: eight digits; easy: three, with words around
them that make the text as long.
n-back: a row of letters and whether the last one equals an earlier one. Hard: two before it, and
the row holds lures; easy: the one just before it. Same letters, same length.
logic: four people in an order. Hard: the statements are out of order and the answer needs three of
them; easy: they are in order and one of them is the answer. Same words, same length.

Answers are correct and balanced: half of the n-back answers are yes. Everything is drawn from one
seeded generator.
"""

import argparse
import csv
import io
import itertools
import random
import sys
from pathlib import Path

SEED = 2024
N = 40
PATH = Path(__file__).parent / "multiple_demand.csv"
CONSONANTS = "BCDFGHJKLMNPQRSTVWXZ"
NAMES = (
    "Ada Ben Cleo Dan Eva Finn Gia Hugo Ines Jon Kim Leo Mia Noor Omar "
    "Pia Rosa Sami Tess Yuri".split()
)
ORDERS = [("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"), ("richer", "richest"),
          ("stronger", "strongest")]  # fmt: skip


def sums(rng: random.Random, low: int, high: int) -> list[str]:
    texts: list[str] = []
    while len(texts) < N:
        sign = "+" if len(texts) % 2 == 0 else "-"
        a, b = rng.randint(low, high), rng.randint(low, high)
        text = f"Question: Solve {a} {sign} {b}?\nAnswer: {a + b if sign == '+' else a - b}"
        if text not in texts:
            texts.append(text)
    return texts


def digit_spans(rng: random.Random) -> tuple[list[str], list[str]]:
    hard, easy = [], []
    while len(hard) < N:
        digits = " ".join(rng.sample("123456789", 8))
        few = " ".join(rng.sample("123456789", 3))
        text = f"Keep these digits in mind: {digits}. Now repeat them: {digits}."
        short = f"Keep these three digits in your mind: {few}. Now please repeat them: {few}."
        if text not in hard and short not in easy:
            hard.append(text)
            easy.append(short)
    return hard, easy


def n_back(rng: random.Random, back: int, lure: int) -> list[str]:
    texts: list[str] = []
    while len(texts) < N:
        yes = len(texts) % 2 == 0
        letters = [rng.choice(CONSONANTS) for _ in range(7)]
        letters.append(letters[-back] if yes else rng.choice(CONSONANTS))
        match = letters[-1] == letters[-1 - back]
        lured = letters[-1] == letters[-1 - lure]
        repeats = any(a == b for a, b in itertools.pairwise(letters))
        if match != yes or lured == yes or (repeats and back == 2 and yes):
            continue
        place = "two" if back == 2 else "just"
        answer = "yes" if yes else "no"
        question = f"Is the last one equal to the one {place} before?"
        text = f"Letters: {' '.join(letters)}. {question} Answer: {answer}"
        if text not in texts:
            texts.append(text)
    return texts


def logic(rng: random.Random, hard: bool) -> list[str]:
    texts: list[str] = []
    while len(texts) < N:
        people = rng.sample(NAMES, 4)
        more, most = ORDERS[len(texts) % len(ORDERS)]
        steps = [f"{a} is {more} than {b}." for a, b in itertools.pairwise(people)]
        if hard:
            order = rng.choice([[1, 2, 0], [2, 0, 1], [1, 0, 2]])
            steps = [steps[i] for i in order]
            asked, answer = f"Who is the {most} of all?", people[0]
        else:
            asked, answer = f"Who is {more} than {people[1]}?", people[0]
        text = f"{' '.join(steps)} {asked} Answer: {answer}"
        if text not in texts:
            texts.append(text)
    return texts


def make_rows() -> list[tuple[int, str, str]]:
    rng = random.Random(SEED)
    hard_spans, easy_spans = digit_spans(rng)
    conditions = {
        "hard-sums": sums(rng, 100, 199),
        "easy-sums": sums(rng, 1, 19),
        "hard-digit-span": hard_spans,
        "easy-digit-span": easy_spans,
        "hard-n-back": n_back(rng, 2, 1),
        "easy-n-back": n_back(rng, 1, 2),
        "hard-logic": logic(rng, hard=True),
        "easy-logic": logic(rng, hard=False),
    }
    kinds = ("sums", "digit-span", "n-back", "logic")
    return [
        (kinds.index(name.split("-", 1)[1]) * N + i, name, text)
        for name, texts in conditions.items()
        for i, text in enumerate(texts, start=1)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item", "condition", "text"))
    writer.writerows(make_rows())
    if parser.parse_args().check:
        return 0 if PATH.read_text(encoding="utf-8") == text.getvalue() else 1
    PATH.write_text(text.getvalue(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

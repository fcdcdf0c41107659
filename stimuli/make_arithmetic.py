"""Make stimuli/arithmetic.jsonl: multiple-choice arithmetic, 50 items of each of seven kinds.

    python stimuli/make_arithmetic.py            # write the JSONL
    python stimuli/make_arithmetic.py --check    # exit 1 if the JSONL differs

addition: operands 1 to 12, sums 2 to 20; a pair of operands is used once, in either order.
subtraction: from numbers up to 20, differences 1 to 19.
comparison: which of two numbers is larger or smaller; both have the same number of digits. Larger
and smaller, the place in the question and the place among the choices are balanced together.
counting-on: the next number in steps of 1, 2, 5 or 10, forwards or backwards.
worked-sums: sums of numbers up to 9 behind three that are worked out.
story-sums: somebody gets more of a thing, and the sum is written down.
next-number: the number right after one below 100.

The four choices are neighbours with the same number of digits: one apart, or for counting in steps
of 5 and 10 a step apart. The place of the right one among the choices and its rank by size are
balanced together, and no number is right in more than six items of a kind. The first four kinds are
drawn from one seeded generator, the other three from another.
"""

import argparse
import itertools
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SEED = 2025
N = 50
MOST = 6
EXTRA = {  # place and rank of the two items beyond three of each combination
    "addition": [(0, 3), (2, 1)],
    "subtraction": [(1, 0), (3, 2)],
    "counting-on": [(0, 1), (3, 2)],
    "worked-sums": [(1, 3), (2, 0)],
    "story-sums": [(0, 2), (3, 1)],
    "next-number": [(1, 1), (2, 2)],
}
LARGE = ("counting-on", "next-number")  # kinds whose answers may be above 20
WORKED = {(1, 2): 3, (4, 4): 8, (5, 2): 7}
OWNERS = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry")
THINGS = ("apples", "books", "coins", "stamps", "balls", "shells", "cards", "pencils")
PATH = Path(__file__).parent / "arithmetic.jsonl"

Row = dict[str, str | int | list[str]]
Problem = tuple[str, int, int]  # the question, the answer, the distance between choices


def addition(rng: random.Random, _: int) -> Problem:
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    return f"Question: What is {a} + {b}?\nAnswer:", a + b, 1


def subtraction(rng: random.Random, _: int) -> Problem:
    a, b = rng.randint(2, 20), rng.randint(1, 19)
    return f"Question: What is {a} - {b}?\nAnswer:", a - b, 1


def counting_on(rng: random.Random, index: int) -> Problem:
    step = (1, 2, 5, 10)[index // 2 % 4] * (1 if index % 2 == 0 else -1)
    start = rng.randint(1, 20 if abs(step) < 5 else 60)
    if step < 0:
        start -= 5 * step
    numbers = [start + step * i for i in range(5)]
    shown = "".join(f" {number}," for number in numbers[:4])
    return f"Count {'on' if step > 0 else 'back'}:{shown}", numbers[4], max(1, abs(step) // 5 * 5)


def worked_sum(rng: random.Random, index: int) -> Problem:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    if (a, b) in WORKED:
        return worked_sum(rng, index)
    shown = "".join(f"{one} + {two} = {total}\n" for (one, two), total in WORKED.items())
    return f"{shown}{a} + {b} =", a + b, 1


def story_sum(rng: random.Random, index: int) -> Problem:
    a, b = rng.randint(1, 12), rng.randint(1, 8)
    who, what = OWNERS[index % 8], THINGS[index // 2 % 8]
    if a == 1:
        return story_sum(rng, index)
    return f"{who} has {a} {what} and gets {b} more. Now {who} has {a} + {b} =", a + b, 1


def next_number(rng: random.Random, _: int) -> Problem:
    number = rng.randint(2, 98)
    return f"The number that comes right after {number} is", number + 1, 1


def window(answer: int, distance: int, rank: int) -> list[int] | None:
    """Four numbers `distance` apart with the answer at `rank`, if all have as many digits."""
    numbers = [answer + distance * (i - rank) for i in range(4)]
    if numbers[0] < 0 or len({len(str(number)) for number in numbers}) > 1:
        return None
    return numbers


def four_choices(
    rng: random.Random, kind: str, draw: Callable[[random.Random, int], Problem]
) -> list[Row]:
    cells = list(itertools.product(range(4), range(4))) * 3 + EXTRA[kind]
    rng.shuffle(cells)
    rows: list[Row] = []
    seen: set[str] = set()
    right: Counter[int] = Counter()
    while len(rows) < N:
        place, rank = cells[len(rows)]
        prompt, answer, distance = draw(rng, len(rows))
        key = " ".join(sorted(re.findall(r"\d+", prompt))) if kind == "addition" else prompt
        numbers = window(answer, distance, rank)
        if numbers is None or not 1 <= answer < 100 or key in seen or right[answer] == MOST:
            continue
        if answer > 20 and kind not in LARGE:
            continue
        seen.add(key)
        right[answer] += 1
        wrong = [number for number in numbers if number != answer]
        rng.shuffle(wrong)
        choices = [*wrong[:place], answer, *wrong[place:]]
        rows.append(row(kind, prompt, choices, place))
    return rows


def comparison(rng: random.Random) -> list[Row]:
    cells = list(itertools.product(range(2), repeat=3)) * 6 + [(0, 0, 0), (1, 1, 1)]
    rng.shuffle(cells)
    rows: list[Row] = []
    seen: set[tuple[int, int, int]] = set()
    while len(rows) < N:
        larger, first, place = cells[len(rows)]
        span = (1, 9) if len(rows) % 2 == 0 else (10, 30)
        low, high = sorted(rng.sample(range(span[0], span[1] + 1), 2))
        if (larger, low, high) in seen:
            continue
        seen.add((larger, low, high))
        answer, wrong = (high, low) if larger else (low, high)
        a, b = (answer, wrong) if first else (wrong, answer)
        asked = "larger" if larger else "smaller"
        prompt = f"Question: Which number is {asked}, {a} or {b}?\nAnswer:"
        choices = [answer, wrong] if place == 0 else [wrong, answer]
        rows.append(row("comparison", prompt, choices, place))
    return rows


def row(kind: str, prompt: str, choices: list[int], answer: int) -> Row:
    texts = [f" {number}" for number in choices]
    return {"kind": kind, "prompt": prompt, "choices": texts, "answer": answer}


def make_rows() -> list[Row]:
    rng = random.Random(SEED)
    rows = [
        *four_choices(rng, "addition", addition),
        *four_choices(rng, "subtraction", subtraction),
        *comparison(rng),
        *four_choices(rng, "counting-on", counting_on),
    ]
    more = random.Random(SEED + 1)
    rows += four_choices(more, "worked-sums", worked_sum)
    rows += four_choices(more, "story-sums", story_sum)
    rows += four_choices(more, "next-number", next_number)
    return [{"item": f"ar{i:03d}", **fields} for i, fields in enumerate(rows, start=1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = "".join(json.dumps(fields) + "\n" for fields in make_rows())
    if parser.parse_args().check:
        return 0 if PATH.read_text(encoding="utf-8") == text else 1
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

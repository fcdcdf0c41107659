"""Make the questions of facts, code, theory of mind and other languages: four JSONL files.

    python stimuli/make_questions.py            # write them
    python stimuli/make_questions.py --check    # exit 1 if a file differs

Most questions come in pools of four, written in `questions/*.txt`, a line each (prompt | right
choice), pools apart by an empty line and kinds by a heading. The choices of a question are the four
right ones of its pool, so that every choice is right once and wrong three times, and a fixed
preference for a word gains nothing. The place of the right one is balanced in every pool. Stories
of false beliefs, of who knows and of who wants what, Python's brackets and foreign word order are
made here. Everything is drawn from one seeded generator a file.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
SEED = 2026
FILES = {"facts": "fa", "code": "co", "theory-of-mind": "tm", "other-languages": "ol"}

Row = dict[str, str | int | list[str]]
Pair = tuple[str, str]


# -- pools -----------------------------------------------------------------------------------------


def pools_of(name: str) -> dict[str, list[list[Pair]]]:
    """Kind -> pools of (prompt, right choice), as they are written."""
    found: dict[str, list[list[Pair]]] = {}
    kind = ""
    for line in (HERE / "questions" / f"{name}.txt").read_text(encoding="utf-8").split("\n"):
        if line.startswith("## "):
            kind = line[3:]
            found[kind] = [[]]
        elif not line.strip():
            if kind and found[kind][-1]:
                found[kind].append([])
        else:
            prompt, right = line.split(" | ")
            found[kind][-1].append((prompt.replace("\\n", "\n"), right.replace("\\n", "\n")))
    return {kind: [pool for pool in pools if pool] for kind, pools in found.items()}


def pooled(rng: random.Random, kind: str, pools: Sequence[Sequence[Pair]]) -> Iterator[Row]:
    """The questions of a kind: the choices of each are the right ones of its pool."""
    for pool in pools:
        rights = [right for _, right in pool]
        if len(set(rights)) != len(pool) or len({len(pool) for pool in pools}) > 1:
            raise ValueError(f"{kind}: {rights} is no pool of different choices")
        places = list(range(len(pool)))
        rng.shuffle(places)
        for (prompt, right), place in zip(pool, places, strict=True):
            wrong = [other for other in rights if other != right]
            rng.shuffle(wrong)
            yield row(kind, prompt, [*wrong[:place], right, *wrong[place:]], place)


def two(rng: random.Random, kind: str, items: Sequence[tuple[str, str, str]]) -> Iterator[Row]:
    """Questions of two choices, (prompt, right, wrong), with balanced places."""
    places = [n % 2 for n in range(len(items))]
    rng.shuffle(places)
    for (prompt, right, wrong), place in zip(items, places, strict=True):
        yield row(kind, prompt, [right, wrong] if place == 0 else [wrong, right], place)


def row(kind: str, prompt: str, choices: list[str], answer: int) -> Row:
    return {"kind": kind, "prompt": prompt, "choices": choices, "answer": answer}


# -- stories ---------------------------------------------------------------------------------------

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam "
    "Tina Victor Wendy Max Alice Tom Lucy Oscar Nina Peter Julia Martin Sarah Frank Laura Adam "
    "Helen Simon Maria Eric Susan Daniel"
).split()
THINGS = (
    "ball book key cup hat phone apple letter coin doll watch knife map shoe ring pencil brush "
    "candle spoon bottle"
).split()
PLACES = (
    ("box", "basket"), ("drawer", "cupboard"), ("bag", "desk"), ("kitchen", "garden"),
    ("garage", "attic"), ("car", "house"), ("jar", "bowl"), ("suitcase", "closet"),
    ("cellar", "bedroom"), ("bucket", "barrel"),
)  # fmt: skip
WISHES = (
    ("an apple", "a pear"), ("a dog", "a cat"), ("tea", "coffee"), ("a bike", "a boat"),
    ("bread", "soup"), ("a violin", "a drum"), ("a red coat", "a blue coat"), ("milk", "juice"),
    ("a novel", "a newspaper"), ("cheese", "honey"),
)  # fmt: skip


def false_beliefs() -> Iterator[tuple[str, str, str]]:
    """Where somebody looks for what was moved while they were away."""
    for n in range(24):
        who, other = NAMES[n], NAMES[(n + 7) % 40]
        thing = THINGS[n % 20]
        first, second = PLACES[n % 10] if n % 20 < 10 else PLACES[n % 10][::-1]
        told = (
            f"{who} puts the {thing} in the {first} and goes away. {other} takes the {thing} out "
            f"of the {first} and puts it in the {second}. {who} did not see this. {who} comes "
            f"back and thinks that the {thing} is still in the"
        )
        yield told, first, second


def knowers() -> Iterator[tuple[str, str, str]]:
    """Who knows what is in a place: the one who looked into it."""
    for n in range(24):
        who, other = NAMES[n], NAMES[(n + 11) % 40]
        place = ("box", "bag", "drawer", "jar", "room", "envelope", "basket", "cupboard")[n % 8]
        looked, not_looked = f"{who} looked into the {place}.", f"{other} was not there."
        parts = (looked, not_looked) if n % 2 else (not_looked, looked)
        yield f"{' '.join(parts)} The one who knows what is in the {place} is", who, other


def wishes() -> Iterator[tuple[str, str, str]]:
    """What somebody takes: what they want, and not what another wants."""
    for n in range(24):
        who, other = NAMES[n], NAMES[(n + 13) % 40]
        mine, theirs = WISHES[n % 10] if n % 20 < 10 else WISHES[n % 10][::-1]
        verb = ("wants", "would like")[n % 2]
        one, two = f"{who} {verb} {mine}", f"{other} {verb} {theirs}"
        parts = f"{one}, and {two}." if n % 4 < 2 else f"{two}, and {one}."
        yield f"{parts} Both may choose. {who} chooses", mine, theirs


def theory_of_mind(rng: random.Random) -> Iterator[Row]:
    yield from two(rng, "false-belief", list(false_beliefs()))
    yield from two(rng, "who-knows", list(knowers()))
    yield from two(rng, "who-wants", list(wishes()))
    for kind, pools in pools_of("theory_of_mind").items():
        yield from pooled(rng, kind, pools)


# -- code ------------------------------------------------------------------------------------------

WORDS = (
    "apple river table window garden mirror pencil bottle candle ladder pillow basket hammer "
    "button ticket letter bridge camera engine forest"
).split()


def brackets(rng: random.Random) -> Iterator[Row]:
    """What closes a line of Python: a round, square or curly bracket, or a colon."""
    for n in range(12):
        a, b, c = rng.sample(WORDS, 3)
        i, j = rng.sample(range(2, 100), 2)
        round_ = (f"print({a}_{b}, {c}", f'{a} = len("{b}"', f"{b} = max({i}, {j}")[n % 3]
        square = (f'{a}s = ["{b}", "{c}"', f"{a} = {b}s[{n}", f"{c}s = [{i}, {j}")[n % 3]
        curly = (f'{a} = {{"{b}": {i}', f'{c} = {{"{a}": "{b}"', f"{b}s = {{{i}, {j}")[n % 3]
        colon = (f"for {a} in {a}s", f"if {b} > {i}", f"while {c} < {j}")[n % 3]
        pool = ((round_, ")"), (square, "]"), (curly, "}"), (colon, ":"))
        yield from ({**found, "separator": ""} for found in pooled(rng, "closing", [pool]))


def parameters(rng: random.Random) -> Iterator[Row]:
    """Which name a function's body uses: its own parameter."""
    bodies = (
        "return 2 *", "return len(", "print(", "return -", "return [", "return (", "if not",
        "for part in", "return 10 +", "while",
    )  # fmt: skip
    for n, words in enumerate(bodies):
        names = (WORDS if n < 5 else WORDS[::3] + WORDS[1::3] + WORDS[2::3])[4 * (n % 5) :][:4]
        body = "    " + words
        space = "" if body.endswith(("(", "[", "-")) else " "
        calls = rng.sample(("double", "show", "check", "change", "count", "measure", "read"), 4)
        pool = [
            (f"def {call}({name}):\n{body}", space + name)
            for call, name in zip(calls, names, strict=True)
        ]
        yield from ({**found, "separator": ""} for found in pooled(rng, "parameters", [pool]))


def code(rng: random.Random) -> Iterator[Row]:
    yield from brackets(rng)
    yield from parameters(rng)
    for kind, pools in pools_of("code").items():
        for found in pooled(rng, kind, pools):
            yield {**found, "separator": ""}


# -- all -------------------------------------------------------------------------------------------


def facts(rng: random.Random) -> Iterator[Row]:
    for kind, pools in pools_of("facts").items():
        yield from pooled(rng, kind, pools)


def other_languages(rng: random.Random) -> Iterator[Row]:
    """Agreement in pools of verb forms; word order, in which two neighbours are swapped."""
    for kind, pools in pools_of("other_languages").items():
        if not kind.endswith("-order"):
            yield from pooled(rng, kind, pools)
            continue
        sentences = [(prompt, right) for pool in pools for prompt, right in pool]
        items = []
        for prompt, right in sentences:
            # What ends a sentence stays where it is.
            words = right.rstrip(" .?")
            first, second, *rest = words.split()
            swapped = " ".join([second, first, *rest])
            items.append((prompt, right, swapped + right.removeprefix(words)))
        yield from two(rng, kind, items)


MAKERS = {
    "facts": facts, "code": code, "theory-of-mind": theory_of_mind,
    "other-languages": other_languages,
}  # fmt: skip


def make_rows(name: str) -> list[Row]:
    rows = list(MAKERS[name](random.Random(SEED)))
    return [{"item": f"{FILES[name]}{n:03d}", **found} for n, found in enumerate(rows, start=1)]


def written(name: str) -> str:
    return "".join(json.dumps(found, ensure_ascii=False) + "\n" for found in make_rows(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    check = parser.parse_args().check
    same = True
    for name in MAKERS:
        path, text = HERE / f"{name}.jsonl", written(name)
        if check:
            same &= path.is_file() and path.read_text(encoding="utf-8") == text
        else:
            path.write_text(text, encoding="utf-8")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

"""Damages files of every kind that lensloc reads, and says what becomes of them.

``python tests/fuzz --mutants 10000`` prints the table; ``--only KIND --number N`` shows what one
mutant does.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from file_kinds import kinds
from fuzzing import Bench, run_apart, shares, table


def main() -> int:
    """Run what the command line asks for; return 1 if anything bad became of a mutant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a kind, by a part of its name")
    parser.add_argument(
        "--number", type=int, help="one mutant: what is seen of it, and its content"
    )
    parser.add_argument("--folder", type=Path, help="where to work; a new one if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        everything = kinds(folder / "world")
        wanted = given.only or [""]
        chosen = [kind for kind in everything if any(part in kind.name for part in wanted)]
        counts = shares(everything, given.mutants)
        if given.number is not None:
            (kind,) = [each for each in chosen if each.name in wanted] or chosen
            bench = Bench(kind, folder / "one", given.seed)
            print(*bench.judge(given.number), sep="\n")
            print(bench.mutant(given.number)[:3000])
            return 0
        found = {}
        for kind in chosen:
            start = time.perf_counter()
            name = kind.name.replace(" ", "-").replace("/", "-")
            row = run_apart(kind, folder / name, range(counts[kind.name]), given.seed)
            found[kind.name] = row
            took = time.perf_counter() - start
            print(
                f"{kind.name}: {row.n} in {took:.0f} s, slowest {row.slowest:.1f} s",
                file=sys.stderr,
            )
            for number, outcome, seen in row.bad:
                print(
                    f"  {outcome} --only {kind.name!r} --number {number}: {seen}", file=sys.stderr
                )
        print(table(found))
    return int(any(row.bad for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())

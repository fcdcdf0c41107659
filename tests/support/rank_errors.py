"""A rank that fails, and then one that dies: what do the others say?"""

import os

from lensloc import LensLocError, ranks


def work() -> int:
    if ranks.rank() == 1:
        raise LensLocError("Text 7 is bad.")
    return 5


def main() -> None:
    ranks.join()
    for _ in range(2):
        try:
            ranks.together(work)
        except LensLocError as error:
            print(f"rank {ranks.rank()}: {error}", flush=True)
    print(ranks.from_first(lambda: 100 + ranks.rank()), ranks.crew().mine(range(5)), flush=True)
    if ranks.rank() == 1:
        os._exit(9)
    try:
        ranks.together(lambda: 1)
    except LensLocError as error:
        print(f"rank 0: {error}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

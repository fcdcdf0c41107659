"""What the language network's lesion takes away of what predicts readers of Natural Stories.

    lensloc alignment fetch naturalstories --out naturalstories
    python tests/benchmarks/reading_times.py naturalstories [--match layer] [--draws 10]

Prints, for the bundled model: the gain of surprisal over length and frequency (nats a time, with
and without the correction for white space), intact, with the language network lesioned, and with
as many control units lesioned; the same gain for GPT-3's surprisals, as a check of how words and
tokens are lined up; and the time that it took.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import lensloc as ll


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--percent", type=float, default=1.0)
    parser.add_argument("--match", default="layer")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--measure", default="meanItemRT")
    parser.add_argument("--mode", default="zero")
    arguments = parser.parse_args()
    data = ll.alignment.natural_stories(arguments.folder, arguments.measure)
    print(data)
    gpt3 = ll.alignment.natural_stories_gpt3(arguments.folder, data)
    model = ll.load_model("smollm2-135m")
    network = ll.localize(model, ll.contrasts.language())["resid_post"].top(
        percent=arguments.percent
    )
    start = time.perf_counter()
    study = ll.alignment.reading_times(
        model,
        data,
        {"language": network},
        controls=ll.controls(arguments.match, seeds=range(arguments.draws)),
        mode=arguments.mode,
    )
    seconds = time.perf_counter() - start
    columns = ["network", "kind", "seed", "surprisal", "n_times", "mean_surprisal", "gain",
               "gain_low", "gain_high", "loss", "loss_low", "loss_high", "slope"]  # fmt: skip
    print(study.table[columns].round(4).to_string(index=False))
    print(study.comparisons.round(4).to_string(index=False))
    print(*study.warnings, sep="\n")
    own = ll.alignment.word_surprisals(model, data).table
    theirs = ll.alignment.predict_times(data, gpt3)
    print("GPT-3's surprisals:")
    print(theirs.table[["surprisal", "n_times", "gain", "gain_low", "gain_high"]].round(4))
    both = own.merge(gpt3.table, on=["story", "position"])
    both = both[np.isfinite(both["surprisal_x"]) & np.isfinite(both["surprisal_y"])]
    for by in (-1, 0, 1):
        shifted = both.groupby("story")["surprisal_y"].shift(by)
        print(
            f"r of both models' surprisals, {by:+d} words: {both['surprisal_x'].corr(shifted):.3f}"
        )
    print(f"reading times, {2 + arguments.draws} runs: {seconds:.0f} s")


if __name__ == "__main__":
    main()

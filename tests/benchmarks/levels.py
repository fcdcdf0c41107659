"""How often a network that is a mere control draw is called more harmful than its controls.

    python tests/benchmarks/levels.py [--trials 4000] [--items 244]

Null data, so every figure should be at most 5 %. Prints two tables in Markdown, for
docs/which_statistic.md: one of the fixed tests, by number of draws and by the standard deviation
of what draws truly cost; one of draws that are stopped in turn, with what they cost.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from null_draws import Population

from lensloc.results.draws import at_least, draw_variance, half_width, item_variance
from lensloc.results.sequential import Plan, compare_in_turn

DRAWS = (2, 5, 10, 20, 40)
SPREADS = (0.04, 0.08, 0.16)
SHAPES = ("normal", "skewed")


def batches(trials: int, size: int = 250) -> Iterator[int]:
    while trials > 0:
        yield min(size, trials)
        trials -= size


def intervals(lesions: np.ndarray) -> np.ndarray:
    network, draws = lesions[:, 0], lesions[:, 1:]
    drops = draws.mean(axis=-1)
    parts = [draw_variance(drops), item_variance(network, draws)]
    half = half_width(parts, [draws.shape[1] - 1, draws.shape[2] - 1], 0.95)
    return np.asarray(np.abs(network.mean(axis=-1) - drops.mean(axis=-1)) > half)


def ranks(lesions: np.ndarray) -> np.ndarray:
    drops = lesions.mean(axis=-1)
    above = at_least(drops[:, 1:], drops[:, :1]).sum(axis=1)
    return np.asarray((1 + above) / drops.shape[1] <= 0.05)


def bootstraps(lesions: np.ndarray, rng: np.random.Generator, resamples: int = 400) -> np.ndarray:
    """What was done before: percentiles over resampled items and resampled draws."""
    items, k = lesions.shape[2], lesions.shape[1] - 1
    found = []
    for one in lesions:
        counts = rng.multinomial(items, np.full(items, 1 / items), size=resamples) / items
        drops = counts @ one.T
        taken = rng.integers(1, k + 1, size=(resamples, k))
        difference = drops[:, 0] - np.take_along_axis(drops, taken, axis=1).mean(axis=1)
        low, high = np.quantile(difference, [0.025, 0.975])
        found.append(low > 0 or high < 0)
    return np.array(found)


def row(shape: str, sd: float, k: int, trials: int, items: int, seed: int) -> str:
    rng = np.random.default_rng([seed, k, int(1000 * sd), SHAPES.index(shape)])
    population = Population(sd, shape=shape)  # type: ignore[arg-type]
    hits: dict[str, list[np.ndarray]] = {"interval": [], "rank": [], "before": []}
    for at, size in enumerate(batches(trials)):
        lesions = population.draw(rng, size, k + 1, items)
        hits["interval"].append(intervals(lesions))
        hits["rank"].append(ranks(lesions))
        if at < 2:
            hits["before"].append(bootstraps(lesions, rng))
    share = {name: 100 * float(np.concatenate(found).mean()) for name, found in hits.items()}
    rank = f"{share['rank']:.1f}" if k >= 19 else "none"
    return (
        f"| {shape} | {sd:.2f} | {k} | {share['interval']:.1f} | {rank} | {share['before']:.0f} |"
    )


def in_turn(shape: str, sd: float, trials: int, items: int, seed: int) -> str:
    rng = np.random.default_rng([seed, 99, int(1000 * sd), SHAPES.index(shape)])
    population = Population(sd, shape=shape)  # type: ignore[arg-type]
    plan = Plan()
    more, interval, same, cost, draws = [], [], [], [], []
    for number in range(trials):
        lesions = population.draw(rng, 1, plan.draws + 1, items)
        one = lesions[0]
        found = compare_in_turn(
            lambda draw, some, one=one: one[0 if draw is None else draw + 1][some],  # type: ignore[misc]
            items,
            plan,
            seed=number,
        )
        more.append(found.comparison.p_more <= 0.05)
        interval.append(found.comparison.excludes_zero)
        same.append(more[-1] == bool(ranks(lesions)[0]))
        cost.append(found.cost)
        draws.append(len(found.measured))
    figures = [100 * float(np.mean(one)) for one in (interval, more, same, cost)]
    return (
        f"| {shape} | {sd:.2f} | {figures[0]:.1f} | {figures[1]:.1f} | {figures[2]:.1f} | "
        f"{np.mean(draws):.0f} | {figures[3]:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000, help="networks per row")
    parser.add_argument("--items", type=int, default=244)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    cells = [(shape, sd, k) for shape in SHAPES for sd in SPREADS for k in DRAWS]
    rows = [row(*cell, given.trials, given.items, given.seed) for cell in tqdm(cells)]
    stopped = [
        in_turn(shape, sd, given.trials // 2, given.items, given.seed)
        for shape, sd in tqdm([(shape, sd) for shape in SHAPES for sd in SPREADS])
    ]
    print("| draws are | SD of draws | draws | interval, % | rank test, % | bootstrap before, % |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")
    print()
    print(
        "| draws are | SD of draws | interval, % | rank test, % | as all draws on all items, % ",
        end="",
    )
    print("| draws made | cost, % |")
    print("|---|---|---|---|---|---|---|", *stopped, sep="\n")
    margin = 196 * (0.05 * 0.95 / given.trials) ** 0.5
    print(
        f"\n{given.trials} networks per row on {given.items} items: 5 % is 5.0 +- {margin:.1f}; ",
        end="",
    )
    print(f"half as many in the second table; {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()

"""What many sites and many permutations cost.

    python tests/benchmarks/granularities.py [--device cuda] [--repeats 10]

Prints, in one run over the bundled model and the bundled language contrast (480 stimuli):
(a) the time of a localization at one site and at all sites, ratios of the same round;
(b) the peak memory of a localization at all sites, with the stimuli once and repeated;
(c) the time of 1,000 permutations at the block outputs, beside scipy's permutation test of some
    units, extrapolated to all.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import scipy.stats
import torch

import lensloc as ll

SCIPY_UNITS = 40


def sites_of(model: Any) -> list[str]:
    return [name for name, site in ll.SITES.items() if site.hook_name(0) in model.hook_dict]


def timed(function: Any, device: str) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def peak_memory(device: str, repeats: int) -> dict[str, float]:
    """Localize at all sites in a process of its own; return its peak memory in GiB."""
    command = [sys.executable, __file__, "--device", device, "--memory-of", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(device: str, repeats: int) -> None:
    model = ll.load_model("smollm2-135m", device=device, progress=False)
    contrast = ll.contrasts.language()
    texts = {name: contrast.conditions[name] * repeats for name in ("sentences", "nonwords")}
    many = ll.Contrast.from_texts(texts, target="sentences", control="nonwords")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ll.localize(model, many, sites_of(model), progress=False)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"loaded": before / 2**20, "peak": after / 2**20}
    if device.startswith("cuda"):
        found["cuda"] = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps(found))


def passes(model: Any, device: str, rounds: int) -> None:
    contrast = ll.contrasts.language()
    sites = sites_of(model)
    ll.localize(model, contrast, progress=False)
    ratios = []
    for number in range(1, rounds + 1):
        one, _ = timed(lambda: ll.localize(model, contrast, progress=False), device)
        every, _ = timed(lambda: ll.localize(model, contrast, sites, progress=False), device)
        ratios.append(every / one)
        print(f"round {number}: one site {one:.1f} s, {len(sites)} sites {every:.1f} s")
    print(f"all {len(sites)} sites: {statistics.median(ratios):.2f} x one site (median)")


def permutations(model: Any, device: str) -> None:
    contrast = ll.contrasts.language()
    found = ll.localize(model, contrast, keep_responses=True, progress=False)
    responses = found.responses["resid_post"]
    roles = contrast.target, contrast.control
    ours, result = timed(lambda: ll.max_t(responses, *roles, n_permutations=1000), device)
    units = np.random.default_rng(0).choice(result.t.numel(), SCIPY_UNITS, replace=False)
    a, b = (
        responses.of(names).flatten(1)[:, units].abs().cpu().double().numpy() for names in roles
    )

    def t(x: Any, y: Any, axis: int) -> Any:
        return scipy.stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic

    theirs, _ = timed(
        lambda: [
            scipy.stats.permutation_test(
                (a[:, unit], b[:, unit]), t, n_resamples=1000, vectorized=True, rng=0
            )
            for unit in range(SCIPY_UNITS)
        ],
        device,
    )
    whole = theirs / SCIPY_UNITS * result.t.numel()
    size = f"{len(contrast.texts)} stimuli x {result.t.numel()} units"
    print(
        f"1000 permutations of {size}: {ours:.1f} s; scipy {theirs:.1f} s for {SCIPY_UNITS} units, "
        f"{whole:.0f} s for all: {whole / ours:.0f} x faster"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.memory_of:
        measure_memory(arguments.device, arguments.memory_of)
        return
    model = ll.load_model("smollm2-135m", device=arguments.device, progress=False)
    passes(model, arguments.device, arguments.rounds)
    permutations(model, arguments.device)
    del model
    once, many = (peak_memory(arguments.device, repeats) for repeats in (1, arguments.repeats))
    for name in once:
        growth = f"{100 * (many[name] / once[name] - 1):+.0f} %"
        print(
            f"memory, {name}: {once[name]:.2f} GiB with the stimuli once, {many[name]:.2f} GiB "
            f"with them {arguments.repeats} times ({growth})"
        )


if __name__ == "__main__":
    main()

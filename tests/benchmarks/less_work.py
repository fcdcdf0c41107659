"""What is not computed twice: texts side by side, lesions from their layer on. Before and after.

    python tests/benchmarks/less_work.py [--backend transformers] [--rounds 3] [--parts ab]
    python tests/benchmarks/less_work.py --billions 0.1 --parts b

(a) minimal pairs and multiple choice with every text read alone, and side by side; (b) sweeps over
layers (a unit of the residual stream, a head, a whole layer of heads, and ``attribute`` with
``method="ablation_effect"``) with every pass from the tokens on, and from the lesion's layer on.
The output layer is run in any case: it is a fifth of the bundled model. ``--billions`` takes a
random Llama instead, of whose parameters it is 6 % (of Llama-3.1-8B's 7 %).
Seconds are CPU seconds of one thread (on a GPU, of the clock); each round times both, and ratios
are of the same round. The largest difference of what was found stands beside.
"""

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scale
import torch

import lensloc as ll
from lensloc.lesions.resuming import Residuals
from lensloc.models.adapting import surface

Run = Callable[[], np.ndarray]


def seconds(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


@contextmanager
def without(model: Any, method: str, answer: Any) -> Iterator[None]:
    kind: Any = type(surface(model))
    kept = kind.__dict__[method]
    setattr(kind, method, lambda self: answer)
    try:
        yield
    finally:
        setattr(kind, method, kept)


def compared(name: str, model: Any, run: Run, method: str, answer: Any, rounds: int) -> None:
    device = surface(model).device
    ratios = []
    worst = 0.0
    for number in range(rounds):
        with without(model, method, answer):
            start = seconds(device)
            expected = run()
            before = seconds(device) - start
        start = seconds(device)
        found = run()
        after = seconds(device) - start
        ratios.append(before / after)
        worst = max(worst, float(np.abs(found - expected).max()))
        print(f"{name}, round {number + 1}: {before:.2f} s before, {after:.2f} s after")
    print(f"{name}: {statistics.median(ratios):.2f} x; largest difference {worst:.1e}", flush=True)


def scores_of(task: Any, model: Any) -> np.ndarray:
    items = task(model).items
    if "good" in items:
        return items[["good", "bad"]].to_numpy()
    return np.concatenate([np.array(each) for each in items["scores"]])


def sweep(model: Any, task: Any, site: str, units: Any, width: int) -> Run:
    n_layers = surface(model).n_layers

    def run() -> np.ndarray:
        residuals = Residuals(model)
        found = []
        with residuals.used():
            scores_of(task, model)
            for layer in range(n_layers):
                mask = torch.zeros(n_layers, width, dtype=torch.bool)
                mask[layer, units] = True
                with ll.lesion(model, ll.UnitMask(site, mask), check=False):
                    found.append(scores_of(task, model))
        return np.stack(found)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--billions", type=float, help="of a random Llama's parameters")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=10, help="in sweeps")
    parser.add_argument("--parts", default="ab")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if arguments.billions is None:
        model = ll.load_model(arguments.model, backend=arguments.backend, device=arguments.device)
    else:
        model = scale.random_model(arguments.billions, arguments.device)
    seen = surface(model)
    seen.longest_packed(), seen.starts_anywhere()  # which may try the model
    print(f"{ll.models.describe(model).name}, backend {seen.kind}, on {seen.device}")
    if "a" in arguments.parts:
        tasks = [
            ll.tasks.minimal_pairs(limit=1),
            *ll.tasks.domains(("commonsense",), items=20),
            *ll.tasks.domains(("theory-of-mind", "code"), items=40),
        ]
        for task in tasks:
            name = f"{task.name}, {len(getattr(task, 'pairs', ()) or task.questions)} items"

            def run(task: Any = task) -> np.ndarray:
                return scores_of(task, model)

            compared(name, model, run, "longest_packed", 0, arguments.rounds)
    if "b" in arguments.parts:
        pairs = ll.tasks.minimal_pairs(limit=1)
        pairs = pairs.at(range(min(arguments.pairs, len(pairs.pairs))))
        sweeps: dict[str, Run] = {
            "a unit per layer": sweep(model, pairs, "resid_post", [3], seen.d_model),
            "a head per layer": sweep(model, pairs, "head", [1], seen.n_heads),
            "a layer of heads": sweep(model, pairs, "head", slice(None), seen.n_heads),
        }
        for name, run in sweeps.items():
            compared(name, model, run, "starts_anywhere", False, arguments.rounds)
        mask = torch.zeros(seen.n_layers, seen.n_heads, dtype=torch.bool)
        mask[:, 0] = True
        few = ll.Contrast.from_texts(
            {
                "good": [pair.good for pair in pairs.pairs[:4]],
                "bad": [pair.bad for pair in pairs.pairs[:4]],
            },
            target="good",
            control="bad",
        )

        def ablate() -> np.ndarray:
            found = ll.attribute(
                model, few, "ablation_effect", "head", units=ll.UnitMask("head", mask),
                progress=False,
            )  # fmt: skip
            return found.mean_target.numpy()[mask.numpy()]

        compared("attribute, a head per layer", model, ablate, "starts_anywhere", False,
                 arguments.rounds)  # fmt: skip


if __name__ == "__main__":
    main()

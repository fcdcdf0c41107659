"""What is not computed twice: texts side by side, lesions from their layer on. Before and after.

    python tests/benchmarks/less_work.py [--backend transformers] [--rounds 3] [--parts ab]
    python tests/benchmarks/less_work.py --billions 0.1 --parts b

(a) minimal pairs and multiple choice with every text read alone, and side by side.
(b) sweeps: ``lesion_study`` with a unit of the residual stream, a head, or all heads of each layer
in turn, and ``attribute(method="ablation_effect")`` with a head of each layer, and with all heads
of every third. Before: every pass from the tokens on, one unit ablated per pass, the intact model
probed again beside each lesion. After: from the lesion's layer on, and so on. In total: before with
every text read alone, too.
The output layer is run in any case: it is a fifth of the bundled model. ``--billions`` takes a
random Llama instead, of whose parameters it is 6 % (of Llama-3.1-8B's 7 %).
Seconds are CPU seconds of one thread (on a GPU, of the clock); each round times all, and ratios
are of the same round. The largest difference of what was found stands beside.
"""

import argparse
import contextlib
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import scale
import torch

import lensloc as ll
from lensloc.attribution import running
from lensloc.lesions.resuming import Residuals
from lensloc.models.adapting import surface

Run = Callable[[], np.ndarray]


def seconds(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


@contextmanager
def patched(place: Any, name: str, value: Any) -> Iterator[None]:
    kept = place.__dict__[name]
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, kept)


def each_alone(model: Any) -> AbstractContextManager[None]:
    """Read every text alone."""
    return patched(type(surface(model)), "longest_packed", lambda self: 0)


@contextmanager
def from_the_tokens(model: Any) -> Iterator[None]:
    """Keep nothing of intact passes, and ablate one unit per pass."""
    with (
        patched(Residuals, "used", contextlib.nullcontext),
        patched(running, "_FEWEST_AT_ONCE", 2**31),
    ):
        yield


@contextmanager
def from_the_tokens_alone(model: Any) -> Iterator[None]:
    with each_alone(model), from_the_tokens(model):
        yield


Ways = dict[str, Callable[[Any], AbstractContextManager[None]]]
AS_IT_IS: Ways = {"after": contextlib.nullcontext}
TEXTS: Ways = {"before": each_alone, **AS_IT_IS}
SWEEPS: Ways = {"in total": from_the_tokens_alone, "before": from_the_tokens, **AS_IT_IS}


def compared(name: str, model: Any, run: Run, ways: Ways, rounds: int) -> dict[str, float]:
    """Time a run in several ways, of which the last is as it is; return medians of ratios."""
    device = surface(model).device
    ratios: dict[str, list[float]] = {way: [] for way in ways if way != "after"}
    worst = dict.fromkeys(ratios, 0.0)
    for number in range(rounds):
        took, found = {}, {}
        for way, under in ways.items():
            with under(model):
                start = seconds(device)
                found[way] = run()
                took[way] = seconds(device) - start
        for way, several in ratios.items():
            several.append(took[way] / took["after"])
            worst[way] = max(worst[way], float(np.abs(found[way] - found["after"]).max()))
        each = ", ".join(f"{took[way]:.2f} s {way}" for way in ways)
        print(f"{name}, round {number + 1}: {each}", flush=True)
    medians = {way: statistics.median(several) for way, several in ratios.items()}
    told = [
        f"{ratio:.2f} x {way} (largest difference {worst[way]:.1e})"
        for way, ratio in medians.items()
    ]
    print(f"{name}: {', '.join(told)}", flush=True)
    return medians


def scores_of(task: Any, model: Any) -> np.ndarray:
    items = task(model).items
    if "good" in items:
        return items[["good", "bad"]].to_numpy()
    return np.concatenate([np.array(each) for each in items["scores"]])


class Recorded:
    """A task that keeps what it found."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.found: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["task"], name)

    def __call__(self, model: Any, **options: Any) -> Any:
        result = self.task(model, **options)
        self.found.append(result.items[["good", "bad"]].to_numpy())
        return result


def sweep(model: Any, task: Any, site: str, units: Any, width: int) -> Run:
    n_layers = surface(model).n_layers
    masks = {}
    for layer in range(n_layers):
        mask = torch.zeros(n_layers, width, dtype=torch.bool)
        mask[layer, units] = True
        masks[f"layer {layer}"] = ll.UnitMask(site, mask)

    def run() -> np.ndarray:
        recorded = Recorded(task)
        ll.lesion_study(model, masks, [recorded], (), progress=False)
        assert len(recorded.found) == n_layers + 1
        return np.stack(recorded.found)

    return run


def ablations(model: Any, pairs: Any, layers: slice, heads: slice) -> Run:
    seen = surface(model)
    mask = torch.zeros(seen.n_layers, seen.n_heads, dtype=torch.bool)
    mask[layers, heads] = True
    few = ll.Contrast.from_texts(
        {"good": [each.good for each in pairs[:4]], "bad": [each.bad for each in pairs[:4]]},
        target="good", control="bad",
    )  # fmt: skip

    def run() -> np.ndarray:
        found = ll.attribute(
            model, few, "ablation_effect", "head", units=ll.UnitMask("head", mask), progress=False
        )
        return found.mean_target.numpy()[mask.numpy()]

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

            compared(name, model, run, TEXTS, arguments.rounds)
    if "b" in arguments.parts:
        pairs = ll.tasks.minimal_pairs(limit=1)
        pairs = pairs.at(range(min(arguments.pairs, len(pairs.pairs))))
        everything = slice(None)
        sweeps: dict[str, Run] = {
            "a unit per layer": sweep(model, pairs, "resid_post", [3], seen.d_model),
            "a head per layer": sweep(model, pairs, "head", [1], seen.n_heads),
            "a layer of heads": sweep(model, pairs, "head", everything, seen.n_heads),
            "attribute, a head per layer": ablations(model, pairs.pairs, everything, slice(1)),
            # The mean of these layers is that of all where their number is a multiple of three.
            "attribute, all heads of every third layer":
                ablations(model, pairs.pairs, slice(1, None, 3), everything),
        }  # fmt: skip
        found = [
            compared(name, model, run, SWEEPS, arguments.rounds) for name, run in sweeps.items()
        ]
        means = {way: statistics.mean(each[way] for each in found) for way in found[0]}
        print("mean of all sweeps: " + ", ".join(f"{each:.2f} x {w}" for w, each in means.items()))


if __name__ == "__main__":
    main()

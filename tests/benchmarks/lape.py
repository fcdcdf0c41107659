"""How many tokens per second are recorded for LAPE, beside bare forward passes.

    python tests/benchmarks/lape.py [--device cuda] [--dtype bfloat16] [--window 256] [--rounds 5]

Prints, in one run over the same windows of the bundled prose and with the same batches:
(a) the bare forward pass of the HookedTransformer, without logits;
(b) lensloc.lape.record on it: forward, counts of every neuron, hashes of the tokens;
(c) transformers' own bare forward pass, without logits (it has fused attention);
(d) lensloc.lape.record on a TransformerBridge;
(e) lensloc.lape.record on the plain transformers model.
Every round times all five; ratios are of the same round. Tokenizing is not in it. With ``--only
transformers`` (c) and (e) alone, and the memory that (e) adds to what (c) takes at its peak.
"""

import argparse
import resource
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import torch
import transformers
from clocks import CLOCK_HELP, CLOCKS, timed

import lensloc as ll
from lensloc import lape
from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.readers import read_csv
from lensloc.models import BUNDLED, DTYPES, fetch
from lensloc.models.tokens import token_ids

LANGUAGES = ("en", "de", "tr", "fr", "es")
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}


def peak_mebibytes(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def windows_of(model: Any, language: str, window: int, max_tokens: int) -> torch.Tensor:
    rows = read_csv(bundled_folder() / "prose" / f"{language}.csv", ("text",))
    ids = [token for row in rows for token in token_ids(model, row.cells["text"])][:max_tokens]
    return torch.tensor(ids[: len(ids) // window * window]).reshape(-1, window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--max-tokens", type=int, default=4096, help="of each language")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("hooked", "bridge", "transformers"))
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help=CLOCK_HELP)
    arguments = parser.parse_args()
    device, dtype = arguments.device, DTYPES[arguments.dtype]
    batch_tokens = arguments.batch_tokens or BATCH_TOKENS[device.split(":")[0]]

    original = transformers.AutoModelForCausalLM.from_pretrained(
        fetch(BUNDLED["smollm2-135m"]), dtype=dtype
    ).to(device)
    models = {
        backend: ll.load_model(
            "smollm2-135m", dtype=arguments.dtype, device=device, backend=backend, progress=False
        )
        for backend in ("hooked", "bridge", "transformers")
        if arguments.only in (None, backend)
    }
    any_model = next(iter(models.values()))
    windows = {
        language: windows_of(any_model, language, arguments.window, arguments.max_tokens)
        for language in LANGUAGES
    }
    total = sum(rows.numel() for rows in windows.values())
    batch_size = max(1, batch_tokens // arguments.window)
    print(
        f"{total} tokens in windows of {arguments.window}, {batch_size} windows at once, {device}, "
        f"{arguments.dtype}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )

    @torch.no_grad()
    def bare(forward: Callable[[torch.Tensor], Any]) -> None:
        for rows in windows.values():
            for batch in rows.split(batch_size):
                forward(batch.to(device))

    def record(backend: str) -> None:
        lape.record(
            models[backend],
            windows,
            window=arguments.window,
            batch_tokens=batch_tokens,
            progress=False,
        )

    runs: dict[str, Callable[[], None]] = {
        "(c) bare transformers": lambda: bare(lambda ids: original.model(ids, use_cache=False)),
    }
    if "hooked" in models:
        layers = models["hooked"].cfg.n_layers
        runs["(a) bare HookedTransformer"] = lambda: bare(
            lambda ids: models["hooked"](ids, stop_at_layer=layers)
        )
    names = {"hooked": "(b) record", "bridge": "(d) record, bridge"}
    names["transformers"] = "(e) record, transformers"
    runs |= {names[backend]: partial(record, backend) for backend in models}
    memory = {}
    for name, function in runs.items():
        timed(function, device, arguments.clock)
        memory[name] = peak_mebibytes(device)
    rounds = []
    for number in range(arguments.rounds):
        seconds = [timed(function, device, arguments.clock) for function in runs.values()]
        rounds.append(seconds)
        speeds = "   ".join(
            f"{name}: {total / took:,.0f} tokens/s"
            for name, took in zip(runs, seconds, strict=True)
        )
        print(f"round {number + 1}: {speeds}", flush=True)
    print("peak memory so far: " + ", ".join(f"{name}: {m:.0f} MiB" for name, m in memory.items()))
    keys = {name[1]: place for place, name in enumerate(runs)}
    for name, one, other in (("b", "a", "b"), ("b", "c", "b"), ("d", "c", "d"), ("e", "c", "e")):
        if one not in keys or other not in keys:
            continue
        name = f"{name} of {one}"
        ratios = [seconds[keys[one]] / seconds[keys[other]] for seconds in rounds]
        print(
            f"speed of {name}: median {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()

"""How long a localization takes beside a bare forward pass and beside one text at a time.

    python tests/benchmarks/localize.py [--device cuda] [--dtype bfloat16] [--rounds 3]
                                        [--backend transformers] [--window 2048]

Prints, in one run over the bundled model and the bundled language contrast (first 12 tokens), or
with ``--window`` over windows of so many tokens of English and German prose:
(a) transformers' bare forward over the same tokens at its best batch size, without logits;
(b) lensloc: tokenizing, forward, pooling, statistics, at its automatic batch size;
(c) the reference of the tests: transformers with forward hooks, one text at a time, scipy (of
    the stimuli only).
Every round times all three; ratios are of the same round. Memory is the process's peak.
"""

import argparse
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import torch
import transformers
from clocks import CLOCK_HELP, CLOCKS, timed
from reference import t_map

import lensloc as ll
from lensloc.contrasts.bundled import bundled_folder
from lensloc.contrasts.readers import read_csv
from lensloc.models import BUNDLED, fetch
from lensloc.models.loading import BACKENDS, DTYPES

BATCH_SIZES = (16, 32, 64, 96, 160, 240, 480)


def prose(tokenizer: Any, length: int, most: int | None) -> ll.Contrast:
    """Windows of the bundled prose, as texts that become as many tokens again, or more."""
    conditions = {}
    for language in ("en", "de"):
        rows = read_csv(bundled_folder() / "prose" / f"{language}.csv", ("text",))
        ids = tokenizer(" ".join(row.cells["text"] for row in rows))["input_ids"]
        starts = range(0, len(ids) - length - 8, length)
        texts = [tokenizer.decode(ids[start : start + length + 8]) for start in starts]
        kept = [text for text in texts if len(tokenizer(text)["input_ids"]) >= length]
        conditions[language] = kept[: most or max(3, 8192 // length)]
    return ll.Contrast.from_texts(conditions, target="en", control="de")


def peak_mebibytes(device: str) -> str:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.startswith("cuda"):
        return f"{host:.0f} MiB (host), {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB (GPU)"
    return f"{host:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="hooked", choices=BACKENDS)
    parser.add_argument("--window", type=int)
    parser.add_argument("--texts", type=int, help="windows of each language")
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help=CLOCK_HELP)
    arguments = parser.parse_args()
    how = (arguments.device, arguments.clock)
    device, dtype = arguments.device, DTYPES[arguments.dtype]

    folder = fetch(BUNDLED["smollm2-135m"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    length = arguments.window or 12
    contrast = (
        ll.contrasts.language() if length == 12 else prose(tokenizer, length, arguments.texts)
    )
    original = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    model = ll.load_model(
        "smollm2-135m", dtype=arguments.dtype, device=device, backend=arguments.backend
    )
    ids = [tokenizer(text)["input_ids"][:length] for text in contrast.texts]
    assert {len(row) for row in ids} == {length}
    tokens = torch.tensor(ids, device=device)
    print(
        f"{len(ids)} texts of {length} tokens, {arguments.backend}, {device}, {arguments.dtype}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    )

    @torch.no_grad()
    def bare(batch_size: int) -> None:
        for batch in tokens.split(batch_size):
            original.model(batch, use_cache=False)

    def lensloc() -> None:
        ll.localize(model, contrast, max_tokens=length, progress=False)

    def one_at_a_time() -> None:
        conditions = contrast.conditions
        t_map(
            original,
            original.model.layers,
            tokenizer,
            conditions["sentences"],
            conditions["nonwords"],
            max_tokens=length,
        )

    for function in (lambda: bare(min(len(ids), 1200 // length) or 1), lensloc):
        timed(function, *how)
    sizes = BATCH_SIZES if length == 12 else [n for n in (1, 2, 4) if n * length <= 4096]
    sweep = {
        size: min(timed(lambda size=size: bare(size), *how) for _ in range(2)) for size in sizes
    }
    best = min(sweep, key=sweep.__getitem__)
    print(
        "bare forward by batch size: "
        + ", ".join(f"{size}: {seconds:.3f} s" for size, seconds in sweep.items())
    )
    memory = peak_mebibytes(device)
    rounds = []
    for number in range(arguments.rounds):
        a, b = (
            timed(lambda: bare(best), *how),
            timed(lensloc, *how),
        )
        c = timed(one_at_a_time, *how) if length == 12 else float("nan")
        rounds.append((a, b, c))
        print(
            f"round {number + 1}: (a) bare forward, batch {best}: {a:.3f} s   "
            f"(b) lensloc: {b:.3f} s   "
            f"(c) one text at a time: {c:.2f} s   b/a {b / a:.2f}   c/b {c / b:.1f}"
        )
    print(
        f"median b/a {statistics.median(b / a for a, b, _ in rounds):.2f}   "
        f"median c/b {statistics.median(c / b for _, b, c in rounds):.1f}   "
        f"peak memory after (a) and (b): {memory}"
    )


if __name__ == "__main__":
    main()

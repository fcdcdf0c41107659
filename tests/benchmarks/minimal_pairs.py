"""Sentences per second on minimal pairs, beside minicons and beside one sentence at a time.

    pip install minicons
    python tests/benchmarks/minimal_pairs.py [--device cuda] [--dtype bfloat16] [--limit 8]

Prints, in one run over the bundled model and the bundled pairs (the first of every paradigm):
(a) minicons at its best batch size; (b) lensloc; (c) transformers, one sentence at a time.
Every round times all three; ratios are of the same round. The three must agree to 1e-3.
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers

import lensloc as ll
from lensloc.models import BUNDLED, DTYPES, fetch

BATCH_SIZES = (8, 16, 32, 64, 128, 256)


def timed(function: Callable[[], Any], device: str) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


@torch.no_grad()
def one_at_a_time(model: Any, tokenizer: Any, sentences: list[str]) -> list[float]:
    scores = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]], device=model.device)
        logs = model(ids).logits[0, :-1].float().log_softmax(-1)
        scores.append(float(logs.gather(1, ids[0, 1:, None]).sum()))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--limit", type=int, default=8, help="pairs per paradigm")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = arguments.device
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    try:
        from minicons import scorer
    except ImportError:
        sys.exit("minicons is not installed; pip install minicons")

    folder = fetch(BUNDLED["smollm2-135m"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    original = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[arguments.dtype]
    ).to(device)
    model = ll.load_model("smollm2-135m", dtype=arguments.dtype, device=device)
    task = ll.tasks.minimal_pairs(limit=arguments.limit)
    sentences = [text for pair in task.pairs for text in (pair.good, pair.bad)]
    other = scorer.IncrementalLMScorer(original, device, tokenizer=tokenizer)

    def minicons(batch_size: int) -> list[float]:
        return [
            score
            for start in range(0, len(sentences), batch_size)
            for score in other.sequence_score(
                sentences[start : start + batch_size], reduction=lambda logs: logs.sum().item()
            )
        ]

    def lensloc() -> list[float]:
        items = task(model).items
        return [score for pair in zip(items["good"], items["bad"], strict=True) for score in pair]

    warm = sentences[: len(sentences) // 4]
    trials = {}
    for size in BATCH_SIZES:
        kept, sentences = sentences, warm
        trials[size], _ = timed(lambda size=size: minicons(size), device)
        sentences = kept
    best = min(trials, key=lambda size: trials[size])
    print(
        f"{len(sentences)} sentences, {arguments.dtype} on {device}; minicons' best batch: {best}"
    )
    rounds = []
    for number in range(1, arguments.rounds + 1):
        a, of_minicons = timed(lambda: minicons(best), device)
        b, ours = timed(lensloc, device)
        c, reference = timed(lambda: one_at_a_time(original, tokenizer, sentences), device)
        rounds.append((a / b, c / b))
        speeds = " / ".join(f"{len(sentences) / seconds:.1f}" for seconds in (a, b, c))
        print(f"round {number}: minicons / lensloc / one at a time: {speeds} sentences per second")
    far = [
        max(abs(x - y) for x, y in zip(ours, found, strict=True))
        for found in (of_minicons, reference)
    ]
    print(
        f"lensloc: {statistics.median(r[0] for r in rounds):.2f} x minicons, "
        f"{statistics.median(r[1] for r in rounds):.2f} x one at a time (medians)"
    )
    print(
        f"largest difference of a sentence's score: minicons {far[0]:.1e}, reference {far[1]:.1e}"
    )


if __name__ == "__main__":
    main()

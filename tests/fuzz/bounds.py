"""Prints what many texts cost in memory and in time, beside running the model.

``python tests/fuzz/bounds.py --texts 20000``
"""

import argparse
import logging
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # otherwise pytest has set it
    sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import numpy as np
import torch
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc.selectivity import welch
from lensloc.studies.localization import Localization, Seconds
from lensloc.tasks import perplexities
from lensloc.units.provenance import Provenance


def peak() -> float:
    """Return the largest memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report_of(n: int, folder: Path) -> str:
    """Test and report responses of 12 x 256 units to so many texts."""
    texts = [f"text {number} of the gardener" for number in range(n)]
    contrast = ll.Contrast.from_texts(
        {"a": texts[: n // 2], "b": texts[n // 2 :]}, target="a", control="b"
    )
    values = torch.randn(n, 12, 256)
    made = Provenance(site="resid_post", target=("a",), control=("b",), pooling="last-token")
    responses = ll.Responses("resid_post", values, contrast.labels, provenance=made)
    before = peak()
    found = welch(responses, ("a",), ("b",))
    located = Localization(
        contrast, {"resid_post": found}, 1, Seconds(), responses={"resid_post": responses}
    )
    ll.report(located, folder / "r.html")
    size = values.numel() * 4 / 1e6
    return f"statistics and report of {n} texts: {peak() - before:.0f} MB beside {size:.0f} MB"


def perplexity_of(n: int) -> str:
    """Do the bookkeeping of perplexity, without a model."""
    kept = {name: getattr(perplexities, name) for name in ("token_ids", "bytes_of_tokens")}
    kept["token_log_probs"] = perplexities.token_log_probs
    try:
        perplexities.token_ids = lambda *_: [1, 2, 3]
        perplexities.bytes_of_tokens = lambda *_: [1, 1, 1]
        perplexities.token_log_probs = lambda _, parts, **__: [np.zeros(2)] * len(parts)
        task = ll.tasks.perplexity([f"text {number}" for number in range(n)])
        with tempfile.TemporaryDirectory() as folder:
            model = tiny(Path(folder))
            start = time.process_time()
            task(model)
    finally:
        for name, value in kept.items():
            setattr(perplexities, name, value)
    return f"bookkeeping of perplexity, {n} texts: {time.process_time() - start:.2f} s"


def lookup_of(n: int, folder: Path) -> str:
    """Localize on so many texts, and look the result up."""
    model = tiny(folder)
    texts = [f"old {number} gardener" for number in range(n)]
    contrast = ll.Contrast.from_texts(
        {"a": texts[: n // 2], "b": texts[n // 2 :]}, target="a", control="b"
    )
    seconds = []
    for _ in range(2):
        start = time.process_time()
        ll.localize(model, contrast, store=folder / "store", progress=False)
        seconds.append(time.process_time() - start)
    return f"localizing on {n} texts {seconds[0]:.1f} s, looking it up {seconds[1]:.2f} s"


def tiny(folder: Path) -> Any:
    path = make_checkpoint(folder / "model", CONFIGS["llama"]())
    return ll.load_model(path, backend="transformers", progress=False)


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        print(report_of(given.texts, Path(folder)), flush=True)
        print(perplexity_of(2 * given.texts), flush=True)
        print(lookup_of(given.texts, Path(folder)), flush=True)


if __name__ == "__main__":
    main()

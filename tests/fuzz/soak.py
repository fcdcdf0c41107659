"""Localizes and lesions a tiny model again and again; says how memory and hooks stand.

``python tests/fuzz/soak.py --rounds 1000`` prints the resident memory after a tenth of the rounds
and at the end.
"""

import argparse
import gc
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # otherwise pytest has set it
    sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import torch
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc.models.adapting import surface

SENTENCES = [
    "the old gardener watered every plant", "nobody remembered who had built the bridge",
    "twelve plus nineteen is thirty one", "before the sun came up it was still",
]  # fmt: skip
NONWORDS = ["glorbix fendal mopi strane", "wuggle trisket plonder", "vash mopi", "trine plonder"]


def resident() -> float:
    """Return the resident memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak(model: Any, rounds: int, warm: int) -> tuple[float, float]:
    """Localize and lesion so often; return the memory after some rounds and after all, MB."""
    contrast = ll.Contrast.from_texts(
        {"hot": SENTENCES, "cold": NONWORDS}, target="hot", control="cold", name="heat"
    )
    task = ll.tasks.perplexity(SENTENCES[:2])
    wanted: Any = None
    after_warm = 0.0
    for number in range(rounds):
        found = ll.localize(model, contrast, ["resid_post", "head"], progress=False)
        network = found["resid_post"].top(k=4)
        with ll.lesion(model, network):
            score = task(model).score
        outcome = (found["resid_post"].t.tolist(), score)
        wanted = outcome if wanted is None else wanted
        assert outcome == wanted, f"round {number} gives another result"
        assert not surface(model).open_hooks(), f"round {number} leaves a hook"
        if number + 1 == warm:
            after_warm = resident()
    return after_warm, resident()


def main() -> int:
    """Run what the command line asks for; return 1 if memory grows by more than 2 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ll.LensLocWarning)  # random units are told to be noise
    with tempfile.TemporaryDirectory() as folder:
        path = make_checkpoint(Path(folder) / "model", CONFIGS["llama"]())
        bad = False
        for backend in ("hooked", "transformers"):
            model = ll.load_model(path, backend=backend, progress=False)
            before, after = soak(model, given.rounds, given.rounds // 10)
            growth = 100 * (after / before - 1)
            print(f"{backend}: {given.rounds} rounds, {before:.1f} MB after {given.rounds // 10}, "
                  f"{after:.1f} MB after all ({growth:+.2f} %), no hook left")  # fmt: skip
            bad |= growth > 2
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())

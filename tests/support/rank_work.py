"""Work that is shared by ranks, as a program: python rank_work.py MODEL FOLDER.

Started by torchrun, or alone; rank 0 writes what was found to FOLDER/found.pt.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from task_files import PAIRS, TEXTS
from tiny_models import CORPUS

import lensloc as ll
from lensloc import ranks
from lensloc.tasks.pairs import MinimalPairs

CONTRAST = ll.Contrast.from_texts(
    {"a": [*TEXTS, *CORPUS], "b": [text[::-1] for text in (*TEXTS, *CORPUS)]},
    target="a",
    control="b",
)


def found_by(model: Any, folder: Path) -> dict[str, Any]:
    """Localize by moments and by stimulus, score, lesion with a store, count activations."""
    store = folder / "store"
    found = ll.localize(model, CONTRAST, ["resid_post", "head"], batch_size=3, progress=False)
    kept = ll.localize(
        model, CONTRAST, "mlp_post", batch_size=2, keep_responses=True, store=store, progress=False
    )
    mask = found["resid_post"].top(k=6)
    task = MinimalPairs(PAIRS)
    study = ll.lesion_study(model, {"net": mask}, [task], store=store, progress=False)
    counts = ll.lape.record(
        model, {"x": list(CORPUS), "y": list(TEXTS)}, window=8, batch_tokens=16,
        checkpoint=folder / "counts.safetensors", checkpoint_every=10, keep_windows=True,
        progress=False,
    )  # fmt: skip
    return {
        "t": found["resid_post"].t,
        "t of heads": found["head"].t,
        "mask": mask.mask,
        "responses": kept.responses["mlp_post"].values,
        "score": torch.tensor(study.table["score"].to_numpy(dtype=float)),
        "good": torch.tensor(task(model).items["good"].to_numpy(dtype=float)),
        "counts": counts.counts,
        "blocks": counts.windows.counts if counts.windows else None,
    }


def run(checkpoint: Path, folder: Path) -> None:
    """Find all that as one of the ranks."""
    leave = ranks.join() if ranks.started_by_torchrun() else None
    torch.set_num_threads(1)
    model = ll.load_model(checkpoint, backend="transformers")
    found = found_by(model, folder)
    if ranks.rank() == 0:
        torch.save(found, folder / "found.pt")
    if leave is not None:
        leave()


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))

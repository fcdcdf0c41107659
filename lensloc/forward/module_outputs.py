"""Stimuli through a wrapped module: the scores of classes that it gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError, NotFiniteError
from lensloc.forward.batches import BatchSize, require_batch_size, run_batches
from lensloc.forward.memory import Budget, rows_at_once
from lensloc.models.adapting import surface
from lensloc.models.inputs import batch_of, leaves, signature
from lensloc.models.module import OfModule
from lensloc.models.surface import Model

_ROWS_ON_CPU = 32
_BUDGET = Budget(on_cpu=2**62, share=0.25)
# How many arrays of the size of a module's largest one are taken to be there for each stimulus.
_TIMES = 64


def class_scores(
    model: Model,
    stimuli: Sequence[str],
    *,
    batch_size: BatchSize = "auto",
    progress: bool = False,
    description: str = "stimuli",
) -> Float[Tensor, "stimulus class"]:
    """Return what a wrapped module gives for every stimulus: a score per class, float64.

    Of several tensors, that is the one called ``logits``, or the first ``[stimulus, class]``.

    Raises:
        LensLocError: a model that is no wrapped module, or gives no scores of classes.
        NotFiniteError: scores that are no numbers.
    """
    seen = surface(model)
    if not isinstance(seen, OfModule):
        raise LensLocError(
            "Classes are told apart by a wrapped module that gives a score for each (ll.wrap, or "
            f"ll.load_model('efficientnet-lite0')); {seen.name or seen.architecture} is none."
        )
    require_batch_size(batch_size)
    seen.model.reader.require_one_size(stimuli)
    found: dict[int, Tensor] = {}

    def run(rows: list[int]) -> None:
        inputs = {row: seen.read(stimuli[row]) for row in rows}
        alike: dict[object, list[int]] = {}
        for row, given in inputs.items():
            alike.setdefault(signature(given), []).append(row)
        scores: dict[int, Tensor] = {}
        for group in alike.values():
            given = seen.call(batch_of([inputs[row] for row in group]))
            scores |= dict(zip(group, _scores_in(given, len(group), seen.name), strict=True))
        found.update(scores)

    size = batch_size if batch_size != "auto" else _rows_at_once(model, seen, stimuli)
    batches = [list(range(start, min(start + size, len(stimuli)))) for start in
               range(0, len(stimuli), size)]  # fmt: skip
    run_batches(model, batches, run, progress=progress, description=description)
    together = torch.stack([found[row] for row in range(len(stimuli))])
    wrong = (~torch.isfinite(together)).any(dim=1).nonzero().flatten().tolist()
    if wrong:
        raise NotFiniteError(
            f"{seen.name} gives scores that are NaN or infinite for {stimuli[wrong[0]]!r}; run it "
            "in float32, or leave the stimulus out."
        )
    return together


def _rows_at_once(model: Model, seen: OfModule, stimuli: Sequence[str]) -> int:
    if seen.device.type == "cpu":
        return _ROWS_ON_CPU
    numbers = sum(leaf.numel() for leaf in leaves(seen.read(stimuli[0])))
    size = _TIMES * numbers * seen.dtype.itemsize
    return rows_at_once(model, on_cpu=_ROWS_ON_CPU, bytes_a_row=size, budget=_BUDGET)


def _scores_in(given: Any, rows: int, name: str) -> Float[Tensor, "stimulus class"]:
    if isinstance(given, Mapping) and isinstance(given.get("logits"), Tensor):
        given = given["logits"]
    parts: Sequence[Any] = [given]
    if isinstance(given, Mapping):
        parts = list(given.values())
    elif isinstance(given, tuple | list):
        parts = given
    for part in parts:
        fits = isinstance(part, Tensor) and part.is_floating_point() and part.ndim == 2
        if fits and len(part) == rows and part.shape[1] > 1:
            found: Tensor = part.detach().cpu().double()
            return found
    raise LensLocError(
        f"{name} gives no scores of classes, [stimulus, class]; a task that needs none is "
        "ll.tasks.linear_probe, from what passes one of its sites."
    )

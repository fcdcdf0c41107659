"""Running many texts through a model: batches of similar length, in evaluation mode, in memory.

A batch changes nothing: texts of a causal model are padded on the right, where no token sees the
pads; a model that attends in both directions gets batches of equal length.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from lensloc.arguments import is_whole
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.evaluation import evaluating as evaluating
from lensloc.models.failures import gist_of
from lensloc.models.memory import is_out_of_memory
from lensloc.models.surface import Model
from lensloc.ranks import ENDED, is_of_the_others, n_ranks, rank

log = logging.getLogger(__name__)

BatchSize = int | Literal["auto"]


def require_batch_size(batch_size: BatchSize) -> None:
    """Check the number of texts per batch.

    Raises:
        LensLocError: unless it is ``"auto"`` or at least 1.
    """
    if batch_size == "auto":
        return
    if not is_whole(batch_size):
        raise LensLocError(f"batch_size is 'auto' or a whole number; {batch_size!r} is neither.")
    if batch_size < 1:
        raise LensLocError(f"A batch holds at least one text; {batch_size} does not.")


def batches_by_length(
    lengths: Sequence[int],
    *,
    batch_size: BatchSize = "auto",
    budget: int | None = None,
    equal: bool = False,
) -> list[list[int]]:
    """Group texts by length; longest first, so that if memory runs out, it does so at once.

    Args:
        lengths: tokens of every text.
        batch_size: most texts per batch; ``"auto"`` for as many as the budget allows.
        budget: most tokens per batch, pads included; heeded with ``"auto"`` only.
        equal: never put texts of different lengths together.

    Returns:
        Rows of ``lengths``, batch by batch.
    """
    most_rows = len(lengths) if batch_size == "auto" else batch_size
    most_tokens = budget if batch_size == "auto" else None
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        current = batches[-1] if batches else []
        full = (
            not current
            or len(current) >= most_rows
            or (most_tokens is not None and (len(current) + 1) * lengths[row] > most_tokens)
            or (equal and lengths[current[0]] != lengths[row])
        )
        if full:
            batches.append([row])
        else:
            current.append(row)
    return batches[::-1]


def run_batches(
    model: Model,
    batches: Sequence[list[int]],
    run: Callable[[list[int]], None],
    *,
    progress: bool,
    description: str,
    halving: bool = True,
) -> None:
    """Call ``run`` with the rows of every batch; halve a batch that is too large for the memory.

    The model is in evaluation mode meanwhile, and no gradients are kept. ``run`` must keep nothing
    of a batch that fails. Without ``halving`` the error is raised, for a caller that can ask for
    less.

    Raises:
        LensLocError: if a single text is too large; if memory runs out in one of several processes
            that share the model, since the others are in the middle of the pass that it leaves.
    """
    pending = list(batches)
    total = sum(map(len, batches))
    with progress_bar(progress, total, description) as advance, evaluating(model), torch.no_grad():
        while pending:
            rows = pending.pop(0)
            if not halving:
                run(rows)
            elif not fits(model, run, rows, description):
                log.warning(
                    "memory ran out with %d %s at once; going on with half as many (batch_size "
                    "says how many to begin with)",
                    len(rows),
                    _several(description),
                )
                half = len(rows) // 2
                pending[:0] = [rows[:half], rows[half:]]
                continue
            advance(len(rows))


def fits(model: Model, run: Callable[[list[int]], None], rows: list[int], description: str) -> bool:
    """Run a batch; False if it was too large for the memory and can be halved.

    Args:
        model: of which other processes may have parts, and run the same pass on these.
        run: runs it.
        rows: of the batch.
        description: of what is run.

    Raises:
        LensLocError: if a single one is too large; of a shared model, if it is too large at all, or
            if another process has ended.
    """
    try:
        run(rows)
    except (MemoryError, RuntimeError) as error:  # of which torch's is one
        shared = n_ranks() > 1 and surface(model).is_sharded
        if not is_out_of_memory(error):
            if shared and is_of_the_others(error):
                raise LensLocError(f"{ENDED} ({gist_of(error)[:200]}).") from error
            raise
        if shared:
            raise LensLocError(
                f"Memory ran out in rank {rank()} with {len(rows)} {_several(description)} at once "
                f"({gist_of(error)[:200]}). {n_ranks()} processes share the model and cannot halve "
                "a batch in the middle of a pass; start them again with a smaller batch_size, and "
                "what was finished is not measured again where a store was given."
            ) from error
        if len(rows) == 1:
            raise LensLocError(
                f"There is not enough memory even for number {rows[0] + 1} of the "
                f"{_several(description)} alone ({gist_of(error)[:200]}); ask for fewer sites at "
                "once, cut it off (max_tokens) or take a shorter window, load the model in half "
                "precision (dtype) or on another device, or close what else takes memory."
            ) from error
    else:
        return True
    # Not in the handler above, where the error still holds the batch's tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def _several(description: str) -> str:
    return description if description.endswith(("s", "stimuli")) else "texts"


def padded_right(sequences: Sequence[Sequence[int]], device: Any) -> Int[Tensor, "row pos"]:
    """Return token ids as one tensor, shorter rows filled with 0 on the right."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens.to(device)


def sees_pads(model: Model, longest: int = 0) -> bool:
    """Say whether pads behind a text would change it.

    They do where tokens attend to what stands behind them, under a hook that says that it edits the
    last position only (``last_only``), and where rotary embeddings follow from the length of what
    is read.

    Args:
        model: the model.
        longest: tokens of the longest text that is read.
    """
    seen = surface(model)
    if not seen.is_causal or longest > seen.steady_length:
        return True
    return any(getattr(hook, "last_only", False) for hook in seen.open_hooks())

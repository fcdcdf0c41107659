"""Running many texts through a model: batches of similar length, in evaluation mode, in memory.

A batch changes nothing: texts of a causal model are padded on the right, where no token sees the
pads; a model that attends in both directions gets batches of equal length.
"""

import contextlib
import inspect
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError

log = logging.getLogger(__name__)

BatchSize = int | Literal["auto"]


def require_batch_size(batch_size: BatchSize) -> None:
    """Check the number of texts a batch.

    Raises:
        LensLocError: unless it is ``"auto"`` or at least 1.
    """
    if batch_size != "auto" and batch_size < 1:
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
        batch_size: most texts a batch; ``"auto"`` for as many as the budget allows.
        budget: most tokens a batch, pads included; heeded with ``"auto"`` only.
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
    model: Any,
    batches: Sequence[list[int]],
    run: Callable[[list[int]], None],
    *,
    progress: bool,
    description: str,
) -> None:
    """Call ``run`` with the rows of every batch; halve a batch that is too large for the memory.

    The model is in evaluation mode meanwhile, and no gradients are kept. ``run`` must keep nothing
    of a batch that fails.
    """
    pending = list(batches)
    total = sum(map(len, batches))
    with progress_bar(progress, total, description) as advance, evaluating(model), torch.no_grad():
        while pending:
            rows = pending.pop(0)
            if not _fits(run, rows):
                log.info("out of memory with %d texts at once; halving", len(rows))
                half = len(rows) // 2
                pending[:0] = [rows[:half], rows[half:]]
                continue
            advance(len(rows))


def _fits(run: Callable[[list[int]], None], rows: list[int]) -> bool:
    """Run a batch; False if it was too large for the memory and can be halved."""
    try:
        run(rows)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error) or len(rows) == 1:
            raise
    else:
        return True
    # Not in the handler above, where the error still holds the batch's tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def padded_right(sequences: Sequence[Sequence[int]], device: Any) -> Int[Tensor, "row pos"]:
    """Return token ids as one tensor, shorter rows filled with 0 on the right."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens.to(device)


def device_of(model: Any) -> torch.device:
    """Return the device that the model takes tokens on."""
    return torch.device(model.cfg.device or "cpu")


def sees_pads(model: Any, longest: int = 0) -> bool:
    """Say whether pads behind a text would change it.

    They do where tokens attend to what stands behind them, under a hook that says that it edits the
    last position only (``last_only``), and where rotary embeddings follow from the length of what
    is read.

    Args:
        model: the model.
        longest: tokens of the longest text that is read.
    """
    if getattr(model.cfg, "attention_dir", "causal") != "causal":
        return True
    if longest > _length_without_effect(model):
        return True
    return any(getattr(hook, "last_only", False) for hook in open_hooks(model))


def _length_without_effect(model: Any) -> float:
    """Return up to which length of what is read the length itself changes nothing."""
    config = getattr(getattr(model, "original_model", None), "config", None)
    if config is None:  # HookedTransformers that do so are refused when they are loaded
        return math.inf
    text = config.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or {}
    kinds = [parameters, *(kind for kind in parameters.values() if isinstance(kind, dict))]
    return min(
        (
            int(kind.get("original_max_position_embeddings") or text.max_position_embeddings)
            for kind in kinds
            if kind.get("rope_type") in ("longrope", "dynamic")
        ),
        default=math.inf,
    )


def open_hooks(model: Any) -> list[Any]:
    """Return the hook functions that are open on the model's forward pass, by whomever."""
    points = {id(point): point for point in model.hook_dict.values()}
    return [handle.user_hook for point in points.values() for handle in point.fwd_hooks]


def is_bridge(model: Any) -> bool:
    """Say whether the model is a TransformerBridge, which runs transformers' own forward pass."""
    return hasattr(model, "original_model")


def bridge_takes(model: Any, argument: str) -> bool:
    """Say whether the transformers model inside a TransformerBridge takes an argument."""
    return argument in inspect.signature(model.original_model.forward).parameters


def padding_options(model: Any) -> dict[str, Any]:
    """Return what keeps a HookedTransformer from looking for pads on the left.

    It does so for a tokenizer that is set to pad there, whatever the tokens are.
    """
    if is_bridge(model) or model.tokenizer is None:
        return {}
    return {"padding_side": "right"}


def blocks_only(model: Any) -> dict[str, Any]:
    """Return what keeps a forward pass from computing logits, as far as the model can do without.

    For calls with ``return_type=None``.
    """
    if not is_bridge(model):
        return padding_options(model)
    # A TransformerBridge runs the output layer regardless.
    options: dict[str, Any] = {"output_attentions": False}
    return options | ({"logits_to_keep": 1} if bridge_takes(model, "logits_to_keep") else {})


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()

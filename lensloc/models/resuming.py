"""Starting a forward pass of transformers' models in the middle: what passes the blocks before."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lensloc.models.surface import Inputs, Start
from lensloc.models.watching import first_tensor

log = logging.getLogger(__name__)


@contextlib.contextmanager
def started(blocks: Sequence[nn.Module], start: Start | None, wraps: bool) -> Iterator[None]:
    """Let the blocks before a layer compute nothing, and the last of them give what is kept.

    Hooks on the block itself act on that; those inside it are not passed.

    Args:
        blocks: of the model.
        start: where the pass is to begin; nothing is changed if None.
        wraps: whether a block gives its output as a tuple.
    """
    if start is None:
        yield
        return
    kept = (start.residual,) if wraps else start.residual

    def give(*_: Any, **__: Any) -> Any:
        return kept

    skipped = blocks[: start.layer]
    try:
        for block in skipped:
            # Before that of its class, and past a __setattr__ that hands it on to a module inside.
            block.__dict__["forward"] = give
        yield
    finally:
        for block in skipped:
            block.__dict__.pop("forward", None)


def wraps_outputs(
    run: Callable[[Inputs], Float[Tensor, "row pos vocabulary"]],
    blocks: Sequence[nn.Module],
    tokens: Int[Tensor, "row pos"],
) -> bool | None:
    """Find out whether blocks give tuples; None if a pass cannot begin in the middle.

    Args:
        run: the model, without hooks.
        blocks: of the model.
        tokens: to try it with, of two texts or more.
    """
    own_forward = any("forward" in vars(block) or hasattr(block, "_hf_hook") for block in blocks)
    if len(blocks) < 2 or own_forward:
        return None
    # The last block is told least of what only its input should carry, such as keys that it takes
    # from a block before.
    layers = sorted({len(blocks) // 2, len(blocks) - 1})
    outputs: dict[int, list[Any]] = {layer: [] for layer in layers}

    def keep(layer: int) -> Any:
        return lambda *passed: outputs[layer].append(passed[2])

    handles = [blocks[layer - 1].register_forward_hook(keep(layer)) for layer in layers]
    try:
        whole = run(Inputs(tokens[1:]))
    finally:
        for handle in handles:
            handle.remove()
    kinds = []
    for layer, found in outputs.items():
        residual = first_tensor(found[0]) if len(found) == 1 else None
        wraps = isinstance(found[0], tuple | list) if found else False
        if residual is None or residual.ndim != 3 or (wraps and len(found[0]) != 1):
            return None
        # Whatever a model does between its blocks.
        try:
            # After a pass of another size, so that what a block keeps of the last pass would show.
            # The two that are compared are of one size, since other sizes round differently.
            residual = residual.clone()
            run(Inputs(tokens))
            with started(blocks, Start(layer, residual), wraps):
                again = run(Inputs(tokens[1:]))
        except Exception as reason:
            log.info("a pass cannot begin at layer %d (%s)", layer, reason)
            return None
        if not torch.allclose(again.float(), whole.float(), rtol=1e-3, atol=1e-4):
            return None
        kinds.append(wraps)
    return kinds[0] if len(set(kinds)) == 1 else None

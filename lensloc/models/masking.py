"""Several texts per row in models of transformers: masks and positions of one's own."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.models.surface import Inputs

log = logging.getLogger(__name__)

MASKABLE = ("eager", "sdpa")
"""Kinds of attention of transformers that take any mask."""

# Two texts with three tokens in common, and a third one.
_PLACES = ((0, 1, 2, 3, 4), (0, 1, 2, 5, 6, 7), (8, 9, 10, 11))


def masks_of(inputs: Inputs, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a model of transformers is given besides the tokens."""
    if inputs.sees is None:
        return {}
    sees = inputs.sees[:, None]
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    # The least number rather than minus infinity, as transformers' own masks have it.
    mask = mask.masked_fill(~sees, torch.finfo(dtype).min)
    return {"attention_mask": mask, "position_ids": inputs.positions}


def packs_rightly(
    run: Callable[[Inputs], Float[Tensor, "row pos vocabulary"]],
    vocabulary: int,
    device: torch.device,
    exact: bool,
) -> bool:
    """Try whether texts of random tokens give the same logits side by side as alone.

    Args:
        run: the model.
        vocabulary: how many tokens it knows.
        device: where tokens go.
        exact: whether the same computation differs by float32's rounding only.
    """
    draws = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, vocabulary, (12,), generator=draws).to(device)
    sees = torch.zeros(1, 12, 12, dtype=torch.bool, device=device)
    positions = torch.zeros(1, 12, dtype=torch.long, device=device)
    for places in _PLACES:
        for position, place in enumerate(places):
            positions[0, place] = position
            sees[0, place, list(places[: position + 1])] = True
    rtol, atol = (1e-4, 1e-5) if exact else (1e-2, 1e-2)
    try:
        together = run(Inputs(drawn[None], positions, sees))[0].float()
        for places in _PLACES:
            alone = run(Inputs(drawn[list(places)][None]))[0].float()
            scale = float(alone.abs().max())
            if not torch.allclose(together[list(places)], alone, rtol=rtol, atol=atol * scale):
                return False
    # Whatever a model does that was never given such a mask.
    except Exception as reason:
        log.info("several texts cannot stand in one row (%s)", reason)
        return False
    return True

"""Tensor parallelism: what passes a module is a part of the whole; other ranks have the rest.

transformers shards weights over the ranks of a run (``tp_plan="auto"``), so that between the
matrices of a block each rank holds some of the neurons or heads. Here the parts are put together,
so that a unit has the number that it has in one process, on every rank.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lensloc.errors import LensLocError
from lensloc.models.watching import Call

Shards = tuple[int, ...]
"""Widths of the parts of a last axis, by rank; empty where every rank has the whole."""

_EVERY_RANK_HAS_IT = 1e-4  # relative difference that different orders of addition may make


def group_of(model: nn.Module) -> Any:
    """Return the process group over which a model's weights are sharded; None if they are not."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    for parameter in model.parameters():
        mesh = getattr(parameter, "device_mesh", None)
        if mesh is not None and mesh.size() > 1:
            return mesh.get_group(mesh.ndim - 1)
    return None


def joined(calls: Sequence[Call], group: Any) -> list[Call]:
    """Put together what the calls of modules were given and gave on all ranks.

    Args:
        calls: of one block on this rank; all ranks have the same ones in the same order.
        group: of the ranks.

    Raises:
        LensLocError: if they have not.
    """
    marks = [[_mark(call.input), _mark(call.output)] for call in calls]
    everyone = _everyone([[call.name for call in calls], marks], group)
    if any(names != everyone[0][0] for names, _ in everyone):
        raise LensLocError(
            "The ranks of this tensor-parallel model run different modules; load the same model on "
            "every rank."
        )
    differ = [
        (place, side)
        for place in range(len(calls))
        for side in (0, 1)
        if _is_sharded([theirs[place][side] for _, theirs in everyone])
    ]
    sides = ("input", "output")
    own = [getattr(calls[place], sides[side]) for place, side in differ]
    parts = _everyone(own, group)
    found = list(calls)
    for number, (place, side) in enumerate(differ):
        several = [theirs[number] for theirs in parts]
        shards = tuple(int(part.shape[-1]) for part in several)
        whole = torch.cat(several, dim=-1)
        found[place] = (
            replace(found[place], output=whole, output_shards=shards)
            if side
            else replace(found[place], input=whole, input_shards=shards)
        )
    return found


def _everyone(mine: Any, group: Any) -> list[Any]:
    found: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, mine, group=group)
    return found


def _mark(value: Tensor | None) -> Any:
    """Return a tensor's shape, and three numbers by which one is known from another."""
    if value is None:
        return None
    flat = value.double().flatten()
    waves = torch.sin(torch.arange(len(flat), dtype=torch.float64))
    return tuple(value.shape), [float(flat.abs().sum()), float(flat.sum()), float(flat @ waves)]


def _is_sharded(marks: Sequence[Any]) -> bool:
    if any(mark is None for mark in marks):
        return False
    first, (size, *_) = marks[0]
    if any(shape[:-1] != first[:-1] for shape, _ in marks):
        return False
    allowed = _EVERY_RANK_HAS_IT * max(size, 1e-12)
    return any(
        shape != first or any(abs(a - b) > allowed for a, b in zip(mark, marks[0][1], strict=True))
        for shape, mark in marks
    )


def gathered(part: Tensor, shards: Shards, group: Any) -> Tensor:
    """Return the whole of which this rank has a part; on every rank the same.

    Raises:
        LensLocError: where gradients are taken, which do not pass from rank to rank.
    """
    if part.requires_grad and torch.is_grad_enabled():
        raise LensLocError(
            "Gradients are not known at a site that is sharded over ranks; run the model under "
            "torch.no_grad() if none are needed, use resid_post or another site of the residual "
            'stream, or load the model with device_map="auto".'
        )
    widest = max(shards)
    own = part.detach().contiguous()
    if own.shape[-1] < widest:
        own = torch.nn.functional.pad(own, (0, widest - own.shape[-1]))
    several = [torch.empty_like(own) for _ in shards]
    dist.all_gather(several, own, group=group)
    return torch.cat([p[..., :n] for p, n in zip(several, shards, strict=True)], dim=-1)


def own_part(whole: Tensor, shards: Shards, group: Any) -> Tensor:
    """Return this rank's part of a whole."""
    rank = dist.get_rank(group)
    start = sum(shards[:rank])
    return whole[..., start : start + shards[rank]].contiguous()

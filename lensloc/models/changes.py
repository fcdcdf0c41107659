"""Did the weights of a model change since they were read? Told without reading them again."""

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from lensloc.models.surface import Attached

# Bytes that are copied at once where a weight does not lie as it is read, or on another device.
_AT_ONCE = 2**24

File = tuple[str, int, int]
"""A file, its size and when it was changed, in nanoseconds."""

State = tuple[Any, ...]


@dataclass(frozen=True)
class Snapshot(Attached):
    """What a model's weights were known by when they were hashed.

    Torch counts what is done to a tensor in place, and a tensor that is put in another's place, or
    moved, is another one, or lies elsewhere. What is written through ``.data`` is counted nowhere:
    for that, numbers are compared of which some lie in every row, every column and every other
    slice of a weight, so that none of these can be changed without them, though single numbers can.

    Attributes:
        hash: the hash of the weights.
        states: of every parameter and buffer, what torch knows of it.
        tensors: the parameters and buffers themselves, not kept alive.
        sampled: hash of some of their numbers.
        files: of weights that are kept on disk, their files, as they were.
    """

    hash: str
    states: Mapping[str, State]
    tensors: Mapping[str, "weakref.ref[Tensor]"]
    sampled: str
    files: Mapping[str, File]

    @classmethod
    def of(cls, model: nn.Module, hash: str) -> "Snapshot":
        """Make one of a model whose weights have this hash."""
        tensors, files = _held(model)
        return cls(
            hash,
            {name: _state(tensor) for name, tensor in tensors.items()},
            {name: weakref.ref(tensor) for name, tensor in tensors.items()},
            _sampled(tensors),
            files,
        )

    def still_holds(self, model: nn.Module) -> bool:
        """Say whether a model's weights are still those."""
        tensors, files = _held(model)
        return (
            files == self.files
            and tensors.keys() == self.states.keys()
            and all(self.tensors[name]() is tensor for name, tensor in tensors.items())
            and all(self.states[name] == _state(tensor) for name, tensor in tensors.items())
            and self.sampled == _sampled(tensors)
        )


def _held(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, File]]:
    """Return all weights, those that accelerate moves as it keeps them: in memory, or in files."""
    tensors: dict[str, Tensor] = {}
    files: dict[str, File] = {}
    elsewhere = offloaded(model)
    shared = getattr(model, "all_tied_weights_keys", None) or {}
    for name, weight in model.named_parameters():
        moved = weight.is_meta and name in elsewhere  # another object after every pass
        kept = _kept(*elsewhere[name]) if moved else weight
        if isinstance(kept, Tensor):
            tensors[name] = kept
        elif kept is not None:
            files[name] = kept
        elif name not in shared:  # else it is kept under its other name
            tensors[name] = weight
    tensors |= {f"buffer {name}": buffer for name, buffer in model.named_buffers()}
    return tensors, files


def _kept(place: Any, name: str) -> Tensor | File | None:
    """Return a weight that is kept in memory, or which file it is in and how that is; None else."""
    while hasattr(place, "dataset") and hasattr(place, "prefix"):
        place, name = place.dataset, f"{place.prefix}{name}"
    in_memory = place if isinstance(place, dict) else getattr(place, "state_dict", {})
    if name in in_memory:
        found: Tensor = in_memory[name]
        return found
    known = getattr(place, "index", {}).get(name)
    if known is None:
        return None
    file = known.get("safetensors_file") or Path(place.save_folder or "") / f"{name}.dat"
    try:
        now = Path(file).stat()
    except OSError:
        return None
    return str(file), now.st_size, now.st_mtime_ns


def _state(tensor: Tensor) -> State:
    try:
        version = tensor._version
    except RuntimeError:  # made under inference_mode, where nothing is counted
        version = -1
    try:
        place = tensor.data_ptr()
    except RuntimeError:  # of a class of its own, without memory of its own
        place = 0
    return place, version, tuple(tensor.shape), tensor.dtype, tensor.device


def _sampled(tensors: Mapping[str, Tensor]) -> str:
    """Hash numbers of every weight: one at least of every slice along every axis."""
    digest = xxhash.xxh3_128()
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors.values():
        if tensor.numel() and not tensor.is_meta and type(tensor.data) is Tensor:
            parts = found.setdefault((tensor.device, tensor.dtype), [])
            parts.extend(part.reshape(-1) for part in _diagonals(tensor.detach()))
    for parts in found.values():
        digest.update(torch.cat(parts).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _diagonals(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return a diagonal that goes on from the start where it reaches an end; short ones whole."""
    if tensor.ndim < 2:
        return (tensor,)
    if tensor.ndim > 2:
        steps = torch.arange(max(tensor.shape), device=tensor.device)
        return (tensor[tuple(steps % size for size in tensor.shape)],)
    longer = tensor if tensor.shape[0] >= tensor.shape[1] else tensor.T
    n_columns = longer.shape[1]
    n_times = longer.shape[0] // n_columns
    whole = longer[: n_times * n_columns].unflatten(0, (n_times, n_columns))
    return whole.diagonal(dim1=1, dim2=2), longer[n_times * n_columns :].diagonal()


def in_parts(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor's numbers in order, contiguous and on the CPU, without a second copy of it."""
    if hasattr(tensor, "full_tensor"):  # spread over processes
        tensor = tensor.full_tensor()
    if (tensor.is_contiguous() and tensor.device.type == "cpu") or tensor.ndim < 2:
        yield tensor.cpu().contiguous()
        return
    try:
        rows = tensor.view(-1, tensor.shape[-1])
    except RuntimeError:  # its first axes do not lie in order
        for part in tensor:
            yield from in_parts(part)
        return
    step = max(1, _AT_ONCE // max(1, rows.shape[1] * rows.element_size()))
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        if part.stride(0) == 1:  # it lies by columns: whole matrices are turned quickly
            part = part.T.contiguous().T
        yield part.cpu().contiguous()


def offloaded(model: nn.Module) -> dict[str, tuple[Any, str]]:
    """Return what keeps weights that are on no device while nothing runs, and their name there.

    accelerate keeps them in memory or on disk, and moves them while a part of the model runs.
    """
    found = {}
    for prefix, module in model.named_modules():
        kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        if kept is not None:
            for name, _ in module.named_parameters(recurse=False):
                found[f"{prefix}.{name}" if prefix else name] = (kept, name)
    return found

"""Masks on disk: ``.safetensors`` and the published ``.npy``; nothing in them is unpickled."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_of
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lensloc.display.files import write_file
from lensloc.display.places import is_file
from lensloc.display.sealed import (
    DamagedError,
    Format,
    NewerError,
    checked_tensors,
    read_bytes,
    sealed_tensors,
)
from lensloc.errors import LensLocError
from lensloc.units.npy_files import read_npy

# The first version had no checksum.
MASK = Format("lensloc.UnitMask", 2)
_NUMBERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
            torch.float16, torch.bfloat16, torch.float32, torch.float64)  # fmt: skip
SUFFIXES = (".safetensors", ".npy")


def kind_of(path: Path) -> str:
    """Return what kind of file a mask is in: its suffix, in small letters."""
    return path.suffix.lower()


def write_mask(
    path: Path,
    mask: Bool[Tensor, "layer unit"],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    overwrite: bool,
) -> Path:
    """Write a mask, whole or not at all; ``.npy`` keeps neither other tensors nor metadata.

    Raises:
        LensLocError: for another suffix, a file that is there already unless it may be replaced,
            or a place that cannot be written.
    """
    if kind_of(path) == ".safetensors":
        arrays = {"mask": mask.to(torch.uint8)}
        arrays |= {name: found.contiguous() for name, found in tensors.items()}
        known = {"format": str(MASK)} | dict(metadata)
        content = sealed_tensors(safetensors_bytes(arrays, metadata=known))
        return write_file(path, content, overwrite=overwrite)
    if kind_of(path) == ".npy":
        content = npy_bytes(mask.numpy().astype(np.int64))
        return write_file(path, content, overwrite=overwrite)
    raise LensLocError(
        f"{path} has an unknown suffix; masks are written as .safetensors (with provenance) "
        "or .npy (the published format)."
    )


def read_mask(
    path: Path,
) -> tuple[Bool[Tensor, "layer unit"], dict[str, Tensor], dict[str, str]]:
    """Read what :func:`write_mask` wrote, or a published ``.npy``: mask, other tensors, metadata.

    Raises:
        LensLocError: if the file is missing, truncated, pickled, or not a mask.
    """
    if not is_file(path):
        raise LensLocError(f"There is no mask file {path}; check the path.")
    if kind_of(path) == ".safetensors":
        return _read_safetensors(path)
    if kind_of(path) == ".npy":
        return _read_npy(path), {}, {}
    raise LensLocError(f"{path} is not a mask file; lensloc reads .safetensors and .npy.")


def values_beside(
    tensors: Mapping[str, Tensor], mask: Bool[Tensor, "layer unit"], path: Path
) -> dict[str, Float[Tensor, "layer unit"]]:
    """Return ``score`` and ``magnitude``, one number per unit, as far as they are in a file.

    Raises:
        LensLocError: if one is something else, or of another shape.
    """
    known = {name: tensors[name] for name in ("score", "magnitude") if name in tensors}
    for name, found in known.items():
        if found.dtype not in _NUMBERS or found.shape != mask.shape:
            kind = str(found.dtype).removeprefix("torch.")
            raise LensLocError(
                f"{path}: {name} is {kind} of shape {tuple(found.shape)}, and not a number for "
                f"each of {tuple(mask.shape)} units; write the mask again."
            )
    return {name: found.double() for name, found in known.items()}


def npy_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """Return what ``numpy.save`` would write."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _read_safetensors(
    path: Path,
) -> tuple[Bool[Tensor, "layer unit"], dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
        if "mask" not in names or "provenance" not in metadata:
            raise LensLocError(
                f"{path} holds no unit mask of lensloc; it holds {', '.join(names) or 'nothing'}."
            )
        content = read_bytes(path)
        checked_tensors(content)
        if MASK.version_of(metadata.get("format", f"{MASK.name}/1")) > 1:
            _require_sealed(metadata)
        tensors = tensors_of(content)
    except NewerError as error:
        raise LensLocError(f"{path} cannot be read: {error}.") from error
    except DamagedError as error:
        raise LensLocError(
            f"{path} is damaged ({error}); restore it, or write the mask again."
        ) from error
    except (SafetensorError, OSError, ValueError, MemoryError, KeyError) as error:
        if isinstance(error, LensLocError):
            raise
        raise LensLocError(
            f"{path} is not a readable .safetensors file (truncated, or of another format: "
            f"{error}); write the mask again."
        ) from error
    return _as_mask(tensors.pop("mask"), path), tensors, metadata


def _require_sealed(metadata: Mapping[str, str]) -> None:
    if "checksum" not in metadata:
        raise DamagedError("it has no checksum")


def _read_npy(path: Path) -> Bool[Tensor, "layer unit"]:
    array = read_npy(path, "export the mask again")
    if array.dtype.kind not in "biuf":
        raise LensLocError(f"{path} is not an array of 0 and 1.")
    # In the machine's own order of bytes, and of a type that torch has.
    native = array.astype(bool) if ((array == 0) | (array == 1)).all() else array.astype(np.float64)
    return _as_mask(torch.from_numpy(native), path)


def _as_mask(tensor: Tensor, path: Path) -> Bool[Tensor, "layer unit"]:
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise LensLocError(
            f"{path} has shape {tuple(tensor.shape)}; a mask is a non-empty [layer, unit]."
        )
    if tensor.dtype not in _NUMBERS:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise LensLocError(f"{path} holds an array of {kind}, so it is not a mask of 0 and 1.")
    if not ((tensor == 0) | (tensor == 1)).all():
        raise LensLocError(f"{path} holds other values than 0 and 1, so it is not a mask.")
    return tensor.bool()

"""Masks on disk: ``.safetensors`` and the published ``.npy``; nothing in them is unpickled."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lensloc.display.files import write_file
from lensloc.errors import LensLocError

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
        content = safetensors_bytes(arrays, metadata=dict(metadata))
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
    if not path.is_file():
        raise LensLocError(f"There is no mask file {path}; check the path.")
    if kind_of(path) == ".safetensors":
        return _read_safetensors(path)
    if kind_of(path) == ".npy":
        return _read_npy(path), {}, {}
    raise LensLocError(f"{path} is not a mask file; lensloc reads .safetensors and .npy.")


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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise LensLocError(
            f"{path} is not a readable .safetensors file (truncated, or of another format: "
            f"{error}); write the mask again."
        ) from error
    if "mask" not in tensors or "provenance" not in metadata:
        raise LensLocError(
            f"{path} holds no unit mask of lensloc; it holds {', '.join(tensors) or 'nothing'}."
        )
    return _as_mask(tensors.pop("mask"), path), tensors, metadata


def _read_npy(path: Path) -> Bool[Tensor, "layer unit"]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise LensLocError(
            f"{path} is not a plain .npy array (truncated, or pickled, which is never loaded: "
            f"{error}); export the mask again."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise LensLocError(f"{path} is not an array of 0 and 1.")
    # In the machine's own order of bytes, and of a type that torch has.
    native = array.astype(bool) if ((array == 0) | (array == 1)).all() else array.astype(np.float64)
    return _as_mask(torch.from_numpy(native), path)


def _as_mask(tensor: Tensor, path: Path) -> Bool[Tensor, "layer unit"]:
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise LensLocError(
            f"{path} has shape {tuple(tensor.shape)}; a mask is a non-empty [layer, unit]."
        )
    if not ((tensor == 0) | (tensor == 1)).all():
        raise LensLocError(f"{path} holds other values than 0 and 1, so it is not a mask.")
    return tensor.bool()

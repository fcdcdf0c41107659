"""Tensors and a record in one .safetensors file that knows when it was damaged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lensloc.errors import LensLocError


def packed(kind: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Return the content of a file of this kind; the record is plain JSON data."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(record, ensure_ascii=False, sort_keys=True)
    metadata = {"format": kind, "record": text, "checksum": _checksum(kept, text)}
    return safetensors_bytes(kept, metadata=metadata)


def unpacked(path: Path, kind: str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`packed` made.

    Args:
        path: the file.
        kind: the kind that it should be of.
        what: the kind in words, for errors: "a checkpoint of recording".

    Raises:
        LensLocError: if the file is missing, of another kind, truncated or changed.
    """
    if not path.is_file():
        raise LensLocError(f"There is no file {path}; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise LensLocError(
            f"{path} is damaged or not {what} ({error}); give another file, or move it away."
        ) from error
    if metadata.get("format") != kind:
        raise LensLocError(f"{path} is not {what}; give another file.")
    text = metadata.get("record", "")
    if metadata.get("checksum") != _checksum(tensors, text):
        raise LensLocError(
            f"{path} is damaged (its checksum does not fit its content); restore it, or move it "
            "away and make it again."
        )
    record: dict[str, Any] = json.loads(text)
    return tensors, record


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    digest = xxhash.xxh3_128(record.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()

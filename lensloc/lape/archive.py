"""Tensors and a record in one .safetensors file that knows when it was damaged."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lensloc.display.places import is_file
from lensloc.display.plain_json import loads
from lensloc.errors import LensLocError

_T = TypeVar("_T")


def packed(kind: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Return the content of a file of this kind; the record is plain JSON data."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(record, sort_keys=True)  # ASCII, which holds half a character too
    metadata = {"format": kind, "record": text, "checksum": _checksum(kept, text)}
    return safetensors_bytes(kept, metadata=metadata)


def unpacked(
    path: Path, kind: str, what: str, read: Callable[[dict[str, Tensor], dict[str, Any]], _T]
) -> _T:
    """Read what :func:`packed` made.

    Args:
        path: the file.
        kind: the kind that it should be of, with its version: ``"lensloc.lape.checkpoint/1"``.
        what: the kind in words, for errors: "a checkpoint of recording".
        read: makes of tensors and record what they are of.

    Raises:
        LensLocError: if the file is missing, of another kind or a newer version, truncated or
            changed, or lacks something.
    """
    tensors, record = _content(path, kind, what)
    try:
        return read(tensors, record)
    except LensLocError:
        raise
    except KeyError as error:
        raise LensLocError(
            f"{path} is {what} that lacks {error}; make it again, or give another file."
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        gist = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(
            f"{path} is {what} with something else in it than there should be ({gist}); make it "
            "again, or give another file."
        ) from error


def part_of(record: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """Return a part of a record that is of one of some kinds.

    Raises:
        KeyError: if it is missing.
        TypeError: if it is of another kind.
    """
    found = record[name]
    if type(found) not in kinds:
        raise TypeError(f"{name} is {str(found)[:40]!r}")
    return found


def texts_of(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts in a record.

    Raises:
        KeyError, TypeError: as :func:`part_of`.
    """
    found = part_of(record, name, list)
    if not all(isinstance(text, str) for text in found):
        raise TypeError(f"{name} are not texts")
    return tuple(found)


def _content(path: Path, kind: str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not is_file(path):
        raise LensLocError(f"There is no file {path}; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _require_kind(metadata.get("format", ""), kind, path, what)
            # Copied out of the mapped file, which others may change or cut off later.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = metadata.get("record", "")
        whole = metadata.get("checksum") == _checksum(tensors, text)
        record = loads(text) if whole else None
    except LensLocError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        raise LensLocError(
            f"{path} is damaged or not {what} ({error}); give another file, or move it away."
        ) from error
    if not whole:
        raise LensLocError(
            f"{path} is damaged (its checksum does not fit its content); restore it, or move it "
            "away and make it again."
        )
    if not isinstance(record, dict):
        raise LensLocError(f"{path} is {what} without a record; make it again.")
    return tensors, record


def _require_kind(found: str, kind: str, path: Path, what: str) -> None:
    name, _, version = kind.rpartition("/")
    if found == kind:
        return
    number = found.removeprefix(f"{name}/")
    if number.isascii() and number.isdigit() and len(number) < 10 and int(number) > int(version):
        raise LensLocError(
            f"{path} is {what} of version {number}, and this lensloc reads up to {version}; "
            "install a newer lensloc, or give another file."
        )
    raise LensLocError(f"{path} is not {what}; give another file.")


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    digest = xxhash.xxh3_128(record.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()

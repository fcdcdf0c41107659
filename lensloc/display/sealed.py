"""Content that knows what it is, in which version, and whether it was damaged; needs no torch.

A sealed ``.safetensors`` has in its metadata ``format`` (``"name/version"``) and ``checksum``, over
all the rest of the file. A sealed record is a JSON object with ``format``, ``checksum`` and
``content``.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from lensloc.display.plain_json import loads
from lensloc.errors import LensLocError

_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # as the library has it


class DamagedError(ValueError):
    """Content that is not as it was written; says in what respect."""


class UnreadableError(DamagedError):
    """Content that cannot be read now, and may be as it was written."""


class NewerError(LensLocError):
    """Content of a version that this lensloc does not know."""


@dataclass(frozen=True)
class Format:
    """What something is, and in which version it is written.

    Attributes:
        name: e.g. ``"lensloc.UnitMask"``.
        version: the one that is written; older ones are read.
    """

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def version_of(self, text: object) -> int:
        """Return the version of something of this format.

        Raises:
            DamagedError: if it is of another format.
            NewerError: if it is of a later version.
        """
        name, _, number = str(text).rpartition("/")
        if name != self.name or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise DamagedError(f"its format is {str(text)[:60]!r}, not {self.name}")
        if int(number) > self.version:
            raise NewerError(
                f"it is of version {int(number)} of {self.name}, and this lensloc reads up to "
                f"{self.version}; install a newer lensloc, or give another file"
            )
        return int(number)


# -- safetensors -----------------------------------------------------------------------------------


def sealed_tensors(content: bytes) -> bytes:
    """Return the content of a ``.safetensors`` file with its checksum in its metadata."""
    header, start = _header(content)
    metadata = dict(header.get("__metadata__") or {})
    metadata.pop("checksum", None)
    header["__metadata__"] = metadata
    metadata["checksum"] = _of_tensors(header, content, start)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text + content[start:]


def checked_tensors(content: bytes) -> dict[str, str]:
    """Return the metadata of a ``.safetensors`` file, if it is as it was sealed.

    One that has no checksum, as files of others and of older versions, is not looked at.

    Raises:
        DamagedError: if it is not, or is no such file.
    """
    header, start = _header(content)
    metadata = header.get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise DamagedError("its metadata is no table of texts")
    known = metadata.get("checksum")
    if known is not None and known != _of_tensors(header, content, start):
        raise DamagedError("its checksum does not fit its content")
    return metadata


def metadata_of(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Return the metadata of a ``.safetensors`` file and the names in it, without reading the rest.

    Nothing is checked but that there is a header.

    Raises:
        DamagedError: if the file has none.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH.size)
            n_bytes = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            content = start + file.read(n_bytes if n_bytes <= _LONGEST_HEADER else 0)
    except OSError as error:
        raise DamagedError(f"it cannot be read ({error.strerror or error})") from error
    header, _ = _header(content)
    metadata = header.get("__metadata__")
    return metadata if isinstance(metadata, dict) else {}, set(header)


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    if len(content) < _LENGTH.size:
        raise DamagedError(f"it has {len(content)} bytes and no header")
    (n_bytes,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + n_bytes
    if n_bytes > _LONGEST_HEADER or start > len(content):
        raise DamagedError("it is shorter than its header says")
    try:
        header = loads(content[_LENGTH.size : start])
    except ValueError as error:
        raise DamagedError(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise DamagedError("its header is no JSON object")
    return header, start


def _of_tensors(header: Mapping[str, Any], content: bytes, start: int) -> str:
    metadata = {k: v for k, v in header["__metadata__"].items() if k != "checksum"}
    digest = xxhash.xxh3_128(_canonical(dict(header) | {"__metadata__": metadata}))
    digest.update(memoryview(content)[start:])
    return digest.hexdigest()


# -- records ---------------------------------------------------------------------------------------


def sealed_record(form: Format, content: Any) -> bytes:
    """Return plain JSON data as a file; numbers come back bit for bit."""
    sealed = {"format": str(form), "checksum": _of_record(form, content), "content": content}
    return json.dumps(sealed, ensure_ascii=False).encode(errors="surrogatepass")


def checked_record(form: Format, written: bytes) -> Any:
    """Return what was sealed.

    Raises:
        DamagedError: if it is not as it was sealed, or was not sealed; it is None of what is here.
        NewerError: if it is of a later version.
    """
    try:
        record = loads(written)
    except ValueError as error:
        raise DamagedError(f"it is not JSON ({error})") from error
    if not isinstance(record, dict) or not {"format", "checksum", "content"} <= record.keys():
        raise DamagedError("it has no format, checksum and content")
    form.version_of(record["format"])
    if record["checksum"] != _of_record(form, record["content"]):
        raise DamagedError("its checksum does not fit its content")
    return record["content"]


def is_unsealed(written: bytes) -> bool:
    """Say whether a record is a JSON object that was never sealed, as older versions kept them."""
    try:
        record = loads(written)
    except ValueError:
        return False
    return isinstance(record, dict) and not {"format", "checksum", "content"} & record.keys()


def _of_record(form: Format, content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(f"{form.name}\n".encode() + _canonical(content))


def _canonical(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass")


def read_bytes(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        UnreadableError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "memory ran out"
        raise UnreadableError(f"it cannot be read ({reason})") from error

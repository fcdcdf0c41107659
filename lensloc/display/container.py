"""A result as one file: a zip of its JSON, its arrays and its tables, sealed; nothing is pickled.

``result.json`` says what it is, in which version, what made it, and holds the checksum of every
other member; it is sealed itself. ``arrays.safetensors`` and ``tables/*.parquet`` are what their
names say, so that a file can be read without lensloc too. Members are not packed, since a packed
one may be of any size when it is unpacked.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lensloc.display.archives import ZIP_ERRORS, zip_fault
from lensloc.display.encoding import Decoder, Encoder, Parts, meaning
from lensloc.display.kinds import KINDS, NAMED, TABLE, form_of, kind_of
from lensloc.display.places import is_file
from lensloc.display.plain_json import loads
from lensloc.display.sealed import (
    DamagedError,
    NewerError,
    checked_record,
    read_bytes,
    sealed_record,
)
from lensloc.errors import LensLocError
from lensloc.installed import versions_of

SUFFIX = ".lensloc"
_RESULT, _ARRAYS, _TABLES, _FILES = "result.json", "arrays.safetensors", "tables/", "files/"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content is the same file
_PREFIX = "lensloc."


@dataclass(frozen=True)
class Written:
    """A result as a file.

    Attributes:
        content: of the file.
        identity: a hash of what it says, without what differs from run to run.
    """

    content: bytes
    identity: str


def kind_in_words(value: Any) -> str | None:
    """Return what kind of file a value is kept in; None if it cannot be kept."""
    kind = kind_of(value)
    if kind is not None:
        return kind
    if isinstance(value, Mapping):
        return NAMED
    return TABLE if type(value).__name__ == "DataFrame" else None


def packed(value: Any) -> Written:
    """Return a result as a file.

    Raises:
        LensLocError: for what cannot be kept.
    """
    kind = kind_in_words(value)
    if kind is None:
        raise LensLocError(
            f"Something of type {type(value).__name__} cannot be kept; give a result, a table, or "
            "a dictionary of them."
        )
    encoder = Encoder()
    node = encoder.node(dict(value) if kind == NAMED else value, kind)
    members = _members(encoder.parts)
    checksums = {name: xxhash.xxh3_128_hexdigest(found) for name, found in members.items()}
    said = json.dumps([meaning(node), checksums], sort_keys=True)
    identity = xxhash.xxh3_128_hexdigest(said.encode())
    record = {
        "what": str(value).splitlines()[0][:300] if kind in KINDS else kind,
        "made_with": versions_of(),
        "identity": identity,
        "members": checksums,
        "value": node,
    }
    members = {_RESULT: sealed_record(form_of(kind), record), **members}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, found in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), found)
    return Written(buffer.getvalue(), identity)


def _members(parts: Parts) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if parts.arrays:
        from safetensors.numpy import save  # not before it is needed

        found[_ARRAYS] = save(parts.arrays)
    found |= {f"{_TABLES}{name}.parquet": table for name, table in parts.tables.items()}
    return found | {f"{_FILES}{name}": content for name, content in parts.files.items()}


# -- reading ---------------------------------------------------------------------------------------


def unpacked(path: Path, kind: str | None = None) -> Any:
    """Read what :func:`packed` made.

    Args:
        path: the file.
        kind: the kind that it must be of; any if None.

    Raises:
        LensLocError: if there is no such file, or it is damaged, of another kind, of a version
            that this lensloc does not know, or no result at all.
    """
    try:
        found, record, members = _opened(path)
        if kind is not None and found != kind:
            raise LensLocError(
                f"{path} holds {_in_words(found)}, and not a {kind}; read it with ll.load."
            )
        return Decoder(_parts(record, members)).value(record["value"])
    except NewerError as error:
        raise LensLocError(f"{path} cannot be read: {error}.") from error
    except LensLocError:
        raise
    except DamagedError as error:
        raise LensLocError(f"{path} is damaged ({error}); restore it, or make it again.") from error
    except Exception as error:  # whatever is raised of fields that are none
        gist = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise LensLocError(
            f"{path} holds something else than there should be ({gist}); make it again."
        ) from error


def identity_in(path: Path) -> str | None:
    """Return the identity of what a file holds; None if it cannot be read."""
    try:
        return str(_opened(path)[1]["identity"])
    except (LensLocError, DamagedError, KeyError, TypeError):
        return None


def is_container(start: bytes) -> bool:
    """Say whether a file that begins so may be one of these."""
    return start.startswith(b"PK")


def _in_words(kind: str) -> str:
    return {TABLE: "a table", NAMED: "several results"}.get(kind, f"a {kind}")


def _opened(path: Path) -> tuple[str, dict[str, Any], dict[str, bytes]]:
    """Return the kind of a file, its record, and its other members.

    Raises:
        DamagedError, NewerError, LensLocError: if it is none.
    """
    if not is_file(path):
        what = "is a folder; name a file in it" if path.is_dir() else "does not exist"
        raise LensLocError(f"{path} {what}; check the path.")
    members = _unzipped(path)
    if _RESULT not in members:
        raise LensLocError(f"{path} holds no result of lensloc; give a file that .save wrote.")
    written = members.pop(_RESULT)
    try:
        form = loads(written)["format"]
        name = str(form).rpartition("/")[0]
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError("its result.json is none") from error
    kind = name.removeprefix(_PREFIX)
    if not name.startswith(_PREFIX) or kind not in {*KINDS, TABLE, NAMED}:
        raise LensLocError(
            f"{path} holds a {kind[:60]!r}, which this lensloc does not know; install a newer one."
        )
    record = checked_record(form_of(kind), written)
    if not isinstance(record, dict) or not {"value", "members", "identity"} <= record.keys():
        raise DamagedError("it lacks what it holds")
    return kind, record, members


def _unzipped(path: Path) -> dict[str, bytes]:
    content = read_bytes(path)
    if not is_container(content):
        raise LensLocError(f"{path} holds no result of lensloc; give a file that .save wrote.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(content):
                    raise DamagedError(f"{member.filename[:60]} is packed, as no result is")
            return {member.filename: archive.read(member) for member in archive.infolist()}
    except ZIP_ERRORS as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(zip_fault(error)) from error


def _parts(record: Mapping[str, Any], members: Mapping[str, bytes]) -> Parts:
    """Return the parts of a result, each as it was written.

    Raises:
        DamagedError: if one is not, or is missing, or there is one too many.
    """
    known = record["members"]
    if known.keys() != members.keys():
        raise DamagedError("its members are not those that it had")
    for name, content in members.items():
        if xxhash.xxh3_128_hexdigest(content) != known[name]:
            raise DamagedError(f"the checksum of {name} does not fit its content")
    parts = Parts()
    for name, content in members.items():
        if name == _ARRAYS:
            from safetensors.numpy import load

            parts.arrays = {key: np.array(value) for key, value in load(content).items()}
        elif name.startswith(_TABLES):
            parts.tables[name.removeprefix(_TABLES).removesuffix(".parquet")] = content
        else:
            parts.files[name.removeprefix(_FILES)] = content
    return parts

"""What is in the cache: listed, verified, cleared; needs no torch.

Only what lensloc makes is listed, so that nothing else is ever removed.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import xxhash

from lensloc.display.files import is_temporary, remove_orphans
from lensloc.display.plain_json import loads
from lensloc.display.sealed import (
    DamagedError,
    NewerError,
    checked_record,
    checked_tensors,
    is_unsealed,
    read_bytes,
)
from lensloc.models.cache import cache_folder
from lensloc.results.kept_formats import ASIDE, MAP, RECORD

Kind = Literal["map", "score", "model", "checkpoint", "download", "set aside", "leftover"]
KINDS: tuple[str, ...] = get_args(Kind)
State = Literal["whole", "damaged", "unchecked"]

_STORES = ("results", "studies")
_NAME = re.compile(r"[0-9a-f]{32}\.(safetensors|json)")
_ASIDE = re.compile(r"[0-9a-f]{32}\.(safetensors|json)" + re.escape(ASIDE) + r"(-\d+)?")
_DONE = "lensloc.json"
_CHUNK = 2**22


@dataclass(frozen=True)
class Entry:
    """A thing in the cache.

    Attributes:
        path: the file or folder.
        kind: what it is: a ``map`` or a ``score`` that was computed, a bundled ``model`` or the
            plain ``checkpoint`` of a ``.gguf`` file, a ``download`` that a user put there, what was
            damaged and ``set aside``, a ``leftover`` of a process that was killed.
        n_bytes: how much it takes.
        modified: when it was made, in seconds since 1970.
    """

    path: Path
    kind: Kind
    n_bytes: int
    modified: float

    def age(self, now: float | None = None) -> float:
        """Return how old it is, in seconds."""
        return max(0.0, (time.time() if now is None else now) - self.modified)

    @classmethod
    def at(cls, path: Path, kind: Kind) -> "Entry":
        """Return what is at a place.

        Raises:
            OSError: if it is gone.
        """
        known = path.lstat()
        files = [path] if not path.is_dir() else [f for f in path.rglob("*") if f.is_file()]
        return cls(path, kind, sum(file.lstat().st_size for file in files), known.st_mtime)


def entries(folder: Path | None = None) -> list[Entry]:
    """Return what is in the cache, by kind and place.

    Args:
        folder: of the cache; the one in use if None.
    """
    found = []
    for path, kind in _paths(cache_folder() if folder is None else folder):
        try:
            found.append(Entry.at(path, kind))
        except OSError:  # another process has removed it
            continue
    return sorted(found, key=lambda entry: (KINDS.index(entry.kind), str(entry.path)))


def verify(entry: Entry) -> tuple[State, str]:
    """Say whether an entry is as it was written, and what is wrong with it in a few words.

    Entries that have no checksum (older versions', downloads) are ``unchecked``.
    """
    try:
        if entry.kind == "map":
            return _verify_map(read_bytes(entry.path))
        if entry.kind == "score":
            return _verify_score(read_bytes(entry.path))
        if entry.kind in ("model", "checkpoint"):
            return _verify_folder(entry.path)
    except NewerError as error:
        return "unchecked", str(error)
    except DamagedError as error:
        return "damaged", str(error)
    if entry.kind == "set aside":
        return "unchecked", "it was damaged, and is used no more"
    return "unchecked", ""


def clear(chosen: list[Entry]) -> tuple[list[Entry], list[tuple[Entry, str]]]:
    """Remove entries.

    Returns:
        Those that were removed, and those that could not be, each with the reason.
    """
    removed: list[Entry] = []
    kept: list[tuple[Entry, str]] = []
    for entry in chosen:
        try:
            if entry.kind == "leftover" and is_temporary(entry.path.name):
                remove_orphans(entry.path.parent)
                if entry.path.exists():
                    kept.append((entry, "it is being written"))
                    continue
            elif entry.path.is_dir() and not entry.path.is_symlink():
                shutil.rmtree(entry.path)
                entry.path.with_suffix(".lock").unlink(missing_ok=True)
            else:
                entry.path.unlink(missing_ok=True)
        except OSError as error:
            kept.append((entry, error.strerror or str(error)))
        else:
            removed.append(entry)
    return removed, kept


def hash_of(path: Path) -> str:
    """Return the hash of a file's content.

    Raises:
        OSError: if it cannot be read.
    """
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while n_read := file.readinto(block):
            digest.update(block[:n_read])
    return digest.hexdigest()


def _paths(folder: Path) -> Iterator[tuple[Path, Kind]]:
    for name in _STORES:
        for path in _in(folder / name):
            if _NAME.fullmatch(path.name):
                yield path, "map" if path.suffix == ".safetensors" else "score"
            elif _ASIDE.fullmatch(path.name):
                yield path, "set aside"
            elif is_temporary(path.name):
                yield path, "leftover"
    for name, kind in (("models", "model"), ("gguf", "checkpoint")):
        for path in _in(folder / name):
            if (path / _DONE).is_file():
                yield path, kind  # type: ignore[misc]
            elif is_temporary(path.name) or (path.is_dir() and path.name.startswith(".")):
                yield path, "leftover"
    for path in _in(folder / "downloads"):
        if path.suffix == ".whl":
            yield path, "download"


def _in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _verify_map(content: bytes) -> tuple[State, str]:
    metadata = checked_tensors(content)
    if not {"format", "checksum", "key"} & metadata.keys():
        return "unchecked", "it was kept by an older version, without a checksum"
    MAP.version_of(metadata.get("format", ""))
    if "checksum" not in metadata:
        raise DamagedError("it has no checksum")
    return "whole", ""


def _verify_score(content: bytes) -> tuple[State, str]:
    if is_unsealed(content):
        return "unchecked", "it was kept by an older version, without a checksum"
    checked_record(RECORD, content)
    return "whole", ""


def _verify_folder(folder: Path) -> tuple[State, str]:
    try:
        record: Any = loads((folder / _DONE).read_bytes())
        files = {str(name): known for name, known in record["files"].items()}
        hashes = record.get("hashes")
        for name, known in files.items():
            path = folder / name
            if isinstance(known, int) and path.stat().st_size != known:
                raise DamagedError(f"{name} has another size than it had")
            known = known if isinstance(known, str) else (hashes or {}).get(name)
            if known is not None and hash_of(path) != known:
                raise DamagedError(f"{name} is not as it was written")
    except OSError as error:
        raise DamagedError(f"{error.filename} cannot be read ({error.strerror})") from error
    except DamagedError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"its {_DONE} cannot be read ({error})") from error
    if hashes is None and any(isinstance(known, int) for known in files.values()):
        return "unchecked", "only the sizes of its files are known, and are right"
    return "whole", ""

"""Results on disk: content-addressed, written whole, read back or made again."""

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as safetensors_bytes

from lensloc.display.disks import reason_of
from lensloc.display.files import remove_orphans, try_folder, write_atomically
from lensloc.display.locks import held
from lensloc.display.places import path_of
from lensloc.display.sealed import (
    DamagedError,
    NewerError,
    UnreadableError,
    checked_record,
    checked_tensors,
    is_unsealed,
    read_bytes,
    sealed_record,
    sealed_tensors,
)
from lensloc.errors import LensLocError
from lensloc.ranks import from_first, rank
from lensloc.results.kept_formats import MAP, RECORD, set_aside
from lensloc.selectivity import Selectivity
from lensloc.units import ragged
from lensloc.units.provenance import Provenance

log = logging.getLogger(__name__)

# The statistics; localizing excludes nothing, so that the rest has its default.
_ARRAYS = [
    field.name
    for field in dataclasses.fields(Selectivity)
    if field.name != "site"
    and field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
]


@dataclass(frozen=True)
class Store:
    """A folder of results, each under the hash of everything that it depends on.

    The log tells whatever is wrong with the folder or what is in it, and what cannot be looked up
    or kept is made again. Damaged entries are set aside under another name. Entries of a newer
    lensloc, and those that cannot be read now, stay. A disk that is full or read-only keeps nothing
    new.
    """

    folder: Path
    _told: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def at(cls, folder: str | Path) -> "Store":
        """Return the store in a folder, which is made if needed.

        Raises:
            LensLocError: if the place is a file, or its name is none.
        """
        found = cls(path_of(folder))
        try:
            try_folder(found.folder)
        except (FileExistsError, NotADirectoryError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LensLocError(
                f"The cache folder (set LENSLOC_CACHE to another) {folder} cannot be written "
                f"({reason}); choose another or free it."
            ) from error
        except OSError as error:
            found._tell_unkept(reason_of(error, found.folder))
        remove_orphans(found.folder)
        return found

    @classmethod
    def of(cls, store: "StoreLike") -> "Store | None":
        """Return the store that was given, or the one in a folder that was named.

        Raises:
            LensLocError: for something else, or a folder that is none.
        """
        if store is None or isinstance(store, cls):
            return store
        if isinstance(store, str | Path):
            return cls.at(store)
        raise LensLocError(
            f"store is a folder, or ll.Store.at(folder); {type(store).__name__} is neither."
        )

    def path(self, key: Mapping[str, Any], suffix: str = ".safetensors") -> Path:
        """Return where what was made under ``key`` is kept."""
        return self.folder / f"{_name_of(_text_of(key))}{suffix}"

    @contextlib.contextmanager
    def making(self, keys: Sequence[Mapping[str, Any]], what: str) -> Iterator[bool]:
        """Hold what is made under some keys, so that other processes wait instead of making it.

        Args:
            keys: of what is made.
            what: the same in words, for those who wait.

        Yields:
            Whether another process was making some of it, so that it is to be looked up again.
        """
        names = sorted({_name_of(_text_of(key)) for key in keys})  # in one order, by all who wait
        places = [self.folder / f".{name}.lock" for name in names]
        with contextlib.ExitStack() as stack:

            def hold() -> bool:
                return any([stack.enter_context(held(place, what)) for place in places])

            yield from_first(hold)  # which holds it for all ranks

    # -- records -------------------------------------------------------------------------------

    def has_record(self, key: Mapping[str, Any]) -> bool:
        """Say whether there is a record under ``key``; it may turn out to be damaged."""
        return from_first(self.path(key, ".json").is_file)

    def load_record(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the record under ``key``; None if there is none that can be used."""
        return from_first(lambda: self._load_record(key))

    def _load_record(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        path = self.path(key, ".json")
        if not path.is_file():
            return None
        try:
            written = read_bytes(path)
            if is_unsealed(written):  # kept by an older version; replaced by what is made now
                return None
            found = checked_record(RECORD, written)
            if found["key"] != _text_of(key):
                raise DamagedError("it was made under another key")
            record = found["record"]
            if not isinstance(record, dict):
                raise DamagedError("it holds no record")
        except (NewerError, UnreadableError) as error:
            self._tell(f"{path} is passed over: {error}")
        except (DamagedError, KeyError, TypeError) as error:
            self._set_aside(path, error)
        else:
            return record
        return None

    def save_record(self, key: Mapping[str, Any], record: Mapping[str, Any]) -> Path | None:
        """Keep plain data under ``key``; numbers come back bit for bit.

        Returns:
            Where; None if it could not be kept, which is told in the log.
        """
        path = self.path(key, ".json")
        content = sealed_record(RECORD, {"key": _text_of(key), "record": dict(record)})
        return self._keep(path, content)

    def discard_record(self, key: Mapping[str, Any], error: Exception) -> None:
        """Set aside a record that turned out to be none of what is kept under such keys."""
        self._set_aside(self.path(key, ".json"), error)

    # -- maps ----------------------------------------------------------------------------------

    def load(
        self, key: Mapping[str, Any], *, shape: tuple[int, int] | None = None
    ) -> tuple[Selectivity, int] | None:
        """Return the map under ``key`` and the number of tokens it took; None if there is none.

        A damaged entry counts as none.

        Args:
            key: what it depends on.
            shape: layers and units per layer that it must have; any if None.
        """
        return from_first(lambda: self._load(key, shape))

    def _load(
        self, key: Mapping[str, Any], shape: tuple[int, int] | None
    ) -> tuple[Selectivity, int] | None:
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            content = read_bytes(path)
            metadata = checked_tensors(content)
            if not {"format", "checksum", "key"} & metadata.keys() and "provenance" in metadata:
                return None  # kept by an older version; replaced by what is made now
            MAP.version_of(metadata.get("format", ""))
            if "checksum" not in metadata:
                raise DamagedError("it has no checksum")
            if metadata["key"] != _text_of(key):
                raise DamagedError("it was made under another key")
            return _map_of(content, metadata, shape)
        except (NewerError, UnreadableError) as error:
            self._tell(f"{path} is passed over: {error}")
        except MemoryError:
            self._tell(f"{path} is passed over: memory ran out")
        except Exception as error:  # of whatever is in it: the map is made again
            self._set_aside(path, error)
        return None

    def save(self, key: Mapping[str, Any], found: Selectivity, n_tokens: int) -> Path | None:
        """Keep a map under ``key``.

        Returns:
            Where; None if it could not be kept, which is told in the log.
        """
        arrays = {name: getattr(found, name).contiguous() for name in _ARRAYS}
        metadata = {
            "format": str(MAP),
            "key": _text_of(key),
            "provenance": found.provenance.to_json(),
            "tokens": str(n_tokens),
        }
        if found.widths is not None:
            metadata["widths"] = ragged.to_text(found.widths)
        content = sealed_tensors(safetensors_bytes(arrays, metadata=metadata))
        return self._keep(self.path(key), content)

    # -- what goes wrong -----------------------------------------------------------------------

    def _keep(self, path: Path, content: bytes) -> Path | None:
        if _is_newer(path):
            return None
        try:
            return write_atomically(path, content)
        except LensLocError as error:
            self._tell_unkept(str(error).rstrip("."))
            return None

    def _set_aside(self, path: Path, error: Exception) -> None:
        if rank() != 0:
            return
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        try:
            place = set_aside(path)
        except OSError:  # of a folder that cannot be written
            log.warning("%s is damaged (%s); making it again", path, reason)
        else:
            log.warning("%s is damaged (%s), set aside as %s; making it again", path, reason, place)

    def _tell_unkept(self, reason: str) -> None:
        self._tell(
            f"the cache {self.folder} keeps nothing new ({reason}); results are given all the same"
            " (LENSLOC_CACHE names another folder)",
            once="unkept",
        )

    def _tell(self, sentence: str, once: str = "") -> None:
        if (once or sentence) not in self._told:
            self._told.add(once or sentence)
            log.warning("%s", sentence)


StoreLike = Store | str | Path | None
"""A store, or the folder of one; None for no store."""


def _text_of(key: Mapping[str, Any]) -> str:
    """Return a key as a text in ASCII, which holds half a character too.

    Raises:
        LensLocError: if something in it is no plain data.
    """
    try:
        return json.dumps(key, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise LensLocError(
            f"What a result depends on is no plain data ({error}), so a store cannot know it; give "
            "settings of texts, whole numbers, float, bool, lists and dictionaries."
        ) from error


def _name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _map_of(
    content: bytes, metadata: Mapping[str, str], shape: tuple[int, int] | None
) -> tuple[Selectivity, int]:
    """Read a map.

    Raises:
        DamagedError: if its arrays are not of one shape, or of another than they must be.
        Exception: whatever is raised of what is no map.
    """
    found = tensors_of(content)
    arrays: dict[str, Any] = {name: found[name] for name in _ARRAYS}
    kinds = {(tuple(array.shape), array.dtype) for array in arrays.values()}
    if len(kinds) > 1 or next(iter(kinds))[1] is not torch.float64 or arrays["t"].ndim != 2:
        raise DamagedError("its arrays are not all numbers of one shape")
    if shape is not None and tuple(arrays["t"].shape) != shape:
        raise DamagedError(f"it is of {tuple(arrays['t'].shape)} units, and not of {shape}")
    made = Provenance.from_json(metadata["provenance"])
    widths = ragged.from_text(metadata.get("widths"))
    return (
        Selectivity(site=made.site, provenance=made, widths=widths, **arrays),
        int(metadata["tokens"]),
    )


def _is_newer(path: Path) -> bool:
    """Say whether a file is one that a newer lensloc keeps, which must stay."""
    if not path.is_file():
        return False
    try:
        content = read_bytes(path)
        if path.suffix == ".json":
            checked_record(RECORD, content)
        else:
            MAP.version_of(checked_tensors(content).get("format", ""))
    except NewerError:
        return True
    except DamagedError:
        return False
    return False

"""Results on disk: content-addressed, written whole, read back or made again."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from lensloc.display.files import require_writable_folder, write_atomically
from lensloc.errors import LensLocError
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
    """A folder of results, each under the hash of everything that it depends on."""

    folder: Path

    @classmethod
    def at(cls, folder: str | Path) -> "Store":
        """Return the store in a folder, which is made if needed.

        Raises:
            LensLocError: if the folder cannot be written.
        """
        return cls(
            require_writable_folder(Path(folder), "The cache folder (set LENSLOC_CACHE to another)")
        )

    @classmethod
    def of(cls, store: "StoreLike") -> "Store | None":
        """Return the store that was given, or the one in a folder that was named.

        Raises:
            LensLocError: for something else, or a folder that cannot be written.
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
        text = json.dumps(key, sort_keys=True, ensure_ascii=False)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{suffix}"

    def has_record(self, key: Mapping[str, Any]) -> bool:
        """Say whether there is a record under ``key``; it may turn out to be damaged."""
        return self.path(key, ".json").is_file()

    def load_record(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the record under ``key``; None if there is none, or it is damaged."""
        path = self.path(key, ".json")
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            log.warning("%s is damaged (%s); making it again", path, error)
            return None
        return record if isinstance(record, dict) else None

    def save_record(self, key: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
        """Keep plain data under ``key``; numbers come back bit for bit.

        Raises:
            LensLocError: if the folder cannot be written.
        """
        content = json.dumps(record, ensure_ascii=False).encode()
        return write_atomically(self.path(key, ".json"), content)

    def load(self, key: Mapping[str, Any]) -> tuple[Selectivity, int] | None:
        """Return the map under ``key`` and the number of tokens it took; None if there is none.

        A damaged entry counts as none.
        """
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            made = Provenance.from_json(metadata["provenance"])
            widths = ragged.from_text(metadata.get("widths"))
            found = Selectivity(site=made.site, provenance=made, widths=widths, **arrays)
            return found, int(metadata["tokens"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s); making it again", path, error)
            return None

    def save(self, key: Mapping[str, Any], found: Selectivity, n_tokens: int) -> Path:
        """Keep a map under ``key``.

        Raises:
            LensLocError: if the folder cannot be written.
        """
        arrays = {name: getattr(found, name).contiguous() for name in _ARRAYS}
        metadata = {"provenance": found.provenance.to_json(), "tokens": str(n_tokens)}
        if found.widths is not None:
            metadata["widths"] = ragged.to_text(found.widths)
        return write_atomically(self.path(key), safetensors_bytes(arrays, metadata=metadata))


StoreLike = Store | str | Path | None
"""A store, or the folder of one; None for no store."""

"""A ``.gguf`` file is made a plain checkpoint once, which is kept in the cache."""

import contextlib
import json
import logging
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
import xxhash

from lensloc.display.disks import disk_fault
from lensloc.display.files import work_folder
from lensloc.display.locks import held
from lensloc.display.plain_json import loads
from lensloc.errors import LensLocError
from lensloc.models.cache import cache_folder, writable_cache_folder
from lensloc.models.cache_entries import hash_of
from lensloc.models.gguf_files import GgufModel, read_gguf

log = logging.getLogger(__name__)

_RECORD = "lensloc.json"
_FORMAT = 1
# Small, so that what was read of one can be freed while the next is read.
_SHARD = "256MB"
_N_SAMPLES, _SAMPLE = 64, 2**14
_SPARE = 2**30


@dataclass(frozen=True)
class Kept:
    """A plain checkpoint that was made of a ``.gguf`` file.

    Attributes:
        folder: where it is.
        quantization: how the weights were stored in the file, as of ``GgufModel``.
        warnings: what a user of the model should know, in sentences.
    """

    folder: Path
    quantization: str
    warnings: tuple[str, ...]


def converted(path: Path) -> Kept | GgufModel:
    """Return the plain checkpoint of a ``.gguf`` file, made the first time.

    It is kept in the cache under what the file holds, in float32, and verified whenever it is
    asked for; one that is damaged is made again. Several processes may call this at once: one does
    the work, the others wait.

    Returns:
        The checkpoint; the model itself where none can be kept, which is told in the log.

    Raises:
        LensLocError: if the file is not a GGUF checkpoint that transformers can read whole.
    """
    try:
        key = _key(path)
    except OSError as error:
        raise LensLocError(f"{path} cannot be read ({error.strerror or error}).") from error
    kept = _intact(cache_folder() / "gguf" / key)
    if kept is not None:
        return kept
    try:
        place = writable_cache_folder("gguf")
        with held(place / f"{key}.lock", f"the plain checkpoint of {path.name}"):
            return _intact(place / key) or _made(path, place, key)
    except (LensLocError, OSError) as error:
        if isinstance(error, LensLocError) and "cannot be written" not in str(error):
            raise
        log.warning("%s is not kept as a plain checkpoint: %s", path, error)
    return read_gguf(path, torch.float32)


def _made(path: Path, place: Path, key: str) -> Kept | GgufModel:
    for leftover in place.glob(f".{key}-*"):  # of an older version that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    found = read_gguf(path, torch.float32)
    n_bytes = sum(p.numel() * p.element_size() for p in found.hf_model.parameters())
    free = shutil.disk_usage(place).free
    if free < n_bytes + _SPARE:
        log.warning(
            "%s is not kept as a plain checkpoint, which takes %.1f GB: %s has %.1f GB left; "
            "set LENSLOC_CACHE to a larger place, or it is converted anew every time",
            *(path, n_bytes / 1e9, place, free / 1e9),
        )
        return found
    try:
        with work_folder(place) as work:
            made = work / "checkpoint"
            found.hf_model.save_pretrained(made, max_shard_size=_SHARD)
            if found.tokenizer is not None:
                found.tokenizer.save_pretrained(made)
            record = {
                "source": str(path.resolve()),
                "quantization": found.quantization,
                "warnings": found.warnings,
                "files": {file.name: hash_of(file) for file in sorted(made.iterdir())},
            }
            (made / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            shutil.rmtree(place / key, ignore_errors=True)
            made.replace(place / key)
    except Exception as error:  # each library has its own for a full disk
        told = disk_fault(error, place) or error
        log.warning("%s is not kept as a plain checkpoint: %s", path, told)
        return found
    _forget_others(place, place / key, record["source"])
    return Kept(place / key, found.quantization, found.warnings)


def _intact(folder: Path) -> Kept | None:
    """Return what is kept in a folder, if every file of it is as it was written."""
    try:
        record = loads((folder / _RECORD).read_text(encoding="utf-8"))
        if all(hash_of(folder / name) == known for name, known in record["files"].items()):
            return Kept(folder, record["quantization"], tuple(record["warnings"]))
    except FileNotFoundError:
        if not folder.exists():
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("%s: %s", folder, error)
    log.warning("the kept checkpoint %s is damaged, and made again", folder)
    return None


def _forget_others(place: Path, kept: Path, source: object) -> None:
    """Remove what was kept of a file before it was changed."""
    for record in place.glob(f"*/{_RECORD}"):
        if record.parent == kept:
            continue
        with contextlib.suppress(OSError, ValueError):
            if loads(record.read_text(encoding="utf-8")).get("source") == source:
                shutil.rmtree(record.parent, ignore_errors=True)
                record.parent.with_suffix(".lock").unlink(missing_ok=True)


def _key(path: Path) -> str:
    """Return what a file is known by: its size, its date, samples of it, and who reads it."""
    known = path.stat()
    versions = [metadata.version(name) for name in ("transformers", "gguf")]
    about = json.dumps([_FORMAT, known.st_size, known.st_mtime_ns, *versions])
    digest = xxhash.xxh3_128(about.encode())
    with path.open("rb") as file:
        for number in range(_N_SAMPLES):
            file.seek(max(0, known.st_size - _SAMPLE) * number // (_N_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()

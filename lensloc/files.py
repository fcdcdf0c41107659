"""Files written whole or not at all."""

import tempfile
import uuid
from pathlib import Path

from lensloc.errors import LensLocError


def write_atomically(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path`` so that no reader, at any moment, sees half of it.

    Folders on the way are made. A file that was there is replaced only once the new one is
    complete.

    Raises:
        LensLocError: if the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise LensLocError(f"{path} cannot be written ({error.strerror}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def require_writable_folder(folder: Path, what: str) -> Path:
    """Make ``folder`` if needed and check that files can be made in it.

    Raises:
        LensLocError: if they cannot; ``what`` names the folder's role, e.g. "The cache folder".
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LensLocError(
            f"{what} {folder} cannot be written ({error.strerror}); choose another or free it."
        ) from error
    return folder

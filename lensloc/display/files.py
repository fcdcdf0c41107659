"""Files written whole or not at all."""

import contextlib
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
    # Its name is short, whatever the file's own is, which may take all that a file system allows.
    temporary = path.with_name(f".lensloc-{uuid.uuid4().hex[:16]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            for above in path.parents:
                if above.exists() and not above.is_dir():
                    raise LensLocError(
                        f"{path} cannot be written, since {above} is a file and no folder."
                    ) from error
        raise LensLocError(f"{path} cannot be written ({_reason(error)}).") from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what is told
            temporary.unlink(missing_ok=True)
    return path


def write_file(path: Path, content: bytes, *, overwrite: bool) -> Path:
    """Write a file for the user, as :func:`write_atomically` does, but no other file over it.

    A file of just this content is left as it is.

    Args:
        path: where.
        content: what.
        overwrite: whether a file that is there may be replaced.

    Raises:
        LensLocError: if the place cannot be written, or another file is there and must stay.
    """
    if not overwrite and _exists(path):
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return path
        require_free(path, overwrite=False)
    return write_atomically(path, content)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written to a place, before what it is to hold is computed.

    Raises:
        LensLocError: if there is a file that must not be replaced.
    """
    if not overwrite and _exists(path):
        raise LensLocError(
            f"{path} exists; say overwrite=True (--overwrite on the command line) to replace it, "
            "or choose another name."
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, say
        raise LensLocError(f"{path} cannot be written ({_reason(error)}).") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


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
            f"{what} {folder} cannot be written ({_reason(error)}); choose another or free it."
        ) from error
    return folder

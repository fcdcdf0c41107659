"""Files written whole or not at all, of which a writer that was killed leaves nothing for long."""

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lensloc.display.disks import reason_of
from lensloc.errors import LensLocError
from lensloc.ranks import rank

fcntl: Any
try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where what is open cannot be removed anyway
    fcntl = None

_RESCUING: ContextVar[bool] = ContextVar("whether what cannot be written is kept", default=False)

# What is being written, and the locks of what is being made.
_TEMPORARY = re.compile(r"\.lensloc-[0-9a-f]{16}|\.[0-9a-f]{32}\.lock")


def write_atomically(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path`` so that no reader, at any moment, sees half of it.

    Folders on the way are made. A file that was there is replaced only once the new one is
    complete. What writers that were killed left in the folder is removed.

    Raises:
        LensLocError: if the place cannot be written.
    """
    if rank() != 0:  # the same is written by rank 0
        return path
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent)
        reached("begun", path)
        temporary, file = _own_file(path.parent)
        reached("made", path)
        with os.fdopen(file, "wb") as stream:
            half = memoryview(content)[: len(content) // 2]
            stream.write(half)
            reached("half written", path)
            stream.write(memoryview(content)[len(half) :])
            stream.flush()
            reached("written", path)
            if fcntl is not None:
                temporary.replace(path)
        if fcntl is None:  # pragma: no cover
            temporary.replace(path)
        reached("replaced", path)
    except (OSError, ValueError) as error:  # of names that no file can have
        with contextlib.suppress(OSError):
            for above in path.parents:
                if above.exists() and not above.is_dir():
                    raise LensLocError(
                        f"{path} cannot be written, since {above} is a file and no folder."
                    ) from error
        raise LensLocError(f"{path} cannot be written ({reason_of(error, path)}).") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # what went wrong before is what is told
                temporary.unlink(missing_ok=True)
    return path


def reached(step: str, path: Path) -> None:
    """Do nothing; tests stand in for it, and interrupt a writer at this step."""


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
    if not overwrite and rank() == 0 and _exists(path):
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return path
        require_free(path, overwrite=False)
    try:
        return write_atomically(path, content)
    except LensLocError as error:
        place = _rescued(path, content) if _RESCUING.get() else None
        if place is None:
            raise
        raise LensLocError(
            f"{str(error).rstrip('.')}; what was to be there is in {place} instead."
        ) from error


@contextlib.contextmanager
def rescuing() -> Iterator[None]:
    """Write what :func:`write_file` cannot write to its place to the system's for what passes.

    For commands, whose results would be lost with them. They are told where it is.
    """
    before = _RESCUING.set(True)
    try:
        yield
    finally:
        _RESCUING.reset(before)


def _rescued(path: Path, content: bytes) -> Path | None:
    place = Path(tempfile.gettempdir()) / f"lensloc-{uuid.uuid4().hex[:8]}-{path.name[-100:]}"
    try:
        return write_atomically(place, content)
    except LensLocError:
        return None


def require_free(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written to a place, before what it is to hold is computed.

    Raises:
        LensLocError: if there is a file that must not be replaced.
    """
    if not overwrite and rank() == 0 and _exists(path):
        raise LensLocError(
            f"{path} exists; say overwrite=True (--overwrite on the command line) to replace it, "
            "or choose another name."
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, say
        raise LensLocError(f"{path} cannot be written ({reason_of(error, path)}).") from error


def require_writable_folder(folder: Path, what: str) -> Path:
    """Make ``folder`` if needed and check that files can be made in it.

    Raises:
        LensLocError: if they cannot; ``what`` names the folder's role, e.g. "The cache folder".
    """
    try:
        try_folder(folder)
    except (OSError, ValueError) as error:
        raise LensLocError(
            f"{what} {folder} cannot be written ({reason_of(error, folder)}); choose another or "
            "free it."
        ) from error
    return folder


def try_folder(folder: Path) -> None:
    """Make a folder if needed, and a file in it that is gone at once.

    Raises:
        OSError: if it cannot be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextlib.contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Make a folder to work in, beside what will be made of it; it is gone afterwards.

    What others that were killed left in ``parent`` is removed.

    Raises:
        OSError: if it cannot be made.
    """
    remove_orphans(parent)
    work, lock = _own_folder(parent)
    reached("folder made", work)
    try:
        yield work
    finally:
        reached("folder filled", work)
        shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_orphans(folder: Path) -> list[Path]:
    """Remove what writers that were killed left in a folder; return what was removed.

    A writer holds a lock on what it writes, which the system takes away when its process ends.
    """
    removed = []
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if is_temporary(entry.name):
                with contextlib.suppress(OSError), _abandoned(entry.path):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        Path(entry.path).unlink()
                    removed.append(Path(entry.path))
    return removed


def is_temporary(name: str) -> bool:
    """Say whether a file or folder of this name is one that is being written."""
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def _abandoned(path: str) -> Iterator[None]:
    """Lock what nobody is writing, until it is removed.

    Raises:
        OSError: if it is being written, or the file system has no locks.
    """
    if fcntl is None:  # pragma: no cover - what is open cannot be removed there
        yield
        return
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


# The names are short, whatever the file's own is, which may take all that a file system allows.


def _own_file(folder: Path) -> tuple[Path, int]:
    """Make a file that no other writer takes for an orphan; return it, open."""
    while True:
        path = folder / f".lensloc-{uuid.uuid4().hex[:16]}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if _locked(file):
            return path, file
        os.close(file)


def _own_folder(parent: Path) -> tuple[Path, int | None]:
    while True:
        path = parent / f".lensloc-{uuid.uuid4().hex[:16]}"
        path.mkdir()
        if fcntl is None:  # pragma: no cover
            return path, None
        with contextlib.suppress(FileNotFoundError):  # taken for an orphan before it was locked
            file = os.open(path, os.O_RDONLY)
            if _locked(file):
                return path, file
            os.close(file)


def _locked(file: int) -> bool:
    """Lock what was just made; return false if another writer removed it before that."""
    if fcntl is None:  # pragma: no cover
        return True
    with contextlib.suppress(OSError):  # a file system without locks, where nothing is removed
        fcntl.flock(file, fcntl.LOCK_EX)
    return os.fstat(file).st_nlink > 0

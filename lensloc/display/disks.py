"""What a disk says when it does not take a file, in words, wherever a library wraps it."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lensloc.errors import LensLocError

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# Libraries that write by themselves leave the system's own words, or the number of the error.
_FULL_WORDS = re.compile(
    r"no space left|disk quota exceeded|storagefull|not enough space on the disk|"
    r"(os error|code:?|errno) ?(28|122)\b",
    re.IGNORECASE,
)
_READ_ONLY_WORDS = re.compile(r"read-only file ?system|readonlyfilesystem", re.IGNORECASE)


def reason_of(error: OSError | ValueError, path: Path) -> str:
    """Return in words why a file could not be written.

    Args:
        error: what the system raised; a ValueError of a name that no file can have.
        path: what was to be written.
    """
    found = getattr(error, "strerror", None) or str(error) or type(error).__name__
    told = disk_fault(error, path)
    return found if told is None else f"{found}: {told}"


def disk_fault(error: BaseException, path: Path) -> str | None:
    """Say that a disk is full or read-only, if that is behind an error; None if it is not.

    Args:
        error: of any library; what it was raised from is looked at too.
        path: what was written, or a folder of it.
    """
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        text = str(each)
        if number in _FULL or _FULL_WORDS.search(text):
            return f"the disk of {_disk(path)} is full, so make room or choose another place"
        if number == errno.EROFS or _READ_ONLY_WORDS.search(text):
            return f"the disk of {_disk(path)} is read-only, so choose another place"
    return None


@contextlib.contextmanager
def disk_told(what: str, path: Path) -> Iterator[None]:
    """Say in a sentence that a disk does not take what is written; leave other errors as they are.

    Args:
        what: what cannot be done then: "The model x cannot be kept".
        path: where it is written.

    Raises:
        LensLocError: if a full or read-only disk is behind an error.
    """
    try:
        yield
    except LensLocError:
        raise
    except Exception as error:  # each library has its own
        told = disk_fault(error, path)
        if told is None:
            raise
        raise LensLocError(f"{what}: {told}.") from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _disk(path: Path) -> Path:
    """Return where the file system begins that a file is to be on."""
    found = Path(os.path.abspath(path))  # noqa: PTH100  # no link is to be followed
    try:
        while not found.exists() and found != found.parent:
            found = found.parent
        while not found.is_mount() and found != found.parent:
            found = found.parent
    except OSError:
        return path
    return found

"""What stands at a path, wherever the system can say it."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any

from lensloc.errors import LensLocError

# pathlib's own questions answer "no" to every error from Python 3.14 on.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)


def path_of(given: Any, name: str = "path") -> Path:
    """Return what names a file or folder as a path, with the home folder in place of ``~``.

    Args:
        given: a text or a path.
        name: of the argument.

    Raises:
        LensLocError: if it is neither.

    Example:
        >>> path_of("mine.csv").suffix, path_of("~/mine.csv") == Path.home() / "mine.csv"
        ('.csv', True)
    """
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
        raise LensLocError(
            f"The {name} of a file or folder is needed, as a text; something of type "
            f"{type(given).__name__} is none."
        )
    path = Path(given)
    with contextlib.suppress(RuntimeError):  # of a user whom there is not
        path = path.expanduser()
    return path


def is_file(path: Path) -> bool:
    """Say whether there is a file.

    Raises:
        LensLocError: if the system cannot say it: of a name that is too long, or in a folder that
            may not be entered.
    """
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Say whether there is a folder.

    Raises:
        LensLocError: as :func:`is_file`.
    """
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Return what is at a path, as the system says it; 0 if there is nothing."""
    try:
        return path.stat().st_mode
    except ValueError:  # of a name that no file can have
        return 0
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise LensLocError(
            f"{path} cannot be looked up ({error.strerror or error}); check the path."
        ) from error

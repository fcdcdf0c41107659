"""What stands at a path, wherever the system can say it."""

from collections.abc import Callable
from pathlib import Path

from lensloc.errors import LensLocError


def is_file(path: Path) -> bool:
    """Say whether there is a file.

    Raises:
        LensLocError: if the system cannot say it: of a name that is too long, or in a folder that
            may not be entered.
    """
    return _asked(path, path.is_file)


def is_folder(path: Path) -> bool:
    """Say whether there is a folder.

    Raises:
        LensLocError: as :func:`is_file`.
    """
    return _asked(path, path.is_dir)


def _asked(path: Path, ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError as error:
        raise LensLocError(
            f"{path} cannot be looked up ({error.strerror or error}); check the path."
        ) from error

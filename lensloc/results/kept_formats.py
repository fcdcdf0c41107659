"""How results are kept: their formats, and where damaged ones go; needs no torch."""

import itertools
from pathlib import Path

from lensloc.display.sealed import Format

MAP = Format("lensloc.Selectivity", 1)
RECORD = Format("lensloc.record", 1)
ASIDE = ".damaged"


def set_aside(path: Path) -> Path:
    """Rename a file, so that it is looked up no more, and is not lost.

    Returns:
        Where it is now.

    Raises:
        OSError: if it cannot be renamed.
    """
    for number in itertools.count(1):
        place = path.with_name(f"{path.name}{ASIDE}" + (f"-{number}" if number > 1 else ""))
        if not place.exists():
            return path.replace(place)
    raise AssertionError

"""Any result -> one file. Loads nothing before it is called, since it is there from the start."""

from pathlib import Path
from typing import Any


def save(found: Any, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a result, a table, or several of them by name, to one file; :func:`load` reads it.

    Args:
        found: a result; a DataFrame, as :func:`lensloc.compare_granularities` returns; or a
            dictionary of results or tables, as :func:`lensloc.attribute` returns for several sites.
        path: the file; its name ends in ``.lensloc``.
        overwrite: replace a file that is there. The same content, made at another time, is no other
            one.

    Raises:
        LensLocError: for what cannot be kept, another suffix, or a place that cannot be written or
            is taken.
    """
    from lensloc.display.places import path_of
    from lensloc.display.savable import write_result

    return write_result(found, path_of(path), overwrite=overwrite)

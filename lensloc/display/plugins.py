"""Plug-ins: what installed packages offer by entry points, found by name and loaded when asked for.

A package names its functions in its ``pyproject.toml``, e.g.::

    [project.entry-points."lensloc.contrasts"]
    chess = "my_package:chess"
"""

from importlib import metadata
from typing import Any

from lensloc.errors import LensLocError

TASKS, CONTRASTS = "lensloc.tasks", "lensloc.contrasts"


def plugin_names(group: str) -> list[str]:
    """Return the names of what installed packages offer; none of them is loaded."""
    return sorted({point.name for point in metadata.entry_points(group=group)})


def plugin(group: str, name: str) -> Any:
    """Return what a package offers under a name.

    Raises:
        KeyError: if there is nothing of that name.
        LensLocError: if it cannot be loaded, or two packages offer it.
    """
    found = list(metadata.entry_points(group=group, name=name))
    if not found:
        raise KeyError(name)
    if len({point.value for point in found}) > 1:
        raise LensLocError(
            f"Several packages offer {name!r} of {group} "
            f"({', '.join(map(_package, found))}); uninstall one of them."
        )
    try:
        return found[0].load()
    except Exception as error:  # of whatever is in the package
        raise LensLocError(
            f"The plug-in {name!r} of {group} ({_package(found[0])}) cannot be loaded "
            f"({gist(error)}); install it again, or tell its authors."
        ) from error


def called(group: str, name: str, function: Any, **options: Any) -> Any:
    """Call what a package offers.

    Raises:
        LensLocError: whatever it raises, in a sentence.
    """
    if not callable(function):
        raise LensLocError(
            f"The plug-in {name!r} of {group} is of type {type(function).__name__}, and not a "
            "function; tell its authors."
        )
    try:
        return function(**options)
    except LensLocError:
        raise
    except Exception as error:  # of whatever is in the package
        raise LensLocError(f"The plug-in {name!r} of {group} failed ({gist(error)}).") from error


def gist(error: BaseException) -> str:
    """Return what an exception is and says, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _package(point: metadata.EntryPoint) -> str:
    made = getattr(point, "dist", None)
    return f"{made.name} {made.version}" if made is not None else point.value

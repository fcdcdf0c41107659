"""The bundled contrasts by name, and what can be asked of them: ``ll.contrasts``."""

import builtins

from lensloc.contrasts.bundled import (
    NAMES,
    bundled_folder,
    emotion,
    formal,
    get,
    language,
    languages,
    multiple_demand,
    theory_of_mind,
)

__all__ = [
    "NAMES",
    "bundled_folder",
    "emotion",
    "formal",
    "get",
    "language",
    "languages",
    "list",
    "multiple_demand",
    "theory_of_mind",
]


def list() -> builtins.list[str]:
    """Return the names of the bundled contrasts."""
    return [*NAMES]

"""The bundled contrasts by name, and what can be asked of them: ``ll.contrasts``."""

import builtins

from lensloc.stimuli.bundled import (
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
from lensloc.studies import confound_check

__all__ = [
    "NAMES",
    "bundled_folder",
    "confound_check",
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

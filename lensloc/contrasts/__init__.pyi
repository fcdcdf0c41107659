from .bundled import (
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
from .listing import list

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

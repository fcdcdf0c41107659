from .bundled import (
    NAMES,
    OF_PICTURES,
    bundled_folder,
    emotion,
    formal,
    get,
    language,
    languages,
    multiple_demand,
    theory_of_mind,
)
from .face_pictures import faces
from .listing import list

__all__ = [
    "NAMES",
    "OF_PICTURES",
    "bundled_folder",
    "emotion",
    "faces",
    "formal",
    "get",
    "language",
    "languages",
    "list",
    "multiple_demand",
    "theory_of_mind",
]

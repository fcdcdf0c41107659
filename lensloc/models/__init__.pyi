from .bundled import BUNDLED, BundledModel, fetch, is_ready
from .cache import cache_folder, writable_cache_folder
from .check import ModelCheck, check_model
from .identity import ModelCard
from .loading import BACKENDS, DTYPES, Backend, describe, load_model
from .names import known_names
from .quantized import is_quantized
from .reading import pull_from_hub

__all__ = [
    "BACKENDS",
    "BUNDLED",
    "DTYPES",
    "Backend",
    "BundledModel",
    "ModelCard",
    "ModelCheck",
    "cache_folder",
    "check_model",
    "describe",
    "fetch",
    "is_quantized",
    "is_ready",
    "known_names",
    "load_model",
    "pull_from_hub",
    "writable_cache_folder",
]

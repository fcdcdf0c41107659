"""Models: name, path or model -> a checked model of any kind. Nothing else loads one."""

from lensloc.models.bundled import BUNDLED, BundledModel, fetch, is_ready
from lensloc.models.cache import cache_folder, writable_cache_folder
from lensloc.models.check import ModelCheck, check_model
from lensloc.models.identity import ModelCard
from lensloc.models.load import BACKENDS, DTYPES, Backend, describe, load_model
from lensloc.models.quantized import is_quantized
from lensloc.models.reading import known_names, pull_from_hub

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

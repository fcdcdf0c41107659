"""Where lensloc keeps what it fetched and computed."""

import os
from pathlib import Path
from typing import Literal

import platformdirs

from lensloc.display.files import require_writable_folder

StoreName = Literal["results", "studies", "sweeps"]
"""The stores of the cache: maps, scores of studies, cells of sweeps."""


def cache_folder() -> Path:
    """Return the cache folder: ``LENSLOC_CACHE``, or the platform's place for caches."""
    chosen = os.environ.get("LENSLOC_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("lensloc"))


def store_folder(name: StoreName) -> Path:
    """Return the folder of one of the cache's stores; it need not be there yet."""
    return cache_folder() / name


def writable_cache_folder(*parts: str) -> Path:
    """Return a folder in the cache, made if needed.

    Raises:
        LensLocError: if it cannot be written.
    """
    return require_writable_folder(
        cache_folder().joinpath(*parts), "The cache folder (set LENSLOC_CACHE to another)"
    )

"""Weights are read into memory of their own, one after the other, in place of mapped files.

What is read of a mapped file counts as a process's memory until the last weight of the file was
read: half a model more where a checkpoint in bfloat16 is loaded in float32. Weights that stay in
the mapping are lost, and the process with them, when another process writes the file anew.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import safetensors
from transformers import modeling_utils

_LOCK = threading.RLock()


@contextlib.contextmanager
def unmapped() -> Iterator[None]:
    """Let transformers read ``.safetensors`` files so, for a while, where its version can."""
    with _LOCK:
        own = getattr(modeling_utils, "safe_open", None)
        if own is not safetensors.safe_open:
            yield
            return
        modeling_utils.safe_open = _opened
        try:
            yield
        finally:
            modeling_utils.safe_open = own


def _opened(*arguments: Any, **options: Any) -> Any:
    if options.get("backend") == "mmap":
        options["backend"] = "pread"
    return safetensors.safe_open(*arguments, **options)

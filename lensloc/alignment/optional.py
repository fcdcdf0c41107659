"""Libraries of the extra ``lensloc[alignment]``, imported when first needed."""

from typing import Any

from lensloc import errors


def needed(module: str, purpose: str, install: str = "lensloc[alignment]") -> Any:
    """Import a library that lensloc itself does not depend on; see :func:`lensloc.errors.needed`.

    Raises:
        LensLocError: if it is not installed.
    """
    return errors.needed(module, purpose, install)

"""Libraries of the extra ``lensloc[alignment]``, imported when first needed."""

import importlib
from typing import Any

from lensloc.errors import LensLocError


def needed(module: str, purpose: str, install: str = "lensloc[alignment]") -> Any:
    """Import a library that lensloc itself does not depend on.

    Args:
        module: name of the module, e.g. ``"himalaya.ridge"``.
        purpose: what it is needed for, as the beginning of a sentence.
        install: what brings it.

    Raises:
        LensLocError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LensLocError(
            f"{purpose} needs {module.split('.')[0]}, which is not installed; "
            f'run: pip install "{install}"'
        ) from error

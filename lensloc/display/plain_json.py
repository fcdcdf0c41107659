"""JSON of anyone: what cannot be read is a ValueError, however it is written."""

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: if it is none, holds a number too long for Python, or is nested too deeply.

    Example:
        >>> loads("[1, 2]")
        [1, 2]
        >>> loads("[" * 100_000)
        Traceback (most recent call last):
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None

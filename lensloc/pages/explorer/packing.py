"""Arrays as text."""

import base64
from typing import Any

import numpy as np


def packed(values: "np.ndarray[Any, np.dtype[Any]]", dtype: str) -> str:
    """Return an array's bytes as base64 text."""
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode()

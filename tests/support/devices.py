"""The same calls on two devices: where models go by default, and whether results agree."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import planted_vision
import pytest

from lensloc.models import loading

# Numbers and hashes in sentences, and what pages and figures carry packed.
_PACKED = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_HASH = re.compile(r"\b[0-9a-f]{12,}\b")
_NUMBER = re.compile(r"[-+−]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")


@contextlib.contextmanager
def models_on(device: str) -> Iterator[None]:
    """Let models go to a device where none is named, and modules that tests wrap as well."""
    chosen, made = loading._device, planted_vision.Net
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_device", lambda given: chosen(given or device))
        patch.setattr(planted_vision, "Net", lambda **given: made(**given).to(device))
        yield


def difference(one: Any, other: Any, *, rtol: float = 2e-3, place: str = "") -> str:
    """Say where two fingerprints differ by more than the rounding of another device; or nothing.

    Numbers may differ by a part of themselves, or of the largest beside them; of sentences the
    words must agree, of pages and figures all but the numbers.
    """
    if isinstance(one, float) and isinstance(other, float):
        one, other = np.array(one), np.array(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape:
            return f"{place}: shapes {one.shape} and {other.shape}"
        finite = one[np.isfinite(one)]
        least = rtol * float(np.abs(finite).max()) if finite.size else 0.0
        if np.allclose(one, other, rtol=rtol, atol=max(least, 1e-6), equal_nan=True):
            return ""
        worst = np.nanmax(np.abs(one - other))
        return f"{place}: numbers differ by up to {worst:.3g} (the largest is {least / rtol:.3g})"
    if isinstance(one, tuple) and isinstance(other, tuple):
        if len(one) != len(other):
            return f"{place}: {len(one)} and {len(other)} parts"
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            name = one[0] if number and isinstance(one[0], str) else number
            found = difference(a, b, rtol=rtol, place=f"{place}/{name}")
            if found:
                return found
        return ""
    if isinstance(one, str) and isinstance(other, str):
        return "" if words(one) == words(other) else f"{place}: {one[:80]!r} and {other[:80]!r}"
    if isinstance(one, bytes) and isinstance(other, bytes):
        return "" if len(one) == len(other) else f"{place}: {len(one)} and {len(other)} bytes"
    same = type(one) is type(other) and bool(one == other)
    return "" if same else f"{place}: {one!r} and {other!r}"


def words(text: str) -> str:
    """Return a text without what numbers there are in it."""
    for pattern in (_PACKED, _HASH, _NUMBER):
        text = pattern.sub("#", text)
    return text

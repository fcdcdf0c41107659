"""``.npy`` files of anyone: their header is judged before anything is read or allocated."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from lensloc.errors import LensLocError

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000


def read_npy(path: Path, advice: str, *, mapped: bool = False) -> "np.ndarray[Any, np.dtype[Any]]":
    """Read an array of numbers; nothing in the file is ever unpickled.

    Args:
        path: the file.
        advice: what to do about one that cannot be read: "save the tokens again".
        mapped: leave the numbers in the file, to be read as they are used.

    Raises:
        LensLocError: if it is no ``.npy``, or shorter than its header says; or holds something
            else than numbers, or no complete header.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, path, advice)
            start = file.tell()
        n_bytes = math.prod(shape) * dtype.itemsize
        if path.stat().st_size - start < n_bytes:
            raise LensLocError(
                f"{path} is not a plain .npy array (truncated: {path.stat().st_size - start} bytes "
                f"of the {n_bytes} that its shape {_shape(shape)} needs); {advice}."
            )
        if 0 in shape:
            return np.empty(shape, dtype)
        order: Literal["F", "C"] = "F" if fortran else "C"
        # Mapped, so that no more is read than is used.
        found = np.memmap(path, dtype, "r", start, shape, order)
        return found if mapped else np.array(found, order="K")
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, LensLocError):
            raise
        raise LensLocError(f"{path} cannot be read ({error}); {advice}.") from error


def _header(file: BinaryIO, path: Path, advice: str) -> tuple[tuple[int, ...], bool, Any]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise LensLocError(
            f"{path} is not a plain .npy array (pickled, which is never loaded, or of another "
            f"format); {advice}."
        )
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        readers: dict[tuple[int, int], Callable[..., Any]] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
            (3, 0): _read_header_3,
        }
        shape, fortran, dtype = readers[version](file, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # the header is a Python literal, with all that can be wrong in one
        gist = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        raise LensLocError(
            f"{path} is not a plain .npy array (its header cannot be read: {gist}); {advice}."
        ) from error
    if dtype.kind not in "biufc":
        kind = "of objects, pickled, which are never loaded" if dtype.hasobject else f"of {dtype}"
        raise LensLocError(f"{path} is not a plain .npy array of numbers but one {kind}; {advice}.")
    if any(length < 0 for length in shape) or len(shape) > 32:
        raise LensLocError(f"{path} is an array of shape {_shape(shape)}; {advice}.")
    return shape, fortran, dtype


def _read_header_3(file: BinaryIO, max_header_size: int) -> Any:
    """Read a header as of version 2.0, of which 3.0 differs in names that only records have."""
    return np.lib.format.read_array_header_2_0(file, max_header_size=max_header_size)


def _shape(shape: tuple[int, ...]) -> str:
    words = str(shape)
    return words if len(words) <= 80 else f"{words[:80]}..."

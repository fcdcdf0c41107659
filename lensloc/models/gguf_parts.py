"""Parts of the ``gguf`` package, as transformers uses them, quicker: the same results."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_LOCK = threading.RLock()
_dequantize = gguf.dequantize
# Numbers that are unpacked at once: their steps stay in a processor's cache.
_AT_ONCE = 2**20
_GROUP = 16  # rows that gguf.dequantize takes at once


class QuickReader(gguf.GGUFReader):
    """Parses a file whose bytes are a plain array, which numpy slices quicker than a mapped one."""

    @property
    def data(self) -> Any:
        """The bytes of the file, mapped."""
        return self._bytes

    @data.setter
    def data(self, mapped: Any) -> None:
        self._bytes = np.asarray(mapped)

    def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
        """Return numbers at a place.

        Raises:
            ValueError: if the file ends before them, where the class would return fewer, and go on
                to read nothing as often as the file says.
        """
        end = int(offset) + int(count) * np.dtype(dtype).itemsize
        if int(count) < 0 or end > len(self._bytes):
            raise ValueError(f"it ends at byte {len(self._bytes)}, before what it says it holds")
        return super()._get(int(offset), dtype, count, override_order)


@contextlib.contextmanager
def quick_parts(reader: Any, path: Path) -> Iterator[None]:
    """Let transformers read a file with what was read of it already, for a while.

    It parses a file for every thing that it wants to know of it, makes the map of all names anew
    for every module, and unpacks a few thousand numbers at a time. The parts that stand in for it
    give the same results for any file, so that nothing else in the process is changed by them.

    Args:
        reader: a GGUFReader of the file.
        path: the file.
    """
    whole = path.resolve()

    def read(given: Any, mode: Any = "r") -> Any:
        known = mode == "r" and Path(given).resolve() == whole
        return reader if known else reader_class(given, mode)

    with _LOCK:
        reader_class = gguf.GGUFReader
        parts = {
            "GGUFReader": read,
            "dequantize": unpacked,
            "get_tensor_name_map": functools.lru_cache(maxsize=4)(gguf.get_tensor_name_map),
        }
        own = {name: getattr(gguf, name) for name in parts}
        try:
            for name, part in parts.items():
                setattr(gguf, name, part)
            yield
        finally:
            for name, part in own.items():
                setattr(gguf, name, part)


def unpacked(data: Any, kind: gguf.GGMLQuantizationType) -> Any:
    """Return the numbers of a tensor as ``gguf.dequantize`` does, in large steps.

    Args:
        data: a numpy array of bytes, as the file has them, ``[..., row, byte]``.
        kind: how they are packed.
    """
    n_numbers, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    if n_numbers == 1 or data.ndim < 2 or not data.flags.c_contiguous:
        return _dequantize(data, kind)
    shape = (*data.shape[:-1], data.shape[-1] // n_bytes * n_numbers)
    blocks = data.reshape(-1, n_bytes)
    found = np.empty(len(blocks) * n_numbers, np.float32)
    # Every block is unpacked by itself, so that rows may be as long as one likes.
    row = max(1, _AT_ONCE // n_numbers // _GROUP)
    n_even = len(blocks) // row * row
    step = row * _GROUP
    for start in range(0, n_even, step):
        part = blocks[start : min(start + step, n_even)]
        found[start * n_numbers : (start + len(part)) * n_numbers] = _dequantize(
            part.reshape(-1, row * n_bytes), kind
        ).reshape(-1)
    if n_even < len(blocks):
        found[n_even * n_numbers :] = _dequantize(blocks[n_even:].reshape(1, -1), kind).reshape(-1)
    return found.reshape(shape)

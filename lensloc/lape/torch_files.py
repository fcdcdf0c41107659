"""Torch files of anyone: nothing in them is run, and they are bounded before they are read."""

import io
import math
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch

from lensloc.display.places import is_file
from lensloc.errors import LensLocError

_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of before torch 1.6 begin
_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}  # fmt: skip
_PLAIN = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_MOST_NUMBERS = 10_000_000  # that a file may make of nothing, such as a bytearray


def load_torch(path: Path, what: str) -> Any:
    """Read a torch file of tensors, numbers and containers; anything else in it is never run.

    Args:
        path: the file.
        what: what it should hold, in words, for errors.

    Raises:
        LensLocError: if it is missing, no torch file, or asks for more to be unpickled; if it holds
            tensors that are not plain ones, or larger than what is stored of them.
    """
    if not is_file(path):
        raise LensLocError(f"There is no file {path}; check the path.")
    try:
        _require_bounded(path)
        with warnings.catch_warnings():  # of unusual files, which are read or refused all the same
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except LensLocError:
        raise
    except Exception as error:  # torch and pickle raise of every kind
        if isinstance(error, pickle.UnpicklingError) and "weights only" in str(error).lower():
            raise LensLocError(
                f"{path} asks for more than tensors and numbers to be unpickled, which could run "
                f"code, so it was not read; {what} needs no more: save it again so."
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LensLocError(
            f"{path} is not a readable torch file (truncated, or of another format: {reason}); "
            "fetch or make it again."
        ) from error


def _require_bounded(path: Path) -> None:
    """Look through a file's pickle, of which nothing is imported, for what its tensors take.

    Raises:
        LensLocError: if they would take more than the file holds, or are not plain.
        Exception: whatever pickle and zipfile raise of a damaged file.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            _scan_zip(path, n_bytes)
            return
        file.seek(0)
        scan = _Scan(file, path)
        if scan.load() != _MAGIC:  # nothing that torch wrote, as torch will say
            return
        for _ in range(3):  # protocol, system, content
            scan = _Scan(file, path)
            scan.load()
        if sum(scan.storages.values()) > n_bytes:
            _refuse(path, "its tensors take more bytes than it has")


def _scan_zip(path: Path, n_bytes: int) -> None:
    with zipfile.ZipFile(path) as packed:
        sizes = {entry.filename: entry.file_size for entry in packed.infolist()}
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in packed.infolist())
        if not stored or sum(sizes.values()) > n_bytes:
            _refuse(path, "it is compressed, as torch writes none, and unpacks to more than it has")
        for name in sizes:
            folder, _, last = name.rpartition("/")
            if last != "data.pkl":
                continue
            scan = _Scan(io.BytesIO(packed.read(name)), path)
            scan.load()
            for key, taken in scan.storages.items():
                if taken > sizes.get(f"{folder}/data/{key}", 0):
                    _refuse(path, "its tensors take more bytes than it has")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise LensLocError(f"{path} was not read: {reason}; save plain tensors again.")


class _Storage:
    def __init__(self, n_bytes: int, n_numbers: int) -> None:
        self.n_bytes, self.n_numbers = n_bytes, n_numbers


class _Inert:
    """Stands for whatever a pickle asks for, takes everything, and does nothing."""

    module, name, path = "", "", Path()

    def __new__(cls, *arguments: Any, **_: Any) -> "_Inert":
        if cls.name.startswith("_rebuild_") and cls.name not in _WRAPPERS:
            cls._require_plain(arguments)
        if cls.name in ("bytearray", "bytes", "range", "list") and any(
            isinstance(given, int) and given > _MOST_NUMBERS for given in arguments
        ):
            _refuse(cls.path, f"it makes {arguments[0]} bytes of nothing")
        return object.__new__(cls)

    @classmethod
    def _require_plain(cls, arguments: tuple[Any, ...]) -> None:
        if cls.name not in _PLAIN or not isinstance(arguments[0], _Storage):
            kind = cls.name.removeprefix("_rebuild_").replace("_", " ")
            _refuse(cls.path, f"it holds a tensor that is not a plain one ({kind})")
        storage, _, size = arguments[:3]
        if math.prod(int(length) for length in size) > storage.n_numbers:
            shape = "x".join(str(length)[:20] for length in size[:6])
            _refuse(cls.path, f"a tensor of {shape} numbers repeats the few that are stored of it")

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return self

    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, value: Any) -> None: ...
    def extend(self, values: Any) -> None: ...
    def add(self, value: Any) -> None: ...


# Python's own, whose memory does not grow with the numbers in a pickle.
class _Scan(pickle._Unpickler):
    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file)
        self.storages: dict[str, int] = {}
        self._path = path

    def _load_zeros(self) -> None:
        # Memory of whatever length is said, before a byte of it is read; torch writes none.
        _refuse(self._path, "it holds a bytearray, as torch writes none")

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_zeros}

    def find_class(self, module: str, name: str) -> Any:
        return type("_Inert", (_Inert,), {"module": module, "name": name, "path": self._path})

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, n_numbers = pid[:5]
        if kind.name not in _BYTES or not isinstance(n_numbers, int) or n_numbers < 0:
            _refuse(self._path, f"it holds numbers of an unknown kind ({kind.name})")
        n_bytes = n_numbers * _BYTES[kind.name]
        self.storages[str(key)] = max(n_bytes, self.storages.get(str(key), 0))
        return _Storage(n_bytes, n_numbers)

"""Files of text or tokens -> documents, read as they are needed."""

import codecs
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.lape.counts import load_torch
from lensloc.lape.documents import (
    Corpus,
    Document,
    one_text,
    pieces,
    require_text_column,
    rows_of_tokens,
    sliced,
)

_BLOCK = 2**20
_ROWS_AT_ONCE = 256
_WHOLE_NUMBERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


def open_path(path: Path) -> Corpus:
    """Say how a file or a folder is read, by its suffix.

    Raises:
        LensLocError: if it is missing, or of a kind that is not read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _TEXT_READERS)
        if not files:
            raise LensLocError(
                f"The folder {path} holds no {', '.join(_TEXT_READERS)} file; give another."
            )
        return Corpus(_folder(files))
    if not path.is_file():
        raise LensLocError(
            f"There is no file or folder {path}; check the path, or for a text itself give a list, "
            "[text]."
        )
    if path.suffix in _TEXT_READERS:
        return Corpus(_TEXT_READERS[path.suffix](path))
    if path.suffix in _TOKEN_READERS:
        return _TOKEN_READERS[path.suffix](path)
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":  # published token files are torch's, without a suffix
            return _torch_tokens(path)
    raise LensLocError(
        f"{path} is none of the files that are read: {', '.join((*_TEXT_READERS, *_TOKEN_READERS))}"
        " or a folder of texts."
    )


def _folder(files: list[Path]) -> Iterator[Document]:
    sizes = [file.stat().st_size for file in files]
    total = max(1, sum(sizes))
    for number, file in enumerate(files):
        before = sum(sizes[:number])
        for document in _TEXT_READERS[file.suffix](file):
            within = 0.0 if document.read is None else document.read
            read = (before + within * sizes[number]) / total
            yield dataclasses.replace(document, read=read)


def _read_txt(path: Path) -> Iterator[Document]:
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    size, seen = max(1, path.stat().st_size), 0

    def blocks() -> Iterator[str]:
        nonlocal seen
        with _opened(path) as file:
            while block := file.read(_BLOCK):
                seen += len(block)
                yield _decoded(decode.decode, block, path)
        yield _decoded(lambda last: decode.decode(last, True), b"", path)

    yield from pieces(blocks(), str(path), lambda: seen / size)


def _read_jsonl(path: Path) -> Iterator[Document]:
    for number, line, read in _lines(path):
        if not line.strip():
            continue
        place = f"{path}, row {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LensLocError(f"{place}: not JSON ({error.msg}); correct the line.") from error
        if not isinstance(row, dict):
            raise LensLocError(f"{place}: not a JSON object, so it has no fields; correct it.")
        require_text_column(list(row), place)
        yield from _cell(row["text"], place, read)


def _read_csv(path: Path) -> Iterator[Document]:
    share = 0.0

    def lines() -> Iterator[str]:
        nonlocal share
        for _, line, share in _lines(path):  # noqa: B007
            yield line

    reader = csv.DictReader(lines(), strict=True)
    try:
        require_text_column(list(reader.fieldnames or ()), str(path))
        for row in reader:
            place = f"{path}, row {reader.line_num}"
            if None in row:
                raise LensLocError(
                    f"{place}: more cells than the header has columns; quote cells that contain "
                    "commas."
                )
            yield from _cell(row["text"], place, share)
    except csv.Error as error:
        raise LensLocError(
            f"{path}, row {reader.line_num}: not a readable CSV ({error}); correct it, or save the "
            "texts as .jsonl."
        ) from error


def _read_parquet(path: Path) -> Iterator[Document]:
    # Takes long to import, and only this function needs it.
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        file = pyarrow.parquet.ParquetFile(path)
        require_text_column(list(file.schema_arrow.names), str(path))
        total, number = max(1, file.metadata.num_rows), 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["text"]):
            for text in batch.column(0).to_pylist():
                number += 1
                yield from _cell(text, f"{path}, row {number}", number / total)
    except (pyarrow.ArrowException, OSError) as error:
        raise LensLocError(
            f"{path} is not a readable Parquet file ({error}); fetch or make it again."
        ) from error


def _cell(text: Any, place: str, read: float) -> Iterator[Document]:
    if not isinstance(text, str):
        raise LensLocError(
            f"{place}: its text is of type {type(text).__name__}; correct or remove the row."
        )
    return one_text(text, place, read)


def _lines(path: Path) -> Iterator[tuple[int, str, float]]:
    """Read a UTF-8 file line by line: number, line, share of the file that has been read."""
    size, seen = max(1, path.stat().st_size), 0
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            seen += len(line)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            place = f"{path}, row {number}"
            yield number, _decoded(lambda raw: raw.decode("utf-8"), line, place), seen / size


def _decoded(decode: Callable[[bytes], str], raw: bytes, place: str | Path) -> str:
    try:
        return decode(raw)
    except UnicodeDecodeError as error:
        raise LensLocError(f"{place} is not UTF-8 text; save it as UTF-8.") from error


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise LensLocError(f"{path} cannot be read ({error.strerror}); check it.") from error


def _torch_tokens(path: Path) -> Corpus:
    found = load_torch(path, "a file of tokens")
    if not isinstance(found, Tensor):
        raise LensLocError(
            f"{path} holds something of type {type(found).__name__}, not a tensor of token ids; "
            "save the tensor."
        )
    return rows_of_tokens(found, str(path))


def _npy_tokens(path: Path) -> Corpus:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise LensLocError(
            f"{path} is not a plain .npy array (truncated, or pickled, which is never loaded: "
            f"{error}); save the tokens again."
        ) from error
    return rows_of_tokens(array, str(path))


def _safetensors_tokens(path: Path) -> Corpus:
    try:
        file = safe_open(path, framework="np")
        names = list(file.keys())  # type: ignore[no-untyped-call]
        name = "tokens" if "tokens" in names else names[0] if len(names) == 1 else None
        tokens = None if name is None else file.get_slice(name)  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError, ValueError) as error:
        raise LensLocError(
            f"{path} is not a readable .safetensors file (truncated, or of another format: "
            f"{error}); save the tokens again."
        ) from error
    if tokens is None:
        raise LensLocError(
            f"{path} holds {len(names)} tensors ({', '.join(names)}); save the token ids as the "
            "only one, or name them tokens."
        )
    shape, dtype = tuple(tokens.get_shape()), str(tokens.get_dtype())
    if dtype not in _WHOLE_NUMBERS or len(shape) not in (1, 2):
        raise LensLocError(
            f"{path}: an array of {dtype} of shape {shape}; save whole numbers [token], or "
            "[window, token]."
        )
    return sliced(lambda part: np.asarray(tokens[part]), shape, str(path))


_TEXT_READERS: dict[str, Callable[[Path], Iterator[Document]]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
_TOKEN_READERS: dict[str, Callable[[Path], Corpus]] = {
    ".npy": _npy_tokens,
    ".pt": _torch_tokens,
    ".pth": _torch_tokens,
    ".safetensors": _safetensors_tokens,
}

"""Files of text or tokens -> documents, read as they are needed."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lensloc.contrasts.lines import blocks_of, files_in, kind_of
from lensloc.contrasts.readers import TABLE_KINDS, TableForm, read_rows
from lensloc.display.places import is_file, is_folder
from lensloc.errors import LensLocError
from lensloc.lape.documents import Corpus, Document, one_text, pieces, rows_of_tokens, sliced
from lensloc.lape.torch_files import load_torch
from lensloc.units.npy_files import read_npy

_TEXT_KINDS = (".txt", *TABLE_KINDS)
_WHOLE_NUMBERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


def open_path(path: Path, form: TableForm) -> Corpus:
    """Say how a file or a folder is read, by its suffix.

    Args:
        path: the file or folder.
        form: how files of text are written.

    Raises:
        LensLocError: if it is missing, or of a kind that is not read.
    """
    if is_folder(path):
        return Corpus(_folder(files_in(path, _TEXT_KINDS), form))
    if not is_file(path):
        raise LensLocError(
            f"There is no file or folder {path}; check the path, or for a text itself give a list, "
            "[text]."
        )
    kind = kind_of(path)
    if kind in _TEXT_KINDS:
        return Corpus(_documents(path, form.fitted(path)))
    if kind in _TOKEN_READERS:
        return _TOKEN_READERS[kind](path)
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":  # published token files are torch's, without a suffix
            return _torch_tokens(path)
    raise LensLocError(
        f"{path} is none of the files that are read: {', '.join((*_TEXT_KINDS, *_TOKEN_READERS))}"
        " or a folder of texts."
    )


def _folder(files: list[Path], form: TableForm) -> Iterator[Document]:
    sizes = [file.stat().st_size for file in files]
    total = max(1, sum(sizes))
    for number, file in enumerate(files):
        before = sum(sizes[:number])
        for document in _documents(file, form.fitted(file)):
            within = 0.0 if document.read is None else document.read
            read = (before + within * sizes[number]) / total
            yield dataclasses.replace(document, read=read)


def _documents(path: Path, form: TableForm) -> Iterator[Document]:
    """Read a file of text: a ``.txt`` as one document, a table as one per row."""
    if kind_of(path) == ".txt":
        share = 0.0

        def blocks() -> Iterator[str]:
            nonlocal share
            for block, share in blocks_of(path, form.encoding):  # noqa: B007
                yield block

        yield from pieces(blocks(), str(path), lambda: share)
        return
    for row in read_rows(path, ["text"], form=form):
        yield from one_text(row.cells["text"], f"{path}, row {row.number}", row.read)


def _torch_tokens(path: Path) -> Corpus:
    found = load_torch(path, "a file of tokens")
    if not isinstance(found, Tensor):
        raise LensLocError(
            f"{path} holds something of type {type(found).__name__}, not a tensor of token ids; "
            "save the tensor."
        )
    return rows_of_tokens(found, str(path))


def _npy_tokens(path: Path) -> Corpus:
    array = read_npy(path, "save the tokens again", mapped=True)
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


_TOKEN_READERS: dict[str, Callable[[Path], Corpus]] = {
    ".npy": _npy_tokens,
    ".pt": _torch_tokens,
    ".pth": _torch_tokens,
    ".safetensors": _safetensors_tokens,
}

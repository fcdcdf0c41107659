"""Files of text -> their lines: compression, encodings, and where a byte does not fit."""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lensloc.errors import LensLocError

TEXT_KINDS = (".txt", ".csv", ".tsv", ".jsonl")
"""Suffixes of files that are text, which may be compressed."""

_PACKED: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# Other names of the same kinds.
_ALIASES = {".tab": ".tsv", ".ndjson": ".jsonl", ".text": ".txt", ".pq": ".parquet"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# How files begin that are none of text, whatever they are called, and what to do about them.
_SHEET = "save the sheet that you want as CSV (UTF-8), or read it with pandas"
_SIGNATURES = (
    (b"PK\x03\x04", f"a workbook or another zip archive; of a workbook, {_SHEET}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an old Excel workbook; {_SHEET}"),
    (b"PAR1", "a Parquet file; give its name the suffix .parquet"),
    (b"%PDF-", "a PDF; copy its text into a file of text"),
    (b"\x1f\x8b", "compressed; give its name the suffix .gz behind that of the text"),
    (b"BZh", "compressed; give its name the suffix .bz2 behind that of the text"),
    (b"\xfd7zXZ\x00", "compressed; give its name the suffix .xz behind that of the text"),
)
_SUFFIXES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"), f"; {_SHEET}"),
    ".json": "; write one JSON object per line, as .jsonl",
}
_MARK = "\ufeff"  # which stays where an encoding was named
_BLOCK = 2**20
# What ends a line in a file. Unicode has more line ends, which stand within texts.
_LINE_END = re.compile(r"\r\n|\r|\n")
# What is raised of files that are not compressed as their suffix says.
_NOT_UNPACKED = (EOFError, OSError, zlib.error, lzma.LZMAError)


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: counted from 1.
        text: with its end.
        read: share of the file that has been read with it, about.
    """

    number: int
    text: str
    read: float


# -- names of files --------------------------------------------------------------------------------


def kind_of(path: Path) -> str:
    """Return what kind of file it is: its suffix, in small letters and without compression.

    Example:
        >>> kind_of(Path("Mine.CSV")), kind_of(Path("mine.jsonl.gz")), kind_of(Path("a.parquet"))
        ('.csv', '.jsonl', '.parquet')
    """
    suffix, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    inner = _ALIASES.get(inner, inner)
    if suffix in _PACKED and inner in TEXT_KINDS:
        return inner
    return _ALIASES.get(suffix, suffix)


def remedy_of(path: Path) -> str:
    """Return what to do with a file that cannot be read, as the end of a sentence, if it is known.

    Example:
        >>> remedy_of(Path("mine.json")), remedy_of(Path("mine.docx"))
        ('; write one JSON object per line, as .jsonl', '')
    """
    return _SUFFIXES.get(path.suffix.lower(), "")


def stem_of(path: Path) -> str:
    """Return a file's name without what says of which kind it is.

    Example:
        >>> stem_of(Path("some/mine.csv.gz")), stem_of(Path("a.b.csv"))
        ('mine', 'a.b')
    """
    packed = path.suffix.lower() in _PACKED and Path(path.stem).suffix
    return printable(Path(path.stem).stem if packed else path.stem)


def printable(name: str) -> str:
    """Return a file's name as text that any file can hold, whatever its bytes are."""
    return name.encode(errors="backslashreplace").decode()


def files_in(folder: Path, kinds: Collection[str]) -> list[Path]:
    """Return a folder's files of some kinds, by name, without hidden ones.

    (Other systems leave hidden files beside the true ones: ``._x.csv``, ``.DS_Store``.)

    Raises:
        LensLocError: if the folder cannot be read, or holds none.
    """
    try:
        files = sorted(
            file
            for file in folder.iterdir()
            if not file.name.startswith(".") and kind_of(file) in kinds and file.is_file()
        )
    except OSError as error:
        raise LensLocError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise LensLocError(f"The folder {folder} holds no {', '.join(kinds)} file; check the path.")
    return files


# -- what is in them -------------------------------------------------------------------------------


def read_text(path: Path, encoding: str | None = None) -> str:
    """Read a whole file of text as it is, line ends included, but for a byte order mark.

    Args:
        path: the file, which may be compressed (``.gz``, ``.bz2``, ``.xz``).
        encoding: by name; what a byte order mark says, and UTF-8 without one, if None.

    Raises:
        LensLocError: if the file is missing, unreadable, or not of that encoding.
    """
    return "".join(block for block, _ in blocks_of(path, encoding))


def lines_of(path: Path, encoding: str | None = None) -> Iterator[Line]:
    """Read a file line by line; lines end at ``\\n``, ``\\r\\n`` or ``\\r``, and nowhere else.

    The arguments and errors are those of :func:`read_text`.
    """
    with _opened(path, encoding) as (file, read):
        for number, text in enumerate(file, start=1):
            if number == 1:
                text = text.removeprefix(_MARK)
            if "\0" in text:
                raise LensLocError(_nul(path, number))
            yield Line(number, text, read())


def blocks_of(path: Path, encoding: str | None = None) -> Iterator[tuple[str, float]]:
    """Read a file block by block, each with the share of the file that has been read.

    The arguments and errors are those of :func:`read_text`.
    """
    row, first = 1, True
    with _opened(path, encoding) as (file, read):
        while text := file.read(_BLOCK):
            if first:
                text, first = text.removeprefix(_MARK), False
            if "\0" in text:
                before = text[: text.index("\0")]
                raise LensLocError(_nul(path, row + before.count("\n")))
            row += text.count("\n")
            yield text, read()


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text, which end as those of files do; the last end begins none.

    Example:
        >>> split_lines("one\r\ntwo\u2028still two\n")
        ['one', 'two\u2028still two']
    """
    lines = _LINE_END.split(text)
    return lines[:-1] if lines[-1] == "" else lines


@contextlib.contextmanager
def _opened(
    path: Path, encoding: str | None
) -> Iterator[tuple[io.TextIOWrapper, Callable[[], float]]]:
    """Open a file as text, with a function that says how much of it has been read."""
    found = encoding or "utf-8"
    try:
        with path.open("rb") as raw, _unpacked(path, raw) as stream:
            size = max(1, os.fstat(raw.fileno()).st_size)
            head = stream.peek(8)
            _require_text(path, head)
            found = encoding or _encoding_of(head)
            with io.TextIOWrapper(stream, _known(found), newline="") as text:
                yield text, lambda: min(1.0, raw.tell() / size)
    except FileNotFoundError as error:
        raise LensLocError(f"There is no stimulus file {path}; check the path.") from error
    except UnicodeError as error:
        try:
            raise LensLocError(_misfit(path, found)) from error
        except _NOT_UNPACKED as damage:  # found on the way through the whole of it
            raise LensLocError(_damaged(path, damage)) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise LensLocError(_damaged(path, error)) from error
    except OSError as error:
        reason = error.strerror or error
        raise LensLocError(f"{path} cannot be read ({reason}); check the file.") from error


def _require_text(path: Path, head: bytes) -> None:
    """Check that a file does not begin as one of another kind, as a workbook does."""
    for signature, what in _SIGNATURES:
        # The two letters of bzip2 are those of words: a digit and a mark follow them.
        if head.startswith(signature) and (signature != b"BZh" or head[4:8] == b"1AY&"):
            raise LensLocError(f"{path} is no file of text but {what}.")


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged or not compressed as its suffix says ({error}); make it again."


def _unpacked(path: Path, raw: io.BufferedReader) -> Any:
    unpack = _PACKED.get(path.suffix.lower())
    return contextlib.nullcontext(raw) if unpack is None else unpack(raw)


def _encoding_of(head: bytes) -> str:
    return next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")


def _known(encoding: str) -> str:
    """Return an encoding's name if there is such a one, of text."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except (LookupError, ValueError, TypeError) as error:
        raise LensLocError(
            f"There is no encoding {encoding!r}; name one, e.g. utf-8, cp1252, latin-1 or utf-16."
        ) from error
    return encoding


def _misfit(path: Path, encoding: str) -> str:
    """Say which byte of a file is not of an encoding."""
    place, which = str(path), ""
    found = _first_misfit(path, encoding)
    if found is not None:
        row, position, byte = found
        place, which = f"{path}, row {row}", f" (byte {position} is 0x{byte:02x})"
    name = "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
    return (
        f"{place} is not {name} text{which}; save it as UTF-8, or name its encoding, e.g. cp1252."
    )


def _first_misfit(path: Path, encoding: str) -> tuple[int, int, int] | None:
    """Return row (from 1), position (from 0) and value of the first byte that does not fit."""
    decoder = codecs.getincrementaldecoder(encoding)()
    row, position, ends_in_return = 1, 0, False
    with path.open("rb") as raw, _unpacked(path, raw) as stream:
        while True:
            block = stream.read(_BLOCK)
            state = decoder.getstate()
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                within = len(block) - (len(error.object) - error.start)
                decoder.setstate(state)
                text = decoder.decode(block[: max(0, within)])
                row += _line_ends(text, ends_in_return)
                return row, position + within, error.object[error.start]
            if not block:
                return None
            row += _line_ends(text, ends_in_return)
            ends_in_return = text.endswith("\r")
            position += len(block)


def _line_ends(text: str, after_return: bool) -> int:
    """Count line ends, of which the first may be the rest of one that was counted."""
    return len(_LINE_END.findall(text)) - (after_return and text.startswith("\n"))


def _nul(path: Path, row: int) -> str:
    return (
        f"{path}, row {row}: holds a NUL character, which no text has; save the file as UTF-8, or "
        "name its encoding, e.g. utf-16-le."
    )

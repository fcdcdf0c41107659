"""What several commands print: notes, and numbers that JSON has."""

import contextlib
import io
import json
import logging
import math
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich.console import Console

from lensloc.display.progress import hidden_bars
from lensloc.errors import LensLocWarning

log = logging.getLogger("lensloc.cli")

# Whether notes are left out: they stay in JSON, in results and in the log file.
_QUIET: ContextVar[bool] = ContextVar("notes are left out", default=False)
# What was given to the command that runs, for results that say what made them.
_GIVEN: ContextVar[tuple[str, ...]] = ContextVar("arguments of the command line", default=())


@contextlib.contextmanager
def given_arguments(arguments: Sequence[str]) -> Iterator[None]:
    """Remember what was given on the command line."""
    before = _GIVEN.set(tuple(arguments))
    try:
        yield
    finally:
        _GIVEN.reset(before)


def command_line() -> str:
    """Return the command that runs, as it could be written again."""
    return shlex.join(["lensloc", *map(_without_folder, _GIVEN.get())])


def _without_folder(argument: str) -> str:
    """Return an argument without the place of a file; where files lay is nobody's business."""
    parts = [Path(part).name if Path(part).is_absolute() else part for part in argument.split("=")]
    return "=".join(parts)


@contextlib.contextmanager
def quiet_output(quiet: bool) -> Iterator[None]:
    """Leave progress bars and notes out for a while, if it is to be quiet."""
    before = _QUIET.set(quiet)
    try:
        with hidden_bars() if quiet else contextlib.nullcontext():
            yield
    finally:
        _QUIET.reset(before)


@contextlib.contextmanager
def any_encoding() -> Iterator[None]:
    """Let a terminal, whatever its encoding, show an escape for what it lacks (``\\u4e2d``)."""
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with contextlib.suppress(ValueError):  # it was closed
                stream.reconfigure(errors=errors)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the sentences of our own warnings, each once, instead of showing them.

    Other libraries' warnings go where they always go.
    """
    sentences: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", LensLocWarning)
        shown = warnings.showwarning

        def show(message: Any, category: Any, *rest: Any, **more: Any) -> None:
            if not issubclass(category, LensLocWarning):
                shown(message, category, *rest, **more)
            elif str(message) not in sentences:
                sentences.append(str(message))

        warnings.showwarning = show
        yield sentences


def show_notes(sentences: Iterable[str]) -> None:
    """Print every sentence as one line on standard error."""
    console = Console(stderr=True)
    for sentence in sentences:
        line = readable(" ".join(sentence.split()))
        log.debug("Note: %s", line)
        if not _QUIET.get():
            console.print(f"Note: {line}", markup=False, highlight=False, soft_wrap=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object; numbers that JSON lacks (NaN, infinity) become null."""
    sys.stdout.write(json.dumps(plain(result), allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return plain lists, objects and numbers; None for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): plain(found) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [plain(found) for found in value]
    if value is not None and not isinstance(value, str | int | float):
        value = _python_value(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _python_value(value: Any) -> Any:
    """Return what numpy's and pandas' values are in Python."""
    import numpy as np
    import pandas as pd

    if value is pd.NA:
        return None
    return value.item() if isinstance(value, np.generic) else value


def readable(text: str) -> str:
    """Replace what a terminal would not show but obey (escape sequences)."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


class ReadableFormatter(logging.Formatter):
    """Formats lines of the log, in which names of files and their content can stand."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line that a terminal shows and does not obey."""
        return readable(super().format(record))


def tell(text: str) -> None:
    """Print a line."""
    Console().print(readable(text), markup=False, highlight=False, soft_wrap=True)


def tell_written(*paths: Path | None) -> None:
    """Print what was written."""
    for path in paths:
        if path is not None:
            tell(f"Wrote {path}.")


def path_or_none(path: Path | None) -> str | None:
    """Return a place as JSON has it."""
    return None if path is None else str(path)

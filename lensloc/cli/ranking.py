"""Commands under torchrun: which can be shared by several processes, and who of them speaks."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import typer

from lensloc.errors import LensLocError
from lensloc.ranks import first_to_tell, join, started_by_torchrun

SHARED = ("localize", "evaluate", "lape record", "specificity", "multiverse", "alignment")
SWEEP = "sweep"
_LOOKING = ("status", "report", "plans")  # at a sweep, which is one process's work


@contextlib.contextmanager
def shared_by_ranks(arguments: Sequence[str]) -> Iterator[None]:
    """Open the process group that torchrun describes, if it started this; only rank 0 speaks.

    What ends the run is told once: by rank 0, or where that may have ended, by whoever is first.

    Raises:
        LensLocError: for a command whose work cannot be shared, or ranks that do not fit together.
    """
    if not started_by_torchrun():
        yield
        return
    speaks, alone = int(os.environ["RANK"]) == 0, _shares_by_itself(arguments)
    with contextlib.ExitStack() as stack:
        if not (speaks or alone):
            stack.callback(logging.getLogger().setLevel, logging.getLogger().level)
            logging.getLogger().setLevel(logging.CRITICAL)
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        begun = alone
        try:
            leave = None
            if not alone:
                _require_shared(arguments)
                leave = join()
            begun = True
            yield
        except (LensLocError, typer.TyperException):
            if first_to_tell() if begun else speaks:
                raise
            stack.close()
            sys.exit(2)  # as the one does that tells why
        # Not after an error: a rank that waits for others that have ended would wait for long.
        if leave is not None:
            leave()


def _shares_by_itself(arguments: Sequence[str]) -> bool:
    """Say whether a command shares out its work over ranks without a process group: a sweep."""
    return list(arguments[:1]) == [SWEEP] and not {*arguments[1:2]} & {*_LOOKING}


def _require_shared(arguments: Sequence[str]) -> None:
    named = takewhile(lambda word: not word.startswith("-"), arguments[:2])
    words = " ".join(["lensloc", *named])
    if not any(f"{words} ".startswith(f"lensloc {command} ") for command in SHARED):
        raise LensLocError(
            f"{words} is one process's work; run it without torchrun. Shared by several are "
            f"{', '.join((*SHARED, SWEEP))}."
        )

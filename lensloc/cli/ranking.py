"""Commands under torchrun: which can be shared by several processes, and who of them speaks."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lensloc.errors import LensLocError
from lensloc.ranks import join, rank, started_by_torchrun

SHARED = ("localize", "evaluate", "lape record", "specificity", "multiverse", "alignment")
SWEEP = "sweep"
_LOOKING = ("status", "report", "plans")  # at a sweep, which is one process's work


@contextlib.contextmanager
def shared_by_ranks(arguments: Sequence[str]) -> Iterator[None]:
    """Open the process group that torchrun describes, if it started this; only rank 0 speaks.

    Raises:
        LensLocError: for a command whose work cannot be shared, or ranks that do not fit together.
    """
    if not started_by_torchrun() or _shares_by_itself(arguments):
        yield
        return
    words = " ".join(arguments[:2])
    if not any(f"{words} ".startswith(f"{command} ") for command in SHARED):
        raise LensLocError(
            f"lensloc {words} is one process's work; run it without torchrun. Shared by several "
            f"are {', '.join((*SHARED, SWEEP))}."
        )
    leave = join()
    with contextlib.ExitStack() as stack:
        if rank() != 0:
            logging.getLogger().setLevel(logging.CRITICAL)
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            yield
        except LensLocError:
            if rank() == 0:
                raise
            stack.close()
            sys.exit(2)  # as rank 0 does, which tells why
        finally:
            # A rank that waits for others that have ended would wait for long.
            if sys.exc_info()[0] is None:
                leave()


def _shares_by_itself(arguments: Sequence[str]) -> bool:
    """Say whether a command shares out its work over ranks without a process group: a sweep."""
    return list(arguments[:1]) == [SWEEP] and not {*arguments[1:2]} & {*_LOOKING}

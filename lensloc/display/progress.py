"""Progress bars: drawn by rich in a terminal, and in a notebook as one line that stays when done.

In a notebook, rich would leave a widget that has to be kept with the outputs to be seen again.
"""

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lensloc.display.markup import escaped

_EVERY = 0.2  # seconds between two updates of a notebook's output


@contextlib.contextmanager
def progress_bar(shown: bool, total: int, description: str) -> Iterator[Callable[[int], None]]:
    """Show a bar with the time left, on standard error or in the notebook; yields what advances it.

    In a notebook it becomes one line of text when it is done.
    """
    if shown and in_notebook():
        line = NotebookLine()
        start, done = time.monotonic(), 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            line.show(bar_of(description, done, total, time.monotonic() - start))

        try:
            advance(0)
            yield advance
        finally:
            seconds = time.monotonic() - start
            line.finish(f"{description}: {done:,} of {total:,} in {duration(seconds)}")
        return
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(description, total=total)
        yield lambda n: progress.advance(task, n)


def in_notebook() -> bool:
    """Say whether what is displayed appears in a notebook, below the cell."""
    # Whoever is in a notebook has imported IPython; nobody else should have to.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")  # Jupyter's, Colab's


class NotebookLine:
    """A line below a notebook's cell that changes until it is finished."""

    def __init__(self) -> None:
        self._display = importlib.import_module("IPython.display").display
        self._handle: Any = None
        self._latest = 0.0

    def show(self, line: str) -> None:
        """Show a line, unless one was shown a moment ago."""
        now = time.monotonic()
        if now - self._latest >= _EVERY:
            self._latest = now
            self._put(line)

    def finish(self, line: str) -> None:
        """Show the line that stays."""
        self._put(line)

    def _put(self, line: str) -> None:
        page = f'<pre style="margin:0">{escaped(line)}</pre>'
        content = {"text/plain": line, "text/html": page}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def bar_of(description: str, done: float, total: float, seconds: float, width: int = 30) -> str:
    """Return a bar as text: what is done, what is to do, and how long that may take."""
    share = min(1.0, done / total) if total else 1.0
    filled = int(share * width)
    left = f", {duration(seconds / share - seconds)} left" if 0 < share < 1 else ""
    bar = "━" * filled + "┄" * (width - filled)
    return f"{description} {bar} {done:,.0f} of {total:,.0f}{left}"


def duration(seconds: float) -> str:
    """Return a time to be read: ``8.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

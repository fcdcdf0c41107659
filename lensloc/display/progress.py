"""Progress bars, drawn by tqdm: on standard error, or in a notebook below the cell."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from lensloc.ranks import rank

# Seconds between two updates: of what is looked at, and of a file that is read later.
_EVERY, _EVERY_IN_A_FILE = 0.2, 60.0
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"

_HIDDEN: ContextVar[bool] = ContextVar("bars are hidden", default=False)


@contextlib.contextmanager
def hidden_bars() -> Iterator[None]:
    """Draw no bars for a while, whoever asks for them."""
    before = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(before)


def bars_hidden() -> bool:
    """Say whether bars are hidden for now."""
    return _HIDDEN.get()


@contextlib.contextmanager
def progress_bar(shown: bool, total: int, description: str) -> Iterator[Callable[[int], None]]:
    """Show a bar with the time left, which stays when it is done; yields what advances it.

    Args:
        shown: whether there is one.
        total: how much there is to do.
        description: of what.
    """
    if not shown or bars_hidden() or rank() != 0:
        yield lambda n: None
        return
    with drawn(total=total, desc=description, bar_format=_FORMAT) as bar:

        def advance(n: int) -> None:
            bar.update(n)

        yield advance


def drawn(**options: Any) -> Any:
    """Open a bar of tqdm's: its widget in a notebook that can show widgets, text anywhere else.

    Args:
        options: tqdm's own.
    """
    with warnings.catch_warnings():
        # Without ipywidgets, tqdm draws with text in a notebook too, and says that it does.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    watched = sys.stderr.isatty() or _in_notebook()
    return tqdm(
        mininterval=_EVERY if watched else _EVERY_IN_A_FILE,
        miniters=1,  # a batch may take as long as all before it
        dynamic_ncols=True,
        disable=bars_hidden(),
        **options,
    )


def _in_notebook() -> bool:
    # Whoever is in a notebook has imported IPython; nobody else should have to.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")  # Jupyter's, Colab's

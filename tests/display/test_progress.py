"""Progress: when it shows, where, and what it says."""

import re
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from lensloc.display import progress
from lensloc.display.progress import drawn, progress_bar

Captured = pytest.CaptureFixture[str]
# By which tqdm knows that it is in a notebook.
KERNEL = ("ipykernel.zmqshell", types.ModuleType("ipykernel.zmqshell"))


class Terminal:
    """Stands for standard error where somebody looks at it."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_progress_is_on_standard_error_and_says_what_is_done(capfd: Captured) -> None:
    with progress_bar(True, 1200, "stimuli") as advance:
        for _ in range(12):
            advance(100)
    shown = capfd.readouterr()
    assert shown.out == ""
    last = shown.err.rstrip().split("\r")[-1]
    assert re.fullmatch(r"stimuli: 100%\|.*\| 1200/1200 \[\d\d:\d\d<\d\d:\d\d\]", last)


def test_progress_that_stops_says_where(capfd: Captured) -> None:
    def fail() -> None:
        with progress_bar(True, 10, "stimuli") as advance:
            advance(4)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert " 4/10 " in capfd.readouterr().err.rstrip().split("\r")[-1]


def test_no_progress_shows_nothing_and_loads_nothing(
    capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "drawn", None)
    with progress_bar(False, 3, "stimuli") as advance:
        advance(3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("watched", [True, False])
def test_a_file_is_not_filled_with_bars(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks, a bar is written when it begins, now and then, and when it ends."""
    terminal = Terminal()
    monkeypatch.setattr(terminal, "isatty", lambda: watched)
    monkeypatch.setattr(sys, "stderr", terminal)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.05
        return now

    with drawn(total=400, desc="texts") as bar:
        bar._time, bar.start_t, bar.last_print_t = clock, 0.0, 0.0
        for _ in range(400):
            bar.update(1)
    times = terminal.written.count("\r")
    assert times > 50 if watched else times < 6


@pytest.fixture
def new_tqdm() -> Iterator[None]:
    """Let tqdm find out again where it is, and forget it after."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
            del sys.modules[name]

    before = {name: module for name, module in sys.modules.items() if name.startswith("tqdm")}
    forget()
    yield
    forget()
    sys.modules.update(before)


@pytest.mark.usefixtures("new_tqdm")
def test_a_notebook_without_widgets_gets_text_and_no_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    monkeypatch.setitem(sys.modules, *KERNEL)
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    for absent in ("ipywidgets", "IPython.html"):
        monkeypatch.setitem(sys.modules, absent, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress_bar(True, 3, "<stimuli>") as advance:
            advance(3)
    assert "<stimuli>: 100%" in capfd.readouterr().err


@pytest.mark.usefixtures("new_tqdm")
def test_a_notebook_with_widgets_gets_a_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets")
    import IPython
    import tqdm.notebook

    shown: list[Any] = []
    monkeypatch.setitem(sys.modules, *KERNEL)
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(tqdm.notebook, "display", shown.append)
    with progress_bar(True, 3, "<stimuli>") as advance:
        advance(3)
    (widget,) = shown
    text, bar, _ = widget.children
    assert text.value.split() == ["&lt;stimuli&gt;:", "100%"]
    assert bar.value == bar.max == 3

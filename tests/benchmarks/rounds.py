"""Timing by device events within a time that is given, and Markdown tables as figures come."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


class NoTimeError(Exception):
    """There is no time left for what comes next."""


@dataclass
class Watch:
    """Seconds that are left, in all and for what is being measured.

    Attributes:
        device: whose events are taken; of a CPU the clock.
        end: when all must be over, by ``time.perf_counter``.
    """

    device: torch.device
    end: float
    rounds: int
    _ends: list[float] = field(default_factory=list)

    def left(self) -> float:
        """How many seconds are left for what is being measured."""
        return min([self.end, *self._ends]) - time.perf_counter()

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Give what is measured inside so many seconds."""
        self._ends.append(time.perf_counter() + seconds)
        try:
            yield
        finally:
            self._ends.pop()

    def once(self, function: Callable[[], Any]) -> tuple[float, Any]:
        """Return how many seconds a call takes, and what it gives."""
        if self.left() <= 0:
            raise NoTimeError
        if self.device.type != "cuda":
            start = time.perf_counter()
            found = function()
            return time.perf_counter() - start, found
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.device)
        begin.record()
        found = function()
        end.record()
        torch.cuda.synchronize(self.device)
        return begin.elapsed_time(end) / 1000, found

    def several(self, functions: Sequence[Callable[[], Any]]) -> list["Seconds"]:
        """Time functions in turn, round by round, as many as there is time for.

        The first round warms up; it is taken only where there is no time for another.
        """
        rounds = [[self.once(function)[0] for function in functions]]
        n = 0
        while n < self.rounds and self.left() > sum(rounds[-1]):
            rounds.append([self.once(function)[0] for function in functions])
            n += 1
        warm = rounds[1:] or rounds
        return [Seconds(tuple(column), cold=not n) for column in zip(*warm, strict=True)]


@dataclass(frozen=True)
class Seconds:
    """Seconds of every round."""

    rounds: tuple[float, ...]
    cold: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def over(self, other: "Seconds") -> float:
        """The median over rounds of how many times as long as another it took, if timed in turn."""
        if len(self.rounds) != len(other.rounds):
            return self.median / other.median
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(one / two for one, two in pairs)

    def __str__(self) -> str:
        return f"{self.median:.3g} s" + (" (cold)" if self.cold else "")


class Page:
    """Tables in Markdown, printed and written line by line, so that nothing that came is lost."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._columns: tuple[str, ...] = ()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def row(self, **cells: object) -> None:
        """Write a row; a table begins where the columns change."""
        if tuple(cells) != self._columns:
            self._columns = tuple(cells)
            self.say()
            self.say("| " + " | ".join(cells) + " |")
            self.say("|" + "---|" * len(cells))
        self.say("| " + " | ".join(map(str, cells.values())) + " |")

    def head(self, words: str) -> None:
        self._columns = ()
        self.say()
        self.say(words)


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> str:
    """The most memory that was taken: since it was forgotten on a GPU, ever on a CPU."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{size / (2**30 if sys.platform == 'darwin' else 2**20):.2f} GiB (host)"

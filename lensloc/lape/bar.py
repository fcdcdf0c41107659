"""A progress bar of tokens."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from lensloc.display.progress import NotebookLine, bar_of, duration, in_notebook


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show tokens a second."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} tokens/s")


class TokenBar:
    """A bar of tokens on standard error or in a notebook, with tokens a second and the time left.

    How many tokens there will be is an estimate: from what share of a corpus has been read, and,
    for languages to come, from the others.
    """

    def __init__(self, shown: bool, languages: list[str], max_tokens: int | None) -> None:
        self._languages = languages
        self._max_tokens = max_tokens
        self._tokens = [0] * len(languages)
        self._expected: list[float | None] = [max_tokens] * len(languages)
        self._started = time.monotonic()
        self._line = NotebookLine() if shown and in_notebook() else None
        self._progress = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} tokens"),
            _Speed(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown or self._line is not None,
        )
        self._task = self._progress.add_task(languages[0], total=None)

    def __enter__(self) -> "TokenBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        if self._line is not None:
            done, seconds = sum(self._tokens), time.monotonic() - self._started
            self._line.finish(f"recording: {done:,} tokens in {duration(seconds)}")

    def at(self, number: int, tokens: int, read: float | None) -> None:
        """Show that so many tokens of a language have been counted."""
        self._tokens[number] = tokens
        if read:
            expected = tokens / read
            self._expected[number] = min(expected, self._max_tokens or expected)
        self._progress.update(
            self._task,
            completed=sum(self._tokens),
            total=self._total(number),
            description=self._languages[number],
        )
        if self._line is not None:
            done, seconds = sum(self._tokens), time.monotonic() - self._started
            total = self._total(number) or done
            speed = f", {done / seconds:,.0f} tokens/s" if seconds else ""
            self._line.show(bar_of(self._languages[number], done, total, seconds) + speed)

    def _total(self, number: int) -> float | None:
        expected = [*self._tokens[:number], self._expected[number]]
        known = [tokens for tokens in expected if tokens is not None]
        if len(known) < len(expected):
            return None
        to_come = len(self._languages) - len(known)
        if self._max_tokens is not None:
            return sum(known) + to_come * self._max_tokens
        return sum(known) * len(self._languages) / len(known)

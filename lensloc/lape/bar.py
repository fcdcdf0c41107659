"""A progress bar of tokens."""

from typing import Any

from lensloc.display.progress import drawn


class TokenBar:
    """A bar of tokens on standard error or in a notebook, with tokens per second and the time left.

    How many tokens there will be is an estimate: from what share of a corpus has been read, and,
    for languages to come, from the others.
    """

    def __init__(self, shown: bool, languages: list[str], max_tokens: int | None) -> None:
        self._languages = languages
        self._max_tokens = max_tokens
        self._tokens = [0] * len(languages)
        self._expected: list[float | None] = [max_tokens] * len(languages)
        self._bar: Any = None
        if shown:
            self._bar = drawn(desc=languages[0], unit=" tokens", unit_scale=True)

    def __enter__(self) -> "TokenBar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.set_description(f"recorded {self._bar.n:,} tokens", refresh=False)
            self._bar.close()

    def at(self, number: int, tokens: int, read: float | None) -> None:
        """Show that so many tokens of a language have been counted."""
        self._tokens[number] = tokens
        if read:
            expected = tokens / read
            self._expected[number] = min(expected, self._max_tokens or expected)
        if self._bar is not None:
            self._bar.total = self._total(number)
            self._bar.set_description(self._languages[number], refresh=False)
            self._bar.update(sum(self._tokens) - self._bar.n)

    def _total(self, number: int) -> float | None:
        expected = [*self._tokens[:number], self._expected[number]]
        known = [tokens for tokens in expected if tokens is not None]
        if len(known) < len(expected):
            return None
        to_come = len(self._languages) - len(known)
        if self._max_tokens is not None:
            return sum(known) + to_come * self._max_tokens
        return sum(known) * len(self._languages) / len(known)

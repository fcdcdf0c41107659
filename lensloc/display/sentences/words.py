"""How numbers and lists are written in a sentence."""

import math
from collections.abc import Iterable


def known(*values: float) -> bool:
    """Say whether all of these are numbers: neither missing nor infinite."""
    return all(math.isfinite(value) for value in values)


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """Return a number with so many decimals, and no sign before a zero.

    What is missing or infinite is said in words, so that no sentence holds a ``nan``.

    Example:
        >>> number(-0.001), number(0.5, sign=True), number(float("nan")), number(float("inf"))
        ('0.00', '+0.50', 'no number', 'a number too large to write')
    """
    if math.isnan(value):
        return "no number"
    if math.isinf(value):
        return "a number too large to write"
    rounded = round(value, digits) + 0.0  # minus zero becomes zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Return an interval in brackets; nothing if an end of it is missing.

    Example:
        >>> interval(0.1, 0.25), interval(float("nan"), 1.0)
        ('[0.10, 0.25]', '')
    """
    if not known(low, high):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def percentage(share: float) -> str:
    """Return a share as a percentage, with a decimal where it is small.

    Example:
        >>> percentage(0.003), percentage(0.384), percentage(0)
        ('0.3 %', '38 %', '0 %')
    """
    if not known(share):
        return "an unknown share"
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def listed(names: Iterable[object]) -> str:
    """Join names as in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(n: int, noun: str) -> str:
    """Return a number of things.

    Example:
        >>> counted(1, "text"), counted(1200, "text")
        ('1 text', '1,200 texts')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def capital(sentence: str) -> str:
    """Return a sentence that begins with a capital."""
    return sentence[:1].upper() + sentence[1:]

"""Names as they stand in figures: as they are written, in lines that fit, no two alike."""

import textwrap
from collections import Counter
from collections.abc import Iterable

# What stands for "&lt;" and for " %" while a text is broken into lines, which must not break them.
_LESS, _PERCENT = "\ue000", "\ue001%"


def literal(name: str) -> str:
    """Return a name that figures show as it is written; ``<br>`` still breaks a line."""
    return name.replace("<", "&lt;").replace("&lt;br>", "<br>")


def wrapped(label: str, width: int = 22) -> str:
    """Break a label into lines of at most so many characters; longer words are broken, too.

    A per cent sign stays with its number.

    Example:
        >>> wrapped("nearest to 1 %", 12)
        'nearest to<br>1 %'
        >>> wrapped("sentences of twelve words", 12)
        'sentences of<br>twelve words'
    """
    parts = label.replace("&lt;", _LESS).replace(" %", _PERCENT).split("<br>")
    lines = [line for part in parts for line in textwrap.wrap(part, max(2, width)) or [""]]
    return "<br>".join(lines).replace(_LESS, "&lt;").replace(_PERCENT, " %")


def fitted(label: str, width: int = 22, lines: int = 3) -> str:
    """Break a label into so many lines at most; of a longer one, the middle is left out.

    Example:
        >>> fitted("a" * 30 + "z" * 30, 10, 2)
        'aaaaaaaaaa<br>aa…zzzzzzz'
    """
    whole = label.replace("&lt;", _LESS)
    found, room = wrapped(whole, width), width * lines - 1
    while found.count("<br>") >= lines:
        head = 2 * room // 3
        found = wrapped(f"{whole[:head]}…{whole[len(whole) - (room - head) :]}", width)
        room -= 1
    return found.replace(_LESS, "&lt;")


def labels(names: Iterable[str], width: int = 22, lines: int = 3) -> list[str]:
    """Return names as labels that fit; of names that would look the same, all are numbered.

    Example:
        >>> labels(["one", "x" * 40 + "1" + "x" * 40, "x" * 40 + "2" + "x" * 40], 10, 2)
        ['one', 'xxxxxxxxxx<br>xx…xxx (1)', 'xxxxxxxxxx<br>xx…xxx (2)']
    """
    given = [literal(str(name)) for name in names]
    found = [fitted(name, width, lines) for name in given]
    alike = {label for label, n in Counter(found).items() if n > 1}
    numbered: Counter[str] = Counter()
    for place, label in enumerate(found):
        if label in alike and given.count(given[place]) == 1:
            numbered[label] += 1
            tail = f" ({numbered[label]})"
            short = fitted(given[place], width, lines)
            while len(short.split("<br>")[-1]) + len(tail) > width and "…" in short:
                head, _, end = short.partition("…")
                short = f"{head}…{end[1:]}" if end else head[:-1] + "…"
            found[place] = short + tail
    return found


def longest_line(texts: Iterable[str]) -> int:
    """Return the number of characters of the longest line of some labels."""
    lines = [line.replace("&lt;", "<") for text in texts for line in str(text).split("<br>")]
    return max(map(len, lines), default=0)


def most_lines(texts: Iterable[str]) -> int:
    """Return the number of lines of the label that has most."""
    return max((str(text).count("<br>") + 1 for text in texts), default=1)

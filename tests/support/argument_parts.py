"""What the table of arguments consists of: entries, and changes of arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """Another value of an argument, and what it must do.

    Attributes:
        value: the other value.
        given: further arguments, of both calls.
        same: why it makes no difference; then the test asserts that it makes none.
        refused: what the sentence says with which it is refused; then it must be.
    """

    value: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    same: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Untested:
    """An argument that cannot be tried here."""

    why: str


@dataclass(frozen=True)
class Fresh:
    """A path of this name in a folder that is made for the call."""

    name: str


@dataclass(frozen=True)
class Entry:
    """A public function.

    Attributes:
        base: arguments of a call that works.
        changes: argument -> what must make a difference, or a :class:`Change`.
        on: what a method is called on.
        use: what is done with the result before it is compared.
    """

    base: Mapping[str, Any]
    changes: Mapping[str, Any]
    on: Any = None
    use: Callable[[Any], Any] = lambda found: found


def same(value: Any, why: str, **given: Any) -> Change:
    return Change(value, given, same=why)


def under(value: Any, **given: Any) -> Change:
    return Change(value, given)


def refused(value: Any, sentence: str, **given: Any) -> Change:
    return Change(value, given, refused=sentence)

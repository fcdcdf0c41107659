"""What an analyst chooses, as data: a specification, and how every choice is read."""

import dataclasses
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lensloc.errors import LensLocError
from lensloc.forward.sites import get_site
from lensloc.units.matching import check_kind
from lensloc.vocabulary import (
    ACTIVATIONS,
    BOS,
    POOLINGS,
    SELECTIONS,
    TESTS,
    UNSEEDED,
    WITHOUT_OUTLIERS,
)

WHOLE = "whole"
"""Texts that are not cut off, as a word."""


@dataclass(frozen=True)
class Specification:
    """One analyst's choices, all of them.

    Attributes:
        selection: what units are ranked by; see :mod:`lensloc.studies.selections`.
        activations: ``"absolute"`` or ``"signed"`` responses.
        test: ``"welch"`` or ``"paired"``.
        pooling: over which tokens of a stimulus.
        max_tokens: so many tokens of a stimulus are used; None for whole ones.
        bos: whether a beginning-of-text token stands before a stimulus.
        site: where units live.
        percent: how many are chosen, of the site's units.
        mode: label of what they become.
        control: the kind of control units.
    """

    selection: str
    activations: str
    test: str
    pooling: str
    max_tokens: int | None
    bos: str
    site: str
    percent: float
    mode: str
    control: str

    def words(self, unused: Collection[str] = ()) -> dict[str, Any]:
        """Return choice -> value as a table has it; of choices that play no part, nothing."""
        values = {name: getattr(self, name) for name in CHOICES}
        return {
            name: "" if name in unused else choice.word(values[name])
            for name, choice in CHOICES.items()
        }

    def same_units(self) -> "Specification":
        """Return the same with nothing said of what happens to the units and what is beside."""
        return dataclasses.replace(self, mode="", control="")


@dataclass(frozen=True)
class Choice:
    """One thing that an analyst chooses.

    Attributes:
        name: of the choice.
        does: what is chosen, in words.
        read: one value as it was given -> as a specification has it; refuses others.
        word: a value as it stands in a table.
    """

    name: str
    does: str
    read: Callable[[Any], Any]
    word: Callable[[Any], Any] = str


def _one_of(name: str, known: Collection[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            raise LensLocError(f"There is no {name} {value!r}; there are {', '.join(known)}.")
        return str(value)

    return read


def _tokens(value: Any) -> int | None:
    if value is None or value == WHOLE:
        return None
    try:
        number = operator.index(value)
    except TypeError as error:
        raise LensLocError(
            f"max_tokens is a whole number, or None for whole texts; {value!r} is neither."
        ) from error
    if number < 1:
        raise LensLocError(f"At least one token of a text must be kept; {number} keeps none.")
    return number


def _site(value: Any) -> str:
    if not isinstance(value, str):
        raise LensLocError(f"site is the name of one; {value!r} is none.")
    return get_site(value).name


def _percent(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise LensLocError(f"percent is a number; {value!r} is none.") from error
    if isinstance(value, bool):
        raise LensLocError(f"percent is a number; {value!r} is none.")
    if not (math.isfinite(number) and 0 < number <= 100):
        raise LensLocError(
            f"A percentage of units must be above 0 and at most 100; {number:g} is not."
        )
    return number


def _control(value: Any) -> str:
    if not isinstance(value, str):
        raise LensLocError(
            f"control is a kind of control, e.g. 'layer'; {value!r} is of type "
            f"{type(value).__name__}."
        )
    if value != WITHOUT_OUTLIERS:
        check_kind(value)
    return value


def _same(value: Any) -> Any:
    """Leave modes to what knows their arguments."""
    return value


CHOICES: Mapping[str, Choice] = {
    choice.name: choice
    for choice in (
        Choice("selection", "what units are ranked by", _one_of("selection", SELECTIONS)),
        Choice("activations", "absolute or signed", _one_of("kind of activations", ACTIVATIONS)),
        Choice("test", "Welch's or paired t", _one_of("test", TESTS)),
        Choice("pooling", "over which tokens", _one_of("pooling", POOLINGS)),
        Choice(
            "max_tokens",
            "tokens of a text that are used",
            _tokens,
            lambda value: WHOLE if value is None else str(value),
        ),
        Choice("bos", "a beginning-of-text token", _one_of("bos", BOS)),
        Choice("site", "where units live", _site),
        Choice("percent", "how many units", _percent, float),
        Choice("mode", "what units become", _same),
        Choice("control", "what is held beside", _control),
    )
}


def is_drawn(control: str) -> bool:
    """Say whether there can be several draws of a kind of control."""
    return control not in (*UNSEEDED, WITHOUT_OUTLIERS)

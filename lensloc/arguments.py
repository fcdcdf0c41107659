"""What was given for a contrast, masks, tables: checked in one place, told in one sentence."""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from lensloc.errors import LensLocError

LARGEST_SEED = 2**63 - 1
"""Larger ones have no place in a table, and torch takes none."""
OLD_SEEDS = 2**32 - 1
"""The largest of numpy's older generator, with which published stimuli were drawn."""

_REMEDIES = {
    "Contrast": "make one with ll.Contrast.from_texts or from_file, or take a bundled one, "
    "ll.contrasts.get(name)",
    "UnitMask": "take one from a localization, found[site].top(percent=1), or ll.UnitMask.load",
    "Selectivity": "take that of one site, found[site], of what ll.localize returned",
    "Responses": "take those of one site, found.responses[site], of what "
    "ll.localize(..., keep_responses=True) or ll.capture returned",
    "LesionStudy": "take what ll.lesion_study returned",
    "Multiverse": "take what ll.multiverse returned",
    "ResponseProfile": "take what ll.response_profile returned",
    "ActivationCounts": "take what ll.lape.record returned, or ll.lape.ActivationCounts.load",
    "Null": "take what ll.lape.null returned",
    "MaxT": "take what ll.max_t returned",
    "LanguageMatrix": "take what ll.lape.perplexity returned",
    "Sweep": "take what ll.sweep returned",
    "Specificity": "take what ll.specificity returned",
    "Encoding": "take what ll.alignment.encode returned",
    "ReadingStudy": "take what ll.alignment.reading_times returned",
    "Steering": "take what ll.lape.steer returned",
    "Pairs": "make them with ll.Pairs.from_file or from_texts, or take bundled ones, "
    "ll.Pairs.bundled(name)",
    "PairEffects": "take those of one site, found[site], of what ll.localize_pairs returned",
    "Faithfulness": "take what ll.faithfulness returned",
    "DataFrame": "take the table that the function of that name returned",
}


def require_a(kind: type | tuple[type, ...], value: Any, name: str) -> None:
    """Check that an argument is what it should be.

    Args:
        kind: what it should be; of several, the first is what is asked for.
        value: what was given.
        name: of the argument.

    Raises:
        LensLocError: if it is something else, with where to get the right thing.
    """
    if isinstance(value, kind):
        return
    wanted = kind[0] if isinstance(kind, tuple) else kind
    remedy = _REMEDIES.get(wanted.__name__, f"give a {wanted.__name__}")
    if wanted.__name__ == "Contrast" and isinstance(value, str):
        remedy = (
            f"take the bundled one of that name, ll.contrasts.get({value!r}), or read a file with "
            "ll.Contrast.from_file"
        )
    article = "An" if wanted.__name__[0] in "AEIO" else "A"
    raise LensLocError(
        f"{article} {wanted.__name__} is needed for {name}, not something of type {_kind(value)}; "
        f"{remedy}."
    )


def require_named(
    kind: type | tuple[type, ...], values: Any, name: str, *, like: str
) -> Mapping[str, Any]:
    """Check that an argument names things of a kind: ``{name: thing}``.

    Args:
        kind: what each should be.
        values: what was given.
        name: of the argument.
        like: how it is written.

    Raises:
        LensLocError: if it does not.
    """
    if not isinstance(values, Mapping):
        raise LensLocError(
            f"{name} are given by name, {like}; something of type {_kind(values)} is not."
        )
    for key, value in values.items():
        require_a(kind, value, f"{name}[{key!r}]")
    return values


def require_seed(seed: Any, name: str = "seed", *, most: int = LARGEST_SEED) -> None:
    """Check that an argument can be a seed, for whatever draws.

    Args:
        seed: what was given.
        name: of the argument.
        most: the largest that the generator takes.

    Raises:
        LensLocError: unless it is a whole number from 0 to ``most``.
    """
    if not is_whole(seed) or not 0 <= seed <= most:
        raise LensLocError(f"{name} is a whole number from 0 to {most}; {_number(seed)} is not.")


def require_numbers(**given: Any) -> None:
    """Check arguments that are numbers: a seed, a confidence, and otherwise how many of something.

    How many there may be is checked where it is known; here that it is a number at all.

    Raises:
        LensLocError: for the first that is none, by its name.

    Example:
        >>> require_numbers(seed=3, n_resamples=1000, confidence=0.9)
        >>> require_numbers(n_resamples=1.5)
        Traceback (most recent call last):
        lensloc.errors.LensLocError: n_resamples is a whole number; 1.5 is not.
    """
    for name, value in given.items():
        if name == "seed":
            require_seed(value)
        elif name == "confidence":
            if not is_number(value):
                raise LensLocError(f"confidence is a number between 0 and 1; {value!r} is none.")
            if not 0 < value < 1:
                raise LensLocError(f"confidence lies between 0 and 1; {value:g} does not.")
        elif not is_whole(value):
            raise LensLocError(f"{name} is a whole number; {_number(value)} is not.")


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number, of Python or numpy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Say whether a value is a number, of Python or numpy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _number(value: Any) -> str:
    """Return a value as it is shown; of a number of many digits, how many these are."""
    if is_whole(value) and abs(value) > LARGEST_SEED**2:
        return f"one of {int(math.log10(abs(value))) + 1} digits"
    return repr(value) if not is_number(value) else str(value)


def listed(value: Any, *single: type) -> tuple[Any, ...]:
    """Return one or several of something as several.

    Args:
        value: what was given.
        single: kinds that are one, though they can be iterated over, such as ``str``.

    Example:
        >>> listed("zero", str), listed(["zero", "mean"], str), listed(1.0)
        (('zero',), ('zero', 'mean'), (1.0,))
    """
    if isinstance(value, single) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__

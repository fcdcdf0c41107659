"""What was given for a contrast, masks, tables: checked in one place, told in one sentence."""

from collections.abc import Iterable, Mapping
from typing import Any

from lensloc.errors import LensLocError

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

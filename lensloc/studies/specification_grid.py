"""Choices -> the specifications that they make, each once; what is left out is counted by name."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensloc.arguments import listed
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError
from lensloc.lesions.references import Reference
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import prepends_bos, token_ids
from lensloc.studies.lesion_modes import PlannedMode, needs_reference, planned_modes
from lensloc.studies.selections import SELECTIONS
from lensloc.studies.specifications import CHOICES, Specification
from lensloc.vocabulary import ANALYSTS, SPECIFICATION, Bos

SAME, IMPOSSIBLE = "the same as another", "cannot be made"


@dataclass(frozen=True)
class LeftOut:
    """Combinations of choices that are no specification of their own.

    Attributes:
        kind: :data:`SAME` or :data:`IMPOSSIBLE`.
        choices: what they have in common, of what varies.
        n: how many.
        reason: why, in a sentence.
    """

    kind: str
    choices: Mapping[str, Any]
    n: int
    reason: str


@dataclass(frozen=True, eq=False)
class Grid:
    """All specifications that choices make.

    Attributes:
        specifications: each once, in the order of the choices.
        reference: the one that others are compared with; one of them.
        varied: choices that have several values.
        combinations: how many combinations of values there are.
        modes: label -> what happens to units.
        left_out: combinations that are the same as another.
    """

    specifications: tuple[Specification, ...]
    reference: Specification
    varied: tuple[str, ...]
    combinations: int
    modes: Mapping[str, PlannedMode]
    left_out: tuple[LeftOut, ...]


def grid_of(
    model: Model,
    contrast: Contrast,
    choices: Mapping[str, Any] | None,
    reference_specification: Mapping[str, Any] | None,
    reference: Reference | None,
    seed: int,
) -> Grid:
    """Combine choices.

    Args:
        model: whose settings say which values differ.
        contrast: the stimuli, which do likewise, and the reference of modes that need one.
        choices: choice -> its values; the usual ones if None.
        reference_specification: values of the reference specification; where it names none, the
            library's default if it is among the values, otherwise the first of them.
        reference: of the modes, instead of the contrast.
        seed: of the modes.

    Raises:
        LensLocError: a choice or value that there is not, one given twice, a choice without values,
            or one that has no effect.
    """
    values = read_choices(choices)
    modes = values["mode"]
    if reference is None and any(needs_reference(mode) for mode in modes):
        reference = contrast
    planned = {mode.label: mode for mode in planned_modes(modes, reference, "all", seed)}
    values["mode"] = list(planned)
    combinations = math.prod(map(len, values.values()))
    left_out: list[LeftOut] = []
    for name in ("bos", "max_tokens"):
        for value, reason in _without_effect(model, contrast, values, name):
            if choices is not None:
                raise LensLocError(f"{name} has a value without effect: {reason}; leave it out.")
            n = math.prod(map(len, values.values())) // len(values[name])
            values[name] = [each for each in values[name] if each is not value]
            left_out.append(LeftOut(SAME, {name: CHOICES[name].word(value)}, n, f"{reason}."))
    standard = _reference(values, reference_specification)
    found: dict[Specification, int] = {}
    twice: dict[str, int] = {}
    for combination in itertools.product(*values.values()):
        whole = Specification(*combination)
        one = _canonical(whole, standard)
        if one in found:
            twice[one.selection] = twice.get(one.selection, 0) + 1
        found[one] = found.get(one, 0) + 1
    for selection, n in twice.items():
        idle = [name for name in unused(selection) if len(values[name]) > 1]
        reason = f"The selection {selection} makes no use of {', '.join(idle)}."
        left_out.append(LeftOut(SAME, {"selection": selection}, n, reason))
    return Grid(
        tuple(found),
        _canonical(Specification(**standard), standard),
        tuple(name for name, several in values.items() if len(several) > 1),
        combinations,
        planned,
        tuple(left_out),
    )


def unused(selection: str) -> tuple[str, ...]:
    """Return the choices that play no part in a selection."""
    return SELECTIONS[selection].unused


def common(specifications: Collection[Specification], varied: Sequence[str]) -> dict[str, Any]:
    """Return what several specifications have in common, of what varies."""
    found = {}
    for name in varied:
        if all(name in unused(each.selection) for each in specifications):
            continue
        known = {getattr(each, name) for each in specifications}
        if len(known) == 1:
            found[name] = CHOICES[name].word(known.pop())
    return found


# -- reading ---------------------------------------------------------------------------------------


def read_choices(choices: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Return the values of every choice, as specifications have them.

    Raises:
        LensLocError: a choice or value that there is not, one given twice, a choice without values,
            or one that no selection makes use of.
    """
    given = _given(choices)
    read = {name: _values(name, given[name]) for name in CHOICES if name in given}
    values = {name: read.get(name, [SPECIFICATION[name]]) for name in CHOICES}
    _require_used(values, () if choices is None else choices)
    return values


def _given(choices: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if choices is None:
        return ANALYSTS
    if not isinstance(choices, Mapping):
        raise LensLocError(
            "choices is a mapping from names to values, e.g. {'percent': [0.5, 1]}; "
            f"{type(choices).__name__} is none."
        )
    if not choices:
        raise LensLocError(
            "choices is empty; name at least one, e.g. {'percent': [0.5, 1]}, or leave it out for "
            "the usual ones."
        )
    for name in choices:
        _require_choice(name)
    return choices


def _require_choice(name: Any) -> None:
    if name not in CHOICES:
        raise LensLocError(f"There is no choice {name!r}; there are {', '.join(CHOICES)}.")


def _values(name: str, given: Any) -> list[Any]:
    several = (given,) if given is None else listed(given, str, Mapping)
    if not several:
        raise LensLocError(f"The choice {name} has no value; give it at least one.")
    values = [CHOICES[name].read(value) for value in several]
    if name == "mode":  # their labels tell which are the same
        return values
    for value in values:
        if values.count(value) > 1:
            raise LensLocError(f"The choice {name} has {value!r} twice; give it once.")
    return values


def _require_used(values: Mapping[str, Sequence[Any]], named: Collection[str]) -> None:
    """Refuse choices that no selection makes use of."""
    for name in named:
        if all(name in unused(selection) for selection in values["selection"]):
            selections = " and ".join(values["selection"])
            raise LensLocError(
                f"{name} has no effect here: a selection by {selections} makes no use of it; leave "
                "it out, or select by t as well."
            )


def _reference(
    values: Mapping[str, Sequence[Any]], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the reference specification, whose values are among the choices'."""
    if given is not None and not isinstance(given, Mapping):
        raise LensLocError(
            "reference_specification is a mapping from choices to one value each, e.g. "
            f"{{'percent': 1}}; {type(given).__name__} is none."
        )
    chosen = {}
    for name, value in (given or {}).items():
        _require_choice(name)
        chosen[name] = CHOICES[name].read(value)
        if chosen[name] not in values[name]:
            known = ", ".join(str(CHOICES[name].word(each)) for each in values[name])
            raise LensLocError(
                f"The reference specification has {name} {value!r}, which is not among the "
                f"choices ({known}); add it to these, or name one of them."
            )
    for name, several in values.items():
        default = SPECIFICATION[name]
        chosen.setdefault(name, default if default in several else several[0])
    return chosen


def _canonical(one: Specification, standard: Mapping[str, Any]) -> Specification:
    """Put the reference's value where a choice plays no part, so that what is the same is equal."""
    idle = unused(one.selection)
    return Specification(
        **{name: standard[name] if name in idle else getattr(one, name) for name in CHOICES}
    )


# -- values without effect -------------------------------------------------------------------------


def _without_effect(
    model: Model, contrast: Contrast, values: Mapping[str, Sequence[Any]], name: str
) -> list[tuple[Any, str]]:
    """Return values that do the same as one before them, and why."""
    if len(values[name]) < 2 or surface(model).tokenizer is None:
        return []
    effect: dict[Any, Any]
    if name == "bos":
        effect = {bos: prepends_bos(model, bos) for bos in values["bos"]}
        why = "bos {value} does the same as {other} with this model"
    else:
        longest = max(_longest(model, contrast, bos) for bos in values["bos"])
        effect = {n: None if n is None or n >= longest else n for n in values["max_tokens"]}
        why = f"no stimulus has more than {longest} tokens, so that {{value}} cuts off nothing"
    found: list[tuple[Any, str]] = []
    known: dict[Any, Any] = {}
    for value in values[name]:
        word = CHOICES[name].word
        if effect[value] in known:
            other = known[effect[value]]
            shown = value if value is not None else other
            found.append((value, why.format(value=word(shown), other=word(other))))
        known.setdefault(effect[value], value)
    return found


def _longest(model: Model, contrast: Contrast, bos: Bos) -> int:
    return max(len(token_ids(model, text, bos)) for text in contrast.texts)

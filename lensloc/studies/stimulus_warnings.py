"""What a localization says of its stimuli, its model and its units before it is believed."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lensloc.contrasts.balance import (
    WARN_ABOVE,
    length,
    measure_balance,
    measured,
    standardised_difference,
)
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.measures import UNITS
from lensloc.display.sentences.selection import (
    constant_units,
    few_texts,
    nothing_localized,
    of_model,
    repeated_texts,
    shared_texts,
    unequal_lengths,
    unequal_measure,
)
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.selectivity import Selectivity
from lensloc.units.provenance import Provenance
from lensloc.units.stimuli import Stimulus

FDR = 0.05
_LENGTHS = 3


def stimulus_warnings(
    model: Model, contrast: Contrast, made: Provenance, lengths: Sequence[str]
) -> tuple[str, ...]:
    """Say what stands against stimuli and model: few texts, the same ones twice, lengths, lesions.

    Args:
        model: that ran them.
        contrast: the stimuli.
        made: of the result.
        lengths: what :func:`lengths_in_tokens` returned.
    """
    sides = [
        {text for name in names for text in contrast.conditions[name]}
        for names in (contrast.target, contrast.control)
    ]
    sizes = [len(side) for side in sides]
    shared = sides[0] & sides[1]
    # What both sides hold is told as that.
    times = Counter(contrast.texts)
    repeated = sum(n > 1 for text, n in times.items() if text not in shared)
    example, of = min(shared, default=""), kind_of_stimuli(contrast)
    if isinstance(example, Stimulus):
        example = example.name
    return (
        *of_model(untrained=made.untrained, check=made.check, lesion=made.lesion),
        *few_texts(sizes[0], sizes[1], of),
        *shared_texts(len(shared), sizes[0], sizes[1], example, of),
        *repeated_texts(repeated, of),
        *_lengths(model, contrast, lengths),
    )


def kind_of_stimuli(contrast: Contrast) -> str:
    """Return what the stimuli of a contrast are, in a word."""
    return contrast.texts[0].noun if isinstance(contrast.texts[0], Stimulus) else "text"


def map_warnings(found: Selectivity, of: str = "text") -> tuple[str, ...]:
    """Say what stands against a map: no unit that prefers the target, units that are constant."""
    made = found.provenance
    real = found.q < FDR
    # Of units that do vary, not one has a kurtosis of just zero.
    constant = (found.t == 0) & (found.p == 1) & (found.kurtosis == 0)
    return (
        *constant_units(int(constant.sum()), found.n_units, found.site, of),
        *nothing_localized(
            found.site,
            " + ".join(made.target) or "the target",
            " + ".join(made.control) or "the control",
            prefer_target=int((real & (found.t > 0)).sum()),
            prefer_control=int((real & (found.t < 0)).sum()),
        ),
    )


def token_lengths(
    model: Model, contrast: Contrast, max_tokens: int | None
) -> dict[str, list[float]]:
    """Return how many tokens of every target and control text are used."""
    most = max_tokens or surface(model).window
    return {
        role: [
            float(min(length(text, "tokens", model), most))
            for name in names
            for text in contrast.conditions[name]
        ]
        for role, names in (("target", contrast.target), ("control", contrast.control))
    }


def _measures(contrast: Contrast) -> Sequence[str]:
    """Say in which measures the sides differ, of stimuli that a wrapped module is run on."""
    found = measure_balance(contrast.conditions, contrast.target, contrast.control)
    of, told = kind_of_stimuli(contrast), []
    for measure, difference in found.differences.items():
        if abs(difference) > WARN_ABOVE:
            means = [
                float(np.mean([measured(text, measure) for text in side]))
                for side in (_side(contrast, contrast.target), _side(contrast, contrast.control))
            ]
            told.append(unequal_measure(measure, UNITS.get(measure, ""), means[0], means[1], of))
    return told


def _side(contrast: Contrast, names: Sequence[str]) -> list[str]:
    return [text for name in names for text in contrast.conditions[name]]


def lengths_in_tokens(
    model: Model, contrast: Contrast, max_tokens: int | None, known: Iterable[Selectivity] = ()
) -> tuple[str, ...]:
    """Return the lengths of target and control, as provenance has them; none without tokens.

    Args:
        model: that runs them.
        contrast: the stimuli.
        max_tokens: how many tokens of a text are used; all if None.
        known: maps of the same stimuli, which may say it; then no text is tokenized.
    """
    for found in known:
        if len(found.provenance.lengths) == _LENGTHS:
            return found.provenance.lengths
    if not surface(model).takes_tokens:
        return ()
    lengths = token_lengths(model, contrast, max_tokens)
    means = [float(np.mean(lengths[role])) for role in ("target", "control")]
    difference = standardised_difference(lengths["target"], lengths["control"])
    return tuple(repr(float(number)) for number in (*means, difference))


def _lengths(model: Model, contrast: Contrast, lengths: Sequence[str]) -> Sequence[str]:
    if not surface(model).takes_tokens:
        return _measures(contrast)
    target, control, difference = map(float, lengths)
    if abs(difference) <= WARN_ABOVE:
        return ()
    return (unequal_lengths(target, control),)

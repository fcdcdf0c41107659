"""What a localization says of its stimuli, its model and its units before it is believed."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lensloc.contrasts.balance import WARN_ABOVE, length, standardised_difference
from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.selection import (
    constant_units,
    few_texts,
    nothing_localized,
    of_model,
    repeated_texts,
    shared_texts,
    unequal_lengths,
)
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.selectivity import Selectivity
from lensloc.units.provenance import Provenance

FDR = 0.05


def stimulus_warnings(
    model: Model, contrast: Contrast, made: Provenance, max_tokens: int | None
) -> tuple[str, ...]:
    """Say what stands against stimuli and model: few texts, the same ones twice, lengths, lesions.

    Args:
        model: that ran them.
        contrast: the stimuli.
        made: of the result.
        max_tokens: how many tokens of a text were used; all if None.
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
    return (
        *of_model(untrained=made.untrained, check=made.check, lesion=made.lesion),
        *few_texts(sizes[0], sizes[1]),
        *shared_texts(len(shared), sizes[0], sizes[1], min(shared, default="")),
        *repeated_texts(repeated),
        *_lengths(model, contrast, max_tokens),
    )


def map_warnings(found: Selectivity) -> tuple[str, ...]:
    """Say what stands against a map: no unit that prefers the target, units that are constant."""
    made = found.provenance
    real = found.q < FDR
    # Of units that do vary, not one has a kurtosis of just zero.
    constant = (found.t == 0) & (found.p == 1) & (found.kurtosis == 0)
    return (
        *constant_units(int(constant.sum()), found.t.numel(), found.site),
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


def _lengths(model: Model, contrast: Contrast, max_tokens: int | None) -> Sequence[str]:
    lengths = token_lengths(model, contrast, max_tokens)
    difference = standardised_difference(lengths["target"], lengths["control"])
    if abs(difference) <= WARN_ABOVE:
        return ()
    means = [float(np.mean(lengths[role])) for role in ("target", "control")]
    return (unequal_lengths(*means),)

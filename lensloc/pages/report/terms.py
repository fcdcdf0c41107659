"""Terms of a report, and what they mean: shown where one points at them, or comes by keyboard."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from markupsafe import Markup

from lensloc.display.markup import isolated
from lensloc.units.outliers import OUTLIER_RATIO

TERMS: Mapping[str, str] = MappingProxyType(
    {
        "units": "A unit is one number that the model computes for every token: a dimension of "
        "the residual stream, a neuron, an attention head.",
        "residual stream": "The vector that every block reads and adds to; a dimension of it is "
        "the same wire in every layer.",
        "false discovery rate": "The share of false discoveries that one accepts by calling this "
        "unit and all with a smaller p selective.",
        "reliability": "How well t from one half of the stimuli agrees with t from the other, "
        "stepped up to the whole set; 1 is perfect.",
        "effect size": "The difference of two means in standard deviations (Cohen's d).",
        "outliers": "Units that are large whatever the stimulus: above "
        f"{OUTLIER_RATIO:g} times the median of their layer.",
        "lesion": "While the model runs, the units are switched off by hooks; weights stay as "
        "they are.",
        "control units": "As many other units, alike in layer, size or outliers, on other "
        "dimensions than the network's.",
        "draws": "A draw is one random set of control units.",
        "perplexity": "How surprised the model is per token; higher is worse.",
    }
)
_WORD = re.compile(r"\b(" + "|".join(map(re.escape, sorted(TERMS, key=len, reverse=True))) + r")\b")


def with_terms(text: str, told: set[str]) -> Markup:
    """Return a text in which the first use of every term says what it means.

    Args:
        text: the text.
        told: terms that are explained already; those that are here are added.
    """
    parts, end = [], 0
    for found in _WORD.finditer(text):
        if found[0] in told:
            continue
        told.add(found[0])
        meaning = Markup('<dfn tabindex="0" title="{}">{}</dfn>').format(TERMS[found[0]], found[0])
        parts += [isolated(text[end : found.start()]), meaning]
        end = found.end()
    return Markup("").join([*parts, isolated(text[end:])])

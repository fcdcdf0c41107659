"""What stands against neurons that were taken for a language's: every case once."""

import math

from lensloc.display.sentences.words import counted, percentage

# The null's 1 % is reached by chance; where most neurons do not reach it, they are no find.
MOST_BELOW = 0.5


def language_notes(language: str, n: int, below_null: float) -> list[str]:
    """Say so if a language has no neuron, or neurons that chance would give.

    Args:
        language: its name.
        n: its neurons.
        below_null: share of them whose entropy is below the null's 1 %; NaN without a null.
    """
    if n == 0:
        return [f"No neuron was identified for {language}."]
    if math.isnan(below_null) or below_null > MOST_BELOW:
        return []
    if n == 1:
        return [
            f"The neuron of {language} has an entropy that shuffled texts give too, so it may be "
            "chance."
        ]
    return [
        f"Only {percentage(below_null)} of the {counted(n, 'neuron')} of {language} have an "
        "entropy below the lowest 1 % under shuffled texts, so most of them may be chance."
    ]

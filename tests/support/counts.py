"""Counts of LAPE, drawn at random."""

import numpy as np
import torch

from lensloc.lape import ActivationCounts

LANGUAGES = ("de", "en", "fr", "tr")


def random_counts(
    seed: int, layers: int = 4, neurons: int = 50, n_languages: int = 4, most: int = 40
) -> ActivationCounts:
    """Few tokens, so that many probabilities and entropies are equal; and many zeros."""
    random = np.random.default_rng(seed)
    tokens = random.integers(most, 2 * most, size=n_languages)
    counts = random.integers(0, most, size=(layers, neurons, n_languages))
    counts[random.random(counts.shape) < 0.4] = 0
    counts[1, 3] = 0
    return ActivationCounts(
        torch.from_numpy(counts), torch.from_numpy(tokens), LANGUAGES[:n_languages]
    )

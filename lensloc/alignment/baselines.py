"""Features that know no network: what a score must be held beside."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lensloc.alignment.datasets import Stimuli
from lensloc.alignment.timecourse import Design
from lensloc.contrasts.frequency import zipf_frequencies

PASSAGE, SIMPLE, RATE = "passage + position", "length + position + frequency", "word rate"
_WIDTHS = (1.0, 4.0)


def passage_and_position(
    passages: Sequence[str],
    places: Float[np.ndarray, " sample"],
    widths: Sequence[float] = _WIDTHS,
) -> list[Float[np.ndarray, "sample _"]]:
    """Return features that say which passage a sample is from and where in it, and nothing else.

    For every passage a column that is 1 within it and 0 elsewhere; and for every sample a Gaussian
    bump around its place in its passage, 0 in all other passages (one-hot codes, smoothed within
    passages; after Feghhi et al. 2024), narrow and wide, each width a band of its own. What they
    predict is what is alike in neighbouring samples: drift, the passage, slow haemodynamics. They
    can predict nothing of a passage that is held out as a whole. Where they score, so does anything
    that changes slowly.

    Args:
        passages: passage of every sample.
        places: place of every sample in its passage.
        widths: standard deviations of the bumps, in samples.
    """
    labels = np.array(passages)
    same = labels[:, None] == labels
    distance = places[:, None] - places
    names = np.array(list(dict.fromkeys(passages)))
    bumps = [np.where(same, np.exp(-0.5 * (distance / width) ** 2), 0.0) for width in widths]
    return [(labels[:, None] == names).astype(np.float64), *bumps]


def length_position_frequency(
    stimuli: Stimuli, language: str = "en"
) -> Float[np.ndarray, "stimulus 5"]:
    """Return numbers of words and characters, place in the passage, mean and least frequency.

    Frequencies are on the Zipf scale (:func:`~lensloc.contrasts.frequency.zipf_frequencies`).
    """
    split = [text.split() for text in stimuli.texts]
    known = iter(zipf_frequencies([word for words in split for word in words], language).tolist())
    rows = []
    for text, words, rank in zip(stimuli.texts, split, stimuli.ranks().tolist(), strict=True):
        frequency = [next(known) for _ in words]
        rows.append(
            [len(words), len(text), rank, float(np.mean(frequency)), float(np.min(frequency))]
        )
    return np.array(rows, dtype=np.float64)


def n_words(stimuli: Stimuli) -> Float[np.ndarray, "stimulus 1"]:
    """Return how many words every stimulus has."""
    return np.array([[len(text.split())] for text in stimuli.texts], dtype=np.float64)


def baselines(design: Design, language: str = "en") -> dict[str, list[Float[np.ndarray, "kept _"]]]:
    """Return the bands of features of every baseline, by name; word rate for time series only."""
    found = {
        PASSAGE: passage_and_position(design.passages, design.places),
        SIMPLE: [design.features(length_position_frequency(design.stimuli, language))],
    }
    if design.responses.is_series:
        found[RATE] = [design.features(n_words(design.stimuli), total=True)]
    return found

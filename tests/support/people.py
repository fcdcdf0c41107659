"""Small results on people: encodings of made-up brains, a study of made-up reading times."""

import functools
from typing import Any

import numpy as np
import pandas as pd

import lensloc as ll
from lensloc.alignment.reading_data import ReadingTimes
from lensloc.alignment.reading_tables import Job, Measured, compare
from lensloc.alignment.surprisal import WordSurprisals

Features = ll.alignment.Features
PASSAGES, EACH = 12, 3
WORDS = "the old gardener watered every plant before sun came up nobody remembered".split()


def stimuli(passages: int = PASSAGES) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "text": [" ".join(draw.choice(WORDS, 6)) for _ in range(passages * EACH)],
            "passage": np.repeat([f"p{n}" for n in range(passages)], EACH),
        }
    )


@functools.cache
def encoding(
    split: Any = "grouped", *, layers: bool = False, ceilings: bool = True, draws: int = 3
) -> ll.alignment.Encoding:
    """Two networks of which the first is the signal; or three layers, each better than the last."""
    draw = np.random.default_rng(1)
    signal = draw.normal(size=(PASSAGES * EACH, 2))
    values = signal @ draw.normal(size=(2, 4)) + 0.5 * draw.normal(size=(PASSAGES * EACH, 4))
    known = {f"response {n}": 0.8 for n in range(1, 5)}
    responses = ll.alignment.BrainResponses.of(values, ceilings=known if ceilings else None)
    shares = {"layer 0": 0.0, "layer 3": 0.5, "layer 7": 1.0} if layers else {
        "language": 1.0, "<b>sums</b>": 0.0}  # fmt: skip
    features = []
    for name, share in shares.items():
        layer = int(name.split()[1]) if layers else None
        place: dict[str, Any] = {"network": name, "site": "resid_post", "layer": layer}
        noise = draw.normal(size=signal.shape)
        features.append(Features(share * signal + (1 - share) * noise, kind="network", **place))
        features += [
            Features(draw.normal(size=signal.shape), kind="control", name="layer", seed=n, **place)
            for n in range(draws)
        ]
        features.append(
            Features(draw.normal(size=signal.shape), kind="untrained", name="untrained", **place)
        )
    return ll.alignment.encode_features(
        features, stimuli(), responses, split=split, n_folds=3, n_resamples=30, progress=False
    )


@functools.cache
def reading(draws: int = 3) -> ll.alignment.ReadingStudy:
    """Times that follow surprisal; a lesion takes it away, controls leave it."""
    draw = np.random.default_rng(2)
    n = 240
    words = pd.DataFrame(
        {
            "story": np.repeat([str(s) for s in range(1, 7)], n // 6),
            "position": np.tile(np.arange(1, n // 6 + 1), 6),
            "word": draw.choice(WORDS, n),
        }
    )
    own = draw.gamma(4, 2, size=n)
    times = words.assign(time=300 + 6 * own + 8 * draw.normal(size=n))

    def measured(kind: str, seed: int | None, values: np.ndarray[Any, Any]) -> Measured:
        table = words.assign(n_tokens=1, surprisal=values + 0.1, corrected=values)
        job = Job("" if kind == "intact" else "language", kind, seed, None)
        return Measured(job, WordSurprisals(table, "beginning"), None if kind == "intact" else True)

    several = [measured("intact", None, own), measured("network", None, draw.gamma(4, 2, size=n))]
    several += [measured("layer", s, own + 0.5 * draw.normal(size=n)) for s in range(draws)]
    return compare(
        ReadingTimes.from_dataframe(times), several,
        n_folds=3, language="en", n_resamples=30, confidence=0.9, seed=0,
        settings={"mode": "zero"},
    )  # fmt: skip

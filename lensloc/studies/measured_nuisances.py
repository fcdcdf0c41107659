"""What may differ between the sides of a contrast beside what they are about, by stimulus."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lensloc.arguments import listed, require_a
from lensloc.contrasts.balance import length
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.frequency import zipf_frequencies
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import BatchSize
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, require_tokenizer, shortened, token_ids
from lensloc.selectivity.adjusting import adjusted_for
from lensloc.selectivity.statistics import Statistic
from lensloc.tasks.scoring import Scored, token_log_probs
from lensloc.units.stimuli import Stimulus

MEASURED = ("tokens", "characters", "words", "surprisal", "frequency")
"""What can be measured of texts."""
INSTEAD = "nuisances are regressed out instead; leave it out"


def nuisances(
    model: Model,
    contrast: Contrast,
    measures: Sequence[str] = ("tokens", "surprisal"),
    *,
    language: str = "en",
    bos: Bos = "model",
    max_tokens: int | None = None,
    batch_size: BatchSize = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Measure nuisances of the stimuli of target and control, to regress out of responses.

    Args:
        model: counts tokens, and tells surprisal, as it is: whatever lesion is open holds here too.
        contrast: the stimuli.
        measures: of texts ``tokens``, ``characters``, ``words``, ``surprisal`` (mean nats per
            token, of all but the first) and ``frequency`` (mean Zipf frequency of the words, 3 for
            once in a million; needs ``lensloc[alignment]``); of other stimuli what their
            :meth:`~lensloc.Contrast.balance` measures, e.g. ``brightness``.
        language: of the words, for ``frequency``.
        bos: whether a beginning-of-text token stands before a text.
        max_tokens: of every text only so many tokens are read.
        batch_size: texts per batch.
        progress: show a progress bar.

    Returns:
        One row per stimulus, in the order of ``contrast.texts``; one column per measure.

    Raises:
        LensLocError: an unknown measure; a text of one token, which has no surprisal.
    """
    surface(model)
    require_a(Contrast, contrast, "contrast")
    wanted = list(dict.fromkeys(listed(measures, str)))
    texts = contrast.texts
    refuse_idle(
        "it is of words, for 'frequency', which is not measured; leave it out",
        language=language != "en" and "frequency" not in wanted,
    )
    if any(isinstance(text, Stimulus) for text in texts):
        refuse_idle(
            "stimuli that are no texts have no tokens; leave it out",
            bos=bos != "model",
            max_tokens=max_tokens is not None,
        )
        return _of_media(texts, wanted)
    if {"tokens", "surprisal"} & set(wanted):
        require_tokenizer(model)

    def surprisals() -> list[float]:
        return _surprisals(model, texts, bos, max_tokens, batch_size, progress)

    ways: dict[str, Callable[[], Any]] = {
        "tokens": lambda: [len(token_ids(model, text, bos)[:max_tokens]) for text in texts],
        "characters": lambda: [length(text, "characters") for text in texts],
        "words": lambda: [length(text, "words") for text in texts],
        "surprisal": surprisals,
        "frequency": lambda: _frequencies(texts, language),
    }
    _require_known(wanted, ways)
    table: pd.DataFrame = pd.DataFrame(
        {name: np.asarray(ways[name](), dtype=np.float64) for name in wanted}
    )
    return table


def tested_by(
    test: str | Statistic, given: Any, model: Model, contrast: Contrast, options: Mapping[str, Any]
) -> str | Statistic:
    """Return a test, or where nuisances are given the statistic that regresses them out.

    Args:
        test: what is done without nuisances.
        given: names of nuisances, a table of them, or None.
        model: measures them.
        contrast: the stimuli.
        options: of :func:`nuisances`.

    Raises:
        LensLocError: as :func:`nuisances` and :func:`lensloc.adjusted_for`; a table of other
            stimuli.
    """
    if given is None:
        return test
    named = isinstance(given, str) or (
        isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
    )
    made = adjusted_for(nuisances(model, contrast, given, **options) if named else given)
    if len(made.nuisances) != len(contrast.texts):
        raise LensLocError(
            f"nuisance has {len(made.nuisances)} rows, and target and control "
            f"{len(contrast.texts)} stimuli; give one row for each of contrast.texts."
        )
    return made


def _require_known(wanted: Sequence[str], known: Mapping[str, Any]) -> None:
    if not wanted:
        raise LensLocError(f"No nuisance was named; there are {', '.join(known)}.")
    for name in wanted:
        if name not in known:
            raise LensLocError(
                f"{name!r} is no nuisance that is measured here; there are {', '.join(known)}, and "
                "a table of your own may hold any."
            )


def _of_media(texts: Sequence[str], wanted: Sequence[str]) -> pd.DataFrame:
    rows = [dict(text.measures) if isinstance(text, Stimulus) else {} for text in texts]
    _require_known(wanted, {name: 1 for name in rows[0] if all(name in row for row in rows)})
    table: pd.DataFrame = pd.DataFrame(
        {name: [float(row[name]) for row in rows] for name in wanted}
    )
    return table


def _surprisals(
    model: Model,
    texts: Sequence[str],
    bos: Bos,
    max_tokens: int | None,
    batch_size: BatchSize,
    progress: bool,
) -> list[float]:
    if not surface(model).is_causal:
        raise LensLocError(
            "Surprisal is of a token given those before it, and this model reads both ways; leave "
            "it out."
        )
    sequences = []
    for row, text in enumerate(texts, start=1):
        ids = token_ids(model, text, bos)[:max_tokens]
        if len(ids) < 2:
            raise LensLocError(
                f"Stimulus {row} ({shortened(text)}) is one token, which nothing stands before, so "
                "it has no surprisal; use bos='add', or leave surprisal out."
            )
        sequences.append(Scored(tuple(ids), 1, f"stimulus {row}"))
    found = token_log_probs(
        model, sequences, batch_size=batch_size, progress=progress, description="surprisal"
    )
    return [-float(each.mean()) for each in found]


def _frequencies(texts: Sequence[str], language: str) -> list[float]:
    split = [text.split() for text in texts]
    known = iter(zipf_frequencies([word for words in split for word in words], language).tolist())
    return [float(np.mean([next(known) for _ in words])) for words in split]

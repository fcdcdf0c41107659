"""Does a model's surprisal tell how long people read a word, and do lesions take that away?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lensloc.alignment import _model
from lensloc.alignment._model import BatchSize, Bos
from lensloc.alignment.control_units import each_of
from lensloc.alignment.reading_data import ReadingTimes
from lensloc.alignment.reading_tables import Job, Measured, compare
from lensloc.alignment.surprisal import Marks, WordSurprisals, word_surprisals
from lensloc.alignment.tables import Table, require_columns
from lensloc.arguments import require_numbers
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.surface import Model
from lensloc.results.readings import INTACT, NETWORK
from lensloc.results.readings import ReadingStudy as ReadingStudy
from lensloc.units.control_sets import Controls
from lensloc.units.control_sets import controls as default_controls
from lensloc.units.mask import UnitMask

CONTROLS = default_controls("layer", seeds=range(10))


def reading_times(
    model: Model,
    data: ReadingTimes | Table,
    lesions: UnitMask | Mapping[str, UnitMask] | None = None,
    *,
    controls: Controls | Sequence[Controls] | None = CONTROLS,
    mode: str | Mapping[str, Any] = "zero",
    bos: Bos = "model",
    window: int | None = None,
    n_folds: int = 10,
    language: str = "en",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: bool = True,
) -> ReadingStudy:
    """Measure how much a model's surprisal tells about reading times, intact and lesioned.

    Two linear regressions predict the times of stories that were held out. The first knows length
    (characters) and log frequency (Zipf scale) of the word and of the two before it. The second
    also knows the surprisal of these three words (spill-over). The gain is the difference of their
    mean log-likelihoods, in nats per time. Surprisal is corrected for white space, and beside that
    not corrected, as most of the literature has it; see :func:`~lensloc.alignment.word_surprisals`
    for the formula. For data of single readers, every reader has an intercept of their own.

    Args:
        model: a loaded model.
        data: reading times; see :meth:`ReadingTimes.from_dataframe
            <lensloc.alignment.ReadingTimes.from_dataframe>`.
        lesions: networks to lesion, by name; none if None.
        controls: which units are lesioned beside each network, or several of these; None for
            none. Only with ``lesions``.
        mode: of the lesions, as in :func:`lensloc.lesion`; or its arguments,
            ``{"mode": "scale", "scale": 0.5}``.
        bos: whether a beginning-of-text token stands before every story.
        window: most tokens read at once.
        n_folds: folds, of whole stories; as many as there are stories if these are fewer.
        language: of the words, for their frequencies.
        n_resamples: of the bootstrap over stories.
        confidence: of its intervals.
        seed: of the bootstrap.
        batch_size: windows per batch; does not change the result.
        progress: show progress bars.

    Raises:
        LensLocError: words that do not line up with their text, fewer than two stories, too few
            times; a lesion that is refused. Each names what and where.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, n_folds=n_folds, confidence=confidence)
    _model.require_model(model)
    arguments = {"mode": mode} if isinstance(mode, str) else dict(mode)
    if lesions is None:
        refuse_idle(
            "nothing is lesioned; name networks (lesions), or leave it out",
            controls=controls is not None and controls != CONTROLS,
            mode=arguments != {"mode": "zero"},
        )
    words = ReadingTimes.of(data)
    jobs = _jobs(model, lesions, controls, arguments)
    measured: list[Measured] = []
    told: list[str] = []
    with progress_bar(progress and len(jobs) > 1, len(jobs), "lesions") as advance:
        for job in jobs:
            found, effect = None, None
            try:
                with _model.quietly_lesioned(model, job.mask, arguments) as opened:
                    found = word_surprisals(
                        model,
                        words,
                        bos=bos,
                        window=window,
                        batch_size=batch_size,
                        progress=progress and len(jobs) == 1,
                    )
                effect = None if opened is None else opened.effect.took_effect
            except LensLocError as error:
                if job.mask is None:
                    raise
                told.append(f"{job.words} gave no surprisal and has no figures ({error})")
            measured.append(Measured(job, found, effect))
            advance(1)
    made = _model.provenance(model, lesion=str(arguments["mode"]) if lesions is not None else "")
    return compare(
        words,
        measured,
        n_folds=n_folds,
        language=language,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
        settings={"mode": arguments["mode"], "bos": bos, "window": window},
        warnings=told,
        provenance=made,
    )


def predict_times(
    data: ReadingTimes | Table,
    surprisals: WordSurprisals | pd.DataFrame,
    *,
    n_folds: int = 10,
    language: str = "en",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ReadingStudy:
    """Measure how much surprisals that are known already tell about reading times.

    Args:
        data: reading times.
        surprisals: of all words; or a table with columns ``story``, ``position``, ``surprisal``
            and, if known, ``corrected``.

    The other arguments are those of :func:`reading_times`.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, n_folds=n_folds, confidence=confidence)
    words = ReadingTimes.of(data)
    if isinstance(surprisals, WordSurprisals):
        found = surprisals
    else:
        require_columns(surprisals, ["story", "position", "surprisal"], "The table of surprisals")
        table = surprisals.assign(story=surprisals["story"].astype(str))
        if "corrected" not in table.columns:
            table = table.assign(corrected=np.nan)
        marks: Marks = "none" if table["corrected"].isna().all() else "beginning"
        found = WordSurprisals(table, marks)
    return compare(
        words,
        [Measured(Job("", INTACT, None, None), found, None)],
        n_folds=n_folds,
        language=language,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
        provenance=found.provenance,
    )


# -- what is lesioned ------------------------------------------------------------------------------


def _jobs(
    model: Model,
    lesions: UnitMask | Mapping[str, UnitMask] | None,
    controls: Controls | Sequence[Controls] | None,
    arguments: Mapping[str, Any],
) -> list[Job]:
    networks = {"network": lesions} if isinstance(lesions, UnitMask) else dict(lesions or {})
    jobs = [Job("", INTACT, None, None)]
    for name, mask in networks.items():
        jobs.append(Job(name, NETWORK, None, mask))
        for wanted in each_of(controls):
            jobs += [Job(name, each.kind, each.seed, each.mask) for each in wanted(mask)]
    _model.require_lesions(model, [job.mask for job in jobs if job.mask is not None], arguments)
    return jobs

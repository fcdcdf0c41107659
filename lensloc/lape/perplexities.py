"""Masks of languages x texts of languages -> how lesions of the ones change the others' loss."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lensloc.arguments import require_numbers
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.readers import require_texts
from lensloc.display.places import path_of
from lensloc.display.sentences.control_draws import draw_notes
from lensloc.display.sentences.lesions import lesion_notes
from lensloc.errors import LensLocError
from lensloc.lape.bundled import LANGUAGES, prose
from lensloc.lape.identifying import require_neurons
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesion_cases import cases_of, idle_lesions, lesion_warnings, matches_of
from lensloc.results.lesions import LesionStudy
from lensloc.results.matrices import LanguageMatrix
from lensloc.studies import lesion_study
from lensloc.studies.store import StoreLike
from lensloc.tasks import perplexity as perplexity_task
from lensloc.units.control_sets import Controls, controls
from lensloc.units.mask import UnitMask

_RANDOM = controls(seeds=range(3))


def perplexity(
    model: Model,
    masks: Mapping[str, UnitMask],
    texts: Mapping[str, Sequence[str] | str | Path] | None = None,
    *,
    mode: str = "zero",
    controls: Controls | Sequence[Controls] = _RANDOM,
    limit: int | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    store: StoreLike = None,
    text: str = "text",
    sep: str | None = None,
    encoding: str | None = None,
    progress: bool = True,
) -> LanguageMatrix:
    """Switch each language's neurons off and measure the loss on every language.

    The matrix of arXiv 2402.16438, as changes of log perplexity, with intervals over texts and
    beside as many random neurons.

    Args:
        model: a loaded model.
        masks: language -> neurons, e.g. ``identify(counts).masks``.
        texts: language -> texts in a list, or a ``.txt``, ``.csv``, ``.tsv``, ``.jsonl`` or
            ``.parquet`` file, that the neurons were not identified on; the bundled held-out prose
            in the masks' languages if None.
        mode: of the lesion, one that needs no further argument.
        controls: what to hold beside every language's neurons: as many random ones, in three draws,
            if not given.
        limit: use only so many texts of a language, the first ones.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.
        confidence: of its intervals.
        store: where results are kept and looked up.
        text: name of the column of texts of files.
        sep: what separates the cells of files; see :meth:`lensloc.Contrast.from_file`.
        encoding: of files; as there.
        progress: show a progress bar with the time left.

    Returns:
        One row per lesion and tested language.

    Raises:
        LensLocError: no masks or texts; a language without neurons; a file that cannot be read, or
            whatever lesion and controls refuse.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, confidence=confidence)
    surface(model)
    require_neurons(masks)
    if texts is None:
        missing = [name for name in masks if name not in LANGUAGES]
        if missing:
            raise LensLocError(
                f"There is no bundled prose in {', '.join(missing)}; give texts, "
                "{language: texts or file}."
            )
        texts = prose(list(masks), "held-out")
    form = TableForm.of({"text": text}, sep, encoding)
    files = [path_of(given) for given in texts.values() if isinstance(given, str | Path)]
    if not files:
        form.require_unsaid("none of these texts")
    form.require_fits(*files)
    tasks = [
        perplexity_task(given, limit=limit, name=name, **form.fitted(path_of(given)).said)
        if isinstance(given, str | Path)
        else perplexity_task(require_texts(given, f"Text of {name!r}"), limit=limit, name=name)
        for name, given in texts.items()
    ]
    study = lesion_study(
        model,
        # Without their ranking, which would ask for sizes in per cent.
        {name: dataclasses.replace(mask, score=None) for name, mask in masks.items()},
        tasks,
        controls,
        modes=[mode],
        seed=seed,
        n_resamples=n_resamples,
        confidence=confidence,
        exact=True,  # a matrix has as many draws and texts in every cell
        store=store,
        progress=progress,
    )
    return _matrix(study)


def _matrix(study: LesionStudy) -> LanguageMatrix:
    found = study.table
    table = found.rename(columns={"network": "lesioned", "task": "tested", "n_items": "n_texts"})
    intact = np.log(found["intact"])
    table = table.assign(
        change=found["drop"],
        change_low=found["drop_low"],
        change_high=found["drop_high"],
        # Not by the perplexity itself, which may be larger than any float.
        log_perplexity=intact + found["drop"],
        intact=intact,
    )
    columns = [
        *("model", "lesioned", "kind", "seed", "n_units", "tested", "n_texts"),
        *("log_perplexity", "intact", "change", "change_low", "change_high"),
        *("difference", "difference_low", "difference_high", "p_more", "p_less"),
        *("took_effect", "moved", "finite"),
    ]
    return LanguageMatrix(table[columns], study.confidence, _warnings(study))


def _warnings(study: LesionStudy) -> tuple[str, ...]:
    """Return what to mind; controls matter where a language's units meet their own language."""
    of_table = set(lesion_warnings(study.table, study.confidence))
    given = [sentence for sentence in study.warnings if sentence not in of_table]
    own = study.table[study.table["network"] == study.table["task"]]
    notes = [
        *idle_lesions(study.table),
        *lesion_notes(cases_of(own, confidence=study.confidence)),
        *draw_notes(matches_of(own), study.confidence),
    ]
    return tuple(dict.fromkeys([*given, *notes]))

"""The multiverse: a claim about a lesion under every combination of analysts' choices."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lensloc.arguments import require_a, require_numbers
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.words import counted
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import BatchSize
from lensloc.lesions.references import (
    Reference,
)
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.specification_curves import Multiverse
from lensloc.studies.calls import written_call
from lensloc.studies.measuring import Runner
from lensloc.studies.selections import NO_PAIRS, PAIRS, Source
from lensloc.studies.specification_grid import Grid, grid_of
from lensloc.studies.specification_measuring import Measuring, Outlook
from lensloc.studies.specification_units import prepared_for
from lensloc.studies.specifications import is_drawn
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, texts_of
from lensloc.tasks.of_functions import TaskLike, as_tasks
from lensloc.units.control_sets import require_draws
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import DRAWS


def multiverse(
    model: Model,
    contrast: Contrast,
    tasks: Sequence[TaskLike],
    choices: Mapping[str, Any] | None = None,
    *,
    reference_specification: Mapping[str, Any] | None = None,
    draws: int = DRAWS,
    reference: Reference | None = None,
    pairs: Pairs | None = None,
    exact: bool = False,
    seed: int = 0,
    confidence: float = 0.95,
    truncate: bool = False,
    batch_size: BatchSize = "auto",
    store: StoreLike = None,
    progress: bool = True,
) -> Multiverse:
    """Ask one question under every combination of analysts' choices (a specification curve).

    The question is whether a lesion of the units that a contrast selects does more harm than a
    lesion of control units. Every combination of choices is one specification (Simonsohn et al.
    2020; Steegen et al. 2016), which answers it as :func:`lensloc.localize`,
    :func:`lensloc.controls` and :func:`lensloc.lesion_study` would. The stimuli are run through
    the model once for every pooling, cut and beginning-of-text token, for all sites and tests; a
    lesion of the same units, mode and task is measured once. With a store, what was interrupted
    goes on where it stopped.

    Args:
        model: a loaded model.
        contrast: what units are selected by.
        tasks: what is measured, e.g. ``[ll.tasks.minimal_pairs()]``.
        choices: choice -> its values, of which all combinations are made; what is not named stays
            as in the reference specification. There are ``selection`` (``"t"``, ``"d"``,
            ``"gradient"``: activation times gradient, see :func:`lensloc.attribute`, ``"pairs"``:
            attribution patching, see :func:`lensloc.localize_pairs`),
            ``activations`` (``"absolute"``, ``"signed"``), ``test`` (``"welch"``, ``"paired"``),
            ``pooling``, ``max_tokens`` (None for whole stimuli), ``bos``, ``site``, ``percent``,
            ``mode`` (as in :func:`lensloc.lesion_study`), ``control`` (a kind of
            :func:`lensloc.controls`). If None, a grid of the usual ones
            (:data:`lensloc.vocabulary.ANALYSTS`).
        reference_specification: choice -> its value in the specification that others are held
            against; where it names none, the library's default (:data:`lensloc.vocabulary.\
SPECIFICATION`) if it is among the values, otherwise their first.
        draws: of every control that is drawn; 19 are the fewest with which the test over draws can
            reach 5 %, with 2 nothing can be concluded.
        reference: of the modes that need one; the contrast if None.
        pairs: clean/corrupted pairs, for the selection ``"pairs"``.
        exact: measure all draws on all items; see :func:`lensloc.lesion_study`.
        seed: of intervals, resampling modes, and of the items that come first.
        confidence: of intervals, and of the test over draws.
        truncate: cut stimuli that are longer than the context window.
        batch_size: stimuli per batch; does not change the result.
        store: where results are kept and looked up: a folder.
        progress: show progress bars with the time left.

    Returns:
        One row per specification and task, in how many the claim holds, and which choice matters.

    Raises:
        LensLocError: a choice or value that there is not, a choice without values or effect, no
            task, a reference specification that cannot be made, or what localizing, lesioning and
            the tasks refuse in all specifications. Combinations that cannot be made are left out
            and counted (``left_out``).
    """
    given = dict(locals())
    found = run_multiverse(
        model, contrast, tasks, choices,
        reference_specification=reference_specification, draws=draws, reference=reference,
        pairs=pairs, exact=exact, seed=seed, confidence=confidence, truncate=truncate,
        batch_size=batch_size, store=store, progress=progress,
    )  # fmt: skip
    return dataclasses.replace(found, call=written_call("ll.multiverse", multiverse, given))


def run_multiverse(
    model: Model,
    contrast: Contrast,
    tasks: Sequence[TaskLike],
    choices: Mapping[str, Any] | None,
    *,
    reference_specification: Mapping[str, Any] | None,
    draws: int,
    reference: Reference | None,
    pairs: Pairs | None,
    exact: bool,
    seed: int,
    confidence: float,
    truncate: bool,
    batch_size: BatchSize,
    store: StoreLike,
    progress: bool,
    tell: Callable[[Outlook], None] | None = None,
) -> Multiverse:
    """Measure as :func:`multiverse`.

    Args:
        tell: is told what there is to do, once units are chosen and before anything is lesioned.
    """
    require_numbers(seed=seed, draws=draws, confidence=confidence)
    surface(model)
    require_a(Contrast, contrast, "contrast")
    tasks = as_tasks(tasks)
    if not tasks:
        raise LensLocError("There is no task to measure; give at least one, e.g. minimal_pairs().")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise LensLocError(f"Two tasks have one name ({', '.join(names)}); name them apart.")
    if draws < 1:
        raise LensLocError("draws is at least 1.")
    require_draws(draws)
    grid = grid_of(model, contrast, choices, reference_specification, reference, seed)
    _require_pairs(grid, pairs)
    kept, card = Store.of(store), describe(model)
    source = Source(
        model, contrast, grid.specifications, pairs=pairs,
        truncate=truncate, batch_size=batch_size, store=kept, progress=progress,
    )  # fmt: skip
    prepared = prepared_for(model, grid, source, draws)
    run = Runner(model, card, kept)
    measuring = Measuring(run, prepared, tasks, exact, confidence, seed)
    if tell is not None:
        tell(measuring.outlook(model, source.passes))
    rows = list(measuring.rows(progress))
    table: pd.DataFrame = pd.DataFrame(rows)
    selected_on = TextSet()
    for chosen in prepared.chosen.values():
        selected_on |= chosen.mask.selected_on
    warnings = [
        *(sentence for chosen in prepared.chosen.values() for sentence in chosen.warnings),
        *_shared(selected_on, tasks),
        *(sentence for result in measuring.intact.values() for sentence in result.warnings),
    ]
    columns = ["kind", "n", "choices", "reason"]
    left_out: pd.DataFrame = pd.DataFrame(
        [dataclasses.asdict(each) for each in prepared.left_out], columns=columns
    )
    drawn = any(is_drawn(each.control) for each in prepared.chosen)
    return Multiverse(
        table.astype({"n_items": "Int64", "draws": "Int64", "n_compared": "Int64"}),
        left_out,
        grid.combinations,
        confidence,
        draws if drawn else 0,
        tuple(dict.fromkeys(warnings)),
    )


def _require_pairs(grid: Grid, pairs: Pairs | None) -> None:
    wanted = any(one.selection == PAIRS for one in grid.specifications)
    if pairs is None:
        if wanted:
            raise LensLocError(NO_PAIRS)
        return
    require_a(Pairs, pairs, "pairs")
    reason = f"no selection is by pairs; name it, choices={{'selection': ['t', {PAIRS!r}]}}"
    refuse_idle(reason, pairs=not wanted)


def _shared(selected_on: TextSet, tasks: Sequence[Task]) -> Iterator[str]:
    """Say which tasks use texts that units were selected on."""
    for task in tasks:
        n = len(selected_on & TextSet.of(texts_of(task)))
        if n:
            yield (
                f"{counted(n, 'text')} of the task {task.name} are among the stimuli that units "
                "are selected on; take a half of these (split), or task.without(texts)."
            )

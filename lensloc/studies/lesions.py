"""What does a lesion break, more than its controls do?"""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lensloc.arguments import listed, require_named, require_numbers
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.texts import require_whole
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, LensLocWarning, unwarned
from lensloc.forward.batches import BatchSize, require_batch_size
from lensloc.forward.sites import usual_site
from lensloc.lesions.lesioning import Effect
from lensloc.lesions.references import Reference, reference_responses, reference_site
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesions import NETWORK, LesionStudy
from lensloc.selectivity import Selectivity
from lensloc.studies.calls import written_call
from lensloc.studies.in_turn import Measured, draws_in_turn
from lensloc.studies.lesion_modes import Mode, PlannedMode, planned_modes
from lensloc.studies.lesion_table import Job, Row, items_table, own_balance, table_of
from lensloc.studies.lesion_warnings import study_warnings
from lensloc.studies.localization import localize
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, TaskResult, texts_of
from lensloc.tasks.of_functions import TaskLike, as_tasks
from lensloc.units.control_sets import Controls, ControlSet
from lensloc.units.mask import UnitMask
from lensloc.units.matching import draws_alike
from lensloc.units.rules import require_percent
from lensloc.units.selection import count_from_percent, least_note
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import PERCENTS as PERCENTS
from lensloc.vocabulary import Positions


def lesion_study(
    model: Model,
    masks: Mapping[str, UnitMask | Selectivity | Contrast],
    tasks: Sequence[TaskLike],
    controls: Controls | Sequence[Controls] = (),
    percents: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    modes: Sequence[Mode] = ("zero",),
    *,
    site: str | None = None,
    reference: Reference | None = None,
    positions: Positions = "all",
    seed: int = 0,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    exact: bool = False,
    batch_size: BatchSize = "auto",
    store: StoreLike = None,
    progress: bool = True,
) -> LesionStudy:
    """Lesion networks and their controls, in several sizes and modes, and measure every task.

    The intact model is scored once per task. What was measured is kept in the store as soon as it
    is there, so a study that was interrupted goes on where it stopped.

    Args:
        model: a loaded model.
        masks: name -> network. A mask is lesioned as it is. A selectivity map is cut to every size
            in ``percents`` by t. A contrast is localized first, then cut likewise; if a task uses
            some of its texts, units are picked on one half of the contrast, and the task leaves
            that half out.
        tasks: what to measure, e.g. ``[ll.tasks.minimal_pairs()]``.
        controls: what to hold beside every network, e.g. ``ll.controls("magnitude+outliers")``.
        percents: sizes, in per cent of the site's units. If None, masks keep theirs, and maps and
            contrasts are cut to 0.125, 0.25, 0.5, 1, 2 and 5 % (less of these where several come to
            the same number of units). If given, masks are cut too, which needs their ranking
            (``top`` and ``bottom`` have one, also after saving as ``.safetensors``). A mapping,
            name -> sizes, is for some networks only. A size that is less than one unit gives one,
            with a warning.
        modes: ``"zero"``, ``"mean"``, ``"resample"``, ``"write"``, or with arguments of
            :func:`lensloc.lesion`: ``{"mode": "scale", "scale": 0.5}``,
            ``{"mode": "zero", "positions": "last"}``. At the residual stream also ``"dims-mean"``
            and the like: the network's dimensions in every layer
            (:meth:`lensloc.UnitMask.throughout`), beside controls of these.
        site: where contrasts are localized; block outputs if None, of a wrapped module the first of
            its sites.
        reference: of the modes that need one.
        positions: as in :func:`lensloc.lesion`.
        seed: of the bootstrap, of resampling lesions, and of the halves of a contrast.
        n_resamples: of the bootstrap.
        confidence: of its intervals, and of the test over control draws.
        exact: measure all control draws on all items. Otherwise a draw is measured on a part of the
            items only, if that settles whether it does more or less harm than the network; and no
            more draws are made once two did more and two did less. See
            :mod:`lensloc.results.sequential`.
        batch_size: texts per batch when contrasts are localized and of a reference; does not change
            the result. Tasks have one of their own.
        store: where results are kept and looked up.
        progress: show a progress bar with the time left.

    Returns:
        One row per lesion and task; see :class:`~lensloc.results.lesions.LesionStudy`.

    Raises:
        LensLocError: no mask, no task, a size that a mask cannot have, an argument that has no
            effect, or whatever lesion, controls and tasks refuse, before the model is run where
            that can be told; an intact model that gives no numbers. (A lesion that leaves none is a
            row without a score.)
    """
    given = dict(locals())
    require_numbers(seed=seed, n_resamples=n_resamples, confidence=confidence)
    require_batch_size(batch_size)
    surface(model)
    require_named((UnitMask, Selectivity, Contrast), masks, "Networks", like="{name: mask}")
    tasks, modes = as_tasks(tasks), listed(modes, str, Mapping)
    percents = percents if percents is None or isinstance(percents, Mapping) else listed(percents)
    if not masks:
        raise LensLocError("There is no network to lesion; give at least one mask.")
    if not tasks:
        raise LensLocError("There is no task to measure; give at least one, e.g. minimal_pairs().")
    _require_names([task.name for task in tasks], masks)
    if n_resamples < 1:
        raise LensLocError("n_resamples is at least 1.")
    if site is not None and not any(isinstance(given, Contrast) for given in masks.values()):
        raise LensLocError(
            f"site={site!r} says where contrasts are localized, and none was given: masks and maps "
            "have a site of their own; leave it out."
        )
    sizes = _sizes(percents, masks)
    store = Store.of(store)
    several = (controls,) if isinstance(controls, Controls) else tuple(controls)
    planned = planned_modes(modes, reference, positions, seed)
    if batch_size != "auto":  # of a reference that a mode has of its own
        planned = tuple(mode.with_batches(batch_size) for mode in planned)
    card = describe(model)
    place = site or usual_site(model)
    networks = {
        name: _network(model, name, given, tasks, sizes[name], place, seed, batch_size, progress)
        for name, given in masks.items()
    }
    if isinstance(reference, Contrast):  # captured once, not once per lesion
        sites = {mask.site for network in networks.values() for mask in network.masks.values()}
        needed = {reference_site(at, mode.mode) for at in sites for mode in planned if mode.needs}
        held = reference_responses(model, reference, needed, batch_size)
        planned = tuple(mode.with_reference(held) for mode in planned)
    groups = [
        group
        for name, network in networks.items()
        for group in _groups(model, name, network, several, planned)
    ]
    run = Runner(model, card, store)
    # One step per task and lesion, and one per task of the intact model.
    total = sum(group.size * len(networks[group.job.network].tasks) for group in groups)
    total += sum(len(network.tasks) for network in networks.values())
    with progress_bar(progress, total, "lesions") as advance:
        intact: dict[tuple[str, str], TaskResult] = {}
        for name, network in networks.items():
            for task in network.tasks:
                intact[name, task.name], _ = run.measure(task)
                advance(1)
        rows: list[Row] = []
        for number, group in enumerate(groups):
            of = networks[group.job.network]
            after = [each.job.lesion for each in groups[number + 1 :]]
            by_task = [
                _measured(
                    run, group, after, task, intact[group.job.network, task.name],
                    exact=exact, confidence=confidence, seed=seed, advance=advance,
                )
                for task in of.tasks
            ]  # fmt: skip
            order = {job: at for at, job in enumerate(group.jobs)}
            rows += sorted((row for found in by_task for row in found), key=lambda r: order[r.job])
    table = table_of(card, rows, intact, n_resamples, confidence, seed)
    for sentence in (note for network in networks.values() for note in network.notes):
        warnings.warn(sentence, LensLocWarning, stacklevel=2)
    told = [
        f"{name}: {sentence}" if len(networks) > 1 else sentence
        for name, network in networks.items()
        for sentence in (*network.notes, *network.warnings)
    ]
    call = written_call("ll.lesion_study", lesion_study, given)
    results = [row.measured.result for row in rows]
    told += study_warnings(table, results, intact)
    return LesionStudy(table, confidence, tuple(told), call, items_table(rows, intact))


# -- what to lesion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A network in every size, the tasks that may be measured on it, and what to know of it.

    Attributes:
        masks: size in per cent -> units.
        tasks: what is measured.
        notes: sizes that came out otherwise than asked for.
        warnings: what speaks against the result.
    """

    masks: Mapping[float, UnitMask]
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Group:
    """The lesion of a network, and those that are held beside it, by kind of control."""

    job: Job
    controls: Mapping[str, Sequence[Job]]

    @property
    def jobs(self) -> list[Job]:
        """All of them, the network first."""
        return [self.job, *(job for several in self.controls.values() for job in several)]

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.jobs)


def _require_names(tasks: Sequence[str], networks: Iterable[str]) -> None:
    """Check that tables can hold the names of tasks and networks."""
    if len(set(tasks)) < len(tasks):
        raise LensLocError(f"Two tasks have one name ({', '.join(tasks)}); name them apart.")
    for name in tasks:
        require_whole(name, "a task")
    for name in networks:
        require_whole(name, "a network")


def _sizes(
    percents: Sequence[float] | Mapping[str, Sequence[float]] | None, names: Collection[str]
) -> dict[str, tuple[float, ...] | None]:
    """Return the sizes that were asked for of every network; None if none were."""
    given = percents if isinstance(percents, Mapping) else dict.fromkeys(names, percents)
    for name in given:
        if name not in names:
            raise LensLocError(
                f"percents names {name!r}, which is no network; there are {', '.join(names)}."
            )
    sizes: dict[str, tuple[float, ...] | None] = {}
    for name in names:
        wanted = given.get(name)
        several = () if wanted is None else listed(wanted, str)
        for size in several:
            require_percent(size)
        sizes[name] = None if wanted is None else tuple(map(float, several))
        if sizes[name] == ():
            raise LensLocError("percents is empty; give at least one size.")
    return sizes


def _network(
    model: Model,
    name: str,
    given: UnitMask | Selectivity | Contrast,
    tasks: Sequence[Task],
    percents: Sequence[float] | None,
    site: str,
    seed: int,
    batch_size: BatchSize,
    progress: bool,
) -> _Network:
    kept = tuple(tasks)
    if isinstance(given, Contrast):
        given, kept = _kept_apart(given, tasks, seed)
        given = localize(model, given, [site], batch_size=batch_size, progress=progress)[site]
    told = given.warnings
    with unwarned():  # the study says it
        masks, notes = _sized(name, given, percents)
    selected_on = next(iter(masks.values())).selected_on
    shared = shared_texts(name, selected_on, kept)
    return _Network(masks, kept, tuple(notes), (*told, *shared))


def _kept_apart(
    contrast: Contrast, tasks: Sequence[Task], seed: int
) -> tuple[Contrast, tuple[Task, ...]]:
    """Return a half of the contrast and the tasks without its texts, where they share some."""
    everything = contrast.text_set
    if not any(len(everything & TextSet.of(texts_of(task))) for task in tasks):
        return contrast, tuple(tasks)
    half, _ = contrast.split(seed)
    picked_on = half.text_set
    return half, tuple(
        task.without(picked_on) if hasattr(task, "without") else task for task in tasks
    )


def shared_texts(network: str, selected_on: TextSet, tasks: Sequence[Task]) -> list[str]:
    """Say which tasks use texts that a network was selected on."""
    if not selected_on:
        return []
    counts = {task.name: len(selected_on & TextSet.of(texts_of(task))) for task in tasks}
    return [
        f"{n} texts of the task {name} are among those that the units of {network} were selected "
        "on; give the contrast itself to lesion_study, which keeps them apart where the task can "
        "leave texts out."
        for name, n in counts.items()
        if n
    ]


def _sized(
    name: str, given: UnitMask | Selectivity, percents: Sequence[float] | None
) -> tuple[dict[float, UnitMask], list[str]]:
    """Return a network in every size, and what is to be told of them."""
    if isinstance(given, UnitMask) and percents is None:
        return {own_percent(given): given}, []
    if isinstance(given, UnitMask) and given.score is None:
        assert percents is not None
        raise LensLocError(
            f"The mask {name!r} carries no ranking of units, so it cannot be cut to "
            f"{', '.join(f'{p:g}' for p in percents)} %; give its selectivity map instead, or "
            "leave percents out to use the mask as it is."
        )
    total = given.n_units
    sizes = _different(total) if percents is None else tuple(percents)
    notes = [f"{name}: {note}" for p in sizes if (note := least_note(p, total, given.site))]
    cut = given.resized if isinstance(given, UnitMask) else given.top
    return {size: cut(percent=size) for size in sizes}, notes


def _different(total: int) -> tuple[float, ...]:
    """Return the usual sizes; of those that come to one number of units, the largest."""
    return tuple({count_from_percent(size, total): size for size in PERCENTS}.values())


def own_percent(mask: UnitMask) -> float:
    """Return the percentage that gives a mask's number of units, as it was asked for if known."""
    total = mask.n_units
    if len(mask) == 0:
        return 0.0
    exact = 100 * len(mask) / total
    asked = None if mask.rule is None else mask.rule.percent
    candidates = [] if asked is None else [float(asked)]
    # Truncated, the exact percentage may fall one unit short of itself.
    candidates += [exact, math.nextafter(exact, math.inf), 100 * (len(mask) + 0.5) / total]
    return next(p for p in candidates if p <= 100 and count_from_percent(p, total) == len(mask))


def _groups(
    model: Model,
    name: str,
    network: _Network,
    controls: Sequence[Controls],
    modes: Sequence[PlannedMode],
) -> Iterator[_Group]:
    known: dict[tuple[float, bool], dict[str, tuple[float, list[ControlSet]]]] = {}
    for mode in modes:
        for percent, selected in network.masks.items():
            mask = mode.units(selected)
            lesion = PlannedLesion(mask, {"mode": mode.mode, **mode.arguments})
            lesion.on(model, check=False)  # refuse early
            place = (percent, mode.throughout)
            if place not in known:
                known[place] = _held(mask, controls)
            job = Job(name, percent, mode.label, NETWORK, None, lesion, own_balance(mask))
            beside = {
                kind: [
                    Job(
                        name, percent, mode.label, kind, control.seed,
                        PlannedLesion(control.mask, lesion.arguments), control.balance, alike,
                    )
                    for control in found
                ]
                for kind, (alike, found) in known[place].items()
            }  # fmt: skip
            yield _Group(job, beside)


def _held(
    mask: UnitMask, controls: Sequence[Controls]
) -> dict[str, tuple[float, list[ControlSet]]]:
    """Draw the controls of a network: by kind, how alike the draws are, and these."""
    found: dict[str, list[ControlSet]] = {}
    for several in controls:
        for control in several(mask):
            found.setdefault(control.kind, []).append(control)
    return {
        kind: (draws_alike([control.mask.mask.numpy() for control in drawn]), drawn)
        for kind, drawn in found.items()
    }


def _measured(
    run: Runner,
    group: _Group,
    after: Sequence[PlannedLesion],
    task: Task,
    intact: TaskResult,
    *,
    exact: bool,
    confidence: float,
    seed: int,
    advance: Callable[[int], None],
) -> list[Row]:
    """Measure a task under the lesion of a network and those of its controls.

    The lesions of the networks after it are measured on the same task, but for texts left out.
    """
    network, (effect,) = run.measure(task, group.job.lesion, ahead=after)
    advance(1)
    rows = [Row(group.job, Measured(network, effect))]
    for kind, jobs in group.controls.items():
        if all(job.seed is None for job in jobs):
            for job in jobs:
                result, (effect,) = run.measure(task, job.lesion)
                advance(1)
                rows.append(Row(job, Measured(result, effect)))
            continue

        def measure(
            some: Task, draw: int, ahead: range, jobs: Sequence[Job] = jobs
        ) -> tuple[TaskResult, Effect]:
            after = [jobs[number].lesion for number in ahead]
            result, (effect,) = run.measure(some, jobs[draw].lesion, ahead=after)
            return result, effect

        draws, compared = draws_in_turn(
            measure, len(jobs), task, intact, network,
            kind=kind, exact=exact, confidence=confidence, seed=seed, advance=advance,
        )  # fmt: skip
        rows += [Row(job, draw, compared) for job, draw in zip(jobs, draws, strict=False)]
    return rows

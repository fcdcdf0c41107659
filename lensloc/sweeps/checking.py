"""The names in a plan: everything that can be told wrong before a model is loaded."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import huggingface_hub
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from lensloc import contrasts as bundled
from lensloc import tasks as known_tasks
from lensloc.contrasts.contrast import Contrast
from lensloc.display.plugins import CONTRASTS, plugin_names
from lensloc.display.sentences.words import listed
from lensloc.errors import LensLocError, unwarned
from lensloc.forward.sites import get_site
from lensloc.lesions.modes import get_mode
from lensloc.models.names import TIMM, VISION, known_names
from lensloc.models.reading import closest
from lensloc.studies.dissociating import OWN
from lensloc.studies.lesion_modes import needs_reference, planned_modes
from lensloc.sweeps.cells import Cell, PlannedModel, cells_of, label_of
from lensloc.sweeps.files import PlanFile
from lensloc.sweeps.plan import (
    ContrastEntry,
    LesionEntry,
    ModelEntry,
    Plan,
    SpecificityEntry,
    TaskEntry,
)
from lensloc.tasks import Task
from lensloc.units.control_sets import Controls, draws_in
from lensloc.units.control_sets import controls as wanted_controls
from lensloc.units.matching import check_kind
from lensloc.vocabulary import DOMAINS, DRAWS, THROUGHOUT, UNSEEDED, WITHOUT_OUTLIERS

_TASKS: Mapping[str, Callable[..., Any]] = {
    "minimal-pairs": known_tasks.minimal_pairs,
    "perplexity": known_tasks.perplexity,
    "bits-per-byte": known_tasks.bits_per_byte,
    "choice": known_tasks.multiple_choice,
    "generation": known_tasks.generation,
    "lm-eval": known_tasks.lm_eval,
}
_NEED = ("choice", "lm-eval")
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class ReadyLesion:
    """A lesion of a plan, with what it names.

    Attributes:
        label: what it is called.
        entry: as the plan has it.
        percents: sizes.
        tasks: what is measured.
        controls: what is held beside.
        reference: of modes that need one and name it.
    """

    label: str
    entry: LesionEntry
    percents: tuple[float, ...]
    tasks: tuple[Task, ...]
    controls: tuple[Controls, ...]
    reference: Contrast | None = None

    @property
    def mode(self) -> dict[str, Any]:
        """The mode, as :func:`lensloc.lesion_study` takes it."""
        return mode_of(self.entry)

    @property
    def key(self) -> dict[str, Any]:
        """What its results depend on, the content of files included."""
        return {
            **self.entry.model_dump(mode="json", exclude={"name", "tasks", "percents"}),
            "percents": list(self.percents),
            "tasks": [[task.name, dict(task.settings)] for task in self.tasks],
            "reference": None if self.reference is None else self.reference.content_hash,
            "called": self.label,
        }


@dataclass(frozen=True, eq=False)
class ReadySpecificity:
    """What a plan asks for of all networks together, with what it names."""

    entry: SpecificityEntry
    tasks: tuple[Task, ...]
    controls: tuple[Controls, ...]

    @property
    def key(self) -> dict[str, Any]:
        """What its results depend on, the content of files included."""
        tasks = [[task.name, dict(task.settings)] for task in self.tasks]
        return {**self.entry.model_dump(mode="json", exclude={"tasks"}), "tasks": tasks}


@dataclass(frozen=True, eq=False)
class ReadyPlan:
    """A plan of which everything that it names is there.

    Attributes:
        plan: as it was written.
        models: its models, a revision each.
        contrasts: name and protocol -> contrast.
        lesions: label -> lesion.
        specificity: of all networks together, if it is asked for.
    """

    plan: Plan
    models: tuple[PlannedModel, ...]
    contrasts: Mapping[tuple[str, str], Contrast]
    lesions: Mapping[str, ReadyLesion]
    specificity: ReadySpecificity | None = None

    def cells(self) -> list[tuple[PlannedModel, Cell]]:
        """Return all cells, each with the model that it is of."""
        lesions = {label: lesion.key for label, lesion in self.lesions.items()}
        more = None if self.specificity is None else self.specificity.key
        return list(cells_of(self.plan, self.models, self.contrasts, lesions, more))


def ready(plan: Plan, file: PlanFile, *, ask_hub: bool = True) -> ReadyPlan:
    """Look up everything that a plan names.

    Args:
        plan: as it was written.
        file: where it stands.
        ask_hub: whether models that are not on this machine are looked up on the hub. Where that
            cannot be reached they are taken to be there.

    Raises:
        LensLocError: for the first name that is unknown, with its place in the file.
    """
    models: list[PlannedModel] = []
    for number, entry in enumerate(plan.models):
        with _at(file, "models", number):
            found = _models(entry, file.folder)
            models += found
            if ask_hub and not found[0].state and _may_be_on_hub(entry.name):
                ask_hub = _require_on_hub(entry)
    _once(file, "models", [model.label for model in models])
    _once(file, "contrasts", [entry.name for entry in plan.contrasts])
    for place, names in (("sites", plan.sites), ("protocols", plan.protocols)):
        _once(file, place, names)
    for number, site in enumerate(plan.sites):
        with _at(file, "sites", number):
            get_site(site)
    contrasts: dict[tuple[str, str], Contrast] = {}
    for number, each in enumerate(plan.contrasts):
        with _at(file, "contrasts", number):
            for protocol in plan.protocols:
                contrasts[each.name, protocol] = _contrast(each, file.folder, protocol)
    lesions = []
    for number, lesion in enumerate(plan.lesions):
        with _at(file, "lesions", number):
            lesions.append(_lesion(lesion, plan, file, number, contrasts))
    _once(file, "lesions", [lesion.label for lesion in lesions], "give each a name:")
    together = None
    if plan.specificity is not None:
        with _at(file, "specificity"):
            together = _specificity(plan.specificity, plan, file)
    _require_published(plan, file)
    by_label = {lesion.label: lesion for lesion in lesions}
    return ReadyPlan(plan, tuple(models), contrasts, by_label, together)


@contextlib.contextmanager
def _at(file: PlanFile, *place: str | int) -> Iterator[None]:
    """Say where in the plan something is wrong."""
    try:
        yield
    except PlacedError:
        raise
    except LensLocError as error:
        raise PlacedError(f"{file.where(place)}: {error}") from error


class PlacedError(LensLocError):
    """What is wrong in a plan, with its place."""


def _once(file: PlanFile, place: str, names: Sequence[str], remedy: str = "leave one out") -> None:
    for name in names:
        if names.count(name) > 1:
            last = len(names) - 1 - names[::-1].index(name)
            # Revisions make several models of an entry, so that only the list can be pointed to.
            at = (place,) if place == "models" else (place, last)
            raise PlacedError(f"{file.where(at)}: {name} is there twice; {remedy}.")


# -- models ----------------------------------------------------------------------------------------


def _models(entry: ModelEntry, folder: Path) -> list[PlannedModel]:
    path = folder / Path(entry.name).expanduser()
    if entry.name.lower() in VISION or entry.name.startswith(TIMM):
        raise LensLocError(
            f"{entry.name} is a model of pictures, and a sweep is of language models; use "
            "ll.localize, ll.lesion_study."
        )
    _require_options(entry)
    if entry.seed is not None and not entry.untrained:
        raise LensLocError("seed is of untrained models; leave it out, or add untrained: true.")
    if _is_local(path, entry.name):
        if entry.revisions:
            raise LensLocError(f"{entry.name} is on this machine and has no revisions.")
        return [PlannedModel(entry, None, str(path.resolve()), _state(path))]
    if entry.name.lower() not in map(str.lower, known_names()) and not _may_be_on_hub(entry.name):
        raise LensLocError(
            f"there is no model {entry.name!r}{closest(entry.name)}; a model is one of these, a "
            "name on the hub (owner/name), a folder or a .gguf file."
        )
    return [PlannedModel(entry, revision, entry.name) for revision in entry.revisions or (None,)]


def _require_options(entry: ModelEntry) -> None:
    """Refuse options that are keys of the entry, or said by the sweep itself."""
    for name in entry.options:
        if name in ModelEntry.model_fields or name == "revision":
            key = "revisions" if name == "revision" else name
            raise LensLocError(f"{name} stands in options, where it is not looked for; use {key}:.")
        if name in ("device", "progress", "tokenizer", "name_or_path"):
            raise LensLocError(f"a sweep says {name} itself; leave it out of options.")


def _is_local(path: Path, name: str) -> bool:
    with contextlib.suppress(OSError):
        # A folder that happens to be called as a known model is meant only if it is a checkpoint.
        return (path / "config.json").is_file() or (path.is_file() and path.suffix == ".gguf")
    return False


def _may_be_on_hub(name: str) -> bool:
    with contextlib.suppress(HFValidationError):
        validate_repo_id(name)
        return name.count("/") == 1 and not name.startswith((".", "~"))
    return False


def _require_on_hub(entry: ModelEntry) -> bool:
    """Ask the hub for a model and its revisions; return whether it answers at all."""
    try:
        refs = huggingface_hub.HfApi().list_repo_refs(entry.name)
    except RepositoryNotFoundError as error:
        raise LensLocError(
            f"the hub has no model {entry.name!r} that can be seen from here{closest(entry.name)}; "
            "of a private one, log in with `hf auth login`."
        ) from error
    except Exception:  # no network, the hub switched off, or it is down: loading will tell
        return False
    known = {ref.name for ref in (*refs.branches, *refs.tags)}
    for revision in entry.revisions:
        commit = len(revision) >= 7 and set(revision) <= set("0123456789abcdef")
        # Requests of changes (refs/pr/1) are not among those that are listed.
        if revision not in known and not commit and not revision.startswith("refs/"):
            raise LensLocError(f"{entry.name} has no revision {revision!r} on the hub.")
    return True


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    found = [(each.name, each.stat()) for each in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


# -- contrasts -------------------------------------------------------------------------------------


def _contrast(entry: ContrastEntry, folder: Path, protocol: str) -> Contrast:
    of_files = ("text", "condition", "item", "sep", "encoding")
    if entry.file is None:
        idle = [key for key in of_files if key in entry.model_fields_set]
        if idle:
            raise LensLocError(f"{idle[0]} is for a contrast with file:; leave it out.")
        stimuli = None if entry.stimuli is None else folder / entry.stimuli
        known = (*bundled.NAMES, *plugin_names(CONTRASTS))
        if entry.name not in known:
            of_pictures = " for language models" * (entry.name in bundled.OF_PICTURES)
            raise LensLocError(
                f"there is no contrast {entry.name!r}{of_pictures}; there are {', '.join(known)}, "
                "or give a file:."
            )
        found = bundled.get(entry.name, stimuli, protocol=protocol)
        if not (entry.target or entry.control):
            return found
        return found.with_roles(
            target=entry.target or found.target, control=entry.control or found.control
        )
    if entry.stimuli is not None:
        raise LensLocError("stimuli is for bundled contrasts; leave it out.")
    if not (entry.target and entry.control):
        raise LensLocError(f"{entry.file} needs target and control, conditions of the file.")
    return Contrast.from_file(
        folder / entry.file, target=entry.target, control=entry.control, text=entry.text,
        condition=entry.condition, item=entry.item, name=entry.name, sep=entry.sep,
        encoding=entry.encoding,
    )  # fmt: skip


# -- lesions ---------------------------------------------------------------------------------------


def _lesion(
    entry: LesionEntry,
    plan: Plan,
    file: PlanFile,
    number: int,
    contrasts: Mapping[tuple[str, str], Contrast],
) -> ReadyLesion:
    percents = entry.percents or (plan.percent,)
    with _at(file, "lesions", number, "mode"):
        # Whichever reference it is: that one is there when it is needed is seen to below.
        some = next(iter(contrasts.values())) if needs_reference(mode_of(entry)) else None
        planned_modes([mode_of(entry)], some, entry.positions, entry.seed)
        _require_numbers(entry)
    reference = None
    if entry.reference is not None:
        with _at(file, "lesions", number, "reference"):
            if not needs_reference(mode_of(entry)):
                raise LensLocError(f"the mode {entry.mode} takes no reference; leave it out.")
            known = {name: found for (name, _), found in contrasts.items()}
            reference = known.get(entry.reference) or bundled.get(entry.reference)
    tasks = _tasks(entry.tasks, file, ("lesions", number, "tasks"))
    controls = _controls(entry.controls, file, ("lesions", number, "controls"))
    return ReadyLesion(label_of(entry), entry, percents, tasks, controls, reference)


def _require_numbers(entry: LesionEntry) -> None:
    """Check the numbers of a mode: those that it needs, and no others."""
    mode = get_mode(entry.mode.removeprefix(THROUGHOUT))
    given = [name for name in _NUMBERS if getattr(entry, name) is not None]
    for name in given:
        if name not in mode.takes:
            raise LensLocError(f"the mode {entry.mode} takes no {name}; leave it out.")
    for name, example in mode.needs:
        if name in _NUMBERS and name not in given:
            raise LensLocError(f"the mode {entry.mode} needs {name} ({example}); add it.")
    if mode.name == "clamp" and len(given) != 1:
        raise LensLocError("the mode clamp needs either value or quantile; give one of them.")


_NUMBERS = ("scale", "value", "quantile")


def mode_of(entry: LesionEntry) -> dict[str, Any]:
    """Return the mode of a lesion, as :func:`lensloc.lesion_study` takes it."""
    numbers = {name: getattr(entry, name) for name in _NUMBERS}
    return {"mode": entry.mode, **{k: v for k, v in numbers.items() if v is not None}}


def _tasks(
    entries: Sequence[TaskEntry], file: PlanFile, place: tuple[str | int, ...],
    items: int | None = None,
) -> tuple[Task, ...]:  # fmt: skip
    found = []
    for number, entry in enumerate(entries):
        with _at(file, *place, number), unwarned():
            found.append(_task(entry, file.folder, items))
    names = [task.name for task in found]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise PlacedError(
                f"{file.where((*place, number))}: two tasks are called {name}; give one a name:."
            )
    return tuple(found)


def _task(entry: TaskEntry, folder: Path, items: int | None) -> Task:
    kind, equals, argument = entry.task.partition("=")
    named: dict[str, Any] = {} if entry.name is None else {"name": entry.name}
    if entry.task in DOMAINS:
        (task,) = known_tasks.domains(entry.task, items=entry.limit or items)
        return _renamed(task, entry.name)
    if kind not in _TASKS:
        raise LensLocError(
            f"there is no task {kind!r}; there are {', '.join((*_TASKS, *DOMAINS))}."
        )
    if (equals or kind in _NEED) and not argument:
        raise LensLocError(f"the task {kind} needs something behind its =, e.g. choice=facts.")
    if entry.limit is not None:
        named["limit"] = entry.limit
    if kind == "lm-eval":
        return _renamed(_TASKS[kind](argument, **{k: v for k, v in named.items() if k != "name"}),
                        entry.name)  # fmt: skip
    there = folder / argument
    given = [str(there) if there.exists() else argument] if argument else []
    return cast(Task, _TASKS[kind](*given, **named))


def _renamed(task: Any, name: str | None) -> Task:
    return cast(Task, task if name is None else dataclasses.replace(task, name=name))


def _controls(
    texts: Sequence[str], file: PlanFile, place: tuple[str | int, ...]
) -> tuple[Controls, ...]:
    found: dict[str, Controls] = {}
    for number, text in enumerate(texts):
        with _at(file, *place, number):
            kind, colon, draws = text.partition(":")
            if kind in found:
                raise LensLocError(f"the control {kind} is there twice; leave one out.")
            found[kind] = _control(kind, draws if colon else None)
    return tuple(found.values())


def _control(kind: str, draws: str | None) -> Controls:
    single = kind == WITHOUT_OUTLIERS or kind in UNSEEDED
    if single and draws is not None:
        raise LensLocError(f"the control {kind} draws nothing; write it without :{draws}.")
    if kind == WITHOUT_OUTLIERS:
        return wanted_controls((), without_outliers=True)
    check_kind(kind)
    if single:
        return wanted_controls(kind)
    count = DRAWS if draws is None else draws_in(draws)
    if count is None:
        raise LensLocError(f"{draws!r} is no number of draws; write e.g. {kind}:{DRAWS}.")
    return wanted_controls(kind, seeds=range(count))


def _specificity(entry: SpecificityEntry, plan: Plan, file: PlanFile) -> ReadySpecificity:
    names = [each.name for each in plan.contrasts]
    unknown = [name for name in entry.own if name not in names]
    if unknown:
        raise LensLocError(
            f"own names {unknown[0]!r}, which is none of the plan's contrasts, {listed(names)}."
        )
    for name in names:
        if name not in entry.own and name not in OWN:
            raise LensLocError(
                f"which tasks are {name}'s own is not known; say so with own: {{{name}: [...]}}, "
                "an empty list for none."
            )
    entries = entry.tasks or tuple(TaskEntry(task=name) for name in DOMAINS)
    tasks = _tasks(entries, file, ("specificity", "tasks"), entry.items)
    if len(tasks) < 2:
        raise LensLocError("a dissociation is between tasks; give at least two.")
    with _at(file, "specificity", "mode"):
        planned_modes([entry.mode], None, "all", entry.seed)
        if needs_reference(entry.mode):
            raise LensLocError(f"the mode {entry.mode} needs a reference; use zero, say.")
    called = [task.name for task in tasks]
    for name, own in entry.own.items():
        for task in own:
            if task not in called:
                raise PlacedError(
                    f"{file.where(('specificity', 'own', name))}: {task!r} is none of the tasks, "
                    f"{', '.join(called)}."
                )
    controls = _controls(entry.controls, file, ("specificity", "controls"))
    if not any(match not in UNSEEDED for control in controls for match in control.matches):
        raise LensLocError("specificity needs controls that are drawn, e.g. magnitude+outliers.")
    return ReadySpecificity(entry, tasks, controls)


def _require_published(plan: Plan, file: PlanFile) -> None:
    names = {
        "model": [entry.name for entry in plan.models],
        "contrast": [entry.name for entry in plan.contrasts],
        "site": list(plan.sites),
    }
    for number, entry in enumerate(plan.published):
        for key, known in names.items():
            given = getattr(entry, key)
            if given is not None and given not in known:
                raise PlacedError(
                    f"{file.where(('published', number, key))}: {given!r} is none of the plan's "
                    f"{key}s, {', '.join(known)}."
                )
        if entry.quantity == "width" and entry.site is None and len(plan.sites) > 1:
            raise PlacedError(
                f"{file.where(('published', number))}: sites differ in width; add site:, one of "
                f"{', '.join(plan.sites)}."
            )

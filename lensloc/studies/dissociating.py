"""Does every network's lesion harm its own tasks, and no others, more than its controls do?"""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lensloc.arguments import listed, require_named, require_numbers
from lensloc.contrasts.contrast import Contrast
from lensloc.display.sentences.dissociations import shared_units
from lensloc.errors import LensLocError, LensLocWarning, unwarned
from lensloc.forward.batches import BatchSize, require_batch_size
from lensloc.forward.sites import usual_site
from lensloc.lesions.references import Reference
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.specificities import Specificity, indexed
from lensloc.selectivity import Selectivity
from lensloc.studies.calls import written_call
from lensloc.studies.lesion_modes import Mode
from lensloc.studies.lesions import lesion_study
from lensloc.studies.localization import localize
from lensloc.studies.measuring import Runner
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, TaskResult, texts_of
from lensloc.tasks import domains as bundled_tasks
from lensloc.tasks.of_functions import TaskLike, as_tasks
from lensloc.units.control_sets import Controls
from lensloc.units.control_sets import controls as wanted_controls
from lensloc.units.mask import UnitMask
from lensloc.units.text_sets import TextSet
from lensloc.vocabulary import UNSEEDED

OWN: Mapping[str, tuple[str, ...]] = {
    "language": ("grammar", "other-languages"),
    "theory-of-mind": ("theory-of-mind",),
    "multiple-demand": ("arithmetic", "code"),
}
"""The bundled tasks that belong to a bundled contrast; common sense and facts belong to none."""

ANSWERED = 0.4
"""Share of the way from guessing to all right at which a kind of items counts as answered."""

LEAST_ROOM = 0.1
"""A score that is nearer to guessing than this has no room to fall."""

_SMALL = 4  # kinds of fewer items are taken together


def specificity(
    model: Model,
    networks: Mapping[str, UnitMask | Selectivity | Contrast],
    tasks: Sequence[TaskLike] | None = None,
    controls: Controls | Sequence[Controls] | None = None,
    domains: Mapping[str, Sequence[str]] | None = None,
    *,
    percent: float | None = None,
    site: str | None = None,
    mode: Mode = "zero",
    reference: Reference | None = None,
    room: Mapping[str, float] | None = None,
    answered: float | None = ANSWERED,
    seed: int = 0,
    confidence: float = 0.95,
    batch_size: BatchSize = "auto",
    store: StoreLike = None,
    progress: bool = True,
) -> Specificity:
    """Lesion every network, measure every task, and ask whether each harms its own tasks only.

    The index of a network is the share of the room to fall that its own tasks lose, minus the share
    that all others lose. It is compared with the same index of the network's control draws; see
    :mod:`lensloc.results.dissociation`. All draws are measured on all items. What was measured is
    kept in the store as soon as it is there, so that an interrupted study goes on where it stopped.

    Args:
        model: a loaded model.
        networks: name -> network: a mask as it is, or the top of a map or contrast. Items that hold
            a text on which a network was selected are left out, for all networks.
        tasks: what to measure; ``ll.tasks.domains()``, seven bundled domains, if None.
        controls: what to hold beside every network; 20 draws matched in magnitude and outliers if
            None.
        domains: network -> names of its own tasks. For networks that have the name of a bundled
            contrast, the bundled tasks are known. Grammar and other languages belong to
            ``language``, theory of mind to ``theory-of-mind``, arithmetic and code to
            ``multiple-demand``; common sense and facts belong to none. ``[]`` for a network without
            any: it is measured, and has no index.
        percent: size of networks, in per cent of the site's units; of maps and contrasts 1, and
            masks as they are, if None.
        site: where contrasts are localized; block outputs if None.
        mode: what becomes of units, as in :func:`lensloc.lesion_study`.
        reference: of modes that need one.
        room: task -> how far its score can fall, for tasks for which guessing has no score
            (nats per token, for perplexities), or instead of intact minus guessing.
        answered: the least share of the way from guessing to all right that the intact model must
            reach. Items are chosen by their kind (paradigm of pairs, kind of questions): a kind is
            kept if its score reaches this share on a random half of the items, which is not
            measured afterwards. So no item decides whether it is measured itself. None to measure
            all items of every task as they are. Tasks without guessing's score, or that cannot be
            cut, are measured whole.
        seed: of the halves, of resampling lesions, and of choices of sets.
        confidence: of intervals and tests.
        batch_size: texts per batch when contrasts are localized and of a reference; does not change
            the result. Tasks have one of their own.
        store: where results are kept and looked up.
        progress: show progress bars.

    Returns:
        Networks x tasks, indices and their tests; see
        :class:`~lensloc.results.specificities.Specificity`. A task without room to fall (guessing,
        or less than 0.1 above it) is told, and left out.

    Raises:
        LensLocError: no network, networks of different models, a network whose tasks are not
            known, controls of which none is drawn, fewer than two tasks with room to fall, or what
            lesion, controls and tasks refuse.
    """
    return planned(**dict(locals())).measure()


@dataclass(frozen=True, eq=False)
class Grid:
    """What a study of specificity is going to measure.

    Attributes:
        model: the model.
        masks: name -> network.
        tasks: those that have room to fall, with the items that are measured.
        controls: beside every network.
        domains: network -> names of its own tasks.
        room: one row per task, as :class:`~lensloc.results.specificities.Specificity` has it.
        given: arguments of :func:`specificity`.
        told: what a reader should know, in sentences.
    """

    model: Model
    masks: Mapping[str, UnitMask]
    tasks: Sequence[Task]
    controls: Sequence[Controls]
    domains: Mapping[str, tuple[str, ...]]
    room: pd.DataFrame
    given: Mapping[str, Any]
    told: tuple[str, ...]

    @property
    def n_lesions(self) -> int:
        """How many lesions there are, each of which is measured on every task."""
        return len(self.masks) * (1 + sum(map(_n_sets, self.controls)))

    @property
    def n_items(self) -> int:
        """How many items all tasks have together."""
        return int(self.room.loc[self.room["room"].notna(), "n_items"].sum())

    def seconds(self, sample: int = 12) -> float:
        """Estimate how long all of it takes, from a few items of every task without a lesion.

        What is in the store already takes no time, so it is rather less.

        Args:
            sample: how many items of every task.
        """
        total = 0.0
        sizes = dict(zip(self.room["task"], self.room["n_items"], strict=True))
        for task in self.tasks:
            n = int(sizes[task.name])
            cut: Any = task
            some = min(sample, n)
            few = (
                cut.at(np.linspace(0, n - 1, some).astype(int).tolist()) if _can_cut(task) else task
            )
            start = time.perf_counter()
            with unwarned():
                few(self.model)
            each = (time.perf_counter() - start) / (some if few is not task else n)
            total += each * n
        return total * self.n_lesions

    def measure(self) -> Specificity:
        """Measure it."""
        given = self.given
        study = lesion_study(
            self.model, self.masks, self.tasks, self.controls, None, [given["mode"]],
            reference=given["reference"], seed=given["seed"], confidence=given["confidence"],
            exact=True, batch_size=given["batch_size"], store=given["store"],
            progress=given["progress"],
        )  # fmt: skip
        call = written_call("ll.specificity", specificity, given)
        found = Specificity(study, self.room, self.domains, given["seed"], self.told, call)
        for sentence in (*self.told, *found.without_room()):
            warnings.warn(sentence, LensLocWarning, stacklevel=3)
        return found


def planned(
    model: Model,
    networks: Mapping[str, UnitMask | Selectivity | Contrast],
    tasks: Sequence[TaskLike] | None,
    controls: Controls | Sequence[Controls] | None,
    domains: Mapping[str, Sequence[str]] | None,
    **options: Any,
) -> Grid:
    """Localize networks, choose items, and return what is to be measured; see :func:`specificity`.

    Raises:
        LensLocError: as there.
    """
    given = {"model": model, "networks": networks, "tasks": tasks, "controls": controls,
             "domains": domains, **options}  # fmt: skip
    require_numbers(seed=options["seed"], confidence=options["confidence"])
    require_batch_size(options["batch_size"])
    surface(model)
    require_named((UnitMask, Selectivity, Contrast), networks, "Networks", like="{name: mask}")
    if not networks:
        raise LensLocError("There is no network to lesion; give at least one, {name: mask}.")
    several = bundled_tasks() if tasks is None else list(as_tasks(tasks))
    _require_tasks(several, options["room"] or {}, options["answered"])
    own = _domains(networks, several, domains)
    held = _drawn(controls)
    card = describe(model)
    store = Store.of(options["store"])
    masks = _masks(model, networks, options["percent"], options["site"],
                   options["batch_size"], store, options["progress"])  # fmt: skip
    _require_one_model(masks)
    kept, told = _without_stimuli(several, masks)
    run = Runner(model, card, store)
    needed = options["room"] or {}
    chosen = [
        _chosen(run, task, options["answered"], needed.get(task.name), options["seed"])
        for task in kept
    ]
    room = pd.DataFrame([row for _, row in chosen])
    tested = [task for task, row in chosen if np.isfinite(row["room"])]
    indexed(list(masks), own, [task.name for task in tested])
    told += list(_shared(masks))
    return Grid(model, masks, tested, held, own, room, given, tuple(told))


# -- networks and controls -------------------------------------------------------------------------


def _masks(
    model: Model,
    networks: Mapping[str, UnitMask | Selectivity | Contrast],
    percent: float | None,
    site: str | None,
    batch_size: BatchSize,
    store: Store | None,
    progress: bool,
) -> dict[str, UnitMask]:
    if site is not None and not any(isinstance(given, Contrast) for given in networks.values()):
        raise LensLocError(
            f"site={site!r} says where contrasts are localized, and none was given: masks and maps "
            "have a site of their own; leave it out."
        )
    found = {}
    for name, given in networks.items():
        if isinstance(given, Contrast):
            at = site or usual_site(model)
            cut: Any = {"batch_size": batch_size, "store": store, "progress": progress}
            given = localize(model, given, [at], **cut)[at]
        with unwarned():  # the study says it
            if isinstance(given, Selectivity):
                given = given.top(percent=1.0 if percent is None else percent)
            elif percent is not None:
                given = given.resized(percent=percent)
        found[name] = given
    return found


def _require_one_model(masks: Mapping[str, UnitMask]) -> None:
    """Refuse networks that were localized on different weights, as far as that is known."""
    known = {
        name: mask.provenance.weights_hash for name, mask in masks.items()
        if mask.provenance.weights_hash
    }  # fmt: skip
    if len(set(known.values())) > 1:
        of = ", ".join(f"{name} on {masks[name].provenance.model}" for name in known)
        raise LensLocError(
            f"The networks were localized on different models ({of}); localize all on the one "
            "that is lesioned."
        )


def _shared(masks: Mapping[str, UnitMask]) -> Iterator[str]:
    for (one, a), (other, b) in combinations(masks.items(), 2):
        if a.site != b.site or a.shape != b.shape:
            continue
        shared = int((a.mask & b.mask).sum())
        if 4 * shared >= min(len(a), len(b)):  # a quarter
            yield shared_units(one, other, shared, len(a), len(b))


def _domains(
    networks: Mapping[str, Any], tasks: Sequence[Task], given: Mapping[str, Sequence[str]] | None
) -> dict[str, tuple[str, ...]]:
    if given is not None and not isinstance(given, Mapping):
        raise LensLocError(
            "domains says which tasks are whose, {network: [task, ...]}; something of type "
            f"{type(given).__name__} does not."
        )
    names = [task.name for task in tasks]
    for name in given or {}:
        if name not in networks:
            raise LensLocError(
                f"domains names {name!r}, which is no network; there are {', '.join(networks)}."
            )
    found = {}
    for name in networks:
        if given is not None and name in given:
            found[name] = tuple(listed(given[name], str))
        elif name in OWN:
            found[name] = tuple(task for task in OWN[name] if task in names)
        else:
            raise LensLocError(
                f"Which tasks are those of {name!r} is not known; say it, "
                f"domains={{{name!r}: [{names[0]!r}]}}, or [] for none."
            )
        for task in found[name]:
            if task not in names:
                raise LensLocError(
                    f"{task!r}, a task of {name!r}, is not measured; there are {', '.join(names)}."
                )
    return found


def _drawn(controls: Controls | Sequence[Controls] | None) -> tuple[Controls, ...]:
    if controls is None:
        return (wanted_controls("magnitude+outliers"),)
    several = (controls,) if isinstance(controls, Controls) else tuple(controls)
    if not any(
        found.own or any(match not in UNSEEDED for match in found.matches) for found in several
    ):
        raise LensLocError(
            "An index is compared with control draws, and no control here is drawn; give e.g. "
            "ll.controls('layer')."
        )
    return several


def _n_sets(found: Controls) -> int:
    drawn = [match for match in found.matches if match not in UNSEEDED]
    others = len(found.matches) - len(drawn) + found.least_selective + found.without_outliers
    return (
        (len(drawn) + len(found.own)) * len(found.seeds)
        + others
        + len(found.masks)
        + len(found.others)
    )


# -- tasks -----------------------------------------------------------------------------------------


def _require_tasks(
    tasks: Sequence[Task], room: Mapping[str, float], answered: float | None
) -> None:
    names = [task.name for task in tasks]
    if len(tasks) < 2:
        raise LensLocError(
            f"A dissociation is between tasks ({', '.join(names) or 'none'} given); give two."
        )
    if len(set(names)) < len(names):
        raise LensLocError(f"Two tasks have one name ({', '.join(names)}); name them apart.")
    for name, value in room.items():
        if name not in names:
            raise LensLocError(
                f"room names {name!r}, which is no task; there are {', '.join(names)}."
            )
        if not (np.isfinite(value) and value > 0):
            raise LensLocError(f"room[{name!r}] is how far a score can fall, above 0, not {value}.")
    if answered is not None and not 0 < answered <= 1:
        raise LensLocError(
            f"answered is a share of the way from guessing to all right, above 0 and at most 1; "
            f"{answered:g} is not. None measures all items."
        )


def _without_stimuli(
    tasks: Sequence[Task], masks: Mapping[str, UnitMask]
) -> tuple[list[Task], list[str]]:
    """Leave out items that hold a text on which a network was selected, for all networks."""
    used = TextSet()
    for mask in masks.values():
        used = used | mask.selected_on
    kept: list[Task] = []
    told = []
    for task in tasks:
        cut: Any = task
        shared = len(used & TextSet.of(texts_of(task)))
        if shared and hasattr(task, "without"):
            cut = cut.without(used)
            told.append(
                f"Items of {task.name} that hold one of {shared} texts on which a network was "
                "selected are left out."
            )
        elif shared:
            told.append(
                f"{shared} texts of the task {task.name} are among those on which a network was "
                "selected, and the task cannot leave them out."
            )
        kept.append(cut)
    return kept, told


def _can_cut(task: Task) -> bool:
    return hasattr(task, "at")


def _chosen(
    run: Runner, task: Task, answered: float | None, room: float | None, seed: int
) -> tuple[Task, dict[str, Any]]:
    """Return the task with the items that are measured, and how far it can fall."""
    with unwarned():
        whole, _ = run.measure(task)
    row = {"task": task.name, "measure": whole.measure, "items": len(whole.items)}
    kinds: dict[str, Any] = {"kinds": np.nan, "kinds_answered": np.nan}
    measured, result = task, whole
    if answered is not None and whole.chance is not None and _can_cut(task):
        positions, kinds = _tested(whole, answered, seed)
        cut: Any = task
        if not positions:
            nothing = {"n_items": 0, "intact": np.nan, "chance": whole.chance, "room": np.nan}
            return task, {**row, **kinds, **nothing}
        measured, result = cut.at(positions), whole.at(positions)
    chance = np.nan if whole.chance is None else float(_chances(result).mean())
    if room is None:
        if whole.chance is None:
            raise LensLocError(
                f"How far {task.name} can fall is not known, since guessing has no score on it; "
                f"say it, room={{{task.name!r}: ...}}, or leave the task out."
            )
        above = result.score - chance
        room = above if above >= LEAST_ROOM else np.nan
    found = {"n_items": len(result.items), "intact": result.score, "chance": chance, "room": room}
    return measured, {**row, **kinds, **found}


def _tested(whole: TaskResult, answered: float, seed: int) -> tuple[list[int], dict[str, int]]:
    """Split items into halves, kind by kind; keep kinds by one half, and return the other."""
    items = whole.items
    values, chances = items["value"].to_numpy(dtype=np.float64), _chances(whole)
    kinds = items["group"].astype(str)
    kinds = kinds.where(kinds.map(kinds.value_counts()) >= _SMALL, "")  # small ones together
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    n_kept = 0
    for _, rows in kinds.groupby(kinds, sort=False):
        order = rng.permutation(rows.index.to_numpy())
        choosing, testing = order[: len(order) // 2], order[len(order) // 2 :]
        if not len(choosing):
            continue
        above = values[choosing].mean() - chances[choosing].mean()
        if above >= answered * (1 - chances[choosing].mean()):
            kept += testing.tolist()
            n_kept += 1
    return sorted(kept), {"kinds": int(kinds.nunique()), "kinds_answered": n_kept}


def _chances(result: TaskResult) -> Any:
    """Return what guessing gets right, item by item."""
    if "choices" in result.items:
        return np.array([1 / len(choices) for choices in result.items["choices"]])
    return np.full(len(result.items), float(result.chance or 0.0))

"""Runner: a task under lesions -> its result, measured once and looked up from then on."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from lensloc.errors import LensLocError, LensLocWarning, NotFiniteError
from lensloc.lesions.lesioning import (
    Effect,
    Lesion,
    has_other_hooks,
    intact,
    lesion,
    open_lesions,
)
from lensloc.lesions.resuming import Residuals
from lensloc.lesions.side_by_side import Known, SideBySide
from lensloc.models import ModelCard
from lensloc.models.adapting import crew_of
from lensloc.models.surface import Model
from lensloc.studies.store import Store, StoreLike
from lensloc.tasks import Task, TaskResult
from lensloc.units.mask import UnitMask

log = logging.getLogger(__name__)

_PACKAGES = ("lensloc", "transformer-lens", "torch")


@dataclass(frozen=True, eq=False)
class PlannedLesion:
    """A lesion to be opened later.

    Attributes:
        mask: the units.
        arguments: of :func:`lensloc.lesion`.
    """

    mask: UnitMask
    arguments: Mapping[str, Any]

    def on(self, model: Model, *, check: bool = True) -> Lesion:
        """Return the lesion, closed.

        Raises:
            LensLocError: what :func:`lensloc.lesion` refuses.
        """
        return lesion(model, self.mask, **{"check": check, **self.arguments})


class Runner:
    """Measures a task under lesions, once; what is known is looked up.

    What was measured is kept in the store as soon as it is there, so that what was interrupted
    goes on where it stopped. Under hooks that are not a lesion's, nothing is looked up or kept.
    """

    def __init__(self, model: Model, card: ModelCard, store: StoreLike) -> None:
        kept = Store.of(store)
        if has_other_hooks(model) and kept is not None:
            log.info("hooks are open on the model: results are neither looked up nor kept")
            kept = None
        self._model = model
        self._store = kept
        self._known: dict[str, tuple[TaskResult, tuple[Effect, ...]]] = {}
        self._residuals = Residuals(model)
        self._side_by_side: dict[str, Known] = {}
        self._of_model = {
            "weights": card.weights_hash,
            "config": card.config_hash,
            "tokenizer": card.tokenizer_hash,
            "backend": card.backend,
            "dtype": card.dtype,
            "bos": card.prepends_bos,
            "outer": [found.settings for found in open_lesions(model)],
            "versions": [metadata.version(name) for name in _PACKAGES],
        }

    def measure(
        self, task: Task, *planned: PlannedLesion, ahead: Sequence[PlannedLesion] = ()
    ) -> tuple[TaskResult, tuple[Effect, ...]]:
        """Return a task's result under lesions, opened in this order, and what each of them did.

        Where the lesions leave the model without numbers, the result is the intact one's with
        every value missing (:meth:`lensloc.tasks.TaskResult.without_numbers`), so that a study of
        many lesions goes on.

        Args:
            task: what is measured.
            planned: the lesions.
            ahead: other single lesions under which the same task will be measured next. Where there
                is room for several copies of the texts, these are scored in the same pass.

        Raises:
            NotFiniteError: if the model gives no numbers without any of these lesions either.
            LensLocError: if the items are others than those of the intact model.
        """
        lesions = self._planned(planned)
        key = self._key(task, lesions)
        known = self._known.get(repr(key)) or self._look_up(key)
        if known is None:
            with self._making(key, task) as waited:
                known = self._look_up(key) if waited else None
                if known is None:
                    known = self._made(task, lesions, ahead)
                    if not lesions:
                        _require_numbers(task, known[0])
                    self._require_same_items(task, known[0])
                    if self._store is not None:
                        self._store.save_record(key, _to_record(*known))
        self._require_same_items(task, known[0])
        self._known[repr(key)] = known
        # What was kept may have been measured under another name.
        return dataclasses.replace(known[0], task=task.name), known[1]

    def _require_same_items(self, task: Task, found: TaskResult) -> None:
        """Check that a task of anyone's gave the items that it gave for the intact model.

        Network, controls and the intact model are compared item by item.
        """
        intact = self._known.get(repr(self._key(task, [])))
        if intact is None:
            return
        own, others = (list(map(str, one.items["item"])) for one in (found, intact[0]))
        if own == others:
            return
        if len(own) != len(others):
            what = f"{len(own)} items under a lesion and {len(others)} for the intact model"
        else:
            pairs = zip(own, others, strict=True)
            at = next(at for at, (one, other) in enumerate(pairs) if one != other)
            what = f"as item {at + 1} {own[at][:60]!r} under a lesion and {others[at][:60]!r} for "
            what += "the intact model"
        raise LensLocError(
            f"The task {task.name!r} gave {what}; return the same items in the same order, "
            "whatever the lesion, since they are compared one by one."
        )

    def _making(self, key: Mapping[str, Any], task: Task) -> AbstractContextManager[bool]:
        if self._store is None:
            return contextlib.nullcontext(False)
        return self._store.making([key], f"the score of {task.name}")

    def _made(
        self, task: Task, lesions: Sequence[Lesion], ahead: Sequence[PlannedLesion]
    ) -> tuple[TaskResult, tuple[Effect, ...]]:
        with warnings.catch_warnings():  # told by the table instead
            warnings.simplefilter("ignore", LensLocWarning)
            reason, result = "", None
            with self._residuals.used(), contextlib.ExitStack() as stack:
                for found in lesions:
                    stack.enter_context(found)
                if len(lesions) == 1:
                    stack.enter_context(self._beside(lesions[0], ahead).used())
                try:
                    result = task(self._model)
                except NotFiniteError as error:
                    if not lesions:
                        raise
                    reason = str(error)
            if result is None:  # the intact one's lock is taken within; it takes no other
                result = self.measure(task)[0].without_numbers(reason)
        own = tuple(found.effect for found in lesions)
        # A rank that had nothing to run saw nothing of the lesions.
        shares = crew_of(self._model).together(lambda: own)
        return result, tuple(_of_ranks(parts) for parts in zip(*shares, strict=True))

    def _beside(self, own: Lesion, ahead: Sequence[PlannedLesion]) -> SideBySide:
        def known(of: Lesion) -> tuple[Lesion, Known]:
            return of, self._side_by_side.setdefault(repr(of.settings), Known())

        def others() -> Iterator[tuple[Lesion, Known]]:
            for planned in ahead:
                with intact(self._model, [own]):  # texts of a reference may be run for it
                    (found,) = self._planned([planned])
                yield known(found)

        return SideBySide(self._model, known(own), others())

    def knows(self, task: Task, *planned: PlannedLesion) -> bool:
        """Say whether the store has a task's result under lesions; false without a store."""
        if self._store is None:
            return False
        return self._store.has_record(self._key(task, self._planned(planned)))

    def _planned(self, planned: Sequence[PlannedLesion]) -> list[Lesion]:
        with warnings.catch_warnings():  # told when it was planned
            warnings.simplefilter("ignore", LensLocWarning)
            return [each.on(self._model) for each in planned]

    def _key(self, task: Task, lesions: Sequence[Lesion]) -> dict[str, Any]:
        settings = [found.settings for found in lesions]
        return {**self._of_model, "lesions": settings, "task": dict(task.settings)}

    def _look_up(self, key: Mapping[str, Any]) -> tuple[TaskResult, tuple[Effect, ...]] | None:
        if self._store is None or (record := self._store.load_record(key)) is None:
            return None
        try:
            effects = tuple(Effect(**found) for found in record["effects"])
            result = TaskResult.from_record(record["result"])
            if not (result.is_finite or result.warnings):
                # Kept by a version that made a score of it.
                return None
            return result, effects
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._store.discard_record(key, error)
            return None


def _require_numbers(task: Task, intact: TaskResult) -> None:
    """Check that a task of anyone's gave a number for every item: what is lost is lost to lesions.

    Raises:
        NotFiniteError: naming the item.
    """
    numbers = intact.items[["value", "weight"]].to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        item = str(intact.items["item"].iloc[bad[0]])[:60]
        raise NotFiniteError(
            f"The task {task.name!r} gave no number for item {int(bad[0]) + 1} ({item!r}) of the "
            "model without a lesion, so no lesion can be compared with it; leave the item out, or "
            "return a number for it."
        )


def _of_ranks(parts: Sequence[Effect]) -> Effect:
    """Return what a lesion did in all ranks together."""
    if len(parts) == 1:
        return parts[0]
    points = dict.fromkeys(point for part in parts for point in part.fired)
    moved = [part.moved for part in parts if part.moved is not None]
    return Effect(
        {point: sum(part.fired.get(point, 0) for part in parts) for point in points},
        any(part.changed for part in parts),
        max(moved, default=None),
    )


def _to_record(result: TaskResult, effects: tuple[Effect, ...]) -> dict[str, Any]:
    found = [
        {"fired": dict(effect.fired), "changed": effect.changed, "moved": effect.moved}
        for effect in effects
    ]
    return {"result": result.to_record(), "effects": found}

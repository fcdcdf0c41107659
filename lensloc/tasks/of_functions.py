"""Tasks of your own, made of a function that returns items; and those of installed packages."""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch

from lensloc.arguments import listed
from lensloc.display.plugins import TASKS, called, gist, plugin, plugin_names
from lensloc.errors import LensLocError
from lensloc.forward.batches import evaluating
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.tasks.base import Task, TaskResult

Items = Callable[[Any], Any]
"""A model -> its items: numbers, rows with ``value``, or a table with such a column."""


TaskLike: TypeAlias = Task | Items
"""A task, or a function that is one."""


@dataclass(frozen=True)
class OwnTask:
    """A task that a function of yours measures.

    Attributes:
        function: a model -> items.
        name: as it stands in tables.
        measure: what the score is.
        higher_is_better: whether harm makes it smaller.
        chance: score of guessing, where there is one.
        texts: what the model reads, so that a study sees texts that units were selected on.
        settings: everything that the score depends on beside the model.
    """

    function: Items
    name: str
    measure: str = "score"
    higher_is_better: bool = True
    chance: float | None = None
    texts: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Score the model as it is, with whatever lesion is open, without gradients.

        Args:
            model: a loaded model.
            progress: not used: a function of yours shows what it likes.

        Raises:
            LensLocError: if the function fails, or returns no items.
        """
        surface(model)
        try:
            with evaluating(model), torch.no_grad():
                found = self.function(model)
        except LensLocError:
            raise
        except Exception as error:  # of a function of anyone
            raise LensLocError(f"The task {self.name!r} failed ({gist(error)}).") from error
        if isinstance(found, TaskResult):
            return found
        return TaskResult(
            self.name,
            self.measure,
            items_of(found, self.name),
            self.higher_is_better,
            chance=self.chance,
            settings=self.settings,
        )


def of_function(
    function: Items,
    *,
    name: str | None = None,
    measure: str = "score",
    higher_is_better: bool = True,
    chance: float | None = None,
    texts: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> OwnTask:
    """Make a task of a function that measures a model, item by item.

    What studies take as tasks may be such functions themselves; this says more of them.

    Args:
        function: takes the model, and returns its items: a list of numbers (or of true and false);
            or rows, or a table, with ``value`` and, if you like, ``weight`` (1), ``item`` (its
            name) and ``group``. The same items in the same order, whatever the lesion. The score is
            ``sum(value) / sum(weight)``.
        name: as it stands in tables; the function's if None.
        measure: what the score is, in words; ``"accuracy"`` for shares of items that are right.
        higher_is_better: whether a lesion that does harm makes the score smaller.
        chance: score of guessing.
        texts: what the model reads, so that a study keeps units' own stimuli apart.
        settings: everything that the score depends on beside the model, as plain data, so that a
            store may keep scores; without, a store never finds them again.

    Example:
        >>> import lensloc as ll
        >>> def long_words(model):
        ...     return [len(word) > 3 for word in ("a", "word", "longer")]
        >>> task = ll.tasks.of_function(long_words, measure="accuracy", chance=0.5)
        >>> task.name, task.measure
        ('long_words', 'accuracy')
    """
    if not callable(function):
        raise LensLocError(
            f"A task is made of a function of a model; {type(function).__name__} is none."
        )
    called_ = name or getattr(function, "__name__", "") or type(function).__name__
    # What a function depends on cannot be seen, so that scores of another run are not its own.
    known = {"own": uuid.uuid4().hex} if settings is None else dict(settings)
    return OwnTask(
        function,
        called_,
        measure,
        higher_is_better,
        chance,
        listed(texts, str),
        {
            **{"task": called_, "measure": measure},
            **{"higher_is_better": higher_is_better, "chance": chance},  # a store keeps both
            **known,
        },
    )


def as_tasks(given: Any) -> tuple[Task, ...]:
    """Return one or several tasks as several; functions become tasks.

    Raises:
        LensLocError: for something that is neither.
    """
    return tuple(_as_task(each) for each in listed(given))


def _as_task(given: Any) -> Task:
    if isinstance(given, Task):
        return given
    if callable(given) and not isinstance(given, type):
        return of_function(given)
    raise LensLocError(
        f"A task is one of ll.tasks, or a function of a model that returns items; something of "
        f"type {type(given).__name__} is neither."
    )


def items_of(found: Any, name: str) -> pd.DataFrame:
    """Return what a function gave as items.

    Raises:
        LensLocError: if it is none, or holds none.
    """
    table = _table(found, name)
    if table.empty:
        raise LensLocError(f"The task {name!r} returns no item; return at least one.")
    if "value" not in table:
        raise LensLocError(
            f"The items of the task {name!r} have no 'value'; they have "
            f"{', '.join(map(str, table.columns))}."
        )
    made = pd.DataFrame(
        {
            "item": table["item"].astype(str) if "item" in table else range(len(table)),
            "group": table["group"].astype(str) if "group" in table else "",
        }
    )
    made["item"] = made["item"].astype(str)
    for column, otherwise in (("value", None), ("weight", 1.0)):
        if column not in table:
            made[column] = otherwise
            continue
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(np.isnan(numbers) & table[column].notna().to_numpy())
        if len(wrong):
            row = int(wrong[0])
            raise LensLocError(
                f"The {column} of item {row + 1} of the task {name!r} is "
                f"{str(table[column].iloc[row])[:60]!r}, which is no number."
            )
        made[column] = numbers
    if not bool((made["weight"] >= 0).all()) or not float(made["weight"].sum()) > 0:
        raise LensLocError(f"The weights of the task {name!r} are 0 or more, and not all 0.")
    more = [column for column in table.columns if column not in made.columns]
    items: pd.DataFrame = pd.concat([made, table[more].reset_index(drop=True)], axis=1)
    return items


def _table(found: Any, name: str) -> pd.DataFrame:
    table: pd.DataFrame
    if isinstance(found, pd.DataFrame):
        table = found.reset_index(drop=True)
        return table
    found = _plain(found)
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        raise LensLocError(
            f"The task {name!r} returns something of type {type(found).__name__}; return its "
            "items: numbers, or rows with 'value'."
        )
    rows = list(map(_plain, found))
    if rows and all(isinstance(row, Mapping) for row in rows):
        table = pd.DataFrame([{key: _plain(cell) for key, cell in row.items()} for row in rows])
        return table
    if any(isinstance(row, Collection) and not isinstance(row, str | Mapping) for row in rows):
        raise LensLocError(f"The task {name!r} returns an array that is no list of numbers.")
    table = pd.DataFrame({"value": rows})
    return table


def _plain(found: Any) -> Any:
    """Return a tensor or an array, of whatever type and device, as Python's numbers."""
    if isinstance(found, torch.Tensor | np.ndarray):
        return found.tolist()
    return found


# -- of installed packages -------------------------------------------------------------------------


def plugged(name: str, **options: Any) -> Any:
    """Return a task that an installed package offers (entry point ``lensloc.tasks``).

    Args:
        name: of the entry point.
        options: of the package's function, which returns a task, or a function that is one.

    Raises:
        LensLocError: if there is none of that name, or it is broken; its package is named.
    """
    try:
        function = plugin(TASKS, name)
    except KeyError:
        known = ", ".join(plugin_names(TASKS)) or "none"
        raise LensLocError(
            f"No installed package offers a task {name!r}; those that are offered: {known}."
        ) from None
    made = called(TASKS, name, function, **options)
    try:
        return _as_task(made)
    except LensLocError as error:
        raise LensLocError(f"The plug-in {name!r} of {TASKS} gives no task: {error}") from error

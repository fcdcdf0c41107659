"""Classification: does a model give the right class the highest score?"""

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd

from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.forward.module_outputs import class_scores
from lensloc.models.surface import Model
from lensloc.tasks.base import TaskResult, content_hash
from lensloc.tasks.labelled import Labelled, labelled

_TOP = 5


@dataclass(frozen=True)
class Classification:
    """The task of :func:`classification`."""

    data: Labelled
    classes: Mapping[str, int] | None = None
    top: int = 1
    batch_size: BatchSize = "auto"
    name: str = "classification"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli, labels and options."""
        known = None if self.classes is None else content_hash(dict(self.classes))
        return {
            "task": "classification",
            "stimuli": self.data.hash,
            "classes": known,
            "top": self.top,
            "ties": "share the places",
        }

    @property
    def texts(self) -> frozenset[str]:
        """All stimuli."""
        return frozenset(self.data.stimuli)

    def without(self, texts: Container[str]) -> "Classification":
        """Return the task without some stimuli.

        Raises:
            LensLocError: if none is left.
        """
        return dataclasses.replace(self, data=self.data.without(texts, self.name))

    def at(self, items: Sequence[int]) -> "Classification":
        """Return the task with some of its stimuli, by position."""
        return dataclasses.replace(self, data=self.data.at(items))

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Classify every stimulus.

        Returns:
            The share whose class is among the ``top`` highest scores; where scores are equal, they
            share the places. Items of every stimulus, grouped by class, with ``top1`` and ``top5``
            (missing where there are no more than five classes), the index ``answer`` of the right
            class and ``chosen``, the first with the highest score.

        Raises:
            LensLocError: a model that gives no scores of classes, or classes that it has not.
        """
        scores = class_scores(
            model, self.data.stimuli, batch_size=self.batch_size, progress=progress,
            description=self.name,
        ).numpy()  # fmt: skip
        n_classes = scores.shape[1]
        if not 1 <= self.top < n_classes:
            raise LensLocError(
                f"top={self.top} of {n_classes} classes says nothing; it is 1 to {n_classes - 1}."
            )
        known = self._indices(n_classes)
        rows = []
        for name, label, row in zip(self.data.names, self.data.labels, scores, strict=True):
            answer = known[label]
            above, equal = int((row > row[answer]).sum()), int((row == row[answer]).sum())
            top = {k: min(max((k - above) / equal, 0.0), 1.0) for k in {1, _TOP, self.top}}
            rows.append(
                {
                    "item": name,
                    "group": label,
                    "answer": answer,
                    "chosen": int(row.argmax()),
                    "top1": top[1],
                    "top5": top[_TOP] if n_classes > _TOP else None,
                    "tie": equal > 1 and 0 < top[self.top] < 1,
                    "value": top[self.top],
                    "weight": 1.0,
                }
            )
        measure = "accuracy" if self.top == 1 else f"top-{self.top} accuracy"
        return TaskResult(
            self.name, measure, pd.DataFrame(rows), chance=self.top / n_classes,
            settings=self.settings,
        )  # fmt: skip

    def _indices(self, n_classes: int) -> dict[str, int]:
        """Return the column of every label.

        Raises:
            LensLocError: a label without one.
        """
        labels = self.data.classes
        if self.classes is not None:
            found = dict(self.classes)
        elif all(label.isdecimal() for label in labels):
            found = {label: int(label) for label in labels}
        elif len(labels) == n_classes:
            # As torchvision's ImageFolder numbers them.
            found = {label: number for number, label in enumerate(sorted(labels))}
        else:
            raise LensLocError(
                f"The labels are {len(labels)} names ({', '.join(labels[:3])} ...) and the model "
                f"has {n_classes} classes; say which is which with classes={{label: index}}, or "
                "the names of all classes in order."
            )
        for label in labels:
            if not 0 <= found.get(label, -1) < n_classes:
                at = found.get(label)
                raise LensLocError(
                    f"The label {label!r} "
                    + ("is not in classes" if at is None else f"is class {at}")
                    + f", and the model's classes are 0 to {n_classes - 1}."
                )
        return found


def classification(
    pictures: Any,
    labels: Sequence[Any] | None = None,
    *,
    classes: Mapping[Any, int] | Sequence[str] | None = None,
    top: int = 1,
    batch_size: BatchSize = "auto",
    name: str = "classification",
) -> Classification:
    """Return a task of classifying pictures, or whatever else a wrapped module takes.

    Args:
        pictures: a folder that holds a folder for every class, class -> pictures (as
            :meth:`lensloc.Contrast.from_images` takes them), a contrast whose conditions are the
            classes, or a list of pictures with ``labels``.
        labels: the class of each picture of a list.
        classes: which number each label has among the model's outputs: label -> index, or the
            names of all classes in order. If None, labels that are whole numbers are these, and
            otherwise there must be as many as outputs: they are numbered in alphabetical order.
        top: a picture counts as right if its class is among so many highest scores.
        batch_size: stimuli per batch; does not change the result.
        name: of the task, in tables.

    Raises:
        LensLocError: no stimuli, labels that do not fit them; classes that are none, or several
            of one label.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise LensLocError(f"top is a whole number above 0; {top!r} is not.")
    data = labelled(pictures, labels, "classification")
    known = None if classes is None else _numbers(classes, data.classes)
    return Classification(data, known, top, batch_size, name)


def _numbers(classes: Any, labels: Sequence[str]) -> dict[str, int]:
    """Return the number of every class by name.

    Raises:
        LensLocError: no numbers or names, or a label that several classes are called by.
    """
    if isinstance(classes, Mapping):
        for label, at in classes.items():
            if isinstance(at, bool) or not isinstance(at, Integral):
                raise LensLocError(
                    f"classes says the number of each label; {at!r}, of {str(label)!r}, is no "
                    "whole number."
                )
        return {str(label): int(at) for label, at in classes.items()}
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise LensLocError(
            "classes are {label: index}, or the names of all classes in order; "
            f"{classes!r} is neither."
        )
    names = [str(each) for each in classes]
    for label in labels:
        at = [number for number, name in enumerate(names) if name == label]
        if len(at) > 1:
            raise LensLocError(
                f"The model's classes {at[0]} and {at[1]} are both called {label!r}; name them "
                "apart, or call the labels by the numbers of their classes."
            )
    return {name: number for number, name in enumerate(names)}

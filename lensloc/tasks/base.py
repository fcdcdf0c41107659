"""Task and TaskResult: what a model is scored on, and how it did, item by item."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import xxhash

from lensloc.errors import LensLocError
from lensloc.tokens import shortened


@dataclass(frozen=True, eq=False)
class TaskResult:
    """How a model did on a task.

    The mean is ``sum(value) / sum(weight)`` over the items, and the score is the mean, or its
    exponential for a perplexity.

    Attributes:
        task: name of the task.
        measure: what the score is: ``accuracy``, ``perplexity``, ``bits per byte`` ...
        items: one row an item, in the order of the task, with at least ``item`` (its name),
            ``group`` (paradigm or kind), ``value`` and ``weight``.
        higher_is_better: whether a lesion that does harm makes the score smaller.
        exponential: whether the score is the exponential of the mean.
        chance: score of guessing, where there is one.
        settings: what the score depends on: stimuli, options, and whether a beginning-of-text
            token stood before every text.
    """

    task: str
    measure: str
    items: pd.DataFrame
    higher_is_better: bool = True
    exponential: bool = False
    chance: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Weighted mean over the items; for a perplexity its logarithm. NaN without weight."""
        return weighted_mean(self.items)

    @property
    def score(self) -> float:
        """The mean, or its exponential for a perplexity."""
        return float(np.exp(self.mean)) if self.exponential else self.mean

    @property
    def groups(self) -> dict[str, float]:
        """The score of every group of items (paradigm, kind), in order of appearance."""
        means = {
            str(name): weighted_mean(found)
            for name, found in self.items.groupby("group", sort=False)
        }
        return {name: float(np.exp(m)) if self.exponential else m for name, m in means.items()}

    def __repr__(self) -> str:
        return f"TaskResult({self.task}: {self.measure} {self.score:.4g}, {len(self.items)} items)"

    def to_record(self) -> dict[str, Any]:
        """Return what :meth:`from_record` reads, in plain lists and numbers."""
        return {
            "task": self.task,
            "measure": self.measure,
            "items": {name: self.items[name].tolist() for name in self.items.columns},
            "higher_is_better": self.higher_is_better,
            "exponential": self.exponential,
            "chance": self.chance,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TaskResult":
        """Read what :meth:`to_record` wrote.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        return cls(**{**record, "items": pd.DataFrame(record["items"])})


@runtime_checkable
class Task(Protocol):
    """Something that a model is scored on: ``task(model) -> TaskResult``.

    All tasks of the library also have ``texts``, every text that the model reads (and every part of
    it that could be a stimulus), and ``without(texts)``, the task without the items that hold one
    of some texts. With these, a study sees that units were selected on a task's texts, and keeps
    them apart; a task of your own may have them too.

    Attributes:
        name: short name, as it stands in tables.
        settings: everything that the score depends on beside the model, for keys.
    """

    @property
    def name(self) -> str:
        """Short name, as it stands in tables."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that the score depends on beside the model."""
        ...

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        """Score the model as it is, with whatever lesion is open."""
        ...


def texts_of(task: Task) -> Iterable[str]:
    """Return the texts that a task reads; none if it does not say."""
    texts: Iterable[str] = getattr(task, "texts", ())
    return texts


def weighted_mean(items: pd.DataFrame) -> float:
    """Return sum(value) / sum(weight); NaN without weight."""
    weight = float(items["weight"].sum())
    return float(items["value"].sum()) / weight if weight > 0 else float("nan")


def content_hash(content: Any) -> str:
    """Return a hash of plain data."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return xxhash.xxh3_128(text.encode()).hexdigest()


def require_fits(model: Any, length: int, where: str, text: str) -> None:
    """Check that a text fits the context window.

    Raises:
        LensLocError: naming the place of the text, if it does not.
    """
    window = int(model.cfg.n_ctx)
    if length > window:
        raise LensLocError(
            f"{where} ({shortened(text)}) has {length} tokens, but the model's context window is "
            f"{window}; shorten it or leave it out."
        )


def require_scored(n_scored: int, where: str, text: str) -> None:
    """Check that a text has a token to predict.

    Raises:
        LensLocError: naming the place of the text, if it has none.
    """
    if n_scored < 1:
        raise LensLocError(
            f"{where} ({shortened(text)}) is a text of one token or none, which has nothing before "
            "it to be predicted from; use bos='add', or leave it out."
        )

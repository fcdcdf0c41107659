"""Task and TaskResult: what a model is scored on, and how it did, item by item."""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import xxhash

from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, LensLocWarning, noted
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import shortened
from lensloc.units.verbatim import is_verbatim

# Above this share of ties a score says little, and that is told.
MANY_TIES = 0.05


@dataclass(frozen=True, eq=False)
class TaskResult(Savable):
    """How a model did on a task.

    The mean is ``sum(value) / sum(weight)`` over the items, and the score is the mean, or its
    exponential for a perplexity.

    Attributes:
        task: name of the task.
        measure: what the score is: ``accuracy``, ``perplexity``, ``bits per byte`` ...
        items: one row per item, in the order of the task, with at least ``item`` (its name),
            ``group`` (paradigm or kind), ``value`` and ``weight``; where alternatives are compared
            also ``tie``, whether the best ones were equally good.
        higher_is_better: whether a lesion that does harm makes the score smaller.
        exponential: whether the score is the exponential of the mean.
        chance: score of guessing, where there is one.
        settings: what the score depends on: stimuli, options, and whether a beginning-of-text
            token stood before every text.
        warnings: what a reader of the score should know, in sentences.
    """

    task: str
    measure: str
    items: pd.DataFrame
    higher_is_better: bool = True
    exponential: bool = False
    chance: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Weighted mean over the items; for a perplexity its logarithm.

        NaN without weight, or where an item has no number.
        """
        return weighted_mean(self.items)

    @property
    def score(self) -> float:
        """The mean, or its exponential for a perplexity; NaN if no float is large enough for it."""
        return self._scored(self.mean)

    @property
    def groups(self) -> dict[str, float]:
        """The score of every group of items (paradigm, kind), in order of appearance."""
        return self.by("group")

    def by(self, column: str) -> dict[str, float]:
        """Return the score of the items with each value of a column, in order of appearance.

        Raises:
            LensLocError: if the items have no such column.
        """
        if column not in self.items.columns:
            raise LensLocError(
                f"The items of {self.task!r} have no column {column!r}; they have "
                f"{', '.join(map(str, self.items.columns))}."
            )
        found = self.items.groupby(column, sort=False, dropna=False)
        return {str(name): self._scored(weighted_mean(rows)) for name, rows in found}

    def _scored(self, mean: float) -> float:
        if not self.exponential:
            return mean
        with np.errstate(over="ignore"):
            score = float(np.exp(mean))
        return score if np.isfinite(score) else float("nan")

    @property
    def n_ties(self) -> int:
        """How many items are ties, whose credit is shared."""
        return int(self.items["tie"].sum()) if "tie" in self.items.columns else 0

    @property
    def is_finite(self) -> bool:
        """Whether every item has a number; one of a model with NaN for logits has none."""
        return bool(np.isfinite(self.items[["value", "weight"]].to_numpy(dtype=np.float64)).all())

    def without_numbers(self, reason: str) -> "TaskResult":
        """Return the result of a model that gives no numbers: every value is missing.

        Args:
            reason: what is told of it, in a sentence.
        """
        items = self.items[["item", "group"]].assign(value=np.nan, weight=np.nan)
        return dataclasses.replace(self, items=items, warnings=(reason,))

    def __repr__(self) -> str:
        ties = f", {self.n_ties} of them ties" if self.n_ties else ""
        head = f"{self.task}: {self.measure} {self.score:.4g}, {len(self.items)} items{ties}"
        return noted(f"TaskResult({head})", self.warnings)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per item."""
        table: pd.DataFrame = self.items.copy()
        return table

    def at(self, positions: Iterable[int]) -> "TaskResult":
        """Return the result on some of the items, by position, as the same model gave it."""
        items = self.items.iloc[list(positions)].reset_index(drop=True)
        return dataclasses.replace(self, items=items)

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
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TaskResult":
        """Read what :meth:`to_record` wrote, now or before there were warnings.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        told = tuple(map(str, record.get("warnings", ())))
        return cls(**{**record, "items": pd.DataFrame(record["items"]), "warnings": told})


@runtime_checkable
class Task(Protocol):
    """Something that a model is scored on: ``task(model) -> TaskResult``.

    All tasks of the library also have ``texts``, every text that the model reads (and every part of
    it that could be a stimulus), and ``without(texts)``, the task without the items that hold one
    of some texts. With these, a study sees that units were selected on a task's texts, and keeps
    them apart. Pairs, questions and texts also have ``at(positions)``, the task with some of its
    items, in that order, with which a study measures control draws on a part of the items first.
    A task of your own may have these too.

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

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Score the model as it is, with whatever lesion is open."""
        ...


def texts_of(task: Task) -> Iterable[str]:
    """Return the texts that a task reads; none if it does not say."""
    texts: Iterable[str] = getattr(task, "texts", ())
    return texts


def weighted_mean(items: pd.DataFrame) -> float:
    """Return sum(value) / sum(weight); NaN without weight, or where a number is missing."""
    # Not by pandas, which passes over what is missing: no value at all would be a sum of 0.
    value, weight = (
        float(items[name].to_numpy(dtype=np.float64).sum()) for name in ("value", "weight")
    )
    return value / weight if weight > 0 else float("nan")


def is_tie(first: float, second: float) -> bool:
    """Say whether two summed log-probabilities differ by no more than float32 rounds off.

    That is a millionth: sums of the same terms differ by so much with the order of the texts.
    """
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-6)


def ties_told(items: pd.DataFrame, task: str, what: str) -> tuple[str, ...]:
    """Say that many items are ties, and what they count.

    Args:
        items: of a result, with ``tie``.
        task: its name.
        what: what a tie counts.
    """
    n_ties = int(items["tie"].sum())
    if n_ties <= MANY_TIES * len(items):
        return ()
    return (
        f"{n_ties} of {len(items)} items of {task!r} are ties, which the model cannot tell apart; "
        f"{what}.",
    )


def reading_told(model: Model, task: str, instead: str) -> tuple[str, ...]:
    """Say that a model sees what stands behind a token, where tokens are scored from what precedes.

    Args:
        model: what was scored.
        task: name of the task.
        instead: what to do.
    """
    seen = surface(model)
    if seen.is_causal:
        return ()
    return (
        f"{seen.name or 'This model'} reads a text in both directions, and {task!r} scores each "
        f"token as if only those before it were seen, which such a model was not made for; "
        f"{instead}.",
    )


MASKED_INSTEAD = (
    "ask it with ll.tasks.minimal_pairs(scoring='pseudo-log-likelihood') if it fills in masked "
    "tokens"
)
"""What to do with a model that reads in both directions."""


def told(result: TaskResult, known: Sequence[str] = ()) -> TaskResult:
    """Warn of what a result says; to be called by what a user calls.

    Args:
        result: what was measured.
        known: what was told when the task was made.
    """
    for sentence in result.warnings:
        if sentence not in known:
            warnings.warn(sentence, LensLocWarning, stacklevel=3)
    return result


def content_hash(content: Any) -> str:
    """Return a hash of plain data; a verbatim text counts as another one than its letters."""
    text = json.dumps(_marked(content), ensure_ascii=False, sort_keys=True)
    return xxhash.xxh3_128(text.encode(errors="surrogatepass")).hexdigest()


def _marked(content: Any) -> Any:
    if isinstance(content, list | tuple):
        return [_marked(part) for part in content]
    return {"verbatim": str(content)} if is_verbatim(content) else content


def require_fits(model: Model, length: int, where: str, text: str) -> None:
    """Check that a text fits the context window.

    Raises:
        LensLocError: naming the place of the text, if it does not.
    """
    window = surface(model).window
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

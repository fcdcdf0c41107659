"""Stimuli that have labels: what is classified, told apart by a probe, or compared."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError
from lensloc.tasks.base import content_hash
from lensloc.units.stimuli import Stimulus


@dataclass(frozen=True)
class Labelled:
    """Stimuli and their labels.

    Attributes:
        stimuli: pictures, sounds, arrays or texts.
        labels: one per stimulus.
        groups: what belongs together and is never on both sides of a split; empty for nothing.
    """

    stimuli: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, each once, in order of appearance."""
        return tuple(dict.fromkeys(self.labels))

    @property
    def together(self) -> tuple[str, ...] | None:
        """What is never on both sides of a split: groups; without any, copies; or None."""
        if self.groups:
            return self.groups
        return tuple(map(str, self.stimuli)) if len(set(self.stimuli)) < len(self.stimuli) else None

    @property
    def names(self) -> list[str]:
        """What each stimulus is called in tables."""
        return [
            each.name if isinstance(each, Stimulus) else str(number)
            for number, each in enumerate(self.stimuli, start=1)
        ]

    @property
    def hash(self) -> str:
        """Of stimuli, labels and groups."""
        rows = [[str(each), label] for each, label in zip(self.stimuli, self.labels, strict=True)]
        return content_hash([rows, list(self.groups)])

    def at(self, rows: Iterable[int]) -> "Labelled":
        """Return some of the stimuli."""
        chosen = list(rows)
        return Labelled(
            tuple(self.stimuli[row] for row in chosen),
            tuple(self.labels[row] for row in chosen),
            tuple(self.groups[row] for row in chosen) if self.groups else (),
        )

    def first(self, limit: int | None) -> "Labelled":
        """Return the first so many stimuli of every label; all, if None."""
        seen: Counter[str] = Counter()
        kept = []
        for row, label in enumerate(self.labels):
            seen[label] += 1
            if limit is None or seen[label] <= limit:
                kept.append(row)
        return self.at(kept)

    def without(self, texts: Container[str], task: str) -> "Labelled":
        """Return the stimuli that are not among some.

        Raises:
            LensLocError: if none is left.
        """
        kept = [row for row, each in enumerate(self.stimuli) if each not in texts]
        if not kept:
            raise LensLocError(f"No stimulus of the task {task!r} is left; give it other ones.")
        return self.at(kept)


def labelled(given: Any, labels: Sequence[Any] | None, what: str) -> Labelled:
    """Read stimuli and labels, from whatever holds them.

    Args:
        given: what was read before; a contrast, whose conditions are the labels; label ->
            pictures; a folder with a folder of pictures for every label; or, with ``labels``, a
            list of pictures.
        labels: of a list of pictures, one each.
        what: what is given, for messages.

    Raises:
        LensLocError: none of these, or fewer than two labels.
    """
    if isinstance(given, Labelled):
        return given
    if isinstance(given, Contrast):
        conditions: Mapping[str, Sequence[str]] = given.conditions
        _require_none(labels, "a contrast has its conditions as labels")
        groups = given.items or {}
    else:
        groups = {}
        if isinstance(given, Mapping | str | Path):
            _require_none(labels, "folders and mappings say the labels")
        else:
            given = _sorted_by(given, labels, what)
        from lensloc.contrasts.pictures import pictures  # loads Pillow

        conditions = pictures(given)[0]
    found = [(each, name) for name, stimuli in conditions.items() for each in stimuli]
    if len(conditions) < 2:
        raise LensLocError(f"{what} needs stimuli of at least two labels; give some of another.")
    of_groups = [group for name in conditions for group in groups.get(name, ())]
    return Labelled(
        tuple(each for each, _ in found),
        tuple(name for _, name in found),
        tuple(of_groups) if len(of_groups) == len(found) else (),
    )


def _require_none(labels: Any, reason: str) -> None:
    if labels is not None:
        raise LensLocError(f"labels has no effect here: {reason}; leave it out.")


def _sorted_by(given: Any, labels: Any, what: str) -> dict[str, list[Any]]:
    if labels is None:
        raise LensLocError(
            f"{what} needs labels: a folder with a folder for every label, {{label: pictures}}, a "
            "contrast, or labels=[...] beside a list of pictures."
        )
    for each, called in ((given, "The stimuli"), (labels, "labels")):
        if isinstance(each, str) or not isinstance(each, Iterable):
            raise LensLocError(
                f"{called} are a list, with one label for each stimulus; something of type "
                f"{type(each).__name__} is none."
            )
    stimuli, names = list(given), [str(label) for label in labels]
    if len(stimuli) != len(names):
        raise LensLocError(
            f"There are {len(stimuli)} pictures but {len(names)} labels; give one label each."
        )
    found: dict[str, list[Any]] = {}
    for each, name in zip(stimuli, names, strict=True):
        found.setdefault(name, []).append(each)
    return found

"""Which samples are held out together: whole passages, stories or runs, unless asked otherwise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from lensloc.alignment.optional import needed
from lensloc.errors import LensLocError, refuse_idle
from lensloc.vocabulary import SPLITS, Split

N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold every sample is held out in.

    Attributes:
        labels: ``[sample]``, its fold.
        groups: ``[sample]``, number of what it belongs to (passage, story or run).
        names: of the groups.
        split: ``"grouped"``: groups are whole; ``"shuffled"``: they are not; ``"given"``: labels
            were given, and groups are whole.
        seed: of shuffling.
    """

    labels: Int[np.ndarray, " sample"]
    groups: Int[np.ndarray, " sample"]
    names: tuple[str, ...]
    split: str
    seed: int = 0

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return len(np.unique(self.labels))

    def __iter__(self) -> Iterator[tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]]:
        for fold in np.unique(self.labels):
            yield np.flatnonzero(self.labels != fold), np.flatnonzero(self.labels == fold)

    def inner(self, train: Int[np.ndarray, " train"], n_folds: int) -> Int[np.ndarray, " train"]:
        """Split what is trained on once more, in the same way, to choose a penalty on.

        Raises:
            LensLocError: if fewer than two groups are left to split.
        """
        if self.split == "shuffled":
            return _shuffled(len(train), min(n_folds, len(train)), self.seed + 1)
        names = [self.names[group] for group in self.groups[train]]
        left = len(set(names))
        if left < 2:
            raise LensLocError(
                f"Outside one fold only one passage ({names[0]!r}) is left, so no penalty can be "
                "chosen by cross-validation; give more passages, or one penalty (alphas=[...])."
            )
        return _grouped(names, min(n_folds, left))


def make_folds(
    groups: Sequence[str],
    split: Split | Sequence[int] = "grouped",
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
    what: str = "passages",
) -> Folds:
    """Split samples into folds.

    Args:
        groups: what every sample belongs to (passage, story, run).
        split: ``"grouped"`` keeps groups whole (scikit-learn's ``GroupKFold``; the same groups are
            held out together whatever the order of the samples). ``"shuffled"`` does not: samples
            of one group are trained and tested on, and whatever is alike within a group passes for
            prediction. Or a fold for every sample, which must keep groups whole.
        n_folds: how many folds, if they are not given; then it must be left as it is.
        seed: of shuffling.
        what: what the groups are, in messages.

    Raises:
        LensLocError: fewer groups than folds; a group in two folds; an unknown split.
    """
    names = tuple(sorted(set(groups)))
    number = {name: at for at, name in enumerate(names)}
    codes = np.array([number[group] for group in groups], dtype=np.int64)
    if not isinstance(split, str):
        reason = "the folds are given, by split; leave it out"
        refuse_idle(reason, n_folds=n_folds not in (N_FOLDS, len(set(split))))
        return Folds(_given(split, groups, what), codes, names, "given", seed)
    if split not in SPLITS:
        raise LensLocError(
            f"There is no split {split!r}; there are {', '.join(SPLITS)}, or a fold for every "
            "sample."
        )
    if n_folds < 2:
        raise LensLocError(f"There must be at least 2 folds; {n_folds} is too few.")
    if split == "shuffled":
        if len(groups) < n_folds:
            raise LensLocError(
                f"There are {len(groups)} samples but {n_folds} folds; ask for fewer folds."
            )
        return Folds(_shuffled(len(groups), n_folds, seed), codes, names, split, seed)
    if len(names) < n_folds:
        raise LensLocError(
            f"There are {len(names)} {what} but {n_folds} folds, and {what} are kept whole; ask "
            f"for at most {len(names)} folds (n_folds), or give more {what}."
        )
    return Folds(_grouped(groups, n_folds), codes, names, split, seed)


def _grouped(groups: Sequence[str], n_folds: int) -> Int[np.ndarray, " sample"]:
    selection = needed("sklearn.model_selection", "Splitting data into folds")
    labels = np.zeros(len(groups), dtype=np.int64)
    rows = np.zeros(len(groups))
    # By name, so that folds do not depend on the order of the samples.
    splitter = selection.GroupKFold(n_splits=n_folds)
    for fold, (_, test) in enumerate(splitter.split(rows, groups=np.array(groups))):
        labels[test] = fold
    return labels


def _shuffled(n: int, n_folds: int, seed: int) -> Int[np.ndarray, " sample"]:
    order = np.random.default_rng(seed).permutation(n)
    labels = np.zeros(n, dtype=np.int64)
    labels[order] = np.arange(n) % n_folds
    return labels


def _given(split: Sequence[int], groups: Sequence[str], what: str) -> Int[np.ndarray, " sample"]:
    values = list(split)
    if len(values) != len(groups):
        raise LensLocError(
            f"{len(values)} folds were given for {len(groups)} samples; give one each."
        )
    first: dict[str, object] = {}
    for value, group in zip(values, groups, strict=True):
        if first.setdefault(group, value) != value:
            raise LensLocError(
                f"{group!r} of the {what} is in two folds, {first[group]} and {value}, so what is "
                "alike within it would pass for prediction; keep it in one fold, or ask for "
                "split='shuffled' by name."
            )
    if len(set(values)) < 2:
        raise LensLocError("All samples are in one fold; give at least two folds.")
    order = {value: at for at, value in enumerate(sorted(set(values)))}
    return np.array([order[value] for value in values], dtype=np.int64)

"""Tasks from what passes a site: a linear probe, and whether two stimuli are of one kind."""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from lensloc.arguments import require_numbers
from lensloc.errors import LensLocError, needed
from lensloc.forward.batches import BatchSize
from lensloc.forward.capturing import capture
from lensloc.lesions.lesioning import intact
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.tasks.base import TaskResult
from lensloc.tasks.labelled import Labelled, labelled
from lensloc.vocabulary import AnyPooling


@dataclass(frozen=True)
class Place:
    """Where features are taken from.

    Attributes:
        site: name of a site; None for the last one of the model's own, or block outputs.
        layer: which of its layers; counted from the last one where below 0.
        pooling: over tokens or places; None as the site says.
        batch_size: stimuli per batch.
    """

    site: str | None = None
    layer: int = -1
    pooling: AnyPooling | None = None
    batch_size: BatchSize = "auto"

    def __post_init__(self) -> None:
        """Check what can be before there is a model.

        Raises:
            LensLocError: a site that is no name, a layer that is no number.
        """
        if self.site is not None and not isinstance(self.site, str):
            raise LensLocError(f"site is the name of one site; {self.site!r} is none.")
        if not isinstance(self.layer, int) or isinstance(self.layer, bool):
            raise LensLocError(
                f"layer is a whole number, -1 for the last layer; {self.layer!r} is not."
            )

    def features(
        self, model: Model, stimuli: Sequence[str], progress: bool
    ) -> Float[np.ndarray, "stimulus unit"]:
        """Return the pooled activations of every stimulus, float64.

        Raises:
            LensLocError: a layer that there is not.
        """
        own = list(surface(model).own_sites) or ["resid_post"]
        site = own[-1] if self.site is None else self.site
        captured = capture(
            model, list(stimuli), ["stimulus"] * len(stimuli), [site],
            pooling=self.pooling,
            batch_size=self.batch_size, progress=progress,
        )  # fmt: skip
        found = captured.responses[site]
        n_layers = found.values.shape[1]
        if not -n_layers <= self.layer < n_layers:
            raise LensLocError(
                f"There is no layer {self.layer} at {site}; its layers are 0 to {n_layers - 1}"
                ", or -1 for the last one."
            )
        width = found.values.shape[2] if found.widths is None else found.widths[self.layer]
        values: Float[np.ndarray, "stimulus unit"] = (
            found.values[:, self.layer, :width].cpu().double().numpy()
        )
        return values

    @property
    def settings(self) -> dict[str, Any]:
        """What tells two places apart."""
        return {"site": self.site, "layer": self.layer, "pooling": self.pooling}


@dataclass(frozen=True)
class LinearProbe:
    """The task of :func:`linear_probe`."""

    data: Labelled
    place: Place
    folds: int = 5
    strength: float = 1.0
    refit: bool = True
    seed: int = 0
    name: str = "linear-probe"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli, labels and options."""
        return {
            "task": "linear_probe",
            "stimuli": self.data.hash,
            **self.place.settings,
            "folds": self.folds,
            "strength": self.strength,
            "refit": self.refit,
            "seed": self.seed,
        }

    @property
    def texts(self) -> frozenset[str]:
        """All stimuli."""
        return frozenset(self.data.stimuli)

    def without(self, texts: Container[str]) -> "LinearProbe":
        """Return the task without some stimuli.

        Raises:
            LensLocError: if too few are left to be split.
        """
        left = self.data.without(texts, self.name)
        _require_folds(left, self.folds)
        return dataclasses.replace(self, data=left)

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Fit the probe on all folds but one, and try it on that one, in turn.

        Returns:
            The share of stimuli that got their own label; items of every stimulus, grouped by
            label, with the label that was ``chosen`` and the ``fold`` in which it was left out.

        Raises:
            LensLocError: a site or layer that the model lacks; scikit-learn is not installed.
        """
        linear, pipeline, scaling, splitting = (
            needed(f"sklearn.{part}", "A linear probe", "lensloc[vision]")
            for part in ("linear_model", "pipeline", "preprocessing", "model_selection")
        )
        features = self.place.features(model, self.data.stimuli, progress)
        fitted_on = features
        if not self.refit:
            with intact(model):
                fitted_on = self.place.features(model, self.data.stimuli, progress)
        labels = np.array(self.data.labels)
        groups = self.data.together
        kind = splitting.StratifiedKFold if groups is None else splitting.StratifiedGroupKFold
        split = kind(self.folds, shuffle=True, random_state=self.seed)
        chosen = np.empty(len(labels), dtype=object)
        fold = np.zeros(len(labels), dtype=int)
        for number, (train, test) in enumerate(split.split(features, labels, groups)):
            probe = pipeline.make_pipeline(
                scaling.StandardScaler(),
                linear.LogisticRegression(C=self.strength, max_iter=5000),
            )
            probe.fit(fitted_on[train], labels[train])
            chosen[test], fold[test] = probe.predict(features[test]), number
        counts = [self.data.labels.count(each) for each in self.data.classes]
        items = pd.DataFrame(
            {
                "item": self.data.names,
                "group": self.data.labels,
                "chosen": chosen,
                "fold": fold,
                "value": (chosen == labels).astype(float),
                "weight": 1.0,
            }
        )
        return TaskResult(
            self.name, "accuracy", items, chance=max(counts) / sum(counts), settings=self.settings
        )


def linear_probe(
    stimuli: Any,
    site: str | None = None,
    *,
    layer: int = -1,
    labels: Sequence[Any] | None = None,
    pooling: AnyPooling | None = None,
    folds: int = 5,
    strength: float = 1.0,
    refit: bool = True,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    name: str = "linear-probe",
) -> LinearProbe:
    """Return a task of telling labels apart by a linear probe, cross-validated.

    The probe is a logistic regression (L2) on the pooled activations of a layer, each standardised
    by the stimuli that it is fitted on. Folds have all labels in equal shares; stimuli of one item
    of a contrast (or, without items, copies of one stimulus) are never on both sides. Needs
    ``pip install lensloc[vision]``.

    Args:
        stimuli: as :func:`lensloc.tasks.classification` takes them; a contrast of texts for a
            language model.
        site: the site of whose activations the probe is made; of a wrapped module its last one,
            of a language model block outputs, if None.
        layer: which of its layers; -1 for the last one.
        labels: the label of each picture of a list.
        pooling: over tokens or places; as the site says, or the last token, if None.
        folds: so many.
        strength: inverse of the regularisation's.
        refit: fit the probe on the lesioned model's activations: what can still be told apart. If
            False, on the intact model's: what a reader that knows no lesion still gets right.
        seed: of the split.
        batch_size: stimuli per batch; does not change the result.
        name: of the task, in tables.

    Raises:
        LensLocError: stimuli without labels, or fewer of a label than folds.
    """
    require_numbers(seed=seed, folds=folds)
    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 2:
        raise LensLocError(f"folds is a whole number from 2 on; {folds!r} is not.")
    given: Any = strength
    if not isinstance(given, Real) or not strength > 0:
        raise LensLocError(f"strength is a number above 0; {strength!r} is not.")
    data = labelled(stimuli, labels, "A linear probe")
    _require_folds(data, folds)
    place = Place(site, layer, pooling, batch_size)
    return LinearProbe(data, place, folds, strength, refit, seed, name)


def _require_folds(data: Labelled, folds: int) -> None:
    groups = data.together or range(len(data.labels))
    for name in data.classes:
        n = len({groups[row] for row, label in enumerate(data.labels) if label == name})
        if n < folds:
            what = "items" if data.groups else "stimuli"
            raise LensLocError(
                f"The label {name!r} has {n} {what}, too few for {folds} folds; give more, or "
                "fewer folds."
            )
    if len(data.classes) < 2:
        raise LensLocError("A linear probe tells at least two labels apart; one is left.")


@dataclass(frozen=True)
class Verification:
    """The task of :func:`embedding_verification`."""

    data: Labelled
    place: Place
    pairs: tuple[tuple[int, int], ...]
    folds: int = 10
    seed: int = 0
    name: str = "embedding-verification"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli, labels, pairs and options."""
        return {
            "task": "embedding_verification",
            "stimuli": self.data.hash,
            **self.place.settings,
            "pairs": [list(pair) for pair in self.pairs],
            "folds": self.folds,
            "seed": self.seed,
        }

    @property
    def texts(self) -> frozenset[str]:
        """The stimuli of all pairs."""
        return frozenset(self.data.stimuli[row] for row in self._rows)

    @property
    def _rows(self) -> list[int]:
        """Where the stimuli of all pairs stand, each once."""
        return sorted({row for pair in self.pairs for row in pair})

    def without(self, texts: Container[str]) -> "Verification":
        """Return the task without the pairs that hold some stimuli.

        Raises:
            LensLocError: if too few are left to be split.
        """
        kept = tuple(
            pair for pair in self.pairs if not any(self.data.stimuli[row] in texts for row in pair)
        )
        found = dataclasses.replace(self, pairs=kept)
        _require_pairs(found)
        return found

    @property
    def same(self) -> Bool[np.ndarray, " pair"]:
        """Whether the two stimuli of every pair have one label."""
        labels = self.data.labels
        return np.array([labels[a] == labels[b] for a, b in self.pairs], dtype=bool)

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Say of every pair whether it is of one label, by the cosine of its activations.

        Above which cosine a pair counts as the same is chosen on all other folds.

        Returns:
            Accuracy; items of every pair, grouped into ``same`` and ``different``, with their
            ``cosine`` and the ``threshold``.

        Raises:
            LensLocError: a site or layer that the model lacks.
        """
        rows = self._rows
        features = self.place.features(model, self.data.at(rows).stimuli, progress)
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        unit = np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)
        first, second = np.searchsorted(rows, np.array(self.pairs).T)
        cosine = (unit[first] * unit[second]).sum(axis=1)
        same = self.same
        folds = _folds(same, self.folds, self.seed)
        threshold = np.empty(len(same))
        for fold in range(self.folds):
            left = folds != fold
            threshold[~left] = best_threshold(cosine[left], same[left])
        names = self.data.names
        items = pd.DataFrame(
            {
                "item": [f"{names[a]} / {names[b]}" for a, b in self.pairs],
                "group": np.where(same, "same", "different"),
                "cosine": cosine,
                "threshold": threshold,
                "value": ((cosine > threshold) == same).astype(float),
                "weight": 1.0,
            }
        )
        return TaskResult(
            self.name, "accuracy", items, chance=max(same.mean(), 1 - same.mean()),
            settings=self.settings,
        )  # fmt: skip


def best_threshold(cosine: Float[np.ndarray, " pair"], same: Bool[np.ndarray, " pair"]) -> float:
    """Return the threshold above which most pairs are rightly called the same.

    It lies in the middle between two neighbouring values; of several the lowest.

    Example:
        >>> best_threshold(np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, False, True, True]))
        0.4
    """
    order = np.argsort(cosine, kind="stable")
    values, is_same = cosine[order], same[order]
    # Right above each cut: the same ones behind it, and the different ones before.
    right = np.concatenate([[0], np.cumsum(~is_same)]) + np.concatenate(
        [[is_same.sum()], is_same.sum() - np.cumsum(is_same)]
    )
    middles = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    # Between equal values there is no cut.
    cuts = np.concatenate([[True], values[1:] > values[:-1], [True]])
    return float(round(middles[int(np.where(cuts, right, -1).argmax())], 12))


def embedding_verification(
    stimuli: Any,
    site: str | None = None,
    *,
    layer: int = -1,
    labels: Sequence[Any] | None = None,
    pooling: AnyPooling | None = None,
    n_pairs: int = 200,
    folds: int = 10,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    name: str = "embedding-verification",
) -> Verification:
    """Return a task of saying whether two stimuli have one label, by the cosine of activations.

    As faces are verified (Huang et al. 2007): half of the pairs are of one label, half of two, and
    the cosine above which a pair counts as the same is chosen on all other folds.

    Args:
        stimuli: as :func:`lensloc.tasks.classification` takes them: people -> pictures, say.
        site: the site whose activations are compared; as for :func:`linear_probe` if None.
        layer: which of its layers; -1 for the last one.
        labels: the label of each picture of a list.
        pooling: over tokens or places; as the site says, or the last token, if None.
        n_pairs: so many pairs of one label and as many of two, drawn without repetition, none of
            the same stimulus twice; fewer, where there are fewer.
        folds: so many.
        seed: of the pairs and the split.
        batch_size: stimuli per batch; does not change the result.
        name: of the task, in tables.

    Raises:
        LensLocError: stimuli without labels, or too few pairs of one label.
    """
    require_numbers(seed=seed, folds=folds, n_pairs=n_pairs)
    for word, value, least in (("folds", folds, 2), ("n_pairs", n_pairs, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise LensLocError(f"{word} is a whole number from {least} on; {value!r} is not.")
    data = labelled(stimuli, labels, "Verification")
    found = Verification(
        data, Place(site, layer, pooling, batch_size), _drawn(data, n_pairs, seed), folds, seed,
        name,
    )  # fmt: skip
    _require_pairs(found)
    return found


def _drawn(data: Labelled, n_pairs: int, seed: int) -> tuple[tuple[int, int], ...]:
    labels, stimuli = (pd.factorize(np.array(each, dtype=object))[0] for each in (
        data.labels, data.stimuli))  # fmt: skip

    def partners(row: int, same: bool) -> Int[np.ndarray, " partner"]:
        """Return what stands behind a stimulus and makes a pair with it, but for copies of it."""
        alike = labels[row + 1 :] == labels[row]
        found: Int[np.ndarray, " partner"] = np.flatnonzero(
            (alike == same) & (stimuli[row + 1 :] != stimuli[row])
        )
        return found + row + 1

    # Pairs are counted, not listed: of thousands of pictures there are millions.
    ends = {
        same: np.cumsum([len(partners(row, same)) for row in range(len(labels))])
        for same in (False, True)
    }
    n = min(n_pairs, *(int(each[-1]) for each in ends.values()))
    draw = np.random.default_rng(seed)
    chosen = []
    for same, end in ends.items():
        for place in sorted(draw.permutation(int(end[-1]))[:n].tolist()):
            row = int(np.searchsorted(end, place, side="right"))
            before = int(end[row - 1]) if row else 0
            chosen.append((row, int(partners(row, same)[place - before])))
    return tuple(chosen)


def _require_pairs(task: Verification) -> None:
    n_same = int(task.same.sum()) if task.pairs else 0
    least = min(n_same, len(task.pairs) - n_same)
    if least < task.folds:
        raise LensLocError(
            f"The task {task.name!r} has {n_same} pairs of one label and "
            f"{len(task.pairs) - n_same} of two, too few for {task.folds} folds; give more stimuli "
            "of a label, or fewer folds."
        )


def _folds(same: Bool[np.ndarray, " pair"], folds: int, seed: int) -> Int[np.ndarray, " pair"]:
    """Return a fold for every pair, pairs of both kinds in equal shares."""
    draw = np.random.default_rng(seed)
    found = np.empty(len(same), dtype=int)
    for kind in (False, True):
        rows = draw.permutation(np.flatnonzero(same == kind))
        found[rows] = np.arange(len(rows)) % folds
    return found

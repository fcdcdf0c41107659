"""Runs of clean and corrupted texts side by side: metrics, gradients, units put in exchange."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lensloc.attribution.gates import Gate, Hooks, Place, Survey, passed
from lensloc.attribution.running import token_budget
from lensloc.contrasts.aligning import AlignedPair, Ids
from lensloc.errors import LensLocError, NotFiniteError
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    padded_right,
    run_batches,
    sees_pads,
)
from lensloc.forward.sites import upcast
from lensloc.models.adapting import surface
from lensloc.models.surface import Model, opened
from lensloc.tasks.scoring import log_probs
from lensloc.units.mask import UnitAddress

Passed = Mapping[Place, Tensor]
"""What passed places: ``[row, pos, unit, part]``."""


@dataclass(frozen=True)
class Row:
    """What is read at once of a pair: its prompt, with all but a continuation's last token.

    Attributes:
        pair: its number.
        clean: tokens that are read.
        corrupted: the same of the corrupted text, as many.
        first: position of the first token that is scored.
        scored: continuations, each with its sign in the metric.
    """

    pair: int
    clean: Ids
    corrupted: Ids
    first: int
    scored: tuple[tuple[Ids, float], ...]

    def tokens(self, *, corrupted: bool) -> Ids:
        """Return the tokens of one of the two texts."""
        return self.corrupted if corrupted else self.clean


def rows_of(number: int, pair: AlignedPair) -> list[Row]:
    """Return what is read of a pair; continuations of one token share a row."""
    found: list[Row] = []
    for side, sign in pair.sides:
        read = side.clean[:-1], side.corrupted[:-1]
        scored = (side.clean[side.first :], sign)
        if found and (found[-1].clean, found[-1].corrupted) == read:
            last = found.pop()
            found.append(Row(number, *read, side.first, (*last.scored, scored)))
        else:
            found.append(Row(number, *read, side.first, (scored,)))
    return found


class Patch:
    """Puts what passed in another run in the place of some units, as a hook.

    Args:
        place: where.
        units: ``[unit]``, those that are replaced.
        other: ``[row, pos, unit, part]``, what they become.
    """

    def __init__(self, place: Place, units: Bool[Tensor, " unit"], other: Tensor) -> None:
        self.hooks: Hooks = [(place.hook, self)]
        self._place = place
        self._units = units
        self._other = other

    def __call__(self, activation: Tensor) -> Tensor:
        """Replace the units."""
        parts = self._place.parts(activation)
        units = self._units.to(parts.device)[:, None]
        edited = torch.where(units, self._other.to(parts), parts)
        return edited.reshape(activation.shape)


@dataclass(frozen=True)
class PairedRuns:
    """Runs pairs through a model, all texts of a batch of pairs at once.

    Attributes:
        model: the model.
        pairs: their tokens.
        batch_size: pairs per batch.
        progress: show a progress bar.
    """

    model: Model
    pairs: Sequence[AlignedPair]
    batch_size: BatchSize
    progress: bool

    def run(
        self, run: Callable[[list[int], list[list[Row]]], None], n_places: int, description: str
    ) -> None:
        """Call ``run`` with every batch of pairs: their numbers, and their rows in groups.

        All rows of a group can be padded to one length.
        """
        lengths = [max(len(side.clean) for side, _ in pair.sides) - 1 for pair in self.pairs]
        batches = batches_by_length(
            lengths,
            batch_size=self.batch_size,
            budget=max(1, token_budget(self.model, n_places, max(lengths)) // 2),
        )
        equal = sees_pads(self.model, max(lengths))

        def grouped(numbers: list[int]) -> None:
            rows = [row for number in numbers for row in rows_of(number, self.pairs[number])]
            groups: dict[int, list[Row]] = {}
            for row in rows:
                groups.setdefault(len(row.clean) if equal else 0, []).append(row)
            run(numbers, list(groups.values()))

        run_batches(self.model, batches, grouped, progress=self.progress, description=description)

    # -- one group of rows ---------------------------------------------------------------------

    def look(
        self, rows: Sequence[Row], places: Sequence[Place], *, corrupted: bool
    ) -> tuple[dict[Place, Tensor], Float[np.ndarray, " row"]]:
        """Return what passes places, and the metrics; no gradients."""
        kept: dict[Place, Tensor] = {}

        def keep(place: Place) -> tuple[str, Callable[[Tensor], None]]:
            def hook(activation: Tensor) -> None:
                # A copy, since what passes may be changed in place behind the hook.
                kept[place] = place.parts(activation.detach().clone())

            return place.hook, hook

        metrics = self.metrics(rows, [keep(place) for place in places], corrupted=corrupted)
        for place in places:
            passed(place, kept.get(place))
        return kept, metrics

    def metrics(
        self, rows: Sequence[Row], hooks: Hooks, *, corrupted: bool = False
    ) -> Float[np.ndarray, " row"]:
        """Return the rows' parts of the metric with some hooks open; no gradients."""
        seen = surface(self.model)
        with torch.no_grad(), opened(seen, hooks):
            logits = seen.logits(self._inputs(rows, corrupted=corrupted))
        values, row_of = self._log_probs(logits, rows, corrupted=corrupted)
        found = np.zeros(len(rows))
        np.add.at(found, row_of.numpy(), values.detach().cpu().double().numpy())
        return found

    def slopes(
        self, rows: Sequence[Row], places: Sequence[Place], others: Passed, *, corrupted: bool
    ) -> tuple[list[Float[Tensor, "row unit"]], list[Survey], Float[np.ndarray, " row"]]:
        """Return (what passes - what passed in the other run) x gradient, summed over positions.

        Args:
            rows: what is read.
            places: where.
            others: what passed there in the other run.
            corrupted: run the corrupted texts.

        Returns:
            Effects of every place, float64 on the CPU; sizes of activations; metrics.
        """
        seen = surface(self.model)
        gates = [Gate(place, others[place], learns=True) for place in places]
        lengths = torch.tensor([len(row.clean) for row in rows])
        read = torch.arange(int(lengths.max())) < lengths[:, None]
        surveys = [Survey(place, read) for place in places]
        hooks = [hook for survey in surveys for hook in survey.hooks]
        hooks += [hook for gate in gates for hook in gate.hooks]
        with torch.inference_mode(mode=False), torch.enable_grad(), opened(seen, hooks):
            logits = seen.logits(self._inputs(rows, corrupted=corrupted))
            values, row_of = self._log_probs(logits, rows, corrupted=corrupted)
            total = values.sum()
            learned = [passed(gate.place, gate.value) for gate in gates]
            slopes: Sequence[Tensor | None] = [None] * len(learned)
            if total.requires_grad:
                slopes = torch.autograd.grad(total, learned, allow_unused=True)
        effects = []
        for gate, slope in zip(gates, slopes, strict=True):
            if slope is None:
                raise LensLocError(
                    f"What is written at the hook point {gate.place.hook!r} does not reach the "
                    f"model's logits, so the site {gate.place.site.name!r} has no gradient; choose "
                    "another site."
                )
            effect = slope.detach().cpu().double()
            self._require_finite(effect, gate.place, rows)
            effects.append(effect)
        metrics = np.zeros(len(rows))
        np.add.at(metrics, row_of.numpy(), values.detach().cpu().double().numpy())
        return effects, surveys, metrics

    def _inputs(self, rows: Sequence[Row], *, corrupted: bool) -> Int[Tensor, "row pos"]:
        texts = [row.tokens(corrupted=corrupted) for row in rows]
        return padded_right(texts, surface(self.model).device)

    def _log_probs(
        self, logits: Tensor, rows: Sequence[Row], *, corrupted: bool
    ) -> tuple[Float[Tensor, " scored"], Int[Tensor, " scored"]]:
        """Return the signed log-probability of every scored token, and the row of each."""
        places = [
            (number, row.first - 1 + offset, token, sign)
            for number, row in enumerate(rows)
            for tokens, sign in row.scored
            for offset, token in enumerate(tokens)
        ]
        row_of, before, targets, signs = (list(column) for column in zip(*places, strict=True))
        picked = upcast(logits[row_of, before])
        found = log_probs(picked, torch.tensor(targets, device=picked.device))
        bad = (~found.isfinite()).nonzero()
        if len(bad):
            row = rows[int(row_of[int(bad[0])])]
            side = "corrupted" if corrupted else "clean"
            raise NotFiniteError(
                f"{self.pairs[row.pair].place}: a continuation of the {side} prompt has a "
                f"log-probability of {float(found[int(bad[0])])}; load the model in float32, or "
                "leave the pair out."
            )
        signed = found * torch.tensor(signs, dtype=found.dtype, device=found.device)
        return signed, torch.tensor(row_of)

    def _require_finite(
        self, effect: Float[Tensor, "row unit"], place: Place, rows: Sequence[Row]
    ) -> None:
        bad = (~torch.isfinite(effect)).nonzero()
        if len(bad):
            row, unit = bad[0].tolist()
            raise LensLocError(
                f"The effect of {UnitAddress(place.layer, place.site.name, unit)} on "
                f"{self.pairs[rows[row].pair].place} is {float(effect[row, unit])}; load the model "
                "in float32 or leave the pair out."
            )

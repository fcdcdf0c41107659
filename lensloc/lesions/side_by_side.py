"""Several lesions of the same texts in one pass, one copy of the texts under each of them.

A few texts leave a GPU idle, and a study runs them under one lesion after another. So the first of
several lesions that asks for scores of some texts has them computed for the next ones too, as many
as there is room for; these find them when their turn comes. What each lesion did is told apart.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError, NotFiniteError
from lensloc.forward.batches import evaluating, fits
from lensloc.lesions.lesioning import (
    Effect,
    Lesion,
    has_other_hooks,
    intact,
    probe_tokens,
)
from lensloc.lesions.resuming import picked_logits
from lensloc.models.adapting import agreed, crew_of, surface
from lensloc.models.surface import Hook, Inputs, Model
from lensloc.ranks import least

log = logging.getLogger(__name__)

# A CPU is busy with the texts of one lesion, and there a score is the same to the last bit however
# many lesions there are.
_MOST_ON_CPU = 1

# Of every sequence another number of scored tokens.
Scores = list[Float[np.ndarray, "..."]]
ScoresOfCopies = list[Float[np.ndarray, "copy ..."]]

_IN_USE: ContextVar["SideBySide | None"] = ContextVar("side by side", default=None)


class Together(Lesion):
    """Lesions of which each acts on a copy of the texts: the rows of one stand before the next's.

    ``None`` is a copy that stays as it is.
    """

    def __init__(self, model: Model, parts: Sequence[Lesion | None]) -> None:
        lesions = [part for part in parts if part is not None]
        words = " | ".join(dict.fromkeys(part.description for part in lesions))
        super().__init__(model, (), f"side by side: {words}", {}, "all", check=False)
        self._parts = list(parts)

    def functions(self) -> list[tuple[str, Hook]]:
        """Return what is done at every hook point: to each copy what its lesion does."""
        of_copies: dict[str, list[list[Hook]]] = {}
        for copy, part in enumerate(self._parts):
            for point, function in () if part is None else part.functions():
                several = of_copies.setdefault(point, [[] for _ in self._parts])
                several[copy].append(function)
        return [(point, _by_copy(several)) for point, several in of_copies.items()]

    def _warn(self) -> None:
        """Say nothing: each of them says what it did."""


def _by_copy(functions: Sequence[Sequence[Hook]]) -> Hook:
    def run(activation: Tensor) -> Tensor | None:
        if len(activation) % len(functions):
            raise LensLocError(
                f"{len(activation)} rows pass a hook point, which are not as many of each of "
                f"{len(functions)} copies; run one lesion at a time: batch_size=1."
            )
        parts = list(activation.chunk(len(functions)))
        changed = False
        for copy, several in enumerate(functions):
            for function in several:
                new = function(parts[copy])
                if new is not None:
                    parts[copy], changed = new, True
        return torch.cat(parts) if changed else None

    return run


@dataclass
class Known:
    """What passes beside others found of one lesion.

    Attributes:
        scores: what was asked, what came of it, and what the lesion did meanwhile.
        moved: largest change of a logit of the probe; None if that is not known.
        alone: whether it is to be run alone, since it or one beside it left no numbers.
    """

    scores: list[tuple[Any, Scores, Effect]] = field(default_factory=list)
    moved: float | None = None
    alone: bool = False

    def taken(self, asked: Any) -> tuple[Scores, Effect] | None:
        """Return what came of it, once."""
        for place, (question, scores, effect) in enumerate(self.scores):
            if question == asked:
                del self.scores[place]
                return scores, replace(effect, moved=self.moved)
        return None


class SideBySide:
    """An open lesion of a model, and others that will be asked the same."""

    def __init__(
        self, model: Model, own: tuple[Lesion, Known], others: Iterable[tuple[Lesion, Known]]
    ) -> None:
        """Take lesions and where to keep what is found of them.

        Args:
            model: the model.
            own: the one that is open meanwhile.
            others: closed ones; as many are taken as there is room for. Those that do other things
                to a token than what follows from what passes there are run alone.
        """
        self.model = model
        self._own, self._known = own
        self._waiting = iter(others)
        self._others: list[tuple[Lesion, Known]] = []

    @contextmanager
    def used(self) -> Iterator[None]:
        """Use and extend what is known, in all that is scored inside."""
        token = _IN_USE.set(self)
        try:
            yield
        finally:
            _IN_USE.reset(token)

    def recalled(self, asked: Any) -> Scores | None:
        """Return the open lesion's scores, if they were found beside another's."""
        if self._own.suspended:  # it is the intact model that is asked
            return None
        found = self._known.taken(asked)
        if found is None:
            return None
        scores, effect = found
        self._own.credit(effect)
        return scores

    def scored(self, asked: Any, room: int, run: Callable[[int], ScoresOfCopies]) -> Scores | None:
        """Score texts under several lesions at once; None if that is not possible.

        Args:
            asked: what tells these texts and scores from others.
            room: how many copies of the texts may stand in a pass.
            run: scores so many copies.

        Returns:
            Those of the lesion that is open. The others' are kept.
        """
        if surface(self.model).device.type == "cpu":
            room = min(room, _MOST_ON_CPU)
        single = crew_of(self.model).size == 1
        most = agreed(self.model, room) if single else least(room)
        alone = self._own.suspended or not _fits_others(self._own, self._known)
        if most < 2 or alone or has_other_hooks(self.model):
            return None
        fitting = (each for each in self._waiting if _fits_others(*each))
        self._others += islice(fitting, max(0, most - 1 - len(self._others)))
        lesions = [(self._own, self._known), *self._others][:most]
        found: ScoresOfCopies = []

        def pass_of(numbers: list[int]) -> None:
            parts = [lesions[number][0] for number in numbers]
            with intact(self.model, [self._own]), Together(self.model, parts):
                found[:] = run(len(parts))

        while len(lesions) > 1:
            for lesion, _ in lesions[1:]:
                lesion.forget()
            try:
                if fits(self.model, pass_of, list(range(len(lesions))), "lesions"):
                    return self._told_apart(asked, lesions, found)
            except NotFiniteError as error:  # whose it is shows when each is run by itself
                log.info("lesions are run one by one, since one leaves no numbers (%s)", error)
                for _, known in lesions:
                    known.alone = True
                return None
            fewer = len(lesions) // 2
            log.warning(
                "memory ran out with %d lesions in one pass; going on with %d", len(lesions), fewer
            )
            lesions = lesions[:fewer]
        return None

    def _told_apart(
        self, asked: Any, lesions: Sequence[tuple[Lesion, Known]], found: ScoresOfCopies
    ) -> Scores:
        for copy, (lesion, known) in enumerate(lesions[1:], start=1):
            scores = [values[copy] for values in found]
            known.scores.append((asked, scores, lesion.effect))
        self._probe(lesions)
        return [values[0] for values in found]

    def _probe(self, lesions: Sequence[tuple[Lesion, Known]]) -> None:
        """Find what each moves in the logits of a few tokens, beside a copy that is intact."""
        model, parts = self.model, [None, *(lesion for lesion, _ in lesions)]
        inputs = Inputs(probe_tokens(model).to(surface(model).device))
        n_rows, length = inputs.tokens.shape
        places = np.arange(len(parts) * n_rows * length)
        rows, positions = (
            torch.from_numpy(part).to(inputs.tokens.device) for part in np.divmod(places, length)
        )

        def run() -> Tensor:
            alone = intact(model, [self._own])
            with evaluating(model), torch.no_grad(), alone, Together(model, parts):
                logits_of, _ = picked_logits(model, inputs, rows, positions, len(parts))
                return logits_of(slice(None)).float()

        logits = self._own.counting_nothing(run)
        if logits is None:
            return
        whole, *each = logits.chunk(len(parts))
        for (_, known), lesioned in zip(lesions, each, strict=True):
            known.moved = float((lesioned - whole).abs().nan_to_num(nan=torch.inf).max())
        self._own.credit(Effect({}, False, self._known.moved))


def _fits_others(lesion: Lesion, known: Known) -> bool:
    return lesion.by_token and not known.alone


def side_by_side(model: Model) -> SideBySide | None:
    """Return the lesions that are to be measured side by side on a model, if any are."""
    found = _IN_USE.get()
    return found if found is not None and found.model is model else None

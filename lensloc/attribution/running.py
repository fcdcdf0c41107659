"""The three methods: gradients, integrated gradients, and one gate closed after another."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.attribution.gates import Gate, Hooks, Place, Survey, frozen, passed
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    fits,
    padded_right,
    run_batches,
    sees_pads,
)
from lensloc.forward.memory import Budget, tokens_at_once
from lensloc.forward.sites import get_site, upcast
from lensloc.lesions.resuming import Residuals
from lensloc.models.adapting import surface
from lensloc.models.surface import Model, opened
from lensloc.tasks.scoring import Passes, Scored, log_probs, require_finite
from lensloc.units.mask import UnitAddress, UnitMask

log = logging.getLogger(__name__)

# What the activations kept for the backward pass, the logits and their gradients may take.
_BUDGET = Budget(on_cpu=3 * 2**30, share=0.5)
_TOKENS_ON_CPU = 1024
# Units ablated in one pass. Fewer cost more time than they save: one more copy of the texts is run
# for each pass, and texts that leave so little room keep a device at work by themselves.
_FEWEST_AT_ONCE = 12
# A larger share of a layer's effect missed by the integral is worth a warning.
_WARN_ABOVE = 0.05


@dataclass(frozen=True)
class Texts:
    """The stimuli: tokens, how messages call them, and what each counts for in the two means."""

    ids: list[tuple[int, ...]]
    names: list[str]
    weights: Float[Tensor, "role text"]

    @property
    def n_read(self) -> int:
        """Tokens that others are predicted from."""
        return sum(len(ids) - 1 for ids in self.ids)


@dataclass
class Found:
    """What was found so far, by place: float64, on the CPU."""

    means: dict[Place, Float[Tensor, "role unit"]] = field(default_factory=dict)
    gap: dict[Place, float] = field(default_factory=dict)
    total: dict[Place, Float[Tensor, "unit part"]] = field(default_factory=dict)
    size: dict[Place, Float[Tensor, " unit"]] = field(default_factory=dict)

    def add_means(self, place: Place, means: Float[Tensor, "role unit"]) -> None:
        """Add what some texts count for in the two means."""
        self.means[place] = self.means[place] + means if place in self.means else means

    def add_survey(self, survey: Survey) -> None:
        """Add what a batch showed of activations."""
        place = survey.place
        total, size = survey.found()
        self.total[place] = self.total[place] + total if place in self.total else total
        self.size[place] = self.size[place] + size if place in self.size else size


def token_budget(model: Model, n_places: int, longest: int) -> int:
    """Return how many tokens a forward and backward pass takes at once.

    Args:
        model: the model.
        n_places: layers of all sites at which gradients are taken.
        longest: tokens of the longest text.
    """
    seen = surface(model)
    neurons = seen.width(get_site("mlp_post").hook_name(0)) or 4 * seen.d_model
    width = max(seen.d_model, neurons)
    # Upper bounds of what autograd keeps per token: blocks, attention patterns, gates, logits.
    a_block = 16 * seen.d_model + 6 * width + 4 * seen.n_heads * longest
    elements = seen.n_layers * a_block + 2 * n_places * width
    size = seen.dtype.itemsize
    # Of half-precision logits the scored ones are taken in float32, and so are their gradients.
    of_logits = 4 * seen.vocabulary * max(4, size)
    return tokens_at_once(
        model, on_cpu=_TOKENS_ON_CPU, bytes_a_token=elements * size + of_logits, budget=_BUDGET
    )


@dataclass(frozen=True)
class Runner:
    """Runs texts through a model, with gates open or closed.

    Attributes:
        model: the model.
        texts: the stimuli.
        units: find the effects of these only; of all if None.
        baseline: what a unit without effect is taken to be.
        batch_size: texts per batch.
        progress: show a progress bar.
    """

    model: Model
    texts: Texts
    units: UnitMask | None
    baseline: str
    batch_size: BatchSize
    progress: bool

    # -- the three methods ---------------------------------------------------------------------

    def gradients_times_activations(self, places: Sequence[Place]) -> Found:
        """Find effects to first order, of all places in one pass."""
        # Sizes of activations come from the same pass, unless their means are needed before it.
        found = Found() if self.baseline == "zero" else self._survey(places)
        means = self._baselines(found)
        unknown = places if self.baseline == "zero" else ()

        def run(rows: list[int]) -> None:
            gates = [Gate(place, means.get(place), learns=True) for place in places]
            surveys = self._surveys(unknown, rows)
            effects = self._slopes(gates, rows, surveys)
            for survey in surveys:
                found.add_survey(survey)
            for place, effect in zip(places, effects, strict=True):
                found.add_means(place, self.texts.weights[:, rows] @ effect)

        with frozen(self.model):
            self._run_batches(run, places, progress=self.progress)
        return found

    def integrated_gradients(self, places: Sequence[Place], n_steps: int) -> Found:
        """Find effects by the mean slope between baseline and activation, place by place."""
        found = self._survey(places)
        means = self._baselines(found)
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        steps = [((1 + node) / 2, weight / 2) for node, weight in zip(nodes, weights, strict=True)]
        passes = self._passes()
        (intact,) = self._mean_log_probs(passes, [])
        incomplete: dict[str, list[Place]] = {}

        def integrate(place: Place) -> None:
            mean = means.get(place)
            whole = intact - self._mean_log_probs(passes, Gate(place, mean, 0.0).hooks)[0]
            missed = torch.zeros_like(whole)

            def run(rows: list[int]) -> None:
                gates = [(Gate(place, mean, at, learns=True), weight) for at, weight in steps]
                slopes = [weight * self._slopes([gate], rows)[0] for gate, weight in gates]
                effect = torch.stack(slopes).sum(dim=0)
                missed[rows] = effect.sum(dim=1) - whole[rows]
                found.add_means(place, self.texts.weights[:, rows] @ effect)

            self._run_batches(run, [place], progress=False)
            found.gap[place] = float(missed.abs().mean())
            if found.gap[place] > max(_WARN_ABOVE * float(whole.abs().mean()), 1e-5):
                incomplete.setdefault(place.site.name, []).append(place)

        wanted = [place for place in places if self._chosen(place, found)]
        with (
            frozen(self.model),
            progress_bar(self.progress, len(wanted), "layers, integrated") as advance,
        ):
            for place in wanted:
                integrate(place)
                advance(1)
        for name, missed_at in incomplete.items():
            log.warning(
                "integrated gradients of %s miss more than %.0f %% of a layer's effect in %d of %d "
                "layers (up to %.2g nats per token); take more steps, or another baseline",
                name,
                100 * _WARN_ABOVE,
                len(missed_at),
                sum(place.site.name == name for place in wanted),
                max(found.gap[place] for place in missed_at),
            )
        return found

    def ablation_effects(self, places: Sequence[Place]) -> Found:
        """Find effects by closing one unit after another."""
        found = self._survey(places)
        means = self._baselines(found)
        chosen = {place: self._chosen(place, found) for place in places}
        n_units = sum(map(len, chosen.values()))
        log.warning(
            "ablation_effect switches off %d units, each over %d texts, one run of all texts per "
            "unit or per few of them",
            n_units,
            len(self.texts.ids),
        )
        with (
            Residuals(self.model).used(),
            progress_bar(self.progress, n_units, "units, ablated") as advance,
        ):
            passes = self._passes()
            (intact,) = self._mean_log_probs(passes, [])
            every = list(range(len(intact)))
            at_once = passes.copies_at_once - 1  # beside a copy in which all gates are open
            at_once = at_once if at_once >= _FEWEST_AT_ONCE else 1
            for place, units in chosen.items():
                effects = torch.zeros(2, len(found.size[place]), dtype=torch.float64)

                def ablate(
                    some: list[int], place: Place = place, effects: Tensor = effects
                ) -> None:
                    # Passes of other sizes round differently, so both sides are of one pass.
                    closed = some if len(some) == 1 else [None, *some]
                    gate = Gate(place, means.get(place), closed=closed)
                    values = self._mean_log_probs(passes, gate.hooks, len(closed))
                    whole = intact if len(some) == 1 else values[0]
                    for unit, value in zip(some, values[-len(some) :], strict=True):
                        effect = whole - value
                        self._require_finite(effect[:, None], place, every, unit)
                        effects[:, unit] = self.texts.weights @ effect

                while units:
                    some = units[:at_once]
                    if fits(self.model, ablate, some, "ablated units"):
                        units = units[at_once:]
                        advance(len(some))
                        continue
                    at_once = len(some) // 2
                    log.warning(
                        "memory ran out with %d units ablated in one pass; going on with %d",
                        len(some),
                        at_once,
                    )
                found.add_means(place, effects)
        return found

    def _chosen(self, place: Place, found: Found) -> list[int]:
        if self.units is None:
            return list(range(len(found.size[place])))
        units: list[int] = self.units.mask[place.layer].nonzero().squeeze(1).tolist()
        return units

    # -- one batch -----------------------------------------------------------------------------

    def _run_batches(
        self, run: Callable[[list[int]], None], places: Sequence[Place], *, progress: bool
    ) -> None:
        batches = batches_by_length(
            [len(ids) - 1 for ids in self.texts.ids],
            batch_size=self.batch_size,
            budget=self._token_budget(len(places)),
            equal=sees_pads(self.model),
        )
        run_batches(self.model, batches, run, progress=progress, description="texts, attributed")

    def _token_budget(self, n_places: int) -> int:
        return token_budget(self.model, n_places, max(len(ids) for ids in self.texts.ids))

    def _inputs(self, rows: Sequence[int]) -> Tensor:
        # A text's last token is predicted but never read.
        return padded_right([self.texts.ids[row][:-1] for row in rows], surface(self.model).device)

    def _slopes(
        self, gates: Sequence[Gate], rows: list[int], surveys: "Sequence[Survey]" = ()
    ) -> list[Float[Tensor, "row unit"]]:
        """Return the gradient of every row's mean log-probability by its gates, float64, CPU."""
        seen = surface(self.model)
        hooks = [hook for survey in surveys for hook in survey.hooks]
        hooks += [hook for gate in gates for hook in gate.hooks]
        # In a context of its own, since run_batches switches gradients off, and callers may have
        # switched inference mode on.
        with torch.inference_mode(mode=False), torch.enable_grad(), opened(seen, hooks):
            logits = seen.logits(self._inputs(rows))
            total = self._log_prob(logits, rows)
            values = [passed(gate.place, gate.value) for gate in gates]
            slopes: Sequence[Tensor | None] = [None] * len(values)
            if total.requires_grad:
                slopes = torch.autograd.grad(total, values, allow_unused=True)
        predicted = torch.tensor([len(self.texts.ids[row]) - 1 for row in rows])
        effects = []
        for gate, slope in zip(gates, slopes, strict=True):
            if slope is None:
                raise LensLocError(
                    f"What is written at the hook point {gate.place.hook!r} does not reach the "
                    f"model's logits, so the site {gate.place.site.name!r} has no gradient; choose "
                    "another site."
                )
            effect = slope.cpu().double() / predicted[:, None]
            self._require_finite(effect, gate.place, rows)
            effects.append(effect)
        return effects

    def _log_prob(self, logits: Tensor, rows: list[int]) -> Float[Tensor, ""]:
        """Return the log-probabilities of all tokens but the first of each row, summed."""
        texts = [self.texts.ids[row] for row in rows]
        row_of = [row for row, ids in enumerate(texts) for _ in ids[1:]]
        before = [position for ids in texts for position in range(len(ids) - 1)]
        targets = [token for ids in texts for token in ids[1:]]
        # Summed, not averaged, for in half precision small gradients would be lost.
        picked = upcast(logits[row_of, before])
        found = log_probs(picked, torch.tensor(targets, device=picked.device))
        if not found.isfinite().all():
            values = found.detach().cpu().double().numpy()
            ends = np.cumsum([len(ids) - 1 for ids in texts])[:-1]
            parts = np.split(values, ends)
            for scored, part in zip(self._scored(rows), parts, strict=True):
                require_finite(self.model, part, scored)
        return found.sum()

    def _scored(self, rows: Sequence[int]) -> list[Scored]:
        return [Scored(self.texts.ids[row], place=self.texts.names[row]) for row in rows]

    def _passes(self) -> Passes:
        every = range(len(self.texts.ids))
        return Passes.of(self.model, self._scored(every), self.batch_size)

    def _mean_log_probs(
        self, passes: Passes, hooks: Hooks, copies: int = 1
    ) -> Float[Tensor, "copy text"]:
        """Return every text's mean log-probability with some hooks open; no gradients."""
        with opened(surface(self.model), hooks):
            found = passes.scored(copies, progress=False)
        return torch.from_numpy(np.stack([values.mean(axis=1) for values in found], axis=1))

    # -- activations ---------------------------------------------------------------------------

    def _surveys(self, places: Sequence[Place], rows: Sequence[int]) -> list[Survey]:
        lengths = torch.tensor([len(self.texts.ids[row]) - 1 for row in rows])
        read = torch.arange(int(lengths.max())) < lengths[:, None]
        return [Survey(place, read) for place in places]

    def _survey(self, places: Sequence[Place]) -> Found:
        """Run the model once, for sizes and means of activations."""
        found = Found()

        def run(rows: list[int]) -> None:
            surveys = self._surveys(places, rows)
            hooks = [hook for survey in surveys for hook in survey.hooks]
            seen = surface(self.model)
            with opened(seen, hooks):
                seen.blocks(self._inputs(rows))
            for survey in surveys:
                found.add_survey(survey)

        self._run_batches(run, places, progress=False)
        if self.units is not None:
            self.units.require_shape((len(places), len(found.size[places[0]])), "this model")
        return found

    def _baselines(self, found: Found) -> dict[Place, Float[Tensor, "unit part"]]:
        if self.baseline == "zero":
            return {}
        return {place: total / self.texts.n_read for place, total in found.total.items()}

    def _require_finite(
        self,
        effect: Float[Tensor, "row unit"],
        place: Place,
        rows: Sequence[int],
        unit: int | None = None,
    ) -> None:
        bad = (~torch.isfinite(effect)).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            address = UnitAddress(place.layer, place.site.name, column if unit is None else unit)
            raise LensLocError(
                f"The effect of {address} on {self.texts.names[rows[row]]} is "
                f"{float(effect[row, column])}; load the model in float32 or leave the text out."
            )

"""Attribution: how much every unit matters for predicting the texts, by gradients or by trying.

There is one quantity, the effect of a unit on a stimulus, in nats a token: how much lower the
stimulus' mean log-probability would be without the unit. Every unit has a gate, which puts
``baseline + gate * (activation - baseline)`` in place of its activation at every position; with
``L(gate)`` for the mean log-probability of the tokens 2 to n, each given what stands before it, the
effect is ``L(1) - L(0)``. The three methods find it from the gates:

- ``ablation_effect``: ``L(1) - L(0)`` itself, by closing one gate at a time;
- ``grad_x_act``: the slope at 1: ``(activation - baseline) * dL/d(activation)``, summed over
  positions (gradient times input, Shrikumar et al. 2016; attribution patching, Nanda 2023, Syed et
  al. 2023);
- ``integrated_gradients``: the mean slope from 0 to 1, all gates of a layer moving together
  (Sundararajan et al. 2017).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args, overload

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Float
from scipy.stats import spearmanr
from torch import Tensor

from lensloc.arguments import require_a
from lensloc.contrasts.contrast import Contrast
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, refuse_idle
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    padded_right,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.forward.capturing import tokenize
from lensloc.forward.sites import (
    Site,
    get_site,
    hook_names,
    names_of,
    shape,
    upcast,
)
from lensloc.lesions.lesioning import open_lesions
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Hook, Model, opened
from lensloc.models.tokens import shortened
from lensloc.tasks.scoring import Scored, log_probs, require_finite, token_log_probs
from lensloc.units.mask import UnitAddress, UnitMask, count_units, ranked
from lensloc.units.provenance import Provenance

log = logging.getLogger(__name__)

Method = Literal["grad_x_act", "integrated_gradients", "ablation_effect"]
METHODS: tuple[str, ...] = get_args(Method)
Baseline = Literal["zero", "mean"]
BASELINES: tuple[str, ...] = get_args(Baseline)

# What the activations kept for the backward pass, the logits and their gradients may take.
_GRADIENT_BYTES = {"cpu": 3 * 2**30, "cuda": 16 * 2**30, "mps": 2 * 2**30}
_TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16384, "mps": 2048}
# A larger share of a layer's effect missed by the integral is worth a warning.
_WARN_ABOVE = 0.05
_STEPS = 16


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much more each unit matters for the target than for the control, at one site.

    All arrays are float64 on the CPU, in nats a token; a positive effect means that the texts are
    predicted better with the unit than without it. Units that were not asked for are NaN.

    Attributes:
        site: name of the site.
        method: how the effects were found; see :func:`attribute`.
        baseline: what a unit was compared with, ``"zero"`` or ``"mean"``.
        score: ``[layer, unit]``, mean effect on the target's texts less that on the control's.
        mean_target: ``[layer, unit]``, mean effect on the target's texts.
        mean_control: ``[layer, unit]``, mean effect on the control's texts.
        n_target: number of texts of the target.
        n_control: number of texts of the control.
        magnitude: ``[layer, unit]``, mean absolute activation over all tokens that are read (of a
            head, mean norm), in activation units.
        gap: ``[layer]``, of integrated gradients: how far the sum over a layer's units is from the
            effect of the whole layer's site, mean absolute difference over all texts. It is 0
            where the integral is exact, and NaN for layers without a unit that was asked for.
        provenance: model, stimuli and procedure.
    """

    site: str
    method: str
    baseline: str
    score: Float[Tensor, "layer unit"]
    mean_target: Float[Tensor, "layer unit"]
    mean_control: Float[Tensor, "layer unit"]
    n_target: int
    n_control: int
    magnitude: Float[Tensor, "layer unit"]
    gap: Float[Tensor, " layer"] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units a layer."""
        n_layers, n_units = self.score.shape
        return n_layers, n_units

    def __repr__(self) -> str:
        layers, units = self.shape
        source = " ".join(x for x in (self.provenance.model, self.provenance.contrast) if x)
        known = self.score[torch.isfinite(self.score)]
        return (
            f"Attribution({len(known)} of {layers}x{units} units at {self.site} by {self.method}; "
            f"{source or 'unknown'}; {known.min():.2g} to {known.max():.2g} nats a token)"
        )

    def top(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of largest score: exactly ``k``, or ``percent`` of all, truncated.

        Ties are broken by layer, then unit. Percentages count all units of the site, those
        without a score among them, which are never taken.

        Raises:
            LensLocError: unless just one of the two is given and as many units have a score.
        """
        count, words = count_units(percent, k, self.score.numel(), self.site)
        scored = torch.isfinite(self.score)
        if count > int(scored.sum()):
            raise LensLocError(
                f"{count} units were asked for but only {int(scored.sum())} of "
                f"{self.score.numel()} at {self.site} have a score; ask for fewer."
            )
        score = self.score.masked_fill(~scored, -torch.inf)
        made = self.provenance.replace(selection=f"top {words}", site=self.site)
        return UnitMask.from_indices(
            self.site,
            ranked(score)[:count],
            self.shape,
            made,
            score=score,
            magnitude=self.magnitude,
        )

    def agreement(self, other: Float[Tensor, "layer unit"], *, absolute: bool = False) -> float:
        """Return Spearman's rank correlation of the scores with other values of the same units.

        Args:
            other: ``[layer, unit]``, e.g. ``found[site].t`` of a localization; only units that are
                finite in both count.
            absolute: rank the units by size, whatever the sign, on both sides.

        Raises:
            LensLocError: other units; or fewer than three finite, or all alike, in one of them.
        """
        if other.shape != self.score.shape:
            raise LensLocError(
                f"The scores are of {self.shape[0]}x{self.shape[1]} units, the other values of "
                f"{'x'.join(map(str, other.shape))}; compare maps of one model and one site."
            )
        theirs = other.detach().cpu().double()
        both = torch.isfinite(self.score) & torch.isfinite(theirs)
        pair = [values[both].abs() if absolute else values[both] for values in (self.score, theirs)]
        if int(both.sum()) < 3 or any(bool((values == values[0]).all()) for values in pair):
            raise LensLocError(
                f"{int(both.sum())} units at {self.site} are finite in both maps, or all alike in "
                "one of them; a rank correlation needs three that differ."
            )
        return float(spearmanr(pair[0].numpy(), pair[1].numpy()).statistic)

    def to_dataframe(self, mask: UnitMask | None = None) -> pd.DataFrame:
        """Return one row a unit: address, site, layer, unit, score, both means, magnitude.

        Args:
            mask: only these units, sorted by score, largest first; all in order if None.

        Raises:
            LensLocError: if the mask is of another site or shape.
        """
        if mask is None:
            layers, units = np.indices(self.shape).reshape(2, -1)
        else:
            if mask.site != self.site:
                raise LensLocError(f"The mask is of {mask.site}, these effects are of {self.site}.")
            mask.require_shape(self.shape, self.provenance.model or "this map")
            layers, units = mask.mask.nonzero().T.numpy()
        columns = ("score", "mean_target", "mean_control", "magnitude")
        table: pd.DataFrame = pd.DataFrame(
            {
                "address": [
                    str(UnitAddress(int(layer), self.site, int(unit)))
                    for layer, unit in zip(layers, units, strict=True)
                ],
                "site": self.site,
                "layer": layers,
                "unit": units,
                **{name: getattr(self, name).numpy()[layers, units] for name in columns},
            }
        )
        if mask is not None:
            table = table.sort_values("score", ascending=False, kind="stable", ignore_index=True)
        return table


@overload
def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = ...,
    site: str = ...,
    *,
    limit: int | None = ...,
    n_steps: int = ...,
    baseline: Baseline = ...,
    units: UnitMask | None = ...,
    batch_size: BatchSize = ...,
    max_tokens: int | None = ...,
    truncate: bool = ...,
    progress: bool = ...,
) -> Attribution: ...


@overload
def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = ...,
    site: list[str] | tuple[str, ...] = ...,
    *,
    limit: int | None = ...,
    n_steps: int = ...,
    baseline: Baseline = ...,
    units: UnitMask | None = ...,
    batch_size: BatchSize = ...,
    max_tokens: int | None = ...,
    truncate: bool = ...,
    progress: bool = ...,
) -> dict[str, Attribution]: ...


def attribute(
    model: Model,
    contrast: Contrast,
    method: Method = "grad_x_act",
    site: str | list[str] | tuple[str, ...] = "resid_post",
    *,
    limit: int | None = None,
    n_steps: int = _STEPS,
    baseline: Baseline = "zero",
    units: UnitMask | None = None,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    progress: bool = True,
) -> Attribution | dict[str, Attribution]:
    """Find how much every unit matters for predicting the target's texts and the control's.

    The effect of a unit on a text, in nats a token, is how much lower the text's mean
    log-probability a token would be (tokens 2 to n, given what stands before each) if the unit
    were at its baseline at every position of its layer:

    - ``grad_x_act`` estimates it to first order, for all units of all sites in one forward and one
      backward pass a batch. Exact only where the model is linear in the unit: of a unit that is
      far from its baseline, or whose effect saturates, it can have the wrong size or sign;
    - ``integrated_gradients`` averages the gradient along the straight path on which a layer's
      whole site goes from the baseline to its activation, at ``n_steps`` Gauss-Legendre points. The
      effects of a layer's units then sum to the effect of the whole site (completeness); ``gap``
      says how far they miss it;
    - ``ablation_effect`` measures it, one unit at a time: one forward pass over the texts a unit.

    A path from zero suits what is added to the residual stream (``mlp_out``, ``attn_out``, ``z``,
    ``mlp_post``). The stream itself is normalised before it is read, so scaling all of it changes
    nothing until it is nearly zero, where everything happens at once: at ``resid_*`` the integral
    from zero misses most of the effect and first-order effects of the last layer sum to nearly 0.
    There, use ``baseline="mean"``. The units of ``head`` are whole heads: one gate for all
    dimensions of its ``z``.

    Gradients are taken in the model's dtype and summed over tokens in float32 at least; load the
    model in float32 if digits matter. Batches change nothing, the model is left as it was, and
    lesions that are open stay in force.

    Args:
        model: a loaded model of any kind with a tokenizer, causal.
        contrast: the stimuli; only the target's and the control's conditions are run.
        method: how effects are found.
        site: where the units live (see :func:`lensloc.forward.sites.get_site`), or a list of sites.
        limit: use only so many texts a condition, the first ones.
        n_steps: points of the path, of ``integrated_gradients`` only.
        baseline: what a unit without effect is taken to be: ``"zero"``, or ``"mean"``, its mean
            over all tokens of the stimuli that are read (all but each text's last), of its layer.
        units: find the effects of these units only; all others have NaN. It is what makes
            ``ablation_effect`` affordable; ``integrated_gradients`` leaves out layers without any.
        batch_size: texts a batch, or ``"auto"``; halved when memory runs out.
        max_tokens: use only so many tokens of each text, special tokens included.
        truncate: cut texts that are longer than the context window, instead of refusing them.
        progress: show a progress bar.

    Returns:
        The effects of every unit; for a list of sites, one :class:`Attribution` a site, by name.

    Raises:
        LensLocError: an unknown method, baseline or site; a site that the model lacks or whose
            units are no activations; units of another site or shape, or none; a text of one token
            or longer than the context window; an effect that is not finite; a model that is not
            causal.
    """
    seen = surface(model)
    require_a(Contrast, contrast, "contrast")
    if not seen.is_causal:
        raise LensLocError(
            "This model reads texts in both directions, so it does not predict a token from what "
            "stands before it and units have no effect on that; take a causal model."
        )
    names = names_of(site)
    sites = _require_sites(model, names)
    _require_arguments(method, baseline, limit, n_steps)
    require_batch_size(batch_size)
    _require_units(units, sites, model)
    used = contrast if limit is None else _first(contrast, limit)
    if truncate:
        max_tokens = min(max_tokens or seen.window, seen.window)
    texts = _texts(model, used, max_tokens)
    steps = f", {n_steps} steps" if method == "integrated_gradients" else ""
    made = _provenance(model, used, max_tokens).replace(
        protocol=f"attribution by {method}, baseline {baseline}{steps}"
    )
    runner = _Runner(model, texts, units, baseline, batch_size, progress)
    places = [place for each in sites for place in _places(model, each)]
    if method == "grad_x_act":
        found = runner.gradients_times_activations(places)
    elif method == "integrated_gradients":
        found = runner.integrated_gradients(places, n_steps)
    else:
        found = runner.ablation_effects(places)
    results = {}
    for each in sites:
        mine = [place for place in places if place.site == each]
        results[each.name] = _result(mine, found, texts, units, method, baseline, made)
    return results[site] if isinstance(site, str) else results


# -- gates -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """One layer of a site."""

    site: Site
    layer: int
    n_heads: int

    @property
    def hook(self) -> str:
        return self.site.hook_name(self.layer)

    def parts(self, activation: Tensor) -> Float[Tensor, "row pos unit part"]:
        """Return what each unit consists of: one number, or the dimensions of a head."""
        rows, positions = activation.shape[:2]
        if self.site.axes == "head_norm":
            return activation.reshape(rows, positions, self.n_heads, -1)
        return activation.reshape(rows, positions, -1, 1)


_Hooks = list[tuple[str, Hook]]


class _Gate:
    """The gates of all units of a place, as a hook: 1 leaves a unit as it is, 0 removes it.

    Attributes:
        value: ``[row, unit]``, in float32 at least; those that learn are good for one batch.
    """

    def __init__(
        self,
        place: _Place,
        baseline: Float[Tensor, "unit part"] | None,
        opening: float = 1.0,
        *,
        closed: int | None = None,
        learns: bool = False,
    ) -> None:
        self.place = place
        self.value: Tensor | None = None
        self._baseline = baseline
        self._opening = opening
        self._closed = closed
        self._learns = learns

    @property
    def hooks(self) -> _Hooks:
        return [(self.place.hook, self)]

    def __call__(self, activation: Tensor) -> Tensor:
        parts = upcast(self.place.parts(activation))
        # Kept, since some hook points are passed more than once in a forward pass (the norm before
        # attention, for queries, keys and values), and the effect is that of all together.
        if self.value is None:
            self.value = self._made(parts)
        gate = self.value
        away = parts if self._baseline is None else parts - self._baseline.to(parts)
        # Written so that open gates change no bit of the activation.
        edited = torch.addcmul(parts, (gate - 1)[:, None, :, None], away)
        return edited.to(activation.dtype).reshape(activation.shape)

    def _made(self, parts: Float[Tensor, "row pos unit part"]) -> Float[Tensor, "gates unit"]:
        # A gate a row, so that a gradient is one text's; where none is taken, one serves all.
        size = (len(parts) if self._learns else 1, parts.shape[2])
        gate = torch.full(size, self._opening, dtype=parts.dtype, device=parts.device)
        if self._closed is not None:
            gate[:, self._closed] = 0
        return gate.requires_grad_(self._learns)


class _Survey:
    """Sums over tokens of a place's activations and of their sizes, as a hook that only looks."""

    def __init__(self, place: _Place, read: Bool[Tensor, "row pos"]) -> None:
        self.place = place
        self.hooks: _Hooks = [(place.hook, self)]
        self.total: Tensor | None = None
        self.size: Tensor | None = None
        self._read = read

    def __call__(self, activation: Tensor) -> None:
        parts = upcast(self.place.parts(activation.detach()))
        read = self._read.to(device=parts.device, dtype=parts.dtype)
        self.total = einsum(parts, read, "row pos unit part, row pos -> unit part").cpu().double()
        sizes = torch.linalg.vector_norm(parts, dim=-1)
        self.size = einsum(sizes, read, "row pos unit, row pos -> unit").cpu().double()


def _passed(place: _Place, value: Tensor | None) -> Tensor:
    if value is None:
        raise LensLocError(
            f"The model ran without passing its hook point {place.hook!r}, so the units of "
            f"{place.site.name} in layer {place.layer} have no effect that could be found; choose "
            "another site."
        )
    return value


@contextlib.contextmanager
def _frozen(model: Model) -> Iterator[None]:
    """Keep the weights out of the gradient, which saves the memory that theirs would take."""
    learning = [weights for weights in model.parameters() if weights.requires_grad]
    # Weights computed from others cannot be frozen, and need not be.
    learning = [weights for weights in learning if weights.is_leaf]
    try:
        for weights in learning:
            weights.requires_grad_(False)
        yield
    finally:
        for weights in learning:
            weights.requires_grad_(True)


# -- running ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """The stimuli: tokens, how messages call them, and what each counts for in the two means."""

    ids: list[tuple[int, ...]]
    names: list[str]
    weights: Float[Tensor, "role text"]

    @property
    def n_read(self) -> int:
        """Tokens that others are predicted from."""
        return sum(len(ids) - 1 for ids in self.ids)


@dataclass
class _Found:
    """What was found so far, by place: float64, on the CPU."""

    means: dict[_Place, Float[Tensor, "role unit"]] = field(default_factory=dict)
    gap: dict[_Place, float] = field(default_factory=dict)
    total: dict[_Place, Float[Tensor, "unit part"]] = field(default_factory=dict)
    size: dict[_Place, Float[Tensor, " unit"]] = field(default_factory=dict)

    def add_means(self, place: _Place, means: Float[Tensor, "role unit"]) -> None:
        self.means[place] = self.means[place] + means if place in self.means else means

    def add_survey(self, survey: _Survey) -> None:
        place = survey.place
        total, size = _passed(place, survey.total), _passed(place, survey.size)
        self.total[place] = self.total[place] + total if place in self.total else total
        self.size[place] = self.size[place] + size if place in self.size else size


@dataclass(frozen=True)
class _Runner:
    model: Model
    texts: _Texts
    units: UnitMask | None
    baseline: str
    batch_size: BatchSize
    progress: bool

    # -- the three methods ---------------------------------------------------------------------

    def gradients_times_activations(self, places: Sequence[_Place]) -> _Found:
        # Sizes of activations come from the same pass, unless their means are needed before it.
        found = _Found() if self.baseline == "zero" else self._survey(places)
        means = self._baselines(found)
        unknown = places if self.baseline == "zero" else ()

        def run(rows: list[int]) -> None:
            gates = [_Gate(place, means.get(place), learns=True) for place in places]
            surveys = self._surveys(unknown, rows)
            effects = self._slopes(gates, rows, surveys)
            for survey in surveys:
                found.add_survey(survey)
            for place, effect in zip(places, effects, strict=True):
                found.add_means(place, self.texts.weights[:, rows] @ effect)

        with _frozen(self.model):
            self._run_batches(run, places, progress=self.progress)
        return found

    def integrated_gradients(self, places: Sequence[_Place], n_steps: int) -> _Found:
        found = self._survey(places)
        means = self._baselines(found)
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        steps = [((1 + node) / 2, weight / 2) for node, weight in zip(nodes, weights, strict=True)]
        intact = self._mean_log_probs([])
        incomplete: dict[str, list[_Place]] = {}

        def integrate(place: _Place) -> None:
            mean = means.get(place)
            whole = intact - self._mean_log_probs(_Gate(place, mean, 0.0).hooks)
            missed = torch.zeros_like(whole)

            def run(rows: list[int]) -> None:
                gates = [(_Gate(place, mean, at, learns=True), weight) for at, weight in steps]
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
            _frozen(self.model),
            progress_bar(self.progress, len(wanted), "layers, integrated") as advance,
        ):
            for place in wanted:
                integrate(place)
                advance(1)
        for name, missed_at in incomplete.items():
            log.warning(
                "integrated gradients of %s miss more than %.0f %% of a layer's effect in %d of %d "
                "layers (up to %.2g nats a token); take more steps, or another baseline",
                name,
                100 * _WARN_ABOVE,
                len(missed_at),
                sum(place.site.name == name for place in wanted),
                max(found.gap[place] for place in missed_at),
            )
        return found

    def ablation_effects(self, places: Sequence[_Place]) -> _Found:
        found = self._survey(places)
        means = self._baselines(found)
        chosen = {place: self._chosen(place, found) for place in places}
        n_passes = sum(map(len, chosen.values()))
        log.warning(
            "ablation_effect runs the %d texts through the model %d times, once a unit",
            len(self.texts.ids),
            n_passes,
        )
        intact = self._mean_log_probs([])
        every = list(range(len(intact)))
        with progress_bar(self.progress, n_passes, "units, ablated") as advance:
            for place, units in chosen.items():
                effects = torch.zeros(2, len(found.size[place]), dtype=torch.float64)
                for unit in units:
                    gate = _Gate(place, means.get(place), closed=unit)
                    effect = intact - self._mean_log_probs(gate.hooks)
                    self._require_finite(effect[:, None], place, every, unit)
                    effects[:, unit] = self.texts.weights @ effect
                    advance(1)
                found.add_means(place, effects)
        return found

    def _chosen(self, place: _Place, found: _Found) -> list[int]:
        if self.units is None:
            return list(range(len(found.size[place])))
        units: list[int] = self.units.mask[place.layer].nonzero().squeeze(1).tolist()
        return units

    # -- one batch -----------------------------------------------------------------------------

    def _run_batches(
        self, run: Callable[[list[int]], None], places: Sequence[_Place], *, progress: bool
    ) -> None:
        batches = batches_by_length(
            [len(ids) - 1 for ids in self.texts.ids],
            batch_size=self.batch_size,
            budget=self._token_budget(len(places)),
            equal=sees_pads(self.model),
        )
        run_batches(self.model, batches, run, progress=progress, description="texts, attributed")

    def _token_budget(self, n_places: int) -> int:
        seen, device = surface(self.model), surface(self.model).device
        neurons = seen.width(get_site("mlp_post").hook_name(0)) or 4 * seen.d_model
        width = max(seen.d_model, neurons)
        longest = max(len(ids) for ids in self.texts.ids)
        # Upper bounds of what autograd keeps a token: blocks, attention patterns, gates, logits.
        a_block = 16 * seen.d_model + 6 * width + 4 * seen.n_heads * longest
        elements = seen.n_layers * a_block + 2 * n_places * width + 4 * seen.vocabulary
        memory: int = _GRADIENT_BYTES.get(device.type, 2 * 2**30)
        if device.type == "cuda":
            memory = min(memory, int(torch.cuda.mem_get_info(device)[0]) // 2)
        most = _TOKENS_AT_ONCE.get(device.type, 1024)
        return int(max(1, min(most, memory // (elements * seen.dtype.itemsize))))

    def _inputs(self, rows: Sequence[int]) -> Tensor:
        # A text's last token is predicted but never read.
        return padded_right([self.texts.ids[row][:-1] for row in rows], surface(self.model).device)

    def _slopes(
        self, gates: Sequence[_Gate], rows: list[int], surveys: "Sequence[_Survey]" = ()
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
            values = [_passed(gate.place, gate.value) for gate in gates]
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
            for row, part in zip(rows, np.split(values, ends), strict=True):
                require_finite(self.model, part, self._scored(row))
        return found.sum()

    def _scored(self, row: int) -> Scored:
        return Scored(self.texts.ids[row], place=self.texts.names[row])

    def _mean_log_probs(self, hooks: _Hooks) -> Float[Tensor, " text"]:
        """Return every text's mean log-probability with some hooks open; no gradients."""
        with opened(surface(self.model), hooks):
            found = token_log_probs(
                self.model,
                [self._scored(row) for row in range(len(self.texts.ids))],
                batch_size=self.batch_size,
                progress=False,
            )
        return torch.tensor([float(values.mean()) for values in found], dtype=torch.float64)

    # -- activations ---------------------------------------------------------------------------

    def _surveys(self, places: Sequence[_Place], rows: Sequence[int]) -> list[_Survey]:
        lengths = torch.tensor([len(self.texts.ids[row]) - 1 for row in rows])
        read = torch.arange(int(lengths.max())) < lengths[:, None]
        return [_Survey(place, read) for place in places]

    def _survey(self, places: Sequence[_Place]) -> _Found:
        """Run the model once, for sizes and means of activations."""
        found = _Found()

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

    def _baselines(self, found: _Found) -> dict[_Place, Float[Tensor, "unit part"]]:
        if self.baseline == "zero":
            return {}
        return {place: total / self.texts.n_read for place, total in found.total.items()}

    def _require_finite(
        self,
        effect: Float[Tensor, "row unit"],
        place: _Place,
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


# -- arguments and results -------------------------------------------------------------------------


def _require_arguments(method: str, baseline: str, limit: int | None, n_steps: int) -> None:
    if method not in METHODS:
        raise LensLocError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    if baseline not in BASELINES:
        raise LensLocError(f"There is no baseline {baseline!r}; there are {', '.join(BASELINES)}.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 text a condition; {limit} is not.")
    if n_steps < 1:
        raise LensLocError(f"A path has at least one step; n_steps={n_steps} has none.")
    if method != "integrated_gradients":
        reason = f"{method} follows no path; leave it out, or take integrated_gradients"
        refuse_idle(reason, n_steps=n_steps != _STEPS)


def _require_sites(model: Model, names: Sequence[str]) -> list[Site]:
    if not names:
        raise LensLocError("No site was named; name at least one, e.g. resid_post.")
    sites = [get_site(name) for name in names]
    for site in sites:
        if site.is_summary:
            raise LensLocError(
                f"The units of {site.name} are computed from attention patterns and nothing reads "
                "them, so they have no effect of their own; attribute head instead."
            )
        hook_names(site, model)
    return sites


def _require_units(units: UnitMask | None, sites: Sequence[Site], model: Model) -> None:
    if units is None:
        return
    names = [site.name for site in sites]
    if names != [units.site]:
        raise LensLocError(
            f"The units are of {units.site}, but effects were asked for at {', '.join(names)}; "
            f"say site={units.site!r}."
        )
    if len(units) == 0:
        raise LensLocError("units holds no unit, so there is nothing to find; select some.")
    # Where the configuration does not say how many there are, a forward pass will.
    known = shape(sites[0], model) or (surface(model).n_layers, units.shape[1])
    units.require_shape(known, "this model")


def _first(contrast: Contrast, limit: int) -> Contrast:
    return contrast.keep(
        {name: list(range(len(texts)))[:limit] for name, texts in contrast.conditions.items()}
    )


def _texts(model: Model, contrast: Contrast, max_tokens: int | None) -> _Texts:
    ids = [text.ids for text in tokenize(model, contrast.texts, max_tokens=max_tokens)]
    counts: dict[str, int] = {}
    names = []
    for text, label, tokens in zip(contrast.texts, contrast.labels, ids, strict=True):
        counts[label] = counts.get(label, 0) + 1
        name = f"text {counts[label]} of the condition {label!r} ({shortened(text)})"
        if len(tokens) < 2:
            raise LensLocError(
                f"T{name[1:]} has one token, so nothing of it is predicted from what stands "
                "before; leave it out."
            )
        names.append(name)
    roles = [
        [float(label in conditions) for label in contrast.labels]
        for conditions in (contrast.target, contrast.control)
    ]
    weights = torch.tensor(roles, dtype=torch.float64)
    return _Texts(ids, names, weights / weights.sum(dim=1, keepdim=True))


def _places(model: Model, site: Site) -> list[_Place]:
    seen = surface(model)
    return [_Place(site, layer, seen.n_heads) for layer in range(seen.n_layers)]


def _result(
    places: Sequence[_Place],
    found: _Found,
    texts: _Texts,
    units: UnitMask | None,
    method: str,
    baseline: str,
    made: Provenance,
) -> Attribution:
    size = torch.stack([found.size[place] for place in places]) / texts.n_read
    missing = torch.full_like(size[:1].expand(2, -1), torch.nan)
    means = torch.stack([found.means.get(place, missing) for place in places], dim=1)
    if units is not None:
        units.require_shape((len(places), size.shape[1]), "this model")
        means = means.masked_fill(~units.mask, torch.nan)
    mean_target, mean_control = means
    gap = None
    if method == "integrated_gradients":
        gaps = [found.gap.get(place, float("nan")) for place in places]
        gap = torch.tensor(gaps, dtype=torch.float64)
    n_target, n_control = ((texts.weights > 0).sum(dim=1)).tolist()
    site = places[0].site.name
    return Attribution(
        site=site,
        method=method,
        baseline=baseline,
        score=mean_target - mean_control,
        mean_target=mean_target.clone(),
        mean_control=mean_control.clone(),
        n_target=n_target,
        n_control=n_control,
        magnitude=size,
        gap=gap,
        provenance=made.replace(site=site, n_target=n_target, n_control=n_control),
    )


def _provenance(model: Model, contrast: Contrast, max_tokens: int | None) -> Provenance:
    return provenance_of(
        describe(model),
        contrast=contrast.name,
        contrast_hash=contrast.content_hash,
        target=contrast.target,
        control=contrast.control,
        absolute=False,
        test="attribution",
        max_tokens=max_tokens,
        lesion="; ".join(found.description for found in open_lesions(model)),
    )

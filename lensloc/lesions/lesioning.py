"""UnitMask -> forward hooks: units switched off, frozen, scaled or driven, and put back after.

A lesion is hook functions only. The model's weights are never touched, and leaving the lesion, by
any way, leaves no hook behind.
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import einops
import numpy as np
import torch
import xxhash
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.arguments import require_a, require_model
from lensloc.contrasts.contrast import Contrast
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize, device_of, evaluating, open_hooks, padding_options
from lensloc.forward.capturing import capture
from lensloc.forward.sites import Site, get_site, hook_names, reaches_mlp_only, shape, upcast
from lensloc.models.identity import card_of
from lensloc.units.mask import UnitMask, describe
from lensloc.units.responses import Responses
from lensloc.vocabulary import MODES, POSITIONS
from lensloc.vocabulary import Mode as Mode
from lensloc.vocabulary import Positions as Positions

log = logging.getLogger(__name__)

Reference = Contrast | Responses | Sequence[Responses] | Mapping[str, Responses]

_PROBE_TOKENS = 12


def lesion(
    model: Any,
    masks: UnitMask | Sequence[UnitMask],
    mode: Mode = "zero",
    *,
    scale: float | None = None,
    value: float | Float[Tensor, "layer unit"] | None = None,
    quantile: float | None = None,
    reference: Reference | None = None,
    seed: int = 0,
    positions: Positions = "all",
    batch_size: BatchSize = "auto",
    check: bool = True,
) -> "Lesion":
    """Return a context manager in which the masked units of the model do not do their work.

    ``with lesion(model, network): ...`` holds for everything that runs the model inside it:
    calls, ``run_with_cache``, ``run_with_hooks`` and ``generate`` with its cache, in both model
    classes. Lesions nest; hooks opened inside see lesioned values. A unit is replaced at its hook
    point, in the value that the rest of the model reads:

    - ``zero``: 0 (the published ablation);
    - ``mean``: the unit's mean over a reference;
    - ``resample``: its response to one stimulus of a reference, drawn with ``seed``: the same
      stimulus for all units, so that they form a pattern that the model produced, and the same for
      all texts and positions, so that neither batches nor caches matter; vary the seed;
    - ``scale``: its own value times ``scale``;
    - ``clamp``: ``value``, or the ``quantile`` of its responses to a reference (steering);
    - ``write``: what it was at the block's input, so that only this block's own contribution to
      the dimension is removed (sites ``resid_mid`` and ``resid_post``).

    A ``head`` mask acts on the head's whole ``z``: zero, mean, resample and scale on each of its
    dimensions; clamp sets its norm, which is what a head's response is.

    On leaving, it warns if its hooks never fired, changed no activation, or moved no logit of a
    short probe (which runs the model twice on two rows of 12 tokens).

    Args:
        model: a HookedTransformer or TransformerBridge.
        masks: the units; several masks for several sites.
        mode: what happens to them.
        scale: the factor of ``scale``; above 1 turns units up.
        value: of ``clamp``, in activation units; one for all units, or one each (then of one mask;
            values of other units do not matter).
        quantile: of ``clamp``, 0 to 1, over the stimuli of ``reference``.
        reference: of ``mean``, ``resample`` and ``clamp``: a contrast, of whose texts the responses
            are captured here and now (signed, mean over tokens), or responses, one a site
            (site ``z`` for the mean and resampling of heads).
        seed: of ``resample``.
        positions: every position, or only the last of each forward pass. With a key-value cache
            the last position is each new token in its turn; without, earlier tokens recover.
        batch_size: texts a batch, for a contrast as reference.
        check: probe the logits on leaving.

    Raises:
        LensLocError: an empty mask; one of a model of another shape; a site that the model lacks;
            an argument that the mode needs and lacks, or does not know.
    """
    require_model(model)
    listed = isinstance(masks, Iterable) and not isinstance(masks, str | Mapping)
    chosen: tuple[UnitMask, ...] = tuple(masks) if listed else (masks,)  # type: ignore[arg-type, assignment]
    for each in chosen:
        require_a(UnitMask, each, "masks")
    _require_masks(model, chosen)
    _require_arguments(mode, positions, scale, value, quantile, reference)
    if isinstance(value, Tensor):
        _require_values(value, chosen)
    if mode == "write":
        _require_site_for_write(chosen)
    sites = {reference_site(mask.site, mode) for mask in chosen}
    responses: Mapping[str, Responses] = {}
    if reference is not None:
        responses = reference_responses(model, reference, sites, batch_size)
    edits = [
        edit
        for mask in chosen
        for edit in _edits(model, mask, mode, scale, value, quantile, responses, seed)
    ]
    settings = {
        "masks": [mask_hash(mask) for mask in chosen],
        "mode": mode,
        "scale": scale,
        "value": _values_hash(value, chosen[0]) if isinstance(value, Tensor) else value,
        "quantile": quantile,
        "reference": {site: _responses_hash(found) for site, found in sorted(responses.items())},
        "seed": seed if mode == "resample" else None,
        "positions": positions,
    }
    words = " and ".join(f"{len(mask)} units at {mask.site}" for mask in chosen)
    return Lesion(model, edits, f"{mode} of {words}", settings, positions, check)


@dataclass(frozen=True)
class Effect:
    """What a lesion did while it was open.

    Attributes:
        fired: hook point -> how often its hook ran.
        changed: whether any activation was changed.
        moved: largest change of a logit of the probe; None if it was not probed.
    """

    fired: Mapping[str, int]
    changed: bool
    moved: float | None

    @property
    def took_effect(self) -> bool:
        """Whether the hooks ran, changed an activation and, where probed, moved a logit."""
        return bool(self.fired) and self.changed and self.moved != 0


class Lesion:
    """An open or closed lesion; made by :func:`lesion`, used with ``with``.

    Attributes:
        description: mode, number of units and sites, in words.
        settings: everything that tells two lesions apart, for keys.
        effect: what it did; complete once it is closed.
    """

    def __init__(
        self,
        model: Any,
        edits: "Sequence[_Edit]",
        description: str,
        settings: Mapping[str, Any],
        positions: Positions,
        check: bool,
    ) -> None:
        self.description = description
        self.settings = dict(settings)
        self._model = model
        self._edits = tuple(edits)
        self._last_only = positions == "last"
        self._check = check
        self._opened: list[tuple[Any, Any]] = []
        self._suspended = 0
        self._forget()

    def _forget(self) -> None:
        self._fired: dict[str, int] = {}
        self._changed: list[Tensor] = []
        self._moved: float | None = None
        self._kept: dict[str, Tensor] = {}

    def __repr__(self) -> str:
        return f"Lesion({self.description}; {'open' if self._opened else 'closed'})"

    @property
    def suspended(self) -> bool:
        """Whether the lesion is open but does nothing for now; see :func:`intact`."""
        return self._suspended > 0

    @property
    def effect(self) -> Effect:
        """What the lesion did since it was last opened."""
        return Effect(dict(self._fired), any(bool(c) for c in self._changed), self._moved)

    def __enter__(self) -> "Lesion":
        if self._opened:
            raise LensLocError(
                f"This lesion ({self.description}) is open already; make another one with lesion()."
            )
        self._forget()
        try:
            for edit in self._edits:
                if edit.mode == "write":
                    self._open(edit.input_hook, self._keep_input(edit))
                self._open(edit.hook, self._replace(edit))
                if edit.reaches_mlp_only:
                    self._open(edit.output_hook, self._carry_on(edit))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            lesioned = self._probe() if kind is None and self._check and self._fired else None
        finally:
            self._close()
        if kind is not None:
            return
        intact = self._probe() if lesioned is not None else None
        if lesioned is not None and intact is not None:
            self._moved = float((lesioned - intact).abs().nan_to_num(nan=torch.inf).max())
        self._warn()

    # -- hooks ---------------------------------------------------------------------------------

    def _open(self, name: str, function: Callable[[Tensor], Tensor | None]) -> None:
        point = self._model.hook_dict[name]
        # Permanent in the model's eyes, so that nothing that runs inside takes it away.
        point.add_hook(_Hook(self, name, function, self._last_only), is_permanent=True)
        self._opened.append((point, point.fwd_hooks[-1]))

    def _close(self) -> None:
        while self._opened:
            point, handle = self._opened.pop()
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]
        self._kept.clear()

    def _keep_input(self, edit: "_Edit") -> Callable[[Tensor], None]:
        def keep(activation: Tensor) -> None:
            self._kept[edit.hook] = activation

        return keep

    def _carry_on(self, edit: "_Edit") -> Callable[[Tensor], Tensor]:
        def carry_on(activation: Tensor) -> Tensor:
            difference = self._kept.pop(edit.output_hook)
            return activation + difference.to(activation.device)

        return carry_on

    def _replace(self, edit: "_Edit") -> Callable[[Tensor], Tensor]:
        def replace(activation: Tensor) -> Tensor:
            edited = edit.apply(activation, self._kept.pop(edit.hook, None))
            if self._last_only:
                edited = torch.cat([activation[:, :-1], edited[:, -1:]], dim=1)
            self._fired[edit.hook] = self._fired.get(edit.hook, 0) + 1
            if edit.reaches_mlp_only:
                self._kept[edit.output_hook] = edited - activation
            # One flag at a time stays on its device, unread, so that nothing waits for it.
            different = (edited != activation).any()
            if self._changed and self._changed[-1].device == different.device:
                self._changed[-1] = self._changed[-1] | different
            else:
                self._changed.append(different)
            return edited

        return replace

    # -- did it do anything? -------------------------------------------------------------------

    def _probe(self) -> Tensor | None:
        """Return the logits of a few fixed tokens, leaving all lesions' counts as they are."""
        vocabulary, length = int(self._model.cfg.d_vocab), min(_PROBE_TOKENS, self._model.cfg.n_ctx)
        tokens = (torch.arange(2 * length) * 7919 + 11) % vocabulary
        counting = (self, *open_lesions(self._model))
        kept = [(found, dict(found._fired), list(found._changed)) for found in counting]
        try:
            with evaluating(self._model), torch.no_grad():
                logits: Tensor = self._model(
                    tokens.reshape(2, length).to(device_of(self._model)),
                    return_type="logits",
                    **padding_options(self._model),
                )
                return logits.float()
        except (TypeError, ValueError, RuntimeError, NotImplementedError, IndexError) as reason:
            log.info("the lesion's effect on logits could not be probed (%s)", reason)
            return None
        finally:
            for found, fired, changed in kept:
                found._fired, found._changed = fired, changed

    def _warn(self) -> None:
        effect = self.effect
        if not effect.fired:
            what = "its hooks never fired: the model was not run inside it"
        elif not effect.changed:
            what = "it changed no activation: the units had these values already"
        elif effect.moved == 0:
            what = "it moved no logit of the probe"
        else:
            return
        # The caller's `with` statement: this method, __exit__, then the caller.
        message = f"The lesion ({self.description}) took no effect: {what}."
        warnings.warn(message, LensLocWarning, stacklevel=3)


class _Hook:
    """A hook function of a lesion, recognisable among all hooks of a model."""

    def __init__(
        self,
        owner: Lesion,
        name: str,
        function: Callable[[Tensor], Tensor | None],
        last_only: bool,
    ) -> None:
        self.owner = owner
        self.last_only = last_only
        self._name = name
        self._function = function

    def __repr__(self) -> str:
        return f"lensloc: {self.owner.description} ({self._name})"

    def __call__(self, activation: Tensor, hook: Any) -> Tensor | None:
        return None if self.owner._suspended else self._function(activation)


def open_lesions(model: Any) -> tuple[Lesion, ...]:
    """Return the lesions that are open on the model, each once."""
    found = [hook.owner for hook in open_hooks(model) if isinstance(hook, _Hook)]
    return tuple(dict.fromkeys(found))


def has_other_hooks(model: Any) -> bool:
    """Say whether hooks are open on the model that are not a lesion's."""
    return any(not isinstance(hook, _Hook) for hook in open_hooks(model))


@contextlib.contextmanager
def intact(model: Any) -> Iterator[None]:
    """Suspend every lesion that is open on the model, for a while."""
    suspended = open_lesions(model)
    for found in suspended:
        found._suspended += 1
    try:
        yield
    finally:
        for found in suspended:
            found._suspended -= 1


# -- what happens to a unit ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Edit:
    """What happens to the masked units of one layer of one site.

    A TransformerBridge's ``hook_resid_mid`` is the input of the MLP or of its normalisation: what
    is written there reaches the MLP but not the residual stream, to which it must be added after.
    """

    site: Site
    layer: int
    units: Bool[Tensor, " unit"]
    mode: Mode
    n_heads: int
    factor: float = 1.0
    values: Float[Tensor, " value"] | None = None
    reaches_mlp_only: bool = False
    _moved: dict[Any, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    @property
    def hook(self) -> str:
        return self.site.hook_name(self.layer)

    @property
    def input_hook(self) -> str:
        return get_site("resid_pre").hook_name(self.layer)

    @property
    def output_hook(self) -> str:
        return get_site("resid_post").hook_name(self.layer)

    def apply(self, activation: Tensor, block_input: Tensor | None) -> Tensor:
        """Return the activation ``[batch, pos, ...]`` with the units replaced."""
        units, values = self._on(activation)
        if self.site.axes == "head_norm":
            return self._apply_to_heads(activation, units, values)
        flat = activation.reshape(*activation.shape[:2], -1)
        if flat.shape[-1] != len(units):
            raise LensLocError(
                f"The mask has {len(units)} units a layer at {self.site.name}, but the model has "
                f"{flat.shape[-1]} there (layer {self.layer}); localize on this model instead."
            )
        new: Tensor | float
        if self.mode == "scale":
            new = flat * self.factor
        elif self.mode == "write":
            if block_input is None:
                raise LensLocError(
                    f"The block's input at layer {self.layer} did not pass its hook point "
                    f"{self.input_hook!r}, so mode='write' cannot be done; use another mode."
                )
            new = block_input
        else:
            new = 0.0 if values is None else values
        return self._chosen(units, new, flat).reshape(activation.shape)

    def _apply_to_heads(self, activation: Tensor, units: Tensor, values: Tensor | None) -> Tensor:
        heads = activation
        if activation.ndim == 3:
            heads = einops.rearrange(
                activation, "batch pos (head d_head) -> batch pos head d_head", head=self.n_heads
            )
        new: Tensor | float
        if self.mode == "scale":
            new = heads * self.factor
        elif values is None:
            new = 0.0
        elif self.mode == "clamp":
            norms = torch.linalg.vector_norm(upcast(heads), dim=-1, keepdim=True)
            target = values.to(norms.dtype)[:, None]
            new = (heads * torch.where(norms > 0, target / norms, 0.0)).to(heads.dtype)
        else:
            new = einops.rearrange(values, "(head d_head) -> head d_head", head=self.n_heads)
        return self._chosen(units[:, None], new, heads).reshape(activation.shape)

    @staticmethod
    def _chosen(units: Tensor, new: Tensor | float, old: Tensor) -> Tensor:
        if not isinstance(new, Tensor):
            return old.masked_fill(units, new)
        return torch.where(units, new.to(device=old.device, dtype=old.dtype), old)

    def _on(self, activation: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return units and values where the activation is; moved there once."""
        key = (activation.device, activation.dtype)
        if key not in self._moved:
            # A tensor made under inference_mode could not be used outside of it.
            with torch.inference_mode(mode=False):
                units, values = self.units.clone().to(activation.device), self.values
                if values is not None:
                    values = values.clone().to(device=activation.device, dtype=activation.dtype)
                self._moved[key] = (units, values)
        return self._moved[key]


def _edits(
    model: Any,
    mask: UnitMask,
    mode: Mode,
    scale: float | None,
    value: float | Float[Tensor, "layer unit"] | None,
    quantile: float | None,
    responses: Mapping[str, Responses],
    seed: int,
) -> Iterator[_Edit]:
    site = get_site(mask.site)
    if mode == "write":
        hook_names(get_site("resid_pre"), model)
    layered: Float[Tensor, "layer value"] | None = None
    if mode == "clamp" and value is not None:
        layered = torch.as_tensor(value, dtype=torch.float64).cpu().expand(mask.shape)
    elif mode in ("mean", "resample", "clamp"):
        found = responses[reference_site(mask.site, mode)]
        layered = _summary(found, mask, mode, quantile, seed, model)
    for layer, units in enumerate(mask.mask):
        if units.any():
            yield _Edit(
                site,
                layer,
                units,
                mode,
                int(model.cfg.n_heads),
                factor=1.0 if scale is None else float(scale),
                values=None if layered is None else layered[layer],
                reaches_mlp_only=reaches_mlp_only(site, model, layer),
            )


def _summary(
    responses: Responses, mask: UnitMask, mode: Mode, quantile: float | None, seed: int, model: Any
) -> Float[Tensor, "layer value"]:
    """Return one value a unit of the reference responses, float64; 0 where no unit is masked."""
    values = responses.values.cpu()
    needed = mask.mask
    if responses.site != mask.site:  # a head's z, dimension by dimension
        width = int(model.cfg.d_head)
        needed = einops.repeat(needed, "layer head -> layer (head d_head)", d_head=width)
    if values.shape[1:] != needed.shape:
        raise LensLocError(
            f"The reference responses at {responses.site} are of {values.shape[1]}x"
            f"{values.shape[2]} units, but the mask needs {needed.shape[0]}x{needed.shape[1]}; "
            "capture them on this model."
        )
    chosen = values[:, needed].double()
    summary: Tensor
    if mode == "mean":
        summary = chosen.mean(dim=0)
    elif mode == "resample":
        summary = chosen[int(np.random.default_rng(seed).integers(len(chosen)))]
    else:
        assert quantile is not None
        summary = torch.from_numpy(np.quantile(chosen.numpy(), quantile, axis=0))
    layered = torch.zeros(needed.shape, dtype=torch.float64)
    layered[needed] = summary
    return layered


# -- references ------------------------------------------------------------------------------------


def reference_site(site: str, mode: str) -> str:
    """Return the site whose reference responses a mode needs for the units of a site."""
    return "z" if site == "head" and mode in ("mean", "resample") else site


def reference_responses(
    model: Any, reference: Reference, sites: set[str], batch_size: BatchSize = "auto"
) -> Mapping[str, Responses]:
    """Return the responses of a reference by site; those of a contrast are captured.

    Raises:
        LensLocError: if the reference lacks a site, or holds no stimulus there.
    """
    if isinstance(reference, Contrast):
        captured = capture(
            model,
            reference.texts,
            reference.labels,
            sorted(sites),
            pooling="mean",
            batch_size=batch_size,
            truncate=True,
            progress=False,
        )
        return captured.responses
    if isinstance(reference, Responses):
        reference = (reference,)
    given = reference.values() if isinstance(reference, Mapping) else reference
    by_site = {found.site: found for found in given}
    missing = sites - set(by_site)
    if missing:
        raise LensLocError(
            f"The reference holds responses at {', '.join(by_site) or 'no site'}, but this lesion "
            f"needs them at {', '.join(sorted(missing))}; capture them there, or give a contrast."
        )
    empty = [site for site in sites if len(by_site[site].values) == 0]
    if empty:
        raise LensLocError(f"The reference responses at {empty[0]} hold no stimulus; give some.")
    return {site: by_site[site] for site in sites}


def _responses_hash(responses: Responses) -> str:
    values = responses.values.detach().cpu().contiguous()
    digest = xxhash.xxh3_128(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _values_hash(values: Float[Tensor, "layer unit"], mask: UnitMask) -> str:
    """Return a hash of the values of the masked units."""
    chosen = values.cpu().double()[mask.mask]
    return xxhash.xxh3_128_hexdigest(chosen.contiguous().numpy().data)


def mask_hash(mask: UnitMask) -> str:
    """Return a hash of a mask's site and units, whatever their provenance."""
    digest = xxhash.xxh3_128(f"{mask.site} {mask.shape}".encode())
    digest.update(mask.mask.contiguous().numpy().data)
    return digest.hexdigest()


# -- bad input -------------------------------------------------------------------------------------


def _require_masks(model: Any, masks: Sequence[UnitMask]) -> None:
    if not masks:
        raise LensLocError("No mask was given; give at least one.")
    card = card_of(model)
    name = card.name if card is not None else "the model"
    for mask in masks:
        site = get_site(mask.site)
        hook_names(site, model)
        if site.is_summary:
            raise LensLocError(
                f"Units at {site.name} say where heads attend and cannot be set; lesion the heads "
                'themselves, UnitMask("head", mask.mask).'
            )
        known = shape(site, model)
        layers = int(model.cfg.n_layers)
        if known is not None or mask.shape[0] != layers:
            mask.require_shape(known or (layers, mask.shape[1]), name)
        if len(mask) == 0:
            raise LensLocError(
                f"The mask {describe(mask)} holds no unit, so there is nothing to lesion; "
                "select some."
            )
        made = mask.provenance
        parts = [] if card is None else made.differing(card.hashes)
        if parts:
            trained = ", untrained" if made.untrained else ""
            differ = "differ" if len(parts) > 1 or parts == ["weights"] else "differs"
            warnings.warn(
                f"The mask {describe(mask)} was made on another model than {name} "
                f"({made.model}{trained}: its {' and '.join(parts)} {differ}); its units may mean "
                "nothing here.",
                LensLocWarning,
                stacklevel=3,
            )


def _require_arguments(
    mode: str,
    positions: str,
    scale: float | None,
    value: float | Float[Tensor, "layer unit"] | None,
    quantile: float | None,
    reference: Reference | None,
) -> None:
    if mode not in MODES:
        raise LensLocError(f"There is no mode {mode!r}; there are {', '.join(MODES)}.")
    if positions not in POSITIONS:
        raise LensLocError(f"positions is 'all' or 'last'; {positions!r} is neither.")
    given = {"scale": scale, "value": value, "quantile": quantile, "reference": reference}
    takes = {
        "scale": ("scale",),
        "clamp": ("value", "quantile", "reference"),
        "mean": ("reference",),
        "resample": ("reference",),
    }.get(mode, ())
    for name, argument in given.items():
        if argument is not None and name not in takes:
            raise LensLocError(f"mode={mode!r} takes no {name}; leave it out, or change the mode.")
        if isinstance(argument, float | int) and not math.isfinite(argument):
            raise LensLocError(f"{name} must be a number; {argument} is not.")
    if mode == "scale" and scale is None:
        raise LensLocError("mode='scale' needs scale, the factor, e.g. scale=0.5.")
    if mode in ("mean", "resample") and reference is None:
        raise LensLocError(
            f"mode={mode!r} needs reference: a contrast, or responses of the units' site."
        )
    if mode == "clamp":
        if (value is None) == (quantile is None):
            raise LensLocError("mode='clamp' needs either value, or quantile with reference.")
        if (quantile is None) != (reference is None):
            raise LensLocError("quantile and reference belong together; give both or neither.")
        if quantile is not None and not 0 <= quantile <= 1:
            raise LensLocError(f"quantile lies between 0 and 1; {quantile:g} does not.")


def _require_values(values: Float[Tensor, "layer unit"], masks: Sequence[UnitMask]) -> None:
    """Check that there is a number for every masked unit."""
    if len(masks) != 1 or tuple(values.shape) != masks[0].shape:
        shapes = " and ".join(f"{n}x{m}" for n, m in (mask.shape for mask in masks))
        raise LensLocError(
            f"value has the shape {'x'.join(map(str, values.shape))}, but the mask {shapes}; give "
            "one number, or one for every unit of one mask."
        )
    wrong = (masks[0].mask & ~values.cpu().isfinite()).nonzero()
    if len(wrong):
        layer, unit = wrong[0].tolist()
        raise LensLocError(
            f"value must be numbers; that of the unit L{layer}.{masks[0].site}.{unit} is "
            f"{float(values[layer, unit])}."
        )


def _require_site_for_write(masks: Sequence[UnitMask]) -> None:
    for mask in masks:
        if mask.site not in ("resid_mid", "resid_post"):
            raise LensLocError(
                f"mode='write' removes what a block adds to the residual stream, so it is defined "
                f"at resid_mid and resid_post, not at {mask.site}; choose another mode."
            )

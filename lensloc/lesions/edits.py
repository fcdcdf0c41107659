"""Mask and mode -> what happens to the units of one layer, where they pass their hook point."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import einops
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lensloc.errors import LensLocError
from lensloc.forward.sites import Site, get_site, hook_names, site_of
from lensloc.lesions.corrupted import CorruptedRun
from lensloc.lesions.modes import LesionMode, Passing
from lensloc.lesions.references import reference_site
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.units.mask import UnitMask
from lensloc.units.ragged import of_all
from lensloc.units.responses import Responses


@dataclass(frozen=True, eq=False)
class Edit:
    """What happens to the masked units of one layer of one site.

    Attributes:
        site: where the units are.
        layer: of the model.
        units: which of the layer's.
        mode: what happens.
        n_heads: number of attention heads, to split an activation that comes flattened.
        factor: of ``scale``.
        values: what is put in the units' place, for modes that put something there.
        corrupted: what they were in the corrupted run, for the mode of pairs.
    """

    site: Site
    layer: int
    units: Bool[Tensor, " unit"]
    mode: LesionMode
    n_heads: int
    factor: float = 1.0
    values: Float[Tensor, " value"] | None = None
    corrupted: CorruptedRun | None = None
    _moved: dict[Any, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    @property
    def hook(self) -> str:
        """The hook point of the units."""
        return self.site.hook_name(self.layer)

    @property
    def input_hook(self) -> str:
        """The hook point of the block's input."""
        return get_site("resid_pre").hook_name(self.layer)

    def apply(self, activation: Tensor, block_input: Tensor | None) -> Tensor:
        """Return the activation ``[batch, pos, ...]`` with the units replaced.

        Raises:
            LensLocError: other units than the mask's; a block's input that did not pass.
        """
        units, values = self._on(activation)
        corrupted: Tensor | None = None
        if self.corrupted is not None:
            corrupted = self.corrupted.replaced(
                activation, (self.site.name, self.layer), self.n_heads
            )
        if self.mode.needs_block_input and block_input is None:
            raise LensLocError(
                f"The block's input at layer {self.layer} did not pass its hook point "
                f"{self.input_hook!r}, so mode={self.mode.name!r} cannot be done; use another mode."
            )
        if self.site.axes == "head_norm":
            heads = activation
            if activation.ndim == 3:
                heads = einops.rearrange(
                    activation,
                    "batch pos (head d_head) -> batch pos head d_head",
                    head=self.n_heads,
                )
            rule = self.mode.rule_of_heads or self.mode.rule
            new = rule(Passing(heads, values, self.factor, None, corrupted))
            return _chosen(units[:, None], new, heads).reshape(activation.shape)
        flat = activation.reshape(*activation.shape[:2], -1)
        if flat.shape[-1] != len(units):
            raise LensLocError(
                f"The mask has {len(units)} units per layer at {self.site.name}, but the model has "
                f"{flat.shape[-1]} there (layer {self.layer}); localize on this model instead."
            )
        if corrupted is not None:
            corrupted = corrupted.flatten(2)
        new = self.mode.rule(Passing(flat, values, self.factor, block_input, corrupted))
        return _chosen(units, new, flat).reshape(activation.shape)

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


def _chosen(units: Tensor, new: Tensor | float, old: Tensor) -> Tensor:
    if not isinstance(new, Tensor):
        return old.masked_fill(units, new)
    return torch.where(units, new.to(device=old.device, dtype=old.dtype), old)


def edits(
    model: Model,
    mask: UnitMask,
    mode: LesionMode,
    *,
    scale: float | None,
    value: float | Float[Tensor, "layer unit"] | None,
    quantile: float | None,
    responses: Mapping[str, Responses],
    seed: int,
    corrupted: CorruptedRun | None = None,
) -> Iterator[Edit]:
    """Yield what happens in every layer that has masked units.

    Args:
        model: the model.
        mask: the units of one site.
        mode: what happens to them.
        scale: the factor of ``scale``.
        value: of ``clamp``.
        quantile: of ``clamp``.
        responses: of a reference, by site.
        seed: of draws from the reference.
        corrupted: the corrupted run of ``corrupt``.

    Raises:
        LensLocError: a site that the model lacks, or responses of other units.
    """
    site = site_of(mask.site, model)
    if mode.needs_block_input:
        if surface(model).own_sites:
            raise LensLocError(
                f"mode={mode.name!r} needs the input of a transformer's block, and "
                f"{surface(model).name} is a wrapped module; use another mode."
            )
        hook_names(get_site("resid_pre"), model)
    layered: Float[Tensor, "layer value"] | None = None
    wide = widths = of_all(mask.shape, mask.widths)  # units, and values, of every layer
    if value is not None:
        layered = torch.as_tensor(value, dtype=torch.float64).cpu().expand(mask.shape)
    elif mode.summary is not None:
        found = responses[reference_site(mask.site, mode.name)]
        layered = _summary(found, mask, mode, quantile, seed)
        wide = of_all(found.shape, found.widths)
    for layer, width in enumerate(widths):
        units = mask.mask[layer, :width]
        if units.any():
            yield Edit(
                site,
                layer,
                units,
                mode,
                surface(model).n_heads,
                factor=1.0 if scale is None else float(scale),
                values=None if layered is None else layered[layer, : wide[layer]],
                corrupted=corrupted,
            )


def _summary(
    responses: Responses, mask: UnitMask, mode: LesionMode, quantile: float | None, seed: int
) -> Float[Tensor, "layer value"]:
    """Return one value per unit of the reference responses, float64; 0 where no unit is masked."""
    values = responses.values.cpu()
    needed, fits = mask.mask, responses.widths == mask.widths
    if responses.site != mask.site and len(needed) == values.shape[1]:
        # A head's z, dimension by dimension; heads of some layers may have more of them.
        n_heads = needed.shape[1]
        layers = zip(needed, of_all(responses.shape, responses.widths), strict=True)
        each = [heads.repeat_interleave(width // n_heads) for heads, width in layers]
        needed, fits = pad_sequence(each, batch_first=True), True
    if values.shape[1:] != needed.shape or not fits:
        raise LensLocError(
            f"The reference responses at {responses.site} are of {values.shape[1]}x"
            f"{values.shape[2]} units, but the mask needs {needed.shape[0]}x{needed.shape[1]}; "
            "capture them on this model."
        )
    assert mode.summary is not None
    chosen = values[:, needed].double().numpy()
    layered = torch.zeros(needed.shape, dtype=torch.float64)
    layered[needed] = torch.from_numpy(mode.summary(chosen, seed, quantile))
    return layered

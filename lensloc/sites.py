"""Sites: where units live. A site is a hook point a layer, and how its axes become units."""

from dataclasses import dataclass
from typing import Any, Literal

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError


@dataclass(frozen=True)
class Site:
    """A kind of place in a transformer at which units are looked for.

    Attributes:
        name: short name, as it stands in unit addresses (``L3.head.7``).
        hook: name of the hook point of a layer, with ``{layer}`` in it.
        unit: what one unit is, in words.
        axes: ``"width"`` if each element of the activation is a unit; ``"heads"`` if the last two
            axes are head and head dimension, flattened to units; ``"head_norm"`` if a whole head
            is one unit, its response being the Euclidean norm over the head dimension.
    """

    name: str
    hook: str
    unit: str
    axes: Literal["width", "heads", "head_norm"] = "width"

    def hook_name(self, layer: int) -> str:
        """Return the name of this site's hook point in a layer."""
        return self.hook.format(layer=layer)


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site("resid_pre", "blocks.{layer}.hook_resid_pre", "dimension of a block's input"),
        Site("resid_mid", "blocks.{layer}.hook_resid_mid", "dimension between attention and MLP"),
        Site("resid_post", "blocks.{layer}.hook_resid_post", "dimension of a block's output"),
        Site("attn_out", "blocks.{layer}.hook_attn_out", "dimension of what attention adds"),
        Site("mlp_out", "blocks.{layer}.hook_mlp_out", "dimension of what the MLP adds"),
        Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "MLP neuron, before its nonlinearity"),
        Site(
            "mlp_post", "blocks.{layer}.mlp.hook_post", "MLP neuron, as the output matrix sees it"
        ),
        Site("q", "blocks.{layer}.attn.hook_q", "query dimension of a head", "heads"),
        Site("k", "blocks.{layer}.attn.hook_k", "key dimension of a head", "heads"),
        Site("v", "blocks.{layer}.attn.hook_v", "value dimension of a head", "heads"),
        Site("z", "blocks.{layer}.attn.hook_z", "output dimension of a head", "heads"),
        Site(
            "head", "blocks.{layer}.attn.hook_z", "attention head, norm of its output", "head_norm"
        ),
    )
}


def get_site(name: str) -> Site:
    """Return the site of that name.

    Raises:
        LensLocError: if there is none; the known ones are listed.
    """
    if name not in SITES:
        raise LensLocError(f"There is no site {name!r}; the sites are {', '.join(SITES)}.")
    return SITES[name]


def hook_names(site: Site, model: Any) -> list[str]:
    """Return the site's hook point names in ``model``, one a layer.

    Both model classes are asked for their ``hook_dict``, since a TransformerBridge silently skips
    a hook name that it does not have.

    Raises:
        LensLocError: if the model lacks one of them.
    """
    names = [site.hook_name(layer) for layer in range(model.cfg.n_layers)]
    missing = [name for name in names if name not in model.hook_dict]
    if missing:
        where = "has no" if len(missing) == len(names) else f"lacks in {len(missing)} layers the"
        raise LensLocError(
            f"This model {where} hook point {missing[0]!r}, so the site {site.name!r} is not "
            "defined in it; choose another site."
        )
    return names


def to_units(site: Site, activation: Tensor, n_heads: int) -> Float[Tensor, "batch pos unit"]:
    """Turn a site's activation ``[batch, pos, ...]`` into ``[batch, pos, unit]``.

    Args:
        site: the site that the activation was captured at.
        activation: ``[batch, pos, width]`` or ``[batch, pos, head, d_head]``.
        n_heads: number of attention heads, to split an activation that comes flattened.
    """
    if site.axes == "head_norm":
        if activation.ndim == 3:
            activation = einops.rearrange(
                activation, "batch pos (head d_head) -> batch pos head d_head", head=n_heads
            )
        norms: Tensor = torch.linalg.vector_norm(upcast(activation), dim=-1)
        return norms
    if activation.ndim == 4:
        return einops.rearrange(activation, "batch pos head d_head -> batch pos (head d_head)")
    return activation


def upcast(activation: Tensor) -> Tensor:
    """Return half-precision values as float32, so that sums over them keep their digits."""
    return activation if activation.dtype == torch.float64 else activation.float()

"""The sites by name: what a unit of each is, and at which hook point it lives."""

from dataclasses import dataclass
from typing import Literal

Axes = Literal[
    "width",
    "heads",
    "any",
    "head_norm",
    "pattern_entropy",
    "pattern_first",
    "pattern_distance",
]

LAYER = "{layer}"


@dataclass(frozen=True)
class Site:
    """A kind of place in a transformer at which units are looked for.

    Attributes:
        name: short name, as it stands in unit addresses (``L3.head.7``).
        hook: name of the hook point of a layer, with ``{layer}`` in it; without, the site has one
            layer, before or behind the blocks.
        unit: what one unit is, in words.
        axes: ``"width"`` if each element of the activation is a unit. ``"heads"`` if the last two
            axes are head and head dimension, flattened to units. ``"any"`` for whichever of the two
            the activation shows. ``"head_norm"`` if a whole head is one unit; its response is the
            Euclidean norm over the head dimension. ``"pattern_..."`` if a head is a unit and its
            response sums up, token by token, where it attends: the ``entropy`` of its attention in
            nats, its attention to the ``first`` token (0 to 1), or the mean ``distance`` in tokens
            to what it attends to.
    """

    name: str
    hook: str
    unit: str
    axes: Axes = "width"

    def hook_name(self, layer: int) -> str:
        """Return the name of this site's hook point in a layer."""
        return self.hook.replace(LAYER, str(layer))

    @property
    def has_one_layer(self) -> bool:
        """Whether it lies before or behind the blocks, and so is one layer."""
        return LAYER not in self.hook

    @property
    def is_summary(self) -> bool:
        """Whether units summarise an attention pattern, and so cannot themselves be replaced."""
        return self.axes.startswith("pattern_")


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
        Site(
            "attn_entropy",
            "blocks.{layer}.attn.hook_pattern",
            "attention head, entropy of its attention",
            "pattern_entropy",
        ),
        Site(
            "attn_first",
            "blocks.{layer}.attn.hook_pattern",
            "attention head, attention to the first token",
            "pattern_first",
        ),
        Site(
            "attn_distance",
            "blocks.{layer}.attn.hook_pattern",
            "attention head, mean distance attended to",
            "pattern_distance",
        ),
        Site("embed", "hook_embed", "dimension of a token's embedding"),
        Site("ln_final", "ln_final.hook_out", "dimension of the final norm's output"),
    )
}
HEAD_SITES: tuple[str, ...] = tuple(
    name for name, site in SITES.items() if site.axes == "head_norm" or site.is_summary
)

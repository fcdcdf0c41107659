"""How the weights of a HookedTransformer lie in memory: as its forward pass reads them.

TransformerLens hands its linear layers a transposed copy of a weight, made anew in every forward
pass. Where the weight lies transposed in memory to begin with, that copy is the weight itself, and
nothing has to be moved; shapes, values and results stay the same to the last bit. It matters most
where few tokens are read at once: writing, lesions of few texts.
"""

import re

import torch
from jaxtyping import Float
from torch import Tensor

# Axes in the order of reading, outermost first. Only gated MLPs read theirs transposed.
_ORDERS = {
    re.compile(r"unembed\.W_U"): (1, 0),
    re.compile(r"blocks\.\d+\.attn\._?W_[QKV]"): (0, 2, 1),
    re.compile(r"blocks\.\d+\.attn\.W_O"): (2, 0, 1),
}
_GATE = re.compile(r"(blocks\.\d+\.mlp\.)W_gate")


def reading_orders(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Return in which order the axes of weights are read, outermost first, of those that differ.

    Args:
        model: a HookedTransformer.
    """
    parameters = dict(model.named_parameters())
    orders = {
        name: order
        for name in parameters
        for pattern, order in _ORDERS.items()
        if pattern.fullmatch(name)
    }
    for gate in filter(None, map(_GATE.fullmatch, parameters)):
        orders |= {f"{gate[1]}{name}": (1, 0) for name in ("W_gate", "W_in", "W_out")}
    return {name: order for name, order in orders.items() if parameters[name].ndim == len(order)}


def in_order(
    weight: Float[Tensor, "*shape"], order: tuple[int, ...] | None
) -> Float[Tensor, "*shape"]:
    """Return a weight in memory of its own, its axes there in an order; of the same shape.

    Nothing is copied where it lies so already, and fills its memory.
    """
    axes = order or tuple(range(weight.ndim))
    lying = weight.permute(axes)
    n_bytes = lying.numel() * lying.element_size()
    if not lying.is_contiguous() or lying.untyped_storage().nbytes() != n_bytes:
        lying = lying.clone(memory_format=torch.contiguous_format)
    return lying.permute([axes.index(axis) for axis in range(weight.ndim)])

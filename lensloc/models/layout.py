"""How the weights of a HookedTransformer lie in memory: as its forward pass reads them.

TransformerLens hands its linear layers a transposed copy of a weight, made anew in every forward
pass. Where the weight lies transposed in memory to begin with, that copy is the weight itself, and
nothing has to be moved; shapes, values and results stay the same to the last bit. It matters most
where few tokens are read at once: writing, lesions of few texts.
"""

import re

import torch

# Axes in the order of reading, outermost first. Only gated MLPs read theirs transposed.
_ORDERS = {
    re.compile(r"unembed\.W_U"): (1, 0),
    re.compile(r"blocks\.\d+\.attn\._?W_[QKV]"): (0, 2, 1),
    re.compile(r"blocks\.\d+\.attn\.W_O"): (2, 0, 1),
}
_GATE = re.compile(r"(blocks\.\d+\.mlp\.)W_gate")


def lay_out_as_read(model: torch.nn.Module) -> None:
    """Move every weight that is read transposed to where its transpose is contiguous, in place.

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
    for name, order in orders.items():
        weight = parameters[name]
        if weight.ndim == len(order):
            back = [order.index(axis) for axis in range(weight.ndim)]
            weight.data = weight.data.permute(order).contiguous().permute(back)

"""Are a model's weights packed into fewer bits? Then they have no gradients, and numbers differ."""

import torch

from lensloc.errors import LensLocError
from lensloc.models.surface import Model

# What packed weights are kept as; other buffers of whole numbers are positions and counts.
_PACKED = frozenset({torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2})
_PACKED_BUFFERS = ("qweight", "weight_packed")


def is_quantized(model: Model) -> bool:
    """Say whether a model computes with quantised weights, of whatever class it is.

    A model whose quantised weights were made plain numbers when it was loaded does not.
    """
    if any(parameter.dtype in _PACKED for parameter in model.parameters()):
        return True
    return any(name.rsplit(".", 1)[-1] in _PACKED_BUFFERS for name, _ in model.named_buffers())


def require_gradients(model: Model, what: str) -> None:
    """Check that what needs gradients of a model's weights and activations can be had.

    Args:
        model: the model.
        what: what needs them, to begin the sentence with.

    Raises:
        LensLocError: for a quantised model.
    """
    if is_quantized(model):
        raise LensLocError(
            f"{what} needs gradients, which a model with quantised weights does not give; load "
            "it without quantisation (dtype='bfloat16', say), or choose what needs none."
        )

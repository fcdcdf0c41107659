"""An independent localizer: transformers and scipy only, one text at a time, no padding."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.stats
import torch


@torch.no_grad()
def block_outputs(
    hf_model: Any,
    blocks: Sequence[torch.nn.Module],
    ids: list[int],
    pooling: Literal["last-token", "mean"],
) -> np.ndarray:
    """Pooled outputs of all blocks for one text, float64 [layer, unit]."""
    outputs: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        outputs.append((output[0] if isinstance(output, tuple) else output)[0])

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        hf_model(torch.tensor([ids], device=hf_model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    pooled = [out[-1] if pooling == "last-token" else out.double().mean(0) for out in outputs]
    return torch.stack(pooled).double().cpu().numpy()


def t_map(
    hf_model: Any,
    blocks: Sequence[torch.nn.Module],
    tokenizer: Any,
    target: Sequence[str],
    control: Sequence[str],
    *,
    max_tokens: int | None = None,
    pooling: Literal["last-token", "mean"] = "last-token",
) -> np.ndarray:
    """Welch's t of the absolute pooled block outputs, float64 [layer, unit]."""

    def responses(texts: Sequence[str]) -> np.ndarray:
        ids = [tokenizer(text)["input_ids"][:max_tokens] for text in texts]
        return np.stack([np.abs(block_outputs(hf_model, blocks, row, pooling)) for row in ids])

    return scipy.stats.ttest_ind(responses(target), responses(control), equal_var=False).statistic


def top_mask(t: np.ndarray, k: int) -> np.ndarray:
    """The k largest, ties by position, as 0/1 of t's shape."""
    order = sorted(range(t.size), key=lambda i: (-t.flat[i], i))
    mask = np.zeros(t.size, dtype=int)
    mask[order[:k]] = 1
    return mask.reshape(t.shape)

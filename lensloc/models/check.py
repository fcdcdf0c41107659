"""Is a loaded model what it claims to be? Checked once, when it is first used."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lensloc.errors import LensLocError

log = logging.getLogger(__name__)

# Largest relative error (Euclidean norm of the difference over that of the values).
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class ModelCheck:
    """How far a model is from what it should be; relative errors, 0 is perfect.

    Attributes:
        batch: a batch of one against the same text in a batch of many.
        hook: relative change of the logits when a hook adds to a block's output; not 0.
        blocks: raw block outputs against transformers' own; None if there is no original.
        logits: logits against transformers' own; None if there is no original.
        tolerance: largest error that passes, which depends on the dtype.
    """

    batch: float
    hook: float
    blocks: float | None
    logits: float | None
    tolerance: float

    @property
    def failures(self) -> list[str]:
        """What is wrong, in words; empty if nothing is."""
        found = []
        if not self.batch <= self.tolerance:
            found.append(f"a text's logits change by {self.batch:.1e} with its batch")
        if not self.hook > 0:
            found.append("a hook at a block's output does not reach the logits")
        for what, error in (("block outputs", self.blocks), ("logits", self.logits)):
            if error is not None and not error <= self.tolerance:
                found.append(f"its {what} differ from transformers' own by {error:.1e}")
        return found

    def __str__(self) -> str:
        compared = [
            f"{what} within {error:.1e} of transformers"
            for what, error in (("blocks", self.blocks), ("logits", self.logits))
            if error is not None
        ]
        reference = ", ".join(compared) or "no transformers original to compare with"
        state = "failed: " + "; ".join(self.failures) if self.failures else "passed"
        return f"{state} ({reference}, batch {self.batch:.1e}, hook effect {self.hook:.1e})"


@torch.no_grad()
def reference_activations(hf_model: Any) -> dict[str, Tensor]:
    """Run transformers' own forward pass on the tokens that :func:`check_model` uses.

    Returns:
        ``logits`` and, where the model has a list of blocks, ``block 0``, ``block 1``, ...
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[name] = (output[0] if isinstance(output, tuple) else output).detach().cpu()

        return hook

    handles = [
        block.register_forward_hook(keep(f"block {layer}"))
        for layer, block in enumerate(_blocks(hf_model))
    ]
    try:
        tokens = _tokens(hf_model.config.get_text_config().vocab_size).to(hf_model.device)
        found["logits"] = hf_model(tokens, use_cache=False).logits.cpu()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _blocks(hf_model: Any) -> Iterable[nn.Module]:
    n_layers = getattr(hf_model.config.get_text_config(), "num_hidden_layers", None)
    for module in hf_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    return ()


@torch.no_grad()
def check_model(model: Any, reference: Mapping[str, Tensor] | None = None) -> ModelCheck:
    """Check a model: batching, hooks, and agreement with transformers.

    Args:
        model: a HookedTransformer or TransformerBridge, in eval mode.
        reference: what :func:`reference_activations` gave for the original, if there is one.
    """
    vocabulary = reference["logits"].shape[-1] if reference else model.cfg.d_vocab
    tokens = _tokens(vocabulary)[:, : model.cfg.n_ctx].to(model.cfg.device)
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    wanted = set(hooks)
    logits, cache = model.run_with_cache(
        tokens, names_filter=lambda name: name in wanted, return_cache_object=False
    )
    alone = torch.cat([model(row[None]) for row in tokens])
    middle = hooks[len(hooks) // 2]
    bumped = model.run_with_hooks(tokens, fwd_hooks=[(middle, _bump)])
    blocks = agreement = None
    if reference is not None:
        errors = [
            _error(cache[hooks[int(key.split()[1])]], value)
            for key, value in reference.items()
            if key.startswith("block")
        ]
        blocks = max(errors) if errors else None
        agreement = _error(logits, reference["logits"])
    return ModelCheck(
        batch=_error(alone, logits),
        hook=_error(bumped, logits),
        blocks=blocks,
        logits=agreement,
        tolerance=_TOLERANCE.get(logits.dtype, 1e-3),
    )


def require_passed(check: ModelCheck, name: str) -> None:
    """Raise if a check found something wrong.

    Raises:
        LensLocError: saying what, and that another backend may do.
    """
    if check.failures:
        raise LensLocError(
            f"{name} did not pass its check: {'; '.join(check.failures)} "
            f"(at most {check.tolerance:.0e} is allowed); load it with another backend or dtype."
        )


def _tokens(vocabulary: int) -> Int[Tensor, "row pos"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocabulary, (3, 8), generator=generator)


def _bump(activation: Tensor, hook: Any) -> Tensor:
    return activation + activation.float().std().to(activation.dtype) + 1


def _error(found: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> float:
    found, expected = found.double().cpu(), expected.double().cpu()
    scale = expected.norm()
    return (
        float((found - expected).norm() / scale) if scale > 0 else float((found - expected).norm())
    )

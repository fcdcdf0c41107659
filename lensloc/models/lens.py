"""What both model classes of TransformerLens have in common: ``cfg``, ``hook_dict``, hooks."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.models.ends import ENDS, layer_of
from lensloc.models.evaluation import evaluating
from lensloc.models.surface import NO_SUCH_POINT, Attached, Close, Hook, Start, Surface, watched


class Lens(Attached, Surface):
    """The part of a surface that HookedTransformer and TransformerBridge share.

    Attributes:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    # -- what it is --------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The model's own configuration."""
        return self.model.cfg

    @property
    def name(self) -> str:
        """What the configuration calls the model."""
        return str(getattr(self.model.cfg, "model_name", "") or "")

    @property
    def architecture(self) -> str:
        """The class that transformers gives it."""
        return str(getattr(self.model.cfg, "original_architecture", "") or "")

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, or None."""
        return self.model.tokenizer

    @property
    def prepends_bos(self) -> bool:
        """The model's setting."""
        return bool(getattr(self.model.cfg, "default_prepend_bos", False))

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.model.cfg.n_layers)

    @property
    def n_heads(self) -> int:
        """Attention heads per layer; 1 where there are none."""
        return int(getattr(self.model.cfg, "n_heads", None) or 1)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.model.cfg.d_model)

    @property
    def vocabulary(self) -> int:
        """How many tokens the embedding knows."""
        # The embedding itself, since tokens may have been added to it.
        with contextlib.suppress(AttributeError, NotImplementedError):
            return int(self._embedding().shape[0])
        return int(self.model.cfg.d_vocab)

    def _embedding(self) -> Tensor:
        weight: Tensor = self.model.embed.W_E
        return weight

    @property
    def window(self) -> int:
        """Most tokens of a text."""
        return int(self.model.cfg.n_ctx)

    @property
    def is_causal(self) -> bool:
        """Whether no token sees what stands behind it."""
        return bool(getattr(self.model.cfg, "attention_dir", "causal") == "causal")

    @property
    def steady_length(self) -> float:
        return math.inf

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        dtype: torch.dtype = self.model.cfg.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Where tokens go."""
        return torch.device(self.model.cfg.device or "cpu")

    # -- hook points -------------------------------------------------------------------------------

    def lacks(self, point: str) -> str | None:
        """Say why the model has no such hook point; both classes are asked for their hook_dict.

        A TransformerBridge may silently skip a hook name that it does not have.
        """
        if point not in self.model.hook_dict:
            return NO_SUCH_POINT
        if point.endswith((".mlp.hook_pre", ".mlp.hook_post")) and self._is_mixture(point):
            return "its MLPs are mixtures of experts, where a token's neurons depend on its experts"
        return None

    def _is_mixture(self, point: str) -> bool:
        """Say whether the MLP has experts; a TransformerBridge then calls its ends the neurons."""
        points, layer = self.model.hook_dict, point.rpartition(".mlp.")[0]
        ends = [points.get(f"{layer}.mlp.{end}") for end in ("hook_in", "hook_out")]
        return bool(getattr(self.model.cfg, "num_experts", None)) or points[point] in ends

    def width(self, point: str) -> int | None:
        """Return how many numbers a token has there, as far as the configuration says."""
        if point in ENDS:
            return self.d_model
        cfg, end = self.model.cfg, point.split(".", 2)[-1]
        heads, d_head = getattr(cfg, "n_heads", None), getattr(cfg, "d_head", None)
        if end in ("attn.hook_k", "attn.hook_v"):
            heads = getattr(cfg, "n_key_value_heads", None) or heads
        if end in ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"):
            return int(heads * d_head) if heads and d_head else None
        if end in ("mlp.hook_pre", "mlp.hook_post"):
            return self._n_neurons()
        known = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")
        return int(cfg.d_model) if end in (*known, "hook_attn_out", "hook_mlp_out") else None

    def _n_neurons(self) -> int | None:
        neurons = getattr(self.model.cfg, "d_mlp", None)
        return int(neurons) if neurons else None

    def open(self, point: str, hook: Hook) -> Close:
        """Open a hook; permanent in the model's eyes, so that nothing that runs takes it away."""
        return self._add(point, Adapted(hook))

    def _add(self, point: str, function: Any, *, first: bool = False) -> Close:
        place = self.model.hook_dict[point]
        place.add_hook(function, is_permanent=True, prepend=first)
        handle = place.fwd_hooks[0 if first else -1]

        def close() -> None:
            handle.hook.remove()
            place.fwd_hooks = [other for other in place.fwd_hooks if other is not handle]

        return close

    def watch_tokens(self, look: Callable[[Int[Tensor, "row pos"]], None]) -> Close:
        """See what the embedding is asked for."""
        return watched(self.model.embed, look)

    def unproven(self, layer: int) -> list[str]:
        points = [f"blocks.{layer}.hook_resid_post", *ENDS]
        return [point for point in points if self.lacks(point) is None]

    def open_hooks(self) -> list[Any]:
        """Return the hook functions that are open on the forward pass, by whomever."""
        # Few of a thousand points are hooked, and this is asked for often.
        hooked = [point for point in self.model.hook_dict.values() if point.fwd_hooks]
        points = {id(point): point for point in hooked}
        found = [handle.user_hook for point in points.values() for handle in point.fwd_hooks]
        return [hook.hook if isinstance(hook, Adapted) else hook for hook in found]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Run the model as it is: in evaluation mode, without gradients, past every open hook."""
        kept: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        for point in {id(point): point for point in self.model.hook_dict.values()}.values():
            for handle in point.fwd_hooks:
                if not any(hooks is point._forward_hooks for hooks, _ in kept):
                    kept.append((point._forward_hooks, dict(point._forward_hooks)))
                del point._forward_hooks[handle.hook.id]
        try:
            # A tensor made under inference_mode could not be used outside of it.
            with evaluating(self.model), torch.inference_mode(mode=False), torch.no_grad():
                yield
        finally:
            for hooks, content in kept:
                hooks.clear()
                hooks.update(content)

    # -- running -----------------------------------------------------------------------------------

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        """Run the model once with a names filter, up to the last layer that is wanted."""
        return self._captured(tokens, points)

    def _captured(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str], returned: str | None = None
    ) -> Mapping[str, Tensor]:
        wanted = set(points)
        last = max((layer_of(name, self.n_layers) for name in points), default=0)
        stop = {"stop_at_layer": last + 1} if last + 1 < self.n_layers else {}
        _, cache = self.model.run_with_cache(
            tokens,
            names_filter=lambda name: name in wanted,
            return_cache_object=False,
            return_type=returned,
            **stop,
            **self._without_logits(),
        )
        found: Mapping[str, Tensor] = cache
        return found

    def blocks(self, tokens: Int[Tensor, "row pos"]) -> None:
        """Run the blocks, for the hooks that are open."""
        self.model(tokens, return_type=None, **self._without_logits())

    def logits(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocabulary"]:
        """Run the model and return all its logits."""
        logits: Tensor = self.model(tokens, return_type="logits", **self._options())
        return logits

    def _hooked_behind(self, start: Start) -> Start:
        """Let the hooks at the output of the block before a start act on what that gave."""
        point = self.model.hook_dict.get(f"blocks.{start.layer - 1}.hook_resid_post")
        return start if point is None else Start(start.layer, point(start.residual))

    def _options(self) -> dict[str, Any]:
        """Return what every call of the model is given."""
        return {}

    def _without_logits(self) -> dict[str, Any]:
        """Return what keeps a call from computing logits, as far as the model can do without."""
        return self._options()


class Adapted:
    """A hook as TransformerLens calls it.

    Attributes:
        hook: what was opened, as :meth:`Lens.open_hooks` shows it.
    """

    def __init__(self, hook: Hook, run: Hook | None = None) -> None:
        self.hook = hook
        self._run = run or hook

    def __repr__(self) -> str:
        return repr(self.hook)

    def __call__(self, activation: Tensor, hook: Any) -> Tensor | None:
        return self._run(activation)

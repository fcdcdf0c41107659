"""A transformers model -> HookedTransformer with raw weights, told by its configuration alone.

TransformerLens' own loader infers the architecture from the *name or path* that it is given, and
knows Gemma's and OLMo's shapes only by name. Here the name never decides: its reader of
configurations is given the configuration itself, and the shapes that it has no reader for come
from the configuration too.
"""

import gc
import importlib
import importlib.util
import math
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch

from lensloc.errors import LensLocError
from lensloc.models.layout import in_order, reading_orders
from lensloc.models.texts import adopt_tokenizer
from lensloc.models.weights import counted_weights, listed

# Decoders whose weights TransformerLens converts (get_pretrained_state_dict).
CONVERTIBLE = frozenset(
    {
        "ApertusForCausalLM",
        "BloomForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "GemmaForCausalLM",
        "GPT2LMHeadModel",
        "GPTJForCausalLM",
        "GPTNeoForCausalLM",
        "GPTNeoXForCausalLM",
        "GptOssForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "Olmo2ForCausalLM",
        "Olmo3ForCausalLM",
        "OlmoForCausalLM",
        "OlmoeForCausalLM",
        "OPTForCausalLM",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    }
)

_WORTH_COLLECTING = 2**26
"""Bytes of weights above which memory matters more than the second that a collection takes."""


@dataclass(frozen=True)
class Place:
    """Where a HookedTransformer goes.

    Attributes:
        device: of its weights, or of the first of them.
        n_devices: number of devices of that kind over which its blocks are spread.
    """

    device: str
    n_devices: int = 1

    def put(self, model: Any) -> None:
        """Move a model there."""
        model.cfg.device = self.device
        model.cfg.n_devices = self.n_devices
        if self.n_devices > 1:
            model.move_model_modules_to_device()
        else:
            model.to(self.device, print_details=False)


def require_hooked(name: str) -> None:
    """Check that the installed TransformerLens has a HookedTransformer.

    Raises:
        LensLocError: if it does not, as from version 4 on.
    """
    if not has_hooked():
        raise LensLocError(
            f"TransformerLens {metadata.version('transformer-lens')} has no HookedTransformer, "
            f'which {name} was to become; install one that has (pip install "transformer-lens<4"), '
            'or take backend="bridge", "transformers" or "auto".'
        )


def has_hooked() -> bool:
    """Whether the installed TransformerLens has a HookedTransformer: up to version 3."""
    return importlib.util.find_spec("transformer_lens.HookedTransformer") is not None


def _loading() -> ModuleType:
    """Return TransformerLens' own loading, which its version 4 does not have."""
    return importlib.import_module("transformer_lens.loading_from_pretrained")


def to_hooked_transformer(
    given: list[Any], tokenizer: Any, *, name: str, dtype: torch.dtype, place: Place
) -> Any:
    """Convert a transformers model, without folding or centring any weight.

    Args:
        given: the model, on the CPU; taken out of the list, and given up weight by weight, so that
            the two models are never both in memory.
        tokenizer: its tokenizer, or None.
        name: name for ``cfg.model_name``.
        dtype: of the weights.
        place: where the converted model goes.

    Returns:
        A HookedTransformer.

    Raises:
        LensLocError: if TransformerLens has no converter for the architecture, or it fails.
    """
    hf_model = given.pop()
    architecture = type(hf_model).__name__
    require_hooked(name)
    if architecture not in CONVERTIBLE:
        raise LensLocError(
            f"HookedTransformer cannot hold a {architecture}; load {name} with "
            'backend="auto" or backend="bridge" as a TransformerBridge.'
        )
    try:
        cfg = _config(hf_model, architecture, name, dtype)
        state_dict = _loading().get_pretrained_state_dict(".", cfg, hf_model, dtype=dtype)
        large = sum(p.nbytes for p in hf_model.parameters()) > _WORTH_COLLECTING
        del hf_model
        if large:
            gc.collect()  # parts of some models know their whole
        model = filled(cfg, state_dict)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise LensLocError(
            f"TransformerLens could not convert {name} ({architecture}) to a HookedTransformer: "
            f'{_first_line(error)} Load it with backend="bridge".'
        ) from error
    adopt_tokenizer(model, tokenizer)
    place.put(model)
    return model.eval()


def filled(cfg: Any, state_dict: dict[str, torch.Tensor], *, required: str = "") -> Any:
    """Return a HookedTransformer on the CPU, without a tokenizer, that holds these weights.

    Args:
        cfg: its configuration.
        state_dict: the weights by TransformerLens' names; emptied, so that each is freed as soon as
            it is there. What it lacks is filled in as TransformerLens does: biases with 0, norms
            with 1, but no weight matrix of a block.
        required: also refuse other weight matrices that are missing, of the model of this name.

    Raises:
        LensLocError: a missing weight matrix, if one is required.
        ValueError: a missing weight matrix of a block.
        RuntimeError: weights of another shape.
    """
    from transformer_lens import HookedTransformer

    cfg.tokenizer_name = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(cfg, None, move_to_device=False)
    missing = sorted(
        name
        for name, _ in model.named_parameters()
        if name not in state_dict and name.rsplit(".", 1)[-1].lstrip("_").startswith("W")
    )
    if required and missing:
        raise LensLocError(
            f"{required} lacks {counted_weights(len(missing))} of the model that its configuration "
            f"describes ({listed(missing)}), which would be made up; fetch it again."
        )
    # Its own loader, which folds nothing either, walks all modules for every weight.
    complete = _loading().fill_missing_keys(model, state_dict)
    orders, taken = reading_orders(model), set()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in complete:
                buffer.copy_(complete.pop(name))
        for name, parameter in model.named_parameters():
            weight = complete.pop(name).detach()
            if weight.shape != parameter.shape:
                raise RuntimeError(
                    f"{name} is {tuple(weight.shape)}, not {tuple(parameter.shape)}."
                )
            own = in_order(weight.to("cpu", parameter.dtype), orders.get(name))
            if own.data_ptr() in taken:  # tied: here each has its own
                own = own.clone()
            taken.add(own.data_ptr())
            parameter.data = own
            del weight, own
    return model


def _config(hf_model: Any, architecture: str, name: str, dtype: torch.dtype) -> Any:
    from transformer_lens import HookedTransformerConfig

    reader = _READERS.get(architecture)
    fields = reader(hf_model.config) if reader else _read_by_transformer_lens(hf_model)
    fields |= _overrides(hf_model.config, architecture)
    fields |= {
        "original_architecture": architecture,
        "model_name": name,
        "tokenizer_name": None,
        "init_weights": False,
        "device": "cpu",
        "dtype": dtype,
    }
    return HookedTransformerConfig.from_dict(fields)


def _read_by_transformer_lens(hf_model: Any) -> dict[str, Any]:
    """Read a configuration with TransformerLens' own rules for its architecture.

    Its reader takes a name or a path, draws conclusions from either, and fetches the configuration
    from there. Here it runs with another way to fetch one, so that there is no path to mistake.
    """
    loading = _loading()
    config = type(hf_model.config).from_dict(hf_model.config.to_dict())
    config.architectures = [type(hf_model).__name__]
    if hasattr(config, "n_positions") and not hasattr(config, "n_ctx"):
        config.n_ctx = config.n_positions  # GPT-2 configurations of today lack the old name
    fetched = SimpleNamespace(from_pretrained=lambda *_, **__: config)
    reader = FunctionType(
        loading.convert_hf_model_config.__code__,
        {**vars(loading), "AutoConfig": fetched, "get_official_model_name": lambda name: name},
    )
    return dict(reader("checkpoint"))


def _overrides(config: Any, architecture: str) -> dict[str, Any]:
    """Return what TransformerLens' readers leave at a fixed value though the configuration says."""
    fields: dict[str, Any] = {}
    window = getattr(config, "max_position_embeddings", None)
    if window and architecture not in ("BloomForCausalLM",):
        fields["n_ctx"] = window
    if architecture in ("GPT2LMHeadModel", "GPTJForCausalLM") and config.n_inner:
        fields["d_mlp"] = config.n_inner
    if architecture == "GPTNeoForCausalLM" and config.intermediate_size:
        fields["d_mlp"] = config.intermediate_size
    fields |= _windows(config)
    if architecture in ("LlamaForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"):
        head = getattr(config, "head_dim", None)
        if head:
            fields |= {"d_head": head, "rotary_dim": head}
    if architecture == "Phi3ForCausalLM":
        head = fields.get("d_head", config.hidden_size // config.num_attention_heads)
        fields["rotary_dim"] = round(_rope(config).get("partial_rotary_factor", 1) * head)
    return fields


def _windows(config: Any) -> dict[str, Any]:
    """Return which layers attend to a window only, where the configuration says it layer by layer.

    TransformerLens reads it for some architectures.
    """
    window = getattr(config, "sliding_window", None)
    kinds: Collection[str] = getattr(config, "layer_types", None) or ()
    if not window or "sliding_attention" not in kinds:
        return {}
    return {
        "use_local_attn": True,
        "window_size": window,
        "attn_types": ["local" if kind == "sliding_attention" else "global" for kind in kinds],
    }


def _gemma(config: Any) -> dict[str, Any]:
    return {
        "d_model": config.hidden_size,
        "d_head": config.head_dim,
        "n_heads": config.num_attention_heads,
        "n_key_value_heads": config.num_key_value_heads,
        "d_mlp": config.intermediate_size,
        "n_layers": config.num_hidden_layers,
        "eps": config.rms_norm_eps,
        "d_vocab": config.vocab_size,
        "act_fn": getattr(config, "hidden_activation", None) or config.hidden_act,
        "initializer_range": config.initializer_range,
        "normalization_type": "RMS",
        "final_rms": True,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_dim": config.head_dim,
        "rotary_base": _rope(config)["rope_theta"],
        "use_attn_scale": True,
    }


def _gemma2(config: Any) -> dict[str, Any]:
    fields = _gemma(config) | {
        "use_normalization_before_and_after": True,
        "attn_scale": math.sqrt(config.query_pre_attn_scalar),
        "window_size": config.sliding_window,
        "use_local_attn": True,
        "attn_types": [
            "local" if kind == "sliding_attention" else "global" for kind in config.layer_types
        ],
    }
    if config.attn_logit_softcapping:
        fields["attn_scores_soft_cap"] = config.attn_logit_softcapping
    if config.final_logit_softcapping:
        fields["output_logits_soft_cap"] = config.final_logit_softcapping
    return fields


def _gemma3(config: Any) -> dict[str, Any]:
    everywhere, nearby = _rope(config), _rope(config, "sliding_attention")
    fields = _gemma2(config) | {
        "use_qk_norm": True,
        "rotary_base": everywhere["rope_theta"],
        "rotary_base_local": nearby["rope_theta"],
    }
    if everywhere.get("rope_type") == "linear":
        fields["rotary_scaling_factor"] = everywhere["factor"]
    return fields


def _phi(config: Any) -> dict[str, Any]:
    heads = config.num_attention_heads
    return {
        "d_model": config.hidden_size,
        "d_head": config.hidden_size // heads,
        "n_heads": heads,
        "d_mlp": config.intermediate_size,
        "n_layers": config.num_hidden_layers,
        "eps": config.layer_norm_eps,
        "d_vocab": config.vocab_size,
        "act_fn": config.hidden_act,
        "initializer_range": config.initializer_range,
        "normalization_type": "LN",
        "positional_embedding_type": "rotary",
        "rotary_base": _rope(config)["rope_theta"],
        "rotary_dim": round(_rope(config)["partial_rotary_factor"] * (config.hidden_size // heads)),
        "use_attn_scale": True,
        "parallel_attn_mlp": True,
    }


def _olmo(config: Any) -> dict[str, Any]:
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    return {
        "d_model": config.hidden_size,
        "d_head": config.hidden_size // heads,
        "n_heads": heads,
        "n_key_value_heads": groups if groups != heads else None,
        "d_mlp": config.intermediate_size,
        "n_layers": config.num_hidden_layers,
        "eps": getattr(config, "rms_norm_eps", 1e-5),
        "d_vocab": config.vocab_size,
        "act_fn": config.hidden_act,
        "initializer_range": config.initializer_range,
        "normalization_type": "LN" if config.model_type == "olmo" else "RMS",
        "attn_types": ["global"] * config.num_hidden_layers,
        "positional_embedding_type": "rotary",
        "rotary_dim": config.hidden_size // heads,
        "rotary_base": _rope(config)["rope_theta"],
        "gated_mlp": True,
        "clip_qkv": getattr(config, "clip_qkv", None),
    }


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "GemmaForCausalLM": _gemma,
    "Gemma2ForCausalLM": _gemma2,
    "Gemma3ForCausalLM": _gemma3,
    "OlmoForCausalLM": _olmo,
    "PhiForCausalLM": _phi,
    "Olmo2ForCausalLM": _olmo,
}


def _rope(config: Any, kind: str = "full_attention") -> dict[str, Any]:
    """Return the rotary embedding's parameters, of one kind of layer where they differ."""
    parameters = dict(config.rope_parameters or {})
    return dict(parameters.get(kind, parameters))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    gist = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return (gist or type(error).__name__).rstrip(".") + "."

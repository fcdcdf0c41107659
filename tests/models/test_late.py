"""What acts late in a text is converted right, or found out when the model is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CONFIGS, SIZES, make_checkpoint
from transformer_lens import HookedTransformer
from transformer_lens.model_bridge import TransformerBridge

import lensloc as ll
from lensloc import LensLocError
from lensloc.forward.capturing import capture
from lensloc.models import describe
from lensloc.models import late as late_module
from lensloc.models.late import Reach, reach

pytestmark = pytest.mark.usefixtures("one_thread")

GROUPED = SIZES | {"num_key_value_heads": 2}
WINDOW = {"sliding_window": 16}


def rope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"rope_theta": 1e4, "rope_type": kind, "original_max_position_embeddings": 32, **fields}


SHORT_1 = rope("longrope", short_factor=[1.0] * 4, long_factor=[4.0] * 4, attention_factor=1.0)
LATE: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: transformers.Qwen2Config(
        **GROUPED, **WINDOW, use_sliding_window=True, max_window_layers=2
    ),
    "qwen3": lambda: transformers.Qwen3Config(
        **GROUPED, **WINDOW, head_dim=8, use_sliding_window=True, max_window_layers=1
    ),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, **WINDOW),
    "gemma2": lambda: transformers.Gemma2Config(
        **GROUPED, **WINDOW, head_dim=8, query_pre_attn_scalar=8
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **GROUPED, **WINDOW, head_dim=8, query_pre_attn_scalar=8
    ),
    "gpt-neo": lambda: transformers.GPTNeoConfig(
        vocab_size=320, hidden_size=32, num_layers=2, num_heads=4, window_size=16,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=96,
        intermediate_size=48, bos_token_id=0, eos_token_id=0,
    ),
    "phi3, longrope": lambda: transformers.Phi3Config(
        **GROUPED, original_max_position_embeddings=32, rope_parameters=SHORT_1
    ),
    "llama, yarn": lambda: transformers.LlamaConfig(
        **GROUPED, rope_parameters=rope("yarn", factor=3.0)
    ),
    "llama, llama3": lambda: transformers.LlamaConfig(
        **GROUPED,
        rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0),
    ),
    "llama4": lambda: transformers.Llama4TextConfig(
        **GROUPED, head_dim=8, attention_chunk_size=16, num_local_experts=2, floor_scale=16,
        interleave_moe_layer_step=2, intermediate_size_mlp=48,
    ),
}  # fmt: skip


def tokens(length: int = 80) -> torch.Tensor:
    return torch.randint(0, 320, (1, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", list(LATE))
def test_auto_is_right_at_every_length(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", LATE[name]())
    model = ll.load_model(folder, backend="auto")
    assert "over up to 64 tokens" in describe(model).check
    if name in ("phi3, longrope", "llama, yarn", "llama4"):
        assert isinstance(model, TransformerBridge)
    else:
        assert isinstance(model, HookedTransformer)
    for length in (80, 8, 40, 33):  # a longer one before must change nothing
        fresh = transformers.AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            torch.testing.assert_close(
                model(tokens(length)), fresh(tokens(length)).logits, rtol=0, atol=1e-4
            )


def test_what_only_acts_late_is_found_at_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight tokens pass: the factors of a short text are 1, and the window is not reached."""
    longrope = make_checkpoint(tmp_path / "a", LATE["phi3, longrope"]())
    with pytest.raises(LensLocError, match=r"differ from .* at the end of 64 tokens"):
        ll.load_model(longrope, backend="hooked")
    monkeypatch.setattr("lensloc.models.convert._windows", lambda config: {})
    windows = make_checkpoint(tmp_path / "b", LATE["qwen2"]())
    with pytest.raises(LensLocError, match=r"differ from .* at the end of 64 tokens"):
        ll.load_model(windows, backend="hooked")
    assert isinstance(ll.load_model(windows, backend="auto"), TransformerBridge)


def test_a_window_at_the_end_of_the_context(tmp_path: Path) -> None:
    """The row is as long as the window needs, up to the model's own."""
    longer = GROUPED | {"max_position_embeddings": 200}
    config = transformers.MistralConfig(**longer, sliding_window=150)
    folder = make_checkpoint(tmp_path / "model", config)
    assert "over up to 166 tokens" in describe(ll.load_model(folder)).check
    config = transformers.MistralConfig(**longer, sliding_window=195)
    folder = make_checkpoint(tmp_path / "other", config)
    assert "over up to 200 tokens" in describe(ll.load_model(folder)).check


def test_what_is_too_costly_to_reach_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "MOST_TOKENS", 70)
    folder = make_checkpoint(
        tmp_path / "model", transformers.MistralConfig(**GROUPED, sliding_window=90)
    )
    check = describe(ll.load_model(folder)).check
    assert check.startswith("passed")
    assert "over up to 64 tokens" in check
    assert "not reached: sliding_window, from 90 tokens on" in check


@pytest.mark.parametrize(
    ("config", "n_parameters", "expected"),
    [
        (transformers.LlamaConfig(max_position_embeddings=8192), 10**8, Reach(64)),
        (transformers.GPT2Config(n_positions=48), 10**8, Reach(48)),
        (transformers.MistralConfig(sliding_window=4096, max_position_embeddings=32768), 10**8,
         Reach(4112)),
        (transformers.MistralConfig(sliding_window=4096, max_position_embeddings=32768), 7 * 10**9,
         Reach(64, (("sliding_window", 4096),))),
        (transformers.MistralConfig(sliding_window=4096, max_position_embeddings=4096), 10**8,
         Reach(64)),
        (transformers.Gemma3TextConfig(sliding_window=512, max_position_embeddings=32768), 10**9,
         Reach(528)),
        (transformers.LlamaConfig(**SIZES | {"max_position_embeddings": 131072},
                                  rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0,
                                                       high_freq_factor=4.0)
                                  | {"original_max_position_embeddings": 8192}), 10**8,
         Reach(64, (("original_max_position_embeddings", 8192),))),
        (transformers.Llama4TextConfig(attention_chunk_size=300, floor_scale=700,
                                       max_position_embeddings=4096), 10**8, Reach(716)),
    ],
)  # fmt: skip
def test_how_far_a_check_reads(config: Any, n_parameters: int, expected: Reach) -> None:
    assert reach(config, n_parameters) == expected


def test_lengths_of_a_batch_change_nothing_in_a_long_rope(tmp_path: Path) -> None:
    """A short text beside one beyond the original context keeps the short one's frequencies."""
    folder = make_checkpoint(tmp_path / "model", LATE["phi3, longrope"]())
    model = ll.load_model(folder, backend="bridge")
    texts = ["the old gardener", " ".join(["the old gardener watered"] * 6), "every plant before"]
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in texts]
    assert min(lengths) < 32 < max(lengths) < 96
    together = capture(model, texts, ["a", "a", "b"], progress=False).responses["resid_post"].values
    for row, text in enumerate(texts):
        alone = capture(model, [text], ["a"], progress=False).responses["resid_post"].values
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-5)


def test_names_decide_nothing_in_a_bridge(tmp_path: Path, caplog: Any) -> None:
    folder = make_checkpoint(tmp_path / "mixtral", CONFIGS["llama"]())
    model = ll.load_model(folder, backend="bridge")
    assert model.cfg.model_name == "mixtral"
    assert "DEPRECATED" not in caplog.text

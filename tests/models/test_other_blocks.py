"""Blocks that normalise after they add, return lists, have tokens in one axis, differ in width."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from tiny_models import SIZES, train_tokenizer
from torch import Tensor, nn

import lensloc as ll
from lensloc import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.hooking import on_output

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = torch.tensor([[5, 40, 7, 60, 9], [6, 41, 8, 61, 10]])
needs_gemma4 = pytest.mark.skipif(
    not hasattr(transformers, "Gemma4TextConfig"), reason="this transformers has no Gemma 4"
)


def bert() -> Any:
    return transformers.BertConfig(**SIZES, is_decoder=True)


def gpt1() -> Any:
    return transformers.OpenAIGPTConfig(
        vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=96
    )


def llama4() -> Any:
    return transformers.Llama4TextConfig(
        **SIZES, intermediate_size_mlp=48, num_key_value_heads=2, head_dim=8, num_local_experts=2,
        num_experts_per_tok=1, attention_chunk_size=32,
    )  # fmt: skip


def gemma4(layers: str = "sfsf", **options: Any) -> Any:
    names = {"s": "sliding_attention", "f": "full_attention"}
    types = [names[layer] for layer in layers]
    sizes = {**SIZES, "num_hidden_layers": len(types)}
    return transformers.Gemma4TextConfig(
        **sizes, num_key_value_heads=2, head_dim=8, global_head_dim=16, layer_types=types,
        num_global_key_value_heads=1, sliding_window=32, hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=320, **options,
    )  # fmt: skip


def loaded(folder: Path, config: Any) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    for name, value in model.named_buffers():
        if name.endswith("layer_scalar"):
            value.fill_(0.7)
    return ll.load_model(model.eval(), tokenizer=train_tokenizer(folder), name="tiny")


def contrast() -> ll.Contrast:
    texts = {
        "s": [f"the old gardener {verb} every plant" for verb in ("watered", "knew", "saw")],
        "n": [f"glorbix fendal {verb} strane vash" for verb in ("mopi", "wuggle", "plonder")],
    }
    return ll.Contrast.from_texts(texts, target="s", control="n")


def seen_by_hand(model: Any, places: dict[str, tuple[nn.Module, str]]) -> dict[str, Tensor]:
    """What passes modules, seen by hooks of torch."""
    found: dict[str, Tensor] = {}

    def keep(name: str, side: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            value = given[0] if side == "input" else output
            value = value[0] if isinstance(value, (tuple, list)) else value
            found[name] = value.detach().clone()

        return hook

    handles = [m.register_forward_hook(keep(n, side)) for n, (m, side) in places.items()]
    with torch.no_grad():
        model(TOKENS)
    for handle in handles:
        handle.remove()
    return found


def cut(module: nn.Module, side: str, units: tuple[int, ...]) -> Any:
    """Zero elements of the last axis of what enters or leaves a module."""

    def zeroed(value: Any) -> Any:
        first = value[0] if isinstance(value, (tuple, list)) else value
        new = first.clone()
        new[..., units] = 0
        return (new, *value[1:]) if isinstance(value, (tuple, list)) else new

    if side == "input":
        return module.register_forward_pre_hook(lambda _, given: zeroed(given))
    return module.register_forward_hook(lambda _, given, output: zeroed(output))


def of_bert(block: Any) -> dict[str, tuple[nn.Module, str]]:
    own = block.attention.self
    return {
        "resid_mid": (block.attention.output.LayerNorm, "input"),
        "attn_out": (block.attention.output.dense, "output"),
        "mlp_out": (block.output.dense, "output"),
        "mlp_pre": (block.intermediate.dense, "output"),
        "mlp_post": (block.output.dense, "input"),
        "z": (block.attention.output.dense, "input"),
        "q": (own.query, "output"), "k": (own.key, "output"), "v": (own.value, "output"),
    }  # fmt: skip


def of_gpt1(block: Any) -> dict[str, tuple[nn.Module, str]]:
    return {
        "resid_mid": (block.ln_1, "input"), "attn_out": (block.attn.c_proj, "output"),
        "mlp_out": (block.mlp.c_proj, "output"), "mlp_post": (block.mlp.c_proj, "input"),
        "z": (block.attn.c_proj, "input"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "blocks", "places"),
    [
        (bert, lambda model: model.bert.encoder.layer, of_bert),
        (gpt1, lambda model: model.transformer.h, of_gpt1),
    ],
    ids=["bert", "gpt1"],
)
def test_sites_of_blocks_that_normalise_after_they_add(
    config: Callable[[], Any], blocks: Any, places: Any, tmp_path: Path
) -> None:
    model = loaded(tmp_path, config())
    layer = 1
    by_hand = seen_by_hand(model, places(blocks(model)[layer]))
    for site, expected in by_hand.items():
        name = ll.SITES[site].hook_name(layer)
        found = surface(model).capture(TOKENS, [name])[name]
        assert torch.equal(found.flatten(2), expected), site
    with torch.no_grad():
        intact = model(TOKENS).logits
        for site, (module, side) in places(blocks(model)[layer]).items():
            with ll.lesion(model, [f"L{layer}.{site}.{n}" for n in (3, 8)]):
                found = model(TOKENS).logits
            handle = cut(module, side, (3, 8))
            expected = model(TOKENS).logits
            handle.remove()
            torch.testing.assert_close(found, expected)
            assert not torch.allclose(found, intact, rtol=1e-3)


def test_a_mixture_that_gives_all_tokens_in_one_axis_is_cut_by_text(tmp_path: Path) -> None:
    model = loaded(tmp_path, llama4())
    layer = 2
    (mixture,) = [m for n, m in model.named_modules() if n == f"model.layers.{layer}.feed_forward"]
    name = ll.SITES["mlp_out"].hook_name(layer)
    given = seen_by_hand(model, {"out": (mixture, "output")})["out"]
    assert given.ndim == 2  # what this test is about
    found = surface(model).capture(TOKENS, [name])[name]
    assert torch.equal(found, given.unflatten(0, tuple(TOKENS.shape)))
    with torch.no_grad():
        with ll.lesion(model, [f"L{layer}.mlp_out.4"]):
            found = model(TOKENS).logits
        handle = cut(mixture, "output", (4,))
        expected = model(TOKENS).logits
        handle.remove()
    torch.testing.assert_close(found, expected)
    localized = ll.localize(model, contrast(), ["mlp_out"], progress=False)
    assert localized["mlp_out"].shape == (3, 32)


@needs_gemma4
def test_layers_of_different_width_are_localized_and_lesioned(tmp_path: Path) -> None:
    model = loaded(tmp_path, gemma4())
    found = ll.localize(model, contrast(), ["z", "k", "mlp_out", "head"], progress=False)
    widths = {site: found[site].widths for site in ("z", "k", "mlp_out", "head")}
    assert widths == {"z": (32, 64, 32, 64), "k": (16, 32, 16, 32), "mlp_out": None, "head": None}
    layers = model.model.layers
    for layer, unit in ((1, 40), (2, 5)):
        write = layers[layer].self_attn.o_proj
        with torch.no_grad():
            with ll.lesion(model, [f"L{layer}.z.{unit}"]):
                lesioned = model(TOKENS).logits
            handle = cut(write, "input", (unit,))
            expected = model(TOKENS).logits
            handle.remove()
        torch.testing.assert_close(lesioned, expected)
    with pytest.raises(LensLocError, match="has 32"):
        ll.lesion(model, ["L0.z.40"]).__enter__()
    # A head of the wide layer is replaced by the mean of each of its 16 dimensions.
    responses = ll.capture(model, contrast().texts, contrast().labels, ["z"], pooling="mean")
    mean = responses.responses["z"].values[:, 1, 16:32].mean(dim=0).float()
    write = layers[1].self_attn.o_proj

    def replaced(_: Any, given: Any) -> Any:
        new = given[0].clone()
        new[..., 16:32] = mean
        return (new,)

    with torch.no_grad():
        with ll.lesion(model, ["L1.head.1"], mode="mean", reference=contrast()):
            lesioned = model(TOKENS).logits
        handle = write.register_forward_pre_hook(replaced)
        expected = model(TOKENS).logits
        handle.remove()
    torch.testing.assert_close(lesioned, expected, rtol=1e-4, atol=1e-5)
    tokens = ll.capture_tokens(model, ["the old bridge"], ["s"], "z")
    assert tokens.mask.widths == (32, 64, 32, 64)
    (tmp_path / "a.txt").write_text("the old gardener watered every plant\n" * 9)
    for refused in (
        lambda: ll.attribute(model, contrast(), site="z"),
        lambda: ll.lape.record(model, {"a": tmp_path / "a.txt"}, site="z"),
    ):
        with pytest.raises(LensLocError, match="32 to 64 at z"):
            refused()


@needs_gemma4
def test_no_pass_begins_behind_the_block_whose_keys_it_needs(tmp_path: Path) -> None:
    # The last block takes keys from the one before it: a pass can begin in the middle, not there.
    sharing = loaded(tmp_path, gemma4("ssff", num_kv_shared_layers=1))
    assert not surface(sharing).starts_anywhere()
    assert surface(loaded(tmp_path, gemma4())).starts_anywhere()


def test_what_a_module_returns_keeps_its_kind() -> None:
    class Returned(NamedTuple):
        first: Tensor
        second: int

    class Gives(nn.Module):
        def forward(self, kind: Any) -> Any:
            value = torch.ones(2)
            return Returned(value, 1) if kind is Returned else kind([value, 1])

    module = Gives()
    module.register_forward_hook(on_output(lambda value: 2 * value))
    for kind in (Returned, list, tuple):
        found = module(kind)
        assert type(found) is kind
        assert found[0].tolist() == [2, 2]
    assert module(Returned).second == 1

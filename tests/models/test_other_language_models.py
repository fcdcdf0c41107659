"""Language models that no class of TransformerLens holds: block outputs, lesions, masked tokens."""

import time
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

import lensloc as ll
from lensloc.tasks import pseudo
from lensloc.tasks.scoring import Scored

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat cats dog dogs sleep sleeps eat eats old new"
SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "vocab_size": 30,
}  # fmt: skip
NO_TOKENS: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


def tokenizer() -> Any:
    words = {word: number for number, word in enumerate(WORDS.split())}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def bert() -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(**SIZES))


def mamba() -> Any:
    config = transformers.MambaConfig(
        hidden_size=16, num_hidden_layers=2, vocab_size=30, state_size=4, **NO_TOKENS
    )
    return transformers.MambaForCausalLM(config)


def rwkv() -> Any:
    config = transformers.RwkvConfig(
        hidden_size=16, num_hidden_layers=2, vocab_size=30, attention_hidden_size=16,
        context_length=32, **NO_TOKENS,
    )  # fmt: skip
    return transformers.RwkvForCausalLM(config)


def recurrent_gemma() -> Any:
    sizes = {**SIZES, "num_hidden_layers": 3, "intermediate_size": 48}
    config = transformers.RecurrentGemmaConfig(
        num_key_value_heads=1, head_dim=8, lru_width=16, **sizes, **NO_TOKENS
    )
    return transformers.RecurrentGemmaForCausalLM(config)


def jamba() -> Any:
    config = transformers.JambaConfig(
        **SIZES, num_key_value_heads=1, num_experts=2, attn_layer_period=2, attn_layer_offset=1,
        expert_layer_period=2, expert_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4,
        use_mamba_kernels=False, **NO_TOKENS,
    )  # fmt: skip
    return transformers.JambaForCausalLM(config)


def bart_decoder() -> Any:
    config = transformers.BartConfig(
        d_model=16, vocab_size=30, encoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=24,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=24, **NO_TOKENS,
    )  # fmt: skip
    return transformers.BartForCausalLM(config)


BLOCKS = {
    bert: "bert.encoder.layer", mamba: "backbone.layers", rwkv: "rwkv.blocks",
    recurrent_gemma: "model.layers", jamba: "model.layers",
}  # fmt: skip


def contrast() -> ll.Contrast:
    texts = {
        "s": ["the cat sleeps", "the old dog eats", "the cats eat", "a new cat"],
        "n": ["cat the the", "dog old sleeps the", "eats the new", "new a a"],
    }
    return ll.Contrast.from_texts(texts, target="s", control="n")


def test_a_decoder_of_another_depth_than_the_encoder_it_had_is_localized() -> None:
    torch.manual_seed(0)
    model = ll.load_model(bart_decoder().eval(), tokenizer=tokenizer())
    found = ll.localize(model, contrast(), sites=["resid_post", "head"])
    assert [tuple(found[site].shape) for site in ("resid_post", "head")] == [(2, 16), (2, 2)]
    tokens = torch.tensor([[6, 7, 8]])
    mask = found["resid_post"].top(k=3)
    with torch.no_grad(), ll.lesion(model, mask):
        seen = model.model.decoder(tokens, output_hidden_states=True, use_cache=False)
    for layer, unit in mask.mask.nonzero().tolist():
        assert not seen.hidden_states[layer + 1][..., unit].any()


@pytest.mark.parametrize("make", [*BLOCKS], ids=lambda make: make.__name__)
def test_block_outputs_and_lesions_are_those_of_hooks_by_hand(make: Any) -> None:
    torch.manual_seed(0)
    net = make().eval()
    model = ll.load_model(net, tokenizer=tokenizer())
    blocks = net.get_submodule(BLOCKS[make])
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, out: Any) -> None:
            seen[layer] = out if isinstance(out, Tensor) else out[0]

        return hook

    texts = contrast().texts
    found = ll.capture(model, texts, contrast().labels, pooling="mean", progress=False)
    values = found.responses["resid_post"].values
    assert values.shape == (8, len(blocks), 16)
    handles = [block.register_forward_hook(keep(n)) for n, block in enumerate(blocks)]
    with torch.no_grad():
        for row, text in enumerate(texts):
            net(torch.tensor([tokenizer()(text)["input_ids"]]))
            for layer in range(len(blocks)):
                torch.testing.assert_close(
                    values[row, layer], seen[layer][0].mean(dim=0), rtol=1e-4, atol=1e-5
                )
    for handle in handles:
        handle.remove()

    def zeroed(_module: nn.Module, _inputs: Any, out: Any) -> Any:
        first = (out if isinstance(out, Tensor) else out[0]).clone()
        first[..., [3, 7]] = 0
        return first if isinstance(out, Tensor) else (first, *out[1:])

    mask = ll.UnitMask.from_addresses(["L1.resid_post.3", "L1.resid_post.7"], (len(blocks), 16))
    tokens = torch.tensor([tokenizer()("the old cat sleeps")["input_ids"]])
    handle = blocks[1].register_forward_hook(zeroed)
    with torch.no_grad():
        expected = net(tokens).logits
        handle.remove()
        with ll.lesion(model, mask):
            torch.testing.assert_close(net(tokens).logits, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(net(tokens).logits, expected, atol=1e-4)


def both_sides(text: str) -> dict[str, Tensor]:
    """Tokens for encoder and decoder."""
    ids = torch.tensor(tokenizer()(text)["input_ids"])
    return {"input_ids": ids, "decoder_input_ids": ids}


def test_encoder_and_decoder_of_t5_are_sites_of_their_own() -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, vocab_size=30,
        decoder_start_token_id=0,
    )  # fmt: skip
    net = transformers.T5ForConditionalGeneration(config).eval()
    wrapped = ll.wrap(net, preprocess=both_sides)
    assert list(wrapped.sites) == ["resid_encoder", "resid_decoder"]
    texts = contrast().texts
    found = ll.capture(
        wrapped, texts, contrast().labels, ["resid_encoder", "resid_decoder"], progress=False
    )
    with torch.no_grad():
        given = {name: ids[None] for name, ids in both_sides(texts[1]).items()}
        states = net(**given, output_hidden_states=True)
        for site, every in (
            ("resid_encoder", states.encoder_hidden_states),
            ("resid_decoder", states.decoder_hidden_states),
        ):
            torch.testing.assert_close(
                found.responses[site].values[1, 0], every[1][0].mean(dim=0), rtol=1e-4, atol=1e-5
            )
        mask = ll.UnitMask.from_addresses(["L0.resid_encoder.5"], (2, 16))

        def zeroed(_module: nn.Module, _inputs: Any, out: Any) -> Any:
            first = (out if isinstance(out, Tensor) else out[0]).clone()
            first[..., 5] = 0
            return first if isinstance(out, Tensor) else (first, *out[1:])

        handle = net.encoder.block[0].register_forward_hook(zeroed)
        expected = net(**given).logits
        handle.remove()
        with ll.lesion(wrapped, mask):
            torch.testing.assert_close(net(**given).logits, expected, rtol=1e-4, atol=1e-5)


def pll_by_hand(net: Any, text: str) -> float:
    ids = tokenizer()(text)["input_ids"]
    total = 0.0
    for place in range(1, len(ids) - 1):
        masked = list(ids)
        masked[place] = 4
        with torch.no_grad():
            logits = net(torch.tensor([masked])).logits[0, place].double()
        total += float(logits.log_softmax(dim=-1)[ids[place]])
    return total


def test_pairs_of_masked_models_are_scored_by_pseudo_log_likelihood(tmp_path: Any) -> None:
    torch.manual_seed(1)
    net = bert().eval()
    model = ll.load_model(net, tokenizer=tokenizer())
    file = tmp_path / "pairs.csv"
    file.write_text(
        "sentence_good,sentence_bad\n"
        "the cat sleeps,the cat sleep\nthe old dogs eat,the old dogs eats the\na cat,a cats\n"
    )
    task = ll.tasks.minimal_pairs(file, scoring="pseudo-log-likelihood")
    result = task(model)
    for side in ("good", "bad"):
        expected = [pll_by_hand(net, text) for text in result.items[f"sentence_{side}"]]
        np.testing.assert_allclose(result.items[side], expected, rtol=1e-5)
    right = [
        pll_by_hand(net, row.sentence_good) > pll_by_hand(net, row.sentence_bad)
        for row in result.items.itertuples()
    ]
    assert result.items["value"].tolist() == [float(each) for each in right]
    again = ll.tasks.minimal_pairs(file, scoring="pseudo-log-likelihood", batch_size=1)(model)
    np.testing.assert_allclose(again.items["good"], result.items["good"], rtol=1e-6)
    plain = ll.tasks.minimal_pairs(file)
    assert plain.settings != task.settings
    with pytest.warns(ll.LensLocWarning, match="both directions.*scoring='pseudo-log-likelihood'"):
        plain(model)
    mask = ll.UnitMask.from_addresses(["L1.resid_post.3", "L0.resid_post.1"], (2, 16))
    with ll.lesion(model, mask):
        lesioned = task(model)
        expected = [pll_by_hand(net, text) for text in result.items["sentence_good"]]
    np.testing.assert_allclose(lesioned.items["good"], expected, rtol=1e-5)
    assert not np.allclose(lesioned.items["good"], result.items["good"])
    torch.manual_seed(0)
    reads_on = ll.load_model(mamba().eval(), tokenizer=tokenizer())
    with pytest.raises(ll.LensLocError, match="reads from left to right only; use scoring="):
        task(reads_on)


def test_many_texts_are_put_together_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of BLiMP are 134,000 sentences: time must not grow with their square."""
    model = ll.load_model(bert().eval(), tokenizer=tokenizer())
    ran: list[int] = []
    monkeypatch.setattr(
        pseudo, "run_batches", lambda _, batches, *__, **___: ran.append(len(batches))
    )
    texts = [Scored((2, 5, 6, 7, 8, 3)[: 3 + row % 4], 1, str(row)) for row in range(20_000)]
    start = time.process_time()
    found = pseudo.pseudo_log_likelihoods(model, texts)
    assert time.process_time() - start < 15
    assert [len(each) for each in found[:4]] == [2, 3, 4, 4]
    assert len(found) == len(texts)
    assert ran


@pytest.mark.parametrize("kind", ["Bert", "Electra"])
def test_models_without_an_output_layer_over_tokens_are_told_of(kind: str) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    net = getattr(transformers, f"{kind}Model")(config).eval()
    with pytest.raises(ll.LensLocError, match=f"A {kind}Model gives no logits of tokens.*ll.wrap"):
        ll.load_model(net, tokenizer=tokenizer())
    # As the sentence says.
    wrapped = ll.wrap(net, preprocess=tokenizer())
    assert ll.localize(wrapped, contrast(), progress=False)["resid_post"].shape == (2, 16)

"""The embedding and the final norm as sites: one layer each, before and behind the blocks."""

from pathlib import Path
from typing import Any

import kinds
import pytest
import torch
import transformers
from task_files import write_csv
from tiny_models import CONFIGS, CORPUS, make_checkpoint

import lensloc as ll
from lensloc import LensLocError, UnitMask
from lensloc.models.adapting import surface

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
ENDS = ("embed", "ln_final")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("ends") / "llama", CONFIGS["llama"]())


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str, Any]:
    return {kind: kinds.load(folder, kind) for kind in kinds.KINDS}


def units_at(site: str, share: int = 5) -> UnitMask:
    mask = torch.zeros(1, 32, dtype=torch.bool)
    mask[0, ::share] = True
    return UnitMask(site, mask)


def test_values_are_those_of_transformers(loaded: dict[str, Any]) -> None:
    plain = loaded["transformers"]
    for model in loaded.values():
        found = ll.capture(model, CORPUS, ["one"] * len(CORPUS), ENDS, progress=False).responses
        assert [found[site].shape for site in ENDS] == [(1, 32)] * 2
        for row, text in enumerate(CORPUS):
            ids = torch.tensor([plain.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                hidden = plain(ids, output_hidden_states=True).hidden_states
            for site, expected in zip(ENDS, (hidden[0], hidden[-1]), strict=True):
                torch.testing.assert_close(
                    found[site].values[row, 0], expected[0, -1], rtol=1e-6, atol=1e-6
                )


def by_hand(plain: Any, site: str, units: torch.Tensor, last: bool) -> Any:
    module = plain.model.embed_tokens if site == "embed" else plain.model.norm

    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        zeroed = output.masked_fill(units, 0.0)
        return torch.cat([output[:, :-1], zeroed[:, -1:]], dim=1) if last else zeroed

    return module.register_forward_hook(hook)


@pytest.mark.parametrize("site", ENDS)
@pytest.mark.parametrize("positions", ["all", "last"])
def test_a_lesion_is_the_same_by_hand_in_tasks_and_in_writing(
    loaded: dict[str, Any], site: str, positions: Any, tmp_path: Path
) -> None:
    pairs = write_csv(
        tmp_path / "pairs.csv",
        [{"sentence_good": text, "sentence_bad": f"nobody {text}"} for text in CORPUS],
    )
    tasks = [
        ll.tasks.minimal_pairs(pairs),
        ll.tasks.perplexity(CORPUS, window=16),
        ll.tasks.generation(CORPUS[:3], max_new_tokens=5),
    ]
    seen = []
    for model in loaded.values():
        intact = [task(model, progress=False) for task in tasks]
        with ll.lesion(model, units_at(site), positions=positions) as lesion:
            results = [task(model, progress=False) for task in tasks]
        assert lesion.effect.took_effect
        assert results[1].score != intact[1].score
        assert [task(model, progress=False).score for task in tasks[:2]] == [
            result.score for result in intact[:2]
        ]
        seen.append(results)
    plain = loaded["transformers"]
    handle = by_hand(plain, site, units_at(site).mask[0], positions == "last")
    texts = []
    for text in CORPUS[:3]:
        tokens = torch.tensor([plain.tokenizer(text)["input_ids"]])
        for _ in range(5):
            with torch.no_grad():
                after = plain(tokens, use_cache=False).logits[0, -1].argmax()
            tokens = torch.cat([tokens, after[None, None]], dim=1)
        texts.append(tokens[0, -5:].tolist())
    handle.remove()
    for results in seen:
        for mine, theirs in zip(results[:2], seen[0][:2], strict=True):
            assert mine.score == pytest.approx(theirs.score, rel=1e-4)
        if positions == "all":  # where a cache is kept, the tokens before were lesioned once
            written = [plain.tokenizer(t)["input_ids"] for t in results[2].items["text"]]
            assert [len(ids) > 0 for ids in written] == [True] * 3
            assert list(results[2].items["text"]) == plain.tokenizer.batch_decode(texts)


@pytest.mark.parametrize("site", ENDS)
def test_effects_are_the_same_in_every_kind(loaded: dict[str, Any], site: str) -> None:
    seen = []
    for model in loaded.values():
        one = ll.attribute(model, kinds.contrast(), "grad_x_act", site, progress=False)
        closed = ll.attribute(
            model, kinds.contrast(), "ablation_effect", site, units=units_at(site, 9),
            progress=False,
        )  # fmt: skip
        assert one.shape == (1, 32)
        seen.append((one.score, closed.score))
    for mine in seen[1:]:
        for ours, first in zip(mine, seen[0], strict=True):
            torch.testing.assert_close(ours, first, equal_nan=True, **CLOSE)


def test_residuals_that_are_kept_are_not_used_before_the_embedding(
    loaded: dict[str, Any],
) -> None:
    from lensloc.lesions.resuming import Residuals

    task = ll.tasks.perplexity(CORPUS, window=16)
    for model in loaded.values():
        for site in ENDS:
            with ll.lesion(model, units_at(site), check=False):
                alone = task(model, progress=False).score
            with Residuals(model).used():
                task(model, progress=False)
                with ll.lesion(model, units_at(site), check=False):
                    assert task(model, progress=False).score == pytest.approx(alone, rel=1e-9)


def test_units_have_addresses_without_a_layer(loaded: dict[str, Any], tmp_path: Path) -> None:
    model = loaded["transformers"]
    assert units_at("embed", 16).addresses == ["embed.0", "embed.16"]
    found = ll.localize(model, kinds.contrast(), ["resid_post", *ENDS], progress=False)
    mask = found["ln_final"].top(k=3)
    table = found["ln_final"].to_dataframe(mask)
    assert sorted(table["address"]) == sorted(mask.addresses)
    assert all(address.startswith("ln_final.") for address in mask.addresses)
    again = UnitMask.load(mask.save(tmp_path / "mask.safetensors"))
    assert again.addresses == mask.addresses
    assert mask.addresses[0] in again
    assert f"L0.{mask.addresses[0]}" in again
    with ll.lesion(model, ["ln_final.3", "embed.7", "L1.resid_post.2"], check=False) as lesion:
        surface(model).logits(torch.tensor([[1, 2, 3]]))
    assert lesion.effect.fired == dict.fromkeys(
        ["ln_final.hook_out", "hook_embed", "blocks.1.hook_resid_post"], 1
    )
    with pytest.raises(LensLocError, match=r"embed\.32 does not exist"):
        ll.lesion(model, "embed.32")


def test_both_are_tried_when_a_model_is_checked(loaded: dict[str, Any]) -> None:
    for model in loaded.values():
        assert {"hook_embed", "ln_final.hook_out"} <= set(surface(model).unproven(1))


def test_a_model_without_a_final_norm_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.OpenAIGPTConfig(vocab_size=320, n_positions=64, n_embd=32, n_layer=2,
                                          n_head=4)  # fmt: skip
    model = transformers.OpenAIGPTLMHeadModel(config).eval()
    seen = surface(model)
    assert seen.lacks("hook_embed") is None
    assert seen.lacks("ln_final.hook_out") == "nothing in its modules was found to be that"

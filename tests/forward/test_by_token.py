"""Responses by token: those of the model by hand, pooled as capturing pools, shown as text."""

from typing import Any

import pytest
import torch

import lensloc as ll
from lensloc import LensLocError

TEXTS = ["the old gardener watered every plant", "nobody", "before the sun came up", "<b>&"]
LABELS = ["a", "b", "a", "b"]


@pytest.fixture(scope="module")
def found(tiny_llama: Any) -> ll.TokenResponses:
    return ll.capture_tokens(tiny_llama, TEXTS, LABELS, progress=False)


def test_every_number_is_that_of_the_model(found: ll.TokenResponses, tiny_llama: Any) -> None:
    n_layers, width = tiny_llama.cfg.n_layers, tiny_llama.cfg.d_model
    for number, text in enumerate(TEXTS):
        ids = tiny_llama.tokenizer(text)["input_ids"]
        _, cache = tiny_llama.run_with_cache(torch.tensor([ids]))
        known = torch.stack(
            [cache[f"blocks.{layer}.hook_resid_post"][0] for layer in range(n_layers)], dim=1
        )
        torch.testing.assert_close(
            found.of(number).reshape(len(ids), n_layers, width), known, rtol=1e-5, atol=1e-6
        )
        assert found.tokens_of(number) == tuple(tiny_llama.tokenizer.decode([i]) for i in ids)
    assert found.of(-1).shape == found.of(3).shape


@pytest.mark.parametrize("pooling", ["last-token", "mean", "sum", "max"])
def test_pooled_they_are_what_capturing_gives(
    pooling: Any, found: ll.TokenResponses, tiny_llama: Any
) -> None:
    known = ll.capture(tiny_llama, TEXTS, LABELS, pooling=pooling, progress=False)
    mine = found.pooled(pooling)
    torch.testing.assert_close(mine.values, known.responses["resid_post"].values)
    assert mine.conditions == tuple(LABELS)


def test_some_units_are_those_of_all(found: ll.TokenResponses, tiny_llama: Any) -> None:
    mask = ll.UnitMask.from_addresses(
        ["L0.resid_post.3", "L1.resid_post.0", "L1.resid_post.7"], shape=found.mask.shape
    )
    some = ll.capture_tokens(tiny_llama, TEXTS, LABELS, units=mask, batch_size=2, progress=False)
    for address in mask:
        torch.testing.assert_close(some.unit(address), found.unit(address))
    table = some.to_dataframe()
    assert list(table.columns) == ["stimulus", "position", "condition", "token", *mask.addresses]
    assert table["position"].tolist()[: len(some.of(0))] == list(range(len(some.of(0))))
    assert some.pooled("mean").values.isnan().sum() == 4 * (mask.n_units - 3)


def test_texts_are_shown_coloured(found: ll.TokenResponses) -> None:
    page = found.coloured("L1.resid_post.7", [3, 0])
    values = found.unit("L1.resid_post.7")
    assert page.index(">b: <") < page.index(">a: <")
    assert "&lt;" in page
    assert "<b>" not in page
    first = values[found.rows(3)][0].item()
    assert f'title="{first:.4g}"' in page
    strongest = int(values.abs().argmax())
    share = page if strongest in range(*found.rows(0).indices(999)) else found.coloured(
        "L1.resid_post.7"
    )  # fmt: skip
    assert ",0.60)" in share
    assert "mean of" in found._repr_html_()


def test_a_lesion_is_seen_at_every_token(found: ll.TokenResponses, tiny_llama: Any) -> None:
    with ll.lesion(tiny_llama, "L1.resid_post.7"):
        lesioned = ll.capture_tokens(tiny_llama, TEXTS, LABELS, progress=False)
    assert not lesioned.unit("L1.resid_post.7").any()
    assert torch.equal(lesioned.unit("L0.resid_post.7"), found.unit("L0.resid_post.7"))


def test_what_cannot_be_is_told(found: ll.TokenResponses, tiny_llama: Any) -> None:
    other = ll.UnitMask.from_addresses(["L0.mlp_post.1"], shape=(1, 4))
    with pytest.raises(LensLocError, match="The units are at mlp_post, and not at head"):
        ll.capture_tokens(tiny_llama, TEXTS, LABELS, "head", units=other)
    with pytest.raises(LensLocError, match="does not fit"):
        ll.capture_tokens(tiny_llama, TEXTS, LABELS, units=other, progress=False)
    with pytest.raises(LensLocError, match="There are 4 stimuli, and none of number 4"):
        found.of(4)
    with pytest.raises(LensLocError, match=r"L0.head.1 is not among the \d+ units whose responses"):
        found.unit("L0.head.1")
    with pytest.raises(LensLocError, match="starts says where each of 4 stimuli begins"):
        ll.TokenResponses(found.mask, found.values, found.tokens, found.starts[1:],
                          found.conditions)  # fmt: skip

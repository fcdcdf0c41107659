"""Encoding with a model: which activations, in which context, beside which controls."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

import lensloc as ll
from lensloc import LensLocError, UnitMask
from lensloc.alignment import _model
from lensloc.alignment.contexts import stimulus_responses
from lensloc.alignment.datasets import Stimuli
from lensloc.models import describe

pytestmark = pytest.mark.usefixtures("one_thread")

SENTENCES = [
    "the old gardener watered every plant",
    "before the sun came up",
    "nobody remembered the bridge",
    "twelve plus nineteen is thirty one",
    "the village was still",
    "who had built it",
]


def table(passages: int = 8) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [
        {"text": str(draw.choice(SENTENCES)) + f" {n}{k}", "passage": f"p{n}", "position": k}
        for n in range(passages)
        for k in range(3)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def mask() -> UnitMask:
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    chosen[0, [3, 7]] = chosen[2, [1, 30]] = True
    return UnitMask("resid_post", chosen)


def of_transformers(
    folder: Path, text: str, pooled: slice, units: torch.Tensor
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same by transformers alone: one text, its hidden states, mean over some positions."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    states: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    with torch.no_grad():
        handles = [layer.register_forward_hook(keep) for layer in model.model.layers]
        model(tokenizer(text, return_tensors="pt").input_ids)
        for handle in handles:
            handle.remove()
    stacked = torch.stack([state.reshape(-1, state.shape[-1]) for state in states])
    found: np.ndarray[Any, np.dtype[np.float64]] = (
        stacked[:, pooled].double().mean(dim=1)[units].numpy()
    )
    return found


@pytest.mark.parametrize("pooling", ["last-token", "mean"])
def test_activations_are_those_of_a_growing_context(
    tiny_llama: Any, checkpoints: dict[str, Path], mask: UnitMask, pooling: Any
) -> None:
    stimuli = Stimuli.of(table())
    (found,) = stimulus_responses(
        tiny_llama, stimuli, [mask], pooling=pooling, progress=False
    ).values()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    for row in (0, 1, 5):
        start = row - row % 3
        context = " ".join(stimuli.texts[start:row])
        whole = " ".join(stimuli.texts[start : row + 1])
        before = len(tokenizer(context).input_ids) if context else 0
        # White space between stimuli that is a token of its own is no stimulus'.
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(whole).input_ids)
        before += tokens[before] == "Ġ"
        own = slice(-1, None) if pooling == "last-token" else slice(before, None)
        expected = of_transformers(checkpoints["llama"], whole, own, mask.mask)
        np.testing.assert_allclose(found.of(mask)[row], expected, atol=2e-5)
    alone = stimulus_responses(
        tiny_llama, stimuli, [mask], pooling=pooling, context="none", progress=False
    )["resid_post"].of(mask)
    own = slice(-1, None) if pooling == "last-token" else slice(0, None)
    expected = of_transformers(checkpoints["llama"], stimuli.texts[4], own, mask.mask)
    np.testing.assert_allclose(alone[4], expected, atol=2e-5)
    np.testing.assert_allclose(alone[0], found.of(mask)[0], atol=2e-5)  # the first has no context


def test_activations_do_not_depend_on_batch_order_or_class(
    tiny: Any, mask: UnitMask, backend: str, tiny_name: str, tiny_llama: Any
) -> None:
    stimuli = Stimuli.of(table(4))
    order = np.random.default_rng(1).permutation(len(stimuli))
    first = stimulus_responses(tiny, stimuli, [mask], batch_size=1, progress=False)
    shuffled = Stimuli.of(table(4).iloc[order])
    second = stimulus_responses(tiny, shuffled, [mask], batch_size=16, progress=False)
    a, b = first["resid_post"].of(mask), second["resid_post"].of(mask)
    np.testing.assert_allclose(a[order], b, atol=2e-5)
    if tiny_name == "llama" and backend == "bridge":
        other = stimulus_responses(tiny_llama, stimuli, [mask], progress=False)
        np.testing.assert_allclose(a, other["resid_post"].of(mask), atol=2e-5)


@pytest.fixture
def ids(checkpoints: dict[str, Path]) -> list[int]:
    """Tokens of all sentences, by the checkpoint's own tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    return list(tokenizer(" ".join(SENTENCES)).input_ids)


def test_windows_move_on_by_half(tiny_llama: Any, mask: UnitMask, ids: list[int]) -> None:
    stimuli = Stimuli.of(pd.DataFrame({"text": SENTENCES, "passage": "one"}))
    assert len(ids) > 30
    found = stimulus_responses(tiny_llama, stimuli, [mask], window=16, progress=False)
    # The last token of all is new in the last window, which begins at a multiple of eight.
    start = next(s for s in range(0, len(ids), 8) if s + 16 >= len(ids))
    _, cache = tiny_llama.run_with_cache(torch.tensor([ids[start:]]))
    expected = torch.cat([cache["resid_post", layer][0, -1, mask.mask[layer]] for layer in (0, 2)])
    np.testing.assert_allclose(found["resid_post"].of(mask)[-1], expected.detach(), atol=2e-5)
    with pytest.raises(LensLocError, match="window is 2 to 96 tokens"):
        stimulus_responses(tiny_llama, stimuli, [mask], window=200, progress=False)


def test_a_mean_spans_windows(tiny_llama: Any, mask: UnitMask, ids: list[int]) -> None:
    text = " ".join(SENTENCES)
    found = stimulus_responses(
        tiny_llama, Stimuli.of([text]), [mask], pooling="mean", window=16, progress=False
    )["resid_post"].of(mask)
    total, new = torch.zeros(4), 0
    for start in range(0, len(ids), 8):
        _, cache = tiny_llama.run_with_cache(torch.tensor([ids[start : start + 16]]))
        for layer, columns in ((0, slice(0, 2)), (2, slice(2, 4))):
            own = cache["resid_post", layer][0, new - start :][:, mask.mask[layer]]
            total[columns] += own.detach().sum(dim=0)
        new = start + 16
        if new >= len(ids):
            break
    np.testing.assert_allclose(found[0], total / len(ids), atol=2e-5)


@pytest.mark.parametrize("site", ["head", "mlp_post", "z"])
def test_any_site(tiny_llama: Any, site: str) -> None:
    stimuli = Stimuli.of(table(2))
    captured = ll.capture(tiny_llama, [SENTENCES[0]], ["x"], [site], progress=False)
    shape = captured.responses[site].values.shape[1:]
    chosen = torch.zeros(tuple(shape), dtype=torch.bool)
    chosen[1, 0] = chosen[2, 3] = True
    mask = UnitMask(site, chosen)
    found = stimulus_responses(tiny_llama, stimuli, [mask], context="none", progress=False)
    expected = ll.capture(
        tiny_llama, list(stimuli.texts), ["x"] * len(stimuli), [site], progress=False
    ).responses[site]
    np.testing.assert_allclose(found[site].of(mask), expected.values[:, chosen], atol=2e-5)


def planted(model: Any, mask: UnitMask, stimuli: Stimuli) -> np.ndarray[Any, Any]:
    values = stimulus_responses(model, stimuli, [mask], progress=False)["resid_post"].of(mask)
    values = (values - values.mean(0)) / values.std(0)
    draw = np.random.default_rng(3)
    y = values @ draw.normal(size=(values.shape[1], 4))
    return np.asarray(y / y.std(0) + 0.2 * draw.normal(size=y.shape))


def test_a_brain_of_planted_units_is_explained_by_them(
    tiny_llama: Any, checkpoints: dict[str, Path], mask: UnitMask
) -> None:
    stimuli = Stimuli.of(table(20))
    responses = planted(tiny_llama, mask, stimuli)
    twin = ll.load_model(checkpoints["llama"], untrained=True)
    found = ll.alignment.encode(
        tiny_llama,
        stimuli,
        responses,
        {"planted": mask},
        untrained=twin,
        controls=ll.controls(["layer", None], seeds=range(5)),
        n_resamples=100,
        progress=False,
    )
    kinds = found.table["kind"].tolist()
    assert kinds.count("network") == kinds.count("untrained") == 1
    assert kinds.count("control") == 10
    assert set(found.table[found.table["kind"] == "control"]["name"]) == {"layer", "random"}
    network = found.table[found.table["kind"] == "network"].iloc[0]
    others = found.table[found.table["kind"].isin(["control", "untrained", "baseline"])]
    assert network["r"] > 0.9
    assert network["r"] > others["r"].max()
    assert set(found.table[found.table["kind"] == "control"]["n_units"]) == {4}
    assert found.comparisons.set_index("against").loc["layer", "p"] == pytest.approx(1 / 6)
    assert found.provenance.model == "my-llama"
    assert found.provenance.site == "resid_post"
    assert found.settings["pooling"] == "last-token"
    assert found.settings["n_folds"] == 5
    assert "planted" in found._repr_html_()
    assert repr(found).startswith("Encoding(planted r 0.9")


def test_several_networks_and_layers(tiny_llama: Any, mask: UnitMask) -> None:
    one = UnitMask("resid_post", torch.zeros(3, 32, dtype=torch.bool))
    one.mask[1] = True
    found = ll.alignment.encode(
        tiny_llama,
        table(6),
        np.random.default_rng(0).normal(size=(18, 2)),
        {"network": mask, "layer 1": one},
        controls=ll.controls("layer", seeds=range(2)),
        n_folds=3,
        n_resamples=20,
        progress=False,
    )
    networks = found.table[found.table["kind"] == "network"].set_index("network")
    assert networks.loc["layer 1", "layer"] == 1
    assert pd.isna(networks.loc["network", "layer"])
    assert any("layer 1 stands without control units" in s for s in found.warnings)
    # The folder's name is no name that a model can be loaded by.
    assert any("without those of the untrained network" in s for s in found.warnings)
    assert not (found.table["kind"] == "untrained").any()


def test_the_untrained_twin_is_of_the_models_kind(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoints["llama"].parent)
    name = checkpoints["llama"].name
    model = ll.load_model(name, backend="transformers", progress=False)
    twin = _model.untrained_twin(model, 3, False)
    same = ll.load_model(name, backend="transformers", untrained=True, seed=3, progress=False)
    assert type(twin) is type(model)
    for (key, found), (_, expected) in zip(
        twin.named_parameters(), same.named_parameters(), strict=True
    ):
        assert torch.equal(found, expected), key


def test_the_untrained_twin_is_of_the_commit_that_was_read(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = dataclasses.replace(
        describe(tiny_llama), name="owner/model@step3", revision="abc123", dtype="uint8"
    )
    asked: dict[str, Any] = {}
    monkeypatch.setattr(_model, "describe", lambda model: card)

    def load(name: str, **options: Any) -> Any:
        asked.update(options, name=name)
        return tiny_llama

    monkeypatch.setattr(_model, "load_model", load)
    _model.untrained_twin(tiny_llama, 3, False)
    assert (asked["name"], asked["revision"]) == ("owner/model", "abc123")
    assert asked["dtype"] is None  # what is quantised is not initialised so


def test_units_and_stimuli_that_do_not_fit_are_told(tiny_llama: Any, mask: UnitMask) -> None:
    y = np.random.default_rng(0).normal(size=(24, 2))

    def encode(units: Any = mask, stimuli: Any = None, **options: Any) -> None:
        ll.alignment.encode(
            tiny_llama,
            table() if stimuli is None else stimuli,
            y,
            units,
            **{"controls": None, "untrained": None, "progress": False, **options},
        )

    with pytest.raises(LensLocError, match="does not fit my-llama, which has 3x32 units"):
        encode(UnitMask("resid_post", torch.ones(3, 31, dtype=torch.bool)))
    with pytest.raises(LensLocError, match="There are no units"):
        encode({})
    with pytest.raises(LensLocError, match="The mask 'none' holds no unit"):
        encode({"none": UnitMask("resid_post", torch.zeros(3, 32, dtype=torch.bool))})
    with pytest.raises(LensLocError, match="untrained is 'load', a loaded model, or None"):
        encode(untrained="fresh")
    empty = table()
    empty.loc[1, "text"] = "  "
    with pytest.raises(LensLocError, match="row 2: text is empty"):
        encode(stimuli=empty)

"""Any torch module: sites, inputs, the check, what is found and lesioned, against arithmetic."""

import ast
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import planted_vision
import pytest
import torch
import transformers
from documents import blocks
from scipy import stats
from torch import Tensor, nn

import lensloc as ll
from lensloc.models import describe
from lensloc.models.adapting import surface

SITES = {"conv": "convs.{layer}"}


@pytest.fixture(scope="module")
def contrast() -> ll.Contrast:
    return ll.Contrast.from_images(
        planted_vision.pictures(), target="red", control="other", name="redness"
    )


def everything(contrast: ll.Contrast) -> Tensor:
    every = planted_vision.pictures()
    return torch.cat([planted_vision.tensors(every[name]) for name in contrast.conditions])


def responses_of(net: nn.Module, pictures: Tensor) -> list[Tensor]:
    """Feature maps of every convolution, by hand: the network's own arithmetic."""
    found = []
    for conv in net.convs:  # type: ignore[union-attr]
        raw = conv(pictures)
        found.append(raw.clone())
        pictures = torch.relu(raw)
    return found


def test_exactly_the_planted_channels_are_found(contrast: ll.Contrast) -> None:
    net = planted_vision.Net()
    found = ll.localize(ll.wrap(net, SITES), contrast, progress=False)
    assert found["conv"].significant(0.01).addresses == planted_vision.PLANTED
    assert found["conv"].top(k=3).addresses == planted_vision.PLANTED
    assert found["conv"].widths == planted_vision.WIDTHS
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    assert found.call.startswith(
        "ll.localize(ll.wrap(<Net>, {'conv': 'convs.{layer}'}), <contrast "
    )
    assert "28 pictures" in found.call


@pytest.mark.parametrize("pooling", ["mean", "max", "sum", "centre"])
def test_statistics_are_those_of_feature_maps_pooled_by_hand(
    contrast: ll.Contrast, pooling: Any
) -> None:
    net = planted_vision.Net().eval()
    options: dict[str, Any] = {"pooling": pooling, "progress": False}
    found = ll.localize(ll.wrap(net, SITES), contrast, batch_size=5, **options)["conv"]
    with torch.no_grad():
        maps = responses_of(net, everything(contrast))
    for layer, values in enumerate(maps):
        if pooling == "centre":
            pooled = values[:, :, values.shape[2] // 2, values.shape[3] // 2]
        elif pooling == "max":
            pooled = values.amax(dim=(2, 3))
        else:
            pooled = getattr(values, pooling)(dim=(2, 3))
        a, b = pooled.abs().double().numpy()[:14], pooled.abs().double().numpy()[14:]
        expected = stats.ttest_ind(a, b, equal_var=False)
        width = values.shape[1]
        np.testing.assert_allclose(found.t[layer, :width], expected.statistic, rtol=2e-4)
        np.testing.assert_allclose(found.mean_target[layer, :width], a.mean(axis=0), rtol=1e-4)
    q = stats.false_discovery_control(found.p[found.units].numpy())
    np.testing.assert_allclose(found.q[found.units], q)
    assert found.q.isnan().sum() == 3 * 7 - sum(planted_vision.WIDTHS)


def test_elements_are_units_of_their_own(contrast: ll.Contrast) -> None:
    net = planted_vision.Net().eval()
    wrapped = ll.wrap(net, {"convs": ll.ModuleSite("convs.{layer}", unit="element")})
    captured = ll.capture(wrapped, contrast.texts, contrast.labels, ["convs"], progress=False)
    values = captured.responses["convs"]
    with torch.no_grad():
        maps = responses_of(net, everything(contrast))
    assert values.widths == tuple(found[0].numel() for found in maps)
    for layer, found in enumerate(maps):
        torch.testing.assert_close(values.values[:, layer, : found[0].numel()], found.flatten(1))


def edited(found: Tensor, units: list[int], mode: str, values: Tensor) -> Tensor:
    found = found.clone()
    found[:, units] = {
        "zero": lambda: torch.zeros_like(found[:, units]),
        "scale": lambda: found[:, units] * 0.3,
        "clamp": lambda: torch.full_like(found[:, units], 2.0),
    }.get(mode, lambda: values[units][:, None, None].expand_as(found[:, units]))()
    return found


@pytest.mark.parametrize("mode", ["zero", "mean", "resample", "scale", "clamp"])
def test_lesions_of_channels_equal_a_forward_pass_by_hand(contrast: ll.Contrast, mode: Any) -> None:
    net = planted_vision.Net().eval()
    wrapped = ll.wrap(net, SITES)
    every = everything(contrast)
    units = {0: [1, 2], 1: [5], 2: [0]}
    addresses = [f"L{layer}.conv.{unit}" for layer, found in units.items() for unit in found]
    mask = ll.UnitMask.from_addresses(addresses, (3, 7), widths=planted_vision.WIDTHS)
    with torch.no_grad():
        means = [found.mean(dim=(2, 3)) for found in responses_of(net, every)]
        row = int(np.random.default_rng(3).integers(len(every)))
        pictures = every[:4]
        for layer, conv in enumerate(net.convs):
            values = means[layer].mean(dim=0) if mode == "mean" else means[layer][row]
            pictures = torch.relu(edited(conv(pictures), units[layer], mode, values))
        expected = net.head(pictures.mean(dim=(2, 3)))
        options: dict[str, Any] = {
            "scale": {"scale": 0.3},
            "clamp": {"value": 2.0},
            "mean": {"reference": contrast},
            "resample": {"reference": contrast, "seed": 3},
        }.get(mode, {})
        intact = net(every[:4])
        with ll.lesion(wrapped, mask, mode, **options) as lesion:
            torch.testing.assert_close(net(every[:4]), expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(wrapped(every[:4]), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(net(every[:4]), intact)
    assert lesion.effect.took_effect
    assert not torch.allclose(intact, expected)


def test_lesions_of_elements_equal_a_forward_pass_by_hand(contrast: ll.Contrast) -> None:
    net = planted_vision.Net().eval()
    wrapped = ll.wrap(net, {"first": ["convs.0"]}, unit="element", example=torch.rand(2, 3, 12, 12))
    mask = ll.UnitMask.from_addresses(["L0.first.7", "L0.first.399"], (1, 400))
    pictures = everything(contrast)[:3]
    with torch.no_grad():
        hidden = net.convs[0](pictures).contiguous()
        hidden.flatten(1)[:, [7, 399]] = 1.5
        for conv in net.convs[1:]:
            hidden = conv(torch.relu(hidden))
        expected = net.head(torch.relu(hidden).mean(dim=(2, 3)))
        with ll.lesion(wrapped, mask, "clamp", value=1.5):
            torch.testing.assert_close(net(pictures), expected)


def test_lesions_say_that_they_took_no_effect(contrast: ll.Contrast) -> None:
    net = planted_vision.Net().eval()
    wrapped = ll.wrap(net, SITES)
    mask = ll.localize(wrapped, contrast, progress=False)["conv"].top(k=1)
    with pytest.warns(ll.LensLocWarning, match="never fired"), ll.lesion(wrapped, mask):
        pass
    with torch.no_grad():
        net.head.weight.zero_()
    with (
        pytest.warns(ll.LensLocWarning, match="its weights differ|moved no number of the probe"),
        ll.lesion(wrapped, mask),
    ):
        net(everything(contrast)[:2])


def test_inputs_of_modules_and_lists_in_order_of_depth(contrast: ll.Contrast) -> None:
    net = planted_vision.Net().eval()
    sites = {"read": ["convs.1", "convs.2", "head"]}
    found = ll.capture(
        ll.wrap(net, sites, side="input"), contrast.texts, contrast.labels, ["read"], progress=False
    ).responses["read"]
    with torch.no_grad():
        maps = [torch.relu(each) for each in responses_of(net, everything(contrast))]
    assert found.widths == (4, 7, 3)
    for layer, values in enumerate(maps):
        expected = values.mean(dim=(2, 3))
        torch.testing.assert_close(found.values[:, layer, : expected.shape[1]], expected)


def test_patterns_take_modules_in_the_order_of_their_numbers() -> None:
    stages = {f"layer{n}": nn.Sequential(*[nn.Linear(4, 4) for _ in range(11)]) for n in (2, 1)}
    net = nn.Sequential()
    for name, stage in stages.items():
        net.add_module(name, stage)
    names = ll.wrap(net, {"block": "layer*.{layer}"}).layers("block")
    assert names == tuple(f"layer{n}.{m}" for n in (1, 2) for m in range(11))


# -- other kinds of networks -----------------------------------------------------------------------


def test_a_perceptron_of_arrays() -> None:
    random = np.random.default_rng(0)
    stimuli = {"a": random.normal(size=(12, 6)), "b": random.normal(size=(12, 6))}
    stimuli["a"][:, 2] += 4
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(6))
        net[0].bias.zero_()
    contrast = ll.Contrast.from_arrays(stimuli, target="a", control="b")
    found = ll.localize(ll.wrap(net, {"hidden": "0"}), contrast, absolute=False, progress=False)
    expected = stats.ttest_ind(stimuli["a"], stimuli["b"], equal_var=False).statistic
    np.testing.assert_allclose(found["hidden"].t[0], expected, rtol=1e-5)
    assert found.top(k=1).addresses == ["L0.hidden.2"]


def vit() -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=12, patch_size=4,
    )  # fmt: skip
    return transformers.ViTModel(config, add_pooling_layer=False).eval()


@pytest.mark.parametrize(("pooling", "place"), [("class-token", 0), ("last-token", -1)])
def test_a_transformer_encoder_with_its_processor(
    contrast: ll.Contrast, pooling: Any, place: int
) -> None:
    net = vit()
    processor = transformers.ViTImageProcessor(size={"height": 12, "width": 12})
    block = next(
        name for name, part in net.named_modules() if type(part).__name__ == "ViTLayer"
    ).rsplit(".", 1)[0]
    wrapped = ll.wrap(net, {"block": f"{block}.{{layer}}"}, preprocess=processor, pooling=pooling)
    found = ll.capture(wrapped, contrast.texts, contrast.labels, ["block"], progress=False)
    images = [stimulus.load() for stimulus in contrast.texts]  # type: ignore[attr-defined]
    with torch.no_grad():
        given = processor(images=images, return_tensors="pt")
        states = net(**given, output_hidden_states=True).hidden_states
    for layer in range(2):
        torch.testing.assert_close(
            found.responses["block"].values[:, layer], states[layer + 1][:, place],
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip
    mask = ll.UnitMask.from_addresses(["L0.block.3"], (2, 16))
    with torch.no_grad(), ll.lesion(wrapped, mask):
        lesioned = net(**given, output_hidden_states=True).last_hidden_state
        first = net.get_submodule(f"{block}.1")
        expected = states[1].clone()
        expected[:, :, 3] = 0
        output = first(expected)
        output = output[0] if isinstance(output, tuple) else output
        torch.testing.assert_close(lesioned, net.layernorm(output), rtol=1e-4, atol=1e-5)


class Reads(nn.Module):
    """Embeds characters; gives a tuple without and a mapping with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 6)
        self.inner = Inner()

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.inner(self.embed(ids))["second"].mean(dim=1)
        return found


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.names = Names()

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        self.names(values)
        return {"first": values[..., :2], "second": values * 2}


class Names(nn.Module):
    def forward(self, values: Tensor) -> tuple[str, int]:
        return ("no tensor", 1)


TEXTS = ll.Contrast.from_texts(
    {"a": ["aab", "aabb", "aa"], "b": ["zz", "zzyx", "zyz"]}, target="a", control="b"
)


def characters(text: str) -> Tensor:
    return torch.tensor([ord(letter) for letter in text])


def test_texts_of_different_lengths_are_never_padded() -> None:
    net = Reads()
    sites = {
        "twice": ll.ModuleSite(["inner"], part="second"),
        "first": ll.ModuleSite(["inner"], pooling="last-token"),
    }
    wrapped = ll.wrap(net, sites, preprocess=characters)
    found = ll.capture(wrapped, TEXTS.texts, TEXTS.labels, ["twice", "first"], progress=False)
    with torch.no_grad():
        embedded = [net.embed(characters(text)) for text in TEXTS.texts]
    for row, values in enumerate(embedded):
        torch.testing.assert_close(found.responses["twice"].values[row, 0], 2 * values.mean(dim=0))
        torch.testing.assert_close(found.responses["first"].values[row, 0], values[-1, :2])
    mask = ll.UnitMask.from_addresses(["L0.twice.4"], (1, 6))
    with torch.no_grad(), ll.lesion(wrapped, mask):
        lesioned = net(characters("abc")[None])
    expected = 2 * net.embed(characters("abc")).mean(dim=0)
    expected[4] = 0
    torch.testing.assert_close(lesioned[0], expected.detach())


def test_a_language_model_of_another_class_with_its_tokenizer(
    checkpoints: dict[str, Path],
) -> None:
    path = checkpoints["llama"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    plain = ll.load_model(str(path), backend="transformers")
    contrast = ll.contrasts.language()
    texts = [*contrast.conditions["sentences"][:6], *contrast.conditions["nonwords"][:6]]
    few = ll.Contrast.from_texts({"s": texts[:6], "n": texts[6:]}, target="s", control="n")
    wrapped = ll.wrap(
        plain, {"block": "model.layers.{layer}"}, preprocess=tokenizer, pooling="last-token"
    )
    mine = ll.localize(wrapped, few, progress=False)["block"]
    known = ll.localize(plain, few, progress=False)["resid_post"]
    torch.testing.assert_close(mine.t, known.t, rtol=1e-3, atol=1e-3)


# -- what a model is -------------------------------------------------------------------------------


def test_identity_follows_weights_running_means_structure_and_preprocessing() -> None:
    def card(change: Any = None, preprocess: Any = None) -> Any:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        if change is not None:
            change(net)
        return describe(ll.wrap(net, {"conv": "{layer}"}, preprocess=preprocess)).hashes

    def weight(net: Any) -> None:
        net[0].weight.data[0, 0, 0, 0] += 1

    def running(net: Any) -> None:
        net[1].running_mean += 1

    def stride(net: Any) -> None:
        net[0].stride = (2, 2)

    same = card()
    assert card() == same
    for change, part in ((weight, "weights"), (running, "weights"), (stride, "configuration")):
        other = card(change)
        assert [name for name in same if same[name] != other[name]] == [part]
    assert card(preprocess=characters)["configuration"] != same["configuration"]
    assert card(preprocess=lambda x: x * 2) == card(preprocess=lambda x: x * 2)
    assert card(preprocess=lambda x: x * 2) != card(preprocess=lambda x: x * 3)


def test_the_check_tells_of_batches_that_change_and_writes_that_reach_nothing() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.main = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            found: Tensor = self.main(x - x.mean(dim=0))
            return found

    torch.manual_seed(0)
    wrapped = ll.wrap(Odd(), {"side": ["aside"]}, example=torch.randn(3, 4))
    check = describe(wrapped).check
    assert check.startswith("failed: what it gives for a stimulus change by")
    assert "does not reach what it gives" in check
    good = ll.wrap(nn.Sequential(nn.Linear(4, 4)), {"own": "{layer}"}, example=torch.randn(3, 4))
    assert describe(good).check.startswith("passed (no transformers original")
    assert describe(ll.wrap(Odd(), {"side": ["aside"]})).check.startswith("not run")


def test_stores_keep_what_was_localized(contrast: ll.Contrast, tmp_path: Path) -> None:
    net = planted_vision.Net()
    first = ll.localize(ll.wrap(net, SITES), contrast, progress=False, store=tmp_path)
    again = ll.localize(ll.wrap(net, SITES), contrast, progress=False, store=tmp_path)
    assert again.from_store == ("conv",)
    assert again["conv"].widths == first["conv"].widths
    torch.testing.assert_close(again["conv"].t, first["conv"].t, equal_nan=True)
    other = ll.localize(
        ll.wrap(net, SITES), contrast, pooling="max", progress=False, store=tmp_path
    )
    elsewhere = ll.wrap(net, {"conv": ll.ModuleSite("convs.{layer}", side="input")})
    assert not other.from_store
    assert not ll.localize(elsewhere, contrast, progress=False, store=tmp_path).from_store


# -- bad input -------------------------------------------------------------------------------------


def test_bad_sites_are_told_in_a_sentence() -> None:
    net = planted_vision.Net()
    example = torch.rand(2, 3, 12, 12)
    with pytest.raises(ll.LensLocError, match=r"named like 'blocks\.\{layer\}'.*convs\.\{layer\}"):
        ll.wrap(net, {"block": "blocks.{layer}"})
    with pytest.raises(ll.LensLocError, match=r"no module 'conv.0'.*did you mean 'convs.0'"):
        ll.wrap(net, {"block": ["conv.0"]})
    with pytest.raises(ll.LensLocError, match=r"'act' .*called 3 times in a pass"):
        ll.wrap(net, {"block": ["act"]}, example=example)
    shared = nn.Linear(4, 4)
    tied = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ll.LensLocError, match=r"'2' .*called 2 times|'0' .*called 2 times"):
        ll.wrap(tied, {"tied": ["0", "2"]}, example=torch.rand(2, 4))
    with pytest.raises(ll.LensLocError, match="wrapped already"):
        ll.wrap(ll.wrap(net, SITES), SITES)
    with pytest.raises(ll.LensLocError, match="is a place in a language model"):
        ll.wrap(net, {"head": ["head"]})
    with pytest.raises(ll.LensLocError, match="same in all"):
        ll.wrap(net, {"resid_post": "convs.{layer}"}, example=example)
    with pytest.raises(ll.LensLocError, match="cannot be called with a batch of"):
        ll.wrap(net, SITES, example=torch.rand(2, 5, 12, 12))
    with pytest.raises(ll.LensLocError, match="takes one of several tokens"):
        ll.wrap(net, SITES, pooling="class-token", example=example)
    with pytest.raises(ll.LensLocError, match=r"ll\.wrap\(module"):
        ll.localize(net, TEXTS)
    with pytest.raises(ll.LensLocError, match="without a site 'resid_post'; its sites are conv"):
        ll.localize(ll.wrap(net, SITES, example=example), TEXTS, sites="resid_post")


class Named(nn.Module):
    """Takes its pictures by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("example", "told"),
    [
        ("abc", "something of type str is no tensor"),
        (["abc"], "something of type str is no tensor"),
        ({"x": b"abc"}, "something of type bytes is no tensor"),
        (3, "something of type int is no tensor"),
        ((torch.zeros(2, 3, 12, 12), True), "something of type bool is no tensor"),
        (np.array(["a"]), "something of type ndarray is no tensor"),
        ((), "first axis are stimuli, and this one holds none"),
        ({}, "first axis are stimuli, and this one holds none"),
        (torch.tensor(1.0), "first axis are stimuli, and this one holds none"),
        (torch.zeros(0, 3, 12, 12), "first axis are stimuli, and this one holds none"),
    ],
    ids=lambda value: str(value)[:20].split("\n")[0],
)
def test_an_example_that_is_no_batch_is_told_in_a_sentence(example: Any, told: str) -> None:
    with pytest.raises(ll.LensLocError, match=told) as caught:
        ll.wrap(planted_vision.Net(), SITES, example=example)
    assert str(caught.value).startswith("example is a batch")


def test_an_example_is_a_tensor_an_array_or_several_of_them() -> None:
    rows = torch.rand(2, 3, 12, 12)
    for example in (rows, rows.numpy(), (rows,), [rows], {"x": rows, "mask": None}):
        wrapped = ll.wrap(Named(), {"conv": ["conv"]}, example=example)
        seen: Any = surface(wrapped)
        assert seen.widths("conv") == (4,)


def test_a_module_without_blocks_is_told_which_layers_it_has() -> None:
    """As VGG is built: one list of convolutions between other things."""
    features = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()
    )
    net = nn.Sequential(OrderedDict(features=features, head=nn.Sequential(nn.Flatten())))
    with pytest.raises(ll.LensLocError, match=r"No blocks were found in this Sequential") as caught:
        ll.wrap(net)
    said = str(caught.value).partition("e.g. sites=")[2].rstrip(".")
    sites = ast.literal_eval(said)
    assert sites == {"layer": ["features.0", "features.3"]}
    assert ll.wrap(net, sites).layers("layer") == ("features.0", "features.3")
    with pytest.raises(ll.LensLocError, match=r"sites=\{'block': 'blocks.\{layer\}'\}"):
        ll.wrap(nn.Linear(2, 2))


def test_outputs_without_a_tensor_are_told_in_a_sentence() -> None:
    example = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ll.LensLocError, match=r"'inner.names'.*of type tuple and holds no tensor"):
        ll.wrap(Reads(), {"names": ["inner.names"]}, example=example)
    site = ll.ModuleSite(["inner"], part="third")
    with pytest.raises(ll.LensLocError, match="as its part 'third'"):
        ll.wrap(Reads(), {"names": site}, example=example)


def test_stimuli_that_a_module_cannot_take_are_told_in_a_sentence(contrast: ll.Contrast) -> None:
    net = planted_vision.Net()
    sizes = {"red": np.zeros((2, 12, 12, 3)), "other": np.zeros((2, 12, 13, 3))}
    unequal = ll.Contrast.from_images(sizes, target="red", control="other")
    with pytest.raises(ll.LensLocError, match=r"differ in size \(red 1: 12x12; other 1: 12x13\)"):
        ll.localize(ll.wrap(net, SITES), unequal, progress=False)
    with pytest.raises(ll.LensLocError, match="without preprocess"):
        ll.localize(ll.wrap(net, SITES), TEXTS, progress=False)
    with pytest.raises(ll.LensLocError, match="preprocess fails for <picture red 1>: ZeroDivision"):
        ll.localize(ll.wrap(net, SITES, preprocess=lambda _: 1 / 0), contrast, progress=False)
    with pytest.raises(ll.LensLocError, match="max_tokens has no effect"):
        ll.localize(ll.wrap(net, SITES), contrast, max_tokens=3, progress=False)
    with pytest.raises(ll.LensLocError, match="no pooling 'word-end' of a wrapped module"):
        ll.localize(ll.wrap(net, SITES), contrast, pooling="word-end", progress=False)


def test_language_models_take_no_pictures_and_modules_no_tokens(
    contrast: ll.Contrast, checkpoints: dict[str, Path]
) -> None:
    model = ll.load_model(str(checkpoints["llama"]), backend="transformers")
    with pytest.raises(ll.LensLocError, match="<picture red 1> is no text"):
        ll.localize(model, contrast, progress=False)
    wrapped = ll.wrap(planted_vision.Net(), SITES, example=torch.rand(2, 3, 12, 12))
    with pytest.raises(ll.LensLocError, match="is a wrapped module"):
        ll.tasks.perplexity(["a text"])(wrapped)
    mask = ll.UnitMask.from_addresses(["L0.conv.1"], (3, 7), widths=planted_vision.WIDTHS)
    with pytest.raises(ll.LensLocError, match="positions='last'"):
        ll.lesion(wrapped, mask, positions="last")
    with pytest.raises(ll.LensLocError, match="mode='write'"):
        ll.lesion(wrapped, mask, "write")
    full = ll.UnitMask.from_addresses(["L0.conv.1"], (3, 7))
    with pytest.raises(ll.LensLocError, match=r"does not fit.*3x\(3 to 7\)"):
        ll.lesion(wrapped, full)


def test_a_multiverse_asks_for_sites_that_a_module_has(contrast: ll.Contrast) -> None:
    model = ll.wrap(planted_vision.Net(), SITES, name="planted")
    task = ll.tasks.linear_probe(planted_vision.pictures(5), "conv", folds=2)
    with pytest.raises(ll.LensLocError, match="planted was wrapped without a site 'resid_post'"):
        ll.multiverse(model, contrast, [task], progress=False)


def test_surfaces_are_kept_on_the_wrapped_module() -> None:
    wrapped = ll.wrap(planted_vision.Net(), SITES)
    assert surface(wrapped) is surface(wrapped)
    assert surface(wrapped).kind == "module"


def test_the_page_on_any_model_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "any_model.md"
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    assert len(names["network"]) == 3


class Responds:
    """A task of one's own on a wrapped module: how strongly it answers."""

    name, settings = "answers", {"of": "red"}

    def __init__(self, pictures: Tensor) -> None:
        self._pictures = pictures

    def __call__(self, model: Any, *, progress: bool = False) -> ll.TaskResult:
        with torch.no_grad():
            values = model.eval()(self._pictures).abs().mean(dim=1)
        rows = [
            {"item": str(row), "group": "red", "value": value, "weight": 1.0}
            for row, value in enumerate(values.tolist())
        ]
        return ll.TaskResult(self.name, "size", pd.DataFrame(rows))


def test_a_study_of_lesions_takes_modules_and_tasks_of_ones_own(contrast: ll.Contrast) -> None:
    net = planted_vision.Net()
    wrapped = ll.wrap(net, SITES)
    conv = ll.localize(wrapped, contrast, progress=False)["conv"]
    task = Responds(everything(contrast)[:14])
    study = ll.lesion_study(
        wrapped, {"red": conv.top(k=1)}, [task], controls=ll.controls(seeds=range(3)),
        n_resamples=20, progress=False,
    )  # fmt: skip
    table = study.table.set_index("kind")
    with ll.lesion(wrapped, conv.top(k=1)):
        lesioned = task(wrapped).score
    assert float(table.loc["network", "score"]) == pytest.approx(lesioned)


@pytest.mark.parametrize("unit", ["channel", "element"])
def test_profiles_of_layers_of_different_width(unit: Any, contrast: ll.Contrast) -> None:
    model = ll.wrap(planted_vision.Net(), SITES, unit=unit)
    found = ll.localize(model, contrast, keep_responses=True, progress=False)
    network = found["conv"].top(k=3)
    profile = ll.response_profile(model, network, contrast, cross_validate=False, progress=False)
    values = found.responses["conv"].values[:, network.mask].abs().double().mean(dim=1)
    is_red = torch.tensor([label == "red" for label in contrast.labels])
    table = profile.table.set_index("condition")["absolute"]
    assert table["red"] == pytest.approx(float(values[is_red].mean()), rel=1e-5)
    assert table["other"] == pytest.approx(float(values[~is_red].mean()), rel=1e-5, abs=1e-9)


def test_wide_layers_run_few_stimuli_at_once_on_a_cpu() -> None:
    sizes: list[int] = []

    class Wide(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(3, channels, 1)])

        def forward(self, pictures: Tensor) -> Tensor:
            sizes.append(len(pictures))
            found: Tensor = self.convs[0](pictures)
            return found.mean(dim=(2, 3))

    random = np.random.default_rng(0).integers(0, 256, size=(8, 128, 128, 3), dtype=np.uint8)
    contrast = ll.Contrast.from_images({"a": random[:4], "b": random[4:]}, target="a", control="b")
    for channels, most in ((32, 2), (1, 8)):  # 2 MiB and 64 KiB per picture
        model = ll.wrap(Wide(channels), {"conv": "convs.{layer}"})
        ll.localize(model, contrast, progress=False)
        sizes.clear()
        ll.localize(model, contrast, progress=False)
        assert max(sizes) == most

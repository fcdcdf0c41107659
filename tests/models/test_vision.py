"""Models of pictures by name: EfficientNet from its package, transformers' own, timm's."""

import contextlib
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import planted_vision
import pytest
import torch
import transformers
from commands import run, run_json
from PIL import Image
from scipy import stats
from torch import Tensor, nn

import lensloc as ll
from lensloc.cli.seeing import default_network, refuse_writing, require_task
from lensloc.contrasts import face_pictures
from lensloc.models import describe, vision
from lensloc.models.block_sites import block_sites
from lensloc.models.names import may_see, sees_surely

N = 5


@pytest.fixture(scope="module")
def model() -> ll.Wrapped:
    found: ll.Wrapped = ll.load_model("efficientnet-lite0", device="cpu")
    return found


def few_faces() -> ll.Contrast:
    whole = ll.contrasts.faces()
    few = {name: pictures[:N] for name, pictures in whole.conditions.items()}
    return ll.Contrast("few", few, ("faces",), ("patches",))


def as_read(net: ll.Wrapped, contrast: ll.Contrast) -> Tensor:
    return torch.stack([net.reader(each) for each in contrast.texts])


def test_the_bundled_model_names_what_it_sees(model: ll.Wrapped) -> None:
    """That weights and preparation of pictures fit each other: a cat and a cup of coffee."""
    from skimage import data

    pictures = {"cat": [data.chelsea()], "coffee": [data.coffee()]}
    contrast = ll.Contrast.from_images(pictures, target="cat", control="coffee")
    with torch.no_grad():
        found = model(as_read(model, contrast)).softmax(dim=1)
    assert found.argmax(dim=1).tolist() == [285, 967]  # ImageNet: Egyptian cat, espresso
    card = describe(model)
    assert card.check.startswith("passed")
    assert card.name == "efficientnet-lite0"
    assert not card.untrained


def test_face_units_are_those_of_block_outputs_averaged_over_space(model: ll.Wrapped) -> None:
    contrast = few_faces()
    found = ll.localize(model, contrast, progress=False)["block"]
    assert found.shape[0] == 16
    assert found.widths is not None
    assert found.widths[0] == 16
    assert found.widths[-1] == 320
    seen: dict[int, Tensor] = {}
    blocks = list(model.module._blocks)  # type: ignore[arg-type]
    handles = [
        block.register_forward_hook(lambda _m, _i, out, layer=layer: seen.update({layer: out}))
        for layer, block in enumerate(blocks)
    ]
    with torch.no_grad():
        model.module(as_read(model, contrast))
    for handle in handles:
        handle.remove()
    for layer in (0, 8, 15):
        values = seen[layer].mean(dim=(2, 3)).abs().double().numpy()
        expected = stats.ttest_ind(values[:N], values[N:], equal_var=False).statistic
        np.testing.assert_allclose(
            found.t[layer, : found.widths[layer]], expected, rtol=2e-3, atol=1e-3
        )


def test_a_lesion_of_the_bundled_model_equals_a_hook_by_hand(model: ll.Wrapped) -> None:
    contrast = few_faces()
    pictures = as_read(model, contrast)[:2]
    widths = [block._bn2.num_features for block in model.module._blocks]  # type: ignore[union-attr]
    mask = ll.UnitMask.from_addresses(
        ["L3.block.7", "L3.block.8", "L15.block.38"], (16, 320), widths=widths
    )

    def zeroed(channels: list[int]) -> Any:
        def hook(_module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
            out = out.clone()
            out[:, channels] = 0
            return out

        return hook

    blocks = model.module._blocks
    handles = [
        blocks[3].register_forward_hook(zeroed([7, 8])),  # type: ignore[index]
        blocks[15].register_forward_hook(zeroed([38])),  # type: ignore[index]
    ]
    with torch.no_grad():
        expected = model(pictures)
        for handle in handles:
            handle.remove()
        with ll.lesion(model, mask) as lesion:
            torch.testing.assert_close(model(pictures), expected)
    assert lesion.effect.took_effect


def test_untrained_weights_are_those_of_a_seed(model: ll.Wrapped) -> None:
    first, again, other = (
        ll.load_model("efficientnet-lite0", untrained=True, seed=seed, device="cpu")
        for seed in (1, 1, 2)
    )
    hashes = [describe(each).weights_hash for each in (first, again, other, model)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert describe(first).untrained
    assert describe(first).seed == 1


def test_the_command_line_localizes_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    from skimage import data

    few = data.lfw_subset()[[*range(N), *range(100, 100 + N)]]
    some = SimpleNamespace(lfw_subset=lambda: few)
    monkeypatch.setattr(face_pictures, "needed", lambda *_: some)
    monkeypatch.setattr(face_pictures, "_N", N)
    command = ["localize", "--model-name", "efficientnet-lite0", "--network", "faces",
               "--device", "cpu", "--percentage", "1"]  # fmt: skip
    found = run_json(capfd, *command, "--out", "faces.safetensors")
    mask = ll.UnitMask.load("faces.safetensors")
    assert mask.site == "block"
    assert len(mask) == found["n_units"] == 18  # 1 % of the 1,808 channels
    assert found["network"] == "faces"
    assert found["shape"] == [16, 320]
    assert any("frequency" in sentence for sentence in found["warnings"])
    assert run("heatmap", "faces.safetensors", "--out", "faces.html") == 0
    assert "efficientnet-lite0" in Path("faces.html").read_text()
    assert run(*command, "--site", "head", "--out", "x.safetensors") == 2
    assert "without a site 'head'; its sites are block" in capfd.readouterr().err
    # Without a network's name, a model of pictures gets faces.
    assert run_json(capfd, *command[:3], *command[5:], "--out", "y.safetensors")["n_units"] == 18
    assert ll.UnitMask.load("y.safetensors") == mask
    texts = (*command[:3], "--network", "language", "--device", "cpu")
    assert run(*texts, "--out", "x.safetensors") == 2
    assert "reads pictures" in capfd.readouterr().err


def test_what_is_missing_or_damaged_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"nothing")
    with pytest.raises(ll.LensLocError, match="are not those of efficientnet-lite0"):
        vision._weights(damaged)
    with pytest.raises(ll.LensLocError, match="cannot be read"):
        vision._weights(tmp_path / "none.pth")
    for given, words in (
        ({"backend": "hooked"}, "backend= has no effect on efficientnet-lite0"),
        ({"tokenizer": object()}, "tokenizer= has no effect"),
        ({"seed": 3}, "seed=3 has no effect on trained weights"),
        ({"revision": "main"}, "revision= is of a model on the hub"),
    ):
        with pytest.raises(ll.LensLocError, match=words):
            ll.load_model("efficientnet-lite0", **given)
    real = importlib.import_module

    def without(name: str, *more: Any) -> Any:
        if name.startswith(("skimage", "efficientnet", "timm")):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ll.LensLocError, match=r'skimage, which is .* install "lensloc\[vision\]"'):
        ll.contrasts.faces()
    with pytest.raises(ll.LensLocError, match=r'lite_pytorch, which .* "lensloc\[vision\]"'):
        ll.load_model("efficientnet-lite0")
    with pytest.raises(ll.LensLocError, match='timm, which is not installed; run: pip install "ti'):
        ll.load_model("timm:resnet18")


def test_scrambled_faces_keep_brightness_and_power() -> None:
    contrast = ll.contrasts.faces()
    both = contrast.with_roles(target="faces", control="scrambled")
    beside, against = (each.balance().differences for each in (both, contrast))
    assert abs(beside["luminance"]) < 0.05 < 0.5 < abs(against["luminance"])
    assert abs(beside["frequency"]) < abs(against["frequency"]) / 3
    pictures = np.random.default_rng(1).random((2, 9, 8)) * 0.1 + 0.45
    made = face_pictures.scrambled(pictures)
    power = [np.abs(np.fft.fft2(each)) for each in (pictures, made)]
    np.testing.assert_allclose(power[0], power[1], rtol=1e-6, atol=1e-9)
    assert np.abs(made - pictures).max() > 0.01
    assert contrast.content_hash == ll.contrasts.get("faces").content_hash
    assert "faces" in ll.contrasts.list()


# -- blocks by structure, and models of transformers -----------------------------------------------

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
SEES: dict[str, Any] = {**SMALL, "image_size": 12, "patch_size": 4}


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SEES))


def convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 2, 1])
    return transformers.ConvNextForImageClassification(config)


def clip() -> Any:
    config = transformers.CLIPConfig(
        vision_config=SEES,
        text_config={**SMALL, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2},
    )
    return transformers.CLIPModel(config)


def clip_tower() -> Any:
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SEES))


def processor(kind: str) -> Any:
    size: Any = {"height": 12, "width": 12}
    if kind == "vit":
        return transformers.ViTImageProcessor(size=size)
    if kind == "convnext":
        return transformers.ConvNextImageProcessor(size={"shortest_edge": 32})
    return transformers.CLIPImageProcessor(size={"shortest_edge": 12}, crop_size=size)


@pytest.mark.parametrize(
    ("make", "site", "n_layers"),
    [
        (vit, "resid_post", 2),
        (convnext, "block", 5),
        (clip, "resid_post", 2),
        (clip_tower, "resid_post", 2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_checkpoint_of_transformers_that_sees_comes_wrapped(
    make: Any, site: str, n_layers: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    kind = make.__name__
    original = make().eval()
    folder = tmp_path / "kept"
    original.save_pretrained(folder)
    processor(kind).save_pretrained(folder)
    assert may_see(str(folder))
    model = ll.load_model(str(folder), device="cpu")
    assert isinstance(model, ll.Wrapped)
    assert list(model.sites) == [site]
    assert len(model.layers(site)) == n_layers
    contrast = ll.Contrast.from_images(
        planted_vision.pictures(n=3), target="red", control="other", name="redness"
    )
    captured = ll.capture(model, contrast.texts, contrast.labels, [site], progress=False)
    images = [each.load() for each in contrast.texts]  # type: ignore[attr-defined]
    given = processor(kind)(images=images, return_tensors="pt")
    tower = original.vision_model if kind == "clip" else original
    with torch.no_grad():
        states = tower(**given, output_hidden_states=True).hidden_states
    values = captured.responses[site].values
    places = (2, 3) if kind == "convnext" else 1
    expected = states[-1].mean(dim=places)
    torch.testing.assert_close(values[:, -1, : expected.shape[1]], expected, rtol=1e-3, atol=1e-4)
    untrained = ll.load_model(str(folder), untrained=True, seed=3, device="cpu")
    assert describe(untrained).weights_hash != describe(model).weights_hash
    with pytest.raises(ll.LensLocError, match="backend= has no effect on"):
        ll.load_model(str(folder), backend="bridge")


@pytest.mark.parametrize(
    ("kind", "of_pictures"),
    [("segformer", True), ("poolformer", True), ("swin", True), ("siglip_vision_model", True),
     ("gemma3", False), ("qwen2_vl", False), ("llava", False), ("bert", False)],
)  # fmt: skip
def test_a_folder_is_of_pictures_if_its_model_sees_and_writes_no_text(
    kind: str, of_pictures: bool, tmp_path: Path
) -> None:
    transformers.AutoConfig.for_model(kind).save_pretrained(tmp_path)
    folder = str(tmp_path)
    assert vision.sees(folder) == sees_surely(folder) == may_see(folder) == of_pictures
    assert default_network(folder, ["language"]) == ["faces" if of_pictures else "language"]
    for refuse in (lambda: require_task(folder, ["minimal-pairs"]), lambda: refuse_writing(folder)):
        with pytest.raises(ll.LensLocError) if of_pictures else contextlib.nullcontext():
            refuse()


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    vit().save_pretrained(tmp_path)
    processor("vit").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(key for key in weights if "layers.1" in key or "layer.1" in key)
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ll.LensLocError, match="lacks 1 of the weights"):
        ll.load_model(str(tmp_path))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.two(self.one(x).relu())
        return found


def test_blocks_are_found_by_structure() -> None:
    t5 = transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, vocab_size=99)
    )
    assert block_sites(t5) == {
        "resid_encoder": ("encoder.block.0", "encoder.block.1"),
        "resid_decoder": ("decoder.block.0", "decoder.block.1"),
    }
    assert list(block_sites(clip())) == ["resid_text_model", "resid_vision_model"]
    stages = nn.Sequential()
    for number in (1, 2):
        stages.add_module(f"layer{number}", nn.Sequential(Block(4 * number), Block(4 * number)))
    assert block_sites(stages) == {"block": ("layer1.0", "layer1.1", "layer2.0", "layer2.1")}
    assert ll.wrap(stages).sites["block"].modules == "layer*.{layer}"
    with pytest.raises(ll.LensLocError, match="No blocks were found in this Net"):
        ll.wrap(planted_vision.Net())


@pytest.mark.parametrize(
    ("name", "site", "n_layers"),
    [("resnet18", "block", 8), ("vit_tiny_patch16_224", "resid_post", 12),
     ("efficientnet_lite0", "block", 16)],
)  # fmt: skip
def test_models_of_timm_by_name(name: str, site: str, n_layers: int) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ll.LensLocError, match="timm has no model 'resnat18'"):
        ll.load_model("timm:resnat18")
    model = ll.load_model(f"timm:{name}", untrained=True, device="cpu")
    assert list(model.sites) == [site]
    assert len(model.layers(site)) == n_layers
    picture = Image.fromarray(np.zeros((30, 20, 3), dtype=np.uint8))
    assert model.reader.preprocess(picture).shape == (3, 224, 224)

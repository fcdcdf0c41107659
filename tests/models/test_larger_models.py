"""Models larger than a device: spread, offloaded, sharded over ranks; the same units everywhere."""

import contextlib
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import transformers
from ranks import as_ranks
from tiny_models import SIZES, make_checkpoint

import lensloc as ll
from lensloc.attribution import running
from lensloc.errors import unwarned
from lensloc.forward import capturing
from lensloc.forward.memory import Budget
from lensloc.lesions import resuming
from lensloc.lesions.resuming import Residuals
from lensloc.models import describe, identity
from lensloc.models.plain import Plain
from lensloc.models.surface import picked
from lensloc.tasks import scoring
from lensloc.tasks.scoring import Scored, token_log_probs

pytestmark = pytest.mark.usefixtures("one_thread")

SITES = ["resid_mid", "resid_post", "mlp_pre", "mlp_post", "q", "k", "z", "head"]
LESIONED = ("resid_post", "mlp_post", "q", "head")
TEXT = "the old gardener watered every plant before the sun came up"
MORE = {"num_key_value_heads": 2, "head_dim": 8}
# 49 neurons, of which two ranks have not the same number.
UNEVEN = {**SIZES, "intermediate_size": 49, "num_key_value_heads": 2}


def found_in(model: Any, contrast: ll.Contrast) -> dict[str, Any]:
    """Units, lesioned logits, counts, probe and identity of a model."""
    found: dict[str, Any] = {}
    with unwarned():
        maps = ll.localize(model, contrast, SITES, progress=False)
        for site, each in maps.items():
            network = each.top(k=5)
            found[f"units of {site}"] = network.addresses
            found[f"t of {site}"] = each.t
            if site in LESIONED:
                with ll.lesion(model, network):
                    found[f"lesion of {site}"] = logits(model)
        with ll.lesion(model, maps["mlp_post"].top(k=5), mode="mean", reference=contrast):
            found["mean lesion"] = logits(model)
        texts = {"a": [TEXT] * 2, "b": ["glorbix fendal mopi strane"] * 2}
        counts = ll.lape.record(model, texts, progress=False).counts
        found["counts"] = counts.tolist()
        probe = ll.tasks.linear_probe(contrast, "mlp_post", folds=2)(model)
        found["probe"] = probe.items["value"].tolist()
        attributed = ll.attribute(model, contrast, "grad_x_act", "resid_post", progress=False)
        found["attribution"] = attributed.score
    found["hash"] = describe(model).weights_hash
    found["check"] = describe(model).check.split(" ")[0]
    return found


def logits(model: Any) -> torch.Tensor:
    ids = model.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        whole: torch.Tensor = model(ids).logits
    return whole


def require_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
        else:
            assert found[name] == value, name


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("larger")
    return {
        "llama": make_checkpoint(folder / "llama", transformers.LlamaConfig(**UNEVEN)),
        "qwen3": make_checkpoint(folder / "qwen3", transformers.Qwen3Config(**SIZES, **MORE)),
    }


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_two_tensor_parallel_ranks_are_one_model(
    name: str, sharded: dict[str, Path], small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    def work(rank: int) -> None:
        model = ll.load_model(sharded[name], tp_plan="auto", progress=False)
        found = found_in(model, small_contrast)
        down = model.model.layers[0].mlp.down_proj.weight
        found["own"] = tuple(down.to_local().shape)
        try:
            ll.attribute(model, small_contrast, "grad_x_act", "mlp_post", progress=False)
        except ll.LensLocError as error:
            found["refused"] = str(error)
        torch.save(found, tmp_path / f"{rank}.pt")

    assert as_ranks(work) == [0, 0]
    whole = ll.load_model(sharded[name], backend="transformers")
    expected = found_in(whole, small_contrast)
    neurons = whole.config.intermediate_size
    shares = []
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        shares.append(found.pop("own")[1])
        refused = found.pop("refused")
        assert "Gradients are not known at a site that is sharded" in refused
        assert "torch.no_grad()" in refused
        require_same(found, expected)
    assert sum(shares) == neurons
    assert min(shares) < neurons


@pytest.mark.parametrize(("heads", "of_keys"), [(3, 3), (4, 1)])
def test_heads_that_ranks_cannot_share_are_refused(
    heads: int, of_keys: int, tmp_path: Path
) -> None:
    sizes = {**SIZES, "num_attention_heads": heads, "num_key_value_heads": of_keys, "head_dim": 6}
    folder = make_checkpoint(tmp_path / "odd", transformers.MistralConfig(**sizes))

    def work(rank: int) -> None:
        with pytest.raises(ll.LensLocError, match=f"^{heads} attention heads with {of_keys} of"):
            ll.load_model(folder, tp_plan="auto", progress=False)

    assert as_ranks(work) == [0, 0]


def test_tensor_parallel_ranks_with_different_memory_run_the_same_passes(
    sharded: dict[str, Path], tmp_path: Path
) -> None:
    """A pass that one rank began in the middle, and the other at the tokens, would be neither's."""
    sequences = [Scored((5, 6, 7, *range(n, n + 6))) for n in range(20, 80, 6)]
    mask = ll.UnitMask.from_addresses(["L2.resid_post.3"], shape=(3, 32))

    def scores(model: Any) -> list[torch.Tensor]:
        residuals, found = Residuals(model), []
        for planned in (contextlib.nullcontext(), ll.lesion(model, mask, check=False)):
            with planned, residuals.used():
                found += token_log_probs(model, sequences, progress=False)
        return [torch.from_numpy(each) for each in found]

    def work(rank: int) -> None:
        model = ll.load_model(sharded["llama"], tp_plan="auto", progress=False)
        resuming._MOST_ON_CPU = 2**30 if rank else 0
        running._BUDGET = Budget(on_cpu=2**30 if rank else 2**20, share=0.5)
        scoring._LOGITS_BUDGET = Budget(on_cpu=2**30 if rank else 1, share=0.5)
        budget = running.token_budget(model, 3, 20)
        torch.save((budget, scores(model)), tmp_path / f"{rank}.pt")

    assert as_ranks(work) == [0, 0]
    expected = scores(ll.load_model(sharded["llama"], backend="transformers"))
    (budget, found), (other, others) = (torch.load(tmp_path / f"{n}.pt") for n in (0, 1))
    assert budget == other
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(others, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "share"), [("llama", 0.6), ("gpt2", 0.6), ("gpt2", 0.1)])
def test_weights_in_memory_and_on_disk_are_one_model(
    name: str,
    share: float,
    checkpoints: dict[str, Path],
    small_contrast: ll.Contrast,
    tmp_path: Path,
) -> None:
    """Of the smallest share, the embedding lies on disk, too."""
    whole = ll.load_model(checkpoints[name], backend="transformers")
    size = sum(weight.numel() * 4 for weight in whole.parameters())
    spread = ll.load_model(
        checkpoints[name], device_map="auto", max_memory={"cpu": int(size * share)},
        offload_folder=str(tmp_path),
    )  # fmt: skip
    assert spread.device.type == ("cpu" if share > 0.5 else "meta")
    assert "disk" in spread.hf_device_map.values()
    require_same(found_in(spread, small_contrast), found_in(whole, small_contrast))


def test_layers_on_different_devices_are_pooled_on_one(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device ``meta`` stands for a second one: nothing is computed there, but mixing fails."""
    model = ll.load_model(checkpoints["llama"], backend="transformers")
    runner = capturing._runner(model, ["resid_post"], "last-token", False, None, "model")
    texts = runner.tokenize([TEXT, "the old"])

    def capture(self: Any, tokens: torch.Tensor, points: Any) -> dict[str, torch.Tensor]:
        return {
            point: torch.zeros(*tokens.shape, 32, device="cpu" if number else "meta")
            for number, point in enumerate(points)
        }

    monkeypatch.setattr(Plain, "capture", capture)
    monkeypatch.setattr(Plain, "device", torch.device("meta"))
    pooled = runner._run_batch(texts)["resid_post"]
    assert pooled.shape == (2, 3, 32)
    assert pooled.device.type == "meta"


def test_logits_are_picked_wherever_they_lie() -> None:
    given = torch.arange(24.0).reshape(2, 3, 4)
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1])
    found = picked(given, rows, positions)(slice(1, 3))
    assert found.tolist() == [given[1, 0].tolist(), given[1, 1].tolist()]
    assert picked(given.to("meta"), rows, positions)(slice(0, 2)).device.type == "meta"


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_weights_that_are_moved_are_hashed_once(
    where: str,
    name: str,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """accelerate puts new objects in the place of weights with every pass; gpt2 ties two."""
    hashed: list[int] = []
    run = identity._hashed

    def count(model: Any) -> str:
        hashed.append(1)
        return run(model)

    monkeypatch.setattr(identity, "_hashed", count)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[name]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints[name])
    whole = identity.weights_hash(ll.load_model(checkpoints[name], backend="transformers"))
    cpu = torch.device("cpu")
    if where == "disk":
        accelerate.disk_offload(model, str(tmp_path / "moved"), execution_device=cpu)
    else:
        accelerate.cpu_offload(model, execution_device=cpu)
    loaded: Any = ll.load_model(model, tokenizer=tokenizer)
    logits(loaded)
    assert identity.weights_hash(loaded) == whole
    hashed.clear()
    for _ in range(2):
        logits(loaded)
        assert identity.weights_hash(loaded) == whole
    assert not hashed
    # What is changed where it is kept is seen.
    if where == "disk":
        file = next((tmp_path / "moved").glob("*mlp*.dat"))
        content = bytearray(file.read_bytes())
        content[3] ^= 1
        file.write_bytes(content)
    else:
        with torch.no_grad():
            part = "model.layers.0.mlp.up_proj" if name == "llama" else "transformer.h.0.mlp.c_fc"
            loaded.get_submodule(part)._hf_hook.weights_map["weight"][0, 0] += 1
    assert identity.weights_hash(loaded) != whole
    assert hashed == [1]

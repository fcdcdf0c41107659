"""What makes a model another one: weights, configuration, tokenizer; and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc import LensLocError, LensLocWarning
from lensloc.models import describe, identity
from lensloc.models.changes import in_parts
from lensloc.models.identity import config_hash, tokenizer_hash, weights_hash
from lensloc.studies.measuring import Runner
from lensloc.studies.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["the old gardener watered every plant", "nobody in the village remembered"]


@pytest.fixture
def copied(tmp_path: Path, checkpoints: dict[str, Path]) -> Callable[..., Path]:
    """A copy of a checkpoint elsewhere, with another configuration or tokenizer."""

    def copy(name: str = "copy", added: tuple[str, ...] = (), **fields: Any) -> Path:
        folder = shutil.copytree(checkpoints["llama"], tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        if "rope_theta" in fields:
            fields = {"rope_parameters": config["rope_parameters"] | fields}
        (folder / "config.json").write_text(json.dumps(config | fields))
        if added:
            tokenizer = json.loads((folder / "tokenizer.json").read_text())
            merges = tokenizer["model"]["merges"]
            tokenizer["model"]["merges"] = [merge for merge in merges if list(merge) != list(added)]
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        return folder

    return copy


@pytest.fixture
def merge(checkpoints: dict[str, Path]) -> tuple[str, ...]:
    """The last merge of the tokenizer, without which it cuts some words otherwise."""
    content = json.loads((checkpoints["llama"] / "tokenizer.json").read_text())
    return tuple(content["model"]["merges"][-1])


CHANGES: list[dict[str, Any]] = [
    {"rope_theta": 500.0},
    {"hidden_act": "gelu"},
    {"rms_norm_eps": 1e-2},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_store_knows_configurations_apart(
    change: dict[str, Any], backend: Any, copied: Any, tmp_path: Path, small_contrast: Any,
    checkpoints: dict[str, Path],
) -> None:  # fmt: skip
    store = Store.at(tmp_path / "store")
    first = ll.load_model(checkpoints["llama"], backend=backend)
    other = ll.load_model(copied(**change), backend=backend)
    assert describe(first).weights_hash == describe(other).weights_hash
    options: dict[str, Any] = {"progress": False, "store": store}
    before = ll.localize(first, small_contrast, **options)
    found = ll.localize(other, small_contrast, **options)
    expected = ll.localize(other, small_contrast, progress=False)
    assert found.from_store == ()
    assert torch.equal(found["resid_post"].t, expected["resid_post"].t)
    assert not torch.equal(found["resid_post"].t, before["resid_post"].t)
    assert ll.localize(other, small_contrast, **options).from_store == ("resid_post",)
    task = ll.tasks.perplexity(TEXTS)
    scores = [
        Runner(model, describe(model), store).measure(task)[0].score for model in (first, other)
    ]
    assert scores[1] == task(other).score != scores[0]


def test_a_store_knows_tokenizers_apart(
    copied: Any, merge: Any, tmp_path: Path, small_contrast: Any, tiny_llama: Any
) -> None:
    store = Store.at(tmp_path / "store")
    other = ll.load_model(copied(added=merge))
    before = ll.localize(tiny_llama, small_contrast, progress=False, store=store)
    found = ll.localize(other, small_contrast, progress=False, store=store)
    assert found.from_store == ()
    assert found.n_tokens == ll.localize(other, small_contrast, progress=False).n_tokens
    assert found.n_tokens != before.n_tokens


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_names_folders_and_versions_make_no_other_model(
    backend: Any, copied: Any, checkpoints: dict[str, Path]
) -> None:
    first = ll.load_model(checkpoints["llama"], backend=backend)
    folder = copied(
        "elsewhere", transformers_version="4.1.0", _name_or_path="a/b", attention_dropout=0.5,
        use_cache=False, torch_dtype="float16",
    )  # fmt: skip
    other = ll.load_model(folder, backend=backend)
    assert describe(first).hashes == describe(other).hashes
    assert describe(first).name != describe(other).name


def test_a_tokenizer_in_use_stays_the_same_one(tiny_llama: Any) -> None:
    tokenizer = tiny_llama.tokenizer
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)
    object.__delattr__(tokenizer, "lensloc_hash")
    assert tokenizer_hash(tokenizer) == before


def test_a_model_in_use_keeps_its_card(checkpoints: dict[str, Path], backend: Any) -> None:
    model = ll.load_model(checkpoints["gpt2"], backend=backend)
    card = describe(model)
    with torch.no_grad():
        model("the old gardener")
        model.generate("the old", max_new_tokens=2, verbose=False)
        model.run_with_cache(["all", "the old gardener"])
    assert describe(model) is card


def test_what_is_changed_on_a_model_in_use_is_noticed(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], untrained=True, seed=5)
    card = describe(model)
    assert describe(model) is card
    model.tokenizer.add_tokens(["<new>"])
    second = describe(model)
    assert second.tokenizer_hash != card.tokenizer_hash
    model.cfg.default_prepend_bos = True
    third = describe(model)
    assert third.prepends_bos
    # Its weights are still those that were loaded.
    assert (third.name, third.untrained, third.seed) == (card.name, True, 5)
    model.cfg.eps = 0.1
    assert config_hash(model) != card.config_hash
    with torch.no_grad():
        model.embed.W_E.add_(1)
    assert describe(model).processing == "as given"


def test_a_mask_of_another_configuration_warns(
    copied: Any, tiny_llama: Any, small_contrast: Any, merge: Any
) -> None:
    mask = ll.localize(tiny_llama, small_contrast, progress=False).top(k=3)
    for folder, parts in (
        (copied("a", hidden_act="gelu"), "its configuration differs"),
        (copied("b", added=merge), "its tokenizer differs"),
        (copied("c", added=merge, hidden_act="gelu"), "its configuration and tokenizer differ"),
    ):
        with pytest.warns(LensLocWarning, match=f"made on another model .*{parts}"):
            ll.lesion(ll.load_model(folder), mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ll.lesion(ll.load_model(copied("d")), mask)


def test_counts_and_checkpoints_of_another_configuration_are_refused(
    copied: Any, tiny_llama: Any, tmp_path: Path, merge: Any
) -> None:
    path = tmp_path / "counts.part"
    counts = ll.lape.record(tiny_llama, {"a": TEXTS}, checkpoint=path, progress=False)
    for folder, word in (
        (copied("a", hidden_act="gelu"), "configurations of the model"),
        (copied("b", added=merge), "tokenizers"),
    ):
        other = ll.load_model(folder)
        with pytest.raises(LensLocError, match="made with another model"):
            ll.lape.record(other, {"a": TEXTS}, checkpoint=path, progress=False)
        with pytest.raises(LensLocError, match=f"Counts of different {word}"):
            counts + ll.lape.record(other, {"a": TEXTS[::-1]}, progress=False)


def test_provenance_knows_the_parts(tiny_llama: Any, small_contrast: Any) -> None:
    made = ll.localize(tiny_llama, small_contrast, progress=False)["resid_post"].provenance
    card = describe(tiny_llama)
    assert (
        made.model_hashes
        == card.hashes
        == {
            "weights": card.weights_hash,
            "configuration": card.config_hash,
            "tokenizer": card.tokenizer_hash,
        }
    )
    assert made.seeded("selection", 3).seeds == ("selection 3",)


def test_the_command_line_never_asks(tmp_path: Path) -> None:
    """A folder with code of its own: one sentence, and standard input is left for others."""
    answer = "y\n" * 9
    folder = make_checkpoint(tmp_path / "m" / "remote", CONFIGS["llama"]())
    (folder / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import LlamaConfig\n"
        "Path(__file__).with_name('ran').touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    environment = os.environ | {
        "LENSLOC_CACHE": str(tmp_path / "cache"), "HF_MODULES_CACHE": str(tmp_path / "modules"),
    }  # fmt: skip
    command = 'python -m lensloc localize --model-name m/remote; echo "status $?"; cat'
    run = subprocess.run(
        command.replace("python", sys.executable, 1), shell=True, input=answer, text=True,
        capture_output=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert run.stdout == f"status 2\n{answer}"
    assert "--trust-remote-code" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.rglob("ran"))


def test_a_models_folder_that_was_copied_hits_the_store(
    copied: Any, tiny_llama: Any, tmp_path: Path, small_contrast: Any
) -> None:
    store = Store.at(tmp_path / "store")
    ll.localize(tiny_llama, small_contrast, progress=False, store=store)
    other = ll.load_model(copied("under-another-name"))
    again = ll.localize(other, small_contrast, progress=False, store=store)
    assert again.from_store == ("resid_post",)


def test_slow_and_unusual_tokenizers_have_a_hash() -> None:
    byte_level = transformers.ByT5Tokenizer()
    assert tokenizer_hash(byte_level) == tokenizer_hash(transformers.ByT5Tokenizer())
    assert tokenizer_hash(byte_level) != tokenizer_hash(transformers.ByT5Tokenizer(extra_ids=3))
    assert tokenizer_hash(None) == ""


# -- cheap -----------------------------------------------------------------------------------------


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models whose weights were read for their hash."""
    found: list[Any] = []
    own = identity._hashed

    def counted(model: Any) -> str:
        found.append(model)
        return own(model)

    monkeypatch.setattr(identity, "_hashed", counted)
    return found


def every_hash(model: Any) -> str:
    """The hash as it was made before it was kept: of whole copies, without chunks."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
        tensor = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"xxh3:{digest.hexdigest()}"


KINDS = ["hooked", "bridge", "transformers"]


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_weights_are_read_once(
    name: str, backend: Any, checkpoints: dict[str, Path], readings: list[Any],
    small_contrast: Any, tmp_path: Path,
) -> None:  # fmt: skip
    model = ll.load_model(checkpoints[name], backend=backend)
    card = describe(model)
    found = ll.localize(model, small_contrast, progress=False, store=tmp_path)
    with ll.lesion(model, found.top(k=3)), torch.no_grad():
        model(torch.arange(9)[None])
        assert describe(model).weights_hash == card.weights_hash
    ll.attribute(model, small_contrast, progress=False) if backend == "hooked" else None
    assert describe(model).hashes == card.hashes
    assert readings == [model]
    assert card.weights_hash == every_hash(model)


def _in_place(model: Any, weight: torch.nn.Parameter) -> None:
    with torch.no_grad():
        weight.add_(1)


def _row(model: Any, weight: torch.nn.Parameter) -> None:
    weight.data[3] = 0


def _column(model: Any, weight: torch.nn.Parameter) -> None:
    weight.data[..., 2] += 1


def _all_data(model: Any, weight: torch.nn.Parameter) -> None:
    weight.data.mul_(2)


def _other_data(model: Any, weight: torch.nn.Parameter) -> None:
    weight.data = torch.ones_like(weight)


def _state_dict(model: Any, weight: torch.nn.Parameter) -> None:
    model.load_state_dict({key: value + 1 for key, value in model.state_dict().items()})


def _replaced(model: Any, weight: torch.nn.Parameter) -> None:
    names = {id(value): name for name, value in model.named_parameters()}
    path, _, leaf = names[id(weight)].rpartition(".")
    setattr(model.get_submodule(path), leaf, torch.nn.Parameter(weight.detach() + 1))


def _step(model: Any, weight: torch.nn.Parameter) -> None:
    weight.requires_grad_(True)
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.1).step()


def _dtype(model: Any, weight: torch.nn.Parameter) -> None:
    torch.nn.Module.to(model, torch.float64)


@pytest.mark.parametrize("backend", ["hooked", "transformers"])
@pytest.mark.parametrize(
    "change",
    [_in_place, _row, _column, _all_data, _other_data, _state_dict, _replaced, _step, _dtype],
)
def test_changed_weights_are_read_again(
    change: Callable[[Any, torch.nn.Parameter], None], backend: Any,
    checkpoints: dict[str, Path], readings: list[Any],
) -> None:  # fmt: skip
    model = ll.load_model(checkpoints["llama"], backend=backend)
    before = weights_hash(model)
    for number, weight in enumerate([w for w in model.parameters() if w.ndim > 1][:3], start=1):
        change(model, weight)
        after = weights_hash(model)
        assert after == every_hash(model) != before
        assert weights_hash(model) == after
        if change in (_state_dict, _dtype):
            break
        assert len(readings) == 1 + number
        before = after


def test_what_changes_no_weight_reads_none_again(
    checkpoints: dict[str, Path], readings: list[Any]
) -> None:
    model = ll.load_model(checkpoints["llama"], backend="transformers")
    before = weights_hash(model)
    model.train().eval()
    model.requires_grad_(False)
    model.float()
    model.generate(torch.arange(4)[None], max_new_tokens=2, do_sample=False)
    handle = model.model.layers[0].register_forward_hook(lambda *_: None)
    handle.remove()
    assert weights_hash(model) == before
    assert len(readings) == 1
    # A copy is a model of its own, with the same weights.
    import copy

    assert weights_hash(copy.deepcopy(model)) == before


def test_numbers_that_lie_in_any_order_are_hashed_in_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lensloc.models.changes._AT_ONCE", 100)
    draws = torch.randn(3, 5, 7, 2)
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2), (0, 2, 1, 3), (2, 3, 0, 1)):
        tensor = draws.permute(order)
        for part in (tensor, tensor[1:], tensor[0], tensor[0, 0], tensor[0, 0, 0], tensor[:0]):
            found = [piece.reshape(-1) for piece in in_parts(part)]
            assert all(piece.is_contiguous() for piece in found)
            assert torch.equal(torch.cat([torch.empty(0), *found]), part.reshape(-1))

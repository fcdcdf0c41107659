"""One surface for every kind of model: the same units and lesions, whatever holds the model."""

import os
import subprocess
import sys
from collections.abc import Iterator
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

# Rotary embeddings are computed in float32, whatever the weights are.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    return make_checkpoint(root / "llama", CONFIGS["llama"]())


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str, Any]:
    """One model per kind, which every test leaves as it was."""
    return {kind: kinds.load(folder, kind) for kind in kinds.KINDS}


@pytest.fixture(scope="module")
def plain(loaded: dict[str, Any]) -> Any:
    return loaded["transformers"]


@pytest.fixture
def fresh(folder: Path) -> Any:
    """A model of its own: transformers leaves hooks on one whose hidden states were asked for."""
    return kinds.load(folder, "transformers")


def some_units(model: Any, site: str, share: int = 7) -> UnitMask:
    values = ll.capture(model, CORPUS[:1], ["one"], [site], progress=False).responses[site].values
    mask = torch.zeros(values.shape[1:], dtype=torch.bool)
    mask.view(-1)[::share] = True
    return UnitMask(site, mask)


@pytest.mark.parametrize("name", list(kinds.ARCHITECTURES))
def test_every_kind_has_the_same_units_and_the_same_lesions(name: str, tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / name, kinds.ARCHITECTURES[name]())
    seen = {kind: kinds.look(kinds.load(path, kind)) for kind in kinds.KINDS}
    told = kinds.differences(seen)
    assert told == {kind: {} for kind in kinds.KINDS}
    assert all(len(found.lesioned) > 10 for found in seen.values())
    page = (DOCS / "models.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {kinds.CLASSES[name]} |")]
    columns = dict(zip(("hooked", "bridge", "transformers"), row.split("|")[2:5], strict=True))
    for kind in kinds.KINDS:
        assert columns[kind].strip() == kinds.cell(seen[kind], told[kind])


def test_block_outputs_are_those_of_transformers(plain: Any) -> None:
    captured = ll.capture(
        plain, CORPUS, ["one"] * len(CORPUS), ["resid_pre", "resid_post"], progress=False
    )
    for row, text in enumerate(CORPUS):
        ids = torch.tensor([plain.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = plain(ids, output_hidden_states=True).hidden_states
        before = captured.responses["resid_pre"].values[row]
        torch.testing.assert_close(before, torch.stack([h[0, -1] for h in hidden[:-1]]))
        # The last of transformers' hidden states is behind the final norm.
        after = captured.responses["resid_post"].values[row, :-1]
        torch.testing.assert_close(after, torch.stack([h[0, -1] for h in hidden[1:-1]]))


def test_a_lesion_holds_in_generate_and_in_pipelines(plain: Any) -> None:
    mask = some_units(plain, "resid_post", 3)
    ids = torch.tensor([plain.tokenizer(CORPUS[0])["input_ids"][:5]])

    def by_hand() -> list[int]:
        """Greedy, without a cache, each block's output set to zero by a hook of torch's own."""

        def hook(units: torch.Tensor) -> Any:
            def zero(module: Any, inputs: Any, output: Any) -> Any:
                whole = output[0] if isinstance(output, tuple) else output
                whole = whole.masked_fill(units, 0.0)
                return (whole, *output[1:]) if isinstance(output, tuple) else whole

            return zero

        handles = [
            block.register_forward_hook(hook(units))
            for block, units in zip(plain.model.layers, mask.mask, strict=True)
        ]
        tokens = ids
        for _ in range(6):
            with torch.no_grad():
                logits = plain(tokens, use_cache=False).logits[0, -1]
            tokens = torch.cat([tokens, logits.argmax()[None, None]], dim=1)
        for handle in handles:
            handle.remove()
        return tokens[0, ids.shape[1] :].tolist()

    expected = by_hand()
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    intact = plain.generate(ids, **options)[0, ids.shape[1] :].tolist()
    with ll.lesion(plain, mask, check=False):
        written = plain.generate(ids, **options)[0, ids.shape[1] :].tolist()
        pipeline = transformers.pipeline("text-generation", model=plain, tokenizer=plain.tokenizer)
        text = plain.tokenizer.decode(ids[0])
        found = pipeline(text, return_full_text=False, **options)[0]["generated_text"]
    assert written == expected != intact
    assert found == plain.tokenizer.decode(expected, skip_special_tokens=True)
    assert plain.generate(ids, **options)[0, ids.shape[1] :].tolist() == intact


MODES: list[tuple[str, str, dict[str, Any]]] = [
    ("zero", "head", {}),
    ("zero", "mlp_post", {"positions": "last"}),
    ("mean", "head", {"reference": True}),
    ("resample", "resid_mid", {"reference": True, "seed": 3}),
    ("scale", "resid_mid", {"scale": 2.0}),
    ("clamp", "mlp_pre", {"value": 0.7}),
    ("clamp", "head", {"quantile": 0.9, "reference": True}),
    ("write", "resid_mid", {}),
    ("write", "resid_post", {}),
]


@pytest.mark.parametrize(("mode", "site", "options"), MODES)
def test_every_mode_does_the_same_in_every_kind(
    loaded: dict[str, Any], mode: Any, site: str, options: dict[str, Any]
) -> None:
    found = []
    for model in loaded.values():
        given = options | ({"reference": kinds.contrast()} if options.get("reference") else {})
        seen = surface(model)
        tokens = torch.tensor([seen.tokenizer(CORPUS[1])["input_ids"]])
        intact = seen.logits(tokens).detach()
        with ll.lesion(model, some_units(model, site), mode, **given) as lesion, torch.no_grad():
            found.append(seen.logits(tokens))
        assert lesion.effect.took_effect
        assert not torch.allclose(found[-1], intact)
        assert torch.equal(seen.logits(tokens), intact)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], **CLOSE)


def test_tasks_attribution_counts_and_writing_are_the_same_in_every_kind(
    loaded: dict[str, Any], tmp_path: Path
) -> None:
    pairs = write_csv(
        tmp_path / "pairs.csv",
        [{"sentence_good": text, "sentence_bad": text[::-1]} for text in CORPUS],
    )
    tasks = {
        "pairs": ll.tasks.minimal_pairs(pairs),
        "perplexity": ll.tasks.perplexity(CORPUS, window=16),
        "generation": ll.tasks.generation(CORPUS[:3], max_new_tokens=5),
        "penalty": ll.tasks.generation(CORPUS[:2], max_new_tokens=8, repetition_penalty=1.3),
    }
    seen: dict[str, list[Any]] = {}
    for kind, model in loaded.items():
        results = {name: task(model, progress=False) for name, task in tasks.items()}
        counts = ll.lape.record(model, {"one": CORPUS, "two": CORPUS[:2]}, progress=False)
        effects = [
            ll.attribute(model, kinds.contrast(), method, site, progress=False, **options).score
            for method, site, options in (
                ("grad_x_act", "resid_mid", {}),
                ("integrated_gradients", "mlp_post", {"n_steps": 4}),
                ("ablation_effect", "z", {"units": some_units(model, "z", 9)}),
            )
        ]
        seen[kind] = [
            results["pairs"].score,
            results["perplexity"].score,
            counts.counts.double(),
            *effects,
            list(results["generation"].items["text"]),
            list(results["penalty"].items["text"]),
        ]
    first = seen[kinds.KINDS[0]]
    for other in seen.values():
        for mine, theirs in zip(first, other, strict=True):
            if isinstance(mine, list):
                assert mine == theirs
            else:
                torch.testing.assert_close(
                    torch.as_tensor(mine), torch.as_tensor(theirs), equal_nan=True, **CLOSE
                )


def test_hooks_of_the_user_are_kept_and_told_apart(fresh: Any) -> None:
    seen = surface(fresh)
    assert seen.open_hooks() == []
    handle = fresh.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: None)
    assert len(seen.open_hooks()) == 1
    with ll.lesion(fresh, some_units(fresh, "resid_mid"), check=False):
        seen.logits(torch.tensor([[1, 2, 3]]))
        assert len(seen.open_hooks()) == 1 + 3
    assert len(seen.open_hooks()) == 1
    handle.remove()
    assert seen.open_hooks() == []


def test_an_error_inside_leaves_no_hook(fresh: Any) -> None:
    with pytest.raises(KeyboardInterrupt), ll.lesion(fresh, some_units(fresh, "z"), check=False):
        raise KeyboardInterrupt
    assert surface(fresh).open_hooks() == []
    modules = [
        hooks
        for module in fresh.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
    ]
    assert not any(modules)


def test_what_no_adapter_takes_is_told_in_a_sentence(plain: Any) -> None:
    cases = [
        (torch.nn.Linear(2, 2), "say where its units live: ll.wrap(module"),
        ("gpt2", "ll.load_model('gpt2')"),
        (None, "not something of type None"),
        (transformers.CLIPVisionModel(_tiny_vision()), "no token ids"),
    ]
    for model, words in cases:
        with pytest.raises(LensLocError, match=r"\.") as error:
            surface(model)
        assert words in str(error.value), model
    with pytest.raises(LensLocError, match="keeps no attention patterns"):
        ll.capture(plain, CORPUS, ["one"] * len(CORPUS), ["attn_entropy"])
    with pytest.raises(LensLocError, match=r"has no hook point .*ln1\.hook_normalized"):
        ll.capture(plain, CORPUS, ["one"] * len(CORPUS), ["ln1.hook_normalized"])


def _tiny_vision() -> Any:
    return transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=8, patch_size=4,
    )  # fmt: skip


@pytest.fixture
def encoder() -> Iterator[Any]:
    config = transformers.BertConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=96,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield transformers.BertForMaskedLM(config).double().eval()


def test_a_model_that_reads_both_ways_is_noticed_and_batches_change_nothing(
    encoder: Any, plain: Any
) -> None:
    assert not surface(encoder).is_causal
    assert surface(plain).is_causal
    encoder.tokenizer = plain.tokenizer
    texts = [CORPUS[0], CORPUS[1][:20], CORPUS[2][:9]]
    labels = ["one"] * 3
    together = ll.capture(encoder, texts, labels, progress=False).responses["resid_post"].values
    alone = ll.capture(encoder, texts, labels, batch_size=1, progress=False).responses
    torch.testing.assert_close(together, alone["resid_post"].values)


LEAK = """
import sys, torch, transformers, lensloc as ll
import kinds
from pathlib import Path
folders = [Path(name) for name in sys.argv[1:]]
tokens = torch.arange(2 * 24).reshape(2, 24) * 7 % 320

def logits():
    found = []
    for folder in folders:
        for attention in ("eager", None):  # as transformers chooses
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, attn_implementation=attention
            ).eval()
            with torch.no_grad():
                found.append(model(tokens).logits)
    return found

before = logits()
bridges = [kinds.load(folder, "bridge") for folder in folders]
for bridge in bridges:
    bridge(tokens)
with ll.lesion(bridges[0], ll.UnitMask("z", torch.ones(3, 32).bool()), check=False):
    bridges[0](tokens)
    inside = logits()
after = logits()
for one, two, three in zip(before, inside, after, strict=True):
    assert torch.equal(one, two) and torch.equal(one, three)
print("alike", len(before))
"""


def test_what_a_bridge_does_to_its_process_does_not_reach_plain_models(tmp_path: Path) -> None:
    folders = [
        make_checkpoint(tmp_path / name, kinds.ARCHITECTURES[name]())
        for name in ("gemma2", "gemma3", "llama")
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEAK, *map(str, folders)],
        capture_output=True,
        text=True,
        cwd=Path(kinds.__file__).parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["alike", "6"]

"""On a GPU the same units are found as on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

import lensloc as ll
from lensloc import SITES, Contrast, localize

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a visible CUDA device (`make test-gpu`)"
)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("pooling", ["last-token", "word-end", "mean", "max"])
def test_units_and_statistics_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str, backend: Any, pooling: Any
) -> None:
    sites = [site for site in SITES if site != "resid_mid"]
    found = {}
    for device in ("cpu", "cuda"):
        model = ll.load_model(checkpoints[name], device=device, backend=backend)
        assert next(model.parameters()).device.type == device
        found[device] = localize(model, small_contrast, sites, pooling=pooling, progress=False)
    for site in sites:
        a, b = found["cpu"][site], found["cuda"][site]
        assert b.t.device.type == "cpu"
        torch.testing.assert_close(b.t, a.t, rtol=1e-3, atol=1e-3)
        assert b.top(percent=20) == a.top(percent=20)


def test_a_gpu_is_used_where_there_is_one(checkpoints: dict[str, Path]) -> None:
    assert ll.load_model(checkpoints["gpt2"]).cfg.device == "cuda"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoints: dict[str, Path], small_contrast: Contrast, dtype: str) -> None:
    exact = localize(
        ll.load_model(checkpoints["llama"], device="cpu"), small_contrast, progress=False
    )
    rough = localize(
        ll.load_model(checkpoints["llama"], dtype=dtype), small_contrast, progress=False
    )
    pair = torch.stack([exact["resid_post"].t.flatten(), rough["resid_post"].t.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.97


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_lesions_and_tasks_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str, backend: Any
) -> None:
    sentences = [
        text for texts in small_contrast.conditions.values() for text in texts if " " in text
    ]
    task = ll.tasks.perplexity(sentences)
    scores = {}
    for device in ("cpu", "cuda"):
        model = ll.load_model(checkpoints[name], device=device, backend=backend)
        mask = localize(model, small_contrast, progress=False).top(percent=20)
        scores[device] = [task(model).mean]
        for mode, options in (
            ("zero", {}),
            ("write", {}),
            ("scale", {"scale": 2.0}),
            ("mean", {"reference": small_contrast}),
            ("clamp", {"quantile": 0.9, "reference": small_contrast}),
        ):
            with ll.lesion(model, mask, mode, **options) as opened:  # type: ignore[arg-type]
                scores[device].append(task(model).mean)
            assert opened.effect.took_effect
    assert scores["cuda"] == pytest.approx(scores["cpu"], abs=1e-3)
    assert len(set(scores["cpu"])) == len(scores["cpu"])


def test_permutations_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast
) -> None:
    model = ll.load_model(checkpoints["llama"], device="cuda")
    found = localize(model, small_contrast, keep_responses=True, progress=False)
    responses = found.responses["resid_post"]
    assert responses.values.device.type == "cuda"
    on_cpu = ll.Responses("resid_post", responses.values.cpu(), responses.conditions)
    roles = small_contrast.target, small_contrast.control
    for options in ({}, {"two_sided": False}):
        a, b = (
            ll.max_t(made, *roles, n_permutations=99, **options) for made in (on_cpu, responses)
        )
        torch.testing.assert_close(torch.from_numpy(b.maxima), torch.from_numpy(a.maxima))
        assert torch.equal(b.p, a.p)
    a, b = (ll.bootstrap_d(made, *roles, n_resamples=50) for made in (on_cpu, responses))
    torch.testing.assert_close(b.low, a.low)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_attribution_and_shared_beginnings_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str
) -> None:
    pairs = ll.tasks.minimal_pairs(limit=1)
    scores, effects = [], []
    for device in ("cpu", "cuda"):
        model = ll.load_model(checkpoints[name], device=device)
        scores.append(pairs(model).items[["good", "bad"]].to_numpy())
        effects.append(ll.attribute(model, small_contrast, progress=False).score)
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)
    torch.testing.assert_close(effects[1], effects[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_language_neurons_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str, backend: Any
) -> None:
    corpora = {label: list(texts) for label, texts in small_contrast.conditions.items()}
    prompts = {"de": [texts[0] for texts in corpora.values()]}
    counted, answers, levels = [], [], []
    for device in ("cpu", "cuda"):
        model = ll.load_model(checkpoints[name], device=device, backend=backend)
        counts = ll.lape.record(model, corpora, window=16, progress=False)
        found = ll.lape.identify(counts, 0.2, 0.5, 0.5)
        mask = max(found.masks.values(), key=len)
        counted.append(counts)
        levels.append(ll.lape.activity(model, corpora[counts.languages[0]], mask).quantile(0.9))
        with ll.lesion(model, mask, "clamp", value=levels[0] + 1):
            answers.append(ll.lape.generate(model, prompts, max_new_tokens=5, progress=False))
    # A neuron within rounding of the threshold may flip.
    difference = (counted[1].counts - counted[0].counts).abs()
    assert float((difference > 0).double().mean()) < 0.01
    assert int(difference.max()) <= 1
    torch.testing.assert_close(levels[1], levels[0], rtol=1e-3, atol=1e-4)
    assert answers[1].answers["text"].tolist() == answers[0].answers["text"].tolist()

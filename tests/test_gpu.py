"""On a GPU every public function gives what it gives on the CPU.

``make test-gpu`` runs them on a CUDA device; ``LENSLOC_TEST_DEVICE=mps`` names another one. With
``LENSLOC_TEST_DEVICE=cpu`` the CPU is compared with itself, which tries the tests themselves.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
import tiny_models
import torch
from argument_calls import FUNCTIONS, Caller
from argument_parts import Change, Entry
from argument_people import sources
from argument_table import table
from argument_world import World
from devices import difference, models_on

import lensloc as ll
from lensloc import SITES, Contrast, localize
from lensloc.alignment import fetching
from lensloc.forward.memory import LEAST_TOKENS, MOST_TOKENS, busy_tokens, measured_rates
from lensloc.models import check_model, describe
from lensloc.models.adapting import surface

DEVICE = os.environ.get("LENSLOC_TEST_DEVICE", "cuda")
THERE = {
    "cuda": torch.cuda.is_available(),
    "mps": torch.backends.mps.is_available(),
    "cpu": True,
}
pytestmark = pytest.mark.skipif(
    not THERE.get(DEVICE.partition(":")[0], False),
    reason="needs a visible CUDA device (`make test-gpu`)",
)


class Side:
    """A world whose models are on one device, and calls in it."""

    def __init__(self, device: str, checkpoints: Mapping[str, Path], folder: Path) -> None:
        self.device = device
        with self.here():
            other = tiny_models.make_checkpoint(
                folder / "my-other", tiny_models.CONFIGS["llama"](), seed=1
            )
            self._world = World(checkpoints["llama"], other, folder)
            self.entries: dict[str, Entry] = table(self._world)
            self._caller = Caller(self._world)

    def here(self) -> Any:
        return models_on(self.device)

    def called(self, name: str, argument: str | None = None) -> Any:
        """The fingerprint of a call of the table, as it is or with one of its arguments changed."""
        entry = self.entries[name]
        with self.here():
            if argument is None:
                return self._caller.call(name, entry, {})[0]
            given = entry.changes[argument]
            change = given if isinstance(given, Change) else Change(given)
            return self._caller.call(name, entry, {**change.given, argument: change.value})[0]


@pytest.fixture(scope="module")
def sides(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Side, Side]]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LensLocWarning)
        made = []
        for device in ("cpu", DEVICE):
            folder = tmp_path_factory.mktemp("arguments")
            patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
            for name, source in sources(folder).items():
                patch.setitem(fetching.DATA, name, source)
            made.append(Side(device, checkpoints, folder))
        yield made[0], made[1]


def refused(found: Any) -> bool:
    return isinstance(found, tuple) and found[:1] == ("LensLocError",)


def differing(name: str, argument: str | None, sides: tuple[Side, Side]) -> str:
    """Where the two sides differ; both may refuse a call in the same words."""
    found = difference(*(side.called(name, argument) for side in sides))
    return f"{argument or 'as it is'}{found}" if found else ""


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_function_gives_what_it_gives_on_the_cpu(name: str, sides: tuple[Side, Side]) -> None:
    one, other = (side.called(name) for side in sides)
    found = [difference(one, other)]
    if refused(one):  # the table's call lacks an argument, of which several would do
        found += [differing(name, argument, sides) for argument in sides[0].entries[name].changes]
    assert not any(found), found


@pytest.mark.skipif("LENSLOC_TEST_EVERY" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_with_every_argument_changed_too(name: str, sides: tuple[Side, Side]) -> None:
    named = [argument for argument in sides[0].entries[name].changes if argument != "device"]
    found = [differing(name, argument, sides) for argument in named]
    assert not any(found), found


@pytest.mark.parametrize("backend", ["hooked", "bridge", "transformers"])
def test_models_are_checked_and_known_by_their_weights(
    checkpoints: dict[str, Path], backend: Any
) -> None:
    one, other = (
        ll.load_model(checkpoints["llama"], device=device, backend=backend)
        for device in ("cpu", DEVICE)
    )
    assert not check_model(other).failures
    assert describe(one).weights_hash == describe(other).weights_hash
    assert surface(one).longest_packed() == surface(other).longest_packed()
    assert surface(one).starts_anywhere() == surface(other).starts_anywhere()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="rates are measured on CUDA only")
def test_what_is_computed_at_once_follows_from_the_card(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"], device=DEVICE)
    operations, seconds = measured_rates(torch.device(DEVICE), torch.float32, 4096, 14336)
    assert 1e11 < operations < 1e16
    assert 1e-7 < seconds < 1e-3
    assert LEAST_TOKENS <= busy_tokens(model) <= MOST_TOKENS


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("pooling", ["last-token", "word-end", "mean", "max"])
def test_units_and_statistics_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str, backend: Any, pooling: Any
) -> None:
    sites = [site for site in SITES if site != "resid_mid"]
    found = {}
    for device in ("cpu", DEVICE):
        model = ll.load_model(checkpoints[name], device=device, backend=backend)
        assert next(model.parameters()).device.type == device
        found[device] = localize(model, small_contrast, sites, pooling=pooling, progress=False)
    for site in sites:
        a, b = found["cpu"][site], found[DEVICE][site]
        assert b.t.device.type == "cpu"
        torch.testing.assert_close(b.t, a.t, rtol=1e-3, atol=1e-3)
        assert b.top(percent=20) == a.top(percent=20)


def test_a_gpu_is_used_where_there_is_one(checkpoints: dict[str, Path]) -> None:
    assert ll.load_model(checkpoints["gpt2"]).cfg.device == DEVICE


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
    for device in ("cpu", DEVICE):
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
    assert scores[DEVICE] == pytest.approx(scores["cpu"], abs=1e-3)
    assert len(set(scores["cpu"])) == len(scores["cpu"])


def test_permutations_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast
) -> None:
    model = ll.load_model(checkpoints["llama"], device=DEVICE)
    found = localize(model, small_contrast, keep_responses=True, progress=False)
    responses = found.responses["resid_post"]
    assert responses.values.device.type == DEVICE
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
    for device in ("cpu", DEVICE):
        model = ll.load_model(checkpoints[name], device=device)
        scores.append(pairs(model).items[["good", "bad"]].to_numpy())
        effects.append(ll.attribute(model, small_contrast, progress=False).score)
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)
    torch.testing.assert_close(effects[1], effects[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", ["hooked", "bridge", "transformers"])
def test_units_ablated_in_one_pass_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, backend: Any
) -> None:
    effects = []
    for device in ("cpu", DEVICE):
        model = ll.load_model(checkpoints["gpt2"], device=device, backend=backend)
        ways: list[Any] = [len(small_contrast.texts), "auto"]  # one at a time, and several
        for batch_size in ways:
            found = ll.attribute(
                model, small_contrast, "ablation_effect", "mlp_post", batch_size=batch_size,
                progress=False,
            )  # fmt: skip
            effects.append(found.score)
    for other in effects[1:]:
        torch.testing.assert_close(other, effects[0], rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore::lensloc.errors.LensLocWarning")  # answers are short
@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_language_neurons_are_those_of_the_cpu(
    checkpoints: dict[str, Path], small_contrast: Contrast, name: str, backend: Any
) -> None:
    corpora = {label: list(texts) for label, texts in small_contrast.conditions.items()}
    prompts = {"de": [texts[0] for texts in corpora.values()]}
    counted, answers, levels = [], [], []
    for device in ("cpu", DEVICE):
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

"""Passes that begin where a lesion does: the same numbers, with fewer blocks run."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import KINDS
from more_checkpoints import GROUPED
from tiny_models import CONFIGS, make_checkpoint
from transformers import Gemma2Config

import lensloc as ll
from lensloc.lesions.lesioning import open_lesions
from lensloc.lesions.resuming import Residuals
from lensloc.models.adapting import surface
from lensloc.models.resuming import wraps_outputs
from lensloc.models.surface import Inputs
from lensloc.tasks import scoring
from lensloc.tasks.scoring import Scored, token_log_probs

_CONFIGS: dict[str, Any] = {
    "llama": CONFIGS["llama"],
    "gpt2": CONFIGS["gpt2"],
    "gemma2": lambda: Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=20
    ),
}
SEQUENCES = [Scored((5, 6, 7, *range(n, n + 6))) for n in range(20, 80, 6)]


@contextlib.contextmanager
def block_runs(model: Any) -> Iterator[list[int]]:
    """Which blocks are run, in their order."""
    parts = getattr(model, "blocks", None) or surface(model)._blocks  # type: ignore[attr-defined]
    found: list[int] = []
    handles = []
    for layer, block in enumerate(parts):
        mlp = getattr(block, "mlp", None)

        def note(*_: Any, layer: int = layer) -> None:
            found.append(layer)

        note._is_lensloc = True  # type: ignore[attr-defined]
        handles.append(mlp.register_forward_hook(note))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def scores(model: Any) -> np.ndarray:
    return np.concatenate(token_log_probs(model, SEQUENCES, progress=False))


def unit(site: str, layer: int, width: int = 32) -> ll.UnitMask:
    mask = torch.zeros(3, width, dtype=torch.bool)
    mask[layer, 1] = True
    return ll.UnitMask(site, mask)


@pytest.mark.parametrize("name", _CONFIGS)
def test_a_lesion_begins_in_its_layer_and_gives_the_same(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", _CONFIGS[name]())
    for kind in KINDS:
        model = ll.load_model(folder, backend=kind)  # type: ignore[arg-type]
        assert surface(model).starts_anywhere()
        residuals = Residuals(model)
        with residuals.used():
            scores(model)
        for site, width in (("resid_pre", 32), ("head", 4), ("mlp_post", 48), ("resid_post", 32)):
            if name == "gpt2" and site == "mlp_post":
                width = 128
            for layer in range(3):
                mask = unit(site, layer, width)
                with ll.lesion(model, mask, "scale", scale=-3.0, check=False):
                    expected = scores(model)
                    with residuals.used(), block_runs(model) as runs:
                        found = scores(model)
                np.testing.assert_array_equal(found, expected)
                # What acts on a block's output acts on what is kept of it; the last is run.
                first = min(layer + 1, 2) if site == "resid_post" else layer
                assert set(runs) == set(range(first, 3))
        assert surface(model).open_hooks() == []


def test_what_is_read_and_is_not_the_residual_stream(tiny_llama: Any) -> None:
    """Lesions of several layers and modes, lesions in lesions, hooks of the user's."""
    residuals = Residuals(tiny_llama)
    with residuals.used():
        intact = scores(tiny_llama)
    deep, shallow = unit("resid_post", 2), unit("resid_mid", 0)

    def both_ways(first: int) -> None:
        opened = open_lesions(tiny_llama)
        counts = [[sum(found.effect.fired.values()) for found in opened]]
        expected = scores(tiny_llama)
        counts.append([sum(found.effect.fired.values()) for found in opened])
        assert np.abs(expected - intact).max() > 1e-4
        with residuals.used(), block_runs(tiny_llama) as runs:
            np.testing.assert_array_equal(scores(tiny_llama), expected)
        assert min(runs) == first
        counts.append([sum(found.effect.fired.values()) for found in opened])
        assert np.diff(counts, axis=0)[0].tolist() == np.diff(counts, axis=0)[1].tolist()
        assert all(found.effect.changed for found in opened)

    def again() -> ll.Lesion:
        return ll.lesion(tiny_llama, shallow_end, "scale", scale=2.0, check=False)

    shallow_end = unit("resid_post", 0)
    with again():
        both_ways(1)
    with again(), ll.lesion(tiny_llama, deep, check=False):
        both_ways(1)
    with again(), again():  # one on what the other left
        both_ways(1)
    with again(), ll.lesion(tiny_llama, unit("resid_pre", 1), "scale", scale=-1.0, check=False):
        both_ways(1)
    with again(), ll.lesion(tiny_llama, unit("mlp_out", 0), check=False):
        both_ways(0)
    with ll.lesion(tiny_llama, [deep, shallow], check=False):
        both_ways(0)
    with ll.lesion(tiny_llama, unit("resid_post", 1), "write", check=False):
        both_ways(1)
    with ll.lesion(tiny_llama, deep, check=False):
        with ll.lesion(tiny_llama, unit("mlp_out", 1), check=False):
            both_ways(1)
        both_ways(2)
    with ll.lesion(tiny_llama, deep, positions="last", check=False), residuals.used():
        last = scores(tiny_llama)
    with ll.lesion(tiny_llama, deep, positions="last", check=False):
        np.testing.assert_array_equal(last, scores(tiny_llama))
    close = surface(tiny_llama).open("blocks.2.hook_resid_pre", lambda value: value * 1.5)
    try:
        both_ways(0)
    finally:
        close()
    with residuals.used():
        np.testing.assert_array_equal(scores(tiny_llama), intact)


def test_what_is_met_under_lesions_only_is_kept_the_second_time(tiny_llama: Any) -> None:
    residuals = Residuals(tiny_llama)
    firsts = []
    with ll.lesion(tiny_llama, unit("resid_post", 2), check=False):
        expected = scores(tiny_llama)
        for _ in range(3):
            with residuals.used(), block_runs(tiny_llama) as runs:
                np.testing.assert_array_equal(scores(tiny_llama), expected)
            firsts.append((runs.count(0), runs.count(2)))
    assert firsts == [(1, 1), (1, 2), (0, 1)]


def test_memory_stays_within_its_budget(tiny_llama: Any) -> None:
    """Fewer layers are kept, then none; the numbers stay."""
    whole = Residuals(tiny_llama)
    with whole.used():
        scores(tiny_llama)
    assert whole.n_bytes > 0
    for share, first in ((1.0, 2), (0.5, 2), (0.1, 0)):
        few = Residuals(tiny_llama, int(share * whole.n_bytes))
        with few.used():
            scores(tiny_llama)
        assert few.n_bytes <= share * whole.n_bytes
        with ll.lesion(tiny_llama, unit("resid_post", 2), check=False):
            expected = scores(tiny_llama)
            with few.used(), block_runs(tiny_llama) as runs:
                np.testing.assert_array_equal(scores(tiny_llama), expected)
        assert min(runs) == first


def test_no_more_is_kept_while_a_batch_is_run(tiny_llama: Any) -> None:
    """Room is made before a pass; at no moment more is kept than the budget allows."""
    whole = Residuals(tiny_llama)
    with whole.used():
        scores(tiny_llama)
    few = Residuals(tiny_llama, whole.n_bytes // 2)
    opened: list[str] = []
    adapter = type(surface(tiny_llama))
    as_it_is = adapter.open

    def note(self: Any, point: str, hook: Any) -> Any:
        opened.append(point)
        return as_it_is(self, point, hook)

    with pytest.MonkeyPatch.context() as patch, few.used():
        patch.setattr(adapter, "open", note)
        scores(tiny_llama)
    assert opened == ["blocks.1.hook_resid_post"]


def test_batches_of_other_sizes_may_round_differently() -> None:
    """As on GPUs in half precision: a pass can begin in the middle there, too."""

    class Remembering(torch.nn.Module):
        """Reads, besides the residual stream, what the first block keeps of its pass."""

        def __init__(self, kept: list[torch.Tensor], last: bool) -> None:
            super().__init__()
            self.kept, self.last = kept, last

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            if self.last:
                return hidden + self.kept[-1].mean()
            self.kept.append(hidden)
            return hidden * 2

    tokens = torch.randint(0, 32, (2, 7), generator=torch.Generator().manual_seed(0))
    kept: list[torch.Tensor] = []
    blocks = [Remembering(kept, last=False), Remembering(kept, last=True)]
    stateless = [torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)]
    embedded = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))

    def through(parts: list[Any]) -> Any:
        def run(inputs: Inputs) -> torch.Tensor:
            found = embedded[inputs.tokens]
            for part in parts:
                found = part(found)
            return found + 0.01 * len(inputs.tokens)

        return run

    with torch.no_grad():
        assert wraps_outputs(through(stateless), stateless, tokens) is False
        assert wraps_outputs(through(blocks), blocks, tokens) is None


def test_studies_and_ablations_begin_where_lesions_do(
    tiny_llama: Any, small_contrast: ll.Contrast
) -> None:
    """Sweeps over units and layers run fewer blocks, and give what they gave."""
    pairs = ll.tasks.minimal_pairs(limit=1).at([0, 1, 2])
    lesions = {f"L{layer}": unit("resid_post", layer) for layer in range(3)}
    options: dict[str, Any] = {"store": None, "progress": False}

    def everything() -> tuple[Any, Any]:
        study = ll.lesion_study(tiny_llama, lesions, tasks=[pairs], **options)
        chosen = ll.UnitMask("head", torch.ones(3, 4, dtype=torch.bool))
        found = ll.attribute(
            tiny_llama, small_contrast, site="head", method="ablation_effect", units=chosen,
            progress=False,
        )  # fmt: skip
        return study.table["score"].to_numpy(), found

    with block_runs(tiny_llama) as fewer:
        less = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(surface(tiny_llama)), "starts_anywhere", lambda self: False)
        with block_runs(tiny_llama) as all_of_them:
            more = everything()
    np.testing.assert_array_equal(less[0], more[0])
    assert fewer.count(2) == all_of_them.count(2)
    assert fewer.count(0) < all_of_them.count(0) / 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_probes_the_intact_model_once(kind: Any, tmp_path: Path) -> None:
    """A lesion's probe begins where the lesion does; how far it moved logits stays the same."""
    model = ll.load_model(make_checkpoint(tmp_path / "model", CONFIGS["llama"]()), backend=kind)
    nothing = unit("resid_post", 1)
    with ll.lesion(model, nothing, "scale", scale=3.0) as alone:
        scores(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LensLocWarning)
        with ll.lesion(model, nothing, "scale", scale=1.0) as idle:
            scores(model)
    assert idle.effect.moved == 0
    assert alone.effect.moved is not None
    assert alone.effect.moved > 1e-3
    residuals = Residuals(model)
    for factor, moved in ((3.0, alone.effect.moved), (1.0, 0.0), (3.0, alone.effect.moved)):
        found = ll.lesion(model, nothing, "scale", scale=factor)
        with warnings.catch_warnings(), residuals.used():
            warnings.simplefilter("ignore", ll.LensLocWarning)
            with found:
                scores(model)
        assert found.effect.moved == pytest.approx(moved, rel=1e-4, abs=0)
    last = ll.lesion(model, nothing, "scale", scale=3.0)
    with residuals.used():
        last.__enter__()
        scores(model)
        with block_runs(model) as runs:
            last.__exit__(None, None, None)
    assert runs == [2]
    # What an outer lesion does is not the intact model's.
    outer = ll.lesion(model, unit("mlp_post", 0, 48), "scale", scale=40.0, check=False)
    inner = ll.lesion(model, nothing, "scale", scale=3.0)
    with outer:
        with inner:
            scores(model)
        beside = inner.effect.moved
        with residuals.used(), inner:
            scores(model)
    assert inner.effect.moved == pytest.approx(beside, rel=1e-4)
    assert beside != pytest.approx(alone.effect.moved, rel=1e-3)


def test_normalisers_of_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(11, 7, generator=torch.Generator().manual_seed(0)) * 50
    logits[3, 2], logits[4, :] = -torch.inf, torch.nan
    for cached in (1, 14, 2**19):
        monkeypatch.setattr(scoring, "_IN_CACHE", cached)
        found = scoring.normalisers(logits)
        assert torch.equal(found.nan_to_num(), torch.logsumexp(logits, dim=-1).nan_to_num())
    assert scoring.normalisers(logits[:0]).shape == (0,)

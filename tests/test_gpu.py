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

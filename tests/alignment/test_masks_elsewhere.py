"""docs/using_masks_elsewhere.md: every block runs, and does what lensloc does."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lensloc as ll
from lensloc.units.provenance import Provenance

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = Path(__file__).parents[2] / "docs" / "using_masks_elsewhere.md"


def block(heading: str) -> str:
    """The Python of one section; the page's beginning for an empty heading."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    (section,) = (found for found in sections if found.startswith(heading or "# Using"))
    (code,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.M | re.S)
    return str(code)


@pytest.fixture
def network(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> ll.UnitMask:
    """A mask, and a folder in which the page's names are there."""
    (tmp_path / "my-model").symlink_to(checkpoints["llama"])
    monkeypatch.chdir(tmp_path)
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    chosen[0, [3, 7]] = chosen[2, [1, 30]] = True
    made = ll.UnitMask("resid_post", chosen, Provenance(model="my-model"))
    exec(block(""), {"network": made})
    return made


def expected(model: Any, network: ll.UnitMask) -> torch.Tensor:
    with ll.lesion(model, network), torch.no_grad():
        ids = torch.tensor([model.tokenizer("The old ferry")["input_ids"]])
        return model(ids[:, -_plain(model) :], return_type="logits")  # type: ignore[no-any-return]


def _plain(model: Any) -> int:
    return len(model.tokenizer("The old ferry", add_special_tokens=False)["input_ids"])


def test_plain_transformers(tiny_llama: Any, network: ll.UnitMask) -> None:
    found: dict[str, Any] = {}
    exec(block("transformers"), found)
    torch.testing.assert_close(found["lesioned"], expected(tiny_llama, network), atol=2e-5, rtol=0)
    after = found["model"](**found["tokenizer"]("The old ferry", return_tensors="pt")).logits
    assert (after - found["lesioned"]).abs().max() > 1e-2  # nothing is left of the hooks


def test_nnsight(tiny_llama: Any, network: ll.UnitMask, tmp_path: Path) -> None:
    pytest.importorskip("nnsight", reason="nnsight is not installed")
    found: dict[str, Any] = {}
    # nnsight reads the source of a traced block, so it stands in a file.
    path = tmp_path / "traced.py"
    path.write_text(block("nnsight"))
    exec(compile(path.read_text(), str(path), "exec"), found)
    torch.testing.assert_close(found["lesioned"], expected(tiny_llama, network), atol=2e-5, rtol=0)


def test_nnsight_hides_no_name_that_is_loaded_late() -> None:
    """It gives every object a method ``save``, which Python finds in modules, too."""
    pytest.importorskip("nnsight", reason="nnsight is not installed")
    code = """
import inspect
import nnsight
import lensloc as ll
rooms = [ll, *(found for name in ll.__all__ if inspect.ismodule(found := getattr(ll, name)))]
assert object().save is not None  # nnsight's, or there is nothing to test
print([f"{room.__name__}.{name}" for room in rooms for name in room.__all__
       if getattr(room, name) is not room.__getattr__(name)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(ll.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


def test_brainscore(network: ll.UnitMask) -> None:
    found: dict[str, Any] = {"network": network}
    exec(block("brain-score"), found)
    assert Path("brainio/owner_my-model_language_mask.npy").is_file()
    compile(found["files"].script, "script", "exec")

"""The same masks under TransformerLens 3.9 and 4: run by ``make test-tl4``."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import kinds
import pytest
import transformer_lens
from tiny_models import make_checkpoint

import lensloc as ll
from lensloc import LensLocError

FOUR = metadata.version("transformer-lens").startswith("4")
pytestmark = pytest.mark.skipif(
    not FOUR, reason="holds TransformerLens 4 against 3.9; 3.9 alone is here (make test-tl4)"
)

NAMES = ("llama", "gpt2", "neox", "gemma3", "opt")

OTHER = """
import json, sys
import kinds
import lensloc as ll
found = {}
for name, folder in json.loads(sys.argv[1]).items():
    for kind in ("hooked", "bridge"):
        found[f"{name} {kind}"] = kinds.units_of(kinds.load(folder, kind))
print(json.dumps(found))
"""

BUNDLED = """
import json
import kinds
print(json.dumps(kinds.of_bundled("hooked")))
"""


def under_3(code: str, *arguments: str) -> Any:
    """Run code without the folder in which TransformerLens 4 lies, and return what it prints."""
    four = Path(transformer_lens.__file__).parents[1]
    paths = [path for path in sys.path if path and Path(path).resolve() != four.resolve()]
    paths = [str(Path(kinds.__file__).parent), *paths]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tiny_models_have_the_same_masks_at_every_site(tmp_path: Path) -> None:
    folders = {
        name: str(make_checkpoint(tmp_path / name, kinds.ARCHITECTURES[name]())) for name in NAMES
    }
    before = under_3(OTHER, json.dumps(folders))
    assert len(before) == 2 * len(NAMES)
    for name, folder in folders.items():
        for kind in kinds.KINDS:
            units = kinds.units_of(kinds.load(Path(folder), kind))
            assert len(units) >= 11
            for other in ("hooked", "bridge"):
                known = before[f"{name} {other}"]
                assert {site: known[site] for site in units} == units, (name, kind, other)


@pytest.mark.pretrained
def test_the_bundled_model_has_the_same_mask(pretrained_folder: Path) -> None:
    before = under_3(BUNDLED)
    assert len(before) == 172
    for kind in kinds.KINDS:
        found = kinds.of_bundled(kind)
        assert len(set(found) & set(before)) >= 171, kind  # float32: a tie at the edge may fall


def test_what_it_has_no_more_is_told_in_a_sentence(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "llama", kinds.ARCHITECTURES["llama"]())
    with pytest.raises(LensLocError, match=r"TransformerLens 4.*transformer-lens<4"):
        ll.load_model(folder, backend="hooked")
    assert ll.load_model(folder).__class__.__name__ == "TransformerBridge"

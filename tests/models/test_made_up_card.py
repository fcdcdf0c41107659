"""Does anything meet on two devices? Tried without a GPU; see ``tests/support/made_up_card.py``."""

import json
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
# In a process of its own, which the made-up device would stay in. If the units of a lesion are not
# moved, that must be found.
CODE = """
import json, sys
import made_up_card
from lensloc.lesions.edits import Edit

models = made_up_card.models(["llama"], [kind for kind in made_up_card.KINDS if kind != "bridge"])
more = made_up_card.models(["llama"], ["transformers"])
right = made_up_card.failures(models)
Edit._on = lambda self, activation: (self.units, self.values)
wrong = made_up_card.failures(more, "lesion: zero")
print(json.dumps([right, wrong]))
"""


def test_nothing_meets_on_two_devices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=SUPPORT, text=True, capture_output=True, check=True
    )
    (n, found), (n_wrong, errors) = json.loads(done.stdout.splitlines()[-1])
    # Captures, gates, lesions of all modes, logits, writing, statistics. A bridge is left out here:
    # it runs what transformers does, and reads numbers back, which cannot be tried.
    assert found == []
    assert n > 50
    assert n_wrong == len(errors) == 3
    assert all("DeviceMismatch" in line or "same device" in line for line in errors)

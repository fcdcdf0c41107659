"""A small plan on tiny models: its files, and what is done to it."""

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import lensloc as ll

WORDS = "every plant before the sun came up nobody in the village remembered".split()
PLAN: dict[str, Any] = {
    "models": ["my-llama", "my-gpt2"],
    "contrasts": [
        {
            "name": "small",
            "file": "small.csv",
            "target": "sentences",
            "control": ["nonwords"],
        }
    ],
    "sites": ["resid_post", "mlp_post"],
    "percent": 10,
    "lesions": [
        {
            "percents": [10, 20],
            "tasks": [{"task": "minimal-pairs=pairs.csv", "name": "pairs"}],
            "controls": ["random:2"],
        }
    ],
}


def write_world(folder: Path, checkpoints: Mapping[str, Path]) -> Path:
    """Write the files that the plan names, and the plan; return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("llama", "gpt2"):
        (folder / f"my-{name}").symlink_to(checkpoints[name])
    rows = [(f"the old gardener watered {word}", "sentences") for word in WORDS]
    rows += [(f"glorbix fendal mopi {word[::-1]}", "nonwords") for word in WORDS]
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv(folder / "small.csv", index=False)
    pairs = [(f"the old {word}", f"{word} old the") for word in WORDS[:4]]
    write_pairs(folder / "pairs.csv", pairs)
    return write_plan(folder, PLAN)


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(pairs, columns=["sentence_good", "sentence_bad"])
    table.to_csv(path, index=False)


def write_plan(folder: Path, plan: Mapping[str, Any], name: str = "plan.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(dict(plan), sort_keys=False))
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """The plan with other values of its keys."""
    return {**copy.deepcopy(PLAN), **changes}


def right_pairs(model: Any, folder: Path) -> None:
    """Write two files of pairs of which a model gets all right."""
    for number, name in enumerate(("one", "other")):
        candidates = [
            (f"{a} {b} {number}", f"{b} {a} {number}") for a, b in itertools.pairwise(WORDS)
        ]
        path = folder / f"{name}.csv"
        write_pairs(path, candidates)
        values = ll.tasks.minimal_pairs(path)(model).items["value"]
        write_pairs(
            path,
            [pair if right else pair[::-1] for pair, right in zip(candidates, values, strict=True)],
        )

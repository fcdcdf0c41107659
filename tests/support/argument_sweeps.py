"""Arguments of sweeps and their figures, for the table of all arguments."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from argument_parts import Entry, refused, same
from argument_world import NONWORDS, SENTENCES, World

import lensloc as ll
from lensloc.studies.store import Store


def _without_time(found: ll.Sweep) -> ll.Sweep:
    return dataclasses.replace(found, cells=found.cells.drop(columns=["seconds", "made"]))


def of_sweeps(w: World) -> dict[str, Entry]:
    """Entries of sweeps."""
    rows = [(text, "a") for text in SENTENCES] + [(text, "b") for text in NONWORDS]
    path = w.folder / "sweep.csv"
    pd.DataFrame(rows, columns=["text", "condition"]).to_csv(path, index=False)
    plan = _plan(w.checkpoint, path)
    here = "who measures a cell changes nothing"
    entry = Entry(
        {"plan": plan, "store": w.folder / "sweep", "progress": False},
        {
            "plan": {**plan, "percent": 20},
            "store": Store.at(w.folder / "other-sweep"),
            "measure": refused(False, "nothing is measured", device="cpu"),
            "processes": same(2, here),
            "on": same("slurm", "what is there already is submitted to nobody"),
            "slurm": refused({"timeout_min": 1}, "slurm has no effect here"),
            "device": same("cpu", here),
            "progress": same(True, "shows a bar, or none"),
        },
        use=_without_time,
    )
    title = {"title": "Another"}
    found, other = _measured("harm"), _measured("other")
    return {
        "sweep": entry,
        "plot.sweep_depths": Entry({"found": found}, {"found": other, **title}),
        "plot.sweep_drops": Entry(
            {"found": found}, {"found": other, "task": "second", "percent": 5, **title}
        ),
        "plot.sweep_specificity": Entry(
            {"found": found}, {"found": other, "kind": "layer", **title}
        ),
    }


def _plan(checkpoint: Path, path: Path) -> dict[str, Any]:
    own = {"name": "own", "file": str(path), "target": "a", "control": "b"}
    return {"models": str(checkpoint), "contrasts": own, "percent": 10}


def _measured(model: str) -> ll.Sweep:
    """A sweep that was put together by hand."""
    place = {"model": model, "contrast": "own", "site": "resid_post", "protocol": "lensloc"}
    number = float(len(model))
    lesions = [
        {
            **place, "lesion": "zero", "percent": percent, "task": task, "measure": "accuracy",
            "network_drop": number / percent, "drop_low": 0.0, "drop_high": number,
            "kind": "layer", "control_drop": 0.1, "verdict": "holds",
        }
        for task in ("first", "second")
        for percent in (1, 5)
    ]  # fmt: skip
    return ll.Sweep(
        "by hand",
        pd.DataFrame([{**place, "state": "done", "reason": "", "lesion": ""}]),
        pd.DataFrame([{**place, "percent": 1.0, "depth": 0.5}]),
        pd.DataFrame(lesions),
        pd.DataFrame(
            [
                {**place, "kind": kind, "network": "own", "difference": number * sign, "p": 0.05}
                for kind, sign in (("random", 1), ("layer", -1))
            ]
        ),
        layers=pd.DataFrame(
            [
                {**place, "layer": layer, "relative_depth": layer / 2, "share": number * layer}
                for layer in range(3)
            ]
        ),
    )

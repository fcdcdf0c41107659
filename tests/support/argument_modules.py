"""Arguments of what wraps modules, and of contrasts of pictures and arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import planted_vision
import torch
from argument_parts import Entry, refused, same, under

import lensloc as ll


def modules() -> dict[str, Entry]:
    """Return name -> entry."""
    roles = {"target": "red", "control": "other"}
    pictures = planted_vision.pictures(n=3)
    both = {**pictures, "third": pictures["red"][:, ::-1]}
    more = {**roles, "conditions": both}
    items = {name: ("1", "2", "3") for name in pictures}
    contrast = ll.Contrast.from_images(pictures, **roles)
    net, other = planted_vision.Net(), planted_vision.Net(seed=1)
    example = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

    def localized(wrapped: ll.Wrapped) -> Any:
        return ll.localize(wrapped, contrast, progress=False)

    wrapped = ll.wrap(net, {"conv": "convs.{layer}"})
    seen = {name: found[:, ::-1] for name, found in both.items()}
    listed = [*both["red"], *both["other"]]
    two = {name: [*found, *(255 - found)] for name, found in pictures.items()}
    probed = {"stimuli": two, "site": "conv"}
    order = same(1, "a batch changes nothing")
    of_list = {"stimuli": listed, "labels": [*"aaabbb"], "folds": 2}

    def on_wrapped(task: Any) -> Any:
        return task(wrapped)

    arrays = {name: found.astype(np.float32) for name, found in both.items()}
    return {
        "wrap": Entry(
            {"module": net, "sites": {"conv": "convs.{layer}"}},
            {
                "module": other,
                "sites": {"conv": ["convs.0", "convs.2"]},
                "preprocess": _halved,
                "example": refused(torch.rand(2, 5, 12, 12), "cannot be called with a batch"),
                "name": "another",
                "side": "input",
                "unit": "element",
                "pooling": "max",
                "layout": "channels-last",
                "part": refused("none", "as its part 'none'", example=example),
            },
            use=localized,
        ),
        "tasks.classification": Entry(
            {"pictures": both, "classes": {"red": 1, "other": 0, "third": 2}},
            {
                "pictures": seen,
                "labels": under([0, 0, 0, 3, 3, 3], pictures=listed, classes=None),
                "classes": {"red": 3, "other": 4, "third": 2},
                "top": 3,
                "batch_size": order,
                "name": "another",
            },
            use=on_wrapped,
        ),
        "tasks.linear_probe": Entry(
            {**probed, "folds": 2},
            {
                "stimuli": {name: found[::-1] for name, found in two.items()},
                "site": refused("elsewhere", "without a site 'elsewhere'"),
                "layer": 0,
                "labels": under([*"ababab"], **of_list),
                "pooling": "max",
                "folds": 3,
                "strength": 1e-6,
                "refit": False,
                "seed": 1,
                "batch_size": order,
                "name": "another",
            },
            use=on_wrapped,
        ),
        "tasks.embedding_verification": Entry(
            {**probed, "folds": 2},
            {
                "stimuli": {name: found[::-1] for name, found in two.items()},
                "site": refused("elsewhere", "without a site 'elsewhere'"),
                "layer": 0,
                "labels": under([*"ababab"], **of_list),
                "pooling": "max",
                "n_pairs": 5,
                "folds": 3,
                "seed": 1,
                "batch_size": order,
                "name": "another",
            },
            use=on_wrapped,
        ),
        **_methods(
            {
                "Classification": ll.tasks.classification(two, classes={"red": 1, "other": 0}),
                "LinearProbe": ll.tasks.linear_probe(two, "conv", folds=2),
                "Verification": ll.tasks.embedding_verification(two, "conv", folds=2),
            },
            wrapped,
            ll.wrap(_blind(), {"conv": "convs.{layer}"}),
        ),
        "tasks.Classification.at": Entry(
            {"items": [0]}, {"items": [7]}, on=ll.tasks.classification(both), use=lambda t: t.texts
        ),
        "Contrast.from_images": Entry(
            more,
            {
                "conditions": {**both, "other": both["third"]},
                "target": "third",
                "control": "third",
                "items": under(items, conditions=pictures),
                "name": "redness",
            },
        ),
        "Contrast.from_arrays": Entry(
            {**roles, "conditions": arrays},
            {
                "conditions": {**arrays, "other": arrays["third"]},
                "target": "third",
                "control": "third",
                "sounds": True,
                "rate": under(16000, sounds=True),
                "items": under(items, conditions={name: arrays[name] for name in pictures}),
                "name": "redness",
            },
        ),
    }


def of_modules() -> dict[str, Mapping[str, Any]]:
    """Further arguments of sets of units in layers of different width."""
    return {
        "UnitMask.from_addresses": {"widths": (2, 4, 4)},
        "UnitMask.require_shape": {"widths": (1, 9, 9, 9, 9, 9, 9, 9, 9)},
    }


def _blind() -> planted_vision.Net:
    net = planted_vision.Net()
    with torch.no_grad():
        for conv in net.convs:
            conv.weight.zero_()  # type: ignore[operator, union-attr]
    return net


def _methods(tasks: Mapping[str, Any], model: Any, other: Any) -> dict[str, Entry]:
    found = {}
    for name, task in tasks.items():
        progress = same(True, "a bar is shown, no more")
        found[f"tasks.{name}.__call__"] = Entry(
            {"model": model}, {"model": other, "progress": progress}, on=task
        )
        found[f"tasks.{name}.without"] = Entry(
            {"texts": set()}, {"texts": {task.data.stimuli[0]}}, on=task, use=lambda t: t.settings
        )
    return found


def _halved(image: Any) -> torch.Tensor:
    return planted_vision.tensors(np.asarray(image)[None])[0] / 2

"""Arguments of what wraps modules, and of contrasts of pictures and arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import planted_vision
import torch
from argument_parts import Entry, refused, under

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


def _halved(image: Any) -> torch.Tensor:
    return planted_vision.tensors(np.asarray(image)[None])[0] / 2

"""What is checked at run time in these tests: shapes of arrays and fields of dataclasses."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jaxtyping
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typechecked import has_arrays, is_checked

import lensloc as ll
from lensloc.selectivity.moments import Moments, layer_chunks

Chosen = tuple[Bool[Tensor, "layer unit"], float | None]


def test_shapes_are_checked() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="layer_chunks"):
        layer_chunks(torch.zeros(3))
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        ll.UnitMask("resid_post", torch.zeros(2, 3, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    "hint",
    [
        Float[Tensor, "layer unit"],
        Float[Tensor, "layer unit"] | None,
        dict[str, Chosen],
        Callable[[Float[Tensor, " unit"]], int],
        'Float[Tensor, "layer unit"] | None',
    ],
)
def test_an_array_is_found_at_any_depth(hint: Any) -> None:
    assert has_arrays(hint)


@pytest.mark.parametrize("hint", [int, None, str, Literal["Float[Tensor]"], Tensor, "Contrast"])
def test_what_has_no_shape_is_left_to_mypy(hint: Any) -> None:
    assert not has_arrays(hint)


def test_what_is_checked() -> None:
    class Plain:
        @property
        def mask(self) -> Bool[Tensor, "layer unit"]:
            return torch.zeros(1, 1, dtype=torch.bool)

        @classmethod
        def of(cls, mask: Bool[Tensor, "layer unit"]) -> "Plain":
            return cls()

        def name(self) -> str:
            return ""

    @dataclass
    class Named:
        name: str

    checked = {name: is_checked(value) for name, value in vars(Plain).items() if name[0] != "_"}
    assert checked == {"mask": True, "of": True, "name": False}
    assert is_checked(Named)
    assert not is_checked(Plain)
    assert all(hasattr(made, "__wrapped__") for made in (layer_chunks, Moments.__init__))
    everything = bool(os.environ.get("LENSLOC_CHECK_ALL"))
    assert hasattr(ll.contrasts.language, "__wrapped__") == everything

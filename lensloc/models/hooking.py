"""Hooks that edit what passes a module, whatever else it is given and returns."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lensloc.models.watching import first_tensor


def on_input(edit: Callable[[Tensor], Tensor | None]) -> Any:
    """Return a pre-hook that edits a module's first tensor of numbers."""

    def hook(
        module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        found = first_tensor((*inputs, *named.values()))
        new = None if found is None else edit(found)
        if new is None:
            return None
        return (
            tuple(new if value is found else value for value in inputs),
            {name: new if value is found else value for name, value in named.items()},
        )

    hook._is_lensloc = True  # type: ignore[attr-defined]
    return hook


def on_output(edit: Callable[[Tensor], Tensor | None]) -> Any:
    """Return a hook that edits the first tensor of numbers in a module's result."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        found = first_tensor(output)
        new = None if found is None else edit(found)
        if new is None:
            return None
        if isinstance(output, Tensor):
            return new
        if isinstance(output, dict):
            key = next(name for name, value in output.items() if value is found)
            output[key] = new
            return output
        values = [new if value is found else value for value in output]
        make = getattr(output, "_make", list if isinstance(output, list) else tuple)
        return make(values)  # of a named tuple, another one

    hook._is_lensloc = True  # type: ignore[attr-defined]
    return hook

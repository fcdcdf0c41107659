"""Every call of every module of a block, noted while the model runs: what came and what went."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor of numbers with a fraction in a value, a tuple or a mapping."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    parts = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (Mapping, tuple, list)):
        return None
    return next((p for p in parts if isinstance(p, Tensor) and p.is_floating_point()), None)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module within a block.

    What it was given and gave is ``[batch, pos, width]``, also where the module has all tokens in
    one axis (flat). It is whole; where each rank of a tensor-parallel model has a part of it, the
    ``shards`` are the widths of the parts.
    """

    name: str
    module: nn.Module
    input: Tensor | None
    output: Tensor | None
    began: int
    ended: int
    input_flat: bool
    output_flat: bool
    input_shards: tuple[int, ...] = ()
    output_shards: tuple[int, ...] = ()


class Watch:
    """Notes every call of every module of a block, while it is open."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.calls: list[Call] = []
        self._clock = 0
        self._open: list[tuple[int, Tensor | None]] = []
        self._handles: list[Any] = []
        self._size: tuple[int, ...] = ()

    def __enter__(self) -> "Watch":
        for name, module in self.block.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._begin, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._end(name)))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._clock += 1
        found = first_tensor((*inputs, *named.values()))
        if module is self.block and found is not None:
            self._size = tuple(found.shape[:2])
        self._open.append((self._clock, None if found is None else found.detach()))

    def _end(self, name: str) -> Any:
        def end(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            self._clock += 1
            began, given = self._open.pop()
            output = first_tensor(result)
            self.calls.append(
                Call(
                    name,
                    module,
                    self._kept(given),
                    None if output is None else self._kept(output.detach()),
                    began,
                    self._clock,
                    self._is_flat(given),
                    self._is_flat(output),
                )
            )

        return end

    def _kept(self, value: Tensor | None) -> Tensor | None:
        """Return a copy on the CPU, ``[batch, pos, width]`` where it has that many rows."""
        if value is None:
            return None
        flat, value = self._is_flat(value), value.cpu().clone()
        return value.unflatten(0, self._size) if flat else value

    def _is_flat(self, value: Tensor | None) -> bool:
        """Say whether a value has all tokens of all rows in one axis."""
        size = self._size
        if value is None or value.ndim != 2 or len(size) != 2:
            return False
        return len(value) == size[0] * size[1]

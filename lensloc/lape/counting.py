"""Counter: windows of tokens -> at how many of them every neuron is active."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.forward.sites import Site, get_site, hook_names, require_one_width, to_units
from lensloc.models.adapting import surface
from lensloc.models.surface import Hook, Model, opened

# Tokens counted at once on a CPU: few enough that what is made of them stays in its caches.
_PART = 256


@dataclass(frozen=True, eq=False)
class Counter:
    """Runs windows through a model and counts active neurons, by hooks that change nothing.

    Attributes:
        model: a loaded model of any kind.
        site: where activations are read.
        hooks: its hook points, one per layer.
        threshold: above which a neuron is active, in activation units.
        by_row: whether windows are counted one by one, or all together.
    """

    model: Model
    site: Site
    hooks: tuple[str, ...]
    threshold: float
    by_row: bool
    _buffers: dict[Any, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, model: Model, site: str, threshold: float, by_row: bool) -> "Counter":
        """Return a counter at a site.

        Raises:
            LensLocError: if the model lacks it.
        """
        found = get_site(site)
        names = tuple(hook_names(found, model))
        require_one_width(found, model, "Recording language neurons")
        return cls(model, found, names, threshold, by_row, {})

    def count(self, ids: Int64[Tensor, "row pos"]) -> Int64[Tensor, "counted layer neuron"]:
        """Return the counts of every window; of all together, in one row, unless ``by_row``.

        Raises:
            LensLocError: if the site's hooks hold no units, or an activation is not finite.
        """
        found: dict[str, Tensor] = {}
        finite: list[Tensor] = []
        seen = surface(self.model)
        device = seen.device

        def count(name: str) -> Hook:
            def hook(activation: Tensor) -> None:
                found[name] = self._count(activation, name, (len(ids), ids.shape[1])).to(device)

            return hook

        def check(activation: Tensor) -> None:
            finite.append(activation.isfinite().all())

        hooks: list[tuple[str, Hook]] = [(name, count(name)) for name in self.hooks]
        # What is not finite anywhere in the model stays so up to the last block's output.
        end = get_site("resid_post").hook_name(seen.n_layers - 1)
        if seen.lacks(end) is None:
            hooks.append((end, check))
        with opened(seen, hooks):
            seen.blocks(ids.to(device))
        for name in self.hooks:
            if name not in found:
                raise LensLocError(
                    f"The hook point {name!r} is never reached in this model (some need a setting "
                    f"of it), so nothing can be counted at the site {self.site.name!r}; choose "
                    "another."
                )
        if not all(map(bool, finite)):
            raise LensLocError(
                "The model's activations are not all finite in this corpus; load the model in "
                "float32."
            )
        return torch.stack([found[name] for name in self.hooks], dim=1)

    def _count(
        self, activation: Tensor, name: str, size: tuple[int, int]
    ) -> Int64[Tensor, "counted neuron"]:
        shape = tuple(activation.shape)
        if not self.site.is_summary and (shape[:2] != size or len(shape) not in (3, 4)):
            raise LensLocError(
                f"The hook point {name!r} holds an array of shape {shape} for {size[0]} windows of "
                f"{size[1]} tokens, not one vector per token, so it has no units; choose another "
                "site."
            )
        units = to_units(self.site, activation, surface(self.model).n_heads)
        if units.device.type == "cuda":
            # Truths take a quarter of the memory traffic of numbers, which is what counting costs.
            active = units > self.threshold
            return active.sum(dim=1) if self.by_row else active.sum(dim=(0, 1))[None]
        rows = units if self.by_row else units.flatten(0, 1)[None]
        counts = rows.new_zeros(len(rows), rows.shape[-1], dtype=torch.float32)
        truths, ones = self._buffer(rows)
        for row, count in zip(rows, counts, strict=True):
            for part in row.split(_PART):
                # Sums of ones by a matrix product, several times as fast as summing booleans.
                active = torch.gt(part, self.threshold, out=truths[: len(part)])
                count.addmv_(active.T, ones[: len(part)])
        return counts.to(torch.int64)

    def _buffer(self, like: Tensor) -> tuple[Float[Tensor, "part neuron"], Float[Tensor, " part"]]:
        # One for all layers: allocating an array takes as long as filling it.
        key = like.shape[-1], like.device
        if key not in self._buffers:
            self._buffers.clear()
            truths = torch.empty(_PART, like.shape[-1], dtype=torch.float32, device=like.device)
            self._buffers[key] = truths, truths.new_ones(_PART)
        return self._buffers[key]

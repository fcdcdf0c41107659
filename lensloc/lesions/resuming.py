"""Lesions that begin in a late layer: the blocks before are run once, intact, and not again.

Within :meth:`Residuals.used`, what every block reads in an intact pass is kept, batch by batch, as
far as a budget of memory goes; a pass under hooks begins at the lowest layer that one is open in,
or behind it, where they act on its output. So does the probe that says whether a lesion moved a
logit, and what the intact model gives there is computed once.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
import xxhash
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.forward.memory import free_memory
from lensloc.lesions.lesioning import PROBING, intact
from lensloc.models.adapting import agreed, surface
from lensloc.models.ends import layer_of
from lensloc.models.surface import Hook, Inputs, LogitsOf, Model, Start, Surface, opened

log = logging.getLogger(__name__)

# Of the memory that is free, and on a CPU at most: more is seldom worth what others may need.
_SHARE = 0.25
_MOST_ON_CPU = 4 * 2**30

_BEHIND = "hook_resid_post"

_IN_USE: ContextVar["Residuals | None"] = ContextVar("residuals", default=None)


class Residuals:
    """What the blocks of an intact model read, by batch and layer.

    Of long or many texts fewer layers are kept: every second, fourth, ...; a pass then begins at
    the last one that is kept at or before the lesion. Batches that meet lesions only are kept when
    they come for the second time.
    """

    def __init__(self, model: Model, n_bytes: int | None = None) -> None:
        """Take a model.

        Args:
            model: of any kind; it must stay as it is meanwhile.
            n_bytes: how much may be kept; a share of the memory that is free if None.
        """
        self.model = model
        self._budget = n_bytes
        self._kept: dict[bytes, dict[int, Tensor]] = {}
        self._met: set[bytes] = set()
        self._probed: dict[bytes, Tensor] = {}
        self._stride = 1

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Use and extend what is kept, in all that is scored and probed inside."""
        token, probing = _IN_USE.set(self), PROBING.set(self._probe)
        try:
            yield
        finally:
            PROBING.reset(probing)
            _IN_USE.reset(token)

    @property
    def n_bytes(self) -> int:
        """How much is kept."""
        return sum(_size(each) for kept in self._kept.values() for each in kept.values())

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        copies: int = 1,
    ) -> tuple[LogitsOf, int]:
        """Do what :func:`picked_logits` does, with less work."""
        seen = surface(self.model)
        hooks = [hook for hook in seen.open_hooks() if not _is_suspended(hook)]
        first = _first_layer(hooks, seen.n_layers)
        start: Start | None = None
        if first != 0 and self._stride < seen.n_layers and seen.starts_anywhere():
            key = _key(inputs)
            if first is None and key not in self._kept and copies == 1:
                with self._keeping(key, inputs):
                    return seen.picked_logits(inputs, rows, positions)
            if first is not None:
                start = self._start(key, first, inputs)
        return _picked_logits(seen, inputs, rows, positions, copies, start)

    def _probe(self, model: Model, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "place vocab"]:
        """Return the logits of all places of a few tokens, those without hooks from what is kept.

        Both are of the same kind of pass, so that a lesion that does nothing moves no bit of them.
        """
        inputs = Inputs(tokens)
        n_rows, length = tokens.shape
        rows, positions = (
            torch.from_numpy(part).to(tokens.device)
            for part in np.divmod(np.arange(n_rows * length), length)
        )

        def run() -> Tensor:
            logits_of, _ = picked_logits(model, inputs, rows, positions)
            return logits_of(slice(None))

        if model is not self.model:
            return run()
        key = _key(inputs)
        hooks = surface(model).open_hooks()
        if key not in self._probed and all(hasattr(hook, "owner") for hook in hooks):
            with intact(model):  # which lets the pass under lesions begin where they do
                self._probed[key] = run()
        if key in self._probed and all(map(_is_suspended, hooks)):
            return self._probed[key]
        return run()

    def _start(self, key: bytes, first: int, inputs: Inputs) -> Start | None:
        if key not in self._kept:
            again = key in self._met
            self._met.add(key)
            hooks = surface(self.model).open_hooks()
            if not again or not all(hasattr(hook, "owner") for hook in hooks):
                return None
            # A single place, and the last: some models compute all logits from there on.
            row = inputs.tokens.new_zeros(1)
            with intact(self.model), self._keeping(key, inputs):
                surface(self.model).picked_logits(inputs, row, row + inputs.tokens.shape[1] - 1)
        kept = self._kept.get(key, {})
        layer = max((layer for layer in kept if layer <= first), default=0)
        return Start(layer, kept[layer]) if layer else None

    @contextlib.contextmanager
    def _keeping(self, key: bytes, inputs: Inputs) -> Iterator[None]:
        seen = surface(self.model)
        self._thin_out(inputs.tokens.numel() * seen.d_model * seen.dtype.itemsize)
        found: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            def hook(value: Tensor) -> None:
                found[layer] = value.detach().clone()

            return hook

        layers = range(self._stride, seen.n_layers, self._stride)
        points = [(f"blocks.{layer - 1}.{_BEHIND}", keep(layer)) for layer in layers]
        with opened(seen, [each for each in points if seen.lacks(each[0]) is None]):
            yield
        self._kept[key] = found
        self._thin_out()  # what passed may be wider than the model's dtype

    def _thin_out(self, a_layer: int = 0) -> None:
        """Keep fewer layers, until what comes (so many bytes per layer) fits into the budget."""
        seen = surface(self.model)
        if self._budget is None:
            budget = int(_SHARE * (free_memory(seen.device) + self.n_bytes))
            if seen.device.type == "cpu":
                budget = min(_MOST_ON_CPU, budget)
            self._budget = agreed(self.model, budget)
        while (layers := len(range(self._stride, seen.n_layers, self._stride))) and (
            self.n_bytes + layers * a_layer > self._budget
        ):
            self._stride *= 2
            for key, kept in self._kept.items():
                self._kept[key] = {n: each for n, each in kept.items() if n % self._stride == 0}
            log.info("of intact passes every %d. layer is kept", self._stride)


def picked_logits(
    model: Model,
    inputs: Inputs,
    rows: Int[Tensor, " picked"],
    positions: Int[Tensor, " picked"],
    copies: int = 1,
) -> tuple[LogitsOf, int]:
    """Run a model as its surface does, beginning where what is kept allows it to.

    Args:
        model: the model.
        inputs: the tokens.
        rows: of every place, in all copies: row r of copy c is ``c * len(tokens) + r``.
        positions: of every place, in its row.
        copies: how often all rows are run in this pass. Hooks that do different things to them tell
            them apart by the order: all rows of one copy stand before those of the next.
    """
    kept = _IN_USE.get()
    if kept is None or kept.model is not model:
        return _picked_logits(surface(model), inputs, rows, positions, copies)
    return kept.picked_logits(inputs, rows, positions, copies)


def _picked_logits(
    seen: Surface,
    inputs: Inputs,
    rows: Int[Tensor, " picked"],
    positions: Int[Tensor, " picked"],
    copies: int,
    start: Start | None = None,
) -> tuple[LogitsOf, int]:
    if copies > 1:  # only now, since what is kept is kept once for all of them
        inputs = inputs.repeated(copies)
    if start is None:
        return seen.picked_logits(inputs, rows, positions)
    return seen.picked_logits(inputs, rows, positions, start.repeated(copies))


def _first_layer(hooks: list[Any], n_layers: int) -> int | None:
    """Return the first layer that hooks leave to be run; 0 if that is not known, None without any.

    What acts on a block's output acts on what is kept of it, so the next block is the first then.
    """
    if not all(getattr(hook, "by_what_passes", False) for hook in hooks):
        return 0
    return min((_layer_left(hook.point, n_layers) for hook in hooks), default=None)


def _layer_left(point: str, n_layers: int) -> int:
    return layer_of(point, n_layers) + point.endswith(f".{_BEHIND}")


def _is_suspended(hook: Any) -> bool:
    owner = getattr(hook, "owner", None)
    return owner is not None and bool(owner.suspended)


def _size(values: Tensor) -> int:
    return values.numel() * values.element_size()


def _key(inputs: Inputs) -> bytes:
    digest = xxhash.xxh3_128()
    for part in (inputs.tokens, inputs.positions, inputs.sees):
        if part is not None:
            digest.update(repr(tuple(part.shape)).encode())
            digest.update(part.cpu().numpy().tobytes())
    return digest.digest()

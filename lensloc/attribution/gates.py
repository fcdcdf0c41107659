"""Gates of units, as hooks: where units are, how they are opened and closed, what passes."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.forward.sites import Site, upcast
from lensloc.models.surface import Hook, Model


@dataclass(frozen=True)
class Place:
    """One layer of a site."""

    site: Site
    layer: int
    n_heads: int

    @property
    def hook(self) -> str:
        """The hook point."""
        return self.site.hook_name(self.layer)

    def parts(self, activation: Tensor) -> Float[Tensor, "row pos unit part"]:
        """Return what each unit consists of: one number, or the dimensions of a head."""
        rows, positions = activation.shape[:2]
        if self.site.axes == "head_norm":
            return activation.reshape(rows, positions, self.n_heads, -1)
        return activation.reshape(rows, positions, -1, 1)


Hooks = list[tuple[str, Hook]]


class Gate:
    """The gates of all units of a place, as a hook: 1 leaves a unit as it is, 0 removes it.

    What it is replaced by is one baseline per unit, or one per row and position (``[row, pos, unit,
    part]``), such as what passed in another run.

    Several gates can be closed in one pass, each in a copy of its own of all texts: the first in
    the first copy, and so on (None for a copy in which all are open); the rows of one copy stand
    before those of the next.

    Attributes:
        value: ``[row, unit]``, in float32 at least; those that learn are good for one batch. Of
            closed ones ``[copy, unit]``.
        point: where it is opened.
        by_token: whether what it does to a token follows from what passes there of this token.
        by_what_passes: that nothing else decides what it does.
    """

    by_what_passes = True

    def __init__(
        self,
        place: Place,
        baseline: Float[Tensor, "*place unit part"] | None,
        opening: float = 1.0,
        *,
        closed: Sequence[int | None] = (),
        learns: bool = False,
    ) -> None:
        self.place = place
        self.point = place.hook
        self.by_token = not learns and (baseline is None or baseline.ndim == 2)
        self.value: Tensor | None = None
        self._baseline = baseline
        self._opening = opening
        self._closed = tuple(closed)
        self._learns = learns

    @property
    def hooks(self) -> Hooks:
        """What is to be opened."""
        return [(self.place.hook, self)]

    def __call__(self, activation: Tensor) -> Tensor:
        """Let the activation pass as far as the gates are open."""
        parts = upcast(self.place.parts(activation))
        # Kept, since some hook points are passed more than once in a forward pass (the norm before
        # attention, for queries, keys and values), and the effect is that of all together.
        if self.value is None:
            self.value = self._made(parts)
        gate = self.value
        if len(self._closed) > 1:
            gate = gate.repeat_interleave(len(parts) // len(self._closed), dim=0)
        away = parts if self._baseline is None else parts - self._baseline.to(parts)
        # Written so that open gates change no bit of the activation.
        edited = torch.addcmul(parts, (gate - 1)[:, None, :, None], away)
        return edited.to(activation.dtype).reshape(activation.shape)

    def _made(self, parts: Float[Tensor, "row pos unit part"]) -> Float[Tensor, "gates unit"]:
        # A gate per row, so that a gradient is one text's; where none is taken, one serves all, or
        # all of a copy.
        n_gates = len(parts) if self._learns else max(1, len(self._closed))
        size = (n_gates, parts.shape[2])
        # Single gates are closed before they go to the device, not one by one there.
        device = torch.device("cpu") if self._closed else parts.device
        gate = torch.full(size, self._opening, dtype=parts.dtype, device=device)
        for copy, unit in enumerate(self._closed):
            if unit is not None:
                gate[copy, unit] = 0
        return gate.to(parts.device).requires_grad_(self._learns)


class Survey:
    """Sums over tokens of a place's activations and of their sizes, as a hook that only looks."""

    def __init__(self, place: Place, read: Bool[Tensor, "row pos"]) -> None:
        self.place = place
        self.hooks: Hooks = [(place.hook, self)]
        self.total: Tensor | None = None
        self.size: Tensor | None = None
        self._read = read

    def __call__(self, activation: Tensor) -> None:
        """Sum up what passes."""
        parts = upcast(self.place.parts(activation.detach()))
        read = self._read.to(device=parts.device, dtype=parts.dtype)
        # They stay on their device while the model runs, so that nothing waits for them.
        self.total = einsum(parts, read, "row pos unit part, row pos -> unit part")
        sizes = torch.linalg.vector_norm(parts, dim=-1)
        self.size = einsum(sizes, read, "row pos unit, row pos -> unit")

    def found(self) -> tuple[Float[Tensor, "unit part"], Float[Tensor, " unit"]]:
        """Return both sums in float64, on the CPU.

        Raises:
            LensLocError: if nothing passed.
        """
        total, size = passed(self.place, self.total), passed(self.place, self.size)
        return total.cpu().double(), size.cpu().double()


def passed(place: Place, value: Tensor | None) -> Tensor:
    """Return what a hook kept.

    Raises:
        LensLocError: if nothing passed it.
    """
    if value is None:
        raise LensLocError(
            f"The model ran without passing its hook point {place.hook!r}, so the units of "
            f"{place.site.name} in layer {place.layer} have no effect that could be found; choose "
            "another site."
        )
    return value


@contextlib.contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Keep the weights out of the gradient, which saves the memory that theirs would take."""
    learning = [weights for weights in model.parameters() if weights.requires_grad]
    # Weights computed from others cannot be frozen, and need not be.
    learning = [weights for weights in learning if weights.is_leaf]
    try:
        for weights in learning:
            weights.requires_grad_(False)
        yield
    finally:
        for weights in learning:
            weights.requires_grad_(True)

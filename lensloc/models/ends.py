"""What stands before the blocks and behind them: the embedding and the final norm."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lensloc.models.anatomy import Tap
from lensloc.models.watching import first_tensor

EMBED = "hook_embed"
FINAL = "ln_final.hook_out"
ENDS = (EMBED, FINAL)


def layer_of(point: str, n_layers: int) -> int:
    """Return the block that a hook point is in; ``n_layers`` for what stands behind all of them.

    What stands before them counts to the first, which is run in any case.

    Example:
        >>> layer_of("blocks.3.hook_resid_post", 6), layer_of("hook_embed", 6)
        (3, 0)
        >>> layer_of("ln_final.hook_out", 6)
        6
    """
    if point == EMBED:
        return 0
    parts = point.split(".")
    return int(parts[1]) if parts[0] == "blocks" else n_layers


def embedding_of(model: Any) -> Any:
    """Return what looks tokens up, or None if the model has nothing of the kind."""
    with contextlib.suppress(AttributeError, NotImplementedError):
        return model.get_input_embeddings()
    return None


def entrance_of(model: Any) -> torch.device:
    """Return the device on which a model takes tokens, wherever accelerate keeps its weights."""
    embedding = embedding_of(model)
    where = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
    if where is None:
        weight = None if embedding is None else next(embedding.parameters(), None)
        return torch.device(model.device if weight is None else weight.device)
    return torch.device(f"cuda:{where}" if isinstance(where, int) else where)


@dataclass(frozen=True)
class _Call:
    module: nn.Module
    given: Tensor
    gave: Tensor

    @property
    def changes(self) -> bool:
        """Whether anything becomes of what is given, and its shape stays."""
        return self.given.shape == self.gave.shape and not torch.equal(self.given, self.gave)


def ends_of(
    run: Callable[[], Any], model: nn.Module, blocks: Sequence[nn.Module], embedding: nn.Module
) -> dict[str, Tap]:
    """Find the embedding and the final norm by what flows from the one and into the other.

    The embedding is what looks tokens up, with the norm that reads nothing but that, where there
    is one; the final norm is what makes of the last block's output what the model's body returns.

    Args:
        run: runs the body of the model, without its output layer, in evaluation mode.
        model: the model.
        blocks: its blocks.
        embedding: what looks tokens up.

    Returns:
        Name of a hook point -> where it is; of those that were found.
    """
    inside = {id(part) for block in blocks for part in block.modules()}
    around = {id(part) for part in model.modules() if _holds(part, blocks[0])}
    calls: list[_Call] = []
    last: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], gave: Any) -> None:
        before, after = first_tensor((*given, *named.values())), first_tensor(gave)
        if module is embedding and after is not None:
            calls.append(_Call(module, after.new_zeros(0), after.clone()))
        elif before is not None and after is not None:
            calls.append(_Call(module, before.clone(), after.clone()))

    def note_last(module: nn.Module, given: Any, gave: Any) -> None:
        found = first_tensor(gave)
        if found is not None:
            last.append(found.clone())

    handles = [
        part.register_forward_hook(note, with_kwargs=True)
        for part in model.modules()
        if id(part) not in inside | around
    ]
    handles.append(blocks[-1].register_forward_hook(note_last))
    try:
        result = first_tensor(run())
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, Tap] = {}
    begin = _embedded(calls, embedding)
    if begin is not None:
        found[EMBED] = Tap(begin.module, "output", int(begin.gave.shape[-1]))
    if result is not None and len(last) == 1:
        for call in calls:  # the outermost of those that do the same ends last
            same = call.gave.shape == result.shape and torch.equal(call.gave, result)
            if same and call.changes and torch.equal(call.given, last[0]):
                found[FINAL] = Tap(call.module, "output", int(call.gave.shape[-1]))
    return found


def _embedded(calls: Sequence[_Call], embedding: nn.Module) -> _Call | None:
    own = [call for call in calls if call.module is embedding]
    if len(own) != 1 or own[0].gave.ndim != 3:
        return None
    for call in calls[calls.index(own[0]) + 1 :]:
        reads = call.given.shape == own[0].gave.shape and torch.equal(call.given, own[0].gave)
        if reads and call.changes and any(True for _ in call.module.parameters()):
            return call
    return own[0]


def _holds(part: nn.Module, block: nn.Module) -> bool:
    return any(other is block for other in part.modules())


def finishing_of(
    logits: Callable[[], Tensor], head: nn.Module | None, config: Any
) -> Callable[[Tensor], Tensor] | None:
    """Return what a model does to its output layer's numbers; None if that is not known.

    Args:
        logits: runs the model.
        head: its output layer.
        config: of the model.
    """
    if head is None:
        return None
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output)

    handle = head.register_forward_hook(keep)
    try:
        found = logits()
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].shape != found.shape:
        return None
    for way in _finishings(config):
        if torch.allclose(way(seen[0]).float(), found.float(), rtol=1e-4, atol=1e-5):
            return way
    return None


def _finishings(config: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield what transformers models do to the output layer's numbers."""
    yield lambda raw: raw
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        yield lambda raw: torch.tanh(raw / cap) * cap
    for name in ("logit_scale", "logits_scaling"):
        factor = getattr(config, name, None)
        if factor:
            yield lambda raw, factor=factor: raw * factor  # type: ignore[misc]
            yield lambda raw, factor=factor: raw / factor  # type: ignore[misc]

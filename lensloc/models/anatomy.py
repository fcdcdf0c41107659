"""Where the hook points of a transformers model are: found by what flows through it.

Every module of every block is watched once, on a few tokens. What attention adds is whichever
module's output, added to the block's input, is found again as the input of a later module; that
input is the middle of the block; and so on. Names serve only to tell attention from the rest and
queries from keys. A place that is not found is no hook point of the model.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lensloc.models.sharding import Shards, joined
from lensloc.models.streams import Parts, Stream, equal, fits
from lensloc.models.watching import Call, Watch

Side = Literal["input", "output"]

_PROJECTIONS = {
    "q": ("q_proj", "query", "q_lin", "wq"),
    "k": ("k_proj", "key", "k_lin", "wk"),
    "v": ("v_proj", "value", "v_lin", "wv"),
}
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "W_pack")


@dataclass(frozen=True)
class Cut:
    """Which elements of a module's tensor ``[batch, pos, width]`` an activation consists of.

    Attributes:
        start: first element; of every group, if there are groups.
        stop: the element behind the last one; None for all.
        groups: split the last axis into so many groups first.
        heads: split what was cut out into so many heads; None for ``[batch, pos, width]``.
        scale: the activation is so many times the module's tensor.
    """

    start: int = 0
    stop: int | None = None
    groups: int | None = None
    heads: int | None = None
    scale: float = 1.0

    def take(self, whole: Tensor) -> Tensor:
        """Return the activation, ``[batch, pos, width]`` or ``[batch, pos, head, d_head]``."""
        part = whole if self.groups is None else whole.unflatten(-1, (self.groups, -1))
        part = part[..., self.start : self.stop]
        if self.groups is not None:
            part = part.flatten(-2)
        if self.heads is not None:
            part = part.unflatten(-1, (self.heads, -1))
        return part if self.scale == 1 else part * self.scale

    def put(self, whole: Tensor, new: Tensor) -> Tensor:
        """Return the module's tensor with the activation replaced."""
        if self.scale != 1:
            new = new / self.scale
        if self.heads is not None:
            new = new.flatten(-2)
        if self.start == 0 and self.stop is None:
            return new
        into = whole if self.groups is None else whole.unflatten(-1, (self.groups, -1))
        if self.groups is not None:
            new = new.unflatten(-1, (self.groups, -1))
        parts = [into[..., : self.start], new]
        if self.stop is not None:
            parts.append(into[..., self.stop :])
        together = torch.cat(parts, dim=-1)
        return together if self.groups is None else together.flatten(-2)


@dataclass(frozen=True)
class Tap:
    """Where a hook point of one block is.

    Attributes:
        module: the module.
        side: whether the value is its first input or its first output.
        width: elements of the last axis of the activation, heads flattened.
        cut: which elements of the module's tensor it is.
        carried: whether a change is also added to the block's output: where this module and the
            residual stream both read the value, but only this module would see the change.
        flat: whether the module sees ``[batch * pos, width]``.
        shards: widths of the parts of the module's tensor that the ranks of a tensor-parallel model
            have; empty where each has the whole.
    """

    module: nn.Module
    side: Side
    width: int
    cut: Cut = field(default_factory=Cut)
    carried: bool = False
    flat: bool = False
    shards: Shards = ()


def blocks_of(model: nn.Module, config: Any) -> list[nn.Module]:
    """Return the blocks of a model: the first list of as many modules as it has layers.

    Args:
        model: the model.
        config: of its text part. That of a decoder alone may still speak of the encoder it had.
    """
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part)]
    for name in ("num_hidden_layers", "decoder_layers"):
        n_layers = getattr(config, name, None)
        for part in lists:
            if len(part) == n_layers:
                return list(part)
    return []


def heads_of(config: Any) -> int | None:
    """Return how many attention heads blocks have by a configuration.

    Returns:
        None if it does not say, or if layers differ in it.
    """
    found = (getattr(config, f"{part}_attention_heads", None) for part in ("decoder", "num"))
    return next((number for number in found if isinstance(number, int) and number), None)


def examine(
    run: Callable[[], object],
    blocks: Sequence[nn.Module],
    n_heads: int | None,
    group: Any = None,
) -> list[dict[str, Tap]]:
    """Find the hook points of every block.

    Args:
        run: runs the model, in evaluation mode, on at least two rows of a few tokens.
        blocks: its blocks.
        n_heads: its number of attention heads, where it has any.
        group: the ranks over which its weights are sharded, if they are.

    Returns:
        For every block: name of a hook point behind ``blocks.{layer}.`` -> where it is.
    """
    watches = [Watch(block) for block in blocks]
    with contextlib.ExitStack() as stack:
        for watch in watches:
            stack.enter_context(watch)
        run()
    if group is not None:
        for watch in watches:
            watch.calls = joined(watch.calls, group)
    return [_sharded(_anatomy(watch, n_heads), watch.calls) for watch in watches]


def _sharded(taps: dict[str, Tap], calls: Sequence[Call]) -> dict[str, Tap]:
    """Say at which hook points each rank has a part only."""
    shards = {
        (id(call.module), side): getattr(call, f"{side}_shards")
        for call in calls
        for side in ("input", "output")
    }
    return {
        name: replace(tap, shards=shards.get((id(tap.module), tap.side), ()))
        for name, tap in taps.items()
    }


# -- what is what ----------------------------------------------------------------------------------


def _anatomy(watch: Watch, n_heads: int | None) -> dict[str, Tap]:
    whole = next((call for call in watch.calls if call.name == ""), None)
    if whole is None or whole.input is None or whole.output is None:
        return {}
    x, y = whole.input, whole.output
    if x.shape != y.shape or x.ndim != 3:
        return {}
    width = x.shape[-1]
    taps = {
        "hook_resid_pre": Tap(watch.block, "input", width),
        "hook_resid_post": Tap(watch.block, "output", width),
    }
    parts = Parts.of(watch.calls)
    stream = Stream.of(x, y, parts)
    if stream.middle is not None:
        middle = stream.middle
        taps["hook_resid_mid"] = Tap(
            middle.module, "input", width, carried=not stream.normalised, flat=middle.input_flat
        )
    for name, call, scale in (
        ("hook_attn_out", stream.attn_out, stream.attn_scale),
        ("hook_mlp_out", stream.mlp_out, stream.mlp_scale),
    ):
        if call is not None:
            taps[name] = Tap(call.module, "output", width, Cut(scale=scale), flat=call.output_flat)
    taps |= _mlp(parts, stream, width)
    taps |= _attention(parts, stream, n_heads)
    return taps


def _is_linear(module: nn.Module) -> bool:
    if any(True for _ in module.children()):
        return False
    if isinstance(module, nn.Linear) or hasattr(module, "in_features"):
        return True
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


# -- the MLP ---------------------------------------------------------------------------------------


def _mlp(parts: Parts, stream: Stream, width: int) -> dict[str, Tap]:
    """Find neurons: what enters the matrix that writes, and what enters the nonlinearity.

    In a mixture of experts, no one matrix gives what the MLP adds.
    """
    out = stream.mlp_out
    if out is None:
        return {}
    down = next(
        (
            call
            for call in sorted(parts.rest, key=lambda call: call.ended, reverse=True)
            if _is_linear(call.module) and _gives(call, out)
        ),
        None,
    )
    if down is None or down.input is None or down.input.ndim != 3:
        return {}
    neurons = down.input.shape[-1]
    taps = {"mlp.hook_post": Tap(down.module, "input", neurons, flat=down.input_flat)}
    bends = [
        call
        for call in parts.rest
        if call.ended < down.began
        and not any(True for _ in call.module.parameters())
        and not any(True for _ in call.module.children())
        and fits(call.input, down.input)
        and fits(call.output, down.input)
        and call.input is not None
        and call.output is not None
        and not torch.equal(call.input, call.output)
    ]
    if len(bends) == 1:
        taps["mlp.hook_pre"] = Tap(bends[0].module, "input", neurons, flat=bends[0].input_flat)
    return taps


def _gives(call: Call, out: Call) -> bool:
    """Say whether a matrix gives what a part of the block adds, up to a normalisation behind it."""
    return any(equal(value, call.output) for value in (out.output, out.input))


# -- attention -------------------------------------------------------------------------------------


def _attention(parts: Parts, stream: Stream, heads: int | None) -> dict[str, Tap]:
    out = stream.attn_out
    if not heads or out is None:
        return {}
    write = next(
        (
            call
            for call in sorted(parts.attention, key=lambda call: call.ended, reverse=True)
            if _is_linear(call.module) and _gives(call, out)
        ),
        None,
    )
    taps: dict[str, Tap] = {}
    z: Tensor | None = None
    if write is not None and write.input is not None and write.input.shape[-1] % heads == 0:
        z = write.input
        taps["attn.hook_z"] = Tap(
            write.module, "input", z.shape[-1], Cut(heads=heads), flat=write.input_flat
        )
    return taps | _separate(parts, heads) | _fused(parts, heads, z)


def _named(parts: Parts, names: Sequence[str]) -> Call | None:
    found = [
        call
        for call in parts.attention
        if call.name.rpartition(".")[2] in names and _is_linear(call.module)
    ]
    return found[0] if len(found) == 1 and found[0].output is not None else None


def _separate(parts: Parts, heads: int) -> dict[str, Tap]:
    """Find queries, keys and values that come from a matrix each."""
    calls = {name: _named(parts, names) for name, names in _PROJECTIONS.items()}
    widths = {
        name: call.output.shape[-1]
        for name, call in calls.items()
        if call is not None and call.output is not None
    }
    if len(widths) < len(calls) or widths["q"] % heads:
        return {}
    d_head = widths["q"] // heads
    # Where queries come with a gate, these are not the dimensions of heads.
    if widths["k"] != widths["v"] or widths["k"] % d_head or heads % (widths["k"] // d_head):
        return {}
    return {
        f"attn.hook_{name}": Tap(
            call.module,
            "output",
            widths[name],
            Cut(heads=widths[name] // d_head),
            flat=call.output_flat,
        )
        for name, call in calls.items()
        if call is not None
    }


def _fused(parts: Parts, heads: int, z: Tensor | None) -> dict[str, Tap]:
    """Find queries, keys and values in one matrix's output.

    A causal head's output at the first token is the value of that token, whatever the attention,
    which tells the ways in which the three can lie in it apart.
    """
    call = _named(parts, _FUSED)
    if call is None or call.output is None or z is None:
        return {}
    d_head = z.shape[-1] // heads
    shared = (call.output.shape[-1] // d_head - heads) // 2
    if shared < 1 or heads % shared or call.output.shape[-1] != (heads + 2 * shared) * d_head:
        return {}
    first = z[:, 0].unflatten(-1, (heads, d_head)).double()
    for cuts in _layouts(heads, shared, d_head):
        values = cuts["v"].take(call.output)[:, 0].double()
        if torch.allclose(values.repeat_interleave(heads // shared, dim=1), first, rtol=1e-2):
            sizes = {"q": heads, "k": shared, "v": shared}
            return {
                f"attn.hook_{name}": Tap(
                    call.module, "output", sizes[name] * d_head, cut, flat=call.output_flat
                )
                for name, cut in cuts.items()
            }
    return {}


def _layouts(heads: int, shared: int, d_head: int) -> Iterator[dict[str, Cut]]:
    """Yield the ways in which queries, keys and values lie together."""
    q, kv = heads * d_head, shared * d_head
    yield {
        "q": Cut(0, q, heads=heads),
        "k": Cut(q, q + kv, heads=shared),
        "v": Cut(q + kv, q + 2 * kv, heads=shared),
    }
    own = heads // shared * d_head
    yield {
        "q": Cut(0, own, shared, heads),
        "k": Cut(own, own + d_head, shared, shared),
        "v": Cut(own + d_head, own + 2 * d_head, shared, shared),
    }

"""How the residual stream runs through a block: which modules' outputs are added to it, and where.

A sum is found by its value: what attention adds is whichever module's output, added to the block's
input, is found again as the input of a later module. Blocks may add before or after they normalise,
or add both parts at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lensloc.models.watching import Call

# Sums are rounded once where the model makes them; more than a few elements never differ by more.
_SHARE = 0.99


@dataclass(frozen=True)
class Parts:
    """Calls within a block, in the order in which they ended, of modules that are called once."""

    attention: tuple[Call, ...]
    rest: tuple[Call, ...]
    name: str

    @classmethod
    def of(cls, calls: Sequence[Call]) -> "Parts":
        """Sort the calls within a block."""
        times: dict[int, int] = {}
        for call in calls:
            times[id(call.module)] = times.get(id(call.module), 0) + 1
        once = [call for call in calls if call.name and times[id(call.module)] == 1]
        name = next(
            (
                call.name
                for call in sorted(once, key=lambda call: call.began)
                if "." not in call.name
                and "att" in call.name.lower()
                and any(True for _ in call.module.children())
                and any(True for _ in call.module.parameters())
            ),
            "",
        )
        inside = [call for call in once if name and (call.name + ".").startswith(name + ".")]
        return cls(tuple(inside), tuple(call for call in once if call not in inside), name)


@dataclass(frozen=True)
class Stream:
    """How the residual stream runs through a block."""

    middle: Call | None = None
    attn_out: Call | None = None
    mlp_out: Call | None = None
    attn_scale: float = 1.0
    mlp_scale: float = 1.0
    normalised: bool = False  # after each sum: nothing by-passes the module that reads the middle

    @classmethod
    def of(cls, x: Tensor, y: Tensor, parts: Parts) -> "Stream":
        """Find the sums on the way from a block's input ``x`` to its output ``y``."""
        attended = [c for c in (*parts.attention, *parts.rest) if fits(c.output, x)]
        attended = [c for c in attended if c in parts.attention or _follows(c, parts.attention)]
        readers = sorted((c for c in parts.rest if fits(c.input, x)), key=lambda call: call.began)
        outermost = sorted(attended, key=lambda call: call.ended, reverse=True)
        serial = cls._serial(x, y, parts, readers, outermost)
        if serial.mlp_out is not None:
            return serial
        normalised = cls._normalised(x, y, parts, outermost)
        if normalised.mlp_out is not None:
            return normalised
        return cls._parallel(x, y, parts, outermost) if serial.attn_out is None else serial

    @classmethod
    def _serial(
        cls, x: Tensor, y: Tensor, parts: Parts, readers: Sequence[Call], attended: Sequence[Call]
    ) -> "Stream":
        for scaled in (False, True):
            for reader in readers:
                assert reader.input is not None
                for call in attended:
                    if call.ended >= reader.began or call.output is None:
                        continue
                    scale = _scale(reader.input - x, call.output) if scaled else 1.0
                    if _is_sum(reader.input, x, call.output * scale):
                        return cls(reader, call, None, scale)._with_mlp(y, parts, scaled)
        return cls()

    def _with_mlp(self, y: Tensor, parts: Parts, scaled: bool) -> "Stream":
        assert self.middle is not None
        assert self.middle.input is not None
        middle = self.middle.input
        for call in sorted(parts.rest, key=lambda call: call.ended, reverse=True):
            if not fits(call.output, y) or call.began < self.middle.began or call.output is None:
                continue
            scale = _scale(y - middle, call.output) if scaled else 1.0
            if _is_sum(y, middle, call.output * scale):
                return replace(self, mlp_out=call, mlp_scale=scale)
        # What is written at such a middle would not simply be carried on to the block's output.
        return replace(self, middle=None, mlp_out=self._added_before_the_end(y, parts))

    def _added_before_the_end(self, y: Tensor, parts: Parts) -> Call | None:
        """Return what the MLP adds where the block then adds more, or multiplies the sum."""
        assert self.middle is not None
        middle = self.middle.input
        assert middle is not None
        readers = [c.input for c in parts.rest if c.began > self.middle.ended and fits(c.input, y)]
        for call in sorted(parts.rest, key=lambda call: call.ended, reverse=True):
            if not fits(call.output, y) or call.began < self.middle.began or call.output is None:
                continue
            times = _scale(y, middle + call.output)
            if any(_adds(call, middle, total) for total in readers) or (
                _is_sum(y, middle * times, call.output * times)
            ):
                return call
        return None

    @classmethod
    def _parallel(cls, x: Tensor, y: Tensor, parts: Parts, attended: Sequence[Call]) -> "Stream":
        others = sorted(parts.rest, key=lambda call: call.ended, reverse=True)
        for call in attended:
            for other in others:
                if other is call or not fits(other.output, x) or other.output is None:
                    continue
                if call.output is not None and _is_sum(y, x, call.output + other.output):
                    return cls(None, call, other)
        return cls()

    @classmethod
    def _normalised(cls, x: Tensor, y: Tensor, parts: Parts, attended: Sequence[Call]) -> "Stream":
        """Look for sums that are normalised before they are carried on, as BERT's and GPT-1's."""
        calls = sorted((*parts.attention, *parts.rest), key=lambda call: call.ended, reverse=True)
        lasts = [call for call in calls if fits(call.input, y) and equal(call.output, y)]
        for middle in calls:
            if not fits(middle.input, x) or not fits(middle.output, x):
                continue
            for call in attended:
                if call.ended >= middle.began or not _adds(call, x, middle.input):
                    continue
                for other in calls:
                    if other.began > middle.ended and any(
                        other.ended < last.began and _adds(other, middle.output, last.input)
                        for last in lasts
                    ):
                        return cls(middle, call, other, normalised=True)
        return cls()


def _adds(call: Call, first: Tensor | None, total: Tensor | None) -> bool:
    """Say whether a sum is what a module gave, added to something."""
    if call.output is None or first is None or total is None or call.output.shape != first.shape:
        return False
    return _is_sum(total, first, call.output)


def equal(value: Tensor | None, other: Tensor | None) -> bool:
    """Say whether two values are there, and the same."""
    if value is None or other is None:
        return False
    return value.shape == other.shape and torch.equal(value, other)


def _follows(call: Call, before: Sequence[Call]) -> bool:
    """Say whether a module's input is what one of the others gave."""
    return any(equal(other.output, call.input) for other in before)


def fits(value: Tensor | None, like: Tensor) -> bool:
    """Say whether a value is there, and of a shape."""
    return value is not None and value.shape == like.shape


def _is_sum(total: Tensor, first: Tensor, second: Tensor) -> bool:
    """Say whether ``total`` is the sum, but for rounding."""
    if not torch.isfinite(second.float()).all() or not second.any():
        return False
    eps = torch.finfo(total.dtype).eps
    sums, wanted = (first.double() + second.double()), total.double()
    allowed = 4 * eps * torch.maximum(first.double().abs(), second.double().abs())
    return float(((sums - wanted).abs() <= allowed).double().mean()) >= _SHARE


def _scale(difference: Tensor, part: Tensor) -> float:
    """Return the factor by which ``part`` comes nearest to ``difference``."""
    a, b = difference.double(), part.double()
    power = float((b * b).sum())
    return float((a * b).sum()) / power if power else 1.0

"""How much is computed at once: by the memory that is free, and by how fast the device is.

On a CPU these are fixed numbers, so that results are the same to the last bit wherever and beside
whatever else they are computed. Elsewhere they follow from the memory that is free when a run
begins (of logits, when a batch does) and from rates that are measured once per process, between two
bounds, in powers of two. Ranks that share work take the least of theirs in all but
:meth:`Budget.on`, so that all of them must ask.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from lensloc.forward.site_table import SITES
from lensloc.models.adapting import surface
from lensloc.models.surface import Model, Surface
from lensloc.ranks import least

# Of a device whose rates are not measured (all but CUDA), and the bounds of what is measured.
UNTRIED_TOKENS = 8192
LEAST_TOKENS = 2048
MOST_TOKENS = 2**17

# A pass is busy when its work takes so many times as long as to ask for it.
_BUSY = 10
# Kernels of a block in a forward pass, hooks included: about as many as a Llama's has.
_KERNELS = 60
_TRIED_ROWS = 4096


Rates = Callable[[torch.device, torch.dtype, int, int], tuple[float, float]]
"""Gets a device, a dtype, and the widths of stream and neurons; gives operations per second in a
matrix product of these, and seconds to start a kernel."""


@dataclass(frozen=True)
class Budget:
    """How many bytes something may take at once.

    Attributes:
        on_cpu: on a CPU, whatever is free.
        share: elsewhere, of what is free.
        least: elsewhere, at least; a batch that is too large after all is halved.
        most: elsewhere, at most.
    """

    on_cpu: int
    share: float
    least: int = 2**28
    most: int = 2**40

    def on(self, *devices: torch.device) -> int:
        """Return how many bytes that is, on the fullest of some devices."""
        if devices[0].type == "cpu":
            return self.on_cpu
        free = min(map(free_memory, devices))
        return power_of_two(min(max(int(self.share * free), self.least), self.most))


def free_memory(device: torch.device) -> int:
    """Return how many bytes can be taken without others losing theirs.

    Args:
        device: where they are to be; that of the machine itself for all but CUDA.
    """
    if device.type == "cuda":
        # What torch holds and does not use is free, too.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(psutil.virtual_memory().available)


def power_of_two(number: int) -> int:
    """Return the largest power of two that is not above a number; 1 for what is below 1.

    Example:
        >>> power_of_two(1023), power_of_two(1024), power_of_two(0)
        (512, 1024, 1)
    """
    return 1 << max(0, int(number).bit_length() - 1)


def devices_of(model: Model) -> tuple[torch.device, ...]:
    """Return the devices that a model computes on, that of its tokens first."""
    first = surface(model).device
    if first.type == "cpu":  # of which there is one
        return (first,)
    found = {weight.device for weight in model.parameters() if weight.device.type == first.type}
    return (first, *sorted(found - {first}, key=str))


def budget_on(model: Model, budget: Budget) -> int:
    """Return what a budget allows on the fullest device of a model, the same in all ranks."""
    return least(budget.on(*devices_of(model)))


def tokens_at_once(
    model: Model, *, on_cpu: int, bytes_a_token: int, budget: Budget, elsewhere: int = 0
) -> int:
    """Return how many tokens are run at once, at least 1.

    Args:
        model: a model that reads tokens.
        on_cpu: tokens on a CPU, if the budget allows them.
        bytes_a_token: what a token takes, whatever the device.
        budget: of all of them.
        elsewhere: what a token takes besides, on other devices than a CPU.
    """
    seen = surface(model)
    allowed = budget_on(model, budget)
    if seen.device.type == "cpu":
        return max(1, min(on_cpu, allowed // max(1, bytes_a_token)))
    busy = least(busy_tokens(model))
    return max(1, min(busy, allowed // max(1, bytes_a_token + elsewhere)))


def pass_bytes(model: Model, longest: int) -> int:
    """Return how many bytes a token takes at once in a forward pass, at most; no gradients.

    Args:
        model: a model that reads tokens.
        longest: tokens of the longest text, with as many of which a token's attention is kept.
    """
    seen = surface(model)
    size = seen.dtype.itemsize
    # Of one block: the residual stream, queries, keys, values and outputs; three arrays of neurons,
    # and one in float32 where they are compared or summed.
    values = 8 * seen.d_model * size + (3 * size + 4) * _neurons(seen)
    if _attends_in_full(seen):
        attention = 3 * seen.n_heads * longest * max(size, 4)
    else:
        attention = 2 * longest * size  # a mask, which all heads have in common
    return values + attention


def _attends_in_full(seen: Surface) -> bool:
    """Say whether a pass computes every head's attention to every token as an array."""
    if getattr(seen.config, "_attn_implementation", None) == "eager":
        return True
    return seen.lacks(SITES["attn_entropy"].hook_name(0)) is None


def _neurons(seen: Surface) -> int:
    return seen.width(SITES["mlp_post"].hook_name(0)) or 4 * seen.d_model


def cache_bytes(model: Model) -> int:
    """Return how many bytes of keys and values a token takes while a model writes."""
    seen = surface(model)
    width = seen.width(SITES["k"].hook_name(0)) or seen.d_model
    return 2 * seen.n_layers * width * seen.dtype.itemsize


# -- rates -----------------------------------------------------------------------------------------


def busy_tokens(model: Model, measure: Rates | None = None) -> int:
    """Return how many tokens keep a device busy: with more a pass is hardly any faster per token.

    A block starts some tens of kernels, whatever is in them. Their work is to take ten times as
    long as their starts.

    Args:
        model: a model that reads tokens.
        measure: of the device; by trying if None, on CUDA.
    """
    seen = surface(model)
    if measure is None:
        if seen.device.type != "cuda":
            return UNTRIED_TOKENS
        measure = measured_rates
    width, neurons = seen.d_model, _neurons(seen)
    try:
        operations, seconds = measure(seen.device, seen.dtype, width, neurons)
    except torch.OutOfMemoryError:  # few, then; other ranks wait for a number
        return LEAST_TOKENS
    a_token = 2 * (4 * width * width + 3 * width * neurons)
    tokens = _BUSY * _KERNELS * seconds * operations / a_token
    return power_of_two(int(min(max(tokens, LEAST_TOKENS), MOST_TOKENS)))


@functools.cache
def measured_rates(
    device: torch.device, dtype: torch.dtype, width: int, neurons: int
) -> tuple[float, float]:
    """Measure a CUDA device, which takes some milliseconds; medians of a few tries."""
    kind = dtype if dtype.is_floating_point else torch.float32
    with torch.no_grad(), torch.cuda.device(device):
        rows = torch.zeros(_TRIED_ROWS, width, dtype=kind, device=device)
        weights = torch.zeros(width, neurons, dtype=kind, device=device)
        took, starts = [], []
        for _ in range(7):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            rows @ weights
            end.record()
            torch.cuda.synchronize(device)
            took.append(begin.elapsed_time(end) / 1000)
        few = rows[:1, :1]
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(64):
                few + 1
            starts.append((time.perf_counter() - start) / 64)
            torch.cuda.synchronize(device)
    operations = 2 * _TRIED_ROWS * width * neurons / max(sorted(took)[3], 1e-6)
    return operations, sorted(starts)[3]


def rows_at_once(
    module: nn.Module, *, on_cpu: int, bytes_a_row: int, budget: Budget, most: int = 1024
) -> int:
    """Return how many rows are run at once, of whatever a model takes; at least 1.

    Args:
        module: the model.
        on_cpu: rows on a CPU, if the budget allows them.
        bytes_a_row: what a row takes.
        budget: of all of them.
        most: rows elsewhere, if the budget allows them.
    """
    wanted = on_cpu if surface(module).device.type == "cpu" else most
    return max(1, min(wanted, budget_on(module, budget) // max(1, bytes_a_row)))

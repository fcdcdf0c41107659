"""Seconds of a call: by the wall, or of this process' threads where others use the machine."""

import time
from collections.abc import Callable
from typing import Any

import torch

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
CLOCK_HELP = (
    "wall, or cpu: seconds that this process' threads ran, which others on the machine change "
    "little (one thread: OMP_NUM_THREADS=1)"
)


def timed(function: Callable[[], Any], device: str, clock: str = "wall") -> float:
    """Return how many seconds a call takes, by the clock of that name."""
    now = CLOCKS[clock]
    start = now()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return now() - start

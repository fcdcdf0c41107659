"""Helpers around transformers: no chatter, no meddling with the global random state."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and advice for a while."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what libraries print to standard error, so that standard output stays the caller's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def untrained_like(
    config: Any,
    seed: int,
    dtype: torch.dtype | str,
    *,
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """Return a model of that configuration as transformers initialises it under the seed.

    The weights are drawn in float32, so that every dtype holds the same ones, rounded.

    Args:
        config: transformers' configuration.
        seed: of the draws.
        dtype: of the weights; ``"auto"`` for that of the configuration.
        trust_remote_code: run code that comes with the configuration.
        options: what else transformers' ``from_config`` is given.
    """
    if isinstance(dtype, str):
        own = getattr(config, "dtype", None)
        dtype = own if isinstance(own, torch.dtype) else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=trust_remote_code, **options
        )
    return model.to(dtype).eval()


def hub_is_off() -> bool:
    """Whether the user forbids the model hub through the environment."""
    return any(
        os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )

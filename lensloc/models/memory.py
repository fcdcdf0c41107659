"""Whether an error is that memory ran out, which each device says in its own words."""

import torch

# Of torch on a CPU and on Apple's devices, which raise plain RuntimeErrors.
_WORDS = ("can't allocate memory", "out of memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you ..."))
        True
        >>> is_out_of_memory(RuntimeError("shapes do not fit"))
        False
    """
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in _WORDS)

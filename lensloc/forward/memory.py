"""How much memory is free, where a model computes."""

import psutil
import torch


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

"""Something done in several processes, as torchrun starts them, without importing all anew."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch

from lensloc import ranks

FORK = multiprocessing.get_context("fork")
_LONGEST = 180


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, which ends with it; return how that ended."""
    child = FORK.Process(target=work)
    child.start()
    child.join(_LONGEST)
    assert child.exitcode is not None
    return child.exitcode


def as_ranks(work: Callable[[int], None], size: int = 2) -> list[int]:
    """Do something in so many ranks; return how they ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        work(rank)

    children = [FORK.Process(target=one, args=(rank,)) for rank in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join(_LONGEST)
    stuck = [child for child in children if child.exitcode is None]
    for child in stuck:
        child.kill()
    return [-1 if child.exitcode is None else child.exitcode for child in children]


def found_in_ranks(find: Callable[[], torch.Tensor], folder: Path) -> list[torch.Tensor]:
    """Find something in each of two ranks that share the work; return what each found."""

    def work(rank: int) -> None:
        leave = ranks.join()
        torch.save(find(), folder / f"{rank}.pt")
        leave()

    assert as_ranks(work) == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]

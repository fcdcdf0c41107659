"""Several processes that do one piece of work: which part is whose, and how parts come together.

Inside an initialised process group of ``torch.distributed`` (as ``torchrun`` makes one), every rank
runs the same program on the same input. Work that is cut into batches is shared: batch n is rank
n's, modulo the number of ranks. What ranks found is exchanged in the order of ranks, so that all of
them go on with the same. Only rank 0 reads what is kept, writes files, shows bars.
"""

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

from lensloc.errors import LensLocError

T = TypeVar("T")

ENDED = (
    "Another process of this run has ended, so that this one cannot go on; what was finished is "
    "kept where a store or a checkpoint was given. Start the run again, and it goes on from there"
)


_ASKING = timedelta(seconds=5)


def _distributed() -> Any:
    """Return torch.distributed if a process group is open in it; whoever opened it imported it."""
    found = sys.modules.get("torch.distributed")
    return found if found and found.is_available() and found.is_initialized() else None


def n_ranks() -> int:
    """Return how many processes share the work; 1 without a process group."""
    found = _distributed()
    return 1 if found is None else int(found.get_world_size())


def rank() -> int:
    """Return which of them this is, from 0."""
    found = _distributed()
    return 0 if found is None else int(found.get_rank())


@dataclass(frozen=True)
class Crew:
    """Processes that share some work.

    Attributes:
        rank: which of them this is, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def mine(self, batches: Sequence[T]) -> list[T]:
        """Return this rank's share of some batches."""
        return list(batches)[self.rank :: self.size]

    def together(self, compute: Callable[[], T]) -> list[T]:
        """Compute something in every rank; return what all found, as :func:`together` does."""
        return [compute()] if self.size == 1 else together(compute)


def crew() -> Crew:
    """Return all processes of the group that is open; this one alone without."""
    return Crew(rank(), n_ranks())


def together(compute: Callable[[], T]) -> list[T]:
    """Compute something in every rank; return what all of them found, in the order of ranks.

    Raises:
        Exception: of what was raised, that of the lowest rank; the same in all of them.
        LensLocError: if another process has ended.
    """
    if n_ranks() == 1:
        return [compute()]
    own: Exception | None = None
    value: T | None = None
    try:
        value = compute()
    except Exception as error:  # of whatever kind: the others wait to be told
        own = error
    parts: list[Any] = [None] * n_ranks()
    _exchange("all_gather_object", parts, (value, _portable(own)))
    for number, (_, raised) in enumerate(parts):
        if raised is not None:
            raise own if own is not None and number == rank() else raised
    return [found for found, _ in parts]


def least(number: int) -> int:
    """Return the least of what a number is in every rank: of free memory, say, which differs."""
    return min(together(lambda: number))


def from_first(compute: Callable[[], T]) -> T:
    """Compute something in rank 0 only, and return it in all.

    Raises:
        Exception: what was raised in rank 0.
        LensLocError: if another process has ended.
    """
    if n_ranks() == 1:
        return compute()
    given: list[Any] = [None, None]
    own: Exception | None = None
    if rank() == 0:
        try:
            given[0] = compute()
        except Exception as error:
            own = error
            given[1] = _portable(error)
    _exchange("broadcast_object_list", given, 0)
    if own is not None:
        raise own
    if given[1] is not None:
        raise given[1]
    found: T = given[0]
    return found


def _exchange(how: str, *arguments: Any) -> None:
    try:
        getattr(_distributed(), how)(*arguments)
    except RuntimeError as error:  # of gloo and nccl, whose other end is gone
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise LensLocError(f"{ENDED} ({reason}).") from error


def is_of_the_others(error: BaseException) -> bool:
    """Say whether an error inside a pass is of the connection to another process, which is gone."""
    if type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError"):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and "gloo" in told and "connection" in told


def _portable(error: Exception | None) -> Exception | None:
    """Return an error that survives the way to another process."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LensLocError(f"Rank {rank()} failed: {type(error).__name__}: {error}")
    return error


# -- started by torchrun ---------------------------------------------------------------------------


def started_by_torchrun() -> bool:
    """Say whether this process is one of several that torchrun, or its like, has started."""
    size, number = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return size.isdecimal() and int(size) > 1 and number.isdecimal()


def first_to_tell() -> bool:
    """Say whether no other rank has told yet what ended this run, and that this one tells it.

    torchrun's store is asked, which outlives ranks. Rank 0 tells where it cannot be reached.
    """
    distributed: Any = importlib.import_module("torch.distributed")
    given = os.environ
    run = ".".join(given.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT"))
    try:
        store = distributed.TCPStore(
            given["MASTER_ADDR"], int(given["MASTER_PORT"]), is_master=False, timeout=_ASKING
        )
        return int(store.add(f"lensloc told {run}", 1)) == 1
    except (KeyError, ValueError, RuntimeError):
        return given["RANK"] == "0"


def join() -> Callable[[], None]:
    """Open the process group that torchrun describes; return what closes it.

    Raises:
        LensLocError: if the ranks cannot find each other, or run different versions.
    """
    import torch
    from torch import distributed

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        distributed.init_process_group("nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LensLocError(
            f"The processes of this run cannot find each other ({reason})."
        ) from error
    own = {name: version(name) for name in ("lensloc", "torch", "transformers")}
    known = together(lambda: own)
    for number, other in enumerate(known):
        if other != known[0]:
            raise LensLocError(
                f"Rank {number} runs other versions than rank 0 ({_listed(other)} against "
                f"{_listed(known[0])}); install the same everywhere."
            )
    return distributed.destroy_process_group


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())

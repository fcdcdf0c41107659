"""Which process of several this is, as torchrun says it, and whether all are alike."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from lensloc.errors import LensLocError
from lensloc.ranks import together
from lensloc.sweeps.working import require_same_versions, versions_here

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_MEETING = timedelta(minutes=10)  # until all ranks must have begun


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of one run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local: its number on this machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> "Ranks":
        """Read ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; one of one if there is no torchrun.

        Raises:
            LensLocError: for numbers that cannot be.
        """
        given = os.environ if environment is None else environment
        if not all(name in given for name in _VARIABLES):
            return cls()
        texts = [given["RANK"], given["WORLD_SIZE"], given.get("LOCAL_RANK", given["RANK"])]
        if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
            raise LensLocError(
                f"RANK={texts[0]}, WORLD_SIZE={texts[1]} and LOCAL_RANK={texts[2]} are not the "
                "place of a process among several; start them with torchrun."
            )
        return cls(*map(int, texts))

    def device(self) -> str | None:
        """Return this process' own GPU; None where there is none."""
        n = torch.cuda.device_count()
        return f"cuda:{self.local % n}" if n and self.size > 1 else None

    def meet(self, plan: str) -> None:
        """Meet the other ranks, and check that all have the same plan and versions.

        Args:
            plan: what stands for the plan: equal plans, equal texts.

        Raises:
            LensLocError: on every rank, if one differs, or ends before; if they cannot meet.
        """
        if self.size == 1:
            return
        try:
            dist.init_process_group("gloo", timeout=_MEETING)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise LensLocError(
                f"The processes of this run cannot find each other ({reason})."
            ) from error
        try:
            everyone = together(lambda: {**versions_here(), "plan": plan})
        finally:  # open, every function would share its own work over the ranks
            dist.destroy_process_group()
        first = everyone[0]
        for rank, there in enumerate(everyone):
            if there["plan"] != first["plan"]:
                raise LensLocError(
                    f"Rank {rank} has another plan than rank 0 (its file, or a file that it names, "
                    "differs); give all ranks the same files."
                )
        versions = [{k: v for k, v in each.items() if k != "plan"} for each in everyone]
        for rank, there in enumerate(versions):
            for other, those in enumerate(versions[:rank]):
                _require_alike(rank, there, other, those)


def _require_alike(
    rank: int, there: Mapping[str, str], other: int, those: Mapping[str, str]
) -> None:
    """Refuse ranks of different versions, with one sentence that all of them say."""
    try:
        require_same_versions(those, there, f"Rank {rank}")
    except LensLocError as error:
        said = str(error).replace("this process", f"rank {other}")
        raise LensLocError(said) from None

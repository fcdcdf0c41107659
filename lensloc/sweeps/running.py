"""Who does the jobs of a sweep: this process, several of this machine, ranks, or Slurm."""

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from lensloc.errors import LensLocError, needed
from lensloc.studies.store import Store
from lensloc.sweeps.cells import Job, jobs_of
from lensloc.sweeps.checking import ready
from lensloc.sweeps.files import PlanFile
from lensloc.sweeps.plan import read_plan
from lensloc.sweeps.working import Worker, require_same_versions, sweep_store, versions_here

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Order:
    """Cells for another process to do, as plain data.

    Attributes:
        plan: the plan's content.
        name: of its file.
        folder: from which files that it names are looked for.
        store: where cells are kept.
        cells: short names of the cells to do.
        device: of models; a GPU of its own if there are some, if None.
        versions: of the process that ordered it.
    """

    plan: Mapping[str, Any]
    name: str
    folder: str
    store: str
    cells: tuple[str, ...]
    device: str | None = None
    versions: Mapping[str, str] = field(default_factory=versions_here)

    def __call__(self) -> int:
        """Do the cells; return how many they were.

        Raises:
            LensLocError: if this process is of other versions, or the store takes nothing more.
        """
        require_same_versions(versions_here(), self.versions, "The process that began the sweep")
        file = PlanFile(self.plan, self.name, Path(self.folder))
        plan, _ = read_plan(file)
        checked = ready(plan, file, ask_hub=False)
        wanted = set(self.cells)
        cells = [(model, cell) for model, cell in checked.cells() if cell.name in wanted]
        if len(cells) < len(wanted):
            raise LensLocError(
                f"{self.name} names files that have changed since the sweep was begun; start it "
                "again."
            )
        store = sweep_store(Path(self.store))
        with device_of_its_own(self.device, store.folder) as device:
            worker = Worker(checked, store, device)
            for job in jobs_of(cells):
                worker.do(job)
        return len(self.cells)

    def checkpoint(self) -> Any:
        """Return what Slurm puts back into its queue when the time is over: the same order.

        What is done already is looked up, so that it goes on where it stopped.
        """
        submitit = needed("submitit", "A sweep on Slurm", "lensloc[slurm]")
        return submitit.helpers.DelayedSubmission(self)


@contextlib.contextmanager
def device_of_its_own(device: str | None, folder: Path) -> Iterator[str | None]:
    """Find a GPU of this machine that no other process of the sweep has; None without any.

    Args:
        device: what was asked for, which is taken as it is.
        folder: of the sweep's store.
    """
    n = torch.cuda.device_count()
    if device is not None or n < 2:
        yield device
        return
    for number in range(n):
        lock = FileLock(folder / f".{platform.node()}-cuda-{number}.lock")
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue
        try:
            yield f"cuda:{number}"
        finally:
            lock.release()
        return
    yield f"cuda:{os.getpid() % n}"


def orders(
    file: PlanFile, store: Store, jobs: Sequence[Job], device: str | None
) -> list[tuple[Order, Job]]:
    """Return jobs as plain data, for other processes."""
    return [
        (
            Order(
                file.data, file.name, str(file.folder), str(store.folder.absolute()),
                tuple(cell.name for cell in job.cells), device,
            ),
            job,
        )
        for job in jobs
    ]  # fmt: skip


def run_here(worker: Worker, jobs: Sequence[Job], advance: Advance) -> None:
    """Do jobs in this process, one after the other."""
    for job in jobs:
        worker.do(job, lambda cell: advance(1))


def run_in_processes(todo: Sequence[Order], processes: int, advance: Advance) -> None:
    """Do jobs in several processes of this machine, each the next that is left.

    Raises:
        LensLocError: if a process ended before its time; what is done stays.
    """
    if not todo:
        return
    pool = Parallel(n_jobs=min(processes, len(todo)), return_as="generator_unordered")
    try:
        for n in pool(delayed(order)() for order in todo):
            advance(n)
    except BrokenProcessPool as error:  # joblib's own is one of these
        raise LensLocError(
            "A process of the sweep was ended from outside, perhaps since memory was short; what "
            "was measured is kept: run the sweep again, with fewer processes."
        ) from error


def submit(todo: Sequence[Order], folder: Path, options: Mapping[str, Any]) -> list[Any]:
    """Submit jobs as tasks of one Slurm array; time-outs go back into the queue.

    Args:
        todo: a task each.
        folder: of scripts and logs, seen by all machines.
        options: of submitit: ``timeout_min``, ``slurm_partition``, ``gpus_per_node``, ``mem_gb``;
            ``cluster="local"`` for processes of this machine, ``max_num_timeout`` for how often a
            task may run out of time.

    Returns:
        Their submitit jobs.

    Raises:
        LensLocError: without submitit or Slurm, or for an option that there is not.
    """
    submitit = needed("submitit", "A sweep on Slurm", "lensloc[slurm]")
    given = dict(options)
    cluster = given.pop("cluster", "slurm")
    of_slurm = (
        {"slurm_max_num_timeout": given.pop("max_num_timeout", 10)} if cluster == "slurm" else {}
    )
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **of_slurm)
        executor.update_parameters(**given)
        with executor.batch():
            return [executor.submit(order) for order in todo]
    except (RuntimeError, NameError, TypeError, ValueError, OSError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise LensLocError(
            f"The sweep could not be submitted to {cluster} ({said[0].rstrip('.')}); give options "
            "as submitit has them, e.g. timeout_min=60, slurm_partition=gpu, gpus_per_node=1."
        ) from error

"""Sweep: a plan, cell by cell, by whoever is there to do it."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lensloc.display.places import path_of
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.cache import store_folder
from lensloc.ranks import n_ranks
from lensloc.results.sweeps import Sweep
from lensloc.studies.calls import written_call
from lensloc.studies.store import Store
from lensloc.sweeps.cells import jobs_of
from lensloc.sweeps.checking import ReadyPlan, ready
from lensloc.sweeps.collecting import collected
from lensloc.sweeps.files import PlanFile
from lensloc.sweeps.plan import read_plan
from lensloc.sweeps.ranks import Ranks
from lensloc.sweeps.running import orders, run_here, run_in_processes, submit
from lensloc.sweeps.working import Worker, record_of, sweep_store

Where = Literal["here", "slurm"]


def sweep(
    plan: str | Path | Mapping[str, Any],
    *,
    store: Store | str | Path | None = None,
    measure: bool = True,
    processes: int = 1,
    on: Where = "here",
    slurm: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Measure a plan: models x contrasts x sites x protocols, and lesions of each.

    The whole plan is checked before anything runs. Every cell is kept as soon as it is there, so a
    sweep that was interrupted goes on where it stopped, on whatever machine. If a model cannot be
    loaded, or a cell fails, the reason is kept in its place; it is tried again the next time, and
    the others go on. Under torchrun the models are shared out over the ranks.

    Args:
        plan: a file (``.yaml``, ``.yml``, ``.json``), the name of a bundled plan
            (``"alkhamissi2024"``, ``"pythia-training"``), or what would be in the file; see
            ``docs/sweeps.md``.
        store: where cells are kept and looked up: a folder. That of sweeps in the cache if None.
        measure: False to look only at what is there.
        processes: how many processes of this machine share the models out among themselves, each
            with a GPU of its own if there are several.
        on: ``"here"``, or ``"slurm"`` to submit one task per model and return at once.
        slurm: options of submitit: ``timeout_min``, ``slurm_partition``, ``gpus_per_node``,
            ``mem_gb`` and so on.
        device: of models that the plan puts nowhere; a GPU if there is one, if None.
        progress: show a progress bar.

    Returns:
        What is there of all cells; see :class:`~lensloc.results.sweeps.Sweep`.

    Raises:
        LensLocError: a plan with something wrong in it, with its place in the file; a store that
            cannot be written; ranks with different versions; a process group that is open; Slurm
            that is not there.
    """
    if on not in ("here", "slurm"):
        raise LensLocError(f"A sweep runs on here or slurm; {on!r} is neither.")
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise LensLocError(f"processes is a whole number above 0; {processes!r} is not.")
    if on == "slurm":
        refuse_idle("Slurm has its own tasks; leave it out", processes=processes != 1)
    else:
        refuse_idle('it is of on="slurm"; leave it out', slurm=bool(slurm))
    if not measure:
        idle = {"processes": processes != 1, "device": device is not None, "on": on != "here"}
        refuse_idle("nothing is measured; leave it out", **idle)
    if measure and n_ranks() > 1:
        raise LensLocError(
            "A process group is open here, in which all ranks share the work of every function; a "
            "sweep shares out models over ranks, so close it before "
            "(torch.distributed.destroy_process_group())."
        )
    ranks = Ranks.here()
    read, file = read_plan(plan)
    checked = ready(read, file, ask_hub=measure and ranks.rank == 0)
    kept = _store(store, measure=measure)
    if measure:
        _measure(checked, file, kept, ranks, processes, on, slurm or {}, device, progress)
    call = written_call("ll.sweep", sweep, {"plan": plan})  # who measured it changes nothing
    return collected(checked, kept, call=call)


def _store(store: Store | str | Path | None, *, measure: bool) -> Store:
    if store is not None and not isinstance(store, Store | str | Path):
        raise LensLocError(
            f"store is a folder, or ll.Store.at(folder); {type(store).__name__} is neither."
        )
    named = store.folder if isinstance(store, Store) else store
    folder = store_folder("sweeps") if named is None else path_of(named)
    if measure:
        return sweep_store(folder)
    with contextlib.suppress(OSError, ValueError):  # a name that is none, where nothing is found
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(folder)
        return Store(folder)  # which is made by what keeps something in it
    raise LensLocError(f"The sweep's store {folder} is no folder; name the one that it was.")


def _measure(
    checked: ReadyPlan,
    file: PlanFile,
    store: Store,
    ranks: Ranks,
    processes: int,
    on: Where,
    slurm: Mapping[str, Any],
    device: str | None,
    progress: bool,
) -> None:
    cells = checked.cells()
    ranks.meet(hashlib.sha256("".join(cell.name for _, cell in cells).encode()).hexdigest())
    if ranks.size > 1:
        refuse_idle("torchrun has started the processes; leave it out", processes=processes != 1,
                    on=on != "here")  # fmt: skip
        _require_whole_models(checked)
    waiting = [(model, cell) for model, cell in cells if _waits(store, cell)]
    if ranks.size > 1:
        # All cells are shared out, not those that wait, so that every rank finds the same shares,
        # however far the others are.
        names = {cell.name for _, cell in waiting}
        mine = jobs_of(cells, ranks.size)[ranks.rank :: ranks.size]
        own = {cell.name for job in mine for cell in job.cells} & names
        waiting = [(model, cell) for model, cell in waiting if cell.name in own]
        device = device or ranks.device()
    jobs = jobs_of(waiting, processes)
    todo = orders(file, store, jobs, device)
    if on == "slurm":
        if todo:
            submit([order for order, _ in todo], store.folder / "slurm", slurm)
        return
    with progress_bar(progress and ranks.rank == 0, len(waiting), "cells") as advance:
        if processes > 1 and len(jobs) > 1:
            run_in_processes([order for order, _ in todo], processes, advance)
        else:
            run_here(Worker(checked, store, device), jobs, advance)


def _require_whole_models(checked: ReadyPlan) -> None:
    """Refuse models that are sharded over the ranks which are to share out the models."""
    for model in checked.models:
        sharded = {"tp_plan", "tp_size", "distributed_config"} & set(model.entry.options)
        if sharded:
            raise LensLocError(
                f"{model.label} is to be sharded over the ranks ({sorted(sharded)[0]}), and a "
                "sweep under torchrun shares models out over them; use device_map: auto in one "
                "process, or measure it by itself."
            )


def _waits(store: Store, cell: Any) -> bool:
    known = record_of(store, cell)
    return known is None or bool(known["failed"])

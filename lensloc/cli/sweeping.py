"""A plan of models, contrasts, sites and lesions: ``lensloc sweep`` PLAN, status, report, plans."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import lensloc as ll
from lensloc.cli.commands import add
from lensloc.cli.options import AsJson, Device
from lensloc.cli.output import (
    collected_warnings,
    print_json,
    readable,
    show_notes,
    tell,
    tell_written,
)
from lensloc.cli.tables import TABLES, encoded, records, require_different, require_place, show_rows
from lensloc.display.files import write_file
from lensloc.errors import LensLocError, refuse_idle

if TYPE_CHECKING:
    from lensloc.results.sweeps import Sweep

_RUN = "run"


class _PlanFirst(TyperGroup):
    """Takes ``lensloc sweep PLAN`` for ``lensloc sweep run PLAN``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((given for given in args if not given.startswith("-")), None)
        if args and first not in self.commands and args[0] not in ("--help", "-h"):
            args = [_RUN, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


sweep_app = typer.Typer(
    cls=_PlanFirst,
    no_args_is_help=True,
    help="Measure a plan: models x contrasts x sites x protocols, and lesions of each. "
    "`lensloc sweep PLAN` runs it, and goes on where it stopped.",
)

PlanArgument = Annotated[
    str, typer.Argument(help="A plan (.yaml, .json), or the name of a bundled one.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder in which cells are kept (default: in the cache)."),
]
Out = Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")]
Page = Annotated[Path | None, typer.Option("--page", help="Page to write, .html.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is at --out and --page.")
]


def run_command(
    plan: PlanArgument,
    store: StoreOption = None,
    processes: Annotated[
        int,
        typer.Option(
            help="Processes on this machine, each with a GPU of its own if there are several."
        ),
    ] = 1,
    on: Annotated[
        str, typer.Option(help="here, or slurm: one task per model, and come back at once.")
    ] = "here",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE, an option of submitit: timeout_min=60, slurm_partition=gpu, "
            "gpus_per_node=1, mem_gb=64. Repeatable."
        ),
    ] = None,
    device: Device = None,
    out: Out = None,
    page: Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure a plan, cell by cell; what is done already is looked up."""
    from lensloc.sweeps.ranks import Ranks

    _require_places(out, page, overwrite)
    if on == "slurm":
        refuse_idle("the tasks end later; write it with `lensloc sweep report`",
                    **{"--out": out is not None, "--page": page is not None})  # fmt: skip
    ranks = Ranks.here()
    with collected_warnings() as notes:
        found = ll.sweep(
            plan, store=store, processes=processes, on=_where(on), slurm=_options(slurm or []),
            device=device, progress=not as_json,
        )  # fmt: skip
    if ranks.rank > 0:  # one rank tells
        return
    if on == "slurm" and not as_json:
        tell(f"Submitted; `lensloc sweep status {plan}` says how far it is.")
    _tell(found, notes, out, page, overwrite, as_json)


def status_command(plan: PlanArgument, store: StoreOption = None, as_json: AsJson = False) -> None:
    """Say which cells are done, failed or waiting, without measuring any."""
    found = ll.sweep(plan, store=store, measure=False, progress=False)
    if as_json:
        print_json({"plan": found.name, **found.counts, "cells": records(found.cells)})
        return
    by_model = found.cells.pivot_table(
        index="model", columns="state", values="cell", aggfunc="count", sort=False, fill_value=0
    )
    states = [state for state in ("done", "failed", "waiting") if state in by_model.columns]
    console = Console()
    show_rows(console, by_model[states].reset_index(), ["model", *states], {})
    for sentence in (found.summary()[0], *found.failures()):
        console.print(readable(sentence), markup=False, highlight=False, soft_wrap=True)


def report_command(
    plan: PlanArgument,
    store: StoreOption = None,
    out: Out = None,
    page: Page = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write what is there as one table and one page over all models."""
    _require_places(out, page, overwrite)
    with collected_warnings() as notes:
        found = ll.sweep(plan, store=store, measure=False, progress=False)
    _tell(found, notes, out, page, overwrite, as_json)


def plans_command(as_json: AsJson = False) -> None:
    """List the plans that lensloc comes with."""
    from lensloc.sweeps.files import bundled_plans, read_plan_file

    rows = {name: str(read_plan_file(name).data.get("about", "")) for name in bundled_plans()}
    if as_json:
        print_json({"plans": rows})
        return
    for name, about in rows.items():
        tell(f"{name}  {about}")


# -- what is given and told ------------------------------------------------------------------------


def _require_places(out: Path | None, page: Path | None, overwrite: bool) -> None:
    require_different(out=out, page=page)
    require_place(out, "--out", TABLES, overwrite)
    require_place(page, "--page", (".html", ".htm"), overwrite)


def _where(on: str) -> Any:
    if on not in ("here", "slurm"):
        raise LensLocError(f"--on is here or slurm; {on!r} is neither.")
    return on


def _options(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``--slurm``; numbers are numbers."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise LensLocError(f"--slurm {text} is not KEY=VALUE; write e.g. timeout_min=60.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _tell(
    found: "Sweep", notes: Sequence[str], out: Path | None, page: Path | None, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    if out is not None:
        write_file(out, encoded(found.table, out.suffix), overwrite=overwrite)
    if page is not None:
        ll.report(found, page, overwrite=overwrite)
    told = list(dict.fromkeys([*notes, *found.warnings]))
    if as_json:
        print_json(
            {
                "plan": found.name,
                **found.counts,
                "rows": records(found.table),
                "specificity": records(found.specificity),
                "published": records(found.published),
                "cells": records(found.cells),
                "summary": found.summary(),
                "warnings": told,
                "out": None if out is None else str(out),
                "page": None if page is None else str(page),
            }
        )
        return
    console = Console()
    if not found.localizations.empty:
        titles = {"n_units": "units", "largest_t": "largest t"}
        columns = ["model", "contrast", "site", "protocol", "n_units", "largest_t", "significant",
                   "depth"]  # fmt: skip
        show_rows(console, found.localizations, columns, titles)
        console.print()
    for sentence in found.summary():
        console.print(readable(sentence), markup=False, highlight=False, soft_wrap=True)
    show_notes(told)
    tell_written(out, page)


add(
    sweep_app, _RUN, run_command,
    "sweep run plan.yaml --store results",
    "sweep run pythia-training --processes 2 --page pythia.html",
)  # fmt: skip
add(sweep_app, "status", status_command, "sweep status plan.yaml --store results")
add(
    sweep_app, "report", report_command,
    "sweep report plan.yaml --store results --out table.csv --page sweep.html",
)  # fmt: skip
add(sweep_app, "plans", plans_command, "sweep plans")

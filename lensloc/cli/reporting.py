"""A page about a network: ``lensloc report``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import lensloc as ll
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere, Exact, parse_controls
from lensloc.cli.evaluating import parse_percents, task_files, tasks_said, without_taken
from lensloc.cli.modes import parse_modes
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Bos,
    Limit,
    ModelOptions,
    Network,
    Percent,
    Sites,
    Untrained,
    batch_size_of,
    cached_store,
    require_percentage,
    require_sites,
)
from lensloc.cli.output import (
    collected_warnings,
    command_line,
    print_json,
    show_notes,
    tell_written,
)
from lensloc.cli.seeing import require_task, sites_of_model
from lensloc.cli.tables import require_place
from lensloc.cli.task_options import TaskOptions
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.names import may_see

if TYPE_CHECKING:
    from lensloc.studies import Study


def report_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    said: TaskOptions,
    network: Network = None,
    percent: Percent = None,
    site: Sites = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure with the network switched off, as in lensloc evaluate; "
            "repeatable. Without it, no lesion is made."
        ),
    ] = None,
    limit: Limit = None,
    control_units: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to lesion beside the network: {CONTROLS_HELP}. Repeatable (default "
            "layer, magnitude+outliers)."
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="What the network's units become, as in lensloc evaluate; repeatable, "
            "the first is compared with control units (default zero, mean, resample, and at the "
            "residual stream dims-mean). The contrast is the reference."
        ),
    ] = None,
    exact: Exact = False,
    anywhere: Anywhere = False,
    percents: Annotated[
        str | None, typer.Option(help="Sizes of lesions in per cent of units, e.g. 0.5,1,2.")
    ] = None,
    bos: Bos = "model",
    seed: Annotated[
        int, typer.Option(help="Seed of untrained weights, halves and intervals.")
    ] = 42,
    batch_size: BatchSize = "auto",
    untrained: Untrained = False,
    untrained_baseline: Annotated[
        bool,
        typer.Option(
            "--untrained-baseline", help="Also localize in the untrained model, and show it, too."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Page to write: .html.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Write a page about a network: figures, an explorer, lesions, methods, tables.

    The page opens offline. Lesions that were measured before are not measured again.
    """
    refuse_idle("the model itself is untrained; leave it out", **{
        "--untrained-baseline": untrained and untrained_baseline})  # fmt: skip
    from lensloc.models.quiet import stdout_to_stderr
    from lensloc.pages.report import summary, verdict_of

    if not may_see(loading.model_name):  # whose sites are known once it is there
        require_sites(list(dict.fromkeys(site or ["resid_post"])))
    if task:
        require_task(loading.model_name, task)
    size = 1.0 if percent is None else percent
    require_percentage(size)
    require_place(out, "--out", (".html",), overwrite)
    sizes = None if percents is None else parse_percents(percents, "--percents")
    form = texts.form(*task_files(task or []))
    with collected_warnings():  # on the page, too
        tasks = tasks_said(task or [], said, texts, limit, bos, batch_size, form)
    several = parse_controls(
        control_units or ["layer", "magnitude+outliers"], "--control-units", elsewhere=not anywhere
    )
    if not tasks:
        several = []
        given: dict[str, Any] = {
            "--control-units": control_units, "--percents": percents, "--limit": limit,
            "--mode": mode, "--exact": exact or None, "--anywhere": anywhere or None,
        }  # fmt: skip
        for option in (name for name, value in given.items() if value is not None):
            raise LensLocError(
                f"{option} has no effect without --task, since nothing is lesioned; name a task, "
                "or leave it out."
            )
    texts = without_taken(texts)
    read = texts.read(network, how.protocol, seed, form, loading.model_name)
    with collected_warnings(), stdout_to_stderr():  # what they say is on the page
        model = loading.load(quiet=as_json, untrained=untrained, seed=seed if untrained else None)
        contrast = texts.templated(read, model)
        sites = sites_of_model(model, site)
        found = ll.study(
            model, contrast, sites, percent=size, tasks=tasks, controls=several, percents=sizes,
            modes=None if mode is None else parse_modes(mode, None, of_contrast=True),
            exact=exact, seed=seed, batch_size=batch_size_of(batch_size), **how.arguments,
            store=cached_store(), progress=not as_json,
        )  # fmt: skip
        beside = None
        if untrained_baseline:
            twin = loading.load(quiet=as_json, untrained=True, seed=seed)
            beside = ll.localize(
                twin, texts.templated(read, twin), sites, batch_size=batch_size_of(batch_size),
                progress=not as_json, **how.arguments,
            )  # fmt: skip
    found = dataclasses.replace(found, call=command_line())
    page = ll.report(found, out, untrained=beside, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "network": found.contrast.name,
                "site": found.site,
                "n_units": len(found.network),
                "verdict": verdict_of(found),
                "summary": summary(found),
                "warnings": list(found.warnings),
                "out": str(page),
            }
        )
        return
    console = Console()
    show_summary(console, found)
    tell_written(page)


def show_summary(console: Console, found: "Study") -> None:
    """Print what a study found, and what to mind."""
    from lensloc.pages.report import summary, verdict_of

    console.print(f"{verdict_of(found)}\n", style="bold", markup=False, highlight=False)
    for paragraph in summary(found):
        console.print(f"{paragraph}\n", markup=False, highlight=False)
    show_notes(found.warnings)

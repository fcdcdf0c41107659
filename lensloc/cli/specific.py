"""Whether lesions of networks harm their own tasks only: ``lensloc specificity``."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli import seeing
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere, parse_controls
from lensloc.cli.evaluating import task_files, tasks_said, without_taken
from lensloc.cli.modes import NEED_REFERENCE, require_reference
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
    Networks,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Bos,
    Masks,
    ModelOptions,
    Reference,
    Site,
    batch_size_of,
    cached_store,
    network_names,
    reference_contrast,
    reference_files,
    require_percentage,
    require_sites,
)
from lensloc.cli.output import collected_warnings, print_json, readable, show_notes, tell_written
from lensloc.cli.people.options import ReportOut, require_places
from lensloc.cli.tables import FIGURES, TABLES, cell, encoded, records, show_rows
from lensloc.cli.task_options import TaskOptions
from lensloc.contrasts.columns import TableForm
from lensloc.display.files import write_file
from lensloc.display.sentences.outlook import duration
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.names import may_see
from lensloc.vocabulary import DOMAINS

if TYPE_CHECKING:
    from lensloc.results.specificities import Specificity
    from lensloc.studies.dissociating import Grid
    from lensloc.tasks import Task

_NETWORKS = ("language", "theory-of-mind", "multiple-demand")


def specificity_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    said: TaskOptions,
    masks: Masks = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=network_names,
            help=f"Network to localize and lesion: {', '.join(contrasts.NAMES)}; repeatable "
            f"(default {', '.join(_NETWORKS)}, without --mask).",
        ),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            help="NETWORK=TASK, a task that is the network's own; repeatable. lensloc knows those "
            "of bundled networks; NETWORK= for none."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to measure: {', '.join(DOMAINS)}, or a task of evaluate. Repeatable "
            "(default these seven)."
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(help="At most so many items of every bundled task, before any are chosen."),
    ] = None,
    answered: Annotated[
        float | None,
        typer.Option(
            help="A kind of items is kept if the intact model comes this share of the way from "
            "guessing to all right (default 0.4), on a half that is not measured."
        ),
    ] = None,
    all_items: Annotated[
        bool, typer.Option("--all-items", help="Measure all items of every task as they are.")
    ] = False,
    room: Annotated[
        list[str] | None,
        typer.Option(
            help="TASK=NUMBER, how far the score of a task can fall for which guessing has no "
            "score; repeatable."
        ),
    ] = None,
    control_units: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to compare every network with: {CONTROLS_HELP}. Repeatable (default "
            "magnitude+outliers)."
        ),
    ] = None,
    anywhere: Anywhere = False,
    percent: Annotated[
        float | None,
        typer.Option(
            "--percent",
            "--percentage",
            help="Per cent of units of a network (default 1; of a mask, its own size).",
        ),
    ] = None,
    mode: Annotated[vocabulary.Mode, typer.Option(help="What happens to the units.")] = "zero",
    reference: Reference = None,
    bos: Bos = "model",
    site: Site = None,
    seed: Annotated[int, typer.Option(help="Seed of halves of items, and of intervals.")] = 0,
    batch_size: BatchSize = "auto",
    store: Annotated[
        Path | None,
        typer.Option(help="Folder in which results are kept and looked up (default: the cache)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")] = None,
    plot_out: Annotated[
        Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
    ] = None,
    report_out: ReportOut = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out, --plot and --report.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how long it will take, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lesion every network, measure every task: does each harm its own tasks only?

    All control draws are measured on all items. An interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr

    if not may_see(loading.model_name):  # whose sites are known once it is there
        require_sites([] if site is None else [site])
    seeing.require_task(loading.model_name, task)
    if percent is not None:
        require_percentage(percent)
    refuse_idle("--all-items chooses none; leave it out", **{
        "--answered": all_items and answered is not None})  # fmt: skip
    refuse_idle(
        "it is of bundled tasks, and --task names none",
        **{"--items": items is not None and not set(task or DOMAINS) & set(DOMAINS)},
    )
    if reference is None and mode in NEED_REFERENCE:
        require_reference(mode, reference)
    form = texts.form(*task_files(task or []), *reference_files(reference))
    held = reference_contrast(reference, form)
    require_places(overwrite, out, plot_out, report_out)
    with collected_warnings() as of_tasks:
        tasks = _tasks(task or list(DOMAINS), items, said, texts, bos, batch_size, form)
    usual = seeing.default_network(loading.model_name, _NETWORKS)
    networks = Networks.parse(masks, network, without_taken(texts), how, site, seed, form, usual)
    domains = _domains(own or [], [*networks.contrasts, *networks.masks])
    rooms = _rooms(room or [])
    several = parse_controls(control_units or ["magnitude+outliers"], elsewhere=not anywhere)
    kept = cached_store() if store is None else ll.Store.at(store)

    start = time.monotonic()
    with collected_warnings() as notes, stdout_to_stderr():
        from lensloc.studies.dissociating import ANSWERED, planned

        model = loading.load(quiet=as_json)
        chosen = ANSWERED if answered is None else answered
        grid = planned(
            model,
            networks.of(
                model, store=kept, progress=not as_json, batch_size=batch_size_of(batch_size)
            ),
            tasks, several, domains or None, percent=percent,
            site=networks.to_localize, mode=mode, reference=held, room=rooms or None,
            answered=None if all_items else chosen, seed=seed, confidence=0.95,
            batch_size=batch_size_of(batch_size), store=kept, progress=not as_json,
        )  # fmt: skip
        seconds = grid.seconds()
    _tell_estimate(grid, seconds, as_json, estimate)
    if estimate:
        return
    with collected_warnings() as more, stdout_to_stderr():
        found = grid.measure()
    took = time.monotonic() - start
    if out is not None:
        write_file(out, encoded(found.table, out.suffix), overwrite=overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.specificity(found), plot_out, overwrite=overwrite)
    if report_out is not None:
        ll.report(found, report_out, overwrite=overwrite)
    told = list(dict.fromkeys([*of_tasks, *notes, *more, *found.warnings]))
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "rows": records(found.table),
                "indices": records(found.indices),
                "room": records(found.room),
                "summary": found.summary(),
                "seconds": {"estimated": seconds, "took": took},
                "warnings": told,
                "out": None if out is None else str(out),
            }
        )
        return
    _show(found)
    show_notes(told)
    console = Console()
    console.print(f"Took {duration(took)}.", markup=False, highlight=False)
    tell_written(out, plot_out, report_out)


# -- what is asked for -----------------------------------------------------------------------------


def _tasks(
    texts: Sequence[str],
    items: int | None,
    said: TaskOptions,
    contrast: ContrastOptions,
    bos: vocabulary.Bos,
    batch_size: str,
    form: TableForm,
) -> "list[Task]":
    """Read ``--task``: domains, and tasks of evaluate."""
    found: list[Task] = []
    named = [text for text in texts if text not in DOMAINS]
    # Together, so that those which would have one name are told apart.
    parsed = iter(tasks_said(named, said, contrast, None, bos, batch_size, form))
    for text in dict.fromkeys(texts):
        if text in DOMAINS:
            found += ll.tasks.domains(
                text, items=items, bos=bos, batch_size=batch_size_of(batch_size)
            )
        else:
            found.append(next(parsed))
    return found


def _domains(texts: Sequence[str], networks: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, task = text.partition("=")
        if not equals or name not in networks:
            raise LensLocError(
                f"--own {text} is not NETWORK=TASK of one of the networks {', '.join(networks)}."
            )
        found.setdefault(name, []).extend([task] if task else [])
    from lensloc.studies.dissociating import OWN

    for name in networks:
        if name not in found and name not in OWN:
            raise LensLocError(
                f"Which tasks are those of {name} is not known; say --own {name}=TASK, or "
                f"--own {name}= for none."
            )
    return found


def _rooms(texts: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError as error:
            raise LensLocError(
                f"--room {text} is not TASK=NUMBER; write e.g. perplexity=2."
            ) from error
    return found


# -- output ----------------------------------------------------------------------------------------


def _tell_estimate(grid: "Grid", seconds: float, as_json: bool, only: bool) -> None:
    lesions, tasks = grid.n_lesions, len(grid.tasks)
    if as_json:
        if only:
            print_json({"lesions": lesions, "tasks": tasks, "items": grid.n_items,
                        "seconds": seconds})  # fmt: skip
        return
    Console(stderr=not only).print(
        f"{lesions} lesions on {tasks} tasks of {grid.n_items:,} items together: about "
        f"{duration(seconds)} here, less what was measured before.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _show(found: "Specificity") -> None:
    console = Console()
    model = found.study.table["model"].iloc[0]
    console.print(f"{model}, intact:", markup=False, highlight=False)
    titles = {"kinds_answered": "kinds answered", "items": "all items", "n_items": "measured"}
    rows = found.room.assign(
        **{name: ["-" if n != n else f"{n:.0f}" for n in found.room[name]]
           for name in ("kinds", "kinds_answered")}
    )  # fmt: skip
    columns = ["task", "items", "kinds", "kinds_answered", "n_items", "intact", "chance", "room"]
    show_rows(console, rows, columns, titles)
    for kind in found.found:
        shares, beside, p = (
            found.matrix(value, kind) for value in ("share", "control_share", "p_more")
        )
        console.print(
            f"\nShare of the room to fall that is lost, and by {kind} controls (mean of draws); * "
            "the network's own tasks, p of the test over draws in brackets:",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        cells = shares.astype(object)
        for name in shares.index:
            for task in shares.columns:
                own = "*" if task in found.domains[str(name)] else ""
                cells.loc[name, task] = (
                    f"{own}{shares.loc[name, task]:.2f} / {beside.loc[name, task]:.2f} "
                    f"({p.loc[name, task]:.3f})"
                    if task in found.with_room
                    else f"{own}no room"
                )
        by_task = cells.T.rename_axis("task").reset_index()
        show_rows(console, by_task, list(by_task.columns), {})
    indices = found.indices.assign(
        difference=[
            f"{cell(row.difference)} [{cell(row.difference_low)}, {cell(row.difference_high)}]"
            for row in found.indices.itertuples()
        ]
    )
    console.print("\nIndex: share that its own tasks lose minus that of others:", markup=False)
    show_rows(
        console, indices,
        ["kind", "network", "index", "control_index", "draws", "difference", "standardised", "p"],
        {"kind": "control", "control_index": "control index"},
    )  # fmt: skip
    console.print()
    for sentence in found.summary():
        console.print(readable(sentence), markup=False, highlight=False, soft_wrap=True)

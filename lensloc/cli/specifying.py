"""One question under every analyst's choices: ``lensloc multiverse``."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import lensloc as ll
from lensloc.cli.control_units import Exact
from lensloc.cli.evaluating import parse_percents, task_files, tasks_said, without_taken
from lensloc.cli.modes import parse_modes
from lensloc.cli.networks import (
    ContrastOptions,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Limit,
    ModelOptions,
    Network,
    Truncate,
    batch_size_of,
    cached_store,
)
from lensloc.cli.output import (
    collected_warnings,
    command_line,
    print_json,
    readable,
    show_notes,
    tell_written,
)
from lensloc.cli.pairing import read_pairs
from lensloc.cli.people.options import ReportOut, require_places
from lensloc.cli.tables import FIGURES, TABLES, encoded, records, show_rows
from lensloc.cli.task_options import TaskOptions
from lensloc.contrasts.columns import TableForm
from lensloc.display.files import write_file
from lensloc.display.sentences.outlook import outlook_sentences
from lensloc.errors import LensLocError, refuse_idle
from lensloc.vocabulary import (
    ACTIVATIONS,
    BOS,
    BUNDLED_PAIRS,
    CONTROL_KINDS,
    DRAWS,
    MODES,
    POOLINGS,
    SELECTIONS,
    TESTS,
)

if TYPE_CHECKING:
    from lensloc.contrasts.clean_corrupted import Pairs
    from lensloc.results.specification_curves import Multiverse
    from lensloc.studies.specification_measuring import Outlook

_WHOLE = "whole"


def _several(what: str, known: Sequence[str]) -> Any:
    return typer.Option(help=f"{what}: {', '.join(known)}. Repeatable.")


def multiverse_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    said: TaskOptions,
    network: Network = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure, as in lensloc evaluate. Repeatable (default minimal-pairs)."
        ),
    ] = None,
    limit: Limit = None,
    selection: Annotated[list[str] | None, _several("What units are ranked by", SELECTIONS)] = None,
    activations: Annotated[list[str] | None, _several("Responses", ACTIVATIONS)] = None,
    test: Annotated[list[str] | None, _several("Test", TESTS)] = None,
    pooling: Annotated[list[str] | None, _several("Over which tokens", POOLINGS)] = None,
    max_tokens: Annotated[
        list[str] | None,
        typer.Option(help=f"Tokens of a stimulus: {_WHOLE}, or a number. Repeatable."),
    ] = None,
    bos: Annotated[
        list[str] | None, _several("Beginning-of-text token before a stimulus", BOS)
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="Where units live, e.g. resid_post. Repeatable.")
    ] = None,
    percents: Annotated[
        str | None,
        typer.Option(
            "--percent",
            "--percents",
            "--percentage",
            help="Sizes in per cent of units, e.g. 0.5,1.",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What units become: {', '.join(MODES)}; with a number, scale:0.5. Their means "
            "are of the contrast. Repeatable."
        ),
    ] = None,
    control_units: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What to compare with: {', '.join(CONTROL_KINDS)}, joined by +, e.g. "
            "magnitude+outliers. Repeatable."
        ),
    ] = None,
    reference_specification: Annotated[
        list[str] | None,
        typer.Option(
            help="A choice in the specification that others are compared with, e.g. percent=1, "
            "max_tokens=whole. Repeatable."
        ),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help=f"Of --selection pairs: bundled ones ({', '.join(BUNDLED_PAIRS)}), or a file with "
            "columns clean, corrupted, right, wrong. Pairs of unequal length in "
            "tokens are left out, with a note."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Draws of every control; 19 are the fewest for a test at 5 %.")
    ] = DRAWS,
    exact: Exact = False,
    truncate: Truncate = False,
    seed: Annotated[int, typer.Option(help="Seed of intervals and of resampled stimuli.")] = 0,
    batch_size: BatchSize = "auto",
    out: Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")] = None,
    plot_out: Annotated[
        Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
    ] = None,
    report_out: ReportOut = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out, --plot and --report.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask under every combination of analysts' choices whether a network matters.

    In how many specifications does a lesion of the chosen units do more harm than one of control
    units? Without any choice (--selection to --control-units) there are the usual ones. An
    interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr
    from lensloc.studies.specification_grid import read_choices
    from lensloc.studies.specification_runs import run_multiverse

    given = {
        "selection": selection, "activations": activations, "test": test, "pooling": pooling,
        "max_tokens": [_tokens(text) for text in max_tokens or ()], "bos": bos, "site": site,
        "percent": None if percents is None else parse_percents(percents),
        "mode": parse_modes(mode, None, of_contrast=True) if mode else None,
        "control": control_units,
    }  # fmt: skip
    choices = {name: values for name, values in given.items() if values} or None
    read_choices(choices)
    own = _named(reference_specification or ())
    if draws < 1:
        raise LensLocError(f"--draws is at least 1; {draws} is not.")
    require_places(overwrite, out, plot_out, report_out)
    wanted = task or ["minimal-pairs"]
    files = [] if pairs is None or pairs in BUNDLED_PAIRS else [Path(pairs)]
    form = texts.form(*task_files(wanted), *files)
    asked = _pairs(pairs, selection or (), form)
    with collected_warnings() as of_tasks:
        tasks = tasks_said(wanted, said, texts, limit, "model", batch_size, form)
    texts = without_taken(texts)
    contrast = texts.read(network, "lensloc", seed, form)
    rows = batch_size_of(batch_size)
    store = cached_store()
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        contrast = texts.templated(contrast, model)
        if asked is not None:
            asked = asked.aligned(model)
        found = run_multiverse(
            model, contrast, tasks, choices, reference_specification=own, draws=draws, pairs=asked,
            reference=None, exact=exact, seed=seed, confidence=0.95, truncate=truncate,
            batch_size=rows, store=store, progress=not as_json, tell=_tell,
        )  # fmt: skip
    found = dataclasses.replace(found, call=command_line())
    told = list(dict.fromkeys([*of_tasks, *notes, *found.warnings]))
    if out is not None:
        write_file(out, encoded(found.table, out.suffix), overwrite=overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.multiverse(found), plot_out, overwrite=overwrite)
    if report_out is not None:
        ll.report(found, report_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "rows": records(found.table),
                "left_out": records(found.left_out),
                "values": records(found.by_value()),
                "matters": records(found.matters()),
                "summary": found.summary(),
                "warnings": told,
                "out": None if out is None else str(out),
            }
        )
        return
    _show(found)
    show_notes(told)
    tell_written(out, plot_out, report_out)


def _tokens(text: str) -> int | None:
    """Read a value of ``--max-tokens``."""
    if text == _WHOLE:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise LensLocError(
            f"--max-tokens is {_WHOLE} or a whole number above 0; {text!r} is neither."
        )
    return int(text)


def _pairs(name: str | None, selections: Sequence[str], form: TableForm) -> "Pairs | None":
    """Read ``--pairs``, which goes with a selection by them."""
    wanted = "pairs" in selections
    if name is None:
        if wanted:
            raise LensLocError("--selection pairs needs --pairs; name bundled ones, or a file.")
        return None
    refuse_idle("no selection is by pairs; add --selection pairs", **{"--pairs": not wanted})
    return read_pairs(name, form)


def _named(texts: Sequence[str]) -> Mapping[str, Any]:
    """Read ``--reference-specification``."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.replace("-", "_")
        if not equals or not value:
            raise LensLocError(
                f"--reference-specification {text} is no choice; write e.g. percent=1."
            )
        if name in found:
            raise LensLocError(f"--reference-specification names {name} twice; name it once.")
        found[name] = _tokens(value) if name == "max_tokens" else value
    return found


def _tell(outlook: "Outlook") -> None:
    """Say on standard error what there is to do, and how long it takes."""
    console = Console(stderr=True)
    for sentence in outlook_sentences(**dataclasses.asdict(outlook)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _show(found: "Multiverse") -> None:
    console = Console()
    values = found.by_value()
    several = ["task"] if values["task"].nunique() > 1 else []
    if len(values):
        show_rows(
            console,
            values,
            [*several, "choice", "value", "specifications", "holds", "difference"],
            {"difference": "median difference"},
        )
        console.print()
    for sentence in found.summary():
        console.print(readable(sentence), markup=False, highlight=False, soft_wrap=True)

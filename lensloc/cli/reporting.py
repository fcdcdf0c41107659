"""A page about a network: ``lensloc report``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import lensloc as ll
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere, Exact, parse_controls
from lensloc.cli.evaluating import parse_percents, parse_tasks, task_files
from lensloc.cli.modes import parse_modes
from lensloc.cli.options import (
    DEFAULT_MODEL,
    AnyPooling,
    AsJson,
    Backend,
    BadColumn,
    BatchSize,
    Bos,
    ChatTemplate,
    ConditionColumn,
    ContrastOptions,
    ControlConditions,
    Device,
    Dtype,
    Encoding,
    GoodColumn,
    GroupColumn,
    ItemColumn,
    Limit,
    MaxTokens,
    ModelName,
    Network,
    OwnContrast,
    Protocol,
    Revision,
    Sep,
    Separator,
    Stimuli,
    SystemPrompt,
    TargetConditions,
    TextColumn,
    Truncate,
    TrustRemoteCode,
    Untrained,
    batch_size_of,
    file_form,
    require_percentage,
    require_sites,
    templated,
)
from lensloc.cli.output import (
    collected_warnings,
    command_line,
    print_json,
    show_notes,
    tell_written,
)
from lensloc.cli.seeing import default_network, require_task, sites_of_model
from lensloc.cli.tables import require_place
from lensloc.errors import LensLocError
from lensloc.forward.site_table import SITES
from lensloc.models.cache import cache_folder
from lensloc.models.names import may_see

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.studies import Study


def report_command(
    model_name: ModelName = DEFAULT_MODEL,
    network: Network = None,
    contrast: OwnContrast = None,
    target: TargetConditions = None,
    control: ControlConditions = None,
    text_column: TextColumn = "text",
    condition_column: ConditionColumn = "condition",
    item_column: ItemColumn = None,
    sep: Sep = None,
    encoding: Encoding = None,
    percentage: Annotated[float, typer.Option(help="Per cent of units to select.")] = 1.0,
    pooling: AnyPooling = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            help="Where units live; repeatable, the first is described and lesioned: "
            f"{', '.join(SITES)}."
        ),
    ] = None,
    protocol: Protocol = "lensloc",
    stimuli: Stimuli = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure with the network switched off, as in lensloc evaluate; "
            "repeatable. Without it, no lesion is made."
        ),
    ] = None,
    limit: Limit = None,
    separator: Separator = None,
    good_column: GoodColumn = None,
    bad_column: BadColumn = None,
    group_column: GroupColumn = None,
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
            help="What the network's units become, as in lensloc evaluate; repeatable, the first "
            "is held beside control units (default zero, mean, resample, and at the residual "
            "stream dims-mean). The contrast is the reference."
        ),
    ] = None,
    exact: Exact = False,
    anywhere: Anywhere = False,
    percents: Annotated[
        str | None, typer.Option(help="Sizes of lesions in per cent of units, e.g. 0.5,1,2.")
    ] = None,
    bos: Bos = "model",
    seed: Annotated[int, typer.Option(help="Of untrained weights, halves and intervals.")] = 42,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    revision: Revision = None,
    chat_template: ChatTemplate = False,
    system_prompt: SystemPrompt = None,
    trust_remote_code: TrustRemoteCode = False,
    batch_size: BatchSize = "auto",
    max_tokens: MaxTokens = None,
    truncate: Truncate = False,
    untrained: Untrained = False,
    out: Annotated[Path, typer.Option(help="Page to write: .html.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Write a page about a network: figures, an explorer, lesions, methods, tables.

    The page opens offline. Lesions that were measured before are not measured again.
    """
    from lensloc.models.quiet import stdout_to_stderr
    from lensloc.pages.report import summary

    if not may_see(model_name):  # whose sites are known once it is there
        require_sites(list(dict.fromkeys(site or ["resid_post"])))
    if task:
        require_task(model_name, task)
    require_percentage(percentage)
    require_place(out, "--out", (".html",), overwrite)
    sizes = None if percents is None else parse_percents(percents)
    network = network or default_network(model_name, ["language"])[0]
    files = [] if contrast is None or contrast.is_dir() else [contrast]
    form = file_form(sep, encoding, [*task_files(task or []), *files])
    columns = {"good": good_column, "bad": bad_column, "group": group_column}
    with collected_warnings():  # on the page, too
        tasks = parse_tasks(task or [], limit, bos, batch_size, form, columns, separator)
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
    texts = ContrastOptions(
        network, contrast, target, control, text_column, condition_column, stimuli, protocol,
        seed, item_column, form,
    ).read()  # fmt: skip
    with collected_warnings(), stdout_to_stderr():  # what they say is on the page
        model: Model = ll.load_model(
            model_name, untrained=untrained, seed=seed if untrained else None, dtype=dtype,
            device=device, backend=backend, trust_remote_code=trust_remote_code,
            revision=revision, progress=not as_json,
        )  # fmt: skip
        texts = templated(texts, model, chat_template, system_prompt)
        sites = sites_of_model(model, site)
        found = ll.study(
            model, texts, sites, percent=percentage, tasks=tasks, controls=several, percents=sizes,
            modes=None if mode is None else parse_modes(mode, None, of_contrast=True),
            exact=exact, pooling=pooling, protocol=protocol, seed=seed,
            batch_size=batch_size_of(batch_size),
            max_tokens=max_tokens, truncate=truncate,
            store=ll.Store.at(cache_folder() / "studies"), progress=not as_json,
        )  # fmt: skip
    found = dataclasses.replace(found, call=command_line())
    page = ll.report(found, out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": model_name,
                "network": found.contrast.name,
                "site": found.site,
                "n_units": len(found.network),
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
    from lensloc.pages.report import summary

    for paragraph in summary(found):
        console.print(f"{paragraph}\n", markup=False, highlight=False)
    show_notes(found.warnings)

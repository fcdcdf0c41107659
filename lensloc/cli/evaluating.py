"""What lesions break, more than their controls do: ``lensloc evaluate``."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import lensloc as ll
from lensloc import contrasts, vocabulary
from lensloc.cli import seeing
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere, Exact, parse_controls
from lensloc.cli.modes import parse_modes
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
    Networks,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Bos,
    Limit,
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
from lensloc.cli.tables import FIGURES, TABLES, cell, encoded, records, require_place, show_rows
from lensloc.cli.task_options import TaskOptions
from lensloc.contrasts.columns import TableForm
from lensloc.display.files import write_file
from lensloc.display.plugins import TASKS, plugin_names
from lensloc.display.sentences.words import listed
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.names import may_see
from lensloc.units.rules import count_from_percent
from lensloc.vocabulary import (
    BUNDLED_CHOICES,
    PERCENTS,
    TASK_MODES,
)

if TYPE_CHECKING:
    import pandas as pd

    from lensloc.results.lesions import LesionStudy
    from lensloc.tasks import Task
    from lensloc.units.control_sets import Controls
    from lensloc.units.mask import UnitMask

# What a task is called here -> in ll.tasks.
_TASKS = {
    "minimal-pairs": "minimal_pairs",
    "perplexity": "perplexity",
    "bits-per-byte": "bits_per_byte",
    "choice": "multiple_choice",
    "generation": "generation",
    "lm-eval": "lm_eval",
}
# Tasks that read files of one's own, and the columns of these that can be named.
_READS = {
    "minimal-pairs": ("good", "bad", "group"),
    "perplexity": ("text",),
    "bits-per-byte": ("text",),
    "choice": ("prompt",),
    "generation": ("prompt",),
}
_NEED = {
    "choice": f"a .jsonl file, or one of {', '.join(BUNDLED_CHOICES)}, e.g. "
    f"choice={BUNDLED_CHOICES[0]}",
    "lm-eval": "the harness' name of a task, e.g. lm-eval=blimp_anaphor_gender_agreement",
}


def evaluate_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    said: TaskOptions,
    masks: Masks = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=network_names,
            help=f"Network to localize and lesion: {', '.join(contrasts.NAMES)}, of pictures "
            f"{', '.join(contrasts.OF_PICTURES)}; repeatable (default language, of a model of "
            "pictures faces, without --mask).",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure: minimal-pairs, perplexity, bits-per-byte or generation, each "
            "with =PATH for texts of your own; choice=PATH, or choice= and one of "
            f"{', '.join(BUNDLED_CHOICES)}; lm-eval=NAME. Repeatable (default minimal-pairs, "
            f"perplexity). Of pictures: {seeing.HELP}."
        ),
    ] = None,
    limit: Limit = None,
    control_units: Annotated[
        list[str] | None,
        typer.Option(help=f"What to compare every network with: {CONTROLS_HELP}. Repeatable."),
    ] = None,
    percents: Annotated[
        str | None,
        typer.Option(
            "--percent",
            "--percents",
            "--percentage",
            help="Sizes in per cent of units, e.g. 0.5,1,2 (default: a mask's own; of networks "
            f"by name those of the masks, or {', '.join(f'{p:g}' for p in PERCENTS)}).",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What happens to the units: {', '.join(TASK_MODES)}; with a number, scale:0.5, "
            "clamp:3. Repeatable (default zero)."
        ),
    ] = None,
    reference: Reference = None,
    bos: Bos = "model",
    site: Site = None,
    seed: Annotated[int, typer.Option(help="Seed of intervals and of resampled stimuli.")] = 42,
    batch_size: BatchSize = "auto",
    out: Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")] = None,
    exact: Exact = False,
    anywhere: Anywhere = False,
    plot_out: Annotated[
        Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at --out and --plot.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what lesions of networks break, beside lesions of control units.

    An interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr

    if not may_see(loading.model_name):  # whose sites are known once it is there
        require_sites([] if site is None else [site])
    seeing.require_task(loading.model_name, task)
    modes = parse_modes(mode or ["zero"], reference)
    several = parse_controls(control_units or [], elsewhere=not anywhere)
    if not several:
        idle = {"--exact": exact, "--anywhere": anywhere}
        refuse_idle("no --control-units are given; leave it out", **idle)
    sizes = None if percents is None else parse_percents(percents)
    require_place(out, "--out", TABLES, overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    form = texts.form(*task_files(task or []), *reference_files(reference))
    wanted = task or ["minimal-pairs", "perplexity"]
    with collected_warnings() as of_tasks:
        tasks = tasks_said(wanted, said, texts, limit, bos, batch_size, form)
    held = reference_contrast(reference, form)
    usual = seeing.default_network(loading.model_name, ["language"])
    networks = Networks.parse(masks, network, without_taken(texts), how, site, seed, form, usual)
    for given in networks.masks.values():
        _require_possible(given, sizes, several)
    store = cached_store()

    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        study = ll.lesion_study(
            model,
            networks.of(
                model, store=store, progress=not as_json, batch_size=batch_size_of(batch_size)
            ),
            tasks, several, sizes or _sizes_of_masks(networks), modes,
            site=networks.to_localize, reference=held, seed=seed, exact=exact,
            batch_size=batch_size_of(batch_size), store=store, progress=not as_json,
        )  # fmt: skip
    notes = list(dict.fromkeys([*of_tasks, *notes, *study.warnings]))
    if out is not None:
        write_file(out, encoded(study.table, out.suffix), overwrite=overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.dose_response(study), plot_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "rows": records(study.table),
                "comparisons": records(study.comparisons),
                "summary": study.summary(),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    _show(study)
    show_notes(notes)
    tell_written(out, plot_out)


# -- networks --------------------------------------------------------------------------------------


def _sizes_of_masks(networks: Networks) -> dict[str, list[float]] | None:
    """Return sizes for networks by name: those of the masks beside them, if there are some."""
    from lensloc.studies import own_percent

    sizes = list(
        dict.fromkeys(size for mask in networks.masks.values() if (size := own_percent(mask)))
    )
    if not sizes:
        return None
    return {name: sizes for name in networks.contrasts}


def _require_possible(
    mask: "UnitMask", sizes: Sequence[float] | None, several: "Sequence[Controls]"
) -> None:
    """Refuse sizes and controls that a mask cannot have, before a model is loaded."""
    for size in sizes or ():
        count_from_percent(size, mask.n_units)
    with collected_warnings():  # sizes below one unit are told by the study
        cut = [mask.resized(percent=size) for size in sizes or ()] or [mask]
    for wanted in several:
        once = dataclasses.replace(wanted, seeds=wanted.seeds[:1])
        for network in cut:
            list(once(network))


def parse_percents(text: str, option: str = "--percent") -> list[float]:
    """Read sizes, ``--percent 0.5,1,2``, or an option of another name.

    Raises:
        LensLocError: unless it is a list of percentages.
    """
    sizes = []
    for part in text.split(","):
        try:
            size = float(part)
        except ValueError as error:
            raise LensLocError(
                f"{option} {text!r} is not a list of numbers; write e.g. 0.5,1,2."
            ) from error
        require_percentage(size, f"Every size in {option}")
        sizes.append(size)
    return list(dict.fromkeys(sizes))


# -- tasks and controls ----------------------------------------------------------------------------


def tasks_said(
    wanted: Sequence[str],
    said: TaskOptions,
    texts: ContrastOptions,
    limit: int | None,
    bos: vocabulary.Bos,
    batch_size: str,
    form: TableForm,
) -> "list[Task]":
    """Read ``--task`` with all options of tasks, as every command that measures some does.

    Args:
        wanted: the tasks.
        said: the options of tasks.
        texts: those of contrasts; without a contrast of one's own, its column of texts is of tasks.
        limit: items per paradigm or kind, or texts.
        bos: ``--bos``.
        batch_size: ``--batch-size``.
        form: how files of one's own are written.

    Raises:
        LensLocError: what :func:`parse_tasks` refuses.
    """
    # Of --contrast too, where one is given.
    text = None if texts.contrast and "text" not in read_by(wanted) else texts.text_column
    return parse_tasks(
        wanted, limit, bos, batch_size, form, {**said.columns, "text": text}, said.separator,
        said.scoring, said.of_pictures,
    )  # fmt: skip


def without_taken(texts: ContrastOptions) -> ContrastOptions:
    """Return options of contrasts without the column of texts, where tasks have taken it."""
    return texts if texts.contrast else dataclasses.replace(texts, text_column=None)


def parse_tasks(
    texts: Sequence[str],
    limit: int | None,
    bos: vocabulary.Bos,
    batch_size: str,
    form: TableForm,
    columns: Mapping[str, str | None],
    separator: str | None = None,
    scoring: vocabulary.PairScoring | None = None,
    of_pictures: seeing.Seeing = seeing.Seeing(),  # noqa: B008 - frozen
) -> "list[Task]":
    """Read ``--task``; tasks that would have one name are called as they were written.

    Args:
        texts: the tasks.
        limit: items per paradigm or kind, or texts.
        bos: ``--bos``.
        batch_size: ``--batch-size``.
        form: how files of one's own are written.
        columns: what columns of theirs are called, each for the tasks that read such a one.
        separator: ``--separator``, of choices.
        scoring: ``--scoring``, of minimal pairs.
        of_pictures: what is said of tasks on pictures.

    Raises:
        LensLocError: a task or an option that there is not, or a column or separator of no task.
    """
    options: dict[str, Any] = {"limit": limit, "bos": bos, "batch_size": batch_size_of(batch_size)}
    named = {name: title for name, title in columns.items() if title is not None}
    read = read_by(texts)
    for name in named:
        if name not in read:
            of = ["--contrast"] * (name == "text")
            of += [f"--task {kind}=PATH" for kind in _READS if name in _READS[kind]]
            raise LensLocError(
                f"--{name}-column is for {listed(of)}, which was not asked for; leave it out."
            )
    of_kind: dict[str, dict[str, Any]] = {}
    if separator is not None:
        of_kind["choice"] = {"separator": separator.replace("\\n", "\n")}
    if scoring is not None:
        of_kind["minimal-pairs"] = {"scoring": scoring}
    for kind, option in (("choice", "separator"), ("minimal-pairs", "scoring")):
        if kind in of_kind and kind not in map(_kind, texts):
            raise LensLocError(
                f"--{option} is for --task {kind}, which was not asked for; leave it out."
            )
    of_pictures.require_used(texts)
    made = {
        text: of_pictures.task(_kind(text), _folder(text), limit, options["batch_size"])
        if _kind(text) in seeing.OF_PICTURES
        else _task(text, {**options, **of_kind.get(_kind(text), {})}, form, named)
        for text in dict.fromkeys(texts)
    }
    names = Counter(task.name for task in made.values())
    return [
        task
        if names[task.name] == 1 or isinstance(task, ll.tasks.HarnessTask)
        else dataclasses.replace(task, name=text)
        for text, task in made.items()
    ]


def _task(text: str, options: Mapping[str, Any], form: TableForm, named: Mapping[str, str]) -> Any:
    kind, equals, argument = text.partition("=")
    if kind not in _TASKS and text in plugin_names(TASKS):
        return ll.tasks.plugged(text)
    if kind not in _TASKS:
        raise LensLocError(
            f"There is no task {kind!r} (--task {text}); there are {', '.join(_TASKS)}, and of "
            f"pictures {', '.join(seeing.OF_PICTURES)}."
        )
    if not argument and kind in _NEED:
        raise LensLocError(f"--task {kind} needs {_NEED[kind]}.")
    if equals and not argument:
        raise LensLocError(f"--task {text} names no file; write {kind} or {kind}=PATH.")
    make = getattr(ll.tasks, _TASKS[kind])
    if not argument:
        return make(**options)
    if not task_files([text]):
        return make(argument, **options)
    columns = {name: title for name, title in named.items() if name in _READS[kind]}
    # Not by TableForm.of, which leaves out equal names: a column "good" is not the usual one.
    said = TableForm(columns, form.sep, form.encoding).fitted(Path(argument)).said
    return make(argument, **options, **said)


def _folder(text: str) -> str:
    kind, _, folder = text.partition("=")
    if not folder:
        raise LensLocError(f"--task {kind} needs {seeing.NEED}: {kind}=FOLDER.")
    return folder


def read_by(texts: Sequence[str]) -> set[str]:
    """Return the columns that tasks read from files of one's own."""
    return {name for text in texts if task_files([text]) for name in _READS[_kind(text)]}


def _kind(text: str) -> str:
    return text.partition("=")[0]


def task_files(texts: Sequence[str]) -> list[Path]:
    """Return the files and folders that ``--task`` names."""
    arguments = [(_kind(text), text.partition("=")[2]) for text in texts]
    return [
        Path(argument)
        for kind, argument in arguments
        if kind in _READS and argument and argument not in BUNDLED_CHOICES
    ]


# -- output ----------------------------------------------------------------------------------------


def _show(study: "LesionStudy") -> None:
    from lensloc.results.lesions import NETWORK

    console = Console()
    table, level = study.table, f"{100 * study.confidence:g} %"
    console.print(f"{table['model'].iloc[0]}, intact:", markup=False, highlight=False)
    columns = ["task", "measure", "n_items", "intact", "chance"]
    show_rows(console, table, columns, {"n_items": "items", "intact": "score"})
    compared = study.comparisons
    if compared.empty:
        rows = table[table["kind"] == NETWORK].copy()
        words = f"intervals ({level}) over items"
        shown = ["percent", "task", "network drop"]
        rows["network drop"] = _with_interval(rows, "drop")
    else:
        rows = compared.assign(
            difference=_with_interval(compared, "difference"),
            control=[f"{row.kind} ({row.draws})" for row in compared.itertuples()],
            p=["" if p != p else f"{p:.3f}" for p in compared["p_more"]],
        )
        words = (
            f"differences with intervals ({level}) over draws and items, and p of the test over "
            "draws that the network does more harm"
        )
        shown = ["percent", "task", "control", "network_drop", "control_drop", "difference", "p"]
    constant = [name for name in ("network", "mode") if rows[name].nunique() > 1]
    names = ", ".join(map(str, rows["network"].unique()))
    modes = ", ".join(map(str, rows["mode"].unique()))
    console.print(
        f"\nHow much worse with {names} lesioned ({modes}); {words}:",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    titles = {"percent": "%", "network_drop": "network drop", "control_drop": "control drop"}
    show_rows(console, rows, [*constant, *shown], titles)
    console.print()
    for sentence in study.summary():
        console.print(readable(sentence), markup=False, highlight=False, soft_wrap=True)


def _with_interval(rows: "pd.DataFrame", name: str) -> list[str]:
    """Write values with their intervals, e.g. ``0.120 [0.050, 0.190]``."""
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    return [
        f"{cell(value)} [{cell(a)}, {cell(b)}]"
        for value, a, b in zip(rows[name], low, high, strict=True)
    ]

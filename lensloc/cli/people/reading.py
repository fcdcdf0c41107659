"""Does surprisal tell how long people read: ``lensloc alignment reading-times``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lensloc as ll
from lensloc import vocabulary
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere
from lensloc.cli.modes import parse_modes
from lensloc.cli.networks import (
    ContrastOptions,
    Localizing,
)
from lensloc.cli.options import (
    AsJson,
    BatchSize,
    Masks,
    ModelOptions,
    Out,
    Overwrite,
    PlotOut,
    Reference,
    Site,
    batch_size_of,
    reference_contrast,
    require_one_of,
    require_sites,
)
from lensloc.cli.output import (
    collected_warnings,
    command_line,
    print_json,
    show_notes,
    tell_written,
)
from lensloc.cli.people.options import (
    KINDS,
    Folds,
    GivenNetworks,
    Language,
    NetworkNames,
    Percent,
    ReportOut,
    Resamples,
    Window,
    controls_of,
    require_places,
)
from lensloc.cli.people.output import show_reading
from lensloc.cli.tables import TABLES, records, write
from lensloc.contrasts.columns import TableForm
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    from lensloc.alignment import ReadingTimes

_NOTHING_LESIONED = "--intact lesions nothing, so nothing is localized; leave it out"


def reading_times_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    times: Annotated[
        Path,
        typer.Argument(
            help=f"Reading times: {KINDS}, a row per word, with columns story, position, word, "
            "time and, for single readers, subject; or a folder of Natural Stories."
        ),
    ],
    measure: Annotated[
        str | None,
        typer.Option(
            help="Column of times (default time; of Natural Stories meanItemRT, and also "
            "gmeanItemRT, or RT for single readers)."
        ),
    ] = None,
    masks: Masks = None,
    network: NetworkNames = None,
    percent: Percent = None,
    site: Site = None,
    intact: Annotated[
        bool, typer.Option("--intact", help="Measure the intact model alone; lesion nothing.")
    ] = False,
    mode: Annotated[
        str,
        typer.Option(
            help=f"What happens to the units: {', '.join(vocabulary.MODES)}; with a number, "
            "scale:0.5, clamp:3."
        ),
    ] = "zero",
    reference: Reference = None,
    control_units: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Control units lesioned beside: {CONTROLS_HELP}; or none. Repeatable (default "
            "layer:10)."
        ),
    ] = None,
    anywhere: Anywhere = False,
    bos: Annotated[
        vocabulary.Bos, typer.Option(help="Beginning-of-text token before every story.")
    ] = "model",
    window: Window = None,
    folds: Folds = 10,
    language: Language = "en",
    resamples: Resamples = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    batch_size: BatchSize = "auto",
    out: Out = None,
    words_out: Annotated[
        Path | None,
        typer.Option(
            help=f"Table of the intact model's surprisals, a row per word: {', '.join(TABLES)}."
        ),
    ] = None,
    plot_out: PlotOut = None,
    report_out: ReportOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Predict reading times from surprisal, intact and with networks and control units lesioned."""
    from lensloc.models.quiet import stdout_to_stderr

    require_sites([] if site is None else [site])
    (arguments,) = parse_modes([mode], reference)
    size = batch_size_of(batch_size)
    if intact:
        idle = {"--mask": masks, "--network": network, "--percent": percent,
                "--control-units": control_units, "--contrast": texts.contrast, "--site": site,
                "--anywhere": anywhere, "--reference": reference,
                "--mode": mode != "zero"}  # fmt: skip
        for option in (name for name, value in idle.items() if value):
            raise LensLocError(f"{option} has no effect with --intact, which lesions nothing.")
        texts.refuse_all(_NOTHING_LESIONED)
        how.refuse_all(_NOTHING_LESIONED)
    require_one_of("mode here", str(arguments["mode"]), vocabulary.MODES)
    several = controls_of(control_units, 10, anywhere=anywhere)
    require_places(overwrite, out, plot_out, report_out, words_out=words_out)
    known = _reading_data(times, measure, texts.sep, texts.encoding)
    form = TableForm.of(None, texts.sep, texts.encoding)
    held = reference_contrast(reference, form)
    if held is not None:
        arguments["reference"] = held
    wanted = (
        None
        if intact
        else GivenNetworks.parse(masks, network, percent, site, texts, how, form, seed)
    )
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        units = None if wanted is None else wanted.of(model, progress=not as_json, batch_size=size)
        study = ll.alignment.reading_times(
            model, known, units, controls=None if intact else several, mode=arguments, bos=bos,
            window=window, n_folds=folds, language=language, n_resamples=resamples, seed=seed,
            batch_size=size, progress=not as_json,
        )  # fmt: skip
    study = dataclasses.replace(study, call=command_line())
    notes = list(dict.fromkeys([*notes, *study.warnings]))
    write(out, study.table, overwrite)
    write(words_out, study.words, overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.reading_times(study), plot_out, overwrite=overwrite)
    if report_out is not None:
        ll.report(study, report_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "rows": records(study.table),
                "comparisons": records(study.comparisons),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    show_reading(study)
    show_notes(notes)
    tell_written(out, words_out, plot_out, report_out)


def _reading_data(
    path: Path, measure: str | None, sep: str | None, encoding: str | None
) -> "ReadingTimes":
    if path.is_dir():
        TableForm.of(None, sep, encoding).require_unsaid(f"the folder {path} of Natural Stories")
        return ll.alignment.natural_stories(path, measure or "meanItemRT")
    return ll.alignment.ReadingTimes.from_dataframe(
        path, time=measure or "time", sep=sep, encoding=encoding
    )

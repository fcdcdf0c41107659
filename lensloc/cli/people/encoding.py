"""Do units predict what brains do: ``lensloc alignment encode``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lensloc as ll
from lensloc import vocabulary
from lensloc.cli.control_units import CONTROLS_HELP, Anywhere
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
    Site,
    batch_size_of,
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
from lensloc.cli.people.output import show_encoding
from lensloc.cli.tables import TABLES, records, write
from lensloc.contrasts.columns import TableForm
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    from lensloc.alignment import Dataset
    from lensloc.units.mask import UnitMask

# Name of published data -> the function of ll.alignment that reads them.
_READERS = {
    "pereira2018": "pereira2018",
    "tuckute2024": "tuckute2024",
    "brainscore": "brainscore_assembly",
}


def encode_command(
    loading: ModelOptions,
    texts: ContrastOptions,
    how: Localizing,
    stimuli: Annotated[
        Path | None,
        typer.Option(
            help=f"What people saw: {KINDS}, with columns text and, if known, passage, position, "
            "group; onset for time series."
        ),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(
            help=f"What was recorded: {KINDS}, a row per stimulus and a column per response; "
            "columns run and time for time series."
        ),
    ] = None,
    ceilings: Annotated[
        Path | None,
        typer.Option(help=f"{KINDS} with columns response, ceiling and, if known, region."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"Published data instead: {', '.join(f'{name}=FILE' for name in _READERS)}."
        ),
    ] = None,
    masks: Masks = None,
    network: NetworkNames = None,
    percent: Percent = None,
    site: Site = None,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Every layer's units as a network of their own.")
    ] = False,
    pooling: Annotated[
        vocabulary.StimulusPooling, typer.Option(help="Over which tokens of a stimulus.")
    ] = "last-token",
    context: Annotated[
        vocabulary.Context, typer.Option(help="What is read before a stimulus.")
    ] = "passage",
    window: Window = None,
    split: Annotated[
        vocabulary.Split,
        typer.Option(
            help="Hold out whole passages, or samples whose neighbours are trained on; every "
            "table then says so."
        ),
    ] = "grouped",
    folds: Folds = 5,
    delays: Annotated[
        str | None, typer.Option(help="Delays of time series, in samples (default 1,2,3,4).")
    ] = None,
    trim: Annotated[
        str, typer.Option(help="Samples left out at both ends of a run, or FIRST,LAST.")
    ] = "0",
    control_units: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Control units: {CONTROLS_HELP}; or none. Repeatable (default layer:19)."
        ),
    ] = None,
    anywhere: Anywhere = False,
    untrained: Annotated[
        bool, typer.Option(help="Compare with the same units of the untrained model.")
    ] = True,
    language: Language = "en",
    resamples: Resamples = 1000,
    seed: Annotated[
        int, typer.Option(help="Seed of shuffling, untrained weights and intervals.")
    ] = 0,
    batch_size: BatchSize = "auto",
    out: Out = None,
    responses_out: Annotated[
        Path | None,
        typer.Option(help=f"Table of every response to write: {', '.join(TABLES)}."),
    ] = None,
    plot_out: PlotOut = None,
    report_out: ReportOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Predict brain responses from a network's units, beside baselines and control units."""
    from lensloc.models.quiet import stdout_to_stderr

    require_sites([] if site is None else [site])
    steps, ends = _whole_numbers(delays, "--delays"), _trim(trim)
    several = controls_of(control_units, 19, anywhere=anywhere)
    size = batch_size_of(batch_size)
    require_places(overwrite, out, plot_out, report_out, responses_out=responses_out)
    form = TableForm.of(None, texts.sep, texts.encoding)
    seen, recorded = _brain_data(stimuli, responses, ceilings, data, texts.sep, texts.encoding)
    wanted = GivenNetworks.parse(masks, network, percent, site, texts, how, form, seed)
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        units = wanted.of(model, progress=not as_json, batch_size=size)
        if by_layer:
            units = _by_layer(units)
        twin = None
        if untrained:
            twin = loading.load(quiet=as_json, untrained=True, seed=seed)
        found = ll.alignment.encode(
            model, seen, recorded, units, pooling=pooling, context=context, window=window,
            split=split, n_folds=folds, delays=steps, trim=ends, controls=several,
            untrained=twin, language=language, n_resamples=resamples,
            seed=seed, batch_size=size, progress=not as_json,
        )  # fmt: skip
    found = dataclasses.replace(found, call=command_line())
    notes = list(dict.fromkeys([*notes, *found.warnings]))
    write(out, found.table, overwrite)
    write(responses_out, found.responses, overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.alignment(found), plot_out, overwrite=overwrite)
    if report_out is not None:
        ll.report(found, report_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": loading.model_name,
                "split": found.split,
                "rows": records(found.table),
                "comparisons": records(found.comparisons),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    show_encoding(found)
    show_notes(notes)
    tell_written(out, responses_out, plot_out, report_out)


def _brain_data(
    stimuli: Path | None,
    responses: Path | None,
    ceilings: Path | None,
    data: str | None,
    sep: str | None,
    encoding: str | None,
) -> "Dataset":
    of_ceilings: Mapping[str, str] = {}
    if data is not None:
        for option, value in {"--stimuli": stimuli, "--responses": responses, "--sep": sep,
                              "--encoding": encoding}.items():  # fmt: skip
            if value is not None:
                raise LensLocError(f"{option} and --data are both given; give one of them.")
        name, equals, path = data.partition("=")
        if name not in _READERS or not equals or not path:
            known = ", ".join(f"{reader}=FILE" for reader in _READERS)
            raise LensLocError(f"--data {data} is none of {known}.")
        found: Dataset = getattr(ll.alignment, _READERS[name])(Path(path))
    elif stimuli is None or responses is None:
        raise LensLocError("Give --stimuli and --responses, or --data for published data.")
    else:
        form = TableForm.of(None, sep, encoding)
        form.require_fits(stimuli, responses)
        of_ceilings = {} if ceilings is None else form.fitted(ceilings).said
        found = ll.alignment.Dataset(
            ll.alignment.Stimuli.of(stimuli, **form.fitted(stimuli).said),
            ll.alignment.BrainResponses.of(responses, **form.fitted(responses).said),
        )
    if ceilings is None:
        return found
    return found._replace(responses=found.responses.with_ceilings(ceilings, **of_ceilings))


def _whole_numbers(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise LensLocError(f"{option} {text!r} is no list of whole numbers; write e.g. 1,2,3,4.")
    return [int(part) for part in parts]


def _trim(text: str) -> int | tuple[int, int]:
    found = _whole_numbers(text, "--trim") or [0]
    if len(found) > 2:
        raise LensLocError(f"--trim {text!r} is one number, or two: FIRST,LAST.")
    return found[0] if len(found) == 1 else (found[0], found[1])


def _by_layer(units: "Mapping[str, UnitMask]") -> "dict[str, UnitMask]":
    several = len(units) > 1
    return {
        f"{name}, {layer}" if several else layer: part
        for name, mask in units.items()
        for layer, part in ll.alignment.by_layer(mask).items()
    }

"""Brains and reading: ``lensloc alignment`` encode, reading-times, fetch."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console

from lensloc import alignment, contrasts, plot
from lensloc.alignment.contexts import CONTEXTS, POOLINGS
from lensloc.alignment.fetching import DATA
from lensloc.alignment.splits import SPLITS
from lensloc.cli.control_units import parse_controls
from lensloc.cli.modes import parse_modes
from lensloc.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    Backend,
    BatchSize,
    Device,
    Dtype,
    Encoding,
    Masks,
    ModelName,
    Sep,
    Site,
    TrustRemoteCode,
    batch_size_of,
    load_mask,
    require_known,
    require_one_of,
    require_percentage,
)
from lensloc.cli.output import (
    collected_warnings,
    command_line,
    print_json,
    readable,
    show_notes,
)
from lensloc.cli.tables import (
    FIGURES,
    TABLES,
    cell,
    encoded,
    records,
    require_different,
    require_place,
    show_rows,
)
from lensloc.contrasts.columns import TABLE_KINDS, TableForm
from lensloc.display.files import write_file
from lensloc.display.sentences.words import interval, number
from lensloc.errors import LensLocError
from lensloc.lesions.lesioning import MODES
from lensloc.models import load_model, writable_cache_folder
from lensloc.models.quiet import stdout_to_stderr
from lensloc.models.tokens import BOS
from lensloc.pages.report import report
from lensloc.results.encodings import Encoding as EncodingResult
from lensloc.results.encodings import shown_scores
from lensloc.results.readings import ReadingStudy, shown_gains
from lensloc.studies import localize
from lensloc.studies.store import Store
from lensloc.units.mask import UnitMask
from lensloc.units.matching import MATCHES, Controls, controls

alignment_app = typer.Typer(
    no_args_is_help=True, help="Do units predict brains, and surprisal how long people read?"
)

_READERS: dict[str, Callable[[Path], alignment.Dataset]] = {
    "pereira2018": alignment.pereira2018,
    "tuckute2024": alignment.tuckute2024,
    "brainscore": alignment.brainscore_assembly,
}
_NO_CONTROL = "none"
_MODES = [mode for mode in MODES if mode not in ("mean", "resample")]  # these need a reference
_KINDS = ", ".join(TABLE_KINDS)

Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        help=f"Network to localize (at resid_post): {', '.join(contrasts.NAMES)}; repeatable "
        "(default language, without --mask).",
    ),
]
Percentage = Annotated[
    float | None,
    typer.Option(help="Per cent of units of --network (default 1); masks have their own size."),
]
Language = Annotated[str, typer.Option(help="Of the words, for their frequencies (ISO 639-1).")]
Folds = Annotated[int, typer.Option(help="Folds of whole passages or stories.")]
Resamples = Annotated[int, typer.Option(help="Of the bootstrap over passages or stories.")]
Window = Annotated[int | None, typer.Option(help="Most tokens read at once.")]
Out = Annotated[Path | None, typer.Option(help=f"Table to write: {', '.join(TABLES)}.")]
PlotOut = Annotated[
    Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
]
ReportOut = Annotated[Path | None, typer.Option("--report", help="Page to write: .html.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@alignment_app.command("encode")
def encode_command(
    stimuli: Annotated[
        Path | None,
        typer.Option(
            help=f"What people saw: {_KINDS}, with columns text and, if known, passage, position, "
            "group; onset for time series."
        ),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(
            help=f"What was recorded: {_KINDS}, a row a stimulus and a column a response; columns "
            "run and time for time series."
        ),
    ] = None,
    ceilings: Annotated[
        Path | None,
        typer.Option(help=f"{_KINDS} with columns response, ceiling and, if known, region."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"Published data instead: {', '.join(f'{name}=FILE' for name in _READERS)}."
        ),
    ] = None,
    sep: Sep = None,
    encoding: Encoding = None,
    model_name: ModelName = DEFAULT_MODEL,
    masks: Masks = None,
    network: Networks = None,
    percentage: Percentage = None,
    site: Site = None,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Every layer's units as a network of their own.")
    ] = False,
    pooling: Annotated[
        str, typer.Option(help=f"Over the tokens of a stimulus: {', '.join(POOLINGS)}.")
    ] = "last-token",
    context: Annotated[
        str, typer.Option(help=f"What is read before a stimulus: {', '.join(CONTEXTS)}.")
    ] = "passage",
    window: Window = None,
    split: Annotated[
        str,
        typer.Option(
            help=f"{' or '.join(SPLITS)}: whole passages held out, or samples whose neighbours are "
            "trained on, which every table is then marked with."
        ),
    ] = "grouped",
    folds: Folds = 5,
    delays: Annotated[
        str | None, typer.Option(help="Of time series, in samples (default 1,2,3,4).")
    ] = None,
    trim: Annotated[
        str, typer.Option(help="Samples left out at both ends of a run, or FIRST,LAST.")
    ] = "0",
    control: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Control units: {', '.join(MATCHES)}, each with :N for N draws; or none. "
            "Repeatable (default layer:19)."
        ),
    ] = None,
    untrained: Annotated[
        bool, typer.Option(help="Hold the same units of the untrained model beside.")
    ] = True,
    language: Language = "en",
    resamples: Resamples = 1000,
    seed: Annotated[int, typer.Option(help="Of shuffling, untrained weights and intervals.")] = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
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
    require_known(sites=[] if site is None else [site], backend=backend)
    require_one_of("pooling", pooling, POOLINGS)
    require_one_of("context", context, CONTEXTS)
    require_one_of("split", split, SPLITS)
    steps, ends = _whole_numbers(delays, "--delays"), _trim(trim)
    several = _controls(control, 19)
    size = batch_size_of(batch_size)
    _require_places(overwrite, out, plot_out, report_out, responses_out=responses_out)
    seen, recorded = _brain_data(stimuli, responses, ceilings, data, sep, encoding)
    wanted = _Wanted.parse(masks, network, percentage, site)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        units = wanted.of(model, progress=not as_json)
        if by_layer:
            units = _by_layer(units)
        twin = None
        if untrained:
            twin = _model(
                model_name, device, dtype, backend, trust_remote_code, as_json,
                untrained=True, seed=seed,
            )  # fmt: skip
        found = alignment.encode(
            model, seen, recorded, units, pooling=pooling, context=context, window=window,  # type: ignore[arg-type]
            split=split, n_folds=folds, delays=steps, trim=ends, controls=several,  # type: ignore[arg-type]
            untrained=twin, language=language, n_resamples=resamples,
            seed=seed, batch_size=size, progress=not as_json,
        )  # fmt: skip
    found = dataclasses.replace(found, call=command_line())
    notes = list(dict.fromkeys([*notes, *found.warnings]))
    _write(out, found.table, overwrite)
    _write(responses_out, found.responses, overwrite)
    if plot_out is not None:
        plot.save(plot.alignment(found), plot_out, overwrite=overwrite)
    if report_out is not None:
        report(found, report_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": model_name,
                "split": found.split,
                "rows": records(found.table),
                "comparisons": records(found.comparisons),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    _show_encoding(found)
    show_notes(notes)
    _wrote(out, responses_out, plot_out, report_out)


@alignment_app.command("reading-times")
def reading_times_command(
    times: Annotated[
        Path,
        typer.Argument(
            help=f"Reading times: {_KINDS}, a row a word, with columns story, position, word, "
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
    sep: Sep = None,
    encoding: Encoding = None,
    model_name: ModelName = DEFAULT_MODEL,
    masks: Masks = None,
    network: Networks = None,
    percentage: Percentage = None,
    site: Site = None,
    intact: Annotated[
        bool, typer.Option("--intact", help="Measure the intact model alone; lesion nothing.")
    ] = False,
    mode: Annotated[
        str,
        typer.Option(
            help=f"What happens to the units: {', '.join(_MODES)}; with a number, scale:0.5, "
            "clamp:3."
        ),
    ] = "zero",
    control: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Control units lesioned beside: {', '.join(MATCHES)}, each with :N for N draws; "
            "or none. Repeatable (default layer:10)."
        ),
    ] = None,
    bos: Annotated[
        str, typer.Option(help=f"Beginning-of-text token before stories: {', '.join(BOS)}.")
    ] = "model",
    window: Window = None,
    folds: Folds = 10,
    language: Language = "en",
    resamples: Resamples = 2000,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
    batch_size: BatchSize = "auto",
    out: Out = None,
    words_out: Annotated[
        Path | None,
        typer.Option(
            help=f"Table of the intact model's surprisals, a row a word: {', '.join(TABLES)}."
        ),
    ] = None,
    plot_out: PlotOut = None,
    report_out: ReportOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Predict reading times from surprisal, intact and with networks and control units lesioned."""
    require_known(sites=[] if site is None else [site], backend=backend)
    if bos not in BOS:
        raise LensLocError(f"--bos is one of {', '.join(BOS)}; {bos!r} is not.")
    (arguments,) = parse_modes([mode], None)
    size = batch_size_of(batch_size)
    if intact:
        idle = {"--mask": masks, "--network": network, "--percentage": percentage,
                "--control": control}  # fmt: skip
        for option in (name for name, value in idle.items() if value):
            raise LensLocError(f"{option} has no effect with --intact, which lesions nothing.")
    require_one_of("mode here", str(arguments["mode"]), _MODES)
    several = _controls(control, 10)
    _require_places(overwrite, out, plot_out, report_out, words_out=words_out)
    known = _reading_data(times, measure, sep, encoding)
    wanted = None if intact else _Wanted.parse(masks, network, percentage, site)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        units = None if wanted is None else wanted.of(model, progress=not as_json)
        study = alignment.reading_times(
            model, known, units, controls=several, mode=arguments, bos=bos, window=window,  # type: ignore[arg-type]
            n_folds=folds, language=language, n_resamples=resamples, seed=seed,
            batch_size=size, progress=not as_json,
        )  # fmt: skip
    study = dataclasses.replace(study, call=command_line())
    notes = list(dict.fromkeys([*notes, *study.warnings]))
    _write(out, study.table, overwrite)
    _write(words_out, study.words, overwrite)
    if plot_out is not None:
        plot.save(plot.reading_times(study), plot_out, overwrite=overwrite)
    if report_out is not None:
        report(study, report_out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "model": model_name,
                "rows": records(study.table),
                "comparisons": records(study.comparisons),
                "warnings": notes,
                "out": None if out is None else str(out),
            }
        )
        return
    _show_reading(study)
    show_notes(notes)
    _wrote(out, words_out, plot_out, report_out)


@alignment_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(DATA)}.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to make (default: the name of the data).")
    ] = None,
) -> None:
    """Fetch published data, of one commit and with known contents, from their public repository."""
    require_one_of("set of published data", name, DATA)
    folder = alignment.fetch(name, out or Path(name))
    _print(f"{DATA[name].about}: {folder}.")


# -- data ------------------------------------------------------------------------------------------


def _brain_data(
    stimuli: Path | None,
    responses: Path | None,
    ceilings: Path | None,
    data: str | None,
    sep: str | None,
    encoding: str | None,
) -> alignment.Dataset:
    if data is not None:
        for option, value in {"--stimuli": stimuli, "--responses": responses, "--sep": sep,
                              "--encoding": encoding}.items():  # fmt: skip
            if value is not None:
                raise LensLocError(f"{option} and --data are both given; give one of them.")
        name, equals, path = data.partition("=")
        if name not in _READERS or not equals or not path:
            known = ", ".join(f"{reader}=FILE" for reader in _READERS)
            raise LensLocError(f"--data {data} is none of {known}.")
        found = _READERS[name](Path(path))
    elif stimuli is None or responses is None:
        raise LensLocError("Give --stimuli and --responses, or --data for published data.")
    else:
        form = TableForm.of(None, sep, encoding)
        form.require_fits(stimuli, responses)
        found = alignment.Dataset(
            alignment.Stimuli.of(stimuli, **form.fitted(stimuli).said),
            alignment.BrainResponses.of(responses, **form.fitted(responses).said),
        )
    if ceilings is None:
        return found
    return found._replace(responses=found.responses.with_ceilings(ceilings))


def _reading_data(
    path: Path, measure: str | None, sep: str | None, encoding: str | None
) -> alignment.ReadingTimes:
    if path.is_dir():
        TableForm.of(None, sep, encoding).require_unsaid(f"the folder {path} of Natural Stories")
        return alignment.natural_stories(path, measure or "meanItemRT")
    return alignment.ReadingTimes.from_dataframe(
        path, time=measure or "time", sep=sep, encoding=encoding
    )


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


# -- networks --------------------------------------------------------------------------------------


class _Wanted:
    """The networks that were asked for: masks of files, and contrasts to localize."""

    def __init__(
        self, masks: Mapping[str, UnitMask], names: Sequence[str], percentage: float
    ) -> None:
        self._masks, self._names, self._percentage = masks, names, percentage

    @classmethod
    def parse(
        cls,
        paths: Sequence[Path] | None,
        names: Sequence[str] | None,
        percentage: float | None,
        site: str | None,
    ) -> "_Wanted":
        """Check what was given; a mask goes by its file's stem, or path if that is taken."""
        if not paths and not names:
            names = ["language"]
        if not names and percentage is not None:
            raise LensLocError("--percentage is for --network; a mask has a size of its own.")
        if percentage is not None:
            require_percentage(percentage)
        for name in names or ():
            contrasts.get(name)
        masks: dict[str, UnitMask] = {}
        for path in dict.fromkeys(paths or ()):
            taken = path.stem in masks or path.stem in (names or ())
            masks[str(path) if taken else path.stem] = load_mask(path, site)
        return cls(masks, list(dict.fromkeys(names or ())), percentage or 1.0)

    def of(self, model: Any, *, progress: bool) -> dict[str, UnitMask]:
        """Return every network of a model, localized or as given."""
        found: dict[str, UnitMask] = {}
        for name in self._names:
            made = localize(
                model,
                contrasts.get(name),
                store=Store.at(writable_cache_folder("studies")),
                progress=progress,
            )
            found[name] = made["resid_post"].top(percent=self._percentage)
        return found | dict(self._masks)


def _by_layer(units: Mapping[str, UnitMask]) -> dict[str, UnitMask]:
    several = len(units) > 1
    return {
        f"{name}, {layer}" if several else layer: part
        for name, mask in units.items()
        for layer, part in alignment.by_layer(mask).items()
    }


def _controls(texts: Sequence[str] | None, draws: int) -> list[Controls]:
    if not texts:
        return [controls("layer", seeds=range(draws))]
    if _NO_CONTROL not in texts:
        return parse_controls(texts)
    if len(texts) > 1:
        raise LensLocError(f"--control {_NO_CONTROL} stands alone; leave the others out.")
    return []


def _model(
    name: str,
    device: str | None,
    dtype: str,
    backend: str,
    trust_remote_code: bool,
    as_json: bool,
    **untrained: Any,
) -> Any:
    return load_model(
        name, dtype=dtype, device=device, backend=backend, trust_remote_code=trust_remote_code,  # type: ignore[arg-type]
        progress=not as_json, **untrained,
    )  # fmt: skip


# -- output ----------------------------------------------------------------------------------------


def _require_places(
    overwrite: bool,
    out: Path | None,
    plot_out: Path | None,
    report_out: Path | None,
    **tables: Path | None,
) -> None:
    require_place(out, "--out", TABLES, overwrite)
    for name, path in tables.items():
        require_place(path, f"--{name.replace('_', '-')}", TABLES, overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    require_place(report_out, "--report", (".html",), overwrite)
    named = {name.replace("_", "-"): path for name, path in tables.items()}
    require_different(**{"out": out, **named, "plot": plot_out, "report": report_out})


def _write(path: Path | None, table: pd.DataFrame, overwrite: bool) -> None:
    if path is not None:
        write_file(path, encoded(table, path.suffix), overwrite=overwrite)


def _wrote(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            _print(f"Wrote {path}.")


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _show_encoding(found: EncodingResult) -> None:
    rows = shown_scores(found.table)
    rows["r"] = _with_interval(rows, "r", 3)
    rows["R2"] = [cell(float(value)) for value in rows["r2"]]
    several = rows["network"].replace("", pd.NA).nunique() > 1
    columns = [*(["network"] if several else []), "kind", "name", "r", "R2"]
    mark = "; SHUFFLED split" if found.split == "shuffled" else ""
    _print(f"Mean r over responses, {100 * found.confidence:g} % intervals over passages{mark}:")
    show_rows(Console(), rows, columns, {})
    _print("")
    for sentence in found.summary():
        _print(readable(sentence))


def _show_reading(study: ReadingStudy) -> None:
    rows = shown_gains(study.table)
    rows["gain"] = _with_interval(rows, "gain", 4)
    rows["loss"] = [f"{value:.4f}" if pd.notna(value) else "-" for value in rows["loss"]]
    several = rows["network"].replace("", pd.NA).nunique() > 1
    columns = ["surprisal", *(["network"] if several else []), "kind", "gain", "loss"]
    _print(
        f"Gain in log-likelihood over length and frequency, nats a time, "
        f"{100 * study.confidence:g} % intervals over stories (of draws, their range):"
    )
    show_rows(Console(), rows, columns, {})
    _print("")
    for sentence in study.summary():
        _print(readable(sentence))


def _with_interval(rows: pd.DataFrame, name: str, digits: int) -> list[str]:
    ends = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return [f"{number(value, digits)} {interval(low, high, digits)}" for value, low, high in ends]

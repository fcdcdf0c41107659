"""Language neurons: ``lensloc lape`` record, identify, perplexity, generate, steer."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console

from lensloc import lape, plot
from lensloc.cli.control_units import parse_controls
from lensloc.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    Backend,
    Device,
    Dtype,
    Encoding,
    ModelName,
    Sep,
    TrustRemoteCode,
    require_known,
)
from lensloc.cli.output import collected_warnings, plain, print_json, show_notes
from lensloc.cli.tables import (
    FIGURES,
    TABLES,
    encoded,
    records,
    require_different,
    require_place,
    show_rows,
)
from lensloc.contrasts.lines import kind_of
from lensloc.contrasts.readers import TableForm, read_prompts
from lensloc.display.files import write_file
from lensloc.errors import LensLocError
from lensloc.forward.sites import get_site, shape
from lensloc.lape.bundled import LANGUAGES
from lensloc.models import load_model, writable_cache_folder
from lensloc.models.quiet import stdout_to_stderr
from lensloc.studies.store import Store
from lensloc.units.mask import UnitMask

lape_app = typer.Typer(
    no_args_is_help=True, help="Find the neurons of every language, switch them off, drive them."
)

Neurons = Annotated[
    Path,
    typer.Argument(
        help="What identify wrote (.safetensors), or a published file (.pth), with --names."
    ),
]
Names = Annotated[
    str | None,
    typer.Option(help="Languages of a .pth file, in its order, e.g. en,zh,fr."),
]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", help="Use only this language; repeatable."),
]
Out = Annotated[Path | None, typer.Option(help=f"File to write: {', '.join(TABLES)}.")]
AnswersOut = Annotated[
    Path | None,
    typer.Option("--answers", help=f"Also write every answer: {', '.join(TABLES)}."),
]
PlotOut = Annotated[
    Path | None, typer.Option("--plot", help=f"Figure to write: {', '.join(FIGURES)}.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="LANGUAGE=FILE: a .txt, a prompt a line (\\n for a new line), or a table with a "
        "column prompt; repeatable. The bundled questions if not given."
    ),
]
Code = Annotated[
    list[str] | None,
    typer.Option(help="LANGUAGE=ISO, for a language whose name is no ISO 639-1 code; repeatable."),
]
ReferenceTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        help="LANGUAGE=FILE: text on which the recall of the identifier of languages is measured; "
        "repeatable. The bundled prose if not given.",
    ),
]
Corpus = Annotated[
    list[str] | None,
    typer.Option(
        help="LANGUAGE=SOURCE: a .txt, .csv, .jsonl or .parquet file, a folder of them, a file of "
        "token ids, or a data set, hf:NAME[:CONFIG][@SPLIT]; repeatable. The bundled prose if not "
        "given."
    ),
]
TextColumnName = Annotated[
    str | None, typer.Option("--text-column", help="Column of texts in files (default text).")
]
PromptColumn = Annotated[
    str | None, typer.Option(help="Column of prompts in files of --prompts (default prompt).")
]
_DRAWS = 5  # each of them is measured in every language
NewTokens = Annotated[int, typer.Option(help="Most tokens of an answer.")]
Penalty = Annotated[float, typer.Option(help="Of tokens that are there already; 1 for none.")]
Limit = Annotated[int | None, typer.Option(help="Use only so many texts or prompts a language.")]
ControlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        help=f"Control units: random, layer, each with :N for N draws ({_DRAWS}); repeatable.",
    ),
]


@lape_app.command("record")
def record_command(
    out: Annotated[Path, typer.Option(help="Counts to write, .safetensors.")] = Path(
        "lape-counts.safetensors"
    ),
    model_name: ModelName = DEFAULT_MODEL,
    corpus: Corpus = None,
    text_column: TextColumnName = None,
    sep: Sep = None,
    encoding: Encoding = None,
    site: Annotated[str, typer.Option(help="Where activations are read.")] = "mlp_pre",
    threshold: Annotated[float, typer.Option(help="Above it a neuron is active.")] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Count so many tokens of each language at most.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens read at once (default: the context, at most 1024).")
    ] = None,
    keep_windows: Annotated[
        bool, typer.Option(help="Keep counts of stretches of text too, for identify's null.")
    ] = True,
    checkpoint_every: Annotated[
        int, typer.Option(help="Tokens between two checkpoints.")
    ] = 1_000_000,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Count how often every neuron is active in every language.

    Interrupted, it goes on where it stopped: what has been counted is beside --out.
    """
    require_known(sites=[site], backend=backend)
    if checkpoint_every < 1:
        raise LensLocError(f"--checkpoint-every is at least 1; {checkpoint_every} is not.")
    require_place(out, "--out", (".safetensors",), overwrite)
    given = _pairs(corpus, "--corpus")
    form = _form(sep, encoding, given, text=text_column)
    corpora: Mapping[str, Any] = given or lape.prose()
    checkpoint = _checkpoint_of(out)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        counts = lape.record(
            model, corpora, site=site, threshold=threshold, max_tokens=max_tokens, window=window,
            keep_windows=keep_windows, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
            progress=not as_json, **_said(form, given),
        )  # fmt: skip
    counts.save(out, overwrite=overwrite)
    checkpoint.unlink(missing_ok=True)
    tokens = dict(zip(counts.languages, counts.tokens.tolist(), strict=True))
    if as_json:
        print_json({"model": model_name, "tokens": tokens, "warnings": notes, "out": str(out)})
        return
    _print(f"{counts!r}")
    show_notes(notes)
    _print(f"Wrote {out}.")


@lape_app.command("identify")
def identify_command(
    counts: Annotated[
        list[Path] | None, typer.Argument(help="What record wrote; several are added up.")
    ] = None,
    published: Annotated[
        list[str] | None,
        typer.Option(
            help="LANGUAGE=FILE: counts that the published code recorded instead; repeatable."
        ),
    ] = None,
    top_rate: Annotated[float, typer.Option(help="Share of all neurons that is taken.")] = 0.01,
    filter_rate: Annotated[
        float, typer.Option(help="Share of all probabilities that some of a neuron's must exceed.")
    ] = 0.95,
    bar: Annotated[
        float,
        typer.Option(help="Share of all probabilities above which a neuron is a language's."),
    ] = 0.95,
    permutations: Annotated[
        int, typer.Option(help="Shuffles of the windows' languages, for the null; 0 for none.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the shuffles.")] = 42,
    out: Annotated[
        Path, typer.Option(help="Neurons to write: .safetensors, or .pth as published.")
    ] = Path("lape-neurons.safetensors"),
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the neurons whose activity is confined to few languages."""
    require_place(out, "--out", (".safetensors", ".pth"), overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    if permutations < 0:
        raise LensLocError(f"--permutations is 0 or more; {permutations} is not.")
    recorded = _counts(counts or [], _pairs(published, "--published"))
    chance = (
        lape.null(recorded, permutations, seed, filter_rate=filter_rate) if permutations else None
    )
    found = lape.identify(recorded, top_rate, filter_rate, bar, null=chance)
    if out.suffix.lower() == ".pth":
        lape.write_neurons(out, found.masks, overwrite=overwrite)
    else:
        found.save(out, overwrite=overwrite)
    if plot_out is not None:
        plot.save(plot.language_layers(found.masks), plot_out, overwrite=overwrite)
    if as_json:
        rows = records(found.table)
        print_json({"languages": rows, "warnings": list(found.warnings), "out": str(out)})
        return
    _show(found.table, [name for name in found.table.columns if name != "per_layer"])
    for row in found.table.to_dict("records"):
        _print(f"{row['language']}, neurons by layer: {' '.join(map(str, row['per_layer']))}")
    show_notes(found.warnings)
    _wrote(out, plot_out)


@lape_app.command("perplexity")
def perplexity_command(
    neurons: Neurons,
    model_name: ModelName = DEFAULT_MODEL,
    names: Names = None,
    language: Languages = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="LANGUAGE=FILE to test on: .txt, .csv, .jsonl or .parquet; repeatable. The "
            "bundled held-out prose if not given."
        ),
    ] = None,
    text_column: TextColumnName = None,
    sep: Sep = None,
    encoding: Encoding = None,
    control: ControlOption = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 42,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
    out: Out = None,
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure what switching each language's neurons off does to every language.

    An interrupted run goes on where it stopped.
    """
    require_known(backend=backend)
    require_place(out, "--out", TABLES, overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    texts = _pairs(text, "--text")
    form = _form(sep, encoding, texts, text=text_column)
    wanted = _Neurons.parse(neurons, names, language)
    several = parse_controls(control or ["random:3"], draws=_DRAWS)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        found = lape.perplexity(
            model, wanted.of(model), texts or None, controls=several,
            limit=limit, seed=seed, store=_store(), progress=not as_json,
            **_said(form, texts),
        )  # fmt: skip
    notes = list(dict.fromkeys([*notes, *found.warnings]))
    _write(out, found.table, overwrite)
    if plot_out is not None:
        plot.save(plot.language_matrix(found), plot_out, overwrite=overwrite)
    if as_json:
        rows = records(found.table)
        print_json({"model": model_name, "rows": rows, "warnings": notes, "out": _named(out)})
        return
    for kind in found.kinds:
        own = "its own units" if kind == "network" else f"control units ({kind}, mean of draws)"
        _print(f"\nChange of log perplexity, nats a token; {own} at zero:")
        matrix = found.matrix(kind).reset_index()
        show_rows(Console(), matrix, list(matrix.columns), {"lesioned": "lesioned \\ tested"})
    show_notes(notes)
    _wrote(out, plot_out)


@lape_app.command("generate")
def generate_command(
    neurons: Neurons,
    model_name: ModelName = DEFAULT_MODEL,
    names: Names = None,
    language: Languages = None,
    prompts: Prompts = None,
    prompt_column: PromptColumn = None,
    sep: Sep = None,
    encoding: Encoding = None,
    limit: Limit = None,
    max_new_tokens: NewTokens = 60,
    repetition_penalty: Penalty = 1.1,
    code: Code = None,
    reference: ReferenceTexts = None,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
    out: Out = None,
    answers: AnswersOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Let the model answer in every language, with each language's neurons off in turn.

    An interrupted run goes on where it stopped.
    """
    require_known(backend=backend)
    require_place(out, "--out", TABLES, overwrite)
    require_place(answers, "--answers", TABLES, overwrite)
    require_different(out=out, answers=answers)
    files = _pairs(prompts, "--prompts")
    asked = _prompts(files, limit, _form(sep, encoding, files, prompt=prompt_column))
    wanted = _Neurons.parse(neurons, names, language)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        masks = wanted.of(model)
        found = lape.generate(
            model, asked or _questions(masks, limit, instruction=True), masks,
            max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty,
            codes=_pairs(code, "--code"), reference=_pairs(reference, "--reference"),
            store=_store(), progress=not as_json,
        )  # fmt: skip
    _finish(found.table, found.answers, out, answers, notes, model_name, as_json, overwrite)


@lape_app.command("steer")
def steer_command(
    neurons: Neurons,
    model_name: ModelName = DEFAULT_MODEL,
    names: Names = None,
    language: Languages = None,
    toward: Annotated[
        list[str] | None, typer.Option(help="Language to steer to; repeatable (default all).")
    ] = None,
    asked: Annotated[
        list[str] | None, typer.Option(help="Language to ask in; repeatable (default all).")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="mean, or a quantile, e.g. 0.95; repeatable (default mean, 0.95)."),
    ] = None,
    corpus: Corpus = None,
    text_column: TextColumnName = None,
    prompts: Prompts = None,
    prompt_column: PromptColumn = None,
    sep: Sep = None,
    encoding: Encoding = None,
    limit: Limit = None,
    control: ControlOption = None,
    max_new_tokens: NewTokens = 60,
    repetition_penalty: Penalty = 1.1,
    code: Code = None,
    reference: ReferenceTexts = None,
    device: Device = None,
    dtype: Dtype = "float32",
    backend: Backend = "auto",
    trust_remote_code: TrustRemoteCode = False,
    out: Out = None,
    answers: AnswersOut = None,
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Ask in one language with the neurons of another clamped: does the answer switch language?

    An interrupted run goes on where it stopped.
    """
    require_known(backend=backend)
    require_place(out, "--out", TABLES, overwrite)
    require_place(answers, "--answers", TABLES, overwrite)
    require_different(out=out, answers=answers)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    files, corpora = _pairs(prompts, "--prompts"), _pairs(corpus, "--corpus")
    _form(sep, encoding, corpora, files)  # of which each may be for the ones or the others
    form = TableForm.of(_form(None, None, corpora, text=text_column).columns, sep, encoding)
    of_prompts = TableForm.of(_form(None, None, files, prompt=prompt_column).columns, sep, encoding)
    given = _prompts(files, limit, of_prompts)
    wanted = _Neurons.parse(neurons, names, language)
    levels = [_level(text) for text in level or ["mean", "0.95"]]
    several = parse_controls(control or ["layer:1"], draws=_DRAWS)
    with collected_warnings() as notes, stdout_to_stderr():
        model = _model(model_name, device, dtype, backend, trust_remote_code, as_json)
        masks = wanted.of(model)
        questions = given or _questions(masks, limit, instruction=False)
        unknown = [name for name in asked or () if name not in questions]
        if unknown:
            raise LensLocError(
                f"There are no prompts in {', '.join(unknown)} (--asked); there are those in "
                f"{', '.join(questions)}."
            )
        questions = {name: questions[name] for name in asked or questions}
        found = lape.steer(
            model, masks, questions, corpora or None, toward=toward,
            levels=levels, controls=several, max_new_tokens=max_new_tokens,
            repetition_penalty=repetition_penalty, codes=_pairs(code, "--code"),
            reference=_pairs(reference, "--reference"), store=_store(), progress=not as_json,
            **_said(form, corpora),
        )  # fmt: skip
    if plot_out is not None:
        plot.save(plot.steering(found), plot_out, overwrite=overwrite)
    _finish(
        found.table, found.answers, out, answers, notes, model_name, as_json, overwrite, plot_out
    )


def _checkpoint_of(out: Path) -> Path:
    """Return the file beside the counts in which a part of them is kept."""
    name = f"{out.name}.checkpoint"
    if len(os.fsencode(name)) > 255:  # more than file systems take
        name = f".lensloc-{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:32]}.checkpoint"
    return out.with_name(name)


# -- what was given --------------------------------------------------------------------------------


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read ``NAME=VALUE``, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise LensLocError(f"{option} {text} is not of the form LANGUAGE=VALUE; write it so.")
        if name in found:
            raise LensLocError(f"{option} names {name} twice; give every language once.")
        found[name] = value
    return found


def _form(
    sep: str | None, encoding: str | None, *given: Mapping[str, str], **columns: str | None
) -> TableForm:
    """Read how files are written, and what a column of theirs is called.

    Args:
        sep: ``--sep``.
        encoding: ``--encoding``.
        given: the sources that were given, by language.
        columns: name of a column -> what ``--NAME-column`` says.
    """
    named = {name: title for name, title in columns.items() if title is not None}
    form = TableForm.of(named, sep, encoding)
    form.require_fits(*(Path(source) for sources in given for source in sources.values()))
    return form


def _said(form: TableForm, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments that say how some of these sources are written."""
    return {
        name: value
        for source in sources.values()
        for name, value in form.fitted(Path(source)).said.items()
    }


def _prompts(files: Mapping[str, str], limit: int | None, form: TableForm) -> dict[str, list[str]]:
    if limit is not None and limit < 1:
        raise LensLocError(f"--limit is at least 1; {limit} is not.")
    found = {}
    for name, file in files.items():
        path = Path(file)
        read = read_prompts(path, form=form.fitted(path))
        if kind_of(path) == ".txt":
            read = [line.replace("\\n", "\n") for line in read]
        found[name] = read[:limit]
    return found


def _questions(
    masks: Mapping[str, UnitMask], limit: int | None, *, instruction: bool
) -> dict[str, list[str]]:
    own = [name for name in masks if name in LANGUAGES]
    if not own:
        raise LensLocError(
            f"There are no bundled questions in {', '.join(masks)}; give --prompts LANGUAGE=FILE."
        )
    return lape.questions(own, limit=limit, instruction=instruction)


def _level(text: str) -> str | float:
    if text == "mean":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise LensLocError(
            f"--level is mean, or a quantile between 0 and 1; {text!r} is neither."
        ) from error


def _counts(paths: Sequence[Path], published: Mapping[str, str]) -> lape.ActivationCounts:
    if bool(paths) == bool(published):
        raise LensLocError(
            "Name either files that record wrote, or published ones by --published LANGUAGE=FILE."
        )
    if published:
        return lape.ActivationCounts.from_published(published)
    total = lape.ActivationCounts.load(paths[0])
    for path in paths[1:]:
        total = total + lape.ActivationCounts.load(path)
    return total


@dataclass(frozen=True)
class _Neurons:
    """What NEURONS, ``--names`` and ``--language`` name; a file that says all itself is read."""

    path: Path
    names: str | None
    languages: Sequence[str] | None
    masks: Mapping[str, UnitMask] | None

    @classmethod
    def parse(cls, path: Path, names: str | None, languages: Sequence[str] | None) -> "_Neurons":
        if path.suffix.lower() == ".pth":
            return cls(path, names, languages, None)
        if names is not None:
            raise LensLocError(f"{path} names its languages itself; leave --names out.")
        masks = _chosen(lape.Identified.load(path).masks, languages, path)
        return cls(path, names, languages, masks)

    def of(self, model: Any) -> Mapping[str, UnitMask]:
        """Return the neurons of the languages that are wanted, as many as have any."""
        if self.masks is not None:
            return self.masks
        known = shape(get_site("mlp_post"), model)
        if known is None:
            raise LensLocError(
                f"The model's configuration does not say how many neurons it has, so {self.path} "
                "cannot be read for it; use --backend hooked."
            )
        named = None if self.names is None else [name.strip() for name in self.names.split(",")]
        masks = lape.read_neurons(self.path, known[1], names=named)
        return _chosen(masks, self.languages, self.path)


def _chosen(
    masks: Mapping[str, UnitMask], languages: Sequence[str] | None, path: Path
) -> dict[str, UnitMask]:
    unknown = [name for name in languages or () if name not in masks]
    if unknown:
        raise LensLocError(
            f"{path} holds no neurons of {', '.join(unknown)} (--language); it holds those of "
            f"{', '.join(masks)}."
        )
    return {name: masks[name] for name in languages or masks}


def _model(
    name: str,
    device: str | None,
    dtype: str,
    backend: str,
    trust_remote_code: bool,
    quiet: bool,
) -> Any:
    return load_model(
        name, dtype=dtype, device=device, backend=backend,  # type: ignore[arg-type]
        trust_remote_code=trust_remote_code,
        progress=not quiet,
    )  # fmt: skip


def _store() -> Store:
    return Store.at(writable_cache_folder("studies"))


# -- output ----------------------------------------------------------------------------------------

# What is printed of tables that have more columns than a terminal is wide.
_OF_ANSWERS = tuple(
    "lesioned asked words language in_language stop_words repeats fluency changed".split()
)
_OF_STEERING = tuple("asked toward level deactivated kind in_toward switched fluency".split())


def _finish(
    table: pd.DataFrame,
    every: pd.DataFrame,
    out: Path | None,
    answers: Path | None,
    notes: Sequence[str],
    model_name: str,
    as_json: bool,
    overwrite: bool,
    plot_out: Path | None = None,
) -> None:
    """Write and show what was answered."""
    if out is not None and out.suffix.lower() == ".json":
        content = {"table": records(table), "answers": records(every)}
        text = json.dumps(plain(content), ensure_ascii=False)
        write_file(out, text.encode(errors="backslashreplace"), overwrite=overwrite)
    else:
        _write(out, table, overwrite)
    _write(answers, every, overwrite)
    if as_json:
        rows = records(table)
        print_json({"model": model_name, "rows": rows, "warnings": notes, "out": _named(out)})
        return
    _show(table, _OF_STEERING if "toward" in table else _OF_ANSWERS)
    show_notes(notes)
    _wrote(out, answers, plot_out)


def _show(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Print columns, whose headings may be broken into lines; shares with their recall."""
    titles = {name: name.replace("_", " ") for name in columns}
    for name in columns:
        if f"{name}_recall" in table and pd.api.types.is_numeric_dtype(table[name]):
            pairs = zip(table[name], table[f"{name}_recall"], strict=True)
            table = table.assign(**{name: [f"{_share(a)}/{_share(b)}" for a, b in pairs]})
            titles[name] += " / recall"
    show_rows(Console(), table, columns, titles)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _write(path: Path | None, table: pd.DataFrame, overwrite: bool) -> None:
    if path is not None:
        write_file(path, encoded(table, path.suffix), overwrite=overwrite)


def _named(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _wrote(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            _print(f"Wrote {path}.")


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)

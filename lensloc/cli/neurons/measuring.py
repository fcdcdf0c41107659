"""What the neurons are needed for: ``lensloc lape perplexity`` and ``generate``."""

from typing import Annotated

import typer
from rich.console import Console

import lensloc as ll
from lensloc.cli.control_units import parse_controls
from lensloc.cli.neurons.options import (
    DRAWS,
    AnswersOut,
    Code,
    ControlUnits,
    GivenNeurons,
    Languages,
    Limit,
    Names,
    Neurons,
    NewTokens,
    OldControl,
    Penalty,
    PromptColumn,
    Prompts,
    ReferenceTexts,
    TextColumnName,
    bundled_questions,
    form_of,
    named_values,
    prompts_of,
    refuse_old_control,
    said_of,
)
from lensloc.cli.neurons.output import finish
from lensloc.cli.options import (
    AsJson,
    Encoding,
    ModelOptions,
    Out,
    Overwrite,
    PlotOut,
    Sep,
    cached_store,
)
from lensloc.cli.output import (
    collected_warnings,
    path_or_none,
    print_json,
    show_notes,
    tell,
    tell_written,
)
from lensloc.cli.tables import (
    FIGURES,
    TABLES,
    records,
    require_different,
    require_place,
    show_rows,
    write,
)


def perplexity_command(
    neurons: Neurons,
    loading: ModelOptions,
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
    control_units: ControlUnits = None,
    control: OldControl = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 42,
    out: Out = None,
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure what switching each language's neurons off does to every language.

    An interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr

    refuse_old_control(control)
    require_place(out, "--out", TABLES, overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    texts = named_values(text, "--text")
    form = form_of(sep, encoding, texts, text=text_column)
    wanted = GivenNeurons.parse(neurons, names, language)
    several = parse_controls(control_units or ["random:3"], draws=DRAWS)
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        found = ll.lape.perplexity(
            model, wanted.of(model), texts or None, controls=several,
            limit=limit, seed=seed, store=cached_store(), progress=not as_json,
            **said_of(form, texts),
        )  # fmt: skip
    notes = list(dict.fromkeys([*notes, *found.warnings]))
    write(out, found.table, overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.language_matrix(found), plot_out, overwrite=overwrite)
    if as_json:
        rows = records(found.table)
        print_json(
            {"model": loading.model_name, "rows": rows, "warnings": notes, "out": path_or_none(out)}
        )
        return
    for kind in found.kinds:
        own = "its own units" if kind == "network" else f"control units ({kind}, mean of draws)"
        tell(f"\nChange of log perplexity, nats per token; {own} at zero:")
        matrix = found.matrix(kind).reset_index()
        show_rows(Console(), matrix, list(matrix.columns), {"lesioned": "lesioned \\ tested"})
    show_notes(notes)
    tell_written(out, plot_out)


def generate_command(
    neurons: Neurons,
    loading: ModelOptions,
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
    out: Out = None,
    answers: AnswersOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Let the model answer in every language, with each language's neurons off in turn.

    An interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr

    require_place(out, "--out", TABLES, overwrite)
    require_place(answers, "--answers", TABLES, overwrite)
    require_different(out=out, answers=answers)
    files = named_values(prompts, "--prompts")
    asked = prompts_of(files, limit, form_of(sep, encoding, files, prompt=prompt_column))
    wanted = GivenNeurons.parse(neurons, names, language)
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        masks = wanted.of(model)
        found = ll.lape.generate(
            model, asked or bundled_questions(masks, limit, instruction=True), masks,
            max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty,
            codes=named_values(code, "--code"), reference=named_values(reference, "--reference"),
            store=cached_store(), progress=not as_json,
        )  # fmt: skip
    finish(found.table, found.answers, out, answers, notes, loading.model_name, as_json, overwrite)

"""Driving the neurons of another language: ``lensloc lape steer``."""

from typing import Annotated

import typer

import lensloc as ll
from lensloc.cli.control_units import parse_controls
from lensloc.cli.neurons.options import (
    DRAWS,
    AnswersOut,
    Code,
    ControlUnits,
    Corpus,
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
from lensloc.cli.output import collected_warnings
from lensloc.cli.tables import FIGURES, TABLES, require_different, require_place
from lensloc.contrasts.columns import TableForm
from lensloc.errors import LensLocError


def steer_command(
    neurons: Neurons,
    loading: ModelOptions,
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
    control_units: ControlUnits = None,
    control: OldControl = None,
    max_new_tokens: NewTokens = 60,
    repetition_penalty: Penalty = 1.1,
    code: Code = None,
    reference: ReferenceTexts = None,
    out: Out = None,
    answers: AnswersOut = None,
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Ask in one language with the neurons of another clamped: does the answer switch language?

    An interrupted run goes on where it stopped.
    """
    from lensloc.models.quiet import stdout_to_stderr

    refuse_old_control(control)
    require_place(out, "--out", TABLES, overwrite)
    require_place(answers, "--answers", TABLES, overwrite)
    require_different(out=out, answers=answers)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    files, corpora = named_values(prompts, "--prompts"), named_values(corpus, "--corpus")
    form_of(sep, encoding, corpora, files)  # of which each may be for the ones or the others
    form = TableForm.of(form_of(None, None, corpora, text=text_column).columns, sep, encoding)
    of_prompts = TableForm.of(
        form_of(None, None, files, prompt=prompt_column).columns, sep, encoding
    )
    given = prompts_of(files, limit, of_prompts)
    wanted = GivenNeurons.parse(neurons, names, language)
    levels = [_level(text) for text in level or ["mean", "0.95"]]
    several = parse_controls(control_units or ["layer:1"], draws=DRAWS)
    with collected_warnings() as notes, stdout_to_stderr():
        model = loading.load(quiet=as_json)
        masks = wanted.of(model)
        questions = given or bundled_questions(masks, limit, instruction=False)
        unknown = [name for name in asked or () if name not in questions]
        if unknown:
            raise LensLocError(
                f"There are no prompts in {', '.join(unknown)} (--asked); there are those in "
                f"{', '.join(questions)}."
            )
        questions = {name: questions[name] for name in asked or questions}
        found = ll.lape.steer(
            model, masks, questions, corpora or None, toward=toward,
            levels=levels, controls=several, max_new_tokens=max_new_tokens,
            repetition_penalty=repetition_penalty, codes=named_values(code, "--code"),
            reference=named_values(reference, "--reference"), store=cached_store(),
            progress=not as_json,
            **said_of(form, corpora),
        )  # fmt: skip
    if plot_out is not None:
        ll.plot.save(ll.plot.steering(found), plot_out, overwrite=overwrite)
    finish(
        found.table,
        found.answers,
        out,
        answers,
        notes,
        loading.model_name,
        as_json,
        overwrite,
        plot_out,
    )  # fmt: skip


def _level(text: str) -> str | float:
    if text == "mean":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise LensLocError(
            f"--level is mean, or a quantile between 0 and 1; {text!r} is neither."
        ) from error

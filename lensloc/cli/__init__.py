"""The command line: a thin layer over studies.

Its modules load what a command needs when it runs, so that help and lists come at once.
"""

import logging
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from lensloc.cli.answers import faq_command, told_more
from lensloc.cli.caching import cache_app
from lensloc.cli.catalogue import models_app, stimuli_app
from lensloc.cli.commands import add
from lensloc.cli.evaluating import evaluate_command
from lensloc.cli.figures import demo_command, heatmap_command
from lensloc.cli.lesioning import lesion_command
from lensloc.cli.localizing import localize_command
from lensloc.cli.neurons import lape_app
from lensloc.cli.output import ReadableFormatter, any_encoding, given_arguments, readable
from lensloc.cli.pairing import pairs_command
from lensloc.cli.people import alignment_app
from lensloc.cli.ranking import shared_by_ranks
from lensloc.cli.reporting import report_command
from lensloc.cli.specific import specificity_command
from lensloc.cli.specifying import multiverse_command
from lensloc.cli.sweeping import sweep_app
from lensloc.display.files import rescuing
from lensloc.display.places import path_of
from lensloc.errors import LensLocError

_UNKNOWN = re.compile(
    r"Invalid value for '--(?P<what>[\w-]+)': (?P<given>\S.*) is not one of (?P<known>.*)"
)

_STATUS = (
    "Exit status: 0 done; 1 something that was checked is not right (stimuli check, cache verify), "
    "could not be removed (cache clear), or interrupted; 2 bad input, told in one "
    "sentence, with nothing written."
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the units of a language model that are selective for a contrast; switch them off; "
    "measure what breaks.",
    epilog="\n\n".join(
        [
            "Examples:",
            "lensloc demo",
            "lensloc localize --network language --percent 1 --out masks/language.safetensors",
            "lensloc report --network language --task minimal-pairs --limit 4",
            _STATUS,
        ]
    ),
)
add(
    app, "localize", localize_command,
    "localize --network language --percent 1 --out language.safetensors",
    "localize --contrast mine.csv --target hot --control cold --control mild",
    "localize --model-name gpt2 --site resid_post --site head --pooling mean --json",
)  # fmt: skip
add(
    app, "pairs", pairs_command,
    "pairs --pairs agreement --site head --curves --figure curves.html",
    "pairs --pairs mine.csv --percent 0.5 --out pairs.safetensors",
)  # fmt: skip
add(
    app, "lesion", lesion_command,
    "lesion --network language --percent 1 --prompt 'The old ferry'",
    "lesion --mask language.safetensors --mode scale --scale 2",
)  # fmt: skip
add(
    app, "evaluate", evaluate_command,
    "evaluate --mask language.safetensors --task minimal-pairs --control-units layer",
    "evaluate --network language --percent 0.5,1,2 --task perplexity --out table.csv",
    "evaluate --contrast mine.csv --target hot --control cold --task choice=commonsense",
)  # fmt: skip
add(
    app, "multiverse", multiverse_command,
    "multiverse --activations absolute --activations signed --percent 0.5,1 --plot curve.html",
)  # fmt: skip
add(
    app, "specificity", specificity_command,
    "specificity --percent 1 --out specificity.csv --plot specificity.html",
    "specificity --estimate",
)  # fmt: skip
add(
    app, "report", report_command,
    "report --network language --task minimal-pairs --limit 4 --out language.html",
    "report --contrast mine.csv --target hot --control cold --out mine.html",
)  # fmt: skip
add(app, "heatmap", heatmap_command, "heatmap lensloc-masks/*.safetensors --out layers.html")
add(app, "demo", demo_command, "demo --out lensloc-demo")
add(app, "faq", faq_command, "faq", "faq conditions", "faq 'is not among the conditions'")
app.add_typer(sweep_app, name="sweep")
app.add_typer(models_app, name="models")
app.add_typer(stimuli_app, name="stimuli")
app.add_typer(cache_app, name="cache")
app.add_typer(lape_app, name="lape")
app.add_typer(alignment_app, name="alignment")


def _show_version(wanted: bool) -> bool:
    if wanted:
        Console().print(f"lensloc {version('lensloc')}", highlight=False)
        raise typer.Exit
    return wanted


@app.callback()
def _of_all_commands(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version)
    ] = False,
) -> None:
    """Options that come before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 and one sentence on bad input."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ReadableFormatter("lensloc: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    given = [_at_home(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    with any_encoding():
        try:
            with given_arguments(given), rescuing(), shared_by_ranks(given):
                status = app(args=given, prog_name="lensloc", standalone_mode=False)
        except LensLocError as error:
            _end_with(_with_more(str(error)))
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help is shown already
                sys.exit(error.exit_code)
            _end_with(_sentence_of(error))
        except typer.Abort:
            _end_with("Aborted.", status=1)
    sys.exit(status or 0)


def _at_home(argument: str) -> str:
    """Return an argument as a shell leaves it that puts the home folder in place of a ~ behind =.

    Shells do so where the ~ stands first, so that ``--out ~/a.csv`` is in the home folder, but
    ``--out=~/a.csv`` and ``--task choice=~/a.jsonl`` in a folder that is called ~.
    """
    name, sign, value = argument.rpartition("=")
    if not sign or not re.fullmatch(r"~(/\S*)?", value) or not re.fullmatch(r"[\w=-]+", name):
        return argument
    return f"{name}={path_of(value)}"


def _sentence_of(error: typer.TyperException) -> str:
    """Say in a sentence what was wrong with what was given, and where to look it up."""
    said = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    unknown = _UNKNOWN.match(said)
    if unknown is not None:
        known = unknown["known"].replace("'", "")
        return f"There is no {unknown['what']} {unknown['given']}; there are {known}."
    context = getattr(error, "ctx", None)
    command = "lensloc" if context is None else context.command_path
    return f"{said}; {command} --help lists what there is."


def _with_more(sentence: str) -> str:
    """Name the command that says more of a message, where there is more to say."""
    word = told_more(sentence)
    return sentence if word is None else f"{sentence.rstrip('.')} (more: lensloc faq {word})."


def _end_with(sentence: str, status: int = 2) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"lensloc: {readable(sentence)}", style="red", markup=False, soft_wrap=True)
    sys.exit(status)

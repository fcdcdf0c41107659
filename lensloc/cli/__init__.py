"""The command line: a thin layer over studies."""

import logging
import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from lensloc.cli.aligning import alignment_app
from lensloc.cli.catalogue import models_app, stimuli_app
from lensloc.cli.evaluating import evaluate_command
from lensloc.cli.figures import demo_command, heatmap_command
from lensloc.cli.language_neurons import lape_app
from lensloc.cli.lesioning import lesion_command
from lensloc.cli.localizing import localize_command
from lensloc.cli.output import any_encoding, given_arguments
from lensloc.cli.reporting import report_command
from lensloc.errors import LensLocError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find the units of a language model that are selective for a contrast; switch them off; "
    "measure what breaks.",
)
app.command("localize")(localize_command)
app.command("lesion")(lesion_command)
app.command("evaluate")(evaluate_command)
app.command("report")(report_command)
app.command("heatmap")(heatmap_command)
app.command("demo")(demo_command)
app.add_typer(models_app, name="models")
app.add_typer(stimuli_app, name="stimuli")
app.add_typer(lape_app, name="lape")
app.add_typer(alignment_app, name="alignment")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 and one sentence on bad input."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="lensloc: %(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    with any_encoding():
        try:
            with given_arguments(given):
                app(args=given, prog_name="lensloc")
        except LensLocError as error:
            console = Console(stderr=True)
            console.print(f"lensloc: {error}", style="red", markup=False, soft_wrap=True)
            sys.exit(2)

"""Language neurons: ``lensloc lape`` record, identify, perplexity, generate, steer."""

import typer

from lensloc.cli.neurons.driving import steer_command
from lensloc.cli.neurons.identifying import identify_command
from lensloc.cli.neurons.measuring import generate_command, perplexity_command
from lensloc.cli.neurons.recording import record_command

lape_app = typer.Typer(
    no_args_is_help=True, help="Find the neurons of every language, switch them off, drive them."
)
lape_app.command("record")(record_command)
lape_app.command("identify")(identify_command)
lape_app.command("perplexity")(perplexity_command)
lape_app.command("generate")(generate_command)
lape_app.command("steer")(steer_command)

"""Brains and reading: ``lensloc alignment`` encode, reading-times, fetch."""

import typer

from lensloc.cli.people.encoding import encode_command
from lensloc.cli.people.fetching import fetch_command
from lensloc.cli.people.reading import reading_times_command

alignment_app = typer.Typer(
    no_args_is_help=True, help="Do units predict brains, and surprisal how long people read?"
)
alignment_app.command("encode")(encode_command)
alignment_app.command("reading-times")(reading_times_command)
alignment_app.command("fetch")(fetch_command)

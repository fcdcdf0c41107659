"""Brains and reading: ``lensloc alignment`` encode, reading-times, fetch."""

import typer

from lensloc.cli.commands import add
from lensloc.cli.people.encoding import encode_command
from lensloc.cli.people.fetching import fetch_command
from lensloc.cli.people.reading import reading_times_command

alignment_app = typer.Typer(
    no_args_is_help=True,
    help="Do units predict brains, and does surprisal predict how long people read?",
)
add(
    alignment_app, "encode", encode_command,
    "alignment encode --stimuli sentences.csv --responses voxels.csv --network language",
    "alignment encode --data pereira2018=FILE --control-units layer:19 --plot brains.html",
)  # fmt: skip
add(
    alignment_app, "reading-times", reading_times_command,
    "alignment reading-times naturalstories --control-units layer:10 --plot reading.html",
)  # fmt: skip
add(alignment_app, "fetch", fetch_command, "alignment fetch naturalstories")

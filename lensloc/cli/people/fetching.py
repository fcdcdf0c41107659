"""Fetching published data on people: ``lensloc alignment fetch``."""

from pathlib import Path
from typing import Annotated

import typer

from lensloc.alignment import fetching
from lensloc.cli.output import tell


def fetch_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(fetching.DATA)}.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to make (default: the name of the data).")
    ] = None,
) -> None:
    """Fetch published data, of one commit and with known contents, from their public repository."""
    folder = fetching.fetch(name, out or Path(name))
    tell(f"{fetching.DATA[name].about}: {folder}.")

"""What was kept: ``lensloc cache``."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lensloc.cli.commands import add
from lensloc.cli.output import print_json, readable, tell
from lensloc.errors import LensLocError
from lensloc.models.cache import cache_folder
from lensloc.models.cache_entries import KINDS, Entry, clear, entries, verify

cache_app = typer.Typer(
    no_args_is_help=True, help="The cache: list, verify and clear what was fetched and computed."
)

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([mhdw])")

OlderThan = Annotated[
    str | None, typer.Option(help="Only what is older: 12h, 30d, 8w (m, h, d or w).")
]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help=f"Only some kinds: {', '.join(KINDS)}.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def cache_path(as_json: AsJson = False) -> None:
    """Print where the cache is (LENSLOC_CACHE sets it)."""
    if as_json:
        print_json({"path": str(cache_folder())})
    else:
        tell(readable(str(cache_folder())))


def cache_list(
    kind: KindOption = None, older_than: OlderThan = None, as_json: AsJson = False
) -> None:
    """List what is kept: its kind, its size, its age."""
    chosen = _chosen(kind, older_than)
    if as_json:
        print_json(_totals(chosen) | {"entries": [_plain(entry) for entry in chosen]})
        return
    for entry in chosen:
        tell(
            f"{entry.kind:<10}  {_size(entry.n_bytes):>8}  {_age(entry.age()):>5}  {_place(entry)}"
        )
    tell(f"{_count(chosen)} in {readable(str(cache_folder()))}.")


def cache_verify(
    kind: KindOption = None, older_than: OlderThan = None, as_json: AsJson = False
) -> None:
    """Check everything against its checksum; ends with status 1 if something is damaged.

    What is damaged is set aside and made again when it is next asked for.
    """
    found = [(entry, *verify(entry)) for entry in _chosen(kind, older_than)]
    states = [state for _, state, _ in found]
    counts = {state: states.count(state) for state in ("whole", "damaged", "unchecked")}
    if as_json:
        rows = [
            _plain(entry) | {"state": state, "reason": reason} for entry, state, reason in found
        ]
        print_json({"path": str(cache_folder())} | counts | {"entries": rows})
    else:
        for entry, state, reason in found:
            if state != "whole":
                tell(readable(f"{state}: {_place(entry)}" + (f" ({reason})" if reason else "")))
        tell(", ".join(f"{number} {state}" for state, number in counts.items()) + ".")
    if counts["damaged"]:
        raise typer.Exit(1)


def cache_clear(
    kind: KindOption = None,
    older_than: OlderThan = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is kept; it is fetched or computed again when it is next asked for.

    Downloads that were put there by hand are removed only with --kind download.
    """
    chosen = [entry for entry in _chosen(kind, older_than) if kind or entry.kind != "download"]
    removed, kept = (chosen, []) if dry_run else clear(chosen)
    if as_json:
        print_json(
            _totals(removed)
            | {
                "dry_run": dry_run,
                "removed": [_plain(entry) for entry in removed],
                "not_removed": [_plain(entry) | {"reason": reason} for entry, reason in kept],
            }
        )
    else:
        verb = "Would remove" if dry_run else "Removed"
        tell(f"{verb} {_count(removed)} from {readable(str(cache_folder()))}.")
        for entry, reason in kept:
            line = readable(f"lensloc: {_place(entry)} was not removed ({reason}).")
            Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
    if kept:
        raise typer.Exit(1)


def _chosen(kinds: list[str] | None, older_than: str | None) -> list[Entry]:
    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise LensLocError(f"There is no kind {unknown[0]!r}; there are {', '.join(KINDS)}.")
    least = 0.0 if older_than is None else _seconds(older_than)
    return [
        entry
        for entry in entries()
        if (not kinds or entry.kind in kinds) and (older_than is None or entry.age() > least)
    ]


def _seconds(text: str) -> float:
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise LensLocError(f"--older-than {text!r} is no age; write 12h, 30d or 8w.")
    return float(found[1]) * _SECONDS[found[2]]


def _totals(found: list[Entry]) -> dict[str, Any]:
    return {
        "path": str(cache_folder()),
        "count": len(found),
        "bytes": sum(entry.n_bytes for entry in found),
    }


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "path": str(entry.path),
        "kind": entry.kind,
        "bytes": entry.n_bytes,
        "age_seconds": round(entry.age(), 1),
    }


def _place(entry: Entry) -> str:
    folder = cache_folder()
    path = entry.path
    return readable(str(path.relative_to(folder) if path.is_relative_to(folder) else Path(path)))


def _count(found: list[Entry]) -> str:
    words = "entry" if len(found) == 1 else "entries"
    return f"{len(found)} {words}, {_size(sum(entry.n_bytes for entry in found))},"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 999.5:  # what would be written as 1e+03
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"


def _age(seconds: float) -> str:
    for unit in ("w", "d", "h"):
        if seconds >= 2 * _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f} {unit}"
    return f"{seconds / 60:.0f} m"


add(cache_app, "path", cache_path, "cache path")
add(cache_app, "list", cache_list, "cache list --kind map")
add(cache_app, "verify", cache_verify, "cache verify")
add(cache_app, "clear", cache_clear, "cache clear --older-than 30d --dry-run")

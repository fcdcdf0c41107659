"""Commands of the command line: options that several take, declared once, in panels, with examples.

A command names a group of options as one argument whose type is a frozen dataclass; its fields
become options. Every command also takes ``--quiet``, ``--verbose`` and ``--log-file``.
"""

import contextlib
import dataclasses
import functools
import inspect
import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.models import OptionInfo

from lensloc.cli.output import command_line, quiet_output
from lensloc.display.disks import reason_of
from lensloc.errors import LensLocError, refuse_idle

log = logging.getLogger("lensloc.cli")

# What a panel of the help is called -> the options that stand in it.
_PANELS = {
    "Model": (
        "model_name", "device", "dtype", "backend", "revision", "trust_remote_code", "untrained",
        "untrained_baseline",
        "batch_size",
    ),
    "Contrast": (
        "network", "contrast", "target", "control", "text_column", "condition_column",
        "item_column", "stimuli", "chat_template", "system_prompt", "pairs",
    ),
    "Localizing": (
        "masks", "site", "pooling", "protocol", "activations", "test", "max_tokens", "truncate",
        "percent", "percents", "num_units", "localize_range", "selection",
    ),
    "Lesions and control units": (
        "mode", "scale", "value", "quantile", "reference", "positions", "control_units", "exact",
        "anywhere", "draws",
    ),
    "Tasks": (
        "task", "limit", "separator", "scoring", "probe_site", "probe_layer", "classes", "top",
        "good_column", "bad_column", "group_column", "prompt_column", "items",
        "answered", "all_items", "room", "own", "bos",
    ),
    "Files": ("sep", "encoding", "store", "recompute"),
    "Output": (
        "out", "plot_out", "report_out", "answers", "words_out", "responses_out", "figure",
        "overwrite", "as_json", "estimate", "quiet", "verbose", "log_file",
    ),
}  # fmt: skip
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}


@dataclasses.dataclass(frozen=True)
class Telling:
    """What a command tells besides its results, and where."""

    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress bars and no notes; errors are shown."),
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every step on standard error.")
    ] = False
    log_file: Annotated[
        Path | None,
        typer.Option(help="File to which all of that is added, with times, even with --quiet."),
    ] = None

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Tell so much while a command runs.

        Raises:
            LensLocError: ``--quiet`` beside ``--verbose``, or a file that cannot be written.
        """
        refuse_idle("--quiet is given; leave one of them out", **{
            "--verbose": self.verbose and self.quiet})  # fmt: skip
        ours = logging.getLogger("lensloc")
        before = ours.level
        # Those that print: what is only for a file stays out of them.
        shown = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
        levels = [handler.level for handler in shown]
        file = None if self.log_file is None else _log_file(self.log_file)
        for handler in shown:
            handler.setLevel(logging.INFO if self.verbose else logging.WARNING)
        if file is not None:
            ours.addHandler(file)
        if file is not None or self.verbose:
            ours.setLevel(logging.DEBUG if file is not None else logging.INFO)
        try:
            with quiet_output(self.quiet):
                yield
        finally:
            ours.setLevel(before)
            for handler, level in zip(shown, levels, strict=True):
                handler.setLevel(level)
            if file is not None:
                ours.removeHandler(file)
                file.close()


class _LogFile(logging.FileHandler):
    """A log that ends where the disk takes no more, while the command goes on."""

    ended = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell it once, on the screen."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.ended:
            self._end(error)

    def close(self) -> None:
        """Close the file, of which the last lines may not fit."""
        try:
            super().close()
        except OSError as error:
            if not self.ended:
                self._end(error)

    def _end(self, error: OSError) -> None:
        self.ended = True
        path = Path(self.baseFilename)
        log.warning("--log-file %s takes nothing more (%s)", path, reason_of(error, path))


def _log_file(path: Path) -> logging.Handler:
    try:
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise LensLocError(
            f"--log-file {path} cannot be written ({reason_of(error, path)}); choose another place."
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def add(
    app: typer.Typer, name: str, command: Callable[..., None], *examples: str, hidden: bool = False
) -> None:
    """Add a command to an application.

    Args:
        app: the application.
        name: of the command.
        command: a function whose arguments are options, arguments, and groups of them.
        examples: command lines that the help shows, without ``lensloc``.
        hidden: leave it out of the list of commands.
    """
    shown = ["Examples:", *(f"lensloc {example}" for example in examples)] if examples else []
    app.command(name, epilog="\n\n".join(shown), hidden=hidden)(_flat(command))


def _flat(command: Callable[..., None]) -> Callable[..., None]:
    """Return a function with the options of all groups that a command takes."""
    declared = inspect.signature(command).parameters
    groups: dict[str, type[Any]] = {"telling": Telling}
    for name, one in declared.items():
        if isinstance(one.annotation, type) and dataclasses.is_dataclass(one.annotation):
            groups[name] = one.annotation
    # An option that the command declares itself takes the place of a group's.
    of_groups = {
        name: [one for one in _fields(group) if one.name not in declared]
        for name, group in groups.items()
    }
    parameters = [one for name, one in declared.items() if name not in groups]
    parameters += [one for several in of_groups.values() for one in several]
    order = [None, *_PANELS]
    parameters.sort(key=lambda one: order.index(_PANEL_OF.get(one.name)))
    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_in_panel(one))
        for one in parameters
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{one.name: given.pop(one.name) for one in of_groups[name]})
            for name, group in groups.items()
        }
        telling = made.pop("telling")
        with telling.applied(), _logged(command.__module__):
            command(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _fields(group: type[Any]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in dataclasses.fields(group)
    ]


def _in_panel(parameter: inspect.Parameter) -> Any:
    """Return an annotation whose option stands in the panel of its name."""
    annotation = parameter.annotation
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, *said = get_args(annotation)
    found = [copy(each) for each in said]
    for each in found:
        if isinstance(each, OptionInfo):
            each.rich_help_panel = _PANEL_OF.get(parameter.name)
    told = (kind, *found)
    return Annotated[told]


@contextlib.contextmanager
def _logged(module: str) -> Iterator[None]:
    """Say what runs, where, and how long it took."""
    start = time.monotonic()
    log.info("%s", command_line())
    log.debug(
        "lensloc %s, Python %s, %s; %s", version("lensloc"), platform.python_version(),
        platform.platform(), module,
    )  # fmt: skip
    try:
        yield
    except LensLocError as error:
        log.debug("Stopped: %s", error, exc_info=True)
        raise
    except Exception:
        log.debug("Failed", exc_info=sys.exc_info())
        raise
    log.info("Done in %.1f s.", time.monotonic() - start)

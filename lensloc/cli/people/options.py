"""What commands on people share: their options, and what these give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lensloc as ll
from lensloc import contrasts
from lensloc.cli.control_units import parse_controls
from lensloc.cli.options import load_mask, require_percentage, store
from lensloc.cli.tables import FIGURES, TABLES, require_different, require_place
from lensloc.contrasts.columns import TABLE_KINDS
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.units.control_sets import Controls
    from lensloc.units.mask import UnitMask

KINDS = ", ".join(TABLE_KINDS)
_NO_CONTROL = "none"

Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        help=f"Network to localize (at resid_post): {', '.join(contrasts.NAMES)}; repeatable "
        "(default language, without --mask).",
    ),
]
Percentage = Annotated[
    float | None,
    typer.Option(help="Per cent of units of --network (default 1); masks have their own size."),
]
Language = Annotated[str, typer.Option(help="Of the words, for their frequencies (ISO 639-1).")]
Resamples = Annotated[int, typer.Option(help="Of the bootstrap over passages or stories.")]
Folds = Annotated[int, typer.Option(help="Folds of whole passages or stories.")]
Window = Annotated[int | None, typer.Option(help="Most tokens read at once.")]
ReportOut = Annotated[Path | None, typer.Option("--report", help="Page to write: .html.")]


# -- what was given --------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenNetworks:
    """What ``--mask``, ``--network`` and ``--percentage`` name; masks are read already."""

    masks: "Mapping[str, UnitMask]"
    names: Sequence[str]
    percentage: float

    @classmethod
    def parse(
        cls,
        paths: Sequence[Path] | None,
        names: Sequence[str] | None,
        percentage: float | None,
        site: str | None,
    ) -> "GivenNetworks":
        """Check what was given; a mask goes by its file's stem, or path if that is taken."""
        if not paths and not names:
            names = ["language"]
        if not names and percentage is not None:
            raise LensLocError("--percentage is for --network; a mask has a size of its own.")
        if percentage is not None:
            require_percentage(percentage)
        for name in names or ():
            contrasts.get(name)
        masks: dict[str, UnitMask] = {}
        for path in dict.fromkeys(paths or ()):
            taken = path.stem in masks or path.stem in (names or ())
            masks[str(path) if taken else path.stem] = load_mask(path, site)
        return cls(masks, list(dict.fromkeys(names or ())), percentage or 1.0)

    def of(self, model: "Model", *, progress: bool) -> "dict[str, UnitMask]":
        """Return every network of a model, localized or as given."""
        found: dict[str, UnitMask] = {}
        for name in self.names:
            made = ll.localize(
                model,
                contrasts.get(name),
                store=store(),
                progress=progress,
            )
            found[name] = made["resid_post"].top(percent=self.percentage)
        return found | dict(self.masks)


def controls_of(texts: Sequence[str] | None, draws: int, *, anywhere: bool) -> "list[Controls]":
    """Read ``--control``.

    Args:
        texts: what was given; units matched in their layer if nothing was, and none for ``none``.
        draws: of a control that says nothing of them.
        anywhere: whether controls may use the network's dimensions in other layers.
    """
    if not texts:
        return [ll.controls("layer", seeds=range(draws), elsewhere=not anywhere)]
    if _NO_CONTROL not in texts:
        return parse_controls(texts, elsewhere=not anywhere, draws=draws)
    if len(texts) > 1:
        raise LensLocError(f"--control {_NO_CONTROL} stands alone; leave the others out.")
    if anywhere:
        raise LensLocError(
            f"--anywhere has no effect with --control {_NO_CONTROL}; leave one of them out."
        )
    return []


def require_places(
    overwrite: bool,
    out: Path | None,
    plot_out: Path | None,
    report_out: Path | None,
    **tables: Path | None,
) -> None:
    """Refuse files that could not be written, or must not, before anything is computed.

    Args:
        overwrite: whether files that are there may be replaced.
        out: ``--out``.
        plot_out: ``--plot``.
        report_out: ``--report``.
        tables: further tables; the option is called as its place is.
    """
    named = {name.replace("_", "-"): path for name, path in tables.items()}
    for option, path in {"out": out, **named}.items():
        require_place(path, f"--{option}", TABLES, overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    require_place(report_out, "--report", (".html",), overwrite)
    require_different(**{"out": out, **named, "plot": plot_out, "report": report_out})

"""What commands on people share: their options, and what these give."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lensloc as ll
from lensloc import contrasts
from lensloc.cli.control_units import parse_controls
from lensloc.cli.networks import NO_UNITS, ContrastOptions, Localizing, Networks
from lensloc.cli.options import cached_store, network_names, require_percentage
from lensloc.cli.tables import FIGURES, TABLES, require_different, require_place
from lensloc.contrasts.columns import TABLE_KINDS, TableForm
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    from lensloc.models.surface import Model
    from lensloc.units.control_sets import Controls
    from lensloc.units.mask import UnitMask

KINDS = ", ".join(TABLE_KINDS)
_NO_CONTROL = NO_UNITS

NetworkNames = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        autocompletion=network_names,
        help=f"Network to localize (at --site, resid_post by default): {', '.join(contrasts.NAMES)}"
        "; repeatable (default language, without --mask).",
    ),
]
Percent = Annotated[
    float | None,
    typer.Option(
        "--percent",
        "--percentage",
        help="Per cent of units of --network (default 1); masks have their own size.",
    ),
]
Language = Annotated[
    str, typer.Option(help="Language of the words, for their frequencies (ISO 639-1).")
]
Resamples = Annotated[
    int, typer.Option(help="Resamples of the bootstrap over passages or stories.")
]
Folds = Annotated[int, typer.Option(help="Folds of whole passages or stories.")]
Window = Annotated[int | None, typer.Option(help="Tokens read at once, at most.")]
ReportOut = Annotated[Path | None, typer.Option("--report", help="Page to write: .html.")]


# -- what was given --------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenNetworks:
    """What ``--mask``, ``--network``, ``--contrast`` and ``--percent`` name."""

    networks: Networks
    percent: float

    @classmethod
    def parse(
        cls,
        paths: Sequence[Path] | None,
        names: Sequence[str] | None,
        percent: float | None,
        site: str | None,
        texts: ContrastOptions,
        how: Localizing,
        form: TableForm,
        seed: int,
    ) -> "GivenNetworks":
        """Check what was given; see :meth:`lensloc.cli.networks.Networks.parse`."""
        found = Networks.parse(paths, names, texts, how, site, seed, form)
        if not found.contrasts and percent is not None:
            raise LensLocError("--percent is for --network; a mask has a size of its own.")
        if percent is not None:
            require_percentage(percent)
        return cls(found, 1.0 if percent is None else percent)

    def of(self, model: "Model", *, progress: bool, batch_size: Any) -> "dict[str, UnitMask]":
        """Return every network of a model, localized or as given."""
        found = self.networks.localized(
            model, store=cached_store(), progress=progress, batch_size=batch_size
        )
        made = {name: each.top(percent=self.percent) for name, each in found.items()}
        return {**made, **self.networks.masks}


def controls_of(texts: Sequence[str] | None, draws: int, *, anywhere: bool) -> "list[Controls]":
    """Read ``--control-units``.

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
        raise LensLocError(f"--control-units {_NO_CONTROL} stands alone; leave the others out.")
    if anywhere:
        raise LensLocError(
            f"--anywhere has no effect with --control-units {_NO_CONTROL}; leave one of them out."
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

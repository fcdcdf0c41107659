"""Finding the neurons of every language: ``lensloc lape identify``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lensloc as ll
from lensloc.cli.neurons.options import named_values
from lensloc.cli.neurons.output import show
from lensloc.cli.options import AsJson, Overwrite, PlotOut
from lensloc.cli.output import print_json, show_notes, tell, tell_written
from lensloc.cli.tables import FIGURES, records, require_place
from lensloc.errors import LensLocError

if TYPE_CHECKING:
    from lensloc.lape import ActivationCounts


def identify_command(
    counts: Annotated[
        list[Path] | None, typer.Argument(help="What record wrote; several are added up.")
    ] = None,
    published: Annotated[
        list[str] | None,
        typer.Option(
            help="LANGUAGE=FILE: counts that the published code recorded instead; repeatable."
        ),
    ] = None,
    top_rate: Annotated[float, typer.Option(help="Share of all neurons that is taken.")] = 0.01,
    filter_rate: Annotated[
        float,
        typer.Option(
            help="A neuron is kept if one of its probabilities exceeds this share of all "
            "probabilities."
        ),
    ] = 0.95,
    bar: Annotated[
        float,
        typer.Option(
            help="A neuron belongs to a language if its probability there exceeds this share of "
            "all probabilities."
        ),
    ] = 0.95,
    permutations: Annotated[
        int, typer.Option(help="Shuffles of the windows' languages, for the null; 0 for none.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the shuffles.")] = 42,
    out: Annotated[
        Path, typer.Option(help="Neurons to write: .safetensors, or .pth as published.")
    ] = Path("lape-neurons.safetensors"),
    plot_out: PlotOut = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the neurons whose activity is confined to few languages."""
    require_place(out, "--out", (".safetensors", ".pth"), overwrite)
    require_place(plot_out, "--plot", FIGURES, overwrite)
    if permutations < 0:
        raise LensLocError(f"--permutations is 0 or more; {permutations} is not.")
    recorded = _counts(counts or [], named_values(published, "--published"))
    chance = (
        ll.lape.null(recorded, permutations, seed, filter_rate=filter_rate)
        if permutations
        else None
    )
    found = ll.lape.identify(recorded, top_rate, filter_rate, bar, null=chance)
    if out.suffix.lower() == ".pth":
        ll.lape.write_neurons(out, found.masks, overwrite=overwrite)
    else:
        found.save(out, overwrite=overwrite)
    if plot_out is not None:
        ll.plot.save(ll.plot.language_layers(found.masks), plot_out, overwrite=overwrite)
    if as_json:
        rows = records(found.table)
        print_json({"languages": rows, "warnings": list(found.warnings), "out": str(out)})
        return
    show(found.table, [name for name in found.table.columns if name != "per_layer"])
    for row in found.table.to_dict("records"):
        tell(f"{row['language']}, neurons by layer: {' '.join(map(str, row['per_layer']))}")
    show_notes(found.warnings)
    tell_written(out, plot_out)


def _counts(paths: Sequence[Path], published: Mapping[str, str]) -> "ActivationCounts":
    if bool(paths) == bool(published):
        raise LensLocError(
            "Name either files that record wrote, or published ones by --published LANGUAGE=FILE."
        )
    if published:
        return ll.lape.ActivationCounts.from_published(published)
    total = ll.lape.ActivationCounts.load(paths[0])
    for path in paths[1:]:
        total = total + ll.lape.ActivationCounts.load(path)
    return total

"""Pictures: ``lensloc heatmap`` and ``lensloc demo``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import lensloc as ll
from lensloc.cli.localizing import show_layers, show_units
from lensloc.cli.options import (
    ModelOptions,
    Percent,
    cached_store,
    require_percentage,
)
from lensloc.cli.output import collected_warnings, command_line, show_notes, tell_written
from lensloc.cli.reporting import show_summary
from lensloc.cli.tables import FIGURES, require_place
from lensloc.display.files import require_writable_folder

if TYPE_CHECKING:
    from lensloc.units.mask import UnitMask


def heatmap_command(
    masks: Annotated[list[Path], typer.Argument(help="Mask files, .safetensors or .npy.")],
    out: Annotated[Path, typer.Option(help="Figure to write: .html, .png, .svg or .pdf.")],
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = (
        False
    ),
) -> None:
    """Draw the percentage of units in every layer, one column per mask."""
    require_place(out, "--out", FIGURES, overwrite)
    labelled: dict[str, UnitMask] = {}
    for path in masks:
        mask = ll.UnitMask.load(path)
        made = mask.provenance
        label = " ".join(part for part in (made.model, made.contrast, mask.site) if part)
        if not made.model or label in labelled:
            label = path.stem
        labelled[label if label not in labelled else str(path)] = mask
    ll.plot.save(ll.plot.layer_heatmap(labelled, title=title), out, overwrite=overwrite)
    show_notes(
        f"{label}: {note}" if len(labelled) > 1 else note
        for label, mask in labelled.items()
        for note in mask.warnings
    )
    tell_written(out)


def demo_command(
    loading: ModelOptions,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("lensloc-demo"),
    percent: Percent = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = (
        False
    ),
) -> None:
    """Find the language network of the bundled model, lesion it, and write a report."""
    from lensloc.pages.explorer import best

    mask_path, figure_path, page_path = (
        out / name for name in ("language.safetensors", "heatmap.html", "index.html")
    )
    for path in (mask_path, figure_path, page_path):
        require_place(path, "--out", (path.suffix,), overwrite)
    require_writable_folder(out, "The folder")
    console = Console()
    size = 1.0 if percent is None else percent
    require_percentage(size)
    model = loading.load(quiet=False)
    sites = ["resid_post", "attn_out", "mlp_out", "mlp_post"]
    with collected_warnings():  # what they say is in the report
        found = ll.study(
            model,
            ll.contrasts.language(),
            sites,
            percent=size,
            tasks=[ll.tasks.minimal_pairs(limit=1)],
            controls=ll.controls("magnitude+outliers", without_outliers=True),
            store=cached_store(),
        )
    network = found.network
    network.save(mask_path, overwrite=overwrite)
    masks = {name: best(found.found[name], "target", size) for name in sites}
    figure = ll.plot.layer_heatmap(
        {name: mask for name, mask in masks.items() if mask is not None},
        title=f"Language network of {network.provenance.model}",
    )
    ll.plot.save(figure, figure_path, overwrite=overwrite)
    found = dataclasses.replace(found, call=command_line())
    page = ll.report(found, page_path, overwrite=overwrite)
    show_layers(console, network)
    show_units(console, found.found, network, top=8)
    show_summary(console, found)
    console.print(f"\nMask: {mask_path}\nReport: {page}", highlight=False, soft_wrap=True)
    console.print(
        "Next: lensloc report --network emotion --pooling mean --task minimal-pairs --limit 4",
        highlight=False,
        soft_wrap=True,
    )

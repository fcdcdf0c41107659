"""Pictures: ``lensloc heatmap`` and ``lensloc demo``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lensloc import contrasts, plot, report
from lensloc.cli.localize import show_layers, show_units
from lensloc.cli.options import DEFAULT_MODEL
from lensloc.files import require_writable_folder
from lensloc.models import load_model, writable_cache_folder
from lensloc.store import Store
from lensloc.studies import localize
from lensloc.units import UnitMask


def heatmap_command(
    masks: Annotated[list[Path], typer.Argument(help="Mask files, .safetensors or .npy.")],
    out: Annotated[Path, typer.Option(help="Figure to write: .html, .png, .svg or .pdf.")],
    title: Annotated[str | None, typer.Option(help="Of the figure.")] = None,
) -> None:
    """Draw the percentage of units in every layer, one column a mask."""
    labelled: dict[str, UnitMask] = {}
    for path in masks:
        mask = UnitMask.load(path)
        made = mask.provenance
        label = " ".join(part for part in (made.model, made.contrast, mask.site) if part)
        if not made.model or label in labelled:
            label = path.stem
        labelled[label if label not in labelled else str(path)] = mask
    plot.save(plot.layer_heatmap(labelled, title=title), out)
    Console().print(f"Wrote {out}.", highlight=False, soft_wrap=True)


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("lensloc-demo"),
    model_name: Annotated[str, typer.Option(help="Model to localize.")] = DEFAULT_MODEL,
    percentage: Annotated[float, typer.Option(help="Per cent of units to select.")] = 1.0,
) -> None:
    """Find the language network of the bundled model and draw it."""
    require_writable_folder(out, "The folder")
    console = Console()
    store = Store.at(writable_cache_folder("results"))
    model = load_model(model_name, backend="auto")
    sites = ["resid_post", "attn_out", "mlp_out", "mlp_post"]
    found = localize(model, contrasts.language(), sites, store=store)
    masks = {name: found[name].top(percent=percentage) for name in sites}
    network = masks["resid_post"]
    mask_path = network.save(out / "language.safetensors")
    figure = plot.layer_heatmap(masks, title=f"Language network of {network.provenance.model}")
    plot.save(figure, out / "heatmap.html")
    page = report.write_page(found, masks, out / "index.html")
    show_layers(console, network)
    show_units(console, found, network, top=8)
    console.print(report.summary(found, network), highlight=False)
    console.print(f"\nMask: {mask_path}\nPage: {page}", highlight=False, soft_wrap=True)
    console.print(
        "Next: lensloc localize --protocol alkhamissi2024 --site resid_post --site head --json",
        highlight=False,
        soft_wrap=True,
    )

"""A localization -> one self-contained HTML page."""

import html
from pathlib import Path

import pandas as pd

from lensloc import plot
from lensloc.files import write_atomically
from lensloc.studies import Localization
from lensloc.units import UnitMask

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; font-family: ui-monospace, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
"""


def write_page(
    found: Localization, masks: dict[str, UnitMask], path: str | Path, *, top: int = 15
) -> Path:
    """Write a page with the heatmaps, the strongest units and where they come from.

    Args:
        found: the localization.
        masks: site -> the units selected there; the first is the one described.
        path: the ``.html`` file.
        top: how many units to list.

    Returns:
        The path. The page opens without network.

    Raises:
        LensLocError: if it cannot be written.
    """
    site, network = next(iter(masks.items()))
    made = network.provenance
    layers = plot.layer_heatmap(
        masks,
        title=f"Units selective for {' + '.join(made.target)} over {' + '.join(made.control)}",
    )
    units = plot.unit_heatmap(found[site])
    target, control = (f"{n} {' + '.join(names)}" for n, names in (
        (made.n_target, made.target), (made.n_control, made.control)))  # fmt: skip
    facts = {
        "Model": f"{made.model} ({made.architecture}, {made.processing} weights)",
        "Stimuli": f"{target} against {control}",
        "Procedure": f"{made.protocol}: Welch's t of the {'absolute ' if made.absolute else ''}"
        f"{made.pooling} activation, {network.provenance.selection}",
        "Model check": made.check,
        "Hashes": f"weights {made.weights_hash}, stimuli {made.contrast_hash[:16]}",
        "Made with": f"lensloc {made.lensloc}, transformer-lens {made.transformer_lens}, "
        f"torch {made.torch}, {made.date}",
    }
    title = f"The {made.contrast} network of {made.model}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(summary(found, network))}</p>",
        '<h2>Which layers</h2><div class="scroll">',
        layers.to_html(include_plotlyjs=True, full_html=False),
        '</div><h2>How selective every unit is</h2><div class="scroll">',
        units.to_html(include_plotlyjs=False, full_html=False),
        f'</div><h2>The {top} most selective units</h2><div class="scroll">',
        strongest(found, network, top).to_html(index=False, border=0),
        "</div><h2>How it was made</h2><dl>",
        *(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()),
        "</dl>",
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )
    return write_atomically(Path(path), page.encode())


def summary(found: Localization, network: UnitMask) -> str:
    """Say in two sentences what was found."""
    selectivity = found[network.site]
    chosen = selectivity.to_dataframe(network)
    layers, units = network.shape
    share = float((selectivity.q < 0.05).double().mean()) * 100
    counts = network.per_layer()
    busiest = [str(layer) for layer in counts.argsort(descending=True, stable=True)[:3].tolist()]
    return (
        f"{len(network)} of {layers * units:,} units at {network.site} were selected; their t runs "
        f"from {chosen['t'].min():.1f} to {chosen['t'].max():.1f} and most of them are in the "
        f"layers {', '.join(busiest)}. {share:.0f} % of all units differ between the conditions at "
        "a false discovery rate of 5 %, so the selected ones are the extremes of a broad "
        "difference, not the only units that differ."
    )


def strongest(found: Localization, network: UnitMask, top: int) -> pd.DataFrame:
    """Return the network's units of largest t, formatted to be read."""
    table = found[network.site].to_dataframe(network).head(top)
    shown: pd.DataFrame = pd.DataFrame(
        {
            "unit": table["address"],
            "t": table["t"].map("{:.1f}".format),
            "q": table["q"].map("{:.1e}".format),
            "d": table["d"].map("{:.2f}".format),
            "mean, target": table["mean_target"].map("{:.3g}".format),
            "mean, control": table["mean_control"].map("{:.3g}".format),
        }
    )
    return shown

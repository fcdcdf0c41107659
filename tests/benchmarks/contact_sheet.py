"""Every figure with few and many layers, networks and letters, light and dark, to be looked at.

python tests/benchmarks/contact_sheet.py FOLDER [--only layer_heatmap ...] [--light]

Writes a page of all figures (``index.html``) and a picture a kind. Needs lensloc[png], which draws,
and Pillow.
"""

import argparse
import dataclasses
import html
import io
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kaleido
import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import people
import plotted

import lensloc as ll
from lensloc import plot
from lensloc.plot.themes import Theme
from lensloc.results.lesions import LesionStudy, tabulate

LAYERS = (6, 28, 80)
NETWORKS = (1, 12)
_SHORT = (
    "language emotion mind arithmetic faces agreement negation tense places tools music numbers"
).split()
_LONG = [f"{name} of a contrast whose name has exactly sixty letters " for name in _SHORT]
NAMES = {"short": _SHORT, "long": [(name + "x" * 60)[:60] for name in _LONG]}
_SITES = ("resid_post", "attn_out", "mlp_post", "embed", "ln_final")
_COLUMNS, _THUMBNAIL = 4, 520


@dataclasses.dataclass(frozen=True)
class Case:
    """What a figure is drawn of."""

    layers: int
    networks: int
    letters: str

    @property
    def names(self) -> list[str]:
        """The networks' names."""
        return NAMES[self.letters][: self.networks]

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.networks} networks, {self.letters} names"


def maps(case: Case, site: str = "resid_post", units: int = 64) -> dict[str, Any]:
    """Return statistics of every network."""
    layers = 1 if site in ("embed", "ln_final") else case.layers
    return {
        name: plotted.selectivity(layers, units, seed, site) for seed, name in enumerate(case.names)
    }


def sites(case: Case) -> dict[str, dict[str, Any]]:
    """Return statistics at several sites, by network."""
    by_site = {site: maps(case, site, 256) for site in _SITES}
    return {name: {site: by_site[site][name] for site in _SITES} for name in case.names}


def masks(case: Case) -> dict[str, Any]:
    """Return a set of units of every network."""
    return {name: found.top(percent=5) for name, found in maps(case).items()}


def lesions(case: Case) -> LesionStudy:
    """Return a study of all networks, of two sizes, with controls."""
    draw = np.random.default_rng(0)
    rows = []
    for network, task, percent in itertools.product(
        case.names, ("minimal-pairs", "commonsense"), (0.5, 1.0, 5.0)
    ):
        for kind, seed in (("network", None), *(("layer", seed) for seed in range(5))):
            drop = draw.uniform(0, 0.08) * percent * (1.0 if kind == "network" else 0.5)
            rows.append(
                {
                    **{"model": "tiny", "network": network, "mode": "zero", "percent": percent},
                    **{"kind": kind, "seed": seed, "task": task, "measure": "accuracy"},
                    **{"drop": drop, "drop_low": drop - 0.05, "drop_high": drop + 0.05},
                    "took_effect": True,
                }
            )
    return LesionStudy(tabulate(rows))


def people_of(case: Case) -> Any:
    """Return an encoding of brains, under the case's names."""
    found = people.encoding()
    names = dict(zip(dict.fromkeys(found.table["network"].dropna()), case.names, strict=False))
    return dataclasses.replace(found, table=found.table.replace({"network": names}))


FIGURES: dict[str, Callable[[Case], go.Figure]] = {
    "layer_heatmap": lambda case: plot.layer_heatmap(masks(case)),
    "layer_heatmap_of_sites": lambda case: plot.layer_heatmap(sites(case)),
    "layer_profile": lambda case: plot.layer_profile(maps(case), "mean_t"),
    "layer_profile_of_sites": lambda case: plot.layer_profile(next(iter(sites(case).values()))),
    "unit_heatmap": lambda case: plot.unit_heatmap(next(iter(maps(case).values()))),
    "head_heatmap": lambda case: plot.head_heatmap(next(iter(maps(case, "head", 12).values()))),
    "language_layers": lambda case: plot.language_layers(masks(case)),
    "overlap": lambda case: plot.overlap(ll.overlap(masks(case))),
    "granularity": lambda case: plot.granularity(plotted.granularities(tuple(case.names))),
    "dose_response": lambda case: plot.dose_response(lesions(case)),
    "lesion_bars": lambda case: plot.lesion_bars(lesions(case)),
    "language_matrix": lambda case: plot.language_matrix(plotted.matrix(case.names)),
    "steering": lambda case: plot.steering(plotted.steering((*case.names, "other"))),
    "alignment": lambda case: plot.alignment(people_of(case)),
}
# Those in which layers are an axis; the others are drawn once, not once per depth.
_OF_LAYERS = (
    "layer_heatmap", "layer_heatmap_of_sites", "layer_profile", "layer_profile_of_sites",
    "unit_heatmap", "head_heatmap", "language_layers",
)  # fmt: skip
_OF_ONE = ("unit_heatmap", "head_heatmap", "layer_profile_of_sites")


def cases(kind: str) -> Iterator[Case]:
    """Yield what a kind of figure is drawn of."""
    for case in itertools.starmap(Case, itertools.product(LAYERS, NETWORKS, NAMES)):
        again = kind not in _OF_LAYERS and case.layers != LAYERS[0]
        alone = kind in _OF_ONE and (case.networks != 1 or case.letters != "short")
        single = kind in ("overlap",) and case.networks == 1
        if not (again or alone or single):
            yield case


def picture(figure: go.Figure) -> Image.Image:
    """Draw a figure as it is on a page."""
    return Image.open(io.BytesIO(figure.to_image(format="png", scale=1))).convert("RGB")


def sheet(pictures: dict[str, Image.Image]) -> Image.Image:
    """Put pictures beside each other, each with its caption and its size."""
    tiles = []
    for caption, image in pictures.items():
        small = image.copy()
        small.thumbnail((_THUMBNAIL, 2 * _THUMBNAIL))
        tile = Image.new("RGB", (_THUMBNAIL + 8, small.height + 24), "white")
        tile.paste(small, (4, 20))
        ImageDraw.Draw(tile).text((4, 4), f"{caption} ({image.width} x {image.height})", "black")
        tiles.append(tile)
    rows = [tiles[at : at + _COLUMNS] for at in range(0, len(tiles), _COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    whole = Image.new("RGB", (_COLUMNS * (_THUMBNAIL + 8), sum(heights)), "#cccccc")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            whole.paste(tile, (column * (_THUMBNAIL + 8), sum(heights[:number])))
    return whole


def drawn(kind: str, themes: Sequence[Theme], folder: Path) -> Iterator[str]:
    """Draw a kind of figure in all cases; yield what stands of each on the page."""
    pictures: dict[str, Image.Image] = {}
    for case, theme in itertools.product(cases(kind), themes):
        caption = f"{case}, {theme}"
        pictures[caption] = picture(plot.themed(FIGURES[kind](case), theme))
        file = f"{kind}-{len(pictures):02}.png"
        pictures[caption].save(folder / file)
        yield (
            f"<figure><figcaption>{html.escape(f'{kind}: {caption}')}</figcaption>"
            f'<img src="{file}" loading="lazy"></figure>'
        )
    sheet(pictures).save(folder / f"{kind}.png")
    print(f"{kind}: {len(pictures)} figures", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), default=list(FIGURES))
    parser.add_argument("--light", action="store_true", help="no dark ones")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    parts: list[str] = []
    kaleido.start_sync_server(silence_warnings=True)  # one browser for all of them
    try:
        for kind in given.only:
            parts += drawn(kind, ("light",) if given.light else ("light", "dark"), given.folder)
    finally:
        kaleido.stop_sync_server()
    page = f"<!doctype html><meta charset=utf-8><title>Figures</title>{''.join(parts)}"
    (given.folder / "index.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

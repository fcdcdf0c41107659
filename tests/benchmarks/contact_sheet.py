"""Every figure with few and many layers, networks and letters, light and dark, to be looked at.

python tests/benchmarks/contact_sheet.py FOLDER [--only layer_heatmap ...] [--light]

Writes a page of all figures (``index.html``) and a sheet of pictures a kind, and prints what lies
over what. Needs Chromium, playwright and Pillow.
"""

import argparse
import html
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from drawing import Board, drawing_board
from figure_cases import FIGURES, cases

from lensloc import plot
from lensloc.plot.themes import Theme

_COLUMNS, _THUMBNAIL = 4, 520


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


def drawn(board: Board, kind: str, themes: Sequence[Theme], folder: Path) -> Iterator[str]:
    """Draw a kind of figure in all cases; yield what stands of each on the page."""
    pictures: dict[str, Image.Image] = {}
    for case, theme in itertools.product(cases(kind), themes):
        caption = f"{case}, {theme}"
        faults = board.draw(plot.themed(FIGURES[kind](case), theme))
        image = Image.open(io.BytesIO(board.picture())).convert("RGB")
        pictures[caption] = image
        file = f"{kind}-{len(pictures):02}.png"
        image.save(folder / file)
        share = f"{image.width} x {image.height}"
        print(f"{file}: {caption}, {share}: {len(faults)} faults", *faults[:6], sep="\n    ")
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
    themes: tuple[Theme, ...] = ("light",) if given.light else ("light", "dark")
    with drawing_board() as board:
        parts = [part for kind in given.only for part in drawn(board, kind, themes, given.folder)]
    page = f"<!doctype html><meta charset=utf-8><title>Figures</title>{''.join(parts)}"
    (given.folder / "index.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

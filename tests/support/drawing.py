"""Figures drawn in Chromium: pictures of them, and what in them lies over what."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import Page, sync_playwright
from plotly.offline import get_plotlyjs

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome")
     if (path := shutil.which(name))), None,
)  # fmt: skip
_FAULTS = Path(__file__).with_name("faults_of_figure.js")


class Board:
    """A page on which one figure after the other is drawn."""

    def __init__(self, page: Page) -> None:
        page.set_content('<body style="margin: 0"><div id="figure"></div></body>')
        page.add_script_tag(content=get_plotlyjs())
        page.add_script_tag(content=_FAULTS.read_text(encoding="utf-8"))
        self._page = page

    def draw(self, figure: go.Figure) -> list[str]:
        """Draw a figure; return what is wrong with how it lies, in words."""
        made = json.loads(figure.to_json())
        found: list[str] = self._page.evaluate(
            """async ([data, layout]) => {
                const figure = document.getElementById("figure");
                await Plotly.newPlot(figure, data, layout, {displayModeBar: false});
                return faultsOf(figure);
            }""",
            [made["data"], made["layout"]],
        )
        return found

    def picture(self) -> bytes:
        """Return a picture of what was drawn last."""
        png: bytes = self._page.locator("#figure .svg-container").screenshot(timeout=120_000)
        return png


@contextmanager
def drawing_board() -> Iterator[Board]:
    """Open a browser, offline."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"],
            timeout=180_000,
        )  # fmt: skip
        page = browser.new_page(offline=True, viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(180_000)
        yield Board(page)
        browser.close()

"""Pages in a real browser, with the network off: they draw, answer, and run no text."""

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from axe_playwright_python.sync_playwright import Axe
from people import reading
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from specification_table import GRIDS, specifications

import lensloc as ll
from lensloc import Contrast, Study
from lensloc.pages.explorer import ExplorerPage, payload
from lensloc.pages.report import report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome")
     if (path := shutil.which(name))), None,
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium or Chrome; `make browser` installs Debian's"
)

SCRIPT = "<script>alert(1)</script>"
EVIL = '</script><img src=x onerror="alert(2)">'
WIDE, NARROW = (1400, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def study(tiny_llama: Any) -> Study:
    """A study whose every text tries to run something."""
    words = "the old gardener watered every plant before sun came up and nobody saw it".split()
    contrast = Contrast.from_texts(
        {
            SCRIPT: [SCRIPT, EVIL, "=1+1", *(" ".join(words[:n]) for n in range(2, 10))],
            f"calm {EVIL}": [" ".join(words[n : n + 3]) for n in range(10)],
            "beside": ["vash mopi", "plonder trine", "all", "village bridge"],
        },
        target=SCRIPT,
        control=f"calm {EVIL}",
        name=f"contrast {SCRIPT}",
    )
    return ll.study(
        tiny_llama,
        contrast,
        ["resid_post", "mlp_post"],
        percent=10,
        tasks=[ll.tasks.minimal_pairs(limit=1)],
        controls=ll.controls("layer", seeds=range(2)),
        percents=[5, 10],
        progress=False,
    )


@pytest.fixture(scope="module")
def page_file(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(study, tmp_path_factory.mktemp("report") / "report.html")


Opener = Callable[..., Page]


def look(
    browser: Browser,
    problems: list[str],
    path: Path,
    size: tuple[int, int] = WIDE,
    theme: Any = "light",
    ready: str = "html[data-ready]",
    before: str = "",
) -> Page:
    """Open a page offline, in a context of its own, and note what it should not do."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, offline=True,
        accept_downloads=True,
    )  # fmt: skip
    context.set_default_timeout(120_000)  # on a machine that does other things
    page = context.new_page()
    page.add_init_script(before)
    page.on("console", lambda m: problems.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: problems.append(f"error: {e}"))
    page.on("dialog", lambda d: (problems.append(f"dialog: {d.message}"), d.dismiss()))
    page.on("request", lambda r: _note_request(r.url, path, problems))
    page.goto(path.as_uri())
    page.wait_for_selector(ready)
    return page


def _note_request(url: str, path: Path, problems: list[str]) -> None:
    if url != path.as_uri() and not url.startswith(("data:", "blob:")):
        problems.append(f"request: {url}")


@pytest.fixture
def opened(browser: Browser, page_file: Path) -> Iterator[Opener]:
    """Opens the report, or another page, anew; afterwards, checks what it did."""
    pages: list[Page] = []
    problems: list[str] = []

    def again(size: tuple[int, int] = WIDE, path: Path = page_file, **options: Any) -> Page:
        pages.append(look(browser, problems, path, size, **options))
        return pages[-1]

    yield again
    for page in pages:
        page.context.close()
    assert not problems


@pytest.fixture(scope="module")
def _kept(browser: Browser, page_file: Path) -> Iterator[tuple[Page, list[str]]]:
    problems: list[str] = []
    page = look(browser, problems, page_file)
    yield page, problems
    page.context.close()


@pytest.fixture
def kept(_kept: tuple[Page, list[str]]) -> Iterator[Page]:
    """The report, opened once for all tests that are at home with what others chose in it.

    It is at its top, shows the units that it showed first, and what it does is checked.
    """
    page, problems = _kept
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    page.locator("input[type=number]").fill("10")
    page.get_by_label(re.compile(r" > calm ")).check()
    yield page
    assert not problems


def test_no_figure_offers_to_send_its_data(
    kept: Page, opened: Opener, study: Study, tmp_path: Path
) -> None:
    figure = ll.plot.layer_heatmap(study.network)
    saved = ll.plot.save(figure, tmp_path / "figure.html")
    plain = tmp_path / "plain.html"
    go.Figure(figure).write_html(plain)  # as a user may, with plotly's own settings
    drawn(kept, "figure-units-0")
    for page in (kept, opened(path=saved, ready=".main-svg")):
        page.wait_for_selector(".modebar")
        titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
        assert any("Download plot" in str(title) for title in titles)
        assert not any("hare" in str(title) or "loud" in str(title) for title in titles)
        assert page.locator(".plotlyjsicon").count() == 0
        bars, hidden = page.locator(".modebar").count(), page.locator(".modebar--hover").count()
        assert bars == hidden > 0
    page = opened(path=plain, ready=".main-svg")
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert len(titles) > 1
    assert not any("hare" in str(title) or "loud" in str(title) for title in titles)


def drawn(page: Page, name: str) -> Locator:
    """Go to a figure, which is drawn when it comes near the window."""
    place = page.locator(f"#{name}")
    place.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name}[data-drawn]")
    return place


_PLACES = (
    "all => all.map(e => [e.id, e.getBoundingClientRect().top + scrollY, e.offsetHeight, "
    "e.scrollWidth])"
)


def cells(page: Page) -> list[int]:
    """The numbers of units of all cells, as they are read out, row by row."""
    labels = page.locator(".ll-map tbody button").evaluate_all("all => all.map(b => b.ariaLabel)")
    return [int(re.findall(r": (\d+) of", label)[0]) for label in labels]


def count(page: Page) -> str:
    return page.locator(".ll-count").inner_text()


# -- figures ---------------------------------------------------------------------------------------


def test_figures_are_drawn_and_say_what_is_under_the_pointer(kept: Page, study: Study) -> None:
    page = kept
    places = page.locator(".canvas").evaluate_all(_PLACES)
    assert len(places) == 5  # t at two sites, profile, lesions, modes
    for name, *_ in places:
        figure = drawn(page, name)
        assert figure.locator("svg.main-svg").first.is_visible()
        assert figure.evaluate("place => place.data.length") > 0
    assert page.locator(".canvas").evaluate_all(_PLACES) == places
    heatmap = drawn(page, "figure-units-0")
    z = heatmap.evaluate("place => Array.from(place.calcdata[0][0].z, row => Array.from(row))")
    expected = study.selectivity.t.sort(dim=1, descending=True).values
    assert len(z) == 3
    assert z[2][0] == pytest.approx(expected[2, 0].item(), abs=1e-4)
    box = heatmap.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    label = heatmap.locator(".hoverlayer .hovertext")
    label.wait_for()
    unit = int(study.selectivity.t[2].argmax())
    assert f"L2.resid_post.{unit}" in label.text_content()


def _laid_out_anew(page: Page) -> None:
    """Wait until places for figures are as a window of another width wants them."""
    page.wait_for_function(
        "() => document.documentElement.dataset.width === String("
        "document.getElementById('main').clientWidth)"
    )


def test_a_figure_is_drawn_when_it_comes_near_and_nothing_moves(opened: Opener) -> None:
    page = opened(NARROW)
    canvases, done = page.locator(".canvas"), page.locator(".canvas[data-drawn]")
    places = canvases.evaluate_all(_PLACES)
    last = places[-1][0]
    page.wait_for_timeout(200)
    assert not page.locator(f"#{last}[data-drawn]").count()
    assert page.evaluate("'Plotly' in window") == (done.count() > 0)
    drawn(page, last)
    drawn(page, "figure-profile")  # whose panels stand above each other
    assert done.count() < len(places)  # those passed at once are not drawn
    assert canvases.evaluate_all(_PLACES) == places
    # What is far off is drawn in the other theme, or for another width, when it comes near again.
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    page.wait_for_timeout(200)
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert canvases.evaluate_all(_PLACES) == places
    assert page.locator(f"#{last} svg").count() == 0
    figure = drawn(page, last)
    assert figure.evaluate("place => place.layout.paper_bgcolor") == "#14161a"


def test_a_browser_that_cannot_tell_what_is_near_draws_all(opened: Opener) -> None:
    page = opened(before="delete window.IntersectionObserver")
    assert page.locator(".canvas[data-drawn]").count() == page.locator(".canvas").count() == 5


def test_a_phone_gets_panels_above_each_other(opened: Opener) -> None:
    domains = "place => Object.keys(place.layout).filter(k => /^xaxis/.test(k))" \
              ".map(k => place.layout[k].domain)"  # fmt: skip
    page = opened()
    wide = drawn(page, "figure-profile").evaluate(domains)
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    _laid_out_anew(page)
    narrow = drawn(page, "figure-profile").evaluate(domains)
    assert len({tuple(d) for d in wide}) == 3
    assert narrow == [[0, 1]] * 3


def test_the_theme_follows_the_system_and_the_button(opened: Opener) -> None:
    page = opened(theme="dark")
    root, figure = page.locator("html"), drawn(page, "figure-units-0")
    paper = "place => place.layout.paper_bgcolor"
    assert root.get_attribute("data-theme") == "dark"
    assert figure.evaluate(paper) == "#14161a"
    assert page.locator(".ll-explorer").get_attribute("data-theme") == "dark"
    page.get_by_role("button", name="Light theme").click()
    assert root.get_attribute("data-theme") == "light"
    drawn(page, "figure-units-0")
    assert figure.evaluate(paper) == "#ffffff"
    assert page.locator(".ll-explorer").get_attribute("data-theme") == "light"
    page.emulate_media(color_scheme="dark")
    assert root.get_attribute("data-theme") == "light"


# -- the explorer ----------------------------------------------------------------------------------


def test_a_cell_lists_its_units_and_a_unit_shows_its_responses(
    opened: Opener, study: Study
) -> None:
    page = opened()
    network = study.network
    layer = 1
    page.get_by_role("button", name=re.compile(f"Layer {layer}, resid_post")).click()
    table = study.selectivity.to_dataframe(network)
    table = table[table["layer"] == layer]
    listed = page.locator(".ll-list tbody button").all_inner_texts()
    assert listed == table["address"].tolist()
    first = page.locator(".ll-list tbody tr").first.inner_text().split()
    assert first[1:3] == [f"{table['t'].iloc[0]:.2f}", f"{table['d'].iloc[0]:.2f}"]
    page.locator(".ll-list thead button", has_text="unit").click()
    by_unit = page.locator(".ll-list tbody button").all_inner_texts()
    assert by_unit == table.sort_values("unit")["address"].tolist()

    address = by_unit[-1]
    page.get_by_role("button", name=address, exact=True).click()
    assert page.locator(".ll-unit h3").inner_text() == address
    contrast = study.contrast
    assert page.locator(".ll-plot circle").count() == len(contrast.texts)
    unit = int(address.split(".")[-1])
    values = study.found.responses["resid_post"].values[:, layer, unit].abs()
    order = values.argsort(descending=True).tolist()
    shown = page.locator(".ll-stimuli .ll-text").all_inner_texts()
    assert shown[:5] == [contrast.texts[row] for row in order[:5]]
    assert shown[5:] == [contrast.texts[row] for row in order[:-6:-1]]
    value = float(page.locator(".ll-stimuli .ll-value").first.inner_text())
    assert value == pytest.approx(values.max().item(), rel=0.01)


def test_the_slider_selects_what_python_selects(kept: Page, study: Study) -> None:
    page = kept
    slider, number = page.locator("input[type=range]"), page.locator("input[type=number]")
    for percent in (10.0, 2.0, 1.1, 7.3):
        slider.evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')) }",
            str(percent),
        )
        assert float(number.input_value()) == percent
        _check_counts(page, study, percent, "top")
    number.fill("5.55")
    _check_counts(page, study, 5.55, "top")
    page.get_by_label(re.compile(r"^\s*calm .* > ")).check()
    _check_counts(page, study, 5.55, "bottom")
    number.fill("0")
    assert "more than 0" in count(page)
    number.fill("0.5")  # less than one unit of 96
    assert "resid_post: 0 of 96 units" in count(page)
    assert "less than 1 unit" in page.locator(".ll-map thead").inner_text()


def _check_counts(page: Page, study: Study, percent: float, side: str) -> None:
    masks = [getattr(found, side)(percent=percent) for found in study.found.values()]
    assert count(page) == "; ".join(
        f"{mask.site}: {len(mask)} of {mask.mask.numel()} units" for mask in masks
    )
    counts = [mask.per_layer().tolist() for mask in masks]
    expected = [n for layer in (2, 1, 0) for n in (found[layer] for found in counts)]
    assert cells(page) == expected


def test_keys_do_what_the_pointer_does(opened: Opener) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.locator("input[type=range]").focus()
    number = page.locator("input[type=number]")
    page.keyboard.press("ArrowLeft")
    assert number.input_value() == "9.9"
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert "resid_post: 8 of 96 units" in count(page)
    focused = "document.activeElement.getAttribute('aria-label')"
    for _ in range(10):
        page.keyboard.press("Tab")
        if "Layer" in (page.evaluate(focused) or ""):
            break
    start = page.evaluate(focused)
    page.keyboard.press("ArrowDown" if start.startswith("Layer 2") else "ArrowUp")
    moved = page.evaluate(focused)
    assert moved != start
    page.keyboard.press("Enter")
    title = page.locator(".ll-list h3").inner_text()
    assert title.startswith(moved.split(":")[0])
    # One cell is on the way of the tab key, not all of them.
    assert page.locator(".ll-map button[tabindex='0']").count() == 1
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.ll-list tbody') !== null"):
            break
    address = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert page.locator(".ll-unit h3").inner_text() == address
    assert page.evaluate("document.activeElement.textContent") == address


# -- downloads -------------------------------------------------------------------------------------


def rows_of(page: Page, click: Callable[[], None]) -> list[list[str]]:
    with page.expect_download() as download:
        click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))


def test_links_give_the_tables(kept: Page, study: Study) -> None:
    page = kept
    link = page.get_by_role("link", name=re.compile("selected units at resid_post"))
    head, *rows = rows_of(page, link.click)
    table = study.selectivity.to_dataframe(study.network)
    assert head == list(table.columns)
    assert [row[0] for row in rows] == table["address"].tolist()
    assert [float(row[head.index("t")]) for row in rows] == table["t"].tolist()
    _, *texts = rows_of(page, page.get_by_role("link", name="The stimuli").click)
    assert [SCRIPT, "target", "'=1+1"] in texts  # no formula
    assert [SCRIPT, "target", SCRIPT] in texts
    head, *lesions = rows_of(page, page.get_by_role("link", name="Every lesion and task").click)
    assert study.lesions is not None
    assert len(lesions) == len(study.lesions.table)
    assert [float(row[head.index("drop")]) for row in lesions] == study.lesions.table[
        "drop"
    ].tolist()


def test_the_explorer_gives_the_units_that_it_shows(kept: Page, study: Study) -> None:
    page = kept
    page.locator("input[type=number]").fill("4")
    button = page.get_by_role("button", name="Download all selected units (CSV)")
    head, *rows = rows_of(page, button.click)
    expected = []
    for found in study.found.values():
        expected += found.to_dataframe(found.top(percent=4))["address"].tolist()
    assert sorted(row[0] for row in rows) == sorted(expected)
    best = study.selectivity.to_dataframe(study.network).iloc[0]
    assert float(rows[0][head.index("t")]) == pytest.approx(best["t"], rel=1e-6)
    assert float(rows[0][head.index("q")]) == pytest.approx(best["q"], rel=1e-4)


# -- texts -----------------------------------------------------------------------------------------


def test_stimuli_are_shown_and_not_obeyed(kept: Page) -> None:
    page = kept
    assert page.locator("#stimuli").get_by_text(SCRIPT, exact=True).count() >= 2
    assert page.locator("#stimuli").get_by_text(EVIL, exact=True).count() == 1
    assert page.title().startswith(f"The contrast {SCRIPT} network")
    texts: set[str] = set()
    for button in page.locator(".ll-map tbody button").all():
        button.click()
        texts |= set(page.locator(".ll-stimuli .ll-text").all_inner_texts())
    assert texts & {SCRIPT, EVIL}
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 4


def test_even_a_text_that_got_out_would_not_run(opened: Opener, page_file: Path) -> None:
    """The policy of the page lets nothing run but its own scripts, and nothing load."""
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"',
                       page_file.read_text())  # fmt: skip
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "'unsafe-inline'" not in policy[1].split("script-src")[1].split(";")[0]


# -- accessibility ---------------------------------------------------------------------------------


def test_axe_finds_nothing_serious_and_everything_fits(opened: Opener) -> None:
    page = opened()
    # Colours go with the theme, and what fits with the width.
    looks: list[tuple[Any, tuple[int, int]]] = [("light", WIDE), ("dark", NARROW)]
    for theme, (width, height) in looks:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_selector(f"html[data-theme={theme}]", timeout=5000)
        _laid_out_anew(page)
        for name in page.locator(".canvas").evaluate_all("all => all.map(each => each.id)"):
            assert drawn(page, name).evaluate("place => place.layout.width") <= width
        assert page.evaluate("document.documentElement.scrollWidth") == width
        serious = [
            f"{theme}, {width}: {each['id']}: {node['html'][:200]}"
            for each in Axe().run(page).response["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]
        assert not serious


def test_grids_scroll_where_a_page_is_narrower(opened: Opener, tmp_path: Path) -> None:
    """Names of choices keep their place on a phone, and titles of two lines are whole."""
    several = specifications(GRIDS[12])
    path = report(several, tmp_path / "choices.html")
    page = opened(path=path)
    for (width, height), scrolls in ((WIDE, False), (NARROW, True)):
        page.set_viewport_size({"width": width, "height": height})
        _laid_out_anew(page)
        canvas = drawn(page, "figure-choices-1")
        inner, outer = canvas.evaluate("place => [place.scrollWidth, place.clientWidth]")
        assert (inner > outer) == scrolls
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert canvas.evaluate("place => place.layout.margin.l") == (
            ll.plot.multiverse(several).layout.margin.l
        )
    # Far off it is a place of the same size, which scrolls as far; drawn again, the only one in it.
    inner = "place => [place.scrollWidth, place.scrollHeight, place.offsetHeight]"
    known = canvas.evaluate(inner)
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    page.wait_for_timeout(300)
    page.get_by_role("button", name="Dark theme").click()
    assert not canvas.locator("svg").count()
    assert canvas.evaluate(inner) == known
    assert drawn(page, "figure-choices-1").evaluate(inner) == known
    # On the phone, where what scrolls must be reached by keys.
    serious = [each["id"] for each in Axe().run(page).response["violations"]
               if each["impact"] in ("serious", "critical")]  # fmt: skip
    assert not serious
    path = report(reading(), tmp_path / "reading.html")
    page = opened(path=path)
    figure = drawn(page, "figure-reading-times")
    top = figure.evaluate("place => place.getBoundingClientRect().top")
    titles = figure.locator(".annotation-text").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().top)"
    )
    assert min(titles) >= top
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    _laid_out_anew(page)  # without a legend no room is left for one
    assert drawn(page, "figure-reading-times").evaluate("place => place.layout.margin.b") < 20


def test_axe_would_find_what_is_wrong(opened: Opener) -> None:
    page = opened()
    page.evaluate("document.documentElement.removeAttribute('lang')")
    page.evaluate("document.querySelector('.ll-number input').removeAttribute('aria-label')")
    rules = {"runOnly": ["html-has-lang", "label"]}
    found = {each["id"] for each in Axe().run(page, options=rules).response["violations"]}
    assert {"html-has-lang", "label"} == found


# -- other hosts -----------------------------------------------------------------------------------


def test_the_explorer_works_on_a_page_of_its_own(
    opened: Opener, study: Study, tmp_path: Path
) -> None:
    data = payload(study.found, percent=10, most=20, most_bytes=10**6)
    path = ExplorerPage.of(data).save(tmp_path / "explorer.html")
    page = opened(path=path, ready=".ll-map button")
    _check_counts(page, study, 10, "top")
    assert page.locator(".ll-plot circle").count() == len(study.contrast.texts)


def test_the_explorer_goes_along_with_a_notebook(
    opened: Opener, study: Study, tmp_path: Path
) -> None:
    """It follows the notebook's theme, and keeps the keys that JupyterLab has a use for."""
    data = payload(study.found, percent=10, most=20, most_bytes=10**6)
    path = ExplorerPage.of(data).save(tmp_path / "explorer.html")
    page = opened(path=path, ready=".ll-map button")
    explorer = page.locator(".ll-explorer")
    assert explorer.get_attribute("data-theme") == "light"
    page.add_style_tag(content="body[data-jp-theme-light=false] { background: #111 !important; }")
    for light, theme in (("false", "dark"), ("true", "light")):
        page.evaluate(f"document.body.dataset.jpThemeLight = '{light}'")
        page.wait_for_selector(f".ll-explorer[data-theme={theme}]", timeout=2000)
    focusable = explorer.locator("button, input, select, textarea, a[href], [tabindex]")
    assert focusable.count() > 20
    assert focusable.evaluate_all("all => all.every(e => 'lmSuppressShortcuts' in e.dataset)")


def test_the_explorer_works_in_a_frame_and_without_responses(
    opened: Opener, study: Study, tmp_path: Path
) -> None:
    found = ll.Localization(study.contrast, study.found.selectivity, 1, study.found.seconds)
    data = payload(found, percent=10, most=20, most_bytes=10**6)
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><body>{ExplorerPage.of(data)._repr_html_()}</body>")
    frame = opened(path=notebook, ready="iframe").frame_locator("iframe")
    assert "keep_responses=True" in frame.locator(".ll-facts").inner_text()
    assert frame.locator(".ll-plot circle").count() == 0


def test_paper_is_light_and_holds_everything(opened: Opener) -> None:
    """Whatever was drawn before, which is nothing where a page is printed unseen."""
    page = opened(theme="dark")
    page.evaluate(_NOTE_PRINTED)
    assert page.locator(".canvas[data-drawn]").count() < 5
    heights = page.locator(".canvas").evaluate_all(_PLACES)
    printed = page.pdf(format="A4")  # the browser itself says that it prints
    assert len(printed) > 50_000
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
    assert page.evaluate("printed") == [["#ffffff", True]] * 5
    # And back as it was.
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.locator(".canvas").evaluate_all(_PLACES) == heights
    figure = drawn(page, "figure-units-0")
    assert figure.evaluate("place => [place.layout.paper_bgcolor, place.style.zoom]") == [
        "#14161a", "",
    ]  # fmt: skip
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()


# What every figure is when the page is printed, after the page's own listener.
_NOTE_PRINTED = """
addEventListener("beforeprint", () => {
  window.printed = [...document.querySelectorAll(".canvas")].map(
    (each) => [each.layout?.paper_bgcolor, each.querySelector("svg.main-svg") !== null]);
})
"""


def test_a_wide_screen_is_used_and_terms_say_what_they_mean(kept: Page) -> None:
    page = kept
    edges = "e => [e.getBoundingClientRect().left, e.getBoundingClientRect().right]"
    summary = page.locator("#summary").evaluate(edges)
    warnings = page.locator("#warnings").evaluate(edges)
    assert summary[1] <= warnings[0]  # side by side
    assert page.locator("nav").evaluate(edges)[1] <= summary[0]
    assert warnings[1] > 1300
    verdict = page.locator("#verdict")
    assert verdict.inner_text().count(".") == 1
    assert verdict.evaluate("e => e.getBoundingClientRect().bottom") < 400
    term = page.locator("#summary dfn").first
    assert len(term.get_attribute("title") or "") > 20
    term.focus()
    assert "pip install lensloc==" in page.locator("#provenance pre").inner_text()
    page.locator("details summary").first.click()
    assert page.locator("details table").first.is_visible()


def test_texts_are_coloured_by_token(opened: Opener, tiny_llama: Any, tmp_path: Path) -> None:
    texts = {"a": [EVIL, "the old gardener", "nobody"], "b": ["vash mopi", "fendal", "strane"],
             "more": ["the village", "plonder"]}  # fmt: skip
    contrast = Contrast.from_texts(texts, target="a", control="b")
    found = ll.localize(tiny_llama, contrast, keep_responses="all", progress=False)
    every = [text for several in texts.values() for text in several]
    labels = [name for name, several in texts.items() for _ in several]
    by_token = ll.capture_tokens(tiny_llama, every, labels, progress=False)
    data = payload(found, percent=10, most=20, most_bytes=10**6, tokens=by_token)
    path = ExplorerPage.of(data).save(tmp_path / "explorer.html")
    page = opened(path=path, ready=".ll-map button")
    page.locator(".ll-list tbody button").first.click()
    address = page.locator(".ll-unit h3").first.inner_text()
    shown = page.eval_on_selector_all(
        ".ll-stimuli li .ll-text",
        "all => all.map(t => [...t.querySelectorAll('.ll-token')].map("
        "s => [s.textContent, s.style.background, s.title]))",
    )
    whole = {tuple(by_token.tokens_of(number)): number for number in range(len(by_token))}
    values = by_token.unit(address)
    for spans in shown:
        number = whole[tuple(piece for piece, _, _ in spans)]
        known = values[by_token.rows(number)].tolist()
        for (_, colour, title), value in zip(spans, known, strict=True):
            assert abs(float(title) - value) < float(values.abs().max()) / 100
            if abs(value) > float(values.abs().max()) / 50:
                assert colour.startswith("rgba(213, 94, 0" if value > 0 else "rgba(0, 114, 178")
    assert len(shown) == 8
    assert page.locator("text=more (n = 2)").count() == 1

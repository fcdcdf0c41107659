"""The documentation as a site: built strictly, with every public name; opened in Chromium."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lensloc as ll

pytest.importorskip("material")  # mkdocs-material
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parents[2]
ROOMS = {"lensloc": ll, "contrasts": ll.contrasts, "tasks": ll.tasks, "lape": ll.lape,
         "alignment": ll.alignment, "plot": ll.plot}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, from files that are its own."""
    recipe = re.search(r"^docs:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert "mkdocs build --strict" in recipe[1]
    folder = tmp_path_factory.mktemp("site")
    environment = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    for room, module in ROOMS.items():
        page = (site / "api" / f"{room}.html").read_text()
        for name in module.__all__:
            if name not in ROOMS:
                assert f'id="{module.__name__}.{name}"' in page, f"{room}.{name}"
        assert ":func:`" not in page
        assert ":class:`" not in page


def test_pages_load_nothing_and_link_to_what_is_there(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) > 35
    for path in pages:
        text = path.read_text()
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]*)\"", text)
        loaded += re.findall(r"<link[^>]* rel=\"stylesheet\"[^>]* href=\"([^\"]*)\"", text)
        for address in loaded:
            if path.parent.name != "notebooks":  # which bring figures, and libraries for them
                assert not address.startswith(("http:", "https:", "//")), (path.name, address)
        for address in re.findall(r'<a [^>]*href="([^"#:?]+)(?:#[^"]*)?"', text):
            assert (path.parent / address).exists(), (path.name, address)


# -- in Chromium -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser_path = next((path for path in found if path), None)
    if browser_path is None:
        pytest.skip("no Chromium or Chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.context.set_offline(True)
        yield opened
        browser.close()


def test_it_opens_from_files_and_is_searched_offline(site: Path, page: Any) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="Glossary").first.click()
    page.get_by_role("heading", name="Glossary").first.wait_for()
    page.keyboard.press("/")
    page.get_by_role("textbox", name="Search").type("split-half", delay=10)
    page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
    assert problems == []


@pytest.mark.parametrize("name", ["index", "glossary", "faq", "command_line", "api/contrasts"])
def test_pages_fit_a_phone(site: Path, page: Any, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site / f"{name}.html").as_uri())
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, wide
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(site: Path, page: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    for name in ("index", "glossary", "lesions", "api/contrasts"):
        page.goto((site / f"{name}.html").as_uri())
        page.locator("article").wait_for()
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
        told = [
            (each["id"], each["nodes"][0]["html"][:120]) for each in found.response["violations"]
        ]
        assert told == [], (name, scheme)

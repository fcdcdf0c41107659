"""What the site is made of besides the pages in docs/: notebooks, and a reference of public names.

Pages are written so that their links lead somewhere in the repository; here they lead to the site.
"""

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ROOMS = ("lensloc", "contrasts", "tasks", "lape", "alignment", "plot")
ABOUT = {
    "lensloc": "`import lensloc as ll`: everything that a study uses.",
    "contrasts": "`ll.contrasts`: the bundled contrasts, and the published ones.",
    "tasks": "`ll.tasks`: what a model is scored on, lesioned or not.",
    "lape": "`ll.lape`: language neurons, recorded, identified, switched off, driven.",
    "alignment": "`ll.alignment`: responses of brains, and reading times.",
    "plot": "`ll.plot`: figures of what studies return.",
}
# Beside docs/ in the repository -> in the site, or where the repository is shown.
_NOTEBOOKS = re.compile(r"\]\(\.\./notebooks/([^)]+)\)")
_ELSEWHERE = re.compile(r"\]\(\.\./((?!notebooks/)[^)]+)\)")
_TO_PAGES = re.compile(r'href="\.\./docs/([^"#]+)\.md')
_TO_FILES = re.compile(r'href="\.\./((?:README|stimuli|tests|CHANGELOG)[^"]*)"')
# What docstrings write for Sphinx.
_ROLE = re.compile(r":(?:func|class|meth|attr|data|mod|exc):`~?([\w.]+)`")
# What the parser of docstrings calls so; its code is shown as code.
_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_LITERAL = re.compile(r"``([^`\n]+)``")


def public_names(room: str) -> list[str]:
    """Return the public names of a room, as its stub lists them, without other rooms."""
    folder = ROOT / "lensloc" if room == "lensloc" else ROOT / "lensloc" / room
    stub = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    return [name for name in ast.literal_eval(listed) if name not in ROOMS]


def reference(room: str) -> str:
    """Return the page of a room: every public name of it."""
    module = "lensloc" if room == "lensloc" else f"lensloc.{room}"
    names = sorted(public_names(room), key=lambda name: (name[0].isupper(), name.lower()))
    parts = [f"# {module}", ABOUT[room], *(f"::: {module}.{name}" for name in names)]
    return "\n\n".join(parts) + "\n"


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks and their figures, and a page of reference a room."""
    for path in sorted((ROOT / "notebooks").iterdir()):
        if path.suffix in (".ipynb", ".png"):
            place = f"notebooks/{path.name}"
            files.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
    for room in ROOMS:
        files.append(File.generated(config, f"api/{room}.md", content=reference(room)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ lead to the site's own pages, or to the repository."""
    markdown = _NOTEBOOKS.sub(r"](notebooks/\1)", markdown)
    return _ELSEWHERE.sub(rf"]({config.extra['repository']}/blob/main/\1)", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a keyboard reach tables that scroll, and notebooks' links lead to the site's pages."""
    if page.file.src_uri.startswith("notebooks/"):
        html = _TO_PAGES.sub(r'href="../\1.html', html)
        html = _TO_FILES.sub(rf'href="{config.extra["repository"]}/blob/main/\1"', html)
    return html.replace("<table>", '<table tabindex="0">')


class Roles(Extension):
    """Turns roles in docstrings (``:func:`lensloc.localize```) into links to the reference."""

    def __init__(self) -> None:
        self._public = {
            f"lensloc.{name}" if room == "lensloc" else f"lensloc.{room}.{name}"
            for room in ROOMS
            for name in public_names(room)
        }

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            text = _ROLE.sub(self._link, text)
            obj.docstring.value = _LITERAL.sub(r"`\1`", text)

    def _link(self, role: re.Match[str]) -> str:
        name = role[1]
        shown = re.sub(r"^lensloc\.", "ll.", name) if name in self._public else name
        return f"[`{shown}`][{name}]" if name in self._public else f"`{shown}`"

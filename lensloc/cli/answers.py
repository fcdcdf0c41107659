"""Questions and error messages, as the page of the documentation has them: ``lensloc faq``."""

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from lensloc.cli.output import print_json, tell
from lensloc.errors import LensLocError

_HEADING = re.compile(r"^### (?P<title>.+?)(?: \{ #(?P<anchor>[\w-]+) \})?$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]*)\]\(([^)#:\s]+\.md)[^)]*\)")
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Entry:
    """A question, or a message, and what there is to say.

    Attributes:
        word: what it is called: the page's anchor.
        title: the question, or the words of the message in quotation marks.
        text: what there is to say, in Markdown.
    """

    word: str
    title: str
    text: str

    @property
    def phrases(self) -> list[str]:
        """The words by which a message is known; none for a question."""
        return _QUOTED.findall(self.title) if self.title.startswith('"') else []

    @property
    def plain(self) -> str:
        """The text as a terminal shows it."""
        return _LINK.sub(r"\1 (docs/\2)", self.text).replace("`", "").replace("**", "")


def entries() -> list[Entry]:
    """Read the page, in a checkout or in an installed package."""
    package = Path(str(resources.files("lensloc")))
    installed = package / "bundled_docs" / "faq.md"
    page = installed if installed.is_file() else package.parent / "docs" / "faq.md"
    text = page.read_text(encoding="utf-8")
    found = list(_HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [
        Entry(
            match["anchor"] or re.sub(r"[^\w]+", "-", match["title"].lower()).strip("-"),
            match["title"],
            text[match.end() : end].partition("\n## ")[0].strip(),
        )
        for match, end in zip(found, ends, strict=True)
    ]


def told_more(message: str) -> str | None:
    """Return the word under which there is more about a message, if there is."""
    try:
        known = entries()
    except OSError:  # a copy without its documentation
        return None
    return next((e.word for e in known if any(phrase in message for phrase in e.phrases)), None)


def faq_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="A word of the list, words that an answer holds, or a message."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say more about a question or an error message; without words, list them."""
    known = entries()
    asked = " ".join(words or ())
    chosen = known if not asked else _chosen(known, asked)
    if as_json:
        print_json(
            {"entries": [{"word": e.word, "title": e.title, "text": e.text} for e in chosen]}
        )
    elif not asked:
        width = max(len(entry.word) for entry in known)
        for entry in known:
            tell(f"{entry.word:<{width}}  {entry.title}")
    else:
        tell("\n\n".join(f"{entry.title}\n{entry.plain}" for entry in chosen))


def _chosen(known: list[Entry], asked: str) -> list[Entry]:
    """Return the entry of that word, or of that message, or those that hold all the words."""
    found = [entry for entry in known if entry.word == asked]
    found = found or [e for e in known if any(phrase in asked for phrase in e.phrases)]
    words = asked.lower().split()
    found = found or [
        e for e in known if all(word in f"{e.word} {e.title} {e.text}".lower() for word in words)
    ]
    if not found:
        raise LensLocError(
            f"No answer holds {asked!r}; lensloc faq, without words, lists what there is."
        )
    return found

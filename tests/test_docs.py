"""README and docs say what is so: commands parse, names exist, links lead somewhere."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer.main
from documents import blocks, command_lines

import lensloc as ll
from lensloc.cli import app
from lensloc.cli.networks import refuse_control_units

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parse(arguments: list[str]) -> None:
    """Let the command line read its arguments, and run nothing."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        if name not in command.commands and "run" in command.commands:  # sweep PLAN
            name, arguments = "run", [name, *arguments]
        assert name in command.commands, name
        command = command.commands[name]
    command.make_context(command.name, arguments)


@pytest.fixture(params=PAGES, ids=lambda page: str(page.name))
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_commands_parse(page: Path) -> None:
    for arguments in command_lines(page):
        parse(arguments)


def test_control_is_of_conditions(page: Path) -> None:
    """Kinds of control units under that name parse, and are refused when they are read."""
    for arguments in command_lines(page):
        after = [
            arguments[place + 1] for place, word in enumerate(arguments) if word == "--control"
        ]
        refuse_control_units(after)


def test_an_option_that_does_not_exist_is_told() -> None:
    parse(["localize", "--percentage", "1"])
    with pytest.raises(Exception, match="--percent-of"):
        parse(["localize", "--percent-of", "1"])
    with pytest.raises(Exception, match="valid number"):
        parse(["localize", "--percentage", "one"])


def test_there_are_commands_to_check() -> None:
    assert len([line for page in PAGES for line in command_lines(page)]) > 20


def test_inline_commands_and_their_options_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    known = set(group.commands)
    for name in re.findall(r"`lensloc ([a-z]+)", page.read_text()):
        assert name in known
    options = {
        option
        for command in _commands(group)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help"}
    for option in re.findall(r"`(--[a-z-]+)", page.read_text()):
        assert option in options, option


def test_python_compiles_and_names_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
    for name in re.findall(r"\bll\.([A-Za-z_][\w.]*\w)", page.read_text()):
        found = ll
        for part in name.split("."):
            assert hasattr(found, part), f"ll.{name}"
            found = getattr(found, part)


@pytest.mark.parametrize("name", ["results", "extending"])
def test_code_of_a_page_runs(
    name: str, tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block after another, with a tiny model in place of the bundled one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ll, "load_model", lambda *_: tiny_llama)
    known = dict(ll.SITES)
    scope: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LensLocWarning)
        for block in blocks(ROOT / "docs" / f"{name}.md", "python"):
            exec(compile(block, f"{name}.md", "exec"), scope)
    for added in ll.SITES.keys() - known.keys():
        del ll.SITES[added]


def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def _commands(group: Any) -> list[Any]:
    found: list[Any] = []
    for command in group.commands.values():
        found += _commands(command) if hasattr(command, "commands") else [command]
    return found


def test_headings_of_error_messages_are_words_of_the_code() -> None:
    page = (ROOT / "docs" / "faq.md").read_text()
    _, messages = page.split("## Error messages")
    code = "".join(path.read_text() for path in (ROOT / "lensloc").rglob("*.py"))
    code = re.sub(r'"\s*f?"', "", code)  # strings that are written over several lines
    headings = re.findall(r"^### (.*) \{ #([\w-]+) \}$", messages, flags=re.MULTILINE)
    assert len(headings) == messages.count("\n### ") >= 15
    for heading, _ in headings:
        for quoted in re.findall(r'"([^"]*)"', heading):
            assert quoted in code, quoted


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150

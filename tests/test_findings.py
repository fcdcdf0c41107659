"""The figures of the docs are printed by a command; here it runs, on a tiny model and few texts."""

import re
from pathlib import Path
from typing import Any

import pytest
from benchmarks import findings
from stories import natural_stories

import lensloc as ll

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def given(
    tiny_llama: Any,
    checkpoints: dict[str, Path],
    one_thread: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> findings.Material:
    untrained = ll.load_model(checkpoints["llama"], untrained=True, progress=False)
    texts = ll.contrasts.language().conditions["sentences"]
    told = {n: " ".join(texts[5 * n : 5 * n + 5]) for n in range(1, 4)}
    stories = natural_stories(tmp_path_factory.mktemp("data") / "stories", told)
    return findings.Material(tiny_llama, untrained, few=8, items=1, stories=stories)


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
@pytest.mark.parametrize("name", list(findings.SECTIONS))
def test_every_section_prints_tables_that_name_their_protocol(
    name: str, given: findings.Material, capsys: pytest.CaptureFixture[str]
) -> None:
    findings.SECTIONS[name](given)
    printed = capsys.readouterr().out
    titles = re.findall(r"^\*\*.*\*\*.*$", printed, flags=re.M)
    assert titles
    assert all("(protocol: " in title for title in titles)
    tables = re.findall(r"(?:^\|.*\n)+", printed, flags=re.M)
    assert len(tables) == len(titles)
    for table in tables:
        head, rule, *rows = table.strip().split("\n")
        assert rows
        assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}
    if name in ("published", "profile"):
        assert "alkhamissi2024" in printed
        assert "lensloc" in printed


def test_every_table_of_the_page_says_which_command_prints_it() -> None:
    page = (DOCS / "findings.md").read_text()
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        commands = re.findall(r"`python tests/benchmarks/(\w+)\.py(?: (\w+))?`", section)
        assert commands, section.split("\n")[0]
        for script, part in commands:
            assert (Path(__file__).parent / "benchmarks" / f"{script}.py").is_file()
            if script == "findings":
                assert part in findings.SECTIONS, part

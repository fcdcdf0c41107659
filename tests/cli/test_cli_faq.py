"""``lensloc faq``, and the messages that name it."""

from pathlib import Path

import pytest
from commands import run, run_json

from lensloc.cli.answers import entries, told_more

PAGE = Path(__file__).parents[2] / "docs" / "faq.md"


def test_every_entry_of_the_page_is_there_with_a_word_of_its_own() -> None:
    known = entries()
    assert [entry.title for entry in known] == [
        line[4:].partition(" {")[0] for line in PAGE.read_text().splitlines() if line[:4] == "### "
    ]
    assert len({entry.word for entry in known}) == len(known)
    assert all(entry.text and "## " not in entry.text for entry in known)
    for entry in known:
        for phrase in entry.phrases:  # a message leads to its own entry
            assert told_more(f"Something {phrase} something.") == entry.word
    assert told_more("All is well.") is None


def test_words_and_messages_find_their_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("faq") == 0
    assert "conditions" in capfd.readouterr().out
    for asked in (["conditions"], ["'x'", "is not among the conditions", "of it"]):
        assert run("faq", *asked) == 0
        shown = capfd.readouterr().out
        assert "name conditions, as the column condition" in shown
        assert "exit status" not in shown
    found = run_json(capfd, "faq", "gpu")["entries"]
    assert "do-i-need-a-gpu-or-a-model-hub" in [entry["word"] for entry in found]
    assert run("faq", "xyzzy") == 2
    assert "No answer holds 'xyzzy'" in capfd.readouterr().err


def test_a_message_names_its_entry(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("text,condition\nhot tea,hot\niced tea,cold\n")
    assert run("stimuli", "check", file, "--target", "warm", "--control", "cold") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "is not among the conditions" in line
    assert line.endswith(" (more: lensloc faq conditions).")

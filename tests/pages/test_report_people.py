"""Pages on people: alone, and as sections of a study's page."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from people import encoding, reading
from report_pages import text_of

import lensloc as ll
from lensloc import LensLocError
from lensloc.pages.report.methods import references
from lensloc.pages.report.people import people_methods


def ids(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def test_a_page_of_its_own(tmp_path: Path) -> None:
    found = encoding()
    page = ll.report(found, tmp_path / "brains.html").read_text()
    assert ids(page) == [
        "summary", "warnings", "brains", "methods", "provenance", "downloads",
    ]  # fmt: skip
    words = html.unescape(text_of(page))
    for sentence in (*found.summary(), *found.warnings):
        assert sentence in words
    assert "<b>sums</b>" not in page.split("<main")[1].split("<script")[0]
    assert page.count('id="figure-brains"') == 1
    for cited in ("Feghhi, E.", "Dupré la Tour, T.", "Phipson, B.", "Speer, R."):
        assert cited in words
    assert "http" not in re.sub(r"https?://(doi|github)\S+", "", words)
    again = ll.report(reading(), tmp_path / "reading.html").read_text()
    assert ids(again)[-4:] == ["reading-times", "methods", "provenance", "downloads"]
    for sentence in reading().summary():
        assert sentence in html.unescape(text_of(again))
    with pytest.raises(LensLocError, match="lists no units"):
        ll.report(found, tmp_path / "top.html", top=3)
    with pytest.raises(LensLocError, match="people is for the page of a study"):
        ll.report(found, tmp_path / "two.html", people=reading())


def test_a_shuffled_split_is_marked_on_the_page(tmp_path: Path) -> None:
    page = ll.report(encoding("shuffled"), tmp_path / "s.html").read_text()
    words = html.unescape(text_of(page))
    assert "SHUFFLED" in words
    assert "shuffled" in words.split("Reading")[0]
    assert "no score here is evidence of language" in words


def test_sections_of_a_study(tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path) -> None:
    found = ll.localize(tiny_llama, small_contrast, progress=False)
    people = [encoding(), reading(), encoding("shuffled")]
    page = ll.report(found, tmp_path / "p.html", percent=10, people=people).read_text()
    assert [each for each in ids(page) if each.startswith(("brains", "reading"))] == [
        "brains", "reading-times", "brains-2",
    ]  # fmt: skip
    words = html.unescape(text_of(page))
    assert "no score here is evidence of language" in words
    for each in people:
        assert people_methods(each) in words
    names = re.findall(r'<a download="([^"]+)"', page)
    assert len(names) == len(set(names)) == 2 + 3 + 3 + 3
    one = ll.report(found, tmp_path / "one.html", percent=10, people=people[1]).read_text()
    assert "brains" not in ids(one)


def test_methods_cite_what_they_name() -> None:
    for found in (encoding(), reading()):
        text = people_methods(found)
        assert "nan" not in text
        for authors, year in re.findall(r"([A-Z][\w ]+?(?: et al\.| and \w+)) (\d{4})", text):
            assert any(
                authors.split(" and ")[0].split(" et al")[0].split()[-1] in full and year in full
                for full in references(text)
            ), (authors, year)

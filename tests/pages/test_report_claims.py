"""Pages on specificity and on analysts' choices: alone, and as sections of a study's page."""

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from people import encoding
from report_pages import tables_of, text_of
from specification_table import GRIDS, specifications

import lensloc as ll
from lensloc import LensLocError
from lensloc.pages.report.parts import part_of

pytestmark = pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")


def ids(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


@pytest.fixture(scope="module")
def specific(tiny_llama: Any, tmp_path_factory: pytest.TempPathFactory) -> ll.Specificity:
    """Two networks and three tasks, of which one has no room to fall."""
    folder = tmp_path_factory.mktemp("tasks")
    tasks = []
    for name in ("one", "two", "three"):
        path = folder / f"{name}.csv"
        rows = [(f"the old {name} {w} bridge", f"bridge {w} {name} old") for w in "abcdefgh"]
        if name == "three":  # half of them the wrong way round
            rows = [*rows, *(pair[::-1] for pair in rows)]
        pd.DataFrame(rows, columns=["sentence_good", "sentence_bad"]).to_csv(path, index=False)
        tasks.append(ll.tasks.minimal_pairs(path, name=f"<b>{name}"))
    found = ll.localize(
        tiny_llama,
        ll.Contrast.from_texts(
            {"x": ["the old gardener", "a b", "the sun"], "y": ["vash mopi", "q r s", "trine"]},
            target="x", control="y",
        ),
        progress=False,
    )["resid_post"]  # fmt: skip
    return ll.specificity(
        tiny_llama,
        {"a": found.top(k=6), "b": found.bottom(k=6)},
        tasks,
        ll.controls([None, "layer"], seeds=[0, 1, 2]),
        {"a": ["<b>one"], "b": ["<b>two"]},
        room={"<b>one": 0.5, "<b>two": 0.5},
        answered=None,
        progress=False,
    )


def test_a_page_of_specificity(specific: ll.Specificity, tmp_path: Path) -> None:
    page = ll.report(specific, tmp_path / "s.html").read_text()
    assert ids(page) == [
        "summary", "warnings", "specificity", "methods", "provenance", "downloads",
    ]  # fmt: skip
    words = text_of(page)
    for sentence in (*specific.summary(), *specific.warnings):
        assert sentence in words
    assert page.count('class="canvas scrolls"') == len(specific.found) == 2
    assert "<b>one" not in page.split("<main")[1].split("<script")[0]
    assert "nan" not in words.lower().split()
    for value in specific.indices["difference"]:
        assert f"{value + 0.0:.2f}".replace("-0.00", "0.00") in words
    tables = tables_of(page)
    model = specific.study.table["model"].iloc[0]
    assert list(tables) == [f"{model}-{each}.csv" for each in ("specificity", "indices", "room")]
    np.testing.assert_allclose(
        pd.to_numeric(tables[f"{model}-specificity.csv"]["difference"]).dropna(),
        specific.table["difference"].dropna(),
    )
    with pytest.raises(LensLocError, match="top has no effect here"):
        ll.report(specific, tmp_path / "t.html", top=3)


def test_a_page_of_choices(tmp_path: Path) -> None:
    left = pd.DataFrame(
        [{"kind": "cannot be made", "n": 12, "choices": {"mode": "write"}, "reason": "<i>no</i>"}]
    )
    known = specifications(GRIDS[12], tasks=("pairs", "<b>sums"))
    found = ll.Multiverse(known.table, left, 24, planned_draws=20)
    page = ll.report(found, tmp_path / "m.html").read_text()
    assert ids(page)[-4:] == ["choices", "methods", "provenance", "downloads"]
    words = text_of(page)
    for sentence in (*found.summary(), *found.warnings):
        assert sentence in words
    assert page.count('class="canvas scrolls"') == 2
    shown = page.split("<main")[1].split("<script")[0]
    assert "<b>sums" not in shown
    assert "<i>no" not in shown
    assert "cannot be made: <i>no</i>" in words
    for row in found.by_value().itertuples():
        assert f"{row.holds} of {row.specifications}" in words
    assert "Simonsohn, U." in words
    tables = tables_of(page)
    assert len(tables["multiverse-choices.csv"]) == 24
    assert list(tables["multiverse-choices-left-out.csv"]["choices"]) == ["mode write"]
    alone = ll.report(
        specifications({"percent": (1.0,)}, effects={("percent", 1.0): 0.2}), tmp_path / "one.html"
    )
    assert "choices" in ids(alone.read_text())


def test_sections_of_a_study(
    tiny_llama: Any, small_contrast: ll.Contrast, specific: ll.Specificity, tmp_path: Path
) -> None:
    study = ll.localize(tiny_llama, small_contrast, progress=False)
    several = specifications(GRIDS[12])
    page = ll.report(
        study, tmp_path / "p.html", percent=10, people=encoding(), specificity=specific,
        multiverse=several,
    ).read_text()  # fmt: skip
    found = [each for each in ids(page) if each in ("specificity", "choices", "brains")]
    assert found == ["specificity", "choices", "brains"]
    words = html.unescape(text_of(page))
    for each in (specific, several, encoding()):
        assert part_of(each).methods in words
    names = re.findall(r'<a download="([^"]+)"', page)
    assert len(names) == len(set(names)) == 2 + 3 + 3 + 3
    for name, value in (("specificity", specific), ("multiverse", several)):
        with pytest.raises(LensLocError, match=f"{name} is for the page of a study"):
            ll.report(encoding(), tmp_path / "e.html", **{name: value})

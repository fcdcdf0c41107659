"""What notebooks show of results."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import Markup, escape
from plotted import lesions, mask_of, selectivity

from lensloc import Contrast, localize, response_profile, study
from lensloc.display.markup import (
    bars,
    captioned,
    card,
    facts,
    heatmap,
    intervals,
    notes,
    paragraphs,
    shortened,
    stacked,
    table,
)
from lensloc.pages.report import pieces

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


class Balanced(HTMLParser):
    """Checks that every element is closed, and collects tags and attributes."""

    VOID = ("img", "br", "rect", "path", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def safe(page: str) -> str:
    """Check that a page is well formed, runs nothing and loads nothing."""
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert not parser.tags & {"script", "style", "img", "link", "iframe"}
    assert not any(name.startswith("on") for name in parser.attributes)
    assert not parser.attributes & {"src", "href"}
    return page


@pytest.fixture(scope="module")
def evil_contrast() -> Contrast:
    return Contrast.from_texts(
        {EVIL: [EVIL, "vash mopi trine", "the sun", "a"], "c & d": ["all", "b", "c", "d"]},
        target=EVIL,
        control="c & d",
        name=EVIL,
    )


def test_every_noun_shows_itself_and_escapes_texts(
    tiny_llama: Any, evil_contrast: Contrast
) -> None:
    found = localize(tiny_llama, evil_contrast, ["resid_post", "head"], progress=False)
    network = found["resid_post"].top(k=4)
    profile = response_profile(tiny_llama, network, evil_contrast, progress=False)
    nouns = {
        "contrast": evil_contrast,
        "localization": found,
        "selectivity": found["resid_post"],
        "mask": network,
        "profile": profile,
        "study": study(tiny_llama, evil_contrast, percent=5, progress=False),
    }
    pages = {name: safe(noun._repr_html_()) for name, noun in nouns.items()}
    for name, page in pages.items():
        assert "<svg" in page, name
        assert "<table" in page, name
        assert len(page) < 60_000, name
        assert "<script>alert" not in page
    for name in ("contrast", "localization", "selectivity", "mask"):
        assert "&lt;script&gt;alert(2)&lt;/script&gt;" in pages[name], name
    assert "4 of 3 x 32 (4.17 %)" in pages["mask"]
    assert f"{found['resid_post'].t.max():.1f}" in pages["selectivity"]


def test_contrasts_show_every_condition_and_role(small_contrast: Contrast) -> None:
    page = safe(small_contrast._repr_html_())
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[:3] == ["sentences", "target", "5"]
    assert cells[6:9] == ["nonwords", "control", "4"]
    assert float(cells[3]) == pytest.approx(sum([6, 7, 3, 9, 1]) / 5)


def test_lesion_studies_show_drops_beside_controls() -> None:
    found = lesions()
    page = safe(found._repr_html_())
    row = found.comparisons.iloc[0]
    assert row["kind"] in page
    assert f"{row['network_drop']:.4g}" in page
    assert "<svg" in page


def test_tables_say_how_many_rows_they_leave_out() -> None:
    rows = [{"n": number, "share": 0.5, "gap": float("nan")} for number in range(25)]
    page = safe(table(rows, most=20))
    assert page.count("<tr>") == 22
    assert "and 5 more rows" in page
    assert ">–<" in page
    assert "more rows" not in table(rows[:20])
    assert "(no rows)" in table([])


def test_values_are_escaped_once() -> None:
    for made in (paragraphs(["<b>"]), notes(["<b>"]), captioned(Markup("<hr>"), "<b>")):
        assert made.count("&lt;b&gt;") == stacked([made]).count("&lt;b&gt;") == 1
        assert "<b>" not in made
    assert card("<b>", facts({"<i>": '"x"'})).count("&lt;") == 2
    assert shortened("a  b\nc", 10) == "a b c"
    assert shortened("a long text", 6) == "a lon…"


def test_thumbnails_draw_what_they_are_given() -> None:
    picture = safe(heatmap([[0.0, 1.0], [-2.0, float("nan")]], label="<t>", cell=(10, 5)))
    assert 'M0 0h10v5h-10z" fill="#0072b2" fill-opacity="1.00"' in picture  # lowest, second row
    assert 'M10 5h10v5h-10z" fill="#d55e00" fill-opacity="0.55"' in picture
    assert picture.count("<path") == 2
    assert 'aria-label="&lt;t&gt;"' in picture
    assert bars([0, 5, 10], label="b", height=60).count("M") == 2
    assert "v-30.0" in bars([0, 5, 10], label="b", height=60)
    marks = intervals([(0, 1, 2), (float("nan"),) * 3], label="i")
    assert marks.count("<circle") == 1
    assert heatmap([], label="none")
    assert mask_of((2, 4))._repr_html_()
    assert selectivity()._repr_html_()


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("\u0627\u0644\u0639\u0631\u0628\u064a\u0629", " (+0.26)"),  # Arabic
        ("\u05e2\u05d1\u05e8\u05d9\u05ea", " (-0.14, n = 20)"),  # Hebrew
        ("\u0646\u0635 \u0637\u0648\u064a\u0644", " > b"),  # two words
    ],
)
def test_names_from_right_to_left_leave_numbers_as_they_are(name: str, after: str) -> None:
    """A browser would put the sign of the number that follows behind it, and turn > round."""
    sentence = f"From most to least: {name}{after} & the lesion."
    shown = f"<bdi>{name}</bdi>{escape(after)} &amp; the "
    for found in (pieces.explained([sentence]), pieces.bullets([sentence]), pieces.prose(sentence)):
        assert shown in found
        assert found.count("<bdi>") == 1
    assert "<dfn" in pieces.explained([sentence])
    assert "<bdi>" not in pieces.explained(["\u4e2d\u6587 (+0.26), \U0001f600 and \u0434\u0430"])
    assert pieces.bullets([Markup("<b>b</b>")]).count("<b>b</b>") == 1

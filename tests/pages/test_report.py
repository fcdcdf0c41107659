"""The page: every number from the result, every text escaped, bad news in words."""

import base64
import csv
import dataclasses
import html
import io
import json
import re
from inspect import unwrap
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from report_pages import lesioned, tables_of, text_of

import lensloc as ll
from lensloc import Contrast, LensLocError, LensLocWarning, Localization, Study, localize
from lensloc.display.sentences.profiles import Sides
from lensloc.pages.report import page as page_module
from lensloc.pages.report import report, strongest, summary, verdict_of
from lensloc.pages.report.files import csv_of
from lensloc.pages.report.methods import lesion_methods, methods, references
from lensloc.pages.report.words import lesion_summary
from lensloc.results.lesions import LesionStudy
from lensloc.selectivity import Reliability

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def contrast() -> Contrast:
    return Contrast.from_texts(
        {
            "<b>a</b>": ["the old sun", "vash mopi", SCRIPT, "the bridge", "all"],
            "c": ["all", "village bridge", "=2+3", "before the sun", "plant"],
        },
        target="<b>a</b>",
        control="c",
        name=SCRIPT,
    )


@pytest.fixture(scope="module")
def found(tiny_llama: Any, contrast: Contrast) -> Localization:
    return localize(
        tiny_llama, contrast, ["resid_post", "head"], keep_responses=True, progress=False
    )


@pytest.fixture(scope="module")
def study(tiny_llama: Any, small_contrast: Contrast) -> Study:
    return ll.study(
        tiny_llama,
        small_contrast,
        ["resid_post", "mlp_post"],
        percent=10,
        tasks=[ll.tasks.minimal_pairs(limit=1)],
        controls=ll.controls("layer", seeds=range(2)),
        progress=False,
    )


def data_of(page: str, name: str) -> Any:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert match is not None
    return json.loads(match[1])


# -- pages -----------------------------------------------------------------------------------------


def test_page_holds_facts_and_escapes_texts(found: Localization, tmp_path: Path) -> None:
    page = report(found, tmp_path / "page.html", percent=5).read_text()
    assert SCRIPT not in page
    assert "<b>a</b>" not in page
    assert html.escape(SCRIPT) in page
    assert "&lt;b&gt;a&lt;/b&gt; &gt; c" in page
    made = found["resid_post"].provenance
    text = text_of(page)
    for fact in (made.weights_hash, made.contrast_hash, made.check, made.date, made.torch):
        assert fact in text
    for address in found["resid_post"].top(percent=5).addresses:
        assert address in text
    # One page, plotly.js once, nothing to load.
    assert page.count('id="lensloc-plotly"') == 1
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    assert '<html lang="en">' in page
    assert page.count("<h1>") == page.count("<main ") == 1


def test_figures_hold_both_themes_and_one_template(found: Localization, tmp_path: Path) -> None:
    page = report(found, tmp_path / "page.html", percent=5).read_text()
    data = data_of(page, "lensloc-figures")
    assert [figure["id"] for figure in data["figures"]] == [
        "figure-units-0", "figure-units-1",
    ]  # fmt: skip
    assert set(data["templates"]) == {"light", "dark"}
    for figure in data["figures"]:
        assert "template" not in figure["layout"]
        changes = {tuple(path): (light, dark) for path, light, dark in figure["themes"]}
        assert changes["layout", "paper_bgcolor"] == ("#ffffff", "#14161a")
        assert figure["layout"]["paper_bgcolor"] == "#ffffff"


def test_a_site_can_be_chosen(found: Localization, tmp_path: Path) -> None:
    page = report(found, tmp_path / "page.html", percent=10, site="head").read_text()
    assert "1 of 12 units at head was selected" in text_of(page)


def test_what_an_untrained_model_gives_stands_beside(
    tiny_llama: Any,
    checkpoints: dict[str, Path],
    found: Localization,
    small_contrast: Contrast,
    tmp_path: Path,
) -> None:
    twin = ll.load_model(checkpoints["llama"], untrained=True, seed=3, progress=False)
    contrast, sites = found.contrast, list(found)
    base = localize(twin, contrast, sites, progress=False)
    path = tmp_path / "page.html"
    page = report(found, path, percent=5, untrained=base).read_text()
    text = " ".join(text_of(page).split())
    assert "Untrained baseline" in text
    for each in (found, base):
        shown = each["resid_post"]
        d = float(shown.d[shown.top(percent=5).mask].mean())
        assert f"{float(shown.t.max()):.1f}" in text
        assert f"{d:.2f}" in text
    refused: list[tuple[Any, str]] = [
        (found, "was localized in the trained model"),
        (localize(twin, contrast, ["mlp_post"], progress=False), "was not localized at"),
        (localize(twin, contrast, sites, absolute=False, progress=False), "in another way"),
        (localize(twin, small_contrast, sites, progress=False), "has other stimuli"),
    ]
    for other, message in refused:
        with pytest.raises(LensLocError, match=message):
            report(found, path, percent=5, untrained=other, overwrite=True)
    with pytest.raises(LensLocError, match="untrained is for the page of a study"):
        report(lesioned(0.4, 0.1, 0), tmp_path / "l.html", untrained=base)


def test_a_page_says_what_was_found_and_how_to_run_it_again(study: Study, tmp_path: Path) -> None:
    page = report(study, tmp_path / "page.html").read_text()
    verdict = re.search(r'id="verdict">([^<]*)</p>', page)
    assert verdict is not None
    assert html.unescape(verdict[1]) == verdict_of(study)
    text = text_of(page)
    made = study.network.provenance
    assert f"pip install lensloc=={made.lensloc}" in text
    assert f"torch=={made.torch.split('+')[0]}" in text
    assert study.call in text
    for name in ("Commit", "Quantisation", "Device", "Seeds", "Versions"):
        assert name in text
    assert study.lesions is not None
    paradigms = study.lesions.by_group()["group"].nunique()
    assert f"All {paradigms} paradigms and kinds of items" in text
    assert page.count("<dfn ") >= 2


def test_a_page_offers_its_tables(study: Study, tmp_path: Path) -> None:
    tables = tables_of(report(study, tmp_path / "page.html").read_text())
    assert set(tables) == {
        f"small-my-llama-{name}.csv"
        for name in ("units", "stimuli", "profile", "lesions", "comparisons")
    }
    units = tables["small-my-llama-units.csv"]
    expected = study.selectivity.to_dataframe(study.network)
    pd.testing.assert_frame_equal(units, expected, check_dtype=False)
    stimuli = tables["small-my-llama-stimuli.csv"]
    assert stimuli["text"].tolist() == [t for c in study.contrast.conditions.values() for t in c]
    assert study.lesions is not None
    lesioned = tables["small-my-llama-lesions.csv"]
    assert lesioned["drop"].tolist() == study.lesions.table["drop"].tolist()


def test_a_page_names_files_but_not_where_they_lay(
    tiny_llama: Any, small_contrast: Contrast, tmp_path: Path
) -> None:
    moved = dataclasses.replace(small_contrast, source=str(tmp_path / "private" / "mine.csv"))
    found = localize(tiny_llama, moved, progress=False)
    text = text_of(report(found, tmp_path / "page.html", percent=10).read_text())
    assert "Source: mine.csv." in text
    assert str(tmp_path) not in text


def test_the_page_of_lesions_alone(tmp_path: Path) -> None:
    page = report(lesioned(0.4, 0.1, -0.05), tmp_path / "lesions.html").read_text()
    assert "Lesions of language in tiny" in page
    assert 'id="lensloc-explorer-data"' not in page
    assert set(tables_of(page)) == {"tiny-lesions.csv", "tiny-comparisons.csv"}
    assert "0.100 [-0.050, 0.300]" in text_of(page)
    alone = LesionStudy(lesioned(0.4, 0.1, 0).table.iloc[:1], warnings=(f"{SCRIPT} idle.",))
    page = report(alone, tmp_path / "alone.html").read_text()
    assert f"{SCRIPT} idle." in text_of(page)
    assert "0.400 [0.300, 0.500]" in text_of(page)


def test_responses_take_what_room_there_is(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = report(study, tmp_path / "page.html")
    every = data_of(path.read_text(), "lensloc-explorer-data")
    assert all(site["responses"]["unit"] for site in every["sites"])
    limit = path.stat().st_size - 100
    monkeypatch.setattr(page_module, "_MOST_BYTES", limit)
    smaller = report(study, tmp_path / "smaller.html")
    assert smaller.stat().st_size <= limit
    monkeypatch.setattr(page_module, "_MOST_BYTES", 0)
    none = data_of(report(study, tmp_path / "none.html").read_text(), "lensloc-explorer-data")
    assert not any(site["responses"]["unit"] for site in none["sites"])


def test_a_network_of_less_than_one_unit_is_one_and_told(
    found: Localization, tmp_path: Path
) -> None:
    text = text_of(report(found, tmp_path / "page.html").read_text())
    assert "1 % of the 96 units at resid_post is less than one unit, so one is taken" in text
    assert "1 of 96 units at resid_post was selected" in text


def test_bad_input_is_refused(found: Localization, study: Study, tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match=r"page\.pdf must end in \.html"):
        report(study, tmp_path / "page.pdf")
    with pytest.raises(LensLocError, match="this study has its own"):
        report(study, tmp_path / "page.html", percent=2)
    with pytest.raises(LensLocError, match="'z' was not localized"):
        report(found, tmp_path / "page.html", site="z", percent=5)
    with pytest.raises(LensLocError, match="top=0"):
        report(study, tmp_path / "page.html", top=0)
    with pytest.raises(LensLocError, match="Contrast is none"):
        unwrap(report)(study.contrast, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


# -- words -----------------------------------------------------------------------------------------


def test_summary_is_made_from_the_figures(found: Localization) -> None:
    study = Study(found, "resid_post", 6.25)
    text = " ".join(summary(study))
    selectivity, network = study.selectivity, study.network
    t = selectivity.t[network.mask]
    assert "6 of 96 units" in text
    assert f"{t.min():.1f} to {t.max():.1f}" in text
    layer = int(network.per_layer().argmax())
    assert f"are {layer} ({int(network.per_layer()[layer])})" in text
    assert "No lesion was made" in text


def with_statistics(study: Study, **values: Any) -> Study:
    changed = dataclasses.replace(study.selectivity, **values)
    found = dataclasses.replace(
        study.found, selectivity={**study.found.selectivity, study.site: changed}
    )
    return dataclasses.replace(study, found=found, profile=None)


def test_good_and_bad_news_depend_on_the_numbers(study: Study) -> None:
    q = study.selectivity.q
    nothing = with_statistics(study, q=torch.ones_like(q))
    assert "localizes nothing that chance would not" in summary(nothing)[0]
    assert any("may be noise" in sentence for sentence in nothing.warnings)
    broad = with_statistics(study, q=torch.zeros_like(q))
    assert "extremes of a broad difference" in summary(broad)[0]
    assert not any("may be noise" in sentence for sentence in broad.warnings)
    narrow = with_statistics(study, q=(~study.network.mask).double())
    assert "All of them differ" in summary(narrow)[0]
    one = q * 0 + 1
    one[tuple(study.network.mask.nonzero()[0])] = 0
    assert "Only 1 of them" in summary(with_statistics(study, q=one))[0]
    negative = with_statistics(study, t=-study.selectivity.t.abs() - 1)
    assert "only 0 respond more" in summary(negative)[0]


def test_outliers_are_told(study: Study) -> None:
    usual = torch.ones_like(study.selectivity.magnitude)
    assert not any("outliers" in s for s in with_statistics(study, magnitude=usual).warnings)
    large = usual + 10 * study.network.mask
    told = [s for s in with_statistics(study, magnitude=large).warnings if "outliers" in s]
    assert told[0].startswith("9 of the top 9 units at resid_post (100 %) are outliers")


@pytest.mark.parametrize(
    ("t", "dice", "words", "warned"),
    [
        (0.95, 0.8, "share 80 % of the units", False),
        (0.9, 0.3, "share only 30 %", True),
        (0.1, 0.15, "hardly more than chance (15 %, chance 10 %)", True),
    ],
)
def test_reliability_is_judged(
    study: Study, t: float, dice: float, words: str, warned: bool
) -> None:
    found = Reliability(t, t, t, dice, 0.1, 1.25, 10)
    changed = dataclasses.replace(study, reliability=found)
    assert words in summary(changed)[1]
    assert "d = 1.25 on the other" in summary(changed)[1]
    assert any("agree little" in s for s in changed.warnings) == warned


def with_sides(study: Study, difference: float, low: float, high: float, **means: float) -> Study:
    profile = study.profile
    assert profile is not None
    sides = Sides(study.contrast.target, study.contrast.control, difference / 2, -difference / 2,
                  difference, low, high)  # fmt: skip
    table = profile.table
    if means:
        table = table.assign(standardised=[means[name] for name in table["condition"]])
    return dataclasses.replace(
        study, profile=dataclasses.replace(profile, table=table, sides=sides)
    )


def test_profiles_are_judged_by_the_sides_and_their_interval(study: Study) -> None:
    for changed, words in (
        (with_sides(study, 0.75, 0.65, 0.86), "respond more to the target (sentences) than"),
        (with_sides(study, -0.75, -0.86, -0.65), "respond less to the target (sentences) than"),
        (with_sides(study, 0.75, -0.1, 1.6), "are not told apart by their interval"),
        (with_sides(study, 0.75, float("nan"), 1.0), "there is no interval for the difference"),
    ):
        text = summary(changed)[1]
        assert words in text
        assert "On stimuli that did not select them, " in text
        assert "nan" not in text
    assert (
        "+0.38 against -0.38, a difference of 0.75 [0.65, 0.86]"
        in summary(with_sides(study, 0.75, 0.65, 0.86))[1]
    )


def test_lesions_are_judged_beside_their_controls() -> None:
    clear = " ".join(lesion_summary(lesioned(0.4, 0.1, 0.05)))
    assert "does harm: accuracy on pairs goes from 0.90 to 0.50 (chance 0.50)" in clear
    assert "a drop of 0.40 [0.30, 0.50] (share of items; n = 50)" in clear
    assert "more than as many control units cost: random units of the same magnitude" in clear
    assert clear.endswith("In brackets: 95 % intervals.")
    assert not lesioned(0.4, 0.1, 0.05).warnings
    equal = lesioned(0.4, 0.1, -0.05)
    assert "As many control units are not told apart from it" in " ".join(lesion_summary(equal))
    assert "may not be due to selectivity" in equal.warnings[0]
    slight = " ".join(lesion_summary(lesioned(0.05, 0.1, -0.05)))
    assert "By its interval, the lesion of the language network" in slight
    assert "makes no clear difference" in slight
    better = " ".join(lesion_summary(lesioned(-0.4, 0.1, -0.5)))
    assert "improves the score" in better
    assert "a rise of 0.40 [0.30, 0.50]" in better
    table = lesioned(0.3, 0.2, 0.0).table.assign(
        measure="perplexity", task="perplexity", intact=10.0, score=13.5
    )
    worse = lesion_summary(LesionStudy(table))[0]
    assert "does harm: perplexity goes from 10 to 13.5" in worse
    assert "a rise of the log perplexity of 0.30 [0.10, 0.50] (nats per token; n = 50)" in worse
    idle = lesioned(0.0, 0.0, 0.0, effect=False)
    assert "took no effect" in lesion_summary(idle)[0]
    alone = LesionStudy(lesioned(0.4, 0.1, 0).table.iloc[:1])
    assert "no controls beside them" in alone.warnings[0]


def test_a_network_that_improves_less_than_its_control_is_not_said_to_cost_more() -> None:
    table = lesioned(-0.05, 0.03, 0.05).table
    table.loc[1, ["drop", "difference", "difference_high"]] = [-0.20, 0.15, 0.25]
    found = lesion_summary(LesionStudy(table))
    assert "improves the score" in found[0]
    assert found[1].startswith("On pairs, the model does better under lesions of as many control")
    assert not any("more than" in sentence or "cost" in sentence for sentence in found)


def test_every_network_has_its_sentences_whatever_its_size() -> None:
    first = lesioned(0.4, 0.1, 0.05).table
    second = first.assign(network="sums", percent=0.3)
    third = first.assign(network="its outliers", percent=[5.0, 5.0])
    third = pd.concat([third, third.assign(percent=2.0)], ignore_index=True)
    study = LesionStudy(pd.concat([first, second, third], ignore_index=True))
    found = lesion_summary(study, percent=1.0)
    for name in ("the language network (9 units, 1 %", "the sums network (9 units, 0.3 %",
                 "its outliers (9 units, 2 %"):  # fmt: skip
        assert any(name in sentence for sentence in found), name
    assert len([sentence for sentence in found if "does harm" in sentence]) == 3


def test_draws_without_a_number_make_no_comparison() -> None:
    table = lesioned(0.4, 0.1, 0.66).table
    draw = table.iloc[[1]].assign(seed=1)
    one = pd.concat([table, draw.assign(drop=float("nan"))], ignore_index=True)
    every = one.assign(drop=one["drop"].where(one["kind"] == "network"))
    for broken, words in ((one, "1 of 2 draws without a number"), (every, "gave no number")):
        study = LesionStudy(broken)
        found = " ".join(lesion_summary(study))
        assert words in found
        assert "more than" not in found
        assert "nan" not in found
        assert any("not compared with them" in sentence for sentence in study.warnings)


def test_stimuli_that_are_no_fair_test_are_told(found: Localization, tiny_llama: Any) -> None:
    texts = Contrast.from_texts(
        {"long": ["the old gardener watered every plant", "nobody in the village remembered it"],
         "short": ["all", "all"]}, target="long", control="short",
    )  # fmt: skip
    unequal = localize(tiny_llama, texts, progress=False)
    told = Study(unequal, "resid_post", 5, texts.balance(tiny_llama)).warnings
    assert any("tokens per text" in sentence for sentence in told)
    assert any("in words per text" in sentence for sentence in told)
    assert any("The contrast holds 1 text more than once" in sentence for sentence in told)
    assert len([s for s in told if "tokens" in s]) == 1


# -- methods ---------------------------------------------------------------------------------------


def test_methods_say_what_was_run_and_cite_it(study: Study) -> None:
    text = methods(study)
    made = study.network.provenance
    facts = [
        *(made.model, made.torch.split("+")[0], "5 texts (sentences; target)", "9 units"),
        *("at the last token", "Welch's t-test (Welch 1947)", "10 random splits"),
        *("random units of the same layers (2 draws)", "minimal-pairs (accuracy, 61"),
    ]
    for fact in facts:
        assert fact in text
    cited = references(text)
    assert cited == sorted(cited)
    assert [each.split(",")[0] for each in cited] == [
        "AlKhamissi", "Benjamini", "Brown", "Cohen", "Efron", "Nanda", "Phipson", "Spearman", "Sun",
        "Welch",
    ]  # fmt: skip
    assert "none of which lie on the network's dimensions of the residual stream" in text
    assert "set to zero" in text
    assert "for comparison" in text  # other ways of switching off


def test_methods_follow_the_procedure(
    tiny_llama: Any, small_contrast: Contrast, study: Study
) -> None:
    even = small_contrast.keep({"sentences": [0, 1, 2, 3], "nonwords": [0, 1, 2, 3]})
    paired = localize(
        tiny_llama, even, test="paired", pooling="mean", absolute=False, max_tokens=5,
        progress=False,
    )  # fmt: skip
    text = methods(Study(paired, "resid_post", 5))
    assert "paired t-test" in text
    assert "as its mean over all tokens" in text
    assert "cut off after 5 tokens" in text
    assert "compared activations" in text
    assert not any("Welch" in each or "Spearman" in each for each in references(text))
    excluded = study.selectivity.excluding(study.selectivity.top(k=3))
    without = dataclasses.replace(study.found, selectivity={"resid_post": excluded})
    assert "3 units were excluded" in methods(Study(without, "resid_post", 5))
    assert "Controls have" not in lesion_methods(LesionStudy(lesioned(0.4, 0.1, 0).table.iloc[:1]))


# -- tables ----------------------------------------------------------------------------------------


def test_texts_are_no_formulas_and_numbers_stay_numbers() -> None:
    table = pd.DataFrame(
        {
            "text": ["=1+1", "+a", "-b", "@c", 'plain, with "quotes"', "two\nlines"],
            "t": [-1.5, 2.0, float("nan"), 1e-300, 3.0, 4.0],
            "seed": pd.array([0, None, 1, 2, 3, 4], dtype="Int64"),
        }
    )
    rows = list(csv.reader(io.StringIO(csv_of(table))))
    assert [row[0] for row in rows[1:]] == [
        "'=1+1", "'+a", "'-b", "'@c", 'plain, with "quotes"', "two\nlines",
    ]  # fmt: skip
    assert [row[1] for row in rows[1:]] == ["-1.5", "2.0", "", "1e-300", "3.0", "4.0"]
    assert [row[2] for row in rows[1:]] == ["0", "", "1", "2", "3", "4"]


def test_strongest_units_come_first(study: Study) -> None:
    table = strongest(study, study.network, 3)
    assert len(table) == 3
    assert float(table["t"].iloc[0]) == pytest.approx(study.selectivity.t.max().item(), abs=0.05)


# -- studies ---------------------------------------------------------------------------------------


def test_a_study_holds_what_its_parts_give(
    tiny_llama: Any, small_contrast: Contrast, study: Study
) -> None:
    apart = localize(tiny_llama, small_contrast, ["resid_post", "mlp_post"], progress=False)
    torch.testing.assert_close(study.selectivity.t, apart["resid_post"].t)
    assert study.network == apart["resid_post"].top(percent=10)
    profile = ll.response_profile(tiny_llama, study.network, small_contrast, progress=False)
    assert study.profile is not None
    pd.testing.assert_frame_equal(study.profile.table, profile.table)
    assert study.reliability is not None
    assert study.reliability.n_splits == 10
    assert study.lesions is not None
    assert set(study.lesions.table["percent"]) == {10.0}
    assert set(study.found.responses) == {"resid_post", "mlp_post"}
    assert "lesions" in repr(study)


def test_a_study_profiles_conditions_without_a_role_too(tiny_llama: Any) -> None:
    contrast = Contrast.from_texts(
        {
            "other": ["plant", "stone bridge"],
            "a": ["the old sun", "vash mopi", "the bridge", "all"],
            "b": ["village", "plus", "before the sun", "strane"],
        },
        target="a",
        control="b",
    )
    made = ll.study(tiny_llama, contrast, percent=10, progress=False)
    profile = ll.response_profile(tiny_llama, made.network, contrast, progress=False)
    assert made.profile is not None
    assert made.profile.table["condition"].tolist() == ["other", "a", "b"]
    pd.testing.assert_frame_equal(made.profile.table, profile.table, rtol=1e-5)


def test_a_study_of_a_site_too_small_takes_one_unit_and_says_so(
    tiny_llama: Any, small_contrast: Contrast, tmp_path: Path
) -> None:
    made = ll.study(
        tiny_llama, small_contrast, ["head", "resid_post"], percent=5, n_splits=2, progress=False
    )
    assert len(made.network) == 1
    note = "5 % of the 12 units at head is less than one unit, so one is taken"
    assert [w for w in made.warnings if "less than one unit" in w] == [
        f"{note}; ask for a larger percentage."
    ]
    assert text_of(report(made, tmp_path / "page.html").read_text()).count(note) == 1
    bottom = localize(tiny_llama, small_contrast, ["head"], progress=False)
    with pytest.warns(LensLocWarning, match="at head is less than one unit"):
        assert len(bottom.bottom(percent=1)) == 1


def test_a_study_of_few_texts_says_what_it_lacks(tiny_llama: Any, tmp_path: Path) -> None:
    contrast = Contrast.from_texts(
        {"a": ["the old sun", "vash"], "b": ["village", "all"]}, target="a", control="b"
    )
    made = ll.study(tiny_llama, contrast, percent=10, progress=False)
    assert made.profile is None
    assert made.reliability is None
    assert len([w for w in made.warnings if "was not measured" in w]) == 2
    page = report(made, tmp_path / "page.html").read_text()
    assert "The response profile was not measured" in page
    assert "figure-profile" not in page


def test_a_study_tells_of_shared_texts_and_refuses_early(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    pairs = ll.tasks.minimal_pairs(limit=1)
    texts = [pair.good for pair in pairs.pairs[:6]]
    shared = Contrast.from_texts(
        {"a": texts, "b": ["all", "sun", "up", "it"]}, target="a", control="b"
    )
    made = ll.study(tiny_llama, shared, percent=10, tasks=[pairs], progress=False)
    assert any(w.startswith("6 texts of the task minimal-pairs") for w in made.warnings)
    for options, message in (
        ({"percent": 0}, "above 0 and at most 100"),
        ({"percent": 10, "percents": [101], "tasks": [pairs]}, "above 0 and at most 100"),
        ({"n_splits": -1}, "n_splits is at least 0"),
        ({"sites": []}, "No site was named"),
    ):
        with pytest.raises(LensLocError, match=message):
            ll.study(tiny_llama, small_contrast, progress=False, **options)


@pytest.mark.pretrained
def test_the_report_of_the_bundled_model_is_small(pretrained: Any, tmp_path: Path) -> None:
    sites = ["resid_post", "attn_out", "mlp_out", "mlp_post"]
    contrast = ll.contrasts.language()
    sides = [*contrast.target, *contrast.control]
    few = {name: contrast.conditions[name][:8] for name in sides}
    found = localize(
        pretrained,
        dataclasses.replace(contrast, conditions=few, items=None),
        sites,
        keep_responses=True,
        progress=False,
    )
    # As many stimuli as the whole contrast has, which is what takes the room.
    whole = dataclasses.replace(
        contrast, conditions={n: texts * 30 for n, texts in few.items()}, items=None
    )
    order = torch.tensor([side + row % 8 for side in (0, 8) for row in range(240)])
    responses = {
        site: dataclasses.replace(each, values=each.values[order], conditions=whole.labels)
        for site, each in found.responses.items()
    }
    path = report(
        dataclasses.replace(found, contrast=whole, responses=responses), tmp_path / "r.html"
    )
    assert 3_000_000 < path.stat().st_size < 6_000_000
    data = data_of(path.read_text(), "lensloc-explorer-data")
    for site in data["sites"]:  # what is selected at first can be looked at
        kept = len(base64.b64decode(site["responses"]["unit"])) // 4
        assert kept >= int(0.01 * site["layers"] * site["units"])


def test_the_report_says_what_the_model_is_and_what_made_it(study: Study, tmp_path: Path) -> None:
    known = {
        "about": "SmolLM2-135M-Instruct, 4-bit (Q4_1) weights dequantised to float32",
        "quantization": "Q4_1, dequantised to float32", "dtype": "float32", "device": "cuda:0",
        "transformers": "5.9.0", "numpy": "2.3.1", "python": "3.11.7", "seeds": ("weights 7",),
    }  # fmt: skip
    made = study.selectivity.provenance.replace(**known)
    changed = with_statistics(study, provenance=made)
    text = methods(changed)
    assert known["about"] in text
    assert "raw weights" not in text
    assert "transformers 5.9.0, PyTorch" in text
    assert "NumPy 2.3.1 and Python 3.11.7 on a device of kind cuda" in text
    page = text_of(report(changed, tmp_path / "p.html").read_text())
    for fact in (*known.values(), changed.call):
        for each in (fact,) if isinstance(fact, str) else fact:
            if each != known["quantization"]:  # which the full name says
                assert each in page, each
    assert "weights 7, halves and intervals 0" in page
    other = with_statistics(study, provenance=made.replace(about=""))
    assert "weights stored as Q4_1, dequantised to float32" in methods(other)
    assert "float32 weights, neither folded nor centred" in methods(study)
    assert study.lesions is not None
    assert study.lesions.call in text_of(report(study.lesions, tmp_path / "l.html").read_text())

"""The whole table of cases: no verdict without an interval, none beside the wrong control."""

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from markupsafe import escape
from sentence_table import (
    CONTROLS,
    MATCHES,
    MEASURES,
    SECTIONS,
    change,
    every_agreement,
    every_change,
    every_claim,
    every_index,
    every_lesion,
    every_profile,
    every_selection,
    every_together,
    every_verdict,
    page,
)

import lensloc as ll
from lensloc import Contrast, LensLocWarning, UnitMask, localize
from lensloc.display.sentences import (
    control_draws,
    dissociations,
    lesions,
    profiles,
    selection,
    specifications,
    verdicts,
)
from lensloc.display.sentences.lesions import CONTROL, LESION, NOTE, OUTCOMES, RELATIONS
from lensloc.display.sentences.words import interval, known, number, percentage
from lensloc.errors import noted
from lensloc.results.lesions import LesionStudy, tabulate
from lensloc.results.matrices import Answers, Steering
from lensloc.studies import profile_of
from lensloc.studies.stimulus_warnings import map_warnings

FINE = ("a good match", "different by design", "magnitudes not known", "5 draws, stopped",
        "not drawn")  # fmt: skip
DOCS = Path(__file__).parents[2] / "docs"
HARM = re.compile(r"\b(does harm|costs?|greater harm|due to selectivity)\b")
IMPROVEMENT = re.compile(r"\bimproves?\b")
NO_NUMBER = re.compile(r"\b(nan|NaN|inf)\b|\[\s*\]|  |\{|\}")


def excludes_zero(found: lesions.Change, *, above: bool) -> bool:
    low, high = found.low, found.high
    if found.n_items < 2 or not known(found.drop, low, high):
        return False
    return found.drop > 0 and low > 0 if above else found.drop < 0 and high < 0


def test_every_case_has_its_words() -> None:
    assert set(LESION) == set(OUTCOMES) == set(CONTROL)
    for outcome in ("harm", "improvement", "unclear", "no interval"):
        assert set(CONTROL[outcome]) == set(RELATIONS)  # type: ignore[index]
    assert set(NOTE) == set(RELATIONS) - {"less", "few draws"}
    reached = {found.outcome for _, found in every_change()}
    assert reached == set(OUTCOMES)
    assert {c.relation for c in CONTROLS.values() if c is not None} == set(RELATIONS)
    assert {sides.direction for _, sides, *_ in every_profile()} == set(profiles.DIRECTIONS)
    assert {found.evidence for _, found in every_selection()} == set(selection.EVIDENCE)
    assert {found.agreement for _, found in every_agreement()} == set(selection.AGREEMENT)


def test_no_verdict_without_an_interval_that_excludes_zero() -> None:
    n = 0
    for words, found, control in every_lesion():
        beside = [] if control is None else [control]
        said = lesions.lesion_sentences(found, beside)
        minded = lesions.lesion_notes([(found, beside)])
        for sentence in (*said, *minded):
            if HARM.search(sentence):
                assert excludes_zero(found, above=True), (words, sentence)
                assert found.took_effect
            if IMPROVEMENT.search(sentence):
                assert excludes_zero(found, above=False), (words, sentence)
                assert found.took_effect
            n += 1
        # And where there is one, the verdict is passed.
        if found.took_effect and excludes_zero(found, above=True):
            assert "does harm" in said[0], words
        if found.took_effect and excludes_zero(found, above=False):
            assert "improves the score" in said[0], words
    assert n > 3000


def test_a_verdict_is_no_more_than_every_control_of_every_harmed_task_bears_out() -> None:
    reached = set()
    for words, significant, halves, cases in every_verdict():
        said = verdicts.verdict("resid_post", "hot", "cold", significant, halves, cases)
        reached.add(verdicts.outcome_of(cases))
        assert said.count(".") == 1, words
        assert said.endswith(".")
        assert not NO_NUMBER.search(said), words
        harmed = [beside for found, beside in cases if excludes_zero(found, above=True)]
        above = bool(harmed) and all(
            beside and all(control.relation == "less" for control in beside) for beside in harmed
        )
        assert ("do more harm than" in said) == above, words
        assert ("do harm" in said or "do more harm" in said) == bool(harmed), words
        for found, _ in cases:
            if found.outcome in ("no number", "no item", "no effect"):
                assert found.task not in said, words
        assert said.startswith("At resid_post, none of the selected") == (significant == 0), words
    assert reached == set(verdicts.VERDICT)


def test_nothing_is_more_than_a_control_that_is_alike_or_above() -> None:
    for words, found, control in every_lesion():
        beside = [] if control is None else [control]
        said = " ".join(lesions.lesion_sentences(found, beside))
        compared = control is not None and control.relation == "less"
        if "more than" in said:
            assert compared, words
            assert found.outcome == "harm", words
        elif found.outcome == "harm":
            assert not compared, words
        for verdict, relation in (("does better under", "less"), ("does worse under", "more")):
            if verdict in said:
                assert control is not None
                assert control.relation == relation, words
        if "cost more" in said:
            assert control is not None
            assert control.relation == "more", words
        if control is not None and (control.missing or control.idle or control.test == "none"):
            assert not re.search(r"more than|cost|does better|does worse|told apart", said), words


def test_a_claim_over_specifications_follows_its_counts() -> None:
    reached = set()
    for words, found in every_claim():
        said = " ".join(specifications.claim_sentences(found))
        reached.add(found.extent)
        assert not NO_NUMBER.search(said), (words, said)
        assert (
            "holds in" in said or "in the reference specification it holds" in said.lower()
        ) == (found.concluded > 0), words
        assert ("by the test over draws" in said) == (found.draws >= 19 and found.concluded > 0)
        assert (f"holds in {found.holds} of" in said) == (found.extent == "some"), words
        if found.extent == "nothing concluded":
            assert "In none" in said
            assert not re.search(r"holds|told apart|cost more", said), words
        minded = specifications.few_draws(found.draws, found.level)
        assert bool(minded) == (0 < found.draws < 19)
    assert reached == set(specifications.EXTENTS)
    told = [specifications.verdict_of(c, 0.4) for c in CONTROLS.values() if c is not None]
    assert set(told) == {"holds", "not told apart", "reversed", "open"}
    below = CONTROLS["below"]
    assert below is not None
    assert specifications.verdict_of(below, -0.1) == "no harm"
    assert specifications.verdict_of(below, 0.4, took_effect=False) == "open"
    assert specifications.verdict_of(below, float("nan")) == "open"


def test_a_dissociation_is_said_only_where_index_and_test_agree() -> None:
    relations, verdicts = set(), set()
    for words, index in every_index():
        said = dissociations.specific_sentence(index)
        relations.add(index.relation)
        tested = index.low > 0 if index.by_interval else index.p <= index.level
        more = index.draws > 2 and known(index.low, index.high) and tested
        assert ("is specific:" in said) == more, words
        assert not NO_NUMBER.search(said), (words, said)
        assert ("p 0." in said or "p 1." in said) == (
            index.relation in ("more", "less", "alike") and not index.by_interval
        ), words
    for words, together in every_together():
        verdicts.add(together.verdict)
        said = " ".join(dissociations.together_sentences(together))
        every = all(relation == "more" for relation in together.relations.values())
        double = every and together.crossed and len(together.relations) > 1
        assert ("is a double dissociation" in said) == double, words
        assert not NO_NUMBER.search(said), (words, said)
    assert relations == set(dissociations.SPECIFIC)
    assert verdicts == set(dissociations.VERDICTS)


def test_networks_tasks_units_and_directions_are_named() -> None:
    for words, found, control in every_lesion():
        said = lesions.lesion_sentences(found, [] if control is None else [control])
        assert "the language network (172 units, 1 %, set to zero)" in said[0], words
        assert found.task in said[0] or found.measure in said[0], words
        if re.search(r"a (rise|drop|change)", said[0]):
            unit = {"accuracy": "share of items", "perplexity": "nats per token",
                    "bits per byte": "bits per byte", "fluency": "nats per token"}  # fmt: skip
            assert unit[found.measure] in said[0], words
            assert f"n = {found.n_items}" in said[0], words
            worse = "rise" if found.measure in ("perplexity", "bits per byte") else "drop"
            better = "drop" if worse == "rise" else "rise"
            noun = worse if found.drop > 0 else better if found.drop < 0 else "change"
            assert f"a {noun} of" in said[0], words
        shown = CONTROL[found.outcome]
        if control is not None and shown:
            assert control.control in " ".join(said[1:]), words


def test_controls_that_use_the_networks_dimensions_are_said_not_to_be_independent() -> None:
    case = change("worse", "excludes zero", 200)
    for name in ("alike", "above", "below"):
        control = CONTROLS[name]
        assert control is not None
        for shared, told in ((46.0, True), (0.0, False), (float("nan"), False)):
            control = dataclasses.replace(control, shared=shared)
            (*_, note) = lesions.lesion_notes([(case, [control])]) or [""]
            words = "use 46 of the network's own dimensions"
            assert (words in note) == (told and name != "below")


def test_words_follow_the_test_over_draws() -> None:
    case = change("worse", "excludes zero", 200)
    verdict = {}
    for name, control in CONTROLS.items():
        if control is None:
            continue
        said = " ".join(lesions.lesion_sentences(case, [control])[1:])
        verdict[name] = "more than as many" in said
        assert ("nothing can be concluded" in said) == (name in ("2 draws", "1 draw")), name
        assert ("by the interval alone" in said) == ("5 draws" in name), name
        if control.test == "draws" and not (control.missing or control.idle):
            assert re.search(r"20 draws|5 draws", said), name
            assert re.search(r", p [01]\.\d{3}", said), name
            assert verdict[name] == (control.p_more <= 0.05), name
    assert {name for name, told in verdict.items() if told} == {
        "below", "below by the draws, not by the interval", "below, on a part of the items",
        "below, 5 draws", "one set, below",
    }  # fmt: skip


def test_poor_matches_and_few_draws_are_told_once() -> None:
    for name, found in MATCHES.items():
        said = control_draws.draw_notes(found)
        assert len(said) == (name not in FINE), (name, said)
        for sentence in said:
            assert not NO_NUMBER.search(sentence), sentence
    (said,) = control_draws.draw_notes(MATCHES["larger units, at two sizes"])
    assert "at 1 % larger units (standardised difference +0.60) and at 2 % larger" in said
    (said,) = control_draws.draw_notes(MATCHES["smaller units and few outliers"])
    assert "0 outliers where the network has 38" in said


def test_intervals_stand_the_way_round_that_the_words_have() -> None:
    for measure in MEASURES:
        for direction in ("worse", "better"):
            said = lesions.lesion_sentences(change(direction, "excludes zero", 200, measure))[0]
            assert " of 0.40 [0.30, 0.50] (" in said
            said = lesions.lesion_sentences(change(direction, "holds zero", 200, measure))[0]
            assert " of 0.40 [-0.05, 0.85] (" in said


def test_no_sentence_holds_what_is_no_number() -> None:
    sentences = [s for spoken in SECTIONS.values() for found in spoken() for s in found.sentences]
    sentences += [
        sentence
        for _, found, control in every_lesion()
        for sentence in lesions.lesion_sentences(found, [] if control is None else [control])
    ]
    for sentence in sentences:
        assert not NO_NUMBER.search(sentence), sentence
        assert sentence[0].isupper() or sentence[0].isdigit(), sentence
        assert sentence.endswith((".", ".)")), sentence


def test_profiles_are_told_by_the_difference_of_the_sides() -> None:
    for words, sides, means, held_out, signed in every_profile():
        said = profiles.profile_sentences(sides, means, held_out=held_out, signed=signed)
        clear = known(sides.low, sides.high) and (sides.low > 0 or sides.high < 0)
        assert ("respond more" in said[0]) == (clear and sides.difference > 0), words
        assert ("respond less" in said[0]) == (clear and sides.difference < 0), words
        assert said[0].startswith("On stimuli that did not select them") == held_out, words
        assert ("signed" in said[0]) == (signed and sides.direction != "no number"), words
        crossing = [s for s in said if s.startswith("Single conditions cross")]
        assert bool(crossing) == (len(means) == 4 and known(*means.values())), words
        for name in (*sides.target, *sides.control):
            assert name in said[0]


def test_a_size_that_is_not_known_and_a_perplexity_beyond_floats_are_told() -> None:
    row = {"model": "tiny", "network": "language", "mode": "zero", "percent": 1.0,
           "task": "perplexity", "measure": "perplexity", "n_items": 20, "score": np.inf,
           "intact": 9.0, "took_effect": True, "drop": 900.0, "drop_low": 800.0,
           "drop_high": 950.0, "kind": "network"}  # fmt: skip
    (said,) = LesionStudy(tabulate([row])).summary()
    assert said.startswith("The lesion of the language network (1 %, set to zero) does harm")
    assert "from 9 to a number too large to write, a rise of the log perplexity of 900.00" in said


def test_the_table_stands_in_the_docs() -> None:
    assert (DOCS / "sentences.md").read_text(encoding="utf-8") == page(), (
        "docs/sentences.md is not what the table says; run "
        "`python tests/support/sentence_table.py > docs/sentences.md`"
    )


def test_numbers_are_written_to_be_read() -> None:
    assert [percentage(s) for s in (0.384, 0.031, 0.0042, 0, 1, float("nan"))] == [
        "38 %", "3.1 %", "0.42 %", "0 %", "100 %", "an unknown share",
    ]  # fmt: skip
    assert number(-0.001) == "0.00"
    assert number(-0.001, sign=True) == "+0.00"
    assert interval(1.0, float("nan")) == ""


# -- one channel for bad news ----------------------------------------------------------------------


def texts(n: int, seed: int, words: str) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(words.split(), 6)) for _ in range(n)]


ENGLISH = "the old gardener watered every plant before sun came up nobody village bridge built"
NOTHING = {"a": texts(12, 0, ENGLISH), "b": texts(12, 1, ENGLISH)}


@pytest.mark.parametrize(
    ("sides", "told"),
    [
        ((["tea", "sun"], ["ice", "bridge"]), "3 or fewer per side cannot tell"),
        ((texts(4, 0, ENGLISH), texts(8, 1, ENGLISH)), "4 different texts and the control 8"),
        ((texts(12, 0, ENGLISH), texts(3, 1, ENGLISH)), "the control 3 different texts"),
        ((["tea"] * 12, texts(12, 1, ENGLISH)), "The target has 1 different text"),
        ((texts(12, 0, ENGLISH), texts(12, 0, ENGLISH)), "hold the same texts"),
        ((["hot tea", *texts(12, 0, ENGLISH)], ["hot tea", *texts(12, 1, ENGLISH)]),
         "1 text of 13 (target) and 13 (control) stands on both sides, e.g. 'hot tea'"),
        ((NOTHING["a"], NOTHING["b"]), "No unit at resid_post"),
        ((["a"] * 2 + texts(12, 0, ENGLISH), NOTHING["b"]), "holds 1 text more than once"),
    ],
)  # fmt: skip
def test_localize_says_when_nothing_can_be_localized(
    tiny_llama: Any, sides: tuple[list[str], list[str]], told: str
) -> None:
    contrast = Contrast.from_texts({"a": sides[0], "b": sides[1]}, target="a", control="b")
    found = localize(tiny_llama, contrast, progress=False)
    (sentence,) = [sentence for sentence in found.warnings if told in sentence]
    selectivity = found["resid_post"]
    assert sentence in selectivity.warnings
    noise = bool((selectivity.q >= 0.05).all())
    with pytest.warns(LensLocWarning) if noise else contextlib.nullcontext():
        network = selectivity.top(k=5)
    assert sentence in network.warnings
    for shown in (found, selectivity, network):
        assert f"Warning: {sentence}" in repr(shown)
        assert "What to mind" in shown._repr_html_()


def test_the_top_of_a_map_of_noise_warns_and_the_set_keeps_it(
    tiny_llama: Any, tmp_path: Path
) -> None:
    contrast = Contrast.from_texts(NOTHING, target="a", control="b")
    found = localize(tiny_llama, contrast, progress=False)
    for choose in (found.top, found.bottom):
        with pytest.warns(LensLocWarning, match="the largest of what may be noise"):
            mask = choose(percent=10)
        assert any("may be noise" in sentence for sentence in mask.warnings)
    loaded = UnitMask.load(mask.save(tmp_path / "m.safetensors"))
    assert loaded.warnings == mask.warnings
    assert any("may be noise" in sentence for sentence in (loaded | found.top(k=1)).warnings)
    # A map with effects says nothing of the kind, whatever the size.
    real = ll.Selectivity(**{
        **{name: getattr(found["resid_post"], name) for name in (
            "site", "t", "df", "p", "d", "g", "mean_target", "mean_control", "kurtosis",
        )},
        "q": torch.zeros_like(found["resid_post"].q),
        "magnitude": torch.ones_like(found["resid_post"].q),
    })  # fmt: skip
    assert real.top(k=5).warnings == ()


def test_constant_units_and_a_preference_for_the_control_are_told(tiny_llama: Any) -> None:
    values = torch.randn(40, 2, 10, generator=torch.Generator().manual_seed(0))
    values[:20] -= 10
    values[:, 0, :3] = 2.0
    labels = ("a",) * 20 + ("b",) * 20
    found = ll.welch(ll.Responses("head", values, labels), ("a",), ("b",), absolute=False)
    assert map_warnings(found) == (
        "3 units of 20 at head give the same response to all texts (t = 0).",
        "No unit at head prefers a to b at a false discovery rate of 5 %, and 17 prefer b: nothing "
        "was localized for a.",
    )


def test_every_result_shows_its_warnings(tiny_llama: Any, small_contrast: Contrast) -> None:
    study = ll.study(
        tiny_llama, small_contrast, percent=10, tasks=[ll.tasks.minimal_pairs(limit=1)],
        progress=False,
    )  # fmt: skip
    assert study.lesions is not None
    assert study.profile is not None
    matrix = ll.lape.perplexity(
        tiny_llama,
        {"en": UnitMask.from_addresses(["L1.mlp_post.3"], (3, 48))},
        {"en": ["the old gardener watered", "nobody remembered the village"]},
        progress=False,
    )
    results = {
        "study": study, "localization": study.found, "map": study.selectivity,
        "mask": study.network, "profile": study.profile, "lesions": study.lesions,
        "matrix": matrix,
    }  # fmt: skip
    for name, result in results.items():
        assert result.warnings, name
        assert isinstance(result.warnings, tuple), name
        for sentence in result.warnings:
            assert f"\n  Warning: {sentence}" in repr(result), name
            assert escape(sentence) in result._repr_html_(), name
    for part in (study.found, study.network, study.profile, study.lesions):
        assert set(part.warnings) <= set(study.warnings)
    table = ll.compare_granularities(tiny_llama, small_contrast, ["resid_post"], 10, progress=False)
    assert any("may not hold on other texts" in sentence for sentence in table.attrs["warnings"])
    noise = Contrast.from_texts(NOTHING, target="a", control="b")
    checked = ll.confound_check(tiny_llama, noise, percent=10, progress=False)
    assert any("may be noise" in sentence for sentence in checked.attrs["warnings"])


def test_answers_and_steering_show_their_warnings() -> None:
    table = pd.DataFrame(columns=["lesioned", "asked", "toward", "n", "words", "language",
                                  "in_language", "stop_words", "fluency", "changed", "level",
                                  "deactivated", "kind", "in_toward", "in_asked", "switched",
                                  "distinct_2", "took_effect"])  # fmt: skip
    for made in (Answers(table, table, ("Idle <b>.",)), Steering(table, table, ("Idle <b>.",))):
        assert "\n  Warning: Idle <b>." in repr(made)
        assert "Idle &lt;b&gt;." in made._repr_html_()
    assert noted("A()", ()) == "A()"


def test_profiles_judge_what_selected(tiny_llama: Any) -> None:
    """4.1 and 4.2: conditions that cross deny no effect, and signed selections are judged so."""
    draw = np.random.default_rng(0)
    rows = 40
    means = {"hard a": 6.0, "hard b": 2.0, "easy a": 3.0, "easy b": -2.0}
    contrast = Contrast.from_texts(
        {name: [f"{name} {i}" for i in range(rows)] for name in means},
        target=["hard a", "hard b"],
        control=["easy a", "easy b"],
    )
    labels = tuple(name for name in means for _ in range(rows))
    for absolute in (True, False):
        shift = 0.0 if absolute else -20.0  # signed responses are all negative: sizes are reversed
        values = np.stack([draw.normal(means[name] + shift, 1.0, (2, 8)) for name in labels])
        values = values + 20.0 * absolute
        responses = ll.Responses("resid_post", torch.from_numpy(values), labels)
        found = ll.welch(responses, contrast.target, contrast.control, absolute=absolute)
        mask = found.top(k=4)
        profile = profile_of(responses, mask, contrast, cross_validate=True, n_resamples=500)
        said = profile.summary()
        assert "respond more to the target (hard a and hard b) than to the control" in said[0]
        assert ("signed" in said[0]) == (not absolute)
        assert said[1] == next(s for s in said if s.startswith("Single conditions cross: hard b"))
        assert profile.warnings == ()
        scores = profile.stimuli
        target = scores[scores["condition"].isin(contrast.target)]["standardised"]
        control = scores[scores["condition"].isin(contrast.control)]["standardised"]
        sides = profile.sides
        assert sides is not None
        assert sides.difference == pytest.approx(target.mean() - control.mean())
        error = np.sqrt(target.var() / len(target) + control.var() / len(control))
        assert sides.low == pytest.approx(sides.difference - 1.96 * error, abs=0.25 * error)
        assert sides.high == pytest.approx(sides.difference + 1.96 * error, abs=0.25 * error)


def test_the_call_that_made_a_result_is_kept(
    tiny_llama: Any, small_contrast: Contrast, tmp_path: Path
) -> None:
    study = ll.study(
        tiny_llama, small_contrast, ["resid_post", "head"], percent=10,
        tasks=[ll.tasks.minimal_pairs(limit=1)], controls=ll.controls("layer", seeds=range(2)),
        n_splits=2, store=ll.Store.at(tmp_path), progress=False,
    )  # fmt: skip
    for part in ("ll.study(ll.load_model('my-llama'), <contrast 'small', sentences > nonwords, 9 ",
                 "['resid_post', 'head'], percent=10", "tasks=[<task minimal-pairs, 61 pairs>]",
                 "controls=ll.controls(['layer'], seeds=range(0, 2))", "n_splits=2"):  # fmt: skip
        assert part in study.call, study.call
    for absent in ("store", "progress", "pooling", str(tmp_path)):
        assert absent not in study.call
    assert study.found.call.startswith("ll.localize(ll.load_model('my-llama'), <contrast 'small'")
    assert "keep_responses=True" in study.found.call
    assert study.lesions is not None
    assert "{'small': <map of 96 units at resid_post>}" in study.lesions.call
    bundled = localize(
        tiny_llama, ll.contrasts.theory_of_mind(), pooling="mean", truncate=True, progress=False
    )
    assert bundled.call == (
        "ll.localize(ll.load_model('my-llama'), ll.contrasts.get('theory-of-mind'), "
        "pooling='mean', truncate=True)"
    )

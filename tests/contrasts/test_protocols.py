"""Protocols: what each means for which contrast, what goes before it, and what is exact."""

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from commands import run, run_json
from published_stimuli import NONWORDS, SENTENCES, published_rows, tom_folder, trial

import lensloc as ll
from lensloc import Contrast, LensLocError, Protocol, contrasts, localize
from lensloc.contrasts.protocols import ALKHAMISSI2024, LENSLOC, PUBLISHED
from lensloc.pages.report.methods import differences, methods
from lensloc.studies import Study
from lensloc.studies.store import Store


@pytest.fixture(scope="module")
def sums() -> Contrast:
    return contrasts.multiple_demand(legacy=True)


def settings_of(found: ll.Localization) -> tuple[Any, ...]:
    made = next(iter(found.values())).provenance
    return made.protocol, made.pooling, made.max_tokens, made.absolute, made.test, made.site


def few(contrast: Contrast, n: int = 6) -> Contrast:
    return contrast.keep({name: range(n) for name in contrast.conditions})


def test_contrasts_with_a_published_localizer_carry_its_protocol(tmp_path: Path) -> None:
    rows = [trial(i, SENTENCES[i], "S") for i in range(6)]
    rows += [trial(i, NONWORDS[i], "N") for i in range(6)]
    published_rows(tmp_path / "language", "langloc_fmri_run1_stim_set1.csv", rows)
    folder = tom_folder(tmp_path / "tom")
    carried = [
        (contrasts.language(), PUBLISHED["language"]),
        (contrasts.language(tmp_path / "language"), PUBLISHED["language"]),
        (contrasts.theory_of_mind(), PUBLISHED["theory-of-mind"]),
        (contrasts.theory_of_mind(folder), PUBLISHED["theory-of-mind"]),
        (contrasts.multiple_demand(), PUBLISHED["multiple-demand"]),
        (contrasts.emotion(), None),
        (contrasts.formal(), None),
        (contrasts.languages(), None),
    ]
    for contrast, protocol in carried:
        assert contrast.protocol == protocol
    language = contrasts.language()
    for made in (
        language.split(0)[0],
        language.with_roles(target="sentences", control="word-lists"),
        few(language).matched(on="characters", tolerance=40),
    ):
        assert made.protocol == PUBLISHED["language"]


def test_a_protocol_is_that_of_a_contrast_and_not_of_a_name(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    named = Contrast.from_texts(
        small_contrast.conditions, target="sentences", control="nonwords", name="language"
    )
    assert named.protocol is None
    whole = localize(tiny_llama, small_contrast, progress=False)
    found = localize(tiny_llama, named, protocol="alkhamissi2024", progress=False)
    assert torch.equal(found["resid_post"].t, whole["resid_post"].t)
    assert settings_of(found) == (
        "alkhamissi2024", "last-token", None, True, "welch", "resid_post"
    )  # fmt: skip
    renamed = dataclasses.replace(few(contrasts.language()), name="mine")
    cut = localize(tiny_llama, renamed, protocol="alkhamissi2024", progress=False)
    by_hand = localize(tiny_llama, renamed, max_tokens=12, progress=False)
    assert torch.equal(cut["resid_post"].t, by_hand["resid_post"].t)
    assert settings_of(cut)[:3] == ("alkhamissi2024", "last-token", 12)


def test_theory_of_mind_and_multiple_demand_pool_all_tokens_as_published(
    tiny_llama: Any, sums: Contrast
) -> None:
    assert settings_of(localize(tiny_llama, few(sums), progress=False))[1] == "last-token"
    for contrast in (few(sums), few(contrasts.multiple_demand(), 2)):
        found = localize(tiny_llama, contrast, protocol="alkhamissi2024", progress=False)
        mean = localize(tiny_llama, contrast, pooling="mean", progress=False)
        assert torch.equal(found["resid_post"].t, mean["resid_post"].t)
        assert settings_of(found)[:3] == ("alkhamissi2024", "mean", None)
        last = localize(
            tiny_llama, contrast, protocol="alkhamissi2024", pooling="last-token", progress=False
        )
        assert settings_of(last)[1] == "last-token", "what is asked for goes before the protocol"
        assert not torch.equal(last["resid_post"].t, mean["resid_post"].t)


def test_a_protocol_of_ones_own(tiny_llama: Any, small_contrast: Contrast) -> None:
    mine = Protocol("mine", "mean", max_tokens=5, absolute=False, sites=("mlp_post", "head"))
    found = localize(tiny_llama, small_contrast, protocol=mine, progress=False)
    by_hand = localize(
        tiny_llama, small_contrast, ["mlp_post", "head"], pooling="mean", max_tokens=5,
        absolute=False, progress=False,
    )  # fmt: skip
    assert list(found) == ["mlp_post", "head"]
    for site in found:
        assert torch.equal(found[site].t, by_hand[site].t)
    assert settings_of(found) == ("mine", "mean", 5, False, "welch", "mlp_post")
    given = localize(
        tiny_llama, small_contrast, "head", protocol=mine, absolute=True, max_tokens=3,
        progress=False,
    )  # fmt: skip
    assert settings_of(given) == ("mine", "mean", 3, True, "welch", "head")
    carried = dataclasses.replace(small_contrast, protocol=mine)
    own = localize(tiny_llama, carried, protocol="mine", progress=False)
    assert torch.equal(own["head"].t, by_hand["head"].t)
    study = ll.study(tiny_llama, carried, percent=20, protocol="mine", progress=False)
    assert list(study.found) == ["mlp_post", "head"]
    torch.testing.assert_close(study.selectivity.t, by_hand["mlp_post"].t)
    cases: list[tuple[str, Any]] = [
        ("no test 'anova'", lambda: Protocol("x", test="anova")),
        ("0 keeps none", lambda: Protocol("x", max_tokens=0)),
        ("at least one site", lambda: Protocol("x", sites=())),
        ("no protocol 'mine'", lambda: localize(tiny_llama, small_contrast, protocol="mine")),
        ("no pooling 'first'", lambda: localize(
            tiny_llama, small_contrast, protocol=Protocol("x", "first"), progress=False)),
    ]  # fmt: skip
    for message, make in cases:
        with pytest.raises(LensLocError, match=message):
            make()
    for each in (mine, LENSLOC, PUBLISHED["language"], carried.protocol):
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each


def test_a_kept_result_goes_by_the_names_of_today(
    tiny_llama: Any, small_contrast: Contrast, tmp_path: Path
) -> None:
    store = Store.at(tmp_path)
    first = localize(tiny_llama, small_contrast, progress=False, store=store)
    renamed = dataclasses.replace(small_contrast, name="renamed")
    again = localize(tiny_llama, renamed, progress=False, store=store)
    assert again.from_store == ("resid_post",)
    assert again.top(k=1).provenance.contrast == "renamed"
    assert again.top(k=1).selected_on == first.top(k=1).selected_on
    assert len(again.top(k=1).selected_on) == len(small_contrast.texts)


def test_stimuli_cut_at_the_window_are_said_to_be_cut(tiny_llama: Any) -> None:
    long = Contrast.from_texts(
        {"a": ["word " * 100, "the sun"], "b": ["vash", "mopi"]}, target="a", control="b"
    )
    cut = localize(tiny_llama, long, truncate=True, progress=False)
    assert settings_of(cut)[2] == tiny_llama.cfg.n_ctx
    short = few(contrasts.multiple_demand(legacy=True), 3)
    assert settings_of(localize(tiny_llama, short, truncate=True, progress=False))[2] is None


# -- the command line ------------------------------------------------------------------------------


def test_the_command_line_pools_as_the_protocol_does(
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    command = ["localize", "--model-name", checkpoints["llama"], "--num-units", "5"]
    demand = (*command, "--network", "multiple-demand")
    assert run_json(capfd, *demand)["pooling"] == "last-token"
    published = run_json(capfd, *demand, "--protocol", "alkhamissi2024")
    assert (published["pooling"], published["protocol"]) == ("mean", "alkhamissi2024")
    told = run_json(capfd, *demand, "--protocol", "alkhamissi2024", "--pooling", "max")
    assert told["pooling"] == "max"
    table = pd.DataFrame(
        [{"text": text, "condition": name} for name, found in
         {"a": SENTENCES[:4], "b": NONWORDS[:4]}.items() for text in found]
    )  # fmt: skip
    table.to_csv("language.csv", index=False)
    mine = ("--contrast", "language.csv", "--target", "a", "--control", "b")
    whole = run_json(capfd, *command, *mine)
    named = run_json(capfd, *command, *mine, "--protocol", "alkhamissi2024")
    assert named["tokens"] == whole["tokens"]
    assert run(*command, "--pooling", "first") == 2
    assert "no pooling 'first'" in capfd.readouterr().err


# -- exactly as published --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact(tiny_llama: Any, sums: Contrast) -> Study:
    found = localize(tiny_llama, sums, protocol="alkhamissi2024", progress=False)
    return Study(found, "resid_post", 5)


def test_followed_exactly_is_said_only_when_everything_is(exact: Study) -> None:
    assert differences(exact) == []
    assert (
        "the functional localizer of AlKhamissi et al. (2024), which was followed exactly as "
        "published." in methods(exact)
    )


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "pooling": ({"pooling": "last-token"}, "taken at the last token, not as its mean over all"),
    "tokens": ({"max_tokens": 3}, "stimuli were cut off after 3 tokens, not whole"),
    "signed": ({"absolute": False}, "signed activations were compared, not absolute ones"),
    "paired": ({"test": "paired"}, "the test was a paired t-test, not Welch's t-test"),
    "site": ({"sites": ["mlp_post"]}, "units are those of mlp_post, not of resid_post"),
    "default": ({"protocol": "lensloc"}, "taken at the last token"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CHANGES))
def test_every_departure_is_told(tiny_llama: Any, sums: Contrast, name: str) -> None:
    options, words = CHANGES[name]
    options = {"protocol": "alkhamissi2024", "progress": False} | options
    found = localize(tiny_llama, sums, **options)
    text = methods(Study(found, next(iter(found)), 5))
    assert "exactly" not in text
    assert words in text
    assert "(2024), which was followed except that " in text


def test_other_stimuli_selections_and_weights_are_departures(
    tiny_llama: Any, exact: Study, sums: Contrast, small_contrast: Contrast, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"protocol": "alkhamissi2024", "progress": False}
    rows = [trial(i, SENTENCES[i], "S") for i in range(6)]
    rows += [trial(i, NONWORDS[i], "N") for i in range(6)]
    published_rows(tmp_path / "stimuli", "langloc_fmri_run1_stim_set1.csv", rows)
    named = dataclasses.replace(small_contrast, name="multiple-demand")
    for contrast in (
        sums.split(0)[0],
        sums.with_roles(target="easy", control="hard"),
        contrasts.multiple_demand(legacy=True, seed=1),
        few(contrasts.multiple_demand(), 3),
        contrasts.language(tmp_path / "stimuli"),  # of the published form, but not all of them
        named,
    ):
        found = localize(tiny_llama, contrast, **options)
        assert differences(Study(found, "resid_post", 5))[0] == (
            "the stimuli are not the published ones"
        )
    selectivity = exact.selectivity
    for changed in (
        selectivity.excluding(selectivity.outliers(1.5)),
        *(
            dataclasses.replace(selectivity, provenance=selectivity.provenance.replace(**change))
            for change in ({"processing": "folded"}, {"dtype": "bfloat16"}, {"lesion": "zero"})
        ),
    ):
        found = dataclasses.replace(exact.found, selectivity={"resid_post": changed})
        (difference,) = differences(Study(found, "resid_post", 5))
        assert difference.split()[0] in ("units", "weights", "a")
        assert "exactly" not in methods(Study(found, "resid_post", 5))


def test_published_language_files_count_as_such_when_all_are_there(
    tiny_llama: Any, tmp_path: Path
) -> None:
    language = contrasts.language()
    rows = [
        trial(number, text, code)
        for code, name in (("S", "sentences"), ("N", "nonwords"))
        for number, text in enumerate(language.conditions[name])
    ]
    published_rows(tmp_path, "langloc_fmri_run1_stim_set1.csv", rows)
    contrast = contrasts.language(tmp_path)
    assert contrast.protocol is not None
    assert contrast.protocol.stimuli == contrast.content_hash
    assert contrast.protocol != language.protocol
    assert dataclasses.replace(contrast.protocol, stimuli="") == language.protocol


def test_stimuli_of_ones_own_under_the_published_protocol_are_told(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    found = localize(
        tiny_llama, small_contrast, ["mlp_post"], protocol="alkhamissi2024", pooling="mean",
        absolute=False, progress=False,
    )  # fmt: skip
    study = Study(found, "mlp_post", 5)
    assert len(differences(study)) == 4
    assert "exactly" not in methods(study)
    assert ALKHAMISSI2024.stimuli == ""

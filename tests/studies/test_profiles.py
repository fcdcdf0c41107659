"""confound_check and response_profile: every number against one made by hand."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markupsafe import escape

import lensloc as ll
from lensloc import (
    Contrast,
    LensLocError,
    UnitMask,
    confound_check,
    localize,
    plot,
    response_profile,
)
from lensloc.errors import unwarned
from lensloc.studies.store import Store

WORDS = (
    "the old gardener watered every plant before sun came up nobody village bridge built".split()
)
STRANGE = "glorbix fendal mopi strane wuggle trisket plonder vash".split()


@pytest.fixture(scope="module")
def contrast() -> Contrast:
    rng = np.random.default_rng(0)
    texts = {
        "sentences": [" ".join(rng.choice(WORDS, rng.integers(8, 12))) for _ in range(16)],
        "lists": [" ".join(rng.choice(WORDS, 9)) for _ in range(10)],
        "nonwords": [" ".join(rng.choice(STRANGE, rng.integers(6, 9))) for _ in range(16)],
    }
    return Contrast.from_texts(texts, target="sentences", control="nonwords", name="language")


def test_every_cell_of_the_confound_check_equals_a_localization_by_hand(
    tiny_llama: Any, contrast: Contrast
) -> None:
    table = confound_check(tiny_llama, contrast, percent=10, seed=3, progress=False)

    def units(stimuli: Contrast, **settings: Any) -> set[str]:
        return set(
            localize(tiny_llama, stimuli, progress=False, **settings).top(percent=10).addresses
        )

    first, second = contrast.split(3)
    matched = contrast.matched(tiny_llama, on="tokens")
    published = units(contrast, max_tokens=12)
    expected = [
        len(published & units(contrast)),
        len(published & units(contrast, pooling="word-end")),
        len(published & units(matched)),
        len(published & units(matched, pooling="word-end")),
        len(published & units(first, max_tokens=12)),
        len(published & units(second, max_tokens=12)),
        len(units(first, max_tokens=12) & units(second, max_tokens=12)),
    ]
    assert list(table["shared"]) == expected
    assert set(table["units"]) == {9}
    np.testing.assert_allclose(table["share"], 100 * np.array(expected) / 9)
    np.testing.assert_allclose(table["chance"], 100 * 9 / 96)
    tokens = [len(tiny_llama.to_tokens(text)[0]) for text in contrast.conditions["sentences"]]
    assert table["tokens_target"][0] == pytest.approx(np.mean(tokens))
    assert table["tokens_target"][2] == pytest.approx(table["tokens_control"][2])
    assert table["tokens_control"][4] <= 12


def by_hand(model: Any, texts: tuple[str, ...], mask: UnitMask) -> np.ndarray:
    """Last-token responses of the masked units, one text at a time: [text, unit]."""
    return np.array([last_token(model, text)[mask.mask.numpy()] for text in texts])


@functools.cache
def last_token(model: Any, text: str) -> np.ndarray:
    """Block outputs at the last token: [layer, unit]."""
    _, cache = model.run_with_cache(model.to_tokens(text))
    layers = [cache[f"blocks.{layer}.hook_resid_post"][0, -1] for layer in range(3)]
    return torch.stack(layers).numpy()


def test_profile_of_given_units_equals_a_loop(tiny_llama: Any, contrast: Contrast) -> None:
    mask = localize(tiny_llama, contrast, progress=False).top(k=5)
    profile = response_profile(tiny_llama, mask, contrast, cross_validate=False, progress=False)
    table = profile.table.set_index("condition")
    assert list(table.index) == ["sentences", "lists", "nonwords"]
    assert list(table["stimuli"]) == [16, 10, 16]
    everything = np.concatenate(
        [by_hand(tiny_llama, t, mask) for t in contrast.conditions.values()]
    )
    spread, middle = np.abs(everything).std(0, ddof=1), np.abs(everything).mean(0)
    for name, texts in contrast.conditions.items():
        values = by_hand(tiny_llama, texts, mask)
        assert table.loc[name, "absolute"] == pytest.approx(np.abs(values).mean(), rel=1e-4)
        assert table.loc[name, "signed"] == pytest.approx(values.mean(), rel=1e-3, abs=1e-5)
        scaled = (np.abs(values) - middle) / spread
        assert table.loc[name, "standardised"] == pytest.approx(scaled.mean(), rel=1e-3, abs=1e-5)
        for score in ("absolute", "signed", "standardised"):
            assert table.loc[name, f"{score}_low"] < table.loc[name, score]
            assert table.loc[name, f"{score}_high"] > table.loc[name, score]
    # An interval of a mean: about 1.96 standard errors to either side.
    scores = profile.stimuli.query("condition == 'sentences'")["absolute"]
    error = scores.std() / 4
    assert table.loc["sentences", "absolute_high"] - scores.mean() == pytest.approx(
        1.9 * error, rel=0.2
    )


def test_cross_validated_profile_measures_on_the_other_half(
    tiny_llama: Any, contrast: Contrast
) -> None:
    mask = localize(tiny_llama, contrast, progress=False).top(k=5)
    profile = response_profile(tiny_llama, mask, contrast, seed=2, progress=False)
    assert profile.cross_validated, "a mask made with these stimuli is measured on other ones"
    halves = contrast.split(2)
    for picked_on, measured_on in (halves, halves[::-1]):
        units = localize(tiny_llama, picked_on, progress=False).top(k=5)
        for name, texts in measured_on.conditions.items():
            rows = [contrast.conditions[name].index(text) for text in texts]
            scores = profile.stimuli.query("condition == @name").set_index("row")["absolute"]
            expected = np.abs(by_hand(tiny_llama, texts, units)).mean(1)
            np.testing.assert_allclose(scores[rows], expected, rtol=1e-4)


def test_a_mask_from_other_stimuli_is_measured_as_it_is(
    tiny_llama: Any, contrast: Contrast
) -> None:
    first, second = contrast.split(0)
    mask = localize(tiny_llama, first, progress=False).top(k=5)
    assert not response_profile(tiny_llama, mask, second, progress=False).cross_validated


def test_noise_has_no_profile_when_cross_validated(tiny_llama: Any) -> None:
    """Units picked on noise look selective where they were picked, not on the other half."""
    rng = np.random.default_rng(5)
    texts = {name: [" ".join(rng.choice(WORDS, 6)) for _ in range(12)] for name in "ab"}
    contrast = Contrast.from_texts(texts, target="a", control="b")
    mask = localize(tiny_llama, contrast, progress=False).top(k=3)

    def difference(cross_validate: bool) -> float:
        found = response_profile(
            tiny_llama, mask, contrast, cross_validate=cross_validate, progress=False
        ).table["standardised"]
        return float(found[0] - found[1])

    assert difference(False) > 0.8
    assert difference(True) < 0.5 * difference(False)


def test_profile_trouble_is_told(tiny_llama: Any, contrast: Contrast) -> None:
    empty = UnitMask("resid_post", torch.zeros(3, 32, dtype=torch.bool))
    with pytest.raises(LensLocError, match="holds no unit"):
        response_profile(tiny_llama, empty, contrast, progress=False)
    other = UnitMask("resid_post", torch.ones(2, 8, dtype=torch.bool))
    with pytest.raises(LensLocError, match="does not fit my-llama, which has 3x32"):
        response_profile(tiny_llama, other, contrast, progress=False)


def test_profile_figure_shows_means_and_intervals(tiny_llama: Any, contrast: Contrast) -> None:
    mask = localize(tiny_llama, contrast, progress=False).top(k=5)
    profile = response_profile(tiny_llama, mask, contrast, progress=False)
    figure = plot.response_profile(profile)
    assert len(figure.data) == 3
    for trace, score in zip(figure.data, ("absolute", "standardised", "signed"), strict=True):
        np.testing.assert_allclose(np.array(trace.y), profile.table[score])
        np.testing.assert_allclose(
            np.array(trace.y) + np.array(trace.error_y.array), profile.table[f"{score}_high"]
        )
    assert "different halves" in figure.layout.title.text


def test_a_length_difference_is_a_warning_of_the_result(
    tiny_llama: Any, contrast: Contrast
) -> None:
    assert "can pass for selectivity" in localize(tiny_llama, contrast, progress=False).warnings[0]
    matched = contrast.matched(tiny_llama)
    told = localize(tiny_llama, matched, progress=False).warnings
    assert not any("tokens per text" in sentence for sentence in told)


def test_from_a_users_csv_with_three_conditions_to_a_heatmap(
    tiny_llama: Any, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    rows = [f"{name},{word} {other}" for name, word in zip("abc", WORDS, strict=False)
            for other in STRANGE]  # fmt: skip
    path.write_text("condition,text\n" + "\n".join(rows) + "\n")
    mine = ll.Contrast.from_csv(path, target="a", control=["b", "c"])
    found = ll.localize(tiny_llama, mine, progress=False)
    page = ll.plot.save(ll.plot.layer_heatmap(found, percent=10), tmp_path / "heatmap.html")
    assert "Plotly.newPlot" in page.read_text()


def test_too_long_texts_are_cut_only_when_told_to(tiny_llama: Any, tmp_path: Path) -> None:
    contrast = Contrast.from_texts(
        {"a": ["word " * 100, "the sun"], "b": ["vash", "mopi"]}, target="a", control="b"
    )
    with pytest.raises(LensLocError, match="say truncate"):
        localize(tiny_llama, contrast, progress=False)
    store = Store.at(tmp_path)
    assert localize(tiny_llama, contrast, truncate=True, progress=False, store=store).n_tokens > 96
    with pytest.raises(LensLocError, match="say truncate"):
        localize(tiny_llama, contrast, progress=False, store=store)


# -- whose units, and on which texts ---------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tiny_llama: Any, contrast: Contrast) -> ll.Localization:
    return localize(tiny_llama, contrast, keep_responses=True, progress=False)


def measured(model: Any, contrast: Contrast, mask: UnitMask) -> dict[str, np.ndarray]:
    """Mean absolute response of the units to every text, one text at a time."""
    return {
        name: np.abs(by_hand(model, texts, mask)).mean(1)
        for name, texts in contrast.conditions.items()
    }


def scores_of(profile: ll.ResponseProfile) -> dict[str, np.ndarray]:
    table = profile.stimuli
    return {
        str(name): rows.sort_values("row")["absolute"].to_numpy()
        for name, rows in table.groupby("condition", sort=False)
    }


def same(profile: ll.ResponseProfile, expected: dict[str, np.ndarray]) -> None:
    found = scores_of(profile)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4)


RULES: dict[str, Any] = {
    "top": lambda s: s.top(k=5),
    "bottom": lambda s: s.bottom(k=5),
    "bottom by percent": lambda s: s.bottom(percent=7),
    "resized": lambda s: s.bottom(k=9).resized(k=4),
    "between": lambda s: s.between(30, 70, 6, seed=3),
    "significant": lambda s: s.significant(0.99, "both"),
    "outliers": lambda s: s.outliers(1.5),
    "unique": lambda s: s.top(k=6, unique_dims=True),
    "without outliers": lambda s: s.excluding(s.outliers(1.5)).top(k=6),
    "ranks six to ten": lambda s: s.excluding(s.top(k=5)).top(k=5),
    "without given units": lambda s: s.excluding(
        UnitMask("resid_post", s.bottom(k=40).mask)
    ).bottom(k=3),
}


def flattered(profile: ll.ResponseProfile) -> list[str]:
    """Return what a profile says of units that are measured on what selected them."""
    return [sentence for sentence in profile.warnings if "flatters them" in sentence]


@pytest.mark.parametrize("name", list(RULES))
def test_units_are_picked_again_by_the_rule_that_picked_them(
    tiny_llama: Any, contrast: Contrast, found: ll.Localization, name: str, tmp_path: Path
) -> None:
    pick = RULES[name]
    mask = pick(found["resid_post"])
    mask = UnitMask.load(mask.save(tmp_path / "mask.safetensors"))  # the rule is kept with it
    profile = response_profile(tiny_llama, mask, contrast, seed=4, progress=False)
    assert profile.cross_validated
    assert profile.held_out
    assert profile.how.startswith("picked and measured on different halves")
    assert not flattered(profile)
    expected = {n: np.full(len(texts), np.nan) for n, texts in contrast.conditions.items()}
    for picked_on, measured_on in (split := contrast.split_rows(4), split[::-1]):
        half = localize(tiny_llama, contrast.keep(picked_on), progress=False)["resid_post"]
        if name == "without given units":  # which do not depend on the stimuli
            given = UnitMask("resid_post", found["resid_post"].bottom(k=40).mask)
            units = half.excluding(given).bottom(k=3)
        else:
            units = pick(half)
        for condition, rows in measured_on.items():
            texts = tuple(contrast.conditions[condition][row] for row in rows)
            expected[condition][rows] = np.abs(by_hand(tiny_llama, texts, units)).mean(1)
    same(profile, expected)


def test_a_random_control_is_measured_as_it_is(
    tiny_llama: Any, contrast: Contrast, found: ll.Localization, tmp_path: Path
) -> None:
    top = found.top(k=8)
    drawn = [top.random_like(seed=0)]
    drawn += [control.mask for control in ll.controls(["layer", "magnitude"], seeds=[1])(top)]
    for mask in drawn:
        kept = UnitMask.load(mask.save(tmp_path / "mask.safetensors", overwrite=True))
        profile = response_profile(tiny_llama, kept, contrast, progress=False)
        assert not profile.cross_validated
        assert not flattered(profile)
        assert (
            profile.how == "random units, outside a set that was selected on 32 of the 42 stimuli"
        )
        same(profile, measured(tiny_llama, contrast, mask))
    ours = response_profile(tiny_llama, drawn[0], contrast, progress=False).table["absolute"]
    theirs = response_profile(tiny_llama, top, contrast, progress=False).table["absolute"]
    assert not np.allclose(ours, theirs)


def test_what_no_rule_picked_is_measured_as_it_is_with_a_word(
    tiny_llama: Any, contrast: Contrast, found: ll.Localization, tmp_path: Path
) -> None:
    top, bottom = found.top(k=8), found.bottom(k=8)
    least, without = (
        next(iter(ll.controls((), **{kind: True})(top))).mask  # type: ignore[arg-type]
        for kind in ("least_selective", "without_outliers")
    )
    null = found.max_t(n_permutations=19)
    strongest = UnitMask("resid_post", null.p <= null.p.min(), null.significant(0.5).provenance)
    for mask in (top | bottom, top - found["resid_post"].outliers(1.5), ~top, least, without,
                 strongest):  # fmt: skip
        with pytest.warns(ll.LensLocWarning, match="were selected on 32 of the 42 stimuli"):
            profile = response_profile(tiny_llama, mask, contrast, progress=False)
        assert not profile.cross_validated
        assert not profile.held_out
        (told,) = flattered(profile)
        assert told in repr(profile)
        assert escape(told) in profile._repr_html_()
        same(profile, measured(tiny_llama, contrast, mask))
        with pytest.raises(LensLocError, match="no rule says how"):
            response_profile(tiny_llama, mask, contrast, cross_validate=True, progress=False)
    imported = UnitMask.load(top.save(tmp_path / "mask.npy"))
    named = UnitMask.from_addresses(top.addresses, top.shape)
    for mask in (imported, named):
        profile = response_profile(tiny_llama, mask, contrast, progress=False)
        assert profile.how == "given units; which stimuli selected them is not known"
        same(profile, measured(tiny_llama, contrast, top))


def test_overlap_of_texts_decides_and_not_roles(
    tiny_llama: Any, contrast: Contrast, found: ll.Localization
) -> None:
    mask = found.top(k=5)
    other = contrast.with_roles(target="sentences", control="lists")
    assert other.content_hash != contrast.content_hash
    profile = response_profile(tiny_llama, mask, other, seed=1, progress=False)
    assert profile.cross_validated
    # Picked for its own target and control, whichever roles there are now.
    expected = response_profile(tiny_llama, mask, contrast, seed=1, progress=False)
    np.testing.assert_array_equal(profile.table["absolute"], expected.table["absolute"])
    spelled = Contrast.from_texts(
        {name: [f" {text.upper()}" for text in t] for name, t in contrast.conditions.items()},
        target="sentences",
        control="nonwords",
        name="other",
    )
    assert response_profile(tiny_llama, mask, spelled, progress=False).cross_validated
    without_control = contrast.keep(
        {"sentences": range(16), "lists": range(10)} | {"nonwords": [0]}
    )
    part = Contrast.from_texts(
        {name: without_control.conditions[name] for name in ("sentences", "lists")},
        target="sentences",
        control="lists",
    )
    with pytest.warns(ll.LensLocWarning, match="has no condition 'nonwords'"):
        found_part = response_profile(tiny_llama, mask, part, progress=False)
    assert not found_part.cross_validated
    new = {**part.conditions, "nonwords": [f"{text} vash" for text in STRANGE]}
    changed = Contrast.from_texts(new, target="sentences", control="nonwords")
    with pytest.warns(ll.LensLocWarning, match="hold other texts here"):
        response_profile(tiny_llama, mask, changed, progress=False)


def test_units_of_a_half_are_measured_on_the_rest(tiny_llama: Any, contrast: Contrast) -> None:
    rows, rest = contrast.split_rows(0)
    mask = localize(tiny_llama, contrast.keep(rows), progress=False).top(k=5)
    profile = response_profile(tiny_llama, mask, contrast, progress=False)
    assert not profile.cross_validated
    assert profile.held_out
    assert profile.how == "given units, on the 26 of 42 stimuli that did not select them"
    # Lists have no role, so that none of them selected a unit.
    rest = {**rest, "lists": list(range(10))}
    expected = {
        name: np.abs(by_hand(tiny_llama, texts, mask)).mean(1)
        for name, texts in contrast.keep(rest).conditions.items()
    }
    same(profile, expected)
    assert list(profile.table["stimuli"]) == [8, 10, 8]
    chosen = np.concatenate(
        [by_hand(tiny_llama, t, mask) for t in contrast.keep(rest).conditions.values()]
    )
    size = np.abs(chosen)
    standardised = ((size - size.mean(0)) / size.std(0, ddof=1)).mean(1)
    np.testing.assert_allclose(profile.stimuli["standardised"], standardised, rtol=1e-3, atol=1e-4)
    again = response_profile(tiny_llama, mask, contrast, cross_validate=True, progress=False)
    assert again.cross_validated


@pytest.mark.parametrize("how", ["roles changed", "half and whole", "whole and half"])
def test_noise_flatters_no_unit_whatever_the_texts_are_called(tiny_llama: Any, how: str) -> None:
    rng = np.random.default_rng(7)
    texts = {name: [" ".join(rng.choice(WORDS, 6)) for _ in range(24)] for name in "abc"}
    contrast = Contrast.from_texts(texts, target="a", control="b")
    half, _ = contrast.split(0)
    picked_on = half if how == "half and whole" else contrast
    shown = {"roles changed": contrast.with_roles(target="a", control="c"),
             "half and whole": contrast, "whole and half": half}[how]  # fmt: skip
    mask = localize(tiny_llama, picked_on, progress=False).top(k=3)

    def difference(**options: Any) -> float:
        found = response_profile(tiny_llama, mask, shown, progress=False, **options).table
        standardised = found.set_index("condition")["standardised"]
        return float(standardised["a"] - standardised["b"])

    assert difference(cross_validate=False) > 0.2
    assert difference() < 0.5 * difference(cross_validate=False)


def test_texts_that_stand_in_both_halves_are_left_out(tiny_llama: Any) -> None:
    rng = np.random.default_rng(3)
    texts = {name: [" ".join(rng.choice(WORDS, 5)) for _ in range(12)] for name in "ab"}
    texts["a"][1] = texts["a"][0]
    contrast = Contrast.from_texts(texts, target="a", control="b")
    mask = localize(tiny_llama, contrast, progress=False).top(k=5)
    seed = next(s for s in range(9) if (0 in (r := contrast.split_rows(s)[0]["a"])) ^ (1 in r))
    with pytest.warns(ll.LensLocWarning, match="2 of the 24 stimuli hold a text"):
        profile = response_profile(tiny_llama, mask, contrast, seed=seed, progress=False)
    assert list(profile.table["stimuli"]) == [10, 12]
    assert profile.table.notna().all(axis=None)


def test_a_rule_that_picks_nothing_on_a_half_is_told(
    tiny_llama: Any, contrast: Contrast, found: ll.Localization
) -> None:
    q = found["resid_post"].q
    halves = [localize(tiny_llama, half, progress=False) for half in contrast.split(0)]
    bound = min(float(half["resid_post"].q.min()) for half in halves)
    assert float(q.min()) < bound, "the whole finds what a half does not"
    mask = found.significant(min(0.99, float(q.min()) * 1.001), "both")
    with pytest.warns(ll.LensLocWarning, match="picks no unit"):
        profile = response_profile(tiny_llama, mask, contrast, progress=False)
    assert not profile.cross_validated
    same(profile, measured(tiny_llama, contrast, mask))
    with pytest.raises(LensLocError, match="picks no unit"):
        response_profile(tiny_llama, mask, contrast, cross_validate=True, progress=False)


def test_pooling_is_the_masks_unless_told_otherwise(tiny_llama: Any, contrast: Contrast) -> None:
    mask = localize(tiny_llama, contrast, pooling="mean", progress=False).top(k=5)
    own, told, last = (
        response_profile(
            tiny_llama, mask, contrast, cross_validate=False, progress=False, **options
        ).table["absolute"]
        for options in ({}, {"pooling": "mean"}, {"pooling": "last-token"})
    )
    np.testing.assert_array_equal(own, told)
    assert not np.allclose(own, last)


def test_too_few_stimuli_for_halves_are_told(tiny_llama: Any) -> None:
    texts = {"a": ["one two", "three", "four five six"], "b": ["seven", "eight nine", "ten"]}
    few = Contrast.from_texts(texts, target="a", control="b")
    with unwarned():
        mask = localize(tiny_llama, few, progress=False).top(k=5)
        with pytest.raises(
            LensLocError,
            match=r"Half of the stimuli are too few .*has 1 stimulus; a .*cross_validate=False",
        ):
            response_profile(tiny_llama, mask, few, progress=False)
        found = response_profile(tiny_llama, mask, few, cross_validate=False, progress=False)
    assert list(found.table["stimuli"]) == [3, 3]

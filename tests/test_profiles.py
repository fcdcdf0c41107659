"""confound_check and response_profile: every number against one made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lensloc as ll
from lensloc import Contrast, LensLocError, UnitMask, contrasts, localize, plot, response_profile
from lensloc.store import Store

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
    table = contrasts.confound_check(tiny_llama, contrast, percent=10, seed=3, progress=False)

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
    rows = []
    for text in texts:
        _, cache = model.run_with_cache(model.to_tokens(text))
        rows.append([
            cache[f"blocks.{layer}.hook_resid_post"][0, -1, unit].item()
            for layer, unit in mask.mask.nonzero().tolist()
        ])  # fmt: skip
    return np.array(rows)


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
    assert not any("tokens a text" in sentence for sentence in told)


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

"""Paired tests: pairs go by item wherever rows stand, by position without items, in halves too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import lensloc as ll
from lensloc import Contrast, LensLocError, Responses, bootstrap_d, localize, max_t, paired
from lensloc.selectivity import split_half
from lensloc.studies.granularities import halves_of
from lensloc.studies.store import Store
from lensloc.units.pairing import paired_rows

WORDS = "the old gardener watered every plant before sun came up nobody village bridge".split()
N = 12


def pairs_of(seed: int = 0) -> list[tuple[str, str, str]]:
    """Item, text of the target, text of the control: two texts that hardly differ."""
    draw = np.random.default_rng(seed)
    made = []
    for item in range(N):
        text = " ".join(draw.choice(WORDS, 6))
        made.append((str(100 + item), f"{text} vash", f"{text} mopi"))
    return made


def contrast_of(pairs: list[tuple[str, str, str]], order: list[int], **more: Any) -> Contrast:
    """A contrast with items, whose control stands in another order than its target."""
    conditions = {"a": [a for _, a, _ in pairs], "b": [pairs[row][2] for row in order]}
    items = {"a": [item for item, _, _ in pairs], "b": [pairs[row][0] for row in order]}
    return Contrast(
        "pairs",
        {name: tuple(texts) for name, texts in conditions.items()},
        ("a",),
        ("b",),
        items={name: tuple(found) for name, found in items.items()},
        **more,
    )


@pytest.fixture(scope="module")
def shuffled() -> Contrast:
    return contrast_of(pairs_of(), np.random.default_rng(1).permutation(N).tolist())


@pytest.fixture(scope="module")
def in_order() -> Contrast:
    return contrast_of(pairs_of(), list(range(N)))


def differences(model: Any, contrast: Contrast) -> np.ndarray:
    """Absolute last-token responses, target minus control, item by item."""
    texts = {
        name: dict(zip(contrast.items[name], contrast.conditions[name], strict=True))  # type: ignore[index]
        for name in "ab"
    }

    def response(text: str) -> np.ndarray:
        _, cache = model.run_with_cache(model.to_tokens(text))
        layers = [cache[f"blocks.{layer}.hook_resid_post"][0, -1] for layer in range(3)]
        return np.abs(torch.stack(layers).double().numpy())

    return np.stack([response(texts["a"][i]) - response(texts["b"][i]) for i in texts["a"]])


def test_rows_in_another_order_give_the_same_t(
    tiny_llama: Any, shuffled: Contrast, in_order: Contrast, tmp_path: Path
) -> None:
    found = localize(tiny_llama, shuffled, test="paired", keep_responses=True, progress=False)
    expected = scipy.stats.ttest_1samp(differences(tiny_llama, shuffled), 0, axis=0).statistic
    t = found["resid_post"].t
    np.testing.assert_allclose(t, expected, rtol=1e-3, atol=1e-3)
    again = localize(tiny_llama, in_order, test="paired", progress=False)["resid_post"]
    torch.testing.assert_close(t, again.t, rtol=1e-6, atol=1e-6)
    # Rows with other items are another result, although the texts are the same.
    store = Store.at(tmp_path)
    localize(tiny_llama, shuffled, test="paired", progress=False, store=store)
    moved = Contrast(
        "pairs", shuffled.conditions, ("a",), ("b",),
        items={"a": shuffled.items["a"], "b": shuffled.items["a"]},  # type: ignore[index]
    )  # fmt: skip
    other = localize(tiny_llama, moved, test="paired", progress=False, store=store)
    assert other.from_store == ()
    assert not torch.allclose(other["resid_post"].t, t, atol=0.1)


def test_everything_that_pairs_does_it_by_item(
    tiny_llama: Any, shuffled: Contrast, in_order: Contrast
) -> None:
    maps = [
        localize(tiny_llama, contrast, test="paired", keep_responses=True, progress=False)
        for contrast in (shuffled, in_order)
    ]
    responses = [found.responses["resid_post"] for found in maps]
    for measure in (
        lambda r: paired(r, ("a",), ("b",)).t,
        lambda r: max_t(r, ("a",), ("b",), test="paired", n_permutations=30).p,
        lambda r: max_t(r, n_permutations=30).t,  # pairs, as it was localized
        lambda r: bootstrap_d(r, ("a",), ("b",), aligned=True, n_resamples=40).low,
        lambda r: bootstrap_d(r, ("a",), ("b",), n_resamples=40).high,
    ):
        a, b = (measure(found) for found in responses)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert torch.equal(maps[0].max_t(n_permutations=5).t, maps[0]["resid_post"].t)


def test_halves_keep_pairs_together(tiny_llama: Any, shuffled: Contrast) -> None:
    found = localize(tiny_llama, shuffled, test="paired", keep_responses=True, progress=False)
    responses = found.responses["resid_post"]
    halves = [halves_of(shuffled, seed) for seed in range(3)]
    reliability = split_half(responses, ("a",), ("b",), halves, k=5)
    by_hand, held_out = [], []
    for seed in range(3):
        two = [
            localize(tiny_llama, half, test="paired", progress=False)["resid_post"]
            for half in shuffled.split(seed)
        ]
        by_hand.append(scipy.stats.spearmanr(*(half.t.flatten() for half in two)).statistic)
        for here, there in (two, two[::-1]):
            held_out.append(float(there.d[here.top(k=5).mask].mean()))
    expected = np.mean([2 * r / (1 + r) if r > 0 else r for r in by_hand])
    assert reliability.t == pytest.approx(expected, abs=1e-4)
    assert reliability.d_held_out == pytest.approx(np.mean(held_out), rel=1e-3)
    table = ll.compare_granularities(
        tiny_llama, shuffled, ["resid_post"], 5, test="paired", n_splits=3, progress=False
    )
    assert table["best_t"].item() == pytest.approx(
        float(found["resid_post"].t.abs().max()), rel=1e-5
    )
    assert table["reliability"].item() == pytest.approx(
        split_half(responses, ("a",), ("b",), halves, k=4).t, abs=1e-4
    )
    with pytest.raises(LensLocError, match="takes pairs apart"):
        split_half(responses, ("a",), ("b",), [([0, 1, 2, 12, 13, 14], [3, 4, 15, 16])], k=2)
    mask = found.top(k=5)
    profile = ll.response_profile(tiny_llama, mask, shuffled, seed=2, progress=False)
    assert profile.cross_validated
    first, second = shuffled.split(2)
    units = localize(tiny_llama, first, test="paired", progress=False).top(k=5)
    rows = [shuffled.conditions["b"].index(text) for text in second.conditions["b"]]
    scores = profile.stimuli.query("condition == 'b'").set_index("row")["absolute"][rows]
    captured = ll.capture(tiny_llama, second.conditions["b"], ["b"] * 6, progress=False)
    expected_scores = captured.responses["resid_post"].values[:, units.mask].abs().mean(1)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4)
    study = ll.study(tiny_llama, shuffled, percent=5, test="paired", n_splits=2, progress=False)
    assert study.reliability is not None


def test_halves_keep_pairs_by_position_together(tiny_llama: Any) -> None:
    made = pairs_of(3)
    texts = {"a": [a for _, a, _ in made], "b": [b for _, _, b in made], "c": ["the sun"] * 5}
    plain = Contrast.from_texts(texts, target="a", control="b")
    for half in plain.split(0):
        stems = [[text.rsplit(" ", 1)[0] for text in half.conditions[name]] for name in "ab"]
        assert stems[0] == stems[1]
    (first, _), numbered = plain.split(0), contrast_of(made, list(range(N)))
    found = localize(tiny_llama, plain, test="paired", progress=False)["resid_post"]
    expected = localize(tiny_llama, numbered, test="paired", progress=False)["resid_post"]
    assert torch.equal(found.t, expected.t)
    half = localize(tiny_llama, first, test="paired", progress=False)["resid_post"].t
    kept = contrast_of([pair for pair in made if pair[1] in first.conditions["a"]], list(range(6)))
    torch.testing.assert_close(
        half, localize(tiny_llama, kept, test="paired", progress=False)["resid_post"].t
    )


def test_several_conditions_are_paired_in_the_order_in_which_they_are_named() -> None:
    conditions = ["easy-1", "hard-1", "hard-2", "easy-2", "easy-1", "hard-1", "hard-2", "easy-2"]
    target, control = ("hard-2", "hard-1"), ("easy-2", "easy-1")
    assert paired_rows(conditions, None, target, control) == ([2, 6, 1, 5], [3, 7, 0, 4])
    items = ["x", "x", "y", "y", "z", "z", "w", "w"]
    assert paired_rows(conditions, items, target, control) == ([1, 2, 5, 6], [0, 3, 4, 7])


def test_what_cannot_be_paired_is_one_sentence_that_names_the_item(
    tiny_llama: Any, in_order: Contrast
) -> None:
    def with_items(b: list[str]) -> Contrast:
        items = {"a": in_order.items["a"], "b": tuple(b)}  # type: ignore[index]
        return Contrast("pairs", in_order.conditions, ("a",), ("b",), items=items)

    given = list(in_order.items["b"])  # type: ignore[index]
    missing = with_items(["x", *given[1:]])
    twice = with_items([given[1], *given[1:]])
    fewer = in_order.keep({"a": range(N), "b": range(N - 1)})
    three = Contrast(
        "pairs", {**in_order.conditions, "c": in_order.conditions["b"]}, ("a",), ("b", "c"),
        items={**in_order.items, "c": tuple(given)},  # type: ignore[dict-item]
    )  # fmt: skip
    bare = {name: list(texts) for name, texts in in_order.conditions.items()}
    unequal = Contrast.from_texts({**bare, "b": bare["b"][1:]}, target="a", control="b")
    uneven = Contrast.from_texts(
        {"a": bare["a"][:4], "c": bare["a"][4:], "b": bare["b"][:6], "d": bare["b"][6:]},
        target=["a", "c"], control=["b", "d"],
    )  # fmt: skip
    cases = [
        (missing, "item '100' has 1 text in the target (a) and 0 in the control (b)"),
        (twice, "item '100' has 1 text in the target (a) and 0 in the control (b)"),
        (with_items([given[0], given[0], *given[2:]]), "item '100' has 1 text in the target (a) "
         "and 2 in the control (b)"),
        (fewer, "item '111' has 1 text in the target (a) and 0 in the control (b)"),
        (three, "item '100' has 1 text in the target (a) and 2 in the control (b, c)"),
        (unequal, "target has 12 stimuli and the control 11"),
        (uneven, "'a' has 4 stimuli and 'b' 6"),
        (uneven.with_roles(target=["a", "c"], control="b"), "target has 12 stimuli and the contr"),
    ]  # fmt: skip
    for contrast, message in cases:
        with pytest.raises(LensLocError) as caught:
            localize(tiny_llama, contrast, test="paired", progress=False)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert localize(tiny_llama, contrast, progress=False), "Welch's test needs no pairs"


def test_items_are_one_a_stimulus() -> None:
    with pytest.raises(LensLocError, match="2 responses but 1 items"):
        Responses("head", torch.zeros(2, 1, 1), ("a", "b"), ("1",))

"""LAPE: identifying against plain loops, the null, merging, and the published files."""

import dataclasses
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counts import LANGUAGES, random_counts

from lensloc import LensLocError, UnitMask, lape
from lensloc.lape import ActivationCounts, WindowCounts
from lensloc.lape.entropy import entropies, percentile
from lensloc.units.provenance import Provenance


def by_loops(
    counts: ActivationCounts, top_rate: float, filter_rate: float, bar: float
) -> dict[str, set[tuple[int, int]]] | None:
    """The published rule with sorted lists of Python numbers; None if too few pass the filter."""
    layers, neurons = counts.shape
    p = {
        (layer, neuron): [
            int(counts.counts[layer, neuron, place]) / int(counts.tokens[place])
            for place in range(len(counts.languages))
        ]
        for layer in range(layers)
        for neuron in range(neurons)
    }
    everything = sorted(value for row in p.values() for value in row)
    filter_value = everything[round(len(everything) * filter_rate) - 1]
    bar_value = everything[round(len(everything) * bar) - 1]
    ranking = []
    for (layer, neuron), row in p.items():
        if max(row) <= filter_value:
            continue
        shares = [value / math.fsum(row) for value in row]
        entropy = -math.fsum(share * math.log(share) for share in shares if share > 0)
        ranking.append((round(entropy, 10), layer, neuron))
    if len(ranking) < round(len(p) * top_rate):
        return None
    chosen = sorted(ranking)[: round(len(p) * top_rate)]
    return {
        language: {
            (layer, neuron) for _, layer, neuron in chosen if p[layer, neuron][place] > bar_value
        }
        for place, language in enumerate(counts.languages)
    }


def units(mask: UnitMask) -> set[tuple[int, int]]:
    return {(layer, unit) for layer, unit in mask.mask.nonzero().tolist()}


# -- identifying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("top_rate", "filter_rate", "bar"),
    [(0.01, 0.95, 0.95), (0.05, 0.9, 0.95), (0.1, 0.8, 0.5), (0.0125, 0.9313, 0.77)],
)
def test_identify_equals_plain_loops(
    seed: int, top_rate: float, filter_rate: float, bar: float
) -> None:
    counts = random_counts(seed, n_languages=2 + seed % 3, most=(6, 40, 1000)[seed % 3])
    expected = by_loops(counts, top_rate, filter_rate, bar)
    if expected is None:  # ties at the top of all probabilities
        with pytest.raises(LensLocError, match="asked for; lower"):
            lape.identify(counts, top_rate, filter_rate, bar)
        return
    found = lape.identify(counts, top_rate, filter_rate, bar)
    assert {language: units(mask) for language, mask in found.masks.items()} == expected
    assert int(found.selected.sum()) == round(200 * top_rate)
    assert not found.selected[1, 3]


def test_equal_entropies_go_to_the_lower_layer_then_neuron() -> None:
    counts = torch.full((3, 40, 2), 50)
    counts[:, ::10] = torch.tensor([100, 0])  # twelve neurons of entropy 0
    found = lape.identify(
        ActivationCounts(counts, torch.tensor([100, 100]), ("a", "b")), 5 / 120, 0.95, 0.5
    )
    assert units(found.masks["a"]) == {(0, 0), (0, 10), (0, 20), (0, 30), (1, 0)}
    assert len(found.masks["b"]) == 0


def test_a_planted_neuron_comes_first() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(300, 700, size=(4, 50, 4))
    counts[2, 17] = [0, 0, 900, 1]
    found = lape.identify(
        ActivationCounts(torch.from_numpy(counts), torch.full((4,), 1000), LANGUAGES)
    )
    assert int(found.entropy.argmin()) == 2 * 50 + 17
    assert "L2.mlp_post.17" in found.masks["fr"]
    assert found.masks["fr"].resized(k=1).addresses == ["L2.mlp_post.17"]
    assert "L2.mlp_post.17" not in found.masks["de"]


def test_entropy_of_rows_that_are_known() -> None:
    rows = torch.tensor(
        [[0.2] * 5, [0.0, 0.0, 0.3, 0.0, 0.0], [0.0] * 5, [0.1, 0.1, 0.0, 0.0, 0.0]]
    )
    found = entropies(rows.double())
    assert found.tolist() == pytest.approx([math.log(5), 0, math.inf, math.log(2)], abs=1e-7)
    assert found[1] == 0


def test_percentile_rounds_as_python_does() -> None:
    values = torch.arange(1.0, 11.0).double()
    for rate in (0.1, 0.25, 0.35, 0.95, 1.0):
        assert percentile(values, rate, "rate") == round(10 * rate)


def test_table_and_masks_say_how_they_were_made() -> None:
    counts = random_counts(1)
    found = lape.identify(counts, 0.1, 0.8, 0.7)
    assert list(found.table["language"]) == list(LANGUAGES)
    for row, mask in zip(found.table.itertuples(), found.masks.values(), strict=True):
        assert row.neurons == len(mask) == sum(row.per_layer)
        assert row.per_layer == mask.per_layer().tolist()
        assert 0 < row.filter_value <= 1
        assert row.mean_entropy <= row.entropy_value
    assert found.per_layer.groupby("language")["neurons"].sum().to_dict() == {
        language: len(mask) for language, mask in found.masks.items()
    }
    mask = found.masks["de"]
    assert mask.site == mask.provenance.site == "mlp_post"
    assert mask.provenance.target == ("de",)
    assert mask.provenance.selection.startswith("LAPE, lowest 0.1 of 200")
    assert lape.identify(counts, 0.1, 0.8, 0.7, site="mlp_pre").masks["de"].site == "mlp_pre"


def test_controls_have_as_many_neurons(tmp_path: Path) -> None:
    found = lape.identify(random_counts(1, most=1000), 0.2, 0.5, 0.7)
    by_size = sorted(found.masks, key=lambda name: len(found.masks[name]))
    small, large = by_size[0], by_size[-1]
    mask = found.masks[small]
    control = found.other_language(small, large)
    assert len(control) == len(mask)
    assert not (control.mask & mask.mask).any()
    assert not (control.mask & ~found.masks[large].mask).any()
    assert (
        found.entropy[control.mask].max()
        <= found.entropy[(found.masks[large] - mask - control).mask].min() + 1e-12
    )
    assert len(mask.random_like(seed=3)) == len(mask)
    with pytest.raises(LensLocError, match="no neurons of 'xx'"):
        found.other_language(small, "xx")
    with pytest.raises(LensLocError, match="fewer than the"):
        found.other_language(large, small)
    assert UnitMask.load(mask.save(tmp_path / "de.safetensors")) == mask


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_rate": 0.001}, "marks at least one of 200 neurons"),
        ({"top_rate": 0.0}, "top_rate is above 0"),
        ({"filter_rate": 1.5}, "filter_rate is above 0 and at most 1"),
        ({"bar": 0.0}, "bar is above 0"),
        ({"filter_rate": 1.0}, "Only 0 of 200 neurons"),
        ({"top_rate": 0.9}, "lower top_rate or filter_rate"),
    ],
)
def test_rates_that_mark_nothing_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(LensLocError, match=message):
        lape.identify(random_counts(1), **options)


def test_one_language_only_is_refused() -> None:
    with pytest.raises(LensLocError, match=r"one language only \(fr\)"):
        lape.identify(random_counts(1).only(["fr"]))


# -- the null --------------------------------------------------------------------------------------


def window_counts(seed: int, planted: int) -> ActivationCounts:
    """Neurons that are active alike in all languages, but for the planted ones."""
    random = np.random.default_rng(seed)
    tokens, per_language, layers, neurons = 60, (30, 24, 36), 3, 100
    language = np.repeat(np.arange(3), per_language)
    rate = random.uniform(0.05, 0.6, size=(layers, neurons))
    p = np.broadcast_to(rate, (len(language), layers, neurons)).copy()
    p[:, 1, :planted] = np.where(language == 1, 0.6, 0.01)[:, None]
    counts = random.binomial(tokens, p)
    sums = np.stack([counts[language == place].sum(axis=0) for place in range(3)], axis=-1)
    return ActivationCounts(
        torch.from_numpy(sums),
        torch.tensor([tokens * n for n in per_language]),
        ("a", "b", "c"),
        windows=WindowCounts(
            torch.from_numpy(counts).int(),
            torch.full((len(language),), tokens),
            torch.from_numpy(language),
            1,
        ),
    )


def test_without_languages_false_positives_are_as_many_as_they_should_be() -> None:
    p = torch.cat([lape.null(window_counts(seed, 0), 199, seed=1).p.flatten() for seed in range(4)])
    for alpha in (0.05, 0.2, 0.5):
        assert float((p <= alpha).double().mean()) == pytest.approx(alpha, abs=0.03)


def test_planted_neurons_survive_the_null() -> None:
    counts = window_counts(0, 6)
    chance = lape.null(counts, 199, seed=1)
    found = lape.identify(counts, top_rate=0.02, filter_rate=0.8, bar=0.8, null=chance)
    assert units(found.masks["b"]) == {(1, neuron) for neuron in range(6)}
    row = found.table.set_index("language").loc["b"]
    assert row["below_null"] == 1
    assert row["null_entropy"] == chance.threshold > row["mean_entropy"]
    assert (chance.p[1, :6] == 1 / 200).all()
    assert found.entropy[1, :6].max() < chance.familywise(0.05)
    assert chance.minimum.min() <= chance.familywise(0.05) <= chance.threshold
    assert not (found.masks["b"] - chance.significant(alpha=0.005)).mask.any()


def test_null_equals_a_loop_over_shuffles() -> None:
    counts = window_counts(2, 3)
    windows = counts.windows
    assert windows is not None
    chance = lape.null(counts, 20, seed=5, filter_rate=0.9, alpha=0.1)
    random = np.random.default_rng(5)
    shuffled = random.permuted(np.tile(windows.language.numpy(), (20, 1)), axis=1)
    below = torch.zeros(counts.shape)
    for number, labels in enumerate(torch.from_numpy(shuffled)):
        part = [labels == place for place in range(3)]
        again = ActivationCounts(
            torch.stack([windows.counts[chosen].sum(0) for chosen in part], dim=-1),
            torch.stack([windows.tokens[chosen].sum() for chosen in part]),
            counts.languages,
        )
        entropy = entropies(again.probabilities)
        below += entropy <= entropies(counts.probabilities)
        bar = percentile(again.probabilities.flatten(), 0.9, "rate")
        kept = entropy[(again.probabilities > bar).any(dim=-1)].sort().values
        assert chance.minimum[number] == kept[0]
        assert chance.lowest[number] == kept[max(1, round(len(kept) * 0.1)) - 1]
    assert torch.equal(chance.p, (1 + below.double()) / 21)
    assert torch.equal(lape.null(counts, 20, seed=5, filter_rate=0.9, alpha=0.1).p, chance.p)


def test_null_in_chunks_is_the_same(monkeypatch: Any) -> None:
    counts = window_counts(1, 2)
    whole = lape.null(counts, 30)
    # The function hides the module of its name from attribute access.
    monkeypatch.setattr(sys.modules["lensloc.lape.nulls"], "_ELEMENTS_AT_ONCE", 20_000)
    parts = lape.null(counts, 30)
    assert torch.equal(whole.p, parts.p)
    assert torch.equal(whole.minimum, parts.minimum)


def test_null_refuses_what_cannot_be_shuffled() -> None:
    counts = window_counts(0, 0)
    with pytest.raises(LensLocError, match="keep_windows=True"):
        lape.null(random_counts(0))
    with pytest.raises(LensLocError, match="At least one permutation"):
        lape.null(counts, 0)
    with pytest.raises(LensLocError, match="alpha lies between"):
        lape.null(counts, 9, alpha=1.0)
    with pytest.raises(LensLocError, match="labelled in only 1 ways"):
        lape.null(counts.only(["b"]), 9)
    with pytest.raises(LensLocError, match="cannot be told from 9 permutations"):
        lape.null(counts, 9).familywise(0.01)
    with pytest.raises(LensLocError, match="The null is of 3x100 neurons"):
        lape.identify(random_counts(0), null=lape.null(counts, 9))


# -- merging and files -----------------------------------------------------------------------------


def test_counts_add_up_language_by_language() -> None:
    a, b = random_counts(1), random_counts(2)
    both = a.only(["en", "de"]) + b.only(["tr", "en"])
    assert both.languages == ("en", "de", "tr")
    assert both.tokens.tolist() == [
        int(a.tokens[1] + b.tokens[1]),
        int(a.tokens[0]),
        int(b.tokens[3]),
    ]
    assert torch.equal(both.counts[..., 0], a.counts[..., 1] + b.counts[..., 1])
    assert torch.equal(both.counts[..., 2], b.counts[..., 3])
    assert both.windows is None


def test_windows_add_up_in_blocks_of_one_length() -> None:
    a, b = window_counts(0, 0), window_counts(1, 0)
    windows = b.windows
    assert windows is not None
    coarse = ActivationCounts(b.counts, b.tokens, ("c", "a", "d"), windows=windows.coarsened(4))
    both = a + coarse
    assert both.windows is not None
    assert both.windows.size == 4
    for place in range(len(both.languages)):
        chosen = both.windows.language == place
        assert torch.equal(both.windows.counts[chosen].sum(0), both.counts[..., place])
        assert both.windows.tokens[chosen].sum() == both.tokens[place]
    with pytest.raises(LensLocError, match="cannot be joined"):
        windows.coarsened(4).coarsened(6)
    kept = both.only(["d", "a"])
    assert kept.windows is not None
    assert torch.equal(kept.windows.counts[kept.windows.language == 0].sum(0), kept.counts[..., 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provenance": Provenance(model="other", weights_hash="2")}, "different models .*other"),
        ({"site": "mlp_out"}, "different sites"),
        ({"threshold": 0.5}, r"different thresholds cannot be added \(0.0 and 0.5\)"),
        ({"window": 64}, "different windows"),
        ({"provenance": Provenance(model="m", weights_hash="1", lesion="zero")}, "lesions"),
        ({"counts": torch.zeros(4, 51, 4, dtype=torch.int64)}, "numbers of layers and neurons"),
        ({"sources": {"de": ("hash",)}}, "the same text of 'de'"),
    ],
)
def test_counts_that_do_not_belong_together_are_not_added(
    changes: dict[str, Any], message: str
) -> None:
    a = dataclasses.replace(
        random_counts(1),
        provenance=Provenance(model="m", weights_hash="1"),
        sources={"de": ("hash",)},
    )
    b = dataclasses.replace(a, **({"sources": {"de": ("another",)}} | changes))
    with pytest.raises(LensLocError, match=message):
        a + b


def test_counts_survive_the_disk(tmp_path: Path) -> None:
    for counts in (random_counts(1), window_counts(0, 2)):
        assert (
            ActivationCounts.load(counts.save(tmp_path / "counts.safetensors", overwrite=True))
            == counts
        )
    assert random_counts(1) != random_counts(2)
    with pytest.raises(LensLocError, match="unknown suffix"):
        counts.save(tmp_path / "counts.pt")
    with pytest.raises(LensLocError, match="There is no file"):
        ActivationCounts.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_damaged_counts_are_refused(tmp_path: Path, damage: str) -> None:
    path = random_counts(1).save(tmp_path / "counts.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-8] ^= 1
        path.write_bytes(content)
    else:
        lape.identify(random_counts(1)).masks["de"].save(path, overwrite=True)
    with pytest.raises(LensLocError, match=r"damaged|not a file of activation counts"):
        ActivationCounts.load(path)


def test_counts_that_cannot_be_are_refused() -> None:
    counts = torch.ones(2, 3, 2, dtype=torch.int64)
    with pytest.raises(LensLocError, match="need as many names"):
        ActivationCounts(counts, torch.tensor([5, 5]), ("a", "a"))
    with pytest.raises(LensLocError, match="'b' has no text"):
        ActivationCounts(counts, torch.tensor([5, 0]), ("a", "b"))
    with pytest.raises(LensLocError, match="not between 0 and its 5 tokens"):
        ActivationCounts(counts * 6, torch.tensor([5, 9]), ("a", "b"))
    with pytest.raises(LensLocError, match="no counts of 'x'"):
        random_counts(1).only(["x"])


def test_published_counts_are_read(tmp_path: Path) -> None:
    counts = random_counts(3)
    files = {}
    for place, language in enumerate(LANGUAGES):
        files[language] = tmp_path / f"activation.{language}.train.llama-7b"
        torch.save(
            {
                "n": int(counts.tokens[place]),
                "sum1": torch.zeros(4, 50),
                "over_zero": counts.counts[..., place].int(),
            },
            files[language],
        )
    found = ActivationCounts.from_published(files, model="llama-7b")
    assert torch.equal(found.counts, counts.counts)
    assert torch.equal(found.tokens, counts.tokens)
    assert found.provenance.model == "llama-7b"
    masks = lape.identify(found, 0.1, 0.8, 0.7).masks
    assert masks == lape.identify(counts, 0.1, 0.8, 0.7).masks


class Wanting:
    """A pickle that wants more than data."""

    def __reduce__(self) -> Any:
        return os.getcwd, ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"n": 5, "over_zero": torch.ones(2, 3).int(), "more": Wanting()}, "could run code"),
        ({"n": 5}, "not a published file of counts"),
        ({"n": 5, "over_zero": torch.ones(2, 3)}, "integer tensor"),
        ({"n": 5.5, "over_zero": torch.ones(2, 3).int()}, "a whole number; 5.5 is not"),
        ({"n": 5, "over_zero": torch.ones(2, 4).int()}, "2x4 neurons, but the file before it 2x3"),
        (None, "not a readable torch file|could run code"),
    ],
)
def test_other_files_of_counts_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    torch.save({"n": 5, "over_zero": torch.ones(2, 3).int()}, good)
    if content is None:
        bad.write_bytes(good.read_bytes()[:200])
    else:
        torch.save(content, bad)
    with pytest.raises(LensLocError, match=message):
        ActivationCounts.from_published({"a": good, "b": bad})
    with pytest.raises(LensLocError, match="No file of counts"):
        ActivationCounts.from_published({})


# -- published neurons -----------------------------------------------------------------------------


def test_published_neurons_round_trip(tmp_path: Path, caplog: Any) -> None:
    masks = lape.identify(random_counts(4), 0.1, 0.8, 0.5).masks
    path = lape.write_neurons(tmp_path / "model.neuron.pth", masks)
    raw = torch.load(path, weights_only=True)
    assert [len(layers) for layers in raw] == [4] * 4
    assert all(indices.dtype == torch.int64 for layers in raw for indices in layers)
    expected = [units.nonzero().flatten().tolist() for units in masks["en"].mask]
    assert [indices.tolist() for indices in raw[1]] == expected
    again = lape.read_neurons(path, 50, names=LANGUAGES)
    assert again == masks
    assert again["en"].provenance.selection == "imported from model.neuron.pth"
    with caplog.at_level("WARNING"):
        assert list(lape.read_neurons(path, 50)) == ["0", "1", "2", "3"]
    assert "holds the neurons of 4 languages" in caplog.text
    lape.write_neurons(path, again)
    assert [[i.tolist() for i in layers] for layers in torch.load(path, weights_only=True)] == [
        [i.tolist() for i in layers] for layers in raw
    ]


def test_a_file_of_six_languages_says_so(tmp_path: Path) -> None:
    path = tmp_path / "six.neuron.pth"
    torch.save([[torch.tensor([1]), torch.tensor([]).long()]] * 6, path)
    with pytest.raises(LensLocError, match="neurons of 6 languages, but names has 7"):
        lape.read_neurons(path, 4, names=lape.PUBLISHED_LANGUAGES)
    found = lape.read_neurons(path, 4, names=lape.PUBLISHED_LANGUAGES[:6])
    assert found["id"].addresses == ["L0.mlp_post.1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[torch.tensor([0])], Wanting()], "could run code"),
        ({"a": 1}, "not a file of language neurons"),
        ([], "not a file of language neurons"),
        ([[torch.tensor([0])], [torch.tensor([0])] * 2], "different numbers of layers"),
        ([[torch.tensor([7])]], "language 0, layer 0: the neuron 7 does not exist among 4"),
        ([[torch.tensor([-1])]], "the neuron -1 does not exist"),
        ([[torch.tensor([0.5])]], "the neuron 0.5 does not exist"),
        ([[[0, 1]]], "not a row of indices"),
    ],
)
def test_other_files_of_neurons_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "bad.neuron.pth"
    torch.save(content, path)
    with pytest.raises(LensLocError, match=message):
        lape.read_neurons(path, 4)


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.neuron.pth"
    path.write_bytes(pickle.dumps([[Wanting()]]))
    with pytest.raises(LensLocError, match=r"could run code|not a readable torch file"):
        lape.read_neurons(path, 4)
    with pytest.raises(LensLocError, match="There is no file"):
        lape.read_neurons(tmp_path / "none.pth", 4)


def test_neurons_of_different_models_are_not_written_together(tmp_path: Path) -> None:
    one, other = (UnitMask("mlp_post", torch.ones(2, n, dtype=torch.bool)) for n in (3, 4))
    with pytest.raises(LensLocError, match=r"mlp_post 2x3 and mlp_post 2x4"):
        lape.write_neurons(tmp_path / "x.neuron.pth", {"a": one, "b": other})
    with pytest.raises(LensLocError, match="no neurons to write"):
        lape.write_neurons(tmp_path / "x.neuron.pth", {})
    assert not list(tmp_path.iterdir())

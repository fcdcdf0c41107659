"""Tasks on pictures: classification, a linear probe, verification; against arithmetic by hand."""

import itertools
import tracemalloc
from collections.abc import Iterator
from typing import Any

import jaxtyping
import numpy as np
import planted_vision
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import lensloc as ll
from lensloc.tasks.labelled import Labelled
from lensloc.tasks.probes import best_threshold

SITES = {"conv": "convs.{layer}"}
RED = ll.UnitMask.from_addresses(planted_vision.PLANTED, (3, 7), widths=planted_vision.WIDTHS)


class Decides(planted_vision.Net):
    """Says how red a picture is, and how green."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(torch.arange(5) * -1e-4)  # no ties under lesions
            self.head.weight[1, 0] = 1
            self.head.weight[0, 1] = 0.02


@pytest.fixture(scope="module")
def wrapped() -> ll.Wrapped:
    return ll.wrap(Decides(), SITES, name="decides")


def test_classification_counts_the_right_class_among_the_highest(wrapped: ll.Wrapped) -> None:
    pictures = planted_vision.pictures()
    classes = {"other": 0, "red": 1}
    task = ll.tasks.classification(pictures, classes=classes)
    assert isinstance(task, ll.tasks.Task)
    result = task(wrapped)
    every = torch.cat([planted_vision.tensors(pictures[name]) for name in pictures])
    with torch.no_grad():
        scores = wrapped.module.eval()(every)
    right = torch.tensor([1] * 14 + [0] * 14)
    expected = (scores.argmax(dim=1) == right).double()
    np.testing.assert_array_equal(result.items["value"], expected)
    assert result.groups["red"] == float(expected[:14].mean()) == 1.0
    assert result.chance == 1 / 5
    assert result.items["top5"].isna().all()
    with ll.lesion(wrapped, RED):
        lesioned = task(wrapped)
    assert lesioned.groups["red"] == 0.0
    listed = ll.tasks.classification(
        [*pictures["red"], *pictures["other"]], [1] * 14 + [0] * 14, top=2
    )
    assert listed(wrapped).items["top1"].tolist() == result.items["value"].tolist()
    assert listed(wrapped).chance == 2 / 5
    assert task.at([0, 20])(wrapped).items["value"].tolist() == [1.0, float(expected[20])]


class Constant(nn.Module):
    def __init__(self, row: list[float]) -> None:
        super().__init__()
        self.part = nn.Linear(1, 1)
        self.row = torch.tensor(row)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        used = self.part(pictures.flatten(1)[:, :1])
        return {"hidden": used, "logits": self.row.expand(len(pictures), -1) + 0 * used}


def test_equal_scores_share_the_places() -> None:
    model = ll.wrap(Constant([3.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0]), {"part": ["part"]})
    pictures = {str(number): np.zeros((1, 4, 4)) + number for number in range(7)}
    result = ll.tasks.classification(pictures, top=2)(model)
    np.testing.assert_allclose(result.items["value"], [1, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    np.testing.assert_allclose(result.items["top5"], [1, 1, 1, 1, 1 / 3, 1 / 3, 1 / 3])
    assert result.score == pytest.approx(result.chance)


def test_a_probe_is_a_regression_on_the_features_of_a_layer(wrapped: ll.Wrapped) -> None:
    contrast = ll.Contrast.from_images(
        planted_vision.pictures(), target="red", control="other", name="redness"
    )
    task = ll.tasks.linear_probe(contrast, "conv", layer=1, folds=2)
    result = task(wrapped)
    found = ll.capture(wrapped, contrast.texts, contrast.labels, ["conv"], progress=False)
    features = found.responses["conv"].values[:, 1, :7].double().numpy()
    labels = np.array(contrast.labels)
    folds = result.items["fold"].to_numpy()
    assert sorted(folds) == [0] * 14 + [1] * 14
    for fold in (0, 1):
        train = folds != fold
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(std > 0, std, 1)
        probe = LogisticRegression(max_iter=5000).fit(scaled[train], labels[train])
        assert result.items["chosen"][~train].tolist() == probe.predict(scaled[~train]).tolist()
    assert result.score == 1.0
    assert result.chance == 0.5
    with ll.lesion(wrapped, RED):
        again, as_was = (
            task(wrapped),
            ll.tasks.linear_probe(contrast, "conv", layer=1, folds=2, refit=False)(wrapped),
        )
    assert again.score < 0.9
    assert as_was.groups["red"] < again.groups["red"] or as_was.score <= 0.5


def test_items_are_never_on_both_sides_of_a_probe(wrapped: ll.Wrapped) -> None:
    items = {name: tuple(str(row // 2) for row in range(14)) for name in ("red", "other")}
    contrast = ll.Contrast.from_images(
        planted_vision.pictures(), target="red", control="other", items=items
    )
    result = ll.tasks.linear_probe(contrast, "conv", folds=3)(wrapped)
    result.items["person"] = [*items["red"], *items["other"]]
    assert (result.items.groupby("person")["fold"].nunique() == 1).all()


def test_verification_compares_cosines_with_a_threshold_of_other_folds(
    wrapped: ll.Wrapped,
) -> None:
    pictures = planted_vision.pictures()
    task = ll.tasks.embedding_verification(pictures, "conv", layer=0, n_pairs=30, folds=5)
    result = task(wrapped)
    assert result.chance == 0.5
    assert result.items["group"].value_counts().to_dict() == {"same": 30, "different": 30}
    every = torch.cat([planted_vision.tensors(pictures[name]) for name in pictures])
    with torch.no_grad():
        values = wrapped.module.eval().convs[0](every).mean(dim=(2, 3))  # type: ignore[index]
    first, second = (torch.tensor([pair[side] for pair in task.pairs]) for side in (0, 1))
    expected = torch.cosine_similarity(values[first], values[second])
    np.testing.assert_allclose(result.items["cosine"], expected, rtol=1e-4)
    assert result.score > 0.9
    with ll.lesion(wrapped, RED):
        assert task(wrapped).score < result.score


def test_copies_of_a_picture_are_on_one_side_of_a_split_and_no_pair(wrapped: ll.Wrapped) -> None:
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, size=(16, 12, 12, 3), dtype=np.uint8)
    # Each picture twice, and nothing that tells the labels apart.
    twice = {"a": [*noise[:8], *noise[:8]], "b": [*noise[8:], *noise[8:]]}
    items = ll.tasks.linear_probe(twice, "conv", folds=4)(wrapped).items
    items["picture"] = [*range(8), *range(8), *range(8, 16), *range(8, 16)]
    assert (items.groupby("picture")["fold"].nunique() == 1).all()
    with pytest.raises(ll.LensLocError, match="'a' has 1 stimuli, too few for 2 folds"):
        ll.tasks.linear_probe({"a": [noise[0]] * 4, "b": list(noise)}, "conv", folds=2)
    pairs = ll.tasks.embedding_verification(twice, "conv", n_pairs=999, folds=2)
    kept = [[pairs.data.stimuli[row] for row in pair] for pair in pairs.pairs]
    assert all(one != other for one, other in kept)
    assert len(kept) == 2 * min(2 * (16 * 15 // 2 - 8), 16 * 16)


def test_pairs_are_drawn_from_all_without_listing_them() -> None:
    draw = np.random.default_rng(1)
    labels = [str(each) for each in draw.integers(0, 4, 30)]
    stimuli = tuple(f"text {number}" for number in range(30))
    found = ll.tasks.embedding_verification(Labelled(stimuli, tuple(labels)), "conv", n_pairs=40)
    sides: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for pair in itertools.combinations(range(30), 2):
        sides[labels[pair[0]] == labels[pair[1]]].append(pair)
    again = np.random.default_rng(0)
    expected = [
        side[place]
        for side in sides.values()
        for place in sorted(again.permutation(len(side))[:40].tolist())
    ]
    assert list(found.pairs) == expected
    # As many faces as a data set of people has: 18 million pairs, in less than 1 GiB of lists.
    many = Labelled(tuple(map(str, range(6_000))), tuple(str(row // 6) for row in range(6_000)))
    tracemalloc.start()
    ll.tasks.embedding_verification(many, "conv", n_pairs=5, folds=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400 * 2**20


def test_verification_runs_and_knows_the_stimuli_of_its_pairs_only(wrapped: ll.Wrapped) -> None:
    pictures = planted_vision.pictures()
    task = ll.tasks.embedding_verification(pictures, "conv", layer=0, n_pairs=30, folds=5)
    whole = task(wrapped).items.set_index("item")["cosine"]
    gone = frozenset(task.data.stimuli[:3])
    left = task.without(gone)
    assert not gone & left.texts
    ran: list[int] = []
    handle = wrapped.module.register_forward_pre_hook(lambda _, given: ran.append(len(given[0])))
    handle_of_lensloc = wrapped.module._forward_pre_hooks[handle.id]
    handle_of_lensloc._is_lensloc = True
    items = left(wrapped).items.set_index("item")["cosine"]
    handle.remove()
    assert sum(ran) == len(left.texts) < 28
    np.testing.assert_allclose(items, whole[items.index], rtol=1e-5)


def test_the_best_threshold_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        cosine = random.integers(0, 8, 12) / 8
        same = random.random(12) < 0.5
        every = [-1.0, *(value + 1 / 32 for value in np.unique(cosine))]
        best = max(((cosine > cut) == same).mean() for cut in every)
        assert ((cosine > best_threshold(cosine, same)) == same).mean() == best


def test_studies_take_tasks_of_pictures(wrapped: ll.Wrapped) -> None:
    pictures = planted_vision.pictures()
    contrast = ll.Contrast.from_images(
        {name: found[:7] for name, found in pictures.items()}, target="red", control="other"
    )
    found = ll.localize(wrapped, contrast, progress=False)
    rest = {name: each[7:] for name, each in pictures.items()}
    tasks = [
        ll.tasks.classification(rest, classes={"red": 1, "other": 0}),
        ll.tasks.linear_probe(rest, "conv", folds=2),
        ll.tasks.embedding_verification(rest, "conv", n_pairs=10, folds=2),
    ]
    study = ll.lesion_study(
        wrapped, {"red": found["conv"].top(k=3)}, tasks, controls=ll.controls(seeds=range(2)),
        n_resamples=20, progress=False,
    )  # fmt: skip
    table = study.table
    network = table[table["kind"] == "network"].set_index("task")
    assert float(network.loc["classification", "score"]) <= 0.5
    assert set(network.index) == {task.name for task in tasks}
    # Stimuli that units were selected on are kept apart.
    left = ll.tasks.classification(pictures, classes={"red": 1, "other": 0}).without(
        frozenset(contrast.texts)
    )
    assert len(left.data.stimuli) == 14


def test_bad_input_is_told_in_a_sentence(wrapped: ll.Wrapped) -> None:
    pictures = planted_vision.pictures(n=3)
    cases: list[tuple[Any, str]] = [
        (lambda: ll.tasks.classification(pictures, [1, 2]), "labels has no effect here"),
        (lambda: ll.tasks.classification([*pictures["red"]]), "classification needs labels"),
        (lambda: ll.tasks.classification([*pictures["red"]], [1]), "3 pictures but 1 labels"),
        (lambda: ll.tasks.classification({"a": pictures["red"]}), "at least two labels"),
        (lambda: ll.tasks.classification(pictures, top=0), "top is a whole number above 0"),
        (lambda: ll.tasks.classification(pictures)(wrapped), "the model has 5 classes; say which"),
        (lambda: ll.tasks.classification(pictures, classes={"red": 1})(wrapped),
         "label 'other' is not in classes"),
        (lambda: ll.tasks.classification(pictures, classes={"red": 9, "other": 0})(wrapped),
         "label 'red' is class 9, and the model's classes are 0 to 4"),
        (lambda: ll.tasks.classification(pictures, classes=["red", "other", "red"]),
         "classes 0 and 2 are both called 'red'"),
        (lambda: ll.tasks.classification(pictures, top=5)(wrapped), "top=5 of 5 classes"),
        (lambda: ll.tasks.linear_probe(pictures, "conv", folds=1), "folds is a whole number"),
        (lambda: ll.tasks.linear_probe(pictures, "conv", strength=0), "strength is a number"),
        (lambda: ll.tasks.linear_probe(pictures, "conv"), "has 3 stimuli, too few for 5 folds"),
        (lambda: ll.tasks.linear_probe(pictures, "conv", folds=2, layer=3)(wrapped),
         "no layer 3 at conv; its layers are 0 to 2"),
        (lambda: ll.tasks.linear_probe(pictures, "head", folds=2)(wrapped), "without a site"),
        (lambda: ll.tasks.embedding_verification(pictures, "conv"), "6 pairs of one label and 6"),
        (lambda: ll.tasks.embedding_verification(pictures, "conv", n_pairs=0), "n_pairs is a"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(ll.LensLocError, match=words):
            call()
    nothing = ll.wrap(nn.Sequential(nn.Conv2d(3, 4, 3)), {"own": "{layer}"})
    with pytest.raises(ll.LensLocError, match="gives no scores of classes"):
        ll.tasks.classification({"0": pictures["red"], "1": pictures["other"]})(nothing)


@pytest.fixture
def untyped() -> Iterator[None]:
    """Types as users have them: checked by nobody."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_wrong_kinds_are_told_in_a_sentence(untyped: None) -> None:
    pictures: Any = planted_vision.pictures(n=3)
    wrong: Any
    for wrong, words in (
        ({"red": 1.7, "other": 0}, "1.7, of 'red', is no whole number"),
        ({"red": True, "other": 0}, "True, of 'red', is no whole number"),
        ({"red": "x", "other": 0}, "'x', of 'red', is no whole number"),
        (3, "classes are {.*; 3 is neither"),
        ("ro", "classes are {.*; 'ro' is neither"),
    ):
        with pytest.raises(ll.LensLocError, match=words):
            ll.tasks.classification(pictures, classes=wrong)
    known = {"red": np.int64(1), "other": 0}
    assert ll.tasks.classification(pictures, classes=known).classes == {"red": 1, "other": 0}
    for given, wrong in ((7, [1, 2]), ([*pictures["red"]], 3), ([*pictures["red"]], "abc")):
        with pytest.raises(ll.LensLocError, match="are a list, with one label for each stimulus"):
            ll.tasks.classification(given, wrong)
    for make in (ll.tasks.linear_probe, ll.tasks.embedding_verification):
        for wrong, words in (
            ({"site": ["conv"]}, "site is the name of one site"),
            ({"layer": 0.5}, "layer is a whole number"),
            ({"layer": "x"}, "layer is a whole number"),
            ({"layer": True}, "layer is a whole number"),
        ):
            with pytest.raises(ll.LensLocError, match=words):
                make(pictures, folds=2, **wrong)
    wrong = "x"
    with pytest.raises(ll.LensLocError, match="strength is a number above 0"):
        ll.tasks.linear_probe(pictures, "conv", strength=wrong)

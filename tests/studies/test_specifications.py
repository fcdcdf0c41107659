"""The multiverse against analyses by hand, on a model in which one neuron does the work."""

import csv
import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pair_parts
import pandas as pd
import planted
import pytest
import torch

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, vocabulary
from lensloc.results.specification_curves import CHOICES
from lensloc.studies import localizing_ways, selections, specifications
from lensloc.studies.selections import SELECTIONS
from lensloc.studies.specification_grid import grid_of
from lensloc.studies.store import Store
from lensloc.tasks import TaskResult

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning"),
]


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that writes German thanks to one neuron; all others write next to nothing."""
    folder = tmp_path_factory.mktemp("planted")
    model: Any = ll.load_model(planted.bilingual(folder / "bilingual"), backend="hooked")
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in model.blocks:
            for weight in (block.mlp.W_out, block.attn.W_O):
                weight.add_(2e-3 * torch.randn(weight.shape, generator=random))
    return model


def chains() -> dict[str, list[str]]:
    found = {
        name: [planted.ASKED[name].split()[-1], *dict.fromkeys(words)]
        for name, words in planted.WORDS.items()
    }
    length = min(map(len, found.values()))
    return {name: words[:length] for name, words in found.items()}


@pytest.fixture(scope="module")
def german() -> ll.Contrast:
    runs = {
        name: [" ".join(words[at : at + n]) for n in (4, 5, 6) for at in range(len(words) - n + 1)]
        for name, words in chains().items()
    }
    return ll.Contrast.from_texts(runs, target="de", control="en", name="german")


@pytest.fixture(scope="module")
def goes_on(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Does a run of German words go on in German, or in English?"""
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    de, en = (chains()[name] for name in ("de", "en"))
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["sentence_good", "sentence_bad"])
        for n in (1, 2, 3):
            for at in range(n, len(de)):
                before = " ".join(de[at - n : at])
                rows.writerow([f"{before} {de[at]}", f"{before} {en[at]}"])
    return ll.tasks.minimal_pairs(file)


GRID: dict[str, Any] = {
    "selection": ["t", "d"],
    "activations": ["absolute", "signed"],
    "site": ["mlp_post", "mlp_pre", "attn_out"],
    "percent": [0.7],
    "control": ["random"],
}


def test_the_claim_holds_where_the_planted_unit_can_be_seen(
    bilingual: Any, german: ll.Contrast, goes_on: Any
) -> None:
    found = ll.multiverse(bilingual, german, [goes_on], GRID, draws=19, progress=False)
    assert len(found.table) == found.n_specifications == 12
    seen = found.table["site"].isin(["mlp_post", "mlp_pre"])
    assert (found.table["verdict"] == "holds").equals(seen)
    assert set(found.table["verdict"][~seen]) == {"not told apart"}
    np.testing.assert_allclose(found.table["difference"][seen], 1.0, atol=0.05)
    np.testing.assert_allclose(found.table["p_more"][seen], 1 / 20)
    assert (found.table["n_units"][seen] == 1).all()
    said = " ".join(found.summary())
    assert "holds in 8 of 12 specifications (67 %) by the test over draws at 5 %" in said
    assert "What matters most is site" in said
    assert "4 of 4 with mlp_post, 4 of 4 with mlp_pre and 0 of 4 with attn_out" in said
    matters = found.matters().set_index("choice")
    assert matters["pairs"].to_dict() == {"selection": 6, "activations": 6, "site": 12}
    assert matters["change"]["site"] == pytest.approx(2 / 3, abs=0.05)
    assert matters["verdicts"]["site"] == pytest.approx(2 / 3)
    # Of sides of one size, Welch's t and d rank alike, which is told.
    assert any("selection never changes which units are chosen" in s for s in found.warnings)


def test_two_draws_conclude_nothing(bilingual: Any, german: ll.Contrast, goes_on: Any) -> None:
    found = ll.multiverse(
        bilingual, german, [goes_on], {**GRID, "selection": ["t"]}, draws=2, progress=False
    )
    assert set(found.table["verdict"]) == {"open"}
    said = " ".join(found.summary())
    assert "In none of 6 specifications can anything be concluded" in said
    assert not re.search(r"holds|not told apart|does no harm", said)
    assert any("nothing can be concluded from so few" in s for s in found.warnings)


# -- against the public functions ------------------------------------------------------------------

TEXTS = [
    "the old gardener watered every plant before the sun came up",
    "nobody in the village remembered who had built the stone bridge",
    "twelve plus nineteen is thirty one and nothing else",
]


@pytest.fixture(scope="module")
def texts() -> ll.tasks.Perplexity:
    return ll.tasks.perplexity(TEXTS, name="texts")


@pytest.fixture(scope="module")
def even(small_contrast: ll.Contrast) -> ll.Contrast:
    """As many stimuli on either side, so that they pair, and Welch's t and d rank alike."""
    return small_contrast.keep({"sentences": [0, 1, 3, 4], "nonwords": range(4)})


ROWS: list[dict[str, Any]] = [
    {"activations": "signed", "pooling": "mean", "max_tokens": 4, "bos": "add", "percent": 5,
     "site": "mlp_post", "mode": "mean", "control": "layer"},
    {"test": "paired", "mode": {"mode": "scale", "scale": 0.5}, "control": "least-active"},
    {"pooling": "word-end", "bos": "none", "site": "z", "percent": 10, "control": "magnitude"},
    {"selection": "gradient", "site": "mlp_out", "max_tokens": 5, "bos": "add", "control": "random",
     "mode": "dims-mean"},
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[", ".join(row) for row in ROWS])
def test_a_row_is_the_same_analysis_by_hand(
    row: dict[str, Any],
    tiny_llama: Any,
    even: ll.Contrast,
    texts: ll.tasks.Perplexity,
) -> None:
    if row["control"] == "random":
        row = {**row, "site": "resid_post"}
    choices = {"percent": 3, "control": "random", **row}
    found = ll.multiverse(tiny_llama, even, [texts], choices, draws=4, seed=3, progress=False)
    (mine,) = found.table.to_dict("records")
    site, percent = choices.get("site", "resid_post"), choices["percent"]
    seen: dict[str, Any] = {"max_tokens": row.get("max_tokens"), "bos": row.get("bos", "model")}
    if row.get("selection") == "gradient":
        mask = ll.attribute(tiny_llama, even, site=site, **seen, progress=False).top(
            percent=percent
        )
    else:
        mask = ll.localize(
            tiny_llama, even, [site], pooling=row.get("pooling", "last-token"),
            absolute=row.get("activations") != "signed", test=row.get("test", "welch"), **seen,
            progress=False,
        ).top(percent=percent)  # fmt: skip
    mode = row.get("mode", "zero")
    study = ll.lesion_study(
        tiny_llama, {"hand": mask}, [texts], ll.controls(row["control"], seeds=range(4)),
        modes=[mode], reference=even if "mean" in str(mode) else None, seed=3,
        progress=False,
    )  # fmt: skip
    (compared,) = study.comparisons.to_dict("records")
    own = study.table[study.table["kind"] == "network"].iloc[0]
    for name in ("score", "intact", "drop", "n_items", "n_units"):
        assert mine[name] == own[name], name
    for name in ("control_drop", "difference", "difference_low", "difference_high", "p_more",
                 "p_less", "min_p", "draws", "n_compared"):  # fmt: skip
        assert mine[name] == pytest.approx(compared[name], rel=1e-9, nan_ok=True), name
    assert mine["smd"] == pytest.approx(study.balance["smd"].iloc[0])
    assert mine["overlap"] == 1
    assert mine["reference"]


def test_every_kind_of_model_gives_the_same(
    checkpoints: dict[str, Path], even: ll.Contrast, texts: ll.tasks.Perplexity
) -> None:
    choices = {"selection": ["t", "gradient"], "site": ["resid_post", "mlp_post"], "percent": [5.0],
               "mode": ["zero", "mean"], "control": ["layer"]}  # fmt: skip
    tables = [
        ll.multiverse(
            ll.load_model(checkpoints["llama"], backend=backend, dtype="float64"),
            even, [texts], choices, draws=2, progress=False,
        ).table
        for backend in ("bridge", "transformers")
    ]  # fmt: skip
    # Parts of transformers' own models compute in float32.
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-6)


def test_overlap_is_dice_with_the_reference(
    tiny_llama: Any, even: ll.Contrast, texts: ll.tasks.Perplexity
) -> None:
    choices = {"activations": ["absolute", "signed"], "site": ["resid_post", "mlp_post"],
               "percent": [5.0], "control": ["random"]}  # fmt: skip
    found = ll.multiverse(
        tiny_llama, even, [texts], choices, draws=1, progress=False,
        reference_specification={"activations": "signed"},
    ).table  # fmt: skip
    ways = {
        way: ll.localize(tiny_llama, even, absolute=way == "absolute", progress=False)
        .top(percent=5)
        for way in ("absolute", "signed")
    }  # fmt: skip
    dice = ll.overlap(ways)["dice"].item()
    by_choice = found.set_index(["activations", "site"])["overlap"]
    assert by_choice["signed", "resid_post"] == 1
    assert by_choice["absolute", "resid_post"] == dice < 1
    assert by_choice[:, "mlp_post"].isna().all()
    assert found["reference"].tolist() == [False, False, True, False]


# -- once ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """A task that runs no model: what a lesion costs depends on how often it was asked."""

    runs: list[int]
    name: str = "counted"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"task": "counted"})
    breaks_at: int = -1

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        if len(self.runs) == self.breaks_at:
            raise KeyboardInterrupt
        self.runs.append(1)
        value = torch.randn(12, generator=torch.Generator().manual_seed(_open_units(model)))
        items = pd.DataFrame({"item": range(12), "group": "all", "value": value, "weight": 1.0})
        return TaskResult(self.name, "accuracy", items.astype({"item": str, "value": float}))


def _open_units(model: Any) -> int:
    """A number that tells what is lesioned."""
    from lensloc.lesions.lesioning import open_lesions

    return hash(repr([found.settings for found in open_lesions(model)])) % 2**31


@pytest.fixture
def passes(tiny_llama: Any) -> Iterator[list[int]]:
    """Forward passes of the model, one entry each."""
    seen: list[int] = []
    handle = tiny_llama.embed.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


def test_the_stimuli_are_run_once_for_every_view(
    tiny_llama: Any, even: ll.Contrast, passes: list[int]
) -> None:
    sites = ["resid_post", "mlp_post"]
    ll.localize(tiny_llama, even, sites, batch_size=2, progress=False)
    one = len(passes)
    passes.clear()
    choices = {"selection": ["t", "d"], "activations": ["absolute", "signed"],
               "test": ["welch", "paired"], "pooling": ["mean", "max"], "max_tokens": [None, 3],
               "site": sites, "percent": [5.0, 10.0], "control": ["random"]}  # fmt: skip
    found = ll.multiverse(
        tiny_llama, even, [Counted([])], choices, draws=1, batch_size=2, progress=False
    )
    assert len(passes) == 4 * one
    # t in four ways and d in two, in four views, at two sites, in two sizes.
    assert len(found.table) == (4 + 2) * 4 * 2 * 2


def test_a_lesion_is_measured_once(tiny_llama: Any, even: ll.Contrast) -> None:
    task = Counted([])
    choices = {"selection": ["t", "d"], "activations": ["absolute", "signed"], "percent": [5, 10],
               "control": ["random", "layer"], "mode": ["zero", "mean"]}  # fmt: skip
    found = ll.multiverse(tiny_llama, even, [task], choices, draws=3, progress=False)
    lesions = set()
    for row in found.table.itertuples():
        mask = ll.localize(
            tiny_llama, even, absolute=row.activations == "absolute", progress=False
        ).top(percent=row.percent)  # t and d rank alike
        controls = ll.controls(row.control, seeds=range(3))(mask)
        for each in (mask, *(control.mask for control in controls)):
            lesions.add((row.mode, each.mask.numpy().tobytes()))
    assert len(task.runs) == 1 + len(lesions)
    assert found.table["unit_set"].nunique() == 4


def test_what_was_interrupted_goes_on(
    tiny_llama: Any, even: ll.Contrast, tmp_path: Path, passes: list[int]
) -> None:
    choices = {"activations": ["absolute", "signed"], "site": ["resid_post", "mlp_post"],
               "percent": [5.0], "control": ["random"]}  # fmt: skip

    def run(task: Counted, store: Any) -> ll.Multiverse:
        return ll.multiverse(
            tiny_llama, even, [task], choices, draws=3, store=store, progress=False
        )

    whole = Counted([])
    expected = run(whole, None)
    first, second = Counted([], breaks_at=7), Counted([])
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path)
    passes.clear()
    found = run(second, tmp_path)
    assert len(first.runs) == 7
    assert len(first.runs) + len(second.runs) == len(whole.runs)
    assert not passes  # stimuli neither
    pd.testing.assert_frame_equal(found.table, expected.table)
    again = Counted([])
    pd.testing.assert_frame_equal(run(again, tmp_path).table, expected.table)
    assert not again.runs


def test_what_is_left_is_counted(
    tiny_llama: Any, even: ll.Contrast, texts: Any, tmp_path: Path
) -> None:
    from lensloc.studies.specification_measuring import Outlook
    from lensloc.studies.specification_runs import run_multiverse

    told: list[Outlook] = []

    def run(choices: Mapping[str, Any]) -> None:
        run_multiverse(
            tiny_llama, even, [texts], choices, reference_specification=None, draws=3,
            reference=None, pairs=None, exact=False, seed=0, confidence=0.95, truncate=False,
            batch_size="auto", store=Store.at(tmp_path), progress=False, tell=told.append,
        )  # fmt: skip

    run({"percent": [5], "control": ["random"]})
    run({"percent": [5, 10], "control": ["random"]})
    run({"percent": [5, 10], "control": ["random"]})
    assert [(each.network_lesions, each.control_lesions, each.left) for each in told] == [
        (1, 3, 4), (2, 6, 4), (2, 6, 0),
    ]  # fmt: skip
    assert [each.unit_sets for each in told] == [1, 2, 2]
    assert told[1].seconds[1] >= told[1].seconds[0] > 0
    assert told[2].seconds == (0, 0)


# -- what is no specification of its own -----------------------------------------------------------


def test_what_plays_no_part_counts_once(tiny_llama: Any, even: ll.Contrast, texts: Any) -> None:
    choices = {"selection": ["t", "d", "gradient"], "test": ["welch", "paired"],
               "activations": ["absolute", "signed"], "percent": [5.0], "control": ["random"],
               "mode": ["zero"]}  # fmt: skip
    found = ll.multiverse(tiny_llama, even, [texts], choices, draws=1, progress=False)
    assert found.combinations == 12
    assert found.table["selection"].value_counts().to_dict() == {"t": 4, "d": 2, "gradient": 1}
    by_gradient = found.table[found.table["selection"] == "gradient"].iloc[0]
    assert [by_gradient[name] for name in ("activations", "test", "pooling")] == ["", "", ""]
    assert found.left_out["n"].sum() == 12 - 7
    assert any("d makes no use of test" in s for s in found.summary())
    # Where a choice plays no part, its value is the reference's: t, d and the gradient of absolute
    # responses by Welch's test; t and d of signed ones.
    assert found.matters().set_index("choice")["pairs"]["selection"] == 3 + 1


def test_what_cannot_be_made_is_left_out_by_name(
    tiny_llama: Any, even: ll.Contrast, texts: Any
) -> None:
    unequal = even.keep({"sentences": range(4), "nonwords": range(3)})
    choices = {
        "selection": ["t", "gradient"],
        "test": ["welch", "paired"],
        "site": ["resid_post", "mlp_post", "attn_entropy"],
        "percent": [5.0],
        "mode": ["zero", "write"],
        "control": ["layer", "dimension"],
    }
    found = ll.multiverse(tiny_llama, unequal, [texts], choices, draws=1, progress=False)
    # t by Welch's test and the gradient; both modes and controls at one site, one of each at the
    # other.
    assert len(found.table) == 2 * (4 + 1)
    assert "paired" not in set(found.table["test"])
    out = found.left_out.set_index("reason")
    assert out["n"].sum() + len(found.table) == found.combinations == 48
    reasons = {
        "mode='write' removes": ("site", "mlp_post"),
        "does not lie on the residual stream": ("control", "dimension"),
        "say where heads attend": ("site", "attn_entropy"),
        "have no effect of their own": ("selection", "gradient"),
        "stimuli": ("test", "paired"),
    }
    for words, (name, value) in reasons.items():
        (row,) = [row for reason, row in out.iterrows() if words in str(reason)]
        assert row["kind"] == "cannot be made"
        assert row["choices"][name] == value
    told = [s for s in found.warnings if "cannot be made and are left out" in s]
    assert len(told) == 1
    assert "combinations left out" in repr(found)


def test_the_usual_choices_make_at_least_96(tiny_llama: Any) -> None:
    contrast = ll.contrasts.language()
    grid = grid_of(tiny_llama, contrast, None, None, None, 0)
    assert len(grid.specifications) >= 96
    assert grid.reference in grid.specifications
    assert grid.combinations == len(grid.specifications) + sum(out.n for out in grid.left_out)
    assert len(set(grid.specifications)) == len(grid.specifications)


def test_values_without_effect_are_left_out_of_the_usual_choices(tiny_llama: Any) -> None:
    short = ll.Contrast.from_texts({"a": ["x y", "z y"], "b": ["u v", "v w"]},
                                   target="a", control="b")  # fmt: skip
    grid = grid_of(tiny_llama, short, None, None, None, 0)
    assert {one.max_tokens for one in grid.specifications} == {None}
    assert any("cuts off nothing" in out.reason for out in grid.left_out)


def test_units_by_pairs_are_those_of_attribution_patching(
    tiny_llama: Any, small_contrast: ll.Contrast, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pair_parts.letters()
    task = ll.tasks.perplexity(["the old gardener watered", "the stone bridge is old"])
    choices = {
        "selection": ["pairs", "t"],
        "pooling": ["last-token", "mean"],
        "site": ["mlp_post", "resid_post", "attn_entropy"],
        "percent": [5.0],
        "control": ["random"],
    }
    looks = []

    def counted(*given: Any, **options: Any) -> Any:
        looks.append(given)
        return ll.localize_pairs(*given, **options)

    monkeypatch.setattr(selections, "localize_pairs", counted)
    found = ll.multiverse(
        tiny_llama, small_contrast, [task], choices, draws=2, pairs=pairs, progress=False
    )
    assert len(looks) == 1  # all sites at once
    own = found.table[found.table["selection"] == "pairs"].set_index("site")
    assert set(own.index) == {"mlp_post", "resid_post"}
    assert set(own["pooling"]) == {""}
    reasons = " ".join(found.left_out["reason"])
    assert "attn_entropy are computed from attention patterns" in reasons
    assert "makes no use of pooling" in reasons
    for site in own.index:
        mask = ll.localize_pairs(tiny_llama, pairs, site, progress=False).top(percent=5.0)
        assert own.loc[site, "n_units"] == len(mask)
        with ll.lesion(tiny_llama, mask):
            assert own.loc[site, "score"] == pytest.approx(task(tiny_llama).score)
    # What the units were selected on is told of pairs, too.
    again = ll.tasks.perplexity([pairs.texts[0]])
    told = ll.multiverse(
        tiny_llama, small_contrast, [again], {"selection": ["t", "pairs"], "control": ["random"]},
        draws=2, pairs=pairs, progress=False,
    ).warnings  # fmt: skip
    assert any("1 text of the task perplexity are among" in each for each in told), told


def test_vocabulary_and_tables_name_the_same_choices() -> None:
    assert tuple(SELECTIONS) == vocabulary.SELECTIONS
    assert tuple(specifications.CHOICES) == CHOICES == tuple(vocabulary.SPECIFICATION)
    assert set(vocabulary.ANALYSTS) <= set(CHOICES)
    for selection in SELECTIONS.values():
        assert set(selection.unused) < set(CHOICES)
    names = [each.name for each in dataclasses.fields(specifications.Specification)]
    assert names == list(CHOICES)


# -- bad input -------------------------------------------------------------------------------------

BAD: list[tuple[Any, dict[str, Any], str]] = [
    ({"pool": ["mean"]}, {}, "There is no choice 'pool'; there are selection, activations, test"),
    ({"pooling": ["mode"]}, {}, "There is no pooling 'mode'; there are last-token"),
    ({"selection": ["tt"]}, {}, "There is no selection 'tt'; there are t, d, gradient"),
    ({"activations": ["raw"]}, {}, "There is no kind of activations 'raw'"),
    ({"site": ["resid"]}, {}, "There is no site 'resid'"),
    ({"mode": ["off"]}, {}, "There is no mode 'off'"),
    ({"control": ["layers"]}, {}, "There is no control 'layers'"),
    ({"control": [None]}, {}, "control is a kind of control, e.g. 'layer'"),
    ({"percent": [0]}, {}, "above 0 and at most 100"),
    ({"percent": ["many"]}, {}, "percent is a number; 'many' is none"),
    ({"max_tokens": [0]}, {}, "At least one token of a text must be kept"),
    ({"max_tokens": [2.5]}, {}, "max_tokens is a whole number, or None for whole texts"),
    ({}, {}, "choices is empty; name at least one"),
    ({"percent": []}, {}, "The choice percent has no value"),
    ({"percent": [1, 1.0]}, {}, "The choice percent has 1.0 twice"),
    ({"mode": ["zero", "zero"]}, {}, "The mode 'zero' is given twice"),
    ({"selection": ["gradient"], "test": ["welch", "paired"]}, {},
     "test has no effect here: a selection by gradient makes no use of it"),
    ({"max_tokens": [None, 90]}, {}, "max_tokens has a value without effect: no stimulus has more"),
    ({"bos": ["model", "none"]}, {}, "bos none does the same as model with this model"),
    ({"percent": [5]}, {"reference_specification": {"percent": 1}},
     "The reference specification has percent 1, which is not among the choices (5.0)"),
    ({"percent": [5]}, {"reference_specification": {"size": 1}}, "There is no choice 'size'"),
    ({"site": ["attn_entropy"]}, {}, "The reference specification cannot be made: Units at attn"),
    ({"percent": [5]}, {"draws": 0}, "draws is at least 1"),
    ({"percent": [5]}, {"confidence": 1.0}, "confidence lies between 0 and 1"),
    ({"percent": [5]}, {"reference": "contrast"}, "none of which uses it"),
    ({"selection": ["pairs"]}, {}, "A selection by pairs needs them; give some"),
    ({"percent": [5]}, {"pairs": pair_parts.letters()}, "pairs has no effect here: no selection"),
    ({"selection": ["pairs"]}, {"pairs": pair_parts.given()}, "The reference specification cannot"),
    ({"selection": ["pairs", "gradient"], "max_tokens": [None, 2], "pooling": ["mean"]},
     {"pairs": pair_parts.letters()}, "pooling has no effect here: a selection by pairs and grad"),
]  # fmt: skip


@pytest.mark.parametrize(("choices", "given", "sentence"), BAD, ids=[row[2][:40] for row in BAD])
def test_bad_choices_are_told_in_a_sentence(
    choices: Any,
    given: dict[str, Any],
    sentence: str,
    tiny_llama: Any,
    small_contrast: ll.Contrast,
    texts: Any,
) -> None:
    if given.get("reference") == "contrast":
        given = {"reference": small_contrast}
    with pytest.raises(LensLocError) as caught:
        ll.multiverse(tiny_llama, small_contrast, [texts], choices, progress=False, **given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_task_and_two_of_one_name_are_refused(
    tiny_llama: Any, small_contrast: ll.Contrast, texts: Any
) -> None:
    with pytest.raises(LensLocError, match="no task to measure"):
        ll.multiverse(tiny_llama, small_contrast, [], progress=False)
    with pytest.raises(LensLocError, match="Two tasks have one name"):
        ll.multiverse(tiny_llama, small_contrast, [texts, texts], progress=False)


def test_one_capture_serves_all_ways(tiny_llama: Any, even: ll.Contrast, tmp_path: Path) -> None:
    """The maps are those of localize, under the same keys."""
    ways = [(True, "welch"), (False, "welch"), (True, "paired")]
    store = Store.at(tmp_path)
    view = localizing_ways.View("mean", 4, "add")
    found = localizing_ways.localize_ways(
        tiny_llama, even, ["head", "mlp_post"], ways, view, store=store, progress=False
    )  # type: ignore[arg-type]
    for absolute, test in ways:
        by_hand = ll.localize(
            tiny_llama, even, ["head", "mlp_post"], pooling="mean", max_tokens=4,
            bos="add", absolute=absolute, test=test, progress=False,
        )  # type: ignore[arg-type]  # fmt: skip
        looked_up = ll.localize(
            tiny_llama, even, ["head", "mlp_post"], pooling="mean", max_tokens=4,
            bos="add", absolute=absolute, test=test, progress=False, store=store,
        )  # type: ignore[arg-type]  # fmt: skip
        assert looked_up.from_store == ("head", "mlp_post")
        for site, one in by_hand.items():
            mine = found[absolute, test][site]  # type: ignore[index]
            torch.testing.assert_close(mine.t, one.t, rtol=1e-9, atol=1e-9)
            assert mine.provenance.replace(date="") == one.provenance.replace(date="")
            assert mine.provenance.prepends_bos
            assert mine.warnings == one.warnings


@pytest.mark.parametrize("bos", ["model", "add", "none"])
def test_bos_stands_before_every_stimulus(tiny_llama: Any, bos: Any) -> None:
    texts, token = ["the old gardener", "nobody"], tiny_llama.tokenizer.bos_token
    found = ll.capture(tiny_llama, texts, ["a", "b"], bos=bos, progress=False)
    written = [token + text for text in texts] if bos == "add" else texts
    by_hand = ll.capture(tiny_llama, written, ["a", "b"], progress=False)
    torch.testing.assert_close(
        found.responses["resid_post"].values, by_hand.responses["resid_post"].values
    )
    assert found.n_tokens == by_hand.n_tokens


def test_bos_stands_before_every_text_of_an_attribution(
    tiny_llama: Any, small_contrast: ll.Contrast
) -> None:
    texts = small_contrast.keep({"sentences": [0, 1, 3], "nonwords": [0, 1, 3]})
    token = tiny_llama.tokenizer.bos_token
    written = ll.Contrast.from_texts(
        {name: [token + text for text in several] for name, several in texts.conditions.items()},
        target="sentences", control="nonwords",
    )  # fmt: skip
    found = ll.attribute(tiny_llama, texts, bos="add", progress=False)
    by_hand = ll.attribute(tiny_llama, written, progress=False)
    torch.testing.assert_close(found.score, by_hand.score)
    assert found.provenance.prepends_bos


def test_warnings_are_the_results(tiny_llama: Any, small_contrast: ll.Contrast) -> None:
    with pytest.MonkeyPatch.context():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error", LensLocWarning)
            found = ll.multiverse(
                tiny_llama, small_contrast, [ll.tasks.perplexity(small_contrast.texts[:2])],
                {"percent": [5, 10], "control": ["layer"]}, draws=1, progress=False,
            )  # fmt: skip
    assert any("2 texts of the task perplexity are among the stimuli" in s for s in found.warnings)
    assert any("none of the chosen units differs" in s for s in found.warnings)
    html = found._repr_html_()
    assert "Multiverse(2 specifications of percent" in html

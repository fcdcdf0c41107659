"""Reading tables, splitting, balance and matching."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotted import selectivity
from published_stimuli import tom_folder

import lensloc as ll
from lensloc import Contrast, LensLocError, contrasts
from lensloc.contrasts.balance import length, standardised_difference
from lensloc.contrasts.published import read_theory_of_mind

ROWS = [
    {"kind": "hot", "words": "fire burns", "pair": 1},
    {"kind": "cold", "words": "ice melts, slowly", "pair": 1},
    {"kind": "hot", "words": "the sun", "pair": 2},
    {"kind": "cold", "words": "snow", "pair": 2},
    {"kind": "mild", "words": "spring", "pair": 3},
]
COLUMNS: dict[str, Any] = {
    "text": "words", "condition": "kind", "item": "pair", "target": "hot", "control": "cold",
}  # fmt: skip


def check(contrast: Contrast) -> None:
    assert contrast.conditions == {
        "hot": ("fire burns", "the sun"),
        "cold": ("ice melts, slowly", "snow"),
        "mild": ("spring",),
    }
    assert contrast.items is not None
    assert contrast.items["cold"] == ("1", "2")
    assert contrast.texts == ("fire burns", "the sun", "ice melts, slowly", "snow")


def test_every_source_gives_the_same_contrast(tmp_path: Path, monkeypatch: Any) -> None:
    table = pd.DataFrame(ROWS)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    check(Contrast.from_dataframe(table, **COLUMNS))
    check(Contrast.from_csv(tmp_path / "t.csv", **COLUMNS))
    check(Contrast.from_parquet(tmp_path / "t.parquet", **COLUMNS))
    check(Contrast.from_jsonl(tmp_path / "t.jsonl", **COLUMNS))


def test_a_data_set_on_disk_is_read_with_its_label_names(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "data.csv"
    path.write_text("sentence,label\nfire,1\nice,0\n")
    folder = tmp_path / "hot_or_cold"
    folder.mkdir()
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["cold", "hot"])}
    )
    made = datasets.Dataset.from_dict(
        {"sentence": ["fire", "ice"], "label": [1, 0]}, features=features
    )
    made.to_parquet(folder / "train.parquet")
    contrast = Contrast.from_huggingface(
        str(folder), "train", text="sentence", condition="label", target="hot", control="cold"
    )
    assert contrast.conditions == {"hot": ("fire",), "cold": ("ice",)}
    assert contrast.name == "hot_or_cold"


def test_a_data_set_that_cannot_be_had_is_told_in_a_sentence() -> None:
    with pytest.raises(LensLocError, match=r"someone/unknown .* could not be loaded"):
        Contrast.from_huggingface("someone/unknown", target="a", control="b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"kind": "hot", "words": "x"}\n{"kind": "hot"}\n', "row 2: lacks the field 'words'"),
        ('{"kind": "hot", "words": "x"}\n{"kind"', "row 2: not JSON"),
        ('["hot"]\n', "row 1: not a JSON object"),
        ('{"kind": "hot", "words": " "}\n', "row 1: the column 'words' is empty"),
        ('{"kind": "hot", "words": null}\n', "row 1: the column 'words' is empty"),
    ],
)
def test_bad_json_lines_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(content)
    with pytest.raises(LensLocError, match=message):
        Contrast.from_jsonl(path, text="words", condition="kind", target="hot", control="cold")


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(LensLocError, match="not a readable Parquet"):
        Contrast.from_parquet(tmp_path / "t.parquet", target="a", control="b")
    for reader in (Contrast.from_parquet, Contrast.from_jsonl, Contrast.from_csv):
        with pytest.raises(LensLocError, match="no stimulus file"):
            reader(tmp_path / "none", target="a", control="b")
    with pytest.raises(LensLocError, match="the table lacks the column 'text'"):
        Contrast.from_dataframe(pd.DataFrame(ROWS), condition="kind", target="hot", control="cold")
    table = pd.DataFrame({"text": ["x", None], "condition": ["a", "b"]})
    with pytest.raises(LensLocError, match="row 2: the column 'text' is empty"):
        Contrast.from_dataframe(table, target="a", control="b")


def test_with_roles() -> None:
    emotion = contrasts.emotion().with_roles(target="joy", control=["anger", "fear"])
    assert emotion.target == ("joy",)
    assert len(emotion.texts) == 360
    with pytest.raises(LensLocError, match="'bliss' is not among"):
        contrasts.emotion().with_roles(target="bliss", control="fear")


def test_duplicates_are_told_with_their_places() -> None:
    contrast = Contrast.from_texts({"a": ["x", "y", "x"], "b": ["z", "y"]}, target="a", control="b")
    assert contrast.duplicates() == [
        "'x' occurs 2 times: a 1, a 3", "'y' occurs 2 times: a 2, b 2",
    ]  # fmt: skip


# -- splitting ---------------------------------------------------------------------------------


def test_halves_are_disjoint_complete_and_keep_pairs_together() -> None:
    contrast = contrasts.emotion()
    first, second = contrast.split(seed=3)
    assert first.items is not None
    assert second.items is not None
    for name, texts in contrast.conditions.items():
        assert sorted(first.conditions[name] + second.conditions[name]) == sorted(texts)
        assert len(first.conditions[name]) == len(second.conditions[name]) == 60
        assert set(first.items[name]) == set(first.items["anger"])
        assert not set(first.items[name]) & set(second.items["anger"])
    again, _ = contrast.split(seed=3)
    assert again.conditions == first.conditions
    other, _ = contrast.split(seed=4)
    assert other.conditions != first.conditions


def test_unrelated_conditions_are_halved_each_by_itself() -> None:
    contrast = Contrast.from_texts(
        {"a": [f"a{i}" for i in range(5)], "b": [f"b{i}" for i in range(10)]},
        target="a", control="b",
    )  # fmt: skip
    first, second = contrast.split(seed=0)
    assert [len(t) for t in first.conditions.values()] == [3, 5]
    assert [len(t) for t in second.conditions.values()] == [2, 5]


def test_one_text_cannot_be_split() -> None:
    contrast = Contrast.from_texts({"a": ["x"], "b": ["y", "z"]}, target="a", control="b")
    with pytest.raises(LensLocError, match="'a' cannot be split"):
        contrast.split(seed=0)


# -- balance -----------------------------------------------------------------------------------


def test_standardised_difference_equals_cohens_d() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 2, 20), rng.normal(1, 1, 30)
    pooled = np.sqrt((19 * a.var(ddof=1) + 29 * b.var(ddof=1)) / 48)
    assert standardised_difference(list(a), list(b)) == pytest.approx(
        (a.mean() - b.mean()) / pooled
    )
    assert standardised_difference([2, 2], [2, 2]) == 0
    assert standardised_difference([3, 3], [2, 2]) == float("inf")


def test_balance_counts_and_warns(tiny_llama: Any, caplog: Any) -> None:
    contrast = Contrast.from_texts(
        {"long": ["the old gardener watered", "nobody remembered who built"],
         "short": ["a sun", "the sun came"], "unused": ["x"]},
        target="long", control="short",
    )  # fmt: skip
    found = contrast.balance(tiny_llama)
    table = found.table.set_index("condition")
    assert table.loc["long", "words"] == 4
    assert table.loc["short", "words"] == 2.5
    assert table.loc["short", "characters"] == 8.5
    counted = [len(tiny_llama.to_tokens(text)[0]) for text in contrast.conditions["long"]]
    assert table.loc["long", "tokens"] == np.mean(counted)
    assert list(table["role"]) == ["target", "control", ""]
    assert set(found.differences) == {"tokens", "characters", "words"}
    assert len(found.warnings) == 3
    assert "can pass for selectivity" in caplog.text
    assert "tokens" not in contrast.balance().differences


# -- matching ----------------------------------------------------------------------------------


def words(n: int, letter: str) -> str:
    return " ".join([letter] * n)


def test_the_largest_subset_is_kept() -> None:
    contrast = Contrast.from_texts(
        {"a": [words(n, "a") for n in (1, 2, 2, 5, 9)],
         "b": [words(n, "b") for n in (2, 2, 3, 5, 5)]},
        target="a", control="b",
    )  # fmt: skip
    exact = contrast.matched(on="words", method="subset")
    assert sorted(len(t.split()) for t in exact.conditions["a"]) == [2, 2, 5]
    assert sorted(len(t.split()) for t in exact.conditions["b"]) == [2, 2, 5]
    loose = contrast.matched(on="words", tolerance=1, method="subset")
    assert len(loose.conditions["a"]) == 4  # 1-2, 2-2, 2-3, 5-5: no fifth partner for 9
    assert loose.items is not None
    assert loose.items["a"] == loose.items["b"]


def test_subset_is_optimal_against_brute_force() -> None:
    from itertools import permutations

    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(1, 9, 5).tolist(), rng.integers(1, 9, 5).tolist()
        best = max(
            sum(abs(x - y) <= 1 for x, y in zip(a, order, strict=True)) for order in permutations(b)
        )
        contrast = Contrast.from_texts(
            {"a": [words(n, f"a{i}") for i, n in enumerate(a)],
             "b": [words(n, f"b{i}") for i, n in enumerate(b)]},
            target="a", control="b",
        )  # fmt: skip
        if best == 0:
            continue
        found = contrast.matched(on="words", tolerance=1, method="subset")
        assert len(found.conditions["a"]) == best


def test_cutting_ends_at_words_and_agrees_in_tokens(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    found = small_contrast.matched(tiny_llama, method="cut")
    pairs = list(zip(*found.conditions.values(), strict=True))
    assert pairs
    originals = [text for texts in small_contrast.conditions.values() for text in texts]
    for a, b in pairs:
        assert length(a, "tokens", tiny_llama) == length(b, "tokens", tiny_llama)
        for text in (a, b):
            assert any(whole == text or whole.startswith(text + " ") for whole in originals)
    assert found.balance(tiny_llama).differences["tokens"] == 0


def test_auto_cuts_where_a_subset_would_lose_too_much(tiny_llama: Any) -> None:
    contrast = Contrast.from_texts(
        {"a": ["one two three four five six"] * 4, "b": ["one two"] * 4}, target="a", control="b"
    )
    found = contrast.matched(on="words")
    assert set(found.conditions["a"]) == {"one two"}
    assert len(found.conditions["a"]) == 4


def test_auto_does_not_cut_what_would_keep_less(caplog: pytest.LogCaptureFixture) -> None:
    """Of texts without spaces, as in Chinese, no beginning can be cut off at the end of a word."""
    a = [
        "狗跑",
        "猫在睡觉",
        "孩子们在唱歌",
        "天空是蓝色的哦",
        "我早上喜欢喝咖啡",
        "今天的阳光非常明媚",
    ]
    b = ["今天的阳光真明媚", "x", "狗在公园里跑", "猫睡", "河水冷", "因为下雨我们没有去山上"]
    contrast = Contrast.from_texts({"a": a, "b": b[:3], "c": b[3:]}, target="a", control=["b", "c"])
    found = contrast.matched(on="characters")
    assert found.conditions["a"] == ("狗跑", "孩子们在唱歌", "我早上喜欢喝咖啡")
    assert sorted(map(len, [*found.conditions["b"], *found.conditions["c"]])) == [2, 6, 8]
    assert not caplog.records  # half of the texts are left
    less = contrast.with_roles(target="a", control="b").matched(on="characters")
    assert len(less.conditions["a"]) == 2
    assert not caplog.records
    last = Contrast.from_texts({"a": a, "b": b[:3], "d": [*b[4:], *"yzv"]}, target="a",
                               control=["b", "d"])  # fmt: skip
    assert list(last.matched(on="characters").conditions) == ["a", "b"]
    assert "2 pairs are equally long in characters, of 6 that there could be, and none has a " in (
        caplog.text
    )
    assert "text of 'd'; another measure, or a tolerance, keeps more" in caplog.text


def test_matching_trouble_is_told(tiny_llama: Any) -> None:
    contrast = Contrast.from_texts({"a": ["aaaa"], "b": ["b"]}, target="a", control="b")
    with pytest.raises(LensLocError, match="needs a model"):
        contrast.matched()
    with pytest.raises(LensLocError, match="No text of the target can be matched"):
        contrast.matched(on="characters")
    with pytest.raises(LensLocError, match="at least 0"):
        contrast.matched(on="words", tolerance=-1)


# -- published theory of mind ------------------------------------------------------------------


def test_published_stories_are_read(tmp_path: Path) -> None:
    folder = tom_folder(tmp_path / "tomloc")
    contrast = read_theory_of_mind(folder, instruction="Read this.", seed=5)
    draw = np.random.RandomState(5)
    answers = [draw.choice(["True", "False"]) for _ in range(20)]
    assert contrast.conditions["false-belief"][1] == (
        "Read this.\nStory: Story 2 of belief goes on here.\nQuestion: Is it 2 of belief?\n"
        f"Options:\n- True\n- False\nAnswer: {answers[1]}"
    )
    assert contrast.conditions["false-photograph"][9].endswith(f"Answer: {answers[19]}")
    assert contrasts.theory_of_mind(tmp_path).texts == contrasts.theory_of_mind(folder).texts


def test_published_stories_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = tom_folder(tmp_path / "tomloc")
    (folder / "7p_question.txt").unlink()
    with pytest.raises(LensLocError, match=r"no file .*7p_question\.txt"):
        contrasts.theory_of_mind(folder)
    (folder / "7p_question.txt").write_text("\n")
    with pytest.raises(LensLocError, match=r"7p_question\.txt is empty"):
        contrasts.theory_of_mind(folder)
    (folder / "7p_question.txt").write_bytes(b"Is it\xfa")
    with pytest.raises(LensLocError, match="not UTF-8"):
        contrasts.theory_of_mind(folder)
    with pytest.raises(LensLocError, match="no stimulus folder"):
        contrasts.theory_of_mind(tmp_path / "none")


def test_matching_keeps_items_and_takes_conditions_in_turn() -> None:
    n = 12
    conditions = {
        "hot": tuple(f"it was hot {'very ' * (row % 3)}here {row}" for row in range(n)),
        "cold": tuple(f"it was cold {'very ' * (row % 3)}here {row}" for row in range(n)),
        "mild": tuple(f"it was mild {'very ' * (row % 3)}here {row}" for row in range(n)),
    }
    items = {name: tuple(f"frame {row}" for row in range(n)) for name in conditions}
    contrast = Contrast("heat", conditions, ("hot",), ("cold", "mild"), items=items)
    for method in ("subset", "cut"):
        equal = contrast.matched(on="words", method=method)
        assert equal.items is not None
        for name, texts in equal.conditions.items():
            for text, item in zip(texts, equal.items[name], strict=True):
                assert item == f"frame {text.split()[-1]}"
    equal = contrast.matched(on="words", method="subset")
    assert {name: len(texts) for name, texts in equal.conditions.items()} == {
        "hot": n,
        "cold": n // 2,
        "mild": n // 2,
    }
    for half in equal.split(seed=0):
        assert half.items is not None
        assert len(half.items["hot"]) == n // 2
    without = dataclasses.replace(contrast, items=None).matched(on="words", method="subset")
    assert without.items is not None
    assert sorted(without.items["hot"]) == sorted((*without.items["cold"], *without.items["mild"]))


def test_a_name_of_half_a_character_is_refused_before_anything_runs(tiny_llama: Any) -> None:
    texts, odd = {"a": ["x", "y"], "b": ["z", "w"]}, "caf\udce9"
    with pytest.raises(LensLocError, match="of a contrast holds half a character"):
        Contrast.from_texts(texts, target="a", control="b", name=odd)
    mask = selectivity().top(k=3)
    task = ll.tasks.of_function(lambda _: [1.0], name="own")
    named = ll.tasks.of_function(lambda _: [1.0], name=odd)
    for masks, tasks, what in (({odd: mask}, [task], "network"), ({"a": mask}, [named], "task")):
        with pytest.raises(LensLocError, match=f"of a {what} holds half a character"):
            ll.lesion_study(tiny_llama, masks, tasks, progress=False)

"""The published minimal pairs in their own form, read whole."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from task_files import refused, write_csv, write_jsonl

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, tasks
from lensloc.cli import main
from lensloc.cli.evaluating import parse_tasks
from lensloc.contrasts.columns import TableForm
from lensloc.tasks import minimal_pairs
from lensloc.tasks.pairs import MinimalPairs, Pair

PHENOMENA = {
    "island_effects": "syntax",
    "determiner_noun_agreement": "morphology",
    "quantifiers": "semantics",
    "npi_licensing": "semantics",
    "binding": "syntax_semantics",
    "s-selection": "syntax",
    "irregular_forms": "morphology",
}
NOUNS = "gardener bridge village plant stone sun".split()
VERBS = "watered built remembered saw liked found".split()
SAME = {("paradigm_12", 3), ("paradigm_12", 9), ("paradigm_40", 1), ("paradigm_66", 12)}
"""Paradigm and row of pairs that are one sentence twice."""


def published_form(folder: Path, n_rows: int = 12, seed: int = 0) -> Path:
    """Write 67 files with the fields that BLiMP's have, of made-up sentences."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    terms = itertools.cycle(PHENOMENA.items())
    for number, (term, field) in zip(range(67), terms, strict=False):
        uid = f"paradigm_{number}"
        records = []
        for row in range(1, n_rows + 1):
            a, b = draw.choice(NOUNS, 2, replace=False)
            good = f"The {a} that the {b} {draw.choice(VERBS)} wasn't there in row {row}."
            bad = good if (uid, row) in SAME else good.replace("wasn't", "weren't")
            record: dict[str, Any] = {
                "sentence_good": good,
                "sentence_bad": bad,
                "field": field,
                "linguistics_term": term,
                "UID": uid,
                "simple_LM_method": True,
                "one_prefix_method": number % 3 == 0,
                "two_prefix_method": number % 3 == 1,
                "lexically_identical": False,
            }
            if number % 3 == 0:
                record |= {"one_prefix_prefix": "The", "one_prefix_word_good": "wasn't",
                           "one_prefix_word_bad": "weren't"}  # fmt: skip
            records.append({**record, "pairID": str(row - 1)})
        write_jsonl(folder / f"{uid}.jsonl", records)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published_form(tmp_path / "blimp")


def test_all_67_files_are_read_and_equal_sentences_are_told(folder: Path) -> None:
    with pytest.warns(LensLocWarning) as caught:
        task = minimal_pairs(folder)
    assert len(task.pairs) == 67 * 12 - len(SAME)
    assert all(pair.good != pair.bad for pair in task.pairs)
    (sentence,) = task.warnings
    assert [str(each.message) for each in caught] == [sentence]
    assert sentence.startswith("4 pairs were left out, as the two sentences are the same text: ")
    for name, rows in (
        ("paradigm_12", "rows 3, 9"), ("paradigm_40", "row 1"), ("paradigm_66", "row 12"),
    ):  # fmt: skip
        assert f"{folder / name}.jsonl, {rows}" in sentence
    assert {pair.phenomenon for pair in task.pairs} == set(PHENOMENA)
    assert {pair.field for pair in task.pairs} == set(PHENOMENA.values())


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
def test_limit_counts_pairs_that_can_be_scored(folder: Path, tiny_llama: Any) -> None:
    task = minimal_pairs(folder, limit=2)
    assert len(task.pairs) == 2 * 67
    of_40 = [pair.place for pair in task.pairs if pair.paradigm == "paradigm_40"]
    assert of_40 == [f"{folder / 'paradigm_40.jsonl'}, row {row}" for row in (2, 3)]
    result = minimal_pairs(folder, limit=1)(tiny_llama)
    assert result.warnings[:1] == task.warnings
    assert task.warnings[0] in repr(result)
    assert list(result.groups) == sorted(result.groups, key=[p.paradigm for p in task.pairs].index)
    for column, names in (("phenomenon", set(PHENOMENA)), ("field", set(PHENOMENA.values()))):
        found = result.by(column)
        assert set(found) == names
        for name, score in found.items():
            own = result.items[result.items[column] == name]
            assert score == pytest.approx(own["value"].mean())
    again = ll.TaskResult.from_record(json.loads(json.dumps(result.to_record())))
    assert again.warnings == result.warnings


@pytest.mark.filterwarnings("ignore::lensloc.LensLocWarning")
def test_as_many_rows_as_published_are_read(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_text(file.read_text(encoding="utf-8") * 84, encoding="utf-8")
    task = minimal_pairs(folder, limit=2)
    assert len(task.pairs) == 134
    assert "336 pairs were left out" in task.warnings[0]


def test_the_command_line_on_published_files(
    folder: Path, checkpoints: dict[str, Path], small_contrast: ll.Contrast, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lensloc.cli.evaluating.contrasts.get", lambda *name, **how: small_contrast)
    asked = (
        f"evaluate --model-name {checkpoints['llama']} --network language --percentage 2 "
        f"--task minimal-pairs={folder} --limit 2"
    )
    assert cli(asked.split()) == "0"
    shown = capsys.readouterr()
    assert re.search(r"minimal-pairs +accuracy +134 ", shown.out)
    assert re.search(r"\n +2 +minimal-pairs ", shown.out)
    assert shown.err.count("Note: 4 pairs were left out") == 1
    assert "paradigm_12.jsonl, rows 3, 9" in shown.err


def test_a_study_passes_on_what_was_left_out(folder: Path, tiny_llama: Any) -> None:
    with pytest.warns(LensLocWarning):
        task = minimal_pairs(folder, limit=1)
    mask = ll.UnitMask.from_addresses(["L1.resid_post.3"], (3, 32))
    with pytest.warns(LensLocWarning) as caught:
        study = ll.lesion_study(tiny_llama, {"x": mask}, [task], n_resamples=5, progress=False)
    assert study.warnings[0] == task.warnings[0]
    assert {str(each.message) for each in caught} <= set(study.warnings)
    assert task.warnings[0] in repr(study)


# -- relatives -------------------------------------------------------------------------------------


def test_sentences_that_are_one_to_the_tokenizer_are_ties(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that knows no capitals cannot tell them apart, and neither can the model."""
    tokenize = type(tiny_llama.tokenizer).__call__

    def small(self: Any, text: str, **options: Any) -> Any:
        return tokenize(self, text.lower(), **options)

    monkeypatch.setattr(type(tiny_llama.tokenizer), "__call__", small)
    pairs = (Pair("The sun", "the sun", "a"), Pair("the sun", "sun the", "a"))
    with pytest.warns(LensLocWarning, match="1 of 2 items of .* are ties"):
        result = MinimalPairs(pairs)(tiny_llama)
    assert result.items["tie"].tolist() == [True, False]
    assert result.items["value"][0] == 0.5
    with pytest.warns(LensLocWarning, match="1 of 1 items of .* are ties"):
        assert MinimalPairs((Pair("the sun", "the sun", "a"),))(tiny_llama).score == 0.5


def test_pairs_that_occur_twice_count_twice(tmp_path: Path, tiny_llama: Any) -> None:
    pair = {"sentence_good": "the sun came up", "sentence_bad": "the came sun up"}
    twice = minimal_pairs(write_jsonl(tmp_path / "x.jsonl", [pair, pair]))
    assert len(twice.pairs) == len(twice(tiny_llama).items) == 2


def test_files_of_equal_sentences_only(tmp_path: Path) -> None:
    same = {"sentence_good": "the sun", "sentence_bad": "the sun"}
    alone = write_jsonl(tmp_path / "a.jsonl", [same])
    refused(lambda: minimal_pairs(alone), f"{alone} holds no pair of two different sentences")
    write_jsonl(tmp_path / "b.jsonl", [{**same, "sentence_bad": "sun the"}])
    with pytest.warns(LensLocWarning, match=r"1 pair was left out, .*a.jsonl, row 1") as caught:
        assert len(minimal_pairs(tmp_path).pairs) == 1
    assert str(caught[0].message).endswith("row 1.")
    many = write_jsonl(tmp_path / "a.jsonl", [same] * 30)
    with pytest.warns(LensLocWarning, match="rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more"):
        minimal_pairs(tmp_path)
    assert many.exists()


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_columns_have_the_names_that_are_given(tmp_path: Path, write: Any) -> None:
    records = [
        {"right": "the sun came up", "wrong": "the came sun up", "kind": "order"},
        {"right": "the sun", "wrong": "sun the", "kind": "other"},
    ]
    suffix = "jsonl" if write is write_jsonl else "csv"
    path = write(tmp_path / f"mine.{suffix}", records)
    task = minimal_pairs(path, good="right", bad="wrong", group="kind")
    assert [(p.good, p.bad, p.paradigm) for p in task.pairs] == [
        (r["right"], r["wrong"], r["kind"]) for r in records
    ]
    assert {p.paradigm for p in minimal_pairs(path, good="right", bad="wrong").pairs} == {"mine"}
    turned = minimal_pairs(path, good="wrong", bad="right")
    assert turned.pairs[0].good == records[0]["wrong"]
    refused(lambda: minimal_pairs(path, good="right"), str(path), "'sentence_bad'")
    refused(lambda: minimal_pairs(path, good="right", bad="wrong", group="x"), str(path), "'x'")
    refused(lambda: minimal_pairs(good="right"), "sentence_good='right' says how a file is read")
    with pytest.raises(LensLocError, match="row 1: the column 'right' is empty"):
        minimal_pairs(
            write_jsonl(tmp_path / "bad.jsonl", [{"right": " ", "wrong": "x"}]),
            good="right", bad="wrong",
        )  # fmt: skip


def test_paradigms_that_are_numbers(tmp_path: Path) -> None:
    records = [
        {"sentence_good": "the sun", "sentence_bad": "sun the", "UID": uid} for uid in (0, 1, None)
    ]
    task = minimal_pairs(write_jsonl(tmp_path / "x.jsonl", records))
    assert [pair.paradigm for pair in task.pairs] == ["0", "1", "x"]


def cli(arguments: Sequence[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return str(ended.value.code)


def test_options_of_one_task_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"right": "the sun", "wrong": "sun the"}]
    path = write_csv(tmp_path / "mine.csv", records)
    form, given = TableForm(), (None, "model", "auto")
    columns = {"good": "right", "bad": "wrong", "group": None}
    (task,) = parse_tasks([f"minimal-pairs={path}"], *given, form, columns)
    assert [(p.good, p.bad) for p in task.pairs] == [("the sun", "sun the")]
    plain = write_csv(tmp_path / "plain.csv", [{"good": "the sun", "bad": "a", "group": "one"}])
    columns_so_called = {name: name for name in ("good", "bad", "group")}
    (task,) = parse_tasks([f"minimal-pairs={plain}"], *given, form, columns_so_called)
    assert [(p.good, p.bad, p.paradigm) for p in task.pairs] == [("the sun", "a", "one")]
    asked = [{"prompt": "ab", "choices": ["c", "d"], "answer": 0}]
    questions = write_jsonl(tmp_path / "q.jsonl", asked)
    (choice,) = parse_tasks([f"choice={questions}"], *given, form, {}, "\\n")
    assert choice.questions[0].choices == ("\nc", "\nd")
    for option, kind in (("--separator", "choice"), ("--bad-column", "minimal-pairs")):
        code = cli(["evaluate", "--task", "perplexity", option, "x"])
        assert code == "2"
        said = capsys.readouterr().err
        assert f"{option} is for --task {kind}" in said
        assert "which was not asked for" in said
    refused(
        lambda: parse_tasks(["minimal-pairs"], *given, form, columns),
        "--good-column is for --task minimal-pairs=PATH, which was not asked for",
    )


def test_a_column_of_texts_has_the_name_that_is_given(tmp_path: Path) -> None:
    table = pd.DataFrame({"sentence": ["the sun came up", "vash"], "text": ["x y", "z"]})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        task = tasks.perplexity(tmp_path / name, text="sentence")
        assert task.texts == ("the sun came up", "vash")
        assert tasks.bits_per_byte(tmp_path / name, text="sentence").texts == task.texts
        assert tasks.perplexity(tmp_path / name).texts == ("x y", "z")
    refused(lambda: tasks.perplexity(tmp_path / "a.csv", text="x"), "lacks the column 'x'")
    refused(lambda: tasks.perplexity(["the sun"], text="x"), "text='x' says how a file is read")
    refused(lambda: tasks.perplexity(text="x"), "text='x' says how a file is read")

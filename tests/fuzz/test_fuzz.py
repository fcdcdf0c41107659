"""Damaged files of every kind: a little of what ``make fuzz`` does at length; and what it found."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from file_kinds import kinds
from fuzzing import BAD, Bench, Kind, Read, run, shares, table
from mutations import TEXT
from stories import natural_stories
from task_files import refused

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment.tables import read_table
from lensloc.cli.tables import encoded
from lensloc.tasks.choices import multiple_choice

pytestmark = pytest.mark.skipif(os.name != "posix", reason="bounds of posix")

HERE = Path(__file__).parent
SECONDS, MUTANTS = 16, 1500


@pytest.mark.usefixtures("one_thread")
def test_mutants_give_the_same_result_a_declared_one_or_one_sentence(tmp_path: Path) -> None:
    every = kinds(tmp_path / "world")
    assert len(every) >= 40
    found = run(every, tmp_path, mutants=MUTANTS, seconds=SECONDS, seed=1)
    bad = [(name, *each) for name, row in found.items() for each in row.bad]
    assert not bad, f"{bad[:5]}\n{table(found)}"
    assert all(row.n > 2 for row in found.values())
    assert sum(row.counts["one sentence"] for row in found.values()) > 100


def test_a_reader_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    """What the harness calls bad: an error of any kind, a changed result, no end."""

    def make(folder: Path) -> Path:
        (folder / "t.txt").write_text("one\ntwo\n")
        return folder / "t.txt"

    def kind(read: Any) -> Kind:
        return Kind("text", make, read, TEXT)

    readers = {
        "traceback": lambda path: Read(path.read_text(encoding="ascii")),
        "silent change": lambda path: Read(path.read_bytes()),
    }
    for outcome, read in readers.items():
        row = run([kind(read)], tmp_path, mutants=40)["text"]
        assert row.counts[outcome] > 5, table({"text": row})
        assert {each for _, each, _ in row.bad} <= set(BAD)

    def refuses(path: Path) -> Read:
        if path.read_text() != "one\ntwo\n":
            raise LensLocError("It is damaged; make it again.")
        return Read("whole")

    good = run([kind(lambda path: refuses(path) if len(path.read_bytes()) < 9 else Read("whole"))],
               tmp_path, mutants=20)["text"]  # fmt: skip
    assert not good.counts["silent change"]
    bench = Bench(kind(lambda _: Read("")), tmp_path / "text", 0)
    assert bench.mutant(3) == bench.mutant(3) != bench.mutant(4)
    assert bench.mutant(3) != bench.content
    several = [Kind(str(n), make, refuses, TEXT, weight=n) for n in (1, 2, 4)]
    assert sum(shares(several, 100).values()) == 100


def test_kills_at_steps_of_the_writer_and_several_processes() -> None:
    """A few of what ``make kills`` does: rerun identical, nothing left, computed once."""
    command = [sys.executable, HERE / "kills.py", "--kills", "6", "--at-steps", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command), "--processes", "4"],
        capture_output=True, text=True, timeout=600, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 processes with one key on an empty cache: computed 1 time(s)" in done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 4
    assert sum(int(row[2]) for row in rows) >= 4, done.stdout  # the others ended before


# -- what it found ---------------------------------------------------------------------------------


def test_sentences_are_a_line_that_a_terminal_shows(tmp_path: Path) -> None:
    told = str(LensLocError("The file \x1b[2J\u202e\n\x07x\tis 9" + "9" * 10_000 + " odd."))
    assert told.isprintable()
    assert len(told) == 2000
    assert told.endswith(" odd.")
    path = tmp_path / "c.csv"
    path.write_text("[" * 100_000 + "\nx\n")
    with pytest.raises(LensLocError) as caught:
        ll.Contrast.from_csv(path, target="a", control="b")
    assert len(str(caught.value)) < 2001


@pytest.mark.parametrize(
    "content", [b"text,condition\n\xff\xfe", "text,condition\nä".encode("cp1252")]
)
def test_packed_files_that_are_damaged_twice(tmp_path: Path, content: bytes) -> None:
    packed = bytearray(gzip.compress(content + b"x" * 50))
    packed[-6] ^= 1  # the checksum behind bytes that are no text
    path = tmp_path / "c.csv.gz"
    path.write_bytes(packed)
    refused(lambda: ll.Contrast.from_csv(path, target="a", control="b"), "is damaged or not")


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\x00" * 200, b"MATLAB 5.0" + b"\xff" * 300])
def test_files_that_are_no_matlab(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "examples.mat"
    path.write_bytes(content)
    refused(lambda: ll.alignment.pereira2018(path), "is not a MATLAB file that can be read")


def test_rows_that_were_cut_off_are_no_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("story,position,word,time\n1,1,the,300\n1,2,old,\n1,3,gard")
    refused(lambda: ll.alignment.ReadingTimes.of(path), "t.csv, row 4: has 3 cells", "header 4")
    path.write_text("a,b\n1,\n\n\n")
    assert read_table(path, "x")[0].to_dict("list") == {"a": ["1"], "b": [""]}


def test_labels_of_items_are_part_of_what_a_score_is_of(tmp_path: Path) -> None:
    """A score that is looked up holds the labels of its items, so other labels are another key."""
    path = tmp_path / "p.csv"
    keys = []
    for label in ("", "agreement", "binding"):
        path.write_text(f"sentence_good,sentence_bad,field\na b,b a,{label}\n")
        keys.append(dict(ll.tasks.minimal_pairs(path).settings))
    assert len({str(key) for key in keys}) == 3
    questions = []
    for item in ("", ', "item": "one"', ', "item": "two"'):
        (tmp_path / "q.jsonl").write_text(
            '{"prompt": "a", "choices": ["b", "c"], "answer": 0' + item + "}\n"
        )
        questions.append(str(multiple_choice(tmp_path / "q.jsonl").settings))
    assert len(set(questions)) == 3


def test_no_table_holds_a_formula() -> None:
    found = pd.DataFrame({"text": ["=cmd|' /C calc'!A0", "-1", "a"], "@x": [-1.5, np.nan, 2]})
    lines = encoded(found, ".csv").decode().splitlines()
    assert lines == ["text,'@x", "'=cmd|' /C calc'!A0,-1.5", "'-1,", "a,2.0"]


def test_lines_of_natural_stories_that_were_cut_off(tmp_path: Path) -> None:
    folder = natural_stories(tmp_path / "ns")
    path = folder / "processed_wordinfo.tsv"
    path.write_text(path.read_text().rstrip()[:-8])
    refused(lambda: ll.alignment.natural_stories(folder), "cells, and the header 8; complete it")


def test_labels_of_half_characters_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for label in ("UID", "linguistics_term", "field"):
        row = f'{{"sentence_good": "a b", "sentence_bad": "b a", "{label}": "x\\ud800"}}\n'
        path.write_text(row)
        task = ll.tasks.minimal_pairs(path)
        assert "\\ud800" in str(task.pairs[0])
        assert "pairs" in task.settings

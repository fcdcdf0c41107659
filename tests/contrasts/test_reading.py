"""One reader of tables and texts: encodings, separators, columns, and what is no text."""

import bz2
import copy
import csv
import gzip
import json
import lzma
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_files import refused

from lensloc import Contrast, LensLocError, contrasts
from lensloc.alignment.datasets import Stimuli
from lensloc.contrasts.columns import TableForm
from lensloc.contrasts.lines import files_in, kind_of, lines_of, read_text, split_lines, stem_of
from lensloc.contrasts.published import read_language
from lensloc.contrasts.readers import read_rows
from lensloc.contrasts.texts import require_texts, text_fault
from lensloc.lape.corpora import open_corpus
from lensloc.tasks import generation, minimal_pairs, multiple_choice, perplexity

# Line ends of Unicode that are none of a file, and what a tokenizer can read all the same.
ODD = "a\u2028b\x0cc\x85d\x0be\x1cf"
ROLES: dict[str, Any] = {"target": "hot", "control": "cold"}


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def texts_of(path: Path, **said: Any) -> list[str]:
    """The texts of a file by each of its readers, which must agree."""
    rows = read_rows(path, ["text"], form=TableForm.of(**said))
    found = [row.cells["text"] for row in rows]
    assert list(perplexity(path, **said).texts) == found
    corpus = open_corpus("x", path, TableForm.of(**said))
    assert [document.content for document in corpus.documents] == found
    return found


# -- cells, encodings, separators ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_cell_may_be_of_any_length(tmp_path: Path, suffix: str) -> None:
    long = "word " * 60_000
    table = pd.DataFrame({"text": [long, "short"], "condition": ["hot", "cold"]})
    path = tmp_path / f"long.{suffix}"
    if suffix == "jsonl":
        table.to_json(path, orient="records", lines=True)
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    limit = csv.field_size_limit()
    assert Contrast.from_file(path, **ROLES).texts == (long, "short")
    assert texts_of(path) == [long, "short"]
    assert csv.field_size_limit() == limit


def test_reading_leaves_the_users_own_limit_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "\n".join(["x" * 200_000] * 40))
    before = csv.field_size_limit(1234)
    try:
        rows = read_rows(path, ["text"])
        next(rows)
        assert csv.field_size_limit() == 1234
        go = threading.Barrier(4)

        def read(_: int) -> int:
            go.wait()
            return len(perplexity(path).texts)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read, range(4))) == [40] * 4
        assert csv.field_size_limit() == 1234
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-8-sig", "utf-8"),
        ("utf-16", None),
        ("utf-32", None),
        ("utf-16-le", "utf-16-le"),
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
        ("cp1252", "windows-1252"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, said: str | None) -> None:
    rows = [("Größe", "hot"), ("naïve café", "cold")]
    table = "text,condition\r\n" + "\r\n".join(",".join(row) for row in rows) + "\r\n"
    path = write(tmp_path / "a.csv", table, encoding)
    assert Contrast.from_csv(path, **ROLES, encoding=said).texts == ("Größe", "naïve café")
    assert texts_of(path, encoding=said) == ["Größe", "naïve café"]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text, _ in rows)
    assert texts_of(write(tmp_path / "a.jsonl", lines, encoding), encoding=said)[0] == "Größe"
    prompts = write(tmp_path / "p.txt", "Größe\r\nnaïve café\r", encoding)
    assert generation(prompts, encoding=said).prompts == ("Größe", "naïve café")
    assert perplexity(prompts, encoding=said).texts == ("Größe\r\nnaïve café\r",)


def test_bytes_of_another_encoding_are_named_with_their_row(tmp_path: Path) -> None:
    many = "text,condition\r\n" + "plain,hot\r\n" * 3000 + "caf\xe9,cold\r\n"
    path = write(tmp_path / "a.csv", many, "latin-1")
    place = f"{path}, row 3002 is not UTF-8 text (byte {many.index(chr(0xE9))} is 0xe9)"
    for read in (
        lambda: Contrast.from_csv(path, **ROLES),
        lambda: perplexity(path),
        lambda: list(open_corpus("x", path).documents),
    ):
        refused(read, place, "name its encoding")
    refused(lambda: read_text(write(tmp_path / "b.txt", b"a\rb\r\xff")), "row 3", "byte 4 is 0xff")
    cut = write(tmp_path / "c.txt", "\ufeffab\n".encode("utf-16-be") + b"\xd8\x00\x00a")
    refused(lambda: read_text(cut), "row 2 is not utf-16 text")
    wide = write(tmp_path / "d.txt", "plain\n".encode("utf-16-le"))
    refused(lambda: read_text(wide), f"{wide}, row 1", "NUL", "utf-16-le")
    for name in ("nothing", "base64", ""):
        refused(lambda n=name: read_text(path, n or "no such"), "There is no encoding")


def test_compressed_files_are_read(tmp_path: Path) -> None:
    content = b"text,condition\nfire,hot\nice,cold\n"
    path = write(tmp_path / "mine.csv.gz", gzip.compress(content))
    contrast = Contrast.from_file(path, **ROLES)
    assert (contrast.name, contrast.texts) == ("mine", ("fire", "ice"))
    assert texts_of(path) == ["fire", "ice"]
    refused(lambda: texts_of(write(tmp_path / "no.csv.gz", content)), "no.csv.gz", "cannot be read")
    cut = write(tmp_path / "cut.csv.gz", gzip.compress(content * 999)[:-20])
    refused(lambda: texts_of(cut), "cut.csv.gz is damaged")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", "text\tcondition\nfire, hot\thot\nice\tcold\n", {}),
        ("a.TSV", "text\tcondition\nfire, hot\thot\nice\tcold\n", {}),
        ("a.csv", "text;condition\nfire, hot;hot\nice;cold\n", {}),
        ("a.csv", '"text";"condition"\n"fire, hot";hot\nice;cold\n', {}),
        ("a.csv", "text\tcondition\nfire, hot\thot\nice\tcold\n", {}),
        ("a.csv", "text|condition\nfire, hot|hot\nice|cold\n", {"sep": "|"}),
        ("a.csv", "note, text;text;condition\nx;fire, hot;hot\ny;ice;cold\n", {"sep": ";"}),
        ("a.txt", "text\tcondition\nfire, hot\thot\nice\tcold\n", {"sep": "tab"}),
        ("a.tsv", 'text,condition\n"fire, hot",hot\nice,cold\n', {}),
        # A comma within the name of a column separates none.
        ("a.csv", "note, text;text;condition\nx;fire, hot;hot\ny;ice;cold\n", {}),
        ("a.csv", "text;rt, ms;condition\nfire, hot;1,5;hot\nice;2;cold\n", {}),
        ("a.tsv", "rt; s\ttext\tcondition\n1\tfire, hot\thot\n2\tice\tcold\n", {}),
        # Spreadsheets tell each other what separates cells.
        ("a.csv", "sep=;\ntext;condition\nfire, hot;hot\nice;cold\n", {}),
        ("a.csv", "\ufeffSEP=|\r\ntext|condition\r\nfire, hot|hot\r\nice|cold\r\n", {}),
        ("a.csv", "sep=\t\ntext\tcondition\nfire, hot\thot\nice\tcold\n", {}),
        ("a.csv", "sep=,\ntext;condition\nfire, hot;hot\nice;cold\n", {"sep": ";"}),
        # Blank rows, as spreadsheets write them.
        ("a.csv", "text;condition;n\n;;\nfire, hot;hot;1\n ; ;\nice;cold;2\n;;\n;;\n", {}),
        ("a.tsv", "text\tcondition\nfire, hot\thot\n\t\nice\tcold\n\t\n", {}),
    ],
)
def test_separators(tmp_path: Path, name: str, content: str, said: dict[str, str]) -> None:
    path = write(tmp_path / name, content)
    assert Contrast.from_csv(path, **ROLES, **said).texts == ("fire, hot", "ice")
    if name != "a.txt":
        assert texts_of(path, **said) == ["fire, hot", "ice"]


def test_a_separator_is_not_guessed_where_it_could_be_another(tmp_path: Path) -> None:
    # A comma in the header: these are two columns, and none of them is text.
    path = write(tmp_path / "a.csv", "note, text;condition\nx;hot\n")
    refused(lambda: Contrast.from_csv(path, **ROLES), "'text'; it has 'note, text', condition.")
    path = write(tmp_path / "b.csv", "words;condition\nx;hot\n")
    refused(lambda: Contrast.from_csv(path, **ROLES), "the column 'text'; it has words, condition.")
    path = write(tmp_path / "b.csv", "a;b;c, d\nx;hot\n")
    refused(lambda: Contrast.from_csv(path, **ROLES), "if ';' separates them, say sep=';'")
    # A header of one column stays one, whatever its cells hold.
    path = write(tmp_path / "c.csv", "text\na; b\n")
    assert texts_of(path) == ["a; b"]
    for sep in ("", ";;", "\n", '"'):
        refused(lambda s=sep: Contrast.from_csv(path, **ROLES, sep=s), "sep is one character")


def test_what_has_no_effect_is_refused(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", '{"text": "x"}\n')
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    refused(lambda: perplexity(lines, sep=";"), "sep is for .csv and .tsv")
    refused(lambda: perplexity(tmp_path / "a.parquet", encoding="utf-8"), "encoding is for files")
    prose = write(tmp_path / "a.txt", "x")
    refused(lambda: perplexity(prose, text="body"), "text='body' names a column of a table")
    refused(lambda: perplexity(["x"], sep=";"), "sep=';'", "a list of texts is none")
    refused(lambda: perplexity(text="x"), "text='x'", "the bundled prose is none")
    refused(lambda: minimal_pairs(encoding="utf-8"), "bundled set of pairs is none")
    refused(lambda: multiple_choice("arithmetic", encoding="utf-8"), "bundled set is none")


# -- lines and folders -----------------------------------------------------------------------------


def test_lines_end_where_files_end_them(tmp_path: Path) -> None:
    assert split_lines(f"{ODD}\r\ntwo\rthree\n\nfive") == [ODD, "two", "three", "", "five"]
    path = write(tmp_path / "p.txt", f"{ODD}\r\ntwo\rthree\n\nfive")
    assert [line.text for line in lines_of(path)] == [
        f"{ODD}\r\n", "two\r", "three\n", "\n", "five",
    ]  # fmt: skip
    assert generation(path).prompts == (ODD, "two", "three", "five")
    rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in (ODD, "b"))
    assert texts_of(write(tmp_path / "a.jsonl", rows)) == [ODD, "b"]
    table = f'text,condition\r\n"{ODD}",hot\r\n"two\r\nlines",cold\r\n'
    assert texts_of(write(tmp_path / "a.csv", table)) == [ODD, "two\r\nlines"]


def test_rows_are_numbered_by_the_line_that_they_begin_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,condition\n"two\nlines",hot\n\n,cold\n')
    refused(lambda: Contrast.from_csv(path, **ROLES), f"{path}, row 5: the column 'text' is empty")
    path = write(tmp_path / "b.csv", 'text,condition\n"two\nlines",hot\nx,"cold\n\n')
    refused(lambda: Contrast.from_csv(path, **ROLES), f"{path}, row 4: not a readable CSV")


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xf6\xdfe.csv")
    path.write_text("text,condition\nfire,hot\nice,cold\n")
    contrast = Contrast.from_file(path, **ROLES)
    assert contrast.name == "gr\\udcf6\\udcdfe"
    (contrast.name + contrast.source).encode()


def test_suffixes_in_capital_letters(tmp_path: Path) -> None:
    assert kind_of(Path("A.CSV.GZ")) == ".csv"
    assert stem_of(Path("A.b.CSV.GZ")) == "A.b"
    for name, content in {
        "A.CSV": "text,condition\nfire,hot\nice,cold\n",
        "A.JSONL": '{"text": "fire", "condition": "hot"}\n{"text": "ice", "condition": "cold"}',
        "A.ndjson": '{"text": "fire", "condition": "hot"}\n{"text": "ice", "condition": "cold"}',
    }.items():
        path = write(tmp_path / name, content)
        assert Contrast.from_file(path, **ROLES).texts == ("fire", "ice")
        assert texts_of(path) == ["fire", "ice"]
    assert generation(write(tmp_path / "P.Txt", "go\n")).prompts == ("go",)
    pair = {"sentence_good": "a b", "sentence_bad": "b a"}
    assert len(minimal_pairs(write(tmp_path / "P.JsonL", json.dumps(pair))).pairs) == 1


def test_hidden_files_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    pair = {"sentence_good": "a b", "sentence_bad": "b a", "text": "hello"}
    write(tmp_path / "x.jsonl", json.dumps(pair))
    write(tmp_path / "._x.jsonl", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xb0")
    write(tmp_path / ".DS_Store", b"\x00\x00\x00\x01Bud1")
    write(tmp_path / ".x.csv.swp", b"b0VIM")
    (tmp_path / "sub.csv").mkdir()
    assert [path.name for path in files_in(tmp_path, [".jsonl", ".csv"])] == ["x.jsonl"]
    assert len(minimal_pairs(tmp_path).pairs) == 1
    assert [d.content for d in open_corpus("x", tmp_path).documents] == ["hello"]
    (tmp_path / "x.jsonl").unlink()
    refused(lambda: minimal_pairs(tmp_path), f"{tmp_path} holds no .csv, .tsv, .jsonl")


def test_published_files_beside_hidden_ones(tmp_path: Path) -> None:
    words = ",".join(f"stim{n}" for n in range(1, 15))
    rows = f"{words}\n1,{','.join('abcdefghijkl')},S\n2,{','.join('mnopqrstuvwx')},N\n"
    write(tmp_path / "langloc_fmri_run1_stim_set1.CSV", rows)
    write(tmp_path / "._langloc_fmri_run1_stim_set1.csv", b"\x00\x05\x16\x07\xff")
    assert read_language(tmp_path).texts == ("a b c d e f g h i j k l", "m n o p q r s t u v w x")


# -- columns ---------------------------------------------------------------------------------------


def test_names_of_columns_may_differ_in_capital_letters_and_blanks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", " Text ,CONDITION,Pair\nfire,hot,1\nice,cold,1\n")
    contrast = Contrast.from_csv(path, **ROLES, item="pair")
    assert contrast.items == {"hot": ("1",), "cold": ("1",)}
    assert texts_of(path) == ["fire", "ice"]
    table = pd.DataFrame({"Text": ["fire", "ice"], "Condition": ["hot", "cold"], "text ": ["", ""]})
    refused(lambda: Contrast.from_dataframe(table, **ROLES), "2 columns for 'text'")
    exact = table.rename(columns={"text ": "text"}).assign(text=["sun", "snow"])
    assert Contrast.from_dataframe(exact, **ROLES).texts == ("sun", "snow")
    lines = write(tmp_path / "a.jsonl", '{"TEXT": "fire"}\n{"text": "ice"}\n')
    assert texts_of(lines) == ["fire", "ice"]


def test_columns_that_are_there_twice_are_refused_by_name(tmp_path: Path) -> None:
    twice = write(tmp_path / "a.csv", "text,condition,text\nfire,hot,sun\nice,cold,snow\n")
    refused(lambda: Contrast.from_csv(twice, **ROLES), f"{twice} has 2 columns for 'text'")
    refused(lambda: perplexity(twice), "2 columns for 'text'")
    others = write(tmp_path / "b.csv", "text,condition,,\nfire,hot,,\nice,cold,,\n")
    assert Contrast.from_csv(others, **ROLES).texts == ("fire", "ice")
    lines = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n')
    refused(lambda: perplexity(lines), f"{lines}, row 2: has the field 'text' twice")
    table = pd.DataFrame([["a", "hot", "b"]], columns=["text", "condition", "text"])
    refused(lambda: Contrast.from_dataframe(table, **ROLES), "2 columns for 'text'")


def test_columns_are_named_by_argument_everywhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "Right\tWrong\tKind\na b\tb a\tagreement\n")
    columns = {"good": "right", "bad": "wrong", "group": "kind"}
    (pair,) = minimal_pairs(path, **columns).pairs
    assert (pair.good, pair.bad, pair.paradigm) == ("a b", "b a", "agreement")
    assert pair.place == f"{path}, row 2"
    missing = {**columns, "group": "paradigm"}
    refused(lambda: minimal_pairs(path, **missing), "lacks the column 'paradigm'")
    texts = write(tmp_path / "b.csv", "body;n\none, two;1\n")
    assert perplexity(texts, text="body").texts == ("one, two",)
    assert generation(texts, prompt="body").prompts == ("one, two",)
    corpus = open_corpus("x", texts, TableForm.of({"text": "body"}))
    assert [document.content for document in corpus.documents] == ["one, two"]
    rows = open_corpus("x", [{"body": "three"}], TableForm.of({"text": "body"}))
    assert [document.content for document in rows.documents] == ["three"]
    asked = {"question": "the old", "options": ["sun", "moon"], "label": 1}
    questions = write(tmp_path / "q.jsonl", json.dumps(asked))
    named = {"prompt": "question", "choices": "options", "answer": "label"}
    assert multiple_choice(questions, **named).questions[0].answer == 1


def test_a_message_stays_a_sentence_whatever_a_header_holds(tmp_path: Path) -> None:
    texts = [{"text": f"a text, and {n} more words of it", "condition": "hot"} for n in range(200)]
    for name, content in (
        ("a.csv", json.dumps(texts)),
        ("b.csv", ",".join(f"voxel {n}" for n in range(2000)) + "\n" + "1," * 1999),
        ("c.jsonl", json.dumps({f"word {n}" * 50: n for n in range(100)})),
    ):
        path = write(tmp_path / name, content)
        with pytest.raises(LensLocError, match=r"lacks the .* it has .* more") as caught:
            Contrast.from_csv(path, **ROLES) if name < "c" else Contrast.from_file(path, **ROLES)
        assert len(str(caught.value)) < 800
    with pytest.raises(LensLocError, match=r"its columns are voxel 0, .*, and 1,988 more"):
        Stimuli.of(tmp_path / "b.csv")


def test_rows_without_text_and_condition_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As tools for experiments write them: a row per routine, with texts in those of trials."""
    log = "sentence,cond,key\n,,space\nfire,hot,left\n,,\nice,cold,right\n ,,escape\n"
    path = write(tmp_path / "log.csv", log)
    columns: dict[str, str] = {"text": "sentence", "condition": "cond"}
    for given in (path, pd.read_csv(path)):
        caplog.clear()
        made = (
            Contrast.from_csv(given, **ROLES, **columns)
            if isinstance(given, Path)
            else Contrast.from_dataframe(given, **ROLES, **columns)
        )
        assert made.texts == ("fire", "ice")
        assert "rows are left out, with nothing in 'cond' and 'sentence' (the first: row " in (
            caplog.text
        )
    for half in ("sentence,cond\nfire,hot\n,cold\n", "sentence,cond\nfire,hot\nice,\n"):
        part = write(tmp_path / "half.csv", half)
        refused(lambda p=part: Contrast.from_csv(p, **ROLES, **columns), "row 3: the column")


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00\x08", "a workbook or another zip archive; of a w"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "an old Excel workbook; save the sheet"),
        (b"PAR1\x15\x04", "a Parquet file; give its name the suffix .parquet"),
        (gzip.compress(b"text,condition\n"), "compressed; give its name the suffix .gz"),
        (bz2.compress(b"text,condition\n"), "compressed; give its name the suffix .bz2"),
        (lzma.compress(b"text,condition\n"), "compressed; give its name the suffix .xz"),
    ],
    ids=["zip", "xls", "parquet", "gz", "bz2", "xz"],
)  # fmt: skip
def test_files_that_are_called_text_and_are_none(tmp_path: Path, head: bytes, told: str) -> None:
    path = write(tmp_path / "a.csv", head)
    for encoding in (None, "cp1252", "latin-1"):
        refused(
            lambda e=encoding: Contrast.from_csv(path, **ROLES, encoding=e),
            f"{path} is no file of text but {told}",
        )
    refused(lambda: Stimuli.of(path), told)
    refused(lambda: perplexity(path.rename(tmp_path / "a.txt")), told)


def test_what_to_do_with_files_of_other_tools(tmp_path: Path) -> None:
    for name, told in (
        ("a.xlsx", "; save the sheet that you want as CSV (UTF-8), or read it with pandas."),
        ("a.ODS", "; save the sheet that you want as CSV (UTF-8), or read it with pandas."),
        ("a.json", "; write one JSON object per line, as .jsonl."),
    ):
        path = write(tmp_path / name, b"PK")
        refused(lambda p=path: Contrast.from_file(p, **ROLES), told)
        refused(lambda p=path: minimal_pairs(p), told)
        refused(lambda p=path: multiple_choice(p), told)
        refused(lambda p=path: Stimuli.of(p), told)
    words = write(tmp_path / "a.csv", "text,condition\nPK fire,hot\nBZh ice,cold\n")
    assert Contrast.from_csv(words, **ROLES).texts == ("PK fire", "BZh ice")


# -- what is no text -------------------------------------------------------------------------------

NO_TEXTS: list[tuple[Any, str]] = [
    (["The", "cat"], "is of type list, not a text"),
    ({"a": 1}, "is of type dict, not a text"),
    (5, "is of type int, not a text"),
    (2.5, "is of type float, not a text"),
    (True, "is of type bool, not a text"),
    (None, "is empty"),
    (" \n", "is empty"),
    ("half \ud83d an emoji", "holds half a character (the lone surrogate U+D83D)"),
    ("the other \ude00 half", "holds half a character (the lone surrogate U+DE00)"),
    ("a\0b", "holds a NUL character"),
]


@pytest.mark.parametrize(("text", "fault"), NO_TEXTS)
def test_what_is_no_text_is_refused_by_row(tmp_path: Path, text: Any, fault: str) -> None:
    rows = [{"text": "fire", "condition": "hot"}, {"text": text, "condition": "cold"}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    place = f"{path}, row 2: the column 'text' {fault}"
    refused(lambda: Contrast.from_jsonl(path, **ROLES), place)
    refused(lambda: perplexity(path), place)
    refused(
        lambda: Contrast.from_dataframe(pd.DataFrame(rows, dtype=object), **ROLES),
        f"the table, row 2: the column 'text' {fault}",
    )
    pairs = [{"sentence_good": text, "sentence_bad": "b a"}]
    refused(
        lambda: minimal_pairs(write(tmp_path / "p.jsonl", json.dumps(pairs[0]))),
        f"row 1: the column 'sentence_good' {fault}",
    )
    if text != " \n":  # which corpora pass over
        told = "is missing" if text is None else fault
        refused(lambda: list(open_corpus("x", path).documents), f"{path}, row 2: its text {told}")
        refused(lambda: list(open_corpus("x", rows).documents), f"Text 2 of 'x': its text {told}")


def test_numbers_of_a_csv_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,condition\n12,1\n13.5,0\n")
    contrast = Contrast.from_csv(path, target=1, control=[0])
    assert contrast.conditions == {"1": ("12",), "0": ("13.5",)}
    assert texts_of(path) == ["12", "13.5"]


def test_columns_of_parquet_that_hold_no_texts(tmp_path: Path) -> None:
    for column, fault in (
        (pa.array([b"fire", b"ice"], pa.binary()), "is of type bytes"),
        (pa.array([["fire"], ["ice"]]), "is of type list"),
        (pa.array([1, 2]), "is of type int"),
        (pa.array(["fire", None]), "is empty"),
    ):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": column, "condition": ["hot", "cold"]}), path)
        row = 2 if fault == "is empty" else 1
        expected = f"{path}, row {row}: the column 'text' {fault}"
        refused(lambda p=path: Contrast.from_parquet(p, **ROLES), expected)
        refused(lambda p=path: perplexity(p), expected)
    words = pa.array(["fire", "ice"]).dictionary_encode()
    pq.write_table(pa.table({"text": words, "condition": ["hot", "cold"]}), tmp_path / "b.parquet")
    assert texts_of(tmp_path / "b.parquet") == ["fire", "ice"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("hot tea", "Prompts: a list is needed, not a single text ('hot tea')"),
        (b"hot tea", "not something of type bytes"),
        (None, "not something of type NoneType"),
        (5, "not something of type int"),
        ({"a": "b"}, "not something of type dict"),
        ({"a", "b"}, "not something of type set"),
        (pd.DataFrame({"a": ["b"]}), "not something of type DataFrame"),
        (["a", None], "Prompt 2 (None) is missing"),
        (["a", 5], "Prompt 2 (5) is of type int"),
        (["a", b"b"], "Prompt 2 (b'b') is of type bytes"),
        (["a", ["b"]], "Prompt 2 (['b']) is of type list"),
        (["a", " "], "Prompt 2 (' ') is empty"),
        (["a", "\ud83d"], "Prompt 2 ('\\ud83d') holds half a character"),
        (["a", float("nan")], "Prompt 2 (nan) is of type float"),
    ],
)
def test_texts_given_in_python(texts: Any, message: str) -> None:
    refused(lambda: require_texts(texts, "Prompt"), message)


def test_any_sequence_of_texts_will_do() -> None:
    for texts in (["a", "b"], ("a", "b"), iter("ab"), pd.Series(["a", "b"]), np.array(["a", "b"])):
        found = require_texts(texts)
        assert found == ["a", "b"]
        assert {type(text) for text in found} == {str}
    assert text_fault("an emoji: 😀") is None


# -- names of conditions ---------------------------------------------------------------------------


def test_conditions_named_by_numbers_and_truth_values(tmp_path: Path) -> None:
    rows = [("fire", True, 1), ("ice", False, 0)]
    table = pd.DataFrame(rows, columns=["text", "is_hot", "label"])
    for column, target, control, names in (
        ("is_hot", True, False, ("True", "False")),
        ("label", 1, 0, ("1", "0")),
        ("label", np.int64(1), [0], ("1", "0")),
        ("label", 1.0, ["0"], ("1", "0")),
    ):
        path = tmp_path / "a.jsonl"
        table.to_json(path, orient="records", lines=True)
        table.to_parquet(tmp_path / "a.parquet")
        table.to_csv(tmp_path / "a.csv", index=False)
        roles: dict[str, Any] = {"condition": column, "target": target, "control": control}
        for contrast in (
            Contrast.from_dataframe(table, **roles),
            *(Contrast.from_file(path.with_suffix(s), **roles)
              for s in (".jsonl", ".parquet", ".csv")),
        ):  # fmt: skip
            assert (contrast.target, contrast.control) == ((names[0],), (names[1],))
            assert contrast.texts == ("fire", "ice")
    gaps = table.assign(label=[1.0, np.nan])
    refused(
        lambda: Contrast.from_dataframe(gaps, condition="label", target=1, control=0),
        "row 2: the column 'label' is empty",
    )
    given: Any = {1: ["fire"], 0: ["ice"]}
    assert Contrast.from_texts(given, target=1, control=0).texts == ("fire", "ice")


def test_white_space_around_names_of_conditions_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,condition\nfire,hot \nsun,hot\nice, cold\nsnow,cold\t\n")
    contrast = Contrast.from_csv(path, **ROLES)
    assert contrast.conditions == {"hot": ("fire", "sun"), "cold": ("ice", "snow")}
    assert Contrast.from_csv(path, target=" hot", control="cold ").target == ("hot",)
    path = write(tmp_path / "b.csv", "text,condition\nfire,hot\nsun,Hot\nice,cold\n")
    refused(
        lambda: Contrast.from_csv(path, **ROLES),
        f"{path}, row 3: the condition 'Hot' differs from 'hot' in nothing but capital letters",
    )
    for other in ("hot ", "HOT", "Hot"):
        texts = {"hot": ["a"], "cold": ["b"], other: ["c"]}
        refused(
            lambda given=texts: Contrast.from_texts(given, **ROLES),
            f"The conditions 'hot' and {other!r}",
            "name them apart",
        )


@pytest.mark.parametrize("bad", [["a list"], {"a": "dict"}, b"bytes", 1.5e300 + 1j])
def test_conditions_named_by_something_else(tmp_path: Path, bad: Any) -> None:
    table = pd.DataFrame({"text": ["x", "y"], "condition": ["hot", bad]})
    refused(lambda: Contrast.from_dataframe(table, **ROLES), "row 2: the column 'condition' is of")


# -- contrasts are values --------------------------------------------------------------------------


def copies(value: Any) -> list[Callable[[], Any]]:
    return [
        lambda: pickle.loads(pickle.dumps(value)),
        lambda: copy.deepcopy(value),
        lambda: copy.copy(value),
    ]


def test_a_contrast_can_be_pickled_and_copied_and_stays_as_it_is() -> None:
    for contrast in (contrasts.emotion(), contrasts.multiple_demand(legacy=True)):
        for make in copies(contrast):
            again = make()
            assert again == contrast
            assert again.content_hash == contrast.content_hash
            with pytest.raises(TypeError):
                again.conditions["new"] = ("x",)
            with pytest.raises(AttributeError):
                again.conditions._content = {}
            assert again.split(0)[0].texts == contrast.split(0)[0].texts


def test_parquet_files_of_other_than_their_number_of_rows_are_refused(tmp_path: Path) -> None:
    """Whatever the version of the library that reads them lets pass."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["one"] * 40, "condition": ["a", "b"] * 20}), path)
    whole = path.read_bytes()
    counted = 0
    for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
        if whole[place] != 80:  # forty, as the format writes it
            continue
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        with pq.ParquetFile(path) as file:
            other = file.metadata.num_rows != 40
        if other:
            counted += 1
            with pytest.raises(LensLocError, match=r"t\.parquet"):
                list(read_rows(path, ["text", "condition"]))
    assert counted


def test_parquet_files_with_a_flipped_bit_are_refused_or_read(tmp_path: Path) -> None:
    rows = {"text": [f"text number {n}" for n in range(40)], "condition": ["a", "b"] * 20}
    path, random = tmp_path / "t.parquet", np.random.default_rng(0)
    pq.write_table(pa.table(rows), path, write_page_checksum=True)
    whole = path.read_bytes()
    wanted = [dict(row.cells) for row in read_rows(path, ["text", "condition"])]
    told = 0
    for _ in range(200):
        changed = bytearray(whole)
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            found = [dict(row.cells) for row in read_rows(path, ["text", "condition"])]
        except LensLocError as error:
            told += "t.parquet" in str(error)
        else:
            # Statistics and words about the writer change nothing; the pages have checksums.
            assert found == wanted
    assert told > 50

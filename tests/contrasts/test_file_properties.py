"""What holds for every text, in every kind of file; and for every split."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from lensloc import Contrast
from lensloc.contrasts.lines import read_text
from lensloc.contrasts.readers import read_prompts, read_rows, read_texts
from lensloc.pages.report.files import csv_of

# Whatever UTF-8 can hold, and often what files are made of.
CHARACTERS = some.characters(codec="utf-8", exclude_characters="\0")
MARKS = some.sampled_from(
    [*"\"',;\t\n\r|#=+-@\\ \ufeff", "\r\n", "\u2028", "\x85", "\f", "é", "😀", "中"]
)
TEXTS = some.lists(CHARACTERS | MARKS, min_size=1, max_size=12).map("".join)
TEXT = TEXTS.filter(lambda text: not text.isspace())
LINE = TEXT.filter(lambda text: not set(text) & {"\n", "\r"})
ROWS = some.lists(some.tuples(some.sampled_from(["hot", "cold"]), TEXT), min_size=1, max_size=6)
ODD = [
    ("hot", '"'), ("cold", '=1+1,"2";\t'), ("hot", "a\r\nb\rc\nd"), ("cold", "\ufeffbom"),
    ("hot", "' "), ("cold", "NULL"), ("hot", "nan"), ("cold", "#no comment"), ("hot", "\\n"),
]  # fmt: skip


def written(rows: list[tuple[str, str]], delimiter: str, quoting: int, end: str) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("condition", "text"), *rows])
    return buffer.getvalue()


def as_csv(rows: list[tuple[str, str]]) -> dict[str, bytes]:
    return {
        "all.csv": written(rows, ",", csv.QUOTE_ALL, "\n").encode(),
        "marked.csv": written(rows, ",", csv.QUOTE_ALL, "\r\n").encode("utf-8-sig"),
        "semicolons.csv": written(rows, ";", csv.QUOTE_ALL, "\r\n").encode(),
        "wide.csv": written(rows, ",", csv.QUOTE_ALL, "\n").encode("utf-16"),
        "packed.csv.gz": gzip.compress(written(rows, ",", csv.QUOTE_ALL, "\n").encode()),
        "tabs.tsv": written(rows, "\t", csv.QUOTE_ALL, "\n").encode(),
        "least.csv": written(rows, ",", csv.QUOTE_MINIMAL, "\r\n").encode(),
        "pandas.csv": pd.DataFrame(rows, columns=["condition", "text"])
        .to_csv(index=False, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
        .encode(),
    }


def as_jsonl(rows: list[tuple[str, str]]) -> dict[str, bytes]:
    records = [{"text": text, "condition": condition} for condition, text in rows]
    plain = "".join(json.dumps(each) + "\n" for each in records)
    wide = "\r\n".join(json.dumps(each, ensure_ascii=False) for each in records)
    return {
        "plain.jsonl": plain.encode(),
        "wide.jsonl": wide.encode("utf-8-sig"),
        "packed.jsonl.gz": gzip.compress(wide.encode()),
    }


def as_parquet(rows: list[tuple[str, str]]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    pd.DataFrame(rows, columns=["condition", "text"]).to_parquet(buffer)
    return {"rows.parquet": buffer.getvalue()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.mark.parametrize("made", [as_csv, as_jsonl, as_parquet])
@example(rows=ODD)
@given(rows=ROWS)
def test_tables_give_the_texts_that_were_written(
    folder: Path, made: Callable[[Any], dict[str, bytes]], rows: list[tuple[str, str]]
) -> None:
    for name, content in made(rows).items():
        (folder / name).write_bytes(content)
        read = [
            (row.cells["condition"], row.cells["text"])
            for row in read_rows(folder / name, ["condition", "text"])
        ]
        assert read == rows, name
        assert [text for text, _ in read_texts(folder / name)] == [text for _, text in rows], name


@example(rows=ODD)
@given(rows=ROWS)
def test_contrasts_are_those_of_the_file(folder: Path, rows: list[tuple[str, str]]) -> None:
    both = [*rows, ("hot", "tea"), ("cold", "ice")]
    expected = {
        name: tuple(text for condition, text in both if condition == name)
        for name in dict.fromkeys(condition for condition, _ in both)
    }
    for name, content in {**as_csv(both), **as_jsonl(both), **as_parquet(both)}.items():
        (folder / name).write_bytes(content)
        found = Contrast.from_file(folder / name, target="hot", control="cold")
        assert dict(found.conditions) == expected, name
    table = pd.DataFrame(both, columns=["condition", "text"])
    made = Contrast.from_dataframe(table, target="hot", control="cold")
    assert made.content_hash == found.content_hash


@example(lines=["a\u2028b", "\x85c", "#d", '"'])
@given(lines=some.lists(LINE, min_size=1, max_size=6))
def test_prompts_are_the_lines_of_a_text(folder: Path, lines: list[str]) -> None:
    lines[0] = lines[0].removeprefix("\ufeff") or "a"  # at the beginning of a file it is a mark
    path = folder / "prompts.txt"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(end.join(lines).encode())
        assert read_prompts(path) == [line for line in lines if line.strip()]
        assert read_text(path).split() == " ".join(lines).split()


@example(rows=ODD)
@given(rows=ROWS)
def test_tables_of_a_report_hold_no_formulas(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["condition", "text"])
    header, *read = csv.reader(io.StringIO(csv_of(table), newline=""))
    assert header == ["condition", "text"]
    for (_, text), (_, shown) in zip(rows, read, strict=True):
        assert shown in (text, f"'{text}")
        assert shown[:1] not in ("=", "+", "-", "@", "\t", "\r")


# -- splits ----------------------------------------------------------------------------------------


@given(some.data(), some.integers(0, 2**32 - 1), some.booleans())
def test_halves_share_nothing_and_keep_items_together(
    data: Any, seed: int, with_items: bool
) -> None:
    size = some.integers(2, 7)
    sizes = data.draw(some.lists(size, min_size=2, max_size=4))
    if with_items:  # every item in every condition
        sizes = [sizes[0]] * len(sizes)
    texts = {f"c{n}": [f"{n} {row}" for row in range(size)] for n, size in enumerate(sizes)}
    names = list(texts)
    contrast = Contrast.from_texts(texts, target=names[0], control=names[1])
    if with_items:
        items = {
            name: tuple(str(row) for row in range(len(found))) for name, found in texts.items()
        }
        contrast = Contrast(
            contrast.name, contrast.conditions, contrast.target, contrast.control, items=items
        )
    halves = contrast.split(seed)
    for name, found in texts.items():
        together = [text for half in halves for text in half.conditions[name]]
        assert Counter(together) == Counter(found)
        assert len(halves[0].conditions[name]) == (len(found) + 1) // 2
        for half in halves:
            assert list(half.conditions[name]) == [t for t in found if t in half.conditions[name]]
    if with_items:
        first, second = (
            {i for found in (half.items or {}).values() for i in found} for half in halves
        )
        assert not first & second
    for half, again in zip(halves, contrast.split(seed), strict=True):
        assert half == again

"""Contrasts, readers and the bundled sentences and nonwords."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from english_words import get_english_words_set
from published_stimuli import HEADER, NONWORDS, SENTENCES, published_rows, trial
from wordfreq import zipf_frequency

from lensloc import Contrast, LensLocError, contrasts
from lensloc.contrasts import bundled_folder
from lensloc.contrasts.published import read_language

# -- the bundled language contrast -----------------------------------------------------------------


def test_240_sentences_of_twelve_words_no_two_alike() -> None:
    assert len(SENTENCES) == len(NONWORDS) == 240
    for text in SENTENCES + NONWORDS:
        assert re.fullmatch(r"[a-z]+( [a-z]+){11}", text), text
    assert len(set(SENTENCES)) == len(set(NONWORDS)) == 240


def test_sentences_follow_no_template() -> None:
    openings = [" ".join(text.split()[:3]) for text in SENTENCES]
    assert len(set(openings)) == 240
    lengths = {tuple(map(len, text.split())) for text in SENTENCES}
    assert len(lengths) == 240


def test_sentences_are_english_words() -> None:
    assert [
        word for text in SENTENCES for word in text.split() if zipf_frequency(word, "en") < 1.5
    ] == []


def test_nonwords_match_the_sentences_word_for_word_in_letter_count() -> None:
    for sentence, nonwords in zip(SENTENCES, NONWORDS, strict=True):
        assert [len(w) for w in sentence.split()] == [len(w) for w in nonwords.split()]


def test_no_nonword_is_an_english_word() -> None:
    english = set(get_english_words_set(["gcide", "web2"], lower=True, alpha=True))
    english |= {word for text in SENTENCES for word in text.split()}
    nonwords = {word for text in NONWORDS for word in text.split()}
    # Dictionaries list every letter, but only these are words of one letter.
    assert not {word for word in nonwords if len(word) == 1} & {"a", "i", "o"}
    assert {word for word in nonwords if len(word) > 1} & english == set()


def test_nonwords_are_pronounceable_and_varied() -> None:
    words = [word for text in NONWORDS for word in text.split()]
    assert all(set(word) & set("aeiouy") for word in words)
    longer = [word for word in words if len(word) >= 4]
    assert len(set(longer)) == len(longer)


def test_the_script_makes_the_file() -> None:
    script = bundled_folder() / "make_language.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


# -- contrasts -------------------------------------------------------------------------------------


def test_texts_labels_and_roles() -> None:
    contrast = Contrast.from_texts(
        {"a": ["x", "y"], "unused": ["u"], "b": ["z"]}, target="b", control=["a"]
    )
    assert contrast.texts == ("x", "y", "z")
    assert contrast.labels == ("a", "a", "b")
    assert contrast.target == ("b",)


def test_content_hash_tells_contents_and_roles_apart_and_nothing_else() -> None:
    def make(**changes: object) -> str:
        settings = {"conditions": {"a": ["x", "y"], "b": ["z"]}, "target": "a", "control": "b"}
        return Contrast.from_texts(**(settings | changes)).content_hash  # type: ignore[arg-type]

    assert make() == make() == make(name="other name")
    assert make() == make(conditions={"a": ["x", "y"], "b": ["z"], "unused": ["u"]})
    different = [
        make(target="b", control="a"),
        make(conditions={"a": ["x", "y "], "b": ["z"]}),
        make(conditions={"a": ["xy"], "b": ["z"]}),
        make(conditions={"a": ["y", "x"], "b": ["z"]}),
    ]
    assert len({make(), *different}) == 5


@pytest.mark.parametrize(
    ("conditions", "target", "control", "message"),
    [
        ({"a": ["x"], "b": []}, "a", "b", "'b' of .* has no texts"),
        ({"a": ["x"], "b": ["z", "  "]}, "a", "b", "Text 2 of the condition 'b' .* is empty"),
        ({"a": ["x"], "b": ["z"]}, "c", "b", r"target condition 'c' is not among .*\(a, b\)"),
        ({"a": ["x"], "b": ["z"]}, "a", "c", "control condition 'c'"),
        ({"a": ["x"], "b": ["z"]}, "a", ["a", "b"], "'a' is both target and control"),
        ({"a": ["x"], "b": ["z"]}, [], "b", "target names no condition"),
    ],
)
def test_bad_contrasts_are_refused(
    conditions: dict[str, list[str]], target: str, control: str, message: str
) -> None:
    with pytest.raises(LensLocError, match=message):
        Contrast.from_texts(conditions, target=target, control=control)


def test_csv_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        'kind,sentence\nhot,"fire, and more"\ncold,ice\nhot,sun\n', encoding="utf-8-sig"
    )
    contrast = Contrast.from_csv(
        path, text="sentence", condition="kind", target="hot", control="cold"
    )
    assert contrast.conditions == {"hot": ("fire, and more", "sun"), "cold": ("ice",)}
    assert contrast.name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"condition,words\na,x\n", "lacks the column 'text'; it has condition, words"),
        (b"", "lacks the column"),
        (b"condition,text\na,x\nb,\n", "row 3: the column 'text' is empty"),
        (b"condition,text\na,x\nb,y,z\n", "row 3: more cells than the 2 columns"),
        ("condition,text\na,Größe\n".encode("latin-1"), "not UTF-8"),
        (b'condition,text\na,"x\n', "not a readable CSV"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(LensLocError, match=message):
        Contrast.from_csv(path, target="a", control="b")


def test_missing_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="no stimulus file"):
        Contrast.from_csv(tmp_path / "none.csv", target="a", control="b")


# -- the published format --------------------------------------------------------------------------


def test_published_files_are_read_in_order_and_lower_case(tmp_path: Path) -> None:
    published_rows(tmp_path, "langloc_fmri_run1_stim_set2.csv", [trial(1, SENTENCES[2], "S")])
    published_rows(
        tmp_path,
        "langloc_fmri_run1_stim_set1.csv",
        [trial(1, NONWORDS[0], "N"), trial(2, SENTENCES[0], "S"), trial(3, SENTENCES[1], "S")],
    )
    published_rows(tmp_path, "langloc_fmri_run2_stim_set1.csv", [trial(1, NONWORDS[1], "N")])
    (tmp_path / "notes.txt").write_text("not a stimulus file")
    contrast = read_language(tmp_path)
    assert contrast.conditions == {"sentences": SENTENCES[:3], "nonwords": NONWORDS[:2]}
    assert contrast.name == "language"
    assert contrasts.language(tmp_path).content_hash == contrast.content_hash


def test_published_trouble_names_file_and_row(tmp_path: Path) -> None:
    name = "langloc_fmri_run1_stim_set1.csv"
    good = [trial(1, SENTENCES[0], "S"), trial(2, NONWORDS[0], "N")]
    short = " ".join(SENTENCES[1].split()[:11])
    gap = trial(3, SENTENCES[1], "S")
    gap[5] = ""
    cases = [
        ([*good, trial(3, short, "S")], rf"{name}, row 4: 11 words"),
        ([*good, gap], rf"{name}, row 4: 11 words"),
        ([*good, trial(3, SENTENCES[1], "F")], rf"{name}, row 4: stim14 is 'F'"),
        (good[:1], "holds no nonwords"),
        (good[1:], "holds no sentences"),
    ]
    for rows, message in cases:
        published_rows(tmp_path, name, rows)
        with pytest.raises(LensLocError, match=message):
            read_language(tmp_path)
    published_rows(tmp_path, name, good, header=[*HEADER[:-1], "label"])
    with pytest.raises(LensLocError, match="lacks the column 'stim14'"):
        read_language(tmp_path)


def test_missing_or_wrong_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="no stimulus folder"):
        read_language(tmp_path / "none")
    with pytest.raises(LensLocError, match="langloc_fmri_run1_stim_set1"):
        read_language(tmp_path)


def test_unknown_network_is_refused() -> None:
    with pytest.raises(LensLocError, match="no network 'music'; the bundled ones are language"):
        contrasts.get("music")

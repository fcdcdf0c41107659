"""Texts of any kind, tokenized, localized, scored and reported: a result or a sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lensloc as ll
from lensloc import LensLocError
from lensloc.models.tokens import token_ids
from lensloc.tasks.pairs import MinimalPairs, Pair

pytestmark = pytest.mark.usefixtures("one_thread")

ODD = [
    *(
        "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
        "\u0645\u0631\u062d\u0628\u0627",
    ),  # right to left
    *("\u202eevil\u202c", "\u200b\u200b", "\ufeffmark", "e\u0301\u0302\u0303"),
    *(
        "\U0001f469\u200d\U0001f680",
        "\u4e2d\u6587\u6ca1\u6709\u7a7a\u683c",
        "superlong" * 60,
        "a" * 300,
    ),
    *("the " * 20, "\x00", "\x1b[31mred", "\t", " x ", "\u00a0", "\u2028", "line\nline", "\ud800"),
    *("", " ", "[/x]", "</script><script>alert(1)</script>", "{{ 7 * 7 }}", "%s %d", "\\", '"'),
    *("=cmd|' /C calc'!A0", "<|end|>", "<|end|> the <|end|>", "\ufffe", "\U0010ffff"),
]
ANY = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(categories=["Lo", "Mn", "Cf", "Zs", "So", "Cc"]), max_size=30),
    st.text(alphabet="ab", min_size=40, max_size=400),
    st.sampled_from(ODD),
)


def told(error: LensLocError) -> None:
    sentence = str(error)
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert len(sentence) <= 2000


def through(model: Any, texts: tuple[str, str]) -> None:
    """Whatever the texts are: the same as one by one, finite numbers, or one sentence."""
    others = ["the old gardener", "nobody remembered"]
    for text in texts:
        try:
            ll.Contrast.from_texts({"a": [text, *others], "b": others}, target="a", control="b")
        except LensLocError as error:
            told(error)
            return
    contrast = ll.Contrast.from_texts(
        {"a": [*texts, *others], "b": [*others, "vash"]}, target="a", control="b"
    )
    try:
        found = ll.localize(model, contrast, keep_responses=True, progress=False)
        assert torch.isfinite(found["resid_post"].t).all()
        values = found.responses["resid_post"].values
        for row, text in enumerate(texts):
            alone = ll.capture(model, [text], ["a"], progress=False).responses["resid_post"].values
            torch.testing.assert_close(values[row], alone[0], rtol=1e-4, atol=1e-4)
    except LensLocError as error:
        told(error)
    try:
        result = ll.tasks.perplexity(list(texts))(model)
        n_bytes = [len(text.encode()) for text in texts]
        assert result.is_finite
        assert all(a <= b for a, b in zip(result.items["bytes"], n_bytes, strict=True))
        assert result.items["tokens"].tolist() == [len(token_ids(model, t)) - 1 for t in texts]
    except LensLocError as error:
        told(error)
    try:
        pairs = MinimalPairs((Pair(*texts, "p"),))
        assert 0 <= pairs(model).score <= 1
    except LensLocError as error:
        told(error)


@pytest.mark.filterwarnings("ignore::lensloc.errors.LensLocWarning")
@settings(max_examples=15)
@given(one=ANY, other=ANY)
@example(one="\u202eevil", other="")
@example(one="the " * 200, other="a" * 300)
def test_any_two_texts(tiny_llama: Any, one: str, other: str) -> None:
    through(tiny_llama, (one, other))


@pytest.mark.filterwarnings("ignore::lensloc.errors.LensLocWarning")
def test_odd_texts(tiny_llama: Any) -> None:
    for text in ODD:
        through(tiny_llama, (text, "the old stone bridge"))


@pytest.mark.filterwarnings("ignore::lensloc.errors.LensLocWarning")
def test_a_report_of_odd_texts(tiny_llama: Any, tmp_path: Path) -> None:
    fine = []
    for text in ODD:
        try:
            ll.Contrast.from_texts({"a": [text], "b": ["x"]}, target="a", control="b")
            ll.tasks.perplexity([f"the {text}"])
            ll.capture(tiny_llama, [text], ["a"], progress=False)
        except LensLocError as error:
            told(error)
        else:
            fine.append(text)
    assert len(fine) > 15
    contrast = ll.Contrast.from_texts(
        {"a<b>": fine, "[/b]": ["vash mopi", "the old bridge"]},
        target="a<b>", control="[/b]", name="\u202e<i>odd</i>",
    )  # fmt: skip
    found = ll.localize(tiny_llama, contrast, keep_responses=True, progress=False)
    page = ll.report(found, tmp_path / "r.html").read_text(encoding="utf-8")
    main = page.split("<main")[1].split("<script")[0]
    assert "<script>alert" not in page
    assert "<i>odd" not in main
    assert len(re.findall(r"</html>", page)) == 1

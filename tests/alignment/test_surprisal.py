"""Surprisal of words: equal to a plain loop, corrected for white space, lined up with the text."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tiny_models import SIZES
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment.spans import found_in, tokens_of
from lensloc.alignment.surprisal import Boundaries

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [
    "the old gardener watered every plant before the sun came up.",
    "nobody in the village remembered who had built the stone bridge, twelve plus nineteen is it",
]


def white(tokenizer: Any) -> torch.Tensor:
    """Which tokens begin with white space, by what they decode to, or are special."""
    special = set(tokenizer.all_special_ids)
    return torch.tensor(
        [
            token in special or tokenizer.decode([token])[:1].isspace()
            for token in range(len(tokenizer))
        ]
    )


def plain(
    hf_model: Any, tokenizer: Any, text: str, bos: bool = False
) -> list[tuple[str, float, float]]:
    """Words with surprisal and corrected surprisal, by transformers and a loop over tokens."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    spelled = tokenizer.convert_ids_to_tokens(ids)
    marked = white(tokenizer)
    goes_on = ~marked
    goes_on[tokenizer.eos_token_id] = True
    read = [tokenizer.bos_token_id, *ids] if bos else ids
    with torch.no_grad():
        logits = hf_model(torch.tensor([read])).logits[0].double()
    probabilities = logits.softmax(dim=-1)[:, : len(tokenizer)]
    if not bos:
        probabilities = torch.cat([torch.full_like(probabilities[:1], torch.nan), probabilities])
    # Row p: what is known before token p, the row behind the last token included.
    words: list[tuple[str, float, float]] = []
    at = 0
    while at < len(ids):
        stop = at + 1
        while stop < len(ids) and not spelled[stop].startswith(("Ġ", "Ċ")):
            stop += 1
        first = at
        while spelled[first] in ("Ġ", "Ċ") and first + 1 < stop:
            first += 1  # white space that is a token of its own
        own = sum(-math.log(probabilities[p, ids[p]]) for p in range(first, stop))
        begins = marked if spelled[first].startswith("Ġ") else goes_on
        before = probabilities[first][begins].sum().log().item()
        after = probabilities[stop][marked].sum().log().item()
        word = tokenizer.decode(ids[first:stop]).strip()
        words.append((word, own, own - after + before))
        at = stop
    return words


@pytest.mark.parametrize("bos", ["none", "add"])
def test_surprisals_equal_a_plain_loop(
    tiny: Any, checkpoints: dict[str, Path], tiny_name: str, bos: Any
) -> None:
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints[tiny_name])
    found = ll.alignment.word_surprisals(tiny, TEXTS, bos=bos, progress=False)
    assert found.marks == "beginning"
    for number, text in enumerate(TEXTS, start=1):
        expected = plain(hf_model, tokenizer, text, bos == "add")
        own = found.table[found.table["story"] == str(number)]
        assert list(own["word"]) == [word for word, _, _ in expected] == text.split()
        assert list(own["position"]) == list(range(1, len(own) + 1))
        for column, at in (("surprisal", 1), ("corrected", 2)):
            theirs = np.array([row[at] for row in expected])
            np.testing.assert_allclose(own[column], theirs, atol=1e-4)
            assert np.isnan(theirs).sum() == (1 if bos == "none" else 0)
    assert len(found.warnings) == (1 if bos == "none" else 0)


@pytest.mark.pretrained
def test_surprisals_of_the_bundled_model_equal_a_plain_loop(
    pretrained: Any, pretrained_folder: Path
) -> None:
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(pretrained_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_folder)
    text = "The old ferry, long out of use, was photographed by unenthusiastic visitors."
    ids = tokenizer(text).input_ids
    marked = white(tokenizer)
    with torch.no_grad():
        log_p = hf_model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    spelled = tokenizer.convert_ids_to_tokens(ids)
    starts = [0, *(p for p in range(1, len(ids)) if spelled[p].startswith("Ġ")), len(ids)]
    found = ll.alignment.word_surprisals(pretrained, [text], progress=False).table
    assert len(found) == len(starts) - 1 == len(text.split())
    assert found["n_tokens"].tolist() == np.diff(starts).tolist()
    assert found["n_tokens"].max() > 2
    for number in range(1, len(found)):
        a, b = starts[number], starts[number + 1]
        own = -sum(float(log_p[p - 1, ids[p]]) for p in range(a, b))
        edges = [torch.logsumexp(log_p[p - 1][marked], 0).item() for p in (a, b)]
        assert found["surprisal"][number] == pytest.approx(own, abs=1e-4)
        assert found["corrected"][number] == pytest.approx(own - edges[1] + edges[0], abs=1e-4)


def test_surprisals_do_not_depend_on_batches(tiny_llama: Any) -> None:
    a, b = (
        ll.alignment.word_surprisals(tiny_llama, texts, batch_size=size, progress=False).table
        for texts, size in ((TEXTS, 1), (TEXTS[::-1], 2))
    )
    both = a.merge(b.assign(story=b["story"].map({"1": "2", "2": "1"})), on=["story", "position"])
    np.testing.assert_allclose(both["corrected_x"], both["corrected_y"], atol=1e-5)


def test_long_texts_are_read_in_windows(tiny_llama: Any, checkpoints: dict[str, Path]) -> None:
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])
    text = " ".join(TEXTS * 3)
    ids = tokenizer(text).input_ids
    assert len(ids) > 96  # the model's context
    scores = np.full(len(ids), np.nan)
    new = 1
    for start in range(0, len(ids), 16):
        with torch.no_grad():
            log_p = hf_model(torch.tensor([ids[start : start + 32]])).logits[0].log_softmax(-1)
        for p in range(new, min(start + 32, len(ids))):
            scores[p] = -float(log_p[p - start - 1, ids[p]])
        new = start + 32
    found = ll.alignment.word_surprisals(tiny_llama, [text], window=32, progress=False).table
    assert found["surprisal"].sum() == pytest.approx(
        scores[int(found["n_tokens"][0]) :].sum()
        - sum(
            scores[p]
            for p in range(int(found["n_tokens"][0]), len(ids))
            if tokenizer.convert_ids_to_tokens([ids[p]]) == ["Ġ"]
        ),
        abs=1e-3,
    )
    assert found["corrected"][1:].notna().all()
    ll.alignment.word_surprisals(tiny_llama, TEXTS[:1], window=96, progress=False)


# -- a closed vocabulary ---------------------------------------------------------------------------

END, MARK, LINE = "<|end|>", "Ġ", "Ċ"
VOCABULARY = [END, MARK, LINE, "a", "b", "c", "Ġa", "Ġb"]
FIRST = ["a", "b"]
WORDS = ["a", "b", "ac", "bc"]
FOLLOWS = {
    END: [*FIRST, END],
    LINE: [*FIRST, END],
    MARK: [END],
    **{token: ["c", "Ġa", "Ġb", LINE, END] for token in ("a", "b", "Ġa", "Ġb")},
    "c": ["Ġa", "Ġb", LINE, END],
}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose every text consists of four words: each token decides what may follow."""
    folder = tmp_path_factory.mktemp("closed") / "closed"
    number = {token: at for at, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocab=number, merges=[(MARK, "a"), (MARK, "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        add_bos_token=False,
    ).save_pretrained(folder)
    config = transformers.LlamaConfig(**{**SIZES, "vocab_size": len(VOCABULARY)})
    model = transformers.LlamaForCausalLM(config)
    width = config.hidden_size
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(VOCABULARY), width))
        table = torch.full((len(VOCABULARY), len(VOCABULARY)), -1e4)
        for token, others in FOLLOWS.items():
            for other in others:
                table[number[token], number[other]] = torch.randn(1, generator=draw).item()
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, : len(VOCABULARY)] = table.T / math.sqrt(width)
    model.save_pretrained(folder)
    return ll.load_model(folder)


def following(closed: Any, token: str) -> dict[str, float]:
    """Probability of every token after one."""
    ids = torch.tensor([[VOCABULARY.index(token)]])
    found = closed(ids, return_type="logits")[0, -1].double().softmax(dim=-1)
    return dict(zip(VOCABULARY, found.tolist(), strict=True))


@pytest.mark.parametrize("context", ["", "a", "b ac", "bc a b"])
def test_corrected_probabilities_of_all_words_sum_to_one(closed: Any, context: str) -> None:
    texts = [f"{context} {word}".strip() for word in WORDS]
    table = ll.alignment.word_surprisals(closed, texts, bos="add", progress=False).table
    last = table.groupby("story", sort=False).last()
    total = np.exp(-last["corrected"]).sum()
    after = following(closed, VOCABULARY[VOCABULARY.index(context[-1])] if context else END)
    if context.endswith(("a", "b")) and len(context) > 1:
        after = following(closed, f"Ġ{context[-1]}")
    if not context:
        boundary = after["a"] + after["b"] + after[END]
    else:
        boundary = after["Ġa"] + after["Ġb"] + after[LINE] + after[END]
    # What is left is that the text ends there, or its line.
    left = after[END] + (after[LINE] if context else 0.0)
    assert total + left / boundary == pytest.approx(1, abs=1e-5)
    assert abs(np.exp(-last["surprisal"]).sum() + left / boundary - 1) > 0.04  # not the plain sum


def test_after_a_line_end_all_words_sum_to_one(closed: Any) -> None:
    table = ll.alignment.word_surprisals(
        closed, [f"a bc\n{word}" for word in WORDS], bos="add", progress=False
    ).table
    last = table.groupby("story", sort=False).last()
    after = following(closed, LINE)
    assert np.exp(-last["corrected"]).sum() + after[END] == pytest.approx(1, abs=1e-5)
    # The line end itself ends the word before it, as a space does.
    before = table.groupby("story", sort=False).nth(1)["corrected"]
    other = ll.alignment.word_surprisals(closed, ["a bc"], bos="add", progress=False).table
    np.testing.assert_allclose(before, other["corrected"][1], atol=1e-6)


def test_correction_charges_each_word_for_its_own_end(closed: Any) -> None:
    """All words of a text, and that it goes on, have the probability of its tokens."""
    table = ll.alignment.word_surprisals(closed, ["a bc b"], bos="add", progress=False).table
    start, last = following(closed, END), following(closed, "Ġb")
    edges = math.log(last["Ġa"] + last["Ġb"] + last[LINE] + last[END])
    edges -= math.log(start["a"] + start["b"] + start[END])
    assert table["corrected"].sum() == pytest.approx(table["surprisal"].sum() - edges, abs=1e-5)


# -- tokenizers ------------------------------------------------------------------------------------


def wrapped(tokenizer: Tokenizer) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>"
    )


def test_tokenizers_tell_where_words_begin_or_end_or_neither() -> None:
    vocabulary = ["<unk>", "</s>", "▁", "a", "▁a", "b", "<0x0A>", "Ġb"]
    number = {token: at for at, token in enumerate(vocabulary)}
    metaspace = Tokenizer(models.BPE(vocab=number, merges=[("▁", "a")], unk_token="<unk>"))
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    found = Boundaries.of(wrapped(metaspace))
    assert found.marks == "beginning"
    begins = {token for token, at in number.items() if found.begins[at]}
    assert begins == {"</s>", "<unk>", "▁", "▁a", "<0x0A>"}  # Ġ is a letter here
    assert {t for t, at in number.items() if found.goes_on[at]} == {"a", "b", "Ġb", "</s>", "<unk>"}

    vocabulary = ["<unk>", "</s>", "a", "a</w>", "b"]
    ends = Tokenizer(
        models.BPE(
            vocab={token: at for at, token in enumerate(vocabulary)},
            merges=[],
            unk_token="<unk>",
            end_of_word_suffix="</w>",
        )
    )
    ends.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert Boundaries.of(wrapped(ends)).marks == "end"

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert Boundaries.of(wrapped(words)).marks == "none"


def test_a_tokenizer_that_marks_nothing_is_told(tmp_path: Path) -> None:
    from planted import bilingual

    model = ll.load_model(bilingual(tmp_path / "bilingual"))
    found = ll.alignment.word_surprisals(model, ["the old man who lives here"], progress=False)
    assert found.marks == "none"
    assert found.table["corrected"].isna().all()
    assert found.table["surprisal"][1:].notna().all()
    assert any("marks neither" in sentence for sentence in found.warnings)


# -- words and texts -------------------------------------------------------------------------------


def test_words_that_do_not_line_up_are_named(tiny_llama: Any) -> None:
    table = pd.DataFrame({"story": "s", "position": [1, 2, 3], "word": ["the", "old", "man"]})
    data = ll.alignment.ReadingTimes.from_dataframe(table, time=None, texts={"s": "the old\n  man"})
    found = ll.alignment.word_surprisals(tiny_llama, data, progress=False)
    assert list(found.table["word"]) == ["the", "old", "man"]

    def told(text: str, match: str) -> None:
        with pytest.raises(LensLocError, match=match):
            ll.alignment.word_surprisals(
                tiny_llama,
                ll.alignment.ReadingTimes.from_dataframe(table, time=None, texts={"s": text}),
                progress=False,
            )

    told("the odd man", "Story s, word 2: the word 'old' does not line up .* where 'odd' stands")
    told("the older man", "Story s, word 2: the word 'old' does not .* where 'older' stands")
    told("the old", "Story s, word 3: the word 'man' does not line up .* nothing is left")
    told("the old man slept.", "the text goes on with 'slept.' after its last word")
    with pytest.raises(LensLocError, match="a text of the story 't', which has no words"):
        ll.alignment.ReadingTimes.from_dataframe(table, time=None, texts={"t": "x"})


def test_tokens_of_two_words_are_told() -> None:
    where = "word {}".format
    assert found_in("a  b", ["a", "b"], where) == ((0, 1), (3, 4))
    with pytest.raises(LensLocError, match="word 0: the token 'd up' holds letters of it and of"):
        tokens_of("stand up", [(0, 5), (6, 8)], [(0, 4), (4, 8)], where)
    with pytest.raises(LensLocError, match="word 1: 'up' has no token of its own"):
        tokens_of("stand up", [(0, 5), (6, 8)], [(0, 5)], where)


def test_results_show_themselves(tiny_llama: Any) -> None:
    found = ll.alignment.word_surprisals(tiny_llama, TEXTS, progress=False)
    assert "words of 2 texts" in repr(found)
    assert "gardener" in found._repr_html_()
    assert found.provenance.model == "my-llama"

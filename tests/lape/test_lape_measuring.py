"""What lesions of language neurons do: every table against loops and forward passes by hand."""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import handwritten
import numpy as np
import pandas as pd
import planted
import pytest
import stopwordsiso
import torch
import transformers
from counts import random_counts
from task_files import refused
from tiny_models import CORPUS
from torch import Tensor

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, UnitMask, lape
from lensloc.lape import generating
from lensloc.lape.answers import (
    language_of,
    question_of,
    repeats,
    stop_words,
    words_of,
)
from lensloc.lape.bundled import LANGUAGES, prompt
from lensloc.lape.recall import Recall, _rounded, cut
from lensloc.models.tokens import token_ids
from lensloc.studies.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = {
    "one": [CORPUS[0], "all at once nobody came", CORPUS[2][:30], "the sun came up"],
    "two": [CORPUS[3], CORPUS[1], "twelve plus one"],
}
WIDTHS = {"llama": 48, "gpt2": 128, "neox": 48}


@pytest.fixture(scope="module")
def originals(checkpoints: dict[str, Path]) -> dict[str, Any]:
    load = transformers.AutoModelForCausalLM.from_pretrained
    return {name: load(folder).eval() for name, folder in checkpoints.items()}


@pytest.fixture(scope="module")
def bilingual_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.bilingual(tmp_path_factory.mktemp("bilingual"))


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def bilingual(request: Any, bilingual_folder: Path) -> Any:
    """A model that answers in English or German, thanks to one neuron each."""
    return ll.load_model(bilingual_folder, backend=request.param)


NEURONS = {
    name: UnitMask.from_addresses([f"L{layer}.mlp_post.{unit}"], (3, 48))
    for name, (layer, unit) in planted.NEURON.items()
}
PROMPTS = {
    name: [asked, " ".join(asked.split()[1:]), asked.split()[-1]]
    for name, asked in planted.ASKED.items()
}
DEAD = UnitMask.from_addresses(["L0.mlp_post.1", "L2.mlp_post.7"], (3, 48))
"""Units that write nothing in the bilingual model."""


def random_masks(width: int = 48, share: float = 0.2) -> dict[str, UnitMask]:
    """Masks of two languages that have some units in common."""
    drawn = torch.rand(2, 3, width, generator=torch.Generator().manual_seed(2)) < share
    drawn[:, 1, 3] = True
    return {name: UnitMask("mlp_post", own) for name, own in zip(TEXTS, drawn, strict=True)}


Replace = Callable[[int, Tensor], Tensor]


def at_mlp_post(replace: Replace) -> handwritten.Edit:
    return lambda site, layer, value: replace(layer, value) if site == "mlp_post" else value


def zeroed(mask: UnitMask) -> Replace:
    return lambda layer, value: value.masked_fill(mask.mask[layer], 0)


def clamped(mask: UnitMask, values: Tensor) -> Replace:
    return lambda layer, value: torch.where(mask.mask[layer], values[layer].to(value.dtype), value)


def after_each_other(*edits: Replace) -> Replace:
    def replace(layer: int, value: Tensor) -> Tensor:
        for edit in edits:
            value = edit(layer, value)
        return value

    return replace


# -- perplexity ------------------------------------------------------------------------------------


def losses_by_hand(
    original: Any, model: Any, texts: Sequence[str], edit: Replace | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Summed log p and number of tokens of every text."""
    sums, numbers = [], []
    for text in texts:
        ids = token_ids(model, text)
        logits = handwritten.logits(
            original, torch.tensor([ids]), at_mlp_post(edit) if edit else None
        )
        logs = logits[0, :-1].double().log_softmax(-1)
        sums.append(float(logs[torch.arange(len(ids) - 1), ids[1:]].sum()))
        numbers.append(len(ids) - 1)
    return np.array(sums), np.array(numbers)


def test_the_matrix_equals_a_loop_by_hand(
    tiny: Any, tiny_name: str, originals: dict[str, Any]
) -> None:
    masks = random_masks(WIDTHS[tiny_name])
    found = lape.perplexity(
        tiny, masks, TEXTS, controls=ll.controls(seeds=[4]), n_resamples=50, progress=False
    )
    assert found.kinds == ("network", "random")
    assert len(found.table) == 2 * 2 * 2
    few = ("which is few for an interval", "nothing can be concluded from so few")
    assert all(any(words in sentence for words in few) for sentence in found.warnings)
    for row in found.table.to_dict("records"):
        mask = masks[row["lesioned"]]
        if row["kind"] == "random":
            assert row["seed"] == 4
            control = mask.random_like(4)
            assert len(control) == len(mask)
            assert not (control.mask & mask.mask).any()
            mask = control
        texts = TEXTS[row["tested"]]
        lesioned, n = losses_by_hand(originals[tiny_name], tiny, texts, zeroed(mask))
        intact, _ = losses_by_hand(originals[tiny_name], tiny, texts)
        assert row["log_perplexity"] == pytest.approx(-lesioned.sum() / n.sum(), abs=1e-4)
        assert row["intact"] == pytest.approx(-intact.sum() / n.sum(), abs=1e-4)
        assert row["change"] == pytest.approx(row["log_perplexity"] - row["intact"], abs=1e-9)
        assert row["n_units"] == len(mask)
        assert row["n_texts"] == len(texts)
        assert row["took_effect"]
        assert abs(row["change"]) > 1e-4
    table = found.table.set_index(["kind", "lesioned", "tested"])
    for kind in found.kinds:
        matrix = found.matrix(kind)
        assert list(matrix.index) == list(matrix.columns) == list(TEXTS)
        for place, value in matrix.stack().items():
            assert value == table.loc[(kind, *place), "change"]


def test_intervals_equal_a_loop(tiny_llama: Any, originals: dict[str, Any]) -> None:
    masks = random_masks()
    found = lape.perplexity(
        tiny_llama, masks, TEXTS, controls=ll.controls(seeds=range(3)), n_resamples=300, seed=7,
        confidence=0.9, progress=False,
    )  # fmt: skip
    assert found.confidence == 0.9
    original = originals["llama"]
    for lesioned, mask in masks.items():
        for tested, texts in TEXTS.items():
            before, n = losses_by_hand(original, tiny_llama, texts)
            edits = [mask, *(mask.random_like(seed) for seed in range(3))]
            after = [losses_by_hand(original, tiny_llama, texts, zeroed(m))[0] for m in edits]
            changes = [float((before - each).sum() / n.sum()) for each in after]
            draws = np.random.default_rng(7).multinomial(
                len(texts), np.full(len(texts), 1 / len(texts)), size=300
            )
            sample = [((before - after[0]) * c).sum() / (n * c).sum() for c in draws]
            rows = found.table[
                (found.table["lesioned"] == lesioned) & (found.table["tested"] == tested)
            ]
            network = rows[rows["kind"] == "network"].iloc[0]
            low, high = np.quantile(sample, [0.05, 0.95])
            assert network["change_low"] == pytest.approx(low, abs=1e-4)
            assert network["change_high"] == pytest.approx(high, abs=1e-4)
            assert network["change_low"] <= network["change"] <= network["change_high"]
            assert math.isnan(network["difference"])
            drawn = rows[rows["kind"] == "random"]
            assert drawn["seed"].tolist() == [0, 1, 2]
            assert drawn["change"].tolist() == pytest.approx(changes[1:], abs=1e-4)
            difference = changes[0] - np.mean(changes[1:])
            for row in drawn.itertuples():
                assert row.difference == pytest.approx(difference, abs=1e-4)
                assert row.difference_low <= row.difference <= row.difference_high
            mean = found.matrix("random").loc[lesioned, tested]
            assert mean == pytest.approx(np.mean(changes[1:]), abs=1e-4)
            assert found.matrix("random", "difference").loc[lesioned, tested] == pytest.approx(
                difference, abs=1e-4
            )


def test_controls_are_three_random_draws_unless_given(tiny_llama: Any) -> None:
    found = lape.perplexity(tiny_llama, random_masks(), TEXTS, n_resamples=5, progress=False)
    drawn = found.table[found.table["kind"] != "network"]
    assert set(drawn["kind"]) == {"random"}
    assert set(drawn["seed"]) == {0, 1, 2}
    alone = lape.perplexity(
        tiny_llama, random_masks(), TEXTS, controls=(), n_resamples=5, limit=1, progress=False
    )
    assert alone.kinds == ("network",)
    assert set(alone.table["n_texts"]) == {1}
    several = [ll.controls("layer", seeds=[1]), ll.controls(seeds=[2])]
    both = lape.perplexity(
        tiny_llama, random_masks(), TEXTS, controls=several, n_resamples=5, progress=False
    )
    assert both.kinds == ("network", "layer", "random")


def test_masks_and_texts_of_different_languages_and_files(tiny_llama: Any, tmp_path: Path) -> None:
    (tmp_path / "three.csv").write_text("text\n" + "\n".join(TEXTS["two"]) + "\n")
    texts = {"two": TEXTS["two"], "three": tmp_path / "three.csv"}
    # A mask with its ranking is used as it is.
    found = {**random_masks(), "ranked": lape.identify(random_counts(1, 3, 48), 0.1).masks["de"]}
    table = lape.perplexity(
        tiny_llama, {n: found[n] for n in ("one", "ranked")}, texts, controls=(), n_resamples=5,
        progress=False,
    )  # fmt: skip
    matrix = table.matrix()
    assert list(matrix.index) == ["one", "ranked"]
    assert list(matrix.columns) == ["two", "three"]
    np.testing.assert_array_equal(matrix["two"], matrix["three"])
    assert (
        table.table.set_index("lesioned").loc["ranked", "n_units"].tolist()
        == [len(found["ranked"])] * 2
    )
    assert "lesioned one, ranked; tested two, three; network" in repr(table)
    with pytest.raises(LensLocError, match="no 'random' here; there are network"):
        table.matrix("random")
    for column in ("lesioned", "nothing"):
        with pytest.raises(LensLocError, match=f"no column of numbers '{column}'"):
            table.matrix(value=column)


def test_a_lesion_without_effect_is_marked_and_told(bilingual: Any) -> None:
    texts = {name: [" ".join(words)] * 2 for name, words in planted.WORDS.items()}
    masks = {"en": NEURONS["en"], "dead": DEAD}
    with pytest.warns(LensLocWarning, match="took no effect") as caught:
        found = lape.perplexity(bilingual, masks, texts, controls=(), n_resamples=5, progress=False)
    rows = found.table.set_index(["lesioned", "tested"])
    assert rows["took_effect"].to_dict() == {
        ("en", "en"): True, ("en", "de"): False, ("dead", "en"): False, ("dead", "de"): False,
    }  # fmt: skip
    idle = [sentence for sentence in found.warnings if "took no effect" in sentence]
    assert [str(each.message) for each in caught] == idle
    # The English neuron is off in German texts anyway.
    assert [sentence.split(" (")[0] for sentence in idle] == [
        "The lesion of en",
        "The lesion of dead",
    ]
    assert rows.loc[("en", "en"), "change"] > 0.1
    assert rows.loc[("en", "de"), "change"] == rows.loc[("dead", "en"), "change"] == 0


def test_perplexities_are_looked_up(
    tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.at(tmp_path)

    def table(texts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        found = lape.perplexity(
            tiny_llama, random_masks(), texts, store=store, controls=(), n_resamples=5,
            progress=False,
        )  # fmt: skip
        return found.table

    first = table(TEXTS)
    monkeypatch.setattr(type(tiny_llama), "forward", None)
    pd.testing.assert_frame_equal(table(TEXTS), first)
    renamed = table({"first": TEXTS["one"], "second": TEXTS["two"], "third": TEXTS["one"]})
    assert renamed["tested"].tolist() == ["first", "second", "third"] * 2
    np.testing.assert_array_equal(
        renamed.loc[renamed["tested"] != "third", "change"], first["change"]
    )


def test_bad_input_of_perplexity(tiny_llama: Any) -> None:
    masks = random_masks()
    empty = masks["one"] - masks["one"]
    refused(lambda: lape.perplexity(tiny_llama, {}), "no language whose neurons to switch off")
    refused(lambda: lape.perplexity(tiny_llama, masks), "no bundled prose in one, two")
    refused(
        lambda: lape.perplexity(tiny_llama, {**masks, "x": empty, "y": empty}, TEXTS),
        "No neuron was identified for x, y",
    )
    refused(lambda: lape.perplexity(tiny_llama, masks, {}), "no task to measure")
    refused(lambda: lape.perplexity(tiny_llama, masks, {"one": []}), "There is no text")
    refused(lambda: lape.perplexity(tiny_llama, masks, TEXTS, mode="burn"), "no mode 'burn'")
    refused(lambda: lape.perplexity(tiny_llama, masks, TEXTS, mode="scale"), "needs scale")
    refused(lambda: lape.perplexity(tiny_llama, masks, TEXTS, limit=0), "limit is at least 1")
    wide = {"one": UnitMask("mlp_post", torch.ones(3, 50, dtype=torch.bool))}
    refused(lambda: lape.perplexity(tiny_llama, wide, TEXTS), "does not fit")


# -- bundled texts ---------------------------------------------------------------------------------


def rows_of(path: str) -> list[dict[str, str]]:
    with (ll.contrasts.bundled_folder() / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_bundled_prose_and_questions() -> None:
    for part, n in (("train", 63), ("held-out", 21)):
        found = lape.prose(part=part)  # type: ignore[arg-type]
        assert tuple(found) == LANGUAGES
        for language, texts in found.items():
            rows = rows_of(f"prose/{language}.csv")
            assert texts == [row["text"] for row in rows if row["part"] == part]
            assert len(set(texts)) == n
    asked = lape.questions(["tr", "en"], limit=3)
    rows = [row for row in rows_of("questions.csv") if row["language"] == "tr"]
    assert list(asked) == ["tr", "en"]
    assert asked["tr"] == [f"{row['instruction']}\nQ: {row['question']}\nA:" for row in rows[:3]]
    bare = lape.questions(["tr"], instruction=False)["tr"]
    assert bare == [f"Q: {row['question']}\nA:" for row in rows]
    assert len(bare) == 20
    assert prompt("Why?") == "Q: Why?\nA:"


def test_bad_input_of_the_bundled_texts() -> None:
    for function, what in ((lape.prose, "prose"), (lape.questions, "questions")):
        for languages, part in ((["en", "zz", "ja"], "zz, ja"), ("en", "a list"), ([], "a list")):
            refused(
                lambda f=function, given=languages: f(given),
                f"Bundled {what} are in en, de, tr, fr, es", part,
            )  # fmt: skip
    refused(lambda: lape.questions(limit=0), "limit is at least 1 question; 0 is not")


# -- measures of an answer -------------------------------------------------------------------------


def test_languages_of_short_pieces_of_prose_are_identified() -> None:
    """Beginnings of twelve words; the published protocol has it right in 99 of 100."""
    right = total = 0
    for language, texts in lape.prose(part="held-out").items():
        for text in texts:
            for sentence in re.split(r"(?<=[.!?])\s+", text):
                words = sentence.split()
                if len(words) >= 12:
                    total += 1
                    right += language_of(" ".join(words[:12])) == language
    assert total > 200
    assert right / total >= 0.99


def test_what_is_no_language_or_uncertain() -> None:
    for text in ("", "   \n", "12 + 7 = 19", "...?!", "🙂 🙃", "_ 3 _"):
        assert language_of(text) == "zxx", text
    for text in ("x", "haha", "glorbix fendal mopi", "la la"):
        assert language_of(text) == "und", text
    assert language_of("Ich weiß nicht, was soll es bedeuten, dass ich so traurig bin.") == "de"
    assert language_of("これは日本語の文章です。とても短いです。") == "ja"


def test_stop_words_equal_a_naive_count() -> None:
    for language, texts in lape.prose(part="held-out").items():
        known = stopwordsiso.stopwords(language)
        for text in texts[:6]:
            plain = text.lower().replace("i̇", "i").replace("’", "'")
            words = [
                word.strip("'")
                for word in "".join(
                    letter if letter.isalpha() or letter == "'" else " " for letter in plain
                ).split()
                if word.strip("'")
            ]
            parts: list[str] = []
            for word in words:
                parts += [word] if word in known else word.split("'")
            assert stop_words(text, language) == (sum(p in known for p in parts), len(parts))
    assert stop_words("The cat, the CAT and Don’t – don't!", "en") == (5, 7)
    assert stop_words("der Hund und das Haus", "de") == (3, 5)
    assert stop_words("L'eau d’aujourd’hui, qu'elle boit", "fr") == (6, 8)
    assert stop_words("der Hund", "xx") == (0, 2)
    assert stop_words("der Hund", None) == (0, 2)
    assert stop_words("1 2 3", "en") == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's Mary’s, isn't it?", ["it's", "mary's", "isn't", "it"]),
        ("'quoted' ''twice'' rock 'n' roll", ["quoted", "twice", "rock", "n", "roll"]),
        ("İstanbul'da IŞIK İLK", ["istanbul'da", "işik", "ilk"]),
        ("well-known – a_b 3x x3 4", ["well", "known", "a", "b", "x", "x"]),
        ("sun🙂shine 🙂", ["sun", "shine"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("Straße\tÜber\nñandú", ["straße", "über", "ñandú"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("question", "answer", "repeated"),
    [
        ("Why do cats sleep?", "why do CATS sleep", True),
        ("Why do cats sleep?", "Because they hunt. Why do cats sleep? Why", True),
        ("Why do the old cats sleep?", "Why do the old cats eat?", True),  # 5 of 6
        ("Why do old cats sleep?", "Why do old cats", True),  # 4 of 5
        ("Why do cats sleep?", "Why do cats", False),  # 3 of 4
        ("Why do cats sleep?", "Why do my cats sleep?", False),  # in two runs
        ("Why do cats sleep?", "", False),
        ("123?", "123?", False),
        ("Why?", "Why not", True),
    ],
)
def test_repeats_by_hand(question: str, answer: str, repeated: bool) -> None:
    assert repeats(question, answer) is repeated


def test_the_question_of_a_prompt() -> None:
    for language in LANGUAGES:
        rows = [row for row in rows_of("questions.csv") if row["language"] == language]
        for instruction in (True, False):
            for row, given in zip(
                rows, lape.questions([language], instruction=instruction)[language], strict=True
            ):
                assert question_of(given) == row["question"]
    assert question_of("Answer in English. Why do cats sleep?") == "Why do cats sleep?"
    assert question_of("Q: It rains. Why?") == "Why?"
    assert question_of("the old gardener") == "the old gardener"
    assert question_of("") == ""


# -- recall of the identifier ----------------------------------------------------------------------


def recall_by_hand(text: str, code: str, length: int) -> float:
    """Beginnings of sentences, cut between words, by one regular expression and a loop."""
    starts = [0, *(found.end() for found in re.finditer(r"[.!?][\"'»”]?\s+", text))]
    starts = [start for start in starts if start <= len(text) - length]
    found = []
    for start in starts:
        piece = text[start : start + length + 1]
        if len(piece) > length:
            piece = piece[: piece.rstrip(" ").rfind(" ")] if piece[-1] != " " else piece[:-1]
        found.append(language_of(piece) == code)
    return sum(found) / len(found)


def test_recall_equals_a_loop_by_hand() -> None:
    texts = lape.prose(["es", "de"], "held-out")
    recall = Recall(texts, {"es": "es", "de": "de", "xx": None})
    for code in ("es", "de"):
        for length in (lengths := [_rounded(n) for n in (24, 35, 80)]):
            expected = recall_by_hand(" ".join(texts[code]), code, length)
            assert recall.of(code, ["x" * length]) == pytest.approx(expected, abs=0.03), length
        ends = [recall.of(code, ["x" * n]) for n in (lengths[0], lengths[2])]
        mixed = recall.of(code, ["x" * lengths[0], *["x" * lengths[2]] * 2, "...", ""])
        assert mixed == pytest.approx((ends[0] + 2 * ends[1]) / 3)
    assert recall.of("es", ["x" * 24]) < recall.of("de", ["x" * 24]) - 0.1
    for code, answers in (("es", []), ("es", ["...", "12"]), (None, ["abc"]), ("ja", ["abc"])):
        assert math.isnan(recall.of(code, answers))


def test_recall_of_half_sentences_is_lowest_in_spanish() -> None:
    """A share of answers in Spanish is not one in German, where answers are short."""
    recall = Recall({}, {})
    found = {code: recall.of(code, ["x" * 32]) for code in LANGUAGES}
    # As docs/language_neurons.md says.
    assert found["es"] == pytest.approx(0.64, abs=0.01)
    assert min(value for code, value in found.items() if code != "es") >= 0.96
    for code in LANGUAGES:
        assert recall.of(code, ["x" * 200]) > 0.99


def test_pieces_are_cut_between_words() -> None:
    assert cut("the old gardener", 9) == "the old"
    assert cut("the old gardener", 7) == "the old"
    assert cut("the old gardener", 8) == "the old"
    assert cut("the old gardener", 50) == "the old gardener"
    assert cut("これは日本語の文章です", 4) == "これは日"


def test_recall_stands_beside_every_share(bilingual: Any) -> None:
    reference = {"de": [" ".join(planted.WORDS["de"])] * 2, "en": lape.prose(["en"])["en"]}
    found = lape.generate(bilingual, PROMPTS, max_new_tokens=8, reference=reference, progress=False)
    recall = Recall(reference, {"de": "de", "en": "en"})
    for row in found.table.to_dict("records"):
        own = found.answers[found.answers["asked"] == row["asked"]]["text"]
        assert row["in_language_recall"] == recall.of(row["asked"], own)
        assert row["language_recall"] == recall.of(row["language"], own)
    codes = {"en": "ja", "de": "de"}
    with pytest.warns(LensLocWarning, match="no answer") as caught:
        steered = steer(bilingual, levels=["mean"], controls=(), codes=codes)
    assert not any("identifier" in str(each.message) for each in caught)
    rows = steered.table.set_index("toward")
    assert rows.loc["en", "in_toward_recall"].isna().all()  # there is no Japanese prose
    assert rows.loc["en", "in_asked_recall"].between(0.9, 1).all()
    assert rows.loc["de", "in_toward_recall"].between(0.9, 1).all()


def test_bad_reference_texts(bilingual: Any) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"fr": ["un"]}, "reference names 'fr', which is no language here that has a code"),
        ({"en": []}, "There is no text"),
        ({"en": ["x", " "]}, "Text 2 (' ') is empty"),
        ({"en": "nowhere.md"}, "nowhere.md must end in"),
    ]
    for reference, message in cases:
        for call in (lape.generate, lape.steer):
            options = {"prompts": PROMPTS, "masks": NEURONS, "reference": reference}
            refused(lambda c=call, o=options: c(bilingual, **o, progress=False), message)


# -- lesions that leave no numbers -----------------------------------------------------------------


@pytest.fixture
def overflowing(bilingual_folder: Path, backend: Any) -> tuple[Any, dict[str, UnitMask]]:
    """A model in float16, of which one neuron writes more than float16 holds if it is driven."""
    model = ll.load_model(bilingual_folder, backend=backend, dtype="float16")
    return model, NEURONS


def test_perplexities_of_a_lesion_without_numbers(
    overflowing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, masks = overflowing
    texts = {name: [" ".join(words)] * 2 for name, words in planted.WORDS.items()}
    monkeypatch.setattr(
        "lensloc.lape.perplexities.lesion_study",
        lambda *given, modes, **more: ll.lesion_study(
            *given, modes=[{"mode": "clamp", "value": 1e5}], **more
        ),
    )
    with pytest.warns(LensLocWarning) as caught:
        found = lape.perplexity(model, masks, texts, n_resamples=5, progress=False)
    assert {str(each.message) for each in caught} <= set(found.warnings)
    assert any("leaves de without a score: Token 2 of" in text for text in found.warnings)
    assert not found.table["finite"].any()
    assert found.table[["change", "log_perplexity", "difference"]].isna().all().all()
    assert np.isfinite(found.table["intact"]).all()
    assert found.matrix().isna().all().all()
    assert found.warnings[0] in repr(found)


def test_answers_under_a_lesion_without_numbers(
    overflowing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, masks = overflowing
    plan = generating.PlannedLesion
    monkeypatch.setattr(
        generating, "PlannedLesion",
        lambda mask, arguments: plan(
            mask, {"mode": "clamp", "value": 1e5} if mask is masks["de"] else arguments
        ),
    )  # fmt: skip
    with pytest.warns(LensLocWarning) as caught:
        found = lape.generate(model, PROMPTS, masks, max_new_tokens=8, progress=False)
    assert {str(each.message) for each in caught} <= set(found.warnings)
    told = "Under the lesion of de, prompts in en have no answers: No token can be written after"
    assert any(text.startswith(told) for text in found.warnings)
    rows = found.table.set_index(["lesioned", "asked"])
    for asked in ("en", "de"):
        lost, kept = rows.loc[("de", asked)], rows.loc[("none", asked)]
        assert not lost["finite"]
        assert lost["took_effect"]
        assert pd.isna(lost["language"])
        shares = ["language_share", "in_language", "in_language_recall", "stop_words", "repeats",
                  "tokens", "distinct_2", "fluency", "changed"]  # fmt: skip
        assert lost[shares].isna().all()
        assert kept["finite"]
        assert kept["in_language"] == 1
    answers = found.answers
    assert answers.loc[answers["lesioned"] == "de", "text"].isna().all()
    assert answers.loc[answers["lesioned"] == "de", "prompt"].tolist() == [
        *PROMPTS["en"], *PROMPTS["de"],
    ]  # fmt: skip
    assert any(" of 'en' ('" in text for text in found.warnings)


def test_steering_beyond_all_numbers(overflowing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, masks = overflowing
    monkeypatch.setattr("lensloc.lape.driving._values", lambda known, level: known.mean() + 1e5)
    with pytest.warns(LensLocWarning) as caught:
        found = steer(model, masks=masks, levels=["mean"], controls=(), toward=["de"],
                      deactivate=[False])  # fmt: skip
    (sentence,) = found.warnings
    assert [str(each.message) for each in caught] == [sentence]
    assert sentence.startswith("Under clamping the units of de (network) to mean, prompts in en ")
    rows = found.table.set_index("level")
    assert rows["finite"].to_dict() == {"-": True, "mean": False}
    shares = ["in_toward", "in_asked", "switched", "in_toward_recall", "fluency", "changed"]
    assert rows.loc["mean", shares].isna().all()
    assert rows.loc["-", "in_asked"] == 1
    assert found.answers["switched"].tolist() == [False] * 3 + [None] * 3


# -- generate --------------------------------------------------------------------------------------


def answers_by_loop(found: Any, group: Mapping[str, Any], code: str) -> dict[str, float]:
    """Every figure that tables share, from the answers' texts and tokens alone."""
    rows = [
        row
        for row in found.answers.to_dict("records")
        if all(row[name] == value or (pd.isna(value) and pd.isna(row[name]))
               for name, value in group.items())
    ]  # fmt: skip
    known = stopwordsiso.stopwords(code)
    words = [re.findall(r"\w+", row["text"].lower()) for row in rows]
    pairs = []
    for row in rows:
        split = row["text"].split()
        runs = [tuple(split[i : i + 2]) for i in range(len(split) - 1)]
        pairs.append(len(set(runs)) / len(runs) if runs else math.nan)
    languages = [language_of(row["text"]) for row in rows]
    most, n_most = Counter(languages).most_common(1)[0]
    tokens = [row["tokens"] for row in rows]
    total = sum(map(len, words))
    return {
        "n": len(rows),
        "tokens": sum(tokens) / len(rows),
        "words": total / len(rows),
        "stop_words": sum(w in known for own in words for w in own) / total if total else math.nan,
        "language": most,
        "language_share": n_most / len(rows),
        "repeats": sum(row["repeats"] for row in rows) / len(rows),
        "distinct_2": float(np.nanmean(pairs)),
        "fluency": sum(
            row["fluency"] * row["tokens"] for row in rows if row["tokens"]
        ) / sum(tokens),
        "changed": sum(row["changed"] for row in rows) / len(rows),
        "languages": languages,
        "texts": [row["text"] for row in rows],
    }  # fmt: skip


def test_answers_of_a_planted_model(bilingual: Any) -> None:
    with pytest.warns(LensLocWarning) as caught:
        found = lape.generate(bilingual, PROMPTS, NEURONS, max_new_tokens=8, progress=False)
    assert {str(each.message) for each in caught} <= set(found.warnings)
    assert found.warnings == (
        "The lesion of en changed no answer to the prompts in en, de.",
        "The lesion of de changed no answer to the prompts in en.",
    )
    expected = {
        # lesioned, asked: what is written
        ("none", "en"): "en", ("none", "de"): "de", ("en", "en"): "en", ("en", "de"): "de",
        ("de", "en"): "en", ("de", "de"): "en",  # without its neuron the other's words follow
    }  # fmt: skip
    assert list(found.table[["lesioned", "asked"]].itertuples(index=False, name=None)) == list(
        expected
    )
    for row in found.table.to_dict("records"):
        place = {"lesioned": row["lesioned"], "asked": row["asked"]}
        language = expected[row["lesioned"], row["asked"]]
        loop = answers_by_loop(found, place, row["asked"])
        assert loop["texts"] == [planted.answer(language, 8)] * 3
        for name in (
            "n", "tokens", "words", "stop_words", "language", "language_share", "repeats",
            "distinct_2", "fluency", "changed",
        ):  # fmt: skip
            assert row[name] == pytest.approx(loop[name]), name
        assert row["language"] == language
        assert row["in_language"] == (language == row["asked"])
        changed = place == {"lesioned": "de", "asked": "de"}
        assert row["changed"] == changed
        assert row["took_effect"] == (changed or row["lesioned"] == "none")
        assert row["n_units"] == (0 if row["lesioned"] == "none" else 1)
    assert "18 answers; lesioned none, en, de; asked in en, de" in repr(found)


def test_answers_equal_the_task(tiny: Any, tiny_name: str) -> None:
    masks = random_masks(WIDTHS[tiny_name])
    prompts = {"one": ["the old gardener", "nobody in the village"], "two": ["twelve plus"]}
    options = {"max_new_tokens": 7, "repetition_penalty": 1.1, "stops": ["\nQ:"]}
    found = lape.generate(tiny, prompts, masks, max_new_tokens=7, progress=False)
    for language, texts in prompts.items():
        task = ll.tasks.generation(texts, min_new_tokens=1, **options)
        for name in ("none", *masks):
            own = found.answers[
                (found.answers["asked"] == language) & (found.answers["lesioned"] == name)
            ]
            if name == "none":
                result = task(tiny)
            else:
                with ll.lesion(tiny, masks[name]):
                    result = task(tiny)
            assert own["prompt"].tolist() == texts
            assert own["text"].tolist() == result.items["text"].str.strip().tolist()
            assert own["tokens"].tolist() == result.items["tokens"].tolist()
            fluency = result.items["value"] / result.items["weight"]
            assert own["fluency"].tolist() == pytest.approx(fluency.tolist())
    alone = lape.generate(tiny, prompts, max_new_tokens=7, progress=False)
    intact = found.answers[found.answers["lesioned"] == "none"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.answers, intact)
    assert alone.table["took_effect"].all()
    # No name is a code, so that nothing is known of the languages.
    assert alone.table[["stop_words", "in_language"]].isna().all().all()


def test_options_of_generate(bilingual: Any) -> None:
    with pytest.warns(LensLocWarning, match="The identifier of languages finds only"):
        stopped = lape.generate(
            bilingual, PROMPTS, max_new_tokens=8, stops=["lives"], progress=False
        )
    texts = stopped.answers.groupby("asked")["text"].unique().to_dict()
    assert list(texts["en"]) == ["the old man who"]
    assert list(texts["de"]) == [planted.answer("de", 8)]
    refused(lambda: lape.generate(bilingual, PROMPTS, NEURONS, mode="clamp"), "needs either value")
    with pytest.warns(LensLocWarning):
        other = lape.generate(
            bilingual, PROMPTS, {"de": DEAD}, mode="zero", max_new_tokens=3, progress=False
        )
    assert not other.table.set_index("lesioned").loc["de", "took_effect"].any()
    assert not other.table.set_index("lesioned").loc["de", "changed"].any()


def test_codes_name_languages(bilingual: Any) -> None:
    prompts = {"English": PROMPTS["en"], "German": PROMPTS["de"]}
    codes = {"English": "en"}
    found = lape.generate(bilingual, prompts, max_new_tokens=8, codes=codes, progress=False)
    rows = found.table.set_index("asked")
    assert rows["language"].to_dict() == {"English": "en", "German": "de"}
    assert rows.loc["English", "in_language"] == 1
    assert rows.loc["English", "stop_words"] > 0.5
    assert math.isnan(rows.loc["German", "in_language"])
    assert math.isnan(rows.loc["German", "stop_words"])
    swapped = lape.generate(
        bilingual, PROMPTS, max_new_tokens=8, codes={"en": "de"}, progress=False
    )
    assert swapped.table.set_index("asked").loc["en", "in_language"] == 0


def test_the_bundled_questions_are_asked(tiny_llama: Any) -> None:
    """A tiny model's window is too short for them."""
    masks = {"fr": random_masks()["one"], "en": random_masks()["two"]}
    refused(
        lambda: lape.generate(tiny_llama, masks=masks, progress=False),
        "Prompt 1", "Réponds à la question", "context window is 96",
    )  # fmt: skip
    refused(
        lambda: lape.generate(tiny_llama, masks={**masks, "xx": masks["fr"]}),
        "no bundled questions in xx", "give prompts",
    )  # fmt: skip


def test_answers_are_looked_up(
    tiny_llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, prompts = Store.at(tmp_path), {"one": ["the old", "twelve"]}
    masks = {"one": random_masks()["one"]}

    def answers() -> Any:
        return lape.generate(
            tiny_llama, prompts, masks, max_new_tokens=4, store=store, progress=False
        )

    first = answers()
    assert len(list(tmp_path.glob("*.json"))) == 2
    monkeypatch.setattr(type(tiny_llama), "forward", None)
    again = answers()
    pd.testing.assert_frame_equal(again.table, first.table)
    pd.testing.assert_frame_equal(again.answers, first.answers)


def test_bad_input_of_generate(tiny_llama: Any) -> None:
    masks = {"en": random_masks()["one"]}
    prompts = {"en": ["the old"]}
    empty = masks["en"] - masks["en"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"masks": {}}, "no language whose neurons to switch off"),
        ({"masks": {"de": empty}}, "No neuron was identified for de"),
        ({"masks": {"none": masks["en"]}}, "'none' stands for the intact model"),
        ({"prompts": {}}, "no prompt to answer; give {language: prompts}"),
        ({"prompts": {"en": []}}, "no prompt of 'en'"),
        ({"prompts": {"en": "the old"}}, "prompts of 'en' are no list"),
        ({"codes": {"de": "de"}}, "codes names 'de', which is not among en"),
        ({"codes": {"en": "english"}}, "'english', the code of 'en', is no language"),
        ({"max_new_tokens": 0}, "max_new_tokens is at least 1"),
        ({"max_new_tokens": 95}, "Prompt 1 with 95 tokens after it"),
        ({"repetition_penalty": 0}, "repetition_penalty is above 0"),
        ({"stops": "\n"}, "stops is a list of texts"),
    ]
    for options, message in cases:
        given = {"prompts": prompts, "masks": masks, "progress": False} | options
        refused(lambda given=given: lape.generate(tiny_llama, **given), message)


# -- activity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 7])
def test_activity_equals_a_token_at_a_time(tiny: Any, tiny_name: str, window: int | None) -> None:
    mask = random_masks(WIDTHS[tiny_name])["one"]
    texts = TEXTS["one"][:2]
    ids = [token for text in texts for token in token_ids(tiny, text)]
    length = window or 96
    expected = []
    for start in range(0, len(ids), length):
        own = ids[start : start + length]
        for end in range(1, len(own) + 1):
            if window is None and end not in (1, 2, 5, len(own)):
                continue  # one forward pass per token takes its time
            with torch.no_grad():
                _, cache = tiny.run_with_cache(torch.tensor([own[:end]]))
            values = torch.stack([cache[f"blocks.{n}.mlp.hook_post"][0, -1] for n in range(3)])
            expected.append((start + end - 1, values[mask.mask]))
    found = lape.activity(tiny, texts, mask, window=window)
    assert found.values.shape == (len(ids), len(mask))
    assert len(expected) == (len(ids) if window else 4 * math.ceil(len(ids) / length))
    for place, values in expected:
        torch.testing.assert_close(found.values[place], values, rtol=1e-4, atol=1e-5)
    short = lape.activity(tiny, texts, mask, window=window, max_tokens=10)
    torch.testing.assert_close(short.values, found.values[:10], rtol=1e-4, atol=1e-5)
    values = found.values.double().numpy()
    for q in (0.0, 0.3, 0.95, 1.0):
        levels = found.quantile(q)
        np.testing.assert_allclose(levels[mask.mask], np.quantile(values, q, axis=0))
        assert (levels[~mask.mask] == 0).all()
    np.testing.assert_allclose(found.mean()[mask.mask], values.mean(axis=0))
    assert (found.mean()[~mask.mask] == 0).all()
    for q in (-0.1, 1.5, math.nan):
        refused(lambda q=q: found.quantile(q), "A quantile lies between 0 and 1")


def test_activity_of_heads_of_layers_without_units_and_under_a_lesion(tiny_llama: Any) -> None:
    mask = UnitMask.from_addresses(["L2.head.1", "L0.head.3"], (3, 4))
    tokens = torch.tensor(token_ids(tiny_llama, CORPUS[0]))
    found = lape.activity(tiny_llama, tokens, mask)
    with torch.no_grad():
        _, cache = tiny_llama.run_with_cache(tokens[None])
    expected = torch.stack(
        [cache["blocks.0.attn.hook_z"][0, :, 3], cache["blocks.2.attn.hook_z"][0, :, 1]], dim=1
    ).norm(dim=-1)
    torch.testing.assert_close(found.values, expected)
    neurons = random_masks()["one"]
    with ll.lesion(tiny_llama, neurons, "clamp", value=2.5, check=False):
        lesioned = lape.activity(tiny_llama, tokens, neurons)
    assert (lesioned.values == 2.5).all()
    assert not any(point.fwd_hooks for point in tiny_llama.hook_dict.values())


def test_a_beginning_of_text_before_every_document(tiny_llama: Any) -> None:
    mask = random_masks()["one"]
    n = {
        bos: len(lape.activity(tiny_llama, TEXTS["one"], mask, bos=bos).values)  # type: ignore[arg-type]
        for bos in ("add", "none")
    }
    assert n["add"] == n["none"] + len(TEXTS["one"])


def test_bad_input_of_activity(tiny: Any, tiny_name: str) -> None:
    width = WIDTHS[tiny_name]
    mask = random_masks(width)["one"]
    cases: list[tuple[Any, UnitMask, dict[str, Any], str]] = [
        (["the"], mask - mask, {}, "holds no unit whose activity"),
        (["the"], mask, {"max_tokens": 0}, "max_tokens is at least 1; 0 is not"),
        (["the"], mask, {"window": 0}, "window is 1 to 96 tokens"),
        (["the"], mask, {"window": 97}, "window is 1 to 96 tokens"),
        ([], mask, {}, "corpus of 'the language' holds no text"),
        (["", " "][:1], mask, {}, "holds no text"),
        (5, mask, {}, "of type int"),
        ("nowhere.txt", mask, {}, "nowhere.txt"),
        (torch.tensor([400]), mask, {}, "the token 400"),
        (["the"], UnitMask("mlp_post", torch.ones(4, width) > 0), {}, "of 4 layers"),
        (["the"], UnitMask("mlp_post", torch.ones(3, 7) > 0), {}, "of 7 units per layer"),
        (["the"], UnitMask("nowhere", torch.ones(3, 7) > 0), {}, "no site 'nowhere'"),
    ]
    for corpus, units, options, message in cases:
        refused(lambda c=corpus, u=units, o=options: lape.activity(tiny, c, u, **o), message)
    assert not any(point.fwd_hooks for point in tiny.hook_dict.values())


# -- steer -----------------------------------------------------------------------------------------

# The first token is of neither language, so that the lowest quantile is 0.
CORPORA = {
    name: [" ".join(["?", planted.ASKED[name], *words])] for name, words in planted.WORDS.items()
}


def steer(model: Any, **options: Any) -> Any:
    given = {
        "masks": NEURONS, "prompts": PROMPTS, "corpora": CORPORA, "max_new_tokens": 6,
        "progress": False,
    }  # fmt: skip
    return lape.steer(model, **(given | options))


def test_steering_switches_a_planted_models_answers(bilingual: Any) -> None:
    with pytest.warns(LensLocWarning) as caught:
        found = steer(bilingual, levels=["mean", 0.5, 0.0])
    assert {str(each.message) for each in caught} <= set(found.warnings)
    table = found.table
    assert len(table) == 2 * (2 + 3 * 2 * 2)  # pairs; alone; levels, kinds, deactivated or not
    for row in table.to_dict("records"):
        network = row["kind"] == "network"
        place = {
            name: row[name] for name in ("asked", "toward", "level", "deactivated", "kind", "seed")
        }
        loop = answers_by_loop(found, place, row["toward"])
        if row["toward"] == "en":  # which also follows where neither neuron is on, or both are
            switched = row["deactivated"] or (network and row["level"] == "q0.5")
        else:
            switched = row["deactivated"] and network and row["level"] in ("mean", "q0.5")
        language = row["toward"] if switched else row["asked"]
        assert loop["texts"] == [planted.answer(language, 6)] * 3, row
        assert row["in_toward"] == row["switched"] == row["changed"] == switched
        assert row["in_asked"] == (not switched)
        assert row["took_effect"] == (switched or (row["level"] == "-" and not row["deactivated"]))
        assert row["n_units"] == (0 if row["level"] == "-" else 1)
        for name in ("n", "stop_words", "tokens", "distinct_2", "fluency"):
            assert row[name] == pytest.approx(loop[name]), name
    driven = table[table["level"] != "-"]
    assert set(driven["kind"]) == {"network", "layer"}
    assert driven.loc[driven["kind"] == "layer", "seed"].tolist() == [0] * 12
    assert driven.loc[driven["kind"] == "network", "seed"].isna().all()
    assert len(found.answers) == 3 * len(table)
    assert "84 answers; asked in en, de; steered to de, en" in repr(found)
    idle = table[~table["took_effect"]]
    assert len(found.warnings) == len(idle)
    assert (
        "Clamping the units of de (network) to q0 and setting those of en to zero changed no "
        "answer to the prompts in en." in found.warnings
    )
    assert "Setting those of en to zero changed no answer to the prompts in en." in found.warnings


def test_answers_that_were_in_the_language_already_did_not_switch(bilingual: Any) -> None:
    """One of the prompts in German is a word that English follows."""
    prompts = {"de": [*PROMPTS["de"], planted.ASKED["en"]]}
    found = steer(bilingual, prompts=prompts, toward=["en"], controls=(), levels=[1])
    rows = found.table.set_index(["level", "deactivated"])
    assert rows["in_toward"].to_dict() == {
        ("-", False): 0.25, ("-", True): 1.0, ("q1", False): 1.0, ("q1", True): 1.0,
    }  # fmt: skip
    assert rows["switched"].to_dict() == {
        ("-", False): 0.0, ("-", True): 0.75, ("q1", False): 0.75, ("q1", True): 0.75,
    }  # fmt: skip
    marked = found.answers[found.answers["deactivated"]]
    assert marked["switched"].tolist() == [True, True, True, False] * 2


def greedy(
    original: Any, model: Any, prompt: str, edit: Replace, n: int, penalty: float = 1.1
) -> str:
    """What is written under an edit, an argmax at a time, without any hook."""
    ids = token_ids(model, prompt)
    written: list[int] = []
    end = model.tokenizer.eos_token_id
    while len(written) < n:
        logits = handwritten.logits(original, torch.tensor([ids + written]), at_mlp_post(edit))
        logits = logits[0, -1]
        for token in {*ids, *written}:
            logits[token] = logits[token] * (1 / penalty if logits[token] > 0 else penalty)
        if not written:
            logits[end] = -torch.inf
        token = int(logits.argmax())
        if token == end:
            break
        written.append(token)
    text: str = model.tokenizer.decode(written)
    return text.strip()


@pytest.mark.parametrize(("name", "backend"), [("llama", "hooked"), ("gpt2", "bridge")])
def test_steering_equals_forward_passes_by_hand(
    name: str, backend: Any, checkpoints: dict[str, Path], originals: dict[str, Any]
) -> None:
    """Units of both languages end up clamped; controls are clamped to what they do themselves."""
    model, original = ll.load_model(checkpoints[name], backend=backend), originals[name]
    masks = random_masks(WIDTHS[name])
    shared = masks["one"] & masks["two"]
    assert len(shared) > 1
    prompts = {"one": ["the old gardener", "nobody in"], "two": ["twelve plus"]}
    levels: list[Any] = ["mean", 0.9]
    several = [ll.controls(seeds=[5])]
    found = lape.steer(
        model, masks, prompts, TEXTS, levels=levels, controls=several, max_new_tokens=5,
        max_tokens=40, progress=False,
    )  # fmt: skip
    known: dict[str, dict[int, list[Tensor]]] = {}
    for language, texts in TEXTS.items():
        ids = [token for text in texts for token in token_ids(model, text)][:40]
        values: dict[int, Tensor] = {}

        def keep(site: str, layer: int, value: Tensor, values: Any = values) -> Tensor:
            if site == "mlp_post":
                values[layer] = value[0].double()
            return value

        handwritten.logits(original, torch.tensor([ids]), keep)
        known[language] = values  # type: ignore[assignment]
    different = 0
    for row in found.table.to_dict("records"):
        source, target = row["asked"], row["toward"]
        edits: list[Replace] = [zeroed(masks[source])] if row["deactivated"] else []
        if row["level"] != "-":
            units = masks[target] if row["kind"] == "network" else masks[target].random_like(5)
            summary = (
                torch.stack([known[target][layer].mean(0) for layer in range(3)])  # type: ignore[attr-defined]
                if row["level"] == "mean"
                else torch.stack(
                    [torch.quantile(known[target][layer], 0.9, dim=0) for layer in range(3)]  # type: ignore[arg-type]
                )
            )
            edits.append(clamped(units, summary))
            assert row["n_units"] == len(units) == len(masks[target])
        texts = [
            greedy(original, model, text, after_each_other(*edits), 5) for text in prompts[source]
        ]
        chosen = found.answers
        for column in ("asked", "toward", "level", "deactivated", "kind"):
            chosen = chosen[chosen[column] == row[column]]
        assert chosen["text"].tolist() == texts, row
        if len(edits) == 2 and row["kind"] == "network":
            turned = after_each_other(*edits[::-1])
            different += texts != [
                greedy(original, model, text, turned, 5) for text in prompts[source]
            ]
    assert different, "the order of the lesions should matter"


def test_units_of_both_languages_are_clamped(bilingual: Any) -> None:
    """Their value, seen in what the MLP writes: the only unit there that writes anything."""
    both = {"en": NEURONS["en"] | NEURONS["de"], "de": NEURONS["de"]}
    written: list[Tensor] = []

    def look(value: Tensor, hook: Any) -> None:
        written.append(value[..., 3].clone())  # the direction of the German neuron

    with (
        pytest.warns(LensLocWarning, match="Setting those of en to zero changed no answer"),
        bilingual.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", look)]),
    ):
        steer(
            bilingual, masks=both, prompts={"en": PROMPTS["en"]}, toward=["de"], levels=["mean"],
            deactivate=[True], controls=(),
        )  # fmt: skip
    level = lape.activity(bilingual, CORPORA["de"], NEURONS["de"]).mean()[1, 9]
    values = torch.cat([value.flatten() for value in written])
    assert level > 10
    assert (values - 0.2 * level).abs().min() < 1e-4
    assert ((values - 0.2 * level).abs() < 1e-4).sum() >= 3 * 6


def test_what_is_steered_and_how(bilingual: Any) -> None:
    def ways(**options: Any) -> set[tuple[Any, ...]]:
        clamped = {"controls": ()} if options["levels"] else {"corpora": None}
        found = steer(bilingual, **(clamped | options))
        columns = ["asked", "toward", "level", "deactivated"]
        return set(found.table[columns].itertuples(index=False, name=None))

    with pytest.warns(LensLocWarning, match="of de \\(network\\) to q1 changed no answer"):
        clamped_alone = ways(toward="de", levels=[1], deactivate=[False])
    assert clamped_alone == {("en", "de", "-", False), ("en", "de", "q1", False)}
    with pytest.warns(LensLocWarning, match="Setting those of en to zero changed no answer"):
        zeroed_alone = ways(toward=["de"], levels=[], corpora=None, deactivate=[True])
    assert zeroed_alone == {("en", "de", "-", False), ("en", "de", "-", True)}
    # Without levels no text is needed, whatever the languages are called.
    masks = {"eins": NEURONS["en"], "zwei": NEURONS["de"]}
    options = {"masks": masks, "prompts": {"zwei": PROMPTS["de"]}, "corpora": None}
    assert ("zwei", "eins", "-", True) in ways(levels=[], deactivate=[True], **options)
    assert ways(prompts={"de": PROMPTS["de"]}, levels=["mean"], deactivate=[True, True]) == {
        ("de", "en", "-", False), ("de", "en", "-", True), ("de", "en", "mean", True),
    }  # fmt: skip


def test_codes_of_steering(bilingual: Any) -> None:
    names = {"en": "English", "de": "German"}
    given = {"masks": NEURONS, "prompts": PROMPTS, "corpora": CORPORA}
    renamed = {
        name: {names[key]: value for key, value in each.items()}  # type: ignore[attr-defined]
        for name, each in given.items()
    }
    with pytest.warns(LensLocWarning, match="Setting those of English to zero changed no answer"):
        found = steer(
            bilingual, **renamed, levels=["mean"], deactivate=[True], controls=(),
            codes={"English": "en"},
        )  # fmt: skip
    rows = found.table[found.table["level"] == "mean"].set_index("toward")
    assert rows.loc["English", "in_toward"] == rows.loc["English", "switched"] == 1
    assert math.isnan(rows.loc["English", "in_asked"])
    assert math.isnan(rows.loc["German", "in_toward"])
    assert rows.loc["German", "in_asked"] == 0
    assert math.isnan(rows.loc["German", "stop_words"])
    assert rows.loc["German", "changed"] == 1


def test_bad_input_of_steering(bilingual: Any) -> None:
    empty = NEURONS["en"] - NEURONS["en"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"masks": {}}, "no language whose neurons"),
        ({"masks": {"en": NEURONS["en"]}}, "neurons of one language only (en)"),
        ({"masks": {**NEURONS, "fr": empty}}, "No neuron was identified for fr"),
        ({"masks": {**NEURONS, "fr": DEAD}}, "no text of fr to take"),
        ({"masks": {**NEURONS, "xx": DEAD}, "corpora": None}, "no text of xx"),
        ({"masks": {"x": NEURONS["en"], "y": DEAD}, "prompts": None}, "questions in x, y"),
        ({"prompts": {**PROMPTS, "fr": ["un"]}}, "prompts in fr, but no neurons of it"),
        ({"prompts": {}}, "no prompt to answer"),
        ({"prompts": {"en": []}}, "no prompt of 'en'"),
        ({"toward": ["fr"]}, "no neurons of fr"),
        ({"toward": []}, "no neurons of any language to steer to"),
        ({"levels": ["median"]}, "'median' is neither"),
        ({"levels": [1.5]}, "1.5 is neither"),
        ({"levels": [math.nan]}, "nan is neither"),
        ({"levels": [], "deactivate": [False]}, "nothing to do to the neurons"),
        ({"deactivate": []}, "nothing to do to the neurons"),
        ({"codes": {"en": "xx"}}, "'xx', the code of 'en'"),
        ({"max_tokens": 0}, "max_tokens is at least 1"),
        ({"corpora": {**CORPORA, "de": []}}, "holds no text"),
        ({"corpora": {"en": CORPORA["en"]}}, "no text of de"),
        ({"max_new_tokens": 0}, "max_new_tokens is at least 1"),
    ]
    for options, message in cases:
        refused(lambda options=options: steer(bilingual, **options), message)
    assert not any(point.fwd_hooks for point in bilingual.hook_dict.values())


# -- neurons on disk -------------------------------------------------------------------------------


def test_identified_neurons_survive_the_disk(tmp_path: Path) -> None:
    counts = random_counts(3)
    found = lape.identify(counts, 0.1, 0.8, 0.7)
    assert torch.isinf(found.entropy).any()
    path = found.save(tmp_path / "deep" / "neurons.safetensors")
    again = lape.Identified.load(path)
    assert list(again.masks) == list(found.masks)
    for language, mask in found.masks.items():
        other = again.masks[language]
        assert other == mask
        assert other.provenance == mask.provenance
        assert torch.equal(other.score, mask.score)
        if len(mask):
            assert other.resized(k=1).addresses == mask.resized(k=1).addresses
    pd.testing.assert_frame_equal(again.table, found.table)
    pd.testing.assert_frame_equal(again.per_layer, found.per_layer)
    for name in ("entropy", "probabilities", "selected"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    content = path.read_bytes()
    for damaged, message in (
        (content[:-9], "damaged"),
        (content[:-3] + bytes([content[-3] ^ 1]) + content[-2:], "checksum"),
        (b"", "damaged or not a file of language neurons"),
    ):
        path.write_bytes(damaged)
        refused(lambda: lape.Identified.load(path), message)
    counts.save(path, overwrite=True)
    refused(lambda: lape.Identified.load(path), "is not a file of language neurons")
    refused(lambda: lape.Identified.load(tmp_path / "no"), "There is no file")
    refused(lambda: found.save(tmp_path / "x.pt"), "unknown suffix")
    assert not (tmp_path / "x.pt").exists()

"""Choices: scored from one position, separated as asked, ties shared."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from task_files import ids_of, n_common, plain_log_probs, plain_model, refused, write_jsonl

import lensloc as ll
from lensloc import LensLocError, LensLocWarning, tasks
from lensloc.models.tokens import token_ids
from lensloc.tasks import MultipleChoice, multiple_choice
from lensloc.tasks.choices import Question, best_of


@pytest.fixture(scope="module")
def original(checkpoints: dict[str, Path]) -> Any:
    return plain_model(checkpoints["llama"])


@pytest.fixture(scope="module")
def uniform(checkpoints: dict[str, Path]) -> Any:
    """A model to which all tokens are equally probable."""
    model = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        model.unembed.W_U.zero_()
        model.unembed.b_U.zero_()
    return model


# -- one position ----------------------------------------------------------------------------------


def test_choices_are_scored_from_one_position(tiny_llama: Any, original: Any) -> None:
    """One choice joins the prompt's space, another leaves it to the prompt."""
    question = Question("the old ", ("vash", "12"), 0)
    prompt = token_ids(tiny_llama, question.prompt)
    ids = [token_ids(tiny_llama, question.prompt + choice) for choice in question.choices]
    departs = [n_common(prompt, own) for own in ids]
    assert departs[0] == len(prompt) - 1
    assert departs[1] == len(prompt)
    expected = [float(plain_log_probs(original, own)[len(prompt) - 2 :].sum()) for own in ids]
    (scores,) = MultipleChoice((question,))(tiny_llama).items["scores"]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    # What the second one had been spared is the space.
    spared = float(plain_log_probs(original, ids[1])[len(prompt) - 2])
    assert spared < -0.1
    turned = Question("the old ", ("12", "vash"), 1)
    (found,) = MultipleChoice((turned,))(tiny_llama).items["scores"]
    np.testing.assert_allclose(found, expected[::-1], atol=1e-4)


@pytest.mark.pretrained
def test_a_number_behind_a_space_does_not_win_by_it(pretrained: Any) -> None:
    question = Question("The cat sat on the ", ("mat", "12"), 0)
    (scores,) = MultipleChoice((question,))(pretrained).items["scores"]
    assert scores == pytest.approx([-5.30, -9.83], abs=0.01)
    # A space that belongs to the prompt or to the choice is the same text.
    (moved,) = MultipleChoice((Question("The cat sat on the", (" mat", " 12"), 0),))(
        pretrained
    ).items["scores"]
    assert moved == pytest.approx(scores, abs=1e-4)


def test_a_choice_within_a_word(tiny_llama: Any, original: Any) -> None:
    """Tokens and bytes are those from the one position on, the prompt's last letters included."""
    question = Question("the old gard", ("ener", "en, 🙂"), 0)
    prompt = token_ids(tiny_llama, question.prompt)
    texts = [question.prompt + choice for choice in question.choices]
    ids = [token_ids(tiny_llama, text) for text in texts]
    first = min(n_common(prompt, own) for own in ids)
    assert 0 < first < len(prompt)
    sums = [float(plain_log_probs(original, own)[first - 1 :].sum()) for own in ids]
    rest = tiny_llama.tokenizer.decode(prompt[first:])
    assert rest.strip()
    sizes = {
        "none": [1, 1],
        "tokens": [len(own) - first for own in ids],
        "bytes": [len((rest + choice).strip().encode()) for choice in question.choices],
    }
    for normalize, divisors in sizes.items():
        (found,) = MultipleChoice((question,), normalize)(tiny_llama).items["scores"]  # type: ignore[arg-type]
        expected = [total / size for total, size in zip(sums, divisors, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_choices_that_change_the_first_token_need_a_beginning(tiny_llama: Any) -> None:
    """Without one it is not scored, though it is what tells the choices apart."""
    tokens = {text: ids_of(tiny_llama.tokenizer, text)[-1:] for text in ("th", "t", "to")}
    assert len(token_ids(tiny_llama, "th", "none")) == 1, tokens
    question = Question("t", ("h", "xx"), 0, place="q.jsonl, row 4")
    task = MultipleChoice((question,), bos="none")
    refused(lambda: task(tiny_llama), "q.jsonl, row 4", "use bos='add'")
    (scores,) = MultipleChoice((question,), bos="add")(tiny_llama).items["scores"]
    assert np.isfinite(scores).all()


# -- separators ------------------------------------------------------------------------------------

CHINESE = {"prompt": "中国的首都是", "choices": ["北京", "上海"], "answer": "北京"}
PLAIN = {"prompt": "the old", "choices": ["sun", " bridge"], "answer": 0}


def separated(path: Path, **options: Any) -> list[tuple[str, ...]]:
    return [question.choices for question in multiple_choice(path, **options).questions]


def test_a_separator_by_argument_and_by_row(tmp_path: Path) -> None:
    rows = [PLAIN, {**PLAIN, "separator": ""}, {**PLAIN, "separator": "\n"},
            {**PLAIN, "separator": None}, {**PLAIN, "separator": " -> "}]  # fmt: skip
    path = write_jsonl(tmp_path / "q.jsonl", rows)
    own = [("sun", " bridge"), ("\nsun", " bridge"), (" -> sun", " ->  bridge")]
    assert separated(path) == [(" sun", " bridge"), own[0], own[1], (" sun", " bridge"), own[2]]
    assert separated(path, separator="") == [own[0], own[0], own[1], own[0], own[2]]
    assert separated(path, separator=": ")[0] == (": sun", ":  bridge")
    spaced = write_jsonl(tmp_path / "s.jsonl", [{**PLAIN, "prompt": "the old "}])
    assert separated(spaced) == [("sun", " bridge")]
    assert separated(spaced, separator="\n") == [("sun", " bridge")]
    settings = [multiple_choice(path, separator=sep).settings for sep in (" ", "", "\n")]
    assert len({str(found) for found in settings}) == 3
    bad = write_jsonl(tmp_path / "bad.jsonl", [PLAIN, {**PLAIN, "separator": 3}])
    refused(lambda: multiple_choice(bad), f"{bad}, row 2", "separator 3 is not a text")


def test_chinese_is_written_without_spaces(tmp_path: Path, tiny_llama: Any, original: Any) -> None:
    path = write_jsonl(tmp_path / "zh.jsonl", [CHINESE, PLAIN])
    with pytest.warns(
        LensLocWarning, match=r"In 1 of 2 questions of .*zh.jsonl a space .* separator=''"
    ):
        told = multiple_choice(path)
    assert told.questions[0].choices == (" 北京", " 上海")
    task = multiple_choice(path, separator="")
    assert task.warnings == ()
    (scores, _) = task(tiny_llama).items["scores"]
    prompt = token_ids(tiny_llama, "中国的首都是")
    for choice, score in zip(CHINESE["choices"], scores, strict=True):
        ids = token_ids(tiny_llama, f"中国的首都是{choice}")
        first = min(
            n_common(prompt, token_ids(tiny_llama, f"中国的首都是{c}")) for c in CHINESE["choices"]
        )
        assert score == pytest.approx(
            float(plain_log_probs(original, ids)[first - 1 :].sum()), abs=1e-3
        )
    with pytest.warns(LensLocWarning):
        spaced = multiple_choice(path)(tiny_llama)
    assert spaced.warnings[0] == told.warnings[0]
    assert spaced.items["scores"][0] != scores
    korean = {"prompt": "한국의 수도는", "choices": ["서울", "부산"], "answer": 0}
    assert multiple_choice(write_jsonl(tmp_path / "ko.jsonl", [korean])).warnings == ()


def test_fields_have_the_names_that_are_given(tmp_path: Path) -> None:
    row = {"question": "the old", "options": ["sun", "bridge"], "label": 1}
    path = write_jsonl(tmp_path / "q.jsonl", [row])
    (question,) = multiple_choice(
        path, prompt="question", choices="options", answer="label"
    ).questions
    assert (question.prompt, question.choices, question.answer) == (
        "the old",
        (" sun", " bridge"),
        1,
    )
    refused(lambda: multiple_choice(path), "lacks the field 'prompt'")
    bad = write_jsonl(tmp_path / "bad.jsonl", [{**row, "label": 9}])
    with pytest.raises(LensLocError, match="row 1: label 9 is neither"):
        multiple_choice(bad, prompt="question", choices="options", answer="label")


# -- ties ------------------------------------------------------------------------------------------


def test_best_choices() -> None:
    for scores, expected in (
        ([-1.0, -2.0], [1, 0]),
        ([-2.0, -1.0, -1.0], [0, 1, 1]),
        ([-100.00001, -100.0, -101.0], [1, 1, 0]),  # as much as float32 rounds off
        ([-100.01, -100.0], [0, 1]),
        ([0.0, 0.0], [1, 1]),
    ):
        assert best_of(np.array(scores)).tolist() == [bool(e) for e in expected]


@pytest.mark.parametrize("normalize", ["none", "tokens", "bytes"])
def test_ties_do_not_go_to_the_first(uniform: Any, normalize: Any) -> None:
    questions = tuple(Question("the sun", (" j", " x", " q"), answer) for answer in (0, 1, 2, 2))
    with pytest.warns(LensLocWarning, match="4 of 4 items of .* are ties"):
        result = MultipleChoice(questions, normalize)(uniform)
    assert result.items["value"].tolist() == pytest.approx([1 / 3] * 4)
    assert result.n_ties == 4
    # Fewer tokens win without normalising, and tie with it.
    longer = (Question("the sun", (" j", " xxx"), 1),)
    if normalize == "none":
        assert MultipleChoice(longer, normalize)(uniform).items["value"].tolist() == [0]
    if normalize == "tokens":
        with pytest.warns(LensLocWarning):
            assert MultipleChoice(longer, normalize)(uniform).items["value"].tolist() == [0.5]


def test_ties_in_the_harness_are_told(
    uniform: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    rows = [{"prompt": "the sun", "choices": ["j", "x"], "answer": n % 2} for n in range(4)]
    rows.append({"prompt": "the sun", "choices": ["j", "xxx"], "answer": 0})
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = write_jsonl(folder / "data.jsonl", rows)
    (folder / "mine.yaml").write_text(
        "task: my_ties\noutput_type: multiple_choice\ndoc_to_text: prompt\n"
        "doc_to_choice: choices\ndoc_to_target: answer\nmetric_list: [{metric: acc}]\n"
        f"dataset_path: json\ndataset_kwargs: {{data_files: {data}}}\ntest_split: train\n"
    )
    with pytest.warns(LensLocWarning, match="In 4 of 5 documents of 'my_ties'") as caught:
        result = tasks.lm_eval("my_ties", include_path=folder)(uniform)
    assert result.warnings == tuple(
        str(each.message) for each in caught if each.category is LensLocWarning
    )
    assert result.items["value"].tolist() == [1, 0, 1, 0, 1]  # the harness' own figure

"""Tasks of lm-evaluation-harness against its own model class, and against our own tasks."""

import importlib.util
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.tasks
import numpy as np
import pytest
import tiny_models
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import lensloc as ll
from lensloc import LensLocError, UnitMask, lesion, tasks
from lensloc.tasks import harness, harness_model, multiple_choice

LONG = " ".join(tiny_models.CORPUS)
QUESTIONS: list[dict[str, Any]] = [
    {"prompt": "the old gardener", "choices": ["watered", "built every bridge"], "answer": 0},
    {"prompt": "twelve plus", "choices": ["nineteen", "one", "the sun"], "answer": 2},
    {"prompt": "nobody in the", "choices": ["village", "stone"], "answer": 1},
    {"prompt": "vash mopi", "choices": ["strane", "plonder vash"], "answer": 1},
    {"prompt": "before the", "choices": ["sun came up", "plant", "one"], "answer": 0},
    {"prompt": "who had built", "choices": ["the stone bridge", "ça va 🙂"], "answer": 0},
]
CHOICE = """
task: my_choice
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
LAST_WORD = """
task: my_last_word
output_type: loglikelihood
doc_to_text: prompt
doc_to_target: "{{' ' + choices[answer]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
"""
ROLLING = """
task: my_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: prompt
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
WRITING = """
task: my_writing
output_type: generate_until
doc_to_text: prompt
doc_to_target: written
generation_kwargs: {until: ["\\n"], max_gen_toks: 5, do_sample: false}
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - {name: nothing, filter: [{function: regex, regex_pattern: "(never there)"},
                             {function: take_first}]}
metric_list: [{metric: exact_match}]
"""
SAMPLING = WRITING.replace("my_writing", "my_sampling").replace(
    "do_sample: false", "do_sample: true"
)
GROUP = """
group: my_group
task: [my_choice, my_writing]
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture(scope="module")
def original(checkpoints: dict[str, Path]) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()


@pytest.fixture(scope="module")
def tokenizer(checkpoints: dict[str, Path]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(checkpoints["llama"])


@pytest.fixture(scope="module")
def theirs(original: Any, tokenizer: Any) -> Any:
    """The harness' own class for a transformers model."""
    return HFLM(pretrained=original, tokenizer=tokenizer, device="cpu", batch_size=1)


@pytest.fixture
def folder(tmp_path: Path, original: Any, tokenizer: Any) -> Path:
    """Tasks on a data set whose first four answers are what the model writes greedily."""
    found = tmp_path / "tasks"
    found.mkdir()
    records = []
    for number, question in enumerate(QUESTIONS):
        ids = greedily(original, tokenizer(question["prompt"])["input_ids"], 5)
        text = tokenizer.decode(list(itertools.takewhile(lambda token: token != 0, ids)))
        written = text.split("\n")[0] if number < 4 else "something else"
        records.append({**question, "written": written})
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (found / "data.jsonl").write_text(lines, encoding="utf-8")
    data = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {found / 'data.jsonl'}}}\n"
        "test_split: train\n"
    )
    for number, content in enumerate((CHOICE, LAST_WORD, ROLLING, WRITING, SAMPLING)):
        (found / f"{number}.yaml").write_text(content + data)
    (found / "group.yaml").write_text(GROUP)
    return found


def greedily(original: Any, ids: Sequence[int], n: int) -> list[int]:
    written: list[int] = []
    with torch.no_grad():
        while len(written) < n:
            logits = original(torch.tensor([[*ids, *written]])).logits[0, -1]
            written.append(int(logits.argmax()))
    return written


def plain_score(original: Any, ids: Sequence[int], first: int) -> tuple[float, bool]:
    """Summed log p of the tokens from ``first`` on, and whether each is the most probable one."""
    with torch.no_grad():
        logits = original(torch.tensor([list(ids[:-1])])).logits[0, first - 1 :].double()
    wanted = torch.tensor(list(ids[first:]))
    scores = logits.log_softmax(-1)[torch.arange(len(wanted)), wanted]
    return float(scores.sum()), bool((logits.argmax(-1) == wanted).all())


def requests(kind: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, arguments_, index) for index, arguments_ in enumerate(arguments)]


def their_results(theirs: Any, folder: Path, task: str) -> tuple[dict[str, Any], list[Any]]:
    manager = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=theirs, tasks=[task], task_manager=manager, bootstrap_iters=0
    )
    assert found is not None
    return found["results"][task], found["samples"][task]


def values_of(samples: Sequence[Any], metric: str) -> list[float]:
    found = {sample["doc_id"]: float(sample[metric]) for sample in samples}
    return [found[number] for number in range(len(QUESTIONS))]


# -- tasks -----------------------------------------------------------------------------------------


def test_multiple_choice_equals_our_own(tiny: Any, folder: Path) -> None:
    result = tasks.lm_eval("my_choice", include_path=folder)(tiny)
    own = multiple_choice(folder / "data.jsonl", bos="none")(tiny)
    assert result.items["value"].tolist() == own.items["value"].tolist()
    assert result.score == own.score
    assert result.items["item"].tolist() == [str(n) for n in range(len(QUESTIONS))]
    assert (result.task, result.measure, result.higher_is_better) == ("my_choice", "accuracy", True)
    assert result.settings["metric"] == "acc"
    assert result.settings["prepends_bos"] is False


@pytest.mark.parametrize(("metric", "batch_size"), [("acc", 1), ("acc_norm", "auto")])
def test_multiple_choice_equals_theirs(
    tiny_llama: Any, theirs: Any, folder: Path, metric: str, batch_size: Any
) -> None:
    task = tasks.lm_eval("my_choice", metric=metric, include_path=folder, batch_size=batch_size)
    result = task(tiny_llama)
    scores, samples = their_results(theirs, folder, "my_choice")
    assert 0 < result.score < 1
    assert result.score == pytest.approx(scores[f"{metric},none"])
    assert result.items["value"].tolist() == values_of(samples, metric)


def test_the_last_word_equals_theirs(tiny_llama: Any, theirs: Any, folder: Path) -> None:
    result = tasks.lm_eval("my_last_word", metric="acc", include_path=folder)(tiny_llama)
    scores, samples = their_results(theirs, folder, "my_last_word")
    assert result.score == pytest.approx(scores["acc,none"])
    assert result.items["value"].tolist() == values_of(samples, "acc")


@pytest.mark.parametrize(
    ("task", "metric"),
    [("my_rolling", None), ("my_rolling", "bits_per_byte"), ("my_last_word", None)],
)
def test_a_metric_that_is_not_a_mean_is_refused(
    tiny_llama: Any, folder: Path, task: str, metric: str | None
) -> None:
    with pytest.raises(LensLocError, match=f"of '{task}' is not a mean over items") as caught:
        tasks.lm_eval(task, metric=metric, include_path=folder)(tiny_llama)
    assert "\n" not in str(caught.value)


def test_a_task_of_writing(tiny_llama: Any, theirs: Any, folder: Path) -> None:
    task = tasks.lm_eval("my_writing", include_path=folder)
    result = task(tiny_llama)
    assert result.items["value"].tolist() == [1, 1, 1, 1, 0, 0]
    assert result.items["item"].tolist() == ["0", "1", "2", "3", "4", "5"]
    assert result.score == pytest.approx(4 / 6)
    assert result.settings["filter"] == "whole"
    scores, _ = their_results(theirs, folder, "my_writing")
    assert scores["exact_match,whole"] == pytest.approx(4 / 6)
    assert scores["exact_match,nothing"] == 0


def test_an_answer_read_in_several_ways_is_one_item(tiny_llama: Any, folder: Path) -> None:
    records = [{**question, "written": "x y z"} for question in QUESTIONS]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "data.jsonl").write_text(lines, encoding="utf-8")
    result = tasks.lm_eval("my_writing", include_path=folder)(tiny_llama)
    assert result.score == 0  # in both ways, so that their mean is each one's
    assert len(result.items) == len(QUESTIONS)


def test_limit_takes_the_first_documents(tiny_llama: Any, folder: Path) -> None:
    every = tasks.lm_eval("my_choice", include_path=folder)(tiny_llama)
    first = tasks.lm_eval("my_choice", include_path=str(folder), limit=2)(tiny_llama)
    assert first.items["value"].tolist() == every.items["value"].tolist()[:2]
    assert first.settings != every.settings
    assert first.settings["limit"] == 2


def test_texts_of_documents_are_known_and_can_be_left_out(tiny_llama: Any, folder: Path) -> None:
    task = tasks.lm_eval("my_choice", include_path=folder)
    first = QUESTIONS[0]
    expected = {first["prompt"], *first["choices"], "the old gardener watered"}
    assert expected <= task.texts
    assert tasks.lm_eval("my_choice", include_path=folder, limit=1).texts >= expected
    assert (
        QUESTIONS[1]["prompt"] not in tasks.lm_eval("my_choice", include_path=folder, limit=1).texts
    )
    assert QUESTIONS[0]["prompt"] in tasks.lm_eval("my_last_word", include_path=folder).texts
    left = task.without({"the old gardener watered", "plonder vash"})
    every = task(tiny_llama).items.set_index("item")["value"]
    found = left(tiny_llama)
    assert found.items["item"].tolist() == ["1", "2", "4", "5"]
    assert found.items["value"].tolist() == every[["1", "2", "4", "5"]].tolist()
    assert left.settings != task.settings
    assert left.without({"twelve plus"}).texts < left.texts < task.texts
    assert task.without({"nothing of it"}) == task
    with pytest.raises(LensLocError, match="No document of the task 'my_choice' is left"):
        task.without(task.texts)


def test_units_are_not_selected_on_texts_of_the_harness(tiny_llama: Any, folder: Path) -> None:
    task = tasks.lm_eval("my_choice", include_path=folder)
    texts = [question["prompt"] for question in QUESTIONS]
    contrast = ll.Contrast.from_texts(
        {"a": texts, "b": [f"{text} mopi" for text in texts]}, target="a", control="b"
    )
    study = ll.lesion_study(tiny_llama, {"x": contrast}, [task], percents=[10], progress=False)
    half, _ = contrast.split(0)
    left = task.without(half.text_set)
    assert study.table["n_items"].item() == len(left(tiny_llama).items) == 3
    assert not [said for said in study.warnings if "my_choice are among" in said]
    mask = ll.localize(tiny_llama, contrast, progress=False).top(percent=10)
    told = ll.lesion_study(tiny_llama, {"x": mask}, [task], progress=False).warnings
    assert any(said.startswith("6 texts of the task my_choice are among those") for said in told)


def test_a_task_whose_documents_cannot_be_read_is_told_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "data.jsonl").unlink()
    task = tasks.lm_eval("my_choice", include_path=folder)
    assert task.texts == frozenset()
    assert "the texts of the harness task my_choice cannot be read" in caplog.text
    assert task.without({"x"}) == task
    assert tasks.lm_eval("no_such_task", include_path=folder).texts == frozenset()


def test_a_lesion_changes_the_score_and_is_left_open(
    checkpoints: dict[str, Path], backend: Any, folder: Path
) -> None:
    tiny = ll.load_model(checkpoints["llama"], backend=backend)
    task = tasks.lm_eval("my_writing", include_path=folder)
    before, tokens = task(tiny), torch.arange(5, 25)[None]
    mask = UnitMask(
        "resid_post", torch.rand(3, 32, generator=torch.Generator().manual_seed(1)) < 0.4
    )
    with lesion(tiny, mask):
        lesioned = tiny(tokens, return_type="logits")
        during = task(tiny)
        own = multiple_choice(folder / "data.jsonl", bos="none")(tiny)
        theirs = tasks.lm_eval("my_choice", include_path=folder)(tiny)
        assert torch.equal(tiny(tokens, return_type="logits"), lesioned)
    assert during.score < before.score
    assert theirs.items["value"].tolist() == own.items["value"].tolist()
    assert task(tiny).items["value"].tolist() == before.items["value"].tolist()


def test_random_generators_of_the_process_are_left_alone(tiny_llama: Any, folder: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    tasks.lm_eval("my_choice", include_path=folder)(tiny_llama)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


# -- the model behind the harness' interface -------------------------------------------------------


CONTINUATIONS = [
    ("the old gardener", " watered every plant"),
    ("the old ", "gardener"),  # a space that belongs to the word behind it
    ("", "the sun came up"),
    ("twelve plus", " nineteen"),
    ("twelve plus", " ninetee"),
    ("ça va", " 🙂"),
    (LONG, " and the sun came up"),  # cut on the left
    ("the sun", "o(x"),  # joined where the two meet
]


def greedy_pair(original: Any, tokenizer: Any, start: list[int]) -> tuple[str, str]:
    """A context and what the model writes after it, which the tokenizer reads as it was written."""
    for context in tiny_models.CORPUS:
        ids = tokenizer(context)["input_ids"]
        written = greedily(original, [*start, *ids], 2)
        if tokenizer(context + tokenizer.decode(written))["input_ids"] == [*ids, *written]:
            return context, tokenizer.decode(written)
    raise AssertionError("the tokenizer reads nothing as it was written")


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_loglikelihood(
    tmp_path: Path, tokenizer: Any, backend: Any, adds_bos: bool, batch_size: Any
) -> None:
    checkpoint = tiny_models.make_checkpoint(
        tmp_path / "my-model", tiny_models.CONFIGS["llama"](), adds_bos=adds_bos
    )
    model = ll.load_model(checkpoint, backend=backend)
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    greedy = greedy_pair(original, tokenizer, [0] * adds_bos)
    arguments = [*CONTINUATIONS, greedy]
    found = harness_model(model, batch_size=batch_size).loglikelihood(
        requests("loglikelihood", arguments)
    )
    flags, joined = [], 0
    for (context, continuation), (score, is_greedy) in zip(arguments, found, strict=True):
        start = [0] if adds_bos or not context else []
        before = tokenizer(context.rstrip())["input_ids"]
        whole = tokenizer(context + continuation)["input_ids"]
        joined += whole[: len(before)] != before
        ids, first = [*start, *before, *whole[len(before) :]], len(start) + len(before)
        cut = max(0, len(ids) - 97)
        expected = plain_score(original, ids[cut:], first - cut)
        assert score == pytest.approx(expected[0], abs=1e-4)
        assert is_greedy is expected[1]
        flags.append(is_greedy)
    assert flags[-1] is True
    assert False in flags
    assert joined == 1
    own = HFLM(
        pretrained=original,
        tokenizer=transformers.AutoTokenizer.from_pretrained(checkpoint),
        device="cpu",
        batch_size=1,
    )
    for (score, is_greedy), theirs in zip(
        found, own.loglikelihood(requests("loglikelihood", arguments)), strict=True
    ):
        assert score == pytest.approx(theirs[0], abs=1e-3)
        assert is_greedy == theirs[1]


def rolled(original: Any, ids: Sequence[int], n_ctx: int) -> float:
    """Every token from what the harness puts before it: windows of the context, full at the end."""
    tokens, total = [0, *ids], 0.0  # the prefix stands before the text
    for position in range(1, len(tokens)):
        end = -(-position // n_ctx) * n_ctx  # the window that predicts this token ends there
        start = max(0, min(end, len(ids)) - n_ctx)
        total += plain_score(original, tokens[start : position + 1], position - start)[0]
    return total


def test_rolling_loglikelihood(tiny: Any, tiny_name: str, checkpoints: Any, tokenizer: Any) -> None:
    original = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[tiny_name]).eval()
    texts = ["the sun", LONG[:90], f"{LONG} {LONG[:130]}"]
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert max(lengths) > 150 > 96
    assert any(length % 96 for length in lengths)
    found = harness_model(tiny).loglikelihood_rolling(
        requests("loglikelihood_rolling", [(text,) for text in texts])
    )
    for text, score in zip(texts, found, strict=True):
        ids = tokenizer(text)["input_ids"]
        assert score == pytest.approx(rolled(original, ids, 96), abs=2e-3)


def test_rolling_loglikelihood_equals_theirs(tiny_llama: Any, theirs: Any) -> None:
    asked = requests("loglikelihood_rolling", [("the sun",), (f"{LONG} {LONG}",), (LONG[:90],)])
    found = harness_model(tiny_llama).loglikelihood_rolling(asked)
    assert found == pytest.approx(theirs.loglikelihood_rolling(asked), abs=2e-3)


def test_generation_until_a_stop(
    tiny_llama: Any, theirs: Any, original: Any, tokenizer: Any
) -> None:
    prompt = "the old gardener"
    text = tokenizer.decode(greedily(original, tokenizer(prompt)["input_ids"], 12))
    assert len(text) > 9
    stop = text[5:7]
    options = [
        {"until": [], "max_gen_toks": 12},
        {"until": [stop], "max_gen_toks": 12},
        {"until": stop, "max_gen_toks": 12, "do_sample": False, "temperature": 0.0},
        {"until": ["never there", stop], "max_gen_toks": 12},
        {"until": [text[8], stop], "max_gen_toks": 12},
    ]
    asked = requests("generate_until", [(prompt, found) for found in options])
    written = harness_model(tiny_llama).generate_until(asked)
    cut = text[: text.index(stop)]
    assert written == [text, cut, cut, cut, min(cut, text[: text.index(text[8])], key=len)]
    assert written == theirs.generate_until(asked)


# -- bad input -------------------------------------------------------------------------------------


def one_sentence(caught: Any) -> None:
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")


def test_unknown_tasks(tiny_llama: Any, folder: Path) -> None:
    with pytest.raises(
        LensLocError, match=r"knows no task 'no_such_task'; .* include_path"
    ) as caught:
        tasks.lm_eval("no_such_task")(tiny_llama)
    one_sentence(caught)
    assert "arc_easy" in harness._task_manager("arc_easy", None).all_subtasks
    with pytest.raises(LensLocError, match="knows no task 'my_choice'"):
        tasks.lm_eval("my_choice")(tiny_llama)


def test_tasks_of_ones_own_that_are_not_there(
    tiny_llama: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_own = lm_eval.tasks.TaskManager  # the harness' own take seconds to list
    monkeypatch.setattr(
        lm_eval.tasks,
        "TaskManager",
        lambda include_path, include_defaults=True: only_own(
            include_path=include_path, include_defaults=False
        ),
    )
    with pytest.raises(LensLocError, match="knows no task 'other'") as caught:
        tasks.lm_eval("other", include_path=folder)(tiny_llama)
    one_sentence(caught)
    with pytest.raises(
        LensLocError, match=r"'my_group' is a group of tasks; .*: my_choice, my_writing"
    ) as caught:
        tasks.lm_eval("my_group", include_path=folder)(tiny_llama)
    one_sentence(caught)
    with pytest.raises(
        LensLocError, match="'my_choice' has no metric 'f1'; it has acc, acc_norm"
    ) as caught:
        tasks.lm_eval("my_choice", metric="f1", include_path=folder)(tiny_llama)
    one_sentence(caught)
    with pytest.raises(LensLocError, match=r"There is no folder .*nowhere of tasks") as caught:
        tasks.lm_eval("my_choice", include_path=folder / "nowhere")
    one_sentence(caught)
    with pytest.raises(LensLocError, match="asks for sampling") as caught:
        tasks.lm_eval("my_sampling", include_path=folder)(tiny_llama)
    one_sentence(caught)


def test_requests_that_do_not_fit(tiny_llama: Any) -> None:
    model = harness_model(tiny_llama)
    for context, nothing in (("the sun", ""), ("t", "h")):  # "th" is one token
        with pytest.raises(LensLocError, match="adds no token to its context") as caught:
            model.loglikelihood(requests("loglikelihood", [(context, nothing)]))
        one_sentence(caught)
    with pytest.raises(LensLocError, match="more than the model's context window of 96") as caught:
        model.loglikelihood(requests("loglikelihood", [("the sun", f" {LONG}")]))
    one_sentence(caught)
    with pytest.raises(
        LensLocError, match=r"with 80 tokens after it .* context window is 96"
    ) as caught:
        model.generate_until(requests("generate_until", [(LONG[:90], {"max_gen_toks": 80})]))
    one_sentence(caught)


def test_without_a_tokenizer(
    tiny_llama: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_llama, "tokenizer", None)
    with pytest.raises(LensLocError, match="has no tokenizer"):
        tasks.lm_eval("my_choice", include_path=folder)(tiny_llama)


def test_without_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LensLocError, match=r"install it with lensloc\[lm-eval\]") as caught:
        tasks.lm_eval("my_choice")
    one_sentence(caught)

"""Prompts of languages x masks of languages -> what is answered, and in what language."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from lensloc.contrasts.readers import require_texts
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, LensLocWarning, refuse_idle
from lensloc.lape.answers import (
    knows_stop_words,
    language_codes,
    language_of,
    question_of,
    repeats,
    stop_words,
)
from lensloc.lape.bundled import LANGUAGES, questions
from lensloc.lape.identifying import require_neurons
from lensloc.lape.recall import Recall, recall_told
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.matrices import Answers
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.store import StoreLike
from lensloc.tasks import Generation, TaskResult, generation
from lensloc.tasks import perplexity as perplexity_task
from lensloc.units.mask import UnitMask

Reference = Sequence[str] | str | Path
INTACT = "none"
STOPS = ("\nQ:",)


def generate(
    model: Model,
    prompts: Mapping[str, Sequence[str]] | None = None,
    masks: Mapping[str, UnitMask] | None = None,
    *,
    mode: str = "zero",
    max_new_tokens: int = 60,
    repetition_penalty: float = 1.1,
    stops: Sequence[str] = STOPS,
    codes: Mapping[str, str] | None = None,
    reference: Mapping[str, Reference] | None = None,
    store: StoreLike = None,
    progress: bool = True,
) -> Answers:
    """Let the model answer in every language, intact and with each language's neurons off.

    Greedy decoding with a repetition penalty, as in arXiv 2402.16438. At least one token is
    written, so that a model that would rather end at once shows its language.

    Args:
        model: a loaded model.
        prompts: language -> prompts, e.g. :func:`lensloc.lape.questions`, whose 20 questions in the
            masks' languages (or in all five) are asked if None.
        masks: language -> neurons; the intact model alone if None.
        mode: of the lesion, one that needs no further argument; refused without masks.
        max_new_tokens: most tokens of an answer.
        repetition_penalty: what logits of tokens that are there already are divided by if positive
            and multiplied by if negative; 1 for none.
        stops: texts at which an answer ends.
        codes: language -> ISO 639-1 code, where a language's name is none; without a code it has
            no stop words and is never identified.
        reference: language -> texts in a list or a file, on which the recall of the identifier of
            languages is measured, cut to the length of the answers; the bundled prose where there
            is some and none is given.
        store: where results are kept and looked up.
        progress: show a progress bar with the time left.

    Returns:
        One row per lesion and language asked in, and all answers. A lesion that leaves the model
        without numbers is marked and warned of.

    Raises:
        LensLocError: no prompt; a prompt that leaves no room in the context window; a language
            without neurons; a code or reference that is none; what the lesion refuses; an intact
            model that gives no numbers.
    """
    surface(model)
    if masks is None:
        reason = "without masks nothing is lesioned; leave it out, or give masks"
        refuse_idle(reason, mode=mode != "zero")
    else:
        require_neurons(masks)
    if masks is not None and INTACT in masks:
        raise LensLocError(f"The name {INTACT!r} stands for the intact model; use another.")
    tasks = answer_tasks(_asked(prompts, masks), max_new_tokens, repetition_penalty, stops)
    iso = language_codes(list(dict.fromkeys([*tasks, *(masks or {})])), codes)
    recall = recall_of(reference, iso)
    run = Runner(model, describe(model), store)
    lesions = {name: PlannedLesion(mask, {"mode": mode}) for name, mask in (masks or {}).items()}
    for lesion in lesions.values():
        lesion.on(model, check=False)  # refuse early
    found: list[pd.DataFrame] = []
    lost: list[str] = []
    with progress_bar(progress, len(tasks) * (1 + len(lesions)), "answers") as advance:
        for asked, task in tasks.items():
            result, _ = run.measure(task)
            intact = answers_of(result, task, asked, iso[asked])
            found.append(intact.assign(lesioned=INTACT, n_units=0, changed=False))
            advance(1)
            for lesioned, lesion in lesions.items():
                result, _ = run.measure(task, lesion)
                own = answers_of(result, task, asked, iso[asked])
                n_units = len(lesion.mask)
                changed = differs(own, own["text"].to_numpy() != intact["text"].to_numpy())
                found.append(own.assign(lesioned=lesioned, n_units=n_units, changed=changed))
                if not result.is_finite:
                    lost.append(unanswered(f"the lesion of {lesioned}", asked, result))
                advance(1)
    answers = joined(found)
    table = _table(answers, [INTACT, *lesions], list(tasks), iso, recall)
    lowest = table.groupby("asked", sort=False)["in_language_recall"].min()
    recalls = {str(name): float(value) for name, value in lowest.items()}
    sentences = [*_idle(table), *lost, *recall_told(recalls)]
    return Answers(table, answers[_ANSWER], told(sentences))


_ANSWER = [
    *("lesioned", "asked", "item", "prompt", "text", "tokens", "words", "stop_words"),
    *("language", "repeats", "distinct_2", "fluency", "changed"),
]


def answer_tasks(
    prompts: Mapping[str, Sequence[str]],
    max_new_tokens: int,
    repetition_penalty: float,
    stops: Sequence[str],
) -> dict[str, Generation]:
    """Return one task of generation per language.

    Raises:
        LensLocError: no language, no prompt, or a number that makes no sense.
    """
    if not prompts:
        raise LensLocError("There is no prompt to answer; give {language: prompts}.")
    for language, given in prompts.items():
        if isinstance(given, str):
            raise LensLocError(f"The prompts of {language!r} are no list of texts; give a list.")
        if not require_texts(given, f"Prompt of {language!r}"):
            raise LensLocError(f"There is no prompt of {language!r}; give one, or leave it out.")
    return {
        language: generation(
            list(given),
            max_new_tokens=max_new_tokens,
            repetition_penalty=repetition_penalty,
            stops=stops,
            min_new_tokens=1,
            name=language,
        )
        for language, given in prompts.items()
    }


def recall_of(reference: Mapping[str, Reference] | None, iso: Mapping[str, str | None]) -> Recall:
    """Return the recall of the identifier on reference texts, read and checked.

    Raises:
        LensLocError: a language that is not there or has no code, or texts that are none.
    """
    texts = {}
    for name, given in (reference or {}).items():
        if iso.get(name) is None:
            raise LensLocError(
                f"reference names {name!r}, which is no language here that has a code; there are "
                f"{', '.join(key for key, code in iso.items() if code) or 'none'}."
            )
        texts[name] = perplexity_task(given).texts
    return Recall(texts, iso)


def answers_of(result: TaskResult, task: Generation, asked: str, code: str | None) -> pd.DataFrame:
    """Return one row per answer, with the measures of :class:`~lensloc.results.matrices.Answers`.

    ``stop_words`` are counts of words here, of the language of ``code``. Of a model that gave no
    numbers everything is missing (``finite`` is False).
    """
    items = result.items
    same = {"asked": asked, "item": items["item"], "prompt": list(task.prompts)}
    if not result.is_finite:
        lacking = {"text": None, "language": None, "repeats": None}
        missing = ("tokens", "words", "stop_words", "distinct_2", "fluency", "value", "weight")
        gone: pd.DataFrame = pd.DataFrame(
            {**same, **lacking, **dict.fromkeys(missing, np.nan), "finite": False}
        )
        return gone
    counts = [stop_words(text, code) for text in items["text"]]
    with np.errstate(invalid="ignore", divide="ignore"):
        fluency = items["value"].to_numpy(float) / items["weight"].to_numpy(float)
    known = knows_stop_words(code)
    found: pd.DataFrame = pd.DataFrame(
        {
            **same,
            "text": items["text"].str.strip(),
            "tokens": items["tokens"],
            "words": [n for _, n in counts],
            "stop_words": [float(n) if known else np.nan for n, _ in counts],
            "language": [language_of(text) for text in items["text"]],
            "repeats": [
                repeats(question_of(prompt), text)
                for prompt, text in zip(task.prompts, items["text"], strict=True)
            ],
            "distinct_2": items["distinct_2"],
            "fluency": fluency,
            "value": items["value"],
            "weight": items["weight"],
            "finite": True,
        }
    )
    return found


def differs(answers: pd.DataFrame, values: Any) -> Shaped[np.ndarray, " answer"]:
    """Return what was found of every answer; None of those that are missing."""
    return np.array(
        [
            bool(value) if finite else None
            for value, finite in zip(values, answers["finite"], strict=True)
        ]
    )


def joined(found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables as one; columns keep their kind if nothing is missing."""
    table: pd.DataFrame = pd.DataFrame([row for each in found for row in each.to_dict("records")])
    return table


def share_of(answers: pd.DataFrame, column: str) -> float:
    """Return the share of answers for which something holds, or a mean; NaN if it is missing."""
    return float(answers[column].astype(float).mean())


def unanswered(what: str, asked: str, result: TaskResult) -> str:
    """Say that prompts have no answers, and why."""
    reason = "; ".join(sentence.rstrip(".") for sentence in result.warnings)
    return f"Under {what}, prompts in {asked} have no answers: {reason}."


def share_of_stop_words(answers: pd.DataFrame) -> float:
    """Return the share of all words of some answers that are stop words; NaN if none are known."""
    words = float(answers["words"].sum())
    return float(answers["stop_words"].sum(skipna=False)) / words if words else float("nan")


def fluency_of(answers: pd.DataFrame) -> float:
    """Return the mean log-probability per token of some answers; NaN without a token."""
    weight = float(answers["weight"].sum())
    return float(answers["value"].sum()) / weight if weight else float("nan")


def told(sentences: Iterable[str]) -> tuple[str, ...]:
    """Warn of every sentence and return them; to be called from a public function."""
    found = tuple(sentences)
    for sentence in found:
        warnings.warn(sentence, LensLocWarning, stacklevel=3)
    return found


def _asked(
    prompts: Mapping[str, Sequence[str]] | None, masks: Mapping[str, UnitMask] | None
) -> Mapping[str, Sequence[str]]:
    if prompts is not None:
        return prompts
    missing = [name for name in masks or {} if name not in LANGUAGES]
    if missing:
        raise LensLocError(
            f"There are no bundled questions in {', '.join(missing)}; give prompts, "
            "{language: prompts}."
        )
    return questions(list(masks) if masks else LANGUAGES)


def _table(
    answers: pd.DataFrame,
    lesioned: list[str],
    asked: list[str],
    iso: Mapping[str, str | None],
    recall: Recall,
) -> pd.DataFrame:
    rows = []
    for name in lesioned:
        for language in asked:
            own = answers[(answers["lesioned"] == name) & (answers["asked"] == language)]
            finite = bool(own["finite"].all())
            texts = list(own["text"]) if finite else []
            shares = own["language"].value_counts(normalize=True)  # ties: the first to appear
            most = str(shares.index[0]) if finite else None
            rows.append(
                {
                    "lesioned": name,
                    "asked": language,
                    "n_units": int(own["n_units"].iloc[0]),
                    "n": len(own),
                    "tokens": share_of(own, "tokens"),
                    "words": share_of(own, "words"),
                    "stop_words": share_of_stop_words(own),
                    "language": most,
                    "language_share": float(shares.iloc[0]) if finite else np.nan,
                    "language_recall": recall.of(most, texts),
                    "in_language": in_language(own, iso[language]),
                    "in_language_recall": recall.of(iso[language], texts),
                    "repeats": share_of(own, "repeats"),
                    "distinct_2": share_of(own, "distinct_2"),
                    "fluency": fluency_of(own),
                    "changed": share_of(own, "changed"),
                    "took_effect": not finite or bool(own["changed"].any()) or name == INTACT,
                    "finite": finite,
                }
            )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def in_language(answers: pd.DataFrame, code: str | None) -> float:
    """Return the share of answers in a language; NaN if it has no code, or of no answers."""
    if not code or not answers["finite"].all():
        return float("nan")
    return float((answers["language"] == code).mean())


def _idle(table: pd.DataFrame) -> Iterator[str]:
    for name, rows in table.groupby("lesioned", sort=False):
        idle = rows.loc[~rows["took_effect"], "asked"]
        if len(idle):
            yield (f"The lesion of {name} changed no answer to the prompts in {', '.join(idle)}.")

"""Tasks of EleutherAI's lm-evaluation-harness, on a model of ours with whatever lesion is open."""

import dataclasses
import functools
import importlib.util
import logging
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import (
    Bos,
    prepends_bos,
    require_known,
    require_tokenizer,
    shortened,
    token_ids,
)
from lensloc.tasks.base import TaskResult, is_tie, told
from lensloc.tasks.generating import Generation
from lensloc.tasks.scoring import Scored, log_probs_and_greedy, token_log_probs

log = logging.getLogger(__name__)

_MOST_NEW_TOKENS = 256


@dataclass(frozen=True)
class HarnessTask:
    """The task of :func:`lm_eval`; ``documents`` are the positions of those used, None for all."""

    task: str
    metric: str | None = None
    include_path: str | None = None
    num_fewshot: int | None = None
    limit: int | None = None
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    documents: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """The harness' own name of the task."""
        return self.task

    @property
    def settings(self) -> Mapping[str, Any]:
        """Task and options."""
        from importlib.metadata import version

        return {
            "task": f"lm_eval {version('lm-eval')}: {self.task}",
            "metric": self.metric,
            "include_path": self.include_path,
            "num_fewshot": self.num_fewshot,
            "limit": self.limit,
            "bos": self.bos,
            **({} if self.documents is None else {"documents": list(self.documents)}),
        }

    @property
    def texts(self) -> frozenset[str]:
        """All texts in the documents, and prompts with each of their choices; examples left out.

        None of a task that cannot be read, which is told in the log: running it says why.
        """
        return frozenset(text for texts in self._texts_by_document().values() for text in texts)

    def without(self, texts: Container[str]) -> "HarnessTask":
        """Return the task without the documents that hold one of these texts.

        Raises:
            LensLocError: if none is left.
        """
        found = self._texts_by_document()
        kept = tuple(n for n, held in found.items() if not any(text in texts for text in held))
        if found and not kept:
            raise LensLocError(f"No document of the task {self.task!r} is left; take another.")
        return self if len(kept) == len(found) else dataclasses.replace(self, documents=kept)

    def _texts_by_document(self) -> dict[int, frozenset[str]]:
        manager = _task_manager(self.task, self.include_path)
        if self.task not in manager.all_subtasks:
            return {}
        try:
            task = _loaded(manager, self.task)
            documents = list(task.doc_iterator(limit=self.limit))
        except Exception as error:  # of data sets, of every kind
            log.warning(
                "the texts of the harness task %s cannot be read (%s), so nothing tells whether "
                "units were selected on them",
                self.task,
                error,
            )
            return {}
        wanted = None if self.documents is None else set(self.documents)
        return {
            int(number): frozenset(_texts_of_document(task, document))
            for number, document in documents
            if wanted is None or number in wanted
        }

    def __call__(self, model: Model, *, progress: bool = False) -> TaskResult:
        """Run the task.

        Returns:
            The metric, which must be a mean over items; one row per document. Of a task with
            several ways to read an answer (filters) it is the first one's.

        Raises:
            LensLocError: an unknown task, a metric that the task lacks or that is no mean, or a
                request that does not fit the context window, or to which the model gives no number.
        """
        require_tokenizer(model)
        from lm_eval import simple_evaluate

        manager = _task_manager(self.task, self.include_path)
        if self.task not in manager.all_tasks:
            raise LensLocError(
                f"lm-evaluation-harness knows no task {self.task!r}; for a task of your own give "
                "include_path, the folder of its YAML file."
            )
        found = simple_evaluate(
            model=harness_model(model, bos=self.bos, batch_size=self.batch_size, progress=progress),
            tasks=[self.task],
            num_fewshot=self.num_fewshot,
            limit=self.limit if self.documents is None else None,
            samples=None if self.documents is None else {self.task: list(self.documents)},
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=None,  # of the whole process, which is not ours to set
            numpy_random_seed=None,
            torch_random_seed=None,
        )
        if self.task not in found["samples"]:
            raise LensLocError(
                f"{self.task!r} is a group of tasks; name its tasks one by one: "
                f"{', '.join(found['samples'])}."
            )
        return told(self._result(model, found))

    def _result(self, model: Model, found: Mapping[str, Any]) -> TaskResult:
        filters: dict[str, str] = {}
        scores: dict[str, float] = {}
        for key, value in found["results"][self.task].items():
            name, _, answers = key.partition(",")
            if answers and "_stderr" not in key and isinstance(value, float | int):
                filters.setdefault(name, answers)
                scores.setdefault(name, value)
        metric = self.metric or next(iter(scores), None)
        if metric not in scores:
            raise LensLocError(
                f"{self.task!r} has no metric {metric!r}; it has {', '.join(scores) or 'none'}."
            )
        # A document stands there once for every way to read its answer, the harness' "filters".
        read = [s for s in found["samples"][self.task] if s["filter"] == filters[metric]]
        samples = sorted(read, key=lambda sample: int(sample["doc_id"]))
        values = [sample.get(metric) for sample in samples]
        numeric = all(isinstance(value, bool | int | float | np.number) for value in values)
        if not numeric or not np.isclose(np.mean([float(v) for v in values]), scores[metric]):
            raise LensLocError(
                f"The metric {metric!r} of {self.task!r} is not a mean over items, so a lesion's "
                f"effect cannot be resampled; choose another of {', '.join(scores)}."
            )
        items = pd.DataFrame(
            {
                "item": [str(sample["doc_id"]) for sample in samples],
                "group": self.task,
                "value": [float(value) for value in values],
                "weight": 1.0,
            }
        )
        higher = found["higher_is_better"][self.task].get(metric, True)
        measure = "accuracy" if metric in ("acc", "acc_norm", "exact_match") else str(metric)
        settings = {
            **self.settings,
            "metric": metric,
            "filter": filters[metric],
            "prepends_bos": prepends_bos(model, self.bos),
        }
        return TaskResult(
            self.name,
            measure,
            items,
            higher_is_better=bool(higher),
            settings=settings,
            warnings=_ties_told(samples, metric, self.task),
        )


def _ties_told(samples: Sequence[Mapping[str, Any]], metric: str, task: str) -> tuple[str, ...]:
    """Say how often the harness' accuracy took the first of equally probable choices for the best.

    It is the harness' own figure and is left as it is.
    """
    if metric != "acc":
        return ()
    n_ties = 0
    for sample in samples:
        answers = sample.get("filtered_resps") or ()
        scores = [each[0] for each in answers if isinstance(each, list | tuple) and len(each) == 2]
        if len(scores) > 1 and len(scores) == len(answers):
            n_ties += sum(is_tie(score, max(scores)) for score in scores) > 1
    if not n_ties:
        return ()
    return (
        f"In {n_ties} of {len(samples)} documents of {task!r} the best choices are equally "
        "probable, up to rounding, and the harness counts one of them as chosen (of exactly equal "
        "ones the first).",
    )


def lm_eval(
    task: str,
    *,
    metric: str | None = None,
    include_path: str | Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
) -> HarnessTask:
    """Return a task of EleutherAI's lm-evaluation-harness (``pip install lensloc[lm-eval]``).

    Args:
        task: its name in the harness, or in a YAML file of yours.
        metric: which of its metrics; the first one if None.
        include_path: folder of your own YAML tasks.
        num_fewshot: examples in the prompt; as the task says if None.
        limit: use only so many documents, the first ones.
        bos: whether a beginning-of-text token stands before every text.
        batch_size: texts per batch; does not change the result.

    Raises:
        LensLocError: if the harness is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise LensLocError(
            "lm-evaluation-harness is not installed; install it with lensloc[lm-eval]."
        )
    folder = None if include_path is None else str(include_path)
    if folder is not None and not Path(folder).is_dir():
        raise LensLocError(f"There is no folder {folder} of tasks; check include_path.")
    return HarnessTask(task, metric, folder, num_fewshot, limit, bos, batch_size)


def _loaded(manager: Any, name: str) -> Any:
    if hasattr(manager, "load"):
        return manager.load([name])["tasks"][name]
    return manager.load_task_or_group([name])[name]  # of lm-eval before 0.4.12


def _texts_of_document(task: Any, document: Any) -> Iterator[str]:
    """Return every text in a document of the harness, and its prompt with each choice."""
    yield from _strings(document)
    prompt = task.doc_to_text(document)
    if not isinstance(prompt, str):
        return
    yield prompt
    choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else ()
    between = str(getattr(task.config, "target_delimiter", " "))
    yield from (prompt + between + choice for choice in choices if isinstance(choice, str))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in _strings(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _strings(each))


def _task_manager(task: str, include_path: str | None) -> Any:
    """Return what finds a task; the harness' own thousands take seconds to list."""
    from lm_eval.tasks import TaskManager

    if include_path is None:
        return _harness_tasks()
    own = TaskManager(include_path=include_path, include_defaults=False)
    return own if task in own.all_subtasks else TaskManager(include_path=include_path)


@functools.cache
def _harness_tasks() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def harness_model(
    model: Model, *, bos: Bos = "model", batch_size: BatchSize = "auto", progress: bool = False
) -> Any:
    """Return the model as the harness' ``LM``, for calls to the harness of your own."""
    from lm_eval.api.model import LM

    answers = _Answers(model, bos, batch_size, progress)

    class LensLocLM(LM):  # type: ignore[misc]  # a base class of an optional package
        """A TransformerLens model behind the harness' interface."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Score continuations; say whether greedy decoding would write them."""
            return answers.measured([answers.split(*request.args) for request in requests])

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """Score whole texts in windows of the context."""
            return [answers.rolling(request.args[0]) for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Write on greedily until a stop."""
            return [answers.generate(*request.args) for request in requests]

    return LensLocLM()


@dataclass(frozen=True)
class _Answers:
    """What the harness asks of a model."""

    model: Model
    bos: Bos
    batch_size: BatchSize
    progress: bool

    @property
    def _prefix(self) -> int:
        """The token that the harness puts where nothing stands before."""
        tokenizer = surface(self.model).tokenizer
        token = tokenizer.bos_token_id
        token = token if token is not None else tokenizer.eos_token_id
        if token is None:
            raise LensLocError(
                "The model's tokenizer has neither a beginning-of-text nor an end-of-text token, "
                "which the harness puts where nothing stands before; give it one."
            )
        require_known(self.model, [int(token)], "The beginning of a text")
        return int(token)

    def measured(self, sequences: Sequence[Scored]) -> list[tuple[float, bool]]:
        found = token_log_probs(
            self.model,
            sequences,
            measure=log_probs_and_greedy,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        return [(float(part[:, 0].sum()), bool(part[:, 1].all())) for part in found]

    def rolling(self, text: str) -> float:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows = get_rolling_token_windows(
            token_list=token_ids(self.model, text, "none", end=False),
            prefix_token=self._prefix,
            max_seq_len=surface(self.model).window,  # a window's last token is not run
            context_len=1,
        )
        pairs = [make_disjoint_window(window) for window in windows]
        place = f"a text of the harness task ({shortened(text)})"
        return sum(
            total for total, _ in self.measured([Scored((*a, *b), len(a), place) for a, b in pairs])
        )

    def generate(self, context: str, options: Mapping[str, Any]) -> str:
        if options.get("do_sample") or options.get("temperature"):
            raise LensLocError(
                "The harness task asks for sampling, but only greedy generation is offered; "
                "choose another task."
            )
        most = int(options.get("max_gen_toks", _MOST_NEW_TOKENS))
        with warnings.catch_warnings():  # an empty answer is an answer here
            warnings.simplefilter("ignore", LensLocWarning)
            text = str(Generation((context,), most, bos=self.bos)(self.model).items["text"][0])
        stops = options.get("until") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.split(stop)[0] if stop else text
        return text

    def split(self, context: str, continuation: str) -> Scored:
        """Return context and continuation as tokens; the continuation's are scored."""
        trailing = len(context) - len(context.rstrip())
        if trailing:  # as the harness does: a space belongs to the word behind it
            continuation = context[-trailing:] + continuation
            context = context[:-trailing]
        whole = token_ids(self.model, context + continuation, self.bos, end=False)
        before = token_ids(self.model, context, self.bos, end=False) if context else [self._prefix]
        if not context and whole[:1] != before:
            whole = [*before, *whole]
        # As the harness does, whatever the tokenizer joined where the two meet.
        own = whole[len(before) :]
        if not own:
            raise LensLocError(
                f"A continuation of the harness task ({shortened(continuation)}) adds no token to "
                "its context; leave the task out."
            )
        cut = max(0, len(before) + len(own) - surface(self.model).window - 1)
        if cut >= len(before):
            raise LensLocError(
                f"A continuation of the harness task has {len(own)} tokens, more than "
                f"the model's context window of {surface(self.model).window}; leave the task out."
            )
        place = f"a continuation of the harness task ({shortened(continuation)})"
        return Scored((*before[cut:], *own), len(before) - cut, place)

"""Generation: what does the model write, and how fluent does the intact model find it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lensloc.errors import LensLocError
from lensloc.lesion import intact
from lensloc.running import BatchSize, batches_by_length, device_of, is_bridge, run_batches
from lensloc.stimuli.bundled import bundled_folder
from lensloc.stimuli.tables import read_text
from lensloc.tasks.base import TaskResult, content_hash, require_fits
from lensloc.tasks.scoring import Scored, token_log_probs
from lensloc.tokens import Bos, prepends_bos, require_tokenizer, token_ids

_PROMPTS_AT_ONCE = 32


@dataclass(frozen=True)
class Generation:
    """The task of :func:`generation`."""

    prompts: tuple[str, ...]
    max_new_tokens: int = 40
    temperature: float = 0.0
    seed: int = 0
    bos: Bos = "model"
    batch_size: BatchSize = "auto"
    name: str = "generation"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Stimuli and options."""
        return {
            "task": "generation",
            "prompts": content_hash(self.prompts),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "bos": self.bos,
        }

    def __call__(self, model: Any, *, progress: bool = False) -> TaskResult:
        """Let the model write, under whatever lesion is open; let the intact one judge.

        Returns:
            Fluency: mean natural log-probability a token that the model without its lesions gives
            to what was written. Items: ``text``, ``tokens``, ``words``, ``distinct_1`` and
            ``distinct_2`` (share of different words and of different pairs of words; NaN where
            there is none), ``value`` (summed log-probability) and ``weight`` (tokens).

        Raises:
            LensLocError: a prompt that leaves no room in the context window.
        """
        require_tokenizer(model)
        ids = [token_ids(model, prompt, self.bos) for prompt in self.prompts]
        for number, (prompt, tokens) in enumerate(zip(self.prompts, ids, strict=True), start=1):
            if not tokens:
                raise LensLocError(f"Prompt {number} has no tokens; write one, or use bos='add'.")
            where = f"Prompt {number} with {self.max_new_tokens} tokens after it"
            require_fits(model, len(tokens) + self.max_new_tokens, where, prompt)
        written = self._generate(model, ids, progress)
        with intact(model):
            judged = token_log_probs(
                model,
                [Scored((*a, *b), len(a)) for a, b in zip(ids, written, strict=True)],
                progress=progress,
                description=f"{self.name}: fluency",
            )
        rows = []
        for number, (prompt, tokens, logs) in enumerate(
            zip(self.prompts, written, judged, strict=True), start=1
        ):
            text = model.tokenizer.decode(tokens, skip_special_tokens=True)
            words = text.split()
            rows.append(
                {
                    "item": str(number),
                    "group": "all",
                    "prompt": prompt,
                    "text": text,
                    "tokens": len(tokens),
                    "words": len(words),
                    "distinct_1": distinct(words, 1),
                    "distinct_2": distinct(words, 2),
                    "value": float(logs.sum()),
                    "weight": float(len(logs)),
                }
            )
        settings = {**self.settings, "prepends_bos": prepends_bos(model, self.bos)}
        return TaskResult(self.name, "fluency", pd.DataFrame(rows), settings=settings)

    def _generate(self, model: Any, ids: Sequence[list[int]], progress: bool) -> list[list[int]]:
        """Return what was written after every prompt, up to and without an end-of-text token."""
        end = model.tokenizer.eos_token_id
        written: list[list[int]] = [[] for _ in ids]
        device = device_of(model)
        sampled = self.temperature > 0
        options: dict[str, Any] = {"temperature": self.temperature} if sampled else {}
        if not is_bridge(model):
            options["padding_side"] = "right"  # rows are equally long, so that nothing is padded

        def write(rows: list[int]) -> None:
            tokens = torch.tensor([ids[row] for row in rows], device=device)
            devices = [device] if device.type == "cuda" else []
            with torch.random.fork_rng(devices, enabled=sampled):
                if sampled:  # one prompt at a time, so that no other changes what it draws
                    torch.manual_seed(self.seed + rows[0])
                output = model.generate(
                    tokens,
                    max_new_tokens=self.max_new_tokens,
                    do_sample=sampled,
                    stop_at_eos=end is not None,
                    return_type="tokens",
                    verbose=False,
                    **options,
                )
            for row, found in zip(rows, output[:, tokens.shape[1] :].tolist(), strict=True):
                written[row] = found[: found.index(end)] if end in found else found

        batches = batches_by_length(
            [len(tokens) for tokens in ids],
            batch_size=1 if sampled else self.batch_size,
            budget=_PROMPTS_AT_ONCE * max(len(tokens) for tokens in ids),
            equal=True,
        )
        run_batches(model, batches, write, progress=progress, description=self.name)
        return written


def generation(
    prompts: Sequence[str] | str | Path | None = None,
    *,
    limit: int | None = None,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
    name: str = "generation",
) -> Generation:
    """Return a task of writing on from prompts, judged by the intact model.

    Args:
        prompts: texts in a list, or a ``.txt`` file with a prompt a line; the bundled 60 sentence
            beginnings if None.
        limit: use only so many prompts, the first ones.
        max_new_tokens: most tokens to write.
        temperature: 0 takes the most probable token every time; above 0 tokens are drawn.
        seed: of the draws.
        bos: whether a beginning-of-text token stands before every prompt.
        batch_size: prompts of equal length a batch; does not change the result.
        name: of the task, in tables.

    Raises:
        LensLocError: no prompt, or a number that makes no sense.
    """
    if max_new_tokens < 1:
        raise LensLocError(f"max_new_tokens is at least 1; {max_new_tokens} is not.")
    if not 0 <= temperature < float("inf"):
        raise LensLocError(f"temperature is 0 or above; {temperature} is not.")
    if limit is not None and limit < 1:
        raise LensLocError(f"limit is at least 1 prompt; {limit} is not.")
    if prompts is None:
        prompts = bundled_folder() / "beginnings.txt"
    if isinstance(prompts, str | Path):
        path = Path(prompts)
        if path.suffix != ".txt":
            raise LensLocError(
                f"{path} must end in .txt, a prompt a line; for a prompt itself give a list."
            )
        prompts = [line for line in read_text(path).splitlines() if line.strip()]
    if not prompts:
        raise LensLocError("There is no prompt to write on from; give at least one.")
    kept = tuple(prompts)[:limit]
    return Generation(kept, max_new_tokens, temperature, seed, bos, batch_size, name)


def distinct(words: Sequence[str], n: int) -> float:
    """Return the share of different ones among runs of n words (Li et al. 2016); NaN of none."""
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else float("nan")

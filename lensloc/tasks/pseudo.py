"""Pseudo-log-likelihood of texts under a model that fills in masked tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize, require_batch_size, run_batches
from lensloc.forward.memory import Budget, pass_bytes, rows_at_once
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.models.tokens import shortened
from lensloc.tasks.scoring import Scored, log_probs, require_finite

_ROWS_ON_CPU = 64
_BUDGET = Budget(on_cpu=2**62, share=0.5)


def pseudo_log_likelihoods(
    model: Model,
    texts: Sequence[Scored],
    *,
    batch_size: BatchSize = "auto",
    progress: bool = False,
    description: str = "texts",
) -> list[Float[np.ndarray, " scored"]]:
    """Return of every text the log-probability of each token, given all others.

    A token is hidden behind the tokenizer's mask token, and the model is asked what stands there
    (Salazar et al. 2020): ``PLL(w) = sum_t log p(w_t | w_1 ... w_{t-1}, MASK, w_{t+1} ... w_n)``.
    Special tokens that the tokenizer puts around a text are read, and not scored. The masked copies
    of a text have one length, so nothing is padded.

    Args:
        model: a masked language model with a tokenizer.
        texts: tokens, special ones included.
        batch_size: masked copies at once; does not change the result.
        progress: show a progress bar.
        description: of the bar.

    Returns:
        Natural logarithms, float64, one array per text.

    Raises:
        LensLocError: a model that reads from left to right only, or whose tokenizer has no mask
            token; a text without a token to score.
        NotFiniteError: a token that the model gives no number to.
    """
    seen = surface(model)
    require_batch_size(batch_size)
    mask = getattr(seen.tokenizer, "mask_token_id", None)
    if mask is None or seen.is_causal:
        why = "reads from left to right only" if seen.is_causal else "has no mask token"
        raise LensLocError(
            f"A pseudo-log-likelihood asks for masked tokens, and {seen.name or 'this model'} "
            f"{why}; use scoring='log-likelihood'."
        )
    special = set(seen.tokenizer.all_special_ids) - {seen.tokenizer.unk_token_id}
    places = [
        (row, place)
        for row, text in enumerate(texts)
        for place, token in enumerate(text.ids)
        if token not in special
    ]
    scored = {row for row, _ in places}
    for row, text in enumerate(texts):
        if row not in scored:
            words = shortened(str(seen.tokenizer.decode(list(text.ids))))
            raise LensLocError(f"{text.place} ({words}) has no token to score; leave it out.")
    found = np.zeros(len(places))
    size = _rows_at_once(model, texts) if batch_size == "auto" else batch_size
    batches: list[list[int]] = []
    for number, (row, _) in enumerate(places):
        if (
            batches
            and len(batches[-1]) < size
            and _length(texts, places, batches[-1]) == len(texts[row].ids)
        ):
            batches[-1].append(number)
        else:
            batches.append([number])

    def run(numbers: list[int]) -> None:
        rows, at = zip(*(places[number] for number in numbers), strict=True)
        tokens = torch.tensor([texts[row].ids for row in rows])
        every = torch.arange(len(rows))
        targets = tokens[every, list(at)]
        tokens[every, list(at)] = mask
        logits = seen.logits(tokens.to(seen.device))[every, list(at)]
        # Few numbers, and not every device has float64.
        found[numbers] = log_probs(logits.cpu().double(), targets).numpy()

    run_batches(model, batches, run, progress=progress, description=description)
    # Places stand in the order of the texts.
    ends = np.cumsum(np.bincount([row for row, _ in places], minlength=len(texts))).tolist()
    result = []
    for text, start, end in zip(texts, [0, *ends], ends, strict=False):
        own, values = range(start, end), found[start:end]
        for number, value in zip(own, values, strict=True):
            if not np.isfinite(value):
                at = places[number][1]
                require_finite(model, np.array([value]), Scored(text.ids, at, text.place))
        result.append(values)
    return result


def _rows_at_once(model: Model, texts: Sequence[Scored]) -> int:
    seen, longest = surface(model), max(len(text.ids) for text in texts)
    a_token = pass_bytes(model, longest) + 2 * seen.vocabulary * seen.dtype.itemsize
    return rows_at_once(model, on_cpu=_ROWS_ON_CPU, bytes_a_row=longest * a_token, budget=_BUDGET)


def _length(
    texts: Sequence[Scored], places: Sequence[tuple[int, int]], numbers: Sequence[int]
) -> int:
    return len(texts[places[numbers[0]][0]].ids)

"""Token log-probabilities of many sequences: exact under batching, logits of scored tokens only.

The one place where finite numbers are demanded: what a model gives no number to is named, by text
and token, and no score is made of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.errors import NotFiniteError
from lensloc.forward.batches import (
    BatchSize,
    batches_by_length,
    padded_right,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.lesions.lesioning import has_other_hooks, open_lesions
from lensloc.models.adapting import surface
from lensloc.models.surface import Inputs, Model
from lensloc.models.tokens import n_shared as n_shared
from lensloc.models.tokens import shortened

# Enough that fixed costs do not show; logits of that many tokens at once are the largest array.
_TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 32768, "mps": 8192}
_LOGITS_AT_ONCE = {"cpu": 2**26, "cuda": 2**29, "mps": 2**27}
# A shorter common beginning saves less than the further, smaller forward passes cost.
_LEAST_SHARED = 24


@dataclass(frozen=True)
class Scored:
    """A sequence of tokens and which of them are scored.

    Attributes:
        ids: token ids, at most as many as the context window holds.
        first: position of the first token that is scored, at least 1; all after it are scored.
        place: where its text comes from, for error messages.
    """

    ids: tuple[int, ...]
    first: int = 1
    place: str = ""


def require_finite(model: Model, found: Float[np.ndarray, "scored ..."], sequence: Scored) -> None:
    """Check that every scored token has a log-probability, which NaN and infinity are none.

    Logits of minus infinity rule out tokens, which is fine for all but the scored one.

    Args:
        model: what was run, under whatever lesion is open.
        found: log-probabilities of the scored tokens, or rows that begin with them.
        sequence: what was scored.

    Raises:
        NotFiniteError: naming text and token.
    """
    values = found.reshape(len(found), found.size // max(1, len(found)))
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(bad):
        return
    position = sequence.first + int(bad[0])
    fault = (
        "has probability 0"
        if values[bad[0], 0] == -np.inf
        else "has no probability, as the logits are not finite"
    )
    raise NotFiniteError(
        f"Token {position + 1} of {len(sequence.ids)} ({shown(model, sequence.ids[position:][:1])})"
        f" of {place_of(model, sequence.place, sequence.ids)} {fault}{_under(model)}; {_REMEDY}."
    )


_REMEDY = "load the model in float32, make the lesion a weaker one, or leave the text out"


def require_choosable(
    model: Model,
    logits: Float[Tensor, "row vocabulary"],
    places: Sequence[str],
    n_written: Sequence[int],
) -> None:
    """Check that every row has a most probable token: no NaN, and a finite largest logit.

    Args:
        model: what was run, under whatever lesion is open.
        logits: of the next tokens.
        places: what each row is, for the message.
        n_written: how many tokens were written in each before.

    Raises:
        NotFiniteError: naming the row and how much was written.
    """
    largest = logits.amax(dim=-1)
    bad = (~largest.isfinite()).nonzero()
    if len(bad):
        row = int(bad[0])
        raise NotFiniteError(
            f"No token can be written after {places[row]} and {n_written[row]} new tokens, as the "
            f"largest logit is {float(largest[row])}{_under(model)}; {_REMEDY}."
        )


def _under(model: Model) -> str:
    """Name the lesions that are open."""
    found = [lesion.description for lesion in open_lesions(model) if not lesion.suspended]
    return f" under a lesion ({'; '.join(found)})" if found else ""


def place_of(model: Model, place: str, ids: Sequence[int]) -> str:
    """Return a text's place and beginning, unless the place has that already."""
    text = shown(model, ids)
    if not place:
        return f"the text {text}"
    return place if text in place else f"{place} ({text})"


def shown(model: Model, ids: Sequence[int]) -> str:
    """Return tokens as text, for a message."""
    tokenizer = surface(model).tokenizer
    if tokenizer is None:
        return ", ".join(map(str, ids[:8]))
    return shortened(str(tokenizer.decode([int(token) for token in ids])))


def log_probs(
    logits: Float[Tensor, "span vocabulary"], targets: Int[Tensor, " span"]
) -> Float[Tensor, " span"]:
    """Return log p of the targets: their own logit less the normaliser, nothing else."""
    own = logits.gather(1, targets[:, None])[:, 0]
    return own - torch.logsumexp(logits, dim=-1)


def log_probs_and_greedy(
    logits: Float[Tensor, "span vocabulary"], targets: Int[Tensor, " span"]
) -> Float[Tensor, "span 2"]:
    """Return log p of the targets, and 1 where the target is the most probable token."""
    greedy = logits.argmax(dim=-1) == targets
    return torch.stack([log_probs(logits, targets), greedy.to(logits.dtype)], dim=-1)


def token_log_probs(
    model: Model,
    sequences: Sequence[Scored],
    *,
    groups: Sequence[int] | None = None,
    measure: Callable[[Tensor, Tensor], Tensor] = log_probs,
    batch_size: BatchSize = "auto",
    progress: bool = True,
    description: str = "scoring",
) -> list[Float[np.ndarray, "scored ..."]]:
    """Return log p(token | all tokens before it) of every scored token, natural log, float64.

    A sequence's last token is predicted but never read, so sequences that differ in it alone are
    run once; and what the sequences of a group have in common from the start is run once, its keys
    and values being kept for all of them, by models that can. The output layer is run on
    scored tokens only, and of the softmax only the normaliser and the token's own logit are
    computed, in float32 at least.

    Args:
        model: a loaded model of any kind.
        sequences: what to score.
        groups: group of each sequence, of those that begin alike; none if None.
        measure: what is computed from logits and targets instead of log p.
        batch_size: sequences a batch, or groups of them that are run together; does not change the
            result.
        progress: show a progress bar.
        description: of the progress bar.

    Returns:
        One array a sequence, ``len(ids) - first`` values (or rows of the measure) each.

    Raises:
        NotFiniteError: a token that has no log-probability, naming text and token.
    """
    require_batch_size(batch_size)
    sharing: dict[tuple[int, ...], list[int]] = {}
    for row, sequence in enumerate(sequences):
        if len(sequence.ids) > sequence.first:
            sharing.setdefault(sequence.ids[:-1], []).append(row)
    inputs, members = list(sharing), list(sharing.values())
    found: list[Float[np.ndarray, "scored ..."]] = [np.zeros(0)] * len(sequences)
    device = surface(model).device
    if groups is None or not _can_share(model):
        families = [_Family((row,), 0) for row in range(len(inputs))]
    else:
        families = _families(inputs, [groups[rows[0]] for rows in members])

    def score(chosen: list[int]) -> None:
        batch = _Batch.of([families[number] for number in chosen], inputs)
        spans = [(place, member) for place, row in enumerate(batch.rows) for member in members[row]]
        scored = [(place, sequences[member]) for place, member in spans]
        values = _score_batch(model, batch, scored, measure, device)
        ends = np.cumsum([len(s.ids) - s.first for _, s in scored])
        for (_, member), part in zip(spans, np.split(values, ends[:-1]), strict=True):
            require_finite(model, part, sequences[member])
            found[member] = part

    run_batches(
        model,
        _batches(
            families,
            inputs,
            batch_size,
            sees_pads(model, max(map(len, inputs), default=0)),
            device,
        ),
        score,
        progress=progress,
        description=description,
    )
    return found


# -- beginnings in common --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Family:
    """Inputs that begin alike.

    Attributes:
        rows: which inputs.
        n_shared: how many tokens they have in common from the start and are run once.
    """

    rows: tuple[int, ...]
    n_shared: int


@dataclass(frozen=True)
class _Batch:
    """Families with equally long beginnings.

    Attributes:
        rows: the inputs of all families, one family after another.
        family: which family each of them belongs to.
        beginnings: token ids of every family's beginning.
        rest: token ids of every input behind it.
    """

    rows: tuple[int, ...]
    family: tuple[int, ...]
    beginnings: tuple[tuple[int, ...], ...]
    rest: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, families: Sequence[_Family], inputs: Sequence[tuple[int, ...]]) -> "_Batch":
        n_shared = families[0].n_shared
        rows = tuple(row for family in families for row in family.rows)
        return cls(
            rows,
            tuple(number for number, family in enumerate(families) for _ in family.rows),
            tuple(inputs[family.rows[0]][:n_shared] for family in families),
            tuple(inputs[row][n_shared:] for row in rows),
        )

    @property
    def n_shared(self) -> int:
        """Length of the beginnings."""
        return len(self.beginnings[0])


def _can_share(model: Model) -> bool:
    """Say whether keys and values of a beginning can be kept without changing anything."""
    if sees_pads(model) or has_other_hooks(model):
        return False
    return surface(model).shares_beginnings()


def _families(inputs: Sequence[tuple[int, ...]], groups: Sequence[int]) -> list[_Family]:
    by_group: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        by_group.setdefault(group, []).append(row)
    families = []
    for rows in by_group.values():
        shared = min(n_shared(inputs[rows[0]], inputs[row]) for row in rows)
        lengths = [len(inputs[row]) for row in rows]
        saved = shared * (len(rows) - 1) - (max(lengths) * len(rows) - sum(lengths))  # less pads
        if shared >= _LEAST_SHARED and saved > 0:
            families.append(_Family(tuple(rows), shared))
        else:
            families += [_Family((row,), 0) for row in rows]
    return families


def _batches(
    families: Sequence[_Family],
    inputs: Sequence[tuple[int, ...]],
    batch_size: BatchSize,
    equal: bool,
    device: torch.device,
) -> list[list[int]]:
    by_beginning: dict[int, list[int]] = {}
    for number, family in enumerate(families):
        by_beginning.setdefault(family.n_shared, []).append(number)
    batches = []
    for shared, numbers in sorted(by_beginning.items()):
        lengths = [
            shared
            + len(families[number].rows)
            * max(len(inputs[row]) - shared for row in families[number].rows)
            for number in numbers
        ]
        batches += [
            [numbers[place] for place in batch]
            for batch in batches_by_length(
                lengths,
                batch_size=batch_size,
                budget=_TOKENS_AT_ONCE.get(device.type, 2048),
                equal=equal,
            )
        ]
    return batches


# -- one batch -------------------------------------------------------------------------------------


def _score_batch(
    model: Model,
    batch: _Batch,
    spans: Sequence[tuple[int, Scored]],
    measure: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
) -> Float[np.ndarray, "scored ..."]:
    """Return the measure of every scored token of (row of the batch, sequence), in their order."""
    rows = torch.tensor([row for row, s in spans for _ in range(s.first, len(s.ids))])
    before = torch.tensor([pos - 1 for _, s in spans for pos in range(s.first, len(s.ids))])
    targets = torch.tensor([token for _, s in spans for token in s.ids[s.first :]], device=device)
    rows, before = rows.to(device), before.to(device)
    tokens = padded_right(batch.rest, device)
    inputs = Inputs(tokens)
    if batch.n_shared:
        family = torch.tensor(batch.family, device=device)
        inputs = Inputs(tokens, family, torch.tensor(batch.beginnings, device=device))
    logits_of, width = surface(model).picked_logits(inputs, rows, before)
    at_once = max(1, _LOGITS_AT_ONCE.get(device.type, 2**26) // width)
    parts = []
    for start in range(0, len(targets), at_once):
        span = slice(start, min(start + at_once, len(targets)))
        logits = logits_of(span)
        if logits.dtype not in (torch.float32, torch.float64):
            logits = logits.float()
        parts.append(measure(logits, targets[span].to(logits.device)))
    # Moved before the conversion, since not every device has float64.
    return torch.cat(parts).cpu().double().numpy()

"""Token log-probabilities of many sequences: exact under batching, logits of scored tokens only.

The one place where finite numbers are demanded: what a model gives no number to is named, by text
and token, and no score is made of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

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
from lensloc.forward.memory import Budget, devices_of, pass_bytes, tokens_at_once
from lensloc.forward.packing import Row, inputs_of, packed_evenly
from lensloc.lesions.lesioning import open_lesions
from lensloc.lesions.resuming import picked_logits
from lensloc.lesions.side_by_side import side_by_side
from lensloc.models.adapting import agreed, crew_of, surface
from lensloc.models.surface import Inputs, Model
from lensloc.models.tokens import n_shared as n_shared
from lensloc.models.tokens import shortened
from lensloc.ranks import least

# Enough that fixed costs do not show; what a token takes is not looked at on a CPU.
_TOKENS_ON_CPU = 2048
_BUDGET = Budget(on_cpu=2**62, share=0.5)
# Logits of as many tokens at once are the largest array; twelve bytes each, with what is made of
# them: in half precision, in float32, and the terms of the normaliser.
_LOGITS_BUDGET = Budget(on_cpu=12 * 2**26, share=0.1, most=12 * 2**30)
_BYTES_A_LOGIT = 12
# Logits that a core's cache holds.
_IN_CACHE = 2**19
# Tokens of a row of several texts: more save hardly any tokens, and cost attention.
_ROW = 96
# Several texts per row are worth it if so small a part of their tokens is left, or a smaller one.
_WORTHWHILE = 0.95


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
    return own - normalisers(logits)


def normalisers(logits: Float[Tensor, "place vocabulary"]) -> Float[Tensor, " place"]:
    """Return the logarithm of the sum of the exponentials of every place's logits."""
    if logits.device.type != "cpu":
        return torch.logsumexp(logits, dim=-1)
    # A few rows at a time stay in a core's cache, and take a third of the time.
    rows = max(1, _IN_CACHE // max(1, logits.shape[-1]))
    return torch.cat([torch.logsumexp(part, dim=-1) for part in logits.split(rows)])


def log_probs_of(
    logits: Float[Tensor, "place vocabulary"],
    which: Int[Tensor, " target"],
    targets: Int[Tensor, " target"],
) -> Float[Tensor, " target"]:
    """Return log p of targets at places; the normaliser of a place is computed once."""
    return logits[which, targets] - normalisers(logits)[which]


def log_probs_and_greedy(
    logits: Float[Tensor, "place vocabulary"],
    which: Int[Tensor, " target"],
    targets: Int[Tensor, " target"],
) -> Float[Tensor, "target 2"]:
    """Return log p of targets at places, and 1 where one is the most probable token there."""
    greedy = logits.argmax(dim=-1)[which] == targets
    return torch.stack([log_probs_of(logits, which, targets), greedy.to(logits.dtype)], dim=-1)


Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Gets the logits of places, and of every target, at which place it is, and which token."""


def token_log_probs(
    model: Model,
    sequences: Sequence[Scored],
    *,
    measure: Measure = log_probs_of,
    batch_size: BatchSize = "auto",
    progress: bool = True,
    description: str = "scoring",
) -> list[Float[np.ndarray, "scored ..."]]:
    """Return log p(token | all tokens before it) of every scored token, natural log, float64.

    A sequence's last token is predicted but never read, so sequences that differ in it alone are
    run once; and what sequences have in common from the start is run once, by models that read
    several texts in a row as if each were alone. The output layer is run on scored tokens only,
    once per place, and of the softmax only the normaliser and the token's own logit are computed,
    in float32 at least.

    Args:
        model: a loaded model of any kind.
        sequences: what to score.
        measure: what is computed from logits and targets instead of log p.
        batch_size: sequences per batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Returns:
        One array per sequence, ``len(ids) - first`` values (or rows of the measure) each.

    Raises:
        NotFiniteError: a token that has no log-probability, naming text and token.
    """
    asked = (measure, batch_size, tuple(sequences))
    others = side_by_side(model)
    recalled = None if others is None else others.recalled(asked)
    if recalled is not None:
        return recalled
    passes = Passes.of(model, sequences, batch_size)
    run = partial(passes.scored, measure=measure, progress=progress, description=description)
    found = None if others is None else others.scored(asked, passes.copies_at_once, run)
    return [values[0] for values in run()] if found is None else found


@dataclass(frozen=True)
class Passes:
    """Sequences and the batches in which they are scored, for several times under different hooks.

    Attributes:
        model: a loaded model of any kind.
        sequences: what is scored.
        texts: different ones, without their last tokens.
        members: of every text, the sequences that are scored there.
        rows: of one text first, then of several.
        n_alone: how many of one text there are.
        batches: rows that are run together, in the order in which they are.
        copies_at_once: how many copies of the sequences one pass has room for; 1 where they fill
            batches by themselves.
    """

    model: Model
    sequences: Sequence[Scored]
    texts: list[tuple[int, ...]]
    members: list[list[int]]
    rows: list[Row]
    n_alone: int
    batches: list[list[int]]
    copies_at_once: int

    @classmethod
    def of(
        cls, model: Model, sequences: Sequence[Scored], batch_size: BatchSize = "auto"
    ) -> "Passes":
        """Make batches.

        Args:
            model: under hooks that act by token, if such are open later.
            sequences: what to score.
            batch_size: sequences per batch, copies included.

        Raises:
            LensLocError: for a batch of no text.
        """
        require_batch_size(batch_size)
        sharing: dict[tuple[int, ...], list[int]] = {}
        for row, sequence in enumerate(sequences):
            if len(sequence.ids) > sequence.first:
                sharing.setdefault(sequence.ids[:-1], []).append(row)
        texts = list(sharing)
        alone, side_by_side = _rows(model, texts, batch_size)
        rows = [*alone, *side_by_side]
        whole = _token_budget(model, max(map(len, rows), default=1))
        budget, crew = whole, crew_of(model)
        if crew.size > 1:  # enough batches for all of them
            budget = min(budget, max(_ROW, sum(map(len, rows)) // crew.size))
        equal = sees_pads(model, max(map(len, texts), default=0))
        batches = batches_by_length(
            list(map(len, alone)), batch_size=batch_size, budget=budget, equal=equal
        )
        # Rows of several texts have as many of them as a batch may have.
        most: BatchSize = 1 if batch_size != "auto" else "auto"
        lengths = list(map(len, side_by_side))
        for batch in batches_by_length(lengths, batch_size=most, budget=budget):
            batches.append([len(alone) + number for number in batch])
        room = whole
        for batch in batches:
            several = [rows[number] for number in batch]
            if batch_size == "auto":
                fitting = whole // (len(several) * max(map(len, several)))
            else:
                fitting = batch_size // sum(len(row.places) for row in several)
            room = min(room, fitting)
        return cls(
            model, sequences, texts, list(sharing.values()), rows, len(alone), batches, max(1, room)
        )

    def scored(
        self,
        copies: int = 1,
        *,
        measure: Measure = log_probs_of,
        progress: bool = True,
        description: str = "scoring",
    ) -> list[Float[np.ndarray, "copy scored ..."]]:
        """Do what :func:`token_log_probs` does, for several copies of the sequences in one pass.

        The rows of one copy stand before those of the next, so that a hook can do something else
        to each.

        Args:
            copies: how many.
            measure: as there, and so the others.
            progress: show a progress bar.
            description: of the progress bar.

        Returns:
            One array a sequence.

        Raises:
            NotFiniteError: as there.
            RuntimeError: if several copies are too large for the memory.
        """
        model, sequences = self.model, self.sequences
        found: list[Float[np.ndarray, "copy scored ..."]] = [np.zeros((copies, 0))] * len(sequences)

        devices = devices_of(model)

        def score(chosen: list[int]) -> None:
            batch = [self.rows[number] for number in chosen]
            spans = _spans(batch, self.members)
            if chosen[0] < self.n_alone:
                values = _score_alone(model, batch, spans, sequences, measure, devices, copies)
            else:
                inputs = inputs_of(batch, surface(model).device)
                values = _score_batch(model, inputs, spans, sequences, measure, devices, copies)
                if not np.isfinite(values).all():
                    # Nothing times NaN is NaN, so what is none in one text is none in its whole
                    # row.
                    batch = [Row.of(text, self.texts[text]) for row in batch for text in row.places]
                    spans = _spans(batch, self.members)
                    values = _score_alone(model, batch, spans, sequences, measure, devices, copies)
            ends = np.cumsum([len(sequences[n].ids) - sequences[n].first for _, _, n in spans])
            parts = np.split(values, ends[:-1], axis=1)
            for (_, _, member), part in zip(spans, parts, strict=True):
                for of_copy in part:
                    require_finite(model, of_copy, sequences[member])
                found[member] = part

        crew = crew_of(model)

        def run() -> list[Float[np.ndarray, "copy scored ..."]]:
            run_batches(
                model, crew.mine(self.batches), score, progress=progress, description=description,
                halving=copies == 1,
            )  # fmt: skip
            return found

        # Of a sequence that is another rank's this one found nothing.
        return [max(parts, key=np.size) for parts in zip(*crew.together(run), strict=True)]


def _token_budget(model: Model, longest: int) -> int:
    seen = surface(model)
    # Not every model can leave out the logits that nobody asks for.
    of_logits = seen.vocabulary * seen.dtype.itemsize
    return tokens_at_once(
        model,
        on_cpu=_TOKENS_ON_CPU,
        bytes_a_token=1,
        budget=_BUDGET,
        elsewhere=pass_bytes(model, longest) + of_logits,
    )


# -- beginnings in common --------------------------------------------------------------------------


def _rows(
    model: Model, texts: Sequence[tuple[int, ...]], batch_size: BatchSize
) -> tuple[list[Row], list[Row]]:
    """Return rows of one text, and rows of several, where these have fewer tokens in all."""
    # Tried in each rank; what one finds right another may not, and all need the same rows.
    most = least(_longest_packed(model))
    fitting = [number for number, ids in enumerate(texts) if len(ids) <= most]
    if len(fitting) < 2 or batch_size == 1:
        return [Row.of(number, ids) for number, ids in enumerate(texts)], []
    chosen = [texts[number] for number in fitting]
    longest = max(map(len, chosen))
    found = packed_evenly(
        chosen,
        most_tokens=min(most, max(longest, _ROW)),
        most_texts=None if batch_size == "auto" else batch_size,
    )
    if sum(map(len, found)) > _WORTHWHILE * sum(map(len, chosen)):
        return [Row.of(number, ids) for number, ids in enumerate(texts)], []
    return (
        [Row.of(number, ids) for number, ids in enumerate(texts) if len(ids) > most],
        [row.named(fitting) for row in found],
    )


def _longest_packed(model: Model) -> int:
    """Return most tokens of a row of several texts, under the hooks that are open."""
    hooks = surface(model).open_hooks()
    if sees_pads(model) or not all(getattr(hook, "by_token", False) for hook in hooks):
        return 0
    return surface(model).longest_packed()


# -- one batch -------------------------------------------------------------------------------------


_Span = tuple[int, tuple[int, ...], int]
"""A row, the places in it of a text, and which sequence is scored there."""


def _spans(batch: Sequence[Row], members: Sequence[Sequence[int]]) -> list[_Span]:
    return [
        (row, places, member)
        for row, each in enumerate(batch)
        for text, places in each.places.items()
        for member in members[text]
    ]


def _score_alone(
    model: Model,
    batch: Sequence[Row],
    spans: Sequence[_Span],
    sequences: Sequence[Scored],
    measure: Measure,
    devices: Sequence[torch.device],
    copies: int,
) -> Float[np.ndarray, "copy scored ..."]:
    """Return what :func:`_score_batch` does, of rows of one text."""
    inputs = Inputs(padded_right([row.tokens for row in batch], surface(model).device))
    return _score_batch(model, inputs, spans, sequences, measure, devices, copies)


def _score_batch(
    model: Model,
    inputs: Inputs,
    spans: Sequence[_Span],
    sequences: Sequence[Scored],
    measure: Measure,
    devices: Sequence[torch.device],
    copies: int,
) -> Float[np.ndarray, "copy scored ..."]:
    """Return the measure of every scored token of every span, in their order, of every copy."""
    n_rows, length = inputs.tokens.shape
    device = inputs.tokens.device
    before: list[int] = []
    targets: list[int] = []
    for row, each, member in spans:
        scored = sequences[member]
        before += [row * length + place for place in each[scored.first - 1 :]]
        targets += scored.ids[scored.first :]
    one, which_of_one = np.unique(before, return_inverse=True)
    copy = np.arange(copies)[:, None]
    places = (copy * n_rows * length + one).ravel()
    which = (copy * len(one) + which_of_one).ravel()
    tokens = np.tile(targets, copies)
    rows, positions = (torch.from_numpy(part).to(device) for part in np.divmod(places, length))
    logits_of, width = picked_logits(model, inputs, rows, positions, copies)
    # Each slice is a pass through the output layer, of which ranks may have parts.
    budget = agreed(model, _LOGITS_BUDGET.on(*devices))
    at_once = max(1, budget // (_BYTES_A_LOGIT * width))
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(0, len(places) + at_once, at_once))
    parts = []
    for number, start in enumerate(range(0, len(places), at_once)):
        chosen = order[ends[number] : ends[number + 1]]
        logits = logits_of(slice(start, min(start + at_once, len(places))))
        if logits.dtype not in (torch.float32, torch.float64):
            logits = logits.float()
        own = torch.from_numpy(which[chosen] - start).to(logits.device)
        parts.append(measure(logits, own, torch.from_numpy(tokens[chosen]).to(logits.device)))
    # Moved before the conversion, since not every device has float64.
    values = torch.cat(parts).cpu().double().numpy()
    values = values[np.argsort(order, kind="stable")]
    return values.reshape(copies, len(targets), *values.shape[1:])

"""Stimuli -> what the model reads of each: itself, and what came before it in its passage."""

from collections.abc import Sequence

from lensloc.alignment import _model
from lensloc.alignment._model import BatchSize, Reading, UnitResponses
from lensloc.alignment.datasets import Stimuli
from lensloc.alignment.spans import joined, tokens_of, windows
from lensloc.errors import LensLocError, refuse_idle
from lensloc.models.surface import Model
from lensloc.units.mask import UnitMask
from lensloc.vocabulary import CONTEXTS, STIMULUS_POOLINGS, Context, StimulusPooling

SEPARATOR = " "


def stimulus_responses(
    model: Model,
    stimuli: Stimuli,
    masks: Sequence[UnitMask],
    *,
    pooling: StimulusPooling = "last-token",
    context: Context = "passage",
    separator: str = SEPARATOR,
    window: int | None = None,
    batch_size: BatchSize = "auto",
    progress: bool = True,
    description: str = "stimuli",
) -> dict[str, UnitResponses]:
    """Return what units respond to stimuli, each read after those before it in its passage.

    A passage is tokenized as one text and read once: in a causal model a token's activation does
    not depend on what follows. (A model that attends in both directions reads every stimulus with
    what came before it, and nothing that came after.)

    Args:
        model: a loaded model.
        stimuli: what people saw.
        masks: which units.
        pooling: over which tokens of a stimulus, its context not among them: the last, or the mean
            over all.
        context: ``"passage"``: the stimuli before it in its passage; ``"none"``.
        separator: what stands between two stimuli of a passage.
        window: most tokens read at once; longer passages are read in windows that move on by half
            of it. At most 2048 tokens, or the model's context, if None.
        batch_size: windows per batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Raises:
        LensLocError: a separator without context; a stimulus without tokens, or that shares a
            token with the next, naming it.
    """
    _model.require_pooling(pooling, STIMULUS_POOLINGS)
    if context not in CONTEXTS:
        raise LensLocError(f"There is no context {context!r}; there are {', '.join(CONTEXTS)}.")
    reason = "without context nothing stands before a stimulus; leave it out"
    refuse_idle(reason, separator=context == "none" and separator != SEPARATOR)
    size = _model.window_of(model, window)
    passages = list(stimuli.by_passage().values())
    if context == "none":
        passages = [rows[at : at + 1] for rows in passages for at in range(len(rows))]
    readings: list[Reading] = []
    for rows in passages:
        if _model.reads_ahead(model):
            for last in range(len(rows)):
                readings += _readings(
                    model, stimuli, rows[: last + 1].tolist(), [last], pooling, separator, size
                )
        else:
            readings += _readings(
                model, stimuli, rows.tolist(), range(len(rows)), pooling, separator, size
            )
    return _model.unit_responses(
        model,
        readings,
        len(stimuli),
        masks,
        names=stimuli.place,
        batch_size=batch_size,
        progress=progress,
        description=description,
    )


def _readings(
    model: Model,
    stimuli: Stimuli,
    rows: Sequence[int],
    wanted: Sequence[int],
    pooling: StimulusPooling,
    separator: str,
    size: int,
) -> list[Reading]:
    """Return the windows of one text, and which of their tokens are pooled for which stimulus."""
    text, spans = joined([stimuli.texts[row] for row in rows], separator)
    tokens = _model.tokenize(model, text)
    owned = tokens_of(text, spans, tokens.spans, lambda number: stimuli.place(rows[number]))
    pooled = {
        rows[number]: owned[number][-1:] if pooling == "last-token" else owned[number]
        for number in wanted
    }
    readings = []
    for part in windows(len(tokens.ids), size):
        inside = [
            (row, tuple(p - part.start for p in positions if part.new <= p < part.stop))
            for row, positions in pooled.items()
        ]
        inside = [(row, positions) for row, positions in inside if positions]
        if inside:
            readings.append(Reading(tokens.ids[part.start : part.stop], tuple(inside)))
    return readings

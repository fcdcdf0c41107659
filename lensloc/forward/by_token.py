"""What units do at every token: one forward pass, nothing pooled."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize, padded_right, require_batch_size, run_batches
from lensloc.forward.capturing import _checked_texts, _require_reached, _require_units, _Runner
from lensloc.forward.sites import to_units, upcast, widths
from lensloc.models.adapting import surface
from lensloc.models.describing import describe
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos, shortened
from lensloc.units.mask import UnitMask
from lensloc.units.ragged import stacked, valid
from lensloc.units.token_responses import TokenResponses


def capture_tokens(
    model: Model,
    texts: Sequence[str],
    conditions: Sequence[str],
    site: str | None = None,
    *,
    units: UnitMask | None = None,
    batch_size: BatchSize = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
    bos: Bos = "model",
    progress: bool = True,
) -> TokenResponses:
    """Run the texts through the model once, and keep what units do at every token.

    As :func:`lensloc.capture`, without pooling: ``pooled("last-token")`` and the like of the result
    are the responses that it gives.

    Args:
        model: a loaded model with a tokenizer.
        texts: the stimuli, e.g. ``contrast.texts``.
        conditions: the condition of each stimulus, e.g. ``contrast.labels``.
        site: where units live; ``resid_post`` if neither it nor ``units`` is given.
        units: whose responses are kept, 4 bytes per unit and token; all units of the site if None.
        batch_size: texts per batch, or ``"auto"``.
        max_tokens: use only so many tokens of each text, special tokens included.
        truncate: cut texts that are longer than the context window, instead of refusing them.
        bos: whether a beginning-of-text token stands before every text.
        progress: show a progress bar.

    Raises:
        LensLocError: as :func:`lensloc.capture`; units of another site, or of another model's
            shape; a wrapped module, which is not run on tokens.
    """
    seen = surface(model)
    if not seen.takes_tokens:
        raise LensLocError(
            "A wrapped module is run on stimuli as they are, not on tokens; capture responses with "
            "ll.capture."
        )
    if units is not None:
        require_a(UnitMask, units, "units")
        if site not in (None, units.site):
            raise LensLocError(
                f"The units are at {units.site}, and not at {site}; leave the site out."
            )
    runner = _Runner.of(
        model, [units.site if units is not None else site or "resid_post"], "mean", truncate,
        max_tokens, bos,
    )  # fmt: skip
    (place,) = runner.sites
    texts = _checked_texts(texts, conditions)
    require_batch_size(batch_size)
    tokenized = runner.tokenize(texts)
    lengths = [len(text.ids) for text in tokenized]
    names = list(runner.hooks[place.name])
    found: dict[int, Tensor] = {}
    known: list[UnitMask] = [] if units is None else [units]

    def run_batch(rows: list[int]) -> None:
        longest = max(lengths[row] for row in rows)
        tokens = padded_right([tokenized[row].ids for row in rows], seen.device)
        passed = seen.capture(tokens, names)
        for name in names:
            _require_reached(place, name, passed)
            _require_units(place, name, tuple(passed[name].shape), (len(rows), longest))
        layers = [upcast(to_units(place, passed[name], seen.n_heads)) for name in names]
        values = stacked([layer.flatten(0, 1) for layer in layers])
        values = values.unflatten(0, (len(rows), longest))
        shape = (int(values.shape[2]), int(values.shape[3]))
        own = widths(place, model)
        if not known:
            known.append(UnitMask(place.name, valid(shape, own), widths=own))
        (mask,) = known
        mask.require_shape(shape, describe(model).name, own)
        chosen = values[:, :, mask.mask.to(values.device)].cpu()
        for number, row in enumerate(rows):
            found[row] = _finite(chosen[number, : lengths[row]], mask, row, texts[row])

    batches = runner.batches(lengths, batch_size)
    run_batches(model, batches, run_batch, progress=progress, description="stimuli")
    (mask,) = known
    tokenizer = seen.tokenizer
    pieces = {token: str(tokenizer.decode([token])) for text in tokenized for token in text.ids}
    return TokenResponses(
        mask,
        torch.cat([found[row] for row in range(len(texts))]),
        tuple(pieces[token] for text in tokenized for token in text.ids),
        np.concatenate([[0], np.cumsum(lengths)]),
        tuple(map(str, conditions)),
        provenance_of(describe(model), site=place.name, max_tokens=max_tokens),
    )


def _finite(values: Tensor, mask: UnitMask, row: int, text: str) -> Tensor:
    wrong = (~values.isfinite()).nonzero().tolist()
    if wrong:
        token, column = wrong[0]
        raise LensLocError(
            f"The activation {mask.addresses[column]} is {float(values[token, column])} at token "
            f"{token + 1} of text {row + 1} ({shortened(text)}); load the model in float32 or "
            "leave the text out."
        )
    return values

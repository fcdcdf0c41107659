"""Everything that alignment asks of a model: tokens, activations, probabilities, lesions, card.

No other module of this folder knows the kinds of models or how they are run.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lensloc.display.savable import Savable
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize as BatchSize
from lensloc.forward.batches import (
    batches_by_length,
    padded_right,
    require_batch_size,
    run_batches,
    sees_pads,
)
from lensloc.forward.memory import Budget, pass_bytes, tokens_at_once
from lensloc.forward.sites import (
    activation_width,
    get_site,
    hook_names,
    shape,
    to_units,
    upcast,
)
from lensloc.lesions.lesioning import Lesion, lesion
from lensloc.models import DTYPES, describe, load_model
from lensloc.models.adapting import surface
from lensloc.models.identity import provenance_of
from lensloc.models.surface import Model
from lensloc.models.tokens import Bos as Bos
from lensloc.models.tokens import require_tokenizer, shortened, token_ids
from lensloc.tasks.scoring import Scored, token_log_probs
from lensloc.units.addresses import UnitAddress
from lensloc.units.mask import UnitMask
from lensloc.units.provenance import Provenance
from lensloc.vocabulary import POOLINGS, Backend

# Attention over more tokens at once costs memory that grows with their square.
LONGEST_WINDOW = 2048
_TOKENS_ON_CPU = 1024
# On a CPU what a token takes is not looked at.
_BUDGET = Budget(on_cpu=2**62, share=0.5)


# -- tokens ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """A text's tokens.

    Attributes:
        ids: token ids, special tokens included.
        spans: where in the text each token lies (start, stop); None for a special token.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...]


def tokenize(model: Model, text: str, bos: Bos = "model") -> Tokens:
    """Return a text's tokens and where in the text they lie.

    Raises:
        LensLocError: no tokenizer, or one that does not say where its tokens lie.
    """
    tokenizer = tokenizer_of(model)
    if not getattr(tokenizer, "is_fast", False):
        raise LensLocError(
            "Lining words up with tokens needs a fast tokenizer, which says where in the text each "
            "token lies, and this model has a slow one; load the model with a fast tokenizer."
        )
    ids = token_ids(model, text, bos)
    plain = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    found, offsets = list(plain["input_ids"]), list(plain["offset_mapping"])
    for shift in range(len(ids) - len(found) + 1):
        if ids[shift : shift + len(found)] == found:
            spans: list[tuple[int, int] | None] = [None] * len(ids)
            spans[shift : shift + len(found)] = [(int(a), int(b)) for a, b in offsets]
            return Tokens(tuple(ids), tuple(spans))
    raise LensLocError(
        f"The tokens of the text {shortened(text)} cannot be found among those that the model "
        "reads; its tokenizer changes texts in a way that words cannot be lined up with."
    )


def require_model(model: Model) -> None:
    """Check that a model is one that was loaded.

    Raises:
        LensLocError: for the name of one, or something else.
    """
    surface(model)


def tokenizer_of(model: Model) -> Any:
    """Return a model's tokenizer.

    Raises:
        LensLocError: if it has none.
    """
    require_tokenizer(model)
    return surface(model).tokenizer


def vocabulary(tokenizer: Any) -> tuple[tuple[str, ...], frozenset[int]]:
    """Return the tokenizer's own spelling of every token, by id, and the ids of special tokens.

    Special tokens are those that stand for no text: beginning and end of a text, turns of a
    conversation, padding.
    """
    spelled = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = frozenset(int(token) for token in tokenizer.all_special_ids)
    return tuple("" if token is None else str(token) for token in spelled), special


def spelling(tokenizer: Any, text: str) -> list[str]:
    """Return the tokenizer's own spelling of a text's tokens, without special tokens."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]


def window_of(model: Model, window: int | None) -> int:
    """Return how many tokens are read at once.

    Raises:
        LensLocError: unless a given window fits the model's context and holds at least 2 tokens.
    """
    longest = surface(model).window
    if window is None:
        return min(longest, LONGEST_WINDOW)
    if not 2 <= window <= longest:
        raise LensLocError(
            f"window is 2 to {longest} tokens, the model's context; {window} is not."
        )
    return window


def reads_ahead(model: Model) -> bool:
    """Say whether what stands behind a token changes the model's activations there."""
    return not surface(model).is_causal


# -- activations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A sequence of tokens to be run, and what is pooled of it.

    Attributes:
        ids: token ids.
        pooled: (stimulus, positions) pairs: activations at these positions go into the response to
            that stimulus.
    """

    ids: tuple[int, ...]
    pooled: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class UnitResponses(Savable):
    """Pooled activations of some units of one site.

    Attributes:
        site: where the units are.
        values: float64 ``[stimulus, unit]``.
        column: ``[layer, unit]``, the column of ``values`` that a unit has; -1 without one.
    """

    site: str
    values: Float[np.ndarray, "stimulus unit"]
    column: Int[np.ndarray, "layer width"]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per stimulus, and a column per unit, by its address."""
        layers, units = np.nonzero(self.column >= 0)
        pairs = zip(layers.tolist(), units.tolist(), strict=True)
        names = [str(UnitAddress(layer, self.site, unit)) for layer, unit in pairs]
        table: pd.DataFrame = pd.DataFrame(
            self.values[:, self.column[layers, units]], columns=names
        )
        return table

    def of(self, mask: UnitMask) -> Float[np.ndarray, "stimulus chosen"]:
        """Return the responses of a mask's units, in order of layer and unit."""
        found: Float[np.ndarray, "stimulus chosen"] = self.values[:, self.column[mask.mask.numpy()]]
        return found


def unit_responses(
    model: Model,
    readings: Sequence[Reading],
    n_stimuli: int,
    masks: Sequence[UnitMask],
    *,
    names: Callable[[int], str],
    batch_size: BatchSize = "auto",
    progress: bool = True,
    description: str = "stimuli",
) -> dict[str, UnitResponses]:
    """Run sequences through the model once and average activations over positions.

    Args:
        model: a model.
        readings: what to run; a stimulus may be spread over several.
        n_stimuli: how many stimuli there are.
        masks: which units are wanted, of any sites.
        names: a stimulus -> what to call it in an error message.
        batch_size: sequences per batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Returns:
        Site -> responses of all its units that are in a mask.

    Raises:
        LensLocError: a site that the model lacks, a mask of another shape, a non-finite activation.
    """
    require_batch_size(batch_size)
    wanted: dict[str, Bool[Tensor, "layer width"]] = {}
    for mask in masks:
        site = get_site(mask.site)
        known = shape(site, model)
        if known is not None:
            mask.require_shape(known, describe(model).name)
        before = wanted.get(mask.site)
        wanted[mask.site] = mask.mask if before is None else before | mask.mask
    hooks = {name: hook_names(get_site(name), model) for name in wanted}
    layers = {
        name: [
            (hooks[name][layer], units.nonzero().squeeze(1))
            for layer, units in enumerate(found)
            if units.any()
        ]
        for name, found in wanted.items()
    }
    totals = {
        name: np.zeros((n_stimuli, int(found.sum())), dtype=np.float64)
        for name, found in wanted.items()
    }
    counts = np.zeros(n_stimuli, dtype=np.int64)

    def run(rows: list[int]) -> None:
        places = [
            (place, stimulus, position)
            for place, row in enumerate(rows)
            for stimulus, positions in readings[row].pooled
            for position in positions
        ]
        if not places:
            return
        chosen = torch.tensor(places)
        found = _captured(model, [readings[row].ids for row in rows], layers, chosen)
        _require_finite(found, wanted, chosen[:, 1].tolist(), names)
        stimuli = chosen[:, 1].numpy()
        for name, values in found.items():
            np.add.at(totals[name], stimuli, values)
        np.add.at(counts, stimuli, 1)

    lengths = [len(reading.ids) for reading in readings]
    batches = batches_by_length(
        lengths,
        batch_size=batch_size,
        budget=_token_budget(model, layers, max(lengths)),
        equal=sees_pads(model, max(lengths)),
    )
    run_batches(model, batches, run, progress=progress, description=description)
    missing = np.flatnonzero(counts == 0)
    if len(missing):
        raise LensLocError(f"{names(int(missing[0]))} has no token; remove it or give it words.")
    result = {}
    for name, found in wanted.items():
        column = np.full(tuple(found.shape), -1, dtype=np.int64)
        column[found.numpy()] = np.arange(int(found.sum()))
        result[name] = UnitResponses(name, totals[name] / counts[:, None], column)
    return result


def _token_budget(
    model: Model, layers: Mapping[str, Sequence[tuple[str, Tensor]]], longest: int
) -> int:
    kept = sum(
        len(found) * activation_width(get_site(name), model, longest)
        for name, found in layers.items()
    )
    return tokens_at_once(
        model,
        on_cpu=_TOKENS_ON_CPU,
        bytes_a_token=1,
        budget=_BUDGET,
        elsewhere=kept * surface(model).dtype.itemsize + pass_bytes(model, longest),
    )


def _captured(
    model: Model,
    sequences: Sequence[tuple[int, ...]],
    layers: Mapping[str, Sequence[tuple[str, Tensor]]],
    chosen: Int[Tensor, "place 3"],
) -> dict[str, Float[np.ndarray, "place unit"]]:
    """Run a batch; return the wanted units' activations at the chosen rows and positions."""
    own = surface(model)
    hooks = list(dict.fromkeys(hook for found in layers.values() for hook, _ in found))
    cache = own.capture(padded_right(sequences, own.device), hooks)
    result = {}
    for name, found in layers.items():
        parts = []
        for hook, units in found:
            if hook not in cache:
                raise LensLocError(
                    f"The hook point {hook!r} is never reached in this model, so nothing can be "
                    f"captured at the site {name!r}; choose another."
                )
            activation = upcast(to_units(get_site(name), cache[hook], own.n_heads))
            if int(units.max()) >= activation.shape[-1]:
                raise LensLocError(
                    f"The mask has a unit {int(units.max())} at {name}, but the model has "
                    f"{activation.shape[-1]} units per layer there; localize on this model instead."
                )
            rows, positions = (chosen[:, at].to(activation.device) for at in (0, 2))
            parts.append(activation[rows, positions][:, units.to(activation.device)].cpu().double())
        result[name] = torch.cat(parts, dim=1).numpy()
    return result


def _require_finite(
    found: Mapping[str, Float[np.ndarray, "place unit"]],
    wanted: Mapping[str, Bool[Tensor, "layer width"]],
    stimuli: Sequence[int],
    names: Callable[[int], str],
) -> None:
    for name, values in found.items():
        if np.isfinite(values).all():
            continue
        place, column = (int(at) for at in np.argwhere(~np.isfinite(values))[0])
        layer, unit = wanted[name].nonzero()[column].tolist()
        raise LensLocError(
            f"The activation {UnitAddress(layer, name, unit)} is {values[place, column]} for "
            f"{names(stimuli[place])}; load the model in float32 or leave the stimulus out."
        )


# -- probabilities -----------------------------------------------------------------------------


def log_probabilities(
    model: Model,
    sequences: Sequence[tuple[tuple[int, ...], int]],
    classes: Sequence[Bool[np.ndarray, " vocabulary"]],
    *,
    batch_size: BatchSize = "auto",
    progress: bool = True,
    description: str = "surprisal",
) -> list[Float[np.ndarray, "scored column"]]:
    """Return log p of tokens, and of some classes of tokens in their places.

    Args:
        model: a model.
        sequences: token ids, and the position of the first that is scored (at least 1). The last
            token is predicted but not read.
        classes: sets of tokens, by id; ids beyond the end are in none.
        batch_size: sequences per batch; does not change the result.
        progress: show a progress bar.
        description: of the progress bar.

    Returns:
        One array per sequence, a row per scored token: log p of the token, then of every class (its
        tokens' total), natural logarithm, float64.
    """
    members = [torch.from_numpy(np.flatnonzero(found)) for found in classes]

    def measure(
        logits: Float[Tensor, "place vocabulary"],
        which: Int[Tensor, " target"],
        targets: Int[Tensor, " target"],
    ) -> Float[Tensor, "target column"]:
        whole = torch.logsumexp(logits, dim=-1)
        columns = [logits[which, targets] - whole[which]]
        for ids in members:
            own = logits.index_select(1, ids.to(logits.device))
            columns.append((torch.logsumexp(own, dim=-1) - whole)[which])
        return torch.stack(columns, dim=-1)

    scored = [Scored(ids, first) for ids, first in sequences]
    return token_log_probs(
        model,
        scored,
        measure=measure,
        batch_size=batch_size,
        progress=progress,
        description=description,
    )


# -- what a model is ---------------------------------------------------------------------------


def name_of(model: Model) -> str:
    """Return what the model was asked for by."""
    return describe(model).name


def provenance(model: Model, **procedure: Any) -> Provenance:
    """Return what is known of the model here and now, and of the procedure."""
    return provenance_of(describe(model), **procedure)


def untrained_twin(model: Model, seed: int, progress: bool) -> Model:
    """Return the model's architecture as transformers initialises it.

    Raises:
        LensLocError: if it cannot be made from what is known of the model.
    """
    card = describe(model)
    # Of a model of the hub, the commit that was read; it stands in the name if it was asked for.
    name = card.name.partition("@")[0] if card.revision else card.name
    twin: Model = load_model(
        name,
        untrained=True,
        seed=seed,
        dtype=card.dtype if card.dtype in DTYPES else None,  # not that of quantised weights
        device=str(surface(model).device),
        backend=cast(Backend, card.backend),
        revision=card.revision or None,
        progress=progress,
    )
    return twin


# -- lesions -----------------------------------------------------------------------------------


@contextlib.contextmanager
def quietly_lesioned(
    model: Model, mask: UnitMask | None, arguments: Mapping[str, Any]
) -> Iterator[Lesion | None]:
    """Open a lesion of a mask, or none; its ``effect`` is known afterwards, and not warned of.

    Yields:
        The lesion; None for no mask.
    """
    if mask is None:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LensLocWarning)
        with lesion(model, mask, **arguments) as opened:
            yield opened


def require_lesions(model: Model, masks: Sequence[UnitMask], arguments: Mapping[str, Any]) -> None:
    """Refuse, before anything is run, what a lesion would refuse.

    Raises:
        LensLocError: what :func:`lensloc.lesion` refuses.
    """
    for mask in masks:
        lesion(model, mask, **{**arguments, "check": False})


def require_pooling(pooling: str, known: Sequence[str]) -> None:
    """Check a way of pooling.

    Raises:
        LensLocError: unless it is one of the known ones.
    """
    if pooling not in known:
        others = ", ".join(name for name in POOLINGS if name in known)
        raise LensLocError(f"There is no pooling {pooling!r} of stimuli here; there are {others}.")

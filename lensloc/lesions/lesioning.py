"""UnitMask -> forward hooks: units switched off, frozen, scaled or driven, and put back after.

A lesion is hook functions only. The model's weights are never touched, and leaving the lesion, by
any way, leaves no hook behind.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.arguments import require_numbers
from lensloc.contrasts.clean_corrupted import Pairs
from lensloc.errors import LensLocError, LensLocWarning
from lensloc.forward.batches import BatchSize, evaluating
from lensloc.lesions.arguments import masks_of, require_arguments, require_masks, require_values
from lensloc.lesions.corrupted import CorruptedRun
from lensloc.lesions.edits import Edit, edits
from lensloc.lesions.modes import get_mode, require_site
from lensloc.lesions.references import (
    Reference,
    mask_hash,
    reference_responses,
    reference_site,
    responses_hash,
    values_hash,
)
from lensloc.models.adapting import surface
from lensloc.models.module import OfModule
from lensloc.models.surface import Close, Hook, Model
from lensloc.units.mask import UnitMask
from lensloc.units.responses import Responses
from lensloc.vocabulary import Mode, Positions

log = logging.getLogger(__name__)

_PROBE_TOKENS = 12

PROBING: ContextVar[Callable[[Model, Tensor], Tensor] | None] = ContextVar("probing", default=None)
"""What runs the probe of a lesion that closes, where much of it is known: gets model and tokens."""


def lesion(
    model: Model,
    masks: UnitMask | str | Sequence[UnitMask | str],
    mode: Mode = "zero",
    *,
    scale: float | None = None,
    value: float | Float[Tensor, "layer unit"] | None = None,
    quantile: float | None = None,
    reference: Reference | Pairs | None = None,
    seed: int = 0,
    positions: Positions = "all",
    batch_size: BatchSize = "auto",
    check: bool = True,
) -> "Lesion":
    """Return a context manager in which the masked units of the model are switched off or changed.

    ``with lesion(model, network): ...`` holds for everything that runs the model inside it:
    calls, ``run_with_cache``, ``run_with_hooks``, ``generate`` with its cache, and pipelines of
    transformers. Lesions nest; hooks opened inside see lesioned values. A unit is replaced at its
    hook point, in the value that the rest of the model reads:

    - ``zero``: 0 (the published ablation);
    - ``mean``: the unit's mean over a reference;
    - ``resample``: its response to one stimulus of a reference, drawn with ``seed``. The stimulus
      is the same for all units, so that they form a pattern that the model produced. It is the same
      for all texts and positions, so that neither batches nor caches matter; vary the seed;
    - ``scale``: its own value times ``scale``;
    - ``clamp``: ``value``, or the ``quantile`` of its responses to a reference (steering);
    - ``write``: what it was at the block's input, so that only this block's own contribution to
      the dimension is removed (sites ``resid_mid`` and ``resid_post``);
    - ``corrupt``: its value, at each position, in the corrupted text of the same pair of
      ``reference``. Inside, the model runs on the clean texts of the pairs only: a clean prompt
      from its first token on, alone or with one of its continuations, padded on the right or not.
      Anything else is refused, also a cache of keys and values.

    A ``head`` mask acts on the head's whole ``z``: all modes but clamp on each of its dimensions;
    clamp sets its norm, which is what a head's response is.

    On leaving, it warns if its hooks never fired, changed no activation, or moved no logit of a
    short probe (which runs the model twice on two rows of 12 tokens).

    Args:
        model: a loaded model of any kind.
        masks: the units; several masks for several sites. A unit may be named by its address,
            ``"L12.resid_post.507"``.
        mode: what happens to them.
        scale: the factor of ``scale``; above 1 turns units up.
        value: of ``clamp``, in activation units; one for all units, or one each (then of one mask;
            values of other units do not matter).
        quantile: of ``clamp``, 0 to 1, over the stimuli of ``reference``.
        reference: for ``mean``, ``resample`` and ``clamp`` a contrast, whose texts are run here and
            now (signed responses, mean over tokens); or responses, one per site (site ``z`` for the
            mean and resampling of heads). For ``corrupt`` pairs, whose corrupted texts are run here
            and now.
        seed: of ``resample``.
        positions: every position, or only the last of each forward pass. With a key-value cache
            the last position is each new token in its turn; without, earlier tokens recover.
        batch_size: texts per batch, for a contrast as reference.
        check: probe the logits on leaving.

    Raises:
        LensLocError: an empty mask; one of a model of another shape; a site that the model lacks;
            an argument that the mode needs and lacks, or does not know.
    """
    require_numbers(seed=seed)
    surface(model)
    chosen = masks_of(model, masks)
    require_masks(model, chosen)
    if positions == "last" and not surface(model).takes_tokens:
        raise LensLocError(
            "positions='last' is the last token of a text that a language model reads or writes; a "
            "wrapped module is lesioned at all places, so leave it out."
        )
    require_arguments(
        mode, positions, scale=scale, value=value, quantile=quantile, reference=reference
    )
    if isinstance(value, Tensor):
        require_values(value, chosen)
    what = get_mode(mode)
    for each in chosen:
        require_site(what, each.site)
    sites = {reference_site(mask.site, mode) for mask in chosen}
    responses: Mapping[str, Responses] = {}
    corrupted: CorruptedRun | None = None
    if isinstance(reference, Pairs):
        corrupted = CorruptedRun(model, reference, chosen, batch_size)
    elif reference is not None:
        responses = reference_responses(model, reference, sites, batch_size)
    found = [
        edit
        for mask in chosen
        for edit in edits(
            model, mask, what, scale=scale, value=value, quantile=quantile, responses=responses,
            seed=seed, corrupted=corrupted,
        )
    ]  # fmt: skip
    settings = {
        "masks": [mask_hash(mask) for mask in chosen],
        "mode": mode,
        "scale": scale,
        "value": values_hash(value, chosen[0]) if isinstance(value, Tensor) else value,
        "quantile": quantile,
        "reference": reference.content_hash
        if isinstance(reference, Pairs)
        else {site: responses_hash(each) for site, each in sorted(responses.items())},
        "seed": seed if mode == "resample" else None,
        "positions": positions,
    }
    words = " and ".join(f"{len(mask)} units at {mask.site}" for mask in chosen)
    return Lesion(model, found, f"{mode} of {words}", settings, positions, check, corrupted)


@dataclass(frozen=True)
class Effect:
    """What a lesion did while it was open.

    Attributes:
        fired: hook point -> how often its hook ran.
        changed: whether any activation was changed.
        moved: largest change of a logit of the probe; None if it was not probed.
    """

    fired: Mapping[str, int]
    changed: bool
    moved: float | None

    @property
    def took_effect(self) -> bool:
        """Whether the hooks ran, changed an activation and, where probed, moved a logit."""
        return bool(self.fired) and self.changed and self.moved != 0


class Lesion:
    """An open or closed lesion; made by :func:`lesion`, used with ``with``.

    Attributes:
        description: mode, number of units and sites, in words.
        settings: everything that tells two lesions apart, for keys.
        effect: what it did; complete once it is closed.
    """

    def __init__(
        self,
        model: Model,
        edits: Sequence[Edit],
        description: str,
        settings: Mapping[str, Any],
        positions: Positions,
        check: bool,
        corrupted: CorruptedRun | None = None,
    ) -> None:
        self.description = description
        self.settings = dict(settings)
        self._model = model
        self._edits = tuple(edits)
        self._last_only = positions == "last"
        self._check = check
        self._corrupted = corrupted
        self._opened: list[Close] = []
        self._suspended = 0
        self.forget()

    def forget(self) -> None:
        """Forget what it did, as if it had never been open."""
        self._fired: dict[str, int] = {}
        self._changed: list[Tensor] = []
        self._moved: float | None = None
        self._kept: dict[str, Tensor] = {}

    def __repr__(self) -> str:
        return f"Lesion({self.description}; {'open' if self._opened else 'closed'})"

    @property
    def suspended(self) -> bool:
        """Whether the lesion is open but does nothing for now; see :func:`intact`."""
        return self._suspended > 0

    @property
    def effect(self) -> Effect:
        """What the lesion did since it was last opened."""
        return Effect(dict(self._fired), any(bool(c) for c in self._changed), self._moved)

    def credit(self, effect: Effect) -> None:
        """Count what the same lesion did elsewhere, in a pass beside others."""
        for point, times in effect.fired.items():
            self._fired[point] = self._fired.get(point, 0) + times
        self._changed.append(torch.tensor(effect.changed))
        self._moved = effect.moved

    def __enter__(self) -> "Lesion":
        if self._opened:
            raise LensLocError(
                f"This lesion ({self.description}) is open already; make another one with lesion()."
            )
        self.forget()
        try:
            if self._corrupted is not None:
                self._opened.append(surface(self._model).watch_tokens(self._look))
            for name, function in self.functions():
                self._open(name, function)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            known = self._moved is not None
            check = kind is None and self._check and bool(self._fired) and not known
            lesioned = self._probe() if check else None
        finally:
            self._close()
        if kind is not None:
            return
        intact = self._probe() if lesioned is not None else None
        if lesioned is not None and intact is not None:
            self._moved = float((lesioned - intact).abs().nan_to_num(nan=torch.inf).max())
        self._warn()

    # -- hooks ---------------------------------------------------------------------------------

    def functions(self) -> list[tuple[str, Hook]]:
        """Return what is done at which hook points, in order."""
        found: list[tuple[str, Hook]] = []
        for edit in self._edits:
            if edit.mode.needs_block_input:
                found.append((edit.input_hook, self._keep_input(edit)))
            found.append((edit.hook, self._replace(edit)))
        return found

    @property
    def by_token(self) -> bool:
        """Whether what it does to a token follows from what passes there of this token."""
        return not self._last_only and self._corrupted is None

    def _open(self, name: str, function: Hook) -> None:
        by_token = self.by_token
        hook = _Hook(self, name, function, self._last_only, by_token, self._corrupted is None)
        self._opened.append(surface(self._model).open(name, hook))

    def _close(self) -> None:
        while self._opened:
            self._opened.pop()()
        self._kept.clear()

    def _look(self, tokens: Tensor) -> None:
        if self._corrupted is not None and not self.suspended:
            self._corrupted.look(tokens)

    def _keep_input(self, edit: Edit) -> Callable[[Tensor], None]:
        def keep(activation: Tensor) -> None:
            self._kept[edit.hook] = activation

        return keep

    def _replace(self, edit: Edit) -> Callable[[Tensor], Tensor]:
        def replace(activation: Tensor) -> Tensor:
            edited = edit.apply(activation, self._kept.pop(edit.hook, None))
            if self._last_only:
                edited = torch.cat([activation[:, :-1], edited[:, -1:]], dim=1)
            self._fired[edit.hook] = self._fired.get(edit.hook, 0) + 1
            # One flag at a time stays on its device, unread, so that nothing waits for it.
            different = (edited != activation).any()
            if self._changed and self._changed[-1].device == different.device:
                self._changed[-1] = self._changed[-1] | different
            else:
                self._changed.append(different)
            return edited

        return replace

    # -- did it do anything? -------------------------------------------------------------------

    def _probe(self) -> Tensor | None:
        """Return the logits of a few fixed tokens."""
        seen = surface(self._model)
        if isinstance(seen, OfModule):
            return self.counting_nothing(seen.probe)
        tokens = probe_tokens(self._model)
        if self._corrupted is not None:
            tokens = torch.tensor([self._corrupted.probe])

        run = PROBING.get()

        def logits() -> Tensor:
            given = tokens.to(seen.device)
            with evaluating(self._model), torch.no_grad():
                return (seen.logits(given) if run is None else run(self._model, given)).float()

        return self.counting_nothing(logits)

    def counting_nothing(self, run: Callable[[], Tensor | None]) -> Tensor | None:
        """Run a probe, leaving all lesions' counts as they are; None where the model has none."""
        counting = (self, *open_lesions(self._model))
        kept = [(found, dict(found._fired), list(found._changed)) for found in counting]
        try:
            return run()
        except (TypeError, ValueError, RuntimeError, NotImplementedError, IndexError) as reason:
            log.info("the lesion's effect on logits could not be probed (%s)", reason)
            return None
        finally:
            for found, fired, changed in kept:
                found._fired, found._changed = fired, changed

    def _warn(self) -> None:
        effect = self.effect
        if not effect.fired:
            what = "its hooks never fired: the model was not run inside it"
        elif not effect.changed:
            what = "it changed no activation: the units had these values already"
        elif effect.moved == 0:
            tokens = surface(self._model).takes_tokens
            what = f"it moved no {'logit' if tokens else 'number'} of the probe"
        else:
            return
        # The caller's `with` statement: this method, __exit__, then the caller.
        message = f"The lesion ({self.description}) took no effect: {what}."
        warnings.warn(message, LensLocWarning, stacklevel=3)


def probe_tokens(model: Model) -> Int[Tensor, "row pos"]:
    """Return the few tokens with which it is tried whether a lesion moves a logit."""
    seen = surface(model)
    length = min(_PROBE_TOKENS, seen.window)
    return ((torch.arange(2 * length) * 7919 + 11) % seen.vocabulary).reshape(2, length)


class _Hook:
    """A hook function of a lesion, recognisable among all hooks of a model.

    Attributes:
        owner: the lesion.
        last_only: whether it edits the last position only.
        point: where it is opened.
        by_token: whether what it does to a token follows from what passes there of this token.
        by_what_passes: whether what it does follows from what passes there, and not from the tokens
            that the model was given.
    """

    def __init__(
        self,
        owner: Lesion,
        name: str,
        function: Hook,
        last_only: bool,
        by_token: bool,
        by_what_passes: bool,
    ) -> None:
        self.owner = owner
        self.last_only = last_only
        self.point = name
        self.by_token = by_token
        self.by_what_passes = by_what_passes
        self._function = function

    def __repr__(self) -> str:
        return f"lensloc: {self.owner.description} ({self.point})"

    def __call__(self, activation: Tensor) -> Tensor | None:
        return None if self.owner._suspended else self._function(activation)


def open_lesions(model: Model) -> tuple[Lesion, ...]:
    """Return the lesions that are open on the model, each once."""
    found = [hook.owner for hook in surface(model).open_hooks() if isinstance(hook, _Hook)]
    return tuple(dict.fromkeys(found))


def has_other_hooks(model: Model) -> bool:
    """Say whether hooks are open on the model that are not a lesion's."""
    return any(not isinstance(hook, _Hook) for hook in surface(model).open_hooks())


@contextlib.contextmanager
def intact(model: Model, only: Sequence[Lesion] | None = None) -> Iterator[None]:
    """Suspend every lesion that is open on the model, or some, for a while."""
    suspended = open_lesions(model) if only is None else tuple(only)
    for found in suspended:
        found._suspended += 1
    try:
        yield
    finally:
        for found in suspended:
            found._suspended -= 1

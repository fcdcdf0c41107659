"""Is a loaded model what it claims to be? Checked once, when it is first used."""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.anatomy import blocks_of
from lensloc.models.ends import entrance_of
from lensloc.models.late import Reach, reach
from lensloc.models.module import OfModule
from lensloc.models.quantized import is_quantized
from lensloc.models.surface import Hook, Inputs, Model, Surface, opened
from lensloc.models.watching import first_tensor

log = logging.getLogger(__name__)

# Largest relative error (Euclidean norm of the difference over that of the values).
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
# Packed weights are multiplied in half precision whatever the logits are, and some ways of it look
# at the whole batch (columns with outliers).
_PACKED = 1e-1
_SHORT = 8
# A write at a hook point is seen in so many tokens: a change of keys shows from the second one on.
_TRIED = 3
# Positions at the end of the long row that are compared; before them nothing acts that does not
# act there too, and all of them would take gigabytes.
_TAIL = 24


@dataclass(frozen=True)
class Reference:
    """What transformers' own forward pass gives.

    Attributes:
        short: of a few short rows: ``logits`` and, where the model has a list of blocks,
            ``block 0``, ``block 1``, ...
        late: the same of the last positions of one long row.
        reach: how long that row is, and what of the model acts later still.
        vocabulary: how many tokens there are to choose from.
    """

    short: Mapping[str, Tensor]
    late: Mapping[str, Tensor]
    reach: Reach
    vocabulary: int


@dataclass(frozen=True)
class ModelCheck:
    """How far a model is from what it should be; relative errors, 0 is perfect.

    Attributes:
        batch: a batch of one against the same text in a batch of many.
        hook: relative change of the logits when a hook adds to what passes a hook point, the least
            of all that were tried; not 0.
        blocks: raw block outputs against transformers' own; None if there is no original.
        logits: logits against transformers' own; None if there is no original.
        tolerance: largest error that passes, which depends on the dtype.
        n_tokens: tokens of the longest row that was read.
        late_blocks: block outputs at the end of that row; None if they were not compared.
        late_logits: logits at the end of that row; None if they were not compared.
        missed: what acts later than that in a text: name and from how many tokens on.
        of: what the model gives for a text, in words.
    """

    batch: float
    hook: float
    blocks: float | None
    logits: float | None
    tolerance: float
    n_tokens: int = _SHORT
    late_blocks: float | None = None
    late_logits: float | None = None
    missed: tuple[tuple[str, int], ...] = field(default=())
    of: str = "a text's logits"

    @property
    def failures(self) -> list[str]:
        """What is wrong, in words; empty if nothing is."""
        found = []
        if not self.batch <= self.tolerance:
            found.append(f"{self.of} change by {self.batch:.1e} with its batch")
        if not self.hook > 0:
            what = "the logits" if self.n_tokens else "what it gives"
            found.append(f"a hook at a block's output does not reach {what}")
        early = (("block outputs", self.blocks), ("logits", self.logits))
        late = (("block outputs", self.late_blocks), ("logits", self.late_logits))
        for compared, where in ((early, ""), (late, f" at the end of {self.n_tokens:,} tokens")):
            wrong = [
                f"its {what} differ from transformers' own by {error:.1e}{where}"
                for what, error in compared
                if error is not None and not error <= self.tolerance
            ]
            found += wrong
            if wrong:  # what is wrong early is wrong late
                break
        return found

    def __str__(self) -> str:
        errors = {
            "blocks": [e for e in (self.blocks, self.late_blocks) if e is not None],
            "logits": [e for e in (self.logits, self.late_logits) if e is not None],
        }
        compared = [
            f"{what} within {max(found):.1e} of transformers"
            for what, found in errors.items()
            if found
        ]
        reference = ", ".join(compared) or "no transformers original to compare with"
        state = "failed: " + "; ".join(self.failures) if self.failures else "passed"
        read = f", over up to {self.n_tokens:,} tokens" if self.n_tokens else ""
        missed = "".join(
            f"; not reached: {name}, from {begin:,} tokens on" for name, begin in self.missed
        )
        return (
            f"{state} ({reference}{read}, batch {self.batch:.1e}, hook effect {self.hook:.1e}"
            f"{missed})"
        )


@torch.no_grad()
def reference_activations(hf_model: Any) -> Reference:
    """Run transformers' own forward pass on the tokens that :func:`check_model` uses.

    One row is as long as it must be for all that acts late to act: sliding windows, scaled rotary
    embeddings beyond their original context, blocks of attention (:mod:`lensloc.models.late`).
    """
    vocabulary = int(hf_model.config.get_text_config().vocab_size)
    reached = reach(hf_model.config, sum(p.numel() for p in hf_model.parameters()))
    short = _run_transformers(hf_model, _tokens(vocabulary, 3, _SHORT))
    late = _run_transformers(hf_model, _tokens(vocabulary, 1, reached.n_tokens), tail=_TAIL)
    return Reference(short, late, reached, vocabulary)


def _run_transformers(
    hf_model: Any, tokens: Int[Tensor, "row pos"], tail: int | None = None
) -> dict[str, Tensor]:
    """Return block outputs and logits, of the last positions only if told to."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            value = first_tensor(output)
            if value is not None:
                found[name] = _last(value, tail).detach().cpu()

        return hook

    handles = [
        block.register_forward_hook(keep(f"block {layer}"))
        for layer, block in enumerate(_blocks_of(hf_model))
    ]
    options: dict[str, Any] = {"use_cache": False}
    if tail is not None and _takes(hf_model, "logits_to_keep"):
        options["logits_to_keep"] = tail
    try:
        logits = hf_model(tokens.to(entrance_of(hf_model)), **options).logits
        found["logits"] = _last(logits, tail).cpu()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _last(values: Tensor, tail: int | None) -> Tensor:
    """Return the last positions, without holding on to the others."""
    return values if tail is None else values[:, -tail:].clone()


def _blocks_of(hf_model: Any) -> list[nn.Module]:
    return blocks_of(hf_model, hf_model.config.get_text_config())


def _takes(hf_model: Any, argument: str) -> bool:
    return argument in inspect.signature(hf_model.forward).parameters


@torch.no_grad()
def check_model(model: Model, reference: Reference | None = None) -> ModelCheck:
    """Check a model: batching, hooks, and agreement with transformers.

    Args:
        model: a model of any kind, in eval mode.
        reference: what :func:`reference_activations` gave for the original, if there is one.
    """
    seen = surface(model)
    if isinstance(seen, OfModule):
        return _check_module(seen)
    vocabulary = reference.vocabulary if reference else seen.vocabulary
    tokens = _tokens(vocabulary, 3, _SHORT)[:, : seen.window].to(seen.device)
    logits, blocks = _run(seen, tokens)
    alone = seen.logits(tokens[-1:])
    early: tuple[float | None, float | None] = (None, None)
    late = _Late(int(tokens.shape[1]))
    if reference is not None:
        early = _compared(reference.short, logits, blocks)
        late = _check_late(seen, reference)
    tolerance = _TOLERANCE.get(logits.dtype, 1e-3)
    if is_quantized(model):
        tolerance = max(tolerance, _PACKED)
    return ModelCheck(
        batch=_error(alone, logits[-1:]),
        hook=_least_effect(seen, tokens, tolerance),
        blocks=early[0],
        logits=early[1],
        tolerance=tolerance,
        n_tokens=late.n_tokens,
        late_blocks=late.blocks,
        late_logits=late.logits,
        missed=late.missed,
    )


def _check_module(seen: OfModule) -> ModelCheck:
    """Check a wrapped module on its examples; every site is written at in its middle layer."""
    together, alone = seen.probe(), seen.probe(one_by_one=True)
    assert together is not None
    assert alone is not None
    effects = []
    for site in seen.own_sites:
        with opened(seen, [(f"{site}.{seen.n_layers_at(site) // 2}", _bump())]):
            changed = seen.probe()
        assert changed is not None
        effects.append(_error(changed, together))
    return ModelCheck(
        batch=_error(alone, together),
        hook=min(effects, key=_nan_last),
        blocks=None,
        logits=None,
        tolerance=_TOLERANCE.get(seen.dtype, 1e-3),
        n_tokens=0,
        of="what it gives for a stimulus",
    )


def _least_effect(seen: Surface, tokens: Int[Tensor, "row pos"], rounding: float) -> float:
    """Write at hook points of a layer in the middle; return how much the least moved the logits.

    All are written at in one pass, each in a row of its own, beside rows that are not written to.
    Where rows are not quite independent (a mixture of experts rounds by what else it is given),
    those change too; then a point whose row changed no more than rounding may explain is tried
    again by itself.
    """
    points = seen.unproven(seen.n_layers // 2)
    if not points:
        return 0.0
    tokens = tokens[:, :_TRIED]
    unwritten = len(points)
    rows = [number % len(tokens) for number in range(unwritten)]
    together = torch.cat([tokens[rows], tokens])
    before = seen.logits(together)
    with opened(seen, [(point, _bump(row)) for row, point in enumerate(points)]):
        after = seen.logits(together)
    independent = torch.equal(after[unwritten:], before[unwritten:])
    effects = []
    for row, point in enumerate(points):
        effect = _error(after[row], before[row])
        if not independent and not effect > rounding:
            with opened(seen, [(point, _bump())]):
                effect = _error(seen.logits(tokens), before[unwritten:])
        effects.append(effect)
    return min(effects, key=_nan_last)


@dataclass(frozen=True)
class _Late:
    """What the long row showed; see :class:`ModelCheck`."""

    n_tokens: int
    blocks: float | None = None
    logits: float | None = None
    missed: tuple[tuple[str, int], ...] = ()


def _check_late(seen: Surface, reference: Reference) -> _Late:
    """Compare the end of the long row."""
    length, missed = reference.reach.n_tokens, reference.reach.missed
    if length > seen.window:  # no text of this model is as long
        return _Late(min(_SHORT, seen.window))
    tokens = _tokens(reference.vocabulary, 1, length).to(seen.device)
    logits, blocks = _run(seen, tokens, tail=_TAIL)
    # What acts only beyond the model's own window acts on no text of it.
    missed = tuple((name, begin) for name, begin in missed if begin < seen.window)
    return _Late(length, *_compared(reference.late, logits, blocks), missed)


def _run(
    seen: Surface, tokens: Int[Tensor, "row pos"], tail: int | None = None
) -> tuple[Float[Tensor, "row last vocabulary"], dict[str, Tensor]]:
    """Return logits and block outputs, of the last positions only if told to."""
    found: dict[str, Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook(activation: Tensor) -> None:
            found[f"block {layer}"] = _last(activation, tail)

        return hook

    points = [f"blocks.{layer}.hook_resid_post" for layer in range(seen.n_layers)]
    hooks = [(point, keep(n)) for n, point in enumerate(points) if seen.lacks(point) is None]
    with opened(seen, hooks):
        if tail is None:
            return seen.logits(tokens), found
        # The logits of all tokens of a long row could be gigabytes.
        rows, length = tokens.shape
        last = torch.arange(max(0, length - tail), length, device=tokens.device)
        row = torch.arange(rows, device=tokens.device).repeat_interleave(len(last))
        logits_of, _ = seen.picked_logits(Inputs(tokens), row, last.repeat(rows))
        return logits_of(slice(None)).unflatten(0, (rows, len(last))), found


def _compared(
    reference: Mapping[str, Tensor], logits: Tensor, blocks: Mapping[str, Tensor]
) -> tuple[float | None, float | None]:
    """Return the largest error of a block's outputs, if any can be compared, and the logits'."""
    errors = [
        _error(blocks[name], value)
        for name, value in reference.items()
        if name != "logits" and name in blocks
    ]
    return max(errors, key=_nan_last, default=None), _error(logits, reference["logits"])


def _nan_last(error: float) -> float:
    return float("inf") if error != error else error


def require_passed(check: ModelCheck, name: str) -> None:
    """Raise if a check found something wrong.

    Raises:
        LensLocError: saying what, and that another backend may do.
    """
    if check.failures:
        raise LensLocError(
            f"{name} did not pass its check: {'; '.join(check.failures)} "
            f"(at most {check.tolerance:.0e} is allowed); load it with another backend or dtype."
        )


def _tokens(vocabulary: int, rows: int, length: int) -> Int[Tensor, "row pos"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocabulary, (rows, length), generator=generator)


def _bump(row: int | None = None) -> Hook:
    """Return a hook that writes in one row, or in all.

    What it adds differs from one number to the next, since a normalisation takes away what is added
    to all alike, and attention what is added to all keys.
    """

    def hook(activation: Tensor) -> Tensor:
        written = slice(None) if row is None else slice(row, row + 1)
        old = activation[written].float()
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(activation.shape[1:], generator=generator).to(old.device)
        new = activation.clone()
        new[written] = (old + noise * (old.std() + 1)).to(activation.dtype)
        return new

    return hook


def _error(found: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> float:
    found, expected = found.cpu().double(), expected.cpu().double()
    scale = expected.norm()
    return (
        float((found - expected).norm() / scale) if scale > 0 else float((found - expected).norm())
    )

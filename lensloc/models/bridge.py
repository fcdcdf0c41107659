"""TransformerBridge of TransformerLens 3.9 and 4.x as a surface."""

import contextlib
import inspect
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lensloc.models.late import earliest, steady_length
from lensloc.models.lens import Adapted, Lens
from lensloc.models.masking import masks_of, packs_rightly
from lensloc.models.resuming import started, wraps_outputs
from lensloc.models.surface import (
    Close,
    Decoding,
    Hook,
    Inputs,
    Kind,
    LogitsOf,
    Start,
    Watch,
    picked,
)


class Bridge(Lens):
    """The surface of a TransformerBridge, which runs transformers' own forward pass."""

    kind: Kind = "bridge"

    @property
    def processing(self) -> str:
        """A bridge holds the weights as they are."""
        return "raw"

    @property
    def config(self) -> Any:
        """The configuration of the transformers model inside."""
        return self.model.original_model.config

    def _embedding(self) -> Tensor:
        weight: Tensor = self.model.original_model.get_input_embeddings().weight
        return weight

    @property
    def steady_length(self) -> float:
        return steady_length(self.config)

    def _n_neurons(self) -> int | None:
        # From the matrix that writes, since its configuration guesses the number where
        # transformers' has another name for it.
        with contextlib.suppress(AttributeError, IndexError):
            weight = self.model.blocks[0].mlp.out.original_component.weight
            return int(weight.numel()) // self.d_model if weight.ndim == 2 else None
        return None

    def _takes(self, argument: str) -> bool:
        return argument in inspect.signature(self.model.original_model.forward).parameters

    def _without_logits(self) -> dict[str, Any]:
        # It runs the output layer regardless.
        options: dict[str, Any] = {"output_attentions": False}
        return options | ({"logits_to_keep": 1} if self._takes("logits_to_keep") else {})

    # -- hook points -------------------------------------------------------------------------------

    def open(self, point: str, hook: Hook) -> Close:
        """Open a hook; what it changes in the middle of a block is carried on to its end."""
        if not self._reaches_mlp_only(point):
            return super().open(point, hook)
        differences: list[Tensor] = []

        def edit(activation: Tensor) -> Tensor | None:
            new = hook(activation)
            if new is not None:
                differences.append(new - activation)
            return new

        def carry(activation: Tensor, hook: Any) -> Tensor | None:
            if not differences:
                return None
            return activation + differences.pop().to(activation.device)

        closes = [
            self._add(point, Adapted(hook, edit)),
            # Before every other hook there, since the middle comes before the end.
            self._add(point.replace("hook_resid_mid", "hook_resid_post"), carry, first=True),
        ]

        def close() -> None:
            for each in closes:
                each()

        return close

    def _reaches_mlp_only(self, point: str) -> bool:
        """Say whether what is written there reaches the MLP alone.

        So it is with ``hook_resid_mid``, which is the input of the MLP or of its normalisation, and
        not the residual stream that the MLP's output is added to.
        """
        if not point.endswith(".hook_resid_mid"):
            return False
        points, layer = self.model.hook_dict, point.rpartition(".")[0]
        return points[point] in [points.get(f"{layer}.{part}.hook_in") for part in ("ln2", "mlp")]

    # -- running -----------------------------------------------------------------------------------

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        with warnings.catch_warnings():
            # TransformerLens 4 says so of points that a setting closes; they are told elsewhere.
            warnings.filterwarnings("ignore", "run_with_cache: skipped", UserWarning)
            return super().capture(tokens, points)

    def longest_packed(self) -> int:
        return self._longest_packed

    @cached_property
    def _longest_packed(self) -> int:
        """Whether masks and positions of one's own are taken is found out by trying."""
        if not self.is_causal:
            return 0
        exact = self.dtype in (torch.float32, torch.float64)
        with self.alone():
            right = packs_rightly(self._forward, self.vocabulary, self.device, exact)
        return int(min(self.window, earliest(self.config))) if right else 0

    def _forward(
        self, inputs: Inputs, start: Start | None = None, **options: Any
    ) -> Float[Tensor, "row pos vocabulary"]:
        options |= masks_of(inputs, self.dtype)
        start = None if start is None else self._hooked_behind(start)
        with started(list(self.model.blocks), start, bool(self._wraps) if start else False):
            logits: Tensor = self.model(inputs.tokens, return_type="logits", **options)
        return logits

    def starts_anywhere(self) -> bool:
        return self._wraps is not None

    @cached_property
    def _wraps(self) -> bool | None:
        """Whether blocks give tuples; None if a pass cannot begin at one of them."""
        draws = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, self.vocabulary, (2, min(7, self.window)), generator=draws)
        with self.alone():
            return wraps_outputs(self._forward, list(self.model.blocks), tokens.to(self.device))

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        start: Start | None = None,
    ) -> tuple[LogitsOf, int]:
        """Run the model; where it can, the output layer runs from the first picked place on."""
        options: dict[str, Any] = {}
        first = 0
        if self._takes("logits_to_keep"):
            first = int(positions.min())
            options["logits_to_keep"] = inputs.tokens.shape[1] - first
        logits = self._forward(inputs, start, **options)
        return picked(logits, rows, positions - first), int(logits.shape[-1])

    # -- writing -----------------------------------------------------------------------------------

    def writes_side_by_side(self) -> bool:
        """Prompts are continued together where they are of one length."""
        return False

    def write(
        self, prompts: Sequence[Sequence[int]], how: Decoding, watch: Watch
    ) -> list[list[int]]:
        """Write after prompts of one length."""
        tokens = torch.tensor([list(ids) for ids in prompts], device=self.device)
        end = self.tokenizer.eos_token_id
        with self._watched(end, how.min_new_tokens, len(prompts), watch):
            written = self.model.generate(
                tokens,
                max_new_tokens=how.max_new_tokens,
                do_sample=how.temperature > 0,
                temperature=how.temperature or 1.0,
                repetition_penalty=how.repetition_penalty,
                stop_at_eos=end is not None,
                eos_token_id=end,  # not those of the configuration, which HookedTransformer lacks
                return_type="tokens",
                verbose=False,
            )
        found: list[list[int]] = written[:, tokens.shape[1] :].tolist()
        return found

    @contextlib.contextmanager
    def _watched(self, end: int | None, n_passes: int, n_rows: int, watch: Watch) -> Iterator[None]:
        """Look at the logits, and keep the model from an end of text in its first passes."""
        passes = itertools.count()

        def look(logits: Tensor, hook: Any) -> Tensor | None:
            n_written = next(passes)
            watch(logits[:, -1], range(n_rows), [n_written] * n_rows)
            if n_written >= n_passes or end is None:
                return None
            logits = logits.clone()
            logits[..., end] = -torch.inf
            return logits

        with self.model.hooks(fwd_hooks=[("unembed.hook_out", look)]):
            yield

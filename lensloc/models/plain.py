"""A plain transformers model: hooks on its own modules, its own attention, dtype and devices."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList

from lensloc.errors import LensLocError
from lensloc.models.anatomy import Tap, blocks_of, examine, heads_of
from lensloc.models.ends import ENDS, embedding_of, ends_of, entrance_of, finishing_of, layer_of
from lensloc.models.hooking import on_input, on_output
from lensloc.models.late import earliest, steady_length
from lensloc.models.masking import MASKABLE, masks_of, packs_rightly
from lensloc.models.quantized import is_quantized
from lensloc.models.resuming import started, wraps_outputs
from lensloc.models.sharding import gathered, group_of, own_part
from lensloc.models.surface import (
    Attached,
    Close,
    Decoding,
    Hook,
    Inputs,
    Kind,
    LogitsOf,
    Start,
    Surface,
    T,
    Watch,
    picked,
    watched,
)
from lensloc.models.watching import first_tensor

# Enough rows and tokens that no two parts of a block agree by chance.
_PROBE = (2, 7)
_MOST_TOKENS = 2**31
_NO_LOGITS = "A {} gives no logits of tokens; load it with its output layer, or use ll.wrap on it."


class Plain(Attached, Surface):
    """The surface of a language model of transformers.

    Attributes:
        model: the transformers model.
    """

    kind: Kind = "transformers"

    def __init__(self, model: Any) -> None:
        """Take a model.

        Raises:
            LensLocError: if it reads no tokens, or has no list of blocks.
        """
        self.model = model
        self._opened: list[Hook] = []
        kind = type(model).__name__
        if not hasattr(embedding_of(model), "num_embeddings"):
            raise LensLocError(
                f"A {kind} has no embedding, so it takes no token ids; give a language model."
            )
        if not self._blocks:
            raise LensLocError(
                f"No list of blocks was found in this {kind}, as many as its configuration's "
                "num_hidden_layers; give a language model that has one."
            )

    # -- what it is --------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The configuration of the model; of its text part, where it has several."""
        return self.model.config.get_text_config()

    @property
    def name(self) -> str:
        return str(getattr(self.model.config, "_name_or_path", "") or "")

    @property
    def architecture(self) -> str:
        return type(self.model).__name__

    @property
    def processing(self) -> str:
        return "raw"

    @property
    def tokenizer(self) -> Any:
        return getattr(self.model, "tokenizer", None)

    @property
    def prepends_bos(self) -> bool:
        return bool(getattr(self.model, "prepends_bos", False))

    @property
    def n_layers(self) -> int:
        return len(self._blocks)

    @property
    def n_heads(self) -> int:
        return heads_of(self.config) or 1

    @property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        return int(embedding_of(self.model).num_embeddings)

    @property
    def window(self) -> int:
        for field in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            found = getattr(self.config, field, None)
            if isinstance(found, int) and found > 0:
                return found
        return _MOST_TOKENS

    @cached_property
    def is_causal(self) -> bool:
        """Found out by trying: whether an exchanged last token changes what stands before it."""
        tokens = self._probe_tokens(1, min(_PROBE[1], self.window))
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            found = first_tensor(output)
            if found is not None:
                seen.append(found[:, :-1].float().cpu())

        with self._alone():
            handle = self._blocks[-1].register_forward_hook(keep)
            try:
                for last in (0, 1):
                    tokens[:, -1] = last
                    self.blocks(tokens)
            finally:
                handle.remove()
        # What is the same computation differs by rounding; a model may attend to a token weakly.
        rtol, atol = (1e-4, 1e-5) if self._exact else (1e-2, 1e-3)
        return len(seen) < 2 or torch.allclose(seen[0], seen[1], rtol=rtol, atol=atol)

    @property
    def steady_length(self) -> float:
        return steady_length(self.config)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        return entrance_of(self.model)

    # -- hook points -------------------------------------------------------------------------------

    @cached_property
    def _blocks(self) -> list[nn.Module]:
        return blocks_of(self.model, self.config)

    @cached_property
    def _taps(self) -> list[dict[str, Tap]]:
        """Where every block's hook points are; found by running the model once."""
        tokens = self._probe_tokens(_PROBE[0], min(_PROBE[1], self.window))
        with self._alone():
            heads = heads_of(self.config)
            return examine(lambda: self.blocks(tokens), self._blocks, heads, self._group)

    @cached_property
    def _ends(self) -> dict[str, Tap]:
        """Where the embedding and the final norm are; found by running the model once."""
        tokens = self._probe_tokens(_PROBE[0], min(_PROBE[1], self.window))
        with self._alone():
            return ends_of(lambda: self.blocks(tokens), self._decoder, self._blocks,
                           embedding_of(self.model))  # fmt: skip

    @cached_property
    def _group(self) -> Any:
        """The ranks over which the weights are sharded; None if they are not."""
        return group_of(self.model)

    @property
    def is_sharded(self) -> bool:
        return self._group is not None

    def _probe_tokens(self, rows: int, length: int) -> Int[Tensor, "row pos"]:
        draws = torch.Generator().manual_seed(0)
        return torch.randint(0, self.vocabulary, (rows, length), generator=draws).to(self.device)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Run the model as it is: in evaluation mode, without gradients, past every open hook."""
        training = self.model.training
        # A tensor made under inference_mode could not be used outside of it.
        with self._without_hooks(), torch.inference_mode(mode=False), torch.no_grad():
            self.model.eval()
            try:
                yield
            finally:
                self.model.train(training)

    def _tap(self, point: str) -> tuple[int, Tap] | None:
        if point in ENDS:
            end = self._ends.get(point)
            return None if end is None else (0, end)
        parts = point.split(".", 2)
        if len(parts) < 3 or parts[0] != "blocks" or not parts[1].isdigit():
            return None
        layer = int(parts[1])
        if layer >= len(self._blocks):
            return None
        tap = self._taps[layer].get(parts[2])
        return None if tap is None else (layer, tap)

    def lacks(self, point: str) -> str | None:
        if self._tap(point) is not None:
            return None
        if point.endswith(("hook_pattern", "hook_attn_scores")):
            return (
                "a plain transformers model keeps no attention patterns; load it with "
                "backend='bridge' or 'hooked'"
            )
        return "nothing in its modules was found to be that"

    def width(self, point: str) -> int | None:
        found = self._tap(point)
        return None if found is None else found[1].width

    def open(self, point: str, hook: Hook) -> Close:
        found = self._tap(point)
        if found is None:
            raise KeyError(point)
        layer, tap = found
        handles = list(self._open(self._blocks[layer], tap, hook))
        self._opened.append(hook)

        def close() -> None:
            for handle in handles:
                handle.remove()
            # By identity: a hook may be opened at several points.
            place = next((n for n, other in enumerate(self._opened) if other is hook), None)
            if place is not None:
                del self._opened[place]

        return close

    def _open(self, block: nn.Module, tap: Tap, hook: Hook) -> Iterator[Any]:
        size: list[tuple[int, int]] = []
        difference: list[Tensor] = []

        def edited(whole: Tensor) -> Tensor | None:
            shaped = whole.unflatten(0, size[-1]) if tap.flat and whole.ndim == 2 else whole
            if tap.shards:
                shaped = gathered(shaped, tap.shards, self._group)
            old = tap.cut.take(shaped)
            new = hook(old)
            if new is None:
                return None
            if tap.carried:
                difference.append(new - old)
            written = tap.cut.put(shaped, new)
            if tap.shards:
                written = own_part(written, tap.shards, self._group)
            return written.reshape(whole.shape)

        if tap.flat:

            def note(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
                given = first_tensor((*inputs, *named.values()))
                if given is not None:
                    size[:] = [(given.shape[0], given.shape[1])]

            note._is_lensloc = True  # type: ignore[attr-defined]
            yield block.register_forward_pre_hook(note, with_kwargs=True, prepend=True)
        if tap.side == "input":
            yield tap.module.register_forward_pre_hook(on_input(edited), with_kwargs=True)
        else:
            yield tap.module.register_forward_hook(on_output(edited))
        if tap.carried:

            def carry(output: Tensor) -> Tensor | None:
                return output + difference.pop().to(output.device) if difference else None

            # Before every other hook there, since the middle comes before the end.
            yield block.register_forward_hook(on_output(carry), prepend=True)

    def watch_tokens(self, look: Callable[[Int[Tensor, "row pos"]], None]) -> Close:
        return watched(embedding_of(self.model), look)

    def unproven(self, layer: int) -> list[str]:
        return [*(f"blocks.{layer}.{name}" for name in self._taps[layer]), *self._ends]

    def open_hooks(self) -> list[Any]:
        return [*self._opened, *self._foreign_hooks()]

    @cached_property
    def _hookable(self) -> list[nn.Module]:
        """The modules of the body: those of the blocks, and what stands before and behind them."""
        return list(self._decoder.modules())

    def _foreign_hooks(self) -> list[Any]:
        """Return hooks on the blocks' modules that were opened past this surface."""
        found = []
        for module in self._hookable:
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                found += [hook for hook in hooks.values() if not hasattr(hook, "_is_lensloc")]
        return found

    @contextlib.contextmanager
    def _without_hooks(self) -> Iterator[None]:
        """Run the model as it is, past every hook on its blocks that is open."""
        kept: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        for module in self._hookable:
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                if hooks:
                    kept.append((hooks, dict(hooks)))
                    hooks.clear()
        try:
            yield
        finally:
            for hooks, content in kept:
                hooks.update(content)

    # -- running -----------------------------------------------------------------------------------

    @cached_property
    def _decoder(self) -> nn.Module:
        """The part of the model that has the blocks and no output layer."""
        decoder = self.model.base_model
        inside = self._blocks and any(self._blocks[0] is part for part in decoder.modules())
        whole: nn.Module = self.model
        return decoder if inside and decoder is not self.model else whole

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        return self.reduced(tokens, points, lambda point, value: value)

    def reduced(
        self,
        tokens: Int[Tensor, "row pos"],
        points: Sequence[str],
        reduce: Callable[[str, Tensor], T],
    ) -> Mapping[str, T]:
        """Reduce values where they pass, so that the memory of one serves the next block."""
        found: dict[str, T] = {}
        last = max((layer_of(point, self.n_layers) for point in points), default=0)
        with contextlib.ExitStack() as stack:
            for point in points:

                def keep(value: Tensor, point: str = point) -> None:
                    found[point] = reduce(point, value)

                stack.callback(self.open(point, keep))
            self._run_to(last, tokens)
        return found

    def _run_to(self, layer: int, tokens: Int[Tensor, "row pos"]) -> None:
        """Run the blocks up to a layer; to the end where modules are moved while they run."""
        moved = any(hasattr(block, "_hf_hook") for block in self._blocks)
        if moved or layer >= len(self._blocks) - 1:
            self.blocks(tokens)
            return

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            raise _Enough

        handle = self._blocks[layer].register_forward_hook(stop)
        try:
            self.blocks(tokens)
        except _Enough:
            pass
        finally:
            handle.remove()

    def blocks(self, tokens: Int[Tensor, "row pos"]) -> Any:
        return self._decoder(input_ids=tokens, use_cache=False)

    def logits(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocabulary"]:
        return self._forward(Inputs(tokens))

    def _forward(
        self, inputs: Inputs, start: Start | None = None
    ) -> Float[Tensor, "row pos vocabulary"]:
        packed = masks_of(inputs, self.dtype)
        with started(self._blocks, start, bool(self._wraps) if start else False):
            found = self.model(input_ids=inputs.tokens, use_cache=False, **packed)
        logits: Tensor | None = getattr(found, "logits", None)
        if logits is None:
            raise LensLocError(_NO_LOGITS.format(self.architecture))
        return logits

    def starts_anywhere(self) -> bool:
        return self._wraps is not None

    @cached_property
    def _wraps(self) -> bool | None:
        """Whether blocks give tuples; None if a pass cannot begin at one of them."""
        tokens = self._probe_tokens(_PROBE[0], min(_PROBE[1], self.window))
        with self._alone():
            return wraps_outputs(self._forward, self._blocks, tokens)

    def longest_packed(self) -> int:
        return self._longest_packed

    @cached_property
    def _longest_packed(self) -> int:
        """Whether masks and positions of one's own are taken is found out by trying."""
        most = min(self.window, earliest(self.config))
        kind = getattr(self.config, "_attn_implementation", None)
        if kind not in MASKABLE or not self.is_causal:
            return 0
        with self._alone():
            right = packs_rightly(self._forward, self.vocabulary, self.device, self._exact)
        return int(most) if right else 0

    @property
    def _exact(self) -> bool:
        return self.dtype in (torch.float32, torch.float64) and not is_quantized(self.model)

    @cached_property
    def _finish(self) -> Callable[[Tensor], Tensor] | None:
        """What the model does to the output layer's numbers; None if that is not known."""
        tokens = self._probe_tokens(1, min(4, self.window))
        with self._alone():
            head = self.model.get_output_embeddings()
            return finishing_of(lambda: self.logits(tokens), head, self.config)

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        start: Start | None = None,
    ) -> tuple[LogitsOf, int]:
        head, finish = self.model.get_output_embeddings(), self._finish
        if finish is None:
            logits = self._forward(inputs, start)
            return picked(logits, rows, positions), int(logits.shape[-1])
        kept: list[Tensor] = []

        def pick(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden = given[0]
            kept.append(hidden[rows.to(hidden.device), positions.to(hidden.device)])
            return (hidden[:1, :1], *given[1:])

        handle = head.register_forward_pre_hook(pick)
        try:
            width = int(self._forward(inputs, start).shape[-1])
        finally:
            handle.remove()
        return lambda span: finish(head(kept[0][span])), width

    def write(
        self, prompts: Sequence[Sequence[int]], how: Decoding, watch: Watch
    ) -> list[list[int]]:
        tokens = torch.tensor([list(ids) for ids in prompts], device=self.device)
        end = self.tokenizer.eos_token_id
        drawn = {"temperature": how.temperature, "top_k": 0} if how.temperature > 0 else {}
        settings = GenerationConfig(
            max_new_tokens=how.max_new_tokens,
            min_new_tokens=how.min_new_tokens or None,
            do_sample=how.temperature > 0,
            repetition_penalty=how.repetition_penalty,
            eos_token_id=end,
            pad_token_id=0 if end is None else end,
            **drawn,
        )

        def look(ids: Tensor, scores: Tensor) -> Tensor:
            n_written = ids.shape[1] - tokens.shape[1]
            watch(scores, range(len(prompts)), [n_written] * len(prompts))
            return scores

        written = self.model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=settings,
            logits_processor=LogitsProcessorList([look]),
        )
        found: list[list[int]] = written[:, tokens.shape[1] :].tolist()
        return found

    def writes_side_by_side(self) -> bool:
        return False


class _Enough(Exception):
    """Ends a forward pass whose rest nobody asked for."""

"""What lensloc asks of a model, whatever kind it is: one Protocol, and one adapter per kind.

Hook points have TransformerLens' names everywhere (``blocks.3.mlp.hook_post``), and the values that
pass them its layout: ``[batch, pos, width]``, or ``[batch, pos, head, d_head]`` where heads are.
What users hold stays the library's own object; functions ask
:func:`lensloc.models.adapting.surface` for this.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

T = TypeVar("T")

Kind = Literal["hooked", "bridge", "transformers", "module"]
KINDS: tuple[str, ...] = get_args(Kind)

Model: TypeAlias = nn.Module
"""What users hold: a HookedTransformer, a TransformerBridge, a model of transformers, or a
module of their own, wrapped."""

Hook = Callable[[Tensor], Tensor | None]
"""Gets the value that passes a hook point; what it returns, if anything, takes its place."""

NO_SUCH_POINT = "it has no such hook point"

Close = Callable[[], None]
LogitsOf = Callable[[slice], Float[Tensor, "span vocabulary"]]
Watch = Callable[[Float[Tensor, "row vocabulary"], Sequence[int], Sequence[int]], None]
"""Gets the logits of next tokens; of each row, which prompt it is and how much is written of it."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen, and when writing ends.

    Attributes:
        max_new_tokens: most tokens to write.
        temperature: 0 takes the most probable token every time; above 0 tokens are drawn.
        repetition_penalty: what logits of tokens that are there already are divided by if positive
            and multiplied by if negative (Keskar et al. 2019); 1 for none.
        stops: texts at which writing ends.
        seed: of the draws.
        min_new_tokens: so many tokens are written before an end-of-text token may be.
    """

    max_new_tokens: int
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    stops: tuple[str, ...] = ()
    seed: int = 0
    min_new_tokens: int = 0


@dataclass(frozen=True)
class Inputs:
    """Rows of tokens that are run together.

    Attributes:
        tokens: ``[row, pos]``; texts that are padded on the right, or several texts per row.
        positions: where there are several texts per row, every token's position in its own; those
            of neighbours differ.
        sees: where there are several texts per row, whether a token (query) may attend to another
            one (key): itself and those before it in its own text.
    """

    tokens: Int[Tensor, "row pos"]
    positions: Int[Tensor, "row pos"] | None = None
    sees: Bool[Tensor, "row query key"] | None = None

    def repeated(self, times: int) -> "Inputs":
        """Return all rows, and all of them again, so many times."""
        return Inputs(
            _repeated(self.tokens, times),
            None if self.positions is None else _repeated(self.positions, times),
            None if self.sees is None else _repeated(self.sees, times),
        )


@dataclass(frozen=True)
class Start:
    """Where a forward pass begins, instead of at the tokens.

    Attributes:
        layer: the first block that is run, at least 1.
        residual: ``[row, pos, d_model]``, what the block before it gives, before hooks there.
    """

    layer: int
    residual: Float[Tensor, "row pos d_model"]

    def repeated(self, times: int) -> "Start":
        """Return the start of rows that are repeated; of a single row without a copy of it."""
        return Start(self.layer, _repeated(self.residual, times))


def _repeated(rows: Tensor, times: int) -> Tensor:
    if times == 1:
        return rows
    return rows.expand(times, *rows.shape).flatten(0, 1)


class Attached:
    """What is kept on a model itself, and not copied or pickled with it."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _nothing, ()


def _nothing() -> None:
    return None


@runtime_checkable
class Surface(Protocol):
    """A model as lensloc sees it. Adapters are cheap; weights are never copied or changed.

    Attributes:
        model: the library's own object.
        kind: which adapter this is.
    """

    model: Any
    kind: Kind

    @property
    def name(self) -> str:
        """What the model's own configuration calls it; may be empty."""
        ...

    @property
    def architecture(self) -> str:
        """The class that transformers gives it, as far as that is known."""
        ...

    @property
    def processing(self) -> str:
        """How its weights were changed after training, in words; ``raw`` or ``as given`` if not."""
        ...

    @property
    def config(self) -> Any:
        """The configuration that decides what it computes."""
        ...

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, or None."""
        ...

    @property
    def prepends_bos(self) -> bool:
        """Whether a beginning-of-text token stands before every text, by the model's settings."""
        ...

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def n_heads(self) -> int:
        """Attention heads per layer; 1 where there are none."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many tokens the embedding knows."""
        ...

    @property
    def window(self) -> int:
        """Most tokens of a text."""
        ...

    @property
    def is_causal(self) -> bool:
        """Whether no token sees what stands behind it."""
        ...

    @property
    def steady_length(self) -> float:
        """Up to how many tokens the length of what is read changes nothing by itself."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tokens go."""
        ...

    @property
    def takes_tokens(self) -> bool:
        """Whether it is run on tokens and gives logits; a wrapped module is not."""
        return True

    # -- hook points -------------------------------------------------------------------------------

    @property
    def own_sites(self) -> Mapping[str, str]:
        """Sites of its own: name -> what a unit is; empty where sites have general names."""
        return {}

    def n_layers_at(self, site: str) -> int:
        """Return the number of layers of a site."""
        return self.n_layers

    def widths(self, site: str) -> tuple[int, ...] | None:
        """Return how many units each layer of one of its own sites has, where that is known."""
        return None

    def lacks(self, point: str) -> str | None:
        """Say why the model has no such hook point, as the end of a sentence; None if it has."""
        ...

    def width(self, point: str) -> int | None:
        """Return how many numbers a token has there, heads flattened; None if that is not known."""
        ...

    def open(self, point: str, hook: Hook) -> Close:
        """Let a function see, or replace, what passes a hook point, until the result is called.

        Hooks of a point run in the order in which they were opened, each on what the one before
        left. They survive whatever runs the model meanwhile. What is written at a hook point is
        what all of the model behind it reads.
        """
        ...

    def watch_tokens(self, look: Callable[[Int[Tensor, "row pos"]], None]) -> Close:
        """Let a function see the tokens of every pass, before they are run, until the result is
        called.
        """
        ...

    def unproven(self, layer: int) -> list[str]:
        """Return the hook points of a layer that are to be tried when the model is checked."""
        ...

    def open_hooks(self) -> list[Any]:
        """Return the functions that are open on the forward pass, by whomever they were opened."""
        ...

    # -- running -----------------------------------------------------------------------------------

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        """Run the model once and return what passed these hook points.

        Nothing behind the last of them is computed, as far as the model can stop there. A point
        that was not passed is missing from the result.
        """
        ...

    def reduced(
        self,
        tokens: Int[Tensor, "row pos"],
        points: Sequence[str],
        reduce: Callable[[str, Tensor], T],
    ) -> Mapping[str, T]:
        """Do what :meth:`capture` does, and keep only what is made of each value.

        Args:
            tokens: token ids.
            points: hook points.
            reduce: gets a hook point and what passed it.
        """
        return {name: reduce(name, value) for name, value in self.capture(tokens, points).items()}

    def blocks(self, tokens: Int[Tensor, "row pos"]) -> None:
        """Run the blocks, for the hooks that are open, without computing logits where it can."""
        ...

    def logits(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocabulary"]:
        """Run the model and return all its logits."""
        ...

    @property
    def is_sharded(self) -> bool:
        """Whether the model's weights lie in several processes, all of which run every batch."""
        return False

    def longest_packed(self) -> int:
        """Return most tokens of a row of several texts, each read as if alone; 0 if none may be."""
        ...

    def starts_anywhere(self) -> bool:
        """Say whether :meth:`picked_logits` can begin at any block, and nothing changes by that."""
        return False

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        start: Start | None = None,
    ) -> tuple[LogitsOf, int]:
        """Run the model; return what gives the logits at some places, and their width.

        Args:
            inputs: the tokens.
            rows: of every place.
            positions: of every place, in its row.
            start: where to begin, if :meth:`starts_anywhere`; hooks before it see nothing, but for
                those at the output of the block before it.
        """
        ...

    def write(
        self, prompts: Sequence[Sequence[int]], how: Decoding, watch: Watch
    ) -> list[list[int]]:
        """Return the tokens with which the model continues prompts, end of text included.

        The prompts are of one length unless :meth:`writes_side_by_side`. ``watch`` sees the logits
        before a token is chosen by them.
        """
        ...

    def writes_side_by_side(self) -> bool:
        """Say whether prompts of different lengths can be continued together."""
        ...


def watched(embedding: nn.Module, look: Callable[[Int[Tensor, "row pos"]], None]) -> Close:
    """Let a function see what an embedding is asked for: whatever runs a model, asks it first."""

    def see(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)]
        if given:
            look(given[0])

    see._is_lensloc = True  # type: ignore[attr-defined]
    handle = embedding.register_forward_pre_hook(see, with_kwargs=True)
    close: Close = handle.remove
    return close


def picked(
    logits: Float[Tensor, "row pos vocabulary"],
    rows: Int[Tensor, " picked"],
    positions: Int[Tensor, " picked"],
) -> LogitsOf:
    """Return what gives logits at some places, wherever they and the places lie."""
    rows, positions = rows.to(logits.device), positions.to(logits.device)
    return lambda span: logits[rows[span], positions[span]]


@contextlib.contextmanager
def opened(surface: Surface, hooks: Iterable[tuple[str, Hook]]) -> Iterator[None]:
    """Open hooks for a while: pairs of a hook point and a function; these and no others close."""
    with contextlib.ExitStack() as stack:
        for point, hook in hooks:
            stack.callback(surface.open(point, hook))
        yield

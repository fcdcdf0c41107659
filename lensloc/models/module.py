"""Any torch module as a surface: sites are inputs or outputs of its own modules."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lensloc.errors import LensLocError
from lensloc.models.evaluation import evaluating
from lensloc.models.inputs import (
    Input,
    batch_of,
    called,
    moved,
    n_rows,
    outputs,
    rows_of,
    signature,
)
from lensloc.models.memory import is_out_of_memory
from lensloc.models.module_sites import (
    ModuleSite,
    from_places,
    modules_of,
    part_of,
    pooled,
    to_places,
    with_part,
)
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
    Watch,
)
from lensloc.vocabulary import PlacePooling

log = logging.getLogger(__name__)

# Stimuli that the module is checked and lesions are probed with.
_EXAMPLES = 4


class OfModule(Attached, Surface):
    """The surface of a wrapped module.

    Hook points are ``{site}.{layer}``; what passes them has the layout ``[batch, place, unit]``.

    Attributes:
        model: the wrapped module, a :class:`lensloc.Wrapped`.
    """

    kind: Kind = "module"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._modules = {
            name: list(modules_of(name, site, model.module).items())
            for name, site in model.sites.items()
        }
        self._opened: list[Hook] = []
        self._widths: dict[str, tuple[int, ...]] = {}
        self._sizes: dict[str, int] = {}
        self._example: Input | None = None

    # -- what it is --------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        structure = repr(self.model.module)
        return SimpleNamespace(structure=structure, reading=self.model.reader.identity)

    @property
    def name(self) -> str:
        return str(self.model.name)

    @property
    def architecture(self) -> str:
        return type(self.model.module).__name__

    @property
    def processing(self) -> str:
        return "raw"

    @property
    def tokenizer(self) -> Any:
        return None

    @property
    def takes_tokens(self) -> bool:
        return False

    @property
    def prepends_bos(self) -> bool:
        return False

    @property
    def n_layers(self) -> int:
        return max(len(modules) for modules in self._modules.values())

    @property
    def n_heads(self) -> int:
        return 1

    @property
    def d_model(self) -> int:
        return max((width for found in self._widths.values() for width in found), default=1)

    @property
    def vocabulary(self) -> int:
        return 0

    @property
    def window(self) -> int:
        return 2**31

    @property
    def is_causal(self) -> bool:
        return False

    @property
    def steady_length(self) -> float:
        return float("inf")

    @property
    def dtype(self) -> torch.dtype:
        numbers = (*self.model.module.parameters(), *self.model.module.buffers())
        return next((n.dtype for n in numbers if n.is_floating_point()), torch.float32)

    @property
    def device(self) -> torch.device:
        numbers = (*self.model.module.parameters(), *self.model.module.buffers())
        return next((n.device for n in numbers), torch.device("cpu"))

    # -- sites -------------------------------------------------------------------------------------

    @property
    def own_sites(self) -> Mapping[str, str]:
        return {name: site.in_words for name, site in self.model.sites.items()}

    def n_layers_at(self, site: str) -> int:
        return len(self._modules[site])

    def widths(self, site: str) -> tuple[int, ...] | None:
        return self._widths.get(site)

    def _at(self, point: str) -> tuple[ModuleSite, str, nn.Module] | None:
        name, _, layer = point.rpartition(".")
        modules = self._modules.get(name)
        if modules is None or not layer.isdigit() or int(layer) >= len(modules):
            return None
        return (self.model.sites[name], *modules[int(layer)])

    def lacks(self, point: str) -> str | None:
        return None if self._at(point) else "it was wrapped without"

    def width(self, point: str) -> int | None:
        name, _, layer = point.rpartition(".")
        known = self._widths.get(name)
        return known[int(layer)] if known and layer.isdigit() and int(layer) < len(known) else None

    def open(self, point: str, hook: Hook) -> Close:
        found = self._at(point)
        if found is None:
            raise KeyError(point)
        site = found[0]

        def edited(value: Tensor) -> Tensor | None:
            new = hook(to_places(site, value))
            return None if new is None else from_places(site, new, value)

        handle = self._open(point, edited)
        self._opened.append(hook)

        def close() -> None:
            handle.remove()
            place = next((n for n, other in enumerate(self._opened) if other is hook), None)
            if place is not None:
                del self._opened[place]

        return close

    def _open(self, point: str, edit: Hook) -> Any:
        """Open a function on what passes, in its own axes."""
        found = self._at(point)
        assert found is not None
        site, path, module = found

        def passing(value: Any) -> tuple[Tensor, Tensor | None]:
            tensor = part_of(value, site.part)
            if tensor is None:
                which = "a tensor of numbers with a fraction"
                if site.part is not None:
                    which += f" as its part {site.part!r}"
                raise LensLocError(
                    f"The {site.side} of the module {path!r} (site {point.rpartition('.')[0]!r}) "
                    f"is of type {type(value).__name__} and holds no {which[2:]}; name another "
                    "module, side or part."
                )
            if tensor.ndim < 2:
                raise LensLocError(
                    f"The {site.side} of the module {path!r} has the shape {tuple(tensor.shape)}, "
                    "without an axis of units behind that of the batch; name another module."
                )
            return tensor, edit(tensor)

        if site.side == "output":

            def on_output(module: nn.Module, inputs: Any, value: Any) -> Any:
                old, new = passing(value)
                return None if new is None else with_part(value, old, new)

            on_output._is_lensloc = True  # type: ignore[attr-defined]
            return module.register_forward_hook(on_output)

        def on_input(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            keyed = isinstance(site.part, str)
            old, new = passing(named if keyed or not inputs else inputs)
            if new is None:
                return None
            if keyed or not inputs:
                return inputs, with_part(dict(named), old, new)
            return with_part(inputs, old, new), named

        on_input._is_lensloc = True  # type: ignore[attr-defined]
        return module.register_forward_pre_hook(on_input, with_kwargs=True)

    def unproven(self, layer: int) -> list[str]:
        return [f"{name}.{min(layer, len(modules) - 1)}" for name, modules in self._modules.items()]

    def open_hooks(self) -> list[Any]:
        foreign = []
        for part in self.model.module.modules():
            for hooks in (part._forward_hooks, part._forward_pre_hooks):
                foreign += [
                    hook
                    for hook in hooks.values()
                    if not hasattr(hook, "_is_lensloc")
                    # Of norms of weights, which belong to the model.
                    and not type(hook).__module__.startswith("torch.nn.utils")
                ]
        return [*self._opened, *foreign]

    # -- running -----------------------------------------------------------------------------------

    def read(self, stimulus: str) -> Input:
        """Return a stimulus as the module takes it, without the axis of the batch."""
        return self.model.reader(stimulus)

    def call(self, batch: Input) -> Any:
        """Call the module with a batch, moved to where it is.

        Raises:
            LensLocError: if it cannot be called with that.
        """
        try:
            return called(self.model.module, moved(batch, self.device, self.dtype))
        except LensLocError:  # of a hook
            raise
        except (TypeError, ValueError, IndexError, RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            shapes = " and ".join(map(str, signature(batch)))
            raise LensLocError(
                f"{self.name} cannot be called with a batch of {shapes} ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else ''}); preprocess makes of a "
                "stimulus what the module takes, without the axis of the batch."
            ) from error

    def pooled(
        self, batch: Input, wanted: Mapping[str, PlacePooling | None]
    ) -> dict[str, list[Float[Tensor, "row unit"]]]:
        """Run a batch and return the pooled responses of every layer of some sites.

        Args:
            batch: inputs, with the axis of the batch.
            wanted: site -> pooling, None for the site's own.

        Raises:
            LensLocError: a module that is not called just once; numbers of units that differ from
                those of stimuli before; an output that has no row per stimulus.
        """
        rows = n_rows(batch)
        found: dict[str, list[Tensor]] = {}

        def keep(point: str, site: ModuleSite, pooling: PlacePooling) -> Hook:
            def hook(value: Tensor) -> None:
                if len(value) != rows:
                    raise LensLocError(
                        f"The {site.place} has {len(value)} rows for {rows} stimuli "
                        f"(site {point.rpartition('.')[0]!r}, shape {tuple(value.shape)}); name "
                        "modules whose first axis is the batch."
                    )
                self._sizes[point] = value[0].numel()
                # Here and now: what comes behind may change the tensor in place.
                found.setdefault(point, []).append(pooled(site, value, pooling))

            return hook

        with contextlib.ExitStack() as stack:
            for name, pooling in wanted.items():
                site = self.model.sites[name]
                for layer in range(self.n_layers_at(name)):
                    point = f"{name}.{layer}"
                    handle = self._open(point, keep(point, site, pooling or site.pooling))
                    stack.callback(handle.remove)
            self.call(batch)
        result = {}
        for name in wanted:
            layers = []
            for layer, (path, _) in enumerate(self._modules[name]):
                passed = found.get(f"{name}.{layer}", [])
                if len(passed) != 1:
                    times = "never" if not passed else f"{len(passed)} times"
                    raise LensLocError(
                        f"The module {path!r} (site {name!r}) is called {times} in a pass, so its "
                        f"{self.model.sites[name].side} is no single layer; name modules that are "
                        "called once."
                    )
                layers.append(passed[0])
            self._require_widths(name, tuple(layer.shape[1] for layer in layers))
            result[name] = layers
        return result

    def _require_widths(self, name: str, widths: tuple[int, ...]) -> None:
        if name.startswith("resid_") and len(set(widths)) > 1:
            raise LensLocError(
                f"The layers of the site {name!r} have {min(widths)} to {max(widths)} units, but "
                "dimensions of a residual stream are the same in all; give the site another name."
            )
        known = self._widths.setdefault(name, widths)
        if known != widths:
            layer = next(n for n, pair in enumerate(zip(known, widths, strict=True)) if
                         pair[0] != pair[1])  # fmt: skip
            raise LensLocError(
                f"Stimuli give different numbers of units at {name}, layer {layer} "
                f"({known[layer]} and {widths[layer]}); make them alike in preprocess, or let "
                "channels be units."
            )

    def numbers_a_stimulus(self, site: str) -> list[int]:
        """Return how many numbers pass each hook point of a site for one stimulus."""
        return [self._sizes.get(f"{site}.{layer}", 0) for layer in range(self.n_layers_at(site))]

    # -- a few inputs, to check and to probe with --------------------------------------------------

    @property
    def has_example(self) -> bool:
        return self._example is not None

    def use_example(self, batch: Input) -> None:
        """Keep a few rows of a batch, and learn from it how wide every layer is.

        Raises:
            LensLocError: as :meth:`pooled`.
        """
        rows = rows_of(batch, slice(0, _EXAMPLES))
        with self.alone():
            self.pooled(rows, dict.fromkeys(self.model.sites))
        self._example = rows

    def learn_from(self, stimuli: Sequence[str]) -> None:
        """Take the first of some stimuli as examples, if there are none yet."""
        if self._example is not None or not stimuli:
            return
        inputs = [self.read(stimulus) for stimulus in stimuli[:_EXAMPLES]]
        alike = [given for given in inputs if signature(given) == signature(inputs[0])]
        self.use_example(batch_of(alike))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Run the module in evaluation mode, without gradients."""
        with evaluating(self.model), torch.no_grad():
            yield

    def probe(self, *, one_by_one: bool = False) -> Float[Tensor, "row number"] | None:
        """Return all that the module gives for the examples; None if there are none."""
        if self._example is None:
            return None
        rows = n_rows(self._example)
        parts = [slice(row, row + 1) for row in range(rows)] if one_by_one else [slice(0, rows)]
        with self.alone():
            found = []
            for part in parts:
                batch = rows_of(self._example, part)
                found.append(outputs(self.call(batch), n_rows(batch)))
        return torch.cat(found)

    # -- what only a language model does -----------------------------------------------------------

    def _refuse(self, what: str) -> NoReturn:
        raise LensLocError(
            f"{self.name} is a wrapped module, which {what}; load a language model with "
            "ll.load_model for that."
        )

    def capture(
        self, tokens: Int[Tensor, "row pos"], points: Sequence[str]
    ) -> Mapping[str, Tensor]:
        self._refuse("is not run on tokens")

    def blocks(self, tokens: Int[Tensor, "row pos"]) -> None:
        self._refuse("is not run on tokens")

    def logits(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocabulary"]:
        self._refuse("gives no logits of tokens")

    def longest_packed(self) -> int:
        return 0

    def picked_logits(
        self,
        inputs: Inputs,
        rows: Int[Tensor, " picked"],
        positions: Int[Tensor, " picked"],
        start: Start | None = None,
    ) -> tuple[LogitsOf, int]:
        self._refuse("gives no logits of tokens")

    def write(
        self, prompts: Sequence[Sequence[int]], how: Decoding, watch: Watch
    ) -> list[list[int]]:
        self._refuse("writes no text")

    def writes_side_by_side(self) -> bool:
        return False

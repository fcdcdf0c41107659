"""Stimuli through a wrapped module: inputs of one shape run together, and nothing is padded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize, require_batch_size, run_batches
from lensloc.forward.memory import Budget, rows_at_once
from lensloc.forward.sites import Site, sites_of
from lensloc.models.adapting import crew_of, surface
from lensloc.models.inputs import Input, batch_of, signature
from lensloc.models.module import OfModule
from lensloc.models.surface import Model
from lensloc.units.ragged import Widths, stacked
from lensloc.units.stimuli import Stimulus
from lensloc.vocabulary import PLACE_POOLINGS, PlacePooling

# Stimuli at once, at most; and memory for what passes the sites of a batch.
_ROWS_ON_CPU = 32
_BUDGET = Budget(on_cpu=2**30, share=0.25)
# What passes between the sites is unknown, and taken to be so many times as much.
_BETWEEN = 4
# On a CPU, of one layer's output: what is larger is fetched from the system anew by every layer,
# which takes longer than the layer itself. What blocks hold within is several times as large.
_LAYER_BYTES_ON_CPU = 2**22

Take = Callable[[list[int], Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class ModuleRunner:
    """Runs stimuli through a wrapped module and pools what passes its sites.

    Attributes:
        model: the wrapped module.
        sites: where.
        pooling: over places; None for each site's own.
    """

    model: Model
    sites: tuple[Site, ...]
    pooling: PlacePooling | None

    @classmethod
    def of(cls, model: Model, sites: Sequence[str], pooling: str | None) -> "ModuleRunner":
        """Check sites and pooling.

        Raises:
            LensLocError: unknown ones.
        """
        return cls(model, tuple(sites_of(sites, model)), place_pooling(pooling))

    @property
    def _seen(self) -> OfModule:
        seen = surface(self.model)
        assert isinstance(seen, OfModule)
        return seen

    def widths(self, site: str) -> Widths:
        """Return the units of every layer of a site, where layers differ; known after a run."""
        found = self._seen.widths(site)
        return None if found is None or len(set(found)) == 1 else found

    def run(
        self, stimuli: Sequence[str], take: Take, batch_size: BatchSize, progress: bool
    ) -> None:
        """Run all stimuli; ``take`` gets the rows of each batch and what was pooled of them.

        Raises:
            LensLocError: a stimulus that cannot be read; a response that is no number.
        """
        require_batch_size(batch_size)
        if not stimuli:
            raise LensLocError("There are no stimuli to run; give some.")
        seen = self._seen
        seen.model.reader.require_one_size(stimuli)
        seen.learn_from(stimuli)
        ready: dict[int, Input] = {}

        def run_batch(rows: list[int]) -> None:
            # Pictures are read when their turn comes, since all of them may not fit in memory.
            inputs = {row: ready[row] if row in ready else seen.read(stimuli[row]) for row in rows}
            alike: dict[object, list[int]] = {}
            for row, given in inputs.items():
                alike.setdefault(signature(given), []).append(row)
            found = []
            for group in alike.values():
                pooled = self._pooled(batch_of([inputs[row] for row in group]))
                self._require_finite(pooled, group, stimuli)
                found.append((group, pooled))
            for group, pooled in found:
                take(group, pooled)

        order = list(range(len(stimuli)))
        if not any(isinstance(stimulus, Stimulus) for stimulus in stimuli):
            # Texts are short: all are read at once, so that those of one length run together.
            ready |= {row: seen.read(stimulus) for row, stimulus in enumerate(stimuli)}
            order.sort(key=lambda row: str(signature(ready[row])))
        # Free memory differs from rank to rank, and batches must not.
        size = self._rows_at_once() if batch_size == "auto" else batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        own = crew_of(self.model).mine(batches)
        run_batches(self.model, own, run_batch, progress=progress, description="stimuli")

    def _rows_at_once(self) -> int:
        seen = self._seen
        on_cpu = seen.device.type == "cpu"
        sizes = [seen.numbers_a_stimulus(site.name) for site in self.sites]
        size = seen.dtype.itemsize
        most = rows_at_once(
            self.model,
            on_cpu=_ROWS_ON_CPU,
            bytes_a_row=sum(map(sum, sizes)) * size * (1 if on_cpu else _BETWEEN),
            budget=_BUDGET,
        )
        if on_cpu:
            most = min(most, _LAYER_BYTES_ON_CPU // max(1, max(map(max, sizes)) * size))
        return max(1, most)

    def _pooled(self, batch: Input) -> dict[str, Float[Tensor, "row layer unit"]]:
        wanted = {site.name: self.pooling for site in self.sites}
        return {name: stacked(layers) for name, layers in self._seen.pooled(batch, wanted).items()}

    def _require_finite(
        self, pooled: Mapping[str, Tensor], rows: Sequence[int], stimuli: Sequence[str]
    ) -> None:
        for name, values in pooled.items():
            widths = self._seen.widths(name) or ()
            for layer, width in enumerate(widths):
                wrong = (~torch.isfinite(values[:, layer, :width])).nonzero().tolist()
                if wrong:
                    place, unit = wrong[0]
                    raise LensLocError(
                        f"The activation L{layer}.{name}.{unit} is "
                        f"{values[place, layer, unit].item()} for {stimuli[rows[place]]!r}; leave "
                        "the stimulus out, or run the module in float32."
                    )


def place_pooling(pooling: str | None) -> PlacePooling | None:
    """Return a pooling over places.

    Raises:
        LensLocError: if it is none.
    """
    pooling = pooling or None  # elements are not pooled, and results of them say so
    if pooling is not None and pooling not in PLACE_POOLINGS:
        raise LensLocError(
            f"There is no pooling {pooling!r} of a wrapped module; there are "
            f"{', '.join(PLACE_POOLINGS)}."
        )
    return cast("PlacePooling | None", pooling)

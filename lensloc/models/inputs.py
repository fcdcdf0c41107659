"""Stimulus -> what a wrapped module is called with: preprocessing, and batches of one shape."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from lensloc.errors import LensLocError
from lensloc.models.identity_words import described
from lensloc.models.pictures_read import Prepared
from lensloc.units.stimuli import Stimulus

Input: TypeAlias = Any
"""A tensor, a tuple of positional arguments, or a mapping of named ones."""

Preprocess = Callable[..., Any]

# transformers' own, known by an ancestor's name: they take keywords, and give batches of one.
_PROCESSORS = {
    "ImageProcessingMixin": "images",
    "BaseImageProcessor": "images",
    "ProcessorMixin": "",
    "FeatureExtractionMixin": "raw_speech",
    "PreTrainedTokenizerBase": "text",
}


class Reader:
    """Makes of a stimulus what a module is called with.

    Attributes:
        preprocess: what was given for that; None if stimuli go in as they are.
    """

    def __init__(self, preprocess: Preprocess | None, module: nn.Module) -> None:
        """Take what the user gave.

        Raises:
            LensLocError: if it cannot be called.
        """
        if preprocess is not None and not callable(preprocess):
            raise LensLocError(
                "preprocess is called with a stimulus and returns what the module takes, without "
                f"the axis of the batch; something of type {type(preprocess).__name__} cannot be "
                "called."
            )
        self.preprocess = preprocess
        ancestors = {kind.__name__ for kind in type(preprocess).__mro__}
        found = [argument for name, argument in _PROCESSORS.items() if name in ancestors]
        self._argument = found[0] if found else None
        self._takes_pictures = isinstance(preprocess, Prepared) or self._argument == "images"
        self._grey = _first_channels(module) == 1

    @property
    def identity(self) -> str:
        """What tells two ways to read apart, as far as it can be told."""
        return "" if self.preprocess is None else described(self.preprocess)

    def __call__(self, stimulus: str) -> Input:
        """Return a stimulus as the module takes it, without the axis of the batch; on the CPU.

        Raises:
            LensLocError: a stimulus that cannot be read, or that preprocessing refuses; it is
                named.
        """
        if self.preprocess is None:
            return self._as_it_is(stimulus)
        content = stimulus.load() if isinstance(stimulus, Stimulus) else stimulus
        is_picture = isinstance(stimulus, Stimulus) and stimulus.kind == "image"
        if self._takes_pictures and not is_picture:
            what = (
                repr(stimulus) if isinstance(stimulus, Stimulus) else f"a text ({stimulus[:40]!r})"
            )
            raise LensLocError(
                f"This model reads pictures, and {what} is none; make the contrast with "
                "ll.Contrast.from_images, or take ll.contrasts.faces()."
            )
        try:
            if self._argument is None:
                return _tensors(self.preprocess(content))
            rate = stimulus.rate if isinstance(stimulus, Stimulus) else None
            named = {"sampling_rate": rate} if rate is not None else {}
            argument = self._argument or ("text" if isinstance(content, str) else "images")
            made = self.preprocess(**{argument: content}, return_tensors="pt", **named)
            return {name: value[0] for name, value in _tensors(dict(made)).items()}
        except LensLocError:
            raise
        except Exception as error:
            raise LensLocError(
                f"preprocess fails for {stimulus!r}: {type(error).__name__}: {error}"
            ) from error

    def _as_it_is(self, stimulus: str) -> Input:
        if not isinstance(stimulus, Stimulus):
            raise LensLocError(
                f"The stimuli are texts ({stimulus[:40]!r}), and the module was wrapped without "
                "preprocess, which makes numbers of them; give a tokenizer, or a function."
            )
        content = stimulus.load()
        if stimulus.kind == "image":
            content = content.convert("L" if self._grey else "RGB")
            pixels = torch.from_numpy(np.array(content, dtype=np.float32) / 255)
            return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return _tensors(content)

    def require_one_size(self, stimuli: Sequence[str]) -> None:
        """Check that stimuli that go in as they are have one size.

        Raises:
            LensLocError: naming two that have not.
        """
        if self.preprocess is not None:
            return
        first: Stimulus | None = None
        for stimulus in stimuli:
            if not isinstance(stimulus, Stimulus):
                continue
            size = _size(stimulus)
            if first is not None and size != _size(first):
                raise LensLocError(
                    f"The {stimulus.kind}s differ in size ({first.name}: {_shown(_size(first))}; "
                    f"{stimulus.name}: {_shown(size)}); wrap the module with preprocess, a "
                    "function that makes them alike."
                )
            first = first or stimulus


def _size(stimulus: Stimulus) -> tuple[int, ...]:
    return stimulus.shape[:2] if stimulus.kind == "image" else stimulus.shape


def _shown(size: Sequence[int]) -> str:
    return "x".join(map(str, size)) or "one number"


def _first_channels(module: nn.Module) -> int | None:
    """Return how many channels the first convolution over pictures takes."""
    convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    return None if first is None else first.in_channels


def _tensors(value: Any) -> Any:
    """Return arrays as tensors, in tuples and mappings too."""
    if isinstance(value, Mapping):
        return {str(key): _tensors(each) for key, each in value.items() if each is not None}
    if isinstance(value, tuple):
        return tuple(_tensors(each) for each in value)
    if isinstance(value, Tensor):
        return value.detach()
    return torch.as_tensor(np.asarray(value))


def leaves(given: Input) -> list[Tensor]:
    """Return the tensors of an input, in order."""
    if isinstance(given, Tensor):
        return [given]
    parts = given.values() if isinstance(given, Mapping) else given
    return [leaf for part in parts for leaf in leaves(part)]


def as_example(given: Any) -> Input:
    """Return a batch that a user gave, as the module is called with it.

    Raises:
        LensLocError: something that is no tensor, nor a tuple or mapping of some; tensors without
            a row.
    """
    batch = _of_tensors(given)
    found = leaves(batch)
    if not found or any(leaf.ndim == 0 for leaf in found) or len(found[0]) == 0:
        raise LensLocError(
            "example is a batch, whose first axis are stimuli, and this one holds none; give one "
            "stimulus at least."
        )
    return batch


def _of_tensors(given: Any) -> Input:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Mapping):
        return {str(name): _of_tensors(part) for name, part in given.items() if part is not None}
    if isinstance(given, tuple | list):
        return tuple(_of_tensors(part) for part in given)
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return torch.as_tensor(given)
    raise LensLocError(
        "example is a batch that the module can be called with (a tensor, a tuple of arguments or "
        f"a mapping of named ones); something of type {type(given).__name__} is no tensor."
    )


def signature(given: Input) -> tuple[Any, ...]:
    """Return what inputs of one batch have in common: names and shapes."""
    names = tuple(given) if isinstance(given, Mapping) else ()
    return (*names, *(tuple(leaf.shape) for leaf in leaves(given)))


def batch_of(inputs: Sequence[Input]) -> Input:
    """Put inputs of one signature together, along a new first axis."""
    first = inputs[0]
    if isinstance(first, Mapping):
        return {name: batch_of([given[name] for given in inputs]) for name in first}
    if isinstance(first, tuple):
        return tuple(batch_of([given[at] for given in inputs]) for at in range(len(first)))
    return torch.stack(list(inputs))


def rows_of(batch: Input, rows: slice) -> Input:
    """Return some rows of a batch."""
    if isinstance(batch, Mapping):
        return {name: rows_of(part, rows) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(rows_of(part, rows) for part in batch)
    return batch[rows]


def n_rows(batch: Input) -> int:
    """Return how many rows a batch has."""
    return len(leaves(batch)[0])


def moved(batch: Input, device: torch.device, dtype: torch.dtype) -> Input:
    """Return a batch where the module is; numbers with a fraction in its dtype."""
    if isinstance(batch, Mapping):
        return {name: moved(part, device, dtype) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(moved(part, device, dtype) for part in batch)
    return batch.to(device, dtype if batch.is_floating_point() else None)


def called(module: nn.Module, batch: Input) -> Any:
    """Call a module with a batch."""
    if isinstance(batch, Mapping):
        return module(**batch)
    return module(*batch) if isinstance(batch, tuple) else module(batch)


def outputs(value: Any, rows: int) -> Tensor:
    """Return all numbers with a fraction that a module gave, ``[row, number]``, float64."""
    found: list[Tensor] = []

    def collect(each: Any) -> None:
        if isinstance(each, Tensor):
            if each.is_floating_point() and each.ndim and len(each) == rows:
                found.append(each.detach().cpu().double().reshape(rows, -1))
        elif isinstance(each, Mapping):
            for part in each.values():
                collect(part)
        elif isinstance(each, list | tuple):
            for part in each:
                collect(part)

    collect(value)
    return torch.cat(found, dim=1) if found else torch.zeros(rows, 0, dtype=torch.float64)

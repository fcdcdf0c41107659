"""A module of one's own -> a model with sites."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.block_sites import block_sites, layers_of_longest_list
from lensloc.models.inputs import Preprocess, Reader, as_example
from lensloc.models.module import OfModule
from lensloc.models.module_sites import Layout, ModuleSite, Side, Unit, checked_sites, modules_of
from lensloc.vocabulary import PlacePooling

_MOST_NAMED = 40


class Wrapped(nn.Module):
    """A module of one's own with sites; made by :func:`lensloc.wrap`.

    Called, it calls the module. What is done to it (lesions) acts on calls of the module itself.

    Attributes:
        module: the module; never copied or changed.
        sites: name of a site -> where its units are.
        name: what results call the model.
    """

    def __init__(
        self, module: nn.Module, sites: Mapping[str, ModuleSite], reader: Reader, name: str
    ) -> None:
        super().__init__()
        self.module = module
        self.sites = dict(sites)
        self.reader = reader
        self.name = name

    def forward(self, *args: Any, **named: Any) -> Any:
        """Call the module."""
        return self.module(*args, **named)

    def layers(self, site: str) -> tuple[str, ...]:
        """Return the names of a site's modules, layer by layer.

        Raises:
            LensLocError: if there is no such site.
        """
        if site not in self.sites:
            raise LensLocError(
                f"This {type(self.module).__name__} was wrapped without a site {site!r}; its sites "
                f"are {', '.join(self.sites)}."
            )
        return tuple(modules_of(site, self.sites[site], self.module))

    def __repr__(self) -> str:
        sites = ", ".join(f"{name}: {site.in_words}" for name, site in self.sites.items())
        return f"Wrapped({type(self.module).__name__}; {sites})"


def wrap(
    module: nn.Module,
    sites: Mapping[str, Any] | None = None,
    *,
    preprocess: Preprocess | None = None,
    example: Any = None,
    name: str | None = None,
    side: Side = "output",
    unit: Unit = "channel",
    pooling: PlacePooling = "mean",
    layout: Layout | None = None,
    part: int | str | None = None,
) -> Wrapped:
    """Give any torch module sites, so that units can be localized and lesioned in it.

    Args:
        module: the model; its weights are never copied or changed.
        sites: name of a site -> its modules: a pattern with ``{layer}`` (and ``*`` for any part of
            a name), a list of names in order of depth, or a :class:`lensloc.ModuleSite`, which says
            for one site what the last five arguments say for all others. Layers of a site may
            differ in width. If None, the outputs of the module's blocks, as far as they can be
            found by its structure; ``wrapped.sites`` says which these are.
        preprocess: makes of one stimulus (a PIL image, an array, a text) what the module takes,
            without the axis of the batch: a tensor, a tuple of arguments or a mapping of named
            ones. A tokenizer or processor of transformers may be given as it is. If None, pictures
            become ``[channel, height, width]`` from 0 to 1 (grey if the first convolution takes
            one channel), and arrays go in as they are.
        example: a batch that the module can be called with (a tensor, a tuple of arguments or a
            mapping of named ones), to check the module and learn the widths of its layers at once;
            if None, the first stimuli that are run serve for that.
        name: what results call the model; its class if None.
        side: whether units are in what modules give, ``"output"``, or get, ``"input"``.
        unit: ``"channel"``, pooled over places, or ``"element"``.
        pooling: over places: ``"mean"``, ``"sum"``, ``"max"``, ``"centre"``, ``"class-token"`` or
            ``"last-token"``; ``localize(pooling=...)`` may say another one.
        layout: ``"channels-first"`` or ``"channels-last"``; if None, by the number of axes.
        part: which tensor of a tuple or mapping; the first one if None.

    Raises:
        LensLocError: no such modules, or no blocks; an example that is no batch; modules that are
            never called, are called more than once per pass, or give no tensor (as far as
            ``example`` shows it).

    Example:
        >>> import lensloc as ll
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 6, 3))
        >>> wrapped = ll.wrap(net, {"conv": "{layer}"}, example=torch.rand(2, 3, 8, 8))
        >>> wrapped.layers("conv")
        ('0', '1')
    """
    if isinstance(module, Wrapped):
        raise LensLocError("This module is wrapped already; wrap its .module with other sites.")
    if not isinstance(module, nn.Module):
        raise LensLocError(
            f"A torch module is needed; something of type {type(module).__name__} is none."
        )
    if sites is None:
        sites = _of_blocks(module)
    defaults = {"side": side, "unit": unit, "pooling": pooling, "layout": layout, "part": part}
    found = checked_sites(sites, module, **defaults)
    for site, where in found.items():
        modules_of(site, where, module)
    if name is not None and not name.strip():
        raise LensLocError("The name of a model cannot be empty; leave it out.")
    wrapped = Wrapped(module, found, Reader(preprocess, module), name or type(module).__name__)
    if example is not None:
        seen = surface(wrapped)
        assert isinstance(seen, OfModule)
        seen.use_example(as_example(example))
    return wrapped


def _of_blocks(module: nn.Module) -> dict[str, str | tuple[str, ...]]:
    """Return a module's blocks as sites, as patterns where these name no other module.

    Raises:
        LensLocError: if it has none.
    """
    found = block_sites(module)
    if not found:
        raise LensLocError(
            f"No blocks were found in this {type(module).__name__} (lists of parts that have "
            f"several layers each); say where its units live, e.g. sites={sites_in_words(module)}."
        )
    return {name: _pattern_of(name, paths, module) for name, paths in found.items()}


def sites_in_words(module: nn.Module) -> str:
    """Write sites that a module without blocks can have: its own layers, where it has a list."""
    layers = layers_of_longest_list(module)
    if len(layers) < 2 or len(layers) > _MOST_NAMED:
        return "{'block': 'blocks.{layer}'}"
    return f"{{'layer': {list(layers)}}}"


def _pattern_of(name: str, paths: tuple[str, ...], module: nn.Module) -> str | tuple[str, ...]:
    """Return the pattern that names these modules and no other one; the names if there is none."""
    before, digits, behind = re.fullmatch(r"(.*?)(\d*)(\D*)", paths[0]).groups()  # type: ignore[union-attr]
    if not digits:
        return paths
    for start in (before, re.sub(r"\d+", "*", before)):
        pattern = f"{start}{{layer}}{behind}"
        if tuple(modules_of(name, ModuleSite(pattern), module)) == paths:
            return pattern
    return paths

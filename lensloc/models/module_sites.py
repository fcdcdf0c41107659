"""Sites of a wrapped module: which modules, what passes them, and what of that is a unit."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensloc.errors import LensLocError
from lensloc.vocabulary import PLACE_POOLINGS, PlacePooling

Side = Literal["output", "input"]
Unit = Literal["channel", "element"]
Layout = Literal["channels-first", "channels-last"]

_LAYER = "{layer}"
_NAME = re.compile(r"^[A-Za-z_][\w-]*$")
# Names that mean another place in every language model, with rules of their own.
_TAKEN = frozenset(
    "attn_out mlp_out mlp_pre mlp_post q k v z head attn_entropy attn_first attn_distance".split()
)


@dataclass(frozen=True)
class ModuleSite:
    """Where units live in a module of one's own; given to :func:`lensloc.wrap`.

    Attributes:
        modules: names of modules, as ``module.named_modules()`` has them: a pattern in which
            ``{layer}`` stands for a number and ``*`` for any part of a name between dots
            (``"layer*.{layer}"``), whose modules are layers in the order of their numbers; or a
            list in order of depth.
        side: whether units are in what a module gives (``"output"``) or gets (``"input"``).
        unit: ``"channel"``: a channel of a feature map, or an element of a token's vector, is a
            unit, pooled over places; ``"element"``: every number is.
        pooling: over places: ``"mean"``, ``"sum"``, ``"max"``, ``"centre"`` (the place in the
            middle), ``"class-token"`` (the first token), ``"last-token"``.
        layout: whether the channel is the axis behind the batch (``"channels-first"``,
            ``[batch, channel, height, width]``) or the last one (``"channels-last"``,
            ``[batch, token, width]``); if None, the last of three axes and the first of four or
            more.
        part: which tensor it is, of a tuple (its position) or a mapping (its name); the first one
            of numbers with a fraction if None.
    """

    modules: str | Sequence[str]
    side: Side = "output"
    unit: Unit = "channel"
    pooling: PlacePooling = "mean"
    layout: Layout | None = None
    part: int | str | None = None

    def __post_init__(self) -> None:
        words = (
            ("side", get_args(Side)),
            ("unit", get_args(Unit)),
            ("pooling", PLACE_POOLINGS),
            ("layout", (*get_args(Layout), None)),
        )
        for name, known in words:
            value = getattr(self, name)
            if value not in known:
                listed = ", ".join(repr(word) for word in known)
                raise LensLocError(f"{name} of a site is one of {listed}; {value!r} is not.")
        if not isinstance(self.modules, str):
            if not isinstance(self.modules, Sequence) or not self.modules:
                raise LensLocError(
                    "The modules of a site are a pattern, or a list of names with at least one; "
                    f"{self.modules!r} is neither."
                )
            object.__setattr__(self, "modules", tuple(self.modules))

    @property
    def place(self) -> str:
        """Which numbers these are, in words that tell two sites apart."""
        part = "" if self.part is None else f" {self.part!r}"
        what = self.modules if isinstance(self.modules, str) else ", ".join(self.modules)
        return f"{self.side}{part} of {what}"

    @property
    def in_words(self) -> str:
        """What a unit is."""
        return f"{self.unit} of the {self.place}"


# -- a tensor's axes -------------------------------------------------------------------------------


def _last(site: ModuleSite, value: Tensor) -> bool:
    """Say whether the channel is the last axis."""
    if site.layout is None:
        return value.ndim <= 3
    return site.layout == "channels-last"


def to_places(
    site: ModuleSite, value: Float[Tensor, "batch ..."]
) -> Float[Tensor, "batch place unit"]:
    """Return what passes as vectors of units at places; one place, if elements are units."""
    if site.unit == "element" or value.ndim == 2:
        return value.flatten(1)[:, None]
    if not _last(site, value):
        value = value.movedim(1, -1)
    return value.flatten(1, -2)


def from_places(
    site: ModuleSite, new: Float[Tensor, "batch place unit"], old: Float[Tensor, "batch ..."]
) -> Float[Tensor, "batch ..."]:
    """Return what :func:`to_places` gave in the axes that it had."""
    if site.unit == "element" or old.ndim == 2 or _last(site, old):
        return new.reshape(old.shape)
    there = old.movedim(1, -1)
    return new.reshape(there.shape).movedim(-1, 1)


def pooled(
    site: ModuleSite, value: Float[Tensor, "batch ..."], pooling: PlacePooling
) -> Float[Tensor, "batch unit"]:
    """Return one response per unit; a copy, in single precision at least.

    Raises:
        LensLocError: a token is asked for where there are no tokens.
    """
    value = value if value.dtype == torch.float64 else value.float()
    places = to_places(site, value)
    if site.unit == "element" or value.ndim == 2:
        return places[:, 0].clone()
    spans = _spans(value.shape, last=_last(site, value))
    if pooling in ("class-token", "last-token"):
        if len(spans) != 1:
            raise LensLocError(
                f"pooling={pooling!r} takes one of several tokens, but the {site.place} has "
                f"{len(spans)} axes of places (its shape is {tuple(value.shape)}); use 'mean', "
                "'sum', 'max' or 'centre'."
            )
        return places[:, 0 if pooling == "class-token" else -1].clone()
    if pooling == "centre":
        at = 0
        for span in spans:
            at = at * span + span // 2
        return places[:, at].clone()
    if pooling == "max":
        return places.amax(dim=1)
    return places.sum(dim=1) if pooling == "sum" else places.mean(dim=1)


def _spans(shape: Sequence[int], *, last: bool) -> tuple[int, ...]:
    return tuple(shape[1:-1] if last else shape[2:])


def checked_sites(sites: Any, module: nn.Module, **defaults: Any) -> dict[str, ModuleSite]:
    """Return sites as they were given, or as the defaults make them.

    Raises:
        LensLocError: no site, a name that cannot be one, something that is none.
    """
    if not isinstance(sites, Mapping) or not sites:
        raise LensLocError(
            'sites says where units live, {name: modules}, e.g. {"block": "blocks.{layer}"}; '
            f"the modules of this {type(module).__name__} are {_some(module)}."
        )
    found: dict[str, ModuleSite] = {}
    for name, given in sites.items():
        if not isinstance(name, str) or not _NAME.match(name):
            raise LensLocError(
                f"A site's name is a word of letters, digits, _ and -, e.g. 'block'; {name!r} is "
                "not."
            )
        if name in _TAKEN:
            raise LensLocError(
                f"The site {name!r} is a place in a language model, with rules of its own; give "
                "yours another name."
            )
        if not isinstance(given, str | Sequence | ModuleSite):
            raise LensLocError(
                f"The site {name!r} is a pattern, a list of names, or an ll.ModuleSite; something "
                f"of type {type(given).__name__} is none."
            )
        found[name] = given if isinstance(given, ModuleSite) else ModuleSite(given, **defaults)
    return found


def modules_of(name: str, site: ModuleSite, module: nn.Module) -> dict[str, nn.Module]:
    """Return a site's modules, a layer each, in order of depth.

    Raises:
        LensLocError: if there is none, or one of those named is not there.
    """
    # A module that stands in several places is called there, which is told when it is run.
    every = module.named_modules(remove_duplicate=False)
    known = {path: part for path, part in every if path}
    kind = type(module).__name__
    if not isinstance(site.modules, str):
        for path in site.modules:
            if path not in known:
                raise LensLocError(
                    f"This {kind} has no module {path!r} (site {name!r}){_like(path, known)}."
                )
        if len(set(site.modules)) < len(site.modules):
            raise LensLocError(f"The site {name!r} names a module twice; name each layer once.")
        return {path: known[path] for path in site.modules}
    pattern = re.compile(
        "".join(
            {"{layer}": r"(\d+)", "*": r"([^.]*)"}.get(part, re.escape(part))
            for part in re.split(r"(\{layer\}|\*)", site.modules)
        )
    )
    matches = {path: match for path in known if (match := pattern.fullmatch(path))}
    if not matches:
        raise LensLocError(
            f"No module of this {kind} is named like {site.modules!r} (site {name!r}); there are "
            f"{_some(module)}."
        )
    # By numbers where parts of names are numbers, and as the model has them otherwise.
    in_model = {path: place for place, path in enumerate(known)}
    order = sorted(matches, key=lambda path: (_numbers(matches[path].groups()), in_model[path]))
    return {path: known[path] for path in order}


def _numbers(parts: Sequence[str]) -> list[int]:
    return [int(digits) for part in parts for digits in re.findall(r"\d+", part)]


def _like(path: str, known: Mapping[str, nn.Module]) -> str:
    near = difflib.get_close_matches(path, known, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}" if near else ""


def _some(module: nn.Module, most: int = 12) -> str:
    """Return patterns of the modules that there are, numbers as ``{layer}``."""
    names = (path for path, _ in module.named_modules() if path)
    patterns = list(dict.fromkeys(re.sub(r"(?<=\.)\d+|^\d+", _LAYER, name) for name in names))
    more = f" and {len(patterns) - most} more" if len(patterns) > most else ""
    return (", ".join(patterns[:most]) or "none") + more


def part_of(value: Any, part: int | str | None) -> Tensor | None:
    """Return the tensor that is meant in what passes a module; None if there is none."""
    found = value
    if part is None and not isinstance(value, Tensor):
        parts = value.values() if isinstance(value, Mapping) else value
        if not isinstance(value, Mapping | tuple | list):
            return None
        return next((p for p in parts if isinstance(p, Tensor) and p.is_floating_point()), None)
    if part is not None:
        try:
            found = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return found if isinstance(found, Tensor) and found.is_floating_point() else None


def with_part(value: Any, old: Tensor, new: Tensor) -> Any:
    """Return what passes a module with one of its tensors replaced."""
    if value is old:
        return new
    if isinstance(value, dict):
        # In place: classes of outputs may not be made again from their items.
        value[next(key for key, each in value.items() if each is old)] = new
        return value
    if isinstance(value, Mapping):
        return {key: new if each is old else each for key, each in value.items()}
    parts = [new if each is old else each for each in value]
    if hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*parts)
    return type(value)(parts)

"""UnitMask: a set of units at one site, how it was chosen, and how it is kept on disk."""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lensloc import html
from lensloc.errors import LensLocError
from lensloc.files import write_atomically
from lensloc.provenance import Provenance

_ADDRESS = re.compile(r"^L(?P<layer>\d+)\.(?P<site>[A-Za-z_][\w.-]*)\.(?P<unit>\d+)$")


@dataclass(frozen=True)
class UnitAddress:
    """One unit's name, ``L12.resid_post.507``: layer, site, index of the unit in its layer."""

    layer: int
    site: str
    unit: int

    def __str__(self) -> str:
        return f"L{self.layer}.{self.site}.{self.unit}"

    @classmethod
    def parse(cls, text: str) -> "UnitAddress":
        """Read an address.

        Raises:
            LensLocError: if ``text`` does not look like ``L12.resid_post.507``.

        Example:
            >>> UnitAddress.parse("L12.resid_post.507")
            UnitAddress(layer=12, site='resid_post', unit=507)
        """
        match = _ADDRESS.match(text.strip())
        if match is None:
            raise LensLocError(
                f"{text!r} is not a unit address; write one like L12.resid_post.507 "
                "(layer, site, unit)."
            )
        return cls(int(match["layer"]), match["site"], int(match["unit"]))


@dataclass(frozen=True, eq=False)
class UnitMask:
    """A set of units at one site: a boolean ``[layer, unit]`` and where it came from.

    Attributes:
        site: name of the site that the units live at, e.g. ``"resid_post"``.
        mask: ``[layer, unit]``, true for the units in the set; on the CPU.
        provenance: how the set was made.
        score: float64 ``[layer, unit]``, what the units were ranked by (t, or -t for the bottom),
            largest first; None for a set that is no top of a ranking.
        magnitude: float64 ``[layer, unit]``, mean absolute response of every unit of the site, for
            controls that match it; None where it is not known.

    Example:
        >>> import lensloc as ll
        >>> language = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
        >>> sums = ll.UnitMask.from_addresses(["L2.head.7", "L2.head.8"], shape=(3, 9))
        >>> (language & sums).addresses, (language - sums).addresses
        (['L2.head.7'], ['L0.head.1'])
        >>> len(language | sums), len(~language), "L2.head.7" in language
        (3, 25, True)
        >>> sums.per_layer().tolist()
        [0, 0, 2]
    """

    site: str
    mask: Bool[Tensor, "layer unit"]
    provenance: Provenance = field(default_factory=Provenance)
    score: Float[Tensor, "layer unit"] | None = None
    magnitude: Float[Tensor, "layer unit"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", self.mask.detach().cpu())
        for name in ("score", "magnitude"):
            values = getattr(self, name)
            if values is not None and values.shape != self.mask.shape:
                raise LensLocError(
                    f"{name} has shape {tuple(values.shape)}, but the mask {tuple(self.mask.shape)}"
                    "; give one value a unit."
                )

    # -- looking -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units a layer."""
        n_layers, n_units = self.mask.shape
        return n_layers, n_units

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __repr__(self) -> str:
        made = " ".join(
            part
            for part in (self.provenance.model, self.provenance.contrast, self.provenance.selection)
            if part
        )
        layers, units = self.shape
        return (
            f"UnitMask({len(self)} of {layers}x{units} units at {self.site}; {made or 'unknown'})"
        )

    def _repr_html_(self) -> str:
        made = self.provenance
        layers, units = self.shape
        share = 100 * len(self) / self.mask.numel()
        known = {
            "units": f"{len(self):,} of {layers} x {units:,} ({share:.3g} %)",
            "site": self.site,
            "model": made.model,
            "contrast": made.contrast,
            "selection": made.selection,
        }
        shares = self.percent_per_layer().tolist()
        picture = html.bars(shares, label="percentage of every layer's units in the set")
        return html.card(
            f"Unit mask at {self.site}",
            html.facts({name: value for name, value in known.items() if value}),
            html.captioned(
                picture,
                f"% of the layer's units, layers 0 to {layers - 1} (highest {max(shares):.3g} %)",
            ),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnitMask):
            return NotImplemented
        return self.site == other.site and torch.equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.site, self.mask.numpy().tobytes()))

    def __contains__(self, address: object) -> bool:
        unit = UnitAddress.parse(address) if isinstance(address, str) else address
        if not isinstance(unit, UnitAddress) or unit.site != self.site:
            return False
        layers, units = self.shape
        return unit.layer < layers and unit.unit < units and bool(self.mask[unit.layer, unit.unit])

    def per_layer(self) -> Int[Tensor, " layer"]:
        """Return the number of units of the set in every layer."""
        return self.mask.sum(dim=1)

    def percent_per_layer(self) -> Float[Tensor, " layer"]:
        """Return what percentage of each layer's units is in the set."""
        return self.mask.double().mean(dim=1) * 100

    def unique_dims(self) -> Int[Tensor, " dimension"]:
        """Return the different dimensions of the residual stream in the set, in order.

        A dimension that recurs in several layers counts once: blocks add to the stream, so most of
        what is there was there a layer before.

        Raises:
            LensLocError: if the units are not dimensions of the residual stream.
        """
        require_residual(self.site)
        return self.mask.any(dim=0).nonzero().squeeze(1)

    @property
    def addresses(self) -> list[str]:
        """The units' addresses, in order of layer and unit."""
        return [
            str(UnitAddress(layer, self.site, unit)) for layer, unit in self.mask.nonzero().tolist()
        ]

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def from_indices(
        cls,
        site: str,
        flat_indices: Int[Tensor, " selected"],
        shape: tuple[int, int],
        provenance: Provenance | None = None,
        **arrays: Tensor | None,
    ) -> "UnitMask":
        """Make a set from indices into the flattened ``[layer, unit]`` array of that shape."""
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        mask[flat_indices.cpu()] = True
        return cls(site, mask.reshape(shape), provenance or Provenance(site=site), **arrays)

    @classmethod
    def from_addresses(
        cls,
        addresses: Iterable[str],
        shape: tuple[int, int],
        provenance: Provenance | None = None,
    ) -> "UnitMask":
        """Make a set from addresses such as ``L12.resid_post.507``, all of one site.

        Args:
            addresses: the units.
            shape: number of layers and of units a layer at that site.
            provenance: where they come from.

        Raises:
            LensLocError: no address, addresses of two sites, or one outside ``shape``.
        """
        units = [UnitAddress.parse(address) for address in addresses]
        if not units:
            raise LensLocError("No unit address was given; name at least one.")
        site = units[0].site
        mask = torch.zeros(shape, dtype=torch.bool)
        for unit in units:
            if unit.site != site:
                raise LensLocError(
                    f"{unit} is at another site than {units[0]}; make one mask a site."
                )
            if unit.layer >= shape[0] or unit.unit >= shape[1]:
                raise LensLocError(
                    f"{unit} does not exist: {site} has layers 0-{shape[0] - 1} "
                    f"with units 0-{shape[1] - 1}."
                )
            mask[unit.layer, unit.unit] = True
        made = provenance or Provenance(site=site, selection="given addresses")
        return cls(site, mask, made)

    def random_like(self, seed: int) -> "UnitMask":
        """Draw as many units from outside the set, uniformly and without replacement.

        The same seed gives the same units in every process and on every platform
        (numpy's PCG64).

        Raises:
            LensLocError: if fewer units lie outside the set than in it.

        Example:
            >>> import lensloc as ll
            >>> network = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
            >>> control = network.random_like(seed=0)
            >>> len(control), len(control & network)
            (2, 0)
        """
        outside = (~self.mask).flatten().nonzero().squeeze(1)
        drawn = draw(outside, len(self), seed, f"outside {self!r}")
        selection = f"random, seed {seed}, as many as and outside of: {self.provenance.selection}"
        made = self.provenance.replace(selection=selection)
        return UnitMask.from_indices(self.site, drawn, self.shape, made, magnitude=self.magnitude)

    def resized(self, *, percent: float | None = None, k: int | None = None) -> "UnitMask":
        """Return the set of another size by the same ranking: its ``k`` best, or ``percent``.

        Ties are broken by layer, then unit.

        Raises:
            LensLocError: unless just one of the two is given, as many units exist, and the set is
                the top of a ranking.
        """
        if self.score is None:
            raise LensLocError(
                f"The mask {describe(self)} ({self.provenance.selection or 'imported'}) carries no "
                "ranking of units, so it has no other size; use one from Selectivity.top(), saved "
                "as .safetensors."
            )
        count, words = count_units(percent, k, self.mask.numel(), self.site)
        left = int(torch.isfinite(self.score).sum())
        if count > left:
            raise LensLocError(
                f"{count} units were asked for but only {left} of {self.mask.numel()} at "
                f"{self.site} are ranked; ask for fewer."
            )
        best = ranked(self.score)[:count]
        direction = self.provenance.selection.split(" ")[0] or "top"
        made = self.provenance.replace(selection=f"{direction} {words}")
        return UnitMask.from_indices(
            self.site, best, self.shape, made, score=self.score, magnitude=self.magnitude
        )

    # -- set algebra ---------------------------------------------------------------------------

    def _combined(
        self, other: "UnitMask", mask: Bool[Tensor, "layer unit"], sign: str
    ) -> "UnitMask":
        mine, theirs = self.provenance, other.provenance
        same_contrast = mine.contrast_hash == theirs.contrast_hash
        return UnitMask(
            self.site,
            mask,
            mine.replace(
                contrast=mine.contrast
                if same_contrast
                else f"{mine.contrast} {sign} {theirs.contrast}",
                contrast_hash=mine.contrast_hash if same_contrast else "",
                selection=f"({mine.selection}) {sign} ({theirs.selection})",
            ),
        )

    def _require_same_units(self, other: "UnitMask") -> None:
        if self.site != other.site or self.shape != other.shape:
            raise LensLocError(
                f"These masks cover different units ({describe(self)} against {describe(other)}); "
                "combine masks of one model and one site."
            )

    def __and__(self, other: "UnitMask") -> "UnitMask":
        self._require_same_units(other)
        return self._combined(other, self.mask & other.mask, "&")

    def __or__(self, other: "UnitMask") -> "UnitMask":
        self._require_same_units(other)
        return self._combined(other, self.mask | other.mask, "|")

    def __sub__(self, other: "UnitMask") -> "UnitMask":
        self._require_same_units(other)
        return self._combined(other, self.mask & ~other.mask, "-")

    def __invert__(self) -> "UnitMask":
        selection = f"not ({self.provenance.selection})"
        return UnitMask(self.site, ~self.mask, self.provenance.replace(selection=selection))

    # -- belonging to a model ------------------------------------------------------------------

    def require_shape(self, shape: tuple[int, int], model: str) -> None:
        """Check that the set fits a model whose units at this site have ``shape``.

        Raises:
            LensLocError: if it was made on a model of another shape.
        """
        if self.shape != shape:
            raise LensLocError(
                f"The mask {describe(self)} does not fit {model}, which has "
                f"{shape[0]}x{shape[1]} units at {self.site}; localize on {model} instead."
            )

    # -- on disk -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the set to ``path``, whole or not at all.

        ``.safetensors`` keeps the provenance. ``.npy`` is the format of the published localizer,
        an array ``[layer, unit]`` of 0 and 1, and keeps nothing else.

        Raises:
            LensLocError: for another suffix, or a place that cannot be written.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            metadata = {
                "format": "lensloc.UnitMask/1",
                "site": self.site,
                "provenance": self.provenance.to_json(),
            }
            arrays = {"mask": self.mask.to(torch.uint8)}
            known = {"score": self.score, "magnitude": self.magnitude}
            arrays |= {name: a.contiguous() for name, a in known.items() if a is not None}
            content = safetensors_bytes(arrays, metadata=metadata)
            return write_atomically(path, content)
        if path.suffix == ".npy":
            return write_atomically(path, npy_bytes(self.mask.numpy().astype(np.int64)))
        raise LensLocError(
            f"{path} has an unknown suffix; masks are written as .safetensors (with provenance) "
            "or .npy (the published format)."
        )

    @classmethod
    def load(cls, path: str | Path, *, site: str = "resid_post") -> "UnitMask":
        """Read a set from ``.safetensors`` or ``.npy``; nothing in either is ever unpickled.

        Args:
            path: the file.
            site: the site that an ``.npy`` belongs to, which the format does not say;
                the published localizer's are block outputs, ``resid_post``. A ``.safetensors``
                says it; another site than its own is refused.

        Raises:
            LensLocError: if the file is missing, truncated, pickled, not a mask, or of another
                site.
        """
        path = Path(path)
        if not path.is_file():
            raise LensLocError(f"There is no mask file {path}; check the path.")
        if path.suffix == ".safetensors":
            found = _read_safetensors(path)
            if site not in (found.site, "resid_post"):
                raise LensLocError(
                    f"{path} holds units at {found.site}, and not at {site}; leave the site out."
                )
            return found
        if path.suffix == ".npy":
            mask = _read_npy(path)
            made = Provenance(site=site, selection=f"imported from {path.name}")
            return cls(site, mask, made)
        raise LensLocError(f"{path} is not a mask file; lensloc reads .safetensors and .npy.")


def draw(
    candidates: Int[Tensor, " candidate"], k: int, seed: int, where: str
) -> Int[Tensor, " drawn"]:
    """Draw ``k`` of the candidates without replacement, the same for a seed everywhere.

    Raises:
        LensLocError: if there are fewer than ``k``; ``where`` says in words what was drawn from.
    """
    if k > len(candidates):
        raise LensLocError(
            f"{k} units were asked for but only {len(candidates)} lie {where}; ask for fewer."
        )
    chosen = np.random.default_rng(seed).choice(candidates.cpu().numpy(), size=k, replace=False)
    return torch.from_numpy(np.sort(chosen))


def ranked(score: Float[Tensor, "layer unit"], *, descending: bool = True) -> Int[Tensor, " all"]:
    """Return the flat indices of all units by score; ties by layer, then unit."""
    return torch.sort(score.flatten(), descending=descending, stable=True).indices


def require_residual(site: str) -> None:
    """Check that a site's units are dimensions of the residual stream, the same in every layer.

    Raises:
        LensLocError: if they are not.
    """
    if not site.startswith("resid_"):
        raise LensLocError(
            f"Only dimensions of the residual stream recur from layer to layer; units at {site} "
            "do not."
        )


def count_units(percent: float | None, k: int | None, total: int, site: str) -> tuple[int, str]:
    """Return how many of ``total`` units ``percent`` or ``k`` asks for, and that in words.

    Raises:
        LensLocError: unless just one of the two is given and as many units exist.
    """
    if (percent is None) == (k is None):
        raise LensLocError("Give either percent or k, to say how many units to select.")
    if percent is not None:
        count = count_from_percent(percent, total)
        return count, f"{percent:g} % ({count} units)"
    assert k is not None
    if not 1 <= k <= total:
        raise LensLocError(
            f"{k} units were asked for; {site} has {total}, so ask for 1 to {total}."
        )
    return k, f"{k} units"


def count_from_percent(percent: float, n_units: int) -> int:
    """Return how many units ``percent`` per cent of ``n_units`` are, truncated as published.

    Raises:
        LensLocError: unless 0 < percent <= 100 and at least one unit results.

    Example:
        >>> count_from_percent(1, 30 * 576)
        172
    """
    if not (math.isfinite(percent) and 0 < percent <= 100):
        raise LensLocError(
            f"A percentage of units must be above 0 and at most 100; {percent:g} is not."
        )
    # The published code's own expression, so that floating point rounds the same way.
    count = int((percent / 100) * n_units)
    if count == 0:
        raise LensLocError(
            f"{percent:g} % of {n_units} units is less than one unit; ask for a larger percentage."
        )
    return count


def describe(mask: UnitMask) -> str:
    """Say in a few words which model and site a mask belongs to."""
    layers, units = mask.shape
    return f"({mask.provenance.model or 'unknown model'}, {mask.site}, {layers}x{units})"


def npy_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """Return what ``numpy.save`` would write."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _read_safetensors(path: Path) -> UnitMask:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names: Sequence[str] = list(file.keys())
            tensor = file.get_tensor("mask") if "mask" in names else None
            known = {n: file.get_tensor(n) for n in ("score", "magnitude") if n in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise LensLocError(
            f"{path} is not a readable .safetensors file (truncated, or of another format: "
            f"{error}); write the mask again."
        ) from error
    if tensor is None or "provenance" not in metadata:
        raise LensLocError(f"{path} holds no unit mask of lensloc; it holds {', '.join(names)}.")
    try:
        provenance = Provenance.from_json(metadata["provenance"])
    except (json.JSONDecodeError, ValueError, TypeError) as error:
        raise LensLocError(f"{path} has unreadable provenance ({error}).") from error
    site = metadata.get("site", provenance.site)
    return UnitMask(site, _as_mask(tensor, path), provenance, **known)


def _read_npy(path: Path) -> Bool[Tensor, "layer unit"]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise LensLocError(
            f"{path} is not a plain .npy array (truncated, or pickled, which is never loaded: "
            f"{error}); export the mask again."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise LensLocError(f"{path} is not an array of 0 and 1.")
    return _as_mask(torch.from_numpy(array), path)


def _as_mask(tensor: Tensor, path: Path) -> Bool[Tensor, "layer unit"]:
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise LensLocError(
            f"{path} has shape {tuple(tensor.shape)}; a mask is a non-empty [layer, unit]."
        )
    if not ((tensor == 0) | (tensor == 1)).all():
        raise LensLocError(f"{path} holds other values than 0 and 1, so it is not a mask.")
    return tensor.bool()

"""UnitMask: a set of units at one site, and how it was chosen."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lensloc.arguments import require_numbers
from lensloc.display import markup
from lensloc.errors import LensLocError, noted
from lensloc.units import ragged
from lensloc.units.addresses import UnitAddress, is_residual, require_residual
from lensloc.units.algebra import Sign, combined, describe
from lensloc.units.mask_on_disk import OnDisk
from lensloc.units.provenance import Provenance
from lensloc.units.redrawn import drawn_like, resized
from lensloc.units.selection import SelectionRule
from lensloc.units.text_sets import TextSet

__all__ = [
    "UnitAddress",
    "UnitMask",
    "describe",
    "is_residual",
    "require_residual",
]


@dataclass(frozen=True, eq=False)
class UnitMask(OnDisk, ragged.Layered):
    """A set of units at one site: a boolean ``[layer, unit]`` and where it came from.

    Attributes:
        site: name of the site that the units live at, e.g. ``"resid_post"``.
        mask: ``[layer, unit]``, true for the units in the set; on the CPU.
        provenance: how the set was made.
        score: float64 ``[layer, unit]``, what the units were ranked by (t, or -t for the bottom),
            largest first, minus infinity for units that could not be chosen; None for a set that is
            no top of a ranking.
        magnitude: float64 ``[layer, unit]``, mean absolute response of every unit of the site, for
            controls that match it; None where it is not known.
        rule: how the units were chosen, as data; None for units that no rule chose (given or
            imported ones, combined sets, other controls than random ones).
        widths: units of every layer, where layers differ in width; None where they do not. Then
            places of the mask beyond a layer's width are no units, and never in the set.

    Example:
        >>> import lensloc as ll
        >>> language = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
        >>> sums = ll.UnitMask.from_addresses(["L2.head.7", "L2.head.8"], shape=(3, 9))
        >>> (language & sums).addresses, (language - sums).addresses
        (['L2.head.7'], ['L0.head.1'])
        >>> len(language | sums), len(~language), "L2.head.7" in language
        (3, 25, True)
        >>> [address for address in language]
        ['L0.head.1', 'L2.head.7']
        >>> sums.per_layer().tolist()
        [0, 0, 2]
    """

    site: str
    mask: Bool[Tensor, "layer unit"]
    provenance: Provenance = field(default_factory=Provenance)
    score: Float[Tensor, "layer unit"] | None = None
    magnitude: Float[Tensor, "layer unit"] | None = None
    rule: SelectionRule | None = None
    widths: ragged.Widths = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", self.mask.detach().cpu())
        object.__setattr__(self, "widths", ragged.checked(self.widths, self.shape))
        if self.widths is not None:
            self._pad(self.widths)
        for name in ("score", "magnitude"):
            values = getattr(self, name)
            if values is not None and values.shape != self.mask.shape:
                raise LensLocError(
                    f"{name} has shape {tuple(values.shape)}, but the mask {tuple(self.mask.shape)}"
                    "; give one value per unit."
                )

    def _pad(self, widths: tuple[int, ...]) -> None:
        beyond = (self.mask & ~self.units).nonzero().tolist()
        if beyond:
            layer, unit = beyond[0]
            raise LensLocError(
                f"The unit L{layer}.{self.site}.{unit} does not exist: layer {layer} has "
                f"{widths[layer]} units."
            )
        for name, fill in (("score", -torch.inf), ("magnitude", torch.nan)):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, ragged.padded(values, widths, fill))

    # -- looking -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers, number of units of the widest layer."""
        n_layers, n_units = self.mask.shape
        return n_layers, n_units

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user of the set should know, in sentences; it is kept on disk with the set."""
        return self.provenance.warnings

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __iter__(self) -> Iterator[str]:
        """Yield the units' addresses, in order of layer and unit."""
        return iter(self.addresses)

    def __repr__(self) -> str:
        return noted(self.line(), self.warnings)

    def line(self) -> str:
        """Return the set in a line, without its warnings."""
        made = " ".join(
            part
            for part in (self.provenance.model, self.provenance.contrast, self.provenance.selection)
            if part
        )
        return (
            f"UnitMask({len(self)} of {self.size_in_words} units at {self.site}; "
            f"{made or 'unknown'})"
        )

    def _repr_html_(self) -> str:
        made = self.provenance
        layers, units = self.shape
        share = 100 * len(self) / self.n_units
        of = f"{layers} x {units:,}"
        if self.widths is not None:
            of = f"{self.n_units:,} in {layers} layers of {min(self.widths):,} to {units:,}"
        known = {
            "units": f"{len(self):,} of {of} ({share:.3g} %)",
            "site": self.site,
            "model": made.model,
            "contrast": made.contrast,
            "selection": made.selection,
        }
        shares = self.percent_per_layer().tolist()
        picture = markup.bars(shares, label="percentage of every layer's units in the set")
        return markup.card(
            f"Unit mask at {self.site}",
            markup.facts({name: value for name, value in known.items() if value}),
            markup.captioned(
                picture,
                f"% of the layer's units, layers 0 to {layers - 1} (highest {max(shares):.3g} %)",
            ),
            warnings=self.warnings,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnitMask):
            return NotImplemented
        return self.covers(other) and torch.equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.site, self.widths, self.mask.numpy().tobytes()))

    def covers(self, other: "UnitMask") -> bool:
        """Say whether the other set is one of the same site and shape."""
        mine = (self.site, self.shape, self.widths)
        return mine == (other.site, other.shape, other.widths)

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
        if self.widths is None:
            return self.mask.double().mean(dim=1) * 100
        return 100 * self.per_layer() / ragged.sizes(self.shape, self.widths).double()

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

    @property
    def selected_on(self) -> TextSet:
        """The texts whose responses decided which units are in the set; empty if not known."""
        return self.provenance.text_set

    # -- making --------------------------------------------------------------------------------

    @classmethod
    def from_indices(
        cls,
        site: str,
        flat_indices: Int[Tensor, " selected"],
        shape: tuple[int, int],
        provenance: Provenance | None = None,
        **more: Any,
    ) -> "UnitMask":
        """Make a set from indices into the flattened ``[layer, unit]`` array of that shape.

        Args:
            site: name of the site.
            flat_indices: the units.
            shape: number of layers and of units per layer.
            provenance: where they come from.
            more: the other attributes (``score``, ``magnitude``, ``rule``, ``widths``).
        """
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        mask[flat_indices.cpu()] = True
        return cls(site, mask.reshape(shape), provenance or Provenance(site=site), **more)

    @classmethod
    def from_addresses(
        cls,
        addresses: Iterable[str],
        shape: tuple[int, int],
        provenance: Provenance | None = None,
        *,
        widths: Sequence[int] | None = None,
    ) -> "UnitMask":
        """Make a set from addresses such as ``L12.resid_post.507``, all of one site.

        Args:
            addresses: the units.
            shape: number of layers and of units per layer at that site.
            provenance: where they come from.
            widths: units of every layer, where layers differ in width; ``shape`` has the largest.

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
                    f"{unit} is at another site than {units[0]}; make one mask per site."
                )
            if unit.layer >= shape[0] or unit.unit >= shape[1]:
                raise LensLocError(
                    f"{unit} does not exist: {site} has layers 0-{shape[0] - 1} "
                    f"with units 0-{shape[1] - 1}."
                )
            mask[unit.layer, unit.unit] = True
        made = provenance or Provenance(site=site, selection="given addresses")
        found = ragged.checked(widths, shape)
        return cls(site, mask, made, widths=found)

    def throughout(self) -> "UnitMask":
        """Return the dimensions of the residual stream that the set has, in every layer.

        A dimension is the same wire in every layer. Switched off behind one block, it is written
        to again by the next; this is the set that keeps it off.

        Raises:
            LensLocError: if the units are no dimensions of the residual stream.

        Example:
            >>> import lensloc as ll
            >>> network = ll.UnitMask.from_addresses(["L1.resid_post.4"], shape=(3, 9))
            >>> network.throughout().addresses
            ['L0.resid_post.4', 'L1.resid_post.4', 'L2.resid_post.4']
        """
        require_residual(self.site)
        mask = self.mask.any(dim=0).expand(self.shape) & self.units
        selection = f"in every layer, the dimensions of: {self.provenance.selection}"
        made = self.provenance.replace(selection=selection)
        return UnitMask(self.site, mask, made, magnitude=self.magnitude, widths=self.widths)

    def random_like(self, seed: int, *, elsewhere: bool = True) -> "UnitMask":
        """Draw as many units from outside the set, uniformly and without replacement.

        The same seed gives the same units in every process and on every platform
        (numpy's PCG64); different sets get independent draws.

        Args:
            seed: of the draw.
            elsewhere: at residual sites, draw no dimension that the set has in any layer, since it
                is the same wire there; False as published random controls are drawn.

        Raises:
            LensLocError: if fewer units are left than are in the set.

        Example:
            >>> import lensloc as ll
            >>> network = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
            >>> control = network.random_like(seed=0)
            >>> len(control), len(control & network)
            (2, 0)
        """
        require_numbers(seed=seed)
        return drawn_like(self, seed, elsewhere)

    def resized(self, *, percent: float | None = None, k: int | None = None) -> "UnitMask":
        """Return the set of another size by the same ranking: its ``k`` best, or ``percent``.

        Ties are broken by layer, then unit.

        Raises:
            LensLocError: unless just one of the two is given, as many units exist, and the set is
                the top of a ranking.
        """
        return resized(self, percent, k)

    # -- set algebra ---------------------------------------------------------------------------

    def _combined(self, other: "UnitMask", sign: Sign) -> "UnitMask":
        found = combined(self, other, sign)
        return UnitMask(
            self.site,
            found.mask,
            found.provenance,
            score=found.score,
            magnitude=found.magnitude,
            widths=self.widths,
        )

    def __and__(self, other: "UnitMask") -> "UnitMask":
        return self._combined(other, "&")

    def __or__(self, other: "UnitMask") -> "UnitMask":
        return self._combined(other, "|")

    def __sub__(self, other: "UnitMask") -> "UnitMask":
        return self._combined(other, "-")

    def __invert__(self) -> "UnitMask":
        selection = f"not ({self.provenance.selection})"
        made = self.provenance.replace(selection=selection)
        mask = ~self.mask & self.units
        return UnitMask(self.site, mask, made, magnitude=self.magnitude, widths=self.widths)

    # -- belonging to a model ------------------------------------------------------------------

    def require_shape(
        self, shape: tuple[int, int], model: str, widths: ragged.Widths = None
    ) -> None:
        """Check that the set fits a model whose units at this site have ``shape``.

        Args:
            shape: number of layers, and of units of the widest one.
            model: its name, for the sentence.
            widths: units of every layer, where layers differ in width.

        Raises:
            LensLocError: if it was made on a model of another shape.
        """
        if self.shape != shape or self.widths != widths:
            raise LensLocError(
                f"The mask {describe(self)} does not fit {model}, which has "
                f"{ragged.in_words(shape, widths)} units at {self.site}; localize on {model} "
                "instead."
            )

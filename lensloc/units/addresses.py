"""UnitAddress: one unit's name; and which sites' units recur from layer to layer."""

import re
from dataclasses import dataclass

from lensloc.errors import LensLocError

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


def is_address(text: str) -> bool:
    """Say whether a text is written as a unit's address is.

    Example:
        >>> is_address("L12.resid_post.507"), is_address("mask.npy")
        (True, False)
    """
    return _ADDRESS.match(text.strip()) is not None


def is_residual(site: str) -> bool:
    """Say whether a site's units are dimensions of the residual stream, the same in every layer.

    Example:
        >>> is_residual("resid_post"), is_residual("mlp_out")
        (True, False)
    """
    return site.startswith("resid_")


def require_residual(site: str) -> None:
    """Check that a site's units are dimensions of the residual stream, the same in every layer.

    Raises:
        LensLocError: if they are not.
    """
    if not is_residual(site):
        raise LensLocError(
            f"Only dimensions of the residual stream recur from layer to layer; units at {site} "
            "do not."
        )

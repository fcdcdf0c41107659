"""UnitAddress: one unit's name; and which sites' units recur from layer to layer."""

import re
from dataclasses import dataclass

from lensloc.errors import LensLocError
from lensloc.vocabulary import ONE_LAYER_SITES

_ADDRESS = re.compile(
    r"^(?:L(?P<layer>\d+)\.(?P<site>[A-Za-z_][\w.-]*)|(?P<alone>"
    + "|".join(ONE_LAYER_SITES)
    + r"))\.(?P<unit>\d+)$"
)


@dataclass(frozen=True)
class UnitAddress:
    """One unit's name, ``L12.resid_post.507``: layer, site, index of the unit in its layer.

    Units before and behind the blocks have no layer in theirs: ``embed.507``, ``ln_final.507``.
    """

    layer: int
    site: str
    unit: int

    def __str__(self) -> str:
        alone = self.site in ONE_LAYER_SITES and self.layer == 0
        return f"{self.site}.{self.unit}" if alone else f"L{self.layer}.{self.site}.{self.unit}"

    @classmethod
    def parse(cls, text: str) -> "UnitAddress":
        """Read an address.

        Raises:
            LensLocError: if ``text`` does not look like ``L12.resid_post.507``.

        Example:
            >>> UnitAddress.parse("L12.resid_post.507")
            UnitAddress(layer=12, site='resid_post', unit=507)
            >>> UnitAddress.parse("ln_final.3"), str(UnitAddress(0, "ln_final", 3))
            (UnitAddress(layer=0, site='ln_final', unit=3), 'ln_final.3')
        """
        match = _ADDRESS.match(text.strip())
        if match is None:
            raise LensLocError(
                f"{text!r} is not a unit address; write one like L12.resid_post.507 "
                "(layer, site, unit)."
            )
        site = match["site"] or match["alone"]
        return cls(int(match["layer"] or 0), site, int(match["unit"]))


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

"""Protocol: a published way to localize, as data: pooling, tokens, statistic, sites, selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lensloc.errors import LensLocError
from lensloc.units.rules import SelectionRule
from lensloc.vocabulary import PROTOCOLS as PROTOCOLS

_TESTS = ("welch", "paired")


@dataclass(frozen=True)
class Protocol:
    """How units are localized: everything but the stimuli and the number of units.

    A contrast whose localizer was published carries the published protocol
    (:attr:`lensloc.Contrast.protocol`); :func:`lensloc.localize` takes a protocol, or its name.

    Attributes:
        name: short name, as it stands in provenance.
        pooling: over which tokens of a stimulus.
        max_tokens: so many tokens of a stimulus are used; None for whole stimuli.
        absolute: whether absolute activations are compared.
        test: ``"welch"`` or ``"paired"``.
        sites: where units live.
        selection: how units are chosen, however many.
        citation: author and year of the publication, if there is one.
        stimuli: hash (:attr:`lensloc.Contrast.content_hash`) of the stimuli that it was published
            with, where they are at hand; empty otherwise.

    Example:
        >>> import lensloc as ll
        >>> ll.contrasts.language().protocol.max_tokens
        12
        >>> ll.Protocol("signed", pooling="mean", absolute=False).test
        'welch'
    """

    name: str
    pooling: str = "last-token"
    max_tokens: int | None = None
    absolute: bool = True
    test: str = "welch"
    sites: tuple[str, ...] = ("resid_post",)
    selection: SelectionRule = field(default_factory=lambda: SelectionRule("top"))
    citation: str = ""
    stimuli: str = ""

    def __post_init__(self) -> None:
        sites: Sequence[str] | str = self.sites
        object.__setattr__(self, "sites", (sites,) if isinstance(sites, str) else tuple(sites))
        if not self.name or not self.sites:
            raise LensLocError("A protocol has a name and at least one site; give them.")
        if self.test not in _TESTS:
            raise LensLocError(f"There is no test {self.test!r}; there are {', '.join(_TESTS)}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise LensLocError(
                f"At least one token of a text must be kept; {self.max_tokens} keeps none."
            )


LENSLOC = Protocol("lensloc")
"""The default: whole stimuli, otherwise as published for language."""

_NAME, _CITATION = "alkhamissi2024", "AlKhamissi et al. 2024"
ALKHAMISSI2024 = Protocol(_NAME, citation=_CITATION)
"""AlKhamissi et al. (arXiv 2411.02280) on stimuli that they did not publish."""

PUBLISHED: Mapping[str, Protocol] = MappingProxyType(
    {
        # 12 tokens are as many as the words of a stimulus.
        "language": Protocol(_NAME, max_tokens=12, citation=_CITATION),
        "theory-of-mind": Protocol(_NAME, pooling="mean", citation=_CITATION),
        "multiple-demand": Protocol(_NAME, pooling="mean", citation=_CITATION),
    }
)
"""What AlKhamissi et al. do with each of their contrasts."""

_NAMED = {LENSLOC.name: LENSLOC, ALKHAMISSI2024.name: ALKHAMISSI2024}


def resolved(protocol: str | Protocol, carried: Protocol | None) -> Protocol:
    """Return what a protocol's name means for a contrast that carries another, or none.

    Args:
        protocol: a name, or a protocol, which is returned as it is.
        carried: the published protocol of the contrast.

    Raises:
        LensLocError: if there is none of that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if carried is not None and carried.name == protocol:
        return carried
    if protocol not in _NAMED:
        raise LensLocError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    return _NAMED[protocol]

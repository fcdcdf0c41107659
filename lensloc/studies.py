"""Studies: short compositions of loading, capturing, testing and selecting."""

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, Literal, get_args

import pandas as pd

from lensloc.capture import Pooling, capture
from lensloc.errors import LensLocError
from lensloc.models import ModelCard, describe
from lensloc.provenance import Provenance
from lensloc.selectivity import Direction, Selectivity, welch
from lensloc.sites import get_site, hook_names
from lensloc.stimuli import Contrast
from lensloc.store import Store
from lensloc.units import UnitMask

Protocol = Literal["lensloc", "alkhamissi2024"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

# The published localizer cuts its language stimuli off after so many tokens.
_PUBLISHED_LANGUAGE_TOKENS = 12


@dataclass(frozen=True)
class Seconds:
    """How long the parts of a localization took, in seconds."""

    forward: float = 0.0
    statistics: float = 0.0


@dataclass(frozen=True)
class Localization(Mapping[str, Selectivity]):
    """What :func:`localize` found: site name -> :class:`~lensloc.selectivity.Selectivity`.

    With one site, its methods (``top``, ``bottom``, ``between``, ``significant``) can be called
    here too.

    Attributes:
        contrast: the stimuli.
        selectivity: site name -> statistics of every unit.
        n_tokens: tokens of the stimuli, pads not counted.
        seconds: of the forward passes and of the statistics; 0 for what came from a store.
        from_store: sites whose statistics came from a store.
    """

    contrast: Contrast
    selectivity: Mapping[str, Selectivity]
    n_tokens: int
    seconds: Seconds
    from_store: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "selectivity", MappingProxyType(dict(self.selectivity)))

    def __getitem__(self, site: str) -> Selectivity:
        if site not in self.selectivity:
            raise LensLocError(
                f"The site {site!r} was not localized; these were: {', '.join(self.selectivity)}."
            )
        return self.selectivity[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.selectivity)

    def __len__(self) -> int:
        return len(self.selectivity)

    def __repr__(self) -> str:
        maps = ", ".join(repr(found) for found in self.selectivity.values())
        return f"Localization({maps})"

    def _only(self) -> Selectivity:
        if len(self) != 1:
            raise LensLocError(
                f"{len(self)} sites were localized; say which, e.g. "
                f"found[{next(iter(self))!r}].top(percent=1)."
            )
        return next(iter(self.selectivity.values()))

    def top(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of largest t of the only site; see :meth:`Selectivity.top`."""
        return self._only().top(percent=percent, k=k)

    def bottom(self, *, percent: float | None = None, k: int | None = None) -> UnitMask:
        """Return the units of smallest t of the only site; see :meth:`Selectivity.bottom`."""
        return self._only().bottom(percent=percent, k=k)

    def between(self, lo: float, hi: float, k: int, seed: int) -> UnitMask:
        """Draw units between percentiles of t of the only site; see :meth:`Selectivity.between`."""
        return self._only().between(lo, hi, k, seed)

    def significant(self, q: float = 0.05, direction: Direction = "target") -> UnitMask:
        """Return the significant units of the only site; see :meth:`Selectivity.significant`."""
        return self._only().significant(q, direction)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a unit of every site."""
        tables = [found.to_dataframe() for found in self.selectivity.values()]
        return pd.concat(tables, ignore_index=True)


def localize(
    model: Any,
    contrast: Contrast,
    sites: Sequence[str] = ("resid_post",),
    *,
    pooling: Pooling = "last-token",
    protocol: Protocol = "lensloc",
    absolute: bool = True,
    batch_size: int | Literal["auto"] = "auto",
    max_tokens: int | None = None,
    progress: bool = True,
    store: Store | None = None,
    recompute: bool = False,
) -> Localization:
    """Find how selective every unit is: one forward pass over the stimuli, one t-test a unit.

    Follows AlKhamissi et al. (arXiv 2411.02280): Welch's t on the absolute pooled activations,
    target against control. ``protocol="alkhamissi2024"`` also cuts the language contrast off after
    12 tokens, as the published code does; ``"lensloc"`` uses whole stimuli.

    Args:
        model: a loaded model (:func:`lensloc.load_model`, or a HookedTransformer of your own).
        contrast: the stimuli.
        sites: where units live; all of them are captured in the same pass.
        pooling: over which tokens of a stimulus; see :func:`lensloc.capture.capture`.
        protocol: ``"lensloc"`` or ``"alkhamissi2024"``.
        absolute: test absolute values.
        batch_size: texts a batch; does not change the result.
        max_tokens: cut stimuli off after so many tokens, whatever the protocol.
        progress: show a progress bar.
        store: look here for what was computed before, and keep results here.
        recompute: do not look, only keep.

    Returns:
        The statistics of every unit, by site.

    Raises:
        LensLocError: unknown site, pooling or protocol; a site that the model lacks; stimuli that
            the model cannot take; a model that does not pass its check.
    """
    if protocol not in PROTOCOLS:
        raise LensLocError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    if not sites:
        raise LensLocError("No site was named; name at least one, e.g. resid_post.")
    if isinstance(sites, str):
        sites = (sites,)
    for site in sites:
        hook_names(get_site(site), model)
    if protocol == "alkhamissi2024" and contrast.name == "language" and max_tokens is None:
        max_tokens = _PUBLISHED_LANGUAGE_TOKENS
    made = _provenance(describe(model), contrast, pooling, protocol, absolute, max_tokens)
    keys = {site: _key(made, contrast, site) for site in dict.fromkeys(sites)}
    known: dict[str, tuple[Selectivity, int]] = {}
    if store is not None and not recompute:
        known = {site: hit for site, key in keys.items() if (hit := store.load(key)) is not None}
    missing = [site for site in keys if site not in known]
    seconds, n_tokens = Seconds(), max((tokens for _, tokens in known.values()), default=0)
    found: dict[str, Selectivity] = {site: hit[0] for site, hit in known.items()}
    if missing:
        captured = capture(
            model,
            contrast.texts,
            contrast.labels,
            missing,
            pooling=pooling,
            batch_size=batch_size,
            max_tokens=max_tokens,
            progress=progress,
        )
        start = time.perf_counter()
        for site, responses in captured.responses.items():
            found[site] = welch(
                responses, contrast.target, contrast.control, absolute=absolute, provenance=made
            )
        seconds = Seconds(captured.seconds, time.perf_counter() - start)
        n_tokens = captured.n_tokens
        if store is not None:
            for site in missing:
                store.save(keys[site], found[site], n_tokens)
    return Localization(
        contrast, {site: found[site] for site in keys}, n_tokens, seconds, tuple(known)
    )


def _provenance(
    card: ModelCard,
    contrast: Contrast,
    pooling: str,
    protocol: str,
    absolute: bool,
    max_tokens: int | None,
) -> Provenance:
    return Provenance(
        model=card.name,
        revision=card.revision,
        weights_hash=card.weights_hash,
        architecture=card.architecture,
        backend=card.backend,
        processing=card.processing,
        untrained=card.untrained,
        check=card.check,
        prepends_bos=card.prepends_bos,
        contrast=contrast.name,
        contrast_hash=contrast.content_hash,
        target=contrast.target,
        control=contrast.control,
        pooling=pooling,
        protocol=protocol,
        absolute=absolute,
        max_tokens=max_tokens,
        lensloc=metadata.version("lensloc"),
        transformer_lens=metadata.version("transformer-lens"),
        torch=metadata.version("torch"),
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _key(made: Provenance, contrast: Contrast, site: str) -> dict[str, Any]:
    """Everything that a result depends on, and nothing that it does not (name, date, device)."""
    return {
        "weights": made.weights_hash,
        "backend": made.backend,
        "bos": made.prepends_bos,
        "stimuli": contrast.content_hash,
        "site": site,
        "pooling": made.pooling,
        "protocol": made.protocol,
        "absolute": made.absolute,
        "max_tokens": made.max_tokens,
        "versions": [made.lensloc, made.transformer_lens, made.torch],
    }

"""Localize: one forward pass over the stimuli, one t-test a unit."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from lensloc import html
from lensloc.capture import Pooling, capture, capture_moments
from lensloc.cards import provenance_of
from lensloc.errors import LensLocError, refuse_idle
from lensloc.lesion import Lesion, has_other_hooks, open_lesions
from lensloc.models import ModelCard, describe
from lensloc.provenance import Provenance
from lensloc.responses import Responses
from lensloc.selectivity import (
    TESTS,
    Direction,
    Selectivity,
    Test,
    paired,
    summarised,
    welch,
    welch_of_moments,
)
from lensloc.sites import get_site, hook_names
from lensloc.stimuli import Contrast
from lensloc.stimuli.balance import WARN_ABOVE, length, standardised_difference
from lensloc.store import Store
from lensloc.units import UnitMask

log = logging.getLogger(__name__)

Protocol = Literal["lensloc", "alkhamissi2024"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

# The published localizer cuts its language stimuli off after so many tokens.
PUBLISHED_LANGUAGE_TOKENS = 12


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
        warnings: what a reader of the result should know, in sentences.
        responses: site name -> pooled activations of every stimulus, if they were to be kept.
    """

    contrast: Contrast
    selectivity: Mapping[str, Selectivity]
    n_tokens: int
    seconds: Seconds
    from_store: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    responses: Mapping[str, Responses] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("selectivity", "responses"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __getitem__(self, site: str) -> Selectivity:
        if site not in self.selectivity:
            raise LensLocError(
                f"The site {site!r} was not localized; these were: {', '.join(self.selectivity)}."
            )
        return self.selectivity[site]

    def __contains__(self, site: object) -> bool:
        return site in self.selectivity

    def __iter__(self) -> Iterator[str]:
        return iter(self.selectivity)

    def __len__(self) -> int:
        return len(self.selectivity)

    def __repr__(self) -> str:
        maps = ", ".join(repr(found) for found in self.selectivity.values())
        return f"Localization({maps})"

    def _repr_html_(self) -> str:
        rows, shares = [], []
        for site, found in self.selectivity.items():
            network = found.top(k=max(1, found.t.numel() // 100))
            shares.append(network.percent_per_layer().tolist())
            rows.append(
                {
                    "site": site,
                    "units": " x ".join(f"{n:,}" for n in found.shape),
                    "largest t": float(found.t.max()),
                    "% with q < 0.05": 100 * float((found.q < 0.05).double().mean()),
                    "top 1 %": len(network),
                    "of these outliers": len(network & found.outliers()),
                }
            )
        # Sites of models may differ in layers only where a site leaves some out.
        layers = [[found[i] if i < len(found) else np.nan for found in shares]
                  for i in range(max(map(len, shares), default=0))]  # fmt: skip
        picture = html.heatmap(
            layers, label="share of every layer's units in the top 1 %", cell=(28, 5)
        )
        sides = f"{' + '.join(self.contrast.target)} > {' + '.join(self.contrast.control)}"
        return html.card(
            f"Localization of {self.contrast.name}: {sides}",
            html.table(rows),
            html.captioned(
                picture, "share of units in the top 1 %, layer (0 at the bottom) by site"
            ),
        )

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
    test: Test = "welch",
    keep_responses: bool = False,
    batch_size: int | Literal["auto"] = "auto",
    max_tokens: int | None = None,
    truncate: bool = False,
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
        test: ``"welch"``, or ``"paired"`` where the n-th target and the n-th control stimulus
            belong together.
        keep_responses: also return every stimulus' responses (permutation tests, intervals and
            profiles of single units need them); takes memory in proportion to the stimuli, and
            what a store holds is not used.
        batch_size: texts a batch; does not change the result.
        max_tokens: cut stimuli off after so many tokens, whatever the protocol.
        truncate: cut stimuli that are longer than the context window, instead of refusing them.
        progress: show a progress bar.
        store: look here for what was computed before, and keep results here.
        recompute: do not look, only keep; refused without a store.

    Returns:
        The statistics of every unit, by site.

    Raises:
        LensLocError: unknown site, pooling or protocol; a site that the model lacks; stimuli that
            the model cannot take.
    """
    if store is None:
        refuse_idle("there is no store to look in; leave it out", recompute=recompute)
    sites = _checked(model, sites, protocol, test)
    if protocol == "alkhamissi2024" and contrast.name == "language" and max_tokens is None:
        max_tokens = PUBLISHED_LANGUAGE_TOKENS
    lesions = open_lesions(model)
    made = _provenance(describe(model), contrast, pooling, protocol, absolute, max_tokens).replace(
        test=test, lesion="; ".join(found.description for found in lesions)
    )
    keys = {site: _key(made, lesions, site, truncate) for site in dict.fromkeys(sites)}
    if store is not None and has_other_hooks(model):
        log.info("hooks are open on the model: its results are neither looked up nor kept")
        store = None
    known: dict[str, tuple[Selectivity, int]] = {}
    if store is not None and not recompute and not keep_responses:
        known = {site: hit for site, key in keys.items() if (hit := store.load(key)) is not None}
    missing = [site for site in keys if site not in known]
    seconds, n_tokens = Seconds(), max((tokens for _, tokens in known.values()), default=0)
    found: dict[str, Selectivity] = {site: hit[0] for site, hit in known.items()}
    responses: Mapping[str, Responses] = {}
    if missing:
        options: dict[str, Any] = {
            "pooling": pooling,
            "batch_size": batch_size,
            "max_tokens": max_tokens,
            "truncate": truncate,
            "progress": progress,
        }
        if keep_responses or test == "paired":
            computed, responses, n_tokens, seconds = _by_stimulus(
                model, contrast, missing, made, options
            )
        else:
            computed, n_tokens, seconds = _by_moments(model, contrast, missing, made, options)
        found |= computed
        if store is not None:
            for site in missing:
                store.save(keys[site], found[site], n_tokens)
    warnings = _length_warnings(model, contrast, max_tokens)
    return Localization(
        contrast,
        {site: found[site] for site in keys},
        n_tokens,
        seconds,
        tuple(known),
        warnings,
        responses if keep_responses else {},
    )


def _checked(model: Any, sites: str | Sequence[str], protocol: str, test: str) -> list[str]:
    """Return the sites' own names."""
    if protocol not in PROTOCOLS:
        raise LensLocError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    if test not in TESTS:
        raise LensLocError(f"There is no test {test!r}; there are {', '.join(TESTS)}.")
    if not sites:
        raise LensLocError("No site was named; name at least one, e.g. resid_post.")
    chosen = [get_site(site) for site in ((sites,) if isinstance(sites, str) else sites)]
    for site in chosen:
        hook_names(site, model)
    return [site.name for site in chosen]


def _by_stimulus(
    model: Any,
    contrast: Contrast,
    sites: Sequence[str],
    made: Provenance,
    options: Mapping[str, Any],
) -> tuple[dict[str, Selectivity], Mapping[str, Responses], int, Seconds]:
    captured = capture(model, contrast.texts, contrast.labels, sites, **options)
    start = time.perf_counter()
    test = paired if made.test == "paired" else welch
    found = {
        site: test(
            responses, contrast.target, contrast.control, absolute=made.absolute, provenance=made
        )
        for site, responses in captured.responses.items()
    }
    seconds = Seconds(captured.seconds, time.perf_counter() - start)
    return found, captured.responses, captured.n_tokens, seconds


def _by_moments(
    model: Any,
    contrast: Contrast,
    sites: Sequence[str],
    made: Provenance,
    options: Mapping[str, Any],
) -> tuple[dict[str, Selectivity], int, Seconds]:
    captured = capture_moments(
        model, contrast.texts, contrast.labels, sites, absolute=made.absolute, **options
    )
    start = time.perf_counter()
    found = {
        site: welch_of_moments(
            site,
            summarised(moments, contrast.target, "target"),
            summarised(moments, contrast.control, "control"),
            made,
        )
        for site, moments in captured.moments.items()
    }
    return found, captured.n_tokens, Seconds(captured.seconds, time.perf_counter() - start)


def token_lengths(model: Any, contrast: Contrast, max_tokens: int | None) -> dict[str, list[float]]:
    """Return how many tokens of every target and control text are used."""
    most = max_tokens or model.cfg.n_ctx
    return {
        role: [
            float(min(length(text, "tokens", model), most))
            for name in names
            for text in contrast.conditions[name]
        ]
        for role, names in (("target", contrast.target), ("control", contrast.control))
    }


def _length_warnings(model: Any, contrast: Contrast, max_tokens: int | None) -> tuple[str, ...]:
    lengths = token_lengths(model, contrast, max_tokens)
    difference = standardised_difference(lengths["target"], lengths["control"])
    means = {role: float(np.mean(found)) for role, found in lengths.items()}
    if abs(difference) <= WARN_ABOVE:
        return ()
    return (
        f"The target averages {means['target']:.1f} tokens a text and the control "
        f"{means['control']:.1f}; a difference in length can pass for selectivity "
        "(see Contrast.matched and contrasts.confound_check).",
    )


# -- provenance ------------------------------------------------------------------------------------


def _provenance(
    card: ModelCard,
    contrast: Contrast,
    pooling: str,
    protocol: str,
    absolute: bool,
    max_tokens: int | None,
) -> Provenance:
    return provenance_of(
        card,
        contrast=contrast.name,
        contrast_hash=contrast.content_hash,
        target=contrast.target,
        control=contrast.control,
        pooling=pooling,
        protocol=protocol,
        absolute=absolute,
        max_tokens=max_tokens,
    )


def _key(made: Provenance, lesions: Sequence[Lesion], site: str, truncate: bool) -> dict[str, Any]:
    """Everything that a result depends on, and nothing that it does not (name, date, device)."""
    return {
        "weights": made.weights_hash,
        "backend": made.backend,
        "bos": made.prepends_bos,
        "lesions": [found.settings for found in lesions],
        "stimuli": made.contrast_hash,
        "site": site,
        "pooling": made.pooling,
        "protocol": made.protocol,
        "absolute": made.absolute,
        "test": made.test,
        "max_tokens": made.max_tokens,
        "kurtosis": True,  # is among what is kept, as it was not at first
        "truncate": truncate,  # so that without it, long texts are refused as ever
        "versions": [made.lensloc, made.transformer_lens, made.torch],
    }

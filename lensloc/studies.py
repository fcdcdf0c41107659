"""Studies: short compositions of loading, capturing, testing and selecting."""

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import bootstrap
from torch import Tensor

from lensloc.capture import Pooling, capture
from lensloc.errors import LensLocError
from lensloc.models import ModelCard, describe
from lensloc.profiles import ResponseProfile
from lensloc.provenance import Provenance
from lensloc.responses import Responses
from lensloc.selectivity import Direction, Selectivity, welch
from lensloc.sites import get_site, hook_names
from lensloc.stimuli import Contrast
from lensloc.stimuli.balance import WARN_ABOVE, length, standardised_difference
from lensloc.stimuli.bundled import language
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
        warnings: what a reader of the result should know, in sentences.
    """

    contrast: Contrast
    selectivity: Mapping[str, Selectivity]
    n_tokens: int
    seconds: Seconds
    from_store: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
        batch_size: texts a batch; does not change the result.
        max_tokens: cut stimuli off after so many tokens, whatever the protocol.
        truncate: cut stimuli that are longer than the context window, instead of refusing them.
        progress: show a progress bar.
        store: look here for what was computed before, and keep results here.
        recompute: do not look, only keep.

    Returns:
        The statistics of every unit, by site.

    Raises:
        LensLocError: unknown site, pooling or protocol; a site that the model lacks; stimuli that
            the model cannot take.
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
    keys = {site: _key(made, contrast, site, truncate) for site in dict.fromkeys(sites)}
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
            truncate=truncate,
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
    warnings = _length_warnings(model, contrast, max_tokens)
    return Localization(
        contrast, {site: found[site] for site in keys}, n_tokens, seconds, tuple(known), warnings
    )


# -- is it length? ---------------------------------------------------------------------------------


def confound_check(
    model: Any,
    contrast: Contrast | None = None,
    *,
    percent: float = 1,
    site: str = "resid_post",
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Ask how many of the units that the published protocol picks are owed to its stimuli's length.

    The published protocol cuts the language contrast after 12 tokens and pools the last one, which
    compares whole words with fragments at another depth of context. Its units are held against
    those of whole stimuli, of pooling at word ends, of stimuli matched in tokens, and of either
    half of the stimuli; what two halves share under the same protocol is the most to be expected.

    Args:
        model: a loaded model.
        contrast: the stimuli; the bundled language contrast if None.
        percent: how many units each procedure selects.
        site: where units live.
        seed: of the halves.
        batch_size: texts a batch.
        progress: show progress bars.

    Returns:
        One row a comparison: ``procedure``, ``against``, ``units``, ``shared``, ``share`` and
        ``chance`` in per cent, ``texts`` and mean ``tokens`` of target and control.

    Raises:
        LensLocError: as :func:`localize` does.
    """
    texts = contrast or language()
    half_a, half_b = texts.split(seed)
    matched = texts.matched(model, on="tokens")

    def select(stimuli: Contrast, **settings: Any) -> UnitMask:
        settings = {"progress": progress, "batch_size": batch_size} | settings
        return localize(model, stimuli, [site], **settings).top(percent=percent)

    cut = {"max_tokens": _PUBLISHED_LANGUAGE_TOKENS}
    published = select(texts, **cut)
    first, second = select(half_a, **cut), select(half_b, **cut)
    runs = [
        ("whole stimuli, last token", select(texts), published, texts),
        ("whole stimuli, word ends", select(texts, pooling="word-end"), published, texts),
        ("matched in tokens, last token", select(matched), published, matched),
        ("matched in tokens, word ends", select(matched, pooling="word-end"), published, matched),
        ("published, first half of the stimuli", first, published, half_a),
        ("published, second half of the stimuli", second, published, half_b),
        ("published, first half of the stimuli", first, second, half_a),
    ]
    rows = []
    for name, units, against, stimuli in runs:
        shared = len(units & against)
        lengths = _token_lengths(model, stimuli, cut["max_tokens"] if "published" in name else None)
        rows.append(
            {
                "procedure": name,
                "against": "published" if against is published else "published, second half",
                "units": len(units),
                "shared": shared,
                "share": 100 * shared / len(against),
                "chance": 100 * len(units) / units.mask.numel(),
                "texts_target": sum(len(stimuli.conditions[n]) for n in stimuli.target),
                "texts_control": sum(len(stimuli.conditions[n]) for n in stimuli.control),
                "tokens_target": float(np.mean(lengths["target"])),
                "tokens_control": float(np.mean(lengths["control"])),
            }
        )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _token_lengths(
    model: Any, contrast: Contrast, max_tokens: int | None
) -> dict[str, list[float]]:
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
    lengths = _token_lengths(model, contrast, max_tokens)
    difference = standardised_difference(lengths["target"], lengths["control"])
    means = {role: float(np.mean(found)) for role, found in lengths.items()}
    if abs(difference) <= WARN_ABOVE:
        return ()
    return (
        f"The target averages {means['target']:.1f} tokens a text and the control "
        f"{means['control']:.1f}; a difference in length can pass for selectivity "
        "(see Contrast.matched and contrasts.confound_check).",
    )


# -- response profiles -----------------------------------------------------------------------------


def response_profile(
    model: Any,
    mask: UnitMask,
    contrast: Contrast,
    *,
    cross_validate: bool | Literal["auto"] = "auto",
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = True,
) -> ResponseProfile:
    """Measure the masked units' mean response in every condition, also those without a role.

    A mask that was selected with this contrast is measured fairly only on stimuli that it was not
    selected on: then as many units are picked at its site on one half of the stimuli and measured
    on the other, and the other way round. Pooling and truncation are those of the mask.

    Args:
        model: a loaded model.
        mask: the units.
        contrast: conditions to measure.
        cross_validate: pick and measure on different halves; ``"auto"`` does so if the mask was
            selected with this contrast.
        confidence: of the percentile bootstrap intervals, over stimuli.
        n_resamples: of the bootstrap.
        seed: of halves and bootstrap.
        batch_size: texts a batch.
        progress: show a progress bar.

    Raises:
        LensLocError: if the mask does not fit the model, or is empty.
    """
    if len(mask) == 0:
        raise LensLocError("The mask holds no unit, so there is no response to measure.")
    made = mask.provenance
    if cross_validate == "auto":
        cross_validate = made.contrast_hash == contrast.content_hash
    every = {name: texts for name, texts in contrast.conditions.items()}
    texts = [text for found in every.values() for text in found]
    labels = [name for name, found in every.items() for _ in found]
    captured = capture(
        model,
        texts,
        labels,
        [mask.site],
        pooling=made.pooling or "last-token",  # type: ignore[arg-type]
        max_tokens=made.max_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    responses = captured.responses[mask.site]
    n_layers, n_units = responses.values.shape[1:]
    mask.require_shape((n_layers, n_units), describe(model).name)
    values = responses.values.double().cpu()
    scores = pd.DataFrame(
        {"condition": labels, "row": [row for found in every.values() for row in range(len(found))]}
    )
    if cross_validate:
        first, second = contrast.split_rows(seed)
        for picked_on, measured_on in ((first, second), (second, first)):
            picked = _flat_rows(every, picked_on)
            units = welch(
                Responses(mask.site, values[picked], tuple(labels[i] for i in picked)),
                contrast.target,
                contrast.control,
                absolute=made.absolute,
            ).top(k=len(mask))
            _score(scores, values, _flat_rows(every, measured_on), units)
    else:
        _score(scores, values, list(range(len(texts))), mask)
    table = _summarise(scores, list(every), confidence, n_resamples, seed)
    return ResponseProfile(table, scores, bool(cross_validate), len(mask), mask.site, confidence)


_SCORES = ("absolute", "signed", "standardised")


def _flat_rows(conditions: Mapping[str, Sequence[str]], rows: Mapping[str, list[int]]) -> list[int]:
    offsets, total = {}, 0
    for name, texts in conditions.items():
        offsets[name] = total
        total += len(texts)
    return [offsets[name] + row for name, found in rows.items() for row in found]


def _score(
    scores: pd.DataFrame,
    values: Float[Tensor, "stimulus layer unit"],
    rows: list[int],
    units: UnitMask,
) -> None:
    """Write the mean response of the units to some stimuli into the table of scores."""
    chosen = values[:, units.mask]
    size = chosen.abs()
    spread = size.std(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    standardised = (size - size.mean(dim=0)) / spread
    for name, found in zip(_SCORES, (size, chosen, standardised), strict=True):
        scores.loc[rows, name] = found[rows].mean(dim=1).numpy()


def _summarise(
    scores: pd.DataFrame, names: list[str], confidence: float, n_resamples: int, seed: int
) -> pd.DataFrame:
    rows = []
    for name in names:
        found = scores[scores["condition"] == name]
        row: dict[str, Any] = {"condition": name, "stimuli": len(found)}
        for score in _SCORES:
            sample = found[score].to_numpy()
            row[score] = float(sample.mean())
            low = high = float(sample.mean())
            if len(sample) > 1:
                interval = bootstrap(
                    (sample,),
                    np.mean,
                    method="percentile",
                    confidence_level=confidence,
                    n_resamples=n_resamples,
                    rng=np.random.default_rng(seed),
                ).confidence_interval
                low, high = float(interval.low), float(interval.high)
            row |= {f"{score}_low": low, f"{score}_high": high}
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


# -- provenance ------------------------------------------------------------------------------------


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
        dtype=card.dtype,
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


def _key(made: Provenance, contrast: Contrast, site: str, truncate: bool) -> dict[str, Any]:
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
        "truncate": truncate,  # so that without it, long texts are refused as ever
        "versions": [made.lensloc, made.transformer_lens, made.torch],
    }

"""What the explorer shows, as plain data that JSON holds: units in order, and their responses."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch

from lensloc.contrasts.pictures import thumbnails
from lensloc.errors import LensLocError, unwarned
from lensloc.forward.sites import unit_in_words
from lensloc.pages.explorer.by_token import coded, pieces_of, tokens_by_site
from lensloc.pages.explorer.packing import packed
from lensloc.selectivity import Selectivity
from lensloc.studies import Localization
from lensloc.units.mask import UnitMask
from lensloc.units.ragged import of_all
from lensloc.units.selection import ranked
from lensloc.units.stimuli import Stimulus
from lensloc.units.token_responses import TokenResponses
from lensloc.vocabulary import ONE_LAYER_SITES

Side = Literal["target", "control"]
SIDES: tuple[Side, ...] = ("target", "control")
_LEAST = 0.1
_STEPS = 2**16 - 1
_LONGEST_TEXT = 4000
_BYTES_A_UNIT = 12  # beside its responses: index, smallest response, step

_MISSING = (
    "Responses to single stimuli were not kept, so there is no distribution to show; localize with "
    "keep_responses=True to have it."
)
_BEYOND = (
    "Responses to single stimuli are kept here for the most selective units only, so that the page "
    "stays small; this one is not among them."
)


def payload(
    found: Localization,
    *,
    percent: float,
    most: float,
    most_bytes: int,
    tokens: TokenResponses | Iterable[TokenResponses] | None = None,
) -> dict[str, Any]:
    """Return what the explorer needs to know.

    Units of either side stand in the order in which :meth:`Selectivity.top` and ``bottom`` take
    them, so that a percentage is the beginning of a list. Responses are whole numbers of 16 bits,
    from a unit's smallest response (0) to its largest (65,535): off by at most 1 in 131,070 of its
    range.

    Args:
        found: the localization.
        percent: how many units are shown selected at first.
        most: the largest percentage to choose; only so many units are known to the explorer.
        most_bytes: of all responses together; the most selective units come first.
        tokens: responses by token, with which texts are coloured.

    Raises:
        LensLocError: for percentages that make no sense, or responses that do not belong to the
            stimuli.
    """
    if not 0 < percent <= most <= 100:
        raise LensLocError(
            f"The percentage of units that is shown first ({percent:g}) must be above 0 and at "
            f"most the largest to choose ({most:g}), which is at most 100."
        )
    contrast, made = found.contrast, next(iter(found.values())).provenance
    texts, labels = _shown(found)
    names = list(dict.fromkeys(labels))
    by_token = tokens_by_site(tokens, found)
    pieces = pieces_of(by_token, labels)
    kept = _kept(found, percent, most, most_bytes)
    pooled = made.pooling.replace("-", " ") or "pooled"
    return {
        "contrast": contrast.name,
        "target": " + ".join(contrast.target),
        "control": " + ".join(contrast.control),
        "absolute": made.absolute,
        "measure": f"absolute activation ({pooled})",
        "measure_signed": f"activation ({pooled})",
        "percent": percent,
        "least": min(_LEAST, percent),
        "most": most,
        "warnings": list(found.warnings),
        "missing": _MISSING,
        "beyond": _BEYOND,
        "stimuli": {
            "conditions": [
                {"name": name, "role": _role(name, contrast.target, contrast.control)}
                for name in names
            ],
            "condition": [names.index(label) for label in labels],
            "text": [_in_short(text) for text in texts],
            "picture": thumbnails(texts),
            "tokens": pieces,
        },
        "sites": [
            {
                "name": site,
                "what": unit_in_words(site, selectivity.provenance),
                "layers": selectivity.shape[0],
                "alone": site in ONE_LAYER_SITES,
                "units": selectivity.shape[1],
                "widths": list(of_all(selectivity.shape, selectivity.widths)),
                "available": _available(selectivity),
                **{side: _side(selectivity, side, most) for side in SIDES},
                "responses": _responses(found, site, kept[site]) if kept else None,
                "tokens": coded(by_token.get(site), selectivity, most_bytes // max(1, len(found))),
            }
            for site, selectivity in found.items()
        ],
    }


def _in_short(text: str) -> str:
    """Return what a page shows of a stimulus: a name, or a text, of a long one its two ends."""
    if isinstance(text, Stimulus):
        return text.name
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"


def _shown(found: Localization) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stimuli that were kept, and their conditions: those with a role, or all.

    Raises:
        LensLocError: if responses are to others.
    """
    contrast = found.contrast
    every = contrast.conditions
    both = [
        (contrast.texts, contrast.labels),
        (
            tuple(text for texts in every.values() for text in texts),
            tuple(name for name, texts in every.items() for _ in texts),
        ),
    ]
    fits = [
        (texts, labels)
        for texts, labels in both
        if all(each.conditions == labels for each in found.responses.values())
    ]
    if not fits:
        site = next(iter(found.responses))
        raise LensLocError(
            f"The responses at {site} are not those to the stimuli of {contrast.name}; "
            "localize again with keep_responses=True."
        )
    return fits[0]


def _role(name: str, target: Iterable[str], control: Iterable[str]) -> str:
    if name in target:
        return "target"
    return "control" if name in control else "other"


def best(found: Selectivity, side: Side, percent: float) -> UnitMask | None:
    """Return the units of a side that a percentage selects; None if it is less than one.

    Where units are excluded from selection, these are no more than the others.
    """
    wanted = int((percent / 100) * found.n_units)
    count = min(wanted, _available(found))
    if count == 0:
        return None
    size: dict[str, Any] = {"percent": percent} if count == wanted else {"k": count}
    with unwarned():  # what is shown has the localization's warnings beside it
        return found.top(**size) if side == "target" else found.bottom(**size)


def _available(found: Selectivity) -> int:
    return found.n_units - (0 if found.excluded is None else int(found.excluded.sum()))


def _order(found: Selectivity, side: Side, percent: float) -> "torch.Tensor":
    """Return the flat indices of the units that a percentage selects, most selective first."""
    mask = best(found, side, percent)
    if mask is None:
        return torch.zeros(0, dtype=torch.long)
    assert mask.score is not None
    return ranked(mask.score)[: len(mask)]


def _side(found: Selectivity, side: Side, most: float) -> dict[str, str]:
    order = _order(found, side, most)
    with np.errstate(divide="ignore"):  # q = 0 is told apart from small ones
        log10_q = np.log10(found.q.flatten()[order].numpy())
    return {
        "unit": packed(order.numpy(), "<u4"),
        "t": packed(found.t.flatten()[order].numpy(), "<f4"),
        "d": packed(found.d.flatten()[order].numpy(), "<f4"),
        "log10_q": packed(log10_q, "<f4"),
        "outlier": packed(found.outliers().mask.flatten()[order].numpy(), "u1"),
    }


def _kept(
    found: Localization, percent: float, most: float, most_bytes: int
) -> Mapping[str, list[int]]:
    """Return the units of every site whose responses are kept; none if there are no responses.

    First come those that are shown selected at first, then their opposites, then what else can be
    chosen, all sites alike.
    """
    if not all(site in found.responses for site in found):
        return {}
    room = max(0, most_bytes) // (2 * len(_shown(found)[0]) + _BYTES_A_UNIT)
    kept: dict[str, dict[int, None]] = {site: {} for site in found}
    stages: list[tuple[Side, float]] = [
        ("target", percent), ("control", percent), ("target", most), ("control", most),
    ]  # fmt: skip
    for side, until in stages:
        wanted = {
            site: [u for u in _order(found[site], side, until).tolist() if u not in kept[site]]
            for site in found
        }
        total = sum(map(len, wanted.values()))
        share = min(1.0, room / total) if total else 0.0
        for site, units in wanted.items():
            taken = units[: int(share * len(units))]
            kept[site] |= dict.fromkeys(taken)
            room -= len(taken)
        if share < 1 and total:
            break
    return {site: list(units) for site, units in kept.items()}


def _responses(found: Localization, site: str, units: list[int]) -> dict[str, str]:
    values = found.responses[site].values
    chosen = values.reshape(len(values), -1)[:, torch.tensor(units, dtype=torch.long)]
    table = chosen.T.cpu().double().numpy()
    if not units:
        low = step = np.zeros(0)
    else:
        low = table.min(axis=1)
        step = (table.max(axis=1) - low) / _STEPS
    safe = np.where(step > 0, step, 1.0)
    codes = np.rint((table - low[:, None]) / safe[:, None])
    return {
        "unit": packed(np.array(units), "<u4"),
        "low": packed(low, "<f4"),
        "step": packed(step, "<f4"),
        "codes": packed(codes, "<u2"),
    }

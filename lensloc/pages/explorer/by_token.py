"""What units do at every token, as the explorer colours it: whole numbers of 8 bits and a scale."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lensloc.arguments import require_a
from lensloc.errors import LensLocError
from lensloc.pages.explorer.packing import packed
from lensloc.selectivity import Selectivity
from lensloc.units.token_responses import TokenResponses

_LEVELS = 127


def tokens_by_site(
    given: TokenResponses | Iterable[TokenResponses] | None, sites: Iterable[str]
) -> dict[str, TokenResponses]:
    """Return site -> responses by token, of what was given for the explorer.

    Raises:
        LensLocError: for something else, a site that was not localized, or two of one site.
    """
    if given is None:
        return {}
    found: dict[str, TokenResponses] = {}
    known = list(sites)
    for each in (given,) if isinstance(given, TokenResponses) else given:
        require_a(TokenResponses, each, "tokens")
        if each.site not in known:
            raise LensLocError(
                f"The responses by token are at {each.site}, and the localization at "
                f"{', '.join(known)}; capture those of one of these sites."
            )
        if each.site in found:
            raise LensLocError(f"Responses by token at {each.site} are given twice; give one.")
        found[each.site] = each
    first = next(iter(found.values()), None)
    if first is not None and any(each.tokens != first.tokens for each in found.values()):
        raise LensLocError("The responses by token are to different tokens; capture them alike.")
    return found


def pieces_of(
    found: Mapping[str, TokenResponses], labels: Sequence[str]
) -> list[tuple[str, ...]] | None:
    """Return the tokens of every stimulus; None without responses by token.

    Raises:
        LensLocError: if they are of other stimuli than those that are shown.
    """
    first = next(iter(found.values()), None)
    if first is None:
        return None
    if first.conditions != tuple(labels):
        raise LensLocError(
            f"The responses by token are to {len(first.conditions)} stimuli, and those of the "
            f"localization are {len(labels)}, or in another order; capture them with "
            "ll.capture_tokens(model, contrast.texts, contrast.labels)."
        )
    return [first.tokens_of(number) for number in range(len(first))]


def coded(found: TokenResponses | None, map_: Selectivity, most_bytes: int) -> Any:
    """Return units, their scales and the codes of all tokens; the most selective units first.

    Args:
        found: responses by token; None for none.
        map_: by which units are selective.
        most_bytes: of all codes.
    """
    if found is None:
        return None
    flat = found.mask.mask.flatten().nonzero().flatten().numpy()
    t = map_.t.flatten().numpy()[flat]
    order = np.argsort(-np.abs(t), kind="stable")[: max(0, most_bytes) // max(1, len(found.tokens))]
    values = found.values[:, order.copy()].cpu().double().numpy()
    largest = np.abs(values).max(axis=0, initial=0.0)
    codes = np.rint(values / np.where(largest > 0, largest, 1.0) * _LEVELS)
    return {
        "unit": packed(flat[order], "<u4"),
        "largest": packed(largest, "<f4"),
        "codes": packed(codes.T, "i1"),
    }

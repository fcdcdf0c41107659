"""Is it length? The units of the published protocol against those of its remedies."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from lensloc.arguments import require_a, require_numbers
from lensloc.contrasts.bundled import language
from lensloc.contrasts.contrast import Contrast
from lensloc.contrasts.protocols import PUBLISHED
from lensloc.errors import unwarned
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.studies.localization import localize
from lensloc.studies.stimulus_warnings import token_lengths
from lensloc.units.mask import UnitMask


def confound_check(
    model: Model,
    contrast: Contrast | None = None,
    *,
    percent: float = 1,
    site: str = "resid_post",
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Ask how many of the units that the published protocol picks are due to its stimuli's length.

    The published protocol cuts the language contrast after 12 tokens and pools the last one, which
    compares whole words with fragments at another depth of context. Its units are compared with
    those of whole stimuli, of pooling at word ends, of stimuli matched in tokens, and of either
    half of the stimuli. What two halves share under the same protocol is the most that one can
    expect.

    Args:
        model: a loaded model.
        contrast: the stimuli; the bundled language contrast if None.
        percent: how many units each procedure selects.
        site: where units live.
        seed: of the halves.
        batch_size: texts per batch.
        progress: show progress bars.

    Returns:
        One row per comparison: ``procedure``, ``against``, ``units``, ``shared``, ``share`` and
        ``chance`` in per cent, ``texts`` and mean ``tokens`` of target and control. Its
        ``attrs["warnings"]`` are what a reader should know, in sentences.

    Raises:
        LensLocError: as :func:`localize` does.
    """
    require_numbers(seed=seed)
    surface(model)
    texts = language() if contrast is None else contrast
    require_a(Contrast, texts, "contrast")
    half_a, half_b = texts.split(seed)
    matched = texts.matched(model, on="tokens")

    def select(stimuli: Contrast, **settings: Any) -> UnitMask:
        settings = {"progress": progress, "batch_size": batch_size} | settings
        with unwarned():  # the table has it
            return localize(model, stimuli, [site], **settings).top(percent=percent)

    cut = {"max_tokens": PUBLISHED["language"].max_tokens}
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
        lengths = token_lengths(model, stimuli, cut["max_tokens"] if "published" in name else None)
        rows.append(
            {
                "procedure": name,
                "against": "published" if against is published else "published, second half",
                "units": len(units),
                "shared": shared,
                "share": 100 * shared / len(against),
                "chance": 100 * len(units) / units.n_units,
                "texts_target": sum(len(stimuli.conditions[n]) for n in stimuli.target),
                "texts_control": sum(len(stimuli.conditions[n]) for n in stimuli.control),
                "tokens_target": float(np.mean(lengths["target"])),
                "tokens_control": float(np.mean(lengths["control"])),
            }
        )
    table: pd.DataFrame = pd.DataFrame(rows)
    table.attrs["warnings"] = list(
        dict.fromkeys(
            f"{name}: {sentence}" for name, units, _, _ in runs for sentence in units.warnings
        )
    )
    return table

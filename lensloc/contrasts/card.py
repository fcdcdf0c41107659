"""How a contrast looks in a notebook."""

from collections.abc import Mapping, Sequence

import numpy as np

from lensloc.contrasts.balance import measured, measures_of
from lensloc.display import markup
from lensloc.units.stimuli import Stimulus


def card(
    name: str,
    sides: str,
    conditions: Mapping[str, Sequence[str]],
    target: Sequence[str],
    control: Sequence[str],
) -> str:
    """Return HTML: one row per condition, and how long its texts are.

    Args:
        name: of the contrast.
        sides: target and control in words.
        conditions: condition -> texts.
        target: conditions of that side.
        control: likewise.
    """
    roles = dict.fromkeys(target, "target") | dict.fromkeys(control, "control")
    if any(isinstance(text, Stimulus) for texts in conditions.values() for text in texts):
        return markup.card(f"Contrast {name}: {sides}", markup.table(_measures(conditions, roles)))
    sizes = {n: np.array([len(t) for t in texts]) for n, texts in conditions.items()}
    rows = [
        {
            "condition": condition,
            "role": roles.get(condition, ""),
            "texts": len(texts),
            "words per text": float(np.mean([len(text.split()) for text in texts])),
            "characters": float(sizes[condition].mean()),
            "first text": markup.shortened(texts[0], 60),
        }
        for condition, texts in conditions.items()
    ]
    caption = "characters per text, mean and standard deviation"
    spreads = [
        (float(n.mean() - n.std()), float(n.mean()), float(n.mean() + n.std()))
        for n in sizes.values()
    ]
    return markup.card(
        f"Contrast {name}: {sides}",
        markup.table(rows),
        markup.captioned(markup.intervals(spreads, label=caption), caption),
    )


def _measures(
    conditions: Mapping[str, Sequence[str]], roles: Mapping[str, str]
) -> list[dict[str, object]]:
    """Return a row per condition: means of what was measured on stimuli that are no texts."""
    measures = measures_of(conditions)
    return [
        {
            "condition": name,
            "role": roles.get(name, ""),
            "stimuli": len(stimuli),
            **{m: float(np.mean([measured(each, m) for each in stimuli])) for m in measures},
        }
        for name, stimuli in conditions.items()
    ]

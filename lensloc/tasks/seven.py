"""The bundled tasks of seven domains, as a study of specificity measures them."""

from collections.abc import Sequence

import numpy as np

from lensloc.errors import LensLocError
from lensloc.forward.batches import BatchSize
from lensloc.models.tokens import Bos
from lensloc.tasks.choices import MultipleChoice, multiple_choice
from lensloc.tasks.pairs import MinimalPairs, minimal_pairs
from lensloc.vocabulary import DOMAINS, GRAMMAR

_PAIRS = 5  # of every paradigm, which makes about as many items as other tasks have


def domains(
    names: str | Sequence[str] | None = None,
    *,
    items: int | None = None,
    bos: Bos = "model",
    batch_size: BatchSize = "auto",
) -> list[MinimalPairs | MultipleChoice]:
    """Return the bundled tasks of seven domains, a task each.

    ``grammar`` (minimal pairs, five of every paradigm), ``arithmetic``, ``theory-of-mind``,
    ``commonsense``, ``facts``, ``code`` and ``other-languages``: 200 to 400 items each. How they
    were made: ``stimuli/README.md``.

    Args:
        names: only these.
        items: at most so many of every task, taken in turn from its kinds; all if None.
        bos: whether a beginning-of-text token stands before every text.
        batch_size: texts per batch; does not change the result.

    Raises:
        LensLocError: a domain that there is not, one given twice, or less than one item.

    Example:
        >>> [(task.name, len(task.questions)) for task in domains(["facts", "code"], items=30)]
        [('facts', 30), ('code', 30)]
    """
    wanted = [names] if isinstance(names, str) else list(DOMAINS if names is None else names)
    for name in wanted:
        if name not in DOMAINS:
            raise LensLocError(f"There is no domain {name!r}; there are {', '.join(DOMAINS)}.")
    if len(set(wanted)) < len(wanted) or not wanted:
        raise LensLocError(f"Name at least one domain, and each once; {wanted} does not.")
    if items is not None and items < 1:
        raise LensLocError(f"items is at least 1 per task; {items} is not.")
    found: list[MinimalPairs | MultipleChoice] = []
    for name in wanted:
        if name == GRAMMAR:
            pairs = minimal_pairs(limit=_PAIRS, bos=bos, batch_size=batch_size, name=name)
            found.append(pairs.at(_in_turn([pair.paradigm for pair in pairs.pairs], items)))
        else:
            asked = multiple_choice(name, bos=bos, batch_size=batch_size)
            found.append(asked.at(_in_turn([each.kind for each in asked.questions], items)))
    return found


def _in_turn(kinds: Sequence[str], items: int | None) -> list[int]:
    """Return positions of so many items, the first of every kind, then the second, and so on."""
    counts: dict[str, int] = {}
    turns = []
    for kind in kinds:
        turns.append(counts.get(kind, 0))
        counts[kind] = turns[-1] + 1
    order = np.argsort(turns, kind="stable")[:items]
    return sorted(order.tolist())

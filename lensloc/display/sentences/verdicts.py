"""The verdict of a report: one sentence on top, whatever was measured."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

from lensloc.display.sentences.lesions import Beside, Change
from lensloc.display.sentences.selection import Halves
from lensloc.display.sentences.words import listed

Outcome = Literal["no lesion", "no number", "no harm", "no control", "more", "open", "no more"]
"""What lesions say: nothing, that nothing breaks, or how the harm stands beside controls."""

VERDICT = MappingProxyType(
    {
        "no lesion": "whether the model needs them was not measured",
        "no number": "what lesions of them cost could not be measured",
        "no harm": "no harm of lesions of them was found ({tasks})",
        "no control": "lesions of them do harm ({tasks}), but nothing was held beside them",
        "more": "lesions of them do more harm than those of all control units that were held "
        "beside them ({controls}; {tasks})",
        "open": "lesions of them do harm ({tasks}), but whether it is more than that of control "
        "units is open ({controls})",
        "no more": "lesions of them do harm ({tasks}), but not clearly more than those of some "
        "control units ({controls})",
    }
)
# Of these nothing is known, so no verdict names their tasks.
_UNMEASURED = ("no number", "no item", "no effect")
SELECTION = MappingProxyType(
    {
        "nothing": "At {site}, none of the selected units is reliably selective for {target} over "
        "{control}",
        "unstable": "At {site}, units are selective for {target} over {control}, but halves of the "
        "stimuli hardly agree on which",
        "found": "At {site}, units are selective for {target} over {control}",
    }
)


def selection_of(significant: int, halves: Halves | None) -> str:
    """Say which case a selection is.

    Args:
        significant: selected units with a false discovery rate below 5 %.
        halves: how well halves of the stimuli agree; None if that is not known.
    """
    if significant == 0:
        return "nothing"
    return "unstable" if halves is not None and halves.agreement == "chance" else "found"


def outcome_of(cases: Sequence[tuple[Change, Sequence[Beside]]]) -> Outcome:
    """Say which case lesions are; the worst control of any task that is harmed decides.

    Args:
        cases: the lesion of the network on every task, with its controls.
    """
    if not cases:
        return "no lesion"
    outcomes = [change.outcome for change, _ in cases]
    if all(outcome in _UNMEASURED for outcome in outcomes):
        return "no number"
    harmed = [beside for change, beside in cases if change.outcome == "harm"]
    if not harmed:
        return "no harm"
    relations = {control.relation for beside in harmed for control in beside}
    if not relations:
        return "no control"
    if relations & {"alike", "more"}:
        return "no more"
    return "more" if relations == {"less"} and all(harmed) else "open"


def verdict(
    site: str,
    target: str,
    control: str,
    significant: int,
    halves: Halves | None,
    cases: Sequence[tuple[Change, Sequence[Beside]]] = (),
) -> str:
    """Say in one sentence what a study found.

    Args:
        site: where the units are.
        target: the side that they prefer.
        control: the other.
        significant: selected units with a false discovery rate below 5 %.
        halves: how well halves of the stimuli agree; None if that is not known.
        cases: the lesion of the network on every task, with its controls; none without lesions.
    """
    chosen = SELECTION[selection_of(significant, halves)]
    outcome = outcome_of(cases)
    harmed = [change for change, _ in cases if change.outcome == "harm"]
    told = harmed or [change for change, _ in cases if change.outcome not in _UNMEASURED]
    beside = [
        each
        for change, several in cases
        for each in several
        if change.outcome == "harm" and (outcome == "more" or each.relation != "less")
    ]
    bare = [change.task for change, several in cases if change.outcome == "harm" and not several]
    kinds = list(dict.fromkeys(each.control for each in beside))
    if bare and outcome == "open":
        kinds.append(f"none beside {listed(dict.fromkeys(bare))}")
    words = VERDICT[outcome].format(
        tasks=listed(dict.fromkeys(change.task for change in told)) if told else "",
        controls=listed(kinds) if kinds else "",
    )
    return f"{chosen.format(site=site, target=target, control=control)}; {words}."

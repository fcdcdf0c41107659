"""Kinds of results of which several are not one: why, and what to do instead."""

_TABLES = "join their tables: ll.concat({'first': a.to_dataframe(), 'second': b.to_dataframe()})"
_ONE_CALL = "its numbers are of all units of one call at once"
# Kind -> why several are not one, and what to do; the tables can be joined where it is None.
_WHY: dict[str, tuple[str, str | None]] = {
    "Activity": (
        "its tokens have no name by which they would be told apart",
        "read both corpora in one call of ll.lape.activity",
    ),
    "Attribution": ("its effects are means over the stimuli of one call at one site", None),
    "Contrast": (
        "two need not mean the same by a condition",
        "give the texts of both to ll.Contrast.from_texts",
    ),
    "Discrimination": (_ONE_CALL, None),
    "Faithfulness": ("its curves are means over the pairs of one model", None),
    "Identified": (
        "neurons are chosen among all languages at once",
        "join their counts, ll.concat([counts, more]), and identify anew",
    ),
    "Interval": (_ONE_CALL, None),
    "MaxT": (
        "its largest t is that of all units that were tested together",
        "run ll.max_t on responses that were joined, ll.concat([responses, more])",
    ),
    "Multiverse": ("its shares count the specifications of one model", None),
    "Null": (
        "it is of one set of counts",
        "join the counts, ll.concat([counts, more]), and run ll.lape.null on these",
    ),
    "PairEffects": (
        "it is of one site and one model",
        "join what ll.localize_pairs returned, for several sites",
    ),
    "ReadingStudy": ("its gains are held against one intact model", None),
    "ResponseProfile": ("it is of one set of units, in their own standard deviations", None),
    "Selectivity": (
        "it is of one site and one model",
        "join what ll.localize returned, for several sites; figures take several models as "
        "{name: found[site]}",
    ),
    "Specificity": ("its indices are of all networks and tasks of one model", None),
    "Study": ("it is of one network of one model", "join their studies of lesions, study.lesions"),
    "TaskResult": ("it is one score of one model", None),
    "UnitMask": (
        "it is of no one rule then",
        "write a | b for the units of either, a & b for those of both",
    ),
    "UnitResponses": ("its rows have no name by which they would be told apart", None),
}


def unjoined_sentence(kind: str) -> str:
    """Say why several results of a kind are not one, and what to do.

    Example:
        >>> print(unjoined_sentence("UnitMask"))
        Several results of the kind UnitMask cannot be one, since it is of no one rule then; write \
a | b for the units of either, a & b for those of both.
    """
    why, remedy = _WHY.get(kind, ("that would mean nothing", None))
    return f"Several results of the kind {kind} cannot be one, since {why}; {remedy or _TABLES}."

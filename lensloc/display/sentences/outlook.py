"""How much there is to do, and how long it takes."""

from lensloc.display.sentences.words import counted


def duration(seconds: float) -> str:
    """Return a time in words, rounded as far as it can be foretold.

    Example:
        >>> duration(4), duration(100), duration(2400), duration(9000)
        ('a few seconds', '2 minutes', '40 minutes', '2.5 hours')
    """
    if seconds < 20:
        return "a few seconds"
    if seconds < 45:
        return "half a minute"
    if seconds < 5400:
        minutes = max(1, round(seconds / 60))
        return counted(minutes, "minute")
    return f"{seconds / 3600:.2g} hours"


def span(least: float, most: float) -> str:
    """Return a time that lies between two, in words.

    Example:
        >>> span(600, 620), span(600, 2400)
        ('about 10 minutes', '10 minutes to 40 minutes')
    """
    ends = duration(least), duration(most)
    return f"about {ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def outlook_sentences(
    specifications: int,
    unit_sets: int,
    passes: int,
    network_lesions: int,
    control_lesions: int,
    left: int,
    seconds: tuple[float, float],
) -> list[str]:
    """Say what a multiverse has before it.

    Args:
        specifications: how many there are.
        unit_sets: different sets of units that they choose.
        passes: over the stimuli.
        network_lesions: different lesions of chosen units, times tasks.
        control_lesions: the same of control draws, at most.
        left: lesions that have not been measured before.
        seconds: how long these take, at least and at most.
    """
    known = network_lesions + control_lesions - left
    kept = f", of which {known:,} are known" if known else ""
    time = f"; {left:,} are left, {span(*seconds)}" if left else ""
    return [
        f"{counted(specifications, 'specification')} choose {counted(unit_sets, 'set')} of units, "
        f"in {counted(passes, 'look')} at the stimuli.",
        f"{counted(network_lesions, 'lesion')} of these and at most "
        f"{counted(control_lesions, 'lesion')} of control draws{kept}{time}.",
    ]

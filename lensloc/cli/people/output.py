"""What commands on people write and print."""

from typing import TYPE_CHECKING

from rich.console import Console

from lensloc.cli.output import readable, tell
from lensloc.cli.tables import cell, show_rows
from lensloc.display.sentences.words import interval, number

if TYPE_CHECKING:
    import pandas as pd

    from lensloc.results.encodings import Encoding
    from lensloc.results.readings import ReadingStudy


def show_encoding(found: "Encoding") -> None:
    """Print scores beside those of baselines and control units, and what they say."""
    import pandas as pd

    from lensloc.results.encodings import shown_scores

    rows = shown_scores(found.table)
    rows["r"] = _with_interval(rows, "r", 3)
    rows["R2"] = [cell(float(value)) for value in rows["r2"]]
    several = rows["network"].replace("", pd.NA).nunique() > 1
    columns = [*(["network"] if several else []), "kind", "name", "r", "R2"]
    mark = "; SHUFFLED split" if found.split == "shuffled" else ""
    tell(f"Mean r over responses, {100 * found.confidence:g} % intervals over passages{mark}:")
    show_rows(Console(), rows, columns, {})
    tell("")
    for sentence in found.summary():
        tell(readable(sentence))


def show_reading(study: "ReadingStudy") -> None:
    """Print gains, intact and lesioned, and what they say."""
    import pandas as pd

    from lensloc.results.readings import shown_gains

    rows = shown_gains(study.table)
    rows["gain"] = _with_interval(rows, "gain", 4)
    rows["loss"] = [f"{value:.4f}" if pd.notna(value) else "-" for value in rows["loss"]]
    several = rows["network"].replace("", pd.NA).nunique() > 1
    columns = ["surprisal", *(["network"] if several else []), "kind", "gain", "loss"]
    tell(
        f"Gain in log-likelihood over length and frequency, nats per time, "
        f"{100 * study.confidence:g} % intervals over stories (of draws, their range):"
    )
    show_rows(Console(), rows, columns, {})
    tell("")
    for sentence in study.summary():
        tell(readable(sentence))


def _with_interval(rows: "pd.DataFrame", name: str, digits: int) -> list[str]:
    ends = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return [f"{number(value, digits)} {interval(low, high, digits)}" for value, low, high in ends]

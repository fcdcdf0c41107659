"""Sections and paragraphs on people: brain responses and reading times."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from lensloc import plot
from lensloc.display.sentences.words import counted, interval, listed, number
from lensloc.pages.report.figures import PageFigure
from lensloc.pages.report.files import link
from lensloc.pages.report.pieces import joined, listing, prose
from lensloc.pages.report.sections import Section
from lensloc.results.encodings import CONTROL, Encoding, shown_scores
from lensloc.results.readings import INTACT, ReadingStudy, shown_gains
from lensloc.results.readings import NETWORK as LESIONED

People = Encoding | ReadingStudy
"""What is known of people: brain responses predicted, or reading times."""

_MOST_REGIONS = 40


def title_of(found: People) -> str:
    """Return the heading of a section, and of a page of its own."""
    return "Brain responses" if isinstance(found, Encoding) else "Reading times"


def section(found: People, number_of: int = 1) -> Section:
    """Show what was measured: a figure, what it says, tables.

    Args:
        found: the result.
        number_of: which of several on a page it is.
    """
    name = "brains" if isinstance(found, Encoding) else "reading-times"
    name = name if number_of == 1 else f"{name}-{number_of}"
    title = title_of(found) if number_of == 1 else f"{title_of(found)} ({number_of})"
    if isinstance(found, Encoding):
        return _brains(found, name, title)
    return _reading(found, name, title)


def _brains(found: Encoding, name: str, title: str) -> Section:
    level = f"{100 * found.confidence:g} %"
    figure = PageFigure(
        f"figure-{name}",
        plot.alignment(found),
        "How well units predict brain responses"
        + (" (SHUFFLED split: passages leak)" if found.split == "shuffled" else ""),
        f"Mean correlation with responses that were held out. Bars: {level} intervals over "
        "passages; of control units, the range of their draws, which are the points. Dashed: the "
        "mean ceiling, where the data have one.",
        panels=True,
    )
    rows = [
        {
            "features": _features(row),
            "r": f"{number(row['r'], 3)} {interval(row['r_low'], row['r_high'], 3)}".strip(),
            "R2": number(row["r2"], 3),
            "of the ceiling": _or_dash(row["r_normalised"], 2),
            "beyond the baselines (R2)": _or_dash(row["unique"], 4),
            "split": str(row["split"]),
        }
        for row in shown_scores(found.table).to_dict("records")
    ]
    parts = [
        *map(prose, found.summary()),
        figure.element(),
        listing(rows, f"Scores, with {level} intervals over passages; of draws, mean and range"),
    ]
    regions = found.regions
    regions = regions[regions["kind"].isin(["network"])]
    if regions["region"].nunique() > 1:
        parts.append(
            listing(
                [
                    {
                        "region": str(row["region"]),
                        "network": str(row["network"]),
                        "responses": str(row["n_responses"]),
                        "r": number(row["r"], 3),
                        "ceiling": _or_dash(row["ceiling"], 2),
                    }
                    for row in regions.head(_MOST_REGIONS).to_dict("records")
                ],
                "Networks by region"
                + (f" (the first {_MOST_REGIONS} rows)" if len(regions) > _MOST_REGIONS else ""),
            )
        )
    return Section(name, title, joined(*parts), (figure,))


def _features(row: Mapping[Any, Any]) -> str:
    words = [str(row["network"]), str(row["kind"])]
    if row["name"] and row["name"] not in (row["network"], row["kind"]):
        words.append(str(row["name"]))
    return ", ".join(word for word in words if word)


def _or_dash(value: float, digits: int) -> str:
    return "–" if value != value else number(value, digits)  # NaN is not itself


def _reading(found: ReadingStudy, name: str, title: str) -> Section:
    level = f"{100 * found.confidence:g} %"
    figure = PageFigure(
        f"figure-{name}",
        plot.reading_times(found),
        "What surprisal tells about reading times",
        "Gain in log-likelihood of times in stories that were held out, over length and frequency "
        f"of the word and of the two before it. Bars: {level} intervals over stories; of control "
        "units, the range of their draws, which are the points.",
        panels=True,
    )
    rows = [
        {
            "surprisal": str(row["surprisal"]),
            "lesioned": " ".join(word for word in (str(row["network"]), str(row["kind"])) if word),
            "gain (nats per time)": f"{number(row['gain'], 4)} "
            f"{interval(row['gain_low'], row['gain_high'], 4)}".strip(),
            "loss": _or_dash(row["loss"], 4),
            "p": _or_dash(row["p"], 2),
            "nats per word": number(row["mean surprisal"], 2),
        }
        for row in shown_gains(found.table).to_dict("records")
    ]
    content = [
        *map(prose, found.summary()),
        figure.element(),
        listing(rows, f"Gains, with {level} intervals over stories; of draws, mean and range"),
    ]
    return Section(name, title, joined(*content), (figure,))


# -- methods ---------------------------------------------------------------------------------------


def people_methods(found: People) -> str:
    """Describe what was done, in a paragraph that can go into a paper."""
    return _of_brains(found) if isinstance(found, Encoding) else _of_reading(found)


def _of_brains(found: Encoding) -> str:
    known, table = found.settings, found.table
    held = {
        "grouped": "whole passages were held out",
        "given": "passages were held out whole, in folds that were given",
        "shuffled": "single samples were held out at random, whose neighbours were trained on",
    }[found.split]
    pooling = {"last-token": "at their last token", "mean": "as their mean over its tokens"}
    if "pooling" in known:
        features = (
            f"the units' activations to every stimulus, {pooling[str(known['pooling'])]}, read "
            + ("after what came before it in its passage"
               if known.get("context") == "passage" else "by itself")
        )  # fmt: skip
    else:
        features = "features that were given"
    times = (
        f" Responses were time series, predicted from what began {listed(known['delays'])} samples "
        "before."
        if known.get("delays")
        else ""
    )
    kinds = table[table["kind"] == CONTROL].groupby("name")["seed"].nunique()
    controls = (
        "; as many control units, matched in "
        + listed(f"{name} ({n} draws)" for name, n in kinds.items())
        if len(kinds)
        else ""
    )
    untrained = (
        "; the same units of the untrained network" if (table["kind"] == "untrained").any() else ""
    )
    n_responses = found.responses["response"].nunique()
    return (
        f"{counted(n_responses, 'brain response')} to {counted(known['n_samples'], 'sample')} of "
        f"{counted(known['n_passages'], 'passage')} were predicted by ridge regression (Dupré la "
        f"Tour et al. 2022) from {features}.{times} In {known['n_folds']} folds {held}, and the "
        "penalty of every response was chosen by cross-validation within what was trained on, in "
        "folds of the same kind. Scores are Pearson's r within a fold, averaged over folds, and R2 "
        "against the mean of the samples trained on. Beside them stand which passage a sample is "
        "from and where in it (Feghhi et al. 2024); length, position and log frequency of words "
        f"(Speer 2022){untrained}{controls}. Networks are ranked among their controls (Phipson and "
        "Smyth 2010), and what they explain beyond the baselines is the difference of held-out R2 "
        "by banded ridge regression. Intervals are from a bootstrap over passages (Efron and "
        "Tibshirani 1993)."
    )


def _of_reading(found: ReadingStudy) -> str:
    known, table = found.settings, found.table
    whole = table[table["kind"] == INTACT].iloc[0]
    lesions = ""
    if (table["kind"] == LESIONED).any():
        kinds = table[~table["kind"].isin([INTACT, LESIONED])].groupby("kind")["seed"].nunique()
        controls = (
            "; so were as many control units, matched in "
            + listed(f"{name} ({n} draws)" for name, n in kinds.items())
            + ", among which networks are ranked (Phipson and Smyth 2010)"
            if len(kinds)
            else ""
        )
        networks = listed(dict.fromkeys(table.loc[table["kind"] == LESIONED, "network"]))
        lesions = (
            f" The units of {networks} were lesioned (mode {known.get('mode', 'zero')}){controls}."
        )
    subjects = ", with an intercept for every reader" if known.get("by_subject") else ""
    return (
        f"{counted(int(whole['n_times']), 'reading time')} ({known.get('data', 'given')}) of "
        f"{counted(int(whole['n_stories']), 'story').replace('storys', 'stories')} were predicted "
        "by linear regression from length and log frequency (Speer 2022) of the word and of the "
        "two before it, and from these and the surprisals of the three words"
        f"{subjects}. Surprisal of a word is that of its tokens, corrected for the white space "
        "that tokens carry in front (Oh and Schuler 2024; Pimentel and Meister 2024), and without "
        "that. The gain is the difference in log-likelihood of times in held-out stories, "
        f"{known['n_folds']} folds.{lesions} Intervals are from a bootstrap over stories (Efron "
        "and Tibshirani 1993)."
    )


def links(found: People, name: str, number_of: int = 1) -> list[Markup]:
    """Offer the tables."""
    kind = "brains" if isinstance(found, Encoding) else "reading"
    stem = f"{name}-{kind}" if number_of == 1 else f"{name}-{kind}-{number_of}"
    offered = [link(found.table, f"{stem}.csv", f"{title_of(found)}: every score")]
    if not found.comparisons.empty:
        words = f"{title_of(found)}: networks against what they are held beside"
        offered.append(link(found.comparisons, f"{stem}-comparisons.csv", words))
    if isinstance(found, Encoding):
        own = found.responses[found.responses["kind"] == "network"]
        offered.append(link(own, f"{stem}-responses.csv", "Brain responses: every response"))
    else:
        offered.append(
            link(found.words, f"{stem}-words.csv", "Reading times: every word's surprisal")
        )
    return offered


def facts(found: People) -> dict[str, str]:
    """List where a result comes from, for a page of its own."""
    made = found.provenance
    return {
        "Model": made.model,
        "What it is": made.about,
        "Weights": made.weights_hash,
        "Site": made.site,
        "Units": made.selection,
        "Device": made.device,
        "Settings": "; ".join(f"{key} {value}" for key, value in found.settings.items()),
        "lensloc": made.lensloc,
        "Call": found.call,
        "Date": made.date,
    }

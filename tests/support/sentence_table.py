"""Every case of which report, cards, demo and commands speak, with what they say of it.

python tests/support/sentence_table.py > docs/sentences.md
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from lensloc.display.sentences import (
    clean_corrupted,
    control_draws,
    dissociations,
    falls,
    lesions,
    neurons,
    people,
    profiles,
    selection,
    specifications,
    verdicts,
)
from lensloc.display.sentences.control_draws import Match
from lensloc.display.sentences.dissociations import Specificness, Together
from lensloc.display.sentences.falls import Falls, Group
from lensloc.display.sentences.lesions import Beside, Change
from lensloc.display.sentences.outlook import outlook_sentences
from lensloc.display.sentences.people import Gained, Predicted
from lensloc.display.sentences.profiles import Sides
from lensloc.display.sentences.selection import Halves, Selected
from lensloc.display.sentences.specifications import Claims, Matters
from lensloc.results.lesions import LesionStudy, tabulate

NAN = float("nan")


class Spoken(NamedTuple):
    """A case in words, and the sentences of it."""

    case: str
    sentences: list[str]


def _match(
    percent: float,
    smd: float,
    outliers: tuple[float, float],
    control: str = "magnitude",
    draws: int = 20,
    **known: Any,
) -> Match:
    return Match(
        "language", control, percent, draws, smd=smd, n_units=(172, 172), outliers=outliers, **known
    )


# -- lesions: direction x interval x items x measure x controls ------------------------------------

DIRECTIONS = {"worse": 0.4, "better": -0.4, "as before": 0.0, "no number": NAN}
INTERVALS = ("excludes zero", "holds zero", "missing")
ITEMS = (0, 1, 5, 200)
# Measure -> score of the intact model, and of a drop of so much.
MEASURES: dict[str, tuple[float, Any]] = {
    "accuracy": (0.5, lambda drop: 0.5 - drop),
    "perplexity": (20.0, lambda drop: 20.0 * 2.718281828459045**drop),
    "bits per byte": (1.2, lambda drop: 1.2 + drop),
    "fluency": (-1.2, lambda drop: -1.2 - drop),
}


def _drawn(
    drop: float, difference: float, ends: tuple[float, float], more: int, less: int,
    draws: int = 20, planned: int = 20, **known: Any,
) -> Beside:  # fmt: skip
    """Controls of which so many are at or above the network, and at or below it.

    Args:
        drop: mean of the draws.
        difference: of the network from it.
        ends: of its interval.
        more: draws that do at least as much harm, and the network itself.
        less: draws that do at most as much.
        draws: how many were made.
        planned: how many there would have been.
        known: of Beside.
    """
    p = {"p_more": more / (planned + 1), "p_less": less / (planned + 1)}
    return Beside(
        "random units", draws, drop, difference, *ends, min_p=1 / (planned + 1), **p, **known
    )


CONTROLS: dict[str, Beside | None] = {
    "none": None,
    "below": _drawn(0.1, 0.3, (0.2, 0.4), 1, 21),
    "above": _drawn(0.7, -0.3, (-0.4, -0.2), 21, 1),
    "alike": _drawn(0.4, 0.0, (-0.1, 0.1), 9, 13),
    "below by the interval, not by the draws": _drawn(0.1, 0.3, (0.2, 0.4), 2, 20),
    "below by the draws, not by the interval": _drawn(0.1, 0.3, (-0.1, 0.7), 1, 21),
    "below, on a part of the items": _drawn(0.1, 0.3, (0.2, 0.4), 1, 21, n_items=61),
    "alike, draws stopped": _drawn(0.4, 0.0, (-0.2, 0.2), 8, 8, draws=5),
    "below, 5 draws": _drawn(0.1, 0.3, (0.2, 0.4), 1, 6, draws=5, planned=5),
    "above, 5 draws": _drawn(0.7, -0.3, (-0.4, -0.2), 6, 1, draws=5, planned=5),
    "alike, 5 draws": _drawn(0.4, 0.0, (-0.1, 0.1), 3, 4, draws=5, planned=5),
    "2 draws": _drawn(0.1, 0.3, (0.2, 0.4), 1, 3, draws=2, planned=2),
    "1 draw": _drawn(0.1, 0.3, (NAN, NAN), 1, 2, draws=1, planned=1),
    "one set, below": Beside("the units of sums", 1, 0.1, 0.3, 0.2, 0.4, drawn=False),
    "one set, above": Beside("the units of sums", 1, 0.7, -0.3, -0.4, -0.2, drawn=False),
    "one set, alike": Beside("the units of sums", 1, 0.4, 0.0, -0.1, 0.1, drawn=False),
    "alike, on the network's dimensions": _drawn(0.4, 0.0, (-0.1, 0.1), 9, 13, shared=46.0),
    "without an interval": Beside("the units of sums", 1, 0.1, 0.3, NAN, NAN, drawn=False),
    "some draws without a number": Beside("random units", 2, 0.05, NAN, 0.66, 0.80, missing=1),
    "all draws without a number": Beside("random units", 2, NAN, NAN, NAN, NAN, missing=2),
    "draws without effect": Beside("random units", 2, 0.0, 0.4, 0.3, 0.5, idle=1),
}


def change(
    direction: str, interval: str, n_items: int, measure: str = "accuracy", effect: bool = True
) -> Change:
    drop = DIRECTIONS[direction]
    half = {"excludes zero": 0.1, "holds zero": 0.45, "missing": NAN}[interval]
    centre = 0.3 if direction == "as before" and interval == "excludes zero" else drop
    intact, scored = MEASURES[measure]
    return Change(
        network="language",
        percent=1.0,
        n_units=172,
        mode="zero",
        task="perplexity" if measure == "perplexity" else "pairs",
        measure=measure,
        intact=intact,
        score=scored(drop),
        drop=drop,
        low=centre - half,
        high=centre + half,
        n_items=n_items,
        chance=0.25 if measure == "accuracy" else NAN,
        site="resid_post" if measure == "accuracy" else "mlp_post",
        took_effect=effect,
    )


def every_change() -> Iterator[tuple[str, Change]]:
    for measure, direction, interval, n in itertools.product(
        MEASURES, DIRECTIONS, INTERVALS, ITEMS
    ):
        words = f"{measure}; {direction}; interval {interval}; {n} items"
        yield words, change(direction, interval, n, measure)
    yield "the lesion took no effect", change("as before", "holds zero", 200, effect=False)


def every_lesion() -> Iterator[tuple[str, Change, Beside | None]]:
    for (words, found), (name, control) in itertools.product(every_change(), CONTROLS.items()):
        yield f"{words}; controls {name}", found, control


def spoken_lesions() -> Iterator[Spoken]:
    for words, found in every_change():
        # Numbers of items make the same difference whatever is measured.
        if found.measure == "accuracy" or found.n_items == ITEMS[-1]:
            yield Spoken(words, lesions.lesion_sentences(found))


def spoken_controls() -> Iterator[Spoken]:
    outcomes = {
        "harm": change("worse", "excludes zero", 200),
        "improvement": change("better", "excludes zero", 200),
        "unclear": change("worse", "holds zero", 200),
        "no interval": change("worse", "missing", 200),
        "no number": change("no number", "missing", 200),
        "no item": change("no number", "missing", 0),
        "no effect": change("as before", "holds zero", 200, effect=False),
    }
    for (outcome, found), (name, control) in itertools.product(outcomes.items(), CONTROLS.items()):
        beside = [] if control is None else [control]
        said = lesions.lesion_sentences(found, beside)[1:]
        minded = lesions.lesion_notes([(found, beside)])
        yield Spoken(f"{outcome}; controls {name}", [*said, *(f"To mind: {m}" for m in minded)])


def every_verdict() -> Iterator[tuple[str, int, Halves | None, list[tuple[Change, list[Beside]]]]]:
    """Yield what a report's verdict is made of: selections, halves, lesions beside controls."""
    agree, apart = Halves(0.84, 0.01, 0.95, 1.2, 1.5), Halves(0.01, 0.01, 0.2, 0.1, 1.5)
    for words, significant, halves in (
        ("no unit is significant", 0, None),
        ("halves agree", 172, agree),
        ("halves agree by chance", 172, apart),
    ):
        yield f"{words}; no lesion", significant, halves, []
    harm, other = change("worse", "excludes zero", 200), change("worse", "holds zero", 200)
    second = dataclasses.replace(harm, task="facts")
    for name, control in CONTROLS.items():
        beside = [] if control is None else [control]
        yield f"harm; controls {name}", 172, agree, [(harm, beside)]
    less, alike = CONTROLS["below"], CONTROLS["alike"]
    assert less is not None
    assert alike is not None
    yield "harm on two tasks, both more", 172, agree, [(harm, [less]), (second, [less])]
    yield "harm on two tasks, one alike", 172, agree, [(harm, [less]), (second, [alike])]
    yield "harm on two tasks, one without controls", 172, agree, [(harm, [less]), (second, [])]
    yield "harm on one task of two, more", 172, agree, [(harm, [less]), (other, [alike])]
    yield "two kinds of controls, one alike", 172, agree, [(harm, [less, alike])]
    yield "no clear difference", 172, agree, [(other, [less])]
    idle = change("as before", "holds zero", 200, effect=False)
    yield "the lesion took no effect", 172, agree, [(idle, [])]
    none = change("no number", "missing", 200)
    yield "no number", 172, agree, [(none, [])]
    yield (
        "no clear difference on one task of two, no number on the other", 172, agree,
        [(other, [less]), (dataclasses.replace(none, task="facts"), [])],
    )  # fmt: skip


def spoken_verdicts() -> Iterator[Spoken]:
    for words, significant, halves, cases in every_verdict():
        said = verdicts.verdict("resid_post", "hot", "cold", significant, halves, cases)
        yield Spoken(words, [said])


def spoken_networks() -> Iterator[Spoken]:
    """Networks of several sizes, one without a control, as a study of lesions tells them."""
    rows: list[dict[str, Any]] = []
    for network, percent, units in (("language", 1.0, 172), ("sums", 0.3, 51), ("heads", 5.0, 13)):
        row = {
            "model": "tiny", "network": network, "mode": "zero", "percent": percent,
            "n_units": units, "task": "pairs", "measure": "accuracy", "n_items": 200,
            "score": 0.5, "intact": 0.9, "chance": 0.5, "took_effect": True,
        }  # fmt: skip
        ends = {"drop": 0.4, "drop_low": 0.3, "drop_high": 0.5}
        rows.append({**row, **ends, "kind": "network"})
        if network != "heads":
            against = {"difference": 0.3, "difference_low": 0.2, "difference_high": 0.4}
            tested = {"p_more": 1 / 21, "p_less": 1.0, "min_p": 1 / 21, "n_compared": 200}
            for seed in range(20):
                rows.append(
                    {**row, "drop": 0.1, **against, **tested, "kind": "layer", "seed": seed}
                )
    one = LesionStudy(tabulate(rows[:21]))
    several = LesionStudy(tabulate(rows))
    yield Spoken("one network, asked at 1 %", one.summary(1.0))
    yield Spoken("three networks of 1, 0.3 and 5 %, asked at 1 %", several.summary(1.0))
    yield Spoken("the same, to mind", list(several.warnings))


MATCHES: dict[str, list[Match]] = {
    "a good match": [_match(1.0, 0.1, (38, 36))],
    "smaller units": [_match(1.0, -0.6, (38, 36))],
    "larger units, at two sizes": [_match(1.0, 0.6, (38, 36)), _match(2.0, 0.9, (38, 36))],
    "few outliers": [_match(1.0, 0.0, (38, 10.4))],
    "smaller units and few outliers": [_match(1.0, -0.6, (38, 0))],
    "different by design": [_match(1.0, -2.6, (38, 0), "least-active")],
    "magnitudes not known": [_match(1.0, NAN, (NAN, NAN))],
    "draws alike": [_match(1.0, 0.1, (38, 36), alike=0.49), _match(2.0, 0.1, (70, 66), alike=0.72)],
    "1 draw": [_match(1.0, 0.1, (38, 36), draws=1)],
    "2 draws": [_match(1.0, 0.1, (38, 36), draws=2)],
    "5 draws": [_match(1.0, 0.1, (38, 36), draws=5)],
    "5 draws, stopped": [_match(1.0, 0.1, (38, 36), draws=5, min_p=1 / 21)],
    "not drawn": [_match(1.0, 0.1, (38, 36), "mine", draws=1, drawn=False)],
}


def spoken_matches() -> Iterator[Spoken]:
    for words, found in MATCHES.items():
        yield Spoken(words, control_draws.draw_notes(found))


# -- profiles, selections, halves ------------------------------------------------------------------

SIDES = {
    "more to the target": (0.75, 0.65, 0.86),
    "less to the target": (-0.75, -0.86, -0.65),
    "interval holds zero": (0.75, -0.2, 1.7),
    "no difference": (0.0, -0.1, 0.1),
    "interval missing": (0.75, NAN, NAN),
    "no number": (NAN, NAN, NAN),
}
CONDITIONS = {
    "two conditions": {"hard": 0.4, "easy": -0.4},
    "four that cross": {"hard sums": 0.9, "hard spans": 0.0, "easy sums": -0.8, "easy spans": 0.1},
}


def every_profile() -> Iterator[tuple[str, Sides, dict[str, float], bool, bool]]:
    for (direction, values), (name, means), held_out, signed in itertools.product(
        SIDES.items(), CONDITIONS.items(), (True, False), (False, True)
    ):
        target = tuple(each for each in means if each.startswith("hard"))
        control = tuple(each for each in means if each.startswith("easy"))
        half = values[0] / 2
        sides = Sides(target, control, half, -half, *values)
        shown = {each: NAN for each in means} if direction == "no number" else means
        words = f"{direction}; {name}; {'other' if held_out else 'the same'} stimuli; "
        yield words + ("signed" if signed else "absolute"), sides, shown, held_out, signed


def spoken_profiles() -> Iterator[Spoken]:
    for words, sides, means, held_out, signed in every_profile():
        if signed and (len(means) > 2 or not held_out):
            continue  # as absolute, but for one word
        said = profiles.profile_sentences(sides, means, held_out=held_out, signed=signed)
        minded = profiles.profile_notes(sides, held_out=held_out)
        yield Spoken(words, [*said, *(f"To mind: {m}" for m in minded)])


def every_selection() -> Iterator[tuple[str, Selected]]:
    for n, significant, share, positive in (
        (172, 0, 0.0, 172), (172, 1, 0.001, 172), (172, 172, 0.02, 172), (172, 172, 0.59, 172),
        (172, 172, 0.59, 60), (1, 0, 0.0, 1), (1, 1, 0.0001, 1), (1, 0, 0.0, 0),
    ):  # fmt: skip
        words = f"{n} selected, {positive} prefer the target, {significant} significant, "
        found = Selected(
            "resid_post", n, 17280, positive, -0.5, 9.0, significant, share, "hot", "cold"
        )
        yield f"{words}{100 * share:g} % of all significant", found


def spoken_selections() -> Iterator[Spoken]:
    for words, found in every_selection():
        yield Spoken(words, selection.selected_sentences(found))
    for n, real in ((0, 0), (1, 0), (172, 0), (172, 1)):
        said = selection.nothing_selected("top", n, real, "resid_post")
        yield Spoken(f"top {n}, {real} significant", said)
    for target, control in ((0, 0), (0, 1), (0, 9), (1, 0)):
        said = selection.nothing_localized(
            "resid_post", "hot", "cold", prefer_target=target, prefer_control=control
        )
        yield Spoken(f"{target} units prefer the target, {control} the control", said)
    for n, large in ((172, 65), (1, 1), (172, 2)):
        said = selection.large_units("top", n, large, "resid_post", 5.0)
        yield Spoken(f"{large} of {n} are large", said)
    for constant in (0, 1, 500, 17280):
        said = selection.constant_units(constant, 17280, "mlp_post")
        yield Spoken(f"{constant} of 17280 are constant", said)


def spoken_stimuli() -> Iterator[Spoken]:
    for a, b in ((2, 2), (3, 40), (4, 8), (1, 1), (10, 10)):
        yield Spoken(f"{a} against {b} texts", selection.few_texts(a, b))
    for shared, a, b in ((0, 9, 9), (9, 9, 9), (1, 9, 9), (4, 4, 9)):
        said = selection.shared_texts(shared, a, b, "hot tea")
        yield Spoken(f"{shared} shared of {a} and {b} texts", said)
    for n in (0, 1, 7):
        yield Spoken(f"{n} texts more than once", selection.repeated_texts(n))
    yield Spoken("lengths differ", [selection.unequal_lengths(12.6, 25.7)])
    said = [selection.unequal_measure("luminance", "", 0.547, 0.236, "picture")]
    yield Spoken("pictures differ in brightness", said)
    said = [selection.unequal_measure("seconds", "seconds", 2.5, 1.25, "sound")]
    yield Spoken("sounds differ in length", said)
    yield Spoken("3 against 40 pictures", selection.few_texts(3, 40, "picture"))
    for words, facts in {
        "a model that passed its check": {"untrained": False, "check": "passed", "lesion": ""},
        "untrained": {"untrained": True, "check": "passed", "lesion": ""},
        "its check failed": {
            "untrained": False, "check": "failed: logits differ by 3.", "lesion": "",
        },
        "a lesion is open": {
            "untrained": False, "check": "passed", "lesion": "9 units at resid_post, zero",
        },
    }.items():  # fmt: skip
        yield Spoken(words, selection.of_model(**facts))  # type: ignore[arg-type]


def every_agreement() -> Iterator[tuple[str, Halves]]:
    for shared, t, held_out in itertools.product(
        (0.84, 0.3, 0.015, NAN), (0.95, 0.2, NAN), (1.25, NAN)
    ):
        words = f"shared {shared:g}, reliability {t:g}, d on the other half {held_out:g}"
        yield words.replace("nan", "missing"), Halves(shared, 0.01, t, held_out, 1.5)


def spoken_agreements() -> Iterator[Spoken]:
    for words, found in every_agreement():
        minded = selection.halves_notes(found)
        said = selection.halves_sentence(found)
        yield Spoken(words, [said, *(f"To mind: {m}" for m in minded)])


def spoken_languages() -> Iterator[Spoken]:
    for n, below in ((0, NAN), (64, NAN), (64, 1.0), (64, 0.3), (1, 0.0)):
        words = f"{n} neurons, share below the null: {below:g}".replace("nan", "no null")
        yield Spoken(words, neurons.language_notes("de", n, below))


# -- brains and reading times ----------------------------------------------------------------------

HELD_BESIDE: dict[str, tuple[people.Beside, ...]] = {
    "nothing": (),
    "20 draws": (people.Beside("control units (layer)", 0.25, 20, 1 / 21),),
    "1 draw and a baseline": (
        people.Beside("control units (layer)", 0.25, 1, 0.5), people.Beside("word rate", 0.1),
    ),
    "draws without a number": (people.Beside("control units (layer)", NAN, 20, NAN),),
}  # fmt: skip
CORRELATIONS = {
    "a correlation": (0.31, 0.2, 0.4),
    "a negative one": (-0.31, -0.4, -0.2),
    "about none": (0.0, -0.1, 0.1),
    "no interval": (0.31, NAN, NAN),
    "no number": (NAN, NAN, NAN),
}
UNIQUE = {
    "more than the baselines": (0.02, 0.01, 0.03),
    "less than the baselines": (-0.02, -0.03, -0.01),
    "no interval": (0.02, NAN, NAN),
    "not known": (NAN, NAN, NAN),
}


def every_prediction() -> Iterator[tuple[str, Predicted]]:
    whole = Predicted(
        "language", 172, 20, "grouped", *CORRELATIONS["a correlation"], 0.55,
        HELD_BESIDE["20 draws"], *UNIQUE["more than the baselines"],
    )  # fmt: skip
    for (r, ends), (name, beside), (unique, own) in itertools.product(
        CORRELATIONS.items(), HELD_BESIDE.items(), UNIQUE.items()
    ):
        known = dict(zip(("r", "low", "high"), ends, strict=True))
        beyond = dict(zip(("unique", "unique_low", "unique_high"), own, strict=True))
        found = dataclasses.replace(whole, beside=beside, **known, **beyond)
        yield f"{r}; beside {name}; beyond the baselines {unique}", found
    changes: dict[str, dict[str, Any]] = {
        "folds that were given": {"split": "given"},
        "a shuffled split": {"split": "shuffled"},
        "no ceiling": {"normalised": NAN},
        "one unit, one response": {"n_units": 1, "n_responses": 1},
        "a network without a name": {"network": ""},
    }
    for words, change in changes.items():
        yield words, dataclasses.replace(whole, **change)


def every_gain() -> Iterator[tuple[str, Gained]]:
    gains = {
        "a gain": (0.02, 0.01, 0.03),
        "a loss": (-0.02, -0.03, -0.01),
        "no interval": (0.02, NAN, NAN),
        "no number": (NAN, NAN, NAN),
    }
    lesioned = {
        "takes of it": (0.015, 0.01, 0.02),
        "adds to it": (-0.015, -0.02, -0.01),
        "changes nothing": (0.0, -0.01, 0.01),
        "no interval": (0.015, NAN, NAN),
        "no number": (NAN, NAN, NAN),
    }
    for gain, ends in gains.items():
        yield f"{gain}; intact alone", Gained("surprisal", *ends)
        for (lesion, loss), (name, beside) in itertools.product(
            lesioned.items(), HELD_BESIDE.items()
        ):
            words = f"{gain}; the lesion: {lesion}; beside {name}"
            yield words, Gained("surprisal", *ends, (("language", *loss, beside),))


def spoken_predictions() -> Iterator[Spoken]:
    for words, found in every_prediction():
        # Where there is no correlation, nothing else is said.
        if not words.startswith("no number") or not (found.beside or found.unique == found.unique):
            yield Spoken(words, people.predicted_sentences(found))


def spoken_gains() -> Iterator[Spoken]:
    for words, found in every_gain():
        if not words.startswith("no number") or not found.lesions:
            yield Spoken(words, people.gained_sentences(found))


# -- specifications --------------------------------------------------------------------------------

MATTERS = [
    Matters("site", 48, 0.2, 0.7, {"resid_post": (48, 48), "mlp_post": (10, 48)}),
    Matters("percent", 96, 0.08, 0.2, {"0.5 %": (16, 48), "1 %": (42, 48)}),
    Matters("mode", 48, 0.03, 0.1, {"zero": (30, 48), "mean": (28, 48)}),
]
COUNTS: dict[str, dict[specifications.Verdict, int]] = {
    "holds in all": {"holds": 96},
    "holds in some": {"holds": 58, "not told apart": 30, "reversed": 6, "no harm": 2},
    "holds in some, some open": {"holds": 58, "not told apart": 30, "open": 8},
    "holds in none": {"not told apart": 90, "reversed": 6},
    "nothing concluded": {"open": 96},
    "one, holds": {"holds": 1},
}


def every_claim() -> Iterator[tuple[str, Claims]]:
    for (words, counts), draws in itertools.product(COUNTS.items(), (20, 5, 2, 0)):
        if (draws == 2) != (words == "nothing concluded"):
            continue  # of two draws nothing is concluded
        for reference in specifications.VERDICTS:
            if counts.get(reference):
                one = sum(counts.values()) == 1
                yield (
                    f"{words}; {draws} draws; reference {reference}",
                    Claims(
                        "pairs", "share of items", counts, draws, 0.05,
                        (0.2, 0.2, 0.2) if one else (0.15, -0.07, 0.35), 1 if one else 83,
                        reference, (0.2, 0.1, 0.3), [] if one else MATTERS,
                    ),
                )  # fmt: skip
    nothing = (NAN, NAN, NAN)
    alike = [Matters("site", 48, 0.0, 0.0, {"resid_post": (0, 48), "mlp_post": (0, 48)})]
    counts = COUNTS["holds in none"]
    yield (
        "no choice changes anything",
        Claims("pairs", "share of items", counts, 20, 0.05, (0.0, 0.0, 0.0), 0, "not told apart",
               (0.0, -0.1, 0.1), alike),
    )  # fmt: skip
    yield (
        "no difference is a number",
        Claims("pairs", "share of items", {"open": 2}, 20, 0.05, nothing, 0, "open", nothing,
               [Matters("site", 1, NAN, 0.0)]),
    )  # fmt: skip


def spoken_claims() -> Iterator[Spoken]:
    for words, found in every_claim():
        # What the reference says makes the same difference whatever the others say.
        if found.reference == max(found.counts, key=found.counts.__getitem__) or "open" in words:
            yield Spoken(words, specifications.claim_sentences(found))
    for draws in (0, 1, 2, 5, 18, 19, 20):
        yield Spoken(f"{draws} draws, to mind", specifications.few_draws(draws, 0.05))
    for noise, idle, poor in ((0, 0, 0), (3, 0, 0), (0, 1, 0), (0, 0, 96)):
        minded = specifications.specification_notes(96, noise=noise, idle=idle, poor=poor)
        yield Spoken(f"{noise} of noise, {idle} idle, {poor} poor matches", minded)
    yield Spoken(
        "a choice that changes no units", [specifications.unchanged_choice("selection", ["t", "d"])]
    )
    reasons = [(16, "The selection d makes no use of test."), (4, "Nothing pairs")]
    for template in (specifications.LEFT_OUT, specifications.SAME):
        yield Spoken("combinations left out", specifications.left_out(template, 288, reasons))
        yield Spoken("none left out", specifications.left_out(template, 288, []))
    for left, seconds in ((840, (1800.0, 5400.0)), (400, (4.0, 4.0)), (0, (0.0, 0.0))):
        said = outlook_sentences(160, 61, 6, 40, 800, left, seconds)
        yield Spoken(f"{left} lesions left", said)


def spoken_pairs() -> Iterator[Spoken]:
    ends = {
        "above zero": (2.0, 3.0),
        "holds zero": (-0.5, 0.7),
        "below zero": (-2.0, -1.0),
        "missing": (NAN, NAN),
    }
    for (words, (low, high)), n, preferred in itertools.product(ends.items(), (1, 6, 40), (0, 1)):
        mean = (low + high) / 2 if low == low else 1.0
        found = clean_corrupted.Metric(n, 1.5, 1.5 - mean, low, high, preferred * n)
        pairs = "1 pair" if n == 1 else f"{n} pairs"
        case = f"{pairs}, interval of the difference: {words}, right one preferred in "
        yield Spoken(case + ("all" if preferred else "none"), clean_corrupted.metric_notes(found))


def spoken_carried() -> Iterator[Spoken]:
    for share in (0.9, 0.2, -0.1, NAN):
        words = f"a site carries {share:g} of the difference".replace("nan", "no number")
        yield Spoken(words, clean_corrupted.site_notes("mlp_post", share))
    for (kept, n), rho in itertools.product(((0.6, 0), (0.6, 5), (0.2, 5), (0.2, 19)), (0.9, 0.1)):
        chance = tuple(0.1 + 0.3 * i / max(1, n) for i in range(n))
        words = f"mean height {kept:g}, {n} random rankings, rho with exact patching {rho:g}"
        found = clean_corrupted.Carried("pairs", "mlp_post", kept, chance, rho)
        yield Spoken(words, clean_corrupted.ranking_notes(found))
    yield Spoken("chosen on the same pairs", clean_corrupted.same_pairs_notes(["pairs", "t"]))


# -- networks and their own tasks ------------------------------------------------------------------

# Index of network and controls, interval, standardised, p, least p, draws.
INDICES: dict[str, tuple[Any, ...]] = {
    "more, by the draws": (0.6, 0.1, 0.3, 0.7, 3.1, 1 / 21, 1 / 21, 20),
    "more by the interval, not by the draws": (0.6, 0.1, 0.3, 0.7, 3.1, 2 / 21, 1 / 21, 20),
    "more, 5 draws": (0.6, 0.1, 0.3, 0.7, 3.1, 1 / 6, 1 / 6, 5),
    "alike": (0.2, 0.1, -0.2, 0.4, 0.6, 6 / 21, 1 / 21, 20),
    "less": (-0.4, 0.1, -0.8, -0.2, -2.2, 21 / 21, 1 / 21, 20),
    "2 draws": (0.6, 0.1, 0.3, 0.7, 3.1, 1 / 3, 1 / 3, 2),
    "1 draw": (0.6, 0.1, NAN, NAN, NAN, 1 / 2, 1 / 2, 1),
    "no interval": (0.6, 0.1, NAN, NAN, NAN, 1 / 21, 1 / 21, 20),
    "no number": (NAN, 0.1, NAN, NAN, NAN, NAN, 1 / 21, 20),
    "all draws alike": (0.6, 0.1, 0.3, 0.7, NAN, 1 / 21, 1 / 21, 20),
}


def every_index() -> Iterator[tuple[str, Specificness]]:
    for name, (index, control, low, high, z, p, least, draws) in INDICES.items():
        for own in (("grammar",), ("grammar", "other-languages")):
            yield f"{name}; {len(own)} of its own", Specificness(
                "language", own, ("facts", "code"), "random units", draws, index, control, low,
                high, z, p, least,
            )  # fmt: skip


def every_together() -> Iterator[tuple[str, Together]]:
    for relations in itertools.combinations_with_replacement(dissociations.SPECIFIC, 2):
        for crossed in (True, False):
            given = dict(zip(("language", "sums"), relations, strict=True))
            words = f"{' and '.join(relations)}{', crossed' if crossed else ''}"
            yield words, Together("random units", given, crossed, 1 / 21, 1 / 441)
    more: dict[str, Any] = dict.fromkeys(("language", "sums"), "more")
    yield "both more, by intervals", Together("random units", more, True, 0.3, 0.1, True)
    yield "one network", Together("random units", {"language": "more"}, True, 1 / 21, 1 / 21)


def spoken_dissociations() -> Iterator[Spoken]:
    for words, found in every_index():
        yield Spoken(words, [dissociations.specific_sentence(found)])
    for words, together in every_together():
        yield Spoken(words, dissociations.together_sentences(together))
    for words, sentence in {
        "a task at guessing": dissociations.no_room("arithmetic", 0.31, 0.25, 60, 4),
        "no kind is answered": dissociations.no_room("arithmetic", NAN, 0.25, 0, 4),
        "few items": dissociations.few_items("code", 12),
        "no task of its own": dissociations.no_index("emotion", ()),
        "its task has no room": dissociations.no_index("sums", ("arithmetic",)),
        "units in common": dissociations.shared_units("language", "sums", 60, 172, 172),
    }.items():
        yield Spoken(words, [f"To mind: {sentence}"])


FALLS = {
    "two fall first": {"agreement": 0.5, "binding": 0.5, "ellipsis": 2.0, "islands": NAN},
    "one falls, and later another": {"agreement": 0.5, "binding": 2.0, "ellipsis": NAN},
    "five fall first": {**dict.fromkeys(("a", "b", "c", "d", "e"), 0.5), "f": NAN},
    "one falls": {"agreement": 1.0, "binding": NAN, "ellipsis": NAN},
    "all fall": {"agreement": 0.5, "binding": 0.5},
    "none falls": {"agreement": NAN, "binding": NAN},
}


def spoken_falls() -> Iterator[Spoken]:
    beside = {"random units of the same layers": 0.02}
    for words, known in FALLS.items():
        groups = [
            Group(name, 0.4 - 0.05 * place, at, {} if at != at else beside)
            for place, (name, at) in enumerate(known.items())
        ]
        several = Falls("language", "pairs", "phenomena", 1.0, 3, groups, 40)
        yield Spoken(f"{words}, three sizes", falls.falls_sentences(several))
        one = dataclasses.replace(several, what="groups", sizes=1)
        yield Spoken(f"{words}, one size", falls.falls_sentences(one))
    none = [Group("agreement", 0.5), Group("binding", 0.25)]
    few = Falls("language", "pairs", "groups", 1.0, 1, none, 4)
    yield Spoken("groups of few items", falls.falls_sentences(few))
    idle = dataclasses.replace(few, groups=[Group("a", 0.0), Group("b", NAN)])
    yield Spoken("nothing changes", falls.falls_sentences(idle))
    yield Spoken("a single group", falls.falls_sentences(dataclasses.replace(few, groups=none[:1])))


SECTIONS = {
    "The verdict of a report": spoken_verdicts,
    "What a lesion did": spoken_lesions,
    "How control units compare": spoken_controls,
    "How controls match, and what their draws can tell": spoken_matches,
    "Networks of several sizes": spoken_networks,
    "What falls first": spoken_falls,
    "Networks and their own tasks": spoken_dissociations,
    "Response profiles": spoken_profiles,
    "Selected units": spoken_selections,
    "Stimuli and model": spoken_stimuli,
    "Halves of the stimuli": spoken_agreements,
    "Language neurons": spoken_languages,
    "Brain responses": spoken_predictions,
    "Reading times": spoken_gains,
    "Specifications": spoken_claims,
    "Clean and corrupted texts": spoken_pairs,
    "What k units carry of a difference": spoken_carried,
}


def page() -> str:
    """Return the whole table as Markdown."""
    lines = [
        "# Every sentence that judges",
        "",
        "Report, cards, demo and commands take the sentences that judge from one table of cases "
        "(`lensloc/display/sentences`),",
        "which knows numbers and names only. These are all cases. A lesion is said to do harm, or "
        "to improve a score, only where",
        "an interval excludes zero. A test walks through the table and compares this page with "
        "it; it is written by",
        "",
        "```bash",
        "python tests/support/sentence_table.py > docs/sentences.md",
        "```",
    ]
    for title, spoken in SECTIONS.items():
        lines += ["", f"## {title}", "", "| case | what is said |", "|---|---|"]
        for found in spoken():
            lines.append(f"| {found.case} | {'<br>'.join(found.sentences) or '(nothing)'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")

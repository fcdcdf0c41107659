"""One result of every kind that can be kept, of random numbers; no model is run."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from counts import random_counts
from pair_parts import letters
from people import encoding, reading
from plotted import lesions, mask_of, matrix, null_of, selectivity, steering
from specification_table import GRIDS, specifications

import lensloc as ll
from lensloc.alignment.surprisal import WordSurprisals
from lensloc.contrasts.balance import measure_balance
from lensloc.contrasts.protocols import PUBLISHED
from lensloc.display.sentences.profiles import Sides
from lensloc.errors import unwarned
from lensloc.results.lesions import LesionStudy, tabulate
from lensloc.results.matrices import Answers
from lensloc.results.recovery import Recovery
from lensloc.results.sweeps import (
    CELLS,
    LAYERS,
    LESIONS,
    LOCALIZATIONS,
    SHARES,
    SPECIFICITY,
)
from lensloc.results.sweeps import PUBLISHED as BESIDE
from lensloc.results.sweeps import tabulated as sweep_table
from lensloc.selectivity.reliability import Reliability
from lensloc.studies.localization import Seconds
from lensloc.units.provenance import Provenance
from lensloc.units.text_sets import TextSet
from lensloc.units.verbatim import Verbatim

TEXTS = [
    "the old bridge",
    "=1+1",
    "ein Weg\n",
    "שלום",
    "e\u0301",
    "",
    "-",
]


def every_result(seed: int) -> dict[str, Any]:
    """Kind -> a result of it; another one for another seed."""
    return {name: make(np.random.default_rng([seed, *map(ord, name)])) for name, make in _MAKERS}


def _numbers(draw: Any, *shape: int) -> torch.Tensor:
    """Numbers among which are those that are none, and a negative zero."""
    found = torch.from_numpy(draw.normal(size=shape))
    found.view(-1)[:3] = torch.tensor([torch.nan, -torch.inf, -0.0])
    return found


def _made(draw: Any) -> Provenance:
    texts = TextSet.of([str(draw.integers(1000)), "=1+1"]).encode()
    return Provenance(
        model="tiny \N{GREEK SMALL LETTER ALPHA}", texts=texts, target=("a", "b"), max_tokens=12,
        seeds=("weights 3",), warnings=("Mind the gap.",), date="2026-01-01", site="resid_post",
    )  # fmt: skip


def _contrast(draw: Any) -> ll.Contrast:
    texts = [text or "x" for text in TEXTS]
    conditions = {
        "a": (*texts, f"number {draw.integers(1000)}"),
        "b, c": tuple(Verbatim(f"<s>{text}") for text in texts),
    }
    items = {name: tuple(map(str, range(len(found)))) for name, found in conditions.items()}
    return ll.Contrast(
        "small", conditions, ("a",), ("b, c",), "=here", items, PUBLISHED["language"]
    )


def _map(draw: Any) -> ll.Selectivity:
    found = selectivity(3, 5, int(draw.integers(1000)))
    uneven = ll.Selectivity(
        **{name: getattr(found, name) for name in ("t", "df", "p", "q", "d", "g", "mean_target")},
        **{name: getattr(found, name) for name in ("mean_control", "magnitude", "kurtosis")},
        site="block", provenance=_made(draw), widths=(5, 2, 4),
    )  # fmt: skip
    with unwarned():
        return uneven.excluding(uneven.top(k=2))


def _mask(draw: Any) -> ll.UnitMask:
    with unwarned():
        return _map(draw).top(k=3)


def _responses(draw: Any) -> ll.Responses:
    values = _numbers(draw, 4, 2, 3).to(torch.bfloat16)
    return ll.Responses(
        "head", values, ("a", "a", "b", "b"), ("1", "2", "1", "2"), _made(draw), (3, 1)
    )


def _localization(draw: Any) -> ll.Localization:
    found = {"resid_post": selectivity(seed=int(draw.integers(99))), "block": _map(draw)}
    return ll.Localization(
        _contrast(draw), found, 17, Seconds(0.5, 0.25), ("block",), ("Mind.",),
        {"head": _responses(draw)}, "ll.localize(model, contrast)",
    )  # fmt: skip


def _profile(draw: Any) -> ll.ResponseProfile:
    names = [f"{kind}{end}" for kind in ("absolute", "signed", "standardised")
             for end in ("", "_low", "_high")]  # fmt: skip
    table = pd.DataFrame({"condition": ["a", "b"], "stimuli": [3, 4]})
    table[names] = draw.normal(size=(2, len(names)))
    stimuli = pd.DataFrame({"condition": ["a", "b"], "row": [0, 1], "absolute": [1.0, np.nan]})
    sides = Sides(("a",), ("b",), 0.5, -0.1, 0.6, np.nan, np.inf)
    return ll.ResponseProfile(table, stimuli, True, 5, "head", 0.9, sides=sides, model="tiny")


def _lesions(draw: Any) -> LesionStudy:
    known = lesions()
    items = _items(draw, ("pairs", "choice"))
    table = known.table.assign(drop=draw.normal(size=len(known.table)))
    return LesionStudy(table, 0.9, ("Mind the gap.",), "ll.lesion_study(...)", items)


def _items(draw: Any, tasks: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {
            **{"network": "language", "mode": "zero", "percent": 1.0, "kind": kind, "seed": seed},
            **{"task": task, "item": f"{number}", "group": f"g{number % 2}", "phenomenon": ""},
            **{"intact": 1.0, "intact_weight": 1.0, "value": float(draw.integers(2))},
            **{"weight": 1.0, "higher_is_better": True},
        }
        for task in tasks
        for kind, seed in (("network", None), ("layer", 0), ("layer", 1), ("layer", 2))
        for number in range(24)
    ]
    items = pd.DataFrame(rows)
    items["seed"] = items["seed"].astype("Int64")
    words = ["network", "mode", "kind", "task", "item", "group", "phenomenon"]
    return items.astype(dict.fromkeys(words, "category"))


def _specificity(draw: Any) -> ll.Specificity:
    items = _items(draw, ("one", "two"))
    keys = ["network", "mode", "percent", "kind", "seed", "task"]
    table = items[keys].drop_duplicates().astype({"network": str, "kind": str, "task": str})
    rows = [{"model": "tiny", "measure": "accuracy", "drop": 0.1, "n_units": 3, **row}
            for row in table.to_dict("records")]  # fmt: skip
    study = LesionStudy(tabulate(rows), items=items)
    room = pd.DataFrame({"task": ["one", "two", "three"], "measure": "accuracy", "items": 24,
                         "kinds": [np.nan, 2, 3], "kinds_answered": [np.nan, 2, 0],
                         "n_items": 24, "intact": 1.0, "chance": 0.5,
                         "room": [0.5, 0.5, np.nan]})  # fmt: skip
    return ll.Specificity(study, room, {"language": ("one",)}, int(draw.integers(99)))


def _faithfulness(draw: Any) -> ll.Faithfulness:
    def curve(name: str) -> Recovery:
        share, low, high = draw.normal(size=(3, 4))
        return Recovery(name, np.array([1, 2, 4, 8]), share, low, high, 0.5, 6)

    both = {name: curve(name) for name in ("faithfulness", "completeness")}
    exact = pd.DataFrame({"address": ["L0.head.1"], "layer": [0], "exact": [np.nan]})
    return ll.Faithfulness(
        "head", 8, {"patching": both}, {name: (curve(name),) * 2 for name in both}, 2.0, -1.0, 0.1,
        exact, exact, {"patching": 0.5}, {}, "letters", 6, "tiny", ("Mind.",),
    )  # fmt: skip


def _effects(draw: Any) -> ll.PairEffects:
    score, error, magnitude = (torch.from_numpy(draw.normal(size=(2, 4))) for _ in range(3))
    return ll.PairEffects("head", score, error, magnitude, 6, "corrupted", _made(draw))


def _attribution(draw: Any) -> ll.Attribution:
    arrays = [_numbers(draw, 2, 3) for _ in range(4)]
    return ll.Attribution(
        "head",
        "grad_x_act",
        "zero",
        *arrays[:3],
        4,
        5,
        arrays[3],
        torch.zeros(2, dtype=torch.float64),
        _made(draw),
    )


def _answers(draw: Any) -> Answers:
    table = pd.DataFrame(
        {"lesioned": ["none", "en"], "asked": "en", "n": 2, "words": draw.normal(size=2)}
    )
    answers = pd.DataFrame({"lesioned": "none", "asked": "en", "item": [0, 1], "text": TEXTS[:2]})
    return Answers(table, answers, ("Mind.",))


def _sweep(draw: Any) -> ll.Sweep:
    """Of two models; a cell of the second failed."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("cells", "localizations", "lesions", "specificity", "shares",
                              "layers", "published")
    }  # fmt: skip
    for model, width in (("tiny", 5), ("small", 6)):
        place = {"model": model, "contrast": "own", "site": "head", "protocol": "lensloc"}
        cell = {**place, "cell": f"{model}-own", "kind": "localize", "lesion": "", "state": "done",
                "seconds": float(draw.gamma(2)), "made": "2026-01-01", "reason": ""}  # fmt: skip
        rows["cells"] += [
            cell,
            {**cell, "cell": f"{model}-zero", "kind": "lesion", "lesion": "zero"},
            {**cell, "cell": f"{model}-all", "kind": "specificity", "contrast": ""},
        ]
        rows["localizations"].append({**place, "percent": 10.0, "width": width, "depth": 0.5,
                                      "n_units": 3, "largest_t": float(draw.normal())})  # fmt: skip
        rows["lesions"].append({**place, "lesion": "zero", "percent": 10.0, "task": "one",
                                "kind": None, "network_drop": float(draw.normal())})  # fmt: skip
        of_model = {name: place[name] for name in ("model", "site", "protocol")}
        rows["specificity"].append({**of_model, "kind": "layer", "network": "own", "index": 0.5})
        rows["shares"].append({**of_model, "kind": "layer", "network": "own", "task": "one"})
        rows["layers"] += [{**place, "layer": layer, "relative_depth": layer / 1, "share": 50.0}
                           for layer in range(2)]  # fmt: skip
    rows["cells"][-1] |= {"state": "failed", "reason": "It is too small.", "seconds": None}
    rows["specificity"].pop()
    rows["shares"].pop()
    number = {"quantity": "width", "published": 7.0, "source": "a paper"}
    place = {"model": "small", "contrast": "own", "site": "head", "protocol": "lensloc"}
    rows["published"] = [{**place, **number, "measured": 6.0}, {**number, "model": "none"}]
    columns = {"cells": CELLS, "localizations": LOCALIZATIONS, "lesions": LESIONS,
               "specificity": SPECIFICITY, "shares": SHARES, "layers": LAYERS,
               "published": BESIDE}  # fmt: skip
    tables = {name: sweep_table(found, columns[name]) for name, found in rows.items()}
    return ll.Sweep("by hand", **tables, warnings=("Mind.",), call="ll.sweep('plan.yaml')")


def _task_result(draw: Any) -> ll.tasks.TaskResult:
    items = pd.DataFrame({"item": TEXTS, "group": "g", "value": draw.normal(size=len(TEXTS)),
                          "weight": 1.0, "tie": [False] * len(TEXTS)})  # fmt: skip
    settings: Mapping[str, Any] = {"bos": False, "options": ["a", 1, None], "nested": {"x": (1, 2)}}
    return ll.tasks.TaskResult("mine", "accuracy", items, chance=0.5, settings=settings)


def _study(draw: Any) -> ll.Study:
    found = _localization(draw)
    balance = measure_balance(found.contrast.conditions, ["a"], ["b, c"])
    reliability = Reliability(0.5, 0.1, 0.9, 0.4, 0.01, 1.5, 10)
    return ll.Study(
        found, "resid_post", 10.0, balance, reliability, _profile(draw), _lesions(draw), None,
        ("Note.",), "ll.study(...)", 3,
    )  # fmt: skip


def _identified(draw: Any) -> ll.lape.Identified:
    return ll.lape.identify(random_counts(int(draw.integers(99))), 0.3, 0.5, 0.5)


def _counts(draw: Any) -> ll.lape.ActivationCounts:
    found = random_counts(int(draw.integers(99)))
    windows = ll.lape.WindowCounts(
        torch.zeros(2, *found.shape, dtype=torch.int32), torch.tensor([3, 4]),
        torch.tensor([0, 1]), 1,
    )  # fmt: skip
    return ll.lape.ActivationCounts(
        found.counts, found.tokens, found.languages, window=8, sources={"de": ("a", "b")},
        provenance=_made(draw), windows=windows,
    )  # fmt: skip


def _activity(draw: Any) -> ll.lape.Activity:
    mask = mask_of((2, 5), (0, 1), (1, 4), site="mlp_post")
    return ll.lape.Activity(mask, _numbers(draw, 7, 2).float())


def _surprisals(draw: Any) -> WordSurprisals:
    table = pd.DataFrame({"story": "s", "position": [1, 2], "word": TEXTS[:2], "n_tokens": 1,
                          "surprisal": draw.gamma(4, 2, size=2), "corrected": np.nan})  # fmt: skip
    return WordSurprisals(table, "beginning", ("Mind.",), _made(draw))


def _interval(draw: Any) -> Any:
    low, high, undefined = (_numbers(draw, 2, 3) for _ in range(3))
    from lensloc.selectivity.effects import Interval

    return Interval(low, high, 0.9, undefined)


def _discrimination(draw: Any) -> Any:
    from lensloc.selectivity.effects import Discrimination

    return Discrimination(_numbers(draw, 2, 3), _numbers(draw, 2, 3))


def _pair_localization(draw: Any) -> ll.PairLocalization:
    clean, corrupted = draw.normal(size=(2, 6))
    return ll.PairLocalization(letters(), {"head": _effects(draw)}, clean, corrupted, ("Mind.",))


_MAKERS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("ActivationCounts", _counts),
    ("Activity", _activity),
    ("Answers", _answers),
    ("Attribution", _attribution),
    ("Contrast", _contrast),
    ("Discrimination", _discrimination),
    ("Encoding", lambda draw: encoding(draws=int(draw.integers(1, 3)))),
    ("Faithfulness", _faithfulness),
    ("Identified", _identified),
    ("Interval", _interval),
    ("LanguageMatrix", lambda draw: matrix(draws={"random": int(draw.integers(1, 4))})),
    ("LesionStudy", _lesions),
    ("Localization", _localization),
    ("MaxT", lambda draw: null_of(selectivity(seed=int(draw.integers(99))))),
    ("Multiverse", lambda draw: specifications(GRIDS[12], noise=float(draw.uniform()))),
    ("Null", lambda draw: ll.lape.Null(*(_numbers(draw, 5) for _ in "ab"), _numbers(draw, 2, 3),
                                       0.01)),
    ("PairEffects", _effects),
    ("PairLocalization", _pair_localization),
    ("Pairs", lambda draw: letters(int(draw.integers(1, 7)))),
    ("ReadingStudy", lambda draw: reading(int(draw.integers(1, 3)))),
    ("ResponseProfile", _profile),
    ("Responses", _responses),
    ("Selectivity", _map),
    ("Specificity", _specificity),
    ("Steering", lambda draw: steering(("en", "de"), deactivate=(bool(draw.integers(2)),))),
    ("Study", _study),
    ("Sweep", _sweep),
    ("TaskResult", _task_result),
    ("TokenResponses", lambda draw: ll.TokenResponses(
        mask_of((2, 5), (0, 1), (1, 4)), _numbers(draw, 5, 2).float(),
        ("the", " cat", "<b>", "\n", ""), np.array([0, 2, 5]), ("a", "b"), _made(draw))),
    ("UnitMask", _mask),
    ("UnitResponses", lambda draw: ll.alignment.UnitResponses(
        "head", draw.normal(size=(4, 2)), np.array([[0, -1], [1, -1]]))),
    ("WordSurprisals", _surprisals),
)  # fmt: skip

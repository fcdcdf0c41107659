"""Sentences on an encoding: what may be said in which case, and what may not."""

import math
import re
import sys
from typing import Any

import numpy as np
import pytest

from lensloc import LensLocError
from lensloc.alignment.encoding_words import _compared, _unique
from lensloc.alignment.optional import needed
from lensloc.contrasts.frequency import zipf_frequencies

NAN = math.nan


def compared(kind: str, against: str, own: float, other: float, **more: Any) -> list[str]:
    row = {"network": "net", "kind": kind, "against": against, "network_r": own, "other_r": other}
    return list(_compared({**row, "draws": 19, "p": NAN, **more}))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("control", "layer", 0.3, 0.1, {"p": 0.05}), None),
        (("control", "layer", 0.3, 0.1, {"p": NAN}), None),
        (("control", "layer", NAN, 0.1, {"p": NAN}), None),
        (("control", "layer", 0.3, NAN, {"p": 0.5}), None),
        (("control", "layer", 0.1, 0.3, {"p": 0.9}), "not predict better than as many control"),
        (
            ("control", "layer", -0.1, -0.3, {"p": 0.06}),
            r"not predict .* r -0\.100 against -0\.300, p = 0\.06 over 19 d",
        ),
        (
            ("control", "layer", 0.3, 0.1, {"p": 1 / 6, "draws": 5}),
            r"predicts better than all 5 draws .* but 5 draws cannot give a p below 0\.17, so take",
        ),
        (("untrained", "untrained", 0.3, 0.1, {}), None),
        (("untrained", "untrained", 0.1, 0.3, {}), "no better than the same units untrained"),
        (("baseline", "word rate", 0.1, 0.3, {}), "no better than the baseline 'word rate'"),
        (("baseline", "word rate", 0.3, 0.3, {}), "no better than the baseline 'word rate'"),
        (("baseline", "word rate", 0.3, NAN, {}), None),
        (("baseline", "passage + position", 0.1, 0.3, {}), "no better than which passage"),
    ],
)
def test_comparisons(case: tuple[str, str, float, float, dict[str, Any]], expected: Any) -> None:
    *place, more = case
    found = compared(*place, **more)
    if expected is None:
        assert found == []
    else:
        (sentence,) = found
        assert re.search(expected, sentence), sentence


@pytest.mark.parametrize(
    ("unique", "low", "said"),
    [
        (0.1, 0.02, False),
        (0.1, -0.02, True),
        (-0.1, -0.2, True),
        (NAN, NAN, False),
        (0.1, NAN, False),
    ],
)
def test_unique_variance(unique: float, low: float, said: bool) -> None:
    row = {"network": "net", "unique": unique, "unique_low": low, "unique_high": 0.3}
    assert bool(list(_unique(row))) is said


def test_frequencies_leave_punctuation_out() -> None:
    found = zipf_frequencies(["kids", "kids.", '"Kids,"', "the", "qqzzxv", "..."])
    assert found[0] == found[1] == found[2] > 4
    assert found[3] > 7
    assert found[4] == found[5] == 0
    german = zipf_frequencies(["nicht"], "de")
    assert german > zipf_frequencies(["nicht"], "en")
    np.testing.assert_array_equal(zipf_frequencies(["nicht"], "de_AT"), german)
    with pytest.raises(LensLocError, match="no list of words for the language 'tlh'"):
        zipf_frequencies(["Qapla'"], "tlh")


def test_what_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "himalaya.ridge", None)
    with pytest.raises(LensLocError, match=r"Ridge needs himalaya, .* \"lensloc\[alignment\]\""):
        needed("himalaya.ridge", "Ridge")

"""Sentences on brains and reading state figures in every case, and never a missing one."""

import dataclasses
import math
from typing import Any

import pytest
from people import encoding, reading

from lensloc.display.sentences.people import (
    Beside,
    Gained,
    Predicted,
    gained_sentences,
    predicted_sentences,
)

NAN = math.nan
WHOLE = Predicted(
    "language", 172, 20, "grouped", 0.31, 0.2, 0.4, 0.55,
    [Beside("control units (layer)", 0.25, 19, 0.05), Beside("baseline word rate", 0.1)],
    0.02, 0.01, 0.03,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words", "not_said"),
    [
        ({}, "The 172 units of language predict 20 responses with a mean r of 0.31 [0.20, 0.40] on "
         "whole passages that were held out, which is 0.55 of the ceiling.", None),
        ({}, "control units (layer) 0.25, 19 draws, p = 0.05 and baseline word rate 0.10.", None),
        ({}, "explain +0.020 of the variance [0.010, 0.030] more than", None),
        ({"n_units": 1, "n_responses": 1}, "The 1 unit of language predicts 1 response ", None),
        ({"network": ""}, "The 172 units given predict", None),
        ({"low": NAN}, "r of 0.31 on whole passages", "["),
        ({"normalised": NAN}, "held out.", "ceiling"),
        ({"beside": ()}, "held out", "Held beside"),
        ({"unique": NAN}, "held out", "variance"),
        ({"unique": -0.02, "unique_low": NAN}, "explain -0.020 of the variance more than", None),
        ({"split": "shuffled"}, "with their neighbours trained on", "whole passages"),
        ({"split": "given"}, "in the folds that were given", None),
        ({"r": NAN}, "there is no correlation with the 20 responses", "explain"),
        ({"r": -0.3, "low": -0.4, "high": -0.2}, "r of -0.30 [-0.40, -0.20]", None),
    ],
)  # fmt: skip
def test_predictions(change: dict[str, Any], words: str, not_said: str | None) -> None:
    text = " ".join(predicted_sentences(dataclasses.replace(WHOLE, **change)))
    assert words in text
    assert "nan" not in text
    if not_said is not None:
        assert not_said not in (text.split(" on whole")[0] if not_said == "[" else text)


@pytest.mark.parametrize(
    ("gained", "words"),
    [
        (Gained("surprisal", 0.02, 0.01, 0.03), "Surprisal adds +0.0200 nats a time [0.0100, 0.03"),
        (Gained("surprisal", -0.02, NAN, NAN), "Surprisal adds -0.0200 nats a time to what length"),
        (Gained("surprisal", NAN, NAN, NAN), "For surprisal there is no gain"),
        (
            Gained("s", 0.02, 0.01, 0.03, [("net", 0.01, 0.0, 0.02, [Beside("c", 0.001, 9, 0.1)])]),
            "The lesion of net changes that gain by -0.0100 [-0.0200, 0.0000]; lesions of c +0.0010"
            ", 9 draws, p = 0.10.",
        ),
        (Gained("s", 0.02, 0.01, 0.03, [("net", NAN, NAN, NAN, [])]), "With net lesioned there is"),
        (
            Gained("s", 0.02, 0.01, 0.03, [("net", 0.01, NAN, NAN, [Beside("c", NAN, 1)])]),
            "changes that gain by -0.0100; lesions of c no number.",
        ),
    ],
)
def test_gains(gained: Gained, words: str) -> None:
    text = " ".join(gained_sentences(gained))
    assert words in text
    assert "nan" not in text


def test_results_say_their_own_figures() -> None:
    found = encoding()
    row = found.table[found.table["kind"] == "network"].iloc[0]
    text = " ".join(found.summary())
    assert f"of language predict 4 responses with a mean r of {row['r']:.2f} [" in text
    assert f"{row['unique']:+.3f} of the variance" in text
    assert "control units (layer)" in text
    study = reading()
    whole = study.table.iloc[0]
    assert f"adds {whole['gain']:+.4f} nats a time" in " ".join(study.summary())
    assert len(study.summary()) == 4

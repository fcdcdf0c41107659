"""Sentences on brains and reading state figures in every case, and never a missing one."""

import dataclasses
import math
import re
from typing import Any

import pytest
from people import encoding, reading
from sentence_table import every_gain, every_prediction

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
        (Gained("surprisal", 0.02, 0.01, 0.03), "adds +0.0200 nats per time [0.0100, 0.03"),
        (Gained("surprisal", -0.02, NAN, NAN), "adds -0.0200 nats per time to what length"),
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
    assert f"adds {whole['gain']:+.4f} nats per time" in " ".join(study.summary())
    assert len(study.summary()) == 4


# -- every case ------------------------------------------------------------------------------------

VERDICT = re.compile(r"\b(better|worse|harm|improve|significant|owed|selective)", re.IGNORECASE)


def test_every_case_of_a_prediction_states_its_figures() -> None:
    for words, found in every_prediction():
        said = predicted_sentences(found)
        text = " ".join(said)
        assert not VERDICT.search(text), words
        if math.isnan(found.r):
            assert len(said) == 1, words
            assert "there is no correlation" in text, words
            continue
        ends = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
        assert f"a mean r of {found.r:.2f}{ends} on" in said[0], words
        assert ("of the ceiling" in said[0]) == (not math.isnan(found.normalised)), words
        assert ("Held beside" in text) == bool(found.beside), words
        for each in found.beside:
            assert f"{each.label} " in text, words
            assert ("p = " in text) == any(not math.isnan(b.p) for b in found.beside), words
        assert ("of the variance" in text) == (not math.isnan(found.unique)), words
        if not math.isnan(found.unique):
            assert f"explain {found.unique:+.3f} of the variance" in text, words


def test_every_case_of_a_gain_states_its_figures() -> None:
    for words, found in every_gain():
        said = gained_sentences(found)
        text = " ".join(said)
        assert not VERDICT.search(text), words
        if math.isnan(found.gain):
            assert said == ["For surprisal there is no gain: reading times could not be predicted."]
            continue
        assert f"{found.gain:+.4f} nats per time" in said[0], words
        assert ("[" in said[0]) == (not math.isnan(found.low)), words
        assert len(said) == 1 + len(found.lesions), words
        for (name, loss, low, _, beside), sentence in zip(found.lesions, said[1:], strict=True):
            if math.isnan(loss):
                assert sentence == f"With {name} lesioned there is no figure.", words
                continue
            shown = f"{-loss + 0.0:+.4f}"
            assert f"The lesion of {name} changes that gain by {shown}" in sentence, words
            assert ("[" in sentence.split(";")[0]) == (not math.isnan(low)), words
            assert ("; lesions of " in sentence) == bool(beside), words

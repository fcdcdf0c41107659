"""The explorer's data are exactly what Python selects; the widget and the page hold them."""

import base64
import dataclasses
import importlib.util
import json
import re
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lensloc as ll
from lensloc import Contrast, LensLocError, Localization, UnitMask, localize
from lensloc.pages.explorer import ExplorerPage, best, explore, payload, source
from lensloc.pages.explorer.page import data_script
from lensloc.plot import themes


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture(scope="module")
def found(tiny_llama: Any, small_contrast: Contrast) -> Localization:
    return localize(
        tiny_llama, small_contrast, ["resid_post", "head"], keep_responses=True, progress=False
    )


def data_of(found: Localization, **options: Any) -> dict[str, Any]:
    return payload(found, **{"percent": 10, "most": 50, "most_bytes": 10**6} | options)


def test_units_stand_in_the_order_in_which_python_takes_them(found: Localization) -> None:
    for site in data_of(found)["sites"]:
        selectivity = found[site["name"]]
        total = site["layers"] * site["units"]
        for percent in (2.5, 10, 33.3, 50):
            if int(percent / 100 * total) == 0:
                continue
            for side, choose in (("target", selectivity.top), ("control", selectivity.bottom)):
                units = unpacked(site[side]["unit"], "<u4")[: int((percent / 100) * total)]
                expected = choose(percent=percent)
                assert set(units.tolist()) == set(
                    expected.mask.flatten().nonzero().flatten().tolist()
                )
                mask = best(selectivity, side, percent)  # type: ignore[arg-type]
                assert mask == expected


def test_ties_go_to_the_first_layer_and_unit_and_excluded_units_are_left_out(
    found: Localization,
) -> None:
    selectivity = found["resid_post"]
    tied = dataclasses.replace(selectivity, t=torch.ones_like(selectivity.t))
    without = torch.zeros(selectivity.shape, dtype=torch.bool)
    without[0, :3] = True
    excluded = tied.excluding(UnitMask("resid_post", without))
    made = dataclasses.replace(found, selectivity={"resid_post": excluded})
    (site,) = data_of(made)["sites"]
    assert unpacked(site["target"]["unit"], "<u4").tolist() == list(range(3, 51))
    assert site["available"] == 93
    every = data_of(made, most=100)["sites"][0]["target"]["unit"]
    assert len(unpacked(every, "<u4")) == 93


def test_statistics_are_those_of_the_units(found: Localization) -> None:
    site = data_of(found)["sites"][0]
    units = unpacked(site["control"]["unit"], "<u4").astype(int)
    selectivity = found["resid_post"]
    for name, values in (("t", selectivity.t), ("d", selectivity.d), ("log10_q", selectivity.q)):
        expected = values.flatten()[torch.from_numpy(units)].numpy()
        expected = np.log10(expected) if name == "log10_q" else expected
        np.testing.assert_allclose(unpacked(site["control"][name], "<f4"), expected, rtol=1e-6)
    large = selectivity.outliers().mask.flatten()[torch.from_numpy(units)].numpy()
    np.testing.assert_array_equal(unpacked(site["control"]["outlier"], "u1") > 0, large)


def test_responses_are_kept_within_half_a_step(found: Localization) -> None:
    data = data_of(found)
    n = len(found.contrast.texts)
    assert data["stimuli"]["text"] == list(found.contrast.texts)
    for site in data["sites"]:
        kept = site["responses"]
        units = unpacked(kept["unit"], "<u4").astype(int)
        low, step = (unpacked(kept[name], "<f4")[:, None] for name in ("low", "step"))
        codes = unpacked(kept["codes"], "<u2").reshape(len(units), n)
        values = found.responses[site["name"]].values.reshape(n, -1).numpy()[:, units].T
        spread = np.ptp(values, axis=1, keepdims=True)
        assert (np.abs(low + step * codes - values) <= spread / 65535 + 1e-6).all()
        assert (codes.min(axis=1) == 0).all()
        assert (codes.max(axis=1) == 65535).all()
        for side in ("target", "control"):
            assert set(unpacked(site[side]["unit"], "<u4").tolist()) <= set(units.tolist())


def test_a_small_budget_keeps_the_units_that_are_shown_first(found: Localization) -> None:
    n = len(found.contrast.texts)
    shown = int(0.1 * 96) + int(0.1 * 12)
    data = data_of(found, most_bytes=(2 * n + 12) * shown)
    for site in data["sites"]:
        count = int(0.1 * site["layers"] * site["units"])
        first = unpacked(site["target"]["unit"], "<u4")[:count].tolist()
        assert unpacked(site["responses"]["unit"], "<u4").tolist() == first
    for site in data_of(found, most_bytes=0)["sites"]:
        assert len(unpacked(site["responses"]["unit"], "<u4")) == 0
    half = data_of(found, most_bytes=(n + 6) * shown)
    kept = sum(len(unpacked(site["responses"]["unit"], "<u4")) for site in half["sites"])
    assert 0 < kept <= shown / 2


def test_without_responses_the_explorer_says_how_to_have_them(
    tiny_llama: Any, small_contrast: Contrast
) -> None:
    data = data_of(localize(tiny_llama, small_contrast, progress=False))
    assert data["sites"][0]["responses"] is None
    assert "keep_responses=True" in data["missing"]


def test_constant_units_have_codes_too(found: Localization) -> None:
    responses = found.responses["resid_post"]
    constant = dataclasses.replace(responses, values=torch.ones_like(responses.values))
    made = dataclasses.replace(
        found,
        selectivity={"resid_post": found["resid_post"]},
        responses={"resid_post": constant},
    )
    kept = data_of(made)["sites"][0]["responses"]
    assert not unpacked(kept["codes"], "<u2").any()
    np.testing.assert_array_equal(unpacked(kept["low"], "<f4"), 1)


def test_bad_input_is_refused(found: Localization) -> None:
    for percent, most in ((0, 5), (6, 5), (1, 101), (-1, 5)):
        with pytest.raises(LensLocError, match="above 0 and at most the largest"):
            data_of(found, percent=percent, most=most)
    with pytest.raises(LensLocError, match="UnitMask is something else"):
        # Without the type checks that only tests make.
        unwrap(explore)(found["resid_post"].top(k=3))
    responses = found.responses["resid_post"]
    turned = dataclasses.replace(responses, conditions=responses.conditions[::-1])
    with pytest.raises(LensLocError, match="not those to the stimuli of small"):
        data_of(dataclasses.replace(found, responses={**found.responses, "resid_post": turned}))


# -- widget and page -------------------------------------------------------------------------------


def test_the_widget_follows_what_is_chosen(found: Localization) -> None:
    view: Any = explore(found, percent=10, most=50)
    assert view.mask == found["resid_post"].top(percent=10)
    view.percent, view.side = 20, "control"
    assert view.mask == found["resid_post"].bottom(percent=20)
    view.site = "head"
    assert view.mask == found["head"].bottom(percent=20)
    view.percent = 1  # less than one of twelve heads
    assert view.mask is None
    assert repr(view) == "Explorer(small at resid_post, head; 1 % of the units)"
    state = view.get_state()
    assert {"payload", "percent", "side", "site", "layer", "unit", "_esm", "_css"} <= set(state)
    assert "export default { render }" in state["_esm"]
    json.dumps(state["payload"], allow_nan=False)


def test_a_study_can_be_explored(tiny_llama: Any, small_contrast: Contrast) -> None:
    study = ll.study(tiny_llama, small_contrast, percent=10, progress=False)
    view: Any = explore(study)
    assert (view.percent, view.payload["most"]) == (10, 10)
    assert view.mask == study.network


def test_without_anywidget_there_is_a_page(
    found: Localization, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    view = explore(found, percent=10, most=50)
    assert isinstance(view, ExplorerPage)
    assert view._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts allow-downloads"' in view._repr_html_()
    page = view.save(tmp_path / "explorer.html").read_text()
    assert page == view.html
    assert "default-src 'none'" in page
    assert len(repr(view)) < 120


def test_the_widget_saves_a_page_of_what_is_chosen(found: Localization, tmp_path: Path) -> None:
    view: Any = explore(found, percent=10, most=50)
    view.percent = 25.5
    page = view.save(tmp_path / "explorer.html").read_text()
    assert '"percent":25.5' in page


def test_nothing_breaks_out_of_data_on_a_page() -> None:
    script = data_script({"text": "</script><script>alert(1)</script><!-- & \u2028"})
    inner = re.fullmatch(r"<script [^>]*>(.*)</script>", script, re.DOTALL)
    assert inner is not None
    assert not set(inner[1]) & set("<>&")
    assert json.loads(inner[1])["text"].startswith("</script>")


def test_the_explorer_has_the_colours_of_the_figures() -> None:
    style = source("explorer.css")
    light, dark = style.split('[data-theme="dark"]', 1)
    for part, theme in ((light, "light"), (dark, "dark")):
        steps = re.findall(r"--ll-(\d): (#\w{6})", part)
        assert [color for _, color in sorted(steps)] == list(themes._SEQUENTIAL[theme])  # type: ignore[index]
    assert "--ll-target: #d55e00; --ll-control: #0072b2" in light


def test_the_explorer_never_writes_html() -> None:
    for name in ("explorer.js", "model.js"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", source(name))


# -- all conditions, and tokens --------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(small_contrast: Contrast) -> Contrast:
    lists = ("village bridge old", "sun plant watered", "who came up")
    return dataclasses.replace(
        small_contrast, conditions={"lists": lists, **small_contrast.conditions}
    )


def test_other_conditions_are_kept_and_shown(tiny_llama: Any, three: Contrast) -> None:
    plain = localize(tiny_llama, three, keep_responses=True, progress=False)
    every = localize(tiny_llama, three, keep_responses="all", progress=False)
    torch.testing.assert_close(every["resid_post"].t, plain["resid_post"].t)
    kept = every.responses["resid_post"]
    assert kept.conditions[:3] == ("lists",) * 3
    torch.testing.assert_close(
        kept.of(("sentences",)), plain.responses["resid_post"].of(("sentences",))
    )
    stimuli = data_of(every)["stimuli"]
    assert [(each["name"], each["role"]) for each in stimuli["conditions"]] == [
        ("lists", "other"), ("sentences", "target"), ("nonwords", "control")]  # fmt: skip
    assert stimuli["text"][:3] == list(three.conditions["lists"])
    assert len(stimuli["condition"]) == 12
    assert len(data_of(plain)["stimuli"]["condition"]) == 9
    (site,) = data_of(every)["sites"]
    codes = unpacked(site["responses"]["codes"], "<u2").reshape(-1, 12)
    low, step = (unpacked(site["responses"][name], "<f4") for name in ("low", "step"))
    units = unpacked(site["responses"]["unit"], "<u4")
    shown = low[:, None] + step[:, None] * codes
    known = kept.values.reshape(12, -1)[:, units.astype(int)].T.numpy()
    np.testing.assert_allclose(shown, known, atol=1e-4)


def test_tokens_are_those_of_python(found: Localization, tiny_llama: Any) -> None:
    contrast = found.contrast
    by_token = ll.capture_tokens(tiny_llama, contrast.texts, contrast.labels, progress=False)
    data = data_of(found, tokens=by_token)
    assert [tuple(each) for each in data["stimuli"]["tokens"]] == [
        by_token.tokens_of(number) for number in range(9)
    ]
    first, second = data["sites"]
    assert second["tokens"] is None
    units = unpacked(first["tokens"]["unit"], "<u4").astype(int)
    largest = unpacked(first["tokens"]["largest"], "<f4")
    codes = unpacked(first["tokens"]["codes"], "i1").reshape(len(units), -1)
    known = by_token.values.T.numpy()[units]
    np.testing.assert_allclose(
        largest[:, None] * codes / 127, known, atol=float(largest.max()) / 250
    )
    t = found["resid_post"].t.abs().flatten()[torch.from_numpy(units)]
    assert (t.diff() <= 0).all()
    few = data_of(found, tokens=by_token, most_bytes=3 * 2 * len(by_token.tokens))
    assert len(unpacked(few["sites"][0]["tokens"]["unit"], "<u4")) == 3
    assert explore(found, tokens=[by_token]).payload["stimuli"]["tokens"] is not None


def test_tokens_of_something_else_are_refused(found: Localization, tiny_llama: Any) -> None:
    texts, labels = found.contrast.texts, found.contrast.labels

    def captured(*more: Any, **options: Any) -> ll.TokenResponses:
        return ll.capture_tokens(tiny_llama, *more, progress=False, **options)

    here = captured(texts, labels)
    for given, sentence in (
        (captured(texts[1:], labels[1:]), "are to 8 stimuli, and those of the localization are 9"),
        (captured(texts, labels, "mlp_post"), "are at mlp_post, and the localization at resid_po"),
        ([here, here], "Responses by token at resid_post are given twice"),
    ):
        with pytest.raises(LensLocError, match=sentence):
            payload(found, percent=1, most=5, most_bytes=10**6, tokens=given)

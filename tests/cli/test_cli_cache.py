"""``lensloc cache``: what is kept is listed, verified and cleared, and nothing else."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from commands import run, run_json
from plotted import selectivity

from lensloc.cli.caching import _size
from lensloc.models.cache_entries import entries, hash_of
from lensloc.studies.store import Store

KEY = {"a": 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one of everything, and what is not lensloc's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LENSLOC_CACHE", str(folder))
    Store.at(folder / "results").save(KEY, selectivity(), 3)
    store = Store.at(folder / "studies")
    store.save_record(KEY, {"x": 1})
    store.save_record({"b": 2}, {"x": 2})
    store.path({"b": 2}, ".json").write_text("{")
    store.load_record({"b": 2})
    for name in ("models/tiny", "gguf/abc"):
        made = folder / name
        made.mkdir(parents=True)
        (made / "weights").write_bytes(b"w" * 1000)
        files: dict[str, Any] = {"weights": hash_of(made / "weights")}
        if name == "models/tiny":
            files = {"weights": 1000}
        record = {"files": files, "hashes": {"weights": hash_of(made / "weights")}}
        (made / "lensloc.json").write_text(json.dumps(record))
    (folder / "downloads").mkdir()
    (folder / "downloads" / "x-1-py3-none-any.whl").write_bytes(b"zip")
    (folder / "results" / f".lensloc-{'a' * 16}").write_bytes(b"left")
    for mine in ("notes.txt", "results/notes.json", "models/mine/weights", "gguf/x.lock"):
        (folder / mine).parent.mkdir(exist_ok=True)
        (folder / mine).write_text("of the user")
    return folder


def kinds() -> list[str]:
    return [entry.kind for entry in entries()]


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


ALL = ["map", "score", "model", "checkpoint", "download", "set aside", "leftover"]


def test_everything_is_listed(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = run_json(capfd, "cache", "list")
    assert [entry["kind"] for entry in found["entries"]] == ALL
    assert found["path"] == str(cache)
    assert found["count"] == len(ALL)
    assert found["bytes"] == sum(entry["bytes"] for entry in found["entries"])
    (model,) = [entry for entry in found["entries"] if entry["kind"] == "model"]
    assert model["bytes"] > 1000
    assert 0 <= model["age_seconds"] < 600
    assert run("cache", "list") == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(ALL) + 1
    assert "models/tiny" in lines[2]
    assert run("cache", "path") == 0
    assert capfd.readouterr().out.strip() == str(cache)


def test_everything_is_verified(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = run_json(capfd, "cache", "verify")
    states = {entry["kind"]: entry["state"] for entry in found["entries"]}
    assert {kind for kind, state in states.items() if state == "whole"} == set(ALL[:4])
    assert (found["whole"], found["damaged"], found["unchecked"]) == (4, 0, 3)
    before = everything(cache)
    damaged = {
        "map": next((cache / "results").glob("*.safetensors")),
        "score": next((cache / "studies").glob("*.json")),
        "model": cache / "models" / "tiny" / "weights",
        "checkpoint": cache / "gguf" / "abc" / "weights",
    }
    for number, (kind, path) in enumerate(damaged.items(), start=1):
        content = bytearray(path.read_bytes())
        content[-3] ^= 16
        path.write_bytes(content)
        assert run("cache", "verify", "--json") == 1
        found = json.loads(capfd.readouterr().out)
        assert found["damaged"] == number
        told = [e for e in found["entries"] if e["kind"] == kind and e["state"] == "damaged"]
        assert len(told) == 1
        assert told[0]["reason"]
    assert run("cache", "verify", "--kind", "map") == 1
    assert "damaged: results/" in capfd.readouterr().out
    assert everything(cache) == before, "verifying changes nothing"


def test_clearing_takes_what_lensloc_made(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = everything(cache)
    assert run("cache", "clear", "--dry-run") == 0
    assert capfd.readouterr().out.startswith("Would remove 6 entries")
    assert everything(cache) == before
    found = run_json(capfd, "cache", "clear", "--kind", "score", "--kind", "set aside")
    assert found["count"] == 2
    assert kinds() == [kind for kind in ALL if kind not in ("score", "set aside")]
    assert run("cache", "clear") == 0
    capfd.readouterr()
    assert kinds() == ["download"]
    left = {str(path.relative_to(cache)) for path in everything(cache)}
    assert {"notes.txt", "results/notes.json", "models/mine/weights", "gguf/x.lock"} < left
    assert run("cache", "clear", "--kind", "download") == 0
    assert kinds() == []


def test_only_what_is_older(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    old = next((cache / "results").glob("*.safetensors"))
    os.utime(old, (time.time() - 40 * 86_400,) * 2)
    for age, count in (("30d", 1), ("5w", 1), ("960h", 1), ("41d", 0), ("6w", 0), ("1h", 1)):
        assert run_json(capfd, "cache", "list", "--older-than", age)["count"] == count, age
    assert run("cache", "clear", "--older-than", "30d") == 0
    assert not old.exists()
    assert len(kinds()) == len(ALL) - 1
    for wrong in ("30", "d", "-1d", "30y", "", "9e9d"):
        capfd.readouterr()
        assert run("cache", "list", f"--older-than={wrong}") == 2
        assert "write 12h, 30d or 8w" in capfd.readouterr().err
    assert run("cache", "list", "--kind", "maps") == 2
    assert "there are map, score" in capfd.readouterr().err


def test_a_cache_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for place in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        monkeypatch.setenv("LENSLOC_CACHE", str(place))
        for command in ("list", "verify", "clear"):
            assert run("cache", command) == 0
        assert "0 entries" in capfd.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sizes_are_in_the_unit_that_fits() -> None:
    sizes = {999: "999 B", 999_499: "999 kB", 999_700: "1 MB", 2_500_000_000: "2.5 GB"}
    assert {n: _size(n) for n in sizes} == sizes

"""The store: nothing damaged or foreign is taken, nothing is lost, and work is done once."""

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from plotted import selectivity

import lensloc as ll
from lensloc.display import files
from lensloc.display.sealed import Format, sealed_record, sealed_tensors
from lensloc.results.kept_formats import RECORD
from lensloc.studies.store import Store

KEY, OTHER = {"weights": "a", "lesions": []}, {"weights": "b", "lesions": []}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store.at(tmp_path)
    found.save(KEY, selectivity(), 7)
    found.save_record(KEY, {"score": 0.1})
    return found


def aside(store: Store) -> list[str]:
    return sorted(path.suffix for path in store.folder.iterdir() if ".damaged" in path.name)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_change_is_noticed_and_set_aside(
    store: Store, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.path(KEY, suffix)
    load = store.load if suffix == ".safetensors" else store.load_record
    content = path.read_bytes()
    assert load(KEY) is not None
    changes = [content[:-1], content[:9], b"", b"[]", content + b" x"]
    for place in (3, 20, len(content) // 2, len(content) - 3):
        changed = bytearray(content)
        changed[place] ^= 4
        changes.append(bytes(changed))
    for number, changed in enumerate(changes, start=1):
        path.write_bytes(changed)
        assert load(KEY) is None
        assert not path.exists()
        assert len(aside(store)) == number, "none is lost"
        assert "making it again" in caplog.records[-1].getMessage()


def test_foreign_entries_are_set_aside(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for suffix, load in ((".safetensors", store.load), (".json", store.load_record)):
        store.path(OTHER, suffix).write_bytes(store.path(KEY, suffix).read_bytes())
        assert load(OTHER) is None
        assert "made under another key" in caplog.records[-1].getMessage()
        assert not store.path(OTHER, suffix).exists()
        assert load(KEY) is not None
    assert store.load(KEY, shape=(3, 8)) is not None
    assert store.load(KEY, shape=(3, 9)) is None
    assert "(3, 8) units, and not of (3, 9)" in caplog.records[-1].getMessage()
    store.save(KEY, selectivity(), 7)
    assert store.load(KEY, shape=(3, 9)) is None
    assert aside(store).count(".damaged") == 3
    assert aside(store).count(".damaged-2") == 1


def test_entries_of_a_newer_version_stay(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.torch import save

    newer = save({"t": torch.ones(1)}, metadata={"format": "lensloc.Selectivity/2"})
    store.path(KEY).write_bytes(sealed_tensors(newer))
    store.path(KEY, ".json").write_bytes(sealed_record(Format(RECORD.name, 9), {}))
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    for _ in range(2):
        assert store.load(KEY) is None
        assert store.load_record(KEY) is None
        assert store.save(KEY, selectivity(), 7) is None
        assert store.save_record(KEY, {}) is None
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "each is told once"
    assert all("install a newer lensloc" in sentence for sentence in told)


def test_entries_without_checksum_of_older_versions_are_replaced(store: Store) -> None:
    from safetensors.torch import load, save

    tensors = load(store.path(KEY).read_bytes())
    store.path(KEY).write_bytes(save(tensors, metadata={"provenance": "{}", "tokens": "1"}))
    store.path(KEY, ".json").write_text(json.dumps({"score": 0.9}))
    assert store.load(KEY) is None
    assert store.load_record(KEY) is None
    assert not aside(store)
    store.save(KEY, selectivity(), 8)
    found = store.load(KEY)
    assert found is not None
    assert found[1] == 8


# -- disks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_run_goes_on_where_nothing_can_be_kept(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path, number: int,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    kept = ll.localize(tiny_llama, small_contrast, progress=False, store=tmp_path)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_own_file", fail)
    monkeypatch.setattr(files.tempfile, "TemporaryFile", fail)
    sites = ["resid_post", "mlp_post", "head"]
    found = ll.localize(tiny_llama, small_contrast, sites, progress=False, store=tmp_path)
    assert found.from_store == ("resid_post",), "what is there can still be read"
    assert torch.equal(found["resid_post"].t, kept["resid_post"].t)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "told once, not at every site"
    assert "keeps nothing new" in told[0]
    assert "LENSLOC_CACHE" in told[0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(
    tiny_llama: Any, small_contrast: ll.Contrast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", fail)
    found = ll.localize(tiny_llama, small_contrast, progress=False, store=tmp_path / "no" / "store")
    assert len(found) == 1


# -- locks ---------------------------------------------------------------------------------------


def test_keys_are_held_in_one_order(store: Store) -> None:
    with store.making([KEY, OTHER, KEY], "both") as waited:
        assert not waited
        assert len(list(store.folder.glob(".*.lock"))) == 2
    with store.making([], "nothing"):
        pass
    assert not list(store.folder.glob(".*.lock"))


# -- what cannot be read or named ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), PermissionError(13, "no"),
              MemoryError()],
)  # fmt: skip
def test_entries_that_cannot_be_read_now_stay(
    store: Store, suffix: str, error: Exception, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(_: Path) -> bytes:
        raise error

    load = store.load if suffix == ".safetensors" else store.load_record
    kept = load(KEY)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        assert load(KEY) is None
    assert "is passed over: it cannot be read (" in caplog.records[-1].getMessage()
    assert not aside(store)
    found = load(KEY)
    assert (found == kept) if suffix == ".json" else (found is not None)


def test_what_is_no_plain_data_is_refused(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"store": tmp_path, "progress": False}
    settings = {"a": torch.ones(1)}
    task = ll.tasks.of_function(lambda _: [1.0, 2.0], name="own", settings=settings)
    test = ll.statistic(lambda a, b: a.mean(0) - b.mean(0), name="own", settings=settings)
    mask = ll.localize(tiny_llama, small_contrast, progress=False).top(k=3)
    with pytest.raises(ll.LensLocError, match=r"no plain data .* settings of texts"):
        ll.lesion_study(tiny_llama, {"a": mask}, [task], **options)
    with pytest.raises(ll.LensLocError, match=r"no plain data .* settings of texts"):
        ll.localize(tiny_llama, small_contrast, test=test, **options)


def test_half_characters_keep_nothing_from_being_kept(tmp_path: Path) -> None:
    store, key = Store.at(tmp_path), {"own": "caf\udce9"}
    found = selectivity()
    named = found.provenance.replace(model="caf\udce9", contrast="é")
    found = dataclasses.replace(found, provenance=named)
    assert store.save(key, found, 7)
    hit = store.load(key)
    assert hit is not None
    assert hit[0].provenance == named
    assert store.save_record(key, {"a": "caf\udce9"})
    assert store.load_record(key) == {"a": "caf\udce9"}

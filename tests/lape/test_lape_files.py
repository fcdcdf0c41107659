"""Files of counts, neurons and tokens of anyone: read right, or refused in one sentence."""

import contextlib
import dataclasses
import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counts import random_counts
from safetensors import safe_open
from task_files import refused

from lensloc import LensLocError, lape
from lensloc.lape.archive import packed
from lensloc.lape.torch_files import load_torch

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(value: Any, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def repacked(content: bytes, change: Callable[[str, bytes], bytes], how: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", how) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return buffer.getvalue()


COUNTS = {"n": 50, "over_zero": torch.arange(12).reshape(3, 4)}


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_files_are_read(tmp_path: Path, legacy: bool) -> None:
    kinds = [torch.int64, torch.uint8, torch.float16, torch.bool, torch.complex64]
    kinds += [] if legacy else [torch.uint16]  # which was not known then
    values = {
        "views": (whole := torch.arange(24).reshape(4, 6))[1:3, ::2],
        "whole": whole.t(),
        "kinds": [torch.ones(3, dtype=kind) for kind in kinds],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": OrderedDict(a=1, b=[None, "text", 2.5, (True,)]),
        "empty": torch.zeros(0, 3),
        "once": torch.ones(1).expand(1),
    }
    path = tmp_path / "x.pt"
    path.write_bytes(saved(values, legacy=legacy))
    found = load_torch(path, "a thing")
    assert torch.equal(found["views"], values["views"])
    assert torch.equal(found["whole"], values["whole"])
    assert [each.dtype for each in found["kinds"]] == kinds
    assert found["plain"] == values["plain"]


def nasty() -> dict[str, tuple[Any, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
        compressed = torch.eye(3).to_sparse_csr()
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    return {
        "sparse": (torch.eye(3, dtype=torch.int64).to_sparse(), "not a plain one"),
        "compressed rows": (compressed, "not a plain one"),
        "meta": (torch.ones(3, 3, device="meta"), "not a plain one"),
        "quantised": (quantised, "was not read: it holds"),
        "nested": (nested, "not a plain one"),
        "expanded": (torch.ones(1, dtype=torch.int64).expand(10**6, 10**6), "repeats the few"),
        "a row expanded": (torch.arange(4).expand(10**9, 4), "repeats the few"),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("what", list(nasty()))
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, what: str, legacy: bool) -> None:
    tensor, told = nasty()[what]
    path = tmp_path / "x.pth"
    path.write_bytes(saved({"n": 50, "over_zero": tensor}, legacy=legacy))
    refused(lambda: lape.ActivationCounts.from_published({"en": path}), told)


def larger(content: bytes) -> bytes:
    """Return a torch file whose tensor says that it has more numbers than are stored."""
    huge = struct.pack("<i", 2**30)
    return repacked(
        content,
        lambda name, part: part.replace(b"K\x0ct", b"J" + huge + b"t").replace(
            b"K\x0cN", b"J" + huge + b"N")
        if name.endswith("data.pkl") else part,
    )  # fmt: skip


class Bytes:
    def __reduce__(self) -> Any:
        return bytearray, (10**12,)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "says more than it stores": (lambda: larger(saved(COUNTS)), "more bytes than it has"),
    "compressed": (
        lambda: repacked(saved(COUNTS), lambda _, part: part, zipfile.ZIP_DEFLATED),
        "it is compressed",
    ),
    "a bomb": (
        lambda: repacked(
            saved(COUNTS),
            lambda name, part: bytes(10**8) if name.endswith("data/0") else part,
            zipfile.ZIP_DEFLATED,
        ),
        "it is compressed",
    ),
    "a terabyte of nothing": (lambda: pickle.dumps(Bytes()), "bytes of nothing"),
    "a plain pickle": (lambda: pickle.dumps({"n": 1}), "not read"),
    "a zip of something else": (
        lambda: repacked(saved(COUNTS), lambda _, part: part[:-1]),
        "not",
    ),
    "infinite": (lambda: saved(COUNTS | {"n": float("inf")}), "a whole number"),
    "not a number": (lambda: saved(COUNTS | {"n": float("nan")}), "a whole number"),
    "nothing": (lambda: b"", "not a readable torch file"),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_broken_torch_files_are_refused(tmp_path: Path, what: str) -> None:
    make, told = BROKEN[what]
    path = tmp_path / "x.pth"
    path.write_bytes(make())
    refused(lambda: lape.ActivationCounts.from_published({"en": path}), told)


@pytest.mark.parametrize("legacy", [False, True])
def test_mutated_torch_files_are_read_or_refused(tmp_path: Path, legacy: bool) -> None:
    content, random = saved(COUNTS, legacy=legacy), np.random.default_rng(0)
    path = tmp_path / "x.pth"
    for round_ in range(150):
        changed = bytearray(content)
        if round_ % 3:
            changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
        else:
            del changed[random.integers(len(changed)) :]
        path.write_bytes(changed)
        with contextlib.suppress(LensLocError):  # and nothing else
            lape.ActivationCounts.from_published({"en": path})


# -- our own ---------------------------------------------------------------------------------------


def parts_of(path: Path) -> tuple[str, dict[str, Any], Any]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return metadata["format"], tensors, json.loads(metadata["record"])


KEPT: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "counts": (
        lambda path: random_counts(0).save(path, overwrite=True),
        lape.ActivationCounts.load,
    ),
    "neurons": (
        lambda path: lape.identify(random_counts(0)).save(path, overwrite=True),
        lape.Identified.load,
    ),
}


@pytest.mark.parametrize("what", list(KEPT))
def test_archives_that_lack_something_are_refused(tmp_path: Path, what: str) -> None:
    save, load = KEPT[what]
    path = tmp_path / "x.safetensors"
    save(path)
    kind, tensors, record = parts_of(path)

    def written(tensors: Any, record: Any, form: str = kind) -> Path:
        path.write_bytes(packed(form, tensors, record))
        return path

    load(written(tensors, record))
    for name in tensors:
        fewer = {key: value for key, value in tensors.items() if key != name}
        refused(lambda fewer=fewer: load(written(fewer, record)), "lacks")
        odd = tensors | {name: torch.ones(2, dtype=torch.complex64)}
        with pytest.raises(LensLocError, match=r"x\.safetensors is .* something else in it"):
            load(written(odd, record))
    for name in record:
        fewer = {key: value for key, value in record.items() if key != name}
        refused(lambda fewer=fewer: load(written(tensors, fewer)), "lacks")
        for odd in ({"odd": [1]}, 1e400, [["x"]]):
            with pytest.raises(LensLocError):
                load(written(tensors, record | {name: odd}))
    newer = kind.removesuffix("1") + "2"
    refused(lambda: load(written(tensors, record, newer)), "install a newer lensloc")
    refused(lambda: load(written(tensors, record, "lensloc.other/1")), "is not a file of")


@pytest.mark.parametrize("content", [b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"", b"{" * 9])
def test_tokens_of_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    from lensloc.contrasts.readers import TableForm
    from lensloc.lape.readers import open_path

    for kind in (".npy", ".pt", ".safetensors"):
        path = tmp_path / f"t{kind}"
        path.write_bytes(content)
        refused(lambda path=path: open_path(path, TableForm()), str(path))


@pytest.mark.parametrize("packed_", [False, True])
def test_a_few_bytes_make_no_gigabytes(tmp_path: Path, packed_: bool) -> None:
    """A pickle of 15 bytes that asks for 2 GB of zeros."""
    content = b"\x80\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**31) + b"abc."
    if packed_:
        content = repacked(saved(COUNTS), lambda n, c: content if n.endswith("data.pkl") else c)
    path = tmp_path / "t.pth"
    path.write_bytes(content)
    refused(lambda: load_torch(path, "a file"), "it holds a bytearray, as torch writes none")


def test_languages_of_half_characters_are_kept(tmp_path: Path) -> None:
    found = random_counts(1)
    names = ("caf\udce9", *found.languages[1:])
    found = dataclasses.replace(found, languages=names, sources={})
    found.save(tmp_path / "c.safetensors")
    assert lape.ActivationCounts.load(tmp_path / "c.safetensors") == found

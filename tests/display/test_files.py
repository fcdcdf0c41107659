"""Files: written whole, under any legal name; what is there already stays unless told otherwise."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counts import random_counts
from plotted import selectivity
from report_pages import lesioned
from task_files import refused

import lensloc as ll
from lensloc import UnitMask, lape, plot
from lensloc.display.files import require_writable_folder, write_atomically, write_file
from lensloc.display.places import path_of
from lensloc.lape.torch_files import load_torch
from lensloc.pages.explorer import ExplorerPage
from lensloc.studies.store import Store


def test_names_may_be_as_long_as_file_systems_allow(tmp_path: Path) -> None:
    for n in (1, 221, 222, 255):
        path = tmp_path / ("x" * n)
        assert write_atomically(path, b"content").read_bytes() == b"content"
    utf8 = tmp_path / ("ü" * 127 + "x")  # 255 bytes
    assert write_atomically(utf8, b"content") == utf8
    refused(lambda: write_atomically(tmp_path / ("x" * 256), b""), "cannot be written (File name")
    refused(lambda: write_file(tmp_path / ("x" * 256), b"", overwrite=False), "cannot be written")
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.skipif(os.name != "posix", reason="other systems have other words for it")
def test_what_went_wrong_is_told_and_not_what_cleaning_up_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "full").write_text("")
    for name in ("file/mask.npy", "file/deeper/mask.npy"):
        told = f"{tmp_path / name} cannot be written, since {tmp_path / 'file'} is a file"
        refused(lambda name=name: write_atomically(tmp_path / name, b"x"), told)
        refused(lambda name=name: found().save(tmp_path / name), told)
    refused(lambda: write_atomically(tmp_path / "folder", b"x"), "(Is a directory)")
    assert (tmp_path / "file").read_text() == "mine"

    def fail(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError("busy")))
    refused(lambda: write_atomically(tmp_path / "x", b"x"), "No space left on device")


# -- what is there stays ---------------------------------------------------------------------------


def found(seed: int = 0) -> UnitMask:
    return selectivity(seed=seed).top(k=5)


WRITERS: dict[str, tuple[str, Callable[[int, Path, bool], Any]]] = {
    "mask": ("m.safetensors", lambda n, path, over: found(n).save(path, overwrite=over)),
    "published mask": ("m.npy", lambda n, path, over: found(n).save(path, overwrite=over)),
    "figure": (
        "f.html",
        lambda n, path, over: plot.save(
            plot.unit_heatmap(selectivity(seed=n)), path, overwrite=over
        ),
    ),
    "report": (
        "r.html",
        lambda n, path, over: ll.report(lesioned(n / 10, 0.1, -0.05), path, overwrite=over),
    ),
    "counts": ("c.safetensors", lambda n, path, over: random_counts(n).save(path, overwrite=over)),
    "language neurons": (
        "n.safetensors",
        lambda n, path, over: lape.identify(random_counts(n)).save(path, overwrite=over),
    ),
    "published neurons": (
        "n.pth",
        lambda n, path, over: lape.write_neurons(path, {"de": found(n)}, overwrite=over),
    ),
    "explorer": (
        "e.html",
        lambda n, path, over: ExplorerPage(f"<p>{n}").save(path, overwrite=over),
    ),
}


@pytest.mark.parametrize("what", list(WRITERS))
def test_another_file_is_replaced_only_when_told_to(tmp_path: Path, what: str) -> None:
    name, write = WRITERS[what]
    path = tmp_path / name
    write(1, path, False)
    before = path.read_bytes()
    refused(lambda: write(2, path, False), f"{path} exists; say overwrite=True")
    assert path.read_bytes() == before
    write(2, path, True)
    assert path.read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("what", ["mask", "published mask", "figure", "explorer"])
def test_the_same_again_is_no_other_file(tmp_path: Path, what: str) -> None:
    name, write = WRITERS[what]
    write(1, tmp_path / name, False)
    before = (tmp_path / name).read_bytes()
    write(1, tmp_path / name, False)
    if what != "mask":  # whose file has its parts in any order
        assert (tmp_path / name).read_bytes() == before


def test_a_mask_that_was_made_again_is_the_same_and_one_made_otherwise_is_not(
    tmp_path: Path,
) -> None:
    path, mask = tmp_path / "m.safetensors", found()
    for date in ("2025-01-01", "2026-01-01"):  # as when a notebook is run again
        made = mask.provenance.replace(date=date, model="gpt2")
        dataclasses.replace(mask, provenance=made).save(path)
    assert UnitMask.load(path).provenance.date == "2026-01-01"
    other = dataclasses.replace(mask, provenance=mask.provenance.replace(model="llama"))
    refused(lambda: other.save(path), f"{path} exists")
    scored = dataclasses.replace(mask, provenance=made, score=None)
    refused(lambda: scored.save(path), f"{path} exists")
    path.write_text("no mask at all")
    refused(lambda: mask.save(path), f"{path} exists")
    assert path.read_text() == "no mask at all"


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [">i8", ">i4", ">u2", ">f4", "<i8", "u4", "u8", "f2", "longdouble", "bool"]
)
def test_masks_of_any_type_and_order_of_bytes(tmp_path: Path, kind: str) -> None:
    wanted = torch.tensor([[True, False, True], [False, False, True]])
    array = wanted.numpy().astype(kind)
    for number, each in enumerate((array, np.asfortranarray(array))):
        path = tmp_path / f"{number}.NPY"
        with path.open("wb") as file:
            np.save(file, each)
        assert torch.equal(UnitMask.load(path).mask, wanted)
    if kind not in ("bool",):
        array[0, 0] = 2
        np.save(tmp_path / "two.npy", array)
        refused(lambda: UnitMask.load(tmp_path / "two.npy"), "two.npy holds other values than 0")


def test_suffixes_in_capital_letters_are_the_same(tmp_path: Path) -> None:
    for name in ("a.SAFETENSORS", "a.NPY"):
        assert UnitMask.load(found().save(tmp_path / name)) == found()
    counts = random_counts(1)
    assert lape.ActivationCounts.load(counts.save(tmp_path / "c.SafeTensors")) == counts
    page = plot.save(plot.unit_heatmap(selectivity()), tmp_path / "f.HTML")
    assert "Plotly.newPlot" in page.read_text()


# -- stores ----------------------------------------------------------------------------------------


def test_a_store_may_be_named_by_its_folder(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "kept")
    for given in (store, tmp_path / "kept", str(tmp_path / "kept")):
        assert Store.of(given) == store
    assert Store.of(None) is None
    (tmp_path / "file").write_text("")
    refused(lambda: Store.of(tmp_path / "file"), "set LENSLOC_CACHE")


def test_functions_that_keep_results_take_a_folder(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    folder = str(tmp_path / "kept")
    first = ll.localize(tiny_llama, small_contrast, progress=False, store=folder)
    again = ll.localize(tiny_llama, small_contrast, progress=False, store=Path(folder))
    assert (first.from_store, again.from_store) == ((), ("resid_post",))
    before = len(list(Path(folder).iterdir()))
    mask = first.top(k=3)
    tasks = [ll.tasks.perplexity(["the old gardener watered"])]
    ll.lesion_study(tiny_llama, {"a": mask}, tasks, percents=[5], store=folder, progress=False)
    assert len(list(Path(folder).iterdir())) > before


@pytest.mark.skipif(os.name != "posix", reason="other systems have other names")
@pytest.mark.parametrize("name", ["a\0b", "half \ud800"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    mask, place = selectivity().top(k=5), tmp_path / name
    for suffix in (".npy", ".safetensors", ".lensloc"):
        refused(lambda s=suffix: mask.save(Path(f"{place}{s}")), "cannot be written (")
    refused(lambda: write_file(place / "t", b"", overwrite=False), "cannot be written (")
    refused(lambda: require_writable_folder(place, "The folder"), "cannot be written (")
    assert not list(tmp_path.iterdir())


LONG = "x" * 300
READERS: dict[str, Callable[[Path], Any]] = {
    "mask": lambda folder: UnitMask.load(folder / f"{LONG}.npy"),
    "result": lambda folder: ll.load(folder / f"{LONG}.lensloc"),
    "study": lambda folder: ll.LesionStudy.load(folder / f"{LONG}.lensloc"),
    "contrast": lambda f: ll.Contrast.from_file(f / f"{LONG}.parquet", target="a", control="b"),
    "table": lambda f: ll.Contrast.from_csv(f / f"{LONG}.csv", target="a", control="b"),
    "pairs": lambda folder: ll.tasks.minimal_pairs(folder / f"{LONG}.jsonl"),
    "text": lambda folder: ll.tasks.perplexity(folder / f"{LONG}.txt"),
    "counts": lambda folder: lape.ActivationCounts.load(folder / f"{LONG}.safetensors"),
    "torch": lambda folder: load_torch(folder / f"{LONG}.pth", "a file"),
    "reading times": lambda folder: ll.alignment.ReadingTimes.of(folder / f"{LONG}.csv"),
    "voxels": lambda folder: ll.alignment.pereira2018(folder / f"{LONG}.mat"),
    "model": lambda folder: ll.load_model(folder / LONG),
    "model's name": lambda _: ll.load_model(LONG),
    "gguf": lambda folder: ll.load_model(folder / f"{LONG}.gguf"),
}


@pytest.mark.parametrize("what", list(READERS))
def test_names_that_are_too_long_are_told(tmp_path: Path, what: str) -> None:
    refused(lambda: READERS[what](tmp_path), LONG, "(File name too long); check the ")


def test_the_home_folder_is_meant_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    mask = UnitMask.from_addresses(["L0.resid_post.1"], shape=(2, 4))
    figure = plot.t_histogram(selectivity())
    texts = {"a": ["x y", "z"], "b": ["u", "v w"]}
    contrast = ll.Contrast.from_texts(texts, target="a", control="b")
    mask.save("~/mask.safetensors")
    mask.save(Path("~/mask.npy"))
    plot.save(figure, "~/figures/t.html")
    contrast.save("~/c.lensloc")
    ll.save(contrast, "~/again.lensloc")
    contrast.to_csv("~/c.csv")
    Store.at("~/store")
    assert not (tmp_path / "~").exists()
    assert {file.name for file in home.iterdir()} == {
        "mask.safetensors", "mask.npy", "figures", "c.lensloc", "again.lensloc", "c.csv", "store",
    }  # fmt: skip
    assert ll.load("~/c.lensloc") == contrast
    assert UnitMask.load("~/mask.safetensors") == mask
    assert ll.Contrast.from_csv("~/c.csv", target="a", control="b").texts == contrast.texts
    assert path_of("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


@pytest.mark.skipif(
    bool(os.environ.get("LENSLOC_CHECK_ALL")), reason="the checks of types refuse it before"
)
@pytest.mark.parametrize("given", [["a", "b"], [("good", "bad")], 5, None, b"a.csv", {"a": 1}])
def test_what_is_no_path_is_told(given: Any, tmp_path: Path) -> None:
    mask = UnitMask.from_addresses(["L0.resid_post.1"], shape=(2, 4))
    calls: list[Callable[[], Any]] = [
        lambda: mask.save(given),
        lambda: UnitMask.load(given),
        lambda: ll.load(given),
        lambda: ll.Contrast.from_file(given, target="a", control="b"),
        lambda: ll.Pairs.from_file(given),
        lambda: ll.tasks.multiple_choice(given),
        lambda: lape.ActivationCounts.load(given),
        lambda: ll.alignment.pereira2018(given),
    ]
    if given is not None:  # the bundled pairs
        calls.append(lambda: ll.tasks.minimal_pairs(given))
    for call in calls:
        refused(call, "The path of a file or folder is needed, as a text; something of type")

"""Pictures, sounds and arrays as stimuli: where they come from, how alike they are, bad ones."""

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

import lensloc as ll
from lensloc.contrasts.measures import of_picture

SIDES: dict[str, Any] = {"target": "faces", "control": "objects"}


def some(n: int = 3, base: int = 100, size: tuple[int, int] = (10, 12), seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    return (random.integers(0, 80, size=(n, *size, 3)) + base).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("faces", "objects")):
        place = tmp_path / name / "deep"
        place.mkdir(parents=True)
        for number, picture in enumerate(some(11, seed=seed)):
            Image.fromarray(picture).save(place / f"{number}.png")
        (tmp_path / name / "notes.txt").write_text("no picture")
        (tmp_path / name / ".hidden.png").write_text("no picture either")
    return tmp_path


def test_pictures_are_the_same_wherever_they_come_from(folder: Path) -> None:
    classes = ll.Contrast.from_images(folder, **SIDES)
    assert [each.name for each in classes.texts[:3]] == [  # type: ignore[attr-defined]
        "faces/deep/0.png", "faces/deep/1.png", "faces/deep/2.png",
    ]  # fmt: skip
    assert len(classes.conditions["faces"]) == 11
    arrays = {"faces": some(11, seed=0), "objects": some(11, seed=1)}
    files = {name: sorted((folder / name).rglob("[0-9]*.png"), key=lambda file: int(file.stem))
             for name in arrays}  # fmt: skip
    columns = {
        name: datasets.Dataset.from_dict(
            {"image": [str(file) for file in files[name]]}
        ).cast_column("image", datasets.Image())["image"]
        for name in arrays
    }
    ways: list[Any] = [
        {name: folder / name for name in arrays},
        files,
        arrays,
        {name: found.astype(np.float32) / 255 for name, found in arrays.items()},
        {name: list(np.moveaxis(found, 3, 1)) for name, found in arrays.items()},
        {name: [Image.fromarray(each) for each in found] for name, found in arrays.items()},
        columns,
    ]
    for way in ways:
        other = ll.Contrast.from_images(way, **SIDES)
        assert other.texts == classes.texts
        assert other.content_hash == classes.content_hash
    shown = classes.texts[0].load()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.asarray(shown), some(11, seed=0)[0])


def test_files_that_are_no_pictures_by_their_names_are_passed_over(folder: Path) -> None:
    before = ll.Contrast.from_images(folder, **SIDES)
    for number, name in enumerate(("paper.pdf", "old.palm", "read.me", "film.mov")):
        (folder / "faces" / name).write_bytes(b"%PDF-1.4\n" * (number + 1))
    with Image.open(folder / "faces" / "deep" / "3.png") as picture:
        picture.save(folder / "stereo.mpo", format="MPO")
    assert ll.Contrast.from_images(folder, **SIDES) == before
    (folder / "stereo.mpo").rename(folder / "faces" / "stereo.mpo")
    more = ll.Contrast.from_images(folder, **SIDES)
    assert len(more.texts) == len(before.texts) + 1
    for file in (folder / "objects" / "deep").iterdir():
        file.rename(file.with_suffix(".pdf"))
    with pytest.raises(ll.LensLocError, match=r"objects of the condition 'objects' holds no pict"):
        ll.Contrast.from_images(folder, **SIDES)


def test_contrasts_of_pictures_split_repeat_and_travel(folder: Path) -> None:
    whole = ll.Contrast.from_images(folder, **SIDES)
    first, second = whole.split(seed=0)
    assert not first.text_set & second.text_set
    assert first.text_set <= whole.text_set
    assert {each.kind for each in first.texts} == {"image"}  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(whole))
    assert again == whole
    assert again.texts[0].load().size == (12, 10)
    twice = {"faces": [*some(2), some(1)[0]], "objects": some(3, seed=1)}
    assert (
        "occurs 2 times: faces 1, faces 3"
        in ll.Contrast.from_images(twice, **SIDES).duplicates()[0]
    )
    assert "luminance" in whole._repr_html_()


def grating(cycles: int, size: int = 64) -> Any:
    wave = np.sin(2 * np.pi * cycles * np.arange(size) / size)
    return np.rint(127.5 + 100 * np.tile(wave, (size, 1))).astype(np.uint8)


@pytest.mark.parametrize("cycles", [4, 11])
def test_measures_of_pictures_are_those_of_a_grating(cycles: int) -> None:
    found = of_picture(grating(cycles))
    assert found["luminance"] == pytest.approx(0.5, abs=0.01)
    assert found["contrast"] == pytest.approx(100 / 255 / np.sqrt(2), abs=0.01)
    assert found["frequency"] == pytest.approx(cycles, abs=0.3)
    assert found["pixels"] == 64 * 64
    # In cycles per picture, whatever its size.
    assert of_picture(grating(cycles, 1024))["frequency"] == pytest.approx(cycles, abs=0.3)
    turned = of_picture(grating(cycles).T)
    assert turned["frequency"] == pytest.approx(found["frequency"])


def test_sides_that_differ_in_brightness_are_warned_of() -> None:
    unequal = ll.Contrast.from_images(
        {"faces": some(12, base=170), "objects": some(12, base=10, seed=1)}, **SIDES
    )
    balance = unequal.balance()
    assert balance.differences["luminance"] > 10
    assert any("in luminance per picture" in sentence for sentence in balance.warnings)
    assert not any("pixels" in sentence for sentence in balance.warnings)
    colours = np.asarray(some(12, base=170), dtype=float) / 255
    grey = colours @ [0.299, 0.587, 0.114]
    row = balance.table.set_index("condition").loc["faces"]
    assert row["luminance"] == pytest.approx(grey.mean())
    assert row["contrast"] == pytest.approx(grey.std(axis=(1, 2)).mean())


def test_sounds_and_arrays_are_measured() -> None:
    random = np.random.default_rng(0)
    loud, soft = random.normal(size=(12, 1600)), 0.1 * random.normal(size=(12, 1600))
    sounds = ll.Contrast.from_arrays(
        {"loud": loud, "soft": soft}, target="loud", control="soft", sounds=True, rate=16000
    )
    table = sounds.balance().table.set_index("condition")
    assert table.loc["loud", "seconds"] == pytest.approx(0.1)
    assert table.loc["soft", "loudness"] == pytest.approx(0.1, rel=0.05)
    assert sounds.texts[0].rate == 16000  # type: ignore[attr-defined]
    assert any("in loudness per sound" in sentence for sentence in sounds.balance().warnings)
    arrays = ll.Contrast.from_arrays({"loud": loud, "soft": soft}, target="loud", control="soft")
    assert set(arrays.balance().differences) == {"size", "mean", "spread"}
    assert arrays.content_hash != sounds.content_hash
    with pytest.raises(ll.LensLocError, match="rate has no effect"):
        ll.Contrast.from_arrays({"loud": loud, "soft": soft}, target="loud", control="soft", rate=9)


def test_bad_pictures_are_named(folder: Path) -> None:
    whole = (folder / "faces" / "deep" / "3.png").read_bytes()
    (folder / "faces" / "deep" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ll.LensLocError, match=r"The picture \S*3\.png cannot be read"):
        ll.Contrast.from_images(folder, **SIDES)
    (folder / "faces" / "deep" / "3.png").write_text("words")
    with pytest.raises(ll.LensLocError, match=r"The picture \S*3\.png cannot be read"):
        ll.Contrast.from_images(folder, **SIDES)
    (folder / "nothing").mkdir()
    empty = {"faces": folder / "nothing", "objects": folder / "objects"}
    words = folder.parent / "words"
    (words / "faces").mkdir(parents=True)
    (words / "faces" / "1.txt").write_text("a face")
    with pytest.raises(
        ll.LensLocError, match=r"no picture; .* reads\); texts are read from one ta"
    ):
        ll.Contrast.from_images(words, target="faces", control="faces")
    with pytest.raises(ll.LensLocError, match="give texts of your own in one table, with columns"):
        ll.contrasts.language(words)
    with pytest.raises(ll.LensLocError, match=r"nothing of the condition 'faces' holds no picture"):
        ll.Contrast.from_images(empty, **SIDES)
    with pytest.raises(ll.LensLocError, match="holds no folder of pictures"):
        ll.Contrast.from_images(folder / "nothing", **SIDES)
    with pytest.raises(ll.LensLocError, match="There is no folder"):
        ll.Contrast.from_images(folder / "none", **SIDES)
    for bad, words in (
        ([folder / "none.png"], "There is no picture"),
        ([np.full((4, 4), 300.0)], "'faces 1' has values from 300 to 300"),
        ([np.zeros((4, 4)), np.full((4, 4), np.nan)], "'faces 2' holds NaN"),
        ([np.zeros((2, 4, 4, 3))], r"has the shape \(2, 4, 4, 3\)"),
        (["a text"], "There is no picture a text"),
        (np.zeros((4, 4)), "which is one picture"),
        (5, "int is none"),
        ([], "has no pictures"),
    ):
        with pytest.raises(ll.LensLocError, match=words):
            ll.Contrast.from_images({"faces": bad, "objects": some()}, **SIDES)


def test_a_picture_that_is_changed_afterwards_is_refused(folder: Path) -> None:
    made = ll.Contrast.from_images(folder, **SIDES)
    Image.fromarray(some(1, seed=9)[0]).save(folder / "faces" / "deep" / "0.png")
    with pytest.raises(ll.LensLocError, match=r"0\.png was changed since"):
        made.texts[0].load()  # type: ignore[attr-defined]


def test_what_is_for_texts_refuses_pictures() -> None:
    made = ll.Contrast.from_images({"faces": some(), "objects": some(seed=1)}, **SIDES)
    with pytest.raises(ll.LensLocError, match="the stimuli are pictures"):
        made.matched(on="words")
    mixed = {"faces": made.conditions["faces"], "objects": ("a text",)}
    with pytest.raises(ll.LensLocError, match="several kinds"):
        ll.Contrast.from_texts(mixed, **SIDES).balance()

"""Fetching: from a server on this machine; nothing unsafe, nothing half-written."""

import io
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from published_stimuli import tom_folder

from lensloc import LensLocError
from lensloc.contrasts import fetching


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def source(url: str, name: str = "blimp", link: str = "") -> fetching.Source:
    known = fetching.SOURCES[name]
    return fetching.Source(url, link, known.keep, known.check, known.about)


def test_blimp_is_unpacked_and_checked(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    files = {f"blimp-master/data/p{i}.jsonl": b"{}\n" for i in range(67)}
    (folder / "blimp.zip").write_bytes(archive(files | {"blimp-master/README.md": b"x"}))
    monkeypatch.setitem(fetching.SOURCES, "blimp", source(f"{url}/blimp.zip"))
    out = fetching.fetch("blimp", tmp_path / "out")
    assert len(list(out.iterdir())) == 67
    with pytest.raises(LensLocError, match="is there already"):
        fetching.fetch("blimp", out)
    (folder / "blimp.zip").write_bytes(archive(dict(list(files.items())[:5])))
    with pytest.raises(LensLocError, match="5 paradigms came instead of BLiMP's 67"):
        fetching.fetch("blimp", tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "served"]


def test_a_page_that_links_to_the_archive_is_followed(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    stories = tom_folder(tmp_path / "stories")
    files = {f"tomloc/{file.name}": file.read_bytes() for file in stories.iterdir()}
    (folder / "files").mkdir()
    (folder / "files" / "tomloc.zip").write_bytes(archive(files))
    (folder / "page.html").write_text('<a href="other.zip">x</a> <a href="files/tomloc.zip">y</a>')
    link = fetching.SOURCES["theory-of-mind"].link
    made = source(f"{url}/page.html", "theory-of-mind", link)
    monkeypatch.setitem(fetching.SOURCES, "theory-of-mind", made)
    assert len(list(fetching.fetch("theory-of-mind", tmp_path / "out").iterdir())) == 40
    (folder / "page.html").write_text("moved")
    with pytest.raises(LensLocError, match="no longer links"):
        fetching.fetch("theory-of-mind", tmp_path / "again")


def test_offline_is_told_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetching.SOURCES, "blimp", source("http://127.0.0.1:9/blimp.zip"))
    with pytest.raises(LensLocError, match="could not be fetched from http://127"):
        fetching.fetch("blimp", tmp_path / "out")
    with pytest.raises(LensLocError, match="no published stimuli 'music'"):
        fetching.fetch("music", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def everything(path: PurePosixPath) -> bool:
    return True


@pytest.mark.parametrize(
    "name", ["../evil.jsonl", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"]
)
def test_paths_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="leaves its folder"):
        fetching.unpack(archive({name: b"x"}), tmp_path / "out", everything)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_archives_that_are_wrong_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LensLocError, match="not a complete zip"):
        fetching.unpack(archive({"a": b"x" * 1000})[:-30], tmp_path / "1", everything)
    with pytest.raises(LensLocError, match="none of the files"):
        fetching.unpack(archive({"a": b"x"}), tmp_path / "2", lambda path: False)
    with pytest.raises(LensLocError, match="twice"):
        fetching.unpack(archive({"x/a": b"1", "y/a": b"2"}), tmp_path / "3", everything)
    monkeypatch.setattr(fetching, "_MAX_FILE", 10)
    with pytest.raises(LensLocError, match="more than the 10"):
        fetching.unpack(archive({"a": b"x" * 11}), tmp_path / "4", everything)


def changed(content: bytes, *, flags: int = 0, method: int = 0) -> bytes:
    """Return an archive whose entries say that they are encrypted, or packed in another way."""
    found = bytearray(content)
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = found.find(magic)
        while start >= 0:
            found[start + place] |= flags
            found[start + place + 2] = method or found[start + place + 2]
            start = found.find(magic, start + 4)
    return bytes(found)


def test_archives_of_other_kinds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = archive({"a": b"x" * 1000})
    for number, (content, told) in enumerate(
        [
            (changed(whole, flags=1), "it is encrypted"),
            (changed(whole, method=99), "packed in a way that is not read"),
            (changed(whole, method=8), r"not a complete zip archive \(Error -3"),
            (b"", "not a complete zip"),
            (b"PK\x05\x06" + bytes(18), "none of the files"),
        ]
    ):
        with pytest.raises(LensLocError, match=told):
            fetching.unpack(content, tmp_path / str(number), everything)
    monkeypatch.setattr(fetching, "_MAX_SUM", 2500)
    fetching.unpack(archive(dict.fromkeys("ab", b"x" * 1000)), tmp_path / "fits", everything)
    for names in ("abc", "abcdefgh"):
        bomb = archive(dict.fromkeys(names, b"x" * 1000))
        with pytest.raises(LensLocError, match="the 2500 bytes that are allowed together"):
            fetching.unpack(bomb, tmp_path / names, everything)
        assert not list((tmp_path / names).iterdir())


def test_a_full_disk_is_no_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LensLocError, match=r"cannot be written \(No space left .* is full"):
        fetching.unpack(archive({"a": b"x"}), tmp_path / "out", everything)


def test_downloads_have_a_limit(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    (folder / "big.zip").write_bytes(b"x" * 100)
    monkeypatch.setattr(fetching, "_MAX_ARCHIVE", 50)
    monkeypatch.setitem(fetching.SOURCES, "blimp", source(f"{url}/big.zip"))
    with pytest.raises(LensLocError, match="larger than 50 bytes"):
        fetching.fetch("blimp", tmp_path / "out")

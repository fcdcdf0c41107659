"""Readers of published forms, on small files of the same form; fetching from this machine."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from stories import STORIES, natural_stories

import lensloc as ll
from lensloc import LensLocError
from lensloc.alignment import fetching


def test_natural_stories_are_read_as_they_stand(tmp_path: Path) -> None:
    folder = natural_stories(tmp_path / "ns")
    data = ll.alignment.natural_stories(folder)
    assert list(data.words["word"]) == " ".join(STORIES.values()).split()
    assert list(data.words["story"].unique()) == ["1", "2"]
    assert data.times["time"].tolist()[:3] == [310, 320, 330]
    geometric = ll.alignment.natural_stories(folder, "gmeanItemRT")
    assert geometric.times["time"].tolist()[:3] == [300, 310, 320]
    assert "Natural Stories (gmeanItemRT)" in geometric.name
    with pytest.raises(LensLocError, match="lacks the column 'medianRT'"):
        ll.alignment.natural_stories(folder, "medianRT")
    with pytest.raises(LensLocError, match=r"There is no file .*processed_RTs\.tsv; fetch"):
        ll.alignment.natural_stories(folder, "RT")


def test_single_readers_of_natural_stories(tmp_path: Path) -> None:
    folder = natural_stories(tmp_path / "ns")
    table = pd.read_csv(
        folder / "processed_wordinfo.tsv", sep="\t", quoting=3, dtype=str, keep_default_na=False
    )
    parts = [
        table[table["item"] != "2" if reader == "B" else table["item"] != "0"].assign(
            WorkerId=reader, RT=str(200 + 10 * number)
        )
        for number, reader in enumerate("AB")
    ]
    pd.concat(parts).to_csv(folder / "processed_RTs.tsv", sep="\t", index=False, quoting=3)
    data = ll.alignment.natural_stories(folder, "RT")
    assert data.by_subject
    assert len(data.times) == 6 + 5 + 6
    assert data.times.groupby("subject")["time"].first().to_dict() == {"A": 200, "B": 210}


def test_gpt3s_tokens_line_up_with_words(tmp_path: Path) -> None:
    folder = natural_stories(tmp_path / "ns")
    data = ll.alignment.natural_stories(folder)
    found = ll.alignment.natural_stories_gpt3(folder, data)
    assert found.warnings == ()
    assert list(found.table["word"]) == list(data.words["word"])
    first = found.table[found.table["story"] == "2"].iloc[0]
    assert np.isnan(first["surprisal"])
    second = found.table[found.table["story"] == "2"].iloc[1]
    assert second["word"] == "knew,"
    assert second["n_tokens"] == 2
    assert second["surprisal"] == pytest.approx(1.06 + 1.09)
    other = natural_stories(tmp_path / "other", read={**STORIES, 2: "Nobody knew, not ever they."})
    told = ll.alignment.natural_stories_gpt3(other, data)
    assert told.warnings == (
        "The text that GPT-3 read has other words: 'ever' for 'even' in story 2.",
    )
    longer = natural_stories(
        tmp_path / "longer", read={**STORIES, 2: "Nobody knew, not even they did."}
    )
    with pytest.raises(LensLocError, match="story 2 has 6 words there, but 5 in the reading times"):
        ll.alignment.natural_stories_gpt3(longer, data)


def test_files_of_two_releases_are_told(tmp_path: Path) -> None:
    folder = natural_stories(tmp_path / "ns")
    info = folder / "processed_wordinfo.tsv"
    text = info.read_text()
    info.write_text(text.replace("knew,\t2\t2", "know,\t2\t2"))
    with pytest.raises(LensLocError, match="word 2 of story 2 is 'know,', but 'knew,' in all_stor"):
        ll.alignment.natural_stories(folder)
    info.write_text(text.replace("knew,\t2\t2", "knew,\t9\t2"))
    with pytest.raises(LensLocError, match="has a time of word 9 of story 2, which all_stories"):
        ll.alignment.natural_stories(folder)


def test_tuckute_is_averaged_over_participants(tmp_path: Path) -> None:
    rows = [
        {"sentence": s, "cond": c, "roi": roi, "target_UID": who, "response_target": value}
        for s, c, base in (("We are here.", "B", 0.0), ("Turin!", "D", 1.0), ("They sat.", "S", -1))
        for who, own in (("1", 0.1), ("2", 0.3))
        for roi, value in (("lang_LH_netw", base + own), ("lang_LH_IFG", 9.0 + own))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    stimuli, responses = ll.alignment.tuckute2024(tmp_path / "t.csv")
    assert stimuli.texts == ("We are here.", "Turin!", "They sat.")
    np.testing.assert_allclose(responses.values[:, 0], [0.2, 1.2, -0.8])
    assert responses.regions == ("lang_LH_netw",)
    stimuli, _ = ll.alignment.tuckute2024(tmp_path / "t.csv", conditions=["D", "S"])
    assert stimuli.texts == ("Turin!", "They sat.")
    plain = pd.DataFrame(rows)[["sentence", "cond", "response_target"]].drop_duplicates("sentence")
    plain.to_csv(tmp_path / "plain.csv", index=False)
    assert len(ll.alignment.tuckute2024(tmp_path / "plain.csv").stimuli) == 3
    with pytest.raises(
        LensLocError, match=r"region has no effect here: .*plain\.csv has no column"
    ):
        ll.alignment.tuckute2024(tmp_path / "plain.csv", region="lang_LH_netw")
    with pytest.raises(LensLocError, match="no row whose cond is 'X'; there are B, D, S"):
        ll.alignment.tuckute2024(tmp_path / "t.csv", conditions=["X"])
    with pytest.raises(LensLocError, match="no row whose roi is 'V1'"):
        ll.alignment.tuckute2024(tmp_path / "t.csv", region="V1")


def cells(values: list[str]) -> np.ndarray:
    found = np.empty((len(values), 1), dtype=object)
    for row, value in enumerate(values):
        found[row, 0] = np.array([value])
    return found


def pereira(path: Path, **changes: object) -> Path:
    voxels = np.random.default_rng(0).normal(size=(6, 4))
    voxels[:, 2] = 0
    fields = {
        "examples": voxels,
        "keySentences": cells([f"Sentence {n}." for n in range(6)]),
        "labelsPassageForEachSentence": np.array([[1], [1], [2], [2], [3], [3]]),
        "labelsPassageCategory": np.array([[1], [1], [2]]),
    }
    scipy.io.savemat(path, {k: v for k, v in (fields | changes).items() if v is not None})
    return path


def test_pereira_is_read_with_its_passages_and_topics(tmp_path: Path) -> None:
    path = pereira(tmp_path / "examples_6sentences.mat")
    stimuli, responses = ll.alignment.pereira2018(path)
    assert stimuli.texts[0] == "Sentence 0."
    assert stimuli.passages == ("passage 1",) * 2 + ("passage 2",) * 2 + ("passage 3",) * 2
    assert stimuli.groups == ("topic 1",) * 4 + ("topic 2",) * 2
    assert responses.names == ("voxel 1", "voxel 2", "voxel 4")  # the third is constant
    without = pereira(tmp_path / "w.mat", labelsPassageCategory=None)
    assert ll.alignment.pereira2018(without).stimuli.groups == stimuli.passages
    lacking = pereira(tmp_path / "l.mat", keySentences=None)
    with pytest.raises(LensLocError, match="lacks 'keySentences'; it has examples"):
        ll.alignment.pereira2018(lacking)
    odd = pereira(tmp_path / "o.mat", examples=np.ones((5, 4)))
    with pytest.raises(LensLocError, match="6 sentences, 6 labels of passages and 5 rows"):
        ll.alignment.pereira2018(odd)
    (tmp_path / "no.mat").write_text("no")
    with pytest.raises(LensLocError, match="not a MATLAB file"):
        ll.alignment.pereira2018(tmp_path / "no.mat")


def test_assemblies_of_brainscore_are_read(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    values = np.random.default_rng(0).normal(size=(6, 3))
    values[4:, 2] = np.nan
    assembly = xarray.DataArray(
        values,
        dims=["presentation", "neuroid"],
        coords={
            "stimulus": ("presentation", [f"Text {n}." for n in range(6)]),
            "passage_label": ("presentation", ["a", "a", "b", "b", "c", "c"]),
            "story": ("presentation", ["x"] * 4 + ["y"] * 2),
            "experiment": ("presentation", ["384"] * 4 + ["243"] * 2),
            "neuroid_id": ("neuroid", ["s1.0", "s1.1", "s2.0"]),
            "roi": ("neuroid", ["LH_IFG", "LH_PTL", "LH_IFG"]),
        },
        name="Pereira2018.language",
    )
    path = tmp_path / "assembly.nc"
    assembly.to_netcdf(path, engine="h5netcdf")
    stimuli, responses = ll.alignment.brainscore_assembly(path, group="story")
    assert stimuli.texts[5] == "Text 5."
    assert stimuli.passages == ("a", "a", "b", "b", "c", "c")
    assert stimuli.groups == ("x",) * 4 + ("y",) * 2
    assert responses.names == ("s1.0", "s1.1")
    assert responses.regions == ("LH_IFG", "LH_PTL")
    some = ll.alignment.brainscore_assembly(path, select={"experiment": "384"})
    assert some.responses.names == ("s1.0", "s1.1", "s2.0")
    np.testing.assert_allclose(some.responses.values, values[:4])
    with pytest.raises(LensLocError, match="no coordinate 'sentence'; it has stimulus, passage_l"):
        ll.alignment.brainscore_assembly(path, text="sentence")
    for name in ("passage", "region"):  # a name that is misspelt is told, not read as none
        with pytest.raises(LensLocError, match="no coordinate 'stroy'; it has"):
            ll.alignment.brainscore_assembly(path, **{name: "stroy"})
    with pytest.raises(LensLocError, match="nothing whose experiment is '9'"):
        ll.alignment.brainscore_assembly(path, select={"experiment": "9"})
    (tmp_path / "no.nc").write_text("no")
    with pytest.raises(LensLocError, match="cannot be read as netCDF"):
        ll.alignment.brainscore_assembly(tmp_path / "no.nc")


def test_tables_of_ones_own(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"text": ["null", "NA", "a b"], "passage": [1, 1, 2], "position": [2, 1, 1]}
    )
    for path in (tmp_path / "s.csv", tmp_path / "s.tsv", tmp_path / "s.parquet"):
        if path.suffix == ".parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        stimuli = ll.alignment.Stimuli.of(path)
        assert stimuli.texts == ("null", "NA", "a b")
        assert stimuli.passages == ("1", "1", "2")
        assert {k: v.tolist() for k, v in stimuli.by_passage().items()} == {"1": [1, 0], "2": [2]}
    (tmp_path / "r.csv").write_text("v1,v2\n1,2\n3,\n")
    with pytest.raises(LensLocError, match=r"r\.csv, row 3: v2 is empty"):
        ll.alignment.BrainResponses.of(tmp_path / "r.csv")
    (tmp_path / "d.csv").write_text("v1,v1\n1,2\n3,4\n")
    with pytest.raises(LensLocError, match="has two columns 'v1'"):
        ll.alignment.BrainResponses.of(tmp_path / "d.csv")
    (tmp_path / "b.csv").write_text("v1,v2\n1,2\n\n3,4\n\n")
    with pytest.raises(LensLocError, match=r"b\.csv, row 3: the row is blank"):
        ll.alignment.BrainResponses.of(tmp_path / "b.csv")
    (tmp_path / "one.csv").write_text("v1\n1\n\n3\n\n")
    with pytest.raises(LensLocError, match=r"one\.csv, row 3: v1 is empty"):
        ll.alignment.BrainResponses.of(tmp_path / "one.csv")
    (tmp_path / "wide.csv").write_text("v1,v2\n1,2\n3,4,5\n")
    with pytest.raises(LensLocError, match="line 3, saw 3"):
        ll.alignment.BrainResponses.of(tmp_path / "wide.csv")
    with pytest.raises(LensLocError, match=r"must end in \.csv, \.tsv, \.jsonl, \.parquet"):
        ll.alignment.BrainResponses.of(tmp_path / "r.xlsx")
    with pytest.raises(LensLocError, match=r"There is no file .* of stimuli"):
        ll.alignment.Stimuli.of(tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes("text\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(LensLocError, match=r"row 2.*not UTF-8"):
        ll.alignment.Stimuli.of(tmp_path / "latin.csv")
    assert ll.alignment.Stimuli.of(tmp_path / "latin.csv", encoding="cp1252").texts == ("café",)
    (tmp_path / "empty.csv").write_text("text\n")
    with pytest.raises(LensLocError, match="has no rows"):
        ll.alignment.Stimuli.of(tmp_path / "empty.csv")


def test_tables_as_spreadsheets_and_other_tools_write_them(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b'Text;Passage\r\nOne;a\r\n"Zwei; drei";a\r\n')
    stimuli = ll.alignment.Stimuli.of(tmp_path / "s.csv")
    assert stimuli.texts == ("One", "Zwei; drei")
    assert stimuli.passages == ("a", "a")
    (tmp_path / "r.csv").write_text("v1;v2\n1,5;2\n-0,25;3\n", encoding="utf-16")
    read = ll.alignment.BrainResponses.of(tmp_path / "r.csv")
    np.testing.assert_array_equal(read.values, [[1.5, 2], [-0.25, 3]])
    (tmp_path / "p.csv").write_text("v1/v2\n1/2\n3/4\n")
    assert ll.alignment.BrainResponses.of(tmp_path / "p.csv", sep="/").names == ("v1", "v2")
    with gzip.open(tmp_path / "z.csv.gz", "wt") as file:
        file.write("text\nOne\n")
    assert ll.alignment.Stimuli.of(tmp_path / "z.csv.gz").texts == ("One",)
    (tmp_path / "j.jsonl").write_text('{"text": "One", "passage": 3}\n{"text": "", "passage": 3}\n')
    with pytest.raises(LensLocError, match=r"j\.jsonl, row 2: text is empty"):
        ll.alignment.Stimuli.of(tmp_path / "j.jsonl")
    pd.DataFrame({"v": [1.0, np.nan]}).to_parquet(tmp_path / "n.parquet")
    with pytest.raises(LensLocError, match=r"n\.parquet, row 2: v is empty"):
        ll.alignment.BrainResponses.of(tmp_path / "n.parquet")
    with pytest.raises(LensLocError, match="sep=';' says how a file is read, and a table in mem"):
        ll.alignment.Stimuli.of(["One"], sep=";")


def test_columns_that_number_the_rows_are_no_responses(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [0.5, 0.1, 0.9, 0.3, 0.2], "b": [1.0, 3.0, 2.0, 9.0, 4.0]})
    table.to_csv(tmp_path / "index.csv")
    with pytest.raises(LensLocError, match=r"index\.csv has a column without a name, as"):
        ll.alignment.BrainResponses.of(tmp_path / "index.csv")
    with pytest.raises(LensLocError, match="the table of responses has a column without a name"):
        ll.alignment.BrainResponses.of(pd.read_csv(tmp_path / "index.csv"))
    for name, start in (("trial", 1), ("index", 0), ("volume", 117)):
        numbered = table.assign(**{name: range(start, start + 5)})
        numbered.to_csv(tmp_path / "trials.csv", index=False)
        for given in (numbered, tmp_path / "trials.csv"):
            with pytest.raises(LensLocError, match=f"the column '{name}' counts the rows .{start}"):
                ll.alignment.BrainResponses.of(given)
    # An array has nothing but responses, whatever they are; and others may rise by other steps.
    assert ll.alignment.BrainResponses.of(np.arange(5.0)).names == ("response 1",)
    rising = table.assign(drift=np.arange(5) * 0.5, whole=[1, 2, 3, 4, 6])
    assert ll.alignment.BrainResponses.of(rising).names == ("a", "b", "drift", "whole")


def test_ceilings_that_do_not_fit_are_told(tmp_path: Path) -> None:
    y = pd.DataFrame({"a": [1.0, 2, 3], "b": [1.0, 0, 1]})
    with pytest.raises(LensLocError, match="name a response 'c'"):
        ll.alignment.BrainResponses.of(y, ceilings={"a": 0.5, "b": 0.5, "c": 0.1})
    with pytest.raises(LensLocError, match="none for the response 'b'"):
        ll.alignment.BrainResponses.of(y, ceilings={"a": 0.5})
    with pytest.raises(LensLocError, match="hold 50, but a ceiling is a correlation"):
        ll.alignment.BrainResponses.of(y, ceilings={"a": 50, "b": 0.5})
    path = tmp_path / "c.csv"
    path.write_bytes("response|ceiling|region\na|0.5|für\nb|0.6|x\n".encode("cp1252"))
    read = ll.alignment.BrainResponses.of(y, ceilings=path, sep="|", encoding="cp1252")
    assert read.regions == ("für", "x")
    assert (
        ll.alignment.BrainResponses.of(read, ceilings=path, encoding="cp1252").regions[0] == "für"
    )
    with pytest.raises(LensLocError, match="sep=';' says how a file is read"):
        read.with_ceilings({"a": 0.5, "b": 0.5}, sep=";")
    found = ll.alignment.BrainResponses.of(y, ceilings={"a": 0.5, "b": 0.25})
    assert "3 stimuli x 2 responses" in repr(found)
    assert "0.375" in found._repr_html_()


# -- fetching --------------------------------------------------------------------------------------


def published(url: str, content: bytes) -> fetching.PublishedData:
    digest = hashlib.sha256(content).hexdigest()
    return fetching.PublishedData(
        {"a.tok": fetching.PublishedFile(f"{url}/a.tok", digest)}, "Stories"
    )


def test_natural_stories_are_fetched_whole_or_not_at_all(
    served: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, url = served
    (folder / "a.tok").write_bytes(b"word\tzone\titem\n")
    source = published(url, b"word\tzone\titem\n")
    monkeypatch.setitem(fetching.DATA, "naturalstories", source)
    out = ll.alignment.fetch("naturalstories", tmp_path / "out")
    assert (out / "a.tok").read_bytes() == b"word\tzone\titem\n"
    with pytest.raises(LensLocError, match="is there already"):
        ll.alignment.fetch("naturalstories", out)
    (folder / "a.tok").write_bytes(b"changed")
    with pytest.raises(LensLocError, match=r"is not the a\.tok of Stories .*nothing was written"):
        ll.alignment.fetch("naturalstories", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(LensLocError, match="no published data 'dundee'; there are naturalstories"):
        ll.alignment.fetch("dundee", tmp_path / "again")


def test_the_real_source_is_pinned() -> None:
    files = fetching.DATA["naturalstories"].files
    assert set(files) == {"all_stories.tok", "processed_wordinfo.tsv", "all_stories_gpt3.csv"}
    for file in files.values():
        assert "4700daad696e942f5aba23c957a7423d0de66612" in file.url
        assert len(file.sha256) == 64

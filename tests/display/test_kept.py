"""Results in files: what comes back is what was kept, and what is wrong is told in a sentence."""

import copy
import dataclasses
import io
import json
import math
import multiprocessing
import pickle
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import people
import pytest
import torch
from every_result import every_result
from fingerprints import fingerprint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

import lensloc as ll
from lensloc import LensLocError
from lensloc.display import unjoined
from lensloc.display.container import packed
from lensloc.display.encoding import Decoder, Encoder
from lensloc.display.frozen import FrozenMapping
from lensloc.display.kinds import KINDS, RESULTS, class_of
from lensloc.display.savable import Savable
from lensloc.display.sealed import Format, sealed_record
from lensloc.results.matrices import Answers

KINDS_OF_RESULTS = sorted(RESULTS)


@pytest.fixture(scope="module")
def results(one_thread: None) -> dict[str, Any]:
    return every_result(0)


def same(one: Any, other: Any) -> bool:
    """Whether two fingerprints agree to the last bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert same(fingerprint(one), fingerprint(other))
    for field in dataclasses.fields(one):  # of one type, tables too
        mine, theirs = (getattr(each, field.name) for each in (one, other))
        assert type(mine) is type(theirs), field.name
        if isinstance(mine, pd.DataFrame):
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype is theirs.dtype


# -- round trips -----------------------------------------------------------------------------------


def test_every_kind_has_a_class_and_every_public_result_is_one() -> None:
    for kind, module in KINDS.items():
        assert class_of(kind).__module__ == module
    for kind in RESULTS:
        assert issubclass(class_of(kind), Savable)
    assert set(every_result(0)) == set(RESULTS)
    inputs = {"Controls", "Lesion", "ModuleSite", "Protocol", "SelectionRule", "Site", "Store",
              "Wrapped", "Features", "Stimuli", "BrainResponses", "Dataset", "ReadingTimes",
              "WindowCounts"}  # fmt: skip
    for room in (ll, ll.lape, ll.alignment):
        for name in room.__all__:
            found = getattr(room, name)
            if dataclasses.is_dataclass(found) and name not in inputs:
                assert name in RESULTS, f"{name} cannot be kept"


@settings(max_examples=2, suppress_health_check=list(HealthCheck), deadline=None)
@given(seed=some.integers(0, 10**6))
def test_every_result_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    for kind, found in every_result(seed).items():
        path = found.save(folder / f"{kind}.lensloc")
        assert_same(found, ll.load(path))
        assert_same(found, type(found).load(path))
        assert_same(found, pickle.loads(pickle.dumps(found)))
        assert_same(found, copy.deepcopy(found))


def _read(path: Path, sent: Any) -> tuple[Any, Any, Any]:
    """Run in another process: what it reads, and what it was sent."""
    return fingerprint(ll.load(path)), fingerprint(sent), sent


def test_results_cross_processes(results: dict[str, Any], tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        for kind, found in results.items():
            path = found.save(tmp_path / f"{kind}.lensloc")
            read, sent, back = other.submit(_read, path, found).result()
            assert same(read, fingerprint(found)), kind
            assert same(sent, read), kind
            assert_same(found, back)


PLAIN = some.none() | some.booleans() | some.integers() | some.floats() | some.text()
VALUES = some.recursive(
    PLAIN
    | some.binary()
    | some.frozensets(some.integers() | some.text() | some.tuples(some.integers())),
    lambda part: (
        some.lists(part)
        | some.lists(part).map(tuple)
        | some.dictionaries(some.text() | some.integers(), part)
        | some.dictionaries(some.text(), part).map(FrozenMapping)
    ),
    max_leaves=12,
)
ARRAYS = arrays.arrays(
    some.sampled_from([np.bool_, np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


def written(value: Any) -> Any:
    encoder = Encoder()
    node = json.loads(json.dumps(encoder.node(value, "value"), allow_nan=False))
    return Decoder(encoder.parts).value(node)


def exactly(value: Any) -> Any:
    """What tells any two values apart, types and signs of zero too."""
    if isinstance(value, float):
        return "float", value.hex()
    if isinstance(value, FrozenMapping | dict):
        return type(value), [(exactly(key), exactly(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value), list(map(exactly, value))
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    return type(value), value


@settings(max_examples=40, deadline=None)
@given(value=VALUES)
def test_any_value_comes_back(value: Any) -> None:
    assert exactly(written(value)) == exactly(value)


@settings(max_examples=30, deadline=None)
@given(value=ARRAYS)
def test_any_array_comes_back(value: Any) -> None:
    assert exactly(written(value)) == exactly(value)
    if value.dtype != np.uint16:
        assert exactly(written(torch.from_numpy(value))) == exactly(torch.from_numpy(value))


CELLS: dict[str, Any] = {
    "object": some.lists(PLAIN | some.just(pd.NA) | some.tuples(some.integers()), min_size=3,
                         max_size=3).map(lambda v: pd.Series(v, dtype=object)),
    "Int64": some.lists(some.none() | some.integers(-9, 9), min_size=3, max_size=3).map(
        lambda v: pd.Series(v, dtype="Int64")),
    "str": some.lists(some.none() | some.text(some.characters(codec="utf-8")), min_size=3,
                      max_size=3).map(lambda v: pd.Series(v, dtype="str")),
    "float": some.lists(some.floats(allow_nan=False), min_size=3, max_size=3).map(
        lambda v: pd.Series(v, dtype="float64")),
    "category": some.lists(some.sampled_from("ab"), min_size=3, max_size=3).map(
        lambda v: pd.Series(v, dtype="category")),
}  # fmt: skip


INDEXES: list[Any] = [None, ["x", "y", "z"], [3, 1, 2], [("a", 1), ("a", 2), ("b", 1)]]


@settings(max_examples=25, deadline=None)
@given(columns=some.lists(some.sampled_from(sorted(CELLS)).flatmap(CELLS.get), max_size=4),
       names=some.permutations(["a", "", 7, "a.b"]),
       index=some.sampled_from(INDEXES))  # fmt: skip
def test_any_table_comes_back(columns: list[Any], names: list[Any], index: Any) -> None:
    table = pd.DataFrame({name: column for name, column in zip(names, columns, strict=False)})
    if index is not None and len(columns):
        several = isinstance(index[0], tuple)
        table.index = pd.MultiIndex.from_tuples(index) if several else pd.Index(index)
    back = written(table)
    pd.testing.assert_frame_equal(table, back, check_exact=True)
    assert [type(label) for label in table.columns] == [type(label) for label in back.columns]
    for mine, theirs in zip(table.items(), back.items(), strict=True):
        assert [type(cell) for cell in mine[1]] == [type(cell) for cell in theirs[1]]


def test_shared_arrays_stay_shared(tmp_path: Path) -> None:
    values = torch.ones(2, 3)
    one = ll.Responses("head", values.reshape(2, 1, 3), ("a", "b"))
    back = ll.load(ll.save({"one": one, "again": one}, tmp_path / "two.lensloc"))
    assert back["one"].values is back["again"].values


def test_pictures_and_sounds_come_back(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 255, size=(4, 6, 5, 3)).astype(np.uint8)
    seen = ll.Contrast.from_images({"a": pictures[:2], "b": pictures[2:]}, target="a", control="b")
    heard = ll.Contrast.from_arrays(
        {"a": draw.normal(size=(2, 9)), "b": draw.normal(size=(3, 9))},
        target="a", control="b", sounds=True, rate=100,
    )  # fmt: skip
    for found in (seen, heard):
        back = ll.load(found.save(tmp_path / f"{found.source}.lensloc"))
        assert back == found
        for mine, theirs in zip(found.texts, back.texts, strict=True):
            assert np.array_equal(np.asarray(mine.load()), np.asarray(theirs.load()))
            assert (mine.name, mine.rate, mine.measures) == (theirs.name, theirs.rate,
                                                             theirs.measures)  # fmt: skip


# -- what a file is, and what is refused -----------------------------------------------------------


def test_a_file_can_be_read_without_lensloc(results: dict[str, Any], tmp_path: Path) -> None:
    path = results["LesionStudy"].save(tmp_path / "study.lensloc")
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read("result.json"))
        assert record["format"] == "lensloc.LesionStudy/1"
        assert record["content"]["made_with"]["lensloc"] == ll.__version__
        table = pd.read_parquet(io.BytesIO(archive.read("tables/LesionStudy.table.parquet")))
    assert list(table["task"]) == list(results["LesionStudy"].table["task"])


def test_load_says_what_files_of_other_formats_are(results: dict[str, Any], tmp_path: Path) -> None:
    mask = ll.UnitMask.from_addresses(["L0.head.1"], shape=(2, 3))
    assert ll.load(mask.save(tmp_path / "mask.safetensors")) == mask
    published = ll.UnitMask("resid_post", mask.mask)
    assert ll.load(published.save(tmp_path / "mask.npy")) == published
    for kind in ("ActivationCounts", "Identified"):
        path = results[kind].save(tmp_path / f"{kind}.safetensors")
        assert type(ll.load(path)) is type(results[kind])


def test_the_same_result_made_again_is_no_other_file(
    results: dict[str, Any], tmp_path: Path
) -> None:
    found = results["Localization"]
    path = found.save(tmp_path / "found.lensloc")
    later = dataclasses.replace(
        found,
        seconds=dataclasses.replace(found.seconds, forward=9.0),
        selectivity={
            name: dataclasses.replace(each, provenance=each.provenance.replace(date="2027"))
            for name, each in found.items()
        },
    )
    later.save(path)
    assert ll.load(path).seconds.forward == 9.0
    other = dataclasses.replace(found, n_tokens=18)
    with pytest.raises(LensLocError, match=r"found.lensloc exists; say overwrite=True"):
        other.save(path)
    assert ll.load(path).n_tokens == 17
    other.save(path, overwrite=True)
    assert ll.load(path).n_tokens == 18


def _rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _of_version(number: int, kind: str = "Localization") -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        content = json.loads(members["result.json"])["content"]
        members["result.json"] = sealed_record(Format(f"lensloc.{kind}", number), content)

    return change


def _with_value(change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def rewrite(members: dict[str, bytes]) -> None:
        content = json.loads(members["result.json"])["content"]
        change(content)
        members["result.json"] = sealed_record(Format("lensloc.Localization", 1), content)

    return rewrite


def _without_tokens(content: Any) -> None:
    del content["value"]["~Localization"]["n_tokens"]


def _with_more(content: Any) -> None:
    content["value"]["~Localization"]["more"] = 1


def _of_another_class(content: Any) -> None:
    content["value"] = {"~Popen": {"args": "true"}}


WRONG: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "later": (_of_version(2), "is of version 2 of lensloc.Localization, and this lensloc reads up"),
    "unknown": (_of_version(1, "Horoscope"), "a 'Horoscope', which this lensloc does not know"),
    "no result": (lambda m: m.pop("result.json"), "holds no result of lensloc"),
    "no JSON": (lambda m: m.update({"result.json": b"{"}), "is damaged"),
    "other content": (
        lambda m: m.update({"result.json": m["result.json"].replace(b": 17,", b": 18,")}),
        "is damaged (its checksum does not fit its content)",
    ),
    "other array": (
        lambda m: m.update({"arrays.safetensors": m["arrays.safetensors"][:-1] + b"\x77"}),
        "is damaged (the checksum of arrays.safetensors",
    ),
    "array gone": (lambda m: m.pop("arrays.safetensors"), "its members are not those that it had"),
    "one too many": (lambda m: m.update({"x": b""}), "its members are not those that it had"),
    "field gone": (_with_value(_without_tokens), "holds something else than there should be"),
    "field too many": (_with_value(_with_more), "has what is not known here: more"),
    "other class": (_with_value(_of_another_class), "holds a 'Popen', which is not known here"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_file_is_told(
    case: str, results: dict[str, Any], tmp_path: Path
) -> None:
    path = results["Localization"].save(tmp_path / "found.lensloc")
    change, sentence = WRONG[case]
    _rewritten(path, change)
    for read in (ll.load, ll.Localization.load):
        with pytest.raises(LensLocError) as caught:
            read(path)
        assert sentence in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_damage_is_told(results: dict[str, Any], tmp_path: Path) -> None:
    """Any byte changed, and any end cut off: a sentence, or the same result."""
    path = results["UnitMask"].save(tmp_path / "mask.lensloc")
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for number in range(150):
        damaged = bytearray(content)
        at = int(draw.integers(len(content)))
        if number % 3:
            damaged[at] ^= int(draw.integers(1, 256))
        else:
            damaged = damaged[:at]
        path.write_bytes(damaged)
        try:
            found = ll.load(path)
        except LensLocError:
            continue
        assert_same(found, results["UnitMask"])


def test_other_files_are_refused_in_a_sentence(results: dict[str, Any], tmp_path: Path) -> None:
    path = results["LesionStudy"].save(tmp_path / "study.lensloc")
    with pytest.raises(LensLocError, match="holds a LesionStudy, and not a Selectivity; read it"):
        ll.Selectivity.load(path)
    table = ll.save(results["LesionStudy"].table, tmp_path / "table.lensloc")
    with pytest.raises(LensLocError, match="holds a table, and not a LesionStudy"):
        ll.LesionStudy.load(table)
    with pytest.raises(LensLocError, match=r"none.lensloc cannot be read \(No such file"):
        ll.load(tmp_path / "none.lensloc")
    with pytest.raises(LensLocError, match="does not exist; check the path"):
        ll.LesionStudy.load(tmp_path / "none.lensloc")
    with pytest.raises(LensLocError, match="is a folder; name a file in it"):
        ll.load(tmp_path)
    for name, content in {"x.csv": b"text,condition\n", "y.lensloc": b"", "z": b"PK" * 40}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LensLocError, match=r"holds no result of lensloc|is damaged"):
            ll.load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "packed.lensloc", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", "0" * 10**6)
    with pytest.raises(LensLocError, match=r"result.json is packed, as no result is"):
        ll.load(tmp_path / "packed.lensloc")


def test_places_that_cannot_be_are_refused(results: dict[str, Any], tmp_path: Path) -> None:
    study = results["LesionStudy"]
    with pytest.raises(LensLocError, match=r"study.csv must end in .lensloc, .*to_csv writes its"):
        study.save(tmp_path / "study.csv")
    with pytest.raises(LensLocError, match=r"call it study.lensloc"):
        study.save(tmp_path / "study")
    with pytest.raises(LensLocError, match="Something of type int cannot be kept"):
        ll.save(3, tmp_path / "three.lensloc")
    with pytest.raises(LensLocError, match=r"named\.x is of type module, which cannot be kept"):
        ll.save({"x": pytest}, tmp_path / "mine.lensloc")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results["LesionStudy"].save(tmp_path / "study.lensloc")
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", full)
    with pytest.raises(LensLocError, match=r"cannot be written .*is full"):
        results["Steering"].save(path, overwrite=True)
    monkeypatch.undo()
    assert path.read_bytes() == before


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS_OF_RESULTS)
def test_every_result_leaves_as_a_table(kind: str, results: dict[str, Any], tmp_path: Path) -> None:
    table = results[kind].to_dataframe()
    assert len(table) > 0
    path = results[kind].to_csv(tmp_path / "table.csv")
    back = pd.read_csv(path, keep_default_na=False, na_values=[""])
    assert list(back.columns) == [str(name) for name in table.columns]
    assert len(back) == len(table)
    for name in table.columns:
        if pd.api.types.is_float_dtype(table[name]):
            assert np.allclose(
                back[str(name)].astype(float), table[name].astype(float), rtol=1e-6, equal_nan=True
            )
    text = results[kind].to_latex()
    assert text.count(r"\\") == len(table) + 1


def test_formulas_are_made_harmless(tmp_path: Path) -> None:
    texts = {"a": ["=HYPERLINK(1)", "+1 more", "fine"], "b": ["@x", "-y", "\tz"]}
    contrast = ll.Contrast.from_texts(texts, target="a", control="b")
    content = contrast.to_csv(tmp_path / "texts.csv").read_text()
    for cell in ("'=HYPERLINK(1)", "'+1 more", ",fine", "'@x", "'-y"):
        assert cell in content
    with pytest.raises(LensLocError, match=r"texts.csv exists; say overwrite=True"):
        contrast.with_roles(target="b", control="a").to_csv(tmp_path / "texts.csv")
    with pytest.raises(LensLocError, match=r"must end in .csv"):
        contrast.to_csv(tmp_path / "texts.xlsx")


def test_latex_escapes_and_rounds() -> None:
    table = pd.DataFrame({"a_b": ["50 %", None], "x": [0.12345, np.nan], "n": [3, 4]})
    made = Answers(table, pd.DataFrame())
    assert made.to_latex(digits=2).splitlines()[2:7] == [
        r"a\_b & x & n \\", r"\midrule", r"50 \% & 0.12 & 3 \\", r"-- & -- & 4 \\", r"\bottomrule",
    ]  # fmt: skip
    assert made.to_latex(["n"]).splitlines()[2] == r"n \\"
    large = Answers(pd.DataFrame({"x": [1234567.0, 0.5, np.inf]}), pd.DataFrame()).to_latex()
    assert [line.split(" ")[0] for line in large.splitlines()[4:7]] == ["1234567", "0.500", "inf"]
    with pytest.raises(LensLocError, match="no column 'y'; it has a_b, x, n"):
        made.to_latex(["y"])


# -- several ---------------------------------------------------------------------------------------


def test_studies_of_several_models_are_one(results: dict[str, Any]) -> None:
    one = results["LesionStudy"]
    other = every_result(1)["LesionStudy"]
    both = ll.concat({"first": one, "second": other})
    assert len(both.table) == len(one.table) + len(other.table)
    assert set(both.table["model"]) == {"first", "second"}
    for study, name in ((one, "first"), (other, "second")):
        mine = both.comparisons[both.comparisons["model"] == name].drop(columns="model")
        pd.testing.assert_frame_equal(
            mine.reset_index(drop=True), study.comparisons.drop(columns="model")
        )
        groups = both.by_group(network=f"language ({name})").drop(columns="network")
        pd.testing.assert_frame_equal(
            groups.reset_index(drop=True), study.by_group().drop(columns="network")
        )
    names = {trace.name for trace in ll.plot.dose_response(both).data if trace.showlegend}
    assert {"language (first)", "language (second)"} <= names
    assert "2 models" in ll.plot.lesion_bars(both).layout.title.text
    assert_same(both, pickle.loads(pickle.dumps(both)))
    with pytest.raises(LensLocError, match=r"hold the lesion of model tiny, network language"):
        ll.concat([one, other])
    with pytest.raises(LensLocError, match=r"differ in confidence \(0.9 and 0.5\)"):
        ll.concat({"a": one, "b": dataclasses.replace(other, confidence=0.5)})


def test_what_is_joined_is_all_of_it(results: dict[str, Any]) -> None:
    responses = results["Responses"]
    more = dataclasses.replace(responses, values=responses.values + 1)
    both = ll.concat([responses, more])
    assert both.conditions == responses.conditions * 2
    assert torch.equal(both.values[4:].nan_to_num(), more.values.nan_to_num())
    pairs = results["Pairs"]
    halves = [dataclasses.replace(pairs, pairs=part) for part in (pairs.pairs[:1], pairs.pairs[1:])]
    assert ll.concat(halves).pairs == pairs.pairs
    counts = results["ActivationCounts"]
    alone = [dataclasses.replace(counts, sources={}, windows=None)] * 2
    assert torch.equal(ll.concat(alone).counts, 2 * counts.counts)
    found = results["Localization"]
    parts = [
        dataclasses.replace(found, selectivity={name: found[name]}, responses={}) for name in found
    ]
    assert list(ll.concat(parts)) == list(found)
    with pytest.raises(LensLocError, match="The site block is in two of the localizations"):
        ll.concat([parts[1], parts[1]])
    table = ll.concat({"a": pd.DataFrame({"x": [1]}), "b": pd.DataFrame({"x": [2]})})
    assert table.to_dict("list") == {"x": [1, 2], "model": ["a", "b"]}


def test_nothing_counts_twice(results: dict[str, Any]) -> None:
    responses, pairs = results["Responses"], results["Pairs"]
    table = pd.DataFrame({"x": [1, 1, 2], "y": [["a"], ["a"], ["b"]]})
    again = dataclasses.replace(pairs.pairs[0], place="elsewhere, row 2")
    cases: dict[str, list[Any]] = {
        "stimulus": [responses, responses.at([1])],
        "pair": [pairs, dataclasses.replace(pairs, pairs=(again,))],
        "row": [table, table.iloc[2:]],
    }
    for what, several in cases.items():
        with pytest.raises(LensLocError, match=f"hold the same {what}, which would count twice"):
            ll.concat(several)
    assert len(ll.concat([table.iloc[:2], table.iloc[2:]])) == 3  # what one holds twice may stand
    assert len(ll.concat({"one": table, "other": table})) == 6


def test_encodings_of_the_same_people_are_joined_and_baselines_count_once() -> None:
    one = people.encoding()
    both = ll.concat({"trained": one, "untrained": one})
    of = both.table[both.table["network"] != ""]
    assert set(of["model"]) == {"trained", "untrained"}
    networks = list(dict.fromkeys(of["network"]))
    assert networks[0] == "language (trained)"
    assert len(networks) == 4
    own = one.table["network"] != ""
    assert len(both.table) == 2 * own.sum() + (~own).sum()
    assert set(both.comparisons["network"]) <= set(networks)
    assert len(both.summary()) == 2 * len(one.summary())
    assert_same(both, pickle.loads(pickle.dumps(both)))
    with pytest.raises(LensLocError, match="hold the network language, which would count twice"):
        ll.concat([one, one])
    other = dataclasses.replace(one, responses=one.responses.assign(r=0.0))
    with pytest.raises(LensLocError, match="of other responses or stimuli"):
        ll.concat({"a": one, "b": other})
    with pytest.raises(LensLocError, match=r"differ in split \(grouped and shuffled\)"):
        ll.concat({"a": one, "b": people.encoding("shuffled")})


def test_sweeps_of_several_models_are_one(results: dict[str, Any]) -> None:
    one, other = results["Sweep"], every_result(1)["Sweep"]
    renamed = ll.concat({"first": one, "second": other})
    assert renamed.models == tuple(
        f"{name} ({of})" for of in ("first", "second") for name in one.models
    )
    assert len(renamed.table) == len(one.table) + len(other.table)
    assert len(renamed.cells) == 2 * len(one.cells)
    told = " ".join(renamed.warnings)
    assert "small (first)" in told, "warnings of its own call models as they are called now"
    assert not set(one._notes()) & set(renamed.warnings)
    assert_same(renamed, pickle.loads(pickle.dumps(renamed)))

    part = {
        name: table[table["model"] == "tiny"]
        for name in ("cells", "localizations", "lesions", "specificity", "shares", "layers")
        if (table := getattr(one, name)) is not None
    }
    alone = dataclasses.replace(one, name="alone", warnings=(), **part)
    assert alone.models == ("tiny",)
    assert ll.concat({"mine": alone, "theirs": alone}).models == ("mine", "theirs")
    both = ll.concat([alone, one])  # a cell of both counts once
    assert both.name == "alone + by hand"
    for name in part:
        assert len(getattr(both, name)) == len(getattr(one, name)), name
    assert len(both.published) == len(one.published)
    assert both.counts == one.counts
    with pytest.raises(LensLocError, match="holds no cell that the others lack, and would count"):
        ll.concat([one, alone])
    of_others = {"cells": one.cells.assign(cell=[f"x{name}" for name in one.cells["cell"]])}
    with pytest.raises(LensLocError, match="hold the localization of model tiny, contrast own"):
        ll.concat([one, dataclasses.replace(one, **of_others)])


def test_a_sweep_measured_in_two_places_is_one(results: dict[str, Any]) -> None:
    one = results["Sweep"]
    waiting = one.cells.assign(state="waiting", reason="", seconds=np.nan, made="")
    tables = {
        name: getattr(one, name).iloc[:0]
        for name in ("localizations", "lesions", "specificity", "shares", "layers")
    }
    unmeasured = one.published.assign(measured=np.nan)
    before = dataclasses.replace(one, cells=waiting, published=unmeasured, warnings=(), **tables)
    for several in ([before, one], [one, before]):
        both = ll.concat(several)
        assert both.cells["state"].tolist() == one.cells["state"].tolist()
        assert both.counts == one.counts
        assert set(both.warnings) == set(one.warnings)
        assert sorted(both.published["measured"].notna()) == [False, True]
        for name in tables:
            assert len(getattr(both, name)) == len(getattr(one, name))


def test_surprisals_tokens_and_sites_by_pairs_are_joined(results: dict[str, Any]) -> None:
    words, more = results["WordSurprisals"], every_result(1)["WordSurprisals"]
    other = dataclasses.replace(more, table=more.table.assign(story="t"))
    both = ll.concat([words, other])
    assert both.table["story"].tolist() == ["s", "s", "t", "t"]
    with pytest.raises(LensLocError, match="hold the same text, which would count twice"):
        ll.concat([words, more])
    with pytest.raises(LensLocError, match="differ in marks"):
        ll.concat([words, dataclasses.replace(other, marks="end")])
    tokens = results["TokenResponses"]
    longer = dataclasses.replace(tokens, conditions=("b", "a"))
    joined = ll.concat([tokens, longer])
    assert len(joined) == 4
    assert joined.tokens_of(2) == longer.tokens_of(0)
    assert torch.equal(joined.of(3).nan_to_num(), longer.of(1).nan_to_num())
    with pytest.raises(LensLocError, match="hold the same stimulus, which would count twice"):
        ll.concat([tokens, tokens])
    with pytest.raises(LensLocError, match="of other units"):
        ll.concat([tokens, dataclasses.replace(longer, mask=results["Activity"].mask)])
    found = results["PairLocalization"]
    effects = {"head": found["head"], "other": found["head"]}
    sites = [dataclasses.replace(found, effects={name: effects[name]}) for name in effects]
    assert list(ll.concat(sites)) == ["head", "other"]
    with pytest.raises(LensLocError, match="The site head is in two of the localizations"):
        ll.concat([found, found])


@pytest.mark.parametrize("kind", KINDS_OF_RESULTS)
def test_every_kind_is_joined_or_says_why_not(kind: str, results: dict[str, Any]) -> None:
    joins = hasattr(class_of(kind), "_joined")
    assert joins != (kind in unjoined._WHY)
    if joins:
        return
    for several in ([results[kind]] * 2, dict.fromkeys("ab", results[kind])):
        with pytest.raises(LensLocError, match=r"cannot be one, since .*; \w+") as caught:
            ll.concat(several)
        assert str(caught.value).count("\n") == 0


def test_what_cannot_be_joined_is_refused(results: dict[str, Any]) -> None:
    for given_, sentence in {
        (): "There is nothing to join",
        ("Null", "Null"): "Several results of the kind Null cannot be one",
        ("Null", "Pairs"): "Results of one kind can be joined; Null and Pairs are several",
    }.items():
        with pytest.raises(LensLocError, match=sentence):
            ll.concat([results[name] for name in given_])
    with pytest.raises(LensLocError, match="does not say its model by a name"):
        ll.concat({"a": results["Pairs"], "b": results["Pairs"]})
    steered = results["Steering"]
    with pytest.raises(LensLocError, match="hold the answers of asked en, toward de"):
        ll.concat([steered, steered])
    with pytest.raises(LensLocError, match=r"concat\(\{'first': a.table, 'second': b.table\}\)"):
        ll.concat([steered, steered])
    tables = ll.concat({"first": steered.table, "second": steered.table})
    assert len(tables) == 2 * len(steered.table)


def test_what_is_kept_is_no_more_than_its_numbers(results: dict[str, Any]) -> None:
    """A map of n units takes little more than the bytes of its arrays."""
    found = results["Selectivity"]
    arrays_ = 8 * 10 * found.t.numel()
    assert len(packed(found).content) < arrays_ + 12_000


def test_sweeps_without_lesions_are_joined(results: dict[str, Any]) -> None:
    one = results["Sweep"]
    none = {name: getattr(one, name).iloc[:0] for name in ("lesions", "specificity", "shares")}
    cells = one.cells[one.cells["kind"] == "localize"]
    bare = dataclasses.replace(one, cells=cells, warnings=(), **none)
    both = ll.concat({"first": bare, "second": bare})
    for name, table in none.items():
        assert list(getattr(both, name).columns) == list(table.columns)
    assert both.summary()

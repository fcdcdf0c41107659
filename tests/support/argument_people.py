"""Arguments of what is done with people's brains and reading times; see argument_table."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
import stories
import xarray
from argument_files import written
from argument_parts import Entry, Fresh, refused, same, under
from argument_world import LISTS, NONWORDS, SENTENCES, World

import lensloc as ll
from lensloc.alignment.fetching import PublishedData, PublishedFile

BATCH = "batches change speed and memory only"
PROGRESS = "shows a bar, or none"
PASSAGES = np.repeat(["p1", "p2", "p3", "p4"], 3)


def of_people(w: World) -> dict[str, Entry]:
    """Return name -> entry."""
    return {**data(w), **published(w), **encoding(w), **reading(w)}


# -- data ------------------------------------------------------------------------------------------


def seen(texts: list[str] = SENTENCES + LISTS, **columns: Any) -> pd.DataFrame:
    """Twelve stimuli in four passages."""
    return pd.DataFrame({"text": texts[:12], "passage": PASSAGES, **columns})


def recorded(seed: int = 0, n: int = 12, **columns: Any) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame({**columns, "v1": draw.normal(size=n), "v2": draw.normal(size=n)})


def data(w: World) -> dict[str, Entry]:
    paths = {
        "stimuli": written(w, "stimuli.csv", "text|passage\nthe old|1\nnobody in|1\nbefore|2\n"),
        "latin": written(w, "stimuli-latin.csv", "text\nwärmer Tee\nkühl\n", "cp1252"),
        "values": written(w, "values.csv", "v1|v2\n1|2\n3|5\n4|4\n"),
        "named": written(w, "values-latin.csv", "wörter,v2\n1,2\n3,5\n4,4\n", "cp1252"),
        "ceilings": written(w, "ceilings.csv", "response|ceiling\nv1|0.5\nv2|0.6\n"),
        "regions": written(w, "regions.csv", "response,ceiling,region\nv1,0.5,für\nv2,0.6,x\n",
                           "cp1252"),
        "times": written(w, "times.csv", "story|position|word|time\n1|1|the|300\n1|2|old|310\n"),
        "words": written(w, "words.csv", "story,position,word,time\n1,1,für,300\n", "cp1252"),
    }  # fmt: skip
    stimuli = ll.alignment.Stimuli.of(seen())
    responses = ll.alignment.BrainResponses.of(recorded())
    known, others = {"v1": 0.5, "v2": 0.6}, {"v1": 0.7, "v2": 0.6}
    words = pd.DataFrame({"story": "1", "position": [1, 2], "word": ["the", "old"]})
    timed = words.assign(time=[300.0, 310.0], slow=[900.0, 910.0])
    several = {"1": "the\nold"}
    return {
        "alignment.Stimuli.of": Entry(
            {"given": seen()},
            {
                "given": seen(NONWORDS + LISTS),
                "sep": under("|", given=paths["stimuli"], sep=";"),
                "encoding": under("cp1252", given=paths["latin"], encoding=None),
            },
        ),
        "alignment.Stimuli.place": Entry({"row": 0}, {"row": 1}, on=stimuli),
        "alignment.BrainResponses.of": Entry(
            {"given": recorded()},
            {
                "given": recorded(1),
                "ceilings": known,
                "sep": under("|", given=paths["values"], sep=";"),
                "encoding": under("cp1252", given=paths["named"], encoding=None),
            },
        ),
        "alignment.BrainResponses.with_ceilings": Entry(
            {"ceilings": known},
            {
                "ceilings": others,
                "sep": under("|", ceilings=paths["ceilings"], sep=";"),
                "encoding": under("cp1252", ceilings=paths["regions"], encoding=None),
            },
            on=responses,
        ),
        "alignment.ReadingTimes.from_dataframe": Entry(
            {"given": timed},
            {
                "given": timed.assign(time=[400.0, 410.0]),
                "time": "slow",
                "texts": several,
                "sep": under("|", given=paths["times"], sep=";"),
                "encoding": under("cp1252", given=paths["words"], encoding=None),
            },
        ),
        "alignment.ReadingTimes.of": Entry(
            {"given": timed},
            {"given": timed.assign(word=["the", "new"]), "options": {"time": "slow"}},
        ),
    }


# -- what was published ----------------------------------------------------------------------------


def sources(folder: Path) -> dict[str, PublishedData]:
    """Published sets of one file each, on this machine."""
    found = {}
    for name in ("one", "two"):
        path = folder / f"{name}.tok"
        path.write_text(name)
        digest = hashlib.sha256(name.encode()).hexdigest()
        found[name] = PublishedData({"a.tok": PublishedFile(path.as_uri(), digest)}, name)
    return found


def published(w: World) -> dict[str, Entry]:
    texts = {1: "Once there were kings.", 2: "Nobody knew, not even they."}
    folders = [
        stories.natural_stories(w.folder / "one-story", texts),
        stories.natural_stories(w.folder / "two-stories", {**texts, 2: "Nobody knew, though."}),
        stories.natural_stories(w.folder / "read", texts, {**texts, 2: "Nobody knew, not they me"}),
    ]
    times = ll.alignment.natural_stories(folders[0])
    rows = [
        {"sentence": text, "cond": condition, "roi": roi, "response_target": at + shift,
         "other": at * shift}
        for at, (text, condition) in enumerate(zip(SENTENCES[:6], "BBDDSS", strict=True))
        for roi, shift in (("lang_LH_netw", 0.5), ("lang_LH_IFG", 2.0))
    ]  # fmt: skip
    tables = [w.folder / "tuckute.csv", w.folder / "tuckute-others.csv"]
    pd.DataFrame(rows).to_csv(tables[0], index=False)
    pd.DataFrame(rows).assign(sentence=lambda t: t["sentence"] + ".").to_csv(tables[1], index=False)
    pd.DataFrame(rows[::2]).drop(columns="roi").to_csv(w.folder / "tuckute-one.csv", index=False)
    return {
        "alignment.fetch": Entry(
            {"name": "one", "folder": Fresh("fetched")},
            {"name": "two", "folder": Fresh("elsewhere")},
            use=lambda found: (found, [path.read_text() for path in sorted(found.iterdir())]),
        ),
        "alignment.natural_stories": Entry(
            {"folder": folders[0]}, {"folder": folders[1], "measure": "gmeanItemRT"}
        ),
        "alignment.natural_stories_gpt3": Entry(
            {"folder": folders[0], "words": times},
            {
                "folder": folders[2],
                "words": refused(
                    ll.alignment.natural_stories(folders[1]), "5 words there, but 3 in the reading"
                ),
            },
        ),
        "alignment.tuckute2024": Entry(
            {"path": tables[0]},
            {
                "path": tables[1],
                "conditions": ["B", "D"],
                "region": "lang_LH_IFG",
                "response": "other",
            },
        ),
        "alignment.pereira2018": Entry(
            {"path": _pereira(w.folder / "a.mat", 0)}, {"path": _pereira(w.folder / "b.mat", 1)}
        ),
        "alignment.brainscore_assembly": Entry(
            {"path": _assembly(w.folder / "a.nc", 0)},
            {
                "path": _assembly(w.folder / "b.nc", 1),
                "text": "other",
                "passage": "story",
                "group": "story",
                "region": "lobe",
                "select": {"experiment": "384"},
            },
        ),
    }


def _pereira(path: Path, seed: int) -> Path:
    sentences = np.empty((6, 1), dtype=object)
    for row in range(6):
        sentences[row, 0] = np.array([f"Sentence {row}."])
    scipy.io.savemat(
        path,
        {
            "examples": np.random.default_rng(seed).normal(size=(6, 3)),
            "keySentences": sentences,
            "labelsPassageForEachSentence": np.array([[1], [1], [2], [2], [3], [3]]),
        },
    )
    return path


def _assembly(path: Path, seed: int) -> Path:
    def of_text(values: list[str]) -> tuple[str, list[str]]:
        return "presentation", values

    xarray.DataArray(
        np.random.default_rng(seed).normal(size=(6, 2)),
        dims=["presentation", "neuroid"],
        coords={
            "stimulus": of_text([f"Text {n}." for n in range(6)]),
            "other": of_text([f"Other {n}." for n in range(6)]),
            "passage_label": of_text(["a", "a", "b", "b", "c", "c"]),
            "story": of_text(["x"] * 4 + ["y"] * 2),
            "experiment": of_text(["384"] * 4 + ["243"] * 2),
            "roi": ("neuroid", ["LH_IFG", "LH_PTL"]),
            "lobe": ("neuroid", ["frontal", "temporal"]),
        },
        name="responses",
    ).to_netcdf(path, engine="h5netcdf")
    return path


# -- encoding --------------------------------------------------------------------------------------


def tables(found: Any) -> Any:
    """What was measured, without what was asked for."""
    return found.table, found.comparisons, found.responses, found.warnings


def encoding(w: World) -> dict[str, Entry]:
    draw = np.random.default_rng(0)
    features, others = draw.normal(size=(2, 12, 3))
    regressed = {
        "stimuli": seen(),
        "responses": recorded(),
        "n_folds": 2,
        "alphas": [10.0],  # several cost a search
        "n_resamples": 10,
        "progress": False,
    }
    moments = {
        "stimuli": seen(onset=np.tile([0.0, 4.0, 8.0], 4)),
        "responses": recorded(
            n=28, run=np.repeat(["p1", "p2", "p3", "p4"], 7), time=np.tile(np.arange(7.0) * 2, 4)
        ),
    }
    regressing = {
        "stimuli": seen(NONWORDS + LISTS),
        "responses": recorded(1),
        "split": "shuffled",
        "n_folds": 3,
        "delays": under([1, 2], **moments),
        "trim": under(1, **moments, delays=[1]),
        "language": "de",
        "alphas": [1000.0],
        "n_resamples": 20,
        "confidence": 0.5,
        "seed": 1,
        "ridge_device": refused("mps", "runs on cpu or cuda"),
        "progress": same(True, PROGRESS),
    }
    reads = {"pooling": "mean", "context": "none", "separator": "\n", "window": 8}
    responses = ll.alignment.stimulus_responses(
        w.model, ll.alignment.Stimuli.of(seen()), [w.mask, w.other_mask], progress=False
    )["resid_post"]
    return {
        "alignment.encode": Entry(
            {
                **regressed,
                "model": w.model,
                "units": {"a": w.mask},
                "controls": ll.controls("layer", seeds=[0]),
                "untrained": w.untrained,
            },
            {
                **regressing,
                **reads,
                "model": w.untrained,
                "units": {"a": w.other_mask},
                "controls": ll.controls("layer", seeds=[1]),
                "untrained": None,
                "batch_size": same(2, BATCH),
            },
            use=tables,
        ),
        "alignment.encode_features": Entry(
            {**regressed, "features": features}, {**regressing, "features": others}, use=tables
        ),
        "alignment.by_layer": Entry({"mask": w.mask}, {"mask": w.other_mask}),
        "alignment.stimulus_responses": Entry(
            {
                "model": w.model,
                "stimuli": ll.alignment.Stimuli.of(seen()),
                "masks": [w.mask],
                "progress": False,
            },
            {
                **reads,
                "model": w.untrained,
                "stimuli": ll.alignment.Stimuli.of(seen(NONWORDS + LISTS)),
                "masks": [w.other_mask],
                "batch_size": same(2, BATCH),
                "progress": same(True, PROGRESS),
                "description": same("mine", "it is that of the progress bar"),
            },
        ),
        "alignment.UnitResponses.of": Entry({"mask": w.mask}, {"mask": w.other_mask}, on=responses),
    }


# -- reading times ---------------------------------------------------------------------------------


def timed(seed: int = 0) -> ll.alignment.ReadingTimes:
    """Three stories of 24 words, with times."""
    draw = np.random.default_rng(seed)
    words = sorted({word for text in SENTENCES for word in text.split()})
    table = pd.DataFrame(
        {
            "story": np.repeat(["1", "2", "3"], 24),
            "position": np.tile(np.arange(1, 25), 3),
            "word": draw.choice(words, 72),
            "time": 300 + 20 * draw.normal(size=72),
        }
    )
    return ll.alignment.ReadingTimes.from_dataframe(table)


def reading(w: World) -> dict[str, Entry]:
    data, others = timed(), timed(1)
    runs: Mapping[str, Any] = {
        "model": w.untrained,
        "bos": "add",
        "window": 16,
        "batch_size": same(1, BATCH),
        "progress": same(True, PROGRESS),
    }
    regressed = {"data": data, "n_folds": 3, "n_resamples": 10}
    regressing = {
        "data": ll.alignment.ReadingTimes(data.words, others.times),
        "n_folds": 2,
        "language": "de",
        "n_resamples": 20,
        "confidence": 0.5,
        "seed": 1,
    }
    surprisals, more = (
        ll.alignment.word_surprisals(model, data, progress=False)
        for model in (w.model, w.untrained)
    )
    return {
        "alignment.word_surprisals": Entry(
            {"model": w.model, "words": SENTENCES, "progress": False},
            {**runs, "words": LISTS, "window": 6},
        ),
        "alignment.predict_times": Entry(
            {**regressed, "surprisals": surprisals}, {**regressing, "surprisals": more}, use=_gains
        ),
        "alignment.reading_times": Entry(
            {
                **regressed,
                "model": w.model,
                "lesions": {"a": w.mask},
                "controls": ll.controls("layer", seeds=[0]),
                "progress": False,
            },
            {
                **regressing,
                **runs,
                "lesions": {"a": w.other_mask},
                "controls": ll.controls("layer", seeds=[1]),
                "mode": {"mode": "scale", "scale": 3.0},
            },
            use=_gains,
        ),
    }


def _gains(found: Any) -> Any:
    return found.table, found.comparisons, found.stories, found.words, found.warnings

"""Readers of the public forms of Natural Stories, Tuckute 2024, Pereira 2018 and brain-score."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lensloc.alignment.datasets import BrainResponses, Dataset, Stimuli
from lensloc.alignment.optional import needed
from lensloc.alignment.reading_data import ReadingTimes
from lensloc.alignment.spans import joined, tokens_of
from lensloc.alignment.surprisal import WordSurprisals
from lensloc.alignment.tables import numbers_of, read_table, require_columns
from lensloc.display.places import is_file, path_of
from lensloc.errors import LensLocError, refuse_idle
from lensloc.units.provenance import Provenance

_WORDS, _MEANS, _READERS, _GPT3 = (
    "all_stories.tok",
    "processed_wordinfo.tsv",
    "processed_RTs.tsv",
    "all_stories_gpt3.csv",
)


# -- Natural Stories -------------------------------------------------------------------------------


def natural_stories(folder: str | Path, measure: str = "meanItemRT") -> ReadingTimes:
    """Read the reading times of Natural Stories (Futrell et al. 2021).

    Args:
        folder: with ``all_stories.tok`` (word, zone, item) and ``processed_wordinfo.tsv``; or, for
            single readers, ``processed_RTs.tsv``.
        measure: column of times: ``"meanItemRT"`` or ``"gmeanItemRT"``, the arithmetic or geometric
            mean over readers of a word, in ms; or ``"RT"``, times of single readers.

    Raises:
        LensLocError: a missing file or column; words of the two files that differ, naming the word.
    """
    folder = path_of(folder)
    words = _tab_separated(folder / _WORDS)
    by_reader = measure == "RT"
    file = folder / (_READERS if by_reader else _MEANS)
    times = _tab_separated(file)
    require_columns(words, ["word", "zone", "item"], str(folder / _WORDS))
    columns = ["word", "zone", "item", measure, *(["WorkerId"] if by_reader else [])]
    require_columns(times, columns, str(file))
    text = words.assign(story=words["item"], position=words["zone"])
    merged = text[["story", "position", "word"]].merge(
        times[columns].rename(columns={"word": "timed", "zone": "position", "item": "story"}),
        on=["story", "position"],
        how="outer",
        indicator=True,
    )
    _require_same_words(merged, file)
    merged["time"] = merged[measure].fillna("")
    if by_reader:
        merged["subject"] = merged["WorkerId"].fillna("nobody")
    kept = ["story", "position", "word", "time", *(["subject"] if by_reader else [])]
    found = merged[kept]
    order = found["story"].astype(int) * 100_000 + found["position"].astype(int)
    found = found.loc[order.sort_values(kind="stable").index]
    made = ReadingTimes.from_dataframe(found)
    return ReadingTimes(made.words, made.times, made.texts, f"Natural Stories ({measure})")


def natural_stories_gpt3(folder: str | Path, words: ReadingTimes) -> WordSurprisals:
    """Read GPT-3's token probabilities of Natural Stories, as surprisals of the words.

    They are an independent check of how words and tokens are lined up. The file has no
    probabilities of white space, so there is no correction.

    Args:
        folder: with ``all_stories_gpt3.csv``.
        words: the words, from :func:`natural_stories`.

    Raises:
        LensLocError: a story whose text has another number of words.
    """
    file = path_of(folder) / _GPT3
    table, name = read_table(file, "token probabilities")
    require_columns(table, ["token", "logprob", "offset", "story"], name)
    values = numbers_of(table, ["logprob"], name, missing=True)[:, 0]
    starts = numbers_of(table, ["offset", "story"], name)
    table = table.assign(value=values, start=starts[:, 0], number=starts[:, 1])
    rows: list[dict[str, Any]] = []
    differing: list[str] = []
    for story, own in words.stories():
        tokens = table[table["number"] == int(story) - 1]
        text = "".join(tokens["token"])
        theirs = text.split()
        if len(theirs) != len(own):
            raise LensLocError(
                f"{name}: story {story} has {len(theirs)} words there, but {len(own)} in the "
                "reading times; take both files from one release."
            )
        differing += [
            f"{a!r} for {b!r} in story {story}"
            for a, b in zip(theirs, own["word"], strict=True)
            if a != b
        ]
        _, spans = joined(theirs, " ")
        places = [
            (int(start), int(start) + len(token))
            for start, token in zip(tokens["start"], tokens["token"], strict=True)
        ]
        owned = tokens_of(text, spans, places, lambda n, s=story: f"Story {s}, word {n + 1}")  # type: ignore[misc]
        found = tokens["value"].to_numpy()
        for (_, word), part in zip(own.iterrows(), owned, strict=True):
            total = -float(found[part.start : part.stop].sum())
            rows.append(
                {
                    **{"story": story, "position": word["position"], "word": word["word"]},
                    **{"n_tokens": len(part), "surprisal": total, "corrected": np.nan},
                }
            )
    warnings = (
        (f"The text that GPT-3 read has other words: {', '.join(differing)}.",) if differing else ()
    )
    return WordSurprisals(
        pd.DataFrame(rows), "none", warnings, Provenance(model="GPT-3 (davinci, 2020)")
    )


def _tab_separated(path: Path) -> pd.DataFrame:
    """Read a file in which quotation marks are words' own."""
    if not is_file(path):
        raise LensLocError(
            f"There is no file {path}; fetch Natural Stories, or name the folder that holds it."
        )
    try:
        _require_whole_lines(path)
        return pd.read_csv(
            path,
            sep="\t",
            quoting=csv.QUOTE_NONE,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except LensLocError:
        raise
    except (OSError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(f"{path} cannot be read as a table ({line}).") from error


def _require_whole_lines(path: Path) -> None:
    """Check that no line lacks cells, as that does at which a file was cut off.

    Raises:
        LensLocError: naming the line.
    """
    with path.open(encoding="utf-8-sig") as lines:
        wanted = next(lines, "").count("\t")
        for number, line in enumerate(lines, start=2):
            if line.strip() and line.count("\t") < wanted:
                raise LensLocError(
                    f"{path}, row {number}: has {line.count(chr(9)) + 1} cells, and the header "
                    f"{wanted + 1}; complete it, since the file may have been cut off."
                )


def _require_same_words(merged: pd.DataFrame, file: Path) -> None:
    strange = merged[merged["_merge"] == "right_only"]
    if len(strange):
        row = strange.iloc[0]
        raise LensLocError(
            f"{file} has a time of word {row['position']} of story {row['story']}, which "
            f"{_WORDS} does not have; take both files from one release."
        )
    differs = merged[(merged["_merge"] == "both") & (merged["word"] != merged["timed"])]
    if len(differs):
        row = differs.iloc[0]
        raise LensLocError(
            f"{file}: word {row['position']} of story {row['story']} is {row['timed']!r}, but "
            f"{row['word']!r} in {_WORDS}; take both files from one release."
        )


# -- brain responses -------------------------------------------------------------------------------


def tuckute2024(
    path: str | Path,
    *,
    conditions: Sequence[str] | None = None,
    region: str | None = None,
    response: str = "response_target",
) -> Dataset:
    """Read responses of the language network to single sentences (Tuckute et al. 2024).

    Rows of several participants are averaged by sentence.

    Args:
        path: a table with columns ``sentence``, ``cond`` (B, D, S: baseline, drive, suppress), the
            response, and ``roi`` where there are several regions.
        conditions: which of them; all if None.
        region: which region, where the table has a column ``roi``; ``"lang_LH_netw"``, the whole
            network in the left hemisphere, if None.
        response: name of the column of responses.

    Raises:
        LensLocError: a missing column; a condition or region that no row has; a region where the
            table has no column ``roi``.
    """
    table, name = read_table(path, "responses")
    require_columns(table, ["sentence", "cond", response], name)
    values = numbers_of(table, [response], name)[:, 0]
    table = table.assign(value=values)
    where = response
    if "roi" in table.columns:
        where = "lang_LH_netw" if region is None else region
        table = _chosen(table, "roi", [where], name)
    else:
        reason = f"{name} has no column 'roi', so it is of one region; leave it out"
        refuse_idle(reason, region=region is not None)
    if conditions is not None:
        table = _chosen(table, "cond", list(conditions), name)
    grouped = table.groupby("sentence", sort=False)["value"].mean()
    stimuli = Stimuli.of(pd.DataFrame({"text": list(grouped.index)}))
    found = BrainResponses(
        grouped.to_numpy(dtype=np.float64)[:, None],
        (where,),
        (where if "roi" in table.columns else "all",),
        name=name,
    )
    return Dataset(stimuli, found)


def _chosen(table: pd.DataFrame, column: str, wanted: Sequence[str], name: str) -> pd.DataFrame:
    there = list(dict.fromkeys(table[column].astype(str)))
    for value in wanted:
        if value not in there:
            raise LensLocError(
                f"{name} has no row whose {column} is {value!r}; there are {', '.join(there)}."
            )
    kept: pd.DataFrame = table[table[column].astype(str).isin(wanted)].reset_index(drop=True)
    return kept


def pereira2018(path: str | Path) -> Dataset:
    """Read sentences in passages and one participant's voxels (Pereira et al. 2018).

    Topics (of three or four passages each) are kept whole when data are split.

    Args:
        path: ``examples_243sentences.mat`` or ``examples_384sentences.mat``, with ``examples``
            [sentence, voxel], ``keySentences``, ``labelsPassageForEachSentence`` and, for topics,
            ``labelsPassageCategory``.

    Raises:
        LensLocError: not a MATLAB file, or one without these arrays.
    """
    import scipy.io  # only this function needs it

    path = path_of(path)
    if not is_file(path):
        raise LensLocError(f"There is no file {path}; check the path.")
    try:
        raw = scipy.io.loadmat(str(path))
    except Exception as error:  # damaged files make it raise of every kind
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(f"{path} is not a MATLAB file that can be read ({line}).") from error
    wanted = ("examples", "keySentences", "labelsPassageForEachSentence")
    for field in wanted:
        if field not in raw:
            present = ", ".join(key for key in raw if not key.startswith("__"))
            raise LensLocError(f"{path} lacks {field!r}; it has {present}.")
    try:
        sentences = [_string(cell) for cell in raw["keySentences"].ravel()]
        passages = [int(label) for label in raw["labelsPassageForEachSentence"].ravel()]
        values = np.asarray(raw["examples"], dtype=np.float64)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise LensLocError(
            f"{path} holds something else than sentences, numbers of passages and voxels ({error})."
        ) from error
    if not len(sentences) == len(passages) == len(values):
        raise LensLocError(
            f"{path} has {len(sentences)} sentences, {len(passages)} labels of passages and "
            f"{len(values)} rows of voxels, which do not belong together."
        )
    table = pd.DataFrame({"text": sentences, "passage": [f"passage {n}" for n in passages]})
    if "labelsPassageCategory" in raw:
        topics = raw["labelsPassageCategory"].ravel()
        table["group"] = [f"topic {int(topics[number - 1])}" for number in passages]
    names = tuple(f"voxel {number + 1}" for number in range(values.shape[1]))
    keep = np.isfinite(values).all(axis=0) & (np.ptp(values, axis=0) > 0)
    kept = np.flatnonzero(keep)
    if len(kept) == 0:
        raise LensLocError(f"{path} has no voxel with values that vary.")
    return Dataset(
        Stimuli.of(table),
        BrainResponses(
            values[:, kept],
            tuple(names[at] for at in kept),
            ("all",) * len(kept),
            name=str(path),
        ),
    )


def _string(cell: Any) -> str:
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0] if cell.size else ""
    return str(cell).strip()


def brainscore_assembly(
    path: str | Path,
    *,
    text: str = "stimulus",
    passage: str | None = None,
    group: str | None = None,
    region: str | None = None,
    select: "dict[str, str] | None" = None,
) -> Dataset:
    """Read an assembly of brain-score: ``presentation`` x ``neuroid``, in a netCDF file.

    Args:
        path: the ``.nc`` file.
        text: coordinate that holds the texts.
        passage: coordinate that says which passage a text is from; if None, ``passage_label`` where
            there is one, and each text is its own where there is none.
        group: coordinate that says what is kept whole when data are split (``"story"``); passages
            are if None.
        region: coordinate of the neuroids' regions; if None, ``roi`` where there is one.
        select: coordinates and the value that they must have, e.g. ``{"experiment":
            "384sentences"}``.

    Raises:
        LensLocError: no such coordinate; values that are missing in what was selected.
    """
    library = needed("xarray", "Reading an assembly", "xarray h5netcdf h5py")
    path = path_of(path)
    if not is_file(path):
        raise LensLocError(f"There is no file {path}; check the path.")
    try:
        with library.open_dataset(path) as opened:
            whole = opened.load()
    except Exception as error:  # the engines raise of every kind
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LensLocError(
            f"{path} cannot be read as netCDF ({line}); it may need: pip install h5netcdf h5py."
        ) from error
    arrays = [v for v in whole.data_vars.values() if {"presentation", "neuroid"} <= set(v.dims)]
    if len(arrays) != 1 or set(arrays[0].dims) != {"presentation", "neuroid"}:
        raise LensLocError(
            f"{path} must hold one array of presentation x neuroid; it has "
            + (", ".join(f"{n} {tuple(v.dims)}" for n, v in whole.data_vars.items()) or "none")
            + "."
        )
    found = arrays[0].transpose("presentation", "neuroid")
    for name, value in (select or {}).items():
        labels = _coordinate(found, name, path).astype(str)
        (dim,) = found[name].dims
        if value not in labels:
            raise LensLocError(f"{path} has nothing whose {name} is {value!r}.")
        found = found.isel({dim: np.flatnonzero(labels == value)})
    texts = [str(value) for value in _coordinate(found, text, path)]
    table = pd.DataFrame({"text": texts})
    passage = _usual(found, passage, "passage_label")
    if passage is not None:
        table["passage"] = [str(value) for value in _coordinate(found, passage, path)]
    if group is not None:
        table["group"] = [str(value) for value in _coordinate(found, group, path)]
    values = np.asarray(found.values, dtype=np.float64)
    complete = np.isfinite(values).all(axis=0)
    if not complete.any():
        raise LensLocError(
            f"{path}: every neuroid lacks a value for some stimulus; select one experiment, e.g. "
            "select={'experiment': '384sentences'}."
        )
    kept = np.flatnonzero(complete)
    ids = (
        [str(value) for value in _coordinate(found, "neuroid_id", path)]
        if "neuroid_id" in found.coords
        else [f"neuroid {number + 1}" for number in range(values.shape[1])]
    )
    region = _usual(found, region, "roi")
    regions = (
        ["all"] * values.shape[1]
        if region is None
        else [str(value) for value in _coordinate(found, region, path)]
    )
    return Dataset(
        Stimuli.of(table),
        BrainResponses(
            values[:, kept],
            tuple(ids[at] for at in kept),
            tuple(regions[at] for at in kept),
            name=str(path),
        ),
    )


def _usual(found: Any, name: str | None, usual: str) -> str | None:
    """Return the coordinate that was named; otherwise the usual one, where there is one."""
    if name is not None:
        return name
    return usual if usual in found.coords else None


def _coordinate(found: Any, name: str, path: Path) -> Any:
    if name not in found.coords:
        present = ", ".join(map(str, found.coords))
        raise LensLocError(f"{path} has no coordinate {name!r}; it has {present}.")
    values = found[name].values
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    return np.asarray(values, dtype=object).astype(str)

"""Every kind of file that lensloc reads: a good one, how it is read, and who else can read it."""

import functools
import gzip
import json
import logging
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fuzzing import Kind, NotRead, Read
from model_kinds import of_archives, of_models
from mutations import BINARY, JSON, JSON_LINES, SAFETENSORS, TEXT
from plain_readers import NONWORDS, SENTENCES, cells, decoded, plain, written_csv, written_lines
from plotted import selectivity
from study_kinds import of_lape, of_people
from tiny_models import CONFIGS, make_checkpoint

import lensloc as ll
from lensloc.studies.store import Store

ROLES: dict[str, Any] = {"target": "hot", "control": "cold"}
KEY = {"weights": "a", "site": "resid_post"}


def kinds(world: Path) -> list[Kind]:
    """Return all kinds; ``world`` holds the models that some of them are made of."""
    checkpoint = make_checkpoint(world / "checkpoint", CONFIGS["llama"]())
    return [
        *_of_units(), *_of_contrasts(), *_of_tasks(), *of_lape(), *of_people(), *_of_pictures(),
        *of_archives(checkpoint), *of_models(checkpoint),
    ]  # fmt: skip


# -- units and stores ------------------------------------------------------------------------------


def _of_units() -> Iterator[Kind]:
    mask = selectivity(seed=1).top(k=5)

    def read_mask(path: Path) -> Read:
        found = ll.UnitMask.load(path)
        beside = [found.score, found.magnitude]
        return Read((found.site, plain(found.mask), repr(found.provenance), plain(beside)))

    yield Kind("mask .safetensors", lambda f: mask.save(f / "m.safetensors"), read_mask,
               SAFETENSORS)  # fmt: skip

    def same_array(path: Path, result: Hashable) -> bool:
        assert isinstance(result, tuple)
        return bool(plain(np.load(path, allow_pickle=False).astype(bool)) == result[1])

    yield Kind("mask .npy", lambda f: mask.save(f / "m.npy"), read_mask, BINARY, same_array)

    def kept_map(folder: Path) -> Path:
        store = Store.at(folder)
        store.save(KEY, selectivity(), 7)
        return store.path(KEY)

    def kept_record(folder: Path) -> Path:
        store = Store.at(folder)
        store.save_record(KEY, {"score": 0.1, "items": [1, 2.5, None, "ça 🙂"]})
        return store.path(KEY, ".json")

    def read_map(path: Path) -> Read:
        found = _told(path.parent, lambda store: store.load(KEY, shape=(3, 8)))
        return Read((found[1], repr(found[0].provenance), plain([found[0].t, found[0].q])))

    def read_record(path: Path) -> Read:
        return Read(repr(_told(path.parent, lambda store: store.load_record(KEY))))

    yield Kind("store map", kept_map, read_map, SAFETENSORS)
    yield Kind("store record", kept_record, read_record, JSON)


def _told(folder: Path, load: Callable[[Store], Any]) -> Any:
    """Read an entry, or what the store says in the log of one that it cannot use."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("lensloc.studies.store")
    disabled, propagates = logging.root.manager.disable, log.propagate
    logging.disable(logging.NOTSET)
    log.propagate = False
    log.addHandler(handler)
    try:
        found = load(Store(folder))
    finally:
        log.removeHandler(handler)
        log.propagate = propagates
        logging.disable(disabled)
        for aside in folder.glob("*.damaged*"):
            aside.unlink()
    if found is None:
        assert len(told) == 1, f"told {told}"
        assert "\n" not in told[0], told
        raise NotRead(told[0])
    return found


# -- contrasts -------------------------------------------------------------------------------------


def _rows() -> list[dict[str, str]]:
    return [
        {"text": text, "condition": condition, "item": str(number)}
        for number, pair in enumerate(zip(SENTENCES, NONWORDS, strict=True))
        for condition, text in zip(("hot", "cold"), pair, strict=True)
    ]


def read_contrast(path: Path) -> Read:
    return _of_contrast(ll.Contrast.from_file(path, **ROLES))


def _of_contrast(found: ll.Contrast) -> Read:
    texts = dict(sorted(found.conditions.items()))
    return Read(plain(texts), (found.content_hash, tuple(texts)))


def _by_condition(result: Hashable) -> dict[str, list[str]]:
    assert isinstance(result, tuple)
    return {name: list(texts) for name, texts in result}


def _conditions(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(str(row["condition"]).strip(), []).append(str(row["text"]))
    return found


def same_csv(path: Path, result: Hashable, sep: str = ",") -> bool:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return _conditions(cells(decoded(content), sep)) == _by_condition(result)


def same_lines(path: Path, result: Hashable) -> bool:
    # What JSON calls a line ends with a line feed, or with a carriage return and one.
    text = decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    rows = [{str(name).strip().casefold(): cell for name, cell in row.items()} for row in rows]
    return _conditions(rows) == _by_condition(result)


def _of_contrasts() -> Iterator[Kind]:
    rows = _rows()
    yield Kind("contrast .csv", lambda f: written_csv(f / "c.csv", rows), read_contrast, TEXT,
               same_csv)  # fmt: skip
    yield Kind("contrast .tsv", lambda f: written_csv(f / "c.tsv", rows, "\t"), read_contrast,
               TEXT, functools.partial(same_csv, sep="\t"))  # fmt: skip
    yield Kind("contrast .jsonl", lambda f: written_lines(f / "c.jsonl", rows), read_contrast,
               JSON_LINES, same_lines)  # fmt: skip

    def packed(folder: Path) -> Path:
        path = folder / "c.csv.gz"
        content = written_csv(folder / "plain.csv", rows).read_bytes()
        path.write_bytes(gzip.compress(content, mtime=0))
        return path

    yield Kind("contrast .csv.gz", packed, read_contrast, BINARY, same_csv)

    def parquet(folder: Path) -> Path:
        pd.DataFrame(rows).to_parquet(folder / "c.parquet")
        return folder / "c.parquet"

    yield Kind("contrast .parquet", parquet, read_contrast, BINARY)

    def published(folder: Path) -> Path:
        words = [f"stim{n}" for n in range(2, 14)]
        trials = [
            {"stim1": number, **dict.fromkeys(words, f"w{number}"), "stim14": "SN"[number % 2]}
            for number in range(6)
        ]
        return written_csv(folder / "langloc_fmri_run1_stim_set1.csv", trials)

    def read_published(path: Path) -> Read:
        return _of_contrast(ll.contrasts.language(path.parent))

    yield Kind("published stimuli .csv", published, read_published, TEXT)

    def beliefs(folder: Path) -> Path:
        for number in range(1, 11):
            for code in "bp":
                story = f"Anna puts the ball number {number} there.\nShe goes away."
                (folder / f"{number}{code}_story.txt").write_text(story)
                (folder / f"{number}{code}_question.txt").write_text("Is it there?\n\nTrue False\n")
        return folder / "3b_story.txt"

    def read_beliefs(path: Path) -> Read:
        return _of_contrast(ll.contrasts.theory_of_mind(path.parent))

    yield Kind("published stories .txt", beliefs, read_beliefs, TEXT)

    pairs = [
        {"clean": f"the {a}", "corrupted": f"the {b}", "right": "is", "wrong": "are", "group": "n"}
        for a, b in (("plant", "plants"), ("bridge", "bridges"), ("sun", "suns"))
    ]

    def read_pairs(path: Path) -> Read:
        found = ll.Pairs.from_file(path)
        every = [[p.clean, p.corrupted, p.right, p.wrong, p.group] for p in found.pairs]
        return Read(plain(every), (found.content_hash, tuple(found.groups.items())))

    yield Kind("pairs .csv", lambda f: written_csv(f / "p.csv", pairs), read_pairs, TEXT)


# -- tasks -----------------------------------------------------------------------------------------


def _settings(task: Any) -> str:
    return json.dumps(dict(task.settings), sort_keys=True, default=str)


def _of_tasks() -> Iterator[Kind]:
    pairs = [
        {"sentence_good": good, "sentence_bad": bad, "UID": "p", "field": "x"}
        for good, bad in zip(SENTENCES, NONWORDS, strict=True)
    ]

    def read_pairs(path: Path) -> Read:
        task = ll.tasks.minimal_pairs(path)
        every = [[p.good, p.bad, p.paradigm, p.phenomenon, p.field] for p in task.pairs]
        return Read(plain(every), _settings(task))

    yield Kind("task of pairs .jsonl", lambda f: written_lines(f / "p.jsonl", pairs), read_pairs,
               JSON_LINES)  # fmt: skip
    yield Kind("task of pairs .csv", lambda f: written_csv(f / "p.csv", pairs), read_pairs, TEXT)

    questions = [
        {"prompt": text, "choices": ["there", "not at all"], "answer": number % 2, "kind": "k"}
        for number, text in enumerate(SENTENCES)
    ]

    def read_questions(path: Path) -> Read:
        task = ll.tasks.multiple_choice(path)
        return Read(repr(task.questions), _settings(task))

    yield Kind("task of questions .jsonl", lambda f: written_lines(f / "q.jsonl", questions),
               read_questions, JSON_LINES)  # fmt: skip

    def text_file(folder: Path) -> Path:
        (folder / "t.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
        return folder / "t.txt"

    def read_text(path: Path) -> Read:
        task = ll.tasks.perplexity(path)
        return Read(task.texts, _settings(task))

    def same_text(path: Path, result: Hashable) -> bool:
        assert isinstance(result, tuple)
        lines = decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
        found = "".join(result).replace("\r\n", "\n").replace("\r", "\n")
        return found.strip() == lines.strip()

    yield Kind("task of running text .txt", text_file, read_text, TEXT, same_text)

    def read_prompts(path: Path) -> Read:
        task = ll.tasks.generation(path)
        return Read(task.prompts, _settings(task))

    yield Kind("prompts .txt", text_file, read_prompts, TEXT)


# -- pictures --------------------------------------------------------------------------------------


def _of_pictures() -> Iterator[Kind]:
    from PIL import Image

    def drawn(shade: int) -> Any:
        array = (np.arange(12 * 10 * 3).reshape(12, 10, 3) * shade % 256).astype(np.uint8)
        return Image.fromarray(array)

    for suffix in (".png", ".jpg", ".bmp", ".gif", ".tiff", ".webp"):

        def write(folder: Path, suffix: str = suffix) -> Path:
            for condition, shade in (("hot", 3), ("cold", 7)):
                (folder / condition).mkdir(exist_ok=True)
                drawn(shade).save(folder / condition / f"a{suffix}")
                drawn(shade + 1).save(folder / condition / "b.png")
            return folder / "hot" / f"a{suffix}"

        def read(path: Path) -> Read:
            found = ll.Contrast.from_images(path.parent.parent, **ROLES)
            shown = [found.conditions["hot"][0].load()]  # type: ignore[attr-defined]
            return Read(plain([np.asarray(each) for each in shown]), found.content_hash)

        weight = 1.0 if suffix in (".png", ".jpg") else 0.4
        yield Kind(f"picture {suffix}", write, read, BINARY, weight=weight)

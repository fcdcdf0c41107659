"""Files of language neurons and of people: see file_kinds."""

import json
import shutil
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from counts import random_counts
from fuzzing import Kind, Read
from mutations import BINARY, JSON_LINES, SAFETENSORS, TEXT
from plain_readers import SENTENCES, cells, decoded, plain, written_csv, written_lines
from safetensors.numpy import load_file as plain_safetensors
from safetensors.torch import save_file
from stories import natural_stories

import lensloc as ll
from lensloc import lape
from lensloc.lape.checkpoints import load_checkpoint, save_checkpoint
from lensloc.lape.corpora import open_corpus
from lensloc.lape.tally import Blocks, Tally


def of_lape() -> Iterator[Kind]:  # noqa: C901  # a list of kinds
    counts = random_counts(1)

    def read_counts(path: Path) -> Read:
        return _counts(lape.ActivationCounts.load(path))

    def _counts(found: Any) -> Read:
        return Read((plain([found.counts, found.tokens]), found.languages, found.site,
                     found.threshold, repr(found.sources)))  # fmt: skip

    yield Kind("LAPE counts", lambda f: counts.save(f / "c.safetensors"), read_counts, SAFETENSORS)

    identified = lape.identify(counts)

    def read_identified(path: Path) -> Read:
        found = lape.Identified.load(path)
        masks = {name: mask.mask for name, mask in found.masks.items()}
        return Read((plain(masks), plain(found.table), plain(found.entropy)))

    yield Kind("LAPE neurons", lambda f: identified.save(f / "n.safetensors"), read_identified,
               SAFETENSORS)  # fmt: skip

    settings = {"model": "m", "window": 8, "n_blocks": 4, "list of languages": ["en"]}

    def checkpoint(folder: Path) -> Path:
        blocks = Blocks((torch.ones(2, 5, dtype=torch.int32),), (8,), 1, 4)
        tally = Tally(torch.ones(2, 5, dtype=torch.int64), 8, 1, "abc", False, blocks)
        save_checkpoint(folder / "c.part", settings, [tally])
        return folder / "c.part"

    def read_checkpoint(path: Path) -> Read:
        (found,) = load_checkpoint(path, settings, 4)
        return Read((found.tokens, found.n_windows, found.digest, found.done, plain(found.counts),
                     repr(found.blocks)))  # fmt: skip

    yield Kind("LAPE checkpoint", checkpoint, read_checkpoint, SAFETENSORS)

    def read_neurons(path: Path) -> Read:
        found = lape.read_neurons(path, 50)
        return Read(plain({name: mask.mask for name, mask in found.items()}))

    def same_neurons(path: Path, result: Hashable) -> bool:
        lists = torch.load(path, weights_only=True)
        masks = {}
        for number, layers in enumerate(lists):
            mask = torch.zeros(len(layers), 50, dtype=torch.bool)
            for layer, neurons in enumerate(layers):
                mask[layer, torch.as_tensor(neurons, dtype=torch.int64)] = True
            masks[str(number)] = mask
        return bool(plain(masks) == result)

    for legacy in (False, True):

        def neurons(folder: Path, legacy: bool = legacy) -> Path:
            path = lape.write_neurons(folder / "n.neuron.pth", dict(identified.masks))
            lists = torch.load(path, weights_only=True)
            torch.save(lists, path, _use_new_zipfile_serialization=not legacy)
            return path

        name = "published neurons .pth" + (", legacy" if legacy else "")
        yield Kind(name, neurons, read_neurons, BINARY, same_neurons)

    def published_counts(folder: Path) -> Path:
        torch.save({"n": 40, "over_zero": torch.arange(10).reshape(2, 5)}, folder / "c.pth")
        return folder / "c.pth"

    def read_published(path: Path) -> Read:
        return _counts(lape.ActivationCounts.from_published({"de": path}))

    def same_published(path: Path, result: Hashable) -> bool:
        found = torch.load(path, weights_only=True)
        wanted = [found["over_zero"].long()[..., None], torch.tensor([found["n"]])]
        assert isinstance(result, tuple)
        return bool(plain(wanted) == result[0])

    yield Kind("published counts .pth", published_counts, read_published, BINARY, same_published)

    tokens = torch.arange(60) % 40

    def read_tokens(path: Path) -> Read:
        corpus = open_corpus("en", path)
        found = [np.asarray(document.content) for document in corpus.documents]
        joined = np.concatenate(found) if found else np.zeros(0, np.int64)
        return Read((corpus.ready, plain(joined.astype(np.int64))))

    def same_tokens(path: Path, result: Hashable) -> bool:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        elif path.suffix == ".pt":
            array = torch.load(path, weights_only=True).numpy()
        else:
            known = plain_safetensors(path)
            array = known.get("tokens", next(iter(known.values())))
        assert isinstance(result, tuple)
        return bool(plain(array.reshape(-1).astype(np.int64)) == result[1])

    def npy(folder: Path) -> Path:
        np.save(folder / "t.npy", tokens.numpy())
        return folder / "t.npy"

    def tensors(folder: Path) -> Path:
        save_file({"tokens": tokens}, folder / "t.safetensors")
        return folder / "t.safetensors"

    def torchs(folder: Path) -> Path:
        torch.save(tokens, folder / "t.pt")
        return folder / "t.pt"

    yield Kind("tokens .npy", npy, read_tokens, BINARY, same_tokens)
    yield Kind("tokens .safetensors", tensors, read_tokens, SAFETENSORS, same_tokens)
    yield Kind("tokens .pt", torchs, read_tokens, BINARY, same_tokens)

    def corpus(folder: Path) -> Path:
        return written_lines(folder / "c.jsonl", [{"text": text} for text in SENTENCES])

    def read_corpus(path: Path) -> Read:
        return Read(tuple(str(d.content) for d in open_corpus("en", path).documents))

    def same_corpus(path: Path, result: Hashable) -> bool:
        text = decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        named = [{str(k).strip().casefold(): cell for k, cell in row.items()} for row in rows]
        return tuple(str(row["text"]) for row in named if str(row["text"]).strip()) == result

    yield Kind("corpus .jsonl", corpus, read_corpus, JSON_LINES, same_corpus)


def of_people() -> Iterator[Kind]:  # noqa: C901  # likewise
    stimuli = [{"text": text, "passage": f"p{n // 2}"} for n, text in enumerate(SENTENCES)]

    def read_stimuli(path: Path) -> Read:
        found = ll.alignment.Stimuli.of(path)
        return Read((found.texts, found.passages, plain(found.positions), found.groups))

    def same_stimuli(path: Path, result: Hashable) -> bool:
        rows = cells(decoded(path.read_bytes()), ",")
        assert isinstance(result, tuple)
        return tuple(row["text"] for row in rows) == result[0] and (
            "passage" not in rows[0] or tuple(row["passage"] for row in rows) == result[1]
        )

    yield Kind("stimuli of brains .csv", lambda f: written_csv(f / "s.csv", stimuli),
               read_stimuli, TEXT, same_stimuli)  # fmt: skip

    values = [{"v1": 0.5 * n, "v2": 1.25 - n} for n in range(5)]

    def read_responses(path: Path) -> Read:
        found = ll.alignment.BrainResponses.of(path)
        return Read((tuple(found.names), plain(np.asarray(found.values))))

    def same_responses(path: Path, result: Hashable) -> bool:
        rows = cells(decoded(path.read_bytes()), ",")
        assert isinstance(result, tuple)
        names = result[0]
        array = np.array([[float(row[n.casefold()]) for n in names] for row in rows])
        return bool(plain(array) == result[1])

    yield Kind("responses .csv", lambda f: written_csv(f / "v.csv", values), read_responses, TEXT,
               same_responses)  # fmt: skip

    def parquet(folder: Path) -> Path:
        pd.DataFrame(values).to_parquet(folder / "v.parquet")
        return folder / "v.parquet"

    def same_parquet(path: Path, result: Hashable) -> bool:
        found = pd.read_parquet(path)
        assert isinstance(result, tuple)
        return bool(plain(found[list(result[0])].to_numpy(dtype=np.float64)) == result[1])

    yield Kind("responses .parquet", parquet, read_responses, BINARY, same_parquet)

    times = [
        {"story": 1, "position": n + 1, "word": word, "time": 300 + n}
        for n, word in enumerate(SENTENCES[0].split())
    ]

    def read_times(path: Path) -> Read:
        found = ll.alignment.ReadingTimes.of(path)
        return Read((plain(found.words), plain(found.times)))

    def same_times(path: Path, result: Hashable) -> bool:
        rows = cells(decoded(path.read_bytes()), ",")
        order = sorted(rows, key=lambda row: float(row["position"]))
        found = dict(ll.alignment.ReadingTimes.of(path).words)
        words, timed = list(found["word"]), ll.alignment.ReadingTimes.of(path).times["time"]
        numbers = [float(row["time"]) for row in rows if row["time"].strip()]
        several = len({row["story"] for row in rows}) > 1
        return (several or words == [row["word"].strip() for row in order]) and sorted(
            timed
        ) == sorted(numbers)

    yield Kind("reading times .csv", lambda f: written_csv(f / "t.csv", times), read_times, TEXT,
               same_times)  # fmt: skip

    def stories(folder: Path) -> Path:
        shutil.rmtree(folder / "ns", ignore_errors=True)
        return natural_stories(folder / "ns") / "processed_wordinfo.tsv"

    def read_stories(path: Path) -> Read:
        found = ll.alignment.natural_stories(path.parent)
        return Read((plain(found.words), plain(found.times)))

    def same_stories(path: Path, result: Hashable) -> bool:
        lines = decoded(path.read_bytes()).splitlines()
        rows = [line.split("\t") for line in lines]
        at = [title.strip() for title in rows[0]].index("meanItemRT")
        known = sorted(float(row[at]) for row in rows[1:] if len(row) > at and row[at].strip())
        found = ll.alignment.natural_stories(path.parent).times["time"]
        return sorted(found) == known

    yield Kind("Natural Stories .tsv", stories, read_stories, TEXT, same_stories)

    def matlab(folder: Path) -> Path:
        import scipy.io

        cells = {
            "keySentences": np.array(SENTENCES, dtype=object)[:, None],
            "labelsPassageForEachSentence": np.array([[1], [1], [2], [2]]),
        }
        scipy.io.savemat(folder / "examples.mat", {**cells, "examples": np.eye(4, 3)})
        return folder / "examples.mat"

    def read_matlab(path: Path) -> Read:
        found = ll.alignment.pereira2018(path)
        return Read((found.stimuli.texts, found.stimuli.passages,
                     plain(np.asarray(found.responses.values))))  # fmt: skip

    def same_matlab(path: Path, result: Hashable) -> bool:
        import scipy.io

        raw = scipy.io.loadmat(str(path))
        texts = tuple(str(np.asarray(c).reshape(-1)[0]) for c in raw["keySentences"].reshape(-1))
        assert isinstance(result, tuple)
        return texts == result[0] and bool(plain(raw["examples"].astype(np.float64)) == result[2])

    yield Kind("voxels .mat", matlab, read_matlab, BINARY, same_matlab)

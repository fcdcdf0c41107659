"""Arguments that say how files are read and written, for the table of all arguments.

A file that is read otherwise than it was written must be refused, or be another result.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from argument_parts import Change, Entry, refused, under
from argument_world import NONWORDS, SENTENCES, World

from lensloc.contrasts.columns import TableForm

Changes = Mapping[str, Any]


def written(w: World, name: str, content: str, encoding: str = "utf-8") -> Path:
    path = w.folder / name
    path.write_bytes(content.encode(encoding))
    return path


def reading(w: World) -> dict[str, Entry]:
    """Entries of readers, and tasks of files that are not in the usual form."""
    roles = {"target": "hot", "control": "cold"}
    plain = "text,condition,words,kind,item\n" + "".join(
        f"{text},{condition},{text[::-1]},{kind},{number}\n"
        for number, pair in enumerate(zip(SENTENCES[:4], NONWORDS[:4], strict=True))
        for condition, kind, text in zip(("hot", "cold"), ("cold", "hot"), pair, strict=True)
    )
    paths = {
        "plain": written(w, "form.csv", plain),
        "turned": written(w, "form-turned.csv", plain.replace("hot", "x").replace("cold", "hot")
                          .replace("x,", "cold,")),
        "piped": written(w, "form-piped.csv", plain.replace(",", "|")),
        "latin": written(w, "form-latin.csv", plain.replace("old", "öld"), "cp1252"),
    }  # fmt: skip
    lines = "\n".join(
        json.dumps({"text": text, "condition": condition}, ensure_ascii=False)
        for condition, texts in (("hot", ["wärmer Tee", "heiß"]), ("cold", ["kühl", "Eis dort"]))
        for text in texts
    )
    latin = written(w, "form-latin.jsonl", lines, "cp1252")
    return {
        "Contrast.from_file": Entry(
            {"path": paths["plain"], **roles},
            {
                "path": paths["turned"],
                "target": "cold",
                "control": refused("mild", "mild"),
                "text": "words",
                "condition": under("kind", target="cold", control="hot"),
                "item": "item",
                "name": "heat",
                "sep": under("|", path=paths["piped"], sep=";"),
                "encoding": under("cp1252", path=paths["latin"], encoding=None),
            },
        ),
        "Contrast.from_jsonl": Entry({}, {"encoding": under("cp1252", path=latin, encoding=None)}),
        "Contrast.from_csv": Entry(
            {},
            {
                "sep": under("|", path=paths["piped"], sep=";"),
                "encoding": under("cp1252", path=paths["latin"], encoding=None),
            },
        ),
    }


def of_tasks(w: World) -> dict[str, Changes]:
    """Further arguments of tasks."""
    sentences = "text|sentence\n" + "".join(f"{text}|{text[::-1]}\n" for text in SENTENCES[:3])
    piped = written(w, "sentences.csv", sentences)
    commas = written(w, "sentences-commas.csv", sentences.replace("|", ","))
    latin = written(w, "sentences-latin.csv", "text\nwärmer Tee am Abend\n", "cp1252")
    prompts = written(w, "prompts.csv", "prompt,other\nthe old,nobody\nbefore the,every\n")
    prompts_piped = written(w, "prompts-piped.csv", "prompt|other\nthe old|nobody\n")
    prompts_latin = written(w, "prompts-latin.csv", "prompt\nwärmer Tee\n", "cp1252")
    pairs = "sentence_good|sentence_bad|UID|right|wrong|kind\n" + "".join(
        f"{text}|{text[::-1]}|p|{text[::-1]}|{other}|q{number}\n"
        for number, (text, other) in enumerate(zip(SENTENCES[:3], NONWORDS[:3], strict=True))
    )
    pairs_piped = written(w, "pairs.csv", pairs)
    pairs_commas = written(w, "pairs-commas.csv", pairs.replace("|", ","))
    pairs_latin = written(
        w, "pairs-latin.csv", "sentence_good,sentence_bad\nwärmer Tee,Tee wärmer ab\n", "cp1252"
    )
    questions = [
        {"prompt": text, "choices": ["there", "nowhere at"], "answer": 0,
         "other": text[::-1], "options": ["all", "old stone"], "right": 1}
        for text in SENTENCES[:3]
    ]  # fmt: skip
    asked = written(w, "asked.jsonl", "\n".join(map(json.dumps, questions)))
    line = json.dumps({"prompt": "wärmer", "choices": ["Tee", "Eis"], "answer": 0},
                      ensure_ascii=False)  # fmt: skip
    asked_latin = written(w, "asked-latin.jsonl", line, "cp1252")
    return {
        "tasks.perplexity": {
            "text": Change("sentence", {"texts": commas}),
            "sep": Change("|", {"texts": piped, "sep": ";"}),
            "encoding": Change("cp1252", {"texts": latin, "encoding": None}),
        },
        "tasks.generation": {
            "prompt": Change("other", {"prompts": prompts}),
            "sep": Change("|", {"prompts": prompts_piped, "sep": ";"}),
            "encoding": Change("cp1252", {"prompts": prompts_latin, "encoding": None}),
        },
        "tasks.minimal_pairs": {
            "good": Change("right", {"path": pairs_commas}),
            "bad": Change("wrong", {"path": pairs_commas}),
            "group": Change("kind", {"path": pairs_commas}),
            "sep": Change("|", {"path": pairs_piped, "sep": ";"}),
            "encoding": Change("cp1252", {"path": pairs_latin, "encoding": None}),
        },
        "tasks.multiple_choice": {
            "prompt": Change("other", {"path": asked}),
            "choices": Change("options", {"path": asked}),
            "answer": Change("right", {"path": asked}),
            "separator": Change("\n", {"path": asked}),
            "encoding": Change("cp1252", {"path": asked_latin, "encoding": None}),
        },
    }


def of_corpora(w: World) -> dict[str, Changes]:
    """Further arguments of functions that read languages."""
    content = "text|other\n" + "".join(f"{text}|{text[::-1]}\n" for text in SENTENCES)
    piped = written(w, "corpus.csv", content)
    commas = written(w, "corpus-commas.csv", content.replace("|", ","))
    latin = written(w, "corpus-latin.csv", "text\n" + "wärmer Tee am Abend\n" * 6, "cp1252")

    def forms(argument: str, corpora: Callable[[Path], Any]) -> Changes:
        return {
            "text": Change("other", {argument: corpora(commas)}),
            "sep": Change("|", {argument: corpora(piped), "sep": ";"}),
            "encoding": Change("cp1252", {argument: corpora(latin), "encoding": None}),
        }

    def several(path: Path) -> dict[str, Any]:
        return {"en": SENTENCES, "de": path}

    def steering(path: Path) -> dict[str, Any]:
        return {"en": path, "de": SENTENCES}

    reference = {"en": SENTENCES, "de": NONWORDS}
    return {
        "lape.record": forms("corpora", several),
        "lape.perplexity": forms("texts", several),
        "lape.steer": {**forms("corpora", steering), "reference": reference},
        "lape.generate": {"reference": reference},
        "lape.activity": {
            "form": Change(
                TableForm.of({"text": "other"}, None, None), {"corpus": commas, "form": None}
            )
        },
    }


def writing(w: World) -> dict[str, Changes]:
    """Whether a file that is there is replaced."""
    there = [written(w, f"there.{kind}", "x") for kind in ("safetensors", "html", "neuron.pth")]
    mask, page, neurons = there
    scored = written(w, "kept_language_mask.npy", "x")

    def replaced(argument: str, path: Path) -> Changes:
        return {"overwrite": Change(True, {argument: path})}

    return {
        "UnitMask.save": replaced("path", mask),
        "UnitMask.to_brainscore": {
            "overwrite": Change(True, {"folder": scored.parent, "model_id": "kept"})
        },
        "report": replaced("out", page),
        "lape.ActivationCounts.save": replaced("path", written(w, "counts.safetensors", "x")),
        "lape.Identified.save": replaced("path", written(w, "found.safetensors", "x")),
        "lape.write_neurons": replaced("path", neurons),
        "plot.save": replaced("path", written(w, "figure.html", "x")),
    }

"""Every argument of every public function, with a value that must make a difference.

A function has an entry: a call that works on a tiny model, and for each of its arguments another
value. ``tests/test_arguments.py`` calls both and compares. What makes no difference says why.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pair_parts
import people
import plotly.graph_objects as go
import torch
from argument_files import of_corpora, of_tasks, reading, writing
from argument_modules import modules, of_modules
from argument_pairs import of_pairs
from argument_parts import Change, Entry, Fresh, refused, same, under
from argument_people import of_people, timed
from argument_results import of_results, of_statistics
from argument_stores import Refilled
from argument_sweeps import of_sweeps
from argument_world import GERMAN, LISTS, LONG, NONWORDS, SENTENCES, World

import lensloc as ll
from lensloc.units.provenance import Provenance

BATCH = "batches change speed and memory only"
PROGRESS = "shows a bar, or none"


def table(w: World) -> dict[str, Entry]:
    """Return name -> entry, for all public functions."""
    parts = (
        *(stimuli(w), localizing(w), units(w), lesions(w), tasks(w), languages(w), figures(w)),
        *(modules(), of_pairs(w), of_people(w), of_sweeps(w), of_results(w), of_statistics(w)),
    )
    found = {name: entry for part in parts for name, entry in part.items()}
    for name, entry in reading(w).items():
        known = found.get(name, entry)
        found[name] = dataclasses.replace(known, changes={**known.changes, **entry.changes})
    for part in (of_tasks(w), of_corpora(w), writing(w), selecting(w), of_modules()):
        for name, changes in part.items():
            found[name] = dataclasses.replace(
                found[name], changes={**found[name].changes, **changes}
            )
    return found


def selecting(w: World) -> dict[str, Mapping[str, Any]]:
    """Further arguments of what selects units."""
    return {
        "Localization.top": {"unique_dims": under(True, percent=20)},
        "Localization.bottom": {"unique_dims": under(True, percent=20)},
        "compare_granularities": {"test": "paired", "pairs": pair_parts.letters()},
        "lesion_study": {
            "site": under("mlp_post", masks={"small": w.contrast}),
            "batch_size": same(2, BATCH, masks={"small": w.contrast}),
        },
        "specificity": {"batch_size": same(2, BATCH)},
        "load_model": {
            "trust_remote_code": same(True, "this checkpoint comes with no code"),
            "tokenizer": w.other_tokenizer,
            "revision": refused("step3000", "revision='step3000' is of a model on the hub"),
            "name": "another",
            "token": refused("t", "token= is of a model on the hub"),
            "device_map": "cpu",
            "n_devices": refused(99, "n_devices=99 needs as many GPUs"),
            "quantization_config": refused({}, "takes no quantization_config", backend="hooked"),
            "more": {"num_hidden_layers": 2},
        },
        "response_profile": {"pooling": "mean"},
        **{name: {"bos": "add"} for name in ("localize", "capture", "attribute")},
    }


# -- stimuli ---------------------------------------------------------------------------------------


def stimuli(w: World) -> dict[str, Entry]:
    roles = {"target": "hot", "control": "cold"}
    columns = {
        **{"target": ["hot", "mild"], "control": "mild", "text": "words"},
        "condition": under("kind", target="cold", control="hot"),
        **{"item": "item", "name": "heat"},
    }
    sources = {}
    for kind, write in (
        ("csv", lambda t, path: t.to_csv(path, index=False)),
        ("jsonl", lambda t, path: t.to_json(path, orient="records", lines=True)),
        ("parquet", lambda t, path: t.to_parquet(path)),
    ):
        paths = [w.folder / f"{name}.{kind}" for name in ("texts", "others")]
        for path, rows in zip(paths, (w.table, w.other_table), strict=True):
            write(rows, path)
        sources[f"Contrast.from_{kind}"] = Entry(
            {"path": paths[0], **roles}, {"path": paths[1], **columns}
        )
    for name, rows in (("a", w.table), ("b", w.other_table)):
        folder = w.folder / f"dataset-{name}"
        folder.mkdir()
        rows.to_parquet(folder / "train.parquet")
        rows.iloc[::-1].to_parquet(folder / "test.parquet")
    texts = {"hot": SENTENCES, "cold": NONWORDS, "mild": LISTS}
    unequal = ll.Contrast.from_texts(
        {"hot": ["a b c", "a", "a b"], "cold": ["x y", "x y z v", "x y z v"]}, **roles
    )
    return {
        **sources,
        "Contrast.from_texts": Entry(
            {"conditions": texts, **roles},
            {
                "conditions": {"hot": LISTS, "cold": NONWORDS},
                "target": "mild",
                "control": "mild",
                "name": "heat",
            },
        ),
        "Contrast.from_dataframe": Entry(
            {"table": w.table, **roles}, {"table": w.other_table, **columns}
        ),
        "Contrast.from_huggingface": Entry(
            {"dataset": str(w.folder / "dataset-a"), **roles},
            {"dataset": str(w.folder / "dataset-b"), "split": "test", **columns},
        ),
        "Contrast.with_roles": Entry(
            {"target": "lists", "control": "nonwords"},
            {"target": "sentences", "control": "sentences"},
            on=w.contrast,
        ),
        "Contrast.with_template": Entry(
            {"model": w.chatting()},
            {
                "model": w.chatting("<{{ messages[0]['content'] }}>"),
                "system": "Be brief.",
                "add_generation_prompt": True,
            },
            on=w.contrast,
        ),
        "Contrast.keep": Entry(
            {"rows": {"sentences": [0, 1], "nonwords": [0, 1]}},
            {"rows": {"sentences": [2, 1], "nonwords": [0, 1]}},
            on=w.contrast,
        ),
        "Contrast.split": Entry({"seed": 0}, {"seed": 1}, on=w.contrast),
        "Contrast.split_rows": Entry({"seed": 0}, {"seed": 1}, on=w.contrast),
        "Contrast.balance": Entry({}, {"model": w.model}, on=w.contrast),
        "Contrast.matched": Entry(
            {"on": "words", "method": "subset"},
            {
                "model": under(w.model, on="tokens"),
                "on": "characters",
                "tolerance": 2,
                "method": "cut",
            },
            on=unequal,
        ),
        "contrasts.get": Entry(
            {"name": "theory-of-mind"},
            {
                "name": "emotion",
                "folder": refused(w.folder, "no published|lacks|no stimulus|There is no"),
                "protocol": "alkhamissi2024",
                "seed": under(1, protocol="alkhamissi2024"),
            },
        ),
        "contrasts.language": Entry(
            {}, {"folder": refused(w.folder, "no published|lacks|holds no|There is no")}
        ),
        "contrasts.multiple_demand": Entry({}, {"legacy": True, "seed": under(1, legacy=True)}),
        "contrasts.theory_of_mind": Entry(
            {},
            {
                "folder": refused(w.folder, "no published|lacks|holds no|There is no"),
                "protocol": "alkhamissi2024",
                "seed": under(1, protocol="alkhamissi2024"),
                "instruction": "Read.",
            },
        ),
        "confound_check": Entry(
            {"model": w.model, "contrast": w.contrast, "percent": 10, "progress": False},
            {
                "model": w.untrained,
                "contrast": w.other,
                "percent": 20,
                "site": "mlp_post",
                "seed": 1,
                "batch_size": same(2, BATCH),
                "progress": same(True, PROGRESS),
            },
        ),
    }


# -- localizing ------------------------------------------------------------------------------------


def localizing(w: World) -> dict[str, Entry]:
    sides = {"target": ("sentences",), "control": ("nonwords",)}
    other_sides = {"target": ("lists",), "control": ("lists",)}
    every = w.every
    base = {"model": w.model, "contrast": w.contrast, "progress": False}
    of_texts = {
        "model": w.untrained,
        "batch_size": same(2, BATCH),
        "max_tokens": 3,
        "progress": same(True, PROGRESS),
    }
    of_localizing = {
        **of_texts,
        "contrast": w.other,
        "sites": ["mlp_post"],
        "pooling": "mean",
        "protocol": "alkhamissi2024",
        "absolute": False,
        "test": "paired",
        "truncate": under(True, contrast=w.long),
    }
    rule, kept = ll.SelectionRule("top", k=3), {}
    given = ll.SelectionRule("given", units=torch.ones(3, 4, dtype=torch.bool))
    statistics = {"responses": every, **sides}
    of_statistics = {"responses": w.others, **other_sides, "absolute": False}
    return {
        "load_model": Entry(
            {"name_or_path": w.checkpoint},
            {
                "name_or_path": w.other_checkpoint,
                "untrained": True,
                "seed": under(1, untrained=True),
                "dtype": "float64",
                "device": refused("cuda:7", "cuda"),
                "backend": "bridge",
                "progress": same(False, "nothing is fetched, so there is no bar"),
            },
        ),
        "capture": Entry(
            {"model": w.model, "texts": SENTENCES[:3], "conditions": ["a"] * 3, "progress": False},
            {
                **of_texts,
                "texts": NONWORDS[:3],
                "conditions": ["b"] * 3,
                "sites": ["mlp_post"],
                "pooling": "mean",
                "truncate": under(True, texts=[LONG] * 3),
            },
        ),
        "localize": Entry(
            base,
            {
                **of_localizing,
                "keep_responses": True,
                "store": ll.Store.at(w.folder / "kept"),
                "recompute": under(True, store=w.filled_store),
                "nuisance": ["words"],
            },
        ),
        "welch": Entry(statistics, {**of_statistics, "provenance": Provenance(model="m")}),
        "paired": Entry(statistics, {**of_statistics, "provenance": Provenance(model="m")}),
        "max_t": Entry(
            {**statistics, "n_permutations": 20},
            {
                **of_statistics,
                "test": "paired",
                "two_sided": False,
                "n_permutations": 30,
                "seed": 1,
            },
        ),
        "bootstrap_d": Entry(
            {**statistics, "n_resamples": 20},
            {**of_statistics, "aligned": True, "n_resamples": 30, "confidence": 0.5, "seed": 1},
        ),
        "discrimination": Entry(statistics, of_statistics),
        "Responses.of": Entry(
            {"conditions": ("sentences",)}, {"conditions": ("nonwords",)}, on=w.responses
        ),
        "Responses.at": Entry({"rows": [0, 1]}, {"rows": [2, 1]}, on=w.responses),
        "Responses.pairs": Entry(sides, {"target": ("lists",), "control": ("lists",)}, on=w.every),
        "Localization.max_t": Entry(
            {"site": "resid_post", "options": {"n_permutations": 20}},
            {"site": "mlp_post", "options": {"n_permutations": 30}},
            on=w.found,
        ),
        "MaxT.threshold": Entry({}, {"alpha": 0.5}, on=w.max_t),
        "MaxT.significant": Entry({}, {"alpha": 0.9}, on=w.max_t),
        "attribute": Entry(
            base,
            {
                **of_texts,
                "contrast": w.other,
                "method": under("ablation_effect", units=w.mask),
                "site": "mlp_post",
                "limit": 2,
                "n_steps": under(2, method="integrated_gradients"),
                "baseline": "mean",
                "units": w.mask,
                "truncate": under(True, contrast=w.long),
            },
        ),
        "Attribution.agreement": Entry(
            {"other": w.map.t},
            {"other": w.elsewhere["resid_post"].t, "absolute": True},
            on=w.attribution,
        ),
        "Attribution.to_dataframe": Entry({}, {"mask": w.mask}, on=w.attribution),
        "Attribution.top": Entry({}, {"percent": 5, "k": 3}, on=w.attribution),
        "compare_granularities": Entry(
            {**base, "sites": ["resid_post"], "percent": 10, "n_splits": 2},
            {
                **of_texts,
                "contrast": {"small": w.contrast, "other": w.other},
                "sites": ["mlp_post"],
                "percent": 20,
                "pooling": "mean",
                "absolute": False,
                "n_splits": 3,
                "n_permutations": 20,
                "attribution": "grad_x_act",
                "baseline": under("mean", attribution="grad_x_act"),
                "attribution_limit": under(2, attribution="grad_x_act"),
                "lesion": Change(True, {"task": w.perplexity, "control_seeds": [0]}),
                "task": under(w.minimal_pairs, lesion=True, task=w.perplexity, control_seeds=[0]),
                "number": under(3, lesion=True, task=w.perplexity, control_seeds=[0]),
                "control_seeds": under([1], lesion=True, task=w.perplexity),
                "seed": 1,
                "truncate": under(True, contrast=w.long),
                "store": under(
                    ll.Store.at(w.folder / "granular"),
                    lesion=True,
                    task=w.perplexity,
                    control_seeds=[0],
                ),
            },
        ),
        "study": Entry(
            {**base, "percent": 5, "n_splits": 2},
            {
                **of_localizing,
                "percent": 10,
                "tasks": [w.perplexity],
                "controls": under(ll.controls(seeds=[0]), tasks=[w.perplexity]),
                "percents": under([2], tasks=[w.perplexity]),
                "modes": under(["zero"], tasks=[w.perplexity]),
                "exact": under(
                    True, tasks=[w.perplexity], controls=ll.controls(seeds=range(20)), modes="zero"
                ),
                "n_splits": 3,
                "seed": 1,
                "store": under(ll.Store.at(w.folder / "studied"), tasks=[w.perplexity]),
            },
        ),
        "response_profile": Entry(
            {**base, "mask": w.mask, "n_resamples": 50},
            {
                **{name: of_texts[name] for name in ("model", "batch_size", "progress")},
                "mask": w.map.top(k=7),
                "contrast": w.other,
                "cross_validate": False,
                "confidence": 0.5,
                "n_resamples": 60,
                "seed": 1,
            },
        ),
        "Localization.between": Entry(
            {"lo": 20, "hi": 80, "k": 4, "seed": 0},
            {"lo": 40, "hi": 60, "k": 5, "seed": 1},
            on=w.only,
        ),
        "Localization.top": Entry({}, {"percent": 5, "k": 3}, on=w.only),
        "Localization.bottom": Entry({}, {"percent": 5, "k": 3}, on=w.only),
        "Localization.significant": Entry(
            {"q": 0.2}, {"q": 0.3, "direction": "control"}, on=w.only_surer
        ),
        "Selectivity.between": Entry(
            {"lo": 20, "hi": 80, "k": 4, "seed": 0},
            {"lo": 40, "hi": 60, "k": 5, "seed": 1},
            on=w.map,
        ),
        "Selectivity.top": Entry(
            {}, {"percent": 5, "k": 3, "unique_dims": under(True, percent=20)}, on=w.map
        ),
        "Selectivity.bottom": Entry(
            {}, {"percent": 5, "k": 3, "unique_dims": under(True, percent=20)}, on=w.map
        ),
        "Selectivity.significant": Entry(
            {"q": 0.2}, {"q": 0.3, "direction": "control"}, on=w.surer
        ),
        "Selectivity.select": Entry({"rule": rule}, {"rule": rule.resized(k=4)}, on=w.map),
        "SelectionRule.describe": Entry(
            {"total": 1, "site": "resid_post"},
            {"total": 200, "site": refused("head", "head")},
            on=ll.SelectionRule("top", k=3),
        ),
        "SelectionRule.resized": Entry({}, {"percent": 5.0, "k": 3}, on=rule),
        "SelectionRule.same_way": Entry(
            {"other": rule}, {"other": ll.SelectionRule("bottom", k=3)}, on=rule
        ),
        "SelectionRule.to_record": Entry(
            {"tensors": {}},
            {"tensors": {"rule.0": torch.ones(1)}},
            on=given,
        ),
        "SelectionRule.from_record": Entry(
            {"record": given.to_record(kept), "tensors": kept},
            {"record": rule.to_record({}), "tensors": {"rule.0": torch.zeros(3, 4)}},
        ),
        "Selectivity.excluding": Entry({"units": w.mask}, {"units": w.other_mask}, on=w.map),
        "Selectivity.outliers": Entry({}, {"ratio": 1.01}, on=w.surer),
        "Selectivity.to_dataframe": Entry({}, {"mask": w.mask}, on=w.map),
        "Site.hook_name": Entry({"layer": 0}, {"layer": 1}, on=ll.SITES["resid_post"]),
        **storing(w),
    }


def storing(w: World) -> dict[str, Entry]:
    store, key = w.filled_store, {"a": 1}
    store.save(key, w.map, 7)
    store.save_record(key, {"kept": True})
    return {
        "Store.at": Entry({"folder": w.folder / "one"}, {"folder": w.folder / "two"}),
        "Store.of": Entry({"store": w.folder / "one"}, {"store": w.folder / "two"}),
        "Store.path": Entry({"key": key}, {"key": {"a": 2}, "suffix": ".json"}, on=store),
        "Store.load": Entry(
            {"key": key},
            {"key": {"a": 2}, "shape": (1, 1)},
            on=Refilled(w),
        ),
        "Store.making": Entry(
            {"keys": [key], "what": "a map"},
            {
                "keys": [{"a": 2}],
                "what": same("a score", "it is told to other processes that wait"),
            },
            on=Refilled(w),
        ),
        "Store.discard_record": Entry(
            {"key": key, "error": ValueError("no items")},
            {"key": {"a": 2}, "error": ValueError("no scores")},
            on=Refilled(w),
        ),
        "Store.has_record": Entry({"key": key}, {"key": {"a": 2}}, on=store),
        "Store.load_record": Entry({"key": key}, {"key": {"a": 2}}, on=store),
        "Store.save": Entry(
            {"key": {"b": 1}, "found": w.map, "n_tokens": 7},
            {"key": {"b": 2}, "found": w.found["mlp_post"], "n_tokens": 8},
            on=store,
        ),
        "Store.save_record": Entry(
            {"key": {"b": 1}, "record": {"kept": True}},
            {"key": {"b": 2}, "record": {"kept": False}},
            on=store,
        ),
    }


# -- units -----------------------------------------------------------------------------------------


def units(w: World) -> dict[str, Entry]:
    npy, safe = w.folder / "mask.npy", w.folder / "mask.safetensors"
    w.mask.save(npy)
    w.mask.save(safe)
    made = Provenance(model="m")
    return {
        "UnitMask.from_addresses": Entry(
            {"addresses": ["L0.head.1"], "shape": (3, 4)},
            {"addresses": ["L1.head.1"], "shape": (3, 5), "provenance": made},
        ),
        "UnitMask.from_indices": Entry(
            {"site": "head", "flat_indices": torch.tensor([1]), "shape": (3, 4)},
            {
                "site": "z",
                "flat_indices": torch.tensor([2]),
                "shape": (4, 3),
                "provenance": made,
                "more": {"score": torch.ones(3, 4, dtype=torch.float64)},
            },
        ),
        "UnitMask.load": Entry({"path": npy}, {"path": safe, "site": "resid_pre"}),
        "UnitMask.random_like": Entry({"seed": 0}, {"seed": 1, "elsewhere": False}, on=w.mask),
        "UnitMask.resized": Entry({}, {"percent": 5, "k": 3}, on=w.mask),
        "UnitMask.covers": Entry(
            {"other": w.mask}, {"other": ll.UnitMask("head", torch.ones(2, 2).bool())}, on=w.mask
        ),
        "UnitMask.require_shape": Entry(
            {"shape": (9, 9), "model": "one"},
            {"shape": w.mask.shape, "model": "other"},
            on=w.mask,
        ),
        "UnitMask.save": Entry(
            {"path": Fresh("a.safetensors")}, {"path": Fresh("a.npy")}, on=w.mask
        ),
        "UnitMask.to_brainscore": Entry(
            {"folder": Fresh("one"), "model_id": "a/b"},
            {
                "folder": Fresh("two"),
                "model_id": "a/c",
                "benchmark": "Blank2014-linear",
            },
            on=w.mask,
        ),
        "controls": Entry(
            {},
            {
                "match": "layer",
                "seeds": [7],
                "least_selective": True,
                "without_outliers": True,
                "masks": {"mine": w.other_mask},
                "others": {"sums": w.other_mask},
                "elsewhere": False,
            },
            use=lambda found: list(found(w.mask)),
        ),
        "Controls.__call__": Entry(
            {"network": w.mask}, {"network": w.other_mask}, on=ll.controls(), use=list
        ),
        "overlap": Entry(
            {"masks": {"a": w.mask, "b": w.other_mask}},
            {"masks": {"a": w.mask, "b": w.map.bottom(k=6)}},
        ),
        "explore": Entry(
            {"found": w.found},
            {
                **{"found": w.elsewhere, "percent": 2.0, "most": 7.0},
                "tokens": ll.capture_tokens(
                    w.model, w.contrast.texts, w.contrast.labels, progress=False
                ),
            },
        ),
        "report": Entry(
            {"study": w.only, "out": Fresh("a.html"), "percent": 5},
            {
                "study": w.elsewhere,
                "out": Fresh("b.html"),
                "percent": 10,
                "site": under("mlp_post", study=w.found),
                "top": 2,
                "people": people.encoding(),
                "specificity": w.specific,
                "multiverse": w.multiverse,
                "untrained": w.only_untrained,
            },
        ),
    }


# -- lesions ---------------------------------------------------------------------------------------


def lesions(w: World) -> dict[str, Entry]:
    tokens = torch.arange(2 * 12).reshape(2, 12) % 300

    def run(lesion: ll.Lesion) -> Any:
        with lesion:
            logits = w.model(tokens, return_type="logits")
        return logits, lesion.effect

    study = {
        "model": w.model,
        "masks": {"small": w.map},
        "tasks": [w.six_texts],
        "percents": [5],
        "n_resamples": 30,
        "progress": False,
    }
    specific = {
        "model": w.model,
        "networks": {"a": w.mask},
        "tasks": w.three_tasks,
        "controls": ll.controls(seeds=[0, 1]),
        "domains": {"a": ["one"]},
        "room": dict.fromkeys(("one", "two", "three"), 0.5),
        "answered": None,
        "progress": False,
    }
    return {
        "specificity": Entry(
            specific,
            {
                "model": w.untrained,
                "networks": {"a": w.other_mask},
                "tasks": w.three_tasks[:2],
                "controls": ll.controls("layer", seeds=[0, 1]),
                "domains": {"a": ["two"]},
                "percent": 3,
                "site": under("mlp_post", networks={"a": w.contrast}),
                "mode": {"mode": "scale", "scale": 3.0},
                "reference": under(w.every, mode="mean"),
                "room": {"one": 0.4, "two": 0.5, "three": 0.5},
                "answered": 0.01,
                "seed": under(3, answered=0.01),
                "confidence": 0.5,
                "store": ll.Store.at(w.folder / "specific"),
                "progress": same(True, PROGRESS),
            },
        ),
        "Specificity.matrix": Entry(
            {}, {"value": "drop", "kind": Change("layer", {"value": "control_drop"})}, on=w.specific
        ),
        "Specificity.kind": Entry({"kind": None}, {"kind": "layer"}, on=w.specific),
        "Specificity.drawn_kind": Entry({}, {"kind": "layer"}, on=w.specific),
        "lesion": Entry(
            {"model": w.model, "masks": w.mask},
            {
                "model": refused(w.smaller, "does not fit"),
                "masks": w.other_mask,
                "mode": "write",
                "scale": under(0.5, mode="scale"),
                "value": under(2.0, mode="clamp"),
                "quantile": under(0.9, mode="clamp", reference=w.every),
                "reference": under(w.every, mode="mean"),
                "seed": under(5, mode="resample", reference=w.every),
                "positions": "last",
                "batch_size": same(2, BATCH, mode="mean", reference=w.contrast),
                "check": False,
            },
            use=run,
        ),
        "lesion_study": Entry(
            study,
            {
                "model": w.untrained,
                "masks": {"small": w.found["mlp_post"]},
                "tasks": [w.minimal_pairs],
                "controls": ll.controls(seeds=[0]),
                "percents": [10],
                "modes": ["write"],
                "reference": under(w.every, modes=["mean"]),
                "positions": "last",
                "seed": 1,
                "n_resamples": 40,
                "confidence": 0.5,
                "exact": under(True, controls=ll.controls(seeds=range(20))),
                "store": ll.Store.at(w.folder / "lesioned"),
                "progress": same(True, PROGRESS),
            },
        ),
        "multiverse": Entry(
            {
                "model": w.model,
                "contrast": w.contrast,
                "tasks": [w.six_texts],
                "choices": {"percent": [5.0, 10.0], "control": ["random"]},
                "draws": 3,
                "progress": False,
            },
            {
                "model": w.untrained,
                "contrast": w.other,
                "tasks": [w.minimal_pairs],
                "choices": {"site": ["mlp_post"], "control": ["random"]},
                "reference_specification": {"percent": 10},
                "draws": 4,
                "reference": under(w.every, choices={"mode": ["mean"], "control": ["random"]}),
                "exact": under(
                    True,
                    tasks=[ll.tasks.minimal_pairs(limit=2)],
                    choices={"percent": [20.0], "control": ["random"]},
                    draws=20,
                ),
                "seed": under(1, choices={"mode": ["resample"], "control": ["random"]}),
                "confidence": 0.5,
                "truncate": under(True, contrast=w.long),
                "batch_size": same(2, BATCH),
                "pairs": under(
                    pair_parts.letters(4),
                    choices={"selection": ["pairs"], "percent": [5.0], "control": ["random"]},
                    pairs=pair_parts.letters().keep([2, 3, 4, 5]),
                ),
                "store": ll.Store.at(w.folder / "specifications"),
                "progress": same(True, PROGRESS),
            },
        ),
        "Multiverse.by_value": Entry({}, {"task": "pairs"}, on=w.multiverse),
        "Multiverse.matters": Entry({}, {"task": "pairs"}, on=w.multiverse),
    }


# -- tasks -----------------------------------------------------------------------------------------


def tasks(w: World) -> dict[str, Entry]:
    def on_model(task: Any) -> Any:
        return task(w.model)

    several = {
        "limit": 1,
        "bos": "add",
        "batch_size": same(1, BATCH),
        "name": "mine",
    }
    running = {
        "texts": [LONG[:300], "the stone bridge is old"],
    }
    windows = {
        **several,
        "texts": [LONG[:200]],
        "window": 20,
        "stride": under(3, window=20),
    }
    writing = {"prompts": ["the old", "nobody in the"], "max_new_tokens": 4}
    called = {"model": w.untrained, "progress": same(True, PROGRESS)}
    on = {"model": w.model}
    harness = {"task": "my_choice", "include_path": w.harness}
    request = _Request(("the old gardener", " watered every plant"))
    return {
        "tasks.minimal_pairs": Entry(
            {"path": w.pairs},
            {
                **several,
                "path": w.other_pairs,
                "scoring": refused("pseudo-log-likelihood", "reads from left to right only"),
            },
            use=on_model,
        ),
        "tasks.multiple_choice": Entry(
            {"path": w.questions},
            {**several, "path": w.other_questions, "kinds": ["b"], "normalize": "tokens"},
            use=on_model,
        ),
        "tasks.domains": Entry(
            {"names": ["commonsense", "facts"], "items": 4},
            {
                "names": ["facts"],
                "items": 5,
                "bos": "add",
                "batch_size": same(1, BATCH),
            },
            use=lambda found: [task(w.model) for task in found],
        ),
        "tasks.perplexity": Entry(running, {**windows, "per": "byte"}, use=on_model),
        "tasks.bits_per_byte": Entry(
            running,
            {"texts": [LONG[:200]], "options": {"window": 20, "stride": 3}},
            use=on_model,
        ),
        "tasks.generation": Entry(
            writing,
            {
                **several,
                "prompts": ["before the"],
                "max_new_tokens": 5,
                "temperature": 1.0,
                "repetition_penalty": 9.0,
                "stops": ["a"],
                "min_new_tokens": 2,
                "seed": under(3, temperature=1.0),
            },
            use=on_model,
        ),
        "tasks.lm_eval": Entry(
            harness,
            {
                "task": "my_second",
                "metric": "acc_norm",
                "include_path": w.other_harness,
                "num_fewshot": 1,
                "limit": 2,
                "bos": "add",
                "batch_size": same(1, BATCH),
            },
            use=on_model,
        ),
        "tasks.harness_model": Entry(
            on,
            {**called, "bos": "add", "batch_size": same(1, BATCH)},
            use=lambda found: found.loglikelihood([request]),
        ),
        "tasks.MinimalPairs.__call__": Entry(on, called, on=w.minimal_pairs),
        "tasks.MultipleChoice.__call__": Entry(
            on, called, on=ll.tasks.multiple_choice(w.questions)
        ),
        "tasks.Perplexity.__call__": Entry(on, called, on=w.perplexity),
        "tasks.Generation.__call__": Entry(on, called, on=ll.tasks.generation(**writing)),
        "tasks.HarnessTask.__call__": Entry(on, called, on=ll.tasks.lm_eval(**harness)),
        "tasks.MinimalPairs.without": Entry(
            {"texts": ["before the sun came up"]},
            {"texts": ["the old gardener watered every plant"]},
            on=w.minimal_pairs,
        ),
        "tasks.Perplexity.without": Entry(
            {"texts": ["the stone bridge is old"]},
            {"texts": ["the old gardener watered"]},
            on=w.perplexity,
        ),
        "tasks.Generation.without": Entry(
            {"texts": ["the old"]}, {"texts": ["nobody in the"]}, on=ll.tasks.generation(**writing)
        ),
        "tasks.HarnessTask.without": Entry(
            {"texts": []},
            {
                "texts": same(
                    ["x"], "no document holds it; test_harness.py tries texts that some do"
                )
            },
            on=ll.tasks.lm_eval(**harness),
        ),
        "tasks.MultipleChoice.without": Entry(
            {"texts": []},
            {"texts": [ll.tasks.multiple_choice(w.questions).questions[0].prompt]},
            on=ll.tasks.multiple_choice(w.questions),
        ),
        "tasks.texts_of": Entry({"task": w.perplexity}, {"task": w.minimal_pairs}),
        "TaskResult.by": Entry(
            {"column": "group"}, {"column": "phenomenon"}, on=w.minimal_pairs(w.model)
        ),
        "TaskResult.without_numbers": Entry({"reason": "a"}, {"reason": "b"}, on=w.result),
        "LesionStudy.summary": Entry({"percent": 2}, {"percent": 5}, on=w.lesions),
        "LesionStudy.by_group": Entry(
            {}, {"column": "phenomenon", "network": "b"}, on=w.grouped_lesions
        ),
        "TaskResult.at": Entry({"positions": [0]}, {"positions": [1, 0]}, on=w.result),
        "tasks.MinimalPairs.at": Entry({"items": [0]}, {"items": [1]}, on=w.minimal_pairs),
        "tasks.Perplexity.at": Entry({"items": [0]}, {"items": [1]}, on=w.perplexity),
        "tasks.MultipleChoice.at": Entry(
            {"items": [0]}, {"items": [1]}, on=ll.tasks.multiple_choice("commonsense", limit=2)
        ),
        "TaskResult.from_record": Entry(
            {"record": w.result.to_record()},
            {"record": w.minimal_pairs(w.model).to_record()},
        ),
    }


@dataclass(frozen=True)
class _Request:
    """What the harness hands to a model."""

    args: tuple[str, str]


# -- languages -------------------------------------------------------------------------------------


def languages(w: World) -> dict[str, Entry]:
    masks, prompts = w.neurons, {"en": ["the old"], "de": ["der alte"]}
    texts = {"en": SENTENCES[:3], "de": GERMAN[:2]}
    saved = [w.folder / name for name in ("a.safetensors", "b.safetensors")]
    w.counts.save(saved[0])
    w.counts.only(["en", "de"]).save(saved[1])
    found = [w.folder / name for name in ("c.safetensors", "d.safetensors")]
    w.identified.save(found[0])
    ll.lape.identify(w.counts, 0.4, 0.5, 0.5).save(found[1])
    published = [w.folder / name for name in ("one.neuron.pth", "two.neuron.pth")]
    ll.lape.write_neurons(published[0], masks)
    ll.lape.write_neurons(published[1], w.more_neurons)
    counted = [w.folder / name for name in ("one.pth", "two.pth")]
    for number, path in enumerate(counted):
        torch.save({"n": 10, "over_zero": torch.full((3, 4), number)}, path)
    answering = {
        "max_new_tokens": 4,
        "repetition_penalty": 9.0,
        "stops": ["a"],
        "codes": {"en": "fr"},
        "progress": same(True, PROGRESS),
    }
    steering = {
        "model": w.model,
        "masks": masks,
        "prompts": {"de": prompts["de"]},
        "corpora": {"en": SENTENCES, "de": GERMAN},
        "levels": ["mean"],
        "deactivate": [False],
        "max_new_tokens": 3,
        "progress": False,
    }
    return {
        "lape.record": Entry(
            {
                "model": w.model,
                "corpora": {"en": SENTENCES, "de": GERMAN},
                "window": 8,
                "progress": False,
            },
            {
                "model": w.untrained,
                "corpora": {"en": SENTENCES[:3], "de": GERMAN},
                "site": "mlp_post",
                "threshold": 0.5,
                "max_tokens": 20,
                "batch_tokens": same(8, BATCH),
                "window": 16,
                "bos": "add",
                "keep_windows": True,
                "n_blocks": under(2, keep_windows=True),
                "checkpoint": Fresh("counts.part"),
                "checkpoint_every": same(
                    10,
                    "how often it is written, not what; see test_lape_record.py",
                    checkpoint=Fresh("counts.part"),
                ),
                "progress": same(True, PROGRESS),
            },
        ),
        "lape.identify": Entry(
            {"counts": w.counts, "top_rate": 0.3, "filter_rate": 0.5, "bar": 0.5},
            {
                "counts": w.counts.only(["en", "de"]),
                "top_rate": 0.4,
                "filter_rate": 0.6,
                "bar": 0.6,
                "site": "mlp_out",
                "null": w.null,
            },
        ),
        "lape.null": Entry(
            {"counts": w.counts, "permutations": 40},
            {
                "counts": w.counts.only(["en", "de"]),
                "permutations": 50,
                "seed": 1,
                "filter_rate": 0.5,
                "alpha": 0.3,
            },
        ),
        "lape.activity": Entry(
            {"model": w.model, "corpus": SENTENCES, "mask": masks["en"]},
            {
                "model": w.untrained,
                "corpus": GERMAN,
                "mask": masks["de"],
                "max_tokens": 10,
                "window": 4,
                "bos": "add",
            },
        ),
        "lape.perplexity": Entry(
            {
                "model": w.model,
                "masks": masks,
                "texts": texts,
                "progress": False,
                "controls": ll.controls(seeds=[0]),
                "n_resamples": 30,
            },
            {
                "model": w.untrained,
                "masks": w.more_neurons,
                "texts": {"en": SENTENCES[3:5]},
                "mode": refused("write", "write"),
                "controls": ll.controls("layer", seeds=[0]),
                "limit": 1,
                "seed": 1,
                "n_resamples": 40,
                "confidence": 0.5,
                "store": ll.Store.at(w.folder / "matrix"),
                "progress": same(True, PROGRESS),
            },
        ),
        "lape.generate": Entry(
            {
                "model": w.model,
                "prompts": prompts,
                "masks": masks,
                "progress": False,
                "max_new_tokens": 3,
            },
            {
                **answering,
                "model": w.untrained,
                "prompts": {"en": ["nobody in the"]},
                "masks": w.more_neurons,
                "codes": under({"eins": "de"}, prompts={"eins": ["der alte"]}, masks=None),
                "mode": refused("write", "write"),
                "store": ll.Store.at(w.folder / "answers"),
            },
        ),
        "lape.steer": Entry(
            steering,
            {
                **answering,
                "model": w.untrained,
                "masks": w.more_neurons,
                "prompts": {"en": ["nobody in the"]},
                "corpora": {"en": NONWORDS, "de": NONWORDS},
                "toward": under(["de"], prompts=prompts),
                "levels": [0.95],
                "deactivate": [True],
                "controls": ll.controls(seeds=[3]),
                "max_tokens": 5,
                "store": ll.Store.at(w.folder / "steered"),
            },
        ),
        "lape.prose": Entry({}, {"languages": ["en"], "part": "held-out"}),
        "lape.questions": Entry({}, {"languages": ["en"], "limit": 1, "instruction": False}),
        "lape.read_neurons": Entry(
            {"path": published[0], "n_neurons": 48},
            {
                "path": published[1],
                "n_neurons": 50,
                "names": ["en", "de"],
                "site": "mlp_pre",
                "model": "m",
            },
        ),
        "lape.write_neurons": Entry(
            {"path": Fresh("a.neuron.pth"), "masks": masks},
            {"path": Fresh("b.neuron.pth"), "masks": w.more_neurons},
        ),
        "lape.ActivationCounts.from_published": Entry(
            {"files": {"a": counted[0], "b": counted[0]}},
            {"files": {"a": counted[0], "b": counted[1]}, "site": "mlp_post", "model": "m"},
        ),
        "lape.ActivationCounts.load": Entry({"path": saved[0]}, {"path": saved[1]}),
        "lape.ActivationCounts.save": Entry(
            {"path": Fresh("a.safetensors")}, {"path": Fresh("b.safetensors")}, on=w.counts
        ),
        "lape.ActivationCounts.only": Entry(
            {"languages": ["en", "de"]}, {"languages": ["de", "xx"]}, on=w.counts
        ),
        "lape.WindowCounts.coarsened": Entry({"size": 2}, {"size": 4}, on=w.counts.windows),
        "lape.Activity.quantile": Entry({"q": 0.5}, {"q": 0.9}, on=w.activity),
        "lape.Identified.load": Entry({"path": found[0]}, {"path": found[1]}),
        "lape.Identified.save": Entry(
            {"path": Fresh("a.safetensors")}, {"path": Fresh("b.safetensors")}, on=w.identified
        ),
        "lape.Identified.other_language": Entry(
            {"language": "en", "other": "de"},
            {"language": "xx", "other": "xx"},
            on=w.uneven,
        ),
        "lape.Null.familywise": Entry({"alpha": 0.3}, {"alpha": 0.6}, on=w.null),
        "lape.Null.require_same": Entry(
            {"counts": w.counts},
            {"counts": ll.lape.ActivationCounts.from_published({"a": counted[0]})},
            on=w.null,
        ),
        "lape.Null.significant": Entry({}, {"site": "mlp_pre", "alpha": 0.5}, on=w.null),
    }


# -- figures ---------------------------------------------------------------------------------------


def figures(w: World) -> dict[str, Entry]:
    title = {"title": "mine"}
    figure, other = go.Figure(go.Bar(y=[1.0])), go.Figure(go.Bar(y=[2.0]))
    granular = ll.compare_granularities(
        w.model, w.contrast, ["resid_post"], 10, n_splits=2, progress=False
    )
    overlaps = ll.overlap({"a": w.mask, "b": w.other_mask})
    maps, heads = w.found, w.found["head"]
    profile = ll.response_profile(w.model, w.mask, w.contrast, n_resamples=20, progress=False)
    return {
        "plot.dose_response": Entry({"study": w.lesions}, {"study": w.other_lesions, **title}),
        "plot.lesion_bars": Entry(
            {"study": w.lesions, "percent": 2},
            {"study": w.other_lesions, "percent": 5, **title},
        ),
        "plot.specificity": Entry(
            {"found": w.specific}, {"found": w.other_specific, "kind": "layer", **title}
        ),
        "plot.ablation_modes": Entry(
            {"study": w.lesions, "percent": 2},
            {"study": w.other_lesions, "percent": 5, **title},
        ),
        "plot.granularity": Entry(
            {"table": granular},
            {"table": granular.assign(selected_d=9.0, reliability=0.1), **title},
        ),
        "plot.head_heatmap": Entry({"found": heads}, {"found": w.elsewhere["head"], **title}),
        "plot.unit_heatmap": Entry(
            {"found": w.map}, {"found": w.elsewhere["resid_post"], "columns": 7, **title}
        ),
        "plot.layer_heatmap": Entry(
            {"masks": maps, "percent": 10}, {"masks": w.elsewhere, "percent": 20, **title}
        ),
        "plot.layer_profile": Entry(
            {"found": maps, "percent": 10},
            {
                "found": w.elsewhere,
                "quantity": "mean_t",
                "percent": 20,
                "relative": True,
                **title,
            },
        ),
        "plot.t_histogram": Entry(
            {"found": w.map},
            {
                "found": w.elsewhere["resid_post"],
                "null": w.max_t,
                "alpha": under(0.3, null=w.max_t),
                "density": True,
                "log": True,
                **title,
            },
        ),
        "plot.language_layers": Entry({"masks": w.neurons}, {"masks": w.more_neurons, **title}),
        "plot.language_matrix": Entry(
            {"found": w.matrix},
            {"found": w.other_matrix, "kinds": ("random",), "highest": 9.0, **title},
        ),
        "plot.steering": Entry(
            {"found": w.steering}, {"found": w.other_steering, "measure": "changed", **title}
        ),
        "plot.multiverse": Entry(
            {"found": w.multiverse},
            {"found": w.other_multiverse, "task": "pairs", **title},
        ),
        "plot.overlap": Entry(
            {"table": overlaps},
            {"table": overlaps.assign(dice=0.1), "measure": "jaccard", **title},
        ),
        "plot.response_profile": Entry({"profile": profile}, {"profile": w.other_profile, **title}),
        "plot.alignment": Entry(
            {"found": people.encoding()},
            {"found": people.encoding(layers=True), "measure": "r2", **title},
        ),
        "plot.reading_times": Entry(
            {"study": people.reading()}, {"study": people.reading(draws=1), **title}
        ),
        "plot.save": Entry(
            {"figure": figure, "path": Fresh("a.html")},
            {"figure": other, "path": Fresh("b.html")},
        ),
        "plot.themed": Entry(
            {"figure": figure, "theme": "light"}, {"figure": other, "theme": "dark"}
        ),
    }


# -- idle arguments --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Idle:
    """Arguments that others leave without effect, which must be said.

    Attributes:
        name: of the function.
        idle: the arguments without effect.
        given: the arguments over those of the function's entry.
        sentence: what must be in the sentence.
    """

    name: str
    idle: tuple[str, ...]
    given: Callable[[World], Mapping[str, Any]]
    sentence: str = "no effect here"


IDLE = (
    Idle("attribute", ("n_steps",), lambda w: {"n_steps": 4}),
    Idle("compare_granularities", ("baseline",), lambda w: {"baseline": "mean"}),
    Idle("compare_granularities", ("attribution_limit",), lambda w: {"attribution_limit": 2}),
    Idle("compare_granularities", ("task",), lambda w: {"task": w.perplexity}),
    Idle("compare_granularities", ("number",), lambda w: {"number": 3}),
    Idle("study", ("controls",), lambda w: {"controls": ll.controls()}),
    Idle("study", ("percents",), lambda w: {"percents": [2]}),
    Idle("lesion_study", ("reference",), lambda w: {"reference": w.every}, "none of which uses it"),
    Idle(
        "lesion_study",
        ("reference",),
        lambda w: {"reference": w.every, "modes": [{"mode": "scale", "scale": 0.5}]},
        "none of which uses it",
    ),
    Idle("localize", ("recompute",), lambda w: {"recompute": True}),
    Idle(
        "multiverse",
        ("reference",),
        lambda w: {"reference": w.every},
        "none of which uses it",
    ),
    Idle("multiverse", ("pairs",), lambda w: {"pairs": pair_parts.letters()}),
    Idle("report", ("top",), lambda w: {"study": w.lesions, "percent": None, "top": 3}),
    Idle("plot.layer_heatmap", ("percent",), lambda w: {"masks": {"a": w.mask}, "percent": 5}),
    Idle("plot.layer_profile", ("percent",), lambda w: {"found": {"a": w.mask}, "percent": 5}),
    Idle("plot.layer_profile", ("percent",), lambda w: {"quantity": "mean_t", "percent": 5}),
    Idle("plot.t_histogram", ("alpha",), lambda w: {"alpha": 0.2}),
    Idle("lape.record", ("n_blocks",), lambda w: {"n_blocks": 3}),
    Idle("lape.record", ("checkpoint_every",), lambda w: {"checkpoint_every": 3}),
    Idle("lape.generate", ("mode",), lambda w: {"masks": None, "mode": "write"}),
    Idle(
        "lape.steer",
        ("max_tokens", "corpora"),
        lambda w: {"levels": [], "deactivate": [True], "max_tokens": 5},
    ),
    Idle(
        "lape.steer",
        ("controls", "corpora"),
        lambda w: {"levels": [], "deactivate": [True], "controls": ll.controls()},
    ),
    Idle("alignment.encode", ("separator",), lambda w: {"context": "none", "separator": "\n"}),
    Idle(
        "alignment.encode", ("n_folds",), lambda w: {"split": [0, 0, 0, 1, 1, 1] * 2, "n_folds": 3}
    ),
    Idle(
        "alignment.reading_times",
        ("mode",),
        lambda w: {"lesions": None, "controls": None, "mode": "write"},
    ),
    Idle("alignment.reading_times", ("controls",), lambda w: {"lesions": None}),
    Idle(
        "alignment.tuckute2024",
        ("region",),
        lambda w: {"path": w.folder / "tuckute-one.csv", "region": "lang_LH_IFG"},
    ),
    Idle(
        "alignment.ReadingTimes.of",
        ("options",),
        lambda w: {"given": timed(), "options": {"sep": ";"}},
    ),
    Idle(
        "UnitMask.load",
        ("site",),
        lambda w: {"path": w.folder / "mask.safetensors", "site": "mlp_out"},
        "holds units at resid_post, and not at mlp_out",
    ),
)

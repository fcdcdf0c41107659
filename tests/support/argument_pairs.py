"""Arguments of what is done with clean/corrupted pairs; see argument_table."""

import itertools
from typing import Any

import numpy as np
from argument_parts import Entry, same, under
from argument_world import World

import lensloc as ll

BATCH = "batches change speed and memory only"
PROGRESS = "shows a bar, or none"


def told_apart(model: Any, letters: str, n: int = 4) -> ll.Pairs:
    """Pairs that a random model tells apart, all about as much."""
    texts = [(f"{a} 1", f"{b} 1") for a, b in itertools.pairwise(letters)]
    columns = [[one for one, _ in texts], [other for _, other in texts]]
    asked = ll.Pairs.from_texts(*columns, ["Q"] * len(texts), ["R"] * len(texts))
    found = ll.localize_pairs(model, asked, progress=False)
    away = found.clean - found.corrupted
    order = np.abs(away).argsort()[-n:]
    rows = [pair if difference > 0 else pair[::-1] for pair, difference in zip(texts, away)]  # noqa: B905
    return ll.Pairs.from_texts(
        [rows[i][0] for i in order],
        [rows[i][1] for i in order],
        ["Q"] * n,
        ["R"] * n,
        group=["one", "two"] * (n // 2),
        name="letters",
    )


def of_pairs(w: World) -> dict[str, Entry]:
    pairs, others = told_apart(w.model, "abcdefghij"), told_apart(w.model, "klmnopqrst")
    table = pairs.to_dataframe()
    more = others.to_dataframe().assign(other=table["right"] + "x", kind=["a", "b", "c", "d"])
    mixed = table.assign(**{name: more[name] for name in ("other", "kind")})
    texts = {name: table[name].tolist() for name in ("clean", "corrupted", "right", "wrong")}
    files = [w.folder / f"pairs-{name}.csv" for name in "ab"]
    for path, rows in zip(files, (mixed, more), strict=True):
        rows.to_csv(path, index=False)
    semicolons = w.folder / "pairs-c.csv"
    mixed.to_csv(semicolons, index=False, sep=";", encoding="utf-16")
    latin = w.folder / "pairs-d.csv"
    mixed.assign(clean=mixed["clean"] + " ä").to_csv(latin, index=False, encoding="cp1252")
    unequal = ll.Pairs.from_texts(
        ["a 1", "garden"], ["b 1", "gardener"], ["Q", "Q"], ["R", "R"], name="unequal"
    )
    found = ll.localize_pairs(w.model, pairs, progress=False)
    effects = found["resid_post"]
    base = {"model": w.model, "pairs": pairs, "progress": False}
    ranked = {**base, "rankings": effects, "sizes": [2, 50], "n_random": 1, "n_exact": 2}
    measured = ll.faithfulness(**ranked)  # type: ignore[arg-type]
    columns = {
        "clean": "other",
        "corrupted": "right",
        "right": "other",
        "wrong": "other",
        "group": "kind",
        "separator": "_",
        "name": "mine",
    }
    two = {"letters": effects, "reversed": effects.top(k=2)}
    return {
        "localize_pairs": Entry(
            base,
            {
                "model": w.untrained,
                "pairs": others,
                "sites": ["mlp_post"],
                "gradient_at": "corrupted",
                "batch_size": same(2, BATCH),
                "progress": same(True, PROGRESS),
            },
        ),
        "faithfulness": Entry(
            ranked,
            {
                "model": w.untrained,
                "pairs": others,
                "rankings": two,
                "sizes": [3, 50],
                "absolute": True,
                "n_random": 2,
                "n_exact": 3,
                "seed": 1,
                "batch_size": same(2, BATCH),
                "progress": same(True, PROGRESS),
            },
        ),
        "plot.faithfulness": Entry(
            {"found": measured},
            {
                "found": ll.faithfulness(**{**ranked, "rankings": two}),  # type: ignore[arg-type]
                "title": "Mine",
            },
        ),
        "Faithfulness.units_for": Entry(
            {"share": 1e-6}, {"share": 1e6, "ranking": "no such"}, on=measured
        ),
        "PairLocalization.top": Entry(
            {}, {"percent": 5, "k": 3, "absolute": under(True, k=9)}, on=found
        ),
        "PairEffects.top": Entry(
            {}, {"percent": 5, "k": 3, "absolute": under(True, k=9)}, on=effects
        ),
        "PairEffects.ranking": Entry({}, {"absolute": True}, on=effects),
        "PairEffects.agreement": Entry(
            {"other": w.map.t},
            {"other": w.elsewhere["resid_post"].t, "absolute": True},
            on=effects,
        ),
        "PairEffects.to_dataframe": Entry({}, {"mask": w.mask}, on=effects),
        "Pairs.from_texts": Entry(
            texts,
            {
                "clean": texts["wrong"],
                "corrupted": texts["wrong"],
                "right": texts["clean"],
                "wrong": texts["clean"],
                "group": ["a", "b", "c", "d"],
                "separator": under("_", right=["Q"] * 4, wrong=["R"] * 4),
                "name": "mine",
            },
        ),
        "Pairs.from_dataframe": Entry(
            {"table": mixed}, {"table": more, **columns, "separator": under("_", right="clean")}
        ),
        "Pairs.from_file": Entry(
            {"path": files[0]},
            {
                "path": files[1],
                **columns,
                "separator": under("_", right="clean"),
                "sep": under(",", path=semicolons, encoding="utf-16"),
                "encoding": under("cp1252", path=latin, encoding=None),
            },
        ),
        "Pairs.bundled": Entry({"name": "sums"}, {"name": "belief"}),
        "Pairs.keep": Entry({"rows": [0, 1]}, {"rows": [1]}, on=pairs),
        "Pairs.limited": Entry({"limit": 1}, {"limit": 2}, on=pairs),
        "Pairs.split": Entry({"seed": 0}, {"seed": 1}, on=ll.Pairs.bundled("belief")),
        "Pairs.aligned": Entry(
            {"model": w.model},
            {"model": ll.load_model(w.checkpoint, tokenizer=w.other_tokenizer)},
            on=unequal,
        ),
        "Pairs.balance": Entry({}, {"model": w.model}, on=pairs),
    }

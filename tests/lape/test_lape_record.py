"""Recording: counts against a reference that runs one window at a time, corpora, checkpoints."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handwritten
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_models import CONFIGS, CORPUS, make_checkpoint

import lensloc as ll
from lensloc import LensLocError, lape
from lensloc.contrasts import lines
from lensloc.lape import ActivationCounts, corpora, documents
from lensloc.lape import recording as recording_module
from lensloc.lape.corpora import open_corpus
from lensloc.models.tokens import token_ids

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 12
TEXTS = {
    "prose": [CORPUS[0], CORPUS[1], "", "all at once nobody came"],
    "sums": [CORPUS[2], "one and one is two and two is four", CORPUS[2][:30]],
    "nonwords": [CORPUS[3], " ".join(reversed(CORPUS[3].split()))],
}


@pytest.fixture(scope="module")
def doubles(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], Any]:
    """Models in float64, in which no sum is within rounding of zero."""
    folder = tmp_path_factory.mktemp("doubles")
    paths = {name: make_checkpoint(folder / name, make()) for name, make in CONFIGS.items()}
    return {
        (name, backend): ll.load_model(path, backend=backend, dtype="float64")  # type: ignore[arg-type]
        for name, path in paths.items()
        for backend in ("hooked", "bridge")
    } | {
        (name, "original"): transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float64
        )
        for name, path in paths.items()
    }


@pytest.fixture(scope="module")
def llama(doubles: dict[tuple[str, str], Any]) -> Any:
    return doubles["llama", "hooked"]


def joined(model: Any, texts: list[str], bos: Any = "model") -> list[int]:
    return [token for text in texts if text for token in token_ids(model, text, bos)]


def by_hand(original: Any, tokens: list[int], window: int, threshold: float = 0.0) -> torch.Tensor:
    """Counts [layer, neuron] of one window at a time, by a forward pass written out by hand."""
    counts: dict[int, Any] = {}

    def count(site: str, layer: int, value: torch.Tensor) -> torch.Tensor:
        if site == "mlp_pre":
            counts[layer] = counts.get(layer, 0) + (value > threshold).sum(dim=(0, 1))
        return value

    for start in range(0, len(tokens), window):
        handwritten.logits(original, torch.tensor([tokens[start : start + window]]), count)
    return torch.stack([counts[layer] for layer in sorted(counts)])


def record(model: Any, corpora: Any = TEXTS, **options: Any) -> ActivationCounts:
    return lape.record(model, corpora, **({"window": WINDOW, "progress": False} | options))


# -- counting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("threshold", [0.0, 0.25])
def test_counts_equal_one_window_at_a_time(
    doubles: dict[tuple[str, str], Any], name: str, backend: str, threshold: float
) -> None:
    model, original = doubles[name, backend], doubles[name, "original"]
    found = record(model, batch_tokens=3 * WINDOW, threshold=threshold)
    assert found.languages == tuple(TEXTS)
    assert found.counts.dtype == torch.int64
    for place, texts in enumerate(TEXTS.values()):
        tokens = joined(model, texts)
        assert len(tokens) % WINDOW, "the last window should be a shorter one"
        assert found.tokens[place] == len(tokens)
        expected = by_hand(original, tokens, WINDOW, threshold)
        assert torch.equal(found.counts[..., place], expected)


@pytest.mark.parametrize("batch_tokens", [1, 2 * WINDOW, 5 * WINDOW, None])
def test_batches_change_nothing(tiny: Any, batch_tokens: int | None) -> None:
    alone = record(tiny, batch_tokens=WINDOW)
    assert record(tiny, batch_tokens=batch_tokens) == alone
    kept = record(tiny, batch_tokens=batch_tokens, keep_windows=True)
    assert torch.equal(kept.counts, alone.counts)


def test_gated_neurons_are_counted_before_the_up_projection(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "as-is", CONFIGS["llama"]())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "as-is")
    with torch.no_grad():
        for layer in model.model.layers:
            # Both signs turned, so that what the MLP writes, and all that follows, is the same.
            layer.mlp.up_proj.weight.neg_()
            layer.mlp.down_proj.weight.neg_()
    shutil.copytree(tmp_path / "as-is", tmp_path / "negated")
    model.save_pretrained(tmp_path / "negated")
    counts = {
        (folder, site): record(ll.load_model(tmp_path / folder), site=site).counts
        for folder in ("as-is", "negated")
        for site in ("mlp_pre", "mlp_post")
    }
    assert torch.equal(counts["as-is", "mlp_pre"], counts["negated", "mlp_pre"])
    assert not torch.equal(counts["as-is", "mlp_post"], counts["negated", "mlp_post"])


def test_other_sites_are_counted(llama: Any) -> None:
    tokens = torch.tensor(joined(llama, TEXTS["prose"])[:WINDOW])
    _, cache = llama.run_with_cache(tokens[None])
    for site, hook in (("resid_post", "hook_resid_post"), ("z", "attn.hook_z")):
        found = record(llama, {"x": tokens}, site=site, threshold=0.1)
        values = torch.stack([cache[f"blocks.{layer}.{hook}"][0].flatten(1) for layer in range(3)])
        assert torch.equal(found.counts[..., 0], (values > 0.1).sum(dim=1))
        assert found.site == site


def test_half_precision_is_counted_as_it_is(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["gpt2"], dtype="bfloat16")
    tokens = torch.tensor(joined(model, TEXTS["prose"])[:WINDOW])
    _, cache = model.run_with_cache(tokens[None])
    values = torch.stack([cache[f"blocks.{layer}.mlp.hook_pre"][0] for layer in range(3)])
    found = record(model, {"x": tokens}, threshold=0.1, keep_windows=True)
    assert torch.equal(found.counts[..., 0], (values > 0.1).sum(dim=1))


def test_a_lesion_is_counted_and_told(llama: Any) -> None:
    mask = ll.UnitMask("mlp_pre", torch.ones(3, 48, dtype=torch.bool))
    with ll.lesion(llama, mask, check=False):
        found = record(llama)
    assert found.counts.sum() == 0
    assert "zero of 144 units" in found.provenance.lesion
    with pytest.raises(LensLocError, match="lesions of the model"):
        found + record(llama)


def test_the_output_layer_is_not_run(llama: Any) -> None:
    logits = []
    handle = llama.unembed.register_forward_hook(lambda *_: logits.append(1))
    record(llama)
    handle.remove()
    assert not logits
    assert not any(point.fwd_hooks for point in llama.hook_dict.values())


def test_out_of_memory_halves_the_batch(llama: Any, monkeypatch: Any) -> None:
    tokens = {"x": torch.tensor(joined(llama, TEXTS["prose"]) * 3)[: 15 * WINDOW]}
    expected = record(llama, tokens)
    original, sizes = llama.forward, []

    def small_machine(ids: torch.Tensor, **options: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(ids, **options)

    monkeypatch.setattr(llama, "forward", small_machine)
    assert record(llama, tokens, batch_tokens=6 * WINDOW) == expected
    # What was too large once is not tried again.
    assert sizes == [6, 3, 1, 2, 3, 1, 2, 2, 2, 2, 2, 1]


def test_activations_that_are_not_finite_are_an_error(checkpoints: dict[str, Path]) -> None:
    model = ll.load_model(checkpoints["llama"])
    with torch.no_grad():
        model.blocks[1].mlp.W_in[0, 0] = torch.inf
    with pytest.raises(LensLocError, match="not all finite"):
        record(model)


# -- corpora ---------------------------------------------------------------------------------------


class Dataset:
    """What lensloc needs of a ``datasets`` data set."""

    column_names = ["title", "text"]  # noqa: RUF012

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def select_columns(self, columns: list[str]) -> "Dataset":
        assert columns == ["text"]
        return self

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[dict[str, str]]:
        return ({"text": text} for text in self.texts)


def test_every_kind_of_corpus_gives_the_same(llama: Any, tmp_path: Path) -> None:
    texts = ["the old gardener", "line one\nline two", 'nobody, "quoted" und größer', CORPUS[3]]
    tokens = joined(llama, texts)
    table = pd.DataFrame({"id": range(4), "text": texts})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    lines = [json.dumps({"text": text, "id": 1}) for text in texts]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, text in enumerate(texts[:3]):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    (folder / "more.jsonl").write_text(lines[3])
    (folder / "notes.md").write_text("not read")
    np.save(tmp_path / "a.npy", np.array(tokens, dtype=np.uint16))
    torch.save(torch.tensor(tokens), tmp_path / "a.pt")
    torch.save(torch.tensor(tokens), tmp_path / "id.en.train.llama")
    save_file({"tokens": torch.tensor(tokens).int()}, tmp_path / "a.safetensors")
    corpora = {
        "list": texts,
        "iterator": iter(texts),
        "rows": ({"text": text} for text in texts),
        "data set": Dataset(texts),
        "table": table,
        "series": table["text"],
        "tensor": torch.tensor(tokens),
        "array": np.array(tokens),
        "documents of tokens": (token_ids(llama, text) for text in texts),
        **{path.name: path for path in sorted(tmp_path.glob("a.*"))},
        "str": str(tmp_path / "a.csv"),
        "folder": folder,
        "published tokens": tmp_path / "id.en.train.llama",
    }
    assert len(corpora) == 18
    found = record(llama, corpora)
    assert found.tokens.tolist() == [len(tokens)] * len(corpora)
    assert (found.counts == found.counts[..., :1]).all()
    assert len({hashes for hashes in found.sources.values()}) == 1


def test_rows_of_tokens_are_windows_of_their_own(llama: Any, tmp_path: Path) -> None:
    tokens = torch.tensor(joined(llama, TEXTS["prose"])[:40]).reshape(5, 8)
    save_file({"x": tokens}, tmp_path / "rows.safetensors")
    np.save(tmp_path / "rows.npy", tokens.numpy())
    expected = record(llama, {"x": tokens.flatten()}, window=8)
    for rows in (tokens, tmp_path / "rows.safetensors", tmp_path / "rows.npy"):
        found = record(llama, {"x": rows}, window=20)
        assert torch.equal(found.counts, expected.counts)
    with pytest.raises(LensLocError, match="row 1: 8 tokens, but a window holds 7"):
        record(llama, {"x": tokens}, window=7)


def test_a_long_text_is_read_in_pieces(llama: Any, tmp_path: Path, monkeypatch: Any) -> None:
    text = "\n".join(CORPUS) + " größer" * 20
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(documents, "_PIECE", 50)
    monkeypatch.setattr(lines, "_BLOCK", 7)
    pieces = [document.content for document in open_corpus("x", [text]).documents]
    read = open_corpus("x", tmp_path / "long.txt").documents
    assert len(pieces) > 5
    assert "".join(pieces) == text
    assert all(len(piece) <= 50 for piece in pieces)
    found = list(read)
    assert [document.content for document in found] == pieces
    assert found[-1].read == 1
    assert not found[0].continues
    assert all(document.continues for document in found[1:])
    with_bos = record(llama, {"x": tmp_path / "long.txt"}, bos="add")
    without = record(llama, {"x": tmp_path / "long.txt"}, bos="none")
    assert with_bos.tokens - without.tokens == 1


def test_a_beginning_of_text_token_stands_before_every_document(llama: Any) -> None:
    found = {bos: record(llama, bos=bos) for bos in ("model", "add", "none")}
    assert (found["add"].tokens - found["none"].tokens).tolist() == [3, 3, 2]
    assert [found[bos].provenance.prepends_bos for bos in found] == [
        llama.cfg.default_prepend_bos,
        True,
        False,
    ]
    tokens = joined(llama, TEXTS["sums"], "add")
    assert record(llama, {"sums": torch.tensor(tokens)}).counts.equal(
        found["add"].only(["sums"]).counts
    )


@pytest.mark.parametrize("max_tokens", [1, WINDOW, 29, 10**6])
def test_max_tokens_are_counted_exactly(
    llama: Any, doubles: dict[tuple[str, str], Any], max_tokens: int
) -> None:
    found = record(llama, max_tokens=max_tokens)
    for place, texts in enumerate(TEXTS.values()):
        tokens = joined(llama, texts)[:max_tokens]
        assert found.tokens[place] == len(tokens)
        expected = by_hand(doubles["llama", "original"], tokens, WINDOW)
        assert torch.equal(found.counts[..., place], expected)


def test_an_endless_corpus_is_read_only_as_far_as_needed(llama: Any) -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(1)
            yield CORPUS[0]

    found = record(llama, {"x": endless()}, max_tokens=100)
    assert found.tokens.tolist() == [100]
    assert len(taken) <= 100 // 20 + 2


def test_the_window_is_the_context_unless_said(llama: Any, monkeypatch: Any) -> None:
    assert record(llama, window=None).window == 96
    monkeypatch.setattr(corpora, "_LONGEST_WINDOW", 40)
    assert record(llama, window=None).window == 40


BAD_CORPORA: dict[str, tuple[Any, str]] = {
    "nothing": ([], "language 'x' holds no text; give it some"),
    "blank": (["", "  \n"], "language 'x' holds no text"),
    "no tokens": (torch.zeros(0, dtype=torch.long), "language 'x' holds no text"),
    "number": (5, "corpus of 'x' is of type int"),
    "splits": ({"train": ["a"]}, "corpus of 'x' is of type dict"),
    "floats": (torch.zeros(3), r"array of torch.float32 of shape \(3,\)"),
    "cube": (torch.zeros(1, 2, 3).long(), "array of torch.int64"),
    "unknown token": (torch.tensor([5, 320]), "token 320, but the model knows 0 to 319"),
    "negative token": (np.array([5, -1]), "token -1"),
    "ints": ([1, 2], "Text 1 of 'x' is neither text nor a row of token ids but of type int"),
    "no text": ([{"texts": "a"}], "Text 1 of 'x' lacks the column 'text'; it has texts"),
    "table": (pd.DataFrame({"a": [1]}), "lacks the column 'text'; it has a"),
    "path": ("nowhere.txt", r"no file or folder nowhere.txt; .* give a list"),
}


@pytest.mark.parametrize("kind", list(BAD_CORPORA))
def test_bad_corpora_are_found_out_before_anything_is_run(
    llama: Any, monkeypatch: Any, kind: str
) -> None:
    monkeypatch.setattr(llama, "forward", None)
    given, message = BAD_CORPORA[kind]
    with pytest.raises(LensLocError, match=message):
        record(llama, {"good": ["the old gardener"], "x": given})


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "a.txt": (b"gr\xfc\xdfe", "not UTF-8 text"),
    "b.jsonl": (b'{"text": "a"}\n{"text": 5}\n', "b.jsonl, row 2: its text is of type int"),
    "c.jsonl": (b'{"text": "a"}\n{"text"', "row 2: not JSON"),
    "d.jsonl": (b'{"text": "a"}\n[1]', "row 2: not a JSON object"),
    "e.jsonl": (b'{"txt": "a"}', "row 1: lacks the field 'text'"),
    "f.jsonl": (b'{"text": "a"}\n\xff', "row 2 is not UTF-8"),
    "g.csv": (b"id,txt\n1,a\n", "lacks the column 'text'; it has id, txt"),
    "h.csv": (b"id,text\n1,a,b\n", "row 2: more cells"),
    "i.csv": (b'id,text\n1,"a"b"\n', "not a readable CSV"),
    "j.parquet": (b"nothing", "not a readable Parquet file"),
    "k.npy": (b"nothing", "not a plain .npy array"),
    "l.pt": (b"nothing", "not a readable torch file|could run code"),
    "m.safetensors": (b"nothing", "not a readable .safetensors file"),
    "n.docx": (b"nothing", "is none of the files that are read"),
    "o.csv": (b"id,text\n1\n", "its text is missing"),
}


@pytest.mark.parametrize("name", list(BAD_FILES))
def test_bad_files_are_named_with_their_row(llama: Any, tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LensLocError, match=message) as caught:
        record(llama, {"x": tmp_path / name})
    assert name in str(caught.value)


def test_other_bad_token_files(llama: Any, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2).long(), "b": torch.ones(2).long()}, tmp_path / "a.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "b.safetensors")
    torch.save({"a": torch.ones(2).long()}, tmp_path / "c.pt")
    np.save(tmp_path / "d.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "empty").mkdir()
    for name, message in {
        "a.safetensors": "holds 2 tensors",
        "b.safetensors": "an array of F32",
        "c.pt": "of type dict, not a tensor",
        "d.npy": "pickled, which are never loaded",
        "empty": "holds no .txt",
    }.items():
        with pytest.raises(LensLocError, match=message):
            record(llama, {"x": tmp_path / name})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 97}, "window is 1 to 96 tokens"),
        ({"window": 0}, "window is 1 to 96 tokens"),
        ({"max_tokens": 0}, "max_tokens is at least 1"),
        ({"batch_tokens": 0}, "batch_tokens is 1 to"),
        ({"threshold": float("nan")}, "threshold is a number"),
        ({"n_blocks": 1}, "n_blocks is at least 2"),
        ({"site": "nowhere"}, "no site 'nowhere'"),
    ],
)
def test_options_out_of_range_are_refused(
    llama: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(LensLocError, match=message):
        record(llama, **options)
    with pytest.raises(LensLocError, match="There is no corpus"):
        record(llama, {})


def test_mixtures_of_experts_are_refused(llama: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(llama.cfg, "num_experts", 4)
    with pytest.raises(LensLocError, match="mixtures of experts"):
        record(llama)


def test_without_a_tokenizer_tokens_are_counted_and_texts_are_not(llama: Any) -> None:
    bare = copy.copy(llama)
    bare.tokenizer = None
    tokens = {name: torch.tensor(joined(llama, texts)) for name, texts in TEXTS.items()}
    assert torch.equal(record(bare, tokens).counts, record(llama).counts)
    with pytest.raises(LensLocError, match="no tokenizer"):
        record(bare)


# -- checkpoints -----------------------------------------------------------------------------------


def failing(model: Any, monkeypatch: Any, calls: int, error: BaseException) -> None:
    """Let the model fail in the middle of its pass, after so many calls."""
    original, count = model.forward, []

    def run(tokens: torch.Tensor, **options: Any) -> Any:
        count.append(1)
        if len(count) > calls:
            original(tokens, stop_at_layer=2, **options)
            raise error
        return original(tokens, **options)

    monkeypatch.setattr(model, "forward", run)


@pytest.mark.parametrize("calls", [0, 1, 3, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), LensLocError("bad row"), MemoryError()])
def test_an_interrupted_recording_goes_on_where_it_stopped(
    llama: Any, tmp_path: Path, calls: int, error: BaseException
) -> None:
    options: dict[str, Any] = {"batch_tokens": 2 * WINDOW, "keep_windows": True, "n_blocks": 3}
    runs: list[int] = []
    original = llama.forward

    def counted(ids: torch.Tensor, **more: Any) -> Any:
        runs.append(1)
        return original(ids, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama, "forward", counted)
        whole = record(llama, **options)
    total = len(runs)
    assert total > 6
    path = tmp_path / "deep" / "checkpoint.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        failing(llama, patch, calls, error)
        # What does not fit into the memory is told in a sentence.
        expected = LensLocError if isinstance(error, MemoryError) else type(error)
        with pytest.raises(expected):
            record(llama, checkpoint=path, **options)
    assert path.exists() == (calls > 0)
    runs.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama, "forward", counted)
        assert record(llama, checkpoint=path, **options) == whole
        assert len(runs) == total - calls, "what was counted is counted again"
        assert record(llama, checkpoint=path, **options) == whole
        assert len(runs) == total - calls, "a finished recording is run again"


def test_a_killed_recording_goes_on_from_its_last_checkpoint(llama: Any, tmp_path: Path) -> None:
    whole = record(llama, batch_tokens=WINDOW)
    path, aside = tmp_path / "checkpoint.safetensors", tmp_path / "aside.safetensors"

    def texts() -> Iterator[str]:
        yield from TEXTS["sums"][:2]
        # What a process that is killed now, without warning, leaves behind.
        shutil.copy(path, aside)
        yield TEXTS["sums"][2]

    corpora = {**TEXTS, "sums": texts()}
    record(llama, corpora, batch_tokens=WINDOW, checkpoint=path, checkpoint_every=1)
    state = json.loads(_metadata(aside)["record"])
    seen = [language["windows"] for language in state["languages"]]
    assert seen[0] > 1
    assert state["languages"][0]["done"]
    assert 0 < seen[1] < int(whole.tokens[1]) // WINDOW + 1
    assert seen[2] == 0
    assert record(llama, batch_tokens=WINDOW, checkpoint=aside) == whole
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_checkpoints_are_written_every_so_many_tokens(
    llama: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    written = []
    save = recording_module.save_checkpoint

    def saved(path: Path, settings: Any, tallies: Any) -> None:
        written.append(sum(tally.tokens for tally in tallies))
        save(path, settings, tallies)

    monkeypatch.setattr(recording_module, "save_checkpoint", saved)
    path = tmp_path / "checkpoint.safetensors"
    tokens = torch.tensor(joined(llama, TEXTS["prose"]) * 5)[:200]
    record(llama, {"x": tokens}, batch_tokens=WINDOW, checkpoint=path, checkpoint_every=3 * WINDOW)
    assert written == [36, 72, 108, 144, 180, 200]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 10}, r"another window \(12, not 10\)"),
        ({"threshold": 0.5}, "another threshold"),
        ({"site": "mlp_out"}, "another site"),
        ({"max_tokens": 7}, "another max_tokens"),
        ({"bos": "add"}, "another bos"),
        ({"keep_windows": True}, "another n_blocks"),
        ({"corpora": {"prose": TEXTS["prose"]}}, "another list of languages"),
        ({"corpora": {**TEXTS, "prose": TEXTS["sums"]}}, "another corpus of the language 'prose'"),
        (
            {"corpora": {**TEXTS, "sums": TEXTS["sums"][:1]}},
            "another corpus of the language 'sums'",
        ),
        (
            {"corpora": {**TEXTS, "nonwords": [*TEXTS["nonwords"], "more"]}},
            "another corpus of the language 'nonwords'",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_kept(
    llama: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole = record(llama, checkpoint=path)
    content = path.read_bytes()
    with pytest.raises(LensLocError, match=message):
        record(llama, **({"checkpoint": path} | options))
    assert path.read_bytes() == content
    assert record(llama, checkpoint=path) == whole


def test_a_checkpoint_of_another_model_is_refused(
    doubles: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    record(doubles["llama", "hooked"], checkpoint=path)
    for other in (("neox", "hooked"), ("llama", "bridge")):
        with pytest.raises(LensLocError, match="made with another model"):
            record(doubles[other], checkpoint=path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "counts"])
def test_a_damaged_checkpoint_is_refused_and_kept(llama: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    counts = record(llama, checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "counts":
        counts.save(path, overwrite=True)
    else:
        content[-20] ^= 4
        path.write_bytes(content)
    left = path.read_bytes()
    with pytest.raises(LensLocError, match=r"damaged|not a checkpoint of recording"):
        record(llama, checkpoint=path)
    assert path.read_bytes() == left


def test_a_place_for_checkpoints_that_cannot_be_written(llama: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LensLocError, match="checkpoint's folder"):
        record(llama, checkpoint=tmp_path / "file" / "checkpoint.safetensors")


# -- shards and stretches --------------------------------------------------------------------------


def test_two_shards_are_the_whole(llama: Any, tmp_path: Path) -> None:
    tokens = torch.tensor(joined(llama, TEXTS["prose"]))
    half = len(tokens) // 2 // WINDOW * WINDOW
    other = {"sums": TEXTS["sums"]}
    first = record(llama, {"prose": tokens[:half], **other})
    second = record(llama, {"prose": tokens[half:]})
    whole = record(llama, {"prose": tokens, **other})
    for both in (first + second, (second + first).only(["prose", "sums"])):
        assert both == whole
    assert len((first + second).sources["prose"]) == 2
    loaded = ActivationCounts.load(first.save(tmp_path / "first.safetensors"))
    assert loaded + second == whole
    assert loaded.provenance == first.provenance
    with pytest.raises(LensLocError, match="the same text of 'prose'"):
        first + first


def test_counts_of_different_models_are_not_added(
    doubles: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    found = {key: record(doubles[key]) for key in (("llama", "hooked"), ("llama", "bridge"))}
    another = ll.load_model(make_checkpoint(tmp_path / "x", CONFIGS["llama"](), seed=1))
    for other in (found["llama", "bridge"], record(another)):
        with pytest.raises(LensLocError, match="Counts of different models cannot be added"):
            found["llama", "hooked"] + other


@pytest.mark.parametrize("n_blocks", [2, 3, 5, 100])
def test_stretches_are_joined_until_they_are_few(llama: Any, n_blocks: int) -> None:
    tokens = torch.tensor(joined(llama, TEXTS["prose"]) * 4)
    corpora = {"long": tokens[:200], "short": tokens[:50]}
    found = record(llama, corpora, keep_windows=True, n_blocks=n_blocks, batch_tokens=3 * WINDOW)
    windows = found.windows
    assert windows is not None
    size = 1
    while size * n_blocks < 17:  # windows of the longer text
        size *= 2
    assert windows.size == size
    for place, (name, ids) in enumerate(corpora.items()):
        chosen = windows.language == place
        parts = ids.split(size * WINDOW)
        assert windows.tokens[chosen].tolist() == [len(part) for part in parts]
        for counts, part in zip(windows.counts[chosen], parts, strict=True):
            assert torch.equal(counts.long(), record(llama, {name: part}).counts[..., 0])
    assert torch.equal(found.counts, record(llama, corpora).counts)


def test_a_progress_bar_is_shown_unless_not_wanted(llama: Any, capsys: Any) -> None:
    record(llama, progress=False)
    assert capsys.readouterr() == ("", "")
    found = record(llama, {**TEXTS, "endless": iter(TEXTS["sums"])}, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{int(found.tokens.sum()):,} tokens" in shown.err


def test_from_text_to_neurons(llama: Any) -> None:
    counts = record(llama, keep_windows=True, window=4)
    found = lape.identify(counts, top_rate=0.1, null=lape.null(counts, 99))
    assert set(found.table.columns) >= {"null_entropy", "below_null"}
    language = max(found.masks, key=lambda name: len(found.masks[name]))
    with ll.lesion(llama, found.masks[language]) as opened:
        llama(torch.tensor([[1, 2, 3]]))
    assert opened.effect.took_effect

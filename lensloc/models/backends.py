"""A transformers model that was read -> the class that was asked for, checked."""

import contextlib
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lensloc.display.places import is_file, is_folder
from lensloc.errors import LensLocError
from lensloc.models.anatomy import heads_of
from lensloc.models.check import (
    ModelCheck,
    Reference,
    check_model,
    reference_activations,
    require_passed,
)
from lensloc.models.convert import (
    CONVERTIBLE,
    Place,
    filled,
    has_hooked,
    require_hooked,
    to_hooked_transformer,
)
from lensloc.models.quantized import is_quantized
from lensloc.models.reading import Source, aliases, first_line, unreadable
from lensloc.models.sharding import group_of
from lensloc.models.surface import Model
from lensloc.models.texts import adopt_tokenizer
from lensloc.models.tokens import added_around, token_ids

log = logging.getLogger(__name__)


_NATIVE_PREFIXES = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")


def become(
    read: Callable[[], Source], place: Place, backend: str, *, spread: bool
) -> tuple[Any, Source, str, ModelCheck]:
    """Read a model and make it one of the class that was asked for.

    Args:
        read: reads it; called again where a conversion failed halfway, which gives up the weights.
        place: where it goes.
        backend: the class.
        spread: whether its weights are on their devices already.

    Returns:
        The model; what was read; its class, as a backend; the outcome of its check.

    Raises:
        LensLocError: if it cannot be converted, or does not pass its check.
    """
    source = read()
    packed = is_quantized(source.hf_model)
    backend = _fitting(source, backend, packed=packed, spread=spread)
    if backend in ("hooked", "auto"):
        architecture = type(source.hf_model).__name__
        try:
            return _hooked(source, place)
        except LensLocError as error:
            if backend == "hooked":
                raise
            expected = architecture in CONVERTIBLE and has_hooked()
            level = logging.WARNING if expected else logging.INFO
            log.log(level, "%s Using TransformerBridge.", error)
        if source.hf_model is None:
            source = read()
    where = None if spread or packed else place.device
    if backend != "transformers":
        try:
            return _bridged(source, where)
        except LensLocError as error:
            if backend == "bridge":
                raise
            log.warning("%s Using transformers' own model.", error)
            source = read()  # the bridge changes parts of the model that it is given
    return _plain(source, where)


def _fitting(source: Source, backend: str, *, packed: bool, spread: bool) -> str:
    """Return the backend, where auto leaves no choice; refuse what the one asked for cannot do."""
    if backend == "auto":
        return "transformers" if packed or spread else "auto"
    if backend == "hooked" and packed:
        raise LensLocError(
            f"HookedTransformer cannot hold the quantised weights of {source.name} "
            f'({source.quantization or "packed numbers"}); load it with backend="transformers".'
        )
    return backend


def _hooked(source: Source, place: Place) -> tuple[Any, Source, str, ModelCheck]:
    require_hooked(source.name)
    hf_model = source.hf_model
    if type(hf_model).__name__ in CONVERTIBLE:
        reference, dtype, given = reference_activations(hf_model), hf_model.dtype, [source.take()]
    else:  # refused in a sentence, without a forward pass
        reference, dtype, given = None, hf_model.dtype, [hf_model]
    del hf_model
    model = to_hooked_transformer(
        given, source.tokenizer, name=source.name, dtype=dtype, place=place
    )
    return model, source, "hooked", _finished(model, source, reference)


def _bridged(source: Source, device: str | None) -> tuple[Any, Source, str, ModelCheck]:
    if device is not None:
        source.hf_model.to(device)
    reference = reference_activations(source.hf_model)
    model = _to_bridge(source, device)
    return model, source, "bridge", _finished(model, source, reference)


def _to_bridge(source: Source, device: str | None) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    hf_model = source.hf_model
    with contextlib.suppress(AttributeError, ValueError, KeyError):
        # What the bridge hooks into exists only in the plain implementation of attention.
        hf_model.set_attn_implementation("eager")
    # Without a tokenizer the bridge would look for one on the hub.
    stand_in = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"": 0}, "")))
    # A name that it knows as a short form of another's would be taken for that.
    name = source.name if source.name.count("/") == 1 else "checkpoint"
    try:
        bridge = TransformerBridge.boot_transformers(
            name, hf_model=hf_model, tokenizer=stand_in, dtype=hf_model.dtype, device=device
        )
    except (ValueError, KeyError, NotImplementedError, AttributeError, RuntimeError) as error:
        raise LensLocError(
            f"TransformerBridge cannot hold {source.name} ({type(hf_model).__name__}: "
            f"{first_line(error)})."
        ) from error
    bridge.cfg.model_name = source.name
    adopt_tokenizer(bridge, source.tokenizer)
    return bridge.eval()


def _plain(source: Source, device: str | None) -> tuple[Any, Source, str, ModelCheck]:
    model = source.hf_model
    if device is not None:
        model.to(device)
    give_tokenizer(model, source.tokenizer)
    return model, source, "transformers", _finished(model, source, _reference(model))


def _reference(model: Any) -> Reference:
    """Run a plain model for the first time; each rank of a sharded one has some of the heads.

    Raises:
        LensLocError: if its heads cannot be shared out over the ranks.
    """
    try:
        return reference_activations(model)
    except RuntimeError as error:  # of shapes that do not fit
        group = group_of(model)
        if group is None:
            raise
        n_ranks, config = int(group.size()), model.config.get_text_config()
        heads = heads_of(config)
        of_keys: Any = getattr(config, "num_key_value_heads", None) or heads
        if heads is None or (heads % n_ranks == 0 and of_keys % n_ranks == 0):
            raise
        raise LensLocError(
            f"{heads} attention heads with {of_keys} of keys and values cannot be shared out over "
            f'{n_ranks} ranks; take a number of ranks that divides both, or device_map="auto".'
        ) from error


def give_tokenizer(model: Any, tokenizer: Any) -> None:
    """Put a tokenizer on a transformers model, and whether it adds a beginning-of-text token."""
    model.tokenizer = tokenizer
    model.prepends_bos = (
        tokenizer is not None
        and tokenizer.bos_token_id is not None
        and tokenizer.bos_token_id in added_around(tokenizer)[0]
    )
    model.eval()


def _finished(model: Model, source: Source, reference: Reference | None) -> ModelCheck:
    check = check_model(model, reference)
    require_passed(check, source.name)
    _require_same_tokens(model, source.tokenizer, source.name)
    return check


def _require_same_tokens(model: Model, tokenizer: Any, name: str) -> None:
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


# -- models in TransformerLens' own format ---------------------------------------------------------


def native_name(name: str) -> str | None:
    """Return the official name of a model that exists in TransformerLens' own format only."""
    if is_file(Path(name)) or is_folder(Path(name)):
        return None
    official = aliases().get(name.lower())
    return official if official and official.startswith(_NATIVE_PREFIXES) else None


def load_native(name: str, dtype: torch.dtype, place: Place) -> Any:
    """Load a model that exists in TransformerLens' own format only.

    Raises:
        LensLocError: if it cannot be had whole.
    """
    require_hooked(name)
    loading = importlib.import_module("transformer_lens.loading_from_pretrained")
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
    place.put(model)
    return model.eval()

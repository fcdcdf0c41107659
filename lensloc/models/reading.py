"""Name or path -> a transformers model, with the weights in its files, and its tokenizer."""

import contextlib
import dataclasses
import difflib
import logging
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from transformer_lens import loading_from_pretrained as loading
from transformers import AutoConfig, AutoModelForCausalLM

from lensloc.errors import LensLocError
from lensloc.models import bundled
from lensloc.models.gguf_files import read_gguf
from lensloc.models.names import known_names
from lensloc.models.quiet import hub_is_off, untrained_like
from lensloc.models.tokenizer_files import read_tokenizer
from lensloc.models.weights import require_complete, require_language_model

log = logging.getLogger(__name__)

WAYS = (
    "a bundled model (smollm2-135m), a name that TransformerLens knows (`lensloc models list`), "
    "a hub name (owner/model), a local folder with a transformers checkpoint, or a .gguf file"
)


@dataclass(frozen=True)
class Source:
    """A transformers model that was read, before it becomes a hooked one.

    Attributes:
        name: what it is called.
        hf_model: the model, on the CPU.
        tokenizer: its tokenizer, or None.
        revision: commit of the hub, where it comes from one.
        quantization: how its weights were stored, if not as plain numbers.
        about: what it is, in words, where its name does not say it.
        warnings: what a user of the model should know, in sentences.
    """

    name: str
    hf_model: Any
    tokenizer: Any
    revision: str = ""
    quantization: str = ""
    about: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """How a model is to be read.

    Attributes:
        dtype: of the weights.
        untrained_seed: initialise the weights with this seed instead of reading them.
        trust_remote_code: run code that comes with the model, if it needs some.
        progress: show a progress bar while something is fetched.
    """

    dtype: torch.dtype
    untrained_seed: int | None = None
    trust_remote_code: bool = False
    progress: bool = True


def read(name: str, wanted: Wanted) -> Source:
    """Read a model from wherever its name or path says that it is.

    Raises:
        LensLocError: for an unknown name, or a model that cannot be read whole.
    """
    path = Path(name).expanduser()
    if name.lower() in bundled.BUNDLED:
        model = bundled.BUNDLED[name.lower()]
        return _read_bundled(model, wanted)
    if path.is_file():
        if path.suffix != ".gguf":
            raise LensLocError(f"{path} is a file but not a .gguf; models are {WAYS}.")
        return _read_gguf(path, wanted)
    if path.is_dir():
        return _read_folder(path, wanted)
    alias = loading.make_model_alias_map().get(name.lower())
    if alias is not None:
        return _read_checkpoint(alias, alias, wanted)
    if name.startswith((".", "/", "~")) or path.suffix == ".gguf" or name.count("/") > 1:
        raise LensLocError(f"There is no file or folder {path}; a model is {WAYS}.")
    if "/" in name:
        return _read_checkpoint(name, name, wanted)
    raise LensLocError(f"There is no model {name!r}{closest(name)}; a model is {WAYS}.")


def _read_bundled(model: bundled.BundledModel, wanted: Wanted) -> Source:
    folder = bundled.fetch(model, progress=wanted.progress)
    found = _read_checkpoint(str(folder), model.name, wanted)
    if wanted.untrained_seed is not None:
        about = f"the architecture of {model.model}, as initialised" if model.model else ""
        return dataclasses.replace(found, about=about)
    return dataclasses.replace(found, about=model.in_words, quantization=model.quantization)


def _read_folder(folder: Path, wanted: Wanted) -> Source:
    if (folder / "config.json").is_file():
        return _read_checkpoint(str(folder), folder.name, wanted)
    packed = sorted(folder.glob("*.gguf"))
    if len(packed) == 1:
        return _read_gguf(packed[0], wanted)
    if (folder / "adapter_config.json").is_file():
        raise LensLocError(
            f"The folder {folder} holds an adapter (LoRA) without its model; merge the two "
            "(merge_and_unload) and save them as one."
        )
    raise LensLocError(
        f"The folder {folder} holds no transformers checkpoint (no config.json"
        + (f", but {len(packed)} .gguf files; name one of them)." if packed else ").")
    )


def _read_gguf(path: Path, wanted: Wanted) -> Source:
    found = read_gguf(path, wanted.dtype, untrained_seed=wanted.untrained_seed)
    return Source(
        path.stem,
        found.hf_model,
        found.tokenizer,
        quantization=found.quantization,
        warnings=found.warnings,
    )


def _read_checkpoint(location: str, name: str, wanted: Wanted) -> Source:
    """Read a folder or a hub repository with transformers."""
    trust = wanted.trust_remote_code
    place = f"The folder {location}" if Path(location).is_dir() else name
    warnings: tuple[str, ...] = ()
    with _told(location, name):
        config = AutoConfig.from_pretrained(location, trust_remote_code=trust)
        if wanted.untrained_seed is not None:
            model = untrained_like(
                config, wanted.untrained_seed, wanted.dtype, trust_remote_code=trust
            )
        else:
            model, info = AutoModelForCausalLM.from_pretrained(
                location,
                config=config,
                dtype=wanted.dtype,
                trust_remote_code=trust,
                ignore_mismatched_sizes=True,  # told by the next line
                output_loading_info=True,
            )
            warnings = require_complete(info, model, config, place)
            require_language_model(config, place)
        tokenizer = read_tokenizer(location, trust_remote_code=trust)
    return Source(
        name,
        model.eval(),
        tokenizer,
        _commit(location),
        quantization="" if wanted.untrained_seed is not None else _quantization(model.config),
        warnings=warnings,
    )


def _quantization(config: Any) -> str:
    """Say how the weights of a checkpoint are stored, by its configuration."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return ""
    fields = settings if isinstance(settings, dict) else settings.to_dict()
    method = fields.get("quant_method")
    bits = fields.get("bits") or (4 if fields.get("load_in_4bit") else None)
    name = str(getattr(method, "value", method) or "quantised")
    return f"{name}, {bits}-bit" if bits else name


@contextlib.contextmanager
def _told(location: str, name: str) -> Iterator[None]:
    """Say in a sentence what transformers raises about a checkpoint."""
    errors = (ValueError, KeyError, RuntimeError, SafetensorError, NotImplementedError)
    try:
        yield
    except LensLocError:
        raise
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unreadable(location, name, error) from error
    except (*errors, ImportError, AttributeError, TypeError) as error:
        if "trust_remote_code" in str(error):
            raise LensLocError(
                f"{location} needs code of its own (auto_map in its configuration), which could do "
                "anything on this machine; to run it all the same, say trust_remote_code=True "
                "(--trust-remote-code)."
            ) from error
        raise LensLocError(
            f"{location} is not a checkpoint that transformers can read "
            f"({first_line(error)}); check that it is complete and a language model."
        ) from error


def _commit(repository: str) -> str:
    """Return the commit of a hub repository that its files in the cache are of."""
    if Path(repository).is_dir():
        return ""
    cached = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else ""


# -- names -----------------------------------------------------------------------------------------


def closest(name: str) -> str:
    """Return the three known names that are closest to one, in brackets."""
    short = {known.split("/")[-1]: known for known in reversed(known_names())}
    close = difflib.get_close_matches(name.lower().split("/")[-1], list(short), n=3, cutoff=0)
    return f" (closest: {', '.join(short[match] for match in close)})"


def unreadable(location: str, name: str, error: Exception) -> LensLocError:
    """Return what is to be raised where a folder or a hub repository cannot be read."""
    if Path(location).is_dir():
        return LensLocError(
            f"The folder {location} is not a complete transformers checkpoint "
            f"({first_line(error)})."
        )
    known = location.lower() in loading.make_model_alias_map()
    unknown = "" if known else f" It is not a name that TransformerLens lists{closest(name)}."
    missing = _missing_hub_file(location)
    if missing is None:
        return LensLocError(f"{name} could not be loaded ({first_line(error)}).{unknown}")
    reason = "the hub is switched off (HF_HUB_OFFLINE)" if hub_is_off() else first_line(error)
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


def first_line(error: BaseException) -> str:
    """Return the gist of an error; libraries may list all that they know behind it."""
    lines = str(error).strip().splitlines()
    gist = (lines[0] if lines else type(error).__name__).strip().rstrip(".")
    # The report that transformers refers to is in a log that nobody sees.
    gist = re.sub(r"\.? For details look at .*report!?", ", some may be missing", gist)
    return textwrap.shorten(gist, 200, placeholder=" …")


def pull_from_hub(name: str) -> Path:
    """Fetch a model of the hub into the hub's cache.

    Returns:
        The folder it is in.

    Raises:
        LensLocError: for a name that the hub does not have, or without network.
    """
    repository = loading.make_model_alias_map().get(name.lower(), name)
    if "/" not in repository and repository == name and name.lower() not in known_names():
        raise LensLocError(f"There is no model {name!r}{closest(name)}; a model is {WAYS}.")
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unreadable(repository, name, error) from error

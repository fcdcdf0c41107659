"""UnitMask -> the file that brain-score's localizer looks for, and the lines to run there."""

from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from markupsafe import Markup

from lensloc.display import markup
from lensloc.display.files import write_file
from lensloc.errors import LensLocError
from lensloc.units.mask import UnitMask, describe
from lensloc.units.mask_files import npy_bytes

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
_SCRIPT = Path(__file__).with_name("brainscore_script.txt")


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
        code = Markup("<pre>{}</pre>").format(self.script)
        return markup.card(f"Mask for brain-score: {self.path}", code)


def write_brainscore(
    mask: UnitMask, folder: Path, model_id: str | None, *, benchmark: str, overwrite: bool
) -> BrainScoreFiles:
    """Write a mask where brain-score's localizer finds it; see :meth:`UnitMask.to_brainscore`.

    Raises:
        LensLocError: another site; no model's name; another file that is there already.
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
    path = folder / f"{name.replace('/', '_')}_language_mask.npy"
    write_file(path, npy_bytes(mask.mask.numpy().astype(np.int64)), overwrite=overwrite)
    n_layers, width = mask.shape
    blocks = _BLOCKS.get(mask.provenance.architecture, _USUAL)
    script = Template(_SCRIPT.read_text(encoding="utf-8")).substitute(
        folder=repr(str(path.parent.absolute())),
        model=repr(name),
        blocks=blocks.replace("{}", "{layer}"),
        layers=n_layers,
        width=width,
        units=len(mask),
        benchmark=repr(benchmark),
    )
    return BrainScoreFiles(path, script)

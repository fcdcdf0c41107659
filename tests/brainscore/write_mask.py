"""Write a mask for brain-score into a folder; run here, by ``make test-brainscore``."""

import json
import sys
from pathlib import Path

import torch

import lensloc as ll

mask = torch.zeros(3, 32, dtype=torch.bool)
mask[0, [3, 7]] = mask[2, [1, 30]] = True
folder = Path(sys.argv[1])
found = ll.UnitMask("resid_post", mask).to_brainscore(folder, "owner/my-model", overwrite=True)
(folder / "units.json").write_text(json.dumps(mask.nonzero().tolist()))
print(found.path)

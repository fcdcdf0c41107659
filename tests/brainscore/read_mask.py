"""Read the mask by brain-score's own code; run in its own environment, which has no lensloc.

Its localizer must return the mask instead of localizing, and its subject must record these units of
a model, and no others, layer by layer.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
import transformers
from brainscore_language import ArtificialSubject
from brainscore_language.model_helpers.huggingface import HuggingfaceSubject
from brainscore_language.model_helpers.localize import localize_fedorenko2010
from tokenizers import Tokenizer, models, pre_tokenizers

NAME, LAYERS, WIDTH = "owner/my-model", 3, 32
folder = Path(os.environ["BRAINIO"])
units = json.loads((folder / "units.json").read_text())
names = [f"transformer.h.{layer}" for layer in range(LAYERS)]

mask = localize_fedorenko2010(
    model_id=NAME,
    model=None,  # is not run, since the mask is there
    top_k=len(units),
    tokenizer=None,
    hidden_dim=WIDTH,
    layer_names=names,
    batch_size=1,
    device="cpu",
)
assert mask.shape == (LAYERS, WIDTH), mask.shape
assert np.argwhere(mask).tolist() == units
print(f"localize_fedorenko2010: {int(mask.sum())} units, as written")

torch.manual_seed(0)
model = transformers.GPT2LMHeadModel(
    transformers.GPT2Config(vocab_size=8, n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=32)
).eval()
words = Tokenizer(models.WordLevel({w: n for n, w in enumerate("<unk> a b c d".split())}, "<unk>"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=words,
    unk_token="<unk>",
    pad_token="<unk>",
    model_max_length=32,
    model_input_names=["input_ids", "attention_mask"],  # GPT-2 would embed token types as words
)
subject = HuggingfaceSubject(
    model_id=NAME,
    region_layer_mapping={ArtificialSubject.RecordingTarget.language_system: names},
    model=model,
    tokenizer=tokenizer,
    use_localizer=True,
    localizer_kwargs={"hidden_dim": WIDTH, "batch_size": 1, "top_k": len(units)},
)
subject.start_neural_recording(
    ArtificialSubject.RecordingTarget.language_system, ArtificialSubject.RecordingType.fMRI
)
recorded = subject.digest_text(["a b c d"])["neural"]
states: list[torch.Tensor] = []
for block in model.transformer.h:
    block.register_forward_hook(lambda m, i, o: states.append(o[0] if isinstance(o, tuple) else o))
with torch.no_grad():
    model(torch.tensor([tokenizer("a b c d").input_ids]))
expected = [states[layer][0, -1, unit].item() for layer, unit in units]
np.testing.assert_allclose(recorded.values[0], expected, atol=1e-6)
print(f"HuggingfaceSubject: {recorded.shape[1]} units recorded, their activations as computed here")

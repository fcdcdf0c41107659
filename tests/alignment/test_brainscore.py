"""The hand-over to brain-score: the file that its localizer looks for."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lensloc as ll
from lensloc import LensLocError, UnitMask
from lensloc.provenance import Provenance


def network(site: str = "resid_post", **known: str) -> UnitMask:
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    chosen[0, 3] = chosen[2, [1, 30]] = True
    return UnitMask(site, chosen, Provenance(**known))


def test_the_file_is_what_brainscore_looks_for(tmp_path: Path) -> None:
    made = network(model="owner/some-model", architecture="GPT2LMHeadModel")
    found = ll.alignment.to_brainscore(made, tmp_path)
    assert found.path == tmp_path / "owner_some-model_language_mask.npy"
    array = np.load(found.path)
    assert array.dtype.kind == "i"
    assert array.shape == (3, 32)
    np.testing.assert_array_equal(array.astype(bool), made.mask.numpy())
    compile(found.script, "script", "exec")
    for part in (
        "model_id='owner/some-model'",
        'f"transformer.h.{layer}" for layer in range(3)',
        '"hidden_dim": 32',
        '"top_k": 3',
        str(tmp_path.absolute()),
    ):
        assert part in found.script
    assert "brain-score" in found._repr_html_()
    with pytest.raises(LensLocError, match="is there already"):
        ll.alignment.to_brainscore(made, tmp_path)
    ll.alignment.to_brainscore(made, tmp_path, overwrite=True)
    named = ll.alignment.to_brainscore(made, tmp_path, "other/name")
    assert named.path.name == "other_name_language_mask.npy"
    usual = ll.alignment.to_brainscore(
        network(model="m", architecture="LlamaForCausalLM"), tmp_path
    )
    assert 'f"model.layers.{layer}"' in usual.script


def test_what_brainscore_cannot_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match=r"not of mlp_post; localize at resid_post"):
        ll.alignment.to_brainscore(network("mlp_post", model="m"), tmp_path)
    with pytest.raises(LensLocError, match="does not know its model"):
        ll.alignment.to_brainscore(network(), tmp_path)
    assert not list(tmp_path.iterdir())

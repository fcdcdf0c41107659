"""The hand-over to brain-score: the file that its localizer looks for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lensloc import LensLocError, UnitMask
from lensloc.units.provenance import Provenance


def network(site: str = "resid_post", **known: str) -> UnitMask:
    chosen = torch.zeros(3, 32, dtype=torch.bool)
    chosen[0, 3] = chosen[2, [1, 30]] = True
    return UnitMask(site, chosen, Provenance(**known))


def test_the_file_is_what_brainscore_looks_for(tmp_path: Path) -> None:
    made = network(model="owner/some-model", architecture="GPT2LMHeadModel")
    found = made.to_brainscore(tmp_path)
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
    made.to_brainscore(tmp_path)  # the same again is no other file
    other = UnitMask("resid_post", ~made.mask, made.provenance)
    with pytest.raises(LensLocError, match="exists; say overwrite=True"):
        other.to_brainscore(tmp_path)
    np.testing.assert_array_equal(np.load(found.path), array)
    other.to_brainscore(tmp_path, overwrite=True)
    assert np.load(found.path).sum() == 93
    named = made.to_brainscore(tmp_path, "other/name")
    assert named.path.name == "other_name_language_mask.npy"
    usual = network(model="m", architecture="LlamaForCausalLM").to_brainscore(tmp_path)
    assert 'f"model.layers.{layer}"' in usual.script


def test_what_brainscore_cannot_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match=r"not of mlp_post; localize at resid_post"):
        network("mlp_post", model="m").to_brainscore(tmp_path)
    with pytest.raises(LensLocError, match="does not know its model"):
        network().to_brainscore(tmp_path)
    assert not list(tmp_path.iterdir())

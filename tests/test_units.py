"""UnitMask: controls, algebra, addresses, files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lensloc import LensLocError, UnitMask
from lensloc.provenance import Provenance
from lensloc.units import UnitAddress

MADE = Provenance(model="m", contrast="language", contrast_hash="h", site="resid_post",
                  selection="top 3 units", target=("a", "b"), n_target=7)  # fmt: skip


def mask_of(*units: tuple[int, int], shape: tuple[int, int] = (3, 10), site: str = "resid_post",
            made: Provenance = MADE) -> UnitMask:  # fmt: skip
    mask = torch.zeros(shape, dtype=torch.bool)
    for layer, unit in units:
        mask[layer, unit] = True
    return UnitMask(site, mask, made)


NETWORK = mask_of((0, 1), (2, 4), (2, 9))


def test_counts_and_addresses() -> None:
    assert len(NETWORK) == 3
    assert NETWORK.per_layer().tolist() == [1, 0, 2]
    assert NETWORK.percent_per_layer().tolist() == [10, 0, 20]
    assert NETWORK.addresses == ["L0.resid_post.1", "L2.resid_post.4", "L2.resid_post.9"]
    assert "L2.resid_post.4" in NETWORK
    assert "L2.resid_post.5" not in NETWORK
    assert "L2.head.4" not in NETWORK
    assert UnitMask.from_addresses(NETWORK.addresses, (3, 10)) == NETWORK


@pytest.mark.parametrize(
    "text", ["12.resid_post.3", "L1.resid_post", "Lx.head.1", "L1.head.-2", ""]
)
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(LensLocError, match="not a unit address"):
        UnitAddress.parse(text)


def test_addresses_outside_the_model_or_of_two_sites_are_refused() -> None:
    with pytest.raises(LensLocError, match=r"L3\.resid_post\.0 does not exist"):
        UnitMask.from_addresses(["L3.resid_post.0"], (3, 10))
    with pytest.raises(LensLocError, match="another site"):
        UnitMask.from_addresses(["L0.resid_post.0", "L0.head.0"], (3, 10))
    with pytest.raises(LensLocError, match="No unit address"):
        UnitMask.from_addresses([], (3, 10))


def test_random_controls_are_equal_in_size_outside_and_seeded() -> None:
    control = NETWORK.random_like(seed=0)
    assert len(control) == len(NETWORK)
    assert len(control & NETWORK) == 0
    assert control == NETWORK.random_like(seed=0)
    assert len({tuple(NETWORK.random_like(seed=seed).addresses) for seed in range(20)}) > 15


def test_random_controls_cover_everything_outside() -> None:
    drawn = (
        torch.stack([NETWORK.random_like(seed=seed).mask for seed in range(300)]).double().mean(0)
    )
    outside = drawn[~NETWORK.mask]
    assert outside.min() > 0.04  # 3 of 27 units: 0.11 expected
    assert outside.max() < 0.2


def test_random_control_of_more_than_half_is_refused() -> None:
    with pytest.raises(LensLocError, match="20 units were asked for but only 10"):
        mask_of(*((layer, unit) for layer in (0, 1) for unit in range(10))).random_like(0)


def test_set_algebra_is_that_of_python_sets() -> None:
    other = mask_of((2, 4), (1, 1))
    a, b = set(NETWORK.addresses), set(other.addresses)
    assert set((NETWORK & other).addresses) == a & b
    assert set((NETWORK | other).addresses) == a | b
    assert set((NETWORK - other).addresses) == a - b
    assert len(~NETWORK) == 27
    assert len(~NETWORK & NETWORK) == 0
    assert "|" in (NETWORK | other).provenance.selection


def test_masks_of_other_models_or_sites_do_not_mix() -> None:
    with pytest.raises(LensLocError, match=r"3x10.*3x11"):
        NETWORK | mask_of((0, 0), shape=(3, 11))
    with pytest.raises(LensLocError, match="head"):
        NETWORK & mask_of((0, 0), site="head")
    with pytest.raises(LensLocError, match="does not fit gpt2, which has 12x768"):
        NETWORK.require_shape((12, 768), "gpt2")
    NETWORK.require_shape((3, 10), "m")


def test_safetensors_round_trip_keeps_everything(tmp_path: Path) -> None:
    path = NETWORK.save(tmp_path / "new" / "mask.safetensors")
    back = UnitMask.load(path)
    assert back == NETWORK
    assert back.provenance == MADE
    assert [file.name for file in path.parent.iterdir()] == ["mask.safetensors"]


def test_npy_is_the_published_format(tmp_path: Path) -> None:
    path = NETWORK.save(tmp_path / "mask.npy")
    array = np.load(path, allow_pickle=False)
    assert array.dtype.kind == "i"
    assert array.tolist() == NETWORK.mask.int().tolist()
    assert UnitMask.load(path) == NETWORK
    assert UnitMask.load(path, site="mlp_out").site == "mlp_out"


def test_a_published_file_of_any_number_type_is_read(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint8, np.float64, np.bool_):
        np.save(tmp_path / "m.npy", NETWORK.mask.numpy().astype(dtype))
        assert UnitMask.load(tmp_path / "m.npy") == NETWORK


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def test_damaged_and_pickled_files_are_refused(tmp_path: Path) -> None:
    whole = NETWORK.save(tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "tiny.safetensors").write_bytes(whole[:4])
    npy = NETWORK.save(tmp_path / "whole.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(npy[:-9])
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "objects.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Bomb()))
    for name in ("short.safetensors", "tiny.safetensors", "pickle.safetensors"):
        with pytest.raises(LensLocError, match=r"not a readable \.safetensors"):
            UnitMask.load(tmp_path / name)
    for name in ("short.npy", "pickle.npy", "objects.npy"):
        with pytest.raises(LensLocError, match=r"not a plain \.npy"):
            UnitMask.load(tmp_path / name)


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    with pytest.raises(LensLocError, match="no unit mask"):
        UnitMask.load(tmp_path / "weights.safetensors")
    np.save(tmp_path / "flat.npy", np.ones(5))
    with pytest.raises(LensLocError, match=r"\[layer, unit\]"):
        UnitMask.load(tmp_path / "flat.npy")
    np.save(tmp_path / "t.npy", np.full((2, 2), 0.5))
    with pytest.raises(LensLocError, match="other values than 0 and 1"):
        UnitMask.load(tmp_path / "t.npy")
    with pytest.raises(LensLocError, match="no mask file"):
        UnitMask.load(tmp_path / "none.npy")
    (tmp_path / "mask.pt").write_bytes(b"")
    with pytest.raises(LensLocError, match="not a mask file"):
        UnitMask.load(tmp_path / "mask.pt")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = NETWORK.save(tmp_path / "mask.safetensors")
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LensLocError, match="No space left"):
        mask_of((1, 1)).save(path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["mask.safetensors"]


def test_unknown_suffix_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(LensLocError, match="unknown suffix"):
        NETWORK.save(tmp_path / "mask.pkl")
    assert not list(tmp_path.iterdir())


def test_provenance_of_another_version_is_read() -> None:
    text = MADE.to_json().replace('"model"', '"future": 1, "model"')
    assert Provenance.from_json(text) == MADE

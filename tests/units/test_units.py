"""UnitMask: controls, algebra, addresses, files."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lensloc import LensLocError, LensLocWarning, Selectivity, UnitMask
from lensloc.units.control_sets import draw_control
from lensloc.units.mask import UnitAddress
from lensloc.units.provenance import Provenance
from lensloc.units.text_sets import TextSet

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
    elsewhere = ~NETWORK.mask.any(dim=0).expand(NETWORK.shape)
    assert drawn[~elsewhere].max() == 0  # the same wires in other layers
    assert drawn[elsewhere].min() > 0.07  # 3 of 21 units: 0.14 expected
    assert drawn[elsewhere].max() < 0.25
    anywhere = [NETWORK.random_like(seed=seed, elsewhere=False).mask for seed in range(300)]
    outside = torch.stack(anywhere).double().mean(0)[~NETWORK.mask]
    assert outside.min() > 0.04  # 3 of 27 units: 0.11 expected
    assert outside.max() < 0.2


def test_random_control_of_more_than_half_is_refused() -> None:
    with pytest.raises(LensLocError, match=r"needs 20 units and only 0 are left .*elsewhere=False"):
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


# -- rules, rankings and texts ---------------------------------------------------------------------


def a_map(seed: int = 0, *, shape: tuple[int, int] = (3, 10), **made: object) -> Selectivity:
    """Statistics in which every unit has its own t, and a few are outliers in size."""
    draw = torch.Generator().manual_seed(seed)
    t = torch.randn(shape, generator=draw, dtype=torch.float64) * 3
    magnitude = torch.rand(shape, generator=draw, dtype=torch.float64) + 1
    magnitude[:, ::5] *= 9
    q = (t.abs() < 2).double() * 0.5 + 0.01
    fields = dict.fromkeys(("df", "p", "d", "g", "mean_target", "mean_control", "kurtosis"), t)
    known = {"weights_hash": "w", "contrast_hash": "h", "contrast": "language", "model": "m",
             "texts": TextSet.of([f"text {seed}"]).encode()} | made  # fmt: skip
    return Selectivity(
        "resid_post",
        t=t,
        q=q,
        magnitude=magnitude,
        provenance=Provenance(**known),
        **fields,  # type: ignore[arg-type]
    )


def test_a_mask_and_its_rule_come_back_from_disk(tmp_path: Path) -> None:
    found = a_map()
    given = UnitMask.from_addresses(["L0.resid_post.3", "L1.resid_post.4"], found.shape)
    without = found.excluding(found.outliers(3)).excluding(given)
    masks = [
        found.top(percent=10), found.bottom(k=4), found.between(10, 80, 3, seed=5),
        found.significant(0.05, "both"), found.outliers(3), found.top(k=3, unique_dims=True),
        without.top(k=5), without.excluding(without.top(k=2)).bottom(k=2),
        found.top(k=3).random_like(7), given,
    ]  # fmt: skip
    for mask in masks:
        back = UnitMask.load(mask.save(tmp_path / "mask.safetensors", overwrite=True))
        for copied in (back, pickle.loads(pickle.dumps(mask)), copy.deepcopy(mask)):
            assert copied == mask
            assert copied.rule == mask.rule
            assert hash(copied.rule) == hash(mask.rule)
            assert copied.provenance == mask.provenance
            assert copied.selected_on == mask.selected_on
            for name in ("score", "magnitude"):
                a, b = getattr(copied, name), getattr(mask, name)
                assert (a is None) == (b is None)
                assert a is None or torch.equal(a, b)
        if mask.rule is not None and mask.rule.can_be_reapplied:
            assert found.select(back.rule) == mask  # type: ignore[arg-type]
    assert masks[0].rule != masks[1].rule
    assert given.rule is None
    assert len({mask.rule for mask in masks}) == len(masks)


def test_a_file_of_a_damaged_rule_is_refused(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = a_map().top(k=3).save(tmp_path / "mask.safetensors")
    with safe_open(path, framework="pt") as file:
        # As files of an earlier version are, which have no checksum.
        metadata = file.metadata() | {"format": "lensloc.UnitMask/1"}
        del metadata["checksum"]
        # Copies, since older readers map the file, which is written over below.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    for change in ({"rule": "{"}, {"rule": "[1]"}, {"rule": '{"kind": "best"}'},
                   {"rule": '{"kind": "given", "units": "rule.0"}'},
                   {"provenance": '{"texts": "%"}'}):  # fmt: skip
        save_file(tensors, path, metadata={**metadata, **change})
        with pytest.raises(LensLocError, match="unreadable provenance"):
            UnitMask.load(path)
    newer = json.dumps({**json.loads(metadata["rule"]), "future": 1})
    save_file(tensors, path, metadata={**metadata, "rule": newer})
    assert UnitMask.load(path).rule == a_map().top(k=3).rule
    del metadata["rule"]  # as files of an earlier version are
    save_file(tensors, path, metadata=metadata)
    old = UnitMask.load(path)
    assert old.rule is None
    assert old.resized(k=5) == a_map().top(k=5)
    assert old.resized(k=5).provenance.selection == "top 5 units"


def test_another_size_is_by_the_same_rule_and_says_so() -> None:
    found = a_map()
    for kind in ("top", "bottom"):
        mask = getattr(found, kind)(percent=10)
        assert mask.provenance.selection == f"{kind} 10 % (3 units)"
        other = mask.resized(k=7)
        assert other == getattr(found, kind)(k=7)
        assert other.provenance.selection == f"{kind} 7 units"
        assert other.rule == getattr(found, kind)(k=7).rule
        assert mask.resized(percent=4).provenance.selection == f"{kind} 4 % (1 unit)"
    once = found.bottom(k=2, unique_dims=True).resized(k=4)
    assert once == found.bottom(k=4, unique_dims=True)
    assert once.provenance.selection == "bottom 4 units, every dimension once"
    without = found.excluding(found.outliers(3))
    assert without.top(k=2).resized(k=6) == without.top(k=6)
    assert "without (mean size above 3 x" in without.top(k=2).resized(k=6).provenance.selection


def test_combined_masks_keep_what_still_means_something() -> None:
    found = a_map()
    top, more = found.top(k=6), found.top(k=12)
    large = found.outliers(3)
    assert found.magnitude is not None
    for mask in (top & large, top - large, top | large, ~top, top & more, large & top):
        assert mask.magnitude is not None
        assert torch.equal(mask.magnitude, found.magnitude)
        assert mask.rule is None
        assert mask.selected_on == top.selected_on
        assert mask.provenance.contrast_hash == "h"
        assert (mask.provenance.model, mask.provenance.weights_hash) == ("m", "w")
    # The ranking of what is left: other sizes hold no unit that was taken away.
    assert (top - large).resized(k=2) == found.excluding(large).top(k=2)
    assert set((top & large).resized(k=1).addresses) <= set(large.addresses)
    assert (top & more).resized(k=3) == (top | more).resized(k=3) == found.top(k=3)
    assert "best 3 units of the ranking of: (top 6 units) & (top 12 units)" in (
        (top & more).resized(k=3).provenance.selection
    )
    for mask in (~top, top | large, top & found.bottom(k=20), large - top):
        with pytest.raises(LensLocError, match="carries no ranking"):
            mask.resized(k=1)
    control = draw_control(top - large, "magnitude", 0)
    assert len(control) == len(top - large)


def test_combined_masks_of_other_stimuli_drop_what_no_longer_holds() -> None:
    language = a_map().top(k=6)
    sums = a_map(1, contrast_hash="other", contrast="sums", pooling="mean").top(k=6)
    both = language | sums
    assert both.magnitude is None
    assert both.score is None
    assert "magnitudes dropped as they are of different stimuli" in both.provenance.selection
    assert both.provenance.contrast == "language | sums"
    assert both.provenance.contrast_hash == ""
    assert both.provenance.pooling == ""
    assert both.provenance.weights_hash == "w"
    assert both.selected_on == language.selected_on | sums.selected_on
    with pytest.raises(LensLocError, match="magnitudes dropped as they are of different stimuli"):
        draw_control(both, "magnitude", 0)
    # A ranking without some units is still that ranking.
    assert (language - sums).resized(k=1).mask.sum() == 1
    named = UnitMask.from_addresses(language.addresses[:2], language.shape)
    for mask in (language - named, language & named, named & language):
        assert mask.magnitude is not None
        assert mask.provenance.replace(selection="") == language.provenance.replace(selection="")


def test_masks_of_other_weights_are_not_combined_without_a_word() -> None:
    one, other = a_map().top(k=6), a_map(1, weights_hash="v", model="n").top(k=6)
    for combine in (lambda: one & other, lambda: one | other, lambda: one - other):
        with pytest.warns(LensLocWarning, match="are of models with different weights"):
            mask = combine()
        assert mask.magnitude is None
        assert mask.provenance.weights_hash == ""
        assert mask.provenance.model in ("m & n", "m | n", "m - n")
    assert one & UnitMask("resid_post", other.mask) == one & a_map(1).top(k=6)


def test_the_hash_of_a_contrast_stays_only_where_both_have_it() -> None:
    one = mask_of((0, 1), (0, 2))
    same = mask_of((0, 2))
    other = mask_of((0, 2), made=MADE.replace(contrast_hash="g"))
    assert (one & same).provenance.contrast_hash == "h"
    assert (one | same).provenance.contrast == "language"
    assert (one - other).provenance.contrast_hash == ""
    assert (one | other).provenance.selection == "(top 3 units) | (top 3 units)"


def test_texts_are_known_by_hashes_of_eight_bytes() -> None:
    texts = TextSet.of(["The sun", "a bridge", "  the SUN ", "lone \ud800"])
    assert len(texts) == 3
    assert TextSet.decode(texts.encode()) == texts
    assert len(TextSet.of(map(str, range(3000))).encode()) == 3000 * 8 * 4 / 3
    assert "A  bridge" in texts
    assert "bridge" not in texts
    assert TextSet.decode("") == TextSet()
    for code in ("%", "abc", "AAAA"):
        with pytest.raises(LensLocError, match="damaged"):
            TextSet.decode(code)

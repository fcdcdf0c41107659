"""Several units ablated in one pass: what one at a time gives, in fewer passes."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import KINDS
from ranks import found_in_ranks

import lensloc as ll
from lensloc.attribution import gates, running
from lensloc.attribution.gates import Gate, Place
from lensloc.errors import NotFiniteError
from lensloc.forward import memory
from lensloc.forward.sites import get_site
from lensloc.lesions import resuming
from lensloc.models.adapting import surface
from lensloc.models.surface import Inputs, Start, opened
from lensloc.tasks import scoring
from lensloc.tasks.scoring import Passes, Scored, token_log_probs

CONTRAST = ll.Contrast.from_texts(
    {
        "sentences": [
            "the old gardener watered every plant",
            "the old gardener watered nobody",
            "twelve plus nineteen",
        ],
        "nonwords": ["wuggle trisket plonder vash glorbix mopi trine"],
    },
    target="sentences",
    control="nonwords",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Passed:
    """Of every pass: how many copies of the texts it had, and whether several stood in a row."""

    copies: list[int] = field(default_factory=list)
    side_by_side: list[bool] = field(default_factory=list)


def effects(model: Any, site: str = "head", **options: Any) -> ll.Attribution:
    found: Any = ll.attribute(model, CONTRAST, "ablation_effect", site, progress=False, **options)
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def at_once(number: int, *, side_by_side: bool = True, fewest: int = 1) -> Iterator[Passed]:
    """Have so many copies a pass, whatever fits; gives what the ablating passes were."""
    passes = Passed()
    run = resuming._picked_logits
    make = Passes.of.__func__  # type: ignore[attr-defined]

    def note(seen: Any, inputs: Any, rows: Any, places: Any, copies: int, *start: Any) -> Any:
        passes.copies.append(copies)
        passes.side_by_side.append(inputs.sees is not None)
        return run(seen, inputs, rows, places, copies, *start)

    def forced(cls: Any, *given: Any) -> Passes:
        made = make(cls, *given)
        object.__setattr__(made, "copies_at_once", number)
        return made  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "_picked_logits", note)
        patch.setattr(Passes, "of", classmethod(forced))
        patch.setattr(running, "_FEWEST_AT_ONCE", fewest)
        if not side_by_side:
            patch.setattr(scoring, "_longest_packed", lambda model: 0)
        yield passes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_several_at_once_give_what_one_gives(
    kind: Any, name: str, checkpoints: dict[str, Path]
) -> None:
    """Padded texts and several a row; the last pass of a layer has fewer."""
    double = name == "gpt2"  # transformers' RMSNorm computes in float32
    model = ll.load_model(checkpoints[name], backend=kind, dtype="float64" if double else "float32")
    few = torch.zeros(3, 32, dtype=torch.bool)
    few[1, :9] = True
    few[2, 5] = True
    for site, options in (
        ("head", {"baseline": "mean"}),
        ("resid_post", {"units": ll.UnitMask("resid_post", few)}),
    ):
        with at_once(1) as alone:
            expected = effects(model, site, **options)
        assert set(alone.copies) == {1}
        for side_by_side in (True, False):
            with at_once(7, side_by_side=side_by_side) as passes:
                found = effects(model, site, **options)
            # Beside a copy of the intact model; nine units are six, and three.
            assert passes.copies == ([5, 5, 5] if site == "head" else [7, 4, 1])
            assert set(passes.side_by_side) == {side_by_side}
            exact = {"rtol": 0, "atol": 1e-10 if double else 1e-5}
            for part in ("score", "mean_target", "mean_control"):
                torch.testing.assert_close(
                    getattr(found, part), getattr(expected, part), **exact, equal_nan=True
                )
        assert float(expected.score.nan_to_num().abs().max()) > 1e-3
    assert surface(model).open_hooks() == []


def test_a_unit_that_does_nothing_has_no_effect(checkpoints: dict[str, Path]) -> None:
    """Passes of other sizes round differently, so that intact and ablated ones are of one."""
    model = ll.load_model(checkpoints["llama"], backend="transformers")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:, ::2] = 0
    with at_once(7):
        found = effects(model, "mlp_post").score[1]
    assert found[::2].abs().max() < 1e-7
    assert found[1::2].abs().min() > 0


def test_where_there_is_room_for_few_there_is_one(tiny_llama: Any) -> None:
    """Of a few copies in a pass, the intact one would be a large part."""
    fewest = running._FEWEST_AT_ONCE
    for number, passes in ((fewest, [1] * 12), (fewest + 1, [5] * 3)):
        with at_once(number, fewest=fewest) as passed:
            effects(tiny_llama)
        assert passed.copies == passes


def test_gates_of_copies_by_hand() -> None:
    place = Place(get_site("mlp_post"), 0, 4)
    passing = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))
    baseline = torch.arange(5.0)[:, None]
    gate = Gate(place, baseline, closed=(None, 4, 2))
    expected = passing.clone()
    expected[2:4, :, 4] = 4
    expected[4:, :, 2] = 2
    torch.testing.assert_close(gate(passing), expected)
    assert torch.equal(gate(passing)[:2], passing[:2])
    fewer = passing[[0, 2, 4]]  # the next batch is a smaller one
    torch.testing.assert_close(gate(fewer), expected[[0, 2, 4]])


def test_copies_are_what_each_of_them_is_alone(tiny_llama: Any) -> None:
    """Of any measure; copies are told apart by their rows."""
    sequences = [Scored((5, 6, *range(n, n + 3 + n % 4))) for n in range(20, 80, 5)]
    sequences += [Scored((7, 8), first=2), Scored((5, 6, 20, 30), first=3)]
    point = "blocks.1.hook_resid_post"

    def scaled(factor: float) -> Any:
        return lambda value: value * factor

    def by_copy(value: torch.Tensor) -> torch.Tensor:
        factors = torch.tensor([1.0, 0.5, -2.0])
        return value * factors.repeat_interleave(len(value) // 3)[:, None, None]

    for measure in (scoring.log_probs_of, scoring.log_probs_and_greedy):
        passes = Passes.of(tiny_llama, sequences, 4)
        with opened(surface(tiny_llama), [(point, by_copy)]):
            found = passes.scored(3, measure=measure, progress=False)
        for copy, factor in enumerate((1.0, 0.5, -2.0)):
            with opened(surface(tiny_llama), [(point, scaled(factor))]):
                alone = token_log_probs(tiny_llama, sequences, measure=measure, progress=False)
            for several, one in zip(found, alone, strict=True):
                np.testing.assert_allclose(several[copy], one, rtol=0, atol=1e-4)


def test_how_many_there_is_room_for(tiny_llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = [Scored(tuple(range(n, n + 11))) for n in range(5, 105, 10)]  # ten tokens are read
    monkeypatch.setattr(scoring, "_longest_packed", lambda model: 0)

    def room(batch_size: Any = "auto", n: int = 10) -> int:
        return Passes.of(tiny_llama, sequences[:n], batch_size).copies_at_once

    # On a CPU what is run at once is a fixed number of tokens.
    assert room() == scoring._TOKENS_ON_CPU // 100
    monkeypatch.setattr(scoring, "_TOKENS_ON_CPU", 60)
    assert room() == 1  # two batches, of six and of four
    assert room(n=2) == 3
    # The user's number is of all rows.
    assert [room(size) for size in (1, 5, 10, 19, 20, 45)] == [1, 1, 1, 1, 2, 4]
    # Elsewhere it follows from the device: as many as keep it busy, and fit.
    monkeypatch.setattr(tiny_llama.cfg, "device", "meta")
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**36)
    assert room() == memory.UNTRIED_TOKENS // 100


def test_where_memory_runs_out_fewer_are_run(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = effects(tiny_llama, "mlp_post")
    score = scoring._score_batch

    def fail(*given: Any) -> Any:
        if given[-1] > 4:
            raise torch.OutOfMemoryError
        return score(*given)

    monkeypatch.setattr(scoring, "_score_batch", fail)
    with at_once(16) as passes, caplog.at_level(logging.WARNING):
        found = effects(tiny_llama, "mlp_post")
    torch.testing.assert_close(found.score, expected.score, rtol=0, atol=1e-5)
    # 15, 7 and then 3 units beside the intact copy, in all layers.
    assert passes.copies == [4] * 48
    assert caplog.text.count("memory ran out with") == 2
    assert "memory ran out with 7 units ablated in one pass; going on with 3" in caplog.text


def test_what_no_number_comes_of_is_named(checkpoints: dict[str, Path]) -> None:
    """One copy alone has no numbers; its text is named as ever."""
    model = ll.load_model(checkpoints["gpt2"], backend="transformers")

    def spoil(value: torch.Tensor) -> torch.Tensor:
        return torch.where(value == 0, torch.nan, value)

    told = set()
    for number in (1, 7):
        # A head that is switched off gives zeros.
        with (
            at_once(number),
            _behind_gates("blocks.1.attn.hook_z", spoil),
            pytest.raises(NotFiniteError, match=r"of text . of the condition") as raised,
        ):
            effects(model)
        told.add(str(raised.value))
    assert len(told) == 1


@contextlib.contextmanager
def _behind_gates(point: str, hook: Any) -> Iterator[None]:
    """Let a hook see what every gate of a point leaves."""
    close = Gate.__call__

    def closed(self: Gate, activation: torch.Tensor) -> torch.Tensor:
        found = close(self, activation)
        return hook(found) if self.point == point else found  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates.Gate, "__call__", closed)
        yield


def test_a_single_text_is_kept_once() -> None:
    tokens = torch.arange(3)[None]
    start = Start(1, torch.randn(1, 3, 4))
    several = start.repeated(5)
    assert several.residual.shape == (5, 3, 4)
    assert several.residual.data_ptr() == start.residual.data_ptr()
    assert torch.equal(several.residual, start.residual.repeat(5, 1, 1))
    rows = Inputs(torch.arange(6).reshape(2, 3), sees=torch.ones(2, 3, 3, dtype=torch.bool))
    assert rows.repeated(2).tokens.tolist() == [[0, 1, 2], [3, 4, 5]] * 2
    assert rows.repeated(2).positions is None
    assert Inputs(tokens).repeated(2).tokens.shape == (2, 3)


def test_ranks_find_what_one_process_finds(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Each rank runs copies of its share; the units are everyone's."""

    def found_in() -> torch.Tensor:
        model = ll.load_model(checkpoints["llama"], backend="transformers", progress=False)
        with at_once(7):
            return effects(model).score

    one, other = found_in_ranks(found_in, tmp_path)
    assert torch.equal(one, other)
    torch.testing.assert_close(one, found_in(), rtol=0, atol=1e-5)

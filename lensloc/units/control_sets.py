"""Controls of a network as masks: which kinds to hold beside it, drawn when they are needed."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lensloc.arguments import require_seed
from lensloc.display.plugins import gist
from lensloc.errors import LensLocError
from lensloc.units import matching
from lensloc.units.balance import Balance, balance
from lensloc.units.mask import UnitMask, describe, is_residual
from lensloc.units.matching import Units, check_kind
from lensloc.units.outliers import outliers
from lensloc.units.selection import SelectionRule, ranked
from lensloc.vocabulary import (
    DRAWS,
    LEAST_SELECTIVE,
    MOST_DRAWS,
    RANDOM,
    UNSEEDED,
    WITHOUT_OUTLIERS,
)

_TOO_MANY = (
    f"A control is drawn at most {MOST_DRAWS:,} times, and more draws were asked for; {DRAWS} do "
    "for a test at 5 %."
)


@runtime_checkable
class Drawing(Protocol):
    """A kind of control of your own: draws as many units as the network has, from elsewhere."""

    def __call__(self, network: UnitMask, seed: int, /) -> UnitMask:
        """Return the units; the same for the same seed."""
        ...


@dataclass(frozen=True)
class ControlSet:
    """One control of a network.

    Attributes:
        kind: how its units were chosen.
        seed: of the draw; None if nothing was drawn.
        mask: the units.
        balance: how alike they are to the network's.
    """

    kind: str
    seed: int | None
    mask: UnitMask
    balance: Balance


@dataclass(frozen=True)
class Controls:
    """Which controls to hold beside every network; made by :func:`controls`.

    Attributes:
        matches: kinds of control, as :mod:`lensloc.units.matching` names them.
        seeds: one draw each.
        least_selective: also as many units of smallest score.
        without_outliers: also the network with its outliers replaced.
        masks: own controls, name and units.
        others: units of other contrasts, name and mask.
        elsewhere: whether controls avoid the network's dimensions of the residual stream.
        own: kinds of your own, name and what draws one.
    """

    matches: tuple[str, ...]
    seeds: tuple[int, ...]
    least_selective: bool = False
    without_outliers: bool = False
    masks: tuple[tuple[str, UnitMask], ...] = ()
    others: tuple[tuple[str, UnitMask], ...] = ()
    elsewhere: bool = True
    own: tuple[tuple[str, Drawing], ...] = ()

    def __call__(self, network: UnitMask) -> Iterator[ControlSet]:
        """Draw the controls of a network, each with exactly as many units (own masks have theirs).

        Raises:
            LensLocError: if too few units are left, or the network carries no magnitudes or
                ranking that a control needs, or an own mask is of another site or model.
        """
        units = units_of(network, elsewhere=self.elsewhere)
        for match in self.matches:
            for seed in self.seeds[:1] if match in UNSEEDED else self.seeds:
                yield _drawn(network, matching.draw(units, match, seed))
        for name, drawing in self.own:
            for seed in self.seeds:
                yield _own(network, units, name, drawing, seed)
        if self.least_selective and LEAST_SELECTIVE not in self.matches:
            yield _drawn(network, matching.draw(units, LEAST_SELECTIVE))
        if self.without_outliers:
            mask = without_outliers(network)
            yield ControlSet(WITHOUT_OUTLIERS, None, mask, _beside(network, mask.mask))
        for other, mask in self.others:
            _require_same_site(network, mask, other)
            score = None if mask.score is None else mask.score.numpy()
            found = matching.of_another(units, mask.mask.numpy(), score=score, name=other)
            yield _drawn(network, found)
        for own, mask in self.masks:
            _require_same_site(network, mask, own)
            found = matching.given(units, mask.mask.numpy(), own)
            yield ControlSet(own, None, mask, found.balance)


def controls(
    match: "str | Drawing | Sequence[str | Drawing | None] | None" = None,
    *,
    seeds: Iterable[int] = range(DRAWS),
    least_selective: bool = False,
    without_outliers: bool = False,
    masks: Mapping[str, UnitMask] | None = None,
    others: Mapping[str, UnitMask] | None = None,
    elsewhere: bool = True,
) -> Controls:
    """Say which controls a lesion study holds beside a network.

    At residual sites, a control never uses a dimension that the network has in any layer. A
    dimension is the same wire in all layers, so cutting it would lesion the network.

    Args:
        match: in what the units that are drawn from elsewhere are like the network: None (or
            ``"random"``), in number only; ``"layer"``, as many in every layer; ``"magnitude"``,
            each a near neighbour in mean absolute response; ``"outliers"``, as many units that are
            large whatever the stimulus; ``"dimension"``, as many dimensions in the same layers
            (residual stream only); or several joined by ``+``, e.g. ``"magnitude+outliers"``. And
            kinds that match nothing: ``"least-active"``, ``"least-selective"``, and
            ``"own-dimensions"``, drawn from the network's dimensions in other layers. Or a function
            of yours, ``function(network, seed)``, that returns a mask of as many units elsewhere.
            Several for several controls; ``()`` for none of these.
        seeds: one draw each; 19 are the fewest with which a test over draws can reach 5 %.
        least_selective: as ``match="least-selective"``, beside the others.
        without_outliers: also the network with its outlier units (see
            :func:`lensloc.units.outliers.outliers`) replaced by the next most selective units that
            are none.
        masks: own controls, by name; lesioned as they are.
        others: units of other contrasts, by name: as many of the most selective ones that lie
            elsewhere, or drawn from the mask where it has no ranking.
        elsewhere: False to let controls use the network's dimensions in other layers, as published
            random controls do.

    Raises:
        LensLocError: an unknown match, no seed, or a name that is given twice.

    Example:
        >>> import lensloc as ll
        >>> network = ll.UnitMask.from_addresses(["L0.head.1", "L2.head.7"], shape=(3, 9))
        >>> for control in ll.controls("layer", seeds=range(2))(network):
        ...     print(control.kind, control.seed, control.mask.per_layer().tolist())
        layer 0 [1, 0, 1]
        layer 1 [1, 0, 1]
    """
    one = match is None or isinstance(match, str) or callable(match)
    several: tuple[Any, ...] = (match,) if one else tuple(match)  # type: ignore[arg-type]
    of_yours = tuple((_name(found), found) for found in several if callable(found))
    several = tuple(found for found in several if not callable(found))
    matches = tuple(dict.fromkeys(RANDOM if found is None else found for found in several))
    for found in matches:
        if not isinstance(found, str):
            raise LensLocError(
                f"match is a kind of control, e.g. 'layer'; {found!r} is of type "
                f"{type(found).__name__}."
            )
        check_kind(found)
    numbers = _numbers(seeds)
    drawn = [found for found in matches if found not in UNSEEDED]
    if (drawn or of_yours) and not numbers:
        raise LensLocError("Random controls need at least one seed, e.g. seeds=range(20).")
    given = tuple(_named_masks(masks, "masks"))
    foreign = tuple(_named_masks(others, "others"))
    taken = [*matches, *(WITHOUT_OUTLIERS,) * without_outliers]
    for name, _ in (*of_yours, *given, *((f"units of {name}", mask) for name, mask in foreign)):
        if name in (*taken, "network"):
            raise LensLocError(f"There is another control {name!r}; give yours another name.")
        taken.append(name)
    return Controls(
        matches,
        numbers or (0,),
        least_selective,
        without_outliers,
        given,
        foreign,
        elsewhere,
        of_yours,
    )


def draws_in(text: str) -> int | None:
    """Read how often a control is drawn, as in ``layer:20``; None if it is no number above 0.

    Raises:
        LensLocError: for more draws than anybody can measure.

    Example:
        >>> draws_in("20"), draws_in("x"), draws_in("0")
        (20, None, None)
    """
    if not text.isdecimal():
        return None
    # By its digits, of which Python reads so many only.
    if len(text.lstrip("0")) > len(str(MOST_DRAWS)):
        raise LensLocError(_TOO_MANY)
    require_draws(int(text))
    return int(text) or None


def require_draws(draws: int) -> None:
    """Check that a control is not drawn more often than anybody can measure.

    Raises:
        LensLocError: if it is.
    """
    if draws > MOST_DRAWS:
        raise LensLocError(_TOO_MANY)


def _numbers(seeds: Any) -> tuple[int, ...]:
    """Return seeds, each once.

    Raises:
        LensLocError: something that is none, or more than anybody can measure.
    """
    if not isinstance(seeds, Iterable):
        raise LensLocError(
            f"seeds is a list of whole numbers, e.g. range({DRAWS}); {seeds!r} is not."
        )
    several = tuple(itertools.islice(seeds, MOST_DRAWS + 1))
    if len(several) > MOST_DRAWS:
        raise LensLocError(_TOO_MANY)
    for seed in several:
        require_seed(seed, "each of seeds")
    return tuple(dict.fromkeys(int(seed) for seed in several))


def units_of(network: UnitMask, *, elsewhere: bool = True) -> Units:
    """Return a mask as controls see it.

    Args:
        network: the units.
        elsewhere: whether controls avoid its dimensions at residual sites.
    """
    score = network.score
    known = None if score is None else torch.where(torch.isfinite(score), score, torch.nan)
    return Units(
        network.mask.numpy(),
        None if network.magnitude is None else network.magnitude.double().numpy(),
        None if known is None else known.double().numpy(),
        None if network.widths is None else (~network.units).numpy(),
        residual=is_residual(network.site),
        elsewhere=elsewhere,
        name=_called(network),
    )


def draw_control(
    network: UnitMask, match: str, seed: int = 0, *, elsewhere: bool = True
) -> UnitMask:
    """Draw as many units from elsewhere, of a kind of :func:`controls`.

    The same seed gives the same units in every process (numpy's PCG64).

    Raises:
        LensLocError: if too few units are left, or the network carries no magnitudes.
    """
    units = units_of(network, elsewhere=elsewhere)
    return _drawn(network, matching.draw(units, match, seed)).mask


def without_outliers(network: UnitMask) -> UnitMask:
    """Return the network with its outliers replaced by the next best units that are none.

    Raises:
        LensLocError: if the network carries no ranking or magnitudes, or too few units remain.
    """
    score, out = _score(network), outliers(_magnitude(network))
    order = ranked(score)
    may_be_taken = ~out & torch.isfinite(score)  # units that were excluded have no score
    best = order[may_be_taken.flatten()[order]][: len(network)]
    if len(best) < len(network):
        raise LensLocError(
            f"Only {len(best)} ranked units at {network.site} are no outliers, fewer than the "
            f"network's {len(network)}; use a smaller percentage."
        )
    chosen = torch.zeros(network.mask.numel(), dtype=torch.bool)
    chosen[best] = True
    replaced = int((network.mask & out).sum())
    words = f"{WITHOUT_OUTLIERS} ({replaced} replaced)"
    return _control(network, chosen.reshape(network.shape), words)


def _name(drawing: Drawing) -> str:
    return str(getattr(drawing, "__name__", "") or type(drawing).__name__)


def _own(network: UnitMask, units: Units, name: str, drawing: Drawing, seed: int) -> ControlSet:
    """Return a control that a function of the user's drew.

    Raises:
        LensLocError: if it fails, or draws something else than as many other units.
    """
    try:
        mask = drawing(network, seed)
    except LensLocError:
        raise
    except Exception as error:  # of a function of anyone
        raise LensLocError(
            f"The control {name!r} failed with seed {seed} ({gist(error)})."
        ) from error
    if not isinstance(mask, UnitMask):
        raise LensLocError(
            f"The control {name!r} draws something of type {type(mask).__name__}; return a "
            "UnitMask of as many units as the network."
        )
    _require_same_site(network, mask, name)
    shared = int((mask.mask & network.mask).sum()) if mask.shape == network.shape else 0
    if mask.shape == network.shape and (len(mask) != len(network) or shared):
        raise LensLocError(
            f"The control {name!r} with seed {seed} has {len(mask)} units, {shared} of them the "
            f"network's; draw as many as the network has, {len(network)}, and none of its own."
        )
    found = matching.given(units, mask.mask.numpy(), name)
    made = _control(network, mask.mask, f"{name}, seed {seed}", None, seed)
    return ControlSet(name, seed, made, found.balance)


def _drawn(network: UnitMask, found: matching.Control) -> ControlSet:
    """Return a control as a mask that knows how it was drawn."""
    mask = torch.from_numpy(found.mask)
    if found.seed is None:
        made = _control(network, mask, found.kind)
        return ControlSet(found.kind, None, made, found.balance)
    if found.kind == RANDOM:
        words = f"random, seed {found.seed}"
    else:
        words = f"random, seed {found.seed}, matched in {found.kind}"
    made = _control(network, mask, words, SelectionRule("random", seed=found.seed), found.seed)
    return ControlSet(found.kind, found.seed, made, found.balance)


def _control(
    network: UnitMask,
    mask: Bool[Tensor, "layer unit"],
    words: str,
    rule: SelectionRule | None = None,
    seed: int | None = None,
) -> UnitMask:
    made = network.provenance
    # What speaks against the network does not speak against other units.
    made = made.replace(warnings=(), selection=f"{words}, as many as: {made.selection}")
    if seed is not None:
        made = made.seeded("selection", seed)
    return UnitMask(
        network.site, mask, made, magnitude=network.magnitude, rule=rule, widths=network.widths
    )


def _beside(network: UnitMask, mask: Bool[Tensor, "layer unit"]) -> Balance:
    units = units_of(network)
    return balance(units.network, mask.numpy(), units.magnitude, residual=units.residual)


def _named_masks(
    given: Mapping[str, UnitMask] | None, argument: str
) -> Iterator[tuple[str, UnitMask]]:
    if given is not None and not isinstance(given, Mapping):
        raise LensLocError(
            f"{argument} is a mapping from names to masks, {{name: mask}}; "
            f"{type(given).__name__} is none."
        )
    for name, mask in (given or {}).items():
        if not isinstance(mask, UnitMask):
            raise LensLocError(
                f"{argument}[{name!r}] is of type {type(mask).__name__}; give a UnitMask, e.g. "
                "selectivity.top(percent=1)."
            )
        yield str(name), mask


def _require_same_site(network: UnitMask, mask: UnitMask, name: str) -> None:
    if mask.site != network.site:
        raise LensLocError(
            f"The control {name!r} has units at {mask.site}, but the network at {network.site}; "
            "take masks of one site."
        )
    if mask.widths != network.widths:
        raise LensLocError(
            f"The control {name!r} {describe(mask)} has layers of other widths than the network "
            f"{describe(network)}; take masks of one model."
        )


def _called(network: UnitMask) -> str:
    selection = network.provenance.selection or "imported"
    return f"the mask {describe(network)} ({selection})"


def _magnitude(network: UnitMask) -> Float[Tensor, "layer unit"]:
    if network.magnitude is None:
        raise LensLocError(
            f"The mask {describe(network)} ({network.provenance.selection or 'imported'}) carries "
            "no magnitudes of units, which this control matches; use one from Selectivity.top(), "
            "saved as .safetensors, or combine masks of the same stimuli."
        )
    return network.magnitude


def _score(network: UnitMask) -> Float[Tensor, "layer unit"]:
    if network.score is None:
        raise LensLocError(
            f"The mask {describe(network)} ({network.provenance.selection or 'imported'}) carries "
            "no ranking of units, which this control needs; use one from Selectivity.top(), saved "
            "as .safetensors."
        )
    return network.score

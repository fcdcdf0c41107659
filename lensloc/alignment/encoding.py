"""Do units predict what brains do, better than chance units, and than what knows no network?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lensloc.alignment import _model
from lensloc.alignment._model import BatchSize
from lensloc.alignment.contexts import SEPARATOR, stimulus_responses
from lensloc.alignment.control_units import each_of
from lensloc.alignment.datasets import BrainResponses, Stimuli
from lensloc.alignment.evaluating import Features, evaluate
from lensloc.alignment.ridge import ALPHAS, Ridge
from lensloc.alignment.splits import N_FOLDS, make_folds
from lensloc.alignment.tables import Table
from lensloc.alignment.timecourse import Design, Trim
from lensloc.arguments import require_numbers
from lensloc.errors import LensLocError
from lensloc.models.surface import Model
from lensloc.results.encodings import CONTROL, NETWORK, UNTRAINED
from lensloc.results.encodings import Encoding as Encoding
from lensloc.units.control_sets import Controls
from lensloc.units.control_sets import controls as default_controls
from lensloc.units.mask import UnitMask
from lensloc.vocabulary import Context, Split, StimulusPooling

CONTROLS = default_controls("layer", seeds=range(19))


def encode(
    model: Model,
    stimuli: Stimuli | Table | Sequence[str],
    responses: BrainResponses | Table | Float[np.ndarray, "sample response"],
    units: UnitMask | Mapping[str, UnitMask],
    *,
    pooling: StimulusPooling = "last-token",
    context: Context = "passage",
    separator: str = SEPARATOR,
    window: int | None = None,
    split: Split | Sequence[int] = "grouped",
    n_folds: int = N_FOLDS,
    delays: Sequence[int] | None = None,
    trim: Trim = 0,
    controls: Controls | Sequence[Controls] | None = CONTROLS,
    untrained: Model | str | None = "load",
    language: str = "en",
    alphas: Sequence[float] = ALPHAS,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    ridge_device: str = "cpu",
    progress: bool = True,
) -> Encoding:
    """Predict brain responses from units of a model, by ridge regression on held-out passages.

    These always stand beside the units' score: the passage-and-position baseline, which tells
    whether the split leaks; length, position and frequency of words; word rate for time series; the
    same units of the untrained network; control units, as many; and the variance that the units
    explain beyond the baselines together.

    Args:
        model: a loaded model.
        stimuli: what people saw; see :meth:`Stimuli.of <lensloc.alignment.Stimuli.of>`.
        responses: what was recorded; see :meth:`BrainResponses.of
            <lensloc.alignment.BrainResponses.of>`.
        units: a network, or several by name, of any sites.
        pooling: over which tokens of a stimulus: the last, or the mean over all.
        context: what the model reads before a stimulus: its ``"passage"`` so far, or ``"none"``.
        separator: what stands between two stimuli of a passage.
        window: most tokens read at once; longer passages are read in overlapping windows.
        split: how samples are held out. ``"grouped"``: whole passages (or groups, runs);
            ``"shuffled"``: single samples, with their neighbours trained on, which every table is
            then marked with; or a fold for every sample that keeps passages whole.
        n_folds: folds, if they are not given.
        delays: of time series, in samples: a sample is predicted from what began so many samples
            before, never from another run; 1 to 4 if None.
        trim: samples left out at both ends of every run, or (first, last).
        controls: which control units, e.g. ``ll.controls("magnitude", seeds=range(19))``, or
            several of them; None for none.
        untrained: ``"load"`` to initialise the model's architecture anew; a loaded untrained model;
            or None for none.
        language: of the words, for their frequencies.
        alphas: penalties to choose from (features are in standard deviations); a single one is
            taken as it is.
        n_resamples: of the bootstrap over passages.
        confidence: of its intervals.
        seed: of shuffling, bootstrap, untrained weights, and of the search for banded penalties.
        batch_size: windows per batch; does not change the result.
        ridge_device: ``"cpu"`` or ``"cuda"``, for the regressions.
        progress: show progress bars.

    Raises:
        LensLocError: stimuli and responses that do not belong together; fewer passages than folds;
            a passage in two folds; constant responses; whatever the model, its units or the data
            lack. Each names what and where.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, n_folds=n_folds, confidence=confidence)
    _model.require_model(model)
    networks = {"units": units} if isinstance(units, UnitMask) else dict(units)
    _require_networks(networks)
    design = Design.of(Stimuli.of(stimuli), BrainResponses.of(responses), delays=delays, trim=trim)
    ridge = Ridge(tuple(float(a) for a in alphas), seed=seed, device=ridge_device)
    folds = make_folds(design.groups, split, n_folds=n_folds, seed=seed)
    warnings: list[str] = []
    drawn = _drawn(networks, controls, warnings)
    reading: dict[str, Any] = {
        "pooling": pooling,
        "context": context,
        "separator": separator,
        "window": window,
        "batch_size": batch_size,
        "progress": progress,
    }
    found = stimulus_responses(
        model, design.stimuli, [each.mask for each in drawn], description="stimuli", **reading
    )
    features = [each.features(found[each.mask.site].of(each.mask)) for each in drawn]
    twin = _twin(model, untrained, seed, progress, warnings)
    if twin is not None:
        own = [_Drawn(name, UNTRAINED, UNTRAINED, None, mask) for name, mask in networks.items()]
        found = stimulus_responses(
            twin, design.stimuli, list(networks.values()), description="untrained", **reading
        )
        features += [each.features(found[each.mask.site].of(each.mask)) for each in own]
    made = _model.provenance(
        model,
        site=", ".join(sorted({mask.site for mask in networks.values()})),
        pooling=pooling,
        selection="; ".join(
            f"{name}: {mask.provenance.selection or 'given'}" for name, mask in networks.items()
        ),
    )
    del reading["progress"], reading["batch_size"]
    return evaluate(
        design,
        features,
        folds,
        ridge,
        language=language,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
        warnings=warnings,
        settings=reading,
        provenance=made,
        progress=progress,
    )


def by_layer(mask: UnitMask) -> dict[str, UnitMask]:
    """Return the units of a mask layer by layer, as networks of their own.

    Example:
        >>> mask = UnitMask.from_addresses(["L0.head.1", "L2.head.7", "L2.head.8"], shape=(3, 9))
        >>> {name: len(part) for name, part in by_layer(mask).items()}
        {'layer 0': 1, 'layer 2': 2}
    """
    parts = {}
    for layer in mask.mask.any(dim=1).nonzero().squeeze(1).tolist():
        own = torch.zeros_like(mask.mask)
        own[layer] = mask.mask[layer]
        made = mask.provenance.replace(selection=f"{mask.provenance.selection}, layer {layer}")
        parts[f"layer {layer}"] = UnitMask(mask.site, own, made, magnitude=mask.magnitude)
    return parts


def encode_features(
    features: Float[np.ndarray, "stimulus unit"] | Sequence[Features],
    stimuli: Stimuli | Table | Sequence[str],
    responses: BrainResponses | Table | Float[np.ndarray, "sample response"],
    *,
    split: Split | Sequence[int] = "grouped",
    n_folds: int = N_FOLDS,
    delays: Sequence[int] | None = None,
    trim: Trim = 0,
    language: str = "en",
    alphas: Sequence[float] = ALPHAS,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    ridge_device: str = "cpu",
    progress: bool = True,
) -> Encoding:
    """Predict brain responses from features that were computed elsewhere, as :func:`encode` does.

    Args:
        features: ``[stimulus, unit]``; or several sets, with the controls and untrained features
            that belong to each network.

    The other arguments are those of :func:`encode`.

    Raises:
        LensLocError: as :func:`encode`; features that are not one finite row per stimulus.
    """
    require_numbers(seed=seed, n_resamples=n_resamples, n_folds=n_folds, confidence=confidence)
    several = [Features(features)] if isinstance(features, np.ndarray) else list(features)
    design = Design.of(Stimuli.of(stimuli), BrainResponses.of(responses), delays=delays, trim=trim)
    for each in several:
        if each.values.ndim != 2 or len(each.values) != len(design.stimuli):
            raise LensLocError(
                f"Features of {each.network} ({each.kind}) have shape {each.values.shape}, but "
                f"there are {len(design.stimuli)} stimuli; give one row per stimulus."
            )
        if not np.isfinite(each.values).all():
            row = int(np.argwhere(~np.isfinite(each.values))[0][0])
            raise LensLocError(
                f"Features of {each.network} ({each.kind}) are not finite for "
                f"{design.stimuli.place(row)}; leave the stimulus out."
            )
    return evaluate(
        design,
        several,
        make_folds(design.groups, split, n_folds=n_folds, seed=seed),
        Ridge(tuple(float(a) for a in alphas), seed=seed, device=ridge_device),
        language=language,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
        progress=progress,
    )


# -- which units -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawn:
    network: str
    kind: str
    name: str
    seed: int | None
    mask: UnitMask

    def features(self, values: Float[np.ndarray, "stimulus unit"]) -> Features:
        """Return the units' responses as features."""
        layers = self.mask.mask.any(dim=1).nonzero().squeeze(1).tolist()
        layer = int(layers[0]) if len(layers) == 1 else None
        return Features(
            values, self.network, self.kind, self.name, self.seed, self.mask.site, layer
        )


def _require_networks(networks: Mapping[str, UnitMask]) -> None:
    if not networks:
        raise LensLocError("There are no units to encode with; give a mask, or several by name.")
    for name, mask in networks.items():
        if len(mask) == 0:
            raise LensLocError(f"The mask {name!r} holds no unit; choose at least one.")


def _drawn(
    networks: Mapping[str, UnitMask],
    controls: Controls | Sequence[Controls] | None,
    warnings: list[str],
) -> list[_Drawn]:
    found = []
    for name, mask in networks.items():
        found.append(_Drawn(name, NETWORK, name, None, mask))
        for wanted in each_of(controls):
            try:
                found += [
                    _Drawn(name, CONTROL, each.kind, each.seed, each.mask) for each in wanted(mask)
                ]
            except LensLocError as error:
                warnings.append(f"{name} stands without control units: {error}")
    return found


def _twin(
    model: Model, untrained: Model | str | None, seed: int, progress: bool, warnings: list[str]
) -> Model | None:
    if not isinstance(untrained, str):
        return untrained
    if untrained != "load":
        raise LensLocError(
            f"untrained is 'load', a loaded model, or None; {untrained!r} is none of these."
        )
    try:
        return _model.untrained_twin(model, seed, progress)
    except LensLocError as error:
        warnings.append(
            f"The units stand without those of the untrained network, which could not be made "
            f"({error}); give one as untrained=ll.load_model(..., untrained=True)."
        )
        return None

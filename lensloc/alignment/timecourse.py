"""Features of stimuli -> features of samples: moments, delays that never cross runs, trimming."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lensloc.alignment.datasets import BrainResponses, Stimuli
from lensloc.errors import LensLocError

DELAYS = (1, 2, 3, 4)
Trim = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Design:
    """How stimuli and samples of responses belong together.

    Attributes:
        stimuli: what people saw.
        responses: what was recorded.
        delays: how many samples after a stimulus its response is looked for, for time series; empty
            for responses to single stimuli.
        kept: ``[sample]``, samples that are left after trimming.
        sample: ``[stimulus]``, the sample that each stimulus began in; -1 if none did.
    """

    stimuli: Stimuli
    responses: BrainResponses
    delays: tuple[int, ...]
    kept: Bool[np.ndarray, " sample"]
    sample: Int[np.ndarray, " stimulus"]

    @classmethod
    def of(
        cls,
        stimuli: Stimuli,
        responses: BrainResponses,
        *,
        delays: Sequence[int] | None = None,
        trim: Trim = 0,
    ) -> "Design":
        """Line stimuli and responses up.

        Args:
            stimuli: what people saw.
            responses: what was recorded.
            delays: of time series, in samples; 1 to 4 if None.
            trim: how many samples of every run are left out, at both ends or (first, last).

        Raises:
            LensLocError: different numbers or order of stimuli and responses; runs that do not
                meet; delays or trimming without time series.
        """
        ends = (trim, trim) if isinstance(trim, int) else tuple(trim)
        if len(ends) != 2 or min(ends) < 0:
            raise LensLocError(f"trim is a number of samples, or two, at least 0; {trim} is not.")
        if responses.is_series:
            return cls._of_series(stimuli, responses, DELAYS if delays is None else delays, ends)
        if delays or ends != (0, 0):
            raise LensLocError(
                "Delays and trimming are for time series, but these responses have no columns run "
                "and time; leave delays and trim out."
            )
        if len(stimuli) != len(responses):
            raise LensLocError(
                f"There are {len(stimuli)} stimuli ({stimuli.name}) but {len(responses)} rows of "
                f"responses ({responses.name}); give one row per stimulus, in the same order."
            )
        _require_same_order(stimuli, responses)
        rows = np.arange(len(stimuli))
        return cls(stimuli, responses, (), np.ones(len(rows), dtype=bool), rows)

    @classmethod
    def _of_series(
        cls,
        stimuli: Stimuli,
        responses: BrainResponses,
        delays: Sequence[int],
        trim: tuple[int, ...],
    ) -> "Design":
        assert responses.runs is not None
        assert responses.times is not None
        steps = tuple(dict.fromkeys(int(delay) for delay in delays))
        if not steps or min(steps) < 0:
            raise LensLocError(f"delays are numbers of samples from 0 up; {tuple(delays)} are not.")
        if stimuli.onsets is None:
            raise LensLocError(
                f"{stimuli.name} lacks the column 'onset' (seconds from the beginning of the run), "
                "which time series need."
            )
        runs = np.array(responses.runs)
        known = set(responses.runs)
        for row, passage in enumerate(stimuli.passages):
            if passage not in known:
                raise LensLocError(
                    f"{stimuli.place(row)}: its passage {passage!r} is no run of the responses; "
                    "with time series a passage is a run."
                )
        sample = np.full(len(stimuli), -1, dtype=np.int64)
        kept = np.zeros(len(runs), dtype=bool)
        passages = np.array(stimuli.passages)
        for run in dict.fromkeys(responses.runs):
            rows = np.flatnonzero(runs == run)
            _require_series(responses.times[rows], run, rows, max(steps), trim)
            of_run = np.flatnonzero(passages == run)
            if len(of_run) == 0:
                raise LensLocError(
                    f"Run {run!r} of the responses has no stimuli; leave it out, or add them."
                )
            sample[of_run] = _began_in(stimuli.onsets[of_run], responses.times[rows], rows)
            kept[rows[trim[0] : len(rows) - trim[1]]] = True
        return cls(stimuli, responses, steps, kept, sample)

    @property
    def groups(self) -> tuple[str, ...]:
        """What is kept whole in a fold: a label for every kept sample."""
        if self.responses.runs is None:
            return self.stimuli.groups
        group = dict(zip(self.stimuli.passages, self.stimuli.groups, strict=True))
        return tuple(group[run] for run in np.array(self.responses.runs)[self.kept])

    @property
    def passages(self) -> tuple[str, ...]:
        """Passage or run of every kept sample."""
        if self.responses.runs is None:
            return self.stimuli.passages
        return tuple(str(run) for run in np.array(self.responses.runs)[self.kept])

    @property
    def places(self) -> Float[np.ndarray, " kept"]:
        """Place of every kept sample in its passage or run, from 0."""
        if self.responses.runs is None:
            return self.stimuli.ranks()
        runs = np.array(self.responses.runs)
        places: Float[np.ndarray, " sample"] = np.zeros(len(runs))
        for run in dict.fromkeys(self.responses.runs):
            rows = np.flatnonzero(runs == run)
            places[rows] = np.arange(len(rows))
        kept: Float[np.ndarray, " kept"] = places[self.kept]
        return kept

    @property
    def values(self) -> Float[np.ndarray, "kept response"]:
        """Responses of the kept samples."""
        found: Float[np.ndarray, "kept response"] = self.responses.values[self.kept]
        return found

    @property
    def n_outside(self) -> int:
        """How many stimuli began in no sample."""
        return int((self.sample < 0).sum())

    def features(
        self, values: Float[np.ndarray, "stimulus feature"], *, total: bool = False
    ) -> Float[np.ndarray, "kept delayed"]:
        """Turn features of stimuli into features of the kept samples.

        For time series, a sample has the mean over the stimuli that began in it; where none did,
        its run's mean over the other samples, which tells nothing. Then come the delays, side by
        side: what lies before the beginning of a run is the run's mean.

        Args:
            values: one row per stimulus.
            total: the sum over the stimuli that began in a sample instead, 0 where none did.
        """
        if self.responses.runs is None:
            return values
        n_samples = len(self.responses)
        inside = self.sample >= 0
        counts = np.bincount(self.sample[inside], minlength=n_samples).astype(np.float64)
        sums = np.zeros((n_samples, values.shape[1]))
        np.add.at(sums, self.sample[inside], values[inside])
        runs = np.array(self.responses.runs)
        parts = []
        filled = sums if total else sums / np.maximum(counts, 1)[:, None]
        means = np.zeros_like(filled)
        for run in dict.fromkeys(self.responses.runs):
            rows = np.flatnonzero(runs == run)
            told = rows if total else rows[counts[rows] > 0]
            if len(told):
                means[rows] = filled[told].mean(axis=0)
            filled[np.setdiff1d(rows, told)] = means[rows[0]]
        for delay in self.delays:
            moved = means.copy()
            for run in dict.fromkeys(self.responses.runs):
                rows = np.flatnonzero(runs == run)
                moved[rows[delay:]] = filled[rows[: len(rows) - delay]]
            parts.append(moved)
        stacked: Float[np.ndarray, "kept delayed"] = np.concatenate(parts, axis=1)[self.kept]
        return stacked


def _require_same_order(stimuli: Stimuli, responses: BrainResponses) -> None:
    for row in range(len(stimuli)):
        theirs = None if responses.passages is None else responses.passages[row]
        if theirs is not None and theirs != stimuli.passages[row]:
            raise LensLocError(
                f"{stimuli.place(row)} is in passage {stimuli.passages[row]!r}, but the same row "
                f"of {responses.name} in {theirs!r}; bring both into one order."
            )
        place = None if responses.positions is None else float(responses.positions[row])
        if place is not None and place != float(stimuli.positions[row]):
            raise LensLocError(
                f"{stimuli.place(row)} has position {stimuli.positions[row]:g}, but the same row "
                f"of {responses.name} {place:g}; bring both into one order."
            )


def _require_series(
    times: Float[np.ndarray, " sample"],
    run: str,
    rows: Int[np.ndarray, " sample"],
    longest: int,
    trim: tuple[int, ...],
) -> None:
    if (np.diff(rows) != 1).any() or (np.diff(times) <= 0).any():
        raise LensLocError(
            f"The samples of run {run!r} are not in one piece and in order of time; sort the table "
            "of responses by run and time."
        )
    left = len(rows) - sum(trim)
    if left < 2 or len(rows) <= longest:
        raise LensLocError(
            f"Run {run!r} has {len(rows)} samples, too few for delays up to {longest} and "
            f"{sum(trim)} trimmed samples; leave it out, or delay and trim less."
        )


def _began_in(
    onsets: Float[np.ndarray, " stimulus"],
    times: Float[np.ndarray, " sample"],
    rows: Int[np.ndarray, " sample"],
) -> Int[np.ndarray, " stimulus"]:
    """Return the sample at or after whose time, and before the next one's, a stimulus began."""
    step = float(np.median(np.diff(times)))
    place = np.searchsorted(times, onsets, side="right") - 1
    outside = (place < 0) | (onsets >= times[-1] + step)
    found: Int[np.ndarray, " stimulus"] = np.where(outside, -1, rows[np.maximum(place, 0)])
    return found

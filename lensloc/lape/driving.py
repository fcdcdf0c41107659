"""Does driving a language's neurons make the model answer in that language?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from lensloc.contrasts.columns import TableForm
from lensloc.display.progress import progress_bar
from lensloc.errors import LensLocError, refuse_idle
from lensloc.lape.active import Activity, activity
from lensloc.lape.answers import language_codes
from lensloc.lape.bundled import LANGUAGES, prose, questions
from lensloc.lape.corpora import require_fitting_file
from lensloc.lape.generating import (
    STOPS,
    Reference,
    answer_tasks,
    answers_of,
    differs,
    fluency_of,
    in_language,
    joined,
    recall_of,
    share_of,
    share_of_stop_words,
    told,
    unanswered,
)
from lensloc.lape.identifying import require_neurons
from lensloc.lape.recall import Recall, recall_told
from lensloc.models import describe
from lensloc.models.adapting import surface
from lensloc.models.surface import Model
from lensloc.results.lesions import NETWORK
from lensloc.results.matrices import Steering
from lensloc.studies.measuring import PlannedLesion, Runner
from lensloc.studies.store import Store, StoreLike
from lensloc.units.control_sets import Controls, controls
from lensloc.units.mask import UnitMask

Level = float | str
MEAN, UNCLAMPED = "mean", "-"
_MATCHED = controls("layer", seeds=range(1))
_TOKENS = 10_000


def steer(
    model: Model,
    masks: Mapping[str, UnitMask],
    prompts: Mapping[str, Sequence[str]] | None = None,
    corpora: Mapping[str, Any] | None = None,
    *,
    toward: Sequence[str] | None = None,
    levels: Sequence[Level] = (MEAN, 0.95),
    deactivate: Sequence[bool] = (False, True),
    controls: Controls | Sequence[Controls] = _MATCHED,
    max_tokens: int = _TOKENS,
    max_new_tokens: int = 60,
    repetition_penalty: float = 1.1,
    stops: Sequence[str] = STOPS,
    codes: Mapping[str, str] | None = None,
    reference: Mapping[str, Reference] | None = None,
    store: StoreLike = None,
    text: str = "text",
    sep: str | None = None,
    encoding: str | None = None,
    progress: bool = True,
) -> Steering:
    """Ask in one language while the neurons of another are clamped to what that language does.

    For every language asked in and every other one steered toward: without any lesion; with the
    first one's neurons at zero; and with the second one's neurons clamped, at every token, to their
    mean or a quantile over that language's text, with and without the first one's at zero. A
    neuron that both languages have is clamped. Control neurons take the place of the second one's
    and are clamped to *their* mean or quantile over the same text.

    Args:
        model: a loaded model.
        masks: language -> neurons, of outputs (site ``mlp_post``), e.g. ``identify(counts).masks``.
        prompts: language -> prompts, in languages that have a mask; the bundled questions, without
            an instruction about the language of the answer, if None.
        corpora: language -> its text, as :func:`lensloc.lape.record` takes it; the bundled prose if
            None.
        toward: languages to steer to; all masks' if None.
        levels: ``"mean"``, or quantiles between 0 and 1, over tokens; without any, nothing is
            clamped, and corpora, controls and max_tokens are refused.
        deactivate: whether the neurons of the language asked in are left alone, zero, or both in
            turn.
        controls: what to clamp in place of a language's neurons: as many in every layer, one draw,
            if not given.
        max_tokens: how much of each text is read for means and quantiles.
        max_new_tokens: most tokens of an answer.
        repetition_penalty: as in :func:`lensloc.lape.generate`.
        stops: texts at which an answer ends.
        codes: as in :func:`lensloc.lape.generate`.
        reference: as in :func:`lensloc.lape.generate`.
        store: where results are kept and looked up.
        text: name of the column of texts of corpora, as in :func:`lensloc.lape.record`.
        sep: as there.
        encoding: as there.
        progress: show a progress bar with the time left.

    Returns:
        One row per way of steering, and all answers.

    Raises:
        LensLocError: fewer than two languages; a language without neurons, prompts or text; a level
            or reference that is none; what lesion and controls refuse; an unsteered model that
            gives no numbers.
    """
    surface(model)
    require_neurons(masks)
    store = Store.of(store)
    targets = _targets(masks, toward)
    names = [_level_name(level) for level in levels]
    if not deactivate or not (names or True in deactivate):
        raise LensLocError(
            "There is nothing to do to the neurons; give levels, or deactivate=[True]."
        )
    if not names:
        refuse_idle(
            "nothing is clamped; leave it out, or give levels",
            corpora=corpora is not None,
            controls=controls is not _MATCHED
            and (isinstance(controls, Controls) or len(controls) > 0),
            max_tokens=max_tokens != _TOKENS,
        )
    asked = _asked(masks, prompts)
    tasks = answer_tasks(asked, max_new_tokens, repetition_penalty, stops)
    iso = language_codes(list(dict.fromkeys([*tasks, *masks])), codes)
    recall = recall_of(reference, iso)
    texts = _texts(targets, corpora) if names else dict.fromkeys(targets)
    form = TableForm.of({"text": text}, sep, encoding)
    require_fitting_file(texts, form)
    several = (controls,) if isinstance(controls, Controls) else tuple(controls)
    read = partial(activity, model, max_tokens=max_tokens, form=form)
    driven = [
        each
        for name in targets
        for each in _driven(name, masks[name], partial(read, texts[name]), levels, several)
    ]
    ways = list(_ways(tasks, targets, masks, driven, deactivate))
    for way in ways:
        for planned in way.lesions:
            planned.on(model, check=False)  # refuse early
    run = Runner(model, describe(model), store)
    found: list[pd.DataFrame] = []
    lost: list[str] = []
    intact: dict[tuple[str, str], pd.DataFrame] = {}
    with progress_bar(progress, len(ways), "answers") as advance:
        for way in ways:
            result, _ = run.measure(tasks[way.asked], *way.lesions)
            answers = answers_of(result, tasks[way.asked], way.asked, iso[way.toward])
            place = way.asked, way.toward
            before = intact.setdefault(place, answers)  # the first way is without a lesion
            code = iso[way.toward]
            there, was = (rows["language"].to_numpy() == code for rows in (answers, before))
            changed = answers["text"].to_numpy() != before["text"].to_numpy()
            found.append(
                answers.assign(
                    **way.columns,
                    changed=differs(answers, changed),
                    switched=differs(answers, there & ~was),
                )
            )
            if not result.is_finite:
                lost.append(unanswered(_deed(way.columns), way.asked, result))
            advance(1)
    table = pd.DataFrame(
        [_row(way, answers, iso, recall) for way, answers in zip(ways, found, strict=True)]
    )
    shown = [
        *("asked", "toward", "level", "deactivated", "kind", "seed", "item", "prompt", "text"),
        *("tokens", "words", "stop_words", "language", "switched", "repeats", "distinct_2"),
        *("fluency", "changed"),
    ]
    answers = joined(found)[shown]
    answers["seed"] = answers["seed"].astype("Int64")
    table["seed"] = table["seed"].astype("Int64")
    sentences = [*_idle(table), *lost, *recall_told(_recalls(table))]
    return Steering(table, answers, told(sentences))


# -- ways of steering ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Driven:
    """Units that are clamped toward a language."""

    toward: str
    level: str
    kind: str
    seed: int | None
    lesion: PlannedLesion


@dataclass(frozen=True)
class _Way:
    """One row of the table."""

    asked: str
    toward: str
    deactivated: bool
    lesions: tuple[PlannedLesion, ...]
    driven: _Driven | None

    @property
    def columns(self) -> dict[str, Any]:
        """What names the row."""
        return {
            "asked": self.asked,
            "toward": self.toward,
            "level": self.driven.level if self.driven else UNCLAMPED,
            "deactivated": self.deactivated,
            "kind": self.driven.kind if self.driven else NETWORK,
            "seed": self.driven.seed if self.driven else None,
        }


def _driven(
    name: str,
    mask: UnitMask,
    read: Callable[[UnitMask], Activity],
    levels: Sequence[Level],
    several: Sequence[Controls],
) -> Iterator[_Driven]:
    if not levels:
        return
    chosen: list[tuple[str, int | None, UnitMask]] = [(NETWORK, None, mask)]
    chosen += [(found.kind, found.seed, found.mask) for each in several for found in each(mask)]
    every = chosen[0][2]
    for _, _, units in chosen[1:]:
        every = every | units
    known = read(every)
    for level in levels:
        values = _values(known, level)
        for kind, seed, units in chosen:
            planned = PlannedLesion(units, {"mode": "clamp", "value": values})
            yield _Driven(name, _level_name(level), kind, seed, planned)


def _values(known: Activity, level: Level) -> Any:
    return known.mean() if isinstance(level, str) else known.quantile(level)


def _ways(
    asked: Mapping[str, Any],
    targets: Sequence[str],
    masks: Mapping[str, UnitMask],
    driven: Sequence[_Driven],
    deactivate: Sequence[bool],
) -> Iterator[_Way]:
    for source in asked:
        for target in targets:
            if target == source:
                continue
            yield _Way(source, target, False, (), None)
            off = PlannedLesion(masks[source], {"mode": "zero"})
            if True in deactivate:
                yield _Way(source, target, True, (off,), None)
            for each in driven:
                if each.toward != target:
                    continue
                for deactivated in dict.fromkeys(deactivate):
                    # The clamp's hooks come last, so that units of both languages are clamped.
                    lesions = (off, each.lesion) if deactivated else (each.lesion,)
                    yield _Way(source, target, deactivated, lesions, each)


def _row(
    way: _Way, answers: pd.DataFrame, iso: Mapping[str, str | None], recall: Recall
) -> dict[str, Any]:
    steered = way.driven.lesion.mask if way.driven else None
    finite = bool(answers["finite"].all())
    texts = list(answers["text"]) if finite else []
    return {
        **way.columns,
        "n_units": len(steered) if steered is not None else 0,
        "n": len(answers),
        "in_toward": in_language(answers, iso[way.toward]),
        "in_toward_recall": recall.of(iso[way.toward], texts),
        "in_asked": in_language(answers, iso[way.asked]),
        "in_asked_recall": recall.of(iso[way.asked], texts),
        "switched": share_of(answers, "switched"),
        "stop_words": share_of_stop_words(answers),
        "tokens": share_of(answers, "tokens"),
        "distinct_2": share_of(answers, "distinct_2"),
        "fluency": fluency_of(answers),
        "changed": share_of(answers, "changed"),
        "took_effect": not finite or bool(answers["changed"].any()) or not way.lesions,
        "finite": finite,
    }


def _idle(table: pd.DataFrame) -> Iterator[str]:
    for row in table[~table["took_effect"]].to_dict("records"):
        sentence = f"{_deed(row)} changed no answer to the prompts in {row['asked']}."
        yield sentence[0].upper() + sentence[1:]


def _deed(row: Mapping[str, Any]) -> str:
    """Say what was done to units in a row of the table."""
    clamped = f"clamping the units of {row['toward']} ({row['kind']}) to {row['level']}"
    zeroed = f"setting those of {row['asked']} to zero"
    return " and ".join(
        [clamped] * (row["level"] != UNCLAMPED) + [zeroed] * bool(row["deactivated"])
    )


def _recalls(table: pd.DataFrame) -> dict[str, float]:
    """Return every language's lowest recall."""
    found = [
        table.set_index(language)[column]
        for language, column in (("toward", "in_toward_recall"), ("asked", "in_asked_recall"))
    ]
    return {str(name): float(low) for name, low in pd.concat(found).groupby(level=0).min().items()}


# -- what was given --------------------------------------------------------------------------------


def _level_name(level: Level) -> str:
    if level == MEAN:
        return MEAN
    if isinstance(level, str) or not 0 <= level <= 1:
        raise LensLocError(
            f"A level is 'mean', or a quantile between 0 and 1; {level!r} is neither."
        )
    return f"q{level:g}"


def _targets(masks: Mapping[str, UnitMask], toward: Sequence[str] | None) -> list[str]:
    if len(masks) < 2:
        raise LensLocError(
            f"There are neurons of one language only ({', '.join(masks)}), so there is none to "
            "steer to; give two."
        )
    targets = list(masks) if toward is None else [toward] if isinstance(toward, str) else [*toward]
    unknown = [name for name in targets if name not in masks]
    if unknown or not targets:
        raise LensLocError(
            f"There are no neurons of {', '.join(unknown) or 'any language to steer to'}; there "
            f"are those of {', '.join(masks)}."
        )
    return targets


def _asked(
    masks: Mapping[str, UnitMask], prompts: Mapping[str, Sequence[str]] | None
) -> Mapping[str, Sequence[str]]:
    if prompts is None:
        own = [name for name in masks if name in LANGUAGES]
        if not own:
            raise LensLocError(
                f"There are no bundled questions in {', '.join(masks)}; give prompts, "
                "{language: prompts}."
            )
        return questions(own, instruction=False)
    unknown = [name for name in prompts if name not in masks]
    if unknown:
        raise LensLocError(
            f"There are prompts in {', '.join(unknown)}, but no neurons of it; there are those of "
            f"{', '.join(masks)}."
        )
    return prompts


def _texts(targets: Sequence[str], corpora: Mapping[str, Any] | None) -> Mapping[str, Any]:
    given = dict(corpora or {})
    missing = [name for name in targets if name not in given]
    if corpora is None:
        given = prose([name for name in missing if name in LANGUAGES]) if missing else {}
        missing = [name for name in missing if name not in LANGUAGES]
    if missing:
        raise LensLocError(
            f"There is no text of {', '.join(missing)} to take the neurons' means and quantiles "
            "from; give corpora, {language: text}."
        )
    return given

"""Arguments of another kind than they should be: one sentence that says what to give instead.

They are given in a process of its own, in which no run-time type checker stands in front of the
library's own checks.
"""

import copy
import inspect
import json
import operator
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from argument_calls import FUNCTIONS
from counts import random_counts
from plotted import granularities, lesions, matrix, null_of, selectivity, steering

import lensloc as ll
from lensloc import LensLocError
from lensloc.arguments import listed
from lensloc.forward.sites import names_of
from lensloc.models.adapting import surface

# What is run -> what the sentence must say.
CASES: dict[str, str] = {
    # -- a model -----------------------------------------------------------------------------------
    'll.localize("smollm2-135m", c)': "load it first: ll.load_model('smollm2-135m')",
    "ll.localize(c, model)": "A loaded model is needed first, not something of type Contrast",
    "ll.localize(None, c)": "A loaded model is needed first, not something of type None",
    "ll.localize(raw, c)": "The model has no tokenizer, so texts cannot be run through it",
    'll.capture("gpt2", ["x"], ["a"])': "ll.load_model('gpt2')",
    'll.study("gpt2", c)': "ll.load_model('gpt2')",
    'll.lesion("gpt2", mask)': "ll.load_model('gpt2')",
    'll.lesion_study("gpt2", {"a": mask}, [task])': "ll.load_model('gpt2')",
    'll.specificity("gpt2", {"a": mask})': "ll.load_model('gpt2')",
    'll.response_profile("gpt2", mask, c)': "ll.load_model('gpt2')",
    'll.compare_granularities("gpt2", c)': "ll.load_model('gpt2')",
    'll.attribute("gpt2", c)': "ll.load_model('gpt2')",
    'll.multiverse("gpt2", c, [task])': "ll.load_model('gpt2')",
    'll.confound_check("gpt2", c)': "ll.load_model('gpt2')",
    'task("gpt2")': "ll.load_model('gpt2')",
    # -- a plan ------------------------------------------------------------------------------------
    "ll.sweep(3)": "something of type int is none of these",
    'll.sweep("gpt2")': "gpt2 is neither a bundled plan",
    'll.sweep({"models": "gpt2"}, store=3)': "int is neither",
    "ll.plot.sweep_depths(task)": "take what ll.sweep returned",
    'll.tasks.minimal_pairs(limit=1)("gpt2")': "ll.load_model('gpt2')",
    'll.tasks.generation(["x"])("gpt2")': "ll.load_model('gpt2')",
    'll.lape.record("gpt2", {"a": ["x"]})': "ll.load_model('gpt2')",
    'll.lape.perplexity("gpt2", {"a": mask}, {"a": ["x y"]})': "ll.load_model('gpt2')",
    'll.lape.generate("gpt2", {"a": ["x y"]})': "ll.load_model('gpt2')",
    'll.lape.steer("gpt2", {"a": mask, "b": mask})': "ll.load_model('gpt2')",
    # -- a contrast --------------------------------------------------------------------------------
    'll.localize(model, {"a": ["x"], "b": ["y"]})': "A Contrast is needed for contrast, not "
    "something of type dict; make one with ll.Contrast.from_texts",
    'll.localize(model, "language")': "take the bundled one of that name, "
    "ll.contrasts.get('language')",
    'll.localize(model, "mine.csv")': "read a file with ll.Contrast.from_file",
    'll.localize(model, ["x", "y"])': "not something of type list",
    "ll.localize(model, None)": "not something of type None",
    "ll.study(model, {})": "A Contrast is needed for contrast",
    'll.response_profile(model, mask, "language")': "ll.contrasts.get('language')",
    'll.compare_granularities(model, "language")': "Contrasts are given by name",
    'll.compare_granularities(model, {"a": "language"})': "needed for Contrasts['a']",
    'll.attribute(model, "language")': "ll.contrasts.get('language')",
    'll.multiverse(model, "language", [task])': "ll.contrasts.get('language')",
    'll.multiverse(model, c, [task], ["percent"])': "choices is a mapping from names to values",
    'll.multiverse(model, c, [task], {"percent": 5}, reference_specification="t")': "a mapping "
    "from choices to one value each, e.g. {'percent': 1}; str is none",
    "ll.plot.multiverse(found)": "A Multiverse is needed for found, not something of type "
    "Localization; take what ll.multiverse returned",
    'll.confound_check(model, "language")': "ll.contrasts.get('language')",
    # -- masks and maps ----------------------------------------------------------------------------
    "ll.lesion(model, found)": "A UnitMask is needed for masks, not something of type Localization",
    'll.lesion(model, "mask.npy")': "ll.UnitMask.load",
    "ll.explore(found, tokens=found)": "A TokenResponses is needed for tokens",
    "ll.load('nowhere.lensloc')": "nowhere.lensloc cannot be read",
    "ll.save(model, 'model.lensloc')": "cannot be kept; give a result, a table",
    "ll.concat([found, mask])": "Localization and UnitMask are several",
    "ll.statistic('mean')": "A statistic is made of a function of two arrays; str is none",
    "ll.adjusted_for('tokens')": "Nuisances are a table with one row per stimulus, or {name",
    "ll.localize(model, c, nuisance=5)": "Nuisances are a table with one row per stimulus",
    "ll.localize(model, c, test=lambda a, b: a)": "of a function of two arrays ll.statistic makes",
    "ll.localize(model, c, test=lambda r, *a, **k: r.values)": "returns something of type Tensor, "
    "and not a Selectivity of",
    "ll.tasks.of_function('mean')": "A task is made of a function of a model; str is none",
    "ll.localize(model, c, test=5)": "A test is a name or a statistic; int is neither",
    "ll.lesion(model, [mask, 5])": "A UnitMask is needed for masks",
    'll.lesion(model, "L99.resid_post.1")': "L99.resid_post.1 does not exist",
    'll.lesion(model, ["L0.nowhere.1"])': "There is no site 'nowhere'",
    "ll.lesion_study(model, mask, [task])": "Networks are given by name, {name: mask}; something "
    "of type UnitMask is not",
    'll.lesion_study(model, {"a": 5}, [task])': "needed for Networks['a'], not something of type "
    "int",
    "ll.response_profile(model, found, c)": "A UnitMask is needed for mask",
    "ll.overlap([mask, mask])": "Networks are given by name, {name: mask}",
    'll.overlap({"a": mask, "b": found})': "needed for Networks['b']",
    'll.welch(found, ("sentences",), ("nonwords",))': "A Responses is needed for responses, not "
    "something of type Localization; take those of one site",
    'll.max_t(mask, ("sentences",), ("nonwords",))': "max_t tests responses or a localization",
    'll.bootstrap_d(None, ("sentences",), ("nonwords",))': "A Responses is needed",
    "ll.lape.identify(None)": "An ActivationCounts is needed for counts, not something of type "
    "None; take what ll.lape.record returned",
    "ll.lape.null([1])": "An ActivationCounts is needed",
    "ll.lape.perplexity(model, mask)": "Neurons are given by name, {language: mask}",
    # -- figures -----------------------------------------------------------------------------------
    "ll.plot.unit_heatmap(found)": "A Selectivity is needed for found, not something of type "
    "Localization; take that of one site, found[site]",
    "ll.plot.specificity(mask)": "A Specificity is needed for found, not something of type "
    "UnitMask; take what ll.specificity returned",
    "ll.specificity(model, mask)": "Networks are given by name, {name: mask}",
    "ll.plot.head_heatmap(mask)": "A Selectivity is needed",
    "ll.plot.t_histogram(mask)": "A Selectivity is needed",
    "ll.plot.t_histogram(found['resid_post'], 5)": "A MaxT is needed for null",
    "ll.plot.layer_heatmap(5)": "A UnitMask is needed for masks",
    "ll.plot.layer_heatmap({'a': 5})": "A UnitMask is needed for masks['a']",
    "ll.plot.layer_profile(mask)": "Curves are given by name, {label: map or mask}",
    "ll.plot.response_profile(found)": "A ResponseProfile is needed",
    "ll.plot.dose_response(found)": "A LesionStudy is needed",
    "ll.plot.lesion_bars(None)": "A LesionStudy is needed",
    "ll.plot.ablation_modes(found)": "A LesionStudy is needed",
    "ll.plot.granularity(found)": "A DataFrame is needed for table",
    "ll.plot.overlap({'a': mask})": "A DataFrame is needed for table",
    "ll.plot.language_matrix(found)": "A LanguageMatrix is needed",
    "ll.plot.language_layers([mask])": "Neurons are given by name",
    "ll.plot.steering(found)": "A Steering is needed",
    # -- people ------------------------------------------------------------------------------------
    "ll.plot.alignment(found)": "An Encoding is needed",
    "ll.plot.reading_times(found)": "A ReadingStudy is needed",
    'll.multiverse(model, c, [task], {"selection": ["pairs"]}, pairs="agreement")': "A Pairs is "
    "needed for pairs, not something of type str; make them with ll.Pairs.from_file",
    "ll.report(found, 'x.html', specificity=found)": "A Specificity is needed for specificity, not "
    "something of type Localization; take what ll.specificity returned",
    "ll.report(found, 'x.html', multiverse=found)": "A Multiverse is needed for multiverse",
    "ll.report(found, 'x.html', people=[found])": "people takes what ll.alignment.encode",
    "ll.alignment.Stimuli.of(3)": "something of type int is neither",
    "ll.alignment.Stimuli.of(None)": "something of type NoneType is neither",
    "ll.alignment.BrainResponses.of(3)": "something of type int is neither",
    "ll.alignment.ReadingTimes.of(3)": "something of type int is neither",
    'll.alignment.encode("gpt2", ["a"], [[1.0]], mask)': "load_model",
    'll.alignment.reading_times("gpt2", "x.csv")': "load_model",
    # -- sites -------------------------------------------------------------------------------------
    'll.capture(model, ["x"], ["a"], "x")': "There is no site 'x'; the sites are resid_pre",
    'll.localize(model, c, "x")': "There is no site 'x'",
    'll.compare_granularities(model, c, "x")': "There is no site 'x'",
    'll.attribute(model, c, site="x")': "There is no site 'x'",
    "ll.localize(model, c, 5)": "sites is a name or a list of names, not something of type int",
    "ll.localize(model, c, [5])": "A site is named by a text",
    "ll.localize(model, c, [])": "No site was named",
    "ll.capture(model, ['x'], ['a'], [])": "No site was named",
    # -- texts -------------------------------------------------------------------------------------
    'll.capture(model, "hot tea", ["a"])': "Texts: a list is needed, not a single text",
    "ll.capture(model, ['x', None], ['a', 'a'])": "Text 2 (None) is missing",
    "ll.capture(model, ['x', 'y'], ['a'])": "2 texts were given, but 1 as the condition of each",
    'll.Contrast.from_texts({"a": "hot tea", "b": ["x"]}, target="a", control="b")': "Texts of the "
    "condition 'a' of texts given in Python: a list is needed, not a single text ('hot tea')",
    'll.Contrast.from_texts([["x"]], target="a", control="b")': "Conditions are given as {name:",
    'll.Contrast.from_texts({"a": ["x"], "b": [5]}, target="a", control="b")': "Text 1 of the "
    "condition 'b'",
    'll.Contrast.from_texts({"a": ["x"], "b": ["y"]}, target=None, control="b")': "The name None "
    "of a target or control is missing",
    'll.tasks.perplexity(["a", None])': "Text 2 (None) is missing",
    "ll.tasks.perplexity([5])": "Text 1 (5) is of type int",
    'll.tasks.perplexity(b"text")': "not something of type bytes",
    'll.tasks.generation(["a", None])': "Prompt 2 (None) is missing",
    'll.tasks.perplexity("x.csv", sep=5)': "sep is one character",
    'll.tasks.perplexity("x.csv", text=5)': "text names a column, as a text; 5 does not",
    # -- numbers -----------------------------------------------------------------------------------
    "ll.localize(model, c, batch_size=1.5)": "batch_size is 'auto' or a whole number; 1.5 is",
    "ll.localize(model, c, batch_size='many')": "batch_size is 'auto' or a whole number; 'many'",
    "ll.localize(model, c, batch_size=True)": "batch_size is 'auto' or a whole number; True is",
    'll.lesion_study(model, {"a": c}, [task], batch_size=2.5)': "batch_size is 'auto' or a whole",
    'll.specificity(model, {"a": mask}, [task], batch_size="x")': "batch_size is 'auto' or a whole",
    "found.top(percent='1')": "percent is a number above 0 and at most 100; '1' is not",
    "found.top(percent=True)": "percent is a number above 0 and at most 100; True is not",
    "found.top(percent=float('nan'))": "must be above 0 and at most 100; nan is not",
    "found.top(k=1.5)": "k is a whole number; 1.5 is not",
    "mask.resized(k=1.5)": "k is a whole number",
    'll.lesion_study(model, {"a": mask}, [task], percents=["x"])': "percent is a number above 0",
    'll.lesion_study(model, {"a": mask}, [task], percents={"a": "x"})': "percent is a number above",
    'll.lesion_study(model, {"a": mask}, [task], percents=[True])': "percent is a number above 0",
    'll.lesion_study(model, {"a": mask}, [task], percents=[0])': "A percentage of units must be",
    'll.lesion_study(model, {"a": mask}, [task], confidence=True)': "confidence is a number",
    'll.lesion_study(model, {"a": mask}, [task], confidence="x")': "confidence is a number between",
    'll.lesion_study(model, {"a": mask}, [task], n_resamples=1.5)': "n_resamples is a whole number",
    'll.specificity(model, {"a": mask}, [task], confidence=2)': "confidence lies between 0 and 1",
    "ll.multiverse(model, c, [task], draws=1.5)": "draws is a whole number; 1.5 is not",
    "ll.multiverse(model, c, [task], draws=10**30)": "drawn at most 10,000 times",
    "ll.report(found, 'never.html', top=1.5)": "top is a whole number; 1.5 is not",
    "ll.controls('layer', seeds=3)": "seeds is a list of whole numbers, e.g. range(20); 3 is not",
    "ll.controls('layer', seeds=[0, 1.5])": "each of seeds is a whole number from 0 to",
    "ll.controls('layer', seeds=[True])": "each of seeds is a whole number from 0 to",
    "ll.controls('layer', seeds=[-1])": "each of seeds is a whole number from 0 to",
    "ll.controls('layer', seeds=range(10**30))": "drawn at most 10,000 times",
    # -- stores ------------------------------------------------------------------------------------
    "ll.localize(model, c, store=5)": "store is a folder, or ll.Store.at(folder); int is neither",
    'll.lesion_study(model, {"a": mask}, [task], store=5)': "int is neither",
    "ll.study(model, c, store=5)": "int is neither",
    "ll.compare_granularities(model, c, store=5)": "int is neither",
}

# Every public function that takes a seed, with a call of it; -1 and so on stand for SEED.
SEEDED: dict[str, str] = {
    "Contrast.split": "c.split(SEED)",
    "Contrast.split_rows": "c.split_rows(SEED)",
    "Localization.between": "found.between(1, 99, 2, SEED)",
    "Pairs.split": "ll.Pairs.bundled('agreement').split(SEED)",
    "Selectivity.between": "found['resid_post'].between(1, 99, 2, SEED)",
    "UnitMask.random_like": "mask.random_like(SEED)",
    "alignment.encode": "ll.alignment.encode(model, ['a'], [[1.0]], mask, seed=SEED)",
    "alignment.encode_features": "ll.alignment.encode_features(['a'], {}, [[1.0]], seed=SEED)",
    "alignment.predict_times": "ll.alignment.predict_times({}, None, seed=SEED)",
    "alignment.reading_times": "ll.alignment.reading_times(model, 'none.csv', seed=SEED)",
    "bootstrap_d": "ll.bootstrap_d(None, (), (), seed=SEED)",
    "compare_granularities": "ll.compare_granularities(model, c, seed=SEED)",
    "confound_check": "ll.confound_check(model, c, seed=SEED)",
    "contrasts.get": "ll.contrasts.get('language', seed=SEED)",
    "contrasts.multiple_demand": "ll.contrasts.multiple_demand(seed=SEED)",
    "contrasts.theory_of_mind": "ll.contrasts.theory_of_mind(seed=SEED)",
    "faithfulness": "ll.faithfulness(model, ll.Pairs.bundled('agreement'), mask, seed=SEED)",
    "lape.null": "ll.lape.null(None, seed=SEED)",
    "lape.perplexity": "ll.lape.perplexity(model, {'a': mask}, seed=SEED)",
    "lesion": "ll.lesion(model, mask, seed=SEED)",
    "lesion_study": "ll.lesion_study(model, {'a': mask}, [task], seed=SEED)",
    "load_model": "ll.load_model(folder, untrained=True, seed=SEED)",
    "max_t": "ll.max_t(kept, seed=SEED)",
    "multiverse": "ll.multiverse(model, c, [task], seed=SEED)",
    "response_profile": "ll.response_profile(model, mask, c, seed=SEED)",
    "specificity": "ll.specificity(model, {'a': mask}, [task], seed=SEED)",
    "study": "ll.study(model, c, seed=SEED)",
    "tasks.embedding_verification": "ll.tasks.embedding_verification(c, seed=SEED)",
    "tasks.generation": "ll.tasks.generation(['x'], seed=SEED)",
    "tasks.linear_probe": "ll.tasks.linear_probe(c, seed=SEED)",
}
NO_SEEDS = ("-1", "1.5", "True", "'a'", "2**64", "10**6000")

SCRIPT = """
import json, sys, traceback
import transformers
import lensloc as ll

folder, *cases = json.load(sys.stdin)
model = ll.load_model(folder)
raw = transformers.AutoModelForCausalLM.from_pretrained(folder)
texts = {"sentences": ["the old gardener", "nobody"], "nonwords": ["mopi", "vash glorbix"]}
c = ll.Contrast.from_texts(texts, target="sentences", control="nonwords")
found = ll.localize(model, c, progress=False)
mask = found.top(k=3)
task = ll.tasks.perplexity(["the old gardener"])
kept = ll.localize(model, c, keep_responses=True, progress=False)
told = {}
for case in cases:
    try:
        eval(case)
        told[case] = "nothing was refused"
    except ll.LensLocError as error:
        told[case] = str(error)
    except BaseException:
        told[case] = traceback.format_exc()
json.dump(told, sys.stdout)
"""


def evaluated(folder: Path, cases: list[str]) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(Path(ll.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([str(folder), *cases]),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_something_else_is_told_in_one_sentence(checkpoints: dict[str, Path]) -> None:
    told = evaluated(checkpoints["llama"], list(CASES))
    wrong = {
        case: told[case]
        for case, message in CASES.items()
        if message not in told[case] or "\n" in told[case]
    }
    assert not wrong, json.dumps(wrong, indent=1)


def test_a_seed_that_is_none_is_told_by_every_function_that_takes_one(
    checkpoints: dict[str, Path],
) -> None:
    takes = {name for name, found in FUNCTIONS.items() if "seed" in found}
    results_ = {name for name in takes if inspect.isclass(operator.attrgetter(name)(ll))}
    assert takes - results_ == set(SEEDED)
    cases = {call.replace("SEED", seed): seed for call in SEEDED.values() for seed in NO_SEEDS}
    told = evaluated(checkpoints["llama"], list(cases))
    wrong = {
        case: sentence
        for case, sentence in told.items()
        if not re.match(r"seed is a whole number from 0 to \d+; .+ is not\.$", sentence)
    }
    assert not wrong, json.dumps(wrong, indent=1)


def test_one_site_by_name_is_one_site_everywhere(
    tiny_llama: Any, small_contrast: ll.Contrast
) -> None:
    captured = ll.capture(tiny_llama, ["the old"], ["a"], "head", progress=False)
    assert list(captured.responses) == ["head"]
    found = ll.localize(tiny_llama, small_contrast, "head", progress=False)
    assert list(found) == ["head"]
    table = ll.compare_granularities(
        tiny_llama, small_contrast, "head", percent=20, n_splits=1, progress=False
    )
    assert list(table["site"]) == ["head"]
    assert set(table["model"]) == {"my-llama"}
    made = ll.study(tiny_llama, small_contrast, "head", percent=20, n_splits=0, progress=False)
    assert list(made.found) == ["head"]
    site = ll.SITES["head"]
    assert names_of(site) == names_of("head") == names_of([site, "head"]) == ["head"]


def test_one_of_several_is_one(tiny_llama: Any, small_contrast: ll.Contrast) -> None:
    mask = ll.localize(tiny_llama, small_contrast, progress=False).top(k=5)
    task = ll.tasks.perplexity(["the old gardener watered"])
    several = ll.lesion_study(tiny_llama, {"a": mask}, [task], (), [5.0], ["zero"], progress=False)
    one: Any = ll.lesion_study
    single = one.__wrapped__ if hasattr(one, "__wrapped__") else one
    found = single(tiny_llama, {"a": mask}, task, (), 5.0, "zero", progress=False)
    assert found.table.equals(several.table)
    assert listed("zero", str) == ("zero",)
    responses = ll.capture(tiny_llama, ["a", "b"], ["cat", "at"], progress=False).responses
    values = responses["resid_post"]
    of: Any = type(values).of
    assert len(getattr(of, "__wrapped__", of)(values, "cat")) == 1  # and not "at", which is in it


def test_a_loaded_model_passes(tiny: Any) -> None:
    surface(tiny)
    with pytest.raises(LensLocError, match=r"say where its units live: ll\.wrap"):
        surface(torch.nn.Linear(2, 2))


# -- results are values ----------------------------------------------------------------------------


def results(model: Any, contrast: ll.Contrast) -> dict[str, Any]:
    found = ll.localize(model, contrast, keep_responses=True, progress=False)
    mask = found.top(k=5)
    task = ll.tasks.perplexity(["the old gardener watered"])
    study = ll.study(model, contrast, percent=5, tasks=[task], n_splits=1, progress=False)
    counts = random_counts(1)
    return {
        "contrast": contrast,
        "localization": found,
        "selectivity": found["resid_post"],
        "responses": found.responses["resid_post"],
        "mask": mask,
        "study": study,
        "profile": study.profile,
        "lesion study": study.lesions,
        "task": task,
        "pairs": ll.tasks.minimal_pairs(limit=1),
        "task result": task(model),
        "attribution": ll.attribute(model, contrast, progress=False),
        "controls": ll.controls("layer"),
        "counts": counts,
        "identified": ll.lape.identify(counts),
        "matrix": matrix(),
        "steering": steering(),
        "store": ll.Store(Path("kept")),
        "site": ll.SITES["head"],
        "null": null_of(selectivity()),
        "lesions": lesions(),
        "granularities": granularities(),
        "figure": ll.plot.layer_heatmap(mask),
    }


def test_every_result_can_be_pickled_and_copied(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    kept = {}
    for name, result in results(tiny_llama, small_contrast).items():
        kept[name] = pickle.dumps(result)
        for again in (pickle.loads(kept[name]), copy.deepcopy(result), copy.copy(result)):
            assert type(again) is type(result), name
            assert repr(again) == repr(result), name
    found = pickle.loads(kept["localization"])
    with pytest.raises(TypeError):
        found.selectivity["other"] = found["resid_post"]
    assert found.contrast == small_contrast
    assert torch.equal(found["resid_post"].t, pickle.loads(kept["selectivity"]).t)


def test_results_reach_another_process(
    tiny_llama: Any, small_contrast: ll.Contrast, tmp_path: Path
) -> None:
    found = ll.localize(tiny_llama, small_contrast, progress=False)
    path = tmp_path / "found.pickle"
    path.write_bytes(pickle.dumps(found))
    script = (
        "import pickle, sys; found = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(found.contrast.content_hash, found.top(k=3).addresses)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ll.__file__).parent.parent)}
    printed = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    ).stdout
    assert printed.split(" ", 1) == [small_contrast.content_hash, f"{found.top(k=3).addresses}\n"]

"""A tiny model, stimuli and what is found with them, for trying every argument."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tiny_models
import torch
import transformers
from specification_table import GRIDS, specifications

import lensloc as ll
from lensloc import UnitMask

SENTENCES = [
    "the old gardener watered every plant",
    "nobody remembered who had built the bridge",
    "twelve plus nineteen is thirty one",
    "before the sun came up the village was still",
    "the stone bridge is old",
    "every plant in the village came up",
    "who had watered the old stone",
    "nothing else at all came before the sun",
]
NONWORDS = [
    "glorbix fendal mopi strane",
    "wuggle trisket plonder vash glorbix mopi trine",
    "vash mopi",
    "mopi fendal strane wuggle trisket",
    "plonder glorbix vash strane fendal",
    "strane wuggle mopi mopi",
    "trisket vash plonder fendal wuggle glorbix",
    "fendal strane glorbix",
]
LISTS = [" ".join(reversed(text.split())) for text in SENTENCES]
LONG = " ".join(tiny_models.CORPUS * 6)
GERMAN = ["der alte Mann und seine Frau haben nicht mehr viel Zeit", "wohin gehen jetzt alle"] * 4
CHOICE = """
task: {task}
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {{data_files: {data}}}
test_split: train
fewshot_split: train
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""

CHAT = (
    "{% for turn in messages %}<{{ turn['role'] }}>{{ turn['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class World:
    """A tiny model, and what is found in it, made once and when it is needed."""

    def __init__(self, checkpoint: Path, other_checkpoint: Path, folder: Path) -> None:
        self.checkpoint = checkpoint
        self.other_checkpoint = other_checkpoint
        self.folder = folder
        self.model = ll.load_model(checkpoint)
        self.untrained = ll.load_model(checkpoint, untrained=True)
        self.smaller = ll.load_model(
            tiny_models.make_checkpoint(
                folder / "smaller",
                transformers.LlamaConfig(**{**tiny_models.SIZES, "num_hidden_layers": 2}),
            )
        )
        self.made = 0

    @functools.cached_property
    def other_tokenizer(self) -> Any:
        """Cuts some words otherwise."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.checkpoint)
        tokenizer.add_tokens(["garden"])
        return tokenizer

    def chatting(self, template: str = CHAT) -> Any:
        """A model whose tokenizer has a chat template."""
        model = ll.load_model(self.checkpoint)
        model.tokenizer.chat_template = template
        return model

    def fresh(self, name: str) -> Path:
        self.made += 1
        place = self.folder / f"call-{self.made}"
        place.mkdir()
        return place / name

    def file(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    # -- stimuli -------------------------------------------------------------------------------

    @functools.cached_property
    def contrast(self) -> ll.Contrast:
        conditions = {"sentences": SENTENCES, "nonwords": NONWORDS, "lists": LISTS}
        return ll.Contrast(
            "small",
            {name: tuple(texts) for name, texts in conditions.items()},
            ("sentences",),
            ("nonwords",),
            items={name: tuple(map(str, range(8))) for name in conditions},
        )

    @functools.cached_property
    def other(self) -> ll.Contrast:
        return self.contrast.with_roles(target="lists", control="nonwords")

    @functools.cached_property
    def swapped(self) -> ll.Contrast:
        """The nonwords in another order, so that pairs are other ones."""
        nonwords = (*NONWORDS[3:], *NONWORDS[:3])
        conditions = {"sentences": tuple(SENTENCES), "nonwords": nonwords}
        return ll.Contrast("swapped", conditions, ("sentences",), ("nonwords",))

    @functools.cached_property
    def long(self) -> ll.Contrast:
        texts = {"sentences": [LONG, *SENTENCES], "nonwords": NONWORDS}
        return ll.Contrast.from_texts(texts, target="sentences", control="nonwords")

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        rows = [
            {"text": text, "condition": name, "item": number, "words": text[::-1], "kind": kind}
            for number, (one, two) in enumerate(zip(SENTENCES, NONWORDS, strict=True))
            for name, kind, text in (("hot", "cold", one), ("cold", "hot", two))
        ]
        rows += [
            {"text": text, "condition": "mild", "item": 0, "words": text, "kind": "mild"}
            for text in LISTS
        ]
        return pd.DataFrame(rows)

    @functools.cached_property
    def other_table(self) -> pd.DataFrame:
        return self.table.assign(text=self.table["words"])

    # -- what is found -------------------------------------------------------------------------

    @functools.cached_property
    def found(self) -> ll.Localization:
        sites = ["resid_post", "mlp_post", "head"]
        return ll.localize(self.model, self.contrast, sites, keep_responses=True, progress=False)

    @functools.cached_property
    def only(self) -> ll.Localization:
        return ll.localize(self.model, self.contrast, keep_responses=True, progress=False)

    @functools.cached_property
    def only_untrained(self) -> ll.Localization:
        return ll.localize(self.untrained, self.contrast, progress=False)

    @functools.cached_property
    def elsewhere(self) -> ll.Localization:
        return ll.localize(
            self.model, self.other, ["resid_post", "mlp_post", "head"], progress=False
        )

    @property
    def map(self) -> ll.Selectivity:
        return self.found["resid_post"]

    @functools.cached_property
    def surer(self) -> ll.Selectivity:
        """The map with p and q so small that some units are significant whatever the bound."""
        spread = torch.linspace(1e-4, 0.4, self.map.q.numel()).reshape(self.map.q.shape)
        return ll.Selectivity(
            **{
                name: getattr(self.map, name)
                for name in ("site", "t", "df", "p", "d", "g", "mean_target", "mean_control")
            },
            q=spread.double(),
            magnitude=self.map.magnitude * torch.where(spread < 0.05, 9.0, 1.0),
            kurtosis=self.map.kurtosis,
            provenance=self.map.provenance,
        )

    @functools.cached_property
    def only_surer(self) -> ll.Localization:
        return ll.Localization(
            self.contrast, {"resid_post": self.surer}, self.only.n_tokens, self.only.seconds
        )

    @property
    def responses(self) -> ll.Responses:
        return self.found.responses["resid_post"]

    @functools.cached_property
    def every(self) -> ll.Responses:
        """The responses to all three conditions."""
        texts = [text for texts in self.contrast.conditions.values() for text in texts]
        labels = [name for name, texts in self.contrast.conditions.items() for _ in texts]
        captured = ll.capture(self.model, texts, labels, progress=False)
        return captured.responses["resid_post"]

    @functools.cached_property
    def others(self) -> ll.Responses:
        return ll.Responses("resid_post", self.every.values + 1.0, self.every.conditions)

    @functools.cached_property
    def attribution(self) -> ll.Attribution:
        found: ll.Attribution = ll.attribute(self.model, self.contrast, progress=False)
        return found

    @functools.cached_property
    def filled_store(self) -> ll.Store:
        """A store that knows the localization of the contrast already."""
        store = ll.Store.at(self.folder / "filled")
        ll.localize(self.model, self.contrast, store=store, progress=False)
        return store

    @functools.cached_property
    def mask(self) -> UnitMask:
        return self.map.top(k=6)

    @functools.cached_property
    def other_mask(self) -> UnitMask:
        return self.map.top(k=9) - self.map.top(k=3)

    @functools.cached_property
    def neurons(self) -> Mapping[str, UnitMask]:
        """Two languages' neurons, which need not be any."""
        found = self.found["mlp_post"]
        return {
            "en": found.top(k=8),
            "de": found.bottom(k=8),
        }

    @functools.cached_property
    def more_neurons(self) -> Mapping[str, UnitMask]:
        found = self.found["mlp_post"]
        return {"en": found.top(k=20), "de": found.bottom(k=20)}

    @functools.cached_property
    def max_t(self) -> ll.MaxT:
        return ll.max_t(self.responses, ("sentences",), ("nonwords",), n_permutations=50)

    # -- tasks and studies ---------------------------------------------------------------------

    @functools.cached_property
    def pairs(self) -> Path:
        rows = [
            ("one", "the old gardener watered every plant", "the old gardener every watered plant"),
            ("one", "nobody in the village remembered", "nobody in village the remembered"),
            ("two", "before the sun came up", "before sun the came up"),
        ]
        lines = [
            json.dumps({"UID": uid, "sentence_good": good, "sentence_bad": bad})
            for uid, good, bad in rows
        ]
        return self.file("pairs.jsonl", "\n".join(lines))

    @functools.cached_property
    def other_pairs(self) -> Path:
        row = {"UID": "one", "sentence_good": "the stone bridge", "sentence_bad": "stone the"}
        return self.file("others.jsonl", json.dumps(row))

    @functools.cached_property
    def questions(self) -> Path:
        rows = [
            {"prompt": "the old gardener", "kind": "a", "answer": 0,
             "choices": ["watered every plant in the village", "stone"]},
            {"prompt": "twelve plus", "choices": ["one", "nineteen is"], "answer": 1, "kind": "a"},
            {"prompt": "before the", "choices": ["sun came up", "vash"], "answer": 0, "kind": "b"},
        ]  # fmt: skip
        return self.file("questions.jsonl", "\n".join(map(json.dumps, rows)))

    @functools.cached_property
    def other_questions(self) -> Path:
        row = {"prompt": "nobody in the", "choices": ["village", "vash"], "answer": 1}
        return self.file("more.jsonl", json.dumps(row))

    @functools.cached_property
    def perplexity(self) -> ll.tasks.Perplexity:
        return ll.tasks.perplexity(["the old gardener watered", "the stone bridge is old"])

    @functools.cached_property
    def minimal_pairs(self) -> ll.tasks.MinimalPairs:
        return ll.tasks.minimal_pairs(self.pairs)

    @functools.cached_property
    def lesions(self) -> ll.LesionStudy:
        return ll.lesion_study(
            self.model,
            {"small": self.map},
            [self.perplexity],
            ll.controls(seeds=[0]),
            percents=[2, 5],
            n_resamples=20,
            progress=False,
        )

    @functools.cached_property
    def grouped_lesions(self) -> ll.LesionStudy:
        masks = {"a": self.map.top(k=3), "b": self.map.bottom(k=3)}
        task = ll.tasks.minimal_pairs(limit=1)
        return ll.lesion_study(self.model, masks, [task], n_resamples=20, progress=False)

    @functools.cached_property
    def multiverse(self) -> ll.Multiverse:
        return specifications(GRIDS[12], tasks=("minimal-pairs", "pairs"))

    @functools.cached_property
    def other_multiverse(self) -> ll.Multiverse:
        return specifications(GRIDS[96], tasks=("minimal-pairs", "pairs"))

    @functools.cached_property
    def three_tasks(self) -> list[Any]:
        """Two tasks whose scores any lesion moves a little, and one of answers, of other texts."""
        others = [f"{text} once again" for text in SENTENCES]
        rows = [
            {"UID": "ab"[at % 2], "sentence_good": text,
             "sentence_bad": " ".join(reversed(text.split()))}
            for at, text in enumerate([*others, *(f"and {text}" for text in others)])
        ]  # fmt: skip
        pairs = self.file("three.jsonl", "\n".join(map(json.dumps, rows)))
        return [
            ll.tasks.perplexity(others[:4], name="one"),
            ll.tasks.perplexity(others[4:], name="two"),
            ll.tasks.minimal_pairs(pairs, name="three"),
        ]

    @functools.cached_property
    def specific(self) -> ll.Specificity:
        return self._specific(self.mask)

    @functools.cached_property
    def other_specific(self) -> ll.Specificity:
        return self._specific(self.other_mask)

    def _specific(self, mask: UnitMask) -> ll.Specificity:
        return ll.specificity(
            self.model,
            {"a": mask},
            self.three_tasks,
            ll.controls([None, "layer"], seeds=[0, 1]),
            {"a": ["one"]},
            room=dict.fromkeys(("one", "two", "three"), 0.5),
            answered=None,
            progress=False,
        )

    @functools.cached_property
    def other_lesions(self) -> ll.LesionStudy:
        return ll.lesion_study(
            self.model,
            {"other": self.elsewhere["resid_post"]},
            [self.perplexity],
            percents=[2, 5],
            n_resamples=20,
            progress=False,
        )

    @functools.cached_property
    def other_profile(self) -> ll.ResponseProfile:
        return ll.response_profile(
            self.model, self.other_mask, self.other, n_resamples=20, progress=False
        )

    @functools.cached_property
    def result(self) -> ll.TaskResult:
        return self.perplexity(self.model)

    @functools.cached_property
    def six_texts(self) -> ll.tasks.Perplexity:
        return ll.tasks.perplexity(SENTENCES[:6])

    @functools.cached_property
    def harness(self) -> Path:
        return self._harness("harness", SENTENCES)

    @functools.cached_property
    def other_harness(self) -> Path:
        return self._harness("other-harness", LISTS)

    def _harness(self, name: str, texts: list[str]) -> Path:
        """Two tasks of the harness, on the second half of each text."""
        folder = self.folder / name
        folder.mkdir()
        halves = [(text.rsplit(" ", 2)[0], " ".join(text.split()[-2:])) for text in texts]
        for number, task in enumerate(("my_choice", "my_second")):
            rows = [
                {"prompt": prompt, "choices": [end, wrong], "answer": number}
                for (prompt, end), (_, wrong) in itertools.pairwise(halves)
            ]
            data = folder / f"{task}.data.jsonl"
            data.write_text("\n".join(map(json.dumps, rows)))
            (folder / f"{task}.yaml").write_text(CHOICE.format(task=task, data=data))
        return folder

    # -- languages -----------------------------------------------------------------------------

    @functools.cached_property
    def counts(self) -> ll.lape.ActivationCounts:
        return ll.lape.record(
            self.model,
            {"en": SENTENCES, "de": GERMAN, "xx": NONWORDS},
            window=8,
            keep_windows=True,
            progress=False,
        )

    @functools.cached_property
    def null(self) -> ll.lape.Null:
        return ll.lape.null(self.counts, 40)

    @functools.cached_property
    def identified(self) -> ll.lape.Identified:
        return ll.lape.identify(self.counts, 0.3, 0.5, 0.5)

    @functools.cached_property
    def activity(self) -> ll.lape.Activity:
        return ll.lape.activity(self.model, SENTENCES, self.neurons["en"])

    @functools.cached_property
    def matrix(self) -> Any:
        texts = {"en": SENTENCES[:3], "de": GERMAN[:2]}
        return ll.lape.perplexity(self.model, self.neurons, texts, n_resamples=20, progress=False)

    @functools.cached_property
    def other_matrix(self) -> Any:
        return ll.lape.perplexity(
            self.model, self.more_neurons, {"en": SENTENCES[3:6]}, n_resamples=20, progress=False
        )

    @functools.cached_property
    def steering(self) -> Any:
        return self._steered(self.neurons)

    @functools.cached_property
    def other_steering(self) -> Any:
        return self._steered(self.more_neurons)

    def _steered(self, masks: Mapping[str, UnitMask]) -> Any:
        return ll.lape.steer(
            self.model,
            masks,
            {"en": ["the old"], "de": ["der alte"]},
            {"en": SENTENCES, "de": GERMAN},
            levels=[0.95],
            max_new_tokens=3,
            progress=False,
        )

    @functools.cached_property
    def uneven(self) -> ll.lape.Identified:
        """Languages of which each has as many own neurons as any other."""
        shape = self.identified.entropy.shape
        masks = {
            name: UnitMask.from_indices("mlp_post", torch.arange(8) + 10 * place, tuple(shape))
            for place, name in enumerate(("en", "de", "xx"))
        }
        return dataclasses.replace(self.identified, masks=masks)

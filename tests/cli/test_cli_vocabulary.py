"""One vocabulary: what an option means, it means in every command; help, completion, logs."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from commands import run, run_json

import lensloc as ll
from lensloc.cli import app
from lensloc.cli.commands import _PANEL_OF
from lensloc.cli.networks import named_masks
from lensloc.cli.options import network_names, site_names
from lensloc.units.provenance import Provenance

# Options of every command that localizes a contrast of texts, and of those that load a model.
LOCALIZING = """--network --contrast --target --control --text-column --condition-column
--item-column --sep --encoding --stimuli --chat-template --system-prompt --site --pooling --protocol
--activations --test --max-tokens --truncate --percent --percentage""".split()
LOADING = "--model-name --device --dtype --backend --revision --trust-remote-code".split()
LOCALIZES = ["localize", "report", "lesion", "evaluate", "specificity",
             "alignment encode", "alignment reading-times"]  # fmt: skip
MEASURES = ["evaluate", "report", "multiverse", "specificity"]
OF_TASKS = """task separator scoring probe-site probe-layer classes top good-column bad-column
group-column prompt-column text-column""".split()
SAYS_NOTHING = {"help"}


def commands() -> Iterator[tuple[str, Any]]:
    def walk(group: Any, before: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                yield f"{before}{name}", command

    yield from walk(typer.main.get_command(app), "")


COMMANDS = dict(commands())


def options_of(name: str) -> set[str]:
    found = COMMANDS[name].params
    return {option for parameter in found for option in parameter.opts if not parameter.hidden}


MORE = " (more: lensloc faq control-units)"


@pytest.mark.parametrize("name", LOCALIZES)
def test_every_command_that_localizes_takes_the_same_options(name: str) -> None:
    missing = {*LOCALIZING, *LOADING} - options_of(name)
    # What people saw is a table of its own there, pooled as the localizer is not.
    assert missing == set()


@pytest.mark.parametrize("name", MEASURES)
def test_every_command_that_measures_tasks_takes_the_same_options(name: str) -> None:
    assert {f"--{option}" for option in OF_TASKS} - options_of(name) == set()
    panels = {_PANEL_OF[option.replace("-", "_")] for option in OF_TASKS if option != "text-column"}
    assert panels == {"Tasks"}


def test_every_command_that_loads_a_model_does_so_with_the_same_options() -> None:
    loads = [name for name in COMMANDS if "--model-name" in options_of(name)]
    assert len(loads) > 12
    for name in (name for name in loads if name != "stimuli check"):
        assert options_of(name) >= set(LOADING), name


def test_a_size_in_per_cent_has_one_name_everywhere_and_its_published_one() -> None:
    for name in COMMANDS:
        given = options_of(name) & {"--percent", "--percentage"}
        assert given in (set(), {"--percent", "--percentage"}), name
    assert sum("--percent" in options_of(name) for name in COMMANDS) >= 10


def test_control_is_of_conditions_everywhere() -> None:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if "--control" in parameter.opts and not parameter.hidden:
                assert parameter.help.startswith("Condition"), name


@pytest.mark.parametrize(
    ("command", "units"),
    [
        ("evaluate", "layer:2"),
        ("evaluate --network language --network formal", "magnitude+outliers"),
        ("evaluate --mask m.npy", "random"),
        ("specificity", "without-outliers"),
        ("localize", "mask=m.npy"),
        ("alignment reading-times times.csv", "none"),
        ("lape perplexity n.safetensors", "random:3"),
        ("lape steer n.safetensors", "anything"),
    ],
)
def test_control_units_under_the_name_of_conditions_are_refused(
    command: str,
    units: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ll, "load_model", None)
    np.save("m.npy", np.eye(4, 9, dtype=int))
    rows = "".join(f"{s},{p},w,300\n" for s in range(3) for p in range(5))
    Path("times.csv").write_text("story,position,word,time\n" + rows)
    assert run(*shlex.split(command), "--control", units) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"write --control-units {units}." in line.replace(MORE, "")


def test_a_condition_may_be_called_as_control_units_are(
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSLOC_CACHE", str(tmp_path / "cache"))
    rows = [
        f"the {w} dog ran {w},{c}" for w, c in zip("abcdefgh", ["own", "random"] * 4, strict=True)
    ]
    Path("mine.csv").write_text("\n".join(["text,condition", *rows]))
    mine = ("--contrast", "mine.csv", "--target", "own", "--control", "random")
    model = ("--model-name", checkpoints["llama"])
    found = run_json(capfd, "localize", *model, *mine, "--percent", "5", "--activations", "signed")
    assert found["n_units"] == 4
    # The same options, and with them the same units, in a command that lesions.
    told = run_json(
        capfd, "lesion", *model, *mine, "--percentage", "5", "--activations", "signed",
        "--max-new-tokens", "1",
    )  # fmt: skip
    assert told["n_units"] == 4
    assert told["network"] == "mine"
    log = tmp_path / "log.txt"
    tested = run_json(
        capfd, "evaluate", *model, *mine, "--percent", "5", "--activations", "signed", "--task",
        "minimal-pairs", "--limit", "1", "--quiet", "--log-file", log,
    )  # fmt: skip
    assert {row["network"] for row in tested["rows"]} == {"mine"}
    written = log.read_text()
    assert "lensloc evaluate --model-name" in written
    assert "Done in" in written


def test_what_is_localized_already_takes_no_options_of_localizing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ll, "load_model", None)
    np.save("m.npy", np.eye(4, 9, dtype=int))
    for more, told in {
        ("--pooling", "mean"): "--pooling has no effect here: masks are localized already",
        ("--item-column", "i"): "--item-column has no effect here",
        ("--target", "a"): "--target has no effect here",
        ("--text-column", "t"): "--text-column ",
    }.items():
        for command in ("evaluate", "lesion", "specificity"):
            assert run(command, "--mask", "m.npy", *more) == 2
            assert told in capfd.readouterr().err
    named = ("specificity", "--network", "language", "--text-column", "t")
    assert run(*named) == 2
    assert "--text-column is for --contrast" in capfd.readouterr().err
    Path("times.csv").write_text("story,position,word,time\na,1,w,300\n")
    reading = ("alignment", "reading-times", "times.csv")
    assert run(*reading, "--mask", "m.npy", "--text-column", "t") == 2
    assert "--text-column has no effect here" in capfd.readouterr().err
    for option, value in {"--protocol": "alkhamissi2024", "--target": "a", "--site": "z"}.items():
        assert run(*reading, "--intact", option, value) == 2
        assert f"{option} has no effect" in capfd.readouterr().err
    two = ("--network", "language", "--network", "formal", "--target", "sentences")
    assert run("evaluate", *two) == 2
    assert "--target and --control are of one contrast" in capfd.readouterr().err
    assert run("localize", "--network", "formal", "--contrast", "mine.csv") == 2
    assert "are two contrasts; give one" in capfd.readouterr().err


def test_batches_are_of_localizing_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def localize(*_: Any, batch_size: Any, **__: Any) -> None:
        raise ll.LensLocError(f"Batches of {batch_size}.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ll, "load_model", lambda *_, **__: torch.nn.Identity())
    monkeypatch.setattr(ll, "localize", localize)
    monkeypatch.setattr("lensloc.forward.sites.usual_site", lambda _: "resid_post")
    Path("times.csv").write_text("story,position,word,time\na,1,w,300\na,2,x,300\n")
    Path("s.csv").write_text("text,passage\nthe sun,a\nthe dog,b\n")
    Path("v.csv").write_text("v\n1.0\n2.0\n")
    for command in (
        "evaluate --task minimal-pairs --limit 1 --activations signed",
        "specificity --task grammar --items 2 --activations signed",
        "alignment reading-times times.csv",
        "alignment encode --stimuli s.csv --responses v.csv",
    ):
        assert run(*command.split(), "--network", "language", "--batch-size", "3") == 2
        assert "Batches of 3." in capfd.readouterr().err, command


def test_masks_that_localize_named_are_called_by_their_contrast(tmp_path: Path) -> None:
    provenance = Provenance(model="m", contrast="language", site="resid_post")
    made = ll.UnitMask.from_indices("resid_post", torch.tensor([1, 2]), (3, 8), provenance)
    long, mine = (
        tmp_path / "m_language_resid_post_0a1b2c3d.safetensors",
        tmp_path / "mine.safetensors",
    )
    for path in (long, mine):
        made.save(path)
    assert list(named_masks([long, mine], None)) == ["language", "mine"]
    other = tmp_path / "m_language_resid_post_ffffffff.safetensors"
    made.save(other)
    assert list(named_masks([long, other], None)) == [long.stem, other.stem]
    assert list(named_masks([long], None, taken=["language"])) == [long.stem]


# -- help, completion, logs ------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples_that_parse_and_options_in_panels(name: str) -> None:
    command: Any = COMMANDS[name]
    examples = re.findall(r"^lensloc (.*)$", command.epilog or "", flags=re.MULTILINE)
    assert examples
    for line in examples:
        words = shlex.split(line)
        assert " ".join(words).startswith(name), line
        command.make_context(name, words[len(name.split()) :], resilient_parsing=False)
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name in _PANEL_OF:
            assert parameter.rich_help_panel == _PANEL_OF[parameter.name]
    assert {"--quiet", "--verbose", "--log-file"} <= options_of(name)


def test_short_help_says_what_exit_codes_mean(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-h") == 0
    printed = " ".join(capfd.readouterr().out.split())
    assert "Exit status: 0 done; 1 something" in printed
    assert "2 bad input" in printed
    assert "--install-completion" in printed
    assert run("lape", "steer", "-h") == 0
    assert "lensloc lape steer" in capfd.readouterr().out


def test_names_are_completed() -> None:
    assert network_names("lang") == ["language", "languages"]
    assert site_names("resid_p") == ["resid_pre", "resid_post"]
    environment = {
        **os.environ, "PYTHONPATH": str(Path(ll.__file__).parents[1]), "COMP_CWORD": "3",
        "COMP_WORDS": "lensloc localize --network theo", "_LENSLOC_COMPLETE": "complete_bash",
    }  # fmt: skip
    code = "import sys; sys.argv = ['lensloc']; from lensloc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=False
    )
    assert done.stdout.split() == ["theory-of-mind"], done.stderr


def test_quiet_and_verbose_and_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", np.zeros((4, 9), dtype=int))  # a note: it is empty
    draw = ("heatmap", "m.npy", "--out", "m.html", "--overwrite")
    assert run(*draw) == 0
    noted = capfd.readouterr().err
    assert run(*draw, "--quiet", "--log-file", "log.txt") == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "Wrote m.html" in printed.out
    log = Path("log.txt").read_text()
    for line in noted.splitlines():
        assert line in log
    assert run(*draw, "-q", "-v") == 2
    assert "--verbose has no effect here: --quiet is given" in capfd.readouterr().err
    assert (
        run("heatmap", "none.npy", "--out", "m.html", "--overwrite", "--log-file", "log.txt") == 2
    )
    assert "Stopped: There is no mask file none.npy" in Path("log.txt").read_text()
    capfd.readouterr()
    assert run(*draw, "--log-file", "no/log.txt") == 2
    assert "--log-file no/log.txt cannot be written" in capfd.readouterr().err

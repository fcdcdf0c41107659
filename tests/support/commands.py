"""Runs the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from lensloc.cli import main


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def run_json(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert run(*arguments, "--json") == 0
    output = capfd.readouterr().out
    assert output.count("\n") == 1, "something besides one JSON object is on standard output"
    result = json.loads(output)
    assert isinstance(result, dict)
    return result

"""The committed notebooks: run as they stand, small, static, and of no one machine.

That they still run is another test: ``pytest --nbmake notebooks``.
"""

import ast
import base64
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from refresh import COLAB, code_hash, is_setup, setup_of, warnings_of, with_setup

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 500_000
IMPORTS = {"lensloc", "numpy", "pandas", "torch", "PIL"} | sys.stdlib_module_names
MACHINE = re.compile(
    r"/(?:root|home|work|tmp|Users|private|mnt|opt|usr|var)/"  # paths
    r"|[A-Z]:\\\\|file://|0x[0-9a-f]{6,}|\x1b\[|\r|it/s"  # addresses, colours, progress bars
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: str(path.stem))
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def problems(notebook: Any) -> list[str]:
    """What says that the outputs are not those of the code, cell by cell."""
    found = []
    if notebook.metadata.get("lensloc", {}).get("ran") != code_hash(notebook):
        found.append("code was edited and not run; run `make notebooks`")
    for number, cell in enumerate(code_cells(notebook), start=1):
        if cell.execution_count != number:
            found.append(f"code cell {number} was run as number {cell.execution_count}")
        last = ast.parse(cell.source).body[-1]
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if isinstance(last, ast.Expr) and not cell.outputs:
            found.append(f"code cell {number} ends in an expression but shows nothing")
        if ast.unparse(last).startswith("ll.plot.") and "image/png" not in kinds:
            found.append(f"code cell {number} draws a figure but shows no picture")
        found += [
            f"code cell {number} failed: {output.ename}"
            for output in cell.outputs
            if output.output_type == "error"
        ]
    return found


def test_there_are_notebooks() -> None:
    assert {path.name[:2] for path in NOTEBOOKS} == {f"{n:02}" for n in range(1, 11)}


def test_it_is_small_and_valid(path: Path, notebook: Any) -> None:
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES


def test_it_asks_one_question(notebook: Any) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    questions = re.findall(r"\*\*[^*]+\?\*\*", first.source)
    assert len(questions) == 1, questions
    titles = re.findall(r"^# ", "\n".join(c.source for c in notebook.cells if c not in
                                          code_cells(notebook)), flags=re.M)  # fmt: skip
    assert len(titles) == 1


def test_it_opens_in_colab_and_installs_nothing_where_lensloc_is(
    path: Path, notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = code_cells(notebook)[0]
    assert is_setup(first)
    assert first.source == setup_of(path.name)
    assert first.outputs == []
    assert f"({COLAB}{path.name})" in notebook.cells[0].source
    called: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: called.append(command))
    exec(first.source, {})
    assert called == []
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    exec(first.source, {})
    assert [command[-1].split("[")[0] for command in called] == ["lensloc"]
    again = nbformat.from_dict(notebook)
    with_setup(again, path.name)
    assert again == notebook


def test_outputs_are_those_of_its_code(notebook: Any) -> None:
    assert problems(notebook) == []


def test_no_warning_is_shown(notebook: Any) -> None:
    assert warnings_of(notebook) == []


def test_outputs_are_static(notebook: Any) -> None:
    for output in shown(notebook):
        data = output.get("data", {})
        assert set(data) <= {"text/plain", "text/html", "image/png"}
        for sign in ("<script", "<iframe", "<svg", "javascript:", "onclick", "http"):
            assert sign not in data.get("text/html", "")
        if "image/png" in data:
            picture = base64.b64decode(data["image/png"])
            assert picture.startswith(b"\x89PNG\r\n\x1a\n")
            assert picture[25] == 3, "a picture has more colours than a palette; `make notebooks`"


def test_nothing_is_of_one_machine(notebook: Any) -> None:
    texts = [cell.source for cell in notebook.cells]
    for output in shown(notebook):
        data = output.get("data", {})
        texts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    assert [found for text in texts for found in MACHINE.findall(text)] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info", "lensloc"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(not cell.metadata for cell in notebook.cells)


def test_code_imports_lensloc_and_what_comes_with_it(notebook: Any) -> None:
    imported = set()
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported <= IMPORTS


def test_the_first_one_is_short() -> None:
    first = nbformat.read(FOLDER / "01_language_network.ipynb", as_version=4)
    assert len(first.cells) <= 16


@pytest.mark.parametrize("damage", ["edited", "output", "order", "picture", "error"])
def test_a_notebook_that_was_not_run_is_told(damage: str) -> None:
    notebook: Any = nbformat.read(NOTEBOOKS[0], as_version=4)
    cells = code_cells(notebook)
    plot = next(cell for cell in cells if cell.source.startswith("ll.plot."))
    if damage == "edited":
        plot.source += "  # another look"
    elif damage == "output":
        plot.outputs = []
    elif damage == "order":
        plot.execution_count += 1
    elif damage == "picture":
        plot.outputs[0].data = {"text/plain": "Figure"}
    else:
        failed = nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
        plot.outputs = [failed]
    assert len(problems(notebook)) >= 1

"""Run the notebooks again and keep them small: ``make notebooks``, or this file with their names.

``--setup`` before the names only gives them the cell that Colab needs, and runs nothing.

Needs kaleido, a Chrome or Chromium browser and Pillow. A notebook that fails, or shows a warning,
is left as it was.
"""

import base64
import hashlib
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # the bundled model is enough
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one of the user's
}
# The first code cell. Where lensloc is, it does nothing, so no output depends on it.
SETUP = """\
# In Colab this installs lensloc; where it is installed, nothing happens.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("lensloc") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "{what}"], check=True)
"""
EXTRAS = {"08_brains_and_reading.ipynb": "lensloc[alignment]", "07_faces.ipynb": "lensloc[vision]"}
COLAB = "https://colab.research.google.com/github/lensloc/lensloc/blob/main/notebooks/"
LANGUAGE = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def setup_of(name: str) -> str:
    """What the first code cell of a notebook says."""
    return SETUP.replace("{what}", EXTRAS.get(name, "lensloc")).rstrip()


def is_setup(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell is that one, on which no output depends."""
    return bool(cell.cell_type == "code" and cell.source.startswith(SETUP.splitlines()[0]))


def with_setup(notebook: nbformat.NotebookNode, name: str) -> None:
    """Give a notebook its first code cell and its link to Colab, if it lacks them."""
    badge = f"[Open in Colab]({COLAB}{name})"
    if badge not in notebook.cells[0].source:
        notebook.cells[0].source += f"\n\n{badge}"
    if any(map(is_setup, notebook.cells)):
        return
    for cell in notebook.cells:
        for counted in (cell, *cell.get("outputs", [])):
            if counted.get("execution_count") is not None:
                counted.execution_count += 1
    cell = nbformat.v4.new_code_cell(setup_of(name), id="setup", execution_count=1)
    notebook.cells.insert(1, cell)


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """A hash of all code, kept with the outputs, so that code that was not run can be told."""
    cells = [
        cell.source for cell in notebook.cells if cell.cell_type == "code" and not is_setup(cell)
    ]
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()


def warnings_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Whatever went to standard error: Python's warnings, logged ones, progress bars."""
    return [
        f"cell {number}: {output.text.strip()}"
        for number, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]


def slim(notebook: nbformat.NotebookNode) -> None:
    """Reduce pictures to 256 colours and drop whatever differs from run to run."""
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = with_palette(data["image/png"])
                data.pop("image/jpeg", None)  # Pillow's pictures come as both
    notebook.metadata = {**LANGUAGE, "lensloc": {"ran": code_hash(notebook)}}


def with_palette(picture: str) -> str:
    """Reduce a PNG to 256 colours; in and out in base64."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    reduced = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def refresh(path: Path) -> None:
    """Run a notebook and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with_setup(notebook, path.name)
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute(cwd=HERE)
    shown = warnings_of(notebook)
    if shown:
        sys.exit(f"{path.name} shows warnings:\n" + "\n".join(shown))
    slim(notebook)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def set_up(path: Path) -> None:
    """Write a notebook back with its first code cell, without running it."""
    notebook = nbformat.read(path, as_version=4)
    with_setup(notebook, path.name)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    os.environ |= {**ENVIRONMENT, "PLOTLY_RENDERER": "png"}
    only_setup = sys.argv[1:2] == ["--setup"]
    for name in sys.argv[1 + only_setup :] or sorted(HERE.glob("*.ipynb")):
        (set_up if only_setup else refresh)(HERE / name)

"""Run the notebooks again and keep them small: ``make notebooks``, or this file with their names.

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
LANGUAGE = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """A hash of all code, kept with the outputs, so that code that was not run can be told."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
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
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute(cwd=HERE)
    shown = warnings_of(notebook)
    if shown:
        sys.exit(f"{path.name} shows warnings:\n" + "\n".join(shown))
    slim(notebook)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    os.environ |= {**ENVIRONMENT, "PLOTLY_RENDERER": "png"}
    for name in sys.argv[1:] or sorted(HERE.glob("*.ipynb")):
        refresh(HERE / name)

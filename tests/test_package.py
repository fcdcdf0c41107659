"""An installed, non-editable lensloc works."""

import inspect
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import lensloc as ll

ROOT = Path(__file__).parent.parent


def test_the_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("lensloc-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check",
         str(wheel)],
        check=True,
    )  # fmt: skip
    # Dependencies are borrowed from this environment, behind the new one's own packages.
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    borrowed = sysconfig.get_path("purelib")
    (Path(site) / "borrowed.pth").write_text(f"{borrowed}\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    script = (
        "import lensloc; from lensloc.contrasts import bundled_folder\n"
        "print(lensloc.__file__); print(bundled_folder())\n"
        # Stubs and templates are files of the package.
        "assert '<svg' in lensloc.contrasts.language()._repr_html_()"
    )
    where = subprocess.check_output(
        [python, "-c", script], text=True, cwd=tmp_path, env=environment
    ).split()
    assert all(path.startswith(site) for path in where), where
    listed = subprocess.check_output(
        [tmp_path / "venv" / "bin" / "lensloc", "stimuli", "list"],
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert "language" in listed
    assert "nonwords 240" in listed


def test_no_module_is_named_like_a_public_function() -> None:
    """Such a module takes the function's place as an attribute of the package."""
    modules = [found.name for found in pkgutil.walk_packages(ll.__path__, "lensloc.")]
    rooms = [ll, ll.alignment, ll.contrasts, ll.lape, ll.plot, ll.tasks]
    public = {
        name for room in rooms for name in room.__all__ if inspect.isroutine(getattr(room, name))
    }
    same = {name for name in modules if name.rpartition(".")[2] in public}
    # Rooms of another place than the function: a page is no attribute of ll.report's, and the
    # function of the other room's name is in ll.plot.
    assert same == {"lensloc.pages.report", "lensloc.alignment"}
    assert ll.plot.alignment.__module__ == "lensloc.plot.people"
    assert ll.report.__module__ == "lensloc.pages.report"


def test_no_test_file_imports_another() -> None:
    files = [*(ROOT / "tests").rglob("*.py")]
    assert len(files) > 50
    for path in files:
        found = re.search(r"^ *(from|import) test_\w+", path.read_text(), flags=re.MULTILINE)
        assert found is None, path

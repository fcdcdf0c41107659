"""An installed, non-editable lensloc works, and declares what it needs."""

import ast
import importlib.metadata
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import yaml

import lensloc as ll

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,no-redef]

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
    more = subprocess.check_output(
        [tmp_path / "venv" / "bin" / "lensloc", "faq", "conditions"],
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert "--target and --control name conditions" in more
    # What an index shows has no link that leads nowhere there.
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        shown = archive.read(name).decode("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", shown)
    assert len(links) > 30
    for link in links:
        where, _, path = link.partition("/main/")
        assert where.startswith("https://"), link
        assert not path or (ROOT / path).exists(), link


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


# -- what is declared ------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Modules that belong to Python's own installer, or come with what is declared.
SAME = {"sklearn": "scikit-learn", "PIL": "pillow", "skimage": "scikit-image"}


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", each)[0].lower().replace("_", "-") for each in requirements}


def imported_modules() -> dict[str, set[str]]:
    """Top-level modules that lensloc imports -> where."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "lensloc").rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        names += [
            str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level
        ]
        # needed("himalaya.ridge", ...): libraries of extras
        names += [
            str(call.args[0].value)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and getattr(call.func, "id", "") == "needed"
            and isinstance(call.args[0], ast.Constant)
        ]
        for name in names:
            found.setdefault(name.split(".")[0], set()).add(path.name)
    return {k: v for k, v in found.items() if k not in {*sys.stdlib_module_names, "lensloc"}}


def test_what_is_imported_is_declared() -> None:
    required = declared(PROJECT["dependencies"])
    extras = {name: declared(each) for name, each in PROJECT["optional-dependencies"].items()}
    optional = set().union(*(each for name, each in extras.items() if name not in ("dev", "docs")))
    owners = importlib.metadata.packages_distributions()
    found = imported_modules()
    assert {"torch", "typer", "plotly", "himalaya"} <= set(found)
    for module, places in found.items():
        names = {SAME.get(module, module), *owners.get(module, ())}
        names = {name.lower().replace("_", "-") for name in names}
        assert names & (required | optional | {"timm", "ipython"}), (module, places)
    # And what is declared is of some use: imported, or named where it stands.
    used = {n.lower().replace("_", "-") for m in found for n in (m, *owners.get(m, ()))}
    text = (ROOT / "pyproject.toml").read_text()
    for name in required - used:
        assert re.search(rf'"{name}[^"]*", +#', text), f"{name} is declared and not imported"


def test_versions_and_addresses_agree() -> None:
    version, urls = PROJECT["version"], PROJECT["urls"]
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in cited
    assert f"\nrepository-code: {urls['Source']}\n".replace("code: ", 'code: "').rstrip() in cited
    assert f"version = {{{version}}}" in re.sub(r" +", " ", (ROOT / "docs/cite.md").read_text())
    assert urls["Source"] in (ROOT / "mkdocs.yml").read_text()
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        assert (ROOT / name).is_file()


def test_workflows_run_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    folder = ROOT / ".github" / "workflows"
    for path in folder.glob("*.yml"):
        found = yaml.safe_load(path.read_text())
        assert found["jobs"], path.name
        for target in re.findall(r"run: make ([\w-]+)", path.read_text()):
            assert target in targets, target
    text = (folder / "checks.yml").read_text()
    pythons = re.findall(r'python: "(3\.\d+)"', text)
    assert len(set(pythons)) >= 3
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(pythons) <= set(supported)

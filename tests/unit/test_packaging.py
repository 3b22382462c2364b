"""The wheel holds everything that runs and nothing else, and importing the library costs no web framework."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import claude_pattern

ROOT = Path(__file__).parents[2]
SOURCES = ("claude_pattern", "pages", "skills", "commands", "mcp.json", "LICENSE", "README.md", "pyproject.toml")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel made from a copy of the sources: builds leave files behind that would get into the next wheel."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy))
    [built] = out.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_folders(top: str) -> set[str]:
    return {str(path.parent.relative_to(ROOT)) for path in (ROOT / top).rglob("*.py")}


def files(top: str) -> set[str]:
    """What the wheel is to hold of a folder: every file that is not made by running the code."""
    found = (path for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def imports(folder: Path) -> Iterator[str]:
    """The top-level names of all absolute imports below `folder`."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_the_list_of_packages_is_what_lies_on_the_disk(project: dict[str, Any]) -> None:
    folders = python_folders("claude_pattern") | {f"claude_pattern/{name}" for name in python_folders("pages")}

    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(name.replace("/", ".") for name in folders)


def test_the_wheel_holds_every_file_of_the_package_and_the_pages_in_it(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    samples = {f"claude_pattern/samples/{name}" for top in ("skills", "commands") for name in files(top)}
    expected = files("claude_pattern") | {f"claude_pattern/{name}" for name in files("pages")} | samples

    assert packed == expected


@pytest.mark.parametrize(
    "name",
    [
        "claude_pattern/py.typed",
        "claude_pattern/sessions/migrations/env.py",
        "claude_pattern/pages/__init__.py",
        "claude_pattern/samples/mcp.json",
    ],
)
def test_the_wheel_holds(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wrapper_of_agent_processes_stays_executable(wheel: zipfile.ZipFile) -> None:
    assert wheel.getinfo("claude_pattern/process/launch.sh").external_attr >> 16 & 0o111 == 0o111


def test_the_samples_in_the_wheel_are_files_and_not_links(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("claude_pattern/samples/mcp.json") == (ROOT / "mcp.json").read_bytes()


def test_the_image_the_metadata_and_the_package_have_one_version(project: dict[str, Any]) -> None:
    assert project["project"]["version"] == claude_pattern.__version__
    assert f'image.version="{claude_pattern.__version__}"' in (ROOT / "Dockerfile").read_text()


def test_the_tested_versions_fit_what_the_project_asks_for(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    extras = project["project"]["optional-dependencies"].values()
    wanted = map(Requirement, chain(project["project"]["dependencies"], *extras))

    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert [str(one) for one in wanted if pinned.get(canonicalize_name(one.name), "0") not in one.specifier] == []


def test_every_package_that_the_code_imports_is_asked_for(project: dict[str, Any]) -> None:
    asked = {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]}
    imported = {name for top in ("claude_pattern", "pages") for name in imports(ROOT / top)}
    foreign = imported - sys.stdlib_module_names - {"claude_pattern", "pydantic_core"}  # pydantic pins its own core
    sources = packages_distributions()

    assert {name for name in foreign if not asked & set(map(canonicalize_name, sources.get(name, [])))} == set()


@pytest.mark.parametrize("top", ["claude_pattern", "pages", "tests", "benchmarks", "scripts"])
def test_the_pages_are_imported_by_their_installed_name(top: str) -> None:
    assert "pages" not in imports(ROOT / top)


@pytest.mark.parametrize("foreign", ["nicegui", "fastapi", "uvicorn", "starlette", "alembic", "claude_agent_sdk"])
def test_importing_the_package_loads_no(foreign: str, tmp_path: Path) -> None:
    code = f"import sys, claude_pattern; print({foreign!r} in sys.modules)"

    assert run(sys.executable, "-c", code) == "False\n"


def test_the_module_runs_as_the_command(tmp_path: Path) -> None:
    assert run(sys.executable, "-m", "claude_pattern", "--version") == f"{claude_pattern.__version__}\n"

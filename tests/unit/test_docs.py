"""What the documentation says is true: its code compiles, its commands exist, its links lead somewhere."""

import ast
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from _pytest.mark import ParameterSet
from fastapi import FastAPI
from typer.core import TyperGroup
from typer.testing import CliRunner

import claude_pattern
from claude_pattern import cli
from claude_pattern.api import health, rest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
EVERYWHERE = {"cd", "curl", "docker", "export", "git", "pip", "python3", "sudo"}
"""Programs of the reader's machine, which the test machine need not have."""

_command = typer.main.get_command(cli.app)
assert isinstance(_command, TyperGroup)
COMMAND = _command


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced(language: str) -> list[ParameterSet]:
    """Every block of `language` in the documents, named by its document and line."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(match[1], id=f"{name_of(path)}:{line}"))
    return found


def commands(block: str) -> Iterator[list[str]]:
    """The commands of a console block, in words, without the variables that stand before them."""
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            for part in re.split(r" && | \| ", line[2:]):
                words = part.split()
                while re.match(r"[A-Z_]+=", words[0]):
                    del words[0]
                yield words


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("code", fenced("python"))
def test_an_example_in_python_compiles(code: str) -> None:
    compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", fenced("console"))
def test_an_example_for_the_console_names_programs_and_options_that_exist(block: str) -> None:
    found = list(commands(block))

    assert found, "no line begins with $"
    for path, *words in found:
        program = Path(path).name
        if path.startswith("./"):
            assert os.access(ROOT / path, os.X_OK), path
        elif program == "claude-pattern":
            subcommand = COMMAND.commands[words[0]] if words and not words[0].startswith("-") else COMMAND
            known = {option for parameter in subcommand.params for option in parameter.opts} | {"--help"}
            assert {word for word in words if word.startswith("-")} <= known
        else:
            assert program in EVERYWHERE, path


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    for target in targets:
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in headings(found), f"{target} names no heading"


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_a_decision_tells_context_decision_consequences_and_what_would_change_it(path: Path) -> None:
    text = path.read_text()
    number = int(path.name.partition("-")[0])

    assert text.startswith(f"# {number}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert "We would change our minds" in text


def test_decisions_are_numbered_without_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == claude_pattern.__version__


def test_the_settings_are_documented_as_they_are() -> None:
    written = runpy.run_path(str(ROOT / "scripts" / "settings_docs.py"))

    assert written["table"]() in (ROOT / "README.md").read_text(), "run scripts/fix"
    assert written["example"]() == (ROOT / ".env.example").read_text(), "run scripts/fix"


def test_every_route_in_the_readme_exists() -> None:
    app = FastAPI()
    app.include_router(rest.router(cast("Any", None), cast("Any", None)))
    app.include_router(health.router(cast("Any", None)))
    routes = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    named = set(re.findall(r"`([A-Z]+) (/api/v1/[^`]*)`", (ROOT / "README.md").read_text()))

    assert len(named) >= 8
    assert named - routes == set()


def test_the_help_of_the_command_shows_examples() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"])

    assert shown.exit_code == 0
    assert "claude-pattern demo" in shown.output


@pytest.mark.parametrize("name", sorted(COMMAND.commands))
def test_the_help_of_a_subcommand_ends_with_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli.app, [name, "--help"])

    assert shown.exit_code == 0
    assert f"Example: claude-pattern {name}" in shown.output

"""The samples that are shipped: the notebook server works, and every file at the root is in order."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from claude_pattern.extensions import ExtensionLoader
from claude_pattern.samples import notebook
from claude_pattern.samples.notebook import Notebook, create_server

ROOT = Path(__file__).parents[2]


async def result(folder: Path, tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
    """Whether the tool refused, and the text it brought."""
    async with Client(create_server(folder)) as client:
        answer = await client.call_tool(tool, arguments)
    return bool(answer.is_error), str(getattr(answer.content[0], "text", None))


async def call(folder: Path, tool: str, **arguments: Any) -> str:
    """The text that the tool brings."""
    refused, text = await result(folder, tool, arguments)
    assert not refused, text
    return text


async def refusal(folder: Path, tool: str, **arguments: Any) -> str:
    """The text with which the tool refuses."""
    refused, text = await result(folder, tool, arguments)
    assert refused, text
    return text


def test_the_samples_at_the_root_have_no_problems() -> None:
    config = ExtensionLoader(ROOT, environ={}).read()

    assert config.problems == ()
    assert [skill.name for skill in config.skills] == ["code-review", "explain-project", "release-notes"]
    assert [command.name for command in config.commands] == ["fix", "git:commit", "plan", "write-tests"]
    assert all(command.argument_hint for command in config.commands)
    assert list(config.mcp_servers) == ["notebook"]


def test_every_sample_command_and_skill_uses_its_arguments() -> None:
    files = [*ROOT.glob("commands/**/*.md"), *ROOT.glob("skills/*/SKILL.md")]

    assert len(files) == 7
    assert all("$ARGUMENTS" in file.read_text() for file in files)


async def test_the_tools_tell_what_they_change(tmp_path: Path) -> None:
    async with Client(create_server(tmp_path)) as client:
        tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}

    assert {name: (hints.read_only_hint, hints.destructive_hint) for name, hints in tools.items() if hints} == {
        "add_note": (None, False),
        "list_notes": (True, None),
        "search_notes": (True, None),
        "remove_note": (None, True),
    }


async def test_notes_can_be_added_listed_searched_and_removed(tmp_path: Path) -> None:
    assert await call(tmp_path, "list_notes") == "No notes."
    assert (await call(tmp_path, "add_note", text=" Deploy on Fridays\nnever ", tags=["ops", " "])).startswith(
        "Noted: #1 ("
    )
    await call(tmp_path, "add_note", text="Tea, not coffee")

    listed = await call(tmp_path, "list_notes")
    assert listed.index("#2") < listed.index("#1")
    assert "[ops] Deploy on Fridays\nnever" in listed
    assert "Tea" in await call(tmp_path, "search_notes", query="COFFEE tea")
    assert "#1" in await call(tmp_path, "search_notes", query="ops deploy")
    assert await call(tmp_path, "search_notes", query="tea deploy") == "No notes."

    assert "Deploy" in await call(tmp_path, "remove_note", number=1)
    assert "no note #1" in await refusal(tmp_path, "remove_note", number=1)
    assert "#1" not in await call(tmp_path, "list_notes")
    assert "#3" in await call(tmp_path, "add_note", text="Numbers are not given twice")


async def test_a_long_notebook_is_cut_and_says_so(tmp_path: Path) -> None:
    for number in range(4):
        await call(tmp_path, "add_note", text=f"note {number}")

    listed = await call(tmp_path, "list_notes", limit=2)

    assert ["note 3" in listed, "note 2" in listed, "note 1" in listed] == [True, True, False]
    assert "2 older notes" in listed


@pytest.mark.parametrize(
    "arguments", [{"text": ""}, {"text": "  "}, {"text": "x" * 10_001}, {"text": "x", "tags": "y"}, {}]
)
async def test_a_note_that_is_empty_or_too_long_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    assert await refusal(tmp_path, "add_note", **arguments)
    assert Notebook(tmp_path).notes() == []


def test_torn_and_foreign_lines_are_passed_over_and_the_next_note_starts_a_line(tmp_path: Path) -> None:
    book = Notebook(tmp_path)
    book.add("first", [])
    with (tmp_path / notebook.FILE).open("ab") as file:
        file.write(b'not json\n[]\n{"id": "x"}\n\xff\xfe\n' + b"[" * 5000 + b'\n{"id": 9, "created_at": "2026-')

    assert book.add("second", ["t"]).id == 2
    assert [note.text for note in book.notes()] == ["first", "second"]
    assert json.loads((tmp_path / notebook.FILE).read_bytes().splitlines()[-1])["text"] == "second"


def test_notes_of_several_sessions_get_different_numbers(tmp_path: Path) -> None:
    books = [Notebook(tmp_path), Notebook(tmp_path)]

    assert [books[turn % 2].add("x", []).id for turn in range(6)] == [1, 2, 3, 4, 5, 6]


def test_removing_from_a_notebook_that_is_not_there_makes_no_file(tmp_path: Path) -> None:
    assert Notebook(tmp_path).remove(1) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
async def test_something_else_in_the_place_of_the_file_is_an_error_with_a_reason(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "elsewhere"
    path = tmp_path / notebook.FILE
    if kind == "link":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    assert "cannot be used" in await refusal(tmp_path, "add_note", text="x")
    assert "cannot be used" in await refusal(tmp_path, "list_notes")
    assert not target.exists()


async def test_a_full_notebook_takes_no_more_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await call(tmp_path, "add_note", text="x")
    monkeypatch.setattr(notebook, "MAX_FILE_BYTES", (tmp_path / notebook.FILE).stat().st_size + 20)

    assert "full" in await refusal(tmp_path, "add_note", text="y")
    assert [note.text for note in Notebook(tmp_path).notes()] == ["x"]

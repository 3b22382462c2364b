"""What a tool call says in one line, in full, and as output."""

from importlib import import_module
from typing import Any

import pytest

tool_text = import_module("claude_pattern.pages.components.tool_text")
texts = import_module("claude_pattern.pages.texts")


@pytest.mark.parametrize(
    ("tool", "given", "line"),
    [
        ("Bash", {"command": "ls -la", "description": "Look"}, "ls -la"),
        ("Bash", {"command": "cd x\nmake"}, "cd x …"),
        ("Read", {"file_path": "/work/a.py"}, "/work/a.py"),
        ("Grep", {"pattern": "def .*", "path": "."}, "def .*"),
        ("WebFetch", {"url": "https://example.org", "prompt": "x"}, "https://example.org"),
        ("Task", {"description": "Count", "prompt": "long"}, "Count"),
        ("TodoWrite", {"todos": [{"status": "completed"}, {"status": "pending"}]}, "1 of 2 tasks done"),
        ("TodoWrite", {"todos": "broken"}, "0 of 0 tasks done"),
        ("ExitPlanMode", {"plan": "# A plan"}, ""),
        ("mcp__files__read", {"depth": 2, "path": "notes"}, "notes"),
        ("Anything", {}, ""),
        ("Bash", {"command": "x" * 500}, "x" * 159 + "…"),
        ("Bash", {"command": None}, ""),
        ("Bash", {"command": "a\ud83d"}, "a�"),
    ],
)
def test_every_tool_has_its_line(tool: str, given: dict[str, Any], line: str) -> None:
    assert tool_text.summary(tool, given) == line


def test_tools_of_mcp_servers_are_named_by_server() -> None:
    assert tool_text.name("mcp__files__read_all") == "files: read_all"
    assert tool_text.name("mcp__odd") == "mcp__odd"
    assert tool_text.name("Bash") == "Bash"


def test_an_edit_is_shown_as_a_diff() -> None:
    given = {"file_path": "a", "old_string": "one\ntwo\n--- three", "new_string": "one\n2\n--- three"}
    assert tool_text.details("Edit", given) == (" one\n-two\n+2\n --- three", "diff")
    both = tool_text.details("MultiEdit", {"edits": [given, {"old_string": "a", "new_string": "b"}, "broken"]})
    assert both.code.endswith("@@\n-a\n+b")


def test_a_command_and_a_file_are_shown_as_they_are_and_anything_else_as_json() -> None:
    assert tool_text.details("Bash", {"command": "make"}) == ("make", "bash")
    assert tool_text.details("Write", {"file_path": "a/b.py", "content": "x = 1"}) == ("x = 1", "py")
    assert tool_text.details("Odd", {"é": [1]}) == ('{\n  "é": [\n    1\n  ]\n}', "json")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, ""),
        ("\x1b[1;31mred\x1b[0m\n", "red"),
        ("\x1b]0;title\x07text", "text"),
        ([{"type": "text", "text": "a"}, {"type": "image", "source": {}}, "b"], "a\n[image]\nb"),
        ({"error": "broken"}, "broken"),
        ({"a": 1}, '{\n  "a": 1\n}'),
        (7, "7"),
    ],
)
def test_output_is_text_whatever_its_form(result: Any, text: str) -> None:
    assert tool_text.output(result) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0.0s"), (1240, "1.2s"), (9949, "9.9s"), (9950, "10s"), (59_600, "1m 00s"), (185_000, "3m 05s")],
)
def test_durations_read_well(milliseconds: int, text: str) -> None:
    assert texts.duration(milliseconds) == text


@pytest.mark.parametrize(("usd", "text"), [(0.0, "$0.00"), (0.00123, "$0.0012"), (1.005, "$1.00"), (12.3, "$12.30")])
def test_costs_show_the_digits_that_matter(usd: float, text: str) -> None:
    assert texts.cost(usd) == text

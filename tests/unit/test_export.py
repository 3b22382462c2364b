"""An exported conversation holds everything that was said, can be read again, and no secret."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claude_pattern import events
from claude_pattern.api.history import history
from claude_pattern.logs import MASK
from claude_pattern.sessions import export
from claude_pattern.sessions.journal import Entry
from claude_pattern.sessions.state import SessionState

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
KEY = "sk-ant-api03-abcdefgh"
LOG: tuple[events.AnySessionEvent, ...] = (
    events.TurnStarted(message_id="m", text="Look at # this"),
    events.ThinkingDelta(delta="first\nsecond", block=0),
    events.StreamDelta(delta="Looking.", block=1),
    events.ToolUse(tool_use_id="t1", tool="Task", input={"prompt": "dig", "api_key": "plain words"}),
    events.ToolUse(tool_use_id="t2", tool="Bash", input={"command": f"echo {KEY}"}, parent_tool_use_id="t1"),
    events.ToolResult(
        tool_use_id="t2", result="```\ninner\n```", status="success", duration_ms=1200, parent_tool_use_id="t1"
    ),
    events.ToolResult(tool_use_id="t1", result=[{"type": "text", "text": "dug"}], status="success", duration_ms=50),
    events.ToolUse(tool_use_id="t3", tool="Read", input={"file_path": "x"}),
    events.ToolResult(tool_use_id="t3", result={"error": "no such file"}, status="error", duration_ms=3),
    events.StreamDelta(delta="Done: Grüße 🙂", block=2),
    events.ResponseComplete(cost_usd=0.25, turn_count=3, total_cost_usd=0.25),
    events.TurnStarted(message_id="n", text="more"),
    events.StreamDelta(delta="half"),
    events.StreamInterrupted(),
)


def played(*log: events.AnySessionEvent) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    state = SessionState("6f1f3b0e-8a59-4d0c-9f0e-3f3c3f0a1b2c", AT, AT)
    for seq, event in enumerate(log, 1):
        state.apply(event.model_copy(update={"seq": seq}), AT)
    return state.summary().model_dump(), history(state)


def test_markdown_reads_like_the_conversation() -> None:
    text = export.as_markdown(*played(*LOG))

    assert text.startswith("# Look at # this\n\n* Session: 6f1f3b0e-8a59-4d0c-9f0e-3f3c3f0a1b2c\n")
    assert "* Cost: $0.2500" in text
    parts = (
        "## User, 2026-01-31 09:30:00 UTC\n\nLook at # this\n",
        "## Assistant, 2026-01-31 09:30:00 UTC\n",
        "> first\n> second\n",
        "\nLooking.\n",
        "### Tool Task (success, 0.1 s)\n",
        '"prompt": "dig"',
        "### Tool Bash (success, 1.2 s)\n",
        "````\n```\ninner\n```\n````\n",
        "```\ndug\n```\n",
        "### Tool Read (error, 0.0 s)\n",
        "```\nno such file\n```\n",
        "\nDone: Grüße 🙂\n",
        "## Assistant, 2026-01-31 09:30:00 UTC (interrupted)\n\nhalf\n",
        "_[Response interrupted]_\n",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_json_is_one_document_with_every_message() -> None:
    head, messages = played(*LOG)
    found = json.loads(export.as_json(head, messages))

    assert found["session"]["session_id"] == head["session_id"]
    assert [m["role"] for m in found["messages"]] == ["user", "assistant", "user", "assistant"]
    assert found["messages"][1]["text"] == "Looking.\n\nDone: Grüße 🙂"
    assert found["messages"][1]["parts"][2]["children"][0]["duration_ms"] == 1200


def test_json_lines_hold_every_event_with_its_time() -> None:
    lines = [json.loads(line) for line in export.as_jsonl(Entry(AT, event) for event in LOG).splitlines()]

    assert [line["type"] for line in lines] == [event.type for event in LOG]
    assert {line["at"] for line in lines} == {"2026-01-31T09:30:00+00:00"}


@pytest.mark.parametrize("kind", ["markdown", "json", "jsonl"])
def test_no_secret_leaves_in_any_format(kind: export.Format) -> None:
    log: list[events.AnySessionEvent] = [
        events.TurnStarted(message_id="m", text=f"key {KEY}"),
        events.ThinkingDelta(delta=KEY),
        events.StreamDelta(delta=KEY, block=1),
        events.ToolUse(tool_use_id="t", tool="Bash", input={"password": "hunter2", KEY: [{"deep": [KEY]}]}),
        events.ToolResult(tool_use_id="t", result={"error": KEY}, status="error", duration_ms=1),
        events.StreamError(error=KEY, partial_preserved=True, suggested_action="retry"),
    ]
    head, messages = played(*log)
    write = {"markdown": export.as_markdown, "json": export.as_json}.get(kind)
    text = write(head, messages) if write else export.as_jsonl(Entry(AT, event) for event in log)

    assert KEY not in text
    assert "hunter2" not in text
    assert text.count(MASK) >= 6


def test_masking_does_not_break_json() -> None:
    log: list[events.AnySessionEvent] = [
        events.TurnStarted(message_id="m", text='see http://a:b "c" d@e'),
        events.StreamDelta(delta="x://y:1"),
    ]

    assert json.loads(export.as_json(*played(*log)))
    assert [json.loads(line) for line in export.as_jsonl(Entry(AT, event) for event in log).splitlines()]


def test_deep_nesting_is_no_secret() -> None:
    value: Any = "the bottom"
    for _ in range(40):
        value = {"in": [value]}
    log = [events.ToolUse(tool_use_id="t", tool="X", input={"value": value})]

    assert "the bottom" in export.as_json(*played(*log))


def test_an_empty_session_can_be_exported() -> None:
    head, messages = played()

    assert export.as_markdown(head, messages).startswith("# Session\n")
    assert json.loads(export.as_json(head, messages))["messages"] == []
    assert export.as_jsonl(()) == ""


@pytest.mark.parametrize(
    ("title", "name"),
    [
        (None, "session-6f1f3b0e.md"),
        ("Release notes: v1.2", "release-notes-v1-2-6f1f3b0e.md"),
        ('a"; rm -rf /\r\nX-Evil: 1', "a-rm-rf-x-evil-1-6f1f3b0e.md"),
        ("../../etc/passwd", "etc-passwd-6f1f3b0e.md"),
        ("Übergröße 🙂", "ubergroe-6f1f3b0e.md"),
        ("日本語", "session-6f1f3b0e.md"),
        ("x" * 500, f"{'x' * 60}-6f1f3b0e.md"),
        (f"key {KEY}", "key-redacted-6f1f3b0e.md"),
    ],
)
def test_a_file_name_is_safe_everywhere(title: str | None, name: str) -> None:
    head = {"session_id": "6f1f3b0e-8a59-4d0c-9f0e-3f3c3f0a1b2c", "title": title}

    assert export.file_name(head, "markdown") == name


def test_the_module_needs_no_web_framework() -> None:
    source = Path(export.__file__).read_text()

    assert "nicegui" not in source
    assert "sessions.state" not in source

"""The wire contract stands still: its schema equals the snapshot, and every row of the contract is in it."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from claude_pattern import events

SNAPSHOT = Path(__file__).parent / "snapshots" / "wire.json"

SERVER = {
    "session_list": {"sessions"},
    "session_creating": {"estimated_seconds"},
    "session_ready": {"session_id", "status", "source"},
    "session_history": {"session_id", "messages"},
    "message_received": {"seq"},
    "stream_delta": {"session_id", "delta", "seq"},
    "tool_use": {"session_id", "tool_use_id", "tool", "input", "seq"},
    "tool_result": {"session_id", "tool_use_id", "result", "status", "duration_ms", "seq"},
    "response_complete": {"session_id", "cost_usd", "turn_count", "seq"},
    "stream_error": {"session_id", "error", "partial_preserved", "suggested_action", "seq"},
    "stream_interrupted": {"session_id", "seq"},
    "session_warning": {"session_id", "reason", "remaining_seconds", "message"},
    "session_terminated": {"session_id", "reason", "message", "resume_url"},
    "session_restarting": {"session_id", "reason", "message"},
    "error": {"code", "message"},
}
CLIENT = {
    "user_message": {"session_id", "text", "seq"},
    "interrupt": {"session_id"},
    "create_session": set(),
    "switch_session": {"session_id"},
    "destroy_session": {"session_id"},
}


def wire() -> dict[str, Any]:
    return {
        "client": events.client_messages.json_schema(),
        "server": events.server_messages.json_schema(mode="serialization"),
    }


def models(adapter: Any) -> dict[str, Any]:
    schema = adapter.json_schema()
    return {
        definition["properties"]["type"]["const"]: definition
        for definition in schema["$defs"].values()
        if "type" in definition.get("properties", {})
    }


def test_the_schema_is_the_one_that_clients_were_written_against() -> None:
    """After a wanted change: python -m tests.unit.test_events writes the snapshot anew."""
    assert wire() == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize(("kind", "fields"), SERVER.items(), ids=SERVER)
def test_what_the_server_says_has_the_fields_of_the_contract(kind: str, fields: set[str]) -> None:
    assert fields <= set(models(events.server_messages)[kind]["properties"])


@pytest.mark.parametrize(("kind", "fields"), CLIENT.items(), ids=CLIENT)
def test_what_clients_send_needs_the_fields_of_the_contract(kind: str, fields: set[str]) -> None:
    assert set(models(events.client_messages)[kind]["required"]) == fields | {"type"}


def test_a_minimal_event_round_trips() -> None:
    event = events.StreamDelta(session_id="s", seq=1, delta="x")

    assert events.server_messages.validate_json(event.model_dump_json()) == event


def test_events_cannot_be_changed_once_they_are_made() -> None:
    event = events.StreamInterrupted()
    with pytest.raises(ValidationError):
        event.seq = 2


def test_every_session_event_is_numbered_and_part_of_what_the_server_may_say() -> None:
    for kind in get_args(events.AnySessionEvent):
        assert issubclass(kind, events.SessionEvent)
        assert kind.model_fields["type"].default in models(events.server_messages)


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(wire(), indent=1, sort_keys=True) + "\n")

"""The WebSocket contract, row by row: every message of a client, every frame of the server, and who is closed when."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from claude_pattern import errors, events
from claude_pattern.api import connection as connection_module
from claude_pattern.api import socket as socket_module
from claude_pattern.api.connection import OPENED_ELSEWHERE, RESTARTING, SLOW, TOO_LARGE, TRY_LATER, Pace
from claude_pattern.api.frames import decode, encode, too_large
from claude_pattern.api.limits import MAX_FRAME_BYTES, MESSAGES_BURST, MESSAGES_PER_SECOND, OPERATIONS
from claude_pattern.events import MAX_MESSAGE_CHARS, AnySessionEvent
from claude_pattern.sessions import feed
from tests.unit.api_fakes import Clock, FakeSession, Line, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
async def line(site: Site) -> AsyncIterator[Line]:
    async with Line(site) as connected:
        assert (await connected.hear())["type"] == "session_list"
        yield connected


def session(site: Site, session_id: str = "a") -> FakeSession:
    """A session that somebody else has opened."""
    site.manager.sessions[session_id] = FakeSession(session_id)
    return site.manager.sessions[session_id]


async def opened(line: Line) -> str:
    line.say("create_session")
    ready = await line.hear()
    assert ready["type"] == "session_ready"
    return str(ready["session_id"])


async def kinds(line: Line, count: int) -> list[str]:
    return [(await line.hear())["type"] for _ in range(count)]


ANSWER: list[AnySessionEvent] = [
    events.StreamDelta(delta="Let me "),
    events.StreamDelta(delta="look."),
    events.ToolUse(tool_use_id="t1", tool="Bash", input={"command": "ls"}),
    events.ToolResult(tool_use_id="t1", result="README.md", status="success", duration_ms=12),
    events.ToolUse(tool_use_id="t2", tool="Read", input={"file_path": "x"}),
    events.ToolResult(tool_use_id="t2", result={"error": "no such file"}, status="error", duration_ms=3),
    events.ResponseComplete(cost_usd=0.01, turn_count=2),
]


# ---------------------------------------------------------------- the connection begins


async def test_the_list_of_live_sessions_comes_first(site: Site) -> None:
    session(site)
    async with Line(site) as line:
        first = await line.hear()
        await line.nothing_more()

    assert first["type"] == "session_list"
    assert [set(found) for found in first["sessions"]] == [set(events.SessionSummary.model_fields)]
    assert first["sessions"][0]["session_id"] == "a"


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_the_key_the_connection_closes_with_1008(site: Site, key: str | None) -> None:
    async with Line(site, key=key) as line:
        assert await line.closed() == 1008


async def test_one_connection_too_many_is_told_to_come_back_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_module, "MAX_CONNECTIONS", 1)
    async with Line(site), Line(site) as second:
        assert await second.closed() == TRY_LATER


# ---------------------------------------------------------------- create_session


async def test_a_session_from_the_pool_is_ready_at_once(site: Site, line: Line) -> None:
    line.say("create_session")

    assert await line.hear() == {
        "type": "session_ready",
        "session_id": "session-1",
        "status": "ready",
        "source": "pre-warmed",
    }
    await line.nothing_more()


async def test_a_cold_start_is_announced(site: Site, line: Line) -> None:
    site.manager.cold = True
    line.say("create_session")

    assert await line.hear() == {"type": "session_creating", "estimated_seconds": 1.5}
    assert (await line.hear())["source"] == "cold-start"


async def test_a_full_server_refuses_another_session_and_the_connection_stays(site: Site, line: Line) -> None:
    site.manager.max_sessions = 1
    await opened(line)
    line.say("create_session")

    assert await line.hear() == {
        "type": "error",
        "code": "capacity_exceeded",
        "message": "Server at capacity. Max sessions: 1",
    }
    line.say("user_message", session_id="session-1", text="hi", seq=1)
    assert (await line.hear())["type"] == "message_received"


async def test_a_session_whose_client_has_left_while_it_was_opened_is_there_and_followed_by_nobody(site: Site) -> None:
    gate = asyncio.Event()
    create = site.manager.create

    async def slow(**how: Any) -> FakeSession:
        await gate.wait()
        return await create(**how)

    site.manager.create = slow  # type: ignore[method-assign]
    async with Line(site) as line:
        await line.hear()
        line.say("create_session")
        await line.nothing_more()
    gate.set()
    for _ in range(20):
        await asyncio.sleep(0)

    assert list(site.manager.sessions) == ["session-1"]
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


# ---------------------------------------------------------------- user_message


async def test_a_message_is_acknowledged_and_then_answered_by_the_events_of_its_turn(site: Site, line: Line) -> None:
    session_id = await opened(line)
    site.manager.sessions[session_id].script = list(ANSWER)
    line.say("user_message", session_id=session_id, text="What is here?", seq=7)
    heard = [await line.hear() for _ in range(9)]

    assert heard[0] == {"type": "message_received", "seq": 7}
    assert [event["type"] for event in heard[1:]] == [
        "turn_started",
        "stream_delta",
        "stream_delta",
        "tool_use",
        "tool_result",
        "tool_use",
        "tool_result",
        "response_complete",
    ]
    first = heard[1]["seq"]
    assert [event["seq"] for event in heard[1:]] == list(range(first, first + 8))
    assert {event["session_id"] for event in heard[1:]} == {session_id}
    assert heard[7]["result"] == {"error": "no such file"}
    assert site.manager.sessions[session_id].sent == ["What is here?"]
    await line.nothing_more()


CONTRACT = {
    "stream_delta": {"session_id", "delta", "seq"},
    "tool_use": {"session_id", "tool_use_id", "tool", "input", "seq"},
    "tool_result": {"session_id", "tool_use_id", "result", "status", "duration_ms", "seq"},
    "response_complete": {"session_id", "cost_usd", "turn_count", "seq"},
    "stream_error": {"session_id", "error", "partial_preserved", "suggested_action", "seq"},
    "stream_interrupted": {"session_id", "seq"},
    "session_warning": {"session_id", "reason", "remaining_seconds", "message"},
    "session_terminated": {"session_id", "reason", "message", "resume_url"},
    "session_restarting": {"session_id", "reason", "message"},
}


async def test_every_event_of_the_contract_reaches_the_client_with_its_fields(site: Site, line: Line) -> None:
    session_id = await opened(line)
    said: list[AnySessionEvent] = [
        *ANSWER[:4],
        ANSWER[-1],
        events.StreamError(error="x", partial_preserved=True, suggested_action="retry"),
        events.StreamInterrupted(),
        events.SessionWarning(reason="duration", remaining_seconds=60, message="x"),
        events.SessionRestarting(reason="memory", message="x"),
        events.SessionTerminated(reason="x", message="x", resume_url="/chat?resume=x"),
    ]
    for event in said:
        site.manager.sessions[session_id].emit(event)
    heard = [await line.hear() for _ in said]

    for frame in heard:
        assert set(frame) > CONTRACT[frame["type"]], frame["type"]
    assert {frame["type"] for frame in heard} == set(CONTRACT)


async def test_a_second_message_is_refused_while_a_turn_is_running(site: Site, line: Line) -> None:
    session_id = await opened(line)
    line.say("user_message", session_id=session_id, text="one", seq=1)
    assert await kinds(line, 2) == ["message_received", "turn_started"]
    line.say("user_message", session_id=session_id, text="two", seq=2)

    refusal = await line.hear()
    assert (refusal["type"], refusal["code"]) == ("error", "query_in_progress")
    assert site.manager.sessions[session_id].sent == ["one"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Message is empty"),
        (" \n\t\u2003", "Message is empty"),
        (None, "Message is empty"),
        ("x" * (MAX_MESSAGE_CHARS + 1), "Message exceeds 32,000 character limit"),
        (7, "text: Input should be a valid string"),
    ],
)
async def test_a_text_that_breaks_a_rule_is_refused(site: Site, line: Line, text: Any, sentence: str) -> None:
    session_id = await opened(line)
    line.say("user_message", session_id=session_id, text=text, seq=1)

    assert await line.hear() == {"type": "error", "code": "invalid_message", "message": sentence}
    assert site.manager.sessions[session_id].sent == []


async def test_the_longest_text_is_taken_as_it_is(site: Site, line: Line) -> None:
    session_id = await opened(line)
    text = " " + "😀" * (MAX_MESSAGE_CHARS - 1)
    line.say("user_message", session_id=session_id, text=text, seq=1)

    assert (await line.hear())["type"] == "message_received"
    assert site.manager.sessions[session_id].sent == [text]


@pytest.mark.parametrize("seq", [0, -1, 1.0, 1.5, "1", True, None, [], 10**30])
async def test_a_number_that_is_no_positive_integer_is_refused(site: Site, line: Line, seq: Any) -> None:
    session_id = await opened(line)
    line.send(f'{{"type":"user_message","session_id":"{session_id}","text":"x","seq":{as_json(seq)}}}')

    assert await line.hear() == {"type": "error", "code": "invalid_message", "message": "Invalid sequence number"}


def as_json(value: Any) -> str:
    return json.dumps(value)


async def test_a_message_without_a_number_is_refused(site: Site, line: Line) -> None:
    line.say("user_message", session_id="a", text="x")

    assert (await line.hear())["message"] == "Invalid sequence number"


async def test_the_numbers_grow_on_each_connection_of_their_own(site: Site, line: Line) -> None:
    found = session(site)
    found.script = [ANSWER[-1]]
    for seq in (3, 4, 10):
        line.say("user_message", session_id="a", text="x", seq=seq)
        assert await line.hear() == {"type": "message_received", "seq": seq}
        assert await kinds(line, 2) == ["turn_started", "response_complete"]
    for seq in (10, 9, 1):
        line.say("user_message", session_id="a", text="x", seq=seq)
        assert (await line.hear())["message"] == "Invalid sequence number"
    async with Line(site) as other:
        await other.hear()
        other.say("user_message", session_id="a", text="x", seq=1)
        assert (await other.hear())["seq"] == 1


async def test_a_message_that_broke_a_rule_does_not_use_up_its_number(site: Site, line: Line) -> None:
    session(site)
    line.say("user_message", session_id="a", text=" ", seq=1)
    assert (await line.hear())["message"] == "Message is empty"
    line.say("user_message", session_id="a", text="x", seq=1)

    assert (await line.hear())["type"] == "message_received"


async def test_who_writes_to_a_session_follows_it_from_there(site: Site, line: Line) -> None:
    found = session(site)
    found.emit(events.SessionWarning(reason="old", message="before"))
    found.script = [ANSWER[-1]]
    line.say("user_message", session_id="a", text="x", seq=1)

    assert await kinds(line, 3) == ["message_received", "turn_started", "response_complete"]


@pytest.mark.parametrize(
    "kind", ["user_message", "interrupt", "switch_session", "destroy_session", "permission_answer"]
)
async def test_an_unknown_session_is_told_and_the_connection_stays(site: Site, line: Line, kind: str) -> None:
    line.say(kind, session_id="unknown", text="x", seq=1, request_id="r", decision="allow")

    assert await line.hear() == {"type": "error", "code": "session_not_found", "message": "Session not found"}
    await opened(line)


async def test_sessions_of_one_connection_work_side_by_side(site: Site, line: Line) -> None:
    first, second = await opened(line), await opened(line)
    for number, session_id in enumerate((first, second), 1):
        line.say("user_message", session_id=session_id, text="x", seq=number)
        assert await kinds(line, 2) == ["message_received", "turn_started"]
    site.manager.sessions[second].emit(ANSWER[0])
    site.manager.sessions[first].emit(ANSWER[0])

    assert {(await line.hear())["session_id"] for _ in range(2)} == {first, second}


async def test_a_slow_request_of_one_session_does_not_hold_up_another(site: Site, line: Line) -> None:
    session(site, "slow")
    session(site, "fast")
    gate = asyncio.Event()

    async def interrupt() -> bool:
        await gate.wait()
        return True

    site.manager.sessions["slow"].interrupt = interrupt  # type: ignore[method-assign]
    line.say("interrupt", session_id="slow")
    line.say("user_message", session_id="slow", text="after the interrupt", seq=1)
    line.say("user_message", session_id="fast", text="x", seq=2)

    assert await line.hear() == {"type": "message_received", "seq": 2}
    assert (await line.hear())["session_id"] == "fast"
    gate.set()
    assert await line.hear() == {"type": "message_received", "seq": 1}


async def test_only_so_many_requests_are_worked_on_at_once(site: Site, line: Line) -> None:
    gate, started = asyncio.Event(), 0

    async def interrupt() -> bool:
        nonlocal started
        started += 1
        await gate.wait()
        return True

    for number in range(OPERATIONS + 3):
        session(site, str(number)).interrupt = interrupt  # type: ignore[method-assign]
        line.say("interrupt", session_id=str(number))
    await line.nothing_more()
    assert started == OPERATIONS
    gate.set()
    await line.nothing_more()
    assert started == OPERATIONS + 3


# ---------------------------------------------------------------- interrupt, permission_answer


async def test_an_interrupt_stops_the_turn_and_is_idempotent(site: Site, line: Line) -> None:
    session_id = await opened(line)
    line.say("user_message", session_id=session_id, text="x", seq=1)
    await kinds(line, 2)
    line.say("interrupt", session_id=session_id)
    line.say("interrupt", session_id=session_id)

    assert (await line.hear())["type"] == "stream_interrupted"
    await line.nothing_more()
    assert site.manager.sessions[session_id].interrupts == 2


async def test_a_request_is_answered_once(site: Site, line: Line) -> None:
    session_id = await opened(line)
    found = site.manager.sessions[session_id]
    found.emit(events.PermissionRequest(request_id="r", kind="question", tool="AskUserQuestion", input={}))
    answer = {"session_id": session_id, "request_id": "r", "decision": "allow", "answers": {"Which?": "This"}}
    line.say("permission_answer", **answer)
    assert await kinds(line, 2) == ["permission_request", "permission_resolved"]
    line.say("permission_answer", **answer)
    assert (await line.hear())["code"] == "request_not_found"
    assert found.answers == [("r", "allow", None, {"Which?": "This"})]


async def test_a_refusal_carries_its_reason(site: Site, line: Line) -> None:
    session_id = await opened(line)
    found = site.manager.sessions[session_id]
    found.emit(events.PermissionRequest(request_id="r", kind="permission", tool="Bash", input={}))
    line.say("permission_answer", session_id=session_id, request_id="r", decision="deny", message="Not now.")
    await kinds(line, 2)

    assert found.answers == [("r", "deny", "Not now.", None)]


# ---------------------------------------------------------------- switch_session


async def test_switching_gives_the_history_and_then_what_happens(site: Site, line: Line) -> None:
    found = session(site)
    found.script = list(ANSWER)
    await found.send("What is here?")
    found.script = [events.StreamDelta(delta="Half an ")]
    await found.send("And now?")
    line.say("switch_session", session_id="a")
    history = await line.hear()

    assert (history["type"], history["session_id"], history["seq"]) == ("session_history", "a", found.state.seq)
    assert [(message["role"], message["text"], message["status"]) for message in history["messages"]] == [
        ("user", "What is here?", "complete"),
        ("assistant", "Let me look.", "complete"),
        ("user", "And now?", "complete"),
        ("assistant", "Half an ", "streaming"),
    ]
    found.emit(events.StreamDelta(delta="answer."))
    following = await line.hear()
    assert (following["delta"], following["seq"]) == ("answer.", history["seq"] + 1)


async def test_the_history_has_every_kind_of_part(site: Site, line: Line) -> None:
    found = session(site)
    found.script = [
        events.ThinkingDelta(delta="Hm."),
        events.StreamDelta(delta="Look:", block=1),
        events.ToolUse(tool_use_id="t1", tool="Task", input={"prompt": "p"}),
        events.StreamDelta(delta="inside", parent_tool_use_id="t1"),
        events.StreamError(error="It failed.", partial_preserved=True, suggested_action="retry"),
    ]
    await found.send("x")
    line.say("switch_session", session_id="a")
    parts = (await line.hear())["messages"][1]["parts"]

    assert parts == [
        {"type": "thinking", "block": 0, "text": "Hm."},
        {"type": "text", "block": 1, "text": "Look:"},
        {
            "type": "tool_use",
            "tool_use_id": "t1",
            "tool": "Task",
            "input": {"prompt": "p"},
            "status": "error",
            "result": None,
            "duration_ms": None,
            "error": "Stopped before it had ended.",
            "children": [{"type": "text", "block": 0, "text": "inside"}],
        },
        {"type": "notice", "level": "error", "text": "It failed.", "action": "retry"},
    ]


async def test_a_client_that_comes_back_gets_what_it_missed_once(site: Site) -> None:
    found = session(site)
    async with Line(site) as first:
        await first.hear()
        first.say("switch_session", session_id="a")
        last_seq = (await first.hear())["seq"]
    for number in range(5):
        found.emit(events.StreamDelta(delta=str(number)))
    async with Line(site) as second:
        await second.hear()
        second.say("switch_session", session_id="a", last_seq=last_seq)
        heard = [await second.hear() for _ in range(5)]
        found.emit(events.StreamDelta(delta="live"))
        heard.append(await second.hear())
        await second.nothing_more()

    assert [event["seq"] for event in heard] == list(range(last_seq + 1, last_seq + 7))
    assert [event["delta"] for event in heard] == ["0", "1", "2", "3", "4", "live"]


@pytest.mark.parametrize("last_seq", [-1, 99])
async def test_a_number_that_the_session_never_gave_gets_the_history(site: Site, line: Line, last_seq: int) -> None:
    session(site)
    line.say("switch_session", session_id="a", last_seq=last_seq)

    assert (await line.hear())["type"] == "session_history"


async def test_a_client_that_was_away_too_long_gets_the_history(
    site: Site, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOG_EVENTS", 3)
    found = session(site)
    for number in range(10):
        found.emit(events.StreamDelta(delta=str(number)))
    line.say("switch_session", session_id="a", last_seq=5)
    assert (await line.hear())["type"] == "session_history"
    line.say("switch_session", session_id="a", last_seq=found.state.seq - 3)
    assert await kinds(line, 3) == ["stream_delta"] * 3


async def test_a_client_that_reconnects_again_and_again_in_a_stream_loses_and_doubles_nothing(site: Site) -> None:
    found = session(site)
    seen = [found.state.seq]
    for round_ in range(30):
        async with Line(site) as line:
            await line.hear()
            line.say("switch_session", session_id="a", last_seq=seen[-1])
            for _ in range(7):
                found.emit(events.StreamDelta(delta="x"))
                await asyncio.sleep(0)
            # Some leave with events unread, some after all of them.
            for _ in range(round_ % 8):
                seen.append((await line.hear())["seq"])

    assert len(seen) > 90
    assert seen == list(range(seen[0], seen[-1] + 1))


async def test_a_history_in_a_stream_is_followed_by_the_very_next_event(site: Site, line: Line) -> None:
    found = session(site)
    for _ in range(20):
        line.say("switch_session", session_id="a")
        for _ in range(5):
            found.emit(events.StreamDelta(delta="x"))
            await asyncio.sleep(0)
        while (heard := await line.hear())["type"] != "session_history":
            pass
        told = heard["seq"]
        assert len(heard["messages"][-1]["text"]) == told - 1 if told > 1 else heard["messages"] == []
        while told < found.state.seq:
            told += 1
            assert (await line.hear())["seq"] == told


# ---------------------------------------------------------------- destroy_session


async def test_ending_a_session_ends_its_events_with_its_termination(site: Site, line: Line) -> None:
    session_id = await opened(line)
    line.say("destroy_session", session_id=session_id)
    last = await line.hear()

    assert (last["type"], last["reason"], last["resume_url"]) == ("session_terminated", "user_requested", None)
    await line.nothing_more()
    assert site.manager.sessions == {}
    assert repr(site.chat) == "<ChatSocket 1 connections | 0 sessions>"


async def test_who_ends_a_session_that_another_connection_has_does_not_take_it_over(site: Site, line: Line) -> None:
    async with Line(site) as holder:
        await holder.hear()
        session_id = await opened(holder)
        line.say("destroy_session", session_id=session_id)

        assert (await line.hear())["type"] == "session_terminated"
        assert (await holder.hear())["type"] == "session_terminated"
        await holder.nothing_more()


# ---------------------------------------------------------------- one connection per session


@pytest.mark.parametrize("how", ["switch_session", "user_message"])
async def test_a_second_connection_that_opens_a_session_closes_the_first(site: Site, line: Line, how: str) -> None:
    async with Line(site) as first:
        await first.hear()
        session_id = await opened(first)
        line.say(how, session_id=session_id, text="x", seq=1)

        said = await first.hear()
        assert (said["type"], said["code"]) == ("error", "session_opened_elsewhere")
        assert await first.closed() == OPENED_ELSEWHERE
        assert (await line.hear())["type"] in ("session_history", "message_received")
        site.manager.sessions[session_id].emit(events.SessionWarning(reason="r", message="still followed"))
        while (await line.hear())["type"] != "session_warning":
            pass


async def test_a_session_whose_connection_has_gone_is_free(site: Site, line: Line) -> None:
    async with Line(site) as first:
        await first.hear()
        session_id = await opened(first)
    line.say("switch_session", session_id=session_id)

    assert (await line.hear())["type"] == "session_history"
    assert repr(site.chat) == "<ChatSocket 1 connections | 1 sessions>"


# ---------------------------------------------------------------- frames that are no messages


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "hello",
        "{'type': 'create_session'}",
        "NaN",
        '{"type": "\\ud800"}',
        "[" * 5_000,
        b'{"type":"create_session"}',
        b"\xff",
    ],
)
async def test_what_is_no_json_text_gets_an_error_and_the_connection_stays(
    site: Site, line: Line, frame: str | bytes
) -> None:
    line.send(frame)

    answer = await line.hear()
    assert (answer["type"], answer["code"]) == ("error", "invalid_json")
    await opened(line)


@pytest.mark.parametrize(
    "frame",
    [
        "[]",
        "1",
        "null",
        '"create_session"',
        "{}",
        '{"type": 1}',
        '{"type": "shout"}',
        '{"type": null}',
        '{"type": ["x"]}',
        '{"type": {}}',
    ],
)
async def test_an_unknown_type_gets_an_error_and_the_connection_stays(site: Site, line: Line, frame: str) -> None:
    line.send(frame)

    assert await line.hear() == {"type": "error", "code": "invalid_message", "message": "Unknown message type"}
    await opened(line)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"type": "interrupt"}, "session_id: Field required"),
        ({"type": "switch_session", "session_id": 1}, "session_id: Input should be a valid string"),
        (
            {"type": "switch_session", "session_id": "a", "last_seq": "x"},
            "last_seq: Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            {"type": "permission_answer", "session_id": "a", "request_id": "r", "decision": "maybe"},
            "decision: Input should be 'allow' or 'deny'",
        ),
        ({"type": "user_message", "text": "x", "seq": 1}, "session_id: Field required"),
    ],
)
async def test_a_field_that_is_missing_or_wrong_is_named(line: Line, message: dict[str, Any], sentence: str) -> None:
    line.say(**{"kind": message.pop("type"), **message})

    assert await line.hear() == {"type": "error", "code": "invalid_message", "message": sentence}


async def test_a_frame_beyond_the_limit_closes_with_1009(site: Site, line: Line) -> None:
    line.send("x" * (MAX_FRAME_BYTES + 1))

    assert await line.closed() == TOO_LARGE


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        ("x" * MAX_FRAME_BYTES, False),
        ("x" * (MAX_FRAME_BYTES + 1), True),
        ("ü" * (MAX_FRAME_BYTES // 2), False),
        ("ü" * (MAX_FRAME_BYTES // 2) + "x", True),
        ("😀" * (MAX_FRAME_BYTES // 4) + "x", True),
        (b"x" * MAX_FRAME_BYTES, False),
        (b"x" * (MAX_FRAME_BYTES + 1), True),
    ],
)
def test_the_limit_is_in_bytes(frame: str | bytes, verdict: bool) -> None:
    assert too_large(frame) is verdict


async def test_a_failure_of_the_server_is_told_without_its_text_and_the_connection_stays(
    site: Site, line: Line
) -> None:
    site.manager.failure = ValueError("secret in /etc/passwd")
    line.say("create_session")
    assert await line.hear() == {
        "type": "error",
        "code": "internal_error",
        "message": errors.ClaudePatternError.default,
    }
    site.manager.failure = errors.ProcessFailed()
    line.say("create_session")
    assert (await line.hear())["code"] == "process_failed"
    site.manager.failure = errors.ConfigurationError("A sentence for people.")
    line.say("create_session")
    assert await line.hear() == {"type": "error", "code": "internal_error", "message": "A sentence for people."}


def test_half_a_surrogate_pair_reaches_the_client() -> None:
    frame = encode(events.StreamDelta(session_id="a", seq=1, delta="\ud83d"))

    assert json.loads(frame)["delta"] == "\ud83d"
    frame.encode()


def test_every_client_message_of_the_contract_is_understood() -> None:
    for model in (events.CreateSession, events.Interrupt, events.SwitchSession, events.DestroySession):
        kind = model.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
        assert type(decode(f'{{"type": "{kind}", "session_id": "a", "more": 1}}')) is model
    assert set(socket_module._HANDLERS) == set(events.AnyClientMessage.__origin__.__args__)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- clients that do not read, or send too much


async def test_a_client_that_does_not_read_is_closed_may_come_back_and_never_slows_the_session(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE_EVENTS", 20)
    monkeypatch.setattr(connection_module, "SEND_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connection_module, "FLUSH_TIMEOUT_S", 0.01)
    found = session(site)
    async with Line(site) as line:
        await line.hear()
        line.say("switch_session", session_id="a")
        last_seq = (await line.hear())["seq"]
        line.open.clear()
        for _ in range(200):
            found.emit(events.StreamDelta(delta="x"))
            await asyncio.sleep(0)
        assert len(found.feed._subscriptions) == 0  # its queue is full: no event is kept for it any more
        await line._task
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"
    assert len(found.feed._subscriptions) == 0

    async with Line(site) as again:
        await again.hear()
        again.say("switch_session", session_id="a", last_seq=last_seq)
        assert [(await again.hear())["seq"] for _ in range(200)] == list(range(last_seq + 1, last_seq + 201))


@pytest.mark.parametrize("kind", ["user_message", "switch_session"])
async def test_what_a_client_asked_before_it_left_is_done_and_its_session_is_followed_by_nobody(
    site: Site, kind: str
) -> None:
    found = session(site)
    async with Line(site) as line:
        await line.hear()
        line.say("interrupt", session_id="a")
        line.say(kind, session_id="a", text="x", seq=1)
        line.leave()
        await line._task
        for _ in range(20):
            await asyncio.sleep(0)

    assert found.interrupts == 1
    assert found.sent == (["x"] if kind == "user_message" else [])
    assert len(found.feed._subscriptions) == 0
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


async def test_a_client_that_is_gone_when_it_is_spoken_to_leaves_nothing_behind(site: Site) -> None:
    async with Line(site) as line:
        await line.hear()
        line.gone = True
        line.say("create_session")
        await line._task

    assert list(site.manager.sessions) == ["session-1"]
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


async def test_a_slow_client_hears_the_close_code_if_it_reads_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE_EVENTS", 5)
    found = session(site)
    async with Line(site) as line:
        await line.hear()
        line.say("switch_session", session_id="a")
        await line.hear()
        line.open.clear()
        for _ in range(100):
            found.emit(events.StreamDelta(delta="x"))
            await asyncio.sleep(0)
        line.open.set()
        while (message := await line._next())["type"] == "websocket.send":
            pass
        assert message["code"] == SLOW


async def test_a_client_that_takes_no_frame_for_too_long_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SEND_TIMEOUT_S", 0.01)
    monkeypatch.setattr(connection_module, "FLUSH_TIMEOUT_S", 0.01)
    async with Line(site) as line:
        await line.hear()
        line.open.clear()
        line.say("create_session")
        await line._task
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


async def test_requests_that_wait_to_speak_end_with_their_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "OUTBOX_FRAMES", 2)
    monkeypatch.setattr(connection_module, "FLUSH_TIMEOUT_S", 0.01)
    tasks_before = asyncio.all_tasks()
    async with Line(site) as line:
        await line.hear()
        line.open.clear()
        for _ in range(5):
            line.say("create_session")
        for _ in range(50):
            await asyncio.sleep(0)
        line.leave()
        await line._task
    for _ in range(10):
        await asyncio.sleep(0)

    assert asyncio.all_tasks() <= tasks_before


async def test_an_announcement_that_finds_no_room_closes_the_connection(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "OUTBOX_FRAMES", 1)
    monkeypatch.setattr(connection_module, "FLUSH_TIMEOUT_S", 0.01)
    async with Line(site) as line:
        await line.hear()
        line.open.clear()
        for _ in range(3):
            await site.chat.announce_shutdown()
            await asyncio.sleep(0)
        await line._task
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


def test_a_client_that_sends_too_fast_is_read_more_slowly_after_a_burst() -> None:
    clock = Clock(0)
    pace = Pace(clock)

    assert [pace.delay_s() for _ in range(MESSAGES_BURST)] == [0.0] * MESSAGES_BURST
    assert pace.delay_s() == pytest.approx(1 / MESSAGES_PER_SECOND)
    clock.now = 60
    assert pace.delay_s() == 0


async def test_a_flood_is_slowed_down_by_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(Clock(0))
    for _ in range(MESSAGES_BURST + 2):
        await pace.wait()

    assert waited == [pytest.approx(0.05), pytest.approx(0.1)]


# ---------------------------------------------------------------- the server goes down


async def test_every_client_is_told_that_the_server_goes_down_hears_its_turn_out_and_is_closed_with_1012(
    site: Site, line: Line
) -> None:
    session_id = await opened(line)
    async with Line(site) as other:
        await other.hear()
        await site.chat.announce_shutdown()
        for one in (line, other):
            said = await one.hear()
            assert (said["type"], said["code"]) == ("error", "server_shutting_down")
        site.manager.sessions[session_id].emit(ANSWER[-1])
        assert (await line.hear())["type"] == "response_complete"
        site.manager.sessions[session_id].emit(ANSWER[0])
        await asyncio.sleep(0)
        await site.chat.close()
        while (message := await line._next())["type"] == "websocket.send":
            pass
        assert (message["code"], await other.closed()) == (RESTARTING, RESTARTING)
    assert repr(site.chat) == "<ChatSocket 0 connections | 0 sessions>"


async def test_a_server_that_goes_down_takes_no_message_and_no_connection(site: Site, line: Line) -> None:
    session(site)
    site.manager.closing = True
    line.say("user_message", session_id="a", text="x", seq=1)
    line.say("create_session")
    assert [(await line.hear())["code"] for _ in range(2)] == ["server_shutting_down"] * 2

    async with Line(site) as late:
        assert await kinds(late, 2) == ["session_list", "error"]
        assert await late.closed() == RESTARTING


async def test_closing_without_connections_returns_at_once(site: Site) -> None:
    await site.chat.announce_shutdown()
    await site.chat.close()

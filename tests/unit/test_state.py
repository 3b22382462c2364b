"""Events change the state, and nothing else does; whoever joins late sees the same as who was there from the start."""

from datetime import UTC, datetime
from typing import Any

import pytest

from claude_pattern import events
from claude_pattern.events import AnySessionEvent
from claude_pattern.sessions.state import NoticePart, SessionState, TextPart, ThinkingPart, ToolCall

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def state() -> SessionState:
    return SessionState("s", NOW, NOW)


def apply(state: SessionState, *found: AnySessionEvent) -> SessionState:
    for event in found:
        state.apply(event.model_copy(update={"seq": state.seq + 1, "session_id": "s"}), NOW)
    return state


def turn(text: str = "hi", message_id: str = "m1") -> events.TurnStarted:
    return events.TurnStarted(message_id=message_id, text=text)


def complete(**changes: Any) -> events.ResponseComplete:
    return events.ResponseComplete(**{"cost_usd": 0.5, "turn_count": 1, "total_cost_usd": 0.5, **changes})


def test_a_turn_adds_a_question_and_an_answer(state: SessionState) -> None:
    apply(state, turn("What is it?"), events.StreamDelta(delta="It "), events.StreamDelta(delta="works."), complete())

    assert [(m.role, m.text, m.status) for m in state.messages] == [
        ("user", "What is it?", "complete"),
        ("assistant", "It works.", "complete"),
    ]
    assert (state.message_count, state.total_cost_usd, state.is_query_active) == (2, 0.5, False)


def test_the_first_message_becomes_the_title_in_one_short_line(state: SessionState) -> None:
    apply(state, turn("Explain\n\n" + "x" * 200))

    assert state.title is not None
    assert state.title.startswith("Explain xxx")
    assert len(state.title) <= 80


def test_control_characters_of_a_message_do_not_get_into_the_title(state: SessionState) -> None:
    apply(state, turn("\x00\x1b[31mRed\x07\x85 alert\u200d!\n"))

    assert state.title == "[31mRed alert\u200d!"


def test_text_thinking_and_tools_stand_in_the_order_in_which_they_came(state: SessionState) -> None:
    apply(
        state,
        turn(),
        events.ThinkingDelta(delta="hm", block=0),
        events.StreamDelta(delta="Let me look.", block=1),
        events.ToolUse(tool_use_id="t", tool="Bash", input={"command": "ls"}),
        events.ToolResult(tool_use_id="t", result="a", status="success", duration_ms=3),
        events.StreamDelta(delta="Found it.", block=2),
        complete(),
    )

    assert [type(p) for p in state.messages[-1].parts] == [ThinkingPart, TextPart, ToolCall, TextPart]
    assert state.tools["t"].status == "success"
    assert state.tools["t"].duration_ms == 3


def test_a_reset_takes_back_one_block_and_leaves_the_others(state: SessionState) -> None:
    apply(
        state,
        turn(),
        events.StreamDelta(delta="kept", block=0),
        events.StreamDelta(delta="void", block=1),
        events.StreamReset(block=1),
        events.StreamDelta(delta="again", block=2),
    )

    assert state.messages[-1].text == "kept\n\nagain"


def test_a_failed_tool_shows_its_reason(state: SessionState) -> None:
    failed = events.ToolResult(tool_use_id="t", result={"error": "denied"}, status="error", duration_ms=1)
    apply(state, turn(), events.ToolUse(tool_use_id="t", tool="Write", input={}), failed)

    assert (state.tools["t"].status, state.tools["t"].error) == ("error", "denied")


def test_what_a_subagent_does_is_nested_under_its_call(state: SessionState) -> None:
    apply(
        state,
        turn(),
        events.ToolUse(tool_use_id="t1", tool="Agent", input={}),
        events.ToolUse(tool_use_id="t2", tool="Read", input={}, parent_tool_use_id="t1"),
    )

    assert [p.tool_use_id for p in state.tools["t1"].children if isinstance(p, ToolCall)] == ["t2"]
    assert len(state.messages[-1].parts) == 1


def test_an_interrupted_turn_keeps_its_text_and_is_marked(state: SessionState) -> None:
    apply(
        state,
        turn(),
        events.StreamDelta(delta="half"),
        events.ToolUse(tool_use_id="t", tool="Bash", input={}),
        events.StreamInterrupted(),
    )
    answer = state.messages[-1]

    assert (answer.text, answer.status) == ("half", "interrupted")
    assert isinstance(answer.parts[-1], NoticePart)
    assert answer.parts[-1].text == "[Response interrupted]"
    assert state.tools["t"].status == "error"


def test_an_error_is_a_notice_with_its_action_and_the_text_stays(state: SessionState) -> None:
    failed = events.StreamError(error="Cut.", partial_preserved=True, suggested_action="retry")
    apply(state, turn(), events.StreamDelta(delta="half"), failed)
    notice = state.messages[-1].parts[-1]

    assert isinstance(notice, NoticePart)
    assert (notice.level, notice.text, notice.action) == ("error", "Cut.", "retry")
    assert state.messages[-1].text == "half"


def test_a_retry_notice_is_one_line_that_goes_when_the_turn_ends(state: SessionState) -> None:
    retry = events.ApiRetry(attempt=1, max_attempts=4, delay_seconds=1, message="Busy.")
    apply(state, turn(), retry, retry)
    assert [type(p) for p in state.messages[-1].parts] == [NoticePart]

    apply(state, events.StreamDelta(delta="ok"), complete())

    assert [type(p) for p in state.messages[-1].parts] == [TextPart]


def test_queued_messages_wait_behind_the_running_answer_and_start_in_order(state: SessionState) -> None:
    apply(
        state,
        turn("one", "m1"),
        events.MessageQueued(message_id="m2", text="two"),
        events.MessageQueued(message_id="m3", text="three"),
        events.StreamDelta(delta="first"),
        complete(),
    )
    assert [(m.text, m.status) for m in state.messages] == [
        ("one", "complete"),
        ("first", "complete"),
        ("two", "queued"),
        ("three", "queued"),
    ]

    apply(state, turn("two", "m2"), events.StreamDelta(delta="second"), events.MessageWithdrawn(message_id="m3"))

    assert [m.text for m in state.messages] == ["one", "first", "two", "second"]
    assert state.queued_count == 0


def test_open_requests_are_counted_until_they_are_resolved(state: SessionState) -> None:
    request = events.PermissionRequest(request_id="r", kind="permission", tool="Write", input={})
    apply(state, turn(), request)
    assert (state.waiting_count, state.activity) == (1, "Waiting for your answer")

    apply(state, events.PermissionResolved(request_id="r", decision="allow"))

    assert (state.waiting_count, state.requests) == (0, {})


def test_termination_says_why_and_offers_the_way_on(state: SessionState) -> None:
    apply(state, events.SessionTerminated(reason="server_shutdown", message="Down.", resume_url="/chat?resume=s"))
    notice = state.messages[-1].parts[0]

    assert (state.status, state.terminated_reason) == ("terminated", "server_shutdown")
    assert isinstance(notice, NoticePart)
    assert notice.action == "resume"


def test_listeners_hear_of_an_event_after_it_was_applied_and_until_they_stop(state: SessionState) -> None:
    heard: list[tuple[str, bool]] = []
    stop = state.listen(lambda event: heard.append((event.type, state.is_query_active)))
    apply(state, turn())
    stop()
    apply(state, complete())

    assert heard == [("turn_started", True)]
    assert state.listeners == 0


def test_a_listener_that_fails_hurts_nobody_else(state: SessionState) -> None:
    def fail(event: AnySessionEvent) -> None:
        raise RuntimeError("a broken view")

    heard: list[str] = []
    state.listen(fail)
    state.listen(lambda event: heard.append(event.type))
    apply(state, turn())

    assert heard == ["turn_started"]


def test_a_summary_has_the_seven_fields_of_the_contract_first(state: SessionState) -> None:
    apply(state, turn(), complete())

    assert list(state.summary().model_dump())[:7] == [
        "session_id",
        "status",
        "created_at",
        "last_active_at",
        "message_count",
        "total_cost_usd",
        "is_resumable",
    ]
    assert state.summary().created_at == "2026-01-02T03:04:05+00:00"


def test_every_event_of_a_session_can_be_applied() -> None:
    from typing import get_args

    from claude_pattern.sessions.state import _APPLY

    assert set(_APPLY) == set(get_args(events.AnySessionEvent))

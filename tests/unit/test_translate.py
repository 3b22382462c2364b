"""SDK messages become events; the deltas of a block since its last reset add up to exactly what the model said."""

from collections.abc import Iterable
from typing import Any

import pytest
from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from claude_pattern import events
from claude_pattern.sessions.translate import Translator


def stream(event: dict[str, Any], parent: str | None = None) -> StreamEvent:
    return StreamEvent(uuid="u", session_id="s", event=event, parent_tool_use_id=parent)


def start() -> StreamEvent:
    return stream({"type": "message_start", "message": {}})


def block(kind: str = "text") -> StreamEvent:
    return stream({"type": "content_block_start", "index": 0, "content_block": {"type": kind}})


def delta(text: str, kind: str = "text") -> StreamEvent:
    return stream({"type": "content_block_delta", "index": 0, "delta": {"type": f"{kind}_delta", kind: text}})


def said(*blocks: Any, error: Any = None, parent: str | None = None) -> AssistantMessage:
    return AssistantMessage(content=list(blocks), model="m", error=error, parent_tool_use_id=parent)


def result(**changes: Any) -> ResultMessage:
    fields: dict[str, Any] = {
        "subtype": "success",
        "duration_ms": 1200,
        "duration_api_ms": 1000,
        "is_error": False,
        "num_turns": 1,
        "session_id": "s",
        "total_cost_usd": 0.25,
    }
    return ResultMessage(**{**fields, **changes})


def system(subtype: str, **data: Any) -> SystemMessage:
    return SystemMessage(subtype=subtype, data=data)


def retry(error: str = "overloaded", status: int | None = 529) -> SystemMessage:
    return system("api_retry", attempt=1, max_retries=4, retry_delay_ms=500, error_status=status, error=error)


def translate(messages: Iterable[Message], translator: Translator | None = None) -> list[events.AnySessionEvent]:
    translator = translator or Translator()
    return [event for message in messages for event in translator.feed(message)]


def text_of(found: list[events.AnySessionEvent]) -> str:
    """What a client shows that follows deltas and resets."""
    blocks: dict[int, str] = {}
    for event in found:
        if isinstance(event, events.StreamDelta):
            blocks[event.block] = blocks.get(event.block, "") + event.delta
        elif isinstance(event, events.StreamReset):
            blocks.pop(event.block, None)
    return "|".join(blocks[key] for key in sorted(blocks))


def test_streamed_text_is_passed_on_and_confirmed_without_being_repeated() -> None:
    found = translate([start(), block(), delta("Hel"), delta("lo"), said(TextBlock("Hello")), result()])

    assert [type(e).__name__ for e in found] == ["StreamDelta", "StreamDelta", "ResponseComplete"]
    assert text_of(found) == "Hello"


def test_text_that_comes_only_in_the_message_is_sent_as_one_delta() -> None:
    assert text_of(translate([said(TextBlock("whole")), result()])) == "whole"


def test_the_missing_rest_of_a_streamed_text_is_added() -> None:
    assert text_of(translate([start(), block(), delta("Hel"), said(TextBlock("Hello"))])) == "Hello"


def test_a_second_start_voids_the_text_that_was_never_confirmed() -> None:
    found = translate([start(), block(), delta("once"), start(), block(), delta("twice"), said(TextBlock("twice"))])

    assert text_of(found) == "twice"
    assert any(isinstance(e, events.StreamReset) for e in found)


def test_a_retry_voids_the_text_at_once_and_is_told_with_its_numbers() -> None:
    found = translate([start(), block(), delta("half"), retry()])

    assert [type(e).__name__ for e in found] == ["StreamDelta", "StreamReset", "ApiRetry"]
    told = found[-1]
    assert isinstance(told, events.ApiRetry)
    assert (told.attempt, told.max_attempts, told.delay_seconds) == (1, 4, 0.5)
    assert told.message == "The AI service is temporarily busy. Retrying automatically..."


def test_a_confirmed_text_that_differs_from_the_streamed_one_replaces_it() -> None:
    assert text_of(translate([start(), block(), delta("wrong"), said(TextBlock("right"))])) == "right"


def test_thinking_and_text_are_blocks_of_their_own() -> None:
    found = translate(
        [
            start(),
            block("thinking"),
            delta("hm", "thinking"),
            said(ThinkingBlock("hm", "sig")),
            block(),
            delta("so"),
            said(TextBlock("so")),
        ]
    )

    assert [(type(e).__name__, getattr(e, "block", None)) for e in found] == [("ThinkingDelta", 0), ("StreamDelta", 1)]


def test_a_tool_call_and_its_result_carry_the_time_between_them() -> None:
    clock = iter([10.0, 11.5])
    translator = Translator(now=lambda: next(clock))
    use = ToolUseBlock("t1", "Bash", {"command": "ls"})
    answer = ToolResultBlock("t1", content=[{"type": "text", "text": "a.txt"}])

    found = translate([said(use), UserMessage(content=[answer])], translator)

    assert found == [
        events.ToolUse(tool_use_id="t1", tool="Bash", input={"command": "ls"}),
        events.ToolResult(
            tool_use_id="t1", result=[{"type": "text", "text": "a.txt"}], status="success", duration_ms=1500
        ),
    ]


def test_a_failed_tool_has_its_reason_as_plain_text() -> None:
    answer = ToolResultBlock("t1", content="<tool_use_error>no such file</tool_use_error>", is_error=True)
    found = translate([UserMessage(content=[answer])])

    assert isinstance(found[0], events.ToolResult)
    assert (found[0].status, found[0].result) == ("error", {"error": "no such file"})


def test_what_a_subagent_does_names_the_call_it_belongs_to() -> None:
    found = translate([said(ToolUseBlock("t2", "Read", {}), parent="t1")])

    assert isinstance(found[0], events.ToolUse)
    assert found[0].parent_tool_use_id == "t1"


@pytest.mark.parametrize("reason", ["aborted_streaming", "aborted_tools"])
def test_a_stopped_turn_is_interrupted_and_not_an_error(reason: str) -> None:
    stopped = result(subtype="error_during_execution", is_error=True, terminal_reason=reason, errors=["[ede] x"])

    assert translate([stopped]) == [events.StreamInterrupted()]


@pytest.mark.parametrize(
    ("status", "kind", "code", "action"),
    [
        (401, None, "credential_refused", "check_credentials"),
        (403, None, "credential_refused", "check_credentials"),
        (429, None, "rate_limited", "retry"),
        (529, None, "overloaded", "retry"),
        (None, "authentication_failed", "credential_refused", "check_credentials"),
        (None, "unknown", "api_error", "retry"),
        (500, "server_error", "api_error", "retry"),
    ],
)
def test_a_failure_of_the_service_is_explained(status: int | None, kind: str | None, code: str, action: str) -> None:
    failed = result(is_error=True, api_error_status=status, result="API Error: raw text")
    found = translate([start(), block(), delta("part"), said(TextBlock("API Error"), error=kind or "unknown"), failed])
    end = found[-1]

    assert isinstance(end, events.StreamError)
    assert (end.code, end.suggested_action, end.partial_preserved) == (code, action, True)
    assert "raw" not in end.error
    assert "API Error" not in text_of(found)


def test_the_cost_of_a_turn_is_the_growth_of_the_total_also_after_it_starts_again_from_zero() -> None:
    ends = translate([result(total_cost_usd=0.25), result(total_cost_usd=0.75), result(total_cost_usd=0.1)])

    assert [e.cost_usd for e in ends if isinstance(e, events.ResponseComplete)] == [0.25, 0.5, 0.1]


def test_tokens_read_from_the_cache_count_as_input() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 7}
    end = translate([result(usage=usage)])[0]

    assert isinstance(end, events.ResponseComplete)
    assert (end.input_tokens, end.output_tokens) == (125, 7)


def test_a_turn_that_only_has_a_result_text_shows_it() -> None:
    assert text_of(translate([result(result="Unknown skill: foo")])) == "Unknown skill: foo"


def test_a_result_text_that_was_streamed_before_is_not_shown_twice() -> None:
    assert text_of(translate([start(), block(), delta("hi"), said(TextBlock("hi")), result(result="hi")])) == "hi"


def test_the_output_of_a_local_command_is_text() -> None:
    output = UserMessage(content="<local-command-stdout>42 tokens</local-command-stdout>")

    assert text_of(translate([output])) == "42 tokens"


def test_model_and_mode_are_told_when_they_change_and_only_then() -> None:
    init = system("init", model="opus", permissionMode="default")
    found = translate([init, init, system("status", permissionMode="plan")])

    assert found == [
        events.SessionUpdated(model="opus", permission_mode="default"),
        events.SessionUpdated(model="opus", permission_mode="plan"),
    ]


def test_blocks_are_counted_anew_in_every_turn() -> None:
    translator = Translator()
    turn: list[Message] = [start(), block(), delta("a"), said(TextBlock("a")), result()]

    assert translate(turn, translator)[0] == translate(turn, translator)[0]

"""What a request of the CLI asks for: the requests here have the shapes that the bundled CLI sends."""

from typing import Any

import pytest

from claude_pattern.testing.conversation import Call, read_call

REMINDER = "<system-reminder>\nAttribution for git commits\n</system-reminder>\n"
CLI = {"x-app": "cli", "x-claude-code-session-id": "s1"}
TOOL = {"name": "Bash", "input_schema": {"type": "object"}}
SUMMARISE = "CRITICAL: Respond with TEXT ONLY.\n\nYour task is to create a detailed summary of the conversation so far"

Message = dict[str, Any]


def user(*content: str | Message) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]}


def system(text: str) -> Message:
    return {"role": "system", "content": [{"type": "text", "text": text}]}


def called(name: str = "Bash", use_id: str = "t1", **tool_input: Any) -> Message:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": use_id, "name": name, "input": tool_input}]}


def said(text: str) -> Message:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def result(content: Any, use_id: str = "t1", *, is_error: bool = False) -> Message:
    return {"type": "tool_result", "tool_use_id": use_id, "content": content, "is_error": is_error}


def read(*messages: Message, headers: dict[str, str] | None = None, **fields: Any) -> Call:
    return read_call({"messages": list(messages), "tools": [TOOL], **fields}, CLI | (headers or {}))


def test_the_clis_reminders_are_no_part_of_the_prompt() -> None:
    call = read(user(REMINDER, "hello"), system("# Environment\nYou have been invoked"))
    assert (call.prompt, call.step, call.results, call.origin) == ("hello", 0, (), "main")
    assert call.session_id == "s1"


def test_a_prompt_may_be_a_plain_string() -> None:
    assert read({"role": "user", "content": f"{REMINDER}hello"}).prompt == "hello"


def test_the_last_prompt_counts() -> None:
    call = read(user("one"), said("1"), user("two"))
    assert (call.prompt, call.step, call.position) == ("two", 0, 2)


def test_a_tool_result_goes_on_with_the_turn() -> None:
    call = read(user("do it"), called(command="ls"), user(result("a.txt")), system("# Reminder"))

    assert (call.prompt, call.step) == ("do it", 1)
    (found,) = call.results
    assert (found.name, found.input, found.text, found.is_error) == ("Bash", {"command": "ls"}, "a.txt", False)


def test_earlier_results_of_the_turn_are_kept_apart() -> None:
    call = read(
        user("old"),
        called(use_id="t0"),
        user(result("not of this turn", "t0")),
        said("done"),
        user("do it"),
        called(),
        user(result("first")),
        called("Read", "t2"),
        user(result([{"type": "text", "text": "second"}], "t2", is_error=True)),
    )
    assert [r.text for r in call.earlier_results] == ["first"]
    assert [(r.name, r.text, r.is_error) for r in call.results] == [("Read", "second", True)]
    assert call.step == 2


def test_the_body_of_a_skill_behind_its_result_is_no_prompt() -> None:
    call = read(user("greet"), called("Skill"), user(result("Launching skill"), "Base directory for this skill: /x"))
    assert (call.prompt, len(call.results)) == ("greet", 1)


def test_the_prompt_after_an_interrupted_tool_stands_behind_its_result() -> None:
    interrupted = user(result("rejected", is_error=True), "[Request interrupted by user for tool use]\n", "next")
    call = read(user("do it"), called(), interrupted)
    assert (call.prompt, call.step, call.results) == ("next", 0, ())


def test_the_prompt_after_an_interrupted_text_stands_behind_the_mark() -> None:
    assert read(user("long"), said("part"), user("[Request interrupted by user]\n", "next")).prompt == "next"


def test_what_surrounds_a_slash_command_is_not_its_prompt() -> None:
    tags = "<command-message>m</command-message>\n<command-name>/m</command-name>\n"
    assert read(user(tags, "Do it with a b.\n")).prompt == "Do it with a b."


def test_a_message_in_the_middle_of_a_turn_is_an_interjection() -> None:
    def told(text: str) -> str:
        return f"The user sent a new message while you were working:\n{text}\n\nThis is how Claude Code surfaces it."

    call = read(user("work"), called(), user(result("ok")), system(told("one") + "\n\n" + told("two\nlines")))
    assert call.interjections == ("one", "two\nlines")
    assert call.prompt == "work"


def test_an_interjection_is_told_only_once() -> None:
    told = "The user sent a new message while you were working:\nhey\n\nThis is how Claude Code surfaces it."
    messages = (user("work"), called(), user(result("a")), system(told), called(use_id="t2"), user(result("b", "t2")))
    assert read(*messages).interjections == ()


def test_the_report_of_a_background_task_is_a_turn_without_a_prompt() -> None:
    notice = (
        "<system-reminder>\n[SYSTEM NOTIFICATION - NOT USER INPUT]\n<task-notification>\n<status>completed</status>\n"
        '<summary>Agent "d" finished</summary>\n<result>all well</result>\n</task-notification>\n</system-reminder>'
    )
    call = read(user("start it"), said("started"), user(REMINDER, notice))
    assert (call.prompt, call.step) == ("", 0)
    assert call.notice == 'Agent "d" finished: all well'


def test_repeats_count_the_same_prompt_earlier() -> None:
    call = read(user("error"), said("API Error"), user("other"), said("a"), user("error"))
    assert call.repeats == 1
    assert read(user("error", "error")).repeats == 1


def test_retries_of_a_call_are_equal_and_other_calls_are_not() -> None:
    first = read(user("a"))
    again = read(user("a"), stream=True)
    later = read(user("a"), said("b"), user("a"))
    next_step = read(user("a"), called(), user(result("x")))

    assert first.key == again.key
    assert len({first.key, later.key, next_step.key}) == 3
    assert first.turn == next_step.turn


def test_a_prompt_said_again_after_a_failed_turn_is_another_turn_but_the_same_call() -> None:
    failed, again = read(user("a")), read(user("a", "a"))
    assert failed.key == again.key
    assert failed.turn != again.turn


@pytest.mark.parametrize(
    ("fields", "headers", "origin"),
    [
        ({}, {"x-claude-code-agent-id": "a1"}, "subagent"),
        ({"tools": [], "system": [{"text": "x", "cache_control": {"type": "ephemeral"}}]}, {}, "main"),
        ({"tools": []}, {}, "side"),
        ({"tools": [], "output_config": {"format": {"type": "json_schema"}}}, {}, "side"),
        ({"output_config": {"format": {"type": "json_schema"}}}, {}, "main"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {}, "side"),
    ],
)
def test_the_clis_own_requests_are_told_from_the_sessions(
    fields: dict[str, Any], headers: dict[str, str], origin: str
) -> None:
    assert read(user("hello"), headers=headers, **fields).origin == origin


def test_a_client_that_is_not_the_cli_is_always_the_main_conversation() -> None:
    assert read_call({"messages": [user("hello")]}, {}).origin == "main"


@pytest.mark.parametrize("last", [user(SUMMARISE), user(result("q"), SUMMARISE)])
def test_the_order_to_summarise_is_recognised(last: Message) -> None:
    call = read(user("do it"), called(), last)
    assert call.is_compaction
    assert call.origin == "side"


def test_a_side_question_is_recognised() -> None:
    question = user("<system-reminder>This is a side question from the user.</system-reminder>\n\n", "What is it?")
    call = read(user("work"), said("done"), question)
    assert (call.origin, call.prompt) == ("side", "What is it?")


@pytest.mark.parametrize("messages", [[], [said("only me")], ["nonsense"], [{"role": "user"}], [{"content": 5}]])
def test_odd_requests_have_no_prompt(messages: list[Any]) -> None:
    assert read_call({"messages": messages}, {}).prompt == ""

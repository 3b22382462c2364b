"""The prompt grammar of the scripted model, row by row."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from claude_pattern.testing import scenarios
from claude_pattern.testing.answers import Answer, Failure, Raw, Reply, Text, Thinking, ToolUse
from claude_pattern.testing.conversation import Call, ToolResult, read_call


def ask(prompt: str, *, after: str | None = None, is_error: bool = False, **changes: Any) -> Answer:
    """The answer to `prompt`; `after` is what a Bash call of the same turn brought."""
    call = read_call({"messages": [{"role": "user", "content": prompt}], "model": "m"}, {})
    if after is not None:
        call = replace(call, step=1, results=(ToolResult("Bash", {}, after, is_error),))
    return scenarios.answer(replace(call, **changes))


def reply(prompt: str, **changes: Any) -> Reply:
    answer = ask(prompt, **changes)
    assert isinstance(answer, Reply)
    return answer


def text(prompt: str, **changes: Any) -> str:
    return "\n".join(block.text for block in reply(prompt, **changes).blocks if isinstance(block, Text))


def tools(prompt: str, **changes: Any) -> list[ToolUse]:
    return [block for block in reply(prompt, **changes).blocks if isinstance(block, ToolUse)]


def plan_mode(*extra: str) -> dict[str, Any]:
    said = "You should create your plan at /home/x/plans/a-b-c.md using the Write tool."
    return {"messages": [{"role": "system", "content": [{"type": "text", "text": part}]} for part in (said, *extra)]}


def test_help_lists_every_row_of_the_table() -> None:
    shown = text("help")
    for scenario in scenarios.SCENARIOS:
        assert scenario.meaning in shown
        assert scenario.name in shown


def test_no_name_stands_twice_in_the_table() -> None:
    names = [scenario.name for scenario in scenarios.SCENARIOS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("scenario", [s for s in scenarios.SCENARIOS if s.is_demo], ids=lambda s: s.name)
def test_every_demo_word_plays_by_itself_and_in_a_sentence(scenario: scenarios.Scenario) -> None:
    plain = ask(scenario.name)

    assert plain == ask(f"Show me a {scenario.name}!")
    assert plain == ask(f"!demo {scenario.name}")
    assert isinstance(plain, Failure) or plain.blocks


@pytest.mark.parametrize("prompt", ["hello", "bash it", "please write some code for me", "code\nreview", "text hello"])
def test_any_other_prompt_is_quoted_and_gets_the_list_of_words(prompt: str) -> None:
    said = text(prompt)
    assert f"> {prompt.splitlines()[0]}" in said
    assert "`permission`" in said


def test_a_wrong_command_is_explained() -> None:
    assert text("!nothing x") == "I do not know the command !nothing. Say `help` for the list."


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("!deltas", "a number is missing"),
        ("!deltas many", "a number is missing"),
        ("!deltas -1", "a number is out of range"),
        ("!tool", "the name is missing"),
        ("!tool Bash {", "that is no JSON"),
        ("!tool Bash []", "the JSON must be an object"),
        ("!tools {}", "the JSON must be a list"),
        ('!tools [{"input": {}}]', "each block is"),
        ("!status 200", "CODE must be from 400 to 599"),
        ("!once", "a number is missing"),
        ("!cut x", "N must be a number"),
        ("!demo !text", "there is no such demo word"),
    ],
)
def test_a_command_written_wrongly_says_how_to_write_it(prompt: str, complaint: str) -> None:
    said = text(prompt)
    assert said.startswith(f"Write it as `{prompt.split()[0]}")
    assert complaint in said


def test_text_is_said_as_it_is() -> None:
    assert text("!text  two\n\nparagraphs") == "two\n\nparagraphs"
    assert text("!text\nnext line") == "next line"


def test_deltas_are_numbered_and_have_their_own_pace() -> None:
    answer = reply("!deltas 3 40")
    assert (answer.blocks, answer.pace) == ((Text("word1 word2 word3"),), 0.04)


@pytest.mark.parametrize("count", [0, 1, 4096, 10_000])
def test_chars_has_as_many_characters_as_wanted(count: int) -> None:
    assert len(text(f"!chars {count}")) == count


def test_a_tool_is_called_with_its_input_and_the_result_quoted() -> None:
    assert tools('!tool mcp__x__say {"a": [1, {"b": "c d"}]}') == [ToolUse("mcp__x__say", {"a": [1, {"b": "c d"}]})]
    assert tools("!tool EnterPlanMode") == [ToolUse("EnterPlanMode", {})]
    assert text("!tool Bash {}", after="hello") == "The tool Bash answered: hello"
    assert text("!tool Bash {}", after="", is_error=True) == "The tool Bash failed: (nothing)"


def test_several_blocks_come_in_one_message() -> None:
    blocks = reply('!tools [{"thinking": "hm"}, {"text": "a"}, {"name": "Bash", "input": {"x": 1}}, {"name": "Y"}]')
    assert blocks.blocks == (Thinking("hm"), Text("a"), ToolUse("Bash", {"x": 1}), ToolUse("Y", {}))


def test_a_loop_calls_bash_until_it_is_done() -> None:
    assert [t.input["command"] for t in tools("!loop 2 echo hi")] == ["echo hi"]
    assert [t.input["description"] for t in tools("!loop 2 echo hi", after="hi")] == ["Call 2 of 2"]
    assert text("!loop 2 echo hi", after="hi", step=2) == "The loop is done: 2 calls."


def test_faults_depend_on_the_try() -> None:
    assert ask("!once 529 2", attempt=2) == Failure(529)
    assert text("!once 529 2", attempt=3) == "Answered at try 3."
    assert reply("!cut 5").cut_deltas == 5
    assert reply("!cut 5", attempt=2).cut_deltas is None
    assert reply("!cut 70b 3", attempt=3).cut_bytes == 70
    assert reply("!cut 5 always", attempt=9, stream=True).cut_deltas == 5
    assert reply("!cut 5 always", attempt=9, stream=False).drop


def test_faults_of_every_try() -> None:
    assert ask("!status 429 3") == Failure(429, retry_after=3)
    assert reply("!stall 2").stall == 2
    assert reply("!hang 2").hang == 2
    assert reply("!malformed").malformed
    assert reply("!error-event").error_event == "overloaded_error"
    assert reply("!error-event api_error").error_event == "api_error"
    assert reply("!stop").stop_reason == "max_tokens"
    assert reply("!usage 10 20").usage == (10, 20)


def test_echo_shows_what_the_model_was_sent_but_no_key() -> None:
    headers = {"x-api-key": "sk-ant-secret-1234", "user-agent": "cli"}
    summary = text("!echo", headers=headers)

    assert '"model": "m"' in summary
    assert "...1234" in summary
    assert "secret" not in summary
    assert '"content": "!echo messages"' in text("!echo messages", headers=headers)
    assert "secret" not in text("!echo headers", headers=headers)


def test_a_plan_is_written_where_the_cli_wants_it_before_it_is_shown() -> None:
    entered, written = ToolResult("EnterPlanMode", {}, "Entered", False), ToolResult("Write", {}, "created", False)
    approved = ToolResult("ExitPlanMode", {}, "User has approved your plan", False)

    assert [t.name for t in tools("plan")] == ["EnterPlanMode"]
    (write,) = tools("plan", results=(entered,), body=plan_mode())
    assert (write.name, write.input["file_path"]) == ("Write", "/home/x/plans/a-b-c.md")
    assert [t.name for t in tools("plan", earlier_results=(entered,), results=(written,), body=plan_mode())] == [
        "ExitPlanMode"
    ]
    assert "approved" in text("plan", earlier_results=(entered, written), results=(approved,), body=plan_mode())
    assert "failed" in text("plan", results=(replace(approved, is_error=True),), body=plan_mode())


def test_a_plan_in_plan_mode_need_not_enter_it_but_after_leaving_it_must() -> None:
    assert [t.name for t in tools("plan", body=plan_mode())] == ["Write"]
    assert [t.name for t in tools("plan", body=plan_mode("## Exited Plan Mode"))] == ["EnterPlanMode"]


def test_a_plan_without_a_file_is_shown_at_once() -> None:
    entered = ToolResult("EnterPlanMode", {}, "Entered", False)
    (shown,) = tools("plan", results=(entered,))
    assert shown.name == "ExitPlanMode"
    assert "greeting" in shown.input["plan"]


def test_the_hostile_text_tries_what_must_not_happen() -> None:
    said = text("!hostile")
    for attack in ("<script>", "onerror=", "<iframe", "](javascript:", "](data:", "![a remote image]("):
        assert attack in said


def test_tasks_are_created_and_then_worked_off_in_order() -> None:
    created = tuple(ToolResult("TaskCreate", {}, f"Task #{n} created successfully", False) for n in (4, 5, 6))

    assert [t.name for t in tools("todo")] == ["TaskCreate"] * 3
    updates = [tools("todo", step=step, results=created)[0].input for step in range(1, 7)]
    assert [(u["taskId"], u["status"]) for u in updates[:3]] == [
        ("4", "in_progress"),
        ("4", "completed"),
        ("5", "in_progress"),
    ]
    assert text("todo", step=7, earlier_results=created) == "All 3 tasks are done."
    assert "failed" in text("todo", after="No such tool", is_error=True)


def test_the_demo_of_an_error_gives_up_at_the_third_try_and_works_when_said_again() -> None:
    assert ask("error", attempt=1) == Failure(529, text="Overloaded (scripted)")
    assert ask("error", attempt=3) == Failure(529, text="Overloaded (scripted)", final=True)
    assert "This time" in text("error", repeats=1)


def test_a_sub_agents_report_is_quoted_without_the_frame_around_it() -> None:
    report = "[Subagent hand-back] ... The report follows:\n  one\n  two\nagentId: a1 (use SendMessage)\n<usage>"
    assert text("subagent", results=(ToolResult("Agent", {}, report, False),)) == "The tool Agent answered: one\ntwo"


def test_what_the_user_wrote_in_between_is_answered_first() -> None:
    blocks = reply("!tool Bash {}", after="ok", interjections=("hey", "ho")).blocks
    assert blocks == (Text("You also wrote: hey\nYou also wrote: ho"), Text("The tool Bash answered: ok"))


def test_the_report_of_a_background_task_is_answered() -> None:
    assert text("", notice='Agent "d" finished: fine') == 'A background task has reported. Agent "d" finished: fine'


def side(prompt: str, **body: Any) -> Call:
    return read_call({"messages": [{"role": "user", "content": prompt}], **body}, {"x-app": "cli"})


def spoken(call: Call) -> str:
    answer = scenarios.answer(call)
    assert isinstance(answer, Reply)
    return "".join(block.text for block in answer.blocks if isinstance(block, Text))


def test_a_compaction_gets_the_summary_that_the_cli_looks_for() -> None:
    asked = "Your task is to create a detailed summary of the conversation so far"
    said = spoken(side(asked, tools=[{"name": "Bash", "input_schema": {}}]))
    assert "<analysis>" in said
    assert "<summary>" in said


def test_a_wanted_form_is_filled() -> None:
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer"},
            "ok": {"type": "boolean"},
            "items": {"type": "array"},
        },
    }
    said = spoken(side("<session>\nfix it\n</session>", output_config={"format": {"schema": schema}}))
    assert orjson.loads(said) == {"title": "Fix it", "kind": "a", "count": 0, "ok": False, "items": []}


def test_a_web_search_brings_a_page() -> None:
    call = side("Perform a web search for the query: cats", tools=[{"type": "web_search_20250305", "name": "w"}])
    answer = scenarios.answer(call)
    assert isinstance(answer, Reply)
    types = [block.block["type"] for block in answer.blocks if isinstance(block, Raw)]
    assert types == ["server_tool_use", "web_search_tool_result"]


def test_the_clis_own_requests_never_get_a_tool_call() -> None:
    assert spoken(side("bash")).startswith("You wrote")


def test_a_session_that_wants_structured_output_gets_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {"tools": [{"name": "StructuredOutput", "input_schema": schema}]}
    assert tools("name it", body=body) == [ToolUse("StructuredOutput", {"a": "Name it"})]


def test_the_model_goes_on_when_the_cli_lets_it() -> None:
    assert text("Output token limit hit. Resume directly") == "The model goes on."

"""Scripts: which step answers which prompt of which session."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_pattern.testing.answers import Answer, Failure, Reply, Text, ToolUse
from claude_pattern.testing.commands import ScenarioError
from claude_pattern.testing.conversation import ToolResult, read_call
from claude_pattern.testing.script import Script

RESULT = ToolResult("Bash", {}, "built", False)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def loaded(text: str, name: str = "script.yaml") -> Script:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return Script.load(path)

    return loaded


def ask(script: Script, prompt: str, **changes: Any) -> Answer | None:
    call = read_call({"messages": [{"role": "user", "content": prompt}]}, {})
    return script(replace(call, **changes))


def said(script: Script, prompt: str, **changes: Any) -> str | None:
    answer = ask(script, prompt, **changes)
    if answer is None:
        return None
    assert isinstance(answer, Reply)
    assert isinstance(answer.blocks[0], Text)
    return answer.blocks[0].text


def test_steps_without_a_match_answer_the_prompts_in_order(load: Any) -> None:
    script = load("- reply: one\n- reply: two\n")
    assert [said(script, prompt) for prompt in ("a", "b", "c")] == ["one", "two", None]


def test_each_session_has_the_script_for_itself(load: Any) -> None:
    script = load("- reply: one\n- reply: two\n")
    assert [said(script, "a", session_id=session) for session in ("x", "y")] == ["one", "one"]


def test_a_match_answers_any_number_of_prompts_with_what_it_caught(load: Any) -> None:
    script = load(r'[{"match": "weather in (\\w+)(!)?", "reply": "Sun in \\1\\2\\3."}]', "script.json")
    assert said(script, "The WEATHER in Rome?") == "Sun in Rome."
    assert said(script, "weather in Oslo!") == "Sun in Oslo!."
    assert said(script, "news from Rome") is None


def test_the_first_step_that_fits_and_is_not_used_up_answers(load: Any) -> None:
    script = load("steps:\n- {match: go, times: 1, reply: first}\n- {match: go, reply: later}\n- reply: other\n")
    assert [said(script, prompt) for prompt in ("go", "stop", "go on", "go ahead")] == [
        "first",
        "other",
        "later",
        "later",
    ]


def test_a_retry_gets_the_same_step_again(load: Any) -> None:
    script = load("- reply: '!once 529'\n- reply: two\n")
    assert ask(script, "a") == Failure(529)
    assert said(script, "a", attempt=2) == "Answered at try 2."
    assert said(script, "b") == "two"


def test_a_list_answers_one_call_of_the_turn_after_another(load: Any) -> None:
    script = load("""- reply: ['!tool Bash {"command": "make"}', '!tool Read {}', Deployed.]\n- reply: next\n""")

    first = ask(script, "deploy")
    second = ask(script, "deploy", step=1, results=(RESULT,))
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (first.blocks, second.blocks) == ((ToolUse("Bash", {"command": "make"}),), (ToolUse("Read", {}),))
    assert said(script, "deploy", step=2, results=(RESULT,)) == "Deployed."
    assert ask(script, "deploy", step=3, results=(RESULT,)) is None
    assert said(script, "another") == "next"


def test_a_single_command_goes_on_after_its_tool_as_the_grammar_says(load: Any) -> None:
    script = load("""- reply: '!tool Bash {"command": "make"}'\n""")
    assert isinstance(ask(script, "a"), Reply)
    assert said(script, "a", step=1, results=(RESULT,)) == "The tool Bash answered: built"


def test_a_text_after_a_tool_is_left_to_the_scenarios_which_quote_the_result(load: Any) -> None:
    assert ask(load("- reply: hello\n"), "a", step=1, results=(RESULT,)) is None


@pytest.mark.parametrize("origin", ["subagent", "side"])
def test_sub_agents_and_the_clis_own_requests_use_up_no_step(load: Any, origin: str) -> None:
    script = load("- reply: one\n")
    assert ask(script, "a", origin=origin) is None
    assert said(script, "a") == "one"


def test_the_report_of_a_background_task_uses_up_no_step(load: Any) -> None:
    script = load("- reply: one\n")
    assert ask(script, "", notice="done") is None
    assert said(script, "a") == "one"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello", "a script is a list of steps"),
        ("steps: 5", "a script is a list of steps"),
        ("- hello", "step 1: a step is a mapping with a reply"),
        ("- {reply: a}\n- {match: b}", "step 2: a step is a mapping with a reply"),
        ("- {reply: a, mach: b}", "step 1: unknown: mach"),
        ("- {reply: 5}", "step 1: reply is a text"),
        ("- {reply: []}", "step 1: reply is a text"),
        ("- {reply: a, times: 0}", "step 1: times is a whole number"),
        ("- {reply: a, match: '('}", "step 1: match is no regular expression"),
        ("- [", "neither YAML nor JSON"),
    ],
)
def test_a_script_written_wrongly_says_where(load: Any, text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint) as refused:
        load(text)
    assert "script.yaml" in str(refused.value)

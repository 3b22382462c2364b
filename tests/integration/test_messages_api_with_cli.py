"""The scripted Messages API with the real CLI on it: each scenario does there what the table says.

One CLI serves the prompts of a test one after another; the order of the messages is what the sessions rely on.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeSDKClient,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolPermissionContext,
    ToolResultBlock,
    UserMessage,
)

from claude_pattern.testing import cli
from claude_pattern.testing.answers import Reply, Text, ToolUse
from claude_pattern.testing.commands import numbered
from claude_pattern.testing.conversation import Call
from claude_pattern.testing.messages_api import MessagesAPI

pytestmark = pytest.mark.integration

TOOLS = ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "WebSearch", "Agent", "Skill"]
TOOLS += ["TaskCreate", "TaskUpdate", "AskUserQuestion", "EnterPlanMode", "ExitPlanMode"]


class Asked:
    """Stands for the user: allows everything but what contains "DENY", and picks the first option."""

    def __init__(self) -> None:
        self.tools: list[str] = []
        self.inputs: list[dict[str, Any]] = []

    async def __call__(
        self, tool: str, given: dict[str, Any], _context: ToolPermissionContext
    ) -> PermissionResultAllow | PermissionResultDeny:
        self.tools.append(tool)
        self.inputs.append(given)
        if "DENY" in str(given):
            return PermissionResultDeny(message="no thanks")
        if tool == "AskUserQuestion":
            answers = {q["question"]: q["options"][0]["label"] for q in given["questions"]}
            return PermissionResultAllow(updated_input={**given, "answers": answers})
        return PermissionResultAllow(updated_input=given)


@pytest.fixture
async def api() -> AsyncIterator[MessagesAPI]:
    async with MessagesAPI() as api:
        yield api


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def client(tmp_path: Path, api: MessagesAPI, asked: Asked) -> AsyncIterator[ClaudeSDKClient]:
    skill = tmp_path / "claude" / "skills" / "greeter"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: greeter\ndescription: Greets.\n---\nGreet warmly.\n")
    async with cli.client(tmp_path, api, tools=TOOLS, can_use_tool=asked) as client:
        yield client


async def turn(client: ClaudeSDKClient, prompt: str) -> list[Any]:
    await client.query(prompt)
    return [message async for message in client.receive_response()]


async def said(client: ClaudeSDKClient, prompt: str) -> str:
    result = (await turn(client, prompt))[-1]
    assert isinstance(result, ResultMessage)
    return result.result or ""


def outline(messages: list[Any]) -> list[str]:
    """The messages in one word each, deltas counted; what is said about the session's state is left out."""
    words: list[str] = []
    for message in messages:
        word = _word(message)
        if word == "delta" and words and words[-1].startswith("delta"):
            words[-1] = f"delta*{int(words[-1].partition('*')[2] or 1) + 1}"
        elif word:
            words.append(word)
    return words


def _word(message: Any) -> str:
    match message:
        case StreamEvent(event={"type": "content_block_delta"}):
            return "delta"
        case StreamEvent():
            return str(message.event["type"])
        case AssistantMessage():
            return "assistant"
        case UserMessage():
            return "user"
        case SystemMessage(subtype="init" | "status" | "session_state_changed" | "thinking_tokens"):
            return ""
        case SystemMessage():
            return str(message.subtype)
        case ResultMessage():
            return "failed" if message.is_error else "result"
    return type(message).__name__


def tool_results(messages: list[Any]) -> list[ToolResultBlock]:
    contents = [m.content for m in messages if isinstance(m, UserMessage) and not isinstance(m.content, str)]
    return [block for content in contents for block in content if isinstance(block, ToolResultBlock)]


MESSAGE = ["message_start", "content_block_start"]
END = ["assistant", "content_block_stop", "message_delta", "message_stop", "result"]


async def test_texts_stream_in_the_order_that_the_real_model_gives(client: ClaudeSDKClient, api: MessagesAPI) -> None:
    assert outline(await turn(client, "!deltas 25")) == [*MESSAGE, "delta*25", *END]
    assert await said(client, "!deltas 2000") == numbered(2000)
    assert await said(client, "!text\n# äöü 🙂\n\n- 中文") == "# äöü 🙂\n\n- 中文"
    assert len(await said(client, "!chars 1500000")) == 1_500_000
    assert "Say one of these words" in await said(client, "hello there")
    assert "!loop N COMMAND" in await said(client, "help")

    thinking = await turn(client, "!think about this")
    assert outline(thinking)[:3] == [*MESSAGE, "delta*3"]  # two words and the signature
    blocks = [block for m in thinking if isinstance(m, AssistantMessage) for block in m.content]
    assert [type(block) for block in blocks] == [ThinkingBlock, TextBlock]

    assert all(request.call.origin == "main" for request in api.requests)
    assert [request.call.prompt for request in api.requests][:2] == ["!deltas 25", "!deltas 2000"]


async def test_tools_really_run_and_their_results_are_quoted(
    client: ClaudeSDKClient, asked: Asked, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    assert await said(client, '!tool Bash {"command": "echo $((40 + 2))"}') == "The tool Bash answered: 42"
    assert "File created" in await said(client, '!tool Write {"file_path": "a.txt", "content": "sun\\n"}')
    assert "sun" in await said(client, '!tool Read {"file_path": "a.txt"}')
    await turn(client, '!tool Edit {"file_path": "a.txt", "old_string": "sun", "new_string": "moon"}')
    assert (work / "a.txt").read_text() == "moon\n"
    assert "a.txt" in await said(client, '!tool Glob {"pattern": "*"}')
    assert "a.txt" in await said(client, '!tool Grep {"pattern": "moon"}')
    assert await said(client, '!tool Bash {"command": "touch DENY"}') == "The tool Bash failed: no thanks"
    assert not (work / "DENY").exists()
    assert "Launching skill" in await said(client, '!tool Skill {"skill": "greeter"}')
    assert "Scripted page about cats" in await said(client, '!tool WebSearch {"query": "cats"}')
    assert asked.tools == ["Write", "Edit", "Bash", "WebSearch"]

    two = '[{"text": "Both."}, {"name": "Bash", "input": {"command": "echo one"}}, '
    two += '{"name": "Bash", "input": {"command": "echo two"}}]'
    # The CLI runs the calls of one message side by side.
    assert sorted(str(r.content) for r in tool_results(await turn(client, f"!tools {two}"))) == ["one", "two"]
    loop = await turn(client, "!loop 3 echo again")
    assert [r.content for r in tool_results(loop)] == ["again"] * 3
    assert loop[-1].result == "The loop is done: 3 calls."


async def test_the_demos_use_the_tools_that_they_show(client: ClaudeSDKClient, asked: Asked, tmp_path: Path) -> None:
    assert "Hello from a real shell" in await said(client, "bash")
    assert asked.tools == []
    assert "You allowed this file." in await said(client, "permission")
    answered = await said(client, "question")
    assert "Blue" in answered
    assert "A title" in answered
    assert "approved your plan" in await said(client, "plan")
    assert "greeting page" in asked.inputs[-1]["plan"]
    assert "approved your plan" in await said(client, "show me the plan")
    assert asked.tools == ["Bash", "AskUserQuestion", "ExitPlanMode", "ExitPlanMode"]
    assert await said(client, "todo") == "All 3 tasks are done."
    assert "Hello from a real shell" in await said(client, "subagent")
    assert await said(client, "thinking") == "17 times 23 is **391**. My thoughts are above; they fold away."

    failed = (await turn(client, "error"))[-1]
    assert (failed.is_error, failed.api_error_status) == (True, 529)
    assert "This time" in await said(client, "error")


async def test_a_cut_stream_is_tried_again_and_then_asked_for_whole(client: ClaudeSDKClient, api: MessagesAPI) -> None:
    first_try = [*MESSAGE, "delta*5", "content_block_stop", "message_stop", "api_retry"]

    assert outline(await turn(client, "!cut 5")) == [*first_try, *MESSAGE, "delta*20", *END]

    cut_twice = await turn(client, "!cut 5 2")
    second_try = first_try[:-1]
    assert outline(cut_twice) == [*first_try, *second_try, "assistant", "result"]
    assert cut_twice[-1].result == numbered(20)
    assert [request.call.stream for request in api.requests[-3:]] == [True, True, False]

    never = await turn(client, "!cut 5 always")
    assert outline(never) == [*first_try, *second_try, "assistant", "failed"]
    assert (never[-1].api_error_status, never[-1].terminal_reason) == (None, "api_error")

    in_bytes = await turn(client, "!cut 700b")
    assert outline(in_bytes)[-len(END) - 4 :] == ["api_retry", *MESSAGE, "delta*50", *END]


async def test_a_broken_stream_is_asked_for_whole_without_a_retry(client: ClaudeSDKClient) -> None:
    broken = [*MESSAGE, "delta*10", "content_block_stop", "message_stop", "assistant", "result"]
    for prompt in ("!malformed", "!error-event"):
        messages = await turn(client, prompt)
        assert outline(messages) == broken
        assert messages[-1].result == numbered(20)


async def test_a_status_ends_the_turn_as_the_cli_words_it(client: ClaudeSDKClient, api: MessagesAPI) -> None:
    found = {}
    for code in (400, 401, 403, 404, 429, 500, 529):
        before = len(api.requests)
        messages = await turn(client, f"!status {code}")
        retries = sum(isinstance(m, SystemMessage) and m.subtype == "api_retry" for m in messages)
        assert (messages[-1].is_error, messages[-1].api_error_status) == (True, code)
        errors = [message.error for message in messages if isinstance(message, AssistantMessage)]
        found[code] = (*errors, retries, len(api.requests) - before)

    assert found == {  # the error, the retries that are told, the requests
        400: ("unknown", 0, 6),
        401: ("authentication_failed", 1, 2),
        403: ("authentication_failed", 0, 1),
        404: ("model_not_found", 0, 2),
        429: ("rate_limit", 1, 2),
        500: ("server_error", 1, 2),
        529: ("server_error", 1, 2),
    }
    assert await said(client, "!text still there") == "still there"


async def test_a_call_that_fails_once_succeeds_at_its_retry(client: ClaudeSDKClient) -> None:
    for code in (529, 429, 500):
        messages = await turn(client, f"!once {code}")
        assert outline(messages) == ["api_retry", *MESSAGE, "delta*4", *END]
        assert messages[-1].result == "Answered at try 2."


async def test_a_turn_that_failed_succeeds_when_it_is_said_again(client: ClaudeSDKClient) -> None:
    first, second = [(await turn(client, "!once 500 2"))[-1] for _ in range(2)]
    assert (first.is_error, first.api_error_status) == (True, 500)
    assert (second.is_error, second.result) == (False, "Answered at try 3.")


async def test_silence_is_waited_for(client: ClaudeSDKClient) -> None:
    assert await said(client, "!hang 0.2") == "Here at last."
    assert await said(client, "!stall 0.2") == numbered(20)


async def test_an_interrupt_ends_a_stalled_stream_and_the_session_goes_on(
    client: ClaudeSDKClient, api: MessagesAPI
) -> None:
    await client.query("!stall 3600")
    deltas = 0
    async for message in client.receive_response():
        deltas += _word(message) == "delta"
        if deltas == 10:
            await client.interrupt()
            deltas = 11
        if isinstance(message, ResultMessage):
            assert message.terminal_reason == "aborted_streaming"
    assert await said(client, "!text after it") == "after it"
    assert api.requests[-1].call.prompt == "!text after it"


async def test_the_clis_own_requests_use_up_no_step_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    steps = [
        {"match": "search", "reply": '!tool WebSearch {"query": "cats"}'},
        {"match": "help me", "reply": ['!tool Agent {"description": "d", "prompt": "!text from below"}', "Helped."]},
        {"reply": "!once 529"},
        {"reply": "The second."},
    ]
    script.write_text(json.dumps(steps))
    async with MessagesAPI(script=script) as api, cli.client(tmp_path, api, allowed_tools=["WebSearch"]) as client:
        assert await said(client, "first") == "Answered at try 2."
        assert "Scripted page about cats" in await said(client, "search for cats")
        assert await said(client, "/compact") == ""
        assert await said(client, "second") == "The second."
        assert "I am a scripted model" in await said(client, "third")
        origins = [request.call.origin for request in api.requests]
        compactions = [request for request in api.requests if request.call.is_compaction]

    assert origins.count("side") == 2
    assert len(compactions) == 1


async def test_a_sub_agent_has_its_own_conversation(client: ClaudeSDKClient, api: MessagesAPI) -> None:
    below = json.dumps({"description": "d", "prompt": "!loop 2 echo below", "run_in_background": False})
    assert await said(client, f"!tool Agent {below}") == "The tool Agent answered: The loop is done: 2 calls."
    assert [request.call.origin for request in api.requests] == ["main", *["subagent"] * 3, "main"]


async def test_a_function_decides_with_what_it_knows_of_the_turn(tmp_path: Path) -> None:
    def answer(call: Call) -> Reply | None:
        if call.results:
            return Reply((Text(f"{call.prompt} -> {call.results[0].text}"),))
        return Reply((Text("I look."), ToolUse("Bash", {"command": "echo seen"})))

    async with MessagesAPI(answer) as api, cli.client(tmp_path, api) as client:
        assert await said(client, "what is it?") == "what is it? -> seen"


async def test_a_wanted_structure_is_filled(tmp_path: Path, api: MessagesAPI) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted = {"type": "json_schema", "schema": schema}
    async with cli.client(tmp_path, api, tools=[], output_format=wanted) as client:
        result = (await turn(client, "call it sunshine"))[-1]
    assert result.structured_output == {"name": "Call it sunshine"}

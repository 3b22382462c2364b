"""Who decides the answers of the scripted Messages API: a function, a script, a thread's caller, a shell's user."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from claude_pattern.testing import messages_api
from claude_pattern.testing.answers import Answer, Failure, Reply, Text, ToolUse
from claude_pattern.testing.conversation import Call
from claude_pattern.testing.messages_api import MessagesAPI
from tests.unit.messages_api_client import request, said


async def _later(call: Call) -> str:
    await asyncio.sleep(0)
    return f"later: {call.prompt}"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda call: f"I heard {call.prompt}", "I heard hello"),
        (lambda _call: "!deltas 2", "word1 word2"),
        (lambda _call: Reply((Text("as given"),)), "as given"),
        (lambda call: None if call.prompt == "hello" else "never", "You wrote:\n\n> hello"),
        (_later, "later: hello"),
    ],
)
async def test_a_function_may_decide_the_answer(answer: Callable[[Call], Any], text: str) -> None:
    async with MessagesAPI(answer) as api, httpx.AsyncClient(base_url=api.base_url) as client:
        message = (await client.post("/v1/messages", json=request("hello"))).json()

    assert said(message).startswith(text)


async def test_a_command_of_a_function_is_not_repeated_after_its_tool_result() -> None:
    called = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    came_back = {"type": "tool_result", "tool_use_id": "t", "content": "done"}
    body = request("hello")
    body["messages"] += [{"role": "assistant", "content": [called]}, {"role": "user", "content": [came_back]}]
    async with (
        MessagesAPI(lambda _call: '!tool Bash {"command": "true"}') as api,
        httpx.AsyncClient(base_url=api.base_url) as client,
    ):
        assert said((await client.post("/v1/messages", json=body)).json()) == "The tool Bash answered: done"


async def test_a_function_that_fails_is_told_to_the_client_and_raised_at_the_end() -> None:
    def fails(_call: Call) -> str:
        raise LookupError("no answer for this")

    async with httpx.AsyncClient() as client:
        api = await MessagesAPI(fails).__aenter__()
        response = await client.post(f"{api.base_url}/v1/messages", json=request("hello"))
        with pytest.raises(LookupError, match="no answer for this"):
            await api.__aexit__(None)

    assert response.status_code == 500
    assert "no answer for this" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"


async def test_a_function_is_not_asked_about_the_clis_own_requests() -> None:
    asked: list[str] = []

    def note(call: Call) -> None:
        asked.append(call.prompt)

    form = {"type": "json_schema", "schema": {"type": "object", "properties": {"title": {"type": "string"}}}}
    async with MessagesAPI(note) as api, httpx.AsyncClient(base_url=api.base_url) as client:
        body = request("<session>\nplease fix the login\n</session>", output_config={"format": form})
        title = said((await client.post("/v1/messages", json=body)).json())

    assert orjson.loads(title) == {"title": "Please fix the login"}
    assert asked == []


async def test_a_failure_and_a_tool_call_may_be_given_as_values() -> None:
    given: list[Answer] = [Failure(429, retry_after=1), Reply((ToolUse("Read", {"file_path": "a"}),))]
    answers = iter(given)
    async with (
        MessagesAPI(lambda _call: next(answers)) as api,
        httpx.AsyncClient(base_url=api.base_url) as client,
    ):
        assert (await client.post("/v1/messages", json=request("a"))).status_code == 429
        message = (await client.post("/v1/messages", json=request("a"))).json()
    assert message["stop_reason"] == "tool_use"
    assert message["content"][0]["input"] == {"file_path": "a"}


def test_synchronous_code_uses_it_in_a_thread() -> None:
    with MessagesAPI.in_thread() as api:
        message = httpx.post(f"{api.base_url}/v1/messages", json=request("!text hello")).json()
        assert said(message) == "hello"
        assert api.requests[0].call.prompt == "!text hello"
        assert [r.path for r in api.wait_for_requests(1)] == ["/v1/messages"]
        assert api.env()["ANTHROPIC_BASE_URL"] == api.base_url
        with pytest.raises(TimeoutError):
            api.wait_for_requests(2, timeout=0.01)
    with pytest.raises(httpx.ConnectError):
        httpx.get(api.base_url)


def test_a_failing_function_is_raised_out_of_the_thread_too() -> None:
    def fails(_call: Call) -> str:
        raise LookupError("no answer")

    with pytest.raises(LookupError, match="no answer"), MessagesAPI.in_thread(fails) as api:
        httpx.post(f"{api.base_url}/v1/messages", json=request("hello"))


def test_a_taken_port_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), MessagesAPI.in_thread(port=taken.getsockname()[1]):
            pytest.fail("it must not start")


def test_a_function_and_a_script_exclude_each_other(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="not both"):
        MessagesAPI(lambda _call: None, script=tmp_path / "script.yaml")


def test_the_command_line_names_what_is_wrong_with_a_script(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- answer: hello\n")

    with pytest.raises(SystemExit) as ended:
        messages_api.main(["--script", str(script)])

    assert ended.value.code == 1
    assert f"{script}: step 1: a step is a mapping with a reply" in capsys.readouterr().err


def test_the_command_line_lists_what_a_prompt_gets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        messages_api.main(["--help"])

    assert ended.value.code == 0
    assert "!loop N COMMAND" in capsys.readouterr().out

"""Each undocumented knob that we turn, against the installed CLI: an upgrade that moves one fails here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from claude_agent_sdk import Message, ResultMessage, StreamEvent, SystemMessage

from claude_pattern.extensions import ExtensionLoader
from claude_pattern.process.agent import AgentProcess
from claude_pattern.testing.messages_api import MessagesAPI


class Listener:
    """Takes an agent process over and keeps everything it says."""

    def __init__(self, agent: AgentProcess) -> None:
        self.agent = agent
        self.messages: list[Message] = []

    async def ask(self, text: str, message_id: str | None = None) -> ResultMessage:
        first = len(self.messages)
        await self.agent.send(text, message_id or str(uuid4()))
        async with asyncio.timeout(30):
            while True:
                for message in self.messages[first:]:
                    if isinstance(message, ResultMessage):
                        return message
                await asyncio.sleep(0.01)

    async def hear(self, message: Message) -> None:
        self.messages.append(message)

    async def ended(self, exit_code: int | None) -> None:
        self.messages.clear()

    def system(self, subtype: str) -> list[dict[str, Any]]:
        return [m.data for m in self.messages if isinstance(m, SystemMessage) and m.subtype == subtype]


@pytest.fixture
async def listener(parts: Callable[..., Any], project: Any) -> AsyncIterator[Listener]:
    async with parts() as opened:
        agent = await opened.launcher.start(str(uuid4()), await ExtensionLoader(project).load(), settle=True)
        listener = Listener(agent)

        async def refuse(*_: Any) -> Any:
            raise AssertionError("nothing here asks")

        await agent.bind(on_message=listener.hear, on_end=listener.ended, ask=refuse)
        yield listener
        await agent.close()


async def test_the_session_has_the_id_that_we_chose(listener: Listener) -> None:
    result = await listener.ask("!text hello")

    assert result.session_id == listener.agent.session_id


async def test_a_result_names_the_message_it_answers(listener: Listener) -> None:
    message_id = str(uuid4())
    result = await listener.ask("!text hello", message_id)

    assert result.user_message_uuids == [message_id]


async def test_the_cli_says_when_it_runs_and_when_it_is_idle(listener: Listener) -> None:
    await listener.ask("!text one")
    await listener.ask("!text two")
    states = [data["state"] for data in listener.system("session_state_changed")]

    assert states[:3] == ["running", "idle", "running"]


async def test_deltas_that_come_close_together_are_gathered(listener: Listener) -> None:
    await listener.ask("!deltas 1000")
    streamed = [m for m in listener.messages if isinstance(m, StreamEvent) and m.event["type"] == "content_block_delta"]

    assert 1 <= len(streamed) < 200


async def test_the_number_of_retries_is_ours(listener: Listener) -> None:
    await listener.ask("!status 529")

    assert [data["max_retries"] for data in listener.system("api_retry")] == [2, 2]


async def test_sessions_cannot_reach_each_other_and_bundled_skills_are_off(
    listener: Listener, api: MessagesAPI
) -> None:
    await listener.ask("!text hello")
    (init,) = listener.system("init")

    assert not {"ListAgents", "SendMessage"} & set(init["tools"])
    assert set(init["skills"]) <= {"doctor", "plugin-authoring"}
    assert init["mcp_servers"] == []
    assert init["permissionMode"] == "default"
    assert list(listener.agent.stderr) == []


async def test_the_key_goes_to_the_service_and_to_nobody_else(listener: Listener, api: MessagesAPI) -> None:
    await listener.ask("!text hello")
    request = next(r for r in api.requests if r.path.startswith("/v1/messages"))

    assert request.headers["x-api-key"] == api.env()["ANTHROPIC_API_KEY"]
    assert "authorization" not in request.headers

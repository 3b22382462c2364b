"""Sessions over REST on the real CLI: ended ones come back, a message streams its turn, and forks go their own way."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from claude_pattern import errors
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session
from claude_pattern.testing.messages_api import MessagesAPI
from tests.integration.conftest import Server, answer, run_turn


def said(session: Session) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in session.state.messages]


def user_ids(session: Session) -> list[str]:
    return [message.message_id for message in session.state.messages if message.role == "user"]


def last_request(api: MessagesAPI) -> str:
    return str(api.requests[-1].body["messages"])


# ---------------------------------------------------------------- forks


async def test_a_fork_goes_its_own_way_and_leaves_the_original_alone(manager: SessionManager, api: MessagesAPI) -> None:
    original = await manager.create()
    await run_turn(original, "!text the teapot")
    await run_turn(original, '!tool Bash {"command": "ls"}')
    before = said(original)
    fork = await manager.fork(original.session_id)

    assert fork.session_id != original.session_id
    assert said(fork) == before
    assert fork.state.total_cost_usd == 0.0
    await run_turn(fork, "!text said in the fork")
    assert "the teapot" in last_request(api)
    assert "toolu_" in last_request(api)
    assert answer(fork) == "said in the fork"
    await run_turn(original, "!text said in the original")
    assert "the teapot" in last_request(api)
    assert "said in the fork" not in last_request(api)
    assert said(original)[: len(before)] == before
    details = await manager.details(fork.session_id)
    assert details["parent_session_id"] == original.session_id
    assert details["title"] == "!text the teapot (fork)"


async def test_a_fork_at_a_message_knows_nothing_of_what_came_later(manager: SessionManager, api: MessagesAPI) -> None:
    original = await manager.create()
    for text in ("!text alpha", '!tool Bash {"command": "ls"}', "!text gamma", "!text omega"):
        await run_turn(original, text)
    fork = await manager.fork(original.session_id, at_message=user_ids(original)[1])

    assert said(fork) == said(original)[:4]
    await run_turn(fork, "!text next")
    assert "alpha" in last_request(api)
    assert "toolu_" in last_request(api)
    assert "gamma" not in last_request(api)
    assert "omega" not in last_request(api)
    again = await manager.fork(fork.session_id, at_message=user_ids(original)[0])
    await run_turn(again, "!text second fork")
    assert "alpha" in last_request(api)
    assert "toolu_" not in last_request(api)


async def test_a_fork_before_a_compaction_has_the_conversation_itself(
    manager: SessionManager, api: MessagesAPI
) -> None:
    original = await manager.create()
    await run_turn(original, "!text alpha")
    await run_turn(original, "/compact")
    fork = await manager.fork(original.session_id, at_message=user_ids(original)[0])
    await run_turn(fork, "!text next")

    assert "!text alpha" in last_request(api)
    assert "continued from a previous conversation" not in last_request(api)


async def test_a_fork_keeps_its_conversation_when_it_is_resumed_before_its_first_turn(
    parts: Callable[..., Any], api: MessagesAPI
) -> None:
    async with parts() as opened:
        original = await opened.manager.create()
        await run_turn(original, "!text the teapot")
        fork = await opened.manager.fork(original.session_id)
        await run_turn(original, "!text later")
        await opened.manager.destroy(fork.session_id)
        await run_turn(fork, "!text back")

        assert fork.state.warnings == []
        assert "the teapot" in last_request(api)
        assert "later" not in last_request(api)


async def test_an_ended_session_can_be_forked(manager: SessionManager, api: MessagesAPI) -> None:
    original = await manager.create()
    await run_turn(original, "!text the teapot")
    await manager.destroy(original.session_id)
    fork = await manager.fork(original.session_id)
    await run_turn(fork, "!text next")

    assert [role for role, _ in said(fork)] == ["user", "assistant"] * 2
    assert "the teapot" in last_request(api)
    assert original.ended


async def test_a_session_without_a_message_can_be_forked(manager: SessionManager) -> None:
    original = await manager.create()
    fork = await manager.fork(original.session_id)
    await run_turn(fork, "!text first")

    assert answer(fork) == "first"


async def test_nothing_is_forked_while_a_turn_runs(manager: SessionManager) -> None:
    original = await manager.create()
    await original.send("!deltas 2000 10")
    with pytest.raises(errors.QueryInProgress):
        await manager.fork(original.session_id)
    await original.interrupt()
    fork = await manager.fork(original.session_id)

    assert said(fork) == said(original)
    await run_turn(fork, "!text next")
    assert answer(fork) == "next"


# ---------------------------------------------------------------- over the wire


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


def cut_off(server: Server, url: str, text: str, after: int) -> list[dict[str, Any]]:
    """Send a message, read `after` events of the stream, and go away."""
    found: list[dict[str, Any]] = []
    with server.client.stream("POST", url, json={"text": text}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == after:
                return found
    raise AssertionError("the stream was too short")


def test_a_cut_stream_is_taken_up_again_without_loss_and_survives_a_restart(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    session = f"/api/v1/sessions/{server.client.post('/api/v1/sessions').json()['session_id']}"
    first = cut_off(server, f"{session}/messages", "!deltas 400 3", 20)
    assert server.client.get(session).json()["is_query_active"], "events come as they happen, and the turn goes on"
    rest = server.client.get(f"{session}/events", headers={"Last-Event-ID": str(first[-1]["seq"])})
    found = [*first, *told(rest.text)]

    assert [e["seq"] for e in found] == list(range(found[0]["seq"], found[-1]["seq"] + 1))
    assert found[-1]["type"] == "response_complete"
    words = " ".join(f"word{n}" for n in range(1, 401))
    assert "".join(e["delta"] for e in found if e["type"] == "stream_delta") == words
    assert server.client.get(f"{session}/events").status_code == 204
    renamed = server.client.patch(session, json={"title": "Many words"}).json()["title"]
    server.stop()

    server = start_server()
    listed = server.client.get("/api/v1/sessions?status=ended").json()["sessions"]
    assert [(s["title"], s["status"]) for s in listed] == [(renamed, "terminated")]
    again = server.client.get(f"{session}/events", headers={"Last-Event-ID": str(first[-1]["seq"])})
    assert told(again.text)[: len(found) - 20] == found[20:]
    assert server.client.post(f"{session}/resume").json()["source"] == "resumed"
    answer = server.client.post(
        f"{session}/messages", json={"text": "!text back"}, headers={"Accept": "application/json"}
    ).json()
    assert (answer["status"], answer["text"]) == ("complete", "back")
    exported = server.client.get(f"{session}/export")
    assert exported.headers["content-disposition"].startswith('attachment; filename="many-words-')
    assert words in exported.text
    forked = server.client.post(f"{session}/fork").json()
    assert server.client.get(f"/api/v1/sessions/{forked['session_id']}/export?format=json").json()["messages"]
    assert server.stop() == 0

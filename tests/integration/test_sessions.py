"""Sessions on the real CLI: what the model says arrives exactly, tools run, and stopping always stops."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from claude_pattern import errors, events
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session
from claude_pattern.testing.messages_api import MessagesAPI
from tests.integration.conftest import answer, processes_marked, run_turn, wait_for

WORDS_20 = " ".join(f"word{n}" for n in range(1, 21))


async def test_a_streamed_answer_arrives_exactly(manager: SessionManager) -> None:
    session = await manager.create()
    found = await run_turn(session, "!deltas 300 1")
    words = " ".join(f"word{n}" for n in range(1, 301))

    assert "".join(e.delta for e in found if isinstance(e, events.StreamDelta)) == words
    assert answer(session) == words
    assert [e.seq for e in found] == list(range(found[0].seq, found[0].seq + len(found)))


async def test_an_answer_whose_stream_was_cut_arrives_exactly_once(manager: SessionManager) -> None:
    session = await manager.create()
    for cut in (1, 3, 7):
        found = await run_turn(session, f"!cut {cut}")

        assert any(isinstance(e, events.ApiRetry) for e in found)
        text = answer(session)
        assert text.split() == list(dict.fromkeys(text.split())), "a word came twice"
        assert isinstance(found[-1], events.ResponseComplete)


async def test_an_answer_with_malformed_events_arrives_exactly(manager: SessionManager) -> None:
    session = await manager.create()
    await run_turn(session, "!malformed")

    assert answer(session) == WORDS_20


async def test_the_conversation_goes_on_over_several_turns(manager: SessionManager, api: MessagesAPI) -> None:
    session = await manager.create()
    await run_turn(session, "!text first answer")
    await run_turn(session, "!text second answer")

    assert "first answer" in str(api.requests[-1].body["messages"])
    assert session.state.message_count == 4
    assert session.state.total_cost_usd > 0


async def test_a_tool_that_only_reads_runs_without_asking(manager: SessionManager, project: Path) -> None:
    (project / "here.txt").write_text("x")
    session = await manager.create()
    found = await run_turn(session, '!tool Bash {"command": "ls"}')

    assert not any(isinstance(e, events.PermissionRequest) for e in found)
    (call,) = session.state.tools.values()
    assert (call.status, call.result) == ("success", "here.txt")
    assert call.duration_ms is not None


@pytest.mark.parametrize(("decision", "exists"), [("allow", True), ("deny", False)])
async def test_a_tool_that_changes_something_waits_for_an_answer(
    manager: SessionManager, project: Path, decision: Any, exists: bool
) -> None:
    session = await manager.create()
    stop = session.state.listen(
        lambda e: (
            session.answer(e.request_id, decision, message="not now")
            if isinstance(e, events.PermissionRequest)
            else None
        )
    )
    await run_turn(session, '!tool Bash {"command": "touch made"}')
    stop()

    assert (project / "made").exists() is exists
    (call,) = session.state.tools.values()
    assert call.status == ("success" if exists else "error")
    assert exists or "not now" in str(call.error)


async def test_the_answer_to_a_question_reaches_the_model(manager: SessionManager, api: MessagesAPI) -> None:
    session = await manager.create()

    def reply(event: events.AnySessionEvent) -> None:
        if isinstance(event, events.PermissionRequest):
            assert event.kind == "question"
            question = event.input["questions"][0]
            label = question["options"][0]["label"]
            session.answer(event.request_id, "allow", answers={question["question"]: label})

    session.state.listen(reply)
    await run_turn(session, "!question")

    (call,) = session.state.tools.values()
    chosen = call.input["questions"][0]["options"][0]["label"]
    assert chosen in str(api.requests[-1].body["messages"][-1])


async def test_a_message_sent_during_a_turn_is_answered_after_it(manager: SessionManager) -> None:
    session = await manager.create()
    await session.send("!deltas 50 5")
    with pytest.raises(errors.QueryInProgress):
        await session.send("!text refused")
    await session.send("!text later", queue=True)
    await wait_for(lambda: answer(session) == "later" and not session.state.is_query_active)

    assert [m.role for m in session.state.messages] == ["user", "assistant"] * 2


@pytest.mark.parametrize("pause", [0.0, 0.003, 0.2])
async def test_a_stop_ends_the_turn_whenever_it_comes(manager: SessionManager, pause: float) -> None:
    session = await manager.create()
    await run_turn(session, "!text warm")
    await session.send("!deltas 2000 10")
    await asyncio.sleep(pause)
    assert await session.interrupt()

    assert session.state.messages[-1].status == "interrupted"
    assert not session.state.is_query_active
    assert isinstance((await run_turn(session, "!text still here"))[-1], events.ResponseComplete)
    assert answer(session) == "still here"


async def test_a_stop_ends_a_tool_with_everything_it_has_started(manager: SessionManager) -> None:
    session = await manager.create()
    session.state.listen(
        lambda e: session.answer(e.request_id, "allow") if isinstance(e, events.PermissionRequest) else None
    )
    assert session.state.pid is not None
    process = psutil.Process(session.state.pid)

    def workers() -> int:
        count = 0
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                count += "time.sleep(302)" in " ".join(child.cmdline())
        return count

    waits = "python3 -c 'import time; time.sleep(302)'"
    await session.send(f'!tool Bash {{"command": "{waits} & {waits}"}}')
    await wait_for(lambda: workers() >= 2)
    await session.interrupt()
    await wait_for(lambda: workers() == 0)

    assert session.state.messages[-1].status == "interrupted"


async def test_an_open_permission_request_is_withdrawn_by_a_stop(manager: SessionManager) -> None:
    session = await manager.create()
    await session.send('!tool Bash {"command": "touch made"}')
    await wait_for(lambda: session.state.requests)
    await session.interrupt()

    assert session.state.requests == {}
    assert session.state.messages[-1].status == "interrupted"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_ends_the_turn_and_says_where_to_set_it(manager: SessionManager, status: int) -> None:
    session = await manager.create()
    end = (await run_turn(session, f"!status {status}"))[-1]

    assert isinstance(end, events.StreamError)
    assert (end.code, end.suggested_action) == ("credential_refused", "check_credentials")


@pytest.mark.parametrize("status", [429, 529, 500])
async def test_a_busy_service_is_told_at_once_and_given_up_after_the_last_try(
    manager: SessionManager, status: int
) -> None:
    session = await manager.create()
    found = await run_turn(session, f"!status {status}")

    retries = [e for e in found if isinstance(e, events.ApiRetry)]
    assert [e.attempt for e in retries] == [1, 2]
    assert retries[0].message == errors.BUSY
    assert isinstance(found[-1], events.StreamError)
    assert found[-1].suggested_action == "retry"


async def test_one_failure_and_then_success_is_a_success(manager: SessionManager) -> None:
    session = await manager.create()
    found = await run_turn(session, "!once 529 1")

    assert any(isinstance(e, events.ApiRetry) for e in found)
    assert isinstance(found[-1], events.ResponseComplete)
    assert [type(p).__name__ for p in session.state.messages[-1].parts] == ["TextPart"]


async def test_a_killed_process_is_replaced_and_the_conversation_goes_on(
    manager: SessionManager, api: MessagesAPI
) -> None:
    session = await manager.create()
    await run_turn(session, "!text remember the teapot")
    await session.send("!deltas 2000 10")
    await wait_for(lambda: "word2" in answer(session))
    assert session.state.pid is not None
    psutil.Process(session.state.pid).kill()
    await wait_for(lambda: session.state.status == "restarting")
    await wait_for(lambda: session.state.status == "active")

    assert session.state.messages[3].status == "error"
    assert "word2" in session.state.messages[3].text
    await run_turn(session, "!text back again")
    assert answer(session) == "back again"
    assert "teapot" in str(api.requests[-1].body["messages"])


async def test_a_process_that_dies_before_its_first_turn_is_replaced(manager: SessionManager) -> None:
    session = await manager.create()
    assert session.state.pid is not None
    psutil.Process(session.state.pid).kill()
    await wait_for(lambda: session.state.status == "restarting")
    await wait_for(lambda: session.state.status == "active")

    await run_turn(session, "!text hello")
    assert answer(session) == "hello"


async def test_a_destroyed_session_leaves_no_process_behind(manager: SessionManager) -> None:
    session = await manager.create()
    await session.send("!deltas 2000 10")
    await manager.destroy(session.session_id)

    assert processes_marked(session.session_id) == []
    assert (session.state.status, session.state.terminated_reason) == ("terminated", "user_requested")
    with pytest.raises(errors.SessionNotFound):
        manager.get(session.session_id)
    details = await manager.details(session.session_id)
    assert (details["status"], details["terminated_reason"]) == ("terminated", "user_requested")


async def test_a_session_from_the_pool_is_ready_and_the_pool_fills_again(parts: Callable[..., Any]) -> None:
    async with parts(prewarm_pool_size=1) as opened:
        session: Session = await opened.manager.create()
        assert session.state.source == "pre-warmed"
        await run_turn(session, "!text quick")
        await wait_for(lambda: opened.pool.depth == 1)

        assert answer(session) == "quick"


async def test_a_new_command_file_is_there_in_the_next_session(
    parts: Callable[..., Any], project: Path, api: MessagesAPI
) -> None:
    async with parts(prewarm_pool_size=1) as opened:
        (project / "commands").mkdir()
        (project / "commands" / "greet.md").write_text("!text Good day, $ARGUMENTS")
        session = await opened.manager.create()
        assert session.state.source == "cold-start"
        await run_turn(session, "/greet Ada")

        assert "Good day, Ada" in str([request.body for request in api.requests])


async def test_simultaneous_creates_never_exceed_the_limit(parts: Callable[..., Any]) -> None:
    async with parts(max_sessions=2, prewarm_pool_size=1) as opened:
        results = await asyncio.gather(*(opened.manager.create() for _ in range(12)), return_exceptions=True)

        assert sum(isinstance(r, Session) for r in results) == 2
        refused = [r for r in results if isinstance(r, errors.CapacityExceeded)]
        assert len(refused) == 10
        assert str(refused[0]) == "Server at capacity. Max sessions: 2"
        assert opened.manager.readiness().reason == "at_capacity"


async def test_what_a_turn_cost_is_stored_when_it_has_ended(parts: Callable[..., Any]) -> None:
    async with parts() as opened:
        session = await opened.manager.create()
        await run_turn(session, "!text stored")
        await opened.manager.ledger.saved()
        record = await opened.records.get(session.session_id)

        assert record is not None
        assert (record.message_count, record.title, record.subprocess_pid) == (2, "!text stored", session.state.pid)
        assert record.total_cost_usd == session.state.total_cost_usd
        assert record.process_marker


async def test_a_shutdown_lets_a_query_finish_and_ends_every_process(parts: Callable[..., Any]) -> None:
    async with parts(prewarm_pool_size=1) as opened:
        session = await opened.manager.create()
        await session.send("!deltas 50 5")
        await opened.manager.shutdown(grace_s=20)

        assert answer(session).endswith("word50")
        assert session.state.terminated_reason == "server_shutdown"
        assert processes_marked(f"{opened.launcher.instance}.") == []
        with pytest.raises(errors.ServerShuttingDown):
            await opened.manager.create()


async def test_the_generator_of_a_query_ends_with_its_turn(manager: SessionManager) -> None:
    session = await manager.create()
    found = [event async for event in manager.query(session.session_id, "!text hello")]

    assert found[0].type == "turn_started"
    assert found[-1].type == "response_complete"
    assert sum(isinstance(e, events.TURN_END) for e in found) == 1

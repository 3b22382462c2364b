"""Limits, hangs and losses on the real CLI: the session is told, the process replaced, the conversation kept."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from claude_pattern import events
from claude_pattern.process.limits import Limits
from claude_pattern.process.machine import ThisMachine
from claude_pattern.sessions.enforcer import Enforcer
from claude_pattern.sessions.monitor import Monitor
from claude_pattern.sessions.session import Session
from claude_pattern.testing.messages_api import MessagesAPI
from tests.integration.conftest import Parts, answer, processes_marked, run_turn, wait_for

Watched = Callable[..., Any]


@pytest.fixture
def watched(parts: Callable[..., Any]) -> Watched:
    """Opens a manager with a monitor whose limits a test changes."""

    @asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[Parts]:
        async with parts() as found:
            bounds = replace(Limits.of(found.settings), **changes)
            monitor = Monitor(
                found.manager.sessions.values,
                Enforcer(found.manager, bounds),
                limits=bounds,
                machine=ThisMachine(found.launcher.instance, lambda: found.launcher.markers),
            )
            monitor.start()
            try:
                yield found
            finally:
                await monitor.close()

    return opened


def heard(session: Session) -> list[events.AnySessionEvent]:
    """Everything that happens in the session from now on."""
    found: list[events.AnySessionEvent] = []
    session.state.listen(found.append)
    return found


async def told(
    said: list[events.AnySessionEvent], kind: type[Any] | tuple[type[Any], ...], seconds: float = 10
) -> None:
    """Wait until an event of that kind has come."""
    await wait_for(lambda: any(isinstance(event, kind) for event in said), seconds)


def pid_of(session: Session) -> int:
    assert session.state.pid is not None
    return session.state.pid


async def test_an_idle_session_ends_and_the_next_message_brings_it_back(watched: Watched, api: MessagesAPI) -> None:
    async with watched(idle_s=1, idle_grace_s=1) as found:
        session = await found.manager.create()
        await run_turn(session, "!text remember the teapot")
        said = heard(session)
        await wait_for(lambda: session.state.status == "terminated")

        assert [e.status for e in said if isinstance(e, events.SessionUpdated)] == ["idle"]
        assert session.state.terminated_reason == "idle_timeout"
        assert processes_marked(session.session_id) == []
        await run_turn(session, "!text back again")
        assert answer(session) == "back again"
        assert "teapot" in str(api.requests[-1].body["messages"])


async def test_a_session_that_waits_for_a_person_is_not_idle(watched: Watched) -> None:
    async with watched(idle_s=1, idle_grace_s=1) as found:
        session = await found.manager.create()
        await session.send('!tool Bash {"command": "touch made"}')
        await wait_for(lambda: session.state.requests)
        await asyncio.sleep(3)

        assert not session.ended
        assert session.state.requests


async def test_the_end_of_the_duration_is_announced_and_lets_the_running_turn_end(watched: Watched) -> None:
    async with watched(duration_s=4, warn_fraction=0.5) as found:
        session = await found.manager.create()
        said = heard(session)
        await session.send("!deltas 300 20")
        await wait_for(lambda: session.state.status == "terminated", 20)

        kinds = [event.type for event in said]
        assert kinds.index("session_warning") < kinds.index("response_complete") < kinds.index("session_terminated")
        assert answer(session).endswith("word300")
        assert session.state.terminated_reason == "duration_limit"


async def test_a_process_that_grows_over_its_limit_is_replaced(watched: Watched, api: MessagesAPI) -> None:
    async with watched(rss_mb=500, sample_s=1) as found:
        session = await found.manager.create()
        await run_turn(session, "!text remember the teapot")
        said = heard(session)
        session.state.listen(
            lambda e: session.answer(e.request_id, "allow") if isinstance(e, events.PermissionRequest) else None
        )
        first = pid_of(session)
        hungry = "import time; x = bytearray(600 * 2**20); time.sleep(303)"
        await session.send(f'!tool Bash {{"command": "python3 -c \'{hungry}\'"}}')
        await told(said, events.SessionRestarting, 20)
        await wait_for(lambda: session.state.status == "active" and session.state.pid != first, 20)

        restarting = next(e for e in said if isinstance(e, events.SessionRestarting))
        assert restarting.message == "Session restarted for performance. Conversation preserved."
        assert not psutil.pid_exists(first)
        await run_turn(session, "!text back again")
        assert "teapot" in str(api.requests[-1].body["messages"])


async def test_a_stopped_process_is_noticed_and_replaced(
    watched: Watched, faults: int, figures: Callable[..., None]
) -> None:
    async with watched() as found:
        session = await found.manager.create()
        await run_turn(session, "!text remember the teapot")
        for _ in range(faults):
            said = heard(session)
            await session.send("!deltas 2000 10")
            await wait_for(lambda: "word2" in answer(session))
            os.kill(pid_of(session), signal.SIGSTOP)
            began = time.monotonic()
            await told(said, events.SessionRestarting, 10)
            noticed = time.monotonic() - began
            await wait_for(lambda: session.state.status == "active" and not session.state.is_query_active, 15)
            figures("cli_sigstop", noticed_s=noticed, recovered_s=time.monotonic() - began)

            assert "word2" in answer(session)
            assert [m.status for m in session.state.messages if m.role == "assistant"][-1] == "error"
            session._restarts.clear()
        await run_turn(session, "!text back again")
        assert answer(session) == "back again"


async def test_a_stop_is_answered_whatever_the_process_does(
    watched: Watched, faults: int, figures: Callable[..., None]
) -> None:
    async with watched(hang_s=600, answer_s=600) as found:
        session = await found.manager.create()
        await run_turn(session, "!text warm")
        for number in range(2 * faults):
            await session.send("!deltas 2000 10")
            await wait_for(lambda: "word2" in answer(session))
            healthy = number % 2 == 0
            if not healthy:
                os.kill(pid_of(session), signal.SIGSTOP)
            said = heard(session)
            began = time.monotonic()
            stopping = asyncio.ensure_future(session.interrupt())  # noqa: TID251 - the caller's side
            await told(said, events.TURN_END)
            figures("stop", healthy=healthy, answered_s=time.monotonic() - began)
            await stopping
            await wait_for(lambda: session.state.status == "active", 20)
            session._restarts.clear()

            assert (time.monotonic() - began) < 20


async def test_a_process_killed_at_any_moment_loses_nothing(
    watched: Watched, faults: int, figures: Callable[..., None]
) -> None:
    chance = random.Random(1)
    async with watched() as found:
        session = await found.manager.create()
        await run_turn(session, "!text warm")
        for number in range(faults):
            said = heard(session)
            prompt = ["!deltas 300 5", '!tool Bash {"command": "echo one; echo two"}', "!think"][number % 3]
            await session.send(prompt)
            await asyncio.sleep(chance.random() * 0.8)
            shown = [(m.role, m.text) for m in session.state.messages]
            began = time.monotonic()
            psutil.Process(pid_of(session)).kill()
            await told(said, events.SessionRestarting, 10)
            noticed = time.monotonic() - began
            await wait_for(lambda: session.state.status == "active", 20)
            figures("cli_sigkill", noticed_s=noticed, usable_s=time.monotonic() - began)

            now = [(m.role, m.text) for m in session.state.messages]
            for (role, before), (same, after) in zip(shown, now, strict=False):
                assert (role, after.startswith(before)) == (same, True)
            text = answer(session).split()
            assert len(text) == len(set(text)) or number % 3, "a word came twice"
            assert [m.text for m in session.state.messages if m.role == "user"][-1] == prompt
            await run_turn(session, f"!text again {number}")
            assert answer(session) == f"again {number}"
            session._restarts.clear()


async def test_a_silent_service_is_brought_to_notice_while_the_turn_runs(watched: Watched) -> None:
    async with watched(stall_s=2) as found:
        session = await found.manager.create()
        said = heard(session)
        began = time.monotonic()
        await session.send("!stall 30")
        await told(said, events.SessionWarning, 15)

        assert time.monotonic() - began < 15
        assert session.state.is_query_active
        assert await session.interrupt()


async def test_processes_that_belong_to_nothing_are_swept(watched: Watched) -> None:
    async with watched() as found:
        session = await found.manager.create()
        environment = {**os.environ, "CLAUDE_PATTERN_MARKER": f"{found.launcher.instance}.nobody.1-2-3"}
        orphan = await asyncio.create_subprocess_exec("sleep", "300", env=environment)
        await ThisMachine(found.launcher.instance, lambda: found.launcher.markers).sweep()

        assert await asyncio.wait_for(orphan.wait(), 5) != 0
        assert session.agent is not None
        assert session.agent.alive


@pytest.mark.parametrize(("prompt", "limit_s"), [("!status 401", 2.0), ("!status 403", 2.0)])
async def test_a_refused_key_is_final_at_once(
    watched: Watched, prompt: str, limit_s: float, figures: Callable[..., None]
) -> None:
    async with watched() as found:
        session = await found.manager.create()
        await run_turn(session, "!text warm")
        began = time.monotonic()
        end = (await run_turn(session, prompt))[-1]
        took = time.monotonic() - began
        figures("refused_key", prompt=prompt, final_s=took)

        assert isinstance(end, events.StreamError)
        assert end.code == "credential_refused"
        assert took < limit_s


@pytest.mark.parametrize("prompt", ["!once 429 1", "!once 529 1", "!once 500 1", "!cut 5"])
async def test_a_retry_shows_at_once(watched: Watched, prompt: str, figures: Callable[..., None]) -> None:
    async with watched() as found:
        session = await found.manager.create()
        await run_turn(session, "!text warm")
        began = time.monotonic()
        seen: list[float] = []
        session.state.listen(
            lambda e: seen.append(time.monotonic() - began) if isinstance(e, events.ApiRetry) else None
        )
        await run_turn(session, prompt)
        figures("retry_visible", prompt=prompt, visible_s=seen[0])

        assert seen[0] < 1

"""What the monitor decides is carried out on the session, with a sentence that says what happened."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claude_pattern import events, timeouts
from claude_pattern.process import limits
from claude_pattern.process.limits import Limits
from claude_pattern.sessions.enforcer import Enforcer, span
from claude_pattern.sessions.session import Session
from tests.unit.fake_agent import delta
from tests.unit.test_manager import Harness

BOUNDS = Limits(duration_s=14_400, rss_mb=2048, idle_s=1800)


class Enforced(Harness):
    """A manager with an enforcer, one session, and what it has said."""

    session: Session

    async def begin(self) -> None:
        await self.records.initialize()
        self.enforcer = Enforcer(self.manager, BOUNDS)
        self.session = await self.manager.create()
        self.said: list[events.AnySessionEvent] = []
        self.session.state.listen(self.said.append)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.said]

    async def do(self, decision: limits.Decision) -> None:
        await self.enforcer.carry_out(self.session, decision)


@pytest.fixture
async def enforced(tmp_path: Path) -> AsyncIterator[Enforced]:
    enforced = Enforced(tmp_path)
    await enforced.begin()
    yield enforced
    await enforced.manager.shutdown(grace_s=0)
    await enforced.records.close()


async def test_the_end_of_the_duration_is_announced_with_the_time_that_is_left(enforced: Enforced) -> None:
    await enforced.do(limits.WarnDuration(remaining_s=1440))
    (warning,) = enforced.said

    assert isinstance(warning, events.SessionWarning)
    assert (warning.reason, warning.remaining_seconds) == ("duration_limit", 1440)
    assert warning.message == "This session ends in 24 minutes (4-hour limit)."


async def test_the_end_of_the_duration_says_the_real_limit_and_can_be_resumed(enforced: Enforced) -> None:
    await enforced.do(limits.EndDuration(grace=False))
    end = enforced.said[-1]

    assert isinstance(end, events.SessionTerminated)
    assert (end.reason, end.message) == ("duration_limit", "Session ended (4-hour limit reached).")
    assert end.resume_url == f"/chat?resume={enforced.session.session_id}"
    await enforced.session.send("and on")
    assert enforced.session.state.status == "active"


async def test_in_the_grace_of_the_duration_the_running_turn_goes_on_and_the_next_message_waits(
    enforced: Enforced,
) -> None:
    await enforced.session.send("one")
    await enforced.do(limits.EndDuration(grace=True))
    await enforced.session.send("two", queue=True)
    await enforced.agent_of(enforced.session).finish("done")

    assert enforced.session.state.messages[1].text == "done"
    assert [text for text, _ in enforced.agent_of(enforced.session).sent] == ["one"]
    await enforced.do(limits.EndDuration(grace=False))
    await enforced.manager.resume(enforced.session.session_id)
    assert [text for text, _ in enforced.agent_of(enforced.session).sent] == ["two"]


async def test_an_idle_session_is_called_idle_and_wakes_with_the_next_message(enforced: Enforced) -> None:
    statuses: list[str] = []
    enforced.session.state.listen(lambda _event: statuses.append(enforced.session.state.status))
    await enforced.do(limits.GoIdle())
    await enforced.session.send("hello")

    assert statuses == ["idle", "active"]


async def test_an_idle_end_keeps_the_session_for_the_next_message(enforced: Enforced) -> None:
    agent = enforced.agent_of(enforced.session)
    await enforced.do(limits.EndIdle())
    end = enforced.said[-1]

    assert isinstance(end, events.SessionTerminated)
    assert (end.reason, agent.closed) == ("idle_timeout", 1)
    assert "30 minutes" in end.message


@pytest.mark.parametrize(
    ("decision", "killed", "reason"),
    [
        (limits.RestartForMemory(memory_mb=3000), False, "memory_limit"),
        (limits.KillForMemory(memory_mb=5000), True, "memory_limit"),
        (limits.Hung(why="stopped"), True, "process_hung"),
    ],
)
async def test_a_process_beyond_its_limits_is_replaced_and_the_conversation_goes_on(
    enforced: Enforced, decision: limits.Decision, killed: bool, reason: str
) -> None:
    first = enforced.agent_of(enforced.session)
    await enforced.session.send("one")
    await first.say(delta("half"))
    await enforced.do(decision)

    restarting = next(event for event in enforced.said if isinstance(event, events.SessionRestarting))
    assert restarting.reason == reason
    assert "Conversation preserved." in restarting.message
    assert (first.closed, first.killed) == (1, killed)
    assert enforced.types.count("stream_error") == 1
    assert enforced.session.state.messages[1].text == "half"
    assert enforced.session.state.status == "active"
    assert enforced.launcher.resumed == [enforced.session.session_id]


async def test_a_silent_service_is_told_first_and_the_turn_ended_when_it_stays_silent(enforced: Enforced) -> None:
    await enforced.session.send("one")
    await enforced.do(limits.Stalled(silent_s=15))
    assert enforced.types[-1] == "session_warning"
    assert enforced.session.state.is_query_active

    await enforced.do(limits.Stalled(silent_s=timeouts.STALLED))
    end = enforced.said[-1]
    assert isinstance(end, events.StreamError)
    assert (end.error, end.suggested_action) == ("Response interrupted. You can retry.", "retry")


async def test_nothing_is_done_to_a_session_that_has_ended(enforced: Enforced) -> None:
    await enforced.manager.destroy(enforced.session.session_id)
    enforced.said.clear()
    for decision in (limits.GoIdle(), limits.EndIdle(), limits.Hung(why="silent"), limits.Stalled(silent_s=99)):
        await enforced.do(decision)

    assert enforced.said == []


async def test_a_ping_asks_the_process(enforced: Enforced) -> None:
    assert await enforced.enforcer.ping(enforced.session)
    enforced.agent_of(enforced.session).alive = False
    assert not await enforced.enforcer.ping(enforced.session)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (14_400, "4 hours"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (1800, "30 minutes"),
        (90, "90 seconds"),
        (60, "1 minute"),
        (15.4, "15 seconds"),
        (0.2, "1 second"),
    ],
)
def test_lengths_of_time_are_said_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words

"""A session runs one turn at a time and ends each exactly once; send, interrupt and answer are the only ways in."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny, SystemMessage

from claude_pattern import errors, events, timeouts
from claude_pattern.process.agent import AgentProcess
from claude_pattern.sessions import session as session_module
from claude_pattern.sessions.journal import SessionJournal
from claude_pattern.sessions.session import Session
from claude_pattern.sessions.state import SessionState
from tests.unit.fake_agent import FakeAgent, cli_state, delta, result, until


class Harness:
    """A session on a fake process, and everything it has published."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        self.clock = 0.0
        self.lost: list[str] = []
        self.journal = SessionJournal(folder / "s.jsonl")
        self.session = Session(
            SessionState("s", now, now, status="active"),
            journal=self.journal,
            on_lost=self._lost,
            on_deaf=self._deaf,
            wake=self._wake,
            now=lambda: self.clock,
        )
        self.agent = FakeAgent()
        self.published: list[events.AnySessionEvent] = []
        self.session.state.listen(self.published.append)

    async def _lost(self, _session: Session) -> None:
        self.lost.append("lost")

    async def _deaf(self, _session: Session) -> None:
        self.lost.append("deaf")

    async def _wake(self, session: Session) -> None:
        raise errors.SessionNotResumable

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.published]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    harness = Harness(tmp_path)
    await harness.session.attach(cast("AgentProcess", harness.agent))
    yield harness
    harness.journal.close()


async def test_a_turn_goes_from_the_message_to_one_end(harness: Harness) -> None:
    message_id = await harness.session.send("hello")
    await harness.agent.finish("hi there")

    assert harness.agent.sent == [("hello", message_id)]
    assert harness.types == ["turn_started", "stream_delta", "response_complete"]
    assert [m.text for m in harness.session.state.messages] == ["hello", "hi there"]


async def test_half_an_emoji_stops_neither_the_session_nor_its_journal(harness: Harness) -> None:
    half = "\ud83d"
    await harness.session.send(f"hello {half}")
    harness.session.emit(events.ToolUse(tool_use_id="t", tool="Bash", input={half: [{"deep": half}, 1]}))
    await harness.agent.finish(f"cut {half}")

    text = "\N{REPLACEMENT CHARACTER}"
    assert [m.text for m in harness.session.state.messages] == [f"hello {text}", f"cut {text}"]
    assert harness.session.state.tools["t"].input == {text: [{"deep": text}, 1]}
    assert [entry.event for entry in harness.journal.read()] == harness.published


async def test_events_are_numbered_from_one_without_a_gap(harness: Harness) -> None:
    await harness.session.send("hello")
    await harness.agent.finish("hi")

    assert [(e.session_id, e.seq) for e in harness.published] == [("s", 1), ("s", 2), ("s", 3)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Message is empty"),
        (" \n\t", "Message is empty"),
        ("x" * 32_001, "Message exceeds 32,000 character limit"),
    ],
)
async def test_a_message_that_breaks_the_rules_is_refused(harness: Harness, text: str, sentence: str) -> None:
    with pytest.raises(errors.InvalidMessage, match=sentence):
        await harness.session.send(text)

    assert harness.published == []


async def test_the_longest_message_is_taken(harness: Harness) -> None:
    await harness.session.send("x" * 32_000)

    assert harness.types == ["turn_started"]


async def test_a_second_message_is_refused_while_the_first_runs(harness: Harness) -> None:
    await harness.session.send("one")
    with pytest.raises(errors.QueryInProgress):
        await harness.session.send("two")

    assert len(harness.agent.sent) == 1


async def test_two_senders_at_once_start_one_turn(harness: Harness) -> None:
    results = await asyncio.gather(*(harness.session.send(str(n)) for n in range(20)), return_exceptions=True)

    assert sum(isinstance(r, str) for r in results) == 1
    assert sum(isinstance(r, errors.QueryInProgress) for r in results) == 19
    assert len(harness.agent.sent) == 1


async def test_a_queued_message_starts_when_the_turn_before_it_has_ended(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.session.send("two", queue=True)
    await harness.session.send("three", queue=True)
    assert harness.session.state.queued_count == 2
    await harness.agent.finish()
    await harness.agent.finish()

    assert [text for text, _ in harness.agent.sent] == ["one", "two", "three"]


async def test_a_queued_message_can_be_taken_back_until_its_turn(harness: Harness) -> None:
    first = await harness.session.send("one")
    second = await harness.session.send("two", queue=True)

    assert harness.session.withdraw(second)
    assert not harness.session.withdraw(second)
    assert not harness.session.withdraw(first)
    await harness.agent.finish()
    assert len(harness.agent.sent) == 1


async def test_the_result_of_a_turn_that_the_cli_began_by_itself_does_not_end_ours(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.agent.say(result(user_message_uuids=[]))
    assert harness.session.state.is_query_active

    await harness.agent.finish()
    assert not harness.session.state.is_query_active


async def test_idle_without_a_result_fails_the_turn(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.agent.say(cli_state("running"), delta("half"), cli_state("idle"))
    end = harness.published[-1]

    assert isinstance(end, events.StreamError)
    assert (end.error, end.partial_preserved) == ("Response interrupted. You can retry.", True)


async def test_the_idle_of_the_turn_before_does_not_fail_the_next_one(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.session.send("two", queue=True)
    await harness.agent.say(cli_state("running"))
    await harness.agent.finish()
    await harness.agent.say(cli_state("idle"), cli_state("running"))
    await harness.agent.finish()

    assert harness.types.count("response_complete") == 2
    assert "stream_error" not in harness.types


async def test_an_interrupt_ends_the_turn_and_keeps_the_text(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.agent.say(delta("half"))

    assert await harness.session.interrupt()
    assert harness.types[-1] == "stream_interrupted"
    assert harness.session.state.messages[-1].text == "half"
    assert not await harness.session.interrupt()


async def test_an_interrupt_without_a_turn_does_nothing(harness: Harness) -> None:
    assert not await harness.session.interrupt()
    assert harness.agent.interrupts == 0


async def test_many_interrupts_at_once_have_one_effect(harness: Harness) -> None:
    await harness.session.send("one")
    await asyncio.gather(*(harness.session.interrupt() for _ in range(50)))

    assert harness.types.count("stream_interrupted") == 1


async def test_a_process_that_does_not_stop_is_given_up_and_replaced(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "INTERRUPT_RESULT", 0.01)
    monkeypatch.setattr(timeouts, "INTERRUPT_REPEAT", 0.001)
    harness.agent.answers_interrupts = False
    await harness.session.send("one")
    await harness.session.interrupt()

    assert harness.types[-1] == "stream_interrupted"
    assert harness.lost == ["deaf"]


async def test_a_refused_key_ends_the_turn_at_once(harness: Harness) -> None:
    await harness.session.send("one")
    retry = {"attempt": 1, "max_retries": 4, "retry_delay_ms": 500, "error_status": 401}
    await harness.agent.say(SystemMessage(subtype="api_retry", data={**retry, "error": "authentication_failed"}))
    await until(lambda: not harness.session.state.is_query_active)
    end = harness.published[-1]

    assert isinstance(end, events.StreamError)
    assert (end.code, end.suggested_action) == ("credential_refused", "check_credentials")


async def test_permission_is_asked_of_people_and_the_first_answer_counts(harness: Harness) -> None:
    await harness.session.send("write it")
    asking = asyncio.ensure_future(harness.agent.ask("Write", {"file_path": "a"}))  # noqa: TID251 - the CLI's side
    await until(lambda: harness.session.state.requests)
    (request_id,) = harness.session.state.requests
    harness.session.answer(request_id, "allow")
    with pytest.raises(errors.RequestNotFound):
        harness.session.answer(request_id, "deny")

    assert await asking == PermissionResultAllow(updated_input={"file_path": "a"})
    assert harness.types[-2:] == ["permission_request", "permission_resolved"]
    assert harness.session.state.requests == {}


async def test_a_refusal_tells_the_model_why(harness: Harness) -> None:
    await harness.session.send("write it")
    asking = asyncio.ensure_future(harness.agent.ask("Write", {}))  # noqa: TID251
    await until(lambda: harness.session.state.requests)
    harness.session.answer(next(iter(harness.session.state.requests)), "deny", message="Use another file.")

    assert await asking == PermissionResultDeny(message="Use another file.")


async def test_the_answers_to_a_question_travel_with_its_input(harness: Harness) -> None:
    await harness.session.send("ask me")
    asked = {"questions": [{"question": "Which?", "options": []}]}
    asking = asyncio.ensure_future(harness.agent.ask("AskUserQuestion", asked))  # noqa: TID251
    await until(lambda: harness.session.state.requests)
    request = next(iter(harness.session.state.requests.values()))
    harness.session.answer(request.request_id, "allow", answers={"Which?": "B"})

    assert request.kind == "question"
    assert await asking == PermissionResultAllow(updated_input={**asked, "answers": {"Which?": "B"}})


async def test_in_plan_mode_changes_are_refused_without_asking_and_the_plan_itself_is_asked(harness: Harness) -> None:
    harness.session.emit(events.SessionUpdated(permission_mode="plan"))
    await harness.session.send("plan it")

    assert isinstance(await harness.agent.ask("Write", {}), PermissionResultDeny)
    asking = asyncio.ensure_future(harness.agent.ask("ExitPlanMode", {"plan": "# Plan"}))  # noqa: TID251
    await until(lambda: harness.session.state.requests)
    assert next(iter(harness.session.state.requests.values())).kind == "plan"
    asking.cancel()


async def test_a_stopped_turn_withdraws_its_requests(harness: Harness) -> None:
    await harness.session.send("write it")
    asking = asyncio.ensure_future(harness.agent.ask("Write", {}))  # noqa: TID251
    await until(lambda: harness.session.state.requests)
    await harness.session.interrupt()
    await asyncio.wait([asking])

    resolved = [e for e in harness.published if isinstance(e, events.PermissionResolved)]
    assert [e.decision for e in resolved] == ["cancelled"]
    assert asking.cancelled()


async def test_a_process_that_dies_fails_the_turn_and_is_reported(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.agent.say(delta("half"))
    await harness.agent.die(-9)
    end = harness.published[-1]

    assert isinstance(end, events.StreamError)
    assert (end.code, end.suggested_action, end.partial_preserved) == ("process_died", "retry", True)
    assert harness.lost == ["lost"]


async def test_a_message_to_a_dead_process_fails_its_turn(harness: Harness) -> None:
    harness.agent.alive = False
    with pytest.raises(errors.ProcessFailed):
        await harness.session.send("one")

    assert harness.types == ["turn_started", "stream_error"]
    assert not harness.session.state.is_query_active
    await until(lambda: harness.lost == ["lost"])


async def test_messages_wait_while_the_process_is_replaced(harness: Harness) -> None:
    harness.session.emit(events.SessionRestarting(reason="process_died", message="..."))
    with pytest.raises(errors.QueryInProgress):
        await harness.session.send("now")
    await harness.session.send("later", queue=True)
    assert harness.agent.sent == []

    harness.session.emit(events.SessionUpdated(status="active"))
    await harness.session.resumed()
    assert [text for text, _ in harness.agent.sent] == ["later"]


async def test_retry_sends_the_last_message_again(harness: Harness) -> None:
    with pytest.raises(errors.InvalidMessage):
        await harness.session.retry()
    await harness.session.send("one")
    await harness.agent.finish()
    await harness.session.retry()

    assert [text for text, _ in harness.agent.sent] == ["one", "one"]


async def test_closing_stops_the_turn_ends_the_process_and_says_so_once(harness: Harness) -> None:
    await harness.session.send("one")
    subscription = harness.session.subscribe(0)
    await asyncio.gather(*(harness.session.close("user_requested", "Session ended.") for _ in range(3)))

    subscription.close()

    assert [event.type async for event in subscription] == ["turn_started", "stream_interrupted", "session_terminated"]
    assert harness.agent.closed == 1
    with pytest.raises(errors.SessionNotResumable):
        await harness.session.send("too late")


async def test_a_process_that_keeps_dying_is_not_restarted_for_ever(harness: Harness) -> None:
    assert [harness.session.may_restart() for _ in range(4)] == [True, True, True, False]
    harness.clock += session_module.RESTART_WINDOW_S + 1
    assert harness.session.may_restart()


async def test_draining_starts_no_further_turn_and_settles_when_the_running_one_has_ended(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.session.send("two", queue=True)
    harness.session.drain()
    await harness.agent.finish()
    await harness.session.settled()

    assert len(harness.agent.sent) == 1
    with pytest.raises(errors.QueryInProgress):
        await harness.session.send("three")


async def test_what_anybody_has_heard_of_stands_in_the_journal(harness: Harness) -> None:
    heard: list[bool] = []

    def look(event: events.AnySessionEvent) -> None:
        heard.append([entry.event for entry in harness.journal.read()][-1] == event)

    harness.session.state.listen(look)
    await harness.session.send("one")
    await harness.agent.finish("hi")

    assert heard == [True, True, True]


async def test_messages_that_wait_when_a_session_ends_are_sent_when_it_comes_back(harness: Harness) -> None:
    await harness.session.send("one")
    await harness.session.send("two", queue=True)
    await harness.session.close("server_shutdown", "Down.")
    again = FakeAgent()
    await harness.session.attach(cast("AgentProcess", again))
    harness.session.emit(events.SessionUpdated(status="active"))
    await harness.session.resumed()

    assert [text for text, _ in again.sent] == ["two"]

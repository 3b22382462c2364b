"""The manager never exceeds its limits, stores what happened, and leaves nothing when it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from claude_pattern import errors, events
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.manager import NOT_RESTORED, SessionManager
from claude_pattern.sessions.pool import PreWarmPool
from claude_pattern.sessions.records import Records
from claude_pattern.sessions.session import Session
from tests.unit.fake_agent import FakeAgent, FakeExtensions, FakeLauncher, delta, until


def conversation(session: Session) -> list[tuple[str, str, str]]:
    return [(message.role, message.status, message.text) for message in session.state.messages]


class Harness:
    """A manager on fake processes and a real database."""

    def __init__(self, folder: Path, *, pool_size: int = 0, max_sessions: int = 3) -> None:
        self.launcher = FakeLauncher()
        self.extensions = FakeExtensions()
        self.records = Records(f"sqlite:///{folder / 'sessions.db'}")
        self.pool = PreWarmPool(cast("Any", self.launcher), cast("Any", self.extensions), size=pool_size)
        self.manager = SessionManager(
            launcher=cast("Any", self.launcher),
            pool=self.pool,
            extensions=cast("Any", self.extensions),
            records=self.records,
            journals=Journals(folder / "journal"),
            max_sessions=max_sessions,
        )

    def agent_of(self, session: Session) -> FakeAgent:
        return cast("FakeAgent", session.agent)

    async def saved(self) -> None:
        await self.manager.ledger.saved()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    harness = Harness(tmp_path)
    await harness.records.initialize()
    yield harness
    await harness.manager.shutdown(grace_s=0)
    await harness.records.close()


async def test_without_a_pool_a_session_starts_cold_after_a_notice(harness: Harness) -> None:
    notices: list[float] = []
    session = await harness.manager.create(on_cold=notices.append)

    assert (session.state.source, session.state.status) == ("cold-start", "active")
    assert len(notices) == 1
    assert notices[0] > 0


async def test_the_limit_holds_for_simultaneous_creates_and_frees_up_again(harness: Harness) -> None:
    results = await asyncio.gather(*(harness.manager.create() for _ in range(50)), return_exceptions=True)
    opened = [r for r in results if isinstance(r, Session)]

    assert len(opened) == 3
    assert sum(isinstance(r, errors.CapacityExceeded) for r in results) == 47
    assert len(harness.launcher.started) == 3
    await harness.manager.destroy(opened[0].session_id)
    await harness.manager.create()


async def test_a_start_that_fails_gives_its_place_back(harness: Harness) -> None:
    harness.launcher.failing = 5
    for _ in range(5):
        with pytest.raises(errors.ProcessFailed):
            await harness.manager.create()

    assert harness.manager.readiness().active_sessions == 0
    await harness.manager.create()


async def test_a_cancelled_create_gives_its_place_back(harness: Harness) -> None:
    harness.launcher.hold.clear()
    creating = asyncio.ensure_future(harness.manager.create())  # noqa: TID251 - the caller's side
    await until(lambda: harness.launcher.at_once == 1)
    creating.cancel()
    await asyncio.wait([creating])

    assert harness.manager.readiness().active_sessions == 0


async def test_an_unknown_session_is_not_found(harness: Harness) -> None:
    for call in (harness.manager.interrupt("x"), harness.manager.destroy("x"), harness.manager.details("x")):
        with pytest.raises(errors.SessionNotFound, match="Session not found"):
            await call


async def test_the_list_has_the_newest_activity_first(harness: Harness) -> None:
    first, second = await harness.manager.create(), await harness.manager.create()
    assert [s.session_id for s in harness.manager.list()] == [second.session_id, first.session_id]
    await first.send("hello")

    assert [s.session_id for s in harness.manager.list()] == [first.session_id, second.session_id]


async def test_listeners_hear_of_new_ended_and_renamed_sessions(harness: Harness) -> None:
    heard: list[int] = []
    stop = harness.manager.listen(lambda: heard.append(len(harness.manager.sessions)))
    session = await harness.manager.create()
    await session.send("a title")
    await harness.manager.destroy(session.session_id)
    stop()
    await harness.manager.create()

    assert heard[0] == 1
    assert heard[-1] == 0
    assert len(heard) >= 3


async def test_the_record_follows_the_session(harness: Harness) -> None:
    session = await harness.manager.create(user_id="ada")
    await session.send("What is a teapot?")
    await harness.agent_of(session).finish("A pot.", total_cost_usd=0.25)
    await harness.saved()
    record = await harness.records.get(session.session_id)

    assert record is not None
    assert (record.user_id, record.status, record.title) == ("ada", "active", "What is a teapot?")
    assert (record.message_count, record.total_cost_usd, record.subprocess_pid) == (2, 0.25, 4242)


async def test_an_ended_session_is_recorded_and_its_details_stay(harness: Harness) -> None:
    session = await harness.manager.create()
    agent = harness.agent_of(session)
    await harness.manager.destroy(session.session_id)
    details = await harness.manager.details(session.session_id)

    assert (details["status"], details["terminated_reason"]) == ("terminated", "user_requested")
    assert await harness.records.list_active() == []
    assert agent.closed == 1
    assert await harness.records.processes() == ()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_title_is_kept_as_one_line_and_everybody_hears_of_it(harness: Harness, ended: bool) -> None:
    session = await harness.manager.create()
    if ended:
        await harness.manager.destroy(session.session_id)
    titles: list[str | None] = []
    harness.manager.listen(lambda: titles.append(session.state.title))

    await harness.manager.rename(session.session_id, " Two\n\x00lines\ud83d ")

    assert titles[-1] == "Two lines"
    assert (await harness.manager.details(session.session_id))["title"] == "Two lines"


@pytest.mark.parametrize("title", ["", " \n\x00", "x" * 201])
async def test_a_title_of_nothing_or_too_much_is_refused(harness: Harness, title: str) -> None:
    session = await harness.manager.create()

    with pytest.raises(errors.InvalidMessage, match=r"Title (is empty|exceeds 200 character limit)"):
        await harness.manager.rename(session.session_id, title)

    assert session.state.title is None


async def test_the_ended_sessions_are_listed_by_their_last_activity(harness: Harness) -> None:
    sessions = [await harness.manager.create() for _ in range(3)]
    await sessions[1].send("hello")
    await harness.agent_of(sessions[1]).finish(total_cost_usd=0.25)
    for session in sessions[:2]:
        await harness.manager.destroy(session.session_id)

    ended = await harness.manager.recent_ended(5)

    assert ended == [session.state.summary() for session in (sessions[1], sessions[0])]
    assert [summary.title for summary in await harness.manager.recent_ended(1)] == ["hello"]


async def test_details_have_the_same_fields_for_live_and_ended_sessions(harness: Harness) -> None:
    session = await harness.manager.create()
    live = await harness.manager.details(session.session_id)
    await harness.manager.destroy(session.session_id)

    assert list(live) == list(await harness.manager.details(session.session_id))


async def test_a_lost_process_is_replaced_by_one_with_the_same_transcript(harness: Harness) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    await harness.agent_of(session).die()

    assert harness.launcher.resumed == [session.session_id]
    assert session.state.status == "active"
    await session.send("two")
    assert harness.agent_of(session).sent[0][0] == "two"


async def test_a_transcript_that_cannot_be_read_gives_a_fresh_process_and_a_notice(harness: Harness) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    harness.launcher.failing = 1
    await harness.agent_of(session).die()

    assert session.state.warnings == [NOT_RESTORED]
    assert session.state.status == "active"


async def test_a_session_whose_process_cannot_be_replaced_ends_and_says_so(harness: Harness) -> None:
    session = await harness.manager.create()
    harness.launcher.failing = 2
    await harness.agent_of(session).die()

    assert (session.state.status, session.state.terminated_reason) == ("terminated", "process_died")
    assert harness.manager.sessions == {}


async def test_a_query_yields_the_events_of_its_turn(harness: Harness) -> None:
    session = await harness.manager.create()
    found: list[events.AnySessionEvent] = []
    async for event in harness.manager.query(session.session_id, "hello"):
        found.append(event)
        if event.type == "turn_started":
            await harness.agent_of(session).finish("hi")

    assert [event.type for event in found] == ["turn_started", "stream_delta", "response_complete"]
    assert repr(session.feed).endswith("0 subscribers>")


async def test_readiness_gives_the_reason(tmp_path: Path) -> None:
    harness = Harness(tmp_path, pool_size=1, max_sessions=1)
    await harness.records.initialize()
    assert harness.manager.readiness().reason == "pool_empty"
    await harness.pool.start()
    assert harness.manager.readiness().reason is None
    await harness.manager.create()
    assert harness.manager.readiness().reason == "at_capacity"
    await harness.manager.shutdown(grace_s=0)
    assert harness.manager.readiness().reason == "shutting_down"
    await harness.records.close()


async def test_shutdown_waits_for_queries_but_not_for_people(harness: Harness) -> None:
    busy, waiting = await harness.manager.create(), await harness.manager.create()
    await busy.send("one")
    await waiting.send("two")
    asking = asyncio.ensure_future(harness.agent_of(waiting).ask("Write", {}))  # noqa: TID251 - the CLI's side
    await until(lambda: waiting.state.requests)
    ending = asyncio.ensure_future(harness.manager.shutdown(grace_s=30))  # noqa: TID251
    await asyncio.sleep(0.15)
    assert not ending.done()
    with pytest.raises(errors.ServerShuttingDown):
        await harness.manager.create()
    await harness.agent_of(busy).finish("done")
    await ending

    assert [m.text for m in busy.state.messages if m.role == "assistant"] == ["done"]
    assert busy.state.terminated_reason == waiting.state.terminated_reason == "server_shutdown"
    assert harness.manager.sessions == {}
    asking.cancel()


async def test_a_session_that_shutdown_ended_offers_the_way_back(harness: Harness) -> None:
    session = await harness.manager.create()
    ended: list[Any] = []
    session.state.listen(lambda e: ended.append(e) if isinstance(e, events.SessionTerminated) else None)
    await harness.manager.shutdown(grace_s=0)

    assert ended[0].resume_url == f"/chat?resume={session.session_id}"


async def test_the_next_message_brings_an_ended_session_back_for_everybody_who_looks_at_it(harness: Harness) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    await harness.manager.destroy(session.session_id, "server_shutdown")
    heard: list[str] = []
    session.state.listen(lambda event: heard.append(event.type))
    await session.send("two")
    await harness.agent_of(session).finish("second")

    assert harness.manager.get(session.session_id) is session
    assert harness.launcher.resumed == [session.session_id]
    assert heard == ["session_updated", "turn_started", "stream_delta", "response_complete"]
    assert session.state.status == "active"


async def test_a_session_of_an_earlier_server_is_read_from_its_journal(harness: Harness, tmp_path: Path) -> None:
    session = await harness.manager.create(user_id="ada")
    await session.send("one")
    await harness.agent_of(session).finish("first", total_cost_usd=0.25)
    await harness.manager.destroy(session.session_id)
    before = conversation(session)
    later = Harness(tmp_path)
    await later.records.initialize()
    again = await later.manager.open(session.session_id)

    assert again is not session
    assert conversation(again) == before
    assert again.state.seq == session.state.seq
    assert (again.state.total_cost_usd, again.state.title, again.state.user_id) == (0.25, "one", "ada")
    assert [m.created_at for m in again.state.messages] == [m.created_at for m in session.state.messages]
    assert again.ended
    assert later.manager.sessions == {}
    resumed = await later.manager.resume(session.session_id)
    assert resumed is again
    assert later.launcher.resumed == [session.session_id]
    await later.manager.shutdown(grace_s=0)
    await later.records.close()


async def test_what_was_under_way_when_the_server_died_is_shown_as_cut_off(harness: Harness, tmp_path: Path) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await session.send("two", queue=True)
    await harness.agent_of(session).say(delta("half"))
    asking = asyncio.ensure_future(harness.agent_of(session).ask("Write", {}))  # noqa: TID251 - the CLI's side
    await until(lambda: session.state.requests)
    later = Harness(tmp_path)
    await later.records.initialize()
    again = await later.manager.open(session.session_id)

    assert conversation(again)[:2] == [("user", "complete", "one"), ("assistant", "error", "half")]
    assert again.state.requests == {}
    assert again.state.terminated_reason == "server_stopped"
    await later.manager.resume(session.session_id)
    assert later.agent_of(again).sent[0][0] == "two", "an acknowledged message is never lost"
    asking.cancel()
    await later.manager.shutdown(grace_s=0)
    await later.records.close()


async def test_missed_events_can_be_replayed_after_a_restart(harness: Harness, tmp_path: Path) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    await harness.manager.destroy(session.session_id)
    later = Harness(tmp_path)
    await later.records.initialize()
    again = await later.manager.open(session.session_id)

    assert again.feed.reaches(0)
    async with again.subscribe(1) as subscription:
        subscription.close()
        missed = [event async for event in subscription]
    assert [event.seq for event in missed] == list(range(2, session.state.seq + 1))
    await later.records.close()


async def test_an_unknown_session_cannot_be_resumed(harness: Harness) -> None:
    with pytest.raises(errors.SessionNotResumable, match="Session not found or not resumable"):
        await harness.manager.resume("00000000-0000-4000-8000-000000000000")


async def test_a_session_that_ended_for_good_is_read_but_not_resumed(harness: Harness) -> None:
    session = await harness.manager.create()
    await harness.manager.destroy(session.session_id)
    session.state.is_resumable = False
    with pytest.raises(errors.SessionNotResumable):
        await session.send("two")


async def test_many_resumes_at_once_start_one_process(harness: Harness) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    await harness.manager.destroy(session.session_id)
    found = await asyncio.gather(*(harness.manager.resume(session.session_id) for _ in range(20)))

    assert {id(each) for each in found} == {id(session)}
    assert harness.launcher.resumed == [session.session_id]


async def test_a_resume_counts_against_the_limit(harness: Harness) -> None:
    ended = await harness.manager.create()
    await harness.manager.destroy(ended.session_id)
    for _ in range(3):
        await harness.manager.create()

    with pytest.raises(errors.CapacityExceeded):
        await harness.manager.resume(ended.session_id)


async def test_opening_a_live_session_gives_that_session(harness: Harness) -> None:
    session = await harness.manager.create()

    assert await harness.manager.open(session.session_id) is session
    with pytest.raises(errors.SessionNotFound):
        await harness.manager.open("00000000-0000-4000-8000-000000000000")


# ---------------------------------------------------------------- rename, search, fork


@pytest.mark.parametrize("ended", [False, True])
async def test_a_renamed_session_keeps_its_title_over_a_restart(harness: Harness, tmp_path: Path, ended: bool) -> None:
    session = await harness.manager.create()
    await session.send("one")
    await harness.agent_of(session).finish("first")
    if ended:
        await harness.manager.destroy(session.session_id)
    await harness.manager.rename(session.session_id, "Teapots")

    assert (await harness.manager.details(session.session_id))["title"] == "Teapots"
    later = Harness(tmp_path)
    await later.records.initialize()
    assert (await later.manager.open(session.session_id)).state.title == "Teapots"
    await later.records.close()


async def test_renaming_an_ended_session_keeps_no_file_open(harness: Harness) -> None:
    session = await harness.manager.create()
    await harness.manager.destroy(session.session_id)
    await asyncio.gather(*(harness.manager.rename(session.session_id, f"title {n}") for n in range(5)))

    assert session._journal._file is None
    with pytest.raises(errors.SessionNotFound):
        await harness.manager.rename("00000000-0000-4000-8000-000000000000", "x")


async def test_a_search_finds_live_and_ended_sessions_as_they_stand(harness: Harness) -> None:
    ended, live = await harness.manager.create(), await harness.manager.create()
    await harness.manager.destroy(ended.session_id)
    live.state.total_cost_usd = 0.5
    found = await harness.manager.search()

    assert found == [live.state.summary(), ended.state.summary()]
    assert [s.session_id for s in await harness.manager.search(ended_only=True)] == [ended.session_id]
    assert [s.session_id for s in await harness.manager.search(limit=1, offset=1)] == [ended.session_id]


async def test_a_resumed_session_says_so(harness: Harness) -> None:
    session = await harness.manager.create()
    await harness.manager.destroy(session.session_id)

    assert (await harness.manager.resume(session.session_id)).state.source == "resumed"


async def talked(harness: Harness, *texts: str) -> Session:
    session = await harness.manager.create(user_id="ada")
    for text in texts:
        await session.send(text)
        await harness.agent_of(session).finish(f"answer to {text}")
    return session


async def test_a_fork_is_a_session_of_its_own_with_the_same_conversation(harness: Harness, tmp_path: Path) -> None:
    original = await talked(harness, "one", "two")
    before = (conversation(original), original.state.seq)
    fork = await harness.manager.fork(original.session_id)

    assert harness.manager.get(fork.session_id) is fork
    assert conversation(fork) == conversation(original)
    assert harness.launcher.resumed == [fork.session_id]
    assert (fork.state.title, fork.state.user_id, fork.state.source) == ("one (fork)", "ada", "cold-start")
    assert (await harness.manager.details(fork.session_id))["parent_session_id"] == original.session_id
    await fork.send("three")
    await harness.agent_of(fork).finish("third", total_cost_usd=0.25)
    assert (conversation(original), original.state.seq) == before
    assert fork.state.total_cost_usd == 0.25
    later = Harness(tmp_path)
    await later.records.initialize()
    again = await later.manager.open(fork.session_id)
    assert conversation(again)[:6] == conversation(fork)
    assert again.state.parent_session_id == original.session_id
    await later.records.close()


async def test_a_fork_at_a_message_ends_with_the_answer_to_it(harness: Harness) -> None:
    original = await talked(harness, "one", "two")
    fork = await harness.manager.fork(original.session_id, at_message=original.state.messages[0].message_id)

    assert conversation(fork) == conversation(original)[:2]
    assert fork.feed.reaches(0)


async def test_nothing_is_forked_from_a_running_turn_or_at_an_unknown_message(harness: Harness) -> None:
    original = await talked(harness, "one")
    with pytest.raises(errors.MessageNotFound):
        await harness.manager.fork(original.session_id, at_message="x")
    with pytest.raises(errors.SessionNotFound):
        await harness.manager.fork("00000000-0000-4000-8000-000000000000")
    await original.send("two")
    with pytest.raises(errors.QueryInProgress):
        await harness.manager.fork(original.session_id)

    assert list(harness.manager.sessions) == [original.session_id]
    assert harness.manager.readiness().active_sessions == 1


async def test_a_fork_counts_against_the_limit(harness: Harness) -> None:
    original = await talked(harness, "one")
    results = await asyncio.gather(
        *(harness.manager.fork(original.session_id) for _ in range(6)), return_exceptions=True
    )

    assert sum(isinstance(r, Session) for r in results) == 2
    assert sum(isinstance(r, errors.CapacityExceeded) for r in results) == 4


async def test_a_fork_whose_process_does_not_start_leaves_nothing(harness: Harness, tmp_path: Path) -> None:
    original = await talked(harness, "one")
    harness.launcher.failing = 2
    with pytest.raises(errors.ProcessFailed):
        await harness.manager.fork(original.session_id)

    assert [path.stem for path in (tmp_path / "journal").iterdir()] == [original.session_id]
    assert [record.session_id for record in await harness.records.list()] == [original.session_id]
    assert harness.manager.readiness().active_sessions == 1

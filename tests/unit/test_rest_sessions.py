"""Sessions over REST: resume, rename, list the ended ones; a message whose turn streams; taking a stream up again."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from claude_pattern import events
from claude_pattern.api import streams
from claude_pattern.sessions.feed import LOG_EVENTS, QUEUE_EVENTS
from tests.unit.api_fakes import Caller, FakeSession, Site
from tests.unit.fake_agent import until

ROOT = "/api/v1/sessions"
ANSWER: list[events.AnySessionEvent] = [
    events.StreamDelta(delta="Hello "),
    events.StreamDelta(delta="world"),
    events.ResponseComplete(cost_usd=0.25, turn_count=2, total_cost_usd=0.5, input_tokens=7, output_tokens=3),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def client(site: Site) -> TestClient:
    return site.client()


@pytest.fixture
async def session(site: Site) -> FakeSession:
    return await site.manager.create()


def told(stream: str) -> list[dict[str, Any]]:
    """The events of a stream; each one's id and name must be those of its data."""
    found = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if "data" in fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["seq"]), event["type"])
            found.append(event)
    return found


def subscribers(session: FakeSession) -> int:
    return int(repr(session.feed).rsplit("| ", 1)[1].split()[0])


# ---------------------------------------------------------------- resume, rename, list


def test_an_ended_session_comes_back(client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    client.delete(f"{ROOT}/{session_id}")
    answer = client.post(f"{ROOT}/{session_id}/resume")

    assert answer.status_code == 200
    assert answer.json() == {
        "session_id": session_id,
        "status": "active",
        "source": "resumed",
        "created_at": "2026-01-31T09:30:00+00:00",
    }
    assert [s["session_id"] for s in client.get(ROOT).json()["sessions"]] == [session_id]


def test_resuming_a_live_session_leaves_it_as_it_is(client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]

    assert client.post(f"{ROOT}/{session_id}/resume").json()["source"] == "pre-warmed"


@pytest.mark.parametrize("session_id", ["unknown", "x" * 65, "a%20b", "'--"])
def test_an_unknown_session_is_not_resumable(client: TestClient, session_id: str) -> None:
    answer = client.post(f"{ROOT}/{session_id}/resume")

    assert answer.status_code == 409
    assert answer.json() == {"error": "session_not_resumable", "message": "Session not found or not resumable"}


def test_a_session_that_ended_for_good_is_not_resumable(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    client.delete(f"{ROOT}/{session_id}")
    site.manager.ended[session_id].state.is_resumable = False

    assert client.post(f"{ROOT}/{session_id}/resume").json()["error"] == "session_not_resumable"


def test_a_full_server_resumes_nothing(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    client.delete(f"{ROOT}/{session_id}")
    site.manager.max_sessions = 0
    answer = client.post(f"{ROOT}/{session_id}/resume")

    assert (answer.status_code, answer.json()["error"]) == (503, "capacity_exceeded")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("given", "kept"),
    [("Notes", "Notes"), ("  two\n lines\t", "two lines"), ("x" * 200, "x" * 200), ("Ä 🙂 \x1b", "Ä 🙂")],
)
def test_a_session_is_renamed(client: TestClient, given: str, kept: str, ended: bool) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    if ended:
        client.delete(f"{ROOT}/{session_id}")
    answer = client.patch(f"{ROOT}/{session_id}", json={"title": given})

    assert (answer.status_code, answer.json()["title"]) == (200, kept)
    assert answer.json()["session_id"] == session_id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"title": ""}', "invalid_message"),
        ('{"title": " \\n "}', "invalid_message"),
        (json.dumps({"title": "x" * 201}), "invalid_message"),
        ('{"title": 1}', "invalid_request"),
        ("{}", "invalid_request"),
        ('{"a": 1}', "invalid_request"),
    ],
)
def test_a_title_that_breaks_the_rules_changes_nothing(site: Site, client: TestClient, body: str, code: str) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    answer = client.patch(f"{ROOT}/{session_id}", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (422, code)
    assert site.manager.sessions[session_id].state.title is None


def test_half_a_character_in_a_title_is_left_out(client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    body = '{"title": "a\\ud83d"}'
    answer = client.patch(f"{ROOT}/{session_id}", content=body, headers={"content-type": "application/json"})

    assert answer.json()["title"] == "a"


def test_ended_sessions_are_found_when_asked_for(client: TestClient) -> None:
    ended, live = (client.post(ROOT).json()["session_id"] for _ in range(2))
    client.delete(f"{ROOT}/{ended}")

    def listed(query: str) -> list[str]:
        return [s["session_id"] for s in client.get(f"{ROOT}{query}").json()["sessions"]]

    assert listed("") == listed("?status=active") == [live]
    assert listed("?status=ended") == [ended]
    assert listed("?status=all") == [live, ended]
    assert listed("?status=all&limit=1") == [live]
    assert listed("?status=all&limit=1&offset=1") == [ended]
    assert listed("?offset=1") == []
    assert listed("?limit=1") == [live]


@pytest.mark.parametrize("query", ["status=old", "limit=0", "limit=1001", "limit=x", "offset=-1", "offset=x"])
def test_a_list_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"{ROOT}?{query}")

    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


def test_a_session_is_forked(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    answer = client.post(f"{ROOT}/{session_id}/fork")

    assert answer.status_code == 201
    assert answer.json() == {
        "session_id": "session-2",
        "status": "active",
        "source": "pre-warmed",
        "created_at": "2026-01-31T09:30:00+00:00",
        "parent_session_id": session_id,
    }
    assert site.manager.forked == [(session_id, None)]


def test_a_fork_can_end_with_the_answer_to_a_message(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].emit(events.TurnStarted(message_id="m7", text="hi"))
    busy = client.post(f"{ROOT}/{session_id}/fork", json={"message_id": "m7"})
    site.manager.sessions[session_id].emit(ANSWER[-1])
    forked = client.post(f"{ROOT}/{session_id}/fork", json={"message_id": "m7"})
    unknown = client.post(f"{ROOT}/{session_id}/fork", json={"message_id": "m8"})

    assert (busy.status_code, busy.json()["error"]) == (409, "query_in_progress")
    assert forked.status_code == 201
    assert site.manager.forked == [(session_id, "m7")]
    assert (unknown.status_code, unknown.json()["error"]) == (404, "message_not_found")
    assert client.post(f"{ROOT}/unknown/fork").status_code == 404


@pytest.mark.parametrize(
    ("query", "media_type", "ending"),
    [
        ("", "text/markdown", "md"),
        ("?format=markdown", "text/markdown", "md"),
        ("?format=json", "application/json", "json"),
        ("?format=jsonl", "application/x-ndjson", "jsonl"),
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_a_conversation_is_taken_away_as_a_file(
    site: Site, client: TestClient, query: str, media_type: str, ending: str, ended: bool
) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    session = site.manager.sessions[session_id]
    session.emit(events.TurnStarted(message_id="m", text="My key is sk-ant-api03-abcdefgh"))
    session.emit(events.StreamDelta(delta="half a \ud83d"))
    session.emit(ANSWER[-1])
    if ended:
        client.delete(f"{ROOT}/{session_id}")
    answer = client.get(f"{ROOT}/{session_id}/export{query}")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    name = f"my-key-is-redacted-session1.{ending}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "sk-ant" not in answer.text
    assert "half a ?" in answer.text


def test_an_export_needs_a_session_and_a_known_format(client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]

    assert client.get(f"{ROOT}/unknown/export").status_code == 404
    assert client.get(f"{ROOT}/{session_id}/export?format=pdf").json()["error"] == "invalid_request"


# ---------------------------------------------------------------- a message and its stream


def test_a_message_streams_the_events_of_its_turn(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].script = ANSWER
    answer = client.post(f"{ROOT}/{session_id}/messages", json={"text": "hi"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: ")
    found = told(answer.text)
    assert [e["type"] for e in found] == ["turn_started", "stream_delta", "stream_delta", "response_complete"]
    assert [e["seq"] for e in found] == [2, 3, 4, 5]
    assert site.manager.sessions[session_id].sent == ["hi"]


async def test_events_are_told_as_they_happen_and_the_stream_ends_with_the_turn(
    site: Site, session: FakeSession
) -> None:
    async with Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"}) as caller:
        assert (await caller.hear()).startswith(b"retry: ")
        assert told((await caller.hear()).decode())[0]["text"] == "hi"
        session.emit(events.StreamDelta(delta="one"))
        assert told((await caller.hear()).decode())[0]["delta"] == "one"
        session.emit(events.StreamInterrupted())
        session.emit(events.TurnStarted(message_id="next", text="not for this client"))
        assert [e["type"] for e in told(await caller.rest())] == ["stream_interrupted"]

    assert subscribers(session) == 0


async def test_a_line_break_in_the_text_does_not_break_the_stream(site: Site, session: FakeSession) -> None:
    session.script = [events.StreamDelta(delta="a\n\ndata: b\r\n\x85\u2028"), *ANSWER[2:]]
    async with Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"}) as caller:
        raw = await caller.rest()

    assert "\r" not in raw
    assert next(e["delta"] for e in told(raw) if e["type"] == "stream_delta") == "a\n\ndata: b\r\n\x85\u2028"


async def test_a_quiet_turn_is_kept_alive(site: Site, session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    async with Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"}) as caller:
        heard = [await caller.hear() for _ in range(4)]
        assert heard[2:] == [b": keep-alive\n\n"] * 2
        session.emit(ANSWER[-1])
        assert [e["type"] for e in told(await caller.rest())] == ["response_complete"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_client_that_leaves_lets_the_turn_run_and_leaves_no_subscription(
    site: Site, session: FakeSession, accept: str
) -> None:
    caller = Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"}, accept=accept)
    asking = asyncio.ensure_future(caller.__aenter__())  # noqa: TID251 - the client's side
    await until(lambda: subscribers(session) == 1)
    caller.leave()
    await asking
    await caller.task

    assert subscribers(session) == 0
    assert (session.state.is_query_active, session.interrupts) == (True, 0)


async def test_a_client_that_does_not_read_is_let_go(
    site: Site, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT_S", 0.02)
    caller = Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"})
    caller._from_server = asyncio.Queue(maxsize=3)
    async with caller:
        await until(lambda: subscribers(session) == 1)
        for _ in range(QUEUE_EVENTS + 10):
            session.emit(events.StreamDelta(delta="x"))
        async with asyncio.timeout(5):
            await asyncio.wait([caller.task])

    assert subscribers(session) == 0
    assert session.state.is_query_active


def test_a_finished_answer_is_given_as_json_on_request(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].script = ANSWER
    answer = client.post(f"{ROOT}/{session_id}/messages", json={"text": "hi"}, headers={"accept": "application/json"})

    assert answer.status_code == 200
    assert answer.json() == {
        "session_id": session_id,
        "message_id": "m1",
        "status": "complete",
        "text": "Hello world",
        "cost_usd": 0.25,
        "total_cost_usd": 0.5,
        "duration_ms": 0,
        "turn_count": 2,
        "input_tokens": 7,
        "output_tokens": 3,
        "error": None,
    }


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (events.StreamInterrupted(), {"status": "interrupted", "text": "half", "error": None}),
        (
            events.StreamError(error="Busy.", partial_preserved=True, suggested_action="retry", code="overloaded"),
            {
                "status": "error",
                "text": "half",
                "error": {"error": "overloaded", "message": "Busy.", "suggested_action": "retry"},
            },
        ),
    ],
)
def test_a_turn_that_did_not_end_well_says_so_and_keeps_its_text(
    site: Site, client: TestClient, end: events.AnySessionEvent, expected: dict[str, Any]
) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].script = [events.StreamDelta(delta="half"), end]
    answer = client.post(
        f"{ROOT}/{session_id}/messages", json={"text": "hi"}, headers={"accept": "application/json"}
    ).json()

    assert {name: answer[name] for name in expected} == expected


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream", "application/json, text/event-stream"])
def test_whoever_takes_events_gets_a_stream(site: Site, client: TestClient, accept: str) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].script = ANSWER
    answer = client.post(f"{ROOT}/{session_id}/messages", json={"text": "hi"}, headers={"accept": accept})

    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_second_message_during_a_turn_is_refused(client: TestClient, site: Site) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].emit(events.TurnStarted(message_id="m", text="first"))
    answer = client.post(f"{ROOT}/{session_id}/messages", json={"text": "second"})

    assert answer.status_code == 409
    assert answer.json()["error"] == "query_in_progress"
    assert subscribers(site.manager.sessions[session_id]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Message is empty"),
        (" \n", "Message is empty"),
        ("x" * 32_001, "Message exceeds 32,000 character limit"),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused(client: TestClient, site: Site, text: str, message: str) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    answer = client.post(f"{ROOT}/{session_id}/messages", json={"text": text})

    assert (answer.status_code, answer.json()) == (422, {"error": "invalid_message", "message": message})
    assert site.manager.sessions[session_id].sent == []


@pytest.mark.parametrize(("method", "path"), [("POST", "messages"), ("GET", "events")])
def test_an_unknown_session_has_no_stream(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"{ROOT}/unknown/{path}", json={"text": "hi"} if method == "POST" else None)

    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


# ---------------------------------------------------------------- taking a stream up again


async def test_a_client_that_was_cut_off_gets_what_it_missed_once_and_then_the_rest(
    site: Site, session: FakeSession
) -> None:
    async with Caller(site, "POST", f"{ROOT}/{session.session_id}/messages", {"text": "hi"}) as caller:
        await caller.hear()
        last = told((await caller.hear()).decode())[-1]["seq"]
    session.emit(events.StreamDelta(delta="missed "))
    async with Caller(site, "GET", f"{ROOT}/{session.session_id}/events", last_event_id=str(last)) as caller:
        session.emit(events.StreamDelta(delta="live"))
        session.emit(ANSWER[-1])
        found = told(await caller.rest())

    assert [e["seq"] for e in found] == [last + 1, last + 2, last + 3]
    assert [e.get("delta") for e in found] == ["missed ", "live", None]
    assert subscribers(session) == 0


async def test_ends_of_earlier_turns_do_not_end_the_stream_of_the_running_one(site: Site, session: FakeSession) -> None:
    session.script = ANSWER
    await session.send("first")
    session.script = []
    await session.send("second")
    async with Caller(site, "GET", f"{ROOT}/{session.session_id}/events?last_event_id=0") as caller:
        session.emit(ANSWER[-1])
        found = told(await caller.rest())

    assert [e["seq"] for e in found] == list(range(1, session.state.seq + 1))
    assert [e["type"] for e in found].count("response_complete") == 2


async def test_a_turn_that_ends_just_before_the_stream_begins_is_told_to_its_end(
    site: Site, session: FakeSession
) -> None:
    await session.send("first")
    stream = streams.since(session, 2, session.state.seq, running=True)  # type: ignore[arg-type]
    session.emit(ANSWER[-1])

    assert [event.type async for event in stream if event] == ["response_complete"]


async def test_without_a_number_the_stream_begins_now(site: Site, session: FakeSession) -> None:
    await session.send("first")
    async with Caller(site, "GET", f"{ROOT}/{session.session_id}/events") as caller:
        session.emit(ANSWER[-1])
        found = told(await caller.rest())

    assert [e["type"] for e in found] == ["response_complete"]


def test_without_a_running_turn_the_stream_ends_after_the_newest_event(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].emit(events.SessionUpdated(title="New"))
    answer = client.get(f"{ROOT}/{session_id}/events", headers={"last-event-id": "1"})

    assert [e["type"] for e in told(answer.text)] == ["session_updated"]


@pytest.mark.parametrize("headers", [{}, {"last-event-id": "1"}])
def test_where_there_is_nothing_to_tell_a_browser_is_told_to_stop_asking(
    client: TestClient, headers: dict[str, str]
) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    answer = client.get(f"{ROOT}/{session_id}/events", headers=headers)

    assert (answer.status_code, answer.content) == (204, b"")


def test_the_header_of_a_reconnect_counts_more_than_the_address(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    site.manager.sessions[session_id].emit(events.SessionUpdated(title="New"))
    answer = client.get(f"{ROOT}/{session_id}/events?last_event_id=0", headers={"last-event-id": "1"})

    assert [e["seq"] for e in told(answer.text)] == [2]


def test_a_number_that_cannot_be_served_is_a_conflict(site: Site, client: TestClient) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    future = client.get(f"{ROOT}/{session_id}/events?last_event_id=7")
    for _ in range(LOG_EVENTS):
        site.manager.sessions[session_id].feed.publish(
            events.SessionUpdated(seq=site.manager.sessions[session_id].state.seq + 1)
        )
        site.manager.sessions[session_id].state.seq += 1
    past = client.get(f"{ROOT}/{session_id}/events?last_event_id=0")

    assert future.status_code == past.status_code == 409
    assert future.json() == {
        "error": "events_unavailable",
        "message": "The events after number 7 are not at hand; the newest is number 1. "
        "Read the session again and go on from now.",
    }
    assert past.json()["error"] == "events_unavailable"


@pytest.mark.parametrize("number", ["x", "-1", "1.5"])
def test_what_is_no_number_is_refused(client: TestClient, number: str) -> None:
    session_id = client.post(ROOT).json()["session_id"]
    by_header = client.get(f"{ROOT}/{session_id}/events", headers={"last-event-id": number})
    by_query = client.get(f"{ROOT}/{session_id}/events?last_event_id={number}")

    assert by_header.status_code == by_query.status_code == 422
    assert by_header.json()["error"] == "invalid_request"

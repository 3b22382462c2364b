"""The whole server is killed, stopped, restarted and cut off: nothing acknowledged is lost, no process is left.

`--faults` says how often; `scripts/soak` runs the counts that docs/reliability.md promises.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from claude_pattern import events, timeouts
from claude_pattern.process import identity as identities
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.record import SessionRecord
from tests.integration import faults as lab
from tests.integration.chat import TURN_ENDS, Chat, Frame, Gone
from tests.integration.conftest import Server, processes_marked
from tests.integration.faults import Busy, Figures, Start, Strangers

CLI_GONE_S = 1.0
DESCENDANTS_GONE_S = 5.0
EXIT_S = 10.0
READY_S = 3.0
"""What docs/reliability.md promises, for a machine whose processors have nothing else to do; see `patience`."""

STORED_SESSIONS = 1_000


@pytest.fixture(autouse=True)
def _nothing_left(start_server: Start, tmp_path: Path) -> Iterator[None]:
    yield
    lab.end_all_of(tmp_path / "home")


@pytest.fixture
def strangers() -> Iterator[Strangers]:
    with lab.strangers() as found:
        yield found


def numbered(count: int) -> str:
    return " ".join(f"word{n}" for n in range(1, count + 1))


# ---------------------------------------------------------------- SIGKILL of the server


def test_a_killed_server_leaves_no_process_and_loses_nothing_that_it_has_acknowledged(
    start_server: Start, tmp_path: Path, strangers: Strangers, faults: int, figures: Figures
) -> None:
    data = tmp_path / "data"
    server = start_server()
    for _ in range(faults):
        with Chat(server) as chat:
            sessions = [lab.stream(chat), lab.work(chat), lab.ask(chat)]
            mark = lab.signature(server)
            agents = psutil.Process(server.process.pid).children()
            time.sleep(delay := random.random())
            killed = lab.kill(server)
            agents_gone = lab.seconds_until(lambda: not any(map(lab.runs, agents)), since=killed, limit=CLI_GONE_S)  # noqa: B023
            left = len(processes_marked(mark))
        strangers.plant(data / "sessions.db")

        restarted = time.monotonic()
        server = start_server(ready=False)
        limit = DESCENDANTS_GONE_S * lab.patience()
        gone = lab.seconds_until(lambda: not processes_marked(mark), since=restarted, limit=limit)  # noqa: B023
        server.wait_until_ready()
        assert strangers.all_run()
        with Chat(server) as again:
            for busy in sessions:
                check_kept(server, again, busy, seen=chat.events(busy.session_id), data=data)
        figures(
            "server_sigkill", delay_s=delay, agents_gone_s=agents_gone, left=left, left_gone_s=gone, load=lab.load()
        )
    assert server.stop() == 0
    assert strangers.all_run()


def check_kept(server: Server, chat: Chat, busy: Busy, *, seen: list[Frame], data: Path) -> None:
    """Everything that was acknowledged or shown is there, and the conversation goes on."""
    details = server.client.get(f"/api/v1/sessions/{busy.session_id}").json()
    assert (details["status"], details["terminated_reason"]) == ("terminated", "server_stopped")
    assert lab.user_texts(chat.history(busy.session_id)) == busy.said

    told = chat.replay(busy.session_id, last=lab.written(data, busy.session_id)[-1]["seq"])
    assert [frame["seq"] for frame in told] == list(range(1, len(told) + 1))
    assert seen
    assert told[seen[0]["seq"] - 1 :][: len(seen)] == seen

    check_resumable(chat, busy)


def check_resumable(chat: Chat, busy: Busy) -> None:
    """The next message is answered by a model that has heard the earlier conversation."""
    assert chat.turn(busy.session_id, "!echo messages")["type"] == "response_complete"
    assert busy.keepsake in lab.answers(chat.history(busy.session_id))[-1]["text"]


def test_an_acknowledged_message_outlasts_a_server_that_is_killed_at_that_moment(
    start_server: Start, tmp_path: Path, faults: int, figures: Figures
) -> None:
    acknowledged: dict[str, list[str]] = {}
    for _ in range(faults):
        server = start_server(PREWARM_POOL_SIZE="0")
        with Chat(server) as chat:
            for latest in list(acknowledged)[-1:]:
                check_messages(server, chat, latest, acknowledged[latest])
            session_id = lab.open_session(server)
            killed_at, acknowledged[session_id] = send_until_killed(server, chat, session_id)
        checked = lab.integrity(tmp_path / "data" / "sessions.db", tmp_path / "copy")
        count = len(acknowledged[session_id])
        figures("sends_sigkill", delay_s=killed_at, acknowledged=count, integrity=checked)
        assert checked == "ok"

    server = start_server(PREWARM_POOL_SIZE="0")
    with Chat(server) as chat:
        for session_id, texts in acknowledged.items():
            check_messages(server, chat, session_id, texts)
    assert server.stop() == 0


def send_until_killed(server: Server, chat: Chat, session_id: str) -> tuple[float, list[str]]:
    """Send messages one after another to a server that dies meanwhile; the moment, and those it acknowledged."""
    acknowledged: list[str] = []
    delay = random.uniform(0.0, 0.6)
    # SIGALRM would end this process; a killer of its own sends at the same time as we do.
    killer = psutil.Popen(["sh", "-c", f"sleep {delay:.3f}; kill -KILL {server.process.pid}"])
    try:
        while True:
            text = f"!text {uuid4()}"
            place = len(chat.frames)
            if chat.say(session_id, text):
                acknowledged.append(text)
            chat.wait(lambda f: f["type"] in TURN_ENDS, after=place)
    except Gone:
        assert killer.wait() == 0
        assert server.process.wait() == -signal.SIGKILL
    return delay, acknowledged


def check_messages(server: Server, chat: Chat, session_id: str, acknowledged: list[str]) -> None:
    """Each is there once, in order; the last one sent may be there without its acknowledgement."""
    found = lab.user_texts(chat.history(session_id))
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1
    assert server.client.get(f"/api/v1/sessions/{session_id}").json()["terminated_reason"] == "server_stopped"


# ---------------------------------------------------------------- SIGTERM


@pytest.mark.timeout(300)
def test_a_stop_lets_queries_finish_cuts_the_rest_as_resumable_and_leaves_no_process(
    start_server: Start, faults: int, figures: Figures
) -> None:
    server = start_server(MAX_SESSIONS="30", PREWARM_POOL_SIZE="2")
    with Chat(server) as chat:
        kinds: list[Callable[[Chat], Busy]] = [lambda c: lab.stream(c, 9000, 20), lab.work, lab.ask, lab.begun]
        sessions = [kinds[number % 4](chat) for number in range(min(25, 4 * faults))]
        finishing = sessions[3::4]
        for busy in finishing:
            busy.say(chat, "!deltas 100 40")
        assert len(server.client.get("/api/v1/sessions").json()["sessions"]) == len(sessions)
        mark, children = lab.signature(server), server.descendants()
        began = time.monotonic()
        assert server.stop() == 0
        exited = time.monotonic() - began
        left = [*processes_marked(mark), *filter(lab.runs, children)]
        check_farewell(chat, sessions)
    figures("server_sigterm", sessions=len(sessions), processes=len(children), exit_s=exited, load=lab.load())
    assert left == []
    assert exited <= timeouts.QUERY_GRACE + EXIT_S * lab.patience()

    server = start_server(PREWARM_POOL_SIZE="0")
    with Chat(server) as again:
        for busy in sessions:
            details = server.client.get(f"/api/v1/sessions/{busy.session_id}").json()
            assert (details["terminated_reason"], details["is_resumable"]) == ("server_shutdown", True)
            history = again.history(busy.session_id)
            assert lab.user_texts(history) == busy.said
            answer = lab.answers(history)[-1]
            ending = (answer["status"], answer["text"] == numbered(100))
            assert ending == (("complete", True) if busy in finishing else ("interrupted", False))
        for busy in sessions[:4]:
            check_resumable(again, busy)
    assert server.stop() == 0


def check_farewell(chat: Chat, sessions: list[Busy]) -> None:
    """Clients hear at once that the server stops, then how each turn and each session ends, then 1012."""
    with pytest.raises(Gone):
        chat.wait(lambda f: False)
    assert chat.close_code == 1012
    assert any(f["type"] == "error" and f["code"] == "server_shutting_down" for f in chat.frames)
    for busy in sessions:
        *_, turn, end = chat.events(busy.session_id)
        assert (turn["type"] in TURN_ENDS, end["type"]) == (True, "session_terminated")
        assert end["resume_url"] == f"/chat?resume={busy.session_id}"


# ---------------------------------------------------------------- start with many stored sessions


def test_a_server_with_a_thousand_stored_sessions_is_ready_soon_after_its_start(
    start_server: Start, tmp_path: Path, faults: int, figures: Figures
) -> None:
    data = tmp_path / "data"
    (data / "journal").mkdir(parents=True)
    store_sessions(data, STORED_SESSIONS - 10, status="terminated")
    live = store_sessions(data, 10, status="active")
    found = []
    for _ in range(max(3, faults)):
        began = time.monotonic()
        server = start_server(ready=False, PREWARM_POOL_SIZE="2")
        found.append(lab.seconds_until(lambda: is_ready(server), since=began, limit=30))  # noqa: B023
        figures("start", ready_s=found[-1], load=lab.load())
        for session_id in live:
            details = server.client.get(f"/api/v1/sessions/{session_id}").json()
            ended = (details["status"], details["terminated_reason"], details["message_count"])
            assert ended == ("terminated", "server_stopped", 20)
        with Chat(server) as chat:
            assert lab.user_texts(chat.history(live[0])) == ["A question."] * 10
        lab.kill(server)
    assert min(found) <= READY_S * lab.patience()


def store_sessions(data: Path, count: int, *, status: str) -> list[str]:
    """Sessions of ten turns each, as an earlier server has left them."""
    journals = Journals(data / "journal")
    records = []
    for number in range(count):
        session_id = str(uuid4())
        journal = journals.of(session_id)
        for event in conversation(session_id, turns=10):
            journal.append(event, datetime.now(UTC))
        journal.close()
        record = SessionRecord(session_id=session_id, status=status, message_count=20)
        if status == "active":
            record.subprocess_pid, record.process_start_ticks = 4_000_000 + number, 1
            record.process_boot_id = identities.boot_id()
            record.process_marker = identities.new_marker("gone", session_id)
        records.append(record)
    lab.store(data / "sessions.db", records)
    return [record.session_id for record in records]


def conversation(session_id: str, *, turns: int) -> Iterator[events.AnySessionEvent]:
    numbers = iter(range(1, 100_000))
    for _ in range(turns):
        yield events.TurnStarted(session_id=session_id, seq=next(numbers), message_id=str(uuid4()), text="A question.")
        for word in numbered(20).split():
            yield events.StreamDelta(session_id=session_id, seq=next(numbers), delta=f"{word} ")
        yield events.ResponseComplete(session_id=session_id, seq=next(numbers), cost_usd=0.01, turn_count=1)


def is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.printed
    try:
        return server.client.get("/api/v1/health/ready").status_code == 200
    except httpx.ConnectError:
        return False


# ---------------------------------------------------------------- observers that come back


def test_an_observer_who_is_cut_off_again_and_again_hears_everything_once_and_in_order(
    start_server: Start, tmp_path: Path, faults: int, figures: Figures
) -> None:
    server = start_server()
    session_id = lab.open_session(server)
    prompts = ("!deltas 200 2", "!cut 20", '!tool Bash {"command": "ls"}', "!deltas 300 2")
    observer = Observer(server, session_id)
    for number in range(faults):
        # 50 cuts in 20 turns: two in one turn, three in the next
        observer.turn(prompts[number % len(prompts)], cuts=2 + number % 2)
    heard = observer.finish()

    assert heard == lab.written(tmp_path / "data", session_id)
    assert [frame["seq"] for frame in heard] == list(range(1, len(heard) + 1))
    assert all(one["seq"] < other["seq"] for one, other in pairwise(heard))
    assert any(frame["type"] == "api_retry" for frame in heard)
    figures("reconnect", turns=faults, cuts=observer.cuts, in_turns=observer.cuts_in_turns, events=len(heard))
    assert server.stop() == 0


class Observer:
    """Follows one session with one connection at a time, which breaks; it comes back with the last number it has."""

    def __init__(self, server: Server, session_id: str) -> None:
        self.cuts = self.cuts_in_turns = 0
        self._server = server
        self._session_id = session_id
        self._heard: list[Frame] = []
        self._turns = 0
        self._come_back()

    def _come_back(self) -> None:
        self._chat = Chat(self._server)
        last = self._heard[-1]["seq"] if self._heard else 0
        self._chat.send("switch_session", self._session_id, last_seq=last)

    def _cut(self) -> None:
        self._chat.cut()
        self.cuts += 1
        self._heard += self._chat.events(self._session_id)
        self.cuts_in_turns += self._heard[-1]["type"] not in TURN_ENDS
        with self._chat:
            assert not any(f["type"] == "session_history" for f in self._chat.frames), "it was not a replay"
        time.sleep(random.choice((0.0, 0.0, random.uniform(0.0, 0.1))))
        self._come_back()

    def _ended(self) -> bool:
        frames = [*self._heard, *self._chat.events(self._session_id)]
        return sum(f["type"] in TURN_ENDS for f in frames) >= self._turns

    def turn(self, text: str, *, cuts: int) -> None:
        self._turns += 1
        assert self._chat.say(self._session_id, text)
        for _ in range(cuts):
            time.sleep(random.uniform(0.0, 0.15))
            self._cut()
        self._chat.wait(lambda _: self._ended())

    def finish(self) -> list[Frame]:
        with self._chat:
            return [*self._heard, *self._chat.events(self._session_id)]

"""What the fault tests share: sessions that are busy, strangers, and who still runs."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil

from claude_pattern.process import identity as identities
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.records import Records, SessionRecord
from tests.integration.chat import Chat, Frame
from tests.integration.conftest import Server, processes_marked

Start = Callable[..., Server]
Figures = Callable[..., None]

LOOK_S = 0.005


def open_session(server: Server) -> str:
    """A new session's id."""
    answer = server.client.post("/api/v1/sessions", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


def user_texts(history: Iterable[Frame]) -> list[str]:
    return [message["text"] for message in history if message["role"] == "user"]


def answers(history: Iterable[Frame]) -> list[Frame]:
    return [message for message in history if message["role"] == "assistant"]


def written(data: Path, session_id: str) -> list[Frame]:
    """What the session's journal holds, as frames: written before anybody has heard of it."""
    return [entry.event.model_dump(mode="json") for entry in Journals(data / "journal").of(session_id).read()]


# ---------------------------------------------------------------- busy sessions


@dataclass
class Busy:
    """A session that does something, and what the server has acknowledged of it."""

    session_id: str
    keepsake: str
    said: list[str] = field(default_factory=list)

    def say(self, chat: Chat, text: str) -> None:
        assert chat.say(self.session_id, text)
        self.said.append(text)


def begun(chat: Chat) -> Busy:
    """A session with one finished turn, which a resumed one must still know."""
    busy = Busy("", f"keepsake-{uuid4().hex}")
    place = len(chat.frames)
    chat.send("create_session", "")
    busy.session_id = chat.wait(lambda f: f["type"] == "session_ready", after=place)["session_id"]
    busy.said.append(f"!text {busy.keepsake}")
    assert chat.turn(busy.session_id, busy.said[-1])["type"] == "response_complete"
    return busy


def stream(chat: Chat, words: int = 3000, pause_ms: int = 10) -> Busy:
    """A session in the middle of an answer."""
    busy = begun(chat)
    place = len(chat.frames)
    busy.say(chat, f"!deltas {words} {pause_ms}")
    chat.wait(lambda f: f["type"] == "stream_delta" and f["session_id"] == busy.session_id, after=place)
    return busy


def ask(chat: Chat, command: str = "touch made") -> Busy:
    """A session that waits for a person's permission."""
    busy = begun(chat)
    busy.say(chat, f"!tool Bash {json.dumps({'command': command})}")
    chat.wait(lambda f: f["type"] == "permission_request" and f["session_id"] == busy.session_id)
    return busy


def work(chat: Chat) -> Busy:
    """A session in a tool: with a child, a grandchild, and one that has left for a session of its own."""
    busy = ask(chat, "setsid sleep 3001 & sh -c 'sleep 3002; true' & sleep 3003")
    request = chat.wait(lambda f: f["type"] == "permission_request" and f["session_id"] == busy.session_id)
    chat.send("permission_answer", busy.session_id, request_id=request["request_id"], decision="allow")
    ends = time.monotonic() + 20
    while sum(command_of(p).startswith("sleep 300") for p in processes_marked(busy.session_id)) < 3:
        assert time.monotonic() < ends, "the tool does not run"
        time.sleep(0.05)
    return busy


# ---------------------------------------------------------------- who runs


def command_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


def signature(server: Server) -> str:
    """What stands in the marker of every process that this server process has started."""
    seen = identities.look(server.process.pid)
    assert seen is not None
    return f".{seen.pid}-{seen.start_ticks}-"


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def seconds_until(condition: Callable[[], bool], *, since: float, limit: float) -> float:
    """How long after the moment `since` something is so; the test fails when that is later than `limit`."""
    while not condition():
        assert time.monotonic() - since <= limit, f"not so after {limit} s"
        time.sleep(LOOK_S)
    return time.monotonic() - since


COVERAGE_SLOWS = 4.0
"""A server that measures its coverage imports its modules several times as slowly."""


def patience() -> float:
    """By how much a bound for an idle machine grows on this one: by its load, and by the measuring of coverage.

    Only an unmeasured run on an idle machine (scripts/soak) tests the seconds; the others test that nothing hangs.
    """
    return max(1.0, load()) * (COVERAGE_SLOWS if any(name.startswith("COVERAGE_") for name in os.environ) else 1.0)


def load() -> float:
    """How many processes each processor had to run, on the average of the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def end_all_of(home: Path) -> None:
    """End whatever a failed test has left behind; the agents of its servers share a home of their own."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("HOME") == str(home):
                process.kill()


def kill(server: Server) -> float:
    """End a server by SIGKILL, and give the moment."""
    moment = time.monotonic()
    server.process.kill()
    server.process.wait()
    return moment


# ---------------------------------------------------------------- strangers


@dataclass
class Strangers:
    """Processes of other people, which no server may end, and records that name them wrongly."""

    processes: list[subprocess.Popen[bytes]]
    foreign_marker: str

    def plant(self, database: Path) -> None:
        """Record the strangers as though they were agents: one with another start or marker, one of another server."""
        plain, foreign = (identities.identify(p.pid, "") for p in self.processes)
        assert plain is not None
        assert foreign is not None
        boot = identities.boot_id()
        marks = [
            (plain.pid, plain.start_ticks + 1, boot, identities.new_marker("gone", str(uuid4()))),
            (plain.pid, plain.start_ticks, boot, identities.new_marker("gone", str(uuid4()))),
            (foreign.pid, foreign.start_ticks, boot, self.foreign_marker),
        ]
        store(database, (_process_record(*mark) for mark in marks))

    def all_run(self) -> bool:
        return all(process.poll() is None for process in self.processes)


def _process_record(pid: int, ticks: int, boot: str, marker: str) -> SessionRecord:
    return SessionRecord(
        session_id=str(uuid4()),
        status="active",
        subprocess_pid=pid,
        process_start_ticks=ticks,
        process_boot_id=boot,
        process_marker=marker,
    )


@contextlib.contextmanager
def strangers() -> Iterator[Strangers]:
    """Two that sleep: one without a marker, and an agent of a server that lives (this test run)."""
    marker = identities.new_marker("foreign", str(uuid4()))
    environments = [{}, {identities.MARKER_VARIABLE: marker}]
    found = [subprocess.Popen(["sleep", "3600"], env={"PATH": os.environ["PATH"], **e}) for e in environments]
    try:
        yield Strangers(found, marker)
    finally:
        for process in found:
            process.kill()
            process.wait()


# ---------------------------------------------------------------- the database


def store(database: Path, records: Iterable[SessionRecord]) -> None:
    """Write records as the server does."""

    async def write() -> None:
        table = Records(f"sqlite:///{database}")
        await table.initialize()
        try:
            for record in records:
                await table.save(record)
        finally:
            await table.close()

    asyncio.run(write())


def integrity(database: Path, folder: Path) -> str:
    """What SQLite says of a copy of the files as a killed server has left them; the server recovers its own."""
    folder.mkdir(exist_ok=True)
    for name in ("", "-wal"):
        copy = folder / f"copy.db{name}"
        copy.unlink(missing_ok=True)
        if (original := Path(f"{database}{name}")).exists():
            copy.write_bytes(original.read_bytes())
    (folder / "copy.db-shm").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "copy.db")) as opened:
        return str(opened.execute("pragma integrity_check").fetchone()[0])

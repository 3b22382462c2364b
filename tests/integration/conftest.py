"""Real parts: the bundled CLI against the scripted Messages API, a real database, and the server as a process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from claude_pattern import events
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.process import credentials
from claude_pattern.process.agent import AgentLauncher
from claude_pattern.process.options import OptionsFactory
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.pool import PreWarmPool
from claude_pattern.sessions.records import Records
from claude_pattern.sessions.session import Session
from claude_pattern.settings import Settings, load
from claude_pattern.testing.messages_api import DUMMY_KEY, MessagesAPI

INSTANCE = f"test{os.getpid()}"
KEY = "test-key-0123456789"
READY_S = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder runs the real CLI."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
async def api() -> AsyncIterator[MessagesAPI]:
    async with MessagesAPI() as api:
        yield api


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@dataclass
class Parts:
    """A manager and what it is made of."""

    settings: Settings
    manager: SessionManager
    pool: PreWarmPool
    launcher: AgentLauncher
    records: Records


@pytest.fixture
def parts(tmp_path: Path, project: Path, api: MessagesAPI) -> Callable[..., Any]:
    """Opens a manager with the settings given; everything ends with the test."""

    @asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[Parts]:
        values: dict[str, Any] = {
            "anthropic_api_key": DUMMY_KEY,
            "anthropic_base_url": api.base_url,
            "project_dir": project,
            "data_dir": tmp_path / "data",
            "prewarm_pool_size": 0,
            "api_max_retries": 2,
            **changes,
        }
        settings = load(env_file=None, **values)
        launcher = AgentLauncher(
            OptionsFactory(settings, credentials.resolve(settings, {}), tmp_path / "data" / "claude"),
            INSTANCE,
            tmp_path / "data" / "run",
        )
        extensions = ExtensionLoader(project)
        pool = PreWarmPool(launcher, extensions, size=settings.prewarm_pool_size)
        records = Records(settings.database_url)
        manager = SessionManager(
            launcher=launcher,
            pool=pool,
            extensions=extensions,
            records=records,
            journals=Journals(tmp_path / "data" / "journal"),
            max_sessions=settings.max_sessions,
        )
        await records.initialize()
        try:
            await pool.start()
            yield Parts(settings, manager, pool, launcher, records)
        finally:
            await manager.shutdown(grace_s=0)
            await records.close()

    return opened


@pytest.fixture
async def manager(parts: Callable[..., Any]) -> AsyncIterator[SessionManager]:
    async with parts() as opened:
        yield opened.manager


async def run_turn(session: Session, text: str) -> list[events.AnySessionEvent]:
    """Send a message and collect the events of its turn."""
    found: list[events.AnySessionEvent] = []
    async with session.subscribe() as subscription:
        await session.send(text)
        async for event in subscription:
            found.append(event)
            if isinstance(event, events.TURN_END):
                break
    return found


def answer(session: Session) -> str:
    """The text of the last assistant message."""
    return next(m.text for m in reversed(session.state.messages) if m.role == "assistant")


async def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until something is so, for at most that long."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def processes_marked(text: str) -> list[psutil.Process]:
    """Every process of this machine with `text` in its marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if text in process.environ().get("CLAUDE_PATTERN_MARKER", ""):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """The server as an operator runs it."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    output: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        return self.output.read_text()

    def wait_until_ready(self) -> None:
        """Wait for the first answer, with the server's own words when it does not come."""
        ends = time.monotonic() + READY_S
        while time.monotonic() < ends:
            assert self.process.poll() is None, self.printed
            try:
                if self.client.get("/api/v1/health/live").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"not ready after {READY_S} s:\n{self.printed}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=45)


@pytest.fixture
def start_server(tmp_path: Path, project: Path) -> Iterator[Callable[..., Server]]:
    """Starts `python -m claude_pattern`; afterwards no process of it may be left."""
    servers: list[Server] = []

    with MessagesAPI.in_thread() as api:

        def start(*arguments: str, ready: bool = True, **variables: str) -> Server:
            port = free_port()
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path / "home"),
                "PYTHONUNBUFFERED": "1",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "PROJECT_DIR": str(project),
                "DATA_DIR": str(tmp_path / "data"),
                "CLAUDE_SDK_PATTERN_API_KEY": KEY,
                "PREWARM_POOL_SIZE": "1",
                **api.env(),
                **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
                **variables,
            }
            (tmp_path / "home").mkdir(exist_ok=True)
            output = tmp_path / f"server-{len(servers)}.log"
            with output.open("w") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", "claude_pattern", *arguments],
                    env={name: value for name, value in environment.items() if value != "-"},
                    cwd=tmp_path,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            server = Server(process, port, tmp_path, output)
            servers.append(server)
            if ready:
                server.wait_until_ready()
            return server

        yield start
        for server in servers:
            server.client.close()
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()

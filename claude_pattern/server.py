"""The composition root: builds every part once, in order, and takes them down in reverse.

We own the lifespan: NiceGUI neither awaits nor reports what its own start-up handlers do. A part that cannot start
ends the process with one readable line; on the way down clients are told first, then the processes end, then the
database closes.
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from claude_pattern import __version__, tasks
from claude_pattern.api import docs, health, rest
from claude_pattern.api.guard import Guard
from claude_pattern.api.keys import Keys
from claude_pattern.api.limits import MAX_FRAME_BYTES
from claude_pattern.api.socket import ChatSocket
from claude_pattern.errors import ClaudePatternError, StartError
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.logs import scrubber
from claude_pattern.process import reap
from claude_pattern.process.agent import AgentLauncher
from claude_pattern.process.credentials import Credential
from claude_pattern.process.limits import Limits
from claude_pattern.process.machine import ThisMachine
from claude_pattern.process.options import OptionsFactory
from claude_pattern.sessions.enforcer import Enforcer
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.monitor import Monitor
from claude_pattern.sessions.pool import PreWarmPool
from claude_pattern.sessions.records import Records
from claude_pattern.settings import Settings

log = structlog.get_logger(__name__)

GC_THRESHOLDS = (100_000, 50, 100)
GC_INTERVAL_S = 60.0
"""A full collection costs 160 ms with 300 open tabs; with fewer of them p99 of an update fell from 329 to 21 ms."""

FORCED_GRACE_S = 0.0


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the first screen tells: a banner above the pages and prompts to try."""

    banner: str | None = None
    prompts: tuple[tuple[str, str], ...] = ()


class Platform:
    """Every part of one server, connected. Nothing runs before `lifespan` is entered."""

    def __init__(self, settings: Settings, credential: Credential, *, welcome: Welcome | None = None) -> None:
        self.settings = settings
        self.credential = credential
        self.instance = uuid4().hex[:12]
        data_dir = settings.data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys = Keys.load(settings, data_dir)
        self.records = Records(settings.database_url)
        self.extensions = ExtensionLoader(settings.project_dir.resolve())
        self.launcher = AgentLauncher(
            OptionsFactory(settings, credential, data_dir / "claude"), self.instance, data_dir / "run"
        )
        self.pool = PreWarmPool(self.launcher, self.extensions, size=settings.prewarm_pool_size)
        self.manager = SessionManager(
            launcher=self.launcher,
            pool=self.pool,
            extensions=self.extensions,
            records=self.records,
            journals=Journals(data_dir / "journal"),
            max_sessions=settings.max_sessions,
        )
        self.chat = ChatSocket(self.manager)
        self.app = self._application(welcome or Welcome())
        self.asgi: ASGIApp = Guard(self.app, keys=self.keys, settings=settings)

    def _application(self, welcome: Welcome) -> FastAPI:
        app = FastAPI(
            title="claude-pattern",
            version=__version__,
            docs_url=None,
            redoc_url=None,
            openapi_url="/api/openapi.json",
            lifespan=self._lifespan,
        )
        app.include_router(health.router(self.manager, self.records))
        app.include_router(rest.router(self.manager, self.extensions))
        app.include_router(docs.router())
        app.include_router(self.chat.router())
        rest.install_error_handlers(app)
        # By its installed name and at run time: static checkers cannot follow the folder mapping of pages/.
        import_module("claude_pattern.pages").mount(
            app, manager=self.manager, keys=self.keys, settings=self.settings, welcome=welcome
        )
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.enter_context(_alone(self.settings.data_dir))
            await self.records.initialize()
            stack.push_async_callback(self.records.close)
            await self._sweep()
            # Registered before the pool starts: a start that fails half-way leaves nothing behind.
            stack.push_async_callback(self.manager.shutdown)
            await self.pool.start()
            bounds = Limits.of(self.settings)
            monitor = Monitor(
                self.manager.sessions.values,
                Enforcer(self.manager, bounds),
                limits=bounds,
                machine=ThisMachine(self.instance, lambda: self.launcher.markers),
            )
            monitor.start()
            stack.push_async_callback(monitor.close)
            collector = tasks.spawn(_collect_garbage(), name="garbage")
            stack.push_async_callback(tasks.cancel, collector)
            yield

    async def _sweep(self) -> None:
        """End what an earlier server of this database has left, and note its sessions as ended."""
        await reap.sweep(await self.records.processes())
        await self.records.end_all("server_stopped")


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: a second server would sweep away the processes of the first."""
    with (data_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                "Another claude-pattern server uses this data folder. Stop it, or set DATA_DIR to another folder."
            ) from error
        yield


async def _collect_garbage() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    while True:
        await asyncio.sleep(GC_INTERVAL_S)
        gc.collect()


class _Uvicorn(uvicorn.Server):
    """uvicorn under our signal handling: it stops accepting only after the sessions have ended."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_serve`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when the first request can come."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def bind(host: str, port: int) -> socket.socket:
    """The listening socket, taken before anything is started.

    Raises:
        StartError: the address is not to be had; the sentence says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else "the name is not known"
        raise StartError(
            f"Cannot listen on {host}:{port}: {reason}. Stop what uses it, or set HOST and PORT to another address."
        ) from error
    listener.set_inheritable(False)
    return listener


def run(platform: Platform, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal cuts the queries in flight short.

    Raises:
        StartError: a part could not start; everything that had been started is gone again.
    """
    scrubber.learn(*platform.settings.secrets())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(platform, listener, on_ready))


async def _serve(platform: Platform, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        platform.asgi,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Uvicorn(config, on_ready)
    stop = asyncio.Event()
    force = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: force.set() if stop.is_set() else stop.set())
    starting = tasks.spawn(_with_lifespan(platform, server, listener), name="server")
    stopping = tasks.spawn(stop.wait(), name="stop-signal")
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await _stop(platform, server, starting, force)
    await tasks.cancel(stopping)
    if not starting.cancelled() and (failure := await starting) is not None:
        raise failure


async def _with_lifespan(
    platform: Platform, server: uvicorn.Server, listener: socket.socket
) -> ClaudePatternError | None:
    """Serve inside the lifespan; returns why it could not start, None when it has served.

    The lifespan is entered here and not by uvicorn, which would print a traceback for a database path with a typing
    error.
    """
    server.config.load()  # NiceGUI looks for the loaded application when it starts
    try:
        async with platform.app.router.lifespan_context(platform.app):
            await server.serve(sockets=[listener])
    except ClaudePatternError as error:
        return error
    return None


async def _stop(platform: Platform, server: uvicorn.Server, serving: asyncio.Task[Any], force: asyncio.Event) -> None:
    """Tell the clients, let queries end while their connections still stand, then stop serving."""
    log.info("shutting_down")
    if not server.started:
        await tasks.cancel(serving)
        return
    await platform.chat.announce_shutdown()
    ending = tasks.spawn(platform.manager.shutdown(), name="shutdown")
    forced = tasks.spawn(force.wait(), name="force-signal")
    await asyncio.wait([ending, forced], return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        log.warning("shutdown_forced")
        await platform.manager.shutdown(FORCED_GRACE_S)
    await asyncio.wait([ending])
    await tasks.cancel(forced)
    await platform.chat.close()
    server.should_exit = True

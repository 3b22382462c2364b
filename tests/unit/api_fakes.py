"""A session manager without processes: real state, real feed, turns that the test plays."""

import asyncio
import builtins
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast

import orjson
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from claude_pattern import errors, events, tasks
from claude_pattern.api import docs, health, rest
from claude_pattern.api.guard import Guard
from claude_pattern.api.keys import Keys
from claude_pattern.api.signedout import SignedOut
from claude_pattern.api.socket import ChatSocket
from claude_pattern.events import AnySessionEvent, SessionSummary, Source
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.sessions.feed import Feed, Subscription
from claude_pattern.sessions.journal import Entry
from claude_pattern.sessions.manager import MAX_TITLE_CHARS, Readiness, SessionManager
from claude_pattern.sessions.session import check_text
from claude_pattern.sessions.state import SessionState, one_line
from claude_pattern.settings import Settings

KEY = "correct-horse-battery-staple"
HOST = "http://localhost"
MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def make_settings(**given: Any) -> Settings:
    """Settings without the `.env` of whoever runs the tests."""
    return Settings(**{"_env_file": None, **given})


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """One session. `script` is what happens after a message; the turn goes on until an event of `TURN_END`."""

    def __init__(self, session_id: str, source: Source = "pre-warmed") -> None:
        self.state = SessionState(session_id, MOMENT, MOMENT, source=source)
        self.feed = Feed()
        self.log: list[AnySessionEvent] = []
        self.script: list[AnySessionEvent] = []
        self.sent: list[str] = []
        self.answers: list[tuple[str, str, str | None, dict[str, str] | None]] = []
        self.interrupts = 0
        self.emit(events.SessionUpdated(status="active"))

    @property
    def session_id(self) -> str:
        return self.state.session_id

    def emit(self, event: AnySessionEvent) -> None:
        numbered = event.model_copy(update={"session_id": self.session_id, "seq": self.state.seq + 1})
        self.state.apply(numbered)
        self.log.append(numbered)
        self.feed.publish(numbered)

    async def send(self, text: str, *, queue: bool = False) -> str:
        check_text(text)
        if self.state.is_query_active and not queue:
            raise errors.QueryInProgress
        self.sent.append(text)
        self.emit(events.TurnStarted(message_id=f"m{len(self.sent)}", text=text))
        await asyncio.sleep(0)
        for event in self.script:
            self.emit(event)
        return f"m{len(self.sent)}"

    async def interrupt(self) -> bool:
        self.interrupts += 1
        if not self.state.is_query_active:
            return False
        self.emit(events.StreamInterrupted())
        return True

    def answer(
        self,
        request_id: str,
        decision: Literal["allow", "deny"],
        *,
        message: str | None = None,
        answers: dict[str, str] | None = None,
    ) -> None:
        if request_id not in self.state.requests:
            raise errors.RequestNotFound
        self.answers.append((request_id, decision, message, answers))
        self.emit(events.PermissionResolved(request_id=request_id, decision=decision))

    def subscribe(self, after_seq: int | None = None) -> Subscription:
        return self.feed.subscribe(after_seq)


class FakeManager:
    """The manager's interface over a dictionary."""

    def __init__(self, max_sessions: int = 10) -> None:
        self.sessions: dict[str, FakeSession] = {}
        self.closing = False
        self.max_sessions = max_sessions
        self.reason: str | None = None
        self.cold = False
        self.failure: Exception | None = None
        self.opened = 0
        self.recorded: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, FakeSession] = {}
        self.forked: list[tuple[str, str | None]] = []

    async def create(self, *, user_id: str = "default", on_cold: Callable[[float], None] | None = None) -> FakeSession:
        if self.failure is not None:
            raise self.failure
        if self.closing:
            raise errors.ServerShuttingDown
        if len(self.sessions) >= self.max_sessions:
            raise errors.CapacityExceeded(self.max_sessions)
        if self.cold and on_cold is not None:
            on_cold(1.5)
        self.opened += 1
        session = FakeSession(f"session-{self.opened}", "cold-start" if self.cold else "pre-warmed")
        self.sessions[session.session_id] = session
        return session

    def get(self, session_id: str) -> FakeSession:
        if self.failure is not None:
            raise self.failure
        if session_id not in self.sessions:
            raise errors.SessionNotFound
        return self.sessions[session_id]

    async def open(self, session_id: str) -> FakeSession:
        return self.ended.get(session_id) or self.get(session_id)

    async def resume(self, session_id: str) -> FakeSession:
        if session_id in self.sessions:
            return self.sessions[session_id]
        if session_id not in self.ended or not self.ended[session_id].state.is_resumable:
            raise errors.SessionNotResumable
        if len(self.sessions) >= self.max_sessions:
            raise errors.CapacityExceeded(self.max_sessions)
        session = self.sessions[session_id] = self.ended.pop(session_id)
        session.emit(events.SessionUpdated(status="active", source="resumed"))
        return session

    async def rename(self, session_id: str, title: str) -> None:
        title = one_line(title)
        if not 1 <= len(title) <= MAX_TITLE_CHARS:
            raise errors.InvalidMessage("Title is empty or too long")
        (await self.open(session_id)).emit(events.SessionUpdated(title=title))

    async def fork(self, session_id: str, *, at_message: str | None = None) -> FakeSession:
        original = await self.open(session_id)
        if original.state.is_query_active:
            raise errors.QueryInProgress
        if at_message not in (None, *(message.message_id for message in original.state.messages)):
            raise errors.MessageNotFound
        self.forked.append((session_id, at_message))
        return await self.create()

    async def entries(self, session_id: str) -> tuple[Entry, ...]:
        return tuple(Entry(MOMENT, event) for event in (await self.open(session_id)).log)

    async def search(
        self, *, ended_only: bool = False, limit: int | None = 100, offset: int = 0
    ) -> builtins.list[SessionSummary]:
        found = [*([] if ended_only else self.sessions.values()), *self.ended.values()]
        return [session.state.summary() for session in found][offset:][:limit]

    def list(self) -> list[SessionSummary]:
        return [session.state.summary() for session in self.sessions.values()]

    async def details(self, session_id: str) -> dict[str, Any]:
        if session_id in self.recorded:
            return self.recorded[session_id]
        return {
            **(await self.open(session_id)).state.summary().model_dump(),
            "source": "pre-warmed",
            "subprocess_pid": 7,
        }

    async def interrupt(self, session_id: str) -> bool:
        return await self.get(session_id).interrupt()

    async def destroy(self, session_id: str, reason: str = "user_requested") -> None:
        session = self.get(session_id)
        self.ended[session_id] = self.sessions.pop(session_id)
        session.emit(events.SessionTerminated(reason=reason, message="Session ended."))
        session.feed.close()
        session.feed = Feed(session.state.seq, session.log)

    def readiness(self) -> Readiness:
        return Readiness(self.reason, 2, len(self.sessions), self.max_sessions)


class Site:
    """The whole API behind its guard, as the server puts it together, over a fake manager."""

    def __init__(self, folder: Path, *, database: health.Database | None = None, **settings: Any) -> None:
        self.manager = FakeManager()
        self.clock, self.wall = Clock(), Clock()
        self.settings = make_settings(claude_sdk_pattern_api_key=KEY, data_dir=folder, **settings)
        self.keys = Keys(
            KEY, "cookie secret", SignedOut(folder / "signed_out", self.wall), clock=self.clock, now=self.wall
        )
        self.chat = ChatSocket(cast(SessionManager, self.manager))
        self._database = database

    @cached_property
    def app(self) -> FastAPI:
        """Everything behind the guard; built when a test needs it."""
        manager = cast(SessionManager, self.manager)
        app = FastAPI(
            title="claude-pattern", version="0", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
        )
        app.include_router(health.router(manager, self._database))
        app.include_router(rest.router(manager, ExtensionLoader(self.settings.data_dir)))
        app.include_router(self.chat.router())
        app.include_router(docs.router())
        rest.install_error_handlers(app)
        return app

    @cached_property
    def asgi(self) -> Guard:
        """What the server serves."""
        return Guard(self.app, keys=self.keys, settings=self.settings)

    def client(self, *, key: str | None = KEY, **options: Any) -> TestClient:
        """A client that gives the key with every request."""
        headers = {"X-API-Key": key} if key is not None else {}
        return TestClient(self.asgi, base_url=HOST, headers=headers, follow_redirects=False, **options)


class Wire:
    """Calls an ASGI application with exactly the bytes that a test wants, which clients would tidy up."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def request(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"localhost"),),
        query: bytes = b"",
        body: tuple[bytes, ...] = (b"",),
        kind: str = "http",
        address: str = "192.0.2.1",
    ) -> list[dict[str, Any]]:
        """The messages that the application sends."""
        scope: Scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http" if kind == "http" else "ws",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query,
            "headers": list(headers),
            "client": (address, 4711),
            "server": ("127.0.0.1", 8000),
        }
        if kind == "http":
            scope["method"] = method
            waiting: list[dict[str, Any]] = [
                {"type": "http.request", "body": part, "more_body": index + 1 < len(body)}
                for index, part in enumerate(body)
            ]
        else:
            scope["subprotocols"] = []
            waiting = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent

    async def status(self, path: str, **how: Any) -> int:
        """The status of a response; for a WebSocket 101 if it was accepted, else 403."""
        first = (await self.request(path, **how))[0]
        if first["type"] == "websocket.accept":
            return 101
        return int(first["status"]) if first["type"] == "http.response.start" else 403


class Caller:
    """One HTTP client of a site, in the test's own event loop, that reads the answer as it comes and may leave."""

    def __init__(self, site: Site, method: str, path: str, body: Any = None, **headers: str) -> None:
        path, _, query = path.partition("?")
        given = {"host": "localhost", "x-api-key": KEY, "content-type": "application/json", **headers}
        self._scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
            "client": ("192.0.2.1", 4711),
        }
        self._to_server: asyncio.Queue[Message] = asyncio.Queue()
        self._to_server.put_nowait({"type": "http.request", "body": orjson.dumps(body) if body is not None else b""})
        self._from_server: asyncio.Queue[Message] = asyncio.Queue()
        self._site = site
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self.task = tasks.spawn(
            self._site.asgi(self._scope, self._to_server.get, self._from_server.put), name="http-client"
        )
        start = await self._next()
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        async with asyncio.timeout(5):
            await self.task

    def leave(self) -> None:
        """Go away."""
        self._to_server.put_nowait({"type": "http.disconnect"})

    async def _next(self) -> Message:
        async with asyncio.timeout(5):
            return await self._from_server.get()

    async def hear(self) -> bytes:
        """The next part of the body; empty at its end."""
        message = await self._next()
        return bytes(message["body"])

    async def rest(self) -> str:
        """Everything that is still to come."""
        parts = [await self.hear()]
        while parts[-1]:
            parts.append(await self.hear())
        return b"".join(parts).decode()


class Line:
    """One WebSocket client of a site, in the test's own event loop.

    While `open` is not set the client does not read: the server's sends wait. When it is `gone` they fail.
    """

    def __init__(self, site: Site, *, key: str | None = KEY) -> None:
        self.site = site
        self.open = asyncio.Event()
        self.open.set()
        self.gone = False
        self._key = key
        self._to_server: asyncio.Queue[Message] = asyncio.Queue()
        self._from_server: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        headers = [(b"host", b"localhost"), *([(b"x-api-key", self._key.encode())] if self._key else [])]
        scope = {
            "type": "websocket",
            "path": "/ws/v1/chat",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("192.0.2.1", 4711),
            "subprotocols": [],
        }
        self._to_server.put_nowait({"type": "websocket.connect"})
        self._task = tasks.spawn(self.site.asgi(scope, self._to_server.get, self._send), name="client")
        assert (await self._next())["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open.set()
        self.leave()
        async with asyncio.timeout(5):
            await self._task

    async def _send(self, message: Message) -> None:
        await self.open.wait()
        if self.gone:
            raise OSError
        self._from_server.put_nowait(message)

    async def _next(self) -> Message:
        async with asyncio.timeout(5):
            return await self._from_server.get()

    def leave(self) -> None:
        """Go away."""
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1001})

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        self.send(orjson.dumps({"type": kind, **fields}).decode())

    def send(self, frame: str | bytes) -> None:
        """Send a frame as it is."""
        self._to_server.put_nowait({"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame})

    async def hear(self) -> dict[str, Any]:
        """The next message of the server."""
        message = await self._next()
        assert message["type"] == "websocket.send", message
        return cast("dict[str, Any]", orjson.loads(message["text"]))

    async def closed(self) -> int:
        """The close code that comes next."""
        message = await self._next()
        assert message["type"] == "websocket.close", message
        await self._task
        return int(message["code"])

    async def nothing_more(self) -> None:
        """Fail if the server has more to say."""
        for _ in range(50):
            await asyncio.sleep(0)
        assert self._from_server.empty(), self._from_server.get_nowait()

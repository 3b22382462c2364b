"""The WebSocket interface, `/ws/v1/chat`: what each message of a client does.

A connection follows every session that it opens, switches to or writes to, and gets its events without gap or double.
One connection per session: a second one that opens the same session closes the first. The connection itself, its tasks
and queues, is in `connection`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import APIRouter, WebSocket

from claude_pattern import events
from claude_pattern.api.connection import OPENED_ELSEWHERE, RESTARTING, TRY_LATER, Connection, Follow
from claude_pattern.api.guard import ACCESS
from claude_pattern.api.history import history, open_requests
from claude_pattern.api.limits import MAX_CONNECTIONS
from claude_pattern.api.requests import SOCKET_PATH
from claude_pattern.errors import ServerShuttingDown
from claude_pattern.events import AnyClientMessage, ErrorMessage, SessionTerminated
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session

log = structlog.get_logger(__name__)

_ELSEWHERE = ErrorMessage(code="session_opened_elsewhere", message="This session was opened on another connection.")
_GOING_DOWN = ErrorMessage(code="server_shutting_down", message=ServerShuttingDown.default)
_POLICY_VIOLATION = 1008


class ChatSocket:
    """All WebSocket connections of the server, and which of them has each session."""

    def __init__(self, manager: SessionManager, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._clock = clock
        self._connections: dict[Connection, asyncio.Event] = {}
        self._holders: dict[str, Connection] = {}

    def __repr__(self) -> str:
        return f"<ChatSocket {len(self._connections)} connections | {len(self._holders)} sessions>"

    def router(self) -> APIRouter:
        """The WebSocket route."""
        routes = APIRouter()

        @routes.websocket(SOCKET_PATH)
        async def chat(websocket: WebSocket) -> None:
            await self.serve(websocket)

        return routes

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one client until it leaves."""
        if websocket.scope.get(ACCESS) is None:
            await _turn_away(websocket, _POLICY_VIOLATION)
        elif len(self._connections) >= MAX_CONNECTIONS:
            await _turn_away(websocket, TRY_LATER)
        else:
            await self._serve(websocket)

    async def _serve(self, websocket: WebSocket) -> None:
        connection = Connection(websocket, self._handle, left=self._release, clock=self._clock)
        if self._manager.closing:
            connection.end(RESTARTING, _GOING_DOWN)
        gone = self._connections[connection] = asyncio.Event()
        try:
            await connection.run(events.SessionList(sessions=tuple(self._manager.list())))
        finally:
            del self._connections[connection]
            gone.set()

    async def announce_shutdown(self) -> None:
        """Tell every client that the server goes down; running turns still deliver. Then `close`."""
        for connection in self._connections:
            connection.announce(_GOING_DOWN)

    async def close(self) -> None:
        """Close every connection with 1012 and return when all are gone."""
        for connection in self._connections:
            connection.end(RESTARTING)
        for gone in tuple(self._connections.values()):
            await gone.wait()

    # ------------------------------------------------------------ who has which session

    def _take(self, connection: Connection, session_id: str) -> None:
        holder = self._holders.get(session_id)
        if holder is not None and holder is not connection:
            log.info("session_opened_elsewhere", session_id=session_id)
            holder.unfollow(session_id)
            holder.end(OPENED_ELSEWHERE, _ELSEWHERE)
        self._holders[session_id] = connection

    def _release(self, connection: Connection, session_id: str) -> None:
        if self._holders.get(session_id) is connection:
            del self._holders[session_id]

    def _follow(self, connection: Connection, session: Session, after_seq: int) -> Follow:
        if not connection.has_ended:
            self._take(connection, session.session_id)
        return connection.follow(session, after_seq)

    # ------------------------------------------------------------ what messages do

    async def _handle(self, connection: Connection, message: AnyClientMessage) -> None:
        await _HANDLERS[type(message)](self, connection, message)

    async def _create_session(self, connection: Connection, _message: events.CreateSession) -> None:
        session = await self._manager.create(
            on_cold=lambda seconds: connection.announce(events.SessionCreating(estimated_seconds=seconds))
        )
        follow = self._follow(connection, session, session.state.seq)
        await connection.say(events.SessionReady(session_id=session.session_id, source=session.state.source))
        connection.start(follow)

    async def _switch_session(self, connection: Connection, message: events.SwitchSession) -> None:
        session = await self._manager.open(message.session_id)
        state, last_seq = session.state, message.last_seq
        if last_seq is not None and 0 <= last_seq <= state.seq and session.feed.reaches(last_seq):
            connection.start(self._follow(connection, session, last_seq))
            return
        # The history and the subscription are made in one step: what happens from here on follows as events.
        so_far = events.SessionHistory(
            session_id=session.session_id, messages=history(state), requests=open_requests(state), seq=state.seq
        )
        follow = self._follow(connection, session, state.seq)
        await connection.say(so_far)
        connection.start(follow)

    async def _user_message(self, connection: Connection, message: events.UserMessage) -> None:
        if self._manager.closing:
            raise ServerShuttingDown
        session = await self._manager.open(message.session_id)
        follow = connection.followed(message.session_id) or self._follow(connection, session, session.state.seq)
        connection.start(follow)
        async with follow.gate:
            await session.send(message.text)
            await connection.say(events.MessageReceived(seq=message.seq))

    async def _interrupt(self, _connection: Connection, message: events.Interrupt) -> None:
        await self._manager.get(message.session_id).interrupt()

    async def _permission_answer(self, _connection: Connection, message: events.PermissionAnswer) -> None:
        session = self._manager.get(message.session_id)
        session.answer(message.request_id, message.decision, message=message.message, answers=message.answers)

    async def _destroy_session(self, connection: Connection, message: events.DestroySession) -> None:
        session = self._manager.get(message.session_id)
        if connection.followed(message.session_id) is not None:
            await self._manager.destroy(message.session_id)
            return
        # Who ends a session without following it hears of its end all the same, and of nothing else.
        async with session.subscribe(session.state.seq) as subscription:
            await self._manager.destroy(message.session_id)
            async for event in subscription:
                if isinstance(event, SessionTerminated):
                    await connection.say(event)
                    return


_HANDLERS: dict[type[events.ClientMessage], Callable[[ChatSocket, Connection, Any], Awaitable[None]]] = {
    events.UserMessage: ChatSocket._user_message,
    events.Interrupt: ChatSocket._interrupt,
    events.CreateSession: ChatSocket._create_session,
    events.SwitchSession: ChatSocket._switch_session,
    events.DestroySession: ChatSocket._destroy_session,
    events.PermissionAnswer: ChatSocket._permission_answer,
}


async def _turn_away(websocket: WebSocket, code: int) -> None:
    await websocket.accept()
    await websocket.close(code)

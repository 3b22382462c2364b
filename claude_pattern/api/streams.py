"""A session's events as server-sent events: one stream for one turn, which a client can take up again by number.

The stream owns nothing of the turn: it subscribes when it begins and is off the feed when it ends, however it ends.
A client that has left is noticed at once, not at the next event; the turn goes on without it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from claude_pattern import tasks
from claude_pattern.api.connection import SEND_TIMEOUT_S
from claude_pattern.api.frames import encode
from claude_pattern.events import TURN_END, AnySessionEvent, TurnStarted
from claude_pattern.sessions.feed import Subscription
from claude_pattern.sessions.session import Session

log = structlog.get_logger(__name__)

T = TypeVar("T")

Events: TypeAlias = AsyncGenerator[AnySessionEvent | None, None]
"""Events, and None in each pause."""

HEARTBEAT_S: Final = 15.0
"""A quiet stream says something this often: proxies cut connections that are silent for a minute."""

RETRY_MS: Final = 1_000
"""How long a client should wait before it connects again."""

_HEARTBEAT = b": keep-alive\n\n"


async def turn(session: Session, message_id: str, after_seq: int) -> Events:
    """The events after number `after_seq` up to the end of the turn of message `message_id`."""
    started = False
    async with session.subscribe(after_seq) as subscription:
        async for event in _paced(subscription):
            yield event
            if isinstance(event, TurnStarted) and event.message_id == message_id:
                started = True
            elif started and isinstance(event, TURN_END):
                return


async def since(session: Session, after_seq: int, newest: int, *, running: bool) -> Events:
    """The events after number `after_seq` up to number `newest`, or up to the end of the turn that was `running` then.

    The caller has looked at both: a turn may end between its look and the first byte.
    """
    async with session.subscribe(after_seq) as subscription:
        async for event in _paced(subscription):
            yield event
            if event is None or event.seq < newest:
                continue
            if not running or (event.seq > newest and isinstance(event, TURN_END)):
                return


async def _paced(subscription: Subscription) -> Events:
    """What comes, and None whenever nothing has come for HEARTBEAT_S seconds."""
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                event = await anext(subscription)
        except TimeoutError:
            yield None
        except StopAsyncIteration:
            return
        else:
            yield event


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None when the client left first, and `work` has then been cancelled."""
    working = tasks.spawn(work, name="for-client")
    watching = tasks.spawn(_gone(receive), name="client-gone")
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await tasks.cancel(watching)
        await tasks.cancel(working)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Sends events as they come, and a comment in each pause; a client that has left ends it."""

    media_type = "text/event-stream"

    def __init__(self, events: Events) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})  # nginx would hold the text back
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream until it ends or its client leaves."""
        await unless_gone(receive, self._serve(send))

    async def _serve(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await _say(send, b"retry: %d\n\n" % RETRY_MS)
            # Closed here and now: the subscription must not wait for the garbage collector.
            async with contextlib.aclosing(self._events) as events:
                async for event in events:
                    await _say(send, _HEARTBEAT if event is None else frame(event))
            await _say(send, b"", more=False)
        except (TimeoutError, OSError):
            log.info("event_stream_cut", reason="its client does not read")


async def _say(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


def frame(event: AnySessionEvent) -> bytes:
    """An event as one server-sent event; `id` is its number, after which a client can go on."""
    return f"id: {event.seq}\nevent: {event.type}\ndata: {encode(event)}\n\n".encode()

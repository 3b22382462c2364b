"""One WebSocket connection: a task that reads, a task that writes, and a bounded number of frames between them.

Resource handling: requests run beside the reader, at most `OPERATIONS` at once, those of one session in the order in
which they came. They are never cancelled: a session that is being opened when its client leaves is there afterwards.
Back-pressure: nothing waits without a bound. A client that does not read fills its outbox, then the subscriptions of
its sessions, and is closed with `SLOW` when one of these overflows; it may come back with `last_seq`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog
from fastapi import WebSocket, WebSocketDisconnect

from claude_pattern import tasks
from claude_pattern.api.frames import Sequence, decode, encode, explain, too_large
from claude_pattern.api.limits import MESSAGES_BURST, MESSAGES_PER_SECOND, OPERATIONS, OUTBOX_FRAMES
from claude_pattern.errors import ClaudePatternError
from claude_pattern.events import AnyClientMessage, ErrorMessage, Event, UserMessage
from claude_pattern.sessions.feed import Subscription
from claude_pattern.sessions.session import Session

log = structlog.get_logger(__name__)

TOO_LARGE: Final = 1009
RESTARTING: Final = 1012
TRY_LATER: Final = 1013
OPENED_ELSEWHERE: Final = 4001
SLOW: Final = 4008

SEND_TIMEOUT_S: Final = 30.0
"""How long one frame may wait for a client that has stopped reading."""

FLUSH_TIMEOUT_S: Final = 2.0
"""How long a connection that ends may take to deliver what it has still to say."""

Handler = Callable[["Connection", AnyClientMessage], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Follow:
    """A session whose events go to this connection.

    Who holds `gate` speaks before the next event: the answer to a message comes before what the message sets off.
    """

    session: Session
    subscription: Subscription
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None


class Connection:
    """One client. `handle` does what a message asks; `left` hears of every session that is followed no more."""

    def __init__(
        self,
        websocket: WebSocket,
        handle: Handler,
        *,
        left: Callable[["Connection", str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._websocket = websocket
        self._handle = handle
        self._left = left
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue(OUTBOX_FRAMES)
        self._ended: asyncio.Future[tuple[int, ErrorMessage | None]] = asyncio.get_running_loop().create_future()
        self._follows: dict[str, Follow] = {}
        self._sequence = Sequence()
        self._operations = asyncio.Semaphore(OPERATIONS)
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pace = Pace(clock)

    def __repr__(self) -> str:
        return f"<Connection {len(self._follows)} sessions | {self._outbox.qsize()} frames wait>"

    # ------------------------------------------------------------ from the outside

    async def run(self, first: Event) -> None:
        """Say `first`, then serve the client until it leaves or `end` is called."""
        await self._websocket.accept()
        self._outbox.put_nowait(encode(first))
        reader = tasks.spawn(self._read(), name="websocket-reader")
        writer = tasks.spawn(self._write(), name="websocket-writer")
        try:
            until: list[asyncio.Future[Any]] = [reader, writer, self._ended]
            await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything else: requests that are still worked on must not follow a session any more.
            if not self._ended.done():
                self._ended.cancel()
            for session_id in tuple(self._follows):
                self.unfollow(session_id)
            await tasks.cancel(reader)
            await self._finish(writer)
            self._let_go()

    @property
    def has_ended(self) -> bool:
        """Whether the client has left or is being closed."""
        return self._ended.done()

    def end(self, code: int, last: ErrorMessage | None = None) -> None:
        """Close the connection with `code`, after saying what waits and `last`; the first call counts."""
        if not self._ended.done():
            self._ended.set_result((code, last))

    def announce(self, event: Event) -> None:
        """Say something without waiting; a client that has no room for it is closed."""
        if self._ended.done():
            return
        try:
            self._outbox.put_nowait(encode(event))
        except asyncio.QueueFull:
            self.end(SLOW)

    async def say(self, event: Event) -> None:
        """Say something; waits while the client does not read, and does nothing once the connection has ended."""
        if not self._ended.done():
            await self._outbox.put(encode(event))

    # ------------------------------------------------------------ following sessions

    def followed(self, session_id: str) -> Follow | None:
        """How this connection follows a session, None if it does not."""
        return self._follows.get(session_id)

    def follow(self, session: Session, after_seq: int) -> Follow:
        """Take the events of `session` after number `after_seq` from now on; `start` sends them.

        A connection that has ended takes none.
        """
        self._drop(session.session_id)
        follow = Follow(session, session.subscribe(after_seq))
        if self.has_ended:
            follow.subscription.close()
        else:
            self._follows[session.session_id] = follow
        return follow

    def start(self, follow: Follow) -> None:
        """Send the events of a followed session, those first that have come since `follow`."""
        if follow.task is None and self._follows.get(follow.session.session_id) is follow:
            follow.task = tasks.spawn(self._forward(follow), name="websocket-follow")

    def unfollow(self, session_id: str) -> None:
        """Take no more events of a session."""
        if self._drop(session_id):
            self._left(self, session_id)

    def _drop(self, session_id: str) -> bool:
        follow = self._follows.pop(session_id, None)
        if follow is None:
            return False
        follow.subscription.close()
        if follow.task is not None:
            follow.task.cancel()
        return True

    async def _forward(self, follow: Follow) -> None:
        async for event in follow.subscription:
            frame = encode(event)
            async with follow.gate:
                await self._outbox.put(frame)
        if follow.subscription.overflowed:
            self.end(SLOW)
        if self._follows.get(follow.session.session_id) is follow:
            del self._follows[follow.session.session_id]
            self._left(self, follow.session.session_id)

    # ------------------------------------------------------------ the client's messages

    async def _read(self) -> None:
        while True:
            await self._pace.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            frame: str | bytes = text if text is not None else message["bytes"]
            if too_large(frame):
                self.end(TOO_LARGE)
                return
            await self._take(frame)

    async def _take(self, frame: str | bytes) -> None:
        try:
            message = decode(frame)
            if isinstance(message, UserMessage):
                self._sequence.take(message)
        except ClaudePatternError as error:
            await self.say(explain(error))
            return
        await self._operations.acquire()
        lane = self._lanes.setdefault(getattr(message, "session_id", ""), asyncio.Lock())
        tasks.spawn(self._work(message, lane), name=f"websocket-{message.type}")

    async def _work(self, message: AnyClientMessage, lane: asyncio.Lock) -> None:
        try:
            async with lane:
                await self._handle(self, message)
        except ClaudePatternError as error:
            await self.say(explain(error))
        except Exception as error:
            log.exception("websocket_request_failed", type=message.type)
            await self.say(explain(error))
        finally:
            self._operations.release()

    # ------------------------------------------------------------ the client's end of the line

    async def _write(self) -> None:
        try:
            while (frame := await self._outbox.get()) is not None:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._websocket.send_text(frame)
        except TimeoutError:
            self.end(SLOW)
        except (WebSocketDisconnect, RuntimeError):
            return  # the client has left; Starlette says so by either

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Say what is left to say, and close; what a slow reader does not take in time is dropped."""
        if self._ended.cancelled():
            await tasks.cancel(writer)
            return
        code, last = self._ended.result()
        if code == SLOW:
            await tasks.cancel(writer)
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                if last is not None:
                    await self._outbox.put(encode(last))
                if not writer.done():
                    await self._outbox.put(None)
                    await asyncio.wait([writer])
                await self._websocket.close(code)
        await tasks.cancel(writer)

    def _let_go(self) -> None:
        """Make room for the requests that still wait to say something; they are fewer than the outbox is long."""
        while not self._outbox.empty():
            self._outbox.get_nowait()


class Pace:
    """Reads a client that sends too fast more slowly: the network holds the rest back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens = float(MESSAGES_BURST)
        self._filled = clock()

    def delay_s(self) -> float:
        """Count one message, and say how long to wait before it is read."""
        now = self._clock()
        self._tokens = min(MESSAGES_BURST, self._tokens + (now - self._filled) * MESSAGES_PER_SECOND) - 1
        self._filled = now
        return max(0.0, -self._tokens / MESSAGES_PER_SECOND)

    async def wait(self) -> None:
        """Wait before the next message is read."""
        if delay := self.delay_s():
            await asyncio.sleep(delay)

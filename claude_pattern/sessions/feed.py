"""The events of one session, numbered, kept for a while, and handed to any number of subscribers.

A subscriber that does not read never slows the session: its queue is bounded, and when it is full the subscription
ends (`overflowed`); it may subscribe again after the last number it has seen.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Self

from claude_pattern.events import AnySessionEvent

QUEUE_EVENTS = 1_000
"""Events that one subscriber may lag behind."""

LOG_EVENTS = 10_000
"""Events kept for subscribers that come back."""


class Subscription:
    """An async iterator over a session's events; use it in `async with` so that it is taken off the feed."""

    def __init__(self, feed: "Feed", missed: list[AnySessionEvent]) -> None:
        self.overflowed = False
        """The reader was too slow and the subscription has ended."""
        self._feed = feed
        self._missed = deque(missed)
        self._queue: asyncio.Queue[AnySessionEvent | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnySessionEvent:
        event = self._missed.popleft() if self._missed else await self._queue.get()
        if event is None:
            self._queue.put_nowait(None)  # every later call ends as well
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Take no further events; what is queued can still be read."""
        self._feed.remove(self)
        self._queue.put_nowait(None)

    def push(self, event: AnySessionEvent) -> None:
        """Queue one event, or end the subscription when its reader is too far behind."""
        if self._queue.qsize() >= QUEUE_EVENTS:
            self.overflowed = True
            self.close()
        else:
            self._queue.put_nowait(event)


class Feed:
    """One session's events. A session that comes back starts with number `seq` and the `log` of what went before."""

    def __init__(self, seq: int = 0, log: Iterable[AnySessionEvent] = ()) -> None:
        self._log: deque[AnySessionEvent] = deque(log, maxlen=LOG_EVENTS)
        self._start = seq
        self._subscriptions: list[Subscription] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<Feed {len(self._log)} events | {len(self._subscriptions)} subscribers>"

    def publish(self, event: AnySessionEvent) -> None:
        """Hand out one event whose number is the next one."""
        self._log.append(event)
        for subscription in tuple(self._subscriptions):
            subscription.push(event)

    def reaches(self, after_seq: int) -> bool:
        """Whether every event after number `after_seq` is still at hand."""
        return after_seq + 1 >= (self._log[0].seq if self._log else self._start + 1)

    def subscribe(self, after_seq: int | None = None) -> Subscription:
        """Every event after number `after_seq`, as far as they are still at hand; None: only those to come."""
        missed = [] if after_seq is None else [event for event in self._log if event.seq > after_seq]
        subscription = Subscription(self, missed)
        self._subscriptions.append(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget one subscription."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """No event will follow."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()

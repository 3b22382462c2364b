"""The newest ended sessions, read from the database once for all tabs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_pattern import tasks

if TYPE_CHECKING:
    import asyncio

    from claude_pattern.events import SessionSummary
    from claude_pattern.sessions.manager import SessionManager

SHOWN = 20
"""So many ended sessions are in the list; older ones are found by their address."""


class EndedSessions:
    """Reads again whenever the set of sessions or a title changes, while at least one tab listens.

    A session that has not changed stays the same object, so that views may go by identity.
    """

    def __init__(self, manager: "SessionManager") -> None:
        self.items: tuple[SessionSummary, ...] = ()
        self._manager = manager
        self._listeners: list[Callable[[], None]] = []
        self._stop_listening: Callable[[], None] = lambda: None
        self._reading: asyncio.Task[None] | None = None
        self._stale = False

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever `items` has changed; the returned function ends that."""
        self._listeners.append(callback)
        if len(self._listeners) == 1:
            self._stop_listening = self._manager.listen(self._refresh)
            self._refresh()

        def stop() -> None:
            if callback not in self._listeners:
                return
            self._listeners.remove(callback)
            if not self._listeners:
                self._stop_listening()
                self.items = ()

        return stop

    def _refresh(self) -> None:
        self._stale = True
        if self._reading is None or self._reading.done():
            self._reading = tasks.spawn(self._read(), name="read-ended-sessions")

    async def _read(self) -> None:
        """Read until nothing has changed meanwhile: many changes at once cost two reads, not many."""
        while self._stale and self._listeners and not self._manager.closing:
            self._stale = False
            known = {item.session_id: item for item in self.items}
            found = await self._manager.recent_ended(SHOWN)
            items = tuple(known[new.session_id] if known.get(new.session_id) == new else new for new in found)
            if items != self.items:
                self.items = items
                for listener in tuple(self._listeners):
                    listener()

"""What the monitor judges a session by: when things last happened in it, as marks on a monotonic clock.

The session keeps its pulse itself: `heard` with every message of its process, `note` with every event.
"""

import time
from collections.abc import Callable
from typing import Protocol

from claude_pattern import events
from claude_pattern.events import TURN_END, AnySessionEvent, SessionStatus
from claude_pattern.process.identity import ProcessIdentity

_PLATFORM = (events.SessionUpdated, events.SessionWarning, events.SessionRestarting, events.SessionTerminated)
_PEOPLE = (events.MessageQueued, events.MessageWithdrawn, events.PermissionRequest, events.PermissionResolved)


class Pulse:
    """The marks of one session, in seconds of `now`; they outlive the processes that serve it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._tools: set[str] = set()
        self._compacting = False
        self._quiet_until = float("-inf")
        self.started_at = now()
        self.last_activity = self.started_at
        """When somebody or the agent last did something; what the platform says by itself is no activity."""
        self.last_message_at = self.started_at
        self.turn_started_at: float | None = None

    def __repr__(self) -> str:
        turn = "busy" if self.turn_started_at is not None else "free"
        return f"<Pulse {turn} {self._now() - self.last_activity:.0f} s since activity | {len(self._tools)} tools>"

    @property
    def silence_expected(self) -> bool:
        """Whether there is a reason for the model's service to say nothing: a tool, a compaction, a pause to retry."""
        return bool(self._tools) or self._compacting or self._now() < self._quiet_until

    def heard(self) -> None:
        """The process has said something, of whatever kind."""
        self.last_message_at = self._now()

    def note(self, event: AnySessionEvent) -> None:
        """Something has happened in the session."""
        if isinstance(event, events.SessionUpdated):
            # The CLI names an activity of its own only for a compaction, which streams nothing while it runs.
            self._compacting = self._compacting or bool(event.activity)
        if isinstance(event, (events.TurnStarted, events.SessionRestarting, *TURN_END)):
            self._forget_turn()
        if isinstance(event, _PLATFORM):
            return
        self.last_activity = self._now()
        if not isinstance(event, _PEOPLE):
            self._compacting = False
        match event:
            case events.TurnStarted():
                self.turn_started_at = self.last_activity
            case events.ToolUse():
                self._tools.add(event.tool_use_id)
            case events.ToolResult():
                self._tools.discard(event.tool_use_id)
            case events.ApiRetry():
                self._quiet_until = self.last_activity + event.delay_seconds

    def _forget_turn(self) -> None:
        self.turn_started_at = None
        self._tools.clear()
        self._compacting = False
        self._quiet_until = float("-inf")


class WatchedProcess(Protocol):
    """What the monitor needs of a session's process."""

    @property
    def identity(self) -> ProcessIdentity | None:
        """Which process it is, None before it is connected."""


class WatchedState(Protocol):
    """What the monitor needs of a session's state."""

    memory_mb: float | None

    @property
    def status(self) -> SessionStatus:
        """Only "active" and "idle" sessions are judged."""

    @property
    def is_query_active(self) -> bool:
        """Whether a turn is running."""

    @property
    def waiting_count(self) -> int:
        """How many requests wait for a person."""


class Watched(Protocol):
    """What the monitor needs of a session."""

    pulse: Pulse

    @property
    def session_id(self) -> str:
        """The session's id."""

    @property
    def state(self) -> WatchedState:
        """The session's state."""

    @property
    def agent(self) -> WatchedProcess | None:
        """The process that serves the session at present."""

"""Carries out what the monitor has decided about a session."""

import structlog

from claude_pattern import errors, timeouts
from claude_pattern.events import SessionUpdated, SessionWarning
from claude_pattern.process import limits
from claude_pattern.process.limits import Decision, Limits
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session

log = structlog.get_logger(__name__)

MEMORY = "Session restarted for performance. Conversation preserved."
_MEMORY_FAILURE = errors.Explanation(f"{MEMORY} You can retry.", "retry", "memory_restart")


class Enforcer:
    """The actor of the monitor, on the manager's sessions."""

    def __init__(self, manager: SessionManager, bounds: Limits) -> None:
        self._manager = manager
        self._bounds = bounds

    async def ping(self, session: Session) -> bool:
        """Whether the session's process answers; a session without one has nobody to ask."""
        return session.agent is None or await session.agent.ping()

    async def carry_out(self, session: Session, decision: Decision) -> None:
        """Do what has been decided; nothing when the session has ended meanwhile."""
        if session.ended:
            return
        log.info("limit_reached", session_id=session.session_id, decision=repr(decision))
        match decision:
            case limits.WarnDuration():
                self._warn(session, decision.remaining_s)
            case limits.EndDuration():
                await self._end_duration(session, grace=decision.grace)
            case limits.GoIdle():
                session.emit(SessionUpdated(status="idle"))
            case limits.EndIdle():
                message = (
                    f"Session ended after {span(self._bounds.idle_s)} without activity. The next message resumes it."
                )
                await self._manager.end(session, "idle_timeout", message)
            case limits.RestartForMemory():
                await self._manager.restart(session, "memory_limit", MEMORY, explanation=_MEMORY_FAILURE)
            case limits.KillForMemory():
                await self._manager.restart(session, "memory_limit", MEMORY, kill=True, explanation=_MEMORY_FAILURE)
            case limits.Hung():
                await self._manager.replace_deaf(session)
            case limits.Stalled():
                await self._stalled(session, decision.silent_s)

    @property
    def _limit(self) -> str:
        return span(self._bounds.duration_s).replace(" ", "-").removesuffix("s")

    def _warn(self, session: Session, remaining_s: float) -> None:
        message = f"This session ends in {span(remaining_s)} ({self._limit} limit)."
        session.emit(SessionWarning(reason="duration_limit", remaining_seconds=round(remaining_s), message=message))

    async def _end_duration(self, session: Session, *, grace: bool) -> None:
        if grace:
            session.drain()
            self._warn(session, self._bounds.duration_grace_s)
        else:
            await self._manager.end(session, "duration_limit", f"Session ended ({self._limit} limit reached).")

    async def _stalled(self, session: Session, silent_s: float) -> None:
        if silent_s >= timeouts.STALLED:
            await session.stop(errors.api_failure(None))
            return
        message = (
            f"The AI service has said nothing for {span(silent_s)}. Still waiting; you can stop the answer and retry."
        )
        session.emit(SessionWarning(reason="stalled", message=message))


def span(seconds: float) -> str:
    """A length of time in words: "4 hours", "30 minutes", "15 seconds"."""
    for unit, size in (("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size and (seconds % size == 0 or unit == "second" or seconds >= 10 * size):
            count = round(seconds / size)
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return "1 second"

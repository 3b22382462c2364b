"""Keeps the record of each session up to date with its state, and says what is known of sessions, live or ended."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_pattern import errors, events, tasks
from claude_pattern.events import TURN_END, AnySessionEvent, SessionSummary
from claude_pattern.process.agent import AgentProcess
from claude_pattern.sessions.records import Records, SessionRecord, summary
from claude_pattern.sessions.state import SessionState, iso

_TELLING = (events.TurnStarted, events.SessionUpdated, *TURN_END)
"""After these events the record says something else."""


class Ledger:
    """The records behind the live sessions; `working_dir` is where their agents work."""

    def __init__(self, records: Records, working_dir: Path) -> None:
        self._records = records
        self._working_dir = str(working_dir)
        self._unsaved: dict[str, SessionState] = {}
        self._saver: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ write

    async def begin(self, state: SessionState, agent: AgentProcess) -> None:
        """Record that `agent` serves the session, with the marks by which its process is found after a crash."""
        identity = agent.identity
        await self._records.save(
            SessionRecord(
                session_id=state.session_id,
                user_id=state.user_id,
                status="active",
                created_at=iso(state.created_at),
                last_active_at=iso(state.last_active_at),
                subprocess_pid=agent.pid,
                model=state.model,
                permission_mode=state.permission_mode,
                working_dir=self._working_dir,
                parent_session_id=state.parent_session_id,
                process_start_ticks=identity.start_ticks if identity else None,
                process_boot_id=identity.boot_id if identity else None,
                process_marker=identity.marker if identity else None,
            )
        )

    def note(self, state: SessionState, event: AnySessionEvent) -> None:
        """Take in an event; what it changes is written soon, several changes at once."""
        if not isinstance(event, _TELLING):
            return
        self._unsaved[state.session_id] = state
        if self._saver is None or self._saver.done():
            self._saver = tasks.spawn(self._save_all(), name="save-sessions")

    async def end(self, state: SessionState, reason: str) -> None:
        """Record that the session has ended and that its process is gone."""
        await self._save(state)
        await self._records.mark_terminated(state.session_id, reason)
        await self._records.clear_process(state.session_id)

    async def rename(self, session_id: str, title: str) -> None:
        """Record a title at once, also of a session that has ended."""
        await self._records.update_activity(session_id, title=title)

    async def saved(self) -> None:
        """Wait until everything that was noted has been written."""
        while self._saver is not None and not self._saver.done():
            await asyncio.wait([self._saver])

    async def _save_all(self) -> None:
        while self._unsaved:
            _, state = self._unsaved.popitem()
            await self._save(state)

    async def _save(self, state: SessionState) -> None:
        self._unsaved.pop(state.session_id, None)
        await self._records.update_activity(
            state.session_id,
            status=state.status,
            last_active_at=state.last_active_at,
            message_count=state.message_count,
            total_cost_usd=state.total_cost_usd,
            title=state.title,
            model=state.model,
            permission_mode=state.permission_mode,
        )

    # ------------------------------------------------------------ read

    async def find(self, session_id: str) -> SessionRecord:
        """The record of a session.

        Raises:
            SessionNotFound: nobody has ever seen this id.
        """
        record = await self._records.get(session_id)
        if record is None:
            raise errors.SessionNotFound
        return record

    async def recent_ended(self, limit: int) -> list[SessionSummary]:
        """The ended sessions with the newest activity, at most `limit` of them."""
        return [summary(record) for record in await self._records.list(status="terminated", limit=limit)]

    async def search(
        self, live: Mapping[str, SessionState], *, ended_only: bool, limit: int | None, offset: int
    ) -> list[SessionSummary]:
        """Live and ended sessions, the newest activity first: at most `limit` (None: all) after the first `offset`."""
        records = await self._records.list(status="terminated" if ended_only else None, limit=limit, offset=offset)
        if ended_only:
            return [summary(record) for record in records if record.session_id not in live]
        return [
            live[record.session_id].summary() if record.session_id in live else summary(record) for record in records
        ]


def of_live(state: SessionState) -> dict[str, Any]:
    """Everything that administrators may know about a live session."""
    return {
        **state.summary().model_dump(),
        "user_id": state.user_id,
        "parent_session_id": state.parent_session_id,
        "source": state.source,
        "model": state.model,
        "permission_mode": state.permission_mode,
        "is_query_active": state.is_query_active,
        "activity": state.activity,
        "waiting_for_answers": state.waiting_count,
        "queued_messages": state.queued_count,
        "subprocess_pid": state.pid,
        "terminated_reason": None,
    }


def of_ended(record: SessionRecord) -> dict[str, Any]:
    """The same about one that has ended."""
    return {
        **summary(record).model_dump(),
        "user_id": record.user_id,
        "parent_session_id": record.parent_session_id,
        "source": None,
        "model": record.model,
        "permission_mode": record.permission_mode,
        "is_query_active": False,
        "activity": "",
        "waiting_for_answers": 0,
        "queued_messages": 0,
        "subprocess_pid": None,
        "terminated_reason": record.terminated_reason,
    }

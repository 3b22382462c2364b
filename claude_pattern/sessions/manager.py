"""All live sessions: create, find, query, interrupt, end.

Pages, REST and WebSocket talk to the manager, its sessions and their events alone, never to a process or client.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4
from weakref import WeakValueDictionary

import structlog

from claude_pattern import errors, events, timeouts
from claude_pattern.events import TURN_END, AnySessionEvent, SessionSummary
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.process.agent import AgentLauncher, AgentProcess
from claude_pattern.sessions import fork as forks
from claude_pattern.sessions import ledger
from claude_pattern.sessions.journal import Entry, Journals, coalesced
from claude_pattern.sessions.ledger import Ledger
from claude_pattern.sessions.pool import PreWarmPool
from claude_pattern.sessions.records import Records, SessionRecord
from claude_pattern.sessions.session import Session
from claude_pattern.sessions.state import SessionState, one_line

log = structlog.get_logger(__name__)

COLD_START_S = 1.0
"""What a person is told about a start without the pool; connecting takes 0.3 to 0.8 s on an idle machine."""

MAX_TITLE_CHARS = 200

RESTARTING = "The agent process ended unexpectedly and is being restarted. Conversation preserved."
DEAF = "The agent process does not answer any more and is being restarted. Conversation preserved."
_DEAF_FAILURE = errors.Explanation("The agent process stopped answering. You can retry.", "retry", "process_hung")
NOT_RESTORED = "Previous session could not be restored"

ENDED = {
    "user_requested": "Session ended.",
    "server_shutdown": "The server is shutting down. The session can be resumed when it is back.",
    "process_died": "The agent process ended and could not be restarted.",
}


Summaries: TypeAlias = list[SessionSummary]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server takes new sessions; `reason` is None when it does."""

    reason: str | None
    pool_depth: int
    active_sessions: int
    max_sessions: int


class SessionManager:
    """The live sessions of one server process."""

    def __init__(
        self,
        *,
        launcher: AgentLauncher,
        pool: PreWarmPool,
        extensions: ExtensionLoader,
        records: Records,
        journals: Journals,
        max_sessions: int,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.closing = False
        self._launcher = launcher
        self._pool = pool
        self._extensions = extensions
        self.ledger = Ledger(records, launcher.options.working_dir)
        self._journals = journals
        # Ended sessions that somebody still looks at: they come back as the same object, with everybody attached.
        self._ended: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._max_sessions = max_sessions
        self._reserved = 0
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<SessionManager {len(self.sessions)}/{self._max_sessions} sessions | {self._pool!r}>"

    # ------------------------------------------------------------ create and find

    async def create(self, *, user_id: str = "default", on_cold: Callable[[float], None] | None = None) -> Session:
        """Open a session on a ready process, else on a new one after `on_cold(estimated_seconds)`.

        Raises:
            CapacityExceeded: MAX_SESSIONS sessions are live or being opened.
            ServerShuttingDown: no new work is taken.
            ProcessFailed: the process did not start.
        """
        with self._place():
            return await self._create(user_id, on_cold)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the MAX_SESSIONS places while a session is opened.

        Taken before the first await: simultaneous creates count each other.
        """
        if self.closing:
            raise errors.ServerShuttingDown
        if len(self.sessions) + self._reserved >= self._max_sessions:
            raise errors.CapacityExceeded(self._max_sessions)
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1
            self._pool.refill()

    async def _create(self, user_id: str, on_cold: Callable[[float], None] | None) -> Session:
        extensions = await self._extensions.load()
        agent = self._pool.take(self._launcher.options.fingerprint(extensions))
        source: events.Source = "pre-warmed"
        if agent is None:
            source = "cold-start"
            if on_cold is not None:
                on_cold(COLD_START_S)
            agent = await self._pool.cold_start(lambda: self._launcher.start(str(uuid4()), extensions))
        now = datetime.now(UTC)
        settings = self._launcher.options.settings
        state = SessionState(
            agent.session_id,
            now,
            now,
            source=source,
            user_id=user_id,
            model=settings.anthropic_model,
            permission_mode=settings.permission_mode,
        )
        session = self._session(state)
        try:
            await session.attach(agent)
            await self.ledger.begin(state, agent)
        except BaseException:
            await agent.close()
            raise
        if self.closing:
            await agent.close()
            raise errors.ServerShuttingDown
        self.sessions[session.session_id] = session
        session.emit(events.SessionUpdated(status="active", source=source))
        log.info("session_created", session_id=session.session_id, source=source, pid=agent.pid)
        self._tell()
        return session

    def _session(self, state: SessionState, log: Iterable[AnySessionEvent] = ()) -> Session:
        journal = self._journals.of(state.session_id)
        session = Session(
            state, journal=journal, on_lost=self._lost, on_deaf=self.replace_deaf, wake=self._wake, log=log
        )
        state.listen(lambda event: self._on_event(state, event))
        return session

    def get(self, session_id: str) -> Session:
        """The live session of that id.

        Raises:
            SessionNotFound: there is none.
        """
        try:
            return self.sessions[session_id]
        except KeyError:
            raise errors.SessionNotFound from None

    async def open(self, session_id: str) -> Session:
        """The session of that id, live or ended; an ended one is read from its journal and has no process.

        Raises:
            SessionNotFound: nobody has ever seen this id.
        """
        lock = self._opening.setdefault(session_id, asyncio.Lock())
        async with lock:
            session = self.sessions.get(session_id) or self._ended.get(session_id)
            if session is None:
                session = self._ended[session_id] = await self._read(await self.ledger.find(session_id))
            return session

    async def _read(self, record: SessionRecord) -> Session:
        entries = await asyncio.to_thread(lambda: tuple(self._journals.of(record.session_id).read()))
        state = SessionState(
            record.session_id,
            datetime.fromisoformat(record.created_at),
            datetime.fromisoformat(record.last_active_at),
            status="active",
            source="resumed",
            user_id=record.user_id,
            title=record.title,
            parent_session_id=record.parent_session_id,
            model=record.model,
            permission_mode=record.permission_mode or "default",
            is_resumable=record.is_resumable,
        )
        for entry in coalesced(entries):
            state.apply(entry.event, entry.at)
        session = self._session(state, [entry.event for entry in entries])
        session.recover()
        return session

    async def resume(self, session_id: str) -> Session:
        """Bring an ended session back with its whole conversation; a live one is returned as it is.

        Raises:
            SessionNotResumable: it is unknown, or ended for good.
            CapacityExceeded, ServerShuttingDown, ProcessFailed: it cannot come back now.
        """
        try:
            session = await self.open(session_id)
        except errors.SessionNotFound:
            raise errors.SessionNotResumable from None
        await self._wake(session)
        return session

    async def _wake(self, session: Session) -> None:
        async with session.waking:
            if not session.ended:
                return
            if not session.state.is_resumable:
                raise errors.SessionNotResumable
            with self._place():
                agent = await self._restart(session)
                if agent is None:
                    raise errors.ProcessFailed
                await self._continue(session, agent, source="resumed")
                self.sessions[session.session_id] = session
            log.info("session_resumed", session_id=session.session_id, pid=agent.pid)
            self._tell()
            await session.resumed()

    async def fork(self, session_id: str, *, at_message: str | None = None) -> Session:
        """Open a session that begins with the conversation of this one, live or ended, which stays as it is.

        `at_message` is the id of a user message: the fork ends with the answer to it.

        Raises:
            SessionNotFound, MessageNotFound: there is no such session, or no such message in it.
            QueryInProgress: a turn is running.
            CapacityExceeded, ServerShuttingDown, ProcessFailed: no session can be opened now.
        """
        original = await self.open(session_id)
        if original.state.is_query_active:
            raise errors.QueryInProgress
        with self._place():
            session = await self._branch(original.state, at_message)
            try:
                await self._begin(session)
            except BaseException:
                await asyncio.to_thread(forks.discard, self._journals, self._config_dir, session.session_id)
                raise
        session.emit(events.SessionUpdated(title=forks.title(original.state.title, MAX_TITLE_CHARS)))
        log.info("session_forked", session_id=session.session_id, parent_session_id=session_id)
        self._tell()
        return session

    async def _branch(self, original: SessionState, at_message: str | None) -> Session:
        now, new_id, until = datetime.now(UTC), str(uuid4()), original.seq
        try:
            entries = await asyncio.to_thread(
                forks.write, self._journals, self._config_dir, original, new_id, at_message, until
            )
        except OSError as error:
            log.warning("fork_files_failed", session_id=original.session_id, error=str(error))
            raise errors.ProcessFailed("The files of the fork could not be written to DATA_DIR.") from error
        settings = self._launcher.options.settings
        state = SessionState(
            new_id,
            now,
            now,
            user_id=original.user_id,
            parent_session_id=original.session_id,
            model=settings.anthropic_model,
            permission_mode=settings.permission_mode,
        )
        for entry in coalesced(entries):
            state.apply(entry.event, entry.at)
        state.last_active_at = now  # what was said long ago is no activity of the fork
        return self._session(state, [entry.event for entry in entries])

    async def _begin(self, session: Session) -> None:
        agent = await self._restart(session)
        if agent is None:
            raise errors.ProcessFailed
        try:
            if self.closing:
                raise errors.ServerShuttingDown
            await self._continue(session, agent, source="cold-start")
        except BaseException:
            await agent.close()
            raise
        self.sessions[session.session_id] = session

    @property
    def _config_dir(self) -> Path:
        return self._launcher.options.config_dir

    async def _continue(self, session: Session, agent: AgentProcess, source: events.Source | None = None) -> None:
        """Go on with another process."""
        await session.attach(agent)
        await self.ledger.begin(session.state, agent)
        session.emit(events.SessionUpdated(status="active", source=source))

    async def recent_ended(self, limit: int) -> list[SessionSummary]:
        """The ended sessions with the newest activity, at most `limit` of them."""
        return await self.ledger.recent_ended(limit)

    def list(self) -> list[SessionSummary]:
        """The live sessions, the one with the newest activity first."""
        states = sorted((s.state for s in self.sessions.values()), key=lambda s: s.last_active_at, reverse=True)
        return [state.summary() for state in states]

    async def search(self, *, ended_only: bool = False, limit: int | None = 100, offset: int = 0) -> Summaries:
        """Live and ended sessions, the newest activity first: at most `limit` (None: all) after the first `offset`."""
        live = {session_id: session.state for session_id, session in self.sessions.items()}
        return await self.ledger.search(live, ended_only=ended_only, limit=limit, offset=offset)

    async def rename(self, session_id: str, title: str) -> None:
        """Give a session, live or ended, a title.

        Raises:
            InvalidMessage: nothing is left of the title as one line, or more than MAX_TITLE_CHARS.
            SessionNotFound: nobody has ever seen this id.
        """
        title = one_line(title)
        if not title:
            raise errors.InvalidMessage("Title is empty")
        if len(title) > MAX_TITLE_CHARS:
            raise errors.InvalidMessage(f"Title exceeds {MAX_TITLE_CHARS} character limit")
        session = await self.open(session_id)
        await session.rename(title)
        await self.ledger.rename(session_id, title)
        self._tell()  # a list of ended sessions is read from the records

    async def entries(self, session_id: str) -> tuple[Entry, ...]:
        """Everything that has happened in a session, live or ended, with neighbouring deltas joined.

        Raises:
            SessionNotFound: nobody has ever seen this id.
        """
        await self.open(session_id)
        return await asyncio.to_thread(lambda: tuple(coalesced(self._journals.of(session_id).read())))

    async def details(self, session_id: str) -> dict[str, Any]:
        """Everything that administrators may know about a session, live or ended.

        Raises:
            SessionNotFound: nobody has ever seen this id.
        """
        if (session := self.sessions.get(session_id)) is not None:
            return ledger.of_live(session.state)
        return ledger.of_ended(await self.ledger.find(session_id))

    # ------------------------------------------------------------ use

    async def query(self, session_id: str, text: str) -> AsyncGenerator[AnySessionEvent, None]:
        """Send a message and yield the session's events until the turn has ended.

        Closing the generator early leaves the turn running; `interrupt` stops it.

        Raises:
            SessionNotFound: the session is not live.
            QueryInProgress: another turn is running.
            InvalidMessage: the text is empty or too long.
        """
        session = self.get(session_id)
        async with session.subscribe(session.state.seq) as subscription:
            await session.send(text)
            async for event in subscription:
                yield event
                if isinstance(event, TURN_END):
                    return

    async def interrupt(self, session_id: str) -> bool:
        """Stop the running turn of a session; False when there is none.

        Raises:
            SessionNotFound: the session is not live.
        """
        return await self.get(session_id).interrupt()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever the set of live sessions changes; the returned function ends that."""
        self._listeners.append(callback)

        def stop() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return stop

    def readiness(self) -> Readiness:
        """Whether a new session could be opened now, and why not."""
        active = len(self.sessions) + self._reserved
        reason = None
        if self.closing:
            reason = "shutting_down"
        elif active >= self._max_sessions:
            reason = "at_capacity"
        elif self._pool.size and not self._pool.depth:
            reason = "pool_empty"
        return Readiness(reason, self._pool.depth, active, self._max_sessions)

    # ------------------------------------------------------------ end

    async def destroy(self, session_id: str, reason: str = "user_requested") -> None:
        """End a session and its process.

        Raises:
            SessionNotFound: the session is not live.
        """
        session = self.get(session_id)
        await self._end(session, reason)

    async def end(self, session: Session, reason: str, message: str) -> None:
        """End a session for a reason of the platform's own; the next message brings it back."""
        await self._end(session, reason, message)

    async def _end(self, session: Session, reason: str, message: str | None = None) -> None:
        url = f"/chat?resume={session.session_id}" if session.state.is_resumable else None
        await session.close(reason, message or ENDED[reason], resume_url=url)
        if self.sessions.pop(session.session_id, None) is None:
            return
        self._ended[session.session_id] = session
        await self.ledger.end(session.state, reason)
        log.info("session_ended", session_id=session.session_id, reason=reason)
        self._tell()

    async def shutdown(self, grace_s: float = timeouts.QUERY_GRACE) -> None:
        """Take no new work, give queries in flight `grace_s` seconds, then end every session and the pool."""
        self.closing = True
        self._tell()
        for session in self.sessions.values():
            session.drain()
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(session.settled() for session in self.sessions.values()))
        except TimeoutError:
            log.warning("queries_cut_at_shutdown", grace_s=grace_s)
        await asyncio.gather(*(self._end(session, "server_shutdown") for session in tuple(self.sessions.values())))
        await self._pool.close()
        await self.ledger.saved()

    # ------------------------------------------------------------ a process that is lost

    async def _lost(self, session: Session) -> None:
        await self.restart(session, "process_died", RESTARTING)

    async def replace_deaf(self, session: Session) -> None:
        """Replace a process that does not answer any more."""
        await self.restart(session, "process_hung", DEAF, kill=True, explanation=_DEAF_FAILURE)

    async def restart(
        self,
        session: Session,
        reason: str,
        message: str,
        *,
        kill: bool = False,
        explanation: errors.Explanation | None = None,
    ) -> None:
        """Give a session another process that continues its transcript; the old one is ended first.

        With `kill` by force. A turn that was running fails with `explanation`.
        """
        if session.ended or session.state.status == "restarting":
            return
        if self.closing or not session.may_restart():
            await self._end(session, "process_died")
            return
        session.emit(events.SessionRestarting(reason=reason, message=message))
        explanation = explanation or errors.process_failure(None)
        if not kill:
            await session.stop(explanation)
        if (old := session.agent) is not None:
            await old.close(kill=kill)
        session.fail(explanation)
        await self._start_again(session, reason)

    async def _start_again(self, session: Session, reason: str) -> None:
        agent = await self._restart(session)
        if agent is None or session.ended:
            if agent is not None:
                await agent.close()
            await self._end(session, "process_died")
            return
        await self._continue(session, agent)
        log.info("session_restarted", session_id=session.session_id, pid=agent.pid, reason=reason)
        await session.resumed()

    async def _restart(self, session: Session) -> AgentProcess | None:
        """A process with the session's transcript; without it when that cannot be read; None when none starts."""
        extensions = await self._extensions.load()
        session_id = session.session_id
        if session.state.message_count:
            try:
                return await self._launcher.start(session_id, extensions, resume=True)
            except errors.ProcessFailed:
                log.warning("resume_failed", session_id=session_id)
                session.emit(events.SessionWarning(reason="not_restored", message=NOT_RESTORED))
        try:
            return await self._launcher.start(session_id, extensions)
        except errors.ProcessFailed:
            return None

    # ------------------------------------------------------------ who wants to know

    def _on_event(self, state: SessionState, event: AnySessionEvent) -> None:
        self.ledger.note(state, event)
        if isinstance(event, events.TurnStarted | events.SessionUpdated):
            self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

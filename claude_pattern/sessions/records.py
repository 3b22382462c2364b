"""What is known about every session, live or ended, in a database that outlives the server.

Each operation is one statement in one transaction, so simultaneous ones lose nothing of each other; it runs to its end
also when its caller is cancelled. A live session has one owner, who writes whole numbers and not differences:
counters only grow and an older state never replaces a newer one, in whatever order the writes arrive.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from sqlalchemy import ColumnElement, CursorResult, UpdateBase, case, literal, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from claude_pattern import tasks, timeouts
from claude_pattern.errors import SessionNotFound, StartError
from claude_pattern.events import SessionStatus, SessionSummary
from claude_pattern.logs import scrubber
from claude_pattern.process.identity import ProcessIdentity
from claude_pattern.sessions import database
from claude_pattern.sessions.record import SessionRecord, utc

__all__ = ["ACTIVE", "Records", "SessionRecord", "summary", "utc"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

ACTIVE: Final[tuple[SessionStatus, ...]] = ("creating", "active", "idle", "restarting")
"""Every status but `terminated`."""

NO_PROCESS: Final[dict[str, None]] = dict.fromkeys(
    ("subprocess_pid", "process_start_ticks", "process_boot_id", "process_marker")
)


SessionRecords: TypeAlias = list[SessionRecord]
Rows: TypeAlias = list[Any]


class Records:
    """The sessions' table in the database of DATABASE_URL.

    Resource handling: `initialize` opens it, `close` waits for what is under way and closes it; both may be called
    again. Every operation raises StartError while it is not open, and SQLAlchemy's errors when the database fails.

    Raises:
        ConfigurationError: the address cannot be used; the sentence holds no password.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database.address(database_url)
        self._engine: AsyncEngine | None = None
        self._file: tuple[int, int] | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        # SQLite takes one writer at a time. Ours wait in line here; its own waiting is polling, and not fair. No
        # time-out: each of those in front has its own, and giving up would lose an update.
        self._line: contextlib.AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if database.is_sqlite(self._url) else contextlib.nullcontext()
        )

    # ------------------------------------------------------------ open and close

    async def initialize(self) -> None:
        """Create or migrate the database and open it.

        Raises:
            StartError: it cannot be used; one sentence says why.
        """
        if self._engine is not None:
            return
        await asyncio.to_thread(database.prepare, self._url)
        self._file = await asyncio.to_thread(self._look_at_file)
        self._engine = database.engine(self._url, pool_timeout=timeouts.DATABASE_BUSY)

    async def close(self) -> None:
        """Wait for what is under way, then close the database."""
        if self._engine is None:
            return
        engine, self._engine = self._engine, None
        if self._under_way:
            await asyncio.wait(self._under_way)
        await engine.dispose()

    async def ping(self) -> None:
        """Whether the database answers, for readiness.

        Raises:
            StartError: it is not open, or its file was deleted or replaced. SQLite does not notice that: it goes on
                writing into a file that nobody will ever find.
            SQLAlchemyError: it does not answer.
        """
        self._opened()
        if await asyncio.to_thread(self._look_at_file) != self._file:
            raise StartError("The database file was deleted or replaced while the server runs. Restart the server.")
        await self._read(select(literal(1)).select_from(SessionRecord).limit(1))

    def _look_at_file(self) -> tuple[int, int] | None:
        if not database.is_sqlite(self._url):
            return None
        try:
            found = database.sqlite_path(self._url).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    # ------------------------------------------------------------ write

    async def save(self, record: SessionRecord) -> None:
        """Insert a session; one that is there already gets those fields that have been set on `record`.

        A status other than `terminated` takes the reason of an earlier end away: this is how a session comes back.
        """
        values = {name: getattr(record, name) for name in SessionRecord.model_fields}
        changes = {name: values[name] for name in record.model_fields_set - {"session_id"}}
        if changes.get("status") in ACTIVE:
            changes["terminated_reason"] = None
        insert = sqlite.insert if database.is_sqlite(self._url) else postgresql.insert
        statement: Any = insert(SessionRecord).values(**values)
        if changes:
            statement = statement.on_conflict_do_update(index_elements=["session_id"], set_=changes)
        else:
            statement = statement.on_conflict_do_nothing()
        await self._write(statement)

    async def update_activity(
        self,
        session_id: str,
        *,
        last_active_at: datetime | str | None = None,
        status: SessionStatus | None = None,
        message_count: int | None = None,
        total_cost_usd: float | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        title: str | None = None,
        model: str | None = None,
        permission_mode: str | None = None,
    ) -> None:
        """Note how a live session stands; None leaves a column as it is.

        The counters are the session's totals, and the larger one stays. The other facts are those of `last_active_at`
        (without it: of now), and an older call never overwrites a newer one. A terminated session stays terminated.

        Raises:
            SessionNotFound: there is no such session.
        """
        totals = {
            "message_count": message_count,
            "total_cost_usd": total_cost_usd,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
        }
        facts = {"status": status, "title": title, "model": model, "permission_mode": permission_mode}
        at = None if last_active_at is None else utc(last_active_at)
        await self._change(session_id, _activity(at, totals, facts))

    async def set_process(self, session_id: str, identity: ProcessIdentity) -> None:
        """Record the process of a session, before it is used.

        Raises:
            SessionNotFound: there is no such session.
        """
        marks = {
            "subprocess_pid": identity.pid,
            "process_start_ticks": identity.start_ticks,
            "process_boot_id": identity.boot_id,
            "process_marker": identity.marker,
        }
        await self._change(session_id, marks)

    async def clear_process(self, session_id: str) -> None:
        """Forget the process of a session, once nothing of it is left.

        Raises:
            SessionNotFound: there is no such session.
        """
        await self._change(session_id, NO_PROCESS)

    async def end_all(self, reason: str) -> None:
        """Note that every live session has ended and forget every process, in one step: for a start after the sweep."""
        status, because = col(SessionRecord.status), col(SessionRecord.terminated_reason)
        live = status.in_(ACTIVE)
        ended = {
            "status": case((live, "terminated"), else_=status),
            "terminated_reason": case((live, reason), else_=because),
        }
        concerned = live | col(SessionRecord.process_marker).is_not(None)
        await self._write(update(SessionRecord).where(concerned).values({**NO_PROCESS, **ended}))

    async def mark_terminated(self, session_id: str, reason: str, is_resumable: bool | None = None) -> None:
        """Note why a session has ended; None leaves it open whether it can be resumed.

        Raises:
            SessionNotFound: there is no such session.
        """
        values: dict[str, Any] = {"status": "terminated", "terminated_reason": reason}
        if is_resumable is not None:
            values["is_resumable"] = is_resumable
        await self._change(session_id, values)

    async def _change(self, session_id: str, values: dict[str, Any]) -> None:
        # An update that changes nothing still tells whether the session is there.
        values = values or {"session_id": session_id}
        if not await self._write(
            update(SessionRecord).where(col(SessionRecord.session_id) == session_id).values(values)
        ):
            raise SessionNotFound

    async def _write(self, statement: UpdateBase) -> int:
        """Run `statement` in a transaction of its own; how many rows it concerned."""
        return await self._detached(self._commit(self._opened(), statement), name="write-session")

    async def _commit(self, engine: AsyncEngine, statement: UpdateBase) -> int:
        async with self._line, engine.execution_options(**{database.WRITES: True}).begin() as connection:
            result: CursorResult[Any] = await connection.execute(statement)
            return result.rowcount

    async def _detached(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """Run `work` in a task of its own: a cancelled one would leave the write lock or its connection behind."""
        task = tasks.spawn(_outcome(work), name=name)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report_failure)
            raise
        if isinstance(outcome, SQLAlchemyError):
            raise outcome
        return outcome

    # ------------------------------------------------------------ read

    async def get(self, session_id: str) -> SessionRecord | None:
        """The session of that id, None if there is none."""
        found = await self._read(select(SessionRecord).where(col(SessionRecord.session_id) == session_id))
        return found[0] if found else None

    async def processes(self) -> tuple[ProcessIdentity, ...]:
        """Every process that is recorded, for the sweep at start; `session_id` of each tells whose it was."""
        record = SessionRecord
        columns: Any = (
            record.subprocess_pid,
            record.process_start_ticks,
            record.process_boot_id,
            record.process_marker,
        )
        statement = select(*columns).where(*(column.is_not(None) for column in columns))
        return tuple(ProcessIdentity(*row) for row in await self._read(statement))

    async def list_active(self) -> SessionRecords:
        """Every session that has not ended, the newest activity first."""
        return await self.list(status=ACTIVE, limit=None)

    async def list(
        self,
        *,
        status: SessionStatus | Iterable[SessionStatus] | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> SessionRecords:
        """Sessions, the newest activity first: at most `limit` of them (None: all) after the first `offset`."""
        record = SessionRecord
        statement = select(record).order_by(col(record.last_active_at).desc(), col(record.session_id))
        if status is not None:
            wanted = [status] if isinstance(status, str) else list(status)
            statement = statement.where(col(record.status).in_(wanted))
        return await self._read(statement.limit(limit).offset(offset))

    async def _read(self, statement: Any) -> Rows:
        return await self._detached(self._fetch(self._opened(), statement), name="read-sessions")

    async def _fetch(self, engine: AsyncEngine, statement: Any) -> Rows:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            return [*await session.exec(statement)]

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise StartError("The database is not open.")
        return self._engine


def summary(record: SessionRecord) -> SessionSummary:
    """A recorded session as it stands in lists."""
    return SessionSummary.model_validate({name: getattr(record, name) for name in SessionSummary.model_fields})


async def _outcome(work: Coroutine[Any, Any, T]) -> T | SQLAlchemyError:
    """The result or the failure, which belongs to the caller: only what nobody waits for goes to the log."""
    try:
        return await work
    except SQLAlchemyError as error:
        return error


def _report_failure(task: asyncio.Task[Any]) -> None:
    if isinstance(error := task.result(), SQLAlchemyError):
        log.error("database_failed", task=task.get_name(), error=scrubber.text(str(error)))


def _activity(at: str | None, totals: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The new values of `update_activity`, each computed by the database from what it holds at that moment."""
    record = SessionRecord
    values: dict[str, ColumnElement[Any]] = {}
    for name, total in totals.items():
        if total is not None:
            column = col(getattr(record, name))
            values[name] = case((column < total, total), else_=column)
    newer = true() if at is None else col(record.last_active_at) <= at
    for name, fact in facts.items():
        if fact is not None:
            column = col(getattr(record, name))
            may = newer & (col(record.status) != "terminated") if name == "status" else newer
            values[name] = case((may, fact), else_=column)
    if at is not None:
        column = col(record.last_active_at)
        values["last_active_at"] = case((column < at, at), else_=column)
    return values

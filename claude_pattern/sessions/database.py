"""The database behind the records: its address, its engine, its schema, and what can be wrong with each.

Every mistake of the operator ends in one sentence that holds no password.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from claude_pattern import timeouts
from claude_pattern.errors import ConfigurationError, StartError
from claude_pattern.logs import scrubber

log = structlog.get_logger(__name__)

WRITES: Final = "claude_pattern_writes"
"""Execution option of connections that write."""

LOCKED_PAUSE_S: Final = 0.02
MIGRATION_LOCK: Final = 0x636C617564650001
"""Number of the advisory lock under which Postgres is migrated: only one server at a time."""

ACCEPTED = "accepted: sqlite:///path/to/file.db or postgresql://user:password@host/database"
SSL_OPTION: Final = "sslmode"
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_SQLITE_PROBLEMS = {
    "SQLITE_NOTADB": "is a file, but not a SQLite database",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_FULL": "cannot be written: the disk is full",
    "SQLITE_READONLY": "cannot be written",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_BUSY": "is held by another program",
}


def address(database_url: str) -> URL:
    """The setting DATABASE_URL with the async driver filled in.

    Raises:
        ConfigurationError: it is not a database address, or not one that can be used here.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"DATABASE_URL: this is not a database address; {ACCEPTED}") from None
    if url.drivername not in _DRIVERS:
        raise ConfigurationError(f"DATABASE_URL: found the database {url.drivername!r}; {ACCEPTED}")
    url = url.set(drivername=_DRIVERS[url.drivername])
    return _sqlite_address(url) if is_sqlite(url) else _postgres_address(url)


def _sqlite_address(url: URL) -> URL:
    if url.query or not url.database or url.database.startswith((":memory:", "file:")):
        raise ConfigurationError("DATABASE_URL: a SQLite address names a file and has no options; " + ACCEPTED)
    if url.host or url.username:
        raise ConfigurationError("DATABASE_URL: a SQLite address has three slashes, four for an absolute path")
    return url.set(database=str(Path(url.database).absolute()))


def _postgres_address(url: URL) -> URL:
    if find_spec("asyncpg") is None:
        raise ConfigurationError(
            "DATABASE_URL: the driver for Postgres is missing; install it with: pip install 'claude-pattern[postgres]'"
        )
    mode = url.query.get(SSL_OPTION, "disable")
    if set(url.query) - {SSL_OPTION} or mode not in SSL_MODES:
        raise ConfigurationError(
            f"DATABASE_URL: the only option of a Postgres address is sslmode={'|'.join(SSL_MODES)}"
        )
    return url


def is_sqlite(url: URL) -> bool:
    """Whether the database is a SQLite file."""
    return url.get_backend_name() == "sqlite"


def sqlite_path(url: URL) -> Path:
    """The file of a SQLite address."""
    return Path(url.database or "")


def engine(url: URL, **options: Any) -> AsyncEngine:
    """An engine for `url`; nothing is opened yet.

    On SQLite a connection with the execution option `WRITES` takes the write lock at once (BEGIN IMMEDIATE): one that
    reads first and then wants to write fails, or overwrites what others wrote in between.
    """
    if not is_sqlite(url):
        plain, arguments = postgres_arguments(url)
        return create_async_engine(plain, hide_parameters=True, pool_pre_ping=True, connect_args=arguments, **options)
    # isolation_level None: SQLAlchemy begins transactions itself, by the listener below
    arguments = {"timeout": timeouts.DATABASE_BUSY, "isolation_level": None}
    # mode=rw: a connection must not put a new, empty file in the place of one that was deleted
    file = url.set(database=f"file:{quote(str(sqlite_path(url)))}", query={"mode": "rw", "uri": "true"})
    made = create_async_engine(file, hide_parameters=True, connect_args=arguments, **options)
    event.listen(made.sync_engine, "connect", _set_up_connection)
    event.listen(made.sync_engine, "begin", _begin)
    return made


def postgres_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """The address without its options, and the options under the names that the driver has for them."""
    arguments: dict[str, Any] = {"timeout": timeouts.DATABASE_BUSY, "command_timeout": timeouts.DATABASE_BUSY}
    if mode := url.query.get(SSL_OPTION):
        arguments["ssl"] = mode
    return url.difference_update_query([SSL_OPTION]), arguments


def _set_up_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Acknowledged user messages survive a power cut too; WAL is a property of the file and is set once, by `prepare`.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")


def prepare(url: URL) -> None:
    """Make the database ready: the file and its folder, WAL, and the newest schema. Blocks; call it in a thread.

    Safe when several processes do it at once, and when it has been done before.

    Raises:
        StartError: the database cannot be used; the sentence says why.
    """
    if is_sqlite(url):
        _prepare_file(sqlite_path(url))
    with _readable(url):
        asyncio.run(_migrate(url))


def _prepare_file(path: Path) -> None:
    try:
        _make_folders(path.parent)
        if path.is_dir():
            raise StartError(f"DATABASE_URL: {path} is a folder, not a file.")
        # Before SQLite does it with everybody's read permission; its other files get the same mode as this one.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StartError(f"DATABASE_URL: {path} cannot be written ({error.strerror}).") from None
    deadline = time.monotonic() + timeouts.DATABASE_BUSY
    while not _switch_to_wal(path, last=time.monotonic() >= deadline):
        time.sleep(LOCKED_PAUSE_S)


def _make_folders(folder: Path) -> None:
    """Make the missing folders of the path, for this user only."""
    if not folder.exists():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _switch_to_wal(path: Path, *, last: bool) -> bool:
    """Whether it worked; SQLite does not wait when two processes switch at once, so the caller repeats it."""
    try:
        with closing(sqlite3.connect(path, timeout=timeouts.DATABASE_BUSY, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY") and not last:
            return False
        raise _sqlite_problem(path, error) from None
    return True


def _sqlite_problem(path: Path, error: sqlite3.Error) -> StartError:
    name = getattr(error, "sqlite_errorname", "")
    what = next((words for start, words in _SQLITE_PROBLEMS.items() if name.startswith(start)), "cannot be used")
    return StartError(f"DATABASE_URL: {path} {what}.")


async def _migrate(url: URL) -> None:
    made = engine(url, poolclass=NullPool).execution_options(**{WRITES: True})
    try:
        # One transaction for the look at the schema and every step: whoever comes second finds nothing to do.
        async with made.begin() as connection:
            if not is_sqlite(url):
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await made.dispose()


def _upgrade(connection: Connection) -> None:
    # Needed once in a server's life and 0.2 s to load: not for those who only import the records.
    from alembic import command, config, util  # noqa: PLC0415

    settings = config.Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "claude_pattern.sessions:migrations")
    try:
        command.upgrade(settings, "head")
    except util.CommandError as error:
        log.warning("migration_failed", error=str(error))
        raise StartError("DATABASE_URL: the database was made by a newer version of claude-pattern.") from error


@contextmanager
def _readable(url: URL) -> Iterator[None]:
    """Turn what the database layer raises into one sentence.

    The log gets the error's text and no traceback: its frames hold the password as an argument.
    """
    where = str(sqlite_path(url)) if is_sqlite(url) else f"the database server {url.host or 'localhost'}"
    try:
        yield
    except OSError as error:
        log.warning("database_unreachable", error=scrubber.text(str(error)))
        raise StartError(f"DATABASE_URL: {where} cannot be reached.") from None
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else None
        reason = scrubber.text(str(cause or error)).partition("\n")[0]
        log.warning("database_refused", error=reason)
        if isinstance(cause, sqlite3.Error):
            raise _sqlite_problem(sqlite_path(url), cause) from None
        raise StartError(f"DATABASE_URL: {where} refused: {reason}.") from None

"""The sessions' table, on a real SQLite file."""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError, StatementError
from sqlmodel import SQLModel

from claude_pattern import tasks, timeouts
from claude_pattern.errors import ConfigurationError, SessionNotFound, StartError
from claude_pattern.process.identity import ProcessIdentity
from claude_pattern.sessions import database
from claude_pattern.sessions.records import Records, SessionRecord, utc

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
IDENTITY = ProcessIdentity(4711, 2**40, "boot", "instance.one.1-2-3")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions.db"


@pytest.fixture
async def records(path: Path) -> AsyncIterator[Records]:
    records = Records(f"sqlite:///{path}")
    await records.initialize()
    yield records
    await records.close()


async def saved(records: Records, session_id: str = "one", **fields: Any) -> SessionRecord:
    await records.save(SessionRecord(session_id=session_id, **fields))
    return await found(records, session_id)


async def found(records: Records, session_id: str = "one") -> SessionRecord:
    record = await records.get(session_id)
    assert record is not None
    return record


class TestAddress:
    @pytest.mark.parametrize(
        ("given", "driver"),
        [
            ("sqlite:///data/sessions.db", "sqlite+aiosqlite"),
            ("sqlite+aiosqlite:////var/sessions.db", "sqlite+aiosqlite"),
            ("postgres://u:p@host/db", "postgresql+asyncpg"),
            ("postgresql://u:p@host/db?sslmode=require", "postgresql+asyncpg"),
            ("postgresql+asyncpg://u:p@host/db", "postgresql+asyncpg"),
        ],
    )
    def test_the_async_driver_is_filled_in(self, monkeypatch: pytest.MonkeyPatch, given: str, driver: str) -> None:
        monkeypatch.setattr(database, "find_spec", lambda _name: object())
        assert database.address(given).drivername == driver

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "hunter2",
            "mysql://u:hunter2@host/db",
            "postgresql+psycopg2://u:hunter2@host/db",
            "postgresql://u:hunter2@host:port/db",
            "postgresql://u:hunter2@host/db?password=hunter2",
            "postgresql://u:hunter2@host/db?sslmode=hunter2",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///file:x.db?uri=true",
            "sqlite:///x.db?mode=ro",
            "sqlite://u:hunter2@host/x.db",
        ],
    )
    def test_a_useless_address_is_one_sentence_without_its_password(
        self, monkeypatch: pytest.MonkeyPatch, given: str
    ) -> None:
        monkeypatch.setattr(database, "find_spec", lambda _name: object())
        with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: ") as error:
            Records(given)
        assert "hunter2" not in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_missing_driver_is_named_with_the_command_that_installs_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "find_spec", lambda _name: None)
        with pytest.raises(ConfigurationError, match=r"pip install 'claude-pattern\[postgres\]'"):
            Records("postgresql://u:p@host/db")


class TestPostgres:
    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> URL:
        monkeypatch.setattr(database, "find_spec", lambda _name: object())
        return database.address("postgresql://u:hunter2@host/db?sslmode=require")

    def test_the_driver_gets_its_time_outs_and_its_own_name_of_the_ssl_mode(self, url: URL) -> None:
        plain, arguments = database.postgres_arguments(url)
        assert arguments == {
            "timeout": timeouts.DATABASE_BUSY,
            "command_timeout": timeouts.DATABASE_BUSY,
            "ssl": "require",
        }
        assert not plain.query
        assert "ssl" not in database.postgres_arguments(plain)[1]

    @pytest.mark.parametrize(
        ("failure", "sentence"),
        [
            (ConnectionRefusedError(111, "Connection refused"), "the database server host cannot be reached."),
            (TimeoutError(), "the database server host cannot be reached."),
            (
                DBAPIError(None, None, Exception('password authentication failed for user "u"\nhunter2')),
                'the database server host refused: password authentication failed for user "u".',
            ),
            (ArgumentError("no such thing"), "the database server host refused: no such thing."),
        ],
    )
    def test_a_server_that_does_not_let_us_in_is_one_sentence(
        self, url: URL, monkeypatch: pytest.MonkeyPatch, failure: Exception, sentence: str
    ) -> None:
        async def fail(_url: URL) -> None:
            raise failure

        monkeypatch.setattr(database, "_migrate", fail)
        with pytest.raises(StartError) as error:
            database.prepare(url)
        assert str(error.value) == f"DATABASE_URL: {sentence}"


class TestFile:
    async def test_file_and_missing_folders_are_for_this_user_only(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "sessions.db"
        records = Records(f"sqlite:///{path}")
        await records.initialize()
        await saved(records)
        assert [oct(p.stat().st_mode & 0o777) for p in (path.parent.parent, path.parent)] == ["0o700", "0o700"]
        assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}
        await records.close()

    @pytest.mark.parametrize("name", ["50% off?.db", "a#b.db", "ünïcode db", "file:x.db"])
    async def test_odd_names_of_files_work(self, tmp_path: Path, name: str) -> None:
        records = Records(URL.create("sqlite", database=str(tmp_path / name)).render_as_string())
        await records.initialize()
        await saved(records)
        await records.ping()
        await records.close()
        assert (tmp_path / name).is_file()

    async def test_a_relative_address_stays_where_it_was_when_the_server_started(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        records = Records("sqlite:///data/sessions.db")
        await records.initialize()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        await saved(records)
        await records.ping()
        await records.close()

    async def test_an_existing_folder_keeps_its_mode(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        records = Records(f"sqlite:///{tmp_path}/sessions.db")
        await records.initialize()
        await records.close()
        assert tmp_path.stat().st_mode & 0o777 == 0o755

    async def test_a_folder_in_place_of_the_file_is_refused(self, path: Path) -> None:
        path.mkdir(parents=True)
        with pytest.raises(StartError, match=r"sessions\.db is a folder, not a file\.$"):
            await Records(f"sqlite:///{path}").initialize()

    async def test_a_file_in_place_of_the_folder_is_refused(self, path: Path) -> None:
        path.parent.write_text("not a folder")
        with pytest.raises(StartError, match=r"cannot be written \(Not a directory\)\.$"):
            await Records(f"sqlite:///{path}").initialize()

    async def test_a_file_that_the_system_does_not_let_write_is_refused(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(StartError, match=r"cannot be written \(Permission denied\)\.$"):
            await Records(f"sqlite:///{path}").initialize()

    async def test_another_kind_of_file_is_refused_and_left_as_it_is(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("a diary, and not a short one: " * 100)
        before = path.read_bytes()
        with pytest.raises(StartError, match="is a file, but not a SQLite database"):
            await Records(f"sqlite:///{path}").initialize()
        assert path.read_bytes() == before

    async def test_a_database_of_another_program_is_refused(self, path: Path) -> None:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE sessions (something)")
        with pytest.raises(StartError, match="cannot be used"):
            await Records(f"sqlite:///{path}").initialize()

    async def test_a_database_of_a_newer_version_is_refused(self, records: Records, path: Path) -> None:
        await records.close()
        with closing(sqlite3.connect(path)) as newer:
            newer.execute("UPDATE alembic_version SET version_num = '9999'")
            newer.commit()
        with pytest.raises(StartError, match="made by a newer version"):
            await records.initialize()

    async def test_a_database_that_another_program_holds_is_refused_in_time(
        self, records: Records, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await records.close()
        monkeypatch.setattr(timeouts, "DATABASE_BUSY", 0.05)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StartError, match="is held by another program"):
                await records.initialize()
        await records.initialize()


class TestSchema:
    async def test_the_columns_are_those_of_the_specification(self, records: Records, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            columns = {
                row[1]: (row[2], not row[3]) for row in connection.execute("PRAGMA table_info(sessions)").fetchall()
            }
        assert columns == {
            "session_id": ("TEXT", False),
            "user_id": ("TEXT", False),
            "status": ("TEXT", False),
            "created_at": ("TEXT", False),
            "last_active_at": ("TEXT", False),
            "subprocess_pid": ("INTEGER", True),
            "message_count": ("INTEGER", False),
            "total_cost_usd": ("REAL", False),
            "is_resumable": ("BOOLEAN", False),
            "terminated_reason": ("TEXT", True),
            "title": ("TEXT", True),
            "model": ("TEXT", True),
            "permission_mode": ("TEXT", True),
            "working_dir": ("TEXT", True),
            "input_tokens": ("BIGINT", False),
            "output_tokens": ("BIGINT", False),
            "parent_session_id": ("TEXT", True),
            "process_start_ticks": ("BIGINT", True),
            "process_boot_id": ("TEXT", True),
            "process_marker": ("TEXT", True),
        }

    async def test_the_model_and_the_migrations_agree(self, records: Records, path: Path) -> None:
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            differences = compare_metadata(context, SQLModel.metadata)
        engine.dispose()
        assert [d for d in differences if d[0] not in ("remove_index",)] == []

    async def test_initialising_again_keeps_what_is_there(self, records: Records) -> None:
        await saved(records, title="kept")
        await records.initialize()
        await records.close()
        await records.initialize()
        assert (await found(records)).title == "kept"

    async def test_servers_that_start_at_once_all_come_up(self, path: Path) -> None:
        servers = [Records(f"sqlite:///{path}") for _ in range(6)]
        await asyncio.gather(*(server.initialize() for server in servers))
        await asyncio.gather(*(saved(server, str(number)) for number, server in enumerate(servers)))
        assert len(await servers[0].list()) == 6
        await asyncio.gather(*(server.close() for server in servers))

    async def test_connections_are_durable_and_take_the_write_lock_first(self, records: Records, path: Path) -> None:
        engine = database.engine(database.address(f"sqlite:///{path}"))
        async with engine.execution_options(**{database.WRITES: True}).connect() as writer, engine.connect() as reader:
            for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
                assert (await reader.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value
            await writer.execute(text("SELECT 1"))
            with (
                closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as third,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                third.execute("BEGIN IMMEDIATE")
        await engine.dispose()


class TestSave:
    async def test_a_new_session_gets_the_defaults(self, records: Records) -> None:
        before = utc(datetime.now(UTC))
        record = await saved(records)
        after = utc(datetime.now(UTC))
        assert before <= record.created_at <= record.last_active_at <= after
        rest = record.model_dump(exclude={"created_at", "last_active_at"})
        assert {name: value for name, value in rest.items() if value is not None} == {
            "session_id": "one",
            "user_id": "default",
            "status": "creating",
            "message_count": 0,
            "total_cost_usd": 0.0,
            "is_resumable": True,
            "input_tokens": 0,
            "output_tokens": 0,
        }

    async def test_saving_again_changes_only_what_was_set(self, records: Records) -> None:
        first = await saved(records, title="title", message_count=7, created_at=utc(NOON))
        second = await saved(records, status="active")
        assert second.model_dump() == {**first.model_dump(), "status": "active"}

    async def test_a_record_that_was_read_and_changed_writes_its_changes_alone(self, records: Records) -> None:
        read = await saved(records, title="old")
        await records.update_activity("one", message_count=3)
        read.title = "new"
        await records.save(read)
        now = await found(records)
        assert (now.title, now.message_count) == ("new", 3)

    async def test_saving_nothing_new_changes_nothing(self, records: Records) -> None:
        first = await saved(records, title="title")
        assert (await saved(records)).model_dump() == first.model_dump()

    async def test_a_session_that_comes_back_loses_the_reason_of_its_end(self, records: Records) -> None:
        await saved(records)
        await records.mark_terminated("one", "idle_timeout")
        assert (await saved(records, status="active")).terminated_reason is None

    async def test_an_unknown_status_is_refused_by_the_database(self, records: Records) -> None:
        with pytest.raises(IntegrityError, match="ck_sessions_status"):
            await records.save(SessionRecord(session_id="one", status="asleep"))

    async def test_errors_do_not_tell_the_values(self, records: Records) -> None:
        with pytest.raises(IntegrityError) as error:
            await records.save(SessionRecord(session_id="one", status="asleep", title="private matter"))
        assert "private matter" not in str(error.value)


class TestDates:
    @pytest.mark.parametrize(
        "given",
        [
            NOON,
            NOON.replace(tzinfo=None),
            NOON.astimezone(timezone(timedelta(hours=-5))),
            "2026-03-01T12:00:00Z",
            "2026-03-01T13:00:00+01:00",
            "2026-03-01 12:00",
        ],
    )
    async def test_every_form_of_a_moment_is_stored_the_same_way(self, records: Records, given: Any) -> None:
        record = await saved(records, created_at=given)
        assert record.created_at == "2026-03-01T12:00:00.000000+00:00"

    async def test_something_else_is_refused(self, records: Records) -> None:
        with pytest.raises(StatementError, match="Invalid isoformat"):
            await saved(records, created_at="yesterday")


class TestUpdateActivity:
    async def test_what_is_given_is_stored_and_the_rest_stays(self, records: Records) -> None:
        before = await saved(records, last_active_at=utc(NOON), title="title")
        await records.update_activity(
            "one",
            last_active_at=NOON + timedelta(seconds=1),
            status="active",
            message_count=2,
            total_cost_usd=0.25,
            input_tokens=3_000_000_000,
            output_tokens=5,
            model="model",
            permission_mode="plan",
        )
        assert (await found(records)).model_dump() == {
            **before.model_dump(),
            "last_active_at": utc(NOON + timedelta(seconds=1)),
            "status": "active",
            "message_count": 2,
            "total_cost_usd": 0.25,
            "input_tokens": 3_000_000_000,
            "output_tokens": 5,
            "model": "model",
            "permission_mode": "plan",
        }

    async def test_an_older_call_that_comes_late_takes_nothing_back(self, records: Records) -> None:
        await saved(records, last_active_at=utc(NOON))
        late = NOON + timedelta(minutes=1)
        await records.update_activity("one", last_active_at=late, status="idle", title="new", message_count=5)
        await records.update_activity("one", last_active_at=NOON, status="active", title="old", message_count=4)
        now = await found(records)
        assert (now.status, now.title, now.message_count, now.last_active_at) == ("idle", "new", 5, utc(late))

    async def test_a_terminated_session_stays_terminated(self, records: Records) -> None:
        await saved(records)
        await records.mark_terminated("one", "user_requested")
        await records.update_activity("one", status="idle", message_count=9)
        now = await found(records)
        assert (now.status, now.message_count) == ("terminated", 9)

    async def test_nothing_to_store_changes_nothing(self, records: Records) -> None:
        before = await saved(records)
        await records.update_activity("one")
        assert (await found(records)).model_dump() == before.model_dump()

    async def test_500_simultaneous_updates_lose_nothing(self, records: Records, path: Path) -> None:
        """Two servers on one file; every update of each of ten sessions is another number, in any order."""
        updates = [(f"s{number % 10}", number) for number in range(500)]
        for session_id in {session_id for session_id, _ in updates}:
            await saved(records, session_id, last_active_at=utc(NOON))
        random.Random(7).shuffle(updates)
        async with AsyncExitStack() as stack:
            second = Records(f"sqlite:///{path}")
            await second.initialize()
            stack.push_async_callback(second.close)
            await asyncio.gather(
                *(
                    (records, second)[number % 2].update_activity(
                        session_id,
                        last_active_at=NOON + timedelta(seconds=number),
                        message_count=number,
                        total_cost_usd=number / 4,
                        title=f"title {number}",
                    )
                    for session_id, number in updates
                )
            )
        for digit in range(10):
            now, newest = await found(records, f"s{digit}"), 490 + digit
            assert (now.message_count, now.total_cost_usd, now.title) == (newest, newest / 4, f"title {newest}")
            assert now.last_active_at == utc(NOON + timedelta(seconds=newest))

    async def test_updates_of_different_facts_at_once_all_arrive(self, records: Records) -> None:
        await saved(records)
        await asyncio.gather(
            records.update_activity("one", title="title"),
            records.update_activity("one", model="model"),
            records.update_activity("one", input_tokens=1),
            records.set_process("one", IDENTITY),
            records.update_activity("one", output_tokens=2),
        )
        now = await found(records)
        assert (now.title, now.model, now.input_tokens, now.output_tokens) == ("title", "model", 1, 2)
        assert now.subprocess_pid == IDENTITY.pid


class TestTerminatedAndProcesses:
    async def test_an_end_is_noted_with_its_reason(self, records: Records) -> None:
        await saved(records)
        await records.mark_terminated("one", "user_requested")
        now = await found(records)
        assert (now.status, now.terminated_reason, now.is_resumable) == ("terminated", "user_requested", True)
        await records.mark_terminated("one", "not_restored", is_resumable=False)
        now = await found(records)
        assert (now.terminated_reason, now.is_resumable) == ("not_restored", False)

    async def test_processes_are_recorded_until_they_are_cleared(self, records: Records) -> None:
        await saved(records)
        await saved(records, "two")
        await records.set_process("one", IDENTITY)
        await records.mark_terminated("one", "server_shutdown")
        assert await records.processes() == (IDENTITY,)
        await records.clear_process("one")
        assert await records.processes() == ()
        assert (await found(records)).subprocess_pid is None

    async def test_a_start_notes_that_all_live_sessions_have_ended_and_forgets_every_process(
        self, records: Records
    ) -> None:
        for session_id in ("one", "two", "three"):
            await saved(records, session_id)
        await records.set_process("one", IDENTITY)
        await records.set_process("two", IDENTITY)  # a marker that names another session keeps no server from starting
        await records.mark_terminated("two", "user_requested")
        await records.end_all("server_stopped")
        ended = [await found(records, session_id) for session_id in ("one", "two", "three")]
        assert {record.status for record in ended} == {"terminated"}
        reasons = ["server_stopped", "user_requested", "server_stopped"]
        assert [record.terminated_reason for record in ended] == reasons
        assert await records.processes() == ()

    @pytest.mark.parametrize(
        "operation",
        [
            lambda records: records.update_activity("nobody", status="idle"),
            lambda records: records.update_activity("nobody"),
            lambda records: records.mark_terminated("nobody", "user_requested"),
            lambda records: records.set_process("nobody", IDENTITY),
            lambda records: records.clear_process("nobody"),
        ],
    )
    async def test_an_unknown_session_is_an_error(
        self, records: Records, operation: Callable[[Records], Coroutine[Any, Any, None]]
    ) -> None:
        with pytest.raises(SessionNotFound):
            await operation(records)
        assert await records.get("nobody") is None


class TestList:
    async def test_the_newest_activity_comes_first_in_pages(self, records: Records) -> None:
        for number in (3, 1, 4, 0, 2):
            await saved(records, str(number), last_active_at=utc(NOON + timedelta(seconds=number)))
        pages = [await records.list(limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        assert [[record.session_id for record in page] for page in pages] == [["4", "3"], ["2", "1"], ["0"], []]

    async def test_sessions_of_the_same_moment_have_a_fixed_order(self, records: Records) -> None:
        for name in ("b", "c", "a"):
            await saved(records, name, last_active_at=utc(NOON))
        assert [record.session_id for record in await records.list()] == ["a", "b", "c"]

    async def test_one_status_or_several_can_be_asked_for(self, records: Records) -> None:
        for status in ("creating", "active", "idle", "restarting", "terminated"):
            await saved(records, status, status=status)
        assert [record.session_id for record in await records.list(status="idle")] == ["idle"]
        assert {record.session_id for record in await records.list(status=("active", "terminated"))} == {
            "active",
            "terminated",
        }
        assert {record.session_id for record in await records.list_active()} == {
            "creating",
            "active",
            "idle",
            "restarting",
        }


class TestOpenAndClose:
    async def test_what_is_not_open_says_so(self, path: Path) -> None:
        records = Records(f"sqlite:///{path}")
        for operation in (records.get("one"), records.ping(), records.save(SessionRecord(session_id="one"))):
            with pytest.raises(StartError, match="not open"):
                await operation
        await records.close()

    async def test_closing_waits_for_the_writes_under_way(self, path: Path) -> None:
        records = Records(f"sqlite:///{path}")
        await records.initialize()
        writes = [
            tasks.spawn(records.save(SessionRecord(session_id=str(number))), name="write") for number in range(20)
        ]
        await asyncio.sleep(0)
        await records.close()
        assert [write.done() for write in writes] == [True] * 20
        await records.initialize()
        assert len(await records.list()) == 20
        await records.close()

    async def test_a_cancelled_caller_leaves_its_write_and_no_lock(self, records: Records) -> None:
        await saved(records)
        for number in range(1, 21):
            write = tasks.spawn(records.update_activity("one", message_count=number), name="write")
            for _ in range(number % 7 + 1):
                await asyncio.sleep(0)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
        async with asyncio.timeout(5):
            await records.update_activity("one", output_tokens=1)
        now = await found(records)
        assert (now.message_count, now.output_tokens) == (20, 1)

    async def test_a_write_that_fails_after_its_caller_was_cancelled_is_logged(
        self, records: Records, path: Path
    ) -> None:
        await saved(records)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE sessions")
        with structlog.testing.capture_logs() as logs:
            write = tasks.spawn(records.update_activity("one", message_count=1), name="write")
            await asyncio.sleep(0)
            write.cancel()
            await records.close()
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("database_failed", "error")]
        assert "no such table" in logs[0]["error"]

    async def test_readers_do_not_wait_for_a_writer_of_another_process(self, records: Records, path: Path) -> None:
        await saved(records, message_count=1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = tasks.spawn(records.update_activity("one", message_count=2), name="write")
            assert (await found(records)).message_count == 1
            assert not write.done()
            other.execute("COMMIT")
            await write
        assert (await found(records)).message_count == 2

    async def test_a_writer_that_never_gets_the_lock_gives_up(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        records = Records(f"sqlite:///{path}")
        monkeypatch.setattr(timeouts, "DATABASE_BUSY", 0.05)
        await records.initialize()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked"):
                await saved(records)
        await saved(records)
        await records.close()


class TestPing:
    async def test_a_healthy_database_answers(self, records: Records) -> None:
        await saved(records)
        await records.ping()

    async def test_a_deleted_file_is_noticed(self, records: Records, path: Path) -> None:
        path.unlink()
        with pytest.raises(StartError, match="deleted or replaced"):
            await records.ping()

    async def test_a_deleted_file_is_not_silently_made_anew(self, records: Records, path: Path) -> None:
        path.unlink()
        with pytest.raises(OperationalError, match="unable to open"):
            await saved(records)
        assert not path.exists()

    async def test_a_replaced_file_is_noticed(self, records: Records, path: Path) -> None:
        copy = path.with_suffix(".copy")
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
        with pytest.raises(StartError, match="deleted or replaced"):
            await records.ping()

    async def test_a_lost_table_is_noticed(self, records: Records, path: Path) -> None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE sessions")
        with pytest.raises(OperationalError, match="no such table"):
            await records.ping()

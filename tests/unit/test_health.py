"""Health routes: their bodies, their reasons, and how little they cost the database."""

import asyncio
from pathlib import Path

import pytest

from claude_pattern import tasks
from claude_pattern.api import health
from claude_pattern.api.health import PING_KEPT_S, CachedPing
from tests.unit.api_fakes import Clock, Site


class Database:
    """Answers, fails or hangs as told, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def ping(self) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database=database)


def test_a_living_server_says_so_to_everybody(site: Site) -> None:
    answer = site.client(key=None).get("/api/v1/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


def test_a_ready_server_says_how_full_it_is(site: Site) -> None:
    site.client().post("/api/v1/sessions", json={})
    answer = site.client(key=None).get("/api/v1/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "pool_depth": 2, "active_sessions": 1, "max_sessions": 10}


@pytest.mark.parametrize("reason", ["pool_empty", "at_capacity", "starting", "shutting_down"])
def test_a_server_that_is_not_ready_says_why(site: Site, database: Database, reason: str) -> None:
    site.manager.reason = reason
    answer = site.client(key=None).get("/api/v1/health/ready")

    assert answer.status_code == 503
    assert answer.json() == {"status": "not_ready", "reason": reason, "active_sessions": 0, "max_sessions": 10}
    assert int(answer.headers["retry-after"]) > 0
    assert database.asked == 0


def test_a_database_that_does_not_answer_makes_the_server_not_ready(site: Site, database: Database) -> None:
    database.failure = OSError("disk I/O error")
    answer = site.client(key=None).get("/api/v1/health/ready")

    assert (answer.status_code, answer.json()["reason"]) == (503, "database_unavailable")
    assert "disk" not in answer.text


def test_readiness_works_without_a_database(tmp_path: Path) -> None:
    assert Site(tmp_path).client(key=None).get("/api/v1/health/ready").status_code == 200


async def test_the_database_is_asked_once_in_a_while_however_many_ask(database: Database) -> None:
    clock = Clock()
    ping = CachedPing(database, clock=clock)
    for _ in range(100):
        assert await ping.answers()
    assert database.asked == 1

    clock.now += PING_KEPT_S
    database.failure = OSError()
    assert not await ping.answers()
    assert not await ping.answers()
    assert database.asked == 2

    clock.now += PING_KEPT_S
    database.failure = None
    assert await ping.answers()


async def test_those_who_come_while_the_database_is_asked_get_the_last_answer_and_only_the_first_ones_wait(
    database: Database,
) -> None:
    clock = Clock()
    ping = CachedPing(database, clock=clock)
    database.gate = asyncio.Event()
    first = [tasks.spawn(ping.answers(), name="test") for _ in range(3)]
    await asyncio.sleep(0)
    database.gate.set()
    assert await asyncio.gather(*first) == [True] * 3
    assert database.asked == 1

    clock.now += PING_KEPT_S
    database.gate = asyncio.Event()
    asking = tasks.spawn(ping.answers(), name="test")
    await asyncio.sleep(0)
    assert await ping.answers()
    database.gate.set()
    await asking
    assert database.asked == 2


async def test_a_database_that_hangs_counts_as_one_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PING_TIMEOUT_S", 0)
    database.gate = asyncio.Event()

    assert not await CachedPing(database).answers()

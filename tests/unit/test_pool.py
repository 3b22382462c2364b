"""The pool keeps as many usable processes ready as it should, and hands out none that is dead or of an older time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from claude_pattern import timeouts
from claude_pattern.errors import StartError
from claude_pattern.process.agent import AgentProcess
from claude_pattern.sessions import pool as pool_module
from claude_pattern.sessions.pool import Plan, PreWarmPool, backoff, plan
from tests.unit.fake_agent import FakeAgent, FakeExtensions, FakeLauncher, until


def agents(*fingerprints: str, alive: bool = True) -> tuple[AgentProcess, ...]:
    made = [FakeAgent(str(n), fingerprint) for n, fingerprint in enumerate(fingerprints)]
    for agent in made:
        agent.alive = alive
    return cast("tuple[AgentProcess, ...]", tuple(made))


def decide(ready: tuple[AgentProcess, ...] = (), **changes: Any) -> Plan:
    facts: dict[str, Any] = {"size": 2, "starting": 0, "fingerprint": "f", "cold_starts": 0, "wait_s": 0.0}
    return plan(ready, **{**facts, **changes})


@pytest.mark.parametrize(
    ("ready", "changes", "start"),
    [
        ((), {}, 2),
        ((), {"size": 0}, 0),
        ((), {"size": 9}, 2),
        ((), {"size": 9, "starting": 1}, 1),
        ((), {"size": 9, "starting": 2}, 0),
        (("f",), {}, 1),
        (("f", "f"), {}, 0),
        (("f",), {"starting": 1}, 0),
        ((), {"cold_starts": 1}, 0),
        ((), {"wait_s": 0.1}, 0),
        (("old", "old"), {}, 2),
    ],
)
def test_what_is_missing_is_started_two_at_once_and_never_beside_a_users_own_start(
    ready: tuple[str, ...], changes: dict[str, Any], start: int
) -> None:
    assert decide(agents(*ready), **changes).start == start


def test_processes_of_another_time_and_dead_ones_are_retired() -> None:
    old, dead, good = agents("old")[0], agents("f", alive=False)[0], agents("f")[0]

    assert decide((old, dead, good)) == Plan((old, dead), 1)


def test_the_pause_after_failures_doubles_up_to_a_limit_and_is_spread() -> None:
    assert [backoff(n, lambda: 1.0) for n in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 60.0]
    assert backoff(1, lambda: 0.0) == 0.5


class Harness:
    def __init__(self, size: int) -> None:
        self.launcher = FakeLauncher()
        self.extensions = FakeExtensions()
        self.pool = PreWarmPool(cast("Any", self.launcher), cast("Any", self.extensions), size=size)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness(2)
    yield harness
    await harness.pool.close()


async def test_start_returns_with_the_first_ready_process_and_the_rest_follows(harness: Harness) -> None:
    await harness.pool.start()
    assert harness.pool.depth >= 1
    await until(lambda: harness.pool.depth == 2)

    assert harness.launcher.most_at_once <= pool_module.MAX_STARTING


async def test_a_process_that_is_taken_is_replaced(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    taken = harness.pool.take("f")
    assert taken is not None
    harness.pool.refill()
    await until(lambda: harness.pool.depth == 2)

    assert len(harness.launcher.started) == 3


async def test_each_process_is_handed_out_once(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    taken = [harness.pool.take("f") for _ in range(5)]

    assert len({id(agent) for agent in taken if agent}) == 2
    assert taken[2:] == [None, None, None]


async def test_changed_extension_files_make_the_pool_rebuild(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    old = harness.launcher.started[:]
    harness.extensions.fingerprint = "new"
    assert harness.pool.take("new") is None
    harness.pool.refill()
    await until(lambda: harness.pool.depth == 2 and all(agent.closed for agent in old))

    assert {agent.fingerprint for agent in harness.launcher.started[2:]} == {"new"}
    taken = harness.pool.take("new")
    assert taken is not None
    assert taken.fingerprint == "new"


async def test_a_process_that_dies_while_it_waits_is_replaced_and_never_handed_out(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    for agent in harness.launcher.started[:2]:
        agent.alive = False
        agent.ended.set()
    await until(lambda: harness.pool.depth == 2 and len(harness.launcher.started) == 4)
    taken = harness.pool.take("f")

    assert taken is not None
    assert taken.alive


async def test_a_pool_of_size_zero_starts_nothing_and_has_nothing() -> None:
    harness = Harness(0)
    await harness.pool.start()

    assert harness.pool.take("f") is None
    assert harness.launcher.started == []
    await harness.pool.close()


async def test_a_start_where_every_attempt_fails_gives_up_and_leaves_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "POOL_BACKOFF_FIRST", 0.001)
    harness.launcher.failing = 1000
    with pytest.raises(StartError, match="No agent process became ready in 3 attempts"):
        await harness.pool.start()

    assert harness.launcher.started == []


async def test_a_failed_attempt_is_repeated_after_a_pause(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "POOL_BACKOFF_FIRST", 0.001)
    harness.launcher.failing = 2
    await harness.pool.start()

    assert harness.pool.depth >= 1


async def test_nothing_is_started_while_a_user_waits_for_a_start_of_their_own(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    release: asyncio.Event = asyncio.Event()

    async def own() -> Any:
        harness.pool.take("f")
        harness.pool.refill()
        await release.wait()
        return FakeAgent()

    waiting = asyncio.ensure_future(harness.pool.cold_start(own))  # noqa: TID251 - the user's side
    await until(lambda: harness.pool.depth == 1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(harness.launcher.started) == 2

    release.set()
    await waiting
    harness.pool.refill()
    await until(lambda: harness.pool.depth == 2)


async def test_closing_ends_what_is_ready_and_what_is_on_its_way(harness: Harness) -> None:
    await harness.pool.start()
    await until(lambda: harness.pool.depth == 2)
    harness.launcher.hold.clear()
    harness.pool.take("f")
    harness.pool.refill()
    await until(lambda: harness.launcher.at_once == 1)
    await harness.pool.close()

    assert harness.launcher.at_once == 0
    assert [agent.closed for agent in harness.launcher.started].count(0) == 1, "only the one that was handed out lives"
    assert repr(harness.pool) == "<PreWarmPool 0/2 ready | 0 starting>"

"""The monitor hands each decision to the actor once, and no session's trouble reaches another; the clock is ours."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from claude_pattern import events
from claude_pattern.events import SessionStatus
from claude_pattern.process import machine as machine_module
from claude_pattern.process import reap
from claude_pattern.process.identity import ProcessIdentity
from claude_pattern.process.limits import (
    Decision,
    EndDuration,
    EndIdle,
    GoIdle,
    Hung,
    KillForMemory,
    Limits,
    RestartForMemory,
    Stalled,
    WarnDuration,
)
from claude_pattern.process.machine import ThisMachine
from claude_pattern.process.reap import EndReport
from claude_pattern.sessions.monitor import Monitor, Pace
from claude_pattern.sessions.pulse import Pulse

LIMITS = Limits(duration_s=1000, rss_mb=1000, idle_s=300, idle_grace_s=100)


@dataclass
class FakeProcess:
    identity: ProcessIdentity | None


@dataclass
class FakeState:
    memory_mb: float | None = None
    status: SessionStatus = "active"
    is_query_active: bool = False
    waiting_count: int = 0


@dataclass(eq=False)
class FakeSession:
    session_id: str
    pulse: Pulse
    state: FakeState = field(default_factory=FakeState)
    agent: FakeProcess | None = None

    def start_process(self, pid: int) -> ProcessIdentity:
        identity = ProcessIdentity(pid, 1, "boot", f"i.{self.session_id}.1-1-{pid}")
        self.agent = FakeProcess(identity)
        return identity

    def start_turn(self) -> None:
        self.state.is_query_active = True
        self.pulse.note(events.TurnStarted(message_id="m", text="hi"))

    def end_turn(self) -> None:
        self.state.is_query_active = False
        self.pulse.note(events.StreamInterrupted())


class FakeActor:
    """Notes what it is told; `obey` says what a decision does to a session, `hold` keeps calls from returning."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Decision]] = []
        self.pings: list[str] = []
        self.deaf: set[str] = set()
        self.refusing: set[str] = set()
        self.failing: set[str] = set()
        self.held: set[str] = set()
        self.release = asyncio.Event()
        self.obey: Callable[[FakeSession, Decision], None] = lambda session, decision: None

    async def carry_out(self, session: FakeSession, decision: Decision) -> None:
        self.told.append((session.session_id, decision))
        if session.session_id in self.failing:
            raise RuntimeError("it did not work")
        self.obey(session, decision)
        if session.session_id in self.held:
            await self.release.wait()

    async def ping(self, session: FakeSession) -> bool:
        self.pings.append(session.session_id)
        if session.session_id in self.deaf:
            await asyncio.Event().wait()
        return session.session_id not in self.refusing


class FakeMachine:
    def __init__(self) -> None:
        self.sizes: dict[int, float] = {}
        self.looks: list[tuple[float, set[int]]] = []
        self.stopped_pids: set[int] = set()
        self.sweeps = 0
        self.failing = False
        self.release = asyncio.Event()
        self.release.set()
        self.now: Callable[[], float] = lambda: 0

    async def memory(self, identities: Sequence[ProcessIdentity]) -> dict[ProcessIdentity, float]:
        await self.release.wait()
        self.looks.append((self.now(), {identity.pid for identity in identities}))
        if self.failing:
            raise OSError("no /proc today")
        return {identity: self.sizes[identity.pid] for identity in identities if identity.pid in self.sizes}

    async def stopped(self, identities: Sequence[ProcessIdentity]) -> Collection[ProcessIdentity]:
        return [identity for identity in identities if identity.pid in self.stopped_pids]

    async def sweep(self) -> None:
        self.sweeps += 1
        if self.failing:
            raise OSError("no /proc today")


class Harness:
    """A monitor, its world, and a clock that only `advance` moves."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.time = 1_000.0
        self.sessions: list[FakeSession] = []
        self.actor = FakeActor()
        self.machine = FakeMachine()
        self.machine.now = self.now
        self.monitor: Monitor[FakeSession] = Monitor(
            lambda: list(self.sessions),
            self.actor,
            limits=limits,
            machine=self.machine,
            pace=Pace(),
            now=self.now,
            sleep=self.sleep,
        )

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await settle()

    def session(self, session_id: str = "s", pid: int = 1) -> FakeSession:
        session = FakeSession(session_id, Pulse(self.now))
        session.start_process(pid)
        self.sessions.append(session)
        return session

    async def advance(self, seconds: float) -> list[Decision]:
        """Let time pass, beat by beat; what the actor has been told meanwhile."""
        before = len(self.actor.told)
        for _ in range(round(seconds)):
            self.time += 1
            self.monitor.beat()
            await settle()
        return [decision for _, decision in self.actor.told[before:]]


async def settle() -> None:
    """Let everything that has been started run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    harness.actor.release.set()
    await settle()
    await harness.monitor.close()


# ---------------------------------------------------------------- duration and idle


async def test_people_are_warned_once_and_the_session_ends_on_time(world: Harness) -> None:
    session = world.session()
    session.pulse.last_activity = 1e9

    assert await world.advance(899) == []
    assert await world.advance(1) == [WarnDuration(100)]
    assert await world.advance(99) == []
    assert await world.advance(1) == [EndDuration(grace=False)]


async def test_a_query_in_flight_gets_its_grace_and_not_more(world: Harness) -> None:
    session = world.session()
    session.start_turn()
    session.pulse.note(events.ToolUse(tool_use_id="t", tool="Bash", input={}))
    await world.advance(999)

    assert await world.advance(1) == [EndDuration(grace=True)]
    assert await world.advance(29) == []
    assert await world.advance(1) == [EndDuration(grace=False)]


async def test_the_session_ends_as_soon_as_its_last_query_has_ended(world: Harness) -> None:
    session = world.session()
    session.start_turn()
    session.pulse.note(events.ToolUse(tool_use_id="t", tool="Bash", input={}))
    await world.advance(1000)
    session.end_turn()

    assert await world.advance(1) == [EndDuration(grace=False)]


async def test_a_session_goes_idle_and_later_ends(world: Harness) -> None:
    session = world.session()

    def obey(session: FakeSession, decision: Decision) -> None:
        session.state.status = "idle" if isinstance(decision, GoIdle) else "terminated"

    world.actor.obey = obey
    await world.advance(299)
    assert await world.advance(1) == [GoIdle()]
    assert await world.advance(99) == []
    assert await world.advance(1) == [EndIdle()]
    assert await world.advance(100) == []
    assert session.state.status == "terminated"


async def test_what_the_platform_says_itself_keeps_no_session_awake(world: Harness) -> None:
    session = world.session()
    await world.advance(299)
    session.pulse.note(events.SessionWarning(reason="r", message="m"))

    assert await world.advance(1) == [GoIdle()]


async def test_a_message_between_decision_and_act_wins(world: Harness) -> None:
    for n in range(100):
        session = world.session(f"s{n}", pid=n)
        session.state.status = "idle"
    await world.advance(399)
    world.time += 1
    world.monitor.beat()
    for session in world.sessions[::2]:
        session.start_turn()
    await settle()

    assert {session_id for session_id, _ in world.actor.told} == {s.session_id for s in world.sessions[1::2]}


# ---------------------------------------------------------------- memory


def shown(session: FakeSession) -> float | None:
    return session.state.memory_mb


async def test_memory_is_looked_at_when_a_process_appears_and_then_every_thirty_seconds_for_all_at_once(
    world: Harness,
) -> None:
    session, other = world.session("a", 1), world.session("b", 2)
    world.machine.sizes = {1: 300.04, 2: 100.0}
    await world.advance(1)
    assert (session.state.memory_mb, other.state.memory_mb) == (300.0, 100.0)

    await world.advance(9)
    world.session("c", 3)
    await world.advance(80)
    assert world.machine.looks == [
        (1001, {1, 2}),
        (1011, {3}),
        (1030, {1, 2, 3}),
        (1060, {1, 2, 3}),
        (1090, {1, 2, 3}),
    ]


async def test_too_much_memory_restarts_the_process_and_the_new_one_starts_from_nothing(world: Harness) -> None:
    session = world.session()
    world.machine.sizes = {1: 900.0, 2: 200.0}
    await world.advance(31)
    world.machine.sizes[1] = 1000.1

    def obey(session: FakeSession, decision: Decision) -> None:
        session.start_process(2)

    world.actor.obey = obey
    assert await world.advance(60) == [RestartForMemory(1000.1)]
    assert session.state.memory_mb == 200.0


async def test_twice_too_much_memory_kills(world: Harness) -> None:
    world.session()
    world.machine.sizes = {1: 2000.1}

    assert await world.advance(2) == [KillForMemory(2000.1)]


async def test_steep_growth_is_followed_more_closely(world: Harness) -> None:
    world.session()
    world.machine.sizes = {1: 100.0}
    await world.advance(30)
    # The limit would be passed after 24 s, 36 s and 9 s; each time half of that is waited, but 30 s at most.
    for size in (600.0, 700.0, 900.0, 1001.0):
        world.machine.sizes[1] = size
        last = len(world.machine.looks)
        while len(world.machine.looks) == last:
            told = await world.advance(1)
    told += await world.advance(1)

    moments = [moment for moment, _ in world.machine.looks]
    assert [later - earlier for earlier, later in pairwise(moments)] == [29, 30, 12, 18, 5]
    assert told == [RestartForMemory(1001.0)]


async def test_the_memory_of_a_lost_process_is_not_shown(world: Harness) -> None:
    session = world.session()
    world.machine.sizes = {1: 300.0}
    await world.advance(1)
    session.agent = None
    await world.advance(1)
    assert shown(session) is None

    session.start_process(1)
    await world.advance(1)
    assert shown(session) == 300.0
    world.sessions.clear()
    await world.advance(1)
    assert shown(session) is None
    assert repr(world.monitor) == "<Monitor 0 sessions | 0 being acted on>"


# ---------------------------------------------------------------- hung and stalled


async def test_every_process_is_pinged_every_five_seconds(world: Harness) -> None:
    world.session("a", 1)
    world.session("b", 2)
    world.session("starting", 3).state.status = "restarting"
    await world.advance(20)

    assert sorted(world.actor.pings) == ["a"] * 4 + ["b"] * 4


async def test_a_stopped_process_is_noticed_within_seven_seconds(world: Harness) -> None:
    world.session("a", 1)
    world.session("b", 2)
    await world.advance(1)
    world.machine.stopped_pids.add(2)

    await world.advance(6)
    assert world.actor.told == [("b", Hung("stopped"))]


async def test_a_process_that_gives_no_sign_of_life_for_ten_seconds_is_hung(world: Harness) -> None:
    world.session("deaf", 1)
    world.session("well", 2)
    await world.advance(1)
    world.actor.deaf.add("deaf")

    assert await world.advance(9) == []
    await world.advance(1)
    assert world.actor.told == [("deaf", Hung("silent"))]


async def test_a_ping_that_fails_at_once_is_no_answer_either(world: Harness) -> None:
    world.session("refusing")
    world.actor.refusing.add("refusing")

    assert await world.advance(10) == []
    assert await world.advance(1) == [Hung("silent")]


async def test_a_process_that_streams_without_answering_is_well(world: Harness) -> None:
    session = world.session("deaf")
    world.actor.deaf.add("deaf")
    session.start_turn()
    for _ in range(60):
        assert await world.advance(1) == []
        session.pulse.heard()


async def test_the_process_after_a_hung_one_is_asked_anew(world: Harness) -> None:
    world.session("deaf", 1)
    world.actor.deaf.add("deaf")

    def obey(session: FakeSession, decision: Decision) -> None:
        world.actor.deaf.clear()
        session.start_process(2)

    world.actor.obey = obey
    assert await world.advance(120) == [Hung("silent")]


async def test_a_silent_turn_is_reported_and_again_while_it_stays_silent(world: Harness) -> None:
    session = world.session()
    session.start_turn()

    assert await world.advance(14) == []
    assert await world.advance(1) == [Stalled(15)]
    assert await world.advance(29) == []
    assert await world.advance(1) == [Stalled(45)]
    session.pulse.heard()
    assert await world.advance(14) == []


async def test_silence_counts_only_from_the_end_of_a_tool_a_question_or_a_pause(world: Harness) -> None:
    session = world.session()
    session.start_turn()
    session.state.waiting_count = 1
    assert await world.advance(100) == []
    session.state.waiting_count = 0
    session.pulse.note(events.ApiRetry(attempt=1, max_attempts=4, delay_seconds=38.0, message="m"))
    session.pulse.heard()
    assert await world.advance(37 + 14) == []
    assert await world.advance(1) == [Stalled(15)]


async def test_a_server_that_stood_still_blames_nobody(world: Harness) -> None:
    world.session("a", 1).start_turn()
    world.session("b", 2)
    world.actor.deaf.update("ab")
    await world.advance(8)
    world.time += 200

    assert await world.advance(9) == []
    await world.advance(2)
    assert world.actor.told == [("a", Hung("silent")), ("b", Hung("silent"))]


# ---------------------------------------------------------------- the actor


async def test_a_decision_is_not_repeated_while_it_is_carried_out_nor_soon_after(world: Harness) -> None:
    world.session("held")
    world.actor.held.add("held")
    world.machine.stopped_pids.add(1)

    assert await world.advance(60) == [Hung("stopped")]
    assert repr(world.monitor) == "<Monitor 1 sessions | 1 being acted on>"
    world.actor.held.clear()
    world.actor.release.set()
    await settle()
    assert await world.advance(29) == [Hung("stopped")], "its cause is still there after 30 seconds"


async def test_a_slow_act_for_one_session_delays_no_other(world: Harness) -> None:
    world.session("held", 1)
    world.session("b", 2)
    world.actor.held.add("held")
    world.machine.stopped_pids.add(1)
    await world.advance(8)
    world.machine.stopped_pids.add(2)
    await world.advance(8)

    assert world.actor.told == [("held", Hung("stopped")), ("b", Hung("stopped"))]


async def test_an_act_that_never_ends_is_reported_and_the_session_judged_again(world: Harness) -> None:
    world.session("held")
    world.actor.held.add("held")
    world.machine.stopped_pids.add(1)
    with capture_logs() as logs:
        assert await world.advance(125) == [Hung("stopped"), Hung("stopped")]

    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["monitor_action_hangs"]


async def test_an_act_that_fails_is_logged_and_tried_again(world: Harness) -> None:
    world.session("failing")
    world.actor.failing.add("failing")
    world.machine.stopped_pids.add(1)
    with capture_logs() as logs:
        assert await world.advance(40) == [Hung("stopped")] * 2

    errors = [line for line in logs if line["log_level"] == "error"]
    assert [line["event"] for line in errors] == ["monitor_action_failed"] * 2
    assert errors[0]["decision"] == "Hung(why='stopped')"


async def test_a_warning_that_failed_is_given_later(world: Harness) -> None:
    session = world.session("failing")
    session.pulse.last_activity = 1e9
    world.actor.failing.add("failing")
    await world.advance(900)
    world.actor.failing.clear()

    assert await world.advance(99) == [WarnDuration(70)]


async def test_a_session_that_cannot_be_sampled_is_logged_now_and_then_and_stops_nothing(world: Harness) -> None:
    broken = world.session("broken", 1)
    broken.pulse = None  # type: ignore[assignment]
    world.session("well", 2)
    world.machine.stopped_pids.add(2)
    with capture_logs() as logs:
        assert await world.advance(20) == [Hung("stopped")]

    assert [line["session_id"] for line in logs if line["event"] == "monitor_session_failed"] == ["broken"]


async def test_looks_that_fail_are_repeated(world: Harness) -> None:
    session = world.session()
    world.machine.failing = True
    with capture_logs() as logs:
        await world.advance(60)
    assert {line["task"] for line in logs if line["event"] == "task_failed"} == {"monitor-memory", "monitor-sweep"}

    world.machine.failing = False
    world.machine.sizes = {1: 5.0}
    await world.advance(60)
    assert session.state.memory_mb == 5.0
    assert world.machine.sweeps == 2


async def test_a_look_that_takes_long_is_not_begun_a_second_time_and_delays_nothing(world: Harness) -> None:
    session = world.session()
    world.machine.sizes = {1: 5.0}
    world.machine.release.clear()
    await world.advance(100)
    assert (world.machine.looks, world.machine.sweeps, len(world.actor.pings)) == ([], 1, 20)

    world.machine.release.set()
    await world.advance(1)
    assert (session.state.memory_mb, len(world.machine.looks)) == (5.0, 1)


# ---------------------------------------------------------------- the loop


async def test_the_loop_beats_on_its_own_clock_until_it_is_closed(world: Harness) -> None:
    world.session()
    world.machine.stopped_pids.add(1)
    begin = world.time
    world.monitor.start()
    while world.time < begin + 180:
        await asyncio.sleep(0)
    await world.monitor.close()
    ended = world.time
    await settle()

    assert world.time == ended
    assert world.machine.sweeps in (2, 3), "every 60 seconds"
    assert world.actor.told[0] == ("s", Hung("stopped"))


async def test_a_failing_list_of_sessions_does_not_end_the_loop() -> None:
    harness = Harness()
    calls = 0

    def sessions() -> list[FakeSession]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("not now")
        return []

    monitor: Monitor[FakeSession] = Monitor(
        sessions, harness.actor, limits=LIMITS, machine=harness.machine, now=harness.now, sleep=harness.sleep
    )
    with capture_logs() as logs:
        monitor.start()
        while calls < 5:
            await asyncio.sleep(0)
        await monitor.close()

    assert [line["event"] for line in logs] == ["monitor_beat_failed"] * 2


async def test_closing_cancels_what_waits_for_a_deaf_process_but_not_an_act(world: Harness) -> None:
    world.session("held")
    world.actor.deaf.add("held")
    world.actor.held.add("held")
    world.machine.stopped_pids.add(1)
    await world.advance(3)
    await world.monitor.close()

    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "monitor-ping-held" not in names
    assert "monitor-act-held" in names


# ---------------------------------------------------------------- the pulse


def pulse_after(*noted: events.AnySessionEvent) -> Pulse:
    pulse = Pulse(lambda: 50.0)
    for event in noted:
        pulse.note(event)
    return pulse


TURN = events.TurnStarted(message_id="m", text="t")
TOOL = events.ToolUse(tool_use_id="t", tool="Bash", input={})
RESULT = events.ToolResult(tool_use_id="t", result="", status="success", duration_ms=1)
RETRY = events.ApiRetry(attempt=1, max_attempts=4, delay_seconds=1.0, message="m")
COMPACTING = events.SessionUpdated(activity="Compacting the conversation...")


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ((TURN,), False),
        ((TURN, TOOL), True),
        ((TURN, TOOL, RESULT), False),
        ((TURN, RETRY), True),
        ((TURN, COMPACTING), True),
        ((TURN, COMPACTING, events.MessageQueued(message_id="n", text="t")), True),
        ((TURN, COMPACTING, events.StreamDelta(delta="a")), False),
        ((TURN, events.SessionUpdated(model="m")), False),
        ((TURN, TOOL, RETRY, COMPACTING, events.StreamInterrupted()), False),
        ((TURN, TOOL, RETRY, events.SessionRestarting(reason="r", message="m")), False),
    ],
)
def test_a_tool_a_compaction_and_a_pause_before_a_retry_explain_a_silence(
    noted: tuple[events.AnySessionEvent, ...], expected: bool
) -> None:
    assert pulse_after(*noted).silence_expected is expected


def test_a_turn_lasts_from_its_start_to_its_end() -> None:
    assert pulse_after(TURN).turn_started_at == 50.0
    assert pulse_after(TURN, events.StreamInterrupted()).turn_started_at is None
    assert repr(pulse_after(TURN, TOOL)) == "<Pulse busy 0 s since activity | 1 tools>"


# ---------------------------------------------------------------- orphans


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[ProcessIdentity]:
    """What the sweep ends, with two processes of this server on the machine."""
    ended: list[ProcessIdentity] = []

    async def sweep(identities: Any) -> EndReport:
        ended.extend(identities)
        return EndReport(terminated=tuple(identity.pid for identity in ended))

    running = {"here": tuple(ProcessIdentity(pid, 1, "b", f"here.s{pid}.1-1-1") for pid in (1, 2))}
    monkeypatch.setattr(machine_module, "started_by", running.__getitem__)
    monkeypatch.setattr(reap, "sweep", sweep)
    return ended


async def test_processes_that_belong_to_nothing_are_ended(swept: list[ProcessIdentity]) -> None:
    with capture_logs() as logs:
        await ThisMachine("here", lambda: {"here.s1.1-1-1"}).sweep()

    assert [identity.pid for identity in swept] == [2]
    assert logs == [
        {"event": "orphans_swept", "log_level": "warning", "markers": ["here.s2.1-1-1"], "ended": (2,)},
    ]


async def test_wanted_processes_are_left_alone(swept: list[ProcessIdentity]) -> None:
    with capture_logs() as logs:
        await ThisMachine("here", lambda: {"here.s1.1-1-1", "here.s2.1-1-1", "here.starting.1-1-1"}).sweep()

    assert (swept, logs) == ([], [])

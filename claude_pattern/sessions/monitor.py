"""Watches the live sessions: takes samples, lets `limits.decide` judge them, and hands each decision to the actor.

The loop itself never waits for anything but its clock. Pings, looks at the machine and the actor's work run beside
it, each at most once at a time, so that one session that hangs or fails never delays another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog

from claude_pattern import tasks
from claude_pattern.process.identity import ProcessIdentity
from claude_pattern.process.limits import (
    Decision,
    EndDuration,
    Limits,
    MemoryPoint,
    Sample,
    SampleSooner,
    WarnDuration,
    decide,
)
from claude_pattern.process.machine import Machine
from claude_pattern.sessions.pulse import Watched

log = structlog.get_logger(__name__)

STANDSTILL_S = 3.0
"""A beat that comes so much too late means that this server stood still, not that its sessions did."""

S = TypeVar("S", bound=Watched)
S_contra = TypeVar("S_contra", bound=Watched, contravariant=True)


class Actor(Protocol[S_contra]):
    """Carries out what has been decided."""

    async def carry_out(self, session: S_contra, decision: Decision) -> None:
        """Do it, and return when it is done.

        Up to the first await nothing can have changed since the decision. It is not called again for the session
        before it has returned or `Pace.act_s` have passed. It is never cancelled, and never called with SampleSooner.
        """

    async def ping(self, session: S_contra) -> bool:
        """Whether the session's process answers a control request; gives up by itself after `timeouts.CONTROL`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often is looked at what, in seconds."""

    beat_s: float = 1
    """Between two judgements: 50 sessions take 0.3 ms, and a grace of seconds must end on time."""
    ping_s: float = 5
    sweep_s: float = 60
    again_s: float = 30
    """A decision whose cause persists after it has been carried out is handed out again after this time."""
    act_s: float = 120
    """An actor's call that takes longer is reported, and its session is judged again."""


@dataclass(slots=True, eq=False)
class _Watch(Generic[S]):
    """What the monitor remembers of one session; the moments are marks of its clock."""

    session: S
    identity: ProcessIdentity | None = None
    memory: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2))
    memory_at: float = 0
    stopped: bool = False
    ping: "asyncio.Task[None] | None" = None
    ping_at: float = 0
    answered_at: float = 0
    unanswered_from: float | None = None
    expected_until: float = float("-inf")
    """The last moment at which the session had a reason to be silent."""
    warned: bool = False
    ending_from: float | None = None
    handed: dict[object, float] = field(default_factory=dict)
    act: "asyncio.Task[None] | None" = None
    act_from: float = 0
    failed_at: float = float("-inf")

    def take_process(self, identity: ProcessIdentity | None, now: float) -> None:
        """Watch another process from now on, and forget what was known of the one before."""
        if self.ping is not None:
            self.ping.cancel()
        self.identity = identity
        self.memory_at = self.ping_at = self.answered_at = now
        self.ping, self.unanswered_from, self.stopped = None, None, False
        self.memory.clear()
        self.session.state.memory_mb = None

    def hand_out(self, decisions: Sequence[Decision], now: float, again_s: float) -> Sequence[Decision]:
        """Those that the actor has to carry out now: each once, and again only when its cause persists for long."""
        kinds = {_kind(decision) for decision in decisions}
        self.handed = {kind: at for kind, at in self.handed.items() if kind in kinds and now - at < again_s}
        due = [d for d in decisions if _kind(d) not in self.handed and not isinstance(d, SampleSooner)]
        self.handed.update((_kind(decision), now) for decision in due)
        return due


class Monitor(Generic[S]):
    """Judges every session once a beat.

    Error handling: what fails for one session, in the actor or in a look at the machine is logged; the rest goes on.
    Resource handling: `close` ends the loop and the looks under way; an actor's call is left to finish.
    """

    def __init__(
        self,
        sessions: Callable[[], Iterable[S]],
        act: Actor[S],
        *,
        limits: Limits,
        machine: Machine,
        pace: Pace | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sessions = sessions
        self._act = act
        self._limits = limits
        self._machine = machine
        self._pace = pace or Pace()
        self._now = now
        self._sleep = sleep
        self._watches: dict[str, _Watch[S]] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None
        self._last_beat = self._awake_from = now()
        self._memory_at = self._stopped_at = self._last_beat
        self._sweep_at = self._last_beat + self._pace.sweep_s

    def __repr__(self) -> str:
        acting = sum(watch.act is not None and not watch.act.done() for watch in self._watches.values())
        return f"<Monitor {len(self._watches)} sessions | {acting} being acted on>"

    def start(self) -> None:
        """Begin to watch."""
        self._loop = tasks.spawn(self._run(), name="monitor")

    async def close(self) -> None:
        """Stop watching; what an actor has begun it also ends."""
        pings = [watch.ping for watch in self._watches.values() if watch.ping is not None]
        for task in [*([self._loop] if self._loop else []), *self._looks.values(), *pings]:
            await tasks.cancel(task)
        self._watches.clear()

    async def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception:
                log.exception("monitor_beat_failed")
            await self._sleep(self._pace.beat_s)

    def beat(self) -> None:
        """One judgement of every session; starts what is due beside it and waits for nothing."""
        now = self._now()
        if now - self._last_beat > self._pace.beat_s + STANDSTILL_S:
            self._awake_from = now
        self._last_beat = now
        self._meet(now)
        for watch in self._watches.values():
            self._guard(watch, self._judge, now)
        self._look(now)

    def _meet(self, now: float) -> None:
        """Take up new sessions and drop those that are gone."""
        present = {session.session_id: session for session in self._sessions()}
        for session_id, watch in tuple(self._watches.items()):
            if present.get(session_id) is not watch.session:
                del self._watches[session_id]
                self._guard(watch, lambda watch, now: watch.take_process(None, now), now)
        for session_id, session in present.items():
            if session_id not in self._watches:
                self._watches[session_id] = _Watch(session)

    def _guard(self, watch: _Watch[S], step: Callable[[_Watch[S], float], None], now: float) -> None:
        """Let no session's failure reach the others; one that fails with every beat is logged now and then."""
        try:
            step(watch, now)
        except Exception:
            if now - watch.failed_at >= self._pace.again_s:
                watch.failed_at = now
                log.exception("monitor_session_failed", session_id=watch.session.session_id)

    # ------------------------------------------------------------ judging

    def _judge(self, watch: _Watch[S], now: float) -> None:
        self._follow(watch, now)
        if watch.act is not None and not watch.act.done():
            if now - watch.act_from < self._pace.act_s:
                return
            log.error("monitor_action_hangs", session_id=watch.session.session_id, after_s=now - watch.act_from)
            watch.act = None
        decisions = decide(self._sample(watch, now), self._limits)
        due = watch.hand_out(decisions, now, self._pace.again_s)
        if due:
            watch.act_from = now
            watch.act = tasks.spawn(self._carry_out(watch, due), name=f"monitor-act-{watch.session.session_id}")

    def _follow(self, watch: _Watch[S], now: float) -> None:
        """Keep up with the session: its process, its silences, its pings."""
        session = watch.session
        identity = session.agent.identity if session.agent is not None else None
        if identity != watch.identity:
            watch.take_process(identity, now)
        if session.state.waiting_count or session.pulse.silence_expected:
            watch.expected_until = now
        if watch.identity is None or session.state.status not in ("active", "idle"):
            watch.unanswered_from = None
        elif now >= watch.ping_at and (watch.ping is None or watch.ping.done()):
            watch.ping_at = now + self._pace.ping_s
            watch.unanswered_from = now if watch.unanswered_from is None else watch.unanswered_from
            watch.ping = tasks.spawn(self._ping(watch, watch.identity), name=f"monitor-ping-{session.session_id}")

    def _sample(self, watch: _Watch[S], now: float) -> Sample:
        state, pulse = watch.session.state, watch.session.pulse
        last_sign = max(pulse.last_message_at, watch.answered_at, self._awake_from)
        last_event = max(pulse.last_message_at, watch.expected_until, self._awake_from)
        unanswered, turn, ending = watch.unanswered_from, pulse.turn_started_at, watch.ending_from
        points = tuple(MemoryPoint(watch.memory[-1][0] - at, mb) for at, mb in watch.memory)
        return Sample(
            age_s=now - pulse.started_at,
            idle_for_s=now - pulse.last_activity,
            status=state.status,
            busy=state.is_query_active,
            waiting_for_person=state.waiting_count > 0,
            silence_expected=pulse.silence_expected,
            memory_mb=points[-1].memory_mb if points else None,
            memory_before=points[:-1],
            warned=watch.warned,
            ending_since_s=None if ending is None else now - ending,
            sign_of_life_s=now - last_sign,
            unanswered_s=None if unanswered is None else now - max(unanswered, self._awake_from),
            stopped=watch.stopped,
            turn_age_s=None if turn is None else now - turn,
            last_event_s=now - last_event,
        )

    async def _carry_out(self, watch: _Watch[S], due: Sequence[Decision]) -> None:
        """Have the actor do what is still to be done at the moment of doing it: a message may have come in between."""
        structlog.contextvars.bind_contextvars(session_id=watch.session.session_id)
        for kind in map(_kind, due):
            now = self._now()
            decision = next((d for d in decide(self._sample(watch, now), self._limits) if _kind(d) == kind), None)
            if decision is None:
                continue
            if decision == EndDuration(grace=True):
                watch.ending_from = now
            log.info("monitor_decision", decision=repr(decision))
            try:
                await self._act.carry_out(watch.session, decision)
            except Exception:
                log.exception("monitor_action_failed", decision=repr(decision))
            else:
                watch.warned = watch.warned or isinstance(decision, WarnDuration)

    # ------------------------------------------------------------ looking

    async def _ping(self, watch: _Watch[S], identity: ProcessIdentity) -> None:
        answered = await self._act.ping(watch.session)
        if answered and watch.identity == identity:
            watch.answered_at, watch.unanswered_from = self._now(), None

    def _look(self, now: float) -> None:
        """Start the looks at the machine that are due."""
        processes = [(watch, watch.identity) for watch in self._watches.values() if watch.identity is not None]
        growing = [(watch, identity) for watch, identity in processes if now >= watch.memory_at]
        if growing and self._once("memory", lambda: self._measure(growing)):
            # All regular looks fall together, so that one look at all processes serves every session.
            self._memory_at += self._limits.sample_s * max(0, 1 + (now - self._memory_at) // self._limits.sample_s)
            for watch, _ in growing:
                watch.memory_at = self._memory_at
        if now >= self._stopped_at and self._once("stopped", lambda: self._find_stopped(processes)):
            self._stopped_at = now + self._pace.ping_s
        if now >= self._sweep_at and self._once("sweep", self._machine.sweep):
            self._sweep_at = now + self._pace.sweep_s

    def _once(self, name: str, look: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Start a look unless the last one of its kind still goes on."""
        if name in self._looks and not self._looks[name].done():
            return False
        self._looks[name] = tasks.spawn(look(), name=f"monitor-{name}")
        return True

    async def _measure(self, growing: Sequence[tuple[_Watch[S], ProcessIdentity]]) -> None:
        found = await self._machine.memory([identity for _, identity in growing])
        now = self._now()
        for watch, identity in growing:
            if identity in found and watch.identity == identity:
                watch.memory.append((now, found[identity]))
                self._guard(watch, self._take_memory, now)

    def _take_memory(self, watch: _Watch[S], now: float) -> None:
        watch.session.state.memory_mb = round(watch.memory[-1][1], 1)
        for decision in decide(self._sample(watch, now), self._limits):
            if isinstance(decision, SampleSooner):
                watch.memory_at = min(watch.memory_at, now + decision.in_s)

    async def _find_stopped(self, processes: Sequence[tuple[_Watch[S], ProcessIdentity]]) -> None:
        stopped = await self._machine.stopped([identity for _, identity in processes])
        for watch, identity in processes:
            watch.stopped = watch.identity == identity and identity in stopped


def _kind(decision: Decision) -> object:
    """What makes a decision the same as an earlier one: not its figures."""
    return (EndDuration, decision.grace) if isinstance(decision, EndDuration) else type(decision)

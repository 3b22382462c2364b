"""Ends processes with everything they have started, and nothing else.

A killed CLI leaves its Bash children alive, often in sessions of their own and adopted by another parent. So the tree
is collected before the first signal and again after it: descendants by parent, escaped ones by the marker that all of
them inherit. A process is held by a file descriptor (pidfd) where the system has that, and checked once it is held: a
signal can never hit another process that got the same id in between.

A process that gives up both its parent and its marker on purpose is not found.
"""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from claude_pattern import tasks, timeouts
from claude_pattern.process.identity import (
    ProcessIdentity,
    Seen,
    boot_id,
    identify,
    is_same,
    look,
    new_marker,
    scan,
    started_by,
    starter_lives_elsewhere,
)

__all__ = [
    "EndReport",
    "ProcessIdentity",
    "end_marked",
    "end_tree",
    "identify",
    "is_same",
    "members",
    "new_marker",
    "started_by",
    "sweep",
    "tree",
]

log = structlog.get_logger(__name__)

FIRST_LOOK_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.05
"""How often is looked whether signalled processes are gone: at once, then less and less often."""

PARENT_REAPS_S: Final = 0.25
"""How long whoever started a process has to collect its exit code before it is collected here."""


@dataclass(frozen=True, slots=True)
class EndReport:
    """What `end_tree` and `sweep` have ended, as process ids.

    `terminated` went on SIGTERM, `killed` needed SIGKILL, `left` are still there: they belong to another user, or
    the kernel holds them.
    """

    terminated: tuple[int, ...] = ()
    killed: tuple[int, ...] = ()
    left: tuple[int, ...] = ()

    @property
    def ended(self) -> tuple[int, ...]:
        """All that are gone."""
        return self.terminated + self.killed

    def __add__(self, other: "EndReport") -> "EndReport":
        return EndReport(
            self.terminated + other.terminated,
            self.killed + other.killed,
            self.left + other.left,
        )


def tree(identity: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """The process, all its descendants, and all that have escaped from it; blocks for some milliseconds."""
    return tuple(
        ProcessIdentity(seen.pid, seen.start_ticks, boot_id(), seen.marker or "")
        for seen in members(scan(), identity.marker)
    )


def members(
    processes: Mapping[int, Seen],
    marker: str,
    *,
    known: Collection[tuple[int, int]] = (),
    own_pid: int | None = None,
) -> list[Seen]:
    """Those of `processes` that carry `marker` or descend from one that does, or from a `known` one; pure.

    Never this process, and never one with another marker or what that one has started: a server that an agent runs
    for a test keeps its own agents. `known` names processes by id and start.
    """
    if not marker:
        return []
    own_pid = os.getpid() if own_pid is None else own_pid
    children: dict[int, list[Seen]] = {}
    for seen in processes.values():
        children.setdefault(seen.parent, []).append(seen)
    found: dict[int, Seen] = {}
    to_visit = [seen for seen in processes.values() if seen.marker == marker or seen.key in known]
    while to_visit:
        seen = to_visit.pop()
        if seen.pid in found or seen.pid == own_pid or seen.zombie or seen.marker not in (None, marker):
            continue
        found[seen.pid] = seen
        to_visit += children.get(seen.pid, ())
    return list(found.values())


async def end_tree(identity: ProcessIdentity, *, grace: float = timeouts.TERMINATE) -> EndReport:
    """End the process and everything it has started: SIGTERM, `grace` seconds, SIGKILL.

    May be called again, by several callers at once, and long after the process itself has gone: what it left behind
    still carries its marker. A cancelled caller leaves the work running to its end. Takes about 4 ms when there is
    nothing to end, at most `grace` and 3 seconds otherwise.
    """
    ending = _Ending(identity.marker, (identity.pid, identity.start_ticks))
    return await asyncio.shield(tasks.spawn(ending.run(grace), name=f"end-tree-{identity.pid}"))


async def end_marked(marker: str, *, grace: float = timeouts.TERMINATE) -> EndReport:
    """Like `end_tree`, for a process that has never been identified: it hung or was given up while it started."""
    return await asyncio.shield(tasks.spawn(_Ending(marker).run(grace), name="end-marked"))


async def sweep(identities: Iterable[ProcessIdentity], *, grace: float = timeouts.TERMINATE) -> EndReport:
    """End what recorded processes of an earlier server run have left behind.

    Processes whose server still runs beside this one (two servers on one database) are not touched.
    """
    by_marker = {identity.marker: identity for identity in identities if identity.marker}
    running = {seen.marker for seen in (await asyncio.to_thread(scan)).values()}
    orphans = [by_marker[marker] for marker in by_marker.keys() & running if not starter_lives_elsewhere(marker)]
    reports = await asyncio.gather(*(end_tree(identity, grace=grace) for identity in orphans))
    return sum(reports, EndReport())


@dataclass(eq=False, slots=True)
class Held:
    """A process that can be signalled without hitting another one that got its id."""

    seen: Seen
    fd: int | None

    @classmethod
    def take(cls, seen: Seen) -> "Held | None":
        """Hold the process that `seen` told about; None when it is gone."""
        held = cls(seen, None)
        try:
            held.fd = os.pidfd_open(seen.pid)
        except ProcessLookupError:
            return None
        except (AttributeError, OSError):  # not Linux, an old kernel, or no file descriptor left
            held.fd = None
        # The look must come after the hold, and the held one still live: only then was it the held one that was seen.
        if _runs(seen) and held.alive():
            return held
        held.close()
        return None

    def alive(self) -> bool:
        if self.fd is None:
            return _runs(self.seen)
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return not poll.poll(0)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.fd is not None:
                signal.pidfd_send_signal(self.fd, number)
            elif self.alive():
                os.kill(self.seen.pid, number)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@dataclass(eq=False, slots=True)
class _Ending:
    """One run of `end_tree`; `root` names the process that the whole tree comes from, if that is known."""

    marker: str
    root: tuple[int, int] | None = None
    held: dict[tuple[int, int], Held] = field(default_factory=dict)
    dead: set[tuple[int, int]] = field(default_factory=set)  # of the tree, not yet collected by their parents

    async def run(self, grace: float) -> EndReport:
        try:
            await asyncio.to_thread(self._find)
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)  # a stopped process acts on its SIGTERM only now
            await _while(self._alive, grace)
            killed = await self._kill()
            await self._reap()
            return self._report(killed)
        finally:
            for held in self.held.values():
                held.close()

    def _find(self) -> None:
        processes = scan()
        found = members(processes, self.marker, known=self.held.keys())
        for seen in found:
            if seen.key not in self.held and (held := Held.take(seen)) is not None:
                self.held[seen.key] = held
        parents = {seen.pid for seen in found}
        self.dead.update(seen.key for seen in processes.values() if seen.zombie and seen.parent in parents)

    def _alive(self) -> list[Held]:
        return [held for held in self.held.values() if held.alive()]

    def _send(self, number: signal.Signals) -> None:
        for held in self._alive():
            held.send(number)

    async def _kill(self) -> set[tuple[int, int]]:
        """SIGKILL to what is left and to what has been started since, until nothing more appears."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeouts.KILL
        killed: set[tuple[int, int]] = set()
        while self.held:
            await asyncio.to_thread(self._find)
            rest = self._alive()
            if not rest or loop.time() >= deadline:
                break
            killed.update(held.seen.key for held in rest)
            self._send(signal.SIGKILL)
            await _while(self._alive, deadline - loop.time())
        return killed

    async def _reap(self) -> None:
        """Collect the exit codes that nobody else will collect.

        Adopted processes are ours alone. One that was our child from the start belongs to the event loop, which would
        wait for ever for an exit code taken from under it; it is collected here only if the loop does not do it.
        """
        own = {key for key, held in self.held.items() if held.seen.parent == os.getpid()}
        if self.root is not None:
            own.add(self.root)
        for key in (self.held.keys() | self.dead) - own:
            _collect(key)
        await _while(lambda: any(map(_is_our_zombie, own)), PARENT_REAPS_S)
        for key in own:
            _collect(key)

    def _report(self, killed: Collection[tuple[int, int]]) -> EndReport:
        left = [held.seen.key for held in self._alive()]
        report = EndReport(
            terminated=tuple(key[0] for key in self.held if key not in killed and key not in left),
            killed=tuple(key[0] for key in killed if key not in left),
            left=tuple(key[0] for key in left),
        )
        if self.held:
            (log.warning if left else log.info)(
                "process_tree_ended",
                marker=self.marker,
                terminated=report.terminated,
                killed=report.killed,
                left=report.left,
            )
        return report


async def _while(condition: Callable[[], object], seconds: float) -> None:
    """Wait as long as `condition` holds, at most so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pause = FIRST_LOOK_S
    while condition() and (left := deadline - loop.time()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _runs(seen: Seen) -> bool:
    now = look(seen.pid)
    return now is not None and not now.zombie and now.start_ticks == seen.start_ticks


def _is_our_zombie(key: tuple[int, int]) -> bool:
    now = look(key[0])
    return now is not None and now.zombie and now.key == key and now.parent == os.getpid()


def _collect(key: tuple[int, int]) -> None:
    if _is_our_zombie(key):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(key[0], os.WNOHANG)

"""What the monitor asks the operating system; every look runs in a thread."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from claude_pattern.process import reap
from claude_pattern.process.identity import ProcessIdentity, started_by
from claude_pattern.process.memory import is_stopped, trees_memory

log = structlog.get_logger(__name__)


class Machine(Protocol):
    """What the monitor asks the operating system."""

    async def memory(self, identities: Sequence[ProcessIdentity]) -> dict[ProcessIdentity, float]:
        """MiB of each process tree; those of which nothing runs are left out."""

    async def stopped(self, identities: Sequence[ProcessIdentity]) -> Collection[ProcessIdentity]:
        """Those that a signal has stopped."""

    async def sweep(self) -> None:
        """End the processes of this server that belong to nothing."""


@dataclass(frozen=True, slots=True)
class ThisMachine:
    """The real one.

    `known_markers` tells the markers of all processes that are wanted: those of live sessions, those of the pool and
    those that are being started.
    """

    instance: str
    known_markers: Callable[[], Collection[str]]

    async def memory(self, identities: Sequence[ProcessIdentity]) -> dict[ProcessIdentity, float]:
        """From one look at all processes, in a thread."""
        return await asyncio.to_thread(trees_memory, identities)

    async def stopped(self, identities: Sequence[ProcessIdentity]) -> Collection[ProcessIdentity]:
        """From one look at each, in a thread."""
        return await asyncio.to_thread(lambda: [identity for identity in identities if is_stopped(identity.pid)])

    async def sweep(self) -> None:
        """End what carries a marker of this instance that nobody knows, unless another live server has made it."""
        found = await asyncio.to_thread(started_by, self.instance)
        # Asked after the look: what has been started since is not among `found`.
        known = frozenset(self.known_markers())
        orphans = [identity for identity in found if identity.marker not in known]
        if orphans:
            report = await reap.sweep(orphans)
            log.warning("orphans_swept", markers=sorted({o.marker for o in orphans}), ended=report.ended)

"""Agent processes kept ready: `plan` decides, `PreWarmPool` does.

A pooled process is ready for an immediate answer (its MCP servers have settled, it is warm) and belongs to one
fingerprint: the extension files, folder, model and credential it was started with. One with another fingerprint is
never handed out but retired, since a running process never sees later files.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog

from claude_pattern import tasks, timeouts
from claude_pattern.errors import ProcessFailed, StartError
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.process.agent import AgentLauncher, AgentProcess

log = structlog.get_logger(__name__)

MAX_STARTING = 2
"""Starts at once: one costs 0.34 CPU seconds, and more in parallel make each of them slower."""

START_ATTEMPTS = 3
"""Failed starts after which a server that has no ready process gives up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next: processes to retire, and how many to start."""

    retire: tuple[AgentProcess, ...]
    start: int


def plan(
    ready: Sequence[AgentProcess],
    *,
    size: int,
    starting: int,
    fingerprint: str,
    cold_starts: int,
    wait_s: float,
) -> Plan:
    """Decide what the pool needs.

    `starting` processes are on their way, `cold_starts` users wait for one of their own (which goes first), and
    `wait_s` is what is left of the pause after a failed start, in seconds.
    """
    usable = [agent for agent in ready if agent.fingerprint == fingerprint and agent.alive]
    retire = tuple(agent for agent in ready if agent not in usable)
    if cold_starts or wait_s > 0:
        return Plan(retire, 0)
    missing = size - len(usable) - starting
    return Plan(retire, max(0, min(missing, MAX_STARTING - starting)))


def backoff(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after that many failed starts in a row: doubled up to a limit, spread by half."""
    pause = min(timeouts.POOL_BACKOFF_LIMIT, timeouts.POOL_BACKOFF_FIRST * 2.0 ** (failures - 1))
    return pause * (0.5 + jitter() / 2)


class PreWarmPool:
    """Processes that wait for a session. `start` fills it, `take` hands one out, `close` ends them all."""

    def __init__(
        self,
        launcher: AgentLauncher,
        extensions: ExtensionLoader,
        *,
        size: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._launcher = launcher
        self._extensions = extensions
        self._size = size
        self._now = now
        self._ready: deque[AgentProcess] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._not_before = 0.0
        self._fingerprint = ""
        self._cold_starts = 0
        self._changed = asyncio.Event()
        self._filler: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<PreWarmPool {len(self._ready)}/{self._size} ready | {len(self._starting)} starting>"

    @property
    def depth(self) -> int:
        """How many processes are ready."""
        return len(self._ready)

    @property
    def size(self) -> int:
        """How many there should be; 0 means that the pool is off."""
        return self._size

    async def start(self) -> None:
        """Begin to fill the pool and return when the first process is ready.

        Raises:
            StartError: START_ATTEMPTS starts in a row have failed.
        """
        if self._size == 0:
            return
        self._filler = tasks.spawn(self._keep_filled(), name="pool")
        while not self._ready:
            if self._failures >= START_ATTEMPTS:
                await self.close()
                log.critical("no_agent_process", attempts=self._failures)
                raise StartError(
                    f"No agent process became ready in {START_ATTEMPTS} attempts. The log lines above give the reason; "
                    "`claude-pattern doctor` checks the installation."
                )
            await self._change()

    def take(self, fingerprint: str) -> AgentProcess | None:
        """A ready process of that fingerprint, or None; call `refill` when its session stands."""
        self._fingerprint = fingerprint
        found = next((a for a in self._ready if a.fingerprint == fingerprint and a.alive), None)
        if found is not None:
            self._ready.remove(found)
        return found

    def refill(self) -> None:
        """Replace what was taken: after the hand-out, since a start holds up the loop for 20 ms."""
        self._wake()

    async def cold_start(self, start: Callable[[], Awaitable[AgentProcess]]) -> AgentProcess:
        """Run a user's own start; the pool starts nothing meanwhile, since both would take twice as long."""
        self._cold_starts += 1
        try:
            return await start()
        finally:
            self._cold_starts -= 1

    async def close(self) -> None:
        """End every process of the pool."""
        if self._filler is not None:
            await tasks.cancel(self._filler)
        for task in tuple(self._starting):
            await tasks.cancel(task)
        agents, self._ready = list(self._ready), deque()
        await asyncio.gather(*(agent.close() for agent in agents))

    # ------------------------------------------------------------ filling

    async def _keep_filled(self) -> None:
        while True:
            if not self._fingerprint:
                self._fingerprint = self._launcher.options.fingerprint(await self._extensions.load())
            wait_s = self._not_before - self._now()
            todo = plan(
                tuple(self._ready),
                size=self._size,
                starting=len(self._starting),
                fingerprint=self._fingerprint,
                cold_starts=self._cold_starts,
                wait_s=wait_s,
            )
            for agent in todo.retire:
                self._ready.remove(agent)
                tasks.spawn(agent.close(), name=f"retire-{agent.session_id}")
            for _ in range(todo.start):
                task = tasks.spawn(self._add(), name="pool-start")
                self._starting.add(task)
                task.add_done_callback(self._started)
            await self._change(wait_s if wait_s > 0 else None)

    async def _add(self) -> None:
        try:
            extensions = await self._extensions.load()
            agent = await self._launcher.start(str(uuid4()), extensions, settle=True)
        except ProcessFailed as error:
            self._failures += 1
            self._not_before = self._now() + backoff(self._failures)
            log.warning("pool_start_failed", failures=self._failures, error=error.message)
            return
        self._failures = 0
        self._fingerprint = agent.fingerprint
        self._ready.append(agent)
        tasks.spawn(self._watch(agent), name=f"pool-watch-{agent.session_id}")

    async def _watch(self, agent: AgentProcess) -> None:
        """A process that dies while it waits is replaced at once."""
        await agent.ended.wait()
        self._wake()

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        self._wake()

    def _wake(self) -> None:
        """Let everybody who waits for a change look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, timeout_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

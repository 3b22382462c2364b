"""A stand-in for the CLI process at the edge of the session: it is told what to say, and remembers what it was told."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claude_agent_sdk import Message, PermissionResult, ResultMessage, StreamEvent, SystemMessage, ToolPermissionContext

from claude_pattern.errors import ProcessFailed
from claude_pattern.process.agent import Ask, OnEnd, OnMessage
from claude_pattern.settings import Settings, load


class FakeAgent:
    """Has the part of AgentProcess's interface that sessions, pool and manager use."""

    def __init__(self, session_id: str = "s", fingerprint: str = "f") -> None:
        self.session_id = session_id
        self.fingerprint = fingerprint
        self.pid = 4242
        self.identity = None
        self.options = None
        self.alive = True
        self.ended = asyncio.Event()
        self.sent: list[tuple[str, str]] = []
        self.interrupts = 0
        self.answers_interrupts = True
        self.closed = 0
        self.killed = False
        self._on_message: OnMessage | None = None
        self._on_end: OnEnd | None = None
        self._ask: Ask | None = None

    async def bind(self, *, on_message: OnMessage, on_end: OnEnd, ask: Ask) -> None:
        self._on_message, self._on_end, self._ask = on_message, on_end, ask

    async def send(self, text: str, message_id: str) -> None:
        if not self.alive:
            raise ProcessFailed
        self.sent.append((text, message_id))

    async def interrupt(self) -> None:
        self.interrupts += 1
        if self.answers_interrupts and self.sent:
            await self.say(
                result(
                    subtype="error_during_execution",
                    is_error=True,
                    terminal_reason="aborted_streaming",
                    user_message_uuids=[self.sent[-1][1]],
                )
            )

    async def ping(self) -> bool:
        return self.alive

    async def close(self, *, kill: bool = False) -> None:
        self.killed = kill
        self.closed += 1
        self.alive = False
        self.ended.set()

    async def say(self, *messages: Message) -> None:
        """The CLI says something."""
        assert self._on_message is not None
        for message in messages:
            await self._on_message(message)

    async def finish(self, text: str = "", **changes: Any) -> None:
        """The CLI answers its last message."""
        changes.setdefault("user_message_uuids", [self.sent[-1][1]])
        await self.say(*([delta(text)] if text else []), result(**changes))

    async def die(self, exit_code: int | None = -9) -> None:
        """The process ends by itself."""
        self.alive = False
        self.ended.set()
        assert self._on_end is not None
        await self._on_end(exit_code)

    async def ask(self, tool: str, tool_input: dict[str, Any]) -> PermissionResult:
        """The CLI asks for permission."""
        assert self._ask is not None
        return await self._ask(tool, tool_input, ToolPermissionContext(tool_use_id="t1"))


def delta(text: str) -> StreamEvent:
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return StreamEvent(uuid="u", session_id="s", event=event)


def result(**changes: Any) -> ResultMessage:
    fields: dict[str, Any] = {
        "subtype": "success",
        "duration_ms": 10,
        "duration_api_ms": 8,
        "is_error": False,
        "num_turns": 1,
        "session_id": "s",
        "total_cost_usd": 0.5,
    }
    return ResultMessage(**{**fields, **changes})


def cli_state(name: str) -> SystemMessage:
    return SystemMessage(subtype="session_state_changed", data={"state": name})


class FakeExtensions:
    """Extension files whose fingerprint a test can change."""

    def __init__(self) -> None:
        self.fingerprint = "f"
        self.loads = 0

    async def load(self) -> Any:
        self.loads += 1
        return self


class FakeLauncher:
    """Starts fake processes; `failing` starts fail first, and starts wait while `hold` is cleared."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load(env_file=None)
        self.options = self
        self.working_dir = "/work"
        self.config_dir = Path("/nonexistent/claude")
        self.failing = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.started: list[FakeAgent] = []
        self.resumed: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    def fingerprint(self, extensions: Any) -> str:
        return str(extensions.fingerprint)

    async def start(self, session_id: str, extensions: Any, *, resume: bool = False, settle: bool = False) -> FakeAgent:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.hold.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if self.failing:
            self.failing -= 1
            raise ProcessFailed
        agent = FakeAgent(session_id, self.fingerprint(extensions))
        self.started.append(agent)
        if resume:
            self.resumed.append(session_id)
        return agent


async def until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until something is so; a database may take its time."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)

"""One Claude Code process and its SDK client, from connect to gone.

The process has exactly one reader, from connect to disconnect: the SDK's buffer holds 100 messages, and when nobody
takes them its control replies stop too. Until a session takes the process over (`bind`), the reader keeps what arrives.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    Message,
    PermissionResult,
    PermissionResultDeny,
    ProcessError,
    ToolPermissionContext,
)
from claude_agent_sdk._errors import MessageParseError  # not exported; raised for one bad line only
from claude_agent_sdk.types import McpStatusResponse

from claude_pattern import tasks, timeouts
from claude_pattern.errors import ProcessFailed
from claude_pattern.extensions import ExtensionConfig, link_into, write_mcp_config
from claude_pattern.logs import scrubber
from claude_pattern.process import config_dir, reap
from claude_pattern.process import identity as identities
from claude_pattern.process.options import OptionsFactory

log = structlog.get_logger(__name__)

STDERR_LINES = 50
MCP_POLL_S = 0.05

OnMessage = Callable[[Message], Awaitable[None]]
OnEnd = Callable[[int | None], Coroutine[Any, Any, None]]
Ask = Callable[[str, dict[str, Any], ToolPermissionContext], Awaitable[PermissionResult]]


class Gate:
    """The permission callback of one process; its target is the session that has taken the process over."""

    def __init__(self) -> None:
        self.target: Ask | None = None

    async def __call__(self, tool: str, tool_input: dict[str, Any], context: ToolPermissionContext) -> PermissionResult:
        """Ask the session; a process that belongs to none may do nothing."""
        if self.target is None:
            return PermissionResultDeny(message="No session is attached to this process.")
        return await self.target(tool, tool_input, context)


class AgentProcess:
    """A connected Claude Code process. Made by `AgentLauncher.start`, ended by `close`.

    Resource handling: `close` may be called any number of times and from anywhere; the first call ends the process in
    a task of its own that no cancelled caller can stop, and every call waits for that task.
    """

    def __init__(self, session_id: str, fingerprint: str, marker: str, *, gone: Callable[[str], None]) -> None:
        self._gone = gone
        self.session_id = session_id
        self.fingerprint = fingerprint
        self.marker = marker
        self.gate = Gate()
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self.identity: identities.ProcessIdentity | None = None
        self.options: ClaudeAgentOptions | None = None
        self.mcp_config: Path | None = None
        self.ended = asyncio.Event()
        self._client: ClaudeSDKClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._early: deque[Message] = deque(maxlen=100)
        self._on_message: OnMessage | None = None
        self._on_end: OnEnd | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closing else "ended" if self.ended.is_set() else "alive"
        return f"<AgentProcess {self.session_id} pid={self.pid} {state}>"

    @property
    def pid(self) -> int | None:
        """The CLI's process id, None before it is connected."""
        return self.identity.pid if self.identity else None

    @property
    def alive(self) -> bool:
        """Whether the process can take a message right now."""
        return (
            self.identity is not None
            and not self.ended.is_set()
            and self._closing is None
            and identities.is_same(self.identity)
        )

    # ------------------------------------------------------------ start

    async def connect(self, options: ClaudeAgentOptions) -> None:
        """Start the process and its reader.

        Raises:
            ProcessFailed: it did not come up; the reason, from its stderr, is in the log.
        """
        self.options = options
        self._client = ClaudeSDKClient(options)
        try:
            await self._client.connect()
        except ClaudeSDKError as error:
            log.warning("process_start_failed", session_id=self.session_id, error=str(error), stderr=list(self.stderr))
            raise ProcessFailed from error
        info = await self._client.get_server_info() or {}
        pid = info.get("pid")
        if not isinstance(pid, int) or (identity := identities.identify(pid, self.marker)) is None:
            log.warning("process_without_identity", session_id=self.session_id, pid=pid, stderr=list(self.stderr))
            raise ProcessFailed
        self.identity = identity
        self._reader = tasks.spawn(self._read(), name=f"reader-{self.session_id}")

    async def settle(self) -> None:
        """Wait until its MCP servers have started or failed, and warm it up.

        Connect never waits for MCP servers, the first turn does; and one `get_context_usage` before the first turn
        takes 30 to 40 % off its first text.
        """
        client = self._connected()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeouts.MCP_SETTLE):
                while _pending(await client.get_mcp_status()):  # noqa: ASYNC110 - the CLI tells only when asked
                    await asyncio.sleep(MCP_POLL_S)
        await client.get_context_usage()

    async def _read(self) -> None:
        # The request that happened to start this process is not what its later lines are about.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(session_id=self.session_id)
        exit_code: int | None = 0
        try:
            exit_code = await self._read_to_the_end()
        finally:
            self.ended.set()
            if self._on_end is not None and self._closing is None:
                # A task of its own: whoever replaces this process waits for this reader to end.
                tasks.spawn(self._on_end(exit_code), name=f"lost-{self.session_id}")

    async def _read_to_the_end(self) -> int | None:
        while True:
            try:
                async for message in self._connected().receive_messages():
                    if self._on_message is None:
                        self._early.append(message)
                    else:
                        await self._on_message(message)
            except MessageParseError as error:  # a message this SDK does not know is no reason to go deaf
                log.warning("message_not_understood", session_id=self.session_id, error=str(error))
                continue
            except ProcessError as error:
                return error.exit_code
            except ClaudeSDKError as error:
                log.warning("reader_failed", session_id=self.session_id, error=str(error), stderr=list(self.stderr))
                return None
            return 0

    # ------------------------------------------------------------ use

    async def bind(self, *, on_message: OnMessage, on_end: OnEnd, ask: Ask) -> None:
        """Hand the process to a session: its messages, its end and its permission requests go there from now on."""
        while self._early:
            await on_message(self._early.popleft())
        self._on_message, self._on_end, self.gate.target = on_message, on_end, ask
        if self.ended.is_set():
            await on_end(None)

    async def send(self, text: str, message_id: str) -> None:
        """Give the model a user message; `message_id` (a UUID) comes back in the turn's result.

        Raises:
            ProcessFailed: the process is gone.
        """

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield {
                "type": "user",
                "uuid": message_id,
                "parent_tool_use_id": None,
                "message": {"role": "user", "content": text},
            }

        try:
            await self._connected().query(one())
        except ClaudeSDKError as error:
            raise ProcessFailed("The agent process is gone. Send the message again.") from error

    async def interrupt(self) -> None:
        """Ask for the end of the running turn; returns also when the process does not answer in time."""
        with contextlib.suppress(TimeoutError, ClaudeSDKError):
            async with asyncio.timeout(timeouts.CONTROL):
                await self._connected().interrupt()

    async def ping(self) -> bool:
        """Whether the process answers a control request within `timeouts.CONTROL`; a healthy one takes 1 ms."""
        try:
            async with asyncio.timeout(timeouts.CONTROL):
                await self._connected().get_mcp_status()
        except (TimeoutError, ClaudeSDKError):
            return False
        return True

    def _connected(self) -> ClaudeSDKClient:
        if self._client is None:
            raise ProcessFailed("The agent process has not been started.")
        return self._client

    # ------------------------------------------------------------ end

    async def close(self, *, kill: bool = False) -> None:
        """End the process and everything it has started; returns when nothing of it is left.

        With `kill` at once and by force: for a process that is deaf, stopped, or eats the machine's memory.
        """
        if self._closing is None:
            self._closing = tasks.spawn(self._close(kill), name=f"close-{self.session_id}")
        await asyncio.shield(self._closing)

    async def _close(self, kill: bool) -> None:
        if kill and self.identity is not None:
            await reap.end_tree(self.identity, grace=0)
        if self._client is not None:
            # Never cancelled: a cancelled disconnect skips the SDK's own kill and leaves the process for good.
            disconnect = tasks.spawn(self._client.disconnect(), name=f"disconnect-{self.session_id}")
            await asyncio.wait([disconnect], timeout=timeouts.DISCONNECT)
            if self.identity is not None:
                await reap.end_tree(self.identity)
            else:
                await reap.end_marked(self.marker)  # it hung before it could be identified
            await asyncio.wait([disconnect], timeout=timeouts.DISCONNECT)
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=timeouts.KILL)
        if self.mcp_config is not None:
            await asyncio.to_thread(self.mcp_config.unlink, missing_ok=True)
        self.ended.set()
        self._gone(self.marker)


def _pending(status: McpStatusResponse) -> bool:
    return any(server["status"] == "pending" for server in status["mcpServers"])


@dataclass(frozen=True, slots=True)
class AgentLauncher:
    """Starts processes of this server; `run_dir` holds their MCP configuration while they live.

    `markers` names every process that is wanted, from before it starts until nothing of it is left: whatever else
    carries a marker of this `instance` is an orphan.
    """

    options: OptionsFactory
    instance: str
    run_dir: Path
    markers: set[str] = field(default_factory=set)

    async def start(
        self, session_id: str, extensions: ExtensionConfig, *, resume: bool = False, settle: bool = False
    ) -> AgentProcess:
        """A connected process for `session_id`; with `settle` it is also ready for an immediate first answer.

        Raises:
            ProcessFailed: it did not come up within PREWARM_TIMEOUT_SECONDS.
        """
        marker = identities.new_marker(self.instance, session_id)
        self.markers.add(marker)
        agent = AgentProcess(session_id, self.options.fingerprint(extensions), marker, gone=self.markers.discard)
        try:
            async with asyncio.timeout(self.options.settings.prewarm_timeout_seconds):
                agent.mcp_config = await asyncio.to_thread(self._prepare, extensions, agent.marker)
                await agent.connect(
                    self.options.build(
                        session_id,
                        marker=agent.marker,
                        mcp_config=agent.mcp_config,
                        gate=agent.gate,
                        stderr=lambda line: agent.stderr.append(scrubber.text(line)),
                        resume=resume,
                    )
                )
                if settle:
                    await agent.settle()
        except TimeoutError as error:
            await agent.close()
            raise ProcessFailed("The agent process did not become ready in time.") from error
        except OSError as error:
            await agent.close()
            log.warning("process_files_failed", session_id=session_id, error=str(error))
            raise ProcessFailed("The files of the agent process could not be written to DATA_DIR.") from error
        except BaseException:
            await agent.close()
            raise
        return agent

    def _prepare(self, extensions: ExtensionConfig, marker: str) -> Path | None:
        scrubber.learn(*extensions.secrets())
        config_dir.prepare(self.options.config_dir)
        link_into(extensions, self.options.config_dir)
        if not extensions.mcp_servers:
            return None
        path = self.run_dir / f"{marker}.mcp.json"
        write_mcp_config(extensions, path)
        return path

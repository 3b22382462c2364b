"""A scripted stand-in for Anthropic's Messages API, which the real Claude Code CLI can talk to.

    async with MessagesAPI() as api:
        options = ClaudeAgentOptions(env=isolated_environment(tmp_path, api))
        ...
        assert api.requests[0].call.prompt == "!deltas 10"

The prompt decides the answer, see `claude_pattern.testing.scenarios`; a script (`claude_pattern.testing.script`) or a
Python function can decide it instead. It listens on loopback only, and any key opens it. From synchronous code:

    with MessagesAPI.in_thread() as api: ...

and from a shell: ``python -m claude_pattern.testing.messages_api --port 0 --script FILE``.
"""

import argparse
import asyncio
import inspect
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import h11

from claude_pattern import tasks
from claude_pattern.testing import scenarios
from claude_pattern.testing.answers import Answer, Failure
from claude_pattern.testing.commands import ScenarioError
from claude_pattern.testing.connection import Connection, RecordedRequest
from claude_pattern.testing.conversation import Call
from claude_pattern.testing.script import Script

__all__ = ["Answerer", "MessagesAPI", "RecordedRequest", "ThreadedMessagesAPI"]

Answerer = Callable[[Call], Answer | str | Awaitable[Answer | str | None] | None]
"""Decides about a call of the session's conversation or of a sub-agent: an answer, a text to say or a command of the
prompt grammar, or None for the built-in scenarios. The CLI's own requests are not shown to it."""

DUMMY_KEY: Final = "sk-ant-scripted-model-0000"
"""A key that opens nothing."""

_REMEMBERED_CALLS: Final = 10_000
"""Calls whose tries are counted; the oldest are forgotten first."""


class MessagesAPI:
    """The server: an async context manager that listens while it is open.

    `answer` or the script at `script` decide about the answers, then the built-in scenarios. `pace` is the number of
    seconds after each delta: 0 for tests, about 0.02 reads like a model. `port` 0 takes a free one. `keep` is how many
    of the last requests are kept: all by default, which a server that runs for long cannot afford.

    An exception of `answer` is sent to the client as an error 500, and raised when the context ends.
    """

    def __init__(
        self,
        answer: Answerer | None = None,
        *,
        script: Path | str | None = None,
        pace: float = 0.0,
        port: int = 0,
        keep: int | None = None,
    ) -> None:
        if answer is not None and script is not None:
            raise ValueError("Give an answer function or a script, not both")
        self.requests: list[RecordedRequest] = []
        """The requests, in the order in which they were complete."""
        self.base_url = ""
        self._received = 0
        self._keep = keep
        self._answerer: Answerer | None = Script.load(Path(script)) if script is not None else answer
        self._pace = pace
        self._port = port
        self._attempts: Counter[tuple[str | int, ...]] = Counter()
        self._arrived = asyncio.Event()
        self._failure: Exception | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, exc_type: object, *_: object) -> None:
        await self.close()
        if exc_type is None:
            self.raise_failure()

    async def open(self) -> None:
        """Begin to listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop to listen, and break off what is still being answered."""
        self._server.close()
        for task in list(self._connections):
            await tasks.cancel(task)

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)

    def raise_failure(self) -> None:
        """Raise the first exception of the answer function, if there was one."""
        if self._failure is not None:
            raise self._failure

    @classmethod
    def in_thread(
        cls,
        answer: Answerer | None = None,
        *,
        script: Path | str | None = None,
        pace: float = 0.0,
        port: int = 0,
        keep: int | None = None,
    ) -> "ThreadedMessagesAPI":
        """A context manager that runs a server in a thread of its own, for synchronous code."""
        return ThreadedMessagesAPI(cls(answer, script=script, pace=pace, port=port, keep=keep))

    def env(self) -> dict[str, str]:
        """The environment variables that point a CLI here."""
        return {"ANTHROPIC_BASE_URL": self.base_url, "ANTHROPIC_API_KEY": DUMMY_KEY}

    async def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[RecordedRequest]:  # noqa: ASYNC109
        """Wait until `count` requests have come in all, and give those that are kept.

        Raises TimeoutError after `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while self._received < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = tasks.spawn(self._serve(reader, writer), name="messages-api-connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, record=self._record, answer=self._answer, pace=self._pace)
        try:
            # A client may leave at any time, an interrupted CLI does.
            with suppress(ConnectionError, h11.RemoteProtocolError):
                await connection.serve()
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def _record(self, request: RecordedRequest) -> None:
        self.requests.append(request)
        self._received += 1
        if self._keep is not None:
            del self.requests[: max(0, len(self.requests) - self._keep)]
        self._arrived.set()

    async def _answer(self, request: RecordedRequest) -> Answer:
        call = self._counted(request.call)
        if self._answerer is None or call.origin == "side":
            return scenarios.answer(call)
        try:
            decided = self._answerer(call)
            if inspect.isawaitable(decided):
                decided = await decided
        except Exception as error:  # noqa: BLE001 - a test's own function may raise anything; it is raised at the end
            self._failure = self._failure or error
            return Failure(500, text=f"The scripted answer failed: {error!r}", final=True)
        if decided is None:
            return scenarios.answer(call)
        return scenarios.speak(decided, call) if isinstance(decided, str) else decided

    def _counted(self, call: Call) -> Call:
        self._attempts[call.key] += 1
        if len(self._attempts) > _REMEMBERED_CALLS:
            del self._attempts[next(iter(self._attempts))]
        return replace(call, attempt=self._attempts[call.key])


class ThreadedMessagesAPI:
    """A `MessagesAPI` in a thread of its own: a context manager for synchronous code, with the same members."""

    def __init__(self, api: MessagesAPI) -> None:
        self._api = api
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="messages-api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(self, exc_type: object, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if exc_type is None:
            self._api.raise_failure()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._api.base_url

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests, in the order in which they were complete."""
        return self._api.requests

    def env(self) -> dict[str, str]:
        """The environment variables that point a CLI here."""
        return self._api.env()

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[RecordedRequest]:
        """Wait until `count` requests have come in all, and give those that are kept.

        Raises TimeoutError after `timeout` seconds.
        """
        waiting = asyncio.run_coroutine_threadsafe(self._api.wait_for_requests(count, timeout), self._loop)
        return waiting.result()

    async def _run(self) -> None:
        try:
            await self._api.open()
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await self._api.close()


def main(arguments: list[str] | None = None) -> None:
    """Run a server until SIGINT or SIGTERM, and print its address."""
    parser = argparse.ArgumentParser(
        prog="python -m claude_pattern.testing.messages_api",
        description="A scripted stand-in for Anthropic's Messages API. What a prompt gets:\n\n" + _table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (0: a free one)")
    parser.add_argument("--script", type=Path, help="a YAML or JSON file that says which prompt gets which answer")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds after each delta (0.02)")
    options = parser.parse_args(arguments)
    try:
        api = MessagesAPI(script=options.script, pace=options.pace, port=options.port, keep=0)
        asyncio.run(_until_signal(api))
    except (OSError, ScenarioError) as error:
        parser.exit(1, f"{error}\n")


def _table() -> str:
    width = max(len(scenario.usage) for scenario in scenarios.SCENARIOS)
    return "\n".join(f"  {s.usage:{width}}  {s.meaning}" for s in scenarios.SCENARIOS)


async def _until_signal(api: MessagesAPI) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with api:
        sys.stdout.write(f"{api.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()

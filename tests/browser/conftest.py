"""A live stage (server with puppet agents), a Chromium, and signed-in pages for the tests that need a real browser."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.stage import KEY
from tests.conftest import require_program

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
START_S = 20.0


class Stage:
    """The stage as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: Any = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}/api/stage/{path}", data, headers), timeout=30) as reply:
            return json.load(reply)

    def session(self, first_message: str | None = None) -> "Play":
        play = Play(self, self.call("create"))
        if first_message is not None:
            play.send(first_message)
        return play


class Play:
    """One session on the stage."""

    def __init__(self, stage: Stage, session_id: str) -> None:
        self.stage = stage
        self.id = session_id

    def _call(self, name: str, body: Any = None) -> Any:
        return self.stage.call(f"{self.id}/{name}", body)

    def send(self, text: str) -> None:
        self._call("send", {"text": text})

    def emit(self, *events: dict[str, Any]) -> None:
        self._call("emit", list(events))

    def say(self, text: str, block: int = 0) -> None:
        self.emit({"type": "stream_delta", "delta": text, "block": block})

    def stream(self, text: str, *, chunk: int = 5, pause: float = 0.0) -> None:
        self._call("stream", {"text": text, "chunk": chunk, "pause": pause})

    def tool(self, tool: str, given: dict[str, Any], tool_use_id: str = "t1") -> None:
        self.emit({"type": "tool_use", "tool_use_id": tool_use_id, "tool": tool, "input": given})

    def tool_ends(self, result: Any, *, status: str = "success", ms: int = 1240, tool_use_id: str = "t1") -> None:
        event = {"type": "tool_result", "tool_use_id": tool_use_id, "result": result}
        self.emit({**event, "status": status, "duration_ms": ms})

    def ask(self, tool: str, given: dict[str, Any]) -> None:
        self._call("ask", {"tool": tool, "given": given})

    def answers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("answers")
        return found

    def finish(self) -> None:
        self._call("finish")

    def fail(self, status: int) -> None:
        self._call("fail", {"status": status})

    def end(self) -> None:
        self._call("end")

    def end_for_good(self) -> None:
        self._call("end_for_good")

    def die(self) -> None:
        """The process ends; `stage.call("starts")` lets the next one start."""
        self._call("die")

    def look(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._call("look")
        return seen


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("stage")
    command = [sys.executable, "-m", "tests.browser.stage", str(port), str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    stage = Stage(f"http://127.0.0.1:{port}")
    try:
        _wait_for(stage, process, folder / "log")
        yield stage
    finally:
        process.terminate()
        process.wait(10)
    problems = [line for line in (folder / "log").read_text().splitlines() if "Traceback" in line or "[error" in line]
    assert problems == []


def _wait_for(stage: Stage, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            stage.call("clear")
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"The stage did not start:\n{log.read_text()}")


@pytest.fixture
def stage(server: Stage) -> Stage:
    """The stage without sessions."""
    server.call("clear")
    return server


# Not longer than a module: Playwright keeps an event loop running, beside which no asynchronous test can run.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = require_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *QUIET])
        yield browser
        browser.close()


NewContext = Callable[..., BrowserContext]


@pytest.fixture
def new_context(chromium: Browser, stage: Stage) -> Iterator[NewContext]:
    """Makes browser contexts, signed in unless told otherwise; no page of theirs may report an error."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(*, signed_in: bool = True, width: int = 1280, height: int = 800, **options: Any) -> BrowserContext:
        context = chromium.new_context(base_url=stage.url, viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(5_000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        if signed_in:
            context.request.get("/login", params={"code": stage.call("login_code")})
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(message: ConsoleMessage) -> bool:
    expected = ("401 (Unauthorized)", "404 (Not Found)", "ERR_CONNECTION_REFUSED", "WebSocket connection")
    return message.type == "error" and not any(word in message.text for word in expected)


@pytest.fixture
def page(new_context: NewContext) -> Page:
    """A page of a signed-in browser."""
    return new_context().new_page()

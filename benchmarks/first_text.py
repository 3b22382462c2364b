"""How much the platform adds: first text, hand-out from the pool, and the way of a delta into a browser.

    python -m benchmarks.first_text [--rounds 60] [--no-browser]

One run, one machine, one scripted model. First text is measured in alternating calls: over our WebSocket, and with the
plain SDK on a client that was started with the same options and warmed in the same way. Prints Markdown tables.
"""

import argparse
import asyncio
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
from claude_agent_sdk import ClaudeSDKClient, PermissionResultDeny, ResultMessage, StreamEvent
from websockets.asyncio.client import ClientConnection, connect

from claude_pattern.process import credentials
from claude_pattern.process.identity import new_marker
from claude_pattern.process.options import OptionsFactory, bundled_cli
from claude_pattern.settings import load
from claude_pattern.testing import sse
from claude_pattern.testing.messages_api import DUMMY_KEY, MessagesAPI, ThreadedMessagesAPI

KEY = "benchmark-key"
WARM_ROUNDS = 5
WORDS = 400
WORD_PAUSE_MS = 20

OBSERVER = """
() => {
  window.seen = {};
  const note = () => {
    const text = document.querySelector('[role=log]').innerText;
    const found = [...text.matchAll(/word(\\d+)/g)];
    const now = performance.timeOrigin + performance.now();
    for (let i = found.length - 1; i >= 0 && !(found[i][1] in window.seen); i--) window.seen[found[i][1]] = now;
  };
  new MutationObserver(note).observe(document.querySelector('[role=log]'),
    {childList: true, subtree: true, characterData: true});
}
"""


def milliseconds(samples: list[float]) -> str:
    """P50, p95 and the number of samples, as cells of a table."""
    ordered = sorted(samples)
    p95 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.95))]
    return f"{statistics.median(ordered) * 1000:.1f} | {p95 * 1000:.1f} | {len(ordered)}"


@contextmanager
def server(api: ThreadedMessagesAPI, folder: Path) -> Iterator[str]:
    """The product as its own process; yields its address."""
    output = folder / "server.log"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PROJECT_DIR": str(folder / "project"),
        "DATA_DIR": str(folder / "data"),
        "CLAUDE_SDK_PATTERN_API_KEY": KEY,
        "PREWARM_POOL_SIZE": "2",
        "LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
        **api.env(),
    }
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "claude_pattern"], env=environment, cwd=folder, stdout=stream, stderr=stream
        )
    try:
        while not (found := re.search(r"listens on (http://\S+)", output.read_text())):
            if process.poll() is not None:
                raise SystemExit(output.read_text())
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def plain_client(api: ThreadedMessagesAPI, folder: Path) -> AsyncIterator[ClaudeSDKClient]:
    """The SDK by itself, with our options and warmed as ours are."""
    settings = load(
        env_file=None,
        anthropic_api_key=DUMMY_KEY,
        anthropic_base_url=api.base_url,
        project_dir=folder / "project",
        data_dir=folder / "plain",
    )
    config = folder / "plain" / "claude"
    config.mkdir(parents=True)
    factory = OptionsFactory(settings, credentials.resolve(settings, {}), config)

    async def refuse(*_: Any) -> PermissionResultDeny:
        return PermissionResultDeny()

    session_id = str(uuid4())
    options = factory.build(
        session_id, marker=new_marker("bench", session_id), mcp_config=None, gate=refuse, stderr=lambda line: None
    )
    async with ClaudeSDKClient(options) as client:
        await client.get_context_usage()
        yield client


async def plain_first_text(client: ClaudeSDKClient) -> float:
    """Seconds from the query to the first text, with the plain SDK."""
    began, first = time.perf_counter(), 0.0
    await client.query("!text hello there")
    async for message in client.receive_messages():
        if isinstance(message, StreamEvent) and not first and message.event["type"] == "content_block_delta":
            first = time.perf_counter() - began
        if isinstance(message, ResultMessage):
            return first
    raise SystemExit("the plain client ended")


async def our_first_text(socket: ClientConnection, session_id: str, seq: int) -> float:
    """Seconds from the message to the first text, over our WebSocket."""
    began, first = time.perf_counter(), 0.0
    await socket.send(
        orjson.dumps(
            {"type": "user_message", "session_id": session_id, "text": "!text hello there", "seq": seq}
        ).decode()
    )
    async for frame in socket:
        event = orjson.loads(frame)
        if event["type"] == "stream_delta" and not first:
            first = time.perf_counter() - began
        if event["type"] == "response_complete":
            return first
    raise SystemExit("the socket closed")


async def first_text(api: ThreadedMessagesAPI, url: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Alternating calls on one warm client of each kind."""
    found: dict[str, list[float]] = {"plain SDK": [], "our WebSocket": []}
    address = url.replace("http", "ws") + "/ws/v1/chat"
    async with plain_client(api, folder) as client, connect(address, additional_headers={"X-API-Key": KEY}) as socket:
        await socket.send('{"type": "create_session"}')
        async for frame in socket:
            if (event := orjson.loads(frame))["type"] == "session_ready":
                break
        for number in range(rounds + WARM_ROUNDS):
            plain = await plain_first_text(client)
            ours = await our_first_text(socket, event["session_id"], number + 1)
            if number >= WARM_ROUNDS:
                found["plain SDK"].append(plain)
                found["our WebSocket"].append(ours)
        await socket.send(orjson.dumps({"type": "destroy_session", "session_id": event["session_id"]}).decode())
    return found


def hand_out(url: str, rounds: int) -> list[float]:
    """Seconds that POST /sessions takes when a process is ready."""
    found = []
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=30) as client:
        for _ in range(rounds):
            while client.get("/api/v1/health/ready").json().get("pool_depth", 0) < 2:
                time.sleep(0.05)
            began = time.perf_counter()
            created = client.post("/api/v1/sessions", json={}).json()
            found.append(time.perf_counter() - began)
            if created["source"] != "pre-warmed":
                raise SystemExit(f"not from the pool: {created}")
            client.delete(f"/api/v1/sessions/{created['session_id']}")
    return found


def delta_to_dom(api: ThreadedMessagesAPI, url: str, chromium: str) -> list[float]:
    """Seconds from the moment a word leaves the model until it stands in the page."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only when the browser is measured

    sent: dict[int, float] = {}
    original = sse._delta_body

    def noted(block: Any, chunk: str) -> dict[str, Any]:
        if found := re.match(r"word(\d+)", chunk):
            sent[int(found[1])] = time.time()
        return original(block, chunk)

    sse._delta_body = noted
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{url}/login")
            page.get_by_label("API key").fill(KEY)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("button", name="New session").first.click()
            page.wait_for_url("**/chat/*")
            page.get_by_role("textbox", name="Message").fill(f"!deltas {WORDS} {WORD_PAUSE_MS}")
            page.evaluate(OBSERVER)
            page.get_by_role("textbox", name="Message").press("Enter")
            page.wait_for_function(f"window.seen['{WORDS}']", timeout=120_000)
            seen = page.evaluate("window.seen")
            browser.close()
    finally:
        sse._delta_body = original
    return [float(moment) / 1000 - sent[int(number)] for number, moment in seen.items() if int(number) in sent]


def machine() -> str:
    """One line that says what was measured on what."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("claude-pattern", "claude-agent-sdk", "nicegui"))
    cli = subprocess.run([bundled_cli(), "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}, CLI {cli}"
    )


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, MessagesAPI.in_thread() as api:
        folder = Path(name)
        (folder / "project").mkdir()
        os.environ["HOME"] = name
        with server(api, folder) as url:
            texts = asyncio.run(first_text(api, url, folder, options.rounds))
            pool = hand_out(url, max(10, options.rounds // 3))
            dom = [] if options.no_browser else delta_to_dom(api, url, options.chromium)
    print(f"{machine()}\n")
    print("| | p50 ms | p95 ms | samples |\n|---|---|---|---|")
    for label, samples in texts.items():
        print(f"| first text, {label} | {milliseconds(samples)} |")
    added = [ours - plain for plain, ours in zip(texts["plain SDK"], texts["our WebSocket"], strict=True)]
    print(f"| first text, added by the platform (pairwise) | {milliseconds(added)} |")
    print(f"| hand-out from the pool (POST /sessions, whole request) | {milliseconds(pool)} |")
    if dom:
        print(f"| delta at the model's service to visible in Chromium | {milliseconds(dom)} |")


if __name__ == "__main__":
    main()

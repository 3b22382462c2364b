"""Secrets are put everywhere an operator can put them; they come out nowhere: logs, responses, process arguments."""

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
from websockets.sync.client import connect

from tests.integration.conftest import Server

SERVER_KEY = "canary-1-server-key"
MODEL_KEY = "sk-ant-canary-2-model-key"
MCP_ENV = "canary-3-mcp-environment"
MCP_HEADER = "canary-4-mcp-header"
MCP_ARGUMENT = "canary-5-expanded-variable"


def turn(server: Server, text: str) -> str:
    """One turn over the WebSocket; everything the server said, as text."""
    said = []
    with connect(
        f"{server.url.replace('http', 'ws')}/ws/v1/chat", additional_headers={"X-API-Key": SERVER_KEY}
    ) as socket:
        socket.send('{"type": "create_session"}')
        while True:
            said.append(str(socket.recv(timeout=20)))
            event = orjson.loads(said[-1])
            if event["type"] == "session_ready":
                message = {"type": "user_message", "session_id": event["session_id"], "text": text, "seq": 1}
                socket.send(orjson.dumps(message).decode())
            elif event["type"] in ("response_complete", "stream_error"):
                break
        socket.send("{broken json")
        socket.send(orjson.dumps({"type": "interrupt", "session_id": SERVER_KEY}).decode())
        said.extend(str(socket.recv(timeout=20)) for _ in range(2))
    return "\n".join(said)


def test_no_secret_comes_out_anywhere(start_server: Callable[..., Server], project: Path, tmp_path: Path) -> None:
    servers = {
        "local": {"command": "sleep", "args": ["300"], "env": {"TOKEN": MCP_ENV}},
        "remote": {
            "type": "http",
            "url": "http://127.0.0.1:9/mcp",
            "headers": {"Authorization": f"Bearer {MCP_HEADER}", "X-Expanded": "${MCP_SECRET}"},
        },
        "broken": {"command": 7, "env": {"TOKEN": MCP_ENV}},
    }
    (project / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    server = start_server(
        CLAUDE_SDK_PATTERN_API_KEY=SERVER_KEY,
        ANTHROPIC_API_KEY=MODEL_KEY,
        CLAUDE_CODE_OAUTH_TOKEN="canary-6-set-aside",
        MCP_SECRET=MCP_ARGUMENT,
        LOG_LEVEL="DEBUG",
        PREWARM_POOL_SIZE="0",
    )
    client = server.client
    client.headers["X-API-Key"] = SERVER_KEY
    said = [turn(server, "!status 401"), turn(server, "!text fine")]
    arguments = [" ".join(process.cmdline()) for process in server.descendants() if process.is_running()]
    for path in ("sessions", "extensions", "health/ready", f"sessions/{SERVER_KEY}", f"nothing/{MODEL_KEY}"):
        said.append(client.get(f"/api/v1/{path}").text)
    said.append(client.post("/api/v1/sessions", content=f'{{"{MODEL_KEY}": '.encode()).text)
    said.append(client.get("/api/openapi.json").text)
    said.append(client.get("/api/docs").text)
    said.append(client.get(f"/ws/v1/chat?api_key={SERVER_KEY}").text)
    said.append(client.get("/api/v1/sessions", headers={"X-API-Key": SERVER_KEY + "-wrong"}).text)
    said.append(client.post("/login", data={"api_key": SERVER_KEY + "-wrong", "key": SERVER_KEY}).text)
    said.append(str(dict(client.get("/login").headers)))
    assert server.stop() == 0

    assert arguments
    assert any("claude" in line for line in arguments)
    assert '"level":"info"' in server.printed
    for name, text in {"log": server.printed, "responses": "\n".join(said), "arguments": "\n".join(arguments)}.items():
        assert "canary" not in text, f"{name}: {text[max(0, text.find('canary') - 200) :][:400]}"
    assert list((tmp_path / "data" / "run").glob("*.json")) == [], "the MCP configuration is gone with its processes"


def test_the_environment_of_the_running_agents_holds_the_models_key_and_no_other(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(CLAUDE_SDK_PATTERN_API_KEY=SERVER_KEY, ANTHROPIC_API_KEY=MODEL_KEY, MCP_SECRET=MCP_ARGUMENT)
    seen = []
    for process in server.descendants():
        try:
            seen.append(str(process.environ()))
        except psutil.NoSuchProcess:
            continue

    assert seen
    assert all(SERVER_KEY not in text and MCP_ARGUMENT not in text for text in seen)

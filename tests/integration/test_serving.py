"""The server as an operator runs it: one clear line when it cannot start, nothing left when it stops."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.conftest import KEY, Server, processes_marked

Start = Callable[..., Server]


def failed_line(server: Server) -> str:
    """The one line of a server that did not start."""
    assert server.process.wait(timeout=40) != 0
    lines = [line for line in server.printed.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, server.printed
    assert "Traceback" not in server.printed
    return lines[0]


def test_it_says_where_it_listens_how_to_sign_in_and_which_credential_it_uses(start_server: Start) -> None:
    server = start_server()

    assert f"listens on {server.url}" in server.printed
    assert "/login?code=" in server.printed
    assert "Credential:  ANTHROPIC_API_KEY" in server.printed
    assert "Isolation:" in server.printed
    assert KEY not in server.printed
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_and_leaves_no_process(start_server: Start, number: int) -> None:
    server = start_server(PREWARM_POOL_SIZE="2")
    session_id = server.client.post("/api/v1/sessions", json={}).json()["session_id"]
    children = server.descendants()
    assert len(children) >= 2
    assert processes_marked(session_id)

    assert server.stop(number) == 0
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []
    assert processes_marked(session_id) == []


def test_ctrl_c_in_the_terminal_does_not_hit_the_agents_before_the_server_has_ended_them(start_server: Start) -> None:
    server = start_server()
    server.client.post("/api/v1/sessions", json={})
    children = server.descendants()
    os.killpg(server.process.pid, signal.SIGINT)

    assert server.process.wait(timeout=30) == 0
    assert "process_lost" not in server.printed
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []


def test_a_killed_server_takes_its_agents_with_it(start_server: Start) -> None:
    server = start_server()
    server.client.post("/api/v1/sessions", json={})
    children = server.descendants()
    server.process.kill()

    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def test_after_a_kill_the_next_start_knows_that_the_sessions_have_ended(start_server: Start) -> None:
    first = start_server()
    session_id = first.client.post("/api/v1/sessions", json={}).json()["session_id"]
    first.process.kill()
    first.process.wait()
    second = start_server()

    details = second.client.get(f"/api/v1/sessions/{session_id}").json()
    assert (details["status"], details["terminated_reason"]) == ("terminated", "server_stopped")
    assert second.client.get("/api/v1/sessions").json() == {"sessions": []}
    assert second.stop() == 0


def test_without_a_credential_the_choices_are_listed(start_server: Start) -> None:
    line = failed_line(start_server(ready=False, ANTHROPIC_API_KEY="-", ANTHROPIC_BASE_URL="-"))

    assert "ANTHROPIC_API_KEY" in line
    assert "claude-pattern demo" in line


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORT", "eighty", "PORT: found 'eighty'"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL: found 'LOUD'"),
        ("MAX_SESSIONS", "0", "MAX_SESSIONS: found '0'"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL"),
    ],
)
def test_a_bad_setting_is_named(start_server: Start, variable: str, value: str, said: str) -> None:
    assert said in failed_line(start_server(ready=False, **{variable: value}))


def test_a_port_that_is_taken_is_named(start_server: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])

        assert f"Cannot listen on 127.0.0.1:{port}" in failed_line(start_server(ready=False, PORT=port))


def test_a_database_that_cannot_be_opened_is_named(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("x")
    line = failed_line(start_server(ready=False, DATABASE_URL=f"sqlite:///{tmp_path}/a-file/sessions.db"))

    assert "database" in line.lower()


def test_an_agent_that_never_starts_ends_the_start_with_a_critical_line(start_server: Start, tmp_path: Path) -> None:
    broken = tmp_path / "claude"
    broken.write_text("#!/bin/sh\necho 'cannot run here' >&2\nexit 1\n")
    broken.chmod(0o755)
    server = start_server(ready=False, CLAUDE_CLI_PATH=str(broken))
    line = failed_line(server)

    assert server.process.returncode == 1
    assert "No agent process became ready" in line
    logged = [json.loads(text) for text in server.printed.splitlines() if text.startswith("{")]
    assert any(entry["level"] == "critical" for entry in logged)
    assert "cannot run here" in server.printed


def test_a_second_server_on_the_same_data_folder_is_refused_and_the_first_goes_on(start_server: Start) -> None:
    first = start_server()
    line = failed_line(start_server(ready=False))

    assert "data folder" in line
    assert first.client.get("/api/v1/health/ready").status_code == 200


def test_a_session_over_rest_is_pre_warmed(start_server: Start) -> None:
    server = start_server()
    created = server.client.post("/api/v1/sessions", json={})

    assert created.status_code == 201
    body = created.json()
    assert list(body) == ["session_id", "status", "source", "created_at"]
    assert (body["status"], body["source"]) == ("active", "pre-warmed")


def test_rest_answers_to_the_letter(start_server: Start) -> None:
    server = start_server(MAX_SESSIONS="1")
    client = server.client
    unauthorized = {"error": "unauthorized", "message": "Invalid API key"}
    for headers in ({"X-API-Key": ""}, {"X-API-Key": "wrong"}):
        refused = client.get("/api/v1/sessions", headers=headers)
        assert (refused.status_code, refused.json()) == (401, unauthorized)
    assert client.get("/api/v1/health/live", headers={"X-API-Key": ""}).json() == {"status": "ok"}

    session_id = client.post("/api/v1/sessions", json={}).json()["session_id"]
    (summary,) = client.get("/api/v1/sessions").json()["sessions"]
    assert summary["session_id"] == session_id
    full = client.post("/api/v1/sessions", json={})
    assert (full.status_code, full.json()) == (
        503,
        {"error": "capacity_exceeded", "message": "Server at capacity. Max sessions: 1"},
    )
    not_ready = client.get("/api/v1/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json() == {
        "status": "not_ready",
        "reason": "at_capacity",
        "active_sessions": 1,
        "max_sessions": 1,
    }
    ended = client.delete(f"/api/v1/sessions/{session_id}")
    assert (ended.status_code, ended.json()) == (
        200,
        {"session_id": session_id, "status": "terminated", "reason": "user_requested"},
    )
    missing: tuple[int, dict[str, Any]] = (404, {"error": "not_found", "message": "Session not found"})
    for answer in (
        client.delete(f"/api/v1/sessions/{session_id}"),
        client.get("/api/v1/sessions/00000000-0000-0000-0000-000000000000"),
    ):
        assert (answer.status_code, answer.json()) == missing
    assert client.get("/api/docs").status_code == 200


def test_the_agent_sees_no_secret_of_the_server(start_server: Start, project: Path) -> None:
    server = start_server(SOME_OTHER_SECRET="canary-of-the-operator")
    assert server.client.post("/api/v1/sessions", json={}).status_code == 201

    for process in server.descendants():
        try:
            seen = str(process.environ()) + " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        assert KEY not in seen
        assert "canary-of-the-operator" not in seen


def test_acknowledged_sessions_are_in_a_sound_database_after_a_kill(start_server: Start, tmp_path: Path) -> None:
    server = start_server()
    session_id = server.client.post("/api/v1/sessions", json={}).json()["session_id"]
    server.process.kill()
    server.process.wait()

    with sqlite3.connect(tmp_path / "data" / "sessions.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("select session_id from sessions").fetchall() == [(session_id,)]
    database.close()


def test_the_demo_needs_no_setting_and_cleans_up(tmp_path: Path) -> None:
    output = tmp_path / "demo.log"
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    environment = {"PATH": os.environ["PATH"], **own, **coverage}
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "claude_pattern", "demo", "--port", "0"],
            env=environment,
            cwd=tmp_path,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    ends = time.monotonic() + 40
    while "/login?code=" not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < ends, output.read_text()
        time.sleep(0.05)
    assert "scripted" in output.read_text()
    process.terminate()

    assert process.wait(timeout=30) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if "demo-" in path.name) == []

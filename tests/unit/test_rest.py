"""The REST contract, row by row, and the description that it gives of itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from claude_pattern import errors, events
from claude_pattern.api import problems
from claude_pattern.api.frames import explain
from claude_pattern.logs import MASK, scrubber
from tests.unit.api_fakes import Site

ROW = {"error": str, "message": str}
FAILURES = ("401", "403", "429", "500")
"""What every route with a key may answer."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def client(site: Site) -> TestClient:
    return site.client()


def opened(client: TestClient) -> str:
    return str(client.post("/api/v1/sessions", json={}).json()["session_id"])


# ---------------------------------------------------------------- sessions


def test_without_sessions_the_list_is_empty(client: TestClient) -> None:
    answer = client.get("/api/v1/sessions")

    assert (answer.status_code, answer.json()) == (200, {"sessions": []})


def test_a_session_is_opened_and_listed(client: TestClient) -> None:
    answer = client.post("/api/v1/sessions", json={})

    assert answer.status_code == 201
    assert answer.json() == {
        "session_id": "session-1",
        "status": "active",
        "source": "pre-warmed",
        "created_at": "2026-01-31T09:30:00+00:00",
    }
    assert client.get("/api/v1/sessions").json() == {
        "sessions": [
            {
                "session_id": "session-1",
                "status": "active",
                "created_at": "2026-01-31T09:30:00+00:00",
                "last_active_at": "2026-01-31T09:30:00+00:00",
                "message_count": 0,
                "total_cost_usd": 0.0,
                "is_resumable": True,
                "title": None,
            }
        ]
    }


def test_a_session_opens_without_a_body_as_well(client: TestClient) -> None:
    assert client.post("/api/v1/sessions").status_code == 201


def test_a_cold_start_says_so(site: Site, client: TestClient) -> None:
    site.manager.cold = True

    assert client.post("/api/v1/sessions", json={}).json()["source"] == "cold-start"


def test_a_full_server_refuses_another_session(site: Site, client: TestClient) -> None:
    site.manager.max_sessions = 1
    opened(client)
    answer = client.post("/api/v1/sessions", json={})

    assert answer.status_code == 503
    assert answer.json() == {"error": "capacity_exceeded", "message": "Server at capacity. Max sessions: 1"}
    assert int(answer.headers["retry-after"]) > 0


def test_a_server_that_goes_down_refuses_another_session(site: Site, client: TestClient) -> None:
    site.manager.closing = True
    answer = client.post("/api/v1/sessions", json={})

    assert (answer.status_code, answer.json()["error"]) == (503, "server_shutting_down")
    assert "retry-after" in answer.headers


def test_the_details_of_a_session_have_the_seven_fields_and_more(client: TestClient) -> None:
    answer = client.get(f"/api/v1/sessions/{opened(client)}")

    assert answer.status_code == 200
    assert set(events.SessionSummary.model_fields) < set(answer.json())
    assert answer.json()["subprocess_pid"] == 7


def test_an_ended_session_has_details_too(site: Site, client: TestClient) -> None:
    session_id = opened(client)
    site.manager.recorded["old"] = {
        **site.manager.sessions[session_id].state.summary().model_dump(),
        "session_id": "old",
        "status": "terminated",
        "terminated_reason": "user_requested",
    }

    assert client.get("/api/v1/sessions/old").json()["terminated_reason"] == "user_requested"


def test_a_session_is_ended(client: TestClient) -> None:
    session_id = opened(client)
    answer = client.delete(f"/api/v1/sessions/{session_id}")

    assert answer.status_code == 200
    assert answer.json() == {"session_id": session_id, "status": "terminated", "reason": "user_requested"}
    assert client.delete(f"/api/v1/sessions/{session_id}").status_code == 404


def test_an_interrupt_stops_the_running_turn_and_is_idempotent(site: Site, client: TestClient) -> None:
    session_id = opened(client)
    site.manager.sessions[session_id].emit(events.TurnStarted(message_id="m", text="hello"))
    answers = [client.post(f"/api/v1/sessions/{session_id}/interrupt") for _ in range(2)]

    assert [answer.json() for answer in answers] == [
        {"session_id": session_id, "interrupted": True},
        {"session_id": session_id, "interrupted": False},
    ]


@pytest.mark.parametrize("session_id", ["unknown", "x" * 65, "a%00b", "a%20b", "..%2f..", "%F0%9F%98%80", "'--"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/interrupt")])
def test_an_unknown_session_is_not_found(client: TestClient, session_id: str, method: str, rest: str) -> None:
    answer = client.request(method, f"/api/v1/sessions/{session_id}{rest}")

    assert answer.status_code == 404
    if "%2f" not in session_id:
        assert answer.json() == {"error": "not_found", "message": "Session not found"}


# ---------------------------------------------------------------- extensions


def test_extensions_are_read_afresh_with_their_secrets_masked(tmp_path: Path, client: TestClient) -> None:
    assert client.get("/api/v1/extensions").json()["mcp_servers"] == {}
    config = {
        "mcpServers": {
            "files": {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "canary-1"}},
            "web": {"type": "http", "url": "https://mcp.example.com/", "headers": {"Authorization": "Bearer canary-2"}},
        }
    }
    (tmp_path / "mcp.json").write_text(json.dumps(config))
    (tmp_path / "skills" / "review").mkdir(parents=True)
    (tmp_path / "skills" / "review" / "SKILL.md").write_text("---\nname: review\ndescription: Reviews.\n---\nDo it.\n")
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "hello.md").write_text("---\ndescription: Says hello.\n---\nSay hello.\n")
    (tmp_path / "commands" / "bad.md").write_text("---\ndescription: [\n---\n")
    answer = client.get("/api/v1/extensions")
    found = answer.json()

    assert answer.status_code == 200
    assert set(found) == {"mcp_servers", "skills", "commands", "problems"}
    assert found["mcp_servers"]["files"]["command"] == "npx"
    assert set(found["mcp_servers"]) == {"files", "web"}
    assert "canary" not in answer.text
    assert found["skills"] == [{"name": "review", "path": "skills/review/SKILL.md"}]
    assert {"name": "hello", "path": "commands/hello.md"} in found["commands"]
    assert [set(problem) for problem in found["problems"]] == [{"file", "what", "line", "severity"}]
    assert found["problems"][0]["file"] == "commands/bad.md"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/v1", "/api/v1/unknown", "/api/v2/sessions", "/api/v1/sessions/", "/ws", "/ws/v2/chat"],
)
def test_an_unknown_address_is_not_found_in_json(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/sessions", "GET, POST"),
        ("POST", "/api/v1/sessions/1", "DELETE, GET, PATCH"),
        ("GET", "/api/v1/sessions/1/interrupt", "POST"),
        ("POST", "/api/v1/extensions", "GET"),
        ("POST", "/api/v1/health/live", "GET"),
        ("DELETE", "/api/docs", "GET"),
    ],
)
def test_a_method_that_is_not_taken_is_told_which_are(client: TestClient, method: str, path: str, allowed: str) -> None:
    # The route that is open to everybody is not open for a change without a key.
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("body", "content_type", "status", "expected"),
    [
        ("{", "application/json", 400, {"error": "invalid_json", "message": "The body is not valid JSON."}),
        ("[]", "application/json", 422, None),
        ('"x"', "application/json", 422, None),
        ("{}", "text/plain", 422, None),
        ("a=b", "application/x-www-form-urlencoded", 422, None),
        (
            '{"name": "x"}',
            "application/json",
            422,
            {"error": "invalid_request", "message": "body.name: Extra inputs are not permitted"},
        ),
        ('{"\\ud800": 1}', "application/json", 422, None),
    ],
)
def test_a_body_that_breaks_a_rule_gets_the_one_error_shape(
    client: TestClient, body: str, content_type: str, status: int, expected: dict[str, str] | None
) -> None:
    answer = client.post("/api/v1/sessions", content=body, headers={"content-type": content_type})

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}
    if expected is not None:
        assert answer.json() == expected
    assert client.get("/api/v1/sessions").json() == {"sessions": []}


def subclasses(parent: type[errors.ClaudePatternError]) -> list[type[errors.ClaudePatternError]]:
    return [parent, *(found for child in parent.__subclasses__() for found in subclasses(child))]


@pytest.mark.parametrize("kind", subclasses(errors.ClaudePatternError))
def test_every_error_of_ours_has_its_status_its_code_and_its_sentence(
    site: Site, client: TestClient, kind: type[errors.ClaudePatternError]
) -> None:
    error = kind(3) if kind is errors.CapacityExceeded else kind()
    site.manager.failure = error
    answer = client.get("/api/v1/sessions/some-id")

    assert answer.status_code == kind.status
    code = "not_found" if kind is errors.SessionNotFound else kind.code
    assert answer.json() == {"error": code, "message": error.message}
    assert ("retry-after" in answer.headers) is (kind.status == 503)
    assert explain(error).message == error.message


def test_a_foreign_error_gives_nothing_away(site: Site) -> None:
    site.manager.failure = ValueError("secret in /etc/passwd")
    answer = site.client(raise_server_exceptions=False).get("/api/v1/sessions/some-id")

    assert answer.status_code == 500
    assert answer.json() == {"error": "internal_error", "message": errors.ClaudePatternError.default}
    assert answer.headers["x-frame-options"] == "DENY"


def test_secrets_are_scrubbed_from_errors(site: Site, client: TestClient) -> None:
    scrubber.learn("canary-of-the-operator")
    site.manager.failure = errors.ProcessFailed("It said canary-of-the-operator and sk-ant-api03-abcdefgh.")

    assert client.get("/api/v1/sessions/some-id").json()["message"] == f"It said {MASK} and {MASK}."


def test_a_status_without_a_sentence_of_its_own_gets_a_general_one() -> None:
    response = problems._plain(418)

    assert json.loads(bytes(response.body)) == {
        "error": "i'm_a_teapot",
        "message": "The request could not be served.",
    }


# ---------------------------------------------------------------- the description


def resolved(description: dict[str, Any], answer: dict[str, Any]) -> str:
    schema = answer["content"]["application/json"]["schema"]
    return str(schema["$ref"]).rsplit("/", 1)[-1]


def test_the_description_names_every_route_its_key_and_the_shape_of_every_error(client: TestClient) -> None:
    description = client.get("/api/openapi.json").json()
    assert description["components"]["securitySchemes"]["X-API-Key"] == {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": description["components"]["securitySchemes"]["X-API-Key"]["description"],
    }
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    expected = {
        "GET /api/v1/sessions": {"200", "401", "403", "422", "429", "500"},
        "POST /api/v1/sessions": {"201", "400", "401", "403", "413", "422", "429", "500", "503"},
        "GET /api/v1/sessions/{id}": {"200", "401", "403", "404", "429", "500"},
        "PATCH /api/v1/sessions/{id}": {"200", "400", "401", "403", "404", "413", "422", "429", "500"},
        "DELETE /api/v1/sessions/{id}": {"200", "401", "403", "404", "429", "500"},
        "POST /api/v1/sessions/{id}/interrupt": {"200", "401", "403", "404", "429", "500"},
        "POST /api/v1/sessions/{id}/resume": {"200", "401", "403", "409", "429", "500", "503"},
        "POST /api/v1/sessions/{id}/messages": {*FAILURES, "200", "400", "404", "409", "413", "422", "503"},
        "GET /api/v1/sessions/{id}/events": {*FAILURES, "200", "204", "404", "409", "422"},
        "GET /api/v1/sessions/{id}/export": {*FAILURES, "200", "404", "422"},
        "POST /api/v1/sessions/{id}/fork": {*FAILURES, "201", "400", "404", "409", "413", "422", "503"},
        "GET /api/v1/extensions": {"200", "401", "403", "429", "500"},
        "GET /api/v1/health/live": {"200"},
        "GET /api/v1/health/ready": {"200", "503"},
    }
    assert {name: set(operation["responses"]) for name, operation in operations.items()} == expected
    for name, operation in operations.items():
        assert operation["summary"]
        if "/health/" in name:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"X-API-Key": []}]
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {resolved(description, answer) for answer in failures.values()} == {"ErrorBody"}
        assert all(set(answer["content"]["application/json"]["example"]) == set(ROW) for answer in failures.values())


def test_the_reference_page_shows_every_route_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/api/docs")

    assert page.headers["content-type"].startswith("text/html")
    for row in (
        "GET /api/v1/sessions",
        "DELETE /api/v1/sessions/{id}",
        "GET /api/v1/health/ready",
        "Server at capacity. Max sessions: 10",
        "X-API-Key: $KEY",
        "/ws/v1/chat",
        "(open to everybody)",
        "&quot;status&quot;: &quot;terminated&quot;",
    ):
        assert row in page.text
    assert "<script" not in page.text
    assert "https://" not in page.text

"""The layer in front of everything: who comes in, who does not, and what every answer carries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from claude_pattern import tasks, timeouts
from claude_pattern.api.guard import ACCESS, Access, Guard
from claude_pattern.api.keys import COOKIE
from claude_pattern.api.limits import ATTEMPTS, MAX_BODY_BYTES
from claude_pattern.api.replies import CONTENT_SECURITY_POLICY
from claude_pattern.api.requests import OPEN_FILES, OPEN_PATHS, SOCKET_PATH
from tests.unit.api_fakes import HOST, KEY, Site, Wire

UNAUTHORIZED = {"error": "unauthorized", "message": "Invalid API key"}
PAGE = (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")
LOCAL = (b"host", b"localhost")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Behind:
    """An application that only records who reached it."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append((scope["path"], scope.get(ACCESS, "unset")))
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        else:
            await PlainTextResponse("reached")(scope, receive, send)


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def wire(site: Site, behind: Behind) -> Wire:
    return Wire(Guard(behind, keys=site.keys, settings=site.settings))


def cookie(site: Site) -> tuple[bytes, bytes]:
    return b"cookie", f"{COOKIE}={site.keys.open_session()}".encode()


def key(value: bytes = KEY.encode()) -> tuple[bytes, bytes]:
    return b"x-api-key", value


# ---------------------------------------------------------------- the host


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:8000", b"[::1]:8000", b"10.0.0.5"])
async def test_a_request_for_this_server_comes_in(wire: Wire, host: bytes) -> None:
    assert await wire.status("/api/v1/sessions", headers=((b"host", host), key())) == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "path", ["/", "/api/v1/sessions", "/api/v1/health/live", "/login", SOCKET_PATH, "/_nicegui_ws/socket.io/"]
)
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (b"evil.example",),
        (b"localhost.evil",),
        (b"localhost.",),
        (b"127.0.0.1/x?",),
        (b"user@localhost",),
        (b"localhost", b"localhost"),
        (b"localhost", b"evil.example"),
    ],
)
async def test_a_request_for_another_host_reaches_nothing_even_with_the_key(
    wire: Wire, behind: Behind, kind: str, path: str, hosts: tuple[bytes, ...]
) -> None:
    headers = (*((b"host", host) for host in hosts), key())

    assert await wire.status(path, kind=kind, headers=headers) == 403
    assert behind.reached == []


# ---------------------------------------------------------------- the origin


@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"null", b"http://localhost:3000", b"http://user@localhost", b""]
)
@pytest.mark.parametrize(
    ("kind", "path"),
    [("http", "/"), ("http", "/api/v1/sessions"), ("websocket", SOCKET_PATH), ("websocket", "/_nicegui_ws/socket.io/")],
)
async def test_a_foreign_page_reaches_nothing_with_cookie_or_key(
    site: Site, wire: Wire, behind: Behind, origin: bytes, kind: str, path: str
) -> None:
    for proof in (cookie(site), key()):
        assert await wire.status(path, kind=kind, headers=(LOCAL, (b"origin", origin), proof)) == 403
    assert behind.reached == []


async def test_our_own_page_reaches_everything_with_its_cookie(site: Site, wire: Wire, behind: Behind) -> None:
    headers = (LOCAL, (b"origin", b"http://localhost"), cookie(site))

    assert await wire.status("/api/v1/sessions", headers=headers, method="POST") == 200
    assert await wire.status("/_nicegui_ws/socket.io/", headers=headers, kind="websocket") == 101
    assert await wire.status(SOCKET_PATH, headers=headers, kind="websocket") == 101
    assert {access for _, access in behind.reached} == {Access.COOKIE}


async def test_a_configured_origin_behind_a_proxy_reaches_everything(tmp_path: Path, behind: Behind) -> None:
    site = Site(tmp_path, allowed_hosts="chat.example.com")
    wire = Wire(Guard(behind, keys=site.keys, settings=site.settings))
    headers = ((b"host", b"127.0.0.1:8000"), (b"origin", b"https://chat.example.com"), cookie(site))

    assert await wire.status("/_nicegui_ws/socket.io/", headers=headers, kind="websocket") == 101


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PURGE"])
async def test_a_change_by_cookie_needs_a_word_of_the_browser_that_it_comes_from_our_page(
    site: Site, wire: Wire, behind: Behind, method: str
) -> None:
    for word in (
        (),
        ((b"sec-fetch-site", b"cross-site"),),
        ((b"sec-fetch-site", b"same-site"),),
        ((b"sec-fetch-site", b"none"),),
    ):
        for path in ("/api/v1/sessions", "/chat", "/logout", "/login", "/_nicegui_ws/socket.io/"):
            headers = (LOCAL, cookie(site), *word)
            assert await wire.status(path, method=method, headers=headers) == 403
    assert behind.reached == []

    headers = (LOCAL, cookie(site), (b"sec-fetch-site", b"same-origin"))
    assert await wire.status("/api/v1/sessions", method=method, headers=headers) == 200


async def test_a_socket_by_cookie_needs_an_origin(site: Site, wire: Wire, behind: Behind) -> None:
    for path in (SOCKET_PATH, "/_nicegui_ws/socket.io/"):
        headers = (LOCAL, cookie(site), (b"sec-fetch-site", b"same-origin"))
        assert await wire.status(path, kind="websocket", headers=headers) == 403
    assert behind.reached == []


@pytest.mark.parametrize("sites", [(b"cross-site",), (b"same-origin", b"cross-site")])
async def test_a_foreign_page_cannot_sign_in_or_open_a_socket_for_its_reader(
    wire: Wire, behind: Behind, sites: tuple[bytes, ...]
) -> None:
    words = tuple((b"sec-fetch-site", value) for value in sites)

    assert await wire.status("/login", method="POST", headers=(LOCAL, *words)) == 403
    assert await wire.status(SOCKET_PATH, kind="websocket", headers=(LOCAL, key(), *words)) == 403
    assert behind.reached == []


async def test_a_link_on_a_foreign_page_opens_ours(site: Site, wire: Wire) -> None:
    headers = (LOCAL, PAGE, cookie(site), (b"sec-fetch-site", b"cross-site"))

    assert await wire.status("/chat/1", headers=headers) == 200


async def test_programs_give_the_key_and_no_origin(wire: Wire, behind: Behind) -> None:
    assert await wire.status("/api/v1/sessions", method="DELETE", headers=(LOCAL, key())) == 200
    assert await wire.status(SOCKET_PATH, kind="websocket", headers=(LOCAL, key())) == 101
    assert await wire.status(SOCKET_PATH, kind="websocket", headers=(LOCAL,), query=b"api_key=" + KEY.encode()) == 101
    assert {access for _, access in behind.reached} == {Access.KEY}


# ---------------------------------------------------------------- who asks


def test_every_route_of_the_api_but_health_refuses_those_without_a_key(site: Site) -> None:
    client = site.client(key=None)
    checked = 0
    for route in iter_route_contexts(site.app.router.routes):
        path = (route.path or "").replace("{id}", "some-id").replace("{path:path}", "x")
        if isinstance(route.original_route, APIWebSocketRoute):
            with (
                client.websocket_connect("ws://localhost" + path) as socket,
                pytest.raises(WebSocketDisconnect) as caught,
            ):
                socket.receive_text()
            assert caught.value.code == 1008
        elif isinstance(route.original_route, APIRoute | Route):
            for method in route.methods or {"GET", "POST", "DELETE"}:
                answer = client.request(method, path)
                if path in OPEN_PATHS:
                    assert answer.status_code in (200, 503)
                else:
                    assert answer.status_code == 401, (method, path)
                    assert method == "HEAD" or answer.json() == UNAUTHORIZED
        checked += 1
    assert checked >= 12


def test_every_route_of_the_api_but_health_is_closed_without_its_guard(site: Site) -> None:
    client = TestClient(site.app, base_url=HOST)
    for route in iter_route_contexts(site.app.router.routes):
        path = (route.path or "").replace("{id}", "some-id")
        if isinstance(route.original_route, APIWebSocketRoute):
            with client.websocket_connect(path) as socket, pytest.raises(WebSocketDisconnect):
                socket.receive_text()
        elif isinstance(route.original_route, APIRoute) and path not in OPEN_PATHS:
            for method in route.methods or ():
                assert client.request(method, path).status_code == 401, (method, path)


def test_what_is_open_to_everybody_is_this_and_no_more() -> None:
    assert sorted(OPEN_PATHS) == ["/api/v1/health/live", "/api/v1/health/ready", "/favicon.ico", "/login", "/logout"]
    assert OPEN_FILES.pattern == r"/static/[^\\]+"


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/logout",
        "/favicon.ico",
        "/api/v1/health/live",
        "/api/v1/health/ready",
        "/static/app.css",
    ],
)
async def test_open_routes_are_reached_without_a_key_and_with_a_wrong_one(
    wire: Wire, behind: Behind, path: str
) -> None:
    for headers in ((LOCAL,), (LOCAL, key(b"wrong")), (LOCAL, PAGE)):
        assert await wire.status(path, headers=headers) == 200
    assert {access for _, access in behind.reached} == {None}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/chat/1",
        "/login/",
        "/login/x",
        "/Login",
        "//login",
        "/login?x",
        "/static",
        "/static/",
        "/static/../chat",
        "/static/./x",
        "/static//x",
        "/static/..\\x",
        "/staticx/app.css",
        "/x/static/app.css",
        "/_nicegui/3.18.0/static/nicegui.css",
        "/_nicegui/3.18.0/components/abc/button.js",
        "/_nicegui/3.18.0/dynamic_resources/x",
        "/_nicegui/3.18.0/static/",
        "/_nicegui/3.18.0/static/../../../chat/1",
        "/_nicegui/client/abc/upload/1",
        "/_nicegui/client/static/x",
        "/_nicegui/auto/static/x",
        "/_nicegui/x/static/y",
        "/_nicegui_ws/socket.io/",
        "/api/v1/health",
        "/api/v1/health/live/",
        "/api/v1/health/live/../../sessions",
        "/api/v1/sessions",
        "/api/docs",
        "/api/openapi.json",
        "/unknown",
    ],
)
async def test_everything_else_is_closed(wire: Wire, behind: Behind, path: str) -> None:
    assert await wire.status(path) == 401
    assert await wire.status(path, kind="websocket") in (403, 101 if path == SOCKET_PATH else 403)
    assert behind.reached == []


@pytest.mark.parametrize("path", ["/login", "/static/app.css", "/api/v1/health/live"])
async def test_no_socket_is_open_to_everybody(wire: Wire, behind: Behind, path: str) -> None:
    assert await wire.status(path, kind="websocket") == 403
    assert behind.reached == []


def test_a_wrong_key_gets_exactly_the_agreed_body(site: Site) -> None:
    answer = site.client(key="wrong").get("/api/v1/sessions")

    assert answer.status_code == 401
    assert answer.content == b'{"error": "unauthorized", "message": "Invalid API key"}'
    assert answer.headers["content-type"] == "application/json"


async def test_odd_keys_are_wrong_keys_and_never_an_error(wire: Wire) -> None:
    odd = [
        b"",
        b" ",
        b"\xff\xfe",
        KEY.encode() + b" ",
        KEY.encode().upper(),
        "schlüssel".encode(),
        b"x" * 60_000,
        b"\x00",
    ]
    for number, value in enumerate(odd):
        assert await wire.status("/api/v1/sessions", headers=(LOCAL, key(value)), address=f"192.0.2.{number}") == 401


async def test_two_keys_are_no_key(wire: Wire) -> None:
    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key(), key())) == 401


async def test_a_key_in_the_query_counts_for_our_socket_alone(wire: Wire) -> None:
    query = b"api_key=" + KEY.encode()

    assert await wire.status("/api/v1/sessions", query=query) == 401
    assert await wire.status(SOCKET_PATH, query=query) == 401
    assert await wire.status("/_nicegui_ws/socket.io/", query=query, kind="websocket") == 403


async def test_a_wrong_key_is_not_made_good_by_a_cookie(site: Site, wire: Wire) -> None:
    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key(b"wrong"), cookie(site))) == 401


async def test_one_good_cookie_among_several_is_enough(site: Site, wire: Wire) -> None:
    good = cookie(site)[1].decode()
    for value in (
        f"a=b; {good}; c=d",
        f"{COOKIE}=bad; {good}",
        f'{COOKIE}="{good.partition("=")[2]}"',
        f"{COOKIE}=; ;=;{good}",
    ):
        assert await wire.status("/", headers=(LOCAL, (b"cookie", value.encode()))) == 200
    assert await wire.status("/", headers=(LOCAL, (b"cookie", b"a=b"), (b"cookie", good.encode()))) == 200


async def test_a_cookie_that_is_expired_forged_or_signed_out_is_none(site: Site, wire: Wire) -> None:
    out = site.keys.open_session()
    site.keys.close_session(out)
    old = site.keys.open_session()
    site.wall.now += timeouts.LOGIN_SESSION
    for value in (out, old, "forged", "é", ""):
        assert await wire.status("/", headers=(LOCAL, (b"cookie", f"{COOKIE}={value}".encode()))) == 401


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"host",
                    b"origin",
                    b"x-api-key",
                    b"cookie",
                    b"accept",
                    b"sec-fetch-site",
                    b"content-length",
                    b"x-request-id",
                ]
            ),
            st.binary(max_size=40),
        ),
        max_size=6,
    ),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.sampled_from(["http", "websocket"]),
)
async def test_no_request_without_proof_gets_in_and_none_breaks_the_guard(
    site: Site, headers: list[tuple[bytes, bytes]], path: str, query: bytes, kind: str
) -> None:
    behind = Behind()
    status = await Wire(Guard(behind, keys=site.keys, settings=site.settings)).status(
        "/x" + path, headers=(LOCAL, *headers), query=query, kind=kind
    )

    assert status in (401, 403, 303, 429)
    assert behind.reached == []


# ---------------------------------------------------------------- pages


async def headers_of(wire: Wire, path: str, **how: Any) -> tuple[int, dict[str, str]]:
    start = (await wire.request(path, **how))[0]
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/", b"", "/login?next=%2F"),
        ("/chat/1", b"", "/login?next=%2Fchat%2F1"),
        ("/chat", b"resume=1&x=%20", "/login?next=%2Fchat%3Fresume%3D1%26x%3D%2520"),
        ("/api/docs", b"", "/login?next=%2Fapi%2Fdocs"),
        ("//evil.example/x", b"", "/login"),
        ("/\\evil.example", b"", "/login?next=%2F%255Cevil.example"),
        ("/a\r\nset-cookie: x=y", b"", "/login?next=%2Fa%250D%250Aset-cookie%253A%2520x%253Dy"),
        ("/ü", b"", "/login?next=%2F%25C3%25BC"),
        ("/" + "x" * 3_000, b"", "/login"),
    ],
)
async def test_a_person_without_a_session_is_led_to_the_sign_in_and_back(
    wire: Wire, behind: Behind, path: str, query: bytes, location: str
) -> None:
    status, headers = await headers_of(wire, path, query=query, headers=(LOCAL, PAGE))

    assert (status, headers["location"], headers["cache-control"]) == (303, location, "no-store")
    assert behind.reached == []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/v1/sessions", "GET"),
        ("/api/unknown", "GET"),
        ("/ws/v1/chat", "GET"),
        ("/_nicegui_ws/socket.io/", "GET"),
        ("/_nicegui/client/x/upload/1", "GET"),
        ("/", "POST"),
    ],
)
async def test_what_is_no_page_gets_an_error_in_json(wire: Wire, path: str, method: str) -> None:
    sent = await wire.request(path, method=method, headers=(LOCAL, PAGE))

    assert (sent[0]["status"], sent[1]["body"]) == (401, b'{"error": "unauthorized", "message": "Invalid API key"}')


# ---------------------------------------------------------------- those who guess


async def test_after_ten_wrong_keys_in_a_minute_an_address_waits_even_with_the_right_one(
    site: Site, wire: Wire
) -> None:
    checked = 0
    check = site.keys.check

    def counted(key: str | bytes) -> bool:
        nonlocal checked
        checked += 1
        return check(key)

    site.keys.check = counted  # type: ignore[method-assign]
    for _ in range(200):
        await wire.status("/api/v1/sessions", headers=(LOCAL, key(b"guess")))
    assert checked == ATTEMPTS

    sent = await wire.request("/api/v1/sessions", headers=(LOCAL, key()))
    assert sent[0]["status"] == 429
    assert (b"retry-after", b"60") in sent[0]["headers"]
    assert b'"error": "too_many_attempts"' in sent[1]["body"]
    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key()), address="192.0.2.2") == 200
    site.clock.now += 60
    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key())) == 200


async def test_those_who_guess_by_socket_wait_too(wire: Wire) -> None:
    for _ in range(ATTEMPTS):
        await wire.status(SOCKET_PATH, kind="websocket", query=b"api_key=guess")

    sent = await wire.request(SOCKET_PATH, kind="websocket", headers=(LOCAL, key()))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 1008
    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key())) == 429


async def test_a_signed_in_browser_is_not_held_up_by_those_who_guess_from_its_address(site: Site, wire: Wire) -> None:
    for _ in range(50):
        await wire.status("/api/v1/sessions", headers=(LOCAL, key(b"guess")))

    assert await wire.status("/", headers=(LOCAL, cookie(site))) == 200


async def test_requests_without_a_key_are_no_guesses(wire: Wire) -> None:
    for _ in range(50):
        await wire.status("/api/v1/sessions")

    assert await wire.status("/api/v1/sessions", headers=(LOCAL, key())) == 200


# ---------------------------------------------------------------- the size of bodies


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.requests import Request

    await Response(str(len(await Request(scope, receive).body())))(scope, receive, send)


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
@pytest.mark.parametrize("parts", [1, 7])
async def test_a_body_is_counted_as_it_comes(site: Site, size: int, status: int, parts: int) -> None:
    step = -(-size // parts)
    body = tuple(b"x" * min(step, size - start) for start in range(0, size, step))
    sent = await Wire(Guard(echo, keys=site.keys, settings=site.settings)).request(
        "/api/v1/sessions", method="POST", headers=(LOCAL, key()), body=body
    )

    assert sent[0]["status"] == status
    assert len(sent) == 2
    if status == 413:
        assert sent[1]["body"] == b'{"error": "payload_too_large", "message": "The request is too large."}'


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5_000])
async def test_a_body_that_is_announced_as_too_large_is_not_read(wire: Wire, behind: Behind, length: str) -> None:
    headers = (LOCAL, key(), (b"content-length", length.encode()))

    assert await wire.status("/api/v1/sessions", method="POST", headers=headers) == 413
    assert behind.reached == []


def test_the_framework_does_not_turn_a_body_that_is_too_large_into_another_error(site: Site) -> None:
    def chunks() -> Any:
        yield from (b" " * 100_000 for _ in range(20))

    answer = site.client().post("/api/v1/sessions", content=chunks(), headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_an_answer_that_has_begun_goes_on_when_the_body_turns_out_too_large(site: Site) -> None:
    async def eager(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await receive()
        finally:
            await send({"type": "http.response.body", "body": b"done"})

    guard = Guard(eager, keys=site.keys, settings=site.settings, max_body_bytes=1)
    sent = await Wire(guard).request("/x", method="POST", headers=(LOCAL, key()), body=(b"xx",))

    assert [message.get("status", message.get("body")) for message in sent] == [200, b"done"]


async def test_an_error_of_the_application_passes_the_guard_unchanged(site: Site) -> None:
    from starlette.exceptions import HTTPException

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HTTPException(418)

    with pytest.raises(HTTPException):
        await Wire(Guard(broken, keys=site.keys, settings=site.settings)).request("/x", headers=(LOCAL, key()))


# ---------------------------------------------------------------- what every answer carries


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/x", (LOCAL, key())),
        ("/x", (LOCAL,)),
        ("/x", (LOCAL, PAGE)),
        ("/x", ((b"host", b"evil"),)),
        ("/login", (LOCAL,)),
        ("/x", (LOCAL, key(), (b"content-length", b"99999999"))),
    ],
)
async def test_every_answer_carries_the_security_headers(
    wire: Wire, path: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    _, found = await headers_of(wire, path, headers=headers)

    assert found["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert found["x-content-type-options"] == "nosniff"
    assert found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "same-origin"
    assert found["cache-control"] == "no-store"
    assert found["cross-origin-opener-policy"] == "same-origin"
    assert len(found["x-request-id"]) == 16
    assert "server" not in found


def test_the_policy_lets_niceguis_scripts_run_and_nothing_foreign_load() -> None:
    directives = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))

    assert directives["script-src"] == "'self' 'unsafe-inline' 'unsafe-eval'"
    assert directives["frame-ancestors"] == "'none'"
    assert not any("http" in sources or "*" in sources for sources in directives.values())


async def test_files_may_be_cached_and_a_page_keeps_a_policy_of_its_own(site: Site) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"Content-Security-Policy": "default-src 'none'", "Server": "x", "Cache-Control": "private"}
        await Response("x", headers=headers if scope["path"] == "/own" else {})(scope, receive, send)

    wire = Wire(Guard(app, keys=site.keys, settings=site.settings))
    _, file = await headers_of(wire, "/static/app.css", headers=(LOCAL,))
    _, own = await headers_of(wire, "/own", headers=(LOCAL, key()))

    assert "cache-control" not in file
    assert (own["content-security-policy"], own["cache-control"]) == ("default-src 'none'", "private")
    assert "server" not in own


# ---------------------------------------------------------------- the correlation id


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((b"abc-1._Z",), True),
        ((b"a" * 65,), False),
        ((b"a b",), False),
        ((b"a\nb",), False),
        ((b"",), False),
        ((b"a", b"b"), False),
    ],
)
async def test_a_request_keeps_its_id_if_that_is_harmless(site: Site, given: tuple[bytes, ...], kept: bool) -> None:
    bound: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bound.append(get_contextvars()["correlation_id"])
        await Response("x")(scope, receive, send)

    headers = (LOCAL, key(), *((b"x-request-id", value) for value in given))
    _, found = await headers_of(Wire(Guard(app, keys=site.keys, settings=site.settings)), "/x", headers=headers)

    assert bound == [found["x-request-id"]]
    assert (found["x-request-id"].encode() == given[0]) is kept
    assert "correlation_id" not in get_contextvars()


async def test_a_refusal_is_logged_without_key_and_query(wire: Wire) -> None:
    with capture_logs() as lines:
        await wire.status("/x" + "y" * 500, headers=(LOCAL, key(b"wrong-key")), query=b"api_key=wrong-key")

    assert [(line["event"], line["code"], len(line["path"])) for line in lines] == [
        ("request_refused", "unauthorized", 200)
    ]
    assert "wrong-key" not in str(lines)


# ---------------------------------------------------------------- sockets


async def test_a_wrong_key_on_our_socket_is_told_by_a_close_code_and_elsewhere_by_a_refused_handshake(
    wire: Wire,
) -> None:
    for how in ({"query": b"api_key=wrong"}, {"headers": (LOCAL, key(b"wrong"))}, {}):
        ours = await wire.request(SOCKET_PATH, kind="websocket", **how)
        assert [message["type"] for message in ours] == ["websocket.accept", "websocket.close"]
        assert (ours[1]["code"], ours[1]["reason"]) == (1008, "Invalid API key")
        other = await wire.request("/_nicegui_ws/socket.io/", kind="websocket", **how)
        assert [message["type"] for message in other] == ["websocket.close"]


class OpenSocket:
    """A signed-in socket behind the guard, held open by the application until it is closed."""

    def __init__(self, site: Site) -> None:
        self.sent: list[Message] = []
        self.closed = asyncio.Event()
        self.accepted = asyncio.Event()
        self.late = False
        self.guard = Guard(self.app, keys=site.keys, settings=site.settings)

    async def app(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        self.accepted.set()
        await self.closed.wait()
        await send({"type": "websocket.send", "text": "late"})
        await send({"type": "websocket.close", "code": 1000})

    async def run(self, cookie: str) -> None:
        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            self.sent.append(message)
            if message["type"] == "websocket.close":
                self.closed.set()

        headers = [LOCAL, (b"origin", b"http://localhost"), (b"cookie", f"{COOKIE}={cookie}".encode())]
        scope = {"type": "websocket", "path": SOCKET_PATH, "headers": headers, "client": ("192.0.2.1", 1)}
        await self.guard(scope, receive, send)


async def test_signing_out_closes_the_sockets_of_that_browser_at_once(site: Site) -> None:
    session = site.keys.open_session()
    socket = OpenSocket(site)
    running = tasks.spawn(socket.run(session), name="test")
    await socket.accepted.wait()
    site.keys.close_session(site.keys.open_session())
    await asyncio.sleep(0)
    assert not socket.closed.is_set()
    site.keys.close_session(session)
    await running

    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.close"]
    assert socket.sent[1]["code"] == 1008
    assert repr(site.keys) == "<Keys 0 open codes | 0 watched sessions>"


async def test_a_socket_closes_when_its_browser_session_expires(site: Site) -> None:
    session = site.keys.open_session()
    site.wall.now += timeouts.LOGIN_SESSION - 0.001
    socket = OpenSocket(site)
    await socket.run(session)

    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.close"]


async def test_a_socket_that_ends_by_itself_leaves_nothing_behind(site: Site) -> None:
    socket = OpenSocket(site)
    socket.closed.set()
    session = site.keys.open_session()
    await socket.run(session)
    site.keys.close_session(session)
    await asyncio.sleep(0)

    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert repr(site.keys) == "<Keys 0 open codes | 0 watched sessions>"


async def test_the_lifespan_passes(site: Site) -> None:
    passed: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope["type"])

    async def nothing() -> Message:
        raise AssertionError

    async def nowhere(_message: Message) -> None:
        raise AssertionError

    await Guard(app, keys=site.keys, settings=site.settings)({"type": "lifespan"}, nothing, nowhere)
    assert passed == ["lifespan"]

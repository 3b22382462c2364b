"""The sign-in's answers, without a browser."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from claude_pattern.api.keys import COOKIE, Keys
from claude_pattern.api.limits import ATTEMPTS
from claude_pattern.settings import load

login = import_module("claude_pattern.pages.login")
KEY = "the-key"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.load(load(env_file=None, claude_sdk_pattern_api_key=KEY, data_dir=tmp_path), tmp_path)


@pytest.fixture
def client(keys: Keys) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(login.router(keys))
    with TestClient(app, base_url="https://testserver", follow_redirects=False) as client:
        yield client


def test_the_right_key_opens_a_session_and_leads_on(client: TestClient, keys: Keys) -> None:
    answer = client.post("/login", data={"key": f" {KEY}\n", "next": "/chat/7?x=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/chat/7?x=1")
    assert keys.session_valid(answer.cookies[COOKIE])


def test_under_tls_the_cookie_is_secure(client: TestClient) -> None:
    cookie = client.post("/login", data={"key": KEY}).headers["set-cookie"]
    assert {"httponly", "secure", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
    assert "; secure" not in client.post("http://testserver/login", data={"key": KEY}).headers["set-cookie"].lower()


def test_guessing_is_stopped_and_the_sentence_says_so(client: TestClient) -> None:
    for _ in range(ATTEMPTS):
        assert client.post("/login", data={"key": "wrong"}).status_code == 401
    answer = client.post("/login", data={"key": KEY})
    assert answer.status_code == 429
    assert "Too many failed attempts" in answer.text


def test_who_is_signed_in_sees_no_form(client: TestClient) -> None:
    client.post("/login", data={"key": KEY})
    assert client.get("/login?next=/chat/7").headers["location"] == "/chat/7"


def test_signing_out_ends_the_session(client: TestClient, keys: Keys) -> None:
    cookie = client.post("/login", data={"key": KEY}).cookies[COOKIE]
    answer = client.post("/logout")
    assert answer.headers["location"] == "/login"
    assert not keys.session_valid(cookie)
    assert COOKIE not in client.cookies


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/chat/7?x=1#y", "/chat/7?x=1#y"),
        ("/loginx", "/loginx"),
        *(
            (bad, "/")
            for bad in ("//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "chat", "")
        ),
        *(
            (bad, "/")
            for bad in ("/login", "/login?next=/", "/logout", "/\t/evil.example", "/\n/evil.example", "/%0a\r")
        ),
    ],
)
def test_only_a_page_of_this_server_follows(address: str, page: str) -> None:
    assert login.local(address) == page


def test_what_the_address_says_is_escaped_in_the_form(client: TestClient) -> None:
    answer = client.get("/login", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>alert" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]

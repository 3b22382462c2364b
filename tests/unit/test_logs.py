"""Every log line is JSON, and no secret is in it, wherever it was put."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from claude_pattern import logs
from claude_pattern.logs import MASK, Scrubber

CANARY = "canary-7f3a9c51d2e8"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    buffer = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.scrubber.learn(CANARY)
    logs.configure("DEBUG", buffer)
    yield buffer
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_what_is_bound(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(session_id="s1", correlation_id="c1"):
        structlog.get_logger("x").info("session_created", pid=7)
    line = lines(stream)[0]

    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["session_id"], line["correlation_id"], line["pid"]) == (
        "info",
        "session_created",
        "s1",
        "c1",
        7,
    )


def test_lines_of_other_libraries_have_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("started %s", "here", extra={"port": 1})
    line = lines(stream)[0]

    assert (line["level"], line["event"], line["logger"], line["port"]) == (
        "warning",
        "started here",
        "uvicorn.error",
        1,
    )


def test_no_secret_leaves_wherever_it_was_put(stream: io.StringIO) -> None:
    log = structlog.get_logger("x")
    log.info(CANARY, text=f"a {CANARY} b", nested={"list": [{"deep": (CANARY,)}], CANARY: 1})
    log.info("bytes", raw=CANARY.encode(), thing=ValueError(CANARY))
    logging.getLogger("other").error("formatted %s", CANARY, extra={"header": {"X": CANARY}})
    try:
        secret = CANARY
        raise RuntimeError(f"failed with {secret}") from KeyError(CANARY)
    except RuntimeError:
        log.exception("caught")
        logging.getLogger("other").exception("caught elsewhere")
    with structlog.contextvars.bound_contextvars(token=CANARY):
        log.warning("bound")

    assert len(lines(stream)) == 6
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-AbCdEfGh1234_-xyz",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
        "Bearer abcdef0123456789",
        "redis://user:hunter2secret@host/0",
        "ws://h/ws/v1/chat?api_key=abc123def",
        "http://h/login?code=abc123def",
    ],
)
def test_what_looks_like_a_secret_is_masked_though_nobody_knows_it(secret: str) -> None:
    text = Scrubber().text(f"before {secret} after")

    assert MASK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    for part in ("abcdef0123456789", "hunter2secret", "abc123def", "AbCdEfGh1234", "IOSFODNN7", "dBjftJeZ4CVP"):
        assert part not in text


def test_values_under_telling_names_are_masked_whole() -> None:
    scrubbed = Scrubber().value({"api_key": "short", "AUTH_TOKEN": "x1", "password": "p", "name": "kept"})

    assert scrubbed == {"api_key": MASK, "AUTH_TOKEN": MASK, "password": MASK, "name": "kept"}


def test_ordinary_text_stays_as_it_is() -> None:
    text = "GET /api/v1/sessions 200 in 3 ms; see https://example.org/path?x=1"

    assert Scrubber(["ab"]).text(text) == text


def test_a_structure_that_never_ends_is_cut_off() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless

    assert MASK in str(Scrubber().value(endless))

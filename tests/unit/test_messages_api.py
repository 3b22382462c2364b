"""The scripted Messages API as a server: what it records, how it answers, and how it breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import orjson
import pytest

from claude_pattern.testing import messages_api
from claude_pattern.testing.messages_api import MessagesAPI
from tests.unit.messages_api_client import JSON, events, request, said


@pytest.fixture
async def api() -> AsyncIterator[MessagesAPI]:
    async with MessagesAPI() as api:
        yield api


@pytest.fixture
async def client(api: MessagesAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.base_url) as client:
        yield client


async def test_it_listens_on_loopback_and_tells_a_cli_where(api: MessagesAPI) -> None:
    assert api.base_url.startswith("http://127.0.0.1:")
    assert api.env() == {"ANTHROPIC_BASE_URL": api.base_url, "ANTHROPIC_API_KEY": messages_api.DUMMY_KEY}


async def test_a_request_without_streaming_gets_one_message(client: httpx.AsyncClient) -> None:
    message = (await client.post("/v1/messages", json=request("!text hello there"))).json()

    assert said(message) == "hello there"
    assert (message["role"], message["model"], message["stop_reason"]) == ("assistant", "m", "end_turn")
    assert message["usage"]["input_tokens"] > 0


async def test_a_streaming_request_gets_server_sent_events(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages?beta=true", json=request("!deltas 3", stream=True))

    assert response.headers["content-type"].startswith("text/event-stream")
    deltas = [e["delta"]["text"] for e in events(response) if e["type"] == "content_block_delta"]
    assert deltas == ["word1 ", "word2 ", "word3"]


async def test_every_request_is_recorded_with_lower_case_headers_and_parsed_body(
    api: MessagesAPI, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/messages?beta=true", json=request("!text a"), headers={"X-Api-Key": "k"})
    await client.get("/nowhere")

    first, second = api.requests
    assert (first.method, first.path, first.route) == ("POST", "/v1/messages?beta=true", "/v1/messages")
    assert first.headers["x-api-key"] == "k"
    assert first.body["model"] == "m"
    assert first.call.prompt == "!text a"
    assert (second.method, second.path, second.body) == ("GET", "/nowhere", None)
    assert first.received_at <= second.received_at
    with pytest.raises(ValueError, match="no call of the model"):
        _ = second.call


async def test_waiting_for_requests_ends_when_they_have_come_or_time_is_up(
    api: MessagesAPI, client: httpx.AsyncClient
) -> None:
    with pytest.raises(TimeoutError):
        await api.wait_for_requests(1, timeout=0.01)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(api.wait_for_requests(2, timeout=5))
        group.create_task(client.get("/"))
        group.create_task(client.get("/"))
    assert len(waiting.result()) == 2


async def test_only_the_last_requests_are_kept_when_it_is_told_so() -> None:
    async with MessagesAPI(keep=2) as api, httpx.AsyncClient(base_url=api.base_url) as client:
        for name in ("/a", "/b", "/c"):
            await client.get(name)
        assert [request.path for request in await api.wait_for_requests(3, timeout=1)] == ["/b", "/c"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/", 200), ("GET", "/", 200), ("HEAD", "/api/hello", 200), ("GET", "/x", 404), ("HEAD", "/x", 404)],
)
async def test_other_paths_get_a_sensible_status(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert (response.content == b"") == (method == "HEAD")


async def test_models_are_listed_and_tokens_counted(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models?limit=1000")).json()
    short = (await client.post("/v1/messages/count_tokens", json=request("a"))).json()
    long = (await client.post("/v1/messages/count_tokens", json=request("a" * 4000))).json()

    assert {model["type"] for model in models["data"]} == {"model"}
    assert long["input_tokens"] - short["input_tokens"] == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("body", [b"{not json", b"[]", b'{"messages": "hello"}', b""])
async def test_a_body_that_is_no_request_is_refused_as_the_api_does(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/messages", content=body)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("prompt", "kind", "headers"),
    [
        ("!status 401", "authentication_error", {}),
        ("!status 429 7", "rate_limit_error", {"retry-after": "7"}),
        ("!status 529 0.5", "overloaded_error", {"retry-after": "0.5"}),
        ("!status 418", "invalid_request_error", {}),
        ("!status 503", "api_error", {}),
    ],
)
async def test_a_status_is_answered_at_every_try(
    client: httpx.AsyncClient, prompt: str, kind: str, headers: dict[str, str]
) -> None:
    for _ in range(2):
        response = await client.post("/v1/messages", json=request(prompt))
        assert response.status_code == int(prompt.split()[1])
        assert response.json()["error"]["type"] == kind
        assert {name: response.headers.get(name) for name in headers} == headers


async def test_a_call_may_fail_some_times_and_then_succeed(client: httpx.AsyncClient) -> None:
    tries = [await client.post("/v1/messages", json=request("!once 529 2")) for _ in range(3)]

    assert [response.status_code for response in tries] == [529, 529, 200]
    assert said(tries[2].json()) == "Answered at try 3."


async def test_tries_of_different_sessions_are_counted_apart(client: httpx.AsyncClient) -> None:
    for session in ("a", "b"):
        headers = {"x-claude-code-session-id": session}
        response = await client.post("/v1/messages", json=request("!once 500"), headers=headers)
        assert response.status_code == 500


async def test_a_cut_stream_ends_without_its_end_and_the_next_try_is_whole(client: httpx.AsyncClient) -> None:
    got = bytearray()
    with pytest.raises(httpx.RemoteProtocolError):
        await _read_into(got, client, request("!cut 5", stream=True))
    whole = await client.post("/v1/messages", json=request("!cut 5", stream=True))

    assert got.count(b"text_delta") == 5
    assert b"message_stop" not in got
    assert whole.text.count("text_delta") == 20
    assert events(whole)[-1] == {"type": "message_stop"}


async def test_a_persistent_cut_spares_no_try(client: httpx.AsyncClient) -> None:
    for stream in (True, True, False):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v1/messages", json=request("!cut 300b always", stream=stream))


async def test_silence_comes_before_the_status_line_or_in_the_middle(client: httpx.AsyncClient) -> None:
    hanging = await client.post("/v1/messages", json=request("!hang 0.01"))
    stalling = await client.post("/v1/messages", json=request("!stall 0.01", stream=True))

    assert said(hanging.json()) == "Here at last."
    assert stalling.text.count("text_delta") == 20


async def test_a_client_that_leaves_a_silent_answer_does_not_keep_the_server(api: MessagesAPI) -> None:
    async with httpx.AsyncClient(base_url=api.base_url, timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/messages", json=request("!hang 3600"))
    async with asyncio.timeout(5):
        while api.open_connections:
            await asyncio.sleep(0)


async def test_closing_breaks_off_what_is_still_being_answered() -> None:
    async with MessagesAPI() as api, httpx.AsyncClient(base_url=api.base_url) as client:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(_outcome(client.post("/v1/messages", json=request("!hang 3600"))))
            await api.wait_for_requests(1)
            await api.close()
        assert isinstance(answer.result(), httpx.RemoteProtocolError)


async def test_the_pace_lies_between_the_deltas() -> None:
    loop = asyncio.get_running_loop()
    async with MessagesAPI(pace=0.002) as api, httpx.AsyncClient(base_url=api.base_url) as client:
        began = loop.time()
        await client.post("/v1/messages", json=request("!text a b c d e f g h i j", stream=True))
        assert loop.time() - began >= 0.02


async def test_garbage_instead_of_http_closes_only_its_own_connection(
    api: MessagesAPI, client: httpx.AsyncClient
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base_url.rpartition(":")[2]))
    writer.write(b"\x00\x01 nonsense\r\n\r\n")

    assert await reader.read() == b""
    writer.close()
    assert (await client.get("/")).status_code == 200


async def _exchange(api: MessagesAPI, *parts: bytes) -> bytes:
    """Everything that the server sends until it closes, after `parts` have been sent at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base_url.rpartition(":")[2]))
    for part in parts:
        writer.write(part)
    got = await reader.read()
    writer.close()
    return got


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(api: MessagesAPI) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base_url.rpartition(":")[2]))
    head = b"POST /v1/messages/count_tokens HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
    writer.write(head + b"connection: close\r\n\r\n")

    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(b"{}")
    assert b"HTTP/1.1 200" in await reader.read()
    writer.close()


async def test_a_request_that_comes_while_another_one_is_answered_gets_its_turn(api: MessagesAPI) -> None:
    body = orjson.dumps(request("!hang 0.05"))
    slow = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    quick = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    got = await _exchange(api, slow, quick)

    assert got.count(b"HTTP/1.1 200") == 2
    assert got.index(b"Here at last.") < got.index(b'"has_more"')


async def test_calls_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages_api, "_REMEMBERED_CALLS", 2)
    async with MessagesAPI() as api, httpx.AsyncClient(base_url=api.base_url) as client:
        prompts = ["!once 500", "a", "b", "!once 500"]
        codes = [(await client.post("/v1/messages", json=request(prompt))).status_code for prompt in prompts]
    assert codes == [500, 200, 200, 500]


async def _read_into(got: bytearray, client: httpx.AsyncClient, body: JSON) -> None:
    async with client.stream("POST", "/v1/messages", json=body) as response:
        async for part in response.aiter_bytes():
            got += part


async def _outcome(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except httpx.HTTPError as error:
        return error

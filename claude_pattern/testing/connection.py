"""One HTTP connection of the scripted Messages API: requests come in, answers go out, faults happen.

The bytes are handled here, not by a web framework, because a stand-in has to do what a framework prevents: cut a
stream in the middle of an event, keep silent before the status line, close without an answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import h11
import orjson

from claude_pattern.testing import sse
from claude_pattern.testing.answers import Answer, Failure, Reply, error_body
from claude_pattern.testing.conversation import Call, read_call

_BLOCK: Final = 65_536
"""Bytes read at once, and bytes of events gathered for one write when nothing paces them."""

MODELS: Final = ("claude-opus-5-5", "claude-sonnet-5", "claude-haiku-4-5")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it came."""

    method: str
    path: str
    """With the query string."""
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """The parsed JSON; None without a body, text when it is no JSON."""
    received_at: float
    """time.monotonic() when the request was complete."""

    @property
    def route(self) -> str:
        """The path without the query string."""
        return self.path.partition("?")[0]

    @property
    def is_model_call(self) -> bool:
        """Whether it is a well-formed request to the model."""
        is_object = isinstance(self.body, dict) and isinstance(self.body.get("messages"), list)
        return self.method == "POST" and self.route == "/v1/messages" and is_object

    @property
    def call(self) -> Call:
        """The request as the scenarios see it; ValueError when it is no call of the model."""
        if not self.is_model_call:
            raise ValueError(f"{self.method} {self.path} is no call of the model")
        return read_call(self.body, self.headers)


class ClientGone(ConnectionError):
    """The client closed the connection before it had the whole answer."""


class Connection:
    """Serves one client until it leaves or a fault ends the connection.

    `record` is told of every request as soon as it is complete; `answer` decides about the calls of the model.
    `pace` is the number of seconds after each delta of a reply that names none.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        record: Callable[[RecordedRequest], None],
        answer: Callable[[RecordedRequest], Awaitable[Answer]],
        pace: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._record = record
        self._answer = answer
        self._pace = pace
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Answer request after request. Raises ConnectionError or h11.RemoteProtocolError when the client fails."""
        while (request := await self._receive()) is not None:
            self._record(request)
            if not await self._respond(request):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _receive(self) -> RecordedRequest | None:
        """The next request; None when the client has closed."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._reader.read(_BLOCK))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _recorded(head, bytes(body))
            else:
                return None

    async def _respond(self, request: RecordedRequest) -> bool:
        """Answer `request`; False when the connection has to be closed."""
        if request.is_model_call:
            return await self._respond_as_model(request)
        if request.method == "POST" and request.route == "/v1/messages":
            return await self._json(400, error_body("invalid_request_error", "messages: a list is required"))
        if request.method == "POST" and request.route == "/v1/messages/count_tokens":
            return await self._json(200, {"input_tokens": _input_tokens(request)})
        if request.method == "GET" and request.route == "/v1/models":
            return await self._json(200, _model_list())
        is_head = request.method == "HEAD"
        if request.method in ("GET", "HEAD") and request.route in ("/", "/api/hello"):
            return await self._json(200, {"message": "A scripted Messages API"}, is_head=is_head)
        return await self._json(404, error_body("not_found_error", f"Not found: {request.route}"), is_head=is_head)

    async def _respond_as_model(self, request: RecordedRequest) -> bool:
        answer = await self._answer(request)
        if isinstance(answer, Failure):
            return await self._json(answer.status, answer.body, answer.headers)
        if answer.hang:
            await self._wait(answer.hang)
        if answer.drop:
            return False
        model = str(request.body.get("model", "scripted"))
        if request.body.get("stream"):
            return await self._stream(answer, model, _input_tokens(request))
        return await self._json(200, sse.message(answer, model, _input_tokens(request)))

    async def _stream(self, reply: Reply, model: str, input_tokens: int) -> bool:
        content = ("content-type", "text/event-stream; charset=utf-8")
        self._head(200, [content, ("cache-control", "no-cache")])
        held = bytearray()
        for item in sse.stream(reply, model, input_tokens, self._pace):
            if isinstance(item, bytes):
                held += item
                if len(held) >= _BLOCK:
                    await self._flush(held)
                continue
            await self._flush(held)
            if isinstance(item, sse.Cut):
                return False
            await self._wait(item.seconds)
        await self._flush(held)
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        return True

    async def _flush(self, held: bytearray) -> None:
        if held:
            self._send(h11.Data(data=bytes(held)))
            held.clear()
        await self._writer.drain()

    async def _json(
        self, status: int, body: dict[str, Any], headers: list[tuple[str, str]] | None = None, *, is_head: bool = False
    ) -> bool:
        data = orjson.dumps(body)
        content = [("content-type", "application/json"), ("content-length", str(len(data)))]
        self._head(status, [*content, *(headers or [])])
        if not is_head:
            self._send(h11.Data(data=data))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        return True

    async def _wait(self, seconds: float) -> None:
        """Let `seconds` pass. Raises ClientGone as soon as the client closes the connection."""
        try:
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(_BLOCK):
                    self._http.receive_data(data)
        except TimeoutError:
            return
        raise ClientGone("The client closed the connection")

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        request_id = ("request-id", f"req_{uuid4().hex[:24]}")
        self._send(h11.Response(status_code=status, headers=[*headers, request_id]))

    def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._writer.write(data)


def _recorded(head: h11.Request, body: bytes) -> RecordedRequest:
    return RecordedRequest(
        method=head.method.decode("ascii"),
        path=head.target.decode("ascii"),
        headers={name.decode("ascii").lower(): value.decode("latin-1") for name, value in head.headers},
        body=_parsed(body),
        received_at=time.monotonic(),
    )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _input_tokens(request: RecordedRequest) -> int:
    """A plausible count: about four bytes make a token."""
    return max(1, int(request.headers.get("content-length", "4")) // 4)


def _model_list() -> dict[str, Any]:
    models = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in MODELS
    ]
    return {"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}

"""The one layer in front of everything: our routes, our WebSocket, NiceGUI's pages and its socket.

Pure ASGI, outermost, failing closed. `judge` decides, without I/O, in this order: is the Host ours, is the Origin ours,
does a foreign page ask for a change, and then who asks. What it lets through carries in the scope, under `ACCESS`, how
the caller has proved itself; the routes refuse to work without it, so that an application without its guard is closed.
"""

import asyncio
import contextlib
import math
from enum import StrEnum

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claude_pattern import errors, tasks
from claude_pattern.api.hosts import Hosts
from claude_pattern.api.keys import Keys
from claude_pattern.api.limits import MAX_BODY_BYTES
from claude_pattern.api.replies import Headers, secured, send_error, send_redirect
from claude_pattern.api.requests import SOCKET_PATH, Request
from claude_pattern.settings import Settings

log = structlog.get_logger(__name__)

ACCESS = "claude_pattern.access"
"""Key of the ASGI scope: an `Access`, or None on an open route."""

_POLICY_VIOLATION = 1008
_LOGGED_CHARS = 200


class Access(StrEnum):
    """How a caller has proved who it is."""

    KEY = "key"
    COOKIE = "cookie"


class SignInFirst(errors.Unauthorized):
    """A person without a signed-in browser opens a page."""


def judge(request: Request, keys: Keys, hosts: Hosts) -> Access | None:
    """Who asks; None for anybody on an open route.

    Raises:
        Forbidden: Host, Origin or the place that the request comes from is not ours.
        TooManyAttempts: too many wrong keys from this address.
        Unauthorized: no key, a wrong one, or no signed-in browser; SignInFirst where a sign-in page helps.
    """
    _check_place(request, hosts)
    signed_in = any(keys.session_valid(cookie) for cookie in request.cookies)
    if signed_in and not request.keys and request.changes_state and not _from_own_page(request):
        raise errors.Forbidden
    if request.is_open:
        return None
    if given := request.keys:
        _check_key(given, request.address, keys)
        return Access.KEY
    if signed_in:
        return Access.COOKIE
    raise SignInFirst if request.is_page else errors.Unauthorized


def _check_place(request: Request, hosts: Hosts) -> None:
    host, origin = request.all(b"host"), request.all(b"origin")
    if not hosts.accepts(host) or (origin and not hosts.accepts_origin(origin, host[0])):
        raise errors.Forbidden
    if request.changes_state and request.fetch_site == b"cross-site":
        raise errors.Forbidden


def _from_own_page(request: Request) -> bool:
    """Browsers say where a change comes from; a cookie without that word is not enough."""
    return bool(request.all(b"origin")) or (not request.is_socket and request.fetch_site == b"same-origin")


def _check_key(given: list[bytes], address: str, keys: Keys) -> None:
    if keys.attempts.wait_s(address):
        raise errors.TooManyAttempts
    if len(given) != 1 or not keys.check(given[0]):
        keys.failed(address)
        raise errors.Unauthorized


class Guard:
    """The ASGI application that uvicorn serves; `app` is everything behind it."""

    def __init__(self, app: ASGIApp, *, keys: Keys, settings: Settings, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self._keys = keys
        self._hosts = Hosts.of(settings)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        with structlog.contextvars.bound_contextvars(correlation_id=request.request_id.decode("ascii")):
            if request.is_socket:
                await self._socket(request, scope, receive, send)
            else:
                await self._http(request, scope, receive, send)

    async def _http(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = secured(
                    message.get("headers", ()), request_id=request.request_id, cacheable=request.is_cacheable
                )
                message = {**message, "headers": headers}
            await send(message)

        try:
            scope[ACCESS] = judge(request, self._keys, self._hosts)
            if request.content_length > self._max_body_bytes:
                raise errors.PayloadTooLarge
        except SignInFirst:
            await send_redirect(send_secured, request.login_address)
        except errors.ClaudePatternError as error:
            self._refused(request, error)
            await send_error(send_secured, error, self._retry_after(request, error))
        else:
            await _Body(receive, send_secured, self._max_body_bytes).serve(self.app, scope)

    def _retry_after(self, request: Request, error: errors.ClaudePatternError) -> Headers:
        if not isinstance(error, errors.TooManyAttempts):
            return []
        seconds = math.ceil(self._keys.attempts.wait_s(request.address))
        return [(b"retry-after", str(max(1, seconds)).encode("ascii"))]

    async def _socket(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope[ACCESS] = judge(request, self._keys, self._hosts)
        except errors.ClaudePatternError as error:
            self._refused(request, error)
            if request.path == SOCKET_PATH and not isinstance(error, errors.Forbidden):
                # Only an accepted connection can tell its client a close code.
                await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.message})
            return
        if scope[ACCESS] is Access.COOKIE:
            await _SignedInSocket(send).serve(self.app, scope, receive, self._keys, request.cookies)
        else:
            await self.app(scope, receive, send)

    def _refused(self, request: Request, error: errors.ClaudePatternError) -> None:
        log.info("request_refused", path=request.path[:_LOGGED_CHARS], address=request.address, code=error.code)


class _Body:
    """Counts a body while it comes in, and answers 413 in place of the application once it is too large."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._left = limit
        self._started = False

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._counted, self._unless_too_large)
        except HTTPException:
            if self._left >= 0:
                raise
        if self._left < 0 and not self._started:
            await send_error(self._send, errors.PayloadTooLarge())

    async def _counted(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # Frameworks let this exception pass where they turn any other one into "bad request".
            raise HTTPException(errors.PayloadTooLarge.status)
        return message

    async def _unless_too_large(self, message: Message) -> None:
        if self._left >= 0 or self._started:
            self._started = True
            await self._send(message)


class _SignedInSocket:
    """A socket that lives as long as its browser session: it is closed when that is signed out or expires."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._closed = False

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, keys: Keys, cookies: list[str]) -> None:
        cookie = next(cookie for cookie in cookies if keys.session_valid(cookie))
        forget = keys.when_closed(cookie, self._close)
        expiry = asyncio.get_running_loop().call_later(keys.session_left_s(cookie), self._close)
        try:
            await app(scope, receive, self._unless_closed)
        finally:
            expiry.cancel()
            forget()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            tasks.spawn(self._say_goodbye(), name="sign-out-socket")

    async def _say_goodbye(self) -> None:
        with contextlib.suppress(OSError):  # the browser was faster
            await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "Signed out"})

    async def _unless_closed(self, message: Message) -> None:
        if not self._closed:
            self._closed = message["type"] == "websocket.close"
            await self._send(message)

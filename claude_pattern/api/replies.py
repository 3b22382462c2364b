"""What the guard says by itself, and the headers that every HTTP response carries."""

import json
from collections.abc import Iterable
from html import escape

from starlette.types import Message, Send

from claude_pattern.errors import ClaudePatternError
from claude_pattern.logs import scrubber

Headers = list[tuple[bytes, bytes]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Vue compiles NiceGUI's templates in the browser.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        "frame-src 'none'",
        "frame-ancestors 'none'",
    )
)
_SECURITY: Headers = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: under it browsers send `Origin: null` with the forms of our own pages.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
NO_STORE = (b"cache-control", b"no-store")


def secured(headers: Iterable[tuple[bytes, bytes]], *, request_id: bytes, cacheable: bool) -> Headers:
    """The headers of a response with those of the guard; a page's own stricter policy stays."""
    kept = [(name, value) for name, value in headers if name.lower() != b"server"]
    present = {name.lower() for name, _ in kept}
    kept += [pair for pair in _SECURITY if pair[0] not in present]
    if not cacheable and b"cache-control" not in present:
        kept.append(NO_STORE)
    kept.append((b"x-request-id", request_id))
    return kept


def error_body(code: str, message: str) -> bytes:
    """The one shape of every error, as JSON."""
    return json.dumps({"error": code, "message": scrubber.text(message)}).encode("ascii")


async def send_error(send: Send, error: ClaudePatternError, headers: Headers | None = None) -> None:
    """Answer an HTTP request with an error."""
    body = error_body(error.code, error.message)
    await _reply(send, error.status, body, [(b"content-type", b"application/json"), *(headers or [])])


async def send_redirect(send: Send, location: str) -> None:
    """Send a browser to another page of ours."""
    body = f'<!doctype html><a href="{escape(location)}">Sign in</a>'.encode()
    headers = [(b"location", location.encode("ascii")), (b"content-type", b"text/html; charset=utf-8")]
    await _reply(send, 303, body, headers)


async def _reply(send: Send, status: int, body: bytes, headers: Headers) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", str(len(body)).encode("ascii"))],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})

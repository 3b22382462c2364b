"""Every error of the HTTP interface in its one shape, `{"error": code, "message": text}`."""

import http.client
import itertools
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from claude_pattern.api.limits import RETRY_AFTER_S
from claude_pattern.api.replies import error_body
from claude_pattern.errors import ClaudePatternError, SessionNotFound, friendly

log = structlog.get_logger(__name__)

_MESSAGES = {
    400: "The request could not be read.",
    401: "Invalid API key",
    403: "This is not allowed.",
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The request is too large.",
}
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def install(app: FastAPI) -> None:
    """Give `app` its error handlers and the answers for unknown addresses below /api and /ws.

    Call it after every API router has been included and before the pages are mounted: a page for an unknown address
    would cost NiceGUI 100 kB for a minute.
    """
    app.add_exception_handler(ClaudePatternError, _on_our_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unknown_error)
    nowhere = _Nowhere(app)
    for path in ("/api", "/api/{path:path}", "/ws", "/ws/{path:path}"):
        app.router.routes.append(Route(path, nowhere, include_in_schema=False))


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response."""
    response = Response(error_body(code, message), status, headers, media_type="application/json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return response


class _Nowhere:
    """Answers where no route does: 405 if another method would be taken here, else 404."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = [method for method in _METHODS if self._takes(method, scope)]
        wrong_method = taken and scope["method"] not in taken
        response = _plain(405, {"Allow": ", ".join(taken)}) if wrong_method else _plain(404)
        await response(scope, receive, send)

    def _takes(self, method: str, scope: Scope) -> bool:
        probe = {"type": "http", "method": method, "path": scope["path"], "root_path": "", "headers": []}
        # The routes of the API stand before this one, the pages after it.
        before = itertools.takewhile(lambda route: getattr(route, "endpoint", None) is not self, self._app.routes)
        return any(route.matches(dict(probe))[0] is Match.FULL for route in before)


def _plain(status: int, headers: Mapping[str, str] | None = None) -> Response:
    code = http.client.responses.get(status, "error").lower().replace(" ", "_").replace("-", "_")
    return problem(status, code, _MESSAGES.get(status, "The request could not be served."), headers)


def _on_our_error(_request: Request, error: Exception) -> Response:
    explanation = friendly(error)
    status = error.status if isinstance(error, ClaudePatternError) else 500
    code = "not_found" if isinstance(error, SessionNotFound) else explanation.code
    return problem(status, code, explanation.message)


def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, "invalid_json", "The body is not valid JSON.")
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, "invalid_request", f"{where}: {first['msg']}")


def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _plain(error.status_code, error.headers)


def _on_unknown_error(_request: Request, error: Exception) -> Response:
    explanation = friendly(error)
    return problem(500, explanation.code, explanation.message)

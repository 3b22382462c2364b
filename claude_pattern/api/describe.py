"""What the REST routes have in common: who may call them, the id in their path, and how errors are described."""

import re
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from claude_pattern.api import schemas
from claude_pattern.api.guard import ACCESS
from claude_pattern.errors import SessionNotFound, SessionNotResumable, Unauthorized

Responses: TypeAlias = dict[int | str, dict[str, Any]]

_api_key = APIKeyHeader(
    name="X-API-Key",
    scheme_name="X-API-Key",
    description="The server's API key (CLAUDE_SDK_PATTERN_API_KEY, or DATA_DIR/api_key). "
    "A signed-in browser's cookie does as well.",
    auto_error=False,
)
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def problem(description: str, code: str, message: str) -> dict[str, Any]:
    """One kind of error in the description of a route."""
    example = {"error": code, "message": message}
    return {
        "model": schemas.ErrorBody,
        "description": description,
        "content": {"application/json": {"example": example}},
    }


COMMON: Responses = {
    401: problem("No API key, or a wrong one", "unauthorized", "Invalid API key"),
    403: problem(
        "Host or Origin is not allowed",
        "forbidden",
        "This server does not answer to that host or origin. Add it to ALLOWED_HOSTS if it should.",
    ),
    429: problem(
        "Too many wrong keys from this address; see Retry-After",
        "too_many_attempts",
        "Too many failed attempts. Wait a minute and try again.",
    ),
    500: problem(
        "An error of the server",
        "internal_error",
        "Something went wrong on the server. The details are in its log.",
    ),
}
NOT_FOUND: Responses = {404: problem("No such session", "not_found", "Session not found")}
NO_ROOM: Responses = {
    503: problem(
        "No session can be opened now (capacity_exceeded, server_shutting_down, process_failed); see Retry-After",
        "capacity_exceeded",
        "Server at capacity. Max sessions: 10",
    ),
}
INVALID: Responses = {
    400: problem("The body is not JSON", "invalid_json", "The body is not valid JSON."),
    413: problem("The body is larger than 1 MiB", "payload_too_large", "The request is too large."),
    422: problem("The body breaks a rule", "invalid_request", "body.name: Extra inputs are not permitted"),
}
INVALID_QUERY: Responses = {
    422: problem(
        "A parameter breaks a rule", "invalid_request", "query.limit: Input should be greater than or equal to 1"
    ),
}
BUSY: Responses = {
    409: problem("A turn is running", "query_in_progress", "A query is already in progress for this session"),
}


async def signed_in(request: Request, _key: Annotated[str | None, Security(_api_key)] = None) -> None:
    """Refuse a request that the guard has not let through as authenticated: without the guard nothing is served."""
    if request.scope.get(ACCESS) is None:
        raise Unauthorized


# Described by hand: FastAPI would announce a 422 for a parameter that cannot fail.
ID_IN_PATH = {
    "parameters": [
        {"name": "id", "in": "path", "required": True, "description": "The session's id.", "schema": {"type": "string"}}
    ]
}


def of_one(*responses: Responses) -> dict[str, Any]:
    """How a route about one session is described: NOT_FOUND and further `responses`."""
    merged: Responses = dict(NOT_FOUND)
    for more in responses:
        merged.update(more)
    return {"tags": ["sessions"], "responses": merged, "openapi_extra": ID_IN_PATH}


async def _session_id(request: Request) -> str:
    found = str(request.path_params["id"])
    if not _SESSION_ID.fullmatch(found):
        raise SessionNotFound
    return found


async def _resumable_id(request: Request) -> str:
    try:
        return await _session_id(request)
    except SessionNotFound:
        raise SessionNotResumable from None


SessionId: TypeAlias = Annotated[str, Depends(_session_id)]
"""The session id of the path; what cannot be one is not looked up."""

ResumableId: TypeAlias = Annotated[str, Depends(_resumable_id)]
"""The same where an unknown session is answered like one that cannot be resumed."""

"""The REST interface, `/api/v1`."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.security import APIKeyHeader

from claude_pattern.api import problems, schemas
from claude_pattern.api.guard import ACCESS
from claude_pattern.errors import SessionNotFound, Unauthorized
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.state import iso

_api_key = APIKeyHeader(
    name="X-API-Key",
    scheme_name="X-API-Key",
    description="The server's API key (CLAUDE_SDK_PATTERN_API_KEY, or DATA_DIR/api_key). "
    "A signed-in browser's cookie does as well.",
    auto_error=False,
)
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _problem(description: str, code: str, message: str) -> dict[str, Any]:
    example = {"error": code, "message": message}
    return {
        "model": schemas.ErrorBody,
        "description": description,
        "content": {"application/json": {"example": example}},
    }


_COMMON: dict[int | str, dict[str, Any]] = {
    401: _problem("No API key, or a wrong one", "unauthorized", "Invalid API key"),
    403: _problem(
        "Host or Origin is not allowed",
        "forbidden",
        "This server does not answer to that host or origin. Add it to ALLOWED_HOSTS if it should.",
    ),
    429: _problem(
        "Too many wrong keys from this address; see Retry-After",
        "too_many_attempts",
        "Too many failed attempts. Wait a minute and try again.",
    ),
    500: _problem(
        "An error of the server",
        "internal_error",
        "Something went wrong on the server. The details are in its log.",
    ),
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: _problem("No such session", "not_found", "Session not found")}
_NO_ROOM: dict[int | str, dict[str, Any]] = {
    503: _problem(
        "No session can be opened now (capacity_exceeded, server_shutting_down, process_failed); see Retry-After",
        "capacity_exceeded",
        "Server at capacity. Max sessions: 10",
    ),
}
_INVALID: dict[int | str, dict[str, Any]] = {
    400: _problem("The body is not JSON", "invalid_json", "The body is not valid JSON."),
    413: _problem("The body is larger than 1 MiB", "payload_too_large", "The request is too large."),
    422: _problem("The body breaks a rule", "invalid_request", "body.name: Extra inputs are not permitted"),
}


def signed_in(request: Request, _key: Annotated[str | None, Security(_api_key)] = None) -> None:
    """Refuse a request that the guard has not let through as authenticated: without the guard nothing is served."""
    if request.scope.get(ACCESS) is None:
        raise Unauthorized


# Described by hand: FastAPI would announce a 422 for a parameter that cannot fail.
_ID_IN_PATH = {
    "parameters": [
        {"name": "id", "in": "path", "required": True, "description": "The session's id.", "schema": {"type": "string"}}
    ]
}


def session_id(request: Request) -> str:
    """The session id of the path; what cannot be one is not looked up."""
    found = str(request.path_params["id"])
    if not _SESSION_ID.fullmatch(found):
        raise SessionNotFound
    return found


SessionId = Annotated[str, Depends(session_id)]


def router(manager: SessionManager, extensions: ExtensionLoader) -> APIRouter:
    """Every authenticated REST route."""
    routes = APIRouter(prefix="/api/v1", dependencies=[Depends(signed_in)], responses=_COMMON)
    _add_sessions(routes, manager)
    _add_session(routes, manager)
    _add_extensions(routes, extensions)
    return routes


def install_error_handlers(app: FastAPI) -> None:
    """Give every error of `app` its one shape, see `problems.install`; to be called after all API routers."""
    problems.install(app)


def _add_sessions(routes: APIRouter, manager: SessionManager) -> None:
    @routes.get("/sessions", tags=["sessions"], summary="List the live sessions")
    async def list_sessions() -> schemas.SessionList:
        """The live sessions, the one with the newest activity first."""
        return schemas.SessionList(sessions=manager.list())

    @routes.post(
        "/sessions",
        status_code=201,
        tags=["sessions"],
        summary="Open a session",
        response_description="The session is open",
        responses={**_NO_ROOM, **_INVALID},
    )
    async def create_session(_options: schemas.SessionOptions | None = None) -> schemas.SessionCreated:
        """Open a session on a ready process if there is one, else on a new one, which takes about a second."""
        session = await manager.create()
        state = session.state
        return schemas.SessionCreated(
            session_id=state.session_id, source=state.source, created_at=iso(state.created_at)
        )


def _add_session(routes: APIRouter, manager: SessionManager) -> None:
    of_one: dict[str, Any] = {"tags": ["sessions"], "responses": _NOT_FOUND, "openapi_extra": _ID_IN_PATH}

    @routes.get("/sessions/{id}", summary="Details of a session", **of_one)
    async def get_session(session_id: SessionId) -> schemas.SessionDetails:
        """What is known about a session, live or ended."""
        return schemas.SessionDetails.model_validate(await manager.details(session_id))

    @routes.delete("/sessions/{id}", summary="End a session", **of_one)
    async def delete_session(session_id: SessionId) -> schemas.SessionEnded:
        """Stop the running turn, end the session and its process."""
        await manager.destroy(session_id)
        return schemas.SessionEnded(session_id=session_id)

    @routes.post("/sessions/{id}/interrupt", summary="Stop the running turn", **of_one)
    async def interrupt_session(session_id: SessionId) -> schemas.SessionInterrupted:
        """Stop the running turn of a session; what was said so far stays. Does nothing when no turn is running."""
        return schemas.SessionInterrupted(session_id=session_id, interrupted=await manager.interrupt(session_id))


def _add_extensions(routes: APIRouter, extensions: ExtensionLoader) -> None:
    @routes.get("/extensions", tags=["extensions"], summary="Extensions of the project folder")
    async def get_extensions() -> schemas.Extensions:
        """What a session opened now would get, read from disk for this request, and what is wrong with the files."""
        found = await extensions.load()
        return schemas.Extensions(
            mcp_servers=found.masked(),
            skills=[schemas.ExtensionFile(name=skill.name, path=skill.path) for skill in found.skills],
            commands=[schemas.ExtensionFile(name=command.name, path=command.path) for command in found.commands],
            problems=[
                schemas.ExtensionProblem(
                    file=problem.file, what=problem.what, line=problem.line, severity=problem.severity
                )
                for problem in found.problems
            ],
        )

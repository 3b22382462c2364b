"""The REST interface, `/api/v1`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Query

from claude_pattern.api import conversations, problems, schemas
from claude_pattern.api.describe import (
    BUSY,
    COMMON,
    ID_IN_PATH,
    INVALID,
    INVALID_QUERY,
    NO_ROOM,
    Responses,
    ResumableId,
    SessionId,
    of_one,
    problem,
    signed_in,
)
from claude_pattern.extensions import ExtensionLoader
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.state import SessionState, iso

_NO_SUCH: Responses = {
    404: problem("No such session (not_found) or message (message_not_found)", "not_found", "Session not found")
}
PAGE_SESSIONS = 100
"""Ended sessions in one answer unless the client asks for another number."""


def router(manager: SessionManager, extensions: ExtensionLoader) -> APIRouter:
    """Every authenticated REST route."""
    routes = APIRouter(prefix="/api/v1", dependencies=[Depends(signed_in)], responses=COMMON)
    _add_sessions(routes, manager)
    _add_session(routes, manager)
    _add_lives(routes, manager)
    conversations.add(routes, manager)
    _add_extensions(routes, extensions)
    return routes


def install_error_handlers(app: FastAPI) -> None:
    """Give every error of `app` its one shape, see `problems.install`; to be called after all API routers."""
    problems.install(app)


def _add_sessions(routes: APIRouter, manager: SessionManager) -> None:
    @routes.get("/sessions", tags=["sessions"], summary="List sessions", responses=INVALID_QUERY)
    async def list_sessions(
        status: Annotated[
            Literal["active", "ended", "all"], Query(description="Live sessions, ended ones, or both.")
        ] = "active",
        limit: Annotated[
            int | None,
            Query(ge=1, le=1000, description="How many at most: without it every live one, of the others 100."),
        ] = None,
        offset: Annotated[int, Query(ge=0, le=2**31, description="How many to leave out at the start.")] = 0,
    ) -> schemas.SessionList:
        """Sessions, the one with the newest activity first. An ended one can be resumed if `is_resumable`."""
        if status == "active":
            end = None if limit is None else offset + limit
            return schemas.SessionList(sessions=manager.list()[offset:end])
        found = await manager.search(ended_only=status == "ended", limit=limit or PAGE_SESSIONS, offset=offset)
        return schemas.SessionList(sessions=found)

    @routes.post(
        "/sessions",
        status_code=201,
        tags=["sessions"],
        summary="Open a session",
        response_description="The session is open",
        responses={**NO_ROOM, **INVALID},
    )
    async def create_session(_options: schemas.SessionOptions | None = None) -> schemas.SessionCreated:
        """Open a session on a ready process if there is one, else on a new one, which takes about a second."""
        return _created((await manager.create()).state)


def _created(state: SessionState) -> schemas.SessionCreated:
    return schemas.SessionCreated(session_id=state.session_id, source=state.source, created_at=iso(state.created_at))


def _add_session(routes: APIRouter, manager: SessionManager) -> None:
    @routes.get("/sessions/{id}", summary="Details of a session", **of_one())
    async def get_session(session_id: SessionId) -> schemas.SessionDetails:
        """What is known about a session, live or ended."""
        return schemas.SessionDetails.model_validate(await manager.details(session_id))

    @routes.patch("/sessions/{id}", summary="Rename a session", **of_one(INVALID))
    async def rename_session(session_id: SessionId, changes: schemas.SessionChanges) -> schemas.SessionDetails:
        """Give a session, live or ended, a title; everybody who looks at it sees the change."""
        await manager.rename(session_id, changes.title)
        return schemas.SessionDetails.model_validate(await manager.details(session_id))

    @routes.delete("/sessions/{id}", summary="End a session", **of_one())
    async def delete_session(session_id: SessionId) -> schemas.SessionEnded:
        """Stop the running turn, end the session and its process."""
        await manager.destroy(session_id)
        return schemas.SessionEnded(session_id=session_id)

    @routes.post("/sessions/{id}/interrupt", summary="Stop the running turn", **of_one())
    async def interrupt_session(session_id: SessionId) -> schemas.SessionInterrupted:
        """Stop the running turn of a session; what was said so far stays. Does nothing when no turn is running."""
        return schemas.SessionInterrupted(session_id=session_id, interrupted=await manager.interrupt(session_id))


def _add_lives(routes: APIRouter, manager: SessionManager) -> None:
    not_resumable = problem(
        "The session is unknown, or cannot be resumed",
        "session_not_resumable",
        "Session not found or not resumable",
    )

    @routes.post(
        "/sessions/{id}/resume",
        tags=["sessions"],
        summary="Bring an ended session back",
        responses={409: not_resumable, **NO_ROOM},
        openapi_extra=ID_IN_PATH,
    )
    async def resume_session(session_id: ResumableId) -> schemas.SessionCreated:
        """Bring an ended session back with its whole conversation; a live one stays as it is."""
        return _created((await manager.resume(session_id)).state)

    @routes.post(
        "/sessions/{id}/fork",
        status_code=201,
        summary="Fork a session",
        response_description="The fork is open",
        **of_one(_NO_SUCH, BUSY, INVALID, NO_ROOM),
    )
    async def fork_session(session_id: SessionId, options: schemas.ForkOptions | None = None) -> schemas.SessionForked:
        """Open a session that begins with the conversation of this one, live or ended, which stays as it is."""
        at_message = options.message_id if options is not None else None
        state = (await manager.fork(session_id, at_message=at_message)).state
        return schemas.SessionForked(**_created(state).model_dump(), parent_session_id=session_id)


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

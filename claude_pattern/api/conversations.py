"""Routes about what is said in a session: send a message, follow its events, take the conversation away."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from claude_pattern.api import schemas
from claude_pattern.api.describe import BUSY, INVALID, INVALID_QUERY, NO_ROOM, SessionId, of_one, problem
from claude_pattern.api.history import history
from claude_pattern.api.streams import Events, EventStream, since, turn, unless_gone
from claude_pattern.errors import ClaudePatternError, EventsUnavailable
from claude_pattern.events import TURN_END, AnySessionEvent, ResponseComplete, StreamError, StreamInterrupted
from claude_pattern.sessions import export
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.session import Session

_EXAMPLE = 'id: 7\nevent: stream_delta\ndata: {"session_id":"...","seq":7,"type":"stream_delta","delta":"Hello"}\n\n'
_STREAM: dict[str, Any] = {"schema": {"type": "string"}, "example": _EXAMPLE}
_UNAVAILABLE = problem(
    "The events after that number are not at hand",
    "events_unavailable",
    "The events after number 7 are not at hand; the newest is number 5. Read the session again and go on from now.",
)
_GONE = Response(status_code=499)
"""Nobody reads it."""


def add(routes: APIRouter, manager: SessionManager) -> None:
    """Add the routes."""
    _add_messages(routes, manager)
    _add_events(routes, manager)
    _add_export(routes, manager)


def _add_messages(routes: APIRouter, manager: SessionManager) -> None:
    described = of_one(BUSY, INVALID, NO_ROOM)
    described["responses"][200] = {
        "description": "The turn's events as they happen, or with `Accept: application/json` the finished answer",
        "model": schemas.Answer,
        "content": {"text/event-stream": _STREAM},
    }

    @routes.post("/sessions/{id}/messages", summary="Send a message", response_model=None, **described)
    async def send_message(
        session_id: SessionId, message: schemas.NewMessage, request: Request
    ) -> Response | schemas.Answer:
        """Send a message and stream the events of its turn as server-sent events.

        The stream ends after response_complete, stream_error or stream_interrupted. A client that is cut off leaves
        the turn running; it goes on with GET events and `Last-Event-ID`. An ended session comes back by itself.
        """
        session = await manager.open(session_id)
        before = session.state.seq
        message_id = await session.send(message.text)
        events = turn(session, message_id, before)
        if not _wants_json(request):
            return EventStream(events)
        return await unless_gone(request.receive, _answer(session, message_id, events)) or _GONE


def _wants_json(request: Request) -> bool:
    accepted = ",".join(request.headers.getlist("accept")).lower()
    return "application/json" in accepted and "text/event-stream" not in accepted


def _add_events(routes: APIRouter, manager: SessionManager) -> None:
    described = of_one({409: _UNAVAILABLE}, INVALID_QUERY)
    described["responses"][200] = {"description": "The events", "content": {"text/event-stream": _STREAM}}
    described["responses"][204] = {"description": "There is nothing to send, and no turn is running"}

    @routes.get("/sessions/{id}/events", summary="Follow a session's events", response_class=Response, **described)
    async def follow_events(
        session_id: SessionId,
        last_event_id: Annotated[
            int | None, Query(ge=0, description="As the header; the header counts more. 0 means from the beginning.")
        ] = None,
        last_event_id_header: Annotated[
            int | None,
            Header(alias="Last-Event-ID", ge=0, description="Number of the last event that the client has seen."),
        ] = None,
    ) -> Response:
        """Stream the events after a number (without one: from now on) until the running turn ends.

        Without a running turn the stream ends after the newest event; when there is none to send the answer is 204,
        which tells a browser's EventSource to stop.
        """
        session = await manager.open(session_id)
        newest, running = session.state.seq, session.state.is_query_active
        after = _first_given(last_event_id_header, last_event_id, newest)
        if after > newest or not session.feed.reaches(after):
            raise EventsUnavailable(
                f"The events after number {after} are not at hand; the newest is number {newest}. "
                "Read the session again and go on from now."
            )
        if after == newest and not running:
            return Response(status_code=204)
        return EventStream(since(session, after, newest, running=running))


def _first_given(*numbers: int | None) -> int:
    return next(number for number in numbers if number is not None)


def _add_export(routes: APIRouter, manager: SessionManager) -> None:
    described = of_one(INVALID_QUERY)
    texts = {media_type: {"schema": {"type": "string"}} for media_type in export.MEDIA_TYPES.values()}
    described["responses"][200] = {"description": "The conversation as a file", "content": texts}

    @routes.get("/sessions/{id}/export", summary="Take a conversation away", response_class=Response, **described)
    async def export_session(
        session_id: SessionId,
        kind: Annotated[
            export.Format,
            Query(alias="format", description="markdown to read, json for programs, jsonl with every event."),
        ] = "markdown",
    ) -> Response:
        """The whole conversation of a session, live or ended, with secrets masked."""
        session = await manager.open(session_id)
        head = {**(await manager.details(session_id)), **session.state.summary().model_dump()}
        if kind == "jsonl":
            text = await asyncio.to_thread(export.as_jsonl, await manager.entries(session_id))
        else:
            write = export.as_markdown if kind == "markdown" else export.as_json
            text = await asyncio.to_thread(write, head, history(session.state))
        name = export.file_name(head, kind)
        return Response(
            text.encode("utf-8", "replace"),  # half a character, from a cut answer, is none
            media_type=f"{export.MEDIA_TYPES[kind]}; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


async def _answer(session: Session, message_id: str, events: Events) -> schemas.Answer:
    """The finished answer; waits for the end of the turn."""
    end: AnySessionEvent | None = None
    async for event in events:
        end = event or end
    if not isinstance(end, TURN_END):
        raise ClaudePatternError("The answer could not be followed to its end. Read the session again.")
    said = next((m.text for m in session.state.messages if m.message_id == f"answer-{message_id}"), "")
    facts: dict[str, Any] = {}
    match end:
        case ResponseComplete():
            facts = {"status": "complete", **end.model_dump(include=_FACTS)}
        case StreamInterrupted():
            facts = {"status": "interrupted"}
        case StreamError():
            error = schemas.TurnError(error=end.code, message=end.error, suggested_action=end.suggested_action)
            facts = {"status": "error", "error": error}
    facts = {"total_cost_usd": session.state.total_cost_usd, **facts}
    return schemas.Answer(session_id=session.session_id, message_id=message_id, text=said, **facts)


_FACTS = {"cost_usd", "total_cost_usd", "duration_ms", "turn_count", "input_tokens", "output_tokens"}

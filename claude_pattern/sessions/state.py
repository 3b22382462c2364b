"""What one live session looks like right now: the state that every tab and API client of the session shares.

`SessionState.apply` is its only writer. Small values are bindable NiceGUI properties, so an element bound to one is
updated by the assignment itself; the conversation is read through `messages` by listeners that hear of every event
after it has been applied. A late joiner draws the state as it is and then listens: the state is the replay.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import structlog
from nicegui import binding

from claude_pattern import events
from claude_pattern.events import (
    AnySessionEvent,
    RequestKind,
    SessionStatus,
    SessionSummary,
    Source,
)
from claude_pattern.sessions.markdown import MarkdownStream

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions

    from claude_pattern.process.agent import AgentProcess

log = structlog.get_logger(__name__)

TITLE_CHARS = 80
INTERRUPTED = "[Response interrupted]"
_GAP = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # no database takes all of these

MessageStatus = Literal["queued", "streaming", "complete", "interrupted", "error"]
ToolStatus = Literal["executing", "success", "error"]
Listener = Callable[[AnySessionEvent], None]


# A part is compared by identity: it is one place of the conversation, not a value.
@dataclass(slots=True, eq=False, weakref_slot=True)
class _WrittenPart:
    block: int
    markdown: MarkdownStream = field(default_factory=MarkdownStream)

    @property
    def text(self) -> str:
        """The text so far."""
        return self.markdown.text


@dataclass(slots=True, eq=False)
class TextPart(_WrittenPart):
    """One block of the model's text; it grows while it streams."""


@dataclass(slots=True, eq=False)
class ThinkingPart(_WrittenPart):
    """One block of the model's thinking."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class ToolCall:
    """One tool call; `children` is what a sub-agent does inside it."""

    tool_use_id: str
    tool: str
    input: dict[str, Any]
    started_at: datetime
    status: ToolStatus = "executing"
    result: Any = None
    duration_ms: int | None = None
    error: str | None = None
    children: list["Part"] = field(default_factory=list)


@dataclass(slots=True, eq=False, weakref_slot=True)
class NoticePart:
    """A sentence of the platform inside the conversation, with the action that helps."""

    level: Literal["info", "warning", "error"]
    text: str
    action: str = "none"


Part: TypeAlias = TextPart | ThinkingPart | ToolCall | NoticePart


@dataclass(slots=True, eq=False, weakref_slot=True)
class Message:
    """One message of the conversation; a user message has one text part."""

    message_id: str
    role: Literal["user", "assistant", "system"]
    created_at: datetime
    status: MessageStatus = "complete"
    parts: list[Part] = field(default_factory=list)
    cost_usd: float | None = None
    duration_ms: int | None = None

    @property
    def text(self) -> str:
        """All text of the message, tool calls and thinking left out."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(slots=True, eq=False)
class OpenRequest:
    """A permission request, question or plan that waits for a person."""

    request_id: str
    kind: RequestKind
    tool: str
    tool_use_id: str | None
    input: dict[str, Any]
    title: str | None
    reason: str | None


@binding.bindable_dataclass
class SessionState:
    """The observable state of one live session. Change it through `apply` alone."""

    session_id: str
    created_at: datetime
    last_active_at: datetime
    status: SessionStatus = "creating"
    source: Source = "cold-start"
    user_id: str = "default"
    is_query_active: bool = False
    is_resumable: bool = True
    title: str | None = None
    parent_session_id: str | None = None
    model: str | None = None
    permission_mode: str = "default"
    activity: str = ""
    pid: int | None = None
    memory_mb: float | None = None
    message_count: int = 0
    total_cost_usd: float = 0.0
    context_tokens: int = 0
    queued_count: int = 0
    waiting_count: int = 0
    terminated_reason: str | None = None
    seq: int = 0
    client: "AgentProcess | None" = None
    options: "ClaudeAgentOptions | None" = None
    messages: list[Message] = field(default_factory=list)
    tools: dict[str, ToolCall] = field(default_factory=dict)
    requests: dict[str, OpenRequest] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listeners: list[Listener] = []
        self._moment = self.created_at

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event after it has been applied; the returned function ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    @property
    def listeners(self) -> int:
        """How many listeners there are."""
        return len(self._listeners)

    def summary(self) -> SessionSummary:
        """The session as it stands in lists."""
        return SessionSummary(
            session_id=self.session_id,
            status=self.status,
            created_at=iso(self.created_at),
            last_active_at=iso(self.last_active_at),
            message_count=self.message_count,
            total_cost_usd=self.total_cost_usd,
            is_resumable=self.is_resumable,
            title=self.title,
        )

    def now(self) -> datetime:
        """The moment of the event that is being applied, or was applied last."""
        return self._moment

    def apply(self, event: AnySessionEvent, at: datetime | None = None) -> None:
        """Take in one event: the only way in which the state changes. Then tell the listeners.

        `at` is when it happened, now if it is not given.
        """
        self.seq = event.seq
        self._moment = at or datetime.now(UTC)
        _APPLY[type(event)](self, event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("listener_failed", session_id=self.session_id)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat()


# ---------------------------------------------------------------- how each event changes the state


def _answer(state: SessionState) -> Message:
    """The assistant message that the running turn writes into; a turn that nobody asked for opens one."""
    for last in reversed(state.messages):
        if last.role == "assistant" and last.status == "streaming":
            return last
        if last.role == "user" and last.status != "queued":
            break
    return _place(state, Message(f"answer-{state.seq}", "assistant", state.now(), "streaming"))


def _place(state: SessionState, message: Message) -> Message:
    """Put a message at the end of what has been said, before the messages that still wait."""
    end = next((i for i, m in enumerate(state.messages) if m.status == "queued"), len(state.messages))
    state.messages.insert(end, message)
    return message


def _parts(state: SessionState, parent: str | None) -> list[Part]:
    """Where a part goes: into the running answer, or into the sub-agent call that it belongs to."""
    if parent is not None and (call := state.tools.get(parent)) is not None:
        return call.children
    return _answer(state).parts


def _user_message(state: SessionState, message_id: str, text: str, status: MessageStatus) -> Message:
    part = TextPart(0)
    part.markdown.append(text)
    part.markdown.close()
    return Message(message_id, "user", state.now(), status, [part])


def _message_queued(state: SessionState, event: events.MessageQueued) -> None:
    state.messages.append(_user_message(state, event.message_id, event.text, "queued"))
    state.queued_count += 1


def _take_queued(state: SessionState, message_id: str) -> Message | None:
    for message in state.messages:
        if message.message_id == message_id and message.status == "queued":
            state.messages.remove(message)
            state.queued_count -= 1
            return message
    return None


def _message_withdrawn(state: SessionState, event: events.MessageWithdrawn) -> None:
    _take_queued(state, event.message_id)


def _turn_started(state: SessionState, event: events.TurnStarted) -> None:
    waiting = _take_queued(state, event.message_id)
    if waiting is None:
        waiting = _user_message(state, event.message_id, event.text, "complete")
    waiting.status = "complete"
    _place(state, waiting)
    state.message_count += 1
    state.title = state.title or _title(event.text)
    state.status = "active"
    state.is_query_active = True
    state.activity = "Thinking..."
    state.last_active_at = state.now()
    _place(state, Message(f"answer-{event.message_id}", "assistant", state.now(), "streaming"))


def one_line(text: str) -> str:
    """`text` as a title: white space, control characters and halves of characters have become single spaces."""
    return _GAP.sub(" ", text).strip()


def _title(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _stream_delta(state: SessionState, event: events.StreamDelta) -> None:
    _grow(_parts(state, event.parent_tool_use_id), TextPart, event)
    if state.activity != "Writing...":
        state.activity = "Writing..."


def _thinking_delta(state: SessionState, event: events.ThinkingDelta) -> None:
    _grow(_parts(state, event.parent_tool_use_id), ThinkingPart, event)
    if state.activity != "Thinking...":
        state.activity = "Thinking..."


def _grow(
    parts: list[Part],
    kind: type[TextPart] | type[ThinkingPart],
    event: events.StreamDelta | events.ThinkingDelta,
) -> None:
    last = parts[-1] if parts else None
    if not isinstance(last, kind) or last.block != event.block:
        _close_text(parts)
        last = kind(event.block)
        parts.append(last)
    last.markdown.append(event.delta)


def _close_text(parts: list[Part]) -> None:
    if parts and isinstance(last := parts[-1], TextPart | ThinkingPart):
        last.markdown.close()


def _stream_reset(state: SessionState, event: events.StreamReset) -> None:
    parts = _parts(state, event.parent_tool_use_id)
    parts[:] = [p for p in parts if not (isinstance(p, TextPart | ThinkingPart) and p.block == event.block)]


def _tool_use(state: SessionState, event: events.ToolUse) -> None:
    parts = _parts(state, event.parent_tool_use_id)
    _close_text(parts)
    call = ToolCall(event.tool_use_id, event.tool, event.input, state.now())
    parts.append(call)
    state.tools[event.tool_use_id] = call
    state.activity = f"Running {event.tool}..."


def _tool_result(state: SessionState, event: events.ToolResult) -> None:
    call = state.tools.get(event.tool_use_id)
    if call is None:
        return
    call.status = event.status
    call.result = event.result
    call.duration_ms = event.duration_ms
    call.error = event.result.get("error") if event.status == "error" and isinstance(event.result, dict) else None
    state.activity = "Thinking..."


def _permission_request(state: SessionState, event: events.PermissionRequest) -> None:
    state.requests[event.request_id] = OpenRequest(
        event.request_id, event.kind, event.tool, event.tool_use_id, event.input, event.title, event.reason
    )
    state.waiting_count = len(state.requests)
    state.activity = "Waiting for your answer"


def _permission_resolved(state: SessionState, event: events.PermissionResolved) -> None:
    state.requests.pop(event.request_id, None)
    state.waiting_count = len(state.requests)
    if not state.requests and state.is_query_active:
        state.activity = "Working..."


def _api_retry(state: SessionState, event: events.ApiRetry) -> None:
    parts = _answer(state).parts
    for part in parts:
        if isinstance(part, NoticePart) and part.action == "wait":
            part.text = event.message
            break
    else:
        parts.append(NoticePart("warning", event.message, "wait"))
    state.activity = f"Retrying ({event.attempt}/{event.max_attempts})..."


def _end_turn(state: SessionState, status: MessageStatus) -> Message:
    message = _answer(state)
    message.status = status
    _close_text(message.parts)
    # A retry notice has served its purpose once the turn has ended.
    message.parts[:] = [p for p in message.parts if not (isinstance(p, NoticePart) and p.action == "wait")]
    for call in _open_calls(message.parts):
        call.status = "error"
        call.error = "Stopped before it had ended."
    state.is_query_active = False
    state.activity = ""
    state.last_active_at = state.now()
    return message


def _open_calls(parts: list[Part]) -> list[ToolCall]:
    calls = [part for part in parts if isinstance(part, ToolCall)]
    return [c for c in calls if c.status == "executing"] + [o for c in calls for o in _open_calls(c.children)]


def _response_complete(state: SessionState, event: events.ResponseComplete) -> None:
    message = _end_turn(state, "complete")
    message.cost_usd = event.cost_usd
    message.duration_ms = event.duration_ms
    state.message_count += 1
    state.total_cost_usd = event.total_cost_usd


def _stream_error(state: SessionState, event: events.StreamError) -> None:
    message = _end_turn(state, "error")
    message.parts.append(NoticePart("error", event.error, event.suggested_action))


def _stream_interrupted(state: SessionState, _event: events.StreamInterrupted) -> None:
    message = _end_turn(state, "interrupted")
    message.parts.append(NoticePart("info", INTERRUPTED))


def _session_updated(state: SessionState, event: events.SessionUpdated) -> None:
    for name in ("status", "title", "model", "permission_mode", "activity", "source"):
        value = getattr(event, name)
        if value is not None:
            setattr(state, name, value)


def _session_warning(state: SessionState, event: events.SessionWarning) -> None:
    state.warnings.append(event.message)


def _session_terminated(state: SessionState, event: events.SessionTerminated) -> None:
    state.status = "terminated"
    state.terminated_reason = event.reason
    state.activity = ""
    state.is_query_active = False
    state.messages.append(
        Message(
            f"terminated-{event.seq}",
            "system",
            state.now(),
            parts=[NoticePart("warning", event.message, "resume" if event.resume_url else "start_new_session")],
        )
    )


def _session_restarting(state: SessionState, event: events.SessionRestarting) -> None:
    state.status = "restarting"
    state.messages.append(
        Message(f"restarting-{event.seq}", "system", state.now(), parts=[NoticePart("info", event.message)])
    )


_APPLY: dict[type[events.SessionEvent], Callable[[SessionState, Any], None]] = {
    events.MessageQueued: _message_queued,
    events.MessageWithdrawn: _message_withdrawn,
    events.TurnStarted: _turn_started,
    events.StreamDelta: _stream_delta,
    events.StreamReset: _stream_reset,
    events.ThinkingDelta: _thinking_delta,
    events.ToolUse: _tool_use,
    events.ToolResult: _tool_result,
    events.PermissionRequest: _permission_request,
    events.PermissionResolved: _permission_resolved,
    events.ApiRetry: _api_retry,
    events.ResponseComplete: _response_complete,
    events.StreamError: _stream_error,
    events.StreamInterrupted: _stream_interrupted,
    events.SessionUpdated: _session_updated,
    events.SessionWarning: _session_warning,
    events.SessionTerminated: _session_terminated,
    events.SessionRestarting: _session_restarting,
}

"""The wire contract: what clients send and what the server says, as frozen models discriminated by `type`.

A `SessionEvent` belongs to one session and carries that session's running number `seq` (from 1, growing by one), so
that every subscriber, a browser tab or an API client, can see a gap. The same objects feed the session's state, the
WebSocket and the library's generators: there is no second representation.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from claude_pattern.errors import Action

MAX_MESSAGE_CHARS = 32_000
"""Longest user message, in characters."""

SessionStatus = Literal["creating", "active", "idle", "restarting", "terminated"]
Source = Literal["pre-warmed", "cold-start", "resumed"]
RequestKind = Literal["permission", "question", "plan"]
Decision = Literal["allow", "deny", "cancelled"]


class Event(BaseModel):
    """Anything the server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionSummary(Event):
    """One session in a list; `created_at` and `last_active_at` are ISO 8601 in UTC."""

    session_id: str
    status: SessionStatus
    created_at: str
    last_active_at: str
    message_count: int
    total_cost_usd: float
    is_resumable: bool
    title: str | None = None


# ---------------------------------------------------------------- about the connection


class SessionList(Event):
    """The live sessions; the first message on every connection."""

    type: Literal["session_list"] = "session_list"
    sessions: tuple[SessionSummary, ...]


class SessionCreating(Event):
    """No ready process was at hand; a new one is being started."""

    type: Literal["session_creating"] = "session_creating"
    estimated_seconds: float


class SessionReady(Event):
    """A session is there to take messages."""

    type: Literal["session_ready"] = "session_ready"
    session_id: str
    status: Literal["ready"] = "ready"
    source: Source


class SessionHistory(Event):
    """The whole conversation so far; events after number `seq` follow."""

    type: Literal["session_history"] = "session_history"
    session_id: str
    messages: tuple[dict[str, Any], ...]
    requests: tuple[dict[str, Any], ...] = ()
    """What waits for a person at this moment, each with the fields of a `permission_request`."""
    seq: int = 0


class MessageReceived(Event):
    """The client's message number `seq` has been accepted."""

    type: Literal["message_received"] = "message_received"
    seq: int


class ErrorMessage(Event):
    """A request of this connection failed; the connection stays open."""

    type: Literal["error"] = "error"
    code: Literal[
        "query_in_progress",
        "session_not_found",
        "session_not_resumable",
        "request_not_found",
        "invalid_message",
        "invalid_json",
        "capacity_exceeded",
        "internal_error",
        "process_failed",
        "session_opened_elsewhere",
        "server_shutting_down",
    ]
    message: str


# ---------------------------------------------------------------- about one session


class SessionEvent(Event):
    """Something that happened in one session; the session fills in `session_id` and `seq`."""

    session_id: str = ""
    seq: int = 0


class MessageQueued(SessionEvent):
    """A user message waits until the running turn has ended."""

    type: Literal["message_queued"] = "message_queued"
    message_id: str
    text: str


class MessageWithdrawn(SessionEvent):
    """A queued user message was taken back before its turn."""

    type: Literal["message_withdrawn"] = "message_withdrawn"
    message_id: str


class TurnStarted(SessionEvent):
    """A user message went to the model."""

    type: Literal["turn_started"] = "turn_started"
    message_id: str
    text: str


class StreamDelta(SessionEvent):
    """More text of text block number `block` of this turn (blocks are counted from 0)."""

    type: Literal["stream_delta"] = "stream_delta"
    delta: str
    block: int = 0
    parent_tool_use_id: str | None = None


class StreamReset(SessionEvent):
    """The text and thinking of block `block` so far is void: the model's service was cut off and starts it again."""

    type: Literal["stream_reset"] = "stream_reset"
    block: int = 0
    parent_tool_use_id: str | None = None


class ThinkingDelta(SessionEvent):
    """More of the model's thinking; `block` counts in the same row as text blocks."""

    type: Literal["thinking_delta"] = "thinking_delta"
    delta: str
    block: int = 0
    parent_tool_use_id: str | None = None


class ToolUse(SessionEvent):
    """The model calls a tool."""

    type: Literal["tool_use"] = "tool_use"
    tool_use_id: str
    tool: str
    input: dict[str, Any]
    parent_tool_use_id: str | None = None


class ToolResult(SessionEvent):
    """A tool call has ended; on error `result` is ``{"error": text}``. `duration_ms` counts from the call."""

    type: Literal["tool_result"] = "tool_result"
    tool_use_id: str
    result: Any
    status: Literal["success", "error"]
    duration_ms: int
    parent_tool_use_id: str | None = None


class PermissionRequest(SessionEvent):
    """The agent waits for a person to allow a tool call, to answer a question or to judge a plan.

    `kind` "question" has `input["questions"]` (each: question, header, multiSelect, options of label and
    description); `kind` "plan" has `input["plan"]` in Markdown.
    """

    type: Literal["permission_request"] = "permission_request"
    request_id: str
    kind: RequestKind
    tool: str
    tool_use_id: str | None = None
    input: dict[str, Any]
    title: str | None = None
    reason: str | None = None


class PermissionResolved(SessionEvent):
    """A permission request is no longer open; `cancelled` means that the turn was stopped."""

    type: Literal["permission_resolved"] = "permission_resolved"
    request_id: str
    decision: Decision
    message: str | None = None


class ApiRetry(SessionEvent):
    """The model's service failed and the CLI tries again by itself after `delay_seconds`."""

    type: Literal["api_retry"] = "api_retry"
    attempt: int
    max_attempts: int
    delay_seconds: float
    message: str


class ResponseComplete(SessionEvent):
    """The turn has ended well.

    `cost_usd` is this turn's, `total_cost_usd` the session's; `turn_count` is the number of model calls in the turn,
    as the CLI counts them; `duration_ms` the whole turn.
    """

    type: Literal["response_complete"] = "response_complete"
    cost_usd: float
    turn_count: int
    total_cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    duration_ms: int = 0


class StreamError(SessionEvent):
    """The turn has failed."""

    type: Literal["stream_error"] = "stream_error"
    error: str
    partial_preserved: bool
    suggested_action: Action
    code: str = "api_error"


class StreamInterrupted(SessionEvent):
    """A person stopped the turn; what was said so far stays."""

    type: Literal["stream_interrupted"] = "stream_interrupted"


class SessionUpdated(SessionEvent):
    """Small facts about the session changed; None leaves a fact as it is."""

    type: Literal["session_updated"] = "session_updated"
    status: SessionStatus | None = None
    title: str | None = None
    model: str | None = None
    permission_mode: str | None = None
    activity: str | None = None
    source: Source | None = None


class SessionWarning(SessionEvent):
    """Something will happen to the session unless somebody acts."""

    type: Literal["session_warning"] = "session_warning"
    reason: str
    remaining_seconds: int | None = None
    message: str


class SessionTerminated(SessionEvent):
    """The session's process is gone; `resume_url` leads back to it where it can be resumed."""

    type: Literal["session_terminated"] = "session_terminated"
    reason: str
    message: str
    resume_url: str | None = None


class SessionRestarting(SessionEvent):
    """The process is being replaced; the conversation goes on."""

    type: Literal["session_restarting"] = "session_restarting"
    reason: str
    message: str


AnySessionEvent = (
    MessageQueued
    | MessageWithdrawn
    | TurnStarted
    | StreamDelta
    | StreamReset
    | ThinkingDelta
    | ToolUse
    | ToolResult
    | PermissionRequest
    | PermissionResolved
    | ApiRetry
    | ResponseComplete
    | StreamError
    | StreamInterrupted
    | SessionUpdated
    | SessionWarning
    | SessionTerminated
    | SessionRestarting
)
ServerMessage = Annotated[
    SessionList | SessionCreating | SessionReady | SessionHistory | MessageReceived | ErrorMessage | AnySessionEvent,
    Field(discriminator="type"),
]
TURN_END = (ResponseComplete, StreamError, StreamInterrupted)
"""Exactly one of these ends every turn."""


# ---------------------------------------------------------------- from the client


class ClientMessage(BaseModel):
    """Anything a WebSocket client sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class UserMessage(ClientMessage):
    """A message for the agent; `seq` is positive and grows on each connection."""

    type: Literal["user_message"]
    session_id: str
    text: str
    seq: int


class Interrupt(ClientMessage):
    """Stop the running turn; does nothing when there is none."""

    type: Literal["interrupt"]
    session_id: str


class CreateSession(ClientMessage):
    """Open a new session on this connection."""

    type: Literal["create_session"]


class SwitchSession(ClientMessage):
    """Follow another session; answered by `session_history`, or by the events after `last_seq` if it is given."""

    type: Literal["switch_session"]
    session_id: str
    last_seq: int | None = None


class DestroySession(ClientMessage):
    """End a session."""

    type: Literal["destroy_session"]
    session_id: str


class PermissionAnswer(ClientMessage):
    """Answer a `permission_request`.

    `answers` maps the text of each question to the chosen label or free text; `message` tells the model why not.
    """

    type: Literal["permission_answer"]
    session_id: str
    request_id: str
    decision: Literal["allow", "deny"]
    message: str | None = None
    answers: dict[str, str] | None = None


AnyClientMessage = Annotated[
    UserMessage | Interrupt | CreateSession | SwitchSession | DestroySession | PermissionAnswer,
    Field(discriminator="type"),
]
client_messages: TypeAdapter[AnyClientMessage] = TypeAdapter(AnyClientMessage)
server_messages: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)

"""What the REST interface takes and gives, as models that OpenAPI is made from."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from claude_pattern.errors import Action
from claude_pattern.events import MAX_MESSAGE_CHARS, SessionSummary, Source
from claude_pattern.sessions.manager import MAX_TITLE_CHARS

_SESSION_ID = "6f1f3b0e-8a59-4d0c-9f0e-3f3c3f0a1b2c"
_MOMENT = "2026-01-31T09:30:00+00:00"
_SUMMARY: dict[str, Any] = {
    "session_id": _SESSION_ID,
    "status": "active",
    "created_at": _MOMENT,
    "last_active_at": _MOMENT,
    "message_count": 2,
    "total_cost_usd": 0.0123,
    "is_resumable": True,
    "title": "Explain this repository",
}


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class ErrorBody(BaseModel):
    """Every error: a code for programs and a sentence for people."""

    error: str = Field(description="Machine-readable code.")
    message: str = Field(description="What happened and what helps.")


class SessionList(BaseModel):
    """Sessions, the one with the newest activity first."""

    model_config = _example({"sessions": [_SUMMARY]})

    sessions: list[SessionSummary]


class SessionOptions(BaseModel):
    """How to open a session; there is nothing to choose yet."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


class SessionCreated(BaseModel):
    """A session that is ready for messages."""

    model_config = _example(
        {"session_id": _SESSION_ID, "status": "active", "source": "pre-warmed", "created_at": _MOMENT}
    )

    session_id: str
    status: Literal["active"] = "active"
    source: Source
    created_at: str


class ForkOptions(BaseModel):
    """Where to fork: after the answer to this user message; without it the whole conversation is taken over."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"message_id": "0b4f7c1e-55d1-4a55-9d0b-7f2d1f0f9d11"}]}
    )

    message_id: str | None = None


class SessionForked(SessionCreated):
    """A fork that is ready for messages."""

    model_config = _example(
        {
            "session_id": "2d1d6c0e-64f5-4a08-8a53-0ef2a3f0b7aa",
            "status": "active",
            "source": "cold-start",
            "created_at": _MOMENT,
            "parent_session_id": _SESSION_ID,
        }
    )

    parent_session_id: str


class SessionDetails(SessionSummary):
    """Everything that is known about one session, live or ended."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {**_SUMMARY, "source": "pre-warmed", "model": None, "permission_mode": "default"},
            ]
        },
    )


class SessionChanges(BaseModel):
    """What can be changed about a session."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "Release notes"}]})

    title: str = Field(description=f"One line of 1 to {MAX_TITLE_CHARS} characters.")


class SessionEnded(BaseModel):
    """A session that has been ended."""

    model_config = _example({"session_id": _SESSION_ID, "status": "terminated", "reason": "user_requested"})

    session_id: str
    status: Literal["terminated"] = "terminated"
    reason: Literal["user_requested"] = "user_requested"


class SessionInterrupted(BaseModel):
    """The answer to an interrupt; `interrupted` is false when no turn was running."""

    model_config = _example({"session_id": _SESSION_ID, "interrupted": True})

    session_id: str
    interrupted: bool


class NewMessage(BaseModel):
    """A message for the agent."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "Explain this repository"}]})

    text: str = Field(description=f"Not empty after trimming, at most {MAX_MESSAGE_CHARS:,} characters.")


class TurnError(ErrorBody):
    """Why a turn failed, and what helps."""

    suggested_action: Action


class Answer(BaseModel):
    """What the agent answered to one message; with `status` "error" or "interrupted" the text may be a part of it."""

    model_config = _example(
        {
            "session_id": _SESSION_ID,
            "message_id": "0b4f7c1e-55d1-4a55-9d0b-7f2d1f0f9d11",
            "status": "complete",
            "text": "It is a web platform for agents.",
            "cost_usd": 0.0042,
            "total_cost_usd": 0.0123,
            "duration_ms": 2300,
            "turn_count": 1,
            "input_tokens": 812,
            "output_tokens": 96,
            "error": None,
        }
    )

    session_id: str
    message_id: str
    status: Literal["complete", "interrupted", "error"]
    text: str
    cost_usd: float | None = None
    total_cost_usd: float
    duration_ms: int | None = None
    turn_count: int | None = Field(None, description="Model calls in this turn.")
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: TurnError | None = None


class ExtensionFile(BaseModel):
    """A skill or a command and its file."""

    name: str
    path: str


class ExtensionProblem(BaseModel):
    """What is wrong with an extension file; `line` is None where no single line is at fault."""

    file: str
    what: str
    line: int | None = None
    severity: str = "error"
    """An error leaves the item out, a warning keeps it."""


class Extensions(BaseModel):
    """The extensions that a new session gets; values of environment variables and headers are masked."""

    model_config = _example(
        {
            "mcp_servers": {"files": {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "[redacted]"}}},
            "skills": [{"name": "review", "path": "skills/review/SKILL.md"}],
            "commands": [{"name": "summarize", "path": "commands/summarize.md"}],
            "problems": [{"file": "mcp.json", "what": "unknown key 'comand'", "line": 4}],
        }
    )

    mcp_servers: dict[str, dict[str, Any]]
    skills: list[ExtensionFile]
    commands: list[ExtensionFile]
    problems: list[ExtensionProblem]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """A new session could be opened now."""

    model_config = _example({"status": "ready", "pool_depth": 2, "active_sessions": 1, "max_sessions": 10})

    status: Literal["ready"] = "ready"
    pool_depth: int
    active_sessions: int
    max_sessions: int


class NotReady(BaseModel):
    """No new session can be opened now, and why."""

    model_config = _example({"status": "not_ready", "reason": "at_capacity", "active_sessions": 10, "max_sessions": 10})

    status: Literal["not_ready"] = "not_ready"
    reason: str = Field(description="pool_empty, at_capacity, starting, shutting_down, database_unavailable, ...")
    active_sessions: int
    max_sessions: int

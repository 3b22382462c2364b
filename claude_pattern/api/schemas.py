"""What the REST interface takes and gives, as models that OpenAPI is made from."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from claude_pattern.events import SessionSummary, Source

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
    """The live sessions, the one with the newest activity first."""

    model_config = _example({"sessions": [_SUMMARY]})

    sessions: list[SessionSummary]


class SessionOptions(BaseModel):
    """How to open a session; there is nothing to choose yet."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


class SessionCreated(BaseModel):
    """A new session, ready for messages."""

    model_config = _example(
        {"session_id": _SESSION_ID, "status": "active", "source": "pre-warmed", "created_at": _MOMENT}
    )

    session_id: str
    status: Literal["active"] = "active"
    source: Source
    created_at: str


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

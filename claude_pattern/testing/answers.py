"""Answers of the scripted model, as data: a `Reply` with its content blocks and faults, or a `Failure`."""

import uuid
from dataclasses import dataclass, field
from typing import Any, Final

ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The error type that the real API gives with each status."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text block, streamed word by word."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block, streamed word by word and signed."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool. The id is made when the answer is sent."""

    name: str
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raw:
    """Any other content block, sent whole in its content_block_start (server tools and their results)."""

    block: dict[str, Any]


Block = Text | Thinking | ToolUse | Raw


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the model, and what shall go wrong while it is streamed.

    A reply to a request that does not stream is always whole, except with `drop`.
    """

    blocks: tuple[Block, ...]
    pace: float | None = None
    """Seconds after each delta; None takes the server's."""
    hang: float = 0.0
    """Seconds before the status line."""
    stall: float = 0.0
    """Seconds of silence in the middle of the deltas."""
    cut_deltas: int | None = None
    """Cut the connection after so many deltas."""
    cut_bytes: int | None = None
    """Cut the connection after so many bytes of events."""
    malformed: bool = False
    """Send an event that is no JSON in the middle."""
    error_event: str | None = None
    """Send an event of the type "error" with this error type in the middle, and end the stream."""
    drop: bool = False
    """Close the connection instead of any answer."""
    stop: str | None = None
    """Why the model stopped; None: "tool_use" with a tool call among the blocks, else "end_turn"."""
    usage: tuple[int, int] | None = None
    """Input and output tokens; None: about a quarter of the characters."""

    @property
    def stop_reason(self) -> str:
        """Why the model stopped."""
        calls_tool = any(isinstance(block, ToolUse) for block in self.blocks)
        return self.stop or ("tool_use" if calls_tool else "end_turn")


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error."""

    status: int
    retry_after: float | None = None
    """Seconds for the retry-after header; no header when None."""
    text: str = ""
    """The error's message; empty: one that names the status."""
    final: bool = False
    """Tell the client by x-should-retry not to try again."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that steer a client's retries."""
        after = [] if self.retry_after is None else [("retry-after", f"{self.retry_after:g}")]
        return [*after, ("x-should-retry", "false")] if self.final else after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that the real API sends with this status."""
        kind = ERROR_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        return error_body(kind, self.text or f"Scripted error {self.status}")


Answer = Reply | Failure


def error_body(kind: str, text: str) -> dict[str, Any]:
    """An error as the API words it."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": f"req_{uuid.uuid4().hex[:24]}"}

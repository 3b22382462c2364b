"""A session's conversation as plain values, for clients that join it."""

from dataclasses import asdict
from typing import Any

from claude_pattern.sessions.state import (
    Message,
    NoticePart,
    Part,
    SessionState,
    TextPart,
    ThinkingPart,
    ToolCall,
    iso,
)


def history(state: SessionState) -> tuple[dict[str, Any], ...]:
    """Every message so far, with the text of the running answer as far as it has come.

    Each has message_id, role (user, assistant, system), status, created_at, text (all of its text together), parts,
    cost_usd and duration_ms. A part has a type: text, thinking, tool_use or notice.
    """
    return tuple(_message(message) for message in state.messages)


def open_requests(state: SessionState) -> tuple[dict[str, Any], ...]:
    """Every permission request, question and plan that waits for an answer."""
    return tuple(asdict(request) for request in state.requests.values())


def _message(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "role": message.role,
        "status": message.status,
        "created_at": iso(message.created_at),
        "text": message.text,
        "parts": [_part(part) for part in message.parts],
        "cost_usd": message.cost_usd,
        "duration_ms": message.duration_ms,
    }


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "block": part.block, "text": part.text}
    if isinstance(part, ThinkingPart):
        return {"type": "thinking", "block": part.block, "text": part.text}
    if isinstance(part, NoticePart):
        return {"type": "notice", "level": part.level, "text": part.text, "action": part.action}
    return _call(part)


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "tool_use_id": call.tool_use_id,
        "tool": call.tool,
        "input": call.input,
        "status": call.status,
        "result": call.result,
        "duration_ms": call.duration_ms,
        "error": call.error,
        "children": [_part(part) for part in call.children],
    }

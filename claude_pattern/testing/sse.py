"""A reply on the wire: the server-sent events of Anthropic's Messages API, or one JSON message."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from claude_pattern.testing.answers import Block, Reply, Text, Thinking, ToolUse, error_body


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends here without the end of the answer."""


_CUT_DELAY: Final = 0.05
# The CLI drops what it has not read yet when it sees the end of the connection at the same time.


def message(reply: Reply, model: str, input_tokens: int) -> dict[str, Any]:
    """The whole of `reply` as one message."""
    content = [_whole(block) for block in reply.blocks]
    head = _head(model, _usage(reply, input_tokens))
    return head | {"content": content, "stop_reason": reply.stop_reason}


def stream(reply: Reply, model: str, input_tokens: int, pace: float = 0.0) -> Iterator[bytes | Pause | Cut]:
    """The events of `reply` in their order, with the pauses and faults that it asks for.

    `pace` is in seconds, for a reply that names none. A cut beyond the end of the reply does not happen.
    """
    pace = pace if reply.pace is None else reply.pace
    middle = sum(1 for block in reply.blocks for _ in _chunks(block)) // 2
    room = reply.cut_bytes
    seen = 0
    for data, is_delta in _events(reply, model, input_tokens):
        if is_delta and seen == middle:
            yield from _fault(reply)
            if reply.error_event is not None:
                return
        if room is not None and len(data) >= room:
            yield from (data[:room], Pause(_CUT_DELAY), Cut())
            return
        if seen == reply.cut_deltas and (is_delta or seen):
            yield from (Pause(_CUT_DELAY), Cut())
            return
        yield data
        room = None if room is None else room - len(data)
        seen += is_delta
        if is_delta and pace:
            yield Pause(pace)


def _fault(reply: Reply) -> Iterator[bytes | Pause]:
    if reply.stall:
        yield Pause(reply.stall)
    if reply.malformed:
        yield b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":\n\n'
    if reply.error_event is not None:
        yield _event(error_body(reply.error_event, "Scripted error in the stream"))


def _events(reply: Reply, model: str, input_tokens: int) -> Iterator[tuple[bytes, bool]]:
    """Each event, and whether it is a delta that carries text, thought or tool input."""
    usage = _usage(reply, input_tokens)
    yield _event({"type": "message_start", "message": _head(model, usage | {"output_tokens": 1})}), False
    for index, block in enumerate(reply.blocks):
        start = {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        yield _event(start), False
        if index == 0:
            yield _event({"type": "ping"}), False
        for chunk in _chunks(block):
            yield _delta(index, _delta_body(block, chunk)), True
        if isinstance(block, Thinking):
            yield _delta(index, {"type": "signature_delta", "signature": _signature(block)}), False
        yield _event({"type": "content_block_stop", "index": index}), False
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": usage}), False
    yield _event({"type": "message_stop"}), False


def _event(body: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (body["type"].encode(), orjson.dumps(body))


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _delta_body(block: Block, chunk: str) -> dict[str, Any]:
    if isinstance(block, Thinking):
        return {"type": "thinking_delta", "thinking": chunk}
    if isinstance(block, ToolUse):
        return {"type": "input_json_delta", "partial_json": chunk}
    return {"type": "text_delta", "text": chunk}


def _chunks(block: Block) -> list[str]:
    if isinstance(block, Text | Thinking):
        return re.findall(r"\s*\S+\s*|\s+", block.text)
    if isinstance(block, ToolUse):
        text = orjson.dumps(block.input).decode()
        size = max(16, len(text) // 20)
        return [text[at : at + size] for at in range(0, len(text), size)]
    return []


def _head(model: str, usage: dict[str, int]) -> dict[str, Any]:
    # The CLI merges messages that have the same id into one, so each answer has its own.
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(reply: Reply, input_tokens: int) -> dict[str, int]:
    written = sum(len(chunk) for block in reply.blocks for chunk in _chunks(block))
    tokens = reply.usage or (input_tokens, max(1, written // 4))
    return {
        "input_tokens": tokens[0],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens[1],
    }


def _empty(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": ""}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": "", "signature": ""}
    if isinstance(block, ToolUse):
        return {"type": "tool_use", "id": _tool_id(), "name": block.name, "input": {}}
    return block.block


def _whole(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": block.text, "signature": _signature(block)}
    if isinstance(block, ToolUse):
        return {"type": "tool_use", "id": _tool_id(), "name": block.name, "input": block.input}
    return block.block


def _tool_id() -> str:
    return f"toolu_{uuid.uuid4().hex[:24]}"


def _signature(block: Thinking) -> str:
    return f"scripted-{len(block.text)}"

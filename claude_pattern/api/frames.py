"""WebSocket frames: text to messages and events to text. Pure."""

import json
from typing import Any, get_args

import orjson
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from claude_pattern import errors, events
from claude_pattern.api.limits import MAX_FRAME_BYTES
from claude_pattern.errors import InvalidJson, InvalidMessage
from claude_pattern.events import MAX_MESSAGE_CHARS, AnyClientMessage, ErrorMessage, Event, UserMessage
from claude_pattern.logs import scrubber

_CODES = frozenset(get_args(ErrorMessage.model_fields["code"].annotation))
_UNKNOWN_TYPE = ("union_tag_invalid", "union_tag_not_found", "model_attributes_type", "dict_type")
SEQUENCE = "Invalid sequence number"


def decode(frame: str | bytes) -> AnyClientMessage:
    """The message in a frame.

    Raises:
        InvalidJson: it is not JSON text.
        InvalidMessage: it is JSON, but no message of the contract, or one that breaks a rule.
    """
    if isinstance(frame, bytes):
        raise InvalidJson("Only text frames are accepted.")
    try:
        value = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise InvalidJson from None
    if isinstance(value, dict) and value.get("type") == "user_message":
        _check_user_message(value)
    try:
        return events.client_messages.validate_python(value)
    except ValidationError as error:
        raise InvalidMessage(_sentence(error)) from None


def too_large(frame: str | bytes) -> bool:
    """Whether a frame exceeds the limit in bytes."""
    if isinstance(frame, bytes) or len(frame) > MAX_FRAME_BYTES:
        return len(frame) > MAX_FRAME_BYTES
    return len(frame) * 4 > MAX_FRAME_BYTES and len(frame.encode("utf-8", "surrogatepass")) > MAX_FRAME_BYTES


class Sequence:
    """The numbers of one connection's user messages: positive and growing."""

    def __init__(self) -> None:
        self._last = 0

    def take(self, message: UserMessage) -> None:
        """Accept the next number.

        Raises:
            InvalidMessage: it does not grow.
        """
        if message.seq <= self._last:
            raise InvalidMessage(SEQUENCE)
        self._last = message.seq


def encode(event: Event) -> str:
    """An event as JSON text."""
    try:
        return event.model_dump_json()
    except PydanticSerializationError:
        # Half a surrogate pair out of a cut answer is no UTF-8, but JSON can name it.
        return json.dumps(event.model_dump(), default=str)


def explain(error: Exception) -> ErrorMessage:
    """The `error` frame for an exception; a foreign one gives away nothing of itself."""
    explanation = errors.friendly(error)
    code: Any = explanation.code if explanation.code in _CODES else "internal_error"
    return ErrorMessage(code=code, message=scrubber.text(explanation.message))


def _check_user_message(value: dict[str, Any]) -> None:
    text, seq = value.get("text"), value.get("seq")
    if text is None or (isinstance(text, str) and not text.strip()):
        raise InvalidMessage("Message is empty")
    if isinstance(text, str) and len(text) > MAX_MESSAGE_CHARS:
        raise InvalidMessage(f"Message exceeds {MAX_MESSAGE_CHARS:,} character limit")
    if type(seq) is not int or seq < 1:
        raise InvalidMessage(SEQUENCE)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] in _UNKNOWN_TYPE:
        return "Unknown message type"
    return f"{first['loc'][-1]}: {first['msg']}"

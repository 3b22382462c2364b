"""From the SDK's messages to our events: no I/O, no clock of its own, the same input gives the same output.

Streamed text is provisional until the CLI repeats it in an `AssistantMessage`. When the model's service is cut off,
the CLI asks again and the text comes a second time, or comes only in that message; the translator then takes the
provisional block back (`stream_reset`) or sends the missing rest, so that the deltas of a block since its last reset
always add up to exactly what the model said.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from claude_pattern import errors, events
from claude_pattern.events import AnySessionEvent

_ABORTED: Final = {"aborted_streaming", "aborted_tools"}
_LOCAL_OUTPUT: Final = ("<local-command-stdout>", "</local-command-stdout>")


@dataclass(slots=True)
class _Open:
    """A text or thinking block that is streaming and not yet confirmed."""

    block: int
    thinking: bool
    text: str = ""


@dataclass(slots=True)
class Translator:
    """Translates the messages of one session, in order.

    `now` is a monotonic clock in seconds and measures how long tools take.
    """

    now: Callable[[], float] = time.monotonic
    total_cost_usd: float = 0.0
    _blocks: int = 0
    _open: dict[str | None, _Open] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _failure: str | None = None
    _said: bool = False
    _facts: tuple[str | None, str | None] = (None, None)

    def feed(self, message: Message) -> list[AnySessionEvent]:
        """The events that `message` means; most messages mean none or one."""
        match message:
            case StreamEvent():
                return list(self._stream(message.event, message.parent_tool_use_id))
            case AssistantMessage():
                return list(self._assistant(message))
            case UserMessage():
                return list(self._user(message))
            case SystemMessage():
                return list(self._system(message))
            case ResultMessage():
                return list(self._result(message))
        return []

    # ------------------------------------------------------------ while it streams

    def _stream(self, event: dict[str, Any], parent: str | None) -> Iterator[AnySessionEvent]:
        match event.get("type"):
            case "message_start":
                yield from self._take_back(parent)
            case "content_block_start" if event["content_block"]["type"] in ("text", "thinking"):
                yield from self._take_back(parent)
                self._begin(parent, thinking=event["content_block"]["type"] == "thinking")
            case "content_block_delta":
                delta = event["delta"]
                if text := delta.get("text") or delta.get("thinking"):
                    thinking = delta.get("type") == "thinking_delta"
                    opened = self._open.get(parent) or self._begin(parent, thinking=thinking)
                    opened.text += text
                    yield self._delta(opened, text, parent)

    def _begin(self, parent: str | None, *, thinking: bool) -> _Open:
        opened = self._open[parent] = _Open(self._blocks, thinking)
        self._blocks += 1
        return opened

    def _take_back(self, parent: str | None) -> Iterator[AnySessionEvent]:
        """Void what was streamed and never confirmed."""
        opened = self._open.pop(parent, None)
        if opened is not None and opened.text:
            yield events.StreamReset(block=opened.block, parent_tool_use_id=parent)

    def _delta(self, opened: _Open, text: str, parent: str | None) -> AnySessionEvent:
        kind = events.ThinkingDelta if opened.thinking else events.StreamDelta
        self._said = self._said or parent is None
        return kind(delta=text, block=opened.block, parent_tool_use_id=parent)

    # ------------------------------------------------------------ what is certain

    def _assistant(self, message: AssistantMessage) -> Iterator[AnySessionEvent]:
        parent = message.parent_tool_use_id
        if message.error is not None:
            # The CLI's own text about the failure is for terminals; the result brings what people see.
            self._failure = message.error
            return
        for block in message.content:
            match block:
                case TextBlock():
                    yield from self._confirm(block.text, parent, thinking=False)
                case ThinkingBlock():
                    yield from self._confirm(block.thinking, parent, thinking=True)
                case ToolUseBlock():
                    self._started[block.id] = self.now()
                    yield events.ToolUse(
                        tool_use_id=block.id, tool=block.name, input=block.input, parent_tool_use_id=parent
                    )

    def _confirm(self, text: str, parent: str | None, *, thinking: bool) -> Iterator[AnySessionEvent]:
        opened = self._open.get(parent)
        if opened is not None and (opened.thinking != thinking or not text.startswith(opened.text)):
            yield from self._take_back(parent)
            opened = None
        if opened is None:
            opened = self._begin(parent, thinking=thinking)
        del self._open[parent]
        if rest := text[len(opened.text) :]:
            yield self._delta(opened, rest, parent)

    def _user(self, message: UserMessage) -> Iterator[AnySessionEvent]:
        parent = message.parent_tool_use_id
        if isinstance(message.content, str):
            yield from self._local_output(message.content)
            return
        for block in message.content:
            match block:
                case ToolResultBlock():
                    yield self._tool_result(block, parent)
                case TextBlock():
                    yield from self._local_output(block.text)

    def _local_output(self, text: str) -> Iterator[AnySessionEvent]:
        """What a slash command of the CLI itself printed."""
        opening, closing = _LOCAL_OUTPUT
        if text.startswith(opening):
            yield from self._confirm(text.removeprefix(opening).removesuffix(closing), None, thinking=False)

    def _tool_result(self, block: ToolResultBlock, parent: str | None) -> AnySessionEvent:
        now = self.now()
        started = self._started.pop(block.tool_use_id, now)
        failed = bool(block.is_error)
        return events.ToolResult(
            tool_use_id=block.tool_use_id,
            result={"error": _reason(block.content)} if failed else block.content,
            status="error" if failed else "success",
            duration_ms=round((now - started) * 1000),
            parent_tool_use_id=parent,
        )

    # ------------------------------------------------------------ about the session

    def _system(self, message: SystemMessage) -> Iterator[AnySessionEvent]:
        data = message.data
        match message.subtype:
            case "api_retry":
                for parent in tuple(self._open):
                    yield from self._take_back(parent)
                kind = data.get("error")
                self._failure = kind
                yield events.ApiRetry(
                    attempt=data.get("attempt", 1),
                    max_attempts=data.get("max_retries", 1),
                    delay_seconds=(data.get("retry_delay_ms") or 0) / 1000,
                    message=errors.retrying(data.get("error_status"), kind),
                )
            case "init":
                yield from self._updated(data.get("model"), data.get("permissionMode"))
            case "status" if data.get("status") == "compacting":
                yield events.SessionUpdated(activity="Compacting the conversation...")
            case "status" if data.get("permissionMode"):
                yield from self._updated(None, data["permissionMode"])

    def _updated(self, model: str | None, mode: str | None) -> Iterator[AnySessionEvent]:
        """The CLI repeats these facts with every turn; only news is an event."""
        known = (model or self._facts[0], mode or self._facts[1])
        if known != self._facts:
            self._facts = known
            yield events.SessionUpdated(model=known[0], permission_mode=known[1])

    def _result(self, message: ResultMessage) -> Iterator[AnySessionEvent]:
        cost = self._turn_cost(message.total_cost_usd)
        failure, self._failure = self._failure, None
        said, self._said = self._said, False
        interrupted = message.terminal_reason in _ABORTED
        if not interrupted and not message.is_error and not said and message.result:
            yield from self._confirm(message.result, None, thinking=False)
            self._said = False
        self._open.clear()
        self._started.clear()
        self._blocks = 0
        if interrupted:
            yield events.StreamInterrupted()
        elif message.is_error:
            explanation = errors.turn_failure(message.subtype, message.api_error_status, failure)
            yield events.StreamError(
                error=explanation.message,
                partial_preserved=said,
                suggested_action=explanation.action,
                code=explanation.code,
            )
        else:
            usage = message.usage or {}
            yield events.ResponseComplete(
                cost_usd=cost,
                turn_count=message.num_turns,
                total_cost_usd=self.total_cost_usd,
                input_tokens=_input_tokens(usage),
                output_tokens=usage.get("output_tokens") or 0,
                duration_ms=message.duration_ms,
            )

    def _turn_cost(self, total: float | None) -> float:
        """This turn's cost: the CLI reports the session's, and starts again from zero after /clear."""
        if total is None:
            return 0.0
        before = self.total_cost_usd if total >= self.total_cost_usd else 0.0
        self.total_cost_usd = total
        return total - before


def _input_tokens(usage: dict[str, Any]) -> int:
    fields = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(usage.get(name) or 0 for name in fields)


def _reason(content: str | list[dict[str, Any]] | None) -> str:
    """Why a tool failed, without the tags in which the CLI wraps it for the model."""
    return plain(content).removeprefix("<tool_use_error>").removesuffix("</tool_use_error>").strip()


def plain(content: str | list[dict[str, Any]] | None) -> str:
    """The text of a tool result, whatever its form."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content if block.get("type") == "text")

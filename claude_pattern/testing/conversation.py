"""What one request to the Messages API asks for, read out of its messages.

The CLI surrounds what a person typed with texts of its own (``<system-reminder>`` blocks, messages with the role
"system", notices of background tasks, the body of a skill behind its tool result) and repeats the whole conversation
in each request. This module finds the prompt that counts, and what has happened since.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["main", "subagent", "side"]
"""Who asks: the session's own conversation, one of its sub-agents, or the CLI for its own ends (a title, a summary)."""

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)
_INTERRUPTED = "[Request interrupted by user"
_INTERJECTION = re.compile(
    r"The user sent a new message while you were working:\n(.*?)\n\nThis is how Claude Code surfaces", re.DOTALL
)
_NOTICE = re.compile(r"<task-notification>.*?<summary>(.*?)</summary>(?:.*?<result>(.*?)</result>)?", re.DOTALL)
_SIDE_QUESTION = "<system-reminder>This is a side question"
_COMPACTION = "Your task is to create a detailed summary of the conversation"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What one tool call brought back."""

    name: str
    input: dict[str, Any]
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model: the turn's prompt, how far the turn has come, and the raw request."""

    prompt: str
    """The last user prompt without what the CLI puts around it; empty in a turn that the CLI began by itself."""
    results: tuple[ToolResult, ...]
    """The tool results that this call brings; empty at the first call of a turn."""
    earlier_results: tuple[ToolResult, ...]
    """The tool results that the turn's earlier calls brought."""
    interjections: tuple[str, ...]
    """What the user wrote while the turn ran, since the model's last answer."""
    notice: str
    """The report of a background task that began this turn; else empty."""
    step: int
    """How many model answers this turn has already (0 at its first call)."""
    position: int
    """Where the prompt stands among the messages: tells turns with the same prompt apart."""
    repeats: int
    """How often the same prompt came earlier in the conversation."""
    origin: Origin
    session_id: str
    agent_id: str
    stream: bool
    body: dict[str, Any]
    headers: dict[str, str]
    """Names in lower case."""
    attempt: int = 1
    """1 for the first try of this call, growing with each retry of it; a non-streaming fallback counts too."""

    @property
    def turn(self) -> tuple[str | int, ...]:
        """Equal for all calls of one turn."""
        return (*self._place, self.repeats)

    @property
    def key(self) -> tuple[str | int, ...]:
        """Equal for the tries of one call: by the CLI itself, and by a user who says it again after a failed turn.

        The CLI puts the prompt of a failed turn and the next one into the same message.
        """
        return (*self._place, self.step)

    @property
    def _place(self) -> tuple[str | int, ...]:
        return (self.session_id, self.agent_id, self.origin, self.position, self.prompt)

    @property
    def is_compaction(self) -> bool:
        """Whether the CLI asks for the summary that replaces a long conversation."""
        return _COMPACTION in self.prompt


def read_call(body: dict[str, Any], headers: dict[str, str]) -> Call:
    """Read `body`, a request to ``/v1/messages``, and its lower-case `headers`."""
    every = [m for m in body.get("messages", []) if isinstance(m, dict)]
    messages = [m for m in every if m.get("role") != "system"]
    position, prompt = _last_prompt(messages)
    turn = messages[position + 1 :]
    calls = {
        block.get("id"): block for message in turn for block in _blocks(message) if block.get("type") == "tool_use"
    }
    agent_id = headers.get("x-claude-code-agent-id", "")
    latest = "\n".join(_texts_since_answer(every))
    return Call(
        prompt=prompt,
        results=tuple(_results(turn[-1:], calls)),
        earlier_results=tuple(_results(turn[:-1], calls)),
        interjections=tuple(_INTERJECTION.findall(latest)),
        notice="" if prompt else _notice(latest),
        step=sum(m.get("role") == "assistant" for m in turn),
        position=position,
        repeats=sum(text == prompt for message in messages for text in _prompts(message)) - 1,
        origin="subagent" if agent_id else _origin(body, headers, prompt, latest),
        session_id=headers.get("x-claude-code-session-id", ""),
        agent_id=agent_id,
        stream=bool(body.get("stream")),
        body=body,
        headers=headers,
    )


def without_reminders(text: str) -> str:
    """`text` without what the CLI adds to it for the model's eyes."""
    return _REMINDER.sub("", text).strip()


def _origin(body: dict[str, Any], headers: dict[str, str], prompt: str, latest: str) -> Origin:
    """Tell the session's own calls from the CLI's.

    The session's own conversation is cached; most of the CLI's own requests are neither cached nor have tools.
    """
    tools = body.get("tools") or []
    wants_json = not tools and "format" in (body.get("output_config") or {})
    server_tools_only = bool(tools) and all("input_schema" not in tool for tool in tools)
    bare = headers.get("x-app") == "cli" and not tools and "cache_control" not in str(body)
    summary = _COMPACTION in prompt or latest.startswith(_SIDE_QUESTION)
    return "side" if wants_json or server_tools_only or bare or summary else "main"


def _last_prompt(messages: list[dict[str, Any]]) -> tuple[int, str]:
    """The index and the text of the message that began the turn; its text is empty when the CLI began it."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].get("role") != "user":
            continue
        prompts = _prompts(messages[index])
        if prompts:
            return index, prompts[-1]
        if not _has_results(messages[index]):
            return index, ""
    return -1, ""


def _prompts(message: dict[str, Any]) -> list[str]:
    """What a person wrote in `message`.

    Text behind a tool result is the CLI's (a skill's body) unless an interruption stands between: then the CLI has put
    the next prompt into the message of the unfinished call. The order to summarise counts as a prompt, too.
    """
    if message.get("role") != "user":
        return []
    texts = _texts(message)
    interrupted = [index for index, text in enumerate(texts) if text.startswith(_INTERRUPTED)]
    if _has_results(message):
        summarise = [text for text in texts if _COMPACTION in text]
        texts = texts[interrupted[-1] + 1 :] if interrupted else summarise
    cleaned = (without_reminders(text) for text in texts if not text.startswith(_INTERRUPTED))
    return [text for text in cleaned if text]


def _texts_since_answer(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The texts of all roles behind the model's last answer."""
    last = max((i for i, m in enumerate(messages) if m.get("role") == "assistant"), default=-1)
    for message in messages[last + 1 :]:
        yield from _texts(message)


def _notice(text: str) -> str:
    found = _NOTICE.findall(text)
    return "\n".join(": ".join(part for part in parts if part) for parts in found)


def _results(messages: list[dict[str, Any]], calls: dict[Any, dict[str, Any]]) -> Iterator[ToolResult]:
    for message in messages:
        for block in _blocks(message):
            if block.get("type") == "tool_result":
                call = calls.get(block.get("tool_use_id"), {})
                yield ToolResult(
                    name=call.get("name", "unknown"),
                    input=call.get("input", {}),
                    text=without_reminders("\n".join(_texts(block))),
                    is_error=bool(block.get("is_error")),
                )


def _texts(item: dict[str, Any]) -> list[str]:
    """The texts of a message or of a tool result."""
    content = item.get("content")
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in _blocks(item) if block.get("type") == "text"]


def _has_results(message: dict[str, Any]) -> bool:
    return any(block.get("type") == "tool_result" for block in _blocks(message))


def _blocks(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = item.get("content")
    if isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))

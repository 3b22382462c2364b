"""A conversation as text to take away: Markdown for people, JSON for programs, JSON lines with every event.

Pure: plain values in, text out. `head` holds the facts about the session (those of its details), `messages` the values
that `history` makes of its state. Every secret is masked on the way, in texts and under telling names.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from claude_pattern.logs import scrubber
from claude_pattern.sessions.journal import Entry

Format: TypeAlias = Literal["markdown", "json", "jsonl"]
Values: TypeAlias = Mapping[str, Any]

ENDINGS: Final[dict[Format, str]] = {"markdown": "md", "json": "json", "jsonl": "jsonl"}
MEDIA_TYPES: Final[dict[Format, str]] = {
    "markdown": "text/markdown",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
}
NAME_CHARS = 60
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}
_FACTS = (
    ("session_id", "Session"),
    ("created_at", "Created"),
    ("last_active_at", "Last activity"),
    ("model", "Model"),
    ("parent_session_id", "Forked from"),
    ("message_count", "Messages"),
)


def file_name(head: Values, kind: Format) -> str:
    """A name of plain ASCII letters, digits, hyphens and one dot, safe in a header and in every file system."""
    title = scrubber.text(str(head.get("title") or "session"))
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)[:NAME_CHARS].strip("-") or "session"
    short = re.sub(r"[^a-z0-9]", "", str(head["session_id"]).lower())[:8]
    return f"{words}-{short}.{ENDINGS[kind]}"


def as_json(head: Values, messages: Iterable[Values]) -> str:
    """One JSON document with the keys `session` and `messages`."""
    return _json({"session": _clean(head), "messages": [_clean(message) for message in messages]}, indent=2) + "\n"


def as_jsonl(entries: Iterable[Entry]) -> str:
    """One JSON line for each event, with the time at which it happened under `at`."""
    return "".join(f"{_json({'at': at.isoformat(), **_clean(event.model_dump())})}\n" for at, event in entries)


def as_markdown(head: Values, messages: Iterable[Values]) -> str:
    """The conversation to read: who said what and when, tool calls with their input and result."""
    return "\n\n".join(_document(head, messages)) + "\n"


# ---------------------------------------------------------------- JSON


def _clean(value: Any) -> Any:
    """`value` with its secrets masked, at any depth: a long nesting of sub-agents is no secret."""
    if isinstance(value, str):
        return scrubber.text(value)
    if isinstance(value, Mapping):
        masked = scrubber.value({key: item for key, item in value.items() if isinstance(item, str)})
        return {scrubber.text(str(key)): masked.get(key) or _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


# ---------------------------------------------------------------- Markdown


def _document(head: Values, messages: Iterable[Values]) -> Iterator[str]:
    head = _clean(head)
    yield f"# {' '.join(str(head.get('title') or 'Session').split())}"
    facts = [f"* {label}: {head[name]}" for name, label in _FACTS if head.get(name) is not None]
    if (cost := head.get("total_cost_usd")) is not None:
        facts.append(f"* Cost: ${cost:.4f}")
    yield "\n".join(facts)
    for message in messages:
        yield from _message(_clean(message))


def _message(message: Values) -> Iterator[str]:
    when = datetime.fromisoformat(message["created_at"]).strftime("%Y-%m-%d %H:%M:%S")
    state = "" if message["status"] == "complete" else f" ({message['status']})"
    yield f"## {_SPEAKERS.get(message['role'], message['role'])}, {when} UTC{state}"
    for part in message["parts"]:
        yield from _part(part)


def _part(part: Values) -> Iterator[str]:
    match part["type"]:
        case "text":
            yield part["text"]
        case "thinking":
            yield "_Thinking:_\n\n" + "\n".join(f"> {line}" for line in part["text"].splitlines())
        case "notice":
            yield f"_{part['text']}_"
        case _:
            yield from _call(part)


def _call(call: Values) -> Iterator[str]:
    took = "" if call["duration_ms"] is None else f", {call['duration_ms'] / 1000:.1f} s"
    yield f"### Tool {call['tool']} ({call['status']}{took})"
    yield _fenced(_json(call["input"], indent=2), "json")
    for part in call["children"]:
        yield from _part(part)
    result = call["error"] if call["error"] is not None else _plain(call["result"])
    if result:
        yield _fenced(result)


def _plain(result: Any) -> str:
    """The text of a tool's result; blocks of other kinds as JSON."""
    if result is None or isinstance(result, str):
        return result or ""
    if isinstance(result, list) and all(isinstance(block, Mapping) and "text" in block for block in result):
        return "\n".join(str(block["text"]) for block in result)
    return _json(result, indent=2)


def _fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than every one in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"

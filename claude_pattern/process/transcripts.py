"""The transcripts that the CLI keeps: one JSON line per entry, `projects/<folder>/<session id>.jsonl`.

A fork gets a transcript of its own before its process starts. The CLI can fork by itself (``--fork-session``), but
writes nothing before the fork's first turn (measured, 2.1.327): a fork that is restarted earlier would have lost its
conversation, and one whose original goes on meanwhile would continue another one. Lines are copied as they are: entries
keep their ids, as in the CLI's own forks, and nothing in them needs to be understood.
"""

import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from uuid import UUID

import orjson

WRITTEN_WITHIN_S = 1.0
POLL_S = 0.02

_OF_LATER = (b'"subtype":"compact_boundary"', b'"isCompactSummary":true', b"<local-command-caveat>")
"""What the CLI writes for a message before the line of the message itself."""

_QUEUE = b'{"type":"queue-operation"'
_ASSISTANT = b'"type":"assistant"'


def find(config_dir: Path, session_id: str) -> Path | None:
    """The transcript of a session; None when it has none.

    Raises:
        ValueError: the id is no UUID; it becomes part of a pattern.
    """
    return next(iter(config_dir.glob(f"projects/*/{UUID(session_id)}.jsonl")), None)


def read(path: Path, answered: str | None = None) -> bytes:
    """The transcript as it is; the CLI writes behind, so wait a moment for the answer to message `answered`. Blocking.

    Raises:
        OSError: it cannot be read.
    """
    ends = time.monotonic() + WRITTEN_WITHIN_S
    while True:
        content = path.read_bytes()
        if answered is None or time.monotonic() >= ends:
            return content
        _, found, after = content.partition(b'"uuid":"%b"' % answered.encode())
        if found and _ASSISTANT in after:
            return content
        time.sleep(POLL_S)


def fork(path: Path, content: bytes, new_id: str, *, without: Collection[str] = ()) -> Path:
    """Begin the transcript of session `new_id` beside `path`, with its `content` before the messages `without`.

    Blocking.

    Raises:
        OSError: it cannot be written, or `new_id` has a transcript already.
    """
    lines = [line for line in content.split(b"\n")[:-1] if line]  # a line without its end is being written
    kept = [line for line in lines[: _cut(lines, without)] if not line.startswith(_QUEUE)]
    old = re.compile(rb'"sessionId":"%b"' % path.stem.encode())
    forked = b"".join(old.sub(b'"sessionId":"%b"' % new_id.encode(), line) + b"\n" for line in kept)
    new = path.with_name(f"{UUID(new_id)}.jsonl")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(forked)
        file.flush()
        os.fsync(file.fileno())
    return new


def _cut(lines: list[bytes], without: Collection[str]) -> int:
    """How many lines come before everything that belongs to the messages `without`."""
    marks = [b'"uuid":"%b"' % message_id.encode() for message_id in without]
    found = (n for n, line in enumerate(lines) if any(mark in line for mark in marks) and _id(line) in without)
    index = next(found, None)
    if index is None:
        return len(lines)
    while index and (lines[index - 1].startswith(_QUEUE) or any(mark in lines[index - 1] for mark in _OF_LATER)):
        index -= 1
    return index


def _id(line: bytes) -> str | None:
    try:
        return str(orjson.loads(line).get("uuid"))
    except (orjson.JSONDecodeError, AttributeError):
        return None

"""What has happened in each session, on disk: the session's events in order, one JSON line each.

An event is written before anybody hears of it, so that whatever a client has seen is there after a crash; `secure`
makes it outlast the machine too. A session is rebuilt by applying its events again: the journal is the replay.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

import orjson
import structlog
from pydantic import Field, TypeAdapter, ValidationError

from claude_pattern.events import AnySessionEvent, StreamDelta, ThinkingDelta

log = structlog.get_logger(__name__)

_events: TypeAdapter[AnySessionEvent] = TypeAdapter(Annotated[AnySessionEvent, Field(discriminator="type")])


class Entry(NamedTuple):
    """One event and when it happened."""

    at: datetime
    event: AnySessionEvent


class SessionJournal:
    """The journal of one session. Opened by the first write; `close` may be called any number of times.

    Error handling: a disk that cannot be written raises OSError from `append`; nothing half-written is ever read, since
    a line without its end is left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def append(self, event: AnySessionEvent, at: datetime) -> None:
        """Write one event; it outlasts this process from here on."""
        if self._file is None:
            self._file = self._open()
        os.write(self._file, b'{"at":%.6f,"event":%b}\n' % (at.timestamp(), event.model_dump_json().encode()))

    async def secure(self) -> None:
        """Wait until everything written outlasts the machine."""
        if self._file is not None:
            # A duplicate: the session may end, and close the file, while the disk works.
            await asyncio.to_thread(_sync, os.dup(self._file))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def read(self) -> Iterator[Entry]:
        """Every event, the oldest first; none when nothing has happened. Blocking: call it in a thread."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line:
                continue
            try:
                data = orjson.loads(line)
                yield Entry(datetime.fromtimestamp(data["at"], UTC), _events.validate_python(data["event"]))
            except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError):
                log.warning("journal_line_left_out", session_id=self._path.stem, line=number)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        torn = self._ends_torn()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if torn:
            os.write(file, b"\n")  # the next line must not become part of what a crash has left of the last one
        return file

    def _ends_torn(self) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # there is none yet, or it is empty
            return False


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)


def coalesced(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same history with neighbouring deltas of one block joined: far fewer events that mean the same."""
    held: Entry | None = None
    for entry in entries:
        if held is not None and (joined := _joined(held.event, entry.event)) is not None:
            held = Entry(entry.at, joined)
            continue
        if held is not None:
            yield held
        held = entry
    if held is not None:
        yield held


def _joined(first: AnySessionEvent, second: AnySessionEvent) -> AnySessionEvent | None:
    if not isinstance(first, StreamDelta | ThinkingDelta) or type(first) is not type(second):
        return None
    assert isinstance(second, StreamDelta | ThinkingDelta)
    if (first.block, first.parent_tool_use_id) != (second.block, second.parent_tool_use_id):
        return None
    return second.model_copy(update={"delta": first.delta + second.delta})


class Journals:
    """The journals of all sessions, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, session_id: str) -> SessionJournal:
        """The journal of one session, whether it has been begun or not.

        Raises:
            ValueError: the id is no UUID; it would become part of a path.
        """
        return SessionJournal(self._folder / f"{UUID(session_id)}.jsonl")

    def begin(self, session_id: str, entries: Iterable[Entry]) -> None:
        """Write the first entries of a session all at once. Blocking: call it in a thread."""
        journal = self.of(session_id)
        for entry in entries:
            journal.append(entry.event, entry.at)
        if journal._file is not None:
            os.fsync(journal._file)
        journal.close()

    def remove(self, session_id: str) -> None:
        """Forget a session for good; does nothing when it has no journal. Blocking."""
        self.of(session_id)._path.unlink(missing_ok=True)

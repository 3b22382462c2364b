"""A sample MCP server on stdio: a notebook that agents and people share, kept in one file and usable offline.

    python -m claude_pattern.samples.notebook

The notes lie in `notes.jsonl` in the folder NOTEBOOK_DIR, or in the working folder. The file only ever grows: removing
a note appends a line that says so, and a line torn by a crash is passed over. Several sessions may write at once.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

FILE: Final = "notes.jsonl"
MAX_TEXT: Final = 10_000
"""Characters of one note."""
MAX_FILE_BYTES: Final = 16 * 2**20
"""Beyond this size the notebook takes no more notes."""

_INSTRUCTIONS = (
    "A notebook for facts, decisions and to-dos that should outlive this conversation. Search it before you ask the "
    "user for something that may have been noted before; add a note when the user asks you to remember something."
)


@dataclass(frozen=True, slots=True)
class Note:
    """One note."""

    id: int
    created_at: str
    """ISO 8601, UTC."""
    text: str
    tags: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        tags = f" [{', '.join(self.tags)}]" if self.tags else ""
        return f"#{self.id} ({self.created_at[:10]}){tags} {self.text}"

    def matches(self, words: list[str]) -> bool:
        """Whether every one of `words`, in lower case, is somewhere in the text or the tags."""
        everything = " ".join([self.text, *self.tags]).lower()
        return all(word in everything for word in words)


class Notebook:
    """The notes in one folder. Every method reads the file afresh.

    Raises:
        OSError: the file cannot be read or written.
        ToolError: the file has grown to its limit.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def notes(self) -> list[Note]:
        """All notes, oldest first."""
        try:
            with self._open(os.O_RDONLY) as descriptor:
                return _read(descriptor)[0]
        except FileNotFoundError:
            return []

    def add(self, text: str, tags: list[str]) -> Note:
        """Append a note; its number is one above the highest that was ever given."""
        with self._open(os.O_RDWR | os.O_CREAT | os.O_APPEND) as descriptor:
            _, highest = _read(descriptor)
            note = Note(highest + 1, datetime.now(UTC).isoformat(timespec="seconds"), text, tags)
            _append(descriptor, asdict(note))
        return note

    def remove(self, number: int) -> Note | None:
        """Remove the note with this number, and return it if there was one."""
        try:
            with self._open(os.O_RDWR | os.O_APPEND) as descriptor:
                note = next((note for note in _read(descriptor)[0] if note.id == number), None)
                if note is not None:
                    _append(descriptor, {"removed": number})
                return note
        except FileNotFoundError:
            return None

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        # The working folder may hold anything: a link would make the notebook write elsewhere, a FIFO would block it.
        descriptor = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if flags == os.O_RDONLY else fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


class Tools:
    """What the model can call; the docstrings are what it reads."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    def add_note(
        self,
        text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, description="What to remember.")],
        tags: Annotated[tuple[str, ...], Field(max_length=20, description="Words to find it by.")] = (),
    ) -> str:
        """Add a note to the notebook."""
        if not text.strip():
            raise ToolError("The note is empty. Say what to remember.")
        with _explained():
            return f"Noted: {self._notebook.add(text.strip(), [tag.strip() for tag in tags if tag.strip()])}"

    def list_notes(
        self,
        limit: Annotated[int, Field(ge=1, le=500, description="At most so many, the newest ones.")] = 50,
    ) -> str:
        """List the notes, newest first."""
        with _explained():
            return _page(self._notebook.notes(), limit)

    def search_notes(
        self,
        query: Annotated[str, Field(min_length=1, max_length=500, description="Words that must all occur.")],
        limit: Annotated[int, Field(ge=1, le=500, description="At most so many, the newest ones.")] = 20,
    ) -> str:
        """Find the notes that hold every word of the query in their text or tags, newest first."""
        words = query.lower().split()
        with _explained():
            return _page([note for note in self._notebook.notes() if note.matches(words)], limit)

    def remove_note(
        self, number: Annotated[int, Field(ge=1, description="The number after the # of the note.")]
    ) -> str:
        """Remove a note."""
        with _explained():
            note = self._notebook.remove(number)
        if note is None:
            raise ToolError(f"There is no note #{number}. List the notes to see the numbers.")
        return f"Removed: {note}"


def create_server(folder: Path) -> MCPServer:
    """The MCP server for the notebook in `folder`."""
    server = MCPServer("notebook", instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = Tools(Notebook(folder))
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    adds = ToolAnnotations(destructive_hint=False, open_world_hint=False)
    removes = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)
    for tool, hints in (
        (tools.add_note, adds),
        (tools.list_notes, reads),
        (tools.search_notes, reads),
        (tools.remove_note, removes),
    ):
        server.add_tool(tool, annotations=hints, structured_output=False)
    return server


@contextmanager
def _explained() -> Iterator[None]:
    """Turn a failure of the disk into a sentence for the model."""
    try:
        yield
    except OSError as error:
        raise ToolError(f"The notebook cannot be used: {(error.strerror or 'unknown reason').lower()}.") from error


def _page(notes: list[Note], limit: int) -> str:
    newest = notes[::-1][:limit]
    if not newest:
        return "No notes."
    more = f"\n({len(notes) - limit} older notes are not shown.)" if len(notes) > limit else ""
    return "\n".join(map(str, newest)) + more


def _read(descriptor: int) -> tuple[list[Note], int]:
    """The notes that are there, and the highest number that was ever given."""
    data = os.pread(descriptor, MAX_FILE_BYTES, 0)
    notes: dict[int, Note] = {}
    highest = 0
    for line in data.decode("utf-8", "replace").split("\n"):
        entry = _entry(line)
        if isinstance(entry, Note):
            notes[entry.id] = entry
            highest = max(highest, entry.id)
        elif entry is not None:
            notes.pop(entry, None)
    return list(notes.values()), highest


def _entry(line: str) -> Note | int | None:
    """A note, the number of a removed one, or None for a line that is neither: torn, or written by someone else."""
    try:
        match json.loads(line):
            case {"removed": int(number)}:
                return number
            case {"id": int(number), "created_at": str(created_at), "text": str(text), "tags": [*tags]}:
                return Note(number, created_at, text, [str(tag) for tag in tags])
    except (ValueError, RecursionError):
        return None
    return None


def _append(descriptor: int, entry: Mapping[str, Any]) -> None:
    size = os.fstat(descriptor).st_size
    line = json.dumps(entry).encode() + b"\n"
    if size + len(line) > MAX_FILE_BYTES:
        raise ToolError(f"The notebook is full. Ask the user to move {FILE} away.")
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    os.write(descriptor, b"\n" + line if torn else line)


def main() -> None:
    """Serve on stdin and stdout until stdin is closed."""
    folder = Path(os.environ.get("NOTEBOOK_DIR") or ".")
    folder.mkdir(parents=True, exist_ok=True)
    create_server(folder).run()


if __name__ == "__main__":
    main()

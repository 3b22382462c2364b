"""The project folder, read within bounds: regular files inside it only, so big, so many, so long and no more.

The folder is also the agents' working folder, so its content is not trusted: a FIFO, a device or a link out of it is
refused, never opened.
"""

import itertools
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

MAX_SECONDS: Final = 2.0
"""One reading of all extension files."""

MAX_ENTRIES: Final = 500
"""Skills, commands with their folders, and MCP servers: each at most so many."""

MAX_MARKDOWN_BYTES: Final = 256 * 1024
MAX_JSON_BYTES: Final = 1024 * 1024

_MAX_SCANNED = 20_000  # names of one folder that are sorted to find the first MAX_ENTRIES
_MAX_SHOWN = 120  # characters of a file's or an entry's name in a sentence

Kind = Literal["file", "folder", "nothing", "special"]


class Refused(Exception):
    """A file or an entry cannot be used; says why and what to do."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


class OutOfTime(Exception):
    """The reading took longer than it may."""


class ProjectFiles:
    """The files of one project folder during one reading. Paths are relative, with forward slashes."""

    def __init__(self, project_dir: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = os.path.realpath(project_dir)
        self._clock = clock
        self._ends = clock() + MAX_SECONDS

    def names(self, folder: str) -> list[str]:
        """The sorted names in `folder` that do not begin with a dot.

        Raises:
            Refused: it cannot be listed.
            OutOfTime: the reading has used up its time.
        """
        try:
            with os.scandir(self._resolve(folder)) as entries:
                return sorted(entry.name for entry in itertools.islice(entries, _MAX_SCANNED) if entry.name[0] != ".")
        except OSError as error:
            raise Refused(f"cannot be listed: {_reason(error)}. Check its permissions.") from None

    def kind(self, path: str) -> Kind:
        """What `path` is behind its links; a link that leads nowhere is nothing.

        Raises:
            Refused: it leads out of the project folder, round in a circle, or into a folder without access.
            OutOfTime: the reading has used up its time.
        """
        try:
            mode = os.lstat(self._resolve(path)).st_mode
        except FileNotFoundError:
            return "nothing"
        except OSError as error:
            raise Refused(f"cannot be read: {_reason(error)}. Check the path and its permissions.") from None
        if stat.S_ISREG(mode):
            return "file"
        return "folder" if stat.S_ISDIR(mode) else "special"

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path`, be it a link that leads nowhere."""
        return os.path.lexists(os.path.join(self._root, path))  # noqa: PTH118 - Path refuses odd names

    def is_folder(self, path: str) -> bool:
        """Whether `path` is a folder, or a link to one wherever it is."""
        return os.path.isdir(os.path.join(self._root, path))  # noqa: PTH112, PTH118 - Path refuses odd names

    def identity(self, folder: str) -> str:
        """The same for all ways that lead to one folder.

        Raises:
            Refused: it leads out of the project folder or cannot be followed.
            OutOfTime: the reading has used up its time.
        """
        try:
            return self._resolve(folder)
        except OSError as error:
            raise Refused(f"cannot be read: {_reason(error)}. Check the path and its permissions.") from None

    def text(self, path: str, limit: int, *, anywhere: bool = False) -> str:
        """The text of the file at `path`, of at most `limit` bytes; `anywhere` lets it be a link out of the folder.

        Raises:
            Refused: it is missing, no regular file, out of the folder, too big, unreadable, or no UTF-8 text.
            OutOfTime: the reading has used up its time.
        """
        try:
            data = _read(self._resolve(path, anywhere=anywhere), limit)
        except FileNotFoundError:
            raise Refused("is a link that leads nowhere. Correct or remove it.") from None
        except OSError as error:
            raise Refused(f"cannot be read: {_reason(error)}. Check the file and its permissions.") from None
        return _decode(data)

    def check_time(self) -> None:
        """Raise OutOfTime when the reading has used up its time."""
        if self._clock() > self._ends:
            raise OutOfTime

    def _resolve(self, path: str, *, anywhere: bool = False) -> str:
        self.check_time()
        real = os.path.realpath(os.path.join(self._root, path), strict=True)  # noqa: PTH118 - keeps odd names as they are
        if not anywhere and real != self._root and not real.startswith(os.path.join(self._root, "")):  # noqa: PTH118
            raise Refused("leads out of the project folder. Put a copy in its place.")
        return real


def shown(name: str) -> str:
    """`name` as it may stand in a sentence: printable, valid Unicode, not too long."""
    text = name.encode("utf-8", "surrogateescape" if _from_disk(name) else "replace").decode("utf-8", "replace")
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _from_disk(name: str) -> bool:
    """Python spells the bytes of a file name that are not UTF-8 as these lone surrogates, and JSON may hold others."""
    return all("\udc80" <= character <= "\udcff" for character in name if "\ud800" <= character <= "\udfff")


def _read(path: str, limit: int) -> bytes:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise Refused("is not a regular file. Replace it by one.")
    # Between the check and here it may have become a FIFO, which would block, or a link.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused("is not a regular file. Replace it by one.")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Refused(f"is larger than {limit // 1024} KiB. Shorten it, or move parts into other files.")
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("is not UTF-8 text. Save it as UTF-8.", data.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:
        raise Refused("holds a NUL character, so it is not text.", text.count("\n", 0, text.index("\0")) + 1)
    return text


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()

"""Hands the good items to the CLI, by the ways it knows itself: links in its configuration folder, and a file.

Both functions block on the disk: call them in a worker thread. Both may run in several threads and processes at once.
"""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import structlog

from claude_pattern.extensions.config import ExtensionConfig
from claude_pattern.extensions.entries import EXPANDED

LOCK_WAIT: Final = 5.0
"""Seconds; linking takes some milliseconds."""

_POLL = 0.01  # seconds

Tree = dict[str, "Path | Tree"]
"""What a folder is to hold: for each name the target of a link, or what a folder of that name is to hold."""

log = structlog.get_logger(__name__)


def link_into(config: ExtensionConfig, config_dir: Path) -> None:
    """Make exactly the good items of `config` visible in `config_dir`, an app-owned CLAUDE_CONFIG_DIR.

    Each item is a link to the operator's own folder or file. Links that are right stay untouched, so that running
    processes keep their items; a link is replaced in one step. What else lies in `skills/` and `commands/` there, and
    would run in every later session, is moved to `set-aside/`. Of two readings the newer one decides.

    Raises:
        OSError: the folder cannot be written, or (TimeoutError) another process keeps it locked.
    """
    config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(config_dir / ".extensions.lock") as record:
        if _is_outdated(config.loaded_at, os.pread(record, 64, 0)):
            return
        skills: Tree = {skill.name: (config.project_dir / skill.path).parent for skill in config.skills}
        folder = _LinkFolder(config_dir)
        folder.fill(config_dir / "skills", skills)
        folder.fill(config_dir / "commands", _command_tree(config))
        os.ftruncate(record, 0)
        os.pwrite(record, config.loaded_at.isoformat().encode(), 0)


def write_mcp_config(config: ExtensionConfig, path: Path) -> None:
    """Write the MCP servers of `config` as the file that `--mcp-config` takes, readable by this user alone.

    Raises:
        OSError: the file cannot be written.
    """
    servers = {
        name: {field: _literal(value) if field in EXPANDED else value for field, value in entry.items()}
        for name, entry in config.mcp_servers.items()
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"mcpServers": servers}, file)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _literal(value: Any) -> Any:
    """`value` spelled so that the CLI, which expands variables once more, arrives at exactly `value`."""
    if isinstance(value, str):
        return value.replace("${", "${CLAUDE_PATTERN_LITERAL:-$}{")
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return {key: _literal(item) for key, item in value.items()}


def _command_tree(config: ExtensionConfig) -> Tree:
    tree: Tree = {}
    for command in config.commands:
        *folders, file = command.path.split("/")[1:]
        place = tree
        for folder in folders:
            inner = place.setdefault(folder, {})
            assert isinstance(inner, dict)  # on disk, too, one name is either a file or a folder
            place = inner
        place[file] = config.project_dir / command.path
    return tree


class _LinkFolder:
    """Brings folders below `config_dir` to what they are to hold, with the least change."""

    def __init__(self, config_dir: Path) -> None:
        self._aside = config_dir / "set-aside"
        # Made outside of the folders that the CLI reads; only the holder of the lock uses it.
        self._new = config_dir / ".extensions.link"

    def fill(self, folder: Path, wanted: Tree) -> None:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            self._remove(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        for entry in list(folder.iterdir()):
            if entry.name not in wanted:
                self._remove(entry)
        for name, target in wanted.items():
            if isinstance(target, dict):
                self.fill(folder / name, target)
            else:
                self._link(folder / name, target)

    def _link(self, entry: Path, target: Path) -> None:
        if entry.is_symlink():
            if entry.readlink() == target:
                return
        elif entry.exists():
            self._remove(entry)
        self._new.unlink(missing_ok=True)
        self._new.symlink_to(target)
        self._new.replace(entry)

    def _remove(self, entry: Path) -> None:
        """Delete a link, or a folder of links; move anything else, which is not ours, out of the CLI's sight."""
        if entry.is_symlink():
            entry.unlink()
        elif entry.is_dir() and _holds_only_links(entry):
            for inner in list(entry.iterdir()):
                self._remove(inner)
            entry.rmdir()
        else:
            self._aside.mkdir(mode=0o700, exist_ok=True)
            kept = entry.rename(self._aside / f"{uuid4().hex[:8]}-{entry.name}")
            log.warning("extension_set_aside", found=entry.name, kept_as=kept.name)


def _holds_only_links(folder: Path) -> bool:
    return all(entry.is_symlink() or (entry.is_dir() and _holds_only_links(entry)) for entry in folder.iterdir())


def _is_outdated(loaded_at: datetime, record: bytes) -> bool:
    """Whether the links were made from a newer reading than that of `loaded_at`."""
    try:
        linked = datetime.fromisoformat(record.decode())
        # One in the future only tells that the clock was set back.
        return loaded_at < linked <= datetime.now(UTC)
    except (ValueError, TypeError):
        return False


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        ends = time.monotonic() + LOCK_WAIT
        while not _try_lock(descriptor):
            if time.monotonic() > ends:
                raise TimeoutError(f"{path.name} has been locked for {LOCK_WAIT:g} s")
            time.sleep(_POLL)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

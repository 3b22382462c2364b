"""Reads the extension files of a project folder."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from claude_pattern.extensions.config import Command, ExtensionConfig, Problem, Server, Skill
from claude_pattern.extensions.files import MAX_SECONDS, OutOfTime, ProjectFiles
from claude_pattern.extensions.items import commands, skills
from claude_pattern.extensions.servers import servers

PYTHON: Final = "CLAUDE_PATTERN_PYTHON"
"""In `mcp.json` this variable stands for the Python that runs this program, unless the environment says otherwise."""

_HANGS = MAX_SECONDS + 0.5  # a file system that does not answer cannot be interrupted, only left alone
_THREADS = 4

log = structlog.get_logger(__name__)


class ExtensionLoader:
    """Reads `mcp.json`, `skills/` and `commands/` below `project_dir`, afresh at each call.

    `environ` supplies the variables of `mcp.json` (os.environ at the time of reading, if None).
    """

    def __init__(
        self,
        project_dir: Path,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.project_dir = project_dir.absolute()
        self._environ = environ
        self._clock = clock
        # Threads of its own: a hanging file system must not take those that the rest of the server uses.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="extensions")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.project_dir)!r})"

    async def load(self) -> ExtensionConfig:
        """Read everything in a worker thread, within 2.5 s. Whatever is wrong is in `problems`; nothing is raised."""
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self.read)
        done, _ = await asyncio.wait({reading}, timeout=_HANGS)
        if done:
            return reading.result()
        log.error("extensions_unreadable", seconds=_HANGS)
        return ExtensionConfig(self.project_dir, problems=(_too_slow(),))

    def read(self) -> ExtensionConfig:
        """The same in the calling thread."""
        environ = {PYTHON: sys.executable, **(os.environ if self._environ is None else self._environ)}
        found = _Found()
        try:
            found.collect(ProjectFiles(self.project_dir, clock=self._clock), environ)
        except OutOfTime:
            found.problems.append(_too_slow())
        return ExtensionConfig(
            self.project_dir,
            skills=tuple(found.skills),
            commands=tuple(sorted(found.commands, key=lambda command: command.name)),
            problems=tuple(found.problems),
            servers=tuple(found.servers),
        )


@dataclass(slots=True)
class _Found:
    servers: list[Server] = field(default_factory=list)
    skills: list[Skill] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def collect(self, files: ProjectFiles, environ: Mapping[str, str]) -> None:
        if not files.is_folder("."):
            self.problems.append(Problem(".", "is no folder, so there are no extensions. Correct PROJECT_DIR."))
        self._take(servers(files, environ))
        self._take(skills(files))
        self._take(commands(files, frozenset(skill.name for skill in self.skills)))

    def _take(
        self, found: Iterator[Server | Problem] | Iterator[Skill | Problem] | Iterator[Command | Problem]
    ) -> None:
        for item in found:
            match item:
                case Server():
                    self.servers.append(item)
                case Skill():
                    self.skills.append(item)
                case Command():
                    self.commands.append(item)
                case Problem():
                    self.problems.append(item)


def _too_slow() -> Problem:
    what = (
        f"took longer than {MAX_SECONDS:g} s to read, so some extensions are missing. Remove files or check the disk."
    )
    return Problem(".", what)

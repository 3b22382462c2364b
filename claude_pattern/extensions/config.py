"""What was found in the extension files, and what is wrong with them."""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning"]
"""An item with an error is left out; one with a warning is used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an extension file: what, why, and what to do about it."""

    file: str
    """Relative to the project folder, with forward slashes."""
    what: str
    line: int | None = None
    """Counted from 1; None when the problem concerns the whole file or folder."""
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill that passed every check."""

    name: str
    path: str
    """Its SKILL.md, relative to the project folder."""
    description: str
    digest: str = field(default="", repr=False)
    """SHA-256 of the file."""


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command that passed every check."""

    name: str
    """What follows the slash; folders below `commands/` are joined with colons, as the CLI does."""
    path: str
    """Its file, relative to the project folder."""
    description: str
    argument_hint: str = ""
    digest: str = field(default="", repr=False)
    """SHA-256 of the file."""


@dataclass(frozen=True, slots=True)
class Server:
    """An MCP server's entry that passed every check."""

    name: str
    config: Mapping[str, Any] = field(repr=False)
    """As the CLI takes it, with variables expanded: may hold secrets."""
    shown: Mapping[str, Any]
    """As people may see it."""
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ExtensionConfig:
    """The good items of one reading, and the problems with the others."""

    project_dir: Path
    skills: tuple[Skill, ...] = ()
    commands: tuple[Command, ...] = ()
    problems: tuple[Problem, ...] = ()
    servers: tuple[Server, ...] = ()
    setting_sources: tuple[str, ...] = ("user",)
    """For the SDK: `user` alone, since the good items are linked into an app-owned configuration folder."""
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    fingerprint: str = field(init=False)
    """Names everything here that a CLI process fixes when it starts; equal for equal content."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", self._digest())

    @property
    def mcp_servers(self) -> dict[str, dict[str, Any]]:
        """Every server's entry as the CLI takes it, with variables expanded: may hold secrets."""
        return {server.name: dict(deepcopy(server.config)) for server in self.servers}

    @property
    def skill_directories(self) -> tuple[Path, ...]:
        """The folders of the good skills."""
        return tuple((self.project_dir / skill.path).parent for skill in self.skills)

    def masked(self) -> dict[str, dict[str, Any]]:
        """Every server's entry for people: variables unexpanded, values of `env` and `headers` masked."""
        return {server.name: dict(deepcopy(server.shown)) for server in self.servers}

    def secrets(self) -> tuple[str, ...]:
        """Values out of `mcp.json` and its variables that no log line may show; `logs.scrubber.learn` takes them."""
        return tuple(dict.fromkeys(secret for server in self.servers for secret in server.secrets))

    def _digest(self) -> str:
        fixed = [
            [[skill.path, skill.digest] for skill in self.skills],
            [[command.path, command.digest] for command in self.commands],
            {server.name: dict(server.config) for server in self.servers},
        ]
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

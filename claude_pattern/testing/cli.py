"""An environment for the real CLI in which nothing of this machine's own HOME or credentials is used."""

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

from claude_pattern.process.options import bundled_cli as bundled_cli  # part of these helpers
from claude_pattern.testing.messages_api import MessagesAPI, ThreadedMessagesAPI

AnyMessagesAPI = MessagesAPI | ThreadedMessagesAPI

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ")
_FOREIGN = ("ANTHROPIC_", "CLAUDE", "AWS_", "GOOGLE_", "AZURE_", "CLOUD_ML_", "VERTEX_", "OTEL_", "NODE_", "BUN_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_SDK = ("CLAUDE_CODE_ENTRYPOINT", "CLAUDE_AGENT_SDK_*", "CLAUDE_CODE_SDK_*", "CLAUDE_CODE_ENABLE_SDK_*", "PWD")
"""What the SDK itself sets, as patterns of the shell."""


def isolated_environment(tmp_path: Path, api: AnyMessagesAPI) -> dict[str, str]:
    """The environment for a CLI that talks to `api` and keeps all its files under `tmp_path`.

    The SDK merges the environment of this process under it, so every variable of this process that could carry a
    credential or redirect the CLI is present here as an empty text, which the CLI takes as unset. To have the others
    gone too, start the CLI by `isolated_cli`.
    """
    for name in ("home", "claude", "tmp"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    blank = {name: "" for name in os.environ if name.upper().startswith(_FOREIGN) or name.upper() in _PROXIES}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return (
        blank
        | kept
        | {
            "HOME": str(tmp_path / "home"),
            "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
            "TMPDIR": str(tmp_path / "tmp"),
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "DISABLE_AUTOUPDATER": "1",
            **api.env(),
        }
    )


def isolated_cli(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A program for `cli_path` that runs the bundled CLI with `environment` and nothing else."""
    kept = "|".join(sorted({*(name for name, value in environment.items() if value), *_SDK}))
    program = tmp_path / "isolated-claude"
    program.write_text(
        "#!/bin/sh\n"
        "for name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do\n"
        f'  case $name in {kept}) ;; *) unset "$name" ;; esac\n'
        "done\n"
        f'exec {shlex.quote(str(bundled_cli()))} "$@"\n'
    )
    program.chmod(0o755)
    return program


@asynccontextmanager
async def client(tmp_path: Path, api: AnyMessagesAPI, **options: Any) -> AsyncIterator[ClaudeSDKClient]:
    """A connected client on the real CLI, isolated under `tmp_path`; `options` go to ClaudeAgentOptions.

    Entries of an `env` among them are added to the isolated environment.
    """
    environment = isolated_environment(tmp_path, api) | options.pop("env", {})
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {
        "cwd": work,
        "cli_path": isolated_cli(tmp_path, environment),
        "include_partial_messages": True,
        "max_buffer_size": 64 * 2**20,
        "setting_sources": ["user"],
        "strict_mcp_config": True,
    }
    async with ClaudeSDKClient(ClaudeAgentOptions(**(defaults | options), env=environment)) as connected:
        yield connected

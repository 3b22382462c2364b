"""The only factory of `ClaudeAgentOptions`.

Every option here answers a measured failure of the defaults; the numbers in the comments were taken with
claude-agent-sdk 0.2.184 and its bundled CLI 2.1.327. `tests/integration/test_sdk_contract.py` checks each undocumented
knob against the installed CLI, so that an upgrade tells what moved.
"""

import hashlib
import json
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import claude_agent_sdk
from claude_agent_sdk import CanUseTool, ClaudeAgentOptions

from claude_pattern import timeouts
from claude_pattern.extensions import ExtensionConfig
from claude_pattern.process import launcher
from claude_pattern.process.credentials import Credential
from claude_pattern.settings import Settings

MAX_BUFFER_BYTES = 64 * 2**20
"""One line of CLI output; at the SDK's default of 1 MiB a long text kills the reader for good."""

STREAM_HOLD_MS = 20
"""The CLI gathers deltas this long: 10,000 deltas cost this process next to nothing, first text is not delayed."""

MAX_CLAUDE_MD_BYTES = 96 * 1024
"""The file travels as one argument, and Linux takes at most 128 KiB in one."""

_NO_CROSS_SESSION_TOOLS = ("ListAgents", "SendMessage")


@dataclass(frozen=True, slots=True)
class OptionsFactory:
    """Builds the options of every CLI process of this server.

    `config_dir` is the app-owned CLAUDE_CONFIG_DIR; its `skills` and `commands` hold the operator's good items, so
    that they work in any working folder while the folder's own settings, hooks and servers are never read.
    """

    settings: Settings
    credential: Credential
    config_dir: Path

    @property
    def working_dir(self) -> Path:
        """The agents' working folder."""
        return self.settings.project_dir.resolve()

    def fingerprint(self, extensions: ExtensionConfig) -> str:
        """Names everything that is fixed when a process starts; only processes with today's name are handed out."""
        fixed = [
            extensions.fingerprint,
            str(self.working_dir),
            self.credential.source,
            self.settings.anthropic_model,
            self.settings.permission_mode,
            self.settings.trust_project_settings,
            self._claude_md(),
        ]
        return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()

    def build(
        self,
        session_id: str,
        *,
        marker: str,
        mcp_config: Path | None,
        gate: CanUseTool,
        stderr: Callable[[str], None],
        resume: bool = False,
    ) -> ClaudeAgentOptions:
        """Options for one process of session `session_id`.

        With `resume` the process continues the session's transcript, else the id must be new: the CLI refuses an id
        that has a transcript. `mcp_config` is a file, since a dict would show its secrets in `ps`.
        """
        trusted = self.settings.trust_project_settings
        return ClaudeAgentOptions(
            session_id=None if resume else session_id,
            resume=session_id if resume else None,
            cwd=self.working_dir,
            cli_path=launcher.wrapper(),
            env=self._environment(marker),
            system_prompt={"type": "preset", "preset": "claude_code", "append": self._claude_md()},
            model=self.settings.anthropic_model,
            permission_mode=self.settings.permission_mode,
            can_use_tool=gate,
            stderr=stderr,
            # With the SDK's default a hostile working folder ran commands and received the API key (5 of 5 attacks).
            setting_sources=["user", "project"] if trusted else ["user"],
            strict_mcp_config=not trusted,
            mcp_servers=mcp_config if mcp_config is not None else {},
            max_buffer_size=MAX_BUFFER_BYTES,
            include_partial_messages=True,
            # Without these, sessions on one machine could start turns in each other.
            disallowed_tools=list(_NO_CROSS_SESSION_TOOLS),
            settings=json.dumps({"crossSessionInbound": "refuse"}),
        )

    def _environment(self, marker: str) -> dict[str, str]:
        own = {
            **self.credential.environment,
            "CLAUDE_CONFIG_DIR": str(self.config_dir),
            "CLAUDE_PATTERN_PYTHON": sys.executable,
            "CLAUDE_CODE_MAX_RETRIES": str(self.settings.api_max_retries),
            "CLAUDE_CODE_STREAM_EVENT_HOLD_MS": str(STREAM_HOLD_MS),
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "CLAUDE_CODE_MCP_STARTUP_WAIT_MS": str(round(timeouts.MCP_STARTUP_WAIT * 1000)),
            # By itself the CLI does not notice a stream of the service that says nothing more.
            "CLAUDE_ENABLE_STREAM_WATCHDOG": "1",
            "CLAUDE_STREAM_IDLE_TIMEOUT_MS": str(round(timeouts.STREAM_IDLE * 1000)),
            "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        cli = self.settings.claude_cli_path or bundled_cli()
        return {**own, **launcher.environment(cli, marker, keep=own)}

    def _claude_md(self) -> str:
        """The working folder's CLAUDE.md as plain text: its imports are not followed, nothing in it runs."""
        path = self.working_dir / "CLAUDE.md"
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_CLAUDE_MD_BYTES:
                return ""
            return path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError:
            return ""


def bundled_cli() -> Path:
    """The Claude Code executable inside the installed claude-agent-sdk."""
    return Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"

"""The `claude-pattern` command: arguments -> Settings -> server.

Exit codes: 0 well, 1 could not start, 2 wrong usage.
"""

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_pattern import __version__, logs, settings
from claude_pattern.errors import ClaudePatternError

if TYPE_CHECKING:
    from claude_pattern.process.credentials import Credential
    from claude_pattern.server import Platform, Welcome

EXAMPLES = """
Examples:

  claude-pattern demo                            look around, without account, key or network

  ANTHROPIC_API_KEY=... claude-pattern           serve on port 8000

  claude-pattern serve --port 9000 --project-dir ~/work

Settings come from the environment and from .env; the README lists them all.
"""

app = typer.Typer(
    name="claude-pattern",
    help="A self-hosted web platform for Claude agents." + EXAMPLES,
    no_args_is_help=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Host = Annotated[str | None, typer.Option("--host", help="Address to bind (HOST).", show_default=False)]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to bind, 0 takes a free one (PORT).", show_default=False)
]
ProjectDir = Annotated[
    Path | None,
    typer.Option("--project-dir", help="The agents' folder, with mcp.json, skills/, commands/.", show_default=False),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Database, transcripts and keys (DATA_DIR).", show_default=False)
]


def main() -> None:
    """Run the command; every expected failure is one line on stderr."""
    try:
        app()
    except ClaudePatternError as error:
        print(f"claude-pattern: {logs.scrubber.text(error.message)}", file=sys.stderr)
        sys.exit(1)


@app.callback()
def _default(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        serve()


@app.command(epilog="Example: claude-pattern serve --port 9000 --project-dir ~/work")
def serve(host: Host = None, port: Port = None, project_dir: ProjectDir = None, data_dir: DataDir = None) -> None:
    """Start the server with the settings of the environment and .env; options win over both."""
    chosen: dict[str, Any] = {"host": host, "port": port, "project_dir": project_dir, "data_dir": data_dir}
    found = settings.load(**{name: value for name, value in chosen.items() if value is not None})
    logs.scrubber.learn(*found.secrets())
    logs.configure(found.log_level)

    from claude_pattern.process import credentials

    credential = credentials.resolve(found, os.environ)
    settings.forget_environment(found)
    _run(found, credential)


@app.command(epilog="Example: claude-pattern demo --port 9000")
def demo(port: Port = None) -> None:
    """Start with nothing to configure: no account, no key, no network; a scripted model answers.

    The agent process is the real Claude Code and its tools really run, in a temporary folder. Bound to 127.0.0.1.
    """
    logs.configure("WARNING")

    from claude_pattern import demonstration

    with (
        tempfile.TemporaryDirectory(prefix="claude-pattern-demo-") as folder,
        demonstration.prepare(Path(folder), _free_port(port)) as (found, credential, welcome),
    ):
        _run(found, credential, welcome)


def _run(found: settings.Settings, credential: "Credential", welcome: "Welcome | None" = None) -> None:
    from claude_pattern import server

    listener = server.bind(found.host, found.port)
    with listener:
        platform = server.Platform(found, credential, welcome=welcome)
        server.run(platform, listener, on_ready=lambda: _announce(platform, listener, welcome))


def _announce(platform: "Platform", listener: socket.socket, welcome: "Welcome | None") -> None:
    """Say where the server listens, and how to sign in: once, by a link that works ten minutes."""
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    lines = [
        f"claude-pattern {__version__} listens on http://{host}:{port}",
        f"  Sign in:     http://{shown}:{port}/login?code={platform.keys.login_code()}",
        "               (works once, within ten minutes)",
        f"  Credential:  {platform.credential.source}",
        "  Isolation:   none (agents run as this user, with its rights)",
        f"  Data:        {platform.settings.data_dir.resolve()}",
    ]
    if platform.keys.key_file is not None:
        lines.append(f"  API key:     in {platform.keys.key_file}")
    if platform.credential.set_aside:
        lines.append(
            f"  Warning:     not used, since one credential is enough: {', '.join(platform.credential.set_aside)}"
        )
    if welcome is not None and welcome.banner is not None:
        lines.insert(1, f"  {welcome.banner}")
    print("\n".join(lines), flush=True)


def _free_port(port: int | None) -> int:
    """The given port; without one 8000, or any free one where that is taken."""
    if port is not None:
        return port
    default: Any = settings.Settings.model_fields["port"].default
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", default))
        except OSError:
            return 0
    return int(default)

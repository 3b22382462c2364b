"""The demo: the same server and the real Claude Code, with a scripted model on loopback and a folder to play in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from claude_pattern import settings
from claude_pattern.process import credentials
from claude_pattern.process.credentials import Credential
from claude_pattern.server import Welcome
from claude_pattern.settings import Settings
from claude_pattern.testing.messages_api import MessagesAPI, ThreadedMessagesAPI

BANNER = "Demo: the model is scripted. Tools really run, in a temporary folder."

HUMAN_PACE_S = 0.02
"""Between two words of the scripted model; reads like a quick model."""

PROMPTS = (
    ("markdown", "Headings, lists, a table and code, streamed"),
    ("bash", "A shell command that really runs"),
    ("permission", "The agent asks before it writes a file"),
    ("question", "The agent asks you to choose"),
    ("plan", "A plan for you to approve"),
    ("thinking", "Thinking before the answer"),
    ("long", "A long answer to stop half-way"),
    ("error", "The AI service fails; retry it"),
)

PROJECT = {
    "README.md": "# Greeter\n\nA small project for the demo's agent to look at.\n",
    "greet.py": 'def greet(name: str) -> str:\n    return f"Hello, {name}!"\n\n\nprint(greet("world"))\n',
}


@contextmanager
def prepare(folder: Path, port: int) -> Iterator[tuple[Settings, Credential, Welcome]]:
    """Everything a demo server needs, in `folder`: nothing of this machine's own configuration is read or kept."""
    project = folder / "project"
    with resources.as_file(resources.files("claude_pattern.samples")) as samples:
        for name in ("skills", "commands"):
            shutil.copytree(samples / name, project / name)
        shutil.copy(samples / "mcp.json", project)
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    with _own_folders(folder), MessagesAPI.in_thread(pace=HUMAN_PACE_S, keep=0) as api:
        found = _settings(api, folder, project, port)
        yield found, credentials.resolve(found, {}), Welcome(BANNER, PROMPTS)


@contextmanager
def _own_folders(folder: Path) -> Iterator[None]:
    """Let the agents find their home and their temporary files in `folder`."""
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    before = {name: os.environ.get(name) for name in own}
    for name, path in own.items():
        path.mkdir()
        os.environ[name] = str(path)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settings(api: ThreadedMessagesAPI, folder: Path, project: Path, port: int) -> Settings:
    """Every setting that the environment could change is given here, so that a demo is the same everywhere."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return settings.load(
        env_file=None,
        **{
            **defaults,
            "host": "127.0.0.1",
            "port": port,
            "data_dir": folder / "data",
            "database_url": f"sqlite:///{folder / 'data' / 'sessions.db'}",
            "project_dir": project,
            "anthropic_base_url": api.base_url,
            "anthropic_api_key": api.env()["ANTHROPIC_API_KEY"],
            "log_level": "WARNING",
        },
    )

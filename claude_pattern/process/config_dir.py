"""The app-owned CLAUDE_CONFIG_DIR: where the CLI keeps transcripts, and reads its user's settings.

An agent's shell runs as the server's user and could write there; a hook planted in its settings would run in every
later session (measured). What the CLI would obey is therefore moved aside before each start.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

OBEYED = (
    "CLAUDE.md",
    "agents",
    "output-styles",
    "rules",
    "settings.json",
    "settings.local.json",
)
"""What the CLI takes as its user's word; nothing here writes any of it."""


def prepare(folder: Path) -> None:
    """Make the folder, readable by this user alone, and move aside what somebody has planted in it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    planted = [name for name in OBEYED if os.path.lexists(folder / name)]
    if not planted:
        return
    aside = folder / "set-aside" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside.mkdir(parents=True)
    for name in planted:
        (folder / name).rename(aside / name)
    log.warning("planted_settings_set_aside", names=planted)

"""Browser sessions that were signed out before their time, kept on disk so that a restart does not revive them."""

from collections.abc import Callable
from pathlib import Path

import orjson

from claude_pattern.api.secretfile import write_private


class SignedOut:
    """Session ids with the moment (seconds of the epoch) until which they must be remembered.

    Raises:
        ValueError: the file is damaged; nobody can tell any more which sessions were signed out.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._until: dict[str, float] = _load(path)

    def __contains__(self, session: str) -> bool:
        return session in self._until

    def add(self, session: str, until: float) -> None:
        """Remember a session; those that have expired by themselves are forgotten."""
        now = self._now()
        self._until = {known: moment for known, moment in self._until.items() if moment > now}
        self._until[session] = until
        write_private(self._path, orjson.dumps(self._until).decode("ascii"))


def _load(path: Path) -> dict[str, float]:
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict) or not all(isinstance(until, int | float) for until in content.values()):
        raise ValueError(f"{path.name} does not hold sessions")
    return content

"""Events whose text every encoder takes.

A tool that cuts its output in the middle of an emoji leaves half of a surrogate pair: JSON can name it, Python can hold
it, and UTF-8 refuses it, so that it would stop the journal, the database and the pages.
"""

from typing import Any

from claude_pattern.events import AnySessionEvent
from claude_pattern.sessions.markdown import printable


def wellformed(event: AnySessionEvent) -> AnySessionEvent:
    """A copy of `event` in which replacement characters stand for lone halves of surrogate pairs, at any depth."""
    return event.model_copy(update={name: _clean(value) for name, value in event})


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(held) for held in value]
    return value

"""Logs as JSON lines on stderr, every line scrubbed of secrets as the last step before it is written.

structlog's own loggers and the standard library's (uvicorn, SQLAlchemy, the SDK) go through the same chain.
"""

import logging
import logging.config
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "[redacted]"

_PATTERNS = re.compile(
    r"""(?ix)
      \bsk-ant-[A-Za-z0-9_\-]{8,}                       # Anthropic keys and OAuth tokens
    | \bsk-[A-Za-z0-9_\-]{20,}                          # keys of other model services
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                     # AWS access key ids
    | \bgh[pousr]_[A-Za-z0-9]{20,}                      # GitHub tokens
    | \bxox[abprs]-[A-Za-z0-9\-]{10,}                   # Slack tokens
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}   # JSON web tokens
    | (?<=bearer\s)[A-Za-z0-9_\-\.=+/]{8,}              # Authorization headers
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                   # user:password in an address
    | (?<=[?&]api_key=)[^&\s"']+                        # keys in a query string
    | (?<=[?&]code=)[^&\s"']+                           # one-time sign-in codes
    """
)
_SECRET_NAMES = re.compile(r"(?i)(api_?key|token|secret|password|passwd|authorization|cookie|credential)s?$")
_MAX_DEPTH = 12


_QUIET = ("aiosqlite", "alembic", "claude_agent_sdk", "httpx", "uvicorn")
"""Libraries that are heard from WARNING on: uvicorn logs the whole address of every socket, and with it the id that is
the bearer token of a NiceGUI page. The others are heard from INFO on, never at DEBUG: websockets and socket.io would
print frames, cut in the middle of a secret that the scrubber then no longer knows."""


class Scrubber:
    """Replaces known secrets, and everything that looks like one, in any text or structure.

    One scrubber serves the whole process; `learn` adds values that are made or read after the start.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Know more secrets; those under four characters are left out, since they would blacken every text."""
        self._known.update(secret for secret in secrets if len(secret) >= 4)
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """`text` without its secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _PATTERNS.sub(MASK, text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """`value` with every text in it scrubbed, at any depth; values under telling names are masked whole."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _MAX_DEPTH:
            return MASK
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASK
                if isinstance(item, str) and _SECRET_NAMES.search(str(key))
                else self.value(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "replace"))
        return self.text(str(value))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, Any]:
        """Scrub one log event: a structlog processor."""
        scrubbed: MutableMapping[str, Any] = self.value(event)
        return scrubbed


scrubber = Scrubber()
"""The process's scrubber, also used for everything else that leaves it (CLI stderr, outgoing errors)."""


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (stderr) as JSON, scrubbed."""
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": before,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        scrubber,
                        structlog.processors.JSONRenderer(serializer=_dumps),
                    ],
                }
            },
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "stream": stream or sys.stderr,
                    "formatter": "json",
                }
            },
            "root": {"handlers": ["stderr"], "level": _at_least("INFO", level)},
            "loggers": {
                "claude_pattern": {"level": level},
                **{name: {"level": _at_least("WARNING", level)} for name in _QUIET},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _at_least(least: str, level: str) -> str:
    names = logging.getLevelNamesMapping()
    return max(least, level, key=names.__getitem__)


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()

"""Health routes, open to everybody: is the process alive, and would it take a new session."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import orjson
import structlog
from fastapi import APIRouter, Response

from claude_pattern.api import schemas
from claude_pattern.api.limits import RETRY_AFTER_S
from claude_pattern.sessions.manager import SessionManager

log = structlog.get_logger(__name__)

PING_KEPT_S: Final = 5.0
PING_TIMEOUT_S: Final = 1.0
_ALIVE = schemas.Alive().model_dump_json().encode()


class Database(Protocol):
    """What readiness asks of the database."""

    async def ping(self) -> None:
        """Return when the database answers; raise what keeps it from that."""


class CachedPing:
    """Whether the database answers, asked at most every `PING_KEPT_S` however many requests come."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._asked = float("-inf")
        self._answers = True
        self._asking = asyncio.Lock()

    async def answers(self) -> bool:
        """The last answer, or a new one when that is old; those who come while it is asked take the last one."""
        if self._clock() - self._asked < PING_KEPT_S or (self._asking.locked() and self._asked > float("-inf")):
            return self._answers
        async with self._asking:
            if self._clock() - self._asked >= PING_KEPT_S:
                self._answers = await self._ask()
                self._asked = self._clock()
        return self._answers

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._database.ping()
        except Exception:
            log.exception("database_ping_failed")
            return False
        return True


def router(manager: SessionManager, database: Database | None = None) -> APIRouter:
    """The two health routes; readiness includes the database's if one is given."""
    routes = APIRouter(prefix="/api/v1/health", tags=["health"])
    ping = CachedPing(database) if database is not None else None

    @routes.get("/live", summary="Is the process alive?", response_model=schemas.Alive)
    async def live() -> Response:
        """Answers as long as the process does."""
        return Response(_ALIVE, media_type="application/json")

    @routes.get(
        "/ready",
        summary="Would a new session be taken?",
        response_model=schemas.Ready,
        responses={503: {"model": schemas.NotReady, "description": "No new session is taken; see Retry-After"}},
    )
    async def ready() -> Response:
        """Whether a session could be opened now, and how full the server is."""
        found = manager.readiness()
        reason = found.reason
        if reason is None and ping is not None and not await ping.answers():
            reason = "database_unavailable"
        counts = {"active_sessions": found.active_sessions, "max_sessions": found.max_sessions}
        if reason is None:
            body = {"status": "ready", "pool_depth": found.pool_depth, **counts}
            return Response(orjson.dumps(body), media_type="application/json")
        body = {"status": "not_ready", "reason": reason, **counts}
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return Response(orjson.dumps(body), 503, headers, media_type="application/json")

    return routes

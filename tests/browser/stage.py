"""A whole server whose agents are puppets: `python -m tests.browser.stage PORT FOLDER`.

Everything is real (guard, keys, manager, sessions, pages) except the Claude Code process: what it would say comes
from the test, by POST to /api/stage/... with the API key.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import Body, FastAPI

from claude_pattern import tasks
from claude_pattern.api.guard import Guard
from claude_pattern.api.keys import Keys
from claude_pattern.events import AnySessionEvent, server_messages
from claude_pattern.sessions.journal import Journals
from claude_pattern.sessions.manager import SessionManager
from claude_pattern.sessions.pool import PreWarmPool
from claude_pattern.sessions.records import Records
from claude_pattern.settings import load
from tests.unit.fake_agent import FakeAgent, FakeExtensions, FakeLauncher, result

KEY = "stage-key"
PROMPTS = (("markdown", "Headings, lists, a table and code"), ("bash", "A shell command that really runs"))


@dataclass(frozen=True)
class Welcome:
    banner: str | None = "Demo: the model is scripted. Tools really run, in a temporary folder."
    prompts: tuple[tuple[str, str], ...] = PROMPTS


def make_manager(folder: Path, *, max_sessions: int = 5) -> tuple[SessionManager, Records]:
    launcher, extensions = FakeLauncher(), FakeExtensions()
    records = Records(f"sqlite:///{folder / 'sessions.db'}")
    manager = SessionManager(
        launcher=cast("Any", launcher),
        pool=PreWarmPool(cast("Any", launcher), cast("Any", extensions), size=0),
        extensions=cast("Any", extensions),
        records=records,
        journals=Journals(folder / "journal"),
        max_sessions=max_sessions,
    )
    return manager, records


class Puppeteer:
    """Plays the agents of a manager's sessions; each public method is a route."""

    def __init__(self, manager: SessionManager, folder: Path) -> None:
        self.manager = manager
        self._launcher = cast("FakeLauncher", manager._launcher)
        self._database = folder / "sessions.db"
        self._answers: list[dict[str, Any]] = []

    def agent(self, session_id: str) -> FakeAgent:
        return cast("FakeAgent", self.manager.get(session_id).agent)

    async def send(self, session_id: str, text: str = Body(embed=True)) -> None:
        await self.manager.get(session_id).send(text, queue=True)

    async def emit(self, session_id: str, events: list[dict[str, Any]]) -> None:
        session = self.manager.get(session_id)
        for event in events:
            session.emit(cast("AnySessionEvent", server_messages.validate_python(event)))

    async def stream(self, session_id: str, text: str = Body(), chunk: int = Body(5), pause: float = Body(0.0)) -> None:
        for start in range(0, len(text), chunk):
            await self.emit(session_id, [{"type": "stream_delta", "delta": text[start : start + chunk]}])
            await asyncio.sleep(pause)

    async def ask(self, session_id: str, tool: str = Body(), given: dict[str, Any] = Body()) -> None:  # noqa: B008
        async def asking() -> None:
            self._answers.append(vars(await self.agent(session_id).ask(tool, given)))

        tasks.spawn(asking(), name="ask")

    async def answers(self, session_id: str) -> list[dict[str, Any]]:
        taken, self._answers = self._answers, []
        return taken

    async def finish(self, session_id: str) -> None:
        await self.agent(session_id).finish(total_cost_usd=0.0123, duration_ms=3210)

    async def fail(self, session_id: str, status: int = Body(embed=True)) -> None:
        agent = self.agent(session_id)
        await agent.say(result(is_error=True, api_error_status=status, user_message_uuids=[agent.sent[-1][1]]))

    async def look(self, session_id: str) -> dict[str, Any]:
        state, agent = self.manager.get(session_id).state, self.agent(session_id)
        messages = [{"role": m.role, "status": m.status, "text": m.text} for m in state.messages]
        return {"messages": messages, "sent": [text for text, _ in agent.sent], "listeners": state.listeners}

    async def create(self) -> str:
        return (await self.manager.create()).session_id

    async def end(self, session_id: str) -> None:
        await self.manager.destroy(session_id)

    async def end_for_good(self, session_id: str) -> None:
        self.manager.get(session_id).state.is_resumable = False
        await self.manager.destroy(session_id)
        await self.manager.ledger._records.mark_terminated(session_id, "user_requested", is_resumable=False)

    async def die(self, session_id: str) -> None:
        """The process ends; the next one starts when `starts` says so."""
        self._launcher.hold.clear()
        tasks.spawn(self.agent(session_id).die(), name="die")

    async def starts(self) -> None:
        self._launcher.hold.set()

    async def clear(self) -> None:
        self._launcher.hold.set()
        self._answers = []
        for session_id in tuple(self.manager.sessions):
            await self.manager.destroy(session_id)
        with sqlite3.connect(self._database) as database:
            database.execute("DELETE FROM sessions")
        database.close()


def make_app(folder: Path) -> Guard:
    settings = load(env_file=None, claude_sdk_pattern_api_key=KEY, data_dir=folder)
    keys = Keys.load(settings, folder)
    manager, records = make_manager(folder)
    puppets = Puppeteer(manager, folder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await records.initialize()
        yield
        await manager.shutdown(0)
        await records.close()

    app = FastAPI(lifespan=lifespan)
    app.post("/api/stage/login_code")(keys.login_code)
    for name in ("create", "clear", "starts"):
        app.post(f"/api/stage/{name}")(getattr(puppets, name))
    for name in ("send", "emit", "stream", "ask", "finish", "fail", "look", "answers", "end", "end_for_good", "die"):
        app.post(f"/api/stage/{{session_id}}/{name}")(getattr(puppets, name))
    import_module("claude_pattern.pages").mount(app, manager=manager, keys=keys, settings=settings, welcome=Welcome())
    return Guard(app, keys=keys, settings=settings)


if __name__ == "__main__":
    uvicorn.run(
        make_app(Path(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        ws="websockets-sansio",
        server_header=False,
    )
